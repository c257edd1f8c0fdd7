"""The lazy `Stack`: slices that are read when, and as far as, they are asked for."""

from __future__ import annotations

import hashlib
import math
import operator
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import psutil  # type: ignore[import-untyped]

from ..base import (
    UNKNOWN_VOXEL,
    InputError,
    VoxelSize,
    counted,
    doubt_of_size,
    length_text,
    merge_voxel_size,
)
from .axes import AxisPlan, guess_axes, resolve_axes
from .raw import Pixels

Box: TypeAlias = tuple[int, int, int, int]
"""Half-open pixel box (y0, x0, y1, x1)."""

_MAX_CHANNELS = 16
_UNNAMED = frozenset("QI")  # axes of a TIFF file that says no more of them than their length
_SAME_SCALE = 1.05  # sizes of a pixel in one volume, which may be calibrated slice by slice
_MAX_SLICES = 2**18
_CACHE_BYTES = 2**28
_SAMPLED_SLICES = 16
_SAMPLE_PX = 32
_LARGE_BYTES = 2**28


class ArrayLike(Protocol):
    """The part of NumPy, dask and zarr arrays that a stack uses."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent of each axis."""

    @property
    def dtype(self) -> Any:
        """Data type of an element."""

    def __getitem__(self, index: Any, /) -> Any: ...


@dataclass(frozen=True)
class ImageData:
    """Pixels and what is known of them; what a reader gives.

    Parameters
    ----------
    array : array
        Read as far as it is indexed, by an integer or a slice for each axis. If it stands for a
        file, it raises `InputError` where that is damaged.
    axes : str, optional
        A letter per axis, see `stack_from_array`; by default they follow from the shape.
    voxel_size_um : tuple
        (z, y, x) in micrometres; None where unknown.
    has_sure_axes : bool
        Whether nobody can know the axes better, as those of a PNG.
    decodes_whole_slices : bool
        Whether reading a part decodes the whole slice, so that keeping it pays.
    notes : tuple of str
        What the user should know, such as that a header was not as the standard has it.
    source : str
        Name of the image in messages; by default that of the stack.
    is_labels : bool
        Whether the file says that its values are ids or classes, not grey values.
    axes_notes : tuple of str
        What the user should know of the axes that the file states, if no others are stated.
    gaps : tuple of str
        What is missing in the file; in masks that means that nothing is there.
    """

    array: ArrayLike
    axes: str | None = None
    voxel_size_um: VoxelSize = UNKNOWN_VOXEL
    has_sure_axes: bool = False
    decodes_whole_slices: bool = False
    notes: tuple[str, ...] = ()
    source: str = ""
    is_labels: bool = False
    axes_notes: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Image:
    """An image whose axes and type have been checked."""

    array: ArrayLike
    plan: AxisPlan
    dtype: np.dtype[Any]
    voxel_size_um: VoxelSize
    is_decoded_whole: bool

    @property
    def shape(self) -> tuple[int, int]:
        return self.plan.height, self.plan.width


