"""What a run draws from: windows of annotated slices, what is held out of them, and batches.

Every draw depends on the seed and the step alone, so a resumed run draws what an uninterrupted
one would have drawn.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch

from ..annotations import Classes
from ..base import InputError, TrainingSettings
from .places import Places
from .samples import Bag, Box, LabelScale, SliceSamples

T = TypeVar("T")

# a slice of up to 32 windows is shown whole to the teacher after this many steps, one of a window
# sooner
_MAP_STEPS, _SMALL_MAP_STEPS = 50, 10
_MAP_WINDOWS = 32
# windows of which such maps are made a step, however many slices there are
_MOST_MAPPED = 64 / 50


@dataclass(frozen=True)
class TrainingData:
    """Annotations of a run as its steps see them."""

    samples: tuple[SliceSamples, ...]  # annotated slices
    label_scale: LabelScale  # fixed weights of labels
    sampler: Sampler  # draws what is not held out
    held_out: tuple[Window, ...]  # windows that decide when to stop; none of them is drawn
    classes: Classes  # background first

    @classmethod
    def of(
        cls,
        samples: Sequence[SliceSamples],
        label_scale: LabelScale,
        settings: TrainingSettings,
        classes: Classes,
        *,
        held_out_slices: Collection[int] | None = None,
    ) -> TrainingData:
        """Decide what is drawn and what is held out: a random part, or some slices.

        Raises
        ------
        InputError
            If all slices are held out.
        """
        sampling = settings.sampling
        fraction = settings.optimisation.validation_fraction
        rng = np.random.default_rng([settings.seed, 5])
        windows, shape = make_windows(samples, sampling.crop_px)
        if sampling.crop_mode == "tile" and held_out_slices is None:
            among: list[int] | None = None
            drawn, held_out = _split(windows, fraction, rng)
        else:
            if held_out_slices is None:
                among, aside = _split(range(len(samples)), fraction, rng)
            else:
                among, aside = _split_slices(samples, held_out_slices)
            drawn = [window for window in windows if window.sample in among]
            held_out = [window for window in windows if window.sample in aside]
        if sampling.crop_mode == "random":
            shape = window_shape(samples, sampling.crop_px)
        sampler = Sampler(
            samples,
            drawn if sampling.crop_mode == "tile" else None,
            among=among,
            shape=shape,
            batch_size=sampling.batch_size,
            seed=settings.seed,
            label_visits=sampling.label_visits,
            classes=classes,
        )
        return cls(tuple(samples), label_scale, sampler, tuple(held_out), classes)

    @cached_property
    def grey_values(self) -> tuple[float, float]:
        """Mean and deviation of the images, averaged over slices and channels."""
        images = [sample.image for sample in self.samples]
        return (
            float(np.mean([image.mean(dtype=np.float64) for image in images])),
            float(np.mean([image.std(axis=(1, 2), dtype=np.float64).mean() for image in images])),
        )

    def digest(self) -> str:
        """Tell these labels and fractions from others by a few letters."""
        digest = hashlib.blake2b(digest_size=16)
        for sample in self.samples:
            parts = [np.array(sample.slice), sample.target, sample.weight, sample.error]
            parts += [np.array(sample.part)] if sample.part else []
            for bag in sample.bags:
                parts += [np.array(bag.box), bag.fractions, bag.low, bag.high]
            for part in parts:
                digest.update(part.tobytes())
        return digest.hexdigest()

    def has_labels_of(self, class_index: int) -> bool:
        """Whether any pixel is labelled with this class."""
        return any(bool((sample.target == class_index).any()) for sample in self.samples)

    def held_out_batches(self, size: int) -> Iterator[Batch]:
        """Cut what is held out into batches of up to ``size`` windows."""
        for start in range(0, len(self.held_out), size):
            yield cut(self.samples, self.held_out[start : start + size], self.sampler.shape)

    def stated_fractions(self) -> tuple[float, ...] | None:
        """Mean stated fraction of every class, weighted by area; None if some class has none.

        That of the class outside is 0, and its pixels in masks do not count.
        """
        n_classes, outside = len(self.classes), self.classes.outside_index
        totals = np.zeros(n_classes)
        areas = np.zeros(n_classes)
        for sample in self.samples:
            for bag in sample.bags:
                known = ~np.isnan(bag.fractions)
                totals[known] += bag.area * bag.fractions[known]
                areas[known] += bag.area
            if sample.is_mask:
                counts = np.bincount(sample.target[sample.target >= 0], minlength=n_classes)
                if outside is not None:
                    counts[outside] = 0
                totals += counts
                areas += counts.sum()
        if not (areas > 0).all():
            return None
        means = totals / areas
        return tuple(float(mean) for mean in means / means.sum())

    def expected_shares(self) -> tuple[float, ...] | None:
        """Share of every class in the image before anything is learned, for the first output.

        How much is outside nobody states: it is expected to take up its share of the nodes of
        finished grids and of masks, or an equal share where there are none, and the others the
        rest in their stated fractions.
        """
        fractions, outside = self.stated_fractions(), self.classes.outside_index
        if fractions is None or outside is None:
            return fractions
        share = self._share_of(outside) or 1 / len(fractions)
        return tuple(
            share if index == outside else fraction * (1 - share)
            for index, fraction in enumerate(fractions)
        )

    def _share_of(self, class_index: int) -> float:
        """Share of a class in masks and at nodes of finished grids; 0 if it is in none of them."""
        found = total = 0.0
        for sample in self.samples:
            places = np.concatenate([np.empty(0, np.int64), *sample.nodes.values()])
            if sample.is_mask:
                places = np.flatnonzero(sample.target >= 0)
            weights = np.ones(len(places)) if sample.is_mask else sample.weight.flat[places]
            found += float(weights[sample.target.flat[places] == class_index].sum())
            total += float(weights.sum())
        return found / total if total else 0.0


def _split(
    items: Sequence[T], fraction: float, rng: np.random.Generator
) -> tuple[list[T], list[T]]:
    """Hold out a random part, never all."""
    n_held_out = min(round(len(items) * fraction), len(items) - 1)
    held_out = set(rng.permutation(len(items))[:n_held_out].tolist())
    return (
        [item for i, item in enumerate(items) if i not in held_out],
        [item for i, item in enumerate(items) if i in held_out],
    )


def _split_slices(
    samples: Sequence[SliceSamples], held_out: Collection[int]
) -> tuple[list[int], list[int]]:
    """Indices of the samples to draw from, and of those on slices that are held out."""
    aside = [i for i, sample in enumerate(samples) if sample.slice in held_out]
    among = [i for i, sample in enumerate(samples) if sample.slice not in held_out]
    if not among:
        raise InputError(
            "all annotated slices are held out, so there is nothing to train on; hold out fewer.",
            field="held_out_slices",
        )
    return among, aside


@dataclass(frozen=True)
class Window:
    """The part of a slice that one sample shows, in working pixels."""

    sample: int
    y0: int
    x0: int
    bags: tuple[Bag, ...] = field(default=(), compare=False)


def make_windows(
    samples: Sequence[SliceSamples], crop_px: int
) -> tuple[list[Window], tuple[int, int]]:
    """Cut slices into fixed crops, as the paper does.

    Regions not larger than a crop become a window of their own; larger ones are tiled, and every
    tile inherits their fractions: what is stated of the region is all that is known of the tile.
    Labels outside these windows get windows without a bag.

    Returns
    -------
    windows : list of Window
        In order of slices; each has at most one bag.
    shape : (int, int)
        Common shape of all windows.
    """
    windows: list[Window] = []
    for index, sample in enumerate(samples):
        is_left = sample.target >= 0
        for bag in sample.bags:
            for y0, x0, y1, x1 in _tiles(bag.box, crop_px):
                # slivers at the far edge teach nothing about proportions
                is_sliver = (y1 - y0) * 2 < min(crop_px, bag.box[2] - bag.box[0]) or (
                    x1 - x0
                ) * 2 < min(crop_px, bag.box[3] - bag.box[1])
                if not is_sliver:
                    windows.append(Window(index, y0, x0, (replace(bag, box=(y0, x0, y1, x1)),)))
                    is_left[y0:y1, x0:x1] = False
        for y0, x0, y1, x1 in _tiles((0, 0, *sample.shape), crop_px):
            if is_left[y0:y1, x0:x1].any():
                windows.append(Window(index, y0, x0))
    boxes = [bag.box for window in windows for bag in window.bags]
    if len(boxes) == len(windows):
        return windows, (max(b[2] - b[0] for b in boxes), max(b[3] - b[1] for b in boxes))
    return windows, window_shape(samples, crop_px)


def window_shape(samples: Sequence[SliceSamples], crop_px: int) -> tuple[int, int]:
    """Shape of a window: a square crop, or less where no slice is as large."""
    height = max(sample.shape[0] for sample in samples)
    width = max(sample.shape[1] for sample in samples)
    return min(crop_px, height), min(crop_px, width)


def _tiles(box: Box, crop_px: int) -> Iterator[Box]:
    """Cut a box into crops from its first corner; the last ones may be smaller."""
    y0, x0, y1, x1 = box
    for top in range(y0, y1, crop_px):
        for left in range(x0, x1, crop_px):
            yield top, left, min(y1, top + crop_px), min(x1, left + crop_px)


@dataclass(frozen=True)
class Batch:
    """Windows as tensors on the CPU.

    ``images`` (B, C, H, W) float32; ``targets`` (B, H, W) int64, -1 unlabelled; ``weights``
    (B, H, W) float32; ``errors`` (B, H, W) float32, probability that a label is wrong;
    ``coverage`` (B, H, W) float32, 0 where a window reaches beyond its slice, or is not seen.
    """

    windows: tuple[Window, ...]
    samples: tuple[SliceSamples, ...]
    images: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    errors: torch.Tensor
    coverage: torch.Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the batch with its tensors on a device."""
        names = ("images", "targets", "weights", "errors", "coverage")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def seen(self, is_seen: torch.Tensor) -> Batch:
        """Return the batch without what is said of the pixels that ``is_seen`` (B, H, W) denies."""
        return replace(
            self,
            targets=torch.where(is_seen, self.targets, -1),
            coverage=self.coverage * is_seen,
        )


