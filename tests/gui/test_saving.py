"""Whatever is annotated is saved as it is made, and is there again after whatever happened."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from eye import button, log_of, offered
from full_disk import fail_once
from hand import Hand
from napari.components import ViewerModel
from napari.layers import Image, Labels, Points, Shapes
from napari.utils.key_bindings import coerce_keybinding
from pytestqt.exceptions import capture_exceptions
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QFileDialog, QLabel, QPushButton, QToolButton

from napari_spss.core.annotations import (
    NOT_JUDGED,
    UNSURE,
    Annotations,
    ClassStyle,
    CountingGrid,
    Keypoint,
    Look,
    Proportion,
    Region,
    lay_frames,
)
from napari_spss.core.images import IGNORE
from napari_spss.core.projects.state import read_state
from napari_spss.gui import dock as dock_module
from napari_spss.gui.dock import SpssDock
from napari_spss.gui.layers.source_frame import corners_of
from napari_spss.gui.models.preferences import Preferences
from napari_spss.gui.widgets.annotate.painted import PaintedTool

PIXELS = np.random.default_rng(0).integers(0, 255, (4, 40, 60), np.uint8)
STYLES = (
    ClassStyle("background", "#999999", "Q"),
    ClassStyle("mito", "#E69F00", "W"),
    ClassStyle("er", "#56B4E9", "H"),
)
NAMES = ("background", "mito", "er")
MARKS = [1, UNSURE, NOT_JUDGED, 2]
GRIDS = (
    CountingGrid(0, 20.0, 5.0, 5.0, [5, 5, 25, 25], [5, 25, 5, 25], MARKS),
    CountingGrid(3, 20.0, 5.0, 5.0, [5, 5, 25, 25], [5, 25, 5, 25], [0, UNSURE, 1, 2], True),
)
SAID = Annotations(
    NAMES,
    (
        Proportion(Region(0), (None, 0.1, 0.2)),
        Proportion(Region(2, (0, 0, 20, 30)), (None,) * 3, (None, 0.0, None), (None, 0.01, None)),
    ),
    (Keypoint(1, 5.0, 7.0, 1), Keypoint(2, 30.0, 50.5, 0)),
    GRIDS,
)
FILES = {
    "proportions": "proportions.csv",
    "keypoints": "keypoints.csv",
    "grid": "grid.csv",
    "classes": "project.json",
    "painted": "slice_00002.tif",
}


@pytest.fixture(autouse=True)
def device(monkeypatch):
    monkeypatch.setattr(dock_module, "read_preferences", lambda: Preferences(device="cpu"))


@pytest.fixture
def viewer(qtbot):
    """A viewer without a window, which is quick."""
    viewer = ViewerModel()
    viewer.add_image(PIXELS, name="em")
    return viewer


@pytest.fixture
def dock(open_dock):
    dock = open_dock()
    dock.classes.set_value(STYLES)
    return dock


@pytest.fixture
def reopen(open_dock, viewer):
    """Close a dock and open it on nothing but the image, as in a new session."""

    def again(dock):
        close(dock, viewer)
        return open_dock()

    return again


def hurry(dock):
    """Let a save that failed be tried again at once."""
    for timer in dock.project.findChildren(QTimer):
        timer.setInterval(20)


def annotate(dock):
    """Say something in every way, and paint on two slices."""
    dock.annotate.set_value(SAID)
    dock.annotate.painted.start_painting()
    paint(dock, 1, 2)
    paint(dock, 2, 3)


def paint(dock, z, label):
    pixels = np.array([[z, 4, 7], [z, 5, 8], [z, 6, 9]])
    dock.annotate.painted.layer.data_setitem(tuple(pixels.T), label)


def painted(dock):
    """Class of the painted pixels by slice, and how many there are."""
    labels = dock.annotate.painted.value()
    if labels is None:
        return {}
    found = {z: labels.read(z) for z in labels.slices()}
    return {z: np.unique(a[a != IGNORE], return_counts=True) for z, a in found.items()}


@contextmanager
def dock_in_order():
    """Let no error that a slot raised go unheard."""
    with capture_exceptions() as errors:
        yield
    assert not errors


def assert_painted(dock, expected):
    found = {z: (c.tolist(), n.tolist()) for z, (c, n) in painted(dock).items()}
    assert found == {z: ([c], [3]) for z, c in expected.items()}


@pytest.fixture
def go_on_in(monkeypatch):
    """Choose a folder by the button Folder…"""

    def choose(dock, folder):
        monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
        button(dock.project, "Folder…").click()

    return choose


def close(dock, viewer):
    """Close a dock and leave only the image, as in a new session."""
    folder = dock.project.folder
    dock.shut_down()
    for layer in list(viewer.layers):
        if not isinstance(layer, Image):
            viewer.layers.remove(layer)
    return folder


@pytest.mark.parametrize(
    "other", [PIXELS[0], PIXELS[:, :20], PIXELS[::-1].copy(), np.zeros((2, 3, *PIXELS.shape))]
)
def test_other_pixels_in_the_same_layer_have_their_own_project(dock, viewer, other):
    annotate(dock)
    image, folder = viewer.layers[0], dock.project.folder
    with dock_in_order():
        image.data = other
        viewer.dims.set_current_step(0, 0)
    if other.ndim < 5:
        assert dock.project.folder != folder
        assert dock.annotations().is_empty
        assert dock.annotate.masks() is None
        dock.annotate.keypoints.set_value([Keypoint(0, 3.0, 4.0, 1)])
        dock.annotate.grid.lay_grid()
    else:
        assert dock.source is None
    with dock_in_order():
        image.data = PIXELS
    assert dock.project.folder == folder
    assert dock.annotations() == SAID
    assert_painted(dock, {1: 1, 2: 2})


@pytest.mark.parametrize(
    "place", [{"scale": (9, 2, 2)}, {"translate": (1, 5, 7)}, {"units": ["nm"] * 3}]
)
def test_image_that_is_moved_in_place_keeps_its_annotations_on_it(dock, viewer, place):
    annotate(dock)
    viewer.dims.set_current_step(0, 0)  # where a grid is
    image = viewer.layers[0]
    with dock_in_order():
        for name, value in place.items():
            setattr(image, name, value)
    assert dock.annotations() == SAID
    assert_painted(dock, {1: 1, 2: 2})
    tools = dock.annotate
    for layer in (tools.keypoints.layer, tools.painted.layer, tools.grid.layer):
        np.testing.assert_array_equal(layer.scale, image.scale)
        np.testing.assert_array_equal(layer.translate, image.translate)
    rectangle = tools.regions.layer
    corners = [image.world_to_data(rectangle.data_to_world(c)) for c in rectangle.data[0]]
    np.testing.assert_allclose(np.ptp(corners, axis=0), (0, 20, 30), atol=1e-6)


def test_everything_is_restored(dock, reopen):
    annotate(dock)
    again = reopen(dock)
    assert again.annotations() == SAID
    assert again.classes.value() == STYLES
    assert_painted(again, {1: 1, 2: 2})


def test_classes_alone_are_restored_and_said(dock, reopen):
    again = reopen(dock)
    assert again.classes.value() == STYLES
    assert "Restored the classes; nothing is annotated yet." in log_of(again)


def test_what_is_half_done_is_restored(dock, reopen):
    frames = lay_frames(PIXELS.shape, 4, 20, 3, rng=np.random.default_rng(0))
    begun = frames[1].replace(class_index=np.r_[1, UNSURE, [NOT_JUDGED] * (frames[1].n_nodes - 2)])
    counted = frames[0].replace(class_index=np.arange(frames[0].n_nodes) % 3, is_done=True)
    grids = (counted, begun, *frames[2:])
    dock.annotate.set_value(Annotations(NAMES, (), (), grids), check=grids[::-1])
    places = [(counted.y[node], counted.x[node], int(counted.class_index[node])) for node in (0, 1)]
    looks = [Look(counted.region, y, x, stated, 0, 0.5) for y, x, stated in places]
    dock.annotate.begin_looking(looks)
    dock.annotate.second_look.judge(2)  # and the other is left
    dock.annotate.regions.start_drawing()
    dock.annotate.regions.layer.add_rectangles(corners_of(Region(1, (4, 5, 24, 35))))
    state = dock.annotate.second_look.value(), dock.annotate.check_value()
    said, table = dock.annotations(), dock.annotate.fractions.text_state()
    assert [look.verdict for look in state[0]] == [2, None]
    assert dock.annotate.regions.value() == (Region(1, (4, 5, 24, 35)),)
    again = reopen(dock)
    assert again.annotations() == said
    assert (again.annotate.second_look.value(), again.annotate.check_value()) == state
    assert again.annotate.regions.value() == (Region(1, (4, 5, 24, 35)),)
    assert again.annotate.fractions.text_state() == table


@pytest.mark.parametrize("kind", FILES)
def test_save_that_failed_is_tried_again_by_itself(dock, qtbot, monkeypatch, kind, reopen):
    hurry(dock)
    failures = fail_once(monkeypatch, FILES[kind])
    annotate(dock)
    assert not dock.project.save()
    assert failures
    assert "No space left on device" in dock.project.text()
    qtbot.waitUntil(lambda: dock.project.text().startswith("Annotations saved in"))
    again = reopen(dock)
    assert again.annotations() == SAID
    assert_painted(again, {1: 1, 2: 2})


@pytest.mark.parametrize("kind", FILES)
def test_save_that_failed_is_tried_again_at_closing(
    dock, monkeypatch, kind, home, open_dock, viewer
):
    annotate(dock)
    failures = fail_once(monkeypatch, FILES[kind])
    assert not dock.project.save()
    assert failures
    folder = close(dock, viewer)
    assert len(list((home / "projects").iterdir())) == 1, "nothing had to be saved elsewhere"
    again = open_dock()
    assert again.project.folder == folder
    assert again.annotations() == SAID
    assert_painted(again, {1: 1, 2: 2})


def test_disk_that_stays_full_moves_everything_elsewhere(dock, monkeypatch, home, reopen):
    annotate(dock)
    assert dock.project.save()
    full, replace = dock.project.folder, os.replace

    def refuse(source, target):
        if full in Path(target).parents:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    paint(dock, 3, 2)
    dock.annotate.keypoints.set_value(SAID.keypoints[:1])
    again = reopen(dock)
    assert again.project.folder != full
    assert again.annotations() == SAID.replace(keypoints=SAID.keypoints[:1])
    assert_painted(again, {1: 1, 2: 2, 3: 1})


def test_pixel_clicked_again_with_another_class_comes_back_as_that_class(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1000, 800)
    image = viewer.add_image(PIXELS, name="em")
    dock = SpssDock(viewer, is_probing=False)
    viewer.window.add_dock_widget(dock)
    dock.classes.set_value(STYLES)
    hand = Hand(viewer, image)
    dock.annotate.keypoints.start_adding()
    hand.press(Qt.Key.Key_W)
    hand.click((0, 20, 30))
    hand.click((0, 10, 10))
    hand.press(Qt.Key.Key_Q)
    hand.click((0, 20, 30))
    points = dock.annotations().keypoints
    assert sorted((*point.pixel, point.class_index) for point in points) == [
        (10, 10, 1),
        (20, 30, 0),
    ]
    dock.annotations().validate_against(dock.source.stack)
    assert dock.project.save()
    folder = close(dock, viewer)
    again = SpssDock(viewer, is_probing=False)
    qtbot.addWidget(again)
    assert again.project.text().startswith("Annotations saved in")
    assert again.annotations().keypoints == points
    assert not list(folder.glob("*unreadable*"))
    again.shut_down()


def test_slice_that_was_painted_is_saved_although_another_is_shown_by_then(dock, reopen, viewer):
    annotate(dock)
    viewer.dims.set_current_step(0, 0)
    assert dock.project.save()
    assert_painted(reopen(dock), {1: 1, 2: 2})


def test_new_painted_layer_takes_the_place_of_a_deleted_one(dock, reopen, viewer):
    annotate(dock)
    assert dock.project.save()
    viewer.layers.remove(dock.annotate.painted.layer)
    assert dock.project.save()
    dock.annotate.painted.start_painting()
    paint(dock, 3, 2)
    again = reopen(dock)
    assert_painted(again, {3: 1})


RENAMED = (STYLES[0], ClassStyle("mitochondrion", "#E69F00", "W"), STYLES[2])
ADDED = (*STYLES, ClassStyle("golgi", "#009E73", "G"))
REMOVED = (STYLES[0], STYLES[2])
MOVED = (STYLES[0], STYLES[2], STYLES[1])
RECOLOURED = (STYLES[0], ClassStyle("mito", "#CC79A7", "M"), STYLES[2])


@pytest.mark.parametrize(
    ("styles", "places"),
    [
        (RENAMED, (0, 1, 2)),
        (ADDED, (0, 1, 2)),
        (REMOVED, (0, None, 1)),
        (MOVED, (0, 2, 1)),
        (RECOLOURED, (0, 1, 2)),
    ],
    ids=["renamed", "added", "removed", "moved", "recoloured"],
)
def test_changed_classes_are_restored_with_all_that_is_theirs(dock, styles, places, reopen):
    annotate(dock)
    assert dock.project.save()
    dock.classes.set_value(styles)
    said = dock.annotations()
    assert dock.project.save()
    again = reopen(dock)
    assert again.classes.value() == styles
    assert again.annotations() == said
    wanted = {z: places[c] for z, c in {1: 1, 2: 2}.items() if places[c] is not None}
    assert_painted(again, wanted)
    for point in SAID.keypoints:
        if places[point.class_index] is not None:
            moved = Keypoint(point.slice, point.y, point.x, places[point.class_index])
            assert moved in said.keypoints


def remove_mito(dock):
    """Press the cross beside the class."""
    removers = [one for one in dock.classes.findChildren(QToolButton) if "Remove" in one.toolTip()]
    next(one for one in removers if one.isVisibleTo(dock.classes)).click()


def test_removing_an_annotated_class_asks_what_would_go_and_can_be_taken_back(dock, reopen):
    annotate(dock)
    remove_mito(dock)
    assert dock.classes.value() == STYLES, "asked first"
    asked = [label.text() for label in dock.classes.findChildren(QLabel) if label.isVisibleTo(dock)]
    assert any("mito has 2 fractions, 1 keypoint, 2 nodes, painted labels" in t for t in asked)
    assert dock.annotations() == SAID
    remove_mito(dock)
    assert dock.classes.names() == ("background", "er")
    assert dock.project.save()
    undo = next(b for b in dock.classes.findChildren(QPushButton) if b.text() == "Undo")
    undo.click()
    assert dock.annotations() == SAID
    assert_painted(dock, {1: 1, 2: 2})
    again = reopen(dock)
    assert again.annotations() == SAID
    assert_painted(again, {1: 1, 2: 2})


def test_a_class_that_grids_and_the_check_count_have_is_removed(dock):
    dock.annotate.set_value(SAID, check=[GRIDS[0].replace(slice=1)])
    with dock_in_order():
        dock.classes.set_value(STYLES[:1])
    assert dock.annotate.check_value().classes == NAMES[:1]


def test_every_kind_of_work_is_in_the_log(dock, open_dock, viewer):
    viewer.dims.set_current_step(0, 2)
    annotate(dock)
    kinds = {action.kind for action in dock.project.project.log.actions}
    assert kinds == {"fraction", "keypoint", "node", "grid", "paint"}


# ---- crashes, locks, and other images -------------------------------------------------------

_CRASH = """
import os, signal, sys, time
sys.path[:0] = {path!r}
from napari.components import ViewerModel
from napari_spss.core.projects import folder as project_folder
from pathlib import Path
import test_saving as t
project_folder.user_data_path = lambda *_, **__: Path({home!r})
t.dock_module.read_preferences = lambda: t.Preferences(device="cpu")
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication
app = QApplication([])
viewer = ViewerModel()
viewer.add_image(t.PIXELS, name="em")
dock = t.SpssDock(viewer, is_probing=False)
dock.classes.set_value(t.STYLES)
t.annotate(dock)
QTimer.singleShot(1000, lambda: os.kill(os.getpid(), signal.SIGKILL))
app.exec()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="such a kill is one of Unix")
def test_nothing_but_the_last_second_is_lost_by_a_kill(viewer, home, open_dock):
    here = Path(__file__).parent
    path = [str(here), str(here.parent / "core")]  # the tests, and helpers beside them
    code = _CRASH.format(path=path, home=str(home))
    done = subprocess.run([sys.executable, "-c", code], timeout=120, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    dock = open_dock()
    assert (dock.project.folder / ".lock").exists()
    assert dock.annotations() == SAID
    assert dock.classes.value() == STYLES
    assert_painted(dock, {1: 1, 2: 2})
    dock.shut_down()


DEEP = '{"a": ' * 150 + "1" + "}" * 150


DAMAGES = [
    ("settings", '{"max_minutes": "long"}', "settings of the training .*max_minutes"),
    ("settings", '{"max_minutes": Infinity}', "settings of the training .*max_minutes"),
    ("settings", '{"max_minutes": -1}', "optimisation.max_minutes cannot be -1"),
    ("settings", '{"object_diameter_px": [1]}', "settings .*object_diameter_px"),
    ("settings", '{"preset": 3}', "settings of the training .*preset"),
    ("settings", '{"preset": "best"}', "unknown preset 'best'"),
    ("settings", '{"overrides": [1]}', "settings of the training .*overrides"),
    (
        "settings",
        '{"overrides": {"loss.alpha": "much"}}',
        "loss.alpha cannot be 'much'",
    ),
    ("settings", '{"overrides": {"sead": 1}}', "unknown setting 'sead'"),
    ("settings", f'{{"overrides": {DEEP}}}', "unknown setting 'a'"),
    ("table_texts", '{"version": "one"}', "typed into the table .*version"),
    ("table_texts", '{"version": 1, "cells": 7}', "typed into the table .*cells"),
    (
        "table_texts",
        '{"version": 1, "cells": [{"slice": 0}]}',
        "typed into the .*cells.0",
    ),
    ("table_texts", '{"version": 1, "rectangles": [[0, 9]]}', "typed into the .*rectangles.0"),
    ("table_texts", '{"version": 1, "rectangles": [[0, 9, 9, 2, 2]]}', "box .* is empty"),
    ("table_texts", '{"version": 1, "rectangles": [[0, 0, 0, 1e99, 2]]}', "rectangles"),
]


def test_damaged_settings_and_texts_are_told_and_cost_no_annotation(dock, open_dock, viewer):
    annotate(dock)
    path = close(dock, viewer) / "project.json"
    sound = json.loads(path.read_text())
    for part, damaged, told in DAMAGES:
        before = json.dumps(sound | {part: "DAMAGED"}).replace('"DAMAGED"', damaged)
        path.write_text(before)
        again = open_dock()
        assert again.annotations() == SAID
        assert_painted(again, {1: 1, 2: 2})
        (warning,) = [text for level, text in again.session.messages if level == "warning"]
        assert re.search(told, warning), warning
        assert again.project.save()
        kept = path.with_name("project.unreadable-1.json")
        assert str(kept) in warning
        assert kept.read_text() == before
        close(again, viewer)
        kept.unlink()


@pytest.mark.parametrize(
    ("overrides", "shown"),
    [
        ({"loss.alpha": "0.25"}, {"loss.alpha": 0.25}),
        ({"seed": 2**40}, {"seed": 2**40}),
        ({"self_training.enabled": "false"}, {"self_training.enabled": False}),
    ],
)
def test_settings_changed_by_hand_are_taken(dock, open_dock, overrides, shown, viewer):
    annotate(dock)
    path = close(dock, viewer) / "project.json"
    record = json.loads(path.read_text())
    record["settings"]["overrides"] = overrides
    path.write_text(json.dumps(record))
    again = open_dock()
    assert again.train.value().overrides == shown


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"[" * 99999, b'{"version": NaN}'])
def test_a_damaged_project_is_told_and_the_dock_goes_on_beside_it(dock, open_dock, content, viewer):
    annotate(dock)
    folder = close(dock, viewer)
    (folder / "project.json").write_bytes(content)
    again = open_dock()
    assert f"{folder / 'project.json'} is damaged" in again.project.text()
    assert "saved apart from it" in again.project.text()
    again.classes.set_value(STYLES)
    annotate(again)
    assert again.project.save()
    assert (folder / "project.json").read_bytes() == content


