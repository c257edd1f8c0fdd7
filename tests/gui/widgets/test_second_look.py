"""The second look on a viewer model: what it goes through, what it takes back, what stays."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from eye import button, said
from napari.components import ViewerModel
from napari.utils.key_bindings import coerce_keybinding

from napari_spss.core.annotations import (
    UNSURE,
    ClassStyle,
    CountingGrid,
    Look,
    Region,
    error_after_looks,
)
from napari_spss.gui.layers import LOOK_LAYER
from napari_spss.gui.layers.source_frame import camera_of
from napari_spss.gui.widgets.annotate.grid import GridTool
from napari_spss.gui.widgets.annotate.second_look import SecondLook

STYLES = (
    ClassStyle("background", "#999999", "Q"),
    ClassStyle("mito", "#E69F00", "W"),
    ClassStyle("er", "#56B4E9", "H"),
)
BOX = (16, 32, 32, 48)
X = 4.0 * np.arange(4)
GRID = CountingGrid(0, 4.0, 0.0, 0.0, np.zeros(4), X, [0, 1, 1, 0], True)
FRAME = CountingGrid(2, 4.0, 18.0, 33.0, np.full(4, 18.0), 33.0 + X, [0, 0, 1, 2], True, BOX)
LOOKS = (
    Look(Region(0), 0.0, 4.0, 1, 0, 0.9),
    Look(Region(2, BOX), 18.0, 45.0, 2, 1, 0.6),
    Look(Region(0), 0.0, 12.0, 0, 0, 0.2),
)


@pytest.fixture
def viewer():
    viewer = ViewerModel()
    viewer.add_image(np.zeros((3, 64, 96), np.uint8), name="em", scale=(50.0, 4.0, 4.0))
    return viewer


@pytest.fixture
def tool(viewer, qtbot):
    tool = GridTool(viewer)
    qtbot.addWidget(tool)
    tool.set_classes(STYLES)
    tool.set_source(viewer.layers["em"])
    tool.set_value([GRID, FRAME])
    return tool


@pytest.fixture
def panel(viewer, tool, qtbot):
    panel = SecondLook(viewer, tool)
    qtbot.addWidget(panel)
    panel.set_classes(STYLES)
    panel.set_source(viewer.layers["em"])
    return panel


def press(panel, key):
    """Press a key while the ring's layer is the active one."""
    panel.layer.keymap[coerce_keybinding(key)](panel.layer)


def classes_of(tool):
    return [grid.class_index.tolist() for grid in tool.value()]


def verdicts(panel):
    return [look.verdict for look in panel.value()]


def test_it_goes_from_node_to_node_between_grids_and_frames(viewer, tool, panel):
    assert panel.isHidden()
    panel.begin(LOOKS)
    assert not panel.isHidden()
    assert panel.current == LOOKS[0]
    assert viewer.layers.selection.active.name == LOOK_LAYER
    size = panel.layer.size[0]
    camera_of(viewer).zoom *= 2
    assert panel.layer.size[0] == size / 2  # one size on the screen
    press(panel, "Q")
    assert panel.current == LOOKS[1]
    assert viewer.dims.point[0] == 2 * 50
    assert camera_of(viewer).center[-2:] == pytest.approx((72, 178))  # of what is around it
    assert tool.layer.data[:, 1:].tolist() == np.stack([FRAME.y, FRAME.x], 1).tolist()
    press(panel, "U")
    press(panel, "K")
    assert panel.current is None
    assert verdicts(panel) == [0, UNSURE, 0]
    assert classes_of(tool) == [[0, 0, 1, 0], [0, 0, 1, UNSURE]]
    assert "3 nodes looked at again, 1 changed, 1 unsure. Press" in said(panel)


def test_later_and_back_say_nothing_and_go_no_farther_than_the_list(panel):
    panel.begin(LOOKS)
    press(panel, "B")
    assert panel.current == LOOKS[0]
    press(panel, "N")
    press(panel, "N")
    press(panel, "B")
    assert panel.current == LOOKS[1]
    press(panel, "N")
    press(panel, "N")
    assert panel.current == LOOKS[2]
    press(panel, "H")
    assert panel.current == LOOKS[0]  # the first that is left
    assert verdicts(panel) == [None, None, 2]


def test_every_step_is_taken_back_where_it_was(viewer, tool, panel):
    panel.begin(LOOKS)
    before = tool.value()
    panel.judge(0)
    panel.judge(1)
    after = tool.value()
    press(panel, "Control-Z")
    assert panel.current == LOOKS[1]
    assert viewer.dims.point[0] == 2 * 50
    press(panel, "Control-Z")
    assert panel.current == LOOKS[0]
    assert tool.value() == before
    press(panel, "Control-Shift-Z")
    press(panel, "Control-Shift-Z")
    assert tool.value() == after


def test_it_takes_no_step_of_counting_back(viewer, tool, panel):
    viewer.dims.set_point(0, 0)
    tool.finish()  # reopens the grid
    counted = tool.value()
    assert not counted[0].is_done
    panel.begin(LOOKS)
    panel.undo()
    assert tool.value() == counted
    assert not button(panel, "Undo").isEnabled()
    panel.judge(0)
    panel.undo()
    panel.undo()
    assert tool.value() == counted


