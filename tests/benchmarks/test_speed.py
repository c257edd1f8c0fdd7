"""The benchmark of speed and memory: each ratio is measured and kept, whatever its value."""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import records
import speed


@pytest.mark.timeout(900)  # some twenty processes, one after the other
def test_each_ratio_is_measured_and_kept(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", speed.__file__, "--quick", "--out", str(tmp_path)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    (path,) = tmp_path.glob("*_cpu.json")
    rows = [speed.Row(*row) for row in records.read(path)["rows"]]
    assert all(math.isfinite(row.ratio) and row.ratio > 0 for row in rows)
    assert [speed.line(row) for row in rows] == said.splitlines()
    found = {row.what.split(",")[0] for row in rows}
    wanted = {
        "import napari_spss",
        "import of all that trains",
        "step",
        "maps and labels",
        "such forwards in bfloat16",
        "predict",
        "measure",
        "estimate",
        "train",
    }
    if hasattr(os, "killpg") and importlib.util.find_spec("daisy"):
        wanted |= {"predict --workers 2", "the last one killed halfway"}
    if os.environ.get("DISPLAY") and importlib.util.find_spec("napari"):
        wanted.add("Apply in the dock")
    assert wanted <= found


def test_commits_stand_side_by_side_for_each_device(tmp_path: Path) -> None:
    def keep(commit: str, date: str, device: str, rows: list[speed.Row]) -> None:
        record = {"commit": commit, "date": date, "device": device, "rows": rows}
        records.write(tmp_path / f"{commit}_{device}.json", record)

    step = speed.Row("a step", 3.0, "the bare loop", 2.0, "s", 1.15)
    keep("bbb", "2026-01-01", "cpu", [step])
    faster = step._replace(value=2.2)
    keep("aaa", "2026-02-01", "cpu", [faster, speed.Row("new", 1.0, "old", 4.0, "MB")])
    keep("aaa", "2026-02-01", "cuda", [faster])
    assert speed.render(tmp_path).split("\n") == [
        "| cpu | beside | at most | bbb, 2026-01-01 | aaa, 2026-02-01 |",
        "|---|---|---|---|---|",
        "| a step | the bare loop | 1.15 | 1.50 | 1.10 |",
        "| new | old |  |  | 0.25 |",
        "",
        "| cuda | beside | at most | aaa, 2026-02-01 |",
        "|---|---|---|---|",
        "| a step | the bare loop | 1.15 | 1.10 |",
    ]
    assert speed.render(tmp_path / "none") == "Not measured yet."
