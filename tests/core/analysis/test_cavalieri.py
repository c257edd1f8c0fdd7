"""Cavalieri's error against closed forms, averaged over all random starts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from napari_spss.core.analysis import cavalieri_error
from napari_spss.core.base import InputError


def sections(area, length, distance, start):
    """Areas of slices at equal distances through something from 0 to ``length``."""
    return area(np.arange(start, length, distance))


def starts(distance):
    return (np.arange(200) + 0.5) / 200 * distance


def test_a_sphere_has_the_error_of_its_closed_form():
    # Euler-Maclaurin: both ends, where the area's slope jumps by 2 pi R, add pi^2 R^2 T^4 / 180
    true, told, closed = [], [], []
    for distance in 2 / (10 + (np.arange(25) + 0.5) / 25):
        volumes, variances = [], []
        for start in starts(distance):
            areas = sections(lambda z: math.pi * (1 - (z - 1) ** 2), 2.0, distance, start)
            found = cavalieri_error(areas, smoothness=1)
            volumes.append(distance * found.total)
            variances.append(distance**2 * found.variance)
        assert np.mean(volumes) == pytest.approx(4 / 3 * math.pi, rel=1e-4)
        true.append(np.var(volumes))
        told.append(np.mean(variances))
        closed.append(math.pi**2 * distance**4 / 90)
    assert np.mean(true) == pytest.approx(np.mean(closed), rel=0.05)
    assert np.mean(told) == pytest.approx(np.mean(closed), rel=0.05)


def test_a_cylinder_cut_across_has_the_error_of_its_closed_form():
    # of a length of k + u distances between k and k + 1 slices: u (1 - u), on average 1/6
    variances = []
    for length in np.linspace(5, 6, 50, endpoint=False):
        for start in starts(1.0)[::10]:
            variances.append(cavalieri_error(sections(np.ones_like, length, 1.0, start)).variance)
    assert np.mean(variances) == pytest.approx(1 / 6, rel=1e-6)


def test_counting_adds_a_nugget_which_is_no_variance_between_slices():
    areas = 400 * np.sin(np.linspace(0.2, 2.9, 12))
    rng = np.random.default_rng(0)
    exact = cavalieri_error(areas)
    noisy = [
        cavalieri_error(counts, nugget=float(counts.sum()))
        for counts in rng.poisson(areas, (500, 12))
    ]
    between = np.mean([one.between_slices for one in noisy])
    assert between == pytest.approx(exact.between_slices, rel=0.1)
    assert np.mean([one.nugget for one in noisy]) == pytest.approx(areas.sum(), rel=0.01)
    assert noisy[0].coefficient_of_error == math.sqrt(noisy[0].variance) / noisy[0].total


def test_what_it_cannot_tell():
    with pytest.raises(InputError, match=r"2 slices do not tell .* at least 3"):
        cavalieri_error([4, 5])
    with pytest.raises(InputError, match="smoothness 2 is neither 0 nor 1"):
        cavalieri_error([4, 5, 6], smoothness=2)
    assert math.isnan(cavalieri_error([0, 0, 0]).coefficient_of_error)
