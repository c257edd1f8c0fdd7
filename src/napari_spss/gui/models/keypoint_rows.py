"""Rows of a table of keypoints, as they stand in a Points layer, right or wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...core.annotations import match_class

if TYPE_CHECKING:
    from napari.layers import Points

CLASS_FEATURE = "class"
"""Feature that holds the class of a point."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Points as they stand in the layer, right or wrong, with the class of each.

    Positions (N, 3) are (slice, y, x) in pixels of the image.
    """

    positions: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Rows):
            return NotImplemented
        return self.names == other.names and np.array_equal(self.positions, other.positions)

    def as_set(self) -> set[tuple[float, float, float, str]]:
        """Return all rows as (slice, y, x, class)."""
        return set(zip(*self.positions.T.tolist(), self.names, strict=True))

    def renamed(self, names: Mapping[str, str]) -> Rows:
        """Copy in which some classes have another name."""
        return replace(self, names=tuple(names.get(name, name) for name in self.names))

    def class_indices(self, classes: Sequence[str]) -> NDArray[np.intp]:
        """Index of each row's class, -1 if it is unknown; each name is looked up once."""
        found = {name: match_class(name, classes) for name in set(self.names)}
        known = {name: -1 if index is None else index for name, index in found.items()}
        return np.array([known[name] for name in self.names], dtype=np.intp)


@dataclass(frozen=True)
class Strays:
    """Points that are kept but not used: on no pixel of the image, or of no known class.

    ``unknown`` has the class names of the latter, one per point.
    """

    n_outside: int = 0
    unknown: tuple[str, ...] = ()


def class_column(layer: Points, classes: Sequence[str]) -> tuple[str, ...]:
    """Read the class of each point, by name or index; unknown texts as they are, "" for none."""
    if CLASS_FEATURE not in layer.features:
        return ("",) * len(layer.data)
    import pandas as pd  # late: a third of a second, of which the dock's opening needs nothing

    codes, values = pd.factorize(layer.features[CLASS_FEATURE])
    texts = [*(_as_class(str(value).strip(), classes) for value in values), ""]  # -1 is missing
    return tuple(texts[code] for code in codes.tolist())


def _as_class(text: str, classes: Sequence[str]) -> str:
    """Return the class that a text means, by name or by index; an unknown text as it is."""
    index = match_class(text, classes)
    if index is None:
        number = text.removesuffix(".0")
        if number.isdecimal() and int(number) < len(classes):
            index = int(number)
    return text if index is None else classes[index]
