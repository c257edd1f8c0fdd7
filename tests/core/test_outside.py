"""The class outside: learned like the others, excluded from all fractions, the same everywhere."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
import torch
from blobs import blobs, counted, iou, quick
from samples_in_memory import bag, sample, whole

from napari_spss.core.analysis import measure
from napari_spss.core.annotations import (
    Annotations,
    Classes,
    CountingGrid,
    Keypoint,
    Proportion,
    Region,
    read_annotations,
    wilson_interval,
    write_annotations,
)
from napari_spss.core.base import InputError, Message, Progress, preset
from napari_spss.core.images import stack_from_array
from napari_spss.core.networks import inside_maps
from napari_spss.core.prediction import predict
from napari_spss.core.simulation import simulate, write_simulation
from napari_spss.core.simulation.cost import combine
from napari_spss.core.simulation.degrade import degrade
from napari_spss.core.training import RunFolder, RunInputs, fit, iter_training, load_model
from napari_spss.core.training.data import TrainingData, Window, cut
from napari_spss.core.training.loss_terms import LossInput, predicted_fractions, step_loss
from napari_spss.core.training.samples import LabelScale
from napari_spss.core.training.self_training import SliceMap, pseudo_labels

CLASSES = ("background", "mito", "resin")
RESIN = 2


def said(*proportions, **parts):
    return Annotations(CLASSES, proportions=proportions, outside="resin", **parts)


def grid_of(*n_nodes, slice=0):
    """Return a done grid with so many nodes on each class."""
    marks = np.repeat(np.arange(len(n_nodes)), n_nodes)
    return CountingGrid(slice, 1.0, 0.0, 0.0, np.arange(marks.size), marks * 0, marks, True)


# Annotations --------------------------------------------------------------------------------------


def test_the_class_outside_is_found_by_its_name():
    assert Annotations(CLASSES, outside="Resin").outside == "resin"
    assert Annotations(CLASSES, outside="resin").outside_index == RESIN
    assert Annotations(CLASSES).outside_index is None
    moved = said(keypoints=(Keypoint(0, 1, 1, RESIN),)).with_classes(("bg", "resin", "mito"))
    assert (moved.outside, moved.outside_index) == ("resin", 1)
    assert moved.keypoints[0].class_index == 1


@pytest.mark.parametrize(("name", "match"), [("tube", "not among"), ("Background", "of its own")])
def test_a_class_that_cannot_be_outside_is_refused(name, match):
    with pytest.raises(InputError, match=match):
        Annotations(CLASSES, outside=name)


@pytest.mark.parametrize(
    "proportion",
    [
        Proportion(Region(0), (0.5, 0.2, 0.3)),
        Proportion(Region(0), (None, 0.2, None), high=(None, None, 0.5)),
    ],
)
def test_a_stated_fraction_of_what_is_outside_is_refused(proportion):
    with pytest.raises(InputError, match=r"'resin' is stated .* counts in no fraction"):
        said(proportion)


def test_fractions_are_those_of_the_rest_and_sum_to_one():
    (one,) = said(Proportion(Region(0), (None, 0.2, None))).effective_proportions()
    assert one.fractions == (0.8, 0.2, 0.0)
    (one,) = said(Proportion(Region(0), (0.808, 0.202, None))).effective_proportions()
    assert one.fractions == pytest.approx((0.8, 0.2, 0.0))
    assert said(Proportion(Region(0), (0.8, 0.2, 0.0))).proportions[0].fractions[RESIN] is None


def test_fractions_that_leave_a_rest_for_the_outside_are_a_problem():
    low = Proportion(Region(0), (0.5, 0.2, None))
    with pytest.raises(InputError, match=r"sum to 0\.7"):
        said(low).validate_against(None)
    Annotations(CLASSES, (low,)).validate_against(None)


def test_nodes_on_the_outside_do_not_count():
    one = grid_of(30, 10, 60).proportion(3, outside=RESIN)
    assert one.fractions == (0.75, 0.25, 0.0)
    assert one.bounds() == (wilson_interval(30, 40), wilson_interval(10, 40), None)
    assert said(grids=(grid_of(30, 10, 60),)).effective_proportions() == (one,)


def test_a_grid_wholly_on_the_outside_states_nothing():
    typed = Proportion(Region(0), (0.9, 0.1, None))
    annotations = said(typed, grids=(grid_of(0, 0, 9), grid_of(0, 0, 9, slice=1)))
    (one,) = annotations.effective_proportions()
    assert one.fractions == (0.9, 0.1, 0.0)
    assert not annotations.is_empty


# Files --------------------------------------------------------------------------------------------


def test_the_outside_needs_no_column(tmp_path):
    (tmp_path / "p.csv").write_text("slice,mito\n0,20%\n")
    (tmp_path / "k.csv").write_text("slice,y,x,class\n0,5,5,resin\n")
    found = read_annotations(
        proportions=tmp_path / "p.csv", keypoints=tmp_path / "k.csv", outside="resin"
    )
    assert (found.classes, found.outside) == (CLASSES, "resin")
    assert found.proportions[0].fractions == (0.8, 0.2, None)
    write_annotations(tmp_path, found)
    again = read_annotations(
        proportions=tmp_path / "proportions.csv",
        keypoints=tmp_path / "keypoints.csv",
        outside="resin",
    )
    assert again == found


def test_a_cell_that_states_the_outside_is_a_problem_of_that_cell(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("slice,mito,resin,resin_high\n0,0.2,,\n1,0.2,0.5,\n2,0.2,0,0.4\n3,0.2,0,\n")
    with pytest.raises(InputError) as caught:
        read_annotations(proportions=path, outside="resin")
    assert [(p.row, p.column) for p in caught.value.problems] == [(3, "resin"), (4, "resin_high")]


def test_sums_in_a_file_are_those_of_the_rest(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("slice,background,mito,resin\n0,0.5,0.2,\n")
    with pytest.raises(InputError, match=r"sum to 0\.7"):
        read_annotations(proportions=path, outside="resin")
    path.write_text("slice,background,mito,resin\n0,0.81,0.2,\n")
    found = read_annotations(proportions=path, outside="resin")
    assert math.fsum(found.proportions[0].fractions[:2]) == pytest.approx(1)
    assert "renormalised" in found.notes[0]


def test_a_run_folder_remembers_the_outside(tmp_path):
    annotations = said(Proportion(Region(0), (0.8, 0.2, None)))
    RunFolder(tmp_path).begin(preset("fast"), annotations, RunInputs("image", "id"))
    assert RunFolder(tmp_path).annotations() == annotations


# Losses -------------------------------------------------------------------------------------------


def logits_of(seed=0, shape=(8, 8), n=1):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(n, 3, *shape, generator=generator)


def test_inside_maps_leave_the_values_and_take_the_gradient_of_the_outside():
    logits = logits_of().requires_grad_()
    maps = inside_maps(logits.softmax(dim=1), RESIN)
    torch.testing.assert_close(maps[:, :2], logits.softmax(dim=1)[:, :2])
    assert not maps[:, RESIN].any()
    pattern = torch.randn(maps.shape, generator=torch.Generator().manual_seed(1))
    (found,) = torch.autograd.grad((maps * pattern).sum(), logits)
    share = (1 - logits.softmax(dim=1)[:, [RESIN]]).detach()
    expected = share * logits[:, :2].softmax(dim=1) * pattern[:, :2]
    (wanted,) = torch.autograd.grad(expected.sum(), logits)
    assert found[:, RESIN].abs().max() < 1e-6 < found[:, 0].abs().max()
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("level", [20.0, 200.0])
def test_maps_of_what_is_wholly_outside_are_zero_with_a_finite_gradient(level):
    logits = logits_of()
    logits[:, RESIN] = level
    logits.requires_grad_()
    maps = inside_maps(logits.softmax(dim=1), RESIN)
    maps[:, 1].sum().backward()
    assert maps.max() < 1e-5
    assert logits.grad.isfinite().all()


def test_predicted_fractions_are_those_of_the_rest():
    probs = torch.zeros(3, 2, 8)
    probs[:, :, :4] = torch.tensor([0.0, 0.0, 1.0])[:, None, None]
    probs[:, :, 4:] = torch.tensor([0.3, 0.2, 0.5])[:, None, None]
    one = bag((0, 0, 2, 8), (0.5, 0.5, 0.0))
    found = predicted_fractions(probs, (0, 0), one, None, outside=RESIN)
    torch.testing.assert_close(found, torch.tensor([0.6, 0.4, 0.0]))
    part = bag((0, 0, 2, 4), (0.5, 0.5, 0.0))
    assert predicted_fractions(probs, (0, 0), part, None, outside=RESIN) is None


def test_a_region_beyond_the_window_is_estimated_as_a_ratio():
    slice_map = torch.zeros(3, 1, 10)
    slice_map[RESIN, 0, :5] = 1
    slice_map[0, 0, 5:] = 0.9
    slice_map[1, 0, 5:] = 0.1  # of the rest
    probs = torch.zeros(3, 1, 5)
    probs[:, 0] = torch.tensor([0.5, 0.4, 0.1])[:, None]
    everything = bag((0, 0, 1, 10), (0.5, 0.5, 0.0))
    found = predicted_fractions(probs, (0, 5), everything, SliceMap.of(slice_map), outside=RESIN)
    # window + earlier map of all - earlier map of the window, class by class
    parts = torch.tensor([0.5 + 0.45 - 0.9, 0.4 + 0.05 - 0.1, 0.0])
    torch.testing.assert_close(found, parts / parts.sum())
    # a window of resin shows nothing, and changes nothing about the rest
    probs[:, 0] = torch.tensor([0.0, 0.0, 1.0])[:, None]
    found = predicted_fractions(probs, (0, 0), everything, SliceMap.of(slice_map), outside=RESIN)
    torch.testing.assert_close(found, torch.tensor([0.9, 0.1, 0.0]))


def objective(n_classes, outside, **changes):
    overrides = {"loss.sharpness": 0.0, "self_training.band": 0.0} | changes
    settings = preset("fast").with_overrides(overrides)
    names = ("background", *map(str, range(1, n_classes)))
    classes = Classes(names, None if outside is None else names[outside])
    return {
        "settings": settings,
        "scale": LabelScale(1.0, (1.0,) * n_classes),
        "n_labelled_slots": 1,
        "classes": classes,
    }


def evaluate(loss, logits, one, **kwargs):
    batch = cut([one], [Window(0, 0, 0, one.bags)], one.shape)
    arguments = {"teacher": None, "slice_maps": [None], "ramp": 0.0} | kwargs
    return step_loss(LossInput(logits, batch, **arguments, **loss))


def half_resin(index=RESIN):
    """Logits (1, 3, 4, 8), surely resin in the left half, and (1, 1, 4, 4) of mito in the right."""
    inner = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(3))
    maps = [torch.zeros(1, 1, 4, 8), torch.cat([torch.zeros(1, 1, 4, 4), inner], dim=3)]
    outer = torch.full((1, 1, 4, 8), -40.0)
    outer[..., :4] = 40
    maps.insert(index, outer)
    return torch.cat(maps, dim=1), inner


@pytest.mark.parametrize("form", ["mse", "kl", "interval"])
@pytest.mark.parametrize("index", [1, 2])
def test_fraction_losses_are_those_of_the_specimen_alone(form, index):
    logits, inner = half_resin(index)
    fractions = [0.9, 0.1]
    fractions.insert(index, 0.0)
    found = evaluate(
        objective(3, index, **{"loss.proportions": form}),
        logits.requires_grad_(),
        sample((4, 8), bags=[whole((4, 8), fractions)]),
    )
    alone = evaluate(
        objective(2, None, **{"loss.proportions": form}),
        inner,
        sample((4, 4), bags=[whole((4, 4), (0.9, 0.1))]),
    )
    assert found.parts["proportions"] == pytest.approx(alone.parts["proportions"], rel=1e-4)
    assert found.proportion_error == pytest.approx(alone.proportion_error, rel=1e-4)
    found.total.backward()
    assert logits.grad[:, index].abs().max() < 1e-6
    assert logits.grad[..., 4:].abs().max() > 1e-4


def test_a_window_that_is_wholly_outside_costs_nothing():
    logits = logits_of(shape=(4, 4))
    logits[:, RESIN] = 60
    one = sample((4, 4), bags=[whole((4, 4), (0.9, 0.1, 0.0))])
    found = evaluate(objective(3, RESIN), logits.requires_grad_(), one)
    found.total.backward()
    assert found.parts == {"total": 0.0}
    assert found.proportion_error is None
    assert not logits.grad.any()


# Self-training ------------------------------------------------------------------------------------


def row_with_resin(n_resin, n):
    """Map (3, 1, n): resin, then ever less probable mitochondrion."""
    mito = torch.cat([torch.full((n_resin,), 0.99), torch.linspace(0.95, 0.05, n - n_resin)])
    share = torch.where(torch.arange(n) < n_resin, 0.2, 0.8)
    return torch.stack([share * (1 - mito), share * mito, 1 - share])[:, None]


@pytest.mark.parametrize("has_memory", [False, True])
def test_pseudo_labels_are_the_likeliest_of_what_is_inside(has_memory):
    probs = row_with_resin(30, 50)
    one = bag((0, 0, 1, 50), (0.75, 0.25, 0.0))
    seen = slice(25, 50) if has_memory else slice(0, 50)
    labels = pseudo_labels(
        lambda: probs[..., seen],
        (1, seen.stop - seen.start),
        [one],
        band=0.0,
        origin=(0, seen.start),
        slice_map=SliceMap.of(probs) if has_memory else None,
        outside=RESIN,
    )
    expected = [-1] * (30 - seen.start) + [1] * 5 + [0] * 15
    assert labels[0].tolist() == expected


def test_nothing_is_labelled_where_all_is_outside():
    one = bag((0, 0, 1, 9), (0.75, 0.25, 0.0))
    labels = pseudo_labels(lambda: row_with_resin(9, 9), (1, 9), [one], band=0.0, outside=RESIN)
    assert (labels == -1).all()
    certain = torch.tensor([0.0, 0.0, 1.0])[:, None, None].expand(3, 1, 9)
    assert (pseudo_labels(lambda: certain, (1, 9), [one], band=0.0, outside=RESIN) == -1).all()


def test_self_training_does_not_teach_where_the_outside_is():
    logits = logits_of(shape=(4, 8)).requires_grad_()
    one = sample((4, 8), labels={(0, 0): RESIN}, bags=[whole((4, 8), (0.7, 0.3, 0.0))])
    teacher = logits_of(seed=5, shape=(4, 8)).softmax(dim=1)
    found = evaluate(
        objective(3, RESIN, **{"loss.alpha": 1.0}), logits, one, teacher=lambda: teacher, ramp=1.0
    )
    assert found.parts["self_training"] > 0
    found.total.backward()
    assert logits.grad[:, RESIN].abs().max() < 1e-6
    assert logits.grad[:, 1].abs().max() > 1e-3


def test_sharpness_asks_for_decided_maps_of_the_specimen_alone():
    logits, inner = half_resin()
    one = sample((4, 8))
    found = evaluate(
        objective(3, RESIN, **{"loss.sharpness": 2.0}), logits.requires_grad_(), one, ramp=0.5
    )
    inside = inner.sigmoid()
    assert found.parts["sharpness"] == pytest.approx(float((inside * (1 - inside)).mean()))
    found.total.backward()
    assert logits.grad[..., 4:].abs().max() > 1e-4
    undecided = logits_of(shape=(4, 8)).requires_grad_()
    evaluate(
        objective(3, RESIN, **{"loss.sharpness": 2.0}), undecided, one, ramp=0.5
    ).total.backward()
    assert undecided.grad[:, 1].abs().max() > 1e-4
    assert not undecided.grad[:, RESIN].any()


# Other numbers ------------------------------------------------------------------------------------


def test_stated_fractions_of_masks_are_those_of_the_rest():
    labels = {(y, x): RESIN if x < 5 else int(x == 9) for y in range(4) for x in range(10)}
    one = sample((4, 10), labels=labels, is_mask=True)
    scale = LabelScale(1.0, (1.0,) * 3)
    data = TrainingData((one,), scale, None, (), Classes(CLASSES, CLASSES[RESIN]))
    assert data.stated_fractions() == pytest.approx((0.8, 0.2, 0.0))
    assert data.expected_shares() == pytest.approx((0.4, 0.1, 0.5))
    inside = TrainingData((one,), scale, None, (), Classes(CLASSES))
    assert inside.stated_fractions() == pytest.approx((0.4, 0.1, 0.5))
    assert inside.expected_shares() == inside.stated_fractions()
    both = TrainingData(
        (one, sample((4, 10), index=1, bags=[whole((4, 10), (0.6, 0.4, 0.0))])),
        scale,
        None,
        (),
        Classes(CLASSES, CLASSES[RESIN]),
    )
    assert both.stated_fractions() == pytest.approx((40 / 60, 20 / 60, 0.0))


def test_the_outside_is_expected_to_take_up_its_share_of_judged_nodes():
    bags = [whole((4, 10), (0.6, 0.4, 0.0))]
    labels = {(y, x): RESIN if (y, x) == (0, 0) else x % 2 for y in range(2) for x in range(10)}
    for places, share in ((np.empty(0, np.int64), 1 / 3), (np.arange(20), 1 / 20)):
        one = sample((4, 10), labels=labels, bags=bags)
        one.nodes[Region(0)] = places
        scale, classes = LabelScale(1.0, (1.0,) * 3), Classes(CLASSES, CLASSES[RESIN])
        data = TrainingData((one,), scale, None, (), classes)
        expected = (0.6 * (1 - share), 0.4 * (1 - share), share)
        assert data.expected_shares() == pytest.approx(expected)


def masks(shape=(2, 20, 20)):
    """Resin in the left half, mitochondrion in a tenth of the right."""
    truth = np.zeros(shape, np.uint8)
    truth[:, :, :10] = RESIN
    truth[:, :2, 10:] = 1
    return truth


def test_measured_fractions_are_those_of_the_rest():
    truth = masks()
    truth[1, :, 10:15] = RESIN  # the second slice has half as much specimen
    found = measure(truth, classes=CLASSES, outside="resin", voxel_size_um=(1.0, 1.0, 1.0))
    by_slice = found.slices.set_index(["slice", "class"])
    assert by_slice.loc[(0, "mito"), "fraction"] == pytest.approx(0.1)
    assert math.isnan(by_slice.loc[(0, "resin"), "fraction"])
    assert by_slice.loc[(1, "resin"), "area_um2"] == 300
    stack = found.stack.set_index("class")
    assert stack.loc["mito", "fraction"] == pytest.approx((20 + 10) / (200 + 100))
    assert stack.loc[["background", "mito"], "fraction"].sum() == pytest.approx(1)
    assert math.isnan(stack.loc["resin", "fraction"])
    assert set(found.objects["class"]) == {"mito"}
    assert found.outside == "resin"
    with pytest.raises(InputError, match="not among"):
        measure(truth, classes=CLASSES, outside="tube")
    truth[1] = RESIN
    notes = measure(truth, classes=CLASSES, outside="resin").notes
    assert "1 slice with no labelled pixel that is not resin: counted in no fraction." in notes


def test_simulated_fractions_are_those_of_the_rest(tmp_path):
    def run(protocol, **parameters):
        return simulate(masks(), protocol, classes=CLASSES, outside="resin", **parameters)

    guessed = run("guess")
    assert [p.fractions for p in guessed.annotations.proportions] == [(0.9, 0.1, None)] * 2
    assert (guessed.acts.n_guesses, guessed.acts.n_empty_ticks) == (2, 0)
    regions = run("regions", tile_px=10).annotations
    boxes = {p.region.box for p in regions.proportions}
    assert boxes == {(0, 10, 10, 20), (10, 10, 20, 20)}  # tiles of resin state nothing
    counts = run("grid", grid_size=20).annotations
    assert all(p.fractions == (0.9, 0.1, 0.0) for p in counts.effective_proportions())
    clicks = run("clicks").annotations
    assert RESIN in {point.class_index for point in clicks.keypoints}
    degraded = degrade(guessed.annotations, "eq5-renorm:0.1", np.random.default_rng(0))
    for one in degraded.proportions:
        assert one.fractions[RESIN] is None
        assert math.fsum(one.fractions[:RESIN]) == pytest.approx(1)
    write_simulation(combine(run("guess", n_slices=1), run("clicks")), tmp_path)
    assert json.loads((tmp_path / "summary.json").read_text())["outside"] == "resin"
    with pytest.raises(InputError, match="outside"):
        combine(guessed, simulate(masks(), "clicks", classes=CLASSES))


# Training -----------------------------------------------------------------------------------------


def block(n_slices=3):
    """Discs in the right two fifths of the images, resin in the rest: (stack, truth)."""
    stack, discs = blobs(n_slices=n_slices)
    image = np.stack([stack.read(z)[0] for z in range(n_slices)]).astype(int)
    wide = np.full((n_slices, 64, 160), 30)
    wide += np.random.default_rng(1).normal(0, 5, wide.shape).astype(int)
    wide[:, :, 96:] = image
    truth = np.full(wide.shape, RESIN, np.uint8)
    truth[:, :, 96:] = discs
    return stack_from_array(wide.clip(0, 255).astype(np.uint8)), truth


@pytest.mark.usefixtures("one_torch_thread")
def test_training_matches_fractions_in_the_specimen_only(tmp_path):
    stack, truth = block()
    inside = truth != RESIN
    exact = [float((t == 1).sum() / i.sum()) for t, i in zip(truth, inside, strict=True)]
    annotations = said(
        *(Proportion(Region(z), (None, f, None)) for z, f in enumerate(exact)),
        grids=counted(truth, [0], n_side=16),
    )
    settings = quick(optimisation__max_steps=80, sampling__crop_px=192)
    model = fit(stack, annotations, settings, run_dir=tmp_path, device="cpu")
    assert model.stated_fractions == pytest.approx((1 - np.mean(exact), np.mean(exact), 0), abs=0.1)
    assert load_model(tmp_path).outside == "resin"
    found = predict(model, stack)
    maps = np.asarray(found.probs)
    counting = maps[:, :RESIN].sum(axis=(2, 3))
    predicted = counting[:, 1] / counting.sum(axis=1)
    assert predicted == pytest.approx(exact, abs=0.02)
    assert predicted.mean() > 2 * maps[:, 1].mean()  # of the whole image, it is two fifths
    assert ((found.labels == RESIN) == ~inside).mean() > 0.95
    assert iou(found.labels == 1, truth == 1) > 0.75


def test_the_outside_cannot_be_the_only_class():
    stack, _ = blobs(1)
    alone = Annotations(("background", "resin"), keypoints=(Keypoint(0, 1, 1, 1),), outside="resin")
    with pytest.raises(InputError, match="no other class besides the background"):
        fit(stack, alone, quick(), device="cpu")


def test_an_outside_that_nothing_shows_is_told():
    stack, _ = blobs(1)
    half = Proportion(Region(0), (0.5, 0.5, None))
    for points, n_told in (((), 1), ((Keypoint(0, 1, 1, RESIN),), 0)):
        run = iter_training(stack, said(half, keypoints=points), quick(), device="cpu")
        said_first = itertools.takewhile(lambda one: not isinstance(one, Progress), run)
        texts = [one.text for one in said_first if isinstance(one, Message)]
        told = [text for text in texts if "labelled as resin" in text]
        run.close()
        assert len(told) == n_told


def test_a_run_goes_on_with_the_same_class_outside_only(tmp_path):
    stack, _ = blobs(1)
    half = Proportion(Region(0), (0.5, 0.5, None))
    settings = quick(optimisation__max_steps=2)
    resin = said(half)
    model = fit(stack, resin, settings, run_dir=tmp_path, device="cpu")
    for other in (Annotations(CLASSES, (half,)), Annotations(CLASSES, outside="mito")):
        for how in ({"run_dir": tmp_path, "resume": True}, {"start_from": model}):
            run = iter_training(
                stack,
                other.replace(keypoints=(Keypoint(0, 1, 1, 1),)),
                settings,
                device="cpu",
                **how,
            )
            with pytest.raises(
                InputError,
                match=r"with classes background, mito, resin \(outside\), not background",
            ):
                next(run)
    run = iter_training(stack, resin, settings, run_dir=tmp_path, resume=True, device="cpu")
    assert [type(event).__name__ for event in run][-1] == "RunFinished"
