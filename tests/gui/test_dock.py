"""The dock on a viewer, with a stand-in for the core's runs."""

from __future__ import annotations

import dataclasses
import itertools
import threading

import numpy as np
import pytest
from eye import (
    button,
    choice,
    click_on,
    log_of,
    number,
    offered,
    pick,
    said,
    wait,
    warned,
    windows_opened,
)
from fake_core import FakeModel, failing_train, fake_apply, fake_train, gated_train
from napari.layers import Image, Labels
from napari.settings import get_settings
from napari.utils.key_bindings import coerce_keybinding
from napari.utils.theme import get_theme
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QSpinBox,
    QTabBar,
    QTableView,
    QWidget,
)
from superqt import QLabeledDoubleSlider

from napari_spss.core.annotations import (
    Annotations,
    ClassStyle,
    CountingGrid,
    Keypoint,
    Proportion,
    Region,
    lay_frames,
    lay_grid,
)
from napari_spss.core.base import (
    FinishReason,
    InputError,
    KeypointsChecked,
    Message,
    OutOfMemory,
    Predicted,
    Preview,
    RunFinished,
    RunStarted,
)
from napari_spss.gui import controller as controller_module, trainings as trainings_module
from napari_spss.gui.dock import SpssDock
from napari_spss.gui.layers import SourceFrame
from napari_spss.gui.layers.source_frame import camera_of
from napari_spss.gui.models import Curves, DeviceProbe, DurationProbe, LoadedRun, RunForm
from napari_spss.gui.widgets import Section
from napari_spss.gui.widgets.plots import CurvesPlot
from napari_spss.gui.widgets.theme import contrast, mark_of

CLASSES = ("background", "mitochondria")
TAKE_OVER = "Use classes and settings of the image before"
SHAPE = (4, 32, 48)
SAID = Annotations(
    CLASSES,
    proportions=(Proportion(Region(0), (None, 0.1)), Proportion(Region(2), (None, 0.6))),
    keypoints=(Keypoint(1, 5.0, 7.0, 1),),
)


pytestmark = pytest.mark.usefixtures("fake_runs")


def pixels(seed=0):
    return np.random.default_rng(seed).integers(0, 255, SHAPE, np.uint8)


@pytest.fixture
def dock(viewer, open_dock):
    viewer.add_image(pixels(), name="em", scale=(40, 4, 4), units=("nm",) * 3)
    return open_dock()


def is_idle(dock):
    return not dock.session.status.is_busy


def say(dock):
    dock.annotate.set_value(SAID)


def run(dock, qtbot):
    say(dock)
    assert dock.start_training()
    qtbot.waitUntil(lambda: is_idle(dock))


def names(viewer):
    return [layer.name for layer in viewer.layers]


def test_nothing_flashes_up_beside_the_window(viewer, open_dock, qtbot):
    viewer.add_image(pixels(), name="em", scale=(40, 4, 4), units=("nm",) * 3)
    with windows_opened() as opened:
        dock = open_dock()
        run(dock, qtbot)
        button(dock, "Add class").click()
        viewer.add_image(pixels(1), name="another")
    assert not opened


def test_train_is_offered_once_something_is_said(dock, qtbot):
    assert not button(dock.train, "Train").isEnabled()
    assert "State fractions" in said(dock.bar)
    assert "State fractions" in button(dock.train, "Train").toolTip()
    assert "State fractions" not in said(dock.train)  # one place is enough
    say(dock)
    assert button(dock.train, "Train").isEnabled()
    assert not button(dock.train, "Continue").isEnabled()
    run(dock, qtbot)
    assert button(dock.train, "Continue").isEnabled()


def test_keypoints_have_the_radius_of_the_settings_from_the_start(dock):
    say(dock)
    radius_px = RunForm().settings().radius_of_keypoints_px()
    assert dock.annotate.keypoints.layer.size.tolist() == [2 * radius_px + 1]


def test_what_was_laid_and_not_counted_comes_next(dock):
    grid = lay_grid(0, (32, 48), n_side=4, rng=np.random.default_rng(0))
    dock.annotate.set_value(Annotations(CLASSES, grids=[grid]))
    assert "Count what was laid under Annotate, Grid" in said(dock.bar)


def test_a_refusal_is_taken_back_once_something_else_is_said(dock, qtbot):
    assert not dock.start_training()
    assert "Nothing is annotated yet" in dock.bar.text()
    say(dock)
    assert dock.bar.text() == ""
    assert "press Train" in said(dock.bar)


def test_a_training_previews_the_shown_slice_and_leaves_a_model(dock, viewer, qtbot):
    viewer.dims.set_point(0, 2 * 40)
    run(dock, qtbot)
    preview = viewer.layers["em preview mitochondria"]
    np.testing.assert_allclose(preview.translate, (80, 0, 0))
    assert viewer.layers["em preview labels"].data.sum() == 16 * 48
    assert dock.session.model.classes == CLASSES
    assert dock.session.curves.steps == [1, 2]
    assert "Training finished" in dock.bar.text()


def test_the_curves_are_drawn_once_the_run_goes_on(dock, qtbot):
    run(dock, qtbot)
    qtbot.waitUntil(lambda: dock.train.findChild(CurvesPlot) is not None)
    assert dock.train.findChild(CurvesPlot).names() == ("total",)


def test_rings_are_as_large_as_what_a_keypoint_labels(dock):
    say(dock)
    for diameter_px, size_px in ((100, 17.0), (16, 5.0)):  # at most an eighth of it on each side
        dock.image.set_diameter(diameter_px)
        assert dock.annotate.keypoints.layer.size.tolist() == [size_px]


def test_keypoints_that_the_trained_map_denies_are_crossed_and_counted(dock, qtbot, monkeypatch):
    def train(job, *, token):
        point = job.annotations.keypoints[0]
        denied = (point.slice, point.y, point.x, point.class_index)
        steps = fake_train(job, token=token)
        yield from itertools.takewhile(lambda event: not isinstance(event, RunFinished), steps)
        yield KeypointsChecked(1, (denied,))
        yield RunFinished(FinishReason.completed, 2, 2.0)
        return FakeModel(job.annotations.classes)

    monkeypatch.setattr(trainings_module, "train", train)
    run(dock, qtbot)
    assert [str(symbol) for symbol in dock.annotate.keypoints.layer.symbol] == ["x"]
    told = warned(dock.annotate.keypoints)
    assert told.startswith("1 of 1 keypoint did not take effect")
    assert dock.bar.text() == f"Training finished: 2 steps in 2 s. {told}"
    assert dock.annotations() == SAID

    def load(*_, **__):
        yield RunStarted("prediction", 1, "", ())
        yield RunFinished(FinishReason.completed, 1, 1.0)
        return LoadedRun(FakeModel(SAID.classes), Curves(), None)

    monkeypatch.setattr(trainings_module, "load_run", load)
    dock.trainings.load("an earlier run")
    qtbot.waitUntil(lambda: is_idle(dock))
    assert [str(symbol) for symbol in dock.annotate.keypoints.layer.symbol] == ["disc"]
    assert warned(dock.annotate.keypoints) == ""


@pytest.mark.parametrize("is_annotated", [False, True])
def test_a_loaded_model_brings_its_classes_where_nothing_is_said(
    dock, qtbot, monkeypatch, is_annotated
):
    def load(*_, **__):
        yield RunStarted("prediction", 1, "", ())
        yield RunFinished(FinishReason.completed, 1, 1.0)
        return LoadedRun(FakeModel(("background", "myelin", "axon")), Curves(), None)

    if is_annotated:
        dock.annotate.set_value(Annotations(dock.classes.names(), keypoints=SAID.keypoints))
    before = dock.classes.value()
    monkeypatch.setattr(trainings_module, "load_run", load)
    dock.trainings.load("the run of another image")
    qtbot.waitUntil(lambda: is_idle(dock))
    if is_annotated:
        assert dock.classes.value() == before
    else:
        assert dock.classes.names() == ("background", "myelin", "axon")
        assert [style.key for style in dock.classes.value()] == ["Q", "W", "H"]


def test_one_click_applies_the_smaller_setting(dock, qtbot, monkeypatch):
    seen = []
    error = OutOfMemory("Memory ran out.", setting="sampling.crop_px", value=128)
    monkeypatch.setattr(trainings_module, "train", failing_train(error))
    run(dock, qtbot)
    (offer,) = offered(dock.bar)
    assert "crop_px = 128" in offer

    def train(job, *, token):
        seen.append(job.settings.sampling.crop_px)
        yield from fake_train(job, token=token)

    monkeypatch.setattr(trainings_module, "train", train)
    button(dock.bar, *offered(dock.bar)).click()
    qtbot.waitUntil(lambda: is_idle(dock))
    assert seen == [128]


@pytest.mark.parametrize(
    ("setting", "value", "continues"),
    [("sampling.batch_size", 2, True), ("network.filters", 4, False)],
)
def test_one_click_goes_on_with_the_model_that_was_to_be_continued(
    dock, qtbot, monkeypatch, setting, value, continues
):
    run(dock, qtbot)
    model = dock.session.model
    started_from = []
    error = OutOfMemory("Memory ran out.", setting=setting, value=value)
    monkeypatch.setattr(trainings_module, "train", failing_train(error))
    assert dock.start_training(continues=True)
    qtbot.waitUntil(lambda: is_idle(dock))

    def train(job, *, token):
        started_from.append(job.start_from)
        yield from fake_train(job, token=token)

    monkeypatch.setattr(trainings_module, "train", train)
    button(dock.bar, *offered(dock.bar)).click()
    qtbot.waitUntil(lambda: is_idle(dock))
    assert started_from == [model if continues else None]


