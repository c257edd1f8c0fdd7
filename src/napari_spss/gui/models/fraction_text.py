"""What a typed cell of the table of fractions means, and how a fraction is written back.

The unit of the table is per cent: ``6``, ``6%`` and ``0.5`` are 6, 6 and 0.5 per cent. Values
inside the program are fractions, 0-1. Decimal arithmetic keeps the two exactly convertible.
Pure functions; neither Qt nor napari.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Literal

from ...core.annotations import SUM_TOLERANCE

Kind = Literal["blank", "value", "interval", "question", "wrong"]

DOUBT_BELOW_PERCENT = Decimal("0.1")
"""A bare value below this asks whether a fraction was meant: is 0.06 six per cent?"""

_REMEDY = "write a number such as 6, an interval such as <1 or 5-10, or leave the cell blank"
_UNKNOWN_WORDS = frozenset({"", "?", "na", "n/a", "nan", "unknown"})
_NUMBER = r"(\d+(?:[.,]\d*)?|[.,]\d+)"
_DASH = r"(?:-|\u2010|\u2011|\u2012|\u2013|\u2014|\u2212|to|\.\.\.?|\u2026)"
_PLUS_MINUS = r"(?:\u00b1|\+/?-)"
_ABOUT = r"(?:~|\u2248|ca\.?|c\.|about)?"
_VALUE = re.compile(rf"{_ABOUT}{_NUMBER}")
_BELOW = re.compile(rf"(?:<=?|\u2264){_NUMBER}")
_ABOVE = re.compile(rf"(?:>=?|\u2265){_NUMBER}")
_RANGE = re.compile(rf"{_NUMBER}{_DASH}{_NUMBER}")
_SPREAD = re.compile(rf"{_NUMBER}{_PLUS_MINUS}{_NUMBER}")
_VALUE_AND_RANGE = re.compile(rf"{_ABOUT}{_NUMBER}[(\[]{_NUMBER}{_DASH}{_NUMBER}[)\]]")
_TORN_NUMBER = re.compile(r"[\d.,]%?\s+[\d.,]|%\s*[\d.,]")  # "6 5" is not 65
_HUNDRED = Decimal(100)


@dataclass(frozen=True)
class Reading:
    """What one cell says."""

    # ``"value"`` may carry an interval as well; ``"interval"`` has no value; a ``"question"`` has
    # none of the three numbers until it is answered
    kind: Kind
    # fractions, 0-1
    value: float | None = None
    low: float | None = None
    high: float | None = None
    # of a question: the texts that answer it, as a fraction and as per cent
    choices: tuple[str, str] | None = None
    # of a wrong cell or a question: what is the matter, and what to do
    reason: str = ""
    remedy: str = ""

    @property
    def is_known(self) -> bool:
        """Whether the cell states a number."""
        return self.kind in ("value", "interval")

    @property
    def least(self) -> float:
        """The smallest fraction that the cell allows."""
        if self.low is not None:
            return self.low
        return self.value if self.value is not None else 0.0

    @property
    def most(self) -> float:
        """The largest fraction that the cell allows."""
        if self.high is not None:
            return self.high
        return self.value if self.value is not None else 1.0


BLANK = Reading("blank")


@lru_cache(maxsize=65536)
def parse_cell(text: str, *, is_doubted: bool = False) -> Reading:
    """Read a cell of the table of fractions.

    Parameters
    ----------
    text : str
        What the user typed: ``6``, ``6%``, ``6,5``, ``<1``, ``>90``, ``5-10``, ``6±2``,
        ``6 (4-8)`` or nothing.
    is_doubted : bool
        Others beside the cell make it doubtful whether it is a fraction or per cent, so every bare
        number up to 1 asks, not only one below 0.1.

    Returns
    -------
    Reading
        Never raises; what cannot be read is of kind ``"wrong"`` and says why.

    Examples
    --------
    >>> parse_cell("6.5 %").value
    0.065
    >>> parse_cell("5-10").kind
    'interval'
    >>> parse_cell("0.06").choices
    ('6%', '0.06%')
    """
    shown = text.strip()
    compact = "".join(text.split()).lower()
    if compact in _UNKNOWN_WORDS:
        return BLANK
    has_sign = "%" in compact
    numbers, kind = _match(compact.replace("%", ""))
    if kind is None or _TORN_NUMBER.search(shown):
        return _wrong(f"{shown!r} is not a percentage", _REMEDY)
    limit = Decimal(1) if is_doubted else DOUBT_BELOW_PERCENT
    is_vacuous = kind == "below" and numbers[0] == 1  # nobody means "<1" to be "<100%"
    if (
        not (has_sign or is_vacuous)
        and is_bare_fraction(text)
        and _asks(numbers, limit, is_doubted)
    ):
        return _question(text, shown)
    return _reading(kind, numbers, shown)


def is_bare_fraction(text: str) -> bool:
    """Return whether all numbers of a cell are bare (no %), at most 1, and not all zero."""
    numbers, kind = _match("".join(text.split()).lower())
    return kind is not None and any(numbers) and max(numbers) <= 1


def is_large_per_cent(text: str) -> bool:
    """Return whether a cell states at least 1 % with the sign, unlike a fraction without it."""
    return "%" in text and parse_cell(text).is_known and parse_cell(text).most >= 0.01


def _asks(numbers: Sequence[Decimal], limit: Decimal, is_inclusive: bool) -> bool:
    """Whether one of the numbers is small enough to be a fraction."""
    return any(0 < n < limit or (is_inclusive and n == limit) for n in numbers)


def _match(compact: str) -> tuple[tuple[Decimal, ...], str | None]:
    """Find the form of a cell without blanks and per cent signs, and its numbers."""
    forms = {
        "value": _VALUE,
        "below": _BELOW,
        "above": _ABOVE,
        "range": _RANGE,
        "spread": _SPREAD,
        "value_and_range": _VALUE_AND_RANGE,
    }
    for kind, pattern in forms.items():
        found = pattern.fullmatch(compact)
        if found:
            return tuple(Decimal(number.replace(",", ".")) for number in found.groups()), kind
    return (), None


def _question(text: str, shown: str) -> Reading:
    """Ask which of two readings is meant."""

    def scaled(found: re.Match[str]) -> str:
        return _plain(Decimal(found.group().replace(",", ".")) * _HUNDRED)

    compact = "".join(text.split())
    choices = (re.sub(_NUMBER, scaled, compact) + "%", compact.replace(",", ".") + "%")
    return Reading(
        "question",
        choices=choices,
        reason=f"{shown!r} may be {choices[0]} or {choices[1]}",
        remedy="choose one of the two below the table, or type the value with a % sign",
    )


def _reading(kind: str, numbers: Sequence[Decimal], shown: str) -> Reading:
    """Turn matched numbers, in per cent, into a reading, or say what is wrong with them."""
    if max(numbers) > _HUNDRED:
        return _wrong(f"{_plain(max(numbers))} % is more than 100 %", "write a value from 0 to 100")
    first = _fraction(numbers[0])
    if kind == "value":
        return Reading("value", value=first)
    if kind == "below":
        return Reading("interval", low=0.0, high=first)
    if kind == "above":
        return Reading("interval", low=first, high=1.0)
    if kind == "spread":
        low, high = numbers[0] - numbers[1], numbers[0] + numbers[1]
        low, high = max(low, Decimal(0)), min(high, _HUNDRED)
        return Reading("value", value=first, low=_fraction(low), high=_fraction(high))
    low, high = numbers[-2], numbers[-1]
    if low > high:
        return _wrong(f"{shown!r} has its ends reversed", f"write {_plain(high)}-{_plain(low)}")
    if kind == "range":
        return Reading("interval", low=_fraction(low), high=_fraction(high))
    if not low <= numbers[0] <= high:
        return _wrong(
            f"{shown!r} lies outside its own interval",
            f"write a value between {_plain(low)} and {_plain(high)}",
        )
    return Reading("value", value=first, low=_fraction(low), high=_fraction(high))


def _wrong(reason: str, remedy: str) -> Reading:
    return Reading("wrong", reason=reason, remedy=remedy)


def _fraction(percent: Decimal) -> float:
    return float(percent / _HUNDRED)


def _plain(number: Decimal) -> str:
    """Write a decimal without exponent and trailing zeros."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def format_percent(fraction: float, *, digits: int = 3) -> str:
    """Write a fraction as per cent, without the sign, to so many significant digits.

    >>> format_percent(0.06), format_percent(0.0625), format_percent(1 / 3)
    ('6', '6.25', '33.3')
    """
    if fraction == 0:
        return "0"
    return _plain(Decimal(f"{fraction * 100:.{digits}g}"))


