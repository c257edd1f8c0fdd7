"""Buttons and texts of proofreading."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QGridLayout, QPushButton, QWidget

from ...core.base import counted
from ..layers import REDO_KEY, UNDO_KEY, shown_key
from .parts import Notice, fill_column, make_button, make_row, make_text

ACTS = {
    "next": ("Next", "N", "Go to the object that is most worth a look among those not judged."),
    "keep": ("Keep", "K", "The object is right: it drops off the list."),
    "delete": ("Delete", "D", "It is none: it becomes background."),
    "merge": ("Merge", "J", "Click on the object that is to be one with the chosen one."),
    "split": (
        "Split",
        "S",
        "Draw a line through an object, from one side to the other; or click once on each part\n"
        "and press Split again.",
    ),
    "fill": ("Fill", "H", "Fill the holes of the object, slice by slice."),
    "add": ("Add", "A", "Paint another object; napari's own tools change those that are there."),
    "undo": ("Undo", UNDO_KEY, "Take the last step back."),
    "redo": ("Redo", REDO_KEY, "Repeat what was taken back."),
}
"""What can be done: on the button, its key, and what it is for."""

_COLUMNS = 3


class ProofreadPanel(QWidget):
    """Says what is to be looked at, and offers what can be done with it."""

    act_wanted = Signal(str)  # one of `ACTS` was pressed, or "train"

    def __init__(self) -> None:
        super().__init__()
        self._progress, self._object = make_text(), make_text()
        self._hint, self._refusal = Notice(), Notice(is_warning=True)
        self._buttons: dict[str, QPushButton] = {}
        grid = QGridLayout()
        for place, (name, (text, key, tooltip)) in enumerate(ACTS.items()):
            has_room = name not in ("undo", "redo")
            button = self._button(
                f"{text} ({key})" if has_room else text,
                name,
                f"{tooltip}\nKey on the layer of objects: {shown_key(key)}.",
            )
            grid.addWidget(button, *divmod(place, _COLUMNS))
        train = self._button(
            "Use for training",
            "train",
            "Paint what was judged into the painted labels, from which Train learns: objects that\n"
            "were kept, added or changed as their class, what was deleted as background.",
        )
        layout = fill_column(
            *(self, make_text("<b>Proofread</b>"), self._progress, self._object, grid),
            *(self._hint, self._refusal, make_row(None, train)),
        )
        layout.setContentsMargins(0, 4, 0, 4)

    def _button(self, text: str, name: str, tooltip: str) -> QPushButton:
        button = make_button(text, lambda: self.act_wanted.emit(name), tooltip)
        self._buttons[name] = button
        return button

    def show_progress(self, n_first: int, n_left: int, n_judged: int) -> None:
        """Say how many objects stand out, are not judged, and were judged."""
        if n_left:
            first = f"{n_first} of them to look at first" if n_first else "none stands out"
            left = counted(n_left, "object")
            self._progress.setText(f"{left} not judged, {first}; {n_judged} judged.")
        else:
            self._progress.setText(f"All are judged: {n_judged}.")

    def show_object(self, text: str) -> None:
        """Say which object is chosen, and what is known of it."""
        self._object.setText(text)

    def enable(self, *, can_undo: bool, can_redo: bool, can_train: bool) -> None:
        """Offer what can be done at the moment."""
        for name, is_enabled in (("undo", can_undo), ("redo", can_redo), ("train", can_train)):
            self._buttons[name].setEnabled(is_enabled)

    def say(self, hint: str = "", refusal: str = "") -> None:
        """Say what to do next, and why something was not done."""
        self._hint.say(hint)
        self._refusal.say(refusal)
