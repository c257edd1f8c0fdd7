from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from napari_spss.core.annotations import (
    NOT_JUDGED,
    UNSURE,
    Annotations,
    CountingGrid,
    Keypoint,
    Proportion,
    Region,
    lay_frames,
    lay_grid,
    match_class,
    wilson_interval,
)
from napari_spss.core.annotations.checks import is_background, order_classes
from napari_spss.core.annotations.grids import nodes_in
from napari_spss.core.base import InputError

CLASSES = ("background", "mito", "axon")


class TwoSlices:
    """Slices of 10 x 20 and 30 x 40 px."""

    n_slices = 2

    def shape_of(self, z):
        return ((10, 20), (30, 40))[z]


def a_grid(class_index, *, z=0, is_done=True):
    n = len(class_index)
    return CountingGrid(z, 2.0, 0.5, 0.5, np.arange(n), np.zeros(n), class_index, is_done)


# --- intervals -----------------------------------------------------------------------------------


def test_wilson_interval_of_published_and_closed_form_values():
    z2 = 1.96**2
    assert wilson_interval(0, 10) == pytest.approx((0, z2 / (10 + z2)))
    assert wilson_interval(10, 10) == pytest.approx((10 / (10 + z2), 1))
    assert wilson_interval(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson_interval(0, 0) == (0.0, 1.0)


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_wilson_interval_holds_the_fraction_and_is_symmetric(hits, misses):
    n = hits + misses
    low, high = wilson_interval(hits, n)
    assert 0 <= low <= high <= 1
    if n:
        assert low <= hits / n <= high
    mirrored = wilson_interval(misses, n)
    assert (1 - high, 1 - low) == pytest.approx(mirrored, abs=1e-12)


def test_wilson_interval_narrows_with_more_nodes_and_refuses_impossible_counts():
    widths = [np.diff(wilson_interval(n // 4, n))[0] for n in (16, 64, 256)]
    assert widths == sorted(widths, reverse=True)
    with pytest.raises(InputError, match="5 hits among 3"):
        wilson_interval(5, 3)


# --- grids ---------------------------------------------------------------------------------------


@settings(max_examples=200)
@given(
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.floats(0, 1),
    st.integers(0, 2**32 - 1),
)
def test_a_grid_covers_the_image_evenly_and_stays_inside(shape, size, seed):
    spacing = 1 + size * (min(shape) - 1)
    grid = nodes_in(Region(3), shape, spacing, np.random.default_rng(seed))
    assert grid.slice == 3
    assert not grid.is_done
    assert 0 <= grid.offset_y < spacing
    assert 0 <= grid.offset_x < spacing
    assert set(grid.class_index.tolist()) == {NOT_JUDGED}
    for positions, length in ((np.unique(grid.y), shape[0]), (np.unique(grid.x), shape[1])):
        assert np.allclose(np.diff(positions), spacing)
        # gaps at both edges are smaller than the spacing: no node is missing
        assert -0.5 <= positions[0] < -0.5 + spacing + 1e-9
        assert length - 0.5 - spacing - 1e-9 <= positions[-1] < length - 0.5
    assert grid.n_nodes == np.unique(grid.y).size * np.unique(grid.x).size


def test_the_default_grid_has_about_n_side_squared_nodes_whatever_the_aspect():
    for shape in ((1024, 1024), (512, 2048), (700, 900)):
        grid = lay_grid(0, shape, rng=np.random.default_rng(1))
        assert grid.n_nodes == pytest.approx(256, rel=0.13)
    assert lay_grid(0, (64, 64), n_side=8, rng=np.random.default_rng(0)).n_nodes == 64


def test_same_generator_state_gives_the_same_grid_and_another_one_another():
    first, same, other = (
        lay_grid(0, (100, 100), rng=np.random.default_rng(seed)) for seed in (4, 4, 5)
    )
    assert first == same
    assert hash(first) == hash(same)
    assert first != other
    assert first != "a grid"


def test_every_pixel_is_as_likely_to_hold_a_node():
    # Spacing 4 on 6 px: nodes at offset -4, 0, +4. Offsets are uniform, so counts are even.
    rng = np.random.default_rng(0)
    rows = np.concatenate([np.unique(nodes_in(Region(0), (6, 6), 4, rng).y) for _ in range(4000)])
    counts = np.bincount(np.floor(rows + 0.5).astype(int), minlength=6)
    assert counts == pytest.approx(np.full(6, 1000), rel=0.12)


def test_a_grid_without_nodes_is_refused():
    with pytest.raises(InputError, match="n_side 0 is below 1"):
        lay_grid(0, (50, 80), n_side=0, rng=np.random.default_rng(0))


def test_a_grid_counts_judged_nodes_only():
    grid = a_grid([0, 0, 0, 1, -1, 1, 2, -1])
    assert (grid.n_nodes, grid.n_judged) == (8, 6)
    assert grid.judged_counts(4).tolist() == [3, 2, 1, 0]
    proportion = grid.proportion(3)
    assert proportion.source == "grid"
    assert proportion.region == Region(0)
    assert proportion.fractions == pytest.approx((3 / 6, 2 / 6, 1 / 6))
    assert proportion.bounds()[1] == wilson_interval(2, 6)


def test_a_count_without_hits_is_not_an_exact_zero():
    proportion = a_grid([0] * 100).proportion(2)
    assert proportion.fractions == (1.0, 0.0)
    assert proportion.bounds()[1] == (0.0, pytest.approx(0.037, abs=1e-3))


def test_a_grid_without_judged_nodes_says_nothing():
    assert not a_grid([-1, -1]).proportion(2).is_informative


def test_nodes_that_were_not_judged_are_unsure_once_the_grid_is_done():
    grid = a_grid([1, UNSURE, NOT_JUDGED], is_done=False)
    assert grid.class_index.tolist() == [1, UNSURE, NOT_JUDGED]
    assert grid.n_judged == 1
    done = grid.replace(is_done=True)
    assert done.class_index.tolist() == [1, UNSURE, UNSURE]
    assert done.judged_counts(2).tolist() == [0, 1]


def test_nodes_of_a_grid_change_by_copy():
    grid = a_grid([-1, -1, -1])
    changed = grid.with_class([0, 2], 1)
    assert grid.class_index.tolist() == [-1, -1, -1]
    assert changed.class_index.tolist() == [1, -1, 1]
    assert changed.with_class(changed.class_index < 0, 0).class_index.tolist() == [1, 0, 1]
    with pytest.raises(ValueError, match="read-only"):
        changed.y[0] = 5
    source = np.array([1.0])
    kept = CountingGrid(0, 1.0, 0.0, 0.0, source, source, np.array([0]))
    source[0] = 9
    assert kept.y.tolist() == [1.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slice": -1}, "slice -1"),
        ({"spacing_px": 0}, "spacing_px 0"),
        ({"spacing_px": math.inf}, "spacing_px inf"),
        ({"offset_x": math.nan}, "finite"),
        ({"y": [math.nan, 0]}, "finite"),
        ({"y": [0.0]}, "shapes"),
        ({"class_index": [0, -3]}, "-1 means unsure"),
    ],
)
def test_impossible_grids_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        a_grid([0, 1]).replace(**changes)


# --- proportions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Region(-1), "slice -1 is negative"),
        (lambda: Region(0, (0, -1, 2, 2)), "starts outside"),
        (lambda: Region(0, (2, 0, 2, 5)), "is empty"),
        (lambda: Proportion(Region(0), (0.5, 30.0)), "30.0 is not between 0 and 1"),
        (lambda: Proportion(Region(0), (0.5, math.nan)), "nan is not between"),
        (lambda: Proportion(Region(0), (None, 0.3), low=(None, 0.4)), "low <= fraction"),
        (lambda: Proportion(Region(0), (None, 0.3), high=(None, 0.2)), "low <= fraction"),
        (lambda: Proportion(Region(0), (None, 0.3), high=(0.2,)), "high has 1 values for 2"),
        (lambda: Keypoint(-1, 0, 0, 0), "slice -1"),
        (lambda: Keypoint(0, math.inf, 0, 0), "not finite"),
        (lambda: Keypoint(0, 0, 0, -1), "class_index -1"),
    ],
)
def test_impossible_values_are_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ((None, 0.1, 0.2), (0.7, 0.1, 0.2)),
        ((None, 0.0, 0.0), (1.0, 0.0, 0.0)),
        ((None, 0.1, None), (None, 0.1, None)),
        ((0.9, None, 0.05), (0.9, None, 0.05)),
        ((0.7, 0.1, 0.19), (0.7 / 0.99, 0.1 / 0.99, 0.19 / 0.99)),
        ((None, 0.51, 0.51), (0.0, 0.5, 0.5)),
        ((0.7, 0.32, None), (0.7 / 1.02, 0.32 / 1.02, None)),
        ((0.5, 0.1, 0.1), (0.5, 0.1, 0.1)),  # an error elsewhere, never corrected silently
        ((None, None, None), (None, None, None)),
    ],
)
def test_fractions_are_completed_and_renormalised(stated, expected):
    assert Proportion(Region(0), stated).normalised().fractions == pytest.approx(expected)


