"""Proofreading in the dock: buttons, keys and the mouse, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
from qtpy.QtCore import QObject, Signal

from ..core.base import InputError
from .layers import ObjectHand, ObjectPicker
from .models import ObjectEdits, Session, guarded
from .outcome import Outcome
from .widgets import ACTS, ProofreadPanel

if TYPE_CHECKING:
    from napari.viewer import Viewer

_SPLIT_HINT = (
    "Draw a line through an object, from one side to the other. Or click once on each part, and "
    "press Split (S) again."
)
_MERGE_HINT = "Click on the object that is to be one with object {}."
_PAINT_HINT = (
    "Paint object {}. Add (A) begins the next one; 6 or Z lets go of the brush. With the label of "
    "another object you paint that one; the label 0 erases."
)


class Proofreader(QObject):
    """Carries out what a person does with the objects of the result that is shown.

    Parameters
    ----------
    viewer : Viewer
    panel : ProofreadPanel
    picker : ObjectPicker
        Tells which object is chosen.
    session : Session
        Tells what is under way.
    go_to : callable
        Shows an object, in a slice or where most of it is (-1), and chooses it.
    """

    train_wanted = Signal()  # what was judged is to be learned from

    def __init__(
        self,
        viewer: Viewer,
        panel: ProofreadPanel,
        picker: ObjectPicker,
        session: Session,
        go_to: Callable[[int, int], object],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._panel, self._picker, self._session, self._go_to = panel, picker, session, go_to
        self._outcome: Outcome | None = None
        self._edits: ObjectEdits | None = None
        self._walked = 0  # object to which Next went last
        self._merged = 0  # object with which another one is to be one
        keys = {key: partial(self.act, name) for name, (_, key, _) in ACTS.items()}
        self._hand = ObjectHand(viewer, keys, self)
        self._hand.painted.connect(self._on_painted)
        self._hand.line_drawn.connect(lambda line: self._try(lambda one: one.split_along(line)))
        self._hand.points_set.connect(self._on_points)
        picker.picked.connect(self._on_picked)
        panel.act_wanted.connect(self.act)

    def show(self, outcome: Outcome) -> None:
        """Turn to a result, or to what became of its objects."""
        is_other = outcome.edits is not self._edits
        self._outcome, self._edits = outcome, outcome.edits
        taken = self._hand.set_layer(outcome.object_layer if outcome.edits else None)
        if is_other:
            self._walked = self._merged = 0
            self._picker.choose(0)
            keys = ", ".join(taken)
            self._say(refusal=f"Keys that are taken by something else: {keys}." if taken else "")
        self.refresh()

    def refresh(self) -> None:
        """Say how far the work is, and what is known of the chosen object."""
        edits, found = self._edits, None if self._outcome is None else self._outcome.objects
        if edits is None or found is None:
            return
        queue = edits.queue()
        n_judged = int(found.table["object"].isin(found.judged).sum())
        self._panel.show_progress(int((queue["score"] >= 1).sum()), len(queue), n_judged)
        number = self._picker.chosen
        rows = queue[queue["object"] == number]
        text = ""
        if not rows.empty:
            text = f"Object {number}: {rows['reason'].iloc[0] or 'nothing stands out'}."
        elif number in found.judged and (found.table["object"] == number).any():
            text = f"Object {number}: judged."
        self._panel.show_object(text)
        self._panel.enable(
            can_undo=edits.history.canUndo(),
            can_redo=edits.history.canRedo(),
            can_train=found.is_edited,
        )

    def flush(self, *_: object) -> None:
        """Take note of what was painted a moment ago."""
        self._hand.flush()

    def close(self) -> None:
        """Let go of the viewer."""
        self._hand.close()
        self._outcome = self._edits = None

    @guarded
    def act(self, name: str) -> None:
        """Do what a button or a key says."""
        self._hand.flush()
        number = self._picker.chosen
        if name != "split":
            self._hand.stop()
        self._merged = 0
        self._say()
        if name == "split" and self._viewer.dims.ndisplay == 3:
            self._say(refusal="Objects are split in a slice: show the image in 2D first.")
        elif name == "split":
            self._hand.split()
            if self._hand.is_splitting:  # else it has split, or said why not
                self._say(_SPLIT_HINT)
        elif name == "merge":
            self._hand.point()
            self._merged = number
            self._say(*((_MERGE_HINT.format(number),) if number else ("", _CHOOSE)))
        elif name == "add" and self._edits is not None:
            self._hand.paint(self._edits.next_number)
            self._say(_PAINT_HINT.format(self._edits.next_number))
        elif name == "next":
            self._walk()
        elif name == "train":
            self.train_wanted.emit()
        else:
            self._try(partial(_SIMPLE[name], number=number))
            if name in ("keep", "delete") and number == self._walked:
                self._walk()

    def _walk(self) -> None:
        found = None if self._edits is None else self._edits.after(self._picker.chosen)
        self._walked = 0 if found is None else found[0]
        if found is None:
            self._say("All objects are judged.")
        else:
            self._go_to(*found)
        self.refresh()

    def _try(self, edit: Callable[[ObjectEdits], object]) -> bool:
        """Edit, or say why not."""
        if self._edits is None:
            return False
        self._say()
        try:
            if self._session.status.kind == "objects":
                raise InputError("Objects are being found; wait until they are.")
            edit(self._edits)
        except InputError as error:
            text = str(error)
            self._say(refusal=text[:1].upper() + text[1:])
            return False
        self.refresh()  # by now the step can be taken back
        return True

    @guarded
    def _on_painted(self, places: npt.NDArray[Any], before: npt.NDArray[Any]) -> None:
        self._try(lambda one: one.take_paint(places, before))

    @guarded
    def _on_points(self, places: Any) -> None:
        points = [[round(one) for one in place] for place in places]
        self._try(lambda one: one.split_at_points(points))

    @guarded
    def _on_picked(self, number: int) -> None:
        first, self._merged = self._merged, 0
        if first and self._try(lambda one: one.merge(first, number)):
            self._picker.choose(first)
        self.refresh()

    def _say(self, hint: str = "", refusal: str = "") -> None:
        self._panel.say(hint, refusal)


_CHOOSE = "No object is chosen; click on one."
_SIMPLE: dict[str, Callable[..., object]] = {
    "keep": lambda edits, number: edits.keep(number),
    "delete": lambda edits, number: edits.delete(number),
    "fill": lambda edits, number: edits.fill(number),
    "undo": lambda edits, number: edits.history.undo(),
    "redo": lambda edits, number: edits.history.redo(),
}
