"""Whether the advice which slice to count next beats even spacing for the same seconds.

Three ways, all of grids of 16 x 16 nodes alone. "start": two grids on evenly spread slices.
"advice": the same two, and one on each of the two slices that the network of "start" advises.
"even": four grids on evenly spread slices. Every way trains a network from scratch.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import records
import torch
from cells import shown, signed

from napari_spss.core.analysis import evaluate
from napari_spss.core.annotations import Annotations
from napari_spss.core.base import TrainingSettings
from napari_spss.core.images import Stack, stack_from_array
from napari_spss.core.prediction import predict, rank_slices
from napari_spss.core.simulation.annotators import simulate_grids
from napari_spss.core.simulation.cost import Simulation, combine
from napari_spss.core.simulation.protocols import evenly_spread
from napari_spss.core.training import Model, fit

from .annotators import HEADLINE_S, Plan
from .carrying import Experiment, described, is_made_so, settings_of
from .images import Part, Pictures
from .stored import Run, key_iou, paired, parts_of, select

N_FIRST, N_MORE = 2, 2
"""Grids before the advice, and grids that follow it."""

PLAN = Plan("grids")
"""How much the person errs."""

WAYS = {
    "start": f"{N_FIRST} grids, evenly spread",
    "advice": f"the same and {N_MORE} on the slices advised",
    "even": f"{N_FIRST + N_MORE} grids, evenly spread",
}
HEAD = ["", "annotator, s", "IoU", "training, s", "slices, seed by seed", "runs"]

_N_SIDE = 16


@dataclass(frozen=True)
class Trial:
    """All three ways with one seed.

    Parameters
    ----------
    data, part : str
        See :class:`annotation.images.Part`.
    seed : int
        Draws the annotation and the training.
    is_quick : bool
        A few steps of a tiny network, to see that all works.
    """

    data: str
    part: str
    seed: int
    is_quick: bool = False

    @property
    def label(self) -> str:
        """Name for people."""
        return f"advice/{self.data}-{self.part}/{self.seed}"

    def record_path(self, results: Path) -> Path:
        """Where the record is stored."""
        return results / "advice" / f"{self.data}-{self.part}" / f"{self.seed}.json"

    def settings(self, part: Part) -> TrainingSettings:
        """Those of `fast`, as the study trains it."""
        fast = Experiment("study", self.data, self.part, "fast", HEADLINE_S, self.seed,
                          self.is_quick)  # fmt: skip
        return settings_of(fast, part)


def try_out(trial: Trial, part: Part, *, scored: Callable[[str], None]) -> records.Record:
    """Annotate, train and score all three ways.

    Parameters
    ----------
    trial : Trial
    part : Part
        Its images.
    scored : callable
        Told, with the name of the labels, whenever they are compared with the part's masks that
        are scored on.
    """
    settings = trial.settings(part)
    run = _Run(trial, part, settings, scored)
    start, model = run.way("start", run.count(evenly_spread(len(part.train), N_FIRST), 1))
    ranked = rank_slices(model, run.seen, start.annotations, device="cpu")
    more = run.count(ranked[:N_MORE], 2)
    run.way("advice", combine(start, more))
    run.way("even", run.count(evenly_spread(len(part.train), N_FIRST + N_MORE), 1))
    return {
        "command": "advice",
        "data": trial.data,
        "part": trial.part,
        "seed": trial.seed,
        "is_quick": trial.is_quick,
        "classes": list(part.classes),
        "ways": run.found,
        "ranked": list(ranked),
        "plan": dataclasses.asdict(PLAN),
        "train": list(part.train.names),
        "test": list(part.test.names),
        "threads": torch.get_num_threads(),
        "settings": settings.model_dump(),
    }


def is_current(record: records.Record, trial: Trial, part: Part) -> bool:
    """Whether a stored trial was made of these data, as it would be made now."""
    return is_made_so(record, trial.settings(part), PLAN, part)


@dataclass(frozen=True)
class _Run:
    """A trial under way; ``found`` has what every way gave."""

    trial: Trial
    part: Part
    settings: TrainingSettings
    scored: Callable[[str], None]
    found: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)

    @property
    def seen(self) -> Stack:
        """What the network learns from."""
        return _stack(self.part.train, self.part.data)

    def count(self, slices: Sequence[int], kind: int) -> Simulation:
        """Count a grid on each of some slices."""
        return simulate_grids(
            list(self.part.train.truth),
            rng=np.random.default_rng([self.trial.seed, kind]),
            slices=slices,
            n_side=_N_SIDE,
            node_errors=PLAN.node_errors,
            classes=self.part.classes,
        )

    def way(self, name: str, work: Simulation) -> tuple[Simulation, Model]:
        """Train on what was counted, and score."""
        start, start_cpu = time.perf_counter(), time.process_time()
        model = fit(self.seen, work.annotations, self.settings, device="cpu")
        seconds, cpu_s = time.perf_counter() - start, time.process_time() - start_cpu
        labels = predict(model, _stack(self.part.test, self.part.data), device="cpu").labels
        self.scored(f"{self.trial.label} {name}")
        scores = evaluate(list(labels), list(self.part.test.truth), classes=self.part.classes)
        self.found[name] = {
            "slices": _slices(work.annotations),
            "annotation": work.annotations.summary(),
            "annotator_s": round(work.seconds, 1),
            "trained_s": round(seconds, 1),
            "trained_cpu_s": round(cpu_s, 1),
            **described(scores),
        }
        return work, model


def _slices(annotations: Annotations) -> list[int]:
    return [grid.slice for grid in annotations.grids]


def _stack(pictures: Pictures, data: str) -> Stack:
    """Slices of one volume as a stack, of which neighbours are alike; else a set of images."""
    if data == "vnc":
        return stack_from_array(np.stack(pictures.images))
    return pictures.stack()


# -- table ---------------------------------------------------------------------------------------


def load_trials(results: Path) -> list[Run]:
    """Read every way of every stored trial; the row is the way."""
    runs = []
    for path in sorted((results / "advice").glob("*/*.json")):
        record = records.read(path)
        for way, found in record["ways"].items():
            whole = {**record, **found}
            runs.append(Run(path.parent.name, way, None, int(record["seed"]), whole))
    return runs


def family_rows(runs: Sequence[Run]) -> Iterator[tuple[str, list[list[str]], str]]:
    """Rows of the table of every family, and what the advice gained.

    Yields
    ------
    str
        Family, such as "vnc-tune".
    list of list of str
        Cells, see `HEAD`.
    str
        A sentence.
    """
    for family in parts_of(runs):
        by_way = {way: select(runs, family, way) for way in WAYS}
        rows = [_cells(title, by_way[way]) for way, title in WAYS.items() if by_way[way]]
        gains = [a - b for a, b in paired(by_way["advice"], by_way["even"])]
        single = ", ".join(f"{gain:+.3f}" for gain in gains)
        gained = signed(gains)
        yield family, rows, f"Advice minus even spacing, same seed: {gained} (each: {single})."


def _cells(title: str, found: Sequence[Run]) -> list[str]:
    return [
        title,
        shown((run.record["annotator_s"] for run in found), 0).partition(" ")[0],
        shown(map(key_iou, found)),
        shown((run.record["trained_s"] for run in found), 0).partition(" ")[0],
        "; ".join(" ".join(map(str, run.record["slices"])) for run in found),
        str(len(found)),
    ]
