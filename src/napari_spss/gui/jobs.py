"""What runs in the worker's thread: training, applying a model, saving results.

Generators of events that import torch late. They touch no widget and no layer.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..core.annotations import Box, Region
from ..core.base import (
    CancelToken,
    Event,
    FinishReason,
    Mailbox,
    Preparing,
    Preview,
    RunFinished,
    RunStarted,
    SlicePace,
)
from ..core.images import IGNORE, LabelSource
from .preloading import preload

if TYPE_CHECKING:
    from ..core.annotations import Annotations
    from ..core.base import ResultFiles, TrainingSettings
    from ..core.images import Stack
    from ..core.training import Model
    from .layers import Source
    from .models import ResultMaps

__all__ = [
    "Predicted",
    "TrainingJob",
    "apply_model",
    "load_run",
    "save_results",
    "saved_results",
    "train",
]

_LABELS, _MAPS, _FRACTIONS = "labels.ome.tif", "maps.ome.tif", "fractions.csv"
_Plane: TypeAlias = Callable[[int], npt.NDArray[Any]]
_Steps: TypeAlias = Iterator[Event]


@dataclass(frozen=True)
class Predicted:
    """Emitted when the maps of a slice, or of a box in it, stand in the result.

    ``uncertainty`` is the mean of its pixels, 0-1.
    """

    slice: int
    box: Box | None
    uncertainty: float = 0.0


@dataclass(frozen=True)
class TrainingJob:
    """All that a training run gets from the GUI thread.

    Parameters
    ----------
    stack, annotations, settings
        As `core.training.iter_training` takes them.
    run_dir : Path
        Folder of the run; must not hold one yet, unless it is resumed.
    masks : LabelSource or None
        Painted labels, read in the thread as they are then.
    start_from : Model or None
        Model whose training goes on.
    device : str
        Torch device or "auto".
    updates : Mailbox or None
        Annotations made meanwhile.
    preview_slice : callable
        Returns the slice that the viewer shows, or None while the last preview was not taken.
    preview_interval_s : float
        Least time between previews.
    preview_sent : callable
        Called in the thread before each preview that is handed over. Not every question leads to
        one: a slice may be unreadable.
    resumes : bool
        Whether the run in the folder goes on, instead of another one from ``start_from``.
    """

    stack: Stack
    annotations: Annotations
    settings: TrainingSettings
    run_dir: Path
    masks: LabelSource | None
    start_from: Model | None
    device: str
    updates: Mailbox[Annotations] | None
    preview_slice: Callable[[], int | None]
    preview_interval_s: float
    preview_sent: Callable[[], None] = lambda: None
    resumes: bool = False


def train(job: TrainingJob, *, token: CancelToken) -> Generator[Event, None, Model]:
    """Train in a run folder, as the command line does."""
    if "torch" not in sys.modules:
        yield Preparing("loading PyTorch", 0, 1, 0.0)
    preload()
    from ..core.training import RunFolder, RunInputs, begin_recorded, iter_training

    folder = RunFolder(job.run_dir)
    inputs = RunInputs(
        image=job.stack.source,
        image_identity=job.stack.identity(),
        classes=",".join(job.annotations.classes),
    )

    def begin() -> None:
        if job.resumes:
            folder.go_on(job.settings, job.annotations, painted=job.masks)
        else:
            folder.begin(job.settings, job.annotations, inputs, painted=job.masks)

    with spare_core():
        events = iter_training(
            job.stack,
            job.annotations,
            job.settings,
            masks=job.masks,
            run_dir=job.run_dir,
            resume=job.resumes,
            start_from=None if job.resumes else job.start_from,
            updates=job.updates,
            preview_slice=job.preview_slice,
            preview_interval_s=job.preview_interval_s,
            token=token,
            device=job.device,
        )
        watched = _watch_previews(events, job.preview_sent)
        return (yield from begin_recorded(watched, job.run_dir, begin))


def _watch_previews(
    events: Generator[Event, None, Model], sent: Callable[[], None]
) -> Generator[Event, None, Model]:
    """Hand events on, and tell of each preview before."""
    with contextlib.closing(events):
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                model: Model = end.value
                return model
            if isinstance(event, Preview):
                sent()
            yield event


def apply_model(
    model: Model,
    stack: Stack,
    maps: ResultMaps,
    regions: Sequence[Region],
    *,
    device: str,
    token: CancelToken,
) -> Generator[Event | Predicted, None, None]:
    """Predict regions one by one into ``maps``, announcing each when it is complete."""
    preload()
    from ..core.analysis import mean_entropy
    from ..core.networks import Stopped, TileDone
    from ..core.prediction import Piece, SlicePredictor

    pace = SlicePace(len(regions))
    with spare_core():
        predictor = SlicePredictor(model, device, tile_px=None, flips=False)
        yield RunStarted("prediction", len(regions), str(predictor.device), model.classes)
        yield from model.working_scale.notes(stack, [region.slice for region in regions])
        try:
            for region in regions:
                total, n_rows = 0.0, 0
                for item in predictor.pieces(stack, region.slice, box=region.box, token=token):
                    if isinstance(item, Piece):
                        maps.store_rows(region.slice, item.rows, item.probs, region.box)
                        rows = item.rows[1] - item.rows[0]
                        total, n_rows = total + rows * mean_entropy(item.probs), n_rows + rows
                    elif isinstance(item, TileDone):
                        yield from pace.progress(item.fraction)
                    else:
                        yield item
                pace.done += 1
                yield Predicted(region.slice, region.box, total / n_rows)
                yield from pace.progress()
            reason = FinishReason.completed
        except Stopped:
            reason = FinishReason.stopped
    yield RunFinished(reason, pace.done, pace.elapsed_s)


def saved_results(
    folder: Path, model: Model, source: Source, *, overwrite: bool = False
) -> ResultFiles:
    """Files that `save_results` writes into a folder."""
    from ..core.analysis import table_names
    from ..core.prediction import prediction_results

    return prediction_results(
        folder,
        (_LABELS, _MAPS, *table_names(_FRACTIONS)),
        model=model,
        stack=source.stack,
        source=source.path or "",
        overwrite=overwrite,
    )


def save_results(
    results: ResultFiles,
    maps: ResultMaps,
    labels: npt.NDArray[np.uint8],
    voxel_size_um: tuple[float | None, float | None, float | None],
    *,
    excluded: Sequence[int] = (),
    run_dir: Path | None = None,
    token: CancelToken,
) -> Generator[Event, None, None]:
    """Write labels, maps, fractions and objects into a folder.

    Files have all slices, so that indices stay; labels that were never predicted are 255.

    Parameters
    ----------
    results : ResultFiles
        Of `saved_results`.
    maps : ResultMaps
        What was predicted.
    labels : ndarray of uint8, (Z, Y, X)
        Labels as they stand in the viewer, with what the user changed in them.
    voxel_size_um : tuple
        (z, y, x).
    excluded : sequence of int
        The class that lies outside of the specimen and counts in no fraction, if there is one.
    run_dir : Path, optional
        Run whose files are copied as well.

    Raises
    ------
    InputError
        If something is in the way meanwhile.
    RunError
        If the folder cannot be written.
    """
    from ..core.analysis import measure, write_tables
    from ..core.images import StackWriter
    from ..core.training import RunFolder

    n_slices = maps.shape[0]
    marked = _MarkedLabels(maps, labels)
    pace = SlicePace(2 * n_slices)
    yield RunStarted("prediction", n_slices, "", maps.classes)

    def write(path: Path, channels: tuple[str, ...] | None, plane: _Plane) -> _Steps:
        with StackWriter(
            path,
            n_slices=n_slices,
            shapes=[maps.shape[1:]] * n_slices,
            dtype=np.uint8,
            channels=channels,
            classes=() if channels else maps.classes,
            voxel_size_um=voxel_size_um,
        ) as writer:
            for z in range(n_slices):
                if token.is_cancelled:
                    raise _Cancelled
                writer.write(z, plane(z))
                pace.done += 1
                yield from pace.progress()

    try:
        with results.writing() as folder:
            yield from write(folder / _LABELS, None, lambda z: marked.read(z))
            yield from write(folder / _MAPS, maps.classes, lambda z: _bytes(maps, z))
            outside = maps.classes[excluded[0]] if excluded else None
            write_tables(
                measure(marked, voxel_size_um=voxel_size_um, classes=maps.classes, outside=outside),
                folder / _FRACTIONS,
            )
            if token.is_cancelled:
                raise _Cancelled
            if run_dir is not None:
                RunFolder(run_dir).copy_to(results.folder, overwrite=bool(results.overwrite))
    except _Cancelled:
        yield RunFinished(FinishReason.stopped, pace.done, pace.elapsed_s)
        return
    outputs = {name: str(results.folder / name) for name in results.names}
    yield RunFinished(FinishReason.completed, n_slices, pace.elapsed_s, outputs)


class _MarkedLabels:
    """Labels of a result, 255 where nothing was predicted and nothing was painted."""

    def __init__(self, maps: ResultMaps, labels: npt.NDArray[np.uint8]) -> None:
        self._maps = maps
        self._labels = labels
        self.n_slices = maps.shape[0]

    def shape_of(self, z: int) -> tuple[int, int]:
        return self._maps.shape[1:]

    def read(self, z: int, box: Box | None = None) -> npt.NDArray[np.uint8]:
        y0, x0, y1, x1 = box or (0, 0, *self._maps.shape[1:])
        values = np.array(self._labels[z])
        values[~self._maps.is_predicted(z) & (values == 0)] = IGNORE
        return values[y0:y1, x0:x1]


class _Cancelled(Exception):
    """The token was set."""


def _bytes(maps: ResultMaps, z: int) -> npt.NDArray[np.uint8]:
    return np.rint(maps.probs(z) * 255).astype(np.uint8)


def load_run(run_dir: Path, *, token: CancelToken) -> Generator[Event, None, Model]:
    """Load the model of a run folder."""
    from ..core.training import load_model

    began = time.monotonic()
    yield RunStarted("prediction", 1, "", ())
    model = load_model(run_dir)
    yield RunFinished(FinishReason.completed, 1, time.monotonic() - began)
    return model


@contextlib.contextmanager
def spare_core() -> Iterator[None]:
    """Leave one processor core to the window while torch computes in this thread."""
    import torch

    # OpenMP's number of threads belongs to the thread that asks, hence not on the GUI thread
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, min(before, _usable_cores() - 1)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            torch.cuda.empty_cache()


def _usable_cores() -> int:
    """Cores that this process may use, which a scheduler or a container may have limited."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 2
