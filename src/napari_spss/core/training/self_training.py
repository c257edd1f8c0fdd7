"""What the teacher says of regions: its maps of whole slices, and labels for its surest pixels.

The teacher is an exponential moving average of the network's weights. *Its maps of whole slices*
complete regions that reach beyond the window in which they are drawn; they are kept for some steps.
*Proportion-matched self-training* departs from the paper, which has no such step. Of a region of N
pixels with stated fraction f, the teacher's (f - t m) N most likely pixels become positive labels,
those outside the (f + t m) N most likely negative ones, with m = min(f, 1 - f) and t the half width
of the ignored band between them. Pixels that share the value at a threshold (saturated or constant
maps) are ignored as well. Labels made by the user override. Where a class counts in no fraction,
since it lies outside of the specimen, N are the pixels that the teacher does not give to it, and
only those are labelled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from ..networks import gap
from .data import Batch, Window, map_steps
from .samples import Bag, Box, SliceSamples

# where slices are many or huge: no map is kept that would, with its labels, exceed both; it is made
# anew each time
_MOST_BYTES = 2**29
_MOST_HUGE = 8
# pixels of a region that are ranked at most
_MAX_RANKED = 2**16
_MOSTLY = 0.5  # from this probability on, a pixel is taken to lie outside
_LEAST = 1e-7  # no probability is told from 0 or 1 that is nearer

Thresholds: TypeAlias = torch.Tensor
"""(2, n) for n classes: values of the map above which a pixel surely is, and below which it surely
is not, of the class."""


@dataclass(frozen=True)
class SliceMap:
    """What the teacher said of a whole slice, and what was worked out from it.

    The odds (C - 1, y, x) are logarithms, of all classes but the background: few bits of them still
    tell probabilities near 0 and 1 apart.
    """

    odds: torch.Tensor
    until: int = 0  # step before which it serves
    _means: dict[Box, torch.Tensor] = field(default_factory=dict, repr=False, compare=False)
    _labels: dict[object, torch.Tensor | None] = field(
        default_factory=dict, repr=False, compare=False
    )

    @classmethod
    def of(cls, probs: torch.Tensor, until: int = 0) -> SliceMap:
        """Take a map (C, y, x)."""
        return cls(torch.logit(probs[1:], eps=_LEAST), until)

    @property
    def n_bytes(self) -> int:
        """What it takes once all of its pixels are labelled: as much more as the odds of a class.

        It is the same before and after, so that a run that goes on keeps the same maps.
        """
        return self.odds.nbytes + self.odds[0].nbytes

    def probs(self, box: Box) -> torch.Tensor:
        """Map (C, h, w) float32 of a box of the slice."""
        maps = self._objects(box)
        return torch.cat([(1 - maps.sum(dim=0, keepdim=True)).clamp_min_(0), maps])

    def mean(self, box: Box) -> torch.Tensor:
        """Mean map (C,) of a box of the slice."""
        if box not in self._means:
            self._means[box] = self.probs(box).mean(dim=(1, 2))
        return self._means[box]

    def mean_shown(self, box: Box, shown: torch.Tensor) -> torch.Tensor:
        """Mean map (C,) of a box of the slice by weights (h, w) of its pixels."""
        objects = gap(self._objects(box)[None], shown[None])[0]
        return torch.cat([1 - objects.sum(dim=0, keepdim=True), objects])

    def _objects(self, box: Box) -> torch.Tensor:
        y0, x0, y1, x1 = box
        return self.odds[:, y0:y1, x0:x1].to(torch.float32, copy=True).sigmoid_()

    def labels(self, bag: Bag, band: float, outside: int | None) -> torch.Tensor | None:
        """Those of all pixels of a region, int16 (h, w); None if none of them counts."""
        key = (bag.box, bag.fractions.tobytes(), band, outside)
        if key not in self._labels:
            self._labels[key] = _labels(self.probs(bag.box), bag, band, outside)
        return self._labels[key]


class SliceMaps:
    """Whole-slice maps, for regions that reach beyond the window in which they are drawn.

    The teacher predicts maps (C, y, x) of an image (channels, y, x), which stay on the device.
    ``kept`` has those that an earlier part of the run left, by the names of samples.
    """

    def __init__(
        self,
        predict: Callable[[npt.NDArray[np.float32]], torch.Tensor],
        device: torch.device,
        kept: Mapping[str, SliceMap] | None = None,
    ) -> None:
        self._predict = predict
        self._device = device
        self._maps = {name: self._narrow(one) for name, one in (kept or {}).items()}

    def _narrow(self, one: SliceMap) -> SliceMap:
        return SliceMap(one.odds.to(self._device, torch.float16), one.until)

    def kept(self, step: int) -> Mapping[str, SliceMap]:
        """Maps by the names of samples that serve at a step or later."""
        self._maps = {name: one for name, one in self._maps.items() if step < one.until}
        return self._maps

    def recall(self, batch: Batch, step: int, *, for_labels: bool = True) -> list[SliceMap | None]:
        """Return the map of each window's slice, made anew when it has become old.

        None where the window shows nothing of its regions but what it shows whole. If the teacher
        labels windows, there is a map, too, where a window shows all of a slice: an earlier one
        serves as well as one of this window alone. The batch is on the CPU, the step 0-based.
        """
        kept = dict(self.kept(step))
        shape = (batch.images.shape[-2], batch.images.shape[-1])
        maps: list[SliceMap | None] = []
        for index, (window, sample) in enumerate(zip(batch.windows, batch.samples, strict=True)):
            shown = [_n_shown(bag, window, batch.coverage[index]) for bag in window.bags]
            fits = for_labels and sample.shape[0] <= shape[0] and sample.shape[1] <= shape[1]
            if not any(
                n > 0 and (fits or n < bag.area) for n, bag in zip(shown, window.bags, strict=True)
            ):
                maps.append(None)
                continue
            if sample.name not in kept:
                kept[sample.name] = self.of(sample, step, shape)
            maps.append(kept[sample.name])
        return maps

    def of(self, sample: SliceSamples, step: int, shape: tuple[int, int]) -> SliceMap:
        """Return the map of a slice with windows of a shape, made anew when it has become old."""
        known = self.kept(step).get(sample.name)
        if known is None:
            # and in one more, which the last window may begin: or it would be made for this alone
            until = step + map_steps(sample, shape) + 1
            known = self._narrow(SliceMap.of(self._predict(sample.image), until))
            self._keep(sample.name, known)
        return known

    def _keep(self, name: str, new: SliceMap) -> None:
        """Keep a map if there is room. The others stay: they serve until they are old."""
        n_bytes = sum(one.n_bytes for one in (new, *self._maps.values()))
        if n_bytes <= _MOST_BYTES or len(self._maps) < _MOST_HUGE:
            self._maps[name] = new


def _n_shown(bag: Bag, window: Window, coverage: torch.Tensor) -> int:
    """How many pixels of a region a window shows."""
    y0, x0, y1, x1 = bag.box
    rows = slice(max(0, y0 - window.y0), max(0, y1 - window.y0))
    columns = slice(max(0, x0 - window.x0), max(0, x1 - window.x0))
    return int(coverage[rows, columns].count_nonzero())


def pseudo_labels(
    now: Callable[[], torch.Tensor],
    shape: tuple[int, int],
    bags: Sequence[Bag],
    *,
    band: float,
    origin: tuple[int, int] = (0, 0),
    slice_map: SliceMap | None = None,
    outside: int | None = None,
) -> torch.Tensor:
    """Label a window's surest pixels, matched to the stated fractions of its bags.

    Parameters
    ----------
    now : callable
        Returns (C, H, W), the teacher's map of the window; called only where it is needed.
    shape : (int, int)
        (H, W).
    bags : sequence of Bag
        Regions with fractions; a later one overrides an earlier one where they overlap.
        Classes with an unknown fraction are left alone: bags in which more than the background's
        fraction is unknown give positive labels of the known classes only.
    band : float
        Half width t of the ignored band, relative to min(f, 1 - f).
    origin : (int, int)
        First pixel of the window in the slice.
    slice_map : SliceMap, optional
        An earlier map of the whole slice, by which bags are ranked and labelled; without it, by
        what the window shows.
    outside : int, optional
        Class that counts in no fraction. Pixels that more probably than not are of this class are
        neither counted nor labelled; the others are ranked by what they are if they are not.

    Returns
    -------
    Tensor
        (H, W) int16: class index, -1 where ignored.
    """
    labels = torch.full(shape, -1, dtype=torch.int16)
    for bag in bags:
        y0, x0, y1, x1 = bag.box
        top, left = max(0, y0 - origin[0]), max(0, x0 - origin[1])
        bottom, right = min(shape[0], y1 - origin[0]), min(shape[1], x1 - origin[1])
        if bottom <= top or right <= left:
            continue
        if slice_map is None:
            found = _labels(now()[:, top:bottom, left:right], bag, band, outside)
        elif (found := slice_map.labels(bag, band, outside)) is not None:
            # of all of it by one map, or the labels would drift off the fraction with the teacher
            dy, dx = origin[0] - y0, origin[1] - x0
            found = found[top + dy : bottom + dy, left + dx : right + dx]
        if found is not None:
            labels = labels.to(found.device)
            labels[top:bottom, left:right] = found
    return labels


def _labels(probs: torch.Tensor, bag: Bag, band: float, outside: int | None) -> torch.Tensor | None:
    """Labels, int16 (h, w), by the map (C, h, w) of all of a region; None if no pixel counts."""
    known, n_counting = _known(bag, outside)
    thresholds = _thresholds(probs, bag, band, outside) if known else None
    if thresholds is None:
        return None
    best = torch.zeros_like(probs[0])
    labels = torch.full_like(best, -1, dtype=torch.int16)
    is_negative = torch.full_like(labels, len(known) == n_counting, dtype=torch.bool)
    for c, surely, possibly in zip(known, *thresholds, strict=True):
        values = probs[c] if outside is None else probs[c] / (1 - probs[outside])
        is_best = (values > surely) & (values > best)
        best = torch.where(is_best, values, best)
        labels.masked_fill_(is_best, c)
        is_negative &= values < possibly
    labels.masked_fill_(is_negative & (best == 0), 0)
    if outside is not None:
        labels.masked_fill_(probs[outside] >= _MOSTLY, -1)
    return labels


def _known(bag: Bag, outside: int | None) -> tuple[list[int], int]:
    """Classes with a stated fraction, and how many could have one, the background aside."""
    counting = [c for c in range(1, len(bag.fractions)) if c != outside]
    return [c for c in counting if not math.isnan(bag.fractions[c])], len(counting)


def _thresholds(
    probs: torch.Tensor, bag: Bag, band: float, outside: int | None
) -> Thresholds | None:
    """Thresholds of the classes with a stated fraction by the map (C, h, w) of all of a region.

    Of a large region only some pixels are ranked: sorting all of a 2000 x 2000 px image takes
    longer than a training step.
    """
    flat, (known, _) = probs.flatten(1), _known(bag, outside)
    if outside is not None:
        flat = flat[:, flat[outside] < _MOSTLY]
        flat = flat / (1 - flat[outside])
    flat = _scattered(flat[known], _MAX_RANKED)
    n = flat.shape[1]
    if n == 0:
        return None
    infinity = torch.full((1,), torch.inf, device=probs.device, dtype=probs.dtype)
    thresholds = []
    for c, values in zip(known, flat, strict=True):
        fraction = float(bag.fractions[c])
        margin = band * min(fraction, 1 - fraction)
        n_surely, n_possibly = round((fraction - margin) * n), round((fraction + margin) * n)
        descending = _descending(values, (n_surely, n_possibly - 1))
        ranked = torch.cat([infinity, descending, -infinity])
        # ranked[r] is the last of the r most likely pixels, ranked[r + 1] the first of the others
        thresholds.append(torch.stack([ranked[n_surely + 1], ranked[n_possibly]]))
    return torch.stack(thresholds, dim=1)


def _descending(values: torch.Tensor, ranks: Sequence[int]) -> torch.Tensor:
    """Order values, the largest first, at least so far that those at ``ranks`` are in place."""
    if values.device.type != "cpu":
        return torch.sort(values, descending=True).values
    n = values.numel()
    places = [n - 1 - rank for rank in ranks if 0 <= rank < n]
    # takes a fraction of the time of a sort
    return torch.from_numpy(np.partition(values.numpy(), places)).flip(0)


def _scattered(values: torch.Tensor, n_most: int) -> torch.Tensor:
    """Pick up to ``n_most`` columns all over, in steps that no pattern of the image repeats."""
    n = values.shape[1]
    if n <= n_most:
        return values
    stride = round(n * 0.618)  # near the golden section, where multiples spread most evenly
    while math.gcd(stride, n) > 1:
        stride += 1
    return values[:, torch.arange(n_most, device=values.device) * stride % n]
