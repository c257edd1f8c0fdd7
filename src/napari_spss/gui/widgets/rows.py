"""Small tables of texts: a row that is clicked or chosen as a whole."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

_MAX_ROWS_SHOWN = 5


def make_rows(name: str, titles: Sequence[str], elastic: Sequence[int]) -> QTableWidget:
    """Make a table of rows that are chosen as a whole, and not edited.

    The elastic columns share the room that the others leave; what they cannot show is cut.
    """
    table = QTableWidget(0, len(titles))
    table.setObjectName(name)
    table.setHorizontalHeaderLabels(list(titles))
    table.verticalHeader().setVisible(False)
    header = table.horizontalHeader()
    header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    for column in elastic:
        header.setSectionResizeMode(column, QHeaderView.ResizeMode.Stretch)
    table.setWordWrap(False)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    return table


def write_cell(
    table: QTableWidget,
    row: int,
    column: int,
    text: str,
    *,
    tip: str = "",
    is_bold: bool = False,
    can_edit: bool = False,
) -> None:
    """Write a text into a cell; all but those of the first column to the right."""
    item = QTableWidgetItem(text)
    item.setToolTip(tip)
    if not can_edit:
        item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEditable)
    if column:
        item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
    font = item.font()
    font.setBold(is_bold)
    item.setFont(font)
    table.setItem(row, column, item)


def fit_rows(table: QTableWidget) -> None:
    """Take no more height than a few rows."""
    rows = min(table.rowCount(), _MAX_ROWS_SHOWN) * table.verticalHeader().defaultSectionSize()
    table.setFixedHeight(table.horizontalHeader().sizeHint().height() + rows + 4)