class Stack:
    """Slices of an image stack, or the images of an image set, that are read on demand.

    Parameters
    ----------
    images : sequence of ImageData
        One with all slices, or, if ``names`` are given, one a slice.
    source : str
        Path, or "array".
    names : sequence of str, optional
        Of single images.
    is_set : bool, optional
        Whether single images may differ in size; by default, whether they do, or their pixels.
    axes : str, optional
        Axes of each image, instead of those that it states; of single images also what they follow
        along, T if they are time points.
    voxel_size_um : sequence of 3 floats or None, optional
        (z, y, x) in micrometres; goes before what the images state. Where z is stated, what a
        file calls time points are slices.
    strict : bool
        Whether single images must agree in type and number of channels, and slices be wider than a
        few pixels unless their axes are named. If not, `read` gives each in its own, and ``dtype``
        and ``n_channels`` are those of the richest.

    Attributes
    ----------
    n_slices : int
        Number of slices, at least 1.
    n_channels : int
        Number of channels: 1 for grey images, 3 for RGB.
    dtype : numpy.dtype
        Type that `read` gives, in native byte order.
    is_set : bool
        Whether this is an image set, whose slices may differ in size.
    is_series : bool
        Whether each slice is an image of its own, such as a file of a folder.
    is_time_series : bool
        Whether the slices are time points, as the file or ``axes`` says.
    names : tuple of str
        Per slice the file's name, or its index as text.
    source : str
        Path, or "array".
    channel_axis_is_rgb : bool
        Whether the channels are red, green and blue.
    voxel_size_um : tuple
        (z, y, x) in micrometres; None = unknown, or not the same in all slices.
    notes : tuple of str
        What the user should know of the file.
    file_notes : tuple of str
        Those of them that hold whatever its axes and the size of its pixels are.
    is_labels : bool
        Whether a file says that its values are ids or classes, not grey values.

    Raises
    ------
    InputError
        If there is no image, axes and shape do not agree, an array is empty or holds no real
        numbers, there are more slices than any image has, a single image has several, or images do
        not agree.
    """

    def __init__(
        self,
        images: Sequence[ImageData],
        *,
        source: str,
        names: Sequence[str] | None = None,
        is_set: bool | None = None,
        axes: str | None = None,
        voxel_size_um: Sequence[float | None] | None = None,
        strict: bool = True,
    ) -> None:
        if not images:
            raise InputError(f"{source} holds no images; give at least one.")
        if names is not None and len(names) != len(images):
            raise InputError(f"{len(names)} names for {len(images)} images; give one per image.")
        self._opened = partial(
            Stack, images, source=source, names=names, is_set=is_set, axes=axes, strict=strict
        )
        self._stated_um = merge_voxel_size(voxel_size_um, UNKNOWN_VOXEL)
        self.is_series = names is not None
        said = axes and axes.upper()
        if said and self.is_series:  # the slice axis is the series itself
            axes = said.replace("Z", "").replace("T", "")
        self._images = [
            _checked(one, one.source or source, axes, voxel_size_um, strict) for one in images
        ]
        first = self._images[0]
        self.n_slices = len(images) if self.is_series else first.plan.n_slices
        if self.n_slices > _MAX_SLICES:
            raise InputError(
                f"{source} has {self.n_slices} slices, more than {_MAX_SLICES}; if they lie along "
                "another axis, name the axes as stored, such as axes YXZ; else save a part of it.",
                field="axes",
            )
        self.names = tuple(str(z) for z in range(self.n_slices)) if names is None else tuple(names)
        sizes = {image.voxel_size_um[1:] for image in self._images}
        is_stated = axes is None and self._stated_um[0] is not None
        of_file = "T" not in (said or "") if self.is_series else first.plan.has_depth
        has_depth = of_file or is_stated
        z_um = first.voxel_size_um[0] if has_depth else None
        self.is_set = False
        if names is not None:
            _check_single(self._images, names, source)
            if strict:
                _check_agreement(self._images, names, source)
            self.is_set = _are_separate(self._images) if is_set is None else is_set
        self.is_time_series = not has_depth and self.n_slices > 1 and not self.is_set
        y_um, x_um = sizes.pop() if len(sizes) == 1 else (None, None)
        self.voxel_size_um: VoxelSize = (None if self.is_set else z_um, y_um, x_um)
        self.n_channels = max(image.plan.n_channels for image in self._images)
        self.dtype: np.dtype[Any] = np.result_type(*{image.dtype for image in self._images})
        self.source = source
        self.channel_axis_is_rgb = all(image.plan.is_rgb for image in self._images)
        self.is_labels = any(image.is_labels for image in images)
        told = [(*image.notes, *(image.gaps if strict else ())) for image in images]
        self.file_notes = tuple(dict.fromkeys(note for notes in told for note in notes))
        of_axes = [image.axes_notes for image in images if axes is None]
        notes = dict.fromkeys((*self.file_notes, *(note for one in of_axes for note in one)))
        doubt = doubt_of_size(edge for image in images for edge in image.voxel_size_um)
        if doubt and self._stated_um == UNKNOWN_VOXEL and not self.is_labels:
            notes[f"{source} {doubt}; state it if it is another one (voxel size)."] = None
        if self.is_set:
            notes |= dict.fromkeys(_notes_of_shape(self._images, self.names))
        self.notes = tuple(notes)
        if axes is None and not self.is_labels and _is_narrow(first.plan):
            self.notes += (
                f"{source} has {self.n_slices} slices of {first.plan.height} x {first.plan.width} "
                "pixels; if slices lie along its last axis, save it with that axis first.",
            )
        self._cache = _SliceCache()
        self._identity = ""

    def __repr__(self) -> str:
        sizes = {image.shape for image in self._images}
        size = "{} x {}".format(*sizes.pop()) if len(sizes) == 1 else "various sizes"
        slices = f"{counted(self.n_slices, 'slice')} of {size}"
        channels = counted(self.n_channels, "channel")
        return f"<Stack {self.source}: {slices}, {channels}, {self.dtype}>"

    def close(self) -> None:
        """Forget decoded slices; files are open only while they are read."""
        self._cache.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_volume(self) -> bool:
        """Whether the slices are neighbours in space, through which objects may reach."""
        return self.n_slices > 1 and not self.is_set and not self.is_time_series

    def with_voxel_size(self, voxel_size_um: Sequence[float | None] | None) -> Stack:
        """Return the same images as if they were opened with this (z, y, x) in micrometres."""
        stack = self._opened(voxel_size_um=merge_voxel_size(voxel_size_um, self._stated_um))
        stack._identity = self._identity
        return stack

    def shape_of(self, z: int) -> tuple[int, int]:
        """(Y, X) of slice ``z`` in pixels."""
        return self._image(self._index(z)).shape

    def pixel_size_um(self, z: int) -> float | None:
        """In-plane edge of a pixel of slice ``z`` in micrometres, None if unknown.

        Of a pixel that is not square, that of a square of the same area.
        """
        edges = self._image(self._index(z)).voxel_size_um[1:]
        known = [edge for edge in edges if edge is not None]
        if len(set(known)) == 2:
            return math.sqrt(math.prod(known))
        return known[0] if known else None

    def box_of(self, z: int, box: Box | None = None) -> Box:
        """Return a box, or that of the whole slice; InputError unless it lies in slice ``z``."""
        height, width = self.shape_of(z)
        if box is None:
            return 0, 0, height, width
        y0, x0, y1, x1 = (operator.index(edge) for edge in box)
        if not (0 <= y0 < y1 <= height and 0 <= x0 < x1 <= width):
            raise InputError(
                f"box {(y0, x0, y1, x1)} is empty or outside slice {z} of {height} x {width} "
                "pixels; give half-open y0, x0, y1, x1 inside it."
            )
        return y0, x0, y1, x1

    def read(self, z: int, box: Box | None = None) -> Pixels:
        """Read a slice, or a box of it.

        Parameters
        ----------
        z : int
            Slice index, from 0.
        box : tuple of 4 ints, optional
            Half-open (y0, x0, y1, x1) inside the slice; only this part is read if the source
            allows it.

        Returns
        -------
        ndarray
            (C, Y, X) of ``dtype``; a copy that may be written to.

        Raises
        ------
        InputError
            If slice or box lie outside the stack, the file is damaged, or what has to be read
            does not fit into memory.
        """
        index = self._index(z)
        image, place = self._image(index), 0 if self.is_series else index
        y0, x0, y1, x1 = within = self.box_of(index, box)
        wanted = (0, 0, *image.shape) if image.is_decoded_whole else within
        n_px = (wanted[2] - wanted[0]) * (wanted[3] - wanted[1]) * image.plan.n_channels
        check_memory(n_px * image.dtype.itemsize, f"slice {index} of {self.source}")
        where = image.plan.index(place, wanted)
        try:
            if image.is_decoded_whole:
                pixels = self._cache.get(index, lambda: np.asarray(image.array[where]))
            else:
                pixels = np.asarray(image.array[where])
        except OSError as error:
            raise InputError(
                f"slice {index} of {self.source} cannot be read ({error}); see that its disk or "
                "server can be reached."
            ) from error
        expected = tuple(part.stop - part.start for part in where if isinstance(part, slice))
        if pixels.shape != expected:
            raise InputError(
                f"slice {index} of {self.source} has the shape {pixels.shape}, not {expected} as "
                "the stack says, such as where a folder of images of several sizes was opened as "
                "one; open these one by one."
            )
        pixels = image.plan.as_cyx(pixels)
        if image.is_decoded_whole:
            pixels = pixels[:, y0:y1, x0:x1]
        dtype = pixels.dtype.newbyteorder("=")
        return np.array(pixels, dtype=dtype, order="C", copy=True, subok=False)

    def identity(self) -> str:
        """Short hash of shapes, dtype and sampled pixels: the same wherever the files lie.

        It is worked out once, so that only the first call reads pixels.
        """
        if not self._identity:
            self._identity = self._hash()
        return self._identity

    def _hash(self) -> str:
        digest = hashlib.sha256(f"{self.n_channels} {self.dtype.str[1:]}".encode())
        for z in range(self.n_slices):
            digest.update(b"%d x %d;" % self._image(z).shape)
        sampled = np.linspace(0, self.n_slices - 1, min(self.n_slices, _SAMPLED_SLICES))
        for i, z in enumerate(sampled.round().astype(int).tolist()):
            height, width = self._image(z).shape
            for part in (i % 4, 2):  # the corners' inner neighbours in turn, and the middle
                y0, x0 = (max(0, (n - _SAMPLE_PX) * (part + 1) // 5) for n in (height, width))
                box = (y0, x0, min(height, y0 + _SAMPLE_PX), min(width, x0 + _SAMPLE_PX))
                pixels = self.read(z, box)
                digest.update(pixels.astype(pixels.dtype.newbyteorder("<"), copy=False).tobytes())
        return digest.hexdigest()[:16]

    def _image(self, index: int) -> _Image:
        return self._images[index if self.is_series else 0]

    def _index(self, z: int) -> int:
        index = operator.index(z)
        if not 0 <= index < self.n_slices:
            raise InputError(
                f"slice {index} is outside {self.source}, which has "
                f"{counted(self.n_slices, 'slice')}; choose 0 to {self.n_slices - 1}."
            )
        return index


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
        A letter per axis, such as "YX", "ZYX", "CYX", "YXC", "ZCYX" or "ZYXC", in any order; T
        of time points. S instead of C marks colour samples: the alpha sample of RGBA is left out.
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
    try:
        array = array if hasattr(array, "dtype") else np.asarray(array)
    except ValueError as error:
        raise InputError(
            f"{source} holds rows or slices of several lengths; make them alike, or open files of "
            "them by open_stack."
        ) from error
    if isinstance(array, np.ma.MaskedArray):
        raise InputError(
            f"{source} is a masked array; fill it first by array.filled(VALUE): with a grey value, "
            "or with 255 in masks, where it means unknown."
        )
    return Stack([ImageData(array)], source=source, axes=axes, voxel_size_um=voxel_size_um)


def check_stack(stack: object) -> None:
    """Refuse what is no stack, such as an array, or holds labels where an image is meant.

    Raises
    ------
    InputError
        If it is none, or a file of labels.
    """
    if not isinstance(stack, Stack):
        raise InputError(
            f"the stack is a {type(stack).__name__}; make one by open_stack(path), or by "
            "stack_from_array(array)."
        )
    if stack.is_labels:
        raise InputError(
            f"{stack.source} says that it holds labels, not grey values; name the image itself."
        )


def _checked(
    image: ImageData,
    source: str,
    axes: str | None,
    voxel_size_um: Sequence[float | None] | None,
    strict: bool,
) -> _Image:
    """Work out what an image's axes mean, and refuse what is no real number."""
    shape, dtype = image.array.shape, _check_dtype(image.array.dtype, source)
    is_stated = axes is not None and not image.has_sure_axes
    letters = (axes if is_stated else image.axes) or guess_axes(shape, dtype, source=source)
    plan = resolve_axes(letters, shape, source=source)
    if not is_stated and plan.n_slices == 1 and plan.n_channels > _MAX_CHANNELS:
        raise InputError(
            f"{source} says that it has {plan.n_channels} channels and one slice; if these are "
            f"slices, give axes {letters.upper().replace('C', 'Z')}, or swap them in Fiji (Image > "
            f"Hyperstacks > Re-order Hyperstack); else give axes {letters.upper()}.",
            field="axes",
        )
    is_named = image.axes is not None and not set(image.axes) & _UNNAMED
    if strict and not is_stated and not is_named and _is_narrow(plan):
        raise InputError(
            f"{source} has {plan.n_slices} slices of {plan.height} x {plan.width} pixels; if "
            "slices or channels lie along its last axis, give axes YXZ or YXC, or save it with "
            f"that axis first; else give axes {letters.upper()}.",
            field="axes",
        )
    size = merge_voxel_size(voxel_size_um, image.voxel_size_um)
    return _Image(image.array, plan, dtype, size, image.decodes_whole_slices)


def _is_narrow(plan: AxisPlan) -> bool:
    """Whether what is taken as the width is rather a number of slices or channels."""
    return plan.width <= _MAX_CHANNELS < min(plan.n_slices, plan.height) / 4


def _check_dtype(dtype: npt.DTypeLike, source: str) -> np.dtype[Any]:
    """Return the dtype in native byte order; InputError unless it holds bools or real numbers."""
    try:
        checked = np.dtype(dtype)
    except TypeError as error:
        raise InputError(
            f"{source} has elements of type {dtype!r}; give a NumPy, dask or zarr array of numbers."
        ) from error
    if checked.kind == "c":
        raise InputError(
            f"{source} holds complex numbers ({checked}); save their magnitude as a real image."
        )
    if checked.kind not in "buif":
        raise InputError(f"{source} holds {checked}, not numbers; save it as a grey or RGB image.")
    return checked.newbyteorder("=")


def _check_single(images: Sequence[_Image], names: Sequence[str], source: str) -> None:
    for image, name in zip(images, names, strict=True):
        if image.plan.n_slices != 1:
            raise InputError(
                f"{name} in {source} holds {image.plan.n_slices} slices; a folder must hold one "
                "2D image per file. Open this file itself, or move it elsewhere; predict, measure "
                "and estimate take each file of a folder by itself with --each."
            )


def _check_agreement(images: Sequence[_Image], names: Sequence[str], source: str) -> None:
    first = images[0]
    for image, before, name in zip(images[1:], names, names[1:], strict=False):
        for what, here, there in (
            ("type", first.dtype, image.dtype),
            ("number of channels", first.plan.n_channels, image.plan.n_channels),
        ):
            if here != there:
                raise InputError(
                    f"the images of {source} differ in {what}: {before} has {here}, {name} "
                    f"has {there}; convert them to one, or keep them in separate folders."
                )


def _notes_of_shape(images: Sequence[_Image], names: Sequence[str]) -> Iterator[str]:
    """Say of the first image of a set whose pixels are not square that they are taken for such."""
    for image, name in zip(images, names, strict=True):
        y_um, x_um = image.voxel_size_um[1:]
        if y_um and x_um and not math.isclose(y_um, x_um, rel_tol=0.01):
            yield (
                f"The pixels of {name} are not square ({length_text(y_um)} high, "
                f"{length_text(x_um)} wide). In a set of images they are taken for squares of the "
                "same area: areas are right, lengths and surfaces are not. Take such images one by "
                "one (--each)."
            )
            return


def _are_separate(images: Sequence[_Image]) -> bool:
    """Whether the sizes of images, or of their pixels, show that they are no slices of a volume."""
    edges = [edge for one in images if (edge := one.voxel_size_um[1]) is not None]
    is_one_scale = not edges or max(edges) <= _SAME_SCALE * min(edges)
    return len({one.shape for one in images}) > 1 or not is_one_scale


def check_memory(n_bytes: int, name: str) -> None:
    """Refuse to read what does not fit into memory, before anything is read."""
    if n_bytes < _LARGE_BYTES:
        return
    free: int = psutil.virtual_memory().available
    if n_bytes > free:
        raise InputError(
            f"{name} takes {n_bytes / 1e9:.1f} GB, but {free / 1e9:.1f} GB of memory are free; "
            "crop or reduce the image, or close other programs."
        )


class _SliceCache:
    """The most recently decoded slices, up to a number of bytes; at least one."""

    def __init__(self) -> None:
        self._slices: OrderedDict[int, Pixels] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, z: int, decode: Callable[[], Pixels]) -> Pixels:
        with self._lock:
            if z not in self._slices:
                self._slices[z] = decode()
                while len(self._slices) > 1 and self._n_bytes() > _CACHE_BYTES:
                    self._slices.popitem(last=False)
            self._slices.move_to_end(z)
            return self._slices[z]

    def clear(self) -> None:
        with self._lock:
            self._slices.clear()

    def _n_bytes(self) -> int:
        return sum(pixels.nbytes for pixels in self._slices.values())
