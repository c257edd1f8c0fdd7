"""Objects of a result: found in a thread, shown as a layer with a table, and gone to and fro."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyqtgraph as pg
import pytest
from eye import button, choice, pick, wait
from fake_core import store
from hand import Hand
from napari.components import ViewerModel
from qtpy.QtCore import QItemSelectionModel, Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QLabel,
    QLineEdit,
    QPushButton,
    QTableView,
)
from superqt import QLabeledDoubleSlider

from napari_spss.core.annotations import Annotations, ClassStyle, Proportion, Region
from napari_spss.core.base import FinishReason, Predicted, RunFinished, RunStarted, read_origin
from napari_spss.gui import controller as controller_module
from napari_spss.gui.dock import SpssDock
from napari_spss.gui.layers import layer_mark
from napari_spss.gui.widgets.object_table import ObjectTable
from napari_spss.gui.widgets.plots import Histogram

CLASSES = ("background", "mitochondria")
SAID = Annotations(CLASSES, proportions=(Proportion(Region(0), (None, 0.1)),))
LABELS = np.zeros((4, 60, 80), np.uint8)
LABELS[1:3, 5:15, 5:15] = 1  # 200 voxels
LABELS[0:4, 40:50, 40:70] = 1  # 1200, at the border
LABELS[2, 30, 70] = 1


def predict(model, stack, maps, regions, *_, token, **__):
    """Stand in for `jobs.apply_model`: the probabilities of `LABELS`."""
    yield RunStarted("prediction", len(regions), "cpu", model.classes)
    for region in regions:
        objects = 0.8 * LABELS[region.slice].astype(np.float32)
        store(maps, region.slice, np.stack([1 - objects, objects]))
        yield Predicted(region.slice, None)
    yield RunFinished(FinishReason.completed, len(regions), 0.1)


@pytest.fixture
def dock(viewer, open_dock, fake_runs, monkeypatch, qtbot):
    """A dock with a result that holds three objects."""
    monkeypatch.setattr(controller_module, "apply_model", predict)
    image = 10 * np.arange(4, dtype=np.uint8)[:, None, None] + np.zeros_like(LABELS)
    viewer.add_image(image, name="tissue", scale=(0.1, 0.01, 0.01), units="um")
    dock = open_dock()
    dock.annotate.set_value(SAID)
    assert dock.start_training()
    wait(dock, qtbot)
    dock.controller.apply("stack")
    wait(dock, qtbot)
    return dock


def part(dock, kind, text):
    """Find the widget of this kind in the section by its text or tooltip."""
    found = [
        one
        for one in dock.results.objects.findChildren(kind)
        if text in one.toolTip() or (hasattr(one, "text") and text in one.text())
    ]
    assert len(found) == 1
    return found[0]


def find(dock, qtbot, size="", *, per_slice=False, unit=None):
    part(dock, QComboBox, "In the volume").setCurrentIndex(int(per_slice))
    part(dock, QLineEdit, "Smaller objects").setText(size)
    if unit is not None:
        part(dock, QComboBox, "Micrometres").setCurrentText(unit)
    part(dock, QPushButton, "Find objects").click()
    wait(dock, qtbot)


def rows(dock):
    """Texts of the table's rows by title."""
    model = dock.results.objects.findChild(QTableView).model()
    titles = [model.headerData(i, Qt.Orientation.Horizontal) for i in range(model.columnCount())]
    return [
        {title: model.index(row, i).data() for i, title in enumerate(titles)}
        for row in range(model.rowCount())
    ]


def told(dock):
    labels = dock.results.objects.findChildren(QLabel)
    return "\n".join(one.text() for one in labels if one.isVisibleTo(dock.results.objects))


def objects_layer(dock, viewer):
    return viewer.layers["tissue mitochondria objects"]


def test_columns_of_other_packages_that_fail_are_told_beside_the_table(dock, qtbot, install):
    code = "def f(mask):\n    if mask.sum() > 200:\n        raise ValueError('too many')\n"
    code += "    return 1\n"
    install("spss_knobs", code, "napari_spss.object_properties", "knobs = spss_knobs:f")
    find(dock, qtbot, "300")
    assert "'knobs' of an installed package failed on 1 object of mitochondria" in told(dock)
    find(dock, qtbot, "2")
    assert [row["knobs"] for row in rows(dock)] == ["", "1"]
    assert "too many" in told(dock)
    dock.controller.outcome.forget_objects()
    assert "too many" not in told(dock)


