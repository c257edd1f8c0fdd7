"""Files of all kinds that are damaged, hostile or changed meanwhile: read, or refused by name."""

from __future__ import annotations

import json
import os
import shutil
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image
from pixels import ramp, read_all, write_png

from napari_spss.core.base import InputError
from napari_spss.core.images import open_stack

GREY = {"photometric": "minisblack"}
DATA = np.random.default_rng(0).integers(0, 255, (3, 32, 40), np.uint8)
FEI = b"[User]\r\nUser=x\r\n[Scan]\r\nPixelWidth=4e-009\r\nPixelHeight=5e-009\r\n\x00"
ZEISS = b"0\r\n0\r\nAP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 4.6 nm\r\n\x00"


def write_pages(path: Path, **options: Any) -> None:
    with tifffile.TiffWriter(path) as writer:
        for page in DATA:
            writer.write(page, contiguous=False, metadata=None, **options)


def write_files(folder: Path) -> None:
    """One small file of each kind that is read."""
    tifffile.imwrite(folder / "plain.tif", DATA, **GREY)
    tifffile.imwrite(folder / "tiled.tif", DATA, tile=(16, 16), compression="zlib", **GREY)
    tifffile.imwrite(
        folder / "ome.tif", DATA, ome=True, metadata={"axes": "ZYX", "PhysicalSizeX": 1.0}
    )
    imagej = {"axes": "ZYX", "unit": "um", "spacing": 2.0}
    tifffile.imwrite(folder / "imagej.tif", DATA, imagej=True, metadata=imagej)
    tifffile.imwrite(folder / "big.tif", DATA, bigtiff=True, compression="lzw", **GREY)
    tifffile.imwrite(folder / "bool.tif", DATA > 99, **GREY)
    tifffile.imwrite(
        folder / "jpeg.tif", DATA[..., :39].reshape(3, 32, 13, 3), photometric="rgb",
        compression="jpeg",
    )  # fmt: skip
    tifffile.imwrite(
        folder / "palette.tif", DATA[0], photometric="palette",
        colormap=np.zeros((3, 256), np.uint16),
    )  # fmt: skip
    write_pages(folder / "pages.tif")
    write_pages(folder / "predicted.tif", compression="zlib", predictor=True)
    for name, code, text in (("fei.tif", 34682, FEI), ("zeiss.tif", 34118, ZEISS)):
        tags = [(code, 2, len(text), text, True)]
        tifffile.imwrite(folder / name, DATA[0], metadata=None, extratags=tags)
    for z, page in enumerate(DATA):
        tifffile.imwrite(folder / "appended.tif", page, append=z > 0)
    write_png(folder / "a.png", DATA[0], dpi=(300, 300))
    write_png(folder / "a.jpg", DATA[0])
    Image.fromarray(DATA[0]).convert("P").save(folder / "palette.png")
    np.save(folder / "a.npy", DATA)
    np.save(folder / "fortran.npy", np.asfortranarray(DATA))
    with mrcfile.new(folder / "a.mrc") as mrc:
        mrc.set_data(DATA.astype(np.int16))


@pytest.fixture(scope="module")
def right_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("files")
    write_files(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def read_or_refuse(path: Path) -> None:
    """Read some pixels; an InputError that names the file is the only one that may come."""
    told = ""
    try:
        for palette in ("display", "rgb"):
            with open_stack(path, palette=palette) as stack:
                stack.read(0, (0, 0, 1, 1))
                last = stack.read(stack.n_slices - 1, (0, 0, 1, 1))
                assert last.shape == (stack.n_channels, 1, 1)
                stack.identity()
    except InputError as error:
        told = str(error)
    assert not told or path.name in told


# ---- any bytes


@pytest.mark.filterwarnings("ignore")  # the libraries' own, on the way to an error
@settings(
    deadline=None, max_examples=400, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(data=st.data())
def test_wrong_bytes_are_read_or_refused(
    tmp_path: Path, right_files: dict[str, bytes], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(right_files)))
    content = bytearray(right_files[name])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, min(len(content), 1200) - 4))
        width = data.draw(st.sampled_from([1, 2, 4]))
        value = data.draw(st.sampled_from([0, 1, 2, 5, 7, 9, 128, 255, 65535, 2**31, 2**32 - 1]))
        order = data.draw(st.sampled_from(["little", "big"]))
        content[place : place + width] = (value % 256**width).to_bytes(width, order)
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(1, len(content)))]
    path = tmp_path / f"wrong{Path(name).suffix}"
    path.write_bytes(content)
    read_or_refuse(path)


