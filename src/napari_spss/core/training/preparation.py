"""What comes before the first step: checks, the data, and a network, new, loaded or resumed."""

from __future__ import annotations

import math
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

from ..annotations import Annotations
from ..base import InputError, Preparing, TrainingSettings, counted
from ..images import WorkingScale
from .checkpoint import Model, RunState, Tensors, describe_network, load_state, with_prefix
from .label_posterior import LabelPosterior
from .learner import Learner
from .loss_terms import LOSSES
from .run import Run
from .samples import SampleReader
from .schedule import Schedule
from .self_training import SliceMap, SliceMaps

if TYPE_CHECKING:
    from ..images import Stack
    from .samples import LabelScale
    from .task import Task


def prepare(
    task: Task, annotations: Annotations, *, resume: bool, start_from: Model | None
) -> Generator[Preparing, None, Run]:
    """Read the data, and build, load or resume the network; InputError if they do not fit."""
    settings = task.settings
    _check_settings(settings)
    _check_classes(annotations)
    state: RunState | None = None
    tensors: Tensors = {}
    scale: LabelScale | None = None
    if resume:
        state, tensors = _stopped_run(task.run_dir, annotations)
        working, scale = state.working_scale, state.label_scale
    elif start_from is not None:
        _check_model(start_from, settings, annotations, task.stack.n_channels)
        working = start_from.working_scale.at(task.stack.pixel_size_um(0))
        if start_from.n_steps:
            factor = settings.labels.keypoint_weight / start_from.settings.labels.keypoint_weight
            scale = start_from.label_scale.with_keypoints(factor)
    else:
        working = working_scale(settings, task.stack)
    reader = SampleReader(
        task.stack,
        annotations,
        settings,
        working_scale=working,
        masks=task.masks,
        scale=scale,
    )
    began, n_slices = task.clock(), len(reader.slices)
    data = yield from task.read(reader, began, told_at=-math.inf)
    yield Preparing("building the network", n_slices, n_slices, task.clock() - began)
    digest = data.digest()
    learner = Learner(
        settings,
        n_channels=task.stack.n_channels,
        n_classes=len(annotations.classes),
        device=task.device,
        shares=None if start_from and start_from.n_steps else data.expected_shares(),
        weights=start_from.network.state_dict() if start_from and not resume else None,
    )
    if state is None:
        state = RunState(
            classes=annotations.classes,
            reduction=working.reduction,
            pixel_size_um=working.pixel_size_um,
            label_scale=data.label_scale,
            n_channels=task.stack.n_channels,
            steps_before=None if start_from is None else start_from.n_steps,
            steps_per_epoch=data.sampler.steps_per_epoch,
            data_digest=digest,
        )
    else:
        _load(learner, tensors, task, annotations)
    best = with_prefix("best", tensors) or None
    if state.data_digest != digest:  # of other annotations
        best, state.best_loss, state.stale_epochs = None, None, 0
        state.posterior, state.posterior_at = LabelPosterior(), None
    state.data_digest = digest
    learned_from = task.learned_from(data, annotations)
    before = with_prefix("before", tensors) if learned_from == state.learned_from else None
    state.learned_from = learned_from
    # what was stopped early is not trusted to label itself, nor disturbed less
    least = settings.self_training.start * (settings.optimisation.max_steps or 0)
    has_learned = (state.steps_before or 0) >= max(1, least)
    if start_from is not None and not resume and start_from.learned_from == learned_from:
        before = start_from.network.state_dict() if has_learned else None
    maps = with_prefix("map", tensors)
    schedule = Schedule.of(settings, state.steps_per_epoch, has_learned=has_learned)
    if resume:
        _check_budget(schedule, state, task)
    return Run(
        task,
        reader,
        state,
        task.believe(reader, data, state.posterior),
        learner,
        schedule,
        SliceMaps(
            lambda image: learner.predict(image, is_exact=False, token=task.token),
            task.device,
            {name: SliceMap(maps[name], until) for name, until in state.kept_until.items()},
        ),
        task.clock(),
        best,
        before or None,
    )


