"""A row of numbers for each object, from what was collected strip by strip."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import ndimage

from ..annotations import Box
from ..base import InputError, Registry, counted
from ..images import LabelSource, Masks, Stack
from .components import DIRECTIONS, ComponentCollector, Components
from .densities import direction_weights
from .objects import split_object

Floats = npt.NDArray[np.float64]

_FLAT = 1e-3  # of the smallest edge: an axis below has no length
_ROUNDING = 1e-3  # of probabilities
_MAX_BOX = 2**25  # voxels; splitting takes about 60 bytes for each


class ObjectProperty(Protocol):
    """A number, or several, of an object; as ``extra_properties`` of skimage's ``regionprops``."""

    def __call__(
        self, mask: npt.NDArray[np.bool_], image: npt.NDArray[Any] = ..., /
    ) -> float | npt.ArrayLike:
        """Return it, from where the object is in its bounding box, and the image there."""
        ...


OBJECT_PROPERTIES: Registry[ObjectProperty] = Registry(
    "object property", group="napari_spss.object_properties", built_in={}, field="properties"
)
"""More columns of the table of objects, by name. Other packages add theirs by entry points of the
group ``napari_spss.object_properties``, as :func:`register_object_property` takes them."""


def register_object_property(name: str, function: ObjectProperty) -> None:
    """Add a column to the tables of objects that are made in this process.

    A package that offers columns names them as entry points of the group
    ``napari_spss.object_properties`` instead; then the command line and the dock know them too.

    Parameters
    ----------
    name : str
        Of the column.
    function : callable
        As one of the ``extra_properties`` of ``skimage.measure.regionprops_table``: called with
        the mask of an object in its bounding box, (Y, X) or (Z, Y, X) bool. If it takes a second
        argument, that is the image there, 0 beyond the object; without an image the column is
        blank. It returns a number, or several, which become columns ``name-0``, ``name-1`` ...

    Raises
    ------
    InputError
        If the name is empty.

    Examples
    --------
    >>> def extent(mask):
    ...     return mask.mean()
    >>> register_object_property("extent", extent)  # doctest: +SKIP
    """
    OBJECT_PROPERTIES.register(name, function)


@dataclass(frozen=True)
class PixelValues:
    """What each pixel has beside its class: a grey value, and the probability of each class."""

    image: Stack | None
    maps: Stack | None

    @property
    def names(self) -> tuple[str, ...]:
        """Columns of their means."""
        names = []
        if self.image is not None:
            n = self.image.n_channels
            names = ["mean_grey", *(f"mean_grey_{c}" for c in range(n if n > 1 else 0))]
        return (*names, *(["mean_probability"] if self.maps is not None else ()))

    def read(self, z: int, box: Box, index: int) -> npt.NDArray[np.float64]:
        """Values of the pixels of a box for class ``index``, (k, rows, columns)."""
        found = []
        if self.image is not None:
            channels = self.image.read(z, box)
            found = [channels.mean(axis=0), *(channels if len(channels) > 1 else ())]
        if self.maps is not None:
            n_maps = self.maps.n_channels
            if index >= max(n_maps, 2):
                raise InputError(
                    f"{self.maps.source} has {counted(n_maps, 'map')}, but the labels hold class "
                    f"{index}; give a map for each class.",
                    field="maps",
                )
            probs = self.maps.read(z, box)[index if n_maps > 1 else 0]
            probs = probs / (np.iinfo(probs.dtype).max if probs.dtype.kind == "u" else 1)
            low, high = probs.min(initial=0), probs.max(initial=0)
            if low < -_ROUNDING or high > 1 + _ROUNDING:
                raise InputError(
                    f"{self.maps.source} holds {high if high > 1 else low:g}, which is no "
                    "probability; give maps from 0 to 1, or of unsigned whole numbers up to their "
                    "type's largest.",
                    field="maps",
                )
            found.append(probs)
        shape = (0, box[2] - box[0], box[3] - box[1])
        return np.stack(found).astype(np.float64) if found else np.zeros(shape)


