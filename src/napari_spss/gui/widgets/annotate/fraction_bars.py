"""What is said below the table of fractions: questions, faults and hints."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from ...models import Mark


class QuestionBar(QFrame):
    """Asks, beside the table, whether a small number is a fraction or per cent."""

    answered = Signal(int, bool)  # 0 = the fraction, 1 = per cent; for all such cells

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.mark: Mark | None = None
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self._text = QLabel()
        self._text.setWordWrap(True)
        self._buttons = (QPushButton(), QPushButton())
        self._for_all = QCheckBox()
        self._for_all.setToolTip("Answer all cells that ask, each by its own value.")
        row = QHBoxLayout()
        for choice, button in enumerate(self._buttons):
            button.clicked.connect(lambda _=False, choice=choice: self._answer(choice))
            row.addWidget(button)
        row.addWidget(self._for_all)
        row.addStretch()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 4, 6, 4)
        layout.addWidget(self._text)
        layout.addLayout(row)

    def ask(self, mark: Mark | None, place: str, choices: tuple[str, str], n_cells: int) -> None:
        """Show a question, or nothing."""
        self.mark = mark
        self.setVisible(mark is not None)
        if mark is None:
            self._for_all.setChecked(False)
            return
        shown = [choice.replace("%", " %") for choice in choices]
        self._text.setText(f"{place}: {shown[0]} or {shown[1]}?")
        tooltips = ("A fraction of 1 was typed.", "Per cent was typed.")
        for button, text, tooltip in zip(self._buttons, shown, tooltips, strict=True):
            button.setText(text)
            button.setToolTip(tooltip)
        self._for_all.setText(f"all {n_cells}")
        self._for_all.setVisible(n_cells > 1)

    def _answer(self, choice: int) -> None:
        self.answered.emit(choice, self._for_all.isChecked())


class MessageBar(QWidget):
    """One line below the table: a hint, or what is wrong and where."""

    show_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._label = QLabel()
        self._label.setWordWrap(True)
        self._label.setTextFormat(Qt.TextFormat.PlainText)
        self._label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._next = QPushButton("Show")
        self._next.setToolTip("Go to the next marked cell.")
        self._next.clicked.connect(self.show_requested)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._label, 1)
        layout.addWidget(self._next)

    def text(self) -> str:
        """Return what is shown."""
        return self._label.text()

    def show_text(self, text: str, n_marks: int, *, is_wrong: bool = False) -> None:
        """Show a text, and a button to go through the marked cells if there are any."""
        self._label.setText(f"⚠ {text}" if is_wrong else text)
        self._next.setText(f"Show ({n_marks})" if n_marks > 1 else "Show")
        self._next.setVisible(n_marks > 0)
