"""Subscriptions to napari events that end together."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import MethodType
from typing import Any
from weakref import WeakMethod

_MOVES = ("scale", "translate", "rotate", "shear", "affine", "units")
_ANY_NUMBER = inspect.Parameter.VAR_POSITIONAL
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Connections:
    """Remembers which callbacks were connected, to disconnect them all at once.

    Not a QObject: its method may be connected to a widget's ``destroyed``, when the widget
    itself can no longer be asked. Nor does napari get to know the widget: to find a method among
    its callbacks, it compares their objects, which fails for widgets that are deleted.
    """

    def __init__(self) -> None:
        self._pairs: list[tuple[Any, Callable[..., Any]]] = []

    def connect(self, signal: Any, callback: Callable[..., Any]) -> None:
        """Connect a callback to an event or signal; a method does not keep its object alive."""
        forward = _forwarding(callback)
        signal.connect(forward)
        self._pairs.append((signal, forward))

    def connect_moves(self, layer: Any, callback: Callable[..., Any]) -> None:
        """Connect a callback to all events of a layer that tell that it lies elsewhere."""
        for name in _MOVES:
            self.connect(getattr(layer.events, name), callback)

    def disconnect_all(self, *_: object) -> None:
        """End all subscriptions."""
        for signal, callback in self._pairs:
            signal.disconnect(callback)
        self._pairs.clear()


def _forwarding(callback: Callable[..., Any]) -> Callable[..., None]:
    """Make a function that calls a method as long as its object lives, or another callable."""
    kinds = [parameter.kind for parameter in inspect.signature(callback).parameters.values()]
    n_taken = None if _ANY_NUMBER in kinds else sum(kind in _POSITIONAL for kind in kinds)
    find = WeakMethod(callback) if isinstance(callback, MethodType) else lambda: callback

    def forward(*args: object) -> None:
        found = find()
        if found is not None:
            found(*args[:n_taken])

    return forward
