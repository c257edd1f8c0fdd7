"""What can go wrong around a run: it is told, nothing is lost, and nothing is left running.

The true core runs here on a tiny stack, unless it has to wait. The rule that no thread and no
timer is left behind is checked after every test (see conftest.py).
"""

from __future__ import annotations

import dataclasses
import shutil
import threading
from functools import partial

import numpy as np
import pytest
from blobs import CLASSES, annotated, blobs, correct_clicks
from eye import button, offered
from fake_core import FakeModel, fake_apply
from qtpy.QtGui import QOpenGLContext

from napari_spss.core.annotations import ClassStyle
from napari_spss.core.base import (
    CheckpointSaved,
    Predicted,
    Preview,
    Progress,
    RunFinished,
    RunStarted,
)
from napari_spss.core.images import PaintedSlices
from napari_spss.core.projects import Project
from napari_spss.core.training.run import Run
from napari_spss.gui import controller as controller_module, dock as dock_module
from napari_spss.gui.models import EndKind, RunForm
from napari_spss.gui.models.preferences import Preferences

STACK, TRUTH = blobs()
PIXELS = np.stack([STACK.read(z)[0] for z in range(3)])
_TRULY = annotated(TRUTH, keypoints=correct_clicks(TRUTH, [1], 3))
SAID = _TRULY.replace(  # as the table reads what is typed: the background is what is left
    proportions=tuple(
        dataclasses.replace(one, fractions=(None, one.fractions[1])) for one in _TRULY.proportions
    )
)
STYLES = (ClassStyle("background", "#999999", "Q"), ClassStyle(CLASSES[1], "#E69F00", "W"))
TINY = {
    "network.filters": 4,
    "sampling.crop_px": 64,
    "sampling.batch_size": 2,
    "optimisation.max_steps": 12,
    "self_training.enabled": False,
}
PATIENCE_MS = 120_000


@pytest.fixture(autouse=True)
def places(home, monkeypatch, tmp_path):
    """Let projects and their fallbacks lie in the test's own folder; preview at every step."""
    (tmp_path / "projects").mkdir()
    preferences = Preferences(
        device="cpu", preview_interval_s=0.0, project_folder=str(tmp_path / "projects")
    )
    monkeypatch.setattr(dock_module, "read_preferences", lambda: preferences)


@pytest.fixture
def dock(viewer, open_dock):
    """A dock on an annotated image, ready for a tiny run on the processor."""
    viewer.add_image(PIXELS, name="em")
    dock = open_dock()
    dock.classes.set_value(STYLES)
    dock.annotate.set_value(SAID)
    dock.train.set_value(RunForm(device="cpu", overrides=TINY))
    return dock


def broken_apply(*args, **kwargs):
    """Fail at once, as a device may."""
    raise RuntimeError("CUDA error: an illegal memory access was encountered")
    yield


def is_idle(dock):
    return not dock.session.status.is_busy


@pytest.fixture
def wait(qtbot):
    """Wait until something is so."""
    return partial(qtbot.waitUntil, timeout=PATIENCE_MS)


@pytest.fixture
def ends(dock):
    """Every end of a run, in order."""
    found = []
    dock.session.run_ended.connect(lambda end: found.append(end))
    return found


def train(dock, wait):
    assert dock.start_training()
    wait(lambda: is_idle(dock))


def apply(dock, wait, scope="stack"):
    assert dock.controller.apply(scope)
    wait(lambda: is_idle(dock) and dock.controller.outcome.is_up_to_date)


def assert_ready(dock):
    """Nothing of what was said is lost, and the next run may start."""
    assert dock.annotations() == SAID
    assert button(dock.train, "Train").isEnabled()
    assert not button(dock.bar, "Stop").isVisibleTo(dock.bar)


# ---- painting meanwhile ---------------------------------------------------------------------


def test_what_is_painted_during_a_run_joins_it_and_is_stored_with_its_step(
    dock, wait, ends, monkeypatch
):
    known: list[int] = []
    is_between_steps, has_painted = threading.Event(), threading.Event()
    learn = Run.learn

    def watched(self, loss, learning_rate):
        if self.state.step == 3:  # napari tells of a stroke in parts; all of them join at once
            is_between_steps.set()
            assert has_painted.wait(60)
        known.append(sum(int((one.target >= 0).sum()) for one in self.data.samples))
        return learn(self, loss, learning_rate)

    monkeypatch.setattr(Run, "learn", watched)
    assert dock.start_training()
    wait(is_between_steps.is_set)
    dock.annotate.painted.start_painting()
    pixels = np.array([[2, y, x] for y in range(8) for x in range(8)])
    dock.annotate.painted.layer.data_setitem(tuple(pixels.T), 2)
    has_painted.set()
    wait(lambda: is_idle(dock))
    assert ends[-1].kind is EndKind.finished, ends[-1].text
    assert known[-1] == known[0] + 64
    (update,) = (dock.trainings.model_dir / "updates").iterdir()
    labels, _ = PaintedSlices(update / "painted").read()
    assert [(z, int((a == 2).sum()), int((a > 0).sum())) for z, a in labels.items()] == [
        (2, 64, 64)
    ]


