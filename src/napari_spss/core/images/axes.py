"""Axes by letter: which axis of an array holds slices, channels, rows and columns.

Letters: Z slice, T time (read as slices without depth), C channel, S colour sample (RGB, an alpha
sample is dropped), Y row, X column. Every other letter, such as Q or I in TIFF files, is a sequence
of unknown meaning: it is read as slices if nothing else is, and dropped if it has length 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from ..base import InputError

Role: TypeAlias = Literal["z", "c", "y", "x", "dropped"]

_COLOURS_OF_SAMPLES = {1: 1, 2: 1, 3: 3, 4: 3}
_MAX_GUESSED_CHANNELS = 16


@dataclass(frozen=True)
class AxisPlan:
    """What the axes of one array mean."""

    # per axis "z", "c", "y", "x" or, for an axis of length 1 that is left out, "dropped"
    roles: tuple[Role, ...]
    # extents in the order that stacks use; an alpha sample is not counted
    n_slices: int
    n_channels: int
    height: int
    width: int
    is_rgb: bool  # whether the channels are red, green and blue
    has_depth: bool  # whether the slices are positions along z, not time points

    def index(self, z: int, box: tuple[int, int, int, int]) -> tuple[int | slice, ...]:
        """Index of a half-open box (y0, x0, y1, x1) of slice ``z``, with all its channels."""
        y0, x0, y1, x1 = box
        where: dict[Role, int | slice] = {
            "z": z,
            "c": slice(0, self.n_channels),
            "y": slice(y0, y1),
            "x": slice(x0, x1),
            "dropped": 0,
        }
        return tuple(where[role] for role in self.roles)

    def as_cyx(self, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Order what such an index gives as channels, rows and columns."""
        kept: list[str] = [role for role in self.roles if role in "cyx"]
        if "c" not in kept:
            kept, pixels = ["c", *kept], pixels[np.newaxis]
        return pixels.transpose([kept.index(role) for role in "cyx"])


def resolve_axes(axes: str, shape: Sequence[int], *, source: str = "the array") -> AxisPlan:
    """Work out what each axis means.

    Parameters
    ----------
    axes : str
        One letter per axis, such as "ZYX" or "ZYXC", in any order and case.
    shape : sequence of int
        Shape of the array.
    source : str
        Name of the array in messages.

    Raises
    ------
    InputError
        If letters and shape do not agree, rows or columns are missing, an axis is empty, or more
        than one axis would have to be read as slices (5D data) or as channels.

    Examples
    --------
    >>> resolve_axes("TYXS", (5, 64, 48, 4)).roles
    ('z', 'y', 'x', 'c')
    """
    letters = axes.upper()
    _check_letters(letters, shape, source)
    extents = dict(zip(letters, (int(n) for n in shape), strict=True))
    slices = _only_axis([a for a in letters if a not in "CSYX"], extents, letters, source, "slices")
    channels = _only_axis([a for a in letters if a in "CS"], extents, letters, source, "channels")
    n_channels = 1 if channels is None else extents[channels]
    if channels == "S":
        n_channels = _COLOURS_OF_SAMPLES.get(n_channels, n_channels)
    role_of: dict[str | None, Role] = {slices: "z", channels: "c", "Y": "y", "X": "x"}
    return AxisPlan(
        roles=tuple(role_of.get(letter, "dropped") for letter in letters),
        n_slices=1 if slices is None else extents[slices],
        n_channels=n_channels,
        height=extents["Y"],
        width=extents["X"],
        is_rgb=n_channels == 3 and (channels == "S" or letters[-1] == "C"),
        has_depth=slices != "T",
    )


def _check_letters(letters: str, shape: Sequence[int], source: str) -> None:
    if len(letters) != len(shape):
        raise InputError(
            f"axes {letters!r} name {len(letters)} axes, but {source} has shape {tuple(shape)}; "
            f"give one letter of Z, C, Y, X for each of its {len(shape)} axes.",
            field="axes",
        )
    if letters.count("Q") > 1:  # as tifffile calls an axis without a name
        raise InputError(
            f"{source} has the shape {tuple(shape)}, and does not say what its axes are; state "
            "them, such as --axes ZCYX (axes in Python), or save it with named axes, such as in "
            "Fiji.",
            field="axes",
        )
    if len(set(letters)) != len(letters) or not {"Y", "X"} <= set(letters):
        raise InputError(
            f"axes {letters!r} of {source} must name Y and X, and each letter once; "
            'such as "YX", "ZYX", "ZCYX" or "ZYXC".',
            field="axes",
        )
    if not letters.isalpha():
        raise InputError(f"axes {letters!r} of {source} hold other signs than letters.")
    if min(shape) < 1:
        raise InputError(
            f"{source} is empty: its shape is {tuple(shape)}; choose an image with pixels."
        )


def _only_axis(
    candidates: list[str], extents: dict[str, int], letters: str, source: str, meaning: str
) -> str | None:
    """Return the one candidate that is longer than 1, or the most telling of the others."""
    long = [letter for letter in candidates if extents[letter] > 1]
    if len(long) > 1:
        shown = " and ".join(f"{letter} ({extents[letter]})" for letter in long)
        raise InputError(
            f"{source} has axes {letters} of shape {tuple(extents.values())}; {shown} cannot both "
            f"be {meaning}. Save one of them, such as one time point, as a file of its own; or, if "
            "these axes are wrong, name the right ones.",
            field="axes",
        )
    if long:
        return long[0]
    telling = [letter for letter in candidates if letter in "ZTCS"]
    return min(telling, key="ZTCS".index) if telling else None


def guess_axes(shape: Sequence[int], dtype: np.dtype[np.generic], *, source: str) -> str:
    """Name the axes of an array without metadata.

    A last axis of 3 or 4 in uint8 is taken as RGB or RGBA, one of length 1 as the only channel; a
    second axis of at most 16 in 4D as channels.

    Raises
    ------
    InputError
        If the number of axes is not 2 to 4, or 4D data are ambiguous.

    Examples
    --------
    >>> guess_axes((20, 512, 512), np.dtype("uint16"), source="a.npy")
    'ZYX'
    """
    ndim = len(shape)
    is_colour = ndim > 2 and dtype == np.uint8 and shape[-1] in (3, 4) and min(shape[-3:-1]) > 4
    if ndim == 2:
        return "YX"
    if ndim in (3, 4) and shape[-1] == 1 < min(shape[-3:-1]):
        return "YXC" if ndim == 3 else "ZYXC"
    if ndim == 3:
        return "YXS" if is_colour else "ZYX"
    if ndim == 4 and is_colour:
        return "ZYXS"
    if ndim == 4 and shape[1] <= _MAX_GUESSED_CHANNELS:
        return "ZCYX"
    remedy = "name the axes, such as axes ZCYX or ZYXC" if ndim == 4 else "save one 2D to 4D part"
    raise InputError(
        f"{source} has shape {tuple(shape)}: what its {ndim} axes mean is not known; {remedy}.",
        field="axes",
    )
