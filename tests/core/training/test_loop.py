"""Training as its callers see it: events in order, repeatable weights, stops, resumes, faults."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
import torch
from blobs import CLASSES, annotated, blobs, correct_clicks, fractions, iou, quick
from draining import drain
from PIL import Image

from napari_spss.core.annotations import Annotations, Keypoint, Proportion, Region
from napari_spss.core.base import (
    CancelToken,
    CheckpointSaved,
    Diverged,
    FinishReason,
    FolderLocked,
    InputError,
    KeypointsChecked,
    Mailbox,
    Message,
    OutOfMemory,
    Preparing,
    Preview,
    Progress,
    RunError,
    RunFinished,
    RunStarted,
    Validated,
    preset,
)
from napari_spss.core.images import (
    WorkingScale,
    as_label_source,
    open_masks,
    open_stack,
    stack_from_array,
)
from napari_spss.core.prediction import predict
from napari_spss.core.training import fit, iter_training, load_model, loop
from napari_spss.core.training.checkpoint import save_model
from napari_spss.core.training.corrections import Corrections

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def of_type(events, kind):
    return [event for event in events if isinstance(event, kind)]


def weights(model):
    return {name: value.clone() for name, value in model.network.state_dict().items()}


def same_weights(a, b):
    wa, wb = weights(a), weights(b)
    return all(torch.equal(wa[name], wb[name]) for name in wa)


def mean_iou(model, stack, truth):
    return iou(np.stack(predict(model, stack).labels).astype(np.uint8), truth)


def test_learns_the_discs_from_one_grid_and_fractions():
    stack, truth = blobs()
    model = fit(stack, annotated(truth), quick(optimisation__max_steps=80), device="cpu")
    assert mean_iou(model, stack, truth) > 0.8


def test_learns_the_discs_from_warped_views():
    stack, truth = blobs()
    settings = quick(optimisation__max_steps=160, sampling__warp=True)
    model = fit(stack, annotated(truth), settings, device="cpu")
    assert mean_iou(model, stack, truth) > 0.8


def test_learns_three_classes_from_clicks_and_fractions():
    stack, truth = blobs(size=64)
    image = np.stack([stack.read(z)[0] for z in range(stack.n_slices)])
    truth = truth.copy()
    image = image.astype(int)
    truth[:, :16] = 2
    image[:, :16] = 20
    stack = stack_from_array(image.clip(0, 255).astype(np.uint8))
    classes = ("background", "disc", "band")
    proportions = tuple(
        Proportion(Region(z), tuple(float((t == c).mean()) for c in range(3)))
        for z, t in enumerate(truth)
    )
    clicks = correct_clicks(truth, range(3), 40)
    annotations = Annotations(classes, proportions=proportions, keypoints=tuple(clicks))
    model = fit(stack, annotations, quick(optimisation__max_steps=80), device="cpu")
    labels = np.stack(predict(model, stack).labels)
    assert (labels == truth).mean() > 0.9
    assert {0, 1, 2} == set(np.unique(labels))


def test_learns_from_full_masks():
    stack, truth = blobs()
    masks = open_masks(truth, classes=None)
    model = fit(
        stack, Annotations(CLASSES), quick(optimisation__max_steps=60), masks=masks, device="cpu"
    )
    assert mean_iou(model, stack, truth) > 0.85


def test_masks_of_a_folder_train_the_images_of_their_name(tmp_path):
    stack, truth = blobs(3)
    for name, numbers in (("images", (0, 1, 2)), ("masks", (2,))):
        (tmp_path / name).mkdir()
        for z in numbers:
            plane = stack.read(z)[0] if name == "images" else truth[z] * 255
            Image.fromarray(plane.astype(np.uint8)).save(tmp_path / name / f"{z}.png")
    run = iter_training(
        open_stack(tmp_path / "images"),
        Annotations(CLASSES),
        quick(optimisation__max_steps=1),
        masks=open_masks(tmp_path / "masks"),
        device="cpu",
    )
    events, model = drain(run)
    assert model.stated_fractions[1] == pytest.approx(truth[2].mean(), abs=0.01)
    assert any("0.png, 1.png" in event.text for event in of_type(events, Message))


def test_painted_strokes_alone_train():
    stack, truth = blobs()
    painted = np.full_like(truth, 255)
    painted[0, 20:44, 20:44] = truth[0, 20:44, 20:44]
    model = fit(
        stack,
        Annotations(CLASSES, proportions=fractions(truth)),
        quick(optimisation__max_steps=60),
        masks=as_label_source(painted),
        device="cpu",
    )
    assert mean_iou(model, stack, truth) > 0.5


def test_one_start_one_end_and_the_budget_in_between():
    stack, truth = blobs()
    ticks = iter(range(10_000))
    events, _ = drain(
        iter_training(
            stack,
            annotated(truth),
            quick(optimisation__max_steps=5),
            device="cpu",
            clock=lambda: float(next(ticks)),
        )
    )
    started = next(event for event in events if not isinstance(event, Preparing))
    assert isinstance(started, RunStarted)
    assert started.total == 5
    assert started.classes == CLASSES
    assert isinstance(events[-1], RunFinished)
    assert events[-1].reason is FinishReason.completed
    assert events[-1].done == 5
    assert len(of_type(events, RunStarted)) == len(of_type(events, RunFinished)) == 1
    assert [event.done for event in of_type(events, Progress)] == [1, 2, 3, 4, 5, 5]
    assert {"proportions", "labels", "total"} <= set(of_type(events, Progress)[0].losses)


def test_same_seed_same_weights_other_seed_others():
    stack, truth = blobs()
    settings = quick(optimisation__max_steps=12)
    first = fit(stack, annotated(truth), settings, device="cpu")
    assert same_weights(first, fit(stack, annotated(truth), settings, device="cpu"))
    other = fit(stack, annotated(truth), settings.with_overrides({"seed": 1}), device="cpu")
    assert not same_weights(first, other)


def test_a_stop_at_any_event_leaves_a_usable_model(tmp_path):
    stack, truth = blobs()
    settings = quick(optimisation__max_steps=4)
    for stop_at in range(7):
        folder = tmp_path / str(stop_at)
        token = CancelToken()
        run = iter_training(
            stack,
            annotated(truth),
            settings,
            run_dir=folder,
            token=token,
            device="cpu",
            clock=iter(range(100_000)).__next__,
            preview_slice=lambda: 0,
        )
        events = []
        for index, event in enumerate(run):
            events.append(event)
            if index == stop_at:
                token.cancel()
        done_at_stop = [e.done for e in events[: stop_at + 1] if isinstance(e, Progress)]
        assert events[-1].done <= (done_at_stop[-1] if done_at_stop else 0) + 1
        assert isinstance(events[-1], RunFinished)
        assert predict(load_model(folder), stack).labels[0].shape == (64, 64)


# -- the folder of a run ---------------------------------------------------------------------------


def begin(run_dir, **kwargs):
    """A run in a folder, and its first event."""
    stack, truth = blobs()
    settings = quick(optimisation__max_steps=4)
    said = annotated(truth)
    run = iter_training(stack, said, settings, run_dir=run_dir, device="cpu", **kwargs)
    return run, next(run)


@pytest.mark.parametrize("resume", [False, True])
def test_nobody_else_trains_in_the_folder_of_a_run(tmp_path, resume):
    folder = tmp_path / "run"
    run, _ = begin(folder)
    other = iter_training(
        *(blobs()[0], annotated(blobs()[1]), quick()), run_dir=folder, resume=resume, device="cpu"
    )
    with pytest.raises(FolderLocked, match=r"in use by this program .*choose another folder"):
        next(other)
    drain(run)
    assert sorted(os.listdir(folder)) == ["checkpoint", "model.json", "model.safetensors"]


def test_a_run_that_is_given_up_or_refused_lets_its_folder_go(tmp_path):
    run, _ = begin(tmp_path / "run")
    run.close()
    with pytest.raises(InputError, match="annotate"):
        fit(blobs()[0], Annotations(CLASSES), quick(), run_dir=tmp_path / "run", device="cpu")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def rescued(tmp_path, monkeypatch):
    """Where models are saved whose folder is gone."""
    monkeypatch.setattr(loop, "user_data_path", lambda *_, **__: tmp_path / "home")
    return tmp_path / "home" / "rescued"


def test_a_folder_that_is_deleted_meanwhile_ends_the_run_but_not_its_model(tmp_path, rescued):
    folder = tmp_path / "run"
    run, _ = begin(folder)
    (rescued / "run-1").mkdir(parents=True)
    for event in run:
        if isinstance(event, Progress):
            break
    shutil.rmtree(folder)
    with pytest.raises(RunError, match=r"run, was deleted or moved .* saved in .*rescued.run-2"):
        drain(run)
    assert not folder.exists()
    assert load_model(rescued / "run-2").n_steps >= 1


def test_a_folder_that_is_deleted_after_the_last_step_is_not_made_again(tmp_path, rescued):
    folder = tmp_path / "run"
    run, _ = begin(folder, clock=lambda: 0.0)  # no progress but the last is told
    last = next(event for event in run if isinstance(event, Progress))
    assert last.done == 4
    shutil.rmtree(folder)
    with pytest.raises(RunError, match=r"ended after 4 steps\. The model so far was saved in"):
        drain(run)
    assert not folder.exists()


def test_a_folder_that_is_deleted_at_the_very_end_is_told(tmp_path, rescued, monkeypatch):
    folder = tmp_path / "run"
    run, _ = begin(folder)

    def save(model, run_dir):
        save_model(model, run_dir)
        shutil.rmtree(folder, ignore_errors=True)

    monkeypatch.setattr(loop, "save_model", save)
    with pytest.raises(RunError, match=r"ended after 4 steps\. The model so far was saved in"):
        drain(run)
    assert load_model(rescued / "run-1").n_steps == 4


def test_a_time_budget_ends_the_run():
    stack, truth = blobs()
    settings = quick(optimisation__max_steps="none", optimisation__max_minutes=1)
    ticks = iter(range(0, 100_000, 5))
    events, _ = drain(
        iter_training(
            stack, annotated(truth), settings, device="cpu", clock=lambda: float(next(ticks))
        )
    )
    assert events[-1].reason is FinishReason.completed
    assert events[-1].total is None
    assert 0 < events[-1].done < 12


def test_a_time_limit_beside_steps_says_so_and_changes_no_step(tmp_path):
    stack, truth = blobs()
    settings = quick(optimisation__max_steps=16, self_training__start=0.3)
    whole = fit(stack, annotated(truth), settings, device="cpu")
    limited = settings.with_overrides({"optimisation.max_minutes": 1})

    def go_on(settings, *, resume):
        return drain(
            iter_training(
                stack,
                annotated(truth),
                settings,
                run_dir=tmp_path,
                resume=resume,
                device="cpu",
                clock=iter(range(0, 100_000, 3)).__next__,
            )
        )

    first, _ = go_on(limited, resume=False)
    end = first[-1]
    assert end.reason is FinishReason.time_limit
    assert 0 < end.done < 8
    assert end.total == 16
    (told,) = [m for m in of_type(first, Message) if "Time was up" in m.text]
    assert f"after {end.done} of 16 steps" in told.text
    assert told.level == "warning"
    # the limit counts from here, and the time left is not more than that
    second, _ = go_on(limited, resume=True)
    assert second[-1].reason is FinishReason.time_limit
    assert second[-1].done > end.done
    assert all(event.eta_s <= 60 for event in of_type(second, Progress))
    third, model = go_on(settings, resume=True)
    assert third[-1].reason is FinishReason.completed
    assert same_weights(whole, model)


def test_fit_passes_warnings_on():
    stack, truth = blobs()
    settings = quick(optimisation__max_steps=500, optimisation__max_minutes=0.001)
    with pytest.warns(UserWarning, match=r"Time was up after \d+ of 500 steps") as found:
        fit(stack, annotated(truth), settings, device="cpu")
    assert found[0].filename == __file__


def test_paper_preset_stops_early_on_annotations_and_keeps_the_best():
    stack, truth = blobs()
    settings = preset("paper").with_overrides(
        {
            "network.filters": 2,
            "sampling.crop_px": 32,
            "optimisation.max_epochs": 60,
            "optimisation.patience": 2,
            "optimisation.learning_rate": 0.05,
        }
    )
    events, _ = drain(iter_training(stack, annotated(truth, n_grids=0), settings, device="cpu"))
    validated = of_type(events, Validated)
    assert events[-1].reason is FinishReason.converged
    assert [v.is_best for v in validated[-3:]] == [True, False, False]
    assert min(v.loss for v in validated) == validated[-3].loss


def test_fifth_of_the_crops_is_held_out():
    stack, truth = blobs(n_slices=5)
    settings = preset("paper").with_overrides({"sampling.crop_px": 32, "network.filters": 2})
    run = iter_training(stack, annotated(truth, n_grids=0), settings, device="cpu")
    started = next(event for event in run if isinstance(event, RunStarted))
    run.close()
    # 5 slices of 4 crops, 16 of them for training: one batch of 16 an epoch
    assert started.total == 100


def test_twenty_correct_labels_never_harm_a_half_trained_run():
    stack, truth = blobs(n_slices=8, seed=3)
    settings = quick(optimisation__max_steps=80)
    annotations = annotated(truth, n_grids=2)
    before = fit(stack, annotations, settings, device="cpu")
    mailbox = Mailbox()
    clicks = correct_clicks(truth, range(3, 8), 20)
    run = iter_training(
        stack,
        annotations,
        settings,
        updates=mailbox,
        device="cpu",
        clock=iter(range(100_000)).__next__,
    )
    events = []
    while True:
        try:
            event = next(run)
        except StopIteration as end:
            after = end.value
            break
        events.append(event)
        if isinstance(event, Progress) and event.done == 40:
            mailbox.put(annotations.replace(keypoints=tuple(clicks)))
    assert any("20 keypoints" in message.text for message in of_type(events, Message))
    plain, corrected = (mean_iou(model, stack, truth) for model in (before, after))
    assert plain > 0.7
    assert corrected >= plain - 0.01


@pytest.mark.parametrize("reduction", [1, 2])
def test_keypoints_without_effect_are_told(reduction):
    stack, truth = blobs()
    settings = quick(
        optimisation__max_steps=40, image__object_diameter_px=13 * reduction,
        image__target_diameter_px=13,
    )  # fmt: skip
    places = [Keypoint(2, 30.0, 40.0, 0), Keypoint(2, 30.0, 41.0, 1)]  # one of them is wrong
    annotations = annotated(truth, keypoints=places)
    events, model = drain(iter_training(stack, annotations, settings, device="cpu"))
    (checked,) = of_type(events, KeypointsChecked)
    plain = model.model_copy(update={"corrections": Corrections()})
    label = int(predict(plain, stack, device="cpu").labels[2][30, 40])
    assert checked.denied == ((2, 30.0, 40.0 + (label == 0), 1 - label),)
    told = [one.text for one in of_type(events, Message) if "did not take effect" in one.text]
    assert len(told) == 1
    assert told[0].startswith("1 of 2 keypoints did not take effect")
    assert "slice 2 at y 30, x 4" in told[0]
    assert "elsewhere: train anew with all of them" in told[0]  # grids are counted


def test_previews_are_set_right_at_keypoints_as_maps_are():
    stack, truth = blobs()
    y, x = np.argwhere(truth[2] == 0)[len(truth[2])]  # on the background, and so without effect
    annotations = annotated(truth, keypoints=[Keypoint(2, float(y), float(x), 1)])
    run = iter_training(
        stack,
        annotations,
        quick(optimisation__max_steps=40),
        device="cpu",
        preview_slice=lambda: 2,
        preview_interval_s=0.0,
    )
    events, model = drain(run)
    assert model.corrections.n_keypoints == 1
    shown = of_type(events, Preview)[-1].probs
    assert shown[1, y, x] == 1.0
    (spans,) = model.corrections.spans.values()
    assert all((shown[c, row, start:end] == 1.0).all() for row, start, end, c in spans)


def test_nothing_is_said_of_keypoints_where_there_are_none():
    stack, truth = blobs()
    events, _ = drain(iter_training(stack, annotated(truth), quick(), device="cpu"))
    assert not of_type(events, KeypointsChecked)


def test_continuing_from_a_model_starts_from_its_weights_and_scale():
    stack, truth = blobs()
    first = fit(stack, annotated(truth), quick(optimisation__max_steps=60), device="cpu")
    _, second = drain(
        iter_training(
            stack,
            annotated(truth, keypoints=correct_clicks(truth, [1, 2], 6)),
            quick(optimisation__max_steps=20),
            start_from=first,
            device="cpu",
        )
    )
    assert second.n_steps == 80
    assert second.label_scale == first.label_scale
    assert mean_iou(second, stack, truth) >= mean_iou(first, stack, truth) - 0.02
    rgb = stack_from_array(np.zeros((1, 64, 64, 3), np.uint8), axes="ZYXC")
    run = iter_training(rgb, annotated(truth[:1]), quick(), start_from=first, device="cpu")
    with pytest.raises(InputError, match="image channels"):
        list(run)


def test_going_on_with_another_weight_of_keypoints_changes_theirs_alone():
    stack, truth = blobs()
    first = fit(stack, annotated(truth), quick(optimisation__max_steps=2), device="cpu")
    heavier = quick(optimisation__max_steps=1, labels__keypoint_weight=21.0)
    again = annotated(truth, keypoints=correct_clicks(truth, [1], 2))
    _, second = drain(iter_training(stack, again, heavier, start_from=first, device="cpu"))
    assert first.label_scale.keypoint_weights == (1.0, 1.0)
    assert second.label_scale.keypoint_weights == (21.0, 21.0)
    assert second.label_scale.normaliser == first.label_scale.normaliser


def test_previews_follow_the_wish_and_are_skipped_when_not_wanted():
    stack, truth = blobs()
    wishes = iter([2, None, 1, 1, 1, 1, 1, 1])
    events, _ = drain(
        iter_training(
            stack,
            annotated(truth),
            quick(optimisation__max_steps=4),
            device="cpu",
            preview_slice=lambda: next(wishes),
            preview_interval_s=0.5,
            clock=iter(range(100_000)).__next__,
        )
    )
    previews = of_type(events, Preview)
    assert [p.slice for p in previews][:2] == [2, 1]
    assert previews[0].probs.shape == (2, 64, 64)
    np.testing.assert_allclose(previews[0].probs.sum(0), 1, atol=1e-5)


def test_a_working_scale_reduces_what_the_network_sees_but_not_the_maps():
    stack, truth = blobs(size=96)
    settings = quick(image__object_diameter_px=40)
    model = fit(stack, annotated(truth), settings, device="cpu")
    assert model.reduction == 2
    assert predict(model, stack).labels[0].shape == (96, 96)


def test_a_model_keeps_the_pixel_size_that_it_learned_at():
    fine, truth = blobs(size=96)
    image = np.stack([fine.read(z)[0] for z in range(3)])
    fine, coarse, unknown = (
        stack_from_array(image, voxel_size_um=(None, size, size)) for size in (0.005, 0.01, None)
    )
    settings = quick(image__object_diameter_px=96, optimisation__max_steps=1)
    model = fit(fine, annotated(truth), settings, device="cpu")
    assert model.working_scale == WorkingScale(4, 0.005)
    for stack, scale, told in (
        (fine, WorkingScale(4, 0.005), None),
        (coarse, WorkingScale(2, 0.01), "reduced by 2 instead of 4"),
        (unknown, WorkingScale(4, 0.005), "taken to be 5 nm"),
    ):
        events, later = drain(
            iter_training(
                stack,
                annotated(truth),
                settings,
                start_from=model,
                device="cpu",
                preview_slice=lambda: 0,
            )
        )
        assert later.working_scale == scale
        texts = [event.text for event in of_type(events, Message) if " nm" in event.text]
        assert len(texts) == (told is not None)
        assert told is None or told in texts[0]
        previews = of_type(events, Preview)
        assert {preview.reduction for preview in previews} == {scale.reduction}
        assert previews[0].probs.shape[1] == 96 // scale.reduction


def test_slices_larger_than_the_crop_are_completed_by_the_teacher():
    stack, truth = blobs(n_slices=2, size=128)
    settings = quick(sampling__crop_px=64, optimisation__max_steps=80)
    model = fit(stack, annotated(truth), settings, device="cpu")
    assert mean_iou(model, stack, truth) > 0.6


def test_nan_is_an_error_and_the_checkpoint_survives(tmp_path, monkeypatch):
    stack, truth = blobs()
    settings = quick()
    fit(stack, annotated(truth), settings, run_dir=tmp_path, device="cpu")
    before = (tmp_path / "checkpoint" / "state.safetensors").read_bytes()
    from napari_spss.core.training import loss_terms

    monkeypatch.setattr(loss_terms, "proportion_mse", lambda rho, *a, **k: rho.sum() * np.nan)
    longer = settings.with_overrides({"optimisation.max_steps": 30})
    with pytest.raises(Diverged, match=r"nan at step 21; lower optimisation\.learning_rate"):
        list(
            iter_training(
                stack, annotated(truth), longer, run_dir=tmp_path, resume=True, device="cpu"
            )
        )
    assert (tmp_path / "checkpoint" / "state.safetensors").read_bytes() == before
    assert predict(load_model(tmp_path), stack).labels[0].shape == (64, 64)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_out_of_memory_proposes_half_the_batch(monkeypatch, error):
    stack, truth = blobs()

    def fail(*args, **kwargs):
        raise error

    from napari_spss.core.networks.unet import FastUNet

    monkeypatch.setattr(FastUNet, "forward", fail)
    with pytest.raises(OutOfMemory) as caught:
        fit(stack, annotated(truth), quick(), device="cpu")
    assert caught.value.setting == "sampling.batch_size"
    assert caught.value.value == 1
    with pytest.raises(OutOfMemory, match=r"crop_px to 32"):
        fit(stack, annotated(truth), quick(sampling__batch_size=1), device="cpu")


def test_other_runtime_errors_pass_through(monkeypatch):
    stack, truth = blobs()

    def fail(*args, **kwargs):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    from napari_spss.core.networks.unet import FastUNet

    monkeypatch.setattr(FastUNet, "forward", fail)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        fit(stack, annotated(truth), quick(), device="cpu")


def test_nothing_annotated_is_refused():
    stack, _ = blobs()
    with pytest.raises(InputError, match="nothing is annotated"):
        fit(stack, Annotations(CLASSES), quick(), device="cpu")


def test_a_run_without_any_budget_is_refused():
    stack, truth = blobs()
    with pytest.raises(InputError, match="would never end"):
        fit(stack, annotated(truth), quick(optimisation__max_steps="none"), device="cpu")


def test_resuming_nothing_is_refused(tmp_path):
    stack, truth = blobs()
    for folder in (None, tmp_path):
        with pytest.raises(InputError, match=r"run_dir|no checkpoint"):
            list(
                iter_training(
                    stack, annotated(truth), quick(), run_dir=folder, resume=True, device="cpu"
                )
            )


def test_a_run_replaces_no_other_one_and_leaves_nothing_half_written(tmp_path):
    stack, truth = blobs()
    settings = quick(optimisation__max_steps=1)
    torn = tmp_path / f".model.safetensors.{'0a' * 16}.tmp"
    torn.write_text("half")

    def train(**how):
        where = {"run_dir": tmp_path, "device": "cpu"}
        return drain(iter_training(stack, annotated(truth), settings, **where, **how))[1]

    model = train()
    assert not torn.exists()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for how in ({}, {"start_from": model.model_copy(update={"run_dir": None})}):
        with pytest.raises(InputError, match=r"already holds a run .*choose another folder"):
            train(**how)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert train(start_from=model).n_steps == 2, "the run goes on from its own model"


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
@pytest.mark.parametrize("name", ["checkpoint", "updates", "model.json"])
def test_a_run_is_written_into_its_own_folder_alone(tmp_path, name):
    stack, truth = blobs()
    outside, run_dir = tmp_path / "outside", tmp_path / "run"
    for folder in (outside, run_dir):
        folder.mkdir()
    (run_dir / name).symlink_to(outside)
    with pytest.raises(InputError, match=f"{name} is a link that leads out of"):
        fit(stack, annotated(truth), quick(), run_dir=run_dir, device="cpu")
    assert list(outside.iterdir()) == []


def test_checkpoints_are_announced_and_model_json_is_readable(tmp_path):
    stack, truth = blobs()
    events, _ = drain(
        iter_training(stack, annotated(truth), quick(), run_dir=tmp_path, device="cpu")
    )
    assert of_type(events, CheckpointSaved)[-1].step == 20
    record = json.loads((tmp_path / "model.json").read_text())
    assert record["classes"] == list(CLASSES)
    assert record["settings"]["network"]["filters"] == 8
    assert events[-1].outputs == {
        "model": str(tmp_path / "model.safetensors"),
        "record": str(tmp_path / "model.json"),
    }


def test_an_empty_slice_is_learned_as_empty():
    stack, truth = blobs()
    empty = np.zeros((1, 64, 64), np.uint8)
    image = np.concatenate(
        [
            np.stack([stack.read(z)[0] for z in range(3)]),
            np.random.default_rng(9).normal(100, 15, (1, 64, 64)).clip(0, 255).astype(np.uint8),
        ]
    )
    stack = stack_from_array(image)
    truth = np.concatenate([truth, empty])
    model = fit(stack, annotated(truth), quick(optimisation__max_steps=80), device="cpu")
    assert np.stack(predict(model, stack).labels)[3].mean() < 0.01


def test_classes_cannot_change_during_a_run():
    stack, truth = blobs()
    annotations = annotated(truth)
    wrong = annotations.with_classes(("background", "disc", "ring"))
    mailbox = Mailbox()
    mailbox.put(wrong)
    events, _ = drain(iter_training(stack, annotations, quick(), updates=mailbox, device="cpu"))
    assert any("Classes cannot change" in m.text for m in of_type(events, Message))


def test_keypoint_only_runs_weigh_the_classes_equally():
    stack, truth = blobs()
    clicks = [Keypoint(0, 5.0, float(x), 0) for x in range(0, 60, 6)]
    rows, columns = np.nonzero(truth[0])
    clicks += [Keypoint(0, float(rows[i]), float(columns[i]), 1) for i in (0, -1)]
    model = fit(stack, Annotations(CLASSES, keypoints=tuple(clicks)), quick(), device="cpu")
    background, disc = model.label_scale.keypoint_weights
    assert disc * 2 == pytest.approx(background * 10)
