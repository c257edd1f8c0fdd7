"""Image stacks and image sets behind one lazy `Stack`, from arrays and from files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..base import UNKNOWN_VOXEL, InputError, merge_voxel_size
from .axes import resolve_axes
from .series import ImageSeries
from .stack_base import ArrayStack, Box, Stack

__all__ = ["Box", "Stack", "open_stack", "stack_from_array", "stack_from_images"]


def stack_from_array(
    array: Any,
    *,
    axes: str = "ZYX",
    voxel_size_um: Sequence[float | None] | None = None,
    source: str = "array",
) -> Stack:
    """Make a stack of an array; nothing is read before it is asked for.

    Parameters
    ----------
    array : array
        NumPy, memory-mapped, dask or zarr; bool, integer or real floating point.
    axes : str
        A letter per axis, such as "YX", "ZYX", "CYX", "YXC", "ZCYX" or "ZYXC", in any order. T
        is taken as Z. S instead of C marks colour samples: the alpha sample of RGBA is left out.
    voxel_size_um : sequence of 3 floats or None, optional
        (z, y, x) in micrometres.
    source : str
        Name of the array in messages.

    Raises
    ------
    InputError
        If axes and shape do not agree, the array is empty, has more axes than slices, channels,
        rows and columns, or is complex.

    Examples
    --------
    >>> stack = stack_from_array(np.zeros((5, 64, 48)), voxel_size_um=(0.05, 0.004, 0.004))
    >>> stack.n_slices, stack.shape_of(0), stack.read(2, (0, 0, 8, 16)).shape
    (5, (64, 48), (1, 8, 16))
    """
    array = array if hasattr(array, "shape") else np.asarray(array)
    return ArrayStack(
        array,
        resolve_axes(axes, array.shape, source=source),
        source=source,
        voxel_size_um=merge_voxel_size(voxel_size_um, UNKNOWN_VOXEL),
        is_file=False,
    )


def stack_from_images(
    images: Sequence[Any],
    *,
    axes: str = "YX",
    pixel_sizes_um: Sequence[float | None] | None = None,
    names: Sequence[str] | None = None,
) -> Stack:
    """Make an image set of 2D images that may differ in size.

    Parameters
    ----------
    images : sequence of arrays
        All of one dtype and number of channels.
    axes : str
        Axes of each image, such as "YX", "CYX" or "YXC".
    pixel_sizes_um : sequence of float or None, optional
        Edge of a pixel in micrometres, per image.
    names : sequence of str, optional
        Per image; by default its index.

    Raises
    ------
    InputError
        If there is no image, an image is no single 2D image, or they do not agree.

    Examples
    --------
    >>> image_set = stack_from_images([np.zeros((4, 6)), np.zeros((5, 3))])
    >>> image_set.is_set, image_set.shape_of(1)
    (True, (5, 3))
    """
    sizes = [None] * len(images) if pixel_sizes_um is None else list(pixel_sizes_um)
    if len(sizes) != len(images):
        raise InputError(
            f"pixel_sizes_um has {len(sizes)} values for {len(images)} images; give one per image.",
            field="pixel_sizes_um",
        )
    singles = [
        stack_from_array(image, axes=axes, voxel_size_um=(None, size, size), source=f"image {i}")
        for i, (image, size) in enumerate(zip(images, sizes, strict=True))
    ]
    return ImageSeries(singles, source="array", names=names, is_set=True)


def open_stack(
    path: str | os.PathLike[str],
    *,
    axes: str | None = None,
    voxel_size_um: Sequence[float | None] | None = None,
) -> Stack:
    """Open images lazily.

    Parameters
    ----------
    path : path-like
        A multi-page, ImageJ, OME- or BigTIFF; a folder of PNG, TIFF or JPEG images, in natural
        order (a stack if all have one size, else an image set); one PNG or JPEG; an MRC file
        (``.mrc``, ``.rec``, ``.map``, ``.st``); a NumPy ``.npy``; an (OME-)Zarr folder.
    axes : str, optional
        A letter per axis of the data as stored, if the metadata are missing or wrong: "ZYX",
        "ZCYX", "YXC" and so on. T is taken as Z. For a folder: the axes of each image.
    voxel_size_um : sequence of 3 floats or None, optional
        (z, y, x) in micrometres; goes before the metadata, which fill in what is None.

    Raises
    ------
    InputError
        If there is nothing to read, or it cannot be read as such a stack: the message says why
        and what to do.
    """
    # late: the readers of files take a fifth of a second, which an image in memory does not need
    from .files import open_image_files

    return open_image_files(Path(path), axes=axes, voxel_size_um=voxel_size_um)
