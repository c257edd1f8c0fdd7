"""The controller: what the dock's buttons do, and what becomes of a run's events."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeAlias, cast

from qtpy.QtCore import QObject, Signal

from ..core.annotations import (
    Annotations,
    Classes,
    ClassStyle,
    Region,
    error_after_looks,
    looks_summary,
)
from ..core.base import (
    Agreement,
    Event,
    InputError,
    Mailbox,
    Predicted,
    Preview,
    SpssError,
    counted,
    length_text,
    origin_of,
)
from ..core.images import BOTH_UNKNOWN, LiveLabels
from ..core.prediction import is_smoothed
from .check import CheckCount
from .jobs import (
    CHECK,
    ESTIMATES,
    PreviewGate,
    TrainingJob,
    apply_model,
    compare_runs,
    find_class_objects,
    find_doubtful,
    load_run,
    save_results,
    train,
)
from .layers import ResultLayers, Source
from .models import (
    Cleaning,
    ComparedSlice,
    EndKind,
    FoundObjects,
    LoadedRun,
    ObjectRequest,
    Progress,
    RunEnd,
    RunForm,
    RunKind,
    Session,
    Ticket,
    explain,
    guarded,
    has_places,
    open_grid,
    steps_of,
)
from .outcome import NO_RESULT, Outcome
from .worker import Runner

if TYPE_CHECKING:
    from napari.layers import Labels
    from napari.viewer import Viewer

    from ..core.base import ResultFiles, TrainingSettings
    from ..core.training import Model
    from .inputs import Inputs
    from .worker import CoreCall

logger = logging.getLogger(__name__)
_ImageId = tuple[int, str]  # key of the layer, identity of its pixels
_Said = tuple[Annotations, int]  # and how often somebody painted
P = ParamSpec("P")
_Begin: TypeAlias = Callable[Concatenate["Controller", P], None]
_AtHand: TypeAlias = "tuple[Model, Source]"
_NODE_ERROR = "labels.node_error"
_NOT_WHOLE = (
    "Not all slices have labels: objects end where the labels do. Apply the model to the whole "
    "stack to have them whole."
)
_OBJECTS_NOT_SAVED = "The objects are not saved: the labels have changed since. Find them again."
_LARGE_PREVIEW_PX = 1 << 21  # holes and small objects of larger previews stay


class InTheWay(InputError):
    """Files that are replaced only if the user says so."""


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


@dataclass(frozen=True)
class _Training:
    """With what a training began."""

    source: Source
    styles: tuple[ClassStyle, ...]
    settings: TrainingSettings
    folder: Path


def _begins(
    refuse: Callable[[Controller, Exception], None],
) -> Callable[[_Begin[P]], Callable[Concatenate[Controller, P], bool]]:
    """Make a method that begins a run return whether it did; if not, it tells why."""

    def make(begin: _Begin[P]) -> Callable[Concatenate[Controller, P], bool]:
        @wraps(begin)
        def call(owner: Controller, /, *args: P.args, **kwargs: P.kwargs) -> bool:
            return owner._attempt(partial(begin, owner, *args, **kwargs), partial(refuse, owner))

        return call

    return make


class Controller(QObject):
    """Starts runs for a session and shows what comes of them.

    Each image has a result of its own, as long as it is in the viewer. Problems of the user's
    making are told by ``refused``; nothing here raises for them.
    """

    refused = Signal(object, str)  # field that is wrong or None, why
    save_refused = Signal(str, bool)  # why, and whether it may be done all the same
    objects_refused = Signal(object, str)  # field that is wrong or None, why no objects are found
    objects_asked = Signal(str, bool)  # what is in the way of others, and whether it can be kept
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
        self._viewer = viewer
        self._inputs, self._annotate = inputs, inputs.annotate
        self._runs_folder = runs_folder
        self._preview_interval_s = preview_interval_s
        self._runner = Runner(session, self)
        self._scratch: list[tempfile.TemporaryDirectory[str]] = []
        self._labels = LiveLabels()
        self._told: Annotations | None = None  # what the run knows
        self._is_previewed = False  # whether the run has shown a map with something on it
        self._held_back: Preview | None = None
        self._learned: _Said | None = None  # the same, to be compared with later
        self._updates: Mailbox[Annotations] = Mailbox()
        self._claimed: Ticket | None = None  # of the run that is about to begin
        self._training: _Training | None = None  # the last one that began
        self._begun = Classes(("background",))  # its classes, as they are called in its folder
        self._run_dir: Path | None = None
        self.model_dir: Path | None = None  # of the run that the current model came from
        self._dir_before: Path | None = None  # of the model before the last training
        self._agreement: Agreement | None = None  # of the model of the last training
        self._is_untested = False  # whether that was stopped before it was compared
        self._compared: tuple[Source, tuple[Labels, Labels]] | None = None
        self._cut_short: _Training | None = None  # that of the model, if time has ended it
        self.gate = PreviewGate()
        self.layers = ResultLayers(
            viewer,
            partial(session.say, "info"),
            on_edit=lambda layer, slices: self.outcome.note_edit(layer, slices),
        )
        self._image: _ImageId | None = None
        self.source: Source | None = None  # that image, as it is annotated now
        self._trained: _ImageId | None = None
        self._outcomes: dict[_ImageId, Outcome] = {}
        self.outcome = self._of_run = self._new_outcome()
        self._known: dict[_ImageId, _Said | None] = {}  # by image, what the model has learned of
        self.check = CheckCount(session, lambda: self.outcome, inputs.annotate, self)
        session.event_taken.connect(self._on_event)
        session.run_ended.connect(self._on_end)

    def current_slice(self) -> int:
        """Slice that the viewer shows."""
        return self.gate.slice

    def show_image(self, source: Source | None) -> None:
        """Turn to an image with its result, curves and messages; None if there is none."""
        image = None if source is None else (source.key, source.identity)
        if image == self._image and source is not None:
            self._follow(source)
            return
        self.source, self._image = source, image
        for other in list(self._outcomes):
            is_replaced = image is not None and image[0] == other[0]  # in its layer
            if other != image and (is_replaced or not self.layers.is_in_viewer(other[0])):
                self._outcomes.pop(other).clear()
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
        self.outcome_changed.emit()

    @property
    def model(self) -> Model | None:
        """The current model, its classes as they are named by now."""
        model = self.session.model
        if model is None:
            return None
        classes = self._inputs.classes.named(model.classes)
        return model if classes == model.classes else model.model_copy(update={"classes": classes})

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
        if self._training is not None and self._training.source.key == source.key:
            self._training = replace(self._training, source=source)

    def note_known(self) -> None:
        """Take what is annotated on the image for nothing new, unless it was shown before."""
        if self._image is not None:
            self._known.setdefault(self._image, self._said(self._annotate.value()))

    def _said(self, annotations: Annotations) -> _Said:
        """What a training would learn from; a grid that was only laid says nothing.

        Nor does the fraction of the background beside all others, which not every table has.
        """
        grids = tuple(one for one in annotations.grids if one.is_done or one.n_judged)
        proportions = tuple(
            replace(one, fractions=(None, *one.fractions[1:]))
            if one.low is None and None not in one.fractions[1:]
            else one
            for one in annotations.proportions
        )
        said = annotations.replace(grids=grids, proportions=proportions)
        return said, self._annotate.painted.n_edits

    def _has_news(self, annotations: Annotations | None) -> bool:
        if annotations is None or self._image is None or self._image not in self._known:
            return False
        known = self._known[self._image]
        if known is not None:
            classes = self._inputs.classes.named(known[0].classes)
            known = known[0].replace(classes=classes, outside=None), known[1]
        return self._said(annotations) != known

    def _new_outcome(self) -> Outcome:
        outcome = Outcome(self.layers, self.current_slice)
        outcome.changed.connect(self.outcome_changed)
        outcome.objects_edited.connect(self.objects_edited)
        return outcome

    def missing(self, annotations: Annotations | None) -> str:
        """Say what has to be done before a training; nothing if it may start."""
        if self.source is None:
            return "Open an image, or one of File > Open Sample > Semantic Proportions."
        if sum(not style.is_outside for style in self._inputs.classes.value()) < 2:
            return "Add a class to be segmented under Image & classes."
        if annotations is None or (annotations.is_empty and self._annotate.masks() is None):
            if annotations is not None and annotations.grids:
                return (
                    "Count what was laid under Annotate, Grid: click the nodes that lie on a "
                    "class, then press Done (D)."
                )
            return "State fractions, count a grid or add keypoints under Annotate."
        return ""

    def other_channels(self) -> str:
        """Say why the model cannot be applied to this image; else nothing."""
        model, source = self.model, self.source
        if model is None or source is None or model.n_channels == source.stack.n_channels:
            return ""
        said = f"{counted(model.n_channels, 'channel')}, the image {source.stack.n_channels}"
        return f"The model has {said}: press Train for a new one."

    def other_model(self, annotations: Annotations | None) -> str:
        """Say why the model cannot be trained on with this image and its classes; else nothing."""
        model, said = self.model, self.other_channels()
        if said or model is None or self.source is None or annotations is None:
            return said
        if model.classes == annotations.classes:
            return ""
        said = f"the classes {model.classes}, and you state {annotations.classes}"
        return f"The model has {said}: press Train for a new one."

    def progress(self, annotations: Annotations | None) -> Progress:
        """Say how far the work has come."""
        source, maps, looks = self.source, self.outcome.maps, self._annotate.second_look.value()
        model = self.model
        if model is not None and source is not None:
            model = model if model.n_channels == source.stack.n_channels else None
        return Progress(
            has_image=source is not None,
            missing=self.missing(annotations),
            open_grid=open_grid(annotations),
            n_open_frames=sum(
                grid.box is not None and not grid.is_done
                for grid in (() if annotations is None else annotations.grids)
            ),
            has_places=has_places(annotations) or self._annotate.masks() is not None,
            has_model=model is not None,
            has_other_classes=model is not None
            and annotations is not None
            and annotations.classes != model.classes,
            is_cut_short=self._is_cut_short(),
            n_to_look_at=sum(look.verdict is None for look in looks),
            has_news=self._has_news(annotations),
            is_worse=self.can_take_back
            and self._agreement is not None
            and self._agreement.is_worse,
            has_preview=source is not None and self.layers.has_preview(source),
            has_result=self.outcome.has_result,
            can_look_again=not looks
            and annotations is not None
            and any(grid.to_look_at.any() for grid in annotations.grids),
            n_contradicted=len(self.check.contradicted()),
            n_open_check=sum(not grid.is_done for grid in self._annotate.check.value()),
            can_estimate=not self.check.missing(),
            is_estimated=self.outcome.estimated is not None and not self.check.stale(),
            is_stale=bool(self.stale()),
            n_slices=1 if source is None else source.stack.n_slices,
            n_predicted=0 if maps is None else len(maps.full_slices),
            is_saved=self.outcome.is_saved,
        )

    def can_smooth(self) -> bool:
        """Whether maps of the image are averaged along z if that is wanted, as far as is known."""
        source, model = self.source, self.session.model
        if source is None:
            return True
        if model is not None:
            return is_smoothed(model, source.stack, None)[0]
        sizes_um = source.stack.voxel_size_um[0], source.stack.pixel_size_um(0)
        return source.stack.n_slices > 1 and None not in sizes_um

    # -- buttons ---------------------------------------------------------------------------------

    def _refuse(self, error: Exception) -> None:
        text = explain(error, "The run did not begin")
        self.refused.emit(getattr(error, "field", None), text)
        self.session.say("error", text)

    def _refuse_saving(self, error: Exception) -> None:
        can_replace = isinstance(error, InTheWay)
        self.save_refused.emit(str(error), can_replace)
        if not can_replace:
            self.session.say("error", str(error))

    def _refuse_objects(self, error: Exception) -> None:
        if isinstance(error, ObjectsInTheWay):
            self.objects_asked.emit(str(error), error.can_be_kept)
            return
        text = explain(error, "No objects were found")
        self.objects_refused.emit(getattr(error, "field", None), text)

    @_begins(_refuse)
    def train(self, *, continues: bool = False) -> None:
        """Start a training."""
        job, classes = self._job(continues=continues)
        ticket = self._claimed = self.session.begin(
            "training", classes=classes, continues=continues, resumes=job.resumes
        )
        self.refused.emit(None, "")
        self.gate.open()
        self._updates = ticket.updates
        self._is_previewed, self._held_back = continues, None
        if not continues:
            self.layers.remove_preview()  # it is of another network
        job = replace(job, updates=ticket.updates)
        self._run_dir = job.run_dir
        self._agreement = None
        if not job.resumes:
            self._dir_before = self.model_dir
        self._runner.start(ticket, train, job)

    def update_annotations(self, annotations: Annotations) -> None:
        """Hand what was annotated and painted meanwhile to a training of the same image."""
        run = self._training
        if self.session.status.kind != "training" or run is None or not self._is_image_of_run():
            return
        labels = self._annotate.masks()
        if labels is None and self._labels.n_slices == 0 and annotations == self._told:
            return
        self._told, self._learned = annotations, self._said(annotations)
        self._labels.follow(labels)
        if self._inputs.classes.named(self._begun) == annotations.classes:  # renamed since
            annotations = annotations.replace(classes=self._begun, outside=None)
        self.session.update_annotations(annotations)

    def note_diameter(self, diameter_px: float | None) -> None:
        """Tell that a training does not take an object diameter that was stated meanwhile."""
        if self.session.status.kind != "training" or not self._is_image_of_run():
            return
        if self._training and diameter_px != self._training.settings.image.object_diameter_px:
            self.session.say(
                "warning", "The object diameter changed: that takes effect at the next Train."
            )

    def _is_image_of_run(self) -> bool:
        """Whether the chosen image has the pixels that the run began with."""
        source, run = self.source, self._training
        return source is not None and run is not None and source.identity == run.source.identity

    def _at_hand(self, missing: str = "There is no model yet; train one, or load one.") -> _AtHand:
        """Return model and image for another run, or raise an InputError."""
        self.session.check_idle()
        model = self.model
        if model is None:
            raise InputError(missing)
        if self.source is None:
            raise InputError("There is no image; open one.", field="image")
        return model, self.source

    @_begins(_refuse)
    def apply(self, scope: str) -> None:
        """Apply the current model to "slice", "rectangle" or "stack"."""
        model, source = self._at_hand()
        regions = self._regions(scope, source)
        ticket = self._claimed = self.session.begin("prediction")
        is_known = model.working_scale.pixel_size_um or source.stack.pixel_size_um(0)
        if not is_known and self._image != self._trained:
            self.session.say("info", BOTH_UNKNOWN)
        self.layers.remove_preview()
        self._of_run = self.outcome
        making, device = self._inputs.results.map_making(), self._inputs.form().device
        styles = self._inputs.classes.styles_of(model.classes)
        maps = self.outcome.begin(source, model, styles, run_dir=self.model_dir, making=making)
        self._runner.start(
            ticket, apply_model, model, source.stack, maps, regions, making, device=device
        )

    @_begins(_refuse)
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
        ticket = self._claimed = self.session.begin("review")
        device = self._inputs.form().device
        self._runner.start(ticket, find_doubtful, model, source.stack, annotations, device=device)

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
        self,
        folder: str | Path,
        *,
        has_run: bool,
        overwrite: bool = False,
        format: str = "tif",
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
        return self._save(
            self.outcome, Path(folder), has_run=has_run, overwrite=overwrite, format=format
        )

    @_begins(_refuse_saving)
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
        if outcome.after_labels(partial(self._save, outcome, folder, **options)):
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
        self._claimed = ticket
        self._of_run, outcome.saved_in = outcome, folder
        self._runner.start(
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

    @_begins(_refuse)
    def load(self, folder: str | Path) -> None:
        """Load the model of a run."""
        ticket = self._claimed = self.session.begin("loading")
        self._run_dir = Path(folder)
        identity = "" if self.source is None else self.source.identity
        self._runner.start(ticket, load_run, self._run_dir, image_identity=identity)

    def follow_runs(self, left: Path, folder: Path) -> None:
        """Take note that runs were copied from one folder to another, as far as they are there."""

        def there(run: Path | None) -> Path | None:
            known = run is not None and run.parent == left and (folder / run.name).is_dir()
            return folder / run.name if run is not None and known else run

        self._run_dir, self.model_dir = there(self._run_dir), there(self.model_dir)
        self._dir_before = there(self._dir_before)
        if self._cut_short is not None:
            where = there(self._cut_short.folder) or self._cut_short.folder
            self._cut_short = replace(self._cut_short, folder=where)
        for outcome in {self.outcome, *self._outcomes.values()}:
            outcome.run_dir = there(outcome.run_dir)

    def take_back(self) -> bool:
        """Load the model before the last training; return whether loading began."""
        return self._dir_before is not None and self.load(self._dir_before)

    def worse(self) -> str:
        """Say that the model before the last training was better, or may be; else nothing."""
        found = self._agreement
        if self._is_untested:
            return "This training was stopped, so it was not compared with the model before."
        if found is None or not found.is_worse:
            return ""
        return (
            f"At {found.n_nodes} judged nodes labels of this model and judgements overlap by "
            f"{found.overlap:.2f} (intersection over union), those of the model before by "
            f"{found.overlap_before:.2f}: clearly less, though this one has learned from all nodes."
        )

    def _tell_gain(self) -> None:
        """Say what came of nodes that were changed since the model before had learned from them."""
        known = None if self._trained is None else self._known.get(self._trained)
        if known is None or self._learned is None or self._agreement is None:
            return
        from ..core.prediction import gain_text, n_changed_nodes

        said = self._learned[0]
        n_changed = n_changed_nodes(known[0], said)
        if text := gain_text(n_changed, self._agreement, said.classes):
            self.session.say("info", text)

    @property
    def can_take_back(self) -> bool:
        """Whether the model before the last training is in a folder of its own."""
        return self._dir_before not in (None, self._run_dir)

    @_begins(_refuse)
    def compare(self, run_dir: Path, names: tuple[str, str]) -> None:
        """Show the labels of the run in use, and of another, on all slices.

        Parameters
        ----------
        run_dir : Path
            Folder of the other run.
        names : tuple of str
            Of the two layers.
        """
        missing = "No run is in use; choose one, and press Use."
        model, source = self._at_hand(missing)
        if self.model_dir is None:
            raise InputError(missing)
        slices = [region.slice for region in self._regions("stack", source)]
        ticket = self._claimed = self.session.begin("comparison")
        self.layers.remove_preview()
        layers = self.layers.show_pair(source, names, self._inputs.classes.styles_of(model.classes))
        cleaning = self.outcome.cleaning
        self._compared = source, layers
        self._runner.start(
            ticket,
            compare_runs,
            (self.model_dir, run_dir),
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

    def find_objects(self, request: ObjectRequest, edited: str = "") -> bool:
        """Find objects in the labels as they are; return whether it began.

        It begins a little later where the labels of large slices are still being made. Why it did
        not begin, or failed, is told by ``objects_refused``; by ``objects_asked`` if a person
        edited those that are there.

        Parameters
        ----------
        request : ObjectRequest
        edited : {"", "keep", "drop"}
            What becomes of what a person said of the objects: "keep" finds the others anew.
        """
        return self._find(self.outcome, request, edited)

    @_begins(_refuse_objects)
    def _find(self, outcome: Outcome, request: ObjectRequest, edited: str) -> None:
        self.session.check_idle()
        before = outcome.proofread.get(request.class_name)
        if before is not None and before.is_edited and not edited:
            raise ObjectsInTheWay(before, request)
        if edited == "drop":
            outcome.drop_objects(request.class_name)
            before = None
        if outcome.after_labels(lambda: self.find_objects(request, edited)):
            self.session.say("info", "The search begins once the labels follow the threshold.")
            return
        labels = outcome.labels()
        if labels is None or outcome.maps is None or outcome.source is None:
            raise InputError(NO_RESULT)
        if not outcome.maps.is_complete:
            self.session.say("warning", _NOT_WHOLE)
        ticket = self._claimed = self.session.begin("objects")
        self.objects_refused.emit(None, "")
        self._of_run = outcome
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

    def begin(
        self,
        kind: RunKind,
        call: CoreCall,
        *args: Any,
        refuse: Callable[[Exception], None],
        **options: Any,
    ) -> bool:
        """Begin a run whose end somebody else awaits; return whether it began."""

        def start() -> None:
            ticket = self._claimed = self.session.begin(kind)
            self._runner.start(ticket, call, *args, **options)

        return self._attempt(start, refuse)

    def _attempt(self, begin: Callable[[], object], refuse: Callable[[Exception], None]) -> bool:
        """Begin a run; if that fails, tell why and leave the session free for another one."""
        try:
            begin()
        except Exception as error:  # a border: beyond it is Qt
            if not isinstance(error, SpssError):
                logger.error("a run did not begin", exc_info=error)
            ticket, self._claimed = self._claimed, None
            if ticket is None:
                refuse(error)
            else:
                self.session.fail(ticket, error)
            return False
        self._claimed = None
        return True

    def shut_down(self) -> None:
        """Stop the run and all timers; the dock is about to close."""
        self.session.abandon()
        self.check.shut_down()
        for outcome in {self.outcome, self._of_run, *self._outcomes.values()}:
            outcome.stop_timers()
        for folder in self._scratch:
            folder.cleanup()
        self._scratch.clear()

    # -- a run's way -----------------------------------------------------------------------------

    def _job(self, *, continues: bool) -> tuple[TrainingJob, tuple[str, ...]]:
        """Collect and check all that a training needs, on the GUI thread."""
        source, form = self.source, self._inputs.form()
        self.session.check_idle()  # before anything is made for a run that is refused
        if source is None:
            raise InputError("There is no image to train on; open one.", field="image")
        model = self.model if continues else None
        if model is not None:
            _check_pixel_size(model, source)
        settings = form.settings(continued=model)
        annotations, masks = self._annotate.value(), self._annotate.masks()
        if annotations.is_empty and masks is None:
            raise InputError(
                "Nothing is annotated yet; state fractions, count a grid or add keypoints."
            )
        annotations.validate_against(source.stack)
        resumed = self._resumable(form) if continues else None
        styles, self._begun = self._inputs.classes.value(), annotations.classes
        if resumed is not None and self.session.model is not None:
            run = replace(resumed, settings=resumed.settings.without_limit(), styles=styles)
            self._begun = self.session.model.classes  # some may be renamed since
        else:
            run = _Training(source, styles, settings, self._new_run_dir())
        run = replace(run, settings=self._after_looks(run.settings, form))
        self._training = run
        self._labels, self._told = LiveLabels(masks), annotations
        self._learned, self._trained = self._said(annotations), self._image
        job = TrainingJob(
            stack=source.stack,
            annotations=annotations.replace(classes=self._begun, outside=None),
            settings=run.settings,
            run_dir=run.folder,
            masks=self._labels,
            start_from=model,
            device=form.device,
            updates=None,
            gate=self.gate,
            preview_interval_s=self._preview_interval_s,
            resumes=resumed is not None,
            before=self.model if resumed is None else None,
        )
        return job, self._begun

    def _after_looks(self, settings: TrainingSettings, form: RunForm) -> TrainingSettings:
        """Expect as many wrong nodes as the second looks let expect, unless it is stated."""
        every = self._annotate.second_look.value()
        looks = [look for look in every if look.verdict is not None]
        if not looks or _NODE_ERROR in form.overrides:
            return settings
        error = round(error_after_looks(looks, form.settings().labels.node_error), 4)
        told = f"Second look: {looks_summary(looks)}"
        self.session.say("info", f"{told}; of the others, {100 * error:.2g} % may be wrong.")
        return settings.with_overrides({_NODE_ERROR: error})

    def _resumable(self, form: RunForm) -> _Training | None:
        """Return the model's training if time cut it short, and nothing but annotations changed."""
        run = self._cut_short
        if run is None or not self._is_image_of_run():
            return None
        from ..core.training import STATE_FILE  # torch, which that run has loaded

        settings = form.settings(continued=self.session.model)
        if _NODE_ERROR not in form.overrides:  # it follows the second looks
            error = run.settings.labels.node_error
            settings = settings.with_overrides({_NODE_ERROR: error})
        is_same = settings.without_limit() == run.settings.without_limit()
        return run if is_same and (run.folder / STATE_FILE).is_file() else None

    def _is_cut_short(self) -> bool:
        """Whether Continue would end the model's training, by what is entered."""
        with contextlib.suppress(InputError):
            return self._resumable(self._inputs.form()) is not None
        return False

    def _cut_short_before(self, loaded: LoadedRun) -> _Training | None:
        """Return the training of a model that was loaded, if it is one of this project's to end."""
        source, folder = self.source, self._run_dir
        if loaded.cut_short is None or source is None or folder is None:
            return None
        if not self.session.is_of_shown_image or folder.parent != self._runs_folder():
            return None
        styles = self._inputs.classes.value()
        self._training = _Training(source, styles, loaded.cut_short, folder)
        return self._training

    def _new_run_dir(self) -> Path:
        """Name a folder for the next run: in the project, else a temporary one."""
        runs = self._runs_folder()
        name = time.strftime("%Y-%m-%d_%H-%M-%S")
        if runs is not None:
            folder, number = runs / name, 2
            while folder.exists():
                folder, number = runs / f"{name}_{number}", number + 1
            return folder
        scratch = tempfile.TemporaryDirectory(prefix="napari-spss-", ignore_cleanup_errors=True)
        self._scratch.append(scratch)
        return Path(scratch.name) / name

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
        if isinstance(event, Preview):
            self._show_preview(event)
        elif isinstance(event, Predicted) and self.session.status.kind == "prediction":
            self._of_run.take(event)
        elif isinstance(event, Agreement):
            self._agreement = event
        elif isinstance(event, ComparedSlice):
            self._show_compared(event)

    def _show_preview(self, preview: Preview) -> None:
        run = self._training
        if run is not None:
            cleaning = self.outcome.cleaning
            if preview.probs[0].size > _LARGE_PREVIEW_PX:  # the window would halt for each
                cleaning = Cleaning(cleaning.threshold)
            if not self._is_previewed:
                labels = cleaning.at_scale(preview.reduction).apply(preview.probs)
                self._is_previewed = bool(labels.min() != labels.max())
            self._held_back = None if self._is_previewed else preview
            if self._is_previewed:
                shown = self.layers.show_preview(run.source, preview, run.styles, cleaning)
                origin = origin_of(run.folder, n_steps=preview.step, **asdict(cleaning))
                self.layers.note_origin(shown, origin)
        self.gate.open()

    def _show_held_back(self) -> None:
        """Show the last preview although it is of one colour: there will be no other."""
        preview, self._held_back = self._held_back, None
        if preview is not None:
            self._is_previewed = True
            self._show_preview(preview)

    @guarded
    def _on_end(self, end: RunEnd) -> None:
        self.gate.open()
        self._show_held_back()
        is_of_model = end.run in ("training", "loading")
        if is_of_model and (end.result is not None or end.error is not None):
            self._cut_short = self._training if end.kind is EndKind.cut_short else None
        if end.run == "prediction":
            self._of_run.end()
        if end.kind is EndKind.failed:
            logger.info("a run failed: %s", end.text)
            if end.run == "objects" and end.error is not None:
                self._refuse_objects(end.error)
        elif is_of_model and end.result is not None:
            if end.run == "training":
                self._tell_gain()
            self._is_untested = end.kind is EndKind.stopped and self.can_take_back
            self.model_dir = self._run_dir
            self._known = {}
            if isinstance(end.result, LoadedRun):
                self._agreement, self._cut_short = None, self._cut_short_before(end.result)
                learned = end.result.learned
                if learned is not None and self._image and self.session.is_of_shown_image:
                    self._known[self._image] = self._said(learned)
            if end.run == "training" and self._trained is not None:
                # what was told too late was not taken
                self._known[self._trained] = self._learned if self._updates.is_empty else None
            self.note_known()
        elif end.run == "review" and end.result and self.session.is_of_shown_image:
            self.looks_found.emit(end.result)
        elif end.run == "objects" and end.result is not None:
            self._of_run.show_objects(cast("FoundObjects", end.result))
        elif end.run == "export":
            self._of_run.is_saved = end.kind is EndKind.finished


def _check_pixel_size(model: Model, source: Source) -> None:
    """Refuse another size of a pixel than the image had when the model learned from it."""
    from ..core.training import RunFolder

    sizes = None if model.run_dir is None else model.other_pixels(source.stack)
    if sizes is None or model.run_dir is None:
        return
    try:
        identity = RunFolder(model.run_dir).inputs().image_identity
    except InputError:  # a model alone
        return
    if identity == source.identity:
        ours, theirs = map(length_text, sizes)
        raise InputError(
            f"The model learned from this image with pixels of {ours}, not {theirs}; state that "
            "size under Image & classes, or press Train to begin anew.",
            field="image",
        )


def check_place(results: ResultFiles, run_dir: Path | None = None) -> None:
    """See that nothing is in the way of results and of a copy of their run.

    Raises
    ------
    InTheWay
        If the user may have it replaced.
    InputError
        If not.
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
