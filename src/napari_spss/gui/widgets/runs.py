"""The list of a project's runs: which is in use, going back to another, comparing two."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHeaderView, QTableWidgetItem, QWidget

from ...core.base import FinishReason, counted
from ..models import ComparedSlice, format_percent, together
from .parts import Notice, fill_column, make_button, make_row, make_text
from .rows import RowTable

if TYPE_CHECKING:
    from ...core.annotations import Classes
    from ...core.training import RunSummary

_ENDS = {
    FinishReason.time_limit: "time was up",
    FinishReason.converged: "converged",
    FinishReason.stopped: "stopped",
}


def run_title(run: RunSummary) -> str:
    """Name a run by the time at which it began."""
    return f"{run.began.astimezone():%Y-%m-%d %H:%M:%S}"


class RunsList(QWidget):
    """One row a run, the newest first; hidden while there is none."""

    use_requested = Signal(object)  # Path: the model of this run is to be used again
    compare_requested = Signal(object)  # Path: its labels beside those of the run in use
    slice_chosen = Signal(int)  # a slice of the comparison was clicked

    def __init__(self) -> None:
        super().__init__()
        self._runs: tuple[RunSummary, ...] = ()
        self._current: Path | None = None
        self._is_busy = False
        self._compared: list[ComparedSlice] = []
        self._classes: Classes | None = None  # of the comparison
        self._titles = ("", "")
        self._table = RowTable("runs", ("Began", "Steps", "Overlap", "Fraction"), (3,))
        header = self._table.horizontalHeaderItem
        for column, text in (
            (
                2,
                "Intersection over union of its labels and your judgements, at the judged nodes\n"
                "of the grids and frames there were then.",
            ),
            (3, "Fraction of its labels in the slices and frames that were counted then."),
        ):
            header(column).setToolTip(text)
        self._table.itemSelectionChanged.connect(self._refresh)
        self._detail = make_text()
        self._detail.setObjectName("run detail")
        self._detail.setTextFormat(Qt.TextFormat.PlainText)
        self._use = make_button(
            "Use",
            lambda: self._emit(self.use_requested),
            "Go back to the model of this run; no other run is lost.",
        )
        self._compare = make_button(
            "Compare",
            lambda: self._emit(self.compare_requested),
            "Show the labels of this run, and of the one in use, in two layers for the whole stack,"
            "\nand how far they agree. Stop keeps the slices that are done.",
        )
        self._comparison = Notice()
        self._comparison.setObjectName("comparison")
        self._slices = RowTable("compared slices", ("Slice", "", "", "Difference", "Overlap"), (0,))
        self._slices.setToolTip(
            "Fractions by the two runs, the second less the first in points of per cent, and the\n"
            "intersection over union of their labels. Click on a slice to go there."
        )
        self._slices.cellClicked.connect(self._on_slice)
        self._slices.hide()
        fill_column(
            *(self, self._table, self._detail, make_row(self._use, self._compare)),
            *(self._comparison, self._slices),
        )
        self._refresh()

    def set_runs(self, runs: Sequence[RunSummary], current: Path | None) -> None:
        """List runs; ``current`` is the folder of the one whose model is in use."""
        chosen = self._chosen() if current == self._current else None
        self._runs, self._current = tuple(runs), current
        self._table.setRowCount(len(self._runs))
        for row, run in enumerate(self._runs):
            is_current = run.path == current
            agreed = run.agreement
            texts = (
                f"\u2713 {run_title(run)}" if is_current else run_title(run),
                str(run.model.n_steps),
                "" if agreed is None else f"{agreed.overlap:.2f}",
                "" if agreed is None else _fractions(run.model.classes, agreed.fractions),
            )
            tip = "" if agreed is None else _by_class(run.model.classes, texts[3])
            for column, text in enumerate(texts):
                tip_here = tip if column == 3 else ""
                self._table.write_cell(row, column, text, tip=tip_here, is_bold=is_current)
        paths = [run.path for run in self._runs]
        kept = chosen.path if chosen is not None else current
        self._table.selectRow(paths.index(kept) if kept in paths else 0)
        self._refresh()

    def set_busy(self, is_busy: bool) -> None:
        """Offer nothing while something runs."""
        self._is_busy = is_busy
        self._refresh()

    def begin_comparison(self, classes: Classes, titles: tuple[str, str]) -> None:
        """Begin an empty comparison of two runs of these classes."""
        self.clear_comparison()
        self._classes, self._titles = classes, titles
        for column, title in enumerate(titles, start=1):
            item = QTableWidgetItem(title.replace(" ", "\n"))
            self._slices.setHorizontalHeaderItem(column, item)
        modes = QHeaderView.ResizeMode
        is_long = len(_shown(classes)) > 2
        for column in range(1, 5):
            mode = modes.Stretch if is_long else modes.ResizeToContents
            self._slices.horizontalHeader().setSectionResizeMode(column, mode)

    def clear_comparison(self) -> None:
        """Show no comparison, as of another image."""
        self._compared, self._classes = [], None
        self._slices.setRowCount(0)
        self._slices.hide()
        self._comparison.say("")

    def add_compared(self, compared: ComparedSlice) -> None:
        """Add a slice to the comparison."""
        if self._classes is None:
            return
        self._compared = sorted([*self._compared, compared], key=lambda one: one.slice)
        self._slices.setRowCount(len(self._compared))
        for row, one in enumerate(self._compared):
            texts = (
                str(one.slice),
                *(_fractions(self._classes, _all_fractions(one, which)) for which in (0, 1)),
                ", ".join(
                    f"{100 * (one.fraction(1, index) - one.fraction(0, index)):+.1f}"
                    for index in _shown(self._classes)
                ),
                ", ".join(_overlap(one, index) for index in _shown(self._classes)),
            )
            for column, text in enumerate(texts):
                tip = _by_class(self._classes, text) if column else ""
                self._slices.write_cell(row, column, text, tip=tip)
        self._slices.show()
        total = together(self._compared)
        n_slices = counted(len(self._compared), "slice")
        lines = [f"{n_slices}, run {self._titles[0]} and run {self._titles[1]}:"]
        for index in _shown(self._classes):
            here, there = (100 * total.fraction(which, index) for which in (0, 1))
            lines.append(
                f"{self._classes[index]}: {here:.1f} % and {there:.1f} %, overlap (intersection "
                f"over union) {_overlap(total, index)}"
            )
        self._comparison.say("\n".join(lines))

    def _chosen(self) -> RunSummary | None:
        rows = {item.row() for item in self._table.selectedItems()}
        return self._runs[min(rows)] if rows and min(rows) < len(self._runs) else None

    def _refresh(self) -> None:
        chosen = self._chosen()
        is_other = chosen is not None and chosen.path != self._current and not self._is_busy
        self._use.setEnabled(is_other)
        self._compare.setEnabled(is_other and self._current is not None)
        is_current = chosen is not None and chosen.path == self._current
        text = "" if chosen is None else _described(chosen)
        self._detail.setText(f"In use. {text}" if is_current else text)

    def _emit(self, signal: Signal) -> None:
        chosen = self._chosen()
        if chosen is not None:
            signal.emit(chosen.path)

    def _on_slice(self, row: int, _column: int) -> None:
        self.slice_chosen.emit(self._compared[row].slice)


def _described(run: RunSummary) -> str:
    """Say all that is known of a run."""
    how = "" if run.end is None else _ENDS.get(run.end.reason, "")
    if run.is_interrupted:
        how = "interrupted"
    text = f"Learned from {run.learned_from}" + (f"; {how}" if how else "")
    agreed = run.agreement
    if agreed is not None:
        n_nodes = counted(agreed.n_nodes, "judged node")
        text += f". Overlap with your judgements {agreed.overlap:.2f}, at {n_nodes}"
    if run.validation_loss is not None:
        text += f". Lowest validation loss {run.validation_loss:.3g}"
    return f"{text}."


def _shown(classes: Classes) -> list[int]:
    """Classes that have a fraction, but the background."""
    return [index for index in range(1, len(classes)) if index != classes.outside_index]


def _fractions(classes: Classes, fractions: Sequence[float]) -> str:
    texts = [format_percent(fractions[index], digits=2) for index in _shown(classes)]
    return ", ".join(texts) + " %"


def _by_class(classes: Classes, text: str) -> str:
    """Say what each part of a text is of."""
    parts = zip(_shown(classes), text.split(", "), strict=True)
    return "\n".join(f"{classes[index]}: {part}" for index, part in parts)


def _all_fractions(compared: ComparedSlice, which: int) -> list[float]:
    found = [compared.fraction(which, index) for index in range(compared.areas.shape[1])]
    return [0.0 if isnan(one) else one for one in found]


def _overlap(compared: ComparedSlice, class_index: int) -> str:
    iou = compared.iou(class_index)
    return "\u2013" if isnan(iou) else f"{iou:.2f}"