def test_two_docks_that_begin_at_the_same_time_lose_nothing(dock, viewer, home, open_dock):
    other = open_dock()
    other.classes.set_value(STYLES)
    assert other.project.project is not None, "there is no project yet"
    dock.annotate.keypoints.set_value(SAID.keypoints[:1])
    assert dock.project.save()
    other.annotate.keypoints.set_value(SAID.keypoints[1:])
    assert not other.project.save()
    assert "in use by this program" in other.project.text()
    assert any(text.startswith("Save in") for text in offered(other.project))
    other.shut_down()
    dock.shut_down()
    identity = dock.source.stack.identity()
    saved = [read_state(f, identity=identity) for f in sorted((home / "projects").iterdir())]
    points = {restored.state.annotations.keypoints for restored in saved}
    assert points == {SAID.keypoints[:1], SAID.keypoints[1:]}


def test_what_is_annotated_beside_a_locked_project_is_saved_apart_from_it(
    dock, home, open_dock, viewer
):
    annotate(dock)
    assert dock.project.save()
    other = open_dock()
    assert "saved apart from it" in other.project.text()
    assert len(list((home / "projects").iterdir())) == 1, "nothing is written before it is made"
    other.classes.set_value(STYLES)
    other.annotate.keypoints.set_value(SAID.keypoints[:1])
    assert other.project.save()
    assert "in use by this program" in other.project.text()
    assert "Open it here" in offered(other.project), "the offer stays"
    apart = close(other, viewer)  # the warning was ignored
    assert apart != dock.project.folder
    saved = read_state(apart, identity=dock.source.stack.identity())
    assert saved.state.annotations.keypoints == SAID.keypoints[:1]
    assert dock.project.save()
    assert dock.annotations().grids == SAID.grids


