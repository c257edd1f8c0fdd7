"""Axes, slices and places of results, against positions worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import Dims
from napari.layers import Image

from napari_spss.core.base import InputError
from napari_spss.gui.layers import Geometry, voxel_size_um
from napari_spss.gui.layers.geometry import find_axes


def image(shape, **kwargs):
    return Image(np.zeros(shape, np.uint8), **kwargs)


@pytest.mark.parametrize(
    ("shape", "arguments", "axes"),
    [
        ((20, 30), {}, "YX"),
        ((5, 20, 30), {}, "ZYX"),
        ((20, 30, 3), {"rgb": True}, "YX"),
        ((5, 20, 30, 3), {"rgb": True}, "ZYX"),
        ((3, 20, 30), {"axis_labels": ("c", "y", "x")}, "CYX"),
        ((2, 50, 20, 30), {}, "CZYX"),
        ((50, 2, 20, 30), {}, "ZCYX"),
        ((4, 4, 20, 30), {"axis_labels": ("z", "channel", "y", "x")}, "ZCYX"),
        ((1, 6, 20, 30), {"axis_labels": ("t", "z", "y", "x")}, "CZYX"),
        ((6, 1, 20, 30), {"axis_labels": ("z", "time", "y", "x")}, "ZCYX"),
        ((6, 1, 20, 30), {"axis_labels": ("t", "z", "y", "x")}, "ZCYX"),
        ((1, 1, 20, 30), {}, "CZYX"),
        ((1, 1, 6, 20, 30), {}, "QCZYX"),
        ((1, 6, 2, 20, 30), {"axis_labels": ("t", "z", "c", "y", "x")}, "QZCYX"),
        ((6, 1, 1, 20, 30), {"axis_labels": ("t", "c", "z", "y", "x")}, "ZCQYX"),
        ((1, 6, 20, 30, 3), {"rgb": True}, "QZYX"),
    ],
)
def test_axes_of_layers(shape, arguments, axes):
    layer = image(shape, **arguments)
    assert find_axes(layer) == axes
    n_z, height, width = Geometry.of(layer).stack_shape
    assert (height, width) == (20, 30)
    assert n_z == (shape[axes.index("Z")] if "Z" in axes else 1)


@pytest.mark.parametrize("shape", [(40, 50, 20, 30), (2, 3, 4, 20, 30), (4, 4, 20, 30)])
def test_a_layer_that_is_no_stack_says_why(shape):
    with pytest.raises(InputError, match="at most one channel axis") as caught:
        find_axes(image(shape))
    assert str(shape) in str(caught.value)


def test_an_axis_of_time_is_not_taken_for_channels():
    with pytest.raises(InputError, match="take one time point as a layer of its own"):
        find_axes(image((2, 6, 20, 30), axis_labels=("t", "z", "y", "x")))


def test_a_pyramid_counts_with_its_largest_level():
    layer = Image([np.zeros((5, 64, 64)), np.zeros((5, 32, 32))], multiscale=True)
    assert Geometry.of(layer).stack_shape == (5, 64, 64)


def test_the_slice_under_the_slider_respects_scale_and_translation():
    geometry = Geometry.of(image((10, 20, 30), scale=(50, 4, 4), translate=(1000, 7, 7)))
    assert [geometry.slice_at((w, 0, 0)) for w in (1000, 1024, 1026, 1450)] == [0, 0, 1, 9]
    assert geometry.slice_at((0, 0, 0)) == 0
    assert geometry.slice_at((99999, 0, 0)) == 9
    dims = Dims(ndim=3, range=((1000, 1450, 50), (0, 100, 1), (0, 100, 1)))
    geometry.go_to(dims, 3)
    assert dims.point == (1150, 0, 0)


def test_a_viewer_with_more_axes_uses_the_last_ones():
    geometry = Geometry.of(image((10, 20, 30)))
    assert geometry.slice_at((5, 7, 0, 0)) == 7


def test_a_reduced_map_lies_on_the_pixels_that_it_covers():
    """Pixel 0 of a map reduced by 4 covers data pixels 0..3: centre 1.5, size 4."""
    geometry = Geometry.of(image((10, 20, 30), scale=(50, 2, 3), translate=(100, 10, 20)))
    place = geometry.layer_arguments(reduction=4, first_slice=6)
    np.testing.assert_allclose(place["scale"], (50, 8, 12))
    np.testing.assert_allclose(place["translate"], (100 + 6 * 50, 10 + 1.5 * 2, 20 + 1.5 * 3))


def test_a_reduced_map_follows_rotation_shear_and_affine():
    affine = np.array([[1, 0, 0, 5], [0, 0, -1, 6], [0, 1, 0, 7], [0, 0, 0, 1]])
    layer = image((4, 20, 30), scale=(3, 2, 2), rotate=(30, 0, 0), shear=(0, 0, 0.2), affine=affine)
    place = Geometry.of(layer).layer_arguments(reduction=2, first_slice=1)
    reduced = Image(np.zeros((1, 10, 15)), **place)
    # the centre of reduced pixel (0, i, j) is data position (1, 2 i + .5, 2 j + .5)
    np.testing.assert_allclose(
        reduced.data_to_world((0, 3, 4)), layer.data_to_world((1, 6.5, 8.5)), atol=1e-9
    )


def test_results_of_channels_show_with_each_channel():
    geometry = Geometry.of(image((5, 3, 20, 30), axis_labels=("z", "c", "y", "x")))
    labels = Image(geometry.expand(np.zeros((5, 20, 30))), **geometry.layer_arguments())
    assert labels.data.shape == (5, 1, 20, 30)
    for channel in range(3):
        assert round(labels.world_to_data((2, channel, 0, 0))[1]) == 0


def test_world_points_become_pixels():
    geometry = Geometry.of(image((10, 20, 30), scale=(50, 4, 4), translate=(1000, 8, 8)))
    np.testing.assert_allclose(geometry.to_pixels([[1100, 48, 88]]), [[2, 10, 20]])
    flat = Geometry.of(image((20, 30), scale=(2, 2)))
    np.testing.assert_allclose(flat.to_pixels([[7, 4, 6]]), [[0, 2, 3]])


def test_voxel_sizes_come_in_micrometres():
    layer = image((5, 20, 30), scale=(50, 4, 4), units=("nm", "nm", "nm"))
    assert voxel_size_um(Geometry.of(layer)) == pytest.approx((0.05, 0.004, 0.004))
    assert voxel_size_um(Geometry.of(image((5, 20, 30)))) == (None, None, None)
    flat = image((20, 30), scale=(2, 2), units=("um", "um"))
    assert voxel_size_um(Geometry.of(flat)) == (None, 2.0, 2.0)


@pytest.mark.parametrize(
    ("shape", "labels"),
    [((20, 30), None), ((5, 20, 30), None), ((5, 2, 20, 30), ("z", "c", "y", "x"))],
)
def test_expanding_and_collapsing_undo_each_other(shape, labels):
    geometry = Geometry.of(image(shape, axis_labels=labels))
    stack = np.arange(np.prod(geometry.stack_shape)).reshape(geometry.stack_shape)
    np.testing.assert_array_equal(geometry.collapse(geometry.expand(stack)), stack)
