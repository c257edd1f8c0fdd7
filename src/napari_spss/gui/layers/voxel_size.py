"""The voxel size of an image layer: what its file says of it, and another one that is stated."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image, Labels

from ...core.base import UNKNOWN_VOXEL, InputError, SpssError, VoxelSize
from .geometry import Geometry, full_resolution
from .own import MARK, layer_mark
from .source_frame import camera_of

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer
    from numpy.typing import NDArray

    from ...core.images import Stack

SIZE_OF = "voxel_size_of"
"""Key of the mark of an image that got its voxel size with another one, whose name it holds."""
_UM = "micrometer"
_NO_UNIT = "pixel"


def file_voxel_size(layer: Image, stack: Stack | None = None) -> VoxelSize:
    """Voxel size (z, y, x) in micrometres that the file of a layer states; None where it does not.

    napari opens TIFF files without it. If the file calls its slices time points, and nobody named
    their axis, that is called t from now on. Unless the stack in the file is given, it is opened.
    """
    stack = _file_stack(layer, stack)
    if stack is None:
        return UNKNOWN_VOXEL
    name_time_axis(layer, stack)
    return stack.voxel_size_um


def name_time_axis(layer: Image | Labels, stack: Stack | None = None) -> None:
    """Call the axis of slices t if nobody named it, and the file says that these are time points.

    That of channels, if there is one, is called c. Unless the stack in the file is given, it is
    opened.
    """
    axes, names = Geometry.of(layer).axes, list(layer.axis_labels)
    if "Z" not in axes or not names[axes.index("Z")].startswith("-"):
        return
    stack = stack or _file_stack(layer)
    if stack is not None and stack.is_time_series:
        names[axes.index("Z")] = "t"
        if "C" in axes:  # or it might be z
            names[axes.index("C")] = "c"
        layer.axis_labels = names


def look_into_file(layer: Image | Labels) -> tuple[Stack | None, str]:
    """Open the file of a layer, and say what is doubtful of it.

    napari opens more kinds of files, and tells less.
    """
    path = layer.source.path
    if not path or not os.path.exists(path):
        return None, ""
    from ...core.images import known_readers, open_stack

    suffixes = tuple(one for reader in known_readers() for one in reader.suffixes)
    try:
        stack = open_stack(path)
    except (SpssError, OSError) as error:
        is_known = str(path).lower().endswith(suffixes)
        return None, f"\u26a0 Only napari reads its file: {error}" if is_known else ""
    return stack, "\n".join(stack.file_notes)


def _file_stack(layer: Image | Labels, stack: Stack | None = None) -> Stack | None:
    """Return what is in the file of a layer, if it is what the layer shows."""
    stack = stack or look_into_file(layer)[0]
    try:
        is_same = stack is not None and (
            (stack.n_slices, *stack.shape_of(0)) == Geometry.of(layer).stack_shape
        )
    except InputError:  # of more axes than a stack has
        return None
    return stack if is_same else None


def set_voxel_size(viewer: ViewerModel, layer: Image, size_um: VoxelSize) -> None:
    """Scale an image, and the layers that lie on it, so that its voxels have a size.

    The viewer goes on showing the same part of it. Layers of results are left to `ResultLayers`,
    as are images of another shape, or whose files state another size, to themselves. Other images
    say in their metadata (`SIZE_OF`) which one they followed. The size is (z, y, x) in micrometres;
    along an axis with None the unit is a pixel again.
    """
    before = Geometry.of(layer)
    scale, units = before.scale.copy(), list(before.units)
    stretch = before.steps / before.scale
    for axis, name in enumerate(before.axes):
        length = size_um["ZYX".index(name)] if name in "ZYX" else None
        is_length = units[axis].is_compatible_with(_UM)
        if length is not None:
            unit = units[axis] if is_length else type(units[axis])(_UM)
            step = length / float((1 * unit).to(_UM).magnitude)
            units[axis], scale[axis] = unit, step / stretch[axis]
        elif is_length and name in "ZYX":
            units[axis], scale[axis] = type(units[axis])(_NO_UNIT), 1.0
    on_top = [
        other
        for other in viewer.layers
        if _lies_on(other, layer, before) and _may_have(other, layer, size_um)
    ]
    with _same_view(viewer, layer):
        translate = before.translate * scale / before.scale
        for one in (layer, *on_top):
            one.units, one.scale, one.translate = units, scale, translate
    for one in (layer, *on_top):
        mark = {key: value for key, value in layer_mark(one).items() if key != SIZE_OF}
        if isinstance(one, Image):
            one.metadata[MARK] = mark if one is layer else {**mark, SIZE_OF: layer.name}


def _may_have(other: Layer, layer: Image, size_um: VoxelSize) -> bool:
    """Whether a layer has as many pixels as an image, and its own file states no other size."""
    if not isinstance(other, (Image, Labels)):
        return True
    if full_resolution(other).shape[: other.ndim] != full_resolution(layer).shape[: layer.ndim]:
        return False
    if isinstance(other, Labels) or other.source.path in (None, layer.source.path):
        return True
    return file_voxel_size(other) in (UNKNOWN_VOXEL, size_um)


def _lies_on(other: Layer, layer: Image, place: Geometry) -> bool:
    """Whether another layer, but a result, has the place of an image."""
    return (
        other is not layer
        and other.ndim == layer.ndim
        and "source" not in layer_mark(other)
        and np.allclose(other.scale, place.scale)
        and np.allclose(other.translate, place.translate)
        and tuple(other.units) == place.units
    )


@contextlib.contextmanager
def _same_view(viewer: ViewerModel, layer: Image) -> Iterator[None]:
    """Let slider and camera stay where they are on an image that is scaled meanwhile."""
    camera = camera_of(viewer)

    def place() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Size of a pixel and place of the first one along the axes of the viewer."""
        size = _world_per_pixel(viewer, layer)
        first = size / np.array(layer.scale, float) * np.array(layer.translate, float)
        lead = np.ones(viewer.dims.ndim - layer.ndim)  # axes that the image lacks
        return np.append(lead, size), np.append(0 * lead, first)

    point, centre = np.array(viewer.dims.point, float), np.array(camera.center, float)
    zoom, (before, start) = camera.zoom, place()
    yield
    after, end = place()
    ratio = after / before
    viewer.dims.point = tuple((point - start) * ratio + end)
    shown, axes = viewer.dims.ndisplay, list(viewer.dims.displayed)
    centre[-shown:] = (centre[-shown:] - start[axes]) * ratio[axes] + end[axes]
    camera.center, camera.zoom = tuple(centre), zoom / ratio[axes[-1]]


def _world_per_pixel(viewer: ViewerModel, layer: Image) -> NDArray[np.float64]:
    """Size of a layer's pixels in units of the viewer, which napari 0.9 has of its own."""
    units = getattr(viewer.dims, "units", None) or layer.units
    factors = [
        float((1 * own).to(shown).magnitude) if own.is_compatible_with(shown) else 1.0
        for own, shown in zip(layer.units, units[-layer.ndim :], strict=True)
    ]
    return np.array(layer.scale, float) * factors
