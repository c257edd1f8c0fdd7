"""CSV files of annotations: ``proportions.csv``, ``keypoints.csv`` and ``grid.csv``.

Slices and pixels count from 0. What cannot be used is reported with file, line, column, value and
remedy, for all files at once; nothing is guessed or dropped silently. Writing and reading back
gives equal annotations.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, TypedDict

from ..base import CellProblem, InputError
from .checks import (
    UNSURE_TEXT,
    SliceShapes,
    StackExtent,
    check_class_names,
    match_class,
    order_classes,
)
from .csv_cells import Sheet, parse_sheet, read_bytes, write_rows
from .grids import NOT_JUDGED, UNSURE, CountingGrid
from .point_rows import grids_of, keypoints_of
from .proportions import Fractions
from .records import Annotations
from .table_rows import ClassBook, Reading, proportions_of

__all__ = [
    "AnnotationPaths",
    "annotation_files",
    "read_annotations",
    "read_grid",
    "read_keypoints",
    "read_proportions",
    "write_annotations",
    "write_grid",
    "write_keypoints",
    "write_proportions",
]

AnyPath = str | os.PathLike[str]

_Kind = Literal["proportions", "keypoints", "grid"]

_FILES: dict[_Kind, str] = {
    "proportions": "proportions.csv",
    "keypoints": "keypoints.csv",
    "grid": "grid.csv",
}
# A header with none of these is not split at commas.
_EXPECTED: dict[_Kind, tuple[str, ...]] = {
    "proportions": ("slice",),
    "keypoints": ("slice", "axis-0"),
    "grid": ("slice",),
}


def read_annotations(
    *,
    proportions: AnyPath | None = None,
    keypoints: AnyPath | None = None,
    grid: AnyPath | None = None,
    classes: Sequence[str] | None = None,
    stack: SliceShapes | None = None,
    outside: str | None = None,
) -> Annotations:
    """Read what is annotated in up to three CSV files.

    Parameters
    ----------
    proportions : path, optional
        Columns ``slice[,y0,x0,y1,x1],<class>...[,<class>_low,<class>_high...]``. Fractions are 0-1,
        or per cent with ``%``; blank = unknown. A background that is not stated is the remainder if
        all other classes are known. If all classes are known and sum to 1 within 0.02, they are
        divided by their sum, with a note. Boxes are half-open; blank = the whole slice. An
        interval may stand without a fraction, which then stays unknown (None).
    keypoints : path, optional
        Columns ``slice,y,x,class``, or the file that napari's own Points writer saves:
        ``index,axis-0,axis-1,axis-2[,class]``. Without a class column, all points are of the only
        class besides the background. Other columns are ignored with a note.
    grid : path, optional
        Columns ``slice,spacing_px,offset_y,offset_x,y,x,class[,status]``, a row per node. A ``?``
        as class = unsure, a blank one = not judged yet, or unsure too in a grid that is done;
        ``status`` is ``done`` (also if blank) or ``open``.
    classes : sequence of str, optional
        All class names, in order; the background comes first and is added if it is missing. By
        default the header of ``proportions``, else the order of appearance. Names are matched
        without regard to case, and "bg" means "background".
    stack : Stack, optional
        What is annotated; slices and positions outside it are errors.
    outside : str, optional
        Class that is excluded from all fractions; it needs no column in ``proportions``, and its
        cells there are blank.

    Returns
    -------
    Annotations
        ``notes`` tell what was changed while reading.

    Raises
    ------
    InputError
        With ``problems``, one for each wrong cell of all files; or if ``classes`` is unusable.
    """
    names = None if classes is None else _given_classes(classes)
    reading = Reading(ClassBook(names), StackExtent(stack), outside=outside)
    # Proportions come first: their header settles the classes for the other two.
    fractions = _open(proportions, "proportions", reading)
    points = _open(keypoints, "keypoints", reading)
    nodes = _open(grid, "grid", reading)
    stated = proportions_of(fractions, reading) if fractions else []
    clicked = keypoints_of(points, reading) if points else []
    counted = grids_of(nodes, reading) if nodes else []
    if reading.problems:
        files = [str(Path(path)) for path in (proportions, keypoints, grid) if path is not None]
        raise InputError(problems=_in_file_order(reading.problems, files))
    return Annotations(
        tuple(reading.book.names),
        tuple(stated),
        tuple(clicked),
        tuple(counted),
        tuple(reading.notes),
        outside,
    )


def read_proportions(
    path: AnyPath, *, classes: Sequence[str] | None = None, stack: SliceShapes | None = None
) -> Annotations:
    """Read ``proportions.csv`` alone; see `read_annotations`."""
    return read_annotations(proportions=path, classes=classes, stack=stack)


def read_keypoints(
    path: AnyPath, *, classes: Sequence[str] | None = None, stack: SliceShapes | None = None
) -> Annotations:
    """Read ``keypoints.csv``, or a file of napari's writer, alone; see `read_annotations`."""
    return read_annotations(keypoints=path, classes=classes, stack=stack)


