"""The benchmark of intervals: what a simulated person says, and the table."""

from __future__ import annotations

import intervals
import numpy as np
import pytest
from scipy import ndimage


@pytest.fixture(scope="module")
def truth():
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(10, 256, 256)), 6)
    return (noise > np.quantile(noise, 0.9)).astype(np.uint8)


def test_a_second_look_mends_wrong_nodes_where_the_map_is_right(truth):
    grid = intervals.grids(1)((1, 256, 256), np.random.default_rng(0))[0]
    y, x = (np.floor(axis + 0.5).astype(int) for axis in (grid.y, grid.x))
    right = truth[0, y, x]
    n_wrong = np.zeros(3)
    for seed in range(50):
        for n_looks in range(3):
            rng = np.random.default_rng(seed)
            said = intervals.judged(grid, truth, truth, n_looks, rng)
            n_wrong[n_looks] += (said.class_index != right).sum()
    assert n_wrong[0] == 0
    assert n_wrong[1] == pytest.approx(0.02 * 50 * grid.n_nodes, rel=0.2)
    assert n_wrong[2] < 0.1 * n_wrong[1]


def test_the_table_has_a_row_for_each_map_and_count(truth):
    record = intervals.computed(truth, 3)
    rows = list(intervals.rows(record))
    # counts alone once, and grids by Cavalieri, too; each of four maps corrected
    assert len(rows) == 3 + 1 + 4 * 3
    assert {row[0].partition(" (")[0] for row in rows[4:]} == set(dict(intervals.maps_of(truth)))
    assert {len(row) for row in rows} == {8}
