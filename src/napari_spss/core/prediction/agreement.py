"""How far a model's labels agree with counted nodes, beside those of the model before."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import numpy.typing as npt

from ..annotations import Annotations, Region
from ..base import Agreement, CancelToken, FinishReason, Predicted, Preparing, RunFinished
from ..images import Stack
from ..training import Model, NodeMaps
from .engine import predict_regions

__all__ = ["agreement_with_nodes"]

_CHANCE = 0.05


def agreement_with_nodes(
    model: Model,
    stack: Stack,
    annotations: Annotations,
    *,
    before: Model | None = None,
    device: str = "auto",
    token: CancelToken | None = None,
) -> Generator[Preparing, None, Agreement | None]:
    """Compare the labels of a model, and of the one before, with all nodes that were judged.

    A model is likely to agree with nodes that it has learned from. So a new one, which knows them
    all, is favoured: if even so it agrees on clearly fewer, the one before was better.

    Parameters
    ----------
    model : Model
    stack : Stack
    annotations : Annotations
        With counting grids, or frames.
    before : Model, optional
        Left aside if its classes are others.
    device : str
        Torch device or "auto".
    token : CancelToken, optional
        Ends it within one tile.

    Yields
    ------
    Preparing
        What is compared.

    Returns
    -------
    Agreement or None
        None if no node is judged, or the token was set.
    """
    grids = [grid for grid in annotations.grids if grid.n_judged]
    if before is not None and before.classes != annotations.classes:
        before = None
    found: list[npt.NDArray[np.bool_]] = []
    areas = np.zeros(len(annotations.classes), np.int64)
    for one in (model, before):
        if one is None or not grids:
            continue
        maps = NodeMaps(annotations, looked_at=True)

        def take(
            region: Region,
            rows: tuple[int, int],
            probs: npt.NDArray[np.float32],
            maps: NodeMaps = maps,
            is_new: bool = one is model,
        ) -> None:
            maps.sink(region, rows, probs)
            if is_new:
                areas[:] += np.bincount(probs.argmax(axis=0).ravel(), minlength=len(areas))

        n_done = 0
        for event in predict_regions(one, stack, maps.regions, take, device=device, token=token):
            if isinstance(event, RunFinished) and event.reason is not FinishReason.completed:
                return None
            if isinstance(event, Predicted):
                n_done += 1
                text = f"comparing with counted nodes, {n_done} of {len(maps.regions)}"
                yield Preparing(text, n_done, len(maps.regions), 0.0)
        found.append(
            np.concatenate(
                [
                    maps.probs[grid.region].argmax(axis=0)[judged] == grid.class_index[judged]
                    for grid in grids
                    if (judged := grid.class_index >= 0).any()
                ]
            )
        )
    if not found:
        return None
    if annotations.outside_index is not None:
        areas[annotations.outside_index] = 0
    agrees, agreed = found[0], found[-1]
    n_lost = int(np.count_nonzero(agreed & ~agrees))
    return Agreement(
        agrees.size,
        int(np.count_nonzero(agrees)),
        tuple(float(area) / max(1, int(areas.sum())) for area in areas),
        None if before is None else int(np.count_nonzero(agreed)),
        _is_loss(n_lost, int(np.count_nonzero(agrees & ~agreed))),
    )


def _is_loss(n_lost: int, n_gained: int) -> bool:
    """Whether so many more are lost than gained that it is hardly by chance."""
    from scipy.stats import binomtest  # late: it takes a while, and few need it

    n = n_lost + n_gained
    return bool(n and binomtest(n_lost, n, alternative="greater").pvalue < _CHANCE)
