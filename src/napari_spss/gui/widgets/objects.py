"""The objects of a result: which are to be found, their table, and how a column is spread."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtGui import QDoubleValidator
from qtpy.QtWidgets import QDoubleSpinBox, QFileDialog, QLineEdit, QWidget

from ...core.base import InputError, ResultFiles, SpssError, counted
from ..models import FoundObjects, ObjectRequest
from .object_table import ObjectTable, column_title, shown_columns
from .parts import (
    Notice,
    fill_column,
    make_button,
    make_check,
    make_choice,
    make_form,
    make_row,
    make_text,
    offer,
    offer_quietly,
    shrink,
)
from .proofread import ProofreadPanel
from .theme import set_mark

if TYPE_CHECKING:
    import pandas as pd

    from ...core.annotations import Classes
    from .plots import Histogram

_CSV = "Table (*.csv)"
_HISTOGRAM_AT = 5  # below the limits
_OTHERS = "What you did to objects of {} is kept, and in the labels. Find them to go on with it."
_STALE = "The labels, or the size of a voxel, have changed since: find the objects again."


class ObjectsSection(QWidget):
    """States which objects are to be found, and shows what is known of them."""

    find_requested = Signal(object, str)  # ObjectRequest, and what becomes of edited ones
    chosen = Signal(int)  # number of an object to go to
    saved = Signal(str)  # what was written, in words

    def __init__(self) -> None:
        super().__init__()
        self._is_busy = False
        self._has_result = False
        self._is_size_known = False
        self._found: FoundObjects | None = None
        self._shown: pd.DataFrame | None = None  # its table, which edits replace
        self._folder = Path.home()
        self._histogram: Histogram | None = None
        self._make_form()
        self._make_table()
        self._lay_out()
        self._refresh()

    # -- value -----------------------------------------------------------------------------------

    def value(self) -> ObjectRequest:
        """Return which objects are to be found; InputError if the least size is none."""
        size = self._min_size.text().strip().replace(",", ".")
        unit = self._unit.currentData() if size else ""
        size = size or "1"
        if not _number(size, -1.0) >= 0:
            raise InputError(
                f"{self._min_size.text().strip()!r} is no size; write a number, such as 50 or "
                "0.01.",
                field="min_size",
            )
        return ObjectRequest(
            class_index=self._class.currentData() or 0,
            class_name=self._class.currentText(),
            per_slice=bool(self._where.currentData()),
            min_size=f"{size} {unit}".strip(),
            split=self._split_at.value() if self._split.isChecked() else None,
        )

    @property
    def splits_volumes(self) -> bool:
        """Whether somebody chose objects of each slice for images that are volumes."""
        return self._where.isEnabled() and bool(self._where.currentData())

    # -- what goes on ----------------------------------------------------------------------------

    def set_busy(self, is_busy: bool) -> None:
        """Offer no search while a run is in progress."""
        self._is_busy = is_busy
        self._refresh()

    def set_classes(self, classes: Classes | None, *, is_stack: bool, is_size_known: bool) -> None:
        """Offer the classes of a result, or nothing to be found."""
        self._has_result = classes is not None
        outside = None if classes is None else classes.outside_index
        named = () if classes is None else tuple(enumerate(classes))[1:]
        choices = [(name, index) for index, name in named if index != outside]
        if offer(self._class, choices) and self._found is not None:
            self._enter_class(self._found.request.class_name)
        if classes is not None and is_stack != self._where.isEnabled():
            self._where.setCurrentIndex(int(not is_stack))
            self._where.setEnabled(is_stack)
        self._is_size_known = is_size_known
        self._offer_units()
        self._refresh()

    def set_place(self, folder: Path) -> None:
        """Tell where tables are proposed to be saved."""
        self._folder = folder

    def refuse(self, field: str | None, text: str) -> None:
        """Say why nothing is found, beside the field that is wrong; an empty text takes it back."""
        set_mark(self._min_size, "error" if text and field == "min_size" else "")
        self._refusal.say(text)
        self._keep.hide()
        self._drop.hide()

    def ask(self, text: str, can_be_kept: bool) -> None:
        """Ask what becomes of objects that a person edited."""
        self.refuse(None, text)
        self._keep.setVisible(can_be_kept)
        self._drop.show()

    def set_objects(
        self, found: FoundObjects | None, others: Sequence[str] = (), *, is_stale: bool = False
    ) -> None:
        """Show what was found, if anything, and say whether the labels changed since.

        Those of other classes are named that a person edited.
        """
        self._others.say(_OTHERS.format(" and ".join(others)) if others else "")
        table = None if found is None else found.table
        is_other, is_anew = table is not self._shown, found is not self._found
        self._found = found
        self._stale.say(_STALE if is_stale else "")
        self._notes.say("" if found is None else "\n".join(found.notes))
        self._results.setVisible(found is not None)
        if not is_other:
            return
        self._shown = table
        self._table.set_table(table)
        names = () if table is None else shown_columns(table)[1:]
        offer_quietly(self._column, [(column_title(name), name) for name in names])
        if is_anew:
            self._on_column()
        else:
            self._filter()
        if is_anew and found is not None:
            self._enter(found.request)

    def _enter(self, request: ObjectRequest) -> None:
        """Say which objects were asked for, such as of those that were restored."""
        size, _, unit = request.min_size.partition(" ")
        self._enter_class(request.class_name)
        self._where.setCurrentIndex(int(request.per_slice or not self._where.isEnabled()))
        place = self._unit.findData(unit)
        self._unit.setCurrentIndex(max(0, place))
        self._min_size.setText("" if request.min_size == "1" or place < 0 else size)
        self._split.setChecked(request.split is not None)
        if request.split is not None:
            self._split_at.setValue(request.split)

    def _enter_class(self, name: str) -> None:
        self._class.setCurrentIndex(max(0, self._class.findText(name)))

    def select(self, number: int) -> None:
        """Go to the row of an object that was chosen in the viewer."""
        self._table.select(number)

    # -- inside ----------------------------------------------------------------------------------

    def _make_form(self) -> None:
        self._class = make_choice(
            (), "Objects of which class; parts that touch are one, unless split."
        )
        self._where = make_choice(
            (("in the volume", False), ("in each slice", True)),
            "In the volume an object goes on through the slices, and has a volume and a surface;\n"
            "in each slice its sections are objects, with areas and perimeters.",
            self._offer_units,
        )
        self._min_size = QLineEdit()
        self._min_size.setPlaceholderText("any size")
        self._min_size.setToolTip("Smaller objects are left out.")
        self._min_size.textEdited.connect(lambda: self.refuse(None, ""))
        self._min_size.returnPressed.connect(lambda: self._on_find())
        self._unit = make_choice(
            (),
            "Micrometres need the size of a voxel: Image & classes.",
            lambda: self.refuse(None, ""),
        )
        self._split_at = QDoubleSpinBox()
        self._split_at.setRange(0.1, 0.95)
        self._split_at.setSingleStep(0.05)
        self._split_at.setValue(0.7)
        self._split_at.setEnabled(False)
        self._split = make_check(
            "split at necks below",
            lambda: self._split_at.setEnabled(self._split.isChecked()),
            "Split objects that touch, where a neck is narrower than this part of the narrower "
            "side.\nMore splits more: 0.7 suits most objects, 0.5 long or knobbly ones.",
        )
        self._find = make_button(
            "Find objects",
            self._on_find,
            "Number the objects of the labels, and measure each of them.",
        )
        self._refusal = Notice(is_warning=True)
        self._keep = make_button(
            "Keep these, find others",
            lambda: self._on_find("keep"),
            "What you judged or edited stays as it is; the rest is found anew.",
        )
        self._drop = make_button(
            "Begin anew",
            lambda: self._on_find("drop"),
            "All are found anew; those that you edited stay in their layer.",
        )
        self._keep.hide()
        self._drop.hide()

    def _make_table(self) -> None:
        self._stale, self._others = Notice(is_warning=True), Notice()
        self._notes = Notice(is_warning=True)
        self._summary = make_text()
        self._column = make_choice(
            (), "Which number the histogram shows, and the limits are for.", self._on_column
        )
        self._low, self._high = QLineEdit(), QLineEdit()
        for edit, text in ((self._low, "from"), (self._high, "to")):
            edit.setPlaceholderText(text)
            edit.setValidator(QDoubleValidator(edit))
            edit.setMaximumWidth(80)
            edit.setToolTip("Show only objects within these limits.")
            edit.textChanged.connect(self._filter)
        self._whole = make_check(
            "whole ones only",
            self._filter,
            "Leave out those that touch the border: their sizes are of a part.",
        )
        self._table = ObjectTable()
        self._table.chosen.connect(self.chosen)
        self.proofread = ProofreadPanel()
        self._save = make_button(
            "Save table…", self._on_save, "Write all objects, with all columns, to a CSV file."
        )

    def _lay_out(self) -> None:
        shrink(self._class)
        form = make_form(
            ("Objects of", make_row((self._class, 1), self._where)),
            ("Of at least", make_row((self._min_size, 1), self._unit)),
            ("", self._refusal),
            ("Touching", make_row(self._split, self._split_at, None)),
        )
        form.insertRow(3, make_row(self._keep, self._drop, None))
        self._results = QWidget()
        fill_column(
            *(self._results, self._stale, self._others, self.proofread, self._summary),
            make_row((self._column, 1), self._low, self._high),
            *(self._notes, self._table, make_row(self._whole, None, self._save)),
        )
        self._results.hide()
        fill_column(self, form, self._find, self._results)

    def _offer_units(self) -> None:
        """Offer the units of areas or volumes; those in micrometres if they can be told."""
        count, power = ("px", "2") if self._where.currentData() else ("voxels", "3")
        units = [(count, "")]
        if self._is_size_known:
            units.append((f"µm{'²' if power == '2' else '³'}", f"um{power}"))
        is_physical = bool(self._unit.currentData())
        if offer(self._unit, units):
            self._unit.setCurrentIndex(int(is_physical and len(units) > 1))

    def _refresh(self) -> None:
        self._find.setEnabled(self._has_result and not self._is_busy and self._class.count() > 0)

    def _on_find(self, edited: str = "") -> None:
        try:
            wanted = self.value()
        except InputError as error:
            self.refuse(error.field, str(error))
            return
        if self._find.isEnabled():
            self.find_requested.emit(wanted, edited)

    def _on_column(self) -> None:
        self._low.clear()
        self._high.clear()
        self._filter()

    def _filter(self) -> None:
        """Show the rows within the limits, and how their numbers are spread."""
        name = self._column.currentData()
        if self._shown is None or name is None:
            return
        values = self._shown[name].to_numpy(dtype=float)
        low, high = (
            _number(edit.text(), other)
            for edit, other in ((self._low, -math.inf), (self._high, math.inf))
        )
        is_shown = np.ones(len(values), dtype=bool)
        if self._low.text() or self._high.text():
            is_shown = (values >= low) & (values <= high)  # a blank number is in no limits
        if self._whole.isChecked():
            is_shown &= ~self._shown["touches_border"].to_numpy(dtype=bool)
        self._table.set_shown(is_shown)
        self._drawn().set_values(values[is_shown], column_title(name))
        self._summary.setText(self._said(is_shown))

    def _drawn(self) -> Histogram:
        """Return the histogram, made when there is something to draw: pyqtgraph takes a second."""
        if self._histogram is None:
            from .plots import Histogram

            self._histogram = Histogram()
            self._results.layout().insertWidget(_HISTOGRAM_AT, self._histogram)
        return self._histogram

    def _said(self, is_shown: np.ndarray) -> str:
        assert self._shown is not None
        n, n_shown = len(is_shown), int(is_shown.sum())
        n_cut = int(self._shown["touches_border"].sum())
        shown = "" if n_shown == n else f"{n_shown} of "
        return f"{shown}{counted(n, 'object')}, {n_cut} at the border."

    def _on_save(self) -> None:
        if self._found is None:
            return
        from ...core.analysis import write_table

        proposed = str(self._folder / f"{self._found.request.class_name}_objects.csv")
        path, _ = QFileDialog.getSaveFileName(self, "Save objects", proposed, _CSV)
        if not path:
            return
        place = Path(path)
        results = ResultFiles(
            place.parent, place.name, (place.name,), overwrite=True, made_by=self._found.origin()
        )
        try:
            with results.writing() as folder:
                write_table(folder / place.name, self._found.table)
        except SpssError as error:
            self._stale.say(str(error))
        else:
            self.saved.emit(f"Saved in {place.parent}: {place.name}.")


def _number(text: str, other: float) -> float:
    """Read a limit; another number as long as it is none."""
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return other
