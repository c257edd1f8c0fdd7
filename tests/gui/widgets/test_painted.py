"""Painted labels: new layers, adopted ones, and how the core reads them."""

from __future__ import annotations

import io

import dask.array as da
import numpy as np
import pytest
from eye import button, choices, number, offered, pick, said, warned
from hand import Hand
from napari.components import ViewerModel
from PIL import Image
from qtpy.QtCore import Qt

from napari_spss.core.annotations import ClassStyle
from napari_spss.core.base import InputError
from napari_spss.core.images import IGNORE, LabelSource
from napari_spss.gui.models import PaintedLabels, guess_values
from napari_spss.gui.widgets.adopt_combo import AdoptCombo
from napari_spss.gui.widgets.annotate.painted import PaintedTool

STYLES = (
    ClassStyle("background", "#999999", "Q"),
    ClassStyle("mito", "#E69F00", "W"),
    ClassStyle("er", "#56B4E9", "H"),
)
IDS = "Values are ids of objects of one class"
SHAPE = (4, 20, 30)
PLACED = {"scale": (50.0, 4.0, 4.0), "translate": (7.0, -30.0, 11.0), "units": ("nm",) * 3}


def make_tool(qtbot, shape=SHAPE, styles=STYLES, **kwargs):
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros(shape, np.uint8), name="em", **kwargs)
    tool = PaintedTool(viewer)
    qtbot.addWidget(tool)
    tool.set_classes(styles)
    tool.set_source(image)
    tool.show()
    return viewer, image, tool


def put(layer, indices, value):
    """Paint pixels as napari's brush does."""
    layer.data_setitem(tuple(np.asarray(index) for index in indices), value)


def read(labels, z):
    return labels.read(z).tolist()


# ---- how they are read ----------------------------------------------------------------------


def test_values_become_class_indices_and_the_rest_is_ignored():
    data = np.array([[[0, 1, 2]], [[5, 0, 7]]])
    labels = PaintedLabels(data, "ZYX", (1, 2, 7))
    assert isinstance(labels, LabelSource)
    assert (labels.n_slices, labels.shape_of(0)) == (2, (1, 3))
    assert read(labels, 0) == [[IGNORE, 0, 1]]
    assert read(labels, 1) == [[IGNORE, IGNORE, 2]]
    assert labels.read(1, (0, 2, 1, 3)).tolist() == [[2]]
    assert labels.unknown(1) == (5,)
    assert labels.slices() == (0, 1)


def test_class_that_is_not_painted_takes_no_pixels():
    labels = PaintedLabels(np.array([[0, 1]]), "YX", (0, 1))
    assert read(labels, 0) == [[IGNORE, 1]]


def test_channels_and_lazy_arrays():
    data = np.zeros((2, 3, 2, 2), int)
    data[1, 2, 0, 1] = 1
    labels = PaintedLabels(da.from_array(data), "ZCYX", (1, 2))
    assert read(labels, 1) == [[IGNORE, 0], [IGNORE, IGNORE]]
    assert labels.slices() == (1,)


def test_guessed_values():
    assert guess_values([1, 2, 3], 3) == (1, 2, 3)
    assert guess_values([1], 3) == (1, 2, 3)
    assert guess_values([], 2) == (1, 2)
    assert guess_values([255], 2) == (0, 255)


# ---- the tool -------------------------------------------------------------------------------


def test_nothing_until_something_is_painted(qtbot):
    viewer, _, tool = make_tool(qtbot)
    assert tool.value() is None
    button(tool, "New").click()
    layer = tool.layer
    assert viewer.layers.selection.active is layer
    assert (layer.mode, layer.selected_label, layer.data.shape) == ("paint", 2, SHAPE)
    assert tool.value() is None
    with qtbot.waitSignal(tool.value_changed):
        put(layer, ([1, 1], [3, 4], [5, 6]), 2)
    assert tool.value().slices() == (1,)
    assert tool.value().read(1)[[3, 4], [5, 6]].tolist() == [1, 1]
    assert tool.take_changed_slices() == {1}
    assert tool.take_changed_slices() == frozenset()


@pytest.mark.parametrize("z", [0, 1, 3])  # the middle one is shown
def test_all_being_erased_again_is_noticed(qtbot, z):
    viewer, _, tool = make_tool(qtbot)
    tool.start_painting()
    put(tool.layer, ([z], [4], [6]), 2)
    assert not tool.is_erased
    viewer.dims.set_current_step(0, z)
    put(tool.layer, ([z], [4], [6]), 0)
    assert tool.is_erased
    tool.layer.undo()
    assert not tool.is_erased
    tool.layer.redo()
    viewer.dims.set_current_step(0, 1)
    put(tool.layer, ([z], [4], [6]), 2)
    assert not tool.is_erased