def test_opening_a_project_that_became_free_keeps_what_was_made_beside_it(dock, home, open_dock):
    annotate(dock)
    assert dock.project.save()
    taken = dock.project.folder
    other = open_dock()
    other.classes.set_value(STYLES)
    other.annotate.keypoints.set_value(SAID.keypoints[:1])
    other.annotate.painted.start_painting()
    paint(other, 0, 2)
    button(other.project, "Open it here").click()
    assert other.project.folder != taken, "it is still open in the first dock"
    dock.shut_down()
    button(other.project, "Open it here").click()
    assert other.project.folder == taken
    assert other.annotations() == SAID
    assert_painted(other, {1: 1, 2: 2})
    (apart,) = set((home / "projects").iterdir()) - {taken}
    assert apart.name in other.project.text()
    assert offered(other.project) == ["Folder…"]
    saved = read_state(apart, identity=dock.source.stack.identity())
    assert saved.state.annotations.keypoints == SAID.keypoints[:1]
    assert (apart / "painted" / "slice_00000.tif").exists()
    assert other.project.save()
    assert_painted(other, {1: 1, 2: 2})


def test_project_of_several_is_named_and_another_can_be_opened(
    dock, home, open_dock, viewer, go_on_in
):
    annotate(dock)
    assert dock.project.save()
    first = dock.project.folder
    other = open_dock()
    other.classes.set_value(STYLES)
    other.annotate.keypoints.set_value(SAID.keypoints[:1])
    second = close(other, viewer)
    os.utime(second / "project.json", (2e9, 2e9))
    n_actions = len(dock.project.project.log.actions)
    close(dock, viewer)
    again = open_dock()
    assert again.project.folder == second
    assert "2 projects; the one annotated last is open" in again.project.text()
    assert first.name in again.project.text()
    go_on_in(again, first)
    assert again.project.folder == first
    assert again.annotations() == SAID
    assert_painted(again, {1: 1, 2: 2})
    assert len(again.project.project.log.actions) == n_actions, "restoring is not annotating"


