"""Labels of two runs beside each other; no Qt inside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
import numpy.typing as npt

from ...core.annotations import Classes


@dataclass(frozen=True)
class ComparedSlice:
    """A slice as two runs label it, or several slices together."""

    slice: int
    # (Y, X), of the one and of the other
    labels: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]
    areas: npt.NDArray[np.int64]  # (2, C), pixels of each class that count in fractions
    # (C,), pixels that have the class in both, and in at least one
    shared: npt.NDArray[np.int64]
    either: npt.NDArray[np.int64]
    # where the labels of either come from, see `origin_of`
    made_by: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def of(
        cls,
        z: int,
        one: npt.NDArray[np.uint8],
        other: npt.NDArray[np.uint8],
        classes: Classes,
        made_by: tuple[Mapping[str, Any], ...] = (),
    ) -> ComparedSlice:
        """Compare the labels of a slice."""
        n = len(classes)
        pairs = np.bincount((one.astype(np.int64) * n + other).ravel(), minlength=n * n)
        table = pairs.reshape(n, n)
        areas = np.stack([table.sum(axis=1), table.sum(axis=0)])
        shared = np.diag(table).copy()
        either = areas.sum(axis=0) - shared
        if classes.outside_index is not None:
            areas[:, classes.outside_index] = 0
        return cls(z, (one, other), areas, shared, either, made_by)

    def fraction(self, which: int, class_index: int) -> float:
        """Fraction of a class by the one (0) or by the other (1)."""
        total = int(self.areas[which].sum())
        return float(self.areas[which, class_index]) / total if total else nan

    def iou(self, class_index: int) -> float:
        """Intersection over union of a class; nan if neither has it."""
        either = int(self.either[class_index])
        return float(self.shared[class_index]) / either if either else nan


def together(slices: Iterable[ComparedSlice]) -> ComparedSlice:
    """Sum up the pixels of at least one slice; the labels are those of the first."""
    first, *rest = slices
    return ComparedSlice(
        first.slice,
        first.labels,
        sum((one.areas for one in rest), first.areas),
        sum((one.shared for one in rest), first.shared),
        sum((one.either for one in rest), first.either),
    )
