"""Labels that follow the threshold: the shown slice at once, the others while nothing happens."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from napari.layers import Labels

    from .layers import ResultLayers, Source
    from .maps import Cleaning, ResultMaps

__all__ = ["Relabeller"]

_BATCH_S = 0.012


class Relabeller(QObject):
    """Writes labels of slices that wait for them, a few milliseconds at a time.

    Parameters
    ----------
    current_slice : callable
        Returns the slice that the viewer shows; it comes first.
    """

    slice_done = Signal(int, object)  # slice, labels (Y, X) as written
    finished = Signal()  # when no slice waits any more
    refused = Signal()  # when the layer turned out to be edited: it needs another target

    def __init__(self, current_slice: Callable[[], int], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._current_slice = current_slice
        self._waiting: set[int] = set()
        self._target: tuple[ResultLayers, Labels, Source, ResultMaps] | None = None
        self._cleaning: Cleaning | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._work)

    @property
    def is_done(self) -> bool:
        """Whether no slice waits."""
        return not self._waiting

    def set_target(
        self, results: ResultLayers, layer: Labels, source: Source, maps: ResultMaps
    ) -> None:
        """Write into a layer from now on; nothing waits."""
        self._target = (results, layer, source, maps)
        self._waiting.clear()
        self._timer.stop()

    def clear(self) -> None:
        """Forget the target."""
        self._target = None
        self._waiting.clear()
        self._timer.stop()

    def set_cleaning(self, cleaning: Cleaning) -> None:
        """Use other settings from now on."""
        self._cleaning = cleaning

    def request(self, slices: tuple[int, ...]) -> None:
        """Have slices written: the one that is shown at once, the rest soon."""
        if self._target is None:
            return
        self._waiting.update(slices)
        shown = self._current_slice()
        if shown in self._waiting:
            self._write(shown)
            self._target[1].refresh(thumbnail=False, extent=False)
        if self._waiting:
            self._timer.start()
        elif slices:
            self.finished.emit()

    def flush(self) -> None:
        """Write everything that waits, now."""
        while self._waiting:
            self._write(next(iter(self._waiting)))
        self._stop()

    def _work(self) -> None:
        began = time.monotonic()
        while self._waiting and time.monotonic() - began < _BATCH_S:
            shown = self._current_slice()
            self._write(shown if shown in self._waiting else min(self._waiting))
        if not self._waiting:
            self._stop()

    def _stop(self) -> None:
        is_running = self._timer.isActive()
        self._timer.stop()
        if self._target is not None:
            self._target[1].refresh()
        if is_running:
            self.finished.emit()

    def _write(self, z: int) -> None:
        self._waiting.discard(z)
        if self._target is None or self._cleaning is None:
            return
        results, layer, source, maps = self._target
        values: npt.NDArray[np.uint8] = maps.labels(z, self._cleaning)
        if results.write_labels(layer, source, z, values):
            self.slice_done.emit(z, values)
        else:
            self._waiting.clear()
            self.refused.emit()
