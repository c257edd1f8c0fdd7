"""The streaming writer: what it writes reads back, and nothing is left behind after an error."""

from __future__ import annotations

import errno
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaozarrs
from hypothesis import HealthCheck, given, settings, strategies as st

from napari_spss.core.annotations import parse_classes
from napari_spss.core.base import InputError, RunError
from napari_spss.core.images import (
    StackLayout,
    StackWriter,
    Writer,
    open_masks,
    open_stack,
    stack_from_array,
)
from napari_spss.core.images.multiscale import OME_ZARR
from napari_spss.core.images.ome_tiff import OME_TIFF

VOXEL = (0.05, 0.0046, 0.004)


def write_stack(path: Path, data: np.ndarray, **options: Any) -> StackWriter:
    """Write (Z, Y, X) or (Z, C, Y, X) slice by slice."""
    settings_ = {"dtype": data.dtype, "shapes": [data.shape[-2:]] * len(data), **options}
    with StackWriter(path, StackLayout(**settings_)) as writer:
        for z, pixels in enumerate(data):
            writer.write(z, pixels)
    return writer


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int32, np.float32])
@pytest.mark.parametrize("n_slices", [1, 3])
@pytest.mark.parametrize("n_channels", [None, 1, 3])
def test_reads_back(tmp_path: Path, dtype: Any, n_slices: int, n_channels: int | None) -> None:
    lead = () if n_channels is None else (n_channels,)
    data = np.random.default_rng(0).integers(0, 99, (n_slices, *lead, 300, 211)).astype(dtype)
    channels = None if n_channels is None else [f"class {i}" for i in range(n_channels)]
    path = tmp_path / "new" / "maps.tif"
    write_stack(path, data, channels=channels, voxel_size_um=VOXEL)
    assert names_in(path.parent) == ["maps.tif"]
    with open_stack(path) as stack:
        assert (stack.n_slices, stack.n_channels, stack.dtype) == (n_slices, n_channels or 1, dtype)
        assert stack.voxel_size_um == pytest.approx(VOXEL)
        for z in range(n_slices):
            np.testing.assert_array_equal(stack.read(z), data[z].reshape(-1, 300, 211))


@pytest.mark.parametrize("writer", [OME_TIFF, OME_ZARR])
def test_time_points_read_back_as_such(tmp_path: Path, writer: Writer) -> None:
    data = np.arange(24, dtype=np.uint8).reshape(3, 2, 4)
    path = tmp_path / f"labels{writer.suffix}"
    film = stack_from_array(data, axes="TYX", voxel_size_um=(None, 0.1, 0.1))
    for layout, pixels in (
        (StackLayout.of(film), data),
        (StackLayout.of(film, channels=["a", "b"]), np.stack([data, data], axis=1)),
    ):
        with writer.open(path, layout) as written:
            for z, one in enumerate(pixels):
                written.write(z, one)
        with open_stack(path) as stack:
            assert (stack.is_time_series, stack.n_slices) == (True, 3)
            assert stack.voxel_size_um == pytest.approx((None, 0.1, 0.1))
            np.testing.assert_array_equal(stack.read(2)[-1], data[2])
        if writer is OME_ZARR:
            yaozarrs.validate_zarr_store(str(path))
        path = tmp_path / f"maps{writer.suffix}"


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(shape=st.tuples(*[st.integers(1, 5)] * 4), seed=st.integers(0, 9))
def test_any_shape_reads_back(tmp_path: Path, shape: tuple[int, ...], seed: int) -> None:
    data = np.random.default_rng(seed).random(shape, np.float32)
    names = [f"c{i}" for i in range(shape[1])]
    (tmp_path / "maps.tif").unlink(missing_ok=True)  # of the example before
    write_stack(tmp_path / "maps.tif", data, channels=names, voxel_size_um=(None, 0.1, None))
    with open_stack(tmp_path / "maps.tif") as stack:
        assert stack.voxel_size_um == (None, 0.1, None)
        np.testing.assert_array_equal(
            np.stack([stack.read(z) for z in range(stack.n_slices)]), data
        )


