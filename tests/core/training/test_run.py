"""What a training withstands: bad data, settings, previews and updates, numbers that are none."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from blobs import CLASSES, annotated, blobs, fractions, tiny
from safetensors.torch import load_file

from napari_spss.core.annotations import Annotations, Keypoint, lay_frames
from napari_spss.core.base import (
    CancelToken,
    Diverged,
    Mailbox,
    Message,
    OutOfMemory,
    Preview,
    Progress,
    RunFinished,
    Validated,
    preset,
)
from napari_spss.core.images import stack_from_array
from napari_spss.core.training import (
    STATE_FILE,
    fit,
    iter_training,
    load_model,
    preparation,
    run as run_module,
)
from napari_spss.core.training.label_posterior import LabelPosterior
from napari_spss.core.training.loss_terms import StepLoss, step_loss

pytestmark = pytest.mark.usefixtures("one_torch_thread")

STACK, TRUTH = blobs(n_slices=3, size=32)


def run(annotations, settings, *, stack=STACK, **kwargs):
    """Events of a run whose clock ticks a second at every look."""
    return list(
        iter_training(
            stack,
            annotations,
            settings,
            device="cpu",
            clock=itertools.count().__next__,
            **kwargs,
        )
    )


def messages(events):
    return [event.text for event in events if isinstance(event, Message)]


def test_a_slice_that_cannot_be_shown_does_not_end_the_run():
    image = np.concatenate([STACK.read(z).astype(np.float32) for z in range(3)])
    image[2, 5, 5] = np.nan
    stack = stack_from_array(image, source="em.tif")
    shown = itertools.chain([2, 2, 1], itertools.repeat(2))
    events = run(
        annotated(TRUTH[:2]),
        tiny(),
        stack=stack,
        preview_slice=lambda: next(shown),
        preview_interval_s=0,
    )
    assert isinstance(events[-1], RunFinished)
    assert [event.slice for event in events if isinstance(event, Preview)] == [1]
    told = [text for text in messages(events) if "preview" in text]
    assert len(told) == 1
    assert "slice 2 of em.tif holds 1 value of NaN" in told[0]


def test_annotations_that_cannot_be_used_leave_the_run_as_it_is(tmp_path):
    annotations = annotated(TRUTH)
    mailbox = Mailbox()
    mailbox.put(annotations.replace(keypoints=(Keypoint(7, 1.0, 1.0, 1),)))
    events = run(annotations, tiny(), updates=mailbox, run_dir=tmp_path)
    (told,) = [text for text in messages(events) if "old annotations" in text]
    assert "is outside the stack of 3 slices" in told
    assert events[-1].done == 4
    assert not (tmp_path / "updates").exists()


def test_annotations_cannot_all_go_during_a_run():
    mailbox = Mailbox()
    mailbox.put(Annotations(CLASSES))
    events = run(annotated(TRUTH), tiny(), updates=mailbox)
    assert any("goes on with the old ones" in text for text in messages(events))


def test_changed_annotations_join_and_are_recorded(tmp_path):
    annotations = Annotations(CLASSES, proportions=fractions(TRUTH))
    mailbox = Mailbox()
    mailbox.put(annotated(TRUTH))
    events = run(annotations, tiny(), updates=mailbox, run_dir=tmp_path)
    assert any("from step 0 on. In all: 1 grid (" in text for text in messages(events))
    assert (tmp_path / "updates" / "step_000000" / "grid.csv").is_file()
    progress = [event for event in events if isinstance(event, Progress)]
    assert "labels" in progress[0].losses
    # the first labels decide what a label weighs, though the run began without any
    assert load_model(tmp_path).label_scale.normaliser == pytest.approx(64, abs=1)


def test_annotations_that_come_after_the_last_step_do_not_join():
    annotations, mailbox, told = annotated(TRUTH, n_grids=1), Mailbox(), []
    ticks = itertools.count(0, 10).__next__
    for event in iter_training(
        STACK, annotations, tiny(), updates=mailbox, device="cpu", clock=ticks
    ):
        told += messages([event])
        if isinstance(event, Progress) and event.done == 4:
            mailbox.put(annotated(TRUTH, n_grids=2))
    assert not any("new annotations count" in text for text in told)
    assert not mailbox.is_empty


def test_a_validation_loss_that_is_no_number_is_an_error_not_the_best(monkeypatch):
    settings = preset("paper").with_overrides(
        {"network.filters": 2, "sampling.crop_px": 16, "optimisation.max_epochs": 2}
    )

    def broken(step):
        if step.logits.requires_grad:
            return step_loss(step)
        return StepLoss(torch.tensor(float("nan")), {}, None)

    monkeypatch.setattr("napari_spss.core.training.run.step_loss", broken)
    with pytest.raises(Diverged, match="the validation loss became nan"):
        run(annotated(TRUTH, n_grids=0), settings)


def test_after_new_annotations_validation_begins_anew():
    settings = preset("paper").with_overrides(
        {
            "network.filters": 2,
            "sampling.crop_px": 16,
            "optimisation.max_epochs": 6,
            "optimisation.patience": 4,
            "optimisation.learning_rate": 1e-12,
        }
    )
    annotations, mailbox, found = annotated(TRUTH, n_grids=0), Mailbox(), []
    for event in iter_training(STACK, annotations, settings, updates=mailbox, device="cpu"):
        if isinstance(event, Validated):
            found.append(event.is_best)
            if len(found) == 3:
                mailbox.put(annotated(TRUTH, n_grids=1))
    # nothing is learned, so that only the first of each is the best
    assert found == [True, False, False, True, False, False]


@pytest.mark.parametrize("is_joined", [False, True])
def test_what_was_best_by_old_annotations_is_not_kept(tmp_path, is_joined):
    settings = preset("paper").with_overrides(
        {"network.filters": 2, "sampling.crop_px": 16, "sampling.batch_size": 4}
    )
    mailbox, token, best = Mailbox(), CancelToken(), None
    for event in iter_training(
        STACK,
        annotated(TRUTH, n_grids=0),
        settings,
        run_dir=tmp_path,
        updates=mailbox,
        token=token,
        device="cpu",
        clock=itertools.count(0, 10).__next__,
    ):
        if isinstance(event, Validated):
            best = event.step
            if is_joined:
                mailbox.put(annotated(TRUTH, n_grids=1))
        elif isinstance(event, Progress) and best is not None and event.done > best:
            token.cancel()  # before the next epoch ends
    tensors = load_file(tmp_path / STATE_FILE)
    is_newest = torch.equal(
        load_model(tmp_path).network.head.weight, tensors["student.head.weight"]
    )
    assert is_newest is is_joined


@pytest.mark.parametrize("is_changed", [False, True])
def test_what_was_best_by_old_annotations_is_not_kept_by_a_resumed_run(tmp_path, is_changed):
    settings = preset("paper").with_overrides(
        {"network.filters": 2, "sampling.crop_px": 16, "sampling.batch_size": 4}
    )
    for n_grids, stop_at in ((0, 4), (int(is_changed), 5)):  # an epoch has three steps
        token = CancelToken()
        for event in iter_training(
            STACK,
            annotated(TRUTH, n_grids=n_grids),
            settings,
            run_dir=tmp_path,
            resume=stop_at == 5,
            token=token,
            device="cpu",
            clock=itertools.count(0, 10).__next__,
        ):
            if isinstance(event, Progress) and event.done == stop_at:
                token.cancel()
    newest = load_file(tmp_path / STATE_FILE)["student.head.weight"]
    assert torch.equal(load_model(tmp_path).network.head.weight, newest) is is_changed


def test_after_a_label_posterior_losses_are_compared_by_the_new_counts(monkeypatch):
    def posterior(samples, predict, before):
        counted = [region for one in samples for region in one.nodes]
        return LabelPosterior(believed=dict.fromkeys(counted, (2.0, 62.0)))

    monkeypatch.setattr(run_module, "label_posterior", posterior)
    settings = tiny(
        optimisation__max_steps=30,
        optimisation__validation_fraction=0.5,
        optimisation__learning_rate=1e-3,
        loss__alpha=1.0,
    )
    events = run(annotated(TRUTH, n_grids=3), settings, held_out_slices=[1])
    found = [event for event in events if isinstance(event, Validated)]
    before = [event.loss for event in found if event.step <= 6]
    after = [event for event in found if event.step > 6]
    assert min(event.loss for event in after) > max(before)
    assert any(event.is_best for event in after)


def test_range_normalised_images_are_disturbed_in_their_own_measure(monkeypatch):
    seen = []

    class Spy(preparation.Learner):
        def student_logits(self, images, step):
            seen.append(images)
            return super().student_logits(images, step)

    monkeypatch.setattr(preparation, "Learner", Spy)
    settings = tiny(image__normalisation="range", sampling__intensity=True)
    run(annotated(TRUTH), settings)
    plain = np.stack([STACK.read(z) for z in range(3)]) / 255
    for images in seen:
        assert float(images.mean()) == pytest.approx(plain.mean(), abs=0.6 * plain.std())
        assert float(images.std()) == pytest.approx(plain.std(), rel=0.5)


@pytest.mark.parametrize("is_on", [True, False])
def test_sharpness_ramps_in_with_or_without_self_training(is_on):
    settings = tiny(
        loss__sharpness=1,
        self_training__enabled=is_on,
        self_training__start=0.4,
        self_training__ramp=0,
    )
    events = run(annotated(TRUTH), settings)
    losses = [event.losses for event in events if isinstance(event, Progress)][:-1]
    assert ["sharpness" in parts for parts in losses] == [False, False, True, True]
    assert ["self_training" in parts for parts in losses] == [False, False, is_on, is_on]


def trained(settings):
    """Model that settings give."""
    return fit(STACK, annotated(TRUTH), settings, device="cpu")


def test_a_model_that_goes_on_learning_is_disturbed_less_and_trusted_at_once(monkeypatch):
    rates = []

    class Spy(preparation.Learner):
        def learn(self, loss, *, learning_rate, step):
            rates.append(learning_rate)
            super().learn(loss, learning_rate=learning_rate, step=step)

    monkeypatch.setattr(preparation, "Learner", Spy)
    settings = tiny(
        optimisation__schedule="constant",
        self_training__start=0.6,
        self_training__ramp=0,
        optimisation__max_steps=2,
    )
    events = run(annotated(TRUTH), settings, start_from=trained(settings))
    assert rates[2:] == pytest.approx([0.3 * rates[0]] * 2)
    losses = [event.losses for event in events if isinstance(event, Progress)]
    assert "self_training" in losses[1]


def test_a_model_that_was_stopped_early_goes_on_as_a_new_one():
    settings = tiny(optimisation__max_steps=10, optimisation__schedule="constant")
    early = trained(settings.with_overrides({"optimisation.max_steps": 1}))
    losses = [
        event.losses
        for event in run(annotated(TRUTH), settings, start_from=early)
        if isinstance(event, Progress)
    ][:-1]
    has_pseudo_labels = ["self_training" in parts for parts in losses]
    assert has_pseudo_labels == [False] * 6 + [True] * 4


def test_a_batch_of_one_learns_from_every_slice():
    settings = tiny(sampling__batch_size=1, optimisation__max_steps=6, self_training__enabled=False)
    events = run(annotated(TRUTH), settings)
    losses = [event.losses for event in events if isinstance(event, Progress)][:-1]
    # one grid, two slices with a fraction alone
    assert ["labels" in parts for parts in losses] == [True, False] * 3
    assert all("proportions" in parts for parts in losses)


def test_where_batch_and_crop_are_least_fewer_filters_are_proposed(monkeypatch):
    def fail(*_, **__):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(preparation.Learner, "student_logits", fail)
    settings = tiny(sampling__batch_size=1, sampling__crop_px=16, network__filters=6)
    with pytest.raises(OutOfMemory, match=r"network\.filters to 3") as e:
        run(annotated(TRUTH), settings)
    assert (e.value.setting, e.value.value) == ("network.filters", 3)


def test_a_large_slice_trains_by_its_parts_and_goes_on_as_if_it_had_not_been_stopped(
    monkeypatch, tmp_path
):
    monkeypatch.setattr("napari_spss.core.training.samples._LARGE_PX", 0)
    stack, truth = blobs(n_slices=1, size=240)
    frames = tuple(
        frame.replace(
            class_index=truth[0][frame.y.round().astype(int), frame.x.round().astype(int)].astype(
                np.int16
            ),
            is_done=True,
        )
        for frame in lay_frames((1, 240, 240), 2, 60, 5, rng=np.random.default_rng(0))
    )
    annotations = Annotations(CLASSES, keypoints=(Keypoint(0, 239.0, 0.0, 1),), grids=frames)
    settings = tiny(optimisation__max_steps=8, self_training__start=0.0, self_training__ramp=0.0)

    def stopping(folder, n_steps):
        token = CancelToken()
        for event in iter_training(
            stack,
            annotations,
            settings,
            run_dir=folder,
            token=token,
            device="cpu",
            clock=itertools.count().__next__,
        ):
            if isinstance(event, Progress) and event.done >= n_steps:
                token.cancel()

    stopping(tmp_path / "whole", 99)
    stopping(tmp_path / "stopped", 3)
    assert load_model(tmp_path / "stopped").n_steps < 8
    list(
        iter_training(
            stack, annotations, settings, run_dir=tmp_path / "stopped", resume=True, device="cpu"
        )
    )
    whole, resumed = (
        load_file(tmp_path / name / "model.safetensors") for name in ("whole", "stopped")
    )
    for name, weights in whole.items():
        assert torch.equal(weights, resumed[name])