def test_a_sum_of_one_within_rounding_is_left_untouched():
    stated = Proportion(Region(0), (0.7, 0.1, 0.2 + 1e-12))
    assert math.fsum(stated.fractions) != 1
    assert stated.normalised().fractions == stated.fractions


def test_bounds_are_rescaled_with_their_fractions():
    stated = Proportion(Region(0), (0.6, 0.39), low=(None, 0.39), high=(None, 0.5))
    scaled = stated.normalised()
    assert scaled.low == (None, pytest.approx(0.39 / 0.99))
    assert scaled.high == (None, pytest.approx(0.5 / 0.99))
    assert scaled.fractions[1] == scaled.low[1]


def test_an_interval_stands_without_a_fraction_and_has_a_midpoint():
    stated = Proportion(Region(0), (None, None), low=(None, 0.05), high=(None, 0.10))
    assert stated.is_informative
    assert stated.bounds() == (None, (0.05, 0.10))
    assert stated.effective_fractions() == pytest.approx((0.925, 0.075))
    assert stated.normalised().fractions == (None, None)


def test_one_bound_alone_leaves_the_other_at_its_natural_limit_and_has_no_midpoint():
    below = Proportion(Region(0), (None, None), high=(None, 0.01))
    above = Proportion(Region(0), (None, None), low=(None, 0.5))
    assert below.bounds()[1] == (0.0, 0.01)
    assert above.bounds()[1] == (0.5, 1.0)
    assert below.effective_fractions() == (None, None)


