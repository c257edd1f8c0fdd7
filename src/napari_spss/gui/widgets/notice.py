"""A line of text that appears when there is something to say."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QSizePolicy, QWidget

from .theme import set_mark


class Notice(QLabel):
    """Wrapped text, hidden while empty; a warning has a bar in the theme's warning colour."""

    def __init__(self, parent: QWidget | None = None, *, is_warning: bool = False) -> None:
        super().__init__(parent)
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.setVisible(False)
        set_mark(self, "warning" if is_warning else "")

    def say(self, text: str) -> None:
        """Show a text, or nothing."""
        if text != self.text():
            self.setText(text)
        self.setVisible(bool(text))