def test_the_histogram_counts_in_whole_objects(dock, qtbot):
    find(dock, qtbot)
    axis = dock.results.objects.findChild(Histogram).findChild(pg.PlotWidget).getAxis("left")
    ticks = [tick for _, ticks in axis.tickValues(0, 1.1, 100) for tick in ticks]
    assert set(ticks) == {0, 1}


@pytest.mark.parametrize("how", ["another array", "cropped"])
def test_objects_are_shown_again_beside_pixels_that_took_their_place(dock, viewer, qtbot, how):
    find(dock, qtbot)
    theirs = objects_layer(dock, viewer)
    theirs.data = theirs.data[:, :30] if how == "cropped" else np.where(theirs.data == 2, 0, 7)
    assert "kept in the layer 'tissue mitochondria objects edited'" in dock.bar.text()
    assert theirs.name == "tissue mitochondria objects edited"
    layer = objects_layer(dock, viewer)
    assert set(np.unique(layer.data)) == {0, 1, 2, 3}
    layer.selected_label = 2
    button(dock.results.objects, "Delete (D)").click()
    assert set(np.unique(layer.data)) == {0, 1, 3}
    assert [row["object"] for row in rows(dock)] == ["1", "3"]
    assert set(np.unique(theirs.data)) == ({0, 2} if how == "cropped" else {0, 7})


def test_objects_of_a_volume_that_became_a_time_series_are_found_anew_in_each_slice(
    dock, viewer, qtbot
):
    find(dock, qtbot)
    found = dock.controller.outcome.objects
    assert not found.request.per_slice
    viewer.layers["tissue"].axis_labels = ("t", "y", "x")
    section = dock.results.objects
    for restored in (None, found):
        section.set_objects(restored)
    assert section.value().per_slice


def test_objects_become_a_layer_with_a_table(dock, viewer, qtbot):
    find(dock, qtbot)
    layer = objects_layer(dock, viewer)
    assert ((layer.data > 0) == (LABELS > 0)).all()
    assert layer.features["index"].tolist() == [1, 2, 3]
    assert layer.features["voxels"].tolist() == [1200, 200, 1]
    assert layer.features["mean_probability"].to_numpy() == pytest.approx(0.8, abs=0.001)
    assert layer.features["mean_grey"].tolist() == [15, 15, 20]
    assert layer.visible
    made_by, labels = layer_mark(layer)["made_by"], layer_mark(viewer.layers["tissue labels"])
    assert made_by.items() >= labels["made_by"].items()
    assert (made_by["class_name"], made_by["split"]) == ("mitochondria", None)
    assert (made_by["threshold"], made_by["is_edited"]) == (0.5, False)
    assert not viewer.layers["tissue labels"].visible
    assert [row["volume\nµm³"] for row in rows(dock)] == ["0.012", "0.002", "1e-05"]
    assert "3 objects, 1 at the border" in told(dock)
    assert "3 objects" in dock.bar.text()


@pytest.mark.parametrize(
    ("size", "unit", "found"),
    [("5", "voxels", 2), ("0.005", "µm³", 1), ("0,005", "µm³", 1), ("", "µm³", 3)],
)
def test_small_objects_are_left_out(dock, viewer, qtbot, size, unit, found):
    find(dock, qtbot, size, unit=unit)
    assert len(rows(dock)) == found
    assert objects_layer(dock, viewer).data.max() == found


def test_figures_show_the_sizes_of_the_objects_that_were_found(dock, viewer, qtbot, tmp_path):
    def median():
        dock.figures.save(str(tmp_path), ("svg",), False)
        qtbot.waitUntil(lambda: "Saved in" in dock.bar.text(), timeout=60_000)
        return (tmp_path / "sizes.svg").read_text()

    assert ">mitochondria: 3 objects, median" in median()
    find(dock, qtbot, "5")
    assert ">mitochondria: 2 objects, median" in median()
    dock.results.findChild(QLabeledDoubleSlider).setValue(0.9)  # nothing is left
    wait(dock, qtbot)
    assert ">mitochondria: no objects" in median()
    assert any("Find them again" in text for _, text in dock.session.messages)


