"""Counting on grids: the book-keeping, the tool on a viewer model, and a hand on a real canvas."""

from __future__ import annotations

import math
from functools import partial
from time import thread_time

import numpy as np
import pytest
from eye import button, click_on, n_seen, number, offered, said, warned
from hand import Hand
from hypothesis import given, settings, strategies as st
from napari.components import ViewerModel
from napari.layers import Points
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton, QSpinBox

from napari_spss.core.annotations import (
    UNSURE,
    Annotations,
    ClassStyle,
    CountingGrid,
    Region,
    read_annotations,
    wilson_interval,
    write_grid,
)
from napari_spss.core.base import InputError
from napari_spss.gui.models import UNTOUCHED, GridBook, n_marked, next_slice, tally
from napari_spss.gui.widgets.annotate.grid import GridTool
from napari_spss.gui.widgets.annotate.grid_list import GridList

STYLES = (
    ClassStyle("background", "#999999", "Q"),
    ClassStyle("mito", "#E69F00", "W"),
    ClassStyle("er", "#56B4E9", "H"),
)
WITH_OUTSIDE = (*STYLES, ClassStyle("resin", "#000000", "J", is_outside=True))
SHAPE = (6, 80, 120)


def square_grid(z=0, n=4, spacing=10.0, classes=None, is_done=False):
    y, x = (a.ravel() for a in np.mgrid[0:n, 0:n] * spacing + 5)
    marks = np.full(n * n, UNTOUCHED) if classes is None else np.array(classes)
    return CountingGrid(z, spacing, 5.0, 5.0, y, x, marks, is_done)


# ---- grids and books ------------------------------------------------------------------------


def test_done_makes_untouched_nodes_background_and_keeps_unsure_ones_also_when_reopened():
    book = GridBook()
    book.set_value([square_grid().with_class([0, 1, 2], 1).with_class([3], UNSURE)])
    for act in (book.finish, book.reopen, book.finish):
        act(Region(0))
        assert book.value()[0].class_index.tolist() == [1, 1, 1, -1] + [0] * 12
    assert book.value()[0].judged_counts(2).tolist() == [12, 3]


def test_tally_counts_untouched_nodes_as_misses_and_leaves_unsure_and_outside_out():
    grid = square_grid().with_class([0, 1], 1).with_class([2], UNSURE).with_class([3, 4], 3)
    _, mito, er, resin = tally(grid, WITH_OUTSIDE)
    assert (mito.hits, mito.n) == (2, 13)
    assert mito.fraction == pytest.approx(2 / 13)
    assert mito.interval == wilson_interval(2, 13)
    assert (er.hits, er.n) == (0, 13)
    assert (resin.hits, resin.n, resin.fraction, resin.interval) == (2, None, None, None)


def test_nearest_node_and_none_beyond_the_radius():
    assert square_grid().nearest(14.0, 26.0, 5.0) == 6
    assert square_grid().nearest(10.0, 10.0, 5.0) is None


@settings(max_examples=50, deadline=None)
@given(
    st.tuples(st.floats(0, 40), st.floats(0, 40)),
    st.tuples(st.floats(0, 40), st.floats(0, 40)),
    st.floats(0.5, 6),
)
def test_nodes_along_a_line_are_those_near_one_of_its_points(start, end, radius):
    grid = square_grid()
    along = set(grid.along(start, end, radius).tolist())
    parts = np.linspace(0, 1, 400)[:, None]
    line = np.array(start) * (1 - parts) + np.array(end) * parts
    nodes = np.stack([grid.y, grid.x], axis=1)
    distance = np.hypot(*(nodes[:, None] - line[None]).transpose(2, 0, 1)).min(axis=1)
    step = math.dist(start, end) / 399
    assert set(np.flatnonzero(distance <= radius - step).tolist()) <= along
    assert along <= set(np.flatnonzero(distance <= radius + 1e-9 + step).tolist())


def test_every_kind_of_step_is_undone_and_redone():
    book, rng = GridBook(), np.random.default_rng(0)
    states = [book.value()]
    book.lay(2, (64, 64), n_side=4, rng=rng)
    states.append(book.value())
    for act in (
        lambda: book.mark(Region(2), [0, 3], 1),
        lambda: book.finish(Region(2)),
        lambda: book.reopen(Region(2)),
        lambda: book.remove(Region(2)),
    ):
        act()
        states.append(book.value())
    for state in states[-2::-1]:
        assert book.undo() == Region(2)
        assert book.value() == state
    assert book.undo() is None
    for state in states[1:]:
        assert book.redo() == Region(2)
        assert book.value() == state
    assert book.redo() is None


