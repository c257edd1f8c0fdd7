"""What the paper finds, beside the same quantity of the stored runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from cells import mean_and_spread, table
from published import CLUSTERED, EXACT_PERCENT, NAMED_CLASSES, NOISY, TABLE1, TABLE2
from runs import (
    Run,
    Setting,
    binarisation_of,
    class_score,
    load_runs,
    parts_of,
    select,
    settings_of,
    shown,
    shown_ratio,
)

Row: TypeAlias = tuple[str, str, str]
Score: TypeAlias = Callable[[Run], float | None]
_HEAD = ("what", "paper", "here")
_FORMS = {"eq5": "softmax as written", "eq5-renorm": "divided by the sum"}


def findings(results: Path) -> str:
    """Write a table of computed comparisons for every setting that was run, as Markdown.

    Ratios are taken seed by seed; "-" means that the runs for it are missing.
    """
    runs = load_runs(results)
    blocks = []
    for setting in settings_of(runs):
        here = _Here([run for run in runs if run.setting == setting], setting)
        rows = list(_on_dubai(here) if setting.data == "dubai" else _on_em(here))
        blocks += [f"**{setting.title}**", table(_HEAD, rows)]
    return "\n\n".join(blocks) if blocks else "Not run."


@dataclass(frozen=True)
class _Here:
    """The runs of one setting."""

    runs: list[Run]
    setting: Setting

    def of(self, method: str, degrade: str | None = None) -> list[Run]:
        return select(self.runs, self.setting, method, degrade)

    def ratio(self, over: str, under: str, score: Score) -> str:
        return shown_ratio(self.of(over), self.of(under), score)


def _on_dubai(here: _Here) -> Iterator[Row]:
    full, weak = TABLE1["benchmark"], TABLE1["spss"]
    yield (
        "SPSS / benchmark, mean IoU of 6 classes",
        f"{weak.mean_iou[0] / full.mean_iou[0]:.2f}",
        here.ratio("spss", "benchmark", _all),
    )
    yield (
        "SPSS / benchmark, mean IoU of the 5 named classes",
        f"{weak.mean_iou_from_f1() / full.mean_iou_from_f1():.2f}",
        here.ratio("spss", "benchmark", _named),
    )
    yield (
        "SPSS / benchmark, pixel accuracy",
        f"{weak.accuracy[0] / full.accuracy[0]:.2f}",
        here.ratio("spss", "benchmark", _accuracy),
    )
    better = [name for name in NAMED_CLASSES if weak.f1[name] > full.f1[name]]
    yield "classes in which SPSS has the higher F1", ", ".join(better), _better(here)
    yield (
        "`fast` / benchmark, mean IoU of 6 classes",
        "",
        here.ratio("fast", "benchmark", _all),
    )
    for degrade in sorted({run.degrade for run in here.runs if run.degrade}, key=_by_amount):
        yield _degraded(here, degrade)
    yield from _binary(here, "spss", "SPSS")


def _on_em(here: _Here) -> Iterator[Row]:
    full, weak = TABLE2["benchmark"], TABLE2["spss+"]
    f1 = [row.f1["mitochondria"][0] for row in (weak, full)]
    yield (
        "SPSS+ / benchmark, IoU of mitochondria",
        f"{weak.mean_iou[0] / full.mean_iou[0]:.2f}",
        here.ratio("spss+", "benchmark", _named),
    )
    yield (
        "SPSS+ / benchmark, F1 of mitochondria",
        f"{f1[0] / f1[1]:.2f}",
        here.ratio("spss+", "benchmark", lambda run: class_score(run, "f1", "mitochondria")),
    )
    yield (
        "SPSS+ / benchmark, pixel accuracy",
        f"{weak.accuracy[0] / full.accuracy[0]:.2f}",
        here.ratio("spss+", "benchmark", _accuracy),
    )
    if here.of("spss"):
        yield (
            "SPSS (no keypoints) / benchmark, IoU of mitochondria",
            "",
            here.ratio("spss", "benchmark", _named),
        )
    yield (
        "`fast` / benchmark, IoU of mitochondria",
        "",
        here.ratio("fast", "benchmark", _named),
    )
    yield from _binary(here, "spss+", "SPSS+")


def _degraded(here: _Here, degrade: str) -> Row:
    """Mean IoU after a degradation over that of exact proportions."""
    kind, amount = parts_of(degrade)
    score = shown_ratio(here.of("spss", degrade), here.of("spss"), _all)
    if kind == "kmeans":
        name = f"SPSS, {amount:g} clusters / exact, mean IoU of 6 classes"
        published = CLUSTERED.get(int(amount))
    else:
        name = f"SPSS, noise {100 * amount:g} % ({_FORMS[kind]}) / exact, mean IoU of 6 classes"
        published = NOISY.get(round(100 * amount))
    paper = "" if published is None else f"{published / EXACT_PERCENT:.2f}"
    return name, paper, score


def _binary(here: _Here, method: str, name: str) -> Iterator[Row]:
    rows = (here.of(method), here.of("benchmark"))
    near = [shown(_part(run, "near_binary") for run in runs) for runs in rows]
    soft = [shown((_part(run, "softness") for run in runs), factor=1, digits=3) for runs in rows]
    what = f"{name} against benchmark"
    yield (
        f"pixels with p < 0.1 or > 0.9, %, {what}",
        "more (by eye)",
        " against ".join(near),
    )
    yield f"mean of 4 p (1 - p), {what}", "less (by eye)", " against ".join(soft)


def _better(here: _Here) -> str:
    """Classes whose mean F1 over seeds is higher for SPSS than for the benchmark."""
    if not (here.of("spss") and here.of("benchmark")):
        return "-"
    found = []
    for name in NAMED_CLASSES:
        means = [
            mean_and_spread(class_score(run, "f1", name) for run in here.of(method))[0]
            for method in ("spss", "benchmark")
        ]
        if means[0] > means[1]:
            found.append(name)
    return ", ".join(found) or "none"


def _by_amount(degrade: str) -> tuple[str, float]:
    kind, amount = parts_of(degrade)
    return kind, -amount if kind == "kmeans" else amount


def _part(run: Run, key: str) -> float | None:
    return binarisation_of(run, "total")[key]


def _all(run: Run) -> float | None:
    return run.record["mean_iou_all"]  # type: ignore[no-any-return]


def _named(run: Run) -> float | None:
    return run.record["mean_iou_named"]  # type: ignore[no-any-return]


def _accuracy(run: Run) -> float | None:
    return run.record["accuracy"]  # type: ignore[no-any-return]
