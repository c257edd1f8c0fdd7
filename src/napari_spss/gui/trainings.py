"""Trainings in the dock, and the model in use: where it lies and what it has learned of."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

from ..core.annotations import Annotations, Classes, ClassStyle, error_after_looks, looks_summary
from ..core.base import Agreement, Event, InputError, Mailbox, Preview, length_text, origin_of
from ..core.images import LiveLabels
from .jobs import PreviewGate, TrainingJob, load_run, train
from .layers import ResultLayers, Source
from .models import Cleaning, EndKind, LoadedRun, RunEnd, RunForm, guarded
from .worker import Runner, begins

if TYPE_CHECKING:
    from ..core.base import TrainingSettings
    from ..core.training import Model
    from .inputs import Inputs

_Said = tuple[Annotations, int]  # and how often somebody painted
_NODE_ERROR = "labels.node_error"
_LARGE_PREVIEW_PX = 1 << 21  # holes and small objects of larger previews stay


@dataclass(frozen=True)
class _Training:
    """With what a training began."""

    source: Source
    styles: tuple[ClassStyle, ...]
    settings: TrainingSettings
    folder: Path


class Trainings(QObject):
    """Begins trainings, shows their previews, and keeps what is known of the model in use.

    ``runs_folder`` returns the folder of the project's runs; None if there is none. ``shown``
    returns the image that is shown, as it is annotated now, and how its maps become labels.
    """

    def __init__(
        self,
        runner: Runner,
        inputs: Inputs,
        layers: ResultLayers,
        gate: PreviewGate,
        runs_folder: Callable[[], Path | None],
        shown: Callable[[], tuple[Source | None, Cleaning]],
        *,
        preview_interval_s: float,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.runner, self.session = runner, runner.session
        self._inputs, self._annotate = inputs, inputs.annotate
        self._layers, self._gate = layers, gate
        self._runs_folder, self._shown = runs_folder, shown
        self._preview_interval_s = preview_interval_s
        self._scratch: list[tempfile.TemporaryDirectory[str]] = []
        self._labels = LiveLabels()
        self._told: Annotations | None = None  # what the run knows
        self._is_previewed = False  # whether the run has shown a map with something on it
        self._held_back: Preview | None = None
        self._learned: _Said | None = None  # what the run knows, to be compared with later
        self._updates: Mailbox[Annotations] = Mailbox()
        self._training: _Training | None = None  # the last one that began
        self._begun = Classes(("background",))  # its classes, as they are called in its folder
        self._trained: tuple[int, str] | None = None  # image of it
        self._run_dir: Path | None = None
        self.model_dir: Path | None = None  # of the run that the current model came from
        self._dir_before: Path | None = None  # of the model before the last training
        self._agreement: Agreement | None = None  # of the model of the last training
        self._is_untested = False  # whether that was stopped before it was compared
        self._cut_short: _Training | None = None  # that of the model, if time has ended it
        self._known: dict[tuple[int, str], _Said | None] = {}  # by image, what the model learned of
        self.session.event_taken.connect(self._on_event)
        self.session.run_ended.connect(self._on_end)

    @property
    def model(self) -> Model | None:
        """The current model, its classes as they are named by now."""
        model = self.session.model
        if model is None:
            return None
        classes = self._inputs.classes.named(model.classes)
        return model if classes == model.classes else model.model_copy(update={"classes": classes})

    @property
    def _source(self) -> Source | None:
        """The image that is shown."""
        return self._shown()[0]

    @begins
    def train(self, *, continues: bool = False) -> None:
        """Start a training."""
        job, classes = self._job(continues=continues)
        ticket = self.session.begin(
            "training", classes=classes, continues=continues, resumes=job.resumes
        )
        self.runner.refused.emit(None, "")
        self._gate.open()
        self._updates = ticket.updates
        self._is_previewed, self._held_back = continues, None
        if not continues:
            self._layers.remove_preview()  # it is of another network
        job = replace(job, updates=ticket.updates)
        self._run_dir = job.run_dir
        self._agreement = None
        if not job.resumes:
            self._dir_before = self.model_dir
        self.runner.start(ticket, train, job)

    @begins
    def load(self, folder: str | Path) -> None:
        """Load the model of a run."""
        ticket, source = self.session.begin("loading"), self._source
        self._run_dir = Path(folder)
        identity = "" if source is None else source.identity
        self.runner.start(ticket, load_run, self._run_dir, image_identity=identity)

    def take_back(self) -> bool:
        """Load the model before the last training; return whether loading began."""
        return self._dir_before is not None and self.load(self._dir_before)

    def _job(self, *, continues: bool) -> tuple[TrainingJob, tuple[str, ...]]:
        """Collect and check all that a training needs, on the GUI thread."""
        source, form = self._source, self._inputs.form()
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
        self._learned, self._trained = self._said(annotations), source.image_id
        job = TrainingJob(
            stack=source.stack,
            annotations=annotations.replace(classes=self._begun, outside=None),
            settings=run.settings,
            run_dir=run.folder,
            masks=self._labels,
            start_from=model,
            device=form.device,
            updates=None,
            gate=self._gate,
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

    def is_cut_short(self) -> bool:
        """Whether Continue would end the model's training, by what is entered."""
        with contextlib.suppress(InputError):
            return self._resumable(self._inputs.form()) is not None
        return False

    def _cut_short_before(self, loaded: LoadedRun) -> _Training | None:
        """Return the training of a model that was loaded, if it is one of this project's to end."""
        source, folder = self._source, self._run_dir
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
        source, run = self._source, self._training
        return source is not None and run is not None and source.identity == run.source.identity

    def has_trained_on(self, source: Source) -> bool:
        """Whether the last training was on that image."""
        return self._trained == source.image_id

    def follow(self, source: Source) -> None:
        """Take note that an image lies elsewhere, such as at another scale."""
        if self._training is not None and self._training.source.key == source.key:
            self._training = replace(self._training, source=source)

    @guarded
    def _on_event(self, event: Event) -> None:
        if isinstance(event, Preview):
            self._show_preview(event)
        elif isinstance(event, Agreement):
            self._agreement = event

    def _show_preview(self, preview: Preview) -> None:
        run, (source, cleaning) = self._training, self._shown()
        is_replaced = (
            run is not None
            and source is not None
            and source.key == run.source.key
            and source.identity != run.source.identity
        )
        if run is not None and not is_replaced:
            if preview.probs[0].size > _LARGE_PREVIEW_PX:  # the window would halt for each
                cleaning = Cleaning(cleaning.threshold)
            if not self._is_previewed:
                labels = cleaning.at_scale(preview.reduction).apply(preview.probs)
                self._is_previewed = bool(labels.min() != labels.max())
            self._held_back = None if self._is_previewed else preview
            if self._is_previewed:
                shown = self._layers.show_preview(run.source, preview, run.styles, cleaning)
                origin = origin_of(run.folder, n_steps=preview.step, **asdict(cleaning))
                self._layers.note_origin(shown, origin)
        self._gate.open()

    def _show_held_back(self) -> None:
        """Show the last preview although it is of one colour: there will be no other."""
        preview, self._held_back = self._held_back, None
        if preview is not None:
            self._is_previewed = True
            self._show_preview(preview)

    @guarded
    def _on_end(self, end: RunEnd) -> None:
        self._gate.open()
        self._show_held_back()
        if end.run not in ("training", "loading"):
            return
        if end.result is not None or end.error is not None:
            self._cut_short = self._training if end.kind is EndKind.cut_short else None
        if end.result is not None:
            if end.run == "training":
                self._tell_gain()
            self._is_untested = end.kind is EndKind.stopped and self.can_take_back
            self.model_dir = self._run_dir
            self._known = {}
            if isinstance(end.result, LoadedRun):
                self._agreement, self._cut_short = None, self._cut_short_before(end.result)
                learned = end.result.learned
                if learned is not None and self._source and self.session.is_of_shown_image:
                    self._known[self._source.image_id] = self._said(learned)
            if end.run == "training" and self._trained is not None:
                # what was told too late was not taken
                self._known[self._trained] = self._learned if self._updates.is_empty else None
            self.note_known()

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

    def note_known(self) -> None:
        """Take what is annotated on the image for nothing new, unless it was shown before."""
        if source := self._source:
            self._known.setdefault(source.image_id, self._said(self._annotate.value()))

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

    def has_news(self, annotations: Annotations | None) -> bool:
        """Whether something was annotated that the model has not learned."""
        source = self._source
        if annotations is None or source is None or source.image_id not in self._known:
            return False
        known = self._known[source.image_id]
        if known is not None:
            classes = self._inputs.classes.named(known[0].classes)
            known = known[0].replace(classes=classes, outside=None), known[1]
        return self._said(annotations) != known

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

    @property
    def is_worse(self) -> bool:
        """Whether the model agrees with the judged nodes clearly less than the one before."""
        return self.can_take_back and self._agreement is not None and self._agreement.is_worse

    @property
    def can_take_back(self) -> bool:
        """Whether the model before the last training is in a folder of its own."""
        return self._dir_before not in (None, self._run_dir)

    def follow_runs(self, left: Path, folder: Path) -> None:
        """Take note that runs were copied from one folder to another, as far as they are there."""
        there = partial(place_of_run, left, folder)
        self._run_dir, self.model_dir = there(self._run_dir), there(self.model_dir)
        self._dir_before = there(self._dir_before)
        if self._cut_short is not None:
            where = there(self._cut_short.folder) or self._cut_short.folder
            self._cut_short = replace(self._cut_short, folder=where)

    def shut_down(self) -> None:
        """Drop the runs that no project keeps."""
        for folder in self._scratch:
            folder.cleanup()
        self._scratch.clear()


def place_of_run(left: Path, folder: Path, run: Path | None) -> Path | None:
    """Return where a run is after runs were copied from one folder to another."""
    known = run is not None and run.parent == left and (folder / run.name).is_dir()
    return folder / run.name if run is not None and known else run


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