def map_steps(sample: SliceSamples, shape: tuple[int, int]) -> int:
    """Steps for which the teacher's map of a slice serves, with windows of a shape."""
    if sample.shape[0] <= shape[0] and sample.shape[1] <= shape[1]:
        return _SMALL_MAP_STEPS
    n_windows = math.prod(sample.shape) / math.prod(shape)
    return math.ceil(_MAP_STEPS * max(1, n_windows / _MAP_WINDOWS))


@dataclass(frozen=True)
class _Round:
    """Slices of one kind in a shuffled order without end, in which each comes as often as another.

    The teacher's map of a large slice takes as long as a step, and serves for all windows that are
    drawn of the slice meanwhile. So of many slices some are drawn from at a time, and now and then
    the next one takes the place of the one that came first: then a step takes as long with many
    slices as with few. Every second window then shows any slice with labels, for these alone,
    which need no map: or else some would come late or never.
    """

    slices: tuple[int, ...]  # indices of samples
    share: Fraction  # part of all windows that are of these slices
    n_together: int  # slices that are drawn from at a time
    n_turns: int  # windows until the next slice comes
    labelled: tuple[int, ...] = ()  # slices of which windows are shown for their labels alone

    @classmethod
    def of(
        cls,
        slices: Sequence[int],
        share: Fraction,
        samples: Sequence[SliceSamples],
        shape: tuple[int, int],
        batch_size: int,
    ) -> _Round:
        """Choose how many slices are drawn from at a time by the work that their maps are."""
        steps = [map_steps(samples[i], shape) for i in slices]
        work = sum(  # windows a step, if all had maps
            math.prod(samples[i].shape) / math.prod(shape) / n
            for i, n in zip(slices, steps, strict=True)
            if samples[i].bags
        )
        part = share * _MOST_MAPPED / work if work else 1.0
        # what is a whole number but for rounding is one, whichever way numbers are summed
        n_together = max(1, min(len(slices), int(part * len(slices) + 1e-9)))
        n_turns = share * batch_size * sum(steps) / len(steps) / n_together
        labelled = tuple(i for i in slices if samples[i].has_labels)
        if n_together == len(slices):
            labelled = ()
        elif labelled:
            n_turns /= 2
        return cls(tuple(slices), share, n_together, max(1, round(n_turns)), labelled)

    def turn_of(self, turn: int) -> tuple[int, tuple[int, ...], bool]:
        """Place in a shuffled order of some slices, and whether for more than their labels."""
        if self.labelled and turn % 2:
            return turn // 2, self.labelled, False
        if self.labelled:
            turn //= 2
        if self.n_together < len(self.slices):
            turn = turn // self.n_turns + turn % self.n_together
        return turn, self.slices, True


