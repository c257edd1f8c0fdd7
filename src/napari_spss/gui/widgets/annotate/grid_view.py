"""A counting tool's part of the viewer: the layers of nodes and frames, the slider, and keys."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ....core.annotations import Region
from ...layers import (
    FRAMES_LAYER,
    GRID_LAYER,
    Connections,
    FrameOutlines,
    GridLayer,
    SourceFrame,
    is_taken,
)

if TYPE_CHECKING:
    import numpy as np
    from napari.components import ViewerModel
    from napari.layers import Image, Points
    from numpy.typing import NDArray

    from ....core.annotations import ClassStyle, CountingGrid, Look
    from ...layers import FrameState
    from ...models import GridBook

# of a window of training, or of a smaller slice, which is shown around a node: six objects or so
_LOOK_SHARE = 0.6


class GridView:
    """Shows the nodes of one grid at a time and outlines frames, and goes where they are.

    Parameters
    ----------
    viewer : ViewerModel
    on_stroke, on_idle_click, on_removed : callable
        See `GridLayer`.
    on_slider : callable
        Called when the viewer's slider was moved; a method does not keep its object alive.
    pixel_ratio : float
        Pixels of the screen a point.
    is_check : bool
        Whether the nodes are those of a check count: then the layers have other names.

    Attributes
    ----------
    source : SourceFrame or None
        The image on which the layers lie.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        *,
        on_stroke: Callable[[NDArray[np.intp], bool], None],
        on_idle_click: Callable[[], None],
        on_removed: Callable[[], None],
        on_slider: Callable[[], None],
        pixel_ratio: float,
        is_check: bool,
    ) -> None:
        self.source: SourceFrame | None = None
        self._viewer = viewer
        self._nodes = GridLayer(
            viewer,
            on_stroke=on_stroke,
            on_idle_click=on_idle_click,
            on_removed=on_removed,
            role="check count" if is_check else GRID_LAYER,
        )
        self._nodes.pixel_ratio = pixel_ratio
        self._outlines = FrameOutlines(viewer, "check frames" if is_check else FRAMES_LAYER)
        self._connections = Connections()
        self._connections.connect(viewer.dims.events.point, on_slider)
        self._give_key_back: Callable[[], object] = lambda: None

    def set_source(self, layer: Image) -> None:
        """Lay the layers on an image; `InputError` if its axes are not those of a stack."""
        self.source = SourceFrame(layer)
        self._nodes.set_frame(self.source)
        self._outlines.set_frame(self.source)

    def close(self, *_: object) -> None:
        """Let go of the viewer and of the layers, which stay."""
        self._connections.disconnect_all()
        self._nodes.close()
        self._outlines.close()
        self._give_key_back()
        self._give_key_back = lambda: None  # once: another tool may bind it

    # ---- what is shown ----------------------------------------------------------------------

    @property
    def layer(self) -> Points | None:
        """Layer that shows the nodes, if there is one."""
        return self._nodes.layer

    @property
    def was_removed(self) -> bool:
        """Whether the user deleted it."""
        return self._nodes.was_removed

    def show(
        self,
        grid: CountingGrid | None,
        styles: Sequence[ClassStyle],
        frames_of: GridBook | None,
        current: Region | None,
    ) -> None:
        """Show the nodes of a grid, or none, and outline the frames of a book, or none."""
        states: dict[Region, FrameState] = {}
        if frames_of is not None:
            is_open = set(frames_of.frames(is_open=True))
            states = {one: "open" if one in is_open else "done" for one in frames_of.frames()}
        if current in states:
            del states[current]
            states[current] = "current"  # last, over the edges of its neighbours
        self._outlines.show(states)
        self._nodes.show(grid, styles)

    def revive(self) -> None:
        """Let layers be made again that the user deleted."""
        self._nodes.revive()
        self._outlines.revive()

    def activate(self) -> None:
        """Make the layer of nodes visible and active."""
        self._nodes.activate()

    # ---- where the viewer is ----------------------------------------------------------------

    @property
    def current_slice(self) -> int:
        """Index of the slice that the viewer shows."""
        return 0 if self.source is None else self.source.current_slice(self._viewer)

    def go_to(self, slice_index: int) -> None:
        """Move the slider to a slice."""
        if self.source is not None:
            self.source.go_to(self._viewer, slice_index)

    def look_at(self, region: Region) -> None:
        """Show a slice, or a frame at full zoom."""
        if self.source is not None:
            self.source.look_at(self._viewer, region)

    def look_around(self, look: Look, window_px: int) -> None:
        """Show a node, and what is around it, as a part of a window of training."""
        if self.source is not None:
            half = _LOOK_SHARE * min(window_px, *self.source.shape_of(look.region.slice)) / 2
            (top, bottom), (left, right) = (
                (max(0, round(at - half)), max(1, round(at + half))) for at in (look.y, look.x)
            )
            self.look_at(Region(look.region.slice, (top, left, bottom, right)))

    # ---- keys -------------------------------------------------------------------------------

    def bind_keys(self, keys: Mapping[str, Callable[[], None]]) -> tuple[str, ...]:
        """Bind keys on the layer of nodes; return those that are taken."""
        return self._nodes.bind_keys(keys)

    def bind_viewer_key(self, key: str, act: Callable[[], None]) -> None:
        """Bind a key that holds with any layer, unless it is taken."""
        if is_taken(key, self._viewer):
            return
        self._viewer.bind_key(key, lambda _viewer: act())
        self._give_key_back = partial(_unbind, weakref.ref(self._viewer), key)


def _unbind(viewer_of: weakref.ref[ViewerModel], key: str) -> None:
    """Give a key back; a viewer that is being collected itself has no keys any more."""
    viewer = viewer_of()
    if viewer is not None:
        viewer.bind_key(key, None)