def test_all_blank_bounds_are_no_bounds():
    assert Proportion(Region(0), (None, 0.1), (None, None), (None, None)).low is None
    assert not Proportion(Region(0), (None, None)).is_informative


def test_a_stated_background_interval_is_kept_instead_of_the_remainder():
    stated = Proportion(Region(0), (None, 0.1), low=(0.8, None))
    assert stated.normalised().fractions == (None, 0.1)


# --- annotations ---------------------------------------------------------------------------------


def test_a_done_grid_replaces_the_typed_fraction_of_its_whole_slice_only():
    typed = Proportion(Region(0), (0.9, 0.1))
    part = Proportion(Region(0, (0, 0, 5, 5)), (None, 0.3))
    other = Proportion(Region(1), (0.8, 0.2))
    blank = Proportion(Region(2), (None, None))
    done = a_grid([0, 1, 1, 1])
    annotations = Annotations(CLASSES[:2], (typed, part, other, blank), grids=(done,))
    assert annotations.effective_proportions() == (done.proportion(2), part.normalised(), other)
    for silent in (done.replace(is_done=False), a_grid([-1, -1])):
        effective = annotations.replace(grids=(silent,)).effective_proportions()
        assert effective == (typed, part.normalised(), other)


def test_slices_summary_and_emptiness():
    annotations = Annotations(
        CLASSES,
        (Proportion(Region(4), (None, 0.1, None)), Proportion(Region(5), (None,) * 3)),
        (Keypoint(1, 2, 3, 1), Keypoint(1, 5, 6, 0)),
        (a_grid([0, 1, 2, -1], z=7),),
    )
    assert annotations.slices() == (1, 4, 5, 7)
    done = annotations.replace(grids=(a_grid([0, 1, 2, -1], z=7),))
    assert done.summary() == "1 grid (4 nodes, 2 hits), 1 fraction, 2 keypoints"
    counted = done.replace(grids=(a_grid([0, 1, 2, -1], z=4),))
    assert "1 fraction (1 replaced by counts)," in counted.summary()
    begun = annotations.grids[0].replace(is_done=False, class_index=[1, -2, -2, -1])
    both = done.replace(grids=(*done.grids, begun))
    assert both.summary().startswith("1 grid (4 nodes, 2 hits), 1 grid still open (1 node judged),")
    assert not annotations.is_empty
    nothing = Annotations(CLASSES, annotations.proportions[1:], grids=(a_grid([-1]),))
    assert nothing.is_empty
    assert Annotations(CLASSES).summary() == "no annotations"


