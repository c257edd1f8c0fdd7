"""How long a training will take, by a few steps on noise."""

from __future__ import annotations

import time
from statistics import median

import torch

from ..base import TrainingSettings
from ..networks import resolve_device
from .learner import Learner

_N_STEPS = 4  # the first is slow, and does not count
_BESIDE = 1.3  # of what the network takes: windows, views, the loss, the teacher and its maps


def training_seconds(
    settings: TrainingSettings, *, device: str | torch.device = "auto"
) -> float | None:
    """Estimate how long the steps of a run will take, by taking a few on noise.

    Takes a few seconds. Windows are taken to be as large as the settings say, which they are where
    slices are, of one channel, and maps to have one class beside the background. None where the
    budget is not a number of steps.

    Raises
    ------
    InputError
        If the device is not here, or there is no such network.
    """
    n_steps = settings.optimisation.max_steps
    if n_steps is None:
        return None
    learner = Learner(
        settings,
        n_channels=1,
        n_classes=2,
        device=device if isinstance(device, torch.device) else resolve_device(device),
    )
    size = settings.sampling.crop_px
    noise = torch.Generator().manual_seed(0)
    images = torch.randn(settings.sampling.batch_size, 1, size, size, generator=noise)
    taken = []
    for step in range(_N_STEPS):
        began = time.perf_counter()
        loss = learner.student_logits(images, step).square().mean()
        learner.learn(loss, learning_rate=0.0, step=step)
        taken.append(time.perf_counter() - began)
    return _BESIDE * n_steps * median(taken[1:])
