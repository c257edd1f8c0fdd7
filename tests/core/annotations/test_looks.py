"""Second looks: what they change, how many nodes are then expected to be wrong, their table."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from napari_spss.core.annotations import (
    UNSURE,
    Annotations,
    Look,
    Region,
    error_after_looks,
    lay_frames,
    lay_grid,
    read_annotations,
    read_looks,
    with_looks,
    write_annotations,
    write_looks,
)
from napari_spss.core.base import InputError

CLASSES = ("background", "mito")
FRAME = Region(1, (0, 0, 16, 16))


@pytest.fixture
def annotations():
    """A grid on slice 0 and a frame on slice 1, all of it judged as background."""
    rng = np.random.default_rng(0)
    (frame,) = lay_frames((1, 64, 64), 1, 16, 4, rng=rng)
    grid = lay_grid(0, (64, 64), n_side=4, rng=rng)
    shifted = frame.replace(slice=1)
    grids = [
        one.replace(class_index=np.zeros(one.n_nodes), is_done=True) for one in (grid, shifted)
    ]
    return Annotations(CLASSES, grids=tuple(grids))


def look_at(annotations, which, node, verdict=None, probability=0.5):
    """A look at a node of one of the grids."""
    grid = annotations.grids[which]
    return Look(
        grid.region,
        float(grid.y[node]),
        float(grid.x[node]),
        int(grid.class_index[node]),
        1,
        probability,
        verdict,
    )


def filled_in(path, *cells):
    """Write texts into the last column of the table."""
    header, *rows = path.read_text(encoding="utf-8").splitlines()
    filled = [row.rpartition(",")[0] + f",{cell}" for row, cell in zip(rows, cells, strict=True)]
    path.write_text("\n".join([header, *filled]) + "\n", encoding="utf-8")


def test_looks_change_nodes_and_mark_them(annotations):
    looks = [
        look_at(annotations, 0, 2, 1),
        look_at(annotations, 0, 3, 0),
        look_at(annotations, 0, 4),
        look_at(annotations, 1, 5, UNSURE),
    ]
    grid, frame = with_looks(annotations, looks).grids
    assert np.flatnonzero(grid.class_index == 1).tolist() == [2]
    assert np.flatnonzero(grid.looks).tolist() == [2, 3]
    assert frame.class_index[5] == UNSURE
    assert np.flatnonzero(frame.looks).tolist() == [5]


def test_the_same_looks_change_nothing_twice(annotations):
    looks = [look_at(annotations, 0, 2, 1), look_at(annotations, 1, 0, 0)]
    once = with_looks(annotations, looks)
    assert once != annotations
    assert with_looks(once, looks) == once


def test_looks_at_other_grids_are_refused(annotations):
    strange = dataclasses.replace(look_at(annotations, 0, 2, 1), y=1.7)
    with pytest.raises(InputError, match=r"no counting grid has a node at y 1\.7"):
        with_looks(annotations, [strange])


def test_looks_are_kept_in_the_table_of_grids_and_only_then_are_a_column(annotations, tmp_path):
    write_annotations(tmp_path, annotations)
    assert "looks" not in (tmp_path / "grid.csv").read_text(encoding="utf-8")
    looked = with_looks(annotations, [look_at(annotations, 1, 5, 1)])
    write_annotations(tmp_path, looked)
    read = read_annotations(grid=tmp_path / "grid.csv", classes=CLASSES)
    assert read.grids == looked.grids
    assert read.grids[1].looks[5] == 1


def test_a_wrong_number_of_looks_is_told(annotations, tmp_path):
    write_annotations(tmp_path, with_looks(annotations, [look_at(annotations, 0, 0, 1)]))
    path = tmp_path / "grid.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("done,1", "done,300"))
    with pytest.raises(InputError, match=r"line 2, column 'looks': '300' is too large"):
        read_annotations(grid=path, classes=CLASSES)


def test_table_of_looks_is_read_back(annotations, tmp_path):
    verdicts = [0, 1, UNSURE, None]
    looks = tuple(look_at(annotations, i % 2, i, verdicts[i], 0.9 - i / 7) for i in range(4))
    write_looks(tmp_path / "review.csv", looks, CLASSES)
    assert read_looks(tmp_path / "review.csv", annotations) == looks


def test_keep_a_class_unsure_and_blank_can_be_written_in_any_case(annotations, tmp_path):
    looks = [look_at(annotations, 0, node) for node in range(5)]
    path = tmp_path / "review.csv"
    write_looks(path, looks, CLASSES)
    filled_in(path, "Keep", "MITO", "?", "", "bg")
    read = read_looks(path, annotations)
    assert [look.verdict for look in read] == [0, 1, UNSURE, None, 0]
    assert [look.is_changed for look in read] == [False, True, False, False, False]


def test_a_class_that_is_called_keep_goes_first(annotations, tmp_path):
    named = annotations.with_classes((*CLASSES, "keep"))
    path = tmp_path / "review.csv"
    write_looks(path, [look_at(named, 0, 0)], named.classes)
    filled_in(path, "keep")
    assert read_looks(path, named)[0].verdict == 2


def test_all_wrong_cells_are_told_at_once(annotations, tmp_path):
    path = tmp_path / "review.csv"
    write_looks(path, [look_at(annotations, 0, node) for node in range(4)], CLASSES)
    filled_in(path, "kep", "mitos", "yes", "keep")
    lines = path.read_text(encoding="utf-8").splitlines()
    first = lines[4].split(",")
    first[2] = "1.7"
    path.write_text("\n".join([*lines[:4], ",".join(first), lines[1]]), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_looks(path, annotations)
    told = [(one.row, one.column, one.value) for one in caught.value.problems]
    assert told == [
        (2, "look", "kep"),
        (3, "look", "mitos"),
        (4, "look", "yes"),
        (5, "y", "1.7"),
        (6, "look", "kep"),
    ]
    texts = [str(one) for one in caught.value.problems]
    assert "write 'keep' if that is meant" in texts[0]
    assert "write 'mito' if that is meant" in texts[1]
    assert "keep, a class ('background', 'mito'), or ? for unsure" in texts[2]
    assert "is no place of a node" in texts[3]


def test_a_node_that_is_named_twice_is_told(annotations, tmp_path):
    path = tmp_path / "review.csv"
    look = look_at(annotations, 0, 0, 1)
    write_looks(path, [look, dataclasses.replace(look, verdict=0)], CLASSES)
    with pytest.raises(InputError, match=r"line 3, column 'y': .* is the node of line 2"):
        read_looks(path, annotations)


def test_a_table_of_other_grids_is_refused_by_name(annotations, tmp_path):
    path = tmp_path / "review.csv"
    write_looks(path, [look_at(annotations, 0, node, 1) for node in range(3)], CLASSES)
    other = lay_grid(0, (64, 64), n_side=4, rng=np.random.default_rng(5))
    others = Annotations(CLASSES, grids=(other,))
    with pytest.raises(InputError, match=r"review\.csv is a review of other counting grids"):
        read_looks(path, others)


def test_a_node_that_was_judged_anew_since_is_told(annotations, tmp_path):
    path = tmp_path / "review.csv"
    write_looks(path, [look_at(annotations, 0, 0, 0), look_at(annotations, 0, 1)], CLASSES)
    grid, frame = annotations.grids
    changed = annotations.replace(grids=(grid.with_class([0, 1], 1), frame))
    with pytest.raises(InputError, match="line 2, column 'stated': 'background' does not fit"):
        read_looks(path, changed)


def test_a_table_whose_changes_are_in_the_grids_already_is_read(annotations, tmp_path):
    path = tmp_path / "review.csv"
    looks = (look_at(annotations, 0, 0, 1), look_at(annotations, 0, 1, 0))
    write_looks(path, looks, CLASSES)
    assert read_looks(path, with_looks(annotations, looks)) == looks


def test_places_may_be_rounded_by_a_spreadsheet(annotations, tmp_path):
    path = tmp_path / "review.csv"
    look = look_at(annotations, 0, 7, 1)
    rounded = dataclasses.replace(look, y=round(look.y, 1), x=round(look.x, 1))
    write_looks(path, [rounded], CLASSES)
    (read,) = read_looks(path, annotations)
    assert with_looks(annotations, [read]).grids[0].looks[7] == 1


def test_an_empty_probability_and_a_missing_column_are_told(annotations, tmp_path):
    path = tmp_path / "review.csv"
    write_looks(path, [look_at(annotations, 0, 0, 1)], CLASSES)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("0.5", ""), encoding="utf-8")
    with pytest.raises(InputError, match="column 'probability': is blank"):
        read_looks(path, annotations)
    path.write_text(text.replace("look", "looked"), encoding="utf-8")
    with pytest.raises(InputError, match="has no column look"):
        read_looks(path, annotations)


def looks_of(annotations, n, n_changed, *, expected):
    """Looks at n nodes where so many errors were expected, and so many found."""
    return [look_at(annotations, 0, node, int(node < n_changed), expected / n) for node in range(n)]


@pytest.mark.parametrize(
    ("n_changed", "expected", "error"),
    [
        (4, 4.0, 0.05),  # as many as the map let expect
        (0, 4.0, 0.01),
        (1, 4.0, 0.02),
        (9, 4.0, 0.1),
        (0, 0.01, 0.05 / 1.01),
    ],
)
def test_expected_errors_follow_what_was_found(annotations, n_changed, expected, error):
    looks = looks_of(annotations, 10, n_changed, expected=expected)
    assert error_after_looks(looks, 0.05) == pytest.approx(error)


def test_expected_errors_have_bounds_and_heed_only_sure_looks(annotations):
    assert error_after_looks(looks_of(annotations, 16, 16, expected=0.1), 0.05) == 0.25
    assert error_after_looks(looks_of(annotations, 16, 0, expected=15.0), 0.05) == 0.01
    unsure = [look_at(annotations, 0, node, UNSURE, 0.9) for node in range(9)]
    blank = [look_at(annotations, 0, node, None, 0.9) for node in range(9)]
    assert error_after_looks([*unsure, *blank], 0.05) == 0.05
    right = looks_of(annotations, 10, 1, expected=4.0)
    assert error_after_looks([*right, *unsure, *blank], 0.05) == error_after_looks(right, 0.05)


def test_where_every_node_is_believed_that_stays(annotations):
    assert error_after_looks(looks_of(annotations, 16, 8, expected=2.0), 0.0) == 0