@dataclass(frozen=True)
class ClassReader:
    """Reads where one class is, or the ids of its objects, part by part."""

    source: LabelSource  # masks of instances give ids
    index: int  # the class
    pixels: PixelValues
    # (Z, Y, X), the ids, if objects are told apart already
    instances: npt.NDArray[np.integer] | None = None

    def mask(self, z: int, box: Box) -> npt.NDArray[Any]:
        """Where the class is, or the ids of its objects (rows, columns)."""
        if self.instances is not None:
            y0, x0, y1, x1 = box
            return self.instances[z, y0:y1, x0:x1]
        if isinstance(self.source, Masks) and self.source.has_instances:
            return self.source.read_ids(z, box)
        return np.equal(self.source.read(z, box), self.index)

    def values(self, z: int, box: Box) -> Floats:
        """Values of which the means are wanted (k, rows, columns)."""
        return self.pixels.read(z, box, self.index)

    def grey(self, z: int, box: Box) -> Floats | None:
        """The image (rows, columns); None if there is none."""
        image = self.pixels.image
        return None if image is None else np.asarray(image.read(z, box).mean(axis=0))


@dataclass(frozen=True)
class ObjectSizes:
    """What is known of sizes, and which objects are listed."""

    is_volume: bool  # whether objects reach through slices
    # (n, 3), edges (z, y, x) of a voxel of each slice in micrometres; nan where not known
    edges_um: Floats
    # (n,), pixels or voxels of the smallest object that is listed, by its first slice
    least: Floats
    split: float | None = None  # see `find_objects`

    @property
    def n_axes(self) -> int:
        """3 for volumes, 2 for areas."""
        return 3 if self.is_volume else 2

    @property
    def columns(self) -> tuple[str, str]:
        """Names of the columns of sizes in pixels, and in micrometres."""
        return ("voxels", "volume_um3") if self.is_volume else ("pixels", "area_um2")


