"""A tiny image with bright discs on noise, its truth, and annotations read off the truth."""

from __future__ import annotations

import numpy as np
import torch

from napari_spss.core.annotations import Annotations, Keypoint, Proportion, Region, lay_grid
from napari_spss.core.base import TrainingSettings, preset
from napari_spss.core.images import stack_from_array

CLASSES = ("background", "disc")


def blobs(n_slices=3, size=64, seed=0):
    """Return (stack, truth (Z, Y, X) uint8); discs of radius 5-8 are brighter than the noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    truth = np.zeros((n_slices, size, size), np.uint8)
    for z in range(n_slices):
        for _ in range(4):
            y, x = rng.uniform(8, size - 8, 2)
            radius = rng.uniform(5, 8)
            truth[z] |= ((rows - y) ** 2 + (columns - x) ** 2 <= radius**2).astype(np.uint8)
    image = rng.normal(100, 15, truth.shape) + 60 * truth
    return stack_from_array(image.clip(0, 255).astype(np.uint8)), truth


def fractions(truth):
    """Exact fraction of every slice."""
    return tuple(
        Proportion(Region(z), (1 - float(t.mean()), float(t.mean()))) for z, t in enumerate(truth)
    )


def counted(truth, slices, n_side=8, seed=0):
    """Exact counting grids on some slices."""
    rng = np.random.default_rng(seed)
    grids = []
    for z in slices:
        grid = lay_grid(z, truth[z].shape, n_side=n_side, rng=rng)
        rows = grid.y.round().astype(int).clip(0, truth.shape[1] - 1)
        columns = grid.x.round().astype(int).clip(0, truth.shape[2] - 1)
        grids.append(
            grid.replace(class_index=truth[z][rows, columns].astype(np.int16), is_done=True)
        )
    return tuple(grids)


def annotated(truth, n_grids=1, keypoints=()):
    """Fractions of all slices and grids on the first ones."""
    return Annotations(
        CLASSES,
        proportions=fractions(truth),
        grids=counted(truth, range(n_grids)),
        keypoints=tuple(keypoints),
    )


def correct_clicks(truth, slices, n, seed=0):
    """Keypoints at random pixels, with their true class."""
    rng = np.random.default_rng(seed)
    clicks = []
    for _ in range(n):
        z = int(rng.choice(list(slices)))
        y, x = rng.integers(0, truth.shape[1], 2)
        clicks.append(Keypoint(z, float(y), float(x), int(truth[z, y, x])))
    return clicks


def quick(**overrides) -> TrainingSettings:
    """Preset fast, small enough for a unit test."""
    values = {
        "network.filters": 8,
        "sampling.crop_px": 64,
        "sampling.batch_size": 2,
        "optimisation.max_steps": 20,
        "labels.keypoint_radius_px": 2,
        "optimisation.precision": "float32",
        "optimisation.learning_rate": 0.01,
        "sampling.intensity": False,
        "sampling.warp": False,
    }
    return preset("fast").with_overrides(
        values | {name.replace("__", "."): value for name, value in overrides.items()}
    )


def tiny(**overrides) -> TrainingSettings:
    """Smaller still, for images of 32 x 32 pixels."""
    values = {"network__filters": 2, "optimisation__max_steps": 4, "sampling__crop_px": 32}
    return quick(**(values | overrides))


def weights(model):
    """All weights of a model, one after the other."""
    return torch.cat([value.flatten().float() for value in model.network.state_dict().values()])


def iou(labels, truth):
    """Intersection over union of class 1."""
    return (labels & truth).sum() / max(1, (labels | truth).sum())
