"""The second look in the dock, with a stand-in for the core's runs."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from draining import drain
from eye import button, offered, said
from fake_core import fake_train
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QApplication, QComboBox

from napari_spss.core.annotations import Annotations, CountingGrid, Look, Region
from napari_spss.core.base import (
    Agreement,
    CancelToken,
    FinishReason,
    Predicted,
    RunFinished,
    RunStarted,
)
from napari_spss.core.images import stack_from_array
from napari_spss.gui import controller as controller_module, trainings as trainings_module
from napari_spss.gui.jobs import find_doubtful
from napari_spss.gui.models import RunForm

CLASSES = ("background", "mitochondria")
GRID = CountingGrid(1, 8.0, 4.0, 4.0, [4.0] * 4, 4.0 + 8.0 * np.arange(4), [0, 1, 0, 1], True)
SAID = Annotations(CLASSES, grids=(GRID,))
LOOKS = tuple(Look(Region(1), 4.0, float(GRID.x[i]), i % 2, 1 - i % 2, 0.5) for i in range(4))


class Jobs:
    """Stands in for the runs; keeps the settings of each training."""

    def __init__(self):
        self.settings = []
        self.gate = threading.Event()
        self.gate.set()

    def train(self, job, *, token):
        self.settings.append(job.settings)
        yield Agreement(4, 0.75, (0.5, 0.5), 0.5, False, (0.75, 0.25))
        return (yield from fake_train(job, token=token))

    def find(self, model, stack, annotations, *, device, token):
        yield RunStarted("prediction", 1, "cpu", CLASSES)
        while not self.gate.wait(0.005):
            if token.is_cancelled:
                yield RunFinished(FinishReason.stopped, 0, 0.1)
                return ()
        yield Predicted(1, None, 0.1)
        yield RunFinished(FinishReason.completed, 1, 0.1)
        return LOOKS


@pytest.fixture
def jobs(monkeypatch):
    jobs = Jobs()
    monkeypatch.setattr(trainings_module, "train", jobs.train)
    monkeypatch.setattr(controller_module, "find_doubtful", jobs.find)
    return jobs


@pytest.fixture
def dock(jobs, viewer, open_dock):
    viewer.add_image(np.random.default_rng(0).integers(0, 255, (3, 32, 48), np.uint8), name="em")
    dock = open_dock()
    dock.annotate.set_value(SAID)
    return dock


def wait(dock, qtbot):
    qtbot.waitUntil(lambda: not dock.session.status.is_busy)


def train(dock, qtbot, **overrides):
    dock.train.set_value(RunForm(overrides=overrides))
    assert dock.start_training()
    wait(dock, qtbot)


def look_button(dock):
    return button(dock.results, next(text for text in offered(dock.results) if "node" in text))


def look(dock, qtbot, *verdicts):
    look_button(dock).click()
    wait(dock, qtbot)
    for verdict in verdicts:
        dock.annotate.second_look.judge(verdict)


def test_the_nodes_appear_and_what_is_said_is_learned(dock, jobs, qtbot):
    train(dock, qtbot)
    assert jobs.settings[0].labels.node_error == 0.05
    look(dock, qtbot, 1, 0, 0, 1)  # two of four were wrong, as the map let expect
    assert "press Continue" in said(dock.bar)
    train(dock, qtbot)
    assert jobs.settings[1].labels.node_error == 0.05
    (grid,) = dock.annotations().grids
    assert grid.class_index.tolist() == [1, 0, 0, 1]
    gained = [text for _, text in dock.session.messages if text.startswith("With 2 changed nodes,")]
    assert len(gained) == 1
    assert not look_button(dock).isEnabled()  # all were looked at


def test_a_small_image_is_shown_larger_than_as_a_whole(dock, viewer, qtbot):
    train(dock, qtbot)
    viewer.reset_view()
    camera = getattr(viewer, "scene", viewer).camera
    whole = camera.zoom
    look(dock, qtbot)
    assert camera.zoom > whole


@pytest.mark.window
def test_labels_are_hidden_as_long_as_nodes_are_looked_at(dock, viewer, qtbot):
    train(dock, qtbot)
    labels = viewer.layers["em preview labels"]
    look(dock, qtbot, 1, 0)
    assert not labels.visible
    dock.annotate.show_tab(0)
    assert labels.visible
    dock.annotate.show_tab(1)
    assert not labels.visible
    labels.visible = True
    dock.annotate.second_look.judge(0)
    assert labels.visible  # as the user wants it
    dock.annotate.second_look.end()
    assert labels.visible
    assert "hidden" not in dock.bar.text()


def test_next_tells_how_many_nodes_are_left(dock, qtbot):
    train(dock, qtbot)
    assert "A second look, there, finds nodes" in said(dock.bar)
    look(dock, qtbot)
    told = "Second look: 4 nodes about which map and person differ most."
    assert told in [text for _, text in dock.session.messages]
    assert dock.bar.text() == "Labels and maps are hidden while you look at nodes again."
    assert "second look (4 nodes are left)" in said(dock.bar)
    dock.annotate.second_look.judge(0)
    assert "second look (3 nodes are left)" in said(dock.bar)
    dock.annotate.second_look.end()
    assert "press Continue" in said(dock.bar)


def test_the_log_tells_of_second_looks(dock, qtbot):
    train(dock, qtbot)
    look(dock, qtbot, 1, 0)
    actions = dock.project.project.log.actions
    assert [(one.kind, one.n_items) for one in actions if one.kind == "look"] == [("look", 1)] * 2


@pytest.mark.window
def test_keys_go_to_the_viewer_after_a_button_of_the_dock(dock, viewer, qtbot):
    window = dock.window()
    window.show()
    window.activateWindow()
    qtbot.waitUntil(lambda: window.isActiveWindow())
    train(dock, qtbot)
    panel, search = dock.annotate.second_look, look_button(dock)
    search.setFocus()
    qtbot.mouseClick(search, Qt.MouseButton.LeftButton)
    wait(dock, qtbot)
    qtbot.waitUntil(lambda: panel.current is not None)
    for n_seen in (1, 2):
        qtbot.keyClick(QApplication.focusWidget(), Qt.Key.Key_K)
        assert sum(look.verdict is not None for look in panel.value()) == n_seen
    while panel.current is not None:
        qtbot.mouseClick(button(panel, "Keep (K)"), Qt.MouseButton.LeftButton)
    assert not isinstance(QApplication.focusWidget(), (QComboBox, QAbstractItemView))
    assert panel.visibleRegion().boundingRect().height() > 0


def test_expected_errors_follow_what_was_found_unless_they_are_stated(dock, jobs, qtbot):
    train(dock, qtbot)
    look(dock, qtbot, 0, 1, 0, 1)  # all kept
    train(dock, qtbot)
    assert jobs.settings[1].labels.node_error == pytest.approx(0.05 / 3, abs=1e-4)
    (told,) = [t for _, t in dock.session.messages if t.startswith("Second look: 4 nodes looked")]
    assert "0 changed, 0 unsure; of the others, 1.7 % may be wrong" in told
    train(dock, qtbot, **{"labels.node_error": 0.2})
    assert jobs.settings[2].labels.node_error == 0.2


def test_a_search_that_was_stopped_or_is_of_another_image_shows_nothing(dock, viewer, jobs, qtbot):
    train(dock, qtbot)
    jobs.gate.clear()
    look_button(dock).click()
    assert str(dock.session.status).startswith("Looking for doubtful nodes")
    assert not look_button(dock).isEnabled()
    dock.session.stop()
    wait(dock, qtbot)
    assert dock.annotate.second_look.value() == ()
    assert dock.bar.text() == "Looking for doubtful nodes was stopped after 0 regions."
    look_button(dock).click()
    dock.image.set_layer(viewer.add_image(np.zeros((3, 32, 48), np.uint8), name="other"))
    jobs.gate.set()
    wait(dock, qtbot)
    assert dock.source.name == "other"
    assert dock.annotate.second_look.value() == ()


def test_it_is_refused_without_nodes_and_with_other_classes(dock, qtbot):
    train(dock, qtbot)
    styles = dock.classes.value()
    dock.annotate.set_value(Annotations(CLASSES))
    assert look_button(dock).text() == "no node to look at"
    assert not dock.controller.find_doubtful()
    assert "count a grid" in dock.bar.text()
    dock.annotate.set_value(SAID)
    renamed = (styles[0], styles[1].__class__("other", "#00ff00", "W"))
    dock.classes.set_value(renamed)
    assert not look_button(dock).isEnabled()
    assert "you state" in look_button(dock).toolTip()
    assert not dock.controller.find_doubtful()
    assert "The classes are others than those of the model" in dock.bar.text()


def test_the_job_ranks_nodes_and_gives_none_of_which_it_is_sure():
    import torch

    from napari_spss.core.base import preset
    from napari_spss.core.networks import last_layer
    from napari_spss.core.prediction import predict_slice
    from napari_spss.core.training import iter_training

    stack = stack_from_array(np.random.default_rng(0).integers(0, 255, (3, 32, 48), np.uint8))
    tiny = {"optimisation.max_steps": 2, "network.filters": 2, "sampling.crop_px": 32}
    run = iter_training(stack, SAID, preset("fast").with_overrides(tiny), device="cpu")
    _, model = drain(run)
    events, looks = drain(find_doubtful(model, stack, SAID, device="cpu", token=CancelToken()))
    assert events[-1].reason is FinishReason.completed
    maps = predict_slice(model, stack, 1, device="cpu")[:, 4, GRID.x.astype(int)]
    doubt = 1 - maps[GRID.class_index, np.arange(4)]
    in_order = GRID.x[np.argsort(-doubt, kind="stable")].tolist()
    assert [look.x for look in looks] == in_order[: len(looks)]
    assert looks
    token = CancelToken()
    token.cancel()
    events, looks = drain(find_doubtful(model, stack, SAID, device="cpu", token=token))
    assert (events[-1].reason, looks) == (FinishReason.stopped, ())
    last = model.network.get_submodule(last_layer(model.network))
    with torch.no_grad():  # background everywhere, for certain
        last.weight.zero_()
        last.bias.fill_(-20.0)
    _, looks = drain(find_doubtful(model, stack, SAID, device="cpu", token=CancelToken()))
    assert [look.stated for look in looks] == [1, 1]
