"""What is run for each table and figure, and one such run from crops to its record."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import records
import torch
from crops import Split, cut, split_honest, split_random
from images import (
    DUBAI_CLASSES,
    EM_CLASSES,
    Picture,
    find_epfl,
    read_dubai,
    read_epfl,
    read_vnc,
)
from methods import annotate, reduced, scale_of, settings_of, steps_per_epoch
from runs import FOLDERS

from napari_spss.core.analysis import evaluate
from napari_spss.core.base import RunFinished, Validated, replacing
from napari_spss.core.images import IGNORE, ImageData, Stack
from napari_spss.core.prediction import predict
from napari_spss.core.prediction.engine import Prediction
from napari_spss.core.training import Model, iter_training

CLASSES = {"dubai": DUBAI_CLASSES, "vnc": EM_CLASSES, "epfl": EM_CLASSES}
CROP_PX = {"dubai": 224, "vnc": 256, "epfl": 256}
# Of all pairs of the six tiles, the classes of these two are mixed most like those of the other
# four (every tile weighs the same; half the sum of absolute differences: 9.7 %).
DUBAI_HELD_OUT = ("tile 1", "tile 3")
# the second largest of the six tiles has so many crops; the largest would be two thirds of all
DUBAI_CAP = 180
PAPER_SPLIT_SEED = 0

NOISE = (0.0, 0.1, 0.2, 0.3, 0.5)
CLUSTERS = (100, 50, 30, 20, 10, 5)
COMMANDS = ("table1", "table2", "table3", "table4", "figure5", "figure6", "figure7", "long")
N_PANELS = 3


@dataclass(frozen=True)
class Experiment:
    """One run: a method on the crops of a data set."""

    data: str
    method: str
    seed: int
    split: str
    preset: str
    degrade: str | None = None
    has_panels: bool = False

    @property
    def stem(self) -> str:
        """Name of the run's files."""
        told = "" if self.degrade is None else "_" + self.degrade.replace(":", "-")
        return f"{self.method}{told}_{self.split}_{self.preset}_{self.seed}"

    def record_path(self, results: Path) -> Path:
        """Where the record is stored."""
        return results / FOLDERS[self.data] / f"{self.stem}.json"

    def panels_path(self, results: Path) -> Path:
        """Where maps of a few test crops are stored."""
        return results / "panels" / FOLDERS[self.data] / f"{self.stem}.npz"


def planned(
    command: str,
    *,
    em: str,
    split: str,
    preset: str,
    seeds: Sequence[int],
    noise: Sequence[float] = NOISE,
) -> list[Experiment]:
    """List the runs behind a table or figure, the most telling ones first.

    Tables 3 and 4 and the figures take the first seed alone. Without noise, "eq5-renorm" is what
    ``spss`` is told, so that run stands for it. Figure 7 needs no training, and "long" is planned
    in its own module.
    """
    first = seeds[:1]
    run = partial(Experiment, split=split, preset=preset)
    if command == "table1":
        return [
            run("dubai", method, seed, has_panels=seed == seeds[0])
            for seed in seeds
            for method in ("benchmark", "spss", "fast")
        ]
    if command == "table2":
        return [
            run(em, method, seed, has_panels=seed == seeds[0])
            for seed in seeds
            for method in ("benchmark", "spss+", "fast")
        ]
    if command == "table3":
        levels = [f"{kind}:{sigma:g}" for sigma in noise for kind in ("eq5", "eq5-renorm")]
        given = [None if level == "eq5-renorm:0" else level for level in levels]
        return [
            run("dubai", "spss", seed, degrade=how, has_panels=how is None)
            for seed in first
            for how in given
        ]
    if command == "table4":
        return [
            run("dubai", "spss", seed, degrade=f"kmeans:{k}") for seed in first for k in CLUSTERS
        ]
    if command in ("figure5", "figure6"):
        return planned(
            "table1" if command == "figure5" else "table2",
            em=em,
            split=split,
            preset=preset,
            seeds=first,
        )
    return []


