"""The leak checks see what the package leaves behind, and only that."""

from __future__ import annotations

import threading

import pytest
from qtpy.QtCore import QObject, QRunnable, QThreadPool, QTimer


class Blocked(QRunnable):
    """A worker that runs until it is released."""

    def __init__(self):
        super().__init__()
        self.release = threading.Event()

    def run(self):
        self.release.wait()


def start_as(module, item, *args):
    """Call ``item.start(*args)`` as if a line of ``module`` did."""
    exec("item.start(*args)", {"__name__": module, "item": item, "args": args})


def test_timer_of_the_package_is_seen(leak_watch):
    timer = QTimer()
    start_as("napari_spss.gui.dock", timer, 10_000)
    assert ["QTimer started at" in leak for leak in leak_watch.leaks(0)] == [True]
    timer.stop()
    assert leak_watch.leaks(0) == []


def test_deleted_timer_is_no_leak(leak_watch):
    parent = QObject()
    timer = QTimer(parent)
    start_as("napari_spss.gui.dock", timer, 10_000)
    parent.deleteLater()
    assert leak_watch.leaks(0) == []


@pytest.mark.parametrize("module", ["napari._qt.qt_viewer", "dask.threaded"])
def test_timer_of_another_package_is_ignored(leak_watch, module):
    timer = QTimer()
    start_as(module, timer, 10_000)
    assert leak_watch.leaks(0) == []
    timer.stop()


def test_worker_in_a_pool_is_seen(leak_watch):
    pool = QThreadPool()
    worker = Blocked()
    start_as("napari_spss.gui.worker", pool, worker)
    assert leak_watch.leaks(0) == ["1 worker(s) in a QThreadPool"]
    worker.release.set()
    assert leak_watch.leaks() == []


def test_python_thread_is_seen(leak_watch):
    release = threading.Event()
    thread = threading.Thread(target=release.wait)
    start_as("napari_spss.gui.worker", thread)
    assert "thread started at" in leak_watch.leaks(0)[0]
    release.set()
    thread.join()
    assert leak_watch.leaks(0) == []