@pytest.mark.parametrize(
    ("setting", "value", "text"),
    [("device", "cpu", "Set device = cpu and apply again"), ("tile_px", 64, "")],
)
def test_one_click_applies_again_on_another_device(dock, qtbot, monkeypatch, setting, value, text):
    run(dock, qtbot)
    seen = []

    def apply(*arguments, device, token):
        seen.append(device)
        if len(seen) == 1:
            raise OutOfMemory("Memory ran out.", setting=setting, value=value)
        yield from fake_apply(*arguments, device=device, token=token)

    monkeypatch.setattr(controller_module, "apply_model", apply)
    dock.results.set_scope("slice")
    button(dock.results, "Apply").click()
    qtbot.waitUntil(lambda: is_idle(dock))
    assert offered(dock.bar) == [text] * bool(text)
    if text:
        button(dock.bar, text).click()
        qtbot.waitUntil(lambda: is_idle(dock))
        assert seen == ["auto", "cpu"]
        assert dock.controller.outcome.maps.full_slices == (dock.controller.current_slice(),)


def test_maps_that_are_made_otherwise_are_not_mixed_with_those_at_hand(dock, qtbot, monkeypatch):
    seen = []

    def apply(model, stack, maps, regions, making, **options):
        seen.append((making.flips, making.smooth_z))
        yield from fake_apply(model, stack, maps, regions, making, **options)

    monkeypatch.setattr(controller_module, "apply_model", apply)
    run(dock, qtbot)
    settings = dock.session.model.settings
    dock.session.model.settings = settings.with_overrides({"image.object_diameter_px": 40})
    apply_to_all(dock, qtbot)
    button(dock.results, "mirror images").click()
    button(dock.results, "along z").click()
    assert len(dock.controller.outcome.maps.full_slices) > 1
    dock.results.set_scope("slice")
    button(dock.results, "Apply").click()
    qtbot.waitUntil(lambda: is_idle(dock))
    assert seen == [(False, None), (True, False)]
    assert dock.controller.outcome.maps.full_slices == (dock.controller.current_slice(),)


def test_along_z_is_offered_where_slices_can_be_averaged(dock, viewer, qtbot):
    box = button(dock.results, "along z")
    assert (box.isEnabled(), box.isChecked()) == (True, True)
    dock.image.state_voxel_size((None, 0.004, 0.004))
    assert (box.isEnabled(), box.isChecked()) == (False, False)
    assert dock.results.map_making().smooth_z is None  # where it can be, as for many images
    dock.image.state_voxel_size((0.04, 0.004, 0.004))
    box.click()
    dock.image.set_layer(viewer.add_image(pixels()[0], name="flat", scale=(4, 4), units="nm"))
    assert (box.isEnabled(), box.isChecked()) == (False, False)
    dock.image.set_layer(viewer.layers["em"])
    assert (box.isEnabled(), box.isChecked()) == (True, False)
    run(dock, qtbot)
    assert not box.isEnabled()  # the model knows of no object's width


def test_a_slice_without_a_preview_does_not_end_the_previews(dock, viewer, qtbot, monkeypatch):
    def train(job, *, token):
        for _ in range(3):
            assert job.gate() is not None  # asked for, and found to be unreadable
        yield from fake_train(job, token=token)

    monkeypatch.setattr(trainings_module, "train", train)
    run(dock, qtbot)
    assert "em preview labels" in [layer.name for layer in viewer.layers]


def test_no_preview_is_asked_for_while_one_is_on_its_way():
    gate = trainings_module.PreviewGate()
    gate.slice = 3
    assert (gate(), gate()) == (3, 3)
    gate.close()
    gate.slice = 4
    assert gate() is None
    gate.open()
    assert gate() == 4


def test_a_second_run_is_refused_and_stop_hands_over_the_model(dock, qtbot, monkeypatch):
    monkeypatch.setattr(trainings_module, "train", gated_train(threading.Event()))
    say(dock)
    assert dock.start_training()
    assert not dock.start_training()
    assert not dock.controller.apply("slice")
    assert "in progress" in dock.bar.text()
    qtbot.waitUntil(lambda: dock.session.status.done == 2)
    button(dock.bar, "Stop").click()
    assert dock.session.status.is_stopping
    qtbot.waitUntil(lambda: is_idle(dock))
    assert dock.session.model is not None


@pytest.mark.parametrize("what", ["delete", "rename", "replace", "other pixels"])
def test_a_run_survives_what_happens_to_its_image(dock, viewer, qtbot, monkeypatch, what):
    gate = threading.Event()
    monkeypatch.setattr(trainings_module, "train", gated_train(gate))
    say(dock)
    dock.start_training()
    qtbot.waitUntil(lambda: "em preview labels" in names(viewer))
    layer = viewer.layers["em"]
    if what == "delete":
        viewer.layers.remove(layer)
    elif what == "rename":
        layer.name = "renamed"
    elif what == "replace":
        viewer.layers.remove(layer)
        viewer.add_image(pixels(1), name="em")
    else:
        layer.data = pixels(2)[:2]
    gate.set()
    qtbot.waitUntil(lambda: is_idle(dock))
    assert dock.session.model is not None
    assert [end for end in dock.session.messages if end[0] == "error"] == []


def test_an_object_diameter_stated_during_a_training_is_said_to_be_for_the_next(
    dock, qtbot, monkeypatch
):
    gate = threading.Event()
    monkeypatch.setattr(trainings_module, "train", gated_train(gate))
    say(dock)
    dock.image.set_diameter(30)
    dock.start_training()
    assert "The object diameter changed" not in str(dock.session.messages)
    dock.image.set_diameter(40)
    told = ("warning", "The object diameter changed: that takes effect at the next Train.")
    assert told in dock.session.messages
    gate.set()
    qtbot.waitUntil(lambda: is_idle(dock))
    dock.image.set_diameter(50)
    assert dock.session.messages.count(told) == 1


def test_annotations_of_a_deleted_image_come_back_with_it(dock, viewer, qtbot):
    say(dock)
    viewer.layers.remove("em")
    viewer.add_image(pixels(1), name="other")
    assert dock.annotations().is_empty
    viewer.layers.remove("other")
    viewer.add_image(pixels(), name="em again")
    assert dock.annotations() == SAID


def test_clicks_on_nodes_can_be_taken_back_after_another_image_was_shown(dock, viewer):
    grid, em = dock.annotate.grid, viewer.layers["em"]
    grid.lay_grid()
    for node in (1, 2):
        click_on(grid.layer, grid.layer.data[node])
    marked = grid.value()
    other = viewer.add_image(pixels(1), name="other")
    dock.image.set_layer(other)
    grid.lay_grid()
    grid.undo()
    grid.undo()
    assert grid.value() == ()
    dock.image.set_layer(em)
    assert grid.value() == marked
    grid.undo()
    assert list(np.flatnonzero(grid.value()[0].class_index == 1)) == [1]
    dock.image.set_layer(other)
    dock.image.set_layer(em)
    grid.redo()
    assert grid.value() == marked


def test_keypoints_can_be_taken_back_after_another_image_was_shown(dock, viewer):
    keypoints, em = dock.annotate.keypoints, viewer.layers["em"]
    keypoints.start_adding()
    keypoints.layer.add((1, 7.3, 9.1))
    keypoints.layer.add((1, 20.7, 5.25))
    stated = keypoints.value()
    dock.image.set_layer(viewer.add_image(pixels(1), name="other"))
    dock.image.set_layer(em)
    assert keypoints.value() == stated
    keypoints.layer.keymap[coerce_keybinding("Control-Z")](keypoints.layer)
    assert keypoints.value() == stated[:1]
    keypoints.layer.keymap[coerce_keybinding("Control-Shift-Z")](keypoints.layer)
    assert keypoints.value() == stated


def test_typed_fractions_can_be_taken_back_after_another_image_was_shown(dock, viewer):
    fractions, em = dock.annotate.fractions, viewer.layers["em"]
    table = fractions.view.model()
    for text in ("6", "7"):
        table.setData(table.index(0, 0), text)
    stated = fractions.value()
    other = viewer.add_image(pixels(1), name="other")
    dock.image.set_layer(other)
    table.undo()
    assert fractions.value() == ()
    dock.image.set_layer(em)
    assert fractions.value() == stated
    table.undo()
    assert [one.fractions[1] for one in fractions.value()] == [0.06]
    dock.image.set_layer(other)
    dock.image.set_layer(em)
    table.redo()
    assert fractions.value() == stated


def test_both_counts_propose_by_the_diameter_that_is_stated(dock):
    asks = "State or measure the object diameter"
    counts = (dock.annotate.grid, dock.annotate.check)
    for tab, counting in zip((1, 4), counts, strict=True):
        dock.annotate.show_tab(tab)
        button(counting, "Propose").click()
        assert asks in said(counting)
    number(dock.image, "px").setValue(60)
    for tab, counting in zip((1, 4), counts, strict=True):
        dock.annotate.show_tab(tab)
        button(counting, "Propose").click()
        assert asks not in said(counting)


