"""What the menus Layers > Measure and File > IO Utilities do, for layers of any origin."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tifffile
from eye import button
from qtpy.QtCore import QPointF, Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QFileDialog, QLabel, QWidget

from napari_spss.core.base import read_origin
from napari_spss.core.images import WRITERS, StackLayout
from napari_spss.gui import measuring
from napari_spss.gui.measuring import MeasureLabels, take_voxel_size

LABELS = np.zeros((4, 40, 50), np.uint8)
LABELS[:, 5:15, 5:25] = 1
LABELS[2, 20:30, 20:30] = 1


@pytest.fixture
def make(viewer, qtbot):
    def measure(**kwargs):
        layer = viewer.add_labels(kwargs.pop("data", LABELS), **kwargs)
        widget = MeasureLabels(viewer)
        qtbot.addWidget(widget)
        widget.show()
        return layer, widget

    return measure


def press(qtbot, widget, text):
    qtbot.mouseClick(button(widget, text), Qt.MouseButton.LeftButton)


def told(widget):
    return "\n".join(one.text() for one in widget.findChildren(QLabel) if one.isVisible())


def measured(qtbot, widget):
    press(qtbot, widget, "Measure")
    qtbot.waitUntil(lambda: button(widget, "Save CSV…").isEnabled(), timeout=60_000)


def test_a_labels_layer_is_measured_in_its_units_and_saved(make, qtbot, tmp_path, monkeypatch):
    _, widget = make(scale=(40, 5, 5), units=("nm",) * 3)
    measured(qtbot, widget)
    assert "foreground: 11.25 %" in told(widget) or ": 11.25 %" in told(widget)
    assert "2 objects" in told(widget)
    path = tmp_path / "table.csv"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    press(qtbot, widget, "Save CSV…")
    objects = pd.read_csv(tmp_path / "table_objects.csv")
    assert objects["volume_um3"].tolist() == pytest.approx([800 * 1e-6, 100 * 1e-6])
    press(qtbot, widget, "Save CSV…")
    assert "choose another place" in told(widget)


def test_a_layer_that_is_mostly_object_is_in_no_doubt(make, qtbot):
    labels = np.ones((2, 40, 30), np.uint8)
    labels[:, :4] = 0
    _, widget = make(data=labels)
    measured(qtbot, widget)
    assert ": 90.00 %" in told(widget)
    assert "--classes" not in told(widget)  # the viewer shows which value is the background


def test_time_points_are_no_volume(make, qtbot, viewer, naparis_readers, tmp_path):
    _, widget = make(axis_labels=("t", "y", "x"))
    measured(qtbot, widget)
    assert "5 objects" in told(widget)
    assert "name their axis z" in told(widget)
    tifffile.imwrite(tmp_path / "labels.tif", LABELS, imagej=True, metadata={"axes": "TYX"})
    (layer,) = viewer.open(tmp_path / "labels.tif", plugin="napari", layer_type="labels")
    widget.findChild(QComboBox).setCurrentText(layer.name)
    press(qtbot, widget, "Measure")
    qtbot.waitUntil(lambda: "5 objects" in told(widget), timeout=60_000)
    layer.axis_labels = ("z", "y", "x")
    press(qtbot, widget, "Measure")
    qtbot.waitUntil(lambda: "2 objects" in told(widget), timeout=60_000)


def test_a_click_goes_to_the_slice(make, qtbot, viewer):
    _, widget = make(scale=(40, 5, 5), units=("nm",) * 3)
    measured(qtbot, widget)
    plot = widget.findChild(QWidget, "fractions_by_slice")
    place = plot.mapFromScene(plot.getPlotItem().vb.mapViewToScene(QPointF(2.1, 5.0)))
    qtbot.mouseClick(plot.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert viewer.dims.current_step[0] == 2


def test_ids_of_objects_are_one_class(make, qtbot):
    ids = LABELS.astype(np.int32) * 300
    ids[:, :15] *= 2
    _, widget = make(data=ids)
    assert widget.findChild(QCheckBox).isChecked()
    measured(qtbot, widget)
    assert "2 objects" in told(widget)


def test_values_that_are_no_known_classes_are_told_by_what_napari_has(make, qtbot):
    _, widget = make(data=TWO)
    measured(qtbot, widget)
    of_names, of_ids = (line for line in told(widget).splitlines() if "--" in line)
    assert "in napari a column class of the layer's features" in of_names
    assert f"in napari {widget.findChild(QCheckBox).text()!r}" in of_ids


def test_what_cannot_be_measured_is_told(make, qtbot):
    _, widget = make(data=np.arange(2000, dtype=np.int32).reshape(40, 50))
    widget.findChild(QCheckBox).setChecked(False)
    press(qtbot, widget, "Measure")
    qtbot.waitUntil(lambda: "Measuring" not in told(widget), timeout=60_000)
    assert "if every object has a value of its own" in told(widget)
    assert widget.findChild(QCheckBox).text() in told(widget)
    assert not button(widget, "Save CSV…").isEnabled()


def test_the_voxel_size_is_taken_from_the_file(viewer, naparis_readers, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(measuring, "show_info", said.append)
    monkeypatch.setattr(measuring, "show_warning", said.append)
    metadata = {"axes": "ZYX", "spacing": 0.05, "unit": "um"}
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, LABELS, imagej=True, resolution=(200, 200), metadata=metadata)
    (layer,) = viewer.open(path, plugin="napari")
    take_voxel_size(viewer)
    assert tuple(layer.scale) == pytest.approx((0.05, 0.005, 0.005))
    assert {str(unit) for unit in layer.units} == {"micrometer"}
    viewer.add_image(LABELS, name="made")
    take_voxel_size(viewer)
    viewer.layers.selection.clear()
    take_voxel_size(viewer)
    assert said[0] == "stack: 50 nm x 5 nm x 5 nm (z, y, x)"
    assert "'made' says nothing" in said[1]
    assert "Select an image" in said[2]


TWO = LABELS + (LABELS * np.arange(4)[:, None, None] == 2).astype(np.uint8)  # 2 on slice 2


@pytest.mark.parametrize(
    "known",
    [
        {"features": {"index": [0, 1, 2], "class": ["background", "cristae", "matrix"]}},
        {"features": {"name": ["unlabelled", "cristae", "matrix"]}},
        {"metadata": {"classes": ["background", "cristae", "matrix"]}},
        {"metadata": {"classes": {0: "background", 1: "cristae", 2: "matrix"}}},
    ],
)
def test_classes_are_called_as_the_layer_says(make, qtbot, known):
    _, widget = make(data=TWO, **known)
    measured(qtbot, widget)
    assert "cristae: 7.50 %" in told(widget)
    assert "matrix: 3.75 %" in told(widget)
    assert "class_" not in told(widget)


def test_a_value_without_a_name_is_called_by_its_number(make, qtbot):
    _, widget = make(
        data=np.where(TWO == 2, 7, TWO), metadata={"classes": ["background", "cristae"]}
    )
    widget.findChild(QCheckBox).setChecked(False)
    measured(qtbot, widget)
    assert "cristae: 7.50 %" in told(widget)
    assert "class_7: 3.75 %" in told(widget)


@pytest.mark.usefixtures("naparis_readers")
def test_classes_are_called_as_the_file_says_that_was_written_here(viewer, qtbot, tmp_path):
    layout = StackLayout([TWO.shape[1:]] * 4, np.uint8, classes=("background", "cristae", "matrix"))
    path = tmp_path / "labels.ome.tif"
    with WRITERS.get("tif").open(path, layout) as file:
        for z, plane in enumerate(TWO):
            file.write(z, np.where(plane == 0, 255, plane) if z == 3 else plane)
    viewer.open(path, plugin="napari", layer_type="labels")
    widget = MeasureLabels(viewer)
    qtbot.addWidget(widget)
    widget.show()
    measured(qtbot, widget)
    assert "matrix: 4.84 %" in told(widget)  # 255 stands for what is not known
    assert "class_" not in told(widget)


def test_the_class_outside_counts_in_no_fraction(make, qtbot):
    names = ["background", "cristae", "resin"]
    layer, widget = make(data=TWO, metadata={"classes": names, "outside": "resin"})
    measured(qtbot, widget)
    share = (layer.data == 1).sum() / (layer.data != 2).sum()
    assert f"cristae: {share:.2%}".replace("%", " %") in told(widget)
    assert "resin:" not in told(widget)


def test_tables_tell_where_the_labels_come_from(make, qtbot, tmp_path, monkeypatch):
    mark = {"made_by": {"weights": "12ab"}, "is_edited": True}
    _, widget = make(metadata={"napari_spss": mark})
    measured(qtbot, widget)
    path = tmp_path / "table.csv"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    press(qtbot, widget, "Save CSV…")
    assert read_origin(path) == {"weights": "12ab", "is_edited": True}


def test_objects_have_the_name_of_their_class(make, qtbot):
    table = {"index": [300, 600], "class": ["cristae", "cristae"]}
    _, widget = make(data=LABELS.astype(np.int32) * 300, features=table)
    measured(qtbot, widget)
    assert "cristae: 11.25 %" in told(widget)
