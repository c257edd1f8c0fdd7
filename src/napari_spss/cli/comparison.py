"""Stated fractions beside those that a model finds in the same regions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..core.analysis import labels_from_probs
from ..core.base import Watched, percent
from ..core.prediction import agreement_with_nodes, gain_text, n_changed_nodes, predict_slice

if TYPE_CHECKING:
    from ..core.annotations import Annotations, Proportion
    from ..core.base import CancelToken
    from ..core.images import Stack
    from ..core.training import Model
    from .train_job import TrainJob

_MAX_REGIONS = 8


def comparison_lines(
    model: Model, stack: Stack, annotations: Annotations, *, device: str, token: CancelToken
) -> list[str]:
    """Predict some of the regions whose fractions were stated, and tabulate both.

    Parameters
    ----------
    model : Model
        Trained on these annotations.
    stack, annotations
        The image, and what was said about it.
    device : str
        What predicts.
    token : CancelToken
        Stops within one tile.

    Returns
    -------
    list of str
        A line for every class but the background of at most eight regions, spread evenly; nothing
        if no fraction was stated.

    Raises
    ------
    Stopped
        If the token was set.
    """
    stated = sorted(annotations.effective_proportions(), key=_place)
    if not stated:
        return []
    chosen = np.linspace(0, len(stated) - 1, min(len(stated), _MAX_REGIONS)).round().astype(int)
    rows = [["region", "class", "stated", "map", "labels"]]
    for index in chosen.tolist():
        rows += _rows(stated[index], model, stack, device=device, token=token)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    shown = "" if len(stated) == len(chosen) else f", {len(chosen)} of {len(stated)} regions"
    title = f"fractions as stated, as the mean of the map, and of the labels{shown}:"
    return [title, *(_aligned(row, widths) for row in rows), ""]


def gain_lines(model: Model, job: TrainJob, *, device: str, token: CancelToken) -> list[str]:
    """Compare with the model before, if nodes were changed since; nothing else, or if stopped."""
    if job.before is None or job.known is None:
        return []
    n_changed = n_changed_nodes(job.known, job.annotations)
    if not n_changed:
        return []
    run = Watched(
        agreement_with_nodes(
            model, job.stack, job.annotations, before=job.before, device=device, token=token
        )
    )
    for _ in run:
        pass
    text = gain_text(n_changed, run.result, model.classes)
    return [text, ""] if text else []


def _rows(
    proportion: Proportion, model: Model, stack: Stack, *, device: str, token: CancelToken
) -> list[list[str]]:
    region = proportion.region
    probs = predict_slice(model, stack, region.slice, box=region.box, device=device, token=token)
    labels = labels_from_probs(probs, 0.5 if len(model.classes) == 2 else None)
    name = f"slice {region.slice}"
    if region.box is not None:
        name += f" [{region.box[0]}:{region.box[2]}, {region.box[1]}:{region.box[3]}]"
    outside = model.classes.outside_index
    counting = [index for index in range(len(model.classes)) if index != outside]
    of_map = float(probs[counting].sum(axis=0).mean()) if outside is not None else 1.0
    of_labels = float((labels != outside).mean()) if outside is not None else 1.0
    rows = []
    for index, fraction in enumerate(proportion.effective_fractions()):
        if index in counting[1:] and fraction is not None:
            found = (
                float(probs[index].mean()) / (of_map or 1.0),
                float((labels == index).mean()) / (of_labels or 1.0),
            )
            stated = percent(fraction, 1) + (" counted" if proportion.source == "grid" else "")
            rows.append([name, model.classes[index], stated, *(percent(one, 1) for one in found)])
    return rows


def _place(proportion: Proportion) -> tuple[int, tuple[int, ...]]:
    return proportion.region.slice, proportion.region.box or ()


def _aligned(row: list[str], widths: list[int]) -> str:
    """Names to the left, numbers to the right."""
    cells = [
        cell.ljust(width) if column < 2 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  " + "  ".join(cells)
