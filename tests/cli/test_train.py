"""``train``: from tables and masks to a run folder, stopped and resumed."""

from __future__ import annotations

import dataclasses
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_spss.cli.stopping import stop_on_signals
from napari_spss.core.annotations import Proportion, Region, read_annotations, write_annotations
from napari_spss.core.base import (
    CancelToken,
    Preparing,
    Progress,
    RunFinished,
    RunStarted,
    event_from_json,
)
from napari_spss.core.images import as_label_source, open_stack
from napari_spss.core.training import RunFolder, load_model
from napari_spss.core.training.checkpoint import load_state, save_model

pytestmark = pytest.mark.usefixtures("truth", "one_torch_thread")

TABLES = ("--proportions", "proportions.csv", "--grid", "grid.csv")


@pytest.fixture
def train(spss, tiny):
    """Train on the example into ``run``; further options may be given."""

    def call(*options, image="image.tif", tables=TABLES):
        return spss("train", image, *tables, "--out", "run", *tiny, *options)

    return call


def test_run_folder_holds_model_and_inputs(train, tmp_path, truth):
    done = train("--seed", "3", "--object-diameter", "40px", "--voxel-size", "50nm,4nm,4nm")
    assert done.code == 0, done.err
    model = load_model("run")
    assert model.classes == ("background", "disc")
    assert (model.n_steps, model.reduction) == (5, 2)
    run = RunFolder(tmp_path / "run")
    assert run.settings().seed == 3
    assert run.settings().image.object_diameter_px == 40
    inputs = run.inputs()
    assert inputs.image == str(tmp_path / "image.tif")
    assert inputs.voxel_size_um == pytest.approx((0.05, 0.004, 0.004))
    assert run.annotations() == read_annotations(proportions="proportions.csv", grid="grid.csv")


def test_report_compares_fractions_and_says_what_is_next(train, truth):
    done = train()
    lines = done.out.splitlines()
    stated = [f"{100 * mask.mean():.1f} %" for mask in truth]
    rows = [line.split("  ") for line in lines if line.startswith("  slice")]
    assert [row[1] for row in rows] == ["slice 0", "slice 1", "slice 2"]
    for row, fraction in zip(rows[1:], stated[1:], strict=True):
        assert fraction in [cell.strip() for cell in row]
    assert "counted" in " ".join(rows[0])  # the first slice has a grid
    assert "model: run/model.safetensors (5 steps)" in lines
    assert lines[-1] == "next: napari-spss predict run image.tif --out run/result"
    assert "image: 3 slices of 64 x 64 pixels, uint8, size of a pixel not known" in done.err
    assert "annotations: 1 grid" in done.err
    assert re.search(r"^training: 5 steps, about \d+ s on cpu$", done.err, re.MULTILINE)


def test_comparison_knows_regions_and_is_short(train, truth):
    boxes = [(y, x, y + 16, x + 16) for y in range(0, 64, 16) for x in range(0, 64, 16)]
    proportions = []
    for box in boxes:
        fraction = float(truth[1, box[0] : box[2], box[1] : box[3]].mean())
        proportions.append(Proportion(Region(1, box), (1 - fraction, fraction)))
    known = read_annotations(proportions="proportions.csv")
    write_annotations(".", known.replace(proportions=tuple(proportions)))
    done = train(tables=("--proportions", "proportions.csv"))
    rows = [line for line in done.out.splitlines() if line.startswith("  slice 1 [")]
    assert len(rows) == 8
    assert rows[0].split()[:5] == ["slice", "1", "[0:16,", "0:16]", "disc"]
    assert "8 of 16 regions" in done.out


