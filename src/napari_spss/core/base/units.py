"""Lengths in micrometres from the many ways in which image files state them."""

from __future__ import annotations

import html
import math
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

from .errors import InputError

if TYPE_CHECKING:
    import pint

__all__ = [
    "UNKNOWN_VOXEL",
    "VoxelSize",
    "length_um",
    "merge_voxel_size",
    "printed_pixel_um",
    "unit_in_um",
]

VoxelSize: TypeAlias = tuple[float | None, float | None, float | None]
"""(z, y, x) in micrometres; None = unknown."""

UNKNOWN_VOXEL: VoxelSize = (None, None, None)

# What files of microscopes mean by these is no unit of pint, or another one ("a" is a year there).
_SPELLED = {"a": "angstrom", "å": "angstrom", "ang": "angstrom"}

# Images carry resolutions meant for print, such as 72 dpi (353 um): no microscope's pixel.
_MAX_PRINTED_PIXEL_UM = 10.0


def unit_in_um(unit: str | None) -> float | None:
    """Length of one unit in micrometres; None if the unit is no length ("pixel") or not known.

    Examples
    --------
    >>> unit_in_um("microns"), unit_in_um("nm"), unit_in_um("pixel")
    (1.0, 0.001, None)
    """
    name = _plain(unit)
    return None if name is None else _length_of(name)


def _plain(unit: str | None) -> str | None:
    """Return a unit as pint spells it, in small letters but for what is no letter."""
    if unit is None:
        return None
    text = html.unescape(unit.strip(" \t\r\n\x00")).casefold().replace("\\u00b5", "µ")
    # two code points look like an angstrom, and two like a micro sign
    name = unicodedata.normalize("NFC", text).replace("μ", "µ")
    return _SPELLED.get(name.removesuffix("s"), name)


@cache
def _length_of(name: str) -> float | None:
    units = _registry()
    for unit in (name, name.removesuffix("s")):
        # by name alone: as an expression, the text of a file could be any sum to compute
        for prefix, base, _ in units.parse_unit_name(unit):
            quantity = units.Quantity(1.0, prefix + base)
            if quantity.is_compatible_with("um"):
                return float(quantity.m_as("um"))
    return None


@cache
def _registry() -> pint.UnitRegistry[float]:
    import pint  # late: the settings need no unit

    return pint.UnitRegistry()


def length_um(value: object, unit: str | None) -> float | None:
    """Return a positive finite length in micrometres, else None."""
    scale = unit_in_um(unit)
    if scale is None or not isinstance(value, (int, float, str)):
        return None
    try:
        length = float(value) * scale
    except ValueError:
        return None
    return length if math.isfinite(length) and length > 0 else None


def printed_pixel_um(length: float | None) -> float | None:
    """Return a pixel size from a print resolution; None if it can only be meant for print."""
    return length if length is not None and length < _MAX_PRINTED_PIXEL_UM else None


def merge_voxel_size(stated: Sequence[float | None] | None, found: VoxelSize) -> VoxelSize:
    """Take what the user stated, and the file's metadata for the rest.

    Parameters
    ----------
    stated : sequence of 3 floats or None, optional
        (z, y, x) in micrometres.
    found : tuple
        (z, y, x) in micrometres, from the metadata.

    Raises
    ------
    InputError
        If there are not three values, or one is not a positive number.
    """
    if stated is None:
        return found
    if len(stated) != 3:
        raise InputError(
            f"voxel_size_um {tuple(stated)} has {len(stated)} values; give three: z, y, x.",
            field="voxel_size_um",
        )
    for value in stated:
        if value is not None and not (math.isfinite(value) and value > 0):
            raise InputError(
                f"voxel_size_um {tuple(stated)} holds {value}; give micrometres above 0.",
                field="voxel_size_um",
            )
    z, y, x = (
        known if given is None else float(given) for given, known in zip(stated, found, strict=True)
    )
    return z, y, x
