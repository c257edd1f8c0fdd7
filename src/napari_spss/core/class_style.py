"""A class as the user sees it: name, colour and key."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .annotation_checks import class_name_fault
from .errors import InputError

__all__ = ["ClassStyle"]

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
