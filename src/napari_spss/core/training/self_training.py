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
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from .data import Batch, Window
from .samples import Bag

# a slice of up to 32 windows is shown whole to the teacher after this many steps
_STEPS = 50
_WINDOWS = 32
# where slices are many or huge: no map is kept that would exceed both; it is made anew each time
_MOST_BYTES = 2**29
_MOST_HUGE = 8
# pixels of a region that are ranked at most
_MAX_RANKED = 2**16
_MOSTLY = 0.5  # from this probability on, a pixel is taken to lie outside


@dataclass(frozen=True)
class KeptMap:
    """A map (C, y, x) float32 of a slice that serves until before a step."""

    probs: torch.Tensor
    until: int


class SliceMaps:
    """Whole-slice maps, for regions that reach beyond the window in which they are drawn.

    Parameters
    ----------
    predict : callable
        Maps (C, y, x) of an image (channels, y, x) by the teacher.
    device : torch.device
        Where the maps are kept.
    kept : mapping of str to KeptMap
        Maps by the names of samples, as an earlier part of the run left them.
    """

    def __init__(
        self,
        predict: Callable[[npt.NDArray[np.float32]], torch.Tensor],
        device: torch.device,
        kept: Mapping[str, KeptMap] | None = None,
    ) -> None:
        self._predict = predict
        self._device = device
        self._maps = {
            name: KeptMap(one.probs.to(device), one.until) for name, one in (kept or {}).items()
        }

    def kept(self, step: int) -> Mapping[str, KeptMap]:
        """Maps by the names of samples that serve at a step or later."""
        self._maps = {name: one for name, one in self._maps.items() if step < one.until}
        return self._maps

    def recall(
        self, batch: Batch, step: int, now: Callable[[], torch.Tensor]
    ) -> list[torch.Tensor | None]:
        """Return the map (C, y, x) of each window's slice, made anew when it has become old.

        Parameters
        ----------
        batch : Batch
            On the CPU.
        step : int
            0-based.
        now : callable
            The teacher's maps (B, C, H, W) of the windows. Where a window begins with its slice and
            holds all of it, its map is taken, so that such a run can be resumed exactly.

        Returns
        -------
        list of Tensor or None
            In the frame of the slice, beyond which it may reach. None where the window shows
            nothing of its regions but what it shows whole.
        """
        kept = dict(self.kept(step))
        height, width = batch.images.shape[-2:]
        maps: list[torch.Tensor | None] = []
        for index, (window, sample) in enumerate(zip(batch.windows, batch.samples, strict=True)):
            if not any(_is_cut(bag, window, batch.coverage[index]) for bag in window.bags):
                maps.append(None)
                continue
            holds_slice = sample.shape[0] <= height and sample.shape[1] <= width
            if holds_slice and window.y0 == window.x0 == 0:
                maps.append(now()[index])
                continue
            if sample.name not in kept:
                n_windows = sample.shape[0] * sample.shape[1] / (height * width)
                probs = self._predict(sample.image).to(self._device)
                until = step + math.ceil(_STEPS * max(1, n_windows / _WINDOWS))
                kept[sample.name] = KeptMap(probs, until)
                self._keep(sample.name, kept[sample.name])
            maps.append(kept[sample.name].probs)
        return maps

    def _keep(self, name: str, new: KeptMap) -> None:
        """Keep a map if there is room. The others stay: they serve until they are old."""
        n_bytes = sum(one.probs.nbytes for one in (new, *self._maps.values()))
        if n_bytes <= _MOST_BYTES or len(self._maps) < _MOST_HUGE:
            self._maps[name] = new


def _is_cut(bag: Bag, window: Window, coverage: torch.Tensor) -> bool:
    """Whether a window shows some of a region, but not all."""
    y0, x0, y1, x1 = bag.box
    rows = slice(max(0, y0 - window.y0), max(0, y1 - window.y0))
    columns = slice(max(0, x0 - window.x0), max(0, x1 - window.x0))
    part = coverage[rows, columns]
    n_shown = int(part.count_nonzero())
    return 0 < n_shown < bag.area


