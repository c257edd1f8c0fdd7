"""From cells to annotations: the columns of ``keypoints.csv`` and ``grid.csv``."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from typing import Annotated, TypeVar

import numpy as np
from pydantic import BeforeValidator, ValidationInfo

from ..base import InputError, counted, length_um
from .checks import BOX, UNSURE_TEXT, StackExtent
from .csv_cells import CellFault, Table, number, plain_number, whole
from .grids import NOT_JUDGED, UNSURE, CountingGrid
from .proportions import Region
from .records import Keypoint
from .table_rows import ClassIndex, Number, Reading, RegionRow, TableRow, Whole, class_index

_T = TypeVar("_T")

NODE_COLUMNS = {"class_index": "class", "is_done": "status"}
"""Column of a field of a node where it is called otherwise."""

_OF_GRID = ("spacing_px", "offset_y", "offset_x", "is_done")
_NAPARI_AXIS = re.compile(r"axis-\d+", re.ASCII)
_FIJI = frozenset({"Area", "Mean", "StdDev", "Min", "Max", "XM", "YM", "Ch", "Frame", "Counter"})
_FIJI_POINT = ("X", "Y", "Slice")  # in this order and case also where nothing was measured
_CELL_COUNTER = frozenset({"Type", "Slice", "X", "Y", "Value"})
_LARGEST_SLICE = 2**31
_ROUNDING_PX = 1e-6
_NEAR_PX = 2.0
_MOST_LOOKS = 255
_UNLIKELY = 1e-3
_UNLIKELY_PART = (0.05, 0.05)  # of the height and width of an image


def _above_0(text: str) -> float:
    value = number(text)
    if value <= 0:
        raise CellFault("is not above 0", "give the distance of the nodes in pixels")
    return value


def _from_1(text: str) -> int:
    value = whole(text)
    if value < 1:
        raise CellFault("is not a slice of Fiji, which counts from 1", "give the point's slice")
    return value - 1


def _is_done(text: str) -> bool:
    stated = {"": True, "done": True, "open": False}.get(text.casefold())
    if stated is None:
        raise CellFault("is not a status", "write done or open")
    return stated


def _looks(text: str) -> int:
    value = whole(text) if text else 0
    if value > _MOST_LOOKS:
        raise CellFault("is too large", f"give at most {_MOST_LOOKS}")
    return value


def _class_of_node(text: str, info: ValidationInfo) -> int:
    if text == UNSURE_TEXT:
        return UNSURE
    return class_index(text, info) if text else NOT_JUDGED


class KeypointRow(TableRow):
    """A row of ``keypoints.csv``."""

    slice: Whole
    y: Number
    x: Number
    class_index: ClassIndex = 1


class NapariRow(KeypointRow):
    """A row of the file that napari's Points writer saves; it may lie between slices."""

    slice: Number = 0.0  # type: ignore[assignment]


class FijiRow(KeypointRow):
    """A row of Fiji's table of results."""

    slice: Annotated[int, BeforeValidator(_from_1)] = 0


class NodeRow(RegionRow):
    """A row of ``grid.csv``; without a box, it is about the whole slice."""

    spacing_px: Annotated[float, BeforeValidator(_above_0)]
    offset_y: Number
    offset_x: Number
    y: Number
    x: Number
    class_index: Annotated[int, BeforeValidator(_class_of_node)]
    is_done: Annotated[bool, BeforeValidator(_is_done)] = True
    looks: Annotated[int, BeforeValidator(_looks)] = 0


def keypoints_of(table: Table, reading: Reading, units: str | None) -> list[tuple[int, Keypoint]]:
    """Labelled positions, and their lines."""
    layout = _point_layout(table, reading)
    if layout is None:
        return []
    model, columns = layout
    if "class" in table.names:
        columns["class_index"] = "class"
    elif reading.is_settled and len(reading.classes) == 2:
        reading.note(table, f"no column class; all keypoints are taken as {reading.classes[1]!r}")
    else:
        table.has_columns(("class",), "slice,y,x,class")
        return []
    rows = list(reading.rows(table, model, {(name,): key for name, key in columns.items()}))
    if units is None and not reading.is_ours and _may_be_lengths(rows, reading.extent):
        table.fail(
            "has all positions so near the origin that they may be micrometres",
            "say what they are: --keypoint-units um, or pixel (keypoint_units in Python)",
        )
    found: list[tuple[int, Keypoint]] = []
    n_slices = reading.extent.n_slices
    between: list[int] = []
    repeated: list[int] = []
    seen: set[tuple[int, int, int, int]] = set()
    for line, row in rows:
        z, y, x = _in_pixels(row, units, reading.extent)
        nearest = math.floor(z + 0.5)
        if not 0 <= nearest <= _LARGEST_SLICE:
            key = columns["slice"]
            table.fail("is outside the stack", "slices count from 0", key=key, line=line)
            continue
        if model is FijiRow and n_slices is not None and nearest >= n_slices:
            reason = f"is outside the stack of {counted(n_slices, 'slice')}"
            remedy = f"use 1 to {n_slices}, as Fiji counts"
            table.fail(reason, remedy, key=columns["slice"], line=line)
            continue
        if abs(z - nearest) > _ROUNDING_PX:
            between.append(line)
        point = Keypoint(nearest, y, x, row.class_index)
        place = (nearest, *point.pixel, row.class_index)
        if place in seen and not reading.is_ours:
            repeated.append(line)
        else:
            found.append((line, point))
        seen.add(place)
    if between:
        reading.note(table, "keypoints between slices were moved to the nearest slice", between)
    if repeated:
        text = "keypoints that repeat one of the same class on the same pixel were dropped"
        reading.note(table, text, repeated)
    return found


