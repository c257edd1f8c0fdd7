"""What a run draws and where it goes on: a function of its seed and step, and of nothing else."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
import torch
from blobs import CLASSES, annotated, blobs, correct_clicks, fractions, quick, tiny, weights
from safetensors.torch import load_file

from napari_spss.core.annotations import Annotations, Proportion, Region
from napari_spss.core.base import CancelToken, Mailbox, Message, Progress, preset
from napari_spss.core.networks import register_network
from napari_spss.core.training import STATE_FILE, fit, iter_training, load_model

pytestmark = pytest.mark.usefixtures("one_torch_thread")

STACK, TRUTH = blobs(n_slices=3, size=32)


class Dropping(torch.nn.Module):
    """A network that draws random numbers in every step."""

    def __init__(self, *, in_channels, out_channels, filters):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(in_channels, filters, 3, padding=1),
            torch.nn.Dropout(0.5),
            torch.nn.Conv2d(filters, out_channels, 1),
        )

    def forward(self, x):
        return self.layers(x)


register_network("dropping", Dropping)


@pytest.mark.parametrize("network", ["fast-unet", "dropping"])
def test_the_generators_of_the_process_are_left_alone(tmp_path, network):
    def states():
        python, numpy, torch_cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
        return python, (*numpy[:1], numpy[1].tolist(), *numpy[2:]), torch_cpu.tolist()

    before = states()
    fit(STACK, annotated(TRUTH), tiny(network__name=network), run_dir=tmp_path, device="cpu")
    load_model(tmp_path)
    assert states() == before


def test_the_generators_of_the_process_decide_nothing():
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        settings = tiny(network__name="dropping")
        found.append(weights(fit(STACK, annotated(TRUTH), settings, device="cpu")))
    assert torch.equal(*found)


# -- going on ------------------------------------------------------------------------------------

LARGE, LARGE_TRUTH = blobs(n_slices=3, size=72)
CLICKS = correct_clicks(LARGE_TRUTH, range(3), 6)
BOX = Proportion(Region(0, (4, 4, 40, 70)), (0.9, 0.1))


def parts(**overrides):
    """Slices of several windows, whose maps are kept for some steps."""
    values = {
        "network__filters": 2,
        "sampling__crop_px": 32,
        "sampling__warp": True,
        "sampling__intensity": True,
        "optimisation__max_steps": 22,
        "labels__node_error": 0.1,
    }
    return quick(**(values | overrides))


RUNS = {
    "grids": (annotated(LARGE_TRUTH, n_grids=2), parts()),
    "until maps are old": (annotated(LARGE_TRUTH, n_grids=1), parts(optimisation__max_steps=56)),
    "keypoints": (annotated(LARGE_TRUTH, n_grids=0, keypoints=CLICKS), parts()),
    "fractions": (annotated(LARGE_TRUTH, n_grids=0), parts(loss__proportions="kl")),
    "regions": (
        Annotations(CLASSES, proportions=(*fractions(LARGE_TRUTH)[1:], BOX), keypoints=CLICKS),
        parts(sampling__batch_size=3),
    ),
    "validation": (
        annotated(LARGE_TRUTH, n_grids=2),
        parts(optimisation__validation_fraction=0.4, optimisation__patience=50),
    ),
    "tiles": (
        annotated(LARGE_TRUTH, n_grids=1),
        parts(sampling__crop_mode="tile", optimisation__max_steps=None, optimisation__max_epochs=3),
    ),
    "one by one": (annotated(LARGE_TRUTH, n_grids=1), parts(sampling__batch_size=1)),
    "reduced": (
        annotated(LARGE_TRUTH, n_grids=1, keypoints=CLICKS),
        parts(image__object_diameter_px=48, sampling__crop_px=16),
    ),
    "dropout": (annotated(LARGE_TRUTH, n_grids=1), parts(network__name="dropping")),
    "wide": (annotated(LARGE_TRUTH, n_grids=1), parts(network__filters=9)),
    "paper": (
        annotated(LARGE_TRUTH),
        preset("paper").with_overrides(
            {
                "network.filters": 4,
                "sampling.crop_px": 32,
                "sampling.batch_size": 4,
                "optimisation.max_epochs": 6,
            }
        ),
    ),
}


def train(annotations, settings, folder, *, resume=False, leave_at=None, joining=None):
    """Train, and leave at a step by a stop or as if killed; returns the model or None.

    ``joining`` is a step and annotations that join there.
    """
    token, updates = CancelToken(), Mailbox()
    run = iter_training(
        LARGE,
        annotations,
        settings,
        run_dir=folder,
        resume=resume,
        updates=updates,
        token=token,
        device="cpu",
        clock=itertools.count(0, 2).__next__,  # a checkpoint every few steps
    )
    kind, step = leave_at or ("", None)
    while True:
        try:
            event = next(run)
        except StopIteration as end:
            return end.value
        if not isinstance(event, Progress):
            continue
        if joining is not None and event.done == joining[0]:
            updates.put(joining[1])
        if event.done == step and kind == "stop":
            token.cancel()
        elif event.done == step:
            run.close()
            return None


def learned(folder):
    """Return all numbers of a run's last checkpoint: network, teacher, optimiser, best weights."""
    tensors = load_file(folder / STATE_FILE)
    return {name: (value.dtype, value.numpy().tobytes()) for name, value in tensors.items()}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_was_left_goes_on_to_the_same_weights(tmp_path, name):
    annotations, settings = RUNS[name]
    whole = weights(train(annotations, settings, tmp_path / "whole"))
    stop, kill = ("stop", random.Random(name).randint(4, 14)), ("kill", 16)
    train(annotations, settings, tmp_path, leave_at=stop)
    train(annotations, settings, tmp_path, resume=True, leave_at=kill)
    resumed = train(annotations, settings, tmp_path, resume=True)
    assert torch.equal(whole, weights(resumed)), f"stop at step {stop[1]}"
    assert learned(tmp_path) == learned(tmp_path / "whole"), f"stop at step {stop[1]}"


def test_a_run_that_others_joined_goes_on_to_the_same_weights_after_a_kill(tmp_path):
    annotations = annotated(LARGE_TRUTH[:2], n_grids=1)
    settings = parts(optimisation__max_steps=None, optimisation__max_epochs=40)
    joined = annotated(LARGE_TRUTH, n_grids=2, keypoints=CLICKS)
    joining = (17, joined)
    whole = train(annotations, settings, tmp_path / "whole", joining=joining)
    assert whole.n_steps == 40  # of two slices an epoch is a step
    train(annotations, settings, tmp_path, leave_at=("kill", 19), joining=joining)
    resumed = train(joined, settings, tmp_path, resume=True)
    assert torch.equal(weights(whole), weights(resumed))


def test_a_run_that_goes_on_says_nothing_twice(tmp_path):
    annotations, settings = RUNS["grids"]
    settings = settings.with_overrides({"optimisation.learning_rate": 1e-12})
    told = []
    for is_resumed in (False, True):
        token = CancelToken()
        for event in iter_training(
            LARGE,
            annotations,
            settings,
            run_dir=tmp_path,
            resume=is_resumed,
            token=token,
            device="cpu",
        ):
            if isinstance(event, Message) and event.text.startswith("The map"):
                told.append(event.text)
                token.cancel()
    assert len(told) == 1
