"""Which label value stands for which class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QGridLayout, QPushButton, QSpinBox, QWidget

from ..class_picker import colour_icon

if TYPE_CHECKING:
    from ....core.annotations import ClassStyle

_LARGEST_VALUE = 2**31 - 1
_NAME_WIDTH_PX = 150


class PaintedTable(QWidget):
    """One row a class: a button that paints it, and its label value.

    Signals
    -------
    value_changed()
        The user gave a class another value.
    class_chosen(int)
        The user pressed the button of a class.
    """

    value_changed = Signal()
    class_chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.buttons: list[QPushButton] = []
        self.boxes: list[QSpinBox] = []
        self._layout = QGridLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setVerticalSpacing(2)

    def values(self) -> tuple[int, ...]:
        """Label value of each class; 0 = not painted."""
        return tuple(box.value() for box in self.boxes)

    def set_rows(self, styles: Sequence[ClassStyle], values: Sequence[int]) -> None:
        """Replace the rows."""
        while (item := self._layout.takeAt(0)) is not None:
            widget = item.widget()
            widget.hide()
            widget.deleteLater()
        self.buttons, self.boxes = [], []
        for row, (style, value) in enumerate(zip(styles, values, strict=True)):
            self._add_row(row, style, value)

    def _add_row(self, row: int, style: ClassStyle, value: int) -> None:
        button = QPushButton(self)
        elide = Qt.TextElideMode.ElideRight
        button.setText(button.fontMetrics().elidedText(style.name, elide, _NAME_WIDTH_PX))
        button.setIcon(colour_icon(style.colour))
        button.setToolTip(f"Paint '{style.name}'.")
        button.clicked.connect(lambda _checked: self.class_chosen.emit(row))
        box = QSpinBox(self)
        box.setRange(0, _LARGEST_VALUE)
        box.setPrefix("label ")
        box.setSpecialValueText("not painted")
        box.setKeyboardTracking(False)
        box.setValue(value)
        box.setToolTip(f"Label value that stands for '{style.name}'.")
        box.valueChanged.connect(lambda _value: self.value_changed.emit())
        self._layout.addWidget(button, row, 0)
        self._layout.addWidget(box, row, 1)
        self._layout.setColumnStretch(0, 1)
        self.buttons.append(button)
        self.boxes.append(box)
