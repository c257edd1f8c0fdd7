"""What a run learns from: annotated slices, what is held out of them, and how windows are drawn."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from ..annotations import Annotations
from ..base import InputError, TrainingSettings
from .bags import LabelScale, SliceSamples, load_slices
from .sampling import Batch, Sampler, cut
from .windows import Window, make_windows, window_shape

if TYPE_CHECKING:
    from ..images import LabelSource, Stack, WorkingScale

__all__ = ["TrainingData", "expected_shares", "load_training_data"]

T = TypeVar("T")


@dataclass(frozen=True)
class TrainingData:
    """Annotations of a run as its steps see them.

    Parameters
    ----------
    samples : tuple of SliceSamples
        Annotated slices.
    label_scale : LabelScale
        Fixed weights of labels.
    sampler : Sampler
        Draws what is not held out.
    held_out : tuple of Window
        Windows that decide when to stop; none of them is drawn.
    """

    samples: tuple[SliceSamples, ...]
    label_scale: LabelScale
    sampler: Sampler
    held_out: tuple[Window, ...]

    def grey_values(self) -> tuple[float, float]:
        """Mean and deviation of the images, averaged over slices and channels."""
        images = [sample.image for sample in self.samples]
        return (
            float(np.mean([image.mean(dtype=np.float64) for image in images])),
            float(np.mean([image.std(axis=(1, 2), dtype=np.float64).mean() for image in images])),
        )

    def has_labels_of(self, class_index: int) -> bool:
        """Whether any pixel is labelled with this class."""
        return any(bool((sample.target == class_index).any()) for sample in self.samples)

    def held_out_batches(self, size: int) -> Iterator[Batch]:
        """Cut what is held out into batches of up to ``size`` windows."""
        for start in range(0, len(self.held_out), size):
            yield cut(self.samples, self.held_out[start : start + size], self.sampler.shape)

    def stated_fractions(
        self, n_classes: int, *, outside: int | None = None
    ) -> tuple[float, ...] | None:
        """Mean stated fraction of every class, weighted by area; None if some class has none.

        That of the class ``outside`` is 0, and its pixels in masks do not count.
        """
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


def expected_shares(
    fractions: tuple[float, ...] | None, *, outside: int | None = None
) -> tuple[float, ...] | None:
    """Share of every class in the image before anything is learned, for the first output.

    Nothing is stated about how much is outside: it is expected to take up its equal share, and
    the others the rest in their stated fractions.

    Examples
    --------
    >>> expected_shares((0.75, 0.25, 0.0, 0.0), outside=3)
    (0.5625, 0.1875, 0.0, 0.25)
    """
    if fractions is None or outside is None:
        return fractions
    equal = 1 / len(fractions)
    return tuple(
        equal if index == outside else fraction * (1 - equal)
        for index, fraction in enumerate(fractions)
    )


def load_training_data(
    stack: Stack,
    annotations: Annotations,
    settings: TrainingSettings,
    *,
    masks: LabelSource | None,
    working_scale: WorkingScale,
    scale: LabelScale | None,
    images: dict[int, npt.NDArray[np.float32]],
    held_out_slices: Collection[int] | None = None,
    recounted: Mapping[int, npt.NDArray[np.float64]] | None = None,
) -> TrainingData:
    """Read the annotated slices, and hold a part out if the settings ask for it.

    Parameters are those of :func:`napari_spss.core.training.bags.load_slices`, and
    ``held_out_slices``, which are held out instead of a random part.

    Raises
    ------
    InputError
        If nothing is annotated, what is cannot be used, or all of it is held out.
    """
    samples, scale = load_slices(
        stack,
        annotations,
        settings,
        working_scale=working_scale,
        masks=masks,
        scale=scale,
        images=images,
        recounted=recounted,
    )
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
        outside=annotations.outside_index,
    )
    return TrainingData(tuple(samples), scale, sampler, tuple(held_out))


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
