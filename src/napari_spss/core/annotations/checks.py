"""Names of classes, and positions in a stack: what is wrong with them, and what to do.

Readers and forms use the same checks, so that a mistake is described in the same words wherever it
is made.
"""

from __future__ import annotations

import difflib
import math
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from numbers import Real
from typing import Protocol, runtime_checkable

from ..base import InputError

SUM_TOLERANCE = 0.02 + 1e-9  # 0.98 and 1.02 themselves are accepted whatever the rounding

UNSURE_TEXT = "?"
"""What ``grid.csv`` says of a node that is left open on purpose."""

BOX = ("y0", "x0", "y1", "x1")
"""Columns of a rectangle."""

MOST_CLASSES = 255  # labels are uint8, in which 255 means "ignore"

FORMULA_SIGNS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
"""First signs of what spreadsheets take for a formula; the last four are of full width."""

_BACKGROUND = "background"
_BACKGROUND_NAMES = frozenset({_BACKGROUND, "bg"})
_RESERVED = frozenset({"slice", *BOX})


class SliceShapes(Protocol):
    """The part of a `Stack` that annotations are checked against."""

    @property
    def n_slices(self) -> int:
        """Number of slices."""

    def shape_of(self, z: int, /) -> tuple[int, int]:
        """(Y, X) of slice ``z`` in pixels."""


@runtime_checkable
class PixelSizes(SliceShapes, Protocol):
    """The part of a `Stack` that positions in physical units need."""

    voxel_size_um: tuple[float | None, float | None, float | None]

    def pixel_size_um(self, z: int, /) -> float | None:
        """Edge of a pixel of slice ``z`` in micrometres; None if it is not known."""


def is_background(name: str) -> bool:
    """Whether a class name means the background: "background" or "bg", in any case."""
    return name.strip().casefold() in _BACKGROUND_NAMES


def settle_index(record: object, name: str, remedy: str) -> None:
    """Make a field of a frozen record an int, also where an array gave a whole float.

    Raises
    ------
    InputError
        If it is no whole number, or negative; with the remedy.
    """
    value = getattr(record, name)
    if type(value) is not int:
        if not (isinstance(value, Real) and float(value).is_integer()):
            raise InputError(f"{name} {value!r} is no whole number; {remedy}.")
        object.__setattr__(record, name, int(float(value)))
    if value < 0:
        raise InputError(f"{name} {value} is negative; {remedy}.")


def class_key(name: str) -> str:
    """Name as it is compared with others: without regard to case and surrounding blanks.

    Nor to whether an accent is a letter's own or follows it, as macOS has it.
    """
    same = unicodedata.normalize("NFC", name.strip().casefold())
    return _BACKGROUND if is_background(name) else same


def match_class(name: str, classes: Sequence[str]) -> int | None:
    """Index of a class by name, without regard to case and surrounding blanks; None if unknown."""
    keys = [class_key(known) for known in classes]
    return keys.index(class_key(name)) if class_key(name) in keys else None


def nearest_class(name: str, classes: Sequence[str]) -> str | None:
    """Return the known class whose name looks most like ``name``; None if none comes near."""
    keys = {class_key(known): known for known in classes}
    found = difflib.get_close_matches(class_key(name), keys, n=1)
    return keys[found[0]] if found else None


