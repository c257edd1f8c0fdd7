"""How the runs of a table were made: seeds, budget, seconds, what was reduced, what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from layout import METHOD_NAMES, table
from runs import (
    Run,
    Setting,
    load_runs,
    parts_of,
    select,
    select_degraded,
    settings_of,
    shown_seeds,
)

__all__ = ["SEEDS", "missing", "reduced", "runs_table"]

SEEDS = (0, 1, 2)
_ARROW = " → "


def runs_table(results: Path) -> str:
    """What was run: seeds, epochs, steps, seconds, threads, commit and data."""
    runs = load_runs(results)
    groups: dict[tuple[Setting, str, str], list[Run]] = {}
    for setting in settings_of(runs):
        for run in runs:
            if run.setting == setting:
                key = (setting, run.method, (run.degrade or "").partition(":")[0])
                groups.setdefault(key, []).append(run)
    rows = [_run_row(*key, found) for key, found in groups.items()]
    head = ["data, split, preset", "method", "runs", "seeds", "epochs", "steps", "training, min",
            "prediction, s", "crops: train / test", "groups: train / test", "annotation", "threads",
            "commit", "hash of the data"]  # fmt: skip
    return table(head, rows) if rows else "Not run."


def _run_row(setting: Setting, method: str, kind: str, runs: Sequence[Run]) -> list[str]:
    def over(key: str) -> str:
        return _range([run.record[key] for run in runs if run.record.get(key) is not None])

    def each(key: str) -> str:
        found = {_plain(run.record.get(key)) for run in runs}
        return "; ".join(sorted(one for one in found if one))

    annotations = sorted({str(run.record.get("annotation") or "") for run in runs})
    minutes = [run.record["trained_s"] / 60 for run in runs]
    return [
        f"{setting.data}, {setting.split}, {setting.preset}",
        METHOD_NAMES[method] + (f", {kind}" if kind else ""),
        str(len(runs)),
        shown_seeds(runs),
        over("n_epochs"),
        over("n_steps"),
        f"{sum(minutes) / len(minutes):.1f} ({_range(minutes, 1)})",
        over("predicted_s"),
        f"{over('n_train')} / {over('n_test')}",
        f"{each('groups_train')} / {each('groups_test')}",
        annotations[0] + (" (and others)" if len(annotations) > 1 else ""),
        over("threads"),
        each("commit"),
        each("data_hash"),
    ]


def _range(values: Sequence[float], digits: int = 0) -> str:
    if not values:
        return "-"
    ends = [f"{one:.{digits}f}" for one in (min(values), max(values))]
    return ends[0] if ends[0] == ends[1] else "-".join(ends)


def reduced(runs: Sequence[Run]) -> str:
    """What the preset changes of the paper's protocol, as the records state it."""
    parts: dict[str, list[str]] = {}
    for run in runs:
        for name, value in (run.record.get("reduced") or {}).items():
            is_pair = isinstance(value, list | tuple)
            text = _ARROW.join(map(_plain, value)) if is_pair else _plain(value)
            methods = parts.setdefault(f"{name}: {text}", [])
            if run.method not in methods:
                methods.append(run.method)
    if not parts:
        return ""
    n_methods = len({run.method for run in runs})
    listed = [
        text if len(methods) == n_methods else f"{text} ({', '.join(methods)})"
        for text, methods in parts.items()
    ]
    return f"Reduced from the paper's protocol: {'; '.join(listed)}."


def missing(
    runs: Sequence[Run],
    setting: Setting,
    wanted: Iterable[tuple[str, str | None]],
    seeds: Sequence[int],
) -> str:
    """Name the runs that a full table would have; empty if there are none."""
    lacking: dict[str, list[str]] = {}
    for method, degrade in wanted:
        done = {run.seed for run in _same(runs, setting, method, degrade)}
        left = [str(seed) for seed in seeds if seed not in done]
        if left:
            name = method if degrade is None else degrade
            lacking.setdefault(" ".join(left), []).append(name)
    listed = [f"{', '.join(f'`{one}`' for one in names)} (seed {seeds_left})"
              for seeds_left, names in lacking.items()]  # fmt: skip
    return f"Not run: {'; '.join(listed)}." if listed else ""


def _same(runs: Sequence[Run], setting: Setting, method: str, degrade: str | None) -> list[Run]:
    if degrade is None:
        return select(runs, setting, method)
    return [run for run in select_degraded(runs, *parts_of(degrade)) if run.method == method]


def _plain(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
