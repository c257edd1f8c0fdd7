"""Snapshots and result layers on a viewer model, without a window."""

from __future__ import annotations

from copy import deepcopy

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from fake_core import fill
from napari.layers import Image, Labels, Layer

from napari_spss.core.annotations import Classes, ClassStyle
from napari_spss.core.base import InputError, Preview
from napari_spss.gui.layers import ResultLayers, snapshot
from napari_spss.gui.models import Cleaning, ResultMaps

STYLES = (
    ClassStyle("background", "#000000", "0"),
    ClassStyle("mito", "#e69f00", "1"),
)


@pytest.fixture
def rig(viewer):
    data = np.arange(4 * 16 * 24, dtype=np.uint16).reshape(4, 16, 24)
    layer = viewer.add_image(
        data,
        name="em",
        scale=(50, 4, 4),
        translate=(5, 6, 7),
        units=("nm",) * 3,
        axis_labels=("z", "y", "x"),
    )
    return layer, snapshot(layer), ResultLayers(viewer)


def preview(z=1, step=1, reduction=4, value=0.9):
    probs = np.zeros((2, 4, 6), np.float32)
    probs[1, :2] = value
    probs[0] = 1 - probs[1]
    return Preview(step, z, reduction, (16, 24), probs)


def names(viewer):
    return [layer.name for layer in viewer.layers]


def test_a_snapshot_reads_the_pixels_of_the_layer(rig):
    layer, source, _ = rig
    assert source.stack.n_slices == 4
    np.testing.assert_array_equal(source.stack.read(2)[0], layer.data[2])
    assert source.stack.voxel_size_um == pytest.approx((0.05, 0.004, 0.004))


@pytest.mark.parametrize(
    ("data", "arguments", "shape"),
    [
        (np.zeros((16, 24), np.float32), {}, (1, 16, 24)),
        (np.zeros((16, 24, 3), np.uint8), {"rgb": True}, (3, 16, 24)),
        (np.zeros((16, 24, 4), np.uint8), {"rgb": True}, (3, 16, 24)),
        (da.zeros((5, 16, 24), chunks=8, dtype=np.uint8), {}, (1, 16, 24)),
        (np.zeros((2, 9, 16, 24), np.int32), {}, (2, 16, 24)),
        ([np.zeros((5, 16, 24)), np.zeros((5, 8, 12))], {"multiscale": True}, (1, 16, 24)),
    ],
)
def test_every_kind_of_image_becomes_a_stack(data, arguments, shape):
    assert snapshot(Image(data, **arguments)).stack.read(0).shape == shape


def test_an_image_that_is_no_stack_is_refused():
    with pytest.raises(InputError, match="at most one channel axis"):
        snapshot(Image(np.zeros((2, 2, 2, 16, 24))))


def test_previews_update_the_same_layers_in_place(rig, viewer):
    _, source, results = rig
    first = results.show_preview(source, preview(z=1), STYLES, Cleaning())
    order = names(viewer)
    second = results.show_preview(source, preview(z=3, value=0.2), STYLES, Cleaning())
    assert first == second
    assert names(viewer) == order == ["em", "em preview mito", "em preview labels"]
    np.testing.assert_allclose(second[0].translate, (5 + 3 * 50, 6 + 1.5 * 4, 7 + 1.5 * 4))
    np.testing.assert_allclose(second[0].scale, (50, 16, 16))
    assert second[1].data.max() == 0
    assert second[0].units == source.geometry.units
    assert second[0].axis_labels == ("z", "y", "x")
    results.remove_preview()
    assert names(viewer) == ["em"]


@pytest.mark.parametrize(("min_piece_px", "n_left"), [(2 * 6 * 4 * 4, 12), (2 * 6 * 4 * 4 + 1, 0)])
def test_a_preview_drops_objects_by_their_size_in_the_image(rig, min_piece_px, n_left):
    _, source, results = rig
    cleaning = Cleaning(min_piece_px=min_piece_px)
    shown = results.show_preview(source, preview(reduction=4), STYLES, cleaning)
    assert np.count_nonzero(shown[-1].data) == n_left


def test_new_layers_do_not_take_the_selection(rig, viewer):
    _layer, source, results = rig
    points = viewer.add_points(ndim=3)
    results.show_preview(source, preview(), STYLES, Cleaning())
    assert viewer.layers.selection.active is points
    assert viewer.layers[-1] is points


