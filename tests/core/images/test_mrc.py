"""MRC files, as the standard has them and as programs write them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from pixels import ramp

from napari_spss.core.base import InputError
from napari_spss.core.images import open_stack


@pytest.mark.parametrize("suffix", [".mrc", ".rec", ".st", ".ali", ".map"])
def test_mrc_has_its_voxel_size(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"tomogram{suffix}"
    data = ramp(4, 6, 7, dtype=np.int16)
    with mrcfile.new(path) as mrc:
        mrc.set_data(data)
        mrc.voxel_size = (40.0, 50.0, 500.0)  # ångström, x y z
    stack = open_stack(path)
    assert stack.voxel_size_um == pytest.approx((0.05, 0.005, 0.004))
    np.testing.assert_array_equal(stack.read(3, (1, 2, 5, 6))[0], data[3, 1:5, 2:6])


def test_voxels_of_one_angstrom_stand_for_an_unknown_size(tmp_path: Path) -> None:
    for size in (1.0, 10.0):
        with mrcfile.new(tmp_path / f"{size}.mrc") as mrc:
            mrc.set_data(ramp(4, 6, 7, dtype=np.int16))
            mrc.voxel_size = size
    stack = open_stack(tmp_path / "1.0.mrc")
    assert stack.voxel_size_um == (None, None, None)
    assert "taken as unknown" in stack.notes[0]
    assert open_stack(tmp_path / "10.0.mrc").voxel_size_um == pytest.approx((0.001,) * 3)


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


@pytest.mark.parametrize(
    ("smallest", "largest", "dtype"),
    [(0, 255, np.uint8), (0, 127, np.int8), (0, 0, np.int8), (-9, 200, np.int8)],
)
def test_the_range_of_values_says_whether_bytes_of_others_are_unsigned(
    tmp_path: Path, smallest: float, largest: float, dtype: Any
) -> None:
    path = tmp_path / "bytes.mrc"
    with mrcfile.new(path) as mrc:
        mrc.set_data(np.full((2, 6, 7), -56, np.int8))
        mrc.header.dmin, mrc.header.dmax = smallest, largest
    stack = open_stack(path)
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


def write_mrc(path: Path, data: np.ndarray, axes: tuple[int, int, int] = (1, 2, 3)) -> None:
    """Write a volume (Z, Y, X) of 4 x 5 x 50 nm with its axes in another order in the file."""
    names = ["XYZ"[i - 1] for i in reversed(axes)]  # of sections, rows, columns
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(np.ascontiguousarray(data.transpose(["ZYX".index(name) for name in names])))
        shape = dict(zip("XYZ", data.shape[::-1], strict=True))
        mrc.header.mx, mrc.header.my, mrc.header.mz = (shape[axis] for axis in "XYZ")
        mrc.header.cella = (40.0 * shape["X"], 50.0 * shape["Y"], 500.0 * shape["Z"])
        mrc.header.mapc, mrc.header.mapr, mrc.header.maps = axes


@pytest.mark.parametrize("axes", list(itertools.permutations((1, 2, 3))))
def test_slices_are_those_along_z_in_whatever_order_the_axes_are_stored(
    tmp_path: Path, axes: tuple[int, int, int]
) -> None:
    data = ramp(4, 5, 6, dtype=np.int16)
    write_mrc(tmp_path / "a.mrc", data, axes)
    stack = open_stack(tmp_path / "a.mrc")
    assert (stack.n_slices, stack.shape_of(0)) == (4, (5, 6))
    assert stack.voxel_size_um == pytest.approx((0.05, 0.005, 0.004))
    for z in range(4):
        np.testing.assert_array_equal(stack.read(z)[0], data[z])
        np.testing.assert_array_equal(stack.read(z, (1, 2, 4, 5))[0], data[z, 1:4, 2:5])
    assert stack.notes == ()


@pytest.mark.parametrize(
    ("axes", "n_notes"), [((0, 0, 0), 0), ((1, 1, 2), 1), ((7, 8, 9), 1), ((-1, 2, 3), 1)]
)
def test_impossible_axes_are_told_and_taken_as_usual(
    tmp_path: Path, axes: tuple[int, int, int], n_notes: int
) -> None:
    data = ramp(4, 5, 6, dtype=np.int16)
    write_mrc(tmp_path / "a.mrc", data)
    content = bytearray((tmp_path / "a.mrc").read_bytes())
    content[64:76] = np.array(axes, "<i4").tobytes()
    (tmp_path / "a.mrc").write_bytes(content)
    stack = open_stack(tmp_path / "a.mrc")
    np.testing.assert_array_equal(stack.read(3)[0], data[3])
    assert len(stack.notes) == n_notes


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["i1", "i2", "f4", "u2"])
@pytest.mark.parametrize("stamp", [b"\x44\0", b"\0\0", b"\x17\x17", b"wrong order"])
@pytest.mark.parametrize("identifier", [b"MAP ", b"\0\0\0\0"])
def test_headers_of_other_programs_are_opened_with_a_note(
    tmp_path: Path, order: str, dtype: str, stamp: bytes, identifier: bytes
) -> None:
    data = ramp(4, 5, 6).astype(order + dtype)
    path = tmp_path / "a.mrc"
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(data)
    content = bytearray(path.read_bytes())
    if stamp == b"wrong order":
        stamp = b"\x44\x44" if content[0] == 0 else b"\x11\x11"
    content[208:214] = identifier + stamp
    path.write_bytes(content)
    stack = open_stack(path)
    np.testing.assert_array_equal(np.stack([stack.read(z)[0] for z in range(4)]), data)
    assert "a.mrc has a header that is not as the standard has it" in stack.notes[0]
    assert ("no identifier" in stack.notes[0]) == (identifier != b"MAP ")


@pytest.mark.parametrize(("mode", "message"), [(101, "4-bit"), (3, "complex"), (16, "colours")])
def test_modes_that_cannot_be_read_say_what_to_do(tmp_path: Path, mode: int, message: str) -> None:
    write_mrc(tmp_path / "a.mrc", ramp(4, 5, 6, dtype=np.int16))
    content = bytearray((tmp_path / "a.mrc").read_bytes())
    content[12:16] = np.array(mode, "<i4").tobytes()
    (tmp_path / "a.mrc").write_bytes(content)
    with pytest.raises(InputError, match=f"{message}.*newstack"):
        open_stack(tmp_path / "a.mrc")


def test_a_stack_of_volumes_is_refused(tmp_path: Path) -> None:
    with mrcfile.new(tmp_path / "a.mrc") as mrc:
        mrc.set_data(np.zeros((3, 4, 5, 6), np.int16))
    with pytest.raises(InputError, match="stack of 3 volumes"):
        open_stack(tmp_path / "a.mrc")
