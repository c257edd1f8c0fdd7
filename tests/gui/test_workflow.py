"""A newcomer's whole way, by mouse and keys on a shown viewer, from the sample to another day.

The budget is stated in steps, so that the outcome does not depend on how busy the machine is: 120,
and 30 more after the correction, which take about a minute on one idle core, previews included. The
labels of the whole stack must then have an intersection over union of at least .5 (.84 when this
was written).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import pytest
import tifffile
from eye import button, number, offered, said
from hand import LEFT, Hand
from napari._app_model import get_app_model
from napari.layers import Labels
from npe2 import PluginManager
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QFileDialog, QLineEdit, QTabBar
from scipy import ndimage

from napari_spss.core.base import Preview
from napari_spss.core.simulation import samples
from napari_spss.gui import dock as dock_module
from napari_spss.gui.dock import SpssDock
from napari_spss.gui.layers import layer_mark
from napari_spss.gui.models import EndKind, RunForm
from napari_spss.gui.models.preferences import Preferences
from napari_spss.gui.widgets.annotate.grid_list import GridList
from napari_spss.gui.widgets.save_place import SavePlace

N_SLICES, SHAPE = 6, (256, 256)
STEPS, MORE_STEPS = 120, 30
PATIENCE_MS = 900_000  # generous: how long a step takes is the machine's affair
BACKGROUND, MITO = 0, 1
SHIFT = Qt.KeyboardModifier.ShiftModifier


class Newcomer:
    """A user who knows mitochondria when they see them, and does all by mouse and keys."""

    def __init__(self, viewer, dock, truth, qtbot) -> None:
        self.viewer, self.dock, self.truth = viewer, dock, truth
        self.image = viewer.layers[0]
        self._qtbot = qtbot
        self._hand = Hand(viewer, self.image)

    def wait_for(self, is_so: Callable[[], bool]) -> None:
        """Watch until something is so."""
        self._qtbot.waitUntil(is_so, timeout=PATIENCE_MS)

    def wait_for_the_end(self) -> None:
        """Watch until the run has ended and the labels are drawn."""
        session, outcome = self.dock.session, self.dock.controller.outcome
        self.wait_for(lambda: not session.status.is_busy and outcome.is_up_to_date)

    def press(self, what) -> None:
        """Click a button of the dock."""
        assert what.isEnabled(), what.text()
        self._qtbot.mouseClick(what, LEFT, pos=QPoint(8, what.height() // 2))

    def type_number(self, box, value: int) -> None:
        """Type into a field, and press Enter."""
        box.selectAll()
        self._qtbot.keyClicks(box, str(value))
        self._qtbot.keyClick(box, Qt.Key.Key_Return)

    def open_tab(self, name: str) -> None:
        """Click a tab of Annotate, which may be folded."""
        if not (section := self.dock.sections["Annotate"]).is_open:
            self.press(section.header)
        bar = self.dock.annotate.findChild(QTabBar)
        index = [bar.tabText(i) for i in range(bar.count())].index(name)
        self._qtbot.mouseClick(bar, LEFT, pos=bar.tabRect(index).center())

    def go_to(self, z: int) -> None:
        """Move the slider."""
        self.viewer.dims.set_current_step(0, z)

    def state_diameter(self, pixels: int) -> None:
        """Type the width of a mitochondrion."""
        self.type_number(number(self.dock.image, "px"), pixels)

    def type_fractions(self) -> None:
        """Type a guess per slice, 15 % too high; Enter goes on to the next slice."""
        view = self.dock.annotate.fractions.view
        first = view.visualRect(view.model().index(0, 0)).center()
        self._qtbot.mouseClick(view.viewport(), LEFT, pos=first)
        for z in range(N_SLICES):
            assert self.dock.controller.current_slice() == z
            text = str(max(1, round(115 * self.truth[z].mean())))
            self._qtbot.keyClick(view, text[0])
            editor = view.viewport().findChildren(QLineEdit)[-1]
            self._qtbot.keyClicks(editor, text[1:])
            self._qtbot.keyClick(editor, Qt.Key.Key_Return)

    def count(self) -> int:
        """Click the nodes on mitochondria on this slice, which has a grid; return their number."""
        z = self.dock.controller.current_slice()
        grid = next(grid for grid in self.dock.annotate.grid.value() if grid.slice == z)
        return self._click_hits(grid)

    def count_frame(self) -> None:
        """Click the hits of the frame of the check count that is shown, and press D."""
        tool = self.dock.annotate.check
        row = tool.findChild(GridList).selectedIndexes()[0].row()
        self._click_hits(tool.value()[row])
        self.press_key(Qt.Key.Key_D)

    def _click_hits(self, grid) -> int:
        z = grid.slice
        hits = [(y, x) for y, x in zip(grid.y, grid.x, strict=True) if self._is_mito(z, y, x)]
        for y, x in hits:
            self._hand.click((z, y, x))
        return len(hits)

    def press_named(self, part, start: str) -> None:
        """Click the button of which the start is known."""
        (name,) = [text for text in offered(part) if text.startswith(start)]
        self.press(button(part, name))

    def save(self, part, folder=None) -> None:
        """Say where to save, if not where it is proposed, and press Save."""
        place = next(one for one in part.findChildren(SavePlace) if one.isVisibleTo(part))
        if folder is not None:
            place.findChild(QLineEdit).setText(str(folder))
        self.press(button(place, "Save"))

    @property
    def objects(self):
        """The layer of objects."""
        return result(self.viewer, "mitochondria objects")

    def numbers(self) -> set[int]:
        """Return the numbers of the objects, by the table in the layer."""
        return set(self.objects.features["index"]) - {0}

    def leave(self) -> None:
        """Close the dock and the window."""
        self.dock.shut_down()
        self.viewer.close()

    def press_key(self, key: Qt.Key, modifier=Qt.KeyboardModifier.NoModifier) -> None:
        """Type a key on the canvas."""
        self._hand.press(key, modifier)

    def click(self, class_index: int, y: float, x: float) -> None:
        """Give a place on this slice a class."""
        self.press_key((Qt.Key.Key_Q, Qt.Key.Key_W)[class_index])
        self._hand.click((self.dock.controller.current_slice(), y, x))

    def point_at_examples(self, z: int) -> None:
        """Click the middle of a mitochondrion, and a place far from any."""
        self.go_to(z)
        self.click(MITO, *_deepest(self.truth[z] == 1))
        self.click(BACKGROUND, *_deepest(self.truth[z] == 0))

    def correct(self, z: int, preview) -> int:
        """Click the widest errors of a preview; return how many."""
        factor = SHAPE[0] / preview.shape[0]
        wrong = preview != _reduced(self.truth[z], preview.shape)
        n_clicks = 0
        for _ in range(4):
            y, x = _deepest(wrong)
            wrong[max(0, y - 8) : y + 8, max(0, x - 8) : x + 8] = False
            row, column = (int((value + 0.5) * factor) for value in (y, x))
            self.click(int(self.truth[z, row, column]), row, column)
            n_clicks += 1
        return n_clicks

    def _is_mito(self, z: int, y: float, x: float) -> bool:
        row, column = (
            min(round(value), size - 1) for value, size in zip((y, x), SHAPE, strict=True)
        )
        return bool(self.truth[z, row, column])


def _deepest(mask):
    """Pixel of a mask that is farthest from its border."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    return np.unravel_index(np.argmax(depth), mask.shape)


