"""Smoothing along z: the map of a slice averaged with those of the slices before and after it.

What is an object in one slice is mostly one in the next, while errors of a map are not: where
slices are close beside the width of an object, the average is the better map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from ..annotations import Region
from ..base import InputError, check_room, scratch_zeros, write_into

if TYPE_CHECKING:
    from ..images import Stack
    from ..training import Model

Probs: TypeAlias = npt.NDArray[np.float32]
Rows: TypeAlias = tuple[int, int]
Kept: TypeAlias = npt.NDArray[np.uint16]

_NEIGHBOUR_WEIGHT = 0.2  # of either neighbour; .6 of the slice itself
_MOST_SPACING = 0.5  # of the width of an object
_STRIP_ROWS = 256
_STEPS = np.iinfo(np.uint16).max


def is_smoothed(model: Model, stack: Stack, wanted: bool | None) -> tuple[bool, tuple[str, ...]]:
    """Decide whether maps are smoothed along z, and say why where that was left open.

    Parameters
    ----------
    model : Model
        Knows the width of the object.
    stack : Stack
        Knows how far its slices are apart.
    wanted : bool or None
        None: where slices are close enough.

    Raises
    ------
    InputError
        If it is wanted of images that are no slices of one volume.
    """
    if wanted and (stack.is_set or stack.is_time_series):
        raise InputError(
            f"maps of {stack.source} cannot be smoothed along z (smooth_z), since its "
            + (
                "slices are time points; leave that out, or state the voxel size if they are none."
                if stack.is_time_series
                else "images are no slices of one volume; leave that out."
            ),
            field="smooth_z",
        )
    if wanted is not None or not stack.is_volume:
        return bool(wanted), ()
    spacing_um, pixel_um = stack.voxel_size_um[0], model.pixel_size_um or stack.pixel_size_um(0)
    width_px = model.settings.image.object_width_px(pixel_um or 1.0)
    if width_px is None:
        return False, ()
    if spacing_um is None or pixel_um is None:
        unknown = "distance of slices" if spacing_um is None else "size of a pixel"
        return False, (
            f"Maps are not smoothed along z, since the {unknown} is not known; state the voxel "
            "size if slices are close.",
        )
    share = spacing_um / (width_px * pixel_um)
    apart = f"slices are {share:.2g} of an object's width apart"
    if share > _MOST_SPACING:
        return False, (f"Maps are not smoothed along z: {apart}, more than {_MOST_SPACING}.",)
    return True, (f"Maps are smoothed along z, each by its neighbours: {apart}.",)


class Smoother:
    """Takes maps of successive slices, and hands on smoothed ones of the slice before.

    Two slices of maps are held, as whole numbers of 16 bits; large ones in a file. The regions are
    the same box of successive slices, all of which are to be handed on, in a stack of ``n_slices``
    slices of ``shape`` (Y, X). The sink takes a region, rows of it and their maps, from top to
    bottom. Maps are needed of ``slices``, in this order.
    """

    def __init__(
        self,
        regions: Sequence[Region],
        n_slices: int,
        shape: tuple[int, int],
        sink: Callable[[Region, Rows, Probs], object],
    ) -> None:
        first, last = regions[0].slice, regions[-1].slice
        self._box = regions[0].box or (0, 0, *shape)
        self._sink = sink
        self._regions = {region.slice: region for region in regions}
        self._before = self._latest = np.empty((0, 0, 0), np.uint16)
        self.slices = range(max(0, first - 1), min(n_slices, last + 2))

    def take(self, region: Region, rows: Rows, probs: Probs) -> None:
        """Take the next rows of the maps of the next slice, (C, rows, X)."""
        z = region.slice
        top, left, bottom, right = self._box
        if not self._latest.size:
            shape = len(probs) - 1, bottom - top, right - left
            self._before, self._latest = (scratch_zeros(shape, np.uint16) for _ in range(2))
            check_room(self._before, 2 * self._before.nbytes)
        here = np.s_[:, rows[0] - top : rows[1] - top]
        new = np.rint(probs[1:] * np.float32(_STEPS)).astype(np.uint16)
        before, latest = self._before[here], self._latest[here]
        if z - 1 in self._regions:
            self._hand_on(z - 1, rows, before, latest, new)
        write_into(before, latest)
        write_into(latest, new)
        if rows[1] == bottom and z in self._regions and z == self.slices[-1]:  # the stack ends here
            for first in range(top, bottom, _STRIP_ROWS):
                rows = first, min(bottom, first + _STRIP_ROWS)
                here = np.s_[:, rows[0] - top : rows[1] - top]
                self._hand_on(z, rows, self._before[here], self._latest[here], None)

    def _hand_on(self, z: int, rows: Rows, before: Kept, own: Kept, after: Kept | None) -> None:
        neighbours = ([before] if z > self.slices[0] else []) + ([] if after is None else [after])
        total = own * np.float32(1 - 2 * _NEIGHBOUR_WEIGHT)
        for one in neighbours:
            total += one * np.float32(_NEIGHBOUR_WEIGHT)
        total /= _STEPS * (1 - _NEIGHBOUR_WEIGHT * (2 - len(neighbours)))
        self._sink(self._regions[z], rows, np.concatenate([1 - total.sum(0, keepdims=True), total]))
