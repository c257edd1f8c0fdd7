"""Tables of stored runs as Markdown, beside the paper's numbers; reads JSON records only.

Every number is per cent unless the head of its column says otherwise; "±" is the sample standard
deviation over seeds. What was not run is said to be missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import long
from cells import table
from findings import findings
from layout import METHOD_NAMES, not_run
from proportions import load_degradations
from provenance import SEEDS, missing, reduced, runs_table
from published import NAMED_CLASSES, TABLE1, TABLE2
from runs import (
    FOLDERS,
    Run,
    binarisation_of,
    class_score,
    constant_map,
    load_runs,
    select,
    settings_of,
    shown,
    shown_seeds,
)
from sensitivity import table3, table4

_DERIVED = "\\*"  # computed from the paper's F1 scores


def render(command: str, results: Path) -> str:
    """Write a table or a figure's numbers as Markdown.

    Parameters
    ----------
    command : str
        "table1" to "table4", "figure5" to "figure7", "long", "findings", "runs", or "show" for
        all.
    results : Path
        Folder of the records.

    Raises
    ------
    KeyError
        If the command is unknown.
    """
    if command == "show":
        return "\n\n".join(f"## {name}\n\n{render(name, results)}" for name in COMMANDS)
    return COMMANDS[command](results)


def table1(results: Path) -> str:
    """Dubai: benchmark, SPSS and ``fast``."""
    names = NAMED_CLASSES
    head = ["", "mean IoU, 6 classes", "mean IoU, 5 named", *(f"F1 {name}" for name in names)]
    paper = [
        [
            f"paper, {METHOD_NAMES[method]}",
            _printed(row.mean_iou),
            f"{row.mean_iou_from_f1():.1f}{_DERIVED}",
            *(_printed(row.f1[name]) for name in names),
            _printed(row.accuracy),
            "",
            "",
        ]
        for method, row in TABLE1.items()
    ]
    return _comparison("table1", results, ("dubai",), head, paper, ("benchmark", "spss", "fast"))


def table2(results: Path) -> str:
    """EM: benchmark, SPSS+ and ``fast``; SPSS where it was run."""
    names = ("background", "mitochondria")
    head = ["", "mean IoU, both classes", "IoU mitochondria", *(f"F1 {name}" for name in names)]
    paper = [
        [
            f"paper (EPFL), {METHOD_NAMES[method]}",
            f"{row.mean_iou_from_f1():.1f}{_DERIVED}",
            _printed(row.mean_iou),
            *(_printed(row.f1[name]) for name in names),
            _printed(row.accuracy),
            "",
            "",
        ]
        for method, row in TABLE2.items()
    ]
    wanted = ("benchmark", "spss+", "fast")
    return _comparison("table2", results, ("epfl", "vnc"), head, paper, wanted, ("spss",))


def _comparison(
    command: str,
    results: Path,
    data: Sequence[str],
    head: Sequence[str],
    paper: Sequence[Sequence[str]],
    wanted: Sequence[str],
    optional: Sequence[str] = (),
) -> str:
    """Tables 1 and 2: one table for every setting that was run."""
    columns = [*head, "pixel accuracy", "mean class accuracy", "seeds"]
    names = [one.removeprefix("F1 ") for one in head[3:]]
    runs = [run for run in load_runs(results, data) if run.degrade is None]
    runs = [run for run in runs if run.method in (*wanted, *optional)]
    if not runs:
        return "\n\n".join([table(columns, paper), not_run(command)])
    blocks = []
    for setting in settings_of(runs):
        rows = [*paper]
        here = [run for run in runs if run.setting == setting]
        for method in (*wanted, *optional):
            found = select(here, setting, method)
            if found:
                rows.append(_score_row(method, found, names))
        rows.append(_constant_row(here[0], len(columns)))
        blocks += [f"**{setting.title}**", table(columns, rows), reduced(here)]
        blocks.append(missing(here, setting, [(method, None) for method in wanted], SEEDS))
    blocks.append(_STAR_NOTE)
    return "\n\n".join(filter(None, blocks))


_STAR_NOTE = (
    f"{_DERIVED} Not printed in the paper: computed from its F1 scores, IoU = F1 / (2 - F1). "
    "*Constant map* gives every pixel to the largest class of the test part. ± is the standard "
    "deviation over seeds; the paper does not say whether its own is that or the variance."
)


def _score_row(method: str, runs: Sequence[Run], names: Sequence[str]) -> list[str]:
    return [
        METHOD_NAMES[method],
        shown(run.record["mean_iou_all"] for run in runs),
        shown(run.record["mean_iou_named"] for run in runs),
        *(shown(class_score(run, "f1", name) for run in runs) for name in names),
        shown(run.record["accuracy"] for run in runs),
        shown(run.record["mean_class_accuracy"] for run in runs),
        shown_seeds(runs),
    ]


def _constant_row(run: Run, width: int) -> list[str]:
    flat = constant_map(run)
    scores = [f"{100 * one:.1f}" for one in (flat.mean_iou_all, flat.mean_iou_named)]
    empty = [""] * (width - 6)
    return [
        f"constant map ({flat.name})",
        *scores,
        *empty,
        f"{100 * flat.share:.1f}",
        "",
        "",
    ]


def long_runs(results: Path) -> str:
    """EM: all steps, without a stopping rule; one row a run, in the order of the choices."""
    blocks = []
    for data in FOLDERS:
        found = [record for _, record in long.stored(results, data)]
        for preset, steps in sorted({(one["preset"], one["steps"]) for one in found}):
            here = [one for one in found if (one["preset"], one["steps"]) == (preset, steps)]
            title = f"**Data `{data}`, preset `{preset}`, {steps} steps, nothing stops a run**"
            blocks += [title, table(_LONG_HEAD, (_long_row(one, here) for one in here))]
    return "\n\n".join([*blocks, _LONG_NOTE]) if blocks else not_run("long")


_LONG_HEAD = (
    "method",
    "alpha",
    "keypoints in",
    "radius, px",
    "otherwise",
    "seed",
    "IoU at a quarter",
    "half",
    "all steps",
    "of benchmark",
    "the paper's rule: step, IoU",
    "min",
)
_LONG_NOTE = (
    "IoU of the mitochondria in per cent. *Of benchmark*: over the run with all masks, of the same "
    "seed, steps and normalisation. *The paper's rule* keeps the lowest loss on the test part "
    "before ten epochs without a lower one; it is told, and nothing was stopped by it."
)


def _long_row(record: dict[str, Any], others: Sequence[dict[str, Any]]) -> list[str]:
    told = long.told(record)
    full = [
        one["iou"][1]
        for one in others
        if one["method"] == "benchmark"
        and all(one[key] == record[key] for key in ("seed", "normalisation"))
    ]
    course = record["course"]
    parts = [course[round(len(course) * share) - 1]["iou"] for share in (0.25, 0.5)]
    kept = long.stopped_at(course)
    has_ratio = any(full) and record["method"] != "benchmark"
    return [
        METHOD_NAMES[record["method"]],
        *told,
        str(record["seed"]),
        *(f"{100 * iou:.1f}" for iou in (*parts, record["iou"][1])),
        f"{record['iou'][1] / full[0]:.2f}" if has_ratio else "",
        "goes on" if kept is None else f"{kept['step']}, {100 * kept['iou']:.1f}",
        f"{record['trained_s'] / 60:.0f}",
    ]


def figure5(results: Path) -> str:
    """Dubai: how binary the maps of each method are."""
    return _binarisation("figure5", results, ("dubai",), ("benchmark", "spss", "fast"))


def figure6(results: Path) -> str:
    """EM: how binary the maps of each method are."""
    wanted = ("benchmark", "spss+", "fast", "spss")
    return _binarisation("figure6", results, ("epfl", "vnc"), wanted)


def _binarisation(command: str, results: Path, data: Sequence[str], wanted: Sequence[str]) -> str:
    runs = [
        run
        for run in load_runs(results, data)
        if run.degrade is None and run.method in wanted and run.record.get("binarisation")
    ]
    blocks = []
    for setting in settings_of(runs):
        here = [run for run in runs if run.setting == setting]
        names = ["total", *(one for one in here[0].record["classes"])]
        head = ["map", *(METHOD_NAMES[one] for one in wanted if select(here, setting, one))]
        rows = []
        for name in names:
            cells = [name]
            for method in wanted:
                found = select(here, setting, method)
                if found:
                    parts = [binarisation_of(run, name) for run in found]
                    near = shown(part["near_binary"] for part in parts)
                    soft = shown((part["softness"] for part in parts), factor=1, digits=3)
                    cells.append(f"{near} / {soft}")
            rows.append(cells)
        blocks += [f"**{setting.title}**", table(head, rows)]
    if not blocks:
        return not_run(command)
    return "\n\n".join([*blocks, _BINARY_NOTE])


_BINARY_NOTE = (
    "In every cell: share of the pixels with p < 0.1 or p > 0.9, in per cent / mean of "
    "4 p (1 - p), 0 for a binary map and 1 for p = 0.5 everywhere. Means over seeds. Neither says "
    "whether a map is right: where a class is rare a map of zeros is perfectly binary."
)


def figure7(results: Path) -> str:
    """How far each degradation moves the proportions of the training crops."""
    blocks = []
    for stored in load_degradations(results):
        rows = [
            [
                f"`{how}`",
                str(change.n_different),
                f"{100 * change.unchanged:.1f}",
                f"{100 * change.mean_change:.1f}",
                f"{100 * change.lowest:.1f} to {100 * change.highest:.1f}",
            ]
            for how, change in stored.changes.items()
        ]
        n_crops, n_different = len(stored.exact), stored.n_different
        head = [
            "degradation",
            "different annotations",
            "crops left as they were, %",
            "mean change of a fraction, points",
            "range of the fractions, %",
        ]
        text = (
            f"**Data `{stored.data}`, split `{stored.split}`, seed {stored.seed}**: {n_crops} "
            f"training crops with {n_different} different annotations, {len(stored.classes)} "
            "classes."
        )
        blocks += [text, table(head, rows)]
    return "\n\n".join(blocks) if blocks else not_run("figure7")


def _printed(value: tuple[float, float]) -> str:
    return f"{value[0]:g} ± {value[1]:g}"


COMMANDS: dict[str, Callable[[Path], str]] = {
    "table1": table1,
    "table2": table2,
    "table3": table3,
    "table4": table4,
    "figure5": figure5,
    "figure6": figure6,
    "figure7": figure7,
    "long": long_runs,
    "findings": findings,
    "runs": runs_table,
}
