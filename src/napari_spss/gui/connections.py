"""Subscriptions to napari events that end together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Connections"]


class Connections:
    """Remembers which callbacks were connected, to disconnect them all at once.

    Not a QObject: its method may be connected to a widget's ``destroyed``, when the widget
    itself can no longer be asked.
    """

    def __init__(self) -> None:
        self._pairs: list[tuple[Any, Callable[..., Any]]] = []

    def connect(self, signal: Any, callback: Callable[..., Any]) -> None:
        """Connect a callback to an event or signal."""
        signal.connect(callback)
        self._pairs.append((signal, callback))

    def disconnect_all(self, *_: object) -> None:
        """End all subscriptions."""
        for signal, callback in self._pairs:
            signal.disconnect(callback)
        self._pairs.clear()
