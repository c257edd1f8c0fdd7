"""``review``, and ``train`` with the looks that were filled in."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from napari_spss.core.annotations import read_annotations
from napari_spss.core.training import RunFolder

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture
def folder(trained, tmp_path, monkeypatch):
    """A copy of the example with its run, as working folder."""
    shutil.copytree(trained, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def reviewed(folder, spss):
    """Write ``review.csv`` of the run, with these looks in the first rows; return the rows."""

    def fill(*looks):
        done = spss("review", "run", "--out", "review.csv", "--image", "image.tif", "--device=cpu")
        assert done.code == 0, done.err
        with Path("review.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        for row, look in zip(rows, looks, strict=False):
            row["look"] = look
        write(rows)
        return rows

    return fill


def write(rows):
    """Save the table as an editor would."""
    with Path("review.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def other(row):
    """The class that the node was not judged to be."""
    return "disc" if row["stated"] == "background" else "background"


def train_anew(spss, tiny, *options, out="run2"):
    """Train a new run with the grids of the old one and its review."""
    return spss(
        *("train", "image.tif", "--grid", "run/grid.csv", "--review", "review.csv"),
        *("--out", out, *tiny, *options),
    )


def node_of(annotations, row):
    """(class, looks) of the node of a row."""
    (grid,) = annotations.grids
    (node,) = np.flatnonzero((grid.y == float(row["y"])) & (grid.x == float(row["x"])))
    return annotations.classes[grid.class_index[node]], int(grid.looks[node])


def test_table_lists_doubtful_nodes_first_with_a_column_to_fill_in(folder, spss):
    done = spss("review", "run", "--out", "review.csv", "--image", "image.tif", "--n", "5")
    assert done.code == 0, done.err
    with Path("review.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["rank", "slice", "y", "x", "stated", "map", "probability", "look"]
    assert [row["rank"] for row in rows] == list("12345")
    probabilities = [float(row["probability"]) for row in rows]
    assert probabilities == sorted(probabilities, reverse=True)
    assert {row["look"] for row in rows} == {""}
    assert "written: review.csv (5 nodes" in done.out
    assert "next: napari-spss train --out run --resume --review review.csv\n" in done.out


def test_a_new_run_learns_from_what_was_changed(reviewed, spss, tiny):
    before = Path("run/grid.csv").read_bytes()
    rows = reviewed("keep", "?")
    rows[2]["look"] = other(rows[2])
    write(rows)
    done = train_anew(spss, tiny)
    assert done.code == 0, done.err
    assert "second look: 3 nodes looked at again, 1 changed, 1 unsure" in done.err
    kept, unsure, changed, untouched = rows[:4]
    now = RunFolder(Path("run2")).annotations()
    assert node_of(now, kept) == (kept["stated"], 1)
    assert node_of(now, changed) == (changed["look"], 1)
    assert node_of(now, untouched) == (untouched["stated"], 0)
    (grid,) = now.grids
    assert (grid.n_judged, int(grid.looks.sum())) == (63, 3)
    assert Path("run/grid.csv").read_bytes() == before
    again = spss("review", "run2", "--out", "review2.csv", "--n", "64", "--device=cpu")
    assert again.code == 0, again.err
    places = {(row["y"], row["x"]) for row in rows[:3]}
    with Path("review2.csv").open(newline="") as file:
        listed = {(row["y"], row["x"]) for row in csv.DictReader(file)}
    assert len(listed) == 61
    assert not places & listed
    assert unsure["look"] == "?"


def test_expected_errors_follow_the_looks_unless_they_are_stated(reviewed, spss, tiny):
    rows = reviewed(*["keep"] * 8)
    expected = sum(float(row["probability"]) for row in rows[:8])
    assert train_anew(spss, tiny).code == 0
    error = RunFolder(Path("run2")).settings().labels.node_error
    assert error == pytest.approx(max(0.01, 0.05 / (expected + 1)), abs=1e-4)
    assert error < 0.05
    assert train_anew(spss, tiny, "--set", "labels.node_error=0.07", out="run3").code == 0
    assert RunFolder(Path("run3")).settings().labels.node_error == 0.07


def test_a_run_goes_on_with_its_review_and_a_second_time_changes_nothing(reviewed, spss, tiny):
    rows = reviewed("keep")
    rows[1]["look"] = other(rows[1])
    write(rows)
    command = ("train", "image.tif", "--out", "run", "--resume", "--review", "review.csv")
    done = spss(*command, "--device=cpu")
    assert done.code == 0, done.err
    assert "1 changed" in done.err
    assert re.search(
        r"With 1 changed node, overlap at 64 judged nodes went from \d\.\d\d to \d\.\d\d; labels "
        r"of what was counted: disc from \d+\.\d\d to \d+\.\d\d %\.",
        done.out,
    )
    run = RunFolder(Path("run"))
    now, settings = run.annotations(), run.settings()
    assert node_of(now, rows[1]) == (rows[1]["look"], 1)
    assert node_of(read_annotations(grid="run/grid.csv"), rows[1]) == (rows[1]["stated"], 0)
    assert settings.labels.node_error != 0.05
    again = spss(*command, "--device=cpu")
    assert again.code == 2
    assert "nothing has changed" in again.error
    assert (run.annotations(), run.settings()) == (now, settings)


def test_expected_errors_can_be_stated_when_a_run_goes_on(reviewed, spss):
    reviewed("keep")
    done = spss(
        *("train", "image.tif", "--out", "run", "--resume", "--review", "review.csv"),
        *("--set", "labels.node_error=0.03", "--device=cpu"),
    )
    assert done.code == 0, done.err
    assert RunFolder(Path("run")).settings().labels.node_error == 0.03


def test_wrong_cells_are_told_at_once_and_nothing_begins(reviewed, spss, tiny):
    reviewed("yes", "keep", "dsc")
    done = train_anew(spss, tiny)
    assert done.code == 2
    assert "review.csv, line 2, column 'look': 'yes' is no look" in done.err
    assert "review.csv, line 4, column 'look': 'dsc' is no look; write 'disc'" in done.err
    assert not Path("run2").exists()


def test_a_table_without_looks_of_other_grids_or_without_a_grid_is_refused(reviewed, spss, tiny):
    rows = reviewed()
    done = train_anew(spss, tiny)
    assert "review.csv: no node was looked at; write keep, a class or ?" in done.error
    for row in rows:
        row["y"], row["look"] = float(row["y"]) + 3, "keep"
    write(rows)
    done = train_anew(spss, tiny)
    assert "review.csv is a review of other counting grids" in done.error
    options = ("--proportions", "proportions.csv", "--review", "review.csv", "--out", "run2")
    done = spss("train", "image.tif", *options, *tiny)
    assert "add --grid with the grid.csv of the run" in done.error


def test_filled_in_tables_and_files_of_the_run_are_not_replaced(reviewed, spss):
    reviewed("keep")
    filled = Path("review.csv").read_bytes()
    done = spss("review", "run", "--out", "review.csv", "--image", "image.tif", "--device=cpu")
    assert done.code == 2
    assert "was changed since it was written" in done.error
    assert Path("review.csv").read_bytes() == filled
    command = ("review", "run", "--out", "run/grid.csv", "--image", "image.tif", "--overwrite")
    assert "run/grid.csv is read, and would be replaced" in spss(*command).error


def test_an_image_that_is_gone_and_a_run_without_grids_are_told(folder, spss, tiny):
    options = ("--proportions", "proportions.csv", "--out", "plain")
    assert spss("train", "image.tif", *options, *tiny).code == 0
    done = spss("review", "plain", "--out", "review.csv")
    assert "plain: no judged counting grid; count another grid" in done.error
    Path("image.tif").rename("moved.tif")
    inputs = Path("run/inputs.json")
    inputs.write_text(inputs.read_text().replace("trained", "gone"))
    done = spss("review", "run", "--out", "review.csv")
    assert "napari-spss review run --image IMAGE --out review.csv" in done.error


def test_a_run_that_has_the_looks_already_goes_on_as_it_was_unless_it_is_stated(
    reviewed, spss, tiny
):
    reviewed("keep", "keep")
    assert train_anew(spss, tiny, "--max-minutes", "0.00001").code == 0
    run = RunFolder(Path("run2"))
    begun = run.settings().labels.node_error
    command = ("train", "image.tif", "--out", "run2", "--resume", "--review", "review.csv")
    done = spss(*command, "--max-minutes", "0.00001", "--device=cpu")
    assert done.code == 0, done.err
    assert "second look" not in done.err
    assert run.settings().labels.node_error == begun
    done = spss(*command, "--set", "labels.node_error=0.02", "--device=cpu")
    assert done.code == 0, done.err
    assert "2 % are taken to be wrong" in done.err
    assert run.settings().labels.node_error == 0.02
