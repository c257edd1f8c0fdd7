"""What runs, what it has said so far, and which model is current; no Qt inside.

The session is the one place that decides whether a run may start, which of its events still
count, and in which state it ended. Widgets follow its signals; a thread never touches it: the
:class:`~napari_spss.gui.worker.Runner` brings events to the GUI thread first.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Concatenate, Literal, ParamSpec, Protocol, TypeVar, cast

from psygnal import Signal
from pydantic import ConfigDict, TypeAdapter, ValidationError

from ...core.base import (
    RECORD,
    CancelToken,
    Event,
    FinishReason,
    InputError,
    Mailbox,
    Message,
    OutOfMemory,
    Preparing,
    Progress,
    RunFinished,
    RunStarted,
    SpssError,
    TrainingSettings,
    Validated,
    counted,
    fault_of,
    fault_of_package,
    preset,
)
from .curves import Curves

if TYPE_CHECKING:
    from ...core.annotations import Annotations, Look
    from ...core.training import Model

logger = logging.getLogger(__name__)


class HasSession(Protocol):
    """Whoever has a session that can tell something."""

    session: Session


P = ParamSpec("P")
Owner = TypeVar("Owner", bound=HasSession)

_MAX_MESSAGES = 200

RunKind = Literal[
    "training",
    "prediction",
    "images",
    "measuring",
    "review",
    "objects",
    "comparison",
    "export",
    "loading",
]


@dataclass(frozen=True)
class _Kind:
    """What is said of runs of a kind: what goes on, what helps if memory does not suffice."""

    doing: str
    room: str
    unit: str = "slice"


_KINDS: dict[RunKind, _Kind] = {
    "training": _Kind("Training", "choose a smaller batch or crop under Advanced", "step"),
    "prediction": _Kind("Applying the model", "close other programs, or apply to a rectangle"),
    "images": _Kind(
        "Applying the model to many images",
        "close other programs, then apply again: what is done is kept",
        "image",
    ),
    "measuring": _Kind(
        "Measuring many images",
        "close other programs, then measure again: what is done is kept",
        "image",
    ),
    "review": _Kind("Looking for doubtful nodes", "close other programs, then try again", "region"),
    "objects": _Kind(
        "Finding objects", "close other programs, or find those of each slice", "object"
    ),
    "comparison": _Kind("Comparing the runs", "close other programs, then try again"),
    "export": _Kind("Saving", "close other programs, then save again: nothing was replaced"),
    "loading": _Kind("Loading the model", "close other programs, then load the model again"),
}


class EndKind(str, Enum):
    """How a run ended."""

    finished = "finished"
    cut_short = "cut short"  # time was up before all steps were done
    stopped = "stopped"
    failed = "failed"


@dataclass(frozen=True)
class Suggestion:
    """A smaller setting that one click applies: dotted name and value."""

    setting: str
    value: object

    def __str__(self) -> str:
        return f"{self.setting.rpartition('.')[2]} = {self.value}"

    def fits(self, run: RunKind) -> bool:
        """Whether the form has the setting and a run of this kind follows it."""
        return self.setting == "device" or (run == "training" and "." in self.setting)


@dataclass(frozen=True)
class RunForm:
    """What the user entered before a training run."""

    __pydantic_config__: ClassVar[ConfigDict] = RECORD

    preset: str = "fast"  # ``fast`` or ``paper``
    # time limit beside the preset's steps or epochs; None for none
    max_minutes: float | None = None
    device: str = "auto"  # ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``
    # width of the smallest object of interest, in data pixels
    object_diameter_px: float | None = None
    # dotted settings that differ from the preset
    overrides: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def restored(cls, values: Mapping[str, object]) -> RunForm:
        """Return the form of values that were kept in a file, which may be damaged.

        InputError if a value is not of its kind, or no setting can have it.
        """
        try:
            form = TypeAdapter(cls).validate_python(values, strict=False)
        except ValidationError as error:
            raise InputError(f"{fault_of(error)}.") from error
        settings = form.settings()
        return replace(form, overrides={name: settings.value(name) for name in form.overrides})

    def settings(self, *, continued: Model | None = None) -> TrainingSettings:
        """Return the settings of the run.

        A model that is to be continued keeps its network and its normalisation, whatever the
        defaults of its preset have become since; what the user entered comes first. InputError if a
        value is out of bounds; ``field`` names the setting that is to be marked.
        """
        changes: dict[str, object] = {"image.object_diameter_px": self.object_diameter_px}
        if self.max_minutes is not None:
            changes["optimisation.max_minutes"] = self.max_minutes
        if continued is not None and continued.settings.preset == self.preset:
            network = continued.settings.network
            changes |= {
                "network.name": network.name,
                "network.filters": network.filters,
                "image.normalisation": continued.normalisation,
            }
        return preset(self.preset).with_overrides({**changes, **self.overrides})

    def with_suggestion(self, suggestion: Suggestion) -> RunForm:
        """Return the form with a suggested setting put in."""
        if suggestion.setting == "device":
            return replace(self, device=str(suggestion.value))
        return replace(self, overrides={**self.overrides, suggestion.setting: suggestion.value})


@dataclass(frozen=True)
class Ticket:
    """The right to run: given once, void when the run ends or is abandoned."""

    kind: RunKind
    token: CancelToken
    updates: Mailbox[Annotations]


@dataclass(frozen=True)
class RunStatus:
    """Snapshot of the run for the widgets."""

    kind: RunKind | None = None  # None while nothing runs
    is_stopping: bool = False  # asked to stop; the run still finishes its step or tile
    device: str = ""
    done: int = 0
    total: int | None = None
    elapsed_s: float = 0.0
    eta_s: float | None = None
    unit: str = "step"
    before: int = 0  # steps of the training that this run continues
    image: str = ""  # whose run it is, where another one is shown
    preparing: str = ""  # what is read or built before the first step

    @property
    def is_busy(self) -> bool:
        """Whether a run is in progress or about to stop."""
        return self.kind is not None

    @property
    def fraction(self) -> float | None:
        """Part of the run that is done, 0-1, by count or else by time; None if unknown."""
        if self.total:
            return min(1.0, self.done / self.total)
        if self.eta_s is not None and self.elapsed_s + self.eta_s > 0:
            return min(1.0, self.elapsed_s / (self.elapsed_s + self.eta_s))
        return None

    def __str__(self) -> str:
        if self.kind is None:
            return "Ready"
        if self.is_stopping:
            return "Stopping after this step …"
        text = _KINDS[self.kind].doing
        if self.image:
            text += f" ({self.image})"
        if self.device:
            text += f" on {'CPU' if self.device == 'cpu' else self.device}"
        if self.preparing:
            return f"{text}: {self.preparing}"
        if self.done:
            of = f" of {self.before + self.total}" if self.total else ""
            text += f", {self.unit} {self.before + self.done}{of}"
        if self.eta_s is not None:
            text += f", {duration(self.eta_s)} left"
        return text


@dataclass(frozen=True)
class RunEnd:
    """How a run ended, in words for the user.

    ``error`` is set exactly for ``failed``; ``suggestion`` when a smaller setting may help.
    """

    kind: EndKind
    run: RunKind
    text: str
    result: object = None
    error: Exception | None = None
    suggestion: Suggestion | None = None


@dataclass(frozen=True)
class LoadedRun:
    """What comes back of a run."""

    model: Model
    curves: Curves = field(default_factory=Curves)  # as it drew them
    learned: Annotations | None = None  # what it learned from last, if that is of the image in hand
    # its settings, if time or a crash ended it on that image, and it can go on
    cut_short: TrainingSettings | None = None
    n_before: int = 0  # steps of the trainings that it continued, if it can go on


@dataclass
class _Record:
    """What was drawn and said of one image."""

    image: Hashable = None
    name: str = ""
    curves: Curves = field(default_factory=Curves)
    messages: list[tuple[str, str]] = field(default_factory=list)

    def add(self, level: str, text: str) -> bool:
        """Note a sentence; return False if it was just said."""
        if self.messages and self.messages[-1] == (level, text):
            return False
        self.messages = [*self.messages, (level, text)][-_MAX_MESSAGES:]
        return True


class Session:
    """State machine of the dock: idle, training, predicting, reviewing, exporting, and so on.

    Exactly one run at a time; each ends with exactly one ``run_ended``. Curves and messages are
    those of the image that is shown; a run's go to the image that it began with.
    """

    status_changed = Signal(RunStatus)  # after every change of state or progress
    event_taken = Signal(object)  # with each event of the current run, none of an older one
    run_ended = Signal(RunEnd)  # once per run, after the state is idle again
    model_changed = Signal(object)  # when another model became the current one
    message_added = Signal(str, str)  # level ("info", "warning", "error"), text
    image_shown = Signal()  # when curves and messages became those of another image

    def __init__(self) -> None:
        self.ticket: Ticket | None = None  # of the run that goes on
        self.status = RunStatus()
        self._reason: FinishReason | None = None
        self._outputs: dict[str, str] = {}
        self._classes: tuple[str, ...] = ()
        self.model: Model | None = None  # that Continue and Apply use
        self._of_model: _Record | None = None  # whose curves are those of the model
        self._before = 0  # steps of the trainings that the last one continued
        self._shown = _Record()
        self._of_run = self._shown
        self._records: dict[Hashable, _Record] = {}

    @property
    def curves(self) -> Curves:
        """Curves of the last training on the image that is shown."""
        return self._shown.curves

    @property
    def messages(self) -> list[tuple[str, str]]:
        """What was said of the image that is shown: level and text."""
        return self._shown.messages

    @property
    def is_of_shown_image(self) -> bool:
        """Whether the run that goes on, or was the last, began with the image that is shown."""
        return self._of_run is self._shown

    def show_image(self, image: Hashable, name: str = "") -> None:
        """Turn to an image, with what was drawn and said of it before; None for none.

        A run says its name while another image is shown.
        """
        if image is not None and image == self._shown.image:
            self._shown.name = name
            return
        if image is None:
            self._shown = _Record()
        else:
            self._shown = self._records.setdefault(image, _Record(image))
            self._shown.name = name
        if self.ticket is not None:
            self._set(self.status)
        self.image_shown.emit()

    def begin(
        self,
        kind: RunKind,
        *,
        classes: tuple[str, ...] = (),
        continues: bool = False,
        resumes: bool = False,
    ) -> Ticket:
        """Claim the session for a run.

        Parameters
        ----------
        kind : str
            What is to run.
        classes : tuple of str, optional
            Class names of a training, to which live changes must keep.
        continues : bool
            Whether a training goes on from the model, and the curves with it.
        resumes : bool
            Whether it is the last training that goes on, whose own steps count on.

        Raises
        ------
        InputError
            If a run is in progress.
        """
        self.check_idle()
        self.ticket = Ticket(kind, CancelToken(), Mailbox())
        self._reason, self._outputs = None, {}
        self._classes = classes
        self._of_run = record = self._shown
        before = 0
        if kind == "training":
            n_steps = self.model.n_steps if continues and self.model is not None else 0
            before = self._before if resumes else n_steps
            self._before = before
            is_of_model = record is self._of_model
            if not n_steps or not is_of_model:
                record.curves = Curves()
                self._of_model = None if is_of_model else self._of_model
            if n_steps:
                record.curves.continue_from(n_steps, n_before=before)
        self._set(RunStatus(kind, unit=_KINDS[kind].unit, before=before))
        return self.ticket

    def check_idle(self) -> None:
        """Raise an InputError if a run is in progress."""
        if self.ticket is not None:
            raise InputError(
                f"A run is in progress ({self.status}); wait for its end or press Stop first."
            )

    def stop(self) -> None:
        """Ask the run to stop; does nothing when idle."""
        if self.ticket is None:
            return
        self.ticket.token.cancel()
        self._set(replace(self.status, is_stopping=True))

    def abandon(self, *_: object) -> None:
        """Ask the run to stop and hear no more of it; nothing is emitted, for nobody is left."""
        if self.ticket is not None:
            self.ticket.token.cancel()
        self.ticket = None
        self.status = RunStatus()

    def update_annotations(self, annotations: Annotations) -> None:
        """Hand annotations made meanwhile to a training run; it takes them at its next epoch."""
        ticket = self.ticket
        if ticket is None or ticket.kind != "training":
            return
        if self._classes and annotations.classes != self._classes:
            self.say("warning", "The classes changed: that takes effect at the next Train.")
            return
        ticket.updates.put(annotations)

    def take(self, ticket: Ticket, event: Event) -> bool:
        """Take an event of a run; return False, and do nothing, if that run is not current."""
        if ticket is not self.ticket:
            return False
        if isinstance(event, Preparing):
            status = replace(self.status, done=event.done, total=event.total)
            self._set(replace(status, preparing=event.text))
        elif isinstance(event, RunStarted):
            status = replace(self.status, device=event.device, total=event.total)
            self._set(replace(status, preparing="", done=0))
        elif isinstance(event, Progress):
            self._of_run.curves.add(event)
            self._set(
                replace(
                    self.status,
                    preparing="",
                    done=event.done,
                    total=event.total,
                    elapsed_s=event.elapsed_s,
                    eta_s=event.eta_s,
                )
            )
        elif isinstance(event, Validated):
            self._of_run.curves.add_validation(event)
        elif isinstance(event, Message):
            self._say_of_run(event.level, event.text)
        elif isinstance(event, RunFinished):
            self._reason, self._outputs = event.reason, event.outputs
            total = event.total or self.status.total
            self.status = replace(
                self.status, done=event.done, total=total, elapsed_s=event.elapsed_s
            )
        self.event_taken.emit(event)
        return True

    def finish(self, ticket: Ticket, result: object) -> bool:
        """End a run that did not raise; a training's result becomes the current model.

        One that ended before its first step has learned nothing: the last model stays.
        """
        if ticket is not self.ticket:
            return False
        is_stopped = self._reason is FinishReason.stopped
        kind = {
            FinishReason.stopped: EndKind.stopped,
            FinishReason.time_limit: EndKind.cut_short,
        }.get(self._reason or FinishReason.completed, EndKind.finished)
        text = _end_text(ticket.kind, kind, self._reason, self.status)
        if ticket.kind == "export" and not is_stopped and self._outputs:
            text = _saved_text(tuple(map(Path, self._outputs.values())))
        if ticket.kind == "review" and not is_stopped:
            nodes = counted(len(cast("tuple[Look, ...]", result)), "node")
            text = f"Second look: {nodes} about which map and person differ most."
            if not result:
                text = "Second look: the map agrees with what you judged, and no node is doubtful."
        if ticket.kind == "training" and self.status.done == 0:
            result = None
        is_model = ticket.kind in ("training", "loading") and result is not None
        if is_model:
            model = cast("Model", result)
            if isinstance(result, LoadedRun):
                model, self._of_run.curves = result.model, result.curves
                self._before = result.n_before
            self.model, self._of_model = model, self._of_run
        self._end(RunEnd(kind, ticket.kind, text, result=result))
        if is_model:
            self.model_changed.emit(self.model)
        return True

    def fail(self, ticket: Ticket, error: Exception) -> bool:
        """End a run that raised; the model and the annotations stay as they were."""
        if ticket is not self.ticket:
            return False
        suggestion = None
        if isinstance(error, OutOfMemory):
            smaller = Suggestion(error.setting, error.value)
            suggestion = smaller if smaller.fits(ticket.kind) else None
        text = explain(error, f"{_KINDS[ticket.kind].doing} failed", run=ticket.kind)
        self._end(RunEnd(EndKind.failed, ticket.kind, text, error=error, suggestion=suggestion))
        return True

    def say(self, level: str, text: str) -> None:
        """Tell the user something; a sentence that was just said is not repeated."""
        if self._shown.add(level, text):
            self.message_added.emit(level, text)

    def _say_of_run(self, level: str, text: str) -> None:
        """Tell what a run says: by the name of its image while another one is shown."""
        if not self.is_of_shown_image:
            self._of_run.add(level, text)
            text = f"{self._of_run.name}: {text}" if self._of_run.name else text
        self.say(level, text)

    def _set(self, status: RunStatus) -> None:
        image = "" if self.is_of_shown_image or not status.is_busy else self._of_run.name
        self.status = status = replace(status, image=image)
        self.status_changed.emit(status)

    def _end(self, end: RunEnd) -> None:
        self.ticket = None
        self._set(RunStatus())
        self._say_of_run("error" if end.kind is EndKind.failed else "info", end.text)
        self.run_ended.emit(end)


def duration(seconds: float) -> str:
    """Write a duration for people: "45 s", "2 min 5 s", "1 h 20 min"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, rest = divmod(whole, 3600)
    return f"{hours} h {rest // 60} min"


