"""Models and checkpoints on disk: round trips, damage, other versions, full disks, no code."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from blobs import CLASSES, annotated, blobs, quick
from safetensors.torch import load_file, save_file
from torch import nn

from napari_spss.core.annotations import Keypoint, Region
from napari_spss.core.base import (
    MODEL_RECORD,
    CancelToken,
    InputError,
    Mailbox,
    Progress,
    RunError,
    preset,
)
from napari_spss.core.images import WorkingScale, open_masks, stack_from_array
from napari_spss.core.networks import register_network
from napari_spss.core.training import (
    STATE_FILE,
    Model,
    fit,
    iter_training,
    load_model,
)
from napari_spss.core.training.checkpoint import (
    MODEL_WEIGHTS,
    RunState,
    load_state,
    new_network,
    save_model,
    save_state,
)
from napari_spss.core.training.label_posterior import LabelPosterior
from napari_spss.core.training.samples import LabelScale

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SCALE = LabelScale(12.5, (7.0, 3.5))


def small(**overrides):
    names = {"network": "network.name", "filters": "network.filters"}
    changes = {"network.filters": 2}
    return preset("fast").with_overrides(
        changes | {names[name]: value for name, value in overrides.items()}
    )


def model_of(settings=None, *, classes=CLASSES, n_channels=1):
    settings = settings or small()
    torch.manual_seed(0)
    network = new_network(settings, n_channels=n_channels, n_classes=len(classes))
    return Model(
        network=network.eval(),
        classes=classes,
        reduction=3,
        pixel_size_um=0.005,
        n_channels=n_channels,
        settings=settings,
        stated_fractions=(0.875, 0.125, 0.0)[: len(classes)],
        label_scale=LabelScale(12.5, (7.0, 3.5, 1.0)[: len(classes)]),
        n_steps=40,
    )


TENSORS = {
    "student.weight": torch.arange(6.0).reshape(2, 3),
    "optimiser.0.step": torch.tensor(9.0),
}
MAPPED = Path("/proc/self/maps")
STATE = RunState(
    classes=CLASSES,
    step=9,
    steps_before=None,
    elapsed_s=12.5,
    best_loss=0.25,
    stale_epochs=2,
    reduction=3,
    pixel_size_um=0.005,
    label_scale=SCALE,
    steps_per_epoch=5,
    data_digest="0",
)


@pytest.fixture
def saved(tmp_path):
    """Folder with a model."""
    save_model(model_of(), tmp_path)
    return tmp_path


def edit(folder, **changes):
    """Change the record of a model; None removes an entry."""
    path, weights = folder / MODEL_RECORD, folder / MODEL_WEIGHTS
    record = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in record.items() if v is not None}))
    save_file(load_file(weights), weights, metadata={"record": path.read_text()})


def test_a_model_without_a_pixel_size_still_opens(saved):
    assert load_model(saved).working_scale == WorkingScale(3, 0.005)
    edit(saved, pixel_size_um=None)
    assert load_model(saved).working_scale == WorkingScale(3, None)


# -- round trips -----------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [CLASSES, ("background", "a", "b")])
@pytest.mark.parametrize("network", ["fast-unet", "paper-unet"])
def test_a_model_comes_back_as_it_was(tmp_path, classes, network):
    model = model_of(small(network=network), classes=classes, n_channels=2)
    save_model(model, tmp_path / "new" / "folder")
    back = load_model(tmp_path / "new" / "folder")
    assert back.run_dir == tmp_path / "new" / "folder"
    assert back.model_copy(update={"network": model.network, "run_dir": None}) == model
    assert back.normalisation == "slice"
    assert not back.network.training
    image = torch.randn(1, 2, 37, 20)
    with torch.inference_mode():
        assert torch.equal(back.network(image), model.network(image))


def test_a_model_without_stated_fractions_comes_back(tmp_path):
    save_model(model_of().model_copy(update={"stated_fractions": None}), tmp_path)
    assert load_model(tmp_path).stated_fractions is None


@pytest.mark.parametrize("changes", [{}, {"best_loss": None, "steps_before": 400}])
def test_a_checkpoint_comes_back_as_it_was(tmp_path, changes):
    state = STATE.model_copy(update=changes)
    assert save_state(state, TENSORS, tmp_path) == tmp_path / STATE_FILE
    back, tensors = load_state(tmp_path)
    assert back == state
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert torch.equal(tensors[name], tensor)


@pytest.mark.skipif(not MAPPED.exists(), reason="the system does not list what is mapped")
def test_a_checkpoint_that_was_read_can_be_replaced_on_any_system(tmp_path):
    save_state(STATE, TENSORS, tmp_path)
    _, tensors = load_state(tmp_path)
    assert tensors
    assert STATE_FILE.name not in MAPPED.read_text("utf-8")  # Windows refuses while it is mapped


def test_layers_that_share_weights_can_be_saved(tmp_path):
    class Tied(nn.Module):
        def __init__(self, *, in_channels, out_channels, filters):
            super().__init__()
            self.first = nn.Conv2d(in_channels, out_channels, 3, padding=1)
            self.second = nn.Conv2d(in_channels, out_channels, 3, padding=1)
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.first(x) + self.second(x)

    register_network("tied", Tied)
    model = model_of(small(network="tied"))
    save_model(model, tmp_path)
    image = torch.randn(1, 1, 32, 32)
    with torch.inference_mode():
        assert torch.equal(load_model(tmp_path).network(image), model.network(image))


# -- what cannot be read ---------------------------------------------------------------------------


def test_a_folder_without_model_or_checkpoint_is_named(tmp_path):
    with pytest.raises(InputError, match=r"holds no model \(model\.json\); name the folder"):
        load_model(tmp_path)
    with pytest.raises(InputError, match="holds no checkpoint to resume; start a new run"):
        load_state(tmp_path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"settings": None}, "settings: Field required"),
        ({"settings": {"warp": 9}}, "unknown setting 'warp'"),
        ({"classes": 3}, "classes: Input should be a valid array"),
        ({"classes": ["background", "a\x1b[31m"]}, "characters that cannot be shown"),
        ({"classes": ["a", "b"]}, "do not start with the background"),
        ({"reduction": 0}, "reduction: Input should be greater than 0"),
        ({"n_channels": "1"}, "n_channels: Input should be a valid integer"),
        ({"format_version": "new"}, "format_version: Input should be a valid integer"),
        ({"label_scale": {"normaliser": 1.0}}, "keypoint_weights: Field required"),
        ({"label_scale": {"normaliser": 1.0, "keypoint_weights": [1]}}, "for each class"),
        ({"label_scale": [1]}, "label_scale: Input should be"),
        ({"stated_fractions": [float("nan"), 1.0]}, "should be a finite number"),
        ({"stated_fractions": [1.0]}, "needs a number for each class"),
        ({"n_steps": "many"}, "n_steps: Input should be a valid integer"),
    ],
)
def test_a_damaged_record_is_refused_with_the_reason(saved, changes, reason):
    edit(saved, **changes)
    with pytest.raises(InputError, match=rf"\.safetensors is damaged \(.*{reason}.*train again"):
        load_model(saved)


# -- weights and record belong together ------------------------------------------------------------


def test_weights_of_another_run_are_not_taken_for_those_of_the_record(saved, tmp_path):
    """Both networks have one shape: only the record tells that the classes are others."""
    other = tmp_path / "other"
    save_model(model_of(classes=("background", "nucleus")), other)
    shutil.copy(other / MODEL_WEIGHTS, saved / MODEL_WEIGHTS)
    with pytest.raises(InputError, match=r"model\.json does not say what was saved .*delete it"):
        load_model(saved)
    (saved / MODEL_RECORD).unlink()  # the remedy
    assert load_model(saved).classes == ("background", "nucleus")


def test_a_crash_between_weights_and_record_is_told_and_loses_nothing(saved, monkeypatch):
    replace_file = os.replace

    def crash(source, target):
        if target.name == MODEL_RECORD:
            raise KeyboardInterrupt
        replace_file(source, target)

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        save_model(model_of().model_copy(update={"n_steps": 41}), saved)
    with pytest.raises(InputError, match=r"does not say what was saved with the weights"):
        load_model(saved)
    (saved / MODEL_RECORD).unlink()  # the remedy
    assert load_model(saved).n_steps == 41


def test_a_record_that_was_laid_out_anew_says_the_same(saved):
    path = saved / MODEL_RECORD
    path.write_text(json.dumps(json.loads(path.read_text())))
    assert load_model(saved).n_steps == 40


def test_a_damaged_copy_of_the_record_can_be_deleted(saved):
    (saved / MODEL_RECORD).write_text("{")
    with pytest.raises(InputError, match=r"model\.json is damaged .*; delete it, since model"):
        load_model(saved)
    (saved / MODEL_RECORD).unlink()
    assert load_model(saved).n_steps == 40


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated_weights_are_refused(saved, keep):
    path = saved / MODEL_WEIGHTS
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"model\.safetensors is damaged .*train again"):
        load_model(saved)


def test_missing_weights_are_named(saved):
    (saved / MODEL_WEIGHTS).unlink()
    with pytest.raises(InputError, match=r"model\.safetensors"):
        load_model(saved)


def test_a_newer_format_is_refused(saved, tmp_path):
    edit(saved, format_version=99)
    with pytest.raises(InputError, match=r"\.safetensors is of format 99, .*; update napari-spss"):
        load_model(saved)
    record = {"record": json.dumps({"format_version": 99})}
    (tmp_path / "checkpoint").mkdir()
    save_file(TENSORS, tmp_path / STATE_FILE, metadata=record)
    with pytest.raises(InputError, match=r"state\.safetensors is of format 99"):
        load_state(tmp_path)


def test_settings_of_a_newer_version_are_refused_by_name(saved):
    settings = json.loads((saved / MODEL_RECORD).read_text())["settings"]
    edit(saved, settings=settings | {"warp": 9})
    with pytest.raises(InputError, match="unknown setting 'warp'"):
        load_model(saved)


@pytest.mark.parametrize("changes", [{"filters": 4}, {"network": "paper-unet"}])
def test_weights_of_another_network_do_not_fit(saved, tmp_path, changes):
    other = tmp_path / "other"
    save_model(model_of(small(**changes)), other)
    shutil.copy(other / MODEL_WEIGHTS, saved / MODEL_WEIGHTS)
    edit(saved)
    with pytest.raises(InputError) as e:
        load_model(saved)
    assert "do not fit network 'fast-unet' with 2 filters" in str(e.value)
    assert "1 image channels, 2 classes" in str(e.value)
    assert "damaged" not in str(e.value)


def test_weights_of_other_classes_do_not_fit(saved):
    scale = {"normaliser": 1.0, "keypoint_weights": [1, 1, 1]}
    three = ["background", "a", "b"]
    edit(saved, classes=three, label_scale=scale, stated_fractions=[0.5, 0.25, 0.25])
    with pytest.raises(InputError, match=r"do not fit .* 3 classes"):
        load_model(saved)


# -- loading executes nothing ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["os.system", "evil:Network", "/tmp/evil.py", "../evil", "torch.nn.Linear", ""]
)
def test_a_network_is_looked_up_by_name_and_never_imported(saved, monkeypatch, name):
    (saved / "evil.py").write_text("raise SystemExit('executed')")
    monkeypatch.syspath_prepend(saved)
    settings = json.loads((saved / MODEL_RECORD).read_text())["settings"]
    settings["network"]["name"] = name
    edit(saved, settings=settings)
    with pytest.raises(InputError, match=r"no network is called .*choose one of fast-unet"):
        load_model(saved)


def test_a_pickle_in_place_of_weights_is_not_opened(saved):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(saved / "exploded"),))

    torch.save(Bomb(), saved / MODEL_WEIGHTS)
    with pytest.raises(InputError, match="is damaged"):
        load_model(saved)
    assert not (saved / "exploded").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no such permissions")
@pytest.mark.parametrize("umask", [0o022, 0o007])
def test_every_file_is_for_whom_the_user_wants(tmp_path, umask):
    before = os.umask(umask)
    try:
        save_model(model_of(), tmp_path)
        save_state(STATE, TENSORS, tmp_path)
    finally:
        os.umask(before)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.rglob("*") if p.is_file()}
    names = (MODEL_WEIGHTS, MODEL_RECORD, STATE_FILE.name)
    assert modes == dict.fromkeys(names, 0o666 & ~umask)


# -- full disks ------------------------------------------------------------------------------------


def fail_with(error):
    def fail(*_, **__):
        raise error

    return fail


def test_a_full_disk_keeps_the_old_model_and_checkpoint(saved, monkeypatch):
    save_state(STATE, TENSORS, saved)
    before = {p: p.read_bytes() for p in saved.rglob("*") if p.is_file()}
    full = fail_with(OSError(errno.ENOSPC, "No space left on device"))
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(RunError, match=r"the disk is full: .*model\.safetensors"):
        save_model(model_of().model_copy(update={"n_steps": 41}), saved)
    with pytest.raises(RunError, match=r"the disk is full: .*state\.safetensors"):
        save_state(STATE.model_copy(update={"step": 10}), TENSORS, saved)
    assert {p: p.read_bytes() for p in saved.rglob("*") if p.is_file()} == before
    assert load_model(saved).n_steps == 40
    assert load_state(saved)[0].step == 9


def test_a_disk_that_fills_up_at_the_last_moment_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    save_state(STATE, TENSORS, tmp_path)
    monkeypatch.setattr(os, "replace", fail_with(OSError(errno.ENOSPC, "No space left")))
    with pytest.raises(RunError, match="the disk is full"):
        save_state(STATE.model_copy(update={"step": 10}), TENSORS, tmp_path)
    assert load_state(tmp_path)[0].step == 9
    assert os.listdir(tmp_path / "checkpoint") == ["state.safetensors"]


def test_other_faults_of_writing_are_told_apart(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fail_with(OSError("something else")))
        with pytest.raises(RunError, match=r"could not be written .*something else"):
            save_state(STATE, TENSORS, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"could not be written .*writable folder"):
        save_model(model_of(), tmp_path / "file")


# -- resuming --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """Folder of a run of one step on tiny slices, with its stack and annotations."""
    folder = tmp_path_factory.mktemp("run")
    stack, truth = blobs(n_slices=2, size=32)
    annotations = annotated(truth)
    fit(stack, annotations, tiny(), run_dir=folder, device="cpu")
    return folder, stack, annotations


def tiny(**overrides):
    return quick(network__filters=2, optimisation__max_steps=1, sampling__crop_px=32, **overrides)


def resume(folder, stack, annotations, settings):
    return list(
        iter_training(stack, annotations, settings, run_dir=folder, resume=True, device="cpu")
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"network__filters": 4},
        {"network__name": "paper-unet"},
        {"optimisation__ema_decay": "none", "self_training__enabled": False},
    ],
)
def test_a_run_is_not_resumed_with_another_network(stopped, changes):
    folder, stack, annotations = stopped
    settings = quick(
        **({"network__filters": 2, "optimisation__max_steps": 1, "sampling__crop_px": 32} | changes)
    )
    with pytest.raises(InputError, match=r"does not fit network .*with the settings and the image"):
        resume(folder, stack, annotations, settings)


def test_a_run_is_not_resumed_with_other_channels(stopped):
    folder, stack, annotations = stopped
    rgb = stack_from_array(
        torch.zeros(stack.n_slices, 32, 32, 3, dtype=torch.uint8).numpy(), axes="ZYXC"
    )
    with pytest.raises(InputError, match=r"does not fit .*3 image channels"):
        resume(folder, rgb, annotations, tiny())


def counted_anew(annotations):
    """The same, one node judged otherwise."""
    first, *others = annotations.grids
    judged = np.where(np.arange(len(first.x)) == 3, 1 - first.class_index, first.class_index)
    return annotations.replace(grids=(replace(first, class_index=judged), *others))


@pytest.mark.parametrize(
    ("change", "is_mean"),
    [
        (lambda stack, told: (stack, told), True),
        (lambda stack, told: (stack, told.replace(keypoints=(Keypoint(1, 9, 9, 1),))), True),
        (lambda stack, told: (stack, counted_anew(told)), False),
        (lambda stack, told: (blobs(n_slices=2, size=32, seed=7)[0], told), False),
    ],
    ids=["nothing new", "a keypoint", "a node judged otherwise", "another image"],
)
def test_where_keypoints_alone_are_new_the_mean_of_before_and_after_is_kept(
    change, is_mean, stopped, tmp_path
):
    folder, stack, annotations = stopped
    model = load_model(folder)
    stack, annotations = change(stack, annotations)
    fit_from(model, stack, annotations, tiny(), run_dir=tmp_path)
    after = averaged(tmp_path)
    for name, tensor in load_model(tmp_path).network.state_dict().items():
        before = model.network.state_dict()[name]
        is_mean_of_it = is_mean and tensor.is_floating_point()
        expected = (before + after[name]) / 2 if is_mean_of_it else after[name]
        assert torch.equal(tensor, expected)


@pytest.mark.parametrize("is_same", [True, False])
def test_another_mask_of_a_slice_leaves_no_mean_of_before_and_after(stopped, tmp_path, is_same):
    _, stack, annotations = stopped
    truth = blobs(n_slices=2, size=32)[1]
    masks, changed = open_masks(truth), truth.copy()
    changed[0, :4, :4] = 1 - changed[0, :4, :4]
    model = fit(stack, annotations, tiny(), masks=masks, run_dir=tmp_path / "a", device="cpu")
    masks = open_masks(truth if is_same else changed)
    clicked = annotations.replace(keypoints=(Keypoint(1, 9, 9, 1),))
    continued = fit_from(model, stack, clicked, tiny(), masks=masks, run_dir=tmp_path / "b")
    weights, after = continued.network.state_dict(), averaged(tmp_path / "b")
    assert any(not torch.equal(weights[name], after[name]) for name in after) == is_same


def test_annotations_that_join_a_continued_run_decide_what_is_kept(stopped, tmp_path):
    folder, stack, annotations = stopped
    model = load_model(folder)
    clicked = annotations.replace(keypoints=(Keypoint(1, 9, 9, 1),))
    for number, (joined, is_mean) in enumerate(
        [(clicked, True), (counted_anew(annotations), False)]
    ):
        run_dir, updates = tmp_path / str(number), Mailbox()
        updates.put(joined)
        fit_from(model, stack, annotations, tiny(), run_dir=run_dir, updates=updates)
        weights, after = load_model(run_dir).network.state_dict(), averaged(run_dir)
        assert any(not torch.equal(weights[name], after[name]) for name in after) == is_mean


def averaged(run_dir):
    """Weights of the teacher in a checkpoint."""
    return {
        name.removeprefix("teacher.module."): tensor
        for name, tensor in load_state(run_dir)[1].items()
        if name.startswith("teacher.module.")
    }


def fit_from(
    model, stack, annotations, settings, *, run_dir=None, stop_at=None, updates=None, masks=None
):
    token = CancelToken()
    run = iter_training(
        stack,
        annotations,
        settings,
        run_dir=run_dir,
        start_from=model,
        updates=updates,
        masks=masks,
        device="cpu",
        token=token,
        clock=itertools.count().__next__,
    )
    while True:
        try:
            event = next(run)
        except StopIteration as end:
            return end.value
        if isinstance(event, Progress) and event.done == stop_at:
            token.cancel()


def test_weights_on_disk_are_those_of_the_model(stopped):
    folder, *_ = stopped
    weights = load_file(folder / MODEL_WEIGHTS)
    network = load_model(folder).network
    assert weights.keys() == network.state_dict().keys()
    teacher = averaged(folder)
    for name, tensor in weights.items():
        assert torch.equal(tensor, teacher[name])


def test_the_label_posterior_is_kept_with_a_checkpoint(tmp_path):
    regions = (Region(3), Region(3, (0, 16, 8, 24)))
    counts = LabelPosterior(
        stated=dict.fromkeys(regions, (250.0, 6.0)), believed=dict.fromkeys(regions, (252.25, 3.75))
    )
    state = STATE.model_copy(update={"posterior": counts, "posterior_at": 0.6})
    save_state(state, TENSORS, tmp_path)
    assert load_state(tmp_path)[0] == state


def test_a_checkpoint_without_a_map_that_it_names_is_damaged(tmp_path):
    save_state(STATE.model_copy(update={"kept_until": {"3": 50}}), TENSORS, tmp_path)
    with pytest.raises(InputError, match=r"is damaged \(map\.3 is missing\)"):
        load_state(tmp_path)
