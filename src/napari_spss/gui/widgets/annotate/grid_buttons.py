"""The buttons under a grid: from frame to frame, steps back and on, and Done."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QCheckBox, QWidget

from ...layers import REDO_KEY, UNDO_KEY, shown_key
from ..parts import fill_column, make_button, make_row

if TYPE_CHECKING:
    from ....core.annotations import CountingGrid
    from ...models import GridBook

DONE_KEY = "D"
NEXT_KEY, BEFORE_KEY, NEXT_OPEN_KEY = "N", "B", "Shift-N"
REMOVE_OPEN = "Remove open"


class GridButtons(QWidget):
    """Buttons of which the texts say what they do with a grid over a slice, or with a frame.

    Parameters
    ----------
    walk, undo, redo, remove, finish : callable
        What they do; ``walk`` takes ``step`` and ``is_open``, see `GridBook.next_frame`.

    Attributes
    ----------
    keys : dict of str to callable
        The same, by their keys.
    """

    def __init__(
        self,
        *,
        walk: Callable[..., None],
        undo: Callable[[], None],
        redo: Callable[[], None],
        remove: Callable[[], None],
        finish: Callable[[], None],
    ) -> None:
        super().__init__()
        back, next_open = partial(walk, step=-1), partial(walk, is_open=True)
        self.keys: dict[str, Callable[[], None]] = {
            DONE_KEY: finish,
            NEXT_KEY: walk,
            BEFORE_KEY: back,
            NEXT_OPEN_KEY: next_open,
            UNDO_KEY: undo,
            REDO_KEY: redo,
        }
        self._before = make_button("Before", back, f"The frame before ({BEFORE_KEY}).")
        self._next = make_button("Next", walk, f"The next frame ({NEXT_KEY}).")
        self._next_open = make_button(
            "Next open",
            next_open,
            f"The next frame that is not counted ({shown_key(NEXT_OPEN_KEY)}).",
        )
        self._undo = make_button("Undo", undo, f"Take the last step back ({shown_key(UNDO_KEY)}).")
        self._redo = make_button("Redo", redo, f"Repeat it ({shown_key(REDO_KEY)}).")
        self._remove = make_button("Remove", remove)
        self._done = make_button("Done", finish)
        self._goes_on = QCheckBox()
        self._goes_on.setChecked(True)
        fill_column(
            *(self, make_row(self._before, self._next, self._next_open)),
            make_row(self._undo, self._redo, self._remove),
            make_row((self._done, 1), self._goes_on),
        )

    @property
    def goes_on(self) -> bool:
        """Whether the next slice or frame follows when one is done."""
        return self._goes_on.isChecked()

    def show_state(self, book: GridBook, grid: CountingGrid | None, *, is_framing: bool) -> None:
        """Say what can be done with the grid that is shown, and with all of them."""
        is_done = grid is not None and grid.is_done
        open_frames = book.frames(is_open=True)
        for button in (self._before, self._next, self._next_open):
            button.setVisible(is_framing and bool(book.frames()))
        self._next_open.setEnabled(bool(open_frames))
        self._undo.setEnabled(book.history.canUndo())
        self._redo.setEnabled(book.history.canRedo())
        self._remove.setText(REMOVE_OPEN if is_framing else "Remove")
        self._remove.setToolTip(
            "Remove all frames that are not counted. Undo brings them back.\n"
            "A frame that cannot be judged stays: mark its nodes unsure. Without it the others "
            "would not be a fair sample."
            if is_framing
            else "Remove the grid of this slice. Undo brings it back."
        )
        self._remove.setEnabled(bool(open_frames) if is_framing else grid is not None)
        what = "frame" if is_framing else "slice"
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
            else "After Done, go to the next open grid; if there is none, lay one on the slice "
            "that spreads the counted ones best over the stack."
        )