@pytest.mark.parametrize("kwargs", [{}, PLACED, {"rgb": True, "shape": (*SHAPE, 3)}])
def test_new_layer_lies_on_the_image(qtbot, kwargs):
    _, image, tool = make_tool(qtbot, **kwargs)
    tool.start_painting()
    world = tool.layer.data_to_world((2, 3, 4))
    assert image.world_to_data(world) == pytest.approx((2, 3, 4))


def test_single_image_and_channels(qtbot):
    _, _, tool = make_tool(qtbot, shape=(20, 30))
    tool.start_painting()
    put(tool.layer, ([3], [5]), 1)
    assert tool.value().slices() == (0,)
    viewer, _, tool = make_tool(qtbot, shape=(4, 3, 20, 30))
    tool.start_painting()
    assert tool.layer.data.shape == (4, 1, 20, 30)
    put(tool.layer, ([3], [0], [5], [6]), 1)
    assert tool.value().slices() == (3,)
    for channel in range(3):
        viewer.dims.set_current_step(0, 3)
        viewer.dims.set_current_step(1, channel)
        assert tool.layer._slice.image.raw[5, 6] == 1


def test_undo_is_noticed(qtbot):
    viewer, _, tool = make_tool(qtbot)
    viewer.dims.set_current_step(0, 1)
    tool.start_painting()
    put(tool.layer, ([1], [3], [5]), 2)
    tool.take_changed_slices()
    with qtbot.waitSignal(tool.value_changed):
        tool.layer.undo()
    assert tool.value().slices() == ()
    assert tool.take_changed_slices() == {1}
    with qtbot.assertNotEmitted(tool.value_changed):
        viewer.dims.set_current_step(0, 2)
        viewer.dims.set_current_step(0, 1)


def test_undo_on_another_slice_than_the_shown_one_is_noticed(qtbot):
    viewer, _, tool = make_tool(qtbot)
    tool.start_painting()
    for z in (1, 2):
        viewer.dims.set_current_step(0, z)
        put(tool.layer, ([z], [3], [5]), 2)
    layer = tool.layer
    tool.set_value(None)
    tool.set_value(layer, (1, 2, 3))
    viewer.dims.set_current_step(0, 0)
    tool.take_changed_slices()
    for z in (2, 1):
        with qtbot.waitSignal(tool.value_changed):
            tool.layer.undo()
        assert tool.take_changed_slices() == {z}
    assert tool.is_erased
    with qtbot.waitSignal(tool.value_changed):
        tool.layer.redo()
    assert tool.take_changed_slices() == {1}


def test_adopted_layer(qtbot):
    viewer, _, tool = make_tool(qtbot)
    data = np.zeros(SHAPE, int)
    data[2, :5] = 3
    data[2, 5:8] = 1
    theirs = viewer.add_labels(data, name="theirs")
    with qtbot.waitSignal(tool.value_changed):
        pick(tool.findChild(AdoptCombo), theirs.name)
    assert tool.layer is theirs
    assert tool.value().values == (1, 2, 3)
    assert [np.count_nonzero(tool.value().read(2) == c) for c in range(3)] == [90, 0, 150]
    assert tool.take_changed_slices() is None
    with qtbot.waitSignal(tool.value_changed):
        number(tool, "Label value that stands for 'er'").setValue(9)
    assert tool.value().values == (1, 2, 9)
    viewer.dims.set_current_step(0, 2)
    assert "stand for no class and are not used: 3" in warned(tool)
    number(tool, "Label value that stands for 'er'").setValue(1)
    assert "the same label value" in warned(tool)


def test_adopted_mask_of_one_value_is_the_one_class(qtbot):
    viewer, _, tool = make_tool(qtbot, styles=STYLES[:2])
    data = np.zeros(SHAPE, np.uint8)
    data[0, 0] = 255
    tool.set_value(viewer.add_labels(data))
    assert tool.value().values == (0, 255)
    assert number(tool, "Label value that stands for 'background'").text() == "not painted"


def adopt(tool, viewer, data):
    viewer.add_labels(data, name="theirs")
    pick(tool.findChild(AdoptCombo), "theirs")
    return tool.value()


def discs(values):
    """Two discs of each value, (Z, Y, X) uint8."""
    y, x = np.mgrid[:96, :120]
    plane = np.zeros(y.shape, np.uint8)
    for i, value in enumerate(values):
        for cy, cx, radius in ((40, 30, 15), (70, 35, 10)):
            plane[(y - cy) ** 2 + (x - cx - 27 * i) ** 2 < radius**2] = value
    return np.stack([plane] * 4)


