"""What a run tells: frozen records, a cancel token, and their JSON-lines form.

Every run emits exactly one :class:`RunStarted` and, unless it raises, exactly one
:class:`RunFinished`, in that order. :class:`Preparing` may come before, everything else in between.
"""

from __future__ import annotations

import dataclasses
import json
import math
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, Literal, TypeVar, get_args

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

T = TypeVar("T")

_JSON = TypeAdapter(Any)
_PROGRESS_INTERVAL_S = 0.25


class FinishReason(str, Enum):
    """Why a run ended."""

    completed = "completed"  # the budget is used up
    time_limit = "time_limit"  # time was up before all steps were done
    converged = "converged"  # early stopping
    stopped = "stopped"  # the cancel token was set


class Stopped(Exception):
    """The cancel token was set."""


class CancelToken:
    """A flag that asks a run to stop; setting it is safe from any thread and at any time."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Ask the run to stop within one step or tile."""
        self._event.set()

    @property
    def is_cancelled(self) -> bool:
        """Whether the run was asked to stop."""
        return self._event.is_set()

    def check(self) -> None:
        """Raise `Stopped` once the run was asked to stop."""
        if self.is_cancelled:
            raise Stopped


class Mailbox(Generic[T]):
    """One slot between threads: the newest item wins, an unread older one is dropped."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._item: T | None = None

    def put(self, item: T) -> None:
        """Leave an item, replacing one that was not taken."""
        with self._lock:
            self._item = item

    def take(self) -> T | None:
        """Return the newest item once, then None."""
        with self._lock:
            item, self._item = self._item, None
        return item

    @property
    def is_empty(self) -> bool:
        """Whether the last item was taken."""
        with self._lock:
            return self._item is None


class Watched(Generic[T]):
    """The events of a run, such as `iter_training`, to be looped over; then it has its result."""

    result: T

    def __init__(self, run: Generator[Event, None, T]) -> None:
        self._run = run

    def __iter__(self) -> Iterator[Event]:
        self.result = yield from self._run


@dataclass(frozen=True)
class Preparing:
    """Emitted at most every half a second while data are read: before a run starts, or meanwhile.

    ``text`` says what, such as "reading slice 3 of 40"; ``done`` of ``total`` slices are read.
    """

    text: str
    done: int
    total: int
    elapsed_s: float


@dataclass(frozen=True)
class RunStarted:
    """Emitted once, when all is read that the run needs, and its first step or slice is next.

    ``kind`` is what runs, ``total`` the number of steps, slices or images ahead (None if only a
    time budget bounds it), ``device`` the torch device by name.
    """

    kind: Literal["training", "prediction", "images"]
    total: int | None
    device: str
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Progress:
    """Emitted at most ten times a second.

    ``losses`` maps the parts of the loss to their running means; ``proportion_error`` is the mean
    absolute difference between stated and predicted fractions (0-1); ``eta_s`` seconds left.
    """

    done: int
    total: int | None
    elapsed_s: float
    eta_s: float | None
    losses: dict[str, float] = dataclasses.field(default_factory=dict)
    proportion_error: float | None = None

    @property
    def share(self) -> float:
        """How much of the run is done, 0-1, by time left if that is known."""
        if self.eta_s is not None and self.elapsed_s + self.eta_s > 0:
            return self.elapsed_s / (self.elapsed_s + self.eta_s)
        return self.done / self.total if self.total else 0.0


class SlicePace:
    """How far a run over so many slices is, told at most four times a second."""

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.done = 0
        self.total = total
        self._clock = clock
        self._began = self._told = clock()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._began

    def progress(self, fraction: float = 0.0) -> Iterator[Progress]:
        """Yield where the run is, ``fraction`` of the next slice included, unless that is recent.

        The end is told always.
        """
        now = self._clock()
        if now - self._told < _PROGRESS_INTERVAL_S and self.done < self.total:
            return
        self._told, elapsed_s = now, now - self._began
        share = (self.done + fraction) / self.total
        eta_s = elapsed_s * (1 - share) / share if share > 0 else None
        yield Progress(self.done, self.total, elapsed_s, eta_s)


@dataclass(frozen=True)
class Validated:
    """Emitted after each validation: the loss on held-out annotations (never on masks)."""

    step: int
    loss: float
    is_best: bool


@dataclass(frozen=True)
class Preview:
    """Probability maps of one slice as the network sees it now.

    ``probs`` is float32 (C, y, x), 0-1, at working scale: ``reduction`` data pixels a pixel;
    the first pixel's centre lies at ``(reduction - 1) / 2`` data pixels.
    """

    step: int
    slice: int
    reduction: int
    shape: tuple[int, int]
    probs: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Predicted:
    """Emitted when the maps of a slice, or of a half-open box (y0, x0, y1, x1) in it, are complete.

    ``uncertainty`` is the mean of its pixels, 0-1: see :func:`napari_spss.uncertainty_slice`.
    """

    slice: int
    box: tuple[int, int, int, int] | None = None
    uncertainty: float = 0.0


@dataclass(frozen=True)
class KeypointsChecked:
    """Emitted at the end of a training with keypoints: whether the map heeds them.

    ``total`` is their number, ``denied`` has slice, y, x and class index of those where the map
    shows another class.
    """

    total: int
    denied: tuple[tuple[int, float, float, int], ...]


@dataclass(frozen=True)
class CheckpointSaved:
    """Emitted when a resumable checkpoint has been written."""

    step: int
    path: str


@dataclass(frozen=True)
class Agreement:
    """Emitted once before the end of a training on counted nodes: how far its labels agree.

    ``overlap`` is the intersection over union of labels and judgements at ``n_nodes`` judged nodes,
    as a mean over the classes but the background: labels of nothing but background have 0, however
    rare a class is. ``fractions`` are those of the labels in all counted slices and frames, by
    class, the class outside left out. ``overlap_before`` and ``fractions_before`` are those of the
    model before, None if there is none; ``is_worse`` says that its overlap was clearly larger
    (randomisation test, 5 %).
    """

    n_nodes: int
    overlap: float
    fractions: tuple[float, ...]
    overlap_before: float | None = None
    is_worse: bool = False
    fractions_before: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Message:
    """A plain sentence for the user."""

    level: Literal["info", "warning"]
    text: str


@dataclass(frozen=True)
class ImageProgress:
    """Emitted when the work on one of many images begins or ends, and ten times a second at most.

    ``image`` is its path, ``place`` counts from 0, ``share`` is how much of it is done (0-1).
    ``state`` is ``kept`` where it was finished before and nothing has changed; ``text`` says why it
    failed.
    """

    image: str
    place: int
    total: int
    state: Literal["running", "done", "kept", "failed"]
    share: float = 0.0
    text: str = ""


@dataclass(frozen=True)
class RunFinished:
    """Emitted once, at the end of a run that did not raise.

    ``done`` is the number of completed steps, slices or images, ``total`` the number that was
    planned (None if only a time budget bounds the run). ``outputs`` are the paths of what was
    written, by what it is: ``model`` and ``record`` of a training, ``maps``, ``labels`` and
    ``uncertainty`` of a prediction; ``table`` of many images.
    """

    reason: FinishReason
    done: int
    elapsed_s: float
    outputs: dict[str, str] = dataclasses.field(default_factory=dict)
    total: int | None = None


Event = (
    Preparing
    | RunStarted
    | Progress
    | Validated
    | Preview
    | Predicted
    | KeypointsChecked
    | CheckpointSaved
    | Agreement
    | Message
    | ImageProgress
    | RunFinished
)
_TYPES: dict[str, type] = {cls.__name__: cls for cls in get_args(Event)}


def event_to_json(event: Event) -> str:
    """Write an event as one line of strict JSON.

    A preview's map is left out, its shape kept; a number that is not finite becomes null.
    """
    record: dict[str, object] = {"event": type(event).__name__}
    for item in dataclasses.fields(event):
        value = getattr(event, item.name)
        if not isinstance(value, np.ndarray):
            record[item.name] = _plain(value)
    return json.dumps(record, allow_nan=False)


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def event_from_json(line: str | bytes) -> Event:
    """Read one line written by :func:`event_to_json`; a preview comes back with an empty map.

    Raises
    ------
    ValueError
        If the line is no JSON object, or none with the fields of a known event.
    """
    record = _JSON.validate_json(line)  # unlike json.loads, it refuses what is nested without end
    if not isinstance(record, dict):
        raise ValueError(f"{line!r} is no event; an event is a JSON object")
    name = record.pop("event", None)
    if not isinstance(name, str) or name not in _TYPES:
        raise ValueError(f"unknown event {name!r}; known: {', '.join(_TYPES)}")
    if name == "Preview":
        record["probs"] = np.zeros((0, 0, 0), np.float32)
    if name == "RunFinished":
        record["reason"] = FinishReason(record.get("reason"))
    for key, value in record.items():
        if isinstance(value, list):
            record[key] = tuple(tuple(one) if isinstance(one, list) else one for one in value)
    try:
        event: Event = _TYPES[name](**record)
    except TypeError as error:
        raise ValueError(f"the fields of {name} are wrong: {error}") from None
    return event
