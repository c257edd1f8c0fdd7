"""One way to read class indices: lazy masks and plain arrays behind the same few methods."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from ..base import InputError

IGNORE = 255
"""Value of a pixel without a known class."""

_STRIP_PX = 2**21

Box: TypeAlias = tuple[int, int, int, int]


@runtime_checkable
class LabelSource(Protocol):
    """Slices of class indices; :class:`~napari_spss.core.images.Masks` is one."""

    @property
    def n_slices(self) -> int:
        """Number of slices."""

    def shape_of(self, z: int) -> tuple[int, int]:
        """Height and width of slice ``z``, in pixels."""

    def read(self, z: int, box: Box | None = None) -> npt.NDArray[np.uint8]:
        """Class indices (Y, X) of slice ``z`` or of a half-open box; 255 = ignore."""


class LiveLabels:
    """Labels that may change while a run reads them: another source each time, at times none."""

    def __init__(self, source: LabelSource | None = None) -> None:
        self._source = source
        self._is_read = source is not None

    def follow(self, source: LabelSource | None) -> None:
        """Read another source from now on; with None, no pixel is labelled."""
        self._is_read = source is not None
        self._source = source or self._source  # a thread may be reading: sizes stay known

    @property
    def n_slices(self) -> int:
        """Number of slices; 0 while nothing is labelled."""
        return self._source.n_slices if self._source is not None and self._is_read else 0

    def shape_of(self, z: int) -> tuple[int, int]:
        """Height and width of slice ``z``, in pixels."""
        return self._known().shape_of(z)

    def read(self, z: int, box: Box | None = None) -> npt.NDArray[np.uint8]:
        """Class indices (Y, X) of slice ``z`` or of a half-open box; 255 = ignore."""
        labels = self._known().read(z, box)
        return labels if self._is_read else np.full_like(labels, IGNORE)

    def _known(self) -> LabelSource:
        if self._source is None:
            raise InputError("nothing is labelled; label a slice before it is read.")
        return self._source


def strips(shape: tuple[int, int]) -> Iterator[Box]:
    """Boxes of whole rows that a slice of (Y, X) pixels may be read by, from top to bottom.

    Examples
    --------
    >>> list(strips((2048, 2048)))
    [(0, 0, 1024, 2048), (1024, 0, 2048, 2048)]
    """
    height, width = shape
    n_rows = max(1, _STRIP_PX // width)
    for y0 in range(0, height, n_rows):
        yield y0, 0, min(height, y0 + n_rows), width


LabelsLike: TypeAlias = LabelSource | npt.ArrayLike | Sequence[npt.ArrayLike]


class _ArrayLabels:
    """Class indices that are held, or opened lazily, as arrays."""

    def __init__(self, slices: list[Any] | Any) -> None:
        self._slices = slices  # one array of all: zarr has neither len() nor parts to cut later

    @property
    def n_slices(self) -> int:
        slices = self._slices
        return len(slices) if isinstance(slices, list) else int(slices.shape[0])

    def shape_of(self, z: int) -> tuple[int, int]:
        slices = self._slices
        height, width = slices[z].shape if isinstance(slices, list) else slices.shape[1:]
        return int(height), int(width)

    def read(self, z: int, box: Box | None = None) -> npt.NDArray[np.uint8]:
        y0, x0, y1, x1 = box or (0, 0, *self.shape_of(z))
        if isinstance(self._slices, list):
            plane = np.asarray(self._slices[z][y0:y1, x0:x1])
        else:
            plane = np.asarray(self._slices[z, y0:y1, x0:x1])
        if plane.size and (plane.min() < 0 or plane.max() > IGNORE):
            raise InputError(
                f"slice {z} holds class index {plane.min() if plane.min() < 0 else plane.max()}; "
                f"give indices 0-254, and 255 for pixels without a class."
            )
        return plane.astype(np.uint8, copy=False)


def as_label_source(labels: LabelsLike) -> LabelSource:
    """Give labels of any accepted kind the methods of :class:`LabelSource`.

    Parameters
    ----------
    labels : LabelSource, array or sequence of arrays
        Masks; class indices (Y, X) or (Z, Y, X), integer or bool (NumPy, dask, zarr,
        memory-mapped: read slice by slice); or (Y, X) arrays, sizes may differ. 255 = ignore.

    Raises
    ------
    InputError
        If an array is no integer array or has another number of axes, or an image stack is given;
        on reading, if a value is no class index.
    """
    if hasattr(labels, "n_channels"):
        raise InputError("an image stack holds no class indices; open it with open_masks.")
    if isinstance(labels, LabelSource):
        return labels
    if isinstance(labels, (list, tuple)):
        planes = [class_indices(plane, {2}) for plane in labels]
        return _ArrayLabels(planes)
    array = class_indices(labels, {2, 3})
    return _ArrayLabels([array] if array.ndim == 2 else array)


def class_indices(labels: Any, allowed: Collection[int]) -> Any:
    """Return labels as an array, which may be a lazy one, of as many axes as are allowed.

    Raises
    ------
    InputError
        If they have another number of axes, are no integers, or are masked.
    """
    array = labels if hasattr(labels, "dtype") else np.asarray(labels)
    if isinstance(array, np.ma.MaskedArray):
        raise InputError("labels are a masked array; fill it, such as with labels.filled(255).")
    if len(array.shape) not in allowed:
        raise InputError(
            f"labels of shape {tuple(array.shape)} cannot be read; give axes (Y, X) or (Z, Y, X)."
        )
    if np.dtype(array.dtype).kind not in "bui":
        raise InputError(
            f"labels of type {array.dtype} cannot be read; give whole-number class indices."
        )
    return array


def class_names(source: LabelSource) -> tuple[str, ...] | None:
    """Class names that come with the labels; None for a plain array."""
    spec = getattr(source, "classes", None)
    return None if spec is None else spec.names  # of our own labels with what is outside


def refuse_marks(
    source: LabelSource, counts: npt.NDArray[np.int64], n_unknown: int, *, what: str = "the labels"
) -> None:
    """Refuse an array of nothing but 0 and 255, where 255 is more likely to mark objects.

    Parameters
    ----------
    source : LabelSource
    counts : ndarray of int64, (C,)
        Pixels of each class.
    n_unknown : int
        Pixels of the value 255.
    what : str
        Their name in the message.

    Raises
    ------
    InputError
        If that is so.
    """
    if class_names(source) is None and n_unknown and counts[0] and not counts[1:].any():
        raise InputError(
            f"{what} hold{'s' * (what == 'the truth')} nothing but 0 and 255, and 255 means that a "
            "pixel has no known class; if it marks objects, give open_masks(array)."
        )


def reading_notes(source: LabelSource) -> tuple[str, ...]:
    """How labels and their values were read, where that is not plain; nothing for an array."""
    return tuple(getattr(source, "notes", ()))


def default_names(n_classes: int) -> tuple[str, ...]:
    """Names for classes that were given none.

    Examples
    --------
    >>> default_names(3)
    ('background', 'class_1', 'class_2')
    """
    return ("background", *(f"class_{index}" for index in range(1, n_classes)))
