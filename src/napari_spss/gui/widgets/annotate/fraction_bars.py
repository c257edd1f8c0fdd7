"""What is said below the table of fractions: questions, faults and hints."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QCheckBox, QFrame, QSizePolicy, QWidget

from ...models import Mark
from ..parts import fill_column, fill_row, make_button, make_row, make_text


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
