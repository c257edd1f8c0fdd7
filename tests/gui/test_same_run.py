"""The dock and the command line are two ways to the same run."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tifffile
from blobs import CLASSES, annotated, blobs, correct_clicks
from eye import said

from napari_spss.cli import main
from napari_spss.core.annotations import ClassStyle
from napari_spss.core.training import RunFolder, iter_training
from napari_spss.gui.models import RunForm

PATIENCE_MS = 120_000
SETTINGS = {
    "seed": 4,
    "network.filters": 4,
    "sampling.crop_px": 48,
    "sampling.batch_size": 2,
    "optimisation.max_steps": 12,
}


def spss(*arguments):
    """Call the command line."""
    assert main([str(argument) for argument in arguments]) == 0


@pytest.mark.usefixtures("one_torch_thread", "naparis_readers")
def test_dock_and_command_line_give_the_same_maps(viewer, open_dock, qtbot, tmp_path):
    stack, truth = blobs()
    pixels = np.stack([stack.read(z)[0] for z in range(stack.n_slices)])
    tifffile.imwrite(tmp_path / "image.tif", pixels, photometric="minisblack")

    viewer.open(tmp_path / "image.tif", plugin="napari")
    dock = open_dock()
    styles = [ClassStyle("background", "#999999", "Q"), ClassStyle(CLASSES[1], "#E69F00", "W")]
    dock.classes.set_value(styles)
    dock.annotate.set_value(annotated(truth, keypoints=correct_clicks(truth, [1], 4)))
    dock.train.set_value(RunForm(device="cpu", overrides=SETTINGS))

    def wait():
        done = dock.controller.outcome
        qtbot.waitUntil(
            lambda: not dock.session.status.is_busy and done.is_up_to_date, timeout=PATIENCE_MS
        )

    assert dock.start_training()
    wait()
    assert dock.controller.apply("stack")
    wait()
    by_dock = tmp_path / "by dock"
    assert dock.controller.save(by_dock, has_run=True)
    wait()
    assert (by_dock / "model.safetensors").exists(), dock.bar.text()

    tables = ("proportions", "keypoints", "grid")
    spss(
        "train",
        tmp_path / "image.tif",
        *(f"--{name}={by_dock / name}.csv" for name in tables),
        f"--out={tmp_path / 'run'}",
        "--device=cpu",
        *(f"--set={name}={value}" for name, value in SETTINGS.items()),
    )
    assert RunFolder(tmp_path / "run").settings() == RunFolder(by_dock).settings()
    spss("predict", tmp_path / "run", tmp_path / "image.tif", f"--out={tmp_path}/by shell")
    shown, written = (
        tifffile.imread(tmp_path / name / "maps.ome.tif") for name in ("by dock", "by shell")
    )
    assert shown.shape == written.shape == (3, 2, 64, 64)
    assert np.ptp(shown[:, 1]) > 20  # the maps say something
    assert np.abs(shown.astype(int) - written).max() <= 1  # of 255
    labels = [tifffile.imread(tmp_path / f / "labels.ome.tif") for f in ("by dock", "by shell")]
    assert (labels[0] != labels[1]).mean() < 1e-3


@pytest.mark.usefixtures("one_torch_thread")
def test_continue_makes_the_steps_that_a_time_limit_left(viewer, open_dock, qtbot, monkeypatch):
    stack, truth = blobs()
    viewer.add_image(np.stack([stack.read(z)[0] for z in range(stack.n_slices)]), name="blobs")
    dock = open_dock()
    dock.classes.set_value([ClassStyle(name, "#999999") for name in CLASSES])
    dock.annotate.set_value(annotated(truth, keypoints=correct_clicks(truth, [1], 4)))

    def run(*, continues=False, **changes):
        overrides = {**SETTINGS, **{name.replace("__", "."): v for name, v in changes.items()}}
        dock.train.set_value(RunForm(device="cpu", overrides=overrides))
        ends.clear()
        assert dock.start_training(continues=continues)
        qtbot.waitUntil(lambda: bool(ends), timeout=PATIENCE_MS)
        return ends[0].kind.value, dock.session.model

    ends = []
    dock.session.run_ended.connect(ends.append)
    passed = itertools.count()  # a second with each look at the clock
    monkeypatch.setitem(iter_training.__kwdefaults__, "clock", lambda: float(next(passed)))
    limit = {"optimisation__max_minutes": 20 / 60}
    how, cut = run(**limit)
    assert how == "cut short"
    assert f"of {SETTINGS['optimisation.max_steps']} steps" in ends[0].text
    assert 0 < cut.n_steps < SETTINGS["optimisation.max_steps"]
    assert "press Continue" in said(dock.bar)
    folder = dock.trainings.model_dir
    how, model = run(continues=True, **limit)
    assert how == "finished"
    assert dock.trainings.model_dir == folder
    assert model.n_steps == SETTINGS["optimisation.max_steps"]
    assert dock.session.curves.last_step == model.n_steps
    how, model = run(continues=True)
    assert model.n_steps == 2 * SETTINGS["optimisation.max_steps"]
