"""Lengths in micrometres from the many ways in which image files state them; numbers of things."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import TypeAlias

from .errors import InputError

VoxelSize: TypeAlias = tuple[float | None, float | None, float | None]
"""(z, y, x) in micrometres; None = unknown."""

UNKNOWN_VOXEL: VoxelSize = (None, None, None)

# not pint: it takes "px" for a length, "A" for amperes, and does not know "NM" or "Inches"
_SCALES_UM = {
    1e-6: ("pm", "picometer"),
    1e-4: ("å", "a", "ang", "angstrom", "ångström", "ångstrom", "angström"),
    1e-3: ("nm", "nanometer"),
    1.0: ("um", "µm", "micron", "micrometer", "&#181;m", "&micro;m"),
    1e3: ("mm", "millimeter"),
    1e4: ("cm", "centimeter"),
    25400.0: ("in", "inch", "inche"),  # "inches" less its plural s
    1e6: ("m", "meter"),
}
_UM_OF_UNIT = {name: scale for scale, names in _SCALES_UM.items() for name in names}

# Images carry resolutions meant for print, such as 72 dpi (353 um): no microscope's pixel.
_MAX_PRINTED_PIXEL_UM = 10.0


def unit_in_um(unit: str | None) -> float | None:
    """Length of one unit in micrometres; None if the unit is no length ("pixel") or not known.

    Examples
    --------
    >>> unit_in_um("microns"), unit_in_um("nm"), unit_in_um("pixel")
    (1.0, 0.001, None)
    """
    if unit is None:
        return None
    # ImageJ writes signs that are not ASCII as six that are
    text = re.sub(r"\\u([0-9A-Fa-f]{4})", lambda found: chr(int(found[1], 16)), unit)
    # two code points look like a micro sign, and two like an angstrom
    name = unicodedata.normalize("NFC", text.strip(" \t\r\n\x00").casefold())
    name = name.replace("\u03bc", "\u00b5").replace("metre", "meter")
    scale = _UM_OF_UNIT.get(name)
    return _UM_OF_UNIT.get(name.removesuffix("s")) if scale is None else scale


def length_um(value: object, unit: str | None) -> float | None:
    """Return a positive finite length in micrometres, else None."""
    scale = unit_in_um(unit)
    if scale is None or not isinstance(value, (int, float, str)):
        return None
    try:
        length = float(value) * scale
    except (ValueError, OverflowError):
        return None
    return length if math.isfinite(length) and length > 0 else None


def length_text(micrometres: float) -> str:
    """Write a length with the unit in which it is read most easily.

    Examples
    --------
    >>> length_text(0.0046), length_text(2)
    ('4.6 nm', '2 µm')
    """
    if micrometres < 0.1:
        return f"{1000 * micrometres:.4g} nm"
    return f"{micrometres:.4g} µm" if micrometres < 1000 else f"{micrometres / 1000:.4g} mm"


def doubt_of_size(edges_um: Iterable[float | None]) -> str:
    """Say why the size of a voxel that a file states is doubted; empty if it is not.

    Examples
    --------
    >>> doubt_of_size((None, 1.0, 1.0)), doubt_of_size((1.0, 0.5, 0.5))
    ('states pixels of 1 µm, as programs write where the size is not known', '')
    """
    if {*edges_um} - {None} != {1.0}:
        return ""
    return "states pixels of 1 µm, as programs write where the size is not known"


def percent(fraction: float, digits: int = 2) -> str:
    """Write a fraction for people, a small one to two digits; a dash if it is not known.

    Examples
    --------
    >>> percent(0.0625), percent(0.00004321), percent(float("nan"))
    ('6.25 %', '0.0043 %', '-')
    """
    if math.isnan(fraction):
        return "-"
    is_small = 0 < abs(100 * fraction) < 10 ** (1 - digits)
    return f"{100 * fraction:.2g} %" if is_small else f"{100 * fraction:.{digits}f} %"


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
    given: object = stated  # of a caller without type checks
    values = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else ()
    if len(values) != 3:
        raise InputError(
            f"voxel_size_um {given!r} does not have three values; give three: z, y, x.",
            field="voxel_size_um",
        )
    for value in values:
        if value is None or (isinstance(value, Real) and math.isfinite(value) and float(value) > 0):
            continue
        raise InputError(
            f"voxel_size_um {given!r} holds {value!r}; give micrometres above 0, as numbers, or "
            "None where it is not known.",
            field="voxel_size_um",
        )
    z, y, x = (
        known if value is None else float(value) for value, known in zip(values, found, strict=True)
    )
    return z, y, x


def counted(number: int, thing: str) -> str:
    """Write a number of things.

    Examples
    --------
    >>> counted(1, "step"), counted(2, "step")
    ('1 step', '2 steps')
    """
    return f"{number} {thing}{'s' * (number != 1)}"


def least_pixels(size: float | str, edges_um: Sequence[float | None]) -> float:
    """Tell how many pixels or voxels an object of a stated size has.

    Parameters
    ----------
    size : float or str
        A number of pixels or voxels, or a text: "50", "50 px", "0.02 um3", "3000nm2".
    edges_um : sequence of float or None
        Edges of a pixel (y, x) or voxel (z, y, x) in micrometres.

    Raises
    ------
    InputError
        If it is no size of such objects, or the edges are not known.

    Examples
    --------
    >>> least_pixels("0.002 um3", (0.05, 0.01, 0.01))
    400.0
    """
    number, unit, power = _size_parts(size)
    n_axes = len(edges_um)
    thing, kind = ("pixel", "an area") if n_axes == 2 else ("voxel", "a volume")
    if unit == "":
        return number
    scale = unit_in_um(unit)
    if scale is None or power != str(n_axes):
        raise InputError(
            f"min_size {size!r} is neither a number of {thing}s nor {kind}; write for example 50, "
            f"or 0.01um{n_axes}.",
            field="min_size",
        )
    known = [edge for edge in edges_um if edge is not None and edge > 0]
    if len(known) < n_axes:
        raise InputError(
            f"min_size {size!r} needs the size of a {thing}, which is not known; state it "
            f"(--voxel-size, voxel_size_um in Python, Voxel size in napari), or give a number "
            f"of {thing}s.",
            field="min_size",
        )
    return round(number * scale**n_axes / math.prod(known), 6)


def check_size(size: float | str) -> None:
    """Refuse what is the least size of no object, in pixels or voxels, of whatever edges.

    Raises
    ------
    InputError
        If it is none that `least_pixels` takes.
    """
    _, unit, power = _size_parts(size)
    if unit and (unit_in_um(unit) is None or not power):
        raise InputError(
            f"min_size {size!r} is neither a number of pixels or voxels nor an area or a volume; "
            "write for example 50, 0.01um2 or 0.01um3.",
            field="min_size",
        )


def _size_parts(size: float | str) -> tuple[float, str, str]:
    """Number, unit and power of a size: for pixels no unit, for what is none an unknown one."""
    text = unicodedata.normalize("NFKC", str(size))  # superscripts become digits
    parts = re.fullmatch(
        r"\s*([.\d]+(?:e[-+]?\d+)?)\s*([^\d\s]*)\s*\^?([23]?)\s*", text, re.IGNORECASE
    )
    try:
        number = math.nan if parts is None else float(parts[1])
    except ValueError:
        number = math.nan
    if parts is None or not math.isfinite(number):
        return 0.0, "none", ""
    is_count = parts[2].casefold() in ("", "px", "pixel", "pixels", "voxel", "voxels")
    return number, "" if is_count and not parts[3] else parts[2] or "none", parts[3]
