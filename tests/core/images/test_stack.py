"""Lazy stacks of arrays: axes, boxes, what is read; identity, units and real images."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings, strategies as st
from PIL import Image
from pixels import image_set, ramp, write_png

from napari_spss.core.base import InputError
from napari_spss.core.base.units import unit_in_um
from napari_spss.core.images import open_stack, stack_from_array

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


def test_identity_samples_a_large_stack_sparsely_and_once() -> None:
    counting = CountingArray(np.zeros((500, 256, 256), np.uint8))
    stack = stack_from_array(counting)
    first = stack.identity()
    n_read = sum(counting.n_read)
    assert n_read <= 16 * 2 * 32 * 32
    assert stack.identity() == first
    assert sum(counting.n_read) == n_read


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


def test_a_stack_tells_what_it_holds() -> None:
    assert repr(stack_from_array(ramp(3, 8, 9))) == (
        "<Stack array: 3 slices of 8 x 9, 1 channel, uint16>"
    )
    both = repr(image_set([ramp(8, 9), ramp(4, 4)]))
    assert both.endswith("2 slices of various sizes, 1 channel, uint16>")


def test_time_is_taken_as_slices_without_depth() -> None:
    stack = stack_from_array(ramp(3, 4, 5), axes="TYX", voxel_size_um=(2, 0.1, 0.1))
    assert stack.n_slices == 3
    assert stack.voxel_size_um == (None, 0.1, 0.1)
    assert stack.is_time_series
    assert not stack_from_array(ramp(1, 4, 5), axes="TYX").is_time_series


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
        (np.zeros((2, 3, 4, 5)), "QQYX", "does not say what its axes are"),
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
    stack = image_set(images, sizes_um=[0.1, None], names=["a", "b"])
    assert stack.is_set
    assert stack.names == ("a", "b")
    assert [stack.shape_of(z) for z in (0, 1)] == [(4, 6), (5, 3)]
    assert [stack.pixel_size_um(z) for z in (0, 1)] == [0.1, None]
    assert stack.voxel_size_um == (None, None, None)
    np.testing.assert_array_equal(stack.read(1, (1, 0, 3, 2))[0], images[1][1:3, 0:2])


def test_image_set_of_disagreeing_arrays_is_refused() -> None:
    with pytest.raises(InputError, match="differ in type: 0 has uint8, 1 has float32"):
        image_set([np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.float32)])
    with pytest.raises(InputError, match="no images"):
        image_set([])
    with pytest.raises(InputError, match="1 names for 2 images"):
        image_set([np.zeros((4, 4))] * 2, names=["a"])


def test_slices_of_another_shape_than_the_stack_says_are_refused() -> None:
    sizes = ((20, 30), (24, 30), (20, 30, 2))
    planes = [
        da.from_delayed(dask.delayed(np.zeros)(size, np.uint8), (20, 30), np.uint8)
        for size in sizes
    ]
    stack = stack_from_array(da.stack(planes))
    assert stack.read(0).shape == (1, 20, 30)
    for z in (1, 2):
        with pytest.raises(InputError, match=f"slice {z} of array has the shape .* one by one"):
            stack.read(z)


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
        ("A\u030a", 1e-4), ("\\u00C5", 1e-4), ("\\u03BCm", 1), ("mm", 1e3), ("cm", 1e4),
        ("inches", 25400), ("m", 1e6), ("pixel", None), ("", None), (None, None),
        ("reference frame", None),
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


def test_pixels_of_a_set_that_are_not_square_are_told(tmp_path):
    for pixel_um, is_told in ((0.002, True), (0.00499, False)):
        for name, shape in (("a", (40, 50)), ("b", (60, 50))):
            metadata = {"axes": "YX", "PhysicalSizeX": 0.005, "PhysicalSizeY": pixel_um}
            tifffile.imwrite(tmp_path / f"{name}.ome.tif", np.zeros(shape), metadata=metadata)
        assert open_stack(tmp_path).is_set
        told = [note for note in open_stack(tmp_path).notes if "not square" in note]
        assert len(told) == is_told
