"""Simulated persons of the study: what they do in a number of seconds; parts and hardships."""

from __future__ import annotations

import numpy as np
import pytest
from annotation.annotators import OBJECT_S, Plan, annotate, correct, look_again, wrong_nodes
from annotation.corrections import correction_clicks
from annotation.hardships import HARDSHIPS, made_hard
from annotation.images import Pictures, contact_sheets, folds_of, load_part, tiny_part

from napari_spss.core.annotations import Look

CLASSES = ("background", "disc")


@pytest.fixture
def pictures():
    return tiny_part("vnc", "report").train


def told(plan, pictures, *, budget_s=300.0, seed=0, classes=CLASSES):
    return annotate(plan, pictures, classes, budget_s=budget_s, seed=seed)


@pytest.mark.parametrize("kind", ["clicks", "paper-slices", "guesses", "regions", "empty"])
@pytest.mark.parametrize("budget_s", [60, 300, 600])
def test_seconds_are_kept_and_used(kind, budget_s, pictures):
    seconds = told(Plan(kind), pictures, budget_s=budget_s).seconds
    assert 0.75 * budget_s <= seconds <= budget_s


def test_five_minutes_are_four_grids_and_twelve_guesses(pictures):
    found = told(Plan("guesses"), pictures)
    assert found.seconds == 300
    assert found.acts["n_grids"] == 4
    assert found.acts["n_guesses"] == 12
    counted = {grid.slice for grid in found.annotations.grids}
    guessed = {one.region.slice for one in found.annotations.proportions}
    assert counted == {2, 6, 10, 14}
    assert counted | guessed == set(range(16))


def test_seeds_redraw_the_annotation(pictures):
    first, again, other = (told(Plan("guesses"), pictures, seed=seed) for seed in (0, 0, 1))
    assert first.annotations == again.annotations
    assert first.annotations != other.annotations


def test_more_slices_share_as_many_nodes(pictures):
    nodes = [told(Plan("guesses", n_grids=n, n_nodes=1024), pictures).acts["n_nodes"]
             for n in (2, 4, 8, 16)]  # fmt: skip
    assert all(900 <= n <= 1100 for n in nodes)


def test_a_person_without_errors_states_the_truth(pictures):
    exact = told(Plan("guesses", noise=0, bias=1, node_errors=0), pictures)
    for one in exact.annotations.proportions:
        mask = pictures.truth[one.region.slice]
        assert one.fractions[1] == pytest.approx((mask == 1).mean())


def test_ticks_are_on_tiles_without_objects(pictures):
    found = told(Plan("empty"), pictures)
    assert found.annotations.proportions
    for one in found.annotations.proportions:
        y0, x0, y1, x1 = one.region.box
        assert not pictures.truth[one.region.slice][y0:y1, x0:x1].any()


def test_slices_without_a_grid_are_told_what_lies_between_those_with_one(pictures):
    found = told(Plan("interpolated"), pictures).annotations
    counted = {one.slice: (one.class_index == 1).sum() / (one.class_index >= 0).sum()
               for one in found.grids}  # fmt: skip
    assert {one.region.slice for one in found.proportions} == {*range(len(pictures))} - {*counted}
    for one in found.proportions:
        before = max((z for z in counted if z < one.region.slice), default=min(counted))
        behind = min((z for z in counted if z > one.region.slice), default=max(counted))
        low, high = sorted((counted[before], counted[behind]))
        assert low - 1e-9 <= one.fractions[1] <= high + 1e-9
        assert sum(one.fractions) == pytest.approx(1)


def test_all_masks_cost_their_objects():
    masks = np.zeros((2, 64, 64), np.uint8)
    masks[0, 5:10, 5:10] = masks[0, 20:30, 20:30] = 1
    masks[1, 40:50, 40:50] = 2
    images = tuple(np.zeros((64, 64), np.uint8) for _ in masks)
    pictures = Pictures(("a", "b"), images, tuple(masks))
    found = told(Plan("masks"), pictures, classes=("background", "a", "b"))
    assert found.seconds == 3 * OBJECT_S
    assert found.annotations.is_empty


