"""SPSS+ on electron microscopy for as many steps as it is worth, without a stopping rule.

The paper stops a run by the validation loss of its test part. Here nothing stops one: after every
epoch the network is held against the test part, and what the paper's rule would have done is read
off the course afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, astuple, dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import records
import torch
from crops import Split
from experiments import Data, scores_of, stack_of
from images import EM_CLASSES
from methods import annotate, scale_of, settings_of
from runs import FOLDERS

from napari_spss.core.base import CancelToken, RunError, TrainingSettings, preset
from napari_spss.core.networks import resolve_device
from napari_spss.core.prediction import predict
from napari_spss.core.prediction.engine import Prediction
from napari_spss.core.training.preparation import prepare
from napari_spss.core.training.run import Run
from napari_spss.core.training.task import Task

ALPHAS = (0.5, 0.9, 0.99)
SHARES = (0.1, 1.0)
RADII_PX = (3.0, 5.0, 10.0)


@dataclass(frozen=True)
class Choice:
    """A run, and what is chosen where the paper is silent.

    Parameters
    ----------
    method : str
        "benchmark", "spss" or "spss+".
    seed : int
        Of weights, batches and keypoints.
    steps : int
        All of them are done.
    alpha : float
        Weight of the proportions (Eq. 4).
    keypoint_crops : float
        Share of the crops that have keypoints.
    radius_px : float
        Dilation of a keypoint, in data pixels.
    keypoints : int
        Of each class in such a crop.
    normalisation : {"range", "slice"}
        Grey values from 0 to 1, or mean 0 and deviation 1 in each crop.
    bias : {"stated", "zero"}
        The output begins at the mean of the stated fractions, or at one half.
    initialisation : {"he", "glorot"}
        Of the weights; Keras has Glorot's, uniform.
    """

    method: str = "spss+"
    seed: int = 0
    steps: int = 3000
    alpha: float = 0.99
    keypoint_crops: float = 1.0
    radius_px: float = 5.0
    keypoints: int = 3
    normalisation: str = "range"
    bias: str = "stated"
    initialisation: str = "he"

    @property
    def stem(self) -> str:
        """Name of the record: what differs from the defaults, seed and steps last."""
        plain = Choice(self.method, self.seed, self.steps)
        told = [
            f"_{name}-{value:g}" if isinstance(value, float) else f"_{name}-{value}"
            for name, value in asdict(self).items()
            if value != getattr(plain, name)
        ]
        return f"{self.method}{''.join(told)}_{self.steps}_{self.seed}"


def path_of(choice: Choice, data: str, results: Path) -> Path:
    """Where the record of a run is stored."""
    return results / "long" / FOLDERS[data] / f"{choice.stem}.json"


def stored(results: Path, data: str) -> list[tuple[Choice, records.Record]]:
    """Read the records of a data set: benchmark, SPSS, SPSS+; the defaults first."""
    names = [field.name for field in fields(Choice)]
    found = []
    for path in (results / "long" / FOLDERS[data]).glob("*.json"):
        record = records.read(path)
        found.append((Choice(**{name: record[name] for name in names}), record))
    order = ("benchmark", "spss", "spss+")
    return sorted(
        found, key=lambda one: (order.index(one[0].method), astuple(one[0])[2:], one[0].seed)
    )


def told(record: records.Record) -> list[str]:
    """Write a run's choices as cells: alpha, keypoints, radius, and what differs else."""
    plain = Choice()
    names = ("normalisation", "bias", "initialisation")
    other = ", ".join(
        f"{name}: {record[name]}" for name in names if record[name] != getattr(plain, name)
    )
    if record["method"] == "benchmark":
        return ["", "", "", other]
    if record["method"] == "spss":
        return ["", "none", "", other]
    share, number = record["keypoint_crops"], record["keypoints"]
    where = "all crops" if share == 1 else f"{100 * share:g} % of the crops"
    cells = [f"{record['alpha']:g}", f"{where}, {number} a class", f"{record['radius_px']:g}"]
    return [*cells, other]


def planned(results: Path, data: str, *, steps: int, seeds: Sequence[int]) -> Iterator[Choice]:
    """List the runs, the most telling ones first; the later ones depend on those before.

    Benchmark, SPSS+ and SPSS; then SPSS+ with another alpha, share of crops or radius, one seed,
    and with the best of each together. The best of these with all seeds beside the benchmark, and
    from it one thing at a time. Last come the other combinations, and the same again from one that
    is better.
    """
    plain = Choice(seed=seeds[0], steps=steps)
    yield replace(plain, method="benchmark")
    yield plain
    yield replace(plain, method="spss")
    varied = {"alpha": ALPHAS, "keypoint_crops": SHARES, "radius_px": RADII_PX}
    best: dict[str, Any] = {}
    single: list[Choice] = []
    for name, values in varied.items():
        found = [replace(plain, **{name: value}) for value in values]
        yield from found
        single += found
        best[name] = getattr(best_of(found, data, results), name, None)
    if None not in best.values():
        together = replace(plain, **best)
        yield together
        yield from _around([*single, together], data, results, seeds)
    every = [
        replace(plain, **dict(zip(varied, values, strict=True)))
        for values in product(*varied.values())
    ]
    yield from every
    yield from _around(every, data, results, seeds)


def _around(
    choices: Sequence[Choice], data: str, results: Path, seeds: Sequence[int]
) -> Iterator[Choice]:
    """List what is run from the best of some choices, once all of these are stored."""
    best = best_of(choices, data, results)
    if best is None:
        return
    benchmark = Choice(method="benchmark", seed=best.seed, steps=best.steps)
    for seed in seeds[1:]:
        yield replace(best, seed=seed)
        yield replace(benchmark, seed=seed)
    for change in (
        {"normalisation": "slice"},
        {"bias": "zero"},
        {"initialisation": "glorot"},
        {"keypoints": 10},
        # the mean over the images of a batch instead of their sum in Eq. 3
        {"alpha": _alpha_of_mean(best.alpha)},
    ):
        yield replace(best, **change)  # type: ignore[arg-type]
    yield replace(benchmark, normalisation="slice")


