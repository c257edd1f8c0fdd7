"""The teacher's maps of slices of which a window shows a part, kept for some steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from .bags import Bag
from .sampling import Batch
from .windows import Window

__all__ = ["SliceMemory"]

# a slice of up to 32 windows is shown whole to the teacher after this many steps
_STEPS = 50
_WINDOWS = 32


@dataclass(frozen=True)
class _Remembered:
    probs: torch.Tensor
    step: int


class SliceMemory:
    """Whole-slice maps, for regions that reach beyond the window in which they are drawn.

    Parameters
    ----------
    predict : callable
        Maps (C, y, x) of an image (channels, y, x) by the teacher.
    device : torch.device
        Where the maps are kept.
    """

    def __init__(
        self, predict: Callable[[npt.NDArray[np.float32]], torch.Tensor], device: torch.device
    ) -> None:
        self._predict = predict
        self._device = device
        self._maps: dict[int, _Remembered] = {}

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
            n_windows = sample.shape[0] * sample.shape[1] / (height * width)
            last = self._maps.get(sample.slice)
            if last is None or step - last.step >= _STEPS * max(1, n_windows / _WINDOWS):
                probs = self._predict(sample.image).to(self._device)
                last = self._maps[sample.slice] = _Remembered(probs, step)
            maps.append(last.probs)
        return maps


def _is_shown(bag: Bag, window: Window, coverage: torch.Tensor) -> bool:
    """Whether a window shows all of a region."""
    y0, x0, y1, x1 = bag.box
    top, left = y0 - window.y0, x0 - window.x0
    if top < 0 or left < 0:
        return False
    part = coverage[top : y1 - window.y0, left : x1 - window.x0]
    return part.numel() == bag.area and bool(part.all())
