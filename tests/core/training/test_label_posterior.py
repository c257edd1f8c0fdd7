"""Counting nodes again by a map: what it believes, and what it may not argue away."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from blobs import CLASSES, blobs, counted as counted_truth, quick
from samples_in_memory import sample

from napari_spss.core.annotations import Annotations, Region
from napari_spss.core.base import CheckpointSaved, Mailbox, Progress
from napari_spss.core.training import fit, iter_training, run as run_module
from napari_spss.core.training.checkpoint import load_state
from napari_spss.core.training.label_posterior import LabelPosterior, label_posterior

NOTHING = LabelPosterior()

SHAPE = (20, 20)


def counted(labels, *, error=0.02, index=0, **flags):
    """A slice with a finished grid, each node one pixel."""
    made = sample(SHAPE, index=index, labels=labels, is_calibrated=True, **flags)
    errors = np.where(made.target >= 0, error, 0).astype(np.float32)
    nodes = {Region(index): np.flatnonzero(made.target >= 0)}
    return dataclasses.replace(made, error=errors, nodes=nodes)


def maps(*classes):
    """Predict the same maps everywhere: one value, or an array, a class."""
    planes = np.stack([np.broadcast_to(np.float32(one), SHAPE) for one in classes])
    return lambda sample: planes


def grid(n_hits):
    """100 nodes, the first ones hits."""
    places = [(2 * y, 2 * x) for y in range(10) for x in range(10)]
    return {place: int(i < n_hits) for i, place in enumerate(places)}


def test_one_node_by_bayes_rule():
    found = label_posterior([counted({(3, 3): 1}, error=0.1)], maps(0.9, 0.1), NOTHING)
    assert found.stated[Region(0)] == (0, 1)
    right = 0.1 * 0.9 / (0.1 * 0.9 + 0.9 * 0.1)
    assert found.believed[Region(0)] == pytest.approx([1 - right, right])


def test_a_wrong_label_may_mean_any_other_class():
    found = label_posterior([counted({(3, 3): 2}, error=0.1)], maps(0.5, 0.3, 0.2), NOTHING)
    parts = np.array([0.5 * 0.05, 0.3 * 0.05, 0.2 * 0.9])
    assert found.believed[Region(0)] == pytest.approx(parts / parts.sum())


def test_what_the_map_shows_too_is_not_touched():
    labels = grid(5)
    plane = np.full(SHAPE, 0.001)
    for (y, x), c in labels.items():
        plane[y, x] = 0.999 if c else 0.001
    found = label_posterior([counted(labels)], maps(1 - plane, plane), NOTHING)
    assert found.believed[Region(0)] == pytest.approx([95, 5], abs=0.01)
    assert not list(found.messages(("background", "mito")))


def test_lone_hits_on_sure_background_are_doubted_and_told():
    labels = grid(6)
    plane = np.full(SHAPE, 0.0005)
    for (y, x), c in list(labels.items())[:4]:
        plane[y, x] = 0.99 if c else 0.0005
    found = label_posterior([counted(labels)], maps(1 - plane, plane), NOTHING)
    assert found.believed[Region(0)][1] == pytest.approx(4.05, abs=0.1)
    (text,) = found.messages(("background", "mito"))
    assert "6 were judged so" in text
    assert "4 are more likely" in text
    assert "Nodes that stand alone" in text


def test_a_map_without_the_class_cannot_argue_all_hits_away():
    n_hits = 20
    found = label_posterior([counted(grid(n_hits))], maps(1.0, 0.0), NOTHING)
    most = 100 * 0.02 + 2 * np.sqrt(100 * 0.02)
    assert found.believed[Region(0)][1] == pytest.approx(n_hits - most, rel=1e-5)
    assert sum(found.believed[Region(0)]) == pytest.approx(100)


def test_a_class_keeps_half_of_its_nodes():
    found = label_posterior([counted(grid(4), error=0.1)], maps(1.0, 0.0), NOTHING)
    assert found.believed[Region(0)] == pytest.approx([98, 2], rel=1e-5)
    (text,) = found.messages(("background", "mito"))
    assert text.endswith("If the nodes are right, it does not find mito.")


def test_only_counted_slices_with_doubtful_labels_take_part():
    keypoints = sample(SHAPE, index=1, labels={(3, 3): 1}, is_calibrated=True)
    unfinished = dataclasses.replace(counted({(3, 3): 1}, index=2), nodes={})
    found = label_posterior([keypoints, unfinished], maps(0.5, 0.5), NOTHING)
    assert found.stated == {}
    assert found.believed == {}
    assert not list(found.messages(("background", "mito")))


def test_each_frame_of_a_slice_is_counted_by_its_own_nodes():
    made = counted({(3, 3): 1, (3, 6): 0, (15, 15): 1, (15, 18): 1}, error=0.1)
    frames = [Region(0, box) for box in ((0, 0, 10, 10), (10, 10, 20, 20))]
    places = [[3 * 20 + 3, 3 * 20 + 6], [15 * 20 + 15, 15 * 20 + 18]]
    made = dataclasses.replace(made, nodes=dict(zip(frames, map(np.array, places), strict=True)))
    plane = np.full(SHAPE, 0.5)
    plane[:10] = 0.1
    found = label_posterior([made], maps(1 - plane, plane), NOTHING)
    assert found.stated == {frames[0]: (1, 1), frames[1]: (0, 2)}
    assert found.believed[frames[0]] == pytest.approx([1.49, 0.51], abs=0.01)
    assert found.believed[frames[1]] == pytest.approx([0.2, 1.8], abs=0.01)
    assert found.of_regions({frames[1]}).stated == {frames[1]: (0, 2)}


def test_a_keypoint_over_a_node_is_certain():
    labels = {(3, 3): 1, (6, 6): 0}
    made = counted(labels)
    made.error[3, 3] = 0
    found = label_posterior([made], maps(1.0, 0.0), NOTHING)
    assert found.stated[Region(0)] == (1, 0)


def test_a_slice_without_a_map_counts_as_before_and_what_never_had_one_as_judged():
    first, second, third = (counted(grid(20), index=z) for z in range(3))
    half = maps(0.5, 0.5)
    before = label_posterior([first], maps(1.0, 0.0), NOTHING)
    found = label_posterior(
        [first, second, third], lambda one: None if one.slice != 1 else half(one), before
    )
    assert list(found.believed) == [Region(0), Region(1)]
    assert found.believed[Region(0)] == before.believed[Region(0)]
    assert found.stated[Region(0)] == (80, 20)
    assert found.believed[Region(1)] == pytest.approx(
        [80 * 0.98 + 20 * 0.02, 80 * 0.02 + 20 * 0.98]
    )


def test_what_counts_as_before_takes_its_part_of_the_errors_that_may_be():
    samples = [counted(grid(20), index=z) for z in range(8)]
    alone = [label_posterior([one], maps(1.0, 0.0), NOTHING) for one in samples]
    before = LabelPosterior(
        stated={at: n for one in alone for at, n in one.stated.items()},
        believed={at: n for one in alone for at, n in one.believed.items()},
    )
    n_expected = 8 * 100 * 0.02
    for predict, earlier in ((maps(1.0, 0.0), NOTHING), (lambda one: None, before)):
        found = label_posterior(samples, predict, earlier)
        n_moved = sum(counts[0] - 80 for counts in found.believed.values())
        assert n_moved == pytest.approx(n_expected + 2 * n_expected**0.5, rel=1e-3)


# -- in a run --------------------------------------------------------------------------------------

STACK, TRUTH = blobs(n_slices=3, size=32)


def tiny(**overrides):
    values = {"network__filters": 2, "optimisation__max_steps": 10, "sampling__crop_px": 32}
    return quick(**(values | overrides))


def posterior_of(counts, monkeypatch):
    """Let every label posterior be these counts; returns the slices of each."""
    asked = []

    def fake(samples, predict, before):
        shown = [one for one in samples if (one.error > 0).any()]
        assert all(predict(one).shape == (2, 32, 32) for one in shown)
        asked.append([one.slice for one in shown])
        return LabelPosterior(believed={at: tuple(counts) for one in shown for at in one.nodes})

    monkeypatch.setattr(run_module, "label_posterior", fake)
    return asked


@pytest.mark.usefixtures("one_torch_thread")
def test_a_run_learns_from_the_label_posterior(monkeypatch):
    asked = posterior_of([60.0, 4.0], monkeypatch)
    annotations = Annotations(CLASSES, grids=counted_truth(TRUTH, [1]))
    model = fit(STACK, annotations, tiny(), device="cpu")
    assert asked == [[1]] * 8, "from a fifth of the budget on, every tenth"
    assert model.stated_fractions == pytest.approx((60 / 64, 4 / 64))


@pytest.mark.usefixtures("one_torch_thread")
def test_what_a_map_lacks_is_told_as_it_was_judged(monkeypatch):
    told = []

    class Watch:
        def __init__(self, classes):
            pass

        def look(self, samples, predict, lost, **about):
            told.extend(bag.fractions[1] for one in samples for bag in one.bags)
            return lost, None

    posterior_of((60, 4), monkeypatch)
    monkeypatch.setattr(run_module, "MapWatch", Watch)
    annotations = Annotations(CLASSES, grids=counted_truth(TRUTH, [1]))
    fit(STACK, annotations, tiny(), device="cpu")
    (judged,) = annotations.counted_proportions()
    assert told
    assert told == pytest.approx([judged.fractions[1]] * len(told))


@pytest.mark.usefixtures("one_torch_thread")
@pytest.mark.parametrize("change", [{"labels__node_error": 0.0}, {"self_training__enabled": False}])
def test_there_is_no_label_posterior_where_all_nodes_are_believed(change, monkeypatch):
    asked = posterior_of([60.0, 4.0], monkeypatch)
    annotations = Annotations(CLASSES, grids=counted_truth(TRUTH, [1]))
    model = fit(STACK, annotations, tiny(**change), device="cpu")
    assert not asked
    n_hits = annotations.grids[0].judged_counts(2)[1]
    assert model.stated_fractions[1] == pytest.approx(n_hits / 64)


@pytest.mark.usefixtures("one_torch_thread")
def test_new_annotations_forget_the_label_posterior_of_changed_grids_only(tmp_path, monkeypatch):
    posterior_of([60.0, 4.0], monkeypatch)
    grids = counted_truth(TRUTH, [0, 1])
    changed = grids[1].with_class([0], 1 - int(grids[1].class_index[0]))
    mailbox = Mailbox()
    for event in iter_training(
        STACK,
        Annotations(CLASSES, grids=grids),
        tiny(),
        updates=mailbox,
        run_dir=tmp_path,
        device="cpu",
        clock=itertools.count().__next__,
    ):
        if isinstance(event, Progress) and event.done == 4:
            mailbox.put(Annotations(CLASSES, grids=(grids[0], changed)))
        if isinstance(event, CheckpointSaved):
            break  # that of the new annotations
    state, _ = load_state(tmp_path)
    assert (event.step, list(state.posterior.believed)) == (4, [Region(0)])


@pytest.mark.usefixtures("one_torch_thread")
def test_of_many_counted_slices_some_are_weighed_at_a_time_in_turn(monkeypatch):
    monkeypatch.setattr(run_module, "_MOST_WEIGHED", 2)
    monkeypatch.setattr(run_module.SliceMaps, "kept", lambda self, step: {})
    weighed, orders = [], []

    def noted(samples, predict, before):
        samples = list(samples)
        weighed.append([one.slice for one in samples if predict(one) is not None])
        found = label_posterior(samples, predict, before)
        orders.append(list(found.believed))
        return found

    monkeypatch.setattr(run_module, "label_posterior", noted)
    stack, truth = blobs(n_slices=5, size=32)
    fit(stack, Annotations(CLASSES, grids=counted_truth(truth, range(5))), tiny(), device="cpu")
    assert weighed == [[0, 1], [2, 3], [4, 0], [1, 2], [3, 4], [0, 1], [2, 3], [4, 0]]
    assert [len(order) for order in orders] == [2, 4, 5, 5, 5, 5, 5, 5]
