"""The field for the size of a voxel."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QSizePolicy,
    QWidget,
)

from ...core.base import UNKNOWN_VOXEL, VoxelSize

_UNITS = {"nm": 1e-3, "µm": 1.0}
_SMALL_UM = 0.1
_MOST = 1e6


class VoxelSizeField(QWidget):
    """Three lengths, z, y and x, and their unit; a length of 0 is not known."""

    stated = Signal(object)  # the VoxelSize, with what the user entered

    def __init__(self) -> None:
        super().__init__()
        self._size = UNKNOWN_VOXEL
        self._lengths: list[QDoubleSpinBox] = []
        # napari's style gives such fields the width of three
        self.setStyleSheet("QDoubleSpinBox, QComboBox { min-width: 40px; padding: 2px 4px; }")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(3)
        for index, name in enumerate("zyx"):
            field = _Length()
            field.setObjectName(f"voxel_{name}")
            field.setRange(0.0, _MOST)
            field.setDecimals(4)
            field.setPrefix(f"{name} ")
            field.setSpecialValueText(f"{name} ?")
            field.setKeyboardTracking(False)
            field.setButtonSymbols(QAbstractSpinBox.ButtonSymbols.NoButtons)
            field.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            field.setMinimumWidth(40)
            field.valueChanged.connect(lambda value, index=index: self._on_entered(index, value))
            self._lengths.append(field)
            row.addWidget(field, 1)
        self._unit = QComboBox()
        self._unit.setObjectName("voxel_unit")
        self._unit.addItems(list(_UNITS))
        self._unit.setToolTip("Unit in which the lengths are shown; it changes none of them.")
        self._unit.currentIndexChanged.connect(self._show)
        row.addWidget(self._unit)

    def set_value(self, size_um: VoxelSize, *, has_depth: bool) -> None:
        """Show a size (z, y, x) in micrometres, in the unit that suits it."""
        known = [length for length in size_um if length]
        if known and self._size == UNKNOWN_VOXEL:
            self._unit.blockSignals(True)
            self._unit.setCurrentText("nm" if min(known) < _SMALL_UM else "µm")
            self._unit.blockSignals(False)
        self._size = size_um
        self._lengths[0].setVisible(has_depth)
        self._show()

    def _show(self) -> None:
        unit_um = _UNITS[self._unit.currentText()]
        for field, length in zip(self._lengths, self._size, strict=True):
            field.blockSignals(True)
            field.setValue(0.0 if length is None else length / unit_um)
            field.blockSignals(False)

    def _on_entered(self, index: int, value: float) -> None:
        """Take a length; pixels are square unless both their edges are entered."""
        unit_um = _UNITS[self._unit.currentText()]
        lengths: list[float | None] = list(self._size)
        lengths[index] = value * unit_um or None
        other = {1: 2, 2: 1}.get(index)
        if other is not None and lengths[other] is None:
            lengths[other] = lengths[index]
        self.stated.emit(tuple(lengths))


class _Length(QDoubleSpinBox):
    """A length without the zeros behind its last digit."""

    def textFromValue(self, value: float) -> str:
        """Write a length."""
        return self.locale().toString(value, "g", 6)