def sentence(text: str) -> str:
    """Begin a text with a capital letter."""
    return text[:1].upper() + text[1:]


def steps_of(model: Model) -> str:
    """Say how long a model was trained: "1 step", "600 steps"."""
    return counted(model.n_steps, "step")


def guarded(slot: Callable[Concatenate[Owner, P], None]) -> Callable[Concatenate[Owner, P], None]:
    """Let no error leave a slot: the session of its owner tells it instead."""

    @wraps(slot)
    def call(owner: Owner, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            slot(owner, *args, **kwargs)
        except Exception as error:  # a border: beyond it is Qt
            if not isinstance(error, SpssError):
                logger.error("%s failed", slot.__qualname__, exc_info=error)
            owner.session.say("error", explain(error, "This did not work"))

    return call


def explain(error: Exception, what: str = "This failed", *, run: RunKind | None = None) -> str:
    """Say what went wrong, and what helps a run of that kind.

    Errors that were not foreseen come with their kind.
    """
    if isinstance(error, SpssError):
        return str(error)
    if isinstance(error, MemoryError):
        room = "close other programs or images, then try again" if run is None else _KINDS[run].room
        return f"The computer's memory did not suffice; {room}."
    if fault := fault_of_package(error):
        return f"{what}: {fault}."
    text = str(error).strip() or "no message"
    return f"{what}, with an unexpected error: {type(error).__name__}: {text}"


def _saved_text(written: tuple[Path, ...]) -> str:
    """Say what was saved where."""
    folder = written[-1].parent
    names = ", ".join(path.name for path in written)
    return f"Saved in {folder.parent.name}/{folder.name}: {names}."


def _end_text(run: RunKind, kind: EndKind, reason: FinishReason | None, status: RunStatus) -> str:
    took = duration(status.elapsed_s)
    if run == "training":
        if status.done == 0:
            why = "was stopped" if kind is EndKind.stopped else "ended"
            return f"Training {why} before its first step; nothing has changed."
        if kind is EndKind.cut_short:
            return (
                f"Time was up after {status.before + status.done} of "
                f"{status.before + (status.total or 0)} steps: too few. Continue does the others, "
                "without a time limit."
            )
        steps = f"{counted(status.done, 'step')} in {took}"
        if status.before:
            more = counted(status.done, "more step")
            steps = f"{more} in {took}, {status.before + status.done} in all"
        if kind is EndKind.stopped:
            if status.total and status.before + status.done < status.total / 2:
                return (
                    f"Training stopped after {status.before + status.done} of "
                    f"{status.before + status.total} steps: too few for a good map. Continue goes "
                    "on from here."
                )
            return f"Training stopped after {steps}; the model so far is ready to use."
        if reason is FinishReason.converged:
            return f"Training converged after {steps}."
        return f"Training finished: {steps}."
    if run == "loading":
        return "The model is loaded."
    if run == "comparison":
        slices = counted(status.done, "slice")
        is_whole = kind is not EndKind.stopped
        return f"{slices} compared in {took}." if is_whole else f"Stopped; {slices} compared."
    what = _KINDS[run].doing
    if kind is EndKind.stopped:
        return f"{what} was stopped after {counted(status.done, status.unit)}."
    return f"{what} finished: {counted(status.done, status.unit)} in {took}."
