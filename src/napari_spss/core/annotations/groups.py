"""To which group, such as an animal, each image belongs: a table ``image,group``."""

from __future__ import annotations

import os
import unicodedata
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
        Columns ``image,group``, a row per image. Images go by their names, with or without the
        ending of a file, and with as many folders as tell them apart. Of the table that predicting
        many images writes, results go by its column ``folder``.
    names : sequence of str
        Of the images, or their paths.

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
    known = [_parts(name) for name in names]
    found: dict[int, str] = {}
    if table is not None and table.has_columns(_HEADER, ",".join(_HEADER)):
        for line, cells in table.rows.items():
            meant = _meant(cells["image"], known) or _meant(cells.get("folder", ""), known)
            place = meant[0] if meant else None
            if len(meant) > 1:
                several = f"{names[meant[0]]} and {names[meant[1]]}"
                remedy = f"write it with its folder, since there are {several}"
                table.fail("is the name of several images", remedy, key="image", line=line)
            elif place is None and cells.get("problem"):
                continue  # it has no result
            elif place is None:
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


def _parts(name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Folders and name of an image, and the same without the ending of a file."""
    path = Path(unicodedata.normalize("NFC", name).replace("\\", "/").lower())
    return path.parts, (*path.parts[:-1], path.stem.removesuffix(".ome"))


def _meant(name: str, known: Sequence[tuple[tuple[str, ...], tuple[str, ...]]]) -> list[int]:
    """Images that have a name, or else those that have it but for the ending."""
    whole, bare = _parts(name)
    n = len(bare)
    exact = [at for at, (one, _) in enumerate(known) if one[-n:] == whole]
    return exact or [at for at, (_, one) in enumerate(known) if one[-n:] in (whole, bare)]
