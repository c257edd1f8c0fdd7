"""A class as one record: its name, what it means, and how the user sees it; and all of a task."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from ..base import InputError
from .checks import check_class_names, class_key, class_name_fault, outside_class

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler

# Okabe and Ito's colours, which can be told apart with any colour vision.
PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
_BACKGROUND = "#808080"

MIN_CONTRAST = 3.0
"""Of what is not text: WCAG 2.1, 1.4.11."""

_HEX = re.compile(r"#[0-9a-fA-F]{6}")


def contrast(one: Iterable[float], other: Iterable[float]) -> float:
    """Contrast ratio of two colours (red, green, blue), 0-1, as WCAG 2.1 defines it, 1-21.

    Examples
    --------
    >>> contrast((0, 0, 0), (1, 1, 1))
    21.0
    """
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(rgb: Iterable[float]) -> float:
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@dataclass(frozen=True)
class ClassStyle:
    """All that is known of a class.

    Parameters
    ----------
    name : str
        Name of the class.
    colour : str
        Hex colour such as ``"#E69F00"``; "" where nobody has chosen one.
    key : str
        Key that gives the next points this class, as in ``"Q"`` or ``"Shift-Q"``; "" for none.
    is_outside : bool
        Whether the class is what lies outside of the specimen; it is excluded from all fractions.

    Raises
    ------
    InputError
        If the name cannot be that of a class, or the colour is not a hex colour.
    """

    name: str
    colour: str = ""
    key: str = ""
    is_outside: bool = False

    def __post_init__(self) -> None:
        fault = class_name_fault(self.name)
        if fault is not None:
            raise InputError(f"{self.name!r} {fault}; choose another name.", field="classes")
        if self.colour and not _HEX.fullmatch(self.colour):
            raise InputError(
                f"colour {self.colour!r} of class {self.name!r} is not a hex colour; "
                "write it as in #E69F00.",
                field="classes",
            )

    @property
    def meaning(self) -> ClassStyle:
        """What matters for learning and counting: all but colour and key."""
        return dataclasses.replace(self, colour="", key="")


class Classes(tuple[str, ...]):
    """The classes of a task: their names, background first, and all else that is known of each.

    It is the tuple of the names, and equals one; two of these are equal if the classes mean the
    same as well. In a file a class of which nothing but the name matters is its name.

    Parameters
    ----------
    classes : iterable of str or ClassStyle
    outside : str, optional
        The one of them that lies outside of the specimen, if the records do not say so.

    Raises
    ------
    InputError
        If the names cannot be those of classes, or none of them is ``outside``.

    Examples
    --------
    >>> classes = Classes(["background", "mito", "resin"], outside="resin")
    >>> classes.outside, classes.outside_index, classes == ("background", "mito", "resin")
    ('resin', 2, True)
    """

    records: tuple[ClassStyle, ...]

    def __new__(cls, classes: Iterable[str | ClassStyle], outside: str | None = None) -> Classes:  # noqa: D102
        given = classes.records if isinstance(classes, Classes) else tuple(classes)
        names = tuple(one.name if isinstance(one, ClassStyle) else one for one in given)
        check_class_names(names)
        records = tuple(one if isinstance(one, ClassStyle) else ClassStyle(one) for one in given)
        self = super().__new__(cls, names)
        if outside is not None:
            index = outside_class(outside, names)
            records = tuple(
                dataclasses.replace(one, is_outside=i == index) for i, one in enumerate(records)
            )
        self.records = records
        if self.outside is not None:
            outside_class(self.outside, names)
        return self

    @property
    def outside_index(self) -> int | None:
        """Index of the class that counts in no fraction; None if there is none."""
        return next((i for i, one in enumerate(self.records) if one.is_outside), None)

    @property
    def outside(self) -> str | None:
        """Name of the class that counts in no fraction; None if there is none."""
        return None if self.outside_index is None else self[self.outside_index]

    @property
    def colours(self) -> tuple[str, ...]:
        """Hex colour of each class: its own, or else one of the palette."""
        spare = (_BACKGROUND, *(PALETTE[i % len(PALETTE)] for i in range(len(self))))
        return tuple(one.colour or other for one, other in zip(self.records, spare, strict=False))

    def named(self, names: Iterable[str]) -> Classes:
        """Return classes of other names; what is known here of one of them is kept."""
        known = {class_key(one.name): one for one in self.records}
        return Classes(
            dataclasses.replace(known[key], name=name)
            if (key := class_key(name)) in known
            else name
            for name in names
        )

    def plain(self) -> list[str | dict[str, Any]]:
        """Return what a file says of them."""
        said = (dataclasses.asdict(one.meaning) for one in self.records)
        found = ({key: value for key, value in one.items() if value} for one in said)
        return [one if len(one) > 1 else one["name"] for one in found]

    def __str__(self) -> str:
        return ", ".join(f"{one.name}{' (outside)' * one.is_outside}" for one in self.records)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Classes):
            return [one.meaning for one in self.records] == [one.meaning for one in other.records]
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = tuple.__hash__

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> Any:
        from pydantic import PlainSerializer, PlainValidator, TypeAdapter

        written = TypeAdapter(tuple[str | ClassStyle, ...])

        def read(value: Any) -> Classes:
            if not isinstance(value, tuple):  # as a file has it
                value = written.validate_json(json.dumps(value), strict=True)
            return cls(value)

        return handler.generate_schema(
            Annotated[Any, PlainValidator(read), PlainSerializer(cls.plain)]
        )