@pytest.mark.parametrize("how", ["paint", "fill", "code", "data"])
def test_edited_preview_labels_are_kept_and_the_run_writes_beside_them(rig, viewer, how):
    _, source, results = rig
    edited = results.show_preview(source, preview(z=1), STYLES, Cleaning())[-1]
    if how == "paint":
        edited.paint((0, 3, 3), 1)
    elif how == "fill":
        edited.fill((0, 3, 3), 1)
    elif how == "code":
        edited.data[0, 3, 3] = 1
    else:
        edited.data = np.ones_like(edited.data)
    content = edited.data.copy()
    fresh = results.show_preview(source, preview(z=2), STYLES, Cleaning())[-1]
    results.show_preview(source, preview(z=3), STYLES, Cleaning())
    assert fresh is not edited
    np.testing.assert_array_equal(edited.data, content)
    assert sum(isinstance(layer, Labels) for layer in viewer.layers) == 2
    results.remove_preview()
    assert edited in viewer.layers
    assert fresh not in viewer.layers


def test_deleted_layers_are_made_anew(rig, viewer):
    _, source, results = rig
    results.show_preview(source, preview(), STYLES, Cleaning())
    viewer.layers.clear()
    results.show_preview(source, preview(), STYLES, Cleaning())
    assert names(viewer) == ["em preview mito", "em preview labels"]


def test_copies_that_the_user_made_are_neither_written_over_nor_taken_away(rig, viewer):
    _, source, results = rig
    preview_labels = results.show_preview(source, preview(), STYLES, Cleaning())[-1]
    labels = results.show_labels(source, STYLES)
    results.write_labels(labels, source, 1, np.ones((16, 24), np.uint8))
    copies = [
        viewer.add_layer(Layer.create(*deepcopy(layer.as_layer_data_tuple())))
        for layer in (preview_labels, labels)
    ]
    for layer in (preview_labels, labels):
        viewer.layers.remove(layer)
    before = [layer.data.copy() for layer in copies]
    results.show_preview(source, preview(z=2, value=0.1), STYLES, Cleaning())
    results.remove_preview()
    assert results.show_labels(source, STYLES, is_fresh=True) not in copies
    for layer, data in zip(copies, before, strict=True):
        assert layer in viewer.layers
        np.testing.assert_array_equal(layer.data, data)


def test_renaming_the_image_makes_no_second_set_of_results(rig, viewer):
    layer, source, results = rig
    results.show_preview(source, preview(), STYLES, Cleaning())
    layer.name = "renamed"
    results.show_preview(snapshot(layer), preview(), STYLES, Cleaning())
    assert len(viewer.layers) == 3


def test_results_have_the_full_shape_and_place_of_the_source(rig, viewer):
    layer, source, results = rig
    maps = ResultMaps(Classes(("background", "mito")), source.geometry.stack_shape)
    probability = results.show_maps(source, maps, STYLES)[0]
    labels = results.show_labels(source, STYLES)
    probs = np.zeros((2, 16, 24), np.float32)
    probs[1, :8] = 0.8
    fill(maps, 2, probs)
    results.write_labels(labels, source, 2, maps.labels(2, Cleaning()))
    assert names(viewer) == ["em", "em mito probability", "em labels"]
    for shown in (probability, labels):
        assert shown.data.shape == layer.data.shape
        np.testing.assert_allclose(shown.scale, layer.scale)
        np.testing.assert_allclose(shown.translate, layer.translate)
        assert shown.units == layer.units
        assert shown.axis_labels == layer.axis_labels
    assert labels.data[2].sum() == 8 * 24
    assert float(probability.data[2, 0, 0]) == pytest.approx(0.8, abs=1e-3)
    assert tuple(probability.contrast_limits) == (0, 1)
    assert results.show_labels(source, STYLES) is labels
    assert labels.data.any()
    assert results.show_labels(source, STYLES, is_fresh=True) is labels
    assert not labels.data.any()


def test_an_edited_result_is_kept_and_the_next_is_written_beside_it(rig, viewer):
    _, source, results = rig
    labels = results.show_labels(source, STYLES)
    results.write_labels(labels, source, 0, np.zeros((16, 24), np.uint8))
    assert not results.is_edited(labels)
    labels.paint((1, 3, 3), 1)
    assert results.is_edited(labels)
    fresh = results.show_labels(source, STYLES)
    assert fresh is not labels
    assert fresh.data.sum() == 0
    assert labels.data[1].any()
    assert labels in viewer.layers


