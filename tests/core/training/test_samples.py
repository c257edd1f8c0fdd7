"""Annotated slices at working scale: painted points, regions, masks, fixed weights."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from blobs import CLASSES
from hypothesis import given, settings, strategies as st
from pixels import image_set
from samples_in_memory import read_all

from napari_spss.core.annotations import (
    Annotations,
    CountingGrid,
    Keypoint,
    Proportion,
    Region,
    lay_grid,
    wilson_interval,
)
from napari_spss.core.base import InputError, preset
from napari_spss.core.images import WorkingScale, as_label_source, stack_from_array
from napari_spss.core.training.samples import LabelScale, SampleReader

THREE = ("background", "mito", "nucleus")


def flat(*shape):
    """A stack of nothing."""
    return stack_from_array(np.zeros(shape, np.uint8))


def load(annotations, *, shape=(1, 40, 40), stack=None, k=1, masks=None, scale=None, **changes):
    """Samples and scale of annotations, with settings changed by name (radius_px, ...)."""
    names = {
        "radius_px": "labels.keypoint_radius_px",
        "node_radius": "labels.node_radius_working_px",
        "weight": "labels.keypoint_weight",
        "diameter_px": "image.object_diameter_px",
        "diameter_um": "image.object_diameter_um",
    }
    overrides = {names[name]: value for name, value in changes.items()}
    reader = SampleReader(
        stack or flat(*shape),
        annotations,
        preset("fast").with_overrides(overrides),
        working_scale=WorkingScale(k),
        masks=None if masks is None else as_label_source(masks),
        scale=scale,
    )
    samples = read_all(reader)
    return samples, reader.label_scale(samples)


def points(*places, class_index=1, slice=0):
    return tuple(Keypoint(slice, float(y), float(x), class_index) for y, x in places)


def clicked(*places, classes=CLASSES, **kwargs):
    return Annotations(classes, keypoints=points(*places, **kwargs))


def grid(nodes, *, slice=0, is_done=True):
    """A grid of (y, x, class) nodes."""
    y, x, c = np.array(nodes, float).reshape(-1, 3).T
    return CountingGrid(slice, 8.0, 0.0, 0.0, y, x, c.astype(np.int16), is_done)


def stated(*fractions, slice=0, box=None, **bounds):
    return Proportion(Region(slice, box), fractions, **bounds)


# -- points ------------------------------------------------------------------------------------


coordinate = st.floats(-0.5, 36.375, width=32)


@settings(max_examples=150)
@given(y=coordinate, x=coordinate, k=st.integers(1, 6), radius=st.floats(0, 20))
def test_a_point_labels_the_pixels_within_its_radius_and_the_one_that_holds_it(y, x, k, radius):
    (painted,), _ = load(clicked((y, x)), shape=(1, 37, 37), k=k, radius_px=radius)
    n = -(-37 // k)
    centres = np.arange(n) * k + (k - 1) / 2
    distance = np.hypot(centres[:, None] - y, centres - x)
    holds = (int(np.floor(y + 0.5)) // k, int(np.floor(x + 0.5)) // k)
    labelled = painted.target == 1
    assert labelled[holds]
    slack = 1e-3  # coordinates on the circle may fall on either side
    expected_inside, expected_outside = distance < radius - slack, distance > radius + slack
    expected_outside[holds] = False
    assert labelled[expected_inside].all()
    assert not labelled[expected_outside].any()
    assert (painted.target[~labelled] == -1).all()


@settings(max_examples=60)
@given(y=coordinate, x=coordinate, k=st.integers(1, 6), radius=st.floats(0, 60))
def test_a_point_carries_its_whole_weight_even_at_the_border(y, x, k, radius):
    (painted,), _ = load(clicked((y, x)), shape=(1, 37, 37), k=k, radius_px=radius, weight=3)
    assert painted.weight.sum() == pytest.approx(3, rel=1e-5)
    assert (painted.weight > 0).tolist() == (painted.target >= 0).tolist()


@pytest.mark.parametrize(
    ("k", "radius", "n_pixels"),
    [(1, 0, 1), (1, 0.9, 1), (1, 1, 5), (1, 2, 13), (2, 2, 5), (4, 8, 13), (4, 2, 1)],
)
def test_the_radius_is_in_pixels_of_the_full_resolution(k, radius, n_pixels):
    centre = 20 + (k - 1) / 2
    (painted,), _ = load(clicked((centre, centre)), k=k, radius_px=radius)
    assert (painted.target == 1).sum() == n_pixels


@pytest.mark.parametrize(
    ("stated", "n_pixels"),
    [({"diameter_px": 16}, 13), ({"diameter_px": 400}, 197), ({"diameter_um": 1.6}, 13), ({}, 197)],
)
def test_a_point_covers_no_more_than_an_eighth_of_an_object(stated, n_pixels):
    stack = stack_from_array(np.zeros((1, 40, 40), np.uint8), voxel_size_um=(0.1, 0.1, 0.1))
    (painted,), _ = load(clicked((20, 20)), stack=stack, radius_px=8, **stated)
    assert (painted.target == 1).sum() == n_pixels


def test_a_point_between_two_pixels_belongs_to_the_lower_right_one():
    (painted,), _ = load(clicked((2.5, 3.5), (6.5, 0.5)), radius_px=0)
    assert np.argwhere(painted.target == 1).tolist() == [[3, 4], [7, 1]]


def test_keypoints_are_painted_over_nodes():
    annotations = Annotations(
        CLASSES, grids=(grid([(8, 8, 1), (8, 16, 0)]),), keypoints=points((8, 16), (30, 30))
    )
    (painted,), _ = load(annotations, radius_px=0, node_radius=0, weight=7)
    assert painted.target[8, 8] == 1
    assert painted.target[8, 16] == 1
    assert painted.weight[8, 8] == 1
    assert painted.weight[8, 16] == 7
    assert painted.weight[30, 30] == 7


def test_nodes_are_dilated_at_working_scale():
    annotations = Annotations(CLASSES, grids=(grid([(9.5, 9.5, 1)]),))
    (painted,), _ = load(annotations, k=4, node_radius=1)
    assert np.argwhere(painted.target == 1).tolist() == [[1, 2], [2, 1], [2, 2], [2, 3], [3, 2]]
    np.testing.assert_allclose(painted.weight[painted.target == 1], 0.2)


def test_unsure_nodes_label_nothing():
    annotations = Annotations(CLASSES, grids=(grid([(8, 8, -1), (16, 16, 0)]),))
    (painted,), _ = load(annotations, node_radius=0)
    assert np.argwhere(painted.target >= 0).tolist() == [[16, 16]]


def test_an_open_grid_gives_labels_but_neither_calibration_nor_fraction():
    nodes = [(8, 8, 1), (16, 16, 0)]
    (done,), _ = load(Annotations(CLASSES, grids=(grid(nodes),)))
    (unfinished,), _ = load(Annotations(CLASSES, grids=(grid(nodes, is_done=False),)))
    np.testing.assert_array_equal(done.target, unfinished.target)
    assert (done.is_calibrated, unfinished.is_calibrated) == (True, False)
    assert (len(done.bags), len(unfinished.bags)) == (1, 0)


def test_a_grid_without_a_judged_node_changes_nothing():
    clicks = points((10, 10), (20, 20)) + points((30, 30), class_index=0)
    empty = lay_grid(2, (40, 40), n_side=3, rng=np.random.default_rng(0)).replace(is_done=True)
    alone = Annotations(CLASSES, keypoints=clicks)
    samples, scale = load(alone, shape=(3, 40, 40))
    others, other_scale = load(alone.replace(grids=(empty,)), shape=(3, 40, 40))
    assert [s.slice for s in others] == [s.slice for s in samples] == [0]
    assert not others[0].is_calibrated
    assert other_scale == scale


# -- weights -----------------------------------------------------------------------------------


def test_alone_the_classes_of_keypoints_weigh_the_same():
    clicks = points((5, 5), (5, 15), (5, 25), class_index=0) + points((20, 20))
    _, scale = load(Annotations(THREE, keypoints=clicks), weight=6)
    background, mito, nucleus = scale.keypoint_weights
    assert 3 * background == pytest.approx(mito)
    assert (3 * background + mito) / 4 == pytest.approx(6)
    assert nucleus == 6


def test_beside_a_grid_every_keypoint_weighs_the_same():
    clicks = points((5, 5), (5, 15), (5, 25), class_index=0) + points((20, 20))
    annotations = Annotations(CLASSES, keypoints=clicks, grids=(grid([(30, 30, 0)]),))
    _, scale = load(annotations, weight=6)
    assert scale.keypoint_weights == (6, 6)


def test_the_normaliser_is_the_mean_weight_of_counted_slices():
    annotations = Annotations(
        CLASSES,
        keypoints=points((20, 20), slice=2),
        grids=(
            grid([(8, 8, 0), (8, 30, 0), (30, 8, 1)]),
            grid([(8, 8, 0)], slice=1),
        ),
    )
    _, scale = load(annotations, shape=(3, 40, 40))
    assert scale.normaliser == pytest.approx((3 + 1) / 2)


def test_without_grids_it_is_the_mean_weight_of_labelled_slices():
    clicks = points((20, 20), (4, 4)) + points((20, 20), slice=1)
    annotations = Annotations(CLASSES, keypoints=clicks, proportions=(stated(0.9, 0.1, slice=2),))
    _, scale = load(annotations, shape=(3, 40, 40), weight=4, radius_px=1)
    assert scale.normaliser == pytest.approx((8 + 4) / 2)


def test_added_labels_leave_the_weights_of_others_alone():
    before = Annotations(CLASSES, grids=(grid([(8, 8, 0), (30, 8, 1)]),))
    after = before.replace(
        keypoints=points((20, 20), (22, 4)) + points((9, 9), slice=1, class_index=0)
    )
    (old,), scale = load(before, shape=(2, 40, 40))
    (new, _), other_scale = load(after, shape=(2, 40, 40), scale=scale)
    assert other_scale == scale
    untouched = old.target >= 0
    np.testing.assert_array_equal(new.target[untouched], old.target[untouched])
    np.testing.assert_array_equal(new.weight[untouched], old.weight[untouched])


def test_weights_are_decided_when_there_are_labels():
    typed = Annotations(CLASSES, proportions=(stated(0.9, 0.1),))
    counted = typed.replace(grids=(grid([(8, 8, 0), (30, 8, 1), (30, 30, 0)]),))
    _, undecided = load(typed)
    assert undecided.normaliser == 0
    _, scale = load(counted, scale=undecided)
    assert scale.normaliser == pytest.approx(3)
    fixed = LabelScale(5.0, (2.0, 2.0))
    assert load(counted, scale=fixed)[1] == fixed


# -- regions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("box", "k", "expected"),
    [
        (None, 1, (0, 0, 41, 30)),
        (None, 4, (0, 0, 11, 8)),
        ((0, 0, 41, 30), 4, (0, 0, 11, 8)),
        ((8, 4, 16, 12), 4, (2, 1, 4, 3)),
        ((9, 5, 17, 13), 4, (2, 1, 4, 3)),
        ((10, 6, 18, 14), 4, (3, 2, 5, 4)),
        ((40, 29, 41, 30), 4, (10, 7, 11, 8)),
        ((20, 20, 21, 21), 8, (3, 3, 4, 4)),
        ((0, 0, 1, 1), 8, (0, 0, 1, 1)),
    ],
)
def test_regions_have_whole_working_pixels(box, k, expected):
    annotations = Annotations(CLASSES, proportions=(stated(0.75, 0.25, box=box),))
    (found,), _ = load(annotations, shape=(1, 41, 30), k=k)
    (region,) = found.bags
    assert region.box == expected
    assert region.area == (expected[2] - expected[0]) * (expected[3] - expected[1])


@settings(max_examples=100)
@given(k=st.integers(1, 9), height=st.integers(1, 60), data=st.data())
def test_neighbouring_regions_share_their_edge_and_none_is_lost(k, height, data):
    n_cuts = data.draw(st.integers(0, 4))
    cuts = sorted(data.draw(st.integers(0, height)) for _ in range(n_cuts))
    edges = [0, *cuts, height]
    spans = [(a, b) for a, b in itertools.pairwise(edges) if b > a]
    proportions = tuple(stated(0.5, 0.5, box=(a, 0, b, 7)) for a, b in spans)
    (found,), _ = load(Annotations(CLASSES, proportions=proportions), shape=(1, height, 7), k=k)
    n_working = -(-height // k)
    rows = sorted((one.box[0], one.box[2]) for one in found.bags)
    assert all(0 <= top < bottom <= n_working for top, bottom in rows)
    if all(b - a >= 2 * k for a, b in spans):
        assert rows[0][0] == 0
        assert rows[-1][1] == n_working
        assert [bottom for _, bottom in rows[:-1]] == [top for top, _ in rows[1:]]


def test_the_region_within_comes_after_the_region_around_it():
    inner = stated(0.2, 0.8, box=(4, 4, 12, 12))
    outer = stated(0.9, 0.1)
    annotations = Annotations(CLASSES, proportions=(inner, outer))
    (found,), _ = load(annotations)
    assert [one.area for one in found.bags] == [1600, 64]


def test_fractions_are_nan_where_unknown_and_exact_where_typed():
    annotations = Annotations(THREE, proportions=(stated(None, 0.0, None),))
    ((found,),) = (s.bags for s in load(annotations)[0])
    for values in (found.fractions, found.low, found.high):
        np.testing.assert_array_equal(values, [np.nan, 0, np.nan])
        assert values.dtype == np.float32


def test_a_missing_background_is_the_remainder():
    annotations = Annotations(THREE, proportions=(stated(None, 0.25, 0.5),))
    ((found,),) = (s.bags for s in load(annotations)[0])
    np.testing.assert_allclose(found.fractions, [0.25, 0.25, 0.5])


def test_an_interval_alone_is_learned_by_its_middle():
    proportion = stated(None, None, low=(None, 0.1), high=(None, 0.3))
    ((found,),) = (s.bags for s in load(Annotations(CLASSES, proportions=(proportion,)))[0])
    np.testing.assert_allclose(found.fractions, [0.8, 0.2], rtol=1e-6)
    np.testing.assert_allclose([found.low[1], found.high[1]], [0.1, 0.3], rtol=1e-6)


def test_a_grid_without_hits_is_no_proof_of_absence():
    nodes = [(4 + 4 * i, 4 + 4 * j, 0) for i in range(8) for j in range(8)]
    ((found,),) = (s.bags for s in load(Annotations(CLASSES, grids=(grid(nodes),)))[0])
    _, high = wilson_interval(0, 64)
    odds = high / 4
    np.testing.assert_allclose(found.fractions, [1 / (1 + odds), odds / (1 + odds)], rtol=1e-5)
    np.testing.assert_allclose([found.low[1], found.high[1]], [0, high], rtol=1e-5)


def test_a_finished_count_wins_over_the_typed_fraction_of_its_slice():
    annotations = Annotations(
        CLASSES,
        proportions=(stated(0.9, 0.1),),
        grids=(grid([(8, 8, 1), (8, 30, 0), (30, 8, 0), (30, 30, 1)]),),
    )
    ((found,),) = (s.bags for s in load(annotations)[0])
    np.testing.assert_allclose(found.fractions, 0.5)
    low, high = wilson_interval(2, 4)
    np.testing.assert_allclose([found.low[1], found.high[1]], [low, high], rtol=1e-6)


# -- frames ------------------------------------------------------------------------------------


def frame(nodes, box, **options):
    return grid(nodes, **options).replace(box=box)


def test_each_done_frame_is_a_region_and_its_nodes_are_labels():
    first = frame([(2, 2, 1), (2, 6, 0), (6, 2, 0), (6, 6, 0)], (0, 0, 8, 8))
    second = frame([(34, 34, 1), (34, 38, 1)], (32, 32, 40, 40))
    still_open = frame([(2, 34, 1), (6, 34, -2)], (0, 32, 8, 40), is_done=False)
    annotations = Annotations(
        CLASSES,
        proportions=(stated(0.9, 0.1), stated(0.5, 0.5, box=(0, 0, 8, 8))),
        grids=(first, second, still_open),
    )
    ((made,), scale) = load(annotations, k=2, node_radius=0)
    assert [one.box for one in made.bags] == [(0, 0, 20, 20), (0, 0, 4, 4), (16, 16, 20, 20)]
    assert made.is_calibrated
    assert [tuple(place) for place in np.argwhere(made.target == 1).tolist()] == [
        *((1, 1), (1, 17), (17, 17), (17, 19)),
    ]
    assert [tuple(place) for place in np.argwhere(made.target == 0).tolist()] == [
        *((1, 3), (3, 1), (3, 3)),
    ]
    assert made.nodes.keys() == {first.region, second.region}
    assert made.nodes[second.region].tolist() == [17 * 20 + 17, 17 * 20 + 19]
    assert scale.normaliser == 7


def test_a_frame_as_large_as_its_slice_wins_over_the_typed_fraction():
    nodes = [(8, 8, 1), (8, 30, 0), (30, 8, 0), (30, 30, 1)]
    annotations = Annotations(
        CLASSES, proportions=(stated(0.9, 0.1),), grids=(frame(nodes, (0, 0, 40, 40)),)
    )
    ((found,),) = (s.bags for s in load(annotations)[0])
    np.testing.assert_allclose(found.fractions, 0.5)


def test_frames_are_learned_by_what_a_map_makes_of_their_own_nodes():
    boxes = ((0, 0, 20, 20), (20, 20, 40, 40))
    frames = tuple(frame([(box[0], box[1], 1), (box[0] + 8, box[1], 0)], box) for box in boxes)
    reader = SampleReader(
        flat(1, 40, 40),
        Annotations(CLASSES, grids=frames),
        preset("fast").with_overrides({"loss.bias_correction": False}),
        working_scale=WorkingScale(1),
    )
    bags = reader.bags({frames[1].region: np.array([1.5, 0.5])})[0]
    assert [one.fractions.tolist() for one in bags] == [[0.5, 0.5], [0.75, 0.25]]


# -- masks -------------------------------------------------------------------------------------


def masks(n=1, size=8, value=0):
    return np.full((n, size, size), value, np.uint8)


def test_a_block_of_a_mask_has_the_class_of_most_of_its_pixels():
    labels = masks()
    labels[0, 0:4, 0:3] = 1
    labels[0, 4:8, 4:5] = 1
    labels[0, 4:6, 0:4] = 255
    labels[0, 6:8, 0:4] = 2
    (found,), scale = load(Annotations(THREE), shape=(1, 8, 8), k=4, masks=labels)
    assert found.target.tolist() == [[1, 0], [2, 0]]
    assert found.is_mask
    assert found.is_calibrated
    assert (found.weight == 1).all()
    assert scale.normaliser == 0


def test_unlabelled_blocks_and_slices_are_left_out():
    labels = masks(3, value=255)
    labels[1] = 0
    labels[1, :4, :4] = 255
    (found,), _ = load(Annotations(CLASSES), shape=(3, 8, 8), k=4, masks=labels)
    assert found.slice == 1
    assert found.target.tolist() == [[-1, 0], [0, 0]]
    assert found.weight.tolist() == [[0, 1], [1, 1]]


@pytest.mark.parametrize("direction", ["row", "diagonal"])
def test_a_stroke_weighs_as_much_as_a_keypoint_however_long(direction):
    labels = masks(size=40, value=255)
    if direction == "row":
        labels[0, 5, 3:33] = 1
    else:
        labels[0, np.arange(30), np.arange(30)] = 1
    labels[0, 35, 2] = 0
    (found,), _ = load(Annotations(CLASSES), masks=labels, weight=5)
    assert not found.is_mask
    assert not found.is_calibrated
    assert found.weight[found.target == 1].sum() == pytest.approx(5)
    assert found.weight[35, 2] == 5


def test_a_mask_that_does_not_fit_the_image_is_refused():
    with pytest.raises(InputError, match=r"mask 0 is 8 x 8 pixels .* its slice 40 x 40"):
        load(Annotations(CLASSES), masks=masks())
    with pytest.raises(InputError, match=r"slice 1 is outside array"):
        load(Annotations(CLASSES), shape=(1, 8, 8), masks=masks(2))


def test_a_class_beyond_the_known_ones_is_refused_not_taken_as_background():
    labels = masks(value=255)
    labels[0, 3, 3] = 2
    with pytest.raises(InputError, match=r"mask 0 holds class index 2, but there are 2 classes"):
        load(Annotations(CLASSES), shape=(1, 8, 8), masks=labels)


# -- slices ------------------------------------------------------------------------------------


def test_nothing_to_learn_from_is_refused():
    uninformative = stated(None, None)
    unjudged = grid([(8, 8, -1)])
    for one in (
        Annotations(CLASSES),
        Annotations(CLASSES, proportions=(uninformative,), grids=(unjudged,)),
    ):
        with pytest.raises(InputError, match="nothing is annotated"):
            load(one, masks=masks(size=40, value=255))


def test_annotations_outside_the_stack_are_refused():
    with pytest.raises(InputError, match="outside the stack of 2 slices"):
        load(clicked((3, 3), slice=2), shape=(2, 40, 40))
    with pytest.raises(InputError, match=r"outside the image, which is 40 x 40"):
        load(clicked((3, 40)))


def test_images_are_read_once():
    stack, images, scale = flat(2, 16, 16), {}, WorkingScale(2)
    settings = preset("fast")
    first = SampleReader(stack, clicked((3, 3)), settings, working_scale=scale, images=images)
    (one,) = read_all(first)
    both = Annotations(CLASSES, keypoints=points((3, 3)) + points((3, 3), slice=1))
    second = SampleReader(stack, both, settings, working_scale=scale, images=first.images)
    again, other = read_all(second)
    assert again.image is one.image
    assert images.keys() == {Region(0), Region(1)}
    assert other.slice == 1


def test_images_of_other_pixel_sizes_are_reduced_alike():
    fine = np.random.default_rng(0).integers(0, 255, (64, 48), np.uint8)
    coarse = fine.reshape(32, 2, 24, 2).mean((1, 3))
    stack = image_set([fine.astype(np.float32), coarse.astype(np.float32)],
                              sizes_um=(0.005, 0.01))  # fmt: skip
    halves = [
        Proportion(Region(z, (0, 0, edge, 24 // (z + 1))), (0.5, 0.5))
        for z, edge in enumerate((32, 16))
    ]
    masks = [np.full((64, 48), 255, np.uint8), np.full((32, 24), 255, np.uint8)]
    masks[0][48:56, 8:16] = masks[1][24:28, 4:8] = 1
    annotations = Annotations(
        CLASSES,
        proportions=tuple(halves),
        keypoints=points((33.5, 1.5)) + points((16.5, 0.5), slice=1),
    )
    reader = SampleReader(
        stack,
        annotations,
        preset("fast").with_overrides({"labels.keypoint_radius_px": 0}),
        working_scale=WorkingScale(4, 0.005),
        masks=as_label_source(masks),
    )
    first, second = read_all(reader)
    assert first.shape == second.shape == (16, 12)
    np.testing.assert_allclose(first.image, second.image, atol=1e-5)
    assert first.bags[0].box == second.bags[0].box == (0, 0, 8, 6)
    assert np.array_equal(first.target, second.target)
    assert (first.target == 1).sum() == 4 + 1


def test_images_of_a_set_keep_their_own_size():
    stack = image_set([np.zeros((30, 20), np.uint8), np.zeros((8, 50), np.uint8)])
    annotations = Annotations(CLASSES, proportions=(stated(0.5, 0.5), stated(0.5, 0.5, slice=1)))
    samples, _ = load(annotations, stack=stack, k=4)
    assert [s.shape for s in samples] == [(8, 5), (2, 13)]
    assert [s.bags[0].box for s in samples] == [(0, 0, 8, 5), (0, 0, 2, 13)]


# -- parts of large slices ---------------------------------------------------------------------


def in_parts(annotations, *, monkeypatch, k=1, crop_px=16, large_px=0, dtype=np.uint8, **overrides):
    """The same slice read whole, and in parts, as if it were large."""
    pixels = np.random.default_rng(0).integers(0, 200, (1, 150 * k, 190 * k)).astype(dtype)
    read = []

    def load_with(limit):
        monkeypatch.setattr("napari_spss.core.training.samples._LARGE_PX", limit)
        reader = SampleReader(
            stack_from_array(pixels),
            annotations,
            preset("fast").with_overrides({"sampling.crop_px": crop_px, **overrides}),
            working_scale=WorkingScale(k),
        )
        read.append(reader)
        return read_all(reader)

    return load_with(2**24)[0], load_with(large_px), read[-1]


def framed(y, x, *classes, slice=0, is_done=True):
    """A frame of 20 px with three by three nodes of these classes."""
    rows, columns = np.meshgrid(y + np.array([3.0, 10, 17]), x + np.array([3.0, 10, 17]))
    nodes = np.resize(classes, 9).astype(np.int16)
    return CountingGrid(
        slice,
        7.0,
        0.0,
        0.0,
        rows.ravel(),
        columns.ravel(),
        nodes,
        is_done,
        box=(y, x, y + 20, x + 20),
    )


SAID_HERE_AND_THERE = Annotations(
    CLASSES,
    proportions=(stated(0.7, 0.3, box=(100, 150, 110, 170)),),
    keypoints=(*points((5, 180)), *points((8, 172), class_index=0), *points((149, 0))),
    grids=(framed(40, 20, 0, 1), framed(130, 100, 0, 0, 1), framed(0, 90, 1, is_done=False)),
)


ALL_OVER = grid([(y, x, 0) for y in range(9, 150, 20) for x in range(9, 190, 20)])


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("normalisation", ["slice", "range"])
def test_parts_of_a_large_slice_are_cut_from_it(monkeypatch, normalisation, dtype):
    whole, parts, reader = in_parts(
        SAID_HERE_AND_THERE,
        monkeypatch=monkeypatch,
        dtype=dtype,
        **{"image.normalisation": normalisation},
    )
    assert len(parts) == 6  # two keypoints lie in one window
    target = np.full(whole.shape, -1)
    boxes = []
    for one in parts:
        y0, x0, y1, x1 = one.part
        np.testing.assert_allclose(one.image, whole.image[:, y0:y1, x0:x1], atol=1e-5)
        np.testing.assert_array_equal(one.weight, whole.weight[y0:y1, x0:x1])
        np.testing.assert_array_equal(one.error, whole.error[y0:y1, x0:x1])
        target[y0:y1, x0:x1] = one.target
        assert min(one.shape) >= 16  # a window finds room
        boxes += [np.add(bag.box, (y0, x0, y0, x0)).tolist() for bag in one.bags]
        for nodes in one.nodes.values():
            assert (one.target.flat[nodes] >= 0).all()
    np.testing.assert_array_equal(target, whole.target)
    assert sorted(boxes) == sorted(list(bag.box) for bag in whole.bags)
    assert sum(one.is_calibrated for one in parts) == 2
    assert sum(len(one.nodes) for one in parts) == len(whole.nodes)
    assert sorted(place for one in parts for place in one.keypoints) == [0, 1, 2]
    assert len({one.name for one in parts}) == 6
    assert all(image.size < whole.image.size for image in reader.images.values())


def test_parts_are_cut_at_working_scale(monkeypatch):
    said = SAID_HERE_AND_THERE.replace(grids=SAID_HERE_AND_THERE.grids[1:])
    whole, parts, _ = in_parts(said, monkeypatch=monkeypatch, k=3, crop_px=16)
    assert len(parts) > 1
    for one in parts:
        y0, x0, y1, x1 = one.part
        np.testing.assert_allclose(one.image, whole.image[:, y0:y1, x0:x1], atol=1e-5)
        np.testing.assert_array_equal(one.target, whole.target[y0:y1, x0:x1])


@pytest.mark.parametrize(
    "annotations",
    [
        Annotations(CLASSES, (stated(0.9, 0.1),), grids=(framed(40, 20, 0, 1),)),  # of all of it
        Annotations(
            CLASSES,
            grids=(grid([(y, x, 0) for y in range(9, 150, 20) for x in range(9, 190, 20)]),),
        ),
        Annotations(CLASSES, (stated(0.9, 0.1, box=(0, 0, 150, 150)),)),
    ],
)
def test_a_large_slice_of_which_much_is_said_is_read_whole(monkeypatch, annotations):
    whole, parts, _ = in_parts(annotations, monkeypatch=monkeypatch)
    (one,) = parts
    assert one.part is None
    np.testing.assert_array_equal(one.image, whole.image)


def test_a_slice_that_is_not_large_is_read_whole(monkeypatch):
    _, (one,), _ = in_parts(SAID_HERE_AND_THERE, monkeypatch=monkeypatch, large_px=150 * 190)
    assert one.part is None
