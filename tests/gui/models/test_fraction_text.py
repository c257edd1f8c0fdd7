"""What typed cells mean, and that writing and reading them are inverse."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from napari_spss.gui.models import (
    cell_text,
    format_percent,
    is_bare_fraction,
    parse_cell,
    remainder_text,
    split_clipboard,
)
from napari_spss.gui.models.fraction_text import BLANK, Reading, row_problem

fractions = st.floats(0, 1)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("6", 0.06),
        ("6%", 0.06),
        (" 6 % ", 0.06),
        ("0.5", 0.005),
        ("6,5", 0.065),
        ("6,5 %", 0.065),
        (".5", 0.005),
        ("5.", 0.05),
        ("0", 0.0),
        ("0.0", 0.0),
        ("100", 1.0),
        ("0.06%", 0.0006),
        ("0.1", 0.001),
        ("~6", 0.06),
        ("6\u00a0%", 0.06),
    ],
)
def test_number_is_per_cent(text, value):
    assert parse_cell(text) == Reading("value", value=value)


@pytest.mark.parametrize("text", ["", "   ", "?", "NA", "n/a", "nan"])
def test_blank_is_unknown(text):
    assert parse_cell(text) is BLANK


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("<1", 0.0, 0.01),
        ("< 1 %", 0.0, 0.01),
        ("≤1", 0.0, 0.01),
        ("<=0,5", 0.0, 0.005),
        (">90", 0.9, 1.0),
        ("5-10", 0.05, 0.10),
        ("5\u201310 %", 0.05, 0.10),
        ("5% - 10%", 0.05, 0.10),
        ("5 to 10", 0.05, 0.10),
        ("0-0.5%", 0.0, 0.005),
        ("5,5-6,5", 0.055, 0.065),
    ],
)
def test_interval(text, low, high):
    assert parse_cell(text) == Reading("interval", low=low, high=high)


@pytest.mark.parametrize(
    ("text", "value", "low", "high"),
    [
        ("6±2", 0.06, 0.04, 0.08),
        ("6 +/- 2", 0.06, 0.04, 0.08),
        ("1±2", 0.01, 0.0, 0.03),
        ("99±2", 0.99, 0.97, 1.0),
        ("6 (4-8)", 0.06, 0.04, 0.08),
        ("6.2 [4.1\u20139.3] %", 0.062, 0.041, 0.093),
    ],
)
def test_value_with_interval(text, value, low, high):
    assert parse_cell(text) == Reading("value", value=value, low=low, high=high)


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("0.06", ("6%", "0.06%")),
        ("0,06", ("6%", "0.06%")),
        ("0.0625", ("6.25%", "0.0625%")),
        ("<0.05", ("<5%", "<0.05%")),
        ("0.05-0.5", ("5-50%", "0.05-0.5%")),
    ],
)
def test_small_bare_number_asks(text, choices):
    reading = parse_cell(text)
    assert reading.kind == "question"
    assert reading.choices == choices
    assert choices[0] in reading.reason
    for choice in choices:
        assert parse_cell(choice).is_known


def test_number_that_cannot_be_a_fraction_does_not_ask():
    assert parse_cell("0.05-2") == Reading("interval", low=0.0005, high=0.02)


@pytest.mark.parametrize(
    ("text", "kind"), [("0.12", "question"), ("1", "question"), ("0", "value"), ("1.2", "value")]
)
def test_doubted_cell_asks_up_to_one(text, kind):
    assert parse_cell(text, is_doubted=True).kind == kind
    assert parse_cell(text).kind == "value"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("abc", "'abc' is not a percentage"),
        ("-5", "'-5' is not a percentage"),
        ("5-", "'5-' is not a percentage"),
        ("6;7", "is not a percentage"),
        ("%6", "is not a percentage"),
        ("1e1", "is not a percentage"),
        ("120", "120 % is more than 100 %"),
        ("10-5", "ends reversed"),
        ("6 (7-8)", "outside its own interval"),
        ("6 5", "is not a percentage"),
        ("6%5", "is not a percentage"),
        ("6\u00a05", "is not a percentage"),
    ],
)
def test_wrong_cell_says_why_and_what_to_do(text, reason):
    reading = parse_cell(text)
    assert reading.kind == "wrong"
    assert reason in reading.reason
    assert reading.remedy


@given(st.text(max_size=12))
def test_every_text_reads_as_something(text):
    reading = parse_cell(text)
    bounds = [n for n in (reading.low, reading.value, reading.high) if n is not None]
    assert all(0 <= n <= 1 for n in bounds)
    assert bounds == sorted(bounds)
    assert bool(reading.reason) == (reading.kind in ("wrong", "question"))


@given(fractions)
def test_value_survives_writing(value):
    assert parse_cell(cell_text(value)) == Reading("value", value=value)


@given(st.lists(fractions, min_size=2, max_size=2).map(sorted))
def test_interval_survives_writing(ends):
    reading = parse_cell(cell_text(None, *ends))
    assert (reading.least, reading.most) == tuple(ends)
    assert reading.kind == "interval"


@given(st.lists(fractions, min_size=3, max_size=3).map(sorted))
def test_value_with_interval_survives_writing(numbers):
    low, value, high = numbers
    assert parse_cell(cell_text(value, low, high)) == Reading("value", value, low, high)


def test_unknown_is_written_as_nothing():
    assert cell_text(None) == ""


@pytest.mark.parametrize(
    ("fraction", "text"), [(0, "0"), (1, "100"), (0.0006, "0.06"), (2 / 3, "66.7")]
)
def test_percent_is_written_short(fraction, text):
    assert format_percent(fraction) == text


@pytest.mark.parametrize(
    ("text", "is_bare"),
    [("0.3", True), ("1", True), ("<0.5", True), ("0", False), ("6", False), ("0.3%", False)],
)
def test_bare_fraction(text, is_bare):
    assert is_bare_fraction(text) is is_bare


def readings(*texts):
    return [parse_cell(text) for text in texts]


def test_sum_beyond_tolerance_is_a_problem():
    assert "110 %" in row_problem(readings("60", "50"))
    assert "102.5 %" in row_problem(readings("52.5", "50"))
    assert row_problem(readings("52", "50")) == ""
    assert row_problem(readings("60", "")) == ""
    assert row_problem(readings("30-90", "30-90")) == ""
    assert "120 %" in row_problem(readings(">60", "60"))
    assert "120 %" in row_problem(readings("60 (10-90)", "60 (10-90)")), "as the reader counts"


@pytest.mark.parametrize(
    ("texts", "remainder"),
    [
        (("6", "4"), "90 %"),
        (("6", ""), "≤ 94 %"),
        (("", ""), ""),
        (("5-10", "4"), "86\u201391 %"),
        (("60", "60"), ""),
        (("6", "x"), ""),
        (("51", "50"), "0 %"),
        (("33.333", "0"), "66.67 %"),
    ],
)
def test_remainder(texts, remainder):
    assert remainder_text(readings(*texts)) == remainder


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("6,5\t<1\r\n7\t\r\n", [["6,5", "<1"], ["7", ""]]),
        ("6,5\n7,2\n", [["6,5"], ["7,2"]]),
        ("6;7\n8;9", [["6", "7"], ["8", "9"]]),
        ("6, 7\n8, 9", [["6", "7"], ["8", "9"]]),
        ("6,7,8\n", [["6", "7", "8"]]),
        ("6\n\n7", [["6"], [""], ["7"]]),
        ('"6,5"\t7', [["6,5", "7"]]),
        ("", []),
    ],
)
def test_clipboard_is_split_into_cells(text, cells):
    assert split_clipboard(text) == cells
