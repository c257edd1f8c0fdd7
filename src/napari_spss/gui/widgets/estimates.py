"""The check count's part of the Results: a second look, and fractions with honest intervals."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from html import escape
from math import isnan
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QLabel, QWidget

from ..models import percent_text
from .parts import Notice, fill_column, make_button, make_row, shrink

if TYPE_CHECKING:
    from ...core.analysis import Estimate

CORRECTED = "labels, corrected"
_TITLES = {
    "count": "check count alone",
    "count, Cavalieri": "check count, Cavalieri",
    "training count": "training count alone",
}


class EstimatesTable(QLabel):
    """Fractions by class and method, if there are any; the tooltip tells what they rest on."""

    def __init__(self) -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.RichText)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.hide()

    def show_estimates(self, estimates: Sequence[Estimate], title: str = "") -> None:
        """Show these, below a title if there is one."""
        heading = f"<p>{escape(title)}</p>" if title and estimates else ""
        texts = [heading]
        # what holds of several classes stands below the last of them
        for basis, classes in itertools.groupby(_by_class(estimates), _basis):
            texts += [*map(_class_html, classes), f"<div><small>{escape(basis)}</small></div>"]
        self.setText("".join(texts))
        self.setToolTip("".join(map(_basis_html, estimates)))
        self.setVisible(bool(estimates))


class EstimatesView(QWidget):
    """Offers what can be done with a check count, and shows what came of it."""

    look_requested = Signal()
    estimate_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._look = make_button(
            "",
            self.look_requested.emit,
            "Show the nodes of the check count that contradict the labels, one after the other:\n"
            "one of the two is wrong. A few wrong nodes make a rare class much too large.",
        )
        self._estimate = make_button(
            "Estimate",
            self.estimate_requested.emit,
            "Correct the fractions of the labels by the check count. Their 95 % intervals hold the "
            "errors of the labels.",
        )
        shrink(self._look, self._estimate)
        self._table = EstimatesTable()
        self._missing, self._warning = Notice(), Notice(is_warning=True)
        buttons = make_row(QLabel("Check count"), (self._look, 1), (self._estimate, 1))
        fill_column(self, buttons, self._missing, self._table, self._warning)

    def offer(self, *, missing: str, n_to_look_at: int, is_busy: bool) -> None:
        """Say what is missing for an estimate, or how many nodes are to be looked at before it."""
        self._missing.say(missing)
        self._estimate.setEnabled(not missing and not is_busy)
        self._estimate.setText("Estimating …" if is_busy else "Estimate")
        self._look.setEnabled(bool(n_to_look_at))
        self._look.setText(f"Look at {n_to_look_at}" if n_to_look_at else "Second look")

    def show_estimates(self, estimates: Sequence[Estimate], warning: str = "") -> None:
        """Show fractions by class and method, and what is to be known of them."""
        self._table.show_estimates(estimates)
        self._warning.say(warning if estimates else "")


def _by_class(estimates: Sequence[Estimate]) -> list[list[Estimate]]:
    return [list(of_class) for _, of_class in itertools.groupby(estimates, lambda one: one.name)]


def _class_html(of_class: Sequence[Estimate]) -> str:
    rows = "".join(map(_row_html, filter(_is_told, of_class)))
    heading = f"<p style='margin: 6px 0 0 0'><b>{escape(of_class[0].name)}</b></p>"
    return f"{heading}<table cellspacing='0'>{rows}</table>"


def _basis(of_class: Sequence[Estimate]) -> str:
    """What the corrected fraction assumes, or why it is not given."""
    return next(one.assumes for one in of_class if one.method == CORRECTED)


def _is_told(one: Estimate) -> bool:
    """Whether an estimate has a row: Cavalieri's error is no loss where slices do not suit it."""
    return not isnan(one.fraction) or one.method == CORRECTED


def _row_html(one: Estimate) -> str:
    title = escape(_TITLES.get(one.method, one.method))
    if isnan(one.fraction):
        found = ["not given", ""]
    else:
        found = [f"{percent_text(one.fraction)}&nbsp;%", "(no interval)"]
    if not isnan(one.low):
        found[1] = f"({percent_text(one.low)}\u2013{percent_text(one.high)}&nbsp;%)"
    cells = [title, *found]
    if one.method == CORRECTED:
        cells = [f"<b>{cell}</b>" for cell in cells]
    return f"<tr>{''.join(f'<td>{cell}&nbsp;&nbsp;</td>' for cell in cells)}</tr>"


def _basis_html(one: Estimate) -> str:
    title = f"{one.name}, {_TITLES.get(one.method, one.method)}"
    return f"<p><b>{escape(title)}</b>: {escape(one.assumes)}. <i>{escape(one.reference)}</i></p>"
