from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from napari_spss.core.annotations import (
    Annotations,
    Keypoint,
    Proportion,
    Region,
    annotation_files,
    read_annotations,
    tiles,
)
from napari_spss.core.base import InputError
from napari_spss.core.simulation import PROTOCOLS, protocols_with, simulate, write_simulation
from napari_spss.core.simulation.annotators import (
    crops,
    simulate_clicks,
    simulate_frames,
    simulate_grids,
    simulate_guesses,
    simulate_paper,
    simulate_regions,
)
from napari_spss.core.simulation.clicks import place_clicks
from napari_spss.core.simulation.cost import Acts, Simulation, combine
from napari_spss.core.simulation.degrade import (
    degrade,
    degrade_eq5,
    degrade_kmeans,
    parse_degradation,
)
from napari_spss.core.simulation.protocols import evenly_spread


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def masks() -> np.ndarray:
    """Six slices of 64 x 96: two discs of class 1, one of class 2 in slices 3 and 4; 5 is empty."""
    y, x = np.mgrid[:64, :96]
    masks = np.zeros((6, 64, 96), dtype=np.uint8)
    for z in range(5):
        masks[z][(y - 20) ** 2 + (x - 20) ** 2 <= 12**2] = 1
        masks[z][(y - 45) ** 2 + (x - 50) ** 2 <= 6**2] = 1
        if z >= 3:
            masks[z][(y - 20) ** 2 + (x - 75) ** 2 <= 10**2] = 2
    return masks


@pytest.fixture
def binary(masks: np.ndarray) -> np.ndarray:
    return (masks == 1).astype(np.uint8)


# Fractions


def test_exact_guesses_are_the_fractions_of_the_mask(masks: np.ndarray) -> None:
    simulation = simulate_guesses(masks, rng=_rng())
    assert simulation.annotations.classes == ("background", "class_1", "class_2")
    for z, proportion in enumerate(simulation.annotations.proportions):
        assert proportion.region == Region(z)
        exact = [(masks[z] == index).mean() for index in range(3)]
        assert proportion.fractions == pytest.approx(exact)
    assert simulation.steps[0].is_exact


def test_pixels_without_class_count_in_no_fraction() -> None:
    mask = np.array([[1, 0, 0, 255], [255, 255, 255, 255]])
    (proportion,) = simulate_guesses(mask, rng=_rng()).annotations.proportions
    assert proportion.fractions == pytest.approx((2 / 3, 1 / 3))
    nothing = simulate_guesses(np.full((4, 4), 255), rng=_rng())
    assert nothing.annotations.proportions == ()
    assert nothing.seconds == 0


def test_noise_is_log_normal_with_mean_one_and_bias_a_common_factor() -> None:
    mask = np.zeros((1, 20, 20), dtype=np.uint8)
    mask[0, :2, :10] = 1
    many = np.repeat(mask, 4000, axis=0)
    guesses = simulate_guesses(many, rng=_rng(), noise=0.3, bias=1.2).annotations.proportions
    ratio = np.array([one.fractions[1] for one in guesses]) / 0.05
    assert ratio.mean() == pytest.approx(1.2, rel=0.02)
    assert np.log(ratio).std() == pytest.approx(0.3, rel=0.05)
    assert all(math.isclose(math.fsum(one.fractions), 1.0) for one in guesses)


def test_absent_classes_stay_exactly_zero_under_noise(masks: np.ndarray) -> None:
    guesses = simulate_guesses(masks, rng=_rng(), noise=0.5, bias=1.3).annotations.proportions
    assert [one.fractions[2] == 0 for one in guesses] == [True, True, True, False, False, True]
    assert guesses[5].fractions == (1.0, 0.0, 0.0)


def test_guesses_beyond_one_are_renormalised() -> None:
    mask = np.array([[1, 1, 1, 2, 2, 2, 2, 2, 0, 0]])
    (one,) = simulate_guesses(mask, rng=_rng(), bias=2.0).annotations.proportions
    assert one.fractions == pytest.approx((0.0, 0.6 / 1.6, 1.0 / 1.6))
    (one,) = simulate_guesses(mask, rng=_rng(), bias=1.1).annotations.proportions
    assert one.fractions == pytest.approx((1 - 0.88, 0.33, 0.55))


