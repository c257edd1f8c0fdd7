"""PNG, JPEG, and folders of slices."""

from __future__ import annotations

import json
import math
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from pixels import ramp, write_png

from napari_spss.core.base import InputError
from napari_spss.core.images import open_stack


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
    assert (stack.n_slices, stack.is_set, stack.is_time_series) == (2, False, False)
    assert open_stack(tmp_path, axes="tyx").is_time_series
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
    assert image_set.pixel_size_um(1) == pytest.approx(
        math.sqrt(0.09 * 0.1)
    )  # so that areas are right
    assert image_set.pixel_size_um(2) is None
    stated = open_stack(tmp_path, voxel_size_um=(None, 0.2, 0.2))
    assert [stated.pixel_size_um(z) for z in range(3)] == [0.2, 0.2, 0.2]


@pytest.mark.parametrize(("edges_nm", "is_set"), [((10, 10.1), False), ((10, 50), True)])
def test_images_of_another_scale_are_no_slices_of_one_volume(tmp_path, edges_nm, is_set):
    for index, edge in enumerate(edges_nm):
        write_png(tmp_path / f"{index}.png", np.zeros((6, 7), np.uint8))
        content = {"PixelSize": [edge, edge], "PixelSizeUnits": "nm"}
        (tmp_path / f"{index}.json").write_text(json.dumps(content))
    stack = open_stack(tmp_path)
    assert stack.is_set == is_set
    assert stack.pixel_size_um(1) == pytest.approx(edges_nm[1] / 1000)


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


def test_a_picture_is_decoded_once_for_many_boxes(tmp_path: Path) -> None:
    data = ramp(16, 16, dtype=np.uint8)
    write_png(tmp_path / "a.png", data)
    stack = open_stack(tmp_path)
    stack.read(0, (0, 0, 1, 1))
    (tmp_path / "a.png").unlink()
    for y0 in range(0, 16, 4):
        np.testing.assert_array_equal(stack.read(0, (y0, 0, y0 + 4, 16))[0], data[y0 : y0 + 4])


def test_decoded_pictures_do_not_pile_up(tmp_path: Path) -> None:
    write_png(tmp_path / "00.png", np.zeros((4096, 4096), np.uint8))
    for i in range(1, 24):
        shutil.copy(tmp_path / "00.png", tmp_path / f"{i:02d}.png")
    stack = open_stack(tmp_path)
    tracemalloc.start()
    for z in range(24):
        stack.read(z, (0, 0, 1, 1))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 2**28 + 2**24  # of 24 x 2**24 bytes


@pytest.mark.parametrize(("name", "plugin"), [("a.png", PngImageFile), ("a.jpg", JpegImageFile)])
def test_pictures_beyond_the_limit_of_pillow_open_and_leave_it_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, plugin: Any
) -> None:
    Image.new("L", (64, 64), 7).save(tmp_path / name)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    meanwhile: list[int | None] = []  # as another thread would see it
    original = plugin._open
    monkeypatch.setattr(
        plugin,
        "_open",
        lambda self: (meanwhile.append(Image.MAX_IMAGE_PIXELS), original(self))[1],
    )
    assert open_stack(tmp_path / name).read(0).shape == (1, 64, 64)
    assert set(meanwhile) == {100}


def test_a_picture_of_another_kind_than_its_name_says_is_refused(tmp_path: Path) -> None:
    Image.new("L", (64, 64)).save(tmp_path / "a.bmp")
    (tmp_path / "a.bmp").rename(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png .* neither a PNG nor a JPEG"):
        open_stack(tmp_path / "a.png")
    Image.new("L", (8, 9), 7).save(tmp_path / "b.jpg")
    (tmp_path / "b.jpg").rename(tmp_path / "b.png")  # harmless
    assert int(open_stack(tmp_path / "b.png").read(0).max()) == 7


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
