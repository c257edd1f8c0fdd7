"""The advanced settings of a run: those of the preset, and which of them were changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QFormLayout, QSpinBox, QWidget

from ...core.base import preset
from .theme import set_mark

__all__ = ["SettingsForm"]

# dotted name, label, kind, bounds, decimals
_ROWS: tuple[tuple[str, str, type, tuple[float, float], int], ...] = (
    ("sampling.crop_px", "Crop, working px", int, (16, 4096), 0),
    ("sampling.batch_size", "Crops a step", int, (1, 256), 0),
    ("network.filters", "Filters, first block", int, (1, 256), 0),
    ("optimisation.learning_rate", "Learning rate", float, (1e-6, 1.0), 5),
    ("loss.alpha", "Weight of proportions", float, (0.0, 1.0), 2),
    ("labels.keypoint_radius_px", "Keypoint radius, px", float, (0.0, 999.0), 1),
    ("self_training.is_on", "Self-training", bool, (0, 1), 0),
    ("seed", "Seed", int, (0, 2**31 - 1), 0),
)


class SettingsForm(QWidget):
    """Spin boxes for the settings that one may want to change; the rest is the preset's."""

    value_changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._preset = "fast"
        self._others: dict[str, object] = {}
        self._fields: dict[str, QWidget] = {}
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for name, label, kind, bounds, decimals in _ROWS:
            field = _make_field(kind, bounds, decimals)
            field.setToolTip(_description(name))
            _changed(field).connect(self.value_changed)
            self._fields[name] = field
            form.addRow(label, field)
        self.set_preset("fast")

    def value(self) -> dict[str, object]:
        """Return the settings that differ from the preset, by dotted name."""
        settings = preset(self._preset)
        shown = {name: _get(field) for name, field in self._fields.items()}
        differing = {k: v for k, v in shown.items() if v != _setting(settings, k)}
        return {**self._others, **differing}

    def set_value(self, overrides: Mapping[str, object]) -> None:
        """Show the preset with some settings changed; names without a field are kept unseen."""
        self.set_preset(self._preset)
        for name, value in overrides.items():
            if name in self._fields:
                _set(self._fields[name], value)
            else:
                self._others[name] = value

    def set_preset(self, name: str) -> None:
        """Show the values of a preset."""
        self._preset = name
        self._others = {}
        settings = preset(name)
        for dotted, field in self._fields.items():
            _set(field, _setting(settings, dotted))

    def mark(self, name: str | None) -> bool:
        """Mark the field that is wrong, or none; return whether it is one of these."""
        for dotted, field in self._fields.items():
            set_mark(field, "error" if dotted == name else "")
        return name in self._fields


def _make_field(kind: type, bounds: tuple[float, float], decimals: int) -> QWidget:
    if kind is bool:
        return QCheckBox()
    field: QSpinBox | QDoubleSpinBox
    if kind is int:
        field = QSpinBox()
        field.setRange(int(bounds[0]), int(bounds[1]))
    else:
        field = QDoubleSpinBox()
        field.setDecimals(decimals)
        field.setRange(*bounds)
        field.setSingleStep(10.0**-decimals)
    field.setKeyboardTracking(False)
    return field


def _get(field: QWidget) -> object:
    if isinstance(field, QCheckBox):
        return field.isChecked()
    value: float = field.value()
    return value


def _set(field: QWidget, value: Any) -> None:
    if isinstance(field, QCheckBox):
        field.setChecked(bool(value))
    else:
        field.setValue(value)


def _changed(field: QWidget) -> Any:
    return field.toggled if isinstance(field, QCheckBox) else field.valueChanged


def _setting(settings: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        settings = getattr(settings, part)
    return settings


def _description(dotted: str) -> str:
    """The setting's own description, with its dotted name."""
    group, _, name = dotted.rpartition(".")
    owner = _setting(preset("fast"), group) if group else preset("fast")
    text = type(owner).model_fields[name].description or ""
    return f"{text[:1].upper()}{text[1:]}\n({dotted})" if text else f"({dotted})"
