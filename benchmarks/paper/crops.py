"""Crops without overlap, as in the paper, and their division into training and test."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from images import Picture

from napari_spss.core.simulation.annotators import crops as whole_crops

TEST_SHARE = 0.2


@dataclass(frozen=True)
class Split:
    """Crops to train on and to score on."""

    train: tuple[Picture, ...]
    test: tuple[Picture, ...]

    @property
    def groups(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Tiles or sub-volumes of either part, in their order."""
        train, test = (
            tuple(dict.fromkeys(p.group for p in part)) for part in (self.train, self.test)
        )
        return train, test


def n_crops(shape: tuple[int, int], crop_px: int) -> int:
    """Number of whole crops in an image.

    Examples
    --------
    >>> 165 * n_crops((768, 1024), 256)
    1980
    """
    return (shape[0] // crop_px) * (shape[1] // crop_px)


def cut(pictures: Iterable[Picture], crop_px: int) -> list[Picture]:
    """Cut whole crops from pictures; what is left over at the far edges is not used."""
    found = []
    for picture in pictures:
        height, width = picture.truth.shape
        if min(height, width) < crop_px:
            continue
        for y0, x0, y1, x1 in whole_crops((height, width), crop_px):
            image, truth = picture.image[y0:y1, x0:x1], picture.truth[y0:y1, x0:x1]
            name = f"{picture.name} {y0} {x0}"
            found.append(Picture(name, picture.group, image.copy(), truth.copy()))
    return found


def split_random(crops: Sequence[Picture], *, seed: int = 0) -> Split:
    """Divide as the paper does: a random fifth is the test, whatever it neighbours."""
    n_test = round(len(crops) * TEST_SHARE)
    test = set(np.random.default_rng(seed).permutation(len(crops))[:n_test].tolist())
    return Split(
        tuple(crop for i, crop in enumerate(crops) if i not in test),
        tuple(crop for i, crop in enumerate(crops) if i in test),
    )


def split_honest(
    crops: Sequence[Picture], held_out: Collection[str], *, cap: int | None = None
) -> Split:
    """Hold whole groups out, and take no more than ``cap`` crops of any group.

    Raises
    ------
    ValueError
        If a part would be empty.
    """
    groups: dict[str, list[Picture]] = {}
    for crop in crops:
        groups.setdefault(crop.group, []).append(crop)
    chosen = {name: thinned(found, cap) for name, found in groups.items()}
    train = tuple(crop for name in chosen if name not in held_out for crop in chosen[name])
    test = tuple(crop for name in chosen if name in held_out for crop in chosen[name])
    if not train or not test:
        raise ValueError(f"holding {sorted(held_out)} out of {sorted(groups)} leaves a part empty.")
    return Split(train, test)


def thinned(crops: Sequence[Picture], cap: int | None) -> list[Picture]:
    """Take at most ``cap`` of the crops, evenly spread."""
    if cap is None or len(crops) <= cap:
        return list(crops)
    return [crops[int((i + 0.5) * len(crops) / cap)] for i in range(cap)]
