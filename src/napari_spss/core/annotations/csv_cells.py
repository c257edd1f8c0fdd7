"""Tables in CSV files: trimmed cells with their lines, and numbers as people write them."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from ..base import CellProblem, replacing, text_encoding
from .checks import FORMULA_SIGNS

_SEPARATORS = ",;\t|"
_STATED_SEPARATOR = re.compile(r"\"?sep=(.)[^\r\n]*", re.IGNORECASE)  # first line, for Excel
_MOST_COLUMNS = 2000
# Numbers as Python and spreadsheets write them; float() alone would also take 1_000, nan and inf.
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_THOUSANDS = re.compile(r"([+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?)(\s*%?)", re.ASCII)
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+\s*%?", re.ASCII)
_POINT_OF_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}\s*%?", re.ASCII)
_SWAP = str.maketrans(",.", ".,")
_POINT_OR_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}\.000", re.ASCII)
_NOT_FINITE = frozenset({"nan", "inf", "infinity", "na", "n/a", "none", "null"})
_LONGEST_NUMBER = 64  # characters; also keeps the patterns above fast on garbage
_LARGEST_INTEGER = 2**31
_ROUNDING = 1e-9
_TINY = Decimal("1e-20")  # written with an exponent
_LINE_END = re.compile(r"\r\n|\r|\n")
_QUOTED_FORMULA = re.compile(f"'*[{re.escape(FORMULA_SIGNS)}]")

_Fail = Callable[[int | None, str, str], None]


class CellFault(ValueError):
    """What is wrong with a cell, and the remedy."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason, remedy)
        self.reason = reason
        self.remedy = remedy


def number(text: str) -> float:
    """Read a finite number of a cell, or raise CellFault, as for "1,234", which could be two."""
    if len(text) <= _LONGEST_NUMBER and _NUMBER.fullmatch(text):
        value = float(text)
        if math.isfinite(value):
            return value
        raise CellFault("is too large", "give a finite number")
    if not text:
        raise CellFault("is blank", "fill in the cell, or delete the row")
    if text.lstrip("+-").casefold() in _NOT_FINITE:
        raise CellFault("is not a finite number", "give digits such as 12.5")
    if len(text) <= _LONGEST_NUMBER:
        _refuse_commas(text)
    raise CellFault("is not a number", "give digits such as 12.5")


def _refuse_commas(text: str) -> None:
    """Fail with the remedies in the user's own number, per cent sign included."""
    thousands, decimal = text.replace(",", ""), text.replace(",", ".")
    if _THOUSANDS.fullmatch(text):
        if text.count(",") > 1 or "." in text:
            raise CellFault("has commas between thousands", f"write {thousands}")
        raise CellFault(
            f"may be {thousands} or {decimal}: its comma is one of thousands or of decimals",
            f"write {thousands} or {decimal.rstrip('0').rstrip('.') or decimal}",
        )
    if _DECIMAL_COMMA.fullmatch(text):
        raise CellFault("has a decimal comma", f"write {decimal}")


def whole(text: str) -> int:
    """Read a whole number of at least 0, or raise CellFault, as `number`."""
    value = number(text)
    if not value.is_integer():
        raise CellFault("is not a whole number", "give a whole number")
    if _POINT_OR_THOUSANDS.fullmatch(text):
        thousands = text.replace(".", "")
        raise CellFault(
            f"may be {thousands} or {value:.0f}: its point is one of thousands or of decimals",
            f"write {thousands} or {value:.0f}",
        )
    if value < 0:
        raise CellFault("is negative", "give at least 0; positions count from 0")
    if value > _LARGEST_INTEGER:
        raise CellFault("is too large", f"give at most {_LARGEST_INTEGER}")
    return int(value)


def fraction(text: str) -> float | None:
    """Read a fraction 0-1, or per cent with a sign, or raise CellFault; None for a blank cell."""
    if not text:
        return None
    if text.casefold() in _NOT_FINITE:
        raise CellFault("is not a finite number", "leave the cell blank if it is unknown")
    _refuse_commas(text)
    is_per_cent = text.endswith("%")
    digits = text[:-1].rstrip() if is_per_cent else text
    value = number(digits or "%")
    if value < -_ROUNDING:
        raise CellFault("is negative", "give a fraction from 0 to 1, or leave the cell blank")
    if is_per_cent:
        value = float(Decimal(digits) / 100)
        if value > 1 + _ROUNDING:
            raise CellFault("is above 100 %", "give at most 100%")
    elif 1 + _ROUNDING < value <= 100:
        raise CellFault("is above 1", f"write {value:.6g}%")
    elif value > 1 + _ROUNDING:
        raise CellFault("is above 1", "give a fraction from 0 to 1 such as 0.30, or 30%")
    return min(max(value, 0.0), 1.0)