class Data:
    """A data set, cut and divided once.

    Parameters
    ----------
    name : str
        "dubai", "vnc" or "epfl".
    root : Path
        Folder of all data sets.
    split : {"honest", "random"}
        "random" of EPFL divides one volume, as the paper does.
    """

    def __init__(self, name: str, root: Path, split: str) -> None:
        self.name = name
        self.classes = CLASSES[name]
        self.crop_px = CROP_PX[name]
        self._root = root
        self._split = split

    @cached_property
    def split(self) -> Split:
        """Crops to train on and to score on."""
        crops = self._crops()
        if self._split == "random":
            return split_random(crops, seed=PAPER_SPLIT_SEED)
        if self.name == "dubai":
            return split_honest(crops, DUBAI_HELD_OUT, cap=DUBAI_CAP)
        held_out = crops[-1].group
        return split_honest(crops, (held_out,))

    @cached_property
    def hash(self) -> str:
        """Hash of all crops' pixels and truth."""
        crops = (*self.split.train, *self.split.test)
        return records.data_hash(pixels for crop in crops for pixels in (crop.image, crop.truth))

    def _crops(self) -> list[Picture]:
        if self.name == "dubai":
            return cut(read_dubai(self._root / "dubai"), self.crop_px)
        if self.name == "vnc":
            return cut(read_vnc(self._root / "vnc_sstem"), self.crop_px)
        folder = find_epfl(self._root)
        if folder is None:
            raise FileNotFoundError(f"no folder in {self._root} holds training.tif.")
        crops = cut(read_epfl(folder), self.crop_px)
        if self._split == "random":
            return [crop for crop in crops if crop.group == "training"]
        return crops


def carry_out(
    experiment: Experiment, data: Data, *, device: str, panels: Path | None = None
) -> dict[str, Any]:
    """Train, predict and score.

    In the honest split the paper's methods hold a fifth of the training crops out, whose
    annotation, whatever it is, decides when to stop. In the random split the test part decides, as
    in the paper. ``fast`` needs none and trains on all training crops.

    Parameters
    ----------
    experiment : Experiment
        What to run.
    data : Data
        Its data.
    device : str
        As in :func:`napari_spss.fit`.
    panels : Path, optional
        File for the maps of a few test crops.
    """
    split, scale = data.split, scale_of(experiment.preset)
    is_random = experiment.split == "random"
    is_fast = experiment.method == "fast"
    sees_test = is_random and not is_fast
    seen = (*split.train, *split.test) if sees_test else split.train
    held_out = range(len(split.train), len(seen)) if sees_test else None
    n_drawn = len(split.train) if is_random else len(split.train) - _n_held_out(len(split.train))
    settings = settings_of(
        experiment.method,
        seed=experiment.seed,
        scale=scale,
        crop_px=data.crop_px,
        n_crops=n_drawn,
    )
    annotated = annotate(
        seen,
        data.classes,
        has_masks=experiment.method == "benchmark",
        has_keypoints=experiment.method == "spss+" or (is_fast and data.name != "dubai"),
        degradation=experiment.degrade,
        seed=experiment.seed,
        exact=held_out or (),
    )
    start = time.perf_counter()
    run = iter_training(
        stack_of(seen),
        annotated.annotations,
        settings,
        masks=annotated.masks,
        held_out_slices=held_out,
        device=device,
    )
    model, course = _course(run)
    trained_s = time.perf_counter() - start
    start = time.perf_counter()
    found = predict(model, stack_of(split.test), device=device)
    predicted_s = time.perf_counter() - start
    if panels is not None:
        _store_panels(panels, split.test, found, data.classes)
    n_seen = len(split.train) if is_fast else n_drawn
    details = annotated.details
    if annotated.masks is None:
        details |= {"alpha": settings.loss.alpha}
    if "keypoints_per_class" in details:
        details |= {"keypoint_radius_px": settings.labels.keypoint_radius_px}
    return {
        "data": data.name,
        "method": experiment.method,
        "seed": experiment.seed,
        "split": experiment.split,
        "preset": experiment.preset,
        "degrade": experiment.degrade,
        "reduced": reduced(experiment.method, scale),
        "annotation": annotated.text,
        "details": details,
        "classes": list(data.classes),
        **scores_of(found, split.test, data.classes),
        "n_train": len(split.train),
        "n_test": len(split.test),
        "groups_train": list(split.groups[0]),
        "groups_test": list(split.groups[1]),
        "stopping": _stopping(experiment),
        "n_epochs": round(model.n_steps / steps_per_epoch(n_seen), 1),
        "n_steps": model.n_steps,
        **course,
        "trained_s": round(trained_s, 1),
        "predicted_s": round(predicted_s, 1),
        "threads": torch.get_num_threads(),
        "device": device,
        "settings": settings.model_dump(),
    }


def _n_held_out(n_train: int) -> int:
    from napari_spss.core.base import preset

    return round(preset("paper").optimisation.validation_fraction * n_train)


