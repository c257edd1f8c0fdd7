"""Curves of a run, in the colours of napari's theme."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

if TYPE_CHECKING:
    from .curves import Curves

__all__ = ["CurvesPlot"]

# Okabe and Ito's palette: told apart with every kind of colour vision
_COLOURS = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#f0e442")


class CurvesPlot(QWidget):
    """Two plots over the steps: the parts of the loss, and stated minus predicted proportions."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._graphics = pg.GraphicsLayoutWidget()
        self._graphics.setFixedHeight(210)
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
        self._colours: dict[str, str] = {}
        self._error_line = self._error.plot(pen=pg.mkPen(_COLOURS[1], width=2))
        self._foreground = "#d0d0d0"
        self._graphics.setToolTip(
            "Above: the parts of the loss.\nBelow: mean absolute difference between the stated and "
            "the predicted fractions, in per cent of the area."
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._legend)
        layout.addWidget(self._graphics)

    def set_theme(self, *, background: str, foreground: str) -> None:
        """Take the colours of the surrounding window."""
        self._foreground = foreground
        self._graphics.setBackground(background)
        for plot in (self._loss, self._error):
            for side in ("left", "bottom"):
                axis = plot.getAxis(side)
                axis.setPen(foreground)
                axis.setTextPen(foreground)

    def set_curves(self, curves: Curves) -> None:
        """Draw a run's curves."""
        steps = np.asarray(curves.steps, float)
        wanted = {name: (steps, np.asarray(v, float)) for name, v in curves.losses.items()}
        if curves.validation:
            at, loss = np.array(curves.validation, float).T
            wanted["held out"] = (at, loss)
        for name in [name for name in self._lines if name not in wanted]:
            self._loss.removeItem(self._lines.pop(name))
            self._colours.pop(name)
        for name, (x, y) in wanted.items():
            self._line(name).setData(x, y)
        self._error_line.setData(steps, 100 * np.asarray(curves.proportion_error, float))
        self._legend.setText(
            " ".join(
                f'<span style="color:{colour}">▬</span>&nbsp;{_unbroken(name)}'
                for name, colour in self._colours.items()
            )
        )

    def names(self) -> tuple[str, ...]:
        """Names of the curves in the upper plot."""
        return tuple(self._lines)

    def _line(self, name: str) -> pg.PlotDataItem:
        if name not in self._lines:
            free = [c for c in _COLOURS if c not in self._colours.values()]
            colour = free[0] if free else _COLOURS[-1]
            width = 2 if name == "total" else 1
            self._lines[name] = self._loss.plot(pen=pg.mkPen(colour, width=width))
            self._colours[name] = colour
        return self._lines[name]


def _unbroken(name: str) -> str:
    return name.replace("_", "-").replace(" ", "&nbsp;")
