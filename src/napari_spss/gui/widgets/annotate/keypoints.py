"""The keypoints' part of the dock: choose a class, click; an ordinary Points layer keeps them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from napari.layers import Points
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QLabel, QWidget

from ....core.annotations import Keypoint
from ....core.base import InputError, counted
from ...layers import (
    KEYPOINTS_LAYER,
    Connections,
    KeypointLayer,
    SourceFrame,
    refused_text,
    shown_key,
)
from ...models import Strays
from ..adopt_combo import AdoptCombo
from ..class_picker import ClassPicker
from ..parts import Notice, fill_column, make_button, make_row

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

    from ....core.annotations import ClassStyle

_HELP = (
    "Choose a class, press Add keypoints and click on the image. A few per class, "
    "background included, tell the network where each class is."
)


class KeypointsTool(QWidget):
    """Labelled positions in the image.

    The keypoints live in a Points layer of that name, or in one that the user chose. Their class
    is its feature ``class``. They are kept when that layer is deleted, and shown again on demand.
    Changing the source keeps the keypoints, in pixels: whoever opens another image sets its value.
    """

    value_changed = Signal()  # `value` is another one now, by whatever hand

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = viewer
        self._frame: SourceFrame | None = None
        self._has_source = False
        self._styles: tuple[ClassStyle, ...] = ()
        self._value: tuple[Keypoint, ...] = ()
        self._message = ""
        self._build()
        self._points = KeypointLayer(viewer, self._refresh)
        self._connections = Connections()
        connect = self._connections.connect
        connect(viewer.layers.selection.events.active, self._refresh)
        connect(viewer.dims.events.point, self._show_counts)
        self.destroyed.connect(self._connections.disconnect_all)
        self.destroyed.connect(self._points.close)
        self._refresh()

    def let_go(self) -> None:
        """Leave the viewer and the layer to another tool, for good."""
        self._connections.disconnect_all()
        self._layers.let_go()
        self._points.close()

    def _build(self) -> None:
        self._picker = ClassPicker()
        self._picker.chosen.connect(lambda index: self._points.set_active_class(index))
        self._add = make_button("Add keypoints", lambda: self._toggle("add"), _HELP)
        self._add.setCheckable(True)
        self._select = make_button(
            "Select / move",
            lambda: self._toggle("select"),
            "Select keypoints to drag them, to delete them (Delete key), or to give them another "
            "class by its button or key.",
        )
        self._select.setCheckable(True)
        self._layers = AdoptCombo(self._viewer, Points, KEYPOINTS_LAYER, "new layer")
        self._layers.setToolTip(
            "The Points layer that holds the keypoints. Choose one of your own to adopt it: its "
            "feature 'class' names the classes, and keypoints without one get the chosen class."
        )
        self._layers.adopted.connect(self._on_layer_chosen)
        self._counts, self._news, self._problems = Notice(), Notice(), Notice(is_warning=True)
        self._counts.setToolTip("Keypoints that are used in training, per class.")
        fill_column(
            *(self, self._picker, make_row((self._add, 1), (self._select, 1))),
            make_row(QLabel("Layer"), (self._layers, 1)),
            *(self._counts, self._news, self._problems, None),
        )

    # ---- the widget's value -----------------------------------------------------------------

    def set_source(self, layer: Image | None) -> None:
        """Point out the annotated image layer, or that there is none at the moment.

        InputError if the layer's axes are not those of a stack.
        """
        if layer is not None:
            self._frame = SourceFrame(layer)
            self._points.set_frame(self._frame)
        self._has_source = layer is not None
        self._refresh()

    def set_classes(self, styles: Sequence[ClassStyle]) -> None:
        """Set the classes, background first; a renamed class keeps its keypoints."""
        self._styles = tuple(styles)
        self._points.set_styles(self._styles)
        indexed = tuple(enumerate(self._styles))
        self._picker.set_classes(
            [
                (index, style, f"Make the next keypoints '{style.name}'.{_key_hint(style)}")
                for index, style in (*indexed[1:], *indexed[:1])  # the background comes last
            ]
        )
        self._refresh()

    def set_radius_px(self, radius_px: float) -> None:
        """Draw the keypoints as discs of this radius in pixels of the image."""
        self._points.set_radius_px(radius_px)

    def value(self) -> tuple[Keypoint, ...]:
        """Keypoints that lie in the image and have a known class, in the layer's order."""
        return self._value

    def set_value(self, points: Iterable[Keypoint]) -> None:
        """Replace all keypoints; a layer for them is made if there is an image."""
        self._message = ""
        self._points.set_points(points)

    def set_denied(self, points: Iterable[Keypoint]) -> None:
        """Mark those keypoints where the map of a training that ended shows another class."""
        self._points.set_denied(points)

    def denied_text(self) -> str:
        """Say how many keypoints are marked so; empty if none."""
        denied = self._points.denied()
        if not denied:
            return ""
        slices = ", ".join(map(str, sorted({point.slice for point in denied})))
        return (
            f"{len(denied)} of {counted(len(self._value), 'keypoint')} did not take effect: the "
            f"network shows another class at the crosses (slice {slices}). Apply sets this image "
            "right there, but not what looks like it elsewhere: press Train to begin anew with "
            "them or, if no grid is counted, set keypoints on some of that, too, and press "
            "Continue."
        )

    @property
    def layer(self) -> Points | None:
        """Layer that shows the keypoints, if there is one."""
        return self._points.layer

    # ---- what the user does -----------------------------------------------------------------

    def start_adding(self) -> None:
        """Make the layer active, in add mode; made anew if it was deleted."""
        self._activate("add")

    def _toggle(self, mode: str) -> None:
        layer = self._points.layer
        if layer is not None and self._is_active() and layer.mode == mode:
            layer.mode = "pan_zoom"
        else:
            self._activate(mode)
        self._refresh()

    def _activate(self, mode: str) -> None:
        self._message = ""
        try:
            layer = self._points.show()
        except InputError as error:
            self._message = str(error)
            self._refresh()
            return
        layer.visible = True
        self._viewer.layers.selection.active = layer
        layer.mode = mode

    def _on_layer_chosen(self, layer: Points | None) -> None:
        self._message = ""
        try:
            if layer is None:
                self._points.start_anew()
            elif layer is not self._points.layer:
                self._message = self._points.adopt(layer)
        except InputError as error:
            self._message = str(error)
        self._refresh()

    # ---- what is shown ----------------------------------------------------------------------

    def _is_active(self) -> bool:
        layer = self._points.layer
        return layer is not None and self._viewer.layers.selection.active is layer

    def _refresh(self, *_: object) -> None:
        """Follow the layer, and tell if the value has changed."""
        points = self._points
        self._picker.set_value(points.active_class)
        mode = points.layer.mode if points.layer is not None and self._is_active() else ""
        self._add.setChecked(mode == "add")
        self._select.setChecked(mode == "select")
        can_edit = self._has_source and bool(self._styles)
        self._add.setEnabled(can_edit)
        self._select.setEnabled(can_edit)
        self._layers.setEnabled(can_edit)
        self._layers.set_layer(points.layer)
        value = points.points()
        is_other, self._value = value != self._value, value
        self._show_counts()
        self._show_notices()
        if is_other:
            self.value_changed.emit()

    def _show_counts(self, *_: object) -> None:
        if not self._value:
            self._counts.say(f"No keypoints yet. {_HELP}")
            self._points.set_slice_has_points(False)
            return
        counts = Counter(point.class_index for point in self._value)
        parts = [f"{style.name} {counts[i]}" for i, style in enumerate(self._styles) if counts[i]]
        text = ", ".join(parts)
        here = 0 if self._frame is None else self._frame.current_slice(self._viewer)
        n_here = sum(point.slice == here for point in self._value)
        self._points.set_slice_has_points(n_here > 0)
        if self._frame is not None and self._frame.n_slices > 1:
            text += f" ({n_here} of {len(self._value)} on slice {here})"
        self._counts.say(text)

    def _show_notices(self) -> None:
        self._news.say(self._message)
        lines = list(_stray_lines(self._points.strays()))
        lines.append(self.denied_text())
        if self._points.lost_layer:
            lines.append(
                f"The layer was deleted; {counted(len(self._value), 'keypoint')} of it stay in "
                "use. Press Add keypoints to see them again."
            )
        lines.append(refused_text(self._points.refused_keys))
        self._problems.say("\n".join(filter(None, lines)))


def _key_hint(style: ClassStyle) -> str:
    key = shown_key(style.key)
    return f"\nKey {key} while the layer of keypoints is the active one." if key else ""


def _stray_lines(strays: Strays) -> Iterable[str]:
    if strays.n_outside:
        what, them = ("keypoint lies", "it") if strays.n_outside == 1 else ("keypoints lie", "them")
        yield (
            f"{strays.n_outside} {what} outside the image: neither used nor saved; move {them} in."
        )
    for name, n in Counter(strays.unknown).items():
        what = "keypoint has" if n == 1 else "keypoints have"
        fault = f"the unknown class '{name}'" if name else "no class"
        yield (
            f"{n} {what} {fault}: neither used nor saved; select them and press a class, or add "
            "the class."
        )
