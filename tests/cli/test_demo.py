"""The demo: what it writes, what it says, and how it ends when it is stopped or refused."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
from draining import drain
from PIL import Image

from napari_spss.cli.demo import iter_demo
from napari_spss.core.analysis import (
    ClassFractions,
    SliceView,
    StatedFractions,
    evaluate,
    stated_fractions,
    write_overlay,
)
from napari_spss.core.base import (
    CancelToken,
    FinishReason,
    InputError,
    RunFinished,
    RunStarted,
    preset,
)
from napari_spss.core.images import open_masks, open_stack
from napari_spss.core.simulation import synthetic_sample
from napari_spss.core.training import RunFolder

SHORT = preset("fast").with_overrides(
    {"optimisation.max_steps": 2, "network.filters": 2, "sampling.crop_px": 32}
)


@pytest.fixture(scope="module")
def sample():
    return synthetic_sample(5, (128, 160), seed=1)


@pytest.fixture(scope="module")
def done(tmp_path_factory, sample):
    out = tmp_path_factory.mktemp("demo") / "out"
    events, result = drain(iter_demo(out, device="cpu", settings=SHORT, sample=sample))
    return out, events, result


def test_it_trains_and_then_predicts(done):
    _, events, _ = done
    kinds = [event.kind for event in events if isinstance(event, RunStarted)]
    ends = [event.reason for event in events if isinstance(event, RunFinished)]
    assert kinds == ["training", "prediction"]
    assert ends == [FinishReason.completed] * 2


def test_it_writes_a_run_maps_labels_image_truth_and_figure(done):
    out, _, result = done
    assert all(path.is_file() for path in result.files)
    names = {path.name for path in result.files}
    assert names >= {"overlay.png", "maps.ome.tif", "labels.ome.tif"}
    assert names >= {"image.ome.tif", "truth.ome.tif"}
    assert RunFolder(out).holds_run
    assert (out / "model.safetensors").is_file()
    lines = (out / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0])["event"] == "RunStarted"
    with Image.open(out / "overlay.png") as picture:
        assert picture.width > 1000


def test_the_run_can_be_repeated_from_its_folder(done, sample):
    out, _, _ = done
    folder = RunFolder(out)
    with open_stack(folder.inputs().image) as image:
        assert image.identity() == folder.inputs().image_identity
        assert image.voxel_size_um == pytest.approx(sample.stack.voxel_size_um)
    assert folder.annotations() == sample.annotations
    assert folder.settings().image.object_diameter_px == sample.object_diameter_px


def test_its_score_is_that_of_the_files(done, sample):
    out, _, result = done
    scores = evaluate(
        open_masks(out / "labels.ome.tif", classes=sample.truth.classes),
        open_masks(out / "truth.ome.tif", classes=sample.truth.classes),
    )
    assert result.iou == pytest.approx(scores.iou[1])
    assert any(f"{result.iou:.2f}" in line and "IoU" in line for line in result.lines)


def test_lines_state_fractions_side_by_side_and_warn(done, sample):
    _, _, result = done
    text = "\n".join(result.lines)
    assert "counted" in text
    assert "guessed" in text
    assert "no proof of a right mask" in text
    true = np.mean([sample.truth.read(z).mean() for z in range(5)])
    assert f"true {100 * true:.1f} %" in text
    assert f"IoU of {true / (2 - true):.2f}" in text


def test_a_training_that_ran_out_of_time_says_so(done, tmp_path, sample):
    hurried = SHORT.with_overrides(
        {"optimisation.max_steps": 100_000, "optimisation.max_minutes": 0.02}
    )
    _, result = drain(iter_demo(tmp_path, device="cpu", settings=hurried, sample=sample))
    assert any(re.search(r"Time was up after \d+ of 100000 steps", line) for line in result.lines)
    assert not any("Time was up" in line for line in done[2].lines)


def test_by_default_all_steps_of_the_preset_are_made(tmp_path, sample):
    run = iter_demo(tmp_path, device="cpu", sample=sample)
    started = next(event for event in run if isinstance(event, RunStarted))
    assert started.total == preset("fast").optimisation.max_steps
    run.close()
    assert RunFolder(tmp_path).settings().optimisation.max_minutes is None


def test_a_folder_with_a_run_is_refused_and_left_alone(done, sample):
    out, _, _ = done
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    with pytest.raises(InputError, match="already holds a run; choose another folder"):
        next(iter_demo(out, sample=sample, settings=SHORT))
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_unknown_device_leaves_no_folder(tmp_path, sample):
    with pytest.raises(InputError, match="abacus"):
        next(iter_demo(tmp_path / "out", device="abacus", sample=sample, settings=SHORT))
    assert not (tmp_path / "out").exists()


def test_stop_during_training_keeps_a_model_and_predicts_nothing(tmp_path, sample):
    token = CancelToken()
    run = iter_demo(
        tmp_path,
        device="cpu",
        token=token,
        sample=sample,
        settings=SHORT.with_overrides({"optimisation.max_steps": 10000}),
    )
    assert any(isinstance(event, RunStarted) for event in run)
    token.cancel()
    events, result = drain(run)
    assert [e.reason for e in events if isinstance(e, RunFinished)] == [FinishReason.stopped]
    assert math.isnan(result.iou)
    assert "Stopped after" in result.lines[0]
    assert (tmp_path / "model.safetensors").is_file()
    assert not (tmp_path / "labels.ome.tif").exists()


def test_stop_during_prediction_keeps_the_model(tmp_path, sample):
    token = CancelToken()
    run = iter_demo(tmp_path, device="cpu", token=token, sample=sample, settings=SHORT)
    while not (isinstance(event := next(run), RunStarted) and event.kind == "prediction"):
        pass
    token.cancel()
    events, result = drain(run)
    assert events[-1].reason is FinishReason.stopped
    assert math.isnan(result.iou)
    assert (tmp_path / "model.safetensors").is_file()
    assert not (tmp_path / "labels.ome.tif").exists()


def test_stated_fractions_prefer_the_counted(sample):
    stated = stated_fractions(sample.annotations, 1, 5)
    counted = {grid.slice for grid in sample.annotations.grids}
    for z in range(5):
        if z in counted:
            assert math.isnan(stated.typed[z])
            assert stated.low[z] <= stated.counted[z] <= stated.high[z]
            assert stated.used[z] == stated.counted[z]
        else:
            assert math.isnan(stated.counted[z])
            assert stated.used[z] == stated.typed[z] > 0


def test_overlay_shows_the_outlines(tmp_path):
    """Labels and truth that differ leave the colours of both outlines in the picture."""
    square = np.zeros((40, 50), dtype=bool)
    square[10:30, 10:30] = True
    nothing = np.full(3, np.nan)
    path = write_overlay(
        tmp_path / "figure.png",
        SliceView(
            slice=1,
            image=np.full((40, 50), 7, np.uint8),
            probs=square.astype(np.float32),
            labels=square,
            truth=np.roll(square, 8, axis=1),
            caption="a slice",
        ),
        fractions=ClassFractions(
            "mito",
            "#009E73",
            StatedFractions(np.array([0.1, np.nan, 0.2]), nothing, nothing, nothing),
            np.array([0.1, 0.2, 0.3]),
            {},
        ),
    )
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    upper = pixels[: pixels.shape[0] // 2, pixels.shape[1] * 2 // 3 :]
    for colour in ((0xE6, 0x9F, 0x00), (0x56, 0xB4, 0xE9)):
        assert (np.abs(upper - colour).max(axis=-1) < 12).sum() > 50


def test_overlay_of_an_empty_result_without_truth(tmp_path):
    empty = np.zeros((20, 20), dtype=bool)
    nothing = np.full(1, np.nan)
    path = write_overlay(
        tmp_path / "figure.png",
        SliceView(0, np.zeros((20, 20)), np.zeros((20, 20), np.float32), empty, None, "nothing"),
        fractions=ClassFractions(
            "mito",
            "#009E73",
            StatedFractions(nothing, nothing, nothing, nothing),
            np.array([0.0]),
            {},
        ),
    )
    assert path.stat().st_size > 1000
