"""Runs of a project: closed, opened again, gone on with, taken back and compared."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import threading

import numpy as np
import pytest
import tifffile
from blobs import CLASSES, annotated, blobs
from eye import choice, number, said
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QFileDialog, QLabel, QLineEdit, QPushButton, QTableWidget
from superqt import QLabeledDoubleSlider

from napari_spss.core import training
from napari_spss.core.annotations import ClassStyle
from napari_spss.core.base import read_origin
from napari_spss.core.training import STATE_FILE, RunFolder, iter_training, load_model, loop
from napari_spss.gui.dock import SpssDock
from napari_spss.gui.models import RunForm

pytestmark = pytest.mark.usefixtures("one_torch_thread")

PATIENCE_MS = 300_000
SETTINGS = {
    "seed": 4,
    "network.filters": 4,
    "sampling.crop_px": 48,
    "sampling.batch_size": 2,
    "optimisation.learning_rate": 0.01,
    "sampling.intensity": False,
    "sampling.warp": False,
}
GOOD, POOR = 40, 2
IN_USE = "\u2713 "
LEFT = Qt.MouseButton.LeftButton


class Person:
    """Sits at a viewer with an image, which may be closed and opened again."""

    def __init__(self, qtbot, path) -> None:
        self._qtbot, self._path = qtbot, path
        self.open()

    def open(self) -> None:
        self.viewer = ViewerModel()
        self.viewer.open(self._path, plugin="napari")
        self.dock = SpssDock(self.viewer, is_probing=False)
        self._qtbot.addWidget(self.dock)

    def close(self) -> None:
        self.dock.shut_down()

    def wait(self, is_so) -> None:
        self._qtbot.waitUntil(is_so, timeout=PATIENCE_MS)

    def wait_for_the_end(self) -> None:
        outcome = self.dock.controller.outcome
        self.wait(lambda: not self.dock.session.status.is_busy and outcome.is_up_to_date)

    def train(self, n_steps, *, continues=False) -> None:
        overrides = {**SETTINGS, "optimisation.max_steps": n_steps}
        self.dock.train.set_value(RunForm(device="cpu", overrides=overrides))
        n_before = self.rows()
        self.press("Continue" if continues else "Train")
        self.wait_for_the_end()
        self.wait(lambda: len(self.rows()) == len(n_before) + 1)

    def press(self, name) -> None:
        (button,) = [one for one in self.dock.findChildren(QPushButton) if one.text() == name]
        assert button.isEnabled(), name
        button.click()

    def name(self, text) -> None:
        """Type another name for the first class."""
        (field,) = [
            one for one in self.dock.classes.findChildren(QLineEdit) if one.text() == CLASSES[1]
        ]
        field.setText(text)
        field.editingFinished.emit()

    def table(self, name="runs"):
        return self.dock.findChild(QTableWidget, name)

    def rows(self, name="runs"):
        table = self.table(name)
        return [
            [table.item(row, column).text() for column in range(table.columnCount())]
            for row in range(table.rowCount())
        ]

    def choose(self, row) -> None:
        table = self.table()
        at = table.visualItemRect(table.item(row, 0)).center()
        self._qtbot.mouseClick(table.viewport(), LEFT, pos=at)

    def text(self, name) -> str:
        return self.dock.findChild(QLabel, name).text()

    def hint(self) -> str:
        texts = [label.text() for label in self.dock.bar.findChildren(QLabel)]
        return next(text for text in texts if text)

    def boxes(self, *texts):
        boxes = self.dock.results.findChildren(QCheckBox)
        return [box for text in texts for box in boxes if box.text() == text]

    def tick(self, text) -> None:
        (box,) = self.boxes(text)
        box.click()

    def entered(self):
        """Threshold and least size as they stand in the dock, and what says the threshold."""
        slider = self.dock.results.findChild(QLabeledDoubleSlider)
        size = number(self.dock.results, "Smaller pieces").value()
        mode = choice(self.dock.results, "matched").currentText()
        return pytest.approx(slider.value()), size, mode

    def enter(self, *, threshold, min_size) -> None:
        self.dock.results.findChild(QLabeledDoubleSlider).setValue(threshold)
        number(self.dock.results, "Smaller pieces").setValue(min_size)

    def labels(self):
        (layer,) = [one for one in self.viewer.layers if one.name == "image labels"]
        return layer


@pytest.fixture
def person(naparis_readers, qtbot, tmp_path):
    """An image of discs that is annotated, in a viewer with the dock."""
    stack, truth = blobs()
    pixels = np.stack([stack.read(z)[0] for z in range(stack.n_slices)])
    tifffile.imwrite(tmp_path / "image.tif", pixels, photometric="minisblack")
    user = Person(qtbot, tmp_path / "image.tif")
    styles = [ClassStyle("background", "#999999", "Q"), ClassStyle(CLASSES[1], "#E69F00", "W")]
    user.dock.classes.set_value(styles)
    user.dock.annotate.set_value(annotated(truth, n_grids=3))
    yield user
    user.dock.shut_down()


def test_close_reopen_and_go_on(person):
    dock = person.dock
    person.train(GOOD)
    ((began, steps, agrees, fraction),) = person.rows()
    assert re.fullmatch(r"\u2713 \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", began)
    assert steps == str(GOOD)
    assert float(agrees) > 0.5
    assert fraction.endswith(" %")
    assert person.text("run detail").startswith("In use. Learned from 3 grids (192 nodes, ")
    assert "at 192 judged nodes" in person.text("run detail")
    assert dock.controller.apply("stack")
    person.wait_for_the_end()
    seen, curves = person.labels().data.copy(), dock.session.curves
    person.close()

    person.open()
    dock = person.dock
    person.wait(lambda: dock.session.model is not None)
    person.wait_for_the_end()
    assert person.rows() == [[began, steps, agrees, fraction]]
    assert dock.session.model.n_steps == GOOD
    assert dock.session.curves.steps == curves.steps
    assert dock.session.curves.losses.keys() == curves.losses.keys()
    for name, values in curves.losses.items():
        np.testing.assert_array_equal(dock.session.curves.losses[name], values)
    assert "apply the model" in person.hint()
    assert dock.controller.apply("stack")
    person.wait_for_the_end()
    np.testing.assert_array_equal(person.labels().data, seen)

    person.train(10, continues=True)
    assert [row[1] for row in person.rows()] == [str(GOOD + 10), str(GOOD)]
    assert person.rows()[0][0].startswith(IN_USE)
    assert dock.session.curves.steps[: len(curves.steps)] == curves.steps
    assert dock.session.curves.last_step == GOOD + 10
    curves = dock.session.curves
    person.close()

    person.open()
    dock = person.dock
    person.wait(lambda: dock.session.model is not None)
    person.wait_for_the_end()
    assert dock.session.curves.steps == curves.steps
    assert dock.session.curves.continued == curves.continued == [GOOD]
    for name, values in curves.losses.items():
        np.testing.assert_array_equal(dock.session.curves.losses[name], values)


def test_a_run_that_time_ended_goes_on_when_the_image_is_opened_again(person, monkeypatch):
    passed = itertools.count()  # a second with each look at the clock
    with monkeypatch.context() as patched:
        patched.setitem(iter_training.__kwdefaults__, "clock", lambda: float(next(passed)))
        overrides = {**SETTINGS, "optimisation.max_steps": GOOD}
        form = RunForm(device="cpu", max_minutes=0.5, overrides=overrides)
        person.dock.train.set_value(form)
        person.press("Train")
        person.wait_for_the_end()
        person.wait(lambda: len(person.rows()) == 1)
    n_done = int(person.rows()[0][1])
    assert 0 < n_done < GOOD
    folder = person.dock.trainings.model_dir
    person.close()

    person.open()
    person.wait(lambda: person.dock.session.model is not None)
    person.wait(lambda: "the steps that are left" in person.hint())
    person.press("Continue")
    person.wait(lambda: f", step {n_done}" in str(person.dock.session.status))
    assert f" of {GOOD}," in str(person.dock.session.status)
    person.wait_for_the_end()
    person.wait(lambda: person.rows()[0][1] == str(GOOD))
    assert len(person.rows()) == 1
    assert person.dock.trainings.model_dir == folder
    assert person.dock.session.curves.last_step == GOOD


def test_a_run_that_was_killed_goes_on_when_the_image_is_opened_again(person, monkeypatch):
    monkeypatch.setattr(loop, "_CHECKPOINT_INTERVAL_S", 0.0)
    dock = person.dock
    dock.train.set_value(
        RunForm(device="cpu", overrides={**SETTINGS, "optimisation.max_steps": GOOD})
    )
    person.press("Train")
    person.wait(lambda: ", step " in str(dock.session.status))
    (folder,) = dock.project.runs_folder().iterdir()
    killed = folder.parent / "killed"
    person.wait(lambda: (folder / STATE_FILE).exists())
    shutil.copytree(folder, killed, ignore=shutil.ignore_patterns(".lock*", "model.*"))
    person.close()
    person.wait(lambda: not (folder / ".lock").exists())
    shutil.rmtree(folder)

    person.open()
    dock = person.dock
    person.wait(lambda: dock.session.model is not None)
    person.wait_for_the_end()
    assert "interrupted" in person.text("run detail")
    assert dock.trainings.model_dir == killed
    n_done = dock.session.model.n_steps
    assert 0 < n_done < GOOD
    person.wait(lambda: "the steps that are left" in person.hint())
    person.name("mitochondria")
    dock.image.set_diameter(14)  # Continue would begin another training
    assert "the steps that are left" not in person.hint()
    dock.image.set_diameter(None)
    assert "the steps that are left" in person.hint()
    person.press("Continue")
    person.wait_for_the_end()
    person.wait(lambda: person.rows()[0][1] == str(GOOD))
    assert len(person.rows()) == 1
    assert "interrupted" not in person.text("run detail")
    assert dock.trainings.model.classes == ("background", "mitochondria")


def test_a_killed_run_that_cannot_go_on_is_told_when_the_image_is_opened_again(person):
    dock = person.dock
    person.train(POOR)
    folder = dock.trainings.model_dir
    damaged = folder.with_name("damaged")
    shutil.copytree(folder, damaged, ignore=shutil.ignore_patterns(".lock*", "model.*"))
    (damaged / STATE_FILE).write_bytes(b"torn")
    person.close()

    person.open()
    dock = person.dock
    person.wait(lambda: dock.session.model is not None)
    person.wait_for_the_end()
    assert dock.trainings.model_dir == folder
    (text,) = [text for level, text in dock.session.messages if "damaged was interrupted" in text]
    assert "or train again" in text


def test_a_class_that_is_named_anew_keeps_its_model_and_its_result(person, tmp_path):
    dock = person.dock
    person.train(POOR)
    assert dock.controller.apply("stack")
    person.wait_for_the_end()
    seen = person.labels().data.copy()
    person.name("mitochondria")
    assert "Model of the run" in said(dock.results)
    assert ": mitochondria, 2 steps" in said(dock.results)
    assert any(one.name == "image mitochondria probability" for one in person.viewer.layers)
    assert "Continue" not in person.hint()
    assert "Train" not in person.hint()
    assert dock.controller.apply("stack")
    person.wait_for_the_end()
    np.testing.assert_array_equal(person.labels().data, seen)
    assert dock.controller.save(tmp_path / "saved", has_run=False)
    person.wait_for_the_end()
    assert "mitochondria" in (tmp_path / "saved" / "fractions.csv").read_text()
    assert dock.controller.save(tmp_path / "all", has_run=True)
    person.wait_for_the_end()
    assert load_model(tmp_path / "all").classes == ("background", "mitochondria")
    assert RunFolder(tmp_path / "all").annotations().classes == ("background", "mitochondria")
    person.close()

    person.open()
    dock = person.dock
    person.wait(lambda: dock.session.model is not None)
    person.wait_for_the_end()
    assert "Continue" not in person.hint()
    person.train(POOR, continues=True)
    assert dock.session.model.classes == ("background", "mitochondria")
    assert dock.session.model.n_steps == 2 * POOR
    person.choose(1)
    person.press("Compare")
    person.wait_for_the_end()
    assert len(person.rows("compared slices")) == 3


def test_runs_go_with_the_project_to_another_folder(person, monkeypatch, tmp_path):
    person.train(POOR)
    (row,), left = person.rows(), person.dock.trainings.model_dir
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "new"))
    (tmp_path / "new").mkdir()
    person.press("Folder…")
    folder = tmp_path / "new" / "runs"
    assert person.dock.trainings.model_dir == folder / left.name
    assert "runs stay" not in person.dock.project.text()
    person.wait(lambda: person.rows() == [row])
    assert person.rows()[0][0].startswith(IN_USE)
    shutil.rmtree(left.parents[1])
    assert person.dock.controller.apply("stack")
    person.wait_for_the_end()
    assert person.dock.controller.save(tmp_path / "saved", has_run=True)
    person.wait_for_the_end()
    assert (tmp_path / "saved" / "model.json").exists()
    person.train(POOR, continues=True)
    assert {one.parent for one in folder.glob("*/model.json")} == {*folder.iterdir()}
    assert len(person.rows()) == 2


def test_what_was_annotated_after_the_run_is_news_when_the_image_is_opened_again(person):
    person.train(POOR)
    kept = person.dock.annotations()
    person.close()
    person.open()
    person.wait(lambda: person.dock.session.model is not None)
    assert person.dock.annotations() == kept
    assert "Continue" not in person.hint()
    person.dock.annotate.keypoints.set_value(
        [*person.dock.annotate.keypoints.value(), *_click(person)]
    )
    person.wait(lambda: "press Continue" in person.hint())
    person.close()
    person.open()
    person.wait(lambda: person.dock.session.model is not None)
    person.wait(lambda: "press Continue" in person.hint())


def _click(person):
    from napari_spss.core.annotations import Keypoint

    return [Keypoint(0, 3.0, 3.0, 0)]


def test_a_worse_model_is_told_and_the_one_before_comes_back_by_one_click(person):
    person.train(GOOD)
    good = person.dock.trainings.model_dir
    assert person.text("worse model") == ""
    person.train(POOR)
    poor = person.dock.trainings.model_dir
    assert poor != good
    told = person.text("worse model")
    assert re.match(r"At 192 judged nodes .* clearly less, though", told)
    assert "how much worse this model is, and use the one before" in person.hint()
    person.press("Use the model before")
    person.wait_for_the_end()
    assert person.dock.trainings.model_dir == good
    assert person.dock.session.model.n_steps == GOOD
    assert person.text("worse model") == ""
    assert [row[0].startswith(IN_USE) for row in person.rows()] == [False, True]
    began = person.rows()[1][0].removeprefix(IN_USE).strip()
    assert f"Model of the run {began}:" in said(person.dock.results)
    assert "use the one before" not in person.hint()
    assert person.dock.session.curves.last_step == GOOD
    person.close()

    person.open()  # the choice is kept
    person.wait(lambda: person.dock.session.model is not None)
    assert person.dock.trainings.model_dir == good
    person.choose(0)
    person.press("Use")
    person.wait(lambda: person.dock.trainings.model_dir == poor)
    person.close()
    person.open()
    person.wait(lambda: person.dock.session.model is not None)
    assert person.dock.trainings.model_dir == poor


def test_a_training_that_was_stopped_is_said_not_to_be_compared(person):
    person.train(POOR)
    before = person.dock.trainings.model_dir
    person.dock.train.set_value(
        RunForm(device="cpu", overrides={**SETTINGS, "optimisation.max_steps": 5000})
    )
    person.press("Train")
    person.wait(lambda: ", step " in str(person.dock.session.status))
    person.press("Stop")
    person.wait_for_the_end()
    assert person.text("worse model").startswith("This training was stopped")
    person.press("Use the model before")
    person.wait_for_the_end()
    assert person.dock.trainings.model_dir == before
    assert person.text("worse model") == ""


def test_two_runs_beside_each_other(person):
    runs = []
    for steps in (GOOD, POOR):
        person.train(steps)
        runs.append(person.dock.trainings.model_dir)
    person.choose(0)
    use = next(b for b in person.dock.findChildren(QPushButton) if b.text() == "Use")
    assert not use.isEnabled()  # it is in use
    person.choose(1)
    person.press("Compare")
    person.wait_for_the_end()
    names = [row[0].removeprefix(IN_USE) for row in person.rows()]
    pair = [layer for layer in person.viewer.layers if "compared" in _role(layer)]
    assert [re.sub(r" \[\d+\]$", "", one.name) for one in pair] == [f"{n} labels" for n in names]
    assert all(layer.visible for layer in pair)
    by_poor, by_good = (layer.data for layer in pair)
    table = person.table("compared slices")
    heads = [table.horizontalHeaderItem(column).text() for column in range(5)]
    assert heads == ["Slice", *(name.replace(" ", "\n") for name in names), *heads[3:]]
    person.dock.resize(person.dock.minimumWidth(), 900)
    person.dock.show()
    header = table.horizontalHeader()
    assert all(header.sectionSize(one) >= header.sectionSizeHint(one) for one in range(5))
    assert header.length() <= table.viewport().width()
    rows = person.rows("compared slices")
    assert [row[0] for row in rows] == ["0", "1", "2"]
    for z, row in enumerate(rows):
        assert float(row[2].removesuffix(" %")) == pytest.approx(100 * by_good[z].mean(), rel=0.06)
        both, either = (by_poor[z] & by_good[z]).sum(), (by_poor[z] | by_good[z]).sum()
        assert float(row[3]) == pytest.approx(
            100 * (by_good[z].mean() - by_poor[z].mean()), abs=0.06
        )
        assert float(row[4]) == pytest.approx(both / either, abs=0.006)
    assert "3 slices" in person.text("comparison")
    assert "intersection over union" in person.text("comparison")
    pair[0].show_selected_label = True
    assert pair[1].show_selected_label
    assert {_made_by(layer)["run"] for layer in pair} == {str(run) for run in runs}
    assert _made_by(pair[0])["run"] == str(person.dock.trainings.model_dir)
    models = [load_model(_made_by(layer)["run"]) for layer in pair]
    assert {model.n_steps for model in models} == {GOOD, POOR}
    for layer, model in zip(pair, models, strict=True):
        found = (_made_by(layer)["n_steps"], _made_by(layer)["weights"])
        assert found == (model.n_steps, model.weights_digest)
        assert _made_by(layer)["threshold"] == 0.5
    pair[1].data[0, 0, 0] = 1  # the person's edit is not lost with the next comparison
    pair[1].events.paint(value=[])
    person.press("Compare")
    person.wait_for_the_end()
    assert pair[1] in person.viewer.layers
    assert pair[1].name.endswith(" edited")


def test_layers_tell_where_they_come_from(person, tmp_path):
    person.train(POOR)
    dock = person.dock
    run = str(dock.trainings.model_dir)
    previews = [layer for layer in person.viewer.layers if _role(layer).startswith("preview")]
    assert previews
    assert {_made_by(layer)["run"] for layer in previews} == {run}
    assert {_made_by(layer)["n_steps"] for layer in previews} <= {1, POOR}
    assert all(_made_by(layer)["is_preview"] for layer in previews)
    assert dock.controller.apply("stack")
    person.wait_for_the_end()
    (probability,) = [one for one in person.viewer.layers if one.name.endswith("probability")]
    made_by = _made_by(probability)
    assert (made_by["run"], made_by["n_steps"]) == (run, POOR)
    assert (made_by["weights"], made_by["is_preview"]) == (dock.session.model.weights_digest, False)
    assert (made_by["flips"], made_by["smooth_z"]) == (False, False)  # as it came out
    assert set(made_by["versions"]) == {"napari-spss", "torch", "numpy"}
    json.dumps(made_by)
    dock.results.findChild(QLabeledDoubleSlider).setValue(0.25)
    number(dock.results, "Smaller pieces").setValue(9)
    person.wait_for_the_end()
    made_by = _made_by(person.labels())
    assert made_by["threshold"] == pytest.approx(0.25)
    assert (made_by["min_piece_px"], made_by["fill_holes"]) == (9, False)
    dock.controller.save(tmp_path / "out", has_run=False)
    person.wait_for_the_end()
    assert read_origin(tmp_path / "out" / "labels.ome.tif") == {**made_by, "is_edited": False}
    assert read_origin(tmp_path / "out" / "fractions.csv") == {**made_by, "is_edited": False}


def test_labels_are_made_as_before_after_close_and_reopen(person):
    person.train(GOOD)
    person.enter(threshold=0.3, min_size=30)
    for text in ("fill holes", "mirror images", "along z"):
        person.tick(text)
    assert person.dock.controller.apply("stack")
    person.wait_for_the_end()
    labels, made_by = person.labels().data.copy(), _made_by(person.labels())
    assert 0 < labels.mean() < 1
    person.close()
    person.open()
    person.wait(lambda: person.dock.session.model is not None)
    assert person.entered() == (0.3, 30, "as the slider says")
    ticked = [box.isChecked() for box in person.boxes("fill holes", "mirror images", "along z")]
    assert ticked == [True, True, False]
    assert person.dock.controller.apply("stack")
    person.wait_for_the_end()
    np.testing.assert_array_equal(person.labels().data, labels)
    assert _made_by(person.labels()) == made_by
    choice(person.dock.results, "matched").setCurrentIndex(1)
    person.close()
    person.open()
    assert person.entered()[2].startswith("matched to the stated fractions")


def test_each_image_has_its_threshold_and_comes_back_with_its_labels(person):
    person.train(POOR)
    assert person.dock.controller.apply("stack")
    person.wait_for_the_end()
    image = person.viewer.layers[0]
    person.enter(threshold=0.3, min_size=30)
    person.wait_for_the_end()
    labels = person.labels()
    labels.data[0, 0, 0] = 1  # by hand
    labels.events.paint(value=[])
    for name in ("other", "third"):
        pixels = np.random.default_rng(len(name)).random((3, 32, 32))
        person.dock.image.set_layer(person.viewer.add_image(pixels, name=name))
    person.enter(threshold=0.6, min_size=7)
    person.dock.image.set_layer(image)
    assert person.entered()[:2] == (0.3, 30)
    person.wait_for_the_end()
    assert person.labels() is labels
    assert labels.data[0, 0, 0] == 1
    person.dock.image.set_layer(person.viewer.layers["third"])
    assert person.entered()[:2] == (0.6, 7)


@pytest.mark.parametrize("damage", [{"threshold": 7}, {"mode": "high"}, "torn"])
def test_a_threshold_that_is_none_is_told_and_kept_aside(person, damage):
    person.enter(threshold=0.3, min_size=30)
    project = person.dock.project.folder
    person.close()
    record = json.loads((project / "project.json").read_text())
    record["settings"]["results"] = damage
    (project / "project.json").write_text(json.dumps(record))
    person.open()
    assert "Threshold and clean-up of the labels cannot be restored" in said(person.dock)
    assert person.entered()[:2] == (0.5, 0)
    assert len(list(project.glob("project*.json*"))) == 2


def test_another_image_puts_previews_away_and_its_own_brings_them_back(person):
    person.train(POOR)
    image = person.viewer.layers[0]
    previews = [layer for layer in person.viewer.layers if _role(layer).startswith("preview")]
    assert all(layer.visible for layer in previews)
    other = person.viewer.add_image(np.random.default_rng(0).random((3, 32, 32)), name="other")
    person.dock.image.set_layer(other)
    assert not any(layer.visible for layer in previews)
    assert person.rows() == []
    person.dock.image.set_layer(image)
    assert all(layer.visible for layer in previews)
    person.wait(lambda: len(person.rows()) == 1)


def test_a_run_that_was_loaded_beside_another_image_is_remembered_for_its_own(person):
    person.train(POOR)
    person.train(POOR)
    (older,) = {*(person.dock.project.folder / "runs").iterdir()} - {
        person.dock.trainings.model_dir
    }
    image = person.viewer.layers[0]
    other = person.viewer.add_image(np.random.default_rng(0).random((3, 32, 32)), name="other")
    person.dock.image.set_layer(other)
    assert person.dock.trainings.load(older)
    person.wait_for_the_end()
    person.dock.image.set_layer(image)
    person.wait(lambda: len(person.rows()) == 2)
    assert person.rows()[1][0].startswith(IN_USE)
    person.close()
    person.open()
    person.wait(lambda: len(person.rows()) == 2 and person.dock.session.model is not None)
    person.wait_for_the_end()
    assert person.rows()[1][0].startswith(IN_USE)


def _role(layer) -> str:
    return str(layer.metadata.get("napari_spss", {}).get("role", ""))


def _made_by(layer):
    return layer.metadata["napari_spss"]["made_by"]


def test_runs_that_are_being_listed_are_not_those_of_an_image_that_follows(person, monkeypatch):
    person.train(POOR)
    person.close()
    is_turned, list_runs = threading.Event(), training.list_runs

    def list_late(folder):
        assert is_turned.wait(60)
        return list_runs(folder)

    monkeypatch.setattr(training, "list_runs", list_late)
    person.open()
    person.wait(lambda: person.dock._runs._listing is not None)
    listing, ended = person.dock._runs._listing, []
    listing.ended.connect(ended.append)
    person.dock.image.set_layer(person.viewer.add_image(np.ones((2, 48, 40)), name="new"))
    is_turned.set()
    person.wait(lambda: ended == [listing])
    assert person.rows() == []
    assert not person.dock.session.status.is_busy
