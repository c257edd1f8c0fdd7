"""The controller: the result of each image, and the runs that make and use it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from qtpy.QtCore import QObject, Signal

from ..core.annotations import Region
from ..core.base import Event, InputError, Predicted
from ..core.images import BOTH_UNKNOWN
from .check import CheckCount
from .jobs import (
    CHECK,
    ESTIMATES,
    PreviewGate,
    apply_model,
    compare_runs,
    find_doubtful,
    save_results,
)
from .layers import ResultLayers, Source
from .models import ComparedSlice, EndKind, RunEnd, Session, guarded, steps_of
from .outcome import NO_RESULT, Outcome
from .trainings import Trainings, place_of_run
from .worker import Runner, begins

if TYPE_CHECKING:
    from napari.layers import Labels
    from napari.viewer import Viewer

    from ..core.base import ResultFiles
    from ..core.training import Model
    from .inputs import Inputs

logger = logging.getLogger(__name__)
_AtHand: TypeAlias = "tuple[Model, Source]"
_OTHER_PIXELS = (
    "The layer shows another image now. Results of the one before are hidden, and stay in the list "
    "of layers."
)
_OBJECTS_NOT_SAVED = "The objects are not saved: the labels have changed since. Find them again."


class InTheWay(InputError):
    """Files that are replaced only if the user says so."""


class Controller(QObject):
    """Keeps the result of each image in the viewer, and starts the runs that make and use it.

    Problems of the user's making are told by the runner's ``refused``; nothing here raises for
    them.
    """

    save_refused = Signal(str, bool)  # why, and whether it may be done all the same
    looks_found = Signal(object)  # nodes that are worth a second look, the most doubtful first
    objects_edited = Signal(object)  # slices in which a person changed objects; None if dropped
    outcome_changed = Signal()  # another result is shown, or the one that is shown changed

    def __init__(
        self,
        viewer: Viewer,
        session: Session,
        inputs: Inputs,
        runs_folder: Callable[[], Path | None],
        *,
        preview_interval_s: float,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.session = session
        self._inputs, self._annotate = inputs, inputs.annotate
        self.runner = Runner(session, self)
        self.gate = PreviewGate()
        self.layers = ResultLayers(
            viewer,
            partial(session.say, "info"),
            on_edit=lambda layer, slices: self.outcome.note_edit(layer, slices),
        )
        self.source: Source | None = None  # the image that is shown, as it is annotated now
        self._outcomes: dict[tuple[int, str], Outcome] = {}
        self.outcome = self._of_run = self._new_outcome()
        self._compared: tuple[Source, tuple[Labels, Labels]] | None = None
        self.check = CheckCount(session, lambda: self.outcome, inputs.annotate, self)
        self.trainings = Trainings(
            self.runner,
            inputs,
            self.layers,
            self.gate,
            runs_folder,
            lambda: (self.source, self.outcome.cleaning),
            preview_interval_s=preview_interval_s,
            parent=self,
        )
        session.event_taken.connect(self._on_event)
        session.run_ended.connect(self._on_end)

    def current_slice(self) -> int:
        """Slice that the viewer shows."""
        return self.gate.slice

    def show_image(self, source: Source | None) -> None:
        """Turn to an image with its result, curves and messages; None if there is none."""
        image = None if source is None else source.image_id
        if source is not None and self.source is not None and image == self.source.image_id:
            self._follow(source)
            return
        self.source, is_hidden = source, False
        for other in list(self._outcomes):
            is_replaced = image is not None and image[0] == other[0]  # in its layer
            if other != image and (is_replaced or not self.layers.is_in_viewer(other[0])):
                self._outcomes.pop(other).clear()
                is_hidden |= is_replaced and self.layers.hide_results_on(other[0])
            elif image is not None and other != image and other[1] == image[1]:
                self._outcomes[other].leave_objects()
        if image is None:
            self.outcome = self._new_outcome()
        elif image in self._outcomes:
            self.outcome = self._outcomes[image]
        else:
            self.outcome = self._outcomes[image] = self._new_outcome()
        self.layers.show_previews_of(source)
        self.session.show_image(image, "" if source is None else source.name)
        if is_hidden:
            self.session.say("info", _OTHER_PIXELS)
        self.outcome_changed.emit()

    @property
    def holds_labels(self) -> bool:
        """Whether labels are being read, and must not follow the threshold meanwhile."""
        is_saving = self.session.status.kind == "export" and self._of_run is self.outcome
        return is_saving or self.check.is_estimating

    def _follow(self, source: Source) -> None:
        """Take note that the image lies elsewhere, such as at another scale."""
        before, self.source = self.source, source
        if before is not None and not before.geometry.is_same(source.geometry):
            self.layers.follow(before, source)
        self.outcome.follow(source)
        self.trainings.follow(source)

    def _new_outcome(self) -> Outcome:
        outcome = Outcome(self.layers, self.current_slice)
        outcome.changed.connect(self.outcome_changed)
        outcome.objects_edited.connect(self.objects_edited)
        return outcome

    # -- buttons ---------------------------------------------------------------------------------

    def _refuse_saving(self, error: Exception) -> None:
        can_replace = isinstance(error, InTheWay)
        self.save_refused.emit(str(error), can_replace)
        if not can_replace:
            self.session.say("error", str(error))

    def _at_hand(self, missing: str = "There is no model yet; train one, or load one.") -> _AtHand:
        """Return model and image for another run, or raise an InputError."""
        self.session.check_idle()
        model = self.trainings.model
        if model is None:
            raise InputError(missing)
        if self.source is None:
            raise InputError("There is no image; open one.", field="image")
        return model, self.source

    @begins
    def apply(self, scope: str) -> None:
        """Apply the current model to "slice", "rectangle" or "stack"."""
        model, source = self._at_hand()
        regions = self._regions(scope, source)
        ticket = self.session.begin("prediction")
        is_known = model.working_scale.pixel_size_um or source.stack.pixel_size_um(0)
        if not is_known and not self.trainings.has_trained_on(source):
            self.session.say("info", BOTH_UNKNOWN)
        self.layers.remove_preview()
        self._of_run = self.outcome
        making, device = self._inputs.results.map_making(), self._inputs.form().device
        styles = self._inputs.classes.styles_of(model.classes)
        run_dir = self.trainings.model_dir
        maps = self.outcome.begin(source, model, styles, run_dir=run_dir, making=making)
        self.runner.start(
            ticket, apply_model, model, source.stack, maps, regions, making, device=device
        )

    @begins
    def find_doubtful(self) -> None:
        """Look for the nodes that are worth a second look; ``looks_found`` tells them."""
        (model, source), annotations = self._at_hand(), self._annotate.value()
        if annotations.classes != model.classes:
            raise InputError(
                "The classes are others than those of the model; train with them first."
            )
        if not any(grid.to_look_at.any() for grid in annotations.grids):
            raise InputError(
                "There is no node to look at again; count a grid, and train with it first."
            )
        ticket = self.session.begin("review")
        device = self._inputs.form().device
        self.runner.start(ticket, find_doubtful, model, source.stack, annotations, device=device)

    def stale(self) -> str:
        """Say that the result is of another model than the one at hand; nothing if it is not."""
        made_by, model = self.outcome.model, self.session.model
        if not self.outcome.has_result or made_by is None or model is None:
            return ""
        if made_by.network is model.network:
            return ""
        return (
            f"The labels are of the model before ({steps_of(made_by)}). Press Apply to have those "
            f"of the present one ({steps_of(model)}), and then save everything."
        )

    def save(
        self, folder: str | Path, *, has_run: bool, overwrite: bool = False, format: str = "tif"
    ) -> bool:
        """Save labels, maps and tables, and the run's own files too; return whether it began.

        It begins a little later where the labels of large slices are still being made. The run is
        that of the labels; it is not saved once there is another model. Why it did not begin is
        told by ``save_refused``.

        Parameters
        ----------
        folder : path
            Made if it does not exist.
        has_run : bool
            Whether the run's files are saved too.
        overwrite : bool
            Whether files that others wrote may be replaced.
        format : str
            Of labels and maps: the name of a writer.
        """
        options: dict[str, Any] = {"has_run": has_run, "overwrite": overwrite, "format": format}
        begin = partial(self._save, self.outcome, Path(folder), **options)
        return self.runner.attempt(begin, self._refuse_saving)

    def _save(
        self, outcome: Outcome, folder: Path, *, has_run: bool, overwrite: bool, format: str
    ) -> None:
        from ..core.analysis import estimate_names, table_names
        from ..core.prediction import FRACTIONS, objects_name, prediction_results, result_names

        self.session.check_idle()
        if has_run and (stale := self.stale()):
            raise InputError(stale)
        if outcome.maps is None or outcome.source is None or outcome.model is None:
            raise InputError(NO_RESULT)
        results = prediction_results(
            folder,
            (
                *(*result_names(format=format).values(), *table_names(FRACTIONS)),
                *(*estimate_names(ESTIMATES), CHECK, objects_name(format)),
            ),
            model=outcome.model,
            stack=outcome.source.stack,
            source=outcome.source.path or "",
            overwrite=overwrite,
        )
        run_dir = outcome.run_dir if has_run else None
        check_place(results, run_dir)
        options: dict[str, Any] = {"has_run": has_run, "overwrite": overwrite, "format": format}
        again = partial(self._save, outcome, folder, **options)
        if outcome.after_labels(partial(self.runner.attempt, again, self._refuse_saving)):
            self.session.say("info", "Saving begins once the labels follow the threshold.")
            return
        labels = outcome.labels()
        if labels is None:
            raise InputError(NO_RESULT)
        stale = self.check.stale() if outcome is self.outcome else ""
        if stale:
            self.session.say("warning", f"The estimate is not saved. {stale}")
        objects = outcome.objects
        if objects is not None and outcome.objects_are_stale():
            objects = None
            self.session.say("warning", _OBJECTS_NOT_SAVED)
        ticket, model = self.session.begin("export"), self.session.model
        self._of_run, outcome.saved_in = outcome, folder
        self.runner.start(
            ticket,
            save_results,
            replace(results, made_by=outcome.origin()),
            outcome.maps,
            labels,
            outcome.source.stack,
            format=format,
            run_dir=run_dir,
            is_named_anew=model is not None and model.classes != outcome.maps.classes,
            estimated=None if stale else outcome.estimated,
            objects=None if objects is None else objects.copy(),
        )

    def follow_runs(self, left: Path, folder: Path) -> None:
        """Take note that runs were copied from one folder to another, as far as they are there."""
        self.trainings.follow_runs(left, folder)
        for outcome in {self.outcome, *self._outcomes.values()}:
            outcome.run_dir = place_of_run(left, folder, outcome.run_dir)

    @begins
    def compare(self, run_dir: Path, names: tuple[str, str]) -> None:
        """Show the labels of the run in use, and of one in another folder, in layers so named."""
        missing = "No run is in use; choose one, and press Use."
        model, source = self._at_hand(missing)
        current = self.trainings.model_dir
        if current is None:
            raise InputError(missing)
        slices = [region.slice for region in self._regions("stack", source)]
        ticket = self.session.begin("comparison")
        self.layers.remove_preview()
        layers = self.layers.show_pair(source, names, self._inputs.classes.styles_of(model.classes))
        cleaning = self.outcome.cleaning
        self._compared = source, layers
        self.runner.start(
            ticket,
            compare_runs,
            (current, run_dir),
            source.stack,
            slices,
            cleaning,
            as_named=self._inputs.classes.named,
            device=self._inputs.form().device,
        )

    def _show_compared(self, compared: ComparedSlice) -> None:
        if self._compared is None:
            return
        source, layers = self._compared
        for layer, values, made_by in zip(layers, compared.labels, compared.made_by, strict=True):
            self.layers.note_origin([layer], made_by)
            if self.layers.write_labels(layer, source, compared.slice, values):
                layer.refresh(thumbnail=False, extent=False)

    def shut_down(self) -> None:
        """Stop the run and all timers; the dock is about to close."""
        self.session.abandon()
        self.check.shut_down()
        for outcome in {self.outcome, self._of_run, *self._outcomes.values()}:
            outcome.stop_timers()
        self.trainings.shut_down()

    # -- a run's way -----------------------------------------------------------------------------

    def _regions(self, scope: str, source: Source) -> tuple[Region, ...]:
        z = self.current_slice()
        if scope == "slice":
            return (Region(z),)
        if scope == "stack":
            others = [Region(i) for i in range(source.stack.n_slices) if i != z]
            return (Region(z), *others)  # the one that is looked at comes first
        rectangles = self._annotate.regions.on_slice(z)
        if not rectangles:
            raise InputError(
                f"There is no rectangle on slice {z}; draw one under Annotate, Fractions."
            )
        return rectangles[:1]

    @guarded
    def _on_event(self, event: Event) -> None:
        if isinstance(event, Predicted) and self.session.status.kind == "prediction":
            self._of_run.take(event)
        elif isinstance(event, ComparedSlice):
            self._show_compared(event)

    @guarded
    def _on_end(self, end: RunEnd) -> None:
        if end.run == "prediction":
            self._of_run.end()
        if end.kind is EndKind.failed:
            logger.info("a run failed: %s", end.text)
        elif end.run == "review" and end.result and self.session.is_of_shown_image:
            self.looks_found.emit(end.result)
        elif end.run == "export":
            self._of_run.is_saved = end.kind is EndKind.finished


def check_place(results: ResultFiles, run_dir: Path | None = None) -> None:
    """See that nothing is in the way of results and of a copy of their run.

    InTheWay if the user may have it replaced; InputError if not.
    """
    every = [results]
    if run_dir is not None:
        from ..core.training import RunFolder

        copy = RunFolder(run_dir).copy_at(results.folder, overwrite=bool(results.overwrite))
        every += [] if copy is None else [copy]
    found: dict[str, str] = {}
    for files in every:
        replace(files, overwrite=True).check()
        found |= {} if files.overwrite else files.in_the_way()
    if found:
        listed = "; ".join(f"{name} {why}" for name, why in found.items())
        raise InTheWay(f"In {results.folder}, {listed}.")