def test_without_background_the_remainder_goes_to_no_class() -> None:
    mask = np.array([[1, 1, 1, 2, 2]])
    (one,) = simulate_guesses(mask, rng=_rng(), bias=0.5).annotations.proportions
    assert one.fractions == pytest.approx((0.0, 0.6, 0.4))


def test_seconds_of_guesses_and_empty_ticks(masks: np.ndarray, binary: np.ndarray) -> None:
    simulation = simulate_guesses(binary, rng=_rng(), noise=0.3)
    assert simulation.acts == Acts(n_guesses=5, n_empty_ticks=1)
    assert simulation.seconds == 5 * 5 + 2
    # Slices 0-2 hold class 1 alone, 3-4 both, 5 none: one tick says that nothing is there.
    assert simulate_guesses(masks, rng=_rng()).acts == Acts(n_guesses=3 + 4, n_empty_ticks=3 + 1)


def test_regions_cover_the_slice_and_average_to_its_fraction(binary: np.ndarray) -> None:
    simulation = simulate_regions(binary, rng=_rng(), slices=[0, 2], tile_px=30)
    in_slice = [one for one in simulation.annotations.proportions if one.region.slice == 2]
    assert len(in_slice) == 6
    total = covered = 0.0
    for one in in_slice:
        y0, x0, y1, x1 = one.region.box
        total += one.fractions[1] * (y1 - y0) * (x1 - x0)
        covered += (y1 - y0) * (x1 - x0)
    assert covered == 64 * 96
    assert total == pytest.approx(binary[2].sum())


@pytest.mark.parametrize("shape", [(1, 1), (64, 96), (100, 37)])
@pytest.mark.parametrize("tile_px", [1, 16, 50, 500])
def test_tiles_cover_every_pixel_once(shape: tuple[int, int], tile_px: int) -> None:
    count = np.zeros(shape, dtype=int)
    for y0, x0, y1, x1 in tiles(shape, tile_px):
        count[y0:y1, x0:x1] += 1
    assert (count == 1).all()


def test_crops_are_whole_and_as_many_as_the_paper_has() -> None:
    assert 165 * len(crops((768, 1024), 256)) == 1980
    assert {(y1 - y0, x1 - x0) for y0, x0, y1, x1 in crops((600, 300), 256)} == {(256, 256)}
    assert crops((100, 300), 256) == [(0, 0, 100, 256)]


def test_paper_states_exact_fractions_and_keypoints_of_every_crop(binary: np.ndarray) -> None:
    simulation = simulate_paper(binary, rng=_rng(), crop_px=32, n_per_crop=3)
    annotations = simulation.annotations
    assert len(annotations.proportions) == 6 * 6
    for one in annotations.proportions:
        y0, x0, y1, x1 = one.region.box
        assert one.fractions[1] == pytest.approx(binary[one.region.slice, y0:y1, x0:x1].mean())
    assert len(annotations.keypoints) == 6 * 6 * 3
    _check_on_class(annotations.keypoints, binary)
    assert simulation.steps[0].is_exact
    alone = simulate_paper(binary, rng=_rng(), crop_px=32, n_per_crop=0)
    assert alone.annotations.keypoints == ()


# Clicks


def _check_on_class(keypoints: tuple[Keypoint, ...] | list[Keypoint], masks: np.ndarray) -> None:
    assert keypoints
    for one in keypoints:
        assert masks[one.slice, int(one.y), int(one.x)] == one.class_index


@pytest.mark.parametrize("off_centre", [0.0, 0.5, 1.0])
def test_clicks_lie_on_their_class(masks: np.ndarray, off_centre: float) -> None:
    simulation = simulate_clicks(masks, rng=_rng(), n_per_slice=12, off_centre=off_centre)
    keypoints = simulation.annotations.keypoints
    _check_on_class(keypoints, masks)
    assert len(keypoints) == len(set(keypoints)) == 6 * 12
    assert simulation.seconds == 2 * 72


def test_a_third_of_the_clicks_lies_on_objects(masks: np.ndarray, binary: np.ndarray) -> None:
    keypoints = simulate_clicks(binary, rng=_rng(), slices=[0]).annotations.keypoints
    assert [one.class_index for one in keypoints].count(1) == 4
    chosen = simulate_clicks(binary, rng=_rng(), slices=[0], n_object=5).annotations.keypoints
    assert [one.class_index for one in chosen].count(1) == 5
    assert len(chosen) == 12
    both = simulate_clicks(masks, rng=_rng(), slices=[4]).annotations.keypoints
    assert [[one.class_index for one in both].count(index) for index in range(3)] == [6, 3, 3]


