"""The Train section: preset, time, device, the buttons, curves and messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import Container, create_widget
from pydantic.fields import FieldInfo
from qtpy.QtCore import QEvent, QSignalBlocker, Signal
from qtpy.QtGui import QStandardItemModel
from qtpy.QtWidgets import QDoubleSpinBox, QLabel, QPlainTextEdit, QWidget

from ...core.base import preset
from ...core.networks import NETWORKS
from ..models import RunForm, duration, make_timer, sentence
from .parts import Notice, fill_column, make_button, make_choice, make_form, make_row
from .runs import RunsList
from .section import Section
from .theme import set_mark

if TYPE_CHECKING:
    from ...core.training import RunSummary
    from ..models import Curves, Device, RunStatus

_PRESETS = (
    ("fast", "Fast (recommended)", "A small network for rough fractions, grids and keypoints."),
    ("paper", "As in the paper", "The published protocol: exact fractions, 100 epochs, slow."),
)
_TRAIN = "Train a new network on the annotations made so far."
_CONTINUE = "Train on from the current model, with all annotations."
_REDRAW_MS = 400
_SIGNS = {"warning": "⚠ ", "error": "✖ "}
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


class TrainSection(QWidget):
    """States a training run and shows how it goes."""

    train_requested = Signal()
    continue_requested = Signal()
    value_changed = Signal()

    def __init__(self, *, default_minutes: float = 0.0) -> None:
        super().__init__()
        self._default_minutes = default_minutes
        self._is_busy = False
        self._has_model = False
        self._seconds: float | None = None
        self._reason, self._is_said, self._other_model = "", False, ""
        self._curves: Curves | None = None
        self._make_fields()
        self._make_buttons()
        self._plot: QWidget | None = None
        self._redraw = make_timer(self, _REDRAW_MS, self._draw)
        self._lay_out()
        self._refresh_buttons()

    # -- value -----------------------------------------------------------------------------------

    def value(self) -> RunForm:
        """Return what is entered; the object diameter belongs to the image."""
        return RunForm(
            preset=self._preset.currentData(),
            max_minutes=self._minutes.value() or None,
            device=self._device.currentData() or "auto",
            overrides=self._form.value(),
        )

    def set_value(self, form: RunForm) -> None:
        """Show a form."""
        self._preset.setCurrentIndex(max(0, self._preset.findData(form.preset)))
        self._form.set_preset(form.preset)
        self._form.set_value(form.overrides)
        self._minutes.setValue(form.max_minutes or 0.0)
        self.set_device(form.device)

    def set_device(self, name: str) -> None:
        """Choose a device; one that is not listed yet is added as it is."""
        if self._device.findData(name) < 0:
            self._device.addItem(name, name)
        self._device.setCurrentIndex(self._device.findData(name))

    def set_devices(self, devices: Sequence[Device], advice: str) -> None:
        """List the devices that were found, "auto" first."""
        chosen = self._device.currentData()
        with QSignalBlocker(self._device):  # nobody chose anything
            self._device.clear()
            best = f"auto ({devices[0].label})" if devices else "auto"
            self._device.addItem(best, "auto")
            for device in devices:
                text = device.label if device.name == "cpu" else f"{device.label} ({device.name})"
                self._device.addItem(text, device.name)
            self._device.setCurrentIndex(max(0, self._device.findData(chosen)))
        if self._device.currentData() != chosen:
            self.value_changed.emit()
        self._advice.say(advice)

    # -- what goes on ----------------------------------------------------------------------------

    def set_status(self, status: RunStatus) -> None:
        """Follow the session."""
        self._is_busy = status.is_busy
        self.runs.set_busy(status.is_busy)
        self._refresh_buttons()

    def set_model(self, has_model: bool) -> None:
        """Offer Continue or not."""
        self._has_model = has_model
        self._refresh_buttons()

    def set_runs(self, runs: Sequence[RunSummary], current: Path | None) -> None:
        """List the runs of the project; ``current`` is the folder of the one in use."""
        self.runs.set_runs(runs, current)
        self._runs_section.setVisible(bool(runs))

    def set_ready(self, reason: str, *, is_said: bool = False, other_model: str = "") -> None:
        """Say what is still missing before a training; nothing if it may start.

        With ``is_said`` the dock's bar says it already, and the button's tooltip does here.
        ``other_model`` says why the model there is cannot be trained on.
        """
        self._reason, self._is_said, self._other_model = reason, is_said, other_model
        self._refresh_buttons()

    def set_duration(self, seconds: float | None) -> None:
        """Tell how long a training would take; None if that is not known."""
        self._seconds = seconds
        self._show_duration()

    def set_curves(self, curves: Curves) -> None:
        """Draw curves soon; calls in quick succession are drawn once."""
        self._curves = curves
        if not self._redraw.isActive():
            self._redraw.start()

    def set_messages(self, messages: Sequence[tuple[str, str]]) -> None:
        """List other messages, as for another image."""
        self._messages.setPlainText(
            "\n".join(_SIGNS.get(level, "") + text for level, text in messages)
        )

    def say(self, level: str, text: str) -> None:
        """Add a message to the list, and open it for a warning, which the bar soon writes over."""
        self._messages.appendPlainText(_SIGNS.get(level, "") + text)
        if level == "warning":
            self._log.open()

    def mark_error(self, field: str | None, text: str) -> None:
        """Mark the field that is wrong and say why; an empty text clears both."""
        is_here = self._form.mark(field if text else None)
        if is_here:
            self._advanced.open()
        for name, widget in (("device", self._device), ("optimisation.max_minutes", self._minutes)):
            set_mark(widget, "error" if text and name == field else "")
        self._error.say("" if field is None else text)  # the rest stands in the dock's bar

    def stop_timers(self) -> None:
        """Draw no more; the dock is about to close."""
        self._redraw.stop()

    # -- inside ----------------------------------------------------------------------------------

    def _make_fields(self) -> None:
        self._preset = make_choice(
            [(label, name) for name, label, _ in _PRESETS],
            "\n".join(f"{label}: {text}" for _, label, text in _PRESETS),
            self._on_preset_changed,
        )
        model = self._preset.model()
        for row, (_, _, tooltip) in enumerate(_PRESETS):
            if isinstance(model, QStandardItemModel):
                model.item(row).setToolTip(tooltip)
        self._minutes = QDoubleSpinBox()
        self._minutes.setRange(0.0, 24 * 60.0)
        self._minutes.setDecimals(1)
        self._minutes.setSuffix(" min")
        self._minutes.setSpecialValueText("none")
        self._minutes.setValue(self._default_minutes)
        self._minutes.setToolTip(
            "Training ends after this time, though steps may be left: the map is then worse than "
            "it would be.\nContinue does the steps that are left. You may stop at any time, too."
        )
        self._minutes.valueChanged.connect(lambda: self.value_changed.emit())
        self._minutes.valueChanged.connect(lambda: self._show_duration())
        self._device = make_choice(
            [("auto", "auto")],
            "Where to compute; a GPU is ten to a hundred times as fast.",
            self.value_changed.emit,
        )
        self._advice = Notice()
        self._form = SettingsForm()
        self._form.value_changed.connect(self.value_changed)

    def _make_buttons(self) -> None:
        self._train = make_button("Train", self.train_requested.emit)
        self._continue = make_button("Continue", self.continue_requested.emit)
        self._duration, self._missing, self._error = Notice(), Notice(), Notice()
        self._duration.setToolTip(
            "Measured by a few steps on this computer. Previews, and what else it does, add to it."
        )
        set_mark(self._error, "error")
        self._messages = QPlainTextEdit()
        self._messages.setReadOnly(True)
        self._messages.setMaximumBlockCount(200)
        self._messages.setFixedHeight(110)

    def _lay_out(self) -> None:
        form = make_form(
            ("Preset", self._preset), ("Time limit", self._minutes), ("Device", self._device)
        )
        self._advanced = Section("Advanced", self._form, is_open=False)
        self._log = Section("Messages", self._messages, is_open=False)
        self.runs = RunsList()
        self._runs_section = Section("Runs", self.runs)
        self._runs_section.hide()
        self._layout = fill_column(
            *(self, form, self._advice, self._advanced, self._error),
            *(make_row((self._train, 2), (self._continue, 1)), self._duration, self._missing),
            *(self._runs_section, self._log),
        )

    def _refresh_buttons(self) -> None:
        may_start = not self._is_busy and not self._reason
        self._train.setEnabled(may_start)
        self._continue.setEnabled(may_start and self._has_model and not self._other_model)
        self._continue.setToolTip(f"{self._other_model}\n{_CONTINUE}".strip())
        self._train.setToolTip(f"{self._reason}\n{_TRAIN}" if self._reason else _TRAIN)
        self._missing.say("" if self._is_said or self._is_busy else self._reason)
        self._show_duration()

    def _show_duration(self) -> None:
        if self._seconds is None or self._is_busy:
            self._duration.say("")
            return
        grain = 10 if self._seconds < 55 else 30 if self._seconds < 600 else 60
        about = duration(max(1, round(self._seconds / grain)) * grain)
        text = f"Takes about {about}"
        limit_s = 60 * self._minutes.value()
        if 0 < limit_s < self._seconds:
            text += f", of which the time limit allows {duration(limit_s)}: maps will be worse"
        self._duration.say(f"{text}.")

    def _on_preset_changed(self) -> None:
        name = self._preset.currentData()
        self._form.set_preset(name)
        self._minutes.setValue(self._default_minutes if name == "fast" else 0.0)
        self.value_changed.emit()

    def _draw(self) -> None:
        is_empty = self._curves is None or self._curves.is_empty
        if self._plot is not None:
            self._plot.setVisible(not is_empty)
        if self._curves is None or is_empty:
            return
        if self._plot is None:  # pyqtgraph is loaded with the first curve, not with the dock
            from .plots import CurvesPlot

            self._plot = CurvesPlot()
            self._layout.insertWidget(self._layout.indexOf(self._runs_section), self._plot)
        self._plot.set_curves(self._curves)


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
        fill_column(self, self._form.native)
        self._fit_soon = make_timer(self, 0, self._fit)
        self.set_preset("fast")

    def changeEvent(self, event: QEvent) -> None:
        """Follow another font, as of napari's settings."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.StyleChange:
            self._fit_soon.start()

    def _fit(self) -> None:
        """Give all labels one width; magicgui measures them by the font of the program."""
        labels = self._form.native.findChildren(QLabel)
        widest = max(label.sizeHint().width() for label in labels)
        for label in labels:
            label.setMinimumWidth(widest)

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
    options: dict[str, Any] = {"tooltip": f"{sentence(text)}\n({dotted})".lstrip()}
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