def _point_layout(
    table: Table, reading: Reading
) -> tuple[type[KeypointRow], dict[str, str]] | None:
    """Kind of the rows, and the column keys of slice, y and x; None after noting what is wrong."""
    names = table.names
    columns = {"slice": "slice", "y": "y", "x": "x"}
    axes = [key for key in names if _NAPARI_AXIS.fullmatch(key)]
    written = set(names.values())
    n_slices = reading.extent.n_slices
    in_order = [name for name in names.values() if name in _FIJI_POINT]
    is_measured = {"X", "Y"} <= written and not _FIJI.isdisjoint(written)
    if in_order == [*_FIJI_POINT] or is_measured or written >= _CELL_COUNTER:
        is_of_frames = _has_frames(table)
        if is_of_frames is None:
            return None
        if is_of_frames:
            columns["slice"] = "frame"
        elif "slice" not in names and n_slices == 1:
            del columns["slice"]
        elif "slice" not in names:
            table.fail(
                "has no column Slice, which Fiji leaves out for a single image",
                "add the slice of each point, counted from 1, as Slice",
            )
            return None
        which = "slices are its frames, which" if is_of_frames else "slices"
        reading.note(
            table,
            f"a table of Fiji: {which} were counted from 1, positions from the corner of the first "
            "pixel",
        )
        return FijiRow, columns
    if "shape-type" in names:
        table.fail("holds shapes of napari, not points", "save the points of a Points layer")
        return None
    used = {"", "class", "slice", "y", "x"}
    model: type[KeypointRow] = KeypointRow
    if axes and not names.keys() >= columns.keys():
        used = {"", "class", "index", *axes}
        model = NapariRow
        if not table.has_columns((), ""):
            return None
        if len(axes) == 3:
            columns = dict(zip(columns, axes, strict=True))
        elif len(axes) == 2 and n_slices == 1:
            columns = dict(zip(("y", "x"), axes, strict=True))
        else:
            table.fail(
                f"has {len(axes)} axes, so that the slices of the keypoints are not known",
                "save points of a layer with the axes (slice, y, x), or write slice,y,x,class",
            )
            return None
    elif "spacing_px" in names:
        table.fail("looks like a counting grid", "give it as grid")
        return None
    elif not table.has_columns(("slice", "y", "x"), "slice,y,x,class"):
        return None
    ignored = [key for key in names if key not in used]
    if reading.is_ours:
        for key in ignored:
            table.fail("is not a column of keypoints", "keep such columns in another file", key=key)
    elif ignored:
        text = ", ".join(names[key] for key in ignored)
        reading.note(table, f"columns that are not used: {text}")
    return model, columns


def _has_frames(table: Table) -> bool | None:
    """Whether Fiji took the slices for frames of a film; None after noting that both are there."""
    frames, slices = (
        {cells[key] for cells in table.rows.values()} if key in table.names else set()
        for key in ("frame", "slice")
    )
    if all(plain_number(frame) in (None, 0, 1) for frame in frames):
        return False
    if all(plain_number(z) in (0, 1) for z in slices):
        return True
    if len(frames) > 1:
        table.fail(
            "has slices of several frames, which a stack has not",
            "keep the points of one frame, or number all slices on in Slice and delete Frame",
            key="frame",
        )
        return None
    return False