def test_the_time_of_a_training_is_measured_once_devices_were_found(viewer, qtbot, monkeypatch):
    asked = []
    monkeypatch.setattr(DurationProbe, "ask", lambda *_: asked.append(True))
    monkeypatch.setattr(DeviceProbe, "start", lambda _: None)
    with monkeypatch.context() as patch:
        patch.setattr(DeviceProbe, "is_running", True)
        dock = SpssDock(viewer)
        qtbot.addWidget(dock)
        number(dock.image, "px").setValue(60)
        assert not asked
    dock.findChild(DeviceProbe).found.emit((), "")
    assert asked
    dock.shut_down()


@pytest.mark.parametrize("is_stopped", [False, True])
def test_how_long_a_whole_training_took_is_noted(dock, qtbot, monkeypatch, is_stopped):
    taken = []
    monkeypatch.setattr(DurationProbe, "note", lambda _, seconds: taken.append(seconds))
    gate = threading.Event()
    monkeypatch.setattr(trainings_module, "train", gated_train(gate))
    say(dock)
    assert dock.start_training()
    if is_stopped:
        dock.session.stop()
    gate.set()
    qtbot.waitUntil(lambda: is_idle(dock))
    assert taken == ([] if is_stopped else [2.0])


def test_what_was_painted_and_erased_is_nothing_to_train_on(dock):
    painted = dock.annotate.painted
    painted.start_painting()
    place = ([1], [4], [6])
    painted.layer.data_setitem(tuple(map(np.array, place)), 2)
    assert button(dock.train, "Train").isEnabled()
    painted.layer.data_setitem(tuple(map(np.array, place)), 0)
    assert not button(dock.train, "Train").isEnabled()
    painted.layer.undo()
    assert button(dock.train, "Train").isEnabled()


def test_what_was_restored_is_said_until_something_is_changed(dock, viewer):
    grid, em = dock.annotate.grid, viewer.layers["em"]
    grid.lay_grid()
    dock.image.set_layer(viewer.add_image(pixels(1), name="other"))
    dock.image.set_layer(em)
    assert "1 grid still open" in dock.bar.text()
    grid.finish()
    assert dock.bar.text() == ""


@pytest.mark.window
def test_closing_the_viewer_ends_the_run(dock, viewer, qtbot, monkeypatch):
    tokens = []
    monkeypatch.setattr(trainings_module, "train", gated_train(threading.Event(), tokens))
    say(dock)
    dock.start_training()
    qtbot.waitUntil(lambda: dock.session.status.done == 2)
    folder = dock.project.folder
    viewer.close()
    qtbot.waitUntil(lambda: tokens[0].is_cancelled)
    assert (folder / "keypoints.csv").exists()
    qtbot.waitUntil(lambda: not (folder / ".lock").exists())


def test_a_closed_dock_leaves_nothing_connected_to_the_viewer(viewer, open_dock):
    image = viewer.add_image(pixels(), name="em")
    heard = [
        *(viewer.layers.events, viewer.layers.events.inserted, viewer.layers.events.removed),
        *(viewer.dims.events.point, image.events.data, image.events.scale, image.events.name),
    ]
    before = [len(signal.callbacks) for signal in heard]
    dock = open_dock()
    say(dock)
    dock.annotate.painted.start_painting()
    assert [len(signal.callbacks) for signal in heard] > before
    viewer.layers.selection.active = image
    dock.shut_down()
    for layer in list(viewer.layers)[1:]:
        viewer.layers.remove(layer)  # they listen to the list, too
    assert [len(signal.callbacks) for signal in heard] == before


@pytest.mark.window
def test_closing_the_dock_ends_the_run(dock, viewer, qtbot, monkeypatch):
    tokens = []
    monkeypatch.setattr(trainings_module, "train", gated_train(threading.Event(), tokens))
    say(dock)
    dock.start_training()
    qtbot.waitUntil(lambda: bool(tokens))
    viewer.window.remove_dock_widget(dock)
    assert tokens[0].is_cancelled
    assert dock.project.project is None


def test_what_frames_tell_of_the_stack_stands_beside_its_labels(dock, qtbot):
    frames = lay_frames((4, 32, 48), 4, 16, 2, rng=np.random.default_rng(0))
    frames = [one.with_class([0], 1).with_class([1, 2, 3], 0) for one in frames]
    dock.annotate.set_value(
        Annotations(CLASSES, grids=[one.replace(is_done=True) for one in frames])
    )
    assert dock.start_training()
    qtbot.waitUntil(lambda: is_idle(dock))
    for scope, is_told in (("slice", False), ("stack", True)):
        dock.results.set_scope(scope)
        button(dock.results, "Apply").click()
        wait(dock, qtbot)
        assert ("stated 25.0 %" in said(dock.results)) == is_told


def test_apply_to_the_stack_fills_labels_maps_and_fractions(dock, viewer, qtbot):
    run(dock, qtbot)
    dock.results.set_scope("stack")
    button(dock.results, "Apply").click()
    wait(dock, qtbot)
    assert names(viewer) == ["em", "em mitochondria probability", "em labels", "keypoints"]
    assert viewer.layers["em labels"].data.sum() == 4 * 16 * 48
    assert "of 4 slices; of 2 of them 50.0 %, stated 35.0 %" in said(dock.results)
    # .5 predicted; .1 and .6 stated; the fake core is as sure of one slice as of another
    assert dock.controller.outcome.slices_to_count() == (0, 2, 1, 3)
    dock.controller.outcome.take(Predicted(3, None, uncertainty=0.9))
    assert dock.controller.outcome.slices_to_count() == (3, 0, 2, 1)
    predicted = dock.controller.outcome.predicted_fractions()
    assert predicted[Region(3)] == pytest.approx((0.5, 0.5))
    assert button(dock.results, "Save results…").isEnabled()


def test_applying_to_another_image_of_unknown_pixel_size_is_told(dock, viewer, qtbot):
    viewer.layers["em"].units, viewer.layers["em"].scale = ("pixel",) * 3, (1, 1, 1)
    run(dock, qtbot)
    assert dock.controller.apply("slice")
    qtbot.waitUntil(lambda: is_idle(dock))
    assert not any("pixels wide" in text for _, text in dock.session.messages)
    dock.image.set_layer(viewer.add_image(pixels(seed=1), name="other"))
    assert dock.controller.apply("slice")
    qtbot.waitUntil(lambda: is_idle(dock))
    assert any("pixels wide" in text for _, text in dock.session.messages)


def test_apply_to_this_slice_and_to_a_rectangle(dock, viewer, qtbot):
    run(dock, qtbot)
    viewer.dims.set_point(0, 40)
    assert dock.controller.apply("slice")
    qtbot.waitUntil(lambda: is_idle(dock))
    assert not dock.controller.apply("rectangle")
    assert "no rectangle on slice 1" in dock.bar.text()
    viewer.dims.set_point(0, 3 * 40)
    dock.annotate.regions.set_value([Region(3, (8, 10, 24, 30))])
    assert dock.controller.apply("rectangle")
    wait(dock, qtbot)
    labels = viewer.layers["em labels"].data
    assert [int(plane.sum()) for plane in labels] == [0, 16 * 48, 0, 8 * 20]


def test_the_threshold_takes_effect_at_once_and_keeps_edited_labels(dock, viewer, qtbot):
    run(dock, qtbot)
    dock.controller.apply("stack")
    wait(dock, qtbot)
    labels = viewer.layers["em labels"]
    dock.results.findChild(QLabeledDoubleSlider).setValue(0.2)
    shown = dock.controller.current_slice()
    assert labels.data[shown].all()  # without waiting for the event loop
    qtbot.waitUntil(lambda: bool(labels.data.all()))
    assert choice(dock.results, "matched").currentText() == "as the slider says"
    labels.fill((0, 3, 3), 0)
    edited = labels.data.copy()
    dock.results.findChild(QLabeledDoubleSlider).setValue(0.95)
    qtbot.waitUntil(lambda: dock.controller.outcome.is_up_to_date)
    np.testing.assert_array_equal(labels.data, edited)
    assert not labels.visible  # the new ones are
    assert labels.name == "em labels edited"
    assert any("'em labels edited'" in text for _, text in dock.session.messages)
    fresh = [x for x in viewer.layers if isinstance(x, Labels) and x is not labels]
    assert [int(layer.data.sum()) for layer in fresh] == [0]


def test_the_matched_threshold_follows_what_is_stated(dock, qtbot):
    run(dock, qtbot)
    dock.controller.apply("stack")
    wait(dock, qtbot)
    dock.annotate.set_value(
        Annotations(CLASSES, (Proportion(Region(0), (0.0, 1.0)), Proportion(Region(1), (0.0, 1.0))))
    )
    qtbot.waitUntil(lambda: dock.controller.outcome.is_up_to_date)
    threshold = choice(dock.results, "matched")
    pick(threshold, threshold.itemText(1))
    assert dock.results.threshold() <= 0.301


