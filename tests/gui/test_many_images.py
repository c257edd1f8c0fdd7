"""The model applied to many images: progress, stop, going on, a table, a row that opens one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tifffile
from blobs import annotated, blobs
from napari.layers import Image, Labels
from qtpy.QtWidgets import QComboBox, QFileDialog, QLabel, QLineEdit, QPushButton, QTableWidget

from napari_spss import fit, preset

pytestmark = pytest.mark.usefixtures("one_torch_thread")

PATIENCE_MS = 300_000


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folder of a run of two classes."""
    stack, truth = blobs(2)
    settings = preset("fast").with_overrides(
        {
            "network.filters": 4,
            "optimisation.max_steps": 3,
            "sampling.crop_px": 48,
            "sampling.batch_size": 2,
        }
    )
    folder = tmp_path_factory.mktemp("many") / "run"
    fit(stack, annotated(truth), settings, run_dir=folder, device="cpu")
    return folder


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Folders with two images of one name, and a file that is none."""
    stack, _ = blobs(3)
    pixels = np.stack([stack.read(z)[0] for z in range(3)])
    for name, image in (("a", pixels[:2]), ("b", pixels[1:])):
        (tmp_path / "study" / name).mkdir(parents=True)
        path = tmp_path / "study" / name / "img.tif"
        tifffile.imwrite(path, image, photometric="minisblack")
    (tmp_path / "study" / "b" / "torn.tif").write_bytes(b"II*\0torn")
    folder = str(tmp_path / "study")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_, **__: folder)
    return tmp_path / "study"


class Person:
    """Sits at a dock with the model of a run, and has the images of a folder listed."""

    def __init__(self, viewer, dock, qtbot, run) -> None:
        self.viewer, self.dock, self._qtbot = viewer, dock, qtbot
        self.dock.controller.load(run)
        self.wait_for_the_end()
        self.many = self.dock.results.many
        self.table = self.many.findChild(QTableWidget, "many images")

    def wait_for_the_end(self) -> None:
        status = self.dock.session
        self._qtbot.waitUntil(lambda: not status.status.is_busy, timeout=PATIENCE_MS)

    def press(self, name) -> None:
        (button,) = [one for one in self.many.findChildren(QPushButton) if one.text() == name]
        assert button.isEnabled(), name
        button.click()

    def column(self, place) -> list[str]:
        return [self.table.item(row, place).text() for row in range(self.table.rowCount())]

    def said(self) -> str:
        return "\n".join(one.text() for one in self.many.findChildren(QLabel))


@pytest.fixture
def person(viewer, naparis_readers, open_dock, qtbot, run, study):
    return Person(viewer, open_dock(), qtbot, run)


def test_a_model_is_applied_to_all_images_of_a_folder(person, study):
    person.press("Add folder…")
    assert person.column(0) == ["img.tif", "img.tif", "torn.tif"]
    person.press("Apply to all")
    person.wait_for_the_end()
    assert person.column(2) == ["done", "done", "failed"]
    out = study.with_name("study_results")
    table = pd.read_csv(out / "images.csv", dtype=str, keep_default_na=False)
    fractions = table.loc[table["class"] == "disc", "fraction"].astype(float)
    shown = [float(text.removesuffix(" %")) for text in person.column(3)[:2]]
    assert shown == pytest.approx(list(100 * fractions), rel=0.05)
    assert str(out / "images.csv") in person.said()
    assert "torn.tif" in person.said()
    person.press("Apply to all")
    person.wait_for_the_end()
    assert person.column(2) == ["done before", "done before", "failed"]


def test_what_was_stopped_goes_on(person, study, qtbot):
    (study / "b" / "torn.tif").unlink()
    person.press("Add folder…")
    person.press("Apply to all")
    qtbot.waitUntil(lambda: person.column(2)[0] == "done", timeout=PATIENCE_MS)
    person.dock.session.stop()
    person.wait_for_the_end()
    assert person.column(2)[0] == "done"
    person.press("Apply to all")
    person.wait_for_the_end()
    assert person.column(2)[0] == "done before"
    assert person.column(2)[1] in ("done", "done before")
    assert all(person.column(3))


def test_a_row_opens_its_image_with_its_labels(person, study, run):
    person.press("Add folder…")
    person.press("Apply to all")
    person.wait_for_the_end()
    person.table.cellClicked.emit(2, 0)  # which failed
    assert not person.viewer.layers
    out = study.with_name("study_results")
    for row, name in ((0, "a"), (1, "b"), (0, "a")):
        person.table.cellClicked.emit(row, 0)
        image, labels = (one for one in person.viewer.layers if one.visible)
        assert isinstance(image, Image)
        assert isinstance(labels, Labels)
        pixels = tifffile.imread(study / name / "img.tif")
        stored = tifffile.imread(out / f"{name}_img" / "labels.ome.tif")
        assert np.array_equal(np.asarray(image.data), pixels)
        assert np.array_equal(np.asarray(labels.data), stored)
        mark = labels.metadata["napari_spss"]
        model = person.dock.session.model
        told = {"run": str(run), "n_steps": 3, "weights": model.weights_digest, "threshold": 0.5}
        assert mark["made_by"].items() >= {**told, "smooth_z": False, "min_size_px": 0}.items()
        assert not mark["is_edited"]
    assert len(person.viewer.layers) == 4  # none is opened twice
    tifffile.imwrite(out / "b_img" / "labels.ome.tif", 1 - stored, photometric="minisblack")
    person.table.cellClicked.emit(1, 0)
    (labels,) = (one for one in person.viewer.layers if one.visible and isinstance(one, Labels))
    assert labels.metadata["napari_spss"]["is_edited"]  # by somebody else, since it was written


def test_an_image_of_fewer_slices_than_the_one_that_is_shown_is_seen(person, study):
    (study / "b" / "torn.tif").unlink()
    person.press("Add folder…")
    person.press("Apply to all")
    person.wait_for_the_end()
    person.viewer.add_image(np.zeros((9, 40, 40), np.uint8), name="deep")
    person.viewer.dims.set_current_step(0, 8)
    person.table.cellClicked.emit(0, 0)
    assert person.viewer.dims.current_step[0] == 1
    person.viewer.dims.set_current_step(0, 0)
    person.table.cellClicked.emit(1, 0)
    assert person.viewer.dims.current_step[0] == 0


def test_groups_are_a_column_of_the_table(person, study):
    (study / "b" / "torn.tif").unlink()
    person.press("Add folder…")
    person.dock.results.many.findChild(QLineEdit).setText(str(study.parent / "out"))
    groups = person.many.findChild(QComboBox)
    groups.setCurrentIndex(groups.findText("by folder"))
    groups.activated.emit(1)
    assert person.column(1) == ["a", "b"]
    person.press("Apply to all")
    person.wait_for_the_end()
    table = pd.read_csv(study.parent / "out" / "images.csv")
    assert list(table["group"]) == ["a", "a", "b", "b"]
