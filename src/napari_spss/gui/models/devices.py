"""Which devices torch can compute on, asked of a child process.

Importing torch takes seconds, mostly while holding Python's global lock, so that a thread would
freeze the window as surely as the GUI thread itself. A child process does not.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QObject, QProcess, Signal

__all__ = ["Device", "DeviceProbe", "parse_devices"]

_MODULE = "napari_spss.gui.models.device_list"


@dataclass(frozen=True)
class Device:
    """A device by its torch name, such as "cuda:0", and by the name that a person knows."""

    name: str
    label: str


class DeviceProbe(QObject):
    """Lists the devices in the background."""

    found = Signal(object, str)  # tuple of Device, the fastest first; advice, or ""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._process = QProcess(self)
        self._process.finished.connect(self._on_finished)
        # a slot of ours, not a function: it is no longer called once this object is being deleted
        self._process.errorOccurred.connect(self._on_failed)

    def start(self) -> None:
        """Ask; the answer comes by ``found``, an empty one if the question failed."""
        self._process.start(sys.executable, ["-m", _MODULE])

    def stop(self) -> None:
        """End the child process, if it still runs."""
        self._process.blockSignals(True)
        self._process.kill()
        self._process.waitForFinished(1000)

    def _on_failed(self, *_: object) -> None:
        self.found.emit((), "")

    def _on_finished(self, *_: object) -> None:
        self.found.emit(*parse_devices(bytes(self._process.readAllStandardOutput().data())))


def parse_devices(output: bytes) -> tuple[tuple[Device, ...], str]:
    """Read what the child process printed: devices and advice, both empty if it is no answer."""
    lines = output.decode("utf-8", errors="replace").strip().splitlines()
    try:
        record: dict[str, Any] = json.loads(lines[-1]) if lines else {}
        devices = tuple(Device(str(name), str(label)) for name, label in record["devices"])
        return devices, str(record.get("advice") or "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return (), ""
