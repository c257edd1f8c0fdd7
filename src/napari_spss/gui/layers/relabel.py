"""Labels that follow the threshold: the shown slice first, the others while nothing happens."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

from ...core.base import RunError
from ..models import Task

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from napari.layers import Labels

    from ..models import Cleaning, ResultMaps
    from .results import ResultLayers, Source

    _Target = tuple[ResultLayers, Labels, Source, ResultMaps]

logger = logging.getLogger(__name__)

_BATCH_S = 0.012
_LARGE_PX = 1 << 20  # a slice beyond that takes longer than a moving slider may wait


class Relabeller(QObject):
    """Writes labels of slices that wait for them, that which the viewer shows first.

    Small slices are computed here, a few milliseconds at a time; large ones in a thread, one after
    the other. While the settings change faster than large slices are computed, those are shown that
    were asked for when the computation began, and the last ones in the end. ``correct`` changes the
    labels (Y, X) of a slice in place before they are written.
    """

    slice_done = Signal(int, object)  # slice, labels (Y, X) as written
    finished = Signal()  # when no slice waits any more
    refused = Signal()  # when the layer turned out to be edited: it needs another target

    def __init__(
        self,
        current_slice: Callable[[], int],
        parent: QObject | None = None,
        *,
        correct: Callable[[int, npt.NDArray[np.uint8]], object] = lambda z, labels: None,
    ) -> None:
        super().__init__(parent)
        self._correct = correct
        self._current_slice = current_slice
        self._waiting: set[int] = set()
        self._unwritten: set[int] = set()  # that wait no more, and are being made, or failed
        self._target: _Target | None = None
        self._cleaning: Cleaning | None = None
        self._task: _Task | None = None
        self._is_seen = False  # whether a slice on the screen was written since it was drawn
        self._timer = QTimer(self)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._work)

    @property
    def is_done(self) -> bool:
        """Whether no slice waits."""
        return not self._waiting and self._task is None

    def set_target(
        self, results: ResultLayers, layer: Labels, source: Source, maps: ResultMaps
    ) -> None:
        """Write into a layer from now on; nothing waits."""
        self.clear()
        self._target = (results, layer, source, maps)

    def clear(self) -> None:
        """Forget the target; what is computed at the moment will not be written."""
        self._target, self._task = None, None
        self._waiting.clear()
        self._unwritten.clear()
        self._timer.stop()

    def shut_down(self) -> None:
        """Forget the target and wait for the thread, which is at most one slice from its end."""
        task = self._task
        self.clear()
        if task is not None:
            task.join()

    def set_cleaning(self, cleaning: Cleaning) -> None:
        """Use other settings from now on."""
        self._cleaning = cleaning

    def request(self, slices: tuple[int, ...]) -> None:
        """Have slices written: the one that is shown at once, the rest soon."""
        if self._target is None:
            return
        self._waiting.update(slices)
        if self.is_large:
            self._compute()
            return
        shown = self._current_slice()
        if shown in self._waiting:
            self._write_or_tell(shown)
            self._target[1].refresh(thumbnail=False, extent=False)
        if self._waiting:
            self._timer.start()
        elif slices:
            self.finished.emit()

    def flush(self) -> None:
        """Write everything that waits, now, and again what failed.

        RunError if there is no room for it on the disk.
        """
        task, self._task = self._task, None
        self._waiting |= self._unwritten
        is_running = task is not None or self._timer.isActive()
        try:
            while self._waiting:
                self._write(next(iter(self._waiting)))
        finally:
            self._unwritten |= self._waiting
            self._waiting.clear()
        self._stop()
        if is_running:
            self.finished.emit()

    @property
    def is_large(self) -> bool:
        """Whether slices are computed in a thread."""
        if self._target is None:
            return False
        height, width = self._target[3].shape[1:]
        return height * width > _LARGE_PX

    def _next(self) -> int:
        shown = self._current_slice()
        return shown if shown in self._waiting else min(self._waiting)

    def _work(self) -> None:
        began = time.monotonic()
        while self._waiting and time.monotonic() - began < _BATCH_S:
            self._write_or_tell(self._next())
        if not self._waiting:
            self._stop()
            self.finished.emit()

    def _stop(self) -> None:
        self._timer.stop()
        if self._target is not None and self._is_seen:
            self._target[1].refresh()
        self._is_seen = False

    def _take(self, z: int) -> None:
        self._waiting.discard(z)
        self._unwritten.add(z)

    def _write_or_tell(self, z: int) -> None:
        try:
            self._write(z)
        except (RunError, MemoryError) as error:
            self._tell(z, error)

    def _tell(self, z: int, error: BaseException) -> None:
        logger.error("labels of slice %s could not be made", z, exc_info=error)
        if self._target is not None:
            why = str(error) or repr(error)
            self._target[0].say(f"The labels of slice {z} could not be made: {why}")

    def _write(self, z: int) -> None:
        self._take(z)
        if self._target is not None and self._cleaning is not None:
            self._put(z, self._target[3].labels(z, self._cleaning))

    def _put(self, z: int, values: npt.NDArray[np.uint8]) -> None:
        if self._target is None:
            return
        results, layer, source, _ = self._target
        self._correct(z, values)
        if results.write_labels(layer, source, z, values):
            self._unwritten.discard(z)
            self._is_seen |= results.is_seen(z, self._current_slice())
            self.slice_done.emit(z, values)
        else:
            self._waiting.clear()
            self._unwritten.clear()
            self.refused.emit()

    # ---- large slices ---------------------------------------------------------------------------

    def _compute(self) -> None:
        """Have the next slice computed in a thread, unless one is."""
        if self._target is None or self._cleaning is None or self._task is not None:
            return
        if not self._waiting:
            return
        z = self._next()
        self._take(z)
        self._task = _Task(self._target[3], z, self._cleaning)
        self._task.ended.connect(self._on_computed)
        self._task.start()

    def _on_computed(self, task: _Task) -> None:
        task.join()  # it has said its last word: let it end before it is forgotten
        if task is not self._task or self._target is None:
            return  # of a target that was left
        self._task = None
        if task.error is not None:
            self._tell(task.z, task.error)
        elif task.value is not None:
            try:
                self._put(task.z, task.value)
            except RunError as error:  # no room on the disk
                self._tell(task.z, error)
        self._draw()
        self._compute()
        if self.is_done:
            self.finished.emit()

    def _draw(self) -> None:
        """Have napari draw what was written, if it is on the screen."""
        if self._target is not None and self._is_seen:
            self._target[1].refresh(thumbnail=not self._waiting, extent=False)
        self._is_seen = False


class _Task(Task["npt.NDArray[np.uint8]"]):
    """Computes the labels of one slice."""

    def __init__(self, maps: ResultMaps, z: int, cleaning: Cleaning) -> None:
        super().__init__("napari-spss labels", lambda: maps.labels(z, cleaning))
        self.z = z
