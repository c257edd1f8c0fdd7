"""The model applied to many images: progress, stop, going on, a table, a row that opens one."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
import tifffile
from blobs import annotated, blobs
from napari.layers import Image, Labels
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QLabel,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QTableWidget,
)

from napari_spss.cli import main
from napari_spss.core.annotations import Annotations, lay_grid, write_annotations, write_grid
from napari_spss.gui.layers.source_frame import camera_of
from napari_spss.gui.models import Cleaning, percent_text

pytestmark = pytest.mark.usefixtures("one_torch_thread")

PATIENCE_MS = 300_000


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folder of a run of two classes."""
    stack, truth = blobs(2)
    folder = tmp_path_factory.mktemp("many")
    tifffile.imwrite(folder / "image.tif", np.stack([stack.read(z)[0] for z in range(2)]))
    write_annotations(folder, annotated(truth))
    assert main([*train(folder, "run"), "--set=network.filters=4"]) == 0
    return folder / "run"


def train(folder, name, n_steps=3) -> list[str]:
    """Arguments of a short training."""
    tables = ("--grid", str(folder / "grid.csv"), "--proportions", str(folder / "proportions.csv"))
    settings = (f"optimisation.max_steps={n_steps}", "sampling.crop_px=48", "sampling.batch_size=2")
    more = ("--device=cpu", *(f"--set={one}" for one in settings))
    return ["train", str(folder / "image.tif"), *tables, "--out", str(folder / name), *more]


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
    (tmp_path / "study" / "notes.txt").write_text("no image")
    (tmp_path / "study" / "b" / "weights.csv").write_text("a,b")
    folder = str(tmp_path / "study")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_, **__: folder)
    return tmp_path / "study"


class Person:
    """Sits at a dock with the model of a run, and has the images of a folder listed."""

    def __init__(self, viewer, dock, qtbot, run) -> None:
        self.viewer, self.dock, self._qtbot = viewer, dock, qtbot
        self.dock.trainings.load(run)
        self.wait_for_the_end()
        self.many = self.dock.results.many
        self.table = self.many.findChild(QTableWidget, "many images")

    def wait_for_the_end(self) -> None:
        status = self.dock.session
        self._qtbot.waitUntil(lambda: not status.status.is_busy, timeout=PATIENCE_MS)

    def button(self, name) -> QPushButton:
        (button,) = [one for one in self.many.findChildren(QPushButton) if one.text() == name]
        return button

    def press(self, name) -> None:
        assert self.button(name).isEnabled(), name
        self._qtbot.mouseClick(self.button(name), Qt.MouseButton.LeftButton)

    def click(self, row, column) -> None:
        place = self.table.visualItemRect(self.table.item(row, column)).center()
        self._qtbot.mouseClick(self.table.viewport(), Qt.MouseButton.LeftButton, pos=place)

    def type_group(self, row, text) -> None:
        self.click(row, 1)
        editor = self.table.viewport().findChild(QLineEdit)
        editor.selectAll()
        self._qtbot.keyClicks(editor, text)
        self._qtbot.keyClick(editor, Qt.Key.Key_Return)
        self._qtbot.waitUntil(lambda: self.table.item(row, 1).text() == text)

    def name(self, text) -> None:
        """Name the class of the model anew."""
        edit = self.dock.classes.findChildren(QLineEdit)[1]
        edit.selectAll()
        self._qtbot.keyClicks(edit, text)
        self._qtbot.keyClick(edit, Qt.Key.Key_Return)

    def choose_groups(self, text) -> None:
        groups = self.many.findChild(QComboBox)
        groups.setCurrentIndex(groups.findText(text))
        groups.activated.emit(groups.currentIndex())

    def work(self, name) -> None:
        self.press(name)
        self.wait_for_the_end()

    def column(self, place) -> list[str]:
        return [self.table.item(row, place).text() for row in range(self.table.rowCount())]

    def said(self) -> str:
        return "\n".join(one.text() for one in self.many.findChildren(QLabel))


@pytest.fixture
def person(viewer, naparis_readers, open_dock, qtbot, run, study):
    return Person(viewer, open_dock(), qtbot, run)


