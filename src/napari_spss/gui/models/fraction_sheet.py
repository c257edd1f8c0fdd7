"""The table of fractions without its widget: rows, typed texts, readings, undo.

A cell keeps the text as it was typed, wrong or not; what it means is read from the text whenever
it is asked for. Texts are keyed by region and class name, so those of a deleted rectangle or class
come back when it does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError

from ...core.annotations import Classes, ClassStyle, Proportion, Region
from ...core.base import InputError, Record, fault_of
from .class_changes import follow_classes
from .fraction_text import (
    BLANK,
    Reading,
    cell_text,
    is_bare_fraction,
    is_large_per_cent,
    parse_cell,
    row_problem,
)
from .history import History

_ZERO = Reading("value", value=0.0)
_STATE_VERSION = 1

_Index: TypeAlias = Annotated[int, Field(ge=0, lt=2**31)]
_Box: TypeAlias = tuple[_Index, _Index, _Index, _Index]
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


class _Text(Record):
    """A cell of the table."""

    slice: _Index
    box: _Box | None
    name: str = Field(alias="class")
    text: str
    is_doubted: bool


_TEXT = TypeAdapter(_Text)
_RECTANGLE = TypeAdapter(tuple[_Index, _Index, _Index, _Index, _Index])


def check_texts(state: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Look through what `FractionSheet.text_state` gave, which may come from a damaged file.

    Returns
    -------
    (dict, tuple of str)
        The state without what is damaged, and what is wrong with each part that was left out.
    """
    faults = []

    def sound(part: str, region_of: Callable[[Any], Region]) -> list[Any]:
        items, found = state.get(part, []), []
        if not isinstance(items, list):
            faults.append(f"{part}: is no list")
            return []
        for number, item in enumerate(items):
            try:
                region_of(item)
            except (ValidationError, InputError) as error:
                faults.append(f"{part}.{number}: {fault_of(error)}")
            else:
                found.append(item)
        return found

    whole = dict(state, rectangles=sound("rectangles", _box_of), cells=sound("cells", _place_of))
    if state and state.get("version") != _STATE_VERSION:
        return {}, (f"version: {state.get('version')!r} is not known here", *faults)
    return whole, tuple(faults)


def _box_of(item: Any) -> Region:
    z, y0, x0, y1, x1 = _RECTANGLE.validate_python(item, strict=False)
    return Region(z, (y0, x0, y1, x1))


def _place_of(item: Any) -> Region:
    text = _TEXT.validate_python(item, strict=False)
    return Region(text.slice, text.box)


