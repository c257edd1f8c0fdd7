"""``figure``: what it writes, and what it refuses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_spss.core.annotations import (
    Annotations,
    Classes,
    ClassStyle,
    CountingGrid,
    write_grid,
)
from napari_spss.core.images import WRITERS, StackLayout

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture
def figure(spss, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels = np.zeros((3, 64, 64), np.uint8)
    labels[:, 20:40, 20:44] = 1
    tifffile.imwrite("labels.tif", labels, photometric="minisblack")
    image = np.arange(labels.size, dtype=np.uint16).reshape(labels.shape)
    tifffile.imwrite("image.tif", image, photometric="minisblack")
    return lambda *options: spss("figure", "labels.tif", "--out", "figures", *options)


def written(folder="figures"):
    from pathlib import Path

    return {path.name for path in Path(folder).glob("[!.]*")}


def test_figures_in_three_formats(figure):
    done = figure("--image", "image.tif", "--voxel-size", "50nm,5nm,5nm")
    assert done.code == 0, done.err
    kinds = ("fractions", "sizes", "overlay")
    assert written() == {f"{kind}.{suffix}" for kind in kinds for suffix in ("svg", "pdf", "png")}
    assert all(name in done.out for name in written())


def test_without_an_image_there_is_no_overlay_and_it_is_told(figure, tmp_path):
    (tmp_path / "proportions.csv").write_text("slice,background,mito\n1,,0.2\n")
    done = figure("--format=svg", "--proportions=proportions.csv", "--classes=background=0,mito=1")
    assert done.code == 0, done.err
    assert written() == {"fractions.svg", "sizes.svg"}
    assert "--image IMAGE draws the labels over a slice" in done.err
    assert ">typed</text>" in (tmp_path / "figures" / "fractions.svg").read_text()


def test_sizes_are_of_the_objects_that_measure_lists(figure, tmp_path):
    def sizes(*options):
        assert figure("--format", "svg", "--overwrite", *options).code == 0
        return (tmp_path / "figures" / "sizes.svg").read_text()

    assert ": 1 object, median" in sizes("--min-size", "1440")
    assert ": no objects" in sizes("--min-size", "1441")
    assert ": 3 objects, median" in sizes("--per-slice")
    labels = np.zeros((1, 64, 64), np.uint8)
    for x in (20, 37):  # two discs that touch
        labels[0] |= np.hypot(*(np.mgrid[:64, :64] - np.array([32, x])[:, None, None])) < 10
    tifffile.imwrite("labels.tif", labels, photometric="minisblack")
    assert ": 1 object, median" in sizes()
    assert ": 2 objects, median" in sizes("--split", "0.7")
    labels[:, :, 29:] *= 7  # ids of two objects
    tifffile.imwrite("labels.tif", labels, photometric="minisblack")
    ids = "--instances", "--classes", "background,mito"
    assert ">mito: 2 objects, median" in sizes(*ids)


def test_sizes_that_the_labels_lack_are_those_of_the_image_as_measure_tells_them(figure, tmp_path):
    def sizes(*options):
        assert figure("--image=image.tif", "--format=svg", "--overwrite", *options).code == 0
        return (tmp_path / "figures" / "sizes.svg").read_text()

    def write(axes, **more):
        metadata = {"axes": axes, "unit": "um", **more}
        tifffile.imwrite("image.tif", pixels, imagej=True, resolution=(10, 10), metadata=metadata)

    pixels = tifffile.imread("image.tif")
    write("ZYX", spacing=0.1)
    told = sizes()
    assert "equivalent diameter, µm<" in told
    assert ": 1 object, median 1.4 µm; 1 cut by the border<" in told
    assert sizes("--voxel-size=100nm") == told
    write("TYX")
    assert ": 3 objects, median 2.47 µm<" in sizes()


def test_a_folder_is_not_named_as_a_file(figure, tmp_path):
    refused = figure("--out", "o.pdf")
    assert refused.code == 2
    assert "several files are written; name a folder, such as o" in refused.err
    assert not (tmp_path / "o.pdf").exists()


def test_figures_of_the_same_labels_are_replaced_and_no_others(figure, tmp_path):
    assert figure("--format", "png").code == 0
    assert figure("--format", "png").code == 0
    (tmp_path / "figures" / "sizes.png").write_bytes(b"mine")
    done = figure("--format", "png")
    assert done.code == 2
    assert "was changed since it was written by napari-spss" in done.error
    assert (tmp_path / "figures" / "sizes.png").read_bytes() == b"mine"
    assert figure("--format", "png", "--overwrite").code == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--slice", "3", "--image", "image.tif"], "--slice 3 is not in the labels; choose 0 to 2"),
        (["--slice", "1"], "name its image by --image"),
        (["--format", "gif"], "format 'gif' is none of svg, pdf, png"),
        (["--image", "short.tif"], "has 2 slices, but the labels have 3"),
        (["--check", "no.csv"], "no.csv"),
    ],
)
def test_what_cannot_be_drawn_is_told_in_a_line(figure, options, said):
    tifffile.imwrite("short.tif", np.zeros((2, 64, 64), np.uint8), photometric="minisblack")
    done = figure(*options)
    assert done.code == 2
    assert said in done.error
    assert written() == set()


def test_nodes_that_the_run_learned_from_correct_no_figure(spss, trained, tmp_path):
    assert (
        spss("predict", trained / "run", trained / "image.tif", "--out", tmp_path / "r").code == 0
    )
    options = ("--run", trained / "run", "--out", tmp_path / "f", "--format", "svg")
    done = spss("figure", tmp_path / "r", *options, "--grid", trained / "grid.csv")
    assert done.code == 0, done.err
    assert "counted, 95 %" in (tmp_path / "f" / "fractions.svg").read_text()
    done = spss("figure", tmp_path / "r", *options, "--check", trained / "grid.csv")
    assert done.code == 2
    assert "learned from" in done.error


@pytest.fixture
def image_set(tmp_path, monkeypatch):
    """Labels of three images of unlike pixels, and a frame on each."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set").mkdir()
    ys, xs = (one.ravel() for one in np.mgrid[4:64:8, 4:64:8].astype(float))
    frames = []
    for z, pixel_um in enumerate((0.01, 0.02, 0.04)):
        labels = np.zeros((64, 64), np.uint8)
        labels[:, : 16 * (z + 1)] = 1
        metadata = {"axes": "YX", "PhysicalSizeX": pixel_um, "PhysicalSizeY": pixel_um}
        tifffile.imwrite(f"set/{z}_{z}.ome.tif", labels, metadata=metadata)
        said = labels[ys.astype(int), xs.astype(int)]
        frames.append(CountingGrid(z, 8.0, 4.0, 4.0, ys, xs, said, True, (0, 0, 64, 64)))
    write_grid("frames.csv", Annotations(("background", "mito"), grids=frames))


