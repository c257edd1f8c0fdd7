"""Samples for napari's File > Open Sample: each opens an image and its filled annotations.

The functions that the manifest names; they return plain layer data and need no napari.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .core.simulation import Sample

LayerData = tuple[Any, dict[str, Any], str]

_MARK = "napari_spss"
_SIMULATED = (
    "Sample: its annotations are simulated, with a person's errors. Fractions are guesses, and a "
    "node in a hundred is marked wrong."
)
_APART = " Its slices are images of their own, not a volume: look for objects in each slice."


def open_synthetic() -> list[LayerData]:
    """Draw the synthetic stack of mitochondria, with fractions, keypoints and counting grids."""
    from .core.simulation import synthetic_sample

    return _layers(synthetic_sample())


def open_axons() -> list[LayerData]:
    """Open the bundled SEM images of axons, with fractions, keypoints and a counting grid."""
    from .core.simulation import axon_sample

    return _layers(axon_sample())


def _layers(sample: Sample) -> list[LayerData]:
    """Image as layer data; its metadata hold the annotations.

    The dock fills its table, its grids and its keypoints from them when it first sees the image.
    """
    stack, annotations = sample.stack, sample.annotations
    image = np.stack([stack.read(z)[0] for z in range(stack.n_slices)])
    place: dict[str, Any] = {
        "scale": tuple(size or 1.0 for size in stack.voxel_size_um),
        "units": tuple("um" if size else "pixel" for size in stack.voxel_size_um),
        "axis_labels": ("z", "y", "x"),
    }
    image_arguments = {
        "name": sample.name,
        "colormap": "gray",
        "metadata": {
            _MARK: {
                "annotations": annotations,
                "object_diameter_px": sample.object_diameter_px,
                "notice": _SIMULATED + ("" if stack.voxel_size_um[0] else _APART),
                "origin": sample.notice,
            }
        },
        **place,
    }
    return [(image, image_arguments, "image")]