def test_a_model_is_applied_to_all_images_of_a_folder(person, study):
    person.press("Add folder…")
    assert person.column(0) == ["a_img", "b_img", "torn.tif"]
    person.work("Apply to all")
    assert person.column(2) == ["done", "done", "failed"]
    out = study.with_name("study_results")
    table = pd.read_csv(out / "images.csv", dtype=str, keep_default_na=False)
    fractions = table.loc[table["class"] == "disc", "fraction"].astype(float)
    shown = [float(text.removesuffix("\u00a0%")) for text in person.column(3)[:2]]
    assert shown == pytest.approx(list(100 * fractions), rel=0.05)
    assert str(out / "images.csv") in person.said()
    assert person.column(3)[2] == ""
    assert "torn.tif" in person.said()
    person.work("Apply to all")
    assert person.column(2) == ["done before", "done before", "failed"]


def test_long_names_that_are_cut_alike_are_told_apart(person, study):
    for animal in ("rat1", "rat2"):
        (study / "b" / f"sub-{animal}_sample-1_SEM.tif").write_bytes(b"II*\0torn")
    for name in ("a/img.tif", "b/img.tif", "b/torn.tif"):
        (study / name).unlink()
    person.press("Add folder…")
    assert person.column(0) == ["rat1", "rat2"]
    assert person.table.item(0, 0).toolTip().endswith("sub-rat1_sample-1_SEM.tif")


def test_what_was_stopped_goes_on(person, study, qtbot):
    (study / "b" / "torn.tif").unlink()
    person.press("Add folder…")
    person.press("Apply to all")
    qtbot.waitUntil(lambda: person.column(2)[0] == "done", timeout=PATIENCE_MS)
    person.dock.session.stop()
    person.wait_for_the_end()
    assert person.column(2)[0] == "done"
    person.work("Apply to all")
    assert person.column(2)[0] == "done before"
    assert person.column(2)[1] in ("done", "done before")
    assert all(person.column(3))


def test_a_row_opens_its_image_with_its_labels(person, study, run):
    person.press("Add folder…")
    person.work("Apply to all")
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
        assert mark["made_by"].items() >= {**told, "smooth_z": False, "min_piece_px": 0}.items()
        assert not mark["is_edited"]
    assert len(person.viewer.layers) == 4  # none is opened twice
    path = out / "b_img" / "labels.ome.tif"
    tifffile.imwrite(path, 1 - stored, photometric="minisblack", metadata={"axes": "ZYX"})
    person.table.cellClicked.emit(1, 0)
    (labels,) = (one for one in person.viewer.layers if one.visible and isinstance(one, Labels))
    assert labels.metadata["napari_spss"]["is_edited"]  # by somebody else, since it was written


def test_an_image_of_fewer_slices_than_the_one_that_is_shown_is_seen(person, study):
    (study / "b" / "torn.tif").unlink()
    person.press("Add folder…")
    person.work("Apply to all")
    person.viewer.add_image(np.zeros((9, 40, 40), np.uint8), name="deep")
    person.viewer.dims.set_current_step(0, 8)
    person.table.cellClicked.emit(0, 0)
    assert person.viewer.dims.current_step[0] == 1
    person.viewer.dims.set_current_step(0, 0)
    person.table.cellClicked.emit(1, 0)
    assert person.viewer.dims.current_step[0] == 0


def test_the_image_of_a_row_fills_the_view_though_a_larger_one_is_open(person, study):
    (study / "b" / "torn.tif").unlink()
    person.press("Add folder…")
    person.work("Apply to all")
    person.viewer.add_image(np.zeros((9, 400, 400), np.uint8), name="large")
    camera = camera_of(person.viewer)
    zoom = camera.zoom
    person.table.cellClicked.emit(0, 0)
    middle = person.viewer.layers.selection.active.extent.world[:, -2:].mean(axis=0)
    assert tuple(camera.center[-2:]) == pytest.approx(tuple(middle))
    assert camera.zoom > 2 * zoom


