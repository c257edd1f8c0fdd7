"""A person's hand on the layer of objects: choice, keys, paint, lines and points that split."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QObject, Signal

from ..models import make_timer
from .connections import Connections
from .keys import REDO_KEY, UNDO_KEY, LayerKeys
from .measure_line import LineMeasure
from .own import FixedPoints
from .source_frame import SourceFrame

if TYPE_CHECKING:
    from napari.layers import Labels
    from napari.viewer import Viewer

_ROLE = "points that split"
_COLOUR = "#f0e442"
_SIZE_PX = 12.0
_LEAST_LINE_PX = 4.0  # of the image; what is shorter was meant as a click


class ObjectHand(QObject):
    """Tells what a person does on the layer of objects.

    Undo and redo of the layer are ours, so that there is one history; what is painted with napari's
    own tools is told soon after.
    """

    picked = Signal(int)  # this object was chosen, by a click on it or by napari's picker
    painted = Signal(object, object)  # ndarrays: flat places, each once, and what was there
    line_drawn = Signal(object)  # list of (slice, y, x), by which an object is to be split
    points_set = Signal(object)  # list of (slice, y, x), a point in each part

    def __init__(
        self, viewer: Viewer, keys: Mapping[str, Callable[[], None]], parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._keys = keys
        self._layer: Labels | None = None
        self._layer_keys = LayerKeys(viewer)
        self._connections = Connections()
        self._is_choosing = False
        self._atoms: list[tuple[Any, ...]] = []
        self._soon = make_timer(self, 0, self.flush)  # napari may tell before it writes
        self._points = _SplitPoints(viewer)
        self._line = LineMeasure(viewer, self)
        self._line.drawn.connect(self.line_drawn)
        self._line.clicked.connect(self._points.add)
        self._line.ended.connect(self._points.clear)

    @property
    def is_splitting(self) -> bool:
        """Whether a line or points are awaited."""
        return self._line.is_drawing

    @property
    def chosen(self) -> int:
        """Number of the chosen object; 0 if there is none."""
        return 0 if self._layer is None else int(self._layer.selected_label)

    def choose(self, number: int) -> None:
        """Choose an object in the layer; nothing is told."""
        if self._layer is None:
            return
        self._is_choosing = True
        try:
            self._layer.selected_label = number
        finally:
            self._is_choosing = False

    def set_layer(self, layer: Labels | None) -> tuple[str, ...]:
        """Follow another layer, or none; return keys that are taken."""
        if layer is self._layer:
            return ()
        self.stop()
        self.flush()
        self._connections.disconnect_all()
        self._layer_keys.unbind()
        if self._layer is not None:
            self._layer.mouse_drag_callbacks.remove(self._on_click)
        self._layer = layer
        if layer is None:
            return ()
        layer.mouse_drag_callbacks.append(self._on_click)
        self._connections.connect(layer.events.selected_label, self._on_selected)
        self._points.set_frame(SourceFrame(layer))
        self._connections.connect(layer.events.paint, self._on_paint)
        ours = {key: act for key, act in self._keys.items() if key in (UNDO_KEY, REDO_KEY)}
        others = {key: act for key, act in self._keys.items() if key not in ours}
        return self._layer_keys.bind(layer, others, in_place_of=ours)

    def split(self) -> None:
        """Wait for a line, or for points; with points set, tell them."""
        if self._layer is None:
            return
        if not self.is_splitting:
            self._points.prepare()  # a layer that is added while one draws would end it
            self._line.start(self._layer, least_px=_LEAST_LINE_PX)
        elif self._points.places:
            places = list(self._points.places)
            self.stop()
            self.points_set.emit(places)
        else:
            self.stop()

    def stop(self) -> None:
        """Wait for nothing."""
        self._line.stop()

    def point(self) -> None:
        """Have clicks choose objects."""
        if self._layer is not None:
            self._viewer.layers.selection.active = self._layer
            self._layer.mode = "pan_zoom"

    def paint(self, number: int) -> None:
        """Take napari's brush in hand, to paint an object of this number."""
        if self._layer is not None:
            self.stop()
            self._viewer.layers.selection.active = self._layer
            self._layer.selected_label = number
            self._layer.mode = "paint"

    def flush(self) -> None:
        """Tell what was painted and not yet told."""
        atoms, self._atoms = self._atoms, []
        self._soon.stop()
        if self._layer is None or not atoms:
            return
        shape = self._layer.data.shape
        places, before = (
            np.concatenate(parts)
            for parts in zip(*(_changed(atom, shape) for atom in atoms), strict=True)
        )
        places, first = np.unique(places, return_index=True)
        self.painted.emit(places, before[first])

    def close(self) -> None:
        """Let go of the viewer."""
        self.set_layer(None)
        self._points.close()

    def _on_click(self, layer: Labels, event: Any) -> Generator[None]:
        """Choose the object that was clicked on, unless the mouse was dragged or paints."""
        yield
        if event.type != "mouse_release" or layer.mode != "pan_zoom":
            return
        number = layer.get_value(
            event.position,
            view_direction=event.view_direction,
            dims_displayed=event.dims_displayed,
            world=True,
        )
        if number:
            layer.selected_label = int(number)

    def _on_selected(self) -> None:
        if self.chosen and not self._is_choosing:
            self.picked.emit(self.chosen)

    def _on_paint(self, event: Any) -> None:
        self._atoms += event.value
        self._soon.start()


class _SplitPoints(FixedPoints):
    """Shows where a person clicked to split an object."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__(viewer, _ROLE)
        self.places: list[tuple[float, float, float]] = []

    def prepare(self) -> None:
        """Have a layer to show points in."""
        if self._has_image():
            self._ensure_layer()

    def add(self, place: tuple[float, float, float]) -> None:
        """Show another point."""
        self.places.append(place)
        self._write()

    def clear(self) -> None:
        """Show none."""
        self.places = []
        self.hide()

    def _write(self) -> None:
        layer, frame = self._layer, self._frame
        if layer is None or frame is None:
            return
        self._places = frame.place(np.array(self.places).reshape(-1, 3), layer)
        with self._writing():
            layer.selected_data = set()
            layer.data = self._places.copy()
            layer.face_color, layer.border_color = _COLOUR, "black"
            layer.size = _SIZE_PX * self.pixel_ratio / self._screen_px_per_pixel()


def _changed(
    atom: tuple[Any, ...], shape: tuple[int, ...]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
    """Flat places of one of napari's steps, and what was there.

    A step is (indices, values before, values after) or, from napari 0.9 on, (slices, mask or None,
    values before, value after).
    """
    before = np.asarray(atom[-2])
    axes = [np.arange(n)[one] for n, one in zip(shape, atom[0], strict=True)]
    is_boxed = any(isinstance(one, slice) for one in atom[0])
    places = np.ravel_multi_index(
        np.broadcast_arrays(*(np.ix_(*axes) if is_boxed else axes)), shape
    )
    if len(atom) > 3 and atom[1] is not None:
        places = places[atom[1]]
    return places.ravel(), np.broadcast_to(before, places.shape).ravel()