def test_stroke_is_undone_as_a_whole_and_a_new_step_ends_redo():
    book = GridBook()
    book.set_value([square_grid()])
    assert book.mark(Region(0), [0], 1)
    assert book.mark(Region(0), [1], 1, with_last=True)
    assert not book.mark(Region(0), [1], 1, with_last=True)
    book.undo()
    assert not n_marked(book.value()[0])
    assert book.history.canRedo()
    book.mark(Region(0), [5], 1)
    assert not book.history.canRedo()


def test_counted_grid_is_not_marked():
    book = GridBook()
    book.set_value([square_grid(classes=[0] * 16, is_done=True)])
    assert not book.mark(Region(0), [0], 1)
    assert book.value()[0].class_index[0] == 0


def test_second_grid_on_a_slice_is_refused():
    book = GridBook()
    book.set_value([square_grid(z=3)])
    with pytest.raises(InputError, match="slice 3 has a grid"):
        book.lay(3, (64, 64), n_side=4, rng=np.random.default_rng(0))


def test_removed_class_leaves_its_nodes_unsure_and_moved_ones_follow():
    book = GridBook()
    book.set_value([square_grid(classes=[1, 2, 2] + [0] * 13, is_done=True)])
    assert book.follow_classes(("background", "mito", "er"), ("background", "er")) == 1
    assert book.value()[0].class_index.tolist() == [-1, 1, 1] + [0] * 13


def test_frames_stay_beside_the_grids_and_follow_the_classes():
    book = GridBook()
    frame = square_grid(classes=[2] + [1] * 15).replace(box=(0, 0, 40, 40))
    whole = square_grid(z=1)
    book.set_value([frame, square_grid(), whole, frame.replace(box=(40, 0, 80, 40))])
    book.remove(Region(0))
    assert book.value() == (whole, frame, frame.replace(box=(40, 0, 80, 40)))
    assert book.follow_classes(["background", "mito", "er"], ["background", "er"]) == 30
    assert book.value()[1].class_index.tolist() == [1] + [UNSURE] * 15


def test_nodes_come_back_with_a_class_that_was_removed():
    three, two = ("background", "mito", "er"), ("background", "er")
    book = GridBook()
    book.set_value([square_grid(classes=[1, 2, 2, 1] + [0] * 12), square_grid(z=2)])
    book.follow_classes(three, two)
    book.mark(Region(0), [3], 0)  # judged anew meanwhile
    book.follow_classes(two, ("background", "er", "mito"))
    assert book.value()[0].class_index.tolist() == [2, 1, 1, 0] + [0] * 12
    book.follow_classes(("background", "er", "mito"), two)
    book.set_value([square_grid(classes=[-1] * 16)])
    book.follow_classes(two, three)
    assert book.value()[0].class_index.tolist() == [-1] * 16, "nothing of other grids"


@given(st.integers(1, 40))
def test_suggestions_visit_every_slice_once(n):
    counted: list[int] = []
    while (z := next_slice(n, counted)) is not None:
        counted.append(z)
    assert sorted(counted) == list(range(n))


def test_suggestions_halve_the_gaps():
    assert next_slice(100, [0]) == 50
    assert next_slice(101, [50]) == 24


# ---- the tool on a viewer model -------------------------------------------------------------


def make_tool(qtbot, shape=SHAPE, styles=STYLES, **kwargs):
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros(shape, np.uint8), name="em", **kwargs)
    tool = GridTool(viewer)
    tool.rng = np.random.default_rng(3)
    qtbot.addWidget(tool)
    tool.set_classes(styles)
    tool.set_source(image)
    return viewer, image, tool


def choose(tool, index):
    style = ClassStyle("unsure", key="U") if index == UNSURE else WITH_OUTSIDE[index]
    button(tool, f"{style.name} ({style.key})").click()


def paint(tool, *nodes):
    for node in nodes:
        click_on(tool.layer, tool.layer.data[node])


PLACED = {
    "scale": (50.0, 4.0, 4.0),
    "translate": (7.0, -30.0, 11.0),
    "units": ("nm", "nm", "nm"),
}