def table_at(path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


@pytest.fixture
def spss(capsys):
    """The command line: whether each image of the study was computed, or kept as it was."""

    def call(*arguments) -> list[str]:
        capsys.readouterr()
        assert main([str(one) for one in arguments]) == 0, capsys.readouterr().err
        said = capsys.readouterr().err.splitlines()
        ends = [line for line in said if "img" in line and line.endswith(("kept", "done"))]
        return [line.split()[-1] for line in ends]

    return call


def test_files_that_are_no_images_are_left_out_and_said(person, study):
    person.press("Add folder…")
    # one is called as its results, since there are two
    assert person.column(0) == ["a_img", "b_img", "torn.tif"]
    (study / "a" / "img.tif.spss").mkdir()
    (study / "a" / "img.json").write_text('{"PixelSize": [0.1, 0.1]}')
    person.press("Add folder…")
    assert "2 files left out as no images: weights.csv, notes.txt." in person.said()
    for name in ("c.txt", "d.txt"):
        (study / name).touch()
    person.press("Add folder…")
    assert "4 files left out as no images: " in person.said()
    assert " and 1 more." in person.said()


def test_groups_are_typed_or_filled_and_become_a_column_of_the_table(person, study):
    (study / "b" / "torn.tif").unlink()
    person.press("Add folder…")
    person.many.findChild(QLineEdit).setText(str(study.parent / "out"))
    person.choose_groups("by folder")
    assert person.column(1) == ["a", "b"]
    person.type_group(1, "rat 2")
    assert person.many.findChild(QComboBox).currentText() == "as typed"
    person.press("Add folder…")  # the list is as it was
    assert person.column(1) == ["a", "rat 2"]
    person.work("Apply to all")
    table = table_at(study.parent / "out" / "images.csv")
    assert list(table["group"]) == ["a", "a", "rat 2", "rat 2"]


def test_an_image_without_a_group_among_others_is_told_before_anything_begins(person, study):
    person.press("Add folder…")
    person.type_group(0, "rat 1")
    person.press("Apply to all")
    assert not person.dock.session.status.is_busy
    assert "b/img.tif has no group; name one for each image." in person.said()
    assert not study.with_name("study_results").exists()


def test_one_folder_is_no_group(person, study):
    (study / "a" / "img.tif").unlink()
    person.press("Add folder…")
    person.choose_groups("by folder")
    assert "makes them one group" in person.said()
    assert person.many.findChild(QComboBox).currentText() == "none"
    assert person.column(1) == ["", ""]


@pytest.fixture
def measured(person, study):
    """The results of two images of two groups, one of them with a check count, are measured."""
    (study / "b" / "torn.tif").unlink()
    person.press("Add folder…")
    assert not person.button("Measure all").isEnabled()
    person.choose_groups("by folder")
    person.work("Apply to all")
    return person


def write_check(path, labels) -> None:
    """Count frames as the labels say, but for one node."""
    grids = []
    for z, plane in enumerate(labels):
        grid = lay_grid(z, plane.shape, n_side=8, rng=np.random.default_rng(9 + z))
        rows, columns = (np.floor(axis + 0.5).astype(int) for axis in (grid.y, grid.x))
        judged = plane[rows, columns].astype(int)
        judged[0] = 1 - judged[0]
        grids.append(grid.replace(class_index=judged, is_done=True))
    write_grid(path, Annotations(("background", "disc"), grids=tuple(grids)))


def test_measuring_gives_tables_estimates_and_the_mean_of_groups(measured, study, spss, run):
    out = study.with_name("study_results")
    for name in ("a_img", "b_img"):
        write_check(out / name / "check.csv", tifffile.imread(out / name / "labels.ome.tif"))
    measured.work("Measure all")
    assert measured.column(2) == ["done", "done"]
    estimates = table_at(out / "estimates" / "images.csv")
    corrected = estimates[estimates["method"] == "labels, corrected"]
    shown = [text.replace("\u00a0", " ") for text in measured.column(3)]
    for text, (_, row) in zip(shown, corrected.iterrows(), strict=True):
        values = [percent_text(float(row[key])) for key in ("fraction", "low", "high")]
        assert text == "{} % ({}\u2013{} %)".format(*values)
    assert list(corrected["group"]) == ["a", "b"]
    objects = list((out / "tables").glob("*/fractions_objects.csv"))
    assert len(objects) == 2
    assert "surface_um2_per_um3" in table_at(out / "tables" / "images.csv").columns
    overall = table_at(out / "estimates" / "overall.csv").set_index("method")
    mean = overall.loc["labels, corrected"]
    assert "mean of 2 groups" in mean["assumes"]
    said = measured.said().replace("&nbsp;", " ")
    assert "Mean of 2 groups" in said
    for key in ("fraction", "low", "high"):
        assert percent_text(float(mean[key])) in said
    groups = study.parent / "animals.csv"
    groups.write_text("image,group\na_img,a\nb_img,b\n")
    names = [str(out / name) for name in ("a_img", "b_img")]
    both = (*names, "--groups", str(groups))
    assert spss("measure", *both, "--out", str(out / "tables")) == ["kept", "kept"]
    more = ("--check", "check.csv", "--run", str(run), "--out", str(out / "estimates"))
    assert spss("estimate", *both, *more) == ["kept", "kept"]
    again = table_at(out / "estimates" / "overall.csv").set_index("method")
    pd.testing.assert_frame_equal(again, overall)


def test_what_the_command_line_has_applied_is_known_to_the_dock_and_the_reverse(
    person, study, spss, run
):
    (study / "b" / "torn.tif").unlink()
    out = study.with_name("study_results")
    command = ("predict", str(run), str(study), "--each", "--out", str(out), "--device", "cpu")
    assert spss(*command, "--groups", "folder") == ["done", "done"]
    person.press("Add folder…")
    assert person.column(1) == ["a", "b"]
    assert person.column(2) == ["done before", "done before"]
    assert all(person.column(3))
    person.work("Apply to all")
    assert person.column(2) == ["done before", "done before"]
    assert spss(*command) == ["kept", "kept"]
    person.type_group(0, "rat 1")
    person.type_group(1, "rat 2")
    person.work("Measure all")
    person.press("Clear")
    person.press("Add folder…")
    assert person.column(1) == ["rat 1", "rat 2"]


def test_other_images_after_clear_get_a_place_of_their_own(person, study, monkeypatch):
    place = person.many._out
    person.press("Add folder…")
    assert place.text() == str(study.with_name("study_results"))
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_, **__: str(study / "b"))
    person.press("Clear")
    person.press("Add folder…")
    assert place.text() == str(study / "b_results")
    place.setText("elsewhere")
    person.press("Clear")
    person.press("Add folder…")
    assert place.text() == "elsewhere", "it was typed"


