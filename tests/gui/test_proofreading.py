"""Proofreading by real keys and the mouse: every act, the table, the labels, and the way back."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from eye import button, said, warned
from fake_core import FakeModel, store
from hand import Hand
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLineEdit, QPushButton, QTableView

from napari_spss.core.annotations import Annotations, Proportion, Region
from napari_spss.core.base import FinishReason, Predicted, RunFinished, RunStarted
from napari_spss.gui import controller as controller_module, trainings as trainings_module
from napari_spss.gui.dock import SpssDock
from napari_spss.gui.layers import layer_mark
from napari_spss.gui.models import ObjectEdits

CLASSES = ("background", "mitochondria")
SAID = Annotations(CLASSES, proportions=(Proportion(Region(0), (None, 0.1)),))
CTRL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
LABELS = np.zeros((4, 60, 80), np.uint8)
LABELS[0:3, 5:15, 5:15] = 1
LABELS[0:3, 8:12, 15:19] = 1
LABELS[0:3, 5:15, 19:29] = 1  # with the first one a dumb-bell: object 1
LABELS[1:4, 40:52, 40:52] = 1
LABELS[1:4, 44:48, 44:48] = 0  # a ring: object 2
LABELS[1:4, 40:52, 60:72] = 1  # object 3


def train(job, *, token):
    """Stand in for `jobs.train`, without a preview."""
    yield RunStarted("training", 1, "cpu", CLASSES)
    yield RunFinished(FinishReason.completed, 1, 0.1)
    return FakeModel(CLASSES)


def predict(model, stack, maps, regions, *_, token, **__):
    """Stand in for `jobs.apply_model`: the probabilities of `LABELS`."""
    yield RunStarted("prediction", len(regions), "cpu", model.classes)
    for region in regions:
        objects = 0.8 * LABELS[region.slice].astype(np.float32)
        objects[:, 60:] *= 0.7
        store(maps, region.slice, np.stack([1 - objects, objects]))
        yield Predicted(region.slice, None)
    yield RunFinished(FinishReason.completed, len(regions), 0.1)


class Desk:
    """A dock with found objects, and a hand on their layer if the viewer has a window."""

    def __init__(self, viewer, qtbot):
        self.viewer, self.qtbot, self.hand = viewer, qtbot, None
        self.dock = SpssDock(viewer, is_probing=False)
        if hasattr(viewer, "window"):
            viewer.window.add_dock_widget(self.dock, name="spss")
        else:
            qtbot.addWidget(self.dock)

    def apply(self):
        if not self.dock.annotations().proportions:
            self.dock.annotate.set_value(SAID)
        assert self.dock.start_training()
        self.wait()
        self.dock.controller.apply("stack")
        self.wait()

    def find(self):
        button(self.objects, "Find objects").click()
        self.wait()

    def begin(self):
        self.dock.window().resize(1100, 700)  # without a slider the canvas may have no width
        self.dock.window().show()
        self.hand = Hand(self.viewer, self.layer)
        return self

    def wait(self):
        dock = self.dock
        self.qtbot.waitUntil(
            lambda: not dock.session.status.is_busy and dock.controller.outcome.is_up_to_date,
            timeout=60_000,
        )

    @property
    def objects(self):
        return self.dock.results.objects

    @property
    def layer(self):
        return self.viewer.layers["tissue mitochondria objects"]

    @property
    def labels(self):
        self.wait()
        return self.viewer.layers["tissue labels"].data

    def numbers(self):
        model = self.objects.findChild(QTableView).model()
        return [int(model.index(row, 0).data()) for row in range(model.rowCount())]

    def voxels(self):
        features = self.layer.features
        return dict(zip(features["index"], features["voxels"], strict=True))

    def choose(self, number):
        z, y, x = np.argwhere(self.layer.data == number)[0] + (0, 1, 1)
        self.viewer.dims.set_current_step(0, z)
        if self.hand is None:
            self.layer.selected_label = number
        else:
            self.hand.click((z, y, x))
        assert self.layer.selected_label == number

    def press(self, key, modifier=Qt.KeyboardModifier.NoModifier):
        """Press a key on the canvas; without one, the button that names it."""
        if self.hand is not None:
            self.hand.press(key, modifier)
            return
        buttons = self.objects.findChildren(QPushButton)
        next(one for one in buttons if one.text().endswith(f"({chr(key.value)})")).click()

    def split_and_delete(self):
        """Split object 1 by a line, and delete object 3."""
        self.viewer.layers.selection.active = self.layer
        self.viewer.dims.set_current_step(0, 1)
        self.press(Qt.Key.Key_S)
        self.hand.drag([(1, 2, 17), (1, 20, 17)])
        self.choose(3)
        self.press(Qt.Key.Key_D)


@pytest.fixture
def no_network(monkeypatch):
    monkeypatch.setattr(trainings_module, "train", train)
    monkeypatch.setattr(controller_module, "apply_model", predict)


@pytest.fixture
def desk(viewer, no_network, qtbot):
    image = 10 * np.arange(len(LABELS), dtype=np.uint8)[:, None, None] + np.zeros_like(LABELS)
    viewer.add_image(image, name="tissue", scale=(0.1, 0.01, 0.01), units="um")
    desk = Desk(viewer, qtbot)
    desk.apply()
    desk.find()
    yield desk.begin() if hasattr(viewer, "window") else desk
    desk.dock.shut_down()


@pytest.mark.window
def test_delete_by_key_and_undo_by_key(desk):
    assert desk.numbers() == [1, 2, 3]
    desk.choose(3)
    desk.press(Qt.Key.Key_D)
    assert desk.numbers() == [1, 2]
    assert not desk.labels[:, 40:52, 60:72].any()
    assert "2 objects, 2 at the border" in said(desk.objects)
    fraction = desk.dock.controller.outcome.overall()[1].fraction
    assert fraction == pytest.approx((desk.labels == 1).mean())
    desk.press(Qt.Key.Key_Z, CTRL)
    assert desk.numbers() == [1, 2, 3]
    np.testing.assert_array_equal(desk.labels, LABELS)
    desk.press(Qt.Key.Key_Z, CTRL | SHIFT)
    assert desk.numbers() == [1, 2]


def test_an_error_that_nobody_foresaw_is_told(desk, monkeypatch):
    def fail(*_):
        raise RuntimeError("no such voxel")

    monkeypatch.setattr(ObjectEdits, "keep", fail)
    desk.choose(2)
    desk.press(Qt.Key.Key_K)
    assert "no such voxel" in said(desk.dock.bar)
    assert "3 objects not judged" in said(desk.objects)


@pytest.mark.window
def test_keep_by_key_and_it_drops_off_the_list(desk):
    assert "3 objects not judged" in said(desk.objects)
    desk.choose(2)
    desk.press(Qt.Key.Key_K)
    assert "2 objects not judged" in said(desk.objects)
    assert "Object 2: judged." in said(desk.objects)
    button(desk.objects, "Undo").click()
    assert "3 objects not judged" in said(desk.objects)


@pytest.mark.window
def test_next_goes_to_what_stands_out_and_on_once_it_is_judged(desk):
    desk.viewer.dims.set_current_step(0, 0)
    desk.viewer.layers.selection.active = desk.layer
    desk.press(Qt.Key.Key_N)
    assert desk.layer.selected_label == 3
    assert "Object 3: mean probability 0.56" in said(desk.objects)
    assert desk.viewer.dims.current_step[0] in (1, 2, 3)
    desk.press(Qt.Key.Key_K)
    assert desk.layer.selected_label in (1, 2)
    desk.press(Qt.Key.Key_K)
    desk.press(Qt.Key.Key_K)
    assert said(desk.objects).count("are judged") == 1
    assert "All are judged: 3." in said(desk.objects)


def test_next_goes_to_the_slice_where_the_fraction_jumps(request, monkeypatch):
    labels = np.zeros((24, 60, 80), np.uint8)
    labels[:, 5:15, 5:15] = 1
    for z in range(8, 20):
        labels[z, 30:50, 20 : 40 + min(z, 28 - z)] = 1  # most of it is on slice 14
    monkeypatch.setitem(globals(), "LABELS", labels)
    desk = request.getfixturevalue("desk")
    desk.viewer.layers.selection.active = desk.layer
    desk.press(Qt.Key.Key_N)
    assert "Object 2: ends at a jump of the fraction, slice 19." in said(desk.objects)
    assert desk.viewer.dims.current_step[0] == 19


@pytest.mark.window
def test_merge_by_key_and_a_click(desk):
    desk.choose(2)
    desk.press(Qt.Key.Key_J)
    assert "one with object 2" in said(desk.objects)
    desk.hand.click((1, 46, 66))
    assert desk.numbers() == [1, 2]
    assert desk.voxels()[2] == 3 * (144 - 16 + 144)
    assert desk.layer.selected_label == 2
    desk.press(Qt.Key.Key_Z, CTRL)
    assert desk.numbers() == [1, 2, 3]


@pytest.mark.window
def test_split_by_a_line(desk):
    desk.viewer.layers.selection.active = desk.layer
    desk.viewer.dims.set_current_step(0, 1)
    centre = np.array(getattr(desk.viewer, "scene", desk.viewer).camera.center)
    desk.press(Qt.Key.Key_S)
    desk.hand.drag([(1, 2, 17), (1, 10, 17), (1, 20, 17)])
    assert desk.numbers() == [1, 2, 3, 4]
    assert abs(desk.voxels()[1] - desk.voxels()[4]) <= 30
    after = np.array(getattr(desk.viewer, "scene", desk.viewer).camera.center)
    np.testing.assert_array_equal(after, centre)  # the drag has not moved the view
    np.testing.assert_array_equal(desk.labels, LABELS)
    desk.press(Qt.Key.Key_Z, CTRL)
    assert desk.numbers() == [1, 2, 3]


@pytest.mark.window
def test_split_by_points(desk):
    desk.viewer.layers.selection.active = desk.layer
    desk.viewer.dims.set_current_step(0, 1)
    desk.press(Qt.Key.Key_S)
    desk.hand.click((1, 10, 10))
    desk.hand.click((1, 10, 24))
    assert desk.viewer.layers["points that split"].data.shape[0] == 2
    button(desk.objects, "Split (S)").click()
    assert desk.numbers() == [1, 2, 3, 4]
    assert desk.layer.data[1, 10, 10] == 1
    assert desk.layer.data[1, 10, 24] == 4
    assert not len(desk.viewer.layers["points that split"].data)
    assert desk.viewer.layers.selection.active is desk.layer


def test_points_that_split_are_set_by_clicks_alone(desk):
    desk.viewer.layers.selection.active = desk.layer
    desk.press(Qt.Key.Key_S)
    points = desk.viewer.layers["points that split"]
    points.add([(1, 10, 10)])  # as pasting does
    assert not len(points.data)
    assert desk.numbers() == [1, 2, 3]


def test_fill_holes(desk):
    desk.choose(2)
    desk.press(Qt.Key.Key_H)
    assert desk.voxels()[2] == 3 * 144
    assert desk.labels[1, 46, 46] == 1
    desk.choose(1)
    desk.press(Qt.Key.Key_H)
    assert "Object 1 has no hole" in warned(desk.objects)


@pytest.mark.window
def test_add_by_painting_and_one_history_of_paint_and_ours(desk):
    desk.viewer.layers.selection.active = desk.layer
    desk.viewer.dims.set_current_step(0, 2)
    desk.press(Qt.Key.Key_A)
    desk.layer.brush_size = 6
    desk.hand.drag([(2, 30, 20), (2, 30, 24), (2, 30, 30)])
    desk.qtbot.waitUntil(lambda: desk.numbers() == [1, 2, 3, 4])
    painted = desk.layer.data == 4
    assert painted.sum() == desk.voxels()[4] > 20
    assert (desk.labels[painted] == 1).all()
    desk.layer.mode = "pan_zoom"
    desk.choose(3)
    desk.press(Qt.Key.Key_D)
    assert desk.numbers() == [1, 2, 4]
    desk.press(Qt.Key.Key_Z, CTRL)
    assert desk.numbers() == [1, 2, 3, 4]
    desk.press(Qt.Key.Key_Z, CTRL)
    assert desk.numbers() == [1, 2, 3]
    assert not (desk.layer.data == 4).any()
    np.testing.assert_array_equal(desk.labels, LABELS)
    desk.press(Qt.Key.Key_Z, CTRL | SHIFT)
    np.testing.assert_array_equal(desk.layer.data == 4, painted)
    assert desk.numbers() == [1, 2, 3, 4]


@pytest.mark.window
def test_erasing_with_the_brush_changes_the_table(desk):
    before = desk.voxels()[3]
    desk.viewer.layers.selection.active = desk.layer
    desk.viewer.dims.set_current_step(0, 2)
    desk.layer.selected_label = 0
    desk.layer.mode = "paint"
    desk.layer.brush_size = 4
    desk.hand.drag([(2, 42, 62), (2, 42, 66)])
    desk.qtbot.waitUntil(lambda: desk.voxels()[3] < before)
    assert desk.voxels()[3] == (desk.layer.data == 3).sum()
    assert ((desk.labels > 0) == (desk.layer.data > 0)).all()


def test_edits_outlast_threshold_and_apply(desk):
    desk.choose(3)
    desk.press(Qt.Key.Key_D)
    desk.choose(1)
    desk.press(Qt.Key.Key_K)
    kept = desk.layer.data == 1
    desk.apply()
    assert not desk.labels[:, 40:52, 60:72].any()
    assert desk.numbers() == [1, 2]
    assert "have changed since" not in said(desk.objects)
    desk.dock.results.findChild(_slider()).setValue(0.9)
    desk.qtbot.waitUntil(lambda: not (desk.labels[1, 40:52, 40:52]).any())
    assert (desk.labels[kept] == 1).all()
    desk.qtbot.waitUntil(lambda: "have changed since" in said(desk.objects))


def test_edits_follow_a_class_that_is_named_anew(desk):
    desk.choose(3)
    desk.press(Qt.Key.Key_D)
    layer, classes = desk.layer, desk.dock.classes
    field = next(one for one in classes.findChildren(QLineEdit) if one.text() == CLASSES[1])
    field.setText("cells")
    field.editingFinished.emit()
    assert layer.name == "tissue cells objects"
    desk.apply()
    assert not desk.labels[:, 40:52, 60:72].any()
    assert desk.numbers() == [1, 2]
    desk.find()
    assert "You edited objects of cells." in warned(desk.objects)
    button(desk.objects, "Keep these, find others").click()
    desk.wait()
    assert [one for one in desk.viewer.layers if one.name.endswith("objects")] == [layer]
    desk.dock.project.save_if_waiting()
    (kept,) = desk.dock.project.project.state.objects
    assert kept.class_name == "cells"


def _slider():
    from superqt import QLabeledDoubleSlider

    return QLabeledDoubleSlider


@pytest.mark.window
def test_finding_anew_asks_and_keeps_what_was_judged(desk):
    desk.split_and_delete()
    layer = desk.layer
    layer.brush_size = 1
    layer.paint((2, 6, 4), 1)
    before = layer.data.copy()
    assert before[2, 6, 4] == 1
    desk.find()
    assert "2 objects of mitochondria judged or edited" in warned(desk.objects)
    np.testing.assert_array_equal(desk.layer.data, before)
    button(desk.objects, "Keep these, find others").click()
    desk.wait()
    assert desk.layer is layer
    assert ((desk.layer.data == 1) == (before == 1)).all()
    assert ((desk.layer.data == 4) == (before == 4)).all()
    assert ((desk.layer.data > 0) == (before > 0)).all()
    assert "1 object not judged" in said(desk.objects)
    assert "judged or edited" not in said(desk.objects)


def test_finding_anew_may_begin_anew_and_what_was_edited_stays_in_its_layer(desk):
    desk.choose(3)
    desk.press(Qt.Key.Key_D)
    old = desk.layer
    before = old.data.copy()
    desk.find()
    button(desk.objects, "Begin anew").click()
    desk.wait()
    assert desk.layer is not old
    np.testing.assert_array_equal(old.data, before)
    assert desk.numbers() == [1, 2, 3]
    np.testing.assert_array_equal(desk.labels, LABELS)


def test_the_order_of_rows_stays_with_an_edit(desk):
    table = desk.objects.findChild(QTableView)
    table.sortByColumn(1, Qt.SortOrder.AscendingOrder)
    order = desk.numbers()
    desk.choose(3)
    desk.press(Qt.Key.Key_D)
    assert desk.numbers() == [number for number in order if number != 3]


@pytest.mark.window
def test_saved_objects_give_the_same_table_by_measure(desk, tmp_path):
    from napari_spss.core.analysis import measure_masks
    from napari_spss.core.images import open_labels, open_stack

    desk.split_and_delete()
    desk.dock.controller.save(tmp_path / "out", has_run=False)
    desk.wait()
    saved = pd.read_csv(tmp_path / "out" / "fractions_objects.csv")
    assert saved["id"].tolist() == [1, 2, 4]
    labels = open_labels(tmp_path / "out" / "labels.ome.tif")
    assert not labels.read(1)[40:52, 60:72].any()
    objects = open_labels(tmp_path / "out" / "objects.ome.tif", instances=True)
    image = desk.dock.source.stack
    maps = open_stack(tmp_path / "out" / "maps.ome.tif")
    again = measure_masks(objects, image=image, maps=maps).objects
    columns = [name for name in saved if name != "class"]
    pd.testing.assert_frame_equal(saved[columns], again[columns], check_dtype=False)
    shown = desk.layer.features.reset_index(drop=True)
    for name in ("voxels", "volume_um3", "surface_um2", "mean_grey"):
        np.testing.assert_allclose(saved[name], shown[name])
    np.testing.assert_allclose(saved["mean_probability"], shown["mean_probability"], atol=0.005)
    stack = pd.read_csv(tmp_path / "out" / "fractions_stack.csv").set_index("class")
    assert stack.loc["mitochondria", "objects"] == 3


@pytest.mark.window
def test_what_was_done_stands_there_after_close_and_reopen(desk, make_napari_viewer, qtbot):
    desk.choose(3)
    desk.press(Qt.Key.Key_D)
    desk.choose(2)
    desk.press(Qt.Key.Key_J)
    desk.hand.click((1, 10, 10))
    desk.viewer.layers.selection.active = desk.layer
    desk.press(Qt.Key.Key_A)
    desk.viewer.dims.set_current_step(0, 2)
    desk.layer.brush_size = 6
    desk.hand.drag([(2, 30, 20), (2, 30, 30)])
    qtbot.waitUntil(lambda: desk.numbers() == [2, 4])
    data, voxels = desk.layer.data.copy(), desk.voxels()
    image, made_by = desk.viewer.layers["tissue"].data, layer_mark(desk.layer)["made_by"]
    assert (made_by["weights"], made_by["threshold"], made_by["is_edited"]) == ("fake", 0.5, True)
    desk.dock.shut_down()

    viewer = make_napari_viewer()
    viewer.add_image(image, name="tissue", scale=(0.1, 0.01, 0.01), units="um")
    again = Desk(viewer, qtbot)
    qtbot.waitUntil(lambda: "tissue mitochondria objects" in viewer.layers, timeout=60_000)
    np.testing.assert_array_equal(again.layer.data, data)
    assert again.voxels() == voxels
    assert layer_mark(again.layer)["made_by"] == made_by
    assert "All are judged: 2." in said(again.objects)
    again.apply()
    assert layer_mark(again.layer)["made_by"] == made_by
    np.testing.assert_array_equal(again.layer.data, data)
    np.testing.assert_array_equal(again.labels > 0, data > 0)
    assert "have changed since" not in said(again.objects)
    again.find()
    assert "2 objects of mitochondria judged or edited" in warned(again.objects)
    again.dock.shut_down()


def test_what_was_judged_is_learned_from(desk):
    assert not button(desk.objects, "Use for training").isEnabled()
    desk.choose(2)
    desk.press(Qt.Key.Key_K)
    desk.choose(3)
    desk.press(Qt.Key.Key_D)
    button(desk.objects, "Use for training").click()
    assert "painted on 3 slices" in said(desk.objects)
    masks = desk.dock.annotate.masks()
    expected = np.full(LABELS.shape, 255, np.uint8)
    expected[desk.layer.data == 2] = 1
    expected[1:4, 40:52, 60:72] = 0
    np.testing.assert_array_equal(np.stack([masks.read(z) for z in range(4)]), expected)
    desk.viewer.layers["painted labels"].undo()
    assert (desk.dock.annotate.painted.layer.data == 0).all()


def test_other_labels_that_are_painted_stay(desk):
    desk.dock.annotate.painted.start_painting()
    desk.viewer.layers["painted labels"].paint((0, 55, 40), 1)
    mine = desk.viewer.layers["painted labels"].data.copy()
    desk.viewer.layers.selection.active = desk.layer
    desk.choose(2)
    desk.press(Qt.Key.Key_K)
    button(desk.objects, "Use for training").click()
    data = desk.viewer.layers["painted labels"].data
    assert (data[mine > 0] == mine[mine > 0]).all()
    assert (data[desk.layer.data == 2] == 2).all()


def test_labels_that_somebody_painted_follow_edits_too(desk):
    labels = desk.viewer.layers["tissue labels"]
    labels.paint((1, 30, 30), 1)
    painted = labels.data.copy()
    desk.find()
    n = len(desk.numbers())
    assert n == 4
    desk.choose(int(desk.layer.data[1, 46, 66]))
    desk.press(Qt.Key.Key_D)
    expected = painted.copy()
    expected[1:4, 40:52, 60:72] = 0
    np.testing.assert_array_equal(desk.labels, expected)
    assert "have changed since" not in said(desk.objects)
    button(desk.objects, "Undo").click()
    np.testing.assert_array_equal(desk.labels, painted)


def test_a_single_image_is_proofread_too(make_napari_viewer, no_network, qtbot):
    viewer = make_napari_viewer()
    viewer.add_image(np.arange(4800, dtype=np.uint16).reshape(60, 80), name="tissue")
    desk = Desk(viewer, qtbot)
    desk.apply()
    desk.find()
    desk.begin()
    assert desk.numbers() == [1]
    desk.press(Qt.Key.Key_S)
    desk.hand.drag([(2, 17), (20, 17)])
    assert desk.numbers() == [1, 2]
    desk.hand.click((10, 24))
    desk.press(Qt.Key.Key_D)
    assert len(desk.numbers()) == 1
    assert "area" in " ".join(map(str, desk.layer.features.columns))
    desk.press(Qt.Key.Key_Z, CTRL)
    desk.press(Qt.Key.Key_Z, CTRL)
    np.testing.assert_array_equal(desk.labels, LABELS[0])
    desk.dock.shut_down()
