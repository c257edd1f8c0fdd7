"""Figures 5, 6 and 7, and Tables 3 and 4 as curves, drawn from stored records and maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import long
import numpy as np
import numpy.typing as npt
from cells import mean_and_spread
from layout import METHOD_NAMES
from proportions import Degradations, load_degradations
from published import CLUSTERED, EXACT_PERCENT, NOISY
from runs import (
    FOLDERS,
    Run,
    Setting,
    constant_map,
    load_runs,
    parts_of,
    select,
    select_degraded,
    settings_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Bytes = npt.NDArray[np.uint8]

# The palette of the Dubai masks; unlabeled, and the background of EM, first.
_DUBAI = {
    "unlabeled": "#9b9b9b",
    "background": "#9b9b9b",
    "building": "#3c1098",
    "land": "#8429f6",
    "road": "#6ec1e4",
    "vegetation": "#fedd3a",
    "water": "#e2a929",
}
_PAPER, _FIRST, _SECOND, _FULL = "#000000", "#E69F00", "#56B4E9", "#009E73"  # Okabe and Ito
_IGNORE = 255
_DPI = 110
_CELL = 1.25  # inches


def draw(command: str, results: Path, out: Path) -> list[Path]:
    """Draw a figure for every setting that was run; nothing is drawn without records.

    Parameters
    ----------
    command : str
        "figure5", "figure6" (from the maps under ``RESULTS/panels``), "figure7", "table3" or
        "table4" and "long" (from the records).
    results : Path
        Folder of the records.
    out : Path
        Folder for the PNG files, made if it is missing.

    Returns
    -------
    list of Path
        ``OUT/COMMAND_DATA_SPLIT_PRESET.png`` of every setting (figure7: without preset; long: of
        the data alone).
    """
    drawn = [(name, figure) for name, figure in _figures(command, results) if figure is not None]
    if drawn:
        out.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in drawn:
        path = out / f"{command}_{name}.png"
        # Without the version of matplotlib the same records give the same file.
        figure.savefig(path, dpi=_DPI, metadata={"Software": None})
        paths.append(path)
    return paths


def _figures(command: str, results: Path) -> list[tuple[str, Figure | None]]:
    if command == "figure7":
        return [
            (f"{stored.data}_{stored.split}", _draw_degradations(stored))
            for stored in load_degradations(results)
            if stored.given
        ]
    if command == "long":
        found = {data: long.stored(results, data) for data in FOLDERS}
        return [(data, _draw_courses(runs)) for data, runs in found.items() if runs]
    if command not in _DATA:
        return []
    runs = load_runs(results, _DATA[command])
    figures: list[tuple[str, Figure | None]] = []
    for setting in settings_of(runs):
        here = [run for run in runs if run.setting == setting]
        name = f"{setting.data}_{setting.split}_{setting.preset}"
        if command in ("figure5", "figure6"):
            figures.append((name, _draw_panels(here, setting)))
        else:
            figures.append((name, _draw_curves(command, here, setting)))
    return figures


def _draw_courses(runs: Sequence[tuple[long.Choice, dict[str, Any]]]) -> Figure:
    """IoU against steps: a line a run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    colours = {"benchmark": _FULL, "spss": _PAPER}
    best = max((r for c, r in runs if c.method == "spss+"), key=lambda r: r["iou"][1], default=None)
    for choice, record in runs:
        steps, ious = zip(
            *((one["step"], 100 * one["iou"]) for one in record["course"]), strict=True
        )
        is_best = record is best
        style = {"color": _FIRST, "lw": 1.6} if is_best else {"color": _SECOND, "lw": 0.6}
        if choice.method != "spss+":
            style = {"color": colours[choice.method], "lw": 1.2}
        name = METHOD_NAMES[choice.method]
        if choice.method == "spss+":
            name = f"{name}, best" if is_best else f"{name}, other choices"
        axes.plot(steps, ious, label=name, **style)
    lines = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(lines.values(), lines.keys(), loc="outside right upper", frameon=False)
    axes.set(xlabel="step", ylabel="IoU of the mitochondria, %", ylim=(0, None), xlim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    return figure


_DATA = {
    "figure5": ("dubai",),
    "figure6": ("epfl", "vnc"),
    "table3": ("dubai",),
    "table4": ("dubai",),
}


@dataclass(frozen=True)
class Panel:
    """Test crops and the maps that one run gave them.

    Attributes
    ----------
    images : ndarray of uint8, (N, Y, X) or (N, Y, X, 3)
    truth : ndarray of uint8, (N, Y, X)
        Class indices, 255 = ignore.
    probs : ndarray of float32, (N, C, Y, X)
        0-1.
    """

    images: Bytes
    truth: Bytes
    probs: npt.NDArray[np.float32]


def read_panel(run: Run) -> Panel | None:
    """Read the maps stored beside a run; None if there are none (they are not under git)."""
    folder = run.path.parent.parent / "panels"
    path = folder / run.path.parent.name / f"{run.path.stem}.npz"
    if not path.is_file():
        return None
    with np.load(path) as stored:
        probs = stored["probs"].astype(np.float32) / 255
        return Panel(stored["image"], stored["truth"], probs)


def _draw_panels(runs: Sequence[Run], setting: Setting) -> Figure | None:
    """Image and truth, and the maps of every class of the first seed of every method."""
    weak = "spss" if setting.data == "dubai" else "spss+"
    panels: dict[str, Panel] = {}
    classes: list[str] = []
    for method in (weak, "benchmark", "fast"):
        for run in select(runs, setting, method)[:1]:
            panel = read_panel(run)
            if panel is not None:
                panels[method], classes = panel, run.record["classes"]
    if not panels:
        return None
    # Of two classes one map says all.
    shown = range(1, 2) if len(classes) == 2 else range(len(classes))
    heads = ["image", "truth", "labels", *(classes[one] for one in shown)]
    n_crops, n_rows = len(next(iter(panels.values())).truth), len(panels)
    figure = _new_figure(len(heads) * _CELL + 0.5, n_crops * n_rows * _CELL + 0.5)
    grid = figure.subplots(n_crops * n_rows, len(heads), squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, head in zip(grid[0], heads, strict=True):
        axes.set_title(head, fontsize=9)
    for crop in range(n_crops):
        for row, (method, panel) in enumerate(panels.items()):
            line = grid[crop * n_rows + row]
            if row == 0:
                line[0].imshow(panel.images[crop], cmap="gray")
                _show_classes(line[1], panel.truth[crop], classes)
            _label_row(line[2], METHOD_NAMES[method].partition(" (")[0].partition(",")[0])
            _show_classes(line[2], panel.probs[crop].argmax(axis=0), classes)
            for axes, index in zip(line[3:], shown, strict=True):
                axes.imshow(panel.probs[crop, index], cmap="gray", vmin=0, vmax=1)
    return figure


def _label_row(axes: Axes, name: str) -> None:
    axes.text(-0.04, 0.5, name.strip("`"), rotation=90, fontsize=8, ha="right", va="center",
              transform=axes.transAxes)  # fmt: skip


def _show_classes(axes: Axes, truth: npt.NDArray[Any], classes: Sequence[str]) -> None:
    from matplotlib.colors import to_rgb

    colours = [to_rgb(_DUBAI.get(name.lower(), "#ffffff")) for name in classes]
    if len(classes) == 2:
        colours = [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0)]
    picture = np.full((*truth.shape, 3), 0.5)
    for index, colour in enumerate(colours):
        picture[truth == index] = colour
    picture[truth == _IGNORE] = to_rgb("#ff00ff")
    axes.imshow(picture)


def _draw_curves(command: str, runs: Sequence[Run], setting: Setting) -> Figure | None:
    """Mean IoU of six classes over noise or clusters, beside the paper's."""
    kinds = {"eq5": "softmax as written", "eq5-renorm": "divided by the sum"}
    factor, published = 100, NOISY
    if command == "table4":
        kinds, factor, published = {"kmeans": "here"}, 1, CLUSTERED
    spss = [run for run in runs if run.method == "spss"]
    curves = {kind: _curve(spss, kind, factor) for kind in kinds}
    if not any(curves.values()):
        return None
    figure = _new_figure(6.4, 3.8)
    axes = figure.subplots()
    axes.plot(list(published), list(published.values()), color=_PAPER, marker=".", label="paper")
    for (kind, name), colour in zip(kinds.items(), (_FIRST, _SECOND), strict=False):
        points = curves[kind]
        heights = [mean_and_spread(values)[0] for values in points.values()]
        axes.plot(list(points), heights, color=colour, marker="o", label=f"SPSS, {name}")
    for method, colour, style in (("benchmark", _FULL, "--"), ("spss", _FIRST, ":")):
        exact = [run.record["mean_iou_all"] for run in select(runs, setting, method)]
        if exact:
            label = f"{method if method == 'benchmark' else 'SPSS, exact'}"
            axes.axhline(100 * mean_and_spread(exact)[0], color=colour, ls=style, label=label)
    flat = 100 * constant_map(runs[0]).mean_iou_all
    axes.axhline(flat, color="0.6", ls=":", label="constant map")
    if command == "table4":
        axes.set_xscale("log")
        axes.set_xticks(list(published), [str(k) for k in published])
        axes.minorticks_off()
        axes.axhline(EXACT_PERCENT, color=_PAPER, lw=0.8, ls=":", label="paper, exact")
    axes.set_xlabel("clusters" if command == "table4" else "noise, %")
    axes.set_ylabel("mean IoU of 6 classes, %")
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _curve(runs: Sequence[Run], kind: str, factor: int) -> dict[float, list[float]]:
    """Mean IoU in per cent by noise in per cent or by clusters."""
    amounts = sorted({parts_of(one.degrade)[1] for one in runs
                      if one.degrade and parts_of(one.degrade)[0] == kind})  # fmt: skip
    return {
        factor * amount: [
            100 * run.record["mean_iou_all"] for run in select_degraded(runs, kind, amount)
        ]
        for amount in amounts
    }


def _draw_degradations(stored: Degradations) -> Figure:
    """Stacked fractions of all training crops, exact and as their cluster's chosen member's."""
    fewest = list(stored.given)[-1]
    order = _by_cluster(stored.exact, stored.given[fewest])
    panels = {"exact": stored.exact} | {
        f"{how.partition(':')[2]} clusters": rows for how, rows in stored.given.items()
    }
    figure = _new_figure(9.0, 1.7 * len(panels) + 0.6)
    rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    colours = [_DUBAI.get(name.lower(), "0.5") for name in stored.classes]
    crops = np.arange(len(order) + 1)
    for axes, (name, fractions) in zip(rows, panels.items(), strict=True):
        stacked = np.vstack([fractions[order], fractions[order][-1:]]).T
        polys = axes.stackplot(crops, 100 * stacked, colors=colours, step="post", lw=0)
        axes.set_ylabel(f"{name}\n% of the crop", fontsize=8)
        axes.set_xlim(0, len(order))
        axes.set_ylim(0, 100)
    rows[-1].set_xlabel(f"training crops, ordered by {fewest.partition(':')[2]} clusters")
    figure.legend(polys, stored.classes, loc="outside upper center", ncols=6, frameon=False,
                  fontsize=8)  # fmt: skip
    return figure


def _by_cluster(
    exact: npt.NDArray[np.float64], given: npt.NDArray[np.float64]
) -> npt.NDArray[np.intp]:
    """Order crops by what they were given, then by the fraction of the largest class overall."""
    largest = int(exact.mean(axis=0).argmax())
    return np.lexsort([exact[:, largest], *given.T, given[:, largest]])


def _new_figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
