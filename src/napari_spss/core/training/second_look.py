"""Which nodes to look at again: those about which a map and a person differ most.

A node is doubtful by the probability that its judgement is wrong, by Bayes' rule with the map as
prior (:func:`napari_spss.core.training.label_posterior.node_posterior`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ..annotations import N_LOOKS, Annotations, Look, Region
from ..base import InputError
from .label_posterior import node_posterior

# where every node is believed, maps are weighed as if so many were wrong
_LEAST_ERROR = 0.01

Probs = npt.NDArray[np.float32]


class NodeMaps:
    """Takes the maps at the nodes that may be looked at again, while regions are predicted.

    Parameters
    ----------
    annotations : Annotations
        Judged nodes of their grids take part.
    looked_at : bool
        Whether those take part, too, that were looked at again before.

    Attributes
    ----------
    regions : tuple of Region
        What to predict.
    probs : dict of Region to ndarray, (C, N) float32
        Maps at the nodes of each grid; NaN where there is none.

    Examples
    --------
    >>> maps = NodeMaps(annotations)  # doctest: +SKIP
    >>> for event in predict_regions(
    ...     model, stack, maps.regions, maps.sink
    ... ):  # doctest: +SKIP
    ...     print(event)
    >>> looks = rank_nodes(annotations, maps.probs)  # doctest: +SKIP
    """

    def __init__(self, annotations: Annotations, *, looked_at: bool = False) -> None:
        self._grids = {
            grid.region: grid
            for grid in annotations.grids
            if (grid.n_judged if looked_at else grid.to_look_at.any())
        }
        self.regions = tuple(sorted(self._grids, key=lambda at: (at.slice, at.box or ())))
        self.probs: dict[Region, Probs] = {}

    def sink(self, region: Region, rows: tuple[int, int], probs: Probs) -> None:
        """Take rows of a region's maps (C, rows, X), as ``predict_regions`` hands them out."""
        grid = self._grids[region]
        empty = np.full((len(probs), grid.n_nodes), np.nan, np.float32)
        found = self.probs.setdefault(region, empty)
        left = 0 if region.box is None else region.box[1]
        y, x = grid.pixels
        (here,) = np.nonzero((y >= rows[0]) & (y < rows[1]))
        found[:, here] = probs[:, y[here] - rows[0], x[here] - left]


def rank_nodes(
    annotations: Annotations,
    probs: Mapping[Region, Probs],
    *,
    node_error: float = 0.05,
    n: int = N_LOOKS,
) -> tuple[Look, ...]:
    """Judged nodes by the probability that they are wrong, given a map; the largest first.

    Parameters
    ----------
    annotations : Annotations
        With counting grids, or frames.
    probs : mapping of Region to ndarray, (C, N)
        Maps at the nodes of each grid, see `NodeMaps`; nodes without any are left out.
    node_error : float
        Part of the nodes that is expected to be wrong; 0 is taken as 0.01.
    n : int
        Nodes at most.

    Returns
    -------
    tuple of Look
        None of a node that was looked at again before.
    """
    found: list[Look] = []
    for grid in annotations.grids:
        maps = probs.get(grid.region)
        if maps is None:
            continue
        if maps.shape != (len(annotations.classes), grid.n_nodes):
            raise InputError(
                f"the maps of {grid.region} have the shape {maps.shape}; give those at the nodes, "
                f"({len(annotations.classes)}, {grid.n_nodes}), as NodeMaps collects them."
            )
        (nodes,) = np.nonzero(grid.to_look_at & ~np.isnan(maps).any(axis=0))
        stated = grid.class_index[nodes].astype(np.int64)
        errors = np.full(nodes.size, max(node_error, _LEAST_ERROR))
        posterior = node_posterior(maps[:, nodes], stated, errors)
        others = posterior.copy()
        others[stated, np.arange(nodes.size)] = 0.0
        found += [
            Look(grid.region, float(grid.y[i]), float(grid.x[i]), int(c), int(by_map), float(p))
            for i, c, by_map, p in zip(
                nodes, stated, maps[:, nodes].argmax(axis=0), others.sum(axis=0), strict=True
            )
        ]
    found.sort(key=lambda look: -look.probability)  # stable: grids and nodes keep their order
    return tuple(found[:n])
