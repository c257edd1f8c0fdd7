"""The images of the study, and which of them train and which score."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import records

from napari_spss.core.annotations import parse_classes
from napari_spss.core.images import ImageData, Stack, open_masks, open_stack

Image: TypeAlias = npt.NDArray[Any]
Mask: TypeAlias = npt.NDArray[np.uint8]

PARTS = ("tune", "report")
DATA_SETS = ("vnc", "axon", "axonlarge", "sheets", "sheets2048")

VNC_CLASSES: tuple[str, ...] = ("background", "mitochondria")
AXON_CLASSES: tuple[str, ...] = ("background", "myelin", "axon")
VNC_DIAMETER_PX = 80.0
AXON_DIAMETER_PX = 40.0

_N_LARGEST = 2
_N_SHEETS = 4
_SHEET_REDUCTIONS = {"sheets": 4, "sheets2048": 2}

_VNC_SLICES = {"tune": (range(12), range(13, 16)), "report": (range(16), range(16, 20))}
_AXON_FOLDS = {"tune": ("rat2",), "report": ("rat4", "rat6")}


@dataclass(frozen=True)
class Pictures:
    """Images and their truth.

    Parameters
    ----------
    names : tuple of str
        One a picture.
    images : tuple of ndarray
        (Y, X) grey values.
    truth : tuple of ndarray of uint8
        (Y, X) class indices, 255 where there is none.
    """

    names: tuple[str, ...]
    images: tuple[Image, ...] = field(repr=False)
    truth: tuple[Mask, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.images)

    def stack(self) -> Stack:
        """Each a slice, of its own size."""
        axes = "YX" if self.images[0].ndim == 2 else "CYX"
        data = [ImageData(image) for image in self.images]
        return Stack(data, source="array", names=self.names, is_set=True, axes=axes)

    def chosen(self, indices: Iterable[int]) -> Pictures:
        """Some of them, in the order of ``indices``."""
        picked = list(indices)
        return Pictures(
            tuple(self.names[i] for i in picked),
            tuple(self.images[i] for i in picked),
            tuple(self.truth[i] for i in picked),
        )

    def mapped(self, change: Callable[[int, Image], Image]) -> Pictures:
        """With other grey values: ``change`` of the place in the order and the image."""
        images = tuple(change(place, image) for place, image in enumerate(self.images))
        return Pictures(self.names, images, self.truth)


@dataclass(frozen=True)
class Part:
    """What a run may learn from and what it is scored on.

    Parameters
    ----------
    data : str
        "vnc", or "axon-" and the rat that is left out, or "axonlarge-", of whose images the two
        largest train, or "sheets": the slices of "vnc", reduced by 4 and laid side by side, as
        fields that are large beside their objects; "sheets2048" by 2.
    part : {"tune", "report"}
        On which part choices are made, and on which the frozen choice is reported.
    classes : tuple of str
        Names, background first.
    diameter_px : float or None
        Width of the objects as a user states it.
    train, test : Pictures
        To learn from; to score on.
    """

    data: str
    part: str
    classes: tuple[str, ...]
    diameter_px: float | None
    train: Pictures
    test: Pictures

    @property
    def name(self) -> str:
        """Name in folders and files."""
        return f"{self.data}-{self.part}"

    @cached_property
    def hash(self) -> str:
        """Hash of all pixels and masks."""
        both = (self.train, self.test)
        return records.data_hash(
            pixels for one in both for pair in zip(one.images, one.truth, strict=True)
            for pixels in pair
        )  # fmt: skip


def folds_of(data_sets: Sequence[str], part: str) -> list[str]:
    """Expand "axon" and "axonlarge" to their folds of a part.

    Examples
    --------
    >>> folds_of(["vnc", "axon"], "report")
    ['vnc', 'axon-rat4', 'axon-rat6']
    """
    folds = []
    for name in data_sets:
        rats = _AXON_FOLDS[part] if name.startswith("axon") else ()
        folds += [f"{name}-{rat}" for rat in rats] or [name]
    return folds


def load_part(root: Path, data: str, part: str) -> Part:
    """Read one part of a data set.

    Parameters
    ----------
    root : Path
        Folder with ``vnc_sstem`` and ``axon_sem``.
    data : str
        "vnc", "axon-rat2", "sheets", ...
    part : {"tune", "report"}
        "tune" of axon leaves out the rats on which "report" scores.
    """
    has_axons = data.startswith("axon")
    pictures = read_axon(root) if has_axons else read_vnc(root)
    return _divided(pictures, data, part, AXON_DIAMETER_PX if has_axons else VNC_DIAMETER_PX)


def tiny_part(data: str, part: str) -> Part:
    """Draw a stand-in of a data set, divided alike: dark discs, with a rim in "axon"."""
    rng = np.random.default_rng(7)
    has_rims = data.startswith("axon")
    names = (
        tuple(f"sub-rat{rat}_{place}" for place, rat in enumerate((1, 2, 3, 3, 3, 4, 5, 6)))
        if has_rims
        else tuple(map(str, range(20)))
    )
    rows, columns = np.mgrid[:160, :160]
    images, masks = [], []
    for _ in names:
        mask = np.zeros((160, 160), np.uint8)
        for y, x in rng.uniform(20, 140, (4, 2)):
            distance = np.hypot(rows - y, columns - x)
            if has_rims:
                mask[distance < 14] = 1
            mask[distance < 10] = 2 if has_rims else 1
        images.append((200 - 60 * mask + rng.integers(0, 30, mask.shape)).astype(np.uint8))
        masks.append(mask)
    return _divided(Pictures(names, tuple(images), tuple(masks)), data, part, 40.0)


def _divided(pictures: Pictures, data: str, part: str, diameter_px: float) -> Part:
    has_axons = data.startswith("axon")
    if not has_axons:
        train, test = (list(slices) for slices in _VNC_SLICES[part])
    else:
        rat = data.partition("-")[2]
        unseen = (rat, *(_AXON_FOLDS["report"] if part == "tune" else ()))
        names = list(enumerate(pictures.names))
        test = [i for i, name in names if rat in name]
        train = [i for i, name in names if not any(one in name for one in unseen)]
        if data.startswith("axonlarge"):
            by_size = sorted(train, key=lambda i: -pictures.truth[i].size)
            train = sorted(by_size[:_N_LARGEST])
    if not (train and test):
        raise ValueError(f"{data} has nothing to train or to score on; choose another fold.")
    classes = AXON_CLASSES if has_axons else VNC_CLASSES
    if k := _SHEET_REDUCTIONS.get(data):
        return Part(
            data,
            part,
            classes,
            diameter_px / k,
            contact_sheets(pictures.chosen(train), _N_SHEETS, k),
            contact_sheets(pictures.chosen(test), 1, k),
        )
    return Part(data, part, classes, diameter_px, pictures.chosen(train), pictures.chosen(test))


def contact_sheets(pictures: Pictures, n_sheets: int, k: int = 4) -> Pictures:
    """Lay all images, reduced by k, side by side in one; each sheet in another order and phase.

    Of each block of pixels, a sheet shows the mean of the image, and the class of its truth that
    most of them have.
    """
    n = len(pictures)
    n_columns = next(c for c in range(1, n + 1) if n % c == 0 and c * c >= n)
    images, truth = [], []
    for sheet in range(n_sheets):
        phase = (sheet % 2 * (k // 2), sheet // 2 % 2 * (k // 2))
        order = np.roll(np.arange(n), sheet * n // n_sheets)
        tiles = [_blocks(pictures.images[i], k, phase).mean((1, 3)).round() for i in order]
        images.append(_joined(tiles, n_columns).astype(np.uint8))
        hits = [_blocks(pictures.truth[i] == 1, k, phase).mean((1, 3)) >= 0.5 for i in order]
        truth.append(_joined(hits, n_columns).astype(np.uint8))
    of_slices = f"{pictures.names[0]} to {pictures.names[-1]}"
    names = tuple(f"sheet {sheet} of {of_slices}" for sheet in range(n_sheets))
    return Pictures(names, tuple(images), tuple(truth))


def _blocks(pixels: Image, k: int, phase: tuple[int, int]) -> Image:
    """(y, k, x, k) blocks of k x k pixels from a phase on; what does not fill one is left out."""
    pixels = pixels[phase[0] :, phase[1] :]
    height, width = (size // k for size in pixels.shape)
    return pixels[: height * k, : width * k].reshape(height, k, width, k)


def _joined(tiles: list[Image], n_columns: int) -> Image:
    return np.block([tiles[i : i + n_columns] for i in range(0, len(tiles), n_columns)])


def read_vnc(root: Path) -> Pictures:
    """Read all slices of the nerve cord, in ``root / "vnc_sstem"``."""
    stack = open_stack(root / "vnc_sstem" / "raw")
    masks = open_masks(
        root / "vnc_sstem" / "mitochondria", classes=parse_classes(",".join(VNC_CLASSES))
    )
    return _pictures(stack, masks)


def read_axon(root: Path) -> Pictures:
    """Read all images of the spinal cord, in ``root / "axon_sem"``."""
    stack = open_stack(root / "axon_sem" / "images")
    spec = parse_classes("background=0,myelin=127,axon=255")
    return _pictures(stack, open_masks(root / "axon_sem" / "labels", classes=spec))


def _pictures(stack: Any, masks: Any) -> Pictures:
    if stack.n_slices != masks.n_slices:
        raise ValueError(f"{stack.n_slices} images and {masks.n_slices} masks do not pair.")
    slices = range(stack.n_slices)
    return Pictures(
        tuple(stack.names),
        tuple(stack.read(z)[0] for z in slices),
        tuple(masks.read(z) for z in slices),
    )
