"""A person's check count, by mouse and keys: train, apply, count, look again, estimate, save."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from eye import button, n_seen, number, offered, said, warned
from person import PATIENCE_MS, Person
from qtpy.QtCore import Qt
from superqt import QLabeledDoubleSlider

from napari_spss.core.analysis import estimate_fractions
from napari_spss.core.annotations import lay_grid, read_annotations
from napari_spss.core.simulation import synthetic_sample
from napari_spss.core.training import RunFolder
from napari_spss.gui import dock as dock_module
from napari_spss.gui.models import RunForm
from napari_spss.gui.models.preferences import Preferences
from napari_spss.gui.widgets.annotate.grid_list import GridList

SHIFT = Qt.KeyboardModifier.ShiftModifier
N_FRAMES, CHECK_TAB = 4, 4
OVERRIDES = {"optimisation.max_steps": 8, "network.filters": 4, "sampling.crop_px": 128}


def nodes_of(labels, grid):
    """Whether each node is of class 1, by the truth or by an array of labels."""
    labels = labels.read(grid.slice) if hasattr(labels, "read") else labels[grid.slice]
    y, x = (np.floor(axis + 0.5).astype(int) for axis in (grid.y, grid.x))
    return (labels[y, x] == 1).astype(np.int16)


class Counter(Person):
    """Counts a check, and knows mitochondria when seeing them."""

    def __init__(self, viewer, sample, qtbot) -> None:
        super().__init__(viewer, sample, qtbot)
        self.tool, self.view = self.dock.annotate.check, self.dock.results.estimates

    def train_and_apply(self) -> None:
        """Learn a few steps from one grid, and apply the model to the whole stack."""
        grid = lay_grid(0, self.truth.shape_of(0), n_side=12, rng=np.random.default_rng(1))
        grid = grid.replace(class_index=nodes_of(self.truth, grid), is_done=True)
        self.dock.annotate.grid.set_value([grid])
        self.dock.train.set_value(RunForm(device="cpu", overrides=OVERRIDES))
        train = button(self.dock.train, "Train")
        self.qtbot.waitUntil(train.isEnabled)  # a model of before may be loading
        self.push_and_wait(train)
        self.dock.results.set_scope("stack")
        self.push_and_wait(button(self.dock.results, "Apply"))

    def lay(self) -> None:
        """Lay frames for the check count, by the key."""
        self.open_tab(CHECK_TAB)
        for unit, value in (("px wide", 128), ("nodes a side", 5), ("frames", N_FRAMES)):
            self.type_number(number(self.tool, unit), value)
        self.press(Qt.Key.Key_G, SHIFT)

    def count(self, *, n_wrong=0) -> None:
        """Click the hits of the frame that is shown, and press D.

        Judge some nodes wrongly, at which the labels are right.
        """
        row = self.tool.findChild(GridList).selectedIndexes()[0].row()
        frame = self.tool.value()[row]
        judged = nodes_of(self.truth, frame)
        is_right = nodes_of(self.dock.controller.outcome.labels(), frame) == judged
        wrong = np.flatnonzero(is_right)[:n_wrong]
        judged[wrong] = 1 - judged[wrong]
        for node in np.flatnonzero(judged):
            self.hand.click((frame.slice, frame.y[node], frame.x[node]))
        self.press(Qt.Key.Key_D)

    def estimate(self) -> None:
        """Press Estimate, and wait for it."""
        self.push(button(self.view, "Estimate"))
        self.qtbot.waitUntil(lambda: not self.dock.controller.check.is_estimating)


@pytest.fixture
def user(make_napari_viewer, qtbot, monkeypatch):
    monkeypatch.setattr(dock_module, "read_preferences", lambda: Preferences(device="cpu"))
    sample = synthetic_sample(3, (384, 384))

    def come():
        person = Counter(make_napari_viewer(show=True), sample, qtbot)
        person.tool.rng = np.random.default_rng(4)  # the same frames every time
        return person

    return come


@pytest.mark.timeout(900)
def test_a_check_count_corrects_the_labels_and_nothing_learns_from_it(user, home, tmp_path):
    person = user()
    dock, tool, view = person.dock, person.tool, person.view
    person.train_and_apply()
    assert not button(view, "Estimate").isEnabled()
    assert "Count frames under Annotate, Check" in said(view)
    before = dock.annotations()

    person.lay()
    told = "Next: go on with the check count under Annotate, Check (4 frames are open)."
    assert told in said(dock.bar)
    layers = person.viewer.layers
    assert layers["check count"].visible
    assert not layers["em labels"].visible
    assert "Labels and maps are hidden" in dock.bar.text()
    person.open_tab(0)
    assert layers["em labels"].visible
    assert "hidden" not in dock.bar.text()
    person.open_tab(CHECK_TAB)
    dock.sections["Annotate"].header.click()
    assert layers["em labels"].visible
    assert not n_seen(layers["check count"])
    dock.sections["Annotate"].header.click()
    assert not layers["em labels"].visible
    assert n_seen(layers["check count"])
    person.count(n_wrong=2)
    person.count()
    assert dock.annotations() == before
    person.leave()
    (path,) = home.glob("**/check.csv")
    counted = read_annotations(grid=path).grids
    assert sum(grid.is_done for grid in counted) == 2
    assert len(read_annotations(grid=path.with_name("grid.csv")).grids) == 1

    person = user()
    dock, tool, view = person.dock, person.tool, person.view
    assert dock.annotate.check.value() == counted
    person.train_and_apply()
    run = RunFolder(dock.trainings.model_dir)
    assert all(len(one.grids) == 1 for one in run.all_annotations())
    person.open_tab(CHECK_TAB)
    person.push(button(tool, "Next open"))
    person.count()
    person.count()
    assert all(grid.is_done for grid in tool.value())

    looks = dock.controller.check.contradicted()
    assert looks
    assert "Next: look again at the " in said(dock.bar)
    assert f"Look at {len(looks)}" in offered(view)
    person.estimate()
    told = f"{len(looks)} nodes contradict the labels and had no second look"
    assert told in warned(view)
    person.push(button(view, f"Look at {len(looks)}"))
    panel = dock.annotate.check_look
    assert panel.isVisible()
    assert "the labels say " in said(panel)
    n_changed = 0
    while (look := panel.current) is not None:
        (frame,) = [one for one in tool.value() if one.region == look.region]
        node = int(np.hypot(frame.y - look.y, frame.x - look.x).argmin())
        true = nodes_of(person.truth, frame)[node]
        n_changed += true != look.stated
        key = Qt.Key.Key_W if true else Qt.Key.Key_Q
        person.press(Qt.Key.Key_K if true == look.stated else key)
    assert n_changed == 2
    assert "Press Estimate under Results" in said(panel)
    for frame in tool.value():
        assert (frame.class_index == nodes_of(person.truth, frame)).all()
    assert dock.controller.check.contradicted() == ()
    assert "The counts changed since: press Estimate again." in warned(view)

    person.estimate()
    labels = dock.controller.outcome.labels()
    expected = estimate_fractions(
        labels, dock.annotate.check_value(), training=dock.annotations(), is_set=False
    )
    assert repr(dock.controller.outcome.estimated.estimates) == repr(expected)  # nan equals nothing
    corrected = next(one for one in expected if one.method == "labels, corrected")
    assert f"{100 * corrected.fraction:.1f}" in said(view)
    assert "check nodes are a fair sample of all pixels" in said(view)
    assert warned(view) == ""

    person.push(button(dock.results, "Save results…"))
    dock.controller.save(tmp_path / "out", has_run=False)
    person.qtbot.waitUntil(lambda: dock.controller.outcome.is_saved, timeout=PATIENCE_MS)
    table = pd.read_csv(tmp_path / "out" / "estimates.csv")
    assert table["method"].tolist() == [one.method for one in expected]
    assert read_annotations(grid=tmp_path / "out" / "check.csv").grids == tool.value()

    dock.results.findChild(QLabeledDoubleSlider).setValue(0.9)
    person.qtbot.waitUntil(lambda: "The labels changed since" in warned(view))
    dock.results.findChild(QLabeledDoubleSlider).setValue(0.5)
    person.qtbot.waitUntil(lambda: warned(view) == "")
    person.leave()
