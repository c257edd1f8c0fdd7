"""Save results… and Save everything…: a place beside the image, and nothing of others replaced."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import tifffile
from eye import wait
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QFileDialog, QLabel, QLineEdit, QPushButton, QScrollArea
from superqt import QLabeledDoubleSlider

from napari_spss.core.annotations import Annotations, Proportion, Region
from napari_spss.core.images import open_labels
from napari_spss.core.prediction import FileSink

CLASSES = ("background", "mitochondria")
SAID = Annotations(CLASSES, proportions=(Proportion(Region(0), (None, 0.1)),))
RESULTS = {"labels.ome.tif", "maps.ome.tif", "fractions.csv"}
MINE = "slice,mitochondria\n0,6%\n"


@pytest.fixture
def folder(tmp_path):
    """Folder of the image."""
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def dock(viewer, naparis_readers, open_dock, fake_runs, folder, qtbot):
    """A dock with a result of the image ``cells.ome.tif``."""
    path = folder / "cells.ome.tif"
    tifffile.imwrite(path, np.zeros((2, 32, 48), np.uint8), metadata={"axes": "ZYX"})
    viewer.open(path, plugin="napari")
    dock = open_dock()
    dock.annotate.set_value(SAID)
    assert dock.start_training()
    wait(dock, qtbot)
    dock.controller.apply("stack")
    wait(dock, qtbot)
    return dock


def press(dock, qtbot, text):
    """Press the only enabled and visible button of this text in the section."""
    buttons = [b for b in dock.results.findChildren(QPushButton) if b.text() == text]
    (button,) = [b for b in buttons if b.isVisibleTo(dock.results) and b.isEnabled()]
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def place(dock):
    (edit,) = [e for e in dock.results.findChildren(QLineEdit) if "folder" in e.toolTip()]
    return edit


def told(dock):
    """Texts that are shown in the section."""
    labels = dock.results.findChildren(QLabel)
    return "\n".join(one.text() for one in labels if one.isVisibleTo(dock.results))


def save(dock, qtbot, folder=None, button="Save results…"):
    press(dock, qtbot, button)
    if folder is not None:
        place(dock).clear()
        qtbot.keyClicks(place(dock), str(folder))
    press(dock, qtbot, "Save")
    wait(dock, qtbot)


def names(folder):
    return {path.name for path in folder.glob("[!.]*")} if folder.exists() else set()


@pytest.mark.parametrize("button", ["Save results…", "Save everything…"])
def test_a_new_folder_beside_the_image_is_proposed_and_made(dock, qtbot, folder, button):
    press(dock, qtbot, button)
    assert place(dock).text() == str(folder / "cells_results")
    press(dock, qtbot, "Save")
    wait(dock, qtbot)
    assert names(folder / "cells_results") >= RESULTS
    assert not place(dock).isVisibleTo(dock.results)
    assert dock.controller.outcome.is_saved


def test_the_same_results_are_saved_again_unasked(dock, qtbot, folder):
    save(dock, qtbot, folder / "new" / "folder")
    save(dock, qtbot)
    assert not place(dock).isVisibleTo(dock.results)
    assert names(folder / "new" / "folder") >= RESULTS


def test_the_question_for_a_place_comes_into_view(dock, qtbot, folder):
    dock.window().resize(900, 500)
    dock.window().show()
    scroll = dock.findChild(QScrollArea)
    (button,) = [b for b in dock.results.findChildren(QPushButton) if b.text() == "Save results…"]
    qtbot.waitUntil(lambda: scroll.verticalScrollBar().maximum() > 0)
    scroll.ensureWidgetVisible(button, 0, 0)
    button.click()
    (answer,) = [b for b in dock.results.findChildren(QPushButton) if b.text() == "Save"]
    assert is_whole(answer)
    (folder / "notes").write_text(MINE)
    place(dock).setText(str(folder / "notes"))
    answer.click()
    assert is_whole(answer)


def is_whole(widget):
    return widget.visibleRegion().boundingRect() == widget.rect()


def test_a_relative_name_is_one_beside_the_image(dock, qtbot, folder):
    save(dock, qtbot, "mine")
    assert names(folder / "mine") >= RESULTS


def test_ome_zarr_can_be_chosen_and_replaces_what_was_saved_before(dock, qtbot, folder):
    save(dock, qtbot, folder / "mine")
    press(dock, qtbot, "Save results…")
    (choice,) = [c for c in dock.results.findChildren(QComboBox) if "OME-Zarr" in c.toolTip()]
    choice.setCurrentText("OME-Zarr")
    press(dock, qtbot, "Save")
    wait(dock, qtbot)
    written = names(folder / "mine")
    assert {"labels.ome.zarr", "maps.ome.zarr", "fractions.csv"} <= written
    assert not [name for name in written if name.endswith(".tif")]
    labels = open_labels(folder / "mine" / "labels.ome.zarr")
    shown = dock.controller.outcome.labels()
    np.testing.assert_array_equal(
        labels.read(0)[labels.read(0) < 255], shown[0][labels.read(0) < 255]
    )


@pytest.mark.parametrize("answer", ["Replace them", "Cancel"])
def test_what_others_wrote_is_replaced_only_if_the_user_says_so(dock, qtbot, folder, answer):
    (folder / "mine").mkdir()
    (folder / "mine" / "fractions.csv").write_text(MINE)
    save(dock, qtbot, folder / "mine")
    assert "fractions.csv was not written by napari-spss" in told(dock)
    assert names(folder / "mine") == {"fractions.csv"}
    press(dock, qtbot, answer)
    wait(dock, qtbot)
    is_kept = (folder / "mine" / "fractions.csv").read_text() == MINE
    assert is_kept == (answer == "Cancel")
    assert (names(folder / "mine") >= RESULTS) == (not is_kept)


def test_another_folder_can_be_named_instead(dock, qtbot, folder):
    (folder / "mine").mkdir()
    (folder / "mine" / "fractions.csv").write_text(MINE)
    save(dock, qtbot, folder / "mine")
    qtbot.keyClicks(place(dock), "2")
    assert "was not written" not in told(dock)
    press(dock, qtbot, "Save")
    wait(dock, qtbot)
    assert names(folder / "mine2") >= RESULTS
    assert (folder / "mine" / "fractions.csv").read_text() == MINE


def test_what_cannot_be_replaced_at_all_is_told_beside_the_button(dock, qtbot, folder):
    before = (folder / "cells.ome.tif").read_bytes()
    (folder / "cells.ome.tif").rename(folder / "labels.ome.tif")
    layer = dock.image.value().layer
    layer._source = layer.source.model_copy(update={"path": str(folder / "labels.ome.tif")})
    object.__setattr__(dock.controller.outcome.source, "path", str(folder / "labels.ome.tif"))
    save(dock, qtbot, folder)
    assert "labels.ome.tif is read, and would be replaced" in told(dock)
    with pytest.raises(ValueError, match="not enough values"):
        press(dock, qtbot, "Replace them")
    assert (folder / "labels.ome.tif").read_bytes() == before


def test_a_file_is_no_folder_and_no_name_no_place(dock, qtbot, folder):
    (folder / "notes").write_text(MINE)
    save(dock, qtbot, folder / "notes")
    assert "notes is a file; choose another folder" in told(dock)
    save(dock, qtbot, " ")
    assert "Name a folder." in told(dock)


def test_everything_asks_for_the_files_of_the_run_too(dock, qtbot, folder, tmp_path):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    for name in ("config.toml", "proportions.csv", "model.safetensors"):
        (run_dir / name).write_text("of the run")
    dock.controller.outcome.run_dir = run_dir
    (folder / "mine").mkdir()
    (folder / "mine" / "proportions.csv").write_text(MINE)
    save(dock, qtbot, folder / "mine", button="Save everything…")
    assert "proportions.csv was not written by napari-spss" in told(dock)
    assert names(folder / "mine") == {"proportions.csv"}
    press(dock, qtbot, "Replace them")
    wait(dock, qtbot)
    assert names(folder / "mine") >= {*RESULTS, "config.toml"}
    assert "fractions_objects.csv, model.safetensors" in dock.bar.text()
    assert (folder / "mine" / "proportions.csv").read_text() == "of the run"


def test_a_folder_that_exists_can_be_chosen(dock, qtbot, folder, monkeypatch):
    (folder / "there").mkdir()
    asked = []

    def choose(parent, title, start):
        asked.append(start)
        return str(folder / "there")

    monkeypatch.setattr(QFileDialog, "getExistingDirectory", choose)
    press(dock, qtbot, "Save results…")
    press(dock, qtbot, "…")
    assert asked == [str(folder)]
    press(dock, qtbot, "Save")
    wait(dock, qtbot)
    assert names(folder / "there") >= RESULTS


def test_fractions_are_saved_beside_the_image_too(dock, qtbot, folder, monkeypatch):
    proposed = []

    def choose(parent, title, path, kinds):
        proposed.append(path)
        return path, kinds

    monkeypatch.setattr(QFileDialog, "getSaveFileName", choose)
    (button,) = [b for b in dock.findChildren(QPushButton) if b.text() == "Save CSV…"]
    button.click()
    assert proposed == [str(folder / "proportions.csv")]
    assert (folder / "proportions.csv").is_file()


def test_nothing_is_asked_for_another_image(dock, viewer, qtbot):
    press(dock, qtbot, "Save results…")
    viewer.layers.clear()
    viewer.add_image(np.ones((2, 32, 48), np.uint8), name="other")
    assert not place(dock).isVisibleTo(dock.results)


def test_a_refusal_goes_once_its_reason_is_gone(dock, qtbot, folder):
    press(dock, qtbot, "Save everything…")
    assert dock.start_training(continues=True)  # with the question open
    wait(dock, qtbot)
    press(dock, qtbot, "Save")
    assert told(dock).count("are of the model before") == 2  # below the labels, and at the place
    dock.controller.apply("stack")
    wait(dock, qtbot)
    assert "are of the model before" not in told(dock)
    assert place(dock).isVisibleTo(dock.results)
    press(dock, qtbot, "Cancel")


def test_labels_are_saved_as_they_were_when_save_was_pressed(dock, qtbot, folder, monkeypatch):
    begun, may_go_on, write = threading.Event(), threading.Event(), FileSink.write

    def slow(sink, region, *rest):
        begun.set()
        assert may_go_on.wait(60)
        write(sink, region, *rest)

    monkeypatch.setattr(FileSink, "write", slow)
    shown = dock.controller.outcome.labels().copy()
    assert dock.controller.save(folder / "mine", has_run=False)
    qtbot.waitUntil(begun.is_set, timeout=60_000)
    dock.results.findChild(QLabeledDoubleSlider).setValue(0.95)
    np.testing.assert_array_equal(dock.controller.outcome.labels(), shown)
    may_go_on.set()
    wait(dock, qtbot)
    assert not dock.controller.outcome.labels().any()
    np.testing.assert_array_equal(tifffile.imread(folder / "mine" / "labels.ome.tif"), shown)
