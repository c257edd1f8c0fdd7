"""The loss of a step, and its terms by name: functions of what was predicted and what is known.

Eq. 4 with the project's additions: ``alpha L_proportions + (1 - alpha) L_labels`` and, ramped in,
self-training and a penalty on undecided pixels.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import torch
import torch.nn.functional as F

from ..annotations import Classes
from ..base import InputError, Registry, TrainingSettings
from ..networks import (
    activate,
    dense_loss,
    gap,
    inside_maps,
    keypoint_loss,
    label_cross_entropy,
    proportion_interval,
    proportion_kl,
    proportion_mse,
    sharpness as undecided,
)
from .data import Batch
from .samples import Bag, LabelScale
from .self_training import SliceMap, pseudo_labels

# an estimate is no less than this part of what the window shows: a fraction is never negative
_LEAST_SHARE = 0.1
# a region that is outside but for this part of it tells nothing about fractions
_LEAST_INSIDE = 0.01


@dataclass(frozen=True)
class LossInput:
    """What a term of the loss may look at.

    Parameters
    ----------
    logits : Tensor
        (B, n, H, W) of the network, to be differentiated.
    batch : Batch
        What was drawn, on the same device: ``images``, ``targets`` (the label of each pixel, -1
        where there is none), ``weights``, ``coverage`` (0 where a window shows nothing), and more.
    teacher : callable or None
        Returns the maps (B, C, H, W) of the averaged weights, where there is self-training.
    slice_maps : sequence of SliceMap or None
        Per window an earlier map of the slice, where a region is shown in part.
    ramp : float
        0-1, how far self-training has set in; 0 where held-out windows are evaluated.
    settings : TrainingSettings
        Of the run.
    scale : LabelScale
        Fixed weights of labels.
    n_labelled_slots : float
        Windows of a batch that carry labels on average: with ``scale``, the constant by which label
        losses are divided.
    classes : Classes
        Labels alone teach where one outside is: fractions, self-training and sharpness choose among
        the others only.
    """

    logits: torch.Tensor
    batch: Batch
    teacher: Callable[[], torch.Tensor] | None
    slice_maps: Sequence[SliceMap | None]
    ramp: float
    settings: TrainingSettings
    scale: LabelScale
    n_labelled_slots: float
    classes: Classes

    @property
    def outside(self) -> int | None:
        """Index of the class that counts in no fraction; None if there is none."""
        return self.classes.outside_index

    @cached_property
    def probs(self) -> torch.Tensor:
        """The network's maps (B, C, H, W)."""
        return activate(self.logits, max(2, self.logits.shape[1]))

    @cached_property
    def regions(self) -> _Regions | None:
        """Stated and predicted fractions of all regions that the windows show."""
        predicted, bags, weights = [], [], []
        of_windows = self.probs.unbind()
        for index, window in enumerate(self.batch.windows):
            origin = (window.y0, window.x0)
            seen = [
                (bag, fractions)
                for bag in window.bags
                if (
                    fractions := predicted_fractions(
                        of_windows[index],
                        origin,
                        bag,
                        self.slice_maps[index],
                        coverage=self.batch.coverage[index],
                        outside=self.outside,
                    )
                )
                is not None
            ]
            for bag, fractions in seen:
                predicted.append(fractions)
                bags.append(bag)
                weights.append(1 / len(seen) / len(self.batch.windows))
        if not predicted:
            return None
        rho = self.counting(torch.stack(predicted))
        weight = torch.tensor(weights, device=rho.device)
        stated, low, high = (
            self.counting(
                torch.stack([torch.from_numpy(getattr(bag, name)) for bag in bags]).to(rho)
            )
            for name in ("fractions", "low", "high")
        )
        return _Regions(rho, stated, low, high, weight)

    @property
    def is_mask(self) -> torch.Tensor:
        """(B,) bool, whether the labels of a window are a mask of all of it."""
        is_mask = [sample.is_mask for sample in self.batch.samples]
        return torch.tensor(is_mask, device=self.logits.device)

    @cached_property
    def labelled(self) -> tuple[torch.Tensor, ...]:
        """Windows, rows and columns of the pixels that have a label."""
        return (self.batch.targets >= 0).nonzero(as_tuple=True)

    def counting(self, values: torch.Tensor) -> torch.Tensor:
        """Leave the class outside out of (B, C, ...)."""
        if self.outside is None:
            return values
        return torch.cat([values[:, : self.outside], values[:, self.outside + 1 :]], dim=1)

    @cached_property
    def counting_logits(self) -> torch.Tensor:
        """As ``logits``, of what pixels are if they are not outside."""
        return self.counting(self.logits)

    @cached_property
    def counting_probs(self) -> torch.Tensor:
        """Maps of what pixels are if they are not outside; all of ``probs`` if nothing is."""
        return self.probs if self.outside is None else self.counting_logits.softmax(dim=1)


