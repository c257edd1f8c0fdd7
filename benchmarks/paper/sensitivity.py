"""Tables 3 and 4: what is left of SPSS after each degradation of its proportions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cells import table
from layout import METHOD_NAMES, not_run
from provenance import missing, reduced
from published import CLUSTERED, NOISY
from runs import (
    Run,
    load_runs,
    parts_of,
    seeds_of,
    select,
    select_degraded,
    settings_of,
    shown,
    shown_seeds,
)


def table3(results: Path) -> str:
    """Dubai: SPSS from proportions with the noise of Eq. 5, in both forms."""
    head = [
        "noise",
        "paper",
        "softmax: 6 classes",
        "softmax: 5 named",
        "divided by the sum: 6 classes",
        "divided by the sum: 5 named",
        "seeds",
    ]
    paper: dict[float, str] = {percent: str(value) for percent, value in NOISY.items()}
    return _sensitivity("table3", results, head, paper, ("eq5", "eq5-renorm"), 100)


def table4(results: Path) -> str:
    """Dubai: SPSS from the proportions of cluster members."""
    head = ["clusters", "paper", "mean IoU, 6 classes", "mean IoU, 5 named", "seeds"]
    paper: dict[float, str] = {k: str(value) for k, value in CLUSTERED.items()}
    return _sensitivity("table4", results, head, paper, ("kmeans",), 1)


def _sensitivity(
    command: str,
    results: Path,
    head: Sequence[str],
    paper: dict[float, str],
    kinds: Sequence[str],
    factor: int,
) -> str:
    """Tables 3 and 4: one table for every setting and method that was run."""
    everything = load_runs(results, ("dubai",))
    runs = [run for run in everything if run.degrade and parts_of(run.degrade)[0] in kinds]
    if not runs:
        rows = [[_level(one, factor), value, *["-"] * (len(head) - 2)]
                for one, value in paper.items()]  # fmt: skip
        return "\n\n".join([table(head, rows), not_run(command)])
    blocks = []
    for setting in settings_of(runs):
        for method in sorted({run.method for run in runs if run.setting == setting}):
            here = [run for run in runs if (run.setting, run.method) == (setting, method)]
            exact = select(everything, setting, method)
            levels = {round(factor * parts_of(run.degrade or "")[1], 6) for run in here}
            rows = [_level_row("exact", "", [exact] * len(kinds))]
            for level in sorted(levels | set(paper), reverse=kinds == ("kmeans",)):
                cells = [select_degraded(here, kind, level / factor) for kind in kinds]
                if kinds[-1] == "eq5-renorm" and level == 0 and not cells[-1]:
                    cells[-1] = exact  # dividing exact fractions by their sum changes nothing
                rows.append(_level_row(_level(level, factor), paper.get(level, ""), cells))
            title = f"**{METHOD_NAMES[method]}. {setting.title}**"
            wanted = [
                (method, f"{kind}:{level / factor:g}")
                for kind in kinds
                for level in paper
                if (kind, level) != ("eq5-renorm", 0)
            ]
            used = seeds_of(here)
            blocks += [title, table(head, rows), reduced(here)]
            blocks.append(missing(here, setting, wanted, used))
    return "\n\n".join(filter(None, blocks))


def _level(level: float, factor: int) -> str:
    return f"{level:g} %" if factor == 100 else f"{level:g}"


def _level_row(name: str, paper: str, cells: Sequence[Sequence[Run]]) -> list[str]:
    scores = [
        shown(run.record[score] for run in runs)
        for runs in cells
        for score in ("mean_iou_all", "mean_iou_named")
    ]
    seeds = list(dict.fromkeys(shown_seeds(runs) or "-" for runs in cells))
    return [name, paper, *scores, " / ".join(seeds)]
