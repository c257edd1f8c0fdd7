"""Which nodes are worth a second look, and how those that had one are believed."""

from __future__ import annotations

import numpy as np
import pytest
from blobs import CLASSES, annotated, blobs, quick

from napari_spss.core.annotations import (
    NOT_JUDGED,
    UNSURE,
    Annotations,
    CountingGrid,
    Region,
    with_looks,
)
from napari_spss.core.images import WorkingScale
from napari_spss.core.prediction import predict_regions, predict_slice
from napari_spss.core.training import NodeMaps, fit, rank_nodes
from napari_spss.core.training.samples import SampleReader

BOX = (20, 30, 40, 50)


def grid(classes, *, slice=0, box=None, looks=()):
    """Nodes in a row, 2 px apart from y = x = 0 or a corner of the box."""
    top, left = box[:2] if box else (0, 0)
    n = len(classes)
    x = left + 2.0 * np.arange(n)
    return CountingGrid(slice, 2, top, left, np.full(n, float(top)), x, classes, True, box, looks)


def test_the_most_doubtful_nodes_come_first_by_bayes_rule():
    both = Annotations(CLASSES, grids=(grid([0, 1, 1]), grid([1, 0], slice=2, box=BOX)))
    mito = {Region(0): [0.1, 0.9, 0.02], Region(2, BOX): [0.5, 0.8]}
    probs = {at: np.array([1 - np.array(p), p]) for at, p in mito.items()}
    looks = rank_nodes(both, probs, node_error=0.1)
    assert [(look.region, look.x, look.stated, look.by_map) for look in looks] == [
        (Region(0), 4.0, 1, 0),
        (Region(2, BOX), 32.0, 0, 1),
        (Region(2, BOX), 30.0, 1, 0),
        (Region(0), 0.0, 0, 0),
        (Region(0), 2.0, 1, 1),
    ]
    wrong = 0.98 * 0.1 / (0.98 * 0.1 + 0.02 * 0.9)
    assert looks[0].probability == pytest.approx(wrong)
    assert all(look.verdict is None for look in looks)
    assert rank_nodes(both, probs, node_error=0.1, n=2) == looks[:2]


def test_a_wrong_node_may_be_of_any_other_class():
    one = Annotations((*CLASSES, "other"), grids=(grid([2]),))
    (look,) = rank_nodes(one, {Region(0): np.array([[0.5], [0.3], [0.2]])}, node_error=0.1)
    parts = np.array([0.5 * 0.05, 0.3 * 0.05, 0.2 * 0.9])
    assert look.probability == pytest.approx(1 - parts[2] / parts.sum())
    assert look.by_map == 0


def test_nodes_without_a_judgement_or_looked_at_before_are_not_listed():
    classes = [0, UNSURE, 1, NOT_JUDGED]
    said = Annotations(CLASSES, grids=(grid(classes).replace(is_done=False), grid([1], slice=1)))
    probs = {Region(z): np.full((2, n), 0.5) for z, n in ((0, 4), (1, 1))}
    looks = rank_nodes(said, probs)
    assert [(look.region.slice, look.x) for look in looks] == [(0, 0.0), (0, 4.0), (1, 0.0)]
    kept = [look.__class__(**{**vars(look), "verdict": look.stated}) for look in looks[1:]]
    after = with_looks(said, kept)
    assert [look.x for look in rank_nodes(after, probs)] == [0.0]
    assert NodeMaps(after).regions == (Region(0),)  # nothing is left to look at on the other


def test_where_every_node_is_believed_they_are_ranked_all_the_same():
    said = Annotations(CLASSES, grids=(grid([1, 1]),))
    probs = {Region(0): np.array([[0.2, 0.9], [0.8, 0.1]])}
    looks = rank_nodes(said, probs, node_error=0.0)
    assert [look.x for look in looks] == [2.0, 0.0]
    assert looks[0].probability > 0


@pytest.mark.usefixtures("one_torch_thread")
def test_maps_at_nodes_are_those_of_the_whole_slices():
    stack, truth = blobs()
    model = fit(stack, annotated(truth), quick(optimisation__max_steps=3), device="cpu")
    nodes = ([1.4, 38.5, 63.0], [0.0, 17.49, 63.2])
    whole = CountingGrid(0, 5, 0, 0, *nodes, [0, 1, 0], True)
    frame = CountingGrid(1, 5, 20, 30, [20.0, 39.4], [30.0, 49.4], [0, 1], True, BOX)
    maps = NodeMaps(Annotations(CLASSES, grids=(whole, frame)))
    assert maps.regions == (Region(0), Region(1, BOX))
    for _ in predict_regions(model, stack, maps.regions, maps.sink, device="cpu"):
        pass
    expected = predict_slice(model, stack, 0, device="cpu")[:, [1, 39, 63], [0, 17, 63]]
    np.testing.assert_allclose(maps.probs[Region(0)], expected, atol=1e-5)
    in_box = predict_slice(model, stack, 1, device="cpu")[:, [20, 39], [30, 49]]
    np.testing.assert_allclose(maps.probs[Region(1, BOX)], in_box, atol=1e-5)


def test_nodes_that_were_looked_at_again_are_believed_more():
    stack, _ = blobs()
    said = Annotations(CLASSES, grids=(grid([0, 1, 0], looks=[0, 1, 0]),))
    reader = SampleReader(
        stack, said, quick(labels__node_radius_working_px=0), working_scale=WorkingScale(1)
    )
    (sample,) = reader.read(0)
    assert sample is not None
    once, again = sample.error[0, 0], sample.error[0, 2]
    assert sample.error[0, 4] == once == pytest.approx(0.05)
    assert 0 < again == pytest.approx(0.0125)
