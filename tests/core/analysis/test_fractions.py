from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_spss.core.analysis import (
    estimate_fraction,
    measure,
    measurement_results,
    write_measurement,
)
from napari_spss.core.annotations import parse_classes, wilson_interval
from napari_spss.core.annotations.csv_cells import read_table
from napari_spss.core.base import InputError
from napari_spss.core.images import (
    open_masks,
)


def _row(table: pd.DataFrame, **where: object) -> pd.Series:
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


@pytest.fixture
def stack() -> np.ndarray:
    """Three slices of 4 x 5: a box of 2 x 2 x 2 inside, a column at the corner, one of class 2."""
    labels = np.zeros((3, 4, 5), dtype=np.uint8)
    labels[1:3, 1:3, 1:3] = 1
    labels[:, 0, 4] = 1
    labels[0, 3, 0:2] = 2
    return labels


def test_fractions_and_areas_per_slice(stack: np.ndarray) -> None:
    stack[0, 2, :] = 255
    slices = measure(stack, voxel_size_um=(0.05, 0.01, 0.02)).slices
    assert list(slices.columns) == ["slice", "class", "pixels", "fraction", "area_um2"]
    assert len(slices) == 9
    first = _row(slices, slice=0, **{"class": "class_1"})
    assert first["pixels"] == 1
    assert first["fraction"] == pytest.approx(1 / 15)
    assert first["area_um2"] == pytest.approx(2e-4)
    second = _row(slices, slice=1, **{"class": "class_1"})
    assert second["fraction"] == pytest.approx(5 / 20)
    assert slices.groupby("slice")["fraction"].sum().to_numpy() == pytest.approx(1.0)


def test_stack_has_volume_fraction_interval_and_volume(stack: np.ndarray) -> None:
    table = measure(stack, voxel_size_um=(0.05, 0.01, 0.02), classes=("bg", "mito", "er")).stack
    mito = _row(table, **{"class": "mito"})
    assert mito["fraction"] == pytest.approx(11 / 60)
    assert mito["voxels"] == 11
    assert mito["volume_um3"] == pytest.approx(11 * 0.05 * 0.01 * 0.02)
    assert mito["objects"] == 2
    assert math.isnan(mito["low"])
    assert math.isnan(mito["high"])
    # Fractions .05, .25, .25: standard error of the mean .2/3, Student's t for 2 is 4.30265.
    images = _row(measure(stack, is_set=True).stack, **{"class": "class_1"})
    n = 11 / 60 * 49 / 60 / (0.2 / 3) ** 2
    interval = wilson_interval(11 / 60 * n, n, z=4.30265)
    assert (images["low"], images["high"]) == pytest.approx(interval, rel=1e-4)
    assert table["objects"].tolist() == [pd.NA, 2, 1]


def test_objects_of_a_stack(stack: np.ndarray) -> None:
    table = measure(stack, voxel_size_um=(0.1, 0.1, 0.1)).objects
    assert table["object"].tolist() == [1, 2, 3]
    box = _row(table, voxels=8)
    assert box[["z0", "y0", "x0", "z1", "y1", "x1"]].tolist() == [1, 1, 1, 3, 3, 3]
    assert box[["z", "y", "x"]].tolist() == pytest.approx([1.5, 1.5, 1.5])
    assert box["slices"] == 2
    assert box["volume_um3"] == pytest.approx(0.008)
    assert box["equivalent_diameter_um"] == pytest.approx((6 * 0.008 / math.pi) ** (1 / 3))
    assert box["equivalent_diameter_px"] == pytest.approx((48 / math.pi) ** (1 / 3))
    assert box["touches_border"]  # it ends with the last slice
    column = _row(table, voxels=3)
    assert column["slices"] == 3
    assert _row(table, **{"class": "class_2"})["voxels"] == 2


def test_small_objects_are_left_out_of_the_list_but_not_of_the_fractions(stack: np.ndarray) -> None:
    measured = measure(stack, min_size=4)
    assert measured.objects["voxels"].tolist() == [8]
    assert _row(measured.stack, **{"class": "class_1"})["voxels"] == 11
    assert _row(measured.stack, **{"class": "class_1"})["objects"] == 1