@pytest.mark.parametrize("values", [(255,), (127, 255)])
def test_adopted_mask_that_was_a_jpeg_is_what_it_was(qtbot, values):
    exact = discs(values)
    planes = []
    for plane in exact:
        file = io.BytesIO()
        Image.fromarray(plane).save(file, "JPEG", quality=75)
        planes.append(np.asarray(Image.open(file)))
    viewer, _, tool = make_tool(qtbot, shape=exact.shape, styles=STYLES[: len(values) + 1])
    labels = adopt(tool, viewer, np.stack(planes))
    assert labels.values == (0, *values)
    expected = np.select([exact == value for value in values], range(1, len(values) + 1), IGNORE)
    assert all(np.array_equal(labels.read(z), expected[z]) for z in range(4))
    assert "each counts as the nearest of 0" in said(tool)
    assert warned(tool) == ""
    assert tool.value().read(1, (30, 20, 50, 40)).shape == (20, 20)


def test_adopted_mask_of_minus_one_and_one(qtbot):
    viewer, _, tool = make_tool(qtbot, styles=STYLES[:2])
    data = np.full(SHAPE, -1, np.int8)
    data[:, 5:9] = 1
    labels = adopt(tool, viewer, data)
    assert set(np.unique(labels.read(0)).tolist()) == {1, IGNORE}
    assert (labels.read(0) == 1).sum() == 4 * 30


def test_adopted_ids_are_not_taken_for_classes(qtbot):
    ids = discs((1, 2, 3))
    viewer, _, tool = make_tool(qtbot, shape=ids.shape, styles=STYLES[:2])
    assert adopt(tool, viewer, ids) is None
    assert "ids of objects" in warned(tool)
    with qtbot.waitSignal(tool.value_changed):
        button(tool, IDS).click()
    assert np.array_equal(tool.value().read(0), np.where(ids[0] > 0, 1, IGNORE))
    assert tool.take_changed_slices() is None
    assert warned(tool) == ""
    tool.set_classes(STYLES)  # no telling which class the ids are of
    assert tool.value() is None


def test_only_layers_of_somebody_else_can_hold_ids(qtbot):
    viewer, _, tool = make_tool(qtbot, styles=STYLES[:2])
    tool.start_painting()
    assert IDS not in offered(tool)
    adopt(tool, viewer, np.ones(SHAPE, int))
    assert IDS in offered(tool)
    tool.set_classes(STYLES)
    assert IDS not in offered(tool)


def test_layer_that_does_not_fit_is_refused(qtbot):
    viewer, _, tool = make_tool(qtbot)
    viewer.add_labels(np.zeros((4, 20, 31), int), name="wide")
    pick(tool.findChild(AdoptCombo), "wide")
    assert tool.layer is None
    assert "layer 'wide' has the shape (4, 20, 31), the image (4, 20, 30)" in said(tool)
    with pytest.raises(InputError, match="does not lie on the image"):
        tool.set_value(viewer.add_labels(np.zeros(SHAPE, int), scale=(1, 2, 2)))


@pytest.mark.parametrize("shape", [(4, 20, 29), (2, 20, 30), (20, 30)])
def test_labels_that_are_cropped_are_not_used_and_told(qtbot, shape):
    viewer, _, tool = make_tool(qtbot)
    viewer.dims.set_point(0, 3)
    adopt(tool, viewer, np.ones(SHAPE, np.uint8))
    with qtbot.waitSignal(tool.value_changed):
        viewer.layers["theirs"].data = np.ones(shape, np.uint8)
    assert tool.value() is None
    assert f"not used any more: layer 'theirs' has the shape {shape}, the image" in said(tool)
    viewer.layers["theirs"].data = np.ones(SHAPE, np.uint8)
    pick(tool.findChild(AdoptCombo), "theirs")
    assert tool.value().slices() == (0, 1, 2, 3)


def test_labels_that_no_longer_lie_on_the_image_are_told_until_they_do(qtbot):
    viewer, image, tool = make_tool(qtbot)
    adopt(tool, viewer, np.ones(SHAPE, np.uint8))
    theirs = viewer.layers["theirs"]
    theirs.translate = (0, 5, 0)
    assert "Layer 'theirs' does not lie on the image" in warned(tool)
    image.translate = (0, 5, 0)
    assert warned(tool) == ""
    image.scale = (1, 2, 2)
    assert "does not lie on the image" in warned(tool)


def test_results_of_ours_are_not_offered(qtbot):
    viewer, _, tool = make_tool(qtbot)
    viewer.add_labels(np.zeros(SHAPE, int), metadata={"napari_spss": {"role": "labels"}})
    assert choices(tool.findChild(AdoptCombo)) == ["none"]


