"""``train --resume``: a stopped run goes on, and a finished one learns from what was added."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.annotations import Annotations, match_class
from ..core.base import FinishReason, InputError, TrainingSettings, length_text
from ..core.images import Stack, open_stack
from ..core.training import MODEL_WEIGHTS, STATE_FILE, Model, RunFolder, RunInputs, load_model
from .options import parse_class_list, shown_path
from .streams import say
from .train_job import (
    NODE_ERROR,
    TrainJob,
    TrainRequest,
    fresh_job,
    open_training_masks,
    read_tables,
    reviewed,
    with_masks,
)

if TYPE_CHECKING:
    from ..core.base import VoxelSize
    from ..core.images import LabelSource

_BUDGET = ("max_steps", "max_epochs", "max_minutes", "patience")


def resumed_job(request: TrainRequest) -> TrainJob:
    """Prepare a run to go on: with its own settings, image and masks, and the newest annotations.

    Where there is no run yet, but an image is named, it begins.
    A run whose budget is used up goes on only with a larger one, or if annotations have changed:
    then from its model, with as large a budget again. A time limit holds only for the command that
    states it: what is left of the steps is done.

    Raises
    ------
    InputError
        If there is neither run nor image, an option contradicts the run, or there is nothing left
        to do.
    """
    if request.start_from is not None:
        raise InputError(
            "--start-from has no meaning with --resume, which goes on with the run's own model; "
            "leave one of them out.",
            field="start_from",
        )
    folder = RunFolder(request.out)
    if not folder.holds_run:
        if request.image is None:
            raise InputError(
                f"--out {request.out} holds no run to go on with; name that of a run, or the image "
                "to begin one."
            )
        say(f"there is no run in {request.out} yet: it begins")
        return fresh_job(request)
    before = folder.settings().without_limit()
    settings = _settings(request, before)
    inputs = folder.inputs()
    known = folder.annotations()
    _check_classes(request, known)
    _check_masks(request, inputs)
    stack = stack_of_run(
        request.out,
        inputs,
        image=request.image,
        axes=request.axes,
        voxel_size_um=request.voxel_size_um,
        command=f"napari-spss train IMAGE --out {shown_path(request.out)} --resume",
    )
    given = _newest(request, known, stack)
    annotations, after_looks, notes = reviewed(request, given, settings)
    masks = _masks(request, folder, known, stack)
    has_new_masks = request.masks is not None and inputs.masks is None
    told = with_masks(inputs, request, masks) if has_new_masks else inputs
    if request.image is not None:  # it may have been moved
        told = replace(told, image=str(request.image.resolve()))
    if request.masks is not None:
        told = replace(told, masks=str(request.masks.resolve()))
    is_changed = annotations != known or has_new_masks
    has_checkpoint = (request.out / STATE_FILE).is_file()
    has_model = (request.out / MODEL_WEIGHTS).is_file()
    model = load_model(request.out) if has_model else None
    if model is not None:
        _check_pixel_size(request.out, model, stack)
    start_from = None
    end = folder.end() if has_model else None
    is_cut_short = end is None or end.reason in (FinishReason.stopped, FinishReason.time_limit)
    if not is_cut_short and settings.without_limit() == before:
        if not is_changed:
            raise InputError(
                f"the run in {request.out} is complete, and nothing has changed; give tables to "
                f"which you added something, masks, or {_larger_budget(settings)}."
            )
        start_from = model
        say("the run was complete: with the changed annotations it goes on from its model")
    elif not has_checkpoint and has_model:
        start_from = model
        say("the run has no checkpoint: it goes on from its model")
    if annotations != given or NODE_ERROR in request.overrides():
        settings = after_looks
    else:
        notes = ()  # these looks are in the run already
    return TrainJob(
        request.out,
        stack,
        annotations,
        settings,
        masks,
        functools.partial(
            folder.go_on,
            settings,
            annotations if is_changed else None,
            inputs=None if told == inputs else told,
        ),
        has_checkpoint=start_from is None and has_checkpoint,
        start_from=start_from,
        known=known,
        before=model if is_changed else None,
        notes=notes,
    )


def _settings(request: TrainRequest, before: TrainingSettings) -> TrainingSettings:
    """Settings of the run, with another budget if one is stated; others must not change."""
    if request.preset not in (None, before.preset):
        raise _contradiction(request.out, "preset", before.preset, request.preset)
    overrides = request.overrides()
    wanted = before.with_overrides(overrides)
    changes = {name: getattr(wanted.optimisation, name) for name in _BUDGET}
    optimisation = before.optimisation.model_copy(update=changes)
    settings = before.model_copy(update={"optimisation": optimisation})
    for name in overrides:
        ours, theirs = settings.value(name), wanted.value(name)
        if ours != theirs and not (name == NODE_ERROR and request.review is not None):
            raise _contradiction(request.out, name, ours, theirs)
    return settings


def _contradiction(out: Path, name: str, ours: object, theirs: object) -> InputError:
    return InputError(
        f"--resume keeps the settings of {out}, where {name} is {ours}, not {theirs}; leave it "
        "out, or start a new run in another folder.",
        field=name,
    )


def _check_pixel_size(out: Path, model: Model, stack: Stack) -> None:
    """Refuse another size of a pixel, with which the network would see the image otherwise."""
    sizes = model.other_pixels(stack)
    if sizes is not None:
        raise _contradiction(out, "the size of a pixel", *map(length_text, sizes))


def _check_classes(request: TrainRequest, known: Annotations) -> None:
    spec = parse_class_list(request.classes)
    if spec is not None and spec.names != known.classes:
        ours, theirs = ", ".join(known.classes), ", ".join(spec.names)
        raise _contradiction(request.out, "the list of classes", ours, theirs)
    if request.outside is None:
        return
    if match_class(request.outside, known.classes) != (known.outside_index or -1):
        raise _contradiction(request.out, "the class outside", known.outside, request.outside)


def _check_masks(request: TrainRequest, inputs: RunInputs) -> None:
    """Refuse other masks than those of the run, as long as these are there, or read otherwise."""
    if inputs.masks is None:
        return
    ours, theirs = Path(inputs.masks), request.masks
    if theirs is not None and theirs.resolve() != ours.resolve() and ours.exists():
        raise _contradiction(request.out, "the file of masks", ours, theirs)
    given, known = (parse_class_list(text) for text in (request.classes, inputs.classes))
    if given is not None and given.values not in (None, known and known.values):
        raise _contradiction(request.out, "the list of classes", inputs.classes, request.classes)
    if request.has_instances and not inputs.has_instances:
        raise _contradiction(request.out, "--instances", "off", "on")


def stack_of_run(
    run: Path,
    inputs: RunInputs,
    *,
    image: Path | None,
    axes: str | None,
    voxel_size_um: VoxelSize | None,
    command: str,
) -> Stack:
    """Open the image of a run, where it was or where the user says it is now.

    What the user does not state is as the run recorded it; ``command`` is that with which to state
    another place. InputError if it is not there, or another image.
    """
    path = image or Path(inputs.image)
    if image is None and not path.exists():
        raise InputError(
            f"the image of the run, {path}, is not there any more; say where it is: {command}."
        )
    stack = open_stack(
        path, axes=axes or inputs.axes, voxel_size_um=voxel_size_um or inputs.voxel_size_um
    )
    if stack.identity() != inputs.image_identity:
        raise InputError(
            f"{path} is not the image that the run in {run} was trained on, or has "
            "changed since; give that image, or start a new run in another folder."
        )
    return stack


def _newest(request: TrainRequest, known: Annotations, stack: Stack) -> Annotations:
    """What the run knows, with those kinds replaced whose tables are given."""
    given = read_tables(request, known.classes, stack)
    if given is None:
        return known
    return Annotations(
        known.classes,
        known.proportions if request.proportions is None else given.proportions,
        known.keypoints if request.keypoints is None else given.keypoints,
        known.grids if request.grid is None else given.grids,
        given.notes,
    )


def _masks(
    request: TrainRequest, folder: RunFolder, known: Annotations, stack: Stack
) -> LabelSource | None:
    """Open the masks of the run, those that are added, or what was painted in the dock."""
    inputs = folder.inputs()
    path = request.masks or (None if inputs.masks is None else Path(inputs.masks))
    painted = None if inputs.masks else folder.painted(stack)
    if path is None:
        return painted
    if request.masks is None and not path.exists():
        raise InputError(
            f"the masks of the run, {path}, are not there any more; say where they are by --masks.",
            field="masks",
        )
    if painted is not None:
        raise InputError(
            f"the run in {folder.path} learns from labels that were painted in the dock, which "
            "--masks would replace; leave --masks out, or start a new run in another folder.",
            field="masks",
        )
    spec = parse_class_list(request.classes or inputs.classes)
    return open_training_masks(
        path,
        spec,
        stack,
        known=known.classes,
        instances=request.has_instances or inputs.has_instances,
    )


def _larger_budget(settings: TrainingSettings) -> str:
    budget = settings.optimisation
    if budget.max_steps is not None:
        return f"more steps, such as --set optimisation.max_steps={2 * budget.max_steps}"
    if budget.max_epochs is not None:
        return f"more epochs, such as --set optimisation.max_epochs={2 * budget.max_epochs}"
    return "more time with --max-minutes"