@pytest.mark.filterwarnings("ignore")
@settings(
    deadline=None, max_examples=300, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(data=st.data())
def test_wrong_fields_of_a_tiff_are_read_or_refused(
    tmp_path: Path, right_files: dict[str, bytes], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(n for n in right_files if n.endswith("tif"))))
    path = tmp_path / "wrong.tif"
    path.write_bytes(right_files[name])
    with tifffile.TiffFile(path) as tif:
        tags = [tag.offset for tag in tif.pages.first.tags]
    content = bytearray(right_files[name])
    for _ in range(data.draw(st.integers(1, 2))):
        start, width = data.draw(st.sampled_from([(0, 2), (2, 2), (4, 4), (8, 4), (8, 2)]))
        value = data.draw(st.sampled_from([0, 1, 2, 3, 4, 5, 7, 12, 16, 65535, 2**31, 2**32 - 1]))
        place = data.draw(st.sampled_from(tags)) + start
        content[place : place + width] = (value % 256**width).to_bytes(width, "little")
    path.write_bytes(content)
    read_or_refuse(path)


JSON = st.sampled_from(
    [None, True, 0, -1, 5, 10**30, "", "x", "..", "0/0", [], [1], {}, 2**31, "<u1", "|O"]
)


@pytest.fixture(scope="module")
def right_zarrs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folders = []
    for version in (2, 3):
        folder = tmp_path_factory.mktemp(f"version{version}")
        group = zarr.open_group(str(folder), mode="w", zarr_format=version)
        group.create_array("0", shape=DATA.shape, dtype="u1", chunks=(1, 16, 16))[:] = DATA
        group.attrs["multiscales"] = [{
            "axes": [{"name": n, "unit": "nanometer"} for n in "zyx"],
            "datasets": [{"path": "0", "coordinateTransformations": [
                {"type": "scale", "scale": [5, 5, 5]}]}],
        }]  # fmt: skip
        folders.append(folder)
    return folders