def test_deleted_layer_is_not_used_and_told(qtbot):
    viewer, _, tool = make_tool(qtbot)
    tool.start_painting()
    put(tool.layer, ([1], [3], [5]), 2)
    with qtbot.waitSignal(tool.value_changed):
        viewer.layers.remove(tool.layer)
    assert tool.value() is None
    assert "deleted" in said(tool)
    button(tool, "New").click()
    assert tool.layer in viewer.layers


def test_image_deleted_and_another_one_chosen(qtbot):
    viewer, image, tool = make_tool(qtbot)
    tool.start_painting()
    put(tool.layer, ([1], [3], [5]), 2)
    layer = tool.layer
    viewer.layers.remove(image)
    tool.set_source(None)
    assert tool.value().slices() == (1,)
    tool.set_source(viewer.add_image(np.zeros(SHAPE)))
    assert tool.layer is layer
    tool.set_source(viewer.add_image(np.zeros((20, 30))))
    assert tool.value() is None
    assert layer in viewer.layers


def test_classes_keep_their_values(qtbot):
    _, _, tool = make_tool(qtbot)
    tool.start_painting()
    put(tool.layer, ([1], [3], [5]), 3)
    tool.set_classes((STYLES[0], STYLES[2], STYLES[1]))
    assert tool.value().values == (1, 3, 2)
    tool.set_classes((STYLES[0], STYLES[2]))
    assert tool.value().values == (1, 3)
    tool.set_classes((*STYLES[::2], ClassStyle("golgi", "#009E73")))
    assert tool.value().values == (1, 3, 2)
    assert tool.value().read(1)[3, 5] == 1


def test_pixels_of_a_removed_class_become_no_other_and_come_back_with_it(qtbot):
    _, _, tool = make_tool(qtbot)
    tool.start_painting()
    put(tool.layer, ([1], [3], [5]), 3)
    golgi = ClassStyle("golgi", "#009E73")
    tool.set_classes(STYLES[:2])
    assert tool.value().read(1)[3, 5] == IGNORE
    tool.set_classes((*STYLES[:2], golgi))
    assert tool.value().read(1)[3, 5] == IGNORE
    assert tool.value().values == (1, 2, 4)
    tool.set_classes((*STYLES[:2], golgi, STYLES[2]))
    assert tool.value().read(1)[3, 5] == 3


def test_colours_of_a_new_layer_are_those_of_the_classes(qtbot):
    viewer, _, tool = make_tool(qtbot)
    tool.start_painting()
    np.testing.assert_allclose(
        tool.layer.get_color(2)[:3], np.array([230, 159, 0]) / 255, atol=0.01
    )
    theirs = viewer.add_labels(np.zeros(SHAPE, int))
    colour = theirs.get_color(2)
    tool.set_value(theirs)
    np.testing.assert_array_equal(theirs.get_color(2), colour)


def test_slice_summary_and_brush(qtbot):
    viewer, _, tool = make_tool(qtbot)
    tool.start_painting()
    viewer.dims.set_current_step(0, 1)
    assert "Slice 1: nothing painted." in said(tool)
    put(tool.layer, (np.ones(12, int), np.arange(12), np.arange(12)), 2)
    assert "Slice 1: mito 12 px." in said(tool)
    button(tool, "er").click()
    assert tool.layer.selected_label == 3


def test_destroyed_tool_lets_go_of_the_viewer(qtbot):
    viewer = ViewerModel()
    tool = PaintedTool(viewer)
    tool.set_classes(STYLES)
    tool.set_source(viewer.add_image(np.zeros(SHAPE)))
    tool.start_painting()
    layer = tool.layer
    with qtbot.waitSignal(tool.destroyed):
        tool.deleteLater()
    put(layer, ([1], [3], [5]), 2)
    viewer.dims.set_current_step(0, 2)
    viewer.layers.clear()


def test_painting_with_the_mouse(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    image = viewer.add_image(np.zeros((4, 60, 80), np.uint8), **PLACED)
    viewer.dims.set_current_step(0, 2)
    tool = PaintedTool(viewer)
    tool.set_classes(STYLES)
    tool.set_source(image)
    viewer.window.add_dock_widget(tool)
    hand = Hand(viewer, image)
    qtbot.mouseClick(button(tool, "New"), Qt.MouseButton.LeftButton)
    tool.layer.brush_size = 5
    hand.drag([(2, 20, 20), (2, 20, 40), (2, 20, 60)])
    labels = tool.value()
    assert labels.slices() == (2,)
    assert labels.read(2)[20, 20:61].tolist() == [1] * 41
    assert tool.take_changed_slices() == {2}
