"""The errors that the core raises: each says what was wrong, the value, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

_MAX_LISTED, _MAX_ROWS = 10, 5


class SpssError(Exception):
    """Base of all errors that are meant to be read by the user."""


@dataclass(frozen=True)
class CellProblem:
    """One wrong cell of a table.

    Parameters
    ----------
    file : str
        Path or name of the table.
    row : int or None
        Line number in the file, 1-based, header included; None for the whole file.
    column : str or None
        Name of the column; None for the whole row.
    value : str
        The text as it stands in the cell.
    reason : str
        What is wrong.
    remedy : str
        What to write instead.
    """

    file: str
    row: int | None
    column: str | None
    value: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return self.told_of([] if self.row is None else [self.row])

    def told_of(self, rows: Sequence[int]) -> str:
        """Say what is wrong in each of these lines."""
        place = self.file
        if rows:
            n_more = len(rows) - _MAX_ROWS
            listed = ", ".join(map(str, rows[:_MAX_ROWS])) + f" and {n_more} more" * (n_more > 0)
            place += f", line{'s' * (len(rows) > 1)} {listed}"
        if self.column is not None:
            place += f", column {self.column!r}"
        shown = f" {self.value!r}" if self.value else ""
        return f"{place}:{shown} {self.reason}; {self.remedy}."


class InputError(SpssError):
    """Something that the user gave cannot be used.

    Parameters
    ----------
    message : str
        What was wrong, with the value and the remedy. May be empty if ``problems`` is given.
    field : str, optional
        Name of the setting or form field that is to be marked.
    problems : sequence of CellProblem
        The wrong cells, all of them; the message lists the first ten, those that are alike as one.
    """

    def __init__(
        self, message: str = "", *, field: str | None = None, problems: Sequence[CellProblem] = ()
    ) -> None:
        self.field = field
        self.problems = tuple(problems)
        lines = [message] if message else []
        alike: dict[CellProblem, list[int]] = {}
        for problem in self.problems:
            rows = alike.setdefault(replace(problem, row=None), [])
            rows += [] if problem.row is None else [problem.row]
        told = list(alike.items())
        lines += [problem.told_of(rows) for problem, rows in told[:_MAX_LISTED]]
        if n_left := sum(max(1, len(rows)) for _, rows in told[_MAX_LISTED:]):
            lines.append(f"... and {n_left} more.")
        super().__init__("\n".join(lines))


class RunError(SpssError):
    """A run that had started could not go on."""


class OutOfMemory(RunError):
    """The device's memory did not suffice; carries a smaller setting that may fit.

    Parameters
    ----------
    message : str
        What was wrong and what to do.
    setting, value
        Dotted name of the setting to change, and the proposed value.
    """

    def __init__(self, message: str, *, setting: str, value: object) -> None:
        super().__init__(message)
        self.setting, self.value = setting, value


class Diverged(RunError):
    """The loss became NaN or infinite."""