@pytest.mark.filterwarnings("ignore")
@settings(
    deadline=None, max_examples=100, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(which=st.integers(0, 1), data=st.data())
def test_wrong_metadata_of_a_zarr_are_read_or_refused(
    tmp_path: Path, right_zarrs: list[Path], which: int, data: st.DataObject
) -> None:
    path = tmp_path / "wrong.zarr"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(right_zarrs[which], path)
    contents = {file: json.loads(file.read_text()) for file in sorted(path.rglob("*"))
                if file.suffix == ".json" or file.name.startswith(".z")}  # fmt: skip
    places = [(file, way) for file, content in contents.items() for way in places_in(content)]
    file, (*way, last) = data.draw(st.sampled_from(places))
    inner: Any = contents[file]
    for key in way:
        inner = inner[key]
    inner[last] = data.draw(JSON)
    file.write_text(json.dumps(contents[file]))
    read_or_refuse(path)


def places_in(content: Any, way: tuple[Any, ...] = ()) -> Any:
    """Ways to all parts of a JSON document."""
    parts = content.items() if isinstance(content, dict) else enumerate(content)
    for key, part in parts:
        yield (*way, key)
        if isinstance(part, dict | list):
            yield from places_in(part, (*way, key))


# ---- files that change while they are open


@pytest.mark.parametrize(
    "name",
    ["plain.tif", "pages.tif", "tiled.tif", "big.tif", "a.npy", "fortran.npy", "a.mrc", "a.png"],
)
@pytest.mark.parametrize("share", [0.0, 0.7])
def test_a_file_cut_short_while_it_is_open_is_an_error(
    tmp_path: Path, right_files: dict[str, bytes], name: str, share: float
) -> None:
    path = tmp_path / name
    path.write_bytes(right_files[name])
    stack = open_stack(path)
    with path.open("r+b") as file:  # a memory map of it would end in a bus error
        file.truncate(int(len(right_files[name]) * share))
    with pytest.raises(InputError, match=f"{name}.* has changed since it was opened"):
        stack.read(stack.n_slices - 1)


@pytest.mark.parametrize("name", ["plain.tif", "pages.tif", "a.npy", "a.mrc", "a.png"])
def test_a_file_written_anew_while_it_is_open_is_an_error(
    tmp_path: Path, right_files: dict[str, bytes], name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(right_files[name])
    stack = open_stack(path)
    stack.read(0, (0, 0, 1, 1))
    stack.close()
    path.write_bytes(right_files[name])
    later = path.stat().st_mtime_ns + 10**9  # some file systems count time in steps
    os.utime(path, ns=(later, later))
    with pytest.raises(InputError, match="open it again"):
        stack.read(0)


@pytest.mark.parametrize("name", ["plain.tif", "pages.tif", "a.npy", "a.mrc"])
def test_a_file_cut_short_before_is_refused_when_it_is_opened(
    tmp_path: Path, right_files: dict[str, bytes], name: str
) -> None:
    (tmp_path / name).write_bytes(right_files[name][:-100])
    with pytest.raises(InputError, match=name):
        open_stack(tmp_path / name)


def test_pages_whose_last_one_leads_back_to_an_earlier_one_are_refused(tmp_path: Path) -> None:
    write_pages(path := tmp_path / "round.tif")
    with tifffile.TiffFile(path) as tif:
        second, end = tif.pages[1].offset, [len(tif.pages), tif.pages.next_page_offset][1]
    data = bytearray(path.read_bytes())
    data[end : end + 4] = struct.pack("<I", second)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"round\.tif is incomplete"):
        open_stack(path)


def test_an_imagej_stack_of_one_page_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.tif"  # ImageJ writes a single page for stacks above 4 GB
    text = "ImageJ=1.54f\nimages=5\nslices=5\nunit=um\n"
    data = ramp(5, 8, 9, dtype=np.uint8)
    tifffile.imwrite(path, data[0], description=text, metadata=None)
    path.write_bytes(path.read_bytes() + data[1:].tobytes())
    assert [int(pixels[0, 0, 0]) for pixels in read_all(path)] == data[:, 0, 0].tolist()
    path.write_bytes(path.read_bytes()[:-72])
    with pytest.raises(InputError, match=r"large\.tif is incomplete: it states 5 images"):
        open_stack(path)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_fewer_pages_than_imagej_states_are_refused(
    tmp_path: Path, compression: str | None
) -> None:
    path = tmp_path / "lost.tif"
    text = "ImageJ=1.54f\nimages=5\nslices=5\nunit=um\n"
    with tifffile.TiffWriter(path) as writer:
        for page in ramp(3, 8, 9, dtype=np.uint8):
            writer.write(
                page, description=text, metadata=None, contiguous=False, compression=compression
            )
            text = ""
    with pytest.raises(InputError, match=r"lost\.tif is incomplete: .* 5 images .*, but holds 3"):
        open_stack(path)


# ---- metadata of wrong types


@pytest.mark.parametrize(
    "tags",
    [
        [(296, "s", 0, "inches", True)],
        [(296, "H", 2, (2, 3), True)],
        [(282, "s", 0, "300 dpi", True), (283, "H", 1, 300, True)],
        [(282, "d", 2, (float("nan"), 1.0), True), (283, "d", 2, (1.0, 0.0), True)],
        [(34682, 2, 9, b"nonsense\0", True)],
        [(34682, "H", 3, (1, 2, 3), True)],
        [(34118, 2, 9, b"nonsense\0", True)],
        [(34118, "d", 2, (0.5, 1e300), True)],
        [(270, "s", 0, "ImageJ=1.54f\nunit=5\nspacing=x\nimages=-3\nslices=1e9\n", True)],
        [(270, "s", 0, "ImageJ=1.54f\nyunit=7\nzunit=8\nimages=x\nchannels=\n", True)],
        [(270, "H", 3, (1, 2, 3), True)],
        [(270, "s", 0, '{"shape": [1e99, "x", null]}', True)],
        [(270, "s", 0, '{"shape": "x", "axes": 5}', True)],
        [(320, "s", 0, "red green blue", True)],
        [(338, "s", 0, "alpha", True)],
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_tags_of_wrong_types_leave_the_pixels_as_they_are(tmp_path: Path, tags: Any) -> None:
    path = tmp_path / "tags.tif"
    tifffile.imwrite(path, DATA[0], metadata=None, resolutionunit=None, extratags=tags)
    with open_stack(path) as stack:
        np.testing.assert_array_equal(stack.read(0)[0], DATA[0])
        assert stack.pixel_size_um(0) is None


@pytest.mark.parametrize(
    "text", ['{"shape": "x", "axes": 5}', "ImageJ=1.54f\nimages=x\nslices=q\n"]
)
def test_pages_are_read_with_a_note_where_metadata_are_nonsense(tmp_path: Path, text: str) -> None:
    path = tmp_path / "odd.tif"
    with tifffile.TiffWriter(path) as writer:
        for page in DATA:
            writer.write(page, description=text, metadata=None, contiguous=False)
    stack = open_stack(path)
    assert stack.n_slices == 3
    assert "odd.tif has metadata that cannot be read" in stack.notes[0]
    np.testing.assert_array_equal(stack.read(2)[0], DATA[2])


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (b'DimensionOrder="XYCZT"', b'DimensionOrder="WRONG"'),
        (b'SizeX="40"', b'SizeX="xx"'),
        (b'SizeZ="3"', b'SizeZ="-"'),
        (b'SizeC="1"', b'SizeC="0"'),
        (b'SizeT="1"', b'SizeT=" "'),
        (b'SamplesPerPixel="1"', b'SamplesPerPixel="q"'),
        (b'IFD="0"', b'IFD="z"'),
        (b'PlaneCount="3"', b'PlaneCount="-"'),
        (b"<Pixels", b"<Pixxls"),
        (b"</OME>", b"</OMG>"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_broken_ome_xml_is_no_traceback(
    tmp_path: Path, right_files: dict[str, bytes], right: bytes, wrong: bytes
) -> None:
    content = right_files["ome.tif"]
    assert right in content
    path = tmp_path / "wrong.ome.tif"
    path.write_bytes(content.replace(right, wrong))
    read_or_refuse(path)


# ---- sizes that no file has


def header_of_a_png(width: int, height: int) -> bytes:
    body = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + body + bytes(4)


def write_hostile(folder: Path, kind: str) -> Path:
    """A small file whose header states a size that no memory holds."""
    path = folder / f"hostile.{kind.rpartition('.')[2]}"
    if kind == "a.npy":
        np.save(path, DATA)
        path.write_bytes(path.read_bytes().replace(b"(3, 32, 40)", b"(9" + b"0" * 6 + b", 9, 9)"))
    elif kind == "a.mrc":
        with mrcfile.new(path) as mrc:
            mrc.set_data(DATA.astype(np.int16))
        path.write_bytes(struct.pack("<III", *[2**31 - 1] * 3) + path.read_bytes()[12:])
    elif kind == "a.png":
        write_png(path, DATA[0])
        path.write_bytes(header_of_a_png(10**9, 10**9)[:29] + path.read_bytes()[29:])
    elif kind == "ome.tif":
        tifffile.imwrite(path, DATA, ome=True, metadata={"axes": "ZYX"})
        with tifffile.TiffFile(path) as tif:
            text = str(tif.ome_metadata).replace('SizeZ="3"', 'SizeZ="9999999999"')
        tifffile.imwrite(path, DATA, description=text, metadata=None, **GREY)
    elif kind == "imagej.tif":
        text = "ImageJ=1.54f\nimages=999999999\nslices=999999999\n"
        tifffile.imwrite(path, DATA[0], description=text, metadata=None)
    elif kind == "shaped.tif":
        text = '{"shape": [999999999, 32, 40]}'
        tifffile.imwrite(path, DATA[0], description=text, metadata=None)
    else:
        layout = {"strips.tif": {"rowsperstrip": 1}, "tiles.tif": {"tile": (16, 16)}}
        options = layout.get(kind, {})
        compression = None if kind == "raw.tif" else "zlib"
        tifffile.imwrite(path, DATA[0], metadata=None, compression=compression, **options)
        with tifffile.TiffFile(path, mode="r+b") as tif:
            for code in (256, 257):
                tag = tif.pages.first.tags[code]
                tag.overwrite(10**6, dtype="I")
            if kind == "strip.tif":
                tif.pages.first.tags[278].overwrite(10**6, dtype="I")
    return path


@pytest.mark.parametrize(
    "kind",
    [
        "a.npy", "a.mrc", "a.png", "ome.tif", "imagej.tif", "shaped.tif", "raw.tif", "strip.tif",
        "strips.tif", "tiles.tif",
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_sizes_that_no_memory_holds_are_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = write_hostile(tmp_path, kind)
    began = time.process_time()
    with pytest.raises(InputError, match=path.name):
        open_stack(path).read(0)
    assert time.process_time() - began < 5


def test_a_negative_height_is_refused_when_the_file_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "negative.tif"
    tifffile.imwrite(path, DATA[0], metadata=None)
    with tifffile.TiffFile(path) as tif:
        place = tif.pages.first.tags["ImageLength"].offset
    content = bytearray(path.read_bytes())
    content[place + 2 : place + 12] = struct.pack("<HIi", 9, 1, -5)  # a signed number
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"negative\.tif"):
        open_stack(path)


# ---- faults of our own


@pytest.mark.parametrize("name", ["plain.tif", "ome.tif", "tiled.tif", "a.npy", "a.mrc", "a.png"])
@pytest.mark.parametrize(
    "place", ["stack.resolve_axes", "stack.merge_voxel_size", "tiff.length_um", "mrc.length_um"]
)
def test_a_bug_of_our_own_is_not_blamed_on_the_file(
    tmp_path: Path,
    right_files: dict[str, bytes],
    name: str,
    place: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / name
    path.write_bytes(right_files[name])
    called: list[bool] = []

    def bug(*_: Any, **__: Any) -> None:
        called.append(True)
        raise AttributeError("a bug of our own")

    monkeypatch.setattr(f"napari_spss.core.images.{place}", bug)
    with suppress(AttributeError):
        open_stack(path).read(0)
        assert not called


def test_what_tifffile_finds_wrong_is_a_note_and_goes_nowhere_else(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tifffile.imwrite(path := tmp_path / "odd.tif", DATA, **GREY)
    with tifffile.TiffFile(path) as tif:
        tag = tif.pages.first.tags["Software"].offset
    data = bytearray(path.read_bytes())
    data[tag + 2] = 255  # of no known type
    path.write_bytes(data)
    (note,) = open_stack(path).notes
    assert "odd.tif is unusual or damaged" in note
    assert "305" in note  # the tag's number
    assert capfd.readouterr().err == ""
    path.write_bytes(data[:-600])
    with pytest.raises(InputError, match="incomplete"):
        open_stack(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("shape", [(4, 20, 30), (4, 10, 30)])
def test_an_array_made_anew_while_it_is_open_is_an_error(
    tmp_path: Path, version: Any, shape: tuple[int, ...]
) -> None:
    path = tmp_path / "image.zarr"
    zarr.create_array(path, data=ramp(4, 20, 30), chunks=(1, 10, 10), zarr_format=version)
    stack = open_stack(path)
    stack.read(0)
    other = ramp(*shape)[::-1].copy()
    zarr.create_array(path, data=other, chunks=(1, 10, 10), zarr_format=version, overwrite=True)
    with pytest.raises(InputError, match=r"image.zarr.* has changed since it was opened"):
        stack.read(3)
    np.testing.assert_array_equal(open_stack(path).read(3)[0], other[3])


def test_an_array_that_only_its_group_describes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "group.zarr"
    group = zarr.create_group(path, zarr_format=2)
    group.create_array("only", data=ramp(4, 20, 30), chunks=(1, 10, 10))
    zarr.consolidate_metadata(path, zarr_format=2)
    (path / "only" / ".zarray").unlink()
    np.testing.assert_array_equal(open_stack(path).read(3)[0], ramp(4, 20, 30)[3])
