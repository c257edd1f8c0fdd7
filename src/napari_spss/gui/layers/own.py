"""Layers of ours in a viewer: how they are marked, added, kept on their image and found again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Points

from .connections import Connections
from .keys import LayerKeys
from .source_frame import SourceFrame, camera_of

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from ...core.annotations import ClassStyle

MARK = "napari_spss"
"""Key of a layer's metadata under which it says what it is to us: a dictionary with a "role"."""


def layer_mark(layer: Layer) -> dict[str, Any]:
    """Return what a layer's metadata say about it; empty for a layer that is none of ours."""
    mark = layer.metadata.get(MARK)
    return mark if isinstance(mark, dict) else {}


def layer_origin(layer: Layer) -> dict[str, Any]:
    """Where the values of a layer come from, see `read_origin`; nothing if it is not known."""
    mark = layer_mark(layer)
    made_by = mark.get("made_by", {})
    is_edited = mark.get("is_edited", False) or made_by.get("is_edited", False)
    return made_by and {**made_by, "is_edited": is_edited}


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


def name_values(layer: Labels, styles: Sequence[ClassStyle]) -> None:
    """Let napari, and whoever measures labels, know the classes of values, and which is outside."""
    names = dict(enumerate(style.name for style in styles))
    layer.metadata["outside"] = next((one.name for one in styles if one.is_outside), None)
    if list(layer.features.get("class", ())) != list(names.values()):
        layer.features = {"index": list(names), "class": list(names.values())}


def painted_slices(atoms: Iterable[Any], axes: str, n_slices: int) -> set[int]:
    """Slices that strokes touched, from what napari's event tells of them."""
    if "Z" not in axes:
        return {0}
    axis, every = axes.index("Z"), np.arange(n_slices)
    return {z for atom in atoms for z in np.unique(every[atom[0][axis]]).tolist()}


def raise_annotations(viewer: ViewerModel, image: Image) -> None:
    """Move our layers of nodes, frames, keypoints and rectangles above an image that hides them."""
    place = viewer.layers.index(image)
    hidden = [
        at
        for at, layer in enumerate(list(viewer.layers)[:place])
        if layer_mark(layer) and not isinstance(layer, (Image, Labels))
    ]
    if hidden:
        viewer.layers.move_multiple(hidden, place + 1)


def put_data(layer: Any, data: Any) -> None:
    """Give a Points or Vectors layer other data.

    napari does not slice a hidden layer, but draws it, and fails on what is there no more.
    """
    layer.data = data
    if not layer.visible:
        layer.set_view_slice()


def put_away(layer: Any) -> None:
    """Empty and hide a Points, Shapes or Vectors layer of ours until it is found again.

    What it showed is kept elsewhere. A layer of the user's own is left as it is.
    """
    if layer_mark(layer):
        if hasattr(layer, "selected_data"):
            layer.selected_data = set()
        layer.data = layer.data[:0]
        layer.visible = False


