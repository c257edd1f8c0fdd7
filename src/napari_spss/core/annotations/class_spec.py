"""The classes of a task: their names, and the values or colours by which masks mark them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ..base import InputError
from .checks import check_class_names, is_background, order_classes

Colour: TypeAlias = tuple[int, int, int]
Value: TypeAlias = float | Colour

EXAMPLE = "background=0,myelin=127,axon=255"
COLOUR_EXAMPLE = "background=(155;155;155),building=#3C1098"


@dataclass(frozen=True)
class ClassSpec:
    """Names of the classes, and how masks mark them.

    Parameters
    ----------
    names : tuple of str
        Background first.
    values : tuple, optional
        Grey value or (red, green, blue) per class. None: see
        :func:`~napari_spss.core.images.open_masks`.

    Raises
    ------
    InputError
        If names or values repeat, names and values differ in number, grey values and colours are
        mixed, there is one class or more than 255, or the background is not first.
    """

    names: tuple[str, ...]
    values: tuple[Value, ...] | None = None

    def __post_init__(self) -> None:
        check_class_names(self.names)
        if len(self.names) < 2:
            raise _classes_error(
                f"only {self.names[0]!r} is listed; list the structures too, such as "
                "background,mitochondria."
            )
        if self.values is None:
            return
        if len(self.values) != len(self.names):
            raise _classes_error(
                f"{len(self.values)} values for {len(self.names)} classes; give one per class."
            )
        if len({isinstance(value, tuple) for value in self.values}) > 1:
            raise _classes_error(
                f"classes mix grey values and colours ({show_values(self.values)}); use one kind, "
                f"such as {EXAMPLE} or {COLOUR_EXAMPLE}."
            )
        for value in self.values:
            if self.values.count(value) > 1:
                raise _classes_error(
                    f"value {show_values([value])} stands for two classes; list it once."
                )

    @property
    def is_coloured(self) -> bool:
        """Whether the values are colours."""
        return self.values is not None and isinstance(self.values[0], tuple)

    @property
    def text(self) -> str:
        """Names, and values if there are any, as `parse_classes` takes them.

        Examples
        --------
        >>> ClassSpec(("background", "axon"), (0, 255)).text
        'background=0,axon=255'
        """
        if self.values is None:
            return ",".join(self.names)
        pairs = zip(self.names, self.values, strict=True)
        return ",".join(f"{name}={show_values([value])}" for name, value in pairs)


def _classes_error(message: str) -> InputError:
    return InputError(message, field="classes")


def show_values(values: Sequence[object]) -> str:
    """Text for messages: ``0, 127`` or ``(60;16;152), (0;0;0)``."""
    return ", ".join(
        f"({';'.join(map(str, value))})" if isinstance(value, tuple) else f"{value}"
        for value in values
    )


def parse_classes(text: str) -> ClassSpec:
    """Parse a list of classes as given on the command line.

    Parameters
    ----------
    text : str
        ``name=value`` per class, separated by commas: a number (grey value),
        ``(red;green;blue)`` or ``#RRGGBB``; or names only. The background, by whatever place it
        is listed, becomes class 0. If it is missing, names only and grey values get one in front
        (grey value 0).

    Raises
    ------
    InputError
        If the text is no such list, or the background is missing where it cannot be added.

    Examples
    --------
    >>> parse_classes("background=0,myelin=127,axon=255").values
    (0, 127, 255)
    >>> parse_classes("mitochondria").names
    ('background', 'mitochondria')
    """
    items = [item.strip() for item in re.split(r",(?![^(]*\))", text)]
    pairs = [tuple(part.strip() for part in item.partition("=")) for item in items]
    if not any(items) or any(not name for name, _, _ in pairs):
        raise _classes_error(f"classes {text!r} hold an empty name; list names, such as {EXAMPLE}.")
    names = [name for name, _, _ in pairs]
    if len({equals for _, equals, _ in pairs}) > 1:
        raise _classes_error(
            f"classes {text!r} give values to some classes only; give one to each, or to none."
        )
    check_class_names(["background", *(name for name in names if not is_background(name))])
    if sum(map(is_background, names)) > 1:
        raise _classes_error(f"classes {text!r} name the background twice; name it once.")
    ordered = order_classes(names)
    if not pairs[0][1]:
        return ClassSpec(ordered)
    value_of = {name: _parse_value(value, name) for name, _, value in pairs}
    if ordered[0] not in value_of:
        value_of[ordered[0]] = _background_value(value_of)
    return ClassSpec(ordered, tuple(value_of[name] for name in ordered))


def _parse_value(text: str, name: str) -> Value:
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    if re.fullmatch(r"-?\d*\.\d+", text):
        return float(text)
    if re.fullmatch(r"#[0-9A-Fa-f]{6}", text):
        red, green, blue = bytes.fromhex(text[1:])
        return red, green, blue
    parts = re.split(r"[;,]", text[1:-1])
    if text.startswith("(") and text.endswith(")") and len(parts) == 3:
        try:
            red, green, blue = (int(part) for part in parts)
        except ValueError:
            pass
        else:
            if all(0 <= part <= 255 for part in (red, green, blue)):
                return red, green, blue
    raise _classes_error(
        f"class {name!r} has value {text!r}; give a number, (red;green;blue) with 0-255 "
        f"each, or #RRGGBB, such as {EXAMPLE} or {COLOUR_EXAMPLE}."
    )


def _background_value(value_of: dict[str, Value]) -> Value:
    taken = [name for name, value in value_of.items() if value == 0]
    if taken:
        raise _classes_error(
            f"no class is named background, but value 0 is {taken[0]!r}; "
            "name the class that fills the rest of the image background."
        )
    if any(isinstance(value, tuple) for value in value_of.values()):
        raise _classes_error(
            "no class is named background; name the one that fills the rest of the image so, "
            f"such as {COLOUR_EXAMPLE}."
        )
    return 0
