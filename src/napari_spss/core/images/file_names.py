"""Names of image files: what they say beside the kind of file, and which are masks of others."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Hashable, Sequence
from pathlib import Path

from ..base import InputError

_OF_MASKS = (
    r"masks?|label(?:s|ed|led)?|segs?|segment(?:ed|ations?)|gt|ground|(?:ground)?truth|"
    r"annot(?:ated|ations?)?|targets?|manual|pred(?:ictions?)?|results?|semantic|instances?|"
    r"binary"
)
_OF_IMAGES = r"images?|imgs?|im|raw|em|input"
_KIND = re.compile(f"{_OF_MASKS}|cp|{_OF_IMAGES}")  # cp beside masks, as Cellpose names them
_MASK = re.compile(_OF_MASKS)
_ENTITY = re.compile(f"_(?:{_OF_MASKS})-[^_]*")  # of BIDS: _seg-axonmyelin-manual
_PART = re.compile(r"\d+|[^\W\d_]+")


def name_stem(name: str) -> str:
    """Name without its ending, in lower case."""
    return unicodedata.normalize("NFC", Path(name).stem.lower()).removesuffix(".ome")


def name_words(name: str) -> Hashable:
    """Words and numbers of a name but for those that only say what kind of file it is."""
    parts = _PART.findall(_ENTITY.sub("", name_stem(name)))
    return tuple(int(p) if p.isdecimal() else p for p in parts if not _KIND.fullmatch(p))


def find_mask(names: Sequence[str]) -> tuple[str, str] | None:
    """Find an image and what is a mask of it by its name; None if there is none.

    Examples
    --------
    >>> find_mask(["img_1.png", "img_1_cp_masks.png", "img_2.png"])
    ('img_1.png', 'img_1_cp_masks.png')
    """
    images: dict[Hashable, str] = {}
    masks: dict[Hashable, str] = {}
    for name in names:
        is_mask = any(map(_MASK.fullmatch, _PART.findall(name_stem(name))))
        (masks if is_mask else images).setdefault(name_words(name), name)
    return next(((name, masks[key]) for key, name in images.items() if key in masks), None)


def check_no_masks(folder: Path, names: Sequence[str], or_else: str = "") -> None:
    """Refuse a folder of images that holds masks of them as well."""
    if both := find_mask(names):
        raise InputError(
            f"folder {folder} holds images and masks of them, by their names ({both[0]} and "
            f"{both[1]}); put the masks into a folder of their own{or_else}."
        )


def count_several_things(names: Sequence[str]) -> bool:
    """Whether numbers in names count more than one thing, and each with each: slices and channels.

    Examples
    --------
    >>> count_several_things(["z1_c0", "z1_c1", "z2_c0", "z2_c1"])
    True
    >>> count_several_things(["z1_at_930", "z2_at_935", "z3_at_941", "z4_at_946"])
    False
    """
    numbers = [tuple(re.findall(r"\d+", name_stem(name))) for name in names]
    if len({len(one) for one in numbers}) > 1:
        return False
    counted = {column for column in zip(*numbers, strict=True) if len(set(column)) > 1}
    extents = [len(set(column)) for column in counted]
    return len(extents) > 1 and math.prod(extents) == len(set(zip(*counted, strict=True)))
