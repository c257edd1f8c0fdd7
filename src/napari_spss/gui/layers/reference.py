"""The layer of a reference card: what a fraction looks like, over the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels

from ...core.base import InputError
from .colours import label_colours
from .own import MARK, add_unselected
from .source_frame import camera_of

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from numpy.typing import NDArray

    from .geometry import Geometry

_ROLE = "reference card"
_DRAWN_PX = 24  # of an object, in pixels of the card
_MOST_WIDTHS = 48  # of objects, along a side of the card
_COLOUR = "#56B4E9"


class ReferenceLayer:
    """Lays a card over what the viewer shows of an image, and takes it away again."""

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._layer: Labels | None = None

    def show(self, geometry: Geometry, fraction: float, width_px: float) -> None:
        """Show a card instead of the last one.

        InputError if objects of this width do not fit into a slice.
        """
        from ...core.simulation import reference_card

        self.hide()
        n_slices, *size = geometry.stack_shape
        k = max(1, round(width_px / _DRAWN_PX))
        extent = [min(n // k, int(_MOST_WIDTHS * width_px / k)) for n in size]
        try:
            card = reference_card(fraction, (extent[0], extent[1]), width_px / k)
        except InputError as error:
            raise InputError(
                f"Objects of {width_px:g} px do not fit into a slice of {size[1]} x {size[0]} px; "
                "state a smaller object diameter.",
                field="image.object_diameter_px",
            ) from error
        layer = Labels(
            geometry.expand(np.broadcast_to(card.astype(np.uint8), (n_slices, *card.shape))),
            name=f"what {100 * fraction:g} % looks like",
            colormap=label_colours({0: "#000000", 1: _COLOUR}),
            opacity=0.6,
            metadata={MARK: {"role": _ROLE}},
            **geometry.layer_arguments(reduction=k),
        )
        world = np.zeros((1, len(geometry.axes)))
        world[0, -2:] = camera_of(self._viewer).center[-2:]
        centre = geometry.to_pixels(world)[0, 1:]
        room = np.array(size) - k * np.array(extent)
        corner = np.clip(centre - k * np.array(extent) / 2, 0, room)
        layer.translate = layer.translate + self._shift(geometry, corner)
        layer.editable = False
        add_unselected(self._viewer, layer)
        self._layer = layer

    def hide(self) -> None:
        """Take the card away."""
        if self._layer is not None and self._layer in self._viewer.layers:
            self._viewer.layers.remove(self._layer)
        self._layer = None

    @staticmethod
    def _shift(geometry: Geometry, corner: NDArray[np.float64]) -> NDArray[np.float64]:
        """Way in the world of a corner (y, x) of the image from its pixel 0."""
        shift = np.zeros(len(geometry.axes))
        for name, value in zip("YX", corner, strict=True):
            axis = geometry.axes.index(name)
            shift[axis] = value * geometry.scale[axis]
        return shift
