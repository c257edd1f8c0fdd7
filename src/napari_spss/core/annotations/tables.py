"""CSV files of annotations: ``proportions.csv``, ``keypoints.csv`` and ``grid.csv``.

Slices and pixels count from 0. What cannot be used is reported with file, line, column, value and
remedy, for all files at once; nothing is guessed or dropped silently. Writing and reading back
gives equal annotations.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from ..base import CellProblem, InputError, length_um
from .checks import (
    BOX,
    MOST_CLASSES,
    UNSURE_TEXT,
    SliceShapes,
    StackExtent,
    class_name_fault,
    match_class,
    order_classes,
)
from .class_style import Classes
from .csv_cells import Table, per_cent_text, read_table, write_rows
from .grids import NOT_JUDGED, UNSURE
from .point_rows import NODE_COLUMNS, NodeRow, grids_of, keypoints_of
from .proportions import Fractions
from .records import Annotations
from .table_rows import UNIT, FractionTexts, Reading, class_columns, proportions_of, texts_of

if TYPE_CHECKING:
    import pandas as pd

AnyPath = str | os.PathLike[str]
Kind = Literal["proportions", "keypoints", "grid"]

_FILES: dict[Kind, str] = {
    "proportions": "proportions.csv",
    "keypoints": "keypoints.csv",
    "grid": "grid.csv",
}
TABLE_NAMES = tuple(_FILES.values())
"""Names of the annotation files in a folder."""
# A header with none of these is not split at commas.
_EXPECTED: dict[Kind, tuple[str, ...]] = {
    "proportions": ("slice",),
    "keypoints": ("slice", "axis-0", "x"),
    "grid": ("slice",),
}


class AnnotationPaths(TypedDict, total=False):
    """Paths by kind, as keyword arguments of `read_annotations`."""

    proportions: Path
    keypoints: Path
    grid: Path


# Reading -----------------------------------------------------------------------------------------


def read_annotations(
    *,
    proportions: AnyPath | pd.DataFrame | None = None,
    keypoints: AnyPath | pd.DataFrame | None = None,
    grid: AnyPath | pd.DataFrame | None = None,
    classes: Sequence[str] | None = None,
    stack: SliceShapes | None = None,
    outside: str | None = None,
    keypoint_units: str | None = None,
) -> Annotations:
    """Read what is annotated in up to three CSV files, or data frames with the same columns.

    In messages, line 2 of a data frame is its first row.

    Parameters
    ----------
    proportions : path or DataFrame, optional
        Columns ``slice[,y0,x0,y1,x1],<class>...[,<class>_low,<class>_high...]``. Fractions are 0-1,
        or per cent with ``%`` in the cells or at the end of the column's name; a table that mixes
        the two is refused. Blank = unknown. A background that is not stated is the remainder if
        all other classes are known. If all classes are known and sum to 1 within 0.02, they are
        divided by their sum, with a note. Boxes are half-open; blank = the whole slice. An
        interval may stand without a fraction, which then stays unknown (None).
    keypoints : path or DataFrame, optional
        Columns ``slice,y,x,class``; or the file that napari's own Points writer saves,
        ``index,axis-0,axis-1,axis-2[,class]``; or Fiji's table of results, whose slices count from
        1 and whose positions from the corner of the first pixel. Without a class column, all
        points are of the only class besides the background. Other columns are ignored with a note.
    grid : path or DataFrame, optional
        Columns ``slice[,y0,x0,y1,x1],spacing_px,offset_y,offset_x,y,x,class[,status][,looks]``,
        a row per node. A ``?`` as class = unsure, a blank one = not judged yet, or unsure too in a
        grid that is done; ``status`` is ``done`` (also if blank) or ``open``. The half-open box is
        that of a counting frame; blank = a grid over the whole slice. Frames must not overlap.
        ``looks`` counts how often a node was looked at again.
    classes : sequence of str, optional
        All class names, in order; the background comes first and is added if it is missing. By
        default the header of ``proportions``, else the order of appearance. Names are matched
        without regard to case, and "bg" means "background".
    stack : Stack, optional
        What is annotated; slices and positions outside it are errors.
    outside : str, optional
        Class that is excluded from all fractions; it needs no column in ``proportions``, and its
        cells there are blank.
    keypoint_units : str, optional
        "pixel", or the unit of length of the positions in ``keypoints`` such as "um" or "nm", which
        are divided by the pixel size of ``stack``. By default pixels, unless all lie so near the
        origin that they may be micrometres: then they are refused until it is stated.

    Returns
    -------
    Annotations
        ``notes`` tell what was changed while reading.

    Raises
    ------
    InputError
        With ``problems``, one for each wrong cell of all files; or if ``classes`` or
        ``keypoint_units`` is unusable, or the pixel size is not known.
    """
    names = None if classes is None else _given_classes(classes)
    if keypoint_units not in (None, "pixel") and length_um(1.0, keypoint_units) is None:
        raise InputError(
            f"keypoint_units {keypoint_units!r} is no unit of length; give pixel, um or nm.",
            field="keypoint_units",
        )
    files = {"proportions": proportions, "keypoints": keypoints, "grid": grid}
    paths = {
        kind: path if hasattr(path, "to_csv") else Path(path)
        for kind, path in files.items()
        if path is not None
    }
    extent = StackExtent(stack)
    problems: list[CellProblem] = []
    annotations, lines = _read(paths, names, extent, outside, problems, units=keypoint_units)
    problems += annotations.problems(extent, lines)
    if problems:
        order = [str(path) if isinstance(path, Path) else kind for kind, path in paths.items()]
        problems.sort(key=lambda one: (order.index(one.file), one.row or 0))
        raise InputError(problems=problems)
    return annotations.replace(outside=outside or annotations.outside)


def restore_annotations(
    paths: AnnotationPaths, *, classes: Sequence[str] | None = None
) -> tuple[Annotations, tuple[CellProblem, ...]]:
    """Read what `write_annotations` wrote, as far as it is whole.

    Names of columns, fractions and pixels are taken as they stand, whatever they look like. Where
    something is said twice, the last word counts. Classes are those of `read_annotations`.

    Returns
    -------
    (Annotations, tuple of CellProblem)
        All that could be read, and what could not.
    """
    names = None if classes is None else Classes(classes)
    extent = StackExtent(None)
    problems: list[CellProblem] = []
    annotations, lines = _read(dict(paths), names, extent, None, problems, is_ours=True)
    problems += annotations.problems(extent, lines)
    return annotations.settled(), tuple(problems)


def read_fraction_texts(path: AnyPath, classes: Sequence[str]) -> FractionTexts | None:
    """Read the cells of ``proportions.csv`` as text, to be corrected in a form.

    Returns
    -------
    FractionTexts or None
        None if the file cannot be read, or a row or column has no place among these classes.
    """
    problems: list[CellProblem] = []
    table = read_table(Path(path), problems, expects=_EXPECTED["proportions"])
    return None if table is None or problems else texts_of(table, classes)


def annotation_files(folder: AnyPath) -> AnnotationPaths:
    """Find those annotation files that a folder holds."""
    found: AnnotationPaths = {}
    for kind, name in _FILES.items():
        path = Path(folder) / name
        if path.exists():
            found[kind] = path
    return found


def _given_classes(names: Sequence[str]) -> Classes:
    """Put the background first; raise InputError for names that cannot be used."""
    ordered = order_classes(names)
    twice = [
        name for place, name in enumerate(names) if match_class(name, names[:place]) is not None
    ]
    if twice:
        raise InputError(f"class {twice[0]!r} is named twice; name each once.", field="classes")
    return Classes(names).named(ordered) if isinstance(names, Classes) else Classes(ordered)


def _read(
    paths: Mapping[Any, Any],
    names: Classes | None,
    extent: StackExtent,
    outside: str | None,
    problems: list[CellProblem],
    *,
    units: str | None = None,
    is_ours: bool = False,
) -> tuple[Annotations, dict[str, tuple[str, Sequence[int]]]]:
    """What the rows without a fault say, and file and line of each of them."""
    tables: dict[Kind, Table] = {}
    for kind, path in paths.items():
        text = None if isinstance(path, Path) else path.to_csv(index=False)
        name = path if text is None else Path(kind)
        table = read_table(name, problems, expects=_EXPECTED[kind], salvages=is_ours, text=text)
        if table is not None:
            tables[kind] = table
    classes, is_settled = _classes(tables, names, outside, is_ours=is_ours)
    if outside is not None and match_class(outside, classes) is not None:
        classes = Classes(classes, outside)
    reading = Reading(classes, is_settled, extent, is_ours)
    stated = proportions_of(tables["proportions"], reading) if "proportions" in tables else []
    points = keypoints_of(tables["keypoints"], reading, units) if "keypoints" in tables else []
    grids = grids_of(tables["grid"], reading) if "grid" in tables else []
    rows = {
        "proportions": [line for line, _ in stated],
        "keypoints": [line for line, _ in points],
        "grid": [line for lines, _ in grids for line in lines],
    }
    annotations = Annotations(
        classes,
        tuple(one for _, one in stated),
        tuple(point for _, point in points),
        tuple(grid for _, grid in grids),
        tuple(reading.notes),
    )
    return annotations, {kind: (tables[kind].file, rows[kind]) for kind in tables}


def _classes(
    tables: Mapping[Kind, Table], names: Classes | None, outside: str | None, *, is_ours: bool
) -> tuple[Classes, bool]:
    """The classes, and whether no other one may appear."""
    if names is not None:
        return names, True
    columns = tables.get("proportions")
    found = [] if columns is None else [one.name for one in class_columns(columns, None, is_ours)]
    if found:
        # a class that counts in no fraction needs no column
        found += [] if outside is None else [outside]
        usable = (name for name in found if class_name_fault(name) is None)
        return Classes(order_classes(usable)), True
    for kind in ("keypoints", "grid"):
        if kind in tables:
            found += [cells.get("class", "") for _, cells in tables[kind].rows.items()]
    usable = (name for name in dict.fromkeys(found) if class_name_fault(name) is None)
    return Classes(order_classes(usable)[:MOST_CLASSES]), False


# Writing -----------------------------------------------------------------------------------------


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

    They are written as per cent, with the sign, where the name of a class ends in one: its column
    would be read as per cent.

    Raises
    ------
    RunError
        If the file cannot be written.
    """
    has_boxes = any(one.region.box is not None for one in annotations.proportions)
    is_per_cent = any(UNIT.search(name) for name in annotations.classes)
    bounded = [
        index
        for index in range(len(annotations.classes))
        if any(one.bounds()[index] is not None for one in annotations.proportions)
    ]
    header = ["slice", *(BOX if has_boxes else ()), *annotations.classes]
    for index in bounded:
        header += [f"{annotations.classes[index]}_low", f"{annotations.classes[index]}_high"]

    def share(values: Fractions | None, index: int) -> float | str | None:
        value = None if values is None else values[index]
        return value if value is None or not is_per_cent else per_cent_text(float(value))

    def rows() -> Iterator[Sequence[object]]:
        yield header
        for one in annotations.proportions:
            box = one.region.box or (None,) * 4
            yield [
                one.region.slice,
                *(box if has_boxes else ()),
                *(share(one.fractions, index) for index in range(len(annotations.classes))),
                *(share(ends, index) for index in bounded for ends in (one.low, one.high)),
            ]

    write_rows(Path(path), rows())


