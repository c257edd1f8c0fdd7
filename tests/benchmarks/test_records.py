"""Stored results: computed once, by one process, never half written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import records


def claim_of(path):
    return path.with_name(f"{path.name}.claim")


def test_a_record_is_computed_once(tmp_path):
    path = tmp_path / "deep" / "one.json"
    calls = []

    def compute():
        calls.append(1)
        assert claim_of(path).is_file()
        return {"iou": [0.5, 0.25], "name": "one"}

    first = records.stored(path, compute, data="abc")
    assert records.stored(path, compute, data="abc") == first == records.read(path)
    assert len(calls) == 1
    assert first["iou"] == [0.5, 0.25]
    assert first["data_hash"] == "abc"
    assert first["version"]
    assert first["commit"]
    assert sorted(p.name for p in path.parent.iterdir()) == ["one.json"]
    assert ' "iou": [0.5, 0.25],\n' in path.read_text()


def test_a_record_is_computed_again_if_something_is_missing_beside_it(tmp_path):
    path = tmp_path / "one.json"
    records.write(path, {"n": 1})
    found = records.stored(path, lambda: {"n": 2}, data="", is_complete=lambda: False)
    assert found["n"] == records.read(path)["n"] == 2


def test_a_failed_run_leaves_neither_record_nor_claim(tmp_path):
    path = tmp_path / "one.json"

    def fail():
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        records.stored(path, fail, data="")
    assert list(tmp_path.iterdir()) == []


def test_a_living_process_keeps_its_claim(tmp_path):
    path = tmp_path / "one.json"
    with records.claimed(path) as is_ours:
        assert is_ours
        assert records.stored(path, lambda: pytest.fail("ran twice"), data="") is None
        with records.claimed(path) as again:
            assert not again
        assert claim_of(path).is_file()
    assert not claim_of(path).exists()


def test_the_claim_of_a_dead_process_does_not_count(tmp_path):
    path = tmp_path / "one.json"
    code = "import records, os, sys, pathlib\nc = records.claimed(pathlib.Path(sys.argv[1]))\n"
    code += "print(c.__enter__(), flush=True)\nos._exit(0)"
    folder = os.path.dirname(records.__file__)
    src = os.path.dirname(os.path.dirname(sys.modules["napari_spss"].__file__))
    paths = os.pathsep.join([folder, src])
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "True"
    assert claim_of(path).is_file()
    assert records.stored(path, lambda: {"n": 1}, data="")["n"] == 1


@pytest.mark.parametrize(
    ("content", "age_s", "counts"),
    [
        ('{"host": "elsewhere", "pid": 1, "started_s": 0}', 3600, True),
        ('{"host": "elsewhere", "pid": 1, "started_s": 0}', 2 * 24 * 3600, False),
        ("", 0, True),
        ("", 60, False),
        ('{"host": 3', 60, False),
    ],
)
def test_claims_that_nobody_can_check_count_for_a_while(tmp_path, content, age_s, counts):
    path = tmp_path / "one.json"
    claim_of(path).write_text(content)
    then = time.time() - age_s
    os.utime(claim_of(path), (then, then))
    with records.claimed(path) as is_ours:
        assert is_ours is not counts


def test_a_process_id_used_again_is_another_process(tmp_path):
    path = tmp_path / "one.json"
    with records.claimed(path):
        owner = json.loads(claim_of(path).read_text())
    claim_of(path).write_text(json.dumps(owner | {"started_s": owner["started_s"] - 60}))
    with records.claimed(path) as is_ours:
        assert is_ours


def test_the_hash_follows_pixels_not_layout():
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert records.data_hash([image]) == records.data_hash([np.asfortranarray(image)])
    assert records.data_hash([image]) != records.data_hash([image + 1])
