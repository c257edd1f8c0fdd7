"""Stored runs, read back and grouped: means and spreads, ratios run by run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cells import mean_and_spread


@dataclass(frozen=True)
class Run:
    """One stored run, or one round of correction in it, or a forest's most probable classes.

    Parameters
    ----------
    part : str
        Such as "vnc-report" or "axon-rat4-report".
    row : str
        Name; rounds of correction have their number behind it, most probable classes "plain".
    budget_s : float or None
        Seconds that the annotator was given.
    seed : int
    record : dict
        The JSON file, or what of it belongs to the round.
    """

    part: str
    row: str
    budget_s: float | None
    seed: int
    record: dict[str, Any]

    @property
    def family(self) -> str:
        """Part of a data set, all its folds: "axon-report"."""
        return f"{self.part.partition('-')[0]}-{self.part.rpartition('-')[2]}"

    @property
    def match(self) -> tuple[str, int]:
        """What two runs share that are compared: images and seed."""
        return self.part, self.seed


def load_runs(results: Path, command: str) -> list[Run]:
    """Read all stored runs of a command, by part and seed; what is in one becomes one as well."""
    runs = []
    for path in sorted((results / command).glob("*/*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        row, budget_s, seed = record["row"], record["budget_s"], int(record["seed"])
        runs.append(Run(path.parent.name, row, budget_s, seed, record))
        inner = {str(n): one for n, one in enumerate(record["rounds"], start=1)}
        if "plain" in record:
            inner["plain"] = record["plain"]
        for name, one in inner.items():
            whole = {**record, **one, "rounds": [], "course": None}
            runs.append(Run(path.parent.name, f"{row}/{name}", budget_s, seed, whole))
    return sorted(runs, key=lambda run: (run.part, run.seed))


def parts_of(runs: Iterable[Run]) -> list[str]:
    """List the families, "report" before "tune"."""
    return sorted({run.family for run in runs}, key=lambda one: (one.rpartition("-")[2], one))


def select(runs: Iterable[Run], family: str, row: str, budget_s: float | None = None) -> list[Run]:
    """Pick the runs of a row; of one budget, or of rows without any."""
    return [
        run
        for run in runs
        if run.family == family
        and run.row == row
        and (run.budget_s is None or budget_s is None or run.budget_s == budget_s)
    ]


def key_iou(run: Run) -> float | None:
    """IoU that decides: of the class where there is one, else the mean with the background."""
    name = "mean_iou_foreground" if len(run.record["classes"]) == 2 else "mean_iou"
    value = run.record[name]
    return None if value is None else float(value)


def paired(over: Sequence[Run], under: Sequence[Run]) -> list[tuple[float, float]]:
    """Deciding IoU of runs on the same images with the same seed, of both rows."""
    below = {run.match: key_iou(run) for run in under}
    pairs = []
    for run in over:
        top, bottom = key_iou(run), below.get(run.match)
        if top is not None and bottom is not None:
            pairs.append((top, bottom))
    return pairs


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of what is known; None if nothing is."""
    middle, _, n_known = mean_and_spread(values)
    return middle if n_known else None
