"""Objects of a class: found in the labels that are shown, or brought back from a project."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from qtpy.QtCore import QObject

from ..core.base import InputError, counted
from .jobs import find_class_objects
from .models import FoundObjects, ObjectRequest, RunEnd, Task, explain, guarded, start_task
from .outcome import NO_RESULT, Outcome
from .project_contents import RESTORED

if TYPE_CHECKING:
    import pandas as pd

    from ..core.projects import Project
    from .controller import Controller
    from .inputs import Inputs
    from .project_contents import ProjectContents

_NOT_WHOLE = (
    "Not all slices have labels: objects end where the labels do. Apply the model to the whole "
    "stack to have them whole."
)


class ObjectsInTheWay(InputError):
    """Objects that a person edited, and that others replace only if the user says so."""

    def __init__(self, found: FoundObjects, request: ObjectRequest) -> None:
        self.can_be_kept = found.request.per_slice == request.per_slice
        name = request.class_name
        judged = f"have {counted(len(found.judged), 'object')} of {name} judged or edited"
        if not found.judged:  # but some were deleted, or parts of them
            judged = f"edited objects of {name}"
        super().__init__(f"You {judged}. Others take their place only if you say so.")


class ObjectFinder(QObject):
    """Finds objects as the list of them asks for, and measures those that a project keeps.

    The controller has the result. The list is in the inputs and tells what is in the way of others;
    objects that a person edited are kept in the contents.
    """

    def __init__(
        self,
        controller: Controller,
        inputs: Inputs,
        contents: ProjectContents,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.session = controller.session
        self._controller, self._runner = controller, controller.runner
        self._list, self._contents = inputs.results.objects, contents
        self._searched = controller.outcome  # in its labels, last
        self._measuring: tuple[Task[pd.DataFrame], FoundObjects, pd.DataFrame] | None = None
        self._list.find_requested.connect(self._find)
        self._list.saved.connect(partial(self.session.say, "info"))
        self.session.run_ended.connect(self._on_end)

    def _find(self, request: ObjectRequest, edited: str) -> None:
        """Find objects in the labels as they are.

        It begins a little later where the labels of large slices are still being made. ``edited``
        says what becomes of what a person said of the objects: "", "drop", or "keep", which finds
        the others anew.
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
        if end.run == "objects" and end.error is not None:
            self._refuse(end.error)
        elif end.run == "objects" and end.result is not None:
            self._searched.show_objects(cast("FoundObjects", end.result))
        elif end.run == "prediction":
            outcome = self._controller.outcome
            found, maps = outcome.objects, outcome.maps
            if found is not None and maps is not None and maps.is_complete:
                probability = found.table.get("mean_probability")
                if probability is None or probability.isna().any():
                    self._measure(found)  # they were restored

    def restore(self, project: Project, *, is_switch: bool) -> None:
        """Bring proofread objects back, once they are measured in a thread."""
        outcome, source = self._controller.outcome, self._controller.source
        self._measuring = None
        if source is None:
            return
        if outcome.objects is not None and not is_switch:  # the image was left and chosen again
            self._contents.forget_objects(project.state.objects)
            self._contents.note_objects(outcome.proofread, None)
            return
        with self._contents.restoring():
            outcome.forget_objects()
        every = self._contents.read_objects(project, source.geometry.stack_shape)
        outcome.keep_aside(every)
        if every:
            self._measure(every[-1])

    def bring(self) -> None:
        """Show what was done to objects of the image in the layer that shows it now."""
        every = self._contents.proofread
        for found in every:
            found.version = -1  # of labels in that layer
        self._controller.outcome.keep_aside(every)
        if every:
            self._measure(every[-1])  # its pixels may have another size

    def _measure(self, found: FoundObjects) -> None:
        """Measure objects in a thread, with the map of their class if there is all of it."""
        outcome, source = self._controller.outcome, self._controller.source
        if source is None:
            return
        is_whole = outcome.maps is not None and outcome.maps.is_complete
        call = partial(found.measure, source.stack, outcome.map_of(found) if is_whole else None)
        task = start_task("napari-spss objects", call, self._on_measured)
        self._measuring = task, found, found.table

    @guarded
    def _on_measured(self, task: Task[pd.DataFrame]) -> None:
        measuring, source = self._measuring, self._controller.source
        if measuring is None or task is not measuring[0] or source is None:
            return  # the project is another one by now
        self._measuring = None
        if task.error is not None or task.value is None:
            raise task.error or RuntimeError
        _, found, table = measuring
        if found is self._controller.outcome.objects:
            if found.table is table:
                self._controller.outcome.show_table(task.value)
            else:  # somebody edited them meanwhile
                self._measure(found)
            return
        found.table = task.value
        self._controller.outcome.show_objects(found, source)
        judged = f"{len(found.judged)} judged: see Results, Objects"
        what = counted(len(found.table), "object")
        self.session.say("info", f"{RESTORED}{what} of {found.request.class_name}, {judged}.")

    def forget(self) -> None:
        """Wait for no objects any more."""
        self._measuring = None
