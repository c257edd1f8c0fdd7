"""``predict``, ``evaluate``, ``measure``, ``simulate``, ``demo``: files in, files and tables."""

from __future__ import annotations

import json
import shutil
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_spss.core.annotations import read_annotations
from napari_spss.core.base import CancelToken, FinishReason, Message, RunFinished, RunStarted

pytestmark = pytest.mark.usefixtures("one_torch_thread")


# -- predict -------------------------------------------------------------------------------------


@pytest.fixture
def predict(spss, trained, tmp_path):
    """Predict the example with the trained run into ``result``."""

    def call(*options, image=trained / "image.tif", run=trained / "run"):
        return spss("predict", run, image, "--out", tmp_path / "result", *options)

    return call


def write_other(image, path="other.tif"):
    """Write an image of the same kind."""
    tifffile.imwrite(path, tifffile.imread(image)[::-1], photometric="minisblack")


def test_predict_writes_maps_labels_and_fractions(predict, tmp_path):
    done = predict("--device", "cpu", "--threshold", "0.1")
    assert done.code == 0, done.err
    result = tmp_path / "result"
    maps = tifffile.imread(result / "maps.ome.tif")
    labels = tifffile.imread(result / "labels.ome.tif")
    assert maps.shape == (3, 2, 64, 64)
    assert labels.shape == (3, 64, 64)
    table = pd.read_csv(result / "fractions.csv")
    discs = table[table["class"] == "disc"]
    assert discs["fraction"].to_numpy() == pytest.approx((labels == 1).mean(axis=(1, 2)))
    assert {path.name for path in result.iterdir()} == {
        "maps.ome.tif",
        "labels.ome.tif",
        "fractions.csv",
        "fractions_stack.csv",
        "fractions_objects.csv",
        "next_slices.csv",
        ".prediction.written.json",
    }
    for path in result.glob("[!.]*"):
        assert str(path) in done.out
    assert f"disc: {100 * labels.mean():.2f} %" in done.out


def test_measure_knows_the_classes_of_what_predict_wrote(predict, spss, tmp_path):
    assert predict("--device", "cpu", "--threshold", "0.1").code == 0
    done = spss("measure", tmp_path / "result" / "labels.ome.tif")
    assert done.out.splitlines()[0].split() == ["slice", "disc"]


@pytest.mark.parametrize("format_name", ["tif", "zarr"])
def test_predict_lists_objects_as_measure_does(
    predict, trained, spss, tmp_path, monkeypatch, format_name
):
    monkeypatch.chdir(tmp_path)
    how = ("--split", "0.7", "--min-size", "4")
    done = predict("--device", "cpu", "--threshold", "0.1", "--format", format_name, *how)
    assert done.code == 0, done.err
    suffix = {"tif": ".ome.tif", "zarr": ".ome.zarr"}[format_name]
    written = ("--image", trained / "image.tif", "--maps", f"result/maps{suffix}")
    assert spss("measure", f"result/labels{suffix}", "--out", "t.csv", *written, *how).code == 0
    objects = pd.read_csv("result/fractions_objects.csv")
    pd.testing.assert_frame_equal(objects, pd.read_csv("t_objects.csv"))
    assert objects["voxels"].min() >= 4
    assert objects["mean_probability"].between(0.1, 1).all()
    assert (objects["mean_grey"] > 0).all()


