"""What was counted so far: the tally of a slice or frame, and the list of grids or frames."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QTableWidgetItem

from ....core.base import counted
from ...models import GridBook, Tally, n_unsure, tally
from ..rows import RowTable

if TYPE_CHECKING:
    from ....core.annotations import ClassStyle, CountingGrid, Region


def tally_html(grid: CountingGrid | None, styles: Sequence[ClassStyle]) -> str:
    """Hits, fraction and interval of each class, as rich text.

    The background is left out; classes outside the fractions show their hits only.
    """
    if grid is None:
        return "No grid on this slice."
    tallies = zip(tally(grid, styles)[1:], styles[1:], strict=False)
    rows = "".join(f"<tr>{_cells(*one)}</tr>" for one in tallies)
    notes = [] if grid.is_done else ["so far; nodes without a mark count as misses"]
    if n := n_unsure(grid):
        notes.append(f"{n} unsure, left out")
    notes.append("95 % interval; an even grid errs less")
    return f"<table cellspacing='0'>{rows}</table><small>{'; '.join(notes)}</small>"


def _cells(found: Tally, style: ClassStyle) -> str:
    name = f"<td><b>{escape(style.name)}</b>&nbsp;&nbsp;</td>"
    if found.n is None:
        return f"{name}<td colspan='3'>{counted(found.hits, 'node')}, left out</td>"
    cells = [f"{found.hits} / {found.n}"]
    if found.fraction is not None and found.interval is not None:
        low, high = found.interval
        cells.append(f"<b>{100 * found.fraction:.1f} %</b>")
        cells.append(f"({100 * low:.1f}\u2013{100 * high:.1f} %)")
    gap = "\u00a0\u00a0"
    return name + "".join(f"<td>{cell.replace(' ', gap[:1])}{gap}</td>" for cell in cells)


class GridList(RowTable):
    """One row a grid, or a frame in its order: where, hits of nodes, status."""

    region_chosen = Signal(object)  # the user clicked on the row of this region

    def __init__(self) -> None:
        super().__init__("grids", ("", "Hits / nodes", "Status"), (0, 1, 2))
        self._regions: tuple[Region, ...] = ()
        self.setToolTip("Click on one to go there.")
        self.cellClicked.connect(self._on_clicked)

    def show_grids(
        self,
        book: GridBook,
        regions: Sequence[Region],
        current: Region | None,
        styles: Sequence[ClassStyle],
    ) -> None:
        """List some of the grids of a book, and select the current one."""
        is_of_frames = any(region.box is not None for region in regions)
        self.horizontalHeaderItem(0).setText("Frame" if is_of_frames else "Slice")
        self._regions = tuple(regions)
        self.setVisible(bool(regions))
        self.setRowCount(len(regions))
        for row, region in enumerate(regions):
            grid = book.grid(region)
            if grid is None:
                continue
            tallies = tally(grid, styles)
            n_nodes = max((one.n or 0 for one in tallies), default=0)
            n_hits = sum(one.hits for one in tallies[1:] if one.n is not None)
            place = f"{row + 1}, slice {region.slice}" if region.box else f"{region.slice}"
            texts = (place, f"{n_hits} / {n_nodes}", "done" if grid.is_done else "open")
            for column, text in enumerate(texts):
                self._write(row, column, text)
        if current in self._regions:
            self.selectRow(self._regions.index(current))
        else:
            self.clearSelection()

    def _write(self, row: int, column: int, text: str) -> None:
        item = self.item(row, column)
        if item is None:
            item = QTableWidgetItem()
            item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
            self.setItem(row, column, item)
        if item.text() != text:
            item.setText(text)

    def _on_clicked(self, row: int, _column: int) -> None:
        self.region_chosen.emit(self._regions[row])
