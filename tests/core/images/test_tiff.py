"""TIFF files of all kinds: layouts, metadata, what is read, and what is refused."""

from __future__ import annotations

import math
import struct
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from pixels import ramp, read_all

from napari_spss.core.base import InputError
from napari_spss.core.images import open_stack

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


def test_tiled_tiff_reads_only_the_tiles_of_the_box(tmp_path: Path) -> None:
    path = tmp_path / "tiled.tif"
    data = np.random.default_rng(0).integers(0, 255, (3, 256, 256), np.uint8)
    tifffile.imwrite(path, data, photometric="minisblack", tile=(64, 64), compression="zlib")
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[1]
        others = [
            (start, n)
            for i, (start, n) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True))
            if i != 5  # second row, second column
        ]
    content = bytearray(path.read_bytes())
    for start, n in others:
        content[start : start + n] = b"x" * n
    path.write_bytes(content)
    stack = open_stack(path)
    np.testing.assert_array_equal(stack.read(1, (70, 70, 120, 120))[0], data[1, 70:120, 70:120])
    with pytest.raises(InputError, match="damaged"):
        stack.read(1, (70, 70, 129, 120))


def test_a_page_compressed_as_a_whole_is_decoded_once(tmp_path: Path) -> None:
    path = tmp_path / "whole.tif"
    tifffile.imwrite(path, ramp(2, 64, 64), photometric="minisblack", compression="zlib",
                     rowsperstrip=64)  # fmt: skip
    with open_stack(path) as stack:
        first = stack.read(0, (0, 0, 8, 8))
        path.unlink()
        np.testing.assert_array_equal(stack.read(0, (0, 0, 8, 8)), first)


@pytest.mark.parametrize("layout", [{}, {"compression": "zlib"}, {"planarconfig": "separate"}])
@pytest.mark.parametrize("axes", ["YXS", "ZYXS"])
def test_colours_of_any_layout(tmp_path: Path, layout: dict[str, Any], axes: str) -> None:
    data = np.random.default_rng(0).integers(0, 255, (3, 40, 50, 3), np.uint8)
    data = data if "Z" in axes else data[0]
    planes = np.moveaxis(data, -1, -3) if "planarconfig" in layout else data
    options = {"photometric": "rgb", "rowsperstrip": 9, "metadata": None}
    tifffile.imwrite(tmp_path / "c.tif", planes, **options, **layout)
    with open_stack(tmp_path / "c.tif") as stack:
        z = stack.n_slices - 1
        expected = np.moveaxis(data[z] if "Z" in axes else data, -1, 0)
        np.testing.assert_array_equal(stack.read(z), expected)
        np.testing.assert_array_equal(stack.read(z, (7, 3, 29, 44)), expected[:, 7:29, 3:44])


def test_strips_may_lie_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "order.tif"
    pages = np.random.default_rng(0).integers(0, 255, (2, 32, 16), np.uint8)
    with tifffile.TiffWriter(path) as writer:
        for page in pages:
            writer.write(page, rowsperstrip=8, metadata=None, contiguous=False)
    with tifffile.TiffFile(path) as tif:
        tag = tif.pages[1].tags["StripOffsets"]
        value, place, kind = tag.value, tag.valueoffset, tag.dtype.name
    swapped = (value[1], value[0], *value[2:])
    content = bytearray(path.read_bytes())
    stored = np.array(swapped, {"LONG": "<u4", "SHORT": "<u2"}[kind]).tobytes()
    content[place : place + len(stored)] = stored
    path.write_bytes(content)
    expected = np.concatenate([pages[1, 8:16], pages[1, :8], pages[1, 16:]])
    np.testing.assert_array_equal(open_stack(path).read(1)[0], expected)


def test_many_strips_are_read_in_time_that_grows_with_their_number(tmp_path: Path) -> None:
    def cpu_s(n_strips: int) -> float:
        path = tmp_path / f"{n_strips}.tif"
        image = np.arange(n_strips * 4, dtype=np.uint32).reshape(-1, 4)
        tifffile.imwrite(path, image, compression="zlib", rowsperstrip=1)
        began = time.process_time()
        np.testing.assert_array_equal(open_stack(path).read(0)[0], image)
        return time.process_time() - began

    few = min(cpu_s(4_000) for _ in range(3))
    assert cpu_s(32_000) < 14 * few  # 8 times as many; by their square it would be 64


# ---- several images in one file


