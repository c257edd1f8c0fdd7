"""Objects merged, split and filled, and the order in which they are worth a look."""

from __future__ import annotations

import numpy as np
import pytest

from napari_spss.core.analysis import (
    doubtful_objects,
    fill_object,
    merge_objects,
    object_table,
    split_along_line,
    split_at_points,
)
from napari_spss.core.base import InputError


def balls(*centres, radius=6, shape=(15, 30, 50)):
    grid = np.indices(shape).transpose(1, 2, 3, 0)
    return np.any([np.linalg.norm(grid - c, axis=-1) <= radius for c in centres], axis=0)


@pytest.fixture
def pair():
    """Two touching balls that carry one number, and another object."""
    instances = 3 * balls((7, 14, 12), (7, 14, 22)).astype(np.int32)
    instances[2:4, 2:4, 40:44] = 5
    return instances


def test_merged_objects_have_the_number_of_the_first(pair):
    before = pair.copy()
    merge_objects(pair, (5, 3))
    assert set(np.unique(pair)) == {0, 5}
    np.testing.assert_array_equal(pair > 0, before > 0)


@pytest.mark.parametrize("numbers", [(3, 4), (0, 3)])
def test_what_is_no_object_is_not_merged(pair, numbers):
    before = pair.copy()
    with pytest.raises(InputError, match="there is no object"):
        merge_objects(pair, numbers)
    np.testing.assert_array_equal(pair, before)


def test_points_split_balls_at_their_neck(pair):
    before = pair.copy()
    assert split_at_points(pair, 3, [(7, 14, 22), (7, 14, 12)]) == (3, 6)
    np.testing.assert_array_equal(pair > 0, before > 0)
    assert (pair[before == 5] == 5).all()
    left, right = pair[:, :, :17], pair[:, :, 18:35]
    assert set(np.unique(left)) == {0, 6}
    assert set(np.unique(right[:, 6:])) == {0, 3}


def test_three_points_make_three_parts():
    instances = balls((7, 14, 10), (7, 14, 20), (7, 14, 30)).astype(np.int32)
    points = [(7, 14, 10), (7, 14, 20), (7, 14, 30)]
    assert split_at_points(instances, 1, points, first_new=9) == (1, 9, 10)
    sizes = [int((instances == n).sum()) for n in (1, 9, 10)]
    assert sizes[0] == sizes[2]
    assert [instances[p] for p in points] == [1, 9, 10]


@pytest.mark.parametrize("places", [((7, 16, 7), (7, 12, 25)), ((5, 14, 16), (9, 14, 18))])
def test_points_need_not_be_in_the_middle_of_the_parts(places):
    instances = balls((7, 14, 12), (7, 14, 22)).astype(np.int32)
    split_at_points(instances, 1, places)
    sizes = [int((instances == number).sum()) for number in (1, 2)]
    assert max(sizes) < 1.1 * min(sizes)


def test_points_split_a_ball_in_their_middle():
    instances = balls((7, 14, 22)).astype(np.int32)
    split_at_points(instances, 1, [(7, 14, 19), (7, 14, 25)])
    assert set(np.unique(instances[:, :, :22])) == {0, 1}
    assert set(np.unique(instances[:, :, 23:])) == {0, 2}


def test_a_slab_is_split_where_voxels_are_far_apart():
    """With slices ten times as thick as pixels, distances within slices decide."""
    instances = balls((7, 14, 12), (7, 14, 22)).astype(np.int32)
    split_at_points(instances, 1, [(7, 14, 12), (7, 14, 22)], edges_um=(0.1, 0.01, 0.01))
    assert set(np.unique(instances[:, :, :17])) == {0, 1}
    assert set(np.unique(instances[:, :, 18:])) == {0, 2}


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ([(7, 14, 12)], "1 point splits nothing"),
        ([(7, 14, 12), (0, 0, 0)], r"\(0, 0, 0\) is not on object 3"),
        ([(7, 14, 12), (2, 2, 41)], r"\(2, 2, 41\) is not on object 3"),
        ([(7, 14, 12), (7, 14, 12)], r"two points are at \(7, 14, 12\)"),
        ([(7, 14, 12), (7, 14, 500)], "not on object 3"),
    ],
)
def test_points_that_split_nothing_are_refused(pair, points, said):
    before = pair.copy()
    with pytest.raises(InputError, match=said):
        split_at_points(pair, 3, points)
    np.testing.assert_array_equal(pair, before)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_a_part_whose_number_does_not_fit_is_told_and_nothing_changes(pair, dtype):
    largest = np.iinfo(dtype).max
    pair = np.where(pair == 5, largest, pair).astype(dtype)
    before = pair.copy()
    for split, where in (
        (split_at_points, [(7, 14, 10), (7, 14, 24)]),
        (split_along_line, [(7, 0, 17), (7, 29, 17)]),
    ):
        with pytest.raises(InputError, match=f"ends at {largest}"):
            split(pair, 3, where)
        np.testing.assert_array_equal(pair, before)
        assert split(pair.copy(), 3, where, first_new=largest) == (3, largest)


