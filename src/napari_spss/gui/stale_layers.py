"""Layers that a closed dock left in the viewer, and that a new one shows again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels, Points, Shapes

from .layers import GRID_LAYER, KEYPOINTS_LAYER, MARK, REGIONS_LAYER
from .widgets import PAINTED_LAYER

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

    from .widgets import AnnotateSection

__all__ = ["remove_left_over"]


def remove_left_over(viewer: Viewer, annotate: AnnotateSection) -> None:
    """Take away layers that show what those of the section show; who edits them would be unheard.

    Layers that say something else, because they were edited since, stay.
    """
    ours: dict[str, Layer | None] = {
        KEYPOINTS_LAYER: annotate.keypoints.layer,
        PAINTED_LAYER: annotate.painted.layer,
        REGIONS_LAYER: annotate.regions.layer,
        GRID_LAYER: annotate.grid.layer,
    }
    active = viewer.layers.selection.active
    for layer in list(viewer.layers):
        mark = layer.metadata.get(MARK)
        role = mark.get("role") if isinstance(mark, dict) else None
        if role not in ours or any(layer is one for one in ours.values()):
            continue
        same = ours[role]
        if not (_shows_the_same(layer, same) or _is_grid_of(layer, role, annotate)):
            continue
        name = layer.name
        viewer.layers.remove(layer)
        if same is not None:
            same.name = name
    if active in viewer.layers:
        viewer.layers.selection.active = active


def _shows_the_same(layer: Layer, other: Layer | None) -> bool:
    """Whether two layers hold the same data, or one holds nothing and there is no other."""
    if other is None:
        return not isinstance(layer, Labels) and len(layer.data) == 0
    if type(layer) is not type(other) or len(layer.data) != len(other.data):
        return False
    if isinstance(layer, Shapes):
        pairs = zip(layer.data, other.data, strict=True)
        return all(np.array_equal(one, two) for one, two in pairs)
    return np.array_equal(layer.data, other.data)


def _is_grid_of(layer: Layer, role: str, annotate: AnnotateSection) -> bool:
    """Whether a layer shows one of the section's grids, perhaps of another slice."""
    if role != GRID_LAYER or not isinstance(layer, Points):
        return False
    nodes = layer.data[:, -2:]
    return any(
        len(nodes) == grid.n_nodes and np.allclose(nodes, np.stack([grid.y, grid.x], axis=1))
        for grid in annotate.grid.value()
    )