def test_what_is_painted_before_a_run_is_stored_with_it(dock, wait):
    dock.annotate.painted.start_painting()
    dock.annotate.painted.layer.data_setitem((np.array([1]), np.array([4]), np.array([5])), 1)
    train(dock, wait)
    labels, _ = PaintedSlices(dock.trainings.model_dir / "painted").read()
    assert list(labels) == [1]
    assert labels[1][4, 5] == 1


# ---- the core fails -------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["nan", "error"])
def test_a_training_that_fails_leaves_the_last_model(dock, wait, ends, monkeypatch, what):
    from napari_spss.core.networks.unet import FastUNet

    train(dock, wait)
    model = dock.session.model
    forward = FastUNet.forward

    def broken(self, x):
        if what == "error":
            raise RuntimeError("CUDA error: device-side assert triggered")
        return forward(self, x) * float("nan")

    with monkeypatch.context() as patch:
        patch.setattr(FastUNet, "forward", broken)
        assert dock.start_training(continues=True)
        wait(lambda: is_idle(dock))
    assert ends[-1].kind is EndKind.failed
    expected = {"nan": "the network 'fast-unet' or a weight", "error": "device-side assert"}
    assert expected[what] in dock.bar.text()
    assert dock.session.model is model
    assert_ready(dock)
    apply(dock, wait)
    assert ends[-1].kind is EndKind.finished


def test_applying_that_fails_keeps_what_was_predicted(dock, wait, ends, monkeypatch):
    train(dock, wait)
    apply(dock, wait, "slice")
    shown = dock.controller.current_slice()
    before = dock.controller.outcome.labels()

    monkeypatch.setattr(controller_module, "apply_model", broken_apply)
    assert dock.controller.apply("stack")
    wait(lambda: is_idle(dock))
    assert ends[-1].kind is EndKind.failed
    assert "illegal memory access" in dock.bar.text()
    assert dock.controller.outcome.maps.slices == (shown,)
    np.testing.assert_array_equal(dock.controller.outcome.labels(), before)
    assert_ready(dock)


def test_applying_that_fails_at_once_leaves_no_empty_layers(dock, viewer, wait, ends, monkeypatch):
    train(dock, wait)

    with monkeypatch.context() as patch:
        patch.setattr(controller_module, "apply_model", broken_apply)
        assert dock.controller.apply("stack")
        wait(lambda: is_idle(dock))
    assert ends[-1].kind is EndKind.failed
    assert [layer.name for layer in viewer.layers if "em " in layer.name] == []
    apply(dock, wait)
    assert ends[-1].kind is EndKind.finished
    assert dock.controller.outcome.maps.is_complete
    assert "em labels" in viewer.layers


def test_another_model_that_fails_at_once_leaves_the_labels_of_the_one_before(
    dock, viewer, wait, ends, monkeypatch
):
    overrides = TINY | {"optimisation.max_steps": 60}  # for labels on every processor
    dock.train.set_value(RunForm(device="cpu", overrides=overrides))
    train(dock, wait)
    apply(dock, wait)
    outcome, model = dock.controller.outcome, dock.session.model
    labels, maps = outcome.labels().copy(), outcome.maps
    train(dock, wait)

    with monkeypatch.context() as patch:
        patch.setattr(controller_module, "apply_model", broken_apply)
        apply(dock, wait)
    assert ends[-1].kind is EndKind.failed
    assert (outcome.model, outcome.maps) == (model, maps)
    assert labels.any()
    np.testing.assert_array_equal(viewer.layers["em labels"].data, labels)
    np.testing.assert_array_equal(viewer.layers[f"em {CLASSES[1]} probability"].data, maps.maps[0])
    assert outcome.predicted_fractions()
    assert dock.controller.stale()
    apply(dock, wait)
    assert outcome.model is dock.session.model
    assert not dock.controller.stale()
    assert outcome.maps.is_complete