def test_other_programs_find_names_and_scale(tmp_path: Path) -> None:
    path = tmp_path / "maps.ome.tif"
    names = ["background", "mitochondrion µ"]
    write_stack(path, np.zeros((3, 2, 8, 9), np.uint8), channels=names, voxel_size_um=VOXEL)
    with tifffile.TiffFile(path) as tif:
        assert tif.is_ome
        assert tif.series[0].axes == "ZCYX"
        pixels = tifffile.xml2dict(tif.ome_metadata)["OME"]["Image"]["Pixels"]
        assert [channel["Name"] for channel in pixels["Channel"]] == names
        assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeXUnit"]) == (0.004, "µm")
        page = tif.pages.first
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        x = page.tags["XResolution"].value
        assert x[0] / x[1] == pytest.approx(1e4 / 0.004)
        assert page.tags["ResolutionUnit"].value == tifffile.RESUNIT.CENTIMETER


def test_half_precision_is_stored_as_float32(tmp_path: Path) -> None:
    data = np.random.default_rng(0).random((2, 64, 64), np.float32)
    write_stack(tmp_path / "half.tif", data, dtype=np.float16)
    write_stack(tmp_path / "full.tif", data)
    with open_stack(tmp_path / "half.tif") as stack:
        assert stack.dtype == np.float32
        np.testing.assert_array_equal(stack.read(1)[0], data[1].astype(np.float16))
    assert (tmp_path / "half.tif").stat().st_size < 0.7 * (tmp_path / "full.tif").stat().st_size


def test_labels_read_back_as_indices(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 3, (2, 9, 8), np.uint8)
    write_stack(tmp_path / "labels.tif", labels)
    masks = open_masks(tmp_path / "labels.tif", classes=parse_classes("background,a,b"))
    np.testing.assert_array_equal(masks.read(1), labels[1])


def test_strips_let_a_part_be_read(tmp_path: Path) -> None:
    write_stack(tmp_path / "maps.tif", np.zeros((1, 2000, 1000), np.float32))
    with tifffile.TiffFile(tmp_path / "maps.tif") as tif:
        assert tif.pages.first.rowsperstrip == 65


def test_large_results_become_bigtiff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_spss.core.images.ome_tiff._CLASSIC_TIFF_BYTES", 100)
    data = np.arange(3 * 8 * 9, dtype=np.uint8).reshape(3, 8, 9)
    write_stack(tmp_path / "large.tif", data)
    with tifffile.TiffFile(tmp_path / "large.tif") as tif:
        assert tif.is_bigtiff
        np.testing.assert_array_equal(tif.asarray(), data)


# ---- image sets


def write_set(path: Path, images: list[np.ndarray], **options: Any) -> StackWriter:
    layout = StackLayout(
        [image.shape[-2:] for image in images], images[0].dtype, is_set=True, **options
    )
    with StackWriter(path, layout) as writer:
        for z, image in enumerate(images):
            writer.write(z, image)
    return writer


IMAGES = [np.full((4, 6), 1, np.uint8), np.full((5, 3), 2, np.uint8), np.full((4, 6), 3, np.uint8)]


def test_a_set_becomes_a_folder_named_after_its_sources(tmp_path: Path) -> None:
    names = ["rat2 SEM.png", "rat10 SEM.jpg", "rat11 SEM.ome.tif"]
    writer = write_set(
        tmp_path / "labels.ome.tif", IMAGES, names=names, pixel_sizes_um=[0.1, 0.2, None]
    )
    assert writer.path == tmp_path / "labels"
    assert names_in(tmp_path) == ["labels"]
    image_set = open_stack(writer.path)
    assert image_set.is_set
    assert image_set.names == ("rat2 SEM.tif", "rat10 SEM.tif", "rat11 SEM.ome.tif")
    assert [image_set.pixel_size_um(z) for z in range(3)] == [0.1, 0.2, None]
    assert [int(image_set.read(z).max()) for z in range(3)] == [1, 2, 3]


