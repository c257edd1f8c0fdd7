"""Curves of a run, in the colours of napari's theme."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QTextDocument
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from .theme import distinct

if TYPE_CHECKING:
    from ..models import Curves

# Okabe and Ito's palette: told apart with every kind of colour vision
_COLOURS = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#f0e442")
_HELD_OUT = "held out"
_CONTINUED, _SELF_TRAINING = "continued", "self-training starts"
_MOST_MARKS = 12
_SHOWN = {
    "total": ("sum", _COLOURS[0]),
    "proportions": ("fractions", _COLOURS[1]),
    "labels": ("places", _COLOURS[2]),
    "self_training": ("self-training", _COLOURS[3]),
    "masks": ("painted", _COLOURS[4]),
    "sharpness": ("sharpness", _COLOURS[4]),
    _HELD_OUT: ("kept aside", _COLOURS[5]),
}
_TOOLTIP = """Above: how badly the map fits what you said (the loss), in parts, and their sum; lower
is better.
fractions: those of slices and rectangles
places: nodes of counted grids, keypoints, painted pixels
self-training: the map's own surest parts; it sets in later, and the sum rises by it,
which is no step back
Below: by how much the map's fractions differ from the stated ones, on average,
in per cent of the area."""


class CurvesPlot(QWidget):
    """Two plots over the steps: the parts of the loss, and how far off the fractions are."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._graphics = pg.GraphicsLayoutWidget()
        self._graphics.setFixedHeight(210)
        self._graphics.setInteractive(False)  # the wheel scrolls the dock, over the axes too
        self._loss = self._graphics.addPlot(row=0, col=0)
        self._error = self._graphics.addPlot(row=1, col=0)
        self._loss.setLabel("left", "loss")
        self._error.setLabel("left", "error, %")
        self._error.setLabel("bottom", "step")
        self._error.setXLink(self._loss)
        self._legend = QLabel()
        self._legend.setWordWrap(True)
        for plot in (self._loss, self._error):
            plot.setMenuEnabled(False)
            plot.hideButtons()
            plot.setMouseEnabled(x=False, y=False)
            plot.getAxis("left").setWidth(46)
            plot.getAxis("left").enableAutoSIPrefix(False)
            plot.getAxis("bottom").enableAutoSIPrefix(False)
            plot.showGrid(x=False, y=True, alpha=0.15)
        self._loss.getAxis("bottom").setStyle(showValues=False)
        self._lines: dict[str, pg.PlotDataItem] = {}
        self._error_line = self._error.plot()
        self._marks: tuple[tuple[int, str], ...] = ()  # those that are drawn
        self._n_continued = 0
        self._mark_lines: list[tuple[pg.PlotItem, pg.InfiniteLine]] = []
        self._foreground, self._background = "#d0d0d0", "#262930"
        self._graphics.setToolTip(_TOOLTIP)
        self._legend.setToolTip(_TOOLTIP)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._legend)
        layout.addWidget(self._graphics)

    def set_theme(self, *, background: str, foreground: str) -> None:
        """Take the colours of the surrounding window."""
        self._foreground, self._background = foreground, background
        self._graphics.setBackground(background)
        for plot in (self._loss, self._error):
            for side in ("left", "bottom"):
                axis = plot.getAxis(side)
                axis.setPen(foreground)
                axis.setTextPen(foreground)
        for name, line in self._lines.items():
            line.setPen(self._pen(name))
        self._error_line.setPen(self._pen("proportions", width=2))
        self._draw_marks(self._marks)
        self._write_legend()

    def set_curves(self, curves: Curves) -> None:
        """Draw a run's curves."""
        steps = np.asarray(curves.steps, float)
        wanted = {name: (steps, np.asarray(v, float)) for name, v in curves.losses.items()}
        if curves.validation:
            at, loss = np.array(curves.validation, float).T
            wanted[_HELD_OUT] = (at, loss)
        for name in [name for name in self._lines if name not in wanted]:
            self._loss.removeItem(self._lines.pop(name))
        for name, (x, y) in wanted.items():
            self._line(name).setData(x, y)
        self._error_line.setData(steps, 100 * np.asarray(curves.proportion_error, float))
        gap = curves.last_step / _MOST_MARKS
        marks = [(step, _CONTINUED) for step in thinned(curves.continued, gap)]
        if curves.self_training_from is not None:
            marks.append((curves.self_training_from, _SELF_TRAINING))
        self._n_continued = len(curves.continued)
        if tuple(marks) != self._marks:
            self._draw_marks(tuple(marks))
        self._write_legend()

    def names(self) -> tuple[str, ...]:
        """Names of the curves in the upper plot."""
        return tuple(self._lines)

    def marks(self) -> tuple[tuple[int, str], ...]:
        """Steps that are marked by a line, and what the legend calls it."""
        return self._marks

    def legend(self) -> str:
        """Return what is written above the curves."""
        return plain_legend(self._legend.text())

    def _line(self, name: str) -> pg.PlotDataItem:
        if name not in self._lines:
            self._lines[name] = self._loss.plot(pen=self._pen(name))
        return self._lines[name]

    def _colour(self, name: str) -> str:
        """Colour of a curve, which stands out from either theme's background."""
        colour = QColor(_SHOWN.get(name, (name, _COLOURS[4]))[1])
        text, background = QColor(self._foreground), QColor(self._background)
        return str(distinct(colour, text=text, background=background).name())

    def _pen(self, name: str, *, width: int = 1) -> Any:
        return pg.mkPen(self._colour(name), width=2 if name == "total" else width)

    def _mark_colour(self, text: str) -> str:
        return self._colour("self_training") if text == _SELF_TRAINING else self._foreground

    def _write_legend(self) -> None:
        shown = {name: _SHOWN.get(name, (name, ""))[0].replace("_", "-") for name in self._lines}
        entries = [("▬", self._colour(name), text) for name, text in shown.items()]
        for text in dict.fromkeys(text for _, text in self._marks):
            times = f" ({self._n_continued} times)" if text == _CONTINUED else ""
            said = text + times * (self._n_continued > 1)
            entries.append(("┊", self._mark_colour(text), said))
        self._legend.setText(legend_html(entries))

    def _draw_marks(self, marks: tuple[tuple[int, str], ...]) -> None:
        """Draw a dotted line at each of these steps; the legend says what they are."""
        for plot, line in self._mark_lines:
            plot.removeItem(line)
        self._marks, self._mark_lines = marks, []
        for step, text in marks:
            pen = pg.mkPen(self._mark_colour(text), width=1, style=Qt.PenStyle.DotLine)
            for plot in (self._loss, self._error):
                line = pg.InfiniteLine(step, angle=90, pen=pen)
                line.setZValue(-1)  # below the curves
                plot.addItem(line, ignoreBounds=True)
                self._mark_lines.append((plot, line))


