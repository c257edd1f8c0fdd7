"""Rectangles in a Shapes layer: regions that have fractions of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from napari.layers import Shapes

from ...core.annotations import Region
from ...core.base import InputError
from .own import OwnLayer
from .source_frame import SourceFrame, corners_of

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

REGIONS_LAYER = "regions"

_CLICK_PX = 4.0  # on the screen; napari makes a rectangle of a click, too


class RegionLayer(OwnLayer):
    """Rectangles on one image.

    Whatever is drawn counts as its bounding rectangle, rounded to whole pixels and cut at the
    image's border; what lies outside of it altogether does not count, nor does what a mere click
    left. ``on_change`` is called when rectangles are others, or other shapes count for nothing.

    Attributes
    ----------
    n_unused : int
        Number of shapes that hold no pixel of a slice, but for mere clicks.
    """

    def __init__(self, viewer: Viewer, on_change: Callable[[], object]) -> None:
        super().__init__(viewer, REGIONS_LAYER)
        self._on_change = self._on_removed = on_change
        self._value: tuple[Region, ...] = ()
        self._clicked: set[Region] = set()
        self.n_unused = 0

    def value(self) -> tuple[Region, ...]:
        """Return the rectangles, in the layer's order, without repetition."""
        return self._value

    def set_value(self, regions: Sequence[Region]) -> None:
        """Show other rectangles."""
        wanted = tuple(region for region in regions if region.box is not None)
        if wanted == self._value:
            return
        self._value = wanted
        if self._frame is not None and (wanted or self._layer is not None):
            self._write()
        self._on_change()

    def start_drawing(self) -> None:
        """Make the layer active, ready to draw."""
        if self._frame is None:
            return
        if self._layer is None:
            self._write()
        self.activate()
        self._layer.mode = "add_rectangle"

    def on_slice(self, z: int) -> tuple[Region, ...]:
        """Return the rectangles of a slice; those that are selected in the layer come first."""
        layer = self._layer
        selected = () if layer is None else sorted(layer.selected_data)
        chosen = [self._region(layer.data[i], layer) for i in selected]
        regions = [region for region in self._value if region.slice == z]
        return tuple(sorted(regions, key=lambda region: region not in chosen))

    def set_frame(self, frame: SourceFrame) -> None:
        """Point out the annotated image; the rectangles stay, in its pixels."""
        super().set_frame(frame)
        if self._value:
            self._write()

    def _make(self, **arguments: Any) -> Layer:
        assert self._frame is not None
        return Shapes(
            edge_color="#56b4e9",
            face_color="transparent",
            edge_width=max(1.0, self._frame.shape_of(0)[1] / 400),
            **arguments,
        )

    def _take(self, layer: Shapes) -> None:
        super()._take(layer)
        self._layer_connections.connect(layer.events.data, self._on_drawn)

    def _release(self) -> None:
        super()._release()
        self.n_unused = 0

    def _is_left(self, layer: Shapes) -> bool:
        """Whether a layer that was left over shows the rectangles, or nothing."""
        return not layer.data or self._regions_of(layer) == self._value

    def _write(self) -> None:
        """Bring the rectangles into the layer."""
        assert self._frame is not None
        self._ensure_layer()
        layer = self._layer
        shapes = [self._frame.place(corners_of(region), layer) for region in self._value]
        with self._writing():
            layer.data = []
            if shapes:
                layer.add_rectangles(shapes)
        self.n_unused = 0

    def _on_drawn(self, event: Any) -> None:
        if self._is_writing or self._layer is None or self._frame is None:
            return
        if str(getattr(event, "action", "")) in ("adding", "changing", "removing"):
            return
        if str(getattr(event, "action", "")) == "added":
            self._note_click(self._layer)
        found = self._regions_of(self._layer), self._count_unused(self._layer)
        if found != (self._value, self.n_unused):
            self._value, self.n_unused = found
            self._on_change()

    def _note_click(self, layer: Shapes) -> None:
        """Remember what was just added if it is as small as a click."""
        shape = np.asarray(layer.data[-1], float)
        region = self._region(shape, layer)
        if region is not None and np.ptp(shape, axis=0).max() < _CLICK_PX * layer.scale_factor:
            self._clicked.add(region)

    def _count_unused(self, layer: Shapes) -> int:
        sizes = [np.ptp(shape, axis=0).max() for shape in layer.data]
        return sum(
            size >= 1.0 and self._region(shape, layer) is None
            for size, shape in zip(sizes, layer.data, strict=True)
        )

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
