"""What training learns from: annotated slices at working scale and their bags.

A *bag* is a region with its stated fractions.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..annotations import Annotations, Proportion, Region
from ..base import InputError, LabelSettings, TrainingSettings
from ..images import IGNORE, WorkingScale, resample_points, resample_slice, streamed_greys
from .bias_correction import correct_bias

if TYPE_CHECKING:
    from ..images import GreyRange, LabelSource, Stack

_UNLABELLED = -1
# a painted slice counts as a mask, not as strokes, from this share of labelled pixels on
_DENSE_SHARE = 0.5
# a node that was looked at again is wrong so many times as often as others
_ERROR_AGAIN = 0.25
# of a slice with more working pixels only those parts are held of which something is said, unless
# they make up a large share of it
_LARGE_PX = 2**24
_MOST_SHOWN = 0.5

Box = tuple[int, int, int, int]
Disc = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]


@dataclass(frozen=True)
class Bag:
    """A region in working pixels with its fractions.

    ``fractions``, ``low`` and ``high`` are float32 (C,), NaN where unknown; unknown fractions
    with a stated interval hold the interval's middle.
    """

    box: Box
    fractions: npt.NDArray[np.float32]
    low: npt.NDArray[np.float32]
    high: npt.NDArray[np.float32]

    @property
    def area(self) -> int:
        """Number of working pixels."""
        y0, x0, y1, x1 = self.box
        return (y1 - y0) * (x1 - x0)


@dataclass(frozen=True)
class LabelScale:
    """Fixed weights of labels, decided when the first ones are read and kept ever after.

    Adding a label never changes the weight of another one, in the same batch or elsewhere. The
    normaliser is the sum of label weights that one labelled slice carried on average when it was
    decided; 0 as long as there were no labels but full masks.
    """

    normaliser: float
    keypoint_weights: tuple[float, ...]  # of one keypoint of each class, in grid nodes

    def with_keypoints(self, factor: float) -> LabelScale:
        """Keypoints that weigh ``factor`` times as much; the scale itself stays what it was."""
        weights = tuple(weight * factor for weight in self.keypoint_weights)
        return replace(self, keypoint_weights=weights)


@dataclass
class SliceSamples:
    """One annotated slice at working scale, or a part of a large one.

    Parameters
    ----------
    slice : int
        0-based index.
    image : ndarray
        (channels, y, x) float32, normalised.
    target : ndarray
        (y, x) int16, class index or -1 where unlabelled.
    weight : ndarray
        (y, x) float32, weight of the label at each pixel, in grid nodes.
    error : ndarray
        (y, x) float32, probability that the label at each pixel is wrong.
    bags : tuple of Bag
        Regions with fractions, the largest first.
    is_mask : bool
        Whether ``target`` is a full mask (weights are then 1).
    mask_digest : str
        Tells that mask from others, whatever points are painted over it.
    is_calibrated : bool
        Whether the labels are a fair sample of the slice: a finished count or a mask.
    nodes : dict of Region to ndarray, (N,)
        Flat indices of the pixels that the nodes of each finished grid label.
    keypoints : dict of int to tuple
        Row and column in working pixels of the slice, and class, of the keypoints that lie here, by
        their places among all.
    part : tuple of int, optional
        Half-open box of the slice, in working pixels, if this is not all of it; rows and columns of
        all others are those of the part.
    """

    slice: int
    image: npt.NDArray[np.float32]
    target: npt.NDArray[np.int16]
    weight: npt.NDArray[np.float32]
    error: npt.NDArray[np.float32]
    bags: tuple[Bag, ...] = ()
    is_mask: bool = False
    mask_digest: str = ""
    is_calibrated: bool = False
    nodes: dict[Region, npt.NDArray[np.int64]] = field(default_factory=dict)
    keypoints: dict[int, tuple[float, float, int]] = field(default_factory=dict)
    part: Box | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(y, x) in working pixels."""
        return self.image.shape[1], self.image.shape[2]

    @property
    def origin(self) -> tuple[int, int]:
        """First row and column in the slice."""
        return (0, 0) if self.part is None else self.part[:2]

    @property
    def name(self) -> str:
        """What tells it from others: its slice, and of a part where it begins."""
        return f"{self.slice}" + (f":{self.part[0]},{self.part[1]}" if self.part else "")

    @property
    def has_labels(self) -> bool:
        """Whether any pixel is labelled."""
        return bool((self.target >= 0).any())


