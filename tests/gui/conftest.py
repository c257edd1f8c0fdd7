"""Rules that hold for every GUI test: what our code started in a test has ended when it ends."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, WeakSet

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from napari.components import ViewerModel

    from napari_spss.gui.dock import SpssDock

WAIT_S = 5.0
_FOREIGN = ("dask", "tqdm", "matplotlib", "torch", "zarr", "vispy")


def find_origin() -> str | None:
    """Line of the package that leads to the caller; None if another library stands between."""
    frame = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "").partition(".")[0]
        if module in _FOREIGN:
            return None
        if module == "napari_spss":
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return None


class LeakWatch:
    """Remembers the threads, thread pools and timers that the package starts.

    Only starts with a frame of ``napari_spss`` in the call stack count, so that what napari,
    Qt or dask leave behind fails no test of ours.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from qtpy.QtCore import QThread, QThreadPool, QTimer

        self._timers: WeakKeyDictionary[QTimer, str] = WeakKeyDictionary()
        self._qthreads: WeakKeyDictionary[QThread, str] = WeakKeyDictionary()
        self._threads: WeakKeyDictionary[threading.Thread, str] = WeakKeyDictionary()
        self._pools: WeakSet[QThreadPool] = WeakSet()
        self._record(monkeypatch, QTimer, self._timers.__setitem__)
        self._record(monkeypatch, QThread, self._qthreads.__setitem__)
        self._record(monkeypatch, threading.Thread, self._threads.__setitem__)
        self._record(monkeypatch, QThreadPool, lambda pool, _: self._pools.add(pool))

    @staticmethod
    def _record(
        monkeypatch: pytest.MonkeyPatch, kind: type, note: Callable[[object, str], object]
    ) -> None:
        start = kind.start

        def recorded_start(self, *args, **kwargs):
            origin = find_origin()
            if origin is not None:
                note(self, origin)
            return start(self, *args, **kwargs)

        monkeypatch.setattr(kind, "start", recorded_start)

    def leaks(self, wait_s: float = WAIT_S) -> list[str]:
        """What still runs after at most ``wait_s`` seconds in which events are processed."""
        deadline = time.monotonic() + wait_s
        while True:
            _process_events()
            found = self._now()
            if not found or time.monotonic() > deadline:
                return found
            for pool in list(self._pools):
                pool.waitForDone(20)

    def _now(self) -> list[str]:
        found = [
            f"{what} started at {origin}"
            for what, records, is_alive in (
                ("QTimer", self._timers, lambda timer: timer.isActive()),
                ("QThread", self._qthreads, lambda thread: thread.isRunning()),
                ("thread", self._threads, lambda thread: thread.is_alive()),
            )
            for item, origin in list(records.items())
            if _exists(item) and is_alive(item)
        ]
        found += [
            f"{pool.activeThreadCount()} worker(s) in a QThreadPool"
            for pool in list(self._pools)
            if _exists(pool) and pool.activeThreadCount()
        ]
        return found


def _exists(item: object) -> bool:
    """Whether the C++ half of a Qt object is still there."""
    from qtpy.compat import isalive
    from qtpy.QtCore import QObject

    return not isinstance(item, QObject) or isalive(item)


def _process_events() -> None:
    from qtpy.QtCore import QCoreApplication, QEvent

    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    QCoreApplication.processEvents()


@pytest.fixture(scope="session", autouse=True)
def swift_windows() -> Generator[None]:
    """Do once what napari does for every window: look for plugins, and rake through libraries.

    Garbage is collected after each window, and a million objects of libraries are none.
    """
    import napari._qt.qt_main_window  # noqa: F401
    from npe2 import PluginManager

    manager = PluginManager.instance()
    manager.discover(include_npe1=True)
    gc.collect()
    gc.freeze()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manager, "discover", lambda *_, **__: 0)
        yield


@pytest.fixture(autouse=True)
def leak_watch(
    qapp: object, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Generator[LeakWatch]:
    """Fail a GUI test that leaves a thread, a worker or a timer of ours behind."""
    watch = LeakWatch(monkeypatch)
    yield watch
    gc.collect(1)
    leaks = watch.leaks()
    if leaks:
        pytest.fail(f"left running by {request.node.name}: " + "; ".join(leaks))


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let projects and runs lie in the test's own folder."""
    home = tmp_path / "home"
    monkeypatch.setattr("napari_spss.core.projects.folder.user_data_path", lambda *_, **__: home)
    return home


@pytest.fixture
def fake_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train and apply nothing: the events are those of `fake_core`."""
    from fake_core import fake_apply, fake_train

    from napari_spss.gui import controller, trainings

    monkeypatch.setattr(trainings, "train", fake_train)
    monkeypatch.setattr(controller, "apply_model", fake_apply)


@pytest.fixture
def viewer(request: pytest.FixtureRequest) -> ViewerModel:
    """A viewer without a window, which is quick; for tests marked ``window`` one with it."""
    from napari.components import ViewerModel

    if request.node.get_closest_marker("window"):
        return request.getfixturevalue("make_napari_viewer")()
    return ViewerModel()


@pytest.fixture
def naparis_readers(npe2pm) -> None:
    """Let a viewer without a window open files, too."""
    from npe2 import PluginManifest

    npe2pm.register(PluginManifest.from_distribution("napari"))


@pytest.fixture
def open_dock(viewer: ViewerModel, qtbot) -> Generator[Callable[[], SpssDock]]:
    """Open a dock on the viewer; all are shut down at the end."""
    from napari_spss.gui.dock import SpssDock

    docks = []

    def make() -> SpssDock:
        docks.append(SpssDock(viewer, is_probing=False))
        if hasattr(viewer, "window"):
            viewer.window.add_dock_widget(docks[-1], name="spss")
        else:
            qtbot.addWidget(docks[-1])
        return docks[-1]

    yield make
    for dock in docks:
        if _exists(dock):  # else it went with its window
            dock.shut_down()
