"""Whatever is annotated in the dock, the project's store gives it back."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from napari.components import ViewerModel

from napari_spss.core.annotations import (
    NOT_JUDGED,
    UNSURE,
    Annotations,
    ClassStyle,
    CountingGrid,
    Keypoint,
    Proportion,
    Region,
)
from napari_spss.core.projects import Project, ProjectState
from napari_spss.gui.models import FractionSheet, FrameLayout, GridBook
from napari_spss.gui.widgets.annotate.keypoints import KeypointsTool

N_SLICES, HEIGHT, WIDTH = 3, 12, 16
STYLES = (
    ClassStyle("background", "#999999", "Q"),
    ClassStyle("mito", "#E69F00", "W"),
    ClassStyle('er, "rough"', "#56B4E9", "H"),
    ClassStyle("resin", "#000000", "", is_outside=True),
)
NAMES = tuple(style.name for style in STYLES)

slices = st.integers(0, N_SLICES - 1)
numbers = st.integers(0, 100).map(str) | st.floats(0, 100).map(repr)
texts = st.one_of(
    numbers,
    numbers.map("{}%".format),
    st.tuples(numbers, numbers).map("-".join),
    st.tuples(numbers, numbers, numbers).map(lambda three: "{} ({}-{})".format(*three)),
    st.sampled_from(["60 (10-90)", "", "abc", "120", "0.06", "1", "<5", ">90", "<0.5%"]),
)
boxes = st.tuples(
    st.integers(0, HEIGHT - 1), st.integers(0, WIDTH - 1), st.integers(1, 8), st.integers(1, 8)
).map(lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3]))
rectangles = st.lists(st.builds(Region, slices, boxes), max_size=2, unique=True)
cells = st.lists(st.tuples(st.integers(0, 9), st.sampled_from(NAMES[1:3]), texts), max_size=8)
clicks = st.lists(
    st.builds(
        Keypoint,
        st.integers(0, N_SLICES),
        st.floats(-3, HEIGHT + 2) | st.integers(3, 5).map(float),
        st.floats(-3, WIDTH + 2) | st.integers(3, 5).map(float),
        st.integers(0, len(STYLES) - 1),
    ),
    max_size=8,
)
marks = st.sampled_from([NOT_JUDGED, UNSURE, 0, 1, 2, 3])
counts = st.dictionaries(slices, st.tuples(st.lists(marks, max_size=9), st.booleans()))
framed = st.lists(st.tuples(st.lists(marks, max_size=4), st.booleans()), max_size=5)
paintings = st.dictionaries(slices, st.lists(st.integers(0, 4), min_size=4, max_size=4))


class StackShape:
    """Size of the stack, as frames are laid on it."""

    n_slices = N_SLICES

    def shape_of(self, z):
        return HEIGHT, WIDTH


class Tools:
    """The parts of the dock that hold annotations."""

    def __init__(self, qtbot):
        viewer = ViewerModel()
        image = viewer.add_image(np.zeros((N_SLICES, HEIGHT, WIDTH), np.uint8))
        self.sheet, self.book, self.keypoints = FractionSheet(), GridBook(), KeypointsTool(viewer)
        qtbot.addWidget(self.keypoints)
        self.keypoints.set_classes(STYLES)
        self.keypoints.set_source(image)
        self.sheet.set_classes(STYLES)
        self.sheet.set_slices(N_SLICES)

    def __repr__(self):
        return "Tools"

    def annotate(self, regions, texts, points, grids, frames):
        self.sheet.clear()
        self.sheet.set_boxes(regions)
        for row, name, text in texts:
            region = self.sheet.rows[row % len(self.sheet.rows)]
            edits = self.sheet.edits_for([(region, name, text)])
            if edits:
                self.sheet.history.do(*edits)
        self.keypoints.set_value(points)
        self.book.set_value(())
        for z, (nodes, is_done) in grids.items():
            self.book.lay(z, (HEIGHT, WIDTH), n_side=4, rng=np.random.default_rng(z))
            for node, mark in enumerate(nodes[: self.book.grid(Region(z)).n_nodes]):
                self.book.mark(Region(z), [node], mark)
            if is_done:
                self.book.finish(Region(z))
        if frames:
            stack, layout = StackShape(), FrameLayout(len(frames), 4, 2)
            self.book.lay_frames(stack, layout, rng=np.random.default_rng(0))
        for region, (nodes, is_done) in zip(self.book.frames(), frames, strict=True):
            for node, mark in enumerate(nodes[:4]):
                self.book.mark(region, [node], mark)
            if is_done:
                self.book.finish(region)

    def restore(self, annotations, table_texts):
        self.sheet.restore(annotations.proportions, table_texts)
        self.keypoints.set_value(annotations.keypoints)
        self.book.set_value(annotations.grids)

    def value(self):
        return Annotations(
            NAMES,
            self.sheet.value(),
            self.keypoints.value(),
            self.book.value(),
            outside=NAMES[3],
        )


@pytest.fixture
def tools(qtbot):
    """What is annotated in, and what shows it when it was read back."""
    return Tools(qtbot), Tools(qtbot)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rectangles, cells, clicks, counts, framed, paintings)
def test_whatever_is_annotated_survives_the_store(
    tools, regions, texts, points, grids, frames, strokes
):
    made, shown = tools
    made.annotate(regions, texts, points, grids, frames)
    said, typed = made.value(), made.sheet.text_state()
    painted = {z: np.reshape(labels, (2, 2)).astype(np.uint8) for z, labels in strokes.items()}
    with tempfile.TemporaryDirectory() as folder:
        with Project.open(Path(folder) / "p", identity="i") as project:
            project.save(ProjectState(STYLES, said, {}, typed))
            project.save_painted(painted)
        with Project.open(Path(folder) / "p", identity="i") as project:
            found, labels = project.state, project.read_painted()
            assert project.unreadable == frozenset()
            assert not list(project.folder.glob("**/*unreadable*"))
    assert found.annotations.keypoints == said.keypoints
    assert found.annotations.grids == said.grids
    assert (
        found.annotations.replace(outside=said.outside).effective_proportions()
        == said.effective_proportions()
    )
    shown.restore(found.annotations, found.table_texts)
    assert shown.value() == said
    assert shown.sheet.text_state() == typed
    assert {z: one.tolist() for z, one in labels.items()} == {
        z: one.tolist() for z, one in painted.items() if one.any()
    }


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        (
            "proportions",
            Proportion(Region(0), (None, 0.1, None, None)),
            Proportion(Region(0), (None, 0.2, None, None)),
        ),
        ("keypoints", Keypoint(0, -3.0, 5.0, 1), Keypoint(0, -3.2, 5.4, 2)),
        ("grids", CountingGrid(1, 4, 0, 0, [0], [0], [1]), CountingGrid(1, 4, 0, 0, [0], [0], [2])),
    ],
)
def test_the_last_word_counts_where_something_is_said_twice(tmp_path, name, first, second):
    said = Annotations(NAMES, **{name: [first, second]})
    with Project.open(tmp_path / "p", identity="i") as project:
        project.save(ProjectState(STYLES, said))
    with Project.open(tmp_path / "p", identity="i") as project:
        assert project.warnings == ()
        assert getattr(project.state.annotations, name) == (second,)
