"""The worker in a real thread: every event, one end, no swallowed error."""

from __future__ import annotations

import threading
import warnings

import numpy as np
import pytest
from fake_core import fake_run
from napari.qt.threading import create_worker
from qtpy.QtWidgets import QApplication

from napari_spss.core.base import CancelToken, Progress, RunFinished, RunStarted
from napari_spss.gui.models import EndKind, Session
from napari_spss.gui.worker import CoreCall, Runner, RunWorker


@pytest.fixture
def rig(qtbot):
    session = Session()
    runner = Runner(session)
    ends, events, threads = [], [], []
    session.run_ended.connect(ends.append)
    session.event_taken.connect(events.append)
    session.event_taken.connect(lambda _: threads.append(threading.current_thread()))
    session.keep = (ends, events, threads)
    return session, runner, ends, events, threads


def test_events_arrive_in_order_on_the_gui_thread(rig, qtbot):
    session, runner, ends, events, threads = rig
    runner.start(session.begin("training"), fake_run, steps=3)
    qtbot.waitUntil(lambda: bool(ends))
    kinds = [type(event) for event in events]
    assert kinds == [RunStarted, Progress, Progress, Progress, RunFinished]
    assert [e.done for e in events[1:4]] == [1, 2, 3]
    assert set(threads) == {threading.main_thread()}
    assert session.model == "model"


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA error"), ValueError("bad"), MemoryError(), StopIteration()]
)
def test_every_error_of_the_core_ends_the_run_exactly_once(rig, qtbot, error):
    session, runner, ends, _, _ = rig
    worker = runner.start(session.begin("training"), fake_run, error=error)
    qtbot.waitUntil(lambda: bool(ends) and not worker.is_running)
    assert [end.kind for end in ends] == [EndKind.failed]
    assert not session.status.is_busy


def test_an_error_before_the_first_event_ends_the_run(rig, qtbot):
    session, runner, ends, _, _ = rig

    def broken(*, token):
        raise RuntimeError("no kernel image")

    runner.start(session.begin("training"), broken)
    qtbot.waitUntil(lambda: bool(ends))
    assert "no kernel image" in ends[0].text


def test_a_stopped_run_hands_over_its_best_model(rig, qtbot):
    session, runner, ends, events, _ = rig
    gate = threading.Event()
    runner.start(session.begin("training"), fake_run, gate=gate)
    qtbot.waitUntil(lambda: len(events) >= 3)
    session.stop()
    qtbot.waitUntil(lambda: bool(ends))
    assert ends[0].kind is EndKind.stopped
    assert session.model == "best so far"


def test_a_warning_that_comes_again_and_again_is_logged_once(rig, qtbot, caplog):
    session, runner, ends, _, _ = rig

    def warn(*, token):
        for text in ("as before", "another", "as before"):
            warnings.warn(text, UserWarning, stacklevel=1)
        yield from fake_run(token=token)

    for n_runs in (1, 2):
        runner.start(session.begin("training"), warn)
        qtbot.waitUntil(lambda n_runs=n_runs: len(ends) == n_runs)
    said = [record.getMessage() for record in caplog.records]
    assert [text.rpartition(": ")[2] for text in said] == ["as before", "another"]


@pytest.mark.parametrize("at", [0, 1, 2, 3, 4])
def test_stop_at_every_event_ends_once(rig, qtbot, at):
    session, runner, ends, _events, _ = rig
    seen = []

    def stop_at(event):
        seen.append(event)
        if len(seen) == at + 1:
            session.stop()

    session.event_taken.connect(stop_at)
    worker = runner.start(session.begin("training"), fake_run, steps=3)
    qtbot.waitUntil(lambda: bool(ends) and not worker.is_running)
    QApplication.processEvents()  # whatever the thread still had to say
    assert len(ends) == 1
    assert not session.status.is_busy


def test_quit_stops_the_run_as_napari_does_at_close(rig, qtbot):
    session, runner, ends, events, _ = rig
    worker = runner.start(session.begin("training"), fake_run, gate=threading.Event())
    qtbot.waitUntil(lambda: len(events) >= 2)
    worker.quit()
    qtbot.waitUntil(lambda: bool(ends))
    assert ends[0].kind is EndKind.stopped
    worker.quit()  # napari calls it on every worker at close, ended or not
    assert not session.status.is_busy


def test_a_runner_that_is_destroyed_stops_its_run_and_is_not_heard(qtbot):
    session, events = Session(), []
    session.event_taken.connect(events.append)
    runner = Runner(session)
    ticket = session.begin("training")
    worker = runner.start(ticket, fake_run, gate=threading.Event())
    qtbot.waitUntil(lambda: len(events) >= 2)
    runner.deleteLater()
    qtbot.waitUntil(lambda: not worker.is_running)
    assert ticket.token.is_cancelled
    assert not session.status.is_busy
    assert not any(isinstance(event, RunFinished) for event in events)


def test_a_worker_lets_go_of_its_arguments(qtbot):
    import gc
    import weakref

    class Big:
        pass

    def core(big, *, token):
        yield RunStarted("training", 1, "cpu", ())

    big = Big()
    gone = weakref.ref(big)
    worker = create_worker(
        core, big, token=CancelToken(), _worker_class=RunWorker, _start_thread=False
    )
    with qtbot.waitSignal(worker.finished):
        worker.start()
    del big
    gc.collect()
    assert gone() is None


def test_a_failed_run_lets_go_of_what_its_frames_held(rig, qtbot):
    import gc
    import weakref

    session, runner, ends, _, _ = rig
    held = []

    def core(*, token):
        array = np.zeros(10)
        held.append(weakref.ref(array))
        yield RunStarted("training", 1, "cpu", ())
        raise RuntimeError("out of memory")

    runner.start(session.begin("training"), core)
    qtbot.waitUntil(lambda: bool(ends))
    gc.collect()
    assert ends[0].error is not None
    assert held[0]() is None


def test_warnings_of_a_run_go_to_the_log(rig, qtbot, caplog):
    import warnings

    session, runner, ends, _, _ = rig

    def core(*, token):
        warnings.warn("an old function", DeprecationWarning, stacklevel=1)
        yield RunStarted("training", 1, "cpu", ())

    runner.start(session.begin("training"), core)
    qtbot.waitUntil(lambda: bool(ends))
    assert "an old function" in caplog.text


def test_the_call_has_a_name_for_naparis_question():
    assert repr(CoreCall("training of the network", fake_run)) == "training of the network"