@pytest.mark.parametrize("kwargs", [{}, PLACED, {"rgb": True, "shape": (*SHAPE, 3)}])
def test_grid_is_laid_on_the_current_slice(qtbot, kwargs):
    viewer, image, tool = make_tool(qtbot, **kwargs)
    viewer.dims.set_current_step(0, 4)
    with qtbot.waitSignal(tool.value_changed):
        button(tool, "Lay grid").click()
    (grid,) = tool.value()
    assert grid.slice == 4
    assert not grid.is_done
    assert grid.n_nodes == pytest.approx(256, rel=0.2)
    assert viewer.layers.selection.active is tool.layer
    nodes = [image.world_to_data(tool.layer.data_to_world(p)) for p in tool.layer.data]
    np.testing.assert_allclose(nodes, np.stack([np.full(grid.n_nodes, 4), grid.y, grid.x], 1))


def test_tab_goes_through_the_tool_from_top_to_bottom(qtbot):
    tool = GridTool(ViewerModel())
    qtbot.addWidget(tool)
    one, order = tool.nextInFocusChain(), []
    while one is not tool:
        if isinstance(one, (QAbstractButton, QSpinBox)) and one.isVisibleTo(tool):
            order.append(one.text())
        one = one.nextInFocusChain()
    assert order == [
        *("Propose", "for 5 min", "Whole slice", "Frames", "Lay grid", "16"),
        *("Undo", "Redo", "Remove", "Done", "then the next slice", "Open CSV…"),
    ]


def test_single_image_and_channels(qtbot):
    _, _, tool = make_tool(qtbot, shape=(80, 120))
    tool.lay_grid()
    assert tool.value()[0].slice == 0
    assert tool.layer.ndim == 2
    viewer, image, tool = make_tool(qtbot, shape=(5, 2, 80, 120), scale=(9, 1, 2, 2))
    viewer.dims.set_current_step(0, 3)
    tool.lay_grid()
    assert tool.value()[0].slice == 3
    for channel in (0, 1):
        viewer.dims.set_current_step(1, channel)
        assert n_seen(tool.layer) == tool.value()[0].n_nodes
    world = tool.layer.data_to_world(tool.layer.data[0])
    assert image.world_to_data(world)[[0, 2, 3]] == pytest.approx(
        (3, tool.value()[0].y[0], tool.value()[0].x[0])
    )


def test_offset_is_random_and_the_number_of_nodes_adjustable(qtbot):
    viewer, _, tool = make_tool(qtbot)
    number(tool, "About this many nodes").setValue(8)
    for z in range(4):
        viewer.dims.set_current_step(0, z)
        tool.lay_grid()
    offsets = {(grid.offset_y, grid.offset_x) for grid in tool.value()}
    assert len(offsets) == 4
    assert all(45 <= grid.n_nodes <= 85 for grid in tool.value())


def test_help_goes_with_the_grid_that_it_is_about(qtbot):
    viewer, _, tool = make_tool(qtbot)
    tool.lay_grid()
    assert "Click the nodes" in said(tool)
    viewer.dims.set_current_step(0, viewer.dims.current_step[0] + 1)
    assert "Click the nodes" not in said(tool)
    assert "Lay a grid on this slice" in said(tool)


def test_only_the_current_slice_shows_its_grid(qtbot):
    viewer, _, tool = make_tool(qtbot)
    viewer.dims.set_current_step(0, 1)
    tool.lay_grid()
    n = tool.value()[0].n_nodes
    viewer.dims.set_current_step(0, 2)
    assert len(tool.layer.data) == 0
    viewer.dims.set_current_step(0, 1)
    assert len(tool.layer.data) == n
    assert n_seen(tool.layer) == n


def test_toggling_and_classes(qtbot):
    _, _, tool = make_tool(qtbot)
    tool.lay_grid()
    paint(tool, 0, 1, 2)
    choose(tool, 2)
    paint(tool, 1)
    choose(tool, 1)
    paint(tool, 0)  # has the class already: taken back
    assert tool.value()[0].class_index[:4].tolist() == [UNTOUCHED, 2, 1, UNTOUCHED]
    choose(tool, 0)
    paint(tool, 2)
    assert tool.value()[0].class_index[:4].tolist() == [UNTOUCHED, 2, UNTOUCHED, UNTOUCHED]


def test_looks_tell_hits_from_misses(qtbot):
    _, _, tool = make_tool(qtbot, styles=WITH_OUTSIDE)
    tool.lay_grid()
    for node, chosen in enumerate((1, 2, 3, UNSURE)):
        choose(tool, chosen)
        paint(tool, node)
    symbols = [str(symbol) for symbol in tool.layer.symbol[:5]]
    assert symbols == ["disc", "disc", "x", "diamond", "cross"]
    np.testing.assert_allclose(tool.layer.border_color[0, :3], np.array([230, 159, 0]) / 255)
    np.testing.assert_allclose(tool.layer.border_color[1, :3], np.array([86, 180, 233]) / 255)
    assert tool.layer.canvas_size_limits[0] == 0
    # at most 0.6 spacings wide, so that the image is seen between them, else of one size on screen
    assert np.ptp(tool.layer.size) == 0
    assert tool.layer.size[0] == pytest.approx(0.6 * tool.value()[0].spacing_px)


