"""The loss of a step: proportions, labels, masks, self-training, sharpness, and further terms.

Eq. 4 with the project's additions: ``alpha L_proportions + (1 - alpha) L_labels`` and, ramped in,
self-training and a penalty on undecided pixels.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ..base import InputError, TrainingSettings
from .data import Batch
from .loss_terms import LOSSES, LossInput
from .samples import LabelScale
from .self_training import SliceMap


@dataclass(frozen=True)
class StepLoss:
    """Loss of one step: ``total`` to differentiate, ``parts`` to show.

    ``proportion_error`` is the mean absolute difference of stated and predicted fractions; None if
    the batch states none.
    """

    total: torch.Tensor
    parts: dict[str, float]
    proportion_error: float | None


@dataclass(frozen=True)
class Objective:
    """What training minimises: terms of :data:`LOSSES`, each with the weight that settings give it.

    Parameters
    ----------
    settings : TrainingSettings
        Weights and forms of the terms.
    scale : LabelScale
        Fixed weights of labels.
    n_labelled_slots : float
        Windows of a batch that carry labels on average: with ``scale``, the constant by which
        label losses are divided.
    outside : int, optional
        Class that counts in no fraction. Labels alone teach where it is: fractions,
        self-training and sharpness choose among the other classes only.
    """

    settings: TrainingSettings
    scale: LabelScale
    n_labelled_slots: float
    outside: int | None = None

    def __call__(
        self,
        logits: torch.Tensor,
        batch: Batch,
        *,
        teacher: Callable[[], torch.Tensor] | None,
        slice_maps: Sequence[SliceMap | None],
        ramp: float,
    ) -> StepLoss:
        """Evaluate a step.

        Parameters
        ----------
        logits : Tensor
            (B, n, H, W) of the student, brought back into the frame of ``batch``.
        batch : Batch
            What was drawn, on the device of ``logits``.
        teacher : callable or None
            Returns the teacher's maps (B, C, H, W); None switches self-training off.
        slice_maps : sequence of SliceMap or None
            Per window the teacher's map of the slice, where a region is shown in part.
        ramp : float
            0-1, the share of self-training and sharpness.

        Raises
        ------
        InputError
            If no term has a name that the settings give, or it returns no number.
        """
        seen = LossInput(
            logits=logits,
            batch=batch,
            teacher=teacher,
            slice_maps=slice_maps,
            settings=self.settings,
            scale=self.scale,
            n_labelled_slots=self.n_labelled_slots,
            outside=self.outside,
            ramp=ramp,
        )
        loss = self.settings.loss
        weights = {
            "proportions": loss.alpha,
            "labels": 1 - loss.alpha,
            "masks": 1.0,
            "self_training": self.settings.self_training.weight,
            "sharpness": loss.sharpness,
            **loss.terms,
        }
        terms = {name: _value(name, seen) for name, weight in weights.items() if weight > 0}
        parts = {name: weights[name] * term for name, term in terms.items() if term is not None}
        total = torch.stack(list(parts.values())).sum() if parts else logits.sum() * 0
        shown = {name: float(part.detach()) for name, part in parts.items()}
        error = None if seen.regions is None else seen.regions.error()
        return StepLoss(total, {"total": float(total.detach()), **shown}, error)


def _value(name: str, seen: LossInput) -> torch.Tensor | None:
    value: object = LOSSES.get(name)(seen)  # of whoever offers it
    if value is None or (isinstance(value, torch.Tensor) and value.shape == ()):
        return value
    raise InputError(
        f"the loss term {name!r} returned {reprlib.repr(value)}; it must return a tensor of one "
        "number, or None.",
        field="loss.terms",
    )
