"""An image with its labels, opened from files as far as they are looked at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels

from ...core.annotations import Classes, Region
from ...core.base import InputError, read_origin
from .colours import label_colours
from .own import MARK
from .source_frame import SourceFrame

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.viewer import Viewer

    from ...core.images import Stack

_OPENED = "napari_spss file"
"""Key of a layer's metadata under which stands what it was opened from."""


def open_with_labels(viewer: Viewer, image: Path, folder: Path) -> None:
    """Show an image, unless it is open, and the labels in the folder of its result.

    InputError if it cannot be read, or is a set of images of different sizes or scales.
    """
    from ...core.images import labels_in, open_labels, open_stack

    path = labels_in(folder)
    stack, labels = open_stack(image), open_labels(path)
    if stack.is_set:
        raise InputError(
            f"{image} is a set of images of different sizes or scales, which no layer shows; open "
            "one of them."
        )
    for layer in viewer.layers:
        if _OPENED in layer.metadata:
            layer.visible = False
    shown = next((one for one in viewer.layers if _path_of(one) == image), None)
    if shown is None:
        mark = {_OPENED: str(image)}
        shown = Image(**stack_layer(stack), name=image.stem, metadata=mark)
        viewer.layers.append(shown)
        viewer.reset_view()
    shown.visible = True
    for layer in [one for one in viewer.layers if one.metadata.get(_OPENED) == labels.source]:
        viewer.layers.remove(layer)  # its file may have been written again
    made_by = read_origin(path)
    is_edited = made_by.pop("is_edited", False)
    colours = Classes(labels.classes.names).colours
    place = {key: getattr(shown, key) for key in ("scale", "translate", "units", "axis_labels")}
    layer = Labels(
        _Planes(stack, labels.read, np.dtype(np.uint8)),
        name=f"{image.stem.removesuffix('.ome')} labels",
        metadata={
            _OPENED: labels.source,
            MARK: {"role": "labels of a file", "is_edited": is_edited, "made_by": made_by},
        },
        colormap=label_colours(dict(enumerate(colours))),
        **(place if shown.ndim == 3 else _place(stack)),
    )
    layer.editable = False  # they are those in the file
    viewer.layers.append(layer)
    low, high = shown.extent.world
    nearest = np.clip(viewer.dims.point[-shown.ndim :], low, high)  # of the slices that it has
    viewer.dims.set_point(range(-shown.ndim, 0), nearest)
    frame = SourceFrame(shown)
    z = frame.current_slice(viewer)
    frame.look_at(viewer, Region(z, (0, 0, *frame.shape_of(z))))  # others may be larger
    viewer.layers.selection.active = shown


def stack_layer(stack: Stack) -> dict[str, Any]:
    """Arguments of an image layer that reads a stack slice by slice; of several channels, grey."""
    middle = stack.read(stack.n_slices // 2)
    is_rgb = stack.channel_axis_is_rgb and stack.n_channels == 3

    def plane(z: int) -> np.ndarray:
        pixels = stack.read(z)
        return np.moveaxis(pixels, 0, -1) if is_rgb else pixels[0]

    return {
        "data": _Planes(stack, plane, stack.dtype, (3,) if is_rgb else ()),
        "rgb": is_rgb,
        # from one slice: napari would read the whole file to find its darkest and brightest pixel
        "contrast_limits": _limits(middle[0]),
        **_place(stack),
    }


def _path_of(layer: Any) -> Path | None:
    stated = layer.source.path or layer.metadata.get(_OPENED)
    return Path(stated).resolve() if stated and isinstance(layer, Image) else None


class _Planes:
    """Slices of one size as one array (Z, Y, X, *more), each read when it is asked for.

    A dask array would do, but for napari's cache of these, which fails at times where two threads
    read at once.
    """

    def __init__(
        self,
        stack: Stack,
        read: Callable[[int], np.ndarray],
        dtype: np.dtype[Any],
        more: tuple[int, ...] = (),
    ) -> None:
        self._read = read
        self.dtype = dtype
        self.shape = (stack.n_slices, *stack.shape_of(0), *more)
        self.ndim = len(self.shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        place, *within = key if isinstance(key, tuple) and key else (key,)
        if isinstance(place, (int, np.integer)):
            return self._read(range(len(self))[place])[tuple(within)]
        if not isinstance(place, slice):
            return np.asarray(self)[key]
        found = [self._read(z)[tuple(within)] for z in range(len(self))[place]]
        return np.stack(found) if found else np.empty(self.shape, self.dtype)[key]

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


def _place(stack: Stack) -> dict[str, Any]:
    size = stack.voxel_size_um
    return {
        "scale": tuple(length or 1.0 for length in size),
        "units": tuple("um" if length else "pixel" for length in size),
        "axis_labels": ("t" if stack.is_time_series else "z", "y", "x"),
    }


def _limits(values: np.ndarray) -> tuple[float, float]:
    low, high = (float(v) for v in np.percentile(values, (0.1, 99.9)))
    return (low, high) if high > low else (low, low + 1.0)
