"""Objects of a class: how they are found in the labels that are shown."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from qtpy.QtCore import QObject

from ..core.base import InputError, counted
from .jobs import find_class_objects
from .models import FoundObjects, ObjectRequest, RunEnd, explain, guarded
from .outcome import NO_RESULT, Outcome

if TYPE_CHECKING:
    from .controller import Controller
    from .inputs import Inputs

_NOT_WHOLE = (
    "Not all slices have labels: objects end where the labels do. Apply the model to the whole "
    "stack to have them whole."
)


class ObjectsInTheWay(InputError):
    """Objects that a person edited, and that others replace only if the user says so.

    Parameters
    ----------
    found : FoundObjects
    request : ObjectRequest
        Of the others.
    """

    def __init__(self, found: FoundObjects, request: ObjectRequest) -> None:
        self.can_be_kept = found.request.per_slice == request.per_slice
        name = request.class_name
        judged = f"have {counted(len(found.judged), 'object')} of {name} judged or edited"
        if not found.judged:  # but some were deleted, or parts of them
            judged = f"edited objects of {name}"
        super().__init__(f"You {judged}. Others take their place only if you say so.")


class ObjectFinder(QObject):
    """Finds objects as the list of them asks for, which tells what is in the way.

    Parameters
    ----------
    controller : Controller
        Has the result.
    inputs : Inputs
        Has the list.
    """

    def __init__(
        self, controller: Controller, inputs: Inputs, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self.session = controller.session
        self._controller, self._runner = controller, controller.runner
        self._list = inputs.results.objects
        self._searched = controller.outcome  # in its labels, last
        self._list.find_requested.connect(self._find)
        self._list.saved.connect(partial(self.session.say, "info"))
        self.session.run_ended.connect(self._on_end)

    def _find(self, request: ObjectRequest, edited: str) -> None:
        """Find objects in the labels as they are.

        It begins a little later where the labels of large slices are still being made.

        Parameters
        ----------
        request : ObjectRequest
        edited : {"", "keep", "drop"}
            What becomes of what a person said of the objects: "keep" finds the others anew.
        """
        outcome = self._controller.outcome
        self._runner.attempt(partial(self._begin, outcome, request, edited), self._refuse)

    def _begin(self, outcome: Outcome, request: ObjectRequest, edited: str) -> None:
        self.session.check_idle()
        before = outcome.proofread.get(request.class_name)
        if before is not None and before.is_edited and not edited:
            raise ObjectsInTheWay(before, request)
        if edited == "drop":
            outcome.drop_objects(request.class_name)
            before = None
        if outcome.after_labels(lambda: self._find(request, edited)):
            self.session.say("info", "The search begins once the labels follow the threshold.")
            return
        labels = outcome.labels()
        if labels is None or outcome.maps is None or outcome.source is None:
            raise InputError(NO_RESULT)
        if not outcome.maps.is_complete:
            self.session.say("warning", _NOT_WHOLE)
        ticket = self.session.begin("objects")
        self._list.refuse(None, "")
        self._searched = outcome
        self._runner.start(
            ticket,
            find_class_objects,
            request,
            labels.copy(),  # moving the threshold changes them
            outcome.source.stack,
            outcome.maps.maps[request.class_index - 1],
            outcome.version,
            outcome.origin(),
            kept=None if before is None or edited != "keep" else before.copy(),
        )

    def _refuse(self, error: Exception) -> None:
        if isinstance(error, ObjectsInTheWay):
            self._list.ask(str(error), error.can_be_kept)
            return
        text = explain(error, "No objects were found")
        self._list.refuse(getattr(error, "field", None), text)

    @guarded
    def _on_end(self, end: RunEnd) -> None:
        if end.run != "objects":
            return
        if end.error is not None:
            self._refuse(end.error)
        elif end.result is not None:
            self._searched.show_objects(cast("FoundObjects", end.result))