def test_folder_with_the_project_of_another_image_is_refused(dock, viewer, go_on_in):
    viewer.layers["em"].data = PIXELS[::-1].copy()
    dock.annotate.keypoints.set_value(SAID.keypoints[:1])
    assert dock.project.save()
    foreign = dock.project.folder
    viewer.layers["em"].data = PIXELS
    annotate(dock)
    own = dock.project.folder
    go_on_in(dock, foreign)
    assert "another image" in dock.project.text()
    assert dock.project.folder == own
    assert dock.annotations() == SAID
    assert dock.project.save()


def test_renamed_layer_is_the_same_image(viewer, tmp_path, monkeypatch, open_dock, reopen):
    kept = Preferences(device="cpu", project_folder=str(tmp_path / "kept"))
    monkeypatch.setattr(dock_module, "read_preferences", lambda: kept)
    dock = open_dock()
    dock.classes.set_value(STYLES)
    annotate(dock)
    viewer.layers["em"].name = "renamed"
    paint(dock, 3, 2)
    assert dock.annotations() == SAID
    viewer.layers["renamed"].name = "em"
    again = reopen(dock)
    viewer.layers["em"].name = "renamed"
    third = reopen(again)
    assert [third.project.folder] == list((tmp_path / "kept").iterdir())
    assert third.annotations() == SAID
    assert_painted(third, {1: 1, 2: 2, 3: 1})