def object_rows(
    found: Components,
    reader: ClassReader | None,
    sizes: ObjectSizes,
    name: str,
    value_names: tuple[str, ...] = (),
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Make the rows of a class, in the order of their first pixels, and say what was left out.

    Parameters
    ----------
    found : Components
        Its connected parts, or what carries one id.
    reader : ClassReader or None
        Of its pixels, to split objects and for properties of other packages; None if there are
        none.
    sizes : ObjectSizes
    name : str
        Of the class.
    value_names : tuple of str
        Of the columns of means.
    """
    functions, notes = _offered()
    faults: dict[str, list[str]] = {}
    found = found.take(found.n_voxels >= sizes.least[found.low[:, 0]])
    extra = pd.DataFrame(index=range(len(found.n_voxels)))
    if reader is not None and (functions or sizes.split is not None):
        found, extra, n_left = _look_closer(found, reader, sizes, functions, faults)
        if n_left:
            what = "not split" if sizes.split is not None else "without further properties"
            notes.append(
                f"{counted(n_left, 'object')} of {name} in a box of more than {_MAX_BOX} voxels: "
                f"{what}."
            )
    notes += [
        f"The object property {one!r} of an installed package failed on "
        f"{counted(len(said), 'object')} of {name}, where it is blank ({said[0]}); repair or "
        "update that package."
        for one, said in faults.items()
    ]
    is_large = found.n_voxels >= sizes.least[found.low[:, 0]]
    found, extra = found.take(is_large), extra[is_large].reset_index(drop=True)
    rows = pd.DataFrame(_columns(found, sizes, name, value_names))
    if taken := sorted({*rows.columns} & {*extra.columns, *functions}):
        raise InputError(
            f"the object property {taken[0]!r} of an installed package has the name of a column of "
            "ours; rename it there, or remove that package."
        )
    return pd.concat([rows, extra], axis=1), tuple(notes)


def _offered() -> tuple[dict[str, ObjectProperty], list[str]]:
    """What other packages offer, and which of it cannot be loaded."""
    functions, notes = {}, []
    for name in OBJECT_PROPERTIES.names():
        try:
            functions[name] = OBJECT_PROPERTIES.get(name)
        except InputError as error:
            notes.append(f"No column {name!r}: {error}")
    return functions, notes


def _look_closer(
    found: Components,
    reader: ClassReader,
    sizes: ObjectSizes,
    functions: dict[str, ObjectProperty],
    faults: dict[str, list[str]],
) -> tuple[Components, pd.DataFrame, int]:
    """Split objects and work out further properties, in the box of each; count those too large."""
    pieces: list[Components] = []
    rows: list[dict[str, Any]] = []
    n_left = 0
    for index in range(len(found.n_voxels)):
        one = found.take(np.array([index]))
        height, width = reader.source.shape_of(int(one.low[0, 0]))
        (z0, *low), (z1, *high) = one.low[0].tolist(), one.high[0].tolist()
        margin = int(sizes.is_volume and sizes.split is not None)
        z0, z1 = max(0, z0 - margin), min(reader.source.n_slices, z1 + margin)
        y0, x0 = (max(0, corner - 1) for corner in low)
        y1, x1 = min(height, high[0] + 1), min(width, high[1] + 1)
        if (z1 - z0) * (y1 - y0) * (x1 - x0) > _MAX_BOX:
            n_left += 1
            pieces.append(one)
            rows.append({})
            continue
        box = (y0, x0, y1, x1)
        is_object = np.stack([reader.mask(z, box) for z in range(z0, z1)])
        if one.ids[0]:
            is_object = is_object == one.ids[0]
        else:
            numbers, _ = ndimage.label(is_object)
            is_object = numbers == numbers[tuple((one.first[0] - (z0, y0, x0)).tolist())]
        parts, n_parts = is_object.astype(np.int32), 1
        if sizes.split is not None:
            edges = sizes.edges_um[z0, -sizes.n_axes :].tolist()
            parts = split_object(is_object if sizes.is_volume else is_object[0], sizes.split, edges)
            parts = parts.reshape(is_object.shape)
            n_parts = int(parts.max())
        if n_parts > 1:
            collector = ComponentCollector(
                is_volume=sizes.is_volume, has_ids=True, n_values=one.means.shape[1]
            )
            for z, plane in enumerate(parts, start=z0):
                if plane.any():
                    values = reader.values(z, box)
                    collector.add(
                        z, plane, values=values, origin=(y0, x0), shape=reader.source.shape_of(z)
                    )
            one = collector.finish(reader.source.n_slices)
            one = replace(one, ids=np.zeros_like(one.ids))
        pieces.append(one)
        grey = [reader.grey(z, box) for z in range(z0, z1)] if functions else []
        for part, where in enumerate(ndimage.find_objects(parts), start=1):
            rows.append(_properties(functions, parts, part, where, grey, sizes.is_volume, faults))
    if not pieces:
        return found, pd.DataFrame(index=range(0)), 0
    joined = Components.join(pieces)
    order = np.lexsort(joined.first.T[::-1])
    return joined.take(order), pd.DataFrame(rows, index=range(len(rows))).iloc[order], n_left


def _properties(
    functions: dict[str, ObjectProperty],
    parts: npt.NDArray[np.int32],
    part: int,
    where: Any,
    grey: list[Floats | None],
    is_volume: bool,
    faults: dict[str, list[str]],
) -> dict[str, Any]:
    """Work out what other packages offer, of one object; ``faults`` takes what they fail with."""
    if not functions:
        return {}
    mask = parts[where] == part
    planes = [one for one in grey if one is not None]
    image = np.where(mask, np.stack(planes)[where], 0) if planes else None
    if not is_volume:
        mask, image = mask[0], None if image is None else image[0]
    row: dict[str, Any] = {}
    for name, function in functions.items():
        try:
            needs_image = len(inspect.signature(function).parameters) > 1
            if needs_image and image is None:
                row[name] = math.nan
                continue
            value = np.asarray(
                function(mask, image) if image is not None and needs_image else function(mask)
            )
        except Exception as error:  # noqa: BLE001  code of others: all else is measured
            faults.setdefault(name, []).append(f"{type(error).__name__}: {error}")
            row[name] = math.nan
            continue
        flat = value.reshape(-1).tolist()
        row |= (
            {name: flat[0]} if value.ndim == 0 else {f"{name}-{i}": v for i, v in enumerate(flat)}
        )
    return row


def _columns(
    found: Components, sizes: ObjectSizes, name: str, value_names: tuple[str, ...]
) -> dict[str, Any]:
    n_axes = sizes.n_axes
    edges = sizes.edges_um[found.low[:, 0], -n_axes:]
    physical = found.n_voxels * edges.prod(axis=1)
    both = np.stack([found.n_voxels, physical])
    diameters = np.cbrt(6 * both / math.pi) if n_axes == 3 else np.sqrt(4 * both / math.pi)
    size_name, physical_name = sizes.columns
    boundary, power = ("surface", "2") if n_axes == 3 else ("perimeter", "")
    axes = (
        ("axis_major", "axis_middle", "axis_minor") if n_axes == 3 else ("axis_major", "axis_minor")
    )
    lengths = [_axis_lengths(found, scale) for scale in (np.ones_like(edges), edges)]
    known = np.where(np.isfinite(lengths[1]), lengths[1], lengths[0])
    columns: dict[str, Any] = {
        "class": np.full(len(physical), name, dtype=object),
        size_name: found.n_voxels,
        physical_name: physical,
        "equivalent_diameter_px": diameters[0],
        "equivalent_diameter_um": diameters[1],
        f"{boundary}_px{power}": _boundary(found, np.ones_like(edges)),
        f"{boundary}_um{power}": _boundary(found, edges),
    }
    for index, axis in enumerate(axes):
        columns |= {
            f"{axis}_{unit}": values[:, index]
            for unit, values in zip(("px", "um"), lengths, strict=True)
        }
    columns["elongation"] = known[:, 0] / known[:, -1]
    columns |= {one: found.means[:, index] for index, one in enumerate(value_names)}
    for suffix, corners in (("0", found.low), ("1", found.high)):
        columns |= {letter + suffix: corners[:, axis] for axis, letter in enumerate("zyx")}
    columns |= {letter: found.centroid[:, axis] for axis, letter in enumerate("zyx")}
    columns["slices"] = found.high[:, 0] - found.low[:, 0]
    columns["touches_border"] = found.is_cut
    columns["is_counted"] = (found.low[:, 3 - n_axes :] > 0).all(axis=1)
    if found.ids.any():
        columns["id"] = found.ids
    return columns


def _axis_lengths(found: Components, edges: Floats) -> Floats:
    """Axes of the ellipse or ellipsoid with the same moments, longest first (N, axes).

    Across one voxel they are not known.
    """
    n_axes = edges.shape[1]
    scaled = found.covariance[:, -n_axes:, -n_axes:] * edges[:, :, None] * edges[:, None]
    lengths = np.full(edges.shape, math.nan)
    is_known = np.isfinite(edges).all(axis=1)
    variances = np.linalg.eigvalsh(scaled[is_known])[:, ::-1]
    lengths[is_known] = 2 * np.sqrt((n_axes + 2) * np.clip(variances, 0, None))
    lengths[lengths < _FLAT * edges.min(axis=1, keepdims=True)] = math.nan
    return lengths


def _boundary(found: Components, edges: Floats) -> Floats:
    """Perimeter or surface of each object, by Crofton's formula (N,).

    Along lines through the pixels in 4 directions, or through the voxels in 13, changes between an
    object and what is around it are counted; each direction weighs by the part of all directions
    that is closest to it. Of an object that is cut by an edge of the image the cut counts, too.
    """
    n_axes = edges.shape[1]
    steps = DIRECTIONS[: 13 if n_axes == 3 else 4, -n_axes:]
    sizes = np.full(len(edges), math.nan)
    changes = 2 * (found.n_voxels[:, None] - found.pairs[:, : len(steps)])
    unique, group = np.unique(edges, axis=0, return_inverse=True)
    for index, edge in enumerate(unique):
        if np.isfinite(edge).all():
            vectors = steps * edge
            spacing = edge.prod() / np.linalg.norm(vectors, axis=1)  # of the lines
            of_class = group.reshape(-1) == index
            factor = 2.0 if n_axes == 3 else math.pi / 2
            sizes[of_class] = changes[of_class] @ (factor * direction_weights(vectors) * spacing)
    return sizes
