"""Counting frames: the book-keeping, the tool on a viewer model, and a hand on a real canvas."""

from __future__ import annotations

from itertools import pairwise
from time import thread_time

import numpy as np
import pytest
from eye import button, click_on, n_seen, number, offered, said, warned
from napari.components import ViewerModel
from napari.layers import Vectors

from napari_spss.core.annotations import UNSURE, ClassStyle, Region, lay_frames
from napari_spss.core.base import InputError
from napari_spss.core.simulation import plan_counting
from napari_spss.gui.layers import SourceFrame
from napari_spss.gui.models import UNTOUCHED, FrameLayout, GridBook
from napari_spss.gui.widgets.annotate.grid import GridTool
from napari_spss.gui.widgets.annotate.grid_list import GridList
from napari_spss.gui.widgets.theme import mark_of

STYLES = (
    ClassStyle("background", "#999999", "Q"),
    ClassStyle("mito", "#E69F00", "W"),
    ClassStyle("er", "#56B4E9", "H"),
)
SHAPE = (3, 64, 96)  # 24 tiles of 16 px a slice
LAYOUT = FrameLayout(5, 16, 4)
UNITS = ("frames", "px wide", "nodes a side")  # of its numbers, as they stand in the boxes


class Slices:
    """Slices of these shapes."""

    def __init__(self, *shapes):
        self.n_slices, self._shapes = len(shapes), shapes

    def shape_of(self, z):
        return self._shapes[z]


STACK = Slices(*[SHAPE[1:]] * SHAPE[0])


def some_frames(n=5, seed=0):
    return lay_frames(SHAPE, n, 16, 4, rng=np.random.default_rng(seed))


# ---- the book -------------------------------------------------------------------------------


def test_frames_are_laid_beside_grids_and_keep_their_order():
    book, rng = GridBook(), np.random.default_rng(1)
    book.lay(0, SHAPE[1:], n_side=4, rng=rng)
    first = book.lay_frames(STACK, LAYOUT, rng=rng)
    assert book.frames()[0] == first
    before = book.frames()
    for region in before[1:3]:
        book.mark(region, [0, 2], 1)
        book.finish(region)
    assert book.lay_frames(STACK, FrameLayout(3, 16, 4), rng=rng) == book.frames()[5]
    assert book.frames()[:5] == before
    assert [grid.region for grid in book.value()] == [Region(0), *book.frames()]
    assert not any(a.meets(b) for a, b in pairwise(sorted(book.frames(), key=str)))
    assert book.frames(is_open=True) == (before[0], *before[3:], *book.frames()[5:])
    assert book.counted() == ()  # no slice is


def test_every_step_with_frames_is_undone_and_redone_with_their_order():
    book, rng = GridBook(), np.random.default_rng(0)
    book.set_value(some_frames(3))
    frames, states = book.frames(), [book.value()]
    for act in (
        lambda: book.mark(frames[1], [0, 3], 1),
        lambda: book.finish(frames[1]),
        lambda: book.lay_frames(STACK, LAYOUT, rng=rng),
        lambda: book.remove(*book.frames(is_open=True)),
        lambda: book.lay_frames(STACK, FrameLayout(40, 16, 4), rng=rng),
        lambda: book.reopen(frames[1]),
    ):
        act()
        states.append(book.value())
    assert len(states[5]) == 41
    for state in states[-2::-1]:
        assert book.undo().box is not None
        assert book.value() == state
    assert book.undo() is None
    for state in states[1:]:
        book.redo()
        assert book.value() == state
    assert book.redo() is None


def test_frames_that_do_not_fit_change_nothing():
    book = GridBook()
    book.set_value(some_frames(70))
    before = book.value()
    with pytest.raises(InputError, match="room for 2 more") as refused:
        book.lay_frames(STACK, LAYOUT, rng=np.random.default_rng(0))
    assert refused.value.field == "n"
    assert book.value() == before
    assert not book.history.canUndo()


