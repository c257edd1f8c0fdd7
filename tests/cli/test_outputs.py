"""Nothing that the tool did not write is replaced, by any command, and no input is an output."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

pytestmark = pytest.mark.usefixtures("one_torch_thread")

MINE = "slice,mitochondria\n0,6%\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def image(here, trained):
    """Another image than that of the run."""
    pixels = 255 - tifffile.imread(trained / "image.tif")
    tifffile.imwrite(here / "other.tif", pixels, photometric="minisblack")
    return here / "other.tif"


def snapshot(folder):
    """Content of every file, by path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.md5(p.read_bytes()).hexdigest() for p in files}


def refused(spss, *command):
    """Call a command that must write nothing; return its error."""
    before = snapshot(path := Path.cwd())
    done = spss(*command)
    assert done.code == 2, done.out
    assert snapshot(path) == before
    return done.error


NAMES = ["fractions.csv", "fractions_stack.csv", "next_slices.csv", "labels.ome.tif"]


@pytest.mark.parametrize("name", NAMES)
def test_predict_replaces_nothing_of_others_unless_asked_to(spss, here, trained, name):
    (here / "mine").mkdir()
    (here / "mine" / name).write_text(MINE)
    command = ("predict", trained / "run", trained / "image.tif", "--out", "mine")
    error = refused(spss, *command)
    assert f"mine/{name} was not written by napari-spss" in error
    assert "--overwrite" in error
    assert spss(*command, "--overwrite").code == 0
    assert (here / "mine" / name).read_bytes() != MINE.encode()


def test_predict_replaces_its_own_of_the_same_image_and_run_alone(spss, here, trained, image):
    def predict(path, *options):
        return ("predict", trained / "run", path, "--out", "out", *options)

    for _ in range(2):
        done = spss(*predict(trained / "image.tif", "--uncertainty"))
        assert done.code == 0, done.err
    assert "another image; choose another place" in refused(spss, *predict(image))
    assert spss(*predict(image, "--overwrite")).code == 0
    assert not (here / "out" / "uncertainty.ome.tif").exists(), "it is of the image before"


def test_results_of_another_run_are_not_replaced_unasked(spss, here, trained, tiny):
    copy = ("train", trained / "image.tif", "--grid", trained / "grid.csv", "--out", "run", *tiny)
    assert spss(*copy).code == 0
    command = (trained / "image.tif", "--out", "out")
    assert spss("predict", trained / "run", *command).code == 0
    assert "another model" in refused(spss, "predict", "run", *command)


def test_tables_that_were_edited_are_not_replaced_unasked(spss, here, trained):
    command = ("predict", trained / "run", trained / "image.tif", "--out", "out")
    assert spss(*command).code == 0
    table = here / "out" / "fractions.csv"
    table.write_text(table.read_text().replace("disc", "DISC"))
    assert "fractions.csv was changed since it was written" in refused(spss, *command)


def test_folders_of_others_are_never_replaced(spss, here, trained):
    (here / "images").mkdir()
    for name, shape in (("a.tif", (40, 50)), ("b.tif", (64, 32))):
        tifffile.imwrite(here / "images" / name, np.zeros(shape, np.uint8))
    (here / "out" / "labels").mkdir(parents=True)
    tifffile.imwrite(here / "out" / "labels" / "by_hand.tif", np.zeros((4, 4), np.uint8))
    command = ("predict", trained / "run", "images", "--out", "out")
    assert "out/labels was not written" in refused(spss, *command)
    assert "is a folder; remove it" in refused(spss, *command, "--overwrite")


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_predict_refuses_an_image_that_it_would_replace_or_join(spss, here, trained, overwrite):
    for folder in ("d", "e"):
        (here / folder).mkdir()
    (here / "d" / "labels.ome.tif").write_bytes((trained / "image.tif").read_bytes())
    tifffile.imwrite(here / "e" / "a.tif", tifffile.imread(trained / "image.tif", key=0))
    run = trained / "run"
    command = ("predict", run, "d/labels.ome.tif", "--out", "d", *overwrite)
    assert "labels.ome.tif is read, and would be replaced" in refused(spss, *command)
    command = ("predict", run, "e", "--out", "e", *overwrite)
    assert "would become part of the image e" in refused(spss, *command)


@pytest.fixture
def masks(here):
    for name in ("mask.tif", "other.tif"):
        tifffile.imwrite(name, np.tile(np.arange(2, dtype=np.uint8), (1, 8, 4)))


def test_measure_replaces_nothing_of_others_unless_asked_to(spss, here, masks):
    for name in ("fractions.csv", "t_objects.csv"):
        (here / name).write_text(MINE)
    error = refused(spss, "measure", "mask.tif", "--out", "fractions.csv")
    assert "fractions.csv was not written by napari-spss" in error
    assert "t_objects.csv" in refused(spss, "measure", "mask.tif", "--out", "t.csv")
    assert spss("measure", "mask.tif", "--out", "fractions.csv", "--overwrite").code == 0
    assert len(pd.read_csv("fractions.csv")) == 2


