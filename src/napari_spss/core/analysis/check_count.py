"""Check counts: whether their nodes are fresh, and where they contradict labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..annotations import Annotations, CountingGrid, Look
from ..base import InputError, counted
from ..images import IGNORE, LabelsLike, LabelSource, as_label_source, class_names, strips
from .ratio import frames_or_grids

_SAME_PX = 0.05  # nodes that are nearer are one; a table that was saved again may have been rounded


def contradicted_nodes(labels: LabelsLike, check: Annotations) -> pd.DataFrame:
    """List the nodes of a check count that contradict the labels, for a second look.

    One of the two is wrong there. A person who errs at 2 % of the nodes makes a class of 5 % a
    third too large; a second look at these nodes finds nearly all of that. Labels and check count
    are those of `estimate_fractions`.

    Returns
    -------
    DataFrame
        ``slice``, ``y``, ``x``, ``class`` as it was judged, ``labels``, its class there, and
        ``looks``, how often it was looked at again.
    """
    source = as_label_source(labels)
    names = known_names(source, None, check)
    rows = [
        (
            *(grid.slice, float(grid.y[node]), float(grid.x[node])),
            *(names[grid.class_index[node]], names[labelled], int(grid.looks[node])),
        )
        for grid, node, labelled in _contradicted(source, check.with_classes(names))
    ]
    return pd.DataFrame(rows, columns=["slice", "y", "x", "class", "labels", "looks"])


def contradicted_looks(labels: LabelsLike, check: Annotations) -> tuple[Look, ...]:
    """Nodes of `contradicted_nodes` that were not looked at again, one after the other.

    Their probability to be wrong is not known (nan).
    """
    source = as_label_source(labels)
    known = check.with_classes(known_names(source, None, check))
    return tuple(
        Look(
            *(grid.region, float(grid.y[node]), float(grid.x[node])),
            *(int(grid.class_index[node]), labelled, math.nan),
        )
        for grid, node, labelled in _contradicted(source, known)
        if not grid.looks[node]
    )


def _contradicted(
    source: LabelSource, check: Annotations
) -> Iterator[tuple[CountingGrid, int, int]]:
    """Grid, node, and class of the labels, where these are contradicted."""
    for grid in finished(check):
        check_inside(source, grid)
        under, said = labels_under(source, grid), grid.class_index
        for node in np.flatnonzero((said >= 0) & (under != IGNORE) & (said != under)):
            yield grid, int(node), int(under[node])


def check_fresh(check: Annotations, *learned: Annotations) -> None:
    """Refuse a check count with nodes that were learned from.

    Raises
    ------
    InputError
        That tells how many they are.
    """
    used = _positions(grid for one in learned for grid in one.grids)
    same = [
        (z, y, x)
        for z, places in _positions(check.grids).items()
        for y, x in places
        if z in used and (np.abs(used[z] - (y, x)) < _SAME_PX).all(axis=1).any()
    ]
    if same:
        z, y, x = same[0]
        n_nodes = sum(grid.n_nodes for grid in check.grids)
        raise InputError(
            f"{len(same)} of {counted(n_nodes, 'node')} of the check count are nodes that the "
            f"network learned from, such as slice {z}, y {y:g}, x {x:g}: they are no fair sample "
            "of its errors; lay frames or grids anew (in plan with another --seed), judge them, "
            "and do not train with them.",
            field="check",
        )


def _positions(grids: Iterable[CountingGrid]) -> dict[int, npt.NDArray[np.float64]]:
    """(y, x) of the judged nodes of each slice."""
    found: dict[int, list[npt.NDArray[np.float64]]] = {}
    for grid in grids:
        is_judged = grid.class_index >= 0
        found.setdefault(grid.slice, []).append(np.stack([grid.y, grid.x], axis=1)[is_judged])
    return {z: np.concatenate(parts) for z, parts in found.items()}


def known_names(
    source: LabelSource, classes: Sequence[str] | None, counts: Annotations | None
) -> tuple[str, ...]:
    """Class names that are given, or those of the labels, or those of the counts."""
    if classes is not None:
        return tuple(classes)
    found = class_names(source) or (None if counts is None else counts.classes)
    if found is None:
        raise InputError("the labels do not tell their classes; name them.", field="classes")
    return found


def finished(annotations: Annotations) -> tuple[CountingGrid, ...]:
    """Finished frames, or else grids, with a judged node."""
    return tuple(one for one in frames_or_grids(annotations) if one.is_done and one.n_judged)


def labels_under(source: LabelSource, grid: CountingGrid) -> npt.NDArray[np.uint8]:
    """Labels of the pixels that hold the nodes (N,)."""
    y, x = grid.pixels
    labels = np.full(grid.n_nodes, IGNORE, np.uint8)
    for y0, _, y1, _ in strips(source.shape_of(grid.slice)):
        here = (y >= y0) & (y < y1)
        if here.any():
            rows, columns = y[here], x[here]
            top, left = int(rows.min()), int(columns.min())
            box = (top, left, int(rows.max()) + 1, int(columns.max()) + 1)
            labels[here] = source.read(grid.slice, box)[rows - top, columns - left]
    return labels


def check_inside(source: LabelSource, grid: CountingGrid) -> None:
    """Refuse a grid with nodes outside the labels."""
    if grid.slice >= source.n_slices:
        raise InputError(
            f"a count has nodes on slice {grid.slice}, but the labels have "
            f"{counted(source.n_slices, 'slice')}; give the labels of the stack that was counted.",
            field="check",
        )
    height, width = source.shape_of(grid.slice)
    y, x = grid.pixels
    out = (y < 0) | (x < 0) | (y >= height) | (x >= width)
    if out.any():
        first = int(np.flatnonzero(out)[0])
        raise InputError(
            f"a count has a node at y {grid.y[first]:g}, x {grid.x[first]:g}, outside "
            f"slice {grid.slice} of the labels, which is {height} x {width} px; give the labels of "
            "the stack that was counted.",
            field="check",
        )