def test_annotations_are_compared_by_content_and_not_by_notes():
    first, second = (
        Annotations(CLASSES, keypoints=[Keypoint(0, 1, 2, 1)], grids=[a_grid([0, 1])], notes=notes)
        for notes in ((), ("renormalised",))
    )
    assert first == second
    assert hash(first) == hash(second)
    assert first != first.replace(grids=(a_grid([0, 0]),))


def test_classes_can_be_reordered_and_added_but_not_lost():
    annotations = Annotations(
        CLASSES,
        (Proportion(Region(0), (0.7, 0.1, 0.2), low=(None, 0.05, None)),),
        (Keypoint(0, 1, 2, 2),),
        (a_grid([0, 1, 2, UNSURE, NOT_JUDGED], is_done=False),),
    )
    moved = annotations.with_classes(("background", "axon", "vesicle", "MITO"))
    assert moved.proportions[0].fractions == (0.7, 0.2, None, 0.1)
    assert moved.proportions[0].low == (None, None, None, 0.05)
    assert moved.keypoints[0].class_index == 1
    assert moved.grids[0].class_index.tolist() == [0, 3, 1, UNSURE, NOT_JUDGED]
    assert annotations.with_classes(CLASSES) == annotations
    with pytest.raises(InputError, match="'axon' is annotated, but not among"):
        annotations.with_classes(("background", "mito"))


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("mito", "background"), "put 'background' first"),
        (("mito",), "put 'background' first"),
        ((), "put 'background' first"),
        (("bg", "background"), "named twice"),
        (("background", "Mito", "mito"), "named twice"),
        (("background", " mito"), "blanks at its ends"),
        (("background", "mi\nto"), "cannot be shown"),
        (("background", ""), "empty class name"),
        (("background", "mito_low"), "proportions.csv need"),
        (("background", "Slice"), "proportions.csv need"),
        (("background", "=HYPERLINK(1)"), "take for the beginning of a formula"),
        (("background", "+1"), "take for the beginning of a formula"),
        (("background", "@SUM(1)"), "take for the beginning of a formula"),
        (("background", "-x"), "take for the beginning of a formula"),
        (("background", "\tx"), "cannot be shown"),
        (("background", "x\r"), "cannot be shown"),
        (("background", *(f"c{i}" for i in range(255))), "256 classes are too many"),
    ],
)
def test_unusable_class_names_are_refused(classes, message):
    with pytest.raises(InputError, match=message) as caught:
        Annotations(classes)
    assert caught.value.field == "classes"


@pytest.mark.parametrize(
    "content",
    [
        {"proportions": (Proportion(Region(0), (0.5, 0.5)),)},
        {"keypoints": (Keypoint(0, 0, 0, 3),)},
        {"grids": (a_grid([0, 3]),)},
    ],
)
def test_contents_must_fit_the_classes(content):
    with pytest.raises(InputError, match="3 classes"):
        Annotations(CLASSES, **content)


