"""The Vectors layer that outlines counting frames; a layer of vectors cannot be edited by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from napari.layers import Vectors

from .connections import Connections
from .own import MARK, add_unselected, find_stale_layer
from .source_frame import SourceFrame, camera_of, corners_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from ...core.annotations import Region

FRAMES_LAYER = "counting frames"
_SCREEN_PX = 2.0
_COLOURS = {"current": "#00e5ff", "open": "#ffffffc8", "done": "#ffffff70"}

FrameState = Literal["current", "open", "done"]


class FrameOutlines:
    """Outlines frames on their slices: bright the one that is counted, pale those that are done.

    Lines have one width on the screen.

    Parameters
    ----------
    viewer : ViewerModel
    role : str
        What the layer is for, and its name.
    """

    def __init__(self, viewer: ViewerModel, role: str = FRAMES_LAYER) -> None:
        self._viewer = viewer
        self._role = role
        self._source: SourceFrame | None = None
        self._layer: Vectors | None = None
        self._shown: dict[Region, FrameState] = {}
        self._was_removed = False
        self._source_connections = Connections()
        self._viewer_connections = Connections()
        self._viewer_connections.connect(viewer.layers.events.removed, self._on_removed)
        self._viewer_connections.connect(camera_of(viewer).events.zoom, self._fit_width)

    @property
    def layer(self) -> Vectors | None:
        """The layer, if there is one."""
        return self._layer

    def close(self, *_: object) -> None:
        """Let go of the viewer; the layer stays."""
        self._source_connections.disconnect_all()
        self._viewer_connections.disconnect_all()

    def set_source(self, source: SourceFrame) -> None:
        """Point out the image that the frames lie on."""
        self._source_connections.disconnect_all()
        self._source = source
        self._source_connections.connect_moves(source.layer, self._on_moved)
        self._on_moved()
        shown, self._shown = self._shown, {}
        self.show(shown)

    def revive(self) -> None:
        """Let the next `show` make a layer again that the user deleted."""
        self._was_removed = False

    def show(self, frames: Mapping[Region, FrameState]) -> None:
        """Outline these frames and no others."""
        if frames == self._shown or self._source is None or self._was_removed:
            return
        if self._source.layer not in self._viewer.layers or not (frames or self._layer):
            return
        layer = self._ensure_layer()
        had_any, self._shown = bool(self._shown), dict(frames)
        lines = np.zeros((0, 2, layer.ndim))
        if frames:
            places = np.concatenate([corners_of(region) for region in frames])
            corners = self._source.place(places, layer).reshape(len(frames), 4, layer.ndim)
            sides = np.stack([corners, np.roll(corners, -1, axis=1) - corners], axis=2)
            lines = sides.reshape(-1, 2, layer.ndim)
        layer.data = lines
        if frames:
            layer.edge_color = np.repeat([_COLOURS[state] for state in frames.values()], 4)
        if had_any != bool(frames):  # else the user's eye in the layer list holds
            layer.visible = bool(frames)
        self._fit_width()

    def _ensure_layer(self) -> Vectors:
        assert self._source is not None
        if self._layer is not None and self._layer.ndim == self._source.ndim:
            return self._layer
        if self._layer is not None:
            self._layer.visible = False
        layer = find_stale_layer(self._viewer, self._role, self._source.ndim, lambda _: True)
        if layer is None:
            layer = Vectors(
                ndim=self._source.ndim,
                name=self._role,
                vector_style="line",
                opacity=1.0,
                metadata={MARK: {"role": self._role}},
                **self._source.geometry.layer_arguments(),
            )
            add_unselected(self._viewer, layer)
        self._layer = layer
        self._on_moved()
        return layer

    def _fit_width(self) -> None:
        """Keep the lines as wide on the screen, whatever the zoom."""
        if self._layer is not None and self._shown:
            screen_px_per_pixel = camera_of(self._viewer).zoom * abs(self._layer.scale[-1])
            self._layer.edge_width = _SCREEN_PX / screen_px_per_pixel

    def _on_moved(self) -> None:
        layer, source = self._layer, self._source
        if layer is not None and source is not None and layer.ndim == source.ndim:
            source.align(layer)

    def _on_removed(self, event: Any) -> None:
        if event.value is self._layer:
            self._layer, self._shown, self._was_removed = None, {}, True
