"""The session without Qt: what may run, what counts, how it ends."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace

import pytest

from napari_spss.core.base import (
    Diverged,
    FinishReason,
    InputError,
    Message,
    OutOfMemory,
    Preparing,
    Progress,
    RunFinished,
    RunStarted,
    preset,
)
from napari_spss.gui.models import (
    Curves,
    EndKind,
    LoadedRun,
    RunForm,
    Session,
    Suggestion,
    duration,
)


@pytest.fixture
def session():
    return Session()


def record(session):
    ends, events, states = [], [], []
    session.run_ended.connect(ends.append)
    session.event_taken.connect(events.append)
    session.status_changed.connect(lambda status: states.append(status))
    return ends, events, states


def test_a_run_goes_from_idle_to_training_to_idle_and_ends_once(session):
    ends, events, states = record(session)
    ticket = session.begin("training")
    session.take(ticket, RunStarted("training", 10, "cpu", ("background", "a")))
    session.take(ticket, Progress(4, 10, 2.0, 3.0, {"total": 0.5}, 0.1))
    assert str(session.status) == "Training on CPU, step 4 of 10, 3 s left"
    session.take(ticket, RunFinished(FinishReason.completed, 10, 5.0))
    session.finish(ticket, "model")
    assert session.model == "model"
    assert [end.kind for end in ends] == [EndKind.finished]
    assert len(events) == 3
    assert states[0].kind == "training"
    assert not states[-1].is_busy
    assert not session.finish(ticket, "again")
    assert not session.fail(ticket, ValueError())
    assert len(ends) == 1


def test_what_was_saved_and_where_is_told(session):
    ends, _, _ = record(session)
    ticket = session.begin("export")
    written = {name: f"/data/em/results/{name}" for name in ("labels.ome.tif", "fractions.csv")}
    session.take(ticket, RunFinished(FinishReason.completed, 3, 1.0, written))
    session.finish(ticket, None)
    assert ends[-1].text == "Saved in em/results: labels.ome.tif, fractions.csv."


def test_what_is_read_before_the_first_step_is_shown(session):
    ticket = session.begin("training")
    session.take(ticket, Preparing("reading slice 3 of 8", 2, 8, 1.0))
    assert str(session.status) == "Training: reading slice 3 of 8"
    assert session.status.fraction == 0.25
    session.take(ticket, RunStarted("training", 10, "cpu", ("background", "a")))
    assert str(session.status) == "Training on CPU"
    assert session.status.fraction == 0


def test_a_second_run_is_refused_and_the_first_goes_on(session):
    ticket = session.begin("training")
    with pytest.raises(InputError, match="in progress"):
        session.begin("prediction")
    assert session.take(ticket, Progress(1, 2, 0.0, None))


def test_events_of_an_older_run_are_dropped(session):
    old = session.begin("training")
    session.abandon()
    assert old.token.is_cancelled
    new = session.begin("prediction")
    _, events, _ = record(session)
    assert not session.take(old, Message("info", "late"))
    assert not session.finish(old, "stale model")
    assert session.model is None
    assert not events
    assert session.messages == []
    assert session.status.kind == "prediction"
    assert session.take(new, Message("info", "mine"))


def test_stop_sets_the_token_and_stays_stopping_until_the_end(session):
    ends, _, _ = record(session)
    ticket = session.begin("training")
    session.stop()
    assert ticket.token.is_cancelled
    session.take(ticket, Progress(5, 10, 1.0, 1.0))
    assert session.status.is_stopping
    session.take(ticket, RunFinished(FinishReason.stopped, 5, 1.0))
    session.finish(ticket, "best")
    assert ends[0].kind is EndKind.stopped
    assert session.model == "best"
    session.stop()
    assert not session.status.is_busy


def test_a_failure_keeps_the_model_and_names_the_cause(session):
    session.model = "good"
    ends, _, _ = record(session)
    session.fail(session.begin("training"), RuntimeError("cudnn says no"))
    assert session.model == "good"
    assert not session.status.is_busy
    assert ends[0].text == "Training failed, with an unexpected error: RuntimeError: cudnn says no"
    session.fail(session.begin("training"), Diverged("The loss became NaN; lower learning_rate."))
    assert ends[1].text == "The loss became NaN; lower learning_rate."
    session.fail(session.begin("export"), RuntimeError("a writer says no"))
    assert ends[2].text.startswith("Saving failed, ")


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        ("training", "smaller batch or crop"),
        ("prediction", "apply to a rectangle"),
        ("export", "save again"),
        ("loading", "load the model again"),
    ],
)
def test_advice_for_want_of_memory_is_about_the_run(session, kind, advice):
    ends, _, _ = record(session)
    session.fail(session.begin(kind), MemoryError())
    assert "memory did not suffice" in ends[0].text
    assert advice in ends[0].text
    assert ("batch" in ends[0].text) == (kind == "training")


def test_out_of_memory_carries_a_setting_that_the_form_can_take(session):
    ends, _, _ = record(session)
    error = OutOfMemory("too big", setting="sampling.crop_px", value=128)
    session.fail(session.begin("training"), error)
    suggestion = ends[0].suggestion
    assert suggestion == Suggestion("sampling.crop_px", 128)
    assert str(suggestion) == "crop_px = 128"
    form = RunForm(overrides={"seed": 3}).with_suggestion(suggestion)
    assert form.settings().sampling.crop_px == 128
    assert form.settings().seed == 3


def test_the_form_marks_the_field_that_is_wrong():
    with pytest.raises(InputError) as caught:
        RunForm(overrides={"sampling.crop_px": 3}).settings()
    assert caught.value.field == "sampling.crop_px"


def test_minutes_are_a_limit_beside_the_steps_of_the_preset():
    assert RunForm().settings() == preset("fast")
    fast = RunForm(max_minutes=2).settings().optimisation
    assert (fast.max_minutes, fast.max_steps) == (2, preset("fast").optimisation.max_steps)
    paper = RunForm(preset="paper", max_minutes=2).settings().optimisation
    assert (paper.max_minutes, paper.max_epochs) == (2, 100)


def test_a_model_keeps_its_network_when_defaults_have_changed():
    changes = {"network.filters": 5, "image.normalisation": "range", "loss.alpha": 0.1}
    model = SimpleNamespace(settings=preset("fast").with_overrides(changes), normalisation="range")
    kept = RunForm().settings(continued=model)
    assert (kept.network.filters, kept.image.normalisation) == (5, "range")
    assert kept.loss == preset("fast").loss
    wanted = RunForm(overrides={"network.filters": 4}).settings(continued=model)
    assert wanted.network.filters == 4, "what the user asks for is refused later, not ignored"
    paper = RunForm(preset="paper").settings(continued=model)
    assert paper == preset("paper"), "another preset is another training"


def test_live_annotations_reach_a_training_with_the_same_classes(session):
    class Stub:
        def __init__(self, classes):
            self.classes = classes

    session.update_annotations(Stub(("background", "a")))  # idle: nothing to do
    ticket = session.begin("training", classes=("background", "a"))
    first, second = Stub(("background", "a")), Stub(("background", "a"))
    session.update_annotations(first)
    session.update_annotations(second)
    assert ticket.updates.take() is second
    assert ticket.updates.take() is None
    session.update_annotations(Stub(("background", "b")))
    assert ticket.updates.take() is None
    assert "next Train" in session.messages[-1][1]


def test_curves_continue_where_the_last_run_stopped():
    curves = Curves()
    curves.add(Progress(10, None, 1, None, {"total": 1.0}, 0.2))
    curves.continue_from(10)
    curves.add(Progress(1, None, 1, None, {"total": 0.5, "labels": 0.1}, None))
    assert curves.steps == [10, 11]
    assert curves.losses["total"] == [1.0, 0.5]
    assert len(curves.losses["labels"]) == 2
    assert len(curves.proportion_error) == 2


def test_curves_of_a_continuation_that_failed_go_with_the_next_one():
    curves = Curves()
    curves.add(Progress(10, None, 1, None, {"total": 1.0}, 0.2))
    for _ in range(2):
        curves.continue_from(10)
        curves.add(Progress(3, None, 1, None, {"total": 0.5}, 0.1))
    assert curves.steps == [10, 13]
    assert curves.continued == [10]


@pytest.mark.parametrize(("ends", "steps"), [(False, [5, 7, 9]), (True, [5, 10, 17, 19])])
def test_a_killed_run_is_drawn_again_from_its_checkpoint_on(ends, steps):
    start = RunStarted("training", 9, "cpu", ("background", "disc"))
    told = {step: Progress(step, 9, 1, None, {"total": 1.0}, 0.2) for step in (5, 7, 9, 10)}
    parts = [start, told[5], told[10], start, told[7], told[9]]
    if ends:  # and the next part counts anew
        parts.insert(3, RunFinished(FinishReason.completed, 10, 1.0))
    assert Curves.of_events(parts, steps[-1]).steps == steps


def test_curves_are_continued_after_another_image_failed_to_train(session):
    session.show_image("a")
    ticket = session.begin("training")
    session.take(ticket, Progress(20, None, 1.0, None, {"total": 0.1}, 0.1))
    session.finish(ticket, SimpleNamespace(n_steps=20))
    session.show_image("b")
    session.fail(session.begin("training"), ValueError())
    session.show_image("a")
    session.begin("training", continues=True)
    assert session.curves.continued == [20]


def test_models_of_images_that_were_left_are_let_go(session):
    class Weights:
        n_steps = 1

    def train(image):
        session.show_image(image)
        model = Weights()
        ticket = session.begin("training")
        session.take(ticket, Progress(1, None, 1.0, None, {"total": 0.1}, 0.1))
        session.finish(ticket, model)
        return weakref.ref(model)

    models = [train(image) for image in ("a", "b", "c")]
    gc.collect()
    assert [model() is not None for model in models] == [False, False, True]


def test_a_continued_run_counts_the_steps_before_it(session):
    session.model = SimpleNamespace(n_steps=20)
    ends, _, _ = record(session)
    ticket = session.begin("training", continues=True)
    session.take(ticket, Progress(3, 6, 2.0, 3.0, {"total": 0.5}, 0.1))
    assert "step 23 of 26" in str(session.status)
    assert session.status.fraction == 0.5
    assert session.curves.steps == [23]
    session.take(ticket, RunFinished(FinishReason.completed, 6, 2.0))
    session.finish(ticket, SimpleNamespace(n_steps=26))
    assert ends[0].text == "Training finished: 6 more steps in 2 s, 26 in all."


@pytest.mark.parametrize(
    ("done", "told"),
    [
        (36, "Training stopped after 36 of 600 steps: too few for a good map. Continue goes on"),
        (400, "Training stopped after 400 steps in 2 s; the model so far is ready to use."),
    ],
)
def test_a_run_that_was_stopped_says_if_it_was_too_early(session, done, told):
    ends, _, _ = record(session)
    ticket = session.begin("training")
    session.take(ticket, Progress(done, 600, 2.0, 3.0, {"total": 0.5}, 0.1))
    session.take(ticket, RunFinished(FinishReason.stopped, done, 2.0, total=600))
    session.finish(ticket, SimpleNamespace(n_steps=done))
    assert ends[0].text.startswith(told)


def test_a_run_that_time_ended_says_so_and_goes_on_with_its_own_steps(session):
    session.model = SimpleNamespace(n_steps=20)
    ends, _, _ = record(session)
    ticket = session.begin("training", continues=True)
    session.take(ticket, Progress(3, 6, 2.0, 3.0, {"total": 0.5}, 0.1))
    session.take(ticket, RunFinished(FinishReason.time_limit, 3, 2.0, total=6))
    session.finish(ticket, SimpleNamespace(n_steps=23))
    assert ends[0].kind is EndKind.cut_short
    assert ends[0].text.startswith("Time was up after 23 of 26 steps: too few.")
    assert "Continue" in ends[0].text
    ticket = session.begin("training", continues=True, resumes=True)
    session.take(ticket, Progress(4, 6, 2.5, 3.0, {"total": 0.4}, 0.1))
    assert "step 24 of 26" in str(session.status)
    assert session.curves.steps == [23, 24]
    assert session.curves.continued == [20, 23]


def test_curves_of_one_model_do_not_go_on_with_a_loaded_one(session):
    train = session.begin("training")
    session.take(train, Progress(50, None, 2.0, 3.0, {"total": 0.5}, 0.1))
    session.finish(train, SimpleNamespace(n_steps=50))
    session.finish(session.begin("loading"), LoadedRun(SimpleNamespace(n_steps=20)))
    session.take(
        session.begin("training", continues=True), Progress(1, None, 1.0, None, {"total": 0.1}, 0.1)
    )
    assert session.curves.steps == [21]


def test_curves_keep_a_bounded_number_of_points():
    curves = Curves()
    for step in range(1, 9001):
        curves.add(Progress(step, None, 1, None, {"total": float(step)}, 0.0))
    assert 1000 <= len(curves.steps) <= 2000
    assert curves.losses["total"] == [float(step) for step in curves.steps]
    assert curves.steps[-1] > 8900


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (125, "2 min 5 s"), (120, "2 min"), (4800, "1 h 20 min")],
)
def test_durations_are_written_for_people(seconds, text):
    assert duration(seconds) == text
