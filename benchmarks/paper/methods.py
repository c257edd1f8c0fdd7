"""The methods that are compared: what each is told of the training crops, and its settings.

``benchmark`` sees all masks, ``spss`` the exact fractions of every crop (Eq. 1), ``spss+``
keypoints in a few crops as well (Eq. 4): losses, network and protocol of the paper's preset.
``fast`` is the project's default on the annotation of the paper's method.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from images import Picture

from napari_spss.core.annotations import Annotations
from napari_spss.core.base import TrainingSettings, preset
from napari_spss.core.images import LabelSource, as_label_source
from napari_spss.core.simulation.annotators import simulate_clicks, simulate_guesses
from napari_spss.core.simulation.cost import combine
from napari_spss.core.simulation.degrade import degrade

METHODS = ("benchmark", "spss", "spss+", "fast")

# What the paper does not state of SPSS+: "very few" crops, "two or three" keypoints, dilated.
ALPHA, RADIUS_PX = 0.5, 5.0
KEYPOINT_CROPS = 0.1
KEYPOINTS_PER_CLASS = 3


@dataclass(frozen=True)
class Scale:
    """How large a run is.

    Parameters
    ----------
    filters : int
        Of the first block of the paper's network.
    reduction : int
        Data pixels a working pixel.
    max_epochs : int
        Limit; early stopping as in the paper.
    """

    filters: int
    reduction: int
    max_epochs: int


_SCALES = {"paper": Scale(64, 1, 100), "cpu": Scale(8, 2, 40)}


def scale_of(preset_name: str) -> Scale:
    """Scale of the preset "paper", as published, or "cpu"."""
    return _SCALES[preset_name]


def reduced(method: str, scale: Scale) -> dict[str, list[int]]:
    """What a scale changes of the published protocol: [published, here]."""
    full = _SCALES["paper"]
    changes = {
        "filters": [full.filters, scale.filters],
        "reduction": [full.reduction, scale.reduction],
        "max_epochs": [full.max_epochs, scale.max_epochs],
    }
    if method == "fast":
        del changes["filters"]  # it has its own network
    return {name: pair for name, pair in changes.items() if pair[0] != pair[1]}


def steps_per_epoch(n_crops: int) -> int:
    """Steps in which the paper's batches show every crop once."""
    return -(-n_crops // preset("paper").sampling.batch_size)


def settings_of(
    method: str,
    *,
    seed: int,
    scale: Scale,
    crop_px: int,
    n_crops: int,
    alpha: float = ALPHA,
) -> TrainingSettings:
    """Settings of a run.

    Parameters
    ----------
    method : str
        One of `METHODS`.
    seed : int
        Of weights and batches.
    scale : Scale
        Size of the run.
    crop_px : int
        Edge of a crop in data pixels.
    n_crops : int
        Crops that the paper's methods train on: ``fast`` takes as many steps as they take in all
        their epochs, in batches of the same size.
    alpha : float
        Weight of the proportions in Eq. 4.
    """
    published = preset("paper")
    values: dict[str, object] = {
        "seed": seed,
        "sampling.crop_px": crop_px // scale.reduction,
        "sampling.batch_size": published.sampling.batch_size,
    }
    if scale.reduction > 1:
        target_px = published.image.target_diameter_px
        values["image.object_diameter_px"] = scale.reduction * target_px
    if method == "fast":
        values["optimisation.max_steps"] = steps_per_epoch(n_crops) * scale.max_epochs
        return preset("fast").with_overrides(values)
    values["network.filters"] = scale.filters
    values["optimisation.max_epochs"] = scale.max_epochs
    values |= {"loss.alpha": alpha, "labels.keypoint_radius_px": RADIUS_PX}
    return published.with_overrides(values)


@dataclass(frozen=True)
class Annotated:
    """What a method is told.

    Parameters
    ----------
    annotations : Annotations
        Fractions and keypoints, or nothing beside masks.
    masks : LabelSource or None
        Full masks.
    text : str
        What it is, for the record.
    details : dict
        What the paper leaves open, as it was chosen here.
    """

    annotations: Annotations
    masks: LabelSource | None
    text: str
    details: dict[str, Any]


def annotate(
    crops: Sequence[Picture],
    classes: Sequence[str],
    *,
    has_masks: bool,
    has_keypoints: bool,
    degradation: str | None,
    seed: int,
    exact: Collection[int] = (),
    keypoint_crops: float = KEYPOINT_CROPS,
    keypoints_per_class: int = KEYPOINTS_PER_CLASS,
) -> Annotated:
    """Annotate every crop.

    Parameters
    ----------
    crops : sequence of Picture
        What the method may see.
    classes : sequence of str
        Names, the first one takes the background's place.
    has_masks : bool
        Full masks instead of anything else.
    has_keypoints : bool
        Keypoints of every class that occurs, in some of the crops with more than the first class.
    degradation : str or None
        As in ``simulate --degrade``.
    seed : int
        Of keypoints and degradation.
    exact : collection of int
        Crops that decide when to stop in the paper's split: never degraded, no keypoints.
    keypoint_crops : float
        Share of the crops that have keypoints, if so many have more than the first class.
    keypoints_per_class : int
        In each of these crops.
    """
    names = ("background", *classes[1:])
    truth = [crop.truth for crop in crops]
    if has_masks:
        return Annotated(Annotations(names), as_label_source(truth), "full masks", {})
    rng = np.random.default_rng(seed)
    told = [i for i in range(len(crops)) if i not in exact]
    work = simulate_guesses(truth, rng=rng, slices=told, classes=names)
    details: dict[str, Any] = {}
    if has_keypoints:
        fitting = [i for i in told if ((truth[i] > 0) & (truth[i] < len(names))).any()]
        n_chosen = min(len(fitting), max(1, round(keypoint_crops * len(told))))
        chosen = sorted(rng.choice(fitting, size=n_chosen, replace=False).tolist())
        n_object = keypoints_per_class * (len(names) - 1)
        clicks = simulate_clicks(
            truth,
            rng=rng,
            slices=chosen,
            n_per_slice=keypoints_per_class + n_object,
            n_object=n_object,
            classes=names,
        )
        work = combine(work, clicks)
        details = {"crops_with_keypoints": n_chosen, "keypoints_per_class": keypoints_per_class}
    annotations = work.annotations
    if degradation is not None:
        annotations = degrade(annotations, degradation, rng)
    text = annotations.summary()
    if exact:
        others = simulate_guesses(truth, rng=rng, slices=sorted(exact), classes=names)
        both = (*annotations.proportions, *others.annotations.proportions)
        annotations = annotations.replace(proportions=both)
    return Annotated(annotations, None, text, details)
