"""The way from an object in the viewer to its row, and back."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from .connections import Connections

if TYPE_CHECKING:
    from napari.layers import Labels


class ObjectPicker(QObject):
    """Follows which object of a Labels layer is chosen: by a click on it, or by napari's picker.

    Signals
    -------
    picked(int)
        The user chose this object in the viewer.
    """

    picked = Signal(int)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._layer: Labels | None = None
        self._connections = Connections()
        self._is_choosing = False

    @property
    def chosen(self) -> int:
        """Number of the chosen object; 0 if there is none."""
        return 0 if self._layer is None else int(self._layer.selected_label)

    def set_layer(self, layer: Labels | None) -> None:
        """Follow another layer, or none."""
        if layer is self._layer:
            return
        if self._layer is not None:
            self._connections.disconnect_all()
            self._layer.mouse_drag_callbacks.remove(self._on_click)
        self._layer = layer
        if layer is not None:
            self._connections.connect(layer.events.selected_label, self._on_selected)
            layer.mouse_drag_callbacks.append(self._on_click)

    def choose(self, number: int) -> None:
        """Choose an object in the layer; nothing is told."""
        if self._layer is None:
            return
        self._is_choosing = True
        try:
            self._layer.selected_label = number
        finally:
            self._is_choosing = False

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
        if self._layer is not None and not self._is_choosing and self._layer.selected_label:
            self.picked.emit(int(self._layer.selected_label))
