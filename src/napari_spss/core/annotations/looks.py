"""Second looks: nodes about which map and person differ, as a table that can be edited.

Each row of ``review.csv`` is a node of a counting grid. Whoever has looked at it again writes in
the column ``look``: ``keep``, the name of the right class, or ``?`` for unsure; a blank cell is not
looked at yet. With a class that is called "keep", its name goes first.
"""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, ValidationInfo

from ..base import CellProblem, InputError, counted
from .checks import BOX, UNSURE_TEXT, StackExtent
from .csv_cells import CellFault, Table, fraction, read_table, write_rows
from .grids import NOT_JUDGED, UNSURE
from .proportions import Region
from .records import Annotations
from .table_rows import ClassIndex, Number, Reading, RegionRow

N_LOOKS = 32
"""Nodes to look at again, unless another number is asked for."""

_KEEP = "keep"
_KEPT = -3
_LEAST_ERROR, _MOST_ERROR = 0.01, 0.25
_REMEDY = "restore it, or write the table anew"


@dataclass(frozen=True)
class Look:
    """A node to be looked at again, and what came of it.

    Parameters
    ----------
    region : Region
        Of its counting grid.
    y, x : float
        Position in full-resolution pixels.
    stated, by_map : int
        Class that was judged, and the most probable one by the map.
    probability : float
        That the judgement is wrong, given the map.
    verdict : int, optional
        Class at the second look; -1 = unsure, None = not looked at yet.
    """

    region: Region
    y: float
    x: float
    stated: int
    by_map: int
    probability: float
    verdict: int | None = None

    @property
    def is_changed(self) -> bool:
        """Whether the second look found another class."""
        return self.verdict not in (None, UNSURE, self.stated)


def with_looks(annotations: Annotations, looks: Iterable[Look]) -> Annotations:
    """Return annotations in which the nodes have the class of the second look, and its mark.

    A node that bears the mark already stays as it is.

    Raises
    ------
    InputError
        If there is no such node.
    """
    grids = {grid.region: grid for grid in annotations.grids}
    for look in looks:
        if look.verdict is None:
            continue
        grid = grids.get(look.region)
        node = None if grid is None else grid.nearest(look.y, look.x)
        if grid is None or node is None:
            raise InputError(
                f"no counting grid has a node at y {look.y:g}, x {look.x:g} of slice "
                f"{look.region.slice}; look again at the nodes of these grids."
            )
        if grid.looks[node] == 0:
            grids[look.region] = grid.looked_at(node, look.verdict)
    return annotations.replace(grids=tuple(grids[grid.region] for grid in annotations.grids))


def error_after_looks(looks: Iterable[Look], node_error: float) -> float:
    """Share of wrong nodes among those that were not looked at again.

    With k changed nodes where the map let expect E, the sum of their probabilities,
    ``node_error * (k + 1) / (E + 1)``, from 0.01 to 0.25. Nodes that stayed unsure, or were not
    looked at, tell nothing. An error of 0, which means that every node is believed, stays 0.

    Examples
    --------
    >>> looks = [Look(Region(0), 4.0, 4.0 * i, 1, 0, 0.5, int(i > 2)) for i in range(8)]
    >>> error_after_looks(looks, 0.05)
    0.04
    """
    sure = [look for look in looks if look.verdict not in (None, UNSURE)]
    if not sure or node_error == 0:
        return node_error
    expected = math.fsum(look.probability for look in sure)
    found = sum(look.is_changed for look in sure)
    return min(max(node_error * (found + 1) / (expected + 1), _LEAST_ERROR), _MOST_ERROR)


def looks_summary(looks: Iterable[Look]) -> str:
    """Say how many nodes were looked at again, and what came of it."""
    listed = tuple(looks)
    verdicts = [look for look in listed if look.verdict is not None]
    n_changed = sum(look.is_changed for look in verdicts)
    n_unsure = sum(look.verdict == UNSURE for look in verdicts)
    of = f"{len(verdicts)} of " if len(verdicts) < len(listed) else ""
    nodes = counted(len(listed), "node")
    return f"{of}{nodes} looked at again, {n_changed} changed, {n_unsure} unsure"


