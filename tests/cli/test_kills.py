"""``train`` that is killed at random steps and resumed learns what an unbroken run learns."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from blobs import CLASSES, annotated, blobs, correct_clicks
from safetensors.numpy import load_file

from napari_spss.core.annotations import Annotations, write_annotations, write_keypoints
from napari_spss.core.training.checkpoint import load_state

pytestmark = [
    pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="such a kill is one of Unix"),
    pytest.mark.usefixtures("one_torch_thread"),
]

N_STEPS = 30
# the clock ticks when it is looked at, and a checkpoint is due every three steps or so
TRAIN = """
import itertools, os, signal, sys
from napari_spss.cli import main
from napari_spss.core.training import loop
from napari_spss.core.training.run import Run
loop.iter_training.__kwdefaults__["clock"] = itertools.count().__next__
loop._CHECKPOINT_INTERVAL_S, loop._CHECKPOINT_SHARE = 16, 1e9
n_left, learn = int(sys.argv.pop(1)), Run.learn
def learn_or_die(*args, **kwargs):
    global n_left
    if n_left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    n_left -= 1
    learn(*args, **kwargs)
Run.learn = learn_or_die
sys.exit(main(sys.argv[1:]))
"""
SELF_TRAINING = ("sampling.crop_px=64", "self_training.start=0.2", "self_training.ramp=0.2")
SETTINGS = {
    "slices that fit a crop": (64, SELF_TRAINING),
    "slices larger than a crop": (150, SELF_TRAINING),
    "fixed crops, some held out": (
        150,
        ("sampling.crop_px=64", "sampling.crop_mode=tile", "optimisation.validation_fraction=0.2"),
    ),
}


@pytest.fixture
def command(tmp_path):
    """Make files of an example, and return ``train`` for it, without a folder."""

    def make(size, *settings):
        stack, truth = blobs(3, size)
        image = np.stack([stack.read(z)[0] for z in range(3)])
        tifffile.imwrite(tmp_path / "image.tif", image, photometric="minisblack")
        write_annotations(tmp_path, annotated(truth))
        tables = (f"--{name}={tmp_path / name}.csv" for name in ("proportions", "grid"))
        values = (f"optimisation.max_steps={N_STEPS}", "sampling.batch_size=2", *settings)
        return (
            "train", tmp_path / "image.tif", *tables, "--device=cpu",
            *(f"--set={value}" for value in values),
        )  # fmt: skip

    return make


def killed(n_steps, *command):
    """Whether a command in a process of its own was killed, after so many steps."""
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, str(n_steps), *map(str, command)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
        capture_output=True,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
    return done.returncode != 0


def assert_same_weights(run, other):
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (run, other))
    assert [name for name in ours if not np.array_equal(ours[name], theirs[name])] == []


def test_a_killed_run_goes_on_to_the_weights_of_an_unbroken_one(spss, command, tmp_path):
    train = command(150, *SELF_TRAINING)
    assert spss(*train, "--out", tmp_path / "whole").code == 0
    assert killed(20, *train, "--out", tmp_path / "run")
    assert load_state(tmp_path / "run")[0].kept_until, "maps of whole slices are in use"
    assert spss("train", "--resume", "--out", tmp_path / "run", "--device=cpu").code == 0
    assert_same_weights(tmp_path / "run", tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize(("size", "settings"), SETTINGS.values(), ids=SETTINGS)
def test_no_number_of_kills_changes_the_weights(spss, command, tmp_path, size, settings):
    train = command(size, *settings)
    assert spss(*train, "--out", tmp_path / "whole").code == 0
    rng = random.Random(size)
    n_kills = 0
    while killed(rng.randrange(12), *train, "--out", tmp_path / "run"):
        n_kills += 1
        train = ("train", "--resume", "--device=cpu")
    assert n_kills > 2
    assert_same_weights(tmp_path / "run", tmp_path / "whole")


@pytest.mark.parametrize("is_its_own", [True, False])
def test_a_run_that_begins_with_a_model_and_is_killed_at_once_begins_with_it_again(
    spss, command, tmp_path, is_its_own
):
    first, whole, run = (tmp_path / name for name in ("first", "whole", "run"))
    train = command(64, "sampling.crop_px=64", "optimisation.max_steps=4")
    assert spss(*train, "--out", first).code == 0
    more = (*train, "--start-from", first)
    if is_its_own:
        clicks = correct_clicks(blobs(3, 64)[1], range(3), 5)
        write_keypoints(tmp_path / "clicks.csv", Annotations(CLASSES, keypoints=clicks))
        more = ("train", "--resume", "--keypoints", tmp_path / "clicks.csv")
        shutil.copytree(first, whole)
        shutil.copytree(first, run)
    assert spss(*more, "--device=cpu", "--out", whole).code == 0
    assert killed(0, *more, "--device=cpu", "--out", run)
    assert spss("train", "--resume", "--device=cpu", "--out", run).code == 0
    assert_same_weights(run, whole)
