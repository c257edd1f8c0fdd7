from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from napari_spss.core.analysis import measure

EDGES = np.array((0.1, 0.1, 0.1))


def _spheroids(shape, edges, centres, across: float, along: float) -> np.ndarray:
    """Bodies of rotation about the axis y, with these half axes in micrometres."""
    z, y, x = ((np.arange(n) + 0.5) * step for n, step in zip(shape, edges, strict=True))
    labels = np.zeros(shape, np.uint8)
    for cz, cy, cx in centres:
        distance = ((z - cz) / across)[:, None, None] ** 2 + ((y - cy) / along)[:, None] ** 2
        labels[distance + ((x - cx) / across) ** 2 <= 1] = 1
    return labels


def _surface(across: float, along: float) -> float:
    """Surface of a spheroid."""
    if across == along:
        return 4 * math.pi * across**2
    if along > across:
        e = math.sqrt(1 - (across / along) ** 2)
        return 2 * math.pi * across**2 * (1 + along / (across * e) * math.asin(e))
    e = math.sqrt(1 - (along / across) ** 2)
    return 2 * math.pi * across**2 * (1 + (1 - e**2) / e * math.atanh(e))


def _mito(labels: np.ndarray, **options: object) -> pd.Series:
    return measure(labels, classes=("background", "mito"), **options).stack.iloc[1]


@pytest.mark.parametrize("is_vertical", [False, True])
def test_surface_of_a_ball_of_known_size_per_volume(is_vertical: bool) -> None:
    shape = (26, 150, 160)
    ball = _spheroids(shape, EDGES, [(1.3, 7.43, 8.11)], 1.0, 1.0)
    row = _mito(ball, voxel_size_um=tuple(EDGES), is_vertical=is_vertical)
    known = _surface(1.0, 1.0) / (np.prod(shape) * np.prod(EDGES))
    assert row["surface_um2_per_um3"] == pytest.approx(known, rel=0.02)
    assert math.isnan(row["surface_um2_per_um3_low"])  # all of the stack is measured
    assert row["sections"] == ("vertical" if is_vertical else "isotropic")


@pytest.mark.parametrize(("across", "along", "off"), [(0.6, 2.4, -0.12), (1.5, 0.5, 0.12)])
def test_vertical_sections_give_the_surface_of_what_is_not_isotropic(across, along, off) -> None:
    shape = (34, 170, 160)
    body = _spheroids(shape, EDGES, [(1.7, 8.43, 8.11)], across, along)
    known = _surface(across, along) / (np.prod(shape) * np.prod(EDGES))
    vertical = _mito(body, voxel_size_um=tuple(EDGES), is_vertical=True)
    assert vertical["surface_um2_per_um3"] == pytest.approx(known, rel=0.03)
    isotropic = _mito(body, voxel_size_um=tuple(EDGES))["surface_um2_per_um3"] / known - 1
    assert isotropic / off > 1


def test_densities_say_what_they_assume() -> None:
    labels = np.zeros((3, 8, 8), np.uint8)
    labels[1, 3:5, 3:5] = 1
    size = (1, 1, 1)
    surface = "Surface per volume assumes right labels and {} sections."
    number = "Objects per volume assume right labels"
    plain = " ".join(measure(labels, voxel_size_um=size).notes)
    assert surface.format("isotropic") in plain
    assert number in plain
    sections = " ".join(measure(labels, voxel_size_um=size, is_vertical=True, per_slice=True).notes)
    assert surface.format("vertical") in sections
    assert number not in sections
    assert "assume" not in " ".join(measure(labels).notes)


def test_pixels_that_are_not_square_change_no_surface() -> None:
    shape, edges = (26, 300, 160), (0.1, 0.05, 0.1)
    ball = _spheroids(shape, edges, [(1.3, 7.43, 8.11)], 1.0, 1.0)
    row = _mito(ball, voxel_size_um=edges)
    known = _surface(1.0, 1.0) / (np.prod(shape) * np.prod(edges))
    assert row["surface_um2_per_um3"] == pytest.approx(known, rel=0.02)


