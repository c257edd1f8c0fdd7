"""How the runs of a table were made: seeds, budget, seconds, what was reduced, what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from cells import table
from layout import METHOD_NAMES
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

SEEDS = (0, 1, 2)
_ARROW = " → "


def runs_table(results: Path) -> str:
    """What was run on what: seeds, steps, seconds, commit; crops and hash of the data."""
    runs = load_runs(results)
    if not runs:
        return "Not run."
    groups: dict[tuple[Setting, str, str], list[Run]] = {}
    for setting in settings_of(runs):
        for run in runs:
            if run.setting == setting:
                key = (setting, run.method, (run.degrade or "").partition(":")[0])
                groups.setdefault(key, []).append(run)
    made = table(
        ["data, split, preset", "method", "runs", "seeds", "epochs", "steps", "best step",
         "training, min", "prediction, s", "device, threads", "commit"],
        (_run_row(*key, found) for key, found in groups.items()),
    )  # fmt: skip
    data = table(
        ["data, split", "crops to train on", "of", "crops to score on", "of", "hash of all crops"],
        _data_rows(runs),
    )
    return "\n\n".join(filter(None, [made, data, _choices(runs)]))


def _run_row(setting: Setting, method: str, kind: str, runs: Sequence[Run]) -> list[str]:
    minutes = [run.record["trained_s"] / 60 for run in runs]
    return [
        f"{setting.data}, {setting.split}, {setting.preset}",
        METHOD_NAMES[method] + (f", {kind}" if kind else ""),
        str(len(runs)),
        shown_seeds(runs),
        _over(runs, "n_epochs"),
        _over(runs, "n_steps"),
        _over(runs, "best_step"),
        f"{sum(minutes) / len(minutes):.1f} ({_range(minutes, 1)})",
        _over(runs, "predicted_s"),
        f"{_each(runs, 'device')} {_over(runs, 'threads')}".strip(),
        _each(runs, "commit"),
    ]


def _data_rows(runs: Sequence[Run]) -> list[list[str]]:
    """One row for every split of a data set."""
    keys = {(run.setting.data, run.setting.split): None for run in runs}
    rows = []
    for data, split in sorted(keys):
        here = [run for run in runs if (run.setting.data, run.setting.split) == (data, split)]
        cells = ("n_train", "groups_train", "n_test", "groups_test", "data_hash")
        rows.append([f"{data}, {split}", *(_each(here, key) for key in cells)])
    return rows


def _choices(runs: Sequence[Run]) -> str:
    """List what the methods were told, when they stopped, and what the paper leaves open."""
    told: dict[str, dict[str, None]] = {}
    for run in runs:
        record = run.record
        parts = [record.get("annotation"), *_listed(record.get("details") or {})]
        if record.get("stopping"):
            parts.append(f"stopped {record['stopping']}")
        text = "; ".join(str(part) for part in parts if part)
        name = f"{run.setting.data}, {run.setting.split}, {METHOD_NAMES[run.method]}"
        told.setdefault(text, {})[name] = None
    return "\n".join(f"- {' / '.join(names)}: {text}." for text, names in told.items() if text)


def _listed(details: dict[str, object]) -> list[str]:
    return [f"{name}: {_plain(value)}" for name, value in details.items()]


def _over(runs: Sequence[Run], key: str) -> str:
    """Smallest to largest value of the runs."""
    return _range([run.record[key] for run in runs if run.record.get(key) is not None])


def _each(runs: Sequence[Run], key: str) -> str:
    """All different values of the runs."""
    found = {_plain(run.record.get(key)) for run in runs}
    return "; ".join(sorted(one for one in found if one))


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
