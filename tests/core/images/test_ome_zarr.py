"""Zarr arrays and groups, and OME-Zarr."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from pixels import ramp

from napari_spss.core.annotations import ClassSpec
from napari_spss.core.base import InputError
from napari_spss.core.images import check_stack, open_masks, open_stack


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


@pytest.mark.parametrize("version", [2, 3])
def test_an_array_has_the_axes_that_its_dimensions_name(tmp_path: Path, version: Any) -> None:
    data = ramp(20, 30, 3)  # rows, columns, slices
    for names, axes in ((["y", "x", "z"], "YXZ"), (["Y", "X", "channel"], "YXC")):
        path = tmp_path / f"{axes}.zarr"
        named = {"dimension_names": names} if version == 3 else {}
        array = zarr.create_array(path, data=data, zarr_format=version, **named)
        if version == 2:
            array.attrs["_ARRAY_DIMENSIONS"] = names
        found, stated = open_stack(path), open_stack(path, axes=axes)
        assert (found.n_slices, found.n_channels) == (stated.n_slices, stated.n_channels)
        np.testing.assert_array_equal(found.read(0), stated.read(0))
    path = tmp_path / "unknown.zarr"
    array = zarr.create_array(path, data=data, zarr_format=version)
    array.attrs["_ARRAY_DIMENSIONS"] = ["row", "column", "band"]
    assert open_stack(path).n_slices == 20


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


def write_image(group: Any, data: np.ndarray, **attributes: Any) -> None:
    """An OME-Zarr image of version 0.4, 5 nm apart."""
    group.create_array("0", shape=data.shape, dtype=data.dtype)[:] = data
    group.attrs["multiscales"] = [{
        "version": "0.4",
        "axes": [{"name": n, "type": "space", "unit": "nanometer"} for n in "zyx"],
        "datasets": [{"path": "0", "coordinateTransformations": [
            {"type": "scale", "scale": [5, 5, 5]}]}],
    }]  # fmt: skip
    group.attrs.update(attributes)


@pytest.mark.parametrize("version", [2, 3])
def test_a_root_of_bioformats2raw_opens_its_only_image(tmp_path: Path, version: Any) -> None:
    data = ramp(4, 20, 30)
    path = tmp_path / "bioformats.zarr"
    root = zarr.open_group(str(path), mode="w", zarr_format=version)
    root.attrs["bioformats2raw.layout"] = 3
    root.create_group("OME").attrs["series"] = ["0"]
    write_image(root.create_group("0"), data)
    for folder in (path, path / "0"):
        stack = open_stack(folder)
        assert (stack.n_slices, stack.shape_of(0)) == (4, (20, 30))
        assert stack.voxel_size_um == pytest.approx((0.005,) * 3)
        np.testing.assert_array_equal(stack.read(3)[0], data[3])


def test_a_root_of_several_images_names_them(tmp_path: Path) -> None:
    root = zarr.open_group(str(tmp_path / "many.zarr"), mode="w")
    for i in range(12):
        write_image(root.create_group(str(i)), ramp(2, 8, 9))
    with pytest.raises(InputError, match=r"12 OME-Zarr images \(0, 1, 2, .*10, 11\); .*zarr.0"):
        open_stack(tmp_path / "many.zarr")
    assert open_stack(tmp_path / "many.zarr" / "11").n_slices == 2


def test_labels_do_not_stand_in_the_way_of_their_image(tmp_path: Path) -> None:
    root = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    write_image(root, ramp(2, 8, 9))
    labels = root.create_group("labels")
    labels.attrs["labels"] = ["cells"]
    write_image(labels.create_group("cells"), np.ones((2, 8, 9), np.uint8))
    assert int(open_stack(tmp_path / "a.zarr").read(1).max()) == 143
    assert int(open_stack(tmp_path / "a.zarr" / "labels").read(1).max()) == 1
    assert int(open_stack(tmp_path / "a.zarr" / "labels" / "cells").read(1).max()) == 1


@pytest.mark.parametrize("place", ["labels", "labels/cells", "labels/cells/0", "own.zarr"])
def test_labels_are_refused_as_an_image(tmp_path: Path, place: str) -> None:
    root = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    write_image(root, ramp(2, 8, 9))
    write_image(root.create_group("labels").create_group("cells"), np.ones((2, 8, 9), np.uint8))
    write_image(root.create_group("own.zarr"), ramp(2, 8, 9), **{"image-label": {}})
    check_stack(open_stack(tmp_path / "a.zarr"))
    with pytest.raises(InputError, match="labels, not grey values; name the image"):
        check_stack(open_stack(tmp_path / "a.zarr" / place))


def test_the_finest_level_is_read_wherever_it_stands(tmp_path: Path) -> None:
    root = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    write_image(root, ramp(2, 8, 9))
    root.create_array("1", shape=(2, 4, 5), dtype=np.uint8)
    (image,) = root.attrs["multiscales"]
    coarse = {"path": "1", "coordinateTransformations": [{"type": "scale", "scale": [5, 10, 10]}]}
    root.attrs["multiscales"] = [image | {"datasets": [coarse, *image["datasets"]]}]
    stack = open_stack(tmp_path / "a.zarr")
    assert stack.shape_of(0) == (8, 9)
    assert stack.voxel_size_um == pytest.approx((0.005,) * 3)


def test_a_plate_says_which_folder_to_choose(tmp_path: Path) -> None:
    path = tmp_path / "plate.zarr"
    root = zarr.open_group(str(path), mode="w")
    root.attrs["plate"] = {"wells": [{"path": "B/3"}, {"path": "B/4"}], "version": "0.4"}
    well = root.create_group("B/3")
    well.attrs["well"] = {"images": [{"path": "0"}]}
    write_image(well.create_group("0"), ramp(2, 8, 9))
    with pytest.raises(InputError, match="plate of 2 wells") as told:
        open_stack(path)
    assert str(path / "B/3/0") in str(told.value)
    assert open_stack(path / "B" / "3" / "0").n_slices == 2
    assert open_stack(path / "B" / "3").n_slices == 2
    with pytest.raises(InputError, match=r"1 groups without an image \(3\)"):
        open_stack(path / "B")


@pytest.mark.parametrize(
    "multiscales",
    [
        5,
        [5],
        [{}],
        [{"datasets": []}],
        [{"datasets": [{"path": 5}]}],
        [{"datasets": [{"path": "nothing"}]}],
        [{"datasets": [{"path": "../outside"}]}],
        [{"datasets": [{"path": "group"}]}],
        [{"datasets": [{"path": "0"}], "axes": 7}],
        [{"datasets": [{"path": "0"}], "axes": [{"name": 3}, {}, None]}],
        [{"datasets": [{"path": "0"}], "axes": [{"name": "z"}]}],
        [{"datasets": [{"path": "0"}], "axes": ["", "y", "x"]}],
    ],
)
def test_damaged_metadata_of_ome_zarr_are_refused(tmp_path: Path, multiscales: Any) -> None:
    outside = zarr.open_group(str(tmp_path / "outside"), mode="w")
    write_image(outside, ramp(2, 8, 9))
    root = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    write_image(root, ramp(2, 8, 9), multiscales=multiscales)
    root.create_group("group")
    with pytest.raises(InputError, match=r"a\.zarr"):
        open_stack(tmp_path / "a.zarr")


@pytest.mark.parametrize(
    "scale", ["x", [1], [1, 2, "3"], [1, 2, None], [True, 1, 1], [-1, 0, 1e400]]
)
def test_impossible_scales_leave_the_voxel_size_unknown(tmp_path: Path, scale: Any) -> None:
    root = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    write_image(root, ramp(2, 8, 9))
    multiscales = root.attrs["multiscales"]
    multiscales[0]["axes"] = [{"name": n} for n in "zyx"]
    multiscales[0]["datasets"][0]["coordinateTransformations"][0]["scale"] = scale
    root.attrs["multiscales"] = multiscales
    assert open_stack(tmp_path / "a.zarr").voxel_size_um == (None, None, None)


def test_a_header_of_millions_of_slices_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "many.zarr"
    zarr.create_array(path, shape=(40_000_000, 64, 64), dtype="u1", chunks=(1, 64, 64))
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(InputError, match=r"many\.zarr has 40000000 slices, .* such as axes YXZ"):
        open_stack(path)
    seconds, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 5
    assert peak < 10**8
    stack = open_stack(path, axes="YXZ")
    assert (stack.n_slices, stack.shape_of(63)) == (64, (40_000_000, 64))
    assert stack.read(63, (39_999_999, 0, 40_000_000, 64)).shape == (1, 1, 64)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("names", [("0", "1"), ("s0/image", "s1/image")])
def test_a_level_has_the_axes_and_its_own_voxel_size(
    tmp_path: Path, version: Any, names: tuple[str, str]
) -> None:
    path = tmp_path / "a.ome.zarr"
    root = zarr.open_group(str(path), mode="w", zarr_format=version)
    image = root.create_group("labels/cells")
    data = ramp(2, 3, 8, 9)  # CZYX, which shape alone would take for ZCYX
    for k, name in enumerate(names):
        part = data[..., :: k + 1, :: k + 1]
        image.create_array(name, shape=part.shape, dtype=part.dtype)[:] = part
    multiscales = [{
        "axes": [{"name": "c", "type": "channel"},
                 *({"name": n, "type": "space", "unit": "nanometer"} for n in "zyx")],
        "datasets": [
            {"path": name, "coordinateTransformations": [
                {"type": "scale", "scale": [1, 50, 4.0 * k, 4.0 * k]}]}
            for k, name in zip((1, 2), names, strict=True)
        ],
    }]  # fmt: skip
    image.attrs.update({"ome": {"multiscales": multiscales}} if version == 3 else
                       {"multiscales": multiscales})  # fmt: skip
    for k, name in enumerate(names):
        stack = open_stack(path / "labels" / "cells" / name)
        assert (stack.n_slices, stack.n_channels) == (3, 2)
        assert stack.voxel_size_um == pytest.approx((0.05, 0.004 * (k + 1), 0.004 * (k + 1)))
        np.testing.assert_array_equal(stack.read(1), data[:, 1, :: k + 1, :: k + 1])
        is_told = any("is a smaller copy of labels" in note for note in stack.notes)
        assert is_told == (k == 1)


@pytest.mark.parametrize(("version", "options"), [(2, {}), (3, {}), (3, {"shards": (1, 20, 24)})])
def test_missing_chunks_of_an_image_are_told_but_not_of_masks(
    tmp_path: Path, version: Any, options: Any
) -> None:
    group = zarr.open_group(tmp_path / "image.zarr", mode="w", zarr_format=version)
    array = group.create_array("0", shape=(3, 20, 24), chunks=(1, 10, 12), dtype="u1", **options)
    array[:] = 1
    assert open_stack(tmp_path / "image.zarr").notes == ()
    array[1] = 0  # its chunks are left out
    n, n_chunks = (1, 3) if "shards" in options else (4, 12)
    for place in ("image.zarr", "image.zarr/0"):
        (note,) = open_stack(tmp_path / place).notes
        assert note.startswith(f"{n} of {n_chunks} chunks of {tmp_path / place} are missing and c")
        assert (
            open_masks(tmp_path / place, classes=ClassSpec(("background", "a"), (0, 1))).notes == ()
        )


def test_sharded_arrays_are_read(tmp_path: Path) -> None:
    data = ramp(3, 64, 64)
    root = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    array = root.create_array(
        "0", shape=data.shape, dtype=data.dtype, chunks=(1, 16, 16), shards=(2, 32, 32)
    )
    array[:] = data
    root.attrs["ome"] = {"version": "0.5", "multiscales": [
        {"axes": [{"name": n} for n in "zyx"], "datasets": [{"path": "0"}]}]}  # fmt: skip
    stack = open_stack(tmp_path / "a.zarr")
    np.testing.assert_array_equal(stack.read(2, (10, 20, 50, 60))[0], data[2, 10:50, 20:60])
