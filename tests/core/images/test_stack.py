"""Lazy stacks: axes, boxes, what is read, metadata, folders, sets, and every unusable input."""

from __future__ import annotations

import json
import shutil
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import dask.array as da
import imagecodecs
import mrcfile
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image

from napari_spss.core.base import InputError
from napari_spss.core.base.units import unit_in_um
from napari_spss.core.images import array_files, open_stack, stack_from_array
from napari_spss.core.images.stack import stack_from_images

AXES = ["YX", "ZYX", "TYX", "CYX", "YXC", "ZCYX", "ZYXC", "CZYX", "YXZ", "XYZ"]


class CountingArray:
    """An array that notes which elements were asked for."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        self.shape, self.dtype = array.shape, array.dtype
        self.n_read: list[int] = []

    def __getitem__(self, index: Any) -> np.ndarray:
        part = self._array[index]
        self.n_read.append(int(np.size(part)))
        return part


def ramp(*shape: int, dtype: Any = np.uint16) -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def as_zcyx(array: np.ndarray, axes: str) -> np.ndarray:
    """The same array in (Z, C, Y, X), by NumPy alone."""
    axes = axes.replace("T", "Z")
    missing = [letter for letter in "ZCYX" if letter not in axes]
    full = array.reshape((1,) * len(missing) + array.shape)
    return np.einsum(f"{''.join(missing)}{axes}->ZCYX", full)


# ---- arrays and axes


@settings(deadline=None, max_examples=60)
@given(axes=st.sampled_from(AXES), data=st.data())
def test_any_axes_and_box_read_as_channel_row_column(axes: str, data: st.DataObject) -> None:
    array = ramp(*(data.draw(st.integers(1, 7)) for _ in axes))
    expected = as_zcyx(array, axes)
    stack = stack_from_array(array, axes=axes)
    z = data.draw(st.integers(0, stack.n_slices - 1))
    height, width = stack.shape_of(z)
    y0, x0 = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    y1, x1 = data.draw(st.integers(y0 + 1, height)), data.draw(st.integers(x0 + 1, width))

    assert (stack.n_slices, stack.n_channels) == expected.shape[:2]
    np.testing.assert_array_equal(stack.read(z), expected[z])
    np.testing.assert_array_equal(stack.read(z, (y0, x0, y1, x1)), expected[z][:, y0:y1, x0:x1])


def test_only_the_box_is_read() -> None:
    counting = CountingArray(ramp(100, 64, 48))
    stack = stack_from_array(counting)
    assert counting.n_read == []  # making the stack reads nothing
    stack.read(7, (10, 20, 14, 25))
    assert counting.n_read == [4 * 5]
    stack.read(7)
    assert counting.n_read[1:] == [64 * 48]


def test_identity_samples_a_large_stack_sparsely() -> None:
    counting = CountingArray(np.zeros((500, 256, 256), np.uint8))
    stack_from_array(counting).identity()
    assert sum(counting.n_read) <= 16 * 2 * 32 * 32


def test_dask_computes_only_the_chunks_of_the_box() -> None:
    computed: list[tuple[int, ...]] = []

    def block(block_id: tuple[int, ...] = ()) -> np.ndarray:
        computed.append(block_id)
        return np.full((1, 32, 32), 3, np.uint8)

    array = da.map_blocks(
        block, chunks=((1,) * 5, (32, 32), (32, 32)), dtype=np.uint8, meta=np.empty((0, 0, 0))
    )
    computed.clear()
    pixels = stack_from_array(array).read(2, (40, 0, 50, 20))
    assert computed == [(2, 1, 0)]
    assert pixels.shape == (1, 10, 20)
    assert (pixels == 3).all()


def test_zarr_array_is_a_stack(tmp_path: Path) -> None:
    data = ramp(4, 20, 30)
    array = zarr.create_array(tmp_path / "a.zarr", data=data, chunks=(1, 10, 10))
    stack = stack_from_array(array)
    np.testing.assert_array_equal(stack.read(3, (5, 5, 15, 25))[0], data[3, 5:15, 5:25])


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int16", "uint32", "int64", "<f2", ">f4", ">u2"]
)
def test_dtypes_are_kept_in_native_byte_order(dtype: str) -> None:
    array = (ramp(2, 5, 6) % 2).astype(dtype)
    stack = stack_from_array(array)
    assert stack.dtype == np.dtype(dtype).newbyteorder("=")
    assert stack.read(1).dtype == stack.dtype
    np.testing.assert_array_equal(stack.read(1)[0], array[1])


def test_what_is_read_is_a_copy() -> None:
    array = np.zeros((2, 4, 4), np.uint8)
    stack_from_array(array).read(0)[...] = 9
    assert not array.any()


def test_time_is_taken_as_slices_without_depth() -> None:
    stack = stack_from_array(ramp(3, 4, 5), axes="TYX", voxel_size_um=(2, 0.1, 0.1))
    assert stack.n_slices == 3
    assert stack.voxel_size_um == (None, 0.1, 0.1)


@pytest.mark.parametrize(
    ("axes", "shape", "n_channels", "is_rgb"),
    [
        ("YXC", (8, 9, 3), 3, True),
        ("YXC", (8, 9, 4), 4, False),
        ("YXS", (8, 9, 4), 3, True),  # RGBA: alpha is left out
        ("YXS", (8, 9, 2), 1, False),  # grey and alpha
        ("CYX", (3, 8, 9), 3, False),
        ("ZCYX", (2, 2, 8, 9), 2, False),
    ],
)
def test_rgb_is_told_from_channels(
    axes: str, shape: tuple[int, ...], n_channels: int, is_rgb: bool
) -> None:
    stack = stack_from_array(ramp(*shape, dtype=np.uint8), axes=axes)
    assert (stack.n_channels, stack.channel_axis_is_rgb) == (n_channels, is_rgb)
    assert stack.read(0).shape[0] == n_channels


@pytest.mark.parametrize(
    ("array", "axes", "message"),
    [
        (np.zeros((4, 4)), "ZYX", "shape"),
        (np.zeros((2, 3, 4, 4)), "ZTYX", r"Z \(2\) and T \(3\)"),
        (np.zeros((2, 2, 3, 4, 4)), "TZCYX", "cannot both be slices"),
        (np.zeros((0, 4, 4)), "ZYX", "empty"),
        (np.zeros((4, 4), complex), "YX", "complex"),
        (np.array([["a", "b"]]), "YX", "not numbers"),
        (np.zeros((4, 4)), "YY", "each letter once"),
        (np.zeros((4, 4)), "ZC", "must name Y and X"),
        (np.zeros((4, 4, 4)), "Y-X", "other signs"),
    ],
)
def test_unusable_arrays_say_why(array: np.ndarray, axes: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        stack_from_array(array, axes=axes)


@pytest.mark.parametrize("voxel", [(1, 1), (0, 1, 1), (1, -2, 1), (1, float("nan"), 1)])
def test_impossible_voxel_sizes_are_refused(voxel: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="voxel_size_um"):
        stack_from_array(np.zeros((2, 4, 4)), voxel_size_um=voxel)


@pytest.mark.parametrize("box", [(0, 0, 5, 4), (-1, 0, 2, 2), (2, 0, 2, 4), (0, 3, 4, 2)])
def test_a_box_outside_the_slice_is_refused(box: tuple[int, int, int, int]) -> None:
    with pytest.raises(InputError, match="4 x 4"):
        stack_from_array(np.zeros((1, 4, 4))).read(0, box)


@pytest.mark.parametrize("z", [-1, 3])
def test_a_slice_outside_the_stack_is_refused(z: int) -> None:
    with pytest.raises(InputError, match="choose 0 to 2"):
        stack_from_array(np.zeros((3, 4, 4))).read(z)


def test_image_set_of_arrays() -> None:
    images = [ramp(4, 6), ramp(5, 3)]
    image_set = stack_from_images(images, pixel_sizes_um=[0.1, None], names=["a", "b"])
    assert image_set.is_set
    assert image_set.names == ("a", "b")
    assert [image_set.shape_of(z) for z in (0, 1)] == [(4, 6), (5, 3)]
    assert [image_set.pixel_size_um(z) for z in (0, 1)] == [0.1, None]
    assert image_set.voxel_size_um == (None, None, None)
    np.testing.assert_array_equal(image_set.read(1, (1, 0, 3, 2))[0], images[1][1:3, 0:2])


def test_image_set_of_disagreeing_arrays_is_refused() -> None:
    with pytest.raises(InputError, match="differ in type: 0 has uint8, 1 has float32"):
        stack_from_images([np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.float32)])
    with pytest.raises(InputError, match="no images"):
        stack_from_images([])
    with pytest.raises(InputError, match="1 names for 2 images"):
        stack_from_images([np.zeros((4, 4))] * 2, names=["a"])
    with pytest.raises(InputError, match="1 values for 2 images"):
        stack_from_images([np.zeros((4, 4))] * 2, pixel_sizes_um=[0.1])


def test_errors_of_the_callers_own_array_are_not_disguised() -> None:
    class Broken:
        shape, dtype = (1, 4, 4), np.dtype(np.uint8)

        def __getitem__(self, index: Any) -> np.ndarray:
            raise ValueError("a fault of the caller")

    with pytest.raises(ValueError, match="a fault of the caller"):
        stack_from_array(Broken()).read(0)


@pytest.mark.parametrize("dtype", ["U1", "O", "M8[s]", "V4"])
def test_elements_that_are_no_numbers_are_refused(dtype: str) -> None:
    with pytest.raises(InputError, match="not numbers"):
        stack_from_array(np.zeros((1, 4, 4), dtype))


# ---- TIFF


LAYOUTS: list[dict[str, Any]] = [
    {},
    {"bigtiff": True},
    {"byteorder": ">"},
    {"compression": "zlib"},
    {"compression": "lzw", "rowsperstrip": 7},
    {"tile": (16, 16)},
    {"tile": (16, 16), "compression": "zlib"},
    {"compression": "zlib", "predictor": True, "byteorder": ">"},
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_tiff_of_any_layout(tmp_path: Path, layout: dict[str, Any], dtype: Any) -> None:
    path = tmp_path / "stack.tif"
    data = ramp(5, 40, 50, dtype=dtype)
    tifffile.imwrite(path, data, metadata={"axes": "ZYX"}, photometric="minisblack", **layout)
    with open_stack(path) as stack:
        assert (stack.n_slices, stack.n_channels, stack.dtype) == (5, 1, dtype)
        np.testing.assert_array_equal(stack.read(3)[0], data[3])
        np.testing.assert_array_equal(stack.read(4, (9, 11, 31, 44))[0], data[4, 9:31, 11:44])


def test_bool_tiff(tmp_path: Path) -> None:
    data = ramp(3, 20, 24) % 3 == 0
    tifffile.imwrite(tmp_path / "mask.tif", data, photometric="minisblack")
    with open_stack(tmp_path / "mask.tif") as stack:
        assert stack.dtype == np.bool_
        np.testing.assert_array_equal(stack.read(2, (3, 4, 9, 20))[0], data[2, 3:9, 4:20])


def test_uncompressed_tiff_is_mapped_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contiguous, paged = tmp_path / "contiguous.tif", tmp_path / "paged.tif"
    data = ramp(6, 32, 32, dtype=np.uint8)
    tifffile.imwrite(contiguous, data, photometric="minisblack")
    Image.fromarray(data[0]).save(
        paged, save_all=True, append_images=[Image.fromarray(page) for page in data[1:]]
    )

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("pages were read")

    monkeypatch.setattr(tifffile.FileHandle, "read_array", refuse)
    monkeypatch.setattr(tifffile.FileHandle, "read_segments", refuse)
    monkeypatch.setattr(tifffile.TiffPage, "asarray", refuse)
    for path in (contiguous, paged):
        stack = open_stack(path)
        np.testing.assert_array_equal(stack.read(5, (4, 0, 8, 9))[0], data[5, 4:8, 0:9])


def test_tiled_tiff_reads_only_the_tiles_of_the_box(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tiled.tif"
    data = np.random.default_rng(0).integers(0, 255, (3, 256, 256), np.uint8)
    tifffile.imwrite(path, data, photometric="minisblack", tile=(64, 64), compression="zlib")
    with open_stack(path) as stack:
        n_read: list[int] = []
        read = tifffile.FileHandle.read
        monkeypatch.setattr(
            tifffile.FileHandle,
            "read",
            lambda self, size=-1, /: (n_read.append(size), read(self, size))[1],
        )
        np.testing.assert_array_equal(stack.read(1, (70, 70, 120, 120))[0], data[1, 70:120, 70:120])
        assert 0 < sum(n_read) < 1.2 * 64 * 64  # one tile of random bytes


def test_a_page_compressed_as_a_whole_is_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "whole.tif"
    tifffile.imwrite(path, ramp(2, 64, 64), photometric="minisblack", compression="zlib",
                     rowsperstrip=64)  # fmt: skip
    with open_stack(path) as stack:
        first = stack.read(0, (0, 0, 8, 8))
        monkeypatch.setattr(tifffile.FileHandle, "read", None)
        np.testing.assert_array_equal(stack.read(0, (0, 0, 8, 8)), first)


def test_threads_share_one_tiff(tmp_path: Path) -> None:
    path = tmp_path / "tiled.tif"
    data = ramp(8, 64, 64)
    tifffile.imwrite(path, data, photometric="minisblack", tile=(32, 32), compression="zlib")
    wrong: list[int] = []

    def check(stack: Any, z: int) -> None:
        for _ in range(5):
            if not (stack.read(z)[0] == data[z]).all():
                wrong.append(z)

    with open_stack(path) as stack:
        threads = [threading.Thread(target=check, args=(stack, z)) for z in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    "unit",
    [b"\\u00B5m", b"\xb5m", "µm".encode(), "\u03bcm".encode(), b"um", b"micron", b"micrometers"],
)
def test_imagej_voxel_size_whatever_the_micron_is_called(tmp_path: Path, unit: bytes) -> None:
    path = tmp_path / "imagej.tif"
    text = b"ImageJ=1.54f\nimages=4\nslices=4\nunit=%s\nspacing=0.05\nloop=false\n" % unit
    with tifffile.TiffWriter(path) as writer:
        for page in ramp(4, 8, 9):
            writer.write(
                page, description=text, resolution=(250, 200), resolutionunit="NONE", metadata=None
            )
            text = b""
    with open_stack(path) as stack:
        assert stack.n_slices == 4
        assert stack.voxel_size_um == pytest.approx((0.05, 1 / 200, 1 / 250))
        assert stack.pixel_size_um(2) == pytest.approx(0.0045)


def test_imagej_nanometres_and_channels(tmp_path: Path) -> None:
    path = tmp_path / "imagej.tif"
    data = ramp(3, 2, 8, 9)
    metadata = {"axes": "ZCYX", "spacing": 40.0, "unit": "nm"}
    tifffile.imwrite(path, data, imagej=True, resolution=(0.25, 0.25), metadata=metadata)
    with open_stack(path) as stack:
        assert stack.voxel_size_um == pytest.approx((0.04, 0.004, 0.004))
        assert (stack.n_slices, stack.n_channels) == (3, 2)
        np.testing.assert_array_equal(stack.read(1), data[1])


def test_imagej_time_series_is_a_stack(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "t.tif", ramp(5, 8, 9), imagej=True, metadata={"axes": "TYX"})
    with open_stack(tmp_path / "t.tif") as stack:
        assert stack.n_slices == 5


@pytest.mark.parametrize(
    ("resolution", "unit", "expected"),
    [
        ((72, 72), "INCH", None),  # a printer's resolution is no pixel size
        ((300, 300), "INCH", None),
        ((2.5e6, 2.5e6), "CENTIMETER", 0.004),
        ((5.08e6, 5.08e6), "INCH", 0.005),
        ((1, 1), "NONE", None),
    ],
)
def test_resolution_tags(
    tmp_path: Path, resolution: tuple[float, float], unit: str, expected: float | None
) -> None:
    path = tmp_path / "tags.tif"
    tifffile.imwrite(path, ramp(8, 9), resolution=resolution, resolutionunit=unit, metadata=None)
    with open_stack(path) as stack:
        assert stack.pixel_size_um(0) == (expected if expected is None else pytest.approx(expected))


def test_ome_voxel_size_and_units(tmp_path: Path) -> None:
    path = tmp_path / "image.ome.tif"
    data = ramp(3, 2, 8, 9)
    tifffile.imwrite(path, data, ome=True, metadata={
        "axes": "ZCYX", "PhysicalSizeX": 4.0, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.005,
        "PhysicalSizeZ": 500.0, "PhysicalSizeZUnit": "Å",
    })  # fmt: skip
    with open_stack(path) as stack:
        assert stack.voxel_size_um == pytest.approx((0.05, 0.005, 0.004))
        np.testing.assert_array_equal(stack.read(2), data[2])
    with open_stack(path, voxel_size_um=(0.1, None, None)) as stack:
        assert stack.voxel_size_um == pytest.approx((0.1, 0.005, 0.004))


def test_broken_ome_xml_leaves_the_voxel_size_unknown(tmp_path: Path) -> None:
    path = tmp_path / "image.ome.tif"
    tifffile.imwrite(path, ramp(8, 9), ome=True, metadata={"axes": "YX", "PhysicalSizeX": 1.0})
    path.write_bytes(path.read_bytes().replace(b"PhysicalSizeX=", b"PhysicalSizeX?"))
    with open_stack(path) as stack:
        assert stack.voxel_size_um == (None, None, None)


@pytest.mark.parametrize("value", [0.0, -4.0, float("inf"), float("nan")])
def test_impossible_sizes_in_metadata_are_unknown(tmp_path: Path, value: float) -> None:
    path = tmp_path / "image.ome.tif"
    metadata = {"axes": "YX", "PhysicalSizeX": value, "PhysicalSizeY": value}
    tifffile.imwrite(path, ramp(8, 9), ome=True, metadata=metadata)
    with open_stack(path) as stack:
        assert stack.pixel_size_um(0) is None


def test_scanning_microscopes_state_their_pixel(tmp_path: Path) -> None:
    fei = b"[User]\r\nUser=x\r\n[Scan]\r\nPixelWidth=4e-009\r\nPixelHeight=5e-009\r\n\x00"
    zeiss = b"0\r\n0\r\nAP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 4.6 nm\r\n\x00"
    for name, code, text, expected in (
        ("fei.tif", 34682, fei, (None, 0.005, 0.004)),
        ("zeiss.tif", 34118, zeiss, (None, 0.0046, 0.0046)),
    ):
        tags = [(code, 2, len(text), text, True)]
        tifffile.imwrite(tmp_path / name, ramp(8, 9), metadata=None, extratags=tags)
        with open_stack(tmp_path / name) as stack:
            assert stack.voxel_size_um[0] is None
            assert stack.voxel_size_um[1:] == pytest.approx(expected[1:])


def test_rgb_tiff_without_its_alpha(tmp_path: Path) -> None:
    data = ramp(8, 9, 4, dtype=np.uint8)
    tifffile.imwrite(tmp_path / "rgba.tif", data, photometric="rgb", extrasamples=["unassalpha"])
    with open_stack(tmp_path / "rgba.tif") as stack:
        assert stack.channel_axis_is_rgb
        np.testing.assert_array_equal(stack.read(0), np.moveaxis(data[..., :3], -1, 0))


@pytest.mark.filterwarnings("ignore:.*stored as RGB:DeprecationWarning")
def test_three_slices_that_were_stored_as_rgb_planes_are_slices(tmp_path: Path) -> None:
    data = ramp(3, 20, 30, dtype=np.uint8)
    tifffile.imwrite(tmp_path / "three.tif", data)
    with open_stack(tmp_path / "three.tif") as stack:
        assert (stack.n_slices, stack.n_channels) == (3, 1)
    with open_stack(tmp_path / "three.tif", axes="CYX") as stack:
        assert (stack.n_slices, stack.n_channels) == (1, 3)


def test_slices_stored_as_channels_are_questioned(tmp_path: Path) -> None:
    path = tmp_path / "swapped.tif"
    tifffile.imwrite(path, ramp(30, 8, 9), imagej=True, metadata={"axes": "CYX"})
    with pytest.raises(InputError, match="axes ZYX"):
        open_stack(path)
    with open_stack(path, axes="ZYX") as stack:
        assert stack.n_slices == 30


def test_pyramid_opens_at_full_resolution(tmp_path: Path) -> None:
    data = ramp(64, 64)
    with tifffile.TiffWriter(tmp_path / "pyramid.ome.tif", ome=True) as writer:
        writer.write(data, subifds=1, tile=(16, 16), compression="zlib")
        writer.write(data[::2, ::2], subfiletype=1, tile=(16, 16), compression="zlib")
    with open_stack(tmp_path / "pyramid.ome.tif") as stack:
        assert stack.shape_of(0) == (64, 64)
        np.testing.assert_array_equal(stack.read(0)[0], data)


def test_five_dimensions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "5d.tif"
    tifffile.imwrite(path, ramp(2, 3, 2, 8, 9), imagej=True, metadata={"axes": "TZCYX"})
    with pytest.raises(InputError, match="time point"):
        open_stack(path)


def test_pages_of_several_sizes_are_refused(tmp_path: Path) -> None:
    small, large = Image.new("L", (8, 9)), Image.new("L", (20, 30))
    large.save(tmp_path / "mixed.tif", save_all=True, append_images=[small])
    with pytest.raises(InputError, match="2 images of different kinds"):
        open_stack(tmp_path / "mixed.tif")


def test_complex_tiff_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "c.tif", np.zeros((8, 9), np.complex64))
    with pytest.raises(InputError, match="complex"):
        open_stack(tmp_path / "c.tif")


@pytest.mark.parametrize("layout", [{}, {"compression": "zlib"}, {"tile": (16, 16)}])
@pytest.mark.parametrize("share", [0.5, 0.02])
def test_truncated_tiff_is_refused(tmp_path: Path, layout: dict[str, Any], share: float) -> None:
    path = tmp_path / "cut.tif"
    data = np.random.default_rng(0).integers(0, 255, (4, 64, 64), np.uint8)
    tifffile.imwrite(path, data, photometric="minisblack", **layout)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(InputError, match=r"cut\.tif"):
        read_all(path)


def read_all(path: Path) -> list[np.ndarray]:
    with open_stack(path) as stack:
        return [stack.read(z) for z in range(stack.n_slices)]


@pytest.mark.parametrize("share", [0.02, 0.5, 0.7, 0.97])
@pytest.mark.parametrize("kind", ["paged", "compressed", "imagej", "ome", "shaped"])
def test_no_pages_are_left_out_of_a_truncated_file(tmp_path: Path, kind: str, share: float) -> None:
    path = tmp_path / "cut.tif"
    pages = np.random.default_rng(0).integers(0, 255, (6, 64, 64), np.uint8)
    if kind in ("paged", "compressed"):
        with tifffile.TiffWriter(path) as writer:
            for page in pages:
                compression = "zlib" if kind == "compressed" else None
                writer.write(page, contiguous=False, metadata=None, compression=compression)
    else:
        tifffile.imwrite(
            path, pages, photometric="minisblack", compression=None if kind == "imagej" else "zlib",
            imagej=kind == "imagej", ome=kind == "ome", shaped=kind == "shaped",
            metadata={"axes": "ZYX"},
        )  # fmt: skip
    assert len(read_all(path)) == 6
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(InputError, match=r"cut\.tif"):
        read_all(path)


def test_ome_tiff_without_its_companion_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image.ome.tif"
    tifffile.imwrite(path, ramp(2, 8, 9), ome=True, metadata={"axes": "ZYX"})
    text = path.read_bytes().replace(b'SizeZ="2"', b'SizeZ="3"')
    path.write_bytes(text)
    with pytest.raises(InputError, match="incomplete"):
        open_stack(path)


# ---- folders and pictures


def write_png(path: Path, pixels: np.ndarray, **info: Any) -> None:
    Image.fromarray(pixels).save(path, **info)


def test_folder_in_natural_order(tmp_path: Path) -> None:
    for i in (10, 2, 1):
        write_png(tmp_path / f"Slice{i}.png", np.full((6, 7), i, np.uint8))
    (tmp_path / "notes.md").write_text("x")
    (tmp_path / "classes.json").write_text("[]")
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "._Slice1.png").write_bytes(b"\x00")  # macOS leaves such files
    (tmp_path / "sub.png").mkdir()
    stack = open_stack(tmp_path)
    assert stack.names == ("Slice1.png", "Slice2.png", "Slice10.png")
    assert not stack.is_set
    assert [int(stack.read(z).max()) for z in range(3)] == [1, 2, 10]


def test_folder_of_tiff_and_png_slices(tmp_path: Path) -> None:
    pages = ramp(2, 6, 7, dtype=np.uint8)
    tifffile.imwrite(
        tmp_path / "1.tif", pages[0], resolution=(2.5e6, 2.5e6), resolutionunit="CENTIMETER"
    )
    write_png(tmp_path / "2.png", pages[1], dpi=(25400 / 0.004, 25400 / 0.004))
    stack = open_stack(tmp_path, axes="ZYX")
    assert (stack.n_slices, stack.is_set) == (2, False)
    assert stack.pixel_size_um(1) == pytest.approx(0.004, rel=1e-3)
    for z in range(2):
        np.testing.assert_array_equal(stack.read(z, (1, 2, 5, 6))[0], pages[z, 1:5, 2:6])


def test_folder_of_several_sizes_is_a_set_with_own_pixel_sizes(tmp_path: Path) -> None:
    write_png(tmp_path / "sub-1_sample-a_SEM.png", np.zeros((6, 7), np.uint8), dpi=(72, 72))
    write_png(tmp_path / "sub-2_sample-b_SEM.png", np.zeros((8, 5), np.uint8))
    write_png(tmp_path / "sub-3_SEM.png", np.zeros((8, 5), np.uint8))
    for name, content in (
        ("sub-1_SEM.json", {"PixelSize": [180, 180], "PixelSizeUnits": "nm"}),
        ("sub-2_sample-b_SEM.json", {"PixelSize": [0.09, 0.1], "PixelSizeUnits": "um"}),
        ("sub-3_TEM.json", {"PixelSize": [9, 9], "PixelSizeUnits": "um"}),  # of another image
    ):
        (tmp_path / name).write_text(json.dumps(content))
    image_set = open_stack(tmp_path)
    assert image_set.is_set
    assert [image_set.shape_of(z) for z in range(3)] == [(6, 7), (8, 5), (8, 5)]
    assert image_set.pixel_size_um(0) == pytest.approx(0.18)
    assert image_set.pixel_size_um(1) == pytest.approx(0.095)
    assert image_set.pixel_size_um(2) is None
    stated = open_stack(tmp_path, voxel_size_um=(None, 0.2, 0.2))
    assert [stated.pixel_size_um(z) for z in range(3)] == [0.2, 0.2, 0.2]


@pytest.mark.parametrize(
    ("mode", "dtype", "n_channels"),
    [
        ("1", np.uint8, 1),
        ("L", np.uint8, 1),
        ("LA", np.uint8, 1),
        ("RGB", np.uint8, 3),
        ("RGBA", np.uint8, 3),
        ("I;16", np.uint16, 1),
    ],
)
def test_png_modes(tmp_path: Path, mode: str, dtype: Any, n_channels: int) -> None:
    Image.new(mode, (7, 6), color=1).save(tmp_path / "a.png")
    stack = open_stack(tmp_path / "a.png")
    assert (stack.dtype, stack.n_channels) == (dtype, n_channels)
    assert stack.read(0).shape == (n_channels, 6, 7)
    assert stack.read(0).dtype == dtype
    assert stack.read(0)[0, 0, 0] == (255 if mode == "1" else 1)


def test_png_with_16_bit_colours_keeps_them(tmp_path: Path) -> None:
    data = ramp(6, 7, 3) * 300
    (tmp_path / "deep.png").write_bytes(imagecodecs.png_encode(data))
    stack = open_stack(tmp_path / "deep.png")
    assert stack.dtype == np.uint16
    np.testing.assert_array_equal(stack.read(0), np.moveaxis(data, -1, 0))


def test_palettes_look_as_shown(tmp_path: Path) -> None:
    grey, colour = Image.new("P", (4, 4), 2), Image.new("P", (4, 4), 1)
    grey.putpalette([0, 0, 0, 100, 100, 100, 200, 200, 200])
    colour.putpalette([0, 0, 0, 60, 16, 152])
    grey.save(tmp_path / "grey.png")
    colour.save(tmp_path / "colour.png")
    assert open_stack(tmp_path / "grey.png").read(0)[:, 0, 0].tolist() == [200]
    assert open_stack(tmp_path / "colour.png").read(0)[:, 0, 0].tolist() == [60, 16, 152]


def test_jpeg(tmp_path: Path) -> None:
    Image.new("RGB", (16, 8), (200, 100, 50)).save(tmp_path / "a.JPG", quality=95)
    stack = open_stack(tmp_path / "a.JPG")
    assert stack.channel_axis_is_rgb
    np.testing.assert_allclose(stack.read(0)[:, 4, 4], [200, 100, 50], atol=3)


def test_a_picture_is_decoded_once_for_many_boxes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_png(tmp_path / "a.png", ramp(16, 16, dtype=np.uint8))
    stack = open_stack(tmp_path)
    opened: list[Any] = []
    original = Image.open
    monkeypatch.setattr(Image, "open", lambda *a, **k: (opened.append(a), original(*a, **k))[1])
    for y0 in range(0, 16, 4):
        stack.read(0, (y0, 0, y0 + 4, 16))
    assert len(opened) == 1


def test_pictures_beyond_the_limit_of_pillow_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_png(tmp_path / "large.png", np.zeros((64, 64), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert open_stack(tmp_path / "large.png").read(0).shape == (1, 64, 64)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_folders_that_disagree_are_refused(tmp_path: Path) -> None:
    write_png(tmp_path / "1.png", np.zeros((6, 7), np.uint8))
    write_png(tmp_path / "2.png", np.zeros((6, 7), np.uint16))
    with pytest.raises(InputError, match=r"1\.png has uint8, 2\.png has uint16"):
        open_stack(tmp_path)
    write_png(tmp_path / "2.png", np.zeros((6, 7, 3), np.uint8))
    with pytest.raises(InputError, match=r"number of channels: 1\.png has 1, 2\.png has 3"):
        open_stack(tmp_path)


def test_folder_with_a_multi_page_file_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "s.tif", ramp(5, 6, 7), photometric="minisblack")
    with pytest.raises(InputError, match=r"s\.tif in .* holds 5 slices"):
        open_stack(tmp_path)


def test_unusable_paths_say_why(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "readme.md").write_text("x")
    (tmp_path / "zero").mkdir()
    (tmp_path / "zero" / "a.png").write_bytes(b"")
    (tmp_path / "zero.tif").write_bytes(b"")
    (tmp_path / "movie.avi").write_bytes(b"x")
    (tmp_path / "noise.png").write_bytes(b"no image" * 9)
    (tmp_path / "noise.tif").write_bytes(b"no image" * 9)
    for name, message in (
        ("missing.tif", "does not exist"),
        ("empty", "it is empty"),
        ("texts", r"only others such as readme\.md"),
        ("zero", "0 bytes"),
        ("zero.tif", "0 bytes"),
        ("movie.avi", r"\.avi.*convert"),
        ("noise.png", "cannot be read"),
        ("noise.tif", "not a TIFF"),
    ):
        with pytest.raises(InputError, match=message):
            open_stack(tmp_path / name)


def test_a_damaged_picture_is_reported_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    write_png(path, np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8))
    path.write_bytes(path.read_bytes()[:2000])
    stack = open_stack(path)
    with pytest.raises(InputError, match="damaged or incomplete"):
        stack.read(0)


# ---- NumPy, MRC, Zarr


@pytest.mark.parametrize(
    ("shape", "dtype", "expected"),
    [
        ((20, 30), np.float32, (1, 1, 20, 30)),
        ((5, 20, 30), np.uint8, (5, 1, 20, 30)),
        ((20, 30, 3), np.uint8, (1, 3, 20, 30)),
        ((20, 30, 4), np.uint8, (1, 3, 20, 30)),
        ((5, 2, 20, 30), np.float32, (5, 2, 20, 30)),
        ((5, 20, 30, 3), np.uint8, (5, 3, 20, 30)),
    ],
)
def test_npy_axes_follow_from_the_shape(
    tmp_path: Path, shape: tuple[int, ...], dtype: Any, expected: tuple[int, ...]
) -> None:
    np.save(tmp_path / "a.npy", ramp(*shape, dtype=dtype))
    stack = open_stack(tmp_path / "a.npy")
    assert (stack.n_slices, stack.n_channels, *stack.shape_of(0)) == expected


def test_npy_is_mapped(tmp_path: Path) -> None:
    data = ramp(5, 2, 6, 7)
    np.save(tmp_path / "a.npy", data)
    stack = open_stack(tmp_path / "a.npy", axes="ZCYX", voxel_size_um=(1, 1, 1))
    assert isinstance(stack._array, np.memmap)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(stack.read(4, (1, 2, 3, 4)), data[4, :, 1:3, 2:4])


def test_unusable_npy_say_why(tmp_path: Path) -> None:
    np.save(tmp_path / "5d.npy", np.zeros((2, 2, 2, 4, 4)))
    np.save(tmp_path / "4d.npy", np.zeros((2, 40, 40, 4)))
    np.save(tmp_path / "objects.npy", np.array([{}, {}]), allow_pickle=True)
    np.save(tmp_path / "complex.npy", np.zeros((4, 4), complex))
    for name, message in (
        ("5d.npy", "5 axes"),
        ("4d.npy", "axes ZCYX"),
        ("objects.npy", "cannot be read"),
        ("complex.npy", "complex"),
    ):
        with pytest.raises(InputError, match=message):
            open_stack(tmp_path / name)


@pytest.mark.parametrize("suffix", [".mrc", ".rec"])
def test_mrc_is_mapped_with_its_voxel_size(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"tomogram{suffix}"
    data = ramp(4, 6, 7, dtype=np.int16)
    with mrcfile.new(path) as mrc:
        mrc.set_data(data)
        mrc.voxel_size = (40.0, 50.0, 500.0)  # ångström, x y z
    stack = open_stack(path)
    assert stack.voxel_size_um == pytest.approx((0.05, 0.005, 0.004))
    assert isinstance(stack._array, np.memmap)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(stack.read(3, (1, 2, 5, 6))[0], data[3, 1:5, 2:6])


@pytest.mark.parametrize(("flags", "dtype"), [(0, np.uint8), (1, np.int8)])
def test_bytes_that_imod_wrote_are_unsigned_unless_flagged(
    tmp_path: Path, flags: int, dtype: Any
) -> None:
    path = tmp_path / "imod.rec"
    with mrcfile.new(path) as mrc:
        mrc.set_data(np.full((2, 6, 7), -56, np.int8))
    raw = bytearray(path.read_bytes())
    raw[152:160] = np.array([1146047817, flags], "<i4").tobytes()
    path.write_bytes(raw)
    stack = open_stack(path)
    assert stack.dtype == dtype
    assert stack.read(0)[0, 0, 0] == np.array(-56, np.int8).view(dtype)


def test_complex_mrc_is_refused(tmp_path: Path) -> None:
    with mrcfile.new(tmp_path / "fft.mrc") as mrc:
        mrc.set_data(np.zeros((4, 5), np.complex64))
    with pytest.raises(InputError, match="complex"):
        open_stack(tmp_path / "fft.mrc")


def test_damaged_mrc_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.mrc").write_bytes(b"x" * 2000)
    with pytest.raises(InputError, match=r"bad\.mrc cannot be read"):
        open_stack(tmp_path / "bad.mrc")


def test_without_mrcfile_the_remedy_is_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.mrc").write_bytes(b"x")

    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(array_files.importlib, "import_module", missing)
    with pytest.raises(InputError, match=r'pip install "napari-spss\[mrc\]"'):
        open_stack(tmp_path / "a.mrc")


def test_zarr_folder_and_group(tmp_path: Path) -> None:
    data = ramp(4, 20, 30)
    zarr.create_array(tmp_path / "array.zarr", data=data, chunks=(1, 10, 10))
    group = zarr.create_group(tmp_path / "group")
    group.create_array("only", shape=data.shape, dtype=data.dtype, chunks=(1, 10, 10))[:] = data
    for name in ("array.zarr", "group"):
        np.testing.assert_array_equal(open_stack(tmp_path / name).read(3)[0], data[3])
    group.create_array("second", shape=data.shape, dtype=data.dtype)[:] = data
    with pytest.raises(InputError, match=r"2 arrays \(only, second\)"):
        open_stack(tmp_path / "group")


def test_ome_zarr_axes_and_scale(tmp_path: Path) -> None:
    data = ramp(1, 2, 3, 20, 30)
    group = zarr.create_group(tmp_path / "image.ome.zarr")
    group.create_array("0", shape=data.shape, dtype=data.dtype)[:] = data
    units = {"z": "nanometer", "y": "micrometer", "x": "micrometer"}
    group.attrs["ome"] = {"multiscales": [{
        "axes": [{"name": n, "unit": units[n]} if n in units else {"name": n} for n in "tczyx"],
        "datasets": [{"path": "0", "coordinateTransformations": [
            {"type": "scale", "scale": [1, 1, 25, 0.002, 0.004]}]}],
        "coordinateTransformations": [{"type": "scale", "scale": [1, 1, 2, 1, 1]}],
    }]}  # fmt: skip
    stack = open_stack(tmp_path / "image.ome.zarr")
    assert (stack.n_slices, stack.n_channels) == (3, 2)
    assert stack.voxel_size_um == pytest.approx((0.05, 0.002, 0.004))
    np.testing.assert_array_equal(stack.read(1), data[0, :, 1])


def test_zarr_folder_without_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.zarr").mkdir()
    with pytest.raises(InputError, match=r"no\.zarr cannot be read"):
        open_stack(tmp_path / "no.zarr")


# ---- any bytes


def make_files(folder: Path) -> dict[str, bytes]:
    data = np.random.default_rng(0).integers(0, 255, (3, 32, 40), np.uint8)
    grey = {"photometric": "minisblack"}
    tifffile.imwrite(folder / "plain.tif", data, **grey)
    tifffile.imwrite(folder / "tiled.tif", data, tile=(16, 16), compression="zlib", **grey)
    tifffile.imwrite(folder / "ome.tif", data, ome=True, metadata={"axes": "ZYX"})
    tifffile.imwrite(folder / "imagej.tif", data, imagej=True, metadata={"axes": "ZYX"})
    write_png(folder / "a.png", data[0])
    write_png(folder / "a.jpg", data[0])
    np.save(folder / "a.npy", data)
    with mrcfile.new(folder / "a.mrc") as mrc:
        mrc.set_data(data.astype(np.int16))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def right_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return make_files(tmp_path_factory.mktemp("files"))


@pytest.mark.filterwarnings("ignore")  # the libraries' own, on the way to an error
@settings(
    deadline=None, max_examples=150, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(data=st.data())
def test_wrong_bytes_are_read_or_refused(
    tmp_path: Path, right_files: dict[str, bytes], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(right_files)))
    content = bytearray(right_files[name])
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, min(len(content), 1200) - 1))
        content[place] = data.draw(st.sampled_from([0, 1, 128, 255]))
    content = content[: data.draw(st.integers(1, len(content)))]
    path = tmp_path / f"wrong{Path(name).suffix}"
    path.write_bytes(content)
    with suppress(InputError), open_stack(path) as stack:
        assert stack.read(0, (0, 0, 1, 1)).shape == (stack.n_channels, 1, 1)


# ---- identity and units


def test_identity_is_that_of_the_pixels_not_of_the_file(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 255, (4, 40, 50), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="minisblack", compression="zlib")
    (tmp_path / "folder").mkdir()
    for z, page in enumerate(data):
        write_png(tmp_path / "folder" / f"{z}.png", page)
    expected = stack_from_array(data).identity()
    assert open_stack(tmp_path / "a.tif").identity() == expected
    assert open_stack(tmp_path / "folder").identity() == expected
    shutil.move(tmp_path / "a.tif", tmp_path / "renamed.tif")
    assert open_stack(tmp_path / "renamed.tif").identity() == expected


def test_identity_tells_stacks_apart() -> None:
    data = np.random.default_rng(0).integers(0, 255, (4, 40, 50), np.uint8)
    others = [data[:3], data[:, :39], data.astype(np.uint16), 255 - data, data[::-1]]
    identities = {stack_from_array(array).identity() for array in [data, *others]}
    assert len(identities) == 1 + len(others)


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("µm", 1), ("μm", 1), ("um", 1), ("Micron", 1), ("microns", 1), ("micrometre", 1),
        ("\\u00B5m", 1), ("nm", 1e-3), ("nanometers", 1e-3), ("Å", 1e-4), ("angstrom", 1e-4),
        ("A\u030a", 1e-4), ("mm", 1e3), ("cm", 1e4), ("inches", 25400), ("m", 1e6),
        ("pixel", None), ("", None), (None, None), ("reference frame", None),
    ],
)  # fmt: skip
def test_units(unit: str | None, expected: float | None) -> None:
    assert unit_in_um(unit) == expected


# ---- real images


def test_vnc_is_a_stack(shared_data: Path) -> None:
    stack = open_stack(shared_data / "vnc_sstem" / "raw", voxel_size_um=(0.05, 0.0046, 0.0046))
    assert (stack.n_slices, stack.n_channels, stack.dtype) == (20, 1, np.uint8)
    assert not stack.is_set
    assert stack.names[:3] == ("00.tif", "01.tif", "02.tif")
    assert {stack.shape_of(z) for z in range(20)} == {(1024, 1024)}
    assert stack.pixel_size_um(19) == 0.0046
    with Image.open(shared_data / "vnc_sstem" / "raw" / "19.tif") as image:
        np.testing.assert_array_equal(stack.read(19)[0], np.asarray(image))


def test_axon_sem_is_a_set_with_pixel_sizes(shared_data: Path) -> None:
    image_set = open_stack(shared_data / "axon_sem" / "images")
    assert image_set.is_set
    assert (image_set.n_slices, image_set.n_channels) == (8, 1)  # one image has an alpha channel
    sizes = dict(zip(image_set.names, map(image_set.pixel_size_um, range(8)), strict=True))
    assert sizes["sub-rat1_sample-data1_SEM.png"] == pytest.approx(0.18)
    assert sizes["sub-rat3_sample-data9_SEM.png"] == sizes["sub-rat3_sample-data11_SEM.png"]
    assert None not in sizes.values()
    assert image_set.names[2:5] == tuple(f"sub-rat3_sample-data{i}_SEM.png" for i in (9, 10, 11))


def test_dubai_tile_is_a_set_of_rgb_images(shared_data: Path) -> None:
    image_set = open_stack(shared_data / "dubai" / "tile_1" / "images")
    assert image_set.is_set
    assert image_set.channel_axis_is_rgb
    assert (image_set.n_slices, image_set.n_channels) == (9, 3)
    assert image_set.read(8, (0, 0, 5, 6)).shape == (3, 5, 6)
    image_set.close()
