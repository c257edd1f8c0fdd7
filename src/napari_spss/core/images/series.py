"""Single images behind one `Stack`: the slices of a folder, or an image set."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ..base import InputError
from .stack_base import Box, Pixels, Stack

__all__ = ["ImageSeries"]


class ImageSeries(Stack):
    """Single images, each a stack of one slice, one after the other.

    Parameters
    ----------
    images : sequence of Stack
        At least one; of one slice each.
    source : str
        Path of the folder, or "array".
    names : sequence of str, optional
        Per image; by default its index.
    is_set : bool
        Whether the images may differ in size.
    spacing_um : float or None
        Distance between neighbouring slices of a stack, in micrometres.
    is_strict : bool
        Whether dtype and number of channels must agree. If not, `read` gives each image in its
        own, and ``dtype`` and ``n_channels`` are those of the richest image.

    Raises
    ------
    InputError
        If there is no image, one has several slices, or they do not agree.
    """

    def __init__(
        self,
        images: Sequence[Stack],
        *,
        source: str,
        names: Sequence[str] | None = None,
        is_set: bool,
        spacing_um: float | None = None,
        is_strict: bool = True,
    ) -> None:
        if not images:
            raise InputError(f"{source} holds no images; give at least one.")
        if names is not None and len(names) != len(images):
            raise InputError(f"{len(names)} names for {len(images)} images; give one per image.")
        names = [str(i) for i in range(len(images))] if names is None else names
        for image, name in zip(images, names, strict=True):
            if image.n_slices != 1:
                raise InputError(
                    f"{name} in {source} holds {image.n_slices} slices; a folder must hold one "
                    "2D image per file. Open this file itself, or move it elsewhere."
                )
        if is_strict:
            _check_agreement(images, names, source)
        in_plane = {image.voxel_size_um[1:] for image in images}
        y_um, x_um = in_plane.pop() if len(in_plane) == 1 else (None, None)
        super().__init__(
            n_slices=len(images),
            n_channels=max(image.n_channels for image in images),
            dtype=np.result_type(*{image.dtype for image in images}),
            source=source,
            names=names,
            is_set=is_set,
            channel_axis_is_rgb=all(image.channel_axis_is_rgb for image in images),
            voxel_size_um=(None if is_set else spacing_um, y_um, x_um),
            is_file=False,  # each image speaks for itself
        )
        self._images = tuple(images)

    def pixel_size_um(self, z: int) -> float | None:
        """In-plane edge of a pixel of image ``z`` in micrometres, None if unknown."""
        return self._images[self._index(z)].pixel_size_um(0)

    def _shape(self, z: int) -> tuple[int, int]:
        return self._images[z].shape_of(0)

    def _read(self, z: int, box: Box) -> Pixels:
        return self._images[z].read(0, box)

    def _decodes_whole(self, z: int) -> bool:
        return self._images[z]._decodes_whole(0)

    def close(self) -> None:
        """Close the files behind the images."""
        super().close()
        for image in self._images:
            image.close()


def _check_agreement(images: Sequence[Stack], names: Sequence[str], source: str) -> None:
    for (first, first_name), (other, name) in pairwise(zip(images, names, strict=True)):
        for what, here, there in (
            ("type", first.dtype, other.dtype),
            ("number of channels", first.n_channels, other.n_channels),
        ):
            if here != there:
                raise InputError(
                    f"the images of {source} differ in {what}: {first_name} has {here}, {name} "
                    f"has {there}; convert them to one, or keep them in separate folders."
                )