def test_image_sets_count_objects_per_image_in_2d() -> None:
    small, large = np.zeros((4, 4), int), np.zeros((10, 10), int)
    small[1, 1] = small[3, 3] = 1
    large[1:3, 1:3] = 1
    measured = measure([small, large], pixel_sizes_um=[0.2, 0.1], names=("a.png", "b.png"))
    table = measured.slices[measured.slices["class"] == "class_1"]
    assert table["objects"].tolist() == [2, 1]
    assert table["name"].tolist() == ["a.png", "b.png"]
    assert table["area_um2"].tolist() == pytest.approx([0.08, 0.04])
    objects = measured.objects
    assert objects["area_um2"].tolist() == pytest.approx([0.04, 0.04, 0.04])
    assert objects["equivalent_diameter_um"].to_numpy() == pytest.approx(
        math.sqrt(4 * 0.04 / math.pi)
    )
    # By true areas: (2 * .04 + 4 * .01) / (16 * .04 + 100 * .01).
    assert _row(measured.stack, **{"class": "class_1"})["fraction"] == pytest.approx(0.12 / 1.64)


def test_of_a_stack_with_slices_of_unknown_distance_only_volumes_are_missing() -> None:
    measured = measure(np.ones((2, 4, 4), np.uint8), voxel_size_um=(None, 0.1, 0.1))
    assert measured.slices["area_um2"].tolist()[1] == pytest.approx(0.16)
    assert "The distance of slices is not known, so volumes are in voxels only." in measured.notes
    assert not any("in pixels only" in note for note in measured.notes)


def test_single_image_has_no_interval_and_says_so() -> None:
    measured = measure(np.array([[0, 1], [1, 1]]))
    row = _row(measured.stack, **{"class": "class_1"})
    assert row["fraction"] == 0.75
    assert math.isnan(row["low"])
    assert math.isnan(row["high"])
    assert any("no interval" in note for note in measured.notes)
    assert any("in pixels only" in note for note in measured.notes)


def test_empty_and_unlabelled_slices() -> None:
    labels = np.zeros((3, 4, 4), dtype=np.uint8)
    labels[2] = 255
    measured = measure(labels, classes=("background", "mito"))
    assert len(measured.objects) == 0
    assert list(measured.objects.columns) == list(measure(np.ones((3, 4, 4), int)).objects.columns)
    assert _row(measured.stack, **{"class": "mito"})["fraction"] == 0.0
    assert _row(measured.stack, **{"class": "mito"})["slices"] == 2
    assert math.isnan(_row(measured.slices, slice=2, **{"class": "mito"})["fraction"])
    assert measured.notes[:2] == (
        "Nowhere in the labels: mito.",
        "1 slice with no labelled pixel: counted in no fraction.",
    )


def test_labels_without_any_labelled_pixel_have_no_fraction() -> None:
    measured = measure(np.full((3, 4, 4), 255))
    assert measured.stack["fraction"].isna().all()
    assert not any("alike" in note for note in measured.notes)


def test_names_of_files_are_not_written_as_formulas(tmp_path):
    names = ('=HYPERLINK("http://x")', "-1.tif")
    masks = [np.ones((4, 4), int), np.zeros((4, 4), int)]
    found = measure(masks, names=names, classes=("background", "a"))
    path, *_ = write_measurement(measurement_results(tmp_path / "table.csv"), found)
    with path.open(encoding="utf-8", newline="") as file:
        raw = {row["name"] for row in csv.DictReader(file)}
    assert raw == {f"'{name}" for name in names}
    table = read_table(path, [], expects=("name",))
    assert {cells["name"] for cells in table.rows.values()} == set(names)


def test_tables_are_written_with_blanks_for_the_unknown(tmp_path: Path, stack: np.ndarray) -> None:
    paths = write_measurement(measurement_results(tmp_path / "table.csv"), measure(stack))
    assert [path.name for path in paths] == ["table.csv", "table_stack.csv", "table_objects.csv"]
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {path.name for path in paths} | {".table.csv.written.json"}
    with paths[1].open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["objects"] for row in rows] == ["", "2", "1"]
    assert rows[1]["volume_um3"] == ""
    assert float(rows[1]["fraction"]) == pytest.approx(11 / 60)
    assert len(pd.read_csv(paths[2])) == 3
    with pytest.raises(InputError, match=r"table\.csv is a file; choose another folder"):
        write_measurement(measurement_results(paths[0] / "table.csv"), measure(stack))


def test_tables_replace_only_those_of_the_same_labels(tmp_path: Path, stack: np.ndarray) -> None:
    labels, table, found = tmp_path / "a.tif", tmp_path / "table.csv", measure(stack)
    write_measurement(measurement_results(table, labels=labels), found)
    write_measurement(measurement_results(table, labels=labels), found)
    for other in (tmp_path / "b.tif", None):
        with pytest.raises(InputError, match=r"table\.csv was "):
            write_measurement(measurement_results(table, labels=other), found)
    write_measurement(measurement_results(table, labels=tmp_path / "b.tif", overwrite=True), found)
    table.with_name("table_stack.csv").write_text("mine")
    with pytest.raises(InputError, match=r"table_stack\.csv was changed"):
        write_measurement(measurement_results(table, labels=tmp_path / "b.tif"), found)
    labels.write_bytes(b"image")
    with pytest.raises(InputError, match=r"a\.tif is read, and would be replaced"):
        write_measurement(measurement_results(labels, labels=labels, overwrite=True), found)