def test_class_names_match_without_case_and_background_has_two_names():
    assert is_background(" BG ")
    assert not is_background("mito")
    assert order_classes(["mito", "Axon", "BG", "MITO"]) == ("BG", "mito", "Axon")
    assert order_classes(["mito"]) == ("background", "mito")
    assert match_class(" AXON ", CLASSES) == 2
    assert match_class("bg", CLASSES) == 0
    assert match_class("noye\u0301", ("background", "noy\u00e9")) == 1, "as macOS writes accents"
    assert match_class("nucleus", CLASSES) is None


def test_a_keypoint_belongs_to_the_pixel_around_it():
    assert Keypoint(0, -0.5, 0.49, 0).pixel == (0, 0)
    assert Keypoint(0, 0.5, 1.5, 0).pixel == (1, 2)


def problems_of(stack=None, **content):
    with pytest.raises(InputError) as caught:
        Annotations(CLASSES, **content).validate_against(stack)
    return [(p.file, p.row, p.column, p.reason) for p in caught.value.problems]


def test_valid_annotations_pass():
    annotations = Annotations(
        CLASSES,
        (
            Proportion(Region(0), (0.7, 0.1, 0.2)),
            Proportion(Region(1, (0, 0, 30, 40)), (None, 0.5, 0.52)),
            Proportion(Region(0, (0, 0, 5, 5)), (None, None, 1.0)),
        ),
        (Keypoint(0, -0.5, 19.49, 1), Keypoint(1, 29.49, 39, 0), Keypoint(1, 29.3, 39, 0)),
        (a_grid([0, 1]), a_grid([0, 2], z=1)),
    )
    annotations.validate_against(TwoSlices())
    annotations.validate_against(None)


def test_everything_outside_the_stack_is_listed_at_once():
    problems = problems_of(
        TwoSlices(),
        proportions=(
            Proportion(Region(2), (None, 0.1, None)),
            Proportion(Region(0, (0, 0, 11, 5)), (None, 0.1, None)),
        ),
        keypoints=(Keypoint(0, 5, 5, 1), Keypoint(0, 9.5, -0.51, 1), Keypoint(7, 0, 0, 1)),
        grids=(a_grid([0] * 11), a_grid([0], z=2)),
    )
    assert [problem[:3] for problem in problems] == [
        ("proportions", 2, "slice"),
        ("proportions", 3, "y1,x1"),
        ("keypoints", 3, "y"),
        ("keypoints", 3, "x"),
        ("keypoints", 4, "slice"),
        ("grid", 12, "y"),
        ("grid", 13, "slice"),
    ]


def test_contradictions_need_no_stack():
    again = Proportion(Region(1, (0, 0, 5, 5)), (None, 0.1, None))
    problems = problems_of(
        proportions=(again, Proportion(Region(0), (None, 0.1, None)), again),
        keypoints=(Keypoint(0, 1, 1, 1), Keypoint(0, 1.4, 0.6, 2)),
        grids=(a_grid([0]), a_grid([0])),
    )
    assert problems == [
        ("proportions", 4, "slice", "names the same box as line 2"),
        ("keypoints", 3, "class", "lies on the same pixel as the 'mito' of line 2"),
        ("grid", 3, "slice", "has two counting grids"),
    ]


def test_frames_give_their_own_fractions_beside_the_grid_and_the_typed_ones():
    frame = a_grid([1, 0, 0, 0]).replace(box=(0, 0, 4, 1))
    typed = (
        Proportion(Region(0), (None, 0.1, 0.0)),
        Proportion(frame.region, (None, 0.6, 0.0)),
        Proportion(Region(0, (0, 0, 9, 9)), (None, 0.2, 0.0)),
    )
    annotations = Annotations(CLASSES, typed, grids=(frame, a_grid([0, 0], z=1)))
    annotations.validate_against(TwoSlices())
    stated = {one.region: one.fractions[1] for one in annotations.effective_proportions()}
    assert stated == {frame.region: 0.25, Region(1): 0.0, Region(0): 0.1, typed[2].region: 0.2}
    beside = annotations.replace(grids=(*annotations.grids, a_grid([2, 2])))
    beside.validate_against(TwoSlices())
    assert {one.region for one in beside.counted_proportions()} == {
        frame.region,
        Region(0),
        Region(1),
    }
    assert beside.summary() == (
        "2 grids (4 nodes, 2 hits), 1 frame (4 nodes, 1 hit), 3 fractions (2 replaced by counts)"
    )


