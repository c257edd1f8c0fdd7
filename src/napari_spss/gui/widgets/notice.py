"""A line of text that appears when there is something to say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QSizePolicy, QWidget

from ..layers import Connections
from .theme import marked_text, warning_colour

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["Notice"]


class Notice(QLabel):
    """Wrapped text, hidden while empty; a warning has a bar in the theme's warning colour.

    Not the text itself: that colour can hardly be read on a light theme.
    """

    def __init__(
        self, viewer: ViewerModel, parent: QWidget | None = None, *, is_warning: bool = False
    ) -> None:
        super().__init__(parent)
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.setVisible(False)
        if is_warning:
            self._connections = Connections()
            self._connections.connect(viewer.events.theme, self._follow_theme)
            self.destroyed.connect(self._connections.disconnect_all)
            self._follow_theme()

    def say(self, text: str) -> None:
        """Show a text, or nothing."""
        if text != self.text():
            self.setText(text)
        self.setVisible(bool(text))

    def _follow_theme(self) -> None:
        self.setStyleSheet(marked_text(warning_colour()))