def plain_number(text: str) -> Decimal | None:
    """Number of a cell, with a point or a comma and without a sign of per cent; None if none."""
    text = text.replace(",", ".")
    is_number = len(text) <= _LONGEST_NUMBER and _NUMBER.fullmatch(text)
    return Decimal(text) if is_number else None


def per_cent_text(value: float | Decimal) -> str:
    """Write a fraction as per cent, with the sign, such that `fraction` gives it back exactly.

    >>> per_cent_text(0.06), per_cent_text(1.0)
    ('6%', '100%')
    """
    per_cent = (Decimal(repr(value) if isinstance(value, float) else value) * 100).normalize()
    return f"{per_cent:f}%" if abs(per_cent) > _TINY or not per_cent else f"{per_cent}%"


@dataclass(frozen=True)
class Table:
    """Columns and rows by key, which is the trimmed and case-folded name of a column."""

    file: str  # name for messages
    line: int  # 1-based line of the header
    names: dict[str, str]  # column as written, by key
    # trimmed texts by key, by 1-based line, of all rows that are not blank
    rows: dict[int, dict[str, str]]
    problems: list[CellProblem]  # whatever is wrong is added here

    def fail(
        self, reason: str, remedy: str, *, key: str | None = None, line: int | None = None
    ) -> None:
        """Note what is wrong with a cell or row, or with a column or the header."""
        row, name = self.line if line is None else line, None if key is None else self.names[key]
        value = "" if key is None or line is None else self.rows[line][key]
        self.problems.append(CellProblem(self.file, row, name, value, reason, remedy))

    def has_columns(self, required: Sequence[str], example: str) -> bool:
        """Note missing and nameless columns; True if there are none."""
        absent = [name for name in required if name not in self.names]
        if absent:
            reason = f"has no column{'s' if len(absent) > 1 else ''} {', '.join(absent)}"
            self.fail(reason, f"start the file with a header such as {example}")
        has_nameless = any(cells.get("") for cells in self.rows.values())
        if has_nameless:
            self.fail("has a column without a name", "name or delete the column")
        return not absent and not has_nameless


def read_table(
    path: Path,
    problems: list[CellProblem],
    *,
    expects: Sequence[str],
    salvages: bool = False,
    text: str | None = None,
) -> Table | None:
    """Read a CSV file; None if it has no usable header.

    A byte order mark, UTF-16, Windows line ends, quoted cells, blank lines and trailing blank cells
    are accepted, and so are semicolons, tabs or bars between cells, with decimal commas in them.
    Rows with a wrong number of cells are left out, and noted.

    Parameters
    ----------
    path : Path
    problems : list of CellProblem
        Whatever is wrong is added here.
    expects : sequence of str
        Column keys; that between which one of them stands in the header is the separator.
    salvages : bool
        Whether only the rows with wrong bytes or quotes are left out, not the whole table.
    text : str, optional
        What the file would hold; nothing is opened then, and ``path`` is a name for messages.
    """
    file = str(path)

    def fail(line: int | None, reason: str, remedy: str) -> None:
        problems.append(CellProblem(file, line, None, "", reason, remedy))

    if text is None:
        text = _text(path, fail, salvages=salvages)
    rows = []
    if text is not None:
        separator, text = _separator(text, expects)
        rows = _rows(text, separator, fail, salvages=salvages)
    if not rows:
        return None
    line, header = rows[0]
    while not header[-1]:
        header.pop()
    names = {name.casefold(): name for name in header}
    if len(names) < len(header):
        keys = [name.casefold() for name in header]
        repeated = [name for name in header if keys.count(name.casefold()) > 1]
        fail(line, f"names columns twice: {repeated}", "name each column once")
        return None
    found = {}
    for line_of_row, cells in rows[1:]:
        while len(cells) > len(header) and not cells[-1]:
            cells.pop()
        if len(cells) == len(header):
            found[line_of_row] = dict(zip(names, cells, strict=True))
        else:
            fail(
                line_of_row,
                f"has {len(cells)} cells, but the header has {len(header)}",
                "give one cell per column; a decimal comma splits a number in two (write 0.30), "
                "and a name with a comma needs quotes",
            )
    return Table(file, line, names, found, problems)