def _reduced(truth, shape):
    """Truth at the working scale, by the pixel in the middle of each block."""
    rows, columns = (
        ((np.arange(n) + 0.5) * size / n).astype(int) for n, size in zip(shape, SHAPE, strict=True)
    )
    return truth[np.ix_(rows, columns)]


def result(viewer, role):
    """Layer of results by what it is."""
    return next((one for one in viewer.layers if layer_mark(one).get("role") == role), None)


def iou(labels, truth):
    """Intersection over union of mitochondria."""
    return ((labels == 1) & (truth == 1)).sum() / max(1, ((labels == 1) | (truth == 1)).sum())


@pytest.fixture
def come(make_napari_viewer, qtbot, monkeypatch, tmp_path):
    """Open the viewer with the sample, smaller and not yet annotated, and the dock beside it."""
    sample = samples.synthetic_sample(N_SLICES, SHAPE)
    monkeypatch.setattr("napari_spss.core.simulation.synthetic_sample", lambda: sample)
    # The first preview is of a network that has learned nothing yet, however fast the machine is.
    swift = partial(Preferences, device="cpu", preview_interval_s=0.3)
    monkeypatch.setattr(dock_module, "read_preferences", swift)
    # a process that takes some steps in the background after each change
    monkeypatch.setattr(dock_module.DurationProbe, "ask", lambda *_: None)
    truth = np.stack([sample.truth.read(z) for z in range(N_SLICES)])

    def open_all() -> Newcomer:
        viewer = make_napari_viewer(show=True)
        if "napari-spss" not in PluginManager.instance():
            pytest.skip("the package is not installed")
        viewer.window.resize(1100, 700)  # fewer pixels are drawn
        viewer.open_sample("napari-spss", "synthetic")
        del viewer.layers[0].metadata["napari_spss"]["annotations"]
        get_app_model().commands.execute_command("napari-spss.open_dock").result()
        (dock,) = (one for one in viewer.window.dock_widgets.values() if isinstance(one, SpssDock))
        for counting in (dock.annotate.grid, dock.annotate.check):
            counting.rng = np.random.default_rng(3)  # the same offsets every time
        return Newcomer(viewer, dock, truth, qtbot)

    return open_all