def test_frames_of_images_of_unlike_pixels_tell_what_estimate_says(spss, image_set, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "napari_spss.core.analysis.figures.draw_fractions", lambda axes, one: drawn.append(one)
    )
    two = ("set", "--classes=background,mito")
    done = spss("figure", *two, "--grid=frames.csv", "--out=f", "--format=svg")
    assert done.code == 0, done.err
    fraction, low, high = drawn[0].whole["counted in frames"]
    assert fraction == pytest.approx((0.25 + 4 * 0.5 + 16 * 0.75) / 21)
    assert spss("estimate", *two, "--check=frames.csv", "--out=e.csv").code == 0
    said = pd.read_csv("e.csv").set_index("method").loc["count"]
    assert (fraction, low, high) == pytest.approx((said["fraction"], said["low"], said["high"]))


def test_an_overlay_has_the_colours_that_the_labels_keep(spss, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = np.zeros((1, 64, 64), np.uint8)
    values[:, 20:40, 20:44] = 1
    classes = Classes([ClassStyle("background"), ClassStyle("mito", "#12AB34")])
    layout = StackLayout(((64, 64),), np.dtype(np.uint8), classes=classes)
    with WRITERS.get("zarr").open(tmp_path / "labels.zarr", layout) as file:
        file.write(0, values[0], 0)
    tifffile.imwrite("image.tif", values, photometric="minisblack")
    options = ("--image", "image.tif", "--out", "figures", "--format", "svg")
    done = spss("figure", "labels.zarr", *options)
    assert done.code == 0, done.err
    assert "#12ab34" in (tmp_path / "figures" / "overlay.svg").read_text()
