"""Which devices torch can compute on, and how long a training takes, asked of child processes.

Importing torch takes seconds, mostly while holding Python's global lock, so that a thread would
freeze the window as surely as the GUI thread itself. A child process does not.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QProcess, Signal

from .task import make_timer

if TYPE_CHECKING:
    from ...core.base import TrainingSettings

_SOON_MS = 700  # while somebody types


@dataclass(frozen=True)
class Device:
    """A device by its torch name, such as "cuda:0", and by the name that a person knows."""

    name: str
    label: str


class _Child(QObject):
    """A module that is run in a child process, and answers on its standard output."""

    def __init__(self, module: str, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._module = module
        self._process = QProcess(self)
        self._process.finished.connect(self._on_finished)
        # a slot of ours, not a function: it is no longer called once this object is being deleted
        self._process.errorOccurred.connect(self._on_failed)

    def start(self, *arguments: str) -> None:
        """Ask; the answer comes by a signal, an empty one if the question failed."""
        self._process.start(sys.executable, ["-m", self._module, *arguments])

    def stop(self) -> None:
        """End the child process, if it still runs; nothing is answered."""
        self._process.blockSignals(True)
        self._process.kill()
        self._process.waitForFinished(1000)
        self._process.blockSignals(False)

    @property
    def is_running(self) -> bool:
        """Whether an answer is awaited."""
        return self._process.state() != QProcess.ProcessState.NotRunning

    def _on_failed(self, *_: object) -> None:
        self._answer(b"")

    def _on_finished(self, *_: object) -> None:
        self._answer(bytes(self._process.readAllStandardOutput().data()))

    def _answer(self, output: bytes) -> None:
        raise NotImplementedError


class DeviceProbe(_Child):
    """Lists the devices in the background."""

    found = Signal(object, str)  # tuple of Device, the fastest first; advice, or ""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__("napari_spss.gui.models.device_list", parent)

    def _answer(self, output: bytes) -> None:
        self.found.emit(*parse_devices(output))


class DurationProbe(_Child):
    """Measures in the background how long a training would take, a while after it was asked."""

    found = Signal(object)  # seconds, or None where they cannot be told

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__("napari_spss.gui.models.training_time", parent)
        self._asked = ("", "")
        self._known: dict[tuple[str, str], float | None] = {}
        self._soon = make_timer(self, _SOON_MS, lambda: self.start(*self._asked))

    def ask(self, settings: TrainingSettings, device: str) -> None:
        """Ask for the time of a training with these settings on a device; the last one counts."""
        groups = {"network", "sampling", "self_training", "optimisation"}
        text = settings.without_limit().model_dump_json(include=groups)
        if self._asked == (text, device) and (self._soon.isActive() or self.is_running):
            return
        self.stop()
        self._asked = text, device
        if self._asked in self._known:
            self.found.emit(self._known[self._asked])
        else:
            self.found.emit(None)
            self._soon.start()

    def note(self, seconds: float) -> None:
        """Take note of how long the training took of which was asked last."""
        self._known[self._asked] = seconds

    def stop(self) -> None:
        """Measure no more, as during a training, which it would slow down."""
        self._soon.stop()
        super().stop()

    def _answer(self, output: bytes) -> None:
        try:
            seconds = float(output.decode().strip().splitlines()[-1])
        except (ValueError, IndexError):
            seconds = None
        self._known[self._asked] = seconds
        self.found.emit(seconds)


def parse_devices(output: bytes) -> tuple[tuple[Device, ...], str]:
    """Read what the child process printed: devices and advice, both empty if it is no answer."""
    lines = output.decode("utf-8", errors="replace").strip().splitlines()
    try:
        record: dict[str, Any] = json.loads(lines[-1]) if lines else {}
        devices = tuple(Device(str(name), str(label)) for name, label in record["devices"])
        return devices, str(record.get("advice") or "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return (), ""
