"""Work beside the window: one call in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from qtpy.QtCore import QObject, QTimer, Signal

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Task(QObject, Generic[T]):
    """Calls a function in a thread and tells when it has ended.

    The thread has a name, holds up neither the window nor the end of the program, and keeps the
    task alive.
    """

    ended = Signal(object)  # the task itself, on the thread that made it

    def __init__(self, name: str, call: Callable[[], T]) -> None:
        super().__init__()
        self.value: T | None = None
        self.error: Exception | None = None
        self._call: Callable[[], T] = call
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self) -> None:
        """Wait for the end."""
        self._thread.join()

    def _run(self) -> None:
        try:
            self.value = self._call()
        except Exception as error:  # a border: whoever waits is told
            logger.debug("%s failed", self._thread.name, exc_info=error)
            self.error = error
        self.ended.emit(self)


def make_timer(parent: QObject, delay_ms: int, act: Callable[[], object]) -> QTimer:
    """Make a timer that does something once, a while after it was last started."""
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(delay_ms)
    timer.timeout.connect(act)
    return timer


def start_task(name: str, call: Callable[[], T], then: Callable[[Task[T]], None]) -> Task[T]:
    """Begin a task, and have something done with it when it has ended."""
    task = Task(name, call)
    task.ended.connect(then)
    task.start()
    return task