@dataclass(frozen=True)
class _Regions:
    """Regions in rows, classes that count in columns, (R, C'); NaN where nothing is stated."""

    predicted: torch.Tensor
    stated: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    weight: torch.Tensor

    def error(self) -> float | None:
        """Mean absolute difference of stated and predicted fractions, the background's aside."""
        difference = (self.predicted.detach() - self.stated)[:, 1:].abs()
        known = ~torch.isnan(difference)
        return float(difference[known].mean()) if bool(known.any()) else None


LossTerm: TypeAlias = Callable[[LossInput], torch.Tensor | None]
"""A scalar to minimise; None where it has nothing to say about a step."""

_OURS = ("proportions", "labels", "masks", "self_training", "sharpness")
LOSSES: Registry[LossTerm] = Registry(
    "loss term",
    group="napari_spss.losses",
    built_in={name: f"{__name__}:{name}" for name in _OURS},
    field="loss.terms",
)
"""All terms by name. Other packages add theirs by entry points of the group
``napari_spss.losses``, each a function as :func:`register_loss` takes it."""


def register_loss(name: str, term: LossTerm) -> None:
    """Make a term of the loss available by name in this process.

    A package that offers terms names them as entry points of the group ``napari_spss.losses``
    instead; then the command line and the dock know them too.

    Parameters
    ----------
    name : str
        What the settings will say: a weight above 0 of ``loss.terms.NAME`` adds the term.
    term : callable
        Called with a :class:`LossInput` at each step; returns a scalar Tensor that depends on its
        ``logits``, or None where it has nothing to say.

    Raises
    ------
    InputError
        If the name is empty or belongs to a term of ours.

    Examples
    --------
    >>> def smooth(step):
    ...     return step.probs.diff(dim=-1).abs().mean() + step.probs.diff(dim=-2).abs().mean()
    >>> register_loss("smooth", smooth)
    >>> from napari_spss import preset
    >>> preset("fast").with_overrides({"loss.terms.smooth": 0.1}).loss.terms
    {'smooth': 0.1}
    """
    LOSSES.register(name, term)


@dataclass(frozen=True)
class StepLoss:
    """Loss of one step: ``total`` to differentiate, ``parts`` to show.

    ``proportion_error`` is the mean absolute difference of stated and predicted fractions; None if
    the batch states none.
    """

    total: torch.Tensor
    parts: dict[str, float]
    proportion_error: float | None


def step_loss(step: LossInput) -> StepLoss:
    """Sum what the settings weigh; InputError if a term is unknown or no number."""
    loss = step.settings.loss
    weights = {
        "proportions": loss.alpha,
        "labels": 1 - loss.alpha,
        "masks": 1.0,
        "self_training": step.settings.self_training.weight,
        "sharpness": loss.sharpness,
        **loss.terms,
    }
    parts = {
        name: weight * term
        for name, weight in weights.items()
        if weight > 0 and (term := _value(name, step)) is not None
    }
    total = torch.stack(list(parts.values())).sum() if parts else step.logits.sum() * 0
    shown = {name: float(part.detach()) for name, part in parts.items()}
    error = None if step.regions is None else step.regions.error()
    return StepLoss(total, {"total": float(total.detach()), **shown}, error)


def _value(name: str, step: LossInput) -> torch.Tensor | None:
    value: object = LOSSES.get(name)(step)  # of whoever offers it
    if value is None or (isinstance(value, torch.Tensor) and value.shape == ()):
        if value is None or LOSSES.is_built_in(name) or bool(torch.isfinite(value)):
            return value
        if not bool(torch.isfinite(step.logits).all()):
            return value  # the run has diverged
    raise InputError(
        f"the loss term {name!r} returned {reprlib.repr(value)}; it must return a tensor of one "
        "number, or None.",
        field="loss.terms",
    )


def proportions(step: LossInput) -> torch.Tensor | None:
    """Hold predicted fractions against stated ones, in the form that the settings name."""
    regions = step.regions
    if regions is None:
        return None
    rho, weight = regions.predicted, regions.weight
    form = step.settings.loss.proportions
    if form == "mse":
        return proportion_mse(rho, regions.stated, weight)
    if form == "kl":
        return proportion_kl(rho, regions.stated, weight)
    return proportion_interval(rho, regions.low, regions.high, weight)


