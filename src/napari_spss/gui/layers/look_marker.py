"""The Points layer that rings the node to be looked at again; it cannot be edited by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .own import FixedPoints
from .source_frame import camera_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from ...core.annotations import Look

LOOK_LAYER = "second look"
_SCREEN_PX = 44.0
_COLOUR = "#ffd400"
_RING = 0.08  # width of the ring, of the size


class LookMarker(FixedPoints):
    """Rings one node, in one size on the screen, and has the keys that judge it."""

    def __init__(self, viewer: ViewerModel, role: str = LOOK_LAYER) -> None:
        super().__init__(viewer, role)
        self._viewer_connections.connect(camera_of(viewer).events.zoom, self._fit_size)

    def show(self, look: Look) -> bool:
        """Ring a node and make the layer the active one; return whether the layer is new."""
        if self._frame is None or not self._has_image():
            return False
        had_layer = self._layer is not None
        self._ensure_layer()
        node = np.array([[look.region.slice, look.y, look.x]])
        self._places = self._frame.place(node, self._layer)
        self._write()
        self.activate()
        return not had_layer

    def _write(self) -> None:
        layer = self._layer
        with self._writing():
            layer.selected_data = set()
            layer.data = self._places.copy()
            layer.face_color = "transparent"
            layer.border_color = _COLOUR
            layer.border_width = _RING
            self._fit_size()

    def _fit_size(self) -> None:
        """Keep the ring as large on the screen, whatever the zoom."""
        if self._layer is not None:
            self._layer.size = _SCREEN_PX * self.pixel_ratio / self._screen_px_per_pixel()