def test_folder_chosen_while_nothing_could_be_saved_is_filled_at_once(
    dock, viewer, tmp_path, open_dock, go_on_in
):
    assert dock.project.save()
    other = open_dock()
    other.classes.set_value(STYLES)
    other.annotate.set_value(SAID)
    go_on_in(other, tmp_path / "chosen")
    assert (tmp_path / "chosen" / "keypoints.csv").exists()
    other.shut_down()


def test_folder_that_was_chosen_is_found_again(dock, go_on_in, reopen, tmp_path):
    annotate(dock)
    assert dock.project.save()
    first = dock.project.folder
    go_on_in(dock, tmp_path / "chosen")
    dock.annotate.keypoints.set_value(SAID.keypoints[:1])
    assert dock.project.save()
    os.utime(first / "project.json", (1e9, 1e9))
    again = reopen(dock)
    assert again.project.folder == tmp_path / "chosen"
    assert again.annotations() == SAID.replace(keypoints=SAID.keypoints[:1])
    assert_painted(again, {1: 1, 2: 2})
    assert first.name in again.project.text()


def test_folder_that_comes_back_is_saved_into(dock, qtbot, tmp_path, reopen):
    hurry(dock)
    annotate(dock)
    assert dock.project.save()
    shutil.move(dock.project.folder, tmp_path / "away")
    dock.annotate.keypoints.set_value(SAID.keypoints[:1])
    assert not dock.project.save()
    shutil.move(tmp_path / "away", dock.project.folder)
    qtbot.waitUntil(lambda: dock.project.text().startswith("Annotations saved in"))
    again = reopen(dock)
    assert again.annotations() == SAID.replace(keypoints=SAID.keypoints[:1])


