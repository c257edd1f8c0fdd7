"""Core generators in a thread: one Qt signal per event, one end per run.

superqt's own generator worker swallows ``RuntimeError``, which nearly every torch failure is, and
``WorkerBase.run`` keeps the result to itself once an abort was requested. Hence this subclass:
:meth:`RunWorker.work` always hands over an end, with a result or with an error, and
:meth:`RunWorker.quit` sets the cancel token without asking for an abort, so that a stopped run
still hands over its best model. Errors do not travel by ``errored``: napari 0.9 connects a slot to
it that takes no argument, which PySide6 calls with one.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, Signal
from superqt.utils._qthreading import WorkerBase, WorkerBaseSignals

from ..core.base import SpssError
from .models import explain

if TYPE_CHECKING:
    from ..core.base import CancelToken, Event
    from .models import Session, Ticket

logger = logging.getLogger(__name__)


class HasRunner(Protocol):
    """Whoever begins runs."""

    runner: Runner


P = ParamSpec("P")
Owner = TypeVar("Owner", bound=HasRunner)


class CoreCall:
    """A generator function with a name that napari can show when it asks about open tasks."""

    def __init__(self, name: str, function: Callable[..., Generator[Any, None, object]]) -> None:
        self._name = name
        self._function = function

    def __repr__(self) -> str:
        return self._name

    def __call__(self, *args: Any, **kwargs: Any) -> Generator[Any, None, object]:
        """Call the generator function."""
        return self._function(*args, **kwargs)


def named(name: str) -> Callable[[Callable[..., Generator[Any, None, object]]], CoreCall]:
    """Give a generator function a name."""
    return partial(CoreCall, name)


@dataclass(frozen=True)
class WorkEnd:
    """The end of a run: the generator's return value, or the error that it raised."""

    value: object = None
    error: Exception | None = None


class RunSignals(WorkerBaseSignals):
    """The worker's signals; never one named ``event``, which would shadow ``QObject.event``."""

    emitted = Signal(object)  # emitted with each event of the core, in order


class RunWorker(WorkerBase):
    """Drains a core generator in a thread.

    Emits ``started``; ``emitted`` for each event; then ``returned`` with the :class:`WorkEnd`; then
    ``finished``.

    Parameters
    ----------
    function : callable
        Returns a generator of events; its return value is the run's result.
    *args, **kwargs
        Go to ``function``.
    token : CancelToken
        What :meth:`quit` sets; also passed on to ``function``.
    """

    def __init__(
        self,
        function: Callable[..., Generator[Any, None, object]],
        *args: Any,
        token: CancelToken,
        **kwargs: Any,
    ) -> None:
        super().__init__(SignalsClass=RunSignals)
        self._token = token
        self._call: Callable[[], Generator[Any, None, object]] | None = lambda: function(
            *args, token=token, **kwargs
        )

    def quit(self) -> None:
        """Ask the run to stop; harmless before the start and after the end."""
        self._token.cancel()

    def work(self) -> WorkEnd:
        """Drain the generator to its end, whichever it is."""
        call, self._call = self._call, None  # napari keeps the worker: let go of image and model
        if call is None:
            raise RuntimeError("a worker runs only once")
        try:
            return WorkEnd(value=self._drain(call()))
        except Exception as error:  # a border: the user is told, whatever it is
            is_foreseen = isinstance(error, SpssError)  # its text says all
            logger.error("the run failed: %s", error, exc_info=None if is_foreseen else error)
            _release_frames(error)
            return WorkEnd(error=error)

    def _drain(self, generator: Generator[Event, None, object]) -> object:
        try:
            while True:
                self.signals.emitted.emit(next(generator))
        except StopIteration as end:
            return end.value
        finally:
            generator.close()


def _release_frames(error: BaseException) -> None:
    """Drop the locals of a failed run, so that its device memory is freed while the error lives."""
    seen: BaseException | None = error
    while seen is not None:
        traceback.clear_frames(seen.__traceback__)
        seen = seen.__cause__ or seen.__context__


class Runner(QObject):
    """Starts a session's runs in a thread and reports to the session on the GUI thread.

    Why a run did not begin is told by ``refused``, or by whoever was to begin it.

    All its slots run on the thread that made it. When it is destroyed (the dock or the viewer is
    closed) the run in progress is asked to stop and no longer heard. The session hears of every
    event, and of exactly one end per run.
    """

    refused = Signal(object, str)  # field that is wrong or None, why

    def __init__(self, session: Session, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self._ticket: Ticket | None = None
        self._warned: set[str] = set()
        self.destroyed.connect(session.abandon)

    def attempt(
        self, begin: Callable[[], object], refuse: Callable[[Exception], None] | None = None
    ) -> bool:
        """Begin a run, and return whether it began; if not, leave the session free for another.

        ``begin`` asks the session for the right to run, then calls `start`; ``refuse`` tells why it
        was not given that right, in place of ``refused``.
        """
        before = self.session.ticket
        try:
            begin()
        except Exception as error:  # a border: beyond it is Qt
            if not isinstance(error, SpssError):
                logger.error("a run did not begin", exc_info=error)
            ticket = self.session.ticket
            if ticket is None or ticket is before:
                (refuse or self._refuse)(error)
            else:
                self.session.fail(ticket, error)
            return False
        return True

    def _refuse(self, error: Exception) -> None:
        text = explain(error, "The run did not begin")
        self.refused.emit(getattr(error, "field", None), text)
        self.session.say("error", text)

    def start(
        self,
        ticket: Ticket,
        function: Callable[..., Generator[Any, None, object]],
        *args: Any,
        **kwargs: Any,
    ) -> RunWorker:
        """Run ``function(*args, token=ticket.token, **kwargs)``, a generator, in a thread.

        The ticket comes from :meth:`Session.begin`, which refuses a second run.
        """
        self._ticket = ticket
        worker: RunWorker = create_worker(
            function,
            *args,
            token=ticket.token,
            _worker_class=RunWorker,
            _start_thread=False,
            _ignore_errors=True,
            _connect={
                "emitted": self._on_emitted,
                "returned": self._on_returned,
                "warned": self._on_warned,
            },
            **kwargs,
        )
        worker.start()
        return worker

    def _on_emitted(self, event: Event) -> None:
        if self._ticket is not None:
            self.session.take(self._ticket, event)

    def _on_returned(self, end: WorkEnd) -> None:
        ticket, self._ticket = self._ticket, None
        if ticket is None:
            return
        if end.error is None:
            self.session.finish(ticket, end.value)
        else:
            self.session.fail(ticket, end.error)

    def _on_warned(self, warning: tuple[Any, ...]) -> None:
        message, category, filename, line = warning[:4]
        text = f"{filename}:{line}: {category.__name__}: {message}"
        if text not in self._warned:  # napari gives some with each frame
            self._warned.add(text)
            logger.warning("%s", text)


def begins(begin: Callable[Concatenate[Owner, P], None]) -> Callable[Concatenate[Owner, P], bool]:
    """Make a method that begins a run return whether it did; if not, the runner tells why."""

    @wraps(begin)
    def call(owner: Owner, /, *args: P.args, **kwargs: P.kwargs) -> bool:
        return owner.runner.attempt(partial(begin, owner, *args, **kwargs))

    return call
