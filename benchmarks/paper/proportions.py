"""The proportions of the training crops before and after each degradation (Figure 7)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_spss.core.base import write_atomically
from napari_spss.core.simulation.degrade import degrade_eq5, degrade_kmeans, parse_degradation

Fractions = npt.NDArray[np.float64]

DEGRADATIONS = (
    *(f"eq5:{sigma:g}" for sigma in (0, 0.1, 0.5)),
    *(f"eq5-renorm:{sigma:g}" for sigma in (0.1, 0.5)),
    *(f"kmeans:{k}" for k in (100, 50, 30, 20, 10, 5)),
)
DRAWN = ("kmeans:20", "kmeans:5")  # kept crop by crop, for the figure
_DIGITS = 4


@dataclass(frozen=True)
class Change:
    """What a degradation does to the fractions of all crops.

    Attributes
    ----------
    n_different : int
        Different annotations afterwards.
    unchanged : float
        Share of the crops whose annotation is what it was.
    mean_change : float
        Mean absolute change of a fraction, 0-1.
    lowest, highest : float
        Smallest and largest fraction afterwards.
    """

    n_different: int
    unchanged: float
    mean_change: float
    lowest: float
    highest: float


@dataclass(frozen=True)
class Degradations:
    """Stored proportions of the training crops, and what degradations make of them.

    Attributes
    ----------
    data, split, seed
        As of a run.
    classes : tuple of str
        Names, as of the columns of ``exact``.
    n_different : int
        Different annotations before.
    exact : ndarray of float64, (N, C)
        Exact fractions, rounded for the file.
    changes : dict of str to Change
        By degradation.
    given : dict of str to ndarray of float64, (N, C)
        By degradation: fractions afterwards; only those that are drawn.
    """

    data: str
    split: str
    seed: int
    classes: tuple[str, ...]
    n_different: int
    exact: Fractions
    changes: dict[str, Change]
    given: dict[str, Fractions]


def store_degradations(
    results: Path,
    exact: npt.ArrayLike,
    classes: Sequence[str],
    *,
    data: str,
    split: str,
    seed: int = 0,
) -> Path:
    """Degrade the exact fractions (N, C) of the training crops in every way, and store that.

    Clusterings into more clusters than there are crops are left out.

    Returns
    -------
    Path
        ``RESULTS/figure7/DATA_SPLIT_SEED.json``.
    """
    fractions = np.asarray(exact, dtype=np.float64)
    changes, given = {}, {}
    for how in DEGRADATIONS:
        if how.startswith("kmeans") and parse_degradation(how).amount > len(fractions):
            continue
        after = _degraded(fractions, how, np.random.default_rng(seed))
        is_same = (after == fractions).all(axis=1)
        change = Change(
            n_different=len(np.unique(after, axis=0)),
            unchanged=float(is_same.mean()),
            mean_change=float(np.abs(after - fractions).mean()),
            lowest=float(after.min()),
            highest=float(after.max()),
        )
        changes[how] = {name: _rounded(value) for name, value in vars(change).items()}
        if how in DRAWN:
            given[how] = after.round(_DIGITS).tolist()
    record = {
        "data": data,
        "split": split,
        "seed": seed,
        "classes": list(classes),
        "n_different": len(np.unique(fractions, axis=0)),
        "changes": changes,
        "exact": fractions.round(_DIGITS).tolist(),
        "given": given,
    }
    path = results / "figure7" / f"{data}_{split}_{seed}.json"
    write_atomically(path, json.dumps(record) + "\n")
    return path


def load_degradations(results: Path) -> list[Degradations]:
    """Read everything that :func:`store_degradations` has stored, by file name."""
    return [
        _from_record(json.loads(path.read_text(encoding="utf-8")))
        for path in sorted((results / "figure7").glob("*.json"))
    ]


def _from_record(record: dict[str, Any]) -> Degradations:
    return Degradations(
        data=record["data"],
        split=record["split"],
        seed=record["seed"],
        classes=tuple(record["classes"]),
        n_different=record["n_different"],
        exact=np.array(record["exact"]),
        changes={how: Change(**change) for how, change in record["changes"].items()},
        given={how: np.array(rows) for how, rows in record["given"].items()},
    )


def _degraded(fractions: Fractions, how: str, rng: np.random.Generator) -> Fractions:
    wanted = parse_degradation(how)
    if wanted.kind == "kmeans":
        return degrade_kmeans(fractions, int(wanted.amount), rng)
    form = "softmax" if wanted.kind == "eq5" else "sum"
    return degrade_eq5(fractions, wanted.amount, rng, renormalise=form)  # type: ignore[arg-type]


def _rounded(value: float | int) -> float | int:
    return value if isinstance(value, int) else round(value, 6)
