"""Labels beside counted nodes: of a model that knows the discs, and of one that does not."""

from __future__ import annotations

import numpy as np
import pytest
from blobs import CLASSES, annotated, blobs, counted, quick
from draining import drain

from napari_spss.core.annotations import UNSURE, Annotations
from napari_spss.core.base import Agreement, CancelToken
from napari_spss.core.prediction import agreement_with_nodes, gain_text, n_changed_nodes
from napari_spss.core.training import fit

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(scope="module")
def discs():
    """Image, counted nodes, a model that learned them, and one that has hardly begun."""
    stack, truth = blobs()
    said = annotated(truth, n_grids=3)
    good = fit(stack, said, quick(optimisation__max_steps=60), device="cpu")
    poor = fit(stack, said, quick(optimisation__max_steps=1), device="cpu")
    return stack, truth, Annotations(CLASSES, grids=said.grids), good, poor


def agreement(*args, **kwargs):
    return drain(agreement_with_nodes(*args, device="cpu", **kwargs))[1]


def test_a_model_that_learned_agrees_with_the_nodes_and_tells_its_fractions(discs):
    stack, truth, said, good, _ = discs
    found = agreement(good, stack, said)
    assert isinstance(found, Agreement)
    assert found.n_nodes == sum(grid.n_judged for grid in said.grids)
    assert found.overlap > 0.6
    assert found.fractions[1] == pytest.approx(truth.mean(), rel=0.3)
    assert sum(found.fractions) == pytest.approx(1)
    assert (found.overlap_before, found.is_worse) == (None, False)


def test_the_worse_of_two_models_is_told_and_the_better_one_is_not(discs):
    stack, _, said, good, poor = discs
    worse, better = (
        agreement(poor, stack, said, before=good),
        agreement(good, stack, said, before=poor),
    )
    assert worse.is_worse
    assert worse.overlap < worse.overlap_before == better.overlap
    assert not better.is_worse
    assert worse.fractions_before == better.fractions
    assert better.fractions_before == worse.fractions
    same = agreement(good, stack, said, before=good)
    assert not same.is_worse
    assert same.overlap == same.overlap_before


def test_what_changed_nodes_brought_about_is_told_in_a_line(discs):
    _, _, said, _, _ = discs
    found = Agreement(64, 0.715, (0.9, 0.1), 0.64, False, (0.88, 0.12))
    assert gain_text(2, found, said.classes) == (
        "With 2 changed nodes, overlap at 64 judged nodes went from 0.64 to 0.71; labels of what "
        "was counted: disc from 12.00 to 10.00 %."
    )
    assert gain_text(0, found, said.classes) == ""
    assert gain_text(2, Agreement(64, 0.7, (0.9, 0.1)), said.classes) == ""
    grid = said.grids[0]
    turned = grid.looked_at(0, 1 - int(grid.class_index[0])).looked_at(1, UNSURE)
    after = said.replace(grids=(turned, *said.grids[1:]))
    assert n_changed_nodes(said, after) == 1
    assert n_changed_nodes(Annotations(CLASSES), after) == 0  # new nodes are no changed ones


def test_nodes_that_were_looked_at_again_and_frames_take_part(discs):
    stack, truth, _, good, _ = discs
    (grid,) = counted(truth, [0])
    looked = grid.looked_at(0, int(grid.class_index[0]))
    inside = (grid.y < 40) & (grid.x < 40)
    frame = grid.replace(
        slice=1,
        y=grid.y[inside],
        x=grid.x[inside],
        class_index=truth[1][
            grid.y[inside].round().astype(int), grid.x[inside].round().astype(int)
        ].astype(np.int16),
        looks=np.zeros(int(inside.sum()), grid.looks.dtype),
        box=(0, 0, 48, 48),
    )
    found = agreement(good, stack, Annotations(CLASSES, grids=(looked, frame)))
    assert found.n_nodes == grid.n_judged + int(inside.sum())
    assert found.overlap > 0.6


def test_without_nodes_or_once_it_is_stopped_nothing_is_told(discs):
    stack, _, said, good, _ = discs
    assert agreement(good, stack, Annotations(CLASSES)) is None
    token = CancelToken()
    token.cancel()
    assert agreement(good, stack, said, token=token) is None


def test_labels_of_nothing_are_worse_than_those_that_find_a_rare_class_with_many_errors():
    """Though more nodes agree with them: most nodes are background."""
    from napari_spss.core.prediction.agreement import _compared

    stated = np.repeat([1, 0], [40, 960])
    nothing = np.zeros(1000, np.int64)
    rough = np.r_[np.ones(30), np.zeros(10), np.ones(60), np.zeros(900)].astype(np.int64)
    assert (nothing == stated).sum() > (rough == stated).sum()
    overlaps, is_worse = _compared(stated, nothing, rough, 2)
    assert overlaps == pytest.approx((0, 30 / 100))
    assert is_worse
    assert not _compared(stated, rough, nothing, 2)[1]
    one_less = rough.copy()
    one_less[0] = 0
    assert not _compared(stated, one_less, rough, 2)[1]  # may be chance
