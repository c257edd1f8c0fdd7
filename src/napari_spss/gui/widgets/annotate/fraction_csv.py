"""CSV files of proportions in and out of the table of fractions, wrong cells included."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ....core.annotations import (
    Annotations,
    Classes,
    Proportion,
    Region,
    per_cent_text,
    plain_number,
    read_annotations,
    read_fraction_texts,
    write_proportions,
)
from ....core.base import InputError
from ...models import Cell, FractionSheet, cell_text, is_bare_fraction, parse_cell


@dataclass(frozen=True)
class Imported:
    """What a file says, ready for the table."""

    proportions: tuple[Proportion, ...] = ()  # the rows, if all of the file could be used
    # otherwise the texts of each row by class, wrong ones as they stand in the file
    cells: dict[Region, dict[str, Cell]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # what the user should know

    @property
    def regions(self) -> tuple[Region, ...]:
        """The slices and rectangles that the file names."""
        return (*(one.region for one in self.proportions), *self.cells)


def read_fractions(path: Path, sheet: FractionSheet) -> Imported:
    """Read ``proportions.csv`` for a table.

    A file whose places and classes are right, but some of whose cells are wrong, is read as text,
    so that the wrong cells can be seen and corrected in the table. InputError if the file cannot be
    read, or its rows or columns have no place in the table.
    """
    try:
        annotations = read_annotations(proportions=path, classes=sheet.classes)
    except InputError as error:
        cells = _read_texts(path, sheet)
        if cells is None:
            raise
        imported = Imported(cells=cells, notes=(f"{path.name} has wrong cells; they are marked.",))
        _check_slices(path, imported, sheet, error)
        return imported
    imported = Imported(proportions=annotations.proportions, notes=annotations.notes)
    _check_slices(path, imported, sheet, None)
    return imported


def _check_slices(
    path: Path, imported: Imported, sheet: FractionSheet, cause: InputError | None
) -> None:
    """Refuse a file that belongs to a longer stack."""
    last = max((region.slice for region in imported.regions), default=-1)
    if last >= sheet.n_slices:
        raise InputError(
            f"{path.name} names slice {last}, but the last slice of the image is "
            f"{sheet.n_slices - 1}; open the file that belongs to this image."
        ) from cause


def _read_texts(path: Path, sheet: FractionSheet) -> dict[Region, dict[str, Cell]] | None:
    """Read the cells of a file as text; None if one of them has no place in the table."""
    found = read_fraction_texts(path, sheet.classes)
    if found is None:
        return None
    cells: dict[Region, dict[str, Cell]] = {}
    for region, row in found.rows.items():
        texts = {name: _cell_text(*three, found.is_mixed) for name, three in row.items()}
        cells[region] = {
            name: Cell(text, is_doubted=found.is_mixed and is_bare_fraction(text))
            for name, text in texts.items()
            if text
        }
    return cells


def _cell_text(value: str, low: str, high: str, is_mixed: bool) -> str:
    """Text for the table of a class's cell and its bounds; fractions as per cent."""
    if not is_mixed:
        value, low, high = map(_as_per_cent, (value, low, high))
        readings = [parse_cell(text) for text in (value, low, high)]
        if all(reading.kind in ("blank", "value") for reading in readings):
            return cell_text(*(reading.value for reading in readings))
    if not low and not high:
        return value
    ends = f"{low or '0'}-{high or '100'}"
    return f"{value} ({ends})" if value else ends


def _as_per_cent(text: str) -> str:
    number = plain_number(text)
    return text if number is None else per_cent_text(number)


def write_fractions(path: Path, sheet: FractionSheet) -> None:
    """Write what is stated to ``proportions.csv``; RunError if the file cannot be written."""
    write_proportions(path, Annotations(Classes(sheet.classes), proportions=sheet.value()))
