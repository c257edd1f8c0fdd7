"""One run of a row: annotate, learn, correct, score, and the record of all that."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import records
import torch

from napari_spss.core.analysis import evaluate
from napari_spss.core.analysis.scores import Scores
from napari_spss.core.annotations import N_LOOKS, Keypoint, error_after_looks
from napari_spss.core.base import (
    ImageSettings,
    KeypointsChecked,
    Message,
    Preview,
    TrainingSettings,
    preset,
)
from napari_spss.core.images import Stack, as_label_source
from napari_spss.core.networks import resolve_device
from napari_spss.core.prediction import predict, predict_regions
from napari_spss.core.simulation.cost import Acts
from napari_spss.core.training import Model, NodeMaps, iter_training, rank_nodes

from .annotators import LOOK_S, OBJECT_S, Plan, Told, annotate, correct, look_again, wrong_nodes
from .forest import best_labels, grow, plain_labels
from .hardships import made_hard
from .images import Mask, Part
from .rows import ROUND_SHARE, Row, row_of

N_CLICKS = 20  # of a round of correction
CONSTANT = 0.999  # of all pixels in one class: a constant map, if the truth has more of the others
_TRUE_SHARE = 0.99
_FOLLOW_S = (3.0, 15.0)  # between looks at a map: at a reduced scale, and at full resolution

_PAPER_FILTERS = 16  # instead of 64, for two cores
_PAPER_BATCH = 16
_PAPER_STEPS = 400  # of as many pixels as `fast` has in a batch; they take longer than its own do
_QUICK: dict[str, object] = {
    "optimisation.max_steps": 3,
    "network.filters": 2,
    "sampling.crop_px": 32,
    "sampling.batch_size": 2,
}
_QUICK_TREES = 3

Scored = Callable[[str], None]


@dataclass(frozen=True)
class Experiment:
    """One run.

    Parameters
    ----------
    command : {"study", "ablations", "robustness"}
    data, part : str
        See :class:`annotation.images.Part`.
    name : str
        Of the row or change.
    budget_s : float
        Seconds of the annotator, where the row keeps to them.
    seed : int
        Draws the annotation and the training.
    is_quick : bool
        A few steps of a tiny network, to see that all works.
    """

    command: str
    data: str
    part: str
    name: str
    budget_s: float
    seed: int
    is_quick: bool = False

    @property
    def row(self) -> Row:
        """What is done."""
        return row_of(self.command, self.name)

    @property
    def label(self) -> str:
        """Name for people."""
        return f"{self.command}/{self.data}-{self.part}/{self.stem}"

    @property
    def stem(self) -> str:
        """Name of the file."""
        budget = f"_{self.budget_s:g}s" if self.row.has_budget else ""
        return f"{self.name}{budget}_{self.seed}"

    def record_path(self, results: Path) -> Path:
        """Where the record is stored."""
        return results / self.command / f"{self.data}-{self.part}" / f"{self.stem}.json"


def carry_out(
    experiment: Experiment,
    part: Part,
    *,
    scored: Scored,
    load: Callable[[str], Part] | None = None,
    device: str = "cpu",
) -> records.Record:
    """Run an experiment.

    Parameters
    ----------
    experiment : Experiment
        What to run.
    part : Part
        Its images.
    scored : callable
        Told, with the name of the labels, whenever they are compared with the part's masks that
        are scored on.
    load : callable, optional
        Gives the part of another data set, from which some rows start.
    device : str
        Where networks are trained and applied.
    """
    row = experiment.row
    part = made_hard(part, row.hardship)
    budget_s = experiment.budget_s
    if row.has_rounds_within:
        clicks_s = Acts(n_clicks=row.n_rounds * N_CLICKS).seconds()
        budget_s -= row.n_rounds * N_LOOKS * LOOK_S if row.is_looking_again else clicks_s
    told = annotate(row.plan, part.train, part.classes, budget_s=budget_s, seed=experiment.seed)
    settings = settings_of(experiment, part)
    start = None
    if row.has_start:
        assert load is not None
        other = "vnc" if part.data.startswith("axon") else "axon-rat2"
        start = _start(load, other, experiment.is_quick, device)
    run = _Run(experiment, part, settings, told, scored, device, start)
    with _threads(row.n_threads) as n_threads:
        outcome = run.forest() if row.base == "forest" else run.network()
    return {
        "command": experiment.command,
        "data": experiment.data,
        "part": experiment.part,
        "row": row.name,
        "title": row.title,
        "seed": experiment.seed,
        "budget_s": experiment.budget_s if row.has_budget else None,
        "is_oracle": row.is_oracle,
        "is_looking_again": row.is_looking_again,
        "is_quick": experiment.is_quick,
        "classes": list(part.classes),
        "annotation": told.text,
        "annotator_s": round(told.seconds, 1),
        "annotator": told.acts,
        "plan": dataclasses.asdict(row.plan),
        "object_s": OBJECT_S if "n_objects" in told.acts else None,
        "hardship": row.hardship,
        **outcome,
        "train": list(part.train.names),
        "test": list(part.test.names),
        "threads": n_threads,
        "device": "cpu" if row.base == "forest" else str(resolve_device(device)),
        "settings": settings.model_dump(),
    }


@contextlib.contextmanager
def _threads(wanted: int | None) -> Iterator[int]:
    """Compute with so many threads, those of the command if None; gives their number."""
    usual = torch.get_num_threads()
    torch.set_num_threads(wanted or usual)
    try:
        yield wanted or usual
    finally:
        torch.set_num_threads(usual)


def is_current(record: records.Record, experiment: Experiment, part: Part) -> bool:
    """Whether a stored run was made of these data, as it would be made now."""
    row = experiment.row
    settings = settings_of(experiment, made_hard(part, row.hardship))
    return is_made_so(
        record, settings, row.plan, part, n_rounds=row.n_rounds, is_forest=row.base == "forest"
    )


def is_made_so(
    record: records.Record,
    settings: TrainingSettings,
    plan: Plan,
    part: Part,
    *,
    n_rounds: int = 0,
    is_forest: bool = False,
) -> bool:
    """Whether a record is of these settings, this plan, these data and so many rounds."""
    before, now = (
        _as_seen(one, has_rounds=n_rounds > 0, has_fractions=plan.has_fractions and not is_forest)
        for one in (record["settings"], settings.model_dump())
    )
    return bool(
        before == now
        and len(record.get("rounds", ())) == n_rounds
        and record["plan"] == dataclasses.asdict(plan)
        and record["data_hash"] == part.hash
    )


def _as_seen(settings: dict[str, Any], *, has_rounds: bool, has_fractions: bool) -> dict[str, Any]:
    """Settings as far as what is learnt depends on them.

    Of widths that is the reduction alone. The weight of a click matters beside grids only, which is
    in rounds of correction; where all labels are clicks it cancels out. The form of the loss of
    fractions matters where fractions are told, and learnt from.
    """
    labels, image, loss = (dict(settings[name]) for name in ("labels", "image", "loss"))
    if not has_rounds:
        del labels["keypoint_weight"]
    if not has_fractions or loss["alpha"] == 0:
        del loss["proportions"]
    reduction = ImageSettings(**image).reduction(None)
    del image["object_diameter_px"], image["target_diameter_px"]
    return settings | {
        "labels": labels, "image": image | {"reduction": reduction}, "loss": loss,
    }  # fmt: skip


def settings_of(experiment: Experiment, part: Part) -> TrainingSettings:
    """Settings of a run: those of the row's preset with its overrides.

    The paper's are reduced to what two cores can do: filters, and a budget of the pixels of 400
    batches of ``fast``, as whole slices or, as in the paper, as 16 crops a batch.
    """
    row, fast = experiment.row, preset("fast")
    values: dict[str, object] = {
        "seed": experiment.seed,
        "image.object_diameter_px": part.diameter_px,
    }
    settings = fast
    if row.base in ("paper", "paper-crops"):
        settings = preset("paper")
        values |= {
            "network.filters": _PAPER_FILTERS,
            "sampling.batch_size": fast.sampling.batch_size,
            "optimisation.max_steps": _PAPER_STEPS,
            "optimisation.max_epochs": None,
            "optimisation.validation_fraction": 0.0,
            "optimisation.patience": None,
        }
    if row.base == "paper-crops":
        values |= _in_crops(row, part, fast)
    settings = settings.with_overrides({**values, **row.overrides})
    steps = round((settings.optimisation.max_steps or 1) * row.step_factor)
    return settings.with_overrides(
        {"optimisation.max_steps": steps, **(_QUICK if experiment.is_quick else {})}
    )


def _in_crops(row: Row, part: Part, fast: TrainingSettings) -> dict[str, object]:
    """Windows of the crops' size, and as many steps as show the pixels of the budget."""
    reduction = 1
    if part.diameter_px is not None:
        reduction = max(1, round(part.diameter_px / fast.image.target_diameter_px))
    longest_px = max(max(mask.shape) for mask in part.train.truth)
    crop_px = max(16, (row.plan.tile_px or longest_px // 4) // reduction)
    pixels = fast.sampling.batch_size * fast.sampling.crop_px**2
    batch_size = max(1, min(_PAPER_BATCH, pixels // crop_px**2))
    steps = _PAPER_STEPS * pixels / (batch_size * crop_px**2)
    return {
        "sampling.crop_px": crop_px,
        "sampling.batch_size": batch_size,
        "optimisation.max_steps": math.ceil(steps),
    }


@dataclass(frozen=True)
class _Trained:
    """A model and what happened on the way to it; ``course``: wall s, CPU s, step, IoU.

    ``denied`` are the keypoints that the network has not learned.
    """

    model: Model
    seconds: float
    cpu_s: float
    messages: list[list[str]]
    course: list[list[float]] | None
    denied: frozenset[Keypoint]


@dataclass(frozen=True)
class _Run:
    """A run under way."""

    experiment: Experiment
    part: Part
    settings: TrainingSettings
    told: Told
    scored: Scored
    device: str
    start: Model | None = None
    test: Stack = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "test", self.part.test.stack())

    def network(self) -> dict[str, Any]:
        """Train, score, and correct as often as the row says."""
        row = self.experiment.row
        trained = self._train(self.told, self.settings, self._begin_with())
        first = self._scored(trained.model, "")
        rounds = []
        model, told = trained.model, self.told
        total_s, total_cpu_s = trained.seconds, trained.cpu_s
        steps = max(1, round(trained.model.n_steps * ROUND_SHARE))
        n_rounds = 0 if row.is_looking_again else row.n_rounds
        if row.is_looking_again:
            rounds.append(self._looked_again(trained))
        seen = self._seen(model) if n_rounds else []
        for number in range(1, n_rounds + 1):
            clicks_seed = 1000 * number + self.experiment.seed
            clicked = correct(
                told, seen, N_CLICKS, off_centre=row.plan.off_centre, seed=clicks_seed
            )
            clicks = clicked.annotations.keypoints[len(told.annotations.keypoints) :]
            told = clicked if row.has_clicks else told
            again = self.settings.with_overrides(
                {"optimisation.max_steps": steps, "seed": clicks_seed}
            )
            going_on = self._train(told, again, start_from=model)
            model = going_on.model
            total_s, total_cpu_s = total_s + going_on.seconds, total_cpu_s + going_on.cpu_s
            seen = self._seen(model)
            n_right = sum(int(seen[k.slice][k.pixel] == k.class_index) for k in clicks)
            n_learned = sum(k not in going_on.denied for k in clicks)
            rounds.append(
                self._scored(model, f" after round {number}")
                | {
                    "n_clicked": len(clicks),
                    "n_learned": n_learned if row.has_clicks else n_right,
                    "n_right": n_right,
                    "annotation": told.text,
                    "annotator_s": round(told.seconds, 1),
                    "trained_s": round(total_s, 1),
                    "trained_cpu_s": round(total_cpu_s, 1),
                    "n_steps": trained.model.n_steps + number * steps,
                    "messages": going_on.messages,
                }
            )
        return {
            **first,
            "rounds": rounds,
            "n_steps": trained.model.n_steps,
            "trained_s": round(trained.seconds, 1),
            "trained_cpu_s": round(trained.cpu_s, 1),
            "reduction": trained.model.reduction,
            "messages": trained.messages,
            "course": trained.course,
        }

    def _begin_with(self) -> Model | None:
        """The model that training begins with, at the scale of these images."""
        if self.start is None:
            return None
        scale = {"reduction": self.settings.image.reduction(None) or 1, "pixel_size_um": None}
        model = self.start.for_classes(self.told.annotations.classes)
        return model.model_copy(update=scale)

    def _seen(self, model: Model) -> list[Mask]:
        """Labels of the slices that are annotated, as the person sees them."""
        stack, flips = self.told.pictures.stack(), self.experiment.row.flips
        return list(predict(model, stack, device=self.device, flips=flips).labels)

    def _looked_again(self, trained: _Trained) -> dict[str, Any]:
        """Look at doubtful nodes again, train anew, and score."""
        annotations, node_error = self.told.annotations, self.settings.labels.node_error
        maps = NodeMaps(annotations)
        stack = self.told.pictures.stack()
        for _ in predict_regions(trained.model, stack, maps.regions, maps.sink, device=self.device):
            pass
        doubtful = rank_nodes(annotations, maps.probs, node_error=node_error)
        told, looks = look_again(self.told, doubtful, seed=self.experiment.seed)
        error = error_after_looks(looks, node_error)
        anew = self._train(told, self.settings.with_overrides({"labels.node_error": error}))
        return self._scored(anew.model, " after the second look") | {
            "annotation": told.text,
            "annotator_s": round(told.seconds, 1),
            "trained_s": round(trained.seconds + anew.seconds, 1),
            "trained_cpu_s": round(trained.cpu_s + anew.cpu_s, 1),
            "n_steps": anew.model.n_steps,
            "messages": anew.messages,
            "n_wrong_before": wrong_nodes(self.told),
            "n_wrong_after": wrong_nodes(told),
            "node_error": round(error, 4),
        }

    def forest(self) -> dict[str, Any]:
        """Grow, and score at the threshold that suits the truth best, and at the plain one."""
        n_trees = _QUICK_TREES if self.experiment.is_quick else 100
        grown = grow(
            self.told.pictures.stack(),
            self.told.annotations,
            self.settings,
            n_trees=n_trees,
            n_jobs=torch.get_num_threads(),
        )
        start = time.perf_counter()
        maps = [grown.forest.maps(self.test, z) for z in range(self.test.n_slices)]
        seconds = time.perf_counter() - start
        plain = self._scores([plain_labels(one) for one in maps], "")
        labels, weights = best_labels(maps, list(self.part.test.truth))
        best = self._scores(labels, " at the best threshold")
        return {
            **best,
            "plain": plain,
            "class_weights": [round(weight, 4) for weight in weights],
            "n_trees": n_trees,
            "n_labels": grown.n_labels,
            "reduction": grown.forest.working_scale.reduction,
            "rounds": [],
            "n_steps": None,
            "trained_s": round(grown.seconds, 1),
            "trained_cpu_s": round(grown.cpu_s, 1),
            "predicted_s": round(seconds, 1),
            "messages": [],
            "course": None,
        }

    def _train(
        self, told: Told, settings: TrainingSettings, start_from: Model | None = None
    ) -> _Trained:
        """Train to the end; of a row that is followed, score the map of one slice on the way."""
        followed = self._followed(told) if start_from is None else None
        messages: list[list[str]] = []
        denied: frozenset[Keypoint] = frozenset()
        course: list[list[float]] = []
        start, start_cpu = time.perf_counter(), time.process_time()
        run = iter_training(
            told.pictures.stack(),
            told.annotations,
            settings,
            masks=None if told.masks is None else as_label_source(list(told.masks)),
            start_from=start_from,
            preview_slice=None if followed is None else lambda: followed,
            preview_interval_s=self._follow_s(),
            device=self.device,
        )
        while True:
            try:
                event = next(run)
            except StopIteration as end:
                model: Model = end.value
                break
            if isinstance(event, Message):
                messages.append([event.level, event.text])
            elif isinstance(event, KeypointsChecked):
                denied = frozenset(Keypoint(*one) for one in event.denied)
            elif isinstance(event, Preview):
                iou = _preview_iou(event, told.pictures.truth[event.slice])
                passed = [time.perf_counter() - start, time.process_time() - start_cpu]
                course.append([*(round(one, 1) for one in passed), event.step, round(iou, 4)])
        seconds, cpu_s = time.perf_counter() - start, time.process_time() - start_cpu
        course_told = course if followed is not None else None
        return _Trained(model, seconds, cpu_s, messages, course_told, denied)

    def _follow_s(self) -> float:
        """Seconds between looks, so that they take a small part of the time."""
        if self.experiment.is_quick:
            return 0.0
        return _FOLLOW_S[self.part.diameter_px is None]

    def _followed(self, told: Told) -> int | None:
        """A slice near the middle without a grid."""
        if self.experiment.row.n_threads is None:
            return None
        counted = {grid.slice for grid in told.annotations.grids}
        middle = len(told.pictures) // 2
        others = [z for z in range(len(told.pictures)) if z not in counted]
        return min(others, key=lambda z: abs(z - middle), default=middle)

    def _scored(self, model: Model, when: str) -> dict[str, Any]:
        start = time.perf_counter()
        flips = self.experiment.row.flips
        labels = predict(model, self.test, device=self.device, flips=flips).labels
        seconds = time.perf_counter() - start
        return self._scores(list(labels), when) | {"predicted_s": round(seconds, 1)}

    def _scores(self, labels: list[Mask], when: str) -> dict[str, Any]:
        self.scored(f"{self.experiment.label}{when}")
        scores = evaluate(labels, list(self.part.test.truth), classes=self.part.classes)
        return described(scores)


@cache
def _start(load: Callable[[str], Part], data: str, is_quick: bool, device: str) -> Model:
    """Train on all masks of a data set."""
    part = load(data)
    experiment = Experiment("study", data, part.part, "masks", 0.0, 0, is_quick)
    told = annotate(experiment.row.plan, part.train, part.classes, budget_s=0.0, seed=0)
    settings = settings_of(experiment, part)
    run = _Run(experiment, part, settings, told, lambda _: None, device)
    return run._train(told, settings).model


def described(scores: Scores) -> dict[str, Any]:
    """Scores as JSON, and whether the labels are one class nearly everywhere."""
    counts = scores.confusion.astype(float)
    total = max(1.0, counts.sum())
    n_classes = len(scores.classes)
    found, true = counts.sum(axis=0)[:n_classes] / total, counts.sum(axis=1) / total
    largest = int(found.argmax())
    return {
        "iou": [records.number(value) for value in scores.iou],
        "f1": [records.number(value) for value in scores.f1],
        "mean_iou": records.number(scores.mean_iou),
        "mean_iou_foreground": records.number(scores.mean_iou_foreground),
        "accuracy": records.number(scores.accuracy),
        "found": [round(float(value), 5) for value in found],
        "true": [round(float(value), 5) for value in true],
        "is_constant": bool(found[largest] > CONSTANT and true[largest] < _TRUE_SHARE),
    }


def _preview_iou(preview: Preview, truth: Mask) -> float:
    """Mean IoU of the classes but the background, of a map at working scale."""
    k, (height, width) = preview.reduction, preview.shape
    labels = preview.probs.argmax(axis=0).astype(np.uint8)
    full = labels.repeat(k, axis=0).repeat(k, axis=1)[:height, :width]
    iou = evaluate(full, truth, classes=[f"{i}" for i in range(len(preview.probs))])
    value = iou.mean_iou_foreground
    return 0.0 if math.isnan(value) else value
