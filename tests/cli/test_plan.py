"""``plan`` proposes what to count, and lays it."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from napari_spss.core.annotations import read_annotations, write_grid


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.zeros((3, 300, 320), np.uint8), photometric="minisblack")
    return path


def test_what_is_proposed_can_be_counted_and_brought_back(spss, image, tmp_path):
    options = (image, "--object-diameter", "8", "--minutes", "1")
    done = spss("plan", *options)
    assert done.code == 0, done.err
    assert done.out.startswith("count ")
    assert "16 x 16 nodes" in done.out
    assert not list(tmp_path.glob("*/grid.csv"))

    done = spss("plan", *options, "--out", tmp_path / "counts")
    table = tmp_path / "counts" / "grid.csv"
    assert f"written: {table}" in done.out
    laid = read_annotations(grid=table, classes=("background", "object"))
    assert [grid.is_done for grid in laid.grids] == [False]
    done = spss("plan", *options, "--grid", table)
    assert done.code == 2
    assert "holds nothing that is counted to its end" in done.error

    grid = laid.grids[0]
    hits = (np.arange(grid.n_nodes) % 10 == 0).astype(int)
    counted = laid.replace(grids=(grid.replace(class_index=hits, is_done=True),))
    write_grid(tmp_path / "counted.csv", counted)
    done = spss("plan", *options, "--grid", tmp_path / "counted.csv")
    assert done.code == 0, done.err
    assert "expect: about 26 hits" in done.out


def test_frames_are_laid_in_a_large_field(spss, tmp_path):
    path = tmp_path / "large.tif"
    tifffile.imwrite(path, np.zeros((2, 1500, 1500), np.uint8), photometric="minisblack")
    options = (path, "--object-diameter", "20", "--minutes", "1")
    done = spss("plan", *options, "--out", tmp_path / "counts")
    assert done.code == 0, done.err
    assert "count 4 frames of about 256 px, with 8 x 8 nodes each" in done.out
    laid = read_annotations(grid=tmp_path / "counts" / "grid.csv").grids
    assert [grid.box is None for grid in laid] == [False] * 4
    table = tmp_path / "counts" / "grid.csv"
    filled_in = table.read_text().replace(",open", ",done", 1)
    table.write_text(filled_in)
    again = spss("plan", *options, "--out", tmp_path / "counts", "--seed", "1")
    assert again.code == 2
    assert str(table) in again.error
    assert table.read_text() == filled_in


def test_the_table_that_is_read_is_not_replaced(spss, image, tmp_path):
    options = (image, "--object-diameter", "8", "--minutes", "1", "--out", tmp_path / "counts")
    assert spss("plan", *options).code == 0
    table = tmp_path / "counts" / "grid.csv"
    laid = read_annotations(grid=table, classes=("background", "object"))
    grid = laid.grids[0]
    counted = grid.replace(class_index=np.zeros(grid.n_nodes, int), is_done=True)
    write_grid(table, laid.replace(grids=(counted,)))
    before = table.read_bytes()
    again = spss("plan", *options, "--grid", table, "--overwrite")
    assert again.code == 2
    assert f"{table} is read, and would be replaced" in again.error
    assert table.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--minutes", "0.01"), "minutes 0.01 allow 2 nodes"),
        (("--minutes", "0"), "minutes 0 is no time"),
        (("--seed", "-1"), "--seed -1 is negative"),
        (("--object-diameter", "0.02"), "means about 0.02 of a pixel"),
        (("--object-diameter", "800"), "means about 800 pixels, but the image is 300 pixels wide"),
    ],
)
def test_what_cannot_be_planned_is_one_line(spss, image, options, message):
    done = spss("plan", image, "--object-diameter", "8", *options)
    assert done.code == 2
    assert message in done.error
