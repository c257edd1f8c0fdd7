"""The working scale follows the size of a pixel, and says what it cannot follow."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from pixels import image_set

from napari_spss.core.images import WorkingScale

SIZES = st.floats(1e-4, 10)


def said(scale: WorkingScale, *sizes: float | None) -> list[tuple[str, str]]:
    images = [np.zeros((4, 4), np.uint8)] * len(sizes)
    notes = scale.notes(image_set(images, sizes_um=sizes))
    return [(note.level, note.text) for note in notes]


@given(reduction=st.integers(1, 50), learned=SIZES, size=SIZES)
def test_no_other_reduction_comes_nearer(reduction: int, learned: float, size: float) -> None:
    found = WorkingScale(reduction, learned).of(size)
    off = abs(math.log(found * size / (reduction * learned)))
    for other in (found - 1, found + 1):
        assert other < 1 or off <= abs(math.log(other * size / (reduction * learned))) + 1e-9
    assert found == 1 or off <= math.log(math.sqrt(2)) + 1e-9


@given(reduction=st.integers(1, 50), size=SIZES)
def test_images_like_those_of_training_are_reduced_as_in_training(
    reduction: int, size: float
) -> None:
    assert WorkingScale(reduction, size).of(size) == reduction
    assert said(WorkingScale(reduction, size), size, size) == []
    assert WorkingScale(reduction, size).of(None) == reduction
    assert WorkingScale(reduction, None).of(size) == reduction


def test_a_scale_moves_to_another_image() -> None:
    assert WorkingScale(4, 0.005).at(0.01) == WorkingScale(2, 0.01)
    assert WorkingScale(4, 0.005).at(None) == WorkingScale(4, 0.005)
    assert WorkingScale(4, None).at(0.01) == WorkingScale(4, 0.01)


@pytest.mark.parametrize(
    ("scale", "sizes", "level", "parts"),
    [
        (WorkingScale(4, 0.005), [0.01], "info", ("10 nm", "5 nm", "reduced by 2 instead of 4")),
        (WorkingScale(4, 0.005), [0.005, 0.0071], "info", ("7.1 nm", "reduced by 3")),
        (WorkingScale(1, 0.005), [0.0076], "warning", ("1.5 times smaller", "pixels of 5 nm")),
        (WorkingScale(2, 0.005), [0.1], "warning", ("10.0 times smaller", "pixels of 10 nm")),
        (WorkingScale(2, 0.005), [0.005, None], "warning", ("not known", "taken to be 5 nm")),
        (WorkingScale(2, 1.25), [None], "warning", ("taken to be 1.25 µm",)),
        (WorkingScale(2, None), [0.005], "warning", ("model does not say",)),
    ],
)
def test_what_differs_is_told(
    scale: WorkingScale, sizes: list[float | None], level: str, parts: tuple[str, ...]
) -> None:
    ((found, text),) = said(scale, *sizes)
    assert found == level
    assert all(part in text for part in parts), text


def test_nothing_is_told_where_nothing_differs() -> None:
    assert said(WorkingScale(2, 0.005), 0.0055) == []
    assert said(WorkingScale(2, None), None) == []
