"""The Vectors layer that outlines counting frames; a layer of vectors cannot be edited by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from napari.layers import Vectors

from .own import OwnLayer, put_data
from .source_frame import SourceFrame, camera_of, corners_of

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from ...core.annotations import Region

FRAMES_LAYER = "counting frames"
_SCREEN_PX = 2.0
_COLOURS = {"current": "#00e5ff", "open": "#ffffffc8", "done": "#ffffff70"}

FrameState = Literal["current", "open", "done"]


class FrameOutlines(OwnLayer):
    """Outlines frames on their slices: bright the one that is counted, pale those that are done.

    Lines have one width on the screen.
    """

    def __init__(self, viewer: ViewerModel, role: str = FRAMES_LAYER) -> None:
        super().__init__(viewer, role)
        self._shown: dict[Region, FrameState] = {}
        self._viewer_connections.connect(camera_of(viewer).events.zoom, self._fit_width)

    def set_frame(self, frame: SourceFrame) -> None:
        """Point out the image on which the frames lie."""
        shown = self._shown
        super().set_frame(frame)
        self._shown = {}
        self.show(shown)

    def show(self, frames: Mapping[Region, FrameState]) -> None:
        """Outline these frames and no others."""
        if frames == self._shown or self._frame is None or self.was_removed:
            return
        if not self._has_image() or not (frames or self._layer):
            return
        self._ensure_layer()
        layer = self._layer
        had_any, self._shown = bool(self._shown), dict(frames)
        lines = np.zeros((0, 2, layer.ndim))
        if frames:
            places = np.concatenate([corners_of(region) for region in frames])
            corners = self._frame.place(places, layer).reshape(len(frames), 4, layer.ndim)
            sides = np.stack([corners, np.roll(corners, -1, axis=1) - corners], axis=2)
            lines = sides.reshape(-1, 2, layer.ndim)
        put_data(layer, lines)
        if frames:
            layer.edge_color = np.repeat([_COLOURS[state] for state in frames.values()], 4)
        if had_any != bool(frames):  # else the user's eye in the layer list holds
            layer.visible = bool(frames)
        self._fit_width()

    def _make(self, **arguments: Any) -> Layer:
        return Vectors(vector_style="line", opacity=1.0, **arguments)

    def _release(self) -> None:
        super()._release()
        self._shown = {}

    def _fit_width(self) -> None:
        """Keep the lines as wide on the screen, whatever the zoom."""
        if self._layer is not None and self._shown:
            self._layer.edge_width = _SCREEN_PX / self._screen_px_per_pixel()