def test_objects_of_each_slice(dock, viewer, qtbot):
    find(dock, qtbot, per_slice=True)
    assert len(rows(dock)) == 7
    assert {row["area\nµm²"] for row in rows(dock)} == {"0.03", "0.01", "0.0001"}


def test_objects_of_time_points_are_those_of_each(dock, viewer, qtbot):
    find(dock, qtbot)
    viewer.layers["tissue"].axis_labels = ("t", "y", "x")
    assert "find the objects again" in told(dock)
    assert not part(dock, QComboBox, "In the volume").isEnabled()
    part(dock, QComboBox, "Micrometres").setCurrentText("µm²")
    part(dock, QPushButton, "Find objects").click()
    wait(dock, qtbot)
    assert len(rows(dock)) == 7


@pytest.mark.parametrize("size", ["many", "-3", "nan"])
def test_a_size_that_is_none_is_told_beside_its_field(dock, viewer, qtbot, size):
    find(dock, qtbot, size)
    assert f"'{size}' is no size" in told(dock)
    assert "tissue mitochondria objects" not in viewer.layers
    find(dock, qtbot, "5")
    assert "no size" not in told(dock)


def test_units_follow_what_is_known(dock, viewer, qtbot):
    box = part(dock, QComboBox, "Micrometres")
    assert [box.itemText(i) for i in range(box.count())] == ["voxels", "µm³"]
    part(dock, QComboBox, "In the volume").setCurrentIndex(1)
    assert [box.itemText(i) for i in range(box.count())] == ["px", "µm²"]


def test_a_row_leads_to_its_object_and_an_object_to_its_row(dock, viewer, qtbot):
    find(dock, qtbot)
    layer, table = objects_layer(dock, viewer), dock.results.objects.findChild(QTableView)
    viewer.dims.set_current_step(0, 0)
    place = table.model().index(1, 0)
    table.clicked.emit(place)
    assert viewer.dims.current_step[0] == 1
    assert layer.selected_label == 2
    centre = np.array(getattr(viewer, "scene", viewer).camera.center)[-2:]
    assert centre == pytest.approx([0.32, 0.32], abs=0.1)
    layer.selected_label = 3
    (chosen,) = table.selectionModel().selectedRows()
    assert chosen.row() == 2
    table.selectionModel().select(place, QItemSelectionModel.SelectionFlag.ClearAndSelect)
    assert layer.selected_label == 3  # only what the user clicks on leads there


@pytest.mark.window
def test_a_click_on_an_object_chooses_it(dock, viewer, qtbot):
    dock.window().show()
    find(dock, qtbot)
    layer, table = objects_layer(dock, viewer), dock.results.objects.findChild(QTableView)
    hand = Hand(viewer, layer)
    viewer.dims.set_current_step(0, 1)
    hand.drag([(1, 10, 10), (1, 12, 14)])
    assert not table.selectionModel().selectedRows()
    hand.click((1, 45, 50))
    hand.click((1, 30, 30))  # nothing is there
    hand.click((1, 10, 10))
    assert layer.selected_label == 2
    assert [one.row() for one in table.selectionModel().selectedRows()] == [1]


def test_rows_are_sorted_and_filtered_by_their_numbers(dock, viewer, qtbot):
    find(dock, qtbot)
    table = dock.results.objects.findChild(QTableView)
    table.sortByColumn(1, Qt.SortOrder.AscendingOrder)
    assert [row["object"] for row in rows(dock)] == ["3", "2", "1"]
    part(dock, QComboBox, "Which number").setCurrentText("volume, µm³")
    edits = [e for e in dock.results.objects.findChildren(QLineEdit) if "limits" in e.toolTip()]
    edits[0].setText("0.001")
    assert [row["object"] for row in rows(dock)] == ["2", "1"]
    edits[1].setText("0.01")
    assert [row["object"] for row in rows(dock)] == ["2"]
    assert "1 of 3 objects" in told(dock)
    edits[0].clear()
    edits[1].clear()
    part(dock, QCheckBox, "touch the border").setChecked(True)
    assert [row["object"] for row in rows(dock)] == ["3", "2"]


