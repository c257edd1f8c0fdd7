"""What keypoints correct that was not learned: the errors that they lie on, in their image."""

from __future__ import annotations

import json
from functools import cache
from itertools import chain

import numpy as np
import pytest
import torch
from blobs import annotated, blobs, quick
from scipy import ndimage

from napari_spss.core.annotations import Keypoint, Region
from napari_spss.core.base import InputError, Message
from napari_spss.core.images import enlarge, resample_points
from napari_spss.core.prediction import predict, predict_regions, predict_slice
from napari_spss.core.training import fit, iter_training, load_model
from napari_spss.core.training.corrections import Corrections, errors_at

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def two_classes(values):
    """Maps (2, y, x) with these probabilities of class 1."""
    p = np.asarray(values, np.float32)
    return np.stack([1 - p, p])


def errors(probs, *keypoints, origin=(0, 0), width_px=6.0):
    points = np.array(keypoints, float)
    found = errors_at(two_classes(probs), points, width_px=width_px, origin=origin)
    return list(chain.from_iterable(found))


def test_the_object_that_is_none_is_found_whole_and_alone():
    probs = np.full((12, 20), 0.1)
    probs[3:7, 3:7] = 0.9
    probs[3:7, 8:11] = 0.9  # another one, within reach
    assert errors(probs, (4, 4, 0)) == [(y, 3, 7, 0) for y in range(3, 7)]


def test_a_missed_object_is_found_as_far_as_it_is_as_likely_and_near():
    probs = np.full((20, 20), 0.01)
    probs[2:18, 8:10] = 0.3
    found = errors(probs, (29, 48, 1), width_px=15.0, origin=(20, 40))
    assert [row for row, *_ in found] == list(range(24, 35))  # a third of the width on each side
    assert {span[1:] for span in found[1:-1]} == {(48, 50, 1)}


def test_what_the_map_heeds_is_no_error_and_keeps_its_half_of_an_object():
    probs = np.full((5, 12), 0.1)
    probs[2, 2:10] = 0.9
    assert errors(probs, (2, 3, 1)) == []
    assert errors(probs, (2, 3, 0), (2, 8, 1), width_px=12.0) == [(2, 2, 6, 0)]


@pytest.mark.parametrize("reduction", [1, 2, 3])
def test_a_click_is_denied_by_what_the_map_shows_at_full_resolution(reduction):
    rng = np.random.default_rng(0)
    maps = two_classes(np.clip(ndimage.gaussian_filter(rng.random((20, 20)), 2) * 6 - 2.5, 0, 1))
    labels = enlarge(torch.from_numpy(maps), (20 * reduction,) * 2, reduction).argmax(dim=0)
    for pixel in rng.integers(0, 20 * reduction, (100, 2)).tolist():
        y, x = resample_points(pixel, reduction)
        shown = int(labels[tuple(pixel)])
        assert errors(maps[1], (y, x, shown)) == []
        row, column = (at // reduction for at in pixel)
        spans = errors(maps[1], (y, x, 1 - shown))
        assert any(at == row and start <= column < end for at, start, end, _ in spans)


@cache
def trained(reduction):
    """Return a stack, what is known of it, the settings, and the model that they gave."""
    stack, truth = blobs(n_slices=3, size=64 * reduction if reduction > 1 else 64, seed=5)
    settings = quick(
        optimisation__max_steps=80,
        image__object_diameter_px=13 * reduction,
        image__target_diameter_px=13,
    )
    known = annotated(truth, n_grids=1)
    return stack, known, settings, fit(stack, known, settings, device="cpu")


def corrected(reduction=1, run_dir=None):
    """Return a stack, clicks that call found discs none, and the model after two steps more."""
    stack, known, settings, first = trained(reduction)
    labels = np.stack(predict(first, stack, device="cpu").labels)
    clicks = []
    for z in (1, 2):
        objects, n = ndimage.label(labels[z])
        assert n
        largest = 1 + np.bincount(objects.ravel())[1:].argmax()
        y, x = np.argwhere(objects == largest).mean(axis=0).round()
        clicks.append(Keypoint(z, y, x, 0))
        assert labels[z][clicks[-1].pixel] == 1
    again = known.replace(keypoints=tuple(clicks))
    two = settings.with_overrides({"optimisation.max_steps": 2})
    run = iter_training(stack, again, two, start_from=first, run_dir=run_dir, device="cpu")
    while True:
        try:
            next(run)
        except StopIteration as end:
            return stack, clicks, end.value


@pytest.mark.parametrize("reduction", [1, 2])
def test_what_was_not_learned_is_right_in_maps_of_its_image_alone(reduction):
    stack, clicks, model = corrected(reduction)
    plain = model.model_copy(update={"corrections": Corrections()})
    before = np.stack(predict(plain, stack, device="cpu").labels)
    after = np.stack(predict(model, stack, device="cpu").labels)
    assert model.corrections.n_keypoints == 2  # nobody learns in two steps
    for click in clicks:
        objects, _ = ndimage.label(before[click.slice])
        is_clicked = objects == objects[click.pixel]
        assert before[click.slice][click.pixel] == 1
        assert after[click.slice][click.pixel] == 0
        assert (after[click.slice][is_clicked] == 0).sum() >= 25
        others = (before[click.slice] == 1) & ~is_clicked
        assert after[click.slice][others].all()
    assert (after[0] == before[0]).all()
    other, _ = blobs(n_slices=3, size=stack.shape_of(0)[0], seed=6)
    for one in (model, plain):
        maps = predict_slice(one, other, 1, device="cpu")
        assert (maps == predict_slice(plain, other, 1, device="cpu")).all()


def test_boxes_are_set_right_like_whole_slices_and_it_is_told():
    stack, clicks, model = corrected()
    z, (y, x) = clicks[0].slice, clicks[0].pixel
    box = (max(0, y - 3), max(0, x - 5), y + 4, x + 6)
    whole = predict_slice(model, stack, z, device="cpu")
    part = predict_slice(model, stack, z, box=box, device="cpu")
    np.testing.assert_array_equal(
        part.argmax(axis=0), whole.argmax(axis=0)[box[0] : box[2], box[1] : box[3]]
    )
    told = {
        z: [
            event.text
            for event in predict_regions(model, stack, [Region(z)], lambda *_: None, device="cpu")
            if isinstance(event, Message)
        ]
        for z in (0, 1)
    }
    assert not [text for text in told[0] if "keypoint" in text]
    assert "2 keypoints of this image did not take effect in training" in "".join(told[1])


def test_corrections_are_kept_with_the_model_and_damaged_ones_are_refused(tmp_path):
    _, _, model = corrected(run_dir=tmp_path / "run")
    again = load_model(tmp_path / "run")
    assert again.corrections == model.corrections
    path = tmp_path / "run" / "model.json"
    record = json.loads(path.read_text())
    record["corrections"]["spans"]["1"][0][3] = 2
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"model\.json"):
        load_model(tmp_path / "run")