def _stopping(experiment: Experiment) -> str:
    if experiment.method == "fast":
        return "after as many steps as the paper's methods take at their epoch limit"
    if experiment.split == "random":
        return "by the test part's annotation, as in the paper"
    return "by the annotation of a fifth of the training crops, not trained on"


def stack_of(crops: Sequence[Picture]) -> Stack:
    """Make a stack of crops, each a slice."""
    axes = "YXC" if crops[0].image.ndim == 3 else "YX"
    names = [crop.name for crop in crops]
    images = [ImageData(crop.image) for crop in crops]
    return Stack(images, source="array", names=names, is_set=True, axes=axes)


def _course(run: Any) -> tuple[Model, dict[str, Any]]:
    """Drain a training; the step of the lowest validation loss, that loss, and why it ended."""
    course: dict[str, Any] = {"best_step": None, "best_loss": None, "ended": None}
    while True:
        try:
            event = next(run)
        except StopIteration as end:
            return end.value, course
        if isinstance(event, Validated) and event.is_best:
            course |= {"best_step": event.step, "best_loss": event.loss}
        elif isinstance(event, RunFinished):
            course["ended"] = str(event.reason.value)


def scores_of(found: Prediction, test: Sequence[Picture], classes: Sequence[str]) -> dict[str, Any]:
    """Score labels at full resolution, and say how binary the maps are."""
    scores = evaluate(list(found.labels), [crop.truth for crop in test], classes=classes)
    return {
        "confusion": scores.confusion[:, : len(classes)].tolist(),
        "iou": [records.number(value) for value in scores.iou],
        "f1": [records.number(value) for value in scores.f1],
        "accuracy": scores.accuracy,
        "mean_iou_all": records.number(scores.mean_iou),
        "mean_iou_named": records.number(scores.mean_iou_foreground),
        "mean_class_accuracy": records.number(scores.balanced_accuracy),
        "binarisation": {
            name: binarisation(maps[index] for maps in found.probs)
            for index, name in enumerate(classes)
        }
        | {"total": binarisation(found.probs)},
    }


def binarisation(maps: Iterable[npt.NDArray[np.floating]]) -> dict[str, float | None]:
    """Say how binary maps are, where within 0.1 of 0 or 1 counts as near.

    ``near_binary`` is the share of the pixels that are near 0 or 1. Where a class is rare it is
    high for any map, since nearly all pixels are near 0; hence the other two. ``mass_near_one`` is
    the share of the maps' sum that lies in pixels near 1: 1 for a binary map, 0 for a constant
    one, None for zeros. ``softness`` is the mean of 4 p (1 - p): 0 for a binary map, 1 for p = 0.5.
    """
    n_pixels, n_near, mass, mass_near_one, softness = 0, 0, 0.0, 0.0, 0.0
    for one in maps:
        p = np.asarray(one, dtype=np.float64)
        is_near_one = p >= 0.9
        n_pixels += p.size
        n_near += int(np.count_nonzero(is_near_one | (p <= 0.1)))
        mass += float(p.sum())
        mass_near_one += float(p[is_near_one].sum())
        softness += float((4.0 * p * (1.0 - p)).sum())
    return {
        "near_binary": records.number(n_near / n_pixels),
        "mass_near_one": records.number(mass_near_one / mass if mass > 0 else math.nan),
        "softness": records.number(softness / n_pixels),
    }


def _store_panels(
    path: Path, test: Sequence[Picture], found: Prediction, classes: Sequence[str]
) -> None:
    """Store image, truth and maps of the test crops with most classes, of different pictures."""
    chosen = _telling(test, len(classes))
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(
            stream,
            image=np.stack([test[i].image for i in chosen]),
            truth=np.stack([test[i].truth for i in chosen]),
            probs=np.stack([np.rint(255 * found.probs[i]).astype(np.uint8) for i in chosen]),
            names=np.array([test[i].name for i in chosen]),
            classes=np.array(classes),
        )


def _telling(test: Sequence[Picture], n_classes: int) -> list[int]:
    """Crops to show: the truth's classes most evenly mixed, one of a picture."""
    mixture = []
    for crop in test:
        counts = np.bincount(crop.truth[crop.truth != IGNORE], minlength=n_classes)
        share = counts[counts > 0] / max(1, counts.sum())
        mixture.append(float(-(share * np.log(share)).sum()))
    chosen: dict[str, int] = {}
    for i in sorted(range(len(test)), key=lambda i: -mixture[i]):
        picture = test[i].name.rsplit(" ", 2)[0]
        if picture not in chosen and len(chosen) < N_PANELS:
            chosen[picture] = i
    return sorted(chosen.values())
