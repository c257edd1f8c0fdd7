"""Measuring an object's width by a line drawn in the viewer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Shapes
from qtpy.QtCore import QObject, QTimer, Signal

from .geometry import Geometry
from .results import MARK

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

__all__ = ["LineMeasure"]


class LineMeasure(QObject):
    """Lets the user draw one line on an image and tells its length; leaves no layer behind."""

    measured = Signal(float)  # length in data pixels of the image, when a line was drawn
    ended = Signal()  # when drawing is over, with a line or without

    def __init__(self, viewer: Viewer, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._layer: Shapes | None = None
        self._was_active: Any = None

    @property
    def is_drawing(self) -> bool:
        """Whether a line is awaited."""
        return self._layer is not None

    def start(self, image: Image) -> None:
        """Wait for a line on the image."""
        self.stop()
        geometry = Geometry.of(image)
        self._was_active = self._viewer.layers.selection.active
        self._layer = Shapes(
            ndim=len(geometry.axes),
            name="object diameter: draw a line",
            edge_color="#f0e442",
            edge_width=max(1.0, geometry.stack_shape[2] / 300),
            metadata={MARK: {"role": "measure"}},
            **geometry.layer_arguments(),
        )
        self._viewer.layers.append(self._layer)
        self._viewer.layers.selection.active = self._layer
        self._layer.mode = "add_line"
        self._layer.events.data.connect(self._on_data)
        self._viewer.layers.events.removed.connect(self._on_removed)

    def stop(self) -> None:
        """Take the line's layer away and give the selection back."""
        layer, self._layer = self._layer, None
        if layer is None:
            return
        layer.events.data.disconnect(self._on_data)
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        if layer in self._viewer.layers:
            self._viewer.layers.remove(layer)
        if self._was_active in self._viewer.layers:
            self._viewer.layers.selection.active = self._was_active
        self._was_active = None
        self.ended.emit()

    def _on_data(self, event: Any) -> None:
        if self._layer is None or str(getattr(event, "action", "")) not in ("added", "changed"):
            return
        if not self._layer.data:
            return
        step = np.diff(np.asarray(self._layer.data[-1])[:2, -2:], axis=0)[0]
        length = math.hypot(*step)
        if length < 1:
            return
        self.measured.emit(length)
        QTimer.singleShot(0, self.stop)  # napari still works on the layer whose event this is

    def _on_removed(self, event: Any) -> None:
        if event.value is self._layer:
            self.stop()