def test_a_list_that_is_over_does_not_come_back(viewer, tool, panel, qtbot):
    panel.begin(LOOKS)
    for verdict in (0, 1, 0):
        panel.judge(verdict)
    looks = panel.value()
    again = SecondLook(viewer, tool)
    qtbot.addWidget(again)
    again.set_classes(STYLES)
    again.set_value(looks)
    assert again.isHidden()
    assert again.value() == looks
    again.set_value([*looks, dataclasses.replace(LOOKS[0], x=8.0)])
    assert not again.isHidden()


def test_no_node_is_surely_wrong(panel):
    panel.begin([dataclasses.replace(LOOKS[0], probability=0.999)])
    assert "You were wrong with a probability of over 99 %." in said(panel)


def test_a_verdict_can_be_another_one_later(tool, panel):
    panel.begin(LOOKS)
    panel.judge(0)
    panel.walk(step=-1)
    panel.judge(UNSURE)
    assert verdicts(panel) == [UNSURE, None, None]
    assert tool.value()[0].looks.tolist() == [0, 1, 0, 0]


def test_a_grid_that_is_removed_takes_its_nodes_and_brings_them_back(viewer, tool, panel):
    panel.begin(LOOKS)
    panel.judge(0)
    panel.walk()
    assert panel.current == LOOKS[2]
    tool.remove()
    assert panel.current is None
    assert [look.region for look in panel.value()] == [FRAME.region]
    panel.walk()
    assert panel.current == LOOKS[1]
    tool.undo()
    assert verdicts(panel) == [0, None, None]


def test_nodes_of_grids_or_classes_that_are_not_there_are_left_out(panel):
    strange = dataclasses.replace(LOOKS[0], y=2.0)
    unknown = dataclasses.replace(LOOKS[0], by_map=3)
    panel.set_value([strange, unknown, LOOKS[1]])
    assert panel.value() == (LOOKS[1],)
    assert not panel.isHidden()
    assert panel.current is None  # nobody is sent there unasked
    panel.walk()
    assert panel.current == LOOKS[1]


def test_classes_are_followed_and_nodes_of_those_that_are_gone_left_out(tool, panel):
    panel.begin(LOOKS)
    moved = (STYLES[0], STYLES[2], STYLES[1])
    for one in (tool, panel):
        one.set_classes(moved)
    assert [(look.stated, look.by_map) for look in panel.value()] == [(2, 0), (1, 2), (0, 0)]
    for one in (tool, panel):
        one.set_classes(STYLES[:2])
    assert [look.region for look in panel.value()] == [Region(0), Region(0)]


def test_looks_of_an_earlier_list_still_count_and_are_not_shown_again(panel):
    panel.begin(LOOKS[:2])
    panel.judge(0)
    panel.end()
    assert panel.isHidden()
    assert verdicts(panel) == [0]
    panel.begin(LOOKS[2:])
    assert "Node 1 of 1" in said(panel)
    panel.walk(step=-1)
    assert panel.current == LOOKS[2]
    panel.keep()
    assert verdicts(panel) == [0, 0]
    assert error_after_looks(panel.value(), 0.05) == pytest.approx(0.05 * 2 / 2.1)


def test_the_key_that_keeps_keeps_whatever_key_a_class_has(tool, panel):
    styles = (*STYLES, ClassStyle("golgi", "#009E73", "k"))
    tool.set_classes(styles)
    panel.set_classes(styles)
    panel.begin(LOOKS)
    press(panel, "K")
    assert verdicts(panel)[0] == LOOKS[0].stated
    button(panel, "golgi").click()
    assert verdicts(panel)[1] == 3


def test_a_ring_that_is_moved_comes_back_and_one_that_is_deleted_is_made_anew(viewer, panel):
    panel.begin(LOOKS)
    layer = panel.layer
    place = layer.data.copy()
    layer.data = place + 3
    np.testing.assert_array_equal(layer.data, place)
    layer.mode = "add"
    assert layer.mode == "pan_zoom"
    viewer.layers.remove(layer)
    assert panel.layer is None
    panel.keep()
    assert panel.layer in viewer.layers
    press(panel, "K")
    assert verdicts(panel) == [1, 2, None]


def test_many_classes_with_long_names_do_not_widen_the_dock(tool, panel):
    styles = tuple(ClassStyle(f"{'a rather long name '}{i}", "#E69F00") for i in range(1, 13))
    for one in (tool, panel):
        one.set_classes((STYLES[0], *styles))
    panel.begin([dataclasses.replace(LOOKS[0], by_map=0)])
    assert panel.minimumSizeHint().width() < 360


def test_a_list_is_told_once_it_is_another(panel, qtbot):
    with qtbot.waitSignal(panel.value_changed, timeout=100):
        panel.begin(LOOKS)
    with qtbot.waitSignal(panel.value_changed, timeout=100):
        panel.end()
    assert panel.value() == ()