def test_a_set_with_channels_and_one_size(tmp_path: Path) -> None:
    images = [np.random.default_rng(z).random((2, 5, 4), np.float32) for z in range(2)]
    write_set(tmp_path / "maps", images, channels=["background", "a"], voxel_size_um=VOXEL)
    image_set = open_stack(tmp_path / "maps")
    assert image_set.names == ("0.tif", "1.tif")
    np.testing.assert_array_equal(image_set.read(1), images[1])


@pytest.mark.parametrize("names", [["a.png", "A.tif", "b.png"], ["b.png", "a.png", "c.png"]])
def test_names_that_clash_or_change_the_order_get_their_index(
    tmp_path: Path, names: list[str]
) -> None:
    write_set(tmp_path / "labels", IMAGES, names=names)
    image_set = open_stack(tmp_path / "labels")
    assert image_set.names == tuple(f"{i}_{Path(name).stem}.tif" for i, name in enumerate(names))
    assert [int(image_set.read(z).max()) for z in range(3)] == [1, 2, 3]


def test_names_that_no_system_takes_are_mended(tmp_path: Path) -> None:
    write_set(tmp_path / "labels", IMAGES[:1], names=["x: 5?.png"])
    assert names_in(tmp_path / "labels") == ["x_ 5_.tif"]


# ---- whole or not at all


def interrupt(path: Path, *, is_set: bool) -> None:
    with StackWriter(path, StackLayout([(4, 4)] * 2, is_set=is_set)) as w:
        w.write(0, np.zeros((4, 4), np.uint8))
        raise KeyboardInterrupt


@pytest.mark.parametrize("is_set", [False, True])
def test_nothing_is_left_behind_after_an_error(tmp_path: Path, is_set: bool) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupt(tmp_path / "labels.tif", is_set=is_set)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("is_set", [False, True])
def test_missing_slices_are_an_error(tmp_path: Path, is_set: bool) -> None:
    writer = StackWriter(tmp_path / "a.tif", StackLayout([(4, 4)] * 2, is_set=is_set))
    writer.write(0, np.zeros((4, 4), np.uint8))
    with pytest.raises(RunError, match="only 1 of 2 slices"):
        writer.close()
    assert names_in(tmp_path) == []
    writer.abort()
    writer.close()  # both harmless after the end


@pytest.mark.parametrize("is_set", [False, True])
@pytest.mark.parametrize("full_after", [0, 1])
def test_a_full_disk_is_reported_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_set: bool, full_after: int
) -> None:
    write = tifffile.TiffWriter.write
    pages: list[int] = []

    def write_until_full(self: Any, *args: Any, **kwargs: Any) -> Any:
        if len(pages) >= full_after:
            raise OSError(errno.ENOSPC, "No space left on device")
        pages.append(1)
        return write(self, *args, **kwargs)

    monkeypatch.setattr(tifffile.TiffWriter, "write", write_until_full)
    writer = StackWriter(tmp_path / "a.tif", StackLayout([(1000, 1000)] * 2, is_set=is_set))
    page = np.zeros((1000, 1000), np.uint8)
    for z in range(full_after):
        writer.write(z, page)
    with pytest.raises(RunError, match=r"disk is full: slice \d of 2 .* Free about 2 MB"):
        writer.write(full_after, page)
    assert names_in(tmp_path) == []


def test_a_disk_that_fills_at_the_end_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tifffile.TiffWriter, "close", full)
    with pytest.raises(RunError, match="disk is full"):
        write_stack(tmp_path / "a.tif", np.zeros((1, 4, 4), np.uint8))
    assert names_in(tmp_path) == []


# ---- what cannot be written


def test_a_path_that_cannot_be_written_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be written"):
        write_stack(tmp_path / "file" / "a.tif", np.zeros((1, 4, 4), np.uint8))


