"""Rectangles in a Shapes layer: regions that have fractions of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from napari.layers import Shapes
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QWidget

from ...core.annotations import Region
from ...core.base import InputError
from .connections import Connections
from .own import MARK, add_unselected, find_stale_layer, put_away
from .source_frame import SourceFrame, corners_of

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

REGIONS_LAYER = "regions"

_CLICK_PX = 4.0  # on the screen; napari makes a rectangle of a click, too


class RegionsTool(QWidget):
    """A button that draws rectangles, and the layer that holds them.

    Whatever is drawn counts as its bounding rectangle, rounded to whole pixels and cut at the
    image's border; what lies outside of it altogether does not count, nor does what a mere click
    left.
    """

    value_changed = Signal()

    def __init__(self, viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._frame: SourceFrame | None = None
        self._layer: Shapes | None = None
        self._value: tuple[Region, ...] = ()
        self._clicked: set[Region] = set()
        self._is_writing = False
        self._layer_connections = Connections()
        self._viewer_connections = Connections()
        self._viewer_connections.connect(viewer.layers.events.removed, self._on_removed)
        self._draw = QPushButton("Draw rectangle")
        self._draw.setToolTip(
            "Draw rectangles on the image; each gets a row for fractions of its own.\n"
            "Fractions of parts of a slice teach more than those of whole slices."
        )
        self._draw.clicked.connect(self.start_drawing)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._draw)
        layout.addStretch()
        self.destroyed.connect(self._viewer_connections.disconnect_all)
        self.destroyed.connect(self._layer_connections.disconnect_all)
        self._draw.setEnabled(False)

    def value(self) -> tuple[Region, ...]:
        """Return the rectangles, in the layer's order, without repetition."""
        return self._value

    @property
    def layer(self) -> Shapes | None:
        """The layer that shows the rectangles, if there is one."""
        return self._layer

    def set_value(self, regions: Sequence[Region]) -> None:
        """Show other rectangles."""
        wanted = tuple(region for region in regions if region.box is not None)
        if wanted == self._value:
            return
        self._value = wanted
        if self._frame is not None and (wanted or self._layer is not None):
            self._write()
        self.value_changed.emit()

    def set_source(self, layer: Image | None) -> None:
        """Point out the annotated image; the rectangles stay, in its pixels."""
        self._frame = None if layer is None else SourceFrame(layer)
        self._draw.setEnabled(self._frame is not None)
        old = self._layer
        if self._frame is not None and old is not None and old.ndim != self._frame.ndim:
            self._release()
            put_away(old)
        if self._frame is not None and self._value:
            self._write()

    def start_drawing(self) -> None:
        """Make the layer active, ready to draw."""
        if self._frame is None:
            return
        layer = self._layer or self._write()
        layer.visible = True
        self._viewer.layers.selection.active = layer
        layer.mode = "add_rectangle"

    def on_slice(self, z: int) -> tuple[Region, ...]:
        """Return the rectangles of a slice; those that are selected in the layer come first."""
        regions = [region for region in self._value if region.slice == z]
        if self._layer is None:
            return tuple(regions)
        layer = self._layer
        chosen = [self._region(layer.data[i], layer) for i in sorted(layer.selected_data)]
        return tuple(sorted(regions, key=lambda region: region not in chosen))

    def _ensure_layer(self) -> Shapes:
        assert self._frame is not None
        if self._layer is not None:
            return self._layer
        layer = find_stale_layer(self._viewer, REGIONS_LAYER, self._frame.ndim, self._is_shown_in)
        is_new = layer is None
        if layer is None:
            layer = Shapes(
                ndim=self._frame.ndim,
                name=REGIONS_LAYER,
                edge_color="#56b4e9",
                face_color="transparent",
                edge_width=max(1.0, self._frame.shape_of(0)[1] / 400),
                metadata={MARK: {"role": REGIONS_LAYER}},
                **self._frame.geometry.layer_arguments(),
            )
        self._frame.align(layer)
        self._layer = layer
        self._layer_connections.connect(layer.events.data, self._on_drawn)
        if is_new:
            add_unselected(self._viewer, layer)
        return layer

    def _is_shown_in(self, layer: Shapes) -> bool:
        """Whether a layer that was left over shows the rectangles, or nothing."""
        return not layer.data or self._regions_of(layer) == self._value

    def _write(self) -> Shapes:
        """Bring the rectangles into the layer, and return it."""
        assert self._frame is not None
        layer = self._ensure_layer()
        shapes = [self._frame.place(corners_of(region), layer) for region in self._value]
        self._is_writing = True
        try:
            layer.data = []
            if shapes:
                layer.add_rectangles(shapes)
        finally:
            self._is_writing = False
        return layer

    def _on_drawn(self, event: Any) -> None:
        if self._is_writing or self._layer is None or self._frame is None:
            return
        if str(getattr(event, "action", "")) in ("adding", "changing", "removing"):
            return
        if str(getattr(event, "action", "")) == "added":
            self._note_click(self._layer)
        value = self._regions_of(self._layer)
        if value != self._value:
            self._value = value
            self.value_changed.emit()

    def _note_click(self, layer: Shapes) -> None:
        """Remember what was just added if it is as small as a click."""
        shape = np.asarray(layer.data[-1], float)
        region = self._region(shape, layer)
        if region is not None and np.ptp(shape, axis=0).max() < _CLICK_PX * layer.scale_factor:
            self._clicked.add(region)

    def _regions_of(self, layer: Shapes) -> tuple[Region, ...]:
        found = [self._region(shape, layer) for shape in layer.data]
        return tuple(
            dict.fromkeys(one for one in found if one is not None and one not in self._clicked)
        )

    def _region(self, shape: npt.NDArray[np.float64], layer: Shapes) -> Region | None:
        """Region that a shape covers; None if it has no pixel."""
        assert self._frame is not None
        corners = self._frame.positions(np.asarray(shape, float), layer)
        z = int(np.floor(corners[:, 0].mean() + 0.5))
        if not 0 <= z < self._frame.n_slices:
            return None
        limit = np.array(self._frame.shape_of(z))
        low = np.clip(np.floor(corners[:, 1:].min(0) + 1.0), 0, limit).astype(int)
        high = np.clip(np.floor(corners[:, 1:].max(0) + 1.0), 0, limit).astype(int)
        try:
            return Region(z, (int(low[0]), int(low[1]), int(high[0]), int(high[1])))
        except InputError:  # narrower than a pixel, or outside
            return None

    def _on_removed(self, event: Any) -> None:
        if event.value is self._layer:
            self._release()

    def _release(self) -> None:
        self._layer = None
        self._layer_connections.disconnect_all()
