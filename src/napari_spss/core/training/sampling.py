"""Which windows a training step sees, and how they are cut.

Every draw depends on the seed and the step alone, so a resumed run draws what an uninterrupted
one would have drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch

from .bags import Bag, SliceSamples
from .windows import Window

__all__ = ["Batch", "Sampler", "cut"]

_TRIES = 8  # to find a window with the specimen in it


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
    outside : int, optional
        Class of what lies outside of the specimen. Where labels say what does not, a part of the
        random windows shows some of it: batches of nothing but resin teach little, and their
        statistics, by which a network normalises, are unlike those of the specimen.
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
        outside: int | None = None,
    ) -> None:
        self.samples = tuple(samples)
        self.windows = None if windows is None else tuple(windows)
        self.shape = shape
        self._batch_size = batch_size
        self._seed = seed
        self._outside = outside
        indices = list(range(len(samples))) if among is None else list(among)
        self._n_slices = len(indices)
        first = [i for i in indices if samples[i].is_calibrated]
        if not first:
            first = [i for i in indices if samples[i].has_labels]
        rest = [i for i in indices if i not in set(first)]
        self._groups = [group for group in (first, rest) if group]
        labelled = [i for i in rest if samples[i].has_labels]
        self._labelled_groups = [group for group in (first, labelled) if group]
        areas = (samples[i].shape[0] * samples[i].shape[1] for i in first)
        n_windows = sum(max(1.0, area / (shape[0] * shape[1])) for area in areas)
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
        return float(self._batch_size * _share_of_first(self._groups))

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
            groups = self._groups
            if has_labels_first and step < self._n_first:
                groups = self._labelled_groups or groups
            first_turn = step * self._batch_size
            chosen = [
                self._random_window(groups, first_turn + slot, rng)
                for slot in range(self._batch_size)
            ]
        return cut(self.samples, chosen, self.shape)

    def _random_window(
        self, groups: Sequence[Sequence[int]], turn: int, rng: np.random.Generator
    ) -> Window:
        share = _share_of_first(groups)
        n_before = math.ceil(turn * share)  # windows of the first group
        is_first = math.ceil((turn + 1) * share) > n_before
        which, turn = (0, n_before) if is_first else (1, turn - n_before)
        # a shuffled round through each group: every slice of it comes equally often
        group = groups[which]
        cycle, position = divmod(turn, len(group))
        order = np.random.default_rng([self._seed, 4, which, cycle]).permutation(len(group))
        index = group[order[position]]
        sample = self.samples[index]
        y0, x0 = self._anywhere(sample, rng)
        fitting = [bag for bag in sample.bags if self._fits(bag)]
        if fitting and rng.integers(2):
            y_low, x_low, y_high, x_high = fitting[rng.integers(len(fitting))].box
            y0 = _place(sample.shape[0], self.shape[0], (y_low, y_high), rng)
            x0 = _place(sample.shape[1], self.shape[1], (x_low, x_high), rng)
        elif self._outside is not None and rng.integers(2):
            for _ in range(_TRIES):
                labels = sample.target[y0 : y0 + self.shape[0], x0 : x0 + self.shape[1]]
                if ((labels >= 0) & (labels != self._outside)).any():
                    break
                y0, x0 = self._anywhere(sample, rng)
        return Window(index, y0, x0, sample.bags)

    def _anywhere(self, sample: SliceSamples, rng: np.random.Generator) -> tuple[int, int]:
        y0, x0 = (_place(*edges, None, rng) for edges in zip(sample.shape, self.shape, strict=True))
        return y0, x0

    def _fits(self, bag: Bag) -> bool:
        y0, x0, y1, x1 = bag.box
        return y1 - y0 <= self.shape[0] and x1 - x0 <= self.shape[1]


def _share_of_first(groups: Sequence[Sequence[int]]) -> Fraction:
    """Share of windows that show the first of one or two groups, exact."""
    n_slices = sum(map(len, groups))
    return max(Fraction(1, 2), Fraction(len(groups[0]), n_slices))


def _place(size: int, edge: int, contain: tuple[int, int] | None, rng: np.random.Generator) -> int:
    """Random start of a window of length ``edge`` in ``size`` pixels that holds an interval."""
    last = max(0, size - edge)
    if contain is None:
        return int(rng.integers(last + 1))
    return int(rng.integers(max(0, contain[1] - edge), min(contain[0], last) + 1))


def cut(
    samples: Sequence[SliceSamples], windows: Sequence[Window], shape: tuple[int, int]
) -> Batch:
    """Cut windows out of slices; beyond the slice the image repeats its edge, uncovered."""
    images, targets, weights, errors, coverage = [], [], [], [], []
    for window in windows:
        sample = samples[window.sample]
        rows = slice(window.y0, window.y0 + shape[0])
        columns = slice(window.x0, window.x0 + shape[1])
        image = sample.image[:, rows, columns]
        pad = [(0, n - have) for n, have in zip(shape, image.shape[1:], strict=True)]
        images.append(np.pad(image, [(0, 0), *pad], mode="edge"))
        targets.append(np.pad(sample.target[rows, columns], pad, constant_values=-1))
        weights.append(np.pad(sample.weight[rows, columns], pad))
        errors.append(np.pad(sample.error[rows, columns], pad))
        coverage.append(np.pad(np.ones(image.shape[1:], np.float32), pad))
    return Batch(
        windows=tuple(windows),
        samples=tuple(samples[window.sample] for window in windows),
        images=torch.from_numpy(np.stack(images)),
        targets=torch.from_numpy(np.stack(targets)),
        weights=torch.from_numpy(np.stack(weights)),
        errors=torch.from_numpy(np.stack(errors)),
        coverage=torch.from_numpy(np.stack(coverage)),
    )