@pytest.mark.parametrize("n_in_block", [1, 2])
@pytest.mark.parametrize("is_colour", [False, True])
def test_appended_pages_are_slices_of_one_stack(
    tmp_path: Path, n_in_block: int, is_colour: bool
) -> None:
    path = tmp_path / "appended.tif"
    shape = (6, 20, 30, 3) if is_colour else (6, 20, 30)
    data = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    kind = "rgb" if is_colour else "minisblack"
    for z in range(0, 6, n_in_block):
        block = data[z : z + n_in_block] if n_in_block > 1 else data[z]
        compression = "zlib" if z == 2 else None
        tifffile.imwrite(path, block, append=z > 0, photometric=kind, compression=compression)
    stack = open_stack(path)
    assert (stack.n_slices, stack.channel_axis_is_rgb) == (6, is_colour)
    for z in range(6):
        expected = np.moveaxis(data[z], -1, 0) if is_colour else data[z][None]
        np.testing.assert_array_equal(stack.read(z), expected)
    assert "appended" in stack.notes[0]


@pytest.mark.parametrize("other", [np.zeros((20, 31), np.uint8), np.zeros((20, 30), np.uint16)])
def test_appended_pages_of_another_kind_are_refused(tmp_path: Path, other: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((20, 30), np.uint8))
    tifffile.imwrite(tmp_path / "a.tif", other, append=True)
    with pytest.raises(InputError, match="2 images of different kinds"):
        open_stack(tmp_path / "a.tif")


def write_companions(folder: Path, *names: str) -> Path:
    """An OME-TIFF whose two planes lie in files of these names."""
    uuids = {name: f"urn:uuid:00000000-0000-0000-0000-00000000000{i}"
             for i, name in enumerate(dict.fromkeys(["first.ome.tif", *names]))}  # fmt: skip
    planes = "".join(
        f'<TiffData FirstZ="{z}" IFD="{names[:z].count(name)}" PlaneCount="1">'
        f'<UUID FileName="{name}">{uuids[name]}</UUID></TiffData>'
        for z, name in enumerate(names)
    )
    text = (
        '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/'
        f'OME/2016-06" UUID="{uuids["first.ome.tif"]}"><Image ID="Image:0"><Pixels ID="Pixels:0" '
        'DimensionOrder="XYZCT" Type="uint8" SizeX="9" SizeY="8" SizeZ="2" SizeC="1" SizeT="1">'
        f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{planes}</Pixels></Image></OME>'
    )
    path = folder / "first.ome.tif"
    tifffile.imwrite(path, np.full((8, 9), 1, np.uint8), description=text, metadata=None)
    return path


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("first", ["first.ome.tif", "second.tif"])
def test_ome_tiff_of_several_files_in_a_folder_is_one_stack(
    tmp_path: Path, first: str, compression: str | None
) -> None:
    path = write_companions(tmp_path, first, "second.tif")
    with tifffile.TiffWriter(tmp_path / "second.tif") as writer:
        for value in (2, 3):
            page = np.full((8, 9), value, np.uint8)
            writer.write(page, metadata=None, compression=compression, contiguous=False)
    expected = [1, 2] if first == "first.ome.tif" else [2, 3]
    assert [int(pixels.max()) for pixels in read_all(path)] == expected


@pytest.mark.parametrize("kind", ["..", "absolute", "windows", "drive"])
def test_ome_xml_is_not_followed_out_of_its_folder(tmp_path: Path, kind: str) -> None:
    (tmp_path / "inner").mkdir()
    secret = tmp_path / "secret.tif"
    tifffile.imwrite(secret, np.full((8, 9), 2, np.uint8), metadata=None)
    name = {
        "..": "../secret.tif",
        "absolute": str(secret),
        "windows": "..\\secret.tif",
        "drive": "C:\\secret.tif",
    }[kind]
    path = write_companions(tmp_path / "inner", "first.ome.tif", name)
    with pytest.raises(InputError, match=r"first\.ome\.tif names a file outside of its folder"):
        open_stack(path)


def write_micromanager(path: Path, value: int) -> int:
    """A page of 8 x 9 pixels behind Micro-Manager's header; returns where its pixels lie."""
    tags = [(256, 9), (257, 8), (258, 8), (259, 1), (262, 1), (273, 264), (277, 1), (278, 8),
            (279, 72)]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", code, 4, 1, number) for code, number in tags)
    entries += struct.pack("<HHII", 51123, 2, 8, 256)
    content = bytearray(struct.pack("<2sHIIIII", b"II", 42, 64, 483729, 2, 2355492, 2) + b"{}")
    content[64:] = bytes(64 - len(content)) + struct.pack("<H", len(tags) + 1) + entries + bytes(4)
    path.write_bytes(content + bytes(256 - len(content)) + b"{     }\0" + bytes([value]) * 72)
    return 264


