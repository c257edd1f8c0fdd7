"""Objects in the dock: which are shown and chosen, and what a person does with them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
from qtpy.QtCore import QObject

from ..core.base import InputError, counted
from .layers import ObjectHand, SourceFrame
from .models import ObjectEdits, guarded, sentence
from .widgets import ACTS

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from .controller import Controller
    from .inputs import Inputs
    from .models import FoundObjects

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
    """Carries out what a person does with the objects of the controller's result.

    The inputs list objects; what was judged is painted there.
    """

    def __init__(
        self, viewer: Viewer, controller: Controller, inputs: Inputs, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self.session = controller.session
        self._viewer, self._controller, self._inputs = viewer, controller, inputs
        self._list = inputs.results.objects
        self._panel = self._list.proofread
        self._edits: ObjectEdits | None = None
        self._walked = 0  # object to which Next went last
        self._merged = 0  # object with which another one is to be one
        keys = {key: partial(self.act, name) for name, (_, key, _) in ACTS.items()}
        self._hand = ObjectHand(viewer, keys, self)
        self._hand.painted.connect(self._on_painted)
        self._hand.line_drawn.connect(lambda line: self._try(lambda one: one.split_along(line)))
        self._hand.points_set.connect(self._on_points)
        self._hand.picked.connect(self._on_picked)
        self._hand.picked.connect(self._list.select)
        self._panel.act_wanted.connect(self.act)
        self._list.chosen.connect(self.choose)
        for asked in (self._list.find_requested, inputs.results.save_requested):
            asked.connect(self._hand.flush)  # what was painted a moment ago

    @property
    def _found(self) -> FoundObjects | None:
        return self._controller.outcome.objects

    def show(self) -> None:
        """Offer to find objects, and show those that were found, with the way to and from them."""
        outcome = self._controller.outcome
        source, maps, found = outcome.source, outcome.maps, outcome.objects
        is_volume = source is not None and source.stack.is_volume
        self._list.set_classes(
            None if maps is None else maps.classes,
            is_stack=is_volume,
            is_size_known=source is not None
            and None not in source.stack.voxel_size_um[0 if is_volume else 1 :],
        )
        self._list.set_place(outcome.place_to_save().parent)
        others = [name for name, one in outcome.proofread.items() if one is not found]
        self._list.set_objects(found, others, is_stale=outcome.objects_are_stale())
        is_other = outcome.edits is not self._edits
        self._edits = outcome.edits
        taken = self._hand.set_layer(outcome.object_layer)
        if is_other:
            self._walked = self._merged = 0
            self._hand.choose(0)
            keys = ", ".join(taken)
            self._say(refusal=f"Keys that are taken by something else: {keys}." if taken else "")
        self.refresh()

    @guarded
    def choose(self, number: int, z: int = -1) -> None:
        """Show an object: this slice, or where most of it is, the camera around it; choose it."""
        layer = self._inputs.image.value().layer
        region = None if self._found is None else self._found.region_of(number, z)
        if layer is not None and region is not None:
            SourceFrame(layer).look_at(self._viewer, region)
        self._hand.choose(number)
        self._list.select(number)
        self.refresh()

    def refresh(self) -> None:
        """Say how far the work is, and what is known of the chosen object."""
        edits, found = self._edits, self._found
        if edits is None or found is None:
            return
        queue = edits.queue()
        n_judged = int(found.table["object"].isin(found.judged).sum())
        self._panel.show_progress(int((queue["score"] >= 1).sum()), len(queue), n_judged)
        number = self._hand.chosen
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

    def close(self) -> None:
        """Let go of the viewer."""
        self._hand.close()
        self._edits = None

    @guarded
    def act(self, name: str) -> None:
        """Do what a button or a key says."""
        self._hand.flush()
        number = self._hand.chosen
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
            self._paint_judged()
        else:
            self._try(partial(_SIMPLE[name], number=number))
            if name in ("keep", "delete") and number == self._walked:
                self._walk()

    def _walk(self) -> None:
        found = None if self._edits is None else self._edits.after(self._hand.chosen)
        self._walked = 0 if found is None else found[0]
        if found is not None:
            self.choose(*found)
        self.refresh()

    def _paint_judged(self) -> None:
        """Paint what was judged into the painted labels."""
        found = self._found
        if found is None:
            return
        name, names = found.request.class_name, [one.name for one in self._inputs.classes.value()]
        try:
            if name not in names:
                raise InputError(
                    f"{name} is none of the classes; name one so under Image & classes."
                )
            planes = map(found.trusted, range(len(found.removed)))
            n_slices = self._inputs.annotate.painted.add(planes, names.index(name))
        except InputError as error:
            self._say(refusal=str(error))
            return
        self._say(
            f"What was judged is painted on {counted(n_slices, 'slice')}: see Annotate, Painted. "
            "Train learns from it."
        )

    def _try(self, edit: Callable[[ObjectEdits], object]) -> bool:
        """Edit, or say why not."""
        if self._edits is None:
            return False
        self._say()
        try:
            if self.session.status.kind == "objects":
                raise InputError("Objects are being found; wait until they are.")
            edit(self._edits)
        except InputError as error:
            self._say(refusal=sentence(str(error)))
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
            self._hand.choose(first)
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
