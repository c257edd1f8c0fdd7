"""Figures of a result in the dock: fraction against slice, and saving all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QWidget

from .parts import fill_column, make_button
from .save_place import SavePlace

if TYPE_CHECKING:
    from ...core.analysis import ClassFractions
    from .fraction_plot import FractionPlot

_FORMATS = {"svg,pdf,png": "SVG, PDF and PNG", "svg": "SVG", "pdf": "PDF", "png": "PNG"}


class FiguresSection(QWidget):
    """Shows fractions slice by slice, and asks where figures are to be saved."""

    slice_wanted = Signal(int)
    # folder, formats, whether files there may be replaced
    save_requested = Signal(str, tuple, bool)

    def __init__(self) -> None:
        super().__init__()
        self._plot: FractionPlot | None = None
        self._slice = 0
        self._propose: Callable[[], Path] = Path.home
        save = make_button(
            "Save figures…",
            lambda: self._place.ask(self._propose()),
            "Write this plot, the sizes of the objects, and the labels over the slice that is "
            "shown,\nwith a scale bar, as SVG, PDF or PNG.",
        )
        self._place = SavePlace(
            _FORMATS, "SVG and PDF are for drawing programs and print, PNG is for slides."
        )
        self._place.chosen.connect(self._on_chosen)
        fill_column(self, save, self._place)

    def set_place(self, propose: Callable[[], Path]) -> None:
        """Tell who proposes a folder."""
        self._propose = propose

    def set_fractions(self, found: Sequence[ClassFractions]) -> None:
        """Draw fractions; without any there is nothing to be saved either."""
        if self._plot is None and found:
            from .fraction_plot import FractionPlot  # pyqtgraph is not loaded with the dock

            self._plot = FractionPlot()
            self._plot.set_slice(self._slice)
            self._plot.slice_chosen.connect(self.slice_wanted)
            self.layout().insertWidget(0, self._plot)
        if self._plot is not None:
            self._plot.set_fractions(found)
        self.setEnabled(bool(found))

    def set_slice(self, z: int) -> None:
        """Mark the slice that the viewer shows."""
        self._slice = z
        if self._plot is not None:
            self._plot.set_slice(z)

    def refuse(self, text: str, can_replace: bool) -> None:
        """Say why nothing is saved, and whether the user may have files replaced."""
        self._place.refuse(text, can_replace=can_replace)

    def _on_chosen(self, folder: str, formats: str, may_replace: bool) -> None:
        self._place.hide()
        self.save_requested.emit(folder, tuple(formats.split(",")), may_replace)
