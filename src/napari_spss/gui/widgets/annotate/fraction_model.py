"""Qt's view of the table of fractions: what each cell shows, and typing into it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt, Signal
from qtpy.QtGui import QColor, QFont, QPixmap

from ....core.annotations import Proportion, Region
from ....core.base import counted
from ...models import (
    EMPTY,
    Edit,
    FractionSheet,
    Mark,
    format_percent,
    region_label,
    remainder_text,
    shown_text,
)

MARK_ROLE = int(Qt.ItemDataRole.UserRole) + 1
"""Role under which a cell tells ``"wrong"``, ``"question"`` or ``""``."""

MUTED_ROLE = MARK_ROLE + 1
"""Role under which a cell tells whether it was not typed."""

ColumnKind = Literal["class", "empty", "background", "grid", "predicted"]
_SWATCH_PX = 10
_BAR_PX = 4  # of a swatch beside a name for which there is little room
_HOW_TO_TYPE = (
    "Per cent of the area. 6, 6% and 0.5 are 6, 6 and 0.5 %; <1 and 5-10 are intervals; "
    "blank is unknown."
)


@dataclass(frozen=True)
class Column:
    """A column of the table."""

    kind: ColumnKind
    name: str = ""


class FractionModel(QAbstractTableModel):
    """Rows are slices and rectangles; columns are classes, ticks, and what others say.

    What is typed, in the sheet, is changed through this model only.
    """

    edited = Signal(object)  # tuple[Edit, ...], after each change of what is typed

    def __init__(self, sheet: FractionSheet, parent: Any = None) -> None:
        super().__init__(parent)
        self.sheet = sheet
        self.columns: tuple[Column, ...] = ()
        self.slice_names: tuple[str, ...] = ()
        self._numbers: dict[Region, int] = {}
        self._counted: dict[Region, Proportion] = {}
        self._framed: dict[int, list[Proportion]] = {}  # those of frames, by slice
        self._predicted: dict[Region, tuple[float, ...]] = {}
        self._is_compact = self._is_narrow = False
        self._set_columns()

    # Structure ----------------------------------------------------------------------------------

    def _set_columns(self) -> None:
        """Have a column for each class but the background and the one outside."""
        self._colours = {one.name: one.colour for one in self.sheet.classes.records}
        self.columns = (
            *(Column("class", name) for name in self.sheet.typed_classes),
            Column("empty", EMPTY),
            Column("grid"),
            Column("predicted"),
            Column("background", self.sheet.background),
        )

    def reset_with(self, change: Any, *args: Any) -> None:
        """Call a method of the sheet that may change everything."""
        self.beginResetModel()
        change(*args)
        self._set_columns()
        self._number_boxes()
        self.endResetModel()

    def _number_boxes(self) -> None:
        """Count the rectangles of each slice from 1."""
        seen: dict[int, int] = {}
        self._numbers = {}
        for region in self.sheet.boxes:
            seen[region.slice] = seen.get(region.slice, 0) + 1
            self._numbers[region] = seen[region.slice]

    def set_counted(self, proportions: Iterable[Proportion]) -> None:
        """Show what grids and frames say."""
        self._counted = {one.region: one for one in proportions}
        self._framed = {}
        for one in self._counted.values():
            if one.region.box is not None:
                self._framed.setdefault(one.region.slice, []).append(one)
        self._changed_all()

    def set_predicted(self, predicted: Mapping[Region, Sequence[float]]) -> None:
        """Show what the model says."""
        self._predicted = {region: tuple(values) for region, values in predicted.items()}
        self._changed_all()

    def set_compact(self, is_compact: bool) -> None:
        """Leave the intervals of counts to their tooltips, or not."""
        if is_compact != self._is_compact:
            self._is_compact = is_compact
            self._changed_all()

    def set_narrow(self, is_narrow: bool) -> None:
        """Leave room for the names of classes beside their colours, or not."""
        if is_narrow != self._is_narrow:
            self._is_narrow = is_narrow
            self.headerDataChanged.emit(Qt.Orientation.Horizontal, 0, len(self.columns) - 1)

    @property
    def has_overruled(self) -> bool:
        """Whether a grid is used instead of something that was typed."""
        names = self.sheet.typed_classes
        return any(
            self.sheet.cell(region, name).text
            for region in self._counted
            if self.sheet.has_row(region)
            for name in names
        )

    def longest_texts(self) -> dict[str, str]:
        """Return the longest texts of the two columns that others fill in."""
        said = (*filter(self.sheet.has_row, self._counted), *map(Region, self._framed))
        counted = (self._counted_text(region) for region in said)
        predicted = (self._predicted_text(region) for region in self._predicted)
        return {
            "grid": max(counted, key=len, default=""),
            "predicted": max(predicted, key=len, default=""),
        }

    def region_at(self, row: int) -> Region | None:
        """Return the region of a row; None if there is no such row."""
        return self.sheet.rows[row] if 0 <= row < len(self.sheet.rows) else None

    def label(self, region: Region) -> str:
        """Name a row."""
        return region_label(region, self.slice_names, self._numbers.get(region))

    def index_of(self, region: Region, name: str | None = None) -> QModelIndex:
        """Return the index of a cell; the first column if no class is named."""
        row = self.sheet.row_of(region)
        if row is None:
            return QModelIndex()
        kinds = {column.name: place for place, column in enumerate(self.columns) if column.name}
        return self.index(row, kinds.get(name or "", 0))

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Return the number of regions."""
        return 0 if parent is not None and parent.isValid() else len(self.sheet.rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Return the number of columns, hidden ones included."""
        return 0 if parent is not None and parent.isValid() else len(self.columns)

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        """Allow typing into classes and ticking."""
        flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        kind = self.columns[index.column()].kind if index.isValid() else ""
        if kind == "class":
            return flags | Qt.ItemFlag.ItemIsEditable
        if kind == "empty":
            return flags | Qt.ItemFlag.ItemIsUserCheckable
        return flags

    # Typing -------------------------------------------------------------------------------------

    def setData(self, index: QModelIndex, value: Any, role: int = 2) -> bool:
        """Type a text into a class's cell, or tick a row as empty."""
        region = self.region_at(index.row())
        if region is None:
            return False
        column = self.columns[index.column()]
        if column.kind == "empty" and role == Qt.ItemDataRole.CheckStateRole:
            is_ticked = Qt.CheckState(value) == Qt.CheckState.Checked
            return self.apply(self.sheet.tick_edits([region], is_ticked))
        if column.kind == "class" and role == Qt.ItemDataRole.EditRole:
            return self.apply(self.sheet.edits_for([(region, column.name, str(value))]))
        return False

    def apply(self, edits: tuple[Edit, ...]) -> bool:
        """Carry out edits as one step; False if there are none."""
        if edits:
            self.sheet.history.do(*edits)
        return self._announce(edits)

    def undo(self) -> tuple[Edit, ...]:
        """Take the last step back and return it."""
        edits = self.sheet.history.take_back()
        self._announce(edits)
        return edits

    def redo(self) -> tuple[Edit, ...]:
        """Repeat the step that was taken back last and return it."""
        edits = self.sheet.history.repeat()
        self._announce(edits)
        return edits

    def _announce(self, edits: tuple[Edit, ...]) -> bool:
        rows = [
            row for row in (self.sheet.row_of(edit.region) for edit in edits) if row is not None
        ]
        if rows:
            last = len(self.columns) - 1
            self.dataChanged.emit(self.index(min(rows), 0), self.index(max(rows), last))
        if edits:
            self.edited.emit(edits)
        return bool(edits)

    def _changed_all(self) -> None:
        if self.rowCount():
            bottom_right = self.index(self.rowCount() - 1, len(self.columns) - 1)
            self.dataChanged.emit(self.index(0, 0), bottom_right)

    # Showing ------------------------------------------------------------------------------------

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        """Return what a cell shows."""
        region = self.region_at(index.row()) if index.isValid() else None
        if region is None:
            return None
        column = self.columns[index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return self._text(region, column)
        if role == Qt.ItemDataRole.EditRole:
            is_class = column.kind == "class"
            return self.sheet.cell(region, column.name).text if is_class else None
        if role == Qt.ItemDataRole.CheckStateRole and column.kind == "empty":
            is_empty = self.sheet.is_empty(region)
            return Qt.CheckState.Checked if is_empty else Qt.CheckState.Unchecked
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return Qt.AlignmentFlag.AlignCenter
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._tooltip(region, column)
        if role == Qt.ItemDataRole.FontRole:
            return self._font(region, column)
        if role == MUTED_ROLE:
            return column.kind != "class"
        return self._mark(region, column) if role == MARK_ROLE else None

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:
        """Return the title of a column or row, its tooltip, or a class's colour."""
        if orientation == Qt.Orientation.Vertical:
            region = self.region_at(section)
            if region is None:
                return None
            if role == Qt.ItemDataRole.DisplayRole:
                return self.label(region)
            return _row_tooltip(region) if role == Qt.ItemDataRole.ToolTipRole else None
        column = self.columns[section]
        if role == Qt.ItemDataRole.DisplayRole:
            return column.name or column.kind
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._column_tooltip(column)
        if role == Qt.ItemDataRole.DecorationRole and column.name in self._colours:
            swatch = QPixmap(_BAR_PX if self._is_narrow else _SWATCH_PX, _SWATCH_PX)
            swatch.fill(QColor(self._colours[column.name]))
            return swatch
        return None

    def _text(self, region: Region, column: Column) -> str:
        if column.kind == "class":
            return self._class_text(region, column.name)
        if column.kind == "background":
            stated = self.sheet.stated_background(region)
            if region in self._counted:
                left = self._counted[region].fractions[0]
                return "" if left is None else f"{format_percent(left)} %"
            if stated.is_known:
                return shown_text(stated)
            return remainder_text(self.sheet.row_readings(region))
        if column.kind == "grid":
            return self._counted_text(region)
        return self._predicted_text(region) if column.kind == "predicted" else ""

    def _class_text(self, region: Region, name: str) -> str:
        reading = self.sheet.reading(region, name)
        if reading.kind == "question":
            return f"{self.sheet.cell(region, name).text} ?"
        return shown_text(reading) if reading.is_known else self.sheet.cell(region, name).text

    def _counted_text(self, region: Region) -> str:
        one = self._counted.get(region)
        if one is None:
            return self._framed_text(region)
        places = self._typed_places()
        return " · ".join(
            _counted_class(one, place, has_interval=not self._is_compact)
            for place in places
            if place < len(one.fractions)
        )

    def _frames_on(self, region: Region) -> list[Proportion]:
        """Counted frames on a slice that have no rows of their own."""
        if region.box is not None:
            return []
        found = self._framed.get(region.slice, ())
        return [one for one in found if not self.sheet.has_row(one.region)]

    def _framed_text(self, region: Region) -> str:
        """Write what the frames of a slice have on the average, and how many there are."""
        frames = self._frames_on(region)
        if not frames:
            return ""
        places = (place for place in self._typed_places() if place < len(frames[0].fractions))
        means = (_mean_of(frames, place) for place in places)
        n_frames = f"{len(frames)} \u25ad" if self._is_compact else counted(len(frames), "frame")
        return f"{' · '.join(means)} ({n_frames})"

    def _predicted_text(self, region: Region) -> str:
        values = self._predicted.get(region)
        if values is None:
            return ""
        places = [place for place in self._typed_places() if place < len(values)]
        return " · ".join(format_percent(values[place], digits=2) for place in places) + " %"

    def _typed_places(self) -> list[int]:
        """Class indices of the columns to type in."""
        return [self.sheet.classes.index(name) for name in self.sheet.typed_classes]

    def _mark(self, region: Region, column: Column) -> str:
        if column.kind != "class":
            return ""
        reading = self.sheet.reading(region, column.name)
        if reading.kind in ("wrong", "question"):
            return reading.kind
        return "wrong" if reading.is_known and self.sheet.row_problem(region) else ""

    def mark_at(self, index: QModelIndex) -> Mark | None:
        """Return what is the matter with a cell or its row."""
        region = self.region_at(index.row()) if index.isValid() else None
        if region is None:
            return None
        column = self.columns[index.column()]
        mark = self.sheet.mark(region, column.name) if column.kind == "class" else None
        return mark or self.sheet.mark(region, None)

    def _is_overruled(self, region: Region, column: Column) -> bool:
        """Whether a counted grid is used instead of what was typed."""
        return column.kind == "class" and region in self._counted

    def _font(self, region: Region, column: Column) -> QFont | None:
        is_overruled = self._is_overruled(region, column)
        if not is_overruled and column.kind not in ("background", "grid", "predicted"):
            return None
        font = QFont()
        font.setItalic(True)
        font.setStrikeOut(is_overruled)
        return font

    def _tooltip(self, region: Region, column: Column) -> str:
        if column.kind == "class":
            if self._mark(region, column):
                return str(self.sheet.mark(region, column.name) or self.sheet.row_problem(region))
            if self._is_overruled(region, column):
                return "The counted grid of this slice is used instead of what is typed here."
            if self.sheet.is_empty(region):
                return "0 exactly: the row is ticked as empty. Typing a value unticks it."
            return _HOW_TO_TYPE
        if column.kind == "grid" and region in self._counted:
            return self._counted_tooltip(region)
        if column.kind == "grid" and self._frames_on(region):
            return self._framed_tooltip(region)
        if column.kind == "predicted" and region in self._predicted:
            return self._predicted_tooltip(region)
        return self._column_tooltip(column)

    def _counted_tooltip(self, region: Region) -> str:
        one = self._counted[region]
        lines = [
            f"{name}: {_counted_class(one, place)} %"
            for place, name in enumerate(self.sheet.classes[: len(one.fractions)])
        ]
        return "\n".join(["Counted, with a 95 % interval:", *lines])

    def _framed_tooltip(self, region: Region) -> str:
        lines = ["Counted in frames of this slice, each with a 95 % interval:"]
        for one in self._frames_on(region):
            texts = (
                f"{name} {_counted_class(one, place)} %"
                for place, name in enumerate(self.sheet.classes[: len(one.fractions)])
                if place
            )
            lines.append(f"{_box_text(one.region)}: {', '.join(texts)}")
        return "\n".join([*lines, "What is typed for the slice is used beside them."])

    def _predicted_tooltip(self, region: Region) -> str:
        lines = ["Predicted by the model:"]
        for name, value in zip(self.sheet.classes, self._predicted[region], strict=False):
            line = f"{name}: {format_percent(value)} %"
            typed = self.sheet.reading(region, name) if name in self.sheet.typed_classes else None
            if typed is not None and typed.is_known:
                line += f" (stated {shown_text(typed)})"
            lines.append(line)
        return "\n".join(lines)

    def _column_tooltip(self, column: Column) -> str:
        return {
            "class": f"How much of the slice or rectangle is {column.name}. " + _HOW_TO_TYPE,
            "empty": "Tick if there is none of the classes here: an exact 0.",
            "background": "What the classes leave. Not typed.",
            "grid": "What a finished counting grid says, with its 95 % interval. It is used "
            "instead of what is typed for the slice.\nOf counted frames: their mean, and how many "
            "there are; what is typed is used beside them.",
            "predicted": "What the model predicts.",
        }[column.kind]


def _counted_class(one: Proportion, place: int, *, has_interval: bool = True) -> str:
    """Write a class's count with its interval, in per cent without the sign."""
    value, bounds = one.fractions[place], one.bounds()[place]
    text = "?" if value is None else format_percent(value, digits=2)
    if bounds is None or not has_interval:
        return text
    low, high = (format_percent(bound, digits=2) for bound in bounds)
    return f"{text} ({low}\u2013{high})"


def _mean_of(frames: Sequence[Proportion], place: int) -> str:
    """Write a class's mean over frames, each as much as its area, in per cent without the sign."""
    known = [
        (value, (box[2] - box[0]) * (box[3] - box[1]))
        for value, box in ((one.fractions[place], one.region.box) for one in frames)
        if value is not None and box is not None
    ]
    area = sum(weight for _, weight in known)
    mean = sum(value * weight for value, weight in known) / area if area else None
    return "?" if mean is None else format_percent(mean, digits=2)


def _row_tooltip(region: Region) -> str:
    if region.box is None:
        return f"Slice {region.slice}, all of it"
    return f"Rectangle in slice {region.slice}: {_box_text(region)}"


def _box_text(region: Region) -> str:
    y0, x0, y1, x1 = region.box or (0, 0, 0, 0)
    return f"rows {y0}\u2013{y1 - 1}, columns {x0}\u2013{x1 - 1}"
