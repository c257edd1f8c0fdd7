"""What runs in the thread, called directly: applying a true network, and saving."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import tifffile
from draining import drain
from fake_core import fill

from napari_spss.core.analysis import table_names
from napari_spss.core.annotations import Annotations, Classes, Keypoint, Region
from napari_spss.core.base import (
    CancelToken,
    FinishReason,
    InputError,
    Message,
    Predicted,
    ResultFiles,
    RunFinished,
    RunStarted,
)
from napari_spss.core.images import stack_from_array
from napari_spss.gui.jobs import (
    apply_model,
    load_run,
    save_results,
)
from napari_spss.gui.models import Cleaning, MapMaking, ResultMaps

CLASSES = Classes(("background", "mito", "outside"))
UM = (0.05, 0.01, 0.01)


@pytest.fixture(scope="module")
def model():
    from napari_spss.core.annotations import Proportion
    from napari_spss.core.base import preset
    from napari_spss.core.training import iter_training

    rng = np.random.default_rng(0)
    stack = stack_from_array(rng.integers(0, 255, (2, 48, 40), np.uint8))
    annotations = Annotations(
        ("background", "mito"),
        (Proportion(Region(0), (0.8, 0.2)),),
        (Keypoint(0, 9.0, 9.0, 1), Keypoint(1, 30.0, 30.0, 0)),
    )
    tiny = {"optimisation.max_steps": 2, "network.filters": 2, "sampling.crop_px": 32}
    run = iter_training(stack, annotations, preset("fast").with_overrides(tiny), device="cpu")
    _, model = drain(run)
    return model, stack


def test_applying_fills_what_was_asked_for_and_equals_the_core(model):
    from napari_spss.core.analysis import mean_entropy
    from napari_spss.core.prediction import predict_slice

    model, stack = model
    maps = ResultMaps(model.classes, (2, 48, 40))
    regions = (Region(1), Region(0, (5, 6, 30, 33)))
    events, _ = drain(
        apply_model(model, stack, maps, regions, MapMaking(), device="cpu", token=CancelToken())
    )
    assert isinstance(events[0], RunStarted)
    predicted = [event for event in events if isinstance(event, Predicted)]
    assert [(one.slice, one.box) for one in predicted] == [(1, None), (0, (5, 6, 30, 33))]
    whole = mean_entropy(predict_slice(model, stack, 1, device="cpu"))
    assert predicted[0].uncertainty == pytest.approx(whole, abs=1e-3)
    assert events[-1].reason is FinishReason.completed
    for event in predicted:
        maps.mark(event.slice, event.box)
    np.testing.assert_allclose(
        maps.probs(1), predict_slice(model, stack, 1, device="cpu"), atol=1e-3
    )
    box = predict_slice(model, stack, 0, box=(5, 6, 30, 33), device="cpu")
    np.testing.assert_allclose(maps.probs(0)[:, 5:30, 6:33], box, atol=1e-3)


def test_applying_makes_maps_as_they_are_asked_for(model):
    from napari_spss.core.prediction import predict_slice

    model, stack = model
    maps = ResultMaps(model.classes, (2, 48, 40))
    making = MapMaking(flips=True, smooth_z=True)
    drain(apply_model(model, stack, maps, (Region(0),), making, device="cpu", token=CancelToken()))
    maps.mark(0, None)
    expected = predict_slice(model, stack, 0, flips=True, smooth_z=True, device="cpu")
    np.testing.assert_allclose(maps.probs(0), expected, atol=1e-3)
    plain = predict_slice(model, stack, 0, device="cpu")
    assert np.abs(expected - plain).max() > 0.01


def test_applying_to_an_image_of_another_pixel_size_follows_and_says_so(model):
    from napari_spss.core.prediction import predict_slice

    model = model[0].model_copy(update={"reduction": 4, "pixel_size_um": 0.005})
    image = np.random.default_rng(1).integers(0, 255, (1, 48, 40), np.uint8)
    stack = stack_from_array(image, voxel_size_um=(None, 0.01, 0.01))
    maps = ResultMaps(model.classes, (1, 48, 40))
    events, _ = drain(
        apply_model(
            model, stack, maps, (Region(0),), MapMaking(), device="cpu", token=CancelToken()
        )
    )
    (text,) = (event.text for event in events if isinstance(event, Message))
    assert "reduced by 2 instead of 4" in text
    maps.mark(0, None)
    np.testing.assert_allclose(
        maps.probs(0), predict_slice(model, stack, 0, device="cpu"), atol=1e-3
    )


def test_applying_stops_soon_after_the_token_was_set(model):
    model, _ = model
    stack = stack_from_array(np.zeros((30, 48, 40), np.uint8))
    maps, token = ResultMaps(model.classes, (30, 48, 40)), CancelToken()
    events = []
    regions = tuple(map(Region, range(30)))
    for event in apply_model(model, stack, maps, regions, MapMaking(), device="cpu", token=token):
        events.append(event)
        if isinstance(event, Predicted):
            token.cancel()
    done = [event.slice for event in events if isinstance(event, Predicted)]
    assert done == [0]  # though the next ones are ready already
    assert isinstance(events[-1], RunFinished)
    assert (events[-1].reason, events[-1].done) == (FinishReason.stopped, 1)


@pytest.fixture
def result():
    maps = ResultMaps(CLASSES, (3, 4, 6))
    probs = np.zeros((3, 4, 6), np.float32)
    probs[1, :2], probs[2, 3], probs[0, 2] = 1, 1, 1  # 12 mito, 6 outside, 6 background
    fill(maps, 0, probs)
    fill(maps, 2, probs[:, :, :3], (0, 0, 4, 3))
    labels = np.stack([maps.labels(z, Cleaning()) for z in range(3)])
    labels[2, 0, 5] = 1  # painted beyond what was predicted
    return maps, labels


def files_in(folder, **kwargs):
    names = ("labels.ome.tif", "maps.ome.tif", *table_names("fractions.csv"))
    return ResultFiles(folder, "prediction", names, **kwargs)


def save(result, folder, *, token=None, **kwargs):
    maps, labels = result
    stack = stack_from_array(np.zeros(maps.shape, np.uint8), voxel_size_um=UM)
    files = files_in(folder)
    return drain(save_results(files, maps, labels, stack, token=token or CancelToken(), **kwargs))


def test_saved_labels_keep_their_indices_and_say_where_nothing_was_predicted(result, tmp_path):
    maps, labels = result
    save(result, tmp_path / "out")
    written = tifffile.imread(tmp_path / "out" / "labels.ome.tif")
    np.testing.assert_array_equal(written[0], labels[0])
    assert (written[1] == 255).all()
    assert (written[2, 1:, 3:] == 255).all()
    assert written[2, 0, 5] == 1
    stored = tifffile.imread(tmp_path / "out" / "maps.ome.tif")
    assert stored.shape == (3, 3, 4, 6)
    np.testing.assert_array_equal(stored[0], np.rint(maps.probs(0) * 255))


def test_saving_gives_the_files_of_predict_and_either_replaces_the_other(model, tmp_path):
    from napari_spss.core.prediction import (
        FRACTIONS,
        iter_prediction,
        prediction_results,
        result_names,
        write_fractions,
    )

    model, stack = model
    whole = ResultMaps(model.classes, (2, 48, 40))
    for event in apply_model(
        model, stack, whole, (Region(0), Region(1)), MapMaking(), device="cpu", token=CancelToken()
    ):
        if isinstance(event, Predicted):
            whole.mark(event.slice, event.box)
    names = (*result_names().values(), *table_names(FRACTIONS))
    labels = np.stack([whole.labels(z, Cleaning()) for z in range(2)])
    for is_dock in (False, True, False):
        files = prediction_results(tmp_path, names, model=model, stack=stack)
        if is_dock:
            drain(save_results(files, whole, labels, stack, token=CancelToken()))
        else:
            *_, finished = iter_prediction(model, stack, out_dir=tmp_path, device="cpu")
            with files.writing(adds=True) as folder:
                write_fractions(
                    folder,
                    finished.outputs["labels"],
                    stack,
                    model.classes,
                    maps=finished.outputs["maps"],
                )
        assert {path.name for path in tmp_path.glob("[!.]*")} == set(names)
        written = tifffile.imread(tmp_path / "labels.ome.tif")
        np.testing.assert_array_equal(written, labels)
        stored = tifffile.imread(tmp_path / "maps.ome.tif")
        np.testing.assert_allclose(stored[1] / 255, whole.probs(1), atol=2 / 255)
        table = pd.read_csv(tmp_path / "fractions.csv")
        assert list(table["fraction"][:2]) == [(labels[0] == k).mean() for k in (0, 1)]


def test_everything_includes_the_run_but_neither_its_checkpoint_nor_its_lock(result, tmp_path):
    run_dir = tmp_path / "run"
    (run_dir / "checkpoint").mkdir(parents=True)
    (run_dir / "checkpoint" / "state.safetensors").write_text("large")
    (run_dir / "config.toml").write_text("x = 1")
    (run_dir / ".lock").touch()
    save(result, tmp_path / "out", run_dir=run_dir)
    assert (tmp_path / "out" / "config.toml").read_text() == "x = 1"
    assert not (tmp_path / "out" / "checkpoint").exists()
    assert not (tmp_path / "out" / ".lock").exists()
    save(result, run_dir, run_dir=run_dir)  # beside the run itself
    assert (run_dir / "config.toml").read_text() == "x = 1"


def test_a_copied_run_replaces_nothing_of_others_and_follows_no_link(result, tmp_path):
    run_dir, out, outside = tmp_path / "run", tmp_path / "out", tmp_path / "secret"
    for folder in (run_dir, out, outside):
        folder.mkdir()
    (outside / "x.csv").write_text("secret")
    (run_dir / "config.toml").write_text("x = 1")
    (out / "config.toml").symlink_to(outside / "x.csv")
    with pytest.raises(InputError, match=r"config\.toml was not written by napari-spss"):
        save(result, out, run_dir=run_dir)
    (out / "config.toml").unlink()
    (run_dir / "updates").symlink_to(outside)
    with pytest.raises(InputError, match="updates is a link that leads out of"):
        save(result, out, run_dir=run_dir)
    assert (outside / "x.csv").read_text() == "secret"
    assert [path.name for path in out.iterdir()] == [], "nothing was written"


def test_saving_that_is_stopped_leaves_no_half_file(result, tmp_path):
    token = CancelToken()
    token.cancel()
    events, _ = save(result, tmp_path, token=token)
    assert events[-1].reason is FinishReason.stopped
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_loaded_from_its_folder(model, tmp_path):
    from napari_spss.core.training.checkpoint import save_model

    trained, _ = model
    save_model(trained, tmp_path)
    events, loaded = drain(load_run(tmp_path, token=CancelToken()))
    assert loaded.model.classes == trained.classes
    assert loaded.curves.is_empty  # nothing else is in the folder
    assert isinstance(events[-1], RunFinished)


def test_a_run_leaves_one_of_the_usable_cores_to_the_window(monkeypatch):
    import torch

    from napari_spss.gui import jobs as runs

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        for usable, wanted in ((1, 1), (2, 1), (4, 3), (16, 4)):
            monkeypatch.setattr(runs, "usable_cores", lambda usable=usable: usable)
            with runs.spare_core():
                assert torch.get_num_threads() == wanted
            assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


def test_what_the_display_needs_is_loaded_on_demand():
    code = (
        "import sys\n"
        "from napari_spss.gui.jobs import preload\n"
        "assert 'pyqtgraph' not in sys.modules\n"
        "preload()\n"
        "print('pyqtgraph' in sys.modules, 'skimage.color' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["True", "True"], done.stderr
