"""The painted labels' part of the dock: a Labels layer whose pixels count like keypoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
from napari.layers import Labels
from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QGridLayout, QLabel, QPushButton, QSpinBox, QWidget

from ....core.base import InputError
from ....core.images import IGNORE
from ...layers import (
    MARK,
    Connections,
    Geometry,
    SourceFrame,
    add_unselected,
    find_stale_layer,
    full_resolution,
    label_colours,
    layer_mark,
    painted_slices,
)
from ...models import (
    PaintedLabels,
    follow_classes,
    guess_values,
    sampled_values,
    sentence,
    spread_levels,
)
from ..adopt_combo import AdoptCombo
from ..class_picker import colour_icon
from ..parts import Notice, fill_column, make_button, make_check, make_row

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image
    from napari.utils.events import Event

    from ....core.annotations import ClassStyle

PAINTED_LAYER = "painted labels"
_HELP = (
    "Press New and paint a few places of each class, or choose a Labels layer that you have. "
    "Pixels with the value 0 say nothing."
)
_LARGEST_VALUE = 2**31 - 1
_NAME_WIDTH_PX = 150


class PaintedTool(QWidget):
    """A Labels layer, new or adopted, whose pixels are labels; value 0 is unlabelled.

    A table says which label value stands for which class. In a new layer it is 1 for the
    background, 2 for the first class, and so on; a class with value 0 is not painted.
    """

    value_changed = Signal()  # something was painted, or another layer or value was chosen

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = viewer
        self._frame: SourceFrame | None = None
        self._styles: tuple[ClassStyle, ...] = ()
        self._layer: Labels | None = None
        self._is_blank = False
        self.is_erased = False  # whether nothing is left of what was painted
        self._values: tuple[int, ...] = ()
        self._levels: tuple[int, ...] = ()
        self._counts: dict[int, tuple[int, ...]] = {}
        # slices that strokes touched, which may be taken back, also once the layer is used again
        self._touched_in: WeakKeyDictionary[Labels, set[int]] = WeakKeyDictionary()
        self._drawn = -1  # slice that was drawn last
        self._gone: dict[str, int] = {}  # label values of removed classes
        self._is_count_due = False
        self._changed: set[int] | None = set()  # None for all
        self.n_edits = 0  # how often somebody painted, or took that back
        self._message = ""
        self._build()
        self._layer_connections = Connections()
        self._frame_connections = Connections()
        self._connections = Connections()
        self._connections.connect(viewer.layers.events.removed, self._on_layer_removed)
        self._connections.connect(viewer.dims.events.point, self._show_counts)
        self.destroyed.connect(self._connections.disconnect_all)
        self.destroyed.connect(self._layer_connections.disconnect_all)
        self.destroyed.connect(self._frame_connections.disconnect_all)
        self._refresh()

    def _build(self) -> None:
        self._layers = AdoptCombo(self._viewer, Labels, PAINTED_LAYER, "none")
        self._layers.setToolTip(
            "A Labels layer of the image's size, whose pixels count as labels. It may be partial: "
            "pixels with the value 0 say nothing."
        )
        self._layers.adopted.connect(self._on_layer_chosen)
        self._new = make_button(
            "New", self.start_painting, "Make a Labels layer and start painting."
        )
        self._table = PaintedTable()
        self._table.value_changed.connect(self._on_value_edited)
        self._table.class_chosen.connect(self._on_class_chosen)
        self._ids = make_check(
            "Values are ids of objects of one class",
            self._on_ids_toggled,
            "Every value but 0 then counts as the one class.",
        )
        self._info, self._problems = Notice(), Notice(is_warning=True)
        fill_column(
            *(self, make_row(QLabel("Labels"), (self._layers, 1), self._new), self._table),
            *(self._ids, self._info, self._problems, None),
        )

    # ---- the widget's value -----------------------------------------------------------------

    def set_source(self, layer: Image | None) -> None:
        """Point out the annotated image layer, or that there is none at the moment.

        Labels that do not fit another image are let go; their layer stays. InputError if the
        layer's axes are not those of a stack.
        """
        if layer is None:
            self._new.setEnabled(False)
            return
        self._frame = SourceFrame(layer)
        self._frame_connections.disconnect_all()
        self._frame_connections.connect_moves(layer, self._follow_image)
        self._follow_image()
        if self._layer is not None and self._mismatch(self._layer):
            self._let_go()
            self.value_changed.emit()
        self._refresh()

    def _follow_image(self) -> None:
        """Keep our own layer on the image; an adopted one lies where the user put it."""
        layer, frame = self._layer, self._frame
        if layer is None or frame is None or layer.ndim != frame.ndim:
            return
        if layer_mark(layer):
            frame.align(layer)
        self._show_counts()

    def set_classes(self, styles: Sequence[ClassStyle]) -> None:
        """Set the classes, background first; a renamed or moved class keeps its label value.

        The value of a class that is gone is given to no other one, and comes back with it.
        """
        old = self._values
        mapping = follow_classes([s.name for s in self._styles], [s.name for s in styles])
        for place, (style, index) in enumerate(zip(self._styles, mapping, strict=True)):
            if index is None and self.has_labels_of(place):
                self._gone[style.name] = old[place]
        self._styles = tuple(styles)
        values = [0] * len(styles)
        for value, index in zip(old, mapping, strict=True):
            if index is not None:
                values[index] = value
        known = {index for index in mapping if index is not None}
        for index, style in enumerate(styles):
            if index not in known:
                taken = {*values, *self._gone.values()}
                free = next(v for v in range(1, len(taken) + 2) if v not in taken)
                values[index] = self._gone.pop(style.name, free)
        if self._ids.isChecked() and len(styles) != 2:  # no telling which class they are of
            self._drop_ids()
            values = [0] * len(styles)
        self._values = tuple(values)
        if old != self._values:
            self._changed = None
        self._table.set_rows(self._styles, self._values)
        self._colour_layer()
        self._refresh()
        if self._layer is not None and old != self._values:
            self.value_changed.emit()

    def value(self) -> PaintedLabels | None:
        """Painted labels; None where nothing is painted, or no value stands for a class."""
        return None if self._is_blank or not any(self._values) else self._labels()

    def has_labels_of(self, index: int) -> bool:
        """Whether a pixel of a class is painted; of a layer that is read lazily, on some slices."""
        labels, value = self.value(), self._values[index]
        if labels is None or not value or self._frame is None:
            return False
        if not isinstance(labels.data, np.ndarray):
            return value in sampled_values(labels, self._frame.current_slice(self._viewer))
        return any((labels.plane(z) == value).any() for z in range(labels.n_slices))

    def set_value(self, layer: Labels | None, values: Sequence[int] | None = None) -> None:
        """Adopt a Labels layer, or none, with the label value of each class.

        Values are guessed from the layer by default. InputError if it does not lie on the image
        pixel by pixel.
        """
        if layer is None:
            self._let_go()
        else:
            fault = self._mismatch(layer)
            if fault:
                raise InputError(fault)
            self._take(layer)
            if values is not None:
                self._levels = ()
                self._set_values(values)
            self._colour_layer()
        self._refresh()
        self.value_changed.emit()

    def take_changed_slices(self) -> frozenset[int] | None:
        """Slices in which labels changed since the last call; None if all may have."""
        changed, self._changed = self._changed, set()
        return None if changed is None else frozenset(changed)

    @property
    def layer(self) -> Labels | None:
        """The layer in use."""
        return self._layer

    def let_go(self) -> None:
        """Leave the viewer and the layer to another tool, for good; the value stays."""
        for connections in (self._connections, self._layer_connections, self._frame_connections):
            connections.disconnect_all()
        self._layers.let_go()

    # ---- what the user does -----------------------------------------------------------------

    def start_painting(self) -> None:
        """Make a layer if there is none; make it active, with the brush in hand."""
        if self._frame is None:
            return
        layer = self._layer or self._new_layer()
        layer.visible = True
        self._viewer.layers.selection.active = layer
        layer.selected_label = next((v for v in self._values[1:] if v), 1)
        layer.mode = "paint"
        self._message = "Choose a class to paint with it. Painting the label 0 erases."
        self._refresh()
        self.value_changed.emit()

    def add(
        self, planes: Iterable[tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]], index: int
    ) -> int:
        """Paint where a class is, and where the background is; napari's undo takes it back.

        There are two masks (Y, X) for each slice. Returns how many slices are painted so.
        InputError if the layer cannot be painted, or one of the two has no label value.
        """
        layer = self._layer or self._new_layer()
        values = self._values
        if not isinstance(layer.data, np.ndarray) or self._ids.isChecked() or self._levels:
            raise InputError(
                f"The labels '{layer.name}' cannot be painted with classes; choose none, or "
                "others, under Annotate, Painted."
            )
        if not (values[0] and values[index]):
            which = self._styles[index if values[0] else 0].name
            raise InputError(f"{which} has no label value; give it one under Annotate, Painted.")
        assert self._frame is not None
        geometry, painted = self._frame.geometry, 0
        with layer.block_history():
            for z, masks in enumerate(planes):
                painted += bool(np.any(masks))
                for mask, value in zip(masks, (values[index], values[0]), strict=True):
                    rows, columns = np.nonzero(mask & (geometry.plane(layer.data, z) != value))
                    at: dict[str, npt.ArrayLike] = {"Z": z, "C": 0, "Q": 0, "Y": rows, "X": columns}
                    where = [np.broadcast_to(at[axis], rows.shape) for axis in geometry.axes]
                    layer.data_setitem(tuple(where), value, refresh=False)
        layer.refresh()
        return painted

    def _new_layer(self) -> Labels:
        """Make an empty layer on the image and use it; the active layer stays active."""
        if self._frame is None:
            raise InputError("there is no image to label; choose one first.")
        geometry = self._frame.geometry
        layer = self._added(geometry, geometry.expand(np.zeros(geometry.stack_shape, np.uint8)))
        self._take(layer, is_new=True)
        return layer

    def _added(self, geometry: Geometry, data: npt.NDArray[np.uint8]) -> Labels:
        layer = Labels(
            data,
            name=PAINTED_LAYER,
            metadata={MARK: {"role": PAINTED_LAYER}},
            **geometry.layer_arguments(),
        )
        add_unselected(self._viewer, layer)
        return layer

    def restore(self, slices: Mapping[int, npt.NDArray[np.integer]], n_classes: int) -> None:
        """Show painted labels in a layer of their own; the class's index plus one, 0 for none."""
        if self._frame is None:
            return
        geometry = self._frame.geometry
        planes = np.zeros(geometry.stack_shape, np.uint8)
        for z, labels in slices.items():
            planes[z] = labels
        data = geometry.expand(planes)
        layer = find_stale_layer(
            self._viewer, PAINTED_LAYER, data.ndim, lambda one: np.array_equal(one.data, data)
        )
        self.set_value(layer or self._added(geometry, data), range(1, n_classes + 1))
        self._changed = set()

    def _on_layer_chosen(self, layer: Labels | None) -> None:
        if layer is self._layer:
            return
        self._message = ""
        try:
            self.set_value(layer)
        except InputError as error:
            self._message = str(error)
            self._refresh()

    def _on_value_edited(self) -> None:
        self._values = self._table.values()
        self._counts.clear()
        self._changed = None
        self._colour_layer()
        self._refresh()
        self.value_changed.emit()

    def _on_ids_toggled(self) -> None:
        self._guess()
        self._counts.clear()
        self._changed = None
        self._refresh()
        self.value_changed.emit()

    def _on_class_chosen(self, index: int) -> None:
        if self._layer is None or not self._values[index]:
            return
        self._layer.selected_label = self._values[index]
        self._viewer.layers.selection.active = self._layer
        if self._layer.mode not in ("paint", "fill", "polygon"):
            self._layer.mode = "paint"

    # ---- the layer --------------------------------------------------------------------------

    def _mismatch(self, layer: Labels) -> str:
        """Why a layer's pixels are not those of the image; empty if they are."""
        if self._frame is None:
            return "there is no image to label; choose one first."
        if fault := self._other_shape(layer):
            return fault
        geometry = self._frame.geometry
        spatial = _spatial(geometry)
        corners = np.array([[0, 0, 0], np.subtract(geometry.stack_shape, 1)], dtype=float)
        there = self._frame.place(corners, layer)[:, spatial]
        here = corners[:, [("ZYX").index(geometry.axes[a]) for a in spatial]]
        if np.abs(there - here).max() > 0.5:
            return (
                f"layer '{layer.name}' does not lie on the image; give it the same scale and "
                "position (Layers > Metadata)."
            )
        return ""

    def _other_shape(self, layer: Labels) -> str:
        """Say so if a layer has another shape than the image; else nothing."""
        if self._frame is None:
            return ""
        geometry, shape = self._frame.geometry, tuple(full_resolution(layer).shape)
        wanted = tuple(geometry.shape)
        fits = len(shape) == len(wanted) and all(shape[a] == wanted[a] for a in _spatial(geometry))
        if fits:
            return ""
        return (
            f"layer '{layer.name}' has the shape {shape}, the image {wanted}; choose labels of the "
            "image's size."
        )

    def _take(self, layer: Labels, *, is_new: bool = False) -> None:
        self._let_go()
        self._layer = layer
        self._is_blank, self.is_erased = is_new, False
        self._changed = set() if is_new else None
        connect = self._layer_connections.connect
        connect(layer.events.paint, self._on_painted)
        connect(layer.events.set_data, self._on_redrawn)
        connect(layer.events.labels_update, self._on_partly_redrawn)
        connect(layer.events.data, self._on_replaced)
        connect(layer.events.name, self._refresh)
        self._layer_connections.connect_moves(layer, self._show_counts)
        if is_new:
            self._colour_layer()
        else:
            self._guess()

    def _guess(self) -> None:
        """Guess which value of an adopted layer stands for which class; tell what is not plain."""
        self._levels, labels = (), self._labels()
        if labels is None or self._frame is None or not self._styles:
            return
        z = self._frame.current_slice(self._viewer)
        found = sampled_values(labels, z)
        if len(found) > len(self._styles):
            self._levels = spread_levels(labels, z)
        if self._levels:
            self._message = (
                f"The layer holds {len(found) + 1} values, as JPEG or smoothing leaves them; each "
                f"counts as the nearest of {', '.join(map(str, self._levels))}."
            )
        meant = tuple(value for value in self._levels if value) or found
        self._set_values(guess_values(meant, len(self._styles)))

    def _let_go(self) -> None:
        self._layer_connections.disconnect_all()
        self._layer = None
        self._levels = ()
        self._drop_ids()
        self._is_blank = self.is_erased = False
        self._counts.clear()
        self._gone.clear()

    def _drop_ids(self) -> None:
        with QSignalBlocker(self._ids):
            self._ids.setChecked(False)

    def _on_layer_removed(self, event: Event) -> None:
        if event.value is self._layer:
            self._let_go()
            self._message = "The labels layer was deleted; its labels are not used any more."
            self._refresh()
            self.value_changed.emit()

    def _on_painted(self, event: Event) -> None:
        """Note which slices a stroke touched."""
        if self._frame is None:
            return
        frame = self._frame
        touched = painted_slices(event.value, frame.geometry.axes, frame.n_slices)
        self._note_change(touched)
        self._is_count_due = True  # napari may tell before it writes

    def _on_replaced(self) -> None:
        if self._layer is not None and (fault := self._other_shape(self._layer)):
            self._let_go()
            self._message = f"The labels are not used any more: {fault}"
            self._refresh()
            self.value_changed.emit()
            return
        self._note_change(None)

    def _note_change(self, slices: set[int] | None) -> None:
        self._is_blank = False
        self.n_edits += 1
        if slices is None:
            self._counts.clear()
        self._touched.update(slices or ())
        self._counts |= {z: self._count(z) for z in slices or self._touched}
        self.is_erased = self._is_empty(self._count_current())
        keep_all = slices is None or self._changed is None
        self._changed = None if keep_all else (self._changed or set()) | (slices or set())
        self._show_counts()
        self.value_changed.emit()

    @property
    def _touched(self) -> set[int]:
        return set() if self._layer is None else self._touched_in.setdefault(self._layer, set())

    def _is_empty(self, z: int) -> bool:
        """Whether nothing is left in a layer of ours; looks at all of it where a slice is empty."""
        layer = self._layer
        if layer is None or not layer_mark(layer) or any(self._counts[z][:IGNORE]):
            return False
        return not np.any(layer.data)

    def _on_partly_redrawn(self) -> None:
        if self._is_count_due:
            self._is_count_due = False
            self._on_redrawn()
            if self.is_erased and not self._is_empty(self._count_current()):
                self.is_erased = False  # it was told before it was drawn, on another slice
                self.value_changed.emit()

    def _on_redrawn(self) -> None:
        """Notice undo and redo, which only redraw; so does a change of slice."""
        layer, frame = self._layer, self._frame
        if layer is None or frame is None or not isinstance(layer.data, np.ndarray):
            return
        if self._other_shape(layer):  # that it is replaced is told next
            return
        z = frame.current_slice(self._viewer)
        # what is taken back on another slice than the shown one redraws that
        slices = {z, *(self._touched if z == self._drawn else ())}
        self._drawn = z
        changed = {z for z in slices & set(self._counts) if self._counts[z] != self._count(z)}
        self._counts |= {z: self._count(z) for z in self._touched - set(self._counts)}
        if changed:
            self._note_change(changed if layer.n_edit_dimensions <= 2 else None)

    def _count_current(self) -> int:
        """Count the labels of the current slice, unless they are known; return the slice."""
        z = 0 if self._frame is None else self._frame.current_slice(self._viewer)
        if z not in self._counts:
            self._counts[z] = self._count(z)
        return z

    def _colour_layer(self) -> None:
        """Give our own layer the colours of the classes; an adopted one keeps its own."""
        if self._layer is None or not layer_mark(self._layer):
            return
        self._layer.colormap = label_colours(
            {v: s.colour for v, s in zip(self._values, self._styles, strict=True)}
        )

    def _labels(self) -> PaintedLabels | None:
        if self._layer is None or self._frame is None:
            return None
        axes = self._frame.geometry.axes
        return PaintedLabels(
            full_resolution(self._layer),
            axes,
            self._values,
            levels=self._levels,
            has_instances=self._ids.isChecked(),
        )

    # ---- what is shown ----------------------------------------------------------------------

    def _set_values(self, values: Sequence[int]) -> None:
        self._values = tuple(values)
        self._table.set_rows(self._styles, self._values)

    def showEvent(self, event: QShowEvent) -> None:
        """Tell what is painted, which is not followed while nobody looks."""
        super().showEvent(event)
        self._show_counts()

    def _refresh(self, *_: object) -> None:
        self._layers.set_layer(self._layer)
        self._new.setEnabled(self._frame is not None and bool(self._styles))
        self._new.setText("New" if self._layer is None else "Paint")
        self._table.setEnabled(self._layer is not None)
        is_theirs = self._layer is not None and not layer_mark(self._layer)
        self._ids.setVisible(is_theirs and len(self._styles) == 2)
        self._show_counts()

    def _count(self, z: int) -> tuple[int, ...]:
        labels = self._labels()
        if labels is None:
            return ()
        return tuple(np.bincount(labels.read(z).ravel(), minlength=256).tolist())

    def _show_counts(self, *_: object) -> None:
        """Tell what is painted on the current slice, and what is wrong."""
        labels = self._labels()
        if labels is None or self._frame is None or not self.isVisible():
            self._info.say(self._message or ("" if self._layer else _HELP))
            self._problems.say("")
            return
        z = self._count_current()
        parts = [
            f"{style.name} {n:,} px".replace(",", "\u202f")
            for style, n in zip(self._styles, self._counts[z], strict=False)
            if n
        ]
        here = f"Slice {z}: {', '.join(parts) or 'nothing painted'}."
        self._info.say(f"{self._message}\n{here}".strip())
        self._problems.say(self._fault(labels, z))

    def _fault(self, labels: PaintedLabels, z: int) -> str:
        if self._layer is not None and (fault := self._mismatch(self._layer)):
            return f"{sentence(fault)} Until then its pixels count as if it did."
        used = [value for value in self._values if value]
        if len(set(used)) < len(used):
            return "Two classes have the same label value; give each its own."
        unknown = labels.unknown(z)
        if not unknown:
            return ""
        shown = ", ".join(map(str, unknown[:5])) + (" ..." if len(unknown) > 5 else "")
        text = f"Label values on slice {z} that stand for no class and are not used: {shown}."
        are_many = len(unknown) > len(self._styles) and not self._ids.isHidden()
        return f"{text} If they are ids of objects, say so above." if are_many else text