def test_a_long_table_is_not_read_as_a_whole_to_be_shown(qtbot, monkeypatch):
    table = ObjectTable()
    qtbot.addWidget(table)
    n_rows, read = 5000, set()
    model = type(table.model().sourceModel())
    text_of = model.data

    def read_text(self, index, role=Qt.ItemDataRole.DisplayRole):
        if role == Qt.ItemDataRole.DisplayRole:
            read.add(index.row())
        return text_of(self, index, role)

    monkeypatch.setattr(model, "data", read_text)
    numbers = np.arange(1, n_rows + 1)
    table.set_table(pd.DataFrame({"object": numbers, "pixels": numbers}))
    table.grab()
    assert len(read) < n_rows // 10


def test_labels_that_changed_since_are_told(dock, viewer, qtbot):
    find(dock, qtbot)
    assert "have changed since" not in told(dock)
    layer = viewer.layers["tissue labels"]
    before = layer.data.copy()
    dock.results.findChild(QLabeledDoubleSlider).setValue(0.9)
    qtbot.waitUntil(lambda: not np.array_equal(layer.data, before))
    qtbot.waitUntil(lambda: "have changed since" in told(dock))
    assert objects_layer(dock, viewer).data.any()


def test_objects_of_a_part_of_the_stack_are_told_to_be_cut(dock, viewer, qtbot):
    find(dock, qtbot)
    assert not any("objects end where" in text for _, text in dock.session.messages)
    assert dock.start_training()
    wait(dock, qtbot)
    dock.controller.apply("slice")
    wait(dock, qtbot)
    find(dock, qtbot)
    assert any("objects end where" in text for _, text in dock.session.messages)


def test_the_table_is_saved(dock, viewer, qtbot, tmp_path, monkeypatch):
    find(dock, qtbot)
    path = tmp_path / "objects.csv"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    part(dock, QPushButton, "Save table").click()
    table = pd.read_csv(path)
    assert table["voxels"].tolist() == [1200, 200, 1]
    assert read_origin(path) == layer_mark(objects_layer(dock, viewer))["made_by"]
    assert {"z0", "is_counted", "axis_minor_px"} <= {*table}
    assert dock.bar.text() == f"Saved in {tmp_path}: objects.csv."
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "no/o.csv"), ""))
    part(dock, QPushButton, "Save table").click()
    assert "no" in told(dock)


def test_objects_belong_to_their_image(dock, viewer, qtbot):
    find(dock, qtbot)
    tissue = viewer.layers["tissue"]
    other = viewer.add_image(np.zeros((2, 20, 20), np.uint8), name="other")
    choose = part_of_image(dock)
    choose.setCurrentText("other")
    qtbot.waitUntil(lambda: dock.image.value().layer is other)
    assert not part(dock, QPushButton, "Find objects").isEnabled()
    assert not dock.results.objects.findChild(QTableView).isVisibleTo(dock.results.objects)
    choose.setCurrentText("tissue")
    qtbot.waitUntil(lambda: dock.image.value().layer is tissue)
    assert len(rows(dock)) == 3


def part_of_image(dock):
    """Find the box in which the image is chosen."""
    (box,) = [b for b in dock.image.findChildren(QComboBox) if b.findText("tissue") >= 0]
    return box


@pytest.fixture
def of_two_classes(fake_runs, monkeypatch, qtbot):
    """Open docks with a result in which object 1 is a mitochondrion; the others are nuclei."""
    monkeypatch.setattr(controller_module, "apply_model", predict_two)
    names = (*CLASSES, "nuclei")
    docks = []

    def begin():
        viewer = ViewerModel()
        viewer.add_image(TWO, name="tissue")
        dock = SpssDock(viewer, is_probing=False)
        qtbot.addWidget(dock)
        docks.append(dock)
        if not dock.annotations().proportions:
            styles = [ClassStyle(*one) for one in zip(names, COLOURS, "QWE", strict=True)]
            dock.classes.set_value(styles)
            said = Proportion(Region(0), (None, 0.1, 0.1))
            dock.annotate.set_value(Annotations(names, proportions=(said,)))
        return dock, viewer

    def apply(dock):
        assert dock.start_training()
        wait(dock, qtbot)
        dock.controller.apply("stack")
        wait(dock, qtbot)

    yield begin, apply
    for dock in docks:
        dock.shut_down()


