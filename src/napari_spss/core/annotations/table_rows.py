"""From cells to annotations: rows and names of classes, and the columns of ``proportions.csv``."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from .checks import (
    BOX,
    MOST_CLASSES,
    StackExtent,
    class_key,
    class_name_fault,
    match_class,
    nearest_class,
)
from .class_style import Classes
from .csv_cells import CellFault, Table, fraction, number, per_cent_text, plain_number, whole
from .proportions import Box, Proportion, Region

_PER_CENT = "(?:per[ _.-]?cent(?:age)?|pct)"
UNIT = re.compile(
    rf"^(?:% ?|{_PER_CENT}[ _.-](?:of )?)"
    rf"|(?:,? in)?[ _.-]?[(\[]? ?(?:in )?(?:%|(?<![^\W_]){_PER_CENT}) ?[)\]]?$",
    re.IGNORECASE,
)
"""The part of a column's name that says that its numbers are per cent."""

_MOST_LINES = 10
_R = TypeVar("_R", bound="TableRow")


@dataclasses.dataclass
class Reading:
    """What the tables of one reading have in common."""

    classes: Classes  # background first
    is_settled: bool  # whether no other class may appear; otherwise they are all that appear
    extent: StackExtent  # limits of slices and positions
    is_ours: bool  # whether the tables are what this program wrote, and are taken as they stand
    notes: list[str] = dataclasses.field(default_factory=list)  # what was changed, for the user

    def __post_init__(self) -> None:
        self._index = {class_key(name): index for index, name in enumerate(self.classes)}

    def find(self, name: str) -> int | None:
        """Index of a class; None if there is none of that name."""
        return self._index.get(class_key(name))

    def class_index(self, name: str) -> int:
        """Index of the class that a cell names; CellFault if there is none."""
        index = self.find(name)
        if index is None:
            fault = class_name_fault(name)
            if fault is not None:
                raise CellFault(fault, "name a class")
            if not self.is_settled:
                raise CellFault("is a class too many", f"name at most {MOST_CLASSES} classes")
            raise CellFault("is not a known class", self.remedy(name))
        return index

    def remedy(self, name: str) -> str:
        """Say what to do about an unknown class."""
        nearest = nearest_class(name, self.classes)
        if nearest is not None:
            return f"write {nearest!r} if that is meant, or add it to the classes"
        return f"use one of {', '.join(map(repr, self.classes))}, or add it to the classes"

    def note(self, table: Table, text: str, lines: list[int] | None = None) -> None:
        """Add a note about a table, with the lines that it is about."""
        if lines:
            shown = ", ".join(map(str, lines[:_MOST_LINES]))
            more = ", ..." if len(lines) > _MOST_LINES else ""
            text += f" (line{'s' if len(lines) > 1 else ''} {shown}{more})"
        self.notes.append(f"{table.file}: {text}.")

    def rows(
        self, table: Table, model: type[_R], columns: Mapping[Any, str]
    ) -> Iterator[tuple[int, _R]]:
        """Line and content of every row without a fault; all faults of the others are noted.

        ``columns`` has the column key of every place in the model of the rows.
        """
        for line, cells in table.rows.items():
            data: dict[Any, Any] = {}
            for place, key in columns.items():
                inner = data
                for part in place[:-1]:
                    inner = inner.setdefault(part, {})
                inner[place[-1]] = cells[key]
            try:
                yield line, model.model_validate(data, context=self)
            except ValidationError as error:
                for one in error.errors(include_url=False):
                    fault: CellFault = one["ctx"]["error"]
                    table.fail(fault.reason, fault.remedy, key=columns[one["loc"]], line=line)


def class_index(text: str, info: ValidationInfo) -> int:
    """Index of the class that a cell names."""
    assert isinstance(info.context, Reading)
    return info.context.class_index(text)


ClassIndex = Annotated[int, BeforeValidator(class_index)]
Number = Annotated[float, BeforeValidator(number)]
Whole = Annotated[int, BeforeValidator(whole)]
Fraction = Annotated[float | None, BeforeValidator(fraction)]


class TableRow(BaseModel):
    """The cells of a row; classes are looked up in the reading, which is the context."""

    model_config = ConfigDict(frozen=True)


class Share(TableRow):
    """What a row says of one class."""

    value: Fraction = None
    low: Fraction = None
    high: Fraction = None

    @field_validator("low", "high")
    @classmethod
    def _in_order(cls, bound: float | None, info: ValidationInfo) -> float | None:
        others = [info.data.get(name) for name in ("low", "value")]
        ordered = [bound, *others] if info.field_name == "low" else [*others, bound]
        known = [one for one in ordered if one is not None]
        if bound is not None and known != sorted(known):
            raise CellFault("does not bound the fraction", "make low <= fraction <= high")
        return bound