def _alpha_of_mean(alpha: float) -> float:
    """Weight of the proportions that divides the keypoints' part by the number of images.

    Adam does not see a common factor of both parts, so that the quotient of their weights says all.
    """
    quotient = preset("paper").sampling.batch_size * alpha / (1 - alpha)
    return round(quotient / (1 + quotient), 6)


def best_of(choices: Sequence[Choice], data: str, results: Path) -> Choice | None:
    """Return the one that ended with the highest IoU; None unless all are stored."""
    paths = [path_of(one, data, results) for one in choices]
    if not all(path.is_file() for path in paths):
        return None
    ends = [records.read(path)["iou"][1] for path in paths]
    return choices[int(np.argmax(ends))]


def stopped_at(course: Sequence[dict[str, float]], patience: int = 10) -> dict[str, float] | None:
    """Look that the paper's rule would have kept: the lowest loss before it ran out of patience.

    Parameters
    ----------
    course : sequence of dict
        A look an epoch, with its "loss".
    patience : int
        Epochs without a lower loss.

    Returns
    -------
    dict or None
        None if the rule would not have stopped it.
    """
    best = 0
    for number, look in enumerate(course):
        if look["loss"] < course[best]["loss"]:
            best = number
        elif number - best >= patience:
            return course[best]
    return None


def carry_out(choice: Choice, data: Data, *, device: str, preset_name: str) -> dict[str, Any]:
    """Train all steps, with a look at the test part after every epoch."""
    split = data.split
    annotated = annotate(
        split.train,
        EM_CLASSES,
        has_masks=choice.method == "benchmark",
        has_keypoints=choice.method == "spss+",
        degradation=None,
        seed=choice.seed,
        keypoint_crops=choice.keypoint_crops,
        keypoints_per_class=choice.keypoints,
    )
    settings = _settings(choice, data, preset_name)
    task = Task(
        stack_of(split.train),
        settings,
        annotated.masks,
        None,
        None,
        resolve_device(device),
        CancelToken(),
        time.perf_counter,
    )
    run = _prepared(task, annotated.annotations)
    _begin(run, choice)
    course: list[dict[str, float]] = []
    trained_s, start = 0.0, time.perf_counter()
    found = None
    while run.end() is None:
        batch, view = run.draw(0.0)
        loss = run.loss(run.forward(batch, view), batch, 0.0)
        run.learn(loss, run.schedule.learning_rate(run.spent))
        if run.ends_epoch or run.state.step == choice.steps:
            trained_s += time.perf_counter() - start
            found = predict(run.model(), stack_of(split.test), device=device)
            course.append(_look(run, found, split, is_full=choice.method == "benchmark"))
            start = time.perf_counter()
    assert found is not None
    return {
        "data": data.name,
        **asdict(choice),
        "preset": preset_name,
        "split": "honest",
        "annotation": annotated.text,
        "classes": list(EM_CLASSES),
        **scores_of(found, split.test, EM_CLASSES),
        "n_train": len(split.train),
        "n_test": len(split.test),
        "trained_s": round(trained_s, 1),
        "threads": torch.get_num_threads(),
        "device": device,
        "settings": settings.model_dump(),
        "course": course,
    }


def _settings(choice: Choice, data: Data, preset_name: str) -> TrainingSettings:
    settings = settings_of(
        choice.method,
        seed=choice.seed,
        scale=scale_of(preset_name),
        crop_px=data.crop_px,
        n_crops=len(data.split.train),
        alpha=choice.alpha,
    )
    return settings.with_overrides(
        {
            "image.normalisation": choice.normalisation,
            "labels.keypoint_radius_px": choice.radius_px,
            "optimisation.max_steps": choice.steps,
            "optimisation.max_epochs": None,
            "optimisation.validation_fraction": 0.0,
            "optimisation.patience": None,
        }
    )


def _prepared(task: Task, annotations: Any) -> Run:
    preparing = prepare(task, annotations, resume=False, start_from=None)
    while True:
        try:
            next(preparing)
        except StopIteration as end:
            run: Run = end.value
            return run


def _begin(run: Run, choice: Choice) -> None:
    """Change what the network begins with, where the choice is not the package's."""
    network = run.model().network
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
                if choice.initialisation == "glorot":
                    torch.nn.init.xavier_uniform_(module.weight)
                if choice.bias == "zero" and module.bias is not None:
                    module.bias.zero_()
    run.learner.load({f"student.{name}": value for name, value in network.state_dict().items()})


def _look(run: Run, found: Prediction, split: Split, *, is_full: bool) -> dict[str, float]:
    """IoU of the mitochondria on the test part, and the loss that would stop the run."""
    scores = scores_of(found, split.test, EM_CLASSES)
    maps = np.stack([probs[1] for probs in found.probs]).astype(np.float64)
    truth = np.stack([crop.truth == 1 for crop in split.test])
    if is_full:
        chances = np.clip(np.where(truth, maps, 1 - maps), 1e-7, 1)
        loss = float(-np.log(chances).mean())
    else:
        shares = maps.mean(axis=(1, 2)) - truth.mean(axis=(1, 2))
        loss = float((shares**2).mean())
    if not np.isfinite(loss):
        raise RunError(f"the maps of step {run.state.step} are not finite.")
    return {"step": run.state.step, "iou": scores["iou"][1] or 0.0, "loss": round(loss, 8)}