COLOURS = ("#999999", "#E69F00", "#0072B2")
TWO = np.zeros((2, 60, 80), np.uint8)
TWO[:, 5:15, 5:15] = 1
TWO[:, 5:15, 45:55] = 1
TWO[:, 40:50, 5:15] = 2
TWO[:, 40:50, 45:55] = 2


def predict_two(model, stack, maps, regions, *_, token, **__):
    """Stand in for `jobs.apply_model`: the probabilities of `TWO`."""
    yield RunStarted("prediction", len(regions), "cpu", model.classes)
    for region in regions:
        classes = [0.8 * (TWO[region.slice] == index) + 0.1 for index in range(3)]
        store(maps, region.slice, np.stack(classes).astype(np.float32))
        yield Predicted(region.slice, None)
    yield RunFinished(FinishReason.completed, len(regions), 0.1)


def find_of(dock, qtbot, name):
    pick(choice(dock.results.objects, "mitochondria"), name)
    button(dock.results.objects, "Find objects").click()
    wait(dock, qtbot)


def act_on(dock, row, text):
    """Choose an object by its row, and press a button."""
    table = dock.results.objects.findChild(QTableView)
    table.clicked.emit(table.model().index(row, 0))
    button(dock.results.objects, text).click()


def labels_of(dock, viewer, qtbot):
    wait(dock, qtbot)
    return viewer.layers["tissue labels"].data


def test_what_was_done_to_objects_of_each_class_is_kept(of_two_classes, qtbot):
    begin, apply = of_two_classes
    dock, viewer = begin()
    apply(dock)
    expected = TWO.copy()
    part(dock, QLineEdit, "Smaller objects").setText("12")
    part(dock, QCheckBox, "Split objects").click()
    for name, y in (("mitochondria", 5), ("nuclei", 40)):
        find_of(dock, qtbot, name)
        assert len(rows(dock)) == 2
        act_on(dock, 0, "Delete (D)")
        act_on(dock, 0, "Keep (K)")
        expected[:, y : y + 10, 5:15] = 0
        assert (labels_of(dock, viewer, qtbot) == expected).all()
    assert "What you did to objects of mitochondria is kept" in told(dock)
    project = dock.project.folder
    dock.shut_down()

    dock, viewer = begin()
    qtbot.waitUntil(lambda: "tissue nuclei objects" in viewer.layers, timeout=60_000)
    assert "What you did to objects of mitochondria is kept" in told(dock)
    assert part(dock, QLineEdit, "Smaller objects").text() == "12"
    assert part(dock, QCheckBox, "Split objects").isChecked()
    apply(dock)
    assert choice(dock.results.objects, "mitochondria").currentText() == "nuclei"
    assert (labels_of(dock, viewer, qtbot) == expected).all()
    find_of(dock, qtbot, "mitochondria")
    assert "1 object of mitochondria judged or edited" in told(dock)
    button(dock.results.objects, "Keep these, find others").click()
    wait(dock, qtbot)
    assert len(rows(dock)) == 1
    assert ((viewer.layers["tissue mitochondria objects"].data > 0) == (expected == 1)).all()
    assert not viewer.layers["tissue nuclei objects"].editable  # as long as it is not shown
    find_of(dock, qtbot, "nuclei")
    button(dock.results.objects, "Begin anew").click()
    wait(dock, qtbot)
    assert len(rows(dock)) == 2
    expected[:, 40:50, 5:15] = 2
    assert (labels_of(dock, viewer, qtbot) == expected).all()
    assert "tissue nuclei objects edited" in viewer.layers
    dock.shut_down()

    kept = {path.name for path in (project / "objects").iterdir()}
    assert kept == {"slice_00000.tif", "slice_00001.tif"}
    dock, viewer = begin()
    qtbot.waitUntil(lambda: "tissue mitochondria objects" in viewer.layers, timeout=60_000)
    assert "is kept" not in told(dock)