def test_what_is_stated_of_other_classes_is_not_compared(dock, qtbot):
    """After a class is removed, numbers of the next one would stand beside those of its maps."""
    run(dock, qtbot)
    dock.controller.apply("stack")
    wait(dock, qtbot)
    outcome, table = dock.controller.outcome, dock.annotate.fractions.view.model()
    stated = (Proportion(Region(0), (0.0, 1.0)),)
    dock.annotate.set_value(Annotations(CLASSES, stated))
    qtbot.waitUntil(lambda: outcome.is_up_to_date)
    assert outcome.matched_threshold() is not None
    assert outcome.stated_mean(None)[CLASSES[1]][::2] == (1.0, 1)

    def predicted():
        (column,) = [
            column
            for column in range(table.columnCount())
            if table.columns[column].kind == "predicted"
        ]
        return table.index(0, column).data()

    assert predicted()
    styles = [*dock.classes.value(), ClassStyle("another", "#CC79A7", "H")]
    dock.classes.set_value(styles[::2])  # without mitochondria
    dock.annotate.set_value(Annotations((CLASSES[0], "another"), stated))
    qtbot.waitUntil(lambda: not predicted())
    assert outcome.matched_threshold() is None
    assert outcome.stated_mean(None) == {}
    dock.annotate.set_value(Annotations((CLASSES[0], "another"), (), grids=(counted_grid(1, 0.5),)))
    qtbot.waitUntil(lambda: outcome.slices_to_count() == (0, 2, 3))  # all that were not counted
    stated = (Proportion(Region(0), (0, 1, None)),)
    dock.classes.set_value([*styles[:2], ClassStyle("another", "#CC79A7", "H", is_outside=True)])
    dock.annotate.set_value(Annotations((*CLASSES, "another"), stated, outside="another"))
    qtbot.waitUntil(lambda: outcome.is_up_to_date)
    assert outcome.stated_mean(None) == {}  # stated of what is inside, found of all
    dock.classes.set_value(styles)
    dock.annotate.set_value(Annotations((*CLASSES, "another"), (Proportion(Region(0), (0, 1, 0)),)))
    qtbot.waitUntil(lambda: bool(predicted()))
    assert outcome.stated_mean(None)[CLASSES[1]][::2] == (1.0, 1)


def counted_grid(z, share):
    """A grid of 8 x 8 nodes, of which a share are hits."""
    grid = lay_grid(z, SHAPE[1:], n_side=8, rng=np.random.default_rng(z))
    hits = (np.arange(grid.n_nodes) < share * grid.n_nodes).astype(int)
    return dataclasses.replace(grid, class_index=hits, is_done=True)


def test_the_matched_threshold_follows_fractions_as_training_corrects_them(dock, qtbot):
    run(dock, qtbot)
    dock.controller.apply("stack")
    wait(dock, qtbot)
    typed = tuple(Proportion(Region(z), (0.04, 0.96)) for z in range(4))
    pick(choice(dock.results, "matched"), choice(dock.results, "matched").itemText(1))
    dock.annotate.set_value(Annotations(CLASSES, typed))
    qtbot.waitUntil(lambda: dock.controller.outcome.is_up_to_date)
    assert dock.results.threshold() <= 0.301  # all pixels, as is typed
    # of what was counted, 57 % are hits: what is typed of the other slices is too much as well
    grids = [counted_grid(0, 0.57), counted_grid(1, 0.57)]
    dock.annotate.set_value(Annotations(CLASSES, typed, grids=grids))
    qtbot.waitUntil(lambda: dock.controller.outcome.is_up_to_date)
    assert dock.results.threshold() == 0.5


def train_into_its_folder(job, *, token):
    job.run_dir.mkdir(parents=True)
    (job.run_dir / "config.toml").write_text(job.run_dir.name)
    return fake_train(job, token=token)


def apply_to_all(dock, qtbot):
    assert dock.controller.apply("stack")
    wait(dock, qtbot)


def predicted_column(dock):
    model = dock.annotate.fractions.view.model()
    place = [column.kind for column in model.columns].index("predicted")
    return [model.index(z, place).data() for z in range(model.rowCount())]


def shown_of_the_result(dock):
    """What the dock tells of a result, a training and a run, as far as one looks at it."""
    return (
        button(dock.results, "Save results…").isEnabled()
        or button(dock.results, "Save everything…").isEnabled(),
        "of 4 slices" in said(dock.results),
        any(predicted_column(dock)),
        any(plot.isVisibleTo(dock.train) for plot in dock.train.findChildren(CurvesPlot)),
        bool(log_of(dock.train)),
        bool(dock.bar.text()),
    )


def settle(dock, qtbot):
    def is_settled():
        is_drawn = not any(timer.isActive() for timer in dock.train.findChildren(QTimer))
        return is_drawn and dock.controller.outcome.is_up_to_date

    qtbot.waitUntil(is_settled)


@pytest.mark.parametrize("how", ["all layers deleted", "beside it"])
def test_nothing_of_one_image_stands_beside_another(dock, viewer, qtbot, how):
    run(dock, qtbot)
    apply_to_all(dock, qtbot)
    settle(dock, qtbot)
    assert all(shown_of_the_result(dock))
    if how == "all layers deleted":
        viewer.layers.clear()
        settle(dock, qtbot)
        assert not any(shown_of_the_result(dock))
    viewer.add_image(pixels(1), name="other")
    dock.image.set_layer(viewer.layers["other"])
    settle(dock, qtbot)
    assert not any(shown_of_the_result(dock))
    assert button(dock.results, "Apply").isEnabled()  # the model is no image's


def test_a_result_comes_back_with_its_image(dock, viewer, qtbot):
    run(dock, qtbot)
    apply_to_all(dock, qtbot)
    settle(dock, qtbot)
    before = predicted_column(dock), said(dock.results)
    viewer.add_image(pixels(1), name="other")
    dock.image.set_layer(viewer.layers["other"])
    dock.image.set_layer(viewer.layers["em"])
    settle(dock, qtbot)
    assert (predicted_column(dock), said(dock.results)) == before
    assert button(dock.results, "Save results…").isEnabled()
    assert "Training finished" in log_of(dock.train)


def test_results_of_an_image_of_fewer_slices_come_back_after_one_of_more(dock, viewer, qtbot):
    errors = []
    dock.session.message_added.connect(
        lambda level, text: errors.append(text) if level == "error" else None
    )
    run(dock, qtbot)
    apply_to_all(dock, qtbot)
    viewer.add_image(pixels(1)[:1], name="other")
    for name in ("other", "em", "other"):
        dock.image.set_layer(viewer.layers[name])
        settle(dock, qtbot)
        if not dock.controller.outcome.has_result:
            apply_to_all(dock, qtbot)
    assert errors == []


def test_what_is_annotated_lies_above_an_image_that_was_opened_later(dock, viewer):
    def places():
        return {layer.name: at for at, layer in enumerate(viewer.layers)}

    dock.annotate.grid.lay_grid()
    dock.annotate.keypoints.start_adding()
    other = viewer.add_image(np.zeros((3, 32, 48), np.uint8), name="other")
    assert places()["counting grid"] < places()["other"]
    dock.image.set_layer(other)
    dock.annotate.grid.lay_grid()
    assert len(dock.annotations().grids) == 1
    assert places()["other"] < places()["counting grid"]
    assert places()["other"] < places()["keypoints"]
    assert dock.source.name == "other"


@pytest.mark.parametrize(
    "place",
    [
        {"translate": (0, 20, -12)},
        {"rotate": (0, 0, 30)},
        {"affine": [[1, 0, 0, 5], [0, 0, -1, 6], [0, 1, 0, 7], [0, 0, 0, 1]]},
    ],
)
def test_results_lie_on_an_image_that_is_moved(dock, viewer, qtbot, place):
    run(dock, qtbot)
    image, preview = viewer.layers["em"], viewer.layers["em preview labels"]
    corner = image.world_to_data(preview.data_to_world((0, 3, 5)))
    for name, value in place.items():
        setattr(image, name, value)
    np.testing.assert_allclose(image.world_to_data(preview.data_to_world((0, 3, 5))), corner)
    apply_to_all(dock, qtbot)
    image.translate = (0, 8, 4)
    for role in ("labels", "mitochondria probability"):
        world = viewer.layers[f"em {role}"].data_to_world((1, 3, 5))
        np.testing.assert_allclose(image.world_to_data(world), (1, 3, 5), atol=1e-9)


@pytest.mark.window
def test_another_image_is_chosen_while_annotations_are_hidden(dock, viewer, qtbot):
    grids = lay_frames(dock.source.stack, 3, 12, 3, rng=np.random.default_rng(0))
    dock.annotate.set_value(SAID.replace(grids=grids))
    viewer.dims.set_current_step(0, SAID.keypoints[0].slice)
    for layer in viewer.layers[1:]:
        layer.visible = False
    viewer.add_image(pixels(1), name="other")
    dock.image.set_layer(viewer.layers["other"])
    assert dock.source.name == "other"
    assert dock.annotations().is_empty
    assert not dock.session.messages
    dock.image.set_layer(viewer.layers["em"])
    assert dock.annotations().grids == grids


def test_labels_keep_their_threshold_while_a_model_of_more_classes_is_at_hand(dock, viewer, qtbot):
    run(dock, qtbot)
    apply_to_all(dock, qtbot)
    dock.results.findChild(QLabeledDoubleSlider).setValue(0.95)
    settle(dock, qtbot)
    dock.classes.add_class()
    run(dock, qtbot)
    button(dock.results, "fill holes").click()
    settle(dock, qtbot)
    assert len(dock.session.model.classes) == 3
    assert not viewer.layers["em labels"].data.any()