def test_done_marks_the_slice_counted_and_moves_on(qtbot):
    viewer, _, tool = make_tool(qtbot)
    viewer.dims.set_current_step(0, 2)
    tool.lay_grid()
    paint(tool, 0, 1)
    with qtbot.waitSignal(tool.grid_done) as done:
        button(tool, "Done").click()
    assert done.args == [2]
    counted = next(grid for grid in tool.value() if grid.slice == 2)
    assert counted.is_done
    assert counted.judged_counts(3).tolist() == [counted.n_nodes - 2, 2, 0]
    assert viewer.dims.current_step[0] == 4  # the farthest from slice 2 and both ends
    assert {grid.slice for grid in tool.value()} == {2, 4}


def test_done_follows_suggestions_and_stays_if_told(qtbot):
    viewer, _, tool = make_tool(qtbot)
    tool.set_suggested_slices([0, 5, 1])
    viewer.dims.set_current_step(0, 0)
    tool.lay_grid()
    tool.finish()
    assert viewer.dims.current_step[0] == 5
    button(tool, "then the next slice").setChecked(False)
    tool.finish()
    assert viewer.dims.current_step[0] == 5
    assert len(tool.value()) == 2


def test_done_without_a_hit_says_that_the_slice_counts_as_empty(qtbot):
    viewer, _, tool = make_tool(qtbot)
    viewer.dims.set_current_step(0, 2)
    tool.lay_grid()
    tool.finish()
    assert "No node of slice 2 is marked" in said(tool)
    assert "This is slice 4" in said(tool)
    paint(tool, 0)
    tool.finish()
    assert "is marked" not in said(tool)


def test_last_slice_says_so(qtbot):
    _, _, tool = make_tool(qtbot, shape=(80, 120))
    tool.lay_grid()
    tool.finish()
    assert "All slices are counted" in said(tool)
    assert "Reopen" in offered(tool)


def test_undo_of_done_returns_to_the_slice(qtbot):
    viewer, _, tool = make_tool(qtbot)
    viewer.dims.set_current_step(0, 2)
    tool.lay_grid()
    paint(tool, 0)
    tool.finish()
    button(tool, "Undo").click()
    assert viewer.dims.current_step[0] == 2
    assert [(grid.slice, grid.is_done) for grid in tool.value()] == [(2, False)]
    button(tool, "Redo").click()
    assert [(grid.slice, grid.is_done) for grid in tool.value()] == [(2, True), (4, False)]


def test_remove_and_undo(qtbot):
    _, _, tool = make_tool(qtbot)
    tool.lay_grid()
    paint(tool, 0)
    before = tool.value()
    button(tool, "Remove").click()
    assert tool.value() == ()
    assert len(tool.layer.data) == 0
    button(tool, "Undo").click()
    assert tool.value() == before


def test_unsure_node_changes_the_value_and_its_undo_too(qtbot):
    _, _, tool = make_tool(qtbot)
    tool.lay_grid()
    choose(tool, UNSURE)
    with qtbot.waitSignal(tool.value_changed):  # or it would not be saved
        paint(tool, 2)
    assert tool.value()[0].class_index[2] == UNSURE
    with qtbot.waitSignal(tool.value_changed):
        tool.undo()
    assert tool.value()[0].class_index[2] == UNTOUCHED
    with qtbot.waitSignal(tool.value_changed):
        tool.redo()
    assert tool.value()[0].class_index[2] == UNSURE


def test_a_table_joins_what_is_counted_as_one_step(qtbot, tmp_path, monkeypatch):
    laid = tuple(square_grid(z) for z in (2, 5))  # as `napari-spss plan` writes them
    write_grid(tmp_path / "grid.csv", Annotations(("background", "object"), grids=laid))
    ask = staticmethod(lambda *_: (str(tmp_path / "grid.csv"), ""))
    monkeypatch.setattr("qtpy.QtWidgets.QFileDialog.getOpenFileName", ask)
    viewer, _, tool = make_tool(qtbot)
    counted = (square_grid(0, classes=[0] * 16, is_done=True), square_grid(2, n=3))
    tool.set_value(counted)
    with qtbot.waitSignal(tool.value_changed):
        button(tool, "Open CSV…").click()
    assert tool.value() == (counted[0], *laid)
    assert viewer.dims.current_step[0] == 2
    assert "Opened grid.csv: 2 grids, in place of 1." in said(tool)
    paint(tool, 1)
    button(tool, "Done").click()
    assert tool.value()[1].judged_counts(3).tolist() == [15, 1, 0]
    for _ in range(3):
        tool.undo()
    assert tool.value() == counted