class OwnLayer:
    """A layer of ours on the annotated image: made when needed, kept on the image, let go.

    Parameters
    ----------
    viewer : ViewerModel
    role : str
        What the layer is for, and its name.

    Attributes
    ----------
    was_removed : bool
        Whether the user deleted the layer.
    """

    def __init__(self, viewer: ViewerModel, role: str) -> None:
        self._viewer = viewer
        self._role = role
        self._frame: SourceFrame | None = None
        self._layer: Any = None
        self.was_removed = False
        self._on_removed: Callable[[], object] = lambda: None  # called when the user deleted it
        self._is_writing = False
        self._keys = LayerKeys(viewer)
        self._layer_connections = Connections()
        self._frame_connections = Connections()
        self._viewer_connections = Connections()
        self._viewer_connections.connect(viewer.layers.events.removed, self._on_layer_removed)

    @property
    def layer(self) -> Any:
        """The layer, or None."""
        return self._layer

    def close(self, *_: object) -> None:
        """Let go of the viewer and of the layer, which stays."""
        self._release()
        self._frame_connections.disconnect_all()
        self._viewer_connections.disconnect_all()

    def set_frame(self, frame: SourceFrame) -> None:
        """Point out the image on which the layer lies."""
        self._follow(frame)
        if self._layer is None:
            return
        if self._layer.ndim != frame.ndim:
            self.hide()
        else:
            frame.align(self._layer)

    def hide(self) -> None:
        """Let go of the layer, which is emptied and hidden until it is found again."""
        layer = self._layer
        self._release()
        if layer is not None:
            put_away(layer)

    def bind_keys(self, callbacks: Mapping[str, Callable[[], None]]) -> tuple[str, ...]:
        """Bind keys on the layer; return those that are taken."""
        return () if self._layer is None else self._keys.bind(self._layer, callbacks)

    def revive(self) -> None:
        """Let the layer be made again that the user deleted."""
        self.was_removed = False

    def activate(self) -> None:
        """Make the layer visible and active."""
        if self._layer is not None:
            self._layer.visible = True
            self._viewer.layers.selection.active = self._layer

    # ---- what kinds of layers say otherwise -------------------------------------------------

    def _make(self, **arguments: Any) -> Layer:
        """Make the layer, empty."""
        raise NotImplementedError

    def _is_left(self, layer: Any) -> bool:
        """Whether a layer that was left in the viewer shows nothing of the user's own."""
        return True

    def _take(self, layer: Any) -> None:
        """Use a layer that is empty, or was left in the viewer."""
        self._layer = layer

    def _release(self) -> None:
        """Use the layer no more."""
        self._keys.unbind()
        self._layer_connections.disconnect_all()
        self._layer = None

    def _on_image_moved(self) -> None:
        if self._layer is not None and self._frame is not None:
            self._frame.align(self._layer)

    def _on_layer_removed(self, event: Any) -> None:
        if event.value is self._layer:
            self._release()
            self.was_removed = True
            self._on_removed()

    # ---- for kinds of layers ----------------------------------------------------------------

    def _follow(self, frame: SourceFrame) -> None:
        self._frame_connections.disconnect_all()
        self._frame = frame
        self._frame_connections.connect_moves(frame.layer, self._on_image_moved)

    def _has_image(self) -> bool:
        """Whether the image is in the viewer; its deletion moves the slider before it is told."""
        return self._frame is not None and self._frame.layer in self._viewer.layers

    def _ensure_layer(self) -> bool:
        """Have a layer on the image; return whether it is a new one."""
        if self._layer is not None:
            return False
        assert self._frame is not None
        layer = find_stale_layer(self._viewer, self._role, self._frame.ndim, self._is_left)
        is_new = layer is None
        if layer is None:
            layer = self._make(
                ndim=self._frame.ndim,
                name=self._role,
                metadata={MARK: {"role": self._role}},
                **self._frame.geometry.layer_arguments(),
            )
        self._frame.align(layer)
        self._take(layer)
        if is_new:
            add_unselected(self._viewer, layer)
        return is_new

    def _screen_px_per_pixel(self) -> float:
        return float(camera_of(self._viewer).zoom * abs(self._layer.scale[-1]))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Take what the layer tells now as our own doing."""
        was_writing, self._is_writing = self._is_writing, True
        try:
            yield
        finally:
            self._is_writing = was_writing


class FixedPoints(OwnLayer):
    """Points that the user neither moves, adds nor deletes; a kind writes ``_places`` of them."""

    _cursor = "standard"

    def __init__(self, viewer: ViewerModel, role: str) -> None:
        super().__init__(viewer, role)
        self._places = np.zeros((0, 2))
        self.pixel_ratio = 1.0  # of the screen, if it has several pixels a point

    def _make(self, **arguments: Any) -> Layer:
        return Points(**arguments)

    def _take(self, layer: Points) -> None:
        super()._take(layer)
        layer._get_value = find_nothing
        self._places = layer.data.copy()
        self._on_mode()
        connect = self._layer_connections.connect
        connect(layer.events.data, self._on_touched)
        connect(layer.events.set_data, self._on_touched)
        connect(layer.events.mode, self._on_mode)

    def _write(self) -> None:
        """Bring the points into the layer."""
        raise NotImplementedError

    def _on_mode(self) -> None:
        if self._layer is not None:
            self._layer.mode = "pan_zoom"
            self._layer.cursor = self._cursor

    def _on_touched(self) -> None:
        """Put points back that the user moved, pasted or deleted."""
        layer = self._layer
        if layer is None or self._is_writing:
            return
        if layer.data.shape != self._places.shape or not np.array_equal(layer.data, self._places):
            layer.selected_data = set()
            self._write()
