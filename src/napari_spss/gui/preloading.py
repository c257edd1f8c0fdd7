"""Modules that a run's display needs soon, loaded where the window does not wait for them."""

from __future__ import annotations

import importlib

# the curves; what napari's Labels constructor asks for; intervals of fractions
_MODULES = ("pyqtgraph", "skimage.color.colorconv", "scipy.ndimage", "scipy.stats")


def preload() -> None:
    """Import the modules; to be called in a run's thread before its first event.

    One that fails is tried again by whoever needs it, who can then say so.
    """
    for name in _MODULES:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