def working_scale(settings: TrainingSettings, stack: Stack) -> WorkingScale:
    """Choose the scale that brings the stated object of the first image to its target width.

    Raises
    ------
    InputError
        If the object is wider than every slice, or its width cannot be told in pixels.
    """
    pixel_size_um = stack.pixel_size_um(0)
    reduction = settings.image.reduction(pixel_size_um) or 1
    width_px = settings.image.object_width_px(pixel_size_um) or 0.0
    longest_px = max(max(stack.shape_of(z)) for z in range(stack.n_slices))
    if reduction > 1 and width_px > longest_px:
        raise InputError(
            f"an object about {width_px:g} px wide does not fit into the image, whose longer side "
            f"is {longest_px} px; state the width of one object.",
            field="image.object_diameter_px",
        )
    return WorkingScale(reduction, pixel_size_um)


def _load(learner: Learner, tensors: Tensors, task: Task, annotations: Annotations) -> None:
    try:
        learner.load(tensors)
    except ValueError as error:
        raise InputError(
            f"the checkpoint in {task.run_dir} does not fit {describe_network(task.settings)}, "
            f"{task.stack.n_channels} image channels and {len(annotations.classes)} classes; "
            "resume with the settings and the image of the run."
        ) from error


def _check_budget(schedule: Schedule, state: RunState, task: Task) -> None:
    """Refuse to resume a run that would learn nothing, since its budget is spent."""
    if schedule.max_steps is not None and state.step > schedule.max_steps:
        raise InputError(
            f"the run in {task.run_dir} has made {counted(state.step, 'step')}, more than the "
            f"{schedule.max_steps} that are set, so it would learn nothing; set more, or leave "
            "them out: with other annotations it then goes on from its model.",
            field="optimisation.max_steps",
        )
    if schedule.max_steps is None and schedule.spent(0, state.elapsed_s) == 1:
        took, budget = state.elapsed_s / 60, task.settings.optimisation.max_minutes
        more = math.ceil(2 * took)
        raise InputError(
            f"the run in {task.run_dir} has taken {took:.3g} minutes of the {budget:g} in all that "
            f"are set, so it would learn nothing; set more, such as {more} (--max-minutes).",
            field="optimisation.max_minutes",
        )


def _check_classes(annotations: Annotations) -> None:
    """Refuse classes of which there is nothing but background to tell apart."""
    if len(annotations.classes) < 2:
        raise InputError(
            f"nothing but {annotations.classes[0]} is annotated; name the class that is to be "
            "found as well, such as --classes background,mitochondria (classes=... in Python).",
            field="classes",
        )
    if annotations.outside is not None and len(annotations.classes) < 3:
        raise InputError(
            f"class {annotations.outside!r} lies outside, and there is no other class besides the "
            "background; add the class that is to be found.",
            field="classes",
        )


def _check_settings(settings: TrainingSettings) -> None:
    """Refuse terms that nobody offers, and self-training without the weights that it needs."""
    for name in settings.loss.terms:
        LOSSES.get(name)
    if settings.self_training.enabled and settings.optimisation.ema_decay is None:
        raise InputError(
            "self-training needs averaged weights, but optimisation.ema_decay is none; set it, or "
            "set self_training.enabled to false.",
            field="optimisation.ema_decay",
        )


def _stopped_run(run_dir: Path | None, annotations: Annotations) -> tuple[RunState, Tensors]:
    """Read the checkpoint that a run is to go on from, if it is of the same classes."""
    if run_dir is None:
        raise InputError("resuming needs the folder of the run; give run_dir.")
    state, tensors = load_state(run_dir)
    if state.classes != annotations.classes:
        raise InputError(
            f"the run in {run_dir} was begun with classes {state.classes}, not "
            f"{annotations.classes}; use the same, or start a new run."
        )
    return state, tensors


def _check_model(
    model: Model, settings: TrainingSettings, annotations: Annotations, n_channels: int
) -> None:
    """Refuse a model whose training cannot go on with these data and settings."""
    networks = (describe_network(one).partition(" ")[2] for one in (model.settings, settings))
    for name, old, new in (
        ("classes", model.classes, annotations.classes),
        ("image channels", model.n_channels, n_channels),
        ("network", *networks),
        ("normalisation", model.normalisation, settings.image.normalisation),
    ):
        if old != new:
            raise InputError(
                f"the model was trained with {name} {old}, not {new}; use the same, or start a new "
                "run."
            )
