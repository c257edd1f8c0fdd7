"""The table of fractions: how much of each slice or rectangle belongs to each class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QModelIndex, QSize, Qt, Signal
from qtpy.QtGui import QIcon, QImage, QPixmap
from qtpy.QtWidgets import QCheckBox, QFileDialog, QFrame, QLabel, QSizePolicy, QToolButton, QWidget

from ....core.annotations import ClassStyle, Proportion, Region
from ....core.base import SpssError, counted
from ....core.simulation import CARD_FRACTIONS, reference_card
from ...models import Cell, Edit, FractionSheet, LeftHistories, Mark
from ..parts import Notice, fill_column, fill_row, make_button, make_row, make_text
from .fraction_csv import read_fractions, write_fractions
from .fraction_model import FractionModel
from .fraction_view import FractionView

if TYPE_CHECKING:
    from napari.layers import Layer

_HINT = "Per cent of the area: 6, 0.5, <1, 5-10. Blank means unknown."
_OVERRULED = "Struck out: the slice's counted grid takes its place."
_CSV = "CSV files (*.csv)"
_ICON_PX, _OBJECT_PX = 32, 5
_INK, _PAPER = (0, 90, 160), (240, 240, 240)
_UNKNOWN = "State or measure the object diameter first, under Image & classes."


class FractionsTable(QWidget):
    """A spreadsheet of fractions, a row per slice and rectangle, a column per class.

    The background is not typed: it is what the classes leave. Cells keep what was typed into them;
    those that cannot be read are marked and say why, and count as unknown until they are corrected.
    """

    value_changed = Signal()  # after each edit, also if only a wrong text changed
    slice_activated = Signal(int)  # the user went to a row of another slice
    regions_added = Signal(object)  # tuple[Region, ...]: rectangles that came with a CSV file

    def __init__(self) -> None:
        super().__init__()
        self._sheet = FractionSheet()
        self._model = FractionModel(self._sheet, self)
        self._marks: list[Mark] = []
        self._slice = -1
        self._image: Layer | None = None
        self._left: LeftHistories[dict[Region, dict[str, Cell]]] = LeftHistories()
        self._folder = Path()  # where CSV files are looked for and proposed
        self._notice = ""
        self.view = FractionView(self._model)
        self.view.setToolTip("How much of each slice or rectangle belongs to each class.")
        self._question = QuestionBar()
        self._message = MessageBar()
        self._stack_fraction = Notice()
        self.cards = CardButtons()
        self._build()
        self._model.edited.connect(self._on_edited)
        self.view.notice.connect(self._on_notice)
        self.view.selectionModel().currentChanged.connect(self._on_current_changed)
        self._question.answered.connect(self._on_answered)
        self._message.show_requested.connect(self._show_next_mark)
        self._refresh()

    def _build(self) -> None:
        buttons = make_row(
            make_button(
                "Open CSV…", self._ask_and_import, "Read fractions from a CSV file into the table."
            ),
            make_button(
                "Save CSV…", self._ask_and_export, "Write the stated fractions, 0-1, to a CSV file."
            ),
            None,
        )
        fill_column(
            *(self, (self.view, 1), self._question, self._message),
            *(self._stack_fraction, self.cards, buttons),
        )

    # Value --------------------------------------------------------------------------------------

    def value(self) -> tuple[Proportion, ...]:
        """Return what is typed, row by row; wrong cells and open questions are unknown."""
        return self._sheet.value()

    def n_typed(self, name: str) -> int:
        """Count the rows with a text for a class, right or wrong."""
        return sum(bool(self._sheet.cell(region, name).text) for region in self._sheet.rows)

    def set_value(self, proportions: Iterable[Proportion]) -> None:
        """Show proportions instead of what is typed; rectangles among them get rows."""
        self._reset(self._sheet.set_value, tuple(proportions))

    def text_state(self) -> dict[str, Any]:
        """Return all texts as typed, wrong ones included, as plain values for a project file."""
        return self._sheet.text_state()

    def restore(
        self,
        proportions: Iterable[Proportion],
        state: Mapping[str, Any],
        *,
        is_damaged: bool = False,
    ) -> None:
        """Show proportions as they were typed, after the classes and slices were set.

        See `FractionSheet.restore`.
        """
        self._reset(partial(self._sheet.restore, is_damaged=is_damaged), tuple(proportions), state)

    def clear(self) -> None:
        """Forget all texts and rectangles, as for another image."""
        self._reset(self._sheet.clear)

    def marks(self) -> tuple[Mark, ...]:
        """Return what is wrong or waits for an answer, from top to bottom."""
        return tuple(self._marks)

    # What the table is about --------------------------------------------------------------------

    def set_classes(self, classes: Iterable[str | ClassStyle]) -> None:
        """Have a column for each class that has fractions.

        The background is first. A name that changed in its place is a renamed class.
        """
        self._change(self._sheet.set_classes, classes)

    def set_slices(self, n_slices: int, names: Sequence[str] | None = None) -> None:
        """Have a row for each slice, named by its index or by the name of its file."""
        self._model.slice_names = tuple(names or ())
        self._change(self._sheet.set_slices, n_slices)

    def set_image(self, layer: Layer) -> None:
        """Tell of which image these fractions are; it finds its steps again, to be taken back."""
        self._image = layer

    def set_folder(self, folder: Path) -> None:
        """Tell the folder of the image."""
        self._folder = folder

    def set_regions(self, regions: Sequence[Region]) -> None:
        """Have a row for each rectangle, below its slice; texts follow a moved rectangle."""
        region, name = self._current()
        row = self.view.currentIndex().row()
        self._model.reset_with(self._sheet.set_boxes, regions)
        if region is not None and self._sheet.row_of(region) is None:
            region = self._model.region_at(row)
        self._after_reset(region, name)

    def regions(self) -> tuple[Region, ...]:
        """Return the rectangles that have rows, to be drawn after a project was restored."""
        return self._sheet.boxes

    def set_grid_proportions(self, proportions: Iterable[Proportion]) -> None:
        """Show what finished counting grids say, beside what is typed."""
        self._model.set_counted(proportions)
        self.view.fit_columns()
        self._show_message()

    def set_stack_fraction(self, text: str, tooltip: str = "") -> None:
        """Say what counting tells of the whole stack; nothing if the text is empty."""
        self._stack_fraction.say(text)
        self._stack_fraction.setToolTip(tooltip)

    def set_predicted(self, predicted: Mapping[Region, Sequence[float]]) -> None:
        """Show predicted fractions (0-1 per class, background first) beside what is typed."""
        self._model.set_predicted(predicted)
        self.view.fit_columns()

    def select_slice(self, z: int) -> None:
        """Go to the row of a slice, in the same column, because the viewer went there."""
        region, name = self._current()
        self._slice = z
        if region is not None and region.slice == z:
            return
        index = self._model.index_of(Region(z), name)
        if index.isValid():
            self.view.setCurrentIndex(index)
            self.view.scrollTo(index)

    def _current(self) -> tuple[Region | None, str | None]:
        """Region and class of the current cell."""
        index = self.view.currentIndex()
        if not index.isValid():
            return None, None
        column = self._model.columns[index.column()]
        return self._model.region_at(index.row()), column.name or None

    def _change(self, change: Any, *args: Any) -> None:
        region, name = self._current()
        self._model.reset_with(change, *args)
        self._after_reset(region, name)

    def _reset(self, change: Any, *args: Any) -> None:
        left = self._sheet.cells(), self._sheet.history
        self._change(change, *args)
        if self._image is not None:
            now = self._sheet.cells(), self._sheet.history
            self._sheet.history = self._left.exchange(self._image, left, now)
        self.value_changed.emit()

    def _after_reset(self, region: Region | None, name: str | None) -> None:
        """Return to the cell that was current, without telling the viewer to go anywhere.

        There always is a current cell: Qt would go to the first one as soon as the table is
        focused, and the viewer with it.
        """
        self.view.fit_columns()
        self.view.fit_height()
        shown = Region(max(self._slice, 0))
        known = [one for one in (region, shown, Region(0)) if one and self._sheet.has_row(one)]
        if known:
            self._slice = known[0].slice
            self.view.setCurrentIndex(self._model.index_of(known[0], name))
        self._refresh()

    # Reactions ----------------------------------------------------------------------------------

    def _on_edited(self, edits: tuple[Edit, ...]) -> None:
        self._notice = ""
        self._refresh()
        self.value_changed.emit()

    def _on_notice(self, text: str) -> None:
        self._notice = text
        self._show_message()

    def _on_current_changed(self, current: QModelIndex, previous: QModelIndex) -> None:
        self._show_message()
        region = self._model.region_at(current.row()) if current.isValid() else None
        if region is not None and region.slice != self._slice:
            self._slice = region.slice
            self.slice_activated.emit(region.slice)

    def _on_answered(self, choice: int, is_for_all: bool) -> None:
        asked = self._question.mark
        marks = (
            [m for m in self._marks if m.is_question] if is_for_all or asked is None else [asked]
        )
        self._model.apply(self._sheet.answer_edits(marks, choice))
        self.view.setFocus()

    def _show_next_mark(self) -> None:
        """Go to the next marked cell below the current one, or to the first."""
        if not self._marks:
            return
        row = self.view.currentIndex().row()
        below = [m for m in self._marks if (self._sheet.row_of(m.region) or 0) > row]
        mark = (below or self._marks)[0]
        self.view.setCurrentIndex(self._model.index_of(mark.region, mark.name))
        self.view.setFocus()

    def _refresh(self) -> None:
        """Look again for what is wrong."""
        self._marks = self._sheet.marks()
        self._show_message()

    def _show_message(self) -> None:
        """Show the question and the fault of the current cell, else the first ones of the table."""
        here = self._model.mark_at(self.view.currentIndex())
        marks = [mark for mark in (here, *self._marks) if mark is not None]
        question = next((mark for mark in marks if mark.is_question), None)
        fault = next((mark for mark in marks if not mark.is_question), None)
        n_questions = sum(mark.is_question for mark in self._marks)
        self._question.ask(question, self._place(question), self._choices(question), n_questions)
        n_marks = len(self._marks)
        if fault is not None:
            self._message.show_text(f"{self._place(fault)}: {fault}.", n_marks, is_wrong=True)
        else:
            self._message.show_text(self._notice or self._hint(), n_marks)

    def _hint(self) -> str:
        return f"{_HINT} {_OVERRULED}" if self._model.has_overruled else _HINT

    def _place(self, mark: Mark | None) -> str:
        """Name the cell that a mark is about."""
        if mark is None:
            return ""
        place = f"Slice {self._model.label(mark.region)}"
        return place if mark.name is None else f"{place}, {mark.name}"

    def _choices(self, mark: Mark | None) -> tuple[str, str]:
        """Return the two readings of a cell that asks."""
        if mark is None or mark.name is None:
            return "", ""
        return self._sheet.reading(mark.region, mark.name).choices or ("", "")

    # Files --------------------------------------------------------------------------------------

    def import_csv(self, path: str | Path) -> None:
        """Read a CSV file into the table as one step; other rows stay as they are.

        InputError if the file cannot be read or does not belong to this image and these classes.
        """
        imported = read_fractions(Path(path), self._sheet)
        new = [r for r in imported.regions if r.box is not None and r not in self._sheet.boxes]
        if new:
            self.set_regions((*self._sheet.boxes, *new))
        edits = self._sheet.edits_to(imported.proportions)
        texts = self._sheet.edits_to_cells(imported.cells)
        self._model.apply((*edits, *texts))
        self._on_notice(" ".join(imported.notes))
        if new:
            self.regions_added.emit(tuple(new))

    def export_csv(self, path: str | Path) -> None:
        """Write what is stated to a CSV file; wrong cells are not in it.

        RunError if the file cannot be written.
        """
        write_fractions(Path(path), self._sheet)
        cells = counted(len(self._marks), "marked cell")
        left_out = f" Not in it: {cells}." if self._marks else ""
        self._on_notice(f"Saved {Path(path).name}.{left_out}")

    def _ask_and_import(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open fractions", str(self._folder), _CSV)
        if path:
            self._try(self.import_csv, path)

    def _ask_and_export(self) -> None:
        proposed = str(self._folder / "proportions.csv")
        path, _ = QFileDialog.getSaveFileName(self, "Save fractions", proposed, _CSV)
        if path:
            self._try(self.export_csv, path)

    def _try(self, action: Any, path: str) -> None:
        """Show what a file's error says below the table."""
        try:
            action(path)
        except SpssError as error:
            self._message.show_text(str(error), len(self._marks), is_wrong=True)


