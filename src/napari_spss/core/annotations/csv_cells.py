"""CSV files as trimmed cells with line numbers; every unusable cell becomes a `CellProblem`."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ..base import CellProblem, replacing

__all__ = ["CellFault", "Row", "Sheet", "parse_sheet", "read_bytes", "write_rows"]

_ENCODING_REMEDY = "save it as 'CSV UTF-8 (comma delimited)'"
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
# Numbers as Python and spreadsheets write them; float() alone would also take 1_000, nan and inf.
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+\s*%?", re.ASCII)
_NOT_FINITE = frozenset({"nan", "inf", "infinity", "na", "n/a", "none", "null"})
_LONGEST_NUMBER = 64  # characters; also keeps the patterns above fast on garbage
_LARGEST_INTEGER = 2**31
_ROUNDING = 1e-9

_Value = TypeVar("_Value")


class CellFault(Exception):
    """What is wrong with a cell, and the remedy; becomes a `CellProblem` in `Row.fail`."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason, remedy)
        self.reason = reason
        self.remedy = remedy


def _number(text: str) -> float:
    if text.lstrip("+-").casefold() in _NOT_FINITE:
        raise CellFault("is not a finite number", "give digits such as 12.5")
    if len(text) > _LONGEST_NUMBER:
        raise CellFault("is not a number", "give digits such as 12.5")
    _refuse_comma(text)
    if not _NUMBER.fullmatch(text):
        raise CellFault("is not a number", "give digits such as 12.5")
    value = float(text)
    if not math.isfinite(value):
        raise CellFault("is too large", "give a finite number")
    return value


def _refuse_comma(text: str) -> None:
    """Fail with the remedy in the user's own number, per cent sign included."""
    if _DECIMAL_COMMA.fullmatch(text):
        raise CellFault("has a decimal comma", f"write {text.replace(',', '.')}")


def _integer(text: str) -> int:
    value = _number(text)
    if not value.is_integer():
        raise CellFault("is not a whole number", "give a whole number")
    if abs(value) > _LARGEST_INTEGER:
        raise CellFault("is too large", f"give at most {_LARGEST_INTEGER}")
    return int(value)


def _fraction(text: str) -> float:
    if text.casefold() in _NOT_FINITE:
        raise CellFault("is not a finite number", "leave the cell blank if it is unknown")
    _refuse_comma(text)
    is_percent = text.endswith("%")
    value = _number(text[:-1].rstrip() if is_percent else text)
    if value < -_ROUNDING:
        raise CellFault("is negative", "give a fraction from 0 to 1, or leave the cell blank")
    if is_percent:
        value /= 100
        if value > 1 + _ROUNDING:
            raise CellFault("is above 100 %", "give at most 100%")
    elif 1 + _ROUNDING < value <= 100:
        raise CellFault("is above 1", f"write {value / 100:.6g} or {value:.6g}%")
    elif value > 1:
        raise CellFault("is above 1", "give a fraction from 0 to 1 such as 0.30, or 30%")
    return min(max(value, 0.0), 1.0)


@dataclass(frozen=True)
class Row:
    """One row of a table, whose cells are read by column; what cannot be read is noted.

    Parameters
    ----------
    file : str
        Name of the table for messages.
    line : int
        1-based line in the file at which the row starts.
    cells : mapping of str to str
        Trimmed text by column key (trimmed and case-folded name).
    names : mapping of str to str
        Name of each column as written.
    problems : list of CellProblem
        The row's own problems, in the order they were found.
    """

    file: str
    line: int
    cells: Mapping[str, str]
    names: Mapping[str, str]
    problems: list[CellProblem]

    def text(self, key: str) -> str:
        """Trimmed text of a cell; empty if the column is missing."""
        return self.cells.get(key, "")

    def number(self, key: str) -> float | None:
        """Finite number of a cell that must not be blank; None after noting a problem."""
        return self._read(key, _number)

    def integer(self, key: str, *, least: int = 0) -> int | None:
        """Whole number of a cell that must not be blank; None after noting a problem."""
        value = self._read(key, _integer)
        if value is not None and value < least:
            self.fail(key, "is negative", f"give at least {least}; positions count from 0")
            return None
        return value

    def fraction(self, key: str) -> float | None:
        """Fraction 0-1 of a cell; None if it is blank, or after noting a problem."""
        return self._read(key, _fraction) if self.text(key) else None

    def fail(self, key: str | None, reason: str, remedy: str) -> None:
        """Note a problem of a cell, or of the whole row if ``key`` is None."""
        name, value = (None, "") if key is None else (self.names.get(key, key), self.text(key))
        self.problems.append(CellProblem(self.file, self.line, name, value, reason, remedy))

    def _read(self, key: str, convert: Callable[[str], _Value]) -> _Value | None:
        text = self.text(key)
        if not text:
            self.fail(key, "is blank", "fill in the cell, or delete the row")
            return None
        try:
            return convert(text)
        except CellFault as fault:
            self.fail(key, fault.reason, fault.remedy)
            return None


