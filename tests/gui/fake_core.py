"""Stand-ins for the core's generators: they yield its events and can be told to fail."""

from __future__ import annotations

import threading
from collections.abc import Generator

import numpy as np

from napari_spss.core.events import (
    CancelToken,
    Event,
    FinishReason,
    Preview,
    Progress,
    RunFinished,
    RunStarted,
)


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