def test_comparison_shows_what_was_counted_before_what_was_typed(train):
    boxes = [(y, x, y + 16, x + 16) for y in range(0, 64, 16) for x in range(0, 64, 16)]
    typed = [Proportion(Region(0, box), (0.9, 0.1)) for box in boxes[:6]]
    typed += [Proportion(Region(2, box), (0.9, 0.1)) for box in boxes[6:]]
    known = read_annotations(grid="grid.csv").replace(proportions=tuple(typed))
    (grid,) = known.grids
    write_annotations(".", known.replace(grids=(dataclasses.replace(grid, slice=1),)))
    done = train()
    rows = [line for line in done.out.splitlines() if line.startswith("  slice ")]
    assert len(rows) == 8
    assert [row.split()[1] for row in rows if "counted" in row] == ["1"]
    assert [row.split()[1] for row in rows] == sorted(row.split()[1] for row in rows)


def test_comparison_tells_once_of_all_slices_that_are_padded(train):
    image = tifffile.imread("image.tif")
    image[1:, :, :16] = 0
    tifffile.imwrite("image.tif", image, photometric="minisblack")
    done = train()
    assert done.code == 0, done.err
    assert done.err.count("from an edge on") == 1
    assert "warning: 2 slices (1, 2) have one grey value" in done.err


def test_keypoints_in_micrometres_are_asked_about_and_scaled(train, tmp_path):
    Path("um.csv").write_text("slice,y,x,class\n0,0.08,0.1,disc\n1,0.2,0.22,background\n")
    tables = ("--keypoints", "um.csv")
    done = train(tables=tables)
    assert done.code == 2
    assert "um.csv, line 1: has all positions so near the origin" in done.error
    option = re.search(r"--keypoint-units um", done.error)[0].split()
    done = train(*option, tables=tables)
    assert done.code == 2
    assert "need the size of a pixel" in done.error
    assert "--voxel-size" in done.error
    done = train(*option, "--voxel-size", "4nm", tables=tables)
    assert done.code == 0, done.err
    points = RunFolder(tmp_path / "run").annotations().keypoints
    assert [point.pixel for point in points] == [(20, 25), (50, 55)]


def test_keypoints_near_the_origin_may_be_pixels_also_when_the_run_goes_on(train, tmp_path, spss):
    Path("near.csv").write_text("slice,y,x,class\n0,0.5,0.5,disc\n1,1,1.5,background\n")
    done = train("--keypoint-units", "pixel", tables=("--keypoints", "near.csv"))
    assert done.code == 0, done.err
    assert len(RunFolder(tmp_path / "run").annotations().keypoints) == 2
    done = spss("train", "--out", "run", "--resume", "--set=optimisation.max_steps=6")
    assert done.code == 0, done.err


def test_keypoints_without_effect_are_told_when_the_run_goes_on(train, spss):
    # both in one pixel as the network sees the image: one of them cannot take effect
    Path("keypoints.csv").write_text("slice,y,x,class\n1,30,40,disc\n1,30,41,background\n")
    scale = ("--object-diameter=26px", "--set=image.target_diameter_px=13")
    assert train(*scale).code == 0
    done = spss("train", "--out", "run", "--resume", "--keypoints", "keypoints.csv")
    assert done.code == 0, done.err
    assert "1 of 2 keypoints did not take effect: the network shows another class there" in done.err
    assert "on slice 1 at y 30, x 4" in done.err
    more = spss("train", "--out", "run", "--resume", "--set=optimisation.max_steps=9")
    assert more.code == 0, more.err
    assert "1 of 2 keypoints did not take effect" in more.err


def test_masks_alone(train):
    tables = ("--masks", "truth.tif", "--classes", "background,disc")
    assert train(tables=tables).code == 0
    model = load_model("run")
    assert model.classes == ("background", "disc")
    assert model.stated_fractions[1] == pytest.approx(tifffile.imread("truth.tif").mean(), abs=0.01)


def test_masks_are_no_image(train, spss):
    tables = ("--masks", "truth.tif", "--classes", "background,disc")
    both = spss("train", "truth.tif", *tables, "--out", "both")
    assert both.code == 2
    assert "truth.tif is named as the image and as its masks" in both.err
    assert train(tables=tables).code == 0
    done = spss("predict", "run", "truth.tif", "--out", "result")
    assert done.code == 2
    assert "truth.tif is of the masks that the run learned from; name an image like" in done.err
    assert not Path("result").exists()


