"""Labels of large slices are made beside the window, and follow the last settings in the end."""

from __future__ import annotations

import shutil
import threading

import numpy as np
import pytest
from fake_core import FakeModel, store
from napari.components import ViewerModel
from qtpy.QtCore import QCoreApplication

from napari_spss.core.annotations import Classes, ClassStyle, Region
from napari_spss.core.base import Predicted, RunError, scratch
from napari_spss.gui.layers import ResultLayers, relabel as relabel_module, snapshot
from napari_spss.gui.models import Cleaning, MapMaking, ResultMaps
from napari_spss.gui.outcome import Outcome

STYLES = (ClassStyle("background", "#999999", "Q"), ClassStyle("mito", "#E69F00", "W"))
CLASSES = Classes(("background", "mito"))
SHAPE = (3, 8, 10)


class Gate:
    """Lets labels through one by one; tells in which threads they were made, and how."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threads: list[str] = []
        self.made: list[tuple[int, float | None]] = []
        self.passes = threading.Semaphore(0)
        self.is_open = False
        labels = ResultMaps.labels

        def gated(maps, z, cleaning):
            is_beside = threading.current_thread() is not threading.main_thread()
            self.threads.append(threading.current_thread().name)
            self.made.append((z, cleaning.threshold))
            if is_beside and not self.is_open:
                assert self.passes.acquire(timeout=60)
            return labels(maps, z, cleaning)

        monkeypatch.setattr(ResultMaps, "labels", gated)

    def pass_one(self) -> None:
        self.passes.release()

    def open(self) -> None:
        self.is_open = True
        self.passes.release(10)


@pytest.fixture
def gate(monkeypatch):
    monkeypatch.setattr(relabel_module, "_LARGE_PX", 1)
    return Gate(monkeypatch)


@pytest.fixture
def viewer():
    viewer = ViewerModel()
    viewer.add_image(np.zeros(SHAPE, np.uint8), name="em")
    return viewer


def begun(viewer, said):
    """A result in which nothing is predicted yet; slice 1 is shown."""
    results = Outcome(ResultLayers(viewer, said.append), lambda: 1)
    source = snapshot(viewer.layers["em"])
    results.begin(source, FakeModel(CLASSES), STYLES, run_dir=None, making=MapMaking())
    return results


@pytest.fixture
def said():
    return []


@pytest.fixture
def outcome(gate, viewer, said, qtbot):
    """Maps .1 to .9 from left to right on every slice, labels still to be made."""
    results = begun(viewer, said)
    ramp = np.broadcast_to(np.linspace(0.1, 0.9, SHAPE[2], dtype=np.float32), SHAPE[1:])
    for z in range(SHAPE[0]):
        store(results.maps, z, np.stack([1 - ramp, ramp]))
        results.take(Predicted(z, None))
    yield results
    gate.open()
    results.stop_timers()


def n_labelled(viewer):
    return viewer.layers["em labels"].data.sum(axis=(1, 2)).tolist()


def test_large_slices_are_made_in_a_thread_and_the_shown_one_first_of_those_that_wait(
    outcome, gate, viewer, qtbot
):
    assert n_labelled(viewer) == [0, 0, 0], "nobody waited for the gate"
    assert not outcome.is_up_to_date
    gate.open()
    qtbot.waitUntil(lambda: outcome.is_up_to_date)
    assert n_labelled(viewer) == [40, 40, 40]
    assert [z for z, _ in gate.made] == [0, 1, 2]
    assert set(gate.threads) == {"napari-spss labels"}
    assert outcome.predicted_fractions()[Region(2)] == pytest.approx((0.5, 0.5))


def test_a_moving_slider_shows_what_it_passed_and_ends_with_the_last_threshold(
    outcome, gate, viewer, qtbot
):
    gate.open()
    qtbot.waitUntil(lambda: outcome.is_up_to_date)
    gate.is_open, gate.made = False, []
    gate.passes = threading.Semaphore(0)
    for threshold in (0.75, 0.65, 0.35):
        outcome.set_cleaning(Cleaning(threshold=threshold))
    assert gate.made in ([], [(1, 0.75)])
    gate.pass_one()
    qtbot.waitUntil(lambda: n_labelled(viewer)[1] == 16)  # two of ten columns are above .75
    gate.open()
    qtbot.waitUntil(lambda: outcome.is_up_to_date)
    assert n_labelled(viewer) == [56, 56, 56]
    assert [made for made in gate.made if made[1] == 0.65] == [], "a passing value is skipped"


def test_labels_edited_meanwhile_are_kept_and_the_others_written_beside_them(
    outcome, gate, viewer, qtbot
):
    gate.open()
    qtbot.waitUntil(lambda: outcome.is_up_to_date)
    gate.is_open = False
    gate.passes = threading.Semaphore(0)
    outcome.set_cleaning(Cleaning(threshold=0.35))
    edited = viewer.layers["em labels"]
    edited.data_setitem((np.array([1]), np.array([0]), np.array([0])), 1)
    before = edited.data.copy()
    gate.open()
    qtbot.waitUntil(lambda: outcome.is_up_to_date)
    np.testing.assert_array_equal(edited.data, before)
    (new,) = [x for x in viewer.layers if x.name.startswith("em labels") and x is not edited]
    assert new.data.sum(axis=(1, 2)).tolist() == [56, 56, 56]


def test_labels_have_their_version_again_where_the_threshold_is_moved_back(
    outcome, gate, viewer, qtbot
):
    def at(threshold):
        outcome.set_cleaning(Cleaning(threshold=threshold))
        qtbot.waitUntil(lambda: outcome.is_up_to_date)
        return outcome.version

    gate.open()
    qtbot.waitUntil(lambda: outcome.is_up_to_date)
    half = outcome.version
    least, most = at(0.2), at(0.8)
    assert len({half, least, most}) == 3
    assert (at(None), at(0.2), at(0.8)) == (half, least, most)
    layer = viewer.layers["em labels"]
    layer.data_setitem((np.array([1]), np.array([0]), np.array([0])), 1)
    outcome.note_edit(layer)
    painted = outcome.version
    assert painted not in {half, least, most}
    others = {at(0.2), at(0.8)}
    assert not others & {half, least, most, painted}
    outcome.take(Predicted(1, None))
    assert at(0.2) not in others


def test_maps_of_another_model_lie_where_the_image_lies_by_then(outcome, gate, viewer):
    gate.open()
    image, model = viewer.layers["em"], FakeModel(CLASSES)
    making = MapMaking()
    outcome.begin(snapshot(image), model, STYLES, run_dir=None, making=making)
    image.scale = (5, 2, 2)
    outcome.follow(snapshot(image))
    outcome.take(Predicted(1, None))
    assert outcome.model is model
    assert outcome.source.geometry.is_same(snapshot(image).geometry)
    assert all(layer.scale.tolist() == [5, 2, 2] for layer in viewer.layers if layer.visible)


def test_labels_that_are_asked_for_are_brought_up_to_date(outcome, gate, viewer):
    assert outcome.labels().sum() == 120
    assert not outcome.after_labels(pytest.fail), "nothing is waited for any more"
    gate.open()
    for _ in range(20):
        QCoreApplication.processEvents()
    assert n_labelled(viewer) == [40, 40, 40], "the result of the thread that was overtaken"


def test_saving_waits_for_the_labels(outcome, gate, qtbot):
    saved = []
    assert outcome.after_labels(lambda: saved.append(outcome.labels().sum()))
    assert not saved
    gate.open()
    qtbot.waitUntil(lambda: bool(saved))
    assert saved == [120]
    assert not outcome.after_labels(lambda: saved.append(0))


def test_closing_waits_for_the_thread_and_writes_no_more(outcome, gate, viewer):
    gate.open()
    outcome.stop_timers()
    names = [one.name for one in threading.enumerate()]
    assert "napari-spss labels" not in names
    QCoreApplication.processEvents()
    assert n_labelled(viewer) == [0, 0, 0]


def test_labels_that_cannot_be_made_leave_the_others(
    gate, viewer, outcome, said, qtbot, monkeypatch
):
    gate.open()
    qtbot.waitUntil(lambda: outcome.is_up_to_date)
    made = ResultMaps.labels

    def failing(maps, z, cleaning):
        if z == 1:
            raise MemoryError
        return made(maps, z, cleaning)

    monkeypatch.setattr(ResultMaps, "labels", failing)
    outcome.set_cleaning(Cleaning(threshold=0.35))
    qtbot.waitUntil(lambda: outcome.is_up_to_date)
    assert n_labelled(viewer) == [56, 40, 56]
    assert said == ["The labels of slice 1 could not be made: MemoryError()"]


def test_slices_that_the_disk_cannot_take_do_not_hold_up_the_others(
    gate, viewer, outcome, said, qtbot, monkeypatch
):
    write = ResultLayers.write_labels

    def full(results, layer, source, z, values):
        if z == 1:
            raise RunError("no room")
        return write(results, layer, source, z, values)

    monkeypatch.setattr(ResultLayers, "write_labels", full)
    gate.open()
    qtbot.waitUntil(lambda: outcome.is_up_to_date)
    assert n_labelled(viewer) == [40, 0, 40]
    assert said == ["The labels of slice 1 could not be made: no room"]
    with pytest.raises(RunError, match="no room"):
        outcome.labels()
    assert outcome.is_up_to_date, "or saving would wait for ever"
    monkeypatch.setattr(ResultLayers, "write_labels", write)
    assert outcome.labels().sum() == 120


def test_labels_that_the_disk_cannot_take_are_not_begun(viewer, monkeypatch):
    monkeypatch.setattr(scratch, "_IN_MEMORY_BYTES", 10)
    maps = ResultMaps(CLASSES, SHAPE)
    store(maps, 1, np.full((2, *SHAPE[1:]), 0.5))
    maps.mark(1)
    labels = maps.labels(1, Cleaning())
    assert labels.all()
    results, source = ResultLayers(viewer), snapshot(viewer.layers["em"])
    layer = results.show_labels(source, STYLES)
    full = shutil.disk_usage(".")._replace(free=2**27)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: full)
    with pytest.raises(RunError, match=r"maps and labels do not fit into .* free some space"):
        maps.labels(1, Cleaning())
    with pytest.raises(RunError, match="do not fit"):
        results.write_labels(layer, source, 1, labels)
    assert not layer.data.any()


@pytest.fixture
def small(viewer, said, qtbot):
    """A result of which slices are small, nothing predicted yet; slice 1 is shown."""
    results = begun(viewer, said)
    yield results
    results.stop_timers()


def predict(outcome, qtbot, z, value=0.9):
    foreground = np.full(SHAPE[1:], value, np.float32)
    store(outcome.maps, z, np.stack([1 - foreground, foreground]))
    outcome.take(Predicted(z, None))
    qtbot.waitUntil(lambda: outcome.is_up_to_date)


def test_small_slices_that_the_disk_cannot_take_do_not_hold_up_the_others(
    small, viewer, said, qtbot, monkeypatch
):
    write = ResultLayers.write_labels

    def full(results, layer, source, z, values):
        if z > 0:
            raise RunError("no room")
        return write(results, layer, source, z, values)

    monkeypatch.setattr(ResultLayers, "write_labels", full)
    for z in (1, 2, 0):
        predict(small, qtbot, z)
    assert n_labelled(viewer) == [80, 0, 0]
    assert said == [f"The labels of slice {z} could not be made: no room" for z in (1, 2)]
    monkeypatch.setattr(ResultLayers, "write_labels", write)
    assert small.labels().all()


def test_slices_out_of_sight_are_not_drawn(small, viewer, qtbot):
    layers, drawn = [viewer.layers["em mito probability"], viewer.layers["em labels"]], []
    for layer in layers:
        layer.visible = True
        layer.events.set_data.connect(lambda event: drawn.append(event.source.name))
    predict(small, qtbot, 0)
    assert not drawn
    predict(small, qtbot, 1)
    assert set(drawn) == {layer.name for layer in layers}
    drawn.clear()
    viewer.dims.ndisplay = 3
    drawn.clear()
    predict(small, qtbot, 2)
    assert set(drawn) == {layer.name for layer in layers}
    assert small.labels().all()


def test_labels_on_disk_can_be_painted_and_what_was_painted_is_kept(
    monkeypatch, viewer, said, qtbot
):
    monkeypatch.setattr(scratch, "_IN_MEMORY_BYTES", 10)
    results = begun(viewer, said)
    predict(results, qtbot, 1)
    layer = viewer.layers["em labels"]
    assert isinstance(layer.data, np.memmap)
    layer.brush_size = 1
    layer.selected_label = 0
    layer.paint((1, 2, 3), 0)
    layer.fill((2, 0, 0), 1)
    assert layer.data[1, 2, 3] == 0
    assert layer.data[2].all()
    layer.undo()
    assert not layer.data[2].any()
    predict(results, qtbot, 1)
    assert viewer.layers["em labels edited"].data[1, 2, 3] == 0
    assert viewer.layers["em labels"].data[1].all()
    results.stop_timers()
