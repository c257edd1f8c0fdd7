"""What is refused and told before the first step, and what a run begins with."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from blobs import CLASSES, annotated, blobs, tiny
from draining import drain

from napari_spss.core.annotations import Classes
from napari_spss.core.base import CancelToken, InputError, Preparing, RunStarted
from napari_spss.core.images import WorkingScale, stack_from_array
from napari_spss.core.networks import NETWORKS, register_network
from napari_spss.core.training import fit, iter_training, working_scale
from napari_spss.core.training.preparation import prepare
from napari_spss.core.training.task import Task

pytestmark = pytest.mark.usefixtures("one_torch_thread")

STACK, TRUTH = blobs(n_slices=3, size=32)


# -- what is refused before anything is read -------------------------------------------------------


def flat(*shape, **kwargs):
    return stack_from_array(np.zeros(shape, np.uint8), **kwargs)


def begin(settings, annotations=None, *, stack=STACK, **kwargs):
    """Ask for the first event of a run."""
    if annotations is None:
        annotations = annotated(TRUTH)
    generator = iter_training(stack, annotations, settings, device="cpu", **kwargs)
    next(generator)
    generator.close()


def test_self_training_without_averaged_weights_is_refused():
    plain = tiny(optimisation__ema_decay=None)
    with pytest.raises(InputError, match=r"ema_decay is none; set it, or set self_training") as e:
        begin(plain)
    assert e.value.field == "optimisation.ema_decay"
    begin(plain.with_overrides({"self_training.enabled": False}))
    begin(tiny())


@pytest.mark.parametrize(("diameter", "expected"), [(None, 1), (20, 1), (40, 2), (90, 4), (100, 4)])
def test_the_working_scale_follows_the_stated_object(diameter, expected):
    settings = tiny(image__object_diameter_px=diameter)
    assert working_scale(settings, flat(1, 40, 100)).reduction == expected


def test_micrometres_are_turned_into_pixels():
    stack = flat(1, 200, 200, voxel_size_um=(0.05, 0.005, 0.005))
    scale = working_scale(tiny(image__object_diameter_um=0.4), stack)
    assert scale == WorkingScale(3, 0.005)


def test_an_object_wider_than_the_image_is_refused():
    message = r"about 5000 px wide does not fit into the image, whose longer side is 32 px"
    with pytest.raises(InputError, match=message) as e:
        begin(tiny(image__object_diameter_px=5000))
    assert e.value.field == "image.object_diameter_px"
    begin(tiny(image__object_diameter_px=32))


@pytest.fixture(scope="module")
def model():
    with pytest.warns(UserWarning, match="map"):
        return fit(STACK, annotated(TRUTH), tiny(optimisation__max_steps=1), device="cpu")


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("classes", {"classes": Classes(("background", "ring"))}),
        ("image channels", {"n_channels": 3}),
        ("classes background, disc", {"classes": Classes(CLASSES, "disc")}),
        ("network 'fast-unet' with 3", {"settings": tiny(network__filters=3)}),
        ("normalisation", {"settings": tiny(image__normalisation="range")}),
    ],
)
def test_a_model_of_something_else_is_refused(model, name, changes):
    begin(tiny(), start_from=model)
    begin(tiny(loss__alpha=0.1), start_from=model)
    with pytest.raises(InputError, match=rf"trained with {name} .*, not .*start a new run"):
        begin(tiny(), start_from=model.model_copy(update=changes))


def prepared(start_from=None):
    """Return a run before its first step."""
    task = Task(STACK, tiny(), None, None, None, torch.device("cpu"), CancelToken(), lambda: 0.0)
    _, run = drain(prepare(task, annotated(TRUTH), resume=False, start_from=start_from))
    return run


def test_a_model_of_other_classes_weighs_labels_as_a_new_run_does(model):
    new = prepared()
    other = model.model_copy(update={"classes": Classes(("background", "ring"))})
    run = prepared(other.for_classes(Classes(CLASSES)))
    assert run.data.label_scale == new.data.label_scale
    assert run.schedule == new.schedule
    weights, trained = run.learner.weights(), model.network.state_dict()
    assert not any((weights[name] != trained[name]).any() for name in weights if "head" not in name)
    np.testing.assert_array_equal(weights["head.bias"], new.learner.weights()["head.bias"])
    assert (weights["head.weight"] != trained["head.weight"]).any()


def test_a_network_without_a_last_convolution_cannot_be_given_other_classes(model, monkeypatch):
    monkeypatch.setattr(NETWORKS, "_registered", {})
    register_network("linear", lambda **_: torch.nn.Identity())
    other = model.model_copy(update={"settings": tiny(network__name="linear")})
    with pytest.raises(InputError, match="no last convolution that could be exchanged"):
        other.for_classes(Classes(("background", "ring")))


def test_only_a_checkpoint_with_the_same_classes_is_resumed(tmp_path):
    with pytest.raises(InputError, match="give run_dir"):
        begin(tiny(), resume=True)
    with pytest.raises(InputError, match="holds no checkpoint"):
        begin(tiny(), resume=True, run_dir=tmp_path)
    one_step = tiny(optimisation__max_steps=1)
    list(iter_training(STACK, annotated(TRUTH), one_step, run_dir=tmp_path, device="cpu"))
    begin(tiny(), resume=True, run_dir=tmp_path)
    other = annotated(TRUTH).with_classes((*CLASSES, "a"))
    with pytest.raises(InputError, match="begun with classes background, disc, not background, d"):
        begin(tiny(), other, resume=True, run_dir=tmp_path)


# -- what is told before the first step ------------------------------------------------------------


def test_what_is_read_is_told_before_the_run_starts():
    events = list(
        iter_training(
            STACK,
            annotated(TRUTH),
            tiny(optimisation__max_steps=1),
            device="cpu",
            clock=itertools.count().__next__,
        )
    )
    preparing = [event for event in events if isinstance(event, Preparing)]
    assert [(event.text, event.done, event.total) for event in preparing] == [
        ("reading slice 1 of 3", 0, 3),
        ("reading slice 2 of 3", 1, 3),
        ("reading slice 3 of 3", 2, 3),
        ("building the network", 3, 3),
    ]
    assert isinstance(events[len(preparing)], RunStarted)


def test_what_is_read_is_not_told_more_often_than_anybody_can_read():
    with_clock = iter_training(
        STACK,
        annotated(TRUTH),
        tiny(optimisation__max_steps=1),
        device="cpu",
        clock=itertools.count(0, 0.2).__next__,
    )
    preparing = [event.done for event in with_clock if isinstance(event, Preparing)]
    assert preparing == [0, 3]
