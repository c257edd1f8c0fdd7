"""Typed fractions are brought into line with counted ones; the model against dense algebra."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from napari_spss.core.annotations import Annotations, CountingGrid, Proportion, Region
from napari_spss.core.base import preset
from napari_spss.core.images import WorkingScale, stack_from_array
from napari_spss.core.training.bias_correction import _fit, bias_messages, correct_bias
from napari_spss.core.training.samples import SampleReader

CLASSES = ("background", "mitochondria")


def counted(z, *counts, is_done=True):
    """A grid with so many nodes of each class."""
    nodes = np.repeat(np.arange(len(counts)), counts).astype(np.int16)
    rows, columns = np.divmod(np.arange(nodes.size, dtype=float), 16)
    return CountingGrid(z, 1.0, 0.0, 0.0, rows, columns, nodes, is_done)


def typed(z, fraction, box=None, **bounds):
    return Proportion(Region(z, box), (1 - fraction, fraction), **bounds)


def test_slices_and_bias_are_integrated_out_as_a_dense_gaussian_says():
    rng = np.random.default_rng(0)
    stated = rng.normal(-2, 1, (6, 2))
    precisions = 1 / rng.uniform(0.05, 0.4, (6, 2))
    precisions[[0, 1, 4], 1] = 0  # guesses alone
    precisions[5, 0] = 0  # a count alone
    known = (precisions > 0).ravel()
    tau = 0.37
    of_slice = np.kron(np.eye(6), np.ones((2, 2))) * tau**2
    noise = np.diag(1 / np.where(known, precisions.ravel(), 1.0))
    design = np.tile([[1.0, 1.0], [1.0, 0.0]], (6, 1))
    prior = np.diag([3.0**2, 0.3**2])
    cov = (of_slice + noise + design @ prior @ design.T)[np.ix_(known, known)]
    y, offset = stated.ravel()[known], (design @ [-2.0, 0.0])[known]
    gain = prior @ design[known].T @ np.linalg.inv(cov)
    expected = np.array([-2.0, 0.0]) + gain @ (y - offset)
    mean, evidence = _fit(np.where(precisions > 0, stated, 0.0), precisions, 1 / tau**2)
    np.testing.assert_allclose(mean, expected)
    # the evidence leaves out what is the same for all tau and sigma
    others = []
    for other in (0.37, 0.9):
        cov_other = cov + np.kron(np.eye(6), np.ones((2, 2)))[np.ix_(known, known)] * (
            other**2 - tau**2
        )
        others.append(
            (
                multivariate_normal(offset, cov_other).logpdf(y),
                _fit(np.where(precisions > 0, stated, 0.0), precisions, 1 / other**2)[1],
            )
        )
    (dense_a, ours_a), (dense_b, ours_b) = others
    assert ours_a == evidence
    assert ours_a - ours_b == pytest.approx(dense_a - dense_b)


def test_a_shared_bias_is_found_and_taken_out():
    truth = np.array([0.04, 0.08, 0.05, 0.1, 0.06, 0.03, 0.07, 0.09])
    grids = [counted(z, round(4000 * (1 - truth[z])), round(4000 * truth[z])) for z in (0, 3, 6)]
    guesses = [typed(z, 1.5 * fraction) for z, fraction in enumerate(truth)]
    found = correct_bias(Annotations(CLASSES, tuple(guesses), grids=tuple(grids)))
    assert found.bias[1] == pytest.approx(1.5, abs=0.15)
    ours = np.array([found.fractions[Region(z)][1] for z in range(8)])
    assert np.abs(np.log(ours / truth)).max() < 0.2
    (text,) = bias_messages(found, CLASSES)
    assert "mitochondria" in text
    assert "1.5 times" in text


@pytest.mark.parametrize(("sigma", "bias"), [(0.3, 1.2), (0.3, 0.6), (0.5, 1.5), (0.2, 1.0)])
def test_rough_guesses_come_nearer_to_the_truth(sigma, bias):
    rng = np.random.default_rng(1)
    before, after = [], []
    for _ in range(20):
        truth = 0.054 * np.exp(rng.normal(0, 0.2, 16))
        guesses = np.minimum(truth * bias * np.exp(rng.normal(0, sigma, 16)), 0.5)
        # a systematic grid errs by half the variance of independent nodes
        errors = rng.normal(0, np.sqrt(0.5 * 256 * truth))
        hits = {z: max(0, round(256 * truth[z] + errors[z])) for z in (0, 5, 10, 15)}
        annotations = Annotations(
            CLASSES,
            tuple(typed(z, fraction) for z, fraction in enumerate(guesses)),
            grids=tuple(counted(z, 256 - n, n) for z, n in hits.items()),
        )
        found = correct_bias(annotations)
        others = [z for z in range(16) if z not in hits]
        ours = np.array([found.fractions[Region(z)][1] for z in others])
        before.append(np.square(np.log(guesses[others] / truth[others])).mean())
        after.append(np.square(np.log(ours / truth[others])).mean())
    assert np.sqrt(np.mean(after)) < 0.9 * np.sqrt(np.mean(before))


def test_good_guesses_of_very_different_slices_are_believed():
    truth = np.geomspace(0.005, 0.2, 12)
    grids = [counted(z, round(2000 * (1 - truth[z])), round(2000 * truth[z])) for z in (1, 6, 10)]
    guesses = tuple(typed(z, fraction) for z, fraction in enumerate(truth))
    found = correct_bias(Annotations(CLASSES, guesses, grids=tuple(grids)))
    ours = np.array([found.fractions[Region(z)][1] for z in range(12)])
    assert np.abs(np.log(ours / truth)).max() < 0.1
    assert list(bias_messages(found, CLASSES)) == []


def test_what_is_stated_as_absent_stays_absent():
    grids = (counted(0, 240, 16), counted(1, 250, 6))
    found = correct_bias(Annotations(CLASSES, (typed(2, 0.0), typed(3, 0.06)), grids=grids))
    assert found.fractions[Region(2)].tolist() == [1.0, 0.0]
    assert 0.01 < found.fractions[Region(3)][1] < 0.08


def test_an_empty_grid_is_no_proof_of_absence():
    found = correct_bias(Annotations(CLASSES, grids=(counted(0, 256, 0), counted(1, 250, 6))))
    assert 0 < found.fractions[Region(0)][1] < found.fractions[Region(1)][1] < 6 / 256


@pytest.mark.parametrize(
    "grids", [(), (counted(0, 240, 16),), (counted(0, 240, 16), counted(1, 9, 1, is_done=False))]
)
def test_nothing_changes_with_fewer_than_two_finished_grids(grids):
    found = correct_bias(Annotations(CLASSES, (typed(1, 0.1), typed(2, 0.2)), grids=grids))
    assert not found.fractions
    assert found.bias == (None, None)


def test_what_cannot_be_compared_is_left_alone():
    stated = (
        typed(2, 0.1, low=(None, 0.05), high=(None, 0.2)),
        Proportion(Region(3), (0.0, 1.0)),  # no background to compare with
        Proportion(Region(4), (None, None)),
    )
    found = correct_bias(
        Annotations(CLASSES, stated, grids=(counted(0, 240, 16), counted(1, 244, 12)))
    )
    assert set(found.fractions) == {Region(0), Region(1)}
    assert found.bias == (None, None)


def test_rectangles_are_corrected_for_the_bias_alone():
    truth = (0.05, 0.08, 0.06, 0.07)
    grids = tuple(counted(z, round(9000 * (1 - f)), round(9000 * f)) for z, f in enumerate(truth))
    guesses = tuple(typed(z, 1.4 * fraction) for z, fraction in enumerate(truth))
    part = typed(0, 0.6, box=(0, 0, 8, 8))
    found = correct_bias(Annotations(CLASSES, (*guesses, part), grids=grids))
    odds = (0.6 / 0.4) / found.bias[1]
    assert found.fractions[part.region][1] == pytest.approx(odds / (1 + odds))


def test_several_classes_sum_to_one_and_the_class_outside_takes_no_part():
    classes = ("background", "myelin", "axon", "resin")
    grids = tuple(counted(z, 100, 80, 60, 30 * z) for z in range(3))
    guesses = tuple(Proportion(Region(z), (None, 0.5, 0.2, None)) for z in range(5))
    annotations = Annotations(classes, guesses, grids=grids, outside="resin")
    found = correct_bias(annotations)
    for fractions in found.fractions.values():
        assert fractions.sum() == pytest.approx(1)
        assert fractions[3] == 0
    assert found.fractions[Region(4)][1] < 0.45
    assert found.fractions[Region(4)][2] > 0.21
    assert found.bias[0] is None
    assert found.bias[3] is None


@pytest.mark.parametrize("name", ["fast", "paper"])
def test_training_learns_from_them_and_preset_paper_from_what_was_stated(name):
    stack = stack_from_array(np.zeros((4, 16, 16), np.uint8))
    grids = (counted(0, 240, 16), counted(1, 246, 10))
    guesses = tuple(typed(z, 0.2) for z in range(4))
    annotations = Annotations(CLASSES, guesses, grids=grids)
    reader = SampleReader(stack, annotations, preset(name), working_scale=WorkingScale(1))
    (bag,) = reader.bags()[2]
    expected = correct_bias(annotations).fractions[Region(2)][1] if name == "fast" else 0.2
    assert bag.fractions[1] == pytest.approx(expected, rel=1e-6)
    if name == "fast":
        assert bag.fractions[1] < 0.12


def test_a_label_posterior_takes_the_place_of_judged_ones():
    grids = (counted(0, 240, 16), counted(1, 240, 16))
    annotations = Annotations(CLASSES, grids=grids)
    fewer = correct_bias(annotations, {Region(z): np.array([248.0, 8.0]) for z in (0, 1)})
    same = correct_bias(Annotations(CLASSES, grids=(counted(0, 248, 8), counted(1, 248, 8))))
    assert fewer.fractions.keys() == same.fractions.keys()
    for region, fractions in same.fractions.items():
        assert fewer.fractions[region] == pytest.approx(fractions)


# -- frames ----------------------------------------------------------------------------------------


def framed(z, place, *counts):
    """A frame with so many nodes of each class."""
    grid = counted(z, *counts)
    top = 100 * place
    return grid.replace(y=grid.y + top, box=(top, 0, top + 100, 100))


def test_frames_are_drawn_to_each_other_and_keep_their_order():
    frames = [framed(z, 0, 64 - n, n) for z, n in enumerate((0, 4, 6, 20))]
    found = correct_bias(Annotations(CLASSES, grids=tuple(frames)))
    assert found.fractions.keys() == {one.region for one in frames}
    ours = [found.fractions[one.region][1] for one in frames]
    assert ours == sorted(ours)
    assert 0 < ours[0] < 4 / 64
    assert ours[-1] < 20 / 64
    assert found.bias == (None, None)  # nothing was guessed


def test_frames_tell_the_bias_of_guesses_of_their_slices():
    rng = np.random.default_rng(2)
    biases = []
    for _ in range(20):
        truth = 0.08 * np.exp(rng.normal(0, 0.2, 12))
        guesses = tuple(typed(z, 1.5 * f * np.exp(rng.normal(0, 0.2))) for z, f in enumerate(truth))
        parts = truth[:, None] * np.exp(rng.normal(-0.18, 0.6, (12, 3)))
        frames = tuple(
            framed(z, place, 64 - n, n)
            for z in range(12)
            for place, n in enumerate(rng.binomial(64, np.minimum(parts[z], 0.5)))
        )
        found = correct_bias(Annotations(CLASSES, guesses, grids=frames))
        assert all(Region(z) in found.fractions for z in range(12))
        biases.append(found.bias[1])
    assert np.exp(np.mean(np.log(biases))) == pytest.approx(1.5, rel=0.12)


def test_the_grid_of_a_slice_counts_for_it_and_not_its_frames():
    guesses = tuple(typed(z, 0.1) for z in range(3))
    grids = (counted(0, 240, 16), counted(1, 240, 16))
    frames = (framed(0, 0, 4, 60), framed(1, 0, 4, 60))
    beside = correct_bias(Annotations(CLASSES, guesses, grids=(*grids, *frames)))
    alone = correct_bias(Annotations(CLASSES, guesses, grids=grids))
    for region, fractions in alone.fractions.items():
        assert beside.fractions[region] == pytest.approx(fractions)
    assert beside.bias == alone.bias
    assert beside.fractions[frames[0].region][1] > 0.8


def test_frames_that_differ_move_guesses_less():
    guesses = tuple(typed(z, 0.2) for z in range(4))
    alike = tuple(framed(z, place, 58, 6) for z in (0, 1) for place in range(4))
    unlike = tuple(framed(z, p, 64 - n, n) for z in (0, 1) for p, n in enumerate((0, 0, 0, 24)))
    biases = [correct_bias(Annotations(CLASSES, guesses, grids=g)).bias[1] for g in (alike, unlike)]
    assert biases[0] > biases[1] > 1


@pytest.mark.parametrize("box", [(0, 0, 64, 64), None])
@pytest.mark.parametrize("n_nodes", [64, 256])
def test_few_hits_in_each_of_many_counts_do_not_add_up_to_more_than_was_counted(box, n_nodes):
    rng = np.random.default_rng(0)
    hits = rng.binomial(n_nodes, 0.03, 24)
    grids = tuple(counted(z, n_nodes - n, n).replace(box=box) for z, n in enumerate(hits))
    found = correct_bias(Annotations(CLASSES, grids=grids)).fractions
    ours = np.array([found[Region(z, box)][1] for z in range(24)])
    assert ours.mean() == pytest.approx(hits.mean() / n_nodes, rel=0.02)
    assert ours.std() < hits.std() / n_nodes  # each is drawn to the others


@pytest.mark.parametrize(
    "frames", [(framed(0, 0, 60, 4),), (framed(0, 0, 60, 4), framed(0, 1, 62, 2))]
)
def test_frames_of_one_slice_tell_nothing_about_guesses(frames):
    found = correct_bias(Annotations(CLASSES, (typed(0, 0.2), typed(1, 0.2)), grids=frames))
    assert found.fractions.keys() == ({one.region for one in frames} if len(frames) > 1 else set())
    assert found.bias == (None, None)


def test_a_typed_rectangle_that_a_frame_counts_is_that_of_the_frame():
    frames = tuple(framed(z, 0, 56, 8) for z in range(3))
    guesses = (*(typed(z, 0.2) for z in range(3)), typed(0, 0.9, box=frames[0].box))
    found = correct_bias(Annotations(CLASSES, guesses, grids=frames))
    assert found.fractions[frames[0].region][1] == pytest.approx(8 / 64, abs=0.03)
