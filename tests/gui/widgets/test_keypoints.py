"""Keypoints as a user makes them, in a viewer model and with a hand on a real canvas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from eye import button, choices, n_seen, pick, said, warned
from hand import Hand
from napari.components import ViewerModel
from napari.layers import Points
from napari.utils.key_bindings import coerce_keybinding
from qtpy.QtCore import Qt

from napari_spss.core.annotations import ClassStyle, Keypoint, match_class
from napari_spss.core.base import InputError
from napari_spss.gui.models import follow_classes
from napari_spss.gui.widgets.adopt_combo import AdoptCombo
from napari_spss.gui.widgets.annotate.keypoints import KeypointsTool

STYLES = (
    ClassStyle("background", "#999999", "Q"),
    ClassStyle("mito", "#E69F00", "W"),
    ClassStyle("er", "#56B4E9", "H"),
)
SHAPE = (6, 80, 120)
PLACED = {"scale": (50.0, 4.0, 4.0), "translate": (7.0, -30.0, 11.0), "units": ("nm",) * 3}
POINTS = (Keypoint(2, 10.25, 20.5, 1), Keypoint(4, 70.0, 100.0, 0), Keypoint(2, 3.0, 5.0, 2))


def make_tool(qtbot, shape=SHAPE, styles=STYLES, **kwargs):
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros(shape, np.uint8), name="em", **kwargs)
    tool = KeypointsTool(viewer)
    qtbot.addWidget(tool)
    tool.set_classes(styles)
    tool.set_source(image)
    return viewer, image, tool


def add(tool, *place):
    """Add a point as napari does for a click there, in add mode."""
    tool.start_adding()
    z, y, x = place
    tool.layer.add([*(z, 0)[: tool.layer.ndim - 2], y, x])


def choose(tool, index):
    button(tool, f"{STYLES[index].name} ({STYLES[index].key})").click()


def move(layer, index, place):
    """Move a point as napari does while it is dragged."""
    layer._set_drag_start({index}, layer.data[index])
    layer._move([index], place)
    layer._drag_start = None


def classes_of(layer):
    return [str(value) for value in layer.features["class"]]


def test_points_are_added_with_the_chosen_class(qtbot):
    viewer, _, tool = make_tool(qtbot)
    assert tool.layer is None
    button(tool, "Add keypoints").click()
    assert viewer.layers.selection.active is tool.layer
    assert tool.layer.mode == "add"
    with qtbot.waitSignal(tool.value_changed):
        add(tool, 2, 10, 20)
    choose(tool, 0)
    add(tool, 3, 30, 40.5)
    assert tool.value() == (Keypoint(2, 10, 20, 1), Keypoint(3, 30, 40.5, 0))
    assert classes_of(tool.layer) == ["mito", "background"]
    assert isinstance(tool.layer.features["class"].dtype, pd.CategoricalDtype)
    np.testing.assert_allclose(tool.layer.border_color[0, :3], np.array([230, 159, 0]) / 255)
    np.testing.assert_allclose(tool.layer.border_color[1, :3], np.array([153] * 3) / 255)


def symbols_of(tool):
    return [str(symbol) for symbol in tool.layer.symbol]


def test_keypoints_without_effect_are_crosses_until_they_change(qtbot):
    _, _, tool = make_tool(qtbot)
    tool.set_value(POINTS)
    assert symbols_of(tool) == ["disc"] * 3
    tool.set_denied([POINTS[0], POINTS[1]])
    assert symbols_of(tool) == ["x", "x", "disc"]
    told = warned(tool)
    assert told.startswith("2 of 3 keypoints did not take effect")
    assert "slice 2, 4" in told
    add(tool, 3, 30, 40.5)
    assert symbols_of(tool) == ["x", "x", "disc", "disc"]
    tool.layer.selected_data = {0}
    tool.layer.remove_selected()
    assert symbols_of(tool) == ["x", "disc", "disc"]
    assert "1 of 3 keypoints" in warned(tool)
    tool.layer.keymap[coerce_keybinding("Control-Z")](tool.layer)
    assert sorted(symbols_of(tool)) == ["disc", "disc", "x", "x"]
    tool.set_denied([])
    assert symbols_of(tool) == ["disc"] * 4
    assert warned(tool) == ""


def test_an_adopted_layer_keeps_its_own_symbols(qtbot):
    viewer, _, tool = make_tool(qtbot)
    own = viewer.add_points(
        [[2, 10, 20], [3, 30, 40]], features={"class": ["mito", "er"]}, symbol=["star", "square"]
    )
    pick(tool.findChild(AdoptCombo), own.name)
    tool.set_denied([Keypoint(2, 10, 20, 1)])
    assert symbols_of(tool) == ["x", "square"]
    tool.set_denied([])
    assert symbols_of(tool) == ["disc", "square"]


def test_add_button_toggles(qtbot):
    _, _, tool = make_tool(qtbot)
    adds, selects = button(tool, "Add keypoints"), button(tool, "Select / move")
    adds.click()
    assert adds.isChecked()
    selects.click()
    assert (adds.isChecked(), selects.isChecked()) == (False, True)
    assert tool.layer.mode == "select"
    selects.click()
    assert tool.layer.mode == "pan_zoom"
    assert not selects.isChecked()


def test_round_trip_is_exact(qtbot):
    _, _, tool = make_tool(qtbot, **PLACED)
    with qtbot.waitSignal(tool.value_changed):
        tool.set_value(POINTS)
    assert tool.value() == POINTS
    with qtbot.assertNotEmitted(tool.value_changed):
        tool.set_value(POINTS)
    add(tool, 0, 0, 0)
    assert tool.value()[:3] == POINTS


@pytest.mark.parametrize("kwargs", [{}, PLACED, {"rotate": (0, 0, 30)}])
def test_points_lie_on_their_pixels(qtbot, kwargs):
    _, image, tool = make_tool(qtbot, **kwargs)
    tool.set_value(POINTS)
    for point, place in zip(POINTS, tool.layer.data, strict=True):
        world = tool.layer.data_to_world(place)
        assert image.world_to_data(world) == pytest.approx((point.slice, point.y, point.x))


@pytest.mark.parametrize(
    ("shape", "kwargs", "place", "expected"),
    [
        ((80, 120), {}, (0, 10, 20), Keypoint(0, 10, 20, 1)),
        ((80, 120, 3), {"rgb": True}, (0, 10, 20), Keypoint(0, 10, 20, 1)),
        ((6, 80, 120, 3), {"rgb": True}, (4, 10, 20), Keypoint(4, 10, 20, 1)),
        ((6, 2, 80, 120), {"scale": (9, 1, 4, 4)}, (4, 10, 20), Keypoint(4, 10, 20, 1)),
        ((2, 80, 120), {"axis_labels": ("c", "y", "x")}, (0, 10, 20), Keypoint(0, 10, 20, 1)),
    ],
)
def test_kinds_of_images(qtbot, shape, kwargs, place, expected):
    _, image, tool = make_tool(qtbot, shape=shape, **kwargs)
    add(tool, *place)
    assert tool.value() == (expected,)
    assert tool.layer.ndim == image.ndim


def test_points_show_with_every_channel(qtbot):
    viewer, _, tool = make_tool(qtbot, shape=(6, 3, 80, 120))
    add(tool, 4, 10, 20)
    viewer.dims.set_current_step(0, 4)
    for channel in range(3):
        viewer.dims.set_current_step(1, channel)
        assert n_seen(tool.layer) == 1


def test_multiscale_points_are_in_full_resolution_pixels(qtbot):
    viewer = ViewerModel()
    levels = [np.zeros((4, 64, 64)), np.zeros((4, 32, 32))]
    image = viewer.add_image(levels, multiscale=True)
    tool = KeypointsTool(viewer)
    qtbot.addWidget(tool)
    tool.set_classes(STYLES)
    tool.set_source(image)
    add(tool, 1, 60, 50)
    assert tool.value() == (Keypoint(1, 60, 50, 1),)


def test_slice_is_the_nearest_one(qtbot):
    _, _, tool = make_tool(qtbot)
    add(tool, 2.4999, 1, 1)
    add(tool, 2.5, 1, 1)
    assert [point.slice for point in tool.value()] == [2, 3]


def test_moving_and_deleting(qtbot):
    _, _, tool = make_tool(qtbot)
    tool.set_value(POINTS)
    with qtbot.waitSignal(tool.value_changed):
        move(tool.layer, 0, (2, 50.0, 60.0))
    assert tool.value()[0] == Keypoint(2, 50.0, 60.0, 1)
    with qtbot.waitSignal(tool.value_changed):
        tool.layer.selected_data = {0, 1}
        tool.layer.remove_selected()
    assert tool.value() == POINTS[2:]
    tool.layer.data = []
    assert tool.value() == ()


def test_copy_and_paste(qtbot):
    _, _, tool = make_tool(qtbot, shape=(80, 120))  # napari 0.9 fails to paste into stacks
    tool.set_value([Keypoint(0, 10, 20, 2)])
    tool.layer.selected_data = {0}
    tool.layer._copy_data()
    tool.layer._paste_data()
    assert len(tool.layer.data) == 2
    assert tool.value() == (Keypoint(0, 10, 20, 2),), "a pixel says one thing"
    move(tool.layer, 1, (30, 40))
    assert tool.value() == (Keypoint(0, 10, 20, 2), Keypoint(0, 30, 40, 2))


def test_selected_points_get_another_class(qtbot):
    _, _, tool = make_tool(qtbot)
    tool.set_value(POINTS)
    button(tool, "Select / move").click()
    tool.layer.selected_data = {0, 1}
    choose(tool, 2)
    assert [point.class_index for point in tool.value()] == [2, 2, 2]


def test_added_point_keeps_its_class_when_another_is_chosen(qtbot):
    _, _, tool = make_tool(qtbot)
    add(tool, 1, 1, 1)  # napari selects what was just added
    assert tool.layer.selected_data == {0}
    choose(tool, 2)
    add(tool, 1, 2, 2)
    assert [point.class_index for point in tool.value()] == [1, 2]


def test_button_follows_the_class_that_napari_will_give(qtbot):
    _, _, tool = make_tool(qtbot)
    tool.set_value(POINTS)
    button(tool, "Select / move").click()
    tool.layer.selected_data = {2}
    assert button(tool, "er (H)").isChecked()
    add(tool, 1, 1, 1)
    assert tool.value()[-1].class_index == 2
    assert isinstance(tool.layer.features["class"].dtype, pd.CategoricalDtype)


def test_features_edited_by_the_user(qtbot):
    _, _, tool = make_tool(qtbot)
    tool.set_value(POINTS)
    table = tool.layer.features.copy()
    table["class"] = ["ER", "nonsense", None]
    table["note"] = ["a", "b", "c"]
    tool.layer.features = table
    assert tool.value() == (Keypoint(2, 10.25, 20.5, 2),)
    text = warned(tool)
    assert "1 keypoint has the unknown class 'nonsense'" in text
    assert "1 keypoint has no class" in text
    assert list(tool.layer.features["note"]) == ["a", "b", "c"]
    button(tool, "Select / move").click()
    tool.layer.selected_data = {1, 2}
    choose(tool, 1)
    assert [point.class_index for point in tool.value()] == [2, 1, 1]
    assert warned(tool) == ""
    np.testing.assert_allclose(tool.layer.border_color[1, :3], np.array([230, 159, 0]) / 255)


def test_deleted_class_column_comes_back(qtbot):
    _, _, tool = make_tool(qtbot)
    tool.set_value(POINTS)
    tool.layer.features = pd.DataFrame(index=range(3))
    assert tool.value() == POINTS
    assert classes_of(tool.layer) == ["mito", "background", "er"]


def test_points_outside_are_kept_and_told(qtbot):
    _, _, tool = make_tool(qtbot)
    add(tool, 2, 10, 10)
    add(tool, 2, -0.6, 10)
    add(tool, 2, 10, 119.6)
    assert tool.value() == (Keypoint(2, 10, 10, 1),)
    assert len(tool.layer.data) == 3
    assert "2 keypoints lie outside the image" in warned(tool)
    move(tool.layer, 1, (2, -0.4, 10.0))
    assert len(tool.value()) == 2
    assert "1 keypoint lies outside" in warned(tool)


def test_restored_points_outside_are_told(qtbot):
    _, _, tool = make_tool(qtbot)
    tool.set_value((*POINTS, Keypoint(6, 1, 1, 1), Keypoint(0, 500, 1, 1)))
    assert tool.value() == POINTS
    assert "2 keypoints lie outside" in warned(tool)
    assert "neither used nor saved" in warned(tool)


def test_objects_are_seen_through_their_keypoints(qtbot):
    viewer, _, tool = make_tool(qtbot)
    tool.set_value(POINTS)
    add(tool, 2, 60, 60)
    assert tool.layer.face_color[:, 3].tolist() == [0, pytest.approx(0.55), 0, 0]
    theirs = viewer.add_points(np.array([[2, 5.0, 5.0]]))
    pick(tool.findChild(AdoptCombo), theirs.name)
    assert not theirs.face_color.any()


def test_looking_up_classes_takes_no_longer_with_more_points(qtbot, monkeypatch):
    looked_up = []

    def counted(name, classes):
        looked_up.append(name)
        return match_class(name, classes)

    _, _, tool = make_tool(qtbot)
    tool.set_value([Keypoint(z, y, x, y % 3) for z in range(4) for y in range(40) for x in (3, 9)])
    for module in ("models.keypoint_rows", "layers.keypoints"):
        monkeypatch.setattr(f"napari_spss.gui.{module}.match_class", counted)
    add(tool, 5, 10, 10)
    assert len(tool.value()) == 4 * 40 * 2 + 1
    assert len(looked_up) < 40


def test_size_is_the_dilation_radius(qtbot):
    _, _, tool = make_tool(qtbot, **PLACED)
    tool.set_radius_px(4)
    add(tool, 2, 10, 10)
    assert tool.layer.size.tolist() == [9]  # in pixels: napari multiplies by the layer's scale
    tool.set_radius_px(6)
    add(tool, 2, 20, 20)
    assert tool.layer.size.tolist() == [13, 13]
    assert tool.layer.current_size == 13


def test_deleted_layer_keeps_the_points_and_comes_back_on_demand(qtbot):
    viewer, _, tool = make_tool(qtbot)
    tool.set_value(POINTS)
    viewer.layers.remove(tool.layer)
    assert tool.value() == POINTS
    assert tool.layer is None
    assert "3 keypoints of it stay in use" in warned(tool)
    button(tool, "Add keypoints").click()
    assert tool.layer in viewer.layers
    assert len(tool.layer.data) == 3
    assert warned(tool) == ""
    add(tool, 0, 0, 0)
    assert tool.value() == (*POINTS, Keypoint(0, 0, 0, 1))


def test_image_deleted_and_another_one_chosen(qtbot):
    viewer, image, tool = make_tool(qtbot, **PLACED)
    tool.set_value(POINTS)
    viewer.layers.remove(image)
    tool.set_source(None)
    assert not button(tool, "Add keypoints").isEnabled()
    assert tool.value() == POINTS
    add(tool, 0, 0, 0)
    assert len(tool.value()) == 4
    again = viewer.add_image(np.zeros(SHAPE), scale=(1, 2, 2))
    tool.set_source(again)
    assert tool.value()[:3] == POINTS
    world = tool.layer.data_to_world(tool.layer.data[0])
    assert again.world_to_data(world) == pytest.approx((2, 10.25, 20.5))


def test_image_of_other_dimensions(qtbot):
    viewer, _, tool = make_tool(qtbot)
    tool.set_value(POINTS)
    tool.set_source(viewer.add_image(np.zeros((80, 120))))
    assert tool.layer.ndim == 2
    assert tool.value() == ()
    assert "3 keypoints lie outside" in warned(tool)


def test_image_that_is_no_stack_changes_nothing(qtbot):
    viewer, _, tool = make_tool(qtbot)
    tool.set_value(POINTS)
    with pytest.raises(InputError, match="shape"):
        tool.set_source(viewer.add_image(np.zeros((2, 2, 2, 8, 8))))
    assert tool.value() == POINTS


def test_image_rescaled_later_takes_the_points_along(qtbot):
    _, image, tool = make_tool(qtbot)
    tool.set_value(POINTS)
    with qtbot.assertNotEmitted(tool.value_changed):
        image.scale = (30, 0.5, 0.5)
        image.translate = (3, 2, 1)
    assert tool.value() == POINTS
    world = tool.layer.data_to_world(tool.layer.data[0])
    assert image.world_to_data(world) == pytest.approx((2, 10.25, 20.5))


def test_renamed_layer(qtbot):
    _, _, tool = make_tool(qtbot)
    tool.set_value(POINTS)
    tool.layer.name = "my clicks"
    assert tool.findChild(AdoptCombo).currentText() == "my clicks"
    add(tool, 0, 0, 0)
    assert len(tool.value()) == 4


def test_renamed_class_keeps_its_points_and_a_removed_one_is_told(qtbot):
    _, _, tool = make_tool(qtbot)
    tool.set_value(POINTS)
    renamed = (STYLES[0], ClassStyle("mitochondrion", "#E69F00", "W"), STYLES[2])
    with qtbot.assertNotEmitted(tool.value_changed):
        tool.set_classes(renamed)
    assert classes_of(tool.layer) == ["mitochondrion", "background", "er"]
    tool.set_classes((renamed[0], renamed[2]))
    assert tool.value() == (Keypoint(4, 70, 100, 0), Keypoint(2, 3, 5, 1))
    assert "unknown class 'mitochondrion'" in warned(tool)
    tool.set_classes(renamed)
    assert tool.value() == POINTS


def test_recoloured_class(qtbot):
    _, _, tool = make_tool(qtbot)
    tool.set_value(POINTS)
    tool.set_classes((STYLES[0], ClassStyle("mito", "#FF0000", "W"), STYLES[2]))
    np.testing.assert_allclose(tool.layer.border_color[0], (1, 0, 0, 1))


def test_follow_classes_by_name_and_by_place():
    old = ("background", "a", "b")
    assert follow_classes(old, ("background", "b", "a")) == (0, 2, 1)
    assert follow_classes(old, ("background", "c", "b")) == (0, 1, 2)
    assert follow_classes(old, ("tissue", "b")) == (0, None, 1)
    assert follow_classes(old, ("background",)) == (0, None, None)


def test_adopted_layer_with_classes(qtbot):
    viewer, _, tool = make_tool(qtbot, **PLACED)
    theirs = viewer.add_points(
        [[100, 10, 20], [107, -30, 11]], features={"class": ["Mito", "2"]}, name="theirs"
    )  # in world coordinates
    pick(tool.findChild(AdoptCombo), theirs.name)
    assert tool.layer is theirs
    assert tool.value() == (Keypoint(2, 10, 2.25, 1), Keypoint(2, 0, 0, 2))
    assert classes_of(theirs) == ["mito", "er"]
    np.testing.assert_array_equal(theirs.data, [[100, 10, 20], [107, -30, 11]])
    assert theirs.size[0] == 4 * 7  # radius 3 px of 4 nm, in a layer of scale 1


@pytest.mark.parametrize(
    ("places", "news"),
    [
        ([(1, 2, 3)], "1 keypoint had no class; it is 'mito' now."),
        ([(1, 2, 3), (4, 5, 6)], "2 keypoints had no class; they are 'mito' now."),
    ],
)
def test_adopted_points_without_class_get_the_chosen_one(qtbot, places, news):
    viewer, _, tool = make_tool(qtbot)
    theirs = viewer.add_points(places)
    pick(tool.findChild(AdoptCombo), theirs.name)
    assert tool.value() == tuple(Keypoint(*place, 1) for place in places)
    assert news in said(tool)


def test_adopting_keeps_the_former_layer_and_orphaned_points(qtbot):
    viewer, _, tool = make_tool(qtbot)
    tool.set_value(POINTS)
    former = tool.layer
    theirs = viewer.add_points([[1, 2, 3]], features={"class": ["mito"]})
    pick(tool.findChild(AdoptCombo), theirs.name)
    assert tool.value() == (Keypoint(1, 2, 3, 1),)
    assert len(former.data) == 3
    pick(tool.findChild(AdoptCombo), former.name)
    assert tool.value() == POINTS
    viewer.layers.remove(former)
    pick(tool.findChild(AdoptCombo), theirs.name)
    assert tool.value() == (Keypoint(1, 2, 3, 1), *POINTS)


def test_layer_of_other_dimensions_is_refused(qtbot):
    viewer, _, tool = make_tool(qtbot)
    tool.set_value(POINTS)
    viewer.add_points([[1, 2]], name="flat")
    pick(tool.findChild(AdoptCombo), "flat")
    assert tool.value() == POINTS
    assert "layer 'flat' has 2 axes, the image has 3" in said(tool)


def test_counting_grid_is_not_offered(qtbot):
    viewer, _, tool = make_tool(qtbot)
    viewer.add_points([[1, 2, 3]], name="grid", metadata={"napari_spss": {"role": "counting grid"}})
    assert choices(tool.findChild(AdoptCombo)) == ["new layer"]


def test_value_before_source_and_classes(qtbot):
    viewer = ViewerModel()
    tool = KeypointsTool(viewer)
    qtbot.addWidget(tool)
    assert tool.value() == ()
    assert not button(tool, "Add keypoints").isEnabled()
    tool.set_classes(STYLES)
    tool.set_value(POINTS)
    assert tool.value() == POINTS
    tool.set_source(viewer.add_image(np.zeros(SHAPE)))
    assert tool.value() == POINTS
    assert len(tool.layer.data) == 3


def test_restoring_leaves_the_active_layer(qtbot):
    viewer, image, tool = make_tool(qtbot)
    viewer.layers.selection.active = image
    tool.set_value(POINTS)
    assert viewer.layers.selection.active is image


def test_counts(qtbot):
    viewer, _, tool = make_tool(qtbot)
    assert "No keypoints yet." in said(tool)
    viewer.dims.set_current_step(0, 2)
    tool.set_value(POINTS)
    assert "background 1, mito 1, er 1 (2 of 3 on slice 2)" in said(tool)
    viewer.dims.set_current_step(0, 4)
    assert "(1 of 3 on slice 4)" in said(tool)


def test_destroyed_tool_lets_go_of_the_viewer(qtbot):
    viewer = ViewerModel()
    tool = KeypointsTool(viewer)
    tool.set_classes(STYLES)
    tool.set_source(viewer.add_image(np.zeros(SHAPE)))
    tool.set_value(POINTS)
    layer = tool.layer
    with qtbot.waitSignal(tool.destroyed):
        tool.deleteLater()
    assert not layer.keymap
    layer.add([1, 1, 1])
    viewer.dims.set_current_step(0, 5)
    viewer.layers.clear()


# ---- a hand on a real canvas ----------------------------------------------------------------


@pytest.fixture
def shown(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1000, 800)
    image = viewer.add_image(np.zeros((4, 60, 80), np.uint8), **PLACED)
    viewer.dims.set_current_step(0, 2)
    tool = KeypointsTool(viewer)
    tool.set_classes((*STYLES, ClassStyle("golgi", "#009E73", "2")))
    tool.set_source(image)
    viewer.window.add_dock_widget(tool)
    return viewer, tool, Hand(viewer, image)


def test_clicking_points_with_mouse_and_keys(shown, qtbot):
    viewer, tool, hand = shown
    qtbot.mouseClick(button(tool, "Add keypoints"), Qt.MouseButton.LeftButton)
    hand.click((2, 20, 30))
    hand.press(Qt.Key.Key_Q)
    hand.click((2, 40, 50))
    hand.press(Qt.Key.Key_H)
    hand.click((2, 10, 10))
    assert [p.class_index for p in tool.value()] == [1, 0, 2]
    expected = [(2, 20, 30), (2, 40, 50), (2, 10, 10)]
    for point, place in zip(tool.value(), expected, strict=True):
        assert (point.slice, point.y, point.x) == pytest.approx(place, abs=0.2)

    hand.press(Qt.Key.Key_3)  # napari's own key for select mode still works
    assert tool.layer.mode == "select"
    hand.click((2, 40, 50))
    hand.drag([(2, 40, 50), (2, 45, 60), (2, 50, 70)])
    assert tool.value()[1].y == pytest.approx(50, abs=0.3)
    assert tool.value()[1].x == pytest.approx(70, abs=0.3)
    hand.press(Qt.Key.Key_W)
    assert [p.class_index for p in tool.value()] == [1, 1, 2]
    hand.press(Qt.Key.Key_Delete)
    assert [p.class_index for p in tool.value()] == [1, 2]

    assert "no keys: 2." in warned(tool)  # 2 is napari's key for add mode
    hand.press(Qt.Key.Key_2)
    assert tool.layer.mode == "add"
    hand.click((2, 30, 30))
    viewer.dims.set_current_step(0, 3)
    hand.click((3, 30, 30))
    assert [p.slice for p in tool.value()] == [2, 2, 2, 3]
    assert isinstance(tool.layer, Points)


def test_every_edit_is_taken_back_and_repeated_by_the_keys(shown):
    viewer, tool, hand = shown
    button(tool, "Add keypoints").click()
    values = [tool.value()]

    def note():
        assert tool.value() != values[-1]
        values.append(tool.value())

    hand.click((2, 20, 30))
    note()
    hand.press(Qt.Key.Key_Q)
    hand.click((2, 40, 50))
    note()
    viewer.dims.set_current_step(0, 3)
    hand.click((3, 30, 30))
    note()
    viewer.dims.set_current_step(0, 2)
    button(tool, "Select / move").click()
    hand.click((2, 40, 50))
    hand.drag([(2, 40, 50), (2, 45, 60), (2, 48, 65), (2, 50, 70)])  # one step, all of it
    note()
    hand.press(Qt.Key.Key_W)
    note()
    hand.press(Qt.Key.Key_Delete)
    note()
    control, shift = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
    for value in values[-2::-1]:
        hand.press(Qt.Key.Key_Z, control)
        assert tool.value() == value
        assert len(tool.layer.data) == len(value)
        if value == values[2]:  # the point of slice 3 went, and was seen to go
            assert viewer.dims.current_step[0] == 3
    hand.press(Qt.Key.Key_Z, control)
    assert tool.value() == ()
    for value in values[1:]:
        hand.press(Qt.Key.Key_Z, control | shift)
        assert tool.value() == value
    hand.press(Qt.Key.Key_Z, control | shift)
    assert tool.value() == values[-1]


def test_nothing_is_taken_back_beyond_a_restored_value(shown):
    _, tool, hand = shown
    button(tool, "Add keypoints").click()
    hand.click((2, 20, 30))
    tool.set_value(POINTS[:1])
    hand.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert tool.value() == POINTS[:1]