class CardButtons(QWidget):
    """A button for each fraction, with a small picture of it; a second click takes it back."""

    card_wanted = Signal(object)  # the fraction, 0-1, or None for no card

    def __init__(self) -> None:
        super().__init__()
        self.setStyleSheet("QToolButton:checked { border: 2px solid #56B4E9; }")
        self._buttons: dict[float, QToolButton] = {}
        for fraction in CARD_FRACTIONS:
            button = QToolButton()
            button.setObjectName(f"card_{100 * fraction:g}")
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
            button.setIcon(_icon(fraction))
            button.setText(f"{100 * fraction:g}\u00a0%")
            button.setCheckable(True)
            button.setIconSize(QSize(_ICON_PX, _ICON_PX))
            button.clicked.connect(lambda on, chosen=fraction: self._on_clicked(chosen, on))
            self._buttons[fraction] = button
        row = fill_row(self, QLabel("Looks like"), *self._buttons.values(), None)
        row.setSpacing(2)
        self.set_known(False)

    def set_known(self, is_known: bool) -> None:
        """Offer cards, or ask for the width of objects."""
        for fraction, button in self._buttons.items():
            button.setEnabled(is_known)
            button.setToolTip(
                f"Lay {100 * fraction:g} % of objects of the stated diameter over the image; click "
                "again to take them away."
                if is_known
                else _UNKNOWN
            )

    def release(self) -> None:
        """Show that no card is laid."""
        for button in self._buttons.values():
            button.setChecked(False)

    def _on_clicked(self, fraction: float, is_on: bool) -> None:
        self.release()
        self._buttons[fraction].setChecked(is_on)
        self.card_wanted.emit(fraction if is_on else None)


