"""Curves of stored runs: IoU and F1 against the seconds of the annotator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .rows import ROWS
from .stored import Run, key_iou, load_runs, mean, parts_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito
_COLOURS = {
    "fast": "#D55E00",
    "fast/1": "#D55E00",
    "fast/2": "#D55E00",
    "grids": "#E69F00",
    "clicks": "#56B4E9",
    "forest": "#009E73",
    "spread": "#8C510A",
    "masks-bought": "#0072B2",
    "paper-slices": "#CC79A7",
    "paper-crops": "#CC79A7",
    "masks": "#000000",
    "masks-long": "#000000",
    "fast-exact": "#F0E442",
}
_HOLLOW = ("paper-crops", "fast-exact", "masks-long")
_MARKERS = {"fast/1": "^", "fast/2": "s"}
_TICKS = {
    60: "1 min",
    300: "5 min",
    3600: "1 h",
    4 * 3600: "4 h",
    24 * 3600: "1 d",
    10 * 24 * 3600: "10 d",
}
_DPI = 110


def draw(results: Path, out: Path) -> list[Path]:
    """Draw ``OUT/curves_FAMILY.png`` for every part with runs of the curves; nothing without.

    Returns
    -------
    list of Path
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    runs = [run for run in load_runs(results, "study") if run.row in _COLOURS]
    paths = []
    for family in parts_of(runs):
        here = [run for run in runs if run.family == family]
        figure = Figure(figsize=(9.6, 3.8), layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        for axes, name in ((left, "IoU"), (right, "F1")):
            _draw_curves(axes, here, name)
        right.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
        out.mkdir(parents=True, exist_ok=True)
        path = out / f"curves_{family}.png"
        # Without the version of matplotlib the same records give the same file.
        figure.savefig(path, dpi=_DPI, metadata={"Software": None})
        paths.append(path)
    return paths


def _draw_curves(axes: Axes, runs: Sequence[Run], score: str) -> None:
    for name, colour in _COLOURS.items():
        found = [run for run in runs if run.row == name]
        groups = [_point(group, score) for group in _by_budget(found)]
        points = sorted(point for point in groups if point is not None)
        if not points:
            continue
        seconds, values = zip(*points, strict=True)
        title = found[0].record["title"] if "/" not in name else f"{name[-1]} round(s)"
        axes.plot(
            seconds,
            values,
            color=colour,
            marker=_MARKERS.get(name, "o"),
            markerfacecolor="none" if name in _HOLLOW or "/" in name else colour,
            ls=":" if "/" in name else "-",
            label=title.replace("`", "") if name in ROWS else f"fast, {title}",
        )
        for one in found:
            value = _score(one, score)
            if value is not None:
                axes.plot(one.record["annotator_s"], value, ".", color=colour, ms=3, alpha=0.6)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    shown = {seconds: text for seconds, text in _TICKS.items() if low <= seconds <= high}
    axes.set_xticks(list(shown), list(shown.values()))
    axes.minorticks_off()
    axes.set_xlabel("annotator's time")
    classes = runs[0].record["classes"]
    axes.set_ylabel(f"{score} {classes[1]}" if len(classes) == 2 else f"mean {score}")
    axes.set_ylim(0, 1)
    axes.spines[["top", "right"]].set_visible(False)


def _by_budget(runs: Sequence[Run]) -> list[list[Run]]:
    budgets = dict.fromkeys(run.budget_s for run in runs)
    return [[run for run in runs if run.budget_s == budget] for budget in budgets]


def _point(runs: Sequence[Run], score: str) -> tuple[float, float] | None:
    seconds = mean(run.record["annotator_s"] for run in runs)
    value = mean(_score(run, score) for run in runs)
    return None if seconds is None or value is None else (seconds, value)


def _score(run: Run, score: str) -> float | None:
    if score == "IoU":
        return key_iou(run)
    first = 1 if len(run.record["classes"]) == 2 else 0
    return mean(run.record["f1"][first:])
