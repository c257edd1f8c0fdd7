"""``predict --format``: results in the format of another package that is installed."""

from __future__ import annotations

import re
import sys

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_spss.core.images import open_stack

PACKAGE = """
import numpy as np
from napari_spss import Writer

class NpyFile:
    def __init__(self, path, layout):
        shape = (layout.n_slices, *layout.shape_of(0))
        self._array = np.lib.format.open_memmap(path, "w+", layout.dtype, shape)
    def __enter__(self):
        return self
    def __exit__(self, *_):
        self._array.flush()
    def write(self, z, data, first_row=0):
        self._array[z, ..., first_row : first_row + data.shape[-2], :] = data

npy = Writer(".npy", NpyFile)
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Put a package with a writer on the path."""
    place = tmp_path / "site"
    info = place / "spss_npy-1.0.dist-info"
    info.mkdir(parents=True)
    (place / "spss_npy.py").write_text(PACKAGE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: spss_npy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[napari_spss.writers]\nnumpy-file = spss_npy:npy\n")
    monkeypatch.syspath_prepend(place)
    monkeypatch.delitem(sys.modules, "spss_npy", raising=False)


def test_predict_writes_and_measures_a_format_of_another_package(package, spss, trained, tmp_path):
    def predict(out, *options):
        image = (trained / "image.tif", "--out", tmp_path / out, "--device", "cpu")
        sizes = ("--voxel-size", "50um,10um,10um")
        return spss("predict", trained / "run", *image, *sizes, "--threshold", "0.1", *options)

    assert predict("ours").code == 0
    done = predict("theirs", "--format", "numpy-file")
    assert done.code == 0, done.err
    assert f"{tmp_path / 'theirs' / 'maps.npy'}" in done.out
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    for name in ("maps", "labels"):
        written = np.load(theirs / f"{name}.npy")
        np.testing.assert_array_equal(written, tifffile.imread(ours / f"{name}.ome.tif"))
    assert not list(theirs.glob("*.tif"))
    for name in ("fractions.csv", "fractions_stack.csv", "fractions_objects.csv"):
        assert (theirs / name).read_text() == (ours / name).read_text()
    assert pd.read_csv(theirs / "fractions.csv")["area_um2"].notna().all()


def test_a_format_that_fails_is_named_and_ours_are_measured_beside_a_broken_one(
    spss, trained, tmp_path, install
):
    code = """
from napari_spss import Writer
def open_file(path, layout):
    raise ValueError("no licence")
broken = Writer(".npy", open_file)
wrong = open_file
"""
    offers = "broken = spss_broken_file:broken\nwrong = spss_broken_file:wrong"
    install("spss_broken_file", code, "napari_spss.writers", offers)
    command = ("predict", trained / "run", trained / "image.tif", "--device", "cpu", "--out")
    done = spss(*command, tmp_path / "broken", "--format", "broken")
    assert done.code == 1
    assert "error: the package spss_broken_file, which adds to this program, failed" in done.err
    done = spss(*command, tmp_path / "wrong", "--format", "wrong")
    assert done.code == 2
    assert "format 'wrong' of the package spss_broken_file cannot be loaded" in done.error
    assert spss(*command, tmp_path / "ours").code == 0
    assert spss("measure", tmp_path / "ours").code == 0


def test_an_unknown_format_names_those_of_other_packages(package, spss, trained, tmp_path):
    command = ("predict", trained / "run", trained / "image.tif", "--out", tmp_path / "out")
    done = spss(*command, "--format", "czi")
    assert done.code == 2
    assert re.search("choose one of tif,.* numpy-file,", done.error)
    assert not (tmp_path / "out").exists()


def test_zarr_is_measured_and_estimated_as_tif_is(spss, trained, tmp_path):
    def predict(out, *options):
        image = (trained / "image.tif", "--out", tmp_path / out, "--device", "cpu")
        sizes = ("--voxel-size", "50um,10um,10um")
        return spss("predict", trained / "run", *image, *sizes, "--threshold", "0.1", *options)

    assert predict("tif", "--uncertainty").code == 0
    done = predict("zarr", "--uncertainty", "--format", "zarr")
    assert done.code == 0, done.err
    zarr, tif = tmp_path / "zarr", tmp_path / "tif"
    names = {path.name for path in zarr.glob("*.ome.zarr")}
    assert names == {"maps.ome.zarr", "labels.ome.zarr", "uncertainty.ome.zarr"}
    again = predict("zarr", "--uncertainty", "--format", "zarr")
    assert again.code == 0, again.err
    for command in ("measure", "estimate"):
        told = [spss(command, out / f"labels.ome.{out.name}") for out in (zarr, tif)]
        assert [one.code for one in told] == [0, 0], told[0].err
        assert told[0].out.replace(".ome.zarr", ".ome.tif") == told[1].out
    with open_stack(zarr / "maps.ome.zarr") as stack:
        maps = np.stack([stack.read(z) for z in range(stack.n_slices)])
        np.testing.assert_array_equal(maps, tifffile.imread(tif / "maps.ome.tif"))
    for name in ("fractions.csv", "fractions_stack.csv", "fractions_objects.csv"):
        assert (zarr / name).read_text() == (tif / name).read_text()