def test_walking_goes_round_in_the_order_of_the_list():
    book = GridBook()
    assert book.next_frame(None) is None
    book.set_value(some_frames(4))
    a, b, c, d = book.frames()
    assert [book.next_frame(one) for one in (None, a, d)] == [a, b, a]
    assert [book.next_frame(one, step=-1) for one in (None, a, c)] == [d, d, b]
    book.finish(b)
    book.finish(d)
    assert [book.next_frame(one, is_open=True) for one in (None, a, c, d)] == [a, c, a, a]
    book.finish(a)
    assert book.next_frame(c, is_open=True) == c  # the only one
    book.finish(c)
    assert book.next_frame(a, is_open=True) is None


def test_progress_is_told_in_plain_words():
    book = GridBook()
    book.set_value(some_frames(4))
    one = book.frames()[1]
    assert book.progress(None) == "0 of 4 frames done."
    book.mark(one, [0, 1], 1)
    book.mark(one, [5], UNSURE)
    book.finish(book.frames()[0])
    place = f"Frame 2 of 4, slice {one.slice}"
    assert book.progress(one) == f"{place}: 3 of 16 nodes marked; 1 done."
    book.finish(one)
    assert book.progress(one) == f"{place}: counted; 2 done."


@pytest.mark.parametrize(
    ("shapes", "window_px", "expected"),
    [
        ([(4096, 4096)] * 20, 256, (16, 256, 8)),
        ([(4096, 4096)] * 20, 768, (16, 768, 8)),  # large objects
        ([(1024, 1024)], 256, (8, 256, 8)),  # half of its 16 tiles
        ([(300, 200)], 1024, (3, 100, 8)),  # smaller than a frame
        ([(900, 900), (120, 500)], 256, (16, 60, 8)),
        ([(5, 900)], 256, (16, 2, 2)),
        ([(1, 1)], 256, (1, 1, 1)),
    ],
)
def test_proposed_frames_follow_image_and_objects_and_can_be_laid(shapes, window_px, expected):
    stack = Slices(*shapes)
    layout = FrameLayout.proposed(stack, window_px)
    assert (layout.n, layout.size_px, layout.nodes_per_side) == expected
    GridBook().lay_frames(stack, layout, rng=np.random.default_rng(0))


def test_more_frames_are_proposed_like_those_that_are_there():
    stack = Slices((1000, 1100))
    laid = lay_frames((1, 1000, 1100), 6, 100, 5, rng=np.random.default_rng(0))
    layout = FrameLayout.proposed(stack, 512, laid)
    assert layout == FrameLayout(16, 100, 5)


# ---- the tool on a viewer model -------------------------------------------------------------


def make_tool(qtbot, shape=SHAPE, **kwargs):
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros(shape, np.uint8), name="em", **kwargs)
    tool = GridTool(viewer)
    tool.rng = np.random.default_rng(3)
    qtbot.addWidget(tool)
    tool.set_classes(STYLES)
    tool.set_source(image)
    button(tool, "Frames").click()
    fill(tool, LAYOUT)
    return viewer, image, tool


def fill(tool, layout):
    values = (layout.n, layout.size_px, layout.nodes_per_side)
    for unit, value in zip(UNITS, values, strict=True):
        number(tool, unit).setValue(value)


def layout_of(tool):
    return FrameLayout(*(number(tool, unit).value() for unit in UNITS))


def frames_of(tool):
    return [grid for grid in tool.value() if grid.box is not None]


def shown_frame(tool):
    """The frame whose nodes are in the layer, as an index in the order of counting."""
    nodes = places_in(tool.layer)
    for index, grid in enumerate(frames_of(tool)):
        expected = np.stack([np.full(grid.n_nodes, grid.slice), grid.y, grid.x], 1)
        if nodes.shape == expected.shape and np.allclose(nodes, expected):
            return index
    return None


def outlines(viewer):
    """The layer in which frames are outlined, if there is one; of several, the one that is seen."""
    found = [layer for layer in viewer.layers if isinstance(layer, Vectors)]
    return max(found, key=lambda layer: layer.visible, default=None)


def places_in(layer):
    """(slice, y, x) of points, or of where vectors begin; the layer lies on the image."""
    data = layer.data[:, 0] if isinstance(layer, Vectors) else layer.data
    slices = data[:, 0] if layer.ndim > 2 else np.zeros(len(data))
    return np.column_stack([slices, data[:, -2:]])