def _may_be_lengths(rows: Sequence[tuple[int, KeypointRow]], extent: StackExtent) -> bool:
    """Whether positions are suspiciously near the origin for pixels.

    They are if all are within 2 px; or within as many pixels as the image has micrometres, or if
    that is not known within a small part of it and not all at pixels, which would be chance.
    """
    chance = 1.0
    far = [row for _, row in rows if max(abs(row.y), abs(row.x)) > _NEAR_PX]
    is_at_pixels = all((2 * at).is_integer() for _, row in rows for at in (row.y, row.x))
    for row in far:
        z = math.floor(row.slice + 0.5)
        shape, size = extent.shape_of(z), extent.pixel_um(z) or _UNLIKELY_PART
        if shape is None or (size is _UNLIKELY_PART and is_at_pixels):
            return False
        if not (0 <= row.y <= shape[0] * size[0] and 0 <= row.x <= shape[1] * size[1]):
            return False
        chance *= size[0] * size[1]
    return chance < _UNLIKELY if far else bool(rows)


def _in_pixels(
    row: KeypointRow, units: str | None, extent: StackExtent
) -> tuple[float, float, float]:
    """(slice, y, x) of a point in pixels."""
    z, y, x = float(row.slice), row.y, row.x
    unit_um = None if units in (None, "pixel") else length_um(1.0, units)
    if unit_um is not None:
        if isinstance(row, NapariRow):
            z *= unit_um / _known(extent.slice_distance_um, "distance of slices", units)
        index = math.floor(z + 0.5)
        if extent.n_slices is None or extent.shape_of(index) is not None:
            size = _known(extent.pixel_um(index), "size of a pixel", units)
            y, x = y * unit_um / size[0], x * unit_um / size[1]
    return (z, y - 0.5, x - 0.5) if isinstance(row, FijiRow) else (z, y, x)


def _known(value: _T | None, what: str, units: str | None) -> _T:
    if value is None:
        raise InputError(
            f"keypoints in {units} need the {what}, which the image does not state; state it "
            "with --voxel-size (voxel_size_um in Python), or give pixels.",
            field="keypoint_units",
        )
    return value


def grids_of(table: Table, reading: Reading) -> list[tuple[list[int], CountingGrid]]:
    """Counting grids, and the lines of their nodes; the rows of a region make up its grid."""
    columns = {name: NODE_COLUMNS.get(name, name) for name in NodeRow.model_fields}
    has_boxes = any(edge in table.names for edge in BOX)
    example = [key for key in columns.values() if key != "looks" and (has_boxes or key not in BOX)]
    if not table.has_columns([key for key in example if key != "status"], ",".join(example)):
        return []
    for key in table.names:
        if key and key not in columns.values():  # a misspelt "status" would make a grid done
            nearest = difflib.get_close_matches(key, columns.values(), n=1)
            remedy = f"write {nearest[0]!r} if that is meant" if nearest else "delete the column"
            table.fail("is not a column of a counting grid", remedy, key=key)
    places = {(name,): key for name, key in columns.items() if key in table.names}
    nodes: dict[Region, list[tuple[int, NodeRow]]] = {}
    for line, row in reading.rows(table, NodeRow, places):
        region = Region(row.slice, row.box)
        what = "slice" if region.box is None else "frame"
        same = nodes.setdefault(region, [])
        first_line, first = same[0] if same else (line, row)
        differing = [name for name in _OF_GRID if getattr(row, name) != getattr(first, name)]
        for name in differing:
            table.fail(
                f"differs from line {first_line}, which is on the same {what}",
                f"keep one grid a {what}, with the same spacing, offsets and status in all its "
                "rows",
                key=columns[name],
                line=line,
            )
        if not differing:
            same.append((line, row))
    grids = []
    for region, found in nodes.items():
        rows = [row for _, row in found]
        grid = CountingGrid(
            region.slice,
            rows[0].spacing_px,
            rows[0].offset_y,
            rows[0].offset_x,
            np.array([row.y for row in rows]),
            np.array([row.x for row in rows]),
            np.array([row.class_index for row in rows], dtype=np.int16),
            is_done=rows[0].is_done,
            box=region.box,
            looks=np.array([row.looks for row in rows], dtype=np.uint8),
        )
        what = "grid" if region.box is None else f"frame {region.box}"
        if grid.is_done and not grid.n_judged:
            text = f"the {what} of slice {region.slice} has no judged node and gives no proportion"
            reading.note(table, text)
        y0, x0, y1, x1 = region.box or (0, 0, *(reading.extent.shape_of(region.slice) or (0, 0)))
        n_due = (y1 - y0) * (x1 - x0) / grid.spacing_px**2
        if grid.is_done and grid.n_judged and 2 * grid.n_nodes < n_due and not reading.is_ours:
            reading.note(
                table,
                f"the {what} of slice {region.slice} has {counted(grid.n_nodes, 'node')}, where "
                f"about {n_due:.0f} fit {grid.spacing_px:.4g} px apart, but stands for all of it; "
                "look whether rows are missing, or whether it is of another image",
            )
        grids.append(([line for line, _ in found], grid))
    return grids
