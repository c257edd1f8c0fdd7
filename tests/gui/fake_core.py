"""Stand-ins for the core's generators: they yield its events and can be told to fail."""

from __future__ import annotations

import threading
from collections.abc import Generator
from copy import copy

import numpy as np

from napari_spss.core.annotations import Box, Classes, Region
from napari_spss.core.base import (
    CancelToken,
    Event,
    FinishReason,
    Predicted,
    Preview,
    Progress,
    RunFinished,
    RunStarted,
    preset,
)
from napari_spss.core.images import WorkingScale
from napari_spss.gui.models import ResultMaps


def fake_run(
    *,
    token: CancelToken,
    steps: int = 3,
    preview: tuple[int, int] | None = None,
    error: Exception | None = None,
    gate: threading.Event | None = None,
    classes: tuple[str, ...] = ("background", "mitochondria"),
) -> Generator[Event, None, object]:
    """Yield a training's events; wait at ``gate`` or for the token before the last step."""
    yield RunStarted("training", steps, "cpu", classes)
    done = 0
    for done in range(1, steps + 1):
        if error is not None and done == steps:
            raise error
        if gate is not None and done == steps:
            while not gate.wait(0.005) and not token.is_cancelled:
                pass
        if token.is_cancelled:
            yield RunFinished(FinishReason.stopped, done - 1, 0.1)
            return "best so far"
        yield Progress(done, steps, 0.1 * done, 0.1 * (steps - done), {"total": 1 / done}, 0.1)
        if preview is not None:
            probs = np.zeros((len(classes), *preview), np.float32)
            probs[1, : preview[0] // 2] = 0.9
            probs[0] = 1 - probs[1:].sum(0)
            yield Preview(done, 0, 1, preview, probs)
    yield RunFinished(FinishReason.completed, done, 0.1 * done)
    return "model"


def fake_train(job, *, token: CancelToken) -> Generator[Event, None, object]:
    """Stand in for `runs.train`: a preview of the slice that the viewer shows, then the end."""
    shape = job.stack.shape_of(0)
    classes = job.annotations.classes
    yield RunStarted("training", 2, "cpu", classes)
    for step in (1, 2):
        z = job.gate()
        if z is not None:
            probs = np.zeros((len(classes), *shape), np.float32)
            probs[1, : shape[0] // 2] = 0.9
            probs[0] = 1 - probs[1:].sum(0)
            job.gate.close()
            yield Preview(step, z, 1, shape, probs)
        yield Progress(step, 2, float(step), 2.0 - step, {"total": 1 / step}, 0.1)
    yield RunFinished(FinishReason.completed, 2, 2.0)
    return FakeModel(classes)


def gated_train(gate: threading.Event, tokens: list[CancelToken] | None = None):
    """Make a training that waits for a gate, or for Stop, after its first preview.

    The tokens of its runs are put into the list.
    """

    def train(job, *, token: CancelToken) -> Generator[Event, None, object]:
        if tokens is not None:
            tokens.append(token)
        run = fake_train(job, token=token)
        for event in run:
            if isinstance(event, RunFinished):
                while not gate.wait(0.005) and not token.is_cancelled:
                    pass
                if token.is_cancelled:
                    yield RunFinished(FinishReason.stopped, 2, 2.0)
                    return FakeModel(job.annotations.classes)
            yield event
        return FakeModel(job.annotations.classes)

    return train


def failing_train(error: Exception):
    """Make a training that raises after its first event."""

    def train(job, *, token: CancelToken) -> Generator[Event, None, object]:
        yield RunStarted("training", 2, "cpu", job.annotations.classes)
        raise error

    return train


def fake_apply(model, stack, maps, regions, making, *, device: str, token: CancelToken):
    """Stand in for `runs.apply_model`: .9 above, .3 below the middle of each slice."""

    yield RunStarted("prediction", len(regions), "cpu", model.classes)
    done = 0
    for region in regions:
        if token.is_cancelled:
            yield RunFinished(FinishReason.stopped, done, 0.1)
            return
        height, width = stack.shape_of(region.slice)
        y0, x0, y1, x1 = region.box or (0, 0, height, width)
        probs = np.full((len(model.classes), y1 - y0, x1 - x0), 0.3, np.float32)
        probs[1, : max(0, height // 2 - y0)] = 0.9
        probs[0] = 1 - probs[1:].sum(0)
        store(maps, region.slice, probs, region.box)
        done += 1
        yield Predicted(region.slice, region.box)
    yield RunFinished(FinishReason.completed, done, 0.1)


def store(maps: ResultMaps, z: int, probs: np.ndarray, box: Box | None = None) -> None:
    """Put the maps (C, y, x) of a slice, or of a box in it, into a result, as a prediction does."""
    y0, _, y1, _ = box or (0, 0, *maps.shape[1:])
    maps.store_rows(Region(z, box), (y0, y1), probs)


def fill(maps: ResultMaps, z: int, probs: np.ndarray, box: Box | None = None) -> None:
    """Store maps, and count them as predicted."""
    store(maps, z, probs, box)
    maps.mark(z, box)


class FakeModel:
    """What the dock reads of a model."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.classes = Classes(classes)
        self.identity = self.weights_digest = "fake"
        self.pixel_size_um = self.run_dir = None
        self.n_steps = 2
        self.n_channels = 1
        self.working_scale = WorkingScale(1)
        self.network = object()
        self.settings = preset("fast")
        self.normalisation = self.settings.image.normalisation

    def model_copy(self, update: dict[str, object]) -> FakeModel:
        """Return a copy with other values of some fields, as that of a record does."""
        copied = copy(self)
        vars(copied).update(update)
        return copied