def test_measure_replaces_tables_of_the_same_labels_alone(spss, here, masks):
    for _ in range(2):
        assert spss("measure", "mask.tif", "--out", "t.csv").code == 0
    error = refused(spss, "measure", "other.tif", "--out", "t.csv")
    assert "t.csv was made from another label image" in error
    sized = ("measure", "mask.tif", "--out", "t.csv", "--voxel-size", "0.05,0.01,0.01")
    assert "t.csv was made from another voxel size" in refused(spss, *sized)
    for options in (("--overwrite",), ()):
        assert spss(*sized, *options).code == 0


def test_an_estimate_takes_no_measured_tables_away(spss, here, masks):
    assert spss("measure", "mask.tif", "--out", "t.csv").code == 0
    before = (here / "t_objects.csv").read_bytes()
    asked = ("estimate", "mask.tif", "--out", "t.csv")
    assert "t.csv is a result of another command; choose another place" in refused(spss, *asked)
    assert (here / "t_objects.csv").read_bytes() == before
    assert spss(*asked, "--overwrite").code == 0
    assert "of another command" in refused(spss, "measure", "mask.tif", "--out", "t.csv")


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_measure_never_replaces_what_it_measures(spss, here, masks, overwrite):
    before = (here / "mask.tif").read_bytes()
    error = refused(spss, "measure", "mask.tif", "--out", "mask.tif", *overwrite)
    assert "name it mask.csv" in error
    assert (here / "mask.tif").read_bytes() == before


def test_simulate_looks_before_it_simulates(spss, here):
    (here / "sim").mkdir()
    (here / "sim" / "grid.csv").write_text(MINE)
    (here / "summary.json").write_text("no masks at all")
    command = ("simulate", "missing.tif", "--protocol", "guess", "--out", "sim")
    assert "sim/grid.csv was not written" in refused(spss, *command)
    error = refused(spss, "simulate", "summary.json", "--protocol", "guess", "--out", ".")
    assert "summary.json is read" in error


NAMES_OF_A_RUN = ["proportions.csv", "keypoints.csv", "inputs.json", "events.jsonl", "updates"]


@pytest.mark.parametrize("name", NAMES_OF_A_RUN)
def test_train_replaces_nothing_of_others(spss, here, trained, tiny, name):
    (here / "mine").mkdir()
    (here / "mine" / name).write_text(MINE)
    command = ("train", trained / "image.tif", "--grid", trained / "grid.csv", "--out", "mine")
    error = refused(spss, *command, *tiny)
    assert f"mine/{name} was not written by napari-spss; choose another place" in error
    assert "--overwrite" not in error


def test_a_table_that_is_read_is_not_replaced_by_that_of_the_run(spss, here, trained, tiny):
    (here / "tables").mkdir()
    table = here / "tables" / "proportions.csv"
    table.write_bytes((trained / "proportions.csv").read_bytes())
    command = ("train", trained / "image.tif", "--proportions", table, "--out", "tables", *tiny)
    assert "proportions.csv" in refused(spss, *command)


NAMES_OF_THE_DEMO = ["overlay.png", "labels.ome.tif", "image.ome.tif", "keypoints.csv"]


@pytest.mark.parametrize("name", NAMES_OF_THE_DEMO)
def test_demo_replaces_nothing_of_others(spss, here, name):
    (here / "demo").mkdir()
    (here / "demo" / name).write_text(MINE)
    error = refused(spss, "demo", "--out", "demo")
    assert f"demo/{name} was not written by napari-spss; choose another place." in error


# -- kills ---------------------------------------------------------------------------------------

_KILLED = """
import os, signal, sys
from napari_spss.cli import main
def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)
{where}
main(sys.argv[1:])
"""
_LATE = {
    "in the tables": "import csv; csv.writer = die",
    "in the images": "import tifffile; tifffile.TiffWriter.write = die",
}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="such a kill is one of Unix")
@pytest.mark.parametrize("where", _LATE.values(), ids=_LATE)
def test_a_kill_of_predict_leaves_no_old_table_beside_new_labels(spss, here, trained, where):
    command = ("predict", trained / "run", trained / "image.tif", "--out", "out")
    assert spss(*command).code == 0
    old = snapshot(here / "out")
    code = _KILLED.format(where=where)
    args = [*map(str, command), "--threshold", "0.1"]
    done = subprocess.run([sys.executable, "-c", code, *args], timeout=120, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    new = snapshot(here / "out")
    if new["labels.ome.tif"] != old["labels.ome.tif"]:
        assert not set(new) & {name for name in old if name.endswith(".csv")}
    assert spss(*command).code == 0, "nothing is in the way"
    assert set(snapshot(here / "out")) == set(old), "nothing is left over"


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
@pytest.mark.parametrize("name", ["config.toml", "proportions.csv", "model.json", "checkpoint"])
def test_a_link_in_a_run_leads_nowhere(spss, here, tiny, trained, name):
    outside = here / "outside"
    command = ("train", trained / "image.tif", "--proportions", trained / "proportions.csv")
    assert spss(*command, "--out", "run", *tiny).code == 0
    (here / "run" / name).rename(outside)
    (here / "run" / name).symlink_to(outside)
    more = ("--resume", "--set=optimisation.max_steps=7")
    error = refused(spss, "train", "--out", "run", *more, *tiny[:1])
    assert f"{name} is a link that leads out of run" in error
    if name == "model.json":
        command = ("predict", "run", trained / "image.tif", "--out", "out")
        assert "is a link that leads out of run" in refused(spss, *command)