def test_tables_and_masks_share_the_classes_of_the_tables(train, tmp_path):
    done = train(tables=(*TABLES, "--masks", "truth.tif"))
    assert done.code == 0, done.err
    assert load_model("run").classes == ("background", "disc")
    assert RunFolder(tmp_path / "run").inputs().classes == "background,disc"


def test_three_classes_with_values_survive_a_resume(spss, train, truth):
    three = np.where(truth > 0, 255, 0).astype(np.uint8)
    three[:, :8] = 127
    tifffile.imwrite("three.tif", three, photometric="minisblack")
    listed = "background=0,rim=127,disc=255"
    assert train(tables=("--masks", "three.tif", "--classes", listed)).code == 0
    assert load_model("run").classes == ("background", "rim", "disc")
    done = spss("train", "--out", "run", "--resume", "--set", "optimisation.max_steps=6")
    assert done.code == 0, done.err
    assert load_model("run").n_steps == 6


def test_order_of_classes_is_that_of_the_option(train):
    assert train("--classes", "disc,other").code == 0
    assert load_model("run").classes == ("background", "disc", "other")


def test_folder_with_a_run_is_refused(spss, trained, tiny):
    run = trained / "run"
    before = (run / "model.safetensors").read_bytes()
    done = spss("train", "image.tif", *TABLES, "--out", run, *tiny, "--seed", "1")
    assert done.code == 2
    assert "--resume" in done.error
    assert (run / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--preset", "quick"), "fast, paper"),
        (("--device", "gpu"), "auto, cpu"),
        (("--set", "optimisation.max_steps=0"), "optimisation.max_steps cannot be '0'"),
        (("--set", "network.name=mine"), "fast-unet"),
        (("--set", "loss.terms.mine=1"), "no loss term is called 'mine'"),
        (("--set", "loss.terms.="), "KEY=VALUE"),
        (("--object-diameter", "0.3um"), "pixel size"),
        (("--object-diameter", "3000"), "is 64 pixels wide"),
        (("--axes", "ZY"), "'ZY'"),
        (("--events", "json"), "jsonl"),
        (("--voxel-size", "1,2"), "three lengths"),
        (("--masks", "small.npy"), "65 x 64"),
        (("--masks", "few.npy"), "2 masks for the 3 slices"),
    ],
)
def test_bad_option_is_refused_before_anything_is_written(train, tmp_path, options, said):
    np.save("small.npy", np.zeros((3, 65, 64), np.uint8))
    np.save("few.npy", np.zeros((2, 64, 64), np.uint8))
    done = train(*options)
    assert done.code == 2
    assert said in done.error
    assert not (tmp_path / "run").exists()


def test_missing_inputs_are_named(spss, train):
    assert "--proportions" in train(tables=()).error
    assert "IMAGE" in spss("train", "--out", "run", *TABLES).error
    assert train(image="nowhere.tif").error == "nowhere.tif does not exist; check the path."
    with open("blank.csv", "w") as file:
        file.write("slice,disc\n0,\n")
    assert "state at least one" in train(tables=("--proportions", "blank.csv")).error


def test_unusable_image_leaves_no_folder(train, tmp_path):
    np.save("nan.npy", np.full((3, 64, 64), np.nan, np.float32))
    assert "NaN" in train(image="nan.npy").error
    assert not (tmp_path / "run").exists()


def test_every_wrong_cell_is_reported(train):
    with open("wrong.csv", "w") as file:
        file.write("slice,disc\n0,30\n9,0.1\n")
    done = train(tables=("--proportions", "wrong.csv"))
    assert done.code == 2
    assert done.err.splitlines()[0] == "error: 3 problems in the tables:"
    assert "line 2, column 'disc': '30'" in done.err
    assert "line 3, column 'disc': '0.1' may be a fraction or per cent" in done.err
    assert "line 3, column 'slice': '9'" in done.err


