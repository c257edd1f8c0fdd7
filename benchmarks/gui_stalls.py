"""How long napari's event loop is held up: alone, with the dock, and while a network trains.

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/gui_stalls.py

A thread posts an event to the window's loop every 10 ms; its delay is the time until the loop
takes it. All rows come from one process, one after the other, in under four minutes: napari with
nothing but the image; the same with the dock; while a training starts and goes on with live
previews. A user moves the mouse (60 times a second) and scrolls the slices (5 times a second) in
the rows that say so. What the run costs is the difference between rows that are alike in all else.

Without a GPU the processor draws as well, with all of its cores: one row therefore shows what
another process that computes on one core does to napari alone. The training takes one core less
than there are; torch's own setting is left as it is. Results are stored in
``benchmarks/results/gui``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

RESULT = Path(__file__).parent / "results" / "gui" / "stalls.json"
SEED = 0
Row = dict[str, Any]


class Bench:
    """A viewer, measured again and again.

    Parameters
    ----------
    seconds : float
        How long each row takes.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.rows: list[Row] = []
        print(f"{'':44} {'n':>6} {'median':>8} {'99 %':>8} {'worst':>8} {'> 100 ms':>8}")
        print(f"{'':44} {'':>6} {'ms':>8} {'ms':>8} {'ms':>8} {'%':>8}")

    def row(self, name: str, until: Callable[[], bool] | None = None) -> None:
        """Measure for a time, or until something is so; print and keep the row."""
        probe = make_probe()
        with probe.measuring():
            spin(self._seconds) if until is None else spin_until(until, 300.0)
        spin(0.0)  # what was asked last
        delays_ms = np.array(probe.delays_ms)
        median, high = np.percentile(delays_ms, [50, 99])
        row = {
            "name": name,
            "n": len(delays_ms),
            "median_ms": round(float(median), 2),
            "p99_ms": round(float(high), 1),
            "worst_ms": round(float(delays_ms.max()), 1),
            "over_100ms_percent": round(100 * float((delays_ms > 100).mean()), 2),
        }
        self.rows.append(row)
        print(
            f"{name:44} {row['n']:6d} {median:8.1f} {high:8.1f} {row['worst_ms']:8.1f} "
            f"{row['over_100ms_percent']:8.1f}",
            flush=True,
        )

    def ratio(self, name: str, base: str, key: str) -> float:
        """Divide a number of a row by that of another."""
        values = {row["name"]: row[key] for row in self.rows}
        return round(values[name] / max(values[base], 1e-3), 2)


def open_viewer(n_slices: int, size: int):
    """Open a viewer with the synthetic sample; return it with the sample."""
    import napari

    from napari_spss.core.simulation import synthetic_sample

    sample = synthetic_sample(n_slices, (size, size))
    image = np.stack([sample.stack.read(z)[0] for z in range(n_slices)])
    viewer = napari.Viewer(show=True)
    viewer.window._qt_window.resize(1500, 950)
    viewer.add_image(image, name="em", scale=sample.stack.voxel_size_um)
    spin(2.0)
    return viewer, sample


def open_dock(viewer, sample) -> tuple[Any, dict[str, float]]:
    """Open the dock with the sample's annotations; return it with the seconds that it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    from napari_spss.gui.dock import SpssDock

    dock = SpssDock(viewer, is_probing=False)
    viewer.window.add_dock_widget(dock, name="Semantic Proportions")
    spin(0.0)
    took = {
        "wall_s": round(time.perf_counter() - wall, 2),
        "cpu_s": round(time.process_time() - cpu, 2),
    }
    dock.annotate.set_value(sample.annotations)
    dock.image.set_diameter(sample.object_diameter_px)
    spin(2.0)
    return dock, took


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


@contextmanager
def busy_core() -> Iterator[None]:
    """Have another process compute on one core."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def spin(seconds: float) -> None:
    """Let the event loop run."""
    from qtpy.QtCore import QEventLoop, QTimer

    loop = QEventLoop()
    QTimer.singleShot(round(1000 * seconds), loop.quit)
    loop.exec()


def spin_until(is_so: Callable[[], bool], limit_s: float) -> None:
    """Let the event loop run until something is so."""
    deadline = time.perf_counter() + limit_s
    while not is_so() and time.perf_counter() < deadline:
        spin(0.05)


def surroundings() -> Row:
    """Name what the numbers depend on."""
    from vispy.gloo import gl

    renderer = gl.glGetParameter(gl.GL_RENDERER)
    packages = {name: version(name) for name in ("napari", "torch", "numpy", "pyqtgraph")}
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "opengl": str(renderer),
        "packages": packages,
    }


def measure(bench: Bench, viewer, sample) -> Row:
    """Measure all rows, then say how fast the training was."""
    from napari_spss.gui.models import RunForm

    bench.row("napari, idle")
    with busy_user(viewer):
        bench.row("napari, mouse and slices")
        with busy_core():
            bench.row("the same beside another process")
    dock, opening = open_dock(viewer, sample)
    bench.row("dock, idle")
    with busy_user(viewer):
        bench.row("dock, mouse and slices")
    endless = {"optimisation.max_steps": 1_000_000, "seed": SEED}
    dock.train.set_value(RunForm(device="cpu", overrides=endless))
    first_preview = {"is_there": False}
    dock.session.event_taken.connect(
        lambda event: first_preview.update(
            is_there=first_preview["is_there"] or type(event).__name__ == "Preview"
        )
    )
    with busy_user(viewer):
        if not dock.start_training():
            raise SystemExit(dock.bar.text())
        bench.row(
            "training, until the first preview, mouse and slices",
            until=lambda: first_preview["is_there"],
        )
    bench.row("training, nothing else")
    with busy_user(viewer):
        bench.row("training, mouse and slices")
    status = dock.session.status
    dock.session.stop()
    spin_until(lambda: not dock.session.status.is_busy, 120.0)
    with busy_user(viewer):
        bench.row("dock, mouse and slices, once more")
    return {
        "opening": opening,
        "training": {"steps": status.done, "seconds": round(status.elapsed_s, 1)},
    }


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=15.0, help="per row")
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--size", type=int, default=1024, help="edge of a slice in pixels")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["XDG_DATA_HOME"] = home
        viewer, sample = open_viewer(options.slices, options.size)
        record = surroundings() | {"slices": options.slices, "size_px": options.size}
        print(f"{record['cores']} cores, load average {record['load_average']} at the start")
        bench = Bench(options.seconds)
        record |= measure(bench, viewer, sample)
        viewer.close()
    ratios = {
        "99 %, dock to napari alone, mouse and slices": bench.ratio(
            "dock, mouse and slices", "napari, mouse and slices", "p99_ms"
        ),
        "99 %, training to dock, mouse and slices": bench.ratio(
            "training, mouse and slices", "dock, mouse and slices", "p99_ms"
        ),
        "99 %, another process to napari alone, mouse and slices": bench.ratio(
            "the same beside another process", "napari, mouse and slices", "p99_ms"
        ),
    }
    for name, value in ratios.items():
        print(f"{name:64} {value:6.2f}")
    steps, seconds = record["training"]["steps"], record["training"]["seconds"]
    print(f"training made {steps} steps in {seconds:.0f} s; {record['opening']} to open the dock")
    record |= {"rows": bench.rows, "ratios": ratios}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
