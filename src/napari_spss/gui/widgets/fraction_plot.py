"""Fraction against slice, in the colours of napari's theme; a click goes to the slice."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
import pyqtgraph as pg
from qtpy.QtCore import QPoint, Qt, Signal
from qtpy.QtGui import QColor, QMouseEvent

from .parts import fill_column, make_choice, make_text, offer_quietly
from .plots import ThemedPlot, legend_html

if TYPE_CHECKING:
    from ...core.analysis import ClassFractions

Floats: TypeAlias = npt.NDArray[np.float64]

_HEIGHT_PX = 170
_BAND = "95 % interval, whole stack"
_FEW_SLICES = 8  # each of which gets a tick
_STYLES = (Qt.PenStyle.DashLine, Qt.PenStyle.DashDotLine)
_TOOLTIP = """Per cent of each slice, of the class that is chosen; click on a slice to go there.
predicted: of the labels
typed, counted: what you stated, with its bounds or 95 % interval
whole stack: by counted frames, or by labels that a check count corrects; the band is its
95 % interval"""


class FractionPlot(ThemedPlot):
    """Draws what is known of the fractions of a class, slice by slice.

    The fractions of labels are called ``of_labels``.
    """

    slice_chosen = Signal(int)

    def __init__(self, of_labels: str = "predicted") -> None:
        graphics = _ClickPlot()
        self._plot = graphics.getPlotItem()
        super().__init__(graphics, self._plot)
        self._of_labels = of_labels
        self._found: tuple[ClassFractions, ...] = ()
        self._class = make_choice((), "Class whose fractions are drawn.", self._draw)
        self._legend = make_text(tooltip=_TOOLTIP)
        graphics.setObjectName("fractions_by_slice")
        graphics.setFixedHeight(_HEIGHT_PX)
        graphics.setToolTip(_TOOLTIP)
        graphics.clicked.connect(self._on_clicked)
        self._plot.setLabel("bottom", "slice")
        self._plot.setLabel("left", "% of slice")
        self._plot.showGrid(x=False, y=True, alpha=0.15)
        self._here = pg.InfiniteLine(angle=90)
        fill_column(self, self._class, self._legend, graphics).setSpacing(2)
        self._take_colours()

    def _recolour(self) -> None:
        self._draw()

    def set_fractions(self, found: Sequence[ClassFractions]) -> None:
        """Draw other fractions, of the same class if it is among them."""
        self._found = tuple(found)
        offer_quietly(self._class, [(one.name, one.name) for one in found])
        self._class.setVisible(len(self._found) > 1)
        self._draw()

    def set_slice(self, z: int) -> None:
        """Mark the slice that the viewer shows."""
        self._here.setValue(z)

    def _draw(self) -> None:
        index = self._class.currentIndex()
        self._plot.clear()
        if not 0 <= index < len(self._found):
            self._legend.setText("")
            return
        one, text = self._found[index], self._foreground
        z, line = np.arange(len(one.predicted), dtype=float), self._shade(one.colour)
        entries = [("▬", line, self._of_labels)]
        marks = (
            ("◆", "d", text, one.stated.typed, "typed"),
            ("○", "o", self._background, one.stated.counted, "counted, 95 %"),
        )
        for sign, symbol, brush, values, name in marks:
            if not np.isnan(values).all():
                self._draw_stated(z, values, one, symbol=symbol, brush=brush)
                entries.append((sign, text, name))
        for style, (name, (fraction, low, high)) in zip(_STYLES, one.whole.items(), strict=False):
            pen = pg.mkPen(text, width=1, style=style)
            self._plot.addItem(pg.InfiniteLine(100 * fraction, angle=0, pen=pen))
            if not isnan(low):
                band = pg.LinearRegionItem(
                    (100 * low, 100 * high),
                    orientation="horizontal",
                    movable=False,
                    brush=pg.mkBrush(QColor(*QColor(text).getRgb()[:3], 40)),
                    pen=pg.mkPen(None),
                )
                self._plot.addItem(band)
            entries.append(("┅" if style == _STYLES[0] else "┈", text, f"{name}, whole stack"))
        if any(not isnan(low) for _, low, _ in one.whole.values()):
            entries.append(("▒", text, _BAND))
        self._plot.plot(
            z,
            100 * one.predicted,
            pen=pg.mkPen(line, width=2),
            connect="finite",
            symbol="o",
            symbolSize=5,
            symbolPen=line,
            symbolBrush=line,
        )
        self._here.setPen(pg.mkPen(text, width=1, style=Qt.PenStyle.DotLine))
        self._plot.addItem(self._here, ignoreBounds=True)
        ticks = [[(i, str(i)) for i in range(len(z))]] if len(z) <= _FEW_SLICES else None
        self._plot.getAxis("bottom").setTicks(ticks)
        self._plot.setXRange(-0.5, max(0.5, len(z) - 0.5), padding=0.02)
        self._plot.setYRange(0, 105 * _highest(one), padding=0)
        self._legend.setText(legend_html(entries))

    def _draw_stated(
        self, z: Floats, values: Floats, one: ClassFractions, *, symbol: str, brush: str
    ) -> None:
        is_known = ~np.isnan(values)
        x, y = z[is_known], 100 * values[is_known]
        low, high = (100 * side[is_known] for side in (one.stated.low, one.stated.high))
        pen = pg.mkPen(self._foreground, width=1)
        bars = pg.ErrorBarItem(x=x, y=y, bottom=y - low, top=high - y, beam=0.3, pen=pen)
        self._plot.addItem(bars)
        self._plot.plot(
            x, y, pen=None, symbol=symbol, symbolSize=8, symbolPen=pen, symbolBrush=brush
        )

    def _on_clicked(self, place: QPoint) -> None:
        if self._found:
            at = self._plot.vb.mapSceneToView(self._graphics.mapToScene(place))
            last = len(self._found[0].predicted) - 1
            self.slice_chosen.emit(min(max(round(at.x()), 0), last))


class _ClickPlot(pg.PlotWidget):
    """A plot that tells where it is clicked."""

    clicked = Signal(object)  # QPoint

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Tell where the left button was pressed."""
        if event.button() == Qt.MouseButton.LeftButton:
            self.clicked.emit(event.position().toPoint())


def _highest(one: ClassFractions) -> float:
    """Highest fraction that is to be seen, bounds included."""
    ends = [high for fraction in one.whole.values() for high in fraction]
    values = (one.predicted, one.stated.typed, one.stated.counted, one.stated.high, ends)
    known = np.concatenate([np.ravel(part) for part in values])
    return max(float(np.nanmax(known, initial=0.0)), 1e-3)