def outlined(viewer):
    """(slice, y, x) of the corner where each outline begins."""
    return [tuple(corner) for corner in places_in(outlines(viewer))[::4]]


def choose(tool, index):
    button(tool, f"{STYLES[index].name} ({STYLES[index].key})").click()


def paint(tool, *nodes):
    for node in nodes:
        click_on(tool.layer, tool.layer.data[node])


def seen(viewer, image):
    """(y, x) of the image in the middle of the canvas, and pixels along its shorter side."""
    camera = getattr(viewer, "scene", viewer).camera
    size = viewer.canvas.size if hasattr(viewer, "canvas") else viewer._canvas_size
    middle = [
        (at - offset) / scale
        for at, offset, scale in zip(
            camera.center[-2:], image.translate[-2:], image.scale[-2:], strict=True
        )
    ]
    return (*middle, min(size) / camera.zoom / image.scale[-2])


PLACED = {"scale": (50.0, 4.0, 4.0), "translate": (7.0, -30.0, 11.0), "units": ("nm",) * 3}


@pytest.mark.parametrize("kwargs", [{}, PLACED])
def test_frames_are_laid_and_the_first_one_is_looked_at(qtbot, kwargs):
    viewer, image, tool = make_tool(qtbot, **kwargs)
    with qtbot.waitSignal(tool.value_changed):
        button(tool, "Lay frames").click()
    frames = frames_of(tool)
    assert len(frames) == 5
    assert shown_frame(tool) == 0
    assert viewer.layers.selection.active is tool.layer
    y0, x0, y1, x1 = frames[0].box
    y, x, length = seen(viewer, image)
    assert (y, x) == pytest.approx(((y0 + y1 - 1) / 2, (x0 + x1 - 1) / 2))
    assert length == pytest.approx(16 / 0.85)
    assert sorted(outlined(viewer)) == sorted(
        (frame.slice, frame.box[0] - 0.5, frame.box[1] - 0.5) for frame in frames
    )
    assert isinstance(outlines(viewer), Vectors)


def test_walking_moves_slider_and_camera_and_shows_the_nodes_of_one_frame(qtbot):
    viewer, image, tool = make_tool(qtbot)
    tool.lay_grid()
    for index in (1, 2, 3, 4, 0):
        button(tool, "Next").click()
        assert shown_frame(tool) == index
        y0, x0, y1, x1 = frames_of(tool)[index].box
        assert seen(viewer, image)[:2] == pytest.approx(((y0 + y1 - 1) / 2, (x0 + x1 - 1) / 2))
        assert f"Frame {index + 1} of 5" in said(tool)
    button(tool, "Before").click()
    assert shown_frame(tool) == 4
    tool.findChild(GridList).cellClicked.emit(2, 0)
    assert shown_frame(tool) == 2


def test_done_counts_a_frame_and_goes_to_the_next_open_one(qtbot):
    _, _, tool = make_tool(qtbot)
    tool.lay_grid()
    paint(tool, 0, 5)
    z = frames_of(tool)[0].slice
    with qtbot.waitSignal(tool.grid_done) as done:
        button(tool, "Done").click()
    assert done.args == [z]
    first = frames_of(tool)[0]
    assert first.is_done
    assert first.judged_counts(3).tolist() == [14, 2, 0]
    assert shown_frame(tool) == 1
    assert "1 done" in said(tool)
    button(tool, "Before").click()
    paint(tool, 1)
    assert first == frames_of(tool)[0]  # it is counted
    button(tool, "Next open").click()
    for _ in range(4):
        assert "counts as empty" not in said(tool)
        paint(tool, 3)
        tool.finish()
    assert "All 5 frames are counted." in said(tool)
    assert all(frame.is_done for frame in frames_of(tool))
    assert not button(tool, "Next open").isEnabled()
    tool.walk(is_open=True)
    assert "All 5 frames are counted." in said(tool)
    tool.finish()  # reopens
    assert not frames_of(tool)[4].is_done


