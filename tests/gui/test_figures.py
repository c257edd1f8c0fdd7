"""Figures in the dock: the plot follows the result, a click goes to a slice, files are written."""

from __future__ import annotations

import numpy as np
import pytest
from eye import button, said, wait
from qtpy.QtCore import QPointF, Qt
from qtpy.QtWidgets import QComboBox, QLineEdit, QPushButton, QWidget

from napari_spss.core.annotations import Annotations, CountingGrid, Proportion, Region
from napari_spss.core.base import read_origin

PIXELS = np.random.default_rng(0).integers(0, 255, (4, 32, 48), np.uint8)
CLASSES = ("background", "mitochondria")
GRID = CountingGrid(1, 16.0, 8.0, 8.0, [8, 8, 24, 24], [8, 24, 8, 24], [1, 0, 0, 0], True)
SAID = Annotations(CLASSES, (Proportion(Region(0), (None, 0.1)),), grids=(GRID,))


@pytest.fixture
def dock(viewer, open_dock, fake_runs, qtbot):
    viewer.add_image(PIXELS, name="em", scale=(50, 8, 8), units=("nm",) * 3)
    dock = open_dock()
    dock.resize(400, 900)
    dock.show()
    dock.annotate.set_value(SAID)
    assert dock.start_training()
    wait(dock, qtbot)
    return dock


def apply(dock, qtbot):
    dock.controller.apply("stack")
    wait(dock, qtbot)
    qtbot.waitUntil(lambda: "predicted" in said(dock.plots))


def test_the_plot_comes_with_a_result_and_says_what_it_shows(dock, qtbot):
    assert not dock.plots.isVisible()
    apply(dock, qtbot)
    legend = said(dock.plots)
    assert all(name in legend for name in ("predicted", "typed", "counted, 95 %"))


def test_a_click_in_the_plot_goes_to_the_slice(dock, qtbot):
    apply(dock, qtbot)
    plot = dock.plots.findChild(QWidget, "fractions_by_slice")
    for z in (3, 1):
        scene = plot.getPlotItem().vb.mapViewToScene(QPointF(z + 0.2, 10.0))
        place = plot.mapFromScene(scene)
        qtbot.mouseClick(plot.viewport(), Qt.MouseButton.LeftButton, pos=place)
        assert dock.controller.current_slice() == z


def save(dock, qtbot, folder, formats="SVG"):
    qtbot.mouseClick(button(dock.plots, "Save figures…"), Qt.MouseButton.LeftButton)
    (edit,) = dock.plots.findChildren(QLineEdit)
    edit.setText(str(folder))
    combo = next(
        c for c in dock.plots.findChildren(QComboBox) if c.findText("SVG, PDF and PNG") >= 0
    )
    combo.setCurrentText(formats)
    qtbot.mouseClick(button(dock.plots, "Save"), Qt.MouseButton.LeftButton)


def names(folder):
    return {path.name for path in folder.glob("[!.]*")}


def test_figures_are_saved_in_the_formats_that_are_chosen(dock, qtbot, tmp_path):
    apply(dock, qtbot)
    save(dock, qtbot, tmp_path / "figures", "SVG, PDF and PNG")
    kinds = {f"{k}.{s}" for k in ("fractions", "sizes", "overlay") for s in ("svg", "pdf", "png")}
    qtbot.waitUntil(lambda: "Saved in" in dock.bar.text(), timeout=60_000)
    assert names(tmp_path / "figures") == kinds
    made_by = read_origin(tmp_path / "figures" / "sizes.svg")
    assert (made_by["weights"], made_by["threshold"]) == ("fake", 0.5)
    assert ">counted, 95 %</text>" in (tmp_path / "figures" / "fractions.svg").read_text()
    assert "nm</text>" in (tmp_path / "figures" / "overlay.svg").read_text()
    assert not dock.controller.outcome.is_saved  # figures are not the result