def test_done_goes_to_a_grid_that_is_laid_before_it_lays_one(qtbot):
    viewer, _, tool = make_tool(qtbot)
    tool.set_value([square_grid(0), square_grid(1)])
    tool.set_suggested_slices([4])
    viewer.dims.set_current_step(0, 0)
    shown = []
    for _ in range(2):
        button(tool, "Done").click()
        shown.append(viewer.dims.current_step[0])
    assert shown == [1, 4]


@pytest.mark.parametrize(
    ("grids", "names", "reason"),
    [
        ((square_grid(6),), ("background", "object"), "slice"),
        ((square_grid(0, classes=[1] * 16),), ("background", "vesicle"), "vesicle"),
        ((), ("background", "object"), "no node"),
    ],
)
def test_a_table_of_something_else_is_refused(qtbot, tmp_path, monkeypatch, grids, names, reason):
    write_grid(tmp_path / "grid.csv", Annotations(names, grids=grids))
    ask = staticmethod(lambda *_: (str(tmp_path / "grid.csv"), ""))
    monkeypatch.setattr("qtpy.QtWidgets.QFileDialog.getOpenFileName", ask)
    _, _, tool = make_tool(qtbot)
    button(tool, "Open CSV…").click()
    assert tool.value() == ()
    assert reason in said(tool)


def test_frames_of_a_table_go_before_those_at_their_places(qtbot, tmp_path):
    _, _, tool = make_tool(qtbot)
    (frame,) = (square_grid(1).replace(box=(0, 0, 40, 40)),)
    other = square_grid(1).replace(box=(0, 60, 40, 100), x=square_grid(1).x + 60)
    tool.set_value((square_grid(1), frame, other))
    write_grid(tmp_path / "grid.csv", Annotations(("background", "object"), grids=(frame,)))
    tool.open_csv(tmp_path / "grid.csv")
    assert tool.value() == (square_grid(1), other, frame)
    assert "Frame 2 of 2, slice 1" in said(tool)


@pytest.mark.parametrize("is_done", [False, True])
def test_stored_unsure_nodes_are_unsure_again(qtbot, tmp_path, is_done):
    names = tuple(style.name for style in STYLES)
    marks = [1, UNSURE, 0, 2, *([0] * 12 if is_done else [UNTOUCHED] * 12)]
    grids = (square_grid(2, classes=marks, is_done=is_done),)
    write_grid(tmp_path / "grid.csv", Annotations(names, grids=grids))
    viewer, _, tool = make_tool(qtbot)
    tool.set_value(read_annotations(grid=tmp_path / "grid.csv", classes=names).grids)
    viewer.dims.set_current_step(0, 2)
    assert tool.value() == grids
    assert [str(s) for s in tool.layer.symbol[:3]] == ["disc", "diamond", "cross"]
    assert not tool.layer.face_color[:2, 3].any()  # the image is seen through them
    if is_done:
        tool.finish()  # reopens it
        assert tool.value()[0].class_index.tolist() == marks
        button(tool, "then the next slice").setChecked(False)
        paint(tool, 1)
        assert tool.value()[0].class_index[1] == 1
        tool.undo()
    button(tool, "then the next slice").setChecked(False)
    tool.finish()
    assert tool.value()[0].class_index.tolist() == [1, UNSURE, 0, 2] + [0] * 12
    assert tool.value()[0].judged_counts(3).sum() == 15


def test_laying_twice_keeps_the_grid(qtbot):
    _, _, tool = make_tool(qtbot)
    tool.lay_grid()
    paint(tool, 0)
    before = tool.value()
    tool.lay_grid()
    assert tool.value() == before
    assert "has a grid" in said(tool)


def test_value_round_trip(qtbot):
    viewer, _, tool = make_tool(qtbot)
    grids = (square_grid(1), square_grid(3, classes=[1] + [0] * 15, is_done=True))
    with qtbot.waitSignal(tool.value_changed):
        tool.set_value(grids)
    assert tool.value() == grids
    assert viewer.layers.selection.active is not None
    with qtbot.assertNotEmitted(tool.value_changed):
        tool.set_value(grids)
    rows = [[tool.findChild(GridList).item(r, c).text() for c in range(3)] for r in range(2)]
    assert rows == [["1", "0 / 16", "open"], ["3", "1 / 16", "done"]]
    tool.findChild(GridList).cellClicked.emit(1, 0)
    assert viewer.dims.current_step[0] == 3