def test_json_lines_are_all_that_is_on_stdout(train):
    done = train("--events", "jsonl")
    events = [event_from_json(line) for line in done.out.splitlines()]
    kinds = [type(event) for event in events if not isinstance(event, Preparing)]
    assert kinds[0] is RunStarted
    assert isinstance(events[-1], RunFinished)
    assert (events[-1].reason, events[-1].done) == ("completed", 5)
    assert "model: run/model.safetensors" in done.err


# -- resuming ------------------------------------------------------------------------------------


def test_complete_run_is_not_repeated(spss, trained):
    done = spss("train", "--out", trained / "run", "--resume")
    assert done.code == 2
    assert "--set optimisation.max_steps=10" in done.error


def test_loss_terms_of_other_packages_are_chosen_by_name(train, spss, install):
    code = "def even(step):\n    return step.probs.diff(dim=-1).abs().mean()\n"
    install("spss_even", code, "napari_spss.losses", "even = spss_even:even")
    done = train("--set", "loss.terms.even=0.25", "--events", "jsonl")
    assert done.code == 0, done.err
    events = [event_from_json(line) for line in done.out.splitlines()]
    assert any("even" in event.losses for event in events if isinstance(event, Progress))
    assert RunFolder(Path("run")).settings().loss.terms == {"even": 0.25}
    resume = ("train", "--out", "run", "--resume", "--set", "optimisation.max_steps=6", "--set")
    assert spss(*resume, "loss.terms.even=0.5").error.startswith("--resume keeps the settings")
    done = spss(*resume, "loss.terms.even=0.25")
    assert done.code == 0, done.err


def test_complete_run_goes_on_with_more_steps(spss, train, tmp_path):
    train()
    done = spss("train", "--out", "run", "--resume", "--set", "optimisation.max_steps=8")
    assert done.code == 0, done.err
    assert load_model("run").n_steps == 8
    assert load_state("run")[0].step == 8
    assert RunFolder(tmp_path / "run").settings().optimisation.max_steps == 8


def test_background_alone_is_refused(spss, truth, tiny):
    Path("points.csv").write_text("slice,y,x,class\n0,3,3,background\n")
    done = spss("train", "image.tif", "--keypoints", "points.csv", "--out", "run", *tiny)
    assert done.code == 2
    assert "nothing but background is annotated" in done.err
    assert not Path("run").exists()


def test_a_run_that_would_make_no_step_is_refused(spss, train, tmp_path):
    train()
    before = (tmp_path / "run" / "config.toml").read_bytes()
    (tmp_path / "points.csv").write_text("slice,y,x,class\n0,3,3,disc\n")
    more = ("train", "--out", "run", "--resume", "--keypoints", "points.csv")
    done = spss(*more, "--set", "optimisation.max_steps=3")
    assert done.code == 2
    assert "has made 5 steps, more than the 3 that are set" in done.err
    assert (tmp_path / "run" / "config.toml").read_bytes() == before
    assert not (tmp_path / "run" / "updates").exists()
    assert spss(*more).code == 0


def test_a_run_on_time_alone_is_refused_fewer_minutes_than_it_took(spss, train):
    train("--set", "optimisation.max_steps=none", "--max-minutes", "0.01")
    n_steps = load_model("run").n_steps
    more = ("train", "--out", "run", "--resume", "--max-minutes")
    done = spss(*more, "0.005")
    assert done.code == 2
    assert "so it would learn nothing; set more, such as 1 (--max-minutes)." in done.err
    assert spss(*more, "0.05").code == 0
    assert load_model("run").n_steps > n_steps