def test_edges_of_the_image_and_of_what_is_unknown_or_outside_are_no_surface() -> None:
    labels = np.ones((2, 8, 8), np.uint8)
    assert _mito(labels, voxel_size_um=(1, 1, 1))["surface_um2_per_um3"] == 0
    labels[:, :, :4] = 255
    assert _mito(labels, voxel_size_um=(1, 1, 1))["surface_um2_per_um3"] == 0
    labels[:, :, :4] = 2
    classes, size = ("background", "mito", "resin"), (1, 1, 1)
    outside = measure(labels, classes=classes, voxel_size_um=size, outside="resin").stack
    assert outside["surface_um2_per_um3"].fillna(-1).tolist() == [-1, 0, -1]
    other = measure(labels, classes=classes, voxel_size_um=size, outside="Resin").stack
    pd.testing.assert_frame_equal(other, outside)  # names of classes have no case
    assert measure(labels, classes=classes, voxel_size_um=size).stack.iloc[1][
        "surface_um2_per_um3"
    ] > 0  # fmt: skip


def test_a_plane_boundary_counts_once_a_line() -> None:
    """A wall across the rows: of 7 steps along a row 1 crosses it; of those along columns none."""
    labels = np.zeros((2, 8, 8), np.uint8)
    labels[:, :, 4:] = 1
    row = _mito(labels, voxel_size_um=(1, 0.5, 0.5))
    per_length = [1 / 7 / 0.5, 0, 1 / 7 / math.hypot(0.5, 0.5), 1 / 7 / math.hypot(0.5, 0.5)]
    assert row["surface_um2_per_um3"] == pytest.approx(2 * sum(per_length) / 4)


def test_strips_are_counted_as_the_whole_slice(monkeypatch) -> None:
    labels = (np.random.default_rng(0).random((3, 30, 20)) < 0.3).astype(np.uint8)
    whole = _mito(labels, voxel_size_um=(1, 1, 1))
    monkeypatch.setattr("napari_spss.core.images.labels._STRIP_PX", 60)
    pd.testing.assert_series_equal(_mito(labels, voxel_size_um=(1, 1, 1)), whole)


def test_number_of_balls_per_volume_whatever_their_size() -> None:
    """Balls lie all over, also across the edges; all that are seen are half as many again."""
    shape, edges, found, seen = (40, 120, 120), (0.2, 0.1, 0.1), [], []
    volume = np.prod(shape) * np.prod(edges)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        extent = np.array(shape) * edges
        centres: list[np.ndarray] = []
        for place in rng.uniform(-1, extent + 1, (400, 3)):
            if len(centres) < 50 and all(np.linalg.norm(place - c) > 2.2 for c in centres):
                centres.append(place)
        labels = _spheroids(shape, edges, centres, 1.0, 1.0)
        row = _mito(labels, voxel_size_um=edges)
        known = len(centres) / np.prod(extent + 2)
        found.append(row["objects_per_um3"] / known)
        seen.append(row["objects"] / volume / known)
        assert math.isnan(row["objects_per_um3_low"])  # all of the stack is measured
    assert np.mean(found) == pytest.approx(1, abs=0.1)
    assert np.mean(seen) > 1.4


def test_objects_count_where_they_begin() -> None:
    labels = np.zeros((4, 11, 11), np.uint8)
    labels[0:2, 5, 5] = labels[1:4, 8, 8] = labels[2, 0, 5] = 1
    row = _mito(labels, voxel_size_um=(2, 1, 1))
    assert row["objects_per_um3"] == pytest.approx(1 / (3 * 10 * 10 * 2))
    flat = _mito(labels, voxel_size_um=(2, 1, 1), per_slice=True)
    assert flat["objects_per_um2"] == pytest.approx(5 / (4 * 10 * 10))


def test_what_slices_without_labels_cut_does_not_begin_after_them() -> None:
    labels = np.zeros((8, 11, 11), np.uint8)
    labels[:, 5, 5] = labels[6:, 8, 8] = 1
    labels[3:5] = 255
    row = _mito(labels, voxel_size_um=(2, 1, 1))
    assert row["objects_per_um3"] == pytest.approx(1 / (4 * 10 * 10 * 2))  # slices 1, 2, 6 and 7
    labels[[0, 2, 5, 7]] = 255  # no two neighbours are left
    assert math.isnan(_mito(labels, voxel_size_um=(2, 1, 1))["objects_per_um3"])


def test_densities_are_blank_where_sizes_are_not_known() -> None:
    labels = np.zeros((3, 9, 9), np.uint8)
    labels[1, 3:5, 3:5] = 1
    table = measure(labels).stack
    assert table[["surface_um2_per_um3", "objects_per_um3"]].isna().all(axis=None)
    known = measure(labels, voxel_size_um=(None, 0.1, 0.1)).stack.iloc[1]
    assert known["surface_um2_per_um3"] > 0
    assert math.isnan(known["objects_per_um3"])