def write_looks(
    path: str | os.PathLike[str], looks: Sequence[Look], classes: Sequence[str]
) -> None:
    """Write a table of nodes, in their order, to be looked at again.

    Raises
    ------
    RunError
        If it cannot be written.
    """
    has_boxes = any(look.region.box is not None for look in looks)
    header = ["rank", "slice", *(BOX if has_boxes else ()), "y", "x", "stated", "map"]

    texts: dict[int | None, str] = {**dict(enumerate(classes)), UNSURE: UNSURE_TEXT, None: ""}

    def rows() -> Iterator[Sequence[object]]:
        yield [*header, "probability", "look"]
        for rank, look in enumerate(looks, start=1):
            box = look.region.box or (None,) * 4
            yield [
                *(rank, look.region.slice, *(box if has_boxes else ()), look.y, look.x),
                *(classes[look.stated], classes[look.by_map], look.probability),
                texts[look.verdict],
            ]

    write_rows(Path(path), rows())


def _probability(text: str) -> float:
    value = fraction(text)
    if value is None:
        raise CellFault("is blank", _REMEDY)
    return value


def _verdict(text: str, info: ValidationInfo) -> int | None:
    assert isinstance(info.context, Reading)
    if not text:
        return None
    if text == UNSURE_TEXT:
        return UNSURE
    found = info.context.find(text)
    if found is not None:
        return found
    if text.casefold() == _KEEP:
        return _KEPT
    classes = info.context.classes
    near = difflib.get_close_matches(text, (_KEEP, *classes), n=1)
    meant = f"write {near[0]!r} if that is meant, or " if near else "write "
    names = ", ".join(map(repr, classes))
    raise CellFault("is no look", f"{meant}{_KEEP}, a class ({names}), or {UNSURE_TEXT} for unsure")


class LookRow(RegionRow):
    """A row of ``review.csv``; other columns do not count."""

    y: Number
    x: Number
    stated: ClassIndex
    map: ClassIndex
    probability: Annotated[float, BeforeValidator(_probability)]
    look: Annotated[int | None, BeforeValidator(_verdict)]


def read_looks(path: str | os.PathLike[str], annotations: Annotations) -> tuple[Look, ...]:
    """Read what `write_looks` wrote, with the looks that were filled in.

    Parameters
    ----------
    path : path
    annotations : Annotations
        Those whose nodes were looked at. What the table changes may be in them already.

    Returns
    -------
    tuple of Look
        Of all rows, those that were not looked at included.

    Raises
    ------
    InputError
        With ``problems``, one for each wrong cell; or if the table is one of other grids.
    """
    problems: list[CellProblem] = []
    table = read_table(Path(path), problems, expects=("slice",))
    found: list[tuple[int, Look]] = []
    n_strange = 0
    if table is not None:
        found, n_strange = _looks_of(table, annotations)
    if table is not None and 0 < n_strange == len(table.rows):
        raise InputError(
            f"{path} is a review of other counting grids: none of its nodes is among those given; "
            "give the grid.csv of the run that it was written for."
        )
    if problems:
        problems.sort(key=lambda one: one.row or 0)
        raise InputError(problems=problems)
    return tuple(look for _, look in found)


def _looks_of(table: Table, annotations: Annotations) -> tuple[list[tuple[int, Look]], int]:
    """Looks with their lines, and how many are of no node; what is wrong is noted."""
    columns = [name for name in LookRow.model_fields if name not in BOX]
    if not table.has_columns(columns, ",".join(columns)):
        return [], 0
    reading = Reading(annotations.classes, True, StackExtent(None), is_ours=False)
    places = {(name,): name for name in (*BOX, *columns) if name in table.names}
    grids = {grid.region: grid for grid in annotations.grids}
    found: list[tuple[int, Look]] = []
    first: dict[tuple[Region, int], int] = {}
    n_strange = 0
    for line, row in reading.rows(table, LookRow, places):
        verdict = row.stated if row.look == _KEPT else row.look
        region = Region(row.slice, row.box)
        grid = grids.get(region)
        node = None if grid is None else grid.nearest(row.y, row.x)
        found.append(
            (line, Look(region, row.y, row.x, row.stated, row.map, row.probability, verdict))
        )
        if grid is None or node is None:
            n_strange += 1
            table.fail(
                "is no place of a node in the counting grids given",
                f"{_REMEDY}, or give the grid.csv that it was written for",
                key="y",
                line=line,
            )
            continue
        earlier = first.setdefault((region, node), line)
        if earlier != line:
            reason = f"is the node of line {earlier}"
            table.fail(reason, "keep one of the two rows", key="y", line=line)
        now = int(grid.class_index[node])
        expected = verdict if grid.looks[node] else row.stated
        if verdict is not None and now != expected:
            names = {**dict(enumerate(annotations.classes)), UNSURE: "unsure", NOT_JUDGED: "open"}
            table.fail(
                f"does not fit the counting grid, where the node is {names[now]} by now",
                "write the table anew, or leave the look of this row blank",
                key="stated",
                line=line,
            )
    return found, n_strange