class FractionSheet:
    """Typed fractions of slices and rectangles, with undo."""

    def __init__(self) -> None:
        self.classes = Classes(("background",))
        self.n_slices = 0
        self.rows: tuple[Region, ...] = ()
        self._row_of: dict[Region, int] = {}
        self.boxes: tuple[Region, ...] = ()  # rectangles, in the order in which they were given
        self._cells: dict[Region, dict[str, Cell]] = {}
        self._has_signs: bool | None = None  # None: to be looked up
        self.history = History(self._put_edit)

    # Rows and columns ---------------------------------------------------------------------------

    @property
    def background(self) -> str:
        """Name of class 0."""
        return self.classes[0]

    @property
    def typed_classes(self) -> tuple[str, ...]:
        """Names of the classes that have a column to type in."""
        return tuple(one.name for one in self.classes.records[1:] if not one.is_outside)

    def row_of(self, region: Region) -> int | None:
        """Row of a region; None if it has none."""
        return self._row_of.get(region)

    def has_row(self, region: Region) -> bool:
        """Whether a region has a row."""
        return region in self._row_of

    def set_classes(self, classes: Iterable[str | ClassStyle]) -> None:
        """Take over the classes; a class that was renamed in its place keeps its texts."""
        new = Classes(classes)
        places = zip(self.classes, follow_classes(self.classes, new), strict=True)
        followed = {old: new[place] for old, place in places if place is not None}
        self._rename({old: name for old, name in followed.items() if old != name})
        self.classes = new
        self._has_signs = None

    def set_slices(self, n_slices: int) -> None:
        """Have a row for each of so many slices."""
        self.n_slices = n_slices
        self._arrange()

    def set_boxes(self, regions: Iterable[Region]) -> None:
        """Have a row for each rectangle; one that was moved or resized keeps its texts."""
        new = tuple(dict.fromkeys(region for region in regions if region.box is not None))
        gone = [region for region in self.boxes if region not in new]
        come = [region for region in new if region not in self.boxes]
        if len(gone) == len(come):
            self._move(dict(zip(gone, come, strict=True)))
        self.boxes = new
        self._arrange()

    def _arrange(self) -> None:
        """Order the rows: each slice, then its rectangles."""
        by_slice: dict[int, list[Region]] = {}
        for region in self.boxes:
            by_slice.setdefault(region.slice, []).append(region)
        rows: list[Region] = []
        for z in range(self.n_slices):
            rows.append(Region(z))
            rows.extend(by_slice.get(z, ()))
        self.rows = tuple(rows)
        self._row_of = {region: row for row, region in enumerate(rows)}
        self._has_signs = None

    def _rename(self, names: Mapping[str, str]) -> None:
        if not names:
            return
        for cells in self._cells.values():
            for old, new in names.items():
                if old in cells:
                    cells[new] = cells.pop(old)
        self.history.rewrite(lambda edit: replace(edit, name=names.get(edit.name, edit.name)))

    def _move(self, regions: Mapping[Region, Region]) -> None:
        if not regions:
            return
        moved = {new: self._cells.pop(old, {}) for old, new in regions.items()}
        self._cells.update({region: cells for region, cells in moved.items() if cells})
        self.history.rewrite(
            lambda edit: replace(edit, region=regions.get(edit.region, edit.region))
        )

    # Cells --------------------------------------------------------------------------------------

    def cell(self, region: Region, name: str) -> Cell:
        """Return what was typed."""
        return self._cells.get(region, {}).get(name, NOTHING)

    def cells(self) -> dict[Region, dict[str, Cell]]:
        """Return all that was typed, in a copy."""
        return {region: dict(cells) for region, cells in self._cells.items()}

    def is_empty(self, region: Region) -> bool:
        """Whether the region is ticked as containing none of the classes."""
        return EMPTY in self._cells.get(region, {})

    def reading(self, region: Region, name: str) -> Reading:
        """Read a class's cell; an exact 0 in a row ticked as empty."""
        return _ZERO if self.is_empty(region) else self._read(self.cell(region, name))

    def _read(self, cell: Cell) -> Reading:
        """Read a cell: beside one such as "10 %", a number up to 1 without a sign asks."""
        if self._has_signs is None:
            shown = (*self.typed_classes, self.background)
            self._has_signs = any(
                is_large_per_cent(cells[name].text)
                for region, cells in self._cells.items()
                if region in self._row_of
                for name in shown
                if name in cells
            )
        return cell.reading(is_doubted=self._has_signs)

    def row_readings(self, region: Region) -> list[Reading]:
        """Read the typed classes of a row."""
        if region not in self._cells:
            return [BLANK] * len(self.typed_classes)
        return [self.reading(region, name) for name in self.typed_classes]

    def stated_background(self, region: Region) -> Reading:
        """Read the background that a file stated; blank where it is what the classes leave."""
        if all(reading.is_known for reading in self.row_readings(region)):
            return BLANK
        return self._read(self.cell(region, self.background))

    def row_problem(self, region: Region) -> str:
        """Say what is wrong with a row as a whole; empty if nothing is."""
        if region not in self._cells:
            return ""
        return row_problem([*self.row_readings(region), self.stated_background(region)])

    def mark(self, region: Region, name: str | None) -> Mark | None:
        """What is wrong with a cell or waits for an answer, or with a row; None if nothing is."""
        if name is None:
            problem = self.row_problem(region)
            return Mark(region, None, problem) if problem else None
        reading = self.reading(region, name)
        is_question = reading.kind == "question"
        found = Mark(region, name, reading.reason, reading.remedy, is_question)
        return found if reading.reason else None

    def marks(self) -> list[Mark]:
        """All wrong cells, unanswered questions and impossible rows, from top to bottom."""
        names = (None, *self.typed_classes)
        found = (self.mark(region, name) for region in self._filled_rows() for name in names)
        return [mark for mark in found if mark is not None]

    def _filled_rows(self) -> list[Region]:
        """Shown regions with a text, in the order of the rows."""
        shown = [(self._row_of[region], region) for region in self._cells if region in self._row_of]
        return [region for _, region in sorted(shown, key=lambda pair: pair[0])]

    # Editing ------------------------------------------------------------------------------------

    def edits_for(self, texts: Iterable[tuple[Region, str, str]]) -> tuple[Edit, ...]:
        """Prepare the edit that types texts into cells (region, class name, text).

        If several come at once, as in a paste, and all may be fractions, all of them ask.
        """
        typed = [(region, name, text.strip()) for region, name, text in texts]
        readings = [(text, parse_cell(text)) for _, _, text in typed]
        known = [text for text, reading in readings if reading.kind not in ("blank", "wrong")]
        is_one_unit = sum(map(is_bare_fraction, known)) > 1 and all(
            is_bare_fraction(text) or parse_cell(text).most == 0 for text in known
        )
        edits = []
        for region, name, text in typed:
            cell = Cell(text, is_doubted=is_one_unit and is_bare_fraction(text))
            edits.extend(self._edits_of_cell(region, name, cell if text else NOTHING))
        return tuple(edits)

    def _edits_of_cell(self, region: Region, name: str, new: Cell) -> list[Edit]:
        """Type into a cell; that unticks "empty"."""
        old = self.cell(region, name)
        if old == new and not (self.is_empty(region) and new.text):
            return []
        edits = [Edit(region, name, old, new)]
        if new.text and self.is_empty(region):
            edits.append(Edit(region, EMPTY, TICK, NOTHING))
        return edits

    def tick_edits(self, regions: Iterable[Region], is_empty: bool) -> tuple[Edit, ...]:
        """Prepare the edit that ticks or unticks "empty"."""
        new = TICK if is_empty else NOTHING
        return tuple(
            Edit(region, EMPTY, self.cell(region, EMPTY), new)
            for region in regions
            if self.is_empty(region) != is_empty
        )

    def answer_edits(self, marks: Iterable[Mark], choice: int) -> tuple[Edit, ...]:
        """Prepare the edit that answers questions: 0 = a fraction was meant, 1 = per cent."""
        edits = []
        for mark in marks:
            if mark.name is None or not mark.is_question:
                continue
            old = self.cell(mark.region, mark.name)
            choices = self._read(old).choices
            if choices is not None:
                edits.append(Edit(mark.region, mark.name, old, Cell(choices[choice])))
        return tuple(edits)

    def _put_edit(self, edit: Edit, is_back: bool) -> None:
        self._put(edit.region, edit.name, edit.old if is_back else edit.new)

    def _put(self, region: Region, name: str, cell: Cell) -> None:
        self._has_signs = None
        cells = self._cells.setdefault(region, {})
        if cell.text:
            cells[name] = cell
        else:
            cells.pop(name, None)
        if not cells:
            del self._cells[region]

    # Values -------------------------------------------------------------------------------------

    def value(self) -> tuple[Proportion, ...]:
        """Return what is stated, row by row; wrong cells, open questions and blanks are unknown.

        A row whose classes exceed 100 % states nothing until it is corrected. The background is
        left to the core (the remainder), unless it was stated by a file and a class is unknown.
        """
        stated = (self._proportion(region) for region in self._filled_rows())
        return tuple(one for one in stated if one is not None)

    def _proportion(self, region: Region) -> Proportion | None:
        if self.row_problem(region):
            return None
        readings = [BLANK] * len(self.classes)
        for index, name in enumerate(self.classes):
            if name in self.typed_classes:
                readings[index] = self.reading(region, name)
        readings[0] = self.stated_background(region)
        if not any(reading.is_known for reading in readings):
            return None
        return Proportion(
            region,
            tuple(reading.value for reading in readings),
            low=tuple(reading.low for reading in readings),
            high=tuple(reading.high for reading in readings),
        )

    def set_value(self, proportions: Iterable[Proportion]) -> None:
        """Show proportions instead of what is typed; their rectangles get rows. Clears undo."""
        given = tuple(proportions)
        self.clear()
        self.boxes = tuple(dict.fromkeys(one.region for one in given if one.region.box is not None))
        self._arrange()
        for one in given:
            for name, cell in self._cells_of(one).items():
                self._put(one.region, name, cell)

    def edits_to(self, proportions: Iterable[Proportion]) -> tuple[Edit, ...]:
        """Prepare the edit that replaces the rows of these proportions; other rows stay."""
        return self.edits_to_cells({one.region: self._cells_of(one) for one in proportions})

    def edits_to_cells(self, rows: Mapping[Region, Mapping[str, Cell]]) -> tuple[Edit, ...]:
        """Prepare the edit that replaces whole rows; cells that are not named become blank."""
        edits = []
        for region, cells in rows.items():
            for name in (EMPTY, *self.classes):
                old, new = self.cell(region, name), cells.get(name, NOTHING)
                if old != new:
                    edits.append(Edit(region, name, old, new))
        return tuple(edits)

    def _cells_of(self, proportion: Proportion) -> dict[str, Cell]:
        """Write a proportion into cells."""
        one = proportion.normalised()
        low = one.low or (None,) * len(one.fractions)
        high = one.high or (None,) * len(one.fractions)
        texts = {
            name: cell_text(*numbers)
            for name, *numbers in zip(self.classes, one.fractions, low, high, strict=False)
        }
        typed = [texts.get(name, "") for name in self.typed_classes]
        if typed and all(text == "0" for text in typed):
            return {EMPTY: TICK}
        if all(typed):
            texts.pop(self.background, None)
        return {name: Cell(text) for name, text in texts.items() if text}

    def clear(self) -> None:
        """Forget all texts, rectangles and steps."""
        self._cells = {}
        self.history = History(self._put_edit)
        self.boxes = ()
        self._arrange()

    # Texts, for the project file ----------------------------------------------------------------

    def text_state(self) -> dict[str, Any]:
        """All texts as typed, wrong ones included, as plain values for JSON."""
        return {
            "version": _STATE_VERSION,
            "rectangles": [[region.slice, *(region.box or ())] for region in self.boxes],
            "cells": [
                {
                    "slice": region.slice,
                    "box": None if region.box is None else list(region.box),
                    "class": name,
                    "text": cell.text,
                    "is_doubted": cell.is_doubted,
                }
                for region, cells in self._cells.items()
                for name, cell in cells.items()
            ],
        }

    def set_text_state(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`text_state` gave; anything else in it is ignored. Clears undo.

        What is damaged is left out, see :func:`check_texts`.
        """
        texts, _ = check_texts(state)
        self.clear()
        self.boxes = tuple(dict.fromkeys(_box_of(item) for item in texts.get("rectangles", ())))
        self._arrange()
        for item in texts.get("cells", ()):
            text = _TEXT.validate_python(item, strict=False)
            self._put(_place_of(item), text.name, Cell(text.text, text.is_doubted))

    def restore(
        self,
        proportions: Sequence[Proportion],
        state: Mapping[str, Any],
        *,
        is_damaged: bool = False,
    ) -> None:
        """Show proportions, as they were typed where the texts of a project still say the same.

        Where a row of the file differs from its texts, the file was edited elsewhere and wins;
        texts that could not be in the file, because they are wrong, are kept beside it.
        Of rows that are missing in a damaged file, or if there are none, the texts are all there
        is.
        """
        self.set_text_state(state)
        if not proportions:
            return
        by_region = {one.region: one for one in proportions}
        boxes = [one.region for one in proportions if one.region.box is not None]
        for region in {*self._cells, *by_region}:
            one = by_region.get(region)
            shown = self._proportion(region)
            if _same(shown, one) or (one is None and is_damaged):
                continue
            kept = {
                name: cell
                for name, cell in self._cells.pop(region, {}).items()
                if not self._read(cell).is_known
            }
            cells = {**kept, **(self._cells_of(one) if one is not None else {})}
            for name, cell in cells.items():
                self._put(region, name, cell)
        self.boxes = tuple(dict.fromkeys((*self.boxes, *boxes)))
        self._arrange()


def _same(shown: Proportion | None, one: Proportion | None) -> bool:
    """Whether two proportions state the same, whether or not the background is filled in."""
    if shown is None or one is None:
        return shown is one
    ours, theirs = shown.normalised(), one.normalised()
    return ours.fractions == theirs.fractions and ours.bounds() == theirs.bounds()
