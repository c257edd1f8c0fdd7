"""CSV files of proportions in and out of the table of fractions, wrong cells included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ....core.annotations import (
    Annotations,
    Proportion,
    Region,
    Row,
    match_class,
    parse_sheet,
    read_bytes,
    read_proportions,
    write_proportions,
)
from ....core.base import CellProblem, InputError
from ...models import Cell, FractionSheet, cell_text, is_bare_fraction, parse_cell

__all__ = ["Imported", "read_fractions", "write_fractions"]

_BOX = ("y0", "x0", "y1", "x1")
_SUFFIXES = ("", "_low", "_high")


@dataclass(frozen=True)
class Imported:
    """What a file says, ready for the table.

    Parameters
    ----------
    proportions : tuple of Proportion
        The rows, if all of the file could be used.
    cells : dict
        Otherwise the texts of each row by class, wrong ones as they stand in the file.
    notes : tuple of str
        What the user should know.
    """

    proportions: tuple[Proportion, ...] = ()
    cells: dict[Region, dict[str, Cell]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def regions(self) -> tuple[Region, ...]:
        """The slices and rectangles that the file names."""
        return (*(one.region for one in self.proportions), *self.cells)


def read_fractions(path: Path, sheet: FractionSheet) -> Imported:
    """Read ``proportions.csv`` for a table.

    A file whose places and classes are right, but some of whose cells are wrong, is read as text,
    so that the wrong cells can be seen and corrected in the table.

    Raises
    ------
    InputError
        If the file cannot be read, or its rows or columns have no place in the table.
    """
    try:
        annotations = read_proportions(path, classes=sheet.classes)
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
    problems: list[CellProblem] = []
    data = read_bytes(path, problems)
    if data is None:
        return None
    table = parse_sheet(data, path.name, problems, expects=("slice",))
    if table is None or problems:
        return None
    columns = [key for key in table.names if key not in ("slice", *_BOX)]
    names = {key: _class_of(key, sheet.classes) for key in columns if key == _base(key)}
    if any(_class_of(key, sheet.classes) is None for key in columns):
        return None
    is_per_cent = any(_is_above_one(row.text(key)) for row in table.rows for key in names)
    found: dict[Region, dict[str, Cell]] = {}
    for row in table.rows:
        region = _region(row)
        if region is None or region in found:
            return None
        found[region] = {}
        for key, name in names.items():
            text = _cell_text(row, key, is_per_cent)
            if text and name is not None:
                is_doubted = is_per_cent and is_bare_fraction(text)
                found[region][name] = Cell(text, is_doubted)
    return found


def _class_of(key: str, classes: Sequence[str]) -> str | None:
    """Find the class that a column is about; None if there is none."""
    place = match_class(_base(key), classes)
    return None if place is None else classes[place]


def _base(key: str) -> str:
    """Cut "_low" and "_high" off the name of a column."""
    for suffix in _SUFFIXES[1:]:
        key = key.removesuffix(suffix)
    return key


def _region(row: Row) -> Region | None:
    """Slice or rectangle of a row; None if it names neither."""
    z = row.integer("slice")
    edges: list[int] = []
    if any(row.text(key) for key in _BOX):
        edges = [edge for edge in map(row.integer, _BOX) if edge is not None]
    if z is None or row.problems:
        return None
    try:
        return Region(z, (edges[0], edges[1], edges[2], edges[3]) if edges else None)
    except InputError:
        return None


def _cell_text(row: Row, key: str, is_per_cent: bool) -> str:
    """Text for the table of a class's cell and its bounds."""
    raw = [row.text(f"{key}{suffix}") for suffix in _SUFFIXES]
    if not is_per_cent:
        before = len(row.problems)
        value, low, high = (row.fraction(f"{key}{suffix}") for suffix in _SUFFIXES)
        if len(row.problems) == before:
            return cell_text(value, low, high)
    value_text, low_text, high_text = raw
    if not low_text and not high_text:
        return value_text
    ends = f"{low_text or '0'}-{high_text or '100'}"
    return f"{value_text} ({ends})" if value_text else ends


def _is_above_one(text: str) -> bool:
    """Whether a bare number cannot be a fraction."""
    reading = parse_cell(f"{text}%")
    return "%" not in text and reading.is_known and reading.least > 0.01


def write_fractions(path: Path, sheet: FractionSheet) -> None:
    """Write what is stated to ``proportions.csv``.

    Raises
    ------
    RunError
        If the file cannot be written.
    """
    write_proportions(path, Annotations(sheet.classes, proportions=sheet.value()))
