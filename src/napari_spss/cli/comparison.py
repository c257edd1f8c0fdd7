"""Stated fractions beside those that a model finds in the same regions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..core.analysis import labels_from_probs
from ..core.base import FinishReason, Message, RunFinished, Stopped, Watched, percent
from ..core.prediction import agreement_with_nodes, gain_text, n_changed_nodes, predict_regions
from .streams import say

if TYPE_CHECKING:
    from ..core.annotations import Annotations, Proportion, Region
    from ..core.base import CancelToken
    from ..core.images import Stack
    from ..core.training import Model
    from .train_job import TrainJob

_MAX_REGIONS = 8


def comparison_lines(
    model: Model, stack: Stack, annotations: Annotations, *, device: str, token: CancelToken
) -> list[str]:
    """Predict some of the regions whose fractions were stated, and tabulate both; say warnings.

    Returns a line for every class but the background of at most eight regions, counted ones first,
    spread evenly; nothing if no fraction was stated. Stopped if the token was set.
    """
    stated = sorted(annotations.effective_proportions(), key=_place)
    if not stated:
        return []
    compared: list[Proportion] = []
    for is_counted in (True, False):
        some = [one for one in stated if (one.source == "grid") is is_counted]
        n = min(len(some), _MAX_REGIONS - len(compared))
        compared += [some[index] for index in np.linspace(0, len(some) - 1, n).round().astype(int)]
    compared.sort(key=_place)
    n_classes = len(model.classes)
    sums = {one.region: np.zeros((2, n_classes)) for one in compared}

    def add(region: Region, _: tuple[int, int], probs: npt.NDArray[np.float32]) -> None:
        labels = labels_from_probs(probs, 0.5 if n_classes == 2 else None)
        sums[region] += (
            probs.sum(axis=(1, 2), dtype=np.float64),
            np.bincount(labels.ravel(), minlength=n_classes),
        )

    for event in predict_regions(model, stack, list(sums), add, device=device, token=token):
        if isinstance(event, Message) and event.level == "warning":
            say(f"warning: {event.text}")
        elif isinstance(event, RunFinished) and event.reason is FinishReason.stopped:
            raise Stopped
    rows = [["region", "class", "stated", "map", "labels"]]
    for one in compared:
        rows += _rows(one, model, sums[one.region])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    shown = "" if len(stated) == len(compared) else f", {len(compared)} of {len(stated)} regions"
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


def _rows(proportion: Proportion, model: Model, sums: npt.NDArray[np.float64]) -> list[list[str]]:
    """Rows of a region from what map and labels hold of each class."""
    region = proportion.region
    name = f"slice {region.slice}"
    if region.box is not None:
        name += f" [{region.box[0]}:{region.box[2]}, {region.box[1]}:{region.box[3]}]"
    outside = model.classes.outside_index
    counting = [index for index in range(len(model.classes)) if index != outside]
    whole = sums[:, counting].sum(axis=1)
    whole[whole == 0] = 1
    rows = []
    for index, fraction in enumerate(proportion.effective_fractions()):
        if index in counting[1:] and fraction is not None:
            stated = percent(fraction, 1) + (" counted" if proportion.source == "grid" else "")
            found = sums[:, index] / whole
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
