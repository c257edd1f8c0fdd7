"""What is checked, decided and said before the first step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from blobs import CLASSES, annotated, blobs

from napari_spss.core.annotations import Annotations, Keypoint
from napari_spss.core.base import InputError, preset
from napari_spss.core.images import WorkingScale, stack_from_array
from napari_spss.core.images.stack import stack_from_images
from napari_spss.core.training import Model
from napari_spss.core.training.bags import LabelScale
from napari_spss.core.training.checkpoint import TrainingState, new_network, save_state
from napari_spss.core.training.preparation import (
    check_model,
    check_settings,
    remarks,
    stopped_run,
    working_scale,
)

FULL = WorkingScale(1)
FAST = preset("fast").with_overrides({"network.filters": 2})


def flat(*shape, **kwargs):
    return stack_from_array(np.zeros(shape, np.uint8), **kwargs)


def varied(*shape):
    """A stack whose last pixel alone differs."""
    data = np.zeros(shape, np.uint8)
    data[..., -1, -1] = 9
    return stack_from_array(data)


def test_self_training_without_averaged_weights_is_refused():
    plain = FAST.with_overrides({"optimisation.ema_decay": None})
    with pytest.raises(InputError, match=r"ema_decay is none; set it, or set self_training") as e:
        check_settings(plain)
    assert e.value.field == "optimisation.ema_decay"
    check_settings(plain.with_overrides({"self_training.is_on": False}))
    check_settings(FAST)
    check_settings(preset("paper"))


@pytest.mark.parametrize(("diameter", "expected"), [(None, 1), (20, 1), (40, 2), (90, 4), (100, 4)])
def test_the_working_scale_follows_the_stated_object(diameter, expected):
    settings = FAST.with_overrides({"image.object_diameter_px": diameter})
    assert working_scale(settings, flat(1, 40, 100)).reduction == expected


def test_micrometres_are_turned_into_pixels():
    settings = FAST.with_overrides({"image.object_diameter_um": 0.4})
    stack = flat(1, 200, 200, voxel_size_um=(0.05, 0.005, 0.005))
    assert working_scale(settings, stack) == WorkingScale(3, 0.005)


def test_an_object_wider_than_the_image_is_refused():
    settings = FAST.with_overrides({"image.object_diameter_px": 5000})
    message = r"about 5000 px wide does not fit into the image, whose longer side is 100 px"
    with pytest.raises(InputError, match=message) as e:
        working_scale(settings, flat(2, 40, 100))
    assert e.value.field == "image.object_diameter_px"


def test_an_object_as_wide_as_the_image_is_not_refused():
    settings = FAST.with_overrides({"image.object_diameter_px": 40})
    assert working_scale(settings, flat(2, 40, 40)).reduction == 2


def model():
    return Model(
        network=new_network(FAST, n_channels=1, n_classes=2),
        classes=CLASSES,
        working_scale=WorkingScale(1),
        n_channels=1,
        settings=FAST,
        stated_fractions=None,
        label_scale=LabelScale(1.0, (1.0, 1.0)),
        n_steps=3,
    )


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("classes", {"classes": ("background", "ring")}),
        ("image channels", {"n_channels": 3}),
        ("class outside", {"outside": "disc"}),
        ("network 'fast-unet' with 3", {"settings": FAST.with_overrides({"network.filters": 3})}),
        ("normalisation", {"settings": FAST.with_overrides({"image.normalisation": "range"})}),
    ],
)
def test_a_model_of_something_else_is_refused(name, changes):
    same = Annotations(CLASSES)
    check_model(model(), FAST, same, 1)
    check_model(model(), FAST.with_overrides({"loss.alpha": 0.1}), same, 1)
    with pytest.raises(InputError, match=rf"trained with {name} .*, not .*start a new run"):
        check_model(replace(model(), **changes), FAST, same, 1)


def test_only_a_checkpoint_with_the_same_classes_is_resumed(tmp_path):
    with pytest.raises(InputError, match="give run_dir"):
        stopped_run(None, Annotations(CLASSES))
    with pytest.raises(InputError, match="holds no checkpoint"):
        stopped_run(tmp_path, Annotations(CLASSES))
    scale = LabelScale(1.0, (1.0, 1.0))
    save_state(TrainingState({}, CLASSES, 3, None, 1.0, None, 0, WorkingScale(1), scale), tmp_path)
    assert stopped_run(tmp_path, Annotations(CLASSES)).step == 3
    with pytest.raises(InputError, match="begun with classes background, disc, not background, a"):
        stopped_run(tmp_path, Annotations(("background", "a")))
    with pytest.raises(InputError, match="begun with class outside None, not disc"):
        stopped_run(tmp_path, Annotations(CLASSES, outside="disc"))


def said(
    settings=FAST,
    stack=None,
    annotations=None,
    *,
    scale=FULL,
    has_held_out=False,
):
    annotations = annotations or Annotations(CLASSES, keypoints=(Keypoint(0, 1.0, 1.0, 1),))
    stack = stack or varied(1, 40, 100)
    return [
        message.text
        for message in remarks(settings, stack, annotations, scale=scale, has_held_out=has_held_out)
    ]


def test_full_resolution_by_default_is_told():
    (text,) = said()
    assert text.startswith("No object diameter was stated")
    assert said(FAST.with_overrides({"image.object_diameter_px": 20})) == []
    assert said(scale=WorkingScale(4)) == []  # that of an earlier run
    assert said(preset("paper"), has_held_out=True) == []


@pytest.mark.parametrize("shape", [(1, 40, 100), (3, 600, 8)])
def test_an_image_without_contrast_is_told_with_a_remedy(shape):
    settings = FAST.with_overrides({"image.object_diameter_px": 20})
    (text,) = said(settings, flat(*shape))
    assert "no contrast" in text
    assert "Check that this is the right image" in text
    assert said(settings, varied(*shape)) == []


def test_channels_of_different_grey_are_no_contrast():
    data = np.stack([np.zeros((40, 60), np.uint8), np.full((40, 60), 7, np.uint8)])
    settings = FAST.with_overrides({"image.object_diameter_px": 20})
    (text,) = said(settings, stack_from_array(data, axes="CYX"))
    assert text.startswith("The image has no contrast")
    data[1, 39, 59] = 8
    assert said(settings, stack_from_array(data, axes="CYX")) == []


def test_only_the_annotated_slices_need_contrast():
    data = np.zeros((3, 40, 60), np.uint8)
    data[2, 5, 5] = 1
    stack = stack_from_array(data)
    settings = FAST.with_overrides({"image.object_diameter_px": 20})
    points = tuple(Keypoint(z, 1.0, 1.0, 1) for z in (0, 2))
    (text,) = said(settings, stack, Annotations(CLASSES, keypoints=points[:1]))
    assert text.startswith("The annotated slices have no contrast")
    assert said(settings, stack, Annotations(CLASSES, keypoints=points)) == []


def test_what_was_changed_in_reading_is_told():
    stack, truth = blobs()
    notes = ("p.csv: renormalised.", "k.csv: column ignored.")
    settings = FAST.with_overrides({"image.object_diameter_px": 20})
    assert said(settings, stack, annotated(truth).replace(notes=notes)) == list(notes)


def test_nothing_held_out_is_told_where_it_was_asked_for():
    assert "nothing stops this run early" in said(preset("paper"))[0]


def test_images_of_several_pixel_sizes_are_told():
    images = [np.eye(80, dtype=np.uint8)] * 2
    settings = FAST.with_overrides({"image.object_diameter_um": 0.24})
    for sizes, expected in (
        ([0.005, 0.005], []),
        ([0.005, 0.01], ["pixels of 5 nm to 10 nm: the network sees them reduced by 2 to 1"]),
        ([0.005, 0.03], ["objects look 3.0 times as small"]),
    ):
        stack = stack_from_images(images, pixel_sizes_um=sizes)
        texts = said(settings, stack, scale=working_scale(settings, stack))
        assert len(texts) == len(expected)
        assert all(part in text for part, text in zip(expected, texts, strict=True))
