"""The bar below the dock's sections: what runs, how far it is, Stop, and what was said last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Signal
from qtpy.QtWidgets import QFrame, QProgressBar

from .parts import Notice, fill_column, make_button, make_row
from .theme import Level, set_mark

if TYPE_CHECKING:
    from ..models import RunEnd, RunStatus, Suggestion

_MARKS: dict[str, tuple[Level, str]] = {"warning": ("warning", "⚠ "), "error": ("error", "✖ ")}


class RunBar(QFrame):
    """Follows a session; always in sight, whatever section is scrolled to."""

    stop_requested = Signal()
    suggestion_accepted = Signal(object)  # the Suggestion that the user took

    def __init__(self) -> None:
        super().__init__()
        self._suggestion: Suggestion | None = None
        self._hint = "Ready"
        self._is_busy = False
        self._status, self._message = Notice(), Notice()
        self._progress = QProgressBar()
        self._progress.setTextVisible(False)
        self._progress.setFixedHeight(12)
        self._stop = make_button(
            "Stop",
            self.stop_requested.emit,
            "Stop the run; a training hands over its best model so far.",
        )
        self._accept = make_button("", self._on_accepted)
        row = make_row((self._status, 1), self._stop)
        layout = fill_column(self, row, self._progress, self._message, self._accept)
        layout.setContentsMargins(6, 4, 6, 4)
        layout.setSpacing(4)
        self._accept.hide()
        self._status.say(self._hint)
        self._show_busy(False)

    def minimumSizeHint(self) -> QSize:
        """Be as high as all texts at this width; Qt supposes a wider one."""
        return super().minimumSizeHint().expandedTo(QSize(0, self.heightForWidth(self.width())))

    def set_status(self, status: RunStatus) -> None:
        """Show what runs and how far it is."""
        if status.is_busy and not self._stop.isVisibleTo(self):
            self.say("info", "")
        self._is_busy = status.is_busy
        self._show_busy(status.is_busy)
        self._write(str(status) if status.is_busy else self._hint)
        self._stop.setEnabled(not status.is_stopping)
        fraction = status.fraction
        self._progress.setRange(0, 1000 if fraction is not None else 0)
        if fraction is not None:
            # drawn with the next frame; Qt would draw at once, and the window with it
            self._progress.setUpdatesEnabled(False)
            self._progress.setValue(round(1000 * fraction))
            self._progress.setUpdatesEnabled(True)

    def set_hint(self, text: str) -> None:
        """Say what comes next, whenever nothing runs."""
        self._hint = text
        if not self._is_busy:
            self._write(text)

    def _write(self, text: str) -> None:
        # two lines while something runs, so that nothing moves when a text gets longer
        n_lines = 2 if self._is_busy else 1
        self._status.setMinimumHeight(n_lines * self._status.fontMetrics().lineSpacing())
        if text != self._status.text():
            self._status.say(text)
            self._make_room()

    def _make_room(self) -> None:
        """Give the texts their room at once: a busy window may be slow to lay out."""
        for widget in (self.parentWidget(), self):
            layout = None if widget is None else widget.layout()
            if layout is not None:
                layout.activate()

    def say(self, level: str, text: str) -> None:
        """Show a sentence; a proposal that was made before is taken back."""
        self._suggestion = None
        self._accept.hide()
        mark, sign = _MARKS.get(level, ("", ""))
        set_mark(self._message, mark)
        self._message.say(sign + text if text else "")
        self._make_room()

    def text(self) -> str:
        """Return what was said last."""
        return self._message.text()

    def propose(self, end: RunEnd) -> None:
        """Offer the smaller setting that came with an error."""
        self._suggestion = end.suggestion
        self._accept.setVisible(end.suggestion is not None)
        if end.suggestion is not None:
            again = "train" if end.run == "training" else "apply"
            self._accept.setText(f"Set {end.suggestion} and {again} again")

    def _show_busy(self, is_busy: bool) -> None:
        self._stop.setVisible(is_busy)
        self._progress.setVisible(is_busy)

    def _on_accepted(self) -> None:
        if self._suggestion is not None:
            suggestion, self._suggestion = self._suggestion, None
            self._accept.hide()
            self.suggestion_accepted.emit(suggestion)