def test_dock_that_is_closed_and_opened_again_leaves_no_second_layers(dock, viewer, open_dock):
    annotate(dock)
    viewer.dims.set_current_step(0, 3)
    dock.shut_down()
    again = open_dock()
    assert again.annotations() == SAID
    for kind in (Labels, Shapes):
        assert len([one for one in viewer.layers if isinstance(one, kind)]) == 1
    assert len([one for one in viewer.layers if isinstance(one, Points)]) == 2  # and the grid
    assert [one.name for one in viewer.layers if "[" in one.name] == []


def test_dock_that_is_closed_leaves_layers_and_keys_to_the_next_one(dock, viewer, open_dock):
    annotate(dock)
    viewer.dims.set_current_step(0, 3)
    dock.shut_down()
    again = open_dock()
    nodes = again.annotate.grid.layer
    for tab, n_nodes in ((4, 0), (1, 4)):
        again.annotate.show_tab(tab)
        assert len(nodes.data) == n_nodes
    viewer.dims.set_current_step(0, 2)
    viewer.keymap[coerce_keybinding("Shift-G")](viewer)
    assert [grid.slice for grid in again.annotate.grid.value()] == [0, 2, 3]
    assert [grid.slice for grid in dock.annotate.grid.value()] == [0, 3]


def test_layer_that_was_edited_after_the_dock_was_closed_stays(dock, viewer, open_dock):
    annotate(dock)
    left = dock.annotate.keypoints.layer
    dock.shut_down()
    left.add([3, 3, 3])
    again = open_dock()
    assert left in viewer.layers
    assert again.annotations() == SAID


