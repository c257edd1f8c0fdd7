"""NumPy files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from pixels import ramp

from napari_spss.core.base import InputError
from napari_spss.core.images import open_masks, open_stack


@pytest.mark.parametrize(
    ("shape", "dtype", "expected"),
    [
        ((20, 30), np.float32, (1, 1, 20, 30)),
        ((5, 20, 30), np.uint8, (5, 1, 20, 30)),
        ((20, 30, 3), np.uint8, (1, 3, 20, 30)),
        ((20, 30, 4), np.uint8, (1, 3, 20, 30)),
        ((5, 2, 20, 30), np.float32, (5, 2, 20, 30)),
        ((5, 20, 30, 3), np.uint8, (5, 3, 20, 30)),
        ((20, 30, 1), np.float32, (1, 1, 20, 30)),
        ((5, 20, 30, 1), np.uint8, (5, 1, 20, 30)),
    ],
)
def test_npy_axes_follow_from_the_shape(
    tmp_path: Path, shape: tuple[int, ...], dtype: Any, expected: tuple[int, ...]
) -> None:
    np.save(tmp_path / "a.npy", ramp(*shape, dtype=dtype))
    stack = open_stack(tmp_path / "a.npy")
    assert (stack.n_slices, stack.n_channels, *stack.shape_of(0)) == expected


def test_a_last_axis_that_is_rather_slices_or_channels_is_questioned(tmp_path: Path) -> None:
    data = ramp(70, 80, 6)
    np.save(tmp_path / "a.npy", data)
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="minisblack", metadata=None)
    for name in ("a.npy", "a.tif"):
        with pytest.raises(InputError, match=r"70 slices of 80 x 6 pixels.*give axes YXZ or YXC"):
            open_stack(tmp_path / name)
    stack = open_stack(tmp_path / "a.npy", axes="YXZ")
    np.testing.assert_array_equal(stack.read(5)[0], data[..., 5])
    assert open_stack(tmp_path / "a.npy", axes="ZYX").n_slices == 70
    for name, kind in (("a.ome.tif", {}), ("b.tif", {"imagej": True})):  # by name a stack
        tifffile.imwrite(tmp_path / name, data, metadata={"axes": "ZYX"}, **kind)
        stack = open_stack(tmp_path / name)
        assert stack.n_slices == 70
        assert "if slices lie along its last axis" in stack.notes[0]
    np.save(tmp_path / "mask.npy", data % 2)  # of masks nobody can state the axes
    masks = open_masks(tmp_path / "mask.npy")
    assert masks.n_slices == 70
    assert "if slices lie along its last axis" in masks.notes[0]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<u2", ">u2", "?", "<f8"])
def test_npy_of_any_order_and_axes(tmp_path: Path, order: Any, dtype: str) -> None:
    data = np.asarray(ramp(5, 2, 6, 7) % 256, dtype, order=order)
    np.save(tmp_path / "a.npy", data)
    for axes in ("ZCYX", "XCYZ", "YZXC"):
        stack = open_stack(tmp_path / "a.npy", axes=axes)
        expected = np.einsum(f"{axes}->ZCYX", data.astype(float))
        for z in range(stack.n_slices):
            np.testing.assert_array_equal(stack.read(z), expected[z])
            np.testing.assert_array_equal(stack.read(z, (1, 1, 3, 4)), expected[z, :, 1:3, 1:4])


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
