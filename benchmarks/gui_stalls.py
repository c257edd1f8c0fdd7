"""How long napari's event loop is held up while a network trains on the processor, in one run.

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/gui_stalls.py [--seconds 15]

A thread posts an event to the window's loop every 10 ms; its delay is the time until the loop
takes it. The viewer is measured idle first, then with the mouse moving (60 times a second) and the
slices scrolled (5 times a second), then the same while a training runs with live previews. What
moving and scrolling cost by themselves is the difference of the first two rows; what the run costs
is that of the others. Without a GPU, OpenGL is drawn by the processor too.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


def build(n_slices: int, size: int) -> tuple[object, object]:
    """Open a viewer with the annotated synthetic sample, and the dock."""
    import napari

    from napari_spss.core.samples import synthetic_sample
    from napari_spss.gui.dock import SpssDock

    sample = synthetic_sample(n_slices, (size, size))
    image = np.stack([sample.stack.read(z)[0] for z in range(n_slices)])
    viewer = napari.Viewer(show=True)
    viewer.window._qt_window.resize(1500, 950)
    viewer.add_image(image, name="em", scale=sample.stack.voxel_size_um)
    dock = SpssDock(viewer, is_probing=False)
    viewer.window.add_dock_widget(dock, name="Semantic Proportions")
    dock.annotate.set_value(sample.annotations)
    dock.image.set_diameter(sample.object_diameter_px)
    return viewer, dock


def make_probe(interval_s: float = 0.01):
    """Return an object that measures the loop's delay in a `with` block; values in ms."""
    from qtpy.QtCore import QObject, Qt, Signal

    class Probe(QObject):
        asked = Signal(float)

        def __init__(self) -> None:
            super().__init__()
            self._ended = threading.Event()
            self.delays_ms: list[float] = []
            self.asked.connect(self._answer, Qt.ConnectionType.QueuedConnection)

        def _answer(self, asked_at: float) -> None:
            self.delays_ms.append(1000 * (time.perf_counter() - asked_at))

        def _ask(self) -> None:
            # on and on, answered or not: a stall of a second counts a hundred times
            while not self._ended.wait(interval_s):
                self.asked.emit(time.perf_counter())

        @contextmanager
        def measuring(self) -> Iterator[None]:
            thread = threading.Thread(target=self._ask)
            thread.start()
            try:
                yield
            finally:
                self._ended.set()
                thread.join()

    return Probe()


@contextmanager
def busy_user(viewer) -> Iterator[None]:
    """Move the mouse over the canvas and scroll through the slices."""
    from qtpy.QtCore import QEvent, QPointF, Qt, QTimer
    from qtpy.QtGui import QMouseEvent
    from qtpy.QtWidgets import QApplication

    canvas = viewer.window._qt_viewer.canvas.native
    n_slices = int(viewer.dims.nsteps[0])
    turn = itertools.count()

    def move() -> None:
        angle = 0.1 * next(turn)
        place = QPointF(
            canvas.width() * (0.5 + 0.3 * np.cos(angle)),
            canvas.height() * (0.5 + 0.3 * np.sin(angle)),
        )
        none = Qt.MouseButton.NoButton
        event = QMouseEvent(
            QEvent.Type.MouseMove,
            place,
            QPointF(canvas.mapToGlobal(place.toPoint())),
            none,
            none,
            Qt.KeyboardModifier.NoModifier,
        )
        QApplication.sendEvent(canvas, event)

    def scroll() -> None:
        viewer.dims.set_current_step(0, (viewer.dims.current_step[0] + 1) % n_slices)

    timers = []
    for interval_ms, act in ((16, move), (200, scroll)):
        timer = QTimer()
        timer.timeout.connect(act)
        timer.start(interval_ms)
        timers.append(timer)
    try:
        yield
    finally:
        for timer in timers:
            timer.stop()


def spin(seconds: float) -> None:
    """Let the event loop run."""
    from qtpy.QtCore import QEventLoop, QTimer

    loop = QEventLoop()
    QTimer.singleShot(round(1000 * seconds), loop.quit)
    loop.exec()


def spin_until(is_so, limit_s: float) -> None:
    """Let the event loop run until something is so."""
    deadline = time.perf_counter() + limit_s
    while not is_so() and time.perf_counter() < deadline:
        spin(0.05)


def measure(seconds: float) -> np.ndarray:
    """Delays in ms while the loop runs."""
    probe = make_probe()
    with probe.measuring():
        spin(seconds)
    spin(0.0)  # what was asked last
    return np.array(probe.delays_ms)


def report(name: str, delays_ms: np.ndarray) -> None:
    """Print a row."""
    median, high = np.percentile(delays_ms, [50, 99])
    late = 100 * (delays_ms > 100).mean()
    print(
        f"{name:44} {len(delays_ms):6d} {median:8.1f} {high:8.1f} {delays_ms.max():8.1f} "
        f"{late:8.1f}",
        flush=True,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=15.0, help="per row")
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--size", type=int, default=512, help="edge of a slice in pixels")
    options = parser.parse_args()
    from napari_spss.gui.session import RunForm

    with tempfile.TemporaryDirectory() as home:
        os.environ["XDG_DATA_HOME"] = home
        viewer, dock = build(options.slices, options.size)
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
        print(f"{os.cpu_count()} cores, load average {load:.1f} before the first row")
        print(f"{'':44} {'n':>6} {'median':>8} {'99 %':>8} {'worst':>8} {'> 100 ms':>8}")
        print(f"{'':44} {'':>6} {'ms':>8} {'ms':>8} {'ms':>8} {'%':>8}")
        spin(2.0)
        report("viewer idle", measure(options.seconds))
        with busy_user(viewer):
            report("mouse and slices", measure(options.seconds))
        endless = {"optimisation.max_steps": 1_000_000}
        dock.train.set_value(RunForm(device="cpu", overrides=endless))
        assert dock.start_training(), dock.bar.text()
        spin_until(lambda: dock.session.status.done > 0, 300.0)
        report("training, nothing else", measure(options.seconds))
        with busy_user(viewer):
            report("training, mouse and slices", measure(options.seconds))
        steps = dock.session.status.done
        print(f"training made {steps} steps in {dock.session.status.elapsed_s:.0f} s")
        dock.session.stop()
        spin_until(lambda: not dock.session.status.is_busy, 120.0)
        with busy_user(viewer):
            report("mouse and slices, once more", measure(options.seconds))
        viewer.close()


if __name__ == "__main__":
    main()