@dataclass(frozen=True)
class Sheet:
    """A table: columns by key, and its rows.

    Parameters
    ----------
    file : str
        Name of the table for messages.
    line : int
        1-based line of the header.
    names : dict of str to str
        Name as written by key, in the order of the columns.
    rows : list of Row
        Non-blank rows.
    """

    file: str
    line: int
    names: dict[str, str]
    rows: list[Row]

    def problem(self, column: str | None, reason: str, remedy: str) -> CellProblem:
        """Describe what is wrong with the header."""
        return CellProblem(self.file, self.line, column, "", reason, remedy)


def read_bytes(path: Path, problems: list[CellProblem]) -> bytes | None:
    """Content of a file; None after noting why it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        reason, remedy = "does not exist", "check the path"
    except IsADirectoryError:
        reason, remedy = "is a folder", "give a CSV file"
    except OSError as error:
        reason = f"cannot be read ({error.strerror or error})"
        remedy = "check the path and its permissions"
    problems.append(CellProblem(str(path), None, None, "", reason, remedy))
    return None


def parse_sheet(
    data: bytes, file: str, problems: list[CellProblem], *, expects: Sequence[str]
) -> Sheet | None:
    """Split the content of a CSV file into rows of cells.

    A byte order mark, Windows line ends, quoted cells, blank lines and trailing blank cells are
    accepted.

    Parameters
    ----------
    data : bytes
        The file's content.
    file : str
        Its name for messages.
    problems : list of CellProblem
        Whatever is wrong is added here.
    expects : sequence of str
        Column keys of which at least one must be there to believe in the separator.

    Returns
    -------
    Sheet or None
        None if there is no usable header. Rows with a wrong number of cells are left out.
    """

    def fail(line: int | None, reason: str, remedy: str) -> None:
        problems.append(CellProblem(file, line, None, "", reason, remedy))

    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        fail(line, "is not UTF-8 text", _ENCODING_REMEDY)
        return None
    before = len(problems)
    lines = _split(text, fail)
    if not lines and len(problems) == before:
        fail(None, "is empty", "start it with a header line")
    if not lines:
        return None
    header_line, header = lines[0]
    while header and not header[-1]:
        header.pop()
    names = {name.casefold(): name for name in header}
    if not any(key in names for key in expects):
        for separator, plural in _SEPARATORS.items():
            if any(separator in name for name in header):
                fail(header_line, f"is separated by {plural}", "save it with commas as separators")
                return None
    if len(names) < len(header):
        repeated = [
            name for name in header if [*map(str.casefold, header)].count(name.casefold()) > 1
        ]
        fail(header_line, f"names columns twice: {repeated}", "name each column once")
        return None
    rows = []
    for line, cells in lines[1:]:
        while len(cells) > len(header) and not cells[-1]:
            cells.pop()
        if len(cells) != len(header):
            fail(
                line,
                f"has {len(cells)} cells, but the header has {len(header)}",
                "give one cell per column; a decimal comma splits a number in two (write 0.30), "
                "and a name with a comma needs quotes",
            )
            continue
        rows.append(Row(file, line, dict(zip(names, cells, strict=True)), names, []))
    return Sheet(file, header_line, names, rows)


def _split(text: str, fail: Callable[[int | None, str, str], None]) -> list[tuple[int, list[str]]]:
    """Line number and trimmed cells of each non-blank row; stops at the first broken quote."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[int, list[str]]] = []
    line = 1
    try:
        for raw in reader:
            cells = [cell.strip() for cell in raw]
            if any(cells):
                rows.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        fail(line, f"is not valid CSV ({error})", "close every quote, or write no quotes")
    return rows


def write_rows(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file in UTF-8; the file at ``path`` is either the old or the whole new one.

    Raises
    ------
    RunError
        If it cannot be written, as in a folder that does not exist.
    """
    with (
        replacing(path, makes_folder=False) as temporary,
        temporary.open("x", encoding="utf-8", newline="") as stream,
    ):
        csv.writer(stream, lineterminator="\n").writerows(rows)