def test_an_image_that_cannot_be_shown_is_not_seen_beside_annotations_of_another(
    dock, viewer, monkeypatch
):
    say(dock)
    viewer.add_image(pixels(1), name="other")

    def fail(layer):
        if layer is not None:
            raise IndexError

    with monkeypatch.context() as patch:
        patch.setattr(dock.annotate.painted, "set_source", fail)
        dock.image.set_layer(viewer.layers["other"])
    assert dock.source is None
    assert dock.annotations().is_empty
    assert "other cannot be shown" in log_of(dock.train)
    dock.image.set_layer(viewer.layers["em"])
    assert dock.annotations() == SAID


@pytest.mark.window
def test_fractions_follow_labels_that_are_painted_and_taken_back(dock, viewer, qtbot):
    viewer.dims.set_current_step(0, 0)
    run(dock, qtbot)
    apply_to_all(dock, qtbot)
    settle(dock, qtbot)
    before, version = predicted_column(dock), dock.controller.outcome.version
    labels = viewer.layers["em labels"]
    labels.fill((0, 3, 3), 0)
    settle(dock, qtbot)
    assert predicted_column(dock) == ["0 %", *before[1:]]
    assert "mitochondria: 37.5 % of 4 slices" in said(dock.results)
    painted = dock.controller.outcome.version
    labels.undo()
    settle(dock, qtbot)
    assert predicted_column(dock) == before
    assert len({version, painted, dock.controller.outcome.version}) == 3
    for z in (1, 2):
        viewer.dims.set_current_step(0, z)
        labels.fill((z, 3, 3), 0)
    viewer.dims.set_current_step(0, 0)
    settle(dock, qtbot)
    assert predicted_column(dock) == [before[0], "0 %", "0 %", before[3]]
    for z in (2, 1):
        labels.undo()  # on a slice that is not shown
        settle(dock, qtbot)
        assert predicted_column(dock)[z] == before[z]
    labels.redo()
    settle(dock, qtbot)
    assert predicted_column(dock) == [before[0], "0 %", *before[2:]]
    labels.data = np.zeros_like(labels.data)
    settle(dock, qtbot)
    assert predicted_column(dock) == ["0 %"] * 4


def test_fractions_follow_a_first_stroke_that_is_taken_back_where_the_stack_is_cut_across(
    dock, viewer, qtbot
):
    run(dock, qtbot)
    apply_to_all(dock, qtbot)
    settle(dock, qtbot)
    before = predicted_column(dock)
    viewer.dims.order = (1, 0, 2)
    labels = viewer.layers["em labels"]
    labels.data_setitem(tuple(np.indices(labels.data.shape).reshape(3, -1)), 0)  # as paint does
    settle(dock, qtbot)
    assert predicted_column(dock) == ["0 %"] * 4
    labels.undo()
    settle(dock, qtbot)
    assert predicted_column(dock) == before


def test_labels_that_are_given_another_shape_are_left_and_others_made(dock, viewer, qtbot):
    run(dock, qtbot)
    apply_to_all(dock, qtbot)
    settle(dock, qtbot)
    before = predicted_column(dock)
    cropped = viewer.layers["em labels"]
    cropped.data = cropped.data[:2]
    settle(dock, qtbot)
    assert predicted_column(dock) == before
    assert (cropped.name, len(cropped.data)) == ("em labels edited", 2)
    assert viewer.layers["em labels"].data.shape == SHAPE
    assert button(dock.results, "Save results…").isEnabled()


def test_a_result_is_not_that_of_other_pixels_in_the_same_layer(dock, viewer, qtbot):
    run(dock, qtbot)
    apply_to_all(dock, qtbot)
    viewer.layers["em"].data = pixels(1)
    settle(dock, qtbot)
    assert not any(predicted_column(dock))
    assert not button(dock.results, "Save results…").isEnabled()
    assert not viewer.layers["em labels"].visible
    assert "Results of the one before are hidden" in dock.bar.text()
    layers = [*viewer.layers]
    probs = np.full((2, *SHAPE[1:]), 0.5, np.float32)
    dock.session.event_taken.emit(Preview(1, 0, 1, SHAPE[1:], probs))  # of a run that goes on
    assert [*viewer.layers] == layers
    apply_to_all(dock, qtbot)
    assert viewer.layers["em labels"].visible


def test_applying_goes_on_into_its_image_while_another_is_shown(dock, viewer, qtbot, monkeypatch):
    gate = threading.Event()

    def apply(*arguments, device, token):
        for event in fake_apply(*arguments, device=device, token=token):
            yield event
            if isinstance(event, Predicted):
                gate.wait(5)

    run(dock, qtbot)
    monkeypatch.setattr(controller_module, "apply_model", apply)
    assert dock.controller.apply("stack")
    qtbot.waitUntil(lambda: dock.controller.outcome.has_result)
    viewer.add_image(pixels(1), name="other")
    dock.image.set_layer(viewer.layers["other"])
    assert "(em)" in said(dock.bar)
    gate.set()
    qtbot.waitUntil(lambda: is_idle(dock))
    assert dock.bar.text().startswith("em: Applying the model finished")
    assert not dock.controller.outcome.has_result
    dock.image.set_layer(viewer.layers["em"])
    qtbot.waitUntil(lambda: dock.controller.outcome.is_up_to_date)
    assert dock.controller.outcome.maps.is_complete
    assert viewer.layers["em labels"].data.sum() == 4 * 16 * 48


def test_everything_is_saved_only_with_labels_of_the_model_that_is_saved(dock, qtbot, tmp_path):
    run(dock, qtbot)
    apply_to_all(dock, qtbot)
    assert button(dock.results, "Save everything…").isEnabled()
    assert "Press Apply" not in said(dock.results)
    assert dock.start_training(continues=True)
    qtbot.waitUntil(lambda: is_idle(dock))
    assert not button(dock.results, "Save everything…").isEnabled()
    assert "Press Apply" in warned(dock.results)
    assert not dock.controller.save(tmp_path / "out", has_run=True)
    assert "Press Apply" in dock.bar.text()
    assert not (tmp_path / "out").exists()
    assert button(dock.results, "Save results…").isEnabled()  # labels and maps belong together
    button(dock.results, "Apply").click()
    wait(dock, qtbot)
    assert button(dock.results, "Save everything…").isEnabled()


def test_everything_means_the_run_of_the_labels_after_load_and_continue(
    dock, qtbot, tmp_path, monkeypatch
):
    monkeypatch.setattr(trainings_module, "train", train_into_its_folder)
    run(dock, qtbot)
    first = dock.trainings.model_dir
    apply_to_all(dock, qtbot)
    assert dock.start_training(continues=True)
    qtbot.waitUntil(lambda: is_idle(dock))
    assert dock.trainings.model_dir != first
    apply_to_all(dock, qtbot)
    assert dock.controller.save(tmp_path / "out", has_run=True)
    qtbot.waitUntil(lambda: is_idle(dock))
    assert (tmp_path / "out" / "config.toml").read_text() == dock.trainings.model_dir.name


def test_a_fresh_image_takes_nothing_of_the_last_one_unasked(dock, viewer, qtbot):
    dock.classes.add_class()
    dock.image.set_diameter(17)
    dock.train.set_value(RunForm(overrides={"seed": 3}))
    viewer.add_image(pixels(1), name="other")
    dock.image.set_layer(viewer.layers["other"])
    assert dock.classes.names() == CLASSES
    assert dock.image.value().object_diameter_px is None
    assert dock.train.value().overrides == {}
    assert TAKE_OVER in offered(dock)
    assert "17 px" in button(dock, TAKE_OVER).toolTip()
    button(dock, TAKE_OVER).click()
    assert dock.classes.names() == (*CLASSES, "class 2")
    assert dock.image.value().object_diameter_px == 17
    assert dock.train.value().overrides == {"seed": 3}
    assert TAKE_OVER not in offered(dock)
    dock.image.set_layer(viewer.layers["em"])
    assert dock.classes.names() == (*CLASSES, "class 2")


def test_nothing_is_saved_of_an_image_of_which_nothing_is_said(dock, viewer, qtbot):
    viewer.add_image(pixels(1), name="other")
    dock.image.set_layer(viewer.layers["other"])
    folder = dock.project.folder
    viewer.layers.remove("other")
    dock.shut_down()
    assert not folder.exists()


def test_what_is_entered_is_not_replaced_by_that_of_the_image_before(dock, viewer):
    dock.image.set_diameter(17)
    viewer.add_image(pixels(1), name="other")
    dock.image.set_layer(viewer.layers["other"])
    say(dock)
    assert TAKE_OVER not in offered(dock)


def test_classes_that_are_named_before_the_first_image_are_its_own(viewer, open_dock):
    dock = open_dock()
    dock.classes.add_class()
    viewer.add_image(pixels(), name="em")
    assert len(dock.classes.value()) == 3


def test_viewer_and_table_go_to_the_same_slice(dock, viewer):
    table = dock.annotate.fractions
    viewer.dims.set_point(0, 3 * 40)
    assert table.view.currentIndex().row() == 3
    table.view.setCurrentIndex(table.view.model().index(1, 0))
    assert dock.controller.current_slice() == 1
    assert viewer.dims.point[0] == 40