def test_objects_of_a_set_of_images_have_grey_values_and_probabilities(predict, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for name, shape in (("a.tif", (40, 50)), ("b.tif", (64, 32))):
        tifffile.imwrite(images / name, np.full(shape, 9, np.uint8))
    assert predict("--threshold", "0", image=images).code == 0
    objects = pd.read_csv(tmp_path / "result" / "fractions_objects.csv")
    assert objects["pixels"].tolist() == [40 * 50, 64 * 32]
    assert objects["mean_grey"].tolist() == [9, 9]
    assert objects["mean_probability"].between(0, 1).all()


def test_automatic_threshold_gives_the_stated_fraction(predict, trained, tmp_path):
    done = predict("--threshold", "auto")
    assert done.code == 0, done.err
    stated = read_annotations(
        proportions=trained / "proportions.csv", grid=trained / "grid.csv"
    ).effective_proportions()
    mean = np.mean([one.effective_fractions()[1] for one in stated])
    labels = tifffile.imread(tmp_path / "result" / "labels.ome.tif")
    assert labels.mean() == pytest.approx(mean, abs=0.02)
    assert "threshold" in done.err


def test_image_of_the_run_needs_no_second_word_on_its_voxels(spss, tiny, truth, tmp_path):
    trained = spss("train", "image.tif", "--proportions", "proportions.csv", "--out", "run", *tiny,
                   "--voxel-size", "50nm,4nm,4nm")  # fmt: skip
    assert trained.code == 0, trained.err
    assert spss("predict", "run", "image.tif", "--out", "result").code == 0
    volumes = pd.read_csv("result/fractions_stack.csv")
    assert volumes["volume_um3"].sum() == pytest.approx(truth.size * 0.05 * 0.004**2)
    write_other("image.tif")
    assert "not known" in spss("predict", "run", "other.tif", "--out", "unknown").err
    (moved := tmp_path / "moved").mkdir()
    for name in ("image.tif", "run"):
        shutil.move(name, moved / name)
    done = spss("predict", moved / "run", moved / "image.tif", "--out", "again")
    assert "not known" not in done.err
    assert "taken to be" not in done.err
    pd.testing.assert_frame_equal(pd.read_csv("again/fractions_stack.csv"), volumes)
    pixels = tifffile.imread(moved / "image.tif")
    tifffile.imwrite(
        "own.tif",
        pixels,
        imagej=True,
        resolution=(100, 100),
        metadata={"axes": "ZYX", "unit": "um"},
    )
    told = "taken to be 4 nm, as was stated of this image for training, not 10 nm"
    again = ("predict", moved / "run", "own.tif")
    assert told in spss(*again, "--out", "own").err
    assert told not in spss(*again, "--voxel-size", "50nm,10nm,10nm", "--out", "mine").err


def test_an_image_of_another_pixel_size_is_told(spss, tiny, truth, tmp_path):
    tables = ("--proportions", "proportions.csv", "--object-diameter", "48px")
    trained = spss("train", "image.tif", *tables, "--out", "run", "--voxel-size", "5nm", *tiny)
    assert trained.code == 0, trained.err
    own = spss("predict", "run", "image.tif", "--out", "own")
    assert " nm" not in own.err
    write_other("image.tif")
    for size, said in (("10nm", "reduced by 1 instead of 2"), ("40nm", "4.0 times smaller")):
        done = spss("predict", "run", "other.tif", "--voxel-size", size, "--out", f"of_{size}")
        assert done.code == 0, done.err
        assert said in done.err
    assert "taken to be 5 nm" in spss("predict", "run", "other.tif", "--out", "unknown").err


def test_maps_are_averaged_over_mirror_images_and_neighbours_if_asked_for(
    predict, trained, tmp_path
):
    from napari_spss.core.images import open_stack
    from napari_spss.core.prediction import predict_slice
    from napari_spss.core.training import load_model

    done = predict("--flips", "--smooth-z", "--device", "cpu")
    assert done.code == 0, done.err
    maps = tifffile.imread(tmp_path / "result" / "maps.ome.tif")
    model, stack = load_model(trained / "run"), open_stack(trained / "image.tif")
    expected = predict_slice(model, stack, 1, flips=True, smooth_z=True, device="cpu")
    np.testing.assert_allclose(maps[1] / 255, expected, atol=0.003)
    assert np.abs(expected - predict_slice(model, stack, 1, device="cpu")).max() > 0.01
    (images := tmp_path / "images").mkdir()
    for name, shape in (("a", (64, 64)), ("b", (64, 72))):
        tifffile.imwrite(images / f"{name}.tif", np.zeros(shape, np.uint8))
    done = predict("--smooth-z", "--overwrite", image=images)
    assert done.code == 2
    assert "no slices of one volume" in done.err


def test_pixels_of_unknown_size_are_told_of_another_image(predict, trained, tmp_path):
    assert "pixels wide" not in predict().err
    write_other(trained / "image.tif", tmp_path / "other.tif")
    assert "as many pixels wide" in predict("--overwrite", image=tmp_path / "other.tif").err


def test_images_of_different_sizes_become_folders(predict, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for name, shape in (("a.tif", (40, 50)), ("b.tif", (64, 32))):
        tifffile.imwrite(images / name, np.zeros(shape, np.uint8))
    done = predict(image=images)
    assert done.code == 0, done.err
    labels = [tifffile.imread(path) for path in sorted((tmp_path / "result/labels").iterdir())]
    assert [one.shape for one in labels] == [(40, 50), (64, 32)]
    assert set(pd.read_csv(tmp_path / "result/fractions.csv")["name"]) == {"a.tif", "b.tif"}
    shown = f"napari {images / 'a.tif'} {tmp_path / 'result/labels/a.tif'}"
    assert f"look at it: {shown}\n" in done.out
    assert "Convert to Labels" in done.out  # napari opens them as an image, which is black


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--threshold", "half"), "neither auto nor"),
        (("--format", "csv"), "choose one of tif"),
        (("--device", "gpu"), "auto, cpu"),
        (("--voxel-size", "1,2"), "three lengths"),
        (("--axes", "ZY"), "'ZY'"),
        (("--split", "7"), "split 7.0 is not between 0 and 1"),
        (("--min-size", "1um2"), "neither a number of voxels nor a volume"),
    ],
)
def test_bad_option_of_predict_is_refused(predict, tmp_path, options, said):
    done = predict(*options)
    assert done.code == 2
    assert said in done.error
    assert not (tmp_path / "result").exists()


