"""How long annotating took: a log of actions with the seconds that each took."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, ClassVar

from pydantic import ConfigDict, NonNegativeFloat, NonNegativeInt, TypeAdapter, ValidationError

from ..base import RECORD, read_file

PAUSE_LIMIT_S = 60.0


@dataclass(frozen=True)
class Action:
    """One action of the annotator."""

    __pydantic_config__: ClassVar[ConfigDict] = RECORD

    kind: str  # what was done, such as ``"fraction"``, ``"keypoint"``, ``"node"`` or ``"paint"``
    time_s: float  # when it was finished, in seconds since 1970
    seconds: NonNegativeFloat  # how long it took
    n_items: NonNegativeInt = 1  # how many fractions, points or nodes it set
    slice: int | None = None  # where


_ACTION = TypeAdapter(Action)


@dataclass
class ActionLog:
    """Measures actions and keeps them until they are written.

    An action is taken to have begun when the last one ended; the first one takes no time. A gap of
    more than `PAUSE_LIMIT_S` is a pause and counts as that much, so that the sum is an upper bound
    of the time spent at work rather than the time that went by. Past actions are of earlier
    sessions; the clock has seconds since 1970.
    """

    past: tuple[Action, ...] = ()
    clock: Callable[[], float] = time.time
    _new: list[Action] = field(default_factory=list)
    _n_written: int = 0
    _last_s: float | None = None

    def note(self, kind: str, *, n_items: int = 1, slice: int | None = None) -> None:
        """Record an action that has just been finished.

        Parameters
        ----------
        kind : str
            What was done.
        n_items : int
            How many fractions, points or nodes it set.
        slice : int, optional
            Where.
        """
        now_s = self.clock()
        since_s = 0.0 if self._last_s is None else now_s - self._last_s
        seconds = min(max(since_s, 0.0), PAUSE_LIMIT_S)
        self._last_s = now_s
        self._new.append(Action(kind, now_s, round(seconds, 3), n_items, slice))

    @property
    def actions(self) -> tuple[Action, ...]:
        """All actions, those of earlier sessions first."""
        return (*self.past, *self._new)

    def seconds(self) -> float:
        """Sum up the seconds spent."""
        return sum(one.seconds for one in self.actions)

    def write(self, path: Path) -> None:
        """Append the actions that are not yet in the file.

        Raises
        ------
        OSError
            If the file cannot be written; the actions are kept for the next time.
        """
        waiting = self._new[self._n_written :]
        if not waiting:
            return
        lines = b"".join(map(_line, waiting))
        with path.open("ab+") as stream:
            if _is_torn(stream):
                stream.write(b"\n")
            stream.write(lines)
        self._n_written = len(self._new)

    def write_anew(self, path: Path) -> None:
        """Write all actions to a file in another folder."""
        path.write_bytes(b"".join(map(_line, self.actions)))
        self._n_written = len(self._new)


def read_actions(path: Path) -> tuple[Action, ...]:
    """Read a log; lines that are torn or foreign are passed over, a missing file is an empty log.

    Raises
    ------
    InputError
        If the file exists and cannot be read.
    """
    if not path.exists():
        return ()
    lines = read_file(path, remedy="remove it").splitlines()
    actions = (_action(line) for line in lines)
    return tuple(action for action in actions if action is not None)


def _is_torn(stream: BinaryIO) -> bool:
    """Whether the last line was cut short by a crash."""
    if stream.seek(0, os.SEEK_END) == 0:
        return False
    stream.seek(-1, os.SEEK_END)
    return stream.read(1) != b"\n"


def _line(action: Action) -> bytes:
    return _ACTION.dump_json(action, exclude_none=True) + b"\n"


def _action(line: bytes) -> Action | None:
    try:
        return _ACTION.validate_json(line)
    except ValidationError:
        return None