def test_a_run_without_a_checkpoint_goes_on_from_its_model(spss, train):
    train()
    model = load_model("run")
    (name, weights), *_ = model.network.named_parameters()
    weights.data += 7.0  # nothing that a training from the beginning would find
    save_model(model, "run")
    shutil.rmtree(Path("run") / "checkpoint")
    done = spss("train", "--out", "run", "--resume", "--set", "optimisation.max_steps=1")
    assert done.code == 0, done.err
    assert "the run has no checkpoint: it goes on from its model" in done.err
    after = load_model("run")
    assert after.n_steps == 6
    assert dict(after.network.named_parameters())[name].min() > 5.0


def test_complete_run_learns_from_changed_annotations(spss, train, tmp_path):
    train()
    shutil.copy("keypoints.csv", "points.csv")
    with open("points.csv", "a") as file:
        file.write("2,10,12,disc\n")
    same_command = ("train", "image.tif", *TABLES, "--keypoints", "points.csv", "--out", "run")
    done = spss(*same_command, "--resume")
    assert done.code == 0, done.err
    assert "goes on from its model" in done.err
    assert load_model("run").n_steps == 10
    newest = RunFolder(tmp_path / "run").annotations()
    assert [(point.slice, point.y, point.x) for point in newest.keypoints] == [(2, 10, 12)]
    assert len(newest.proportions) == 3
    assert len(newest.grids) == 1
    with open("points.csv", "a") as file:
        file.write("1,10,12,background\n")
    done = spss("train", "--keypoints", "points.csv", "--out", "run", "--resume")
    assert done.code == 0, done.err
    assert len(RunFolder(tmp_path / "run").annotations().keypoints) == 2


def test_a_run_keeps_its_masks_and_how_they_are_read(spss, train, truth, tmp_path):
    tifffile.imwrite("masks.tif", truth.astype(np.uint8), photometric="minisblack")
    assert train(tables=("--masks", "masks.tif", "--classes", "background,disc")).code == 0
    more = ("train", "--out", "run", "--resume", "--set", "optimisation.max_steps=6")
    for options, said in (
        (("--masks", "truth.tif"), "the file of masks is"),
        (("--classes", "background=1,disc=0"), "classes is background,disc, not background=1"),
        (("--instances",), "--instances is off, not on"),
    ):
        done = spss(*more, *options)
        assert done.code == 2
        assert said in done.error
    Path("masks.tif").rename("moved.tif")
    assert "not there any more; say where they are by --masks" in spss(*more).error
    done = spss(*more, "--masks", "moved.tif", "--classes", "background,disc")
    assert done.code == 0, done.err
    assert RunFolder(tmp_path / "run").inputs().masks == str(tmp_path / "moved.tif")


def test_masks_join_a_run_and_stay_with_it(spss, train, tmp_path):
    train()
    mask = np.full((3, 64, 64), 255, np.uint8)
    mask[2] = tifffile.imread("truth.tif")[2]
    tifffile.imwrite("masks.tif", mask, photometric="minisblack")
    done = spss("train", "--masks", "masks.tif", "--out", "run", "--resume")
    assert done.code == 0, done.err
    assert "3 masks" in done.err
    assert load_model("run").n_steps == 10
    assert RunFolder(tmp_path / "run").inputs().masks == str(tmp_path / "masks.tif")
    done = spss("train", "--out", "run", "--resume", "--set", "optimisation.max_steps=7")
    assert done.code == 0, done.err
    assert "3 masks" in done.err