def test_nothing_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"x")
    (tmp_path / "labels").mkdir()
    (tmp_path / "link.tif").symlink_to(tmp_path / "nowhere")
    for name in ("a.tif", "link.tif"):
        with pytest.raises(InputError, match=f"{name} is there already"):
            write_stack(tmp_path / name, np.zeros((1, 4, 4), np.uint8))
    with pytest.raises(InputError, match="labels is there already"):
        write_set(tmp_path / "labels.tif", IMAGES)
    assert (tmp_path / "a.tif").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": np.int64}, "int64"),
        ({"shapes": []}, "one per image"),
        ({"shapes": [(4, 4), (5, 4)]}, "different sizes"),
        ({"is_set": True, "names": ["a"]}, "one per image"),
        ({"is_set": True, "pixel_sizes_um": [1.0]}, "one per image"),
    ],
)
def test_unusable_layouts_are_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        StackWriter(tmp_path / "a.tif", StackLayout(**{"shapes": [(4, 4)] * 2, **options}))
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("is_set", [False, True])
@pytest.mark.parametrize("n_rows", [1, 3, 5, 9])
def test_rows_give_the_same_file_as_slices(tmp_path: Path, is_set: bool, n_rows: int) -> None:
    data = np.random.default_rng(0).random((2, 3, 9, 7), np.float32)
    layout = StackLayout(
        [(9, 7)] * 2, dtype=np.dtype(np.float16), channels=list("abc"), is_set=is_set
    )
    with (
        StackWriter(tmp_path / "rows.tif", layout) as rows,
        StackWriter(tmp_path / "slices.tif", layout) as slices,
    ):
        for z, planes in enumerate(data):
            slices.write(z, planes)
            for first in range(0, 9, n_rows):
                rows.write(z, planes[:, first : first + n_rows], first)
    written = (open_stack(writer.path) for writer in (rows, slices))
    one, other = ([stack.read(z) for z in range(2)] for stack in written)
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(one, data.astype(np.float16))


def test_rows_that_were_written_are_not_held(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).random((2, 100, 4000), np.float32)
    layout = StackLayout([(4000, 4000)], dtype=np.dtype(np.float32), channels=["a", "b"])
    tracemalloc.start()
    try:
        with StackWriter(tmp_path / "maps.tif", layout) as writer:
            for first in range(0, 4000, 100):
                writer.write(0, rows, first)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 2 * 4000 * 4000 * 4 / 8
    np.testing.assert_array_equal(open_stack(writer.path).read(0)[:, 3900:], rows)


def test_rows_out_of_turn_are_refused_and_missing_ones_are_an_error(tmp_path: Path) -> None:
    writer = StackWriter(tmp_path / "a.tif", StackLayout([(4, 5)]))
    writer.write(0, np.zeros((2, 5), np.uint8))
    for first in (0, 1, 3):
        with pytest.raises(ValueError, match=f"row {first} of slice 0 cannot be written after 2"):
            writer.write(0, np.zeros((1, 5), np.uint8), first)
    with pytest.raises(ValueError, match="from row 2 has shape"):
        writer.write(0, np.zeros((3, 5), np.uint8), 2)
    with pytest.raises(RunError, match="only 0 of 1 slices"):
        writer.close()
    assert names_in(tmp_path) == []


def test_slices_out_of_turn_or_shape_are_refused(tmp_path: Path) -> None:
    with StackWriter(tmp_path / "a.tif", StackLayout([(4, 4)] * 2)) as writer:
        for z, pixels, message in (
            (1, np.zeros((4, 4), np.uint8), "slice 1 cannot be written after 0"),
            (0, np.zeros((4, 5), np.uint8), r"expected \(4, 4\) and uint8"),
            (0, np.zeros((4, 4), np.float32), "float32"),
        ):
            with pytest.raises(ValueError, match=message):
                writer.write(z, pixels)
        for z in range(2):
            writer.write(z, np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match="slice 2 cannot"):
        writer.write(2, np.zeros((4, 4), np.uint8))


def test_own_labels_bring_no_doubts_of_sizes_and_axes(tmp_path: Path) -> None:
    data, path = np.ones((68, 68, 16), np.uint8), tmp_path / "labels.ome.tif"
    write_stack(path, data, classes=("background", "mito"), voxel_size_um=(1.0, 1.0, 1.0))
    masks = open_masks(path)
    assert (masks.n_slices, masks.notes) == (68, ())
