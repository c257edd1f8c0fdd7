"""The registry of readers: formats from outside, and what is told where none fits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pixels import ramp, write_png

import napari_spss
from napari_spss import ImageData, Reader, open_stack
from napari_spss.core.base import InputError
from napari_spss.core.images import known_readers, reading_notes


def read_raw(path: Path, palette: str) -> ImageData:
    """A format from outside of the package: 8-bit slices of 4 x 5 pixels of 10 nm."""
    pixels = np.fromfile(path, np.uint8)
    if pixels.size % 20:
        raise InputError(f"{path} is cut short; copy it again.")
    notes = (f"{path.name} was read.",)
    return ImageData(pixels.reshape(-1, 4, 5), "ZYX", (0.05, 0.01, 0.01), notes=notes)


def read_store(path: Path, palette: str) -> ImageData:
    return read_raw(path / "pixels", palette)


@pytest.fixture(autouse=True)
def _formats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_spss.core.images.readers._readers", [*known_readers()])
    napari_spss.register_reader(Reader("raw", read_raw, (".raw45",), is_slice=True))
    napari_spss.register_reader(
        Reader("store", read_store, is_store=lambda path: (path / "pixels").is_file())
    )


def test_a_file_of_a_format_from_outside_opens_as_any_other(tmp_path: Path) -> None:
    data = ramp(3, 4, 5, dtype=np.uint8)
    data.tofile(tmp_path / "a.RAW45")
    stack = open_stack(tmp_path / "a.RAW45")
    assert (stack.n_slices, stack.shape_of(2), stack.dtype) == (3, (4, 5), np.uint8)
    assert stack.voxel_size_um == (0.05, 0.01, 0.01)
    assert stack.notes == ("a.RAW45 was read.",)
    np.testing.assert_array_equal(stack.read(2, (1, 2, 3, 4))[0], data[2, 1:3, 2:4])
    stated = open_stack(tmp_path / "a.RAW45", axes="XYZ", voxel_size_um=(1, None, None))
    assert (stated.n_slices, stated.shape_of(0)) == (5, (4, 3))
    assert stated.voxel_size_um == (1, 0.01, 0.01)


_PACKAGE = """
import numpy as np
from napari_spss import ImageData, Reader
def read(path, palette):
    return ImageData(np.fromfile(path, "u1").reshape(-1, 4, 5), "ZYX")
mine = Reader("mine", read, (".mine",))
ours = Reader("ours", read, (".npy",))
"""


def test_what_an_installed_package_reads_opens_after_our_own(install, tmp_path: Path) -> None:
    install(
        "spss_mine", _PACKAGE, "napari_spss.readers", "mine=spss_mine:mine\nours=spss_mine:ours"
    )
    data = ramp(3, 4, 5, dtype=np.uint8)
    data.tofile(tmp_path / "a.mine")
    assert open_stack(tmp_path / "a.mine").n_slices == 3
    np.save(tmp_path / "a.npy", data[:2])
    assert open_stack(tmp_path / "a.npy").n_slices == 2


def test_a_reader_that_cannot_be_loaded_is_named_where_it_is_missed(
    install, tmp_path: Path
) -> None:
    install(
        "spss_lame", "raise OSError('no library')", "napari_spss.readers", "lame=spss_lame:lame"
    )
    np.save(tmp_path / "a.npy", ramp(2, 4, 5, dtype=np.uint8))
    assert open_stack(tmp_path / "a.npy").n_slices == 2
    (tmp_path / "a.lame").write_bytes(b"1")
    with pytest.raises(InputError, match=r"reader 'lame' of the package spss_lame .* \(no library"):
        open_stack(tmp_path / "a.lame")


def test_a_folder_store_of_a_format_from_outside_opens(tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    ramp(3, 4, 5, dtype=np.uint8).tofile(tmp_path / "image" / "pixels")
    assert open_stack(tmp_path / "image").n_slices == 3


def test_slices_of_a_format_from_outside_stand_in_a_folder_with_others(tmp_path: Path) -> None:
    ramp(1, 4, 5, dtype=np.uint8).tofile(tmp_path / "2.raw45")
    write_png(tmp_path / "1.png", np.zeros((4, 5), np.uint8))
    stack = open_stack(tmp_path)
    assert (stack.names, stack.is_set) == (("1.png", "2.raw45"), False)
    assert int(stack.read(1).max()) == 19


def test_a_folder_tells_what_may_be_a_slice_and_what_is_one_twice(tmp_path: Path) -> None:
    for name in ("z_1.png", "z_2.png"):
        write_png(tmp_path / name, ramp(4, 5, dtype=np.uint8))
    for name in ("z_2.json", "notes.txt", ".z_9.bmp"):
        (tmp_path / name).touch()
    assert open_stack(tmp_path).notes == ()
    for name in ("z_3.bmp", "z_10.bmp"):
        (tmp_path / name).touch()
    write_png(tmp_path / "z_2.PNG", ramp(4, 5, dtype=np.uint8))
    unread, twice = open_stack(tmp_path).notes
    assert unread.startswith("z_3.bmp in ")
    assert "not read as a slice (and 1 more like it)" in unread
    assert "has the name of another slice" in twice


def test_names_that_count_more_than_slices_are_told(tmp_path: Path) -> None:
    for name in ("z1_c1", "z1_c2", "z2_c1", "z2_c2"):
        write_png(tmp_path / f"{name}.png", ramp(4, 5, dtype=np.uint8))
    (note,) = open_stack(tmp_path).notes
    assert "(z1_c1.png, z1_c2.png, ...)" in note
    (tmp_path / "z2_c2.png").unlink()
    assert open_stack(tmp_path).notes == ()


def test_masks_of_a_format_from_outside_open(tmp_path: Path) -> None:
    (ramp(3, 4, 5, dtype=np.uint8) % 2).tofile(tmp_path / "mask.raw45")
    masks = napari_spss.open_masks(tmp_path / "mask.raw45")
    assert masks.read(0).sum() == 10
    assert reading_notes(masks) == ("mask.raw45 was read.",)


def test_what_a_reader_from_outside_refuses_is_told(tmp_path: Path) -> None:
    (tmp_path / "cut.raw45").write_bytes(b"x" * 21)
    with pytest.raises(InputError, match=r"cut\.raw45 is cut short"):
        open_stack(tmp_path / "cut.raw45")


def test_what_is_packed_is_to_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "a.ome.zarr.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"is packed \(\.zip\).*unpack it first"):
        open_stack(tmp_path / "a.ome.zarr.zip")


def test_a_kind_without_a_reader_is_told_all_that_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.czi").write_bytes(b"x")
    with pytest.raises(InputError, match=r"of a kind \(\.czi\) that cannot be read") as told:
        open_stack(tmp_path / "a.czi")
    for reader in known_readers():
        assert all(suffix in str(told.value) for suffix in reader.suffixes)


def test_no_two_readers_claim_one_suffix() -> None:
    suffixes = [suffix for reader in known_readers() for suffix in reader.suffixes]
    assert len(suffixes) == len(set(suffixes))


@pytest.mark.parametrize("address", ["https://host.org/image.zarr", "s3://bucket/image.zarr/0"])
def test_an_address_is_told_from_a_wrong_path(address: str) -> None:
    with pytest.raises(InputError, match=r"is an address, .* download it, or open it in napari"):
        open_stack(address)
