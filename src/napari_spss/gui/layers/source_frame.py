"""The annotated image as its annotations see it: slices, pixels, and layers that lie on top."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...core.base import InputError
from .geometry import Geometry

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Layer

    from ...core.annotations import Region

_SHARE_OF_CANVAS = 0.85
"""Of the rectangle that is looked at; the rest shows what is around it."""


class SourceFrame:
    """The pixels of an image layer, wherever the layer lies at the moment.

    Positions are (slice, y, x) in full-resolution pixels; integers are pixel centres.

    Parameters
    ----------
    layer : Image or Labels
        The image, or what lies on it. It stays usable as a frame after its removal from the viewer,
        and while its data have other axes: those need a frame of their own.

    Raises
    ------
    InputError
        If the axes of the layer are not those of a stack.
    """

    def __init__(self, layer: Image | Labels) -> None:
        self.layer = layer
        self._geometry = Geometry.of(layer)

    @property
    def geometry(self) -> Geometry:
        """Axes as they were, and transform as it is now."""
        with suppress(InputError):
            now = Geometry.of(self.layer)
            if now.axes == self._geometry.axes:
                self._geometry = now
        return self._geometry

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self._geometry.axes)

    @property
    def n_slices(self) -> int:
        """Number of slices; 1 for a single image."""
        return self.geometry.stack_shape[0]

    def shape_of(self, slice_index: int) -> tuple[int, int]:
        """(Y, X) of a slice in pixels."""
        return self.geometry.stack_shape[1:]

    def holds(self, positions: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether each (slice, y, x) of an (N, 3) array lies on a pixel of the image."""
        n_slices, *shape = self.geometry.stack_shape
        inside = np.isfinite(positions).all(axis=1)
        slices = np.where(inside, np.floor(positions[:, 0] + 0.5), -1).astype(int)
        inside &= (slices >= 0) & (slices < n_slices)
        pixels = positions[:, 1:]
        result: NDArray[np.bool_] = inside & np.all(
            (pixels >= -0.5) & (pixels < np.array(shape) - 0.5), axis=1
        )
        return result

    # ---- layers on top of the image ---------------------------------------------------------

    def is_aligned(self, layer: Layer) -> bool:
        """Whether a layer lies where the image's annotation layers are put."""
        if layer.ndim != self.ndim:
            return False
        place = self.geometry.layer_arguments()
        return all(_is_same(getattr(layer, name), value) for name, value in place.items())

    def align(self, layer: Layer) -> None:
        """Put a layer of the same number of axes on the image, to be seen with all channels."""
        for name, value in self.geometry.layer_arguments().items():
            if not _is_same(getattr(layer, name), value):
                setattr(layer, name, value)

    def place(self, positions: NDArray[np.float64], layer: Layer) -> NDArray[np.float64]:
        """Turn (N, 3) positions in the image into data coordinates (N, ndim) of a layer."""
        to_layer = np.linalg.inv(_data_to_world(layer)) @ self.geometry.to_world
        return _transformed(self._points(positions), to_layer)

    def _points(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn (N, 3) positions into data coordinates (N, ndim) of the image, mid-channel."""
        geometry = self.geometry
        points = np.tile((np.asarray(geometry.shape, float) - 1) / 2, (len(positions), 1))
        for letter, values in zip("ZYX", np.asarray(positions, float).T, strict=True):
            if letter in geometry.axes:
                points[:, geometry.axes.index(letter)] = values
        return points

    def positions(self, points: NDArray[np.float64], layer: Layer) -> NDArray[np.float64]:
        """Turn data coordinates (N, ndim) of a layer into (N, 3) positions in the image.

        They are rounded to 1e-6 px, so that the way there and back changes nothing.
        """
        if not len(points):
            return np.zeros((0, 3))
        world = _transformed(np.asarray(points, float), _data_to_world(layer))
        return np.round(self.geometry.to_pixels(world), 6)

    def position_at(self, world: Sequence[float]) -> tuple[float, float, float]:
        """(slice, y, x) of a point in the viewer's world."""
        z, y, x = self.geometry.to_pixels(self.geometry.fitted(world))[0]
        return float(z), float(y), float(x)

    # ---- what the viewer shows --------------------------------------------------------------

    def current_slice(self, viewer: ViewerModel) -> int:
        """Index of the slice that the viewer shows."""
        return self.geometry.slice_at(viewer.dims.point)

    def go_to(self, viewer: ViewerModel, slice_index: int) -> None:
        """Move the viewer's slider to a slice."""
        self.geometry.go_to(viewer.dims, slice_index)

    def look_at(self, viewer: ViewerModel, region: Region) -> None:
        """Move the slider to a region's slice, and the camera to its rectangle, with a margin."""
        self.go_to(viewer, region.slice)
        if region.box is None or not self.is_shown_in_plane(viewer):
            return
        world = _transformed(self._points(corners_of(region)), self.geometry.to_world)
        axes = [axis - viewer.dims.ndim for axis in viewer.dims.displayed]
        low, high = world[:, axes].min(axis=0), world[:, axes].max(axis=0)
        camera, size = camera_of(viewer), np.array(_canvas_size(viewer))
        camera.center = tuple((low + high) / 2)
        camera.zoom = float((_SHARE_OF_CANVAS * size / (high - low)).min())

    def is_shown_in_plane(self, viewer: ViewerModel) -> bool:
        """Whether the viewer shows single slices, in 2D and not cut across."""
        n = viewer.dims.ndim
        return set(viewer.dims.displayed) == {n - 2, n - 1}


def corners_of(region: Region) -> NDArray[np.float64]:
    """Corners of a region's box as (slice, y, x), (4, 3), going round; a pixel reaches 0.5 px."""
    y0, x0, y1, x1 = np.array(region.box) - 0.5
    corners = [(y0, x0), (y0, x1), (y1, x1), (y1, x0)]
    return np.array([(float(region.slice), y, x) for y, x in corners])


def camera_of(viewer: ViewerModel) -> Any:
    """Return the camera, which moved to the scene in napari 0.9."""
    return getattr(viewer, "scene", viewer).camera


def _canvas_size(viewer: ViewerModel) -> tuple[float, float]:
    """(height, width) of the canvas on the screen, which is public from napari 0.9 on."""
    size: tuple[float, float] = (
        viewer.canvas.size if hasattr(viewer, "canvas") else viewer._canvas_size
    )
    return size


def _data_to_world(layer: Layer) -> NDArray[np.float64]:
    """Homogeneous matrix (ndim + 1, ndim + 1) of a layer's transform."""
    origin = np.asarray(layer.data_to_world(np.zeros(layer.ndim)))
    matrix = np.eye(layer.ndim + 1)
    matrix[:-1, -1] = origin
    for axis, unit in enumerate(np.eye(layer.ndim)):
        matrix[:-1, axis] = np.asarray(layer.data_to_world(unit)) - origin
    return matrix


def _transformed(points: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = points @ matrix[:-1, :-1].T + matrix[:-1, -1]
    return result


def _is_same(a: Any, b: Any) -> bool:
    """Whether two values of a layer's transform agree; an Affine may stand for its matrix."""
    a, b = (getattr(value, "affine_matrix", value) for value in (a, b))
    if isinstance(a, np.ndarray):
        return a.shape == np.shape(b) and bool(np.allclose(a, b))
    return bool(a == b)