def test_another_image_leaves_the_objects_of_each_class(of_two_classes, qtbot):
    begin, apply = of_two_classes
    dock, viewer = begin()
    apply(dock)
    for name in ("mitochondria", "nuclei"):
        find_of(dock, qtbot, name)
        act_on(dock, 0, "Delete (D)")
    image = viewer.layers["tissue"]
    dock.image.set_layer(viewer.add_image(TWO + 1, name="other"))
    dock.image.set_layer(image)
    act_on(dock, 0, "Keep (K)")
    dock.shut_down()
    dock, viewer = begin()
    qtbot.waitUntil(lambda: "tissue nuclei objects" in viewer.layers, timeout=60_000)
    apply(dock)
    labels = labels_of(dock, viewer, qtbot)
    assert not labels[:, :, 5:15].any()
    assert (labels[:, :, 45:55] == TWO[:, :, 45:55]).all()


def test_restored_objects_follow_classes_that_swap_their_names(of_two_classes, qtbot):
    begin, apply = of_two_classes
    dock, viewer = begin()
    apply(dock)
    find_of(dock, qtbot, "nuclei")
    act_on(dock, 0, "Keep (K)")
    dock.shut_down()
    dock, viewer = begin()
    qtbot.waitUntil(lambda: "tissue nuclei objects" in viewer.layers, timeout=60_000)
    for before, now in (("mitochondria", "a"), ("nuclei", "mitochondria"), ("a", "nuclei")):
        field = next(one for one in dock.classes.findChildren(QLineEdit) if one.text() == before)
        field.setText(now)
        field.editingFinished.emit()
    button(dock.classes, "Add class").click()
    assert [*dock.controller.outcome.proofread] == ["mitochondria"]
    assert "tissue mitochondria objects" in viewer.layers


def test_objects_that_came_back_have_their_probability_once_there_are_maps(of_two_classes, qtbot):
    begin, apply = of_two_classes
    dock, viewer = begin()
    apply(dock)
    find_of(dock, qtbot, "nuclei")
    act_on(dock, 0, "Keep (K)")
    before = viewer.layers["tissue nuclei objects"].features
    dock.shut_down()
    dock, viewer = begin()
    qtbot.waitUntil(lambda: "tissue nuclei objects" in viewer.layers, timeout=60_000)
    layer = viewer.layers["tissue nuclei objects"]
    act_on(dock, 1, "Keep (K)")
    apply(dock)
    qtbot.waitUntil(lambda: "mean_probability" in layer.features)
    assert layer.features.equals(before)
    assert viewer.layers["tissue labels"].visible
    assert not layer.visible
    button(dock.results.objects, "Undo").click()  # what was done before
    assert "1 judged" in told(dock)


def test_the_same_image_in_a_second_layer_keeps_what_was_done_to_objects(of_two_classes, qtbot):
    begin, apply = of_two_classes
    dock, viewer = begin()
    apply(dock)
    for name in ("mitochondria", "nuclei"):
        find_of(dock, qtbot, name)
        act_on(dock, 0, "Delete (D)")
    first = viewer.layers["tissue"]
    second = viewer.add_image(TWO.copy(), name="again")
    dock.image.set_layer(second)
    qtbot.waitUntil(lambda: len(rows(dock)) == 1)
    apply(dock)
    find_of(dock, qtbot, "nuclei")
    assert "edited objects of nuclei" in told(dock)
    act_on(dock, 0, "Delete (D)")
    wait(dock, qtbot)
    expected = TWO.copy()
    expected[:, :, 5:15] = 0
    expected[expected == 2] = 0
    assert (viewer.layers["again labels"].data == expected).all()
    dock.image.set_layer(first)
    qtbot.waitUntil(lambda: dock.controller.outcome.objects is not None)
    assert len(rows(dock)) == 0
    wait(dock, qtbot)
    assert (labels_of(dock, viewer, qtbot) == expected).all()
    dock.shut_down()
    dock, viewer = begin()
    qtbot.waitUntil(lambda: "tissue nuclei objects" in viewer.layers, timeout=60_000)
    apply(dock)
    assert (labels_of(dock, viewer, qtbot) == expected).all()
