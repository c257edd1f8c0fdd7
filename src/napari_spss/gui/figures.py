"""Figures of the result that is shown: what they are drawn from, and their files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QObject, Signal

from ..core.annotations import Annotations, Classes
from ..core.base import InputError
from .controller import InTheWay, check_place
from .models import Task, explain, guarded, start_task
from .outcome import NO_RESULT, Outcome

if TYPE_CHECKING:
    from ..core.analysis import ClassFractions, Estimate
    from .controller import Controller
    from .inputs import Inputs

_OBJECTS_NOT_DRAWN = (
    "The sizes are those of connected parts: the labels have changed since objects were found. "
    "Find them again."
)


class Figures(QObject):
    """Puts figures together from the controller's result and the inputs; a thread writes them."""

    refused = Signal(str, bool)  # why nothing is saved, and whether it may be done all the same

    def __init__(
        self, controller: Controller, inputs: Inputs, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self.session = controller.session
        self._controller, self._inputs = controller, inputs
        self._running: Task[tuple[Path, ...]] | None = None

    def fractions(self) -> tuple[ClassFractions, ...]:
        """What is known of the fractions of each class; nothing without a result."""
        outcome = self._controller.outcome
        maps = outcome.maps
        if maps is None or not maps.slices:
            return ()
        from ..core.analysis import class_fractions

        predicted = np.full((maps.shape[0], len(maps.classes)), np.nan)
        for region, values in outcome.predicted_fractions().items():
            if region.box is None:
                predicted[region.slice] = values
        classes = self._classes(outcome)
        return class_fractions(predicted, classes, self._stated(classes), _estimates(outcome))

    def place(self) -> Path:
        """Propose a folder."""
        return self._controller.outcome.place_to_save() / "figures"

    @guarded
    def save(self, folder: str, formats: tuple[str, ...], overwrite: bool) -> None:
        """Write the figures; `refused` tells why not, the session what came of it."""
        try:
            self._begin(Path(folder), formats, overwrite=overwrite)
        except InputError as error:
            self.refused.emit(str(error), isinstance(error, InTheWay))

    def _begin(self, folder: Path, formats: tuple[str, ...], *, overwrite: bool) -> None:
        from ..core.analysis import FigureSlice, figure_results, measure_masks, write_figures
        from ..core.images import open_indices, stack_from_array

        outcome = self._controller.outcome
        if outcome.maps is None or outcome.source is None:
            raise InputError(NO_RESULT)
        if self._running is not None:
            raise InputError("Figures are being drawn; wait until they are done.")
        if outcome.after_labels(lambda: self.save(str(folder), formats, overwrite)):
            self.session.say("info", "Figures are drawn once the labels follow the threshold.")
            return
        stack, maps, source = outcome.source.stack, outcome.maps, outcome.source
        labels = outcome.labels()
        assert labels is not None
        results = figure_results(
            folder,
            labels=f"{source.path or source.name}, {source.identity}",
            formats=formats,
            inputs=() if source.path is None else (Path(source.path),),
            overwrite=overwrite,
        )
        check_place(results)
        results = replace(results, made_by=outcome.origin())
        classes, z = self._classes(outcome), self._controller.current_slice()
        stated, estimates = self._stated(classes), _estimates(outcome)
        objects = outcome.objects
        if objects is not None and outcome.objects_are_stale():
            objects = None
            self.session.say("warning", _OBJECTS_NOT_DRAWN)
        instances = {}
        if objects is not None:
            instances[classes.index(objects.request.class_name)] = objects.instances.copy()

        def draw() -> tuple[Path, ...]:
            marked = [maps.marked(i, one) for i, one in enumerate(labels)]
            known = labels if maps.is_complete else np.stack(marked)
            measured = measure_masks(
                open_indices(stack_from_array(known), classes),
                stack=stack,
                per_slice=objects is not None and objects.request.per_slice,
                instances=instances,
            )
            view = FigureSlice(
                stack, z, labels[z], stack.voxel_size_um[2] or stack.pixel_size_um(z)
            )
            return write_figures(
                results, measured, classes, annotations=stated, estimates=estimates, view=view
            )

        self._running = start_task("napari-spss figures", draw, self._on_ended)
        self.session.say("info", "Drawing figures …")

    @guarded
    def _on_ended(self, task: Task[tuple[Path, ...]]) -> None:
        if task is not self._running:
            return
        self._running = None
        if task.error is not None:
            self.session.say("error", explain(task.error, "The figures could not be written"))
        elif task.value:
            names = ", ".join(path.name for path in task.value)
            self.session.say("info", f"Saved in {task.value[0].parent}: {names}.")

    def _classes(self, outcome: Outcome) -> Classes:
        assert outcome.maps is not None
        return Classes(self._inputs.classes.styles_of(outcome.maps.classes))

    def _stated(self, classes: Classes) -> Annotations | None:
        found = self._inputs.annotations()
        return found if found is not None and found.classes == classes else None

    def shut_down(self) -> None:
        """Wait for no figure any more."""
        running, self._running = self._running, None
        if running is not None:
            running.join()


def _estimates(outcome: Outcome) -> tuple[Estimate, ...]:
    """What a check count says of the labels as they are."""
    found = outcome.estimated
    return () if found is None or found.version != outcome.version else found.estimates
