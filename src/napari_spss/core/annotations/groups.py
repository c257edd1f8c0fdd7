"""To which group, such as an animal, each image belongs: a table ``image,group``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..base import CellProblem, InputError
from .csv_cells import read_table

_HEADER = ("image", "group")


def read_groups(path: str | os.PathLike[str], names: Sequence[str]) -> tuple[str, ...]:
    """Read the groups of images.

    Parameters
    ----------
    path : path
        Columns ``image,group``, a row per image; other columns do not count. Images go by their
        names, with or without the ending of a file.
    names : sequence of str
        Of the images.

    Returns
    -------
    tuple of str
        A group for each of ``names``.

    Raises
    ------
    InputError
        With ``problems``, one for each wrong cell; or if an image has no group.
    """
    problems: list[CellProblem] = []
    table = read_table(Path(path), problems, expects=_HEADER)
    places = {_stem(name): place for place, name in enumerate(names)}
    found: dict[int, str] = {}
    if table is not None and table.has_columns(_HEADER, ",".join(_HEADER)):
        for line, cells in table.rows.items():
            place = places.get(_stem(cells["image"]))
            if place is None:
                remedy = f"write the name of one, such as {names[0]}, or delete the row"
                table.fail("is none of the images", remedy, key="image", line=line)
            elif found.get(place, cells["group"]) != cells["group"]:
                table.fail("has another group before", "keep one row", key="image", line=line)
            elif not cells["group"]:
                table.fail("is blank", "name the group of the image", key="group", line=line)
            else:
                found[place] = cells["group"]
    if problems:
        problems.sort(key=lambda one: one.row or 0)
        raise InputError(problems=problems)
    absent = [name for place, name in enumerate(names) if place not in found]
    if absent:
        raise InputError(f"{path}: image {absent[0]} has no group; add a row for each image.")
    return tuple(found[place] for place in range(len(names)))


def _stem(name: str) -> str:
    return Path(name).stem.lower().removesuffix(".ome")
