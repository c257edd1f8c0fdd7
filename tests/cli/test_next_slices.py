"""``predict`` says which slices to count next, and writes how uncertain its maps are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tifffile

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture
def predict(spss, trained, tmp_path):
    def call(*options, image=trained / "image.tif"):
        return spss("predict", trained / "run", image, "--out", tmp_path / "result", *options)

    return call


def test_next_slices_are_those_without_a_grid(predict, tmp_path):
    done = predict("--device", "cpu")
    assert done.code == 0, done.err
    table = pd.read_csv(tmp_path / "result" / "next_slices.csv")
    assert list(table.columns) == ["slice", "name", "uncertainty", "difference"]
    assert sorted(table["slice"]) == [1, 2]  # slice 0 has a grid
    assert table["uncertainty"].between(0, 1).all()
    assert (table["difference"] > 0).all()
    assert f"slice {table['slice'][0]}, {table['slice'][1]}" in done.out
    assert str(tmp_path / "result" / "next_slices.csv") in done.out
    assert not (tmp_path / "result" / "uncertainty.ome.tif").exists()


def test_of_another_image_nothing_is_counted_and_one_slice_is_no_choice(predict, tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "other.tif"
    tifffile.imwrite(path, rng.integers(0, 255, (3, 40, 40), np.uint8), photometric="minisblack")
    assert predict(image=path).code == 0
    table = pd.read_csv(tmp_path / "result" / "next_slices.csv")
    assert sorted(table["slice"]) == [0, 1, 2]
    assert (table["difference"] == 0).all()
    tifffile.imwrite(path, rng.integers(0, 255, (40, 40), np.uint8), photometric="minisblack")
    done = predict("--overwrite", image=path)
    assert done.code == 0, done.err
    assert "count next" not in done.out
    assert not (tmp_path / "result" / "next_slices.csv").exists()


def test_uncertainty_is_written_when_asked_for(predict, tmp_path):
    done = predict("--uncertainty")
    assert done.code == 0, done.err
    path = tmp_path / "result" / "uncertainty.ome.tif"
    written = tifffile.imread(path)
    assert (written.dtype, written.shape) == (np.uint8, (3, 64, 64))
    assert str(path) in done.out
    means = pd.read_csv(tmp_path / "result" / "next_slices.csv").set_index("slice")["uncertainty"]
    for z in means.index:
        assert means[z] == pytest.approx(written[z, ::4, ::4].mean() / 255, abs=0.002)
