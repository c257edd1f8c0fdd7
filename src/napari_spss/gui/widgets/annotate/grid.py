"""The counting grid's part of the dock: lay a grid or frames, click what is hit, Done, next one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QWidget

from ....core.annotations import (
    UNSURE,
    ClassStyle,
    CountingGrid,
    Look,
    Region,
    read_annotations,
    widest_frame_px,
)
from ....core.base import InputError, counted
from ...layers import class_key, refused_text, shown_key
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
from .grid_buttons import DONE_KEY, REMOVE_OPEN, GridButtons
from .grid_form import LAY_KEY, GridForm
from .grid_list import GridList, tally_html
from .grid_view import GridView

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Points

UNSURE_KEY = "U"
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
    """

    value_changed = Signal()  # `value` is another one now, by whatever hand
    called = Signal()  # the key that lays a grid was pressed in the viewer
    grid_done = Signal(int)  # the grid of this slice, or a frame on it, was marked as counted

    def __init__(self, viewer: ViewerModel, *, is_check: bool = False) -> None:
        super().__init__()
        self._is_check = is_check
        self._is_aside = is_check
        self.key_goes_to = self
        self.rng = np.random.default_rng()
        self.book = GridBook()
        self._is_here = False
        self._styles: tuple[ClassStyle, ...] = ()
        self._suggested: tuple[int, ...] = ()
        self._window_px, self._has_diameter = FrameLayout.size_px, True
        self._fraction: float | None = None
        self._current_frame: Region | None = None
        self._value: tuple[CountingGrid, ...] = ()
        self._left: LeftHistories[tuple[CountingGrid, ...]] = LeftHistories()
        self._folder = Path()  # where tables are looked for
        self._shown_slice = -1
        self._stroke_mark = UNTOUCHED
        self._has_stroke_changed = False
        self._message, self._stack_text = "", ""
        self._refused_keys: tuple[str, ...] = ()
        self._bound_layer: Points | None = None
        self._build()
        self._view = GridView(
            viewer,
            on_stroke=self._on_stroke,
            on_idle_click=self._on_idle_click,
            on_removed=self._on_layer_removed,
            on_slider=self._on_slider,
            pixel_ratio=self.devicePixelRatioF(),
            is_check=is_check,
        )
        self.destroyed.connect(self._view.close)
        if not is_check:
            self._view.bind_viewer_key(LAY_KEY, lambda: self.key_goes_to._on_lay_key())
        self._refresh()

    def _build(self) -> None:
        self._form = GridForm(self.propose, self.lay_grid, only_frames=self._is_check)
        self._form.kind_changed.connect(self._on_kind)
        self._form.fault_changed.connect(self._show_notices)
        self._stack_fraction = Notice()
        self._progress = make_text()
        self._picker = ClassPicker()
        self._tally = make_text(tooltip=_TOOLTIP_INTERVAL)
        self._news = Notice()
        self._problems = Notice(is_warning=True)
        self._buttons = GridButtons(
            walk=self.walk, undo=self.undo, redo=self.redo, remove=self.remove, finish=self.finish
        )
        self._list = GridList()
        self._list.region_chosen.connect(self._on_row)
        self._open = make_button(
            "Open CSV…",
            self._ask_and_open,
            "Take over grids and frames from a table, such as grid.csv of napari-spss plan.\n"
            "Those that lie at their places go; Undo brings them back.",
        )
        fill_column(
            *(self, self._form, self._problems, self._picker, self._progress, self._tally),
            *(self._stack_fraction, self._news, self._buttons, self._list),
            *(make_row(self._open, None), None),
        )

    # ---- the widget's value -----------------------------------------------------------------

    def set_source(self, layer: Image | None) -> None:
        """Point out the annotated image layer, or that there is none at the moment.

        InputError if the layer's axes are not those of a stack.
        """
        if layer is not None:
            self._view.set_source(layer)
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

        A plan builds upon the counted fraction (0-1) of the rarest class.
        """
        self._stack_text, self._fraction = text, fraction
        self._stack_fraction.setToolTip(tooltip)
        self._show_stack_fraction()

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
        self._form.set_framing(is_framing)
        self._view.revive()
        self._propose()
        self._refresh()

    def _replace(self, grids: Iterable[CountingGrid]) -> None:
        left = self.book.value(), self.book.history
        self.book.set_value(grids)
        if self._view.source is not None:
            now = self.book.value(), self.book.history
            self.book.history = self._left.exchange(self._view.source.layer, left, now)

    @property
    def layer(self) -> Points | None:
        """Layer that shows the nodes of the current slice, if there is one."""
        return self._view.layer

    def let_go(self) -> None:
        """Leave the viewer and the layers to another tool, for good."""
        self._view.close()

    def step_aside(self, is_aside: bool) -> None:
        """Show no node and no frame, as while those of another tool are judged; or show them."""
        self._is_aside = is_aside
        self._refresh()
        if self._is_check and not is_aside:
            self._view.activate()

    # ---- what the user does -----------------------------------------------------------------

    def propose(self) -> None:
        """Propose what to count in the time that there is, and choose it."""
        from ....core.simulation import plan_counting

        source = self._view.source
        if not self._is_ready() or source is None:
            return
        plan = plan_counting(
            *(source, self._window_px, self._form.minutes),
            fraction=self._fraction,
            only_frames=self._is_check,
        )
        self._form.choose(plan.n, plan.nodes_per_side, plan.size_px)
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
        elif self._view.was_removed and self._grid() is not None:
            self._view.revive()
        elif self._form.is_framing:
            self._lay_frames()
        elif self._grid() is not None:
            self._message = "This slice has a grid. Remove it first if you want another one."
        else:
            self._message = _HELP
            self._try_lay(self._view.current_slice)
        self._refresh()
        self._view.activate()

    def _on_lay_key(self) -> None:
        """Lay what there is none of: more frames beside open ones only by the button."""
        if self._is_ready() and self._form.is_framing and self.book.frames(is_open=True):
            self._message = f"There are open frames. {self._form.lay_text} lays others beside them."
            self._show_notices()
        else:
            self.lay_grid()
        self.called.emit()

    def _lay_frames(self) -> None:
        assert self._view.source is not None
        try:
            first = self.book.lay_frames(self._view.source, self._form.frame_layout(), rng=self.rng)
        except InputError as error:
            self._form.mark_fault(error.field, sentence(str(error)))
            return
        self._message = f"{_HELP} Then press Done ({DONE_KEY}): it goes to the next frame."
        self._view.revive()
        self._go_to(first)

    def open_csv(self, path: str | Path) -> None:
        """Take over the grids and frames of a table, as one step, and go to the first open one.

        Raises
        ------
        InputError
            If the file cannot be read, or does not belong to this image and these classes.
        """
        names = tuple(style.name for style in self._styles)
        read = read_annotations(grid=path, classes=names, stack=self._view.source)
        if not read.grids:
            raise InputError(f"{Path(path).name} has no node.")
        n_gone = self.book.take_in(read.grids)
        what = "frame" if read.grids[0].box else "grid"
        gone = f", in place of {n_gone}" if n_gone else ""
        notes = (f"Opened {Path(path).name}: {counted(len(read.grids), what)}{gone}.", *read.notes)
        first = next((grid for grid in read.grids if not grid.is_done), read.grids[0])
        self._travel(first.region)
        self._message = " ".join(notes)
        self._show_notices()
        self._view.activate()

    def set_folder(self, folder: Path) -> None:
        """Set where tables are looked for, such as the image's folder."""
        self._folder = folder

    def _ask_and_open(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, "Open a count", str(self._folder), "CSV files (*.csv)"
        )
        if not path:
            return
        try:
            self.open_csv(path)
        except InputError as error:
            self._message = str(error)
            self._show_notices()

    def walk(self, *, step: int = 1, is_open: bool = False) -> None:
        """Go to the next frame in their order or to the one before, or to one that is open."""
        if not self._form.is_framing:
            return
        self._message = ""
        current = self._current_frame
        grid = None if current is None else self.book.grid(current)
        is_left = grid is not None and not grid.is_done and self._grid() is None
        target = current
        if not (is_open and is_left):  # it was left by the slider: back to it
            target = self.book.next_frame(current, step=step, is_open=is_open)
        self._view.revive()
        if target is not None or is_open:
            self._go_on(target)
        self._refresh()
        self._view.activate()

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
        self._view.revive()
        is_in_frame = look.region.box is not None
        self._form.set_framing(is_in_frame)
        if is_in_frame:
            self._current_frame = look.region
        self._view.look_around(look, self._window_px)
        self._refresh()

    def finish(self) -> None:
        """Mark the current slice or frame as counted and move on; or reopen a counted one."""
        grid = self._grid()
        if grid is None:
            return
        self._message = ""
        region = grid.region
        self._view.revive()
        if grid.is_done:
            self.book.reopen(region)
            self._refresh()
            self._view.activate()
            return
        has_hits = bool((grid.class_index > BACKGROUND).any())
        self.book.finish(region)
        name = self._name_of(region)
        if self._buttons.goes_on and region.box is not None:
            self._go_on(self.book.next_frame(region, is_open=True))
        elif self._buttons.goes_on:
            self._move_on(region.slice)
        if not has_hits:
            nothing = f"No node of {name} is marked: it counts as empty. If not, Reopen it."
            self._message = f"{nothing} {self._message}".strip()
        self._refresh()
        self._view.activate()
        self.grid_done.emit(region.slice)

    def remove(self) -> None:
        """Remove the grid of the current slice; or all open frames, if some are begun after asking.

        No frame can be removed by itself: the others would no longer be a fair sample.
        """
        if self._form.is_framing:
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
            f"Press {REMOVE_OPEN} once more to go on."
        )
        if n and self._message != question:
            self._message = question
        elif frames:
            self.book.remove(*frames)
            self._message = f"Removed: {counted(len(frames), 'open frame')}. Undo brings them back."
        self._refresh()

    def _go_on(self, frame: Region | None) -> None:
        """Go to the frame that is to be counted next, or tell that there is none."""
        if frame is None:
            self._message = f"All {counted(len(self.book.frames()), 'frame')} are counted."
        else:
            self._go_to(frame)

    def _name_of(self, region: Region) -> str:
        if region.box is None:
            return f"slice {region.slice}"
        return f"frame {self.book.frames().index(region) + 1}"

    def _move_on(self, z: int) -> None:
        assert self._view.source is not None
        counted, n_slices = self.book.counted(), self._view.source.n_slices
        laid_or_suggested = (*self.book.slices(), *self._suggested)
        wanted = [s for s in laid_or_suggested if s not in counted and 0 <= s < n_slices]
        target = next(iter(wanted), next_slice(n_slices, counted))
        if target is None:
            self._message = "All slices are counted."
            return
        if self.book.grid(Region(target)) is None:
            self._try_lay(target, with_last=True)
        self._message = f"Slice {z} is counted. This is slice {target}."
        self._view.go_to(target)

    def _try_lay(self, z: int, *, with_last: bool = False) -> None:
        self._view.revive()
        assert self._view.source is not None
        shape, n_side = self._view.source.shape_of(z), self._form.n_side
        try:
            self.book.lay(z, shape, n_side=n_side, rng=self.rng, with_last=with_last)
        except InputError as error:
            self._message = str(error)

    def _travel(self, where: Region | None) -> None:
        self._message = ""
        if where is not None:
            self._view.revive()
            self._form.set_framing(where.box is not None)
            self._go_to(where)
        self._refresh()

    def _go_to(self, region: Region) -> None:
        """Show a slice, or a frame at full zoom; of a frame that is gone, its slice."""
        is_gone = self.book.grid(region) is None
        if region.box is not None:
            self._current_frame = None if is_gone else region
        self._view.look_at(Region(region.slice) if is_gone else region)
        self._refresh()

    def _on_row(self, region: Region) -> None:
        self._message = ""
        self._go_to(region)
        self._view.activate()  # so that the keys hold

    def _on_kind(self) -> None:
        """Count whole slices, or frames, from now on."""
        self._message = ""
        self._refresh()

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
        if self._view.source is not None and self._view.current_slice != self._shown_slice:
            if self._message.startswith(_HELP) and self._grid() is None:
                self._message = ""
            self._refresh()

    # ---- what is shown ----------------------------------------------------------------------

    def _is_ready(self) -> bool:
        return self._is_here and self._view.source is not None and bool(self._styles)

    def _grid(self) -> CountingGrid | None:
        """Grid of the slice that is shown, or of the current frame if it lies there."""
        z, frame = self._view.current_slice, self._current_frame
        region: Region | None = Region(z)
        if self._form.is_framing:
            region = frame if frame is not None and frame.slice == z else None
        return self.book.grid(region) if self._is_ready() and region is not None else None

    def _refresh(self) -> None:
        """Follow the book and the slider, and tell if the value has changed."""
        self._shown_slice = self._view.current_slice
        grid = self._grid()
        if self._is_ready():
            shown = None if self._is_aside else grid
            frames_of = self.book if self._form.is_framing and not self._is_aside else None
            self._view.show(shown, self._styles, frames_of, self._current_frame)
        self._bind_layer_keys()
        is_hidden = grid is not None and self._view.was_removed
        self._form.show_lay(self.book, is_ready=self._is_ready(), is_hidden=is_hidden)
        self._open.setEnabled(self._is_ready())
        self._picker.setEnabled(self._is_ready() and not (grid is not None and grid.is_done))
        self._buttons.show_state(self.book, grid, is_framing=self._form.is_framing)
        self._progress.setVisible(self._form.is_framing and bool(self.book.frames()))
        self._progress.setText(self.book.progress(self._current_frame))
        self._show_stack_fraction()
        self._tally.setText(tally_html(grid, self._styles))
        self._tally.setVisible(grid is not None or not self._form.is_framing)
        regions = self.book.frames()
        current = self._current_frame
        if not self._form.is_framing:
            regions = tuple(map(Region, self.book.slices()))
            current = Region(self._shown_slice)
        self._list.show_grids(self.book, regions, current, self._styles)
        self._show_notices()
        value = self.book.value()
        is_other, self._value = value != self._value, value
        if is_other:
            self._propose()
            self.value_changed.emit()

    def _show_stack_fraction(self) -> None:
        self._stack_fraction.say(self._stack_text if self._form.is_framing else "")

    def _propose(self) -> None:
        """Propose how to lay frames, unless the user has said it."""
        source = self._view.source
        if not self._is_here or source is None or not self._form.is_as_proposed:
            return
        laid = [grid for grid in self.book.value() if grid.box is not None]
        most_px = widest_frame_px(source) if self._is_check else None
        self._form.propose(FrameLayout.proposed(source, self._window_px, laid, most_px=most_px))

    def _show_notices(self) -> None:
        self._news.say(self._message or self._hint())
        self._problems.say(self._form.fault or refused_text(self._refused_keys))

    def _hint(self) -> str:
        """Tell what to do where nothing is shown that could be counted."""
        return self._form.hint(self.book) if self._is_ready() and self._grid() is None else ""

    # ---- keys -------------------------------------------------------------------------------

    def _bind_layer_keys(self) -> None:
        """Bind keys on a layer that is new; those of classes come first."""
        if self._view.layer is self._bound_layer:
            return
        self._bound_layer = self._view.layer
        keys: dict[str, Callable[[], None]] = {
            **self._buttons.keys,
            UNSURE_KEY: partial(self._picker.set_value, UNSURE),
        }
        for index, style in enumerate(self._styles):
            keys[class_key(style.key)] = partial(self._picker.set_value, index)
        self._refused_keys = self._view.bind_keys(keys)


def _class_tooltip(style: ClassStyle) -> str:
    key = shown_key(style.key)
    key = f"\nKey {key} while the grid's layer is the active one." if key else ""
    return f"Mark nodes that lie on '{style.name}'.{key}"
