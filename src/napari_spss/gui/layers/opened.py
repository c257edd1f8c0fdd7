"""An image with its labels, opened from files as far as they are looked at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels

from ...core.annotations import Classes
from ...core.base import InputError
from .colours import label_colours

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.viewer import Viewer

    from ...core.images import Stack

_OPENED = "napari_spss file"
"""Key of a layer's metadata under which stands what it was opened from."""


def open_with_labels(viewer: Viewer, image: Path, folder: Path) -> None:
    """Show an image, unless it is open, and the labels in the folder of its result.

    Raises
    ------
    InputError
        If it cannot be read, or is a set of images of different sizes.
    """
    from ...core.images import labels_in, open_labels, open_stack

    stack, labels = open_stack(image), open_labels(labels_in(folder))
    if stack.is_set:
        raise InputError(
            f"{image} is a set of images of different sizes, which no layer shows; open one of "
            "them."
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
    mark = {_OPENED: labels.source}
    for layer in [one for one in viewer.layers if one.metadata == mark]:
        viewer.layers.remove(layer)  # its file may have been written again
    colours = Classes(labels.classes.names).colours
    place = {key: getattr(shown, key) for key in ("scale", "translate", "units", "axis_labels")}
    layer = Labels(
        _planes(stack, labels.read, np.dtype(np.uint8)),
        name=f"{image.stem.removesuffix('.ome')} labels",
        metadata=mark,
        colormap=label_colours(dict(enumerate(colours))),
        **(place if shown.ndim == 3 else _place(stack)),
    )
    layer.editable = False  # they are those in the file
    viewer.layers.append(layer)
    low, high = shown.extent.world
    nearest = np.clip(viewer.dims.point[-shown.ndim :], low, high)  # of the slices that it has
    viewer.dims.set_point(range(-shown.ndim, 0), nearest)
    viewer.layers.selection.active = shown


def stack_layer(stack: Stack) -> dict[str, Any]:
    """Arguments of an image layer that reads a stack slice by slice; of several channels, grey."""
    middle = stack.read(stack.n_slices // 2)
    is_rgb = stack.channel_axis_is_rgb and stack.n_channels == 3

    def plane(z: int) -> np.ndarray:
        pixels = stack.read(z)
        return np.moveaxis(pixels, 0, -1) if is_rgb else pixels[0]

    return {
        "data": _planes(stack, plane, stack.dtype, (3,) if is_rgb else ()),
        "rgb": is_rgb,
        # from one slice: napari would read the whole file to find its darkest and brightest pixel
        "contrast_limits": _limits(middle[0]),
        **_place(stack),
    }


def _path_of(layer: Any) -> Path | None:
    stated = layer.source.path or layer.metadata.get(_OPENED)
    return Path(stated).resolve() if stated and isinstance(layer, Image) else None


def _planes(
    stack: Stack,
    read: Callable[[int], np.ndarray],
    dtype: np.dtype[Any],
    more: tuple[int, ...] = (),
) -> Any:
    """Slices as one array, each read when it is shown."""
    import dask.array as da

    height, width = stack.shape_of(0)
    return da.map_blocks(
        lambda block_info: read(block_info[None]["array-location"][0][0])[None],
        chunks=((1,) * stack.n_slices, (height,), (width,), *((n,) for n in more)),
        dtype=dtype,
        meta=np.empty((0,) * (3 + len(more)), dtype),
    )


def _place(stack: Stack) -> dict[str, Any]:
    size = stack.voxel_size_um
    return {
        "scale": tuple(length or 1.0 for length in size),
        "units": tuple("um" if length else "pixel" for length in size),
        "axis_labels": ("z", "y", "x"),
    }


def _limits(values: np.ndarray) -> tuple[float, float]:
    low, high = (float(v) for v in np.percentile(values, (0.1, 99.9)))
    return (low, high) if high > low else (low, low + 1.0)