def test_value_before_a_source_is_kept(qtbot):
    viewer = ViewerModel()
    tool = GridTool(viewer)
    qtbot.addWidget(tool)
    tool.set_value([square_grid()])
    assert tool.value() == (square_grid(),)
    tool.lay_grid()
    assert "Choose an image" in said(tool)
    tool.set_classes(STYLES)
    tool.set_source(viewer.add_image(np.zeros(SHAPE)))
    viewer.dims.set_current_step(0, 0)
    assert len(tool.layer.data) == 16


def test_live_tally(qtbot):
    _, _, tool = make_tool(qtbot, styles=WITH_OUTSIDE)
    assert "No grid on this slice." in said(tool)
    tool.lay_grid()
    n = tool.value()[0].n_nodes
    paint(tool, 0, 1, 2)
    low, high = wilson_interval(3, n)
    text = said(tool)
    assert f"3 / {n}" in text
    assert f"{300 / n:.1f} %" in text
    assert f"({100 * low:.1f}\u2013{100 * high:.1f} %)" in text
    assert "95 % interval" in text


def test_no_thread_of_naparis_looks_for_nodes_while_they_are_sliced(qtbot):
    _, _, tool = make_tool(qtbot)
    tool.lay_grid()
    grid = tool.value()[0]
    assert tool.layer.get_value((grid.slice, grid.y[0], grid.x[0]), world=False) is None


def test_deleted_layer_keeps_the_counts_and_comes_back_on_demand(qtbot):
    viewer, _, tool = make_tool(qtbot)
    tool.lay_grid()
    paint(tool, 0)
    before = tool.value()
    viewer.layers.remove(tool.layer)
    assert tool.value() == before
    assert tool.layer is None
    assert "kept" in said(tool)
    viewer.dims.set_current_step(0, 1)
    assert tool.layer is None
    viewer.dims.set_current_step(0, before[0].slice)
    button(tool, "Show grid").click()
    assert tool.layer in viewer.layers
    assert len(tool.layer.data) == before[0].n_nodes
    assert tool.value() == before


def test_all_layers_deleted_at_once(qtbot):
    viewer, _, tool = make_tool(qtbot)
    tool.lay_grid()
    before = tool.value()
    viewer.layers.clear()
    tool.set_source(None)
    assert tool.value() == before
    assert not button(tool, "Lay grid").isEnabled()


def test_slider_that_moves_while_the_image_is_deleted_makes_no_layer(qtbot):
    viewer, _, tool = make_tool(qtbot)
    viewer.dims.set_current_step(0, 0)
    tool.lay_grid()
    grids = tool.value()
    viewer, image, tool = make_tool(qtbot)  # shows a slice in the middle
    tool.set_value(grids)
    viewer.add_points([[0, 1, 1], [5, 1, 1]])  # keeps the slider
    viewer.layers.remove(image)
    viewer.dims.set_point(0, 0)  # the tool has not heard of it yet
    assert tool.layer is None
    assert len(viewer.layers) == 1
    viewer.layers.append(image)
    tool.set_source(image)
    assert tool.layer in viewer.layers
    assert tool.value() == grids


def test_renamed_layer_is_still_ours(qtbot):
    _, _, tool = make_tool(qtbot)
    tool.lay_grid()
    tool.layer.name = "my count"
    paint(tool, 0)
    assert str(tool.layer.symbol[0]) == "disc"


@pytest.mark.parametrize(
    "meddle",
    [
        lambda layer: setattr(layer, "data", layer.data[:-3]),
        lambda layer: setattr(layer, "data", layer.data + 1),
        lambda layer: layer.add([0, 1, 1]),
        lambda layer: (layer.selected_data.update({0, 1}), layer.remove_selected()),
    ],
)
def test_nodes_cannot_be_changed_by_hand(qtbot, meddle):
    _, _, tool = make_tool(qtbot)
    tool.lay_grid()
    paint(tool, 4)
    nodes, before = tool.layer.data.copy(), tool.value()
    meddle(tool.layer)
    np.testing.assert_array_equal(tool.layer.data, nodes)
    assert str(tool.layer.symbol[4]) == "disc"
    assert str(tool.layer.symbol[0]) == "cross"
    assert tool.value() == before


