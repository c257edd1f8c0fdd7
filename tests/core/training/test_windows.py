"""Fixed crops of slices and regions: the paper's numbers, slivers, labels outside regions."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings, strategies as st
from samples_in_memory import bag, sample

from napari_spss.core.training.windows import make_windows, window_shape


def test_a_window_is_no_larger_than_the_largest_slice():
    samples = [sample((8, 5)), sample((2, 13), index=1)]
    assert window_shape(samples, 6) == (6, 6)
    assert window_shape(samples, 10) == (8, 10)


def huge(shape, bags):
    """A slice whose pixels take no memory."""
    found = sample((1, 1), bags=bags)
    found.image = np.broadcast_to(np.float32(0), (1, *shape))
    found.target = np.broadcast_to(np.int64(-1), shape)
    found.weight = np.broadcast_to(np.float32(0), shape)
    return found


def test_a_slice_of_1024_px_gives_16_crops_of_256():
    windows, shape = make_windows([huge((1024, 1024), [bag((0, 0, 1024, 1024), (0.9, 0.1))])], 256)
    assert len(windows) == 16
    assert shape == (256, 256)
    assert {(w.y0, w.x0) for w in windows} == {
        (y, x) for y in range(0, 1024, 256) for x in range(0, 1024, 256)
    }
    for window in windows:
        (tile,) = window.bags
        assert tile.box == (window.y0, window.x0, window.y0 + 256, window.x0 + 256)
        np.testing.assert_array_equal(tile.fractions, np.array([0.9, 0.1], np.float32))


def test_the_paper_s_stack_gives_its_number_of_crops():
    slices = [huge((768, 1024), [bag((0, 0, 768, 1024), (0.9, 0.1))])] * 165
    windows, _ = make_windows(slices, 256)
    assert len(windows) == 165 * 12 == 1980


def test_slivers_are_dropped_and_small_regions_are_kept_whole():
    regions = [bag((0, 0, 70, 40), (0.9, 0.1)), bag((80, 5, 90, 15), (0.5, 0.5))]
    windows, shape = make_windows([sample((100, 40), bags=regions)], 32)
    # rows 64-70 and columns 32-40 are less than half a crop
    assert [w.bags[0].box for w in windows] == [
        (0, 0, 32, 32),
        (32, 0, 64, 32),
        (80, 5, 90, 15),
    ]
    assert shape == (32, 32)


def test_windows_of_small_regions_are_no_larger_than_the_largest_region():
    regions = [bag((0, 0, 10, 20), (0.9, 0.1)), bag((80, 5, 95, 15), (0.5, 0.5))]
    _, shape = make_windows([sample((100, 40), bags=regions)], 32)
    assert shape == (15, 20)


@settings(max_examples=100)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    crop=st.integers(16, 40),
    data=st.data(),
)
def test_every_label_is_shown_by_some_window(height, width, crop, data):
    place = st.tuples(st.integers(0, height - 1), st.integers(0, width - 1))
    labels = dict.fromkeys(data.draw(st.lists(place, min_size=1, max_size=6)), 1)
    regions = []
    if data.draw(st.booleans()):
        y0, x0 = data.draw(place)
        y1 = data.draw(st.integers(y0 + 1, height))
        x1 = data.draw(st.integers(x0 + 1, width))
        regions.append(bag((y0, x0, y1, x1), (0.5, 0.5)))
    windows, (rows, columns) = make_windows(
        [sample((height, width), labels=labels, bags=regions)], crop
    )
    assert rows <= crop
    assert columns <= crop
    for y, x in labels:
        assert any(w.y0 <= y < w.y0 + rows and w.x0 <= x < w.x0 + columns for w in windows)
    for window in windows:
        assert window.y0 < height
        assert window.x0 < width
        assert len(window.bags) <= 1


def test_where_nothing_is_said_there_is_no_window():
    windows, _ = make_windows([sample((64, 64), labels={(40, 3): 1})], 32)
    assert [(w.sample, w.y0, w.x0, w.bags) for w in windows] == [(0, 32, 0, ())]
