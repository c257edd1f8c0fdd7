"""``napari-spss estimate``: a check count corrects labels, and is one that nothing learned from."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_spss.core.annotations import (
    Annotations,
    lay_grid,
    write_grid,
)
from napari_spss.core.base import read_origin

CLASSES = ("background", "disc")
TWO = ("--classes", "background,disc")


def judged(truth, z, *, seed=7):
    """A finished grid of a slice, as a person counts it."""
    grid = lay_grid(z, truth.shape[1:], n_side=12, rng=np.random.default_rng(seed + z))
    rows, columns = (np.floor(axis + 0.5).astype(int) for axis in (grid.y, grid.x))
    return grid.replace(class_index=truth[z, rows, columns].astype(int), is_done=True)


def write_count(name, *grids, classes=CLASSES):
    write_grid(name, Annotations(classes, grids=grids))


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def labels(truth):
    """Labels that miss all objects of one half."""
    found = np.minimum(truth, 1).astype(np.uint8)
    found[:, :, : found.shape[2] // 2] = 0
    tifffile.imwrite("labels.tif", found, photometric="minisblack")
    return found


@pytest.fixture
def disc(truth):
    return np.minimum(truth, 1)


def test_labels_are_corrected_and_every_number_says_what_it_assumes(spss, labels, disc):
    write_count("check.csv", *(judged(disc, z) for z in range(3)))
    done = spss("estimate", "labels.tif", *TWO, "--check", "check.csv", "--out", "tables/t.csv")
    assert done.code == 0, done.err
    rows = {row["method"]: row for row in rows_of("tables/t.csv")}
    assert list(rows) == ["count", "count, Cavalieri", "labels, uncorrected", "labels, corrected"]
    assert {row["class"] for row in rows.values()} == {"disc"}
    assert float(rows["labels, uncorrected"]["fraction"]) == pytest.approx(labels.mean())
    one = rows["labels, corrected"]
    assert float(one["fraction"]) == pytest.approx(disc.mean(), rel=0.2)
    assert float(one["low"]) < disc.mean() < float(one["high"])
    assert (one["clusters"], one["nodes"]) == (
        "3",
        str(sum(judged(disc, z).n_nodes for z in range(3))),
    )
    assert all(row["assumes"] and row["reference"] for row in rows.values())
    assert f"  labels, corrected: {100 * float(one['fraction']):.2f} % (95 % interval " in done.out
    assert done.out.count("      assumed: ") == 4
    assert all(f"{row['assumes']} ({row['reference']})" in done.out for row in rows.values())
    assert "written: tables/t.csv, tables/t_contradicted.csv" in done.out


def test_nodes_that_contradict_the_labels_are_listed_for_a_second_look(spss, labels, disc):
    grid = judged(disc, 1)
    wrong = grid.class_index.copy()
    wrong[0] = 1 - wrong[0]
    write_count("check.csv", grid.replace(class_index=wrong))
    done = spss("estimate", "labels.tif", *TWO, "--check", "check.csv", "--out", "t.csv")
    listed = rows_of("t_contradicted.csv")
    missed = np.floor(np.stack([grid.y, grid.x]) + 0.5).astype(int)
    expected = (wrong != labels[1, missed[0], missed[1]]).sum()
    assert len(listed) == expected > 1
    assert listed[0] == {
        "slice": "1",
        "y": repr(float(grid.y[0])),
        "x": repr(float(grid.x[0])),
        "class": CLASSES[wrong[0]],
        "labels": CLASSES[grid.class_index[0]],
        "looks": "0",
    }
    assert f"{expected} nodes contradict the labels" in done.err
    assert "correct check.csv where you were wrong" in done.err
    again = grid.replace(class_index=wrong, looks=np.eye(wrong.size)[0])
    write_count("again.csv", again)
    done = spss("estimate", "labels.tif", *TWO, "--check", "again.csv")
    assert f"{expected - 1} nodes contradict the labels" in done.err


def test_without_a_check_count_nothing_is_corrected(spss, labels, disc):
    write_count("grid.csv", *(judged(disc, z) for z in range(3)))
    done = spss("estimate", "labels.tif", *TWO, "--grid", "grid.csv", "--out", "t.csv")
    assert done.code == 0
    rows = {row["method"]: row for row in rows_of("t.csv")}
    assert "training count" in rows
    assert rows["labels, corrected"]["fraction"] == ""
    assert "not given: there is no check count" in done.out
    assert "--check CHECK.csv corrects" in done.err
    write_count("check.csv", judged(disc, 0))
    assert "--check check.csv corrects" in spss("estimate", "labels.tif", *TWO).err


def test_a_check_count_that_was_learned_from_is_refused(spss, labels, disc, tmp_path):
    first, other = judged(disc, 0), judged(disc, 1)
    write_count("grid.csv", first)
    write_count("check.csv", first, other)
    done = spss("estimate", "labels.tif", *TWO, "--check", "check.csv", "--grid", "grid.csv")
    assert done.code == 2
    assert f"{first.n_nodes} of {first.n_nodes + other.n_nodes} nodes of the check" in done.error
    assert "lay frames or grids anew" in done.error


@pytest.fixture
def run(spss, truth, tiny):
    """A run that learned from grid.csv, then went on with another one."""
    disc = np.minimum(truth, 1)
    write_count("first.csv", judged(disc, 0), judged(disc, 1))
    options = ("image.tif", "--out", "run", "--object-diameter", "12")
    assert spss("train", *options, "--grid", "first.csv", *tiny).code == 0
    write_count("second.csv", judged(disc, 2))
    more = ("--resume", "--grid", "second.csv", "--device=cpu")
    assert spss("train", "--out", "run", *more).code == 0
    assert spss("predict", "run", "image.tif", "--out", "run/result", "--device=cpu").code == 0
    return "run"


def test_a_run_that_is_named_in_place_of_another_hides_nothing(spss, run, disc, tiny):
    options = ("image.tif", "--proportions", "proportions.csv", "--out", "plain")
    assert spss("train", *options, *tiny).code == 0
    write_count("used.csv", judged(disc, 0))
    done = spss("estimate", "run/result", "--check", "used.csv", "--run", "plain")
    assert "nodes that the network learned from" in done.error


def test_a_run_knows_all_nodes_that_it_ever_learned_from(spss, run, disc):
    write_count("check.csv", judged(disc, 0, seed=50), judged(disc, 1, seed=50))
    done = spss("estimate", "run/result", "--check", "check.csv")
    assert done.code == 0, done.err
    assert "labels, corrected: " in done.out
    assert "nobody looked" not in done.err
    for z in (0, 2):  # as it began, and as it went on
        write_count("used.csv", judged(disc, z))
        done = spss("estimate", "run/result", "--check", "used.csv")
        assert done.code == 2
        assert "nodes that the network learned from" in done.error
    shutil.move("run/result", "away")
    done = spss("estimate", "away", "--check", "used.csv")  # their record names the run
    assert "nodes that the network learned from" in done.error
    shutil.move("run", "moved")
    assert "name it by --run RUN" in spss("estimate", "away", "--check", "used.csv").err
    done = spss("estimate", "away/labels.ome.tif", "--check", "used.csv", "--run", "moved")
    assert "nodes that the network learned from" in done.error
    assert "holds no run" in spss("estimate", "away", "--check", "used.csv", "--run", ".").error


def test_tables_and_figures_tell_where_their_labels_come_from(spss, run):
    places = {"measure": "measured.csv", "estimate": "estimated.csv", "figure": "figures"}
    for command, out in places.items():
        done = spss(command, "run/result", "--out", f"told/{out}")
        assert done.code == 0, done.err
    origin = read_origin(Path("run/result/labels.ome.tif"))
    assert origin["run"] == str(Path("run").absolute())
    for name in ("measured.csv", "measured_objects.csv", "estimated.csv", "figures/sizes.svg"):
        assert read_origin(Path("told") / name) == origin, name


def test_nodes_at_the_same_places_of_another_image_are_fresh(spss, run, disc):
    tifffile.imwrite(
        "other.tif", tifffile.imread("image.tif")[:, ::-1].copy(), photometric="minisblack"
    )
    assert spss("predict", "run", "other.tif", "--out", "run/other", "--device=cpu").code == 0
    write_count("check.csv", *(judged(disc[:, ::-1], z) for z in range(3)))
    done = spss("estimate", "run/other", "--check", "check.csv")
    assert done.code == 0, done.err
    assert "labels, corrected: " in done.out


def test_wrong_cells_are_named(spss, labels, disc):
    grid = judged(disc, 1)
    write_count("check.csv", grid.replace(slice=8))
    error = spss("estimate", "labels.tif", *TWO, "--check", "check.csv").error
    assert "outside the stack of 3 slices" in error
    write_count("check.csv", grid.replace(y=grid.y + 1000))
    error = spss("estimate", "labels.tif", *TWO, "--check", "check.csv").err
    assert "check.csv, lines 2, 3, 4, 5, 6 and " in error
    assert "is outside the image, which is 64 x 64 px" in error
    write_count("check.csv", grid, classes=("background", "tube"))
    error = spss("estimate", "labels.tif", *TWO, "--check", "check.csv").err
    assert "column 'class': 'tube'" in error


def test_nothing_of_others_is_replaced_and_no_input_ever(spss, labels, disc, tmp_path):
    write_count("check.csv", judged(disc, 1))
    command = ("estimate", "labels.tif", *TWO, "--check", "check.csv", "--out")
    (tmp_path / "t.csv").write_text("mine")
    assert "--overwrite" in spss(*command, "t.csv").error
    assert spss(*command, "t.csv", "--overwrite").code == 0
    assert spss(*command, "t.csv").code == 0  # its own, again
    assert "is read" in spss(*command, "check.csv", "--overwrite").error
    assert "name a file" in spss(*command, tmp_path).error


@pytest.fixture
def animals(disc):
    """Labels of a set of images, and their check count."""
    Path("set").mkdir()
    for z, name in enumerate("abc"):
        tifffile.imwrite(f"set/{name}.tif", disc[z].astype(np.uint8), photometric="minisblack")
    write_count("check.csv", *(judged(disc, z) for z in range(3)))


def groups(text):
    with open("groups.csv", "w", encoding="utf-8") as file:
        file.write(text)


def test_an_animal_is_a_unit(spss, animals, disc):
    groups("image,group\na.tif,rat1\nb,rat1\nC.ome.tif,rat2\n")
    command = ("estimate", "set", *TWO, "--check", "check.csv", "--groups", "groups.csv")
    done = spss(*command, "--out", "t.csv")
    assert done.code == 0, done.err
    rows = {row["method"]: row for row in rows_of("t.csv")}
    assert list(rows) == ["count", "labels, uncorrected", "labels, corrected"]
    assert {row["clusters"] for row in rows.values()} == {"2"}
    expected = (disc[:2].mean() + disc[2].mean()) / 2
    assert float(rows["labels, corrected"]["fraction"]) == pytest.approx(expected)
    assert rows["labels, corrected"]["assumes"].startswith("mean of 2 groups")
    assert "by images as clusters" in rows["labels, corrected"]["assumes"]
    assert float(rows["labels, uncorrected"]["high"]) > 0
    assert "no interval" not in rows["labels, uncorrected"]["assumes"]


def test_images_that_weigh_by_their_pixels_for_want_of_a_size_are_told(spss, animals, disc):
    metadata = {"axes": "YX", "PhysicalSizeX": 0.01, "PhysicalSizeY": 0.01}
    tifffile.imwrite("set/a.ome.tif", disc[0, 8:].astype(np.uint8), metadata=metadata)
    Path("set/a.tif").unlink()
    told = "size of a pixel is not known of 2 of 3 images"
    assert told in spss("estimate", "set", *TWO).err
    assert told in spss("measure", "set", *TWO).err


def test_groups_must_name_each_image_once(spss, animals, labels):
    command = ("estimate", "set", *TWO, "--check", "check.csv", "--groups", "groups.csv")
    groups("image,group\na,rat1\nz,rat1\nb,\na,rat2\n")
    error = spss(*command)
    assert error.code == 2
    for text in ("is none of the images", "is blank", "has another group before"):
        assert text in error.err
    groups("image,group\na,rat1\nb,rat1\n")
    assert "image c.tif has no group" in spss(*command).error
    done = spss("estimate", "labels.tif", *TWO, "--groups", "groups.csv")
    assert "is one unit" in done.error
