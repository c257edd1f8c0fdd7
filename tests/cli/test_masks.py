"""Masks as people have them, in every command that reads some."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from napari_spss.core.base import event_from_json
from napari_spss.core.images import WRITERS, StackLayout
from napari_spss.core.training import RunFolder, load_model

pytestmark = pytest.mark.usefixtures("truth", "one_torch_thread")

TWO = ("--classes", "background,disc")


@pytest.fixture
def kinds(truth, tmp_path):
    """Write the truth as JPEG files, with -1 and 1, and as ids of objects."""
    (tmp_path / "jpeg").mkdir()
    for z, plane in enumerate(truth):
        Image.fromarray(plane.astype(np.uint8) * 255).save(tmp_path / "jpeg" / f"{z}.jpg")
    tifffile.imwrite(
        tmp_path / "minus.tif", np.where(truth, 1, -1).astype(np.int8), photometric="minisblack"
    )
    ids = truth.astype(np.uint8)
    ids[:, :, 32:] *= 2
    tifffile.imwrite(tmp_path / "ids.tif", ids, photometric="minisblack")
    return ids


@pytest.mark.parametrize("masks", ["jpeg", "minus.tif"])
@pytest.mark.parametrize("options", [(), TWO])
def test_a_perfect_mask_scores_one(spss, kinds, masks, options):
    for pair in ((masks, "truth.tif"), ("truth.tif", masks)):
        done = spss("evaluate", *pair, "--json", *options)
        assert done.code == 0, done.err
        scores = json.loads(done.out)
        assert list(scores["iou"].values()) == [1.0, 1.0]
        assert scores["notes"]
    table = spss("evaluate", "truth.tif", masks, *options)
    assert table.out.endswith("\n".join(scores["notes"]) + "\n")
    assert table.err == ""


@pytest.mark.parametrize("masks", ["jpeg", "minus.tif"])
def test_fractions_are_those_of_the_mask(spss, kinds, truth, masks):
    done = spss("measure", masks, *TWO)
    assert f"disc: {100 * truth.mean():.2f} %" in done.out
    assert "background=" in done.err  # how values were read


@pytest.mark.parametrize("masks", ["jpeg", "minus.tif"])
def test_training_learns_the_mask_and_says_how_it_was_read(spss, kinds, tiny, truth, masks):
    run = ("train", "image.tif", "--masks", masks, *TWO, "--out", "run", *tiny)
    done = spss(*run, "--events", "jsonl")
    assert done.code == 0, done.err
    assert load_model("run").stated_fractions[1] == pytest.approx(truth.mean(), abs=0.01)
    texts = [getattr(event_from_json(line), "text", "") for line in done.out.splitlines()]
    assert any("background=" in text for text in texts)
    again = spss("train", "--out", "run", "--resume", "--set=optimisation.max_steps=7")
    assert again.code == 0, again.err
    assert load_model("run").stated_fractions[1] == pytest.approx(truth.mean(), abs=0.01)


def test_unknown_pixels_stay_unknown_when_a_run_goes_on(spss, tiny, truth):
    sparse = np.where(np.arange(64) < 32, truth, 255).astype(np.uint8)
    tifffile.imwrite("sparse.tif", sparse, photometric="minisblack")
    done = spss("train", "image.tif", "--masks", "sparse.tif", *TWO, "--out", "run", *tiny)
    assert done.code == 0, done.err
    fraction = truth[:, :, :32].mean()
    assert load_model("run").stated_fractions[1] == pytest.approx(fraction, abs=0.02)
    assert spss("train", "--out", "run", "--resume", "--set=optimisation.max_steps=7").code == 0
    assert load_model("run").stated_fractions[1] == pytest.approx(fraction, abs=0.02)


def test_ids_are_pointed_out_and_measured_as_objects(spss, kinds, truth):
    assert "ids of objects" in spss("measure", "ids.tif").err
    assert "--instances" in spss("measure", "ids.tif", *TWO).error
    done = spss("measure", "ids.tif", "--instances", *TWO, "--out", "t.csv")
    assert done.code == 0, done.err
    assert f"disc: {100 * truth.mean():.2f} %" in done.out
    objects = pd.read_csv("t_objects.csv")
    assert objects["id"].tolist() == [1, 2]
    assert objects["voxels"].tolist() == [(kinds == 1).sum(), (kinds == 2).sum()]


def test_ids_serve_as_masks_everywhere(spss, kinds, tiny, truth):
    done = spss("evaluate", "truth.tif", "ids.tif", "--instances", "--json")
    assert list(json.loads(done.out)["iou"].values()) == [1.0, 1.0]
    assert (
        "--instances" in spss("train", "image.tif", "--masks", "ids.tif", *TWO, "--out", "r").error
    )
    run = ("train", "image.tif", "--masks", "ids.tif", "--instances", *TWO, "--out", "run", *tiny)
    assert spss(*run).code == 0
    assert RunFolder(Path("run")).inputs().has_instances
    assert spss("train", "--out", "run", "--resume", "--set=optimisation.max_steps=7").code == 0
    assert load_model("run").stated_fractions[1] == pytest.approx(truth.mean(), abs=0.01)
    exact = ("--protocol", "guess", *TWO)
    done = spss("simulate", "ids.tif", "--instances", *exact, "--out", "ids")
    assert done.code == 0, done.err
    assert spss("simulate", "truth.tif", *exact, "--out", "whole").code == 0
    tables = [Path(name, "proportions.csv").read_text() for name in ("ids", "whole")]
    assert tables[0] == tables[1]


def test_masks_of_a_folder_go_with_the_images_of_their_name(spss, tiny, truth, tmp_path):
    image = tifffile.imread("image.tif")
    for name, source, numbers in (("images", image, (0, 1, 2)), ("masks", truth, (0, 2))):
        (tmp_path / name).mkdir()
        for z in numbers:
            plane = source[z] if name == "images" else source[z] * 255
            Image.fromarray(plane.astype(np.uint8)).save(tmp_path / name / f"img_{z + 1}.png")
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(tmp_path / "masks" / "img_9.png")
    done = spss("train", "images", "--masks", "masks", *TWO, "--out", "run", *tiny)
    assert done.code == 0, done.err
    assert "annotations: 2 masks" in done.err
    assert "img_2.png" in done.err
    assert "img_9.png" in done.err
    expected = truth[[0, 2]].mean()
    assert load_model("run").stated_fractions[1] == pytest.approx(expected, abs=0.01)
    assert spss("train", "--out", "run", "--resume", "--set=optimisation.max_steps=7").code == 0
    assert load_model("run").stated_fractions[1] == pytest.approx(expected, abs=0.01)
    scores = json.loads(spss("evaluate", "masks", "masks", "--json").out)
    assert scores["n_pixels"] == 3 * 64 * 64


def test_simulated_classes_keep_their_order_in_the_command_that_trains(spss, kinds):
    named = ("--classes", "background,left,right")
    done = spss("simulate", "ids.tif", "--protocol", "grid", "--out", "sim", *named)
    assert done.code == 0, done.err
    assert "--grid sim/grid.csv --classes background,left,right --out" in done.out


def test_labels_with_names_keep_what_is_unknown(spss, truth):
    labels = np.zeros_like(truth, dtype=np.uint8)
    labels[0] = 255  # never predicted
    names = {"class 0": "background", "class 1": "disc"}
    tifffile.imwrite("labels.ome.tif", labels, metadata={"axes": "ZYX", "MapAnnotation": names})
    for options in ((), TWO):
        assert "disc: 0.00 %" in spss("measure", "labels.ome.tif", *options).out
        scores = json.loads(spss("evaluate", "labels.ome.tif", "truth.tif", "--json", *options).out)
        assert "no label" in scores["notes"][-1]


def test_a_truth_whose_values_could_be_other_classes_than_those_of_labels_is_refused(spss, truth):
    classes = ("background", "disc", "edge")
    labels = truth.astype(np.uint8)
    labels[:, :9] = 2
    layout = StackLayout([truth.shape[1:]] * len(truth), classes=classes)
    with WRITERS.get("tif").open(Path("labels.ome.tif"), layout) as file:
        for z, plane in enumerate(labels):
            file.write(z, plane)
    colours = {"#3c1098": 0, "#8429f6": 2, "#ffffff": 1}
    (Path("drawn")).mkdir()
    for z, plane in enumerate(labels):
        rgb = np.zeros((*plane.shape, 3), np.uint8)
        for text, index in colours.items():
            rgb[plane == index] = np.frombuffer(bytes.fromhex(text[1:]), np.uint8)
        Image.fromarray(rgb).save(f"drawn/{z}.png")
    greys = np.array([0, 255, 127], np.uint8)[labels]
    tifffile.imwrite("greys.tif", greys, photometric="minisblack")
    tifffile.imwrite("one.tif", greys * (labels == 1), photometric="minisblack")
    tifffile.imwrite("same.tif", labels, photometric="minisblack")
    for masks, spec in (
        ("drawn", "background=#3c1098,disc=#ffffff,edge=#8429f6"),
        ("greys.tif", "background=0,disc=255,edge=127"),
        ("one.tif", "background=0,disc=255,edge=127"),
    ):
        refused = spss("evaluate", "labels.ome.tif", masks)
        assert refused.code == 2
        assert "background, disc, edge" in refused.error
        assert "--classes" in refused.error
        scores = json.loads(
            spss("evaluate", "labels.ome.tif", masks, "--classes", spec, "--json").out
        )
        assert scores["iou"]["disc"] == 1.0
    done = spss("evaluate", "labels.ome.tif", "same.tif", "--json")
    assert json.loads(done.out)["iou"] == {"background": 1.0, "disc": 1.0, "edge": 1.0}
    assert "taken as background=0,disc=1,edge=2; --classes" in done.err


def test_labels_that_were_written_here_bring_their_classes_to_all_commands(spss, truth, tiny):
    layout = StackLayout([truth.shape[1:]] * len(truth), classes=("background", "cristae"))
    with WRITERS.get("tif").open(Path("labels.ome.tif"), layout) as file:
        for z, plane in enumerate(truth):
            file.write(z, np.where(np.arange(len(plane))[:, None] < 9, 255, plane))
    done = spss("simulate", "labels.ome.tif", "--protocol", "clicks", "--out", "said")
    assert done.out.startswith("classes: background, cristae\n")
    done = spss("evaluate", "labels.ome.tif", "labels.ome.tif")
    assert re.search(r"cristae +1\.0", done.out)
    for more in ((), ("--resume", "--set", "optimisation.max_steps=8")):
        given = () if more else ("image.tif", "--masks", "labels.ome.tif", *tiny)
        done = spss("train", *given, "--out", "run", *more)
        assert done.code == 0, done.err
        assert "classes background, cristae" in done.err


def test_masks_and_tables_agree_by_name_or_it_is_told_how_masks_are_read(spss, truth, tiny):
    labels = truth.astype(np.uint8)
    labels[:, :9] = 2
    layout = StackLayout([truth.shape[1:]] * len(truth), classes=("background", "disc", "edge"))
    with WRITERS.get("tif").open(Path("labels.ome.tif"), layout) as file:
        for z, plane in enumerate(labels):
            file.write(z, plane)
    tifffile.imwrite("nameless.tif", labels, photometric="minisblack")
    Path("p.csv").write_text("slice,edge,disc\n0,20%,10%\n")
    for masks, classes in (
        ("labels.ome.tif", "background=0,edge=2,disc=1"),
        ("nameless.tif", "background,edge,disc"),
    ):
        given = ("image.tif", "--proportions", "p.csv", "--masks", masks, *tiny)
        done = spss("train", *given, "--out", masks[:4])
        assert done.code == 0, done.err
        assert json.loads(Path(masks[:4], "inputs.json").read_text())["classes"] == classes
        told = "are taken as background=0,edge=1,disc=2, in the order" in done.err
        assert told == (masks == "nameless.tif")
