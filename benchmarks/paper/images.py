"""The paper's two data sets in their original form, and a stand-in for one of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_spss.core.annotations import ClassSpec, parse_classes
from napari_spss.core.images import open_masks, open_stack

# classes.json of the data set lists other colours than its masks have; black is no class
_PALETTE = parse_classes(
    "background=(155;155;155),building=(60;16;152),land=(132;41;246),road=(110;193;228),"
    "vegetation=(254;221;58),water=(226;169;41)"
)
DUBAI_CLASSES = ("unlabeled", *_PALETTE.names[1:])
EM_CLASSES = ("background", "mitochondria")
_EM_SPEC = ClassSpec(EM_CLASSES)

VNC_HELD_OUT = 4  # of 20 slices: the last ones, 16-19


@dataclass(frozen=True)
class Picture:
    """An image, or a crop of one, with its truth.

    Parameters
    ----------
    name : str
        Which one.
    group : str
        Tile or sub-volume: what is held out as a whole.
    image : ndarray of uint8
        (Y, X), or (Y, X, 3) colours.
    truth : ndarray of uint8
        (Y, X) class indices, 255 where there is none.
    """

    name: str
    group: str
    image: npt.NDArray[np.uint8] = field(repr=False)
    truth: npt.NDArray[np.uint8] = field(repr=False)


def read_dubai(folder: Path) -> Iterator[Picture]:
    """Read the aerial images, tile by tile.

    Parameters
    ----------
    folder : Path
        With "Tile 1" (or "tile_1") and so on, each with ``images`` and ``masks``.

    Raises
    ------
    FileNotFoundError
        If there is no such tile.
    """
    tiles = {
        int(found[1]): path
        for path in folder.iterdir()
        if (found := re.fullmatch(r"tile[ _]?(\d+)", path.name, re.IGNORECASE))
    }
    if not tiles:
        raise FileNotFoundError(f"{folder} holds no folders named 'Tile 1' or 'tile_1'.")
    for number, path in sorted(tiles.items()):
        stack = open_stack(path / "images")
        masks = open_masks(path / "masks", classes=_PALETTE)
        _check_pairs([Path(one).stem for one in stack.names], [Path(n).stem for n in masks.names])
        for z, name in enumerate(stack.names):
            image = np.ascontiguousarray(stack.read(z).transpose(1, 2, 0))
            yield Picture(
                f"tile {number} {Path(name).stem}", f"tile {number}", image, masks.read(z)
            )


def find_epfl(data: Path) -> Path | None:
    """Folder with the EPFL volumes: ``data`` or one in it that holds ``training.tif``."""
    for folder in (data, *sorted(path for path in data.iterdir() if path.is_dir())):
        if (folder / "training.tif").is_file():
            return folder
    return None


def read_epfl(folder: Path) -> Iterator[Picture]:
    """Read the EPFL volumes: ``training.tif``, ``testing*.tif`` and their ``*_groundtruth.tif``.

    The paper's 1980 crops are those of one volume; groups are "training" and "testing".

    Raises
    ------
    FileNotFoundError
        If one of the files is missing.
    """
    for group in ("training", "testing"):
        files = sorted(folder.glob(f"{group}*.tif"))
        truth = [path for path in files if "groundtruth" in path.stem]
        volume = [path for path in files if "groundtruth" not in path.stem]
        if not volume or not truth:
            raise FileNotFoundError(
                f"{folder} holds no {group}*.tif with {group}_groundtruth*.tif beside it."
            )
        stack, masks = open_stack(volume[0]), open_masks(truth[0], classes=_EM_SPEC)
        _check_pairs([group] * stack.n_slices, [group] * masks.n_slices)
        for z in range(stack.n_slices):
            yield Picture(f"{group} {z:03}", group, stack.read(z)[0], masks.read(z))


def read_vnc(folder: Path) -> Iterator[Picture]:
    """Read the stand-in: 20 sections of a fly's nerve cord; the last four are a group."""
    stack = open_stack(folder / "raw")
    masks = open_masks(folder / "mitochondria", classes=_EM_SPEC)
    _check_pairs([Path(one).stem for one in stack.names], [Path(one).stem for one in masks.names])
    first = stack.n_slices - VNC_HELD_OUT
    names = (f"slices 0-{first - 1}", f"slices {first}-{stack.n_slices - 1}")
    for z in range(stack.n_slices):
        yield Picture(f"slice {z:02}", names[z >= first], stack.read(z)[0], masks.read(z))


def _check_pairs(images: list[str], masks: list[str]) -> None:
    if images != masks:
        raise ValueError(f"images and masks do not pair: {images} and {masks}.")