def test_undo_returns_to_the_frame_that_it_changes(qtbot):
    viewer, _, tool = make_tool(qtbot)
    tool.lay_grid()
    paint(tool, 0)
    tool.finish()
    paint(tool, 2)
    button(tool, "Whole slice").click()
    tool.undo()
    assert button(tool, "Frames").isChecked()
    assert shown_frame(tool) == 1
    assert (frames_of(tool)[1].class_index == UNTOUCHED).all()
    tool.undo()
    assert (shown_frame(tool), frames_of(tool)[0].is_done) == (0, False)
    tool.undo()
    tool.undo()
    assert frames_of(tool) == []
    assert len(tool.layer.data) == len(outlines(viewer).data) == 0
    tool.redo()
    assert shown_frame(tool) == 0


def test_slider_leaves_the_frame_and_next_open_returns_to_it(qtbot):
    viewer, _, tool = make_tool(qtbot)
    tool.lay_grid()
    tool.walk()
    z = frames_of(tool)[1].slice
    viewer.dims.set_current_step(0, (z + 1) % 3)
    assert shown_frame(tool) is None
    assert not button(tool, "Done").isEnabled()  # nothing is counted that is not seen
    assert "Next open" in said(tool)
    button(tool, "Next open").click()
    assert shown_frame(tool) == 1


def test_whole_slices_are_counted_beside_frames(qtbot):
    viewer, _, tool = make_tool(qtbot)
    tool.lay_grid()
    frames = frames_of(tool)
    button(tool, "Whole slice").click()
    viewer.dims.set_current_step(0, frames[0].slice)
    assert len(tool.layer.data) == 0
    assert not outlines(viewer).visible
    button(tool, "Lay grid").click()
    whole = tool.value()[0]
    assert (whole.box, len(tool.layer.data)) == (None, whole.n_nodes)
    button(tool, "Frames").click()
    assert shown_frame(tool) == 0
    assert outlines(viewer).visible
    assert tool.value() == (whole, *frames)


def test_more_frames_are_laid_beside_by_the_button_alone(qtbot):
    viewer, _, tool = make_tool(qtbot)
    tool.lay_grid()
    before = frames_of(tool)
    (press_key,) = viewer.keymap.values()
    press_key(viewer)
    assert frames_of(tool) == before
    assert "There are open frames. Lay more frames" in said(tool)
    button(tool, "Lay more frames").click()
    assert frames_of(tool)[:5] == before
    assert len(frames_of(tool)) == 10
    assert shown_frame(tool) == 5


def test_open_frames_are_removed_once_more_asked_where_nodes_are_marked(qtbot):
    _, _, tool = make_tool(qtbot)
    tool.lay_grid()
    paint(tool, 0)
    tool.finish()
    paint(tool, 1)
    paint(tool, 2)
    before = tool.value()
    button(tool, "Remove open").click()
    assert tool.value() == before
    assert "2 marked nodes would go" in said(tool)
    paint(tool, 3)  # something else: the question is gone
    button(tool, "Remove open").click()
    assert "3 marked nodes would go" in said(tool)
    button(tool, "Remove open").click()
    assert tool.value() == before[:1]
    assert not button(tool, "Remove open").isEnabled()
    button(tool, "Undo").click()
    assert len(frames_of(tool)) == 5
    assert frames_of(tool)[1].class_index[[1, 2, 3]].tolist() == [1, 1, 1]


def test_blank_open_frames_are_removed_at_once(qtbot):
    _, _, tool = make_tool(qtbot)
    tool.lay_grid()
    button(tool, "Remove open").click()
    assert tool.value() == ()
    assert "Lay frames" in offered(tool)


@pytest.mark.parametrize(
    ("layout", "field", "text"),
    [
        (FrameLayout(4, 65, 4), "px wide", "choose at most 64"),
        (FrameLayout(400, 16, 4), "frames", "there is room for 72; lay fewer"),
        (FrameLayout(4, 6, 7), "nodes a side", "choose at most 6"),
    ],
)
def test_frames_that_cannot_be_laid_are_told_beside_the_number(qtbot, layout, field, text):
    _, _, tool = make_tool(qtbot)
    fill(tool, layout)
    button(tool, "Lay frames").click()
    assert tool.value() == ()
    assert text in warned(tool)
    assert warned(tool)
    assert [unit for unit in UNITS if mark_of(number(tool, unit))] == [field]
    fill(tool, LAYOUT)
    assert not warned(tool)
    assert mark_of(number(tool, field)) == ""
    button(tool, "Lay frames").click()
    assert len(frames_of(tool)) == 5