def annotate(user):
    """Say what a newcomer says in five minutes: fractions, two grids, a few keypoints."""
    dock = user.dock
    assert not button(dock.train, "Train").isEnabled()
    user.state_diameter(60)
    user.type_fractions()

    user.open_tab("Grid")
    user.press(button(dock.annotate.grid, "Propose"))
    assert "Count grids of 16 x 16 nodes" in said(dock.annotate)
    user.go_to(1)
    user.press_key(Qt.Key.Key_G, SHIFT)
    n_hits = [user.count()]
    user.press_key(Qt.Key.Key_D)  # done; the next slice gets a grid
    assert dock.controller.current_slice() != 1
    n_hits.append(user.count())
    user.press(button(dock.annotate.grid, "then the next slice"))
    user.press_key(Qt.Key.Key_D)

    user.open_tab("Keypoints")
    user.press(button(dock.annotate.keypoints, "Add keypoints"))
    for z in (2, 4):
        user.point_at_examples(z)

    told = dock.annotations()
    assert [p.region.slice for p in told.proportions] == list(range(N_SLICES))
    assert all(grid.is_done for grid in told.grids)
    assert sorted(int(g.judged_counts(2)[1]) for g in told.grids) == sorted(n_hits)
    assert min(n_hits) > 5
    assert [(p.slice, p.class_index) for p in told.keypoints] == [(2, 1), (2, 0), (4, 1), (4, 0)]


@pytest.mark.timeout(3600)
def test_a_newcomer_segments_the_sample(come, tmp_path, monkeypatch):
    user = come()
    dock, viewer = user.dock, user.viewer
    annotate(user)

    previews, ends = [], []

    def watch(event):
        if isinstance(event, Preview):
            layer = result(viewer, "preview labels")  # none as long as it is of one colour
            shown = None if layer is None else layer.data[0]
            truth = None if layer is None else _reduced(user.truth[event.slice], shown.shape)
            previews.append((event.slice, 0.0 if layer is None else iou(shown, truth)))

    dock.session.event_taken.connect(watch)
    dock.session.run_ended.connect(lambda end: ends.append(end))
    budget = partial(RunForm, device="cpu")
    dock.train.set_value(budget(overrides={"optimisation.max_steps": STEPS}))
    user.press(button(dock.train, "Train"))
    user.wait_for_the_end()
    assert ends[-1].kind is EndKind.finished, ends[-1].text
    here = [score for z, score in previews if z == 4]
    assert len(here) >= 2
    assert here[-1] > here[0] + 0.2, previews

    shown = result(viewer, "preview labels").data[0]
    adds = button(dock.annotate.keypoints, "Add keypoints")
    assert adds.isChecked()  # the preview did not take the mouse away
    n_before = len(dock.annotations().keypoints)
    n_clicks = user.correct(4, shown)
    assert len(dock.annotations().keypoints) == n_before + n_clicks
    look_again(user)
    dock.train.set_value(budget(overrides={"optimisation.max_steps": MORE_STEPS}))
    user.press(button(dock.train, "Continue"))
    user.wait_for_the_end()
    assert ends[-1].kind is EndKind.finished, ends[-1].text
    assert dock.session.curves.last_step == STEPS + MORE_STEPS

    dock.results.set_scope("stack")
    user.press(button(dock.results, "Apply"))
    user.wait_for_the_end()
    labels = result(viewer, "labels")
    assert isinstance(labels, Labels)
    np.testing.assert_array_equal(labels.scale, user.image.scale)
    assert iou(labels.data, user.truth) >= 0.5

    check(user)
    proofread(user)
    user.press(button(dock.results.estimates, "Estimate"))  # the labels follow the objects
    user.wait_for(lambda: not dock.controller.check.is_estimating)
    save(user, tmp_path / "out", monkeypatch)
    go_on(user, come)


