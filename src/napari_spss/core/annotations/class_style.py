"""A class as the user sees it: name, colour and key."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..base import InputError
from .checks import class_name_fault

__all__ = ["ClassStyle", "outside_name"]

_HEX = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class ClassStyle:
    """Name, colour and key of a class.

    Parameters
    ----------
    name : str
        Name of the class.
    colour : str
        Hex colour such as ``"#E69F00"``.
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
    colour: str
    key: str = ""
    is_outside: bool = False

    def __post_init__(self) -> None:
        fault = class_name_fault(self.name)
        if fault is not None:
            raise InputError(f"{self.name!r} {fault}; choose another name.", field="classes")
        if not _HEX.fullmatch(self.colour):
            raise InputError(
                f"colour {self.colour!r} of class {self.name!r} is not a hex colour; "
                "write it as in #E69F00.",
                field="classes",
            )


def outside_name(styles: Iterable[ClassStyle]) -> str | None:
    """Name of the class that is excluded from all fractions; None if there is none."""
    return next((style.name for style in styles if style.is_outside), None)
