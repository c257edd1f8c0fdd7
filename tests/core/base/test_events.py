"""Events as JSON lines, and what crosses between threads."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
from hypothesis import given, strategies as st

from napari_spss.core.base import (
    CancelToken,
    CheckpointSaved,
    FinishReason,
    KeypointsChecked,
    Mailbox,
    Message,
    Predicted,
    Preview,
    Progress,
    RunFinished,
    RunStarted,
    Validated,
    event_from_json,
    event_to_json,
)

EVENTS = [
    RunStarted("training", 400, "cuda:0", ("background", "mito")),
    RunStarted("prediction", None, "cpu", ("background", "mito", "nucleus")),
    Progress(3, 400, 1.5, 12.25, {"total": 0.5, "labels": 0.25}, 0.125),
    Progress(0, None, 0.0, None),
    Validated(80, 0.75, is_best=True),
    Predicted(3, (0, 4, 9, 12), 0.25),
    Predicted(2),
    KeypointsChecked(3, ((2, 10.5, 20.0, 1), (4, 0.0, 3.25, 0))),
    CheckpointSaved(100, "run/checkpoint/state.safetensors"),
    Message("warning", 'a "quoted" line\nand µm'),
    RunFinished(FinishReason.stopped, 7, 2.5, {"record": "model.json"}),
    RunFinished(FinishReason.completed, 7, 2.5),
]


def strict(line):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(line, parse_constant=refuse)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_events_come_back_from_their_line(event):
    line = event_to_json(event)
    assert "\n" not in line
    assert strict(line)["event"] == type(event).__name__
    assert event_from_json(line) == event


def test_a_preview_comes_back_without_its_map():
    event = Preview(5, 2, 4, (101, 99), np.ones((2, 26, 25), np.float32))
    line = event_to_json(event)
    assert "probs" not in strict(line)
    back = event_from_json(line)
    assert (back.step, back.slice, back.reduction, back.shape) == (5, 2, 4, (101, 99))
    assert back.probs.size == 0


@given(st.text())
def test_any_text_stays_on_one_line(text):
    line = event_to_json(Message("info", text))
    assert len(line.splitlines()) == 1
    assert event_from_json(line) == Message("info", text)


def test_numbers_that_are_not_finite_become_null():
    line = event_to_json(Progress(1, 2, 0.5, float("inf"), {"total": float("nan")}))
    record = strict(line)
    assert record["eta_s"] is None
    assert record["losses"] == {"total": None}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"event": "Progres"}', "unknown event 'Progres'; known: Preparing, RunStarted"),
        ("{}", "unknown event None"),
        ('{"event": []}', "unknown event"),
        ("[1]", "an event is a JSON object"),
        ('{"event": "Validated", "st', "EOF while parsing"),
        ('{"event": "Validated", "step": 1}', "fields of Validated are wrong"),
        ('{"event": "Validated", "step": 1, "loss": 1, "is_best": true, "x": 1}', "fields of"),
        ('{"event": "RunFinished", "reason": "bored"}', "bored"),
        ('{"event": "RunFinished"}', "None"),
    ],
)
def test_lines_that_are_no_event_are_refused(line, message):
    with pytest.raises(ValueError, match=message):
        event_from_json(line)


def test_a_token_is_set_once_and_from_any_thread():
    token = CancelToken()
    assert not token.is_cancelled
    thread = threading.Thread(target=token.cancel)
    thread.start()
    thread.join()
    assert token.is_cancelled
    token.cancel()
    assert token.is_cancelled


def test_the_newest_item_of_a_mailbox_wins_and_is_taken_once():
    mailbox = Mailbox()
    assert mailbox.is_empty
    assert mailbox.take() is None
    mailbox.put("old")
    mailbox.put("new")
    assert not mailbox.is_empty
    assert mailbox.take() == "new"
    assert mailbox.is_empty
    assert mailbox.take() is None


def test_the_last_item_of_a_busy_mailbox_arrives():
    mailbox = Mailbox()
    writer = threading.Thread(target=lambda: [mailbox.put(i) for i in range(1, 2001)])
    writer.start()
    taken = []
    while writer.is_alive() or not mailbox.is_empty:
        item = mailbox.take()
        if item is not None:
            taken.append(item)
    writer.join()
    assert taken == sorted(set(taken))
    assert taken[-1] == 2000
