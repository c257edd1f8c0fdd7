"""Random forest on multi-scale features, the usual way to learn from a few labels."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from napari_spss.core.annotations import Annotations
from napari_spss.core.base import TrainingSettings
from napari_spss.core.images import Stack, WorkingScale, enlarge, resample_slice
from napari_spss.core.training import working_scale
from napari_spss.core.training.samples import SampleReader

Maps = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]

_SIGMA_MAX = 16.0
_WEIGHTS = tuple(float(w) for w in np.geomspace(1 / 16, 16, 17))
_MANY = 500_000  # pixels on which weights are compared
_THRESHOLDS = 99


@dataclass(frozen=True)
class ForestRun:
    """A forest and how long it took to make.

    Parameters
    ----------
    forest : Forest
    seconds, cpu_s : float
        Features and trees: by the wall clock, and of the processor.
    n_labels : int
        Labelled working pixels.
    """

    forest: Forest
    seconds: float
    cpu_s: float
    n_labels: int


@dataclass(frozen=True)
class Forest:
    """Trees, and how their input is made."""

    classifier: Any
    working_scale: WorkingScale
    normalisation: str
    n_classes: int

    def maps(self, stack: Stack, z: int) -> Maps:
        """Probabilities (C, Y, X) of a slice at full resolution."""
        reduction = self.working_scale.of_slice(stack, z)
        features = _features(resample_slice(stack, z, reduction, self.normalisation))
        found = self.classifier.predict_proba(features.reshape(-1, features.shape[-1]))
        probs = np.zeros((self.n_classes, *features.shape[:2]), np.float32)
        for place, index in enumerate(self.classifier.classes_):
            probs[index] = found[:, place].reshape(features.shape[:2])
        maps: Maps = enlarge(torch.from_numpy(probs), stack.shape_of(z), reduction).numpy()
        return maps


def grow(
    stack: Stack,
    annotations: Annotations,
    settings: TrainingSettings,
    *,
    n_trees: int = 100,
    n_jobs: int = 1,
) -> ForestRun:
    """Grow trees on the labels that a network would see: points at working scale, dilated alike."""
    from sklearn.ensemble import RandomForestClassifier  # type: ignore[import-untyped]

    start, start_cpu = time.perf_counter(), time.process_time()
    scale = working_scale(settings, stack)
    reader = SampleReader(stack, annotations, settings, working_scale=scale)
    features, labels, weights = [], [], []
    for sample in itertools.chain.from_iterable(map(reader.read, reader.slices)):
        is_labelled = sample.target >= 0
        if is_labelled.any():
            features.append(_features(sample.image)[is_labelled])
            labels.append(sample.target[is_labelled])
            weights.append(sample.weight[is_labelled])
    classifier = RandomForestClassifier(
        n_estimators=n_trees, random_state=settings.seed % 2**32, n_jobs=n_jobs
    )
    classifier.fit(np.concatenate(features), np.concatenate(labels), np.concatenate(weights))
    forest = Forest(classifier, scale, settings.image.normalisation, len(annotations.classes))
    seconds, cpu_s = time.perf_counter() - start, time.process_time() - start_cpu
    return ForestRun(forest, seconds, cpu_s, sum(len(one) for one in labels))


def _features(image: Maps) -> Maps:
    """Intensity, edges and texture at doubling scales: (y, x, features)."""
    from skimage.feature import multiscale_basic_features

    height, width = image.shape[1:]
    found = multiscale_basic_features(  # type: ignore[no-untyped-call, unused-ignore]
        image, sigma_min=1.0, sigma_max=min(_SIGMA_MAX, min(height, width) / 4), channel_axis=0
    )
    return np.asarray(found, np.float32)


def plain_labels(maps: Maps) -> Labels:
    """Most probable class."""
    labels: Labels = maps.argmax(axis=0).astype(np.uint8)
    return labels


def best_labels(maps: list[Maps], truth: list[Labels]) -> tuple[list[Labels], tuple[float, ...]]:
    """Labels at the class weights that suit the truth best, which no user knows.

    Two classes: a pixel is class 1 where ``p1 w1 > p0``, the best of many thresholds ``1 / (1 +
    w1)``. More classes: the largest of ``p w``, with weights on a coarse mesh. The best is that of
    the highest mean IoU over the classes.

    Returns
    -------
    labels : list of ndarray of uint8
    weights : tuple of float
        One a class, that of the background is 1.
    """
    n_classes = maps[0].shape[0]
    step = max(1, sum(one.size for one in truth) // _MANY)
    pixels = np.concatenate([one.reshape(n_classes, -1) for one in maps], axis=1)[:, ::step]
    true = np.concatenate([one.reshape(-1) for one in truth])[::step]
    pixels, true = pixels[:, true < n_classes], true[true < n_classes]
    if n_classes == 2:
        thresholds = np.linspace(0, 1, _THRESHOLDS + 2)[1:-1]
        candidates: list[tuple[float, ...]] = [(1.0, float(1 / one - 1)) for one in thresholds]
    else:
        candidates = [(1.0, *one) for one in itertools.product(_WEIGHTS, repeat=n_classes - 1)]
    best = max(candidates, key=lambda one: _mean_iou(_weighted(pixels, one), true, n_classes))
    return [_weighted(one, best) for one in maps], best


def _weighted(maps: Maps, weights: tuple[float, ...]) -> Labels:
    shape = (-1, *(1,) * (maps.ndim - 1))
    labels: Labels = (maps * np.array(weights, np.float32).reshape(shape)).argmax(axis=0)
    return labels.astype(np.uint8)


def _mean_iou(labels: Labels, truth: Labels, n_classes: int) -> float:
    codes = np.bincount(truth.astype(np.int64) * n_classes + labels, minlength=n_classes**2)
    table = codes.reshape(n_classes, n_classes)
    hits = np.diagonal(table)
    union = table.sum(axis=0) + table.sum(axis=1) - hits
    return float((hits[union > 0] / union[union > 0]).mean())
