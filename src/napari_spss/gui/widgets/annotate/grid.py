"""The counting grid's part of the dock: lay a grid or frames, click what is hit, Done, next one."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QLabel, QRadioButton, QSpinBox, QWidget

from ....core.annotations import (
    UNSURE,
    ClassStyle,
    CountingGrid,
    Look,
    Region,
    widest_frame_px,
)
from ....core.base import InputError, counted
from ...layers import (
    FRAMES_LAYER,
    GRID_LAYER,
    REDO_KEY,
    UNDO_KEY,
    Connections,
    FrameOutlines,
    FrameState,
    GridLayer,
    SourceFrame,
    class_key,
    is_taken,
    refused_text,
    shown_key,
)
from ...models import (
    BACKGROUND,
    UNTOUCHED,
    FrameLayout,
    GridBook,
    LeftHistories,
    n_marked,
    next_slice,
    sentence,
)
from ..class_picker import ClassPicker
from ..parts import Notice, fill_column, make_button, make_row, make_text
from ..theme import set_mark
from .grid_list import GridList, tally_html

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Points

LAY_KEY = "Shift-G"
DONE_KEY = "D"
UNSURE_KEY = "U"
NEXT_KEY, BEFORE_KEY, NEXT_OPEN_KEY = "N", "B", "Shift-N"
# of a window of training, or of a smaller slice, which is shown around a node: six objects or so
_LOOK_SHARE = 0.6
_UNSURE_STYLE = ClassStyle("unsure", "#ffffff", UNSURE_KEY)
_HELP = (
    "Click the nodes whose very centre lies on the class, or drag over them. "
    "All nodes that you leave are background."
)
_NO_DIAMETER = "State or measure the object diameter, and propose again: this follows from it."
_TOOLTIP_INTERVAL = (
    "95 % Wilson interval of the fraction. It is conservative: it treats the nodes as random "
    "points, and a systematic grid normally does better."
)


class GridTool(QWidget):
    """Point counting: the fraction of nodes of a systematic grid that lie on a class.

    A grid with a random offset is laid on the current slice; or small frames, each with a grid of
    its own, are spread over the stack, and the viewer goes from one to the next. Clicking or
    dragging over nodes gives them the chosen class, a click on a node that has it takes it back.
    All other nodes become background when the grid is done; only then it counts. Every step can be
    undone.
    Changing the source keeps the grids: whoever opens another image sets the value.

    Parameters
    ----------
    viewer : ViewerModel
    is_check : bool
        Whether the nodes are those of a check count. Then frames are laid, which are a fair sample
        of the stack, and the layers have other names.

    Attributes
    ----------
    rng : numpy.random.Generator
        Draws the offsets.
    key_goes_to : GridTool
        Which tool lays something when the key is pressed in the viewer.

    Signals
    -------
    value_changed()
        `value` is another one now, by whatever hand.
    grid_done(int)
        The grid of this slice, or a frame on it, was marked as counted.
    called()
        The key that lays a grid was pressed in the viewer.
    """

    value_changed = Signal()
    called = Signal()
    grid_done = Signal(int)

    def __init__(self, viewer: ViewerModel, *, is_check: bool = False) -> None:
        super().__init__()
        self._viewer = viewer
        self._is_check = is_check
        self._is_aside = is_check
        self.key_goes_to = self
        self.rng = np.random.default_rng()
        self.book = GridBook()
        self._source: SourceFrame | None = None
        self._is_here = False
        self._styles: tuple[ClassStyle, ...] = ()
        self._suggested: tuple[int, ...] = ()
        self._window_px, self._has_diameter = FrameLayout.size_px, True
        self._fraction: float | None = None
        self._current_frame: Region | None = None
        self._value: tuple[CountingGrid, ...] = ()
        self._left: LeftHistories[tuple[CountingGrid, ...]] = LeftHistories()
        self._shown_slice = -1
        self._stroke_mark = UNTOUCHED
        self._has_stroke_changed = False
        self._message, self._fault, self._stack_text = "", "", ""
        self._refused_keys: tuple[str, ...] = ()
        self._bound_layer: Points | None = None
        self._unbind_key: Callable[..., None] | None = None
        self._build()
        self._layer = GridLayer(
            viewer,
            on_stroke=self._on_stroke,
            on_idle_click=self._on_idle_click,
            on_removed=self._on_layer_removed,
            role="check count" if is_check else GRID_LAYER,
        )
        self._layer.pixel_ratio = self.devicePixelRatioF()
        self._outlines = FrameOutlines(viewer, "check frames" if is_check else FRAMES_LAYER)
        self._connections = Connections()
        self._connections.connect(viewer.dims.events.point, self._on_slider)
        self.destroyed.connect(self._connections.disconnect_all)
        self.destroyed.connect(self._layer.close)
        self.destroyed.connect(self._outlines.close)
        if not is_check:
            self._bind_viewer_key()
        self._refresh()

    def _build(self) -> None:
        self._plan = make_button(
            "Propose",
            self.propose,
            "Propose what to count in the time that you have: grids over whole slices, or frames.\n"
            "It follows from the size of the image and the object diameter.",
        )
        self._minutes = self._number((1, 999), "Time that you have.", " min")
        self._minutes.setPrefix("for ")
        self._minutes.setValue(5)
        self._on_slice = QRadioButton("Whole slice")
        self._on_slice.setToolTip("Count a grid over the whole of a slice.")
        self._in_frames = QRadioButton("Frames")
        self._in_frames.setToolTip(
            "Count small frames, spread over the stack, at full zoom.\n"
            "For large images, where the nodes of one grid would lie too far apart."
        )
        (self._in_frames if self._is_check else self._on_slice).setChecked(True)
        self._in_frames.toggled.connect(self._on_kind)
        self._lay = make_button("Lay grid", self.lay_grid)
        self._n_side = self._number(
            (4, 64),
            "About this many nodes along a side of the next grid. 16 x 16 nodes tell a fraction of "
            "6 % to about 1.5 percentage points.",
        )
        self._n_side.setValue(16)
        self._n_side_label = QLabel("nodes a side")
        n_frames = self._number((1, 9999), "How many frames to lay.", " frames")
        n_frames.valueChanged.connect(
            lambda n: n_frames.setSuffix(" frame" if n == 1 else " frames")
        )
        frame_px = self._number(
            (1, 99999), "About the side of a frame, in pixels of the image.", " px wide"
        )
        frame_nodes = self._number(
            (1, 64), "Nodes along a side of a frame: 8 is 8 x 8 nodes.", " nodes a side"
        )
        # by field of a FrameLayout
        self._frame_boxes = {"n": n_frames, "size_px": frame_px, "nodes_per_side": frame_nodes}
        self._show_layout(FrameLayout())
        self._before = make_button(
            "Before", partial(self.walk, step=-1), f"The frame before ({BEFORE_KEY})."
        )
        self._next = make_button("Next", self.walk, f"The next frame ({NEXT_KEY}).")
        self._next_open = make_button(
            "Next open",
            partial(self.walk, is_open=True),
            f"The next frame that is not counted ({shown_key(NEXT_OPEN_KEY)}).",
        )
        self._stack_fraction = Notice()
        self._progress = make_text()
        self._picker = ClassPicker()
        self._tally = make_text(tooltip=_TOOLTIP_INTERVAL)
        self._news = Notice()
        self._problems = Notice(is_warning=True)
        self._undo = make_button(
            "Undo", self.undo, f"Take the last step back ({shown_key(UNDO_KEY)})."
        )
        self._redo = make_button("Redo", self.redo, f"Repeat it ({shown_key(REDO_KEY)}).")
        self._done = make_button("Done", self.finish)
        self._remove = make_button("Remove", self.remove)
        self._goes_on = QCheckBox()
        self._goes_on.setChecked(True)
        self._list = GridList()
        self._list.region_chosen.connect(self._on_row)
        walk, steps = (
            (self._before, self._next, self._next_open),
            (self._undo, self._redo, self._remove),
        )
        fill_column(
            *(self, make_row((self._plan, 1), (self._minutes, 1))),
            make_row((self._on_slice, 1), (self._in_frames, 1)),
            make_row((self._lay, 1), self._n_side_label, self._n_side, (n_frames, 1)),
            make_row((frame_px, 9), (frame_nodes, 10)),
            *(self._problems, self._picker, self._progress, self._tally),
            *(self._stack_fraction, self._news, make_row(*walk), make_row(*steps)),
            *(make_row((self._done, 1), self._goes_on), self._list, None),
        )
        for choice in (self._on_slice, self._in_frames):
            choice.setVisible(not self._is_check)

    def _number(self, bounds: tuple[int, int], tooltip: str, suffix: str = "") -> QSpinBox:
        box = QSpinBox()
        box.setRange(*bounds)
        box.setSuffix(suffix)
        box.setToolTip(tooltip)
        box.valueChanged.connect(lambda _: self._mark_field(None))
        return box

    # ---- the widget's value -----------------------------------------------------------------

    def set_source(self, layer: Image | None) -> None:
        """Point out the annotated image layer, or that there is none at the moment.

        Raises
        ------
        InputError
            If the layer's axes are not those of a stack.
        """
        if layer is not None:
            self._source = SourceFrame(layer)
            self._layer.set_frame(self._source)
            self._outlines.set_frame(self._source)
            self._shown_slice = -1
        self._is_here = layer is not None
        self._propose()
        self._refresh()

    def set_classes(self, styles: Sequence[ClassStyle]) -> None:
        """Set the classes, background first; a renamed class keeps its nodes.

        Nodes of a class that is gone become unsure, and a text says so; they come back with it.
        """
        old, new = ([style.name for style in these] for these in (self._styles, styles))
        n_lost = self.book.follow_classes(old, new)
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

    def set_window_px(self, window_px: int, *, has_diameter: bool = True) -> None:
        """Tell how many pixels of the image a window of training is wide, about ten objects.

        Without a stated diameter of the objects it may be many, or few.
        """
        self._window_px, self._has_diameter = window_px, has_diameter
        self._propose()

    def set_stack_fraction(
        self, text: str, tooltip: str = "", *, fraction: float | None = None
    ) -> None:
        """Say what the counted frames tell of the whole stack; nothing if the text is empty.

        Parameters
        ----------
        text, tooltip : str
        fraction : float, optional
            Counted fraction of the rarest class, 0-1, which a plan builds upon.
        """
        self._stack_text, self._fraction = text, fraction
        self._stack_fraction.setToolTip(tooltip)
        self._show_walk()

    def value(self) -> tuple[CountingGrid, ...]:
        """All grids by slice, then frames; only those that are done count as proportions."""
        return self._value

    def set_value(self, grids: Iterable[CountingGrid]) -> None:
        """Replace all grids and frames.

        The history is forgotten; it comes back with the grids of an image that was left.
        """
        self._message = ""
        self._replace(grids)
        self._current_frame = None
        is_framing = self._is_check
        if self.book.value():
            is_framing = bool(self.book.frames(is_open=True)) or not self.book.slices()
        (self._in_frames if is_framing else self._on_slice).setChecked(True)
        self._revive()
        self._propose()
        self._refresh()

    def _replace(self, grids: Iterable[CountingGrid]) -> None:
        left = self.book.value(), self.book.history
        self.book.set_value(grids)
        if self._source is not None:
            now = self.book.value(), self.book.history
            self.book.history = self._left.exchange(self._source.layer, left, now)

    @property
    def layer(self) -> Points | None:
        """Layer that shows the nodes of the current slice, if there is one."""
        return self._layer.layer

    def let_go(self) -> None:
        """Leave the viewer and the layers to another tool, for good."""
        self._connections.disconnect_all()
        self._layer.close()
        self._outlines.close()
        if self._unbind_key is not None:
            self.destroyed.disconnect(self._unbind_key)
            self._unbind_key()

    def step_aside(self, is_aside: bool) -> None:
        """Show no node and no frame, as while those of another tool are judged; or show them."""
        self._is_aside = is_aside
        self._refresh()
        if self._is_check and not is_aside:
            self._layer.activate()

    # ---- what the user does -----------------------------------------------------------------

    def propose(self) -> None:
        """Propose what to count in the time that there is, and choose it."""
        from ....core.simulation import plan_counting

        if not self._is_ready() or self._source is None:
            return
        minutes = float(self._minutes.value())
        plan = plan_counting(
            *(self._source, self._window_px, minutes),
            fraction=self._fraction,
            only_frames=self._is_check,
        )
        if plan.size_px is None:
            self._on_slice.setChecked(True)
            self._n_side.setValue(plan.nodes_per_side)
        else:
            self._in_frames.setChecked(True)
            self._fill(FrameLayout(plan.n, plan.size_px, plan.nodes_per_side))
        texts = plan.messages(of="the rarest class" if len(self._styles) > 2 else "")
        self._message = "\n".join(f"{sentence(text)}." for text in texts)
        if not self._has_diameter:
            self._message += f"\n{_NO_DIAMETER}"
        self._refresh()

    def lay_grid(self) -> None:
        """Lay a grid on the current slice, or frames; or show what is there."""
        self._message = ""
        if not self._is_ready():
            self._message = "Choose an image first."
        elif self._layer.was_removed and self._grid() is not None:
            self._revive()
        elif self._is_framing():
            self._lay_frames()
        elif self._grid() is not None:
            self._message = "This slice has a grid. Remove it first if you want another one."
        else:
            self._message = _HELP
            self._try_lay(self._current_slice())
        self._refresh()
        self._layer.activate()

    def _on_lay_key(self) -> None:
        """Lay what there is none of: more frames beside open ones only by the button."""
        if self._is_ready() and self._is_framing() and self.book.frames(is_open=True):
            self._message = f"There are open frames. {self._lay.text()} lays others beside them."
            self._show_notices()
        else:
            self.lay_grid()
        self.called.emit()

    def _lay_frames(self) -> None:
        assert self._source is not None
        try:
            first = self.book.lay_frames(self._source, self._layout(), rng=self.rng)
        except InputError as error:
            self._mark_field(error.field, sentence(str(error)))
            return
        self._message = f"{_HELP} Then press Done ({DONE_KEY}): it goes to the next frame."
        self._revive()
        self._go_to(first)

    def walk(self, *, step: int = 1, is_open: bool = False) -> None:
        """Go to the next frame in their order or to the one before, or to one that is open."""
        if not self._is_framing():
            return
        self._message = ""
        current = self._current_frame
        grid = None if current is None else self.book.grid(current)
        is_left = grid is not None and not grid.is_done and self._grid() is None
        target = current
        if not (is_open and is_left):  # it was left by the slider: back to it
            target = self.book.next_frame(current, step=step, is_open=is_open)
        self._revive()
        if target is not None:
            self._go_to(target)
        elif is_open:
            self._message = self._all_counted()
        self._refresh()
        self._layer.activate()

    def undo(self) -> None:
        """Take the last step back, on whichever slice it was."""
        self._travel(self.book.undo())

    def redo(self) -> None:
        """Repeat the step that was last taken back."""
        self._travel(self.book.redo())

    def judge_again(self, look: Look, verdict: int) -> None:
        """Give a node the class of its second look; `undo` takes it back."""
        if self.book.judge_again(look, verdict):
            self._refresh()

    def look_at(self, look: Look) -> None:
        """Show a node, and what is around it, in its grid or frame."""
        self._message = ""
        self._revive()
        is_in_frame = look.region.box is not None
        (self._in_frames if is_in_frame else self._on_slice).setChecked(True)
        if is_in_frame:
            self._current_frame = look.region
        if self._source is not None:
            shape = self._source.shape_of(look.region.slice)
            half = _LOOK_SHARE * min(self._window_px, *shape) / 2
            (top, bottom), (left, right) = (
                (max(0, round(at - half)), max(1, round(at + half))) for at in (look.y, look.x)
            )
            around = Region(look.region.slice, (top, left, bottom, right))
            self._source.look_at(self._viewer, around)
        self._refresh()

    def finish(self) -> None:
        """Mark the current slice or frame as counted and move on; or reopen a counted one."""
        grid = self._grid()
        if grid is None:
            return
        self._message = ""
        region = grid.region
        self._revive()
        if grid.is_done:
            self.book.reopen(region)
            self._refresh()
            self._layer.activate()
            return
        has_hits = bool((grid.class_index > BACKGROUND).any())
        self.book.finish(region)
        name = self._name_of(region)
        if self._goes_on.isChecked() and region.box is not None:
            self._go_on(region)
        elif self._goes_on.isChecked():
            self._move_on(region.slice)
        if not has_hits:
            nothing = f"No node of {name} is marked: it counts as empty. If not, Reopen it."
            self._message = f"{nothing} {self._message}".strip()
        self._refresh()
        self._layer.activate()
        self.grid_done.emit(region.slice)

    def remove(self) -> None:
        """Remove the grid of the current slice; or all open frames, if some are begun after asking.

        No frame can be removed by itself: the others would no longer be a fair sample.
        """
        if self._is_framing():
            self._remove_open_frames()
            return
        grid = self._grid()
        if grid is not None:
            self.book.remove(grid.region)
            self._message = "Removed; Undo brings the grid back."
            self._refresh()

    def _remove_open_frames(self) -> None:
        frames = self.book.frames(is_open=True)
        n = sum(n_marked(grid) for grid in map(self.book.grid, frames) if grid is not None)
        question = (
            f"{counted(n, 'marked node')} would go with the open frames. "
            f"Press {self._remove.text()} once more to go on."
        )
        if n and self._message != question:
            self._message = question
        elif frames:
            self.book.remove(*frames)
            self._message = f"Removed: {counted(len(frames), 'open frame')}. Undo brings them back."
        self._refresh()

    def _go_on(self, region: Region) -> None:
        target = self.book.next_frame(region, is_open=True)
        if target is None:
            self._message = self._all_counted()
        else:
            self._go_to(target)

    def _all_counted(self) -> str:
        return f"All {counted(len(self.book.frames()), 'frame')} are counted."

    def _name_of(self, region: Region) -> str:
        if region.box is None:
            return f"slice {region.slice}"
        return f"frame {self.book.frames().index(region) + 1}"

    def _move_on(self, z: int) -> None:
        assert self._source is not None
        counted = self.book.counted()
        open_suggestions = [
            s for s in self._suggested if s not in counted and 0 <= s < self._source.n_slices
        ]
        target = next(iter(open_suggestions), next_slice(self._source.n_slices, counted))
        if target is None:
            self._message = "All slices are counted."
            return
        if self.book.grid(Region(target)) is None:
            self._try_lay(target, with_last=True)
        self._message = f"Slice {z} is counted. This is slice {target}."
        self._source.go_to(self._viewer, target)

    def _try_lay(self, z: int, *, with_last: bool = False) -> None:
        self._revive()
        assert self._source is not None
        n_side = self._n_side.value()
        try:
            self.book.lay(
                z, self._source.shape_of(z), n_side=n_side, rng=self.rng, with_last=with_last
            )
        except InputError as error:
            self._message = str(error)

    def _travel(self, where: Region | None) -> None:
        self._message = ""
        if where is not None:
            self._revive()
            (self._on_slice if where.box is None else self._in_frames).setChecked(True)
            self._go_to(where)
        self._refresh()

    def _go_to(self, region: Region) -> None:
        """Show a slice, or a frame at full zoom; of a frame that is gone, its slice."""
        if region.box is not None:
            self._current_frame = region if self.book.grid(region) is not None else None
        if self._source is not None:
            if self.book.grid(region) is None:
                region = Region(region.slice)
            self._source.look_at(self._viewer, region)
        self._refresh()

    def _on_row(self, region: Region) -> None:
        self._message = ""
        self._go_to(region)
        self._layer.activate()  # so that the keys hold

    def _on_kind(self) -> None:
        """Count whole slices, or frames, from now on."""
        self._message = ""
        self._refresh()

    def _is_framing(self) -> bool:
        return self._in_frames.isChecked()

    def _revive(self) -> None:
        self._layer.revive()
        self._outlines.revive()

    def _on_stroke(self, nodes: NDArray[np.intp], is_first: bool) -> None:
        grid = self._grid()
        if grid is None:
            return
        if is_first:
            chosen = self._picker.value()
            chosen = UNTOUCHED if chosen in (None, BACKGROUND) else chosen
            has_it = grid.class_index[nodes[0]] == chosen
            self._stroke_mark = UNTOUCHED if has_it else chosen
            self._has_stroke_changed = False
            self._message = ""
        changed = self.book.mark(
            grid.region, nodes, self._stroke_mark, with_last=self._has_stroke_changed
        )
        self._has_stroke_changed |= changed
        if changed:
            self._refresh()

    def _on_idle_click(self) -> None:
        grid = self._grid()
        if grid is not None and grid.is_done:
            what = "slice" if grid.box is None else "frame"
            self._message = f"This {what} is counted. Press Reopen to change it."
        else:
            self._message = "Nodes can be marked in the 2D view of single slices only."
        self._show_notices()

    def _on_layer_removed(self) -> None:
        self._message = (
            "The grid's layer was deleted; the counts are kept. Show grid shows it again."
        )
        self._refresh()

    def _on_slider(self) -> None:
        if self._source is not None and self._current_slice() != self._shown_slice:
            if self._message.startswith(_HELP) and self._grid() is None:
                self._message = ""
            self._refresh()

    # ---- what is shown ----------------------------------------------------------------------

    def _is_ready(self) -> bool:
        return self._is_here and self._source is not None and bool(self._styles)

    def _current_slice(self) -> int:
        return 0 if self._source is None else self._source.current_slice(self._viewer)

    def _grid(self) -> CountingGrid | None:
        """Grid of the slice that is shown, or of the current frame if it lies there."""
        region: Region | None = Region(self._current_slice())
        if self._is_framing():
            frame = self._current_frame
            region = frame if frame is not None and frame.slice == self._current_slice() else None
        return self.book.grid(region) if self._is_ready() and region is not None else None

    def _refresh(self) -> None:
        """Follow the book and the slider, and tell if the value has changed."""
        self._shown_slice = self._current_slice()
        grid = self._grid()
        if self._is_ready():
            self._show_outlines()
            self._layer.show(None if self._is_aside else grid, self._styles)
        self._bind_layer_keys()
        self._show_buttons(grid)
        self._show_walk()
        self._tally.setText(tally_html(grid, self._styles))
        self._tally.setVisible(grid is not None or not self._is_framing())
        regions = self.book.frames()
        current = self._current_frame
        if not self._is_framing():
            regions = tuple(map(Region, self.book.slices()))
            current = Region(self._shown_slice)
        self._list.show_grids(self.book, regions, current, self._styles)
        self._show_notices()
        value = self.book.value()
        is_other, self._value = value != self._value, value
        if is_other:
            self._propose()
            self.value_changed.emit()

    def _show_outlines(self) -> None:
        is_open = set(self.book.frames(is_open=True))
        frames = self.book.frames() if self._is_framing() and not self._is_aside else ()
        states: dict[Region, FrameState] = {
            region: "open" if region in is_open else "done" for region in frames
        }
        if self._current_frame in states:
            del states[self._current_frame]
            states[self._current_frame] = "current"  # last, over the edges of its neighbours
        self._outlines.show(states)

    def _show_buttons(self, grid: CountingGrid | None) -> None:
        is_done = grid is not None and grid.is_done
        is_framing = self._is_framing()
        what = "frame" if is_framing else "slice"
        lay = "Lay grid"
        if is_framing:
            lay = "Lay more frames" if self.book.frames() else "Lay frames"
        key = shown_key(LAY_KEY)
        self._plan.setEnabled(self._is_ready())
        self._lay.setEnabled(self._is_ready())
        self._lay.setText("Show grid" if grid and self._layer.was_removed else lay)
        self._lay.setToolTip(
            f"Spread small frames over the stack, at random, beside those that are there ({key})."
            if is_framing
            else f"Lay a grid on this slice, at a random offset ({key})."
        )
        self._picker.setEnabled(self._is_ready() and not is_done)
        self._undo.setEnabled(self.book.history.canUndo())
        self._redo.setEnabled(self.book.history.canRedo())
        self._remove.setText("Remove open" if is_framing else "Remove")
        self._remove.setToolTip(
            "Remove all frames that are not counted. Undo brings them back.\n"
            "A frame that cannot be judged stays: mark its nodes unsure. Without it the others "
            "would not be a fair sample."
            if is_framing
            else "Remove the grid of this slice. Undo brings it back."
        )
        can_remove = self.book.frames(is_open=True) if is_framing else grid is not None
        self._remove.setEnabled(bool(can_remove))
        self._done.setEnabled(grid is not None)
        self._done.setText("Reopen" if is_done else "Done")
        self._done.setToolTip(
            f"Change the count of this {what}."
            if is_done
            else f"This {what} is counted: all nodes that you did not mark are background "
            f"({DONE_KEY})."
        )
        self._goes_on.setText("then the next open one" if is_framing else "then the next slice")
        self._goes_on.setToolTip(
            "After Done, go to the next frame that is not counted."
            if is_framing
            else "After Done, go to the slice that spreads the counted ones best over the stack, "
            "and lay a grid there."
        )

    def _show_walk(self) -> None:
        """Show what belongs to frames, or what belongs to grids over slices."""
        is_framing = self._is_framing()
        frames = self.book.frames()
        for widget in (self._n_side, self._n_side_label):
            widget.setVisible(not is_framing)
        for widget in self._frame_boxes.values():
            widget.setVisible(is_framing)
        for widget in (self._progress, self._before, self._next, self._next_open):
            widget.setVisible(is_framing and bool(frames))
        self._stack_fraction.say(self._stack_text if is_framing else "")
        self._progress.setText(self.book.progress(self._current_frame))
        self._next_open.setEnabled(bool(self.book.frames(is_open=True)))

    def _propose(self) -> None:
        """Propose how to lay frames, unless the user has said it."""
        if not self._is_here or self._source is None or self._layout() != self._proposed:
            return
        laid = [grid for grid in self.book.value() if grid.box is not None]
        most_px = widest_frame_px(self._source) if self._is_check else None
        layout = FrameLayout.proposed(self._source, self._window_px, laid, most_px=most_px)
        self._show_layout(layout)

    def _layout(self) -> FrameLayout:
        return FrameLayout(**{name: box.value() for name, box in self._frame_boxes.items()})

    def _show_layout(self, layout: FrameLayout) -> None:
        self._proposed = layout
        self._fill(layout)

    def _fill(self, layout: FrameLayout) -> None:
        for name, box in self._frame_boxes.items():
            box.setValue(getattr(layout, name))

    def _mark_field(self, field: str | None, fault: str = "") -> None:
        """Mark the number that is wrong, and say why; without one, take that back."""
        if fault == self._fault:
            return
        self._fault = fault
        for name, box in self._frame_boxes.items():
            set_mark(box, "error" if name == field else "")
        self._show_notices()

    def _show_notices(self) -> None:
        self._news.say(self._message or self._hint())
        self._problems.say(self._fault or refused_text(self._refused_keys))

    def _hint(self) -> str:
        """Tell what to do where nothing is shown that could be counted."""
        if not self._is_ready() or self._grid() is not None:
            return ""
        key = shown_key(LAY_KEY)
        if self._is_framing() and self.book.frames(is_open=True):
            return f"Next open ({shown_key(NEXT_OPEN_KEY)}) goes to the frame to be counted next."
        if self._is_framing():
            verb = "more frames" if self.book.frames() else "frames"
            spread = f"Lay {verb} ({key}): small parts of the image, spread over all slices."
            return f"{spread} No training learns from their nodes." if self._is_check else spread
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
            NEXT_KEY: self.walk,
            BEFORE_KEY: partial(self.walk, step=-1),
            NEXT_OPEN_KEY: partial(self.walk, is_open=True),
            UNDO_KEY: self.undo,
            REDO_KEY: self.redo,
        }
        for index, style in enumerate(self._styles):
            keys[class_key(style.key)] = partial(self._picker.set_value, index)
        self._refused_keys = self._layer.bind_keys(keys)

    def _bind_viewer_key(self) -> None:
        if is_taken(LAY_KEY, self._viewer):
            return
        self._viewer.bind_key(LAY_KEY, lambda _viewer: self.key_goes_to._on_lay_key())
        self._unbind_key = partial(_unbind, weakref.ref(self._viewer))
        self.destroyed.connect(self._unbind_key)


def _unbind(viewer_of: weakref.ref[ViewerModel], *_: object) -> None:
    """Give the key back; a viewer that is being collected itself has no keys any more."""
    viewer = viewer_of()
    if viewer is not None:
        viewer.bind_key(LAY_KEY, None)


def _class_tooltip(style: ClassStyle) -> str:
    key = shown_key(style.key)
    key = f"\nKey {key} while the grid's layer is the active one." if key else ""
    return f"Mark nodes that lie on '{style.name}'.{key}"