def percent_text(fraction: float) -> str:
    """Write a fraction as per cent, to a decimal or, below 1 %, to two digits.

    >>> percent_text(0.0625), percent_text(0.001234)
    ('6.2', '0.12')
    """
    return f"{100 * fraction:.1f}" if fraction >= 0.01 else format_percent(fraction, digits=2)


def _exact_percent(fraction: float) -> str:
    """Write a fraction as per cent such that :func:`parse_cell` gives the same float back."""
    return _plain(_percent(fraction))


def cell_text(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """Write a fraction and its interval as a user might have typed them.

    ``parse_cell(cell_text(value, low, high))`` has exactly the same numbers.

    >>> cell_text(0.06), cell_text(None, 0.0, 0.01), cell_text(None, 0.05, 0.1)
    ('6', '<1', '5-10')
    >>> cell_text(0.0006)
    '0.06%'
    """
    if value is None and low is None and high is None:
        return ""
    if low is None and high is None and value is not None:
        return _signed(_exact_percent(value))
    low, high = low or 0.0, 1.0 if high is None else high
    ends = f"{_exact_percent(low)}-{_exact_percent(high)}"
    if value is not None:
        return _signed(f"{_exact_percent(value)} ({ends})")
    if low == 0.0 and high < 1.0:
        return _signed(f"<{_exact_percent(high)}")
    if high == 1.0 and low > 0.0:
        return _signed(f">{_exact_percent(low)}")
    return _signed(ends)


def _signed(text: str) -> str:
    """Add the per cent sign where a bare number might ask."""
    return f"{text}%" if parse_cell(text, is_doubted=True).kind == "question" else text


def shown_text(reading: Reading) -> str:
    """Write a known reading for display, with the unit."""
    low, high = format_percent(reading.least, digits=4), format_percent(reading.most, digits=4)
    if reading.value is not None:
        value = format_percent(reading.value, digits=4)
        return f"{value} %" if reading.low is None else f"{value} ({low}\u2013{high}) %"
    if reading.least == 0:
        return f"< {high} %"
    return f"> {low} %" if reading.most == 1 else f"{low}\u2013{high} %"


def row_problem(readings: Sequence[Reading]) -> str:
    """Say what is wrong with the classes of a row taken together; empty if nothing is.

    A sum that exceeds 100 % by no more than the core's tolerance is rescaled by the core. There is
    a reading per class, the background left out.
    """
    known = [reading for reading in readings if reading.is_known]
    least = max(
        sum((_percent(reading.least) for reading in known), start=Decimal(0)),
        sum((_percent(reading.value or 0.0) for reading in known), start=Decimal(0)),
    )
    if least <= _HUNDRED * Decimal(repr(1 + SUM_TOLERANCE)):
        return ""
    return f"the classes add up to {_plain(least)} %, more than 100 %; lower one of them"


def _percent(fraction: float) -> Decimal:
    return Decimal(repr(float(fraction))) * _HUNDRED


def remainder_text(readings: Sequence[Reading]) -> str:
    """Write what the classes of a row leave for the background; empty if nothing is known.

    >>> remainder_text([parse_cell("6"), parse_cell("4")])
    '90 %'
    >>> remainder_text([parse_cell("<1"), parse_cell("4")])
    '95–96 %'
    >>> remainder_text([parse_cell("6"), parse_cell("")])
    '≤ 94 %'
    """
    known = [reading for reading in readings if reading.is_known]
    if not known or row_problem(readings) or any(r.kind == "wrong" for r in readings):
        return ""
    most = max(_HUNDRED - sum((_percent(r.least) for r in known), start=Decimal(0)), Decimal(0))
    if len(known) < len(readings):
        return f"\u2264 {_short(most)} %"
    if all(reading.value is not None for reading in known):
        left = _HUNDRED - sum((_percent(r.value or 0.0) for r in known), start=Decimal(0))
        return f"{_short(max(left, Decimal(0)))} %"
    least = max(_HUNDRED - sum((_percent(r.most) for r in known), start=Decimal(0)), Decimal(0))
    return f"{_short(least)}\u2013{_short(most)} %"


def _short(percent: Decimal) -> str:
    """Round to two decimals for display."""
    return _plain(percent.quantize(Decimal("0.01")))


def split_clipboard(text: str) -> list[list[str]]:
    r"""Split text copied from a spreadsheet into rows of cells.

    Columns are separated by tabs; where there is none, by semicolons, or by commas if a line has
    two or more of them or one followed by a blank. Otherwise a comma is a decimal comma.

    >>> split_clipboard("6,5\t<1\n7\t\n")
    [['6,5', '<1'], ['7', '']]
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    while lines and not lines[-1]:
        lines.pop()
    separator = _separator(lines)
    return [
        [_unquoted(cell) for cell in (line.split(separator) if separator else [line])]
        for line in lines
    ]


def _separator(lines: Sequence[str]) -> str | None:
    for candidate in "\t;":
        if any(candidate in line for line in lines):
            return candidate
    has_columns = any(line.count(",") > 1 or re.search(r",\s", line) for line in lines)
    return "," if has_columns else None


def _unquoted(cell: str) -> str:
    stripped = cell.strip()
    if len(stripped) > 1 and stripped[0] == stripped[-1] == '"':
        return stripped[1:-1].replace('""', '"')
    return stripped