def test_what_others_wrote_is_replaced_only_if_the_user_says_so(dock, qtbot, tmp_path):
    (tmp_path / "sizes.svg").write_text("mine")
    apply(dock, qtbot)
    save(dock, qtbot, tmp_path)
    assert (tmp_path / "sizes.svg").read_text() == "mine"
    replace = next(b for b in dock.plots.findChildren(QPushButton) if b.text() == "Replace them")
    qtbot.mouseClick(replace, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "Saved in" in dock.bar.text(), timeout=60_000)
    assert (tmp_path / "sizes.svg").read_text() != "mine"


def test_a_painted_value_that_stands_for_no_class_is_to_be_painted_over(
    dock, viewer, qtbot, tmp_path
):
    apply(dock, qtbot)
    viewer.layers["em labels"].data_setitem((np.array([2]), np.array([5]), np.array([7])), 9)
    told = "The labels hold the value 9 on slice 2, which stands for no class; paint it over."
    dock.controller.save(tmp_path / "saved", has_run=False)
    wait(dock, qtbot)
    assert dock.session.messages[-1] == ("error", told)
    assert not (tmp_path / "saved").exists()
    save(dock, qtbot, tmp_path / "figures")
    qtbot.waitUntil(lambda: dock.session.messages.count(("error", told)) == 2)


def test_training_shows_its_curves_and_folds_nothing_that_the_user_opens(dock, qtbot):
    dock.resize(400, 600)
    for section in dock.sections.values():
        section.open()
    qtbot.waitUntil(lambda: dock.height() == 600)
    annotate = dock.sections["Annotate"]
    for _ in range(2):  # to press Train is to be done with what was opened before
        qtbot.mouseClick(button(dock.train, "Train"), Qt.MouseButton.LeftButton)
        assert dock.session.status.is_busy
        assert not annotate.is_open
        assert dock.sections["Train"].is_open
        qtbot.mouseClick(annotate.header, Qt.MouseButton.LeftButton)
        wait(dock, qtbot)
        assert annotate.is_open
    dock.results.set_scope("stack")
    qtbot.mouseClick(button(dock.results, "Apply"), Qt.MouseButton.LeftButton)
    qtbot.mouseClick(dock.sections["Image & classes"].header, Qt.MouseButton.LeftButton)
    wait(dock, qtbot)
    assert not annotate.is_open
    assert dock.sections["Image & classes"].is_open


def fold(dock, qtbot, height):
    dock.resize(400, height)
    for section in dock.sections.values():
        section.open()
    qtbot.waitUntil(lambda: dock.height() == height)
    dock.controller.apply("stack")
    wait(dock, qtbot)
    return {name for name, section in dock.sections.items() if not section.is_open}


def test_finished_sections_fold_where_the_dock_is_low_and_not_where_it_is_high(dock, qtbot):
    assert fold(dock, qtbot, 600) == {"Image & classes", "Train", "Annotate"}
    assert fold(dock, qtbot, 4000) == set()


def test_a_new_grid_folds_what_is_above_it_where_the_dock_is_low(dock, qtbot):
    dock.resize(400, 600)
    qtbot.waitUntil(lambda: dock.height() == 600)
    dock.sections["Image & classes"].open()
    dock.annotate.slice_wanted.emit(3)
    dock.annotate.show_tab(1)
    qtbot.mouseClick(button(dock.annotate.grid, "Lay grid"), Qt.MouseButton.LeftButton)
    assert not dock.sections["Image & classes"].is_open
    assert dock.sections["Annotate"].is_open


def test_the_bar_says_that_labels_are_hidden_as_long_as_they_are(dock, qtbot):
    apply(dock, qtbot)
    dock.sections["Annotate"].open()
    for _ in range(2):
        dock.annotate.show_tab(4)
        assert "Labels and maps are hidden" in dock.bar.text()
        dock.annotate.show_tab(0)
        assert "hidden" not in dock.bar.text()