def test_nodes_that_were_selected_are_not_deleted_once_they_are_gone(qtbot):
    viewer, _, tool = make_tool(qtbot)
    tool.lay_grid()
    tool.layer.selected_data = set(range(len(tool.layer.data)))
    viewer.dims.set_point(0, 3)
    assert not len(tool.layer.data)
    tool.layer.remove_selected()
    assert len(tool.value()) == 1


@pytest.mark.parametrize("mode", ["add", "select", "transform"])
def test_layer_stays_in_pan_zoom_mode(qtbot, mode):
    _, _, tool = make_tool(qtbot)
    tool.lay_grid()
    tool.layer.mode = mode
    assert tool.layer.mode == "pan_zoom"


def test_grid_follows_a_rescaled_image(qtbot):
    _, image, tool = make_tool(qtbot)
    tool.lay_grid()
    before = tool.value()
    image.scale = (3, 0.5, 0.5)
    image.translate = (1, 2, 3)
    grid = before[0]
    assert tool.value() == before
    assert tool.layer.data_to_world(tool.layer.data[-1]) == pytest.approx(
        image.data_to_world((grid.slice, grid.y[-1], grid.x[-1]))
    )


def test_renamed_class_keeps_its_nodes_and_a_removed_one_is_told(qtbot):
    _, _, tool = make_tool(qtbot)
    tool.set_value([square_grid(classes=[1, 2, 2] + [-1] * 13)])
    tool.set_classes(
        (STYLES[0], ClassStyle("mitochondrion", "#E69F00", "W"), STYLES[2]),
    )
    assert tool.value()[0].class_index[:3].tolist() == [1, 2, 2]
    tool.set_classes((STYLES[0], STYLES[2]))
    assert tool.value()[0].class_index[:3].tolist() == [-1, 1, 1]
    assert "class was removed: 1 node." in said(tool)


def test_other_source_with_other_axes(qtbot):
    viewer, _, tool = make_tool(qtbot)
    tool.lay_grid()
    flat = viewer.add_image(np.zeros((80, 120)))
    tool.set_value(())
    tool.set_source(flat)
    tool.lay_grid()
    assert tool.layer.ndim == 2
    first, second = (layer for layer in viewer.layers if isinstance(layer, Points))
    assert (first.visible, len(first.data)) == (False, 0)
    tool.set_source(viewer.layers[0])
    tool.lay_grid()
    assert tool.layer is first
    assert (first.visible, second.visible) == (True, False)


def test_destroyed_tool_lets_go_of_the_viewer(qtbot):
    viewer = ViewerModel()
    tool = GridTool(viewer)
    tool.set_classes(STYLES)
    tool.set_source(viewer.add_image(np.zeros(SHAPE)))
    tool.lay_grid()
    assert len(viewer.keymap) == 1
    with qtbot.waitSignal(tool.destroyed):
        tool.deleteLater()
    viewer.dims.set_current_step(0, 5)
    viewer.layers.clear()
    assert not viewer.keymap


# ---- a hand on a real canvas ----------------------------------------------------------------


@pytest.fixture
def shown(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1000, 800)
    image = viewer.add_image(np.zeros((4, 60, 80), np.uint8), **PLACED)
    viewer.dims.set_current_step(0, 2)
    tool = GridTool(viewer)
    tool.rng = np.random.default_rng(5)
    tool.set_classes(STYLES)
    tool.set_source(image)
    viewer.window.add_dock_widget(tool)
    number(tool, "About this many nodes").setValue(8)
    return viewer, tool, Hand(viewer, image)


def camera_of(viewer):
    return getattr(viewer, "scene", viewer).camera  # it moved there in napari 0.9


def node_at(tool, index):
    z = round(tool.layer.data[0, 0])
    grid = next(g for g in tool.value() if g.slice == z)
    return (grid.slice, grid.y[index], grid.x[index])


