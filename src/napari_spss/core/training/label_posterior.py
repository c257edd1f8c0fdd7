"""Posterior counts of grid nodes: what was judged, weighed by a map that tells what is likely.

Whoever judges nodes errs now and then. Of a class that covers 5 % of the image, 2 % of wrong nodes
add a third: most of them are background taken for the class. Where the network's map is sure of the
background, a lone hit is more likely an error than an object, and by Bayes' rule with the map as
prior, the count becomes a sum of probabilities. A person who does not err is hardly corrected,
since the network learns the hits as objects. The correction depends on how often nodes are
expected to be wrong (``labels.node_error``), and is bounded by it: a map that knows nothing of a
class cannot argue its hits away.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ..base import Record
from .samples import SliceSamples

__all__ = ["LabelPosterior", "label_posterior"]

# of the number of wrong nodes about the expected one, in standard deviations
_MOST_DEVIATIONS = 2.0
# of the nodes of a class
_MOST_LOST = 0.5
_LEAST_TOLD = 0.1

Array = npt.NDArray[np.float64]
Predict = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]


class LabelPosterior(Record):
    """Nodes per class of counted slices, as stated and as a map has it.

    Parameters
    ----------
    stated, believed : dict of int to tuple of float, length C
        By slice. Both have the same sum.
    """

    stated: dict[int, tuple[float, ...]] = Field(default_factory=dict)
    believed: dict[int, tuple[float, ...]] = Field(default_factory=dict)

    def of_slices(self, slices: Container[int]) -> LabelPosterior:
        """That of some slices only."""
        stated, believed = (
            {z: counts for z, counts in one.items() if z in slices}
            for one in (self.stated, self.believed)
        )
        return LabelPosterior(stated=stated, believed=believed)

    def nodes(self) -> dict[int, Array]:
        """Nodes per class (C,) to learn from, by slice."""
        return {z: np.array(counts, np.float64) for z, counts in self.believed.items()}

    def messages(self, classes: tuple[str, ...]) -> Iterator[str]:
        """Say in plain words where a class is counted otherwise by more than a tenth."""
        if not self.stated:
            return
        before, after = (np.sum(list(one.values()), axis=0) for one in (self.stated, self.believed))
        for name, old, new in list(zip(classes, before, after, strict=True))[1:]:
            if abs(new - old) > _LEAST_TOLD * old and abs(new - old) >= 1:
                yield (
                    f"Nodes on {name}: {old:.0f} were judged so, but by the map {new:.0f} are more "
                    "likely, and self-training goes by these. Nodes that stand alone are worth "
                    "another look."
                )


def label_posterior(samples: Iterable[SliceSamples], predict: Predict) -> LabelPosterior:
    """Count the nodes of finished grids by what was judged and what a map says.

    Parameters
    ----------
    samples : iterable of SliceSamples
        Annotated slices; of the calibrated ones, labels that may be wrong take part.
    predict : callable
        Maps (C, y, x) of an image (channels, y, x).

    Returns
    -------
    LabelPosterior
        Of all slices with such labels. In all, classes lose no more nodes to others, on balance,
        than were expected to be wrong, and two standard deviations; and no class loses more than
        half of its own.
    """
    judged = {
        sample.slice: _Judged.of(sample, predict(sample.image))
        for sample in samples
        if sample.is_calibrated and (sample.error > 0).any()
    }
    share = _share_that_counts(list(judged.values()))
    believed = {z: share * one.believed + (1 - share) * one.stated for z, one in judged.items()}
    return LabelPosterior(
        stated={z: tuple(one.stated.tolist()) for z, one in judged.items()},
        believed={z: tuple(counts.tolist()) for z, counts in believed.items()},
    )


@dataclass(frozen=True)
class _Judged:
    """Nodes of one slice: per class (C,), and how many were expected to be wrong."""

    stated: Array
    believed: Array
    n_expected: float

    @classmethod
    def of(cls, sample: SliceSamples, probs: npt.NDArray[np.float32]) -> _Judged:
        is_node = sample.error > 0
        labels, weights = sample.target[is_node], sample.weight[is_node].astype(np.float64)
        errors = sample.error[is_node].astype(np.float64)
        n_classes = len(probs)
        places = np.arange(labels.size)
        likelihood = np.tile(errors / max(1, n_classes - 1), (n_classes, 1))
        likelihood[labels, places] = 1 - errors
        posterior = probs[:, is_node] * likelihood + np.finfo(np.float32).tiny
        posterior /= posterior.sum(axis=0)
        stated = np.bincount(labels, weights, minlength=n_classes).astype(np.float64)
        return cls(stated, posterior @ weights, float((weights * errors).sum()))


def _share_that_counts(judged: Sequence[_Judged]) -> float:
    """Part of the correction that the bounds allow."""
    if not judged:
        return 1.0
    stated = np.sum([one.stated for one in judged], axis=0)
    lost = stated - np.sum([one.believed for one in judged], axis=0)
    is_losing = lost > 0
    if not is_losing.any():
        return 1.0
    n_expected = math.fsum(one.n_expected for one in judged)
    n_most = n_expected + _MOST_DEVIATIONS * math.sqrt(n_expected)
    of_classes = _MOST_LOST * stated[is_losing] / lost[is_losing]
    return float(min(1.0, n_most / lost[is_losing].sum(), *of_classes))
