"""Where an image's pixels lie in the world, and where results at another scale belong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from napari.layers import Layer
from napari.utils.transforms import Affine, CompositeAffine

from ...core.base import InputError

if TYPE_CHECKING:
    from napari.components import Dims

_CHANNEL_LABELS = {"c", "ch", "channel", "channels"}
_TIME_LABELS = {"t", "time"}
_MAX_CHANNELS = 8
_REMEDY = (
    "name the axis of channels 'c' (Layers > Metadata), or take one time point as a layer of its "
    "own"
)


@dataclass(frozen=True)
class Geometry:
    """How the slices of a stack lie in a layer and in the world.

    Parameters
    ----------
    axes : str
        The layer's axes, each one of "Z", "C", "Y", "X", and "Q" for one more of length 1; an RGB
        axis does not count.
    shape : tuple of int
        Length of each, in data pixels of the full resolution.
    scale, translate : ndarray, (ndim,)
        World units a data pixel, and the world position of pixel 0.
    rotate, shear, affine : ndarray
        The layer's other transforms.
    units, axis_labels : tuple
        The layer's, one per axis.
    """

    axes: str
    shape: tuple[int, ...]
    scale: npt.NDArray[np.float64]
    translate: npt.NDArray[np.float64]
    rotate: npt.NDArray[np.float64]
    shear: npt.NDArray[np.float64]
    affine: npt.NDArray[np.float64]
    units: tuple[Any, ...]
    axis_labels: tuple[str, ...]

    @classmethod
    def of(
        cls, layer: Layer, axes: str | None = None, shape: tuple[int, ...] | None = None
    ) -> Geometry:
        """Copy that of an image or labels layer.

        Parameters
        ----------
        layer : Layer
            Where the transforms come from.
        axes : str, optional
            Its axes, if known better than `find_axes` can tell.
        shape : tuple of int, optional
            Its shape at full resolution, without an RGB axis.

        Raises
        ------
        InputError
            If its axes are not those of a stack.
        """
        return cls(
            axes=axes or find_axes(layer),
            shape=shape or tuple(full_resolution(layer).shape[: layer.ndim]),
            scale=np.array(layer.scale, float),
            translate=np.array(layer.translate, float),
            rotate=np.array(layer.rotate, float),
            shear=np.array(layer.shear, float),
            affine=np.array(layer.affine.affine_matrix, float),
            units=tuple(layer.units),
            axis_labels=tuple(layer.axis_labels),
        )

    @property
    def stack_shape(self) -> tuple[int, int, int]:
        """(Z, Y, X); Z is 1 without such an axis."""
        n_z = self.shape[self.axes.index("Z")] if "Z" in self.axes else 1
        return n_z, self.shape[self.axes.index("Y")], self.shape[self.axes.index("X")]

    @property
    def n_channels(self) -> int:
        """Length of the channel axis; 1 without one."""
        return self.shape[self.axes.index("C")] if "C" in self.axes else 1

    @property
    def stack_axes(self) -> str:
        """Axes of the layer as the core names them: T of time points."""
        return self.axes.replace("Z", "T") if self.is_time_series else self.axes

    @property
    def is_time_series(self) -> bool:
        """Whether the slices are time points, by the name of their axis."""
        name = dict(zip(self.axes, self.axis_labels, strict=True)).get("Z", "")
        return name.lower() in _TIME_LABELS and self.stack_shape[0] > 1

    @property
    def steps(self) -> npt.NDArray[np.float64]:
        """World units from a data pixel to the next one, along each axis."""
        return np.linalg.norm(self.to_world[:-1, :-1], axis=0)

    def is_same(self, other: Geometry) -> bool:
        """Whether pixels of either lie at the same place in the world."""
        is_alike = self.axes == other.axes and self.units == other.units
        return is_alike and bool(np.array_equal(self.to_world, other.to_world))

    def slice_at(self, world: Sequence[float]) -> int:
        """Index of the slice that shows a world point, clipped to the stack."""
        if "Z" not in self.axes:
            return 0
        data = self._to_world().inverse(self.fitted(world))
        z = int(np.floor(data[self.axes.index("Z")] + 0.5))
        return min(max(z, 0), self.stack_shape[0] - 1)

    def go_to(self, dims: Dims, z: int) -> None:
        """Move a viewer's slider to a slice."""
        if "Z" in self.axes:
            axis = self.axes.index("Z")
            centre = (np.asarray(self.shape, float) - 1) / 2
            centre[axis] = z
            dims.set_point(dims.ndim + axis - len(self.axes), float(self._to_world()(centre)[axis]))

    def fitted(self, world: Sequence[float]) -> npt.NDArray[np.float64]:
        """Last coordinates of a world point; zeros where a viewer of fewer axes gives none."""
        point = np.asarray(world, float)[-len(self.axes) :]
        return np.concatenate([np.zeros(len(self.axes) - len(point)), point])

    def to_pixels(self, world: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Turn world points (N, ndim) into (N, 3) data positions (z, y, x)."""
        points = np.atleast_2d(np.asarray(world, float))[:, -len(self.axes) :]
        data = np.atleast_2d(self._to_world().inverse(points))
        z = data[:, self.axes.index("Z")] if "Z" in self.axes else np.zeros(len(data))
        return np.stack([z, data[:, self.axes.index("Y")], data[:, self.axes.index("X")]], axis=1)

    def expand(self, stack: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """View an array (Z, Y, X) with the layer's axes; a channel axis has length 1."""
        if "Z" not in self.axes:
            stack = stack[0]
        return np.expand_dims(stack, [i for i, axis in enumerate(self.axes) if axis in "CQ"])

    def collapse(self, data: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """View an array as `expand` gives it with the axes (Z, Y, X)."""
        data = data[tuple(0 if axis in "CQ" else slice(None) for axis in self.axes)]
        return data if "Z" in self.axes else data[None]

    def plane(self, data: Any, z: int) -> Any:
        """View the slice (Y, X) of an array that has the layer's axes, as `expand` gives it."""
        return data[plane_index(self.axes, z)]

    def layer_arguments(self, *, reduction: int = 1, first_slice: int = 0) -> dict[str, Any]:
        """Arguments that put a layer of results, from ``first_slice`` on, where the source is.

        One of its pixels is ``reduction`` data pixels wide; pixel 0 covers data pixels
        0..reduction-1.
        """
        factor, start = np.ones(len(self.axes)), np.zeros(len(self.axes))
        for axis, name in enumerate(self.axes):
            if name in "YX":
                factor[axis], start[axis] = reduction, (reduction - 1) / 2
            elif name == "Z":
                start[axis] = first_slice
            else:  # one result pixel spans all channels, so that it shows with each of them
                factor[axis], start[axis] = self.shape[axis], (self.shape[axis] - 1) / 2
        return {
            "scale": self.scale * factor,
            "translate": np.asarray(self._to_physical()(start)),
            "rotate": self.rotate,
            "shear": self.shear,
            "affine": self.affine,
            "units": self.units,
            "axis_labels": self.axis_labels,
        }

    def moved(self, translate: npt.ArrayLike, before: Geometry) -> npt.NDArray[np.float64]:
        """Turn the translation of a layer of results, from where the source lay before."""
        start = before._to_physical().inverse(np.asarray(translate, float))
        return np.asarray(self._to_physical()(start))

    @property
    def to_world(self) -> npt.NDArray[np.float64]:
        """Homogeneous matrix from data to world, (ndim + 1, ndim + 1)."""
        matrix: npt.NDArray[np.float64] = np.asarray(self._to_world().affine_matrix, float)
        return matrix

    def _to_physical(self) -> CompositeAffine:
        return CompositeAffine(
            scale=self.scale,
            translate=self.translate,
            rotate=self.rotate,
            shear=self.shear,
            ndim=len(self.axes),
        )

    def _to_world(self) -> Affine:
        return Affine(affine_matrix=self.affine).compose(self._to_physical())


def plane_index(axes: str, z: int) -> tuple[int | slice, ...]:
    """Index of the slice (Y, X) in an array with these axes and one channel."""
    return tuple(z if axis == "Z" else 0 if axis in "CQ" else slice(None) for axis in axes)


def find_axes(layer: Layer) -> str:
    """Name the axes of an image or labels layer, without the RGB axis.

    InputError if it has more axes than a stack, or there is no telling which is the channel.
    """
    shape = tuple(full_resolution(layer).shape[: layer.ndim])
    labels = [str(label).lower() for label in layer.axis_labels]
    if axes := _axes_of(shape, labels, is_rgb=getattr(layer, "rgb", False)):
        return axes
    raise InputError(
        f"The layer {layer.name!r} has the shape {shape}; a stack has the axes z, y, x and "
        f"at most one channel axis: {_REMEDY}.",
        field="image",
    )


def _axes_of(shape: tuple[int, ...], labels: Sequence[str], *, is_rgb: bool) -> str:
    """Name axes by their lengths and lower-case labels; nothing if there is no telling."""
    is_channel = [label in _CHANNEL_LABELS for label in labels]
    if len(shape) == 2:
        return "YX"
    if len(shape) == 3:
        return "CYX" if is_channel[0] and not is_rgb else "ZYX"
    if len(shape) == 4 and not is_rgb:
        if any(is_channel[:2]):
            return "CZYX" if is_channel[0] else "ZCYX"
        if 1 in shape[:2]:  # such as one time point, as conversions of single volumes have it
            return "CZYX" if shape[0] == 1 else "ZCYX"
        is_guess = not _TIME_LABELS.intersection(labels)  # beside time the other may be z
        if is_guess and min(shape[:2]) <= _MAX_CHANNELS and shape[0] != shape[1]:
            return "CZYX" if shape[0] < shape[1] else "ZCYX"
    if len(shape) == (4 if is_rgb else 5) and 1 in shape[:-2]:
        single = [axis for axis, length in enumerate(shape[:-2]) if length == 1]
        at = min(single, key=lambda axis: is_channel[axis])
        rest = (*shape[:at], *shape[at + 1 :]), [*labels[:at], *labels[at + 1 :]]
        axes = _axes_of(*rest, is_rgb=is_rgb)
        return axes and f"{axes[:at]}Q{axes[at:]}"
    return ""


def guessed_channels(layer: Layer, geometry: Geometry) -> str:
    """Say so if only the shape tells which axis is that of channels; nothing if not."""
    labels = [str(label).lower() for label in layer.axis_labels]
    n_channels = geometry.n_channels
    if n_channels == 1 or _CHANNEL_LABELS.intersection(labels):
        return ""
    return f"The {n_channels} channels are guessed from the shape. If it is wrong, {_REMEDY}."


def full_resolution(layer: Layer) -> Any:
    """Return a layer's data, of a pyramid its largest level."""
    return layer.data[0] if getattr(layer, "multiscale", False) else layer.data


def voxel_size_um(geometry: Geometry) -> tuple[float | None, float | None, float | None]:
    """Voxel size (z, y, x) in micrometres; None where the layer's unit is no length.

    It is that of the world, as napari's scale bar shows it: an affine transform may stretch pixels.
    """

    def size(name: str) -> float | None:
        if name not in geometry.axes or (name == "Z" and geometry.is_time_series):
            return None
        axis = geometry.axes.index(name)
        unit = geometry.units[axis]
        if not unit.is_compatible_with("micrometer"):
            return None
        return float((geometry.steps[axis] * unit).to("micrometer").magnitude)

    return size("Z"), size("Y"), size("X")
