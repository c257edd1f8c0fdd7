"""The teacher's maps of slices of which a window shows a part, kept for some steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from .bags import Bag
from .sampling import Batch
from .windows import Window

__all__ = ["KeptMap", "SliceMemory"]

# a slice of up to 32 windows is shown whole to the teacher after this many steps
_STEPS = 50
_WINDOWS = 32
# where slices are many or huge: no map is kept that would exceed both; it is made anew each time
_MOST_BYTES = 2**30
_MOST_HUGE = 8


@dataclass(frozen=True)
class KeptMap:
    """A map (C, y, x) float32 of a slice that serves until before a step."""

    probs: torch.Tensor
    until: int


class SliceMemory:
    """Whole-slice maps, for regions that reach beyond the window in which they are drawn.

    Parameters
    ----------
    predict : callable
        Maps (C, y, x) of an image (channels, y, x) by the teacher.
    device : torch.device
        Where the maps are kept.
    kept : mapping of int to KeptMap
        Maps by slice, as an earlier part of the run left them.
    """

    def __init__(
        self,
        predict: Callable[[npt.NDArray[np.float32]], torch.Tensor],
        device: torch.device,
        kept: Mapping[int, KeptMap] | None = None,
    ) -> None:
        self._predict = predict
        self._device = device
        self._maps = {
            z: KeptMap(one.probs.to(device), one.until) for z, one in (kept or {}).items()
        }

    def kept(self, step: int) -> Mapping[int, KeptMap]:
        """Maps by slice that serve at a step or later."""
        self._maps = {z: one for z, one in self._maps.items() if step < one.until}
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
            In the frame of the slice, beyond which it may reach. None where the window shows all
            of its regions, or has none.
        """
        kept = dict(self.kept(step))
        height, width = batch.images.shape[-2:]
        maps: list[torch.Tensor | None] = []
        for index, (window, sample) in enumerate(zip(batch.windows, batch.samples, strict=True)):
            if all(_is_shown(bag, window, batch.coverage[index]) for bag in window.bags):
                maps.append(None)
                continue
            holds_slice = sample.shape[0] <= height and sample.shape[1] <= width
            if holds_slice and window.y0 == window.x0 == 0:
                maps.append(now()[index])
                continue
            if sample.slice not in kept:
                n_windows = sample.shape[0] * sample.shape[1] / (height * width)
                probs = self._predict(sample.image).to(self._device)
                until = step + math.ceil(_STEPS * max(1, n_windows / _WINDOWS))
                kept[sample.slice] = KeptMap(probs, until)
                self._keep(sample.slice, kept[sample.slice])
            maps.append(kept[sample.slice].probs)
        return maps

    def _keep(self, z: int, new: KeptMap) -> None:
        """Keep a map if there is room. The others stay: they serve until they are old."""
        n_bytes = sum(one.probs.nbytes for one in (new, *self._maps.values()))
        if n_bytes <= _MOST_BYTES or len(self._maps) < _MOST_HUGE:
            self._maps[z] = new


def _is_shown(bag: Bag, window: Window, coverage: torch.Tensor) -> bool:
    """Whether a window shows all of a region."""
    y0, x0, y1, x1 = bag.box
    top, left = y0 - window.y0, x0 - window.x0
    if top < 0 or left < 0:
        return False
    part = coverage[top : y1 - window.y0, left : x1 - window.x0]
    return part.numel() == bag.area and bool(part.all())
