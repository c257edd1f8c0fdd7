"""The loss of a step: proportions, labels, masks, self-training, sharpness.

Eq. 4 with the project's additions: ``alpha L_proportions + (1 - alpha) L_labels`` and, ramped in,
self-training and a penalty on undecided pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..base import TrainingSettings
from ..networks import (
    activate,
    dice_loss,
    gap,
    inside_maps,
    keypoint_loss,
    label_cross_entropy,
    proportion_interval,
    proportion_kl,
    proportion_mse,
    sharpness,
)
from .data import Batch
from .samples import Bag, LabelScale
from .self_training import pseudo_labels

__all__ = ["Objective", "StepLoss", "predicted_fractions"]

# an estimate is no less than this part of what the window shows: a fraction is never negative
_LEAST_SHARE = 0.1
# a region that is outside but for this part of it tells nothing about fractions
_LEAST_INSIDE = 0.01


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
    """What training minimises.

    Parameters
    ----------
    settings : TrainingSettings
        Weights and forms of the parts.
    n_classes : int
        C, background included.
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
    n_classes: int
    scale: LabelScale
    n_labelled_slots: float
    outside: int | None = None

    def __call__(
        self,
        logits: torch.Tensor,
        batch: Batch,
        *,
        teacher_probs: torch.Tensor | None,
        slice_maps: Sequence[torch.Tensor | None],
        ramp: float,
    ) -> StepLoss:
        """Evaluate a step.

        Parameters
        ----------
        logits : Tensor
            (B, n, H, W) of the student, brought back into the frame of ``batch``.
        batch : Batch
            What was drawn, on the device of ``logits``.
        teacher_probs : Tensor or None
            (B, C, H, W) of the teacher; None switches self-training off.
        slice_maps : sequence of Tensor or None
            Per window the teacher's map (C, y, x) of the slice, where a region is shown in part.
        ramp : float
            0-1, the share of self-training and sharpness.
        """
        probs = activate(logits, self.n_classes)
        parts = {}
        proportions, error = self._proportion_loss(probs, batch, slice_maps)
        if proportions is not None:
            parts["proportions"] = self.settings.loss.alpha * proportions
        if bool((batch.targets >= 0).any()):
            labels, masks = self._label_losses(logits, probs, batch)
            if labels is not None:
                parts["labels"] = (1 - self.settings.loss.alpha) * labels
            if masks is not None:
                parts["masks"] = masks
        if teacher_probs is not None and ramp > 0:
            pseudo = self._self_training_loss(logits, probs, batch, teacher_probs, slice_maps)
            if pseudo is not None:
                parts["self_training"] = self.settings.self_training.weight * ramp * pseudo
        if self.settings.loss.sharpness > 0 and ramp > 0:
            coverage = batch.coverage
            if self.outside is not None:
                coverage = coverage * (1 - probs[:, self.outside].detach())
            undecided = sharpness(self._counting_probs(logits, probs), coverage)
            parts["sharpness"] = self.settings.loss.sharpness * ramp * undecided
        total = torch.stack(list(parts.values())).sum() if parts else logits.sum() * 0
        shown = {name: float(part.detach()) for name, part in parts.items()}
        return StepLoss(total, {"total": float(total.detach()), **shown}, error)

    def _proportion_loss(
        self, probs: torch.Tensor, batch: Batch, slice_maps: Sequence[torch.Tensor | None]
    ) -> tuple[torch.Tensor | None, float | None]:
        predicted, bags, weights = [], [], []
        for index, window in enumerate(batch.windows):
            origin = (window.y0, window.x0)
            seen = [
                (bag, fractions)
                for bag in window.bags
                if (
                    fractions := predicted_fractions(
                        probs[index],
                        origin,
                        bag,
                        slice_maps[index],
                        coverage=batch.coverage[index],
                        outside=self.outside,
                    )
                )
                is not None
            ]
            for bag, fractions in seen:
                predicted.append(fractions)
                bags.append(bag)
                weights.append(1 / len(seen) / len(batch.windows))
        if not predicted:
            return None, None
        rho = self._counting(torch.stack(predicted))
        stated = self._counting(_bag_tensor(bags, "fractions", rho))
        weight = torch.tensor(weights, device=rho.device)
        form = self.settings.loss.proportions
        if form == "mse":
            loss = proportion_mse(rho, stated, weight, normaliser=1.0)
        elif form == "kl":
            loss = proportion_kl(rho, stated, weight, normaliser=1.0)
        else:
            low, high = (self._counting(_bag_tensor(bags, name, rho)) for name in ("low", "high"))
            loss = proportion_interval(rho, low, high, weight, normaliser=1.0)
        difference = (rho.detach() - stated)[:, 1:].abs()
        known = ~torch.isnan(difference)
        error = float(difference[known].mean()) if bool(known.any()) else None
        return loss, error

    def _counting(self, values: torch.Tensor) -> torch.Tensor:
        """Leave the class outside out of (B, C, ...)."""
        if self.outside is None:
            return values
        return torch.cat([values[:, : self.outside], values[:, self.outside + 1 :]], dim=1)

    def _counting_probs(self, logits: torch.Tensor, probs: torch.Tensor) -> torch.Tensor:
        """Maps of what pixels are if they are not outside; all of ``probs`` if nothing is."""
        return probs if self.outside is None else self._counting(logits).softmax(dim=1)

    def _label_losses(
        self, logits: torch.Tensor, probs: torch.Tensor, batch: Batch
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        is_mask = torch.tensor([sample.is_mask for sample in batch.samples], device=logits.device)
        masks = None
        if bool(is_mask.any()):
            share = is_mask.float().mean()
            dense = _cross_entropy if self.settings.loss.masks == "entropy" else _dense_loss
            masks = share * dense(logits[is_mask], probs[is_mask], batch.targets[is_mask])
        if bool(is_mask.all()):
            return None, masks
        targets = batch.targets.masked_fill(is_mask[:, None, None], -1)
        if self.settings.loss.labels == "eq3":
            return keypoint_loss(logits, targets), masks
        window_px = float(logits.shape[-2] * logits.shape[-1])
        areas = [max(1.0, s.shape[0] * s.shape[1] / window_px) for s in batch.samples]
        area = torch.tensor(areas, device=logits.device)[:, None, None]
        # undecided only as long as all labels are masks, and then there is nothing to divide
        normaliser = (self.scale.normaliser or 1.0) * self.n_labelled_slots
        weights = batch.weights * area
        labels = label_cross_entropy(
            logits, targets, weights, normaliser=normaliser, errors=batch.errors
        )
        return labels, masks

    def _self_training_loss(
        self,
        logits: torch.Tensor,
        probs: torch.Tensor,
        batch: Batch,
        teacher_probs: torch.Tensor,
        slice_maps: Sequence[torch.Tensor | None],
    ) -> torch.Tensor | None:
        targets = batch.targets.clone()
        chosen = []
        for index, (window, sample) in enumerate(zip(batch.windows, batch.samples, strict=True)):
            if sample.is_mask or not window.bags:
                continue
            pseudo = pseudo_labels(
                teacher_probs[index],
                window.bags,
                band=self.settings.self_training.band,
                origin=(window.y0, window.x0),
                slice_map=slice_maps[index],
                outside=self.outside,
            )
            human = targets[index]
            pseudo = torch.where(batch.coverage[index] > 0, pseudo, -1)
            targets[index] = torch.where(human >= 0, human, pseudo)
            chosen.append(index)
        if not chosen:
            return None
        share = len(chosen) / len(batch.windows)
        logits, probs, targets = logits[chosen], probs[chosen], targets[chosen]
        probs, logits = self._counting_probs(logits, probs), self._counting(logits)
        if self.outside is not None:
            targets = torch.where(targets == self.outside, -1, targets)
            targets = targets - (targets > self.outside).long()
        return share * _dense_loss(logits, probs, targets)


def predicted_fractions(
    probs: torch.Tensor,
    origin: tuple[int, int],
    bag: Bag,
    slice_map: torch.Tensor | None,
    *,
    coverage: torch.Tensor | None = None,
    outside: int | None = None,
) -> torch.Tensor | None:
    """Mean map (C,) over a bag, as far as a window and an earlier map of the slice tell it.

    What the window shows is corrected by the difference that the earlier map has between the
    whole bag and this part of it: a control variate. The estimate follows the network without
    delay; taking the part that is not shown from the earlier map as it is made the fractions of
    large slices swing, since every step corrected the same old error again.

    Parameters
    ----------
    probs : Tensor
        (C, H, W) of the window.
    origin : (int, int)
        First pixel of the window in the slice.
    bag : Bag
        In the frame of the slice.
    slice_map : Tensor or None
        (C, y, x), the earlier map of the whole slice; without it, the mean is taken over what the
        window shows.
    coverage : Tensor, optional
        (H, W), weight of each pixel of the window in the mean; 1 by default.
    outside : int, optional
        Class that counts in no fraction: the others' means are divided by their sum, the share
        of the bag that is not outside, which is estimated like them and held constant.

    Returns
    -------
    Tensor or None
        None if window and bag do not meet, nothing is covered, or all but a hundredth is outside.
    """
    y0, x0, y1, x1 = bag.box
    top, left = max(y0, origin[0]), max(x0, origin[1])
    bottom = min(y1, origin[0] + probs.shape[1])
    right = min(x1, origin[1] + probs.shape[2])
    if bottom <= top or right <= left:
        return None
    if outside is not None:
        probs = inside_maps(probs, outside)
    rows = slice(top - origin[0], bottom - origin[0])
    columns = slice(left - origin[1], right - origin[1])
    own = probs[:, rows, columns]
    shown = torch.ones_like(own[0]) if coverage is None else coverage[rows, columns]
    if not bool(shown.any()):
        return None
    mean = gap(own[None], shown[None])[0]
    if slice_map is None:
        return mean if outside is None else _shares(mean)
    whole = slice_map[:, y0:y1, x0:x1].mean(dim=(1, 2), dtype=torch.float32)
    part = gap(slice_map[None, :, top:bottom, left:right].float(), shown[None])[0]
    if outside is not None:
        whole[outside] = part[outside] = 0.0
    shifted = (mean.detach() + whole - part).maximum(_LEAST_SHARE * mean.detach())
    # the value is shifted, the gradient is that of the part that is shown
    estimate = mean + (shifted - mean.detach())
    return estimate if outside is None else _shares(estimate)


def _shares(means: torch.Tensor) -> torch.Tensor | None:
    """Divide by the sum, which is held constant; None if next to nothing is left to divide."""
    total = means.detach().sum()
    return means / total if total >= _LEAST_INSIDE else None


def _bag_tensor(bags: Sequence[Bag], name: str, like: torch.Tensor) -> torch.Tensor:
    return torch.stack([torch.from_numpy(getattr(bag, name)) for bag in bags]).to(like)


def _dense_loss(logits: torch.Tensor, probs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy over labelled pixels plus soft Dice."""
    return _cross_entropy(logits, probs, targets) + dice_loss(probs, targets)


def _cross_entropy(
    logits: torch.Tensor, probs: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """Mean cross-entropy over labelled pixels."""
    is_valid = targets >= 0
    n = is_valid.sum().clamp(min=1)
    weight = is_valid.to(logits.dtype)
    return label_cross_entropy(logits, targets, weight, normaliser=1.0) / n