def test_rectangles_get_rows_of_their_own(dock, viewer):
    dock.annotate.regions.start_drawing()
    layer = viewer.layers["regions"]
    layer.add_rectangles(np.array([[2, 3.6, 4.4], [2, 3.6, 20.4], [2, 9.7, 20.4], [2, 9.7, 4.4]]))
    assert dock.annotate.regions.value() == (Region(2, (4, 5, 10, 21)),)
    assert dock.annotate.fractions.regions() == (Region(2, (4, 5, 10, 21)),)
    layer.data = [layer.data[0] + np.array([0, 2, 0])]
    assert dock.annotate.fractions.regions() == (Region(2, (6, 5, 12, 21)),)


@pytest.mark.parametrize(
    "corners",
    [
        [[0, 9, 4], [0, 9, 20], [3, 9, 20], [3, 9, 4]],  # seen from the side
        [[2, 40, 4], [2, 40, 20], [2, 60, 20], [2, 60, 4]],  # beside the image
    ],
)
def test_a_rectangle_that_holds_no_pixel_of_a_slice_is_told_until_it_is_deleted(dock, corners):
    assert warned(dock.annotate) == ""
    dock.annotate.regions.start_drawing()
    layer = dock.annotate.regions.layer
    layer.add_rectangles(np.array(corners))
    assert "Without effect: 1 shape in the layer of regions" in warned(dock.annotate)
    layer.add_rectangles(np.array([[2, 3, 4], [2, 3, 20], [2, 9, 20], [2, 9, 4]]))
    assert dock.annotate.regions.value() == (Region(2, (4, 5, 10, 21)),)
    assert "Without effect: 1 shape" in warned(dock.annotate)
    layer.selected_data = {0}
    layer.remove_selected()
    assert warned(dock.annotate) == ""


def test_images_with_two_axes_of_length_1_are_worked_on_as_stacks(viewer, open_dock, qtbot):
    em = viewer.add_image(pixels()[None, :, None], name="em", scale=(1, 40, 1, 4, 4))
    dock = open_dock()
    run(dock, qtbot)
    dock.annotate.grid.lay_grid()
    dock.annotate.regions.set_value([Region(2, (4, 5, 10, 21))])
    dock.annotate.painted.start_painting()
    painted = dock.annotate.painted.layer
    assert painted.data.shape == em.data.shape
    painted.data_setitem(tuple(np.array([[0], [3], [0], [5], [6]])), 2)
    assert dock.annotate.masks().read(3)[5, 6] == 1
    assert dock.annotate.masks().slices() == (3,)
    dock.controller.apply("stack")
    qtbot.waitUntil(lambda: is_idle(dock))
    assert dock.controller.outcome.labels().shape == SHAPE
    labels = next(one for one in viewer.layers if one.name == "em labels")
    assert labels.data.shape == (1, 4, 1, *SHAPE[1:])
    viewer.dims.set_point(1, 3 * 40)
    assert dock.controller.current_slice() == 3


def test_rectangles_of_a_deleted_image_do_not_stay_for_another(dock, viewer):
    dock.annotate.regions.set_value([Region(2, (4, 5, 10, 21))])
    viewer.layers.remove("em")
    viewer.add_image(pixels(1), name="other")
    dock.annotate.regions.start_drawing()
    layer = viewer.layers["regions"]
    layer.add_rectangles(np.array([[1, 3, 4], [1, 3, 20], [1, 9, 20], [1, 9, 4]]))
    assert dock.annotate.regions.value() == (Region(1, (4, 5, 10, 21)),)


def test_annotations_and_form_are_restored(dock, viewer, qtbot):
    say(dock)
    dock.annotate.regions.set_value([Region(1, (2, 2, 8, 9))])
    dock.image.set_diameter(17)
    number(dock.train, "min").setValue(9)
    dock.annotate.painted.start_painting()
    viewer.dims.set_point(0, 3 * 40)
    viewer.layers["painted labels"].brush_size = 4
    viewer.layers["painted labels"].paint((3, 5, 5), 2)
    said = dock.annotations()
    dock.shut_down()
    viewer.layers.clear()
    viewer.add_image(pixels(), name="the same")
    again = SpssDock(viewer, is_probing=False)
    assert again.annotations() == said
    assert again.annotate.regions.value() == (Region(1, (2, 2, 8, 9)),)
    assert again.image.value().object_diameter_px == 17
    assert again.train.value().max_minutes == 9
    assert again.annotate.masks().read(3)[5, 5] == 1
    again.shut_down()


@pytest.mark.window
def test_what_was_annotated_is_logged_and_what_was_restored_is_not(dock, viewer):
    say(dock)
    assert dock.project.save()
    log = dock.project.project.log

    def n_of(kind, log=log):
        return sum(action.n_items for action in log.actions if action.kind == kind)

    assert (n_of("fraction"), n_of("keypoint"), n_of("node")) == (2, 1, 0)
    dock.annotate.keypoints.set_value((*SAID.keypoints, Keypoint(3, 1.0, 1.0, 0)))
    assert n_of("keypoint") == 2
    dock.shut_down()
    viewer.window.remove_dock_widget(dock)
    again = SpssDock(viewer, is_probing=False)
    assert n_of("keypoint", again.project.project.log) == 2
    again.shut_down()


def test_an_image_that_is_no_stack_is_told(dock, viewer):
    say(dock)
    stated = dock.annotations()
    viewer.add_image(np.zeros((2, 2, 2, 16, 24), np.uint8), name="5d")
    dock.image.set_layer(viewer.layers["5d"])
    assert "at most one channel axis" in said(dock.image)
    assert not button(dock.image, "Measure").isEnabled()
    assert dock.source is None
    assert dock.annotations().is_empty  # what was said of another image is not shown beside it
    dock.image.set_layer(viewer.layers["em"])
    assert dock.source.name == "em"
    assert dock.annotations() == stated


def test_labels_of_which_no_value_stands_for_a_class_are_nothing_to_train_on(dock, viewer):
    ids = np.arange(viewer.layers["em"].data.size).reshape(viewer.layers["em"].data.shape) // 9
    viewer.add_labels(ids, name="cells", scale=(40, 4, 4), units=("nm",) * 3)
    dock.annotate.painted.set_value(viewer.layers["cells"])
    assert not button(dock.train, "Train").isEnabled()
    assert "add keypoints under Annotate" in said(dock.bar)


def gated_updates(monkeypatch):
    """Let trainings wait for a gate, and then take what joined them meanwhile."""
    gate, taken = threading.Event(), []

    def train(job, *, token):
        yield from gated_train(gate)(job, token=token)
        taken.append(job.updates.take())
        return None

    monkeypatch.setattr(trainings_module, "train", train)
    return gate, taken


def test_live_annotations_reach_the_run(dock, qtbot, monkeypatch):
    gate, taken = gated_updates(monkeypatch)
    say(dock)
    dock.start_training()
    qtbot.waitUntil(lambda: dock.session.status.done == 2)
    more = SAID.replace(keypoints=(*SAID.keypoints, Keypoint(3, 1.0, 1.0, 0)))
    dock.annotate.keypoints.set_value(more.keypoints)
    gate.set()
    qtbot.waitUntil(lambda: is_idle(dock))
    assert taken == [more]


def test_a_run_is_not_told_what_it_knows(dock, qtbot, monkeypatch):
    gate, taken = gated_updates(monkeypatch)
    say(dock)
    dock.start_training()
    qtbot.waitUntil(lambda: dock.session.status.done == 2)
    dock.annotate.painted.start_painting()  # nothing is painted yet
    gate.set()
    qtbot.waitUntil(lambda: is_idle(dock))
    assert taken == [None]


def test_annotations_of_another_image_do_not_reach_the_run(dock, viewer, qtbot, monkeypatch):
    gate, taken = gated_updates(monkeypatch)
    say(dock)
    dock.start_training()
    qtbot.waitUntil(lambda: dock.session.status.done == 2)
    viewer.add_image(pixels(seed=1), name="other")
    dock.image.set_layer(viewer.layers["other"])
    assert dock.annotations().is_empty
    dock.annotate.set_value(SAID.replace(keypoints=(Keypoint(0, 9.0, 9.0, 1),)))
    gate.set()
    qtbot.waitUntil(lambda: is_idle(dock))
    assert taken == [None]


def test_annotations_join_again_when_the_image_of_the_run_is_chosen_again(
    dock, viewer, qtbot, monkeypatch
):
    gate, taken = gated_updates(monkeypatch)
    say(dock)
    dock.start_training()
    qtbot.waitUntil(lambda: dock.session.status.done == 2)
    viewer.add_image(pixels(seed=1), name="other")
    dock.image.set_layer(viewer.layers["other"])
    dock.image.set_layer(viewer.layers["em"])
    more = SAID.replace(keypoints=(*SAID.keypoints, Keypoint(3, 1.0, 1.0, 0)))
    dock.annotate.keypoints.set_value(more.keypoints)
    gate.set()
    qtbot.waitUntil(lambda: is_idle(dock))
    assert taken == [more]


@pytest.mark.window
def test_all_sections_fit_into_380_px(dock, viewer, qtbot):
    get_settings().appearance.font_size = 9  # as napari's, but on a Mac
    viewer.window._qt_window.show()
    body = dock.findChildren(QScrollArea)[0]
    bar = body.verticalScrollBar().sizeHint().width()
    assert body.widget().minimumSizeHint().width() + bar <= 380
    say(dock)
    dock.annotate.grid.lay_grid()
    for tab in range(5):
        dock.annotate.show_tab(tab)
        assert dock.annotate.minimumSizeHint().width() + bar <= 370  # and the margins
    assert dock.minimumWidth() <= 380


