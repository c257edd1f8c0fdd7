"""The table itself: keys, clipboard and the painting of marked cells."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent, QModelIndex, QObject, QRect, Qt, Signal
from qtpy.QtGui import (
    QColor,
    QFontMetrics,
    QKeyEvent,
    QKeySequence,
    QMouseEvent,
    QPainter,
    QPalette,
    QPen,
    QResizeEvent,
    QShowEvent,
)
from qtpy.QtWidgets import (
    QAbstractItemDelegate,
    QAbstractItemView,
    QApplication,
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)

from ....core.annotations import Region
from ....core.base import counted
from ...models import Edit, split_clipboard
from ..theme import error_colour, muted_text_colour, warning_colour
from .fraction_model import MARK_ROLE, MUTED_ROLE, FractionModel

_COLOURS = {"wrong": error_colour, "question": warning_colour, "muted": muted_text_colour}
_ENTER = (Qt.Key.Key_Return, Qt.Key.Key_Enter)
_TICKS = frozenset({"1", "x", "yes", "true", "empty"})
_OWN_KEYS = (
    QKeySequence.StandardKey.Copy,
    QKeySequence.StandardKey.Paste,
    QKeySequence.StandardKey.Undo,
    QKeySequence.StandardKey.Redo,
)
_CLASS_PX = 74
_WIDEST_CLASS_PX = 130
_MIN_ROWS_SHOWN, _MAX_ROWS_SHOWN = 3, 12
_SWATCH_PX = 18
_MIN_PX = 52
_MARGIN_PX = 14
_MAX_HEADER_PX = 120
_ANY_ROOM_PX = 1 << 24  # of a table that is not shown
_FILL_ALPHA = 45


class _Delegate(QStyledItemDelegate):
    """Marks cells by fill and border, and lets Enter go to the next row."""

    entered = Signal(int)  # +1 or -1 rows, after the editor has closed

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._view = parent
        self._colours: dict[str, QColor] = {}

    def forget_colours(self) -> None:
        """Ask the theme again at the next painting."""
        self._colours.clear()

    def eventFilter(self, editor: QObject, event: QEvent) -> bool:
        """Commit on Enter and move on."""
        is_enter = (
            event.type() == QEvent.Type.KeyPress
            and isinstance(event, QKeyEvent)
            and event.key() in _ENTER
        )
        if not is_enter:
            return super().eventFilter(editor, event)
        is_up = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        self.commitData.emit(editor)
        self.closeEditor.emit(editor, QAbstractItemDelegate.EndEditHint.NoHint)
        self.entered.emit(-1 if is_up else 1)
        return True

    def initStyleOption(self, option: Any, index: QModelIndex) -> None:
        """Write what is not typed in a muted colour, and ticks in the colour of the text."""
        super().initStyleOption(option, index)
        if index.data(Qt.ItemDataRole.CheckStateRole) is not None:
            # Qt's own box is black on black in a dark theme, and does not stand in the middle.
            option.features &= ~QStyleOptionViewItem.ViewItemFeature.HasCheckIndicator
            option.features |= QStyleOptionViewItem.ViewItemFeature.HasDisplay
            option.text = "\u2611" if _is_ticked(index) else "\u2610"
        elif index.data(MUTED_ROLE):
            option.palette.setColor(QPalette.ColorRole.Text, self._colour("muted"))

    def _colour(self, name: str) -> QColor:
        """Look up a colour of the theme, once."""
        if name not in self._colours:
            self._colours[name] = _COLOURS[name](self._view)
        return QColor(self._colours[name])

    def editorEvent(self, event: QEvent, model: Any, option: Any, index: QModelIndex) -> bool:
        """Tick with a click anywhere in the cell, or with the space bar."""
        if index.data(Qt.ItemDataRole.CheckStateRole) is None:
            return super().editorEvent(event, model, option, index)
        is_space = (
            event.type() == QEvent.Type.KeyPress
            and isinstance(event, QKeyEvent)
            and event.key() == Qt.Key.Key_Space
        )
        is_click = (
            event.type() == QEvent.Type.MouseButtonRelease
            and isinstance(event, QMouseEvent)
            and event.button() == Qt.MouseButton.LeftButton
            and not event.modifiers()
        )
        if not (is_space or is_click):
            return False
        states = Qt.CheckState
        state = states.Unchecked if _is_ticked(index) else states.Checked
        return model.setData(index, state, Qt.ItemDataRole.CheckStateRole)

    def paint(self, painter: QPainter, option: Any, index: QModelIndex) -> None:
        """Paint a cell and, if it is marked, a fill and a border over it."""
        super().paint(painter, option, index)
        mark = index.data(MARK_ROLE)
        if not mark:
            return
        colour = self._colour(mark)
        painter.save()
        dashed = Qt.PenStyle.SolidLine if mark == "wrong" else Qt.PenStyle.DashLine
        painter.setPen(QPen(colour, 2, dashed))
        colour.setAlpha(_FILL_ALPHA)
        painter.setBrush(colour)
        painter.drawRect(QRect(option.rect).adjusted(1, 1, -2, -2))
        painter.restore()


class FractionView(QTableView):
    """Shows a :class:`FractionModel`, and behaves as a spreadsheet does."""

    notice = Signal(str)  # what the user should know about the last paste

    def __init__(self, model: FractionModel) -> None:
        super().__init__()
        self._model = model
        self._has_bar = False
        self.setModel(model)
        self._delegate = _Delegate(self)
        self._delegate.entered.connect(self.step)
        self.setItemDelegate(self._delegate)
        triggers = QAbstractItemView.EditTrigger
        self.setEditTriggers(
            triggers.DoubleClicked | triggers.AnyKeyPressed | triggers.EditKeyPressed
        )
        self.setSelectionMode(QAbstractItemView.SelectionMode.ContiguousSelection)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setWordWrap(False)
        self.setTextElideMode(Qt.TextElideMode.ElideRight)
        rows = self.verticalHeader()
        rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        rows.setMaximumWidth(_MAX_HEADER_PX)
        self.horizontalHeader().setTextElideMode(Qt.TextElideMode.ElideRight)
        self.horizontalHeader().setHighlightSections(False)  # bold titles would be cut off
        self.horizontalHeader().setMinimumSectionSize(_MIN_PX - _MARGIN_PX)
        self.fit_rows()

    # Layout -------------------------------------------------------------------------------------

    def fit_rows(self) -> None:
        """Give all rows the height of the font."""
        height = QFontMetrics(self.font()).height() + 10
        self.verticalHeader().setDefaultSectionSize(height)
        self.fit_height()

    def fit_columns(self) -> None:
        """Hide the columns that have nothing to say, and size the others so that all are seen.

        Where room is short, what can be known otherwise goes first: the remainder, then the
        intervals of counts, which are in their tooltips, then parts of the names.
        """
        room = self.viewport().width() if self.isVisible() else _ANY_ROOM_PX
        self._model.set_compact(False)
        widths = self._widths(_CLASS_PX, has_background=True)
        if sum(widths) > room:
            widths = self._widths(_CLASS_PX, has_background=False)
        if sum(widths) > room:
            self._model.set_compact(True)
            widths = self._widths(_CLASS_PX, has_background=False)
        is_narrow = sum(widths) > room
        if is_narrow:
            widths = self._widths(_MIN_PX, has_background=False)
            classes = [n for n, column in enumerate(self._model.columns) if column.kind == "class"]
            spare = max(0, room - sum(widths)) // max(1, len(classes))
            for place in classes:
                widths[place] += spare
        self._model.set_narrow(is_narrow)
        for place, width in enumerate(widths):
            # for each column, since another one may have had its place and been hidden
            self.setColumnHidden(place, not width)
            if width:
                self.setColumnWidth(place, width)
        self._has_bar = sum(widths) > room
        self.fit_height()

    def _widths(self, class_px: int, *, has_background: bool) -> list[int]:
        """Widths of all columns; 0 for those that are hidden."""
        metrics = QFontMetrics(self.font())
        longest = self._model.longest_texts()
        widths = []
        for column in self._model.columns:
            width = metrics.horizontalAdvance(column.name or column.kind) + _MARGIN_PX
            if column.kind in ("class", "background"):
                most = _WIDEST_CLASS_PX if class_px == _CLASS_PX else class_px
                width = min(max(width + _SWATCH_PX, class_px), most)
            elif column.kind in longest:
                width = max(width, metrics.horizontalAdvance(longest[column.kind]) + _MARGIN_PX)
            is_shown = longest.get(column.kind, column.kind) and (
                has_background or column.kind != "background"
            )
            widths.append(max(width, _MIN_PX) if is_shown else 0)
        return widths

    def showEvent(self, event: QShowEvent) -> None:
        """Fit the columns into the room that there is."""
        super().showEvent(event)
        self.fit_columns()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Fit the columns into another width."""
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self.fit_columns()

    def fit_height(self) -> None:
        """Be as high as a few rows, and never without room for some."""
        n_rows = min(max(self._model.rowCount(), _MIN_ROWS_SHOWN), _MAX_ROWS_SHOWN)
        rows = n_rows * self.verticalHeader().defaultSectionSize()
        header = self.horizontalHeader().sizeHint().height()
        bar = self.horizontalScrollBar().sizeHint().height() if self._has_bar else 0
        self.setFixedHeight(header + rows + bar + 2 * self.frameWidth())

    def changeEvent(self, event: QEvent) -> None:
        """Follow the theme and the font."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.StyleChange, QEvent.Type.PaletteChange):
            self._delegate.forget_colours()
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self.fit_rows()

    # Keys ---------------------------------------------------------------------------------------

    def event(self, event: QEvent) -> bool:
        """Keep keys that mean something here from the shortcuts of the window."""
        is_asked = event.type() == QEvent.Type.ShortcutOverride and isinstance(event, QKeyEvent)
        if is_asked and (_is_typing(event) or any(event.matches(key) for key in _OWN_KEYS)):
            event.accept()
            return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Act on the keys of a spreadsheet."""
        actions = dict(zip(_OWN_KEYS, (self.copy, self.paste, self.undo, self.redo), strict=True))
        for key, action in actions.items():
            if event.matches(key):
                action()
                return
        if event.key() in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace):
            self.clear_selected()
        elif event.key() in _ENTER and self.state() != QAbstractItemView.State.EditingState:
            is_up = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
            self.step(-1 if is_up else 1)
        else:
            super().keyPressEvent(event)
            # Qt ignores the key that opens an editor, and napari's window would act on it as well.
            if _is_typing(event):
                event.accept()

    def moveCursor(self, action: Any, modifiers: Qt.KeyboardModifier) -> QModelIndex:
        """Let Tab go from one cell to type in to the next."""
        moves = QAbstractItemView.CursorAction
        if action not in (moves.MoveNext, moves.MovePrevious):
            return super().moveCursor(action, modifiers)
        places = [i for i, column in enumerate(self._model.columns) if column.kind == "class"]
        current = self.currentIndex()
        if not places or not current.isValid():
            return super().moveCursor(action, modifiers)
        is_next = action == moves.MoveNext
        ahead = [p for p in places if (p > current.column() if is_next else p < current.column())]
        row = current.row() if ahead else current.row() + (1 if is_next else -1)
        row = min(max(row, 0), self._model.rowCount() - 1)
        place = (ahead or places)[0 if is_next else -1]
        return self._model.index(row, place)

    def step(self, n_rows: int) -> None:
        """Go up or down, in the same column."""
        current = self.currentIndex()
        if not current.isValid():
            return
        row = min(max(current.row() + n_rows, 0), self._model.rowCount() - 1)
        self.setCurrentIndex(self._model.index(row, current.column()))
        self.setFocus()

    # Clipboard and history ----------------------------------------------------------------------

    def _selected_area(self) -> tuple[range, list[int]]:
        """Rows and shown columns of the selection; empty if there is none."""
        chosen = [(index.row(), index.column()) for index in self.selectedIndexes()]
        if not chosen:
            return range(0), []
        rows, columns = zip(*chosen, strict=True)
        return range(min(rows), max(rows) + 1), sorted(set(columns))

    def copy(self) -> None:
        """Copy the selected cells as a spreadsheet takes them."""
        rows, columns = self._selected_area()
        lines = ["\t".join(self._copied(row, column) for column in columns) for row in rows]
        if lines:
            QApplication.clipboard().setText("\n".join(lines) + "\n")

    def _copied(self, row: int, column: int) -> str:
        index = self._model.index(row, column)
        kind = self._model.columns[column].kind
        if kind == "empty":
            return "1" if _is_ticked(index) else ""
        role = Qt.ItemDataRole.EditRole if kind == "class" else Qt.ItemDataRole.DisplayRole
        return index.data(role) or ""

    def paste(self) -> None:
        """Type what the clipboard holds, from the current cell on, as one step.

        A single value fills all selected cells. What finds no place is told, not dropped silently.
        """
        cells = split_clipboard(QApplication.clipboard().text())
        rows, columns = self._selected_area()
        if not cells or not columns:
            return
        if len(cells) == 1 and len(cells[0]) == 1:
            block = [[cells[0][0]] * len(columns) for _ in rows]
        else:
            block = cells
            columns = self._columns_from(columns[0])
        self._model.apply(self._edits_of(block, rows.start, columns))
        self.notice.emit(self._not_pasted(block, rows.start, len(columns)))

    def _columns_from(self, first: int) -> list[int]:
        """Columns to type or tick in, from one on; ticks only if that is where it starts."""
        columns = self._model.columns
        if columns[first].kind == "empty":
            return [first]
        return [place for place in range(first, len(columns)) if columns[place].kind == "class"]

    def _edits_of(self, block: list[list[str]], top: int, columns: list[int]) -> tuple[Edit, ...]:
        sheet = self._model.sheet
        texts: list[tuple[Region, str, str]] = []
        ticked: list[Region] = []
        unticked: list[Region] = []
        for row, line in enumerate(block, start=top):
            region = self._model.region_at(row)
            if region is None:
                break
            for place, text in zip(columns, line, strict=False):
                column = self._model.columns[place]
                if column.kind == "class":
                    texts.append((region, column.name, text))
                elif column.kind == "empty":
                    (ticked if text.lower() in _TICKS else unticked).append(region)
        edits = (*sheet.tick_edits(ticked, True), *sheet.tick_edits(unticked, False))
        return (*edits, *sheet.edits_for(texts))

    def _not_pasted(self, block: list[list[str]], top: int, n_columns: int) -> str:
        n_rows = max(top + len(block) - self._model.rowCount(), 0)
        n_cells = max(max(map(len, block)) - n_columns, 0)
        parts = []
        if n_rows:
            parts.append(f"{counted(n_rows, 'line')} beyond the last row")
        if n_cells:
            parts.append(f"{counted(n_cells, 'column')} beyond the last class")
        return f"Not pasted: {' and '.join(parts)}." if parts else ""

    def clear_selected(self) -> None:
        """Blank the selected cells and untick the selected rows, as one step."""
        rows, columns = self._selected_area()
        self._model.apply(self._edits_of([[""] * len(columns) for _ in rows], rows.start, columns))

    def undo(self) -> None:
        """Take the last step back and show where."""
        self._show(self._model.undo())

    def redo(self) -> None:
        """Repeat the step that was taken back last and show where."""
        self._show(self._model.redo())

    def _show(self, edits: tuple[Edit, ...]) -> None:
        if edits:
            index = self._model.index_of(edits[0].region, edits[0].name)
            if index.isValid():
                self.setCurrentIndex(index)


def _is_ticked(index: QModelIndex) -> bool:
    state = index.data(Qt.ItemDataRole.CheckStateRole)  # a number with some bindings
    return Qt.CheckState(state) == Qt.CheckState.Checked


def _is_typing(event: QKeyEvent) -> bool:
    held = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.AltModifier
    has_control = event.modifiers() & (held | Qt.KeyboardModifier.MetaModifier)
    return bool(event.text()) and event.text().isprintable() and not has_control