class Sampler:
    """Draws windows: every other one from calibrated slices, or more if most slices are.

    Slices with a counted grid or a mask carry the calibration, and a fair sample of what is hard
    and what is easy. Correction clicks in other slices must not make them rarer: in a prototype
    that lowered IoU from .76 to .70. So they keep their share of every batch: half, or their part
    of the slices if that is more, since no slice with nothing but a guess should be seen more often
    than a counted one.

    At first only slices with labels are drawn, if asked for: where they are large, a network would
    otherwise see each label a few times only in all its training, while the others, which state
    nothing but a fraction, take up half of its time.

    Parameters
    ----------
    samples : sequence of SliceSamples
        All annotated slices.
    windows : sequence of Window or None
        Fixed windows ("tile"); None: random ones.
    shape : (int, int)
        Shape of a window.
    batch_size, seed : int
        Windows a step; seed of all draws.
    label_visits : int
        How often labelled places are shown on average, before slices without labels are.
    among : sequence of int, optional
        Indices of the slices that random windows may show; all by default.
    classes : Classes, optional
        Of the labels; none of them lies outside of the specimen by default.
    """

    def __init__(
        self,
        samples: Sequence[SliceSamples],
        windows: Sequence[Window] | None,
        *,
        shape: tuple[int, int],
        batch_size: int,
        seed: int,
        label_visits: int = 0,
        among: Sequence[int] | None = None,
        classes: Classes | None = None,
    ) -> None:
        self.samples = tuple(samples)
        self.windows = None if windows is None else tuple(windows)
        self.shape = shape
        self._batch_size = batch_size
        self._seed = seed
        indices = list(range(len(samples))) if among is None else list(among)
        self._n_slices = len(indices)
        first = [i for i in indices if samples[i].is_calibrated]
        if not first:
            first = [i for i in indices if samples[i].has_labels]
        rest = [i for i in indices if i not in set(first)]
        labelled = [i for i in rest if samples[i].has_labels]
        self._rounds, self._labelled_rounds = (
            [
                _Round.of(group, share, samples, shape, batch_size)
                for group, share in zip(groups, _shares(groups), strict=True)
            ]
            for groups in ([one for one in (first, others) if one] for others in (rest, labelled))
        )
        self._places = (
            [Places.of(one, shape, classes) for one in samples] if windows is None else None
        )
        n_windows = sum(self._places[i].n_windows for i in first) if self._places else 0
        self._n_first = math.ceil(label_visits * n_windows / batch_size)

    @property
    def steps_per_epoch(self) -> int:
        """Steps that show every window, or slice, about once."""
        n = self._n_slices if self.windows is None else len(self.windows)
        return -(-n // self._batch_size)

    @property
    def n_labelled_slots(self) -> float:
        """Windows a batch, on average, that come from the group that carries the labels.

        What a warp moves out of a window, about a tenth, most of it near the window's edges, is
        not made up for.
        """
        return float(self._batch_size * self._rounds[0].share)

    def draw(self, step: int, *, has_labels_first: bool = False) -> Batch:
        """Windows of step ``step`` (0-based).

        With ``has_labels_first``, random windows show slices with labels only until those that
        carry the calibration were shown as often as the sampler was told.
        """
        rng = np.random.default_rng([self._seed, 1, step])
        if self.windows is not None:
            epoch, position = divmod(step, self.steps_per_epoch)
            order = np.random.default_rng([self._seed, 2, epoch]).permutation(len(self.windows))
            start = position * self._batch_size
            chosen = [self.windows[i] for i in order[start : start + self._batch_size]]
        else:
            rounds = self._rounds
            if has_labels_first and step < self._n_first:
                rounds = self._labelled_rounds or rounds
            first_turn = step * self._batch_size
            chosen = [
                self._random_window(rounds, first_turn + slot, rng)
                for slot in range(self._batch_size)
            ]
        return cut(self.samples, chosen, self.shape, self._places)

    def _random_window(
        self, rounds: Sequence[_Round], turn: int, rng: np.random.Generator
    ) -> Window:
        n_before = math.ceil(turn * rounds[0].share)  # windows of the first kind
        is_first = math.ceil((turn + 1) * rounds[0].share) > n_before
        which, turn = (0, n_before) if is_first else (1, turn - n_before)
        turn, slices, has_bags = rounds[which].turn_of(turn)
        cycle, position = divmod(turn, len(slices))
        order = np.random.default_rng([self._seed, 4, which, cycle]).permutation(len(slices))
        index = slices[order[position]]
        assert self._places is not None
        y0, x0 = self._places[index].draw(rng)
        return Window(index, y0, x0, self.samples[index].bags if has_bags else ())


def _shares(groups: Sequence[Sequence[int]]) -> list[Fraction]:
    """Shares of windows that show each of up to two groups, exact."""
    if len(groups) < 2:
        return [Fraction(1)] * len(groups)
    first = max(Fraction(1, 2), Fraction(len(groups[0]), sum(map(len, groups))))
    return [first, 1 - first]


def cut(
    samples: Sequence[SliceSamples],
    windows: Sequence[Window],
    shape: tuple[int, int],
    places: Sequence[Places] | None = None,
) -> Batch:
    """Cut windows out of slices; beyond the slice the image repeats its edge, uncovered.

    Weights of labels are divided by the chance of being shown: that of ``places``, or the part of
    the slice that a window takes up.
    """
    n = len(windows)
    images = np.empty((n, len(samples[windows[0].sample].image), *shape), np.float32)
    targets = np.full((n, *shape), -1, np.int64)
    weights, errors, coverage = (np.zeros((n, *shape), np.float32) for _ in range(3))
    for at, window in enumerate(windows):
        sample = samples[window.sample]
        rows = slice(window.y0, window.y0 + shape[0])
        columns = slice(window.x0, window.x0 + shape[1])
        image = sample.image[:, rows, columns]
        height, width = image.shape[1:]
        pad = ((0, 0), (0, shape[0] - height), (0, shape[1] - width))
        images[at] = image if image.shape[1:] == shape else np.pad(image, pad, mode="edge")
        targets[at, :height, :width] = sample.target[rows, columns]
        weights[at, :height, :width] = sample.weight[rows, columns]
        errors[at, :height, :width] = sample.error[rows, columns]
        coverage[at, :height, :width] = 1
        if sample.is_mask:
            continue
        y, x = np.divmod(np.flatnonzero(weights[at] > 0), shape[1])  # few of all pixels
        if places is None:
            weights[at, y, x] /= min(1.0, math.prod(shape) / math.prod(sample.shape))
        elif len(y):
            of_y, of_x = np.unique(y), np.unique(x)
            chances = places[window.sample].chances(of_y + window.y0, of_x + window.x0)
            weights[at, y, x] /= chances[np.searchsorted(of_y, y), np.searchsorted(of_x, x)]
    return Batch(
        windows=tuple(windows),
        samples=tuple(samples[window.sample] for window in windows),
        images=torch.from_numpy(images),
        targets=torch.from_numpy(targets),
        weights=torch.from_numpy(weights),
        errors=torch.from_numpy(errors),
        coverage=torch.from_numpy(coverage),
    )