@pytest.mark.parametrize("budget_s", [100, 300, 1000])
def test_bought_masks_cost_no_more_than_the_seconds(budget_s, pictures):
    found = told(Plan("bought"), pictures, budget_s=budget_s, seed=3)
    assert budget_s - 2 * OBJECT_S < found.seconds <= budget_s
    assert len(found.masks) == len(found.pictures.images)
    assert sum(mask.any() for mask in found.masks) >= 1
    for image, mask in zip(found.pictures.images, found.masks, strict=True):
        assert image.shape == mask.shape


def test_too_few_seconds_for_a_mask_are_refused(pictures):
    with pytest.raises(ValueError, match="allow"):
        told(Plan("bought"), pictures, budget_s=30)


def test_a_correction_clicks_errors_and_costs_two_seconds_each(pictures):
    before = told(Plan("guesses"), pictures)
    nothing = [np.zeros_like(mask) for mask in pictures.truth]
    after = correct(before, nothing, 20, off_centre=0.5, seed=1)
    assert after.seconds == before.seconds + 40
    assert after.acts["n_clicks"] == 20
    for point in after.annotations.keypoints:
        y, x = point.pixel
        assert pictures.truth[point.slice][y, x] == point.class_index == 1


def discs():
    """Truth of two slices of 64 x 96: a large disc and a small one, alike in both."""
    y, x = np.mgrid[:64, :96]
    is_disc = ((y - 20) ** 2 + (x - 20) ** 2 <= 12**2) | ((y - 45) ** 2 + (x - 50) ** 2 <= 6**2)
    return np.stack([is_disc, is_disc]).astype(np.uint8)


def test_the_largest_errors_are_corrected_first():
    truth, found = discs(), discs()
    found[1, 45 - 7 : 45 + 8, 50 - 7 : 50 + 8] = 0  # the small disc is missed
    found[1, 50:60, 80:90] = 1  # something is wrongly found, 10 x 10
    found[0, 8:12] = 0  # the top of the large disc is missed
    first, second, third = correction_clicks(found, truth, 9, rng=np.random.default_rng(0))
    assert (first.slice, first.y, first.x, first.class_index) == (1, 45, 50, 1)
    assert (second.slice, second.class_index) == (1, 0)
    assert 53 <= second.y <= 56
    assert 83 <= second.x <= 86
    assert (third.slice, third.class_index) == (0, 1)
    assert correction_clicks(found, truth, 1, rng=np.random.default_rng(0)) == (first,)


def test_right_labels_and_pixels_without_a_class_need_no_correction():
    truth = discs()
    assert correction_clicks(truth, truth, 5, rng=np.random.default_rng(0)) == ()
    unknown = np.full_like(truth, 255)
    assert correction_clicks(truth, unknown, 5, rng=np.random.default_rng(0)) == ()


def test_parts_do_not_overlap():
    assert folds_of(["vnc", "axon"], "tune") == ["vnc", "axon-rat2"]
    for part in ("tune", "report"):
        for fold in folds_of(["vnc", "axon", "axonlarge"], part):
            found = tiny_part(fold, part)
            assert not set(found.train.names) & set(found.test.names)
    tuned = tiny_part("axon-rat2", "tune")
    assert not any(rat in name for rat in ("rat4", "rat6")
                   for name in (*tuned.train.names, *tuned.test.names))  # fmt: skip
    slices = {int(name) for one in (tiny_part("vnc", "tune"),)
              for name in (*one.train.names, *one.test.names)}  # fmt: skip
    assert max(slices) < 16


def test_contact_sheets_show_all_images_reduced_each_in_another_order():
    images = tuple(np.full((10, 12), 10 * i, np.uint8) for i in range(6))
    truth = tuple((image >= 30).astype(np.uint8) for image in images)
    sheets = contact_sheets(Pictures(tuple("abcdef"), images, truth), 2)
    first, second = sheets.images
    assert first.shape == (2 * 2, 3 * 3), "two rows of three, each reduced by 4"
    assert first[::2, ::3].tolist() == [[0, 10, 20], [30, 40, 50]]
    assert second[::2, ::3].tolist() == [[30, 40, 50], [0, 10, 20]]
    for image, mask in zip(sheets.images, sheets.truth, strict=True):
        assert ((image >= 30) == mask).all()