def test_one_group_tells_no_spread_and_without_groups_there_is_no_mean(measured, study):
    measured.work("Measure all")
    assert "Mean of 2 groups" in measured.said()
    measured.type_group(0, "b")
    assert "Mean of 2 groups" not in measured.said()  # it was of others
    measured.choose_groups("by folder")
    assert "Mean of 2 groups" in measured.said()
    measured.choose_groups("none")
    assert "Mean of 2 groups" not in measured.said()
    measured.choose_groups("by folder")
    measured.type_group(0, "b")
    measured.work("Measure all")
    assert "has no interval: all images are of group b" in measured.said()
    assert "Mean of 1 group" in measured.said()
    measured.choose_groups("none")
    measured.work("Measure all")
    assert "Mean of" not in measured.said()
    assert "Name the group of each image" in measured.said()
    assert not (study.with_name("study_results") / "estimates" / "overall.csv").exists()


def test_volumes_are_measured_as_such_beside_an_image_without_depth(measured, study):
    objects = measured.dock.results.objects
    names = measured.dock.session.model.classes
    for is_stack in (True, False):  # the chosen image is a time series, or one slice
        objects.set_classes(names, is_stack=is_stack, is_size_known=False)
    assert objects.value().per_slice
    measured.work("Measure all")
    tables = study.with_name("study_results") / "tables"
    for path in tables.glob("*/fractions_objects.csv"):
        assert "voxels" in pd.read_csv(path).columns


