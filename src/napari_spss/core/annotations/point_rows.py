"""From cells to annotations: the columns of ``keypoints.csv`` and ``grid.csv``."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass, field

import numpy as np

from .checks import UNSURE_TEXT, Location, grid_problems, keypoint_problems
from .csv_cells import Row, Sheet
from .grids import NOT_JUDGED, UNSURE, CountingGrid
from .records import Keypoint
from .table_rows import Reading

__all__ = ["grids_of", "keypoints_of"]

_POINT = ("slice", "y", "x")
_SETTINGS = ("spacing_px", "offset_y", "offset_x")
_NODE = ("slice", *_SETTINGS, "y", "x", "class")
_STATUS = {"": True, "done": True, "open": False}
_NAPARI_AXIS = re.compile(r"axis-\d+", re.ASCII)
_LARGEST_SLICE = 2**31


def keypoints_of(sheet: Sheet, reading: Reading) -> list[Keypoint]:
    """Read labelled positions from our own table, or from that of napari's Points writer."""
    columns = _point_columns(sheet, reading)
    if columns is None:
        return []
    only_class = None
    if "class" not in sheet.names:
        if not (reading.book.is_settled and len(reading.book.names) == 2):
            reading.check_columns(sheet, ("class",), "slice,y,x,class")
            return []
        only_class = 1
        name = reading.book.names[only_class]
        reading.note(sheet, f"no column class; all keypoints are taken as {name!r}")
    points: list[Keypoint] = []
    lines: list[int] = []
    between: list[int] = []
    for row in sheet.rows:
        z = _slice_of(row, columns[0])
        y, x = row.number(columns[1]), row.number(columns[2])
        class_index = reading.class_of(row, "class") if only_class is None else only_class
        reading.problems += row.problems
        if row.problems or z is None or y is None or x is None or class_index is None:
            continue
        nearest = math.floor(z + 0.5)
        if nearest != z:
            between.append(row.line)
        points.append(Keypoint(nearest, y, x, class_index))
        lines.append(row.line)
    if between:
        reading.note(sheet, "keypoints between slices were moved to the nearest slice", between)
    where = Location(sheet.file, lines)
    reading.problems += keypoint_problems(
        points, where, classes=reading.book.names, stack=reading.extent
    )
    return _without_repeats(sheet, reading, points, lines)


def _point_columns(sheet: Sheet, reading: Reading) -> tuple[str, str, str] | None:
    """Column keys of slice ("" = slice 0), y and x; None after noting what is wrong."""
    keys = sheet.names
    axes = [key for key in keys if _NAPARI_AXIS.fullmatch(key)]
    is_napari = bool(axes) and not keys.keys() >= set(_POINT)
    used = {"", "class", *((*axes, "index") if is_napari else _POINT)}
    if not is_napari:
        if "spacing_px" in keys:
            problem = sheet.problem(None, "looks like a counting grid", "give it as grid")
            reading.problems.append(problem)
            return None
        if not reading.check_columns(sheet, _POINT, "slice,y,x,class"):
            return None
        columns = _POINT
    elif not reading.check_columns(sheet, (), ""):
        return None
    elif len(axes) == 3:
        columns = (axes[0], axes[1], axes[2])
    elif len(axes) == 2 and reading.extent.n_slices == 1:
        columns = ("", axes[0], axes[1])
    else:
        problem = sheet.problem(
            None,
            f"has {len(axes)} axes, so that the slices of the keypoints are not known",
            "save points of a layer with the axes (slice, y, x), or write slice,y,x,class",
        )
        reading.problems.append(problem)
        return None
    ignored = [name for key, name in keys.items() if key not in used]
    if ignored:
        reading.note(sheet, f"columns that are not used: {', '.join(ignored)}")
    return columns


def _slice_of(row: Row, key: str) -> float | None:
    """Slice of a point; napari's files may hold positions between slices."""
    if not key:
        return 0.0
    if key == "slice":
        return row.integer(key)
    z = row.number(key)
    if z is not None and not -0.5 <= z <= _LARGEST_SLICE:
        row.fail(key, "is outside the stack", "slices count from 0")
        return None
    return z