def test_a_slice_without_objects_gets_background_clicks_only(binary: np.ndarray) -> None:
    for n_object in (None, 4):
        simulation = simulate_clicks(binary, rng=_rng(), slices=[5], n_object=n_object)
        assert {one.class_index for one in simulation.annotations.keypoints} == {0}
        assert len(simulation.annotations.keypoints) == 12
    assert simulate_clicks(np.full((4, 4), 255), rng=_rng()).annotations.keypoints == ()


def test_central_clicks_are_at_the_middle_and_hit_every_object(binary: np.ndarray) -> None:
    clicks = place_clicks(7, binary[0], {1: 2}, rng=_rng())
    assert {(one.slice, one.y, one.x, one.class_index) for one in clicks} == {
        (7, 20.0, 20.0, 1),
        (7, 45.0, 50.0, 1),
    }


def test_off_centre_clicks_stray_only_as_far_as_told(binary: np.ndarray) -> None:
    depth = ndimage.distance_transform_edt(binary[0])
    for off_centre in (0.3, 1.0):
        found = [
            depth[int(one.y), int(one.x)] / (12.04 if one.y < 35 else 6.08)
            for seed in range(40)
            for one in place_clicks(0, binary[0], {1: 2}, off_centre=off_centre, rng=_rng(seed))
        ]
        assert min(found) >= 1 - off_centre - 0.05
        assert min(found) < 1 - off_centre + 0.25


def test_more_clicks_than_pixels_are_not_repeated() -> None:
    mask = np.array([[0, 1, 1, 0]], dtype=np.uint8)
    clicks = place_clicks(0, mask, {0: 9, 1: 9}, rng=_rng())
    assert sorted((one.x, one.class_index) for one in clicks) == [(0, 0), (1, 1), (2, 1), (3, 0)]
    with pytest.raises(InputError, match="off_centre 2"):
        place_clicks(0, mask, {1: 1}, off_centre=2, rng=_rng())


# Counting grids


def test_frames_carry_the_classes_beneath_them_and_cost_as_grids_do(masks: np.ndarray) -> None:
    simulation = simulate_frames(
        masks, rng=_rng(), n_frames=9, frame_px=32, nodes_per_side=4, node_errors=0.1
    )
    frames = simulation.annotations.grids
    n_wrong = 0
    for frame in frames:
        assert frame.is_done
        rows, columns = np.floor(frame.y + 0.5).astype(int), np.floor(frame.x + 0.5).astype(int)
        n_wrong += int((masks[frame.slice, rows, columns] != frame.class_index).sum())
    assert n_wrong == simulation.acts.n_wrong_nodes > 0
    assert simulation.seconds == pytest.approx(9 * 16 * 60 / 256)
    (step,) = simulation.steps
    assert (step.protocol, step.is_exact) == ("frames", False)
    assert step.slices == tuple(sorted({frame.slice for frame in frames}))
    assert dict(step.parameters)["n_frames"] == 9


def test_grid_nodes_carry_the_class_beneath_them(masks: np.ndarray) -> None:
    simulation = simulate_grids(masks, rng=_rng(), slices=[0, 3], n_side=16)
    for grid in simulation.annotations.grids:
        assert grid.is_done
        rows, columns = np.floor(grid.y + 0.5).astype(int), np.floor(grid.x + 0.5).astype(int)
        assert (masks[grid.slice, rows, columns] == grid.class_index).all()
        assert abs(grid.n_nodes - 256) <= 20
    assert simulation.acts.n_grids == 2
    assert simulation.acts.n_wrong_nodes == 0
    assert simulation.seconds == pytest.approx(simulation.acts.n_nodes * 60 / 256)
    assert simulation.acts.n_hits == sum(
        int((grid.class_index > 0).sum()) for grid in simulation.annotations.grids
    )


def test_count_estimates_the_fraction(binary: np.ndarray) -> None:
    grids = simulate_grids(np.repeat(binary[:1], 50, axis=0), rng=_rng()).annotations.grids
    found = np.mean([grid.proportion(2).fractions[1] for grid in grids])
    assert found == pytest.approx(binary[0].mean(), rel=0.05)
    assert len({grid.offset_y for grid in grids}) == 50


