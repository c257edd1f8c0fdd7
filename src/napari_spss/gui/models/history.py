"""What can be taken back: one stack of steps a tool, Qt's own."""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary, WeakMethod

try:
    from qtpy.QtGui import QUndoCommand, QUndoStack
except ImportError:  # it lay there in Qt 5
    from qtpy.QtWidgets import QUndoCommand, QUndoStack

_MAX_STEPS = 1000
V = TypeVar("V", bound=Sized)


class _Step(QUndoCommand):
    """Changes that are taken back and repeated together, and with the step that joins them."""

    def __init__(self, put: WeakMethod[Any], changes: tuple[Any, ...], *, joins: bool) -> None:
        super().__init__()
        self._put, self.changes, self._joins = put, changes, joins

    def id(self) -> int:
        return 1  # steps of one kind may be merged

    def mergeWith(self, other: QUndoCommand) -> bool:
        if not (isinstance(other, _Step) and other._joins):
            return False
        (*earlier, last), (next_, *later) = self.changes, other.changes
        if last[0] == next_[0]:
            self.changes = (*earlier, (last[0], last[1], next_[2]), *later)
        else:
            self.changes += other.changes
        return True

    def redo(self) -> None:
        self._carry_out(self.changes, is_back=False)

    def undo(self) -> None:
        self._carry_out(self.changes[::-1], is_back=True)

    def _carry_out(self, changes: tuple[Any, ...], *, is_back: bool) -> None:
        put = self._put()
        if put is not None:
            for change in changes:
                put(change, is_back)


class History(QUndoStack):
    """Steps that were made, to be taken back and repeated.

    Parameters
    ----------
    put : method
        Carries out one change, or takes it back if its second argument is true. Its object owns
        the history, and is not kept alive by it.
    max_steps : int
        The oldest steps beyond are forgotten.
    """

    def __init__(self, put: Callable[[Any, bool], None], max_steps: int = _MAX_STEPS) -> None:
        super().__init__()
        self.setUndoLimit(max_steps)
        self._put: WeakMethod[Any] = WeakMethod(put)

    def do(self, *changes: Any, joins: bool = False) -> None:
        """Carry out changes as one step, or as a part of the step before.

        Those that join others are tuples: where, what was there before, and what is there now.
        """
        self.push(_Step(self._put, changes, joins=joins))

    def take_back(self) -> tuple[Any, ...]:
        """Take the last step back; return its changes, none if there is no such step."""
        changes = self._changes(self.index() - 1)
        self.undo()
        return changes

    def repeat(self) -> tuple[Any, ...]:
        """Repeat the step that was last taken back; return its changes, as `take_back` does."""
        changes = self._changes(self.index())
        self.redo()
        return changes

    def rewrite(self, change_of: Callable[[Any], Any]) -> None:
        """Put other changes in place of all that are remembered."""
        for index in range(self.count()):
            step: Any = self.command(index)
            step.changes = tuple(change_of(change) for change in step.changes)

    def _changes(self, index: int) -> tuple[Any, ...]:
        step: Any = self.command(index) if 0 <= index < self.count() else None
        return () if step is None else step.changes


class LeftHistories(Generic[V]):
    """Of each image what was stated when it was left, and the history by which that came about."""

    def __init__(self) -> None:
        self._left: WeakKeyDictionary[Any, tuple[V, History]] = WeakKeyDictionary()

    def exchange(self, image: object, left: tuple[V, History], now: tuple[V, History]) -> History:
        """Keep what is left; return the history of what is there now, if it was left like that."""
        if left[0]:
            self._left[image] = left
        value, history = self._left.get(image, now)
        return history if value == now[0] else now[1]