def test_proposal_follows_image_and_objects_until_something_is_typed(qtbot):
    viewer = ViewerModel()
    tool = GridTool(viewer)
    qtbot.addWidget(tool)
    tool.set_classes(STYLES)
    tool.set_source(viewer.add_image(np.zeros((2, 1024, 2048), np.uint8)))
    assert layout_of(tool) == FrameLayout(16, 256, 8)
    tool.set_window_px(512)
    assert layout_of(tool) == FrameLayout(8, 512, 8)
    number(tool, "frames").setValue(3)
    tool.set_window_px(256)
    assert layout_of(tool) == FrameLayout(3, 512, 8)


def test_frames_of_a_check_count_are_smaller_in_a_single_small_image(qtbot):
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((512, 512), np.uint8))
    for is_check, layout in ((False, FrameLayout(2, 256, 8)), (True, FrameLayout(8, 128, 8))):
        tool = GridTool(viewer, is_check=is_check)
        qtbot.addWidget(tool)
        tool.set_classes(STYLES)
        tool.set_source(image)
        assert layout_of(tool) == layout


def test_large_fields_are_proposed_frames_and_small_ones_grids(qtbot):
    viewer = ViewerModel()
    tool = GridTool(viewer)
    tool.rng = np.random.default_rng(0)
    qtbot.addWidget(tool)
    assert not button(tool, "Propose").isEnabled()
    tool.set_classes(STYLES)
    tool.set_source(viewer.add_image(np.zeros((4, 2048, 2048), np.uint8)))
    number(tool, "min").setValue(10)
    button(tool, "Propose").click()
    plan = plan_counting(SourceFrame(viewer.layers[0]), 256, 10)
    assert (plan.kind, button(tool, "Frames").isChecked()) == ("frames", True)
    assert layout_of(tool) == FrameLayout(plan.n, plan.size_px, plan.nodes_per_side)
    assert f"Count {plan.n} frames of about 256 px, with 8 x 8 nodes" in said(tool)
    button(tool, "Lay frames").click()
    assert len(frames_of(tool)) == plan.n
    tool.set_window_px(256, has_diameter=False)
    button(tool, "Propose").click()
    assert "measure the object diameter" in said(tool)
    tool.set_window_px(1024)  # large objects
    button(tool, "Propose").click()
    assert "measure the object diameter" not in said(tool)
    plan = plan_counting(SourceFrame(viewer.layers[0]), 1024, 10)
    assert (plan.kind, button(tool, "Whole slice").isChecked()) == ("grids", True)
    assert number(tool, "About this many nodes").value() == plan.nodes_per_side
    assert "Why: the field is small" in said(tool)
    tool.set_stack_fraction("", fraction=0.05)
    button(tool, "Propose").click()
    assert "Expect of the rarest class: about" in said(tool)
    number(tool, "min").setValue(0)
    assert number(tool, "min").value() == 1  # the least time suffices for a count
    button(tool, "Propose").click()
    assert "Count a grid of 16 x 16 nodes on 1 slice" in said(tool)


def test_restored_frames_go_on_where_they_were_left(qtbot):
    frames = list(some_frames(4))
    frames[0] = frames[0].replace(class_index=[1] + [0] * 15, is_done=True)
    viewer, image, tool = make_tool(qtbot)
    button(tool, "Whole slice").click()
    before = viewer.dims.point, seen(viewer, image)
    with qtbot.waitSignal(tool.value_changed):
        tool.set_value(frames)
    assert button(tool, "Frames").isChecked()
    assert (viewer.dims.point, seen(viewer, image)) == before  # until the user goes on
    assert "1 of 4 frames done." in said(tool)
    assert [tool.findChild(GridList).item(r, 2).text() for r in range(4)] == [
        "done",
        "open",
        "open",
        "open",
    ]
    button(tool, "Next open").click()
    assert shown_frame(tool) == 1
    assert tool.value() == tuple(frames)


