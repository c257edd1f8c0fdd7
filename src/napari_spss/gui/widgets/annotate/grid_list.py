"""What was counted so far: the tally of a slice, and the list of grids."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem, QWidget

from ....core.base import counted
from ...models import GridBook, GridSheet, Tally

if TYPE_CHECKING:
    from ....core.annotations import ClassStyle

__all__ = ["GridList", "tally_html"]

_MAX_ROWS_SHOWN = 5


def tally_html(sheet: GridSheet | None, styles: Sequence[ClassStyle]) -> str:
    """Hits, fraction and interval of each class, as rich text.

    The background is left out; classes outside the fractions show their hits only.
    """
    if sheet is None:
        return "No grid on this slice."
    outside = {index for index, style in enumerate(styles) if style.is_outside}
    tallies = sheet.tally(len(styles), outside)[1:]
    rows = "".join(
        f"<tr>{_cells(tally, style)}</tr>"
        for tally, style in zip(tallies, styles[1:], strict=False)
    )
    notes = [] if sheet.is_done else ["so far; nodes without a mark count as misses"]
    if sheet.n_unsure:
        notes.append(f"{sheet.n_unsure} unsure, left out")
    notes.append("95 % interval; an even grid errs less")
    return f"<table cellspacing='0'>{rows}</table><small>{'; '.join(notes)}</small>"


def _cells(tally: Tally, style: ClassStyle) -> str:
    name = f"<td><b>{escape(style.name)}</b>&nbsp;&nbsp;</td>"
    if tally.n is None:
        return f"{name}<td colspan='3'>{counted(tally.hits, 'node')}, left out</td>"
    cells = [f"{tally.hits} / {tally.n}"]
    if tally.fraction is not None and tally.interval is not None:
        low, high = tally.interval
        cells.append(f"<b>{100 * tally.fraction:.1f} %</b>")
        cells.append(f"({100 * low:.1f}\u2013{100 * high:.1f} %)")
    gap = "\u00a0\u00a0"
    return name + "".join(f"<td>{cell.replace(' ', gap[:1])}{gap}</td>" for cell in cells)


class GridList(QTableWidget):
    """One row a grid: slice, hits of nodes, status.

    Signals
    -------
    slice_chosen(int)
        The user clicked on the row of a slice.
    """

    slice_chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, 3, parent)
        self.setHorizontalHeaderLabels(["Slice", "Hits / nodes", "Status"])
        self.setToolTip("The grids of this stack. Click on one to go to its slice.")
        self.verticalHeader().setVisible(False)
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.cellClicked.connect(self._on_clicked)

    def show_grids(self, book: GridBook, current: int, styles: Sequence[ClassStyle]) -> None:
        """List the grids of a book and select that of the current slice."""
        outside = {index for index, style in enumerate(styles) if style.is_outside}
        slices = book.slices()
        self.setVisible(bool(slices))
        self.setRowCount(len(slices))
        selected = -1
        for row, z in enumerate(slices):
            sheet = book.sheet(z)
            if sheet is None:
                continue
            tallies = sheet.tally(len(styles), outside)
            n_nodes = max((tally.n or 0 for tally in tallies), default=0)
            n_hits = sum(tally.hits for tally in tallies[1:] if tally.n is not None)
            texts = (str(z), f"{n_hits} / {n_nodes}", "done" if sheet.is_done else "open")
            for column, text in enumerate(texts):
                self._write(row, column, text)
            if z == current:
                selected = row
        if selected >= 0:
            self.selectRow(selected)
        else:
            self.clearSelection()
        self._fit(len(slices))

    def _write(self, row: int, column: int, text: str) -> None:
        item = self.item(row, column)
        if item is None:
            item = QTableWidgetItem()
            item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
            self.setItem(row, column, item)
        if item.text() != text:
            item.setText(text)

    def _fit(self, n_rows: int) -> None:
        """Take no more height than a few rows."""
        row_height = self.verticalHeader().defaultSectionSize()
        header = self.horizontalHeader().sizeHint().height()
        self.setFixedHeight(header + min(n_rows, _MAX_ROWS_SHOWN) * row_height + 4)

    def _on_clicked(self, row: int, _column: int) -> None:
        item = self.item(row, 0)
        if item is not None:
            self.slice_chosen.emit(int(item.text()))
