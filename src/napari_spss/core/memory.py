"""The teacher's maps of slices that are larger than a window, kept for some steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from .sampling import Batch

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

    def recall(self, batch: Batch, step: int) -> list[torch.Tensor | None]:
        """Return the map (C, y, x) of each window's slice, made anew when it has become old.

        None where the window shows all of its regions, or has none.
        """
        height, width = batch.images.shape[-2:]
        maps: list[torch.Tensor | None] = []
        for window, sample in zip(batch.windows, batch.samples, strict=True):
            bottom, right = window.y0 + height, window.x0 + width
            if all(
                window.y0 <= y0 and window.x0 <= x0 and y1 <= bottom and x1 <= right
                for y0, x0, y1, x1 in (bag.box for bag in window.bags)
            ):
                maps.append(None)
                continue
            n_windows = sample.shape[0] * sample.shape[1] / (height * width)
            last = self._maps.get(sample.slice)
            if last is None or step - last.step >= _STEPS * max(1, n_windows / _WINDOWS):
                probs = self._predict(sample.image).to(self._device)
                last = self._maps[sample.slice] = _Remembered(probs, step)
            maps.append(last.probs)
        return maps
