"""Curves of a run, in the colours of napari's theme."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QColor, QShowEvent
from qtpy.QtWidgets import QWidget

from .parts import fill_column, make_text
from .theme import distinct, theme_colour

if TYPE_CHECKING:
    from ..models import Curves

# Okabe and Ito's palette: told apart with every kind of colour vision
_COLOURS = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#f0e442")
_HELD_OUT = "held out"
_CONTINUED, _SELF_TRAINING = "continued", "self-training starts"
_MOST_MARKS = 12
_FEW = 5
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


class ThemedPlot(QWidget):
    """Plots that are only looked at, in the colours of the theme that is worn around them.

    The wheel scrolls the dock.
    """

    def __init__(self, graphics: pg.GraphicsView, *plots: pg.PlotItem) -> None:
        super().__init__()
        self._graphics, self._plots = graphics, plots
        self._foreground = self._background = ""
        graphics.setInteractive(False)
        for plot in plots:
            plot.setMenuEnabled(False)
            plot.hideButtons()
            plot.setMouseEnabled(x=False, y=False)
            for side in ("left", "bottom"):
                plot.getAxis(side).enableAutoSIPrefix(False)

    def changeEvent(self, event: QEvent) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.StyleChange:
            self._take_colours()

    def showEvent(self, event: QShowEvent) -> None:
        """Wear the theme of the window that it has come into."""
        super().showEvent(event)
        self._take_colours()

    def _take_colours(self) -> None:
        before = self._foreground, self._background
        self._foreground = theme_colour("text", self).name()
        self._background = theme_colour("background", self).name()
        if before == (self._foreground, self._background):
            return
        self._graphics.setBackground(self._background)
        for plot in self._plots:
            for side in ("left", "bottom"):
                plot.getAxis(side).setPen(self._foreground)
                plot.getAxis(side).setTextPen(self._foreground)
        self._recolour()

    def _recolour(self) -> None:
        """Give what is drawn other colours."""
        raise NotImplementedError

    def _shade(self, colour: str) -> str:
        """Colour that stands out from either theme's background."""
        text, background = QColor(self._foreground), QColor(self._background)
        return str(distinct(QColor(colour), text=text, background=background).name())


class CurvesPlot(ThemedPlot):
    """Two plots over the steps: the parts of the loss, and how far off the fractions are."""

    def __init__(self) -> None:
        graphics = pg.GraphicsLayoutWidget()
        graphics.setFixedHeight(210)
        self._loss = graphics.addPlot(row=0, col=0)
        self._error = graphics.addPlot(row=1, col=0)
        super().__init__(graphics, self._loss, self._error)
        self._loss.setLabel("left", "loss")
        self._error.setLabel("left", "error, %")
        self._error.setLabel("bottom", "step")
        self._error.setXLink(self._loss)
        self._legend = make_text(tooltip=_TOOLTIP)
        for plot in (self._loss, self._error):
            plot.getAxis("left").setWidth(46)
            plot.showGrid(x=False, y=True, alpha=0.15)
        self._loss.getAxis("bottom").setStyle(showValues=False)
        self._lines: dict[str, pg.PlotDataItem] = {}
        self._error_line = self._error.plot()
        self._marks: tuple[tuple[int, str], ...] = ()  # those that are drawn
        self._n_continued = 0
        self._mark_lines: list[tuple[pg.PlotItem, pg.InfiniteLine]] = []
        graphics.setToolTip(_TOOLTIP)
        fill_column(self, self._legend, graphics).setSpacing(0)
        self._take_colours()

    def _recolour(self) -> None:
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

    def _line(self, name: str) -> pg.PlotDataItem:
        if name not in self._lines:
            self._lines[name] = self._loss.plot(pen=self._pen(name))
        return self._lines[name]

    def _colour(self, name: str) -> str:
        return self._shade(_SHOWN.get(name, (name, _COLOURS[4]))[1])

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


class Histogram(ThemedPlot):
    """How many objects have how much of something, in bins as wide as the numbers ask for."""

    def __init__(self) -> None:
        graphics = pg.PlotWidget()
        graphics.setFixedHeight(130)
        self._plot = graphics.getPlotItem()
        super().__init__(graphics, self._plot)
        self._plot.setLabel("left", "objects")
        self._bars = pg.BarGraphItem(x0=[], x1=[], height=[])
        self._plot.addItem(self._bars)
        fill_column(self, graphics)
        self._take_colours()

    def _recolour(self) -> None:
        brush = pg.mkBrush(self._shade(_COLOURS[0]))
        self._bars.setOpts(brush=brush, pen=pg.mkPen(self._background))

    def set_values(self, values: np.ndarray, title: str) -> None:
        """Show how numbers are spread; blank ones are left out."""
        known = values[np.isfinite(values)]
        counts, edges = np.histogram(known, bins=_bins(known))
        self._bars.setOpts(x0=edges[:-1], x1=edges[1:], height=counts)
        whole = (1, 1) if counts.max(initial=0) < _FEW else ()  # no tick at half an object
        self._plot.getAxis("left").setTickSpacing(*whole)
        self._plot.setLabel("bottom", title)


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


def _unbroken(text: str) -> str:
    return text.replace(" ", "&nbsp;").replace("-", "\u2011")
