"""Classes that masks were found to hold, told where nobody listed them."""

from __future__ import annotations

from ..core.annotations import ClassSpec, show_values
from ..core.images import default_names
from .display import say

__all__ = ["class_text", "note_found_classes"]


def class_text(spec: ClassSpec) -> str:
    """Give classes as ``--classes`` takes them.

    Examples
    --------
    >>> class_text(ClassSpec(("background", "axon"), (0, 255)))
    'background=0,axon=255'
    """
    if spec.values is None:
        return ",".join(spec.names)
    pairs = zip(spec.names, spec.values, strict=True)
    return ",".join(f"{name}={show_values([value])}" for name, value in pairs)


def note_found_classes(spec: ClassSpec) -> None:
    """Say which value became which class; a stray grey value must not pass for a class unseen."""
    if spec.values is not None and spec.names == default_names(len(spec.names)):
        say(f"note: a class for each value: {class_text(spec)}; --classes names them.")