def _text(path: Path, fail: _Fail, *, salvages: bool) -> str | None:
    """Read a file as text; None after telling why it cannot be."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        fail(None, "does not exist", "check the path")
        return None
    except IsADirectoryError:
        fail(None, "is a folder", "give a CSV file")
        return None
    except OSError as error:
        reason = f"cannot be read ({error.strerror or error})"
        fail(None, reason, "check the path and its permissions")
        return None
    if (encoding := text_encoding(data)) == "utf-16":
        return data.decode(encoding, "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        fail(line, "is not UTF-8 text", "save it as 'CSV UTF-8 (comma delimited)'")
    return data.decode("utf-8-sig", "replace") if salvages else None


def _separator(text: str, expects: Sequence[str]) -> tuple[str, str]:
    """What separates cells, and the text without the words that state it."""
    if stated := _STATED_SEPARATOR.match(text):
        return stated[1], text[stated.end() :]
    header = next((line for line in _LINE_END.split(text) if line.strip(f"{_SEPARATORS} ")), "")
    for separator in _SEPARATORS:
        if any(cell.strip(' "').casefold() in expects for cell in header.split(separator)):
            return separator, text
    return ",", text


def _rows(text: str, separator: str, fail: _Fail, *, salvages: bool) -> list[tuple[int, list[str]]]:
    """Line and trimmed cells of each row that is not blank; none after telling why."""
    try:
        rows = _split(text, separator)
    except ValueError as error:  # pandas' own are of this kind
        lines = _LINE_END.split(text)
        torn = {n: line for n, line in enumerate(lines) if line.count('"') % 2}
        remedy = "close every quote, or write no quotes"
        fail(min(torn) + 1 if torn else None, f"is not valid CSV ({error})", remedy)
        if not salvages or not torn:
            return []
        kept = ("" if n in torn else line for n, line in enumerate(lines))
        return _rows("\n".join(kept), separator, fail, salvages=salvages)
    if not rows:
        fail(None, "is empty", "start it with a header line")
    return rows if separator == "," else _with_points(rows)


def _with_points(rows: list[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
    """Write decimal commas as points, and points that may be those of thousands as commas.

    Nothing is changed where all commas may be those of thousands.
    """
    cells = {cell for _, row in rows for cell in row if len(cell) <= _LONGEST_NUMBER}
    decimal = {cell for cell in cells if _DECIMAL_COMMA.fullmatch(cell)}
    if all(map(_THOUSANDS.fullmatch, decimal)):
        return rows
    swapped = decimal | {cell for cell in cells if _POINT_OF_THOUSANDS.fullmatch(cell)}
    return [
        (line, [cell.translate(_SWAP) if cell in swapped else cell for cell in row])
        for line, row in rows
    ]


def _split(text: str, separator: str) -> list[tuple[int, list[str]]]:
    """Line and trimmed cells of each row that is not blank."""
    import pandas as pd  # late: a third of a second, of which most commands need nothing

    width = min(1 + max(line.count(separator) for line in _LINE_END.split(text)), _MOST_COLUMNS)
    frame = pd.read_csv(
        io.StringIO(text, newline=""),
        sep=separator,
        header=None,
        names=range(width),
        dtype=str,
        keep_default_na=False,
        skip_blank_lines=False,  # they count as lines
        engine="python",  # tells absent cells from blank ones, and refuses stray quotes
    )
    rows, line, is_quoted = [], 1, '"' in text
    for values in frame.to_numpy(dtype=object).tolist():
        cells = [_plain(cell.strip()) for cell in values if isinstance(cell, str)]
        if any(cells):
            rows.append((line, cells))
        inner = [c for c in values if isinstance(c, str)] if is_quoted else []
        line += 1 + sum(len(_LINE_END.findall(cell)) for cell in inner)
    return rows


def write_rows(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file in UTF-8; the file at ``path`` is either the old or the whole new one.

    A text that a spreadsheet would take for a formula gets an apostrophe before it, which
    `read_table` and `read_rows` take away. Numbers are written as they are.

    Raises
    ------
    RunError
        If it cannot be written, as in a folder that does not exist.
    """
    with (
        replacing(path, makes_folder=False) as temporary,
        temporary.open("x", encoding="utf-8", newline="") as stream,
    ):
        csv.writer(stream, lineterminator="\n").writerows(map(_harmless, row) for row in rows)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read what `write_rows` wrote, with a header: a mapping for each row, all cells texts."""
    import pandas as pd

    frame = pd.read_csv(path, dtype=str, keep_default_na=False).map(_plain)
    rows: list[dict[str, str]] = frame.to_dict("records")  # type: ignore[assignment]
    return rows


def _harmless(cell: object) -> object:
    is_formula = isinstance(cell, str) and _QUOTED_FORMULA.match(cell)
    return f"'{cell}" if is_formula else cell


def _plain(text: str) -> str:
    return text[1:] if text.startswith("'") and _QUOTED_FORMULA.match(text) else text