def _without_repeats(
    sheet: Sheet, reading: Reading, points: list[Keypoint], lines: list[int]
) -> list[Keypoint]:
    """Drop points on the pixel of an earlier one, with a note; other classes are errors already."""
    first: dict[tuple[int, int, int], Keypoint] = {}
    dropped: list[int] = []
    for point, line in zip(points, lines, strict=True):
        if first.setdefault((point.slice, *point.pixel), point) is not point:
            dropped.append(line)
    if dropped:
        text = "keypoints that repeat one of the same class on the same pixel were dropped"
        reading.note(sheet, text, dropped)
    return list(first.values())


@dataclass
class _Nodes:
    """Rows of one grid."""

    settings: tuple[float, float, float]
    is_done: bool
    lines: list[int] = field(default_factory=list)
    y: list[float] = field(default_factory=list)
    x: list[float] = field(default_factory=list)
    class_index: list[int] = field(default_factory=list)

    def grid(self, z: int) -> CountingGrid:
        """Build the grid of slice ``z``."""
        return CountingGrid(
            z,
            *self.settings,
            np.array(self.y),
            np.array(self.x),
            np.array(self.class_index, dtype=np.int16),
            is_done=self.is_done,
        )


def grids_of(sheet: Sheet, reading: Reading) -> list[CountingGrid]:
    """Read counting grids; the rows of a slice make up its grid."""
    if not reading.check_columns(sheet, _NODE, ",".join((*_NODE, "status"))):
        return []
    _check_known(sheet, reading)
    found: dict[int, _Nodes] = {}
    for row in sheet.rows:
        _read_node(row, reading, found)
        reading.problems += row.problems
    grids = [nodes.grid(z) for z, nodes in found.items()]
    lines = [nodes.lines for nodes in found.values()]
    reading.problems += grid_problems(grids, lines, file=sheet.file, stack=reading.extent)
    for grid in grids:
        if grid.is_done and not grid.n_judged:
            text = f"the grid of slice {grid.slice} has no judged node and gives no proportion"
            reading.note(sheet, text)
    return grids


def _check_known(sheet: Sheet, reading: Reading) -> None:
    """Note unknown columns: a misspelt "status" would turn an open grid into a done one."""
    known = (*_NODE, "status", "")
    for key, name in sheet.names.items():
        if key not in known:
            nearest = difflib.get_close_matches(key, known, n=1)
            remedy = f"write {nearest[0]!r} if that is meant" if nearest else "delete the column"
            problem = sheet.problem(name, "is not a column of a counting grid", remedy)
            reading.problems.append(problem)


def _class_of_node(row: Row, reading: Reading) -> int | None:
    """Class of a node, unsure or not judged; None after noting a problem."""
    text = row.text("class")
    if text == UNSURE_TEXT:
        return UNSURE
    return reading.class_of(row, "class") if text else NOT_JUDGED


def _read_node(row: Row, reading: Reading, found: dict[int, _Nodes]) -> None:
    """Add a row to the grid of its slice, or note what is wrong with it."""
    z = row.integer("slice")
    spacing, offset_y, offset_x = (row.number(key) for key in _SETTINGS)
    y, x = row.number("y"), row.number("x")
    if spacing is not None and spacing <= 0:
        row.fail("spacing_px", "is not above 0", "give the distance of the nodes in pixels")
    is_done = _STATUS.get(row.text("status").casefold())
    if is_done is None:
        row.fail("status", "is not a status", "write done or open")
    class_index = _class_of_node(row, reading)
    if spacing is None or offset_y is None or offset_x is None or y is None or x is None:
        return
    if row.problems or z is None or is_done is None or class_index is None:
        return
    settings = (spacing, offset_y, offset_x)
    nodes = found.setdefault(z, _Nodes(settings, is_done))
    stated, expected = (*settings, is_done), (*nodes.settings, nodes.is_done)
    for key, value, other in zip((*_SETTINGS, "status"), stated, expected, strict=True):
        if value != other:
            row.fail(
                key,
                f"differs from line {nodes.lines[0]}, which is on the same slice",
                "keep one grid a slice, with the same spacing, offsets and status in all its rows",
            )
    nodes.lines.append(row.line)
    nodes.y.append(y)
    nodes.x.append(x)
    nodes.class_index.append(class_index)