def test_sheets_are_large_fields_of_slices_that_are_apart():
    part = tiny_part("sheets", "report")
    assert [len(part.train), len(part.test)] == [4, 1]
    assert part.train.images[0].shape == (4 * 40, 4 * 40)
    assert part.test.images[0].shape == (2 * 40, 2 * 40)
    assert not set(part.train.names) & set(part.test.names)
    assert part.diameter_px == 10
    told = annotate(Plan("frames", tile_px=40), part.train, part.classes, budget_s=150, seed=0)
    assert told.acts["n_nodes"] == pytest.approx(150 / (60 / 256), rel=0.1)
    assert told.annotations.grids[0].box is not None


def test_hardships_change_what_they_say():
    part = tiny_part("vnc", "tune")
    inverted = made_hard(part, "inverted")
    assert (inverted.test.images[0] == 255 - part.test.images[0]).all()
    drift = made_hard(part, "drift")
    means = [image.mean() for image in (*drift.train.images, *drift.test.images)]
    assert (np.diff(means) > 0).all()
    assert made_hard(part, "diameter-half").diameter_px == part.diameter_px / 2
    empty = made_hard(part, "empty-stack")
    assert not any(mask.any() for mask in (*empty.train.truth, *empty.test.truth))
    single = made_hard(part, "one-slice")
    assert sum(mask.any() for mask in single.train.truth) == 1
    assert all(mask.any() for mask in single.test.truth)
    assert made_hard(part, None) is part
    beside = made_hard(part, "neighbours").test.images
    assert (beside[1] == np.stack(part.test.images[:3])).all()
    assert (beside[-1] == np.stack([*part.test.images[-2:], part.test.images[-1]])).all()
    assert set(HARDSHIPS) >= {"inverted", "drift", "empty-stack", "one-slice"}


def test_real_parts(shared_data):
    vnc = load_part(shared_data, "vnc", "report")
    assert [one.partition(".")[0] for one in vnc.test.names] == ["16", "17", "18", "19"]
    assert len(vnc.train) == 16
    sheets = load_part(shared_data, "sheets", "report")
    assert {size for image in sheets.train.images for size in image.shape} == {1020, 1024}
    share = np.mean([mask.mean() for mask in sheets.test.truth])
    assert share == pytest.approx(np.mean([mask.mean() for mask in vnc.test.truth]), rel=0.05)
    large = load_part(shared_data, "axonlarge-rat4", "report")
    assert [name.split("_")[0] for name in large.train.names] == ["sub-rat2", "sub-rat5"]
    assert {name.split("_")[0] for name in large.test.names} == {"sub-rat4"}
    axon = load_part(shared_data, "axon-rat2", "tune")
    assert (len(axon.train), len(axon.test)) == (5, 1)
    assert {int(value) for mask in axon.train.truth for value in np.unique(mask)} == {0, 1, 2}


def test_nine_of_ten_second_looks_are_right(pictures):
    plan = Plan("grids", node_errors=0.2)
    before = told(plan, pictures)
    looks = [
        Look(grid.region, y, x, int(c), 0, 0.5)
        for grid in before.annotations.grids
        for y, x, c in zip(grid.y.tolist(), grid.x.tolist(), grid.class_index, strict=True)
        if c >= 0
    ]
    after, judged = look_again(before, looks, seed=0)
    share = wrong_nodes(after) / len(looks)
    assert wrong_nodes(before) / len(looks) == pytest.approx(0.2, abs=0.05)
    assert share == pytest.approx(0.1, abs=0.03)
    assert after.seconds == before.seconds + 3 * len(looks)
    assert sum(look.is_changed for look in judged) > 0.1 * len(looks)
    assert "looked at again" in after.text