def test_node_errors_turn_the_stated_share_into_another_class(masks: np.ndarray) -> None:
    many = np.repeat(masks[3:4], 30, axis=0)
    simulation = simulate_grids(many, rng=_rng(), node_errors=0.1)
    wrong = simulation.annotations.grids
    n_wrong = 0
    for grid in wrong:
        rows, columns = np.floor(grid.y + 0.5).astype(int), np.floor(grid.x + 0.5).astype(int)
        n_wrong += int((many[grid.slice, rows, columns] != grid.class_index).sum())
    assert n_wrong == simulation.acts.n_wrong_nodes
    assert n_wrong / simulation.acts.n_nodes == pytest.approx(0.1, abs=0.01)
    assert not simulation.steps[0].is_exact
    assert simulate_grids(many, rng=_rng(), slices=[0], node_errors=1.0).acts.n_wrong_nodes > 200


def test_nodes_on_pixels_without_class_stay_unsure() -> None:
    mask = np.full((32, 32), 255)
    mask[:16] = 1
    for node_errors in (0.0, 1.0):
        (grid,) = simulate_grids(mask, rng=_rng(), node_errors=node_errors).annotations.grids
        assert ((grid.class_index == -1) == (grid.y >= 15.5)).all()


# The whole


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_same_seed_same_annotator_and_files_read_back(
    protocol: str, masks: np.ndarray, tmp_path: Path
) -> None:
    options = {"noise": 0.3, "node_errors": 0.02, "off_centre": 1.0, "tile_px": 32}
    options |= {"n_frames": 3, "frame_px": 32, "n_slices": 3}
    options = {name: one for name, one in options.items() if protocol in protocols_with(name)}
    one = simulate(masks, protocol, seed=3, **options)
    again = simulate(masks, protocol, seed=3, **options)
    other = simulate(masks, protocol, seed=4, **options)
    assert one == again
    assert one.annotations != other.annotations
    if protocol != "frames":
        assert one.annotations.slices() == (1, 3, 5)

    paths = write_simulation(one, tmp_path / "out", seed=3)
    assert all(path.exists() for path in paths)
    read = read_annotations(**annotation_files(tmp_path / "out"), classes=one.annotations.classes)
    assert read == one.annotations
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert summary["seconds"] == one.seconds > 0
    assert summary["seed"] == 3
    assert summary["steps"][0]["protocol"] == protocol
    assert summary["steps"][0]["slices"] == list(one.annotations.slices())


def test_existing_annotations_are_not_overwritten(masks: np.ndarray, tmp_path: Path) -> None:
    simulation = simulate(masks, "guess")
    write_simulation(simulation, tmp_path)
    with pytest.raises(InputError, match=r"proportions\.csv was written before"):
        write_simulation(simulation, tmp_path)
    write_simulation(simulate(masks, "clicks"), tmp_path, overwrite=True)
    assert {path.name for path in tmp_path.glob("*.*")} - {".simulation.written.json"} == {
        "keypoints.csv",
        "summary.json",
    }, "nothing of the simulation before stays"


def test_clicks_of_protocols_and_their_defaults(binary: np.ndarray) -> None:
    assert simulate(binary, "clicks", n_slices=1).acts.n_clicks == 12
    assert simulate(binary, "clicks", n_slices=1, clicks_per_slice=5).acts.n_clicks == 5
    assert simulate(binary, "paper", n_slices=1, tile_px=64).acts.n_clicks == 6
    assert simulate(binary, "grid", n_slices=1, grid_size=8).acts.n_nodes < 80
    acts = simulate(binary, "frames", n_frames=5, frame_px=32, frame_nodes=4).acts
    assert (acts.n_grids, acts.n_nodes) == (5, 80)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"protocol": "scribbles"}, "protocol 'scribbles' is unknown; choose one of guess"),
        ({"grid_size": 8}, "grid_size has no meaning for protocol guess; .* choose grid"),
        ({"grid_side": 8}, "grid_side has no meaning for protocol guess; .* choose another name"),
        ({"protocol": "frames", "frame_px": 65}, "a frame of 65 px is larger than slice 0"),
        ({"protocol": "frames", "n_frames": 0, "frame_px": 8}, "number of frames, 0, is below 1"),
        ({"n_slices": 7}, "slices 7 cannot be chosen from 6"),
        ({"n_slices": 0}, "choose 1 to 6"),
        ({"noise": -1.0}, "noise -1 is out of range"),
        ({"noise": math.nan}, "noise nan is out of range"),
        ({"noise": math.inf}, "noise inf is out of range"),
        ({"bias": 0.0}, "bias 0 is out of range"),
        ({"bias": math.nan}, "bias nan is out of range"),
        ({"protocol": "grid", "node_errors": 2.0}, "node_errors 2 is out of range; choose 0 to 1"),
        ({"protocol": "clicks", "clicks_per_slice": -1}, "clicks -1"),
        ({"protocol": "regions", "tile_px": 0}, "tile_px 0"),
        ({"degradation": "blur:1"}, "degradation 'blur:1' is unknown"),
        ({"protocol": "grid", "degradation": "eq5:0.1"}, "nothing to degrade"),
        ({"classes": ("background", "mito")}, "beyond the 2 named ones"),
    ],
)
def test_unusable_options_are_refused(
    options: dict[str, object], expected: str, masks: np.ndarray
) -> None:
    with pytest.raises(InputError, match=expected):
        simulate(masks, **{"protocol": "guess", **options})  # type: ignore[arg-type]


