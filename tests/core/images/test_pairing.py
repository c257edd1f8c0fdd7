"""Images and masks of two folders: together by name, whatever else lies there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_spss.core.annotations import parse_classes
from napari_spss.core.base import InputError
from napari_spss.core.images import (
    IGNORE,
    Pairing,
    Stack,
    list_images,
    open_masks,
    open_stack,
    pair_by_name,
    pair_masks,
)

MITO = parse_classes("mito")


def folder(path: Path, names: list[str], *, size: tuple[int, int] = (6, 4)) -> Path:
    """Write images whose upper left pixel is the last number in their name."""
    path.mkdir()
    for name in names:
        plane = np.zeros(size, np.uint8)
        plane[0, : int("".join(c for c in Path(name).stem if c.isdecimal())[-1:] or 0)] = 255
        Image.fromarray(plane).save(path / name)
    return path


def paired(tmp_path: Path, images: list[str], masks: list[str]) -> tuple[Pairing, Stack]:
    stack = open_stack(folder(tmp_path / "images", images))
    found = pair_by_name(stack, open_masks(folder(tmp_path / "masks", masks), classes=MITO))
    assert found is not None
    return found, stack


@pytest.mark.parametrize("mask", ["z_2_cp_masks.png", "z_02_label.png", "z_2_seg-axon-manual.png"])
def test_masks_among_the_images_are_refused(tmp_path: Path, mask: str) -> None:
    both = folder(tmp_path / "both", ["z_1.png", "z_2.png", mask])
    for opens in (open_stack, lambda path: list_images([path], each=True)):
        with pytest.raises(
            InputError, match=rf"z_2\.png and {mask}\); put the masks into a folder"
        ):
            opens(both)
    (both / mask).rename(tmp_path / mask)
    assert open_stack(both).n_slices == 2


def test_cp_alone_marks_no_masks(tmp_path: Path) -> None:
    assert open_stack(folder(tmp_path / "both", ["1.png", "cp_1.png"])).n_slices == 2


@pytest.mark.parametrize(
    ("images", "masks", "partners"),
    [
        (["1.png", "2.png", "3.png"], ["3.png", "1.png"], (0, None, 1)),
        (["a_1.png", "a_2.png"], ["A_1_mask.tif", "a_2_labels.tif"], (0, 1)),
        (["img_1.png", "img_10.png", "img_2.png"], ["mask_010.png", "mask_001.png"], (0, None, 1)),
        (["s-1_SEM.png", "s-2_SEM.png"], ["s-2_SEM_seg-axon-manual.png"], (None, 0)),
        (["7 raw.png", "8 raw.png"], ["8 Ground Truth.png", "7 Ground Truth.png"], (0, 1)),
        (["image.png", "image_2.png"], ["mask.png", "mask_2.png"], (0, 1)),
        (["a\u0308_1.png", "b_1.png"], ["b_1.png", "\u00e4_1.png"], (0, 1)),  # as macOS has accents
        # of two that would do, the name itself goes first
        (["x_1.png", "raw_x_1.png"], ["x_1.png", "x_1_seg.png"], (1, 0)),
    ],
)
def test_names_decide(
    tmp_path: Path, images: list[str], masks: list[str], partners: tuple[int | None, ...]
) -> None:
    pairing, _ = paired(tmp_path, images, masks)
    assert pairing.partners == partners


def test_numbers_decide_where_no_name_agrees_and_that_is_told(tmp_path: Path) -> None:
    pairing, _ = paired(tmp_path, ["z1.png", "z2.png", "z3.png"], ["cell02.png", "cell03.png"])
    assert pairing.partners == (None, 0, 1)
    assert "z2.png goes with cell02.png" in pairing.notes[0]


def test_the_only_two_files_go_together(tmp_path: Path) -> None:
    pairing, _ = paired(tmp_path, ["a.png"], ["b.png"])
    assert pairing.partners == (0,)
    assert "a.png goes with b.png" in pairing.notes[0]


def test_what_is_alone_is_named(tmp_path: Path) -> None:
    pairing, _ = paired(tmp_path, [f"{i}.png" for i in range(9)], ["3.png", "x.png"])
    assert [note.partition(" goes with ")[2] for note in pairing.notes] == [
        f"0.png, 1.png, 2.png, 4.png, 5.png and 3 more of {tmp_path / 'images'}.",
        f"x.png of {tmp_path / 'masks'}.",
    ]


@pytest.mark.parametrize(
    ("images", "masks", "named"),
    [
        (["a_1.png"], ["a_1_mask.png", "a_1_seg.png"], "a_1_mask.png and a_1_seg.png"),
        (["a_1.png", "a_01.png"], ["a_001.png"], "a_01.png and a_1.png|a_1.png and a_01.png"),
        (["a.png", "b.png"], ["c.png", "d.png"], "c.png, d.png"),
    ],
)
def test_what_is_not_clear_is_refused_by_name(
    tmp_path: Path, images: list[str], masks: list[str], named: str
) -> None:
    with pytest.raises(InputError, match=named):
        paired(tmp_path, images, masks)


def test_masks_come_in_the_order_of_the_images(tmp_path: Path) -> None:
    stack = open_stack(folder(tmp_path / "images", ["img_1.png", "img_2.png", "img_3.png"]))
    masks = open_masks(folder(tmp_path / "masks", ["img_1.png", "img_3.png", "img_4.png"]))
    found = pair_masks(masks, stack)
    assert found.n_slices == 3
    assert [int((found.read(z)[0] == 1).sum()) for z in (0, 2)] == [1, 3]
    assert (found.read(1) == IGNORE).all()
    assert found.read(1, (1, 1, 3, 4)).shape == (2, 3)
    assert "img_2.png" in found.notes[-2]
    assert "img_4.png" in found.notes[-1]


def test_masks_that_fit_stay_as_they_are(tmp_path: Path) -> None:
    stack = open_stack(folder(tmp_path / "images", ["1.png", "2.png"]))
    masks = open_masks(folder(tmp_path / "masks", ["1.png", "2.png"]))
    assert pair_masks(masks, stack) is masks
    pages = open_masks(np.zeros((2, 6, 4), np.uint8))
    assert pair_masks(pages, stack) is pages  # pages of one file have no names


def test_numbers_and_sizes_must_fit(tmp_path: Path) -> None:
    stack = open_stack(folder(tmp_path / "images", ["1.png", "2.png"]))
    with pytest.raises(InputError, match="3 masks for the 2 slices"):
        pair_masks(open_masks(np.zeros((3, 6, 4), np.uint8)), stack)
    with pytest.raises(InputError, match=r"Their last axis .* numpy\.moveaxis\(labels, -1, 0\)"):
        pair_masks(open_masks(np.zeros((6, 4, 2), np.uint8)), stack)
    wide = open_masks(folder(tmp_path / "masks", ["2.png"], size=(6, 9)))
    with pytest.raises(InputError, match=r"2\.png of .*6 x 9 .*2\.png 6 x 4"):
        pair_masks(wide, stack)