def read_grid(
    path: AnyPath, *, classes: Sequence[str] | None = None, stack: SliceShapes | None = None
) -> Annotations:
    """Read ``grid.csv`` alone; see `read_annotations`."""
    return read_annotations(grid=path, classes=classes, stack=stack)


class AnnotationPaths(TypedDict, total=False):
    """Paths by kind, as keyword arguments of `read_annotations`."""

    proportions: Path
    keypoints: Path
    grid: Path


def annotation_files(folder: AnyPath) -> AnnotationPaths:
    """Find those annotation files that a folder holds."""
    found: AnnotationPaths = {}
    for kind, name in _FILES.items():
        path = Path(folder) / name
        if path.exists():
            found[kind] = path
    return found


def write_annotations(folder: AnyPath, annotations: Annotations) -> None:
    """Write all three files into an existing folder, each atomically.

    A kind without content is written as a header, so that nothing of an older state is left over
    and the classes are always in the header of ``proportions.csv``.

    Raises
    ------
    RunError
        If a file cannot be written.
    """
    write_proportions(Path(folder) / _FILES["proportions"], annotations)
    write_keypoints(Path(folder) / _FILES["keypoints"], annotations)
    write_grid(Path(folder) / _FILES["grid"], annotations)


def write_proportions(path: AnyPath, annotations: Annotations) -> None:
    """Write ``proportions.csv`` atomically, fractions as exact decimals from 0 to 1.

    Raises
    ------
    RunError
        If the file cannot be written.
    """
    has_boxes = any(one.region.box is not None for one in annotations.proportions)
    bounded = [
        index
        for index in range(len(annotations.classes))
        if any(one.bounds()[index] is not None for one in annotations.proportions)
    ]
    header = ["slice", *(("y0", "x0", "y1", "x1") if has_boxes else ()), *annotations.classes]
    for index in bounded:
        header += [f"{annotations.classes[index]}_low", f"{annotations.classes[index]}_high"]

    def rows() -> Iterator[list[str]]:
        yield header
        for one in annotations.proportions:
            box = one.region.box or ("", "", "", "")
            cells = [str(one.region.slice), *(map(str, box) if has_boxes else ())]
            cells += map(_decimal, one.fractions)
            for index in bounded:
                cells += [_bound(one.low, index), _bound(one.high, index)]
            yield cells

    write_rows(Path(path), rows())


def write_keypoints(path: AnyPath, annotations: Annotations) -> None:
    """Write ``keypoints.csv`` atomically, positions as exact decimals in pixels.

    Raises
    ------
    RunError
        If the file cannot be written.
    """
    rows = (
        [
            str(point.slice),
            _decimal(point.y),
            _decimal(point.x),
            annotations.classes[point.class_index],
        ]
        for point in annotations.keypoints
    )
    write_rows(Path(path), [["slice", "y", "x", "class"], *rows])


def write_grid(path: AnyPath, annotations: Annotations) -> None:
    """Write ``grid.csv`` atomically, a row per node; a grid without nodes leaves no trace.

    Raises
    ------
    RunError
        If the file cannot be written.
    """
    header = ["slice", "spacing_px", "offset_y", "offset_x", "y", "x", "class", "status"]
    nodes = (row for grid in annotations.grids for row in _node_rows(grid, annotations.classes))
    write_rows(Path(path), [header, *nodes])


def _node_rows(grid: CountingGrid, classes: Sequence[str]) -> Iterator[list[str]]:
    start = [str(grid.slice), *map(_decimal, (grid.spacing_px, grid.offset_y, grid.offset_x))]
    status = "done" if grid.is_done else "open"
    names = {**dict(enumerate(classes)), UNSURE: UNSURE_TEXT, NOT_JUDGED: ""}
    for y, x, class_index in zip(grid.y, grid.x, grid.class_index.tolist(), strict=True):
        yield [*start, _decimal(y), _decimal(x), names[class_index], status]


def _decimal(value: float | None) -> str:
    """Shortest text that reads back as the same number; blank for None."""
    return "" if value is None else repr(float(value))


def _bound(values: Fractions | None, index: int) -> str:
    return "" if values is None else _decimal(values[index])


def _in_file_order(problems: Sequence[CellProblem], files: Sequence[str]) -> list[CellProblem]:
    """Sort by file and then by line; what concerns a whole file comes first."""
    return sorted(problems, key=lambda problem: (files.index(problem.file), problem.row or 0))


def _given_classes(names: Sequence[str]) -> tuple[str, ...]:
    """Put the background first; raise InputError for names that cannot be used."""
    ordered = order_classes(names)
    twice = [
        name for place, name in enumerate(names) if match_class(name, names[:place]) is not None
    ]
    if twice:
        raise InputError(f"class {twice[0]!r} is named twice; name each once.", field="classes")
    check_class_names(ordered)
    return ordered


def _open(path: AnyPath | None, kind: _Kind, reading: Reading) -> Sheet | None:
    """Read the cells of a table; None if it was not asked for, or after noting a problem."""
    if path is None:
        return None
    data = read_bytes(Path(path), reading.problems)
    if data is None:
        return None
    expects = _EXPECTED[kind]
    return parse_sheet(data, str(Path(path)), reading.problems, expects=expects)