def order_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Return unique names in order of appearance, the background first, added if it is missing."""
    unique: dict[str, str] = {}
    for name in names:
        unique.setdefault(class_key(name), name.strip())
    background = unique.pop(_BACKGROUND, _BACKGROUND)
    return (background, *unique.values())


def outside_class(name: str, classes: Sequence[str]) -> int:
    """Index of the class that is excluded from all fractions.

    Raises
    ------
    InputError
        If there is no class of that name, or it is the background.
    """
    index = match_class(name, classes)
    if index is None:
        raise InputError(
            f"outside {name!r} is not among the classes {', '.join(classes)}; name one of them, or "
            "add it to the classes.",
            field="outside",
        )
    if index == 0:
        raise InputError(
            f"outside {name!r} is the background, which counts in the fractions; name a class of "
            "its own.",
            field="outside",
        )
    return index


def class_name_fault(name: str) -> str | None:
    """Why a name cannot be that of a class; None if it can."""
    if not name.strip():
        return "is an empty class name"
    if name != name.strip() or not name.isprintable():
        return "is a class name with blanks at its ends or characters that cannot be shown"
    if name[0] in FORMULA_SIGNS:
        return f"is a class name whose {name[0]!r} spreadsheets take for the beginning of a formula"
    if name == UNSURE_TEXT:
        return "is what grid.csv says of a node that is unsure"
    if name.casefold() in _RESERVED or name.casefold().endswith(("_low", "_high")):
        return "is a class name that the columns of proportions.csv need for themselves"
    return None


def check_class_names(classes: Sequence[str]) -> None:
    """Raise InputError unless the names are usable, unique, and the background comes first."""
    for name in classes:
        fault = class_name_fault(name)
        if fault is not None:
            raise InputError(f"{name!r} {fault}; choose another name.", field="classes")
    keys = [class_key(name) for name in classes]
    for name, key in zip(classes, keys, strict=True):
        if keys.count(key) > 1:
            raise InputError(f"class {name!r} is named twice; name each once.", field="classes")
    if len(keys) > MOST_CLASSES:
        raise InputError(
            f"{len(keys)} classes are too many; name at most {MOST_CLASSES}.", field="classes"
        )
    if not keys or keys[0] != _BACKGROUND:
        raise InputError(
            f"classes {list(classes)} do not start with the background; put 'background' first.",
            field="classes",
        )


class StackExtent:
    """Faults of positions in a stack; None knows no limits. Shapes are looked up once a slice."""

    def __init__(self, stack: SliceShapes | None) -> None:
        self._stack = stack
        self._shapes: dict[int, tuple[int, int]] = {}

    @property
    def n_slices(self) -> int | None:
        """Number of slices; None if there is no stack."""
        return None if self._stack is None else self._stack.n_slices

    def shape_of(self, z: int) -> tuple[int, int] | None:
        """(Y, X) of a slice; None if there is no stack or no such slice."""
        if self._stack is None or not 0 <= z < self._stack.n_slices:
            return None
        if z not in self._shapes:
            self._shapes[z] = self._stack.shape_of(z)
        return self._shapes[z]

    def pixel_um(self, z: int) -> tuple[float, float] | None:
        """(y, x) size of a pixel of a slice in micrometres; None if it is not known."""
        stack = self._stack
        if not isinstance(stack, PixelSizes) or self.shape_of(z) is None:
            return None
        y, x = (size or stack.pixel_size_um(z) for size in stack.voxel_size_um[1:])
        return None if y is None or x is None else (y, x)

    @property
    def slice_distance_um(self) -> float | None:
        """Distance of the slices in micrometres; None if it is not known."""
        return self._stack.voxel_size_um[0] if isinstance(self._stack, PixelSizes) else None

    def slice_fault(self, z: int) -> tuple[str, str] | None:
        """Reason and remedy if there is no slice ``z``."""
        if self._stack is None or 0 <= z < self._stack.n_slices:
            return None
        n = self._stack.n_slices
        if n == 1:
            return "is outside the image, which has one slice", "use slice 0"
        return (
            f"is outside the stack of {n} slices",
            f"use 0 to {n - 1}, as napari's slider shows (the first slice is 0)",
        )

    def box_fault(self, z: int, box: tuple[int, int, int, int] | None) -> tuple[str, str] | None:
        """Reason and remedy if a rectangle leaves the image."""
        shape = self.shape_of(z)
        if shape is None or box is None:
            return None
        _, _, y1, x1 = box
        if y1 <= shape[0] and x1 <= shape[1]:
            return None
        return (
            f"leaves the image, which is {shape[0]} x {shape[1]} px (y, x)",
            f"use y1 of at most {shape[0]} and x1 of at most {shape[1]} (half-open box)",
        )

    def point_faults(self, z: int, y: float, x: float) -> Iterator[tuple[str, float, str, str]]:
        """Column, value, reason and remedy for each coordinate that lies outside the image."""
        shape = self.shape_of(z)
        if shape is None:
            return
        for column, value, axis in (("y", y, 0), ("x", x, 1)):
            pixel = math.floor(value + 0.5)
            if pixel < 0:
                yield column, value, "is outside the image", "pixels start at 0"
            elif pixel >= shape[axis]:
                yield (
                    column,
                    value,
                    f"is outside the image, which is {shape[0]} x {shape[1]} px (y, x)",
                    f"use 0 to {shape[axis] - 1}, in pixels, with y (row) before x (column)",
                )


def box_point_faults(
    box: tuple[int, int, int, int] | None, y: float, x: float
) -> Iterator[tuple[str, float, str, str]]:
    """Column, value, reason and remedy for each coordinate that lies outside a rectangle."""
    if box is None:
        return
    for column, value, axis in (("y", y, 0), ("x", x, 1)):
        first, last = box[axis], box[axis + 2] - 1
        if not first <= math.floor(value + 0.5) <= last:
            remedy = f"use {first} to {last}, or mend the frame's {column}0 and {column}1"
            yield column, value, f"is outside its frame, {column} {first} to {last}", remedy