@pytest.mark.window
def test_no_section_is_cut_off_where_the_font_is_large(dock, viewer, qtbot):
    viewer.window.resize(1400, 900)
    viewer.window._qt_window.show()
    dock.setStyleSheet("QWidget { font-size: 14pt }")
    for section in dock.findChildren(Section):
        section.open()
    bar = dock.findChildren(QScrollArea)[0].horizontalScrollBar()
    qtbot.waitUntil(lambda: dock.width() > 380 and not bar.isVisible())


@pytest.mark.window
@pytest.mark.parametrize("size", [9, 16])
def test_no_line_of_the_bar_is_cut_off_where_there_is_little_room(dock, viewer, qtbot, size):
    get_settings().appearance.font_size = size
    greedy = QLabel()
    greedy.setMinimumHeight(2000)
    viewer.window.add_dock_widget(greedy, area="right")
    viewer.window._qt_window.show()
    dock.bar.set_hint("Next: look at the map, and go on with all of these many words. " * 4)
    dock.bar.say("warning", "The classes changed: that takes effect at the next Train. " * 3)
    texts = [one for one in dock.bar.findChildren(QLabel) if one.isVisible()]
    assert len(texts) == 2
    qtbot.waitUntil(lambda: dock.height() == dock.minimumSizeHint().height())
    qtbot.waitUntil(lambda: all(one.height() >= one.heightForWidth(one.width()) for one in texts))


def test_a_wrong_setting_marks_its_field(dock, qtbot):
    say(dock)
    form = dock.train.value()
    dock.train.set_value(dataclasses.replace(form, overrides={"optimisation.patience": 0}))
    assert not dock.start_training()
    assert "patience" in warned(dock.train)
    dock.controller.runner.refused.emit("sampling.crop_px", "sampling.crop_px is wrong")
    assert mark_of(dock.train.findChild(QWidget, "sampling.crop_px")) == "error"


@pytest.mark.window
@pytest.mark.parametrize("size", [9, 12, 15])
def test_texts_of_buttons_and_fields_are_not_cut_off_whatever_the_font(dock, viewer, qtbot, size):
    viewer.window.resize(1400, 900)
    viewer.window._qt_window.show()
    get_settings().appearance.font_size = size
    for section in dock.sections.values():
        section.setVisible(section is dock.sections["Annotate"])
    dock.sections["Annotate"].open()

    def is_whole(widget):
        if isinstance(widget, QTabBar):
            return widget.tabRect(widget.count() - 1).right() < widget.width()
        text, width = widget.text(), widget.width()
        if isinstance(widget, QSpinBox):
            width = widget.lineEdit().width()
        return widget.fontMetrics().horizontalAdvance(text) <= width

    for tab in range(5):
        dock.annotate.show_tab(tab)
        qtbot.wait(100)
        frame, width = dock.parentWidget(), dock.minimumWidth()
        viewer.window._qt_window.resizeDocks([frame], [width], Qt.Orientation.Horizontal)
        qtbot.waitUntil(lambda width=width: dock.width() < width + 20)
        shown = [
            one
            for kind in (QPushButton, QTabBar, QSpinBox)
            for one in dock.findChildren(kind)
            if one.isVisible() and not (size > 12 and "a side" in getattr(one, "text", str)())
        ]
        qtbot.waitUntil(lambda shown=shown: all(map(is_whole, shown)))


@pytest.mark.window
def test_the_font_may_be_changed_while_the_dock_is_open(dock, viewer, qtbot):
    viewer.window._qt_window.show()
    field = dock.findChild(QDoubleSpinBox, "voxel_x")
    for size in (15, 9, 18):
        get_settings().appearance.font_size = size
        qtbot.waitUntil(lambda: field.font().pointSize() == get_settings().appearance.font_size)
        qtbot.waitUntil(
            lambda: field.lineEdit().width() >= field.fontMetrics().horizontalAdvance("x 0.1")
        )


def highest_contrast(widget, rect):
    """Contrast of what stands out most in a part of a widget with what there is most of."""
    shown = widget.grab(rect).toImage()
    pixels = [shown.pixel(x, y) for x in range(shown.width()) for y in range(shown.height())]
    ground = QColor.fromRgb(max(set(pixels), key=pixels.count))
    return max(contrast(QColor.fromRgb(pixel), ground) for pixel in set(pixels))


def test_titles_grow_with_the_font_that_is_set(dock):
    titles = [section.header for section in dock.sections.values()]
    for size in (9, 15):
        get_settings().appearance.font_size = size
        assert {title.font().pointSize() for title in titles} == {size + 1}  # as napari's labels


@pytest.mark.window
def test_tables_grow_with_the_font_that_is_set(dock, viewer):
    viewer.window._qt_window.show()
    say(dock)
    dock.annotate.grid.lay_grid()
    tables = dock.findChildren(QTableView)
    assert len(tables) > 4
    for size in (9, 20):
        get_settings().appearance.font_size = size
        for table in tables:
            table.ensurePolished()
            fonts = {one.font().pointSize() for one in (table, table.horizontalHeader())}
            assert fonts == {size}
            assert table.verticalHeader().defaultSectionSize() > table.fontMetrics().height()


@pytest.mark.window
def test_the_dock_wears_the_theme_of_the_viewer_whatever_the_settings_say(dock, viewer):
    say(dock)
    view = dock.annotate.fractions.view
    view.setFixedSize(360, 200)
    dock.bar.say("warning", "Look.")
    for theme in ("dark", "light", "dark"):
        viewer.theme = theme
        left = [column.kind for column in view.model().columns].index("background")
        cell = view.visualRect(view.model().index(0, left))  # what is not typed is muted
        assert highest_contrast(view.viewport(), cell) > 4.5
        label = next(one for one in dock.bar.findChildren(QLabel) if one.text().endswith("Look."))
        bar = label.rect().adjusted(0, 0, 4 - label.width(), 0)
        ground = QColor(get_theme(theme).background.as_hex("long"))
        assert contrast(label.grab(bar).toImage().pixelColor(1, 5), ground) >= 3


def next_step_of(dock):
    return said(dock.bar)


def test_a_warning_of_applying_stays_when_it_has_finished(dock, qtbot, monkeypatch):
    def apply(*arguments, **options):
        events = fake_apply(*arguments, **options)
        yield next(events)
        yield Message("warning", "Slice 1 is blank.")
        yield from events

    run(dock, qtbot)
    apply_to_all(dock, qtbot)
    assert "finished" in dock.bar.text()
    monkeypatch.setattr(controller_module, "apply_model", apply)
    apply_to_all(dock, qtbot)
    assert "finished" in warned(dock.bar)
    assert "Slice 1 is blank." in warned(dock.bar)
    assert "Slice 1 is blank." in log_of(dock)
    monkeypatch.setattr(controller_module, "apply_model", fake_apply)
    apply_to_all(dock, qtbot)
    assert "blank" not in dock.bar.text()


def test_warnings_of_a_training_are_counted_when_it_has_finished(dock, qtbot, monkeypatch):
    def train(*arguments, **options):
        events = fake_train(*arguments, **options)
        yield next(events)
        yield Message("warning", "By the fractions of its regions, slice 1 has less.")
        return (yield from events)

    monkeypatch.setattr(trainings_module, "train", train)
    run(dock, qtbot)
    assert dock.bar.text().endswith(" 1 warning: see Train, Messages.")
    assert "slice 1 has less" in log_of(dock)
    monkeypatch.setattr(trainings_module, "train", fake_train)
    run(dock, qtbot)
    assert "warning" not in dock.bar.text()


def test_an_image_over_the_chosen_one_is_told_and_choosing_brings_an_image_to_sight(dock, viewer):
    (image,) = (layer for layer in viewer.layers if isinstance(layer, Image))
    told = "lies over the image that is worked on"
    assert told not in next_step_of(dock)
    other = viewer.add_image(np.zeros(image.data.shape, np.uint8), name="other")
    assert next_step_of(dock).startswith("other " + told)
    other.blending = "additive"  # as a channel
    assert told not in next_step_of(dock)
    other.blending = "translucent"
    other.translate = (0, 0, 2 * image.extent.world[1, -1])  # beside it
    assert told not in next_step_of(dock)
    other.translate = (0, 0, 0)
    assert told in next_step_of(dock)
    combo = choice(dock, "other")
    pick(combo, "other")
    assert dock.image.value().layer is other
    assert told not in next_step_of(dock)
    pick(combo, image.name)
    assert (image.visible, other.visible) == (True, False)
    assert told not in next_step_of(dock)
    pick(combo, "other")
    assert other.visible


def test_an_image_elsewhere_is_shown_whole_when_it_is_chosen(dock, viewer):
    camera = camera_of(viewer)
    camera.zoom, camera.center = 0.01, (5.0, 5.0)
    same = {"scale": (40, 4, 4), "units": ("nm",) * 3}
    viewer.add_image(pixels(1), name="filtered", **same)
    reduced = viewer.add_image(pixels(1)[:, ::2, ::2], name="reduced", units=("nm",) * 3)
    reduced.scale = 40, 8, 8
    large = viewer.add_image(np.zeros((300, 500), np.uint8), name="large", units="um")
    combo = choice(dock, "filtered")
    for name in ("filtered", "reduced"):
        pick(combo, name)
        assert (camera.zoom, camera.center[-2:]) == (0.01, (5.0, 5.0))
    pick(combo, "large")
    seen = np.array(viewer.canvas.size if hasattr(viewer, "canvas") else viewer._canvas_size)
    shape = SourceFrame(large).geometry.to_world[[0, 1], [0, 1]] * large.data.shape
    assert camera.center[-2:] == pytest.approx(shape / 2, rel=0.01)
    assert 0.5 < (camera.zoom * shape / seen).max() < 1
    camera.zoom = 7.0
    pick(combo, "large")
    assert camera.zoom == 7.0


