"""Events for the eye and for programs."""

from __future__ import annotations

import sys

import pytest

from napari_spss.cli.display import check_events_option, event_display
from napari_spss.core.base import (
    CheckpointSaved,
    FinishReason,
    InputError,
    Message,
    Preparing,
    Progress,
    RunFinished,
    RunStarted,
    Validated,
    event_from_json,
)

CLASSES = ("background", "disc")
EVENTS = (
    Preparing("reading slice 1 of 90", 0, 90, 0.0),
    Preparing("reading slice 30 of 90", 29, 90, 12.5),
    Preparing("reading slice 33 of 90", 32, 90, 13.0),
    RunStarted("training", 400, "cpu", CLASSES),
    Message("info", "a note"),
    Progress(4, 400, 1.0, 99.0, {"total": 0.5, "labels": 0.2}, 0.021),
    Progress(8, 400, 2.0, 98.0, {"total": 0.25}, None),
    Validated(40, 0.125, True),
    Progress(60, 400, 11.0, 65.0),
    Message("warning", "a warning"),
    CheckpointSaved(400, "run"),
    Progress(400, 400, 100.0, 0.0),
    RunFinished(FinishReason.completed, 400, 100.4),
)


def shown(capsys, events, *, is_jsonl=False):
    """Return what is written for some events to stdout and stderr, as lines."""
    with event_display(is_jsonl=is_jsonl) as show:
        for event in events:
            show(event)
    out, err = capsys.readouterr()
    return out.splitlines(), err.splitlines()


def test_plain_lines(capsys):
    out, err = shown(capsys, EVENTS)
    assert out == []
    assert err == [
        "reading slice 30 of 90",
        "training on cpu: 400 steps, classes background, disc",
        "note: a note",
        "step 4 of 400, about 1 min 39 s left, loss 0.500, error of fractions 2.1 %",
        "step 40: validation loss 0.1250, the best so far",
        "step 60 of 400, about 1 min 05 s left",
        "warning: a warning",
        "completed: 400 steps in 1 min 40 s",
    ]


def test_time_budget_has_no_total(capsys):
    events = (RunStarted("training", None, "cpu", CLASSES), Progress(7, None, 1.0, 59.0))
    assert shown(capsys, events)[1] == [
        "training on cpu: classes background, disc",
        "step 7, about 59 s left",
    ]


def test_one_step_is_told_as_one(capsys):
    events = (RunStarted("training", 1, "cpu", CLASSES),)
    assert shown(capsys, events)[1] == ["training on cpu: 1 step, classes background, disc"]


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (FinishReason.stopped, "stopped after 1 slice, 3 s"),
        (FinishReason.completed, "completed: 1 slice in 3 s"),
        (FinishReason.converged, "converged after 1 slice, 3 s: the validation loss got no better"),
    ],
)
def test_end(capsys, reason, text):
    events = (RunStarted("prediction", 2, "cpu", CLASSES), RunFinished(reason, 1, 3.0))
    assert shown(capsys, events)[1][-1] == text


def test_json_lines_come_back_as_events_and_messages_go_to_stderr(capsys):
    out, err = shown(capsys, EVENTS, is_jsonl=True)
    assert tuple(event_from_json(line) for line in out) == EVENTS
    assert err == ["note: a note", "warning: a warning"]


def test_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    reading, started, note, progress = EVENTS[2:6]
    _, err = shown(capsys, (reading, started, started, note, EVENTS[-1], progress))
    text = "\n".join(err)
    assert "reading slice 33 of 90" in text
    assert "note: a note" in text
    assert "completed: 400 steps" in text
    assert "step 4/400" in text
    assert "1 min 39 s left, loss 0.500" in text


def test_other_forms_of_events_are_refused():
    assert check_events_option("jsonl")
    assert not check_events_option(None)
    with pytest.raises(InputError, match="jsonl"):
        check_events_option("xml")