class RegionRow(TableRow):
    """A row that is about a slice, or a rectangle in it."""

    slice: Whole
    y0: Whole | None = None
    x0: Whole | None = None
    y1: Whole | None = None
    x1: Whole | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_blank_box(cls, cells: dict[str, Any]) -> dict[str, Any]:
        if any(cells.get(edge) for edge in BOX):
            return cells
        return {name: cell for name, cell in cells.items() if name not in BOX}

    @property
    def box(self) -> Box | None:
        """Rectangle (y0, x0, y1, x1); None for the whole slice."""
        edges = (self.y0, self.x0, self.y1, self.x1)
        return None if None in edges else edges  # type: ignore[return-value]

    @field_validator("y1", "x1")
    @classmethod
    def _not_empty(cls, end: int, info: ValidationInfo) -> int:
        name = f"{str(info.field_name)[0]}0"
        start = info.data.get(name)
        if start is not None and end <= start:
            raise CellFault("leaves the box empty", f"give more than {name}, {start}")
        return end


class FractionRow(RegionRow):
    """A row of ``proportions.csv``; shares by index of the class."""

    shares: dict[int, Share] = {}


class ClassColumn(NamedTuple):
    """A column of fractions: of which class, whether its value or a bound, and in which unit."""

    key: str
    name: str
    role: str
    is_per_cent: bool


def class_columns(
    table: Table, classes: Sequence[str] | None, is_ours: bool
) -> Iterator[ClassColumn]:
    """Tell what the columns of a table of proportions are about."""

    def split(name: str) -> tuple[str, str]:
        role = next((one for one in ("low", "high") if name.casefold().endswith(f"_{one}")), "")
        return (name[: -len(role) - 1].rstrip(), role) if role else (name, "value")

    for key, column in table.names.items():
        if not key or key in ("slice", *BOX):
            continue
        name, role = split(column)
        is_exact = is_ours or (classes is not None and match_class(name, classes) is not None)
        if not is_exact:
            name, role = split(_without_unit(column))
            name = _without_unit(name)
        is_per_cent = not is_exact and (name, role) != split(column)
        yield ClassColumn(key, name, role, is_per_cent)


def _without_unit(name: str) -> str:
    plain, n_found = UNIT.subn("", " ".join(name.split()))
    return plain.strip() or name if n_found else name


def proportions_of(table: Table, reading: Reading) -> list[tuple[int, Proportion]]:
    """Fractions per region, and their lines."""
    columns = tuple(class_columns(table, reading.classes, reading.is_ours))
    places = _places(table, columns, reading)
    if places is None:
        return []
    outside = reading.classes.outside_index
    certain = _with_signs(_without_doubtful(table, columns, reading), columns)
    stated: list[tuple[int, Proportion]] = []
    for line, row in reading.rows(certain, FractionRow, places):
        is_whole = row.box == (0, 0, *(reading.extent.shape_of(row.slice) or ()))
        shares = [row.shares.get(place, Share()) for place in range(len(reading.classes))]
        one = Proportion(
            Region(row.slice, None if is_whole else row.box),
            tuple(share.value for share in shares),
            tuple(share.low for share in shares),
            tuple(share.high for share in shares),
        )
        stated.append((line, one.without(outside)))
    normalised = [(line, one.normalised()) for line, one in stated]
    changed = [
        line
        for (line, before), (_, after) in zip(stated, normalised, strict=True)
        if any(
            old is not None and old != new
            for old, new in zip(before.fractions, after.fractions, strict=True)
        )
    ]
    if changed and not reading.is_ours:
        text = "fractions that did not sum to 1 exactly were renormalised (divided by their sum)"
        reading.note(table, text, changed)
    return normalised