def test_what_was_painted_in_the_dock_counts_when_the_run_goes_on(spss, train, tmp_path):
    train()
    folder = RunFolder(tmp_path / "run")
    painted = np.full((3, 64, 64), 255, np.uint8)
    painted[2, 10:20, 10:20] = 1
    settings = folder.settings()
    folder.go_on(settings, folder.annotations(), painted=as_label_source(painted))
    found = folder.painted(open_stack("image.tif"))
    assert (found.read(2) == painted[2]).all()
    assert (found.read(0) == 255).all()
    more = ("train", "--out", "run", "--resume", "--set", "optimisation.max_steps=7")
    done = spss(*more, "--masks", "truth.tif")
    assert done.code == 2
    assert "which --masks would replace" in done.error
    done = spss(*more)
    assert done.code == 0, done.err
    assert "labels that were painted in the dock" in done.err

    nothing = np.full((3, 64, 64), 255, np.uint8)
    folder.go_on(settings, folder.annotations(), painted=as_label_source(nothing))
    assert folder.painted(open_stack("image.tif")) is None


def test_a_run_starts_from_the_model_of_another(spss, train, tmp_path):
    train("--set", "network.filters=5")
    others = ("train", "image.tif", *TABLES, "--device=cpu", "--out", "second")
    more = ("--set", "optimisation.max_steps=3", "--object-diameter", "48")
    done = spss(*others, "--start-from", "run", *more)
    assert done.code == 0, done.err
    assert "begins with the model of 5 steps" in done.err
    second = load_model("second")
    assert second.n_steps == 8
    assert (load_model("run").reduction, second.reduction) == (1, 2)
    assert second.settings.network.filters == 5
    assert second.settings.optimisation.max_steps == 3
    assert load_model("run").n_steps == 5, "the earlier run stays what it was"
    done = spss(*others[:-1], "third", "--start-from", tmp_path)
    assert done.code == 2
    assert "holds no model" in done.error
    done = spss(*others[:-1], "third", "--start-from", "run", "--set", "network.filters=6")
    assert done.code == 2
    assert "trained with network 'fast-unet' with 5" in done.error
    assert not (tmp_path / "third").exists()


def test_a_run_of_other_classes_lends_all_but_the_last_layer(spss, train, tmp_path):
    train()
    first = dict(load_model("run").network.named_parameters())
    table = "slice,background,ring,disc\n0,80%,5%,15%\n"
    (tmp_path / "three.csv").write_text(table)
    others = ("train", "image.tif", "--proportions", "three.csv", "--device=cpu", "--out", "second")
    none = ("--set", "optimisation.max_steps=1", "--set", "optimisation.learning_rate=1e-9")
    done = spss(*others, "--start-from", "run", *none)
    assert done.code == 0, done.err
    assert "run is of the classes background, disc: all but the last layer" in done.err
    second = load_model("second")
    assert second.classes == ("background", "ring", "disc")
    assert second.n_steps == 1, "training is as long as without"
    weights = {name: one.detach() for name, one in second.network.named_parameters()}
    for name in weights.keys() - {"head.weight", "head.bias"}:
        np.testing.assert_allclose(weights[name], first[name].detach(), atol=1e-6)
    assert weights["head.weight"].shape[0] == 3
    expected = np.log([0.8, 0.05, 0.15])
    np.testing.assert_allclose(weights["head.bias"], expected, atol=1e-3)


def test_run_without_a_checkpoint_starts_again(spss, train):
    train()
    shutil.rmtree("run/checkpoint")
    for name in ("model.json", "model.safetensors", "events.jsonl"):
        Path("run", name).unlink()
    done = spss("train", "--out", "run", "--resume")
    assert done.code == 0, done.err
    assert load_model("run").n_steps == 5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--preset", "paper"), "preset is fast, not paper"),
        (("--object-diameter", "50"), "image.object_diameter_px is None, not 50"),
        (("--seed", "4"), "seed is 0, not 4"),
        (("--set", "loss.alpha=0.1"), "loss.alpha is 0.5, not 0.1"),
        (("--classes", "background,mito"), "background, disc"),
        (("--start-from", "run"), "--start-from has no meaning with --resume"),
    ],
)
def test_contradiction_to_the_run_is_refused(spss, trained, options, said):
    done = spss("train", "--out", trained / "run", "--resume", *options)
    assert done.code == 2
    assert said in done.error