@pytest.mark.parametrize("replaces", [False, True])
def test_objects_that_somebody_painted_stay_beside_others_unless_replaced(rig, viewer, replaces):
    _, source, results = rig
    table = pd.DataFrame({"object": [1]})
    painted = results.show_objects(source, "mito", np.zeros((4, 16, 24), np.int32), table)
    painted.paint((1, 3, 3), 1)
    found = np.zeros((4, 16, 24), np.int32)
    shown = results.show_objects(source, "mito", found, table, replaces=replaces)
    assert not shown.data.any()
    assert (shown is painted) == replaces
    assert painted in viewer.layers


def test_labels_changed_in_code_are_not_written_over(rig):
    _, source, results = rig
    labels = results.show_labels(source, STYLES)
    assert results.write_labels(labels, source, 2, np.zeros((16, 24), np.uint8))
    labels.data[2, 5, 5] = 1
    assert not results.write_labels(labels, source, 2, np.zeros((16, 24), np.uint8))
    assert labels.data.sum() == 1
    assert results.show_labels(source, STYLES) is not labels


def test_labels_that_are_meant_are_shown_alone(rig, viewer):
    _, source, results = rig
    theirs = viewer.add_labels(np.zeros((4, 16, 24), int))
    labels = results.show_labels(source, STYLES)
    results.show_alone(labels)
    seen = results.show_preview(source, preview(), STYLES, Cleaning())[-1]
    assert (labels.visible, seen.visible, theirs.visible) == (False, True, True)
    results.show_alone(labels)
    assert (labels.visible, seen.visible) == (True, False)


def test_labels_that_the_user_shows_again_stay(rig):
    _, source, results = rig
    labels = results.show_labels(source, STYLES)
    for step in range(3):
        seen = results.show_preview(source, preview(step=step), STYLES, Cleaning())[-1]
        labels.visible = True
    assert (labels.visible, seen.visible) == (True, True)
    results.show_alone(labels)
    results.show_preview(source, preview(step=3), STYLES, Cleaning())
    assert (labels.visible, seen.visible) == (True, True)


def test_labels_that_the_user_hides_stay_hidden(rig):
    _, source, results = rig
    seen = results.show_preview(source, preview(), STYLES, Cleaning())[-1]
    seen.visible = False
    results.show_preview(source, preview(step=2), STYLES, Cleaning())
    assert not seen.visible


def test_the_name_of_a_result_shows_its_role_beside_a_long_one_of_the_image(viewer):
    long = "2024-11-03_hippocampus_CA1_block07_aligned_crop_512x512_8nm"
    source = snapshot(viewer.add_image(np.zeros((4, 16, 24)), name=long))
    results = ResultLayers(viewer)
    shown = results.show_preview(source, preview(), STYLES, Cleaning())
    names_of = [layer.name for layer in (results.show_labels(source, STYLES), *shown)]
    assert names_of == [
        "2024-11-0…x512_8nm labels",
        "2024-1…2_8nm preview mito",
        "2024-…_8nm preview labels",
    ]
    maps = ResultMaps(Classes(("background", "mito")), source.geometry.stack_shape)
    assert [layer.name for layer in results.show_maps(source, maps, STYLES)] == [
        "mito probability 2024…8nm",
    ]


def test_results_of_a_2d_image_and_of_channels(viewer):
    for shape, labels_shape in (((16, 24), (16, 24)), ((3, 5, 16, 24), (1, 5, 16, 24))):
        source = snapshot(viewer.add_image(np.zeros(shape)))
        results = ResultLayers(viewer)
        labels = results.show_labels(source, STYLES)
        assert labels.data.shape == labels_shape
        results.write_labels(labels, source, 0, np.ones((16, 24), np.uint8))
        assert labels.data.sum() == 16 * 24
        shown = results.show_preview(source, preview(z=0), STYLES, Cleaning())
        assert shown[0].ndim == len(shape)


def test_the_class_colour_is_that_of_the_style(rig):
    _, source, results = rig
    shown = results.show_preview(source, preview(), STYLES, Cleaning())
    np.testing.assert_allclose(
        shown[1].get_color(1)[:3], np.array([0xE6, 0x9F, 0]) / 255, atol=0.01
    )
    np.testing.assert_allclose(
        shown[0].colormap.map([1.0])[0][:3], np.array([0xE6, 0x9F, 0]) / 255, atol=0.01
    )
