"""Errors say where, what and what to do."""

from __future__ import annotations

import pickle

import pytest

from napari_spss.core.base import (
    CellProblem,
    Diverged,
    InputError,
    OutOfMemory,
    RunError,
    SpssError,
)


def problem(**changes):
    values = {
        "file": "p.csv",
        "row": 3,
        "column": "mito",
        "value": "30",
        "reason": "is above 1",
        "remedy": "write 30 % as 0.30",
    }
    return CellProblem(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "p.csv, line 3, column 'mito': '30' is above 1; write 30 % as 0.30."),
        ({"column": None}, "p.csv, line 3: '30' is above 1; write 30 % as 0.30."),
        ({"value": ""}, "p.csv, line 3, column 'mito': is above 1; write 30 % as 0.30."),
        ({"row": None, "column": None, "value": ""}, "p.csv: is above 1; write 30 % as 0.30."),
    ],
)
def test_a_problem_names_its_cell(changes, text):
    assert str(problem(**changes)) == text


def test_the_first_ten_problems_are_listed_and_all_are_kept():
    problems = [problem(row=row, value=str(10 * row)) for row in range(2, 14)]
    error = InputError("3 tables", problems=problems)
    lines = str(error).splitlines()
    assert lines[0] == "3 tables"
    assert lines[1:11] == [str(one) for one in problems[:10]]
    assert lines[11:] == ["... and 2 more."]
    assert error.problems == tuple(problems)


def test_ten_problems_leave_nothing_out():
    error = InputError(problems=[problem(row=row, value=str(row)) for row in range(10)])
    assert len(str(error).splitlines()) == 10
    assert "more" not in str(error)


def test_what_is_wrong_in_many_rows_is_told_once():
    error = InputError(problems=[problem(row=row) for row in (2, 4, 5, 6, 8, 9, 11)])
    wrong = ": '30' is above 1; write 30 % as 0.30."
    assert str(error) == f"p.csv, lines 2, 4, 5, 6, 8 and 2 more, column 'mito'{wrong}"
    error = InputError(problems=[problem(row=2), problem(row=7)])
    assert str(error) == f"p.csv, lines 2, 7, column 'mito'{wrong}"


def test_an_error_keeps_its_field_when_it_crosses_processes():
    error = pickle.loads(pickle.dumps(InputError("no", field="loss.alpha", problems=[problem()])))
    assert str(error).startswith("no\n")
    assert error.field == "loss.alpha"
    assert error.problems == (problem(),)


def test_out_of_memory_carries_what_may_fit():
    error = OutOfMemory("too big", setting="sampling.batch_size", value=2)
    assert (error.setting, error.value) == ("sampling.batch_size", 2)


def test_input_errors_are_told_from_failed_runs():
    assert issubclass(InputError, SpssError)
    assert not issubclass(InputError, RunError)
    assert issubclass(OutOfMemory, RunError)
    assert issubclass(Diverged, RunError)
    assert issubclass(RunError, SpssError)
