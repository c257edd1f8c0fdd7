"""How far a model's labels agree with counted nodes, beside those of the model before."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import numpy.typing as npt

from ..annotations import Annotations, Classes, Region
from ..base import Agreement, CancelToken, FinishReason, Predicted, Preparing, RunFinished, counted
from ..images import Stack
from ..training import Model, NodeMaps
from .engine import predict_regions

_CHANCE, _N_DRAWS = 0.05, 999


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
    all, is favoured: if even so its overlap is clearly smaller, the one before was better. Clearly
    is what hardly one in 20 random exchanges of the two models' labels, node by node, brings about.

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
    stated = [grid.class_index[grid.class_index >= 0] for grid in grids]
    found: list[npt.NDArray[np.int64]] = []
    fractions: list[tuple[float, ...]] = []
    for one in (model, before):
        if one is None or not grids:
            continue
        maps = NodeMaps(annotations, looked_at=True)
        areas = np.zeros(len(annotations.classes), np.int64)

        def take(
            region: Region,
            rows: tuple[int, int],
            probs: npt.NDArray[np.float32],
            maps: NodeMaps = maps,
            areas: npt.NDArray[np.int64] = areas,
        ) -> None:
            maps.sink(region, rows, probs)
            areas += np.bincount(probs.argmax(axis=0).ravel(), minlength=len(areas))

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
                [maps.probs[grid.region].argmax(axis=0)[grid.class_index >= 0] for grid in grids]
            )
        )
        if annotations.outside_index is not None:
            areas[annotations.outside_index] = 0
        fractions.append(tuple(float(area) / max(1, int(areas.sum())) for area in areas))
    if not found:
        return None
    n_classes = len(annotations.classes)
    overlaps, is_worse = _compared(np.concatenate(stated), found[0], found[-1], n_classes)
    if before is None:
        return Agreement(found[0].size, overlaps[0], fractions[0])
    return Agreement(found[0].size, overlaps[0], fractions[0], overlaps[1], is_worse, fractions[1])


def n_changed_nodes(before: Annotations, after: Annotations) -> int:
    """Count the nodes that are judged otherwise than before."""
    known = {grid.region: grid for grid in before.grids}
    pairs = [(known[one.region], one) for one in after.grids if one.region in known]
    return sum(
        int(
            np.sum(
                (old.class_index >= 0)
                & (new.class_index >= 0)
                & (old.class_index != new.class_index)
            )
        )
        for old, new in pairs
        if old.n_nodes == new.n_nodes
    )


def gain_text(n_changed: int, agreement: Agreement | None, classes: Classes) -> str:
    """Say what came of nodes that were changed; nothing if there are none, or it is not known."""
    if not n_changed or agreement is None or agreement.fractions_before is None:
        return ""
    pairs = zip(classes, agreement.fractions_before, agreement.fractions, strict=True)
    moved = ", ".join(
        f"{name} from {100 * old:.2f} to {100 * new:.2f} %"
        for index, (name, old, new) in enumerate(pairs)
        if index not in (0, classes.outside_index)
    )
    return (
        f"With {counted(n_changed, 'changed node')}, overlap at {agreement.n_nodes} judged nodes "
        f"went from {agreement.overlap_before:.2f} to {agreement.overlap:.2f}; labels of what was "
        f"counted: {moved}."
    )


def _compared(
    stated: npt.NDArray[np.integer],
    now: npt.NDArray[np.integer],
    before: npt.NDArray[np.integer],
    n_classes: int,
) -> tuple[tuple[float, float], bool]:
    """Overlap of both with what was stated, and whether the first is less than by chance."""
    swaps = np.random.default_rng(0).integers(0, 2, (_N_DRAWS + 1, stated.size), np.int8)
    swaps[0] = 0  # as it is
    sums = np.zeros((2, _N_DRAWS + 1))
    n_seen = 0
    for c in range(1, n_classes):
        is_stated = stated == c
        shared, either = (
            [how(labels == c, is_stated).astype(np.float64) for labels in (now, before)]
            for how in (np.logical_and, np.logical_or)
        )
        if not (either[0].any() or either[1].any()):
            continue
        n_seen += 1
        more, wider = (swaps @ (two - one) for one, two in (shared, either))
        for row, sign in ((0, 1), (1, -1)):
            top, bottom = shared[row].sum() + sign * more, either[row].sum() + sign * wider
            sums[row] += np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)
    overlap = sums / max(1, n_seen)
    loss = overlap[1] - overlap[0]
    chance = float(np.mean(loss >= loss[0] - 1e-12))
    return (float(overlap[0, 0]), float(overlap[1, 0])), bool(loss[0] > 0 and chance < _CHANCE)
