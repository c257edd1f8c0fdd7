"""Uncertainty in closed form, the order in which slices are worth counting, and the files."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, strategies as st
from torch import nn

from napari_spss.core.analysis import acquisition_scores, entropy, mean_entropy
from napari_spss.core.analysis.uncertainty import order_slices
from napari_spss.core.annotations import Annotations, Proportion, Region, lay_grid
from napari_spss.core.base import InputError, Predicted, TrainingSettings
from napari_spss.core.images import stack_from_array
from napari_spss.core.prediction import (
    iter_prediction,
    predict_slice,
    rank_slices,
    uncertainty_slice,
)
from napari_spss.core.training import Model
from napari_spss.core.training.samples import LabelScale

pytestmark = [
    pytest.mark.usefixtures("one_torch_thread"),
    pytest.mark.filterwarnings("ignore:.*as aligning leaves it"),  # slices are of few greys
]

CLASSES = ("background", "mito")


class Sideways(nn.Module):
    """Sure of what it sees, but its answer depends on which half of the image is the left one."""

    stride = 1
    receptive_radius = 1000
    has_exact_radius = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        columns = torch.arange(x.shape[3]) < x.shape[3] // 2
        return (200.0 * (columns.float() - 0.5)).expand(len(x), 1, *x.shape[2:])


class Grey(nn.Module):
    """Probability 0, 0.5 or 1 for grey values 0, 0.5 and 1, up to rounding."""

    stride = 1
    receptive_radius = 0
    has_exact_radius = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 200.0 * (x - 0.5)


def model_of(network, *, reduction=1):
    return Model(
        network=network.eval(),
        classes=CLASSES,
        reduction=reduction,
        n_channels=1,
        settings=TrainingSettings().with_overrides({"image.normalisation": "range"}),
        stated_fractions=None,
        label_scale=LabelScale(1.0, (1.0, 1.0)),
        n_steps=0,
    )


def hesitant(*percent, size=20):
    """A stack of which so much of each slice is grey, and the rest black."""
    image = np.zeros((len(percent), size, size), np.float32)
    for z, share in enumerate(percent):
        image[z].reshape(-1)[: size * size * share // 100] = 0.5
    image[:, -1, -1] = 1  # the range is taken from the slice
    return stack_from_array(image)


def grid_on(z, shape=(20, 20)):
    grid = lay_grid(z, shape, n_side=4, rng=np.random.default_rng(0))
    return grid.replace(class_index=np.zeros(len(grid.y), np.int16), is_done=True)


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_entropy_goes_from_certain_to_all_alike(n_classes):
    alike = np.full((n_classes, 3, 4), 1 / n_classes, np.float32)
    certain = np.zeros((n_classes, 3, 4), np.float32)
    certain[0] = 1
    np.testing.assert_allclose(entropy(alike), 1, atol=1e-6)
    np.testing.assert_allclose(entropy(certain), 0, atol=1e-6)
    assert entropy(alike).dtype == np.float32


def test_entropy_in_bits_of_a_coin():
    found = entropy(np.array([[0.9], [0.1]]))
    assert found[0] == pytest.approx(-(0.9 * np.log2(0.9) + 0.1 * np.log2(0.1)))
    two_of_four = entropy(np.array([[0.5], [0.5], [0.0], [0.0]]))
    assert two_of_four[0] == pytest.approx(0.5)


def test_mean_of_an_even_map_is_that_of_its_pixels():
    probs = np.full((2, 5, 7), 0.5, np.float32)
    assert mean_entropy(probs) == pytest.approx(1)
    probs[:, :, 4:] = [[[1.0]], [[0.0]]]
    assert mean_entropy(probs) == pytest.approx(1 / 2)  # columns 0 and 4


def test_what_depends_on_how_the_slice_lies_is_uncertain():
    model, stack = model_of(Sideways()), hesitant(0)
    probs = predict_slice(model, stack, 0, device="cpu")
    assert entropy(probs).max() < 1e-3
    np.testing.assert_allclose(uncertainty_slice(model, stack, 0, device="cpu"), 1, atol=1e-5)


def test_only_hesitant_pixels_are_uncertain():
    model, stack = model_of(Grey()), hesitant(30)
    found = uncertainty_slice(model, stack, 0, device="cpu")
    assert found.shape == (20, 20)
    np.testing.assert_allclose(found, stack.read(0)[0] == 0.5, atol=1e-5)
    part = uncertainty_slice(model, stack, 0, box=(2, 3, 9, 8), device="cpu")
    np.testing.assert_array_equal(part, found[2:9, 3:8])


def test_the_most_uncertain_slice_comes_first_and_counted_ones_never():
    model, stack = model_of(Grey()), hesitant(10, 80, 70, 20, 30, 60)
    nothing = Annotations(CLASSES)
    # 5 lies farther from 1 than 2 does
    assert rank_slices(model, stack, nothing, device="cpu") == (1, 5, 2, 4, 3, 0)
    counted = Annotations(CLASSES, grids=(grid_on(1),))
    assert rank_slices(model, stack, counted, device="cpu") == (5, 3, 2, 4, 0)
    everything = Annotations(CLASSES, grids=tuple(grid_on(z) for z in range(6)))
    assert rank_slices(model, stack, everything, device="cpu") == ()


def test_slices_are_ranked_at_working_scale():
    model, stack = model_of(Grey(), reduction=4), hesitant(0, 100, 0, 0)
    assert rank_slices(model, stack, Annotations(CLASSES), device="cpu")[0] == 1
    two = stack_from_array(np.zeros((3, 2, 20, 20), np.uint8), axes="ZCYX")
    with pytest.raises(InputError, match="2 channels"):
        rank_slices(model, two, Annotations(CLASSES), device="cpu")


def test_a_fraction_that_the_map_contradicts_counts_as_doubt():
    stated = (
        Proportion(Region(0), (0.9, 0.1)),
        Proportion(Region(2), (0.6, 0.4)),
        Proportion(Region(3, (0, 0, 2, 2)), (0.0, 1.0)),
        Proportion(Region(1, (0, 0, 2, 2)), (0.0, 1.0), source="grid"),  # of a frame
        Proportion(Region(4), (0.5, 0.5), source="grid"),
    )
    predicted = dict.fromkeys(range(5), (0.9, 0.1)) | {0: (np.nan, np.nan)}
    found = acquisition_scores(
        dict.fromkeys(range(5), 0.2), predicted, stated, n_slices=5, is_set=True
    )
    assert [one.slice for one in found] == [2, 0, 1, 3]
    assert found[0].total == pytest.approx(0.2 + 0.3)
    assert [one.difference for one in found[1:]] == [0, 0, 0]


def test_neighbours_of_what_is_counted_or_chosen_come_later():
    gains = {0: 0.5, 1: 0.9, 2: 0.8, 3: 0.1, 4: 0.2}
    assert order_slices(gains) == (1, 2, 0, 4, 3)
    assert order_slices(gains, apart=2) == (1, 4, 2, 0, 3)
    assert order_slices(gains, counted=[1], apart=2)[0] == 4


@given(
    gains=st.dictionaries(st.integers(0, 60), st.floats(0, 1), max_size=40),
    counted=st.sets(st.integers(0, 60), max_size=5),
    apart=st.integers(1, 30),
)
def test_every_slice_is_ordered_once(gains, counted, apart):
    left = {z: gain for z, gain in gains.items() if z not in counted}
    assert sorted(order_slices(left, counted=counted, apart=apart)) == sorted(left)


def means_of(events):
    return {one.slice: one.uncertainty for one in events if isinstance(one, Predicted)}


def test_uncertainty_is_written_beside_the_maps(tmp_path):
    model, stack = model_of(Grey()), hesitant(40, 0)
    events = iter_prediction(model, stack, out_dir=tmp_path, uncertainty=True, device="cpu")
    *events, finished = events
    assert finished.outputs == {
        name: str(tmp_path / f"{name}.ome.tif") for name in ("maps", "labels", "uncertainty")
    }
    written = tifffile.imread(tmp_path / "uncertainty.ome.tif")
    assert (written.dtype, written.shape) == (np.uint8, (2, 20, 20))
    grey = np.stack([stack.read(z)[0] == 0.5 for z in range(2)])
    np.testing.assert_array_equal(written, np.where(grey, 255, 0))
    assert means_of(events) == pytest.approx({0: 0.4, 1: 0.0}, abs=1e-4)


def test_matched_threshold_writes_it_as_well(tmp_path):
    model = model_of(Grey()).model_copy(update={"stated_fractions": (0.5, 0.5)})
    events = iter_prediction(
        model, hesitant(40), out_dir=tmp_path, threshold="auto", uncertainty=True, device="cpu"
    )
    assert means_of(events) == pytest.approx({0: 0.4}, abs=1e-4)
    assert tifffile.imread(tmp_path / "uncertainty.ome.tif").max() == 255


def test_without_it_the_means_are_known_and_nothing_is_written(tmp_path):
    events = iter_prediction(model_of(Grey()), hesitant(40), out_dir=tmp_path, device="cpu")
    assert means_of(events) == pytest.approx({0: 0.4}, abs=1e-4)
    assert not (tmp_path / "uncertainty.ome.tif").exists()