def _places(
    table: Table, columns: Sequence[ClassColumn], reading: Reading
) -> dict[tuple[str | int, ...], str] | None:
    """Column key of every place in a row of fractions; None after noting what is wrong."""
    keys = table.names.keys()
    if {"y", "x", "class"} <= keys and not reading.is_ours:
        kind = "grid" if "spacing_px" in keys else "keypoints"
        table.fail(f"looks like a table of {kind}", f"give it as {kind}")
        return None
    before = len(table.problems)
    required = ("slice", *BOX) if any(edge in keys for edge in BOX) else ("slice",)
    is_whole = table.has_columns(required, ",".join((*required, "background", "mitochondria")))
    if not columns:
        table.fail("names no class", "add a column per class to the header")
    places: dict[tuple[str | int, ...], str] = {(name,): name for name in required}
    for column in columns:
        index, unusable = reading.find(column.name), class_name_fault(column.name)
        if index is not None:
            other = places.setdefault(("shares", index, column.role), column.key)
            if other != column.key:
                reason = f"is about the same class as column {table.names[other]!r}"
                table.fail(reason, "keep one of them", key=column.key)
        elif unusable is not None:
            table.fail(unusable, "choose another name", key=column.key)
        else:
            table.fail("is not a known class", reading.remedy(column.name), key=column.key)
    is_usable = is_whole if reading.is_ours else len(table.problems) == before
    return places if is_usable else None


def _with_signs(table: Table, columns: Sequence[ClassColumn]) -> Table:
    """Write the per cent sign that the name of a column states behind its numbers."""
    keys = {column.key for column in columns if column.is_per_cent}

    def signed(key: str, text: str) -> str:
        return f"{text}%" if key in keys and plain_number(text) is not None else text

    return dataclasses.replace(
        table,
        rows={
            line: {key: signed(key, text) for key, text in cells.items()}
            for line, cells in table.rows.items()
        },
    )


def _is_mixed(table: Table, columns: Sequence[ClassColumn]) -> bool:
    """Whether a table holds per cent, so that numbers without a sign may be per cent too."""

    def is_per_cent(text: str) -> bool:
        value = plain_number(text.removesuffix("%").rstrip())
        return value is not None and (text.endswith("%") or value > 1)

    texts = (cells[column.key] for column in columns for cells in table.rows.values())
    return any(column.is_per_cent for column in columns) or any(map(is_per_cent, texts))


def _without_doubtful(table: Table, columns: Sequence[ClassColumn], reading: Reading) -> Table:
    """Note and blank the numbers of unknown unit, and those of the class outside."""
    outside = reading.classes.outside_index
    asks = not reading.is_ours and _is_mixed(table, columns)
    rows = {line: dict(cells) for line, cells in table.rows.items()}
    for line, cells in table.rows.items():
        for column in columns:
            text = cells[column.key]
            value = plain_number(text.removesuffix("%").rstrip())
            is_bare = not (column.is_per_cent or "%" in text or "," in text)
            if value and outside is not None and outside == reading.find(column.name):
                reason = "states a fraction of the class outside, which counts in none"
                remedy = "leave it blank, and state the others as fractions of the rest"
            elif asks and is_bare and value and 0 < value <= 1:
                reason = "may be a fraction or per cent, as the table has numbers with % or above 1"
                remedy = (
                    f"write {per_cent_text(value)} or {per_cent_text(value / 100)}, or end the "
                    "names of the columns with (%) if all their numbers are per cent"
                )
            else:
                continue
            table.fail(reason, remedy, key=column.key, line=line)
            rows[line][column.key] = ""
    return dataclasses.replace(table, rows=rows)


class FractionTexts(NamedTuple):
    """The cells of a table of proportions as they stand, right or wrong.

    Parameters
    ----------
    rows : dict
        Texts of value, low and high by class and region; with a sign of per cent where the name
        of the column states it.
    is_mixed : bool
        Whether the table holds per cent, so that a number without a sign may be per cent too.
    """

    rows: dict[Region, dict[str, tuple[str, str, str]]]
    is_mixed: bool


def texts_of(table: Table, classes: Sequence[str]) -> FractionTexts | None:
    """Cells of a table as text; None if a row or column has no place of its own."""
    reading = Reading(Classes(classes), True, StackExtent(None), False)
    columns = tuple(class_columns(table, classes, is_ours=False))
    places = _places(table, columns, reading)
    if places is None:
        return None
    of_region = {place: key for place, key in places.items() if place[0] != "shares"}
    regions = [Region(row.slice, row.box) for _, row in reading.rows(table, FractionRow, of_region)]
    if table.problems or len(set(regions)) < len(regions):
        return None
    found: dict[Region, dict[str, tuple[str, str, str]]] = {}
    for region, cells in zip(regions, _with_signs(table, columns).rows.values(), strict=True):
        found[region] = {}
        for index, name in enumerate(classes):
            keys = [places.get(("shares", index, role), "") for role in ("value", "low", "high")]
            value, low, high = (cells[key] if key else "" for key in keys)
            found[region][name] = (value, low, high)
    return FractionTexts(found, _is_mixed(table, columns))
