"""The training loop: annotations in, events out, a model at the end."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Collection, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_data_path

from ..annotations import Annotations
from ..base import (
    CancelToken,
    Event,
    FinishReason,
    FolderLock,
    InputError,
    Mailbox,
    Message,
    OutOfMemory,
    RunError,
    RunStarted,
    Stopped,
    TrainingSettings,
    Watched,
    counted,
    hold_folder,
)
from ..images import LabelSource, Masks, check_stack, pair_masks
from ..networks import is_out_of_memory, resolve_device
from .checkpoint import Model, save_model
from .preparation import prepare
from .run import Run
from .run_folder import enter_run_dir
from .task import Task

if TYPE_CHECKING:
    from ..images import Stack
    from .loss_terms import StepLoss

_PROGRESS_INTERVAL_S = 0.1
_CHECKPOINT_INTERVAL_S = 30.0
_CHECKPOINT_SHARE = 0.05  # of the time, where they take long
_PREVIEW_INTERVAL_S = 3.0

Clock = Callable[[], float]


def fit(
    stack: Stack,
    annotations: Annotations,
    settings: TrainingSettings | None = None,
    *,
    masks: LabelSource | None = None,
    run_dir: str | Path | None = None,
    held_out_slices: Collection[int] | None = None,
    device: str = "auto",
) -> Model:
    """Train to the end and return the model; :func:`iter_training` without the events.

    What it warns of comes as a Python warning.

    Examples
    --------
    >>> model = fit(stack, annotations, preset("fast"))  # doctest: +SKIP
    """
    run = Watched(
        iter_training(
            stack,
            annotations,
            settings or TrainingSettings(),
            masks=masks,
            run_dir=run_dir,
            held_out_slices=held_out_slices,
            device=device,
        )
    )
    for event in run:
        if isinstance(event, Message) and event.level == "warning":
            warnings.warn(event.text, stacklevel=2)
    return run.result


def iter_training(
    stack: Stack,
    annotations: Annotations,
    settings: TrainingSettings,
    *,
    masks: LabelSource | None = None,
    run_dir: str | Path | None = None,
    resume: bool = False,
    start_from: Model | None = None,
    updates: Mailbox[Annotations] | None = None,
    preview_slice: Callable[[], int | None] | None = None,
    preview_interval_s: float = _PREVIEW_INTERVAL_S,
    held_out_slices: Collection[int] | None = None,
    token: CancelToken | None = None,
    device: str = "auto",
    clock: Clock = time.monotonic,
) -> Generator[Event, None, Model]:
    """Train a network on a stack's annotations, one optimiser step at a time.

    Parameters
    ----------
    stack : Stack
        The image.
    annotations : Annotations
        Fractions, keypoints and counting grids, or nothing if ``masks`` says all.
    settings : TrainingSettings
        See :mod:`napari_spss.core.base.settings`.
    masks : LabelSource, optional
        Pixel labels, 255 where unlabelled. A slice that is mostly labelled trains as a full mask;
        strokes in others count like keypoints.
    run_dir : path, optional
        Folder for checkpoints and the model; nobody else can train in it meanwhile. One that holds
        a run is refused, unless that run is resumed, or ``start_from`` is its model.
    resume : bool
        Go on from the checkpoint in ``run_dir``, as if the run had not been stopped.
    start_from : Model, optional
        Begin with the weights of a trained model, with a budget of its own.
    updates : Mailbox of Annotations, optional
        Annotations made meanwhile; they join at the next step, unless they cannot be used: then
        a Message says why.
    preview_slice : callable, optional
        Returns the slice to preview, or None to skip (the last preview was not taken).
    preview_interval_s : float
        Least time between previews.
    held_out_slices : collection of int, optional
        Slices whose annotations decide when to stop and are not trained on, instead of the random
        part that the settings hold out.
    token : CancelToken, optional
        Stops the run within one step; it then ends with reason ``stopped`` and a usable model.
    device : str
        "auto", "cpu", "cuda", "cuda:N" or "mps".
    clock : callable
        Seconds; for tests.

    Yields
    ------
    Event
        Preparing while data are read, then one RunStarted, one RunFinished last, unless an error
        is raised.

    Returns
    -------
    Model
        ``fast``: the EMA weights at the last step; with ``start_from`` the mean of these and of the
        weights that it began with, if that model learned from the same image and nothing but
        keypoints and painted strokes is new. With validation: those of the lowest loss.

    Raises
    ------
    InputError
        If nothing is annotated, settings do not fit the image, or ``run_dir`` holds another run.
    FolderLocked
        If another run goes on in ``run_dir``.
    RunError
        If ``run_dir`` cannot be written, or is deleted meanwhile; says where the model is.
    Diverged
        If the loss becomes NaN; checkpoints and the last model stay intact.
    OutOfMemory
        If the device's memory does not suffice; carries a smaller setting.
    """
    check_stack(stack)
    if not (masks is None or isinstance(masks, LabelSource)):
        raise InputError(f"masks are a {type(masks).__name__}; make them by open_masks(masks).")
    task = Task(
        stack,
        settings,
        pair_masks(masks, stack) if isinstance(masks, Masks) else masks,
        held_out_slices,
        None if run_dir is None else Path(run_dir),
        resolve_device(device),
        token or CancelToken(),
        clock,
    )
    its_own = None if start_from is None else start_from.run_dir
    held = contextlib.nullcontext() if task.run_dir is None else hold_folder(task.run_dir)
    with held as lock, _memory_errors(settings):
        if task.run_dir is not None:
            is_its_own = its_own is not None and its_own.resolve() == task.run_dir.resolve()
            enter_run_dir(task.run_dir, goes_on=resume or is_its_own)
        run = yield from prepare(task, annotations, resume=resume, start_from=start_from)
        yield RunStarted("training", run.schedule.max_steps, str(task.device), annotations.classes)
        if start_from is not None and not resume and task.run_dir is not None:
            yield run.save()  # whoever resumes begins with that model too
        yield from run.warn(None if resume else start_from)
        wanted = preview_slice or (lambda: None)
        loss: StepLoss | None = None
        progress_at = preview_at = checkpoint_due = clock()
        checkpoint_due += _CHECKPOINT_INTERVAL_S
        while True:
            _check_folder(lock, run)
            is_done = run.end() is FinishReason.completed  # no step would follow
            if not is_done and updates is not None and (changed := updates.take()) is not None:
                yield from run.join(changed)
            if (reason := run.end()) is not None:
                break
            spent = run.spent
            ramp = run.schedule.ramp(spent)
            try:
                if run.schedule.is_posterior_due(spent, run.state.posterior_at):
                    run.count_by_map(spent)
                batch, view = run.draw(ramp)
                logits = run.forward(batch, view)
                loss = run.loss(logits, batch, ramp)
            except Stopped:
                continue
            run.learn(loss, run.schedule.learning_rate(spent))
            if run.ends_epoch and run.data.held_out:
                yield run.validate()
            now = clock()
            if now - progress_at >= _PROGRESS_INTERVAL_S:
                progress_at = now
                yield run.progress(loss)
                loss = None
            if now - preview_at >= preview_interval_s and (z := wanted()) is not None:
                yield from run.preview(z)
                preview_at = clock()
            yield from run.look(spent)
            if task.run_dir is not None and now >= checkpoint_due:
                _check_folder(lock, run)
                before = clock()
                yield run.save()
                took_s = clock() - before
                checkpoint_due = now + max(_CHECKPOINT_INTERVAL_S, took_s / _CHECKPOINT_SHARE)
        yield run.progress(loss)
        model = run.model()
        if (z := wanted()) is not None:
            yield from run.preview(z, model)
        model, told_of_keypoints = run.settle_keypoints(model)
        if task.run_dir is not None:
            _check_folder(lock, run)
            yield run.save()
            save_model(model, task.run_dir)
            _check_folder(lock, run)
        yield from run.look(run.spent, model)
        yield from told_of_keypoints
        yield from run.last_words(reason, model)
    yield run.finished(reason)
    return model


def _check_folder(lock: FolderLock | None, run: Run) -> None:
    """End a run, but not its model, by a RunError once its folder is no longer held."""
    if lock is None or not lock.is_lost:
        return
    folder = run.task.run_dir
    assert folder is not None
    # not beside it: whoever deletes may just be at the folder above
    place, number = user_data_path("napari-spss", appauthor=False) / "rescued", 1
    while (spare := place / f"{folder.name}-{number}").exists():
        number += 1
    try:
        save_model(run.model(), spare)
        kept = f"The model so far was saved in {spare}"
    except RunError as error:
        kept = f"The model is lost: {error}"
    raise RunError(
        f"the folder of the run, {folder}, was deleted or moved while the run went on; it ended "
        f"after {counted(run.state.step, 'step')}. {kept}; all else was in that folder."
    )


@contextlib.contextmanager
def _memory_errors(settings: TrainingSettings) -> Iterator[None]:
    """Turn torch's out-of-memory errors into one that proposes a smaller setting."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        sampling = settings.sampling
        if sampling.batch_size > 1:
            name, value = "sampling.batch_size", sampling.batch_size // 2
        elif sampling.crop_px > 16:
            name, value = "sampling.crop_px", max(16, sampling.crop_px // 2)
        else:
            name, value = "network.filters", max(1, settings.network.filters // 2)
        raise OutOfMemory(
            f"the memory did not suffice for batches of {sampling.batch_size} crops of "
            f"{sampling.crop_px} px; set {name} to {value}.",
            setting=name,
            value=value,
        ) from error
