"""The loss of a step: closed forms, what depends on what, regions beyond their window."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from divergence import binary_kl
from hypothesis import given, settings, strategies as st
from samples_in_memory import bag, sample, whole

from napari_spss.core.annotations import Classes
from napari_spss.core.base import preset
from napari_spss.core.networks import keypoint_loss
from napari_spss.core.training.data import Window, cut
from napari_spss.core.training.loss_terms import LossInput, predicted_fractions, step_loss
from napari_spss.core.training.samples import LabelScale
from napari_spss.core.training.self_training import SliceMap

LN2 = math.log(2)


def objective(*, n_classes=2, normaliser=1.0, slots=1, **changes):
    """What a loss is made with, settings of the group loss (and self_training) changed."""
    names = {"weight": "self_training.weight", "band": "self_training.band"}
    overrides = {"loss.alpha": 0.5, "loss.proportions": "kl", "loss.labels": "fixed"}
    overrides |= {"loss.sharpness": 0.0, "self_training.weight": 1.0, "self_training.band": 0.0}
    overrides |= {names.get(name, f"loss.{name}"): value for name, value in changes.items()}
    chosen = preset("fast").with_overrides(overrides)
    classes = Classes(("background", *map(str, range(1, n_classes))))
    scale = LabelScale(normaliser, (1.0,) * n_classes)
    return {"settings": chosen, "scale": scale, "n_labelled_slots": slots, "classes": classes}


def batch_of(samples, shape, *places):
    """One window of every sample, at its first pixel unless said."""
    places = places or [(0, 0)] * len(samples)
    windows = [
        Window(i, y, x, s.bags) for i, (s, (y, x)) in enumerate(zip(samples, places, strict=True))
    ]
    return cut(samples, windows, shape)


def evaluate(loss, logits, batch, *, teacher=None, slice_maps=None, ramp=0.0):
    maps = [SliceMap.of(one) for one in slice_maps or ()] or [None] * len(batch.windows)
    now = None if teacher is None else lambda: teacher
    return step_loss(LossInput(logits, batch, now, maps, ramp, **loss))


def zeros(n, shape, outputs=1):
    return torch.zeros(n, outputs, *shape, requires_grad=True)


def random_logits(n, shape, outputs=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, outputs, *shape, generator=generator).requires_grad_()


def gradient(loss, logits, batch, **kwargs):
    """Gradient of the total loss with respect to the logits."""
    copy = logits.detach().clone().requires_grad_()
    evaluate(loss, copy, batch, **kwargs).total.backward()
    return copy.grad


# -- labels ----------------------------------------------------------------------------------------


def test_labels_cost_their_weight_over_a_constant():
    one = sample((8, 8), labels={(1, 1): 1, (5, 2): 0, (7, 7): 1}, weight=2.0)
    loss = objective(normaliser=3.0, slots=4, alpha=0.25)
    result = evaluate(loss, zeros(1, (8, 8)), batch_of([one], (8, 8)))
    expected = 0.75 * 3 * 2.0 * LN2 / (3.0 * 4)
    assert result.parts["labels"] == pytest.approx(expected)
    assert result.parts["total"] == pytest.approx(expected)
    assert float(result.total.detach()) == pytest.approx(expected)
    assert result.proportion_error is None


def test_a_label_costs_more_in_a_slice_that_is_shown_in_part():
    shown = {"labels": {(1, 1): 1}}
    small, large = sample((8, 8), **shown), sample((16, 32), **shown)
    costs = [
        evaluate(objective(), zeros(1, (8, 8)), batch_of([one], (8, 8))).parts["labels"]
        for one in (small, large)
    ]
    assert costs[1] == pytest.approx(costs[0] * 16 * 32 / 64)


@settings(max_examples=40, deadline=None)
@given(
    n_added=st.integers(1, 64),
    class_index=st.sampled_from([0, 1]),
    has_bags=st.booleans(),
    seed=st.integers(0, 9),
)
def test_the_gradient_of_a_label_does_not_depend_on_its_batch_mates(
    n_added, class_index, has_bags, seed
):
    bags = [whole((8, 8), (0.75, 0.25))] if has_bags else []
    first = sample((8, 8), labels={(1, 1): 1, (6, 3): 0}, bags=bags)
    places = [(i // 8, i % 8) for i in range(n_added)]
    added = sample(
        (8, 8), index=1, labels=dict.fromkeys(places, class_index), bags=bags, weight=7.0
    )
    unlabelled = sample((8, 8), index=1, bags=bags)
    loss = objective(slots=2, normaliser=2.0)
    logits = random_logits(2, (8, 8), seed=seed)
    alone, beside = (
        gradient(loss, logits, batch_of([first, mate], (8, 8))) for mate in (unlabelled, added)
    )
    torch.testing.assert_close(beside[0], alone[0], rtol=0, atol=0)
    assert not torch.equal(beside[1], alone[1])


def test_the_gradient_of_a_label_does_not_depend_on_others_in_its_window():
    before = sample((8, 8), labels={(1, 1): 1})
    after = sample((8, 8), labels={(1, 1): 1, (1, 2): 0, (6, 6): 1, (0, 7): 1})
    logits = random_logits(1, (8, 8))
    old, new = (gradient(objective(), logits, batch_of([s], (8, 8))) for s in (before, after))
    assert old[0, 0, 1, 1] == new[0, 0, 1, 1] != 0


def test_as_printed_it_does():
    first = sample((8, 8), labels={(1, 1): 1})
    more = sample((8, 8), labels={(1, 1): 1, (2, 2): 1})
    loss = objective(labels="eq3", alpha=0.25)
    logits = random_logits(1, (8, 8))
    one, two = (batch_of([s], (8, 8)) for s in (first, more))
    found = evaluate(loss, logits, two).parts["labels"]
    assert found == pytest.approx(0.75 * float(keypoint_loss(logits, two.targets).detach()))
    ratio = gradient(loss, logits, one)[0, 0, 1, 1] / gradient(loss, logits, two)[0, 0, 1, 1]
    assert ratio == pytest.approx(2)


# -- masks -----------------------------------------------------------------------------------------


def masked(shape=(8, 8), index=0):
    one = sample(shape, index=index, is_mask=True, is_calibrated=True)
    one.target[:] = 0
    one.target[:, :4] = 1
    one.weight[:] = 1
    return one


def test_a_full_mask_costs_mean_cross_entropy_plus_dice():
    result = evaluate(objective(alpha=0.9), zeros(1, (8, 8)), batch_of([masked()], (8, 8)))
    dice = 1 - (2 * 0.5 * 32 + 1) / (0.5 * 64 + 32 + 1)
    assert result.parts == pytest.approx({"masks": LN2 + dice, "total": LN2 + dice})


def test_a_full_mask_can_cost_cross_entropy_alone():
    one = masked()
    one.target[0] = -1
    loss = objective(masks="entropy")
    parts = evaluate(loss, zeros(1, (8, 8)), batch_of([one], (8, 8))).parts
    assert parts == pytest.approx({"masks": LN2, "total": LN2})


def test_labels_beside_masks_keep_their_gradient():
    clicked = sample((8, 8), labels={(1, 1): 1})
    logits = random_logits(2, (8, 8))
    beside, alone = (
        gradient(objective(slots=2), logits, batch_of([clicked, mate], (8, 8)))
        for mate in (masked(index=1), sample((8, 8), index=1))
    )
    torch.testing.assert_close(beside[0], alone[0], rtol=0, atol=0)
    parts = evaluate(objective(slots=2), logits, batch_of([clicked, masked()], (8, 8))).parts
    assert set(parts) == {"labels", "masks", "total"}


def test_masks_beside_unlabelled_slices_need_no_scale_of_labels():
    mate = sample((8, 8), bags=[whole((8, 8), (0.5, 0.5))])
    loss = objective(normaliser=0.0)
    result = evaluate(loss, zeros(2, (8, 8)), batch_of([masked(), mate], (8, 8)))
    assert all(math.isfinite(value) for value in result.parts.values())
    assert result.parts["masks"] > 0
    assert result.parts["labels"] == 0


# -- proportions -----------------------------------------------------------------------------------


def constant(p, shape=(8, 8), n=1):
    """Logits of a constant map p."""
    return torch.full((n, 1, *shape), math.log(p / (1 - p)), requires_grad=True)


def of_slice(*fractions, shape=(8, 8), **bounds):
    return sample(shape, bags=[bag((0, 0, *shape), fractions, **bounds)])


@pytest.mark.parametrize(
    ("form", "expected"), [("mse", 0.15**2), ("kl", binary_kl(0.1, 0.25)), ("interval", 0.0)]
)
def test_the_forms_of_the_proportion_loss(form, expected):
    one = of_slice(0.9, 0.1, low=(0.7, 0.05), high=(0.95, 0.3))
    loss = objective(proportions=form, alpha=0.5)
    result = evaluate(loss, constant(0.25), batch_of([one], (8, 8)))
    assert result.parts["proportions"] == pytest.approx(0.5 * expected, rel=1e-4, abs=1e-7)
    assert result.proportion_error == pytest.approx(0.15)


def test_outside_the_interval_the_nearest_bound_is_what_is_stated():
    one = of_slice(0.9, 0.1, low=(0.8, 0.05), high=(0.95, 0.2))
    loss = objective(proportions="interval", alpha=1)
    result = evaluate(loss, constant(0.5), batch_of([one], (8, 8)))
    assert result.parts["proportions"] == pytest.approx(binary_kl(0.2, 0.5), rel=1e-4)


@pytest.mark.parametrize("form", ["mse", "kl", "interval"])
def test_of_unknown_fractions_only_the_sum_is_asked(form):
    one = of_slice(None, 0.25, None)
    loss = objective(n_classes=3, proportions=form)
    logits = random_logits(1, (8, 8), outputs=3)
    grad = gradient(loss, logits, batch_of([one], (8, 8)))
    probs = logits.detach().softmax(1)
    # moving probability between the two unknown classes costs nothing
    share = probs[:, 0] / (probs[:, 0] + probs[:, 2])
    torch.testing.assert_close(grad[:, 0], share * (grad[:, 0] + grad[:, 2]))
    assert grad[:, 1].abs().max() > 0


def test_a_slice_of_which_nothing_is_known_costs_nothing():
    loss = objective()
    result = evaluate(loss, zeros(1, (8, 8)), batch_of([sample((8, 8))], (8, 8)))
    assert result.parts == {"total": 0.0}
    assert result.proportion_error is None
    result.total.backward()


FORMS = {"mse": 0.15**2, "kl": binary_kl(0.1, 0.25), "interval": binary_kl(0.1, 0.25)}
"""Cost of .25 where .1 is stated."""


@pytest.mark.parametrize("form", FORMS)
def test_proportions_weigh_the_same_whatever_else_is_in_the_batch(form):
    stated, other = of_slice(0.9, 0.1), of_slice(0.2, 0.8)
    logits = random_logits(2, (8, 8))
    grads = [
        gradient(objective(proportions=form), logits, batch_of([stated, mate], (8, 8)))[0]
        for mate in (other, sample((8, 8)))
    ]
    torch.testing.assert_close(*grads, rtol=0, atol=0)


@pytest.mark.parametrize(("form", "cost"), FORMS.items())
def test_several_regions_of_a_window_share_its_weight(form, cost):
    left, right = bag((0, 0, 8, 4), (0.9, 0.1)), bag((0, 4, 8, 8), (0.9, 0.1))
    right_there = sample((8, 8), bags=[bag((0, 0, 8, 8), (0.75, 0.25))])
    result = evaluate(
        objective(alpha=1, proportions=form),
        constant(0.25, n=2),
        batch_of([sample((8, 8), bags=[left, right]), right_there], (8, 8)),
    )
    assert result.parts["proportions"] == pytest.approx(cost / 2, rel=1e-4)


# -- regions beyond their window -------------------------------------------------------------------


@settings(max_examples=80)
@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    window_height=st.integers(1, 20),
    window_width=st.integers(1, 20),
    data=st.data(),
)
def test_completed_by_its_memory_a_region_has_the_fractions_of_the_whole_slice(
    height, width, window_height, window_width, data
):
    probs = random_logits(1, (height, width), outputs=3, seed=height).detach().softmax(1)[0]
    y0, oy = (data.draw(st.integers(0, height - 1)) for _ in range(2))
    x0, ox = (data.draw(st.integers(0, width - 1)) for _ in range(2))
    y1 = data.draw(st.integers(y0 + 1, height))
    x1 = data.draw(st.integers(x0 + 1, width))
    region = bag((y0, x0, y1, x1), (None,) * 3)
    # what the window shows beyond the slice must not count
    window = torch.full((3, window_height, window_width), 1e6)
    seen = probs[:, oy : oy + window_height, ox : ox + window_width]
    window[:, : seen.shape[1], : seen.shape[2]] = seen
    rows = max(0, min(y1, oy + window_height) - max(y0, oy))
    columns = max(0, min(x1, ox + window_width) - max(x0, ox))
    found = predicted_fractions(window, (oy, ox), region, SliceMap.of(probs))
    assert (found is None) == (rows * columns == 0)
    if found is None:
        return
    torch.testing.assert_close(found, probs[:, y0:y1, x0:x1].mean((1, 2)), atol=1e-5, rtol=0)
    own = predicted_fractions(window, (oy, ox), region, None)
    top, left = max(y0, oy), max(x0, ox)
    expected = probs[:, top : top + rows, left : left + columns].mean((1, 2))
    torch.testing.assert_close(own, expected, atol=1e-5, rtol=0)


def test_fractions_are_those_of_what_is_covered_completed_by_memory():
    probs = random_logits(1, (12, 16), outputs=3).detach().softmax(1)[0]
    coverage = torch.zeros(12, 10)
    coverage[2:7, 3:9] = 1
    window = torch.where(coverage > 0, probs[:, :, :10], 1e6)
    region = bag((1, 0, 12, 16), (None,) * 3)
    own = predicted_fractions(window, (0, 0), region, None, coverage=coverage)
    torch.testing.assert_close(own, probs[:, 2:7, 3:9].mean((1, 2)))
    found = predicted_fractions(window, (0, 0), region, SliceMap.of(probs), coverage=coverage)
    torch.testing.assert_close(found, probs[:, 1:].mean((1, 2)))
    hidden = bag((8, 0, 12, 16), (None,) * 3)
    assert (
        predicted_fractions(window, (0, 0), hidden, SliceMap.of(probs), coverage=coverage) is None
    )


def test_nothing_is_taught_where_the_network_did_not_see():
    one = replace(sample((8, 8), labels={(1, 1): 1, (6, 6): 0}), bags=(whole((8, 8), (0.5, 0.5)),))
    is_seen = torch.zeros(1, 8, 8, dtype=torch.bool)
    is_seen[:, 4:] = True
    batch = batch_of([one], (8, 8)).seen(is_seen)
    teacher = random_logits(1, (8, 8), outputs=2, seed=4).detach().softmax(1)
    slopes = gradient(
        objective(sharpness=0.1), random_logits(1, (8, 8)), batch, teacher=teacher, ramp=1.0
    )
    assert not slopes[0, 0, :4].any()
    assert slopes[0, 0, 4:].all()


def test_a_window_speaks_for_the_part_of_the_region_that_is_not_shown():
    """Its pixels get the gradient that they would have if all of the region were shown."""
    one = of_slice(0.9, 0.1, shape=(8, 16))
    logits = random_logits(1, (8, 16))
    slice_map = torch.cat([torch.sigmoid(-logits), torch.sigmoid(logits)], 1)[0].detach()
    shown_whole = gradient(objective(), logits, batch_of([one], (8, 16)))
    half = logits[..., :8]
    shown_half = gradient(objective(), half, batch_of([one], (8, 8)), slice_maps=[slice_map])
    torch.testing.assert_close(shown_half, 2 * shown_whole[..., :8], rtol=1e-3, atol=1e-9)


# -- self-training and sharpness -------------------------------------------------------------------


def teacher_of(values):
    p = torch.as_tensor(np.array(values), dtype=torch.float32)
    return torch.stack([1 - p, p])[None]


ROWS = np.linspace(0.9, 0.1, 64).reshape(8, 8)


def test_self_training_asks_for_the_teacher_s_likeliest_pixels():
    one = of_slice(0.75, 0.25)
    loss = objective(weight=0.5)
    logits = random_logits(1, (8, 8))
    parts = evaluate(
        loss, logits, batch_of([one], (8, 8)), teacher=teacher_of(ROWS), ramp=0.4
    ).parts
    target = torch.zeros(8, 8)
    target[:2] = 1
    p = torch.sigmoid(logits.detach()[0, 0])
    entropy = torch.nn.functional.binary_cross_entropy(p, target)
    dice = 1 - (2 * (p * target).sum() + 1) / (p.sum() + target.sum() + 1)
    assert parts["self_training"] == pytest.approx(0.5 * 0.4 * float(entropy + dice), rel=1e-4)


def test_what_the_user_said_overrides_the_teacher():
    labels = {(0, 0): 0, (7, 7): 1}
    bare, told = (
        of_slice(0.75, 0.25),
        sample((8, 8), labels=labels, bags=[whole((8, 8), (0.75, 0.25))]),
    )
    told.weight[:] = 0  # so that only the pseudo-labels count
    logits = constant(0.5)
    grads = [
        gradient(objective(), logits, batch_of([s], (8, 8)), teacher=teacher_of(ROWS), ramp=1.0)[
            0, 0
        ]
        for s in (bare, told)
    ]
    signs = [torch.sign(grad) for grad in grads]
    assert (signs[0][0, 0], signs[0][7, 7]) == (-1, 1)
    assert (signs[1][0, 0], signs[1][7, 7]) == (1, -1)
    assert int((signs[0] != signs[1]).sum()) == 2


def test_self_training_needs_a_fraction_and_leaves_masks_alone():
    for samples in ([sample((8, 8))], [masked()]):
        batch = batch_of(samples, (8, 8))
        parts = evaluate(
            objective(), zeros(1, (8, 8)), batch, teacher=teacher_of(ROWS), ramp=1.0
        ).parts
        assert "self_training" not in parts
    one = batch_of([of_slice(0.75, 0.25)], (8, 8))
    assert "self_training" not in evaluate(objective(), zeros(1, (8, 8)), one).parts
    off = evaluate(objective(), zeros(1, (8, 8)), one, teacher=teacher_of(ROWS), ramp=0.0)
    assert "self_training" not in off.parts


def test_in_a_window_of_a_large_slice_the_whole_slice_decides_the_threshold():
    one = of_slice(0.75, 0.25, shape=(8, 16))
    batch = batch_of([one], (8, 8))
    shown = ROWS / 2 + 0.25
    # the rest of the slice is likelier, or less likely, than all that the window shows
    slice_maps = [teacher_of(np.hstack([shown, shown + shift]))[0] for shift in (0.4, -0.4)]
    likelier, less_likely = (
        gradient(
            objective(alpha=0),
            constant(0.5),
            batch,
            teacher=teacher_of(shown),
            slice_maps=[slice_map],
            ramp=1.0,
        )
        for slice_map in slice_maps
    )
    assert (likelier > 0).all()  # all of the window is background
    assert (less_likely < 0).sum() == 32  # a quarter of 128 pixels, all of them in the window


def test_undecided_pixels_cost_only_where_the_slice_is():
    one = sample((8, 4))
    batch = batch_of([one], (8, 8))
    logits = zeros(1, (8, 8))
    loss = objective(sharpness=2.0)
    assert evaluate(loss, logits, batch, ramp=0.5).parts["sharpness"] == pytest.approx(
        2 * 0.5 * 0.25
    )
    assert "sharpness" not in evaluate(loss, logits, batch, ramp=0.0).parts
    decided = torch.full((1, 1, 8, 8), 20.0)
    decided[..., 4:] = 0.0
    assert evaluate(loss, decided, batch, ramp=1.0).parts["sharpness"] == pytest.approx(0, abs=1e-6)


def test_the_total_is_the_sum_of_its_parts():
    one = replace(of_slice(0.75, 0.25), target=sample((8, 8), labels={(0, 0): 0}).target)
    one.weight[0, 0] = 1
    loss = objective(sharpness=1.0)
    logits = random_logits(1, (8, 8))
    batch = batch_of([one], (8, 8))
    result = evaluate(loss, logits, batch, teacher=teacher_of(ROWS), ramp=1.0)
    parts = dict(result.parts)
    assert set(parts) == {"proportions", "labels", "self_training", "sharpness", "total"}
    total = parts.pop("total")
    assert total == pytest.approx(sum(parts.values()), rel=1e-5)
    assert float(result.total.detach()) == pytest.approx(total)


def test_the_fraction_of_a_frame_counts_only_where_it_is_shown():
    frames = [bag((0, 0, 4, 4), (0.0, 1.0)), bag((12, 12, 16, 16), (1.0, 0.0))]
    made = sample((16, 16), bags=frames)
    teacher = torch.full((1, 2, 8, 8), 0.5)
    teacher[:, 1, 0, 0] = 0.6
    logits = zeros(1, (8, 8))
    loss = objective(alpha=1.0, proportions="mse")
    elsewhere = evaluate(loss, logits, batch_of([made], (8, 8), (4, 4)), teacher=teacher, ramp=1.0)
    assert "proportions" not in elsewhere.parts
    assert elsewhere.parts["total"] == 0.0
    for place, rows in (((0, 0), slice(0, 4)), ((8, 8), slice(4, 8))):
        batch = batch_of([made], (8, 8), place)
        found = gradient(loss, logits, batch)[0, 0]
        inside = torch.zeros(8, 8, dtype=torch.bool)
        inside[rows, rows] = True
        assert bool((found[inside] != 0).all())
        assert bool((found[~inside] == 0).all())


def test_a_change_in_the_window_is_taken_to_hold_for_the_whole_region():
    """What the window shows fell from .5 to .2, the earlier mean of the whole was .4."""
    slice_map = torch.tensor([0.5, 0.3]).repeat_interleave(8).expand(8, 16)
    slice_map = SliceMap.of(torch.stack([1 - slice_map, slice_map]))
    now = torch.full((2, 8, 8), 0.2)
    found = predicted_fractions(now, (0, 0), bag((0, 0, 8, 16), (None, None)), slice_map)
    torch.testing.assert_close(found[1], torch.tensor(0.1))
    fallen = torch.full((2, 8, 8), 0.05)  # .05 + .4 - .5 would be negative
    found = predicted_fractions(fallen, (0, 0), bag((0, 0, 8, 16), (None, None)), slice_map)
    torch.testing.assert_close(found[1], torch.tensor(0.005))
