"""Maps that are set right where keypoints say otherwise, in the image in which they were set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..annotations import Region
from ..base import counted

if TYPE_CHECKING:
    from ..images import Stack
    from ..training import Model

Probs = npt.NDArray[np.float32]


class Corrected:
    """A sink that sets maps right, if the model's corrections are of the image, and hands them on.

    The next sink takes a region, rows of it as (start, stop) in the slice, and their maps
    (C, rows, X).
    """

    def __init__(
        self, model: Model, stack: Stack, sink: Callable[[Region, tuple[int, int], Probs], object]
    ) -> None:
        spans = model.corrections.spans
        self._spans = spans if spans and model.corrections.image == stack.identity() else {}
        self._n_keypoints = model.corrections.n_keypoints
        self._reduction = {z: model.working_scale.of_slice(stack, z) for z in self._spans}
        self._sink = sink

    def __call__(self, region: Region, rows: tuple[int, int], probs: Probs) -> None:
        """Take rows of a region's maps."""
        if region.slice in self._spans:
            probs = probs.copy()
            k, left = self._reduction[region.slice], region.box[1] if region.box else 0
            for row, start, end, c in self._spans[region.slice]:
                top, bottom = (max(0, at * k - rows[0]) for at in (row, row + 1))
                first, last = (max(0, at * k - left) for at in (start, end))
                part = probs[:, top:bottom, first:last]
                part[:], part[c] = 0.0, 1.0
        self._sink(region, rows, probs)

    def notes(self, slices: Iterable[int]) -> Iterator[str]:
        """Say that maps of some slices are set right, and by what."""
        if not self._spans.keys().isdisjoint(slices):
            yield (
                f"{counted(self._n_keypoints, 'keypoint')} of this image did not take effect in "
                "training: around them, maps are set right."
            )
