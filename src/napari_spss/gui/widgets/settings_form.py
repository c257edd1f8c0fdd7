"""The advanced settings of a run: those of the preset, and which of them were changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from magicgui.widgets import Container, create_widget
from pydantic.fields import FieldInfo
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from ...core.base import preset
from ...core.networks import NETWORKS
from .theme import set_mark

_SHOWN = (
    "sampling.crop_px",
    "sampling.batch_size",
    "network.name",
    "network.filters",
    "optimisation.learning_rate",
    "loss.alpha",
    "labels.keypoint_radius_px",
    "self_training.enabled",
    "seed",
)
_CHOICES = {"network.name": NETWORKS.names}
_NO_BOUND = 2**31 - 1


class SettingsForm(QWidget):
    """Fields for the settings that one may want to change; the rest is the preset's.

    Kind, label, bounds and help of each are those of the setting.
    """

    value_changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._preset = "fast"
        self._others: dict[str, object] = {}
        self._form: Container[Any] = Container()
        self._form.extend(_field(name) for name in _SHOWN)  # later, so that labels get one width
        self._form.margins = (0, 0, 0, 0)
        self._form.native.layout().setSpacing(4)
        self._form.changed.connect(lambda: self.value_changed.emit())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._form.native)
        self.set_preset("fast")

    def value(self) -> dict[str, object]:
        """Return the settings that differ from the preset, by dotted name."""
        settings = preset(self._preset)
        shown = self._form.asdict()
        differing = {k: v for k, v in shown.items() if v != settings.value(k)}
        return {**differing, **self._others}

    def set_value(self, overrides: Mapping[str, object]) -> None:
        """Show the preset with some settings changed; names without a field are kept unseen."""
        self.set_preset(self._preset)
        shown = {name: value for name, value in overrides.items() if self._can_show(name, value)}
        self._form.update(shown)
        self._others = {name: v for name, v in overrides.items() if name not in shown}

    def set_preset(self, name: str) -> None:
        """Show the values of a preset."""
        self._preset = name
        self._others = {}
        self._form.update({dotted: preset(name).value(dotted) for dotted in _SHOWN})

    def _can_show(self, dotted: str, value: Any) -> bool:
        """Whether a setting has a field that can have the value."""
        if dotted not in _SHOWN or dotted in _CHOICES:
            return dotted in _CHOICES and value in _CHOICES[dotted]()
        field = self._form[dotted]
        return not hasattr(field, "max") or field.min <= value <= field.max

    def mark(self, name: str | None) -> bool:
        """Mark the field that is wrong, or none; return whether it is one of these."""
        for field in self._form:
            set_mark(field.native, "error" if field.name == name else "")
        return name in _SHOWN


def _field(dotted: str) -> Any:
    """Return the widget of a setting, which bears its dotted name."""
    info = _info(dotted)
    text = info.description or ""
    options: dict[str, Any] = {"tooltip": f"{text[:1].upper()}{text[1:]}\n({dotted})".lstrip()}
    if dotted in _CHOICES:
        options["choices"] = _CHOICES[dotted]()
    elif info.annotation in (int, float):
        extra = info.json_schema_extra
        step = extra["step"] if isinstance(extra, dict) else 1
        options |= {"min": 0, "max": _NO_BOUND, "step": step}
        for bound in info.metadata:
            options["min"] = getattr(bound, "ge", options["min"])
            options["max"] = getattr(bound, "le", options["max"])
            if hasattr(bound, "gt"):
                options["min"] = bound.gt + step
            if hasattr(bound, "lt"):
                options["max"] = bound.lt - step
    field = create_widget(
        annotation=info.annotation, name=dotted, label=info.title or dotted, options=options
    )
    field.native.setObjectName(dotted)
    if hasattr(field.native, "setKeyboardTracking"):
        field.native.setKeyboardTracking(False)
    return field


def _info(dotted: str) -> FieldInfo:
    group, _, name = dotted.rpartition(".")
    owner = type(preset("fast").value(group) if group else preset("fast"))
    info: FieldInfo = owner.model_fields[name]
    return info
