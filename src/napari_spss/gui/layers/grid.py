"""The Points layer in which a counting grid is seen and clicked; it cannot be edited by hand."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Points
from napari.utils.colormaps.standardize_color import transform_color
from numpy.typing import NDArray

from ...core.annotations import UNSURE
from ..models import BACKGROUND
from .own import FixedPoints, layer_mark
from .source_frame import camera_of

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.utils.events import Event

    from ...core.annotations import ClassStyle, CountingGrid

GRID_LAYER = "counting grid"
NODE_SCREEN_PX = 15.0
PRESS_RADIUS_SCREEN_PX = 24.0
DRAG_RADIUS_SCREEN_PX = 14.0
_UNTOUCHED_COLOUR = (1.0, 1.0, 1.0, 0.9)
_MISS_COLOUR = (1.0, 1.0, 1.0, 0.5)
_UNSURE_COLOUR = (1.0, 1.0, 1.0, 1.0)
_RING = 0.25  # width of a border that is to be seen, of the size
_DRAWING_EVENTS = ("border_width", "symbol", "border_color", "face_color", "set_data", "highlight")

_View = tuple[tuple[float, ...], float]  # centre and zoom of the camera


class GridLayer(FixedPoints):
    """Shows one grid at a time, and tells which nodes the mouse touches.

    Nodes have one size on the screen: hits are thick rings in the colour of their class, misses
    small crosses, unsure nodes white diamonds, and classes outside the fractions crossed (x).

    Parameters
    ----------
    viewer : ViewerModel
    on_stroke : callable
        Called with node indices, and whether they are the first of a stroke.
    on_idle_click : callable
        Called when a node of a counted grid, or one in an unsuitable view, was clicked.
    on_removed : callable
        Called when the user deleted the layer.
    role : str
        What the layer is for, and its name.
    """

    _cursor = "crosshair"

    def __init__(
        self,
        viewer: ViewerModel,
        *,
        on_stroke: Callable[[NDArray[np.intp], bool], None],
        on_idle_click: Callable[[], None],
        on_removed: Callable[[], None],
        role: str = GRID_LAYER,
    ) -> None:
        super().__init__(viewer, role)
        self._on_stroke = on_stroke
        self._on_idle_click = on_idle_click
        self._on_removed = on_removed
        self._styles: tuple[ClassStyle, ...] = ()
        self._grid: CountingGrid | None = None
        self._view_at_press: _View | None = None

    def show(self, grid: CountingGrid | None, styles: Sequence[ClassStyle]) -> None:
        """Show a grid, or no node; makes the layer, unless the user deleted it.

        Only what differs from the grid before is sent to the layer, so that painting is quick.
        """
        if self._layer is None and (grid is None or self.was_removed or not self._has_image()):
            return
        if self._ensure_layer():
            self.activate()
        old, same_styles = self._grid, tuple(styles) == self._styles
        self._grid, self._styles = grid, tuple(styles)
        if old is None and grid is None:
            return  # as with most slices that are scrolled through
        if old is None or grid is None or not _is_same_place(old, grid):
            self._write()
        elif not same_styles or not np.array_equal(old.class_index, grid.class_index):
            self._write_looks()

    # ---- the layer --------------------------------------------------------------------------

    def _is_left(self, layer: Points) -> bool:
        """Whether a layer has the nodes that were written, or none."""
        return not len(layer.data) or np.array_equal(layer.data, layer_mark(layer).get("nodes", ()))

    def _take(self, layer: Points) -> None:
        super()._take(layer)
        layer.canvas_size_limits = (0, NODE_SCREEN_PX * self.pixel_ratio)
        layer.mouse_drag_callbacks.append(self._on_drag)
        layer.mouse_double_click_callbacks.append(self._on_double_click)

    def _release(self) -> None:
        if self._layer is not None:
            self._layer.mouse_drag_callbacks.remove(self._on_drag)
            self._layer.mouse_double_click_callbacks.remove(self._on_double_click)
        super()._release()
        self._grid = None

    def _write(self) -> None:
        """Bring the nodes into the layer, and how they look."""
        layer, frame = self._layer, self._frame
        if layer is None or frame is None:
            return
        positions = np.zeros((0, 3))
        if (grid := self._grid) is not None:
            positions = np.stack([np.full(grid.y.size, grid.slice), grid.y, grid.x], axis=1)
        with self._writing():
            with _undrawn(layer):
                self._places = frame.place(positions, layer)
                layer.selected_data = set()  # they may be gone
                layer.data = self._places.copy()
            layer_mark(layer)["nodes"] = self._places
        self._write_looks()

    def _write_looks(self) -> None:
        layer = self._layer
        if layer is None:
            return
        if self._grid is None or not self._grid.n_nodes:
            with self._writing():
                layer.refresh()
            return
        with self._writing():
            with _undrawn(layer):
                for name, values in _looks(self._grid.class_index, self._styles).items():
                    setattr(layer, name, values)
            layer.size = 0.6 * self._grid.spacing_px  # no larger, or nodes would hide the image

    # ---- the mouse --------------------------------------------------------------------------

    def _on_drag(self, layer: Points, event: Event) -> Generator[None, None, None]:
        """Mark the pressed node and those dragged over; elsewhere the drag moves the camera."""
        node = self._node_at(event)
        if node is None or not self._may_mark():
            return
        self._view_at_press = self._view()
        last = self._place(event)
        event.handled = True
        # Mouse moves reach us throttled, after the camera: only this keeps it from panning.
        layer.mouse_pan = False
        try:
            self._on_stroke(np.array([node]), True)
            yield
            while event.type == "mouse_move":
                last = self._drag_to(last, event)
                event.handled = True
                yield
            self._drag_to(last, event)
        finally:
            layer.mouse_pan = True

    def _on_double_click(self, layer: Points, event: Event) -> None:
        """Take the second press on a node as another press, and back what napari made of it.

        Qt sends a double click in place of the second press, and napari has zoomed in on it.
        """
        node = self._node_at(event)
        if node is None or self._view_at_press is None or not self._may_mark():
            return
        camera = camera_of(self._viewer)
        camera.center, camera.zoom = self._view_at_press
        self._on_stroke(np.array([node]), True)

    def _node_at(self, event: Event) -> int | None:
        """Node that a plain left click reaches."""
        if event.button != 1 or event.modifiers or self._grid is None or self._frame is None:
            return None
        reach_px = self._reach_px(event, PRESS_RADIUS_SCREEN_PX, 1 / 2)
        return self._grid.nearest(*self._place(event), reach_px)

    def _may_mark(self) -> bool:
        """Whether nodes can be marked now; tells if not."""
        if self._grid is None or self._frame is None:
            return False
        if self._grid.is_done or not self._frame.is_shown_in_plane(self._viewer):
            self._on_idle_click()
            return False
        return True

    def _place(self, event: Event) -> tuple[float, float]:
        """(y, x) of an event in pixels of the image."""
        if self._frame is None:
            return 0.0, 0.0
        _, y, x = self._frame.position_at(event.position)
        return y, x

    def _view(self) -> _View:
        camera = camera_of(self._viewer)
        return tuple(camera.center), float(camera.zoom)

    def _drag_to(self, last: tuple[float, float], event: Event) -> tuple[float, float]:
        if self._grid is None or self._frame is None:
            return last
        place = self._place(event)
        if place != last:
            reach_px = self._reach_px(event, DRAG_RADIUS_SCREEN_PX, 1 / 3)
            nodes = self._grid.along(last, place, reach_px)
            if nodes.size:
                self._on_stroke(nodes, False)
        return place

    def _reach_px(self, event: Event, on_screen_px: float, of_spacing: float) -> float:
        """Reach of the mouse in pixels of the image, which never extends to the next node."""
        if self._grid is None or self._frame is None:
            return 0.0
        screen_px_per_pixel = event.camera_zoom * abs(self._frame.layer.scale[-1])
        spacing_px = self._grid.spacing_px
        return float(min(on_screen_px / screen_px_per_pixel, of_spacing * spacing_px))


@contextmanager
def _undrawn(layer: Points) -> Iterator[None]:
    """Make several changes that are drawn with the next one, not each for itself."""
    with ExitStack() as stack:
        for name in _DRAWING_EVENTS:
            stack.enter_context(getattr(layer.events, name).blocker())
        yield


def _is_same_place(a: CountingGrid, b: CountingGrid) -> bool:
    return a.slice == b.slice and np.array_equal(a.y, b.y) and np.array_equal(a.x, b.x)


def _looks(marks: NDArray[np.int16], styles: Sequence[ClassStyle]) -> dict[str, NDArray[Any]]:
    """Symbols and colours of nodes, by the property of the layer."""
    symbol = np.full(marks.size, "cross", dtype=object)
    face = np.tile(_UNTOUCHED_COLOUR, (marks.size, 1))
    border = np.tile((0.0, 0.0, 0.0, 0.6), (marks.size, 1))
    width = np.full(marks.size, 0.12)
    face[marks == BACKGROUND] = _MISS_COLOUR
    border[marks == BACKGROUND, 3] = 0.35
    unsure = marks == UNSURE
    symbol[unsure], face[unsure] = "diamond", 0.0
    border[unsure], width[unsure] = _UNSURE_COLOUR, _RING
    for index, style in enumerate(styles):
        if index == BACKGROUND:
            continue
        nodes, colour = marks == index, transform_color(style.colour)[0]
        if style.is_outside:
            is_dark = colour[:3] @ (0.3, 0.6, 0.1) < 0.4
            symbol[nodes], face[nodes] = "x", colour
            border[nodes] = (1, 1, 1, 0.8) if is_dark else (0, 0, 0, 0.6)
        else:
            symbol[nodes], face[nodes] = "disc", 0.0
            border[nodes], width[nodes] = colour, _RING
    return {"border_width": width, "symbol": symbol, "border_color": border, "face_color": face}
