"""Stored runs, read back and grouped: means and spreads over seeds, and what is missing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cells

FOLDERS = {"dubai": "dubai", "vnc": "em-vnc", "epfl": "em-epfl"}  # data: folder
_ORDER = ("honest", "random", "cpu", "paper")  # of splits and of presets


@dataclass(frozen=True)
class Setting:
    """What the runs of one table share."""

    data: str
    split: str
    preset: str

    @property
    def title(self) -> str:
        """Name it in a heading."""
        return f"Split `{self.split}`, preset `{self.preset}`, data `{self.data}`"


@dataclass(frozen=True)
class Run:
    """One stored run; ``record`` is its JSON file."""

    setting: Setting
    method: str
    degrade: str | None
    seed: int
    path: Path
    record: dict[str, Any]


def load_runs(results: Path, data: Sequence[str] = tuple(FOLDERS)) -> list[Run]:
    """Read all stored runs on some data sets, by file name; other JSON files are left out."""
    runs = []
    for name, folder in FOLDERS.items():
        for path in sorted((results / folder).glob("*.json")) if name in data else ():
            record = json.loads(path.read_text(encoding="utf-8"))
            if "confusion" not in record:
                continue
            setting = Setting(name, record["split"], record["preset"])
            seed, degrade = int(record["seed"]), record.get("degrade")
            runs.append(Run(setting, record["method"], degrade, seed, path, record))
    return sorted(runs, key=lambda run: run.seed)


def settings_of(runs: Iterable[Run]) -> list[Setting]:
    """List what was run: the honest split and the preset ``cpu`` first."""

    def rank(setting: Setting) -> tuple[str, int, int]:
        places = [
            _ORDER.index(one) if one in _ORDER else len(_ORDER)
            for one in (setting.split, setting.preset)
        ]
        return setting.data, places[0], places[1]

    return sorted({run.setting for run in runs}, key=rank)


def select(
    runs: Iterable[Run], setting: Setting, method: str, degrade: str | None = None
) -> list[Run]:
    """Pick the runs of one row, by seed."""
    return [
        run for run in runs if (run.setting, run.method, run.degrade) == (setting, method, degrade)
    ]


def select_degraded(runs: Sequence[Run], kind: str, amount: float) -> list[Run]:
    """Pick the runs with one degradation, by seed."""
    return [
        run
        for run in runs
        if run.degrade
        and parts_of(run.degrade)[0] == kind
        and abs(parts_of(run.degrade)[1] - amount) < 1e-9
    ]


def parts_of(degrade: str) -> tuple[str, float]:
    """Split "eq5:0.1" into kind and amount."""
    kind, _, amount = degrade.partition(":")
    return kind, float(amount)


def class_score(run: Run, score: str, name: str) -> float | None:
    """Look up "iou" or "f1" of a class by its name; None if it is not defined."""
    names = [one.lower() for one in run.record["classes"]]
    value = run.record[score][names.index(name)] if name in names else None
    return _known(value)


def binarisation_of(run: Run, name: str) -> dict[str, float | None]:
    """Give near_binary, mass_near_one and softness of a class's map, or of all ("total")."""
    stored = run.record.get("binarisation", {}).get(name, {})
    return {key: _known(stored.get(key)) for key in ("near_binary", "mass_near_one", "softness")}


@dataclass(frozen=True)
class ConstantMap:
    """Scores of a map that gives every pixel to the largest class of the test part."""

    name: str
    share: float
    mean_iou_all: float
    mean_iou_named: float


def constant_map(run: Run) -> ConstantMap:
    """Score the largest class everywhere, from the rows of a confusion matrix (true x found).

    Its IoU is its share, that of every other class 0; classes that do not occur are left out.
    """
    counts = [sum(row) for row in run.record["confusion"]]
    largest = max(range(len(counts)), key=counts.__getitem__)
    share = counts[largest] / sum(counts)
    n_all = sum(count > 0 for count in counts)
    n_named = sum(count > 0 for count in counts[1:])
    return ConstantMap(
        run.record["classes"][largest],
        share,
        share / n_all,
        share / n_named if largest > 0 and n_named else 0.0,
    )


def shown(values: Iterable[float | None], *, factor: float = 100, digits: int = 1) -> str:
    """Write mean and standard deviation as a cell, in per cent by default.

    Examples
    --------
    >>> shown([0.4, 0.5]), shown([0.4]), shown([])
    ('45.0 ± 7.1', '40.0', '-')
    """
    return cells.shown(values, digits, factor=factor)


def shown_ratio(
    over: Sequence[Run], under: Sequence[Run], score: Callable[[Run], float | None]
) -> str:
    """Write the ratio of a score of two rows, seed by seed; "-" where no seed is in both."""
    below = {run.seed: score(run) for run in under}
    ratios = []
    for run in over:
        top, bottom = score(run), below.get(run.seed)
        if top is not None and bottom:
            ratios.append(top / bottom)
    return shown(ratios, factor=1, digits=2)


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def seeds_of(runs: Iterable[Run]) -> tuple[int, ...]:
    """List the seeds of some runs."""
    return tuple(sorted({run.seed for run in runs}))


def shown_seeds(runs: Iterable[Run]) -> str:
    """Write the seeds of some runs as a cell."""
    return " ".join(map(str, seeds_of(runs)))
