"""Buttons that show what fractions look like."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QIcon, QImage, QPixmap
from qtpy.QtWidgets import QLabel, QToolButton, QWidget

from ....core.simulation import CARD_FRACTIONS, reference_card
from ..parts import fill_row

_ICON_PX, _OBJECT_PX = 32, 5
_INK, _PAPER = (0, 90, 160), (240, 240, 240)
_UNKNOWN = "State or measure the object diameter first, under Image & classes."


class CardButtons(QWidget):
    """A button for each fraction, with a small picture of it; a second click takes it back."""

    card_wanted = Signal(object)  # the fraction, 0-1, or None for no card

    def __init__(self) -> None:
        super().__init__()
        self.setStyleSheet("QToolButton:checked { border: 2px solid #56B4E9; }")
        self._buttons: dict[float, QToolButton] = {}
        for fraction in CARD_FRACTIONS:
            button = QToolButton()
            button.setObjectName(f"card_{100 * fraction:g}")
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
            button.setIcon(_icon(fraction))
            button.setText(f"{100 * fraction:g}\u00a0%")
            button.setCheckable(True)
            button.setIconSize(QSize(_ICON_PX, _ICON_PX))
            button.clicked.connect(lambda on, chosen=fraction: self._on_clicked(chosen, on))
            self._buttons[fraction] = button
        row = fill_row(self, QLabel("Looks like"), *self._buttons.values(), None)
        row.setSpacing(2)
        self.set_known(False)

    def set_known(self, is_known: bool) -> None:
        """Offer cards, or ask for the width of objects."""
        for fraction, button in self._buttons.items():
            button.setEnabled(is_known)
            button.setToolTip(
                f"Lay {100 * fraction:g} % of objects of the stated diameter over the image; click "
                "again to take them away."
                if is_known
                else _UNKNOWN
            )

    def release(self) -> None:
        """Show that no card is laid."""
        for button in self._buttons.values():
            button.setChecked(False)

    def _on_clicked(self, fraction: float, is_on: bool) -> None:
        self.release()
        self._buttons[fraction].setChecked(is_on)
        self.card_wanted.emit(fraction if is_on else None)


def _icon(fraction: float) -> QIcon:
    card = reference_card(fraction, (2 * _ICON_PX, 2 * _ICON_PX), 2 * _OBJECT_PX)
    pixels = np.where(card[..., None], _INK, _PAPER).astype(np.uint8)
    height, width, _ = pixels.shape
    image = QImage(pixels.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
    return QIcon(QPixmap.fromImage(image.copy()))