def _icon(fraction: float) -> QIcon:
    card = reference_card(fraction, (2 * _ICON_PX, 2 * _ICON_PX), 2 * _OBJECT_PX)
    pixels = np.where(card[..., None], _INK, _PAPER).astype(np.uint8)
    height, width, _ = pixels.shape
    image = QImage(pixels.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
    return QIcon(QPixmap.fromImage(image.copy()))


class QuestionBar(QFrame):
    """Asks, beside the table, whether a small number is a fraction or per cent."""

    answered = Signal(int, bool)  # 0 = the fraction, 1 = per cent; for all such cells

    def __init__(self) -> None:
        super().__init__()
        self.mark: Mark | None = None
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self._text = make_text()
        self._buttons = (
            make_button("", lambda: self._answer(0), "A fraction of 1 was typed."),
            make_button("", lambda: self._answer(1), "Per cent was typed."),
        )
        self._for_all = QCheckBox()
        self._for_all.setToolTip("Answer all cells that ask, each by its own value.")
        layout = fill_column(self, self._text, make_row(*self._buttons, self._for_all, None))
        layout.setContentsMargins(6, 4, 6, 4)

    def ask(self, mark: Mark | None, place: str, choices: tuple[str, str], n_cells: int) -> None:
        """Show a question, or nothing."""
        self.mark = mark
        self.setVisible(mark is not None)
        if mark is None:
            self._for_all.setChecked(False)
            return
        shown = [choice.replace("%", " %") for choice in choices]
        self._text.setText(f"{place}: {shown[0]} or {shown[1]}?")
        for button, text in zip(self._buttons, shown, strict=True):
            button.setText(text)
        self._for_all.setText(f"all {n_cells}")
        self._for_all.setVisible(n_cells > 1)

    def _answer(self, choice: int) -> None:
        self.answered.emit(choice, self._for_all.isChecked())


class MessageBar(QWidget):
    """One line below the table: a hint, or what is wrong and where."""

    show_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._label = make_text()
        self._label.setTextFormat(Qt.TextFormat.PlainText)
        self._label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._next = make_button("Show", self.show_requested.emit, "Go to the next marked cell.")
        fill_row(self, (self._label, 1), self._next)

    def text(self) -> str:
        """Return what is shown."""
        return self._label.text()

    def show_text(self, text: str, n_marks: int, *, is_wrong: bool = False) -> None:
        """Show a text, and a button to go through the marked cells if there are any."""
        self._label.setText(f"⚠ {text}" if is_wrong else text)
        self._next.setText(f"Show ({n_marks})" if n_marks > 1 else "Show")
        self._next.setVisible(n_marks > 0)
