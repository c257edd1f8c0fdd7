"""Cells of the table of fractions, edits of them, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...core.annotations import Region
from .fraction_text import Reading, parse_cell

EMPTY = ""
"""Name of the column of ticks; no class can be called so."""

_TICKED = "1"


@dataclass(frozen=True)
class Cell:
    """What was typed into a cell, and whether the text is under suspicion of being a fraction."""

    text: str = ""
    is_doubted: bool = False

    def reading(self, *, is_doubted: bool = False) -> Reading:
        """Return what the text means; in doubt if the table around it is, too."""
        return parse_cell(self.text, is_doubted=is_doubted or self.is_doubted)


NOTHING = Cell()
TICK = Cell(_TICKED)


@dataclass(frozen=True)
class Edit:
    """One cell before and after."""

    region: Region
    name: str
    old: Cell
    new: Cell


@dataclass(frozen=True)
class Mark:
    """A cell, or a row if the name is None, that needs the user's attention."""

    region: Region
    name: str | None
    reason: str
    remedy: str = ""
    is_question: bool = False

    def __str__(self) -> str:
        return f"{self.reason}; {self.remedy}" if self.remedy else self.reason


def region_label(region: Region, names: Sequence[str] = (), number: int | None = None) -> str:
    """Name a row: the slice's index or file name, and the rectangle's number within it.

    >>> region_label(Region(3)), region_label(Region(3, (0, 0, 8, 8)), number=2)
    ('3', '3 ▭2')
    """
    slice_name = names[region.slice] if region.slice < len(names) else str(region.slice)
    return slice_name if region.box is None else f"{slice_name} \u25ad{number or ''}"