def test_an_index_of_micromanager_is_not_followed_out_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    inner = tmp_path / "inner" / "NDTiffStack.tif"
    write_micromanager(inner, 1)
    start = write_micromanager(tmp_path / "secret.tif", 2)
    assert int(open_stack(inner).read(0).max()) == 1
    name = b"../secret.tif"
    entry = struct.pack("<I", 8) + b'{"z": 0}' + struct.pack("<I", len(name)) + name
    place = struct.pack("<IiiiiIii", start, 9, 8, 0, 0, 0, 0, 0)
    (tmp_path / "inner" / "NDTiff.index").write_bytes(entry + place)
    with pytest.raises(InputError, match="outside of its folder"):
        open_stack(inner)


def test_a_compressed_tiff_is_read_through_links(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    data = ramp(2, 16, 16)
    tifffile.imwrite(tmp_path / "scratch" / "a.tif", data, compression="zlib")
    (tmp_path / "folder").symlink_to(tmp_path / "scratch")
    (tmp_path / "b.tif").symlink_to(tmp_path / "scratch" / "a.tif")
    for path in (tmp_path / "folder" / "a.tif", tmp_path / "b.tif"):
        np.testing.assert_array_equal(np.concatenate(read_all(path)), data)


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
        assert stack.pixel_size_um(2) == pytest.approx(math.sqrt(1 / 200 / 250))


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
        assert stack.is_time_series
    for stated in ({"axes": "ZYX"}, {"voxel_size_um": (0.05, 0.01, 0.01)}):
        assert not open_stack(tmp_path / "t.tif", **stated).is_time_series


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
        assert "OME-XML that cannot be read" in stack.notes[0]


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
@pytest.mark.parametrize("mode", ["CMYK", "LAB", "YCbCr"])
def test_colours_other_than_rgb_are_refused_unless_decoded(tmp_path: Path, mode: Any) -> None:
    picture = Image.fromarray(ramp(8, 9, 3, dtype=np.uint8)).convert(mode)
    for compression in (None, "jpeg") if mode == "CMYK" else (None,):
        picture.save(tmp_path / "a.tif", compression=compression)
        with pytest.raises(InputError, match="colours, which cannot be read; save it as a grey or"):
            open_stack(tmp_path / "a.tif")
    Image.fromarray(ramp(8, 9, 3, dtype=np.uint8)).save(tmp_path / "b.tif", compression="jpeg")
    assert open_stack(tmp_path / "b.tif").channel_axis_is_rgb


def test_slices_that_may_be_stored_as_channels_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    named = {"axes": "CYX", "Channel": {"Name": ["SE", "BSE"]}}
    for options, n_notes in (({"imagej": True}, 1), ({}, 1), ({"metadata": named}, 0)):
        tifffile.imwrite(path, ramp(2, 8, 9), **options)
        notes = open_stack(path).notes
        assert len(notes) == n_notes
        assert all("2 planes of the file are channels of one slice" in note for note in notes)
        assert open_stack(path, axes="ZYX").notes == (), "as the note says"
    tifffile.imwrite(path, ramp(5, 2, 8, 9), metadata={"axes": "ZCYX"})
    assert open_stack(path).notes == ()


def test_white_that_is_zero_is_told_once(tmp_path: Path) -> None:
    for name in ("1.tif", "2.tif"):
        tifffile.imwrite(tmp_path / name, ramp(8, 9), photometric="miniswhite")
    tifffile.imwrite(tmp_path / "3.tif", ramp(8, 9), photometric="minisblack")
    (note,) = open_stack(tmp_path).notes
    assert "0 is white" in note


def test_pixels_of_one_micrometre_are_told_unless_stated(tmp_path: Path) -> None:
    sizes = {f"PhysicalSize{axis}": 1.0 for axis in "XYZ"}
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, ramp(5, 8, 9), metadata={"axes": "ZYX", **sizes})
    (note,) = open_stack(path).notes
    assert "states pixels of 1 \u00b5m" in note
    assert open_stack(path).with_voxel_size(None).notes == (note,)
    assert open_stack(path, voxel_size_um=(1, 1, 1)).notes == ()


def test_three_slices_that_were_stored_as_rgb_planes_are_slices(tmp_path: Path) -> None:
    data = ramp(3, 20, 30, dtype=np.uint8)
    # tifffile writes this of itself, but may come to write three pages
    tifffile.imwrite(tmp_path / "three.tif", data, photometric="rgb", planarconfig="separate")
    with open_stack(tmp_path / "three.tif") as stack:
        assert (stack.n_slices, stack.n_channels) == (3, 1)
        (note,) = stack.notes
        assert "unless the axes CYX are stated" in note
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
