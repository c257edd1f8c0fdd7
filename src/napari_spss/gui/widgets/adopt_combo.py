"""A chooser by which a tool takes over one of the viewer's layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QComboBox, QSizePolicy

from ..layers import Connections, layer_mark

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer


class AdoptCombo(QComboBox):
    """Shows the layer that a tool uses, and offers others; never chooses one by itself.

    Layers of a kind are offered, but of ours only those with the role of the tool's own; an entry
    with ``none_text`` stands for no layer.
    """

    adopted = Signal(object)  # the user chose a layer, or None

    def __init__(self, viewer: ViewerModel, kind: type[Layer], role: str, none_text: str) -> None:
        super().__init__()
        self._viewer = viewer
        self._kind, self._role = kind, role
        self._none_text = none_text
        self._layer: Layer | None = None
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.activated.connect(lambda row: self.adopted.emit(self.itemData(row)))
        self._connections = Connections()
        for event in ("inserted", "removed"):
            self._connections.connect(getattr(viewer.layers.events, event), self._refresh)
        self.destroyed.connect(self._connections.disconnect_all)
        self._refresh()

    def set_layer(self, layer: Layer | None) -> None:
        """Show which layer the tool uses, under its present name."""
        text = self._none_text if layer is None else layer.name
        if layer is not self._layer or text != self.currentText():
            self._layer = layer
            self._refresh()

    def let_go(self) -> None:
        """Leave the viewer, for good."""
        self._connections.disconnect_all()

    def showPopup(self) -> None:
        """Offer the layers under their present names."""
        self._refresh()
        super().showPopup()

    def _refresh(self, *_: object) -> None:
        with QSignalBlocker(self):
            self.clear()
            self.addItem(self._none_text, None)
            for layer in self._viewer.layers:
                role = layer_mark(layer).get("role", self._role)
                is_free = isinstance(layer, self._kind) and role == self._role
                if is_free or layer is self._layer:
                    self.addItem(layer.name, layer)
                    if layer is self._layer:
                        self.setCurrentIndex(self.count() - 1)
