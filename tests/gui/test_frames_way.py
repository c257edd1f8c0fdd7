"""A person's way with counting frames, by mouse and keys: lay, walk, judge, close, go on, train."""

from __future__ import annotations

import numpy as np
import pytest
from eye import button, number, said, warned
from person import Person
from qtpy.QtCore import Qt

from napari_spss.core.annotations import annotation_files, read_annotations
from napari_spss.core.projects.action_log import read_actions
from napari_spss.core.simulation import synthetic_sample
from napari_spss.gui import dock as dock_module
from napari_spss.gui.models import UNTOUCHED, RunForm
from napari_spss.gui.models.preferences import Preferences
from napari_spss.gui.widgets.annotate.grid_list import GridList

CONTROL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
N_FRAMES = 5


class Counter(Person):
    """Counts frames, and knows mitochondria when seeing them."""

    def __init__(self, viewer, sample, qtbot) -> None:
        super().__init__(viewer, sample, qtbot)
        self.tool = self.dock.annotate.grid
        self.open_tab(1)

    def current(self):
        """The frame that is counted: its number and itself."""
        row = self.tool.findChild(GridList).selectedIndexes()[0].row()
        return row + 1, self.dock.annotations().grids[row]

    def count(self) -> int:
        """Click the nodes on mitochondria of the frame that is shown."""
        _, frame = self.current()
        labels = self.truth.read(frame.slice)
        rows, columns = (
            np.clip(np.rint(axis).astype(int), 0, size - 1)
            for axis, size in zip((frame.y, frame.x), labels.shape, strict=True)
        )
        hits = np.flatnonzero(labels[rows, columns] == 1)
        for node in hits:
            self.hand.click((frame.slice, frame.y[node], frame.x[node]))
        return len(hits)


@pytest.mark.timeout(900)
def test_frames_are_counted_left_and_counted_on_until_a_model_learns_them(
    make_napari_viewer, qtbot, monkeypatch, home
):
    monkeypatch.setattr(dock_module, "read_preferences", lambda: Preferences(device="cpu"))
    sample = synthetic_sample(3, (384, 384))
    user = Counter(make_napari_viewer(show=True), sample, qtbot)
    tool = user.tool
    tool.rng = np.random.default_rng(2)  # the same frames every time

    user.push(button(tool, "Frames"))
    assert "Lay frames (Shift+G)" in said(tool)
    user.type_number(number(tool, "frames"), 1)
    assert number(tool, "frame").text() == "1 frame"
    user.type_number(number(tool, "px wide"), 9999)
    user.push(button(tool, "Lay frames"))
    assert "choose at most 384" in warned(tool)
    user.type_number(number(tool, "px wide"), 128)
    user.type_number(number(tool, "nodes a side"), 6)
    user.type_number(number(tool, "frame"), N_FRAMES)
    user.press(Qt.Key.Key_G, SHIFT)
    assert "Frame 1 of 5, slice " in said(tool)
    n_hits = [user.count()]
    assert f"{n_hits[0]} of 36 nodes marked; 0 done." in said(tool)

    user.press(Qt.Key.Key_Z, CONTROL)
    assert (user.current()[1].class_index == 1).sum() == n_hits[0] - 1
    user.press(Qt.Key.Key_Z, CONTROL | SHIFT)
    user.press(Qt.Key.Key_D)
    assert user.current()[0] == 2
    user.press(Qt.Key.Key_N)
    user.press(Qt.Key.Key_N)
    assert user.current()[0] == 4
    user.press(Qt.Key.Key_B)
    n_hits.append(user.count())
    user.press(Qt.Key.Key_D)  # the third
    assert user.current()[0] == 4
    n_hits.append(user.count())  # left open
    before = user.dock.annotations()
    assert [grid.is_done for grid in before.grids] == [True, False, True, False, False]
    counted = [before.grids[place] for place in (0, 2, 3)]
    assert [int((grid.class_index == 1).sum()) for grid in counted] == n_hits
    assert sum(n_hits) > 5
    user.leave()
    (folder,) = home.glob("**/grid.csv")
    assert read_annotations(**annotation_files(folder.parent)).grids == before.grids

    kinds = [action.kind for action in read_actions(folder.parent / "log.jsonl")]
    assert (kinds.count("frame"), kinds.count("grid")) == (2, 0)

    user = Counter(make_napari_viewer(show=True), sample, qtbot)
    tool = user.tool
    assert user.dock.annotations() == before
    assert "2 of 5 frames done." in said(tool)
    assert "Whole stack, by 2 of 5 counting frames: mitochondria " in said(tool)
    user.push(button(tool, "Next open"))
    assert user.current()[0] == 2
    for place in (2, 4, 5):
        assert user.current()[0] == place
        if place != 4:
            user.count()
        user.press(Qt.Key.Key_D)
    assert "All 5 frames are counted." in said(tool)
    annotations = user.dock.annotations()
    assert all(frame.is_done for frame in annotations.grids)
    assert not any((frame.class_index == UNTOUCHED).any() for frame in annotations.grids)
    regions = {grid.region for grid in annotations.grids}
    assert {one.region for one in annotations.counted_proportions()} == regions

    user.open_tab(0)
    stack = said(user.dock.annotate.fractions)
    assert "Whole stack, by 5 of 5 counting frames: " in stack
    nodes = np.concatenate([frame.class_index for frame in annotations.grids])
    assert f"mitochondria {100 * (nodes == 1).mean():.2f} % (95 % interval " in stack

    user.dock.train.set_value(RunForm(device="cpu", overrides={"optimisation.max_steps": 4}))
    user.push_and_wait(button(user.dock.train, "Train"))
    user.leave()
