"""Budgets of steps, epochs and minutes, and the learning rate over them."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from napari_spss.core.base import InputError, preset
from napari_spss.core.training.schedule import Schedule, learning_rate_factor

FAST = preset("fast")


def schedule(steps_per_epoch=10, **limits):
    none = {"max_steps": None, "max_epochs": None, "max_minutes": None}
    changes = {f"optimisation.{name}": value for name, value in (none | limits).items()}
    return Schedule.of(FAST.with_overrides(changes), steps_per_epoch)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"max_steps": 50}, (50, None)),
        ({"max_epochs": 3}, (30, None)),
        ({"max_steps": 50, "max_epochs": 3}, (30, None)),
        ({"max_steps": 20, "max_epochs": 3}, (20, None)),
        ({"max_minutes": 1.5}, (None, 90.0)),
        ({"max_steps": 20, "max_minutes": 2}, (20, 120.0)),
    ],
)
def test_the_smaller_of_steps_and_epochs_counts(limits, expected):
    found = schedule(**limits)
    assert (found.max_steps, found.max_seconds) == expected


def test_no_limit_at_all_is_refused():
    with pytest.raises(InputError, match="would never end") as e:
        schedule()
    assert e.value.field == "optimisation.max_steps"


def test_seconds_beside_steps_are_a_limit_and_else_the_budget():
    both = schedule(max_steps=100, max_minutes=1)
    assert both.spent(25, 45.0) == both.spent(25, 6.0) == 0.25
    assert both.limit_s == 60.0
    alone = schedule(max_minutes=1)
    assert alone.spent(10**9, 30.0) == 0.5
    assert alone.limit_s is None
    assert schedule(max_steps=4).spent(5, 10**9) == 1
    assert schedule(max_steps=4).limit_s is None


def test_one_cycle_rises_over_a_tenth_and_falls_to_a_hundredth():
    assert learning_rate_factor("one-cycle", 0.0) == pytest.approx(0.1)
    assert learning_rate_factor("one-cycle", 0.05) == pytest.approx(0.55)
    assert learning_rate_factor("one-cycle", 0.1) == pytest.approx(1.0)
    assert learning_rate_factor("one-cycle", 0.55) == pytest.approx((1 + 0.01) / 2)
    assert learning_rate_factor("one-cycle", 1.0) == pytest.approx(0.01)


@given(st.floats(0, 1), st.floats(0, 1))
def test_one_cycle_has_one_peak(a, b):
    early, late = sorted((a, b))
    first, second = (learning_rate_factor("one-cycle", spent) for spent in (early, late))
    assert 0.01 - 1e-12 <= second <= 1
    if late <= 0.1:
        assert first <= second
    if early >= 0.1:
        assert first >= second


@given(st.floats(0, 1))
def test_a_constant_rate_is_constant(spent):
    assert learning_rate_factor("constant", spent) == 1.0
