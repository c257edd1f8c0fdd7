"""The command as a process: real signals, real streams."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import napari_spss
from napari_spss.cli import main
from napari_spss.core.base import (
    FinishReason,
    Preparing,
    Progress,
    RunFinished,
    RunStarted,
    event_from_json,
)
from napari_spss.core.training import load_model

SPSS = (sys.executable, "-m", "napari_spss")


def test_the_package_runs_like_the_command():
    said = subprocess.run((*SPSS, "--version"), capture_output=True, text=True, timeout=60)
    assert (said.returncode, said.stdout) == (0, f"napari-spss {napari_spss.__version__}\n")
    wrong = subprocess.run(
        (*SPSS, "train", "--nonsense"), capture_output=True, text=True, timeout=60
    )
    assert wrong.returncode == 2
    assert "napari-spss train" in wrong.stderr


def test_waiting_threads_leave_the_cores_to_others_unless_the_user_says_so(monkeypatch):
    for said, expected in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
        if said:
            monkeypatch.setenv("OMP_WAIT_POLICY", said)
        assert main(["--version"]) == 0
        assert os.environ["OMP_WAIT_POLICY"] == expected


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
def test_interrupt_ends_with_0_and_the_run_can_go_on(spss, truth, tiny):
    command = ("train", "--out", "run", "--events", "jsonl")
    first = ("image.tif", "--proportions", "proportions.csv", *tiny)
    endless = (*first, "--set", "optimisation.max_steps=1000000")
    with subprocess.Popen(
        (*SPSS, *command, *endless), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if isinstance(event_from_json(line), Progress):
                break
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    events = [event_from_json(line) for line in [*lines, *rest.splitlines()]]
    kinds = [type(event) for event in events if not isinstance(event, Preparing)]
    assert kinds[0] is RunStarted
    assert isinstance(events[-1], RunFinished)
    assert events[-1].reason is FinishReason.stopped
    assert "to go on: napari-spss train --out run --resume" in err
    n_steps = events[-1].done
    assert load_model("run").n_steps == n_steps

    budget = ("--set", f"optimisation.max_steps={n_steps + 2}")
    done = spss(*command, "--resume", *budget)
    assert done.code == 0, done.err
    last = event_from_json(done.out.splitlines()[-1])
    assert isinstance(last, RunFinished)
    assert (last.reason, last.done) == (FinishReason.completed, n_steps + 2)


def test_a_running_run_is_not_resumed_and_a_deleted_one_fails(spss, truth, tiny):
    command = ("train", "--out", "run", "--events", "jsonl")
    first = ("image.tif", "--proportions", "proportions.csv", *tiny)
    endless = (*first, "--set", "optimisation.max_steps=1000000")
    with subprocess.Popen(
        (*SPSS, *command, *endless), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            if isinstance(event_from_json(line), Progress):
                break
        other = spss(*command, "--resume")
        assert other.code == 2
        assert f"run is in use by process {process.pid} since" in other.err
        shutil.rmtree("run")
        _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "error: the folder of the run, run, was deleted or moved" in err
    assert not Path("run").exists()
    (kept,) = re.findall("model so far was saved in (.*); all else", err)
    assert load_model(kept).n_steps > 0
    shutil.rmtree(kept)