class Histogram(QWidget):
    """How many objects have how much of something, in bins as wide as the numbers ask for."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._plot = pg.PlotWidget()
        self._plot.setFixedHeight(130)
        self._plot.setInteractive(False)  # the wheel scrolls the dock
        self._plot.setMenuEnabled(False)
        self._plot.hideButtons()
        self._plot.setMouseEnabled(x=False, y=False)
        self._plot.setLabel("left", "objects")
        for side in ("left", "bottom"):
            self._plot.getAxis(side).enableAutoSIPrefix(False)
        self._bars = pg.BarGraphItem(x0=[], x1=[], height=[])
        self._plot.addItem(self._bars)
        self._counts: tuple[int, ...] = ()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._plot)

    def set_theme(self, *, background: str, foreground: str) -> None:
        """Take the colours of the surrounding window."""
        self._plot.setBackground(background)
        for side in ("left", "bottom"):
            self._plot.getAxis(side).setPen(foreground)
            self._plot.getAxis(side).setTextPen(foreground)
        colour = distinct(
            QColor(_COLOURS[0]), text=QColor(foreground), background=QColor(background)
        )
        self._bars.setOpts(brush=pg.mkBrush(colour), pen=pg.mkPen(background))

    def set_values(self, values: np.ndarray, title: str) -> None:
        """Show how numbers are spread; blank ones are left out."""
        known = values[np.isfinite(values)]
        counts, edges = np.histogram(known, bins=_bins(known))
        self._bars.setOpts(x0=edges[:-1], x1=edges[1:], height=counts)
        self._plot.setLabel("bottom", title)
        self._counts = tuple(counts.tolist())

    def counts(self) -> tuple[int, ...]:
        """Return the heights of the bars."""
        return self._counts


def _bins(values: np.ndarray) -> int | np.ndarray:
    """Bins of a histogram: at most 40, for whole numbers as wide as one or more of them."""
    if len(values) < 2:
        return 1
    n = min(40, max(5, len(np.histogram_bin_edges(values, "sqrt")) - 1))
    if (values == np.rint(values)).all():
        low, high = values.min(), values.max()
        width = max(1, math.ceil((high - low + 1) / n))
        return np.arange(low - 0.5, high + 0.5 + width, width)
    return n


def thinned(steps: Sequence[int], gap: float) -> tuple[int, ...]:
    """Leave out steps that lie too near to a later one; the last one always stays."""
    kept: list[int] = []
    for step in sorted(steps, reverse=True):
        if not kept or kept[-1] - step >= gap:
            kept.append(step)
    return tuple(reversed(kept))


def legend_html(entries: Iterable[tuple[str, str, str]]) -> str:
    """Write a legend: of each entry a sign, its colour, and what it stands for."""
    return " ".join(
        f'<span style="color:{colour}"><b>{sign}</b></span>&nbsp;{_unbroken(said)}'
        for sign, colour, said in entries
    )


def plain_legend(html: str) -> str:
    """Return the text of what `legend_html` wrote."""
    text = QTextDocument()
    text.setHtml(html)
    return text.toPlainText().replace("\u00a0", " ").replace("\u2011", "-")


def _unbroken(text: str) -> str:
    return text.replace(" ", "&nbsp;").replace("-", "\u2011")