def test_of_frames_that_overlap_the_last_one_stays():
    first, second, apart = (
        a_grid([0] * 3).replace(box=box) for box in ((0, 0, 3, 2), (0, 0, 4, 1), (0, 5, 3, 6))
    )
    annotations = Annotations(CLASSES, grids=(first, apart, a_grid([0]), second))
    assert problems_of(grids=annotations.grids)[-1][1:] == (
        *(9, "y0,x0,y1,x1", "overlaps the frame of line 2"),
    )
    assert annotations.settled().grids == (apart, a_grid([0]), second)


# --- frames --------------------------------------------------------------------------------------


def coverage(shape, n, size_px, *, n_draws, first=None):
    """How often each pixel lies in one of the first frames, per drawing."""
    found = np.zeros(shape)
    for seed in range(n_draws):
        frames = lay_frames(shape, n, size_px, 2, rng=np.random.default_rng(seed))
        for frame in frames[:first]:
            y0, x0, y1, x1 = frame.box
            found[frame.slice, y0:y1, x0:x1] += 1
    return found / n_draws


@pytest.mark.parametrize(
    ("shape", "n", "size_px", "n_tiles"),
    [
        ((3, 25, 33), 5, 8, 36),  # frames do not divide the field
        ((1, 25, 33), 7, 8, 12),  # one slice
        ((7, 9, 9), 3, 9, 7),  # a frame as large as the field
        ((2, 9, 25), 1, 8, 6),
    ],
)
@pytest.mark.no_cover
def test_each_pixel_is_as_likely_in_a_frame_at_borders_too(shape, n, size_px, n_tiles):
    for first in (n, (n + 1) // 2):
        share = coverage(shape, n, size_px, n_draws=1500, first=first)
        expected = first / n_tiles
        assert share == pytest.approx(expected, abs=4.5 * (expected / 1500) ** 0.5)


def test_slices_of_different_sizes_have_frames_by_their_area():
    counts = np.zeros(2)
    for seed in range(300):
        for frame in lay_frames(TwoSlices(), 3, 10, 2, rng=np.random.default_rng(seed)):
            counts[frame.slice] += 1
    assert counts / 300 == pytest.approx([3 * 2 / 14, 3 * 12 / 14], abs=0.1)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 70), st.integers(1, 70), st.data())
