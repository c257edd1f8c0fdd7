"""Layers of ours in a viewer: how they are marked, added and found again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

MARK = "napari_spss"
"""Key of a layer's metadata under which it says what it is to us: a dictionary with a "role"."""


def layer_mark(layer: Layer) -> dict[str, Any]:
    """Return what a layer's metadata say about it; empty for a layer that is none of ours."""
    mark = layer.metadata.get(MARK)
    return mark if isinstance(mark, dict) else {}


def add_unselected(viewer: ViewerModel, layer: Layer) -> None:
    """Add a layer on top; the active layer stays active."""
    before = viewer.layers.selection.active
    viewer.layers.append(layer)
    if before is not None:
        viewer.layers.selection.active = before


def find_nothing(position: object) -> None:
    """Tell napari that there is no point below the cursor; in place of a layer's ``_get_value``.

    napari's status thread looks for it while this thread may be slicing the layer, which fails on
    positions and sizes of two slices.
    """


def find_stale_layer(
    viewer: ViewerModel, role: str, ndim: int, is_same: Callable[[Any], bool]
) -> Any | None:
    """Find a layer that a closed dock, or another image, left in the viewer.

    Layers are used again rather than removed: with software OpenGL, napari dies at the first
    slice that is shown after a drawn Shapes layer, or a Points layer with a selection, was removed.

    Parameters
    ----------
    viewer : ViewerModel
    role : str
        What the layer is for.
    ndim : int
        Number of its axes.
    is_same : callable
        Whether a layer says nothing but what is to be shown in it.

    Returns
    -------
    Layer or None
        Shown, if it was hidden.
    """
    for layer in viewer.layers:
        if layer_mark(layer).get("role") == role and layer.ndim == ndim and is_same(layer):
            layer.visible = True
            return layer
    return None


def raise_annotations(viewer: ViewerModel, image: Image) -> None:
    """Move our layers of nodes, frames, keypoints and rectangles above an image that hides them."""
    place = viewer.layers.index(image)
    hidden = [
        at
        for at, layer in enumerate(viewer.layers[:place])
        if layer_mark(layer) and not isinstance(layer, (Image, Labels))
    ]
    if hidden:
        viewer.layers.move_multiple(hidden, place + 1)


def put_away(layer: Any) -> None:
    """Empty and hide a Points or Shapes layer of ours until it is found again.

    What it showed is kept elsewhere. A layer of the user's own is left as it is.
    """
    if layer_mark(layer):
        layer.selected_data = set()
        layer.data = layer.data[:0]
        layer.visible = False