def pseudo_labels(
    teacher_probs: torch.Tensor,
    bags: Sequence[Bag],
    *,
    band: float,
    origin: tuple[int, int] = (0, 0),
    slice_map: torch.Tensor | None = None,
    outside: int | None = None,
) -> torch.Tensor:
    """Label a window's surest pixels, matched to the stated fractions of its bags.

    Parameters
    ----------
    teacher_probs : Tensor
        (C, H, W), the teacher's map of the window.
    bags : sequence of Bag
        Regions with fractions; a later one overrides an earlier one where they overlap.
        Classes with an unknown fraction are left alone: bags in which more than the background's
        fraction is unknown give positive labels of the known classes only.
    band : float
        Half width t of the ignored band, relative to min(f, 1 - f).
    origin : (int, int)
        First pixel of the window in the slice.
    slice_map : Tensor, optional
        (C, y, x), an earlier map of the whole slice. Bags that reach beyond the window are ranked
        and labelled by it; without it, by what the window shows.
    outside : int, optional
        Class that counts in no fraction. Pixels that more probably than not are of this class are
        neither counted nor labelled; the others are ranked by what they are if they are not.

    Returns
    -------
    Tensor
        (H, W) int64: class index, -1 where ignored.
    """
    n_classes, height, width = teacher_probs.shape
    labels = torch.full((height, width), -1, dtype=torch.int64, device=teacher_probs.device)
    for bag in bags:
        y0, x0, y1, x1 = bag.box
        top, left = max(0, y0 - origin[0]), max(0, x0 - origin[1])
        bottom, right = min(height, y1 - origin[0]), min(width, x1 - origin[1])
        counting = [c for c in range(1, n_classes) if c != outside]
        known = [c for c in counting if not math.isnan(bag.fractions[c])]
        if not known or bottom <= top or right <= left:
            continue
        probs = ranked = teacher_probs[:, top:bottom, left:right]
        if slice_map is not None and probs[0].numel() < bag.area:
            # one map for both, or the labels would drift off the fraction with the teacher
            ranked = slice_map[:, y0:y1, x0:x1]
            rows = slice(top + origin[0], bottom + origin[0])
            probs = slice_map[:, rows, left + origin[1] : right + origin[1]]
        is_inside = None
        if outside is not None:
            is_inside = probs[outside] < _MOSTLY
            ranked, probs = _inside_values(ranked, outside), probs / (1 - probs[outside])
            if ranked.numel() == 0:
                continue
        is_negative = torch.full(probs.shape[1:], len(known) == len(counting), device=probs.device)
        best = torch.zeros(probs.shape[1:], device=probs.device)
        part = torch.full_like(is_negative, -1, dtype=torch.int64)
        for c in known:
            surely, possibly = _thresholds(ranked[c], bag, c, band)
            is_positive = (probs[c] > surely) & (probs[c] > best)
            part = torch.where(is_positive, c, part)
            best = torch.where(is_positive, probs[c], best)
            is_negative &= probs[c] < possibly
        part = torch.where(is_negative & (part < 0), 0, part)
        if is_inside is not None:
            part = torch.where(is_inside, part, -1)
        labels[top:bottom, left:right] = part
    return labels


def _inside_values(probs: torch.Tensor, outside: int) -> torch.Tensor:
    """Map values (C, n) of the pixels that are not outside, given that they are not."""
    inside = probs[:, probs[outside] < _MOSTLY]
    return inside / (1 - inside[outside])


def _thresholds(
    probs: torch.Tensor, bag: Bag, class_index: int, band: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Map values above which a pixel is surely, and below which it is surely not, of the class.

    Of a large region only some pixels are ranked: sorting all of a 2000 x 2000 px image takes
    longer than a training step.
    """
    fraction = float(bag.fractions[class_index])
    margin = band * min(fraction, 1 - fraction)
    flat = _scattered(probs.flatten(), _MAX_RANKED)
    n = flat.numel()
    n_surely, n_possibly = round((fraction - margin) * n), round((fraction + margin) * n)
    infinity = torch.full((1,), torch.inf, device=probs.device, dtype=probs.dtype)
    ranked = torch.cat([infinity, _descending(flat, (n_surely, n_possibly - 1)), -infinity])
    # ranked[r] is the last of the r most likely pixels, ranked[r + 1] the first of the others
    return ranked[n_surely + 1], ranked[n_possibly]


def _descending(values: torch.Tensor, ranks: Sequence[int]) -> torch.Tensor:
    """Order values, the largest first, at least so far that those at ``ranks`` are in place."""
    if values.device.type != "cpu":
        return torch.sort(values, descending=True).values
    n = values.numel()
    places = [n - 1 - rank for rank in ranks if 0 <= rank < n]
    # takes a fraction of the time of a sort
    return torch.from_numpy(np.partition(values.numpy(), places)).flip(0)


def _scattered(values: torch.Tensor, n_most: int) -> torch.Tensor:
    """Pick up to ``n_most`` values all over, in steps that no pattern of the image repeats."""
    n = values.numel()
    if n <= n_most:
        return values
    stride = round(n * 0.618)  # near the golden section, where multiples spread most evenly
    while math.gcd(stride, n) > 1:
        stride += 1
    return values[torch.arange(n_most, device=values.device) * stride % n]