def write_keypoints(path: AnyPath, annotations: Annotations) -> None:
    """Write ``keypoints.csv`` atomically, positions as exact decimals in pixels.

    Raises
    ------
    RunError
        If the file cannot be written.
    """
    rows = (
        (point.slice, float(point.y), float(point.x), annotations.classes[point.class_index])
        for point in annotations.keypoints
    )
    write_rows(Path(path), [("slice", "y", "x", "class"), *rows])


def write_grid(path: AnyPath, annotations: Annotations) -> None:
    """Write ``grid.csv`` atomically, a row per node; a grid without nodes leaves no trace.

    Grids keep their order. The columns of the box are there if there are frames, that of the looks
    if a node was looked at again.

    Raises
    ------
    RunError
        If the file cannot be written.
    """
    names = {**dict(enumerate(annotations.classes)), UNSURE: UNSURE_TEXT, NOT_JUDGED: ""}
    has_boxes = any(grid.box is not None for grid in annotations.grids)
    has_looks = any(grid.looks.any() for grid in annotations.grids)
    is_there = {**dict.fromkeys(BOX, has_boxes), "looks": has_looks}
    fields = [name for name in NodeRow.model_fields if is_there.get(name, True)]
    header = [NODE_COLUMNS.get(name, name) for name in fields]
    nodes = (
        (
            *(grid.slice, *((grid.box or (None,) * 4) if has_boxes else ())),
            *(float(grid.spacing_px), float(grid.offset_y), float(grid.offset_x)),
            *(y, x, names[class_index], "done" if grid.is_done else "open"),
            *((looks,) if has_looks else ()),
        )
        for grid in annotations.grids
        for y, x, class_index, looks in zip(
            *(array.tolist() for array in (grid.y, grid.x, grid.class_index, grid.looks)),
            strict=True,
        )
    )
    write_rows(Path(path), [header, *nodes])