def labels(step: LossInput) -> torch.Tensor | None:
    """Hold maps against points and nodes."""
    is_mask = step.is_mask
    if bool(is_mask.all()) or not len(step.labelled[0]):
        return None
    logits, batch = step.logits, step.batch
    if step.settings.loss.labels == "eq3":
        return keypoint_loss(logits, batch.targets.masked_fill(is_mask[:, None, None], -1))
    # undecided only as long as all labels are masks, and then there is nothing to divide
    normaliser = (step.scale.normaliser or 1.0) * step.n_labelled_slots
    is_point = ~is_mask[step.labelled[0]]
    at = of_window, y, x = tuple(one[is_point] for one in step.labelled)  # few pixels
    return label_cross_entropy(
        logits[of_window, :, y, x][:, :, None, None],
        *(one[at][:, None, None] for one in (batch.targets, batch.weights)),
        normaliser=normaliser,
        errors=batch.errors[at][:, None, None],
    )


def masks(step: LossInput) -> torch.Tensor | None:
    """Hold maps against masks of whole slices, in the form that the settings name."""
    is_mask = step.is_mask
    if not (bool(is_mask.any()) and bool((step.batch.targets >= 0).any())):
        return None
    share = is_mask.float().mean()
    logits, targets = step.logits[is_mask], step.batch.targets[is_mask]
    if step.settings.loss.masks == "entropy":
        return share * _cross_entropy(logits, targets)
    return share * dense_loss(logits, targets, step.probs[is_mask])


def self_training(step: LossInput) -> torch.Tensor | None:
    """Hold maps against what the teacher takes pixels for, ramped in."""
    teacher = step.teacher
    if teacher is None or step.ramp <= 0:
        return None
    batch, outside, chosen = step.batch, step.outside, []
    targets = torch.full_like(batch.targets, -1, dtype=torch.int16)
    for index, (window, sample) in enumerate(zip(batch.windows, batch.samples, strict=True)):
        if sample.is_mask or not window.bags:
            continue

        def now(index: int = index) -> torch.Tensor:
            return teacher()[index]

        targets[index] = pseudo_labels(
            now,
            (targets.shape[1], targets.shape[2]),
            window.bags,
            band=step.settings.self_training.band,
            origin=(window.y0, window.x0),
            slice_map=step.slice_maps[index],
            outside=outside,
        )
        chosen.append(index)
    if not chosen:
        return None
    targets = torch.where(batch.coverage > 0, targets, -1)
    targets[step.labelled] = batch.targets[step.labelled].short()
    share = len(chosen) / len(batch.windows)
    logits, probs = step.counting_logits, step.counting_probs
    if share < 1:
        logits, probs, targets = logits[chosen], probs[chosen], targets[chosen]
    if outside is not None:
        targets = torch.where(targets == outside, -1, targets)
        targets = targets - (targets > outside).long()
    return step.ramp * (share * dense_loss(logits, targets, probs))


def sharpness(step: LossInput) -> torch.Tensor | None:
    """Penalise undecided pixels, ramped in."""
    if step.ramp <= 0:
        return None
    coverage = step.batch.coverage
    if step.outside is not None:
        coverage = coverage * (1 - step.probs[:, step.outside].detach())
    return step.ramp * undecided(step.counting_probs, coverage)


def predicted_fractions(
    probs: torch.Tensor,
    origin: tuple[int, int],
    bag: Bag,
    slice_map: SliceMap | None,
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
    slice_map : SliceMap or None
        The earlier map of the whole slice; without it, the mean is taken over what the window
        shows.
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
    whole = slice_map.mean(bag.box)
    part = slice_map.mean_shown((top, left, bottom, right), shown)
    if outside is not None:
        whole = whole.index_fill(0, torch.tensor(outside, device=whole.device), 0.0)
        part[outside] = 0.0
    shifted = (mean.detach() + whole - part).maximum(_LEAST_SHARE * mean.detach())
    # the value is shifted, the gradient is that of the part that is shown
    estimate = mean + (shifted - mean.detach())
    return estimate if outside is None else _shares(estimate)


def _shares(means: torch.Tensor) -> torch.Tensor | None:
    """Divide by the sum, which is held constant; None if next to nothing is left to divide."""
    total = means.detach().sum()
    return means / total if total >= _LEAST_INSIDE else None


def _cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy over labelled pixels."""
    is_valid = targets >= 0
    n = is_valid.sum().clamp(min=1)
    if logits.shape[1] > 1:
        return F.cross_entropy(logits, targets, ignore_index=-1, reduction="sum") / n
    weight = is_valid.to(logits.dtype)
    return label_cross_entropy(logits, targets, weight, normaliser=1.0) / n
