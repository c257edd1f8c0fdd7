"""A newcomer's whole way, with mouse and keys on a shown viewer, from the sample to the export.

The budget is stated in steps, so that the outcome does not depend on how busy the machine is: 120,
and 60 more after the correction, which take about a minute on one idle core, previews included. The
labels of the whole stack must then have an intersection over union of at least .5 (.84 when this
was written).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import tifffile
from eye import button, number
from hand import LEFT, Hand
from napari._app_model import get_app_model
from napari.layers import Labels
from npe2 import PluginManager
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QLineEdit, QTabBar
from scipy import ndimage

from napari_spss.core.base import Preview
from napari_spss.core.simulation import samples
from napari_spss.gui import dock as dock_module
from napari_spss.gui.dock import SpssDock
from napari_spss.gui.models import EndKind, RunForm
from napari_spss.gui.models.preferences import Preferences
from napari_spss.gui.widgets.save_place import SavePlace

N_SLICES, SHAPE = 6, (256, 256)
STEPS, MORE_STEPS = 120, 60
PATIENCE_MS = 900_000  # generous: how long a step takes is the machine's affair
BACKGROUND, MITO = 0, 1


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

    def open_tab(self, name: str) -> None:
        """Click a tab of Annotate."""
        bar = self.dock.annotate.findChild(QTabBar)
        index = [bar.tabText(i) for i in range(bar.count())].index(name)
        self._qtbot.mouseClick(bar, LEFT, pos=bar.tabRect(index).center())

    def go_to(self, z: int) -> None:
        """Move the slider."""
        self.viewer.dims.set_current_step(0, z)

    def state_diameter(self, pixels: int) -> None:
        """Type the width of a mitochondrion."""
        box = number(self.dock.image, "px")
        box.selectAll()
        self._qtbot.keyClicks(box, str(pixels))
        self._qtbot.keyClick(box, Qt.Key.Key_Return)

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
        hits = [(y, x) for y, x in zip(grid.y, grid.x, strict=True) if self._is_mito(z, y, x)]
        for y, x in hits:
            self._hand.click((z, y, x))
        return len(hits)

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
    """Layer of results by the end of its name."""
    return next((layer for layer in viewer.layers if layer.name.endswith(role)), None)


def iou(labels, truth):
    """Intersection over union of mitochondria."""
    return ((labels == 1) & (truth == 1)).sum() / max(1, ((labels == 1) | (truth == 1)).sum())


@pytest.fixture
def newcomer(make_napari_viewer, qtbot, monkeypatch, tmp_path):
    """The viewer with the sample, smaller and not yet annotated, and the dock beside it."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    sample = samples.synthetic_sample(N_SLICES, SHAPE)
    monkeypatch.setattr("napari_spss.core.simulation.synthetic_sample", lambda: sample)
    swift = partial(Preferences, device="cpu", preview_interval_s=0.5)
    monkeypatch.setattr(dock_module, "read_preferences", swift)
    viewer = make_napari_viewer(show=True)
    if "napari-spss" not in PluginManager.instance():
        pytest.skip("the package is not installed")
    viewer.window.resize(1400, 900)
    viewer.open_sample("napari-spss", "synthetic")
    del viewer.layers[0].metadata["napari_spss"]["annotations"]
    get_app_model().commands.execute_command("napari-spss.open_dock").result()
    (dock,) = (one for one in viewer.window.dock_widgets.values() if isinstance(one, SpssDock))
    dock.annotate.grid._rng = np.random.default_rng(3)  # the same offsets every time
    truth = np.stack([sample.truth.read(z) for z in range(N_SLICES)])
    return Newcomer(viewer, dock, truth, qtbot)


def annotate(user):
    """Say what a newcomer says in five minutes: fractions, two grids, a few keypoints."""
    dock = user.dock
    assert not button(dock.train, "Train").isEnabled()
    user.state_diameter(60)
    user.type_fractions()

    user.open_tab("Grid")
    user.go_to(1)
    user.press_key(Qt.Key.Key_G, Qt.KeyboardModifier.ShiftModifier)
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

    said = dock.annotations()
    assert [p.region.slice for p in said.proportions] == list(range(N_SLICES))
    assert all(grid.is_done for grid in said.grids)
    assert sorted(int(g.judged_counts(2)[1]) for g in said.grids) == sorted(n_hits)
    assert min(n_hits) > 5
    assert [(p.slice, p.class_index) for p in said.keypoints] == [(2, 1), (2, 0), (4, 1), (4, 0)]


@pytest.mark.timeout(3600)
def test_a_newcomer_segments_the_sample(newcomer, tmp_path):
    user, dock, viewer = newcomer, newcomer.dock, newcomer.viewer
    annotate(user)

    previews, ends = [], []

    def watch(event):
        layer = result(viewer, "preview labels")  # none as long as it is of one colour
        if isinstance(event, Preview) and layer is not None:
            shown = layer.data[0]
            truth = _reduced(user.truth[event.slice], shown.shape)
            previews.append((event.slice, iou(shown, truth)))

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
    dock.train.set_value(budget(overrides={"optimisation.max_steps": MORE_STEPS}))
    user.press(button(dock.train, "Continue"))
    user.wait_for_the_end()
    assert ends[-1].kind is EndKind.finished, ends[-1].text
    assert dock.session.curves.last_step == STEPS + MORE_STEPS

    dock.results.set_scope("stack")
    user.press(button(dock.results, "Apply"))
    user.wait_for_the_end()
    labels = result(viewer, "mitochondria labels")
    assert isinstance(labels, Labels)
    np.testing.assert_array_equal(labels.scale, user.image.scale)
    assert iou(labels.data, user.truth) >= 0.5

    out = tmp_path / "out"
    user.press(button(dock.results, "Save everything…"))
    place = dock.results.findChild(SavePlace)
    place.findChild(QLineEdit).setText(str(out))
    user.press(button(place, "Save"))
    user.wait_for_the_end()
    np.testing.assert_array_equal(tifffile.imread(out / "labels.ome.tif"), labels.data)
    written = {path.name for path in out.iterdir()}
    assert {"maps.ome.tif", "fractions.csv", "config.toml", "model.safetensors"} <= written
