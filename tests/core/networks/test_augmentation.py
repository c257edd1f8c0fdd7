import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, strategies as st

from napari_spss.core.networks import View, augment_intensity, draw_view
from napari_spss.core.networks.augmentation import Flip

EIGHT = [Flip(has_flip, n) for has_flip in (False, True) for n in range(4)]
STILL = Flip(False, 0)


def draw(n=4, shape=(32, 32), *, seed=0, step=0, flips=True, warp=True):
    return draw_view(n, shape, seed=seed, step=step, flips=flips, warp=warp)


def matrices(*rows):
    return torch.tensor(rows, dtype=torch.float32)


def smooth(n, height, width):
    """Images that hardly change between neighbouring pixels."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    waves = [torch.sin(y / 9 + k) + torch.cos(x / 7 - k) for k in range(n)]
    return torch.stack(waves)[:, None]


def test_eight_symmetries_differ_and_can_be_undone():
    image = torch.arange(2 * 5 * 5).reshape(2, 5, 5)
    turned = [flip.apply(image) for flip in EIGHT]
    assert len({tuple(one.flatten().tolist()) for one in turned}) == 8
    for flip, one in zip(EIGHT, turned, strict=True):
        assert torch.equal(flip.undo(one), image)


@pytest.mark.parametrize(("shape", "turns"), [((16, 16), {0, 1, 2, 3}), ((16, 12), {0, 2})])
def test_only_square_windows_are_turned_by_a_quarter(shape, turns):
    view = draw(200, shape, warp=False)
    assert {flip.n_turns for flip in view.flips} == turns
    assert {flip.has_flip for flip in view.flips} == {False, True}
    images = torch.rand(200, 1, *shape)
    assert view.apply(images).shape == images.shape
    assert torch.equal(view.undo(view.apply(images)), images)
    assert view.shows(*shape).all()


@given(step=st.integers(0, 10**6), seed=st.integers(0, 2**40))
def test_a_view_depends_on_seed_and_step_alone(step, seed):
    # so many that no two views are those of windows of which none is warped
    first, again = draw(40, seed=seed, step=step), draw(40, seed=seed, step=step)
    assert first.flips == again.flips
    assert torch.equal(first.matrices, again.matrices)
    assert not torch.equal(first.matrices, draw(40, seed=seed, step=step + 1).matrices)
    assert not torch.equal(first.matrices, draw(40, seed=seed + 1, step=step).matrices)


def test_warping_does_not_change_which_flips_are_drawn():
    assert draw(warp=True).flips == draw(warp=False).flips
    assert draw(flips=False).flips == (STILL,) * 4


def test_warps_stay_within_what_is_promised():
    drawn = draw(2000).matrices.double()
    is_still = (drawn == torch.eye(2)).all(dim=(1, 2))
    assert 0.25 < is_still.double().mean() < 0.35
    scales = torch.linalg.det(drawn[~is_still]).sqrt()
    assert 1 / 1.36 < scales.min() < 0.76
    assert 1.33 < scales.max() < 1.36
    turns = torch.atan2(drawn[~is_still, 1, 0], drawn[~is_still, 0, 0]).rad2deg()
    assert -45.01 < turns.min() < -43
    assert 43 < turns.max() < 45.01


def test_a_quarter_turn_by_a_matrix_is_that_of_a_flip():
    images = torch.rand(1, 3, 16, 16)
    by_matrix = View((STILL,), matrices([[0, -1], [1, 0]])).apply(images)
    turned = [flip.apply(images[0]) for flip in EIGHT[:4]]
    same = [bool(torch.isclose(one, by_matrix[0], atol=1e-4).all()) for one in turned]
    assert same in ([False, True, False, False], [False, False, False, True])


def test_a_larger_scale_shows_more_around_the_middle_which_stays():
    image = torch.zeros(1, 1, 41, 41)
    image[..., 20, 20] = 1
    image[..., 20, 30] = 2
    seen = View((STILL,), matrices([[2.0, 0], [0, 2.0]])).apply(image)
    assert seen[0, 0, 20, 20] == pytest.approx(1, abs=1e-4)
    assert seen[0, 0, 20, 25] == pytest.approx(2, abs=1e-4)


@given(step=st.integers(0, 10**6), shape=st.sampled_from([(48, 48), (40, 56)]))
def test_maps_come_back_to_where_they_were(step, shape):
    images = smooth(4, *shape)
    view = draw(4, shape, step=step)
    back = view.undo(view.apply(images))
    is_seen = view.shows(*shape)[:, None]
    # of 4 from crest to trough, and up to half a pixel away
    assert (back - images)[is_seen].abs().max() < 0.3
    # what is not seen is what the warp moved out of the window
    assert 0.3 < is_seen.float().mean() <= 1


def test_what_is_seen_lies_in_the_view():
    height, width = 30, 24
    view = draw(50, (height, width), step=3, flips=False)
    y, x = np.mgrid[:height, :width]
    is_seen = view.shows(height, width)
    for matrix, seen in zip(view.matrices.double(), is_seen, strict=True):
        offsets = np.stack([x + 0.5 - width / 2, y + 0.5 - height / 2], axis=-1)
        places = offsets @ np.linalg.inv(matrix.numpy()).T
        limits = np.array([width, height]) / 2 - 0.5
        assert np.array_equal(seen.numpy(), (np.abs(places) <= limits + 1e-4).all(-1))


@pytest.mark.parametrize("shape", [(32, 32), (20, 33)])
def test_a_map_comes_back_as_its_nearest_pixels_or_those_of_its_edge(shape):
    maps = torch.rand(6, 3, *shape)
    view = draw(6, shape, step=2)
    turned = torch.stack([flip.matrix for flip in view.flips]) @ view.matrices
    half = torch.tensor(shape[::-1]) / 2
    normalised = torch.linalg.inv(turned) * half / half[:, None]
    places = F.affine_grid(F.pad(normalised, (0, 1)), maps.shape, align_corners=False)
    expected = F.grid_sample(
        maps, places, mode="nearest", padding_mode="border", align_corners=False
    )
    # between two pixels rounding decides
    assert (view.undo(maps) == expected).float().mean() > 0.999


def test_gradients_flow_back_through_a_view():
    logits = torch.zeros(4, 1, 32, 32, requires_grad=True)
    draw(step=1).undo(logits).sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert float(logits.grad.sum()) == pytest.approx(4 * 32 * 32, rel=1e-4)


def test_a_view_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        draw().flips = ()


def test_intensities_are_disturbed_repeatably_and_each_image_by_itself():
    images = torch.randn(3, 2, 32, 32, generator=torch.Generator().manual_seed(1))
    first = augment_intensity(images, seed=0, step=5)
    assert torch.equal(first, augment_intensity(images, seed=0, step=5))
    assert not torch.equal(first, augment_intensity(images, seed=0, step=6))
    assert not torch.equal(first, augment_intensity(images, seed=1, step=5))
    grey = augment_intensity(0.1 * images + 0.5, seed=0, step=5, mean=0.5, deviation=0.1)
    torch.testing.assert_close(grey, 0.1 * first + 0.5)
    shifts = (first - images).mean((1, 2, 3))
    assert len({round(float(shift), 4) for shift in shifts}) == 3
    for before, after in zip(images, first, strict=True):
        similarity = torch.corrcoef(torch.stack([before.flatten(), after.flatten()]))[0, 1]
        assert similarity > 0.9
        assert 0.6 < after.std() / before.std() < 1.6
        assert abs(after.mean() - before.mean()) < 0.5