def _spatial(geometry: Geometry) -> list[int]:
    """Axes of slices, rows and columns."""
    return [axis for axis, letter in enumerate(geometry.axes) if letter in "ZYX"]


class PaintedTable(QWidget):
    """One row a class: a button that paints it, and its label value."""

    value_changed = Signal()  # the user gave a class another value
    class_chosen = Signal(int)  # the user pressed the button of a class

    def __init__(self) -> None:
        super().__init__()
        self.buttons: list[QPushButton] = []
        self.boxes: list[QSpinBox] = []
        self._layout = QGridLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setVerticalSpacing(2)

    def values(self) -> tuple[int, ...]:
        """Label value of each class; 0 = not painted."""
        return tuple(box.value() for box in self.boxes)

    def set_rows(self, styles: Sequence[ClassStyle], values: Sequence[int]) -> None:
        """Replace the rows."""
        while (item := self._layout.takeAt(0)) is not None:
            widget = item.widget()
            widget.hide()
            widget.deleteLater()
        self.buttons, self.boxes = [], []
        for row, (style, value) in enumerate(zip(styles, values, strict=True)):
            self._add_row(row, style, value)

    def _add_row(self, row: int, style: ClassStyle, value: int) -> None:
        button = QPushButton(self)
        elide = Qt.TextElideMode.ElideRight
        button.setText(button.fontMetrics().elidedText(style.name, elide, _NAME_WIDTH_PX))
        button.setIcon(colour_icon(style.colour))
        button.setToolTip(f"Paint '{style.name}'.")
        button.clicked.connect(lambda _checked: self.class_chosen.emit(row))
        box = QSpinBox(self)
        box.setRange(0, _LARGEST_VALUE)
        box.setPrefix("label ")
        box.setSpecialValueText("not painted")
        box.setKeyboardTracking(False)
        box.setValue(value)
        box.setToolTip(f"Label value that stands for '{style.name}'.")
        box.valueChanged.connect(lambda _value: self.value_changed.emit())
        self._layout.addWidget(button, row, 0)
        self._layout.addWidget(box, row, 1)
        self._layout.setColumnStretch(0, 1)
        self.buttons.append(button)
        self.boxes.append(box)
