"""Which mask belongs to which image where both are files of a folder: by their names."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..annotations import ClassSpec
from ..base import InputError
from .file_names import name_stem, name_words
from .labels import IGNORE, LabelSource
from .masks import Masks
from .stack import Box, Stack

_N_SHOWN = 5

_Key: TypeAlias = Callable[[str], Hashable]


@dataclass(frozen=True)
class Pairing:
    """Which slice of masks, or None, belongs to each slice of images.

    ``notes`` name what has no partner, and say where names do not agree as they are.
    """

    partners: tuple[int | None, ...]
    notes: tuple[str, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether everything has its partner at its own place."""
        return not self.notes and self.partners == tuple(range(len(self.partners)))


@dataclass(frozen=True)
class PairedMasks:
    """Masks in the order of the images that they belong to; without one, nothing is labelled."""

    masks: Masks  # in any order
    partners: tuple[int | None, ...]  # per image its mask
    shapes: tuple[tuple[int, int], ...]  # (Y, X) of the images in pixels
    notes: tuple[str, ...]  # how the masks were read, and what has no partner

    @property
    def classes(self) -> ClassSpec:
        """Names and values of the classes."""
        return self.masks.classes

    @property
    def n_masks(self) -> int:
        """Number of images that have a mask."""
        return sum(partner is not None for partner in self.partners)

    @property
    def n_slices(self) -> int:
        """Number of images."""
        return len(self.partners)

    def shape_of(self, z: int) -> tuple[int, int]:
        """(Y, X) of image ``z`` in pixels."""
        return self.shapes[z]

    def read(self, z: int, box: Box | None = None) -> npt.NDArray[np.uint8]:
        """Class indices (Y, X) of the mask of image ``z``, or of a half-open box; 255 = ignore."""
        partner = self.partners[z]
        if partner is not None:
            return self.masks.read(partner, box)
        y0, x0, y1, x1 = box or (0, 0, *self.shapes[z])
        return np.full((y1 - y0, x1 - x0), IGNORE, np.uint8)


def pair_masks(masks: Masks, stack: Stack) -> Masks | PairedMasks:
    """Give masks the order of a stack's images: by name where both are files of a folder.

    Raises
    ------
    InputError
        If names are ambiguous or agree nowhere, or numbers or sizes do not fit.
    """
    pairing = pair_by_name(stack, masks)
    if pairing is None and masks.n_slices != stack.n_slices:
        raise InputError(
            f"{masks.source} holds {masks.n_slices} masks for the {stack.n_slices} slices of "
            f"{stack.source}; give one for each (filled with {IGNORE} where nothing is known)."
            f"{hint_to_turn(masks, stack)}"
        )
    pairing = pairing or Pairing(tuple(range(stack.n_slices)))
    shapes = tuple(stack.shape_of(z) for z in range(stack.n_slices))
    for z, partner in enumerate(pairing.partners):
        if partner is not None and masks.shape_of(partner) != shapes[z]:
            sizes = [" x ".join(map(str, shape)) for shape in (masks.shape_of(partner), shapes[z])]
            raise InputError(
                f"mask {masks.names[partner]} of {masks.source} is {sizes[0]} pixels (height x "
                f"width), the slice {stack.names[z]} {sizes[1]}; give masks of the same size as "
                "the image."
            )
    if pairing.is_plain:
        return masks
    notes = (*masks.notes, *pairing.notes)
    return PairedMasks(masks, pairing.partners, shapes, notes)


def hint_to_turn(labels: LabelSource, stack: Stack | LabelSource) -> str:
    """Say how labels (Y, X, Z) are made to fit a stack; nothing if that is not it."""
    if not labels.n_slices or not stack.n_slices:
        return ""
    height, width = stack.shape_of(0)
    if labels.n_slices != height or labels.shape_of(0) != (width, stack.n_slices):
        return ""
    return (
        " Their last axis seems to be that of the slices: save them as (Z, Y, X), by "
        "numpy.moveaxis(labels, -1, 0)."
    )


def pair_by_name(images: Any, masks: Any) -> Pairing | None:
    """Pair what has file names: ``names`` and a ``source``; None unless both have.

    Names are the same but for the ending, or for words such as "image", "mask" and "seg", however
    numbers are padded; where none agree so, the numbers in them count.

    Raises
    ------
    InputError
        If two names of one side fit one of the other, or none agree.
    """
    names = [_file_names(images), _file_names(masks)]
    if not all(names):
        return None
    left = [dict(enumerate(one)) for one in names]
    pairs = _paired(left, name_stem, images, masks)
    pairs |= _paired(left, name_words, images, masks)
    notes = []
    if not pairs:
        pairs = _paired(left, _numbers, images, masks)
        if not pairs and len(left[0]) == len(left[1]) == 1:
            pairs = _paired(left, lambda _: None, images, masks)
        if not pairs:
            raise InputError(
                f"no file in {masks.source} ({_shown(names[1])}) has the name of one in "
                f"{images.source} ({_shown(names[0])}); name them alike, such as img_1.png and "
                "img_1_mask.png."
            )
        z, partner = next(iter(pairs.items()))
        notes.append(
            f"Names of files do not agree, so their numbers count: {names[0][z]} goes with "
            f"{names[1][partner]}."
        )
    for alone, one, other in ((left[0], images, masks), (left[1], masks, images)):
        if alone:
            alone_names = _shown(list(alone.values()))
            notes.append(f"Nothing in {other.source} goes with {alone_names} of {one.source}.")
    partners = tuple(pairs.get(z) for z in range(len(names[0])))
    return Pairing(partners, tuple(notes))


def _paired(left: list[dict[int, str]], key: _Key, images: Any, masks: Any) -> dict[int, int]:
    """Pair those with one key, and take them out of ``left``."""
    groups: list[dict[Hashable, list[int]]] = [{}, {}]
    for group, one in zip(groups, left, strict=True):
        for index, name in one.items():
            group.setdefault(key(name), []).append(index)
    pairs = {}
    for found in groups[0].keys() & groups[1].keys():
        here, there = groups[0][found], groups[1][found]
        if len(here) > 1 or len(there) > 1:
            raise InputError(
                f"{' and '.join(left[0][i] for i in here)} of {images.source} and "
                f"{' and '.join(left[1][i] for i in there)} of {masks.source} could belong "
                "together in more than one way; rename them, or move what does not belong there."
            )
        pairs[here[0]] = there[0]
    for z, partner in pairs.items():
        del left[0][z], left[1][partner]
    return dict(sorted(pairs.items()))


def _file_names(source: Any) -> tuple[str, ...]:
    """Names of files; nothing where slices have none of their own."""
    names = tuple(getattr(source, "names", ()))
    return () if names == tuple(map(str, range(len(names)))) else names


def _numbers(name: str) -> Hashable:
    return tuple(map(int, re.findall(r"\d+", name_stem(name)))) or name


def _shown(names: Sequence[str]) -> str:
    more = len(names) - _N_SHOWN
    return ", ".join(names[:_N_SHOWN]) + (f" and {more} more" if more > 0 else "")
