"""The table of fractions, driven as a user drives it: keys, clipboard, ticks and files."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from eye import button, offered, said
from hypothesis import HealthCheck, given, settings, strategies as st
from qtpy.QtCore import QEvent, QItemSelection, QItemSelectionModel, Qt
from qtpy.QtGui import QFocusEvent, QKeyEvent
from qtpy.QtWidgets import QAbstractButton, QApplication, QCheckBox, QFileDialog, QLabel, QLineEdit

from napari_spss.core.annotations import Classes, CountingGrid, Proportion, Region
from napari_spss.core.base import InputError
from napari_spss.gui.models import FractionSheet
from napari_spss.gui.widgets.annotate.fraction_model import MARK_ROLE
from napari_spss.gui.widgets.annotate.fractions import FractionsTable, QuestionBar

CLASSES = ("background", "mito")
THREE = ("background", "mito", "er")


@pytest.fixture
def table(qtbot) -> FractionsTable:
    widget = FractionsTable()
    qtbot.addWidget(widget)
    widget.set_classes(CLASSES)
    widget.set_slices(10)
    widget.resize(380, 420)
    widget.show()
    return widget


def go_to(table, row, column=0):
    table.view.setCurrentIndex(table.view.model().index(row, column))


def open_editor(table):
    """The youngest editor; closed ones are deleted by the event loop, later."""
    return table.view.viewport().findChildren(QLineEdit)[-1]


def type_text(qtbot, table, text, *, end=Qt.Key.Key_Return):
    """Type into the current cell as a user does: the first key opens the editor."""
    view = table.view
    qtbot.keyClick(view, text[0])
    editor = open_editor(table)
    qtbot.keyClicks(editor, text[1:])
    if end is not None:
        qtbot.keyClick(editor, end)


def column_of(table, kind):
    return [column.kind for column in table.view.model().columns].index(kind)


def cell(table, row, column=0, role=Qt.ItemDataRole.DisplayRole):
    return table.view.model().index(row, column).data(role)


def mark(table, row, column=0):
    return cell(table, row, column, MARK_ROLE)


def fractions_of(table):
    return {one.region: one.fractions for one in table.value()}


def paste(qtbot, table, text):
    QApplication.clipboard().setText(text)
    qtbot.keyClick(table.view, Qt.Key.Key_V, Qt.KeyboardModifier.ControlModifier)


def press(qtbot, table, text):
    """Press the button that says so."""
    qtbot.mouseClick(button(table, text), Qt.MouseButton.LeftButton)


def select(table, top, left, bottom, right):
    model = table.view.model()
    go_to(table, top, left)
    area = QItemSelection(model.index(top, left), model.index(bottom, right))
    table.view.selectionModel().select(area, QItemSelectionModel.SelectionFlag.ClearAndSelect)


def press_undo(qtbot, table):
    qtbot.keyClick(table.view, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)


# Typing ------------------------------------------------------------------------------------------


def test_typed_number_is_per_cent_and_background_is_what_is_left(qtbot, table):
    go_to(table, 3)
    with qtbot.waitSignal(table.value_changed):
        type_text(qtbot, table, "6")
    assert table.value() == (Proportion(Region(3), (None, 0.06)),)
    assert cell(table, 3) == "6 %"
    background = column_of(table, "background")
    assert cell(table, 3, background) == "94 %"
    assert cell(table, 4, background) == ""


def test_no_column_is_hidden_because_another_one_was_in_its_place(table):
    table.resize(900, 400)  # room for all
    for classes in (CLASSES, THREE, ("background", "a", "b", "c"), CLASSES):
        table.set_classes(classes)
        model = table.view.model()
        hidden = [one.kind for i, one in enumerate(model.columns) if table.view.isColumnHidden(i)]
        assert hidden == ["grid", "predicted"]


def test_names_of_many_classes_have_the_room_that_there_is(table):
    model, header = table.view.model(), table.view.horizontalHeader()

    def swatch():
        return model.headerData(0, Qt.Orientation.Horizontal, Qt.ItemDataRole.DecorationRole)

    width = swatch().width()
    table.set_classes(("background", *(f"structure {letter}" for letter in "abcde")))
    assert swatch().width() < width
    room = table.view.viewport().width()
    assert room - 5 <= header.length() <= room
    table.resize(1200, 400)
    assert swatch().width() == width


def test_table_is_as_high_as_its_rows_but_not_endless(table):
    heights = []
    for n_slices in (1, 8, 12, 500):
        table.set_slices(n_slices)
        heights.append(table.view.height())
    assert heights[0] < heights[1] < heights[2] == heights[3]


def test_enter_goes_to_the_next_slice_and_the_viewer_follows(qtbot, table):
    go_to(table, 3)
    with qtbot.waitSignal(table.slice_activated) as went:
        type_text(qtbot, table, "6")
    assert went.args == [4]
    assert table.view.currentIndex().row() == 4
    assert table.view.currentIndex().column() == 0


def test_a_column_is_typed_without_the_mouse(qtbot, table):
    go_to(table, 0)
    for text in ("6", "<1", "5-10", "0.5%"):
        type_text(qtbot, table, text)
    assert [
        (one.fractions[1], one.low and one.low[1], one.high and one.high[1])
        for one in table.value()
    ] == [
        (0.06, None, None),
        (None, 0.0, 0.01),
        (None, 0.05, 0.1),
        (0.005, None, None),
    ]


def test_enter_without_typing_also_goes_on_and_shift_enter_back(qtbot, table):
    go_to(table, 3)
    qtbot.keyClick(table.view, Qt.Key.Key_Return)
    assert table.view.currentIndex().row() == 4
    qtbot.keyClick(table.view, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    assert table.view.currentIndex().row() == 3


def test_enter_on_the_last_slice_stays(qtbot, table):
    go_to(table, 9)
    type_text(qtbot, table, "6")
    assert table.view.currentIndex().row() == 9
    assert fractions_of(table) == {Region(9): (None, 0.06)}


def test_tab_goes_to_the_next_class_and_then_to_the_next_row(qtbot, table):
    table.set_classes(THREE)
    go_to(table, 0)
    type_text(qtbot, table, "6", end=Qt.Key.Key_Tab)
    assert (table.view.currentIndex().row(), table.view.currentIndex().column()) == (0, 1)
    editor = open_editor(table)
    qtbot.keyClicks(editor, "4")
    qtbot.keyClick(editor, Qt.Key.Key_Tab)
    assert (table.view.currentIndex().row(), table.view.currentIndex().column()) == (1, 0)
    assert fractions_of(table) == {Region(0): (None, 0.06, 0.04)}


def test_escape_leaves_the_cell_as_it_was(qtbot, table):
    go_to(table, 0)
    type_text(qtbot, table, "6", end=Qt.Key.Key_Escape)
    assert table.value() == ()


def test_typed_keys_do_not_reach_the_shortcuts_of_the_window(table):
    event = QKeyEvent(
        QEvent.Type.ShortcutOverride, Qt.Key.Key_2, Qt.KeyboardModifier.NoModifier, "2"
    )
    event.ignore()
    QApplication.sendEvent(table.view, event)
    assert event.isAccepted()


def test_key_that_opens_the_editor_does_not_reach_the_window(table):
    go_to(table, 0)
    event = QKeyEvent(QEvent.Type.KeyPress, Qt.Key.Key_2, Qt.KeyboardModifier.NoModifier, "2")
    QApplication.sendEvent(table.view, event)
    assert event.isAccepted()
    assert open_editor(table).text() == "2"


def test_moving_the_slider_selects_the_row_and_does_not_answer_back(qtbot, table):
    go_to(table, 0)
    with qtbot.assertNotEmitted(table.slice_activated):
        table.select_slice(7)
    assert table.view.currentIndex().row() == 7


def test_focus_does_not_move_the_viewer(qtbot):
    widget = FractionsTable()
    qtbot.addWidget(widget)
    widget.set_classes(CLASSES)
    widget.select_slice(7)
    widget.set_slices(10)
    assert widget.view.currentIndex().row() == 7
    with qtbot.assertNotEmitted(widget.slice_activated):
        widget.view.focusInEvent(QFocusEvent(QEvent.Type.FocusIn))
        widget.set_slices(3)
    assert widget.view.currentIndex().row() == 0


def test_slider_moved_while_typing_commits_to_the_row_typed_in(qtbot, table):
    go_to(table, 2)
    type_text(qtbot, table, "6", end=None)
    table.select_slice(7)
    assert fractions_of(table) == {Region(2): (None, 0.06)}


# Empty -------------------------------------------------------------------------------------------


def test_empty_tick_is_an_exact_zero_of_all_classes(qtbot, table):
    table.set_classes(THREE)
    index = table.view.model().index(5, column_of(table, "empty"))
    qtbot.mouseClick(
        table.view.viewport(), Qt.MouseButton.LeftButton, pos=table.view.visualRect(index).center()
    )
    assert table.value() == (Proportion(Region(5), (None, 0.0, 0.0)),)
    assert cell(table, 5, 0) == "0 %"
    qtbot.keyClick(table.view, Qt.Key.Key_Space)
    assert table.value() == ()


def test_typing_into_an_empty_row_unticks_it(qtbot, table):
    go_to(table, 0, 1)
    qtbot.keyClick(table.view, Qt.Key.Key_Space)
    go_to(table, 0, 0)
    type_text(qtbot, table, "6")
    assert fractions_of(table) == {Region(0): (None, 0.06)}
    press_undo(qtbot, table)
    assert fractions_of(table) == {Region(0): (None, 0.0)}


# Questions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("choice", "fraction"), [(0, 0.06), (1, 0.0006)])
def test_small_number_asks_and_stays_marked_until_answered(qtbot, table, choice, fraction):
    go_to(table, 3)
    type_text(qtbot, table, "0.06")
    assert table.value() == ()
    assert mark(table, 3) == "question"
    bar = table.findChild(QuestionBar)
    assert bar.isVisible()
    answers = [text for text in offered(bar) if text.endswith(" %")]
    assert answers == ["6 %", "0.06 %"]
    qtbot.mouseClick(button(bar, answers[choice]), Qt.MouseButton.LeftButton)
    assert fractions_of(table) == {Region(3): (None, fraction)}
    assert mark(table, 3) == ""
    assert not bar.isVisible()


def test_pasted_column_of_fractions_is_asked_about_as_a_whole(qtbot, table):
    go_to(table, 0)
    paste(qtbot, table, "0.06\n0.12\n0\n1\n")
    assert [mark(table, row) for row in range(4)] == ["question", "question", "", "question"]
    table.findChild(QCheckBox).setChecked(True)
    press(qtbot, table, "6 %")
    assert [one.fractions[1] for one in table.value()] == [0.06, 0.12, 0.0, 1.0]
    press_undo(qtbot, table)
    assert table.marks()


def test_pasted_column_of_per_cent_asks_only_about_the_small_number(qtbot, table):
    go_to(table, 0)
    paste(qtbot, table, "0.06\n0.5\n7\n")
    assert [mark(table, row) for row in range(3)] == ["question", "", ""]


# Wrong cells -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), [("10 %", "0.11"), ("0.11", "10 %")])
@pytest.mark.parametrize(("choice", "fraction"), [(0, 0.11), (1, 0.0011)])
def test_number_without_a_sign_beside_per_cent_asks(qtbot, table, first, second, choice, fraction):
    go_to(table, 0)
    type_text(qtbot, table, first)
    assert mark(table, 0) == ""
    type_text(qtbot, table, second)
    place = Region((first, second).index("0.11"))
    assert mark(table, place.slice) == "question"
    other = Region(1 - place.slice)
    assert fractions_of(table) == {other: (None, 0.1)}, "unknown until it is answered"
    press(qtbot, table, ("11 %", "0.11 %")[choice])
    assert fractions_of(table)[place] == (None, fraction)
    assert fractions_of(table)[other] == (None, 0.1)
    table.view.undo()
    assert mark(table, place.slice) == "question"


def test_small_per_cent_asks_once_and_leaves_the_others_alone(qtbot, table):
    go_to(table, 0)
    for text in ("0.5", "6", "0.06"):
        type_text(qtbot, table, text)
    assert [mark(table, row) for row in range(3)] == ["", "", "question"]
    press(qtbot, table, "0.06 %")
    assert [mark(table, row) for row in range(3)] == ["", "", ""]
    type_text(qtbot, table, "<1")
    go_to(table, 4)
    type_text(qtbot, table, "12%")
    assert [mark(table, row) for row in range(4)] == ["question", "", "", ""]


def test_what_a_file_states_is_certain_beside_per_cent(qtbot, table):
    table.set_value([Proportion(Region(0), (None, 0.005))])
    go_to(table, 1)
    type_text(qtbot, table, "10 %")
    assert fractions_of(table) == {Region(0): (None, 0.005), Region(1): (None, 0.1)}


@pytest.mark.parametrize("text", ["0.3\n0.5\n", "6%\n1\n0.6\n", "0.06\n1\n2%\n"])
def test_pasted_numbers_that_may_be_of_either_unit_ask(qtbot, table, text):
    go_to(table, 0)
    paste(qtbot, table, text)
    for row, number in enumerate(text.split()):
        assert mark(table, row) == ("" if "%" in number else "question")


def test_wrong_cell_is_kept_marked_and_says_why(qtbot, table):
    go_to(table, 2)
    type_text(qtbot, table, "120")
    assert cell(table, 2) == "120"
    assert mark(table, 2) == "wrong"
    assert "more than 100 %" in cell(table, 2, role=Qt.ItemDataRole.ToolTipRole)
    assert "Slice 2, mito: 120 % is more than 100 %" in said(table)
    assert table.value() == ()


def test_wrong_cell_leaves_the_other_classes_of_its_row(qtbot, table):
    table.set_classes(THREE)
    go_to(table, 2)
    paste(qtbot, table, "6\tx")
    assert fractions_of(table) == {Region(2): (None, 0.06, None)}


def test_row_beyond_100_per_cent_is_marked_and_states_nothing(qtbot, table):
    table.set_classes(THREE)
    go_to(table, 2)
    paste(qtbot, table, "60\t55")
    assert mark(table, 2, 0) == mark(table, 2, 1) == "wrong"
    assert "115 %" in said(table)
    assert table.value() == ()


def test_show_button_goes_through_the_marked_cells(qtbot, table):
    go_to(table, 0)
    paste(qtbot, table, "x\n6\ny\n")
    go_to(table, 0)
    for row in (2, 0):
        press(qtbot, table, "Show (2)")
        assert table.view.currentIndex().row() == row


# Clipboard and undo ------------------------------------------------------------------------------


def test_paste_from_a_spreadsheet_with_decimal_commas(qtbot, table):
    table.set_classes(THREE)
    go_to(table, 1)
    paste(qtbot, table, "6,5\t<1\r\n7\t\r\n")
    first, second = table.value()
    assert first.fractions == (None, 0.065, None)
    assert first.high == (None, None, 0.01)
    assert second.fractions == (None, 0.07, None)


def test_paste_is_one_step_of_undo_and_redo(qtbot, table):
    go_to(table, 0)
    paste(qtbot, table, "6\n7\n8\n")
    before = table.value()
    press_undo(qtbot, table)
    assert table.value() == ()
    qtbot.keyClick(
        table.view,
        Qt.Key.Key_Z,
        Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier,
    )
    assert table.value() == before


def test_what_finds_no_place_is_told(qtbot, table):
    go_to(table, 8)
    paste(qtbot, table, "6\t7\n8\t9\n1\t2\n")
    assert fractions_of(table) == {Region(8): (None, 0.06), Region(9): (None, 0.08)}
    assert said(table).splitlines()[0] == (
        "Not pasted: 1 line beyond the last row and 1 column beyond the last class."
    )


def test_single_value_fills_the_selection(qtbot, table):
    select(table, 2, 0, 5, 0)
    paste(qtbot, table, "6")
    assert list(fractions_of(table)) == [Region(z) for z in (2, 3, 4, 5)]


def test_copy_gives_what_paste_takes(qtbot, table):
    table.set_classes(THREE)
    go_to(table, 0)
    text = "6\t<1\nabc\t5-10\n"
    paste(qtbot, table, text)
    select(table, 0, 0, 1, 1)
    QApplication.clipboard().clear()
    qtbot.keyClick(table.view, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QApplication.clipboard().text() == text


def test_delete_blanks_the_selection(qtbot, table):
    go_to(table, 0)
    paste(qtbot, table, "6\n7\n8\n")
    select(table, 0, 0, 1, 0)
    qtbot.keyClick(table.view, Qt.Key.Key_Delete)
    assert fractions_of(table) == {Region(2): (None, 0.08)}


def test_undo_shows_the_cell_that_it_changed(qtbot, table):
    go_to(table, 1)
    type_text(qtbot, table, "6")
    table.select_slice(8)
    press_undo(qtbot, table)
    assert table.view.currentIndex().row() == 1


# Rectangles and classes --------------------------------------------------------------------------

BOX = Region(2, (0, 0, 10, 10))
OTHER = Region(2, (20, 20, 30, 30))


def test_rectangle_has_a_row_below_its_slice(qtbot, table):
    table.set_regions([BOX, OTHER])
    header = table.view.model().headerData
    labels = [header(row, Qt.Orientation.Vertical) for row in range(6)]
    assert labels == ["0", "1", "2", "2 ▭1", "2 ▭2", "3"]
    go_to(table, 3)
    with qtbot.assertNotEmitted(table.slice_activated):
        type_text(qtbot, table, "30")
    assert table.value() == (Proportion(BOX, (None, 0.3)),)


def test_text_follows_a_moved_rectangle_and_undo_knows_it(qtbot, table):
    table.set_regions([BOX, OTHER])
    go_to(table, 3)
    type_text(qtbot, table, "30")
    moved = Region(2, (1, 1, 11, 11))
    table.set_regions([moved, OTHER])
    assert fractions_of(table) == {moved: (None, 0.3)}
    press_undo(qtbot, table)
    assert table.value() == ()


def test_text_of_a_deleted_rectangle_comes_back_with_it(qtbot, table):
    table.set_regions([BOX, OTHER])
    go_to(table, 3)
    type_text(qtbot, table, "30")
    table.set_regions([OTHER])
    assert table.value() == ()
    table.set_regions([BOX, OTHER])
    assert fractions_of(table) == {BOX: (None, 0.3)}


def test_renamed_class_keeps_its_column_and_a_removed_one_its_texts(qtbot, table):
    table.set_classes(THREE)
    go_to(table, 0)
    paste(qtbot, table, "6\t4")
    table.set_classes(("background", "mitochondria", "er"))
    assert fractions_of(table) == {Region(0): (None, 0.06, 0.04)}
    table.set_classes(("background", "er"))
    assert fractions_of(table) == {Region(0): (None, 0.04)}
    table.set_classes(("background", "er", "mitochondria"))
    assert fractions_of(table) == {Region(0): (None, 0.04, 0.06)}


def test_outside_class_has_no_column_and_no_fraction(qtbot, table):
    table.set_classes(Classes(("background", "outside", "mito"), "outside"))
    titles = [table.view.model().columns[column].name for column in range(2)]
    assert titles == ["mito", ""]
    go_to(table, 0)
    type_text(qtbot, table, "6")
    assert fractions_of(table) == {Region(0): (None, None, 0.06)}


# What grids and the model say --------------------------------------------------------------------


def counted(z, hits, n):
    classes = [1] * hits + [0] * (n - hits)
    grid = CountingGrid(z, 10.0, 0.0, 0.0, range(n), [0.0] * n, classes, is_done=True)
    return grid.proportion(2)


def test_counted_value_is_shown_with_its_interval_and_not_mixed_into_what_was_typed(qtbot, table):
    go_to(table, 3)
    type_text(qtbot, table, "9")
    grid = column_of(table, "grid")
    assert table.view.isColumnHidden(grid)
    table.set_grid_proportions([counted(3, 25, 100)])
    assert not table.view.isColumnHidden(grid)
    assert cell(table, 3, grid) == "25 (18\u201334)"
    assert cell(table, 4, grid) == ""
    assert table.value() == (Proportion(Region(3), (None, 0.09)),)
    assert cell(table, 3, 0, Qt.ItemDataRole.FontRole).strikeOut()
    assert "counted grid" in cell(table, 3, 0, Qt.ItemDataRole.ToolTipRole)
    assert "Struck out" in said(table)
    assert cell(table, 4, 0, Qt.ItemDataRole.FontRole) is None
    assert cell(table, 3, column_of(table, "background")) == "75 %"  # of the grid, not 91 %


def test_counted_frames_are_shown_on_their_slice_beside_what_was_typed(qtbot, table):
    go_to(table, 3)
    type_text(qtbot, table, "9")
    grid = column_of(table, "grid")
    frames = [
        replace(counted(3, hits, 64), region=Region(3, box))
        for hits, box in ((5, (0, 0, 10, 10)), (12, (20, 0, 30, 30)))
    ]
    n_rows = table.view.model().rowCount()
    table.set_grid_proportions([*frames, replace(frames[0], region=Region(1, (0, 0, 5, 5)))])
    assert table.view.model().rowCount() == n_rows
    mean = (100 * 5 / 64 + 300 * 12 / 64) / 400  # each frame as much as its area
    assert cell(table, 3, grid) == f"{100 * mean:.2g} (2 frames)"
    assert cell(table, 1, grid) == "7.8 (1 frame)"
    lines = cell(table, 3, grid, Qt.ItemDataRole.ToolTipRole).splitlines()
    assert lines[1:3] == [
        "rows 0\u20139, columns 0\u20139: mito 7.8 (3.4\u201317) %",
        "rows 20\u201329, columns 0\u201329: mito 19 (11\u201330) %",
    ]
    assert cell(table, 3, 0, Qt.ItemDataRole.FontRole) is None  # not struck out
    assert table.value() == (Proportion(Region(3), (None, 0.09)),)
    table.set_grid_proportions([*frames, counted(3, 25, 100)])
    assert cell(table, 3, grid) == "25 (18\u201334)"
    table.set_regions([frames[1].region])
    table.set_grid_proportions(frames)
    assert cell(table, 3, grid) == "7.8 (1 frame)"
    assert cell(table, 4, grid) == "19 (11\u201330)"


def test_fraction_of_the_stack_stands_below_the_table(table):
    table.set_stack_fraction("Whole stack: 6 %.", "Assumed: much.")
    (line,) = [one for one in table.findChildren(QLabel) if one.text() == "Whole stack: 6 %."]
    assert not line.isHidden()
    assert line.toolTip() == "Assumed: much."
    table.set_stack_fraction("")
    assert line.isHidden()


def test_predicted_value_is_shown_beside_what_was_typed(qtbot, table):
    go_to(table, 3)
    type_text(qtbot, table, "9")
    predicted = column_of(table, "predicted")
    table.set_predicted({Region(3): (0.92, 0.08)})
    assert cell(table, 3, predicted) == "8 %"
    assert "mito: 8 % (stated 9 %)" in cell(table, 3, predicted, Qt.ItemDataRole.ToolTipRole)
    assert not table.view.isColumnHidden(predicted)
    table.set_predicted({})
    assert table.view.isColumnHidden(predicted)


# Values, texts, files ----------------------------------------------------------------------------

PROPORTIONS = (
    Proportion(Region(0), (None, 0.06, 0.1)),
    Proportion(Region(1), (None, None, 0.1), low=(None, 0.01, None), high=(None, 0.02, None)),
    Proportion(Region(2), (None, 0.0, 0.0)),
    Proportion(BOX, (None, 0.07, None), low=(None, 0.05, None), high=(None, 0.1, None)),
    Proportion(Region(3), (0.9, None, None)),
)


def test_value_round_trip(table):
    table.set_classes(THREE)
    table.set_value(PROPORTIONS)
    assert table.value() == PROPORTIONS
    assert table.regions() == (BOX,)


@st.composite
def proportions(draw):
    numbers = st.one_of(st.none(), st.floats(0, 0.5))
    chosen = draw(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=5))
    return tuple(
        Proportion(Region(z), (None, *pair))
        for z, pair in enumerate(chosen)
        if any(number is not None for number in pair)
    )


@given(proportions())
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=50)
def test_any_value_round_trips_exactly(given_proportions):
    sheet = FractionSheet()
    sheet.set_classes(THREE)
    sheet.set_slices(10)
    sheet.set_value(given_proportions)
    assert sheet.value() == given_proportions
    copy = FractionSheet()
    copy.set_classes(THREE)
    copy.set_slices(10)
    copy.set_text_state(json.loads(json.dumps(sheet.text_state())))
    assert copy.value() == given_proportions


def test_texts_survive_a_project_wrong_and_doubted_ones_included(qtbot, table):
    table.set_regions([BOX])
    go_to(table, 0)
    paste(qtbot, table, "abc\n0.06\n6\n")
    state = json.loads(json.dumps(table.text_state()))
    table.clear()
    assert table.value() == ()
    table.restore((), state)
    assert [mark(table, row) for row in range(3)] == ["wrong", "question", ""]
    assert table.regions() == (BOX,)


def test_only_damaged_texts_are_lost(qtbot, table):
    table.set_regions([BOX])
    go_to(table, 0)
    paste(qtbot, table, "abc\n6\nxyz\n")
    state = json.loads(json.dumps(table.text_state()))
    state["cells"][0]["text"] = 7
    state["rectangles"].append([0, 9])
    table.clear()
    table.restore((), state)
    assert [cell(table, row) for row in range(3)] == ["", "6 %", "xyz"]
    assert table.regions() == (BOX,)


def test_file_edited_elsewhere_wins_over_the_texts_but_wrong_ones_are_kept(qtbot, table):
    go_to(table, 0)
    paste(qtbot, table, "6\n7\nabc\n")
    state = table.text_state()
    edited = (Proportion(Region(0), (None, 0.09)), Proportion(Region(4), (None, 0.01)))
    table.restore(edited, state)
    assert table.value() == edited
    assert cell(table, 2) == "abc"


def test_texts_stand_in_for_a_damaged_file(qtbot, table):
    go_to(table, 0)
    paste(qtbot, table, "6\nabc\n")
    state, value = table.text_state(), table.value()
    table.clear()
    table.restore((), state)
    assert table.value() == value
    assert cell(table, 1) == "abc"


def test_texts_stand_in_for_the_rows_that_a_damaged_file_lacks(qtbot, table):
    paste(qtbot, table, "6\n7\n")
    state = table.text_state()
    read = [Proportion(Region(0), (None, 0.05))]
    table.restore(read, state, is_damaged=True)
    assert fractions_of(table) == {Region(0): (None, 0.05), Region(1): (None, 0.07)}
    table.restore(read, state)
    assert fractions_of(table) == {Region(0): (None, 0.05)}


def test_text_as_typed_is_kept_where_the_file_says_the_same(qtbot, table):
    go_to(table, 0)
    paste(qtbot, table, "6,0 %\n")
    state, value = table.text_state(), table.value()
    table.restore([one.normalised() for one in value], state)
    assert cell(table, 0, role=Qt.ItemDataRole.EditRole) == "6,0 %"


def test_csv_out_and_in_gives_the_same_table(table, tmp_path):
    table.set_classes(THREE)
    table.set_value(PROPORTIONS)
    path = tmp_path / "fractions.csv"
    table.export_csv(path)
    table.clear()
    table.import_csv(path)
    assert table.value() == PROPORTIONS
    table.view.undo()
    assert table.value() == ()


def test_wrong_cells_of_a_csv_are_shown_not_dropped(table, tmp_path):
    path = tmp_path / "fractions.csv"
    path.write_text("slice,mito\n0,0.06\n1,lots\n2,\n")
    table.import_csv(path)
    assert fractions_of(table) == {Region(0): (None, 0.06)}
    assert cell(table, 1) == "lots"
    assert mark(table, 1) == "wrong"


@pytest.mark.parametrize(
    ("header", "cells", "asking", "fractions"),
    [
        ("mito", ("6", "1", "0.6"), (1, 2), {0: 0.06}),
        ("mito", ("6%", "1", "0.6"), (1, 2), {0: 0.06}),
        ("mito (%)", ("6", "1", "0.6"), (), {0: 0.06, 1: 0.01, 2: 0.006}),
        ("mito (%)", ("6", "lots", "0.6"), (), {0: 0.06, 2: 0.006}),
        ("mito", ("0.6", "lots", '"0,3"'), (), {0: 0.6, 2: 0.3}),
    ],
)
def test_csv_is_never_read_as_a_mix_of_units(table, tmp_path, header, cells, asking, fractions):
    path = tmp_path / "fractions.csv"
    path.write_text(f"slice,{header}\n" + "".join(f"{z},{c}\n" for z, c in enumerate(cells)))
    table.import_csv(path)
    assert tuple(z for z in range(3) if mark(table, z) == "question") == asking
    found = {region.slice: one[1] for region, one in fractions_of(table).items()}
    assert found == pytest.approx(fractions)


def test_csv_in_per_cent_without_signs_asks_about_its_small_numbers(table, tmp_path):
    path = tmp_path / "fractions.csv"
    path.write_text("slice,mito\n0,6\n1,0.5\n")
    table.import_csv(path)
    assert fractions_of(table) == {Region(0): (None, 0.06)}
    assert mark(table, 1) == "question"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("slice,nucleus\n0,0.06\n", "is not a known class"),
        ("slice,mito\n99,0.06\n", "names slice 99, but the last slice of the image is 9"),
        ("slice,mito\nx,0.06\n", "is not a number"),
    ],
)
def test_csv_that_has_no_place_in_the_table_is_refused(table, tmp_path, text, reason):
    path = tmp_path / "fractions.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=reason):
        table.import_csv(path)
    assert table.value() == ()


def test_csv_buttons_show_errors_below_the_table(qtbot, table, tmp_path, monkeypatch):
    missing = str(tmp_path / "missing.csv")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (missing, ""))
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (f"{missing}/x.csv", ""))
    press(qtbot, table, "Open CSV…")
    assert "does not exist" in said(table)
    press(qtbot, table, "Save CSV…")
    assert "could not be written" in said(table)


def test_rectangles_of_a_csv_are_announced(qtbot, table, tmp_path):
    path = tmp_path / "fractions.csv"
    path.write_text("slice,y0,x0,y1,x1,mito\n2,0,0,10,10,0.5\n")
    with qtbot.waitSignal(table.regions_added) as added:
        table.import_csv(path)
    assert added.args == [(BOX,)]
    assert fractions_of(table) == {BOX: (None, 0.5)}


def test_large_stack_has_a_row_per_slice_and_no_widget_per_row(table):
    table.set_slices(5000, [f"slice_{z}.tif" for z in range(5000)])
    table.set_value([Proportion(Region(z), (None, 0.06)) for z in range(5000)])
    assert table.view.model().rowCount() == 5000
    assert len(table.value()) == 5000
    assert len(table.view.viewport().children()) < 10
    table.select_slice(4999)
    assert table.view.currentIndex().row() == 4999
    header = table.view.model().headerData(4999, Qt.Orientation.Vertical)
    assert header == "slice_4999.tif"


def test_every_control_has_a_tooltip(qtbot, table):
    go_to(table, 0)
    paste(qtbot, table, "0.06\n0.07\n")
    buttons = table.findChildren(QAbstractButton)
    named = [button for button in buttons if button.text()]
    assert len(named) == 11
    assert all(button.toolTip() for button in named)