def test_slices_outside_the_masks_are_refused(masks: np.ndarray) -> None:
    with pytest.raises(InputError, match="slice 6 lies outside the masks; choose 0 to 5"):
        simulate_guesses(masks, rng=_rng(), slices=[6])


def test_slices_are_spread_evenly() -> None:
    assert evenly_spread(16, 4) == (2, 6, 10, 14)
    assert evenly_spread(3, 3) == (0, 1, 2)
    assert evenly_spread(5, 1) == (2,)


def test_one_annotator_does_several_protocols(binary: np.ndarray) -> None:
    rng = _rng()
    guesses = simulate_guesses(binary, rng=rng, noise=0.2)
    grids = simulate_grids(binary, rng=rng, slices=evenly_spread(6, 2))
    both = combine(guesses, grids)
    assert both.seconds == guesses.seconds + grids.seconds
    assert len(both.annotations.effective_proportions()) == 6
    assert [step.protocol for step in both.steps] == ["guess", "grid"]


def test_contradicting_simulations_are_not_combined(masks: np.ndarray, binary: np.ndarray) -> None:
    guess, grid = simulate(binary, "guess"), simulate(binary, "grid")
    frames = simulate(binary, "frames", n_frames=3, frame_px=32)
    assert len(combine(grid, frames).annotations.grids) == 9
    with pytest.raises(InputError, match="count the same slice or frame"):
        combine(frames, frames)
    with pytest.raises(InputError, match="one region"):
        combine(guess, guess)
    with pytest.raises(InputError, match="the same slice"):
        combine(grid, grid)
    with pytest.raises(InputError, match="different classes"):
        combine(guess, simulate(masks, "grid"))
    with pytest.raises(InputError, match="nothing to combine"):
        combine()


def test_costs_are_reckoned_by_act() -> None:
    acts = Acts(n_guesses=1, n_empty_ticks=1, n_clicks=1, n_grids=1, n_nodes=256, n_hits=10)
    assert acts.seconds() == 5 + 2 + 2 + 60
    assert Simulation(Annotations(("background", "mito")), acts, ()).seconds == acts.seconds()


# Degraded fractions (section 3.2 of the paper)

FRACTIONS = _rng(5).dirichlet([1.0, 2.0, 3.0], size=60)


def test_eq5_softmax_distorts_even_without_noise() -> None:
    degraded = degrade_eq5([[1.0, 0, 0, 0, 0, 0]], 0.0, _rng())
    assert degraded[0] == pytest.approx([math.e / (math.e + 5), *[1 / (math.e + 5)] * 5])
    assert degraded[0].round(2).tolist() == [0.35, 0.13, 0.13, 0.13, 0.13, 0.13]


def test_eq5_renormalised_keeps_exact_fractions_without_noise() -> None:
    degraded = degrade_eq5(FRACTIONS, 0.0, _rng(), renormalise="sum")
    assert degraded == pytest.approx(FRACTIONS)


@pytest.mark.parametrize("renormalise", ["softmax", "sum"])
def test_eq5_gives_fractions_that_sum_to_one(renormalise: str) -> None:
    degraded = degrade_eq5(FRACTIONS, 0.5, _rng(), renormalise=renormalise)  # type: ignore[arg-type]
    assert degraded.min() >= 0
    assert degraded.sum(axis=1) == pytest.approx(1.0)
    assert not np.allclose(degraded, FRACTIONS)