def test_a_model_goes_on_only_with_pixels_of_the_size_that_it_learned_from(dock, wait, ends):
    dock.image.state_voxel_size((0.05, 0.01, 0.01))
    train(dock, wait)
    n_steps = dock.session.model.n_steps
    dock.image.state_voxel_size((0.05, 0.02, 0.02))
    assert not dock.start_training(continues=True)
    assert "pixels of 10 nm, not 20 nm; state that size" in dock.bar.text()
    dock.image.state_voxel_size((0.06, 0.01, 0.01))
    assert dock.start_training(continues=True)
    wait(lambda: is_idle(dock))
    assert ends[-1].kind is EndKind.finished
    assert dock.session.model.n_steps > n_steps
    dock.image.state_voxel_size((0.05, 0.02, 0.02))
    train(dock, wait)
    assert dock.session.model.pixel_size_um == pytest.approx(0.02)


# ---- Stop -----------------------------------------------------------------------------------


def stop_at_the_first(dock, kind):
    """Press Stop when the first event of a kind arrives."""

    def watch(event):
        if isinstance(event, kind) and not dock.session.status.is_stopping:
            button(dock.bar, "Stop").click()

    dock.session.event_taken.connect(watch)
    return watch


@pytest.mark.parametrize("kind", [RunStarted, Progress, Preview, CheckpointSaved, RunFinished])
def test_stop_at_every_stage_of_training_leaves_a_model(dock, viewer, wait, ends, kind):
    watch = stop_at_the_first(dock, kind)
    train(dock, wait)
    dock.session.event_taken.disconnect(watch)
    assert len(ends) == 1
    assert ends[0].kind is not EndKind.failed, ends[0].text
    assert_ready(dock)
    if kind is RunStarted:
        assert ends[0].kind is EndKind.stopped
    if kind is not RunStarted or dock.session.model is not None:
        apply(dock, wait)
        assert ends[-1].kind is EndKind.finished


def test_a_training_goes_on_while_a_longer_image_is_looked_at(dock, viewer, wait, ends):
    longer = viewer.add_image(np.concatenate([PIXELS, PIXELS]), name="longer")
    dock.image.set_layer(viewer.layers["em"])
    assert dock.start_training()
    dock.image.set_layer(longer)
    viewer.dims.set_point(0, 2 * len(PIXELS) - 1)
    wait(lambda: is_idle(dock))
    assert [end.kind for end in ends] == [EndKind.finished]


def test_stop_before_the_first_step_keeps_the_last_model(dock, wait, ends):
    train(dock, wait)
    model, folder = dock.session.model, dock.trainings.model_dir
    assert dock.start_training()
    dock.session.stop()
    wait(lambda: is_idle(dock))
    assert ends[-1].kind is EndKind.stopped
    assert dock.session.model is model
    assert dock.trainings.model_dir == folder
    assert_ready(dock)


def test_stop_while_applying_keeps_the_slices_that_are_done(dock, wait, ends):
    train(dock, wait)
    watch = stop_at_the_first(dock, Predicted)
    apply(dock, wait)
    dock.session.event_taken.disconnect(watch)
    done = dock.controller.outcome.maps.slices
    assert ends[-1].run == "prediction"
    assert dock.controller.current_slice() in done
    assert (ends[-1].kind is EndKind.stopped) == (len(done) < 3)
    apply(dock, wait)
    assert dock.controller.outcome.maps.slices == (0, 1, 2)
    assert_ready(dock)


# ---- the image and the viewer ---------------------------------------------------------------


def gated_apply(gate):
    """Make an application of a model that waits for a gate, or for Stop, after the first slice."""

    def run(model, stack, maps, regions, making, *, device, token):
        for event in fake_apply(model, stack, maps, regions, making, device=device, token=token):
            yield event
            if isinstance(event, Predicted):
                while not gate.wait(0.005) and not token.is_cancelled:
                    pass

    return run


@pytest.mark.parametrize("what", ["delete", "rename", "replace", "delete the labels"])
def test_applying_survives_what_happens_to_layers(dock, viewer, wait, ends, monkeypatch, what):
    gate = threading.Event()
    monkeypatch.setattr(controller_module, "apply_model", gated_apply(gate))
    dock.session.model = FakeModel(CLASSES)
    assert dock.controller.apply("stack")
    wait(lambda: dock.controller.outcome.has_result)
    if what == "rename":
        viewer.layers["em"].name = "renamed"
    elif what == "delete the labels":
        viewer.layers.remove("em labels")
    else:
        viewer.layers.remove("em")
    if what == "replace":
        viewer.add_image(PIXELS[::-1].copy(), name="em")
    gate.set()
    wait(lambda: is_idle(dock))
    assert [end.kind for end in ends] == [EndKind.finished]
    assert [text for level, text in dock.session.messages if level == "error"] == []
    if what in ("delete", "replace"):  # the annotations belong to the image, and come with it
        viewer.layers.clear()
        viewer.add_image(PIXELS, name="em")
    assert_ready(dock)