def test_bad_inputs_of_predict_are_named(predict, tmp_path):
    assert "no model" in predict(run=tmp_path).error
    assert "does not exist" in predict(image=tmp_path / "nowhere.tif").error
    np.save(tmp_path / "rgb.npy", np.zeros((2, 32, 32, 3), np.uint8))
    assert "channel" in predict(image=tmp_path / "rgb.npy").error


def test_stopped_prediction_ends_well_and_leaves_nothing(predict, tmp_path, monkeypatch):
    token = CancelToken()
    token.cancel()
    monkeypatch.setattr("napari_spss.core.base.CancelToken", lambda: token)
    done = predict()
    assert done.code == 0
    assert "stopped after 0 slices" in done.err
    assert list((tmp_path / "result").glob("*")) == []


# -- evaluate ------------------------------------------------------------------------------------


@pytest.fixture
def masks(tmp_path, monkeypatch):
    """Write arrays as TIFF files: ``masks(name=array)``."""
    monkeypatch.chdir(tmp_path)

    def write(**arrays):
        for name, array in arrays.items():
            pixels = np.asarray(array, np.uint8)
            tifffile.imwrite(f"{name}.tif", pixels, photometric="minisblack")

    return write


def plane(*values, size=32):
    """One slice whose rows are divided evenly among some values."""
    return np.repeat(np.array(values), size // len(values))[None, :, None] * np.ones((1, 1, size))


def test_scores_of_two_classes(spss, masks):
    masks(labels=plane(0, 1, 1, 1), truth=plane(0, 0, 255, 255))
    done = spss("evaluate", "labels.tif", "truth.tif", "--classes", "background,disc", "--json")
    scores = json.loads(done.out)
    assert scores["iou"] == {"background": 0.5, "disc": pytest.approx(2 / 3)}
    assert scores["f1"]["disc"] == pytest.approx(0.8)
    assert scores["mean_iou"] == pytest.approx(7 / 12)
    assert scores["accuracy"] == 0.75
    text = spss("evaluate", "labels.tif", "truth.tif", "--classes", "background,disc").out
    assert "disc" in text
    assert "0.667" in text


@pytest.mark.parametrize("classes", [None, "background=0,myelin=127,axon=255"])
@pytest.mark.parametrize("labels", [(0, 0, 2, 2), (0, 0, 255, 255)])
def test_labels_are_indices_or_marked_as_the_truth(spss, masks, classes, labels):
    masks(labels=plane(*labels), truth=plane(0, 127, 255, 255))
    options = () if classes is None else ("--classes", classes)
    done = spss("evaluate", "labels.tif", "truth.tif", "--json", *options)
    assert done.code == 0, done.err
    scores = json.loads(done.out)
    assert list(scores["iou"].values()) == [0.5, 0.0, 1.0]
    found = "a class for each value: background=0,class_1=127,class_2=255; --classes "
    assert [note.startswith(found) for note in scores["notes"]] == ([] if classes else [True])


def test_the_folder_of_a_result_is_judged_by_its_labels(predict, spss, tmp_path):
    assert predict("--device", "cpu").code == 0
    result = tmp_path / "result"
    done = spss("evaluate", result, result / "labels.ome.tif", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["accuracy"] == 1


def test_labels_of_another_size_are_refused(spss, masks):
    masks(labels=np.zeros((2, 32, 32)), truth=np.ones((3, 32, 32)), wide=np.ones((2, 32, 40)))
    assert "2 slices" in spss("evaluate", "labels.tif", "truth.tif").error
    assert "32 x 40" in spss("evaluate", "labels.tif", "wide.tif").error


@pytest.mark.parametrize("suffix", [".tif", ".zarr"])
def test_objects_of_a_film_are_those_of_each_time_point(predict, spss, trained, tmp_path, suffix):
    film, image = tmp_path / "film.tif", tifffile.imread(trained / "image.tif")
    tifffile.imwrite(film, image, imagej=True, metadata={"axes": "TYX"})
    options = ("--device", "cpu", "--threshold", "0.1", "--format", suffix[1:])
    done = predict(*options, image=film)
    assert done.code == 0, done.err
    assert "time points" in done.err
    again = spss("measure", tmp_path / "result", "--out", tmp_path / "t.csv")
    assert "time points" in again.err
    for table in (tmp_path / "result" / "fractions", tmp_path / "t"):
        found = pd.read_csv(f"{table}_objects.csv")
        assert set(found["slices"]) == {1}
        assert set(found["z0"]) == {0, 1, 2}
        assert "area_um2" in pd.read_csv(f"{table}_stack.csv")
    size = ("--voxel-size", "50nm,5nm,5nm", "--overwrite")
    assert "time points" in predict(*options, "--axes", "TYX", *size, image=film).err
    done = predict(*options, "--axes", "ZYX", "--overwrite", image=film)
    assert "time points" not in done.err
    assert set(pd.read_csv(tmp_path / "result" / "fractions_objects.csv")["slices"]) != {1}


# -- measure -------------------------------------------------------------------------------------


def test_measure_prints_and_writes_fractions_and_objects(spss, masks):
    masks(labels=np.concatenate([plane(0, 0, 0, 1), plane(0, 0, 1, 1)]))
    done = spss(
        "measure", "labels.tif", "--out", "tables/t.csv", "--classes", "background,disc",
        "--voxel-size", "50nm,4nm,4nm",
    )  # fmt: skip
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].split() == ["slice", "disc"]
    assert lines[1].split() == ["0", "25.00", "%"]
    assert lines[2].split() == ["1", "50.00", "%"]
    assert "disc: 37.50 %, 1 object" in lines
    objects = pd.read_csv("tables/t_objects.csv")
    assert objects["voxels"].tolist() == [24 * 32]
    assert objects["volume_um3"].tolist() == pytest.approx([24 * 32 * 0.05 * 0.004**2])
    assert pd.read_csv("tables/t.csv")["fraction"].tolist() == [0.75, 0.25, 0.5, 0.5]
    assert pd.read_csv("tables/t_stack.csv")["fraction"].tolist() == [0.625, 0.375]


def test_sizes_that_labels_lack_are_those_of_the_image(spss, masks):
    masks(labels=np.concatenate([plane(0, 0, 0, 1), plane(0, 0, 1, 1)]))
    tifffile.imwrite(
        "image.tif",
        tifffile.imread("labels.tif"),
        imagej=True,
        resolution=(100, 100),
        metadata={"axes": "ZYX", "unit": "um", "spacing": 0.05},
    )
    measured = ("measure", "labels.tif", "--out", "t.csv", "--image", "image.tif")
    done = spss(*measured)
    assert "Sizes are those of image.tif" in done.err
    assert "states pixels of 1 µm" not in done.err
    volume = pd.read_csv("t_objects.csv")["volume_um3"]
    assert volume.tolist() == pytest.approx([24 * 32 * 0.05 * 0.01**2])
    done = spss(*measured, "--voxel-size", "50nm,4nm,4nm", "--overwrite")
    assert "Sizes are those" not in done.err
    done = spss(*measured, "--voxel-size", "4nm", "--overwrite")
    assert "The slices are 50 nm apart as in image.tif" in done.err
    stated = pd.read_csv("t_objects.csv")["volume_um3"]
    assert stated.tolist() == pytest.approx([24 * 32 * 0.05 * 0.004**2])
    metadata = {"axes": "ZYX", "unit": "um"}  # no spacing
    labels = tifffile.imread("labels.tif")
    tifffile.imwrite("flat.tif", labels, imagej=True, resolution=(100, 100), metadata=metadata)
    done = spss("measure", "flat.tif", "--out", "f.csv", "--image", "image.tif")
    assert "The slices are 50 nm apart as in image.tif" in done.err
    assert pd.read_csv("f_objects.csv")["volume_um3"].tolist() == volume.tolist()
    one_um = {"axes": "ZYX", "unit": "um", "spacing": 1}
    labels = tifffile.imread("labels.tif")
    tifffile.imwrite("image.tif", labels, imagej=True, resolution=(1, 1), metadata=one_um)
    assert "image.tif states pixels of 1 µm" in spss(*measured, "--overwrite").err


def test_images_that_are_fewer_than_the_labels_are_refused(spss, masks, tmp_path):
    masks(labels=np.concatenate([plane(0, 0, 0, 1)] * 3))
    (tmp_path / "images").mkdir()
    for edge in (20, 30):
        pixels = np.zeros((edge, edge), np.uint8)
        tifffile.imwrite(
            tmp_path / f"images/{edge}.tif",
            pixels,
            resolution=(9, 9),
            imagej=True,
            metadata={"unit": "um"},
        )
    error = spss("measure", "labels.tif", "--image", tmp_path / "images").error
    assert "images has 2 slices of (20, 20) pixels, but the labels have 3" in error


def test_table_must_be_a_file(spss, masks, tmp_path):
    masks(labels=plane(0, 1, 0, 1))
    assert "table.csv" in spss("measure", "labels.tif", "--out", tmp_path).error
    assert "is a file" in spss("measure", "labels.tif", "--out", "labels.tif/t.csv").error
    for name in ("t.xlsx", "t"):
        error = spss("measure", "labels.tif", "--out", name).error
        assert error == f"--out {name}: tables are CSV; name it t.csv."


def test_measure_lists_objects_as_asked(spss, masks):
    masks(labels=np.concatenate([plane(0, 0, 0, 1), plane(0, 0, 1, 1), plane(0, 0, 0, 0)]))
    tifffile.imwrite("image.tif", np.full((3, 32, 32), 9, np.uint8), photometric="minisblack")
    maps = np.full((3, 2, 32, 32), 51, np.uint8)
    tifffile.imwrite(
        "maps.tif", maps, metadata={"axes": "ZCYX"}, ome=True, photometric="minisblack"
    )
    voxel = ("--voxel-size", "50nm,4nm,4nm", "--overwrite")
    asked = ("--image", "image.tif", "--maps", "maps.tif", "--split", "0.7", "--per-slice")
    done = spss("measure", "labels.tif", "--out", "t.csv", "--min-size", "1000nm2", *voxel, *asked)
    assert done.code == 0, done.err
    objects = pd.read_csv("t_objects.csv")
    assert (objects["area_um2"] >= 0.001).all()
    assert objects["mean_grey"].unique().tolist() == [9]
    assert objects["mean_probability"].to_numpy() == pytest.approx(0.2)
    assert "perimeter_um" in objects
    none = spss("measure", "labels.tif", "--out", "t.csv", "--min-size", "1 um3", *voxel)
    assert none.code == 0
    assert pd.read_csv("t_objects.csv").empty
    for wrong, said in (
        (("--min-size", "1um2"), "min_size '1um2' is neither a number of voxels nor a volume"),
        (("--split", "7"), "split 7.0 is not between 0 and 1"),
        (("--image", "nowhere.tif"), "does not exist"),
    ):
        done = spss("measure", "labels.tif", *wrong)
        assert done.code == 2
        assert said in done.error


def test_measure_tells_surface_and_number_per_volume(spss, masks):
    labels = np.zeros((3, 32, 32), np.uint8)
    labels[1:, 8:20, 8:20] = 1
    masks(labels=labels)
    size = ("--voxel-size", "50nm,10nm,10nm")
    told = spss("measure", "labels.tif", *size).out
    assert f"{1 / (2 * 31 * 31 * 0.05 * 0.01**2):.3g} per µm³" in told
    assert "(isotropic sections)" in told
    assert "(vertical sections)" in spss("measure", "labels.tif", *size, "--vertical").out
    assert "per µm" not in spss("measure", "labels.tif").out


def test_long_stacks_are_not_listed(spss, masks):
    masks(labels=np.ones((61, 8, 8)))
    assert spss("measure", "labels.tif").out.splitlines()[0] == "61 slices"


# -- simulate ------------------------------------------------------------------------------------


def test_images_of_a_set_count_by_their_areas(spss, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("masks").mkdir()
    for name, edge, nm, value in (("a", 64, 10, 1), ("b", 32, 60, 0)):
        mask = np.full((edge, edge), value, np.uint8)
        tifffile.imwrite(f"masks/{name}.tif", mask)
        content = {"PixelSize": [nm, nm], "PixelSizeUnits": "nm"}
        Path(f"masks/{name}.json").write_text(json.dumps(content))
    named = ("--classes", "background,disc")
    done = spss("simulate", "masks", "--protocol", "grid", "--grid-size", "8", "--out", "s", *named)
    assert done.code == 0, done.err
    share = 100 * 640**2 / (640**2 + 1920**2)
    assert f"whole stack, by 2 of 2 grids: disc {share:.2f} %" in done.out


def test_simulated_frames_can_be_trained_on_and_give_the_fraction_of_the_stack(spss, truth):
    named = ("--classes", "background,disc")
    done = spss("simulate", "truth.tif", "--protocol", "frames", "--frames", "6", "--frame-size",
                "16", "--frame-nodes", "4", "--out", "sim", *named)  # fmt: skip
    assert done.code == 0, done.err
    frames = read_annotations(grid="sim/grid.csv").grids
    assert {frame.n_nodes for frame in frames} == {16}
    assert len({frame.region for frame in frames}) == 6
    hits = sum(int(frame.class_index.sum()) for frame in frames)
    told = f"whole stack, by 6 of 6 counting frames: disc {100 * hits / 96:.2f} % (95 % interval "
    assert told in done.out
    assert "assumed: frames laid by systematic uniform random sampling" in done.out
    command = done.out.splitlines()[-1].split("napari-spss ")[1].replace("IMAGE", "image.tif")
    trained = spss(
        *command.split(), "--set", "optimisation.max_steps=3", "--set", "network.filters=2"
    )
    assert trained.code == 0, trained.err
    assert "annotations: 6 frames (96 nodes, " in trained.err
    assert told in trained.err


def test_simulated_grid_can_be_trained_on(spss, tiny, truth):
    named = ("--classes", "background,disc")
    done = spss("simulate", "truth.tif", "--protocol", "grid", "--slices", "2", "--grid-size", "8",
                "--out", "sim", *named)  # fmt: skip
    assert done.code == 0, done.err
    annotations = read_annotations(grid="sim/grid.csv")
    assert [grid.n_nodes for grid in annotations.grids] == [64, 64]
    seconds = json.loads(Path("sim/summary.json").read_text())["seconds"]
    assert seconds == pytest.approx(128 * 60 / 256)
    assert "30 s" in done.out
    command = done.out.splitlines()[-1].split("napari-spss ")[1].replace("IMAGE", "image.tif")
    assert spss(*command.replace("RUN", "run").split(), *tiny).code == 0


def test_degraded_guesses_are_the_softmax_of_eq_5(spss, truth):
    done = spss(
        "simulate", "truth.tif", "--protocol", "guess", "--degrade", "eq5:0", "--out", "sim"
    )
    assert done.code == 0, done.err
    found = [one.fractions[1] for one in read_annotations(proportions="sim/proportions.csv").
             proportions]  # fmt: skip
    p = truth.mean(axis=(1, 2))
    assert found == pytest.approx(np.exp(p) / (np.exp(p) + np.exp(1 - p)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--protocol", "magic"), "guess, regions, clicks, grid, frames, paper"),
        (("--protocol", "guess", "--grid-size", "8"), "--protocol grid"),
        (("--protocol", "frames", "--slices", "2"), "--protocol guess or regions or clicks"),
        (("--protocol", "grid", "--frames", "2"), "--protocol frames"),
        (("--protocol", "frames", "--frame-size", "999"), "a frame of 999 px is larger than"),
        (("--protocol", "frames", "--frame-size", "8", "--frame-nodes", "9"), "at most 8"),
        (("--protocol", "frames", "--frame-size", "8", "--frames", "9999"), "lay fewer"),
        (("--protocol", "grid", "--noise", "0.2"), "--protocol guess or regions"),
        (("--protocol", "guess", "--clicks-per-slice", "3"), "--protocol clicks or paper"),
        (("--protocol", "clicks", "--degrade", "eq5:0.1"), "has no meaning"),
        (("--protocol", "guess", "--crop-size", "8"), "--protocol regions or paper"),
        (("--protocol", "paper", "--crop-size", "0"), "crop_px"),
        (("--protocol", "guess", "--degrade", "eq6:0.1"), "eq5:SIGMA"),
        (("--protocol", "guess", "--slices", "9"), "1 to 3"),
        (("--protocol", "guess", "--noise", "-1"), "noise"),
        (("--protocol", "grid", "--node-errors", "2"), "node"),
        (("--protocol", "guess", "--seed", "-1"), "--seed -1"),
    ],
)
def test_bad_option_of_simulate_is_refused(spss, truth, tmp_path, options, said):
    done = spss("simulate", "truth.tif", "--out", "sim", *options)
    assert done.code == 2
    assert said in done.error
    assert not (tmp_path / "sim").exists()


# -- demo ----------------------------------------------------------------------------------------


def test_demo_shows_events_lines_and_files(spss, tmp_path, monkeypatch):
    @dataclass(frozen=True)
    class Result:
        lines: tuple[str, ...]
        files: tuple[Path, ...]

    def iter_demo(out_dir, *, device="auto", token=None):
        yield RunStarted("training", 2, device, ("background", "disc"))
        yield Message("info", "hello")
        yield RunFinished(FinishReason.completed, 2, 1.0)
        return Result(("IoU 0.9",), (out_dir / "overlay.png",))

    fake = types.ModuleType("napari_spss.cli.demo")
    fake.iter_demo = iter_demo
    monkeypatch.setitem(sys.modules, "napari_spss.cli.demo", fake)
    done = spss("demo", "--out", tmp_path / "demo", "--device", "cpu")
    assert done.code == 0, done.err
    assert done.out == f"IoU 0.9\nwritten:\n  {tmp_path / 'demo' / 'overlay.png'}\n"
    assert "note: hello" in done.err
