"""Fractions of a region's pixels: what is stated, and the arithmetic of partly known fractions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from numbers import Real
from typing import Literal

from ..base import InputError
from .checks import SUM_TOLERANCE, settle_index

Box = tuple[int, int, int, int]
Fractions = tuple[float | None, ...]

_EXACT = 1e-9  # a sum this close to 1 is rounding, not a deviation: it is left untouched


@dataclass(frozen=True)
class Region:
    """A slice, or a rectangle in it.

    Parameters
    ----------
    slice : int
        0-based slice index.
    box : tuple of int, optional
        Half-open rectangle ``(y0, x0, y1, x1)`` in pixels; None for the whole slice.

    Raises
    ------
    InputError
        If the slice is no whole number or negative, or the box is empty or starts outside the
        image.
    """

    slice: int
    box: Box | None = None

    def __post_init__(self) -> None:
        settle_index(self, "slice", "slices count from 0")
        if self.box is None:
            return
        edges: tuple[object, ...] = tuple(self.box)
        whole = [int(float(e)) for e in edges if isinstance(e, Real) and float(e).is_integer()]
        if len(whole) != len(edges) or len(whole) != 4:
            raise InputError(
                f"box {self.box} is not four whole numbers; give y0, x0, y1, x1 in pixels."
            )
        y0, x0, y1, x1 = whole
        object.__setattr__(self, "box", (y0, x0, y1, x1))
        if y0 < 0 or x0 < 0:
            raise InputError(f"box {self.box} starts outside the image; y0 and x0 are at least 0.")
        if y1 <= y0 or x1 <= x0:
            raise InputError(f"box {self.box} is empty; y1 must exceed y0, and x1 must exceed x0.")

    def meets(self, other: Region) -> bool:
        """Whether both are the same slice, or rectangles that overlap.

        A rectangle does not meet its whole slice: what is said of either holds beside the other.
        """
        if self.slice != other.slice or self.box is None or other.box is None:
            return self == other
        (y0, x0, y1, x1), (top, left, bottom, right) = self.box, other.box
        return y0 < bottom and top < y1 and x0 < right and left < x1


@dataclass(frozen=True)
class Proportion:
    """The fractions of a region's pixels that belong to each class, as far as they are known.

    Parameters
    ----------
    region : Region
        What they describe.
    fractions : tuple of float or None, length C
        0-1 per class, background first; None = unknown. A typed 0 is exact ("empty here").
    low, high : tuple of float or None, length C, optional
        Interval per class; None where no bound is stated, and for the whole if there is none.
        An interval may stand without a fraction, which then stays None.
    source : {"typed", "grid"}
        Who says so: a person's estimate, or the count of a grid. A 0 from a grid is *not* exact.

    Raises
    ------
    InputError
        If a number is not finite or not in 0-1, lengths differ, or low <= fraction <= high fails.
    """

    region: Region
    fractions: Fractions
    low: Fractions | None = None
    high: Fractions | None = None
    source: Literal["typed", "grid"] = "typed"

    def __post_init__(self) -> None:
        if not isinstance(self.region, Region):
            raise InputError(f"region {self.region!r} is none; give a Region, such as Region(0).")
        try:
            object.__setattr__(self, "fractions", tuple(self.fractions))
        except TypeError as error:
            raise InputError(
                f"fractions {self.fractions!r} are no list; give one for each class, that of the "
                "background first, and None where it is unknown, such as (None, 0.06)."
            ) from error
        n_classes = len(self.fractions)
        for name in ("low", "high"):
            bounds = getattr(self, name)
            if bounds is not None and all(value is None for value in bounds):
                object.__setattr__(self, name, None)
            elif bounds is not None and len(bounds) != n_classes:
                raise InputError(f"{name} has {len(bounds)} values for {n_classes} fractions.")
        numbers: tuple[object, ...] = (*self.fractions, *(self.low or ()), *(self.high or ()))
        for value in numbers:
            if value is not None and not (isinstance(value, Real) and 0.0 <= float(value) <= 1.0):
                raise InputError(f"fraction {value!r} is not between 0 and 1; write 30 % as 0.30.")
        for index, (value, (low, high)) in enumerate(
            zip(self.fractions, self._ends(), strict=True)
        ):
            stated = low, value, high
            known = [one for one in stated if one is not None]
            if known != sorted(known):
                raise InputError(f"low <= fraction <= high fails for {stated} (class {index}).")

    def _ends(self) -> list[tuple[float | None, float | None]]:
        """Lower and upper bound of each class, as far as they are stated."""
        unknown = (None,) * len(self.fractions)
        return list(zip(self.low or unknown, self.high or unknown, strict=True))

    @property
    def is_informative(self) -> bool:
        """Whether any fraction or bound is stated."""
        known = any(value is not None for value in self.fractions)
        return known or self.low is not None or self.high is not None

    def bounds(self) -> tuple[tuple[float, float] | None, ...]:
        """Interval (low, high) per class; None where neither bound is stated.

        Where only one bound is stated, the other one is 0 or 1.
        """
        return tuple(
            None
            if low is None and high is None
            else (0.0 if low is None else low, 1.0 if high is None else high)
            for low, high in self._ends()
        )

    def effective_fractions(self) -> Fractions:
        """One number per class where there is one: the fraction, else the interval's midpoint.

        A midpoint needs both bounds. An unstated background is the remainder if every other class
        has a number and they do not exceed 1.
        """
        values = list(self.fractions)
        for index, (low, high) in enumerate(self._ends()):
            if values[index] is None and low is not None and high is not None:
                values[index] = (low + high) / 2
        return _with_remainder(values)

    def without(self, outside: int | None) -> Proportion:
        """Copy in which class ``outside`` has the fraction 0, without an interval.

        Fractions are those of what is not outside, and of that nothing is outside; so the others
        sum to 1. With None, no class is outside, and the proportion is returned as it is.
        """
        if outside is None:
            return self

        blank = self.blanked(outside)
        fractions = (*blank.fractions[:outside], 0.0, *blank.fractions[outside + 1 :])
        return dataclasses.replace(blank, fractions=fractions)

    def blanked(self, index: int) -> Proportion:
        """Copy in which nothing is said of a class."""
        return self.mapped(lambda values: (*values[:index], None, *values[index + 1 :]))

    def mapped(self, change: Callable[[Fractions], Fractions]) -> Proportion:
        """Copy with fractions and bounds, as far as they are stated, changed alike."""
        low, high = (None if ends is None else change(ends) for ends in (self.low, self.high))
        return dataclasses.replace(self, fractions=change(self.fractions), low=low, high=high)

    def sum_fault(self) -> tuple[str, str] | None:
        """Reason and remedy if the fractions cannot belong together."""
        known = [value for value in self.fractions if value is not None]
        total = math.fsum(known)
        if len(known) == len(self.fractions) and abs(total - 1) > SUM_TOLERANCE:
            return (
                f"has fractions of all classes that sum to {total:.4g}",
                "change them so that they sum to 1 (100 %), or leave the background blank",
            )
        ranges = [
            bound or (value or 0.0, 1.0 if value is None else value)
            for bound, value in zip(self.bounds(), self.fractions, strict=True)
        ]
        lowest, highest = (math.fsum(ends) for ends in zip(*ranges, strict=True))
        for least, what in ((total, "fractions"), (lowest, "fractions and lower bounds")):
            if least > 1 + SUM_TOLERANCE:
                return (
                    f"has {what} that sum to {least:.4g}",
                    "lower them so that they sum to at most 1 (100 %)",
                )
        if highest < 1 - SUM_TOLERANCE:
            return (
                f"has fractions and upper bounds that sum to {highest:.4g}",
                "raise them so that they can sum to 1 (100 %)",
            )
        return None

    def normalised(self) -> Proportion:
        """Fractions that sum to 1 as far as they are known: rescaled, with background filled in.

        Known fractions (and their bounds) are divided by their sum if it exceeds 1, or if all
        classes are known; a sum within 1e-9 of 1 is left untouched. Then an unknown background
        without interval is the remainder if all other fractions are known. A sum further from 1
        than the tolerance is an error that `Annotations.validate_against` reports; such fractions
        come back as they are.

        Examples
        --------
        >>> Proportion(Region(0), (None, 0.25, 0.5)).normalised().fractions
        (0.25, 0.25, 0.5)
        """
        known = [value for value in self.fractions if value is not None]
        total = math.fsum(known)
        deviates = total > 1 + _EXACT or (len(known) == len(self.fractions) and total < 1 - _EXACT)
        scaled = self
        if deviates and abs(total - 1) <= SUM_TOLERANCE:
            scaled = self.mapped(partial(_divided, total=total))
        if scaled.bounds()[:1] != (None,):
            return scaled
        return dataclasses.replace(scaled, fractions=_with_remainder(list(scaled.fractions)))


def _divided(values: Fractions, total: float) -> Fractions:
    return tuple(None if value is None else min(value / total, 1.0) for value in values)


def _with_remainder(values: list[float | None]) -> Fractions:
    """Fill in an unknown background if all other classes are known and leave room for it."""
    others = [value for value in values[1:] if value is not None]
    if values and values[0] is None and others and len(others) == len(values) - 1:
        total = math.fsum(others)
        if total <= 1 + _EXACT:
            values[0] = max(0.0, 1.0 - total)
    return tuple(values)
