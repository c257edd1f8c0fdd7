"""What is done to images: other grey values, a width wrongly stated, a class that is missing.

And, no hardship, the slices beside each one as its channels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from .images import Image, Part, Pictures

_DRIFT = 50.0  # grey values of 256, down to and up from the middle
_CONTRAST = (1.2, 0.6)  # of the first and the last slice

Corner: TypeAlias = tuple[int, int, int]


def made_hard(part: Part, hardship: str | None) -> Part:
    """Apply a hardship by its name; None leaves all as it is."""
    return part if hardship is None else HARDSHIPS[hardship](part)


def _inverted(part: Part) -> Part:
    def invert(_: int, image: Image) -> Image:
        inverted: Image = np.iinfo(image.dtype).max - image
        return inverted

    train, test = part.train.mapped(invert), part.test.mapped(invert)
    return dataclasses.replace(part, train=train, test=test)


def _drift(part: Part) -> Part:
    """From first training slice to last test slice, ever brighter and with less contrast."""
    places = np.linspace(0, 1, len(part.train) + len(part.test))

    def drifted(image: Image, place: float) -> Image:
        gain = _CONTRAST[0] + place * (_CONTRAST[1] - _CONTRAST[0])
        shift = _DRIFT * (2 * place - 1)
        mean = float(image.mean())
        moved = (image.astype(np.float32) - mean) * gain + mean + shift
        bounds = np.iinfo(image.dtype)
        result: Image = np.clip(np.rint(moved), bounds.min, bounds.max).astype(image.dtype)
        return result

    first = len(part.train)
    train = part.train.mapped(lambda z, image: drifted(image, places[z]))
    test = part.test.mapped(lambda z, image: drifted(image, places[first + z]))
    return dataclasses.replace(part, train=train, test=test)


def _misstated(factor: float) -> Callable[[Part], Part]:
    def change(part: Part) -> Part:
        if part.diameter_px is None:
            raise ValueError(f"no width is stated for {part.data}; choose another data set.")
        return dataclasses.replace(part, diameter_px=part.diameter_px * factor)

    return change


def _empty_stack(part: Part) -> Part:
    """Tiles without an object, one of every slice that has one."""
    edge = _edge(part)
    train, test = (_tiles(one, edge, _places(one, edge, False)) for one in (part.train, part.test))
    return dataclasses.replace(part, train=train, test=test)


def _one_slice(part: Part) -> Part:
    """Tiles without an object, and one full of them; to score on: the fullest of every slice."""
    edge = _edge(part)
    empty, full = _places(part.train, edge, False), _places(part.train, edge, True)
    middle = empty[len(empty) // 2][0] if empty else 0
    others = [place for place in empty if place[0] != middle]
    chosen = sorted([*others, *(place for place in full if place[0] == middle)])
    train = _tiles(part.train, edge, chosen)
    test = _tiles(part.test, edge, _places(part.test, edge, True))
    return dataclasses.replace(part, train=train, test=test)


def _neighbours(part: Part) -> Part:
    """(3, Y, X): the slice before, the slice, the one behind; at an end, itself again."""

    def beside(pictures: Pictures) -> Pictures:
        images = (pictures.images[0], *pictures.images, pictures.images[-1])
        return pictures.mapped(lambda z, _: np.stack(images[z : z + 3]))

    return dataclasses.replace(part, train=beside(part.train), test=beside(part.test))


HARDSHIPS: dict[str, Callable[[Part], Part]] = {
    "inverted": _inverted,
    "drift": _drift,
    "diameter-half": _misstated(0.5),
    "diameter-double": _misstated(2.0),
    "empty-stack": _empty_stack,
    "one-slice": _one_slice,
    "neighbours": _neighbours,
}


def _edge(part: Part) -> int:
    longest_px: int = max(max(mask.shape) for mask in part.train.truth)
    return longest_px // 4


def _places(pictures: Pictures, edge: int, is_full: bool) -> list[Corner]:
    """Of every slice the fullest tile, or the first empty one if there is one."""
    places = []
    for z, mask in enumerate(pictures.truth):
        height, width = mask.shape
        counts = {
            (z, y, x): int(np.count_nonzero(mask[y : y + edge, x : x + edge]))
            for y in range(0, height - edge + 1, edge // 2)
            for x in range(0, width - edge + 1, edge // 2)
        }
        if is_full:
            places.append(max(counts, key=counts.__getitem__))
        else:
            places += [place for place, count in counts.items() if count == 0][:1]
    return places


def _tiles(pictures: Pictures, edge: int, places: Sequence[Corner]) -> Pictures:
    if not places:
        raise ValueError("no slice has such a tile; choose another data set.")
    return Pictures(
        tuple(f"{pictures.names[z]} at {y}, {x}" for z, y, x in places),
        tuple(pictures.images[z][y : y + edge, x : x + edge] for z, y, x in places),
        tuple(pictures.truth[z][y : y + edge, x : x + edge] for z, y, x in places),
    )
