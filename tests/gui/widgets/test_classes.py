"""The list of classes, edited as a user edits it."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from eye import button, said, windows_opened
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractButton,
    QApplication,
    QColorDialog,
    QComboBox,
    QLineEdit,
    QToolButton,
)

from napari_spss.core.annotations import PALETTE, Classes, ClassStyle
from napari_spss.core.base import InputError
from napari_spss.gui.widgets import CLASS_KEYS, ClassesEditor
from napari_spss.gui.widgets.annotate.second_look import KEEP_KEY
from napari_spss.gui.widgets.classes import DEFAULT_CLASSES

THREE = (
    ClassStyle("background", "#999999", "Q"),
    ClassStyle("mito", "#E69F00", "W"),
    ClassStyle("er", "#56B4E9", ""),
)


@pytest.fixture
def editor(qtbot) -> ClassesEditor:
    widget = ClassesEditor()
    qtbot.addWidget(widget)
    widget.set_value(THREE)
    widget.show()
    return widget


def shown(editor, kind):
    QApplication.processEvents()  # rows that are new are shown
    return [one for one in editor.findChildren(kind) if one.isVisible()]


def removers(editor):
    """The buttons that remove a class; the background has none."""
    return [one for one in shown(editor, QToolButton) if "Remove" in one.toolTip()]


def colour_of(editor, name):
    buttons = shown(editor, QToolButton)
    return next(one for one in buttons if one.toolTip().startswith(f"Colour of {name}"))


def rename(qtbot, editor, place, name):
    edit = shown(editor, QLineEdit)[place]
    edit.selectAll()
    qtbot.keyClicks(edit, name)
    qtbot.keyClick(edit, Qt.Key.Key_Return)


def clear_name(qtbot, editor, place):
    edit = shown(editor, QLineEdit)[place]
    edit.selectAll()
    qtbot.keyClick(edit, Qt.Key.Key_Backspace)
    qtbot.keyClick(edit, Qt.Key.Key_Return)


def choose_key(editor, place, key):
    box = shown(editor, QComboBox)[place]
    box.setCurrentIndex(box.findData(key))
    box.activated.emit(box.currentIndex())


def test_starts_with_background_and_mitochondria(qtbot):
    widget = ClassesEditor()
    qtbot.addWidget(widget)
    assert widget.value() == DEFAULT_CLASSES
    assert widget.names() == ("background", "mitochondria")


def test_value_round_trip(qtbot, editor):
    with qtbot.waitSignal(editor.value_changed):
        editor.set_value(THREE[:2])
    assert editor.value() == THREE[:2]
    with qtbot.assertNotEmitted(editor.value_changed):
        editor.set_value(THREE[:2])


@pytest.mark.parametrize("classes", [(), (THREE[0], THREE[1], THREE[1])])
def test_classes_that_are_none_are_refused(editor, classes):
    with pytest.raises(ValueError, match="background"):
        editor.set_value(classes)
    assert editor.value() == THREE


def test_rename(qtbot, editor):
    with qtbot.waitSignal(editor.value_changed):
        rename(qtbot, editor, 1, "mitochondria")
    assert editor.names() == ("background", "mitochondria", "er")


def test_half_a_name_is_not_announced(qtbot, editor):
    edit = shown(editor, QLineEdit)[1]
    with qtbot.assertNotEmitted(editor.value_changed):
        qtbot.keyClicks(edit, "chondria")
    assert editor.names() == ("background", "mito", "er")


def test_models_are_told_apart_whose_classes_swapped_names(qtbot, editor):
    before, new = Classes(("background", "mito", "er")), Classes(("background", "er", "mito"))
    only = Classes(("background", "mito"))
    for place, name in ((1, "other"), (2, "mito"), (1, "er")):
        rename(qtbot, editor, place, name)
        assert editor.named(before) == editor.names()
        assert editor.named(only) == editor.names()[:2]
    assert editor.named(new) == ("background", "er", "mito")
    for place, name in ((1, "other"), (2, "er"), (1, "mito")):
        rename(qtbot, editor, place, name)
        assert editor.named(new) == editor.names()
    assert editor.named(before) == ("background", "mito", "er")
    rename(qtbot, editor, 1, "third")
    for one in (before, new):
        assert editor.named(one) == ("background", "third", "er")
    assert editor.named(Classes(("background", "er", "axon"))) == ("background", "er", "axon")


def test_background_can_be_neither_renamed_nor_removed(qtbot, editor):
    rename(qtbot, editor, 0, "cytoplasm")
    assert editor.names()[0] == "background"
    assert len(removers(editor)) == 2


@pytest.mark.parametrize(
    ("name", "reason"),
    [("ER", "named twice"), ("bg", "named twice"), ("slice", "need for themselves")],
)
def test_unusable_name_is_marked_and_the_last_good_one_holds(qtbot, editor, name, reason):
    with qtbot.assertNotEmitted(editor.value_changed):
        rename(qtbot, editor, 1, name)
    assert editor.names() == ("background", "mito", "er")
    assert reason in editor.problem()
    assert reason in said(editor)
    assert reason in shown(editor, QLineEdit)[1].toolTip()
    assert shown(editor, QLineEdit)[1].text() == name
    rename(qtbot, editor, 1, "nucleus")
    assert editor.problem() == ""
    assert said(editor) == ""
    assert editor.names() == ("background", "nucleus", "er")


def test_empty_name_is_marked(qtbot, editor):
    clear_name(qtbot, editor, 1)
    assert "empty class name" in editor.problem()
    assert editor.names()[1] == "mito"


def test_names_stay_unique_while_one_is_wrong(qtbot, editor):
    clear_name(qtbot, editor, 1)
    rename(qtbot, editor, 2, "mito")
    assert editor.names() == ("background", "mito", "er")
    rename(qtbot, editor, 1, "nucleus")
    rename(qtbot, editor, 2, "mito")
    assert editor.names() == ("background", "nucleus", "mito")


def test_added_class_opens_no_window_of_its_own(qtbot, editor):
    with windows_opened() as opened:
        button(editor, "Add class").click()
    assert not opened


def test_added_class_has_a_free_name_colour_and_key(qtbot, editor):
    for _ in range(3):
        qtbot.mouseClick(button(editor, "Add class"), Qt.MouseButton.LeftButton)
    names, colours = editor.names(), [style.colour for style in editor.value()]
    keys = [style.key for style in editor.value() if style.key]
    assert names[3:] == ("class 3", "class 4", "class 5")
    assert len(set(colours)) == 6
    assert len(set(keys)) == len(keys) == 5


def test_remove(qtbot, editor):
    with qtbot.waitSignal(editor.value_changed):
        qtbot.mouseClick(removers(editor)[0], Qt.MouseButton.LeftButton)
    assert editor.names() == ("background", "er")


def test_class_in_use_is_removed_at_the_second_click_and_can_be_brought_back(qtbot, editor):
    editor.set_usage({"mito": "12 keypoints, 3 nodes", "er": ""}.get)
    remover = removers(editor)[0]
    undo = button(editor, "Undo")
    assert not undo.isVisible()
    qtbot.mouseClick(remover, Qt.MouseButton.LeftButton)
    assert "mito has 12 keypoints, 3 nodes, which go with it" in said(editor)
    assert editor.names() == ("background", "mito", "er")
    qtbot.mouseClick(remover, Qt.MouseButton.LeftButton)
    assert editor.names() == ("background", "er")
    assert "Removed, with what was annotated: mito." in said(editor)
    with qtbot.waitSignal(editor.value_changed):
        qtbot.mouseClick(undo, Qt.MouseButton.LeftButton)
    assert editor.value() == THREE
    assert not undo.isVisible()
    assert said(editor) == ""


def test_what_goes_with_a_class_is_said_although_a_name_is_wrong(qtbot, editor):
    editor.set_usage({"mito": "12 keypoints", "er": ""}.get)
    rename(qtbot, editor, 2, "mito")
    assert "named twice" in said(editor)
    qtbot.mouseClick(removers(editor)[0], Qt.MouseButton.LeftButton)
    assert "mito has 12 keypoints, which go with it" in said(editor)


def test_other_classes_in_place_of_annotated_ones_can_be_taken_back(qtbot, editor):
    editor.set_usage({"mito": "12 keypoints", "er": ""}.get)
    editor.set_value((THREE[0], ClassStyle("nucleus", "#009E73")))
    undo = button(editor, "Undo")
    assert undo.isVisible()
    qtbot.mouseClick(undo, Qt.MouseButton.LeftButton)
    assert editor.value() == THREE
    editor.set_value(THREE[:2])
    assert not undo.isVisible(), "nothing is annotated of er"


def test_class_that_nothing_is_annotated_of_is_removed_at_once(qtbot, editor):
    editor.set_usage({"mito": "12 keypoints", "er": ""}.get)
    qtbot.mouseClick(removers(editor)[1], Qt.MouseButton.LeftButton)
    assert editor.names() == ("background", "mito")
    assert said(editor) == ""


def test_another_change_of_the_classes_ends_the_offer_to_undo(qtbot, editor):
    editor.set_usage(lambda _: "1 fraction")
    for _ in range(2):
        qtbot.mouseClick(removers(editor)[0], Qt.MouseButton.LeftButton)
    editor.add_class()
    undo = button(editor, "Undo")
    assert not undo.isVisible()


def test_key_of_another_class_is_swapped(qtbot, editor):
    with qtbot.waitSignal(editor.value_changed):
        choose_key(editor, 2, "W")
    assert [style.key for style in editor.value()] == ["Q", "", "W"]
    choose_key(editor, 2, "Q")
    assert [style.key for style in editor.value()] == ["W", "", "Q"]
    assert shown(editor, QComboBox)[0].currentText() == "key W"
    choose_key(editor, 2, "")
    assert [style.key for style in editor.value()] == ["W", "", ""]


def test_key_of_a_project_that_is_not_on_the_list_is_kept(editor):
    classes = (*THREE[:2], ClassStyle("er", "#56B4E9", "Shift-R"))
    editor.set_value(classes)
    assert editor.value() == classes
    assert shown(editor, QComboBox)[2].currentText() == "key Shift+R"


def test_two_classes_with_one_key_keep_one(editor):
    editor.set_value((*THREE[:2], ClassStyle("er", "#56B4E9", "W")))
    assert [style.key for style in editor.value()] == ["Q", "W", ""]


def test_colour_is_chosen_in_a_dialog(qtbot, editor, monkeypatch):
    monkeypatch.setattr(QColorDialog, "getColor", lambda *_: QColor("#00ff00"))
    with qtbot.waitSignal(editor.value_changed):
        qtbot.mouseClick(colour_of(editor, "mito"), Qt.MouseButton.LeftButton)
    assert editor.value()[1].colour == "#00FF00"
    monkeypatch.setattr(QColorDialog, "getColor", lambda *_: QColor())
    with qtbot.assertNotEmitted(editor.value_changed):
        qtbot.mouseClick(colour_of(editor, "mito"), Qt.MouseButton.LeftButton)


def test_outside_is_a_class_that_is_excluded_from_fractions(qtbot, editor):
    with qtbot.waitSignal(editor.value_changed):
        button(editor, "Area outside").click()
    assert editor.value()[-1].name == "outside"
    assert [style.is_outside for style in editor.value()] == [False, False, False, True]
    editor.add_class()
    assert [style.is_outside for style in editor.value()] == [False, False, False, True, False]
    button(editor, "Area outside").click()
    assert not any(style.is_outside for style in editor.value())


def test_outside_box_follows_the_value(qtbot, editor):
    editor.set_value((*THREE, ClassStyle("resin", "#000000", is_outside=True)))
    assert button(editor, "Area outside").isChecked()
    qtbot.mouseClick(removers(editor)[2], Qt.MouseButton.LeftButton)
    assert not button(editor, "Area outside").isChecked()


def test_outside_in_use_is_removed_at_the_second_click(editor):
    button(editor, "Area outside").click()
    editor.set_usage({"outside": "3 keypoints"}.get)
    button(editor, "Area outside").click()
    assert button(editor, "Area outside").isChecked()
    button(editor, "Area outside").click()
    assert editor.value() == THREE


def test_no_key_is_one_of_naparis():
    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Points

    from napari_spss.gui.layers import is_taken

    viewer = ViewerModel()
    image = Image(np.zeros((4, 4)))
    layers = [Points(np.zeros((1, 2))), Labels(np.zeros((4, 4), dtype=int)), image]
    taken = [key for key in CLASS_KEYS if any(is_taken(key, layer, viewer) for layer in layers)]
    assert taken == []
    assert KEEP_KEY not in CLASS_KEYS


def test_colours_can_be_told_apart():
    assert len(set(PALETTE)) == len(PALETTE)
    rgb = [np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) for colour in PALETTE]
    assert min(np.linalg.norm(a - b) for a, b in combinations(rgb, 2)) > 60


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [(("mito", "orange"), "not a hex colour"), (("slice", "#000000"), "choose another name")],
)
def test_style_that_cannot_be_is_refused(arguments, reason):
    with pytest.raises(InputError, match=reason):
        ClassStyle(*arguments)


def test_every_control_has_a_tooltip_and_the_list_fits_380_px(editor):
    editor.add_class()
    controls = [
        child
        for kind in (QAbstractButton, QLineEdit, QComboBox)
        for child in editor.findChildren(kind)
    ]
    assert controls
    assert all(control.toolTip() for control in controls)
    assert editor.minimumSizeHint().width() <= 380
