"""The counting grid's part of the dock: lay a grid, click what is hit, Done, next slice."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from ....core.annotations import UNSURE, ClassStyle, CountingGrid
from ....core.base import InputError, counted
from ...layers import REDO_KEY, UNDO_KEY, Connections, GridLayer, SourceFrame, is_taken, shown_key
from ...models import (
    BACKGROUND,
    UNTOUCHED,
    GridBook,
    GridSheet,
    next_slice,
)
from ..class_picker import ClassPicker
from ..notice import Notice
from .grid_list import GridList, tally_html

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Points

__all__ = ["LAY_KEY", "GridTool"]

LAY_KEY = "Shift-G"
DONE_KEY = "D"
UNSURE_KEY = "U"
_UNSURE_STYLE = ClassStyle("unsure", "#ffffff", UNSURE_KEY)
_HELP = (
    "Click the nodes whose very centre lies on the class, or drag over them. "
    "All nodes that you leave are background."
)
_TOOLTIP_INTERVAL = (
    "95 % Wilson interval of the fraction. It is conservative: it treats the nodes as random "
    "points, and a systematic grid normally does better."
)


class GridTool(QWidget):
    """Point counting: the fraction of nodes of a systematic grid that lie on a class.

    A grid with a random offset is laid on the current slice. Clicking or dragging over nodes gives
    them the chosen class, a click on a node that has it takes it back. All other nodes become
    background when the grid is done; only then it counts. Every step can be undone.
    Changing the source keeps the grids: whoever opens another image sets the value.

    Parameters
    ----------
    viewer : ViewerModel
    parent : QWidget, optional
    rng : numpy.random.Generator, optional
        Draws the offsets.

    Signals
    -------
    value_changed()
        `value` is another one now, by whatever hand.
    grid_done(int)
        The grid of this slice was marked as counted.
    called()
        The key that lays a grid was pressed in the viewer.
    """

    value_changed = Signal()
    called = Signal()
    grid_done = Signal(int)

    def __init__(
        self,
        viewer: ViewerModel,
        parent: QWidget | None = None,
        *,
        rng: np.random.Generator | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._rng = rng or np.random.default_rng()
        self._book = GridBook()
        self._frame: SourceFrame | None = None
        self._has_source = False
        self._styles: tuple[ClassStyle, ...] = ()
        self._suggested: tuple[int, ...] = ()
        self._value: tuple[CountingGrid, ...] = ()
        self._shown_slice = -1
        self._stroke_mark = UNTOUCHED
        self._has_stroke_changed = False
        self._message = ""
        self._refused_keys: tuple[str, ...] = ()
        self._bound_layer: Points | None = None
        self._build()
        self._layer = GridLayer(
            viewer,
            on_stroke=self._on_stroke,
            on_idle_click=self._on_idle_click,
            on_removed=self._on_layer_removed,
        )
        self._layer.set_pixel_ratio(self.devicePixelRatioF())
        self._connections = Connections()
        self._connections.connect(viewer.dims.events.point, self._on_slider)
        self.destroyed.connect(self._connections.disconnect_all)
        self.destroyed.connect(self._layer.close)
        self._bind_viewer_key()
        self._refresh()

    def _build(self) -> None:
        self._lay = self._button(
            "Lay grid",
            self.lay_grid,
            f"Lay a grid on this slice, at a random offset ({shown_key(LAY_KEY)}).",
        )
        self._n_side = QSpinBox(self)
        self._n_side.setRange(4, 64)
        self._n_side.setValue(16)
        self._n_side.setToolTip(
            "About this many nodes along a side of the next grid. 16 x 16 nodes tell a fraction of "
            "6 % to about 1.5 percentage points."
        )
        self._picker = ClassPicker(self)
        self._tally = QLabel(self)
        self._tally.setWordWrap(True)
        self._tally.setToolTip(_TOOLTIP_INTERVAL)
        self._news = Notice(self)
        self._problems = Notice(self, is_warning=True)
        self._undo = self._button(
            "Undo", self.undo, f"Take the last step back ({shown_key(UNDO_KEY)})."
        )
        self._redo = self._button("Redo", self.redo, f"Repeat it ({shown_key(REDO_KEY)}).")
        self._done = self._button("Done", self.finish, "")
        self._remove = self._button(
            "Remove", self.remove, "Remove the grid of this slice. Undo brings it back."
        )
        self._goes_on = QCheckBox("then the next slice", self)
        self._goes_on.setChecked(True)
        self._goes_on.setToolTip(
            "After Done, go to the slice that spreads the counted ones best over the stack, and "
            "lay a grid there."
        )
        self._list = GridList(self)
        self._list.slice_chosen.connect(self._go_to)

        first = QHBoxLayout()
        first.addWidget(self._lay, 1)
        first.addWidget(QLabel("nodes a side", self))
        first.addWidget(self._n_side)
        history = QHBoxLayout()
        for button in (self._undo, self._redo, self._remove):
            button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            history.addWidget(button, 1)
        last = QHBoxLayout()
        last.addWidget(self._done, 1)
        last.addWidget(self._goes_on)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(first)
        for widget in (self._picker, self._tally, self._news, self._problems):
            layout.addWidget(widget)
        layout.addLayout(history)
        layout.addLayout(last)
        layout.addWidget(self._list)
        layout.addStretch(1)

    def _button(self, text: str, act: Callable[[], None], tooltip: str) -> QPushButton:
        button = QPushButton(text, self)
        button.setToolTip(tooltip)
        button.clicked.connect(lambda _checked: act())
        return button

    # ---- the widget's value -----------------------------------------------------------------

    def set_source(
        self, layer: Image | None, *, slice_shapes: Sequence[tuple[int, int]] | None = None
    ) -> None:
        """Point out the annotated image layer, or that there is none at the moment.

        Raises
        ------
        InputError
            If the layer's axes are not those of a stack.
        """
        if layer is not None:
            self._frame = SourceFrame(layer, slice_shapes)
            self._layer.set_frame(self._frame)
            self._shown_slice = -1
        self._has_source = layer is not None
        self._refresh()

    def set_classes(self, styles: Sequence[ClassStyle]) -> None:
        """Set the classes, background first; a renamed class keeps its nodes.

        Nodes of a class that is gone become unsure, and a text says so; they come back with it.
        """
        old, new = ([style.name for style in these] for these in (self._styles, styles))
        n_lost = self._book.follow_classes(old, new)
        self._styles = tuple(styles)
        if n_lost:
            nodes = counted(n_lost, "node")
            self._message = f"Unsure now, since their class was removed: {nodes}."
        entries = [(i, s, _class_tooltip(s)) for i, s in enumerate(styles) if i != BACKGROUND]
        entries.append(
            (UNSURE, _UNSURE_STYLE, f"Leave nodes open: they do not count ({UNSURE_KEY}).")
        )
        entries.extend((0, s, "Take marks off nodes: they are background.") for s in styles[:1])
        self._picker.set_classes(entries)
        self._bound_layer = None  # the keys are bound anew
        self._refresh()

    def set_suggested_slices(self, slices: Iterable[int]) -> None:
        """Set which slices Done should go to, best first; counted ones are skipped."""
        self._suggested = tuple(slices)

    def value(self) -> tuple[CountingGrid, ...]:
        """All grids, by slice; only those that are done count as proportions."""
        return self._value

    def set_value(self, grids: Iterable[CountingGrid]) -> None:
        """Replace all grids, and forget the history."""
        self._message = ""
        self._book.set_value(grids)
        self._layer.revive()
        self._refresh()

    @property
    def layer(self) -> Points | None:
        """Layer that shows the nodes of the current slice, if there is one."""
        return self._layer.layer

    # ---- what the user does -----------------------------------------------------------------

    def lay_grid(self) -> None:
        """Lay a grid on the current slice, or show the one that is there."""
        self._message = ""
        if not self._is_ready():
            self._message = "Choose an image first."
        elif self._layer.was_removed and self._sheet() is not None:
            self._layer.revive()
        elif self._sheet() is not None:
            self._message = "This slice has a grid. Remove it first if you want another one."
        else:
            self._message = _HELP
            self._try_lay(self._current_slice())
        self._refresh()
        self._layer.activate()

    def undo(self) -> None:
        """Take the last step back, on whichever slice it was."""
        self._travel(self._book.undo())

    def redo(self) -> None:
        """Repeat the step that was last taken back."""
        self._travel(self._book.redo())

    def finish(self) -> None:
        """Mark the current slice as counted and move on; or reopen a counted one."""
        sheet = self._sheet()
        if sheet is None:
            return
        self._message = ""
        z = sheet.grid.slice
        self._layer.revive()
        if sheet.is_done:
            self._book.reopen(z)
            self._refresh()
            self._layer.activate()
            return
        has_hits = bool((sheet.marks > BACKGROUND).any())
        self._book.finish(z)
        if self._goes_on.isChecked():
            self._move_on(z)
        if not has_hits:
            nothing = f"No node of slice {z} is marked: it counts as empty. If not, Reopen it."
            self._message = f"{nothing} {self._message}".strip()
        self._refresh()
        self._layer.activate()
        self.grid_done.emit(z)

    def remove(self) -> None:
        """Remove the grid of the current slice."""
        sheet = self._sheet()
        if sheet is not None:
            self._book.remove(sheet.grid.slice)
            self._message = "Removed; Undo brings the grid back."
            self._refresh()

    def _move_on(self, z: int) -> None:
        assert self._frame is not None
        counted = self._book.counted()
        open_suggestions = [
            s for s in self._suggested if s not in counted and 0 <= s < self._frame.n_slices
        ]
        target = next(iter(open_suggestions), next_slice(self._frame.n_slices, counted))
        if target is None:
            self._message = "All slices are counted."
            return
        if self._book.sheet(target) is None:
            self._try_lay(target, with_last=True)
        self._message = f"Slice {z} is counted. This is slice {target}."
        self._frame.go_to(self._viewer, target)

    def _try_lay(self, z: int, *, with_last: bool = False) -> None:
        self._layer.revive()
        assert self._frame is not None
        n_side = self._n_side.value()
        try:
            self._book.lay(
                z, self._frame.shape_of(z), n_side=n_side, rng=self._rng, with_last=with_last
            )
        except InputError as error:
            self._message = str(error)

    def _travel(self, z: int | None) -> None:
        self._message = ""
        if z is not None:
            self._layer.revive()
            self._go_to(z)
        self._refresh()

    def _go_to(self, z: int) -> None:
        if self._frame is not None:
            self._frame.go_to(self._viewer, z)

    def _on_stroke(self, nodes: NDArray[np.intp], is_first: bool) -> None:
        sheet = self._sheet()
        if sheet is None:
            return
        if is_first:
            chosen = self._picker.value()
            chosen = UNTOUCHED if chosen in (None, BACKGROUND) else chosen
            has_it = sheet.marks[nodes[0]] == chosen
            self._stroke_mark = UNTOUCHED if has_it else chosen
            self._has_stroke_changed = False
            self._message = ""
        changed = self._book.mark(
            sheet.grid.slice, nodes, self._stroke_mark, with_last=self._has_stroke_changed
        )
        self._has_stroke_changed |= changed
        if changed:
            self._refresh()

    def _on_idle_click(self) -> None:
        sheet = self._sheet()
        if sheet is not None and sheet.is_done:
            self._message = "This slice is counted. Press Reopen to change it."
        else:
            self._message = "Nodes can be marked in the 2D view of single slices only."
        self._show_notices()

    def _on_layer_removed(self) -> None:
        self._message = (
            "The grid's layer was deleted; the counts are kept. Show grid shows it again."
        )
        self._refresh()

    def _on_slider(self) -> None:
        if self._frame is not None and self._current_slice() != self._shown_slice:
            self._refresh()

    # ---- what is shown ----------------------------------------------------------------------

    def _is_ready(self) -> bool:
        return self._has_source and self._frame is not None and bool(self._styles)

    def _current_slice(self) -> int:
        return 0 if self._frame is None else self._frame.current_slice(self._viewer)

    def _sheet(self) -> GridSheet | None:
        return self._book.sheet(self._current_slice()) if self._is_ready() else None

    def _refresh(self) -> None:
        """Follow the book and the slider, and tell if the value has changed."""
        self._shown_slice = self._current_slice()
        sheet = self._sheet()
        if self._is_ready():
            self._layer.show(sheet, self._styles)
        self._bind_layer_keys()
        self._show_buttons(sheet)
        self._tally.setText(tally_html(sheet, self._styles))
        self._list.show_grids(self._book, self._shown_slice, self._styles)
        self._show_notices()
        value = self._book.value()
        is_other, self._value = value != self._value, value
        if is_other:
            self.value_changed.emit()

    def _show_buttons(self, sheet: GridSheet | None) -> None:
        is_done = sheet is not None and sheet.is_done
        self._lay.setEnabled(self._is_ready())
        self._lay.setText("Show grid" if sheet and self._layer.was_removed else "Lay grid")
        self._picker.setEnabled(self._is_ready() and not is_done)
        self._undo.setEnabled(self._book.history.canUndo())
        self._redo.setEnabled(self._book.history.canRedo())
        self._remove.setEnabled(sheet is not None)
        self._done.setEnabled(sheet is not None)
        self._done.setText("Reopen" if is_done else "Done")
        self._done.setToolTip(
            "Change the count of this slice."
            if is_done
            else f"This slice is counted: all nodes that you did not mark are background "
            f"({DONE_KEY})."
        )

    def _show_notices(self) -> None:
        self._news.say(self._message or self._hint())
        problem = ""
        if self._refused_keys:
            keys = ", ".join(self._refused_keys)
            problem = f"Not bound, as napari uses them or they are no keys: {keys}."
        self._problems.say(problem)

    def _hint(self) -> str:
        """Tell what to do on a slice without a grid."""
        if not self._is_ready() or self._sheet() is not None:
            return ""
        key = shown_key(LAY_KEY)
        return f"Lay a grid on this slice ({key}), then click its nodes that lie on a class."

    # ---- keys -------------------------------------------------------------------------------

    def _bind_layer_keys(self) -> None:
        """Bind keys on a layer that is new; those of classes come first."""
        if self._layer.layer is self._bound_layer:
            return
        self._bound_layer = self._layer.layer
        keys: dict[str, Callable[[], None]] = {
            DONE_KEY: self.finish,
            UNSURE_KEY: partial(self._picker.set_value, UNSURE),
            UNDO_KEY: self.undo,
            REDO_KEY: self.redo,
        }
        for index, style in enumerate(self._styles):
            keys[_normal(style.key)] = partial(self._picker.set_value, index)
        self._refused_keys = self._layer.bind_keys(keys)

    def _bind_viewer_key(self) -> None:
        if is_taken(LAY_KEY, self._viewer):
            return
        self._viewer.bind_key(LAY_KEY, lambda _viewer: self._on_key())
        self.destroyed.connect(partial(_unbind, weakref.ref(self._viewer)))

    def _on_key(self) -> None:
        self.lay_grid()
        self.called.emit()


def _unbind(viewer_of: weakref.ref[ViewerModel], *_: object) -> None:
    """Give the key back; a viewer that is being collected itself has no keys any more."""
    viewer = viewer_of()
    if viewer is not None:
        viewer.bind_key(LAY_KEY, None)


def _normal(key: str) -> str:
    """Key as it is compared with others; letters have no case."""
    return key.upper() if len(key) == 1 else key


def _class_tooltip(style: ClassStyle) -> str:
    key = shown_key(style.key)
    key = f"\nKey {key} while the grid's layer is the active one." if key else ""
    return f"Mark nodes that lie on '{style.name}'.{key}"
