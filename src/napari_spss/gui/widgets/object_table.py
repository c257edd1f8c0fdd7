"""The table of objects: sorted, filtered, a row to click on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QAbstractTableModel, QEvent, QModelIndex, QSortFilterProxyModel, Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

if TYPE_CHECKING:
    import pandas as pd

_TITLES = {
    "object": "object",
    "voxels": "voxels",
    "pixels": "pixels",
    "volume": "volume",
    "area": "area",
    "equivalent_diameter": "diameter",
    "elongation": "elongation",
    "mean_probability": "probability",
    "mean_grey": "grey value",
    "surface": "surface",
    "perimeter": "perimeter",
    "axis_major": "longest axis",
    "axis_middle": "middle axis",
    "axis_minor": "shortest axis",
    "slices": "slices",
    "touches_border": "at border",
}
_UNITS = {"_um": "µm", "_um2": "µm²", "_um3": "µm³", "_px": "px", "_px2": "px²"}
_LEFT_OUT = {"class", "is_counted", *"zyx", "z0", "y0", "x0", "z1", "y1", "x1"}
_ROWS_SHOWN = 8
_ROWS_MEASURED = 100  # for the width of columns, besides those that are shown
_NUMBER_ROLE = Qt.ItemDataRole.UserRole


def shown_columns(table: pd.DataFrame) -> list[str]:
    """Columns that the dock shows: the plainest first, in micrometres if that is known.

    Those of other packages come last.
    """
    known = [str(name) for name in table if name not in _LEFT_OUT and not table[name].isna().all()]
    parts = {name: _parts(name) for name in known}
    physical = {stem for stem, unit in parts.values() if "µ" in unit}
    physical |= {"pixels"} & set(known) if "area" in physical else set()
    physical |= {"voxels"} & set(known) if "volume" in physical else set()
    kept = [
        name
        for name, (stem, unit) in parts.items()
        if "µ" in unit or not (stem in physical or name in physical)
    ]
    order = {stem: place for place, stem in enumerate(_TITLES)}
    return sorted(kept, key=lambda name: order.get(parts[name][0], len(order)))


def column_title(name: str) -> str:
    """Name a column, with its unit."""
    stem, unit = _parts(name)
    title = _TITLES.get(stem, stem)
    return f"{title}, {unit}" if unit else title


def _parts(name: str) -> tuple[str, str]:
    for suffix, unit in _UNITS.items():
        if name.endswith(suffix) and name.removesuffix(suffix) in _TITLES:
            return name.removesuffix(suffix), unit
    return name, ""


class _Model(QAbstractTableModel):
    """A data frame, some of its columns; nothing is edited."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._names: list[str] = []
        self._columns: list[np.ndarray] = []

    def set_table(self, table: pd.DataFrame | None) -> None:
        self.beginResetModel()
        self._names = [] if table is None else shown_columns(table)
        self._columns = (
            [table[name].to_numpy() for name in self._names] if table is not None else []
        )
        self.endResetModel()

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        is_below = parent is not None and parent.isValid()
        return 0 if is_below or not self._columns else len(self._columns[0])

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self._names)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if not index.isValid():
            return None
        value = self._columns[index.column()][index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return _text(value)
        if role == _NUMBER_ROLE:
            return float(value) if _is_number(value) else math.nan
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return None

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if orientation != Qt.Orientation.Horizontal or section >= len(self._names):
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return column_title(self._names[section]).replace(", ", "\n")
        return self._names[section] if role == Qt.ItemDataRole.ToolTipRole else None

    def number_at(self, row: int) -> int:
        return int(self._columns[self._names.index("object")][row])

    def row_of(self, number: int) -> int | None:
        if not self._names:
            return None
        found = np.flatnonzero(self._columns[self._names.index("object")] == number)
        return int(found[0]) if len(found) else None


class _Rows(QSortFilterProxyModel):
    """Rows in the chosen order; a mask says which are shown."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._is_shown: np.ndarray | None = None
        self.setSortRole(_NUMBER_ROLE)

    def set_shown(self, is_shown: np.ndarray | None) -> None:
        self._is_shown = is_shown
        self.invalidate()  # that of the filter alone is deprecated

    def filterAcceptsRow(self, row: int, parent: QModelIndex) -> bool:
        return self._is_shown is None or bool(self._is_shown[row])

    def lessThan(self, left: QModelIndex, right: QModelIndex) -> bool:
        one, other = (index.data(_NUMBER_ROLE) for index in (left, right))
        return math.isnan(other) and not math.isnan(one) if math.isnan(one + other) else one < other


class ObjectTable(QTableView):
    """A row per object; a click on a title sorts, one on a row chooses the object."""

    chosen = Signal(int)  # the user went to the row of this object

    def __init__(self) -> None:
        super().__init__()
        self._is_following = False
        self._model = _Model(self)
        self._rows = _Rows(self)
        self._rows.setSourceModel(self._model)
        self.setModel(self._rows)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setSortingEnabled(True)
        self.setWordWrap(False)
        self.verticalHeader().setVisible(False)
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        self.horizontalHeader().setHighlightSections(False)
        self.horizontalHeader().setResizeContentsPrecision(_ROWS_MEASURED)
        self._fit_rows()
        self.setToolTip("Click on a row to go to the object, on a title to sort.")
        self.selectionModel().currentRowChanged.connect(self._on_current)
        self.clicked.connect(self._tell)

    def changeEvent(self, event: QEvent) -> None:
        """Follow the font."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._fit_rows()
            self.resizeColumnsToContents()

    def _fit_rows(self) -> None:
        height = self.fontMetrics().height() + 6
        self.verticalHeader().setDefaultSectionSize(height)
        self.setFixedHeight((_ROWS_SHOWN + 3) * height)

    def set_table(self, table: pd.DataFrame | None) -> None:
        """Show other objects, all of them, in the order that was chosen."""
        header, n_before = self.horizontalHeader(), self._model.columnCount()
        self._rows.set_shown(None)
        self._model.set_table(table)
        is_alike = 0 < n_before == self._model.columnCount()
        column, order = header.sortIndicatorSection(), header.sortIndicatorOrder()
        if not is_alike or column >= n_before:
            column, order = 0, Qt.SortOrder.AscendingOrder
        self.sortByColumn(column, order)
        self.resizeColumnsToContents()

    def set_shown(self, is_shown: np.ndarray | None) -> None:
        """Show only some rows; a mask over those of the table."""
        self._rows.set_shown(is_shown)

    def select(self, number: int) -> None:
        """Go to the row of an object; nothing is told, and nothing done if it is not shown."""
        row = self._model.row_of(number)
        place = None if row is None else self._rows.mapFromSource(self._model.index(row, 0))
        if place is None or not place.isValid():
            self.clearSelection()
            return
        self._is_following = True
        try:
            self.setCurrentIndex(place)
            self.selectRow(place.row())
            self.scrollTo(place)
        finally:
            self._is_following = False

    def _on_current(self, current: QModelIndex, _before: QModelIndex) -> None:
        if current.isValid() and not self._is_following and self.hasFocus():
            self._tell(current)

    def _tell(self, index: QModelIndex) -> None:
        self.chosen.emit(self._model.number_at(self._rows.mapToSource(index).row()))


def _is_number(value: object) -> bool:
    return isinstance(value, (bool, int, float, np.number, np.bool_))


def _text(value: object) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (float, np.floating)):
        return "" if math.isnan(value) else f"{value:.4g}"
    return str(value)
