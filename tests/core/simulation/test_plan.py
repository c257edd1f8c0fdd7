"""What is proposed to count."""

from __future__ import annotations

import math

import numpy as np
import pytest

from napari_spss.core.base import InputError
from napari_spss.core.simulation import plan_counting
from napari_spss.core.simulation.cost import Costs


class Shapes:
    def __init__(self, *shapes):
        self._shapes = shapes

    @property
    def n_slices(self):
        return len(self._shapes)

    def shape_of(self, z):
        return self._shapes[z]


SMALL, LARGE = Shapes(*[(400, 400)] * 20), Shapes(*[(2000, 2000)] * 20)


def test_small_fields_get_grids_and_guesses_and_large_ones_frames():
    small, large = plan_counting(SMALL, 256, 5), plan_counting(LARGE, 256, 5)
    assert (small.kind, small.n, small.nodes_per_side, small.n_guesses) == ("grids", 4, 16, 12)
    assert (large.kind, large.n, large.nodes_per_side, large.size_px) == ("frames", 20, 8, 256)


def test_the_field_is_small_or_large_beside_a_window():
    assert plan_counting(LARGE, 1000, 5).kind == "grids"
    assert plan_counting(SMALL, 100, 5).kind == "frames"


def test_the_largest_of_different_images_decides():
    assert plan_counting(Shapes((400, 400), (2000, 2000)), 256, 5).kind == "frames"


@pytest.mark.parametrize("stack", [SMALL, LARGE, Shapes((400, 400)), Shapes((2000, 300))])
@pytest.mark.parametrize("minutes", [1, 2.5, 7, 60])
def test_a_plan_takes_no_longer_than_there_is_time_and_can_be_laid(stack, minutes):
    plan = plan_counting(stack, 256, minutes)
    assert 0 < plan.seconds <= 60 * minutes
    laid = plan.lay(stack, np.random.default_rng(0))
    assert len(laid) == plan.n
    assert len({grid.region for grid in laid}) == plan.n
    n_nodes = sum(grid.n_nodes for grid in laid)
    assert n_nodes == pytest.approx(plan.n_nodes, rel=0.2)
    assert plan.seconds == pytest.approx(plan.n_nodes * Costs().node_s + plan.n_guesses * 5)


@pytest.mark.parametrize(("edge", "side"), [(30, 4), (64, 10)])
def test_nodes_in_a_small_image_are_no_nearer_than_a_fourth_of_an_object(edge, side):
    for n_slices in (1, 20):
        plan = plan_counting(Shapes(*[(edge, edge)] * n_slices), 256, 5)
        assert (plan.kind, plan.nodes_per_side) == ("grids", side)


@pytest.mark.parametrize("edge", [20, 64, 200, 400])
def test_frames_of_a_check_count_are_parts_of_a_small_image_with_nodes_apart(edge):
    plan = plan_counting(Shapes((edge, edge)), 256, 30, only_frames=True)
    assert (plan.kind, plan.n, plan.size_px) == ("frames", 16, edge // 4)
    assert plan.nodes_per_side == max(1, min(24, 40 * plan.size_px // 256))  # of 256 px, 10 objects


@pytest.mark.parametrize(("n_slices", "parts"), [(1, 4), (2, 3), (4, 2), (20, 2)])
def test_a_check_count_has_room_for_enough_frames_to_tell_how_much_they_differ(n_slices, parts):
    plan = plan_counting(Shapes(*[(240, 300)] * n_slices), 1000, 60, only_frames=True)
    assert plan.size_px == 240 // parts
    assert plan.n >= 16


def test_where_there_is_no_more_room_there_are_more_nodes():
    plan = plan_counting(Shapes((400, 400)), 256, 3)
    assert (plan.n, plan.nodes_per_side) == (1, 24)


def test_the_precision_to_expect_follows_from_the_fraction():
    (_, _, told) = plan_counting(SMALL, 256, 5, fraction=0.05).messages()
    error = math.sqrt(0.95 / (0.05 * 1024))
    assert "about 51 hits" in told
    assert f"about {100 * 3.182 * error:.0f} % of itself" in told, "four grids: t of 3"
    frames = plan_counting(LARGE, 256, 4, fraction=0.05)
    assert frames.relative_error() == pytest.approx(1.5 * 2.131 * error, rel=1e-3), "16 frames"
    (_, _, told) = plan_counting(Shapes((400, 400)), 256, 3, fraction=0.05).messages()
    assert told == "expect: about 29 hits; one grid tells no interval"
    assert plan_counting(LARGE, 256, 4).relative_error() is None
    assert plan_counting(LARGE, 256, 4, fraction=0.0).relative_error() is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"minutes": 0.1}, "minutes 0.1 allow 25 nodes, which is no count; give at least 1"),
        ({"minutes": -1}, "minutes -1 is no time"),
        ({"minutes": math.nan}, "minutes nan is no time"),
        ({"minutes": 5, "fraction": 5.0}, "fraction 5 is not between 0 and 1; 5 % is 0.05"),
    ],
)
def test_what_cannot_be_planned_is_told(given, message):
    with pytest.raises(InputError, match=message.replace(".", r"\.")):
        plan_counting(SMALL, 256, **given)


def test_the_remedy_for_too_little_time_is_enough():
    for stack in (SMALL, LARGE):
        with pytest.raises(InputError) as told:
            plan_counting(stack, 256, 0.01)
        least = float(str(told.value).rsplit("at least ", 1)[1].rstrip("."))
        assert plan_counting(stack, 256, least).n == 1