def test_a_class_that_is_named_anew_has_its_name_in_all_tables(measured, study):
    out = study.with_name("study_results")
    write_check(out / "a_img" / "check.csv", tifffile.imread(out / "a_img" / "labels.ome.tif"))
    measured.work("Measure all")
    measured.name("vesicle")
    measured.work("Measure all")
    for folder in ("tables", "estimates"):
        names = set(table_at(out / folder / "images.csv")["class"])
        assert names - {"background"} == {"vesicle"}
    assert measured.column(2) == ["done", "done"]
    corrected = table_at(out / "estimates" / "images.csv")["method"] == "labels, corrected"
    assert corrected.any()
    measured.work("Apply to all")
    assert measured.column(2) == ["done", "done"]
    assert set(table_at(out / "images.csv")["class"]) == {"background", "vesicle"}
    measured.work("Measure all")
    assert measured.column(2) == ["done", "done"]


def test_results_of_a_run_that_moved_with_its_project_are_measured(measured, study, run, tmp_path):
    shutil.copytree(run, tmp_path / "runs" / run.name)
    measured.dock.controller.follow_runs(run.parent, tmp_path / "runs")
    out = study.with_name("study_results")
    measured.work("Measure all")
    assert (out / "tables" / "images.csv").is_file()
    shutil.rmtree(out)
    measured.work("Apply to all")
    measured.work("Measure all")
    assert (out / "tables" / "images.csv").is_file()


def test_holes_and_small_pieces_are_as_the_dock_says(measured, study):
    out = study.with_name("study_results") / "a_img"
    plain = tifffile.imread(out / "labels.ome.tif")
    results = measured.dock.results
    (fill,) = [one for one in results.findChildren(QCheckBox) if one.text() == "fill holes"]
    fill.setChecked(True)
    (size,) = [one for one in results.findChildren(QSpinBox) if "of at least" in one.prefix()]
    size.setValue(40)
    measured.work("Apply to all")
    cleaned = np.stack([Cleaning(0.5, True, 40).clean(plane) for plane in plain])
    assert not np.array_equal(cleaned, plain)
    assert np.array_equal(tifffile.imread(out / "labels.ome.tif"), cleaned)


def test_no_image_waits_for_what_is_refused(measured, study, monkeypatch):
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_, **__: str(study / "a"))
    place = measured.many._out.text()
    measured.press("Clear")
    measured.press("Add folder…")
    measured.many._out.setText(place)
    (fill,) = [
        one for one in measured.dock.results.findChildren(QCheckBox) if one.text() == "fill holes"
    ]
    fill.setChecked(True)
    measured.work("Apply to all")
    assert "has 1 image for which another state of the model or other options" in measured.said()
    assert measured.column(2) == ["done before"]


def test_results_of_another_model_are_not_measured(measured, study, run):
    assert main(train(run.parent, "other", n_steps=1)) == 0
    measured.dock.trainings.load(run.parent / "other")
    measured.wait_for_the_end()
    measured.press("Measure all")
    assert "another folder for the results" in measured.said()
    assert not (study.with_name("study_results") / "tables").exists()


def test_a_result_that_was_saved_from_the_dock_stays(measured, study, qtbot):
    out = study.with_name("study_results") / "a_img"
    measured.click(0, 0)
    controller = measured.dock.controller
    qtbot.waitUntil(lambda: measured.dock.source is not None, timeout=PATIENCE_MS)
    assert controller.apply("stack")
    measured.wait_for_the_end()
    (layer,) = [one for one in measured.viewer.layers if isinstance(one, Labels) and one.editable]
    layer.data[0, :9, :9] = 1
    layer.events.paint(value=[])
    before = tifffile.imread(out / "labels.ome.tif")
    assert controller.save(out, has_run=False)
    measured.wait_for_the_end()
    saved = tifffile.imread(out / "labels.ome.tif")
    assert not np.array_equal(saved, before)
    measured.work("Apply to all")
    assert np.array_equal(tifffile.imread(out / "labels.ome.tif"), saved)
    assert "a_img: its result was saved from the dock, and stays as it is." in measured.said()
