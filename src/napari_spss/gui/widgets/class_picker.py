"""Buttons to choose the class that a click gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap
from qtpy.QtWidgets import QButtonGroup, QPushButton, QSizePolicy, QWidget
from superqt.utils import QFlowLayout

from ..layers import shown_key

if TYPE_CHECKING:
    from ...core.annotations import ClassStyle

_ICON_PX = 14


class ClassPicker(QWidget):
    """One button a class, with its colour and key; exactly one is pressed."""

    chosen = Signal(int)  # the user pressed a button, perhaps the one that was pressed

    def __init__(self) -> None:
        super().__init__()
        self._buttons: dict[int, QPushButton] = {}
        self._value: int | None = None
        self._layout = QFlowLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._group = QButtonGroup(self)
        policy = QSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)

    def value(self) -> int | None:
        """Chosen class, or None if there are no buttons."""
        return self._value

    def set_value(self, index: int) -> None:
        """Choose a class; one without a button is ignored."""
        button = self._buttons.get(index)
        if button is not None:
            button.setChecked(True)
            self._value = index

    def set_classes(self, entries: Sequence[tuple[int, ClassStyle, str]]) -> None:
        """Replace the buttons; an entry is the value, look and tooltip of one.

        The chosen value is kept if it is still there, and is otherwise the first that is not the
        background.
        """
        for button in self._buttons.values():
            self._group.removeButton(button)
            self._layout.removeWidget(button)
            button.hide()
            button.deleteLater()
        self._buttons = {index: self._button(style, tip) for index, style, tip in entries}
        for index, button in self._buttons.items():
            # Not by the group's ids: it takes -1, a value of ours, as "give it any id".
            self._group.addButton(button)
            button.clicked.connect(lambda _checked, value=index: self._on_clicked(value))
            self._layout.addWidget(button)
        if self._value not in self._buttons:
            first = next(iter(self._buttons), None)
            self._value = next((index for index in self._buttons if index != 0), first)
        if self._value is not None:
            self._buttons[self._value].setChecked(True)

    def _on_clicked(self, index: int) -> None:
        self.set_value(index)
        self.chosen.emit(index)

    def _button(self, style: ClassStyle, tooltip: str) -> QPushButton:
        button = QPushButton(self)
        button.setCheckable(True)
        button.setIcon(colour_icon(style.colour))
        button.setIconSize(QSize(_ICON_PX, _ICON_PX))
        text = button.fontMetrics().elidedText(style.name, Qt.TextElideMode.ElideRight, 180)
        button.setText(f"{text} ({shown_key(style.key)})" if style.key else text)
        button.setToolTip(tooltip)
        return button


def colour_icon(colour: str) -> QIcon:
    """Disc in a colour."""
    pixmap = QPixmap(_ICON_PX * 2, _ICON_PX * 2)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setBrush(QColor(colour))
    painter.setPen(QColor(128, 128, 128))
    painter.drawEllipse(2, 2, _ICON_PX * 2 - 4, _ICON_PX * 2 - 4)
    painter.end()
    return QIcon(pixmap)
