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
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field, PlainSerializer, PlainValidator

from ..annotations import Region
from ..base import Record
from .samples import SliceSamples

# of the number of wrong nodes about the expected one, in standard deviations
_MOST_DEVIATIONS = 2.0
# of the nodes of a class
_MOST_LOST = 0.5
_LEAST_TOLD = 0.1

Array = npt.NDArray[np.float64]
Predict = Callable[[SliceSamples], npt.NDArray[np.float32] | None]


def _region(key: Region | str) -> Region:
    """Read what `_text` writes."""
    if isinstance(key, Region):
        return key
    z, _, box = key.partition(":")
    edges = tuple(map(int, box.split(","))) if box else None
    return Region(int(z), edges)  # type: ignore[arg-type]


def _text(region: Region) -> str:
    """Write a slice as its number, a frame as in 3:0,0,256,256."""
    return f"{region.slice}:{','.join(map(str, region.box))}" if region.box else f"{region.slice}"


_Counts = dict[
    Annotated[Region, PlainValidator(_region), PlainSerializer(_text)], tuple[float, ...]
]


class LabelPosterior(Record):
    """Nodes per class, C, of counted slices and frames, as stated and as a map has it.

    Both have the same sum.
    """

    stated: _Counts = Field(default_factory=dict)
    believed: _Counts = Field(default_factory=dict)

    def of_regions(self, regions: Container[Region]) -> LabelPosterior:
        """That of some regions only."""
        stated, believed = (
            {region: counts for region, counts in one.items() if region in regions}
            for one in (self.stated, self.believed)
        )
        return LabelPosterior(stated=stated, believed=believed)

    def nodes(self) -> dict[Region, Array]:
        """Nodes per class (C,) to learn from."""
        return {region: np.array(counts, np.float64) for region, counts in self.believed.items()}

    def messages(self, classes: tuple[str, ...]) -> Iterator[str]:
        """Say in plain words where a class is counted otherwise by more than a tenth."""
        if not self.stated:
            return
        before, after = (np.sum(list(one.values()), axis=0) for one in (self.stated, self.believed))
        for name, old, new in list(zip(classes, before, after, strict=True))[1:]:
            if abs(new - old) > _LEAST_TOLD * old and abs(new - old) >= 1:
                advice = "Nodes that stand alone are worth another look."
                if new <= (1 - _MOST_LOST) * old * (1 + 1e-6):  # as many as may be doubted
                    advice = (
                        "No more are doubted than half: look again at them, and at the map. If the "
                        f"nodes are right, it does not find {name}."
                    )
                yield (
                    f"Nodes on {name}: {old:.0f} were judged so, but by the map {new:.0f} are more "
                    f"likely, and self-training goes by these. {advice}"
                )


def label_posterior(
    samples: Iterable[SliceSamples], predict: Predict, before: LabelPosterior
) -> LabelPosterior:
    """Count the nodes of finished grids by what was judged and what a map says.

    Labels that may be wrong take part, of all slices and frames that have some, in their order.
    ``predict`` gives maps (C, y, x) of such a slice; None where it counts as before, if it was
    counted. In all, classes lose no more nodes to others, on balance, than were expected to be
    wrong, and two standard deviations; and no class loses more than half of its own.
    """
    judged: dict[Region, _Judged] = {}
    for sample in samples:
        may_err = sample.error.ravel() > 0
        nodes = {region: places[may_err[places]] for region, places in sample.nodes.items()}
        if any(places.size for places in nodes.values()):
            probs = predict(sample)
            for region, places in nodes.items():
                if places.size and probs is not None:
                    judged[region] = _Judged.of(sample, places, probs)
                elif places.size and region in before.believed:
                    known = np.array(before.stated[region]), np.array(before.believed[region])
                    judged[region] = _Judged(*known, _n_expected(sample, places))
    share = _share_that_counts(list(judged.values()))
    believed = {at: share * one.believed + (1 - share) * one.stated for at, one in judged.items()}
    return LabelPosterior(
        stated={at: tuple(one.stated.tolist()) for at, one in judged.items()},
        believed={at: tuple(counts.tolist()) for at, counts in believed.items()},
    )


def node_posterior(
    probs: npt.NDArray[np.floating], labels: npt.NDArray[np.integer], errors: Array
) -> Array:
    """Probability of each class (C, N) at nodes, by Bayes' rule with the map (C, N) as prior.

    Of the judged classes (N,), each is wrong with a probability (N,), and may then mean any other.
    """
    n_classes, n_nodes = probs.shape
    likelihood = np.tile(errors / max(1, n_classes - 1), (n_classes, 1))
    likelihood[labels, np.arange(n_nodes)] = 1 - errors
    posterior: Array = probs * likelihood + np.finfo(np.float32).tiny
    posterior /= posterior.sum(axis=0)
    return posterior


@dataclass(frozen=True)
class _Judged:
    """Nodes of one region: per class (C,), and how many were expected to be wrong."""

    stated: Array
    believed: Array
    n_expected: float

    @classmethod
    def of(
        cls, sample: SliceSamples, nodes: npt.NDArray[np.int64], probs: npt.NDArray[np.float32]
    ) -> _Judged:
        labels, n_classes = sample.target.ravel()[nodes], len(probs)
        weights, errors = _weights_and_errors(sample, nodes)
        posterior = node_posterior(probs.reshape(n_classes, -1)[:, nodes], labels, errors)
        stated = np.bincount(labels, weights, minlength=n_classes).astype(np.float64)
        return cls(stated, posterior @ weights, _n_expected(sample, nodes))


def _weights_and_errors(sample: SliceSamples, nodes: npt.NDArray[np.int64]) -> tuple[Array, Array]:
    weights, errors = (
        one.ravel()[nodes].astype(np.float64) for one in (sample.weight, sample.error)
    )
    return weights, errors


def _n_expected(sample: SliceSamples, nodes: npt.NDArray[np.int64]) -> float:
    """Count the nodes of a region that are expected to be wrong."""
    weights, errors = _weights_and_errors(sample, nodes)
    return float((weights * errors).sum())


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
