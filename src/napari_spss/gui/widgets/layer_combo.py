"""A chooser that follows the viewer's layer list."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QComboBox, QSizePolicy

from ..layers import Connections

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer


class LayerCombo(QComboBox):
    """Chooses one of the viewer's layers of a kind, those that are accepted.

    A placeholder stands there while there is none.
    """

    layer_changed = Signal(object)  # the chosen layer or None, when it became another one

    def __init__(self, viewer: Viewer, accepts: Callable[[Layer], bool], placeholder: str) -> None:
        super().__init__()
        self._viewer = viewer
        self._accepts = accepts
        self._layer: Layer | None = None
        self._named: dict[Layer, Connections] = {}
        self.setPlaceholderText(placeholder)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setMinimumContentsLength(8)
        self.currentIndexChanged.connect(lambda row: self._choose(self.itemData(row)))
        self._connections = Connections()
        for event in ("inserted", "removed", "reordered"):
            self._connections.connect(getattr(viewer.layers.events, event), self._refresh)
        self.destroyed.connect(self._connections.disconnect_all)
        self._refresh()
        active = viewer.layers.selection.active
        if active is not None and accepts(active):
            self.set_layer(active)

    def layer(self) -> Layer | None:
        """Return the chosen layer."""
        return self._layer

    def set_layer(self, layer: Layer) -> None:
        """Choose a layer; one that is not offered leaves the choice as it is."""
        for row in range(self.count()):
            if self.itemData(row) is layer:
                self.setCurrentIndex(row)

    def let_go(self) -> None:
        """Leave the viewer, for good."""
        for connections in (self._connections, *self._named.values()):
            connections.disconnect_all()

    def _refresh(self, event: Any = None) -> None:
        offered = [layer for layer in self._viewer.layers if self._accepts(layer)]
        chosen = self._layer if self._layer in offered else (offered[-1] if offered else None)
        with QSignalBlocker(self):
            self.clear()
            for layer in offered:
                self.addItem(layer.name, layer)
            self.setCurrentIndex(offered.index(chosen) if chosen is not None else -1)
        self._follow_names(offered)
        self._choose(chosen)

    def _follow_names(self, offered: list[Layer]) -> None:
        for layer in [known for known in self._named if known not in offered]:
            self._named.pop(layer).disconnect_all()
        for layer in offered:
            if layer not in self._named:
                self._named[layer] = Connections()
                self._named[layer].connect(layer.events.name, self._on_renamed)

    def _on_renamed(self, event: Any = None) -> None:
        for row in range(self.count()):
            self.setItemText(row, self.itemData(row).name)

    def _choose(self, layer: Layer | None) -> None:
        if layer is not self._layer:
            self._layer = layer
            self.setToolTip("" if layer is None else layer.name)
            self.layer_changed.emit(layer)