def look_again(user):
    """Keep two of the nodes that the map doubts, and leave the others."""
    user.press_named(user.dock.results, "at ")
    user.wait_for_the_end()
    user.press_key(Qt.Key.Key_K)
    user.press_key(Qt.Key.Key_K)
    assert re.search(r"2 of \d+ nodes looked at again, 0 changed", said(user.dock.annotate))
    user.press(button(user.dock.annotate.second_look, "End"))


def check(user):
    """Count three frames that no training has seen, look again, and estimate the fraction."""
    tool, view = user.dock.annotate.check, user.dock.results.estimates
    user.open_tab("Check")
    user.type_number(number(tool, "px wide"), 128)
    user.type_number(number(tool, "frames"), 3)
    user.press_key(Qt.Key.Key_G, SHIFT)
    for _ in range(3):
        user.count_frame()
    assert all(frame.is_done for frame in tool.value())
    n_doubted = len(user.dock.controller.check.contradicted())
    if n_doubted:
        user.press(button(view, f"Look at {n_doubted}"))
        for _ in range(n_doubted):
            user.press_key(Qt.Key.Key_K)
    user.press(button(view, "Estimate"))
    user.wait_for(lambda: not user.dock.controller.check.is_estimating)
    assert "labels, corrected" in said(view)
    user.open_tab("Fractions")  # labels are shown again


def proofread(user):
    """Find objects, keep one and delete another."""
    viewer, panel = user.viewer, user.dock.results.objects
    user.press(button(panel, "Find objects"))
    user.wait_for_the_end()
    viewer.reset_view()
    viewer.layers.selection.active = user.objects
    first = user.numbers()
    user.press_key(Qt.Key.Key_N)
    assert user.objects.selected_label in first
    user.press_key(Qt.Key.Key_K)
    assert "; 1 judged." in said(panel)
    user.press_key(Qt.Key.Key_D)  # that which comes next
    assert len(user.numbers()) == len(first) - 1
    user.wait_for_the_end()
    labels = result(viewer, "labels").data
    np.testing.assert_array_equal(labels == MITO, user.objects.data > 0)


def save(user, out, monkeypatch):
    """Save table, figures and everything."""
    dock, table = user.dock, out.with_suffix(".csv")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(table), ""))
    user.press(button(dock.results.objects, "Save table…"))
    assert set(pd.read_csv(table)["object"]) == user.numbers()

    user.press(button(dock.results, "Save everything…"))
    user.save(dock.results, out)
    user.wait_for_the_end()
    labels = result(user.viewer, "labels").data
    np.testing.assert_array_equal(tifffile.imread(out / "labels.ome.tif"), labels)
    np.testing.assert_array_equal(tifffile.imread(out / "objects.ome.tif"), user.objects.data)
    written = {path.name for path in out.iterdir()}
    assert {"maps.ome.tif", "fractions.csv", "config.toml", "model.safetensors"} <= written
    assert {"estimates.csv", "check.csv"} <= written

    user.press(button(dock.plots, "Save figures…"))
    user.save(dock.plots, out / "figures")
    figures = [out / "figures" / f"{name}.svg" for name in ("fractions", "sizes", "overlay")]
    user.wait_for(lambda: all(path.exists() for path in figures) and "Saved" in said(dock.bar))


def go_on(user, come):
    """Close all, come back another day, and go on with what is there."""
    annotations, check = user.dock.annotations(), user.dock.annotate.check.value()
    objects, numbers = user.objects.data.copy(), user.numbers()
    user.leave()
    user = come()
    dock = user.dock
    user.wait_for(lambda: user.objects is not None and dock.session.model is not None)
    assert dock.annotations() == annotations
    assert dock.annotate.check.value() == check
    assert dock.session.curves.last_step == STEPS + MORE_STEPS
    assert user.numbers() == numbers
    dock.results.set_scope("stack")
    user.press(button(dock.results, "Apply"))
    user.wait_for_the_end()
    np.testing.assert_array_equal(user.objects.data, objects)
    user.press(button(dock.results.estimates, "Estimate"))
    user.wait_for(lambda: not dock.controller.check.is_estimating)
    assert "labels, corrected" in said(dock.results.estimates)
