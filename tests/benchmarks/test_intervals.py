"""The benchmark of intervals: what a simulated person says, and the table."""

from __future__ import annotations

import intervals
import numpy as np
import pytest
from scipy import ndimage

from napari_spss.core.images import as_label_source


@pytest.fixture(scope="module")
def truth():
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(10, 256, 256)), 6)
    return list((noise > np.quantile(noise, 0.9)).astype(np.uint8))


def test_a_second_look_mends_wrong_nodes_where_the_map_is_right(truth):
    grid = intervals.grids(1)(as_label_source(truth[:1]), np.random.default_rng(0))[0]
    y, x = (np.floor(axis + 0.5).astype(int) for axis in (grid.y, grid.x))
    right = truth[0][y, x]
    n_wrong = np.zeros(3)
    for seed in range(50):
        for n_looks in range(3):
            rng = np.random.default_rng(seed)
            said = intervals.judged(grid, truth, truth, n_looks, rng)
            n_wrong[n_looks] += (said.class_index != right).sum()
    assert n_wrong[0] == 0
    assert n_wrong[1] == pytest.approx(0.02 * 50 * grid.n_nodes, rel=0.2)
    assert n_wrong[2] < 0.1 * n_wrong[1]


@pytest.mark.parametrize(("name", "n_counts"), [("vnc", 3 + 1), ("sheets", 2), ("axon", 3)])
def test_the_table_has_a_row_for_each_map_and_count(truth, name, n_counts):
    data = intervals.DATA[name]
    record, alone = (make(data, truth, 3) for make in (intervals.computed, intervals.alone))
    rows = list(intervals.rows(record, alone))
    # counts alone once, of grids in a stack by Cavalieri, too; of four maps as it is, and corrected
    assert len(rows) == n_counts + 4 * (1 + len(data.designs))
    assert len({row[0] for row in rows[n_counts:]}) == 4
    assert {len(row) for row in rows} == {len(intervals.HEAD)}
    uncorrected = [row for row in rows if row[1] == "labels, uncorrected"]
    assert len(uncorrected) == 4
    assert all(row[3].startswith("no interval (") == data.is_stack for row in uncorrected)


def test_errors_of_maps_are_drawn_but_for_wider_borders(truth):
    errs = intervals.Errs(truth, intervals.DATA["vnc"])
    first, again, other = (dict(errs.draw(np.random.default_rng(seed))) for seed in (0, 0, 1))
    for name, planes in first.items():
        np.testing.assert_array_equal(planes, again[name])
        assert np.array_equal(planes, other[name]) == (name == "1 px wider")