def test_eq5_renormalised_without_anything_left_gives_equal_fractions() -> None:
    class _Down(np.random.Generator):
        def normal(self, *_args: object, size: tuple[int, ...], **_: object) -> np.ndarray:
            return np.full(size, -2.0)

    degraded = degrade_eq5([[0.9, 0.1]], 1.0, _Down(np.random.PCG64(0)), renormalise="sum")
    assert degraded.tolist() == [[0.5, 0.5]]


def test_eq5_adds_gaussian_noise_of_the_stated_width() -> None:
    exact = np.full((20_000, 2), 0.5)
    degraded = degrade_eq5(exact, 0.1, _rng())
    # Softmax of two is a sigmoid of their difference.
    difference = np.log(degraded[:, 0] / degraded[:, 1])
    assert difference.std() == pytest.approx(0.1 * math.sqrt(2), rel=0.02)


@pytest.mark.parametrize("k", [1, 5, 20])
def test_kmeans_leaves_k_different_rows_all_of_them_original(k: int) -> None:
    degraded = degrade_kmeans(FRACTIONS, k, _rng())
    rows = {tuple(row) for row in degraded}
    assert len(rows) == k
    assert rows <= {tuple(row) for row in FRACTIONS}
    is_kept = (degraded == FRACTIONS).all(axis=1)
    assert is_kept.sum() == k


def test_kmeans_finds_separate_clusters() -> None:
    groups = np.repeat([[0.9, 0.1], [0.5, 0.5], [0.1, 0.9]], 10, axis=0)
    first = groups[:, :1] + _rng().uniform(-0.02, 0.02, (30, 1))
    fractions = np.hstack([first, 1 - first])
    degraded = degrade_kmeans(fractions, 3, _rng(1))
    assert np.abs(degraded - groups).max() < 0.03


def test_kmeans_with_as_many_clusters_as_rows_changes_nothing() -> None:
    assert (degrade_kmeans(FRACTIONS, 60, _rng()) == FRACTIONS).all()
    repeated = np.repeat(FRACTIONS[:4], 5, axis=0)
    assert (degrade_kmeans(repeated, 6, _rng()) == repeated).all()
    with pytest.raises(InputError, match="61 clusters cannot be made of 60"):
        degrade_kmeans(FRACTIONS, 61, _rng())


def test_degrading_fewer_clusters_loses_more() -> None:
    losses = [
        np.mean(
            [np.abs(degrade_kmeans(FRACTIONS, k, _rng(s)) - FRACTIONS).mean() for s in range(5)]
        )
        for k in (2, 10, 40)
    ]
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize("how", ["eq5:0.2", "eq5-renorm:0.2", "kmeans:2"])
def test_annotations_are_degraded_in_their_fractions_alone(how: str, masks: np.ndarray) -> None:
    exact = simulate(masks, "paper", tile_px=32).annotations
    degraded = degrade(exact, how, _rng())
    assert degraded.keypoints == exact.keypoints
    assert [one.region for one in degraded.proportions] == [one.region for one in exact.proportions]
    assert degraded.proportions != exact.proportions
    assert degraded == degrade(exact, how, _rng())
    via_option = simulate(masks, "paper", tile_px=32, degradation=how)
    assert via_option.annotations.proportions != exact.proportions
    assert not via_option.steps[0].is_exact


def test_proportions_with_unknown_classes_are_left_with_a_note() -> None:
    annotations = Annotations(
        ("background", "a", "b"),
        proportions=(
            Proportion(Region(0), (None, 0.2, 0.3), low=(None, 0.1, 0.2), high=(None, 0.3, 0.4)),
            Proportion(Region(1), (None, None, 0.3)),
        ),
    )
    degraded = degrade(annotations, "eq5:0", _rng())
    powers = np.exp([0.5, 0.2, 0.3])
    assert degraded.proportions[0].fractions == pytest.approx(tuple(powers / powers.sum()))
    assert degraded.proportions[0].low is None
    assert degraded.proportions[1] == annotations.proportions[1]
    assert degraded.notes == ("1 proportions with an unknown class were not degraded.",)


@pytest.mark.parametrize(
    "text", ["eq5", "eq5:", "eq5:x", "eq5:-1", "eq5:inf", "kmeans:0", "kmeans:2.5", "nan:1"]
)
def test_malformed_degradations_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="is unknown; write eq5:SIGMA"):
        parse_degradation(text)
