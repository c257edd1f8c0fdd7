"""Keys that hold while one of our layers is active; napari's own keys stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from napari.utils.key_bindings import coerce_keybinding

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

UNDO_KEY, REDO_KEY = "Control-Z", "Control-Shift-Z"


def shown_key(key: str) -> str:
    """Write a key as people do.

    >>> shown_key("Control-Shift-Z")
    'Ctrl+Shift+Z'
    """
    return key.replace("Control-", "Ctrl+").replace("-", "+")


def is_taken(key: str, *owners: Any) -> bool:
    """Whether a key is bound on a layer, a viewer or their classes; or is no key at all."""
    binding = coerce_keybinding(key)
    if not str(binding):
        return True
    for owner in owners:
        if binding in owner.keymap:
            return True
        for cls in type(owner).__mro__:
            if binding in getattr(cls, "class_keymap", {}):
                return True
    return False


def refused_text(keys: Sequence[str]) -> str:
    """Say which keys were left alone; empty if none."""
    named = ", ".join(keys)
    return f"Not bound, as napari uses them or they are no keys: {named}." if keys else ""


def class_key(key: str) -> str:
    """Key of a class as it is compared with others; letters have no case."""
    return key.upper() if len(key) == 1 else key


class LayerKeys:
    """The keys that we bound on a layer."""

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._layer: Layer | None = None
        self._bound: list[str] = []

    def bind(
        self,
        layer: Layer,
        callbacks: Mapping[str, Callable[[], None]],
        *,
        in_place_of: Mapping[str, Callable[[], None]] | None = None,
    ) -> tuple[str, ...]:
        """Replace the bound keys; an empty key is skipped.

        Parameters
        ----------
        layer : Layer
            The keys work while this layer is the active one.
        callbacks : mapping of str to callable
            Keys as in ``"Q"`` or ``"Control-Z"``, and what they do.
        in_place_of : mapping of str to callable, optional
            Those that do so in place of what napari has for them.

        Returns
        -------
        tuple of str
            Keys that were left alone because they are taken, or because they are no keys.
        """
        self.unbind()
        self._layer = layer
        refused = []
        for key, callback in callbacks.items():
            if not key:
                continue
            if is_taken(key, layer, self._viewer):
                refused.append(key)
            else:
                self._bind(layer, key, callback)
        for key, callback in (in_place_of or {}).items():
            self._bind(layer, key, callback)
        return tuple(refused)

    def _bind(self, layer: Layer, key: str, callback: Callable[[], None]) -> None:
        layer.bind_key(key, lambda _layer: callback(), overwrite=True)
        self._bound.append(key)

    def unbind(self) -> None:
        """Remove our keys from the layer."""
        if self._layer is not None:
            for key in self._bound:
                self._layer.bind_key(key, None)
        self._bound.clear()
        self._layer = None
