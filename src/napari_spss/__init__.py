"""Semantic segmentation of electron microscopy from area fractions and a few points.

The names below are the public Python API. They are loaded on first use, so that
``import napari_spss`` stays instant and brings neither torch nor Qt nor napari.
"""

from __future__ import annotations

import lazy_loader

_load, _, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__.append("__version__")


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        value: object = version("napari-spss")
        return value
    value: object = _load(name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