def test_counting_with_mouse_and_keys(shown):
    viewer, tool, hand = shown
    hand.press(Qt.Key.Key_G, Qt.KeyboardModifier.ShiftModifier)
    (grid,) = tool.value()
    assert grid.slice == 2
    n_columns = len(np.unique(grid.x))
    camera = camera_of(viewer).center, camera_of(viewer).zoom

    z, y, x = node_at(tool, 9)
    hand.click((z, y + 0.2 * grid.spacing_px, x - 0.2 * grid.spacing_px))
    assert np.flatnonzero(tool.value()[0].class_index == 1).tolist() == [9]

    hand.press(Qt.Key.Key_H)
    row = [node_at(tool, 2 * n_columns + i) for i in range(4)]
    hand.drag([row[0], row[3]])  # quick: no move in between
    hit = np.flatnonzero(tool.value()[0].class_index == 2)
    assert hit.tolist() == [2 * n_columns + i for i in range(4)]
    assert (camera_of(viewer).center, camera_of(viewer).zoom) == camera

    hand.press(Qt.Key.Key_U)
    hand.click(node_at(tool, 0))
    assert tool.value()[0].class_index[0] == UNSURE

    control, shift = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
    hand.press(Qt.Key.Key_Z, control)
    hand.press(Qt.Key.Key_Z, control)
    assert not (tool.value()[0].class_index == 2).any()
    hand.press(Qt.Key.Key_Z, control | shift)
    assert (tool.value()[0].class_index == 2).sum() == 4

    hand.press(Qt.Key.Key_D)
    done = next(g for g in tool.value() if g.slice == 2)
    assert done.is_done
    assert done.judged_counts(3).tolist() == [grid.n_nodes - 5, 1, 4]
    assert viewer.dims.current_step[0] == 0


def test_click_between_nodes_does_nothing_and_a_drag_there_pans(shown, qtbot):
    viewer, tool, hand = shown
    tool.lay_grid()
    grid = tool.value()[0]
    n_columns = len(np.unique(grid.x))
    z, y, x = node_at(tool, n_columns + 1)
    middle = (z, y + grid.spacing_px / 2, x + grid.spacing_px / 2)
    before = tool.value()
    hand.click(middle)
    assert tool.value() == before
    centre = camera_of(viewer).center
    on_the_way = (z, y + grid.spacing_px, x + grid.spacing_px)
    hand.drag([middle, on_the_way, (z, y + 2 * grid.spacing_px, x + 2 * grid.spacing_px)])
    assert tool.value() == before
    qtbot.waitUntil(lambda: camera_of(viewer).center != centre)  # napari reads it when it draws
    assert tool.layer.mouse_pan


def test_quick_second_click_takes_the_mark_back_and_does_not_zoom(shown):
    viewer, tool, hand = shown
    tool.lay_grid()
    before = tool.value()
    view = camera_of(viewer).center, camera_of(viewer).zoom
    hand.double_click(node_at(tool, 12))
    assert tool.value() == before
    assert tool.book.history.canUndo()
    assert (camera_of(viewer).center, camera_of(viewer).zoom) == view
    grid = before[0]
    z, y, x = node_at(tool, 12)
    hand.double_click((z, y + grid.spacing_px / 2, x + grid.spacing_px / 2))
    assert camera_of(viewer).zoom == pytest.approx(2 * view[1])


def test_built_in_keys_do_no_harm(shown):
    _, tool, hand = shown
    tool.lay_grid()
    hand.click(node_at(tool, 3))
    before, nodes = tool.value(), tool.layer.data.copy()
    for key in (Qt.Key.Key_A, Qt.Key.Key_Delete, Qt.Key.Key_2, Qt.Key.Key_3, Qt.Key.Key_5):
        hand.press(key)
        np.testing.assert_array_equal(tool.layer.data, nodes)
    hand.click(node_at(tool, 3))
    assert len(tool.layer.data) == len(nodes)
    assert tool.layer.mode == "pan_zoom"
    assert before[0].class_index[3] == 1
    assert tool.value()[0].class_index[3] == UNTOUCHED
    tool.set_classes((STYLES[0], ClassStyle("mito", "#E69F00", "2")))
    assert "Not bound, as napari uses them or they are no keys: 2." in warned(tool)


def test_three_dimensional_view_is_not_painted_on(shown):
    viewer, tool, hand = shown
    tool.lay_grid()
    before = tool.value()
    place = node_at(tool, 5)
    point = hand.at(place)
    viewer.dims.ndisplay = 3
    hand.at = lambda _place: point
    hand.click(place)
    assert tool.value() == before


def test_painting_takes_little_beside_what_napari_does(shown):
    """A step of a stroke beside napari's own: colours of as many points, and drawing them."""
    _, tool, _ = shown
    number(tool, "About this many nodes").setValue(24)
    tool.lay_grid()
    layer = tool.layer

    def colour(node):
        layer.face_color = layer.face_color
        layer.border_color = layer.border_color

    ours, theirs = [], []
    for node in range(40):
        for act, times in ((partial(paint, tool), ours), (colour, theirs)):
            began = thread_time()
            act(node)
            times.append(thread_time() - began)
    assert np.median(ours) < 8 * np.median(theirs)  # it is four times as much
