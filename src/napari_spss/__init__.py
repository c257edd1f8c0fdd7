"""Semantic segmentation of electron microscopy from area fractions and a few points.

The names below are the public Python API. They are loaded on first use, so that
``import napari_spss`` stays instant and brings neither torch nor Qt nor napari.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .core.analysis import evaluate
    from .core.annotations import (
        Annotations,
        CountingGrid,
        Keypoint,
        Proportion,
        Region,
        read_annotations,
    )
    from .core.base import TrainingSettings, preset
    from .core.images import open_masks, open_stack, stack_from_array
    from .core.networks import register_network
    from .core.prediction import (
        iter_prediction,
        predict,
        predict_slice,
        rank_slices,
        uncertainty_slice,
    )
    from .core.training import Model, fit, iter_training, load_model

    __version__: str

__all__ = [
    "Annotations",
    "CountingGrid",
    "Keypoint",
    "Model",
    "Proportion",
    "Region",
    "TrainingSettings",
    "__version__",
    "evaluate",
    "fit",
    "iter_prediction",
    "iter_training",
    "load_model",
    "open_masks",
    "open_stack",
    "predict",
    "predict_slice",
    "preset",
    "rank_slices",
    "read_annotations",
    "register_network",
    "stack_from_array",
    "uncertainty_slice",
]

_HOMES = {
    "analysis": ("evaluate",),
    "annotations": (
        "Annotations",
        "CountingGrid",
        "Keypoint",
        "Proportion",
        "Region",
        "read_annotations",
    ),
    "base": ("TrainingSettings", "preset"),
    "images": ("open_masks", "open_stack", "stack_from_array"),
    "networks": ("register_network",),
    "prediction": (
        "iter_prediction",
        "predict",
        "predict_slice",
        "rank_slices",
        "uncertainty_slice",
    ),
    "training": ("Model", "fit", "iter_training", "load_model"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        value: object = version("napari-spss")
    elif name in _HOME_OF:
        value = getattr(import_module(f".core.{_HOME_OF[name]}", __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