def test_a_project_that_fails_halfway_is_told_and_not_written_over(
    dock, open_dock, monkeypatch, viewer
):
    annotate(dock)
    folder = close(dock, viewer)
    before = {path: path.read_bytes() for path in folder.rglob("*.*") if path.suffix != ".jsonl"}
    monkeypatch.setattr(PaintedTool, "restore", lambda *_: 1 / 0)
    again = open_dock()
    assert "ZeroDivisionError" in again.project.text()
    assert "could not be restored" in again.project.text()
    assert again.annotations().is_empty
    again.annotate.keypoints.set_value([Keypoint(3, 1.0, 1.0, 1)])
    assert again.project.save()
    assert again.project.folder != folder
    assert {path: path.read_bytes() for path in before} == before


def test_what_cannot_be_saved_for_an_unforeseen_reason_is_told_and_tried_again(
    dock, qtbot, monkeypatch
):
    hurry(dock)
    with monkeypatch.context() as patch:
        patch.setattr(type(dock.project.project), "save", lambda *_: 1 / 0)
        annotate(dock)
        assert not dock.project.save()
        assert "could not be saved" in dock.project.text()
    qtbot.waitUntil(lambda: "Annotations saved" in dock.project.text())


def test_a_flipped_byte_costs_one_painted_slice_which_is_kept_and_told(
    dock, open_dock, qtbot, viewer
):
    annotate(dock)
    folder = close(dock, viewer)
    path = folder / "painted" / "slice_00001.tif"
    damaged = bytearray(path.read_bytes())
    damaged[-4] ^= 0xFF
    path.write_bytes(damaged)
    with qtbot.captureExceptions() as errors:
        again = open_dock()
    assert not errors
    assert_painted(again, {2: 2})
    assert again.annotations() == SAID
    assert "slice_00001" in again.project.text()
    paint(again, 1, 1)
    assert again.project.save()
    assert "kept as slice_00001.unreadable-1.tif" in again.project.text(), "still told"
    kept = [one.read_bytes() for one in path.parent.glob("slice_00001.unreadable*")]
    assert kept == [bytes(damaged)]