def test_the_next_step_follows_corrections_a_loaded_model_and_applying(dock, viewer, qtbot):
    run(dock, qtbot)
    assert "look at the map" in next_step_of(dock)
    apply_to_all(dock, qtbot)
    assert "then save them" in next_step_of(dock)
    more = (*SAID.keypoints, Keypoint(3, 1.0, 1.0, 0))
    dock.annotate.keypoints.set_value(more)
    assert next_step_of(dock).startswith("Next: press Continue")
    dock.annotate.keypoints.set_value(SAID.keypoints)
    assert "then save them" in next_step_of(dock)
    dock.annotate.keypoints.set_value(more)
    assert dock.start_training(continues=True)
    qtbot.waitUntil(lambda: is_idle(dock))
    assert "look at the new map" in next_step_of(dock)
    apply_to_all(dock, qtbot)
    assert "then save them" in next_step_of(dock)
    viewer.add_image(pixels(1), name="other")
    dock.image.set_layer(viewer.layers["other"])
    say(dock)
    assert "look at the map" not in next_step_of(dock).removesuffix("and look at the map.")


def test_strokes_are_news_to_the_model(dock, qtbot):
    run(dock, qtbot)
    dock.annotate.painted.start_painting()
    assert "press Continue. The model" not in next_step_of(dock)
    dock.annotate.painted.layer.data_setitem(tuple(np.array([[1], [4], [7]])), 2)
    assert next_step_of(dock).startswith("Next: press Continue. The model")


def test_strokes_are_not_shown_over_another_image(dock, viewer):
    dock.annotate.painted.start_painting()
    layer = dock.annotate.painted.layer
    layer.data_setitem(tuple(np.array([[1], [4], [7]])), 2)
    viewer.add_image(pixels(1), name="other")
    dock.image.set_layer(viewer.layers["other"])
    assert not layer.visible
    dock.image.set_layer(viewer.layers["em"])
    assert dock.annotate.painted.layer is layer
    assert layer.visible


def test_with_other_classes_than_the_models_it_says_to_train_anew(dock, qtbot):
    run(dock, qtbot)
    styles = dock.classes.value()
    dock.classes.set_value((*styles, dataclasses.replace(styles[1], name="vesicle", key="V")))
    assert next_step_of(dock).startswith("Next: press Train. The classes are no longer")
    assert not button(dock.train, "Continue").isEnabled()
    told = button(dock.train, "Continue").toolTip()
    assert "the classes background, mitochondria, and you state background, mitoch" in told
    dock.classes.set_value(styles)
    assert "look at the map" in next_step_of(dock)
    assert button(dock.train, "Continue").isEnabled()


def test_a_class_may_be_named_anew_during_a_training(dock, qtbot, monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(trainings_module, "train", gated_train(gate))
    say(dock)
    assert dock.start_training()
    name_class(dock, "mitochondria", "Mito")
    more = (*SAID.keypoints, Keypoint(3, 1.0, 1.0, 0))
    dock.annotate.keypoints.set_value(more)
    assert "classes changed" not in dock.bar.text()
    gate.set()
    qtbot.waitUntil(lambda: is_idle(dock))
    assert button(dock.train, "Continue").isEnabled()
    assert dock.start_training(continues=True)
    qtbot.waitUntil(lambda: is_idle(dock))
    assert dock.session.model.classes == ("background", "Mito")


def test_a_model_is_not_taken_for_one_of_a_class_that_took_the_name_of_another(dock, qtbot):
    run(dock, qtbot)
    name_class(dock, "mitochondria", "vesicles")
    button(dock, "Add class").click()
    name_class(dock, "class 2", "mitochondria")
    assert not button(dock.train, "Continue").isEnabled()


def name_class(dock, before, text):
    """Type another name for a class."""
    fields = dock.classes.findChildren(QLineEdit)
    field = next(one for one in fields if one.text() == before)
    field.setText(text)
    field.editingFinished.emit()


def test_a_model_of_other_channels_is_not_what_comes_next(dock, viewer, qtbot):
    run(dock, qtbot)
    viewer.add_image(np.zeros((30, 40, 3), np.uint8), rgb=True, name="colour")
    combo = choice(dock, "colour")
    pick(combo, "colour")
    assert next_step_of(dock).startswith("State fractions, count a grid")
    apply = button(dock.results, "Apply")
    assert not apply.isEnabled()
    assert "The model has 1 channel, the image 3" in apply.toolTip()
    pick(combo, "em")
    assert "look at the map" in next_step_of(dock)
    assert apply.isEnabled()
    assert "Compute the maps" in apply.toolTip()


def preview_of(job, step, value):
    probs = np.zeros((2, *job.stack.shape_of(0)), np.float32)
    probs[1, :5] = value
    probs[0] = 1 - probs[1]
    return Preview(step, 0, 1, job.stack.shape_of(0), probs)


@pytest.mark.parametrize("values", [(0.1, 0.1, 0.9), (0.1, 0.1)])
def test_no_preview_is_shown_before_there_is_something_on_it(
    dock, viewer, qtbot, monkeypatch, values
):
    """At the end of the run the last one is shown, whatever is on it."""
    seen = []

    def train(job, *, token):
        yield RunStarted("training", 3, "cpu", job.annotations.classes)
        for step, value in enumerate(values, start=1):
            yield preview_of(job, step, value)
        yield RunFinished(FinishReason.completed, 3, 1.0)
        return FakeModel(job.annotations.classes)

    monkeypatch.setattr(trainings_module, "train", train)
    say(dock)
    dock.session.event_taken.connect(lambda _: seen.append("em preview labels" in names(viewer)))
    dock.start_training()
    qtbot.waitUntil(lambda: is_idle(dock))
    assert seen == [False] + [value > 0.5 for value in values] + [max(values) > 0.5]
    assert "em preview labels" in names(viewer)


def visible_columns(view):
    """Kinds of the columns that are seen whole."""
    columns, room = view.model().columns, view.viewport().width()
    ends = {
        column.kind: view.columnViewportPosition(place) + view.columnWidth(place)
        for place, column in enumerate(columns)
        if not view.isColumnHidden(place)
    }
    return {kind for kind, end in ends.items() if end <= room}, set(ends)


@pytest.mark.window
@pytest.mark.parametrize("n_classes", [2, 3])
def test_all_columns_are_seen_at_the_least_width_once_a_model_was_applied(
    dock, viewer, qtbot, n_classes
):
    viewer.window.resize(1366, 768)
    viewer.window.show()
    if n_classes == 3:
        dock.classes.add_class()
    nodes = np.arange(4.0) * 8
    grid = CountingGrid(1, 8.0, 0.0, 0.0, nodes, nodes, [0, 1, n_classes - 1, 0], is_done=True)
    classes = dock.classes.names()
    dock.annotate.set_value(Annotations(classes, grids=(grid,)))
    dock.session.model = FakeModel(classes)
    for name in ("Image & classes", "Train"):
        dock.sections[name].close_up()
    apply_to_all(dock, qtbot)
    dock.sections["Annotate"].open()
    view = dock.annotate.fractions.view
    dock.parent().resize(dock.minimumWidth(), 700)
    dock.resize(dock.minimumWidth(), 700)
    qtbot.waitUntil(lambda: any(predicted_column(dock)) and view.isVisible())
    whole, shown = visible_columns(view)
    assert whole == shown
    assert {"class", "empty", "grid", "predicted"} <= shown


def test_maps_that_do_not_fit_are_told_and_the_result_stays(dock, qtbot, monkeypatch):
    run(dock, qtbot)
    apply_to_all(dock, qtbot)
    before = dock.controller.outcome.labels().copy()
    assert dock.start_training(continues=True)
    qtbot.waitUntil(lambda: is_idle(dock))

    def no_room(*_):
        raise MemoryError

    monkeypatch.setattr("napari_spss.gui.models.maps.scratch_zeros", no_room)
    with qtbot.captureExceptions() as errors:
        button(dock.results, "Apply").click()
    assert not errors
    assert is_idle(dock)
    assert "memory did not suffice" in dock.bar.text()
    assert "Press Apply" in warned(dock.results)  # labels and model are still those before
    np.testing.assert_array_equal(dock.controller.outcome.labels(), before)
    assert button(dock.results, "Apply").isEnabled()


@pytest.mark.parametrize("error", [KeyError("x"), InputError("This is wrong; correct it.")])
def test_no_error_leaves_a_slot_of_the_dock(dock, qtbot, monkeypatch, error):
    def broken(*_, **__):
        raise error

    monkeypatch.setattr(type(dock.controller.outcome), "set_stated", broken)
    with qtbot.captureExceptions() as errors:
        say(dock)
    assert not errors
    expected = "wrong" if isinstance(error, InputError) else "KeyError: 'x'"
    assert expected in dock.bar.text()
