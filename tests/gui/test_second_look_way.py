"""A person's second look, by mouse and keys: train, look at doubtful nodes, leave, go on, train."""

from __future__ import annotations

import numpy as np
import pytest
from eye import button, offered, said
from person import Person
from qtpy.QtCore import Qt

from napari_spss.core.annotations import (
    UNSURE,
    annotation_files,
    lay_frames,
    lay_grid,
    read_annotations,
)
from napari_spss.core.simulation import synthetic_sample
from napari_spss.core.training import RunFolder
from napari_spss.gui import dock as dock_module
from napari_spss.gui.layers import LOOK_LAYER
from napari_spss.gui.layers.source_frame import camera_of
from napari_spss.gui.models import RunForm
from napari_spss.gui.models.preferences import Preferences

CONTROL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
N_WRONG = 8


def counted(sample):
    """A done grid and a done frame, of which some nodes were judged wrongly."""
    rng = np.random.default_rng(1)
    shape = sample.truth.read(0).shape
    grids = [lay_grid(0, shape, n_side=12, rng=rng)]
    grids += lay_frames((1, *shape), 1, 128, 6, rng=rng)
    judged = []
    for z, grid in enumerate(grids):
        labels = sample.truth.read(z)
        rows, columns = (
            np.clip(np.rint(axis).astype(int), 0, size - 1)
            for axis, size in zip((grid.y, grid.x), labels.shape, strict=True)
        )
        classes = (labels[rows, columns] == 1).astype(np.int16)
        wrong = rng.choice(np.flatnonzero(classes == 0), N_WRONG // 2, replace=False)
        classes[wrong] = 1
        judged.append(grid.replace(slice=z, class_index=classes, is_done=True))
    return tuple(judged)


class Looker(Person):
    """Looks at nodes again."""

    def __init__(self, viewer, sample, qtbot) -> None:
        super().__init__(viewer, sample, qtbot)
        self.looks = self.dock.annotate.second_look

    def grid_of(self, look):
        """The grid of a node, and its index in it."""
        (grid,) = [one for one in self.dock.annotations().grids if one.region == look.region]
        return grid, int(np.hypot(grid.y - look.y, grid.x - look.x).argmin())

    def class_of(self, look) -> tuple[int, int]:
        """Class and number of looks of a node."""
        grid, node = self.grid_of(look)
        return int(grid.class_index[node]), int(grid.looks[node])

    def sees(self, look) -> bool:
        """Whether the viewer shows the node and little more than what is around it."""
        slices = self.viewer.dims.current_step[0]
        camera = camera_of(self.viewer)
        centre = np.array(camera.center[-2:])
        is_near = np.abs(centre - (look.y, look.x)).max() < 80
        return slices == look.region.slice and is_near and camera.zoom > 3

    def ring_px(self, look) -> int:
        """Width of the ring around the node on the screen; 0 if it is filled."""
        picture = self.hand.picture()
        at = self.hand.at((look.region.slice, look.y, look.x))
        rows = [picture.pixelColor(at.x() + d, at.y()) for d in range(-60, 61)]
        yellow = [d for d, c in zip(range(-60, 61), rows, strict=True) if c.name() == "#ffd400"]
        return 0 if not yellow or min(map(abs, yellow)) < 15 else yellow[-1] - yellow[0]


@pytest.mark.timeout(900)
def test_nodes_are_looked_at_again_and_a_model_learns_what_was_changed(
    make_napari_viewer, qtbot, monkeypatch, home
):
    monkeypatch.setattr(dock_module, "read_preferences", lambda: Preferences(device="cpu"))
    sample = synthetic_sample(2, (384, 384))
    user = Looker(make_napari_viewer(show=True), sample, qtbot)
    dock, panel = user.dock, user.looks
    dock.annotate.grid.set_value(counted(sample))
    assert not button(dock.results, "at 32 nodes").isEnabled()  # there is no model yet
    overrides = {"optimisation.max_steps": 8, "network.filters": 4, "sampling.crop_px": 128}
    dock.train.set_value(RunForm(device="cpu", overrides=overrides))
    user.push_and_wait(button(dock.train, "Train"))

    assert "at 32 nodes" in offered(dock.results)
    user.push_and_wait(button(dock.results, "at 32 nodes"))
    assert panel.isVisible()
    first = panel.current
    assert f"Node 1 of 32, slice {first.region.slice}. You said" in said(panel)
    assert user.sees(first)
    assert user.viewer.layers.selection.active.name == LOOK_LAYER
    (ring,) = user.viewer.layers[LOOK_LAYER].data
    assert ring.tolist() == pytest.approx([first.region.slice, first.y, first.x])

    assert user.ring_px(first) == pytest.approx(44, abs=6)
    user.press(Qt.Key.Key_K)
    assert user.class_of(first) == (first.stated, 1)
    second = panel.current
    assert user.sees(second)
    other = 1 - second.stated
    style = dock.classes.value()[other]
    user.push(button(panel, f"{style.name} ({style.key})"))
    assert user.class_of(second) == (other, 1)
    third = panel.current
    user.press(Qt.Key.Key_U)
    assert user.class_of(third) == (UNSURE, 1)
    assert "3 of 32 nodes looked at again, 1 changed, 1 unsure." in said(panel)

    user.press(Qt.Key.Key_Z, CONTROL)
    assert user.class_of(third) == (third.stated, 0)
    assert panel.current == third
    assert user.sees(third)
    user.press(Qt.Key.Key_Z, CONTROL | SHIFT)
    assert user.class_of(third) == (UNSURE, 1)
    user.press(Qt.Key.Key_B)
    assert panel.current == second
    assert "Now: " in said(panel)
    user.press(Qt.Key.Key_K)  # after all
    assert user.class_of(second) == (second.stated, 1)
    fourth = panel.current
    assert fourth not in (first, second, third)  # those were looked at
    user.press(Qt.Key.Key_N)
    assert user.class_of(fourth)[1] == 0
    fifth = panel.current
    style = dock.classes.value()[1 - fifth.stated]
    user.press(getattr(Qt.Key, f"Key_{style.key.upper()}"))
    assert user.class_of(fifth) == (1 - fifth.stated, 1)
    annotations, looks = dock.annotations(), panel.value()
    user.leave()
    (record,) = home.glob("**/project.json")
    assert read_annotations(**annotation_files(record.parent)).grids == annotations.grids

    user = Looker(make_napari_viewer(show=True), sample, qtbot)
    dock, panel = user.dock, user.looks
    assert dock.annotations() == annotations
    assert panel.value() == looks
    dock.annotate.show_tab(1)
    assert "4 of 32 nodes looked at again, 1 changed, 1 unsure." in said(panel)
    user.push(button(panel, "Go on"))
    assert panel.current == fourth
    while panel.current is not None:
        user.press(Qt.Key.Key_K)
    assert "Press Continue under Train" in said(panel)
    assert {look.verdict is None for look in panel.value()} == {False}
    assert not user.viewer.layers[LOOK_LAYER].visible
    user.push(button(panel, "Close"))
    assert not panel.isVisible()

    dock.train.set_value(RunForm(device="cpu", overrides=overrides))
    user.push_and_wait(button(dock.train, "Train"))
    told = [text for _, text in dock.session.messages if text.startswith("Second look: ")]
    assert told[0].startswith("Second look: 32 nodes looked at again, 1 changed, 1 unsure; ")
    gained = [text for _, text in dock.session.messages if text.startswith("With 1 changed node,")]
    assert len(gained) == 1
    run = RunFolder(dock.controller.model_dir)
    assert run.settings().labels.node_error != 0.05
    assert run.annotations().grids == dock.annotations().grids
    n_left = sum(int(grid.to_look_at.sum()) for grid in annotations.grids) - 28
    n_next = min(32, n_left)
    assert f"at {n_next} nodes" in offered(dock.results)
    user.push_and_wait(button(dock.results, f"at {n_next} nodes"))
    more = panel.value()[32:]  # the map may be sure of all others
    assert {user.class_of(look)[1] for look in more} <= {0}
    assert all(look.probability >= 0.01 for look in more)
    assert ("no node is doubtful" in dock.bar.text()) == (not more)
    user.leave()