def close(viewer):
    """Close a window beside a thread, in which garbage may be collected.

    There Qt does not forget a deleted context of OpenGL that the main thread still has as its own,
    and the next window that goes asks for it.
    """
    if (context := QOpenGLContext.currentContext()) is not None:
        context.doneCurrent()
    viewer.close()


@pytest.mark.window
def test_a_viewer_that_is_closed_while_the_core_trains(viewer, open_dock, wait, leak_watch):
    viewer.add_image(PIXELS, name="em")
    dock = open_dock()
    dock.classes.set_value(STYLES)
    dock.annotate.set_value(SAID)
    endless = {**TINY, "optimisation.max_steps": 100_000}
    dock.train.set_value(RunForm(device="cpu", overrides=endless))
    assert dock.start_training()
    wait(lambda: dock.session.status.done > 0)
    close(viewer)
    assert leak_watch.leaks(wait_s=60.0) == []


# ---- the project ----------------------------------------------------------------------------


def test_a_project_folder_that_vanished_is_told_and_another_is_offered(dock, wait, ends):
    assert dock.project.save()
    gone = dock.project.folder
    shutil.rmtree(gone)
    dock.annotate.keypoints.set_value(SAID.keypoints[:2])
    assert not dock.project.save()
    assert "gone" in dock.project.text()
    train(dock, wait)  # a run needs no project
    assert ends[-1].kind is EndKind.finished, ends[-1].text
    (offer,) = (text for text in offered(dock.project) if text.startswith("Save in"))
    button(dock.project, offer).click()
    assert dock.project.folder != gone
    assert (dock.project.folder / "keypoints.csv").exists()
    assert dock.annotations() == SAID.replace(keypoints=SAID.keypoints[:2])


def deny_writing(monkeypatch, blocked):
    """Act as a folder that may not be written, which nothing is to the user root."""
    ensure = Project._ensure_folder

    def refuse(self, **options):
        if self.folder == blocked:
            raise PermissionError(13, "Permission denied")
        return ensure(self, **options)

    monkeypatch.setattr(Project, "_ensure_folder", refuse)


def test_what_could_not_be_saved_is_not_lost_with_the_next_image(dock, viewer, monkeypatch):
    said = SAID.replace(keypoints=SAID.keypoints[:1])
    with monkeypatch.context() as patch:
        deny_writing(patch, dock.project.folder)
        dock.annotate.set_value(said)
        viewer.layers.remove("em")
        viewer.add_image(PIXELS[::-1].copy(), name="other")
        assert dock.annotations().is_empty
    viewer.add_image(PIXELS, name="em")
    dock.image.set_layer(viewer.layers["em"])
    assert dock.annotations() == said


def test_a_folder_for_projects_is_made(dock, tmp_path):
    shutil.rmtree(tmp_path / "projects")
    dock.project.open(dock.source)
    assert dock.project.save()


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("proportions.csv", b"slice,background,disc\n0,much,little\n"),
        ("keypoints.csv", b"\xff\xfe\x00nonsense"),
        ("grid.csv", b""),
    ],
)
def test_a_damaged_project_file_is_told_and_kept(viewer, open_dock, name, damage):
    viewer.add_image(PIXELS, name="em")
    dock = open_dock()
    dock.classes.set_value(STYLES)
    dock.annotate.set_value(SAID)
    assert dock.project.save()
    folder = dock.project.folder
    dock.shut_down()
    (folder / name).write_bytes(damage)
    for layer in list(viewer.layers):
        if layer.name != "em":
            viewer.layers.remove(layer)
    again = open_dock()
    assert again.project.text(), "nothing is said"
    restored = again.annotations()
    assert again.classes.names() == CLASSES
    lost = {"proportions.csv": "proportions", "keypoints.csv": "keypoints", "grid.csv": "grids"}
    kinds = set(lost.values()) - {lost[name]}
    assert {kind for kind in kinds if getattr(restored, kind) == getattr(SAID, kind)} == kinds
    assert damage in [path.read_bytes() for path in folder.iterdir() if path.is_file()]