def test_a_run_does_not_go_on_with_another_size_of_a_pixel(spss, train):
    train("--voxel-size", "5nm")
    more = ("train", "--out", "run", "--resume", "--set", "optimisation.max_steps=6")
    done = spss(*more, "--voxel-size", "10nm")
    assert done.code == 2
    assert "where the size of a pixel is 5 nm, not 10 nm" in done.error
    assert spss(*more, "--voxel-size", "50nm,5nm,5nm").code == 0


def test_resume_begins_a_run_that_is_not_there_yet(train):
    done = train("--resume")
    assert done.code == 0
    assert "there is no run in run yet: it begins" in done.err
    assert load_model("run").n_steps == 5
    assert "nothing has changed" in train("--resume").error


def test_resume_needs_a_run_and_its_image(spss, train, tmp_path):
    assert "holds no run" in spss("train", "--out", "run", "--resume").error
    train()
    more = ("--out", "run", "--resume", "--set", "optimisation.max_steps=6")
    np.save("other.npy", np.zeros((3, 64, 64), np.uint8))
    assert "not the image" in spss("train", "other.npy", *more).error
    (tmp_path / "image.tif").rename("moved.tif")
    (tmp_path / "run").rename("my run")
    moved = ("--out", "my run", *more[2:])
    assert 'train IMAGE --out "my run" --resume' in spss("train", *moved).error
    (tmp_path / "my run").rename("run")
    done = spss("train", "moved.tif", *more)
    assert done.code == 0, done.err
    assert RunFolder(tmp_path / "run").inputs().image == str(tmp_path / "moved.tif")


def test_time_limit_says_so_and_resume_makes_the_other_steps(spss, train, tmp_path):
    done = train("--set", "optimisation.max_steps=400", "--max-minutes", "0.001")
    assert done.code == 0, done.err
    assert re.search(r"warning: Time was up after \d+ of 400 steps", done.err)
    assert re.search(r"^time was up after \d+ of 400 steps, ", done.err, re.MULTILINE)
    assert "completed" not in done.err
    assert "to go on: napari-spss train --out run --resume" in done.out
    n = load_model("run").n_steps + 2
    assert n < 400
    done = spss("train", "--out", "run", "--resume", "--set", f"optimisation.max_steps={n}")
    assert done.code == 0, done.err
    settings = RunFolder(tmp_path / "run").settings().optimisation
    assert (settings.max_minutes, settings.max_steps) == (None, n)
    assert f"completed: {n} steps" in done.err
    done = spss("train", "--out", "run", "--resume", "--max-minutes", "1")
    assert done.code == 2
    assert "is complete" in done.error


# -- stopping ------------------------------------------------------------------------------------


def send_at_first_progress(monkeypatch, times):
    """Let Ctrl-C be pressed some times when the first progress is shown."""

    def show(self, event):
        if type(event).__name__ == "Progress" and not sent:
            sent.append(event)
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)

    sent = []
    monkeypatch.setattr("napari_spss.cli.display._LineDisplay.show", show)


def test_ctrl_c_stops_keeps_the_model_and_can_be_resumed(spss, train, monkeypatch):
    with monkeypatch.context() as patches:
        send_at_first_progress(patches, 1)
        done = train("--set", "optimisation.max_steps=1000000")
    assert done.code == 0
    assert "to go on: napari-spss train --out run --resume" in done.out
    assert "fractions" not in done.out
    assert load_model("run").n_steps < 1000000


def test_second_ctrl_c_aborts(train, monkeypatch):
    send_at_first_progress(monkeypatch, 2)
    done = train()
    assert done.code == 130
    assert done.err.endswith("aborted\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_sets_the_token_and_handlers_come_back(number, capfd):
    before = signal.getsignal(number)
    token = CancelToken()
    with stop_on_signals(token):
        signal.raise_signal(number)
        assert token.is_cancelled
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before
    assert "stopping; press Ctrl-C again" in capfd.readouterr().err
