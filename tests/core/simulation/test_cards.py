"""Reference cards: the fraction, the width, and that they are the same each time."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_spss.core.base import InputError
from napari_spss.core.simulation import CARD_FRACTIONS, reference_card


@pytest.mark.parametrize("fraction", CARD_FRACTIONS)
@pytest.mark.parametrize("width", [6, 24.0])
def test_a_card_covers_its_fraction(fraction, width):
    assert reference_card(fraction, (400, 500), width).mean() == pytest.approx(fraction, rel=0.05)


@pytest.mark.parametrize("fraction", [0.02, 0.2])
def test_objects_have_the_width_that_is_stated(fraction):
    card = reference_card(fraction, (600, 600), 30)
    # the inscribed disc, whose radius is the largest distance to the edge
    depth = ndimage.distance_transform_edt(card)
    numbers, n = ndimage.label(card, np.ones((3, 3)))
    widths = 2 * ndimage.maximum(depth, numbers, range(1, n + 1))
    assert np.median(widths) == pytest.approx(30, abs=3)
    assert widths.max() <= 33 or fraction == 0.2  # ellipses that touch look like a wider one


def test_a_card_is_the_same_each_time_and_another_by_another_seed():
    one, same, other = (reference_card(0.1, (200, 200), 15, seed=s) for s in (3, 3, 4))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_less_than_one_object_is_a_smaller_one():
    card = reference_card(0.01, (100, 100), 40)
    assert card.sum() == pytest.approx(100, abs=8)


@pytest.mark.parametrize(("fraction", "width"), [(0.0, 10), (0.5, 10), (0.1, 80), (0.1, 0.2)])
def test_what_cannot_be_drawn_is_refused(fraction, width):
    with pytest.raises(InputError, match="choose"):
        reference_card(fraction, (100, 100), width)