# The interval


def test_ratio_estimator_weighs_slices_by_their_size() -> None:
    estimate = estimate_fraction([10, 0], [100, 300], is_sample=True)
    assert estimate.fraction == pytest.approx(10 / 400)
    # Residuals 7.5 and -7.5; variance 112.5 / 2 / 200²; Student's t for 1 is 12.7062.
    n = 0.025 * 0.975 / (56.25 / 200**2)
    interval = wilson_interval(0.025 * n, n, z=12.7062)
    assert (estimate.low, estimate.high) == pytest.approx(interval, rel=1e-4)


def test_interval_of_a_density_is_that_of_a_rate() -> None:
    found = estimate_fraction([1, 2, 6], [1, 1, 1], is_sample=True, is_density=True)
    assert found.fraction == 3
    # Residuals -2, -1 and 3: variance 14 / 6; Student's t for 2 is 4.30265.
    for end in (found.low, found.high):
        assert (end - 3) ** 2 == pytest.approx(4.30265**2 * 14 / 6 * end / 3, rel=1e-4)


def test_intervals_of_nothing_and_of_one_slice() -> None:
    assert math.isnan(estimate_fraction([], [], is_sample=True).fraction)
    assert math.isnan(estimate_fraction([0], [0], is_sample=True).fraction)
    one = estimate_fraction([1, 0], [4, 0], is_sample=True)
    assert one.fraction == 0.25
    assert math.isnan(one.low)


@pytest.mark.parametrize("share", [0, 0.1, 1])
def test_equal_images_are_no_certainty(share) -> None:
    totals = np.array([300, 100, 700])
    estimate = estimate_fraction(share * totals, totals, is_sample=True)
    assert estimate.fraction == pytest.approx(share)
    assert math.isnan(estimate.low)
    assert math.isnan(estimate.high)
    measured = measure(np.zeros((3, 4, 4), int), is_set=True, classes=("background", "axon"))
    assert measured.summary()[0] == "axon: 0.00 %, 0 objects"
    assert any("All images have the same fraction of" in note for note in measured.notes)


def test_images_of_which_some_have_no_pixel_size_are_said_to_weigh_by_pixels() -> None:
    labels = np.zeros((2, 4, 4), int)
    labels[0] = 1
    for sizes, is_told in (((0.1, None), True), ((0.1, 0.3), False), ((None, None), False)):
        notes = measure(labels, pixel_sizes_um=sizes).notes
        assert any("not known of 1 of 2 images" in note for note in notes) == is_told


def test_a_wide_interval_is_said_to_hold_less_often() -> None:
    labels = np.zeros((5, 10, 10), int)
    labels[:, 0, :4] = 1
    labels[4, :6] = 2  # four images have none
    notes = measure(labels, is_set=True, classes=("background", "even", "uneven")).notes
    (note,) = [one for one in notes if "not 95" in one]
    assert note.startswith("The interval of uneven is wide")


def test_interval_of_a_set_covers_what_its_images_were_drawn_from() -> None:
    rng = np.random.default_rng(7)
    n_covered = 0
    for _ in range(300):
        found = estimate_fraction(rng.normal(1000, 100, 20), np.full(20, 10_000), is_sample=True)
        n_covered += found.low <= 0.1 <= found.high
    assert 0.92 < n_covered / 300 < 0.98


def test_a_stack_that_is_measured_as_a_whole_has_no_interval() -> None:
    estimate = estimate_fraction(np.linspace(5, 15, 20), np.full(20, 100), is_sample=False)
    assert estimate.fraction == pytest.approx(0.1)
    assert math.isnan(estimate.low)
    assert math.isnan(estimate.high)


def test_fractions_of_real_masks_are_the_published_ones(shared_data: Path) -> None:
    folder = shared_data / "vnc_sstem" / "mitochondria"
    masks = open_masks(folder, classes=parse_classes("background,mitochondria"))
    measured = measure(masks, voxel_size_um=(0.05, 0.0046, 0.0046))
    found = measured.slices[measured.slices["class"] == "mitochondria"]["fraction"]
    assert found.mean() == pytest.approx(0.0539, abs=5e-5)
    assert (found.min(), found.max()) == pytest.approx((0.0396, 0.0739), abs=1e-4)
    row = measured.stack.iloc[1]
    assert math.isnan(row["low"])
    assert any("nothing sampled" in note for note in measured.notes)
