"""The benchmark of objects: what counts as found, and the tables."""

from __future__ import annotations

import numpy as np
import objects


def test_an_object_is_matched_where_half_of_both_is_shared():
    truth = np.zeros((1, 4, 12), np.int32)
    truth[0, :, :4], truth[0, :, 6:10] = 1, 2
    found = np.zeros_like(truth)
    found[0, :, :3], found[0, :, 8:] = 5, 6
    assert objects.matched(truth, found) == 1
    assert objects.matched(truth, truth) == 2
    assert objects.touching(truth) == 0
    truth[0, 2, 4:6] = 2
    assert objects.touching(truth) == 2


def test_the_record_counts_by_method_and_growth(capsys):
    record = objects.computed(1, (6, 128, 160))
    assert len(record["rows"]) == 2 * len(objects.GROWN_PX)
    untouched = [row for row in record["rows"] if row[1] == 0]
    for _, _, n_true, n_touching, counts in untouched:
        assert n_touching == 0
        assert counts["connected parts"] == [n_true, n_true]
    for per_slice, *worst in record["tables"]:
        assert max(worst[:2]) < 1e-6
        assert not per_slice or worst[2] < 1e-6
    objects.print_tables(record)
    assert capsys.readouterr().out.count("\n| ") == 2 + 2 * len(objects.GROWN_PX) - 1
