"""What a run is to learn from, and how it is read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..annotations import Annotations
from ..base import CancelToken, Preparing, TrainingSettings
from .data import TrainingData
from .label_posterior import LabelPosterior
from .samples import SampleReader, bags_of

if TYPE_CHECKING:
    from ..images import LabelSource, Stack
    from .samples import LabelScale, SliceSamples

_PREPARING_INTERVAL_S = 0.5


@dataclass(frozen=True)
class Task:
    """What a run is to learn from, where, and how; as :func:`iter_training` takes it."""

    stack: Stack
    settings: TrainingSettings
    masks: LabelSource | None
    held_out_slices: Collection[int] | None
    run_dir: Path | None
    device: torch.device
    token: CancelToken
    clock: Callable[[], float]

    def read(
        self, reader: SampleReader, began: float, *, told_at: float
    ) -> Generator[Preparing, None, TrainingData]:
        """Read all slices, and tell which if the last word was some time ago."""
        samples: list[SliceSamples] = []
        n_slices = len(reader.slices)
        for number, z in enumerate(reader.slices, start=1):
            if (now := self.clock()) - told_at >= _PREPARING_INTERVAL_S:
                told_at = now
                text = f"reading slice {number} of {n_slices}"
                yield Preparing(text, number - 1, n_slices, now - began)
            samples += reader.read(z)
        return self._data_of(reader, samples, reader.label_scale(samples))

    def believe(
        self, reader: SampleReader, data: TrainingData, posterior: LabelPosterior
    ) -> TrainingData:
        """Let counts of a map take the place of those that were judged."""
        if not posterior.believed:
            return data
        bags = reader.bags(posterior.nodes())
        samples = [replace(one, bags=bags_of(one, bags)) for one in data.samples]
        return self._data_of(reader, samples, data.label_scale)

    def _data_of(
        self, reader: SampleReader, samples: Sequence[SliceSamples], scale: LabelScale
    ) -> TrainingData:
        return TrainingData.of(
            samples,
            scale,
            self.settings,
            reader.annotations.classes,
            held_out_slices=self.held_out_slices,
        )

    def learned_from(self, data: TrainingData, annotations: Annotations) -> str:
        """Digest of the image, of what is counted and stated, and of full masks."""
        digest = hashlib.blake2b(self.stack.identity().encode(), digest_size=16)
        masked = sorted((one.slice, one.mask_digest) for one in data.samples if one.is_mask)
        digest.update(repr((annotations.proportions, masked)).encode())
        for grid in annotations.grids:
            digest.update(repr((grid.region, grid.is_done)).encode())
            digest.update(np.column_stack([grid.y, grid.x, grid.class_index]).tobytes())
        return digest.hexdigest()