def test_frames_of_another_image_do_not_stay(qtbot):
    viewer, image, tool = make_tool(qtbot)
    tool.lay_grid()
    frames = tool.value()
    flat = viewer.add_image(np.zeros((80, 120)))
    tool.set_value(())
    tool.set_source(flat)
    assert len(outlined(viewer)) == 0
    assert button(tool, "Whole slice").isChecked()  # it was another image that called for frames
    button(tool, "Frames").click()
    fill(tool, FrameLayout(3, 20, 2))
    tool.lay_grid()
    assert [frame.slice for frame in frames_of(tool)] == [0, 0, 0]
    assert outlines(viewer).ndim == 2
    tool.set_value(frames)
    tool.set_source(image)
    tool.walk(is_open=True)
    assert shown_frame(tool) == 0
    assert outlines(viewer).ndim == 3
    assert sum(isinstance(layer, Vectors) and layer.visible for layer in viewer.layers) == 1


def test_deleted_outlines_are_drawn_again_with_the_next_frame(qtbot):
    viewer, _, tool = make_tool(qtbot)
    tool.lay_grid()
    viewer.layers.remove(outlines(viewer))
    paint(tool, 0)
    assert outlines(viewer) is None
    tool.walk()
    assert len(outlined(viewer)) == 5


def test_outlines_that_the_user_hid_stay_hidden(qtbot):
    viewer, _, tool = make_tool(qtbot)
    tool.lay_grid()
    outlines(viewer).visible = False
    tool.walk()
    tool.finish()
    assert not outlines(viewer).visible
    button(tool, "Whole slice").click()
    button(tool, "Frames").click()
    assert outlines(viewer).visible


def test_outlines_follow_image_and_zoom(qtbot):
    viewer, image, tool = make_tool(qtbot)
    tool.lay_grid()
    layer = outlines(viewer)
    camera = getattr(viewer, "scene", viewer).camera
    width = layer.edge_width
    camera.zoom /= 3
    assert layer.edge_width == pytest.approx(3 * width)  # as wide on the screen
    image.scale, image.translate = (3, 0.5, 0.5), (1, 2, 3)
    box = frames_of(tool)[0].box
    corners = [image.world_to_data(layer.data_to_world(line[0]))[1:] for line in layer.data]
    assert any(corner == pytest.approx((box[0] - 0.5, box[1] - 0.5)) for corner in corners)


def test_frames_are_seen_with_every_channel(qtbot):
    viewer, _, tool = make_tool(qtbot, shape=(3, 2, 64, 96), scale=(9, 1, 2, 2))
    tool.lay_grid()
    frame = frames_of(tool)[0]
    n_here = sum(one.slice == frame.slice for one in frames_of(tool))
    for channel in (0, 1):
        viewer.dims.set_current_step(1, channel)
        assert n_seen(tool.layer) == frame.n_nodes
        assert n_seen(outlines(viewer)) == 4 * n_here


def test_painting_takes_hardly_longer_among_many_frames(qtbot):
    tools, times = [], {5: [], 200: []}
    for n_frames in times:
        _, _, tool = make_tool(qtbot, shape=(5, 512, 512))
        fill(tool, FrameLayout(n_frames, 32, 8))
        tool.lay_grid()
        tools.append(tool)
    for node in range(40):
        for tool, of_tool in zip(tools, times.values(), strict=True):
            began = thread_time()
            paint(tool, node)
            of_tool.append(thread_time() - began)
    few, many = map(np.median, times.values())
    assert many < 3 * few  # it is half as long again


def test_row_of_the_list_makes_the_keys_hold(qtbot):
    viewer, image, tool = make_tool(qtbot)
    tool.lay_grid()
    viewer.layers.selection.active = image
    tool.findChild(GridList).cellClicked.emit(1, 0)
    assert viewer.layers.selection.active is tool.layer


def test_destroyed_tool_lets_go_of_camera_and_layers(qtbot):
    viewer = ViewerModel()
    tool = GridTool(viewer)
    tool.set_classes(STYLES)
    tool.set_source(viewer.add_image(np.zeros(SHAPE)))
    button(tool, "Frames").click()
    tool.lay_grid()
    with qtbot.waitSignal(tool.destroyed):
        tool.deleteLater()
    getattr(viewer, "scene", viewer).camera.zoom = 7
    viewer.layers.clear()
    assert not viewer.keymap


# ---- a hand on a real canvas ----------------------------------------------------------------
