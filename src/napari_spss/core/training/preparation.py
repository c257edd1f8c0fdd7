"""What is checked, decided and said before the first step of a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..annotations import Annotations
from ..base import InputError, Message, TrainingSettings
from ..images import WorkingScale
from .bias_correction import bias_messages, reconcile
from .checkpoint import Model, TrainingState, describe_network, load_state

if TYPE_CHECKING:
    from ..images import Stack

__all__ = [
    "check_classes",
    "check_model",
    "check_settings",
    "remarks",
    "stopped_run",
    "working_scale",
]

_STRIP_PX = 256  # rows that are read at once


def check_classes(annotations: Annotations) -> None:
    """Refuse a class outside that leaves nothing but background to tell apart.

    Raises
    ------
    InputError
        If it is the only class besides the background.
    """
    if annotations.outside is not None and len(annotations.classes) < 3:
        raise InputError(
            f"class {annotations.outside!r} lies outside, and there is no other class besides the "
            "background; add the class that is to be found.",
            field="classes",
        )


def check_settings(settings: TrainingSettings) -> None:
    """Refuse settings that contradict each other.

    Raises
    ------
    InputError
        If self-training is on without the averaged weights that it needs.
    """
    if settings.self_training.is_on and settings.optimisation.ema_decay is None:
        raise InputError(
            "self-training needs averaged weights, but optimisation.ema_decay is none; set it, or "
            "set self_training.is_on to false.",
            field="optimisation.ema_decay",
        )


def stopped_run(run_dir: Path | None, annotations: Annotations) -> TrainingState:
    """Read the checkpoint that a run is to go on from.

    Raises
    ------
    InputError
        If there is none, it cannot be read, or it has other classes or another one outside.
    """
    if run_dir is None:
        raise InputError("resuming needs the folder of the run; give run_dir.")
    state = load_state(run_dir)
    for name, old, new in (
        ("classes", ", ".join(state.classes), ", ".join(annotations.classes)),
        ("class outside", state.outside, annotations.outside),
    ):
        if old != new:
            raise InputError(
                f"the run in {run_dir} was begun with {name} {old}, not {new}; use the same, or "
                "start a new run."
            )
    return state


def check_model(
    model: Model, settings: TrainingSettings, annotations: Annotations, n_channels: int
) -> None:
    """Refuse a model whose training cannot go on with these data and settings.

    Raises
    ------
    InputError
        If classes, the class outside, channels, network or normalisation differ.
    """
    networks = (describe_network(one).partition(" ")[2] for one in (model.settings, settings))
    for name, old, new in (
        ("classes", model.classes, annotations.classes),
        ("class outside", model.outside, annotations.outside),
        ("image channels", model.n_channels, n_channels),
        ("network", *networks),
        ("normalisation", model.normalisation, settings.image.normalisation),
    ):
        if old != new:
            raise InputError(
                f"the model was trained with {name} {old}, not {new}; use the same, or start a new "
                "run."
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


def remarks(
    settings: TrainingSettings,
    stack: Stack,
    annotations: Annotations,
    *,
    scale: WorkingScale,
    has_held_out: bool,
    is_outside_shown: bool = True,
) -> Iterator[Message]:
    """Tell what the user may not expect."""
    for note in stack.notes:
        yield Message("info", note)
    yield from _contrast_remarks(stack, annotations)
    image = settings.image
    is_stated = image.object_diameter_px is not None or image.object_diameter_um is not None
    if not is_stated and settings.preset != "paper" and scale.reduction == 1:
        yield Message(
            "info",
            "No object diameter was stated, so the network sees the image at full resolution; "
            "stating it makes training on large objects faster and better.",
        )
    yield from scale.notes_of_set(stack)
    if annotations.outside is not None and not is_outside_shown:
        yield Message(
            "warning",
            f"Nothing is labelled as {annotations.outside}: nothing shows the network what lies "
            "outside. Set a few keypoints there, or judge nodes of a grid.",
        )
    if settings.loss.reconcile:
        for text in bias_messages(reconcile(annotations), annotations.classes):
            yield Message("info", text)
    for note in annotations.notes:
        yield Message("info", note)
    if settings.optimisation.validation_fraction > 0 and not has_held_out:
        yield Message(
            "warning",
            "There are too few annotated crops to hold some out, so nothing stops this run early.",
        )


def _contrast_remarks(stack: Stack, annotations: Annotations) -> Iterator[Message]:
    """Tell that no annotated slice shows anything; the first that does ends the reading."""
    slices = annotations.slices() or range(stack.n_slices)
    if all(_is_flat(stack, z) for z in slices):
        of = "The image has" if len(slices) == stack.n_slices else "The annotated slices have"
        yield Message(
            "warning",
            f"{of} no contrast: all pixels of a slice have the same value, so nothing can be "
            "learned. Check that this is the right image, and that it was saved with its grey "
            "values.",
        )


def _is_flat(stack: Stack, z: int) -> bool:
    """Whether each channel of a slice has one value throughout."""
    height, width = stack.shape_of(z)
    strips = (
        stack.read(z, (y, 0, min(y + _STRIP_PX, height), width))
        for y in range(0, height, _STRIP_PX)
    )
    corner = None
    for strip in strips:
        corner = strip[:, :1, :1] if corner is None else corner
        if (strip != corner).any():
            return False
    return True
