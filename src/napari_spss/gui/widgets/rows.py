"""Small tables of texts: a row that is clicked or chosen as a whole."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

_MAX_ROWS_SHOWN = 5
_LEAST_ROW_PX = 30


class RowTable(QTableWidget):
    """Rows that are chosen as a whole, and not edited.

    The elastic columns share the room that the others leave; what they cannot show is cut.
    """

    def __init__(self, name: str, titles: Sequence[str], elastic: Sequence[int]) -> None:
        super().__init__(0, len(titles))
        self.setObjectName(name)
        self.setHorizontalHeaderLabels(list(titles))
        self.verticalHeader().setVisible(False)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        for column in elastic:
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Stretch)
        self.setWordWrap(False)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def changeEvent(self, event: QEvent) -> None:
        """Follow the font."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._fit()

    def setRowCount(self, rows: int) -> None:
        """Have so many rows, and take no more height than a few of them."""
        super().setRowCount(rows)
        self._fit()

    def write_cell(
        self,
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
        self.setItem(row, column, item)

    def _fit(self) -> None:
        height = max(_LEAST_ROW_PX, self.fontMetrics().height() + 6)
        self.verticalHeader().setDefaultSectionSize(height)
        rows = min(self.rowCount(), _MAX_ROWS_SHOWN) * height
        self.setFixedHeight(self.horizontalHeader().sizeHint().height() + rows + 4)
