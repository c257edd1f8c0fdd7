"""The current result: maps of the slices that were predicted, and labels made from them.

No Qt and no napari inside. Maps are kept as float16 (a probability is exact to .0005), in memory
or, when they are large, in a file, so that a threshold takes effect at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from ...core.annotations import Box, Classes, Proportion, Region
from ...core.base import (
    InputError,
    Record,
    check_room,
    fault_of,
    forget_pages,
    in_parts,
    scratch_zeros,
    write_into,
)
from ...core.images import IGNORE

MAX_MIN_PIECE_PX = 10_000_000


@dataclass(frozen=True)
class MapMaking:
    """How a model makes maps: as means over the four mirror images, and of neighbouring slices.

    With ``smooth_z`` None, of slices that are close.
    """

    flips: bool = False
    smooth_z: bool | None = None


@dataclass(frozen=True)
class Cleaning:
    """How maps become labels."""

    # two classes only; None is 0.5. More classes: the most probable one, whatever is given
    threshold: float | None = None
    fill_holes: bool = False  # whether background enclosed within a slice is filled
    min_piece_px: int = 0  # smaller objects of a slice become background

    @property
    def least(self) -> np.float16:
        """Least probability in half precision that makes a pixel the one class of two."""
        threshold = 0.5 if self.threshold is None else self.threshold
        half = np.float16(threshold)
        return half if half >= np.float64(threshold) else np.nextafter(half, np.float16(np.inf))

    def apply(self, probs: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
        """Turn maps (C, Y, X) into labels (Y, X)."""
        return self.clean(self.labels_of(probs))

    def labels_of(self, probs: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
        """Turn maps into labels that are not cleaned; rows of a slice may come apart."""
        from ...core.analysis import labels_from_probs

        return labels_from_probs(probs, self.threshold if len(probs) == 2 else None)

    def clean(self, labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Fill holes and drop small objects of a slice."""
        # late: scipy.ndimage takes a third of a second, which the dock's opening does not need
        from ...core.analysis import clean_labels

        return clean_labels(labels, fill_holes=self.fill_holes, min_piece_px=self.min_piece_px)

    def at_scale(self, reduction: int) -> Cleaning:
        """Return the same for maps that are reduced by an integer factor in both directions."""
        return replace(self, min_piece_px=-(-self.min_piece_px // reduction**2))


class ResultsForm(Record):
    """What was entered of maps and labels, as a project keeps it."""

    mode: Literal["half", "matched", "slider"] = "half"  # what says the threshold
    threshold: float = Field(default=0.5, ge=0, le=1)  # where the slider is, 0-1
    # as of `Cleaning`
    fill_holes: bool = False
    min_piece_px: int = Field(default=0, ge=0, le=MAX_MIN_PIECE_PX)
    flips: bool = False  # whether maps are averaged over mirror images
    smooth_z: bool = True  # whether they are averaged along z where slices are close

    @classmethod
    def restored(cls, values: object) -> Self:
        """Return the form of values that were kept in a file, which may be damaged.

        InputError if a value is not of its kind, or out of bounds.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise InputError(f"{fault_of(error)}.") from error


class ResultMaps:
    """Maps (Z, Y, X) of a stack, filled slice by slice or box by box.

    The background's map is the remainder and is not kept.
    """

    def __init__(self, classes: Classes, shape: tuple[int, int, int]) -> None:
        self.classes = classes
        self.shape = shape
        self.maps = [scratch_zeros(shape, np.float16) for _ in classes[1:]]
        self._boxes: dict[int, list[Box]] = {}
        self._histograms: dict[Region, npt.NDArray[np.int64]] = {}

    @property
    def slices(self) -> tuple[int, ...]:
        """Slices of which something was predicted, in order."""
        return tuple(sorted(self._boxes))

    @property
    def full_slices(self) -> tuple[int, ...]:
        """Slices that were predicted as a whole, in order."""
        return tuple(z for z in self.slices if self._whole in self._boxes[z])

    @property
    def is_complete(self) -> bool:
        """Whether every slice was predicted as a whole."""
        return len(self.full_slices) == self.shape[0]

    def store_rows(
        self, region: Region, rows: tuple[int, int], probs: npt.NDArray[np.floating]
    ) -> None:
        """Put some rows of a region's maps (C, rows, x) into memory.

        May be called in another thread; they count only once `mark` says so.
        """
        from ...core.prediction import as_floats  # late: needs torch

        _, x0, _, x1 = region.box or self._whole
        check_room(self.maps[0], 2 * probs[1:].size)
        for target, values in zip(self.maps, probs[1:], strict=True):
            kept = target[region.slice, rows[0] : rows[1], x0:x1]
            write_into(kept, as_floats(values, np.float16))

    def mark(self, z: int, box: Box | None = None) -> None:
        """Count what was stored of a slice as predicted."""
        for region in [region for region in self._histograms if region.slice == z]:
            del self._histograms[region]
        boxes = self._boxes.setdefault(z, [])
        if box is None or box == self._whole:
            self._boxes[z] = [self._whole]
        elif box not in boxes and self._whole not in boxes:
            boxes.append(box)

    @property
    def _whole(self) -> Box:
        return (0, 0, self.shape[1], self.shape[2])

    def probs(self, z: int, rows: slice = slice(None)) -> npt.NDArray[np.float32]:
        """Return the maps (C, Y, X) of a slice; background 1 where nothing was predicted."""
        from ...core.prediction import as_floats

        foreground = as_floats(np.stack([m[z, rows] for m in self.maps]))
        rest = np.clip(1.0 - foreground.sum(axis=0, keepdims=True), 0.0, 1.0)
        return np.concatenate([rest, foreground])

    def labels(self, z: int, cleaning: Cleaning) -> npt.NDArray[np.uint8]:
        """Return the labels (Y, X) of a slice; background where nothing was predicted."""
        labels = scratch_zeros(self.shape[1:], np.uint8)
        check_room(labels, labels.size)
        for rows in self.rows():
            if len(self.maps) == 1:
                # the bits of halves are in order too, and compared in a twentieth of the time
                bits, least = self.maps[0][z, rows].view(np.int16), cleaning.least.view(np.int16)
                np.greater_equal(bits, least, out=labels[rows].view(np.bool_))
            else:
                labels[rows] = cleaning.labels_of(self.probs(z, rows))
            for one in (*self.maps, labels):
                forget_pages(one)
        labels = cleaning.clean(labels)
        if z not in self.full_slices:
            labels[~self.is_predicted(z)] = 0
        return labels

    def rows(self) -> Iterator[slice]:
        """Rows of a slice that are worked on at a time, so that a large one is not held as floats.

        From top to bottom.
        """
        from ...core.images import strips

        for top, _, bottom, _ in strips((self.shape[1], self.shape[2])):
            yield slice(top, bottom)

    def is_predicted(self, z: int, rows: slice = slice(None)) -> npt.NDArray[np.bool_]:
        """Return the mask (Y, X) of the pixels that were predicted."""
        first, stop, _ = rows.indices(self.shape[1])
        mask = np.zeros((stop - first, self.shape[2]), bool)
        for y0, x0, y1, x1 in self._boxes.get(z, ()):
            mask[max(0, y0 - first) : max(0, y1 - first), x0:x1] = True
        return mask

    def marked(
        self, z: int, labels: npt.NDArray[np.uint8], rows: slice = slice(None)
    ) -> npt.NDArray[np.uint8]:
        """Return labels of a slice with 255 where nothing was predicted, nor painted.

        InputError if a value stands for no class.
        """
        strays = labels[(labels >= len(self.classes)) & (labels != IGNORE)]
        if strays.size:
            raise InputError(
                f"The labels hold the value {strays[0]} on slice {z}, which stands for no class; "
                "paint it over."
            )
        if z in self.full_slices:
            return labels
        return np.where(~self.is_predicted(z, rows) & (labels == 0), np.uint8(IGNORE), labels)

    def counts(
        self, z: int, labels: npt.NDArray[np.uint8], box: Box | None = None
    ) -> npt.NDArray[np.int64]:
        """Return how many predicted pixels of a slice or box each class has; that outside, 0."""
        y0, x0, y1, x1 = box or self._whole
        labels = labels[y0:y1, x0:x1]
        if z not in self.full_slices:
            labels = labels[self.is_predicted(z)[y0:y1, x0:x1]]
        counts = np.zeros(len(self.classes), np.int64)
        for (part,) in in_parts(labels):
            counts += [np.count_nonzero(part == k) for k in range(len(self.classes))]
        if self.classes.outside_index is not None:
            counts[self.classes.outside_index] = 0
        return counts

    def matched_threshold(self, stated: tuple[Proportion, ...]) -> float | None:
        """Find the threshold at which the stated regions together hold the stated share of class 1.

        One threshold for all of them: a slice's own fraction is too rough to be forced on it.
        None with more than two classes, or if no stated region was predicted yet.
        """
        if len(self.classes) != 2:
            return None
        from ...core.analysis import matched_threshold

        counts, n_stated, n_pixels = None, 0.0, 0
        for proportion in stated:
            fraction = stated_fraction(proportion)
            histogram = None if fraction is None else self._histogram(proportion.region)
            if fraction is None or histogram is None:
                continue
            counts = histogram if counts is None else counts + histogram
            n_stated += fraction * int(histogram.sum())
            n_pixels += int(histogram.sum())
        if counts is None or n_pixels == 0:
            return None
        return matched_threshold(counts, min(1.0, n_stated / n_pixels))

    def _histogram(self, region: Region) -> npt.NDArray[np.int64] | None:
        """Histogram of class 1 in a region; None if it was not predicted as a whole."""
        if region in self._histograms:
            return self._histograms[region]
        from ...core.analysis import MapHistogram

        z, (y0, x0, y1, x1) = region.slice, region.box or self._whole
        if z >= self.shape[0] or not self.is_predicted(z)[y0:y1, x0:x1].all():
            return None
        histogram = MapHistogram()
        histogram.add(self.maps[0][z, y0:y1, x0:x1])
        self._histograms[region] = histogram.counts
        return histogram.counts


def stated_fraction(proportion: Proportion) -> float | None:
    """Fraction of class 1 of two that a proportion states, by either of its numbers."""
    background, foreground = proportion.fractions[:2]
    if foreground is not None:
        return foreground
    return None if background is None else 1.0 - background
