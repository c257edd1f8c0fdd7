"""Proofreading without a window: every edit, its table, and the way back."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_spss.core.analysis import find_objects, object_table
from napari_spss.core.base import InputError
from napari_spss.gui.models import FoundObjects, ObjectEdits, ObjectRequest

UM = (0.05, 0.01, 0.01)


def measured(instances, per_slice, **some):
    rng = np.random.default_rng(3)
    image, probs = rng.random((2, *instances.shape))
    how = {"class_name": "mito", "per_slice": per_slice, "voxel_size_um": UM}
    return object_table(instances, image=image, probs=probs, **how, **some)


class Bench:
    """Objects under edit, and what is told of it."""

    def __init__(self, labels, *, per_slice=False):
        instances = find_objects(labels, per_slice=per_slice)
        table = measured(instances, per_slice)
        request = ObjectRequest(1, "mito", per_slice=per_slice)
        self.per_slice = per_slice
        self.found = FoundObjects(request, instances, table, version=1)
        self.told = []
        self.edits = ObjectEdits(
            self.found,
            lambda numbers, box: measured(instances, per_slice, numbers=numbers, within=box),
            UM,
            self.told.append,
        )

    def state(self):
        found = self.found
        return found.instances.copy(), found.table.copy(), set(found.judged), found.removed.copy()

    def paint(self, index, number):
        flat = np.zeros(self.found.instances.shape, bool)
        flat[index] = True
        places = np.flatnonzero(flat)
        before = self.found.instances.reshape(-1)[places].copy()
        self.found.instances[index] = number
        self.edits.take_paint(places, before)

    def check(self):
        """The table is that of all objects measured anew."""
        whole = measured(self.found.instances, self.per_slice)
        whole = whole.sort_values("object", kind="stable", ignore_index=True)
        pd.testing.assert_frame_equal(self.found.table, whole)


def labels():
    stack = np.zeros((4, 40, 60), np.uint8)
    stack[0:3, 4:14, 4:14] = 1
    stack[0:3, 7:11, 14:18] = 1
    stack[0:3, 4:14, 18:28] = 1  # with the first one a dumb-bell
    stack[1:4, 20:30, 4:14] = 1
    stack[1:4, 23:27, 7:11] = 0  # a ring
    stack[2:4, 20:30, 30:40] = 1
    return stack


@pytest.fixture
def bench():
    return Bench(labels())


EDITS = {
    "keep": lambda b: b.edits.keep(2),
    "delete": lambda b: b.edits.delete(1),
    "merge": lambda b: b.edits.merge(3, 2),
    "fill": lambda b: b.edits.fill(2),
    "points": lambda b: b.edits.split_at_points([(1, 9, 9), (1, 9, 22)]),
    "line": lambda b: b.edits.split_along([(1, 2, 16), (1, 20, 16)]),
    "paint": lambda b: b.paint(np.s_[0, 30:36, 50:56], b.edits.next_number),
    "erase": lambda b: b.paint(np.s_[2, 4:10, 4:10], 0),
    "paint over": lambda b: b.paint(np.s_[2, 20:30, 12:34], 2),
}


@pytest.mark.parametrize("name", EDITS)
def test_every_edit_is_in_the_table_and_can_be_taken_back_and_repeated(bench, name):
    before = bench.state()
    EDITS[name](bench)
    bench.check()
    after = bench.state()
    assert len(bench.told) == 1
    bench.edits.history.undo()
    for one, other in zip(bench.state(), before, strict=True):
        assert isinstance(one, pd.DataFrame) or np.array_equal(one, other)
    pd.testing.assert_frame_equal(bench.found.table, before[1])
    assert not bench.found.is_edited
    bench.edits.history.redo()
    for one, other in zip(bench.state(), after, strict=True):
        assert isinstance(one, pd.DataFrame) or np.array_equal(one, other)
    bench.check()
    assert len(bench.told) == 3


def test_edits_follow_one_another_and_all_are_taken_back(bench):
    before = bench.state()
    for edit in EDITS.values():
        try:
            edit(bench)
        except InputError:  # an object may be gone by then
            continue
        bench.check()
    while bench.edits.history.canUndo():
        bench.edits.history.undo()
    np.testing.assert_array_equal(bench.state()[0], before[0])
    pd.testing.assert_frame_equal(bench.found.table, before[1])


def test_numbers_are_not_used_twice(bench):
    bench.edits.split_at_points([(1, 9, 9), (1, 9, 22)])
    bench.edits.delete(4)
    bench.paint(np.s_[0, 30:36, 50:56], bench.edits.next_number)
    assert bench.found.table["object"].tolist() == [1, 2, 3, 5]


def test_in_slices_that_stand_alone_painting_elsewhere_adds_an_object():
    bench = Bench(labels(), per_slice=True)
    n = len(bench.found.table)
    number = bench.edits.number_at((2, 25, 35))
    bench.paint(np.s_[0, 30:36, 50:56], number)
    assert len(bench.found.table) == n + 1
    assert not bench.found.table["object"].duplicated().any()
    bench.check()
    with pytest.raises(InputError, match="different slices"):
        bench.edits.merge(number, bench.edits.number_at((3, 25, 35)))


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda b: b.edits.delete(9), "click on one"),
        (lambda b: b.edits.keep(0), "click on one"),
        (lambda b: b.edits.merge(2, 2), "the same object"),
        (lambda b: b.edits.fill(1), "has no hole"),
        (lambda b: b.edits.split_at_points([(1, 9, 9)]), "1 point splits nothing"),
        (lambda b: b.edits.split_at_points([(1, 9, 9), (2, 25, 35)]), "not all on one object"),
        (lambda b: b.edits.split_along([(1, 0, 50), (1, 9, 50)]), "crosses no object"),
        (lambda b: b.edits.split_along([(1, 2, 16), (1, 9, 16)]), "right through"),
    ],
)
def test_what_cannot_be_done_is_told_and_changes_nothing(bench, edit, said):
    before = bench.state()
    with pytest.raises(InputError, match=said):
        edit(bench)
    np.testing.assert_array_equal(bench.state()[0], before[0])
    assert not bench.edits.history.canUndo()


def test_what_was_judged_drops_off_the_list(bench):
    numbers = bench.edits.queue()["object"].tolist()
    assert sorted(numbers) == [1, 2, 3]
    assert bench.edits.after(0)[0] == numbers[0]
    assert bench.edits.after(numbers[0])[0] == numbers[1]
    assert bench.edits.after(numbers[2])[0] == numbers[0]
    bench.edits.keep(numbers[1])
    assert bench.edits.queue()["object"].tolist() == [numbers[0], numbers[2]]
    bench.edits.delete(numbers[0])
    bench.edits.keep(numbers[2])
    assert bench.edits.after(numbers[2]) is None


def test_labels_follow_what_was_said(bench):
    image = labels()
    bench.edits.keep(2)
    bench.edits.delete(1)
    bench.paint(np.s_[0, 30:36, 50:56], bench.edits.next_number)
    corrected = image.copy()
    corrected[1:4, 20:22, 4:14] = 0  # another threshold makes of a kept object less
    for z in range(4):
        bench.found.correct(z, corrected[z], 1)
    np.testing.assert_array_equal(corrected > 0, bench.found.instances > 0)
    assert bench.found.fits(corrected, 1, UM)
    assert not bench.found.fits(image, 1, UM)
    corrected[0, 0, 0] = 1
    assert not bench.found.fits(corrected, 1, UM)
