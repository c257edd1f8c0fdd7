"""Rows of a table of keypoints, as they stand in a Points layer, right or wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...core.annotations import match_class

if TYPE_CHECKING:
    from napari.layers import Points

__all__ = ["CLASS_FEATURE", "Row", "Strays", "as_class", "class_column", "make_rows"]

CLASS_FEATURE = "class"
"""Feature that holds the class of a point."""


@dataclass(frozen=True)
class Row:
    """A point as it stands in the layer, right or wrong.

    Parameters
    ----------
    z, y, x : float
        Position in pixels of the image.
    name : str
        Class as the layer has it.
    """

    z: float
    y: float
    x: float
    name: str


@dataclass(frozen=True)
class Strays:
    """Points that are kept but not used.

    Parameters
    ----------
    n_outside : int
        Points that lie on no pixel of the image.
    unknown : tuple of str
        Class names that are none of the classes, one per point.
    """

    n_outside: int = 0
    unknown: tuple[str, ...] = ()


def make_rows(positions: NDArray[np.float64], names: Iterable[str]) -> tuple[Row, ...]:
    """Make rows of (N, 3) positions and the classes' names."""
    return tuple(
        Row(z, y, x, name) for (z, y, x), name in zip(positions.tolist(), names, strict=True)
    )


def class_column(layer: Points) -> list[str]:
    """Read the class of each point as text; empty where there is none."""
    if CLASS_FEATURE not in layer.features:
        return [""] * len(layer.data)
    import pandas as pd  # late: a third of a second, of which the dock's opening needs nothing

    column = layer.features[CLASS_FEATURE]
    return ["" if pd.isna(value) else str(value).strip() for value in column]


def as_class(text: str, names: Sequence[str]) -> str:
    """Return the class that a text means, by name or by index; an unknown text as it is."""
    index = match_class(text, names)
    if index is None:
        number = text.removesuffix(".0")
        if number.isdecimal() and int(number) < len(names):
            index = int(number)
    return text if index is None else names[index]