@pytest.mark.parametrize(
    "act",
    [
        lambda one: merge_objects(one, (3, 5)),
        lambda one: fill_object(one, 3),
        lambda one: split_at_points(one, 3, [(7, 14, 10), (7, 14, 24)]),
    ],
)
def test_numbers_that_can_only_be_read_are_told(pair, act):
    pair.flags.writeable = False
    with pytest.raises(InputError, match="give a copy"):
        act(pair)


def test_a_line_lies_in_one_slice(pair):
    with pytest.raises(InputError, match="within one"):
        split_along_line(pair, 3, [(6, 0, 17), (8, 29, 17)])


def test_nothing_is_not_merged(pair):
    with pytest.raises(InputError, match="no object to merge"):
        merge_objects(pair, ())


def test_a_line_splits_a_disc_along_itself():
    instances = np.zeros((40, 40), np.int32)
    instances[5:35, 5:35] = 1
    assert split_along_line(instances, 1, [(0.4, 10), (39, 10)]) == (1, 2)
    assert set(np.unique(instances[5:35, 11:35])) == {1}
    assert set(np.unique(instances[5:35, 5:10])) == {2}
    assert (instances > 0).sum() == 900


def test_a_line_in_one_slice_splits_the_volume_at_the_neck(pair):
    before = pair.copy()
    assert split_along_line(pair, 3, [(7, 2, 17), (7, 28, 17)]) == (3, 6)
    np.testing.assert_array_equal(pair > 0, before > 0)
    parts = {(number, side) for number in (3, 6) for side in (0, 1)}
    sizes = {(n, s): int((np.split(pair[:, :, :34], 2, axis=2)[s] == n).sum()) for n, s in parts}
    (big, small) = sorted(sizes.values())[2:], sorted(sizes.values())[:2]
    assert min(big) > 5 * max(small)


def test_a_bent_line_splits_as_it_was_drawn():
    instances = np.ones((20, 20), np.int32)
    split_along_line(instances, 1, [(0, 5), (10, 5), (10, 0)])
    assert (instances[:10, :5] == 2).all()
    assert (instances[11:] == 1).all()
    assert (instances[:, 6:] == 1).all()


@pytest.mark.parametrize(
    "line", [[(7, 2, 17), (7, 10, 17)], [(7, 0, 0), (7, 0, 9)], [(0, 2, 17), (0, 28, 17)]]
)
def test_a_line_that_does_not_go_through_is_refused(pair, line):
    before = pair.copy()
    with pytest.raises(InputError, match="draw it right through"):
        split_along_line(pair, 3, line)
    np.testing.assert_array_equal(pair, before)


def test_holes_are_filled_slice_by_slice_and_others_stay():
    instances = np.zeros((2, 12, 12), np.int32)
    instances[:, 1:11, 1:11] = 4
    instances[:, 3:9, 3:9] = 0
    instances[0, 5, 5] = 7
    instances[1, 0:3, 5] = 0  # open to the outside? only at the rim
    instances[1, 1:4, 5] = 0
    fill_object(instances, 4)
    assert (instances[0, 1:11, 1:11] != 0).all()
    assert instances[0, 5, 5] == 7
    assert instances[1, 5, 5] == 0


def test_what_stands_out_comes_first():
    instances = np.zeros((12, 60, 60), np.int32)
    sides = [4, 5, 4, 6, 5, 4, 5, 6]
    for index, side in enumerate(sides):
        instances[1:11, 3:9, 7 * index : 7 * index + side] = index + 1
    instances[1:11, 12:58, 3:57] = 9  # huge
    probs = np.full(instances.shape, 0.9) + 0.01 * (instances % 3)
    probs[instances == 4] = 0.55
    table = object_table(instances, probs=probs)
    found = doubtful_objects(table)
    assert sorted(found["object"]) == list(range(1, 10))
    stands_out = found[found["score"] >= 1].set_index("object")["reason"]
    assert set(stands_out.index) == {4, 9}
    assert stands_out[9] == "much larger than most"
    assert stands_out[4] == "mean probability 0.55"
    assert (found[found["score"] < 1]["reason"] == "").all()


def test_objects_that_begin_where_the_fraction_jumps_are_told():
    rng = np.random.default_rng(0)
    n_slices = 30
    instances = np.zeros((n_slices, 60, 60), np.int32)
    for index in range(20):
        z = int(rng.integers(0, n_slices - 6))
        y, x = 12 * (index // 5), 12 * (index % 5)
        instances[z : z + 6, y : y + 6, x : x + 6] = index + 1
    instances[14:20, 48:60, 30:60] = 21
    areas = (instances > 0).sum(axis=(1, 2))
    found = doubtful_objects(object_table(instances), areas).set_index("object")
    assert found.loc[21, "reason"].endswith("begins at a jump of the fraction, slice 14")
    assert found.loc[21, "slice"] == 14
    others = found.drop(21)
    assert not others["reason"].str.contains("slice (?!14|13|19|20)", regex=True).any()
    assert ((others["slice"] >= 0) == others["reason"].str.contains("jump")).all()


def test_objects_that_are_alike_stand_out_by_nothing():
    instances = np.kron(np.arange(1, 10).reshape(3, 3), np.ones((4, 4), int))
    assert (doubtful_objects(object_table(instances))["score"] < 1).all()
    assert doubtful_objects(object_table(np.zeros((4, 4), int))).empty