class SampleReader:
    """Reads what is said about slices at working scale, one slice after the other.

    Parameters
    ----------
    stack, annotations, masks
        What to learn from; mask value 255 is unlabelled.
    settings : TrainingSettings
        Radii and weights of labels, normalisation.
    working_scale : WorkingScale
        How far each image is reduced.
    scale : LabelScale, optional
        That of an earlier run, which this one goes on.
    images : dict, optional
        Working-scale slices, and parts of such, that were read before; those read are added.
    greys : dict, optional
        Grey values of large slices, by which their parts are normalised; as ``images``.

    Attributes
    ----------
    slices : tuple of int
        To be read, in order: those that are annotated, or may be masked.

    Raises
    ------
    InputError
        If annotations cannot be true of the stack.
    """

    def __init__(
        self,
        stack: Stack,
        annotations: Annotations,
        settings: TrainingSettings,
        *,
        working_scale: WorkingScale,
        masks: LabelSource | None = None,
        scale: LabelScale | None = None,
        images: dict[Region, npt.NDArray[np.float32]] | None = None,
        greys: dict[int, GreyRange] | None = None,
    ) -> None:
        annotations.validate_against(stack)
        self.annotations = annotations
        self.images = {} if images is None else images
        self._greys = {} if greys is None else greys
        self._stack = stack
        self._settings = settings
        self._working_scale = working_scale
        self._masks = masks
        # what was decided without labels is decided anew
        self._scale = scale if scale is not None and scale.normaliser > 0 else None
        self._keypoint_weights = (
            _keypoint_weights(annotations, settings.labels)
            if self._scale is None
            else self._scale.keypoint_weights
        )
        self._n_masks = 0 if masks is None else masks.n_slices
        self._annotated = set(annotations.slices())
        self._bags = self.bags()
        self.slices = tuple(sorted({*self._annotated, *range(self._n_masks)}))

    def with_annotations(self, annotations: Annotations, scale: LabelScale) -> SampleReader:
        """Return a reader of other annotations, which knows the slices that were read."""
        return SampleReader(
            self._stack,
            annotations,
            self._settings,
            working_scale=self._working_scale,
            masks=self._masks,
            scale=scale,
            images=self.images,
            greys=self._greys,
        )

    def read(self, z: int) -> Iterator[SliceSamples]:
        """Read slice ``z`` and paint its labels; nothing if nothing is said about it.

        Of a large slice of which nothing is said but in a few places, these are read, each with as
        much around it as a window may show.

        Raises
        ------
        InputError
            If its mask does not fit.
        """
        labels = None if self._masks is None or z >= self._n_masks else self._masks.read(z)
        is_masked = labels is not None and bool((labels != IGNORE).any())
        if not is_masked and z not in self._annotated:
            return
        reduction = self._working_scale.of_slice(self._stack, z)
        height, width = self._stack.shape_of(z)
        shape = -(-height // reduction), -(-width // reduction)
        for part in [None] if is_masked else self._parts(z, shape, reduction):
            image = self._image(z, reduction, part)
            sample = SliceSamples(
                slice=z,
                image=image,
                target=np.full(image.shape[1:], _UNLABELLED, np.int16),
                weight=np.zeros(image.shape[1:], np.float32),
                error=np.zeros(image.shape[1:], np.float32),
                part=part,
            )
            sample.bags = bags_of(sample, self._bags)
            weights = self._keypoint_weights
            if labels is not None and is_masked:
                _check_mask(labels, z, self._stack.shape_of(z), len(weights))
                _paint_mask(sample, labels, reduction, len(weights), max(weights))
            radius_px = self._settings.radius_of_keypoints_px(self._stack.pixel_size_um(z))
            _paint_points(
                sample, self.annotations, self._settings.labels, reduction, weights, radius_px
            )
            if sample.bags or sample.has_labels:
                yield sample

    def _parts(self, z: int, shape: tuple[int, int], reduction: int) -> Sequence[Box | None]:
        """Parts of a slice that are held, or all of it."""
        if math.prod(shape) <= _LARGE_PX:
            return [None]
        said = [bag.box for bag in self._bags.get(z, ())]
        radii_px = (
            self._settings.labels.node_radius_working_px,
            self._settings.radius_of_keypoints_px(self._stack.pixel_size_um(z)) / reduction,
        )
        said += _label_boxes(self.annotations, z, shape, reduction, *radii_px)
        crop = self._settings.sampling.crop_px
        parts = _joined([_with_room(box, crop, shape) for box in said])
        n_shown = sum((y1 - y0) * (x1 - x0) for y0, x0, y1, x1 in parts)
        return parts if n_shown <= _MOST_SHOWN * math.prod(shape) else [None]

    def _image(self, z: int, reduction: int, part: Box | None) -> npt.NDArray[np.float32]:
        place, mode = Region(z, part), self._settings.image.normalisation
        if part is not None and z not in self._greys:
            self._greys[z], _ = streamed_greys(self._stack, z, reduction, mode)
        if place not in self.images:
            greys = None if part is None else self._greys[z]
            self.images[place] = resample_slice(
                self._stack, z, reduction, mode, box=part, greys=greys
            )
        return self.images[place]

    def label_scale(self, samples: Sequence[SliceSamples]) -> LabelScale:
        """Weights of labels: those that were given, unless they were decided without labels.

        Raises
        ------
        InputError
            If neither annotations nor masks say anything.
        """
        if self.annotations.is_empty and not any(sample.has_labels for sample in samples):
            raise InputError(
                "nothing is annotated; state a fraction, count a grid, or set keypoints first."
            )
        return self._scale or LabelScale(_mean_label_weight(samples), self._keypoint_weights)

    def bags(
        self, posterior: Mapping[Region, npt.NDArray[np.float64]] | None = None
    ) -> dict[int, tuple[Bag, ...]]:
        """Regions with fractions of every slice, the largest first.

        A label posterior has the nodes per class, (C,), of counted regions, instead of those that
        were judged.
        """
        posterior = posterior or {}
        bags: dict[int, list[Bag]] = {}
        counted: set[tuple[int, Box]] = set()
        is_corrected = self._settings.loss.bias_correction
        better = correct_bias(self.annotations, posterior).fractions if is_corrected else {}
        for proportion in self.annotations.effective_proportions():
            region = proportion.region
            height, width = self._stack.shape_of(region.slice)
            reduction = self._working_scale.of_slice(self._stack, region.slice)
            y0, x0, y1, x1 = region.box if region.box is not None else (0, 0, height, width)
            top, bottom = _working_span(y0, y1, height, reduction)
            left, right = _working_span(x0, x1, width, reduction)
            counts = posterior.get(region) if proportion.source == "grid" else None
            fractions, low, high = _fractions(proportion, counts, self.annotations.outside_index)
            if region in better:
                fractions = better[region].astype(np.float32)
            bag = Bag((top, left, bottom, right), fractions, low, high)
            if proportion.source == "grid":
                counted.add((region.slice, bag.box))
            elif (region.slice, bag.box) in counted:
                continue  # typed of what a frame as large as its slice counts
            bags.setdefault(region.slice, []).append(bag)
        # what is said of a part counts for more than what is said of the whole
        return {z: tuple(sorted(found, key=lambda bag: -bag.area)) for z, found in bags.items()}


def bags_of(sample: SliceSamples, bags: Mapping[int, Sequence[Bag]]) -> tuple[Bag, ...]:
    """Regions with fractions that a sample shows, among those of all slices."""
    found = bags.get(sample.slice, ())
    if sample.part is None:
        return tuple(found)
    top, left, bottom, right = sample.part
    return tuple(
        replace(bag, box=(y0 - top, x0 - left, y1 - top, x1 - left))
        for bag in found
        for y0, x0, y1, x1 in [bag.box]
        if top <= y0 and left <= x0 and y1 <= bottom and x1 <= right
    )


def _label_boxes(
    annotations: Annotations,
    z: int,
    shape: tuple[int, int],
    reduction: int,
    node_radius: float,
    keypoint_radius: float,
) -> list[Box]:
    """Boxes of what is labelled of a slice: frames as a whole, nodes and keypoints one by one."""
    boxes = []
    for grid in annotations.grids:
        judged = grid.class_index >= 0
        if grid.slice == z and judged.any():
            of_nodes = [
                _box_around(_disc(shape, y, x, node_radius, reduction))
                for y, x in zip(grid.y[judged], grid.x[judged], strict=True)
            ]
            boxes += of_nodes if grid.box is None else [_union(of_nodes)]
    points = [point for point in annotations.keypoints if point.slice == z]
    boxes += [_box_around(_disc(shape, one.y, one.x, keypoint_radius, reduction)) for one in points]
    return boxes


def _box_around(pixels: Disc) -> Box:
    rows, columns = pixels
    return int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1


def _with_room(box: Box, size: int, shape: tuple[int, int]) -> Box:
    """A box with all windows that show all of it, or lie in it if it is larger."""
    y0, x0, y1, x1 = box
    return (
        max(0, min(y0, y1 - size)),
        max(0, min(x0, x1 - size)),
        min(shape[0], max(y1, y0 + size)),
        min(shape[1], max(x1, x0 + size)),
    )


def _joined(boxes: Sequence[Box]) -> list[Box]:
    """Boxes around those that overlap, so that none does."""
    joined: list[Box] = []
    for box in boxes:
        near = [one for one in joined if _overlap(one, box)]
        while near:
            joined = [one for one in joined if one not in near]
            box = _union([box, *near])
            near = [one for one in joined if _overlap(one, box)]
        joined.append(box)
    return sorted(joined)


def _union(boxes: Sequence[Box]) -> Box:
    y0, x0, y1, x1 = zip(*boxes, strict=True)
    return min(y0), min(x0), max(y1), max(x1)


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _check_mask(
    labels: npt.NDArray[np.uint8], z: int, shape: tuple[int, int], n_classes: int
) -> None:
    if labels.shape != shape:
        raise InputError(
            f"mask {z} is {labels.shape[0]} x {labels.shape[1]} pixels (y, x), its slice "
            f"{shape[0]} x {shape[1]}; give masks of the same size as the image."
        )
    beyond = labels[(labels >= n_classes) & (labels != IGNORE)]
    if beyond.size:
        raise InputError(
            f"mask {z} holds class index {beyond.max()}, but there are {n_classes} classes "
            f"(0 to {n_classes - 1}); name all classes, or use {IGNORE} for what is unlabelled."
        )


def _working_span(start: int, stop: int, size: int, reduction: int) -> tuple[int, int]:
    """Edges rounded to whole working pixels, alike, so that neighbours share them; never empty."""
    n_working = -(-size // reduction)
    first = min(math.floor(start / reduction + 0.5), n_working - 1)
    last = n_working if stop >= size else math.floor(stop / reduction + 0.5)
    return first, max(first + 1, min(last, n_working))


def _fractions(
    proportion: Proportion, counts: npt.NDArray[np.float64] | None, outside: int | None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Fraction, low and high per class, NaN where unknown."""
    values = [np.nan if f is None else f for f in proportion.effective_fractions()]
    bounds = [
        (value, value) if bound is None else bound
        for value, bound in zip(values, proportion.bounds(), strict=True)
    ]
    if counts is not None:
        counting = np.where(np.arange(len(counts)) == outside, 0.0, counts)
        values = list(counting / counting.sum()) if counting.any() else values
    if proportion.source == "grid":
        # no hit on a grid is no proof of absence
        values = [high / 4 if v == 0 else v for v, (_, high) in zip(values, bounds, strict=True)]
        total = math.fsum(values)
        values = [value / total for value in values]
    low, high = np.array(bounds, np.float32).T
    return np.array(values, np.float32), low, high


def _keypoint_weights(annotations: Annotations, labels: LabelSettings) -> tuple[float, ...]:
    """Beside grids every keypoint weighs the same; alone, the classes weigh the same."""
    n_classes = len(annotations.classes)
    counts = np.bincount([p.class_index for p in annotations.keypoints], minlength=n_classes)
    if any(grid.n_judged for grid in annotations.grids) or not counts.any():
        return (labels.keypoint_weight,) * n_classes
    present = counts > 0
    share = counts.sum() / present.sum() / np.maximum(counts, 1)
    weights = np.where(present, share, 1.0) * labels.keypoint_weight
    return tuple(float(weight) for weight in weights)


def _paint_mask(
    sample: SliceSamples,
    labels: npt.NDArray[np.uint8],
    reduction: int,
    n_classes: int,
    stroke_weight: float,
) -> None:
    is_known = (labels != IGNORE).astype(np.float32)
    known = _block_sum(is_known, reduction)
    shares = np.stack([_block_sum(labels == c, reduction) for c in range(n_classes)])
    target = np.where(known > 0, shares.argmax(0), _UNLABELLED)
    sample.target[...] = target
    if is_known.mean() >= _DENSE_SHARE:
        sample.is_mask = sample.is_calibrated = True
        sample.mask_digest = hashlib.blake2b(sample.target.tobytes(), digest_size=16).hexdigest()
        sample.weight[...] = target >= 0
        return
    # a painted stroke counts like one keypoint, however long it is
    for c in range(n_classes):
        strokes, n_strokes = ndimage.label(target == c, structure=np.ones((3, 3)))
        sizes = np.bincount(strokes.ravel(), minlength=n_strokes + 1)
        share = stroke_weight / np.maximum(sizes, 1)
        sample.weight[...] += np.where(strokes > 0, share[strokes], 0)


def _block_sum(values: npt.NDArray[np.generic], k: int) -> npt.NDArray[np.float32]:
    rows = np.add.reduceat(values.astype(np.float32), np.arange(0, values.shape[0], k), axis=0)
    sums: npt.NDArray[np.float32] = np.add.reduceat(rows, np.arange(0, values.shape[1], k), axis=1)
    return sums


def _paint_points(
    sample: SliceSamples,
    annotations: Annotations,
    labels: LabelSettings,
    reduction: int,
    keypoint_weights: Sequence[float],
    keypoint_radius_px: float,
) -> None:
    """Grid nodes first, keypoints over them: a click is a correction."""
    for grid in annotations.grids:
        if grid.slice != sample.slice:
            continue
        is_here = (grid.class_index >= 0) & _is_in(sample, grid.y, grid.x, reduction)
        discs = [
            _disc_in(sample, y, x, labels.node_radius_working_px, reduction)
            for y, x in zip(grid.y[is_here], grid.x[is_here], strict=True)
        ]
        errors = labels.node_error * np.where(grid.looks[is_here] > 0, _ERROR_AGAIN, 1.0)
        for disc, c, error in zip(discs, grid.class_index[is_here], errors, strict=True):
            _paint(sample, disc, int(c), 1.0, float(error))
        if grid.is_done and discs:
            sample.is_calibrated = True
            places = [np.ravel_multi_index(disc, sample.shape) for disc in discs]
            sample.nodes[grid.region] = np.unique(np.concatenate(places))
    radius = keypoint_radius_px / reduction
    for place, point in enumerate(annotations.keypoints):
        if point.slice == sample.slice and _is_in(sample, point.y, point.x, reduction):
            disc = _disc_in(sample, point.y, point.x, radius, reduction)
            _paint(sample, disc, point.class_index, keypoint_weights[point.class_index], 0.0)
            y, x = resample_points(point.pixel, reduction).tolist()
            sample.keypoints[place] = (y, x, point.class_index)


def _is_in(
    sample: SliceSamples, y: npt.ArrayLike, x: npt.ArrayLike, reduction: int
) -> npt.NDArray[np.bool_]:
    """Whether the working pixels of points lie in a sample."""
    y, x = np.asarray(y), np.asarray(x)
    if sample.part is None:
        return np.ones(y.shape, bool)
    top, left, bottom, right = sample.part
    row, column = (np.floor(one + 0.5) // reduction for one in (y, x))
    return (row >= top) & (row < bottom) & (column >= left) & (column < right)


def _disc_in(sample: SliceSamples, y: float, x: float, radius: float, reduction: int) -> Disc:
    """Pixels of a sample within ``radius`` of a point of its slice."""
    if sample.part is None:
        return _disc(sample.shape, y, x, radius, reduction)
    top, left, bottom, right = sample.part
    rows, columns = _disc((bottom, right), y, x, radius, reduction)
    return rows - top, columns - left


def _disc(shape: tuple[int, int], y: float, x: float, radius: float, reduction: int) -> Disc:
    """Rows and columns of the working pixels within ``radius`` of a point, and of its own one."""
    height, width = shape
    yw, xw = resample_points((y, x), reduction)
    cy, cx = (math.floor(at + 0.5) // reduction for at in (y, x))
    y0, y1 = max(0, int(np.floor(yw - radius))), min(height, int(np.ceil(yw + radius)) + 1)
    x0, x1 = max(0, int(np.floor(xw - radius))), min(width, int(np.ceil(xw + radius)) + 1)
    rows, columns = np.mgrid[y0:y1, x0:x1]
    inside = (rows - yw) ** 2 + (columns - xw) ** 2 <= radius**2 + 1e-9
    inside |= (rows == cy) & (columns == cx)
    return rows[inside], columns[inside]


def _paint(
    sample: SliceSamples, pixels: Disc, class_index: int, weight: float, error: float
) -> None:
    """Label pixels, which together carry ``weight``."""
    sample.target[pixels] = class_index
    sample.weight[pixels] = weight / pixels[0].size
    sample.error[pixels] = error


def _mean_label_weight(samples: Sequence[SliceSamples]) -> float:
    """Mean sum of label weights a slice: of grids if there are any, else of all labelled; or 0."""
    totals = [float(s.weight.sum()) for s in samples if s.is_calibrated and not s.is_mask]
    if not totals:
        totals = [float(s.weight.sum()) for s in samples if s.has_labels and not s.is_mask]
    return float(np.mean(totals)) if totals else 0.0
