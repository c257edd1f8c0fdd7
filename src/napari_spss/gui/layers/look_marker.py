"""The Points layer that rings the node to be looked at again; it cannot be edited by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Points

from .connections import Connections
from .keys import LayerKeys
from .own import MARK, find_nothing, find_stale_layer, put_away
from .source_frame import SourceFrame, camera_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from ...core.annotations import Look

LOOK_LAYER = "second look"
_SCREEN_PX = 44.0
_COLOUR = "#ffd400"
_RING = 0.08  # width of the ring, of the size


class LookMarker:
    """Rings one node, in one size on the screen, and has the keys that judge it.

    Parameters
    ----------
    viewer : ViewerModel
    role : str
        What the layer is for, and its name.
    """

    def __init__(self, viewer: ViewerModel, role: str = LOOK_LAYER) -> None:
        self._viewer = viewer
        self._role = role
        self._source: SourceFrame | None = None
        self._layer: Points | None = None
        self._place = np.zeros((0, 2))
        self._is_writing = False
        self._pixel_ratio = 1.0
        self._keys = LayerKeys(viewer)
        self._layer_connections = Connections()
        self._source_connections = Connections()
        self._viewer_connections = Connections()
        self._viewer_connections.connect(viewer.layers.events.removed, self._on_removed)
        self._viewer_connections.connect(camera_of(viewer).events.zoom, self._fit_size)

    @property
    def layer(self) -> Points | None:
        """The layer, if there is one."""
        return self._layer

    def close(self, *_: object) -> None:
        """Let go of the viewer; the layer stays."""
        self._release()
        self._source_connections.disconnect_all()
        self._viewer_connections.disconnect_all()

    def set_source(self, source: SourceFrame) -> None:
        """Point out the image that the nodes lie on."""
        self._source_connections.disconnect_all()
        self._source = source
        self._source_connections.connect_moves(source.layer, self._on_moved)
        layer = self._layer
        if layer is not None and layer.ndim != source.ndim:
            self._release()
            put_away(layer)
        self._on_moved()

    def set_pixel_ratio(self, ratio: float) -> None:
        """Draw larger on a screen with several pixels a point."""
        self._pixel_ratio = ratio

    def bind_keys(self, callbacks: Mapping[str, Callable[[], None]]) -> tuple[str, ...]:
        """Bind keys on the layer; return those that are taken."""
        return () if self._layer is None else self._keys.bind(self._layer, callbacks)

    def show(self, look: Look) -> bool:
        """Ring a node and make the layer the active one; return whether the layer is new."""
        source = self._source
        if source is None or source.layer not in self._viewer.layers:
            return False
        is_new = self._layer is None
        layer = self._ensure_layer(source)
        self._place = source.place(np.array([[look.region.slice, look.y, look.x]]), layer)
        self._write()
        layer.visible = True
        self._viewer.layers.selection.active = layer
        return is_new

    def hide(self) -> None:
        """Ring no node, and let go of the layer."""
        layer = self._layer
        self._release()
        if layer is not None:
            put_away(layer)

    def _ensure_layer(self, source: SourceFrame) -> Points:
        if self._layer is not None:
            return self._layer
        layer = find_stale_layer(self._viewer, self._role, source.ndim, lambda _: True)
        is_new = layer is None
        if layer is None:
            layer = Points(
                ndim=source.ndim,
                name=self._role,
                metadata={MARK: {"role": self._role}},
                **source.geometry.layer_arguments(),
            )
        source.align(layer)
        layer.mode = "pan_zoom"
        layer._get_value = find_nothing
        self._layer = layer
        self._layer_connections.connect(layer.events.data, self._on_touched)
        self._layer_connections.connect(layer.events.mode, self._on_mode)
        if is_new:
            self._viewer.layers.append(layer)
        return layer

    def _release(self) -> None:
        self._keys.unbind()
        self._layer_connections.disconnect_all()
        self._layer = None

    def _write(self) -> None:
        layer = self._layer
        if layer is None:
            return
        self._is_writing = True
        try:
            layer.selected_data = set()
            layer.data = self._place.copy()
            layer.face_color = "transparent"
            layer.border_color = _COLOUR
            layer.border_width = _RING
            self._fit_size()
        finally:
            self._is_writing = False

    def _fit_size(self) -> None:
        """Keep the ring as large on the screen, whatever the zoom."""
        if self._layer is not None:
            screen_px_per_pixel = camera_of(self._viewer).zoom * abs(self._layer.scale[-1])
            self._layer.size = _SCREEN_PX * self._pixel_ratio / screen_px_per_pixel

    def _on_touched(self) -> None:
        """Put the ring back that the user moved or deleted."""
        layer = self._layer
        if layer is None or self._is_writing:
            return
        if not np.array_equal(layer.data, self._place):
            self._write()

    def _on_mode(self) -> None:
        if self._layer is not None and self._layer.mode != "pan_zoom":
            self._layer.mode = "pan_zoom"

    def _on_moved(self) -> None:
        if self._layer is not None and self._source is not None:
            self._source.align(self._layer)

    def _on_removed(self, event: Any) -> None:
        if event.value is self._layer:
            self._release()
