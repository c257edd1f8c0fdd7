"""From cells to annotations: names of classes, and the columns of ``proportions.csv``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..base import CellProblem
from .checks import (
    MOST_CLASSES,
    Location,
    StackExtent,
    class_name_fault,
    is_background,
    match_class,
    nearest_class,
    order_classes,
    proportion_problems,
)
from .csv_cells import Row, Sheet
from .proportions import Box, Proportion, Region

__all__ = ["ClassBook", "Reading", "proportions_of"]

_BOX = ("y0", "x0", "y1", "x1")
_ROLES = {"_low": "low", "_high": "high"}
_MOST_LINES = 10


class ClassBook:
    """Names of the classes, background first: settled beforehand, or growing as names appear.

    Parameters
    ----------
    names : sequence of str or None
        All names in order; None if they are still to be found.
    """

    def __init__(self, names: Sequence[str] | None) -> None:
        self.is_settled = names is not None
        self.names = ["background"] if names is None else list(names)
        self._background_appeared = False

    def settle(self, names: Iterable[str]) -> None:
        """Fix the names and their order."""
        self.names = list(order_classes(names))
        self.is_settled = True

    def find(self, name: str) -> int | None:
        """Look up the index of a known class."""
        return match_class(name, self.names)

    def add(self, name: str) -> int:
        """Enter a class that appears in a table and return its index; keep the first spelling."""
        if is_background(name) and not self._background_appeared:
            self.names[0] = name
            self._background_appeared = True
        index = self.find(name)
        if index is None:
            self.names.append(name)
            index = len(self.names) - 1
        return index

    def remedy(self, name: str) -> str:
        """Say what to do about an unknown class."""
        nearest = nearest_class(name, self.names)
        if nearest is not None:
            return f"write {nearest!r} if that is meant, or add it to the classes"
        return f"use one of {', '.join(map(repr, self.names))}, or add it to the classes"


@dataclass
class Reading:
    """State of one reading of up to three tables.

    Parameters
    ----------
    book : ClassBook
        Known or growing names of the classes.
    extent : StackExtent
        Limits of slices and positions.
    problems : list of CellProblem
        Whatever is wrong is added here.
    notes : list of str
        What was changed, for the user.
    outside : str or None
        Class that is excluded from all fractions.
    """

    book: ClassBook
    extent: StackExtent
    problems: list[CellProblem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    outside: str | None = None

    @property
    def outside_index(self) -> int | None:
        """Index of the class outside, as far as it is known yet."""
        return None if self.outside is None else self.book.find(self.outside)

    def note(self, sheet: Sheet, text: str, lines: Sequence[int] = ()) -> None:
        """Add a note about a table, with the lines that it is about."""
        if lines:
            shown = ", ".join(map(str, lines[:_MOST_LINES]))
            more = ", ..." if len(lines) > _MOST_LINES else ""
            text += f" (line{'s' if len(lines) > 1 else ''} {shown}{more})"
        self.notes.append(f"{sheet.file}: {text}.")

    def check_columns(self, sheet: Sheet, required: Sequence[str], example: str) -> bool:
        """Note missing and nameless columns; True if there are none."""
        before = len(self.problems)
        absent = [name for name in required if name not in sheet.names]
        if absent:
            self.problems.append(
                sheet.problem(
                    None,
                    f"has no column{'s' if len(absent) > 1 else ''} {', '.join(absent)}",
                    f"start the file with a header such as {example}",
                )
            )
        if any(row.text("") for row in sheet.rows):
            self.problems.append(
                sheet.problem(None, "has a column without a name", "name or delete the column")
            )
        return len(self.problems) == before

    def class_of(self, row: Row, key: str) -> int | None:
        """Index of the class that a cell names; None after noting a problem."""
        name = row.text(key)
        index = self.book.find(name) if self.book.is_settled else None
        if index is not None:
            return index
        fault = class_name_fault(name)
        if fault is not None:
            row.fail(key, fault, "name a class")
        elif self.book.is_settled:
            row.fail(key, "is not a known class", self.book.remedy(name))
        elif len(self.book.names) >= MOST_CLASSES and self.book.find(name) is None:
            row.fail(key, "is a class too many", f"name at most {MOST_CLASSES} classes")
        else:
            return self.book.add(name)
        return None


@dataclass(frozen=True)
class _Layout:
    """Column keys of each class of a table of proportions, by class index."""

    has_boxes: bool
    value: dict[int, str] = field(default_factory=dict)
    low: dict[int, str] = field(default_factory=dict)
    high: dict[int, str] = field(default_factory=dict)


def proportions_of(sheet: Sheet, reading: Reading) -> list[Proportion]:
    """Read fractions per region; if the classes are not settled, the header settles them."""
    layout = _layout(sheet, reading)
    if layout is None:
        return []
    stated: list[Proportion] = []
    lines: list[int] = []
    for row in sheet.rows:
        proportion = _proportion(row, layout, reading)
        reading.problems += row.problems
        if proportion is not None:
            stated.append(proportion)
            lines.append(row.line)
    where = Location(sheet.file, lines)
    outside = reading.outside_index
    reading.problems += proportion_problems(stated, where, stack=reading.extent, outside=outside)
    normalised = [proportion.without(outside).normalised() for proportion in stated]
    changed = [
        line
        for line, before, after in zip(lines, stated, normalised, strict=True)
        if any(
            old is not None and old != new
            for old, new in zip(before.fractions, after.fractions, strict=True)
        )
    ]
    if changed:
        text = "fractions that did not sum to 1 exactly were renormalised (divided by their sum)"
        reading.note(sheet, text, changed)
    return normalised


def _layout(sheet: Sheet, reading: Reading) -> _Layout | None:
    """Find the columns of a table of proportions; None after noting what is wrong."""
    keys = sheet.names
    if {"y", "x", "class"} <= keys.keys():
        kind = "grid" if "spacing_px" in keys else "keypoints"
        problem = sheet.problem(None, f"looks like a table of {kind}", f"give it as {kind}")
        reading.problems.append(problem)
        return None
    before = len(reading.problems)
    has_boxes = any(key in keys for key in _BOX)
    required = ("slice", *_BOX) if has_boxes else ("slice",)
    reading.check_columns(sheet, required, ",".join((*required, "background", "mitochondria")))
    roles = {key: _role(keys[key]) for key in keys if key and key not in ("slice", *_BOX)}
    if not roles:
        problem = sheet.problem(None, "names no class", "add a column per class to the header")
        reading.problems.append(problem)
    if roles and not reading.book.is_settled:
        # a class that counts in no fraction needs no column
        extra = [] if reading.outside is None else [reading.outside]
        reading.book.settle([*(name for name, _ in roles.values()), *extra])
    layout = _Layout(has_boxes)
    for key, (name, role) in roles.items():
        fault = _place(layout, key, name, role, reading.book)
        if fault is not None:
            reading.problems.append(sheet.problem(keys[key], *fault))
    return layout if len(reading.problems) == before else None


def _role(column: str) -> tuple[str, str]:
    """Class that a column is about, and whether it holds its value or a bound."""
    for suffix, role in _ROLES.items():
        if column.casefold().endswith(suffix):
            return column[: -len(suffix)].rstrip(), role
    return column, "value"


def _place(
    layout: _Layout, key: str, name: str, role: str, book: ClassBook
) -> tuple[str, str] | None:
    """Enter a column into the layout, or return reason and remedy why not."""
    fault = class_name_fault(name)
    if fault is not None:
        return fault, "choose another name"
    index = book.find(name)
    if index is None:
        return "is not a known class", book.remedy(name)
    columns: dict[int, str] = getattr(layout, role)
    if index in columns:
        return f"is about the same class as column {columns[index]!r}", "keep one of them"
    columns[index] = key
    return None


def _proportion(row: Row, layout: _Layout, reading: Reading) -> Proportion | None:
    """Read one row of fractions; None after noting problems."""
    z = row.integer("slice")
    box = _box(row) if layout.has_boxes else None
    n_classes = len(reading.book.names)

    def fractions(columns: dict[int, str]) -> tuple[float | None, ...]:
        found = {index: row.fraction(key) for index, key in columns.items()}
        return tuple(found.get(index) for index in range(n_classes))

    values, low, high = map(fractions, (layout.value, layout.low, layout.high))
    for index, key in {**layout.high, **layout.low}.items():
        ordered = (low[index], values[index], high[index])
        known = [value for value in ordered if value is not None]
        if known != sorted(known):
            row.fail(key, "does not bound the fraction", "make low <= fraction <= high")
    outside = reading.outside_index
    for part, columns in ((values, layout.value), (low, layout.low), (high, layout.high)):
        if outside is not None and part[outside]:
            row.fail(
                columns[outside],
                "states a fraction of the class outside, which counts in none",
                "leave it blank, and state the others as fractions of the rest",
            )
    if row.problems or z is None:
        return None
    if box == (0, 0, *(reading.extent.shape_of(z) or ())):
        box = None  # the whole slice in other words
    return Proportion(Region(z, box), values, low, high)


def _box(row: Row) -> Box | None:
    """Read a rectangle; None if its cells are blank, or after noting problems."""
    if not any(row.text(key) for key in _BOX):
        return None
    y0, x0, y1, x1 = (row.integer(key) for key in _BOX)
    if y0 is None or x0 is None or y1 is None or x1 is None:
        return None
    if y1 <= y0:
        row.fail("y1", "leaves the box empty", f"give more than y0, {y0}")
    if x1 <= x0:
        row.fail("x1", "leaves the box empty", f"give more than x0, {x0}")
    return y0, x0, y1, x1
