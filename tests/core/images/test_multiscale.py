"""OME-Zarr that is written: streamed, block by block, and as another library reads it."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaozarrs
import zarr

from napari_spss.core.annotations import parse_classes
from napari_spss.core.base import RunError
from napari_spss.core.images import WRITERS, StackLayout, open_labels, open_stack
from napari_spss.core.images.multiscale import Pyramid

VOXEL = (0.05, 0.01, 0.008)
CLASSES = ("background", "mito")


def write(path: Path, data: np.ndarray, rows: int = 700, **options: Any) -> Path:
    """Write (Z, Y, X) or (Z, C, Y, X), some rows at a time."""
    layout = StackLayout([data.shape[-2:]] * len(data), data.dtype, **options)
    with WRITERS.get("zarr").open(path, layout) as writer:
        for z, pixels in enumerate(data):
            for row in range(0, data.shape[-2], rows):
                writer.write(z, pixels[..., row : row + rows, :], row)
    return path


def levels_of(path: Path) -> list[Any]:
    """Arrays and scales of an image, by a library that is not ours."""
    image = yaozarrs.validate_zarr_store(str(path)).ome_metadata().multiscales[0]
    root = zarr.open_group(path, mode="r")
    return [(root[level.path], level.scale_transform.scale) for level in image.datasets]


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32])
def test_maps_are_a_pyramid_of_means_with_scale_units_and_channels(
    tmp_path: Path, dtype: Any
) -> None:
    data = np.random.default_rng(0).integers(0, 255, (2, 2, 901, 640)).astype(dtype)
    path = write(tmp_path / "maps.ome.zarr", data, channels=CLASSES, voxel_size_um=VOXEL)
    levels = levels_of(path)
    assert [array.shape for array, _ in levels] == [
        (2, 2, 901, 640),
        (2, 2, 451, 320),
        (2, 2, 226, 160),
    ]
    assert [scale[2:] for _, scale in levels] == [[0.01 * k, 0.008 * k] for k in (1, 2, 4)]
    np.testing.assert_array_equal(levels[0][0][:], data.swapaxes(0, 1))
    block = data[1, 0, 10:12, 20:22].astype(float).mean()
    assert levels[1][0][0, 1, 5, 10] == pytest.approx(block, abs=0.5 if dtype == np.uint8 else 0.1)
    metadata = yaozarrs.validate_zarr_store(str(path)).ome_metadata()
    assert [axis.unit for axis in metadata.multiscales[0].axes[1:]] == ["micrometer"] * 3
    assert [one.label for one in metadata.omero.channels] == list(CLASSES)
    with open_stack(path) as stack:
        assert (stack.n_slices, stack.n_channels, stack.voxel_size_um) == (2, 2, VOXEL)
        np.testing.assert_array_equal(stack.read(1), data[1])


def test_labels_are_a_pyramid_of_modes_that_knows_its_classes(tmp_path: Path) -> None:
    data = np.random.default_rng(1).integers(0, 2, (2, 640, 600), np.uint8) * 200
    data[:, :256] //= 200
    path = write(tmp_path / "labels.ome.zarr", data, classes=CLASSES)
    levels = levels_of(path)
    assert set(np.unique(levels[2][0][:])) == {0, 1, 200}
    rows = data[:, ::2, ::2], data[:, ::2, 1::2], data[:, 1::2, ::2], data[:, 1::2, 1::2]
    counts = sum((part > 0).astype(int) for part in rows)
    halved = levels[1][0][:] > 0
    assert halved[counts > 2].all()
    assert not halved[counts < 2].any()
    label = yaozarrs.validate_zarr_store(str(path)).ome_metadata().image_label
    assert {one.label_value for one in label.colors} == {0, 1}
    assert open_stack(path).voxel_size_um == (None, None, None)


def test_numbers_of_objects_are_not_averaged(tmp_path: Path) -> None:
    data = np.random.default_rng(1).choice(np.array([0, 7, 70_000], np.int32), (1, 520, 600))
    levels = levels_of(write(tmp_path / "objects.ome.zarr", data))
    assert set(np.unique(levels[1][0][:])) == {0, 7, 70_000}


def test_labels_are_measured_as_what_they_are(tmp_path: Path) -> None:
    data = np.zeros((2, 40, 30), np.uint8)
    data[0, :10] = 1
    path = write(tmp_path / "labels.ome.zarr", data, classes=CLASSES)
    for place in (path, path / "0"):
        labels = (
            open_labels(path)
            if place == path
            else open_labels(place, classes=parse_classes("background,mito"))
        )
        assert labels.classes.names == CLASSES
        np.testing.assert_array_equal(labels.read(0), data[0])


@pytest.mark.parametrize("rows", [1, 2048, 3000, 4100])
def test_rows_join_across_blocks(tmp_path: Path, rows: int) -> None:
    data = np.random.default_rng(2).integers(0, 255, (1, 4100, 8), np.uint8)
    path = write(tmp_path / "a.ome.zarr", data, rows)
    np.testing.assert_array_equal(open_stack(path).read(0), data)


def test_a_wide_slice_takes_the_memory_of_a_block(tmp_path: Path) -> None:
    shape = 2048, 16384
    rows = np.random.default_rng(0).integers(0, 255, (2, 64, shape[1]), np.uint8)
    tracemalloc.start()
    try:
        layout = StackLayout([shape], np.dtype(np.uint8), channels=CLASSES)
        with WRITERS.get("zarr").open(tmp_path / "a.ome.zarr", layout) as writer:
            for row in range(0, shape[0], 64):
                writer.write(0, rows, row)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 2 * 2048 * 16384
    assert [path.name for path in tmp_path.iterdir()] == ["a.ome.zarr"]
    levels = [array[:, 0, :64] for array, _ in levels_of(tmp_path / "a.ome.zarr")]
    np.testing.assert_array_equal(levels[0], rows)


def test_blocks_in_any_order_give_what_rows_give(tmp_path: Path) -> None:
    data = np.random.default_rng(3).integers(0, 255, (2, 2100, 2500), np.uint8)
    whole = write(tmp_path / "rows.ome.zarr", data)
    layout = StackLayout([(2100, 2500)] * 2)
    Pyramid.create(tmp_path / "blocks.ome.zarr", layout, range(2))
    for z, y, x in [(1, 2048, 2048), (0, 0, 2048), (1, 0, 0), (0, 2048, 0),
                    (0, 0, 0), (1, 2048, 0), (0, 2048, 2048), (1, 0, 2048)]:  # fmt: skip
        image = Pyramid(tmp_path / "blocks.ome.zarr")
        image.put(z, (y, x), data[z, y : y + 2048, x : x + 2048])
    for (ours, _), (theirs, _) in zip(
        levels_of(whole), levels_of(image_path := tmp_path / "blocks.ome.zarr"), strict=True
    ):
        np.testing.assert_array_equal(ours[:], theirs[:])
    assert image_path.exists()


def test_a_block_is_one_file_of_each_level(tmp_path: Path) -> None:
    data = np.ones((3, 2, 2100, 100), np.uint8)
    path = write(tmp_path / "maps.ome.zarr", data, channels=CLASSES)
    for level in path.glob("[0-9]"):
        shards = [one for one in level.rglob("*") if one.is_file() and one.name != "zarr.json"]
        assert len(shards) == 3 * 2, level


def test_an_image_set_becomes_a_folder_in_the_order_of_its_images(tmp_path: Path) -> None:
    images = [np.full((20, 30), 1, np.uint8), np.full((10, 15), 2, np.uint8)]
    layout = StackLayout(
        [(20, 30), (10, 15)], classes=("background", "a", "b"), is_set=True,
        names=("z10.png", "b.png"), pixel_sizes_um=(0.01, None),
    )  # fmt: skip
    with WRITERS.get("zarr").open(tmp_path / "labels", layout) as writer:
        for z, image in enumerate(images):
            writer.write(z, image)
    stack = open_stack(tmp_path / "labels")
    assert [stack.shape_of(z) for z in range(2)] == [(20, 30), (10, 15)]
    assert (stack.pixel_size_um(0), stack.pixel_size_um(1)) == (0.01, None)
    assert open_labels(tmp_path / "labels").classes.names == ("background", "a", "b")


def test_slices_that_are_missing_are_told(tmp_path: Path) -> None:
    layout = StackLayout([(8, 8)] * 2)
    with pytest.raises(RunError, match="only 1 of 2 slices"):  # noqa: SIM117
        with WRITERS.get("zarr").open(tmp_path / "a.ome.zarr", layout) as writer:
            writer.write(0, np.zeros((8, 8), np.uint8))
    with pytest.raises(ValueError, match="row 4 of slice 0 cannot be written"):
        WRITERS.get("zarr").open(tmp_path / "b.ome.zarr", layout).write(0, np.zeros((4, 8)), 4)