def test_frames_are_whole_apart_and_hold_about_as_many_nodes_as_asked(
    n_slices, height, width, data
):
    size = data.draw(st.integers(1, min(height, width)))
    side = data.draw(st.integers(1, size))
    most = n_slices * round(height / size + 1e-9) * round(width / size + 1e-9)
    n = data.draw(st.integers(1, max(1, min(most // 2, 40))))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    frames = lay_frames((n_slices, height, width), n, size, side, rng=rng)
    assert len(frames) == n
    Annotations(CLASSES, grids=frames).validate_against(Same(n_slices, (height, width)))
    for frame in frames:
        y0, x0, y1, x1 = frame.box
        assert 2 / 3 * size - 1 <= min(y1 - y0, x1 - x0)
        assert max(y1 - y0, x1 - x0) <= 1.5 * size + 1
        pixels = {
            (math.floor(y + 0.5), math.floor(x + 0.5))
            for y, x in zip(frame.y, frame.x, strict=True)
        }
        assert 1 <= frame.n_nodes == len(pixels)
        assert set(frame.class_index.tolist()) == {NOT_JUDGED}
    per_slice = np.bincount([frame.slice for frame in frames], minlength=n_slices)
    assert per_slice.max() - per_slice.min() <= 1  # spread over slices first


class Same:
    """Slices of one shape."""

    def __init__(self, n_slices, shape):
        self.n_slices, self._shape = n_slices, shape

    def shape_of(self, z):
        return self._shape


def test_frames_spread_over_the_field_and_have_a_phase_of_their_own():
    frames = lay_frames((1, 1024, 1024), 4, 256, 8, rng=np.random.default_rng(3))
    assert {(frame.box[0] // 512, frame.box[1] // 512) for frame in frames} == {
        *((0, 0), (0, 1), (1, 0), (1, 1)),
    }
    assert {frame.n_nodes for frame in frames} == {64}
    assert len({frame.offset_y % frame.spacing_px for frame in frames}) == 4
    same, other = (
        lay_frames((1, 1024, 1024), 4, 256, 8, rng=np.random.default_rng(seed)) for seed in (3, 4)
    )
    assert frames == same != other


def test_more_frames_are_laid_beside_those_that_are_there():
    rng = np.random.default_rng(0)
    first = lay_frames((2, 40, 40), 12, 10, 2, rng=rng)
    whole = lay_grid(0, (40, 40), n_side=2, rng=rng)
    more = lay_frames((2, 40, 40), 20, 10, 2, rng=rng, beside=(*first, whole))
    assert len({frame.region for frame in (*first, *more)}) == 32
    with pytest.raises(InputError, match=r"1 frames of 10 px do not fit: .* room for 0 more"):
        lay_frames((2, 40, 40), 1, 10, 2, rng=rng, beside=(*first, *more))


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((0, 5, 2), "the number of frames, 0, is below 1"),
        ((1, 0, 2), "the size of a frame, 0, is below 1"),
        ((1, 5, 0), "the number of nodes along a frame, 0, is below 1"),
        ((1, 5, 6), "6 nodes along a frame are more than its 5 px; choose at most 5"),
        ((1, 11, 2), r"a frame of 11 px is larger than slice 0, .* 10 x 20 px .* at most 10 px"),
        ((15, 10, 2), "15 frames of 10 px do not fit: there is room for 14; lay fewer"),
    ],
)
def test_frames_that_cannot_be_laid_are_told_with_a_remedy(numbers, message):
    with pytest.raises(InputError, match=message):
        lay_frames(TwoSlices(), *numbers, rng=np.random.default_rng(0))


def test_a_box_around_the_whole_slice_repeats_the_slice():
    whole = Proportion(Region(0), (None, 0.1, None))
    boxed = Proportion(Region(0, (0, 0, 10, 20)), (None, 0.1, None))
    problems = problems_of(TwoSlices(), proportions=(whole, boxed))
    assert [problem[1:3] for problem in problems] == [(3, "slice")]


def test_a_node_laid_twice_is_named():
    twice = CountingGrid(0, 1.0, 0.0, 0.0, np.zeros(2), np.zeros(2), np.zeros(2, int))
    assert problems_of(grids=(twice,))[0][3] == "is the same node as that of line 2"


@pytest.mark.parametrize(
    ("fractions", "low", "high", "reason"),
    [
        ((0.5, 0.3, 0.1), None, None, "fractions of all classes that sum to 0.9"),
        ((0.5, 0.5, 0.1), None, None, "fractions of all classes that sum to 1.1"),
        ((None, 0.7, 0.4), None, None, "fractions that sum to 1.1"),
        ((None, 0.7, None), (None, None, 0.4), None, "lower bounds that sum to 1.1"),
        ((0.2, 0.3, None), None, (None, None, 0.4), "upper bounds that sum to 0.9"),
    ],
)
def test_impossible_sums_are_named(fractions, low, high, reason):
    problems = problems_of(proportions=(Proportion(Region(0), fractions, low, high),))
    assert [problem[:3] for problem in problems] == [("proportions", 2, None)]
    assert reason in problems[0][3]


@pytest.mark.parametrize("total", [0.98, 1.02])
def test_the_tolerance_itself_is_accepted(total):
    stated = Proportion(Region(0), (total - 0.3, 0.1, 0.2))
    annotations = Annotations(CLASSES, (stated,))
    annotations.validate_against(None)
    assert math.fsum(annotations.effective_proportions()[0].fractions) == pytest.approx(1)
