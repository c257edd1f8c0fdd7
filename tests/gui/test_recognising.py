"""Which image it is, is read beside the window; until it is known nothing can be entered."""

from __future__ import annotations

import threading

import dask
import dask.array as da
import numpy as np
import pytest
from eye import said
from qtpy.QtWidgets import QApplication

from napari_spss.core.annotations import Annotations, Keypoint, Proportion, Region
from napari_spss.gui import dock as dock_module
from napari_spss.gui.models.preferences import Preferences

PIXELS = np.random.default_rng(0).integers(0, 255, (4, 40, 60), np.uint8)
SAID = Annotations(("background", "mitochondria"), keypoints=(Keypoint(1, 5.0, 7.0, 1),))


@pytest.fixture(autouse=True)
def slices_are_read_where_they_are_asked_for():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture(autouse=True)
def device(monkeypatch):
    monkeypatch.setattr(dock_module, "read_preferences", lambda: Preferences(device="cpu"))


class Disk:
    """Slices that come late to all threads but the window's, and may be unreadable."""

    def __init__(self, pixels=PIXELS):
        self.gate, self.is_damaged, self.pixels = threading.Event(), False, pixels

    def read(self, block_info):
        if threading.current_thread() is not threading.main_thread():
            assert self.gate.wait(20)
            if self.is_damaged:
                raise OSError("the disk is gone")
        z = block_info[None]["array-location"][0][0]
        return self.pixels[z][None]

    def array(self):
        _, height, width = self.pixels.shape
        chunks = ((1,) * len(self.pixels), (height,), (width,))
        return da.map_blocks(self.read, chunks=chunks, dtype=np.uint8, meta=np.empty((0, 0, 0)))


@pytest.fixture
def disk():
    disk = Disk()
    yield disk
    disk.gate.set()


@pytest.fixture
def dock(open_dock):
    return open_dock()


def add(viewer, disk, name="late"):
    return viewer.add_image(disk.array(), name=name, contrast_limits=(0, 255))


def can_annotate(dock):
    return dock.annotate.isEnabled() and dock.classes.isEnabled() and dock.source is not None


def test_nothing_is_entered_before_it_is_known_which_image_it_is(dock, viewer, disk, qtbot):
    viewer.add_image(PIXELS[::-1].copy(), name="first")
    dock.annotate.set_value(SAID)
    add(viewer, disk)
    dock.image.set_layer(viewer.layers["late"])
    assert not can_annotate(dock)
    assert "Reading the image" in said(dock.bar)
    assert not dock.start_training()
    disk.gate.set()
    qtbot.waitUntil(lambda: can_annotate(dock))
    assert dock.annotations().is_empty
    assert "Reading" not in said(dock.bar)
    dock.image.set_layer(viewer.layers["first"])
    assert dock.annotations() == SAID


def test_an_image_that_is_left_while_it_is_read_does_not_come_back(dock, viewer, disk, qtbot):
    add(viewer, disk)
    viewer.add_image(PIXELS, name="other")
    dock.image.set_layer(viewer.layers["other"])
    assert can_annotate(dock)
    dock.annotate.set_value(SAID)
    (reader,) = (one for one in threading.enumerate() if one.name == "napari-spss image")
    disk.gate.set()
    reader.join()
    QApplication.processEvents()  # what the thread told
    assert dock.source.name == "other"
    assert dock.annotations() == SAID


def test_no_layer_of_the_image_before_is_made_anew(dock, viewer):
    viewer.add_image(PIXELS, name="first")
    part = Proportion(Region(1, (2, 2, 20, 20)), (None, 0.1))
    dock.annotate.set_value(SAID.replace(proportions=(part,)))
    assert len(viewer.layers) == 3
    viewer.layers.clear()
    viewer.add_image(PIXELS[::-1].copy(), name="second")
    assert can_annotate(dock)
    assert [layer.name for layer in viewer.layers] == ["second"]


def test_an_image_that_cannot_be_read_is_told(dock, viewer, disk, qtbot):
    disk.is_damaged = True
    add(viewer, disk)
    disk.gate.set()
    qtbot.waitUntil(lambda: "the disk is gone" in dock.bar.text())
    assert dock.source is None
    viewer.layers.clear()
    viewer.add_image(PIXELS, name="other")
    assert can_annotate(dock)


def test_a_new_scale_is_no_new_image(dock, viewer, disk, qtbot):
    layer = add(viewer, disk)
    disk.gate.set()
    qtbot.waitUntil(lambda: can_annotate(dock))
    dock.annotate.set_value(SAID)
    disk.gate.clear()
    layer.scale = (5, 2, 2)
    assert can_annotate(dock)
    assert dock.annotations() == SAID


def test_the_window_never_waits_for_pixels_to_know_an_image(dock, viewer, disk, qtbot, monkeypatch):
    from napari_spss.core.images import Stack

    threads, identity = [], Stack.identity

    def noted(self):
        threads.append(threading.current_thread() is threading.main_thread())
        return identity(self)

    monkeypatch.setattr(Stack, "identity", noted)
    disk.gate.set()
    add(viewer, disk)
    qtbot.waitUntil(lambda: can_annotate(dock))
    dock.annotate.set_value(SAID)
    assert dock.project.save()
    viewer.add_image(da.from_array(PIXELS[::-1].copy(), chunks=(1, 40, 60)), name="other")
    dock.image.set_layer(viewer.layers["other"])
    qtbot.waitUntil(lambda: can_annotate(dock))
    dock.image.set_layer(viewer.layers["late"])
    qtbot.waitUntil(lambda: can_annotate(dock))
    assert dock.annotations() == SAID
    assert threads
    assert not any(threads)
