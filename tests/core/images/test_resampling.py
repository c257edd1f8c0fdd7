"""The working scale: block means, normalisation, and the way back, strip by strip."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from napari_spss.core.base import ImageSettings, InputError
from napari_spss.core.images import (
    enlarge,
    resample_points,
    resample_slice,
    resampling as working,
    slice_greys,
    stack_from_array,
    streamed_greys,
)
from napari_spss.core.images.resampling import grey_range, normalise

sizes = st.integers(1, 40)
reductions = st.integers(1, 9)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(100, 20, shape).astype(np.float32)


def block_means(image, k):
    """Means of k x k blocks, one by one; the last ones may be smaller."""
    rows, columns = (range(0, n, k) for n in image.shape[1:])
    return np.array(
        [[[c[y : y + k, x : x + k].mean() for x in columns] for y in rows] for c in image]
    )


@pytest.mark.parametrize(
    ("image", "diameter", "expected"),
    [
        ({}, None, None),
        ({"object_diameter_px": 20}, None, 1),
        ({"object_diameter_px": 3}, None, 1),
        ({"object_diameter_px": 85}, None, 4),
        ({"object_diameter_px": 80}, None, 3),
        ({"object_diameter_um": 0.4}, 0.005, 3),
        ({"object_diameter_px": 40, "object_diameter_um": 0.4}, 0.005, 2),
        ({"object_diameter_px": 40, "target_diameter_px": 10}, None, 4),
    ],
)
def test_the_object_is_brought_to_its_target_width(image, diameter, expected):
    assert ImageSettings(**image).reduction(diameter) == expected


def test_micrometres_need_a_pixel_size():
    with pytest.raises(InputError, match=r"0\.4 um needs the image's pixel size") as e:
        ImageSettings(object_diameter_um=0.4).reduction(None)
    assert e.value.field == "image.object_diameter_um"


@given(channels=st.integers(1, 3), height=sizes, width=sizes, k=reductions)
def test_a_working_pixel_is_the_mean_of_its_block(channels, height, width, k):
    image = noise(1, channels, height, width)
    reduced = resample_slice(stack_from_array(image, axes="ZCYX"), 0, k, None)
    assert reduced.dtype == np.float32
    assert reduced.shape == (channels, -(-height // k), -(-width // k))
    np.testing.assert_allclose(reduced, block_means(image[0], k), rtol=1e-5)


@settings(max_examples=40)
@given(height=sizes, width=sizes, k=reductions, strip_px=st.integers(1, 200))
def test_strips_reduce_to_what_the_whole_slice_does(height, width, k, strip_px):
    stack = stack_from_array(noise(1, height, width))
    whole = resample_slice(stack, 0, k, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(working, "_STRIP_PX", strip_px)
        patch.setattr(working, "_CHUNK_PX", strip_px)
        strips = resample_slice(stack, 0, k, None)
    np.testing.assert_array_equal(strips, whole)


def test_a_large_slice_is_never_read_whole(monkeypatch):
    stack = stack_from_array(noise(1, 64, 8))
    read, heights = stack.read, []

    def spy(z, box):
        heights.append(box[2] - box[0])
        return read(z, box)

    monkeypatch.setattr(stack, "read", spy)
    monkeypatch.setattr(working, "_STRIP_PX", 80)
    resample_slice(stack, 0, 4, None)
    assert heights == [8] * 8


def test_normalising_takes_a_second_image_and_no_more():
    image = noise(1, 2000, 1000)
    tracemalloc.start()
    try:
        scaled = normalise(image, "slice", np.dtype(np.uint8))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 1.5 * image.nbytes
    np.testing.assert_allclose(scaled, (image - image.mean()) / image.std(), atol=1e-4)


def test_slice_normalisation_gives_every_channel_zero_mean_and_unit_deviation():
    image = np.stack([noise(30, 40), 1e4 * noise(30, 40, seed=1)])
    scaled = normalise(image, "slice", np.dtype(np.float32))
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled.mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std((1, 2)), 1, atol=1e-5)


@given(exponent=st.integers(-30, 30), offset=st.integers(-3, 3))
def test_slice_normalisation_does_not_depend_on_the_unit(exponent, offset):
    image = noise(1, 12, 15)
    other = (image + 10 * offset) * np.float32(10.0) ** exponent
    expected, found = (normalise(i, "slice", np.dtype(np.float32)) for i in (image, other))
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("value", [0, 0.1, -7, 3.3e9, 1e-20])
def test_a_slice_that_does_not_vary_is_zero(value):
    image = np.full((2, 9, 11), value, np.float32)
    np.testing.assert_array_equal(normalise(image, "slice", np.dtype(np.float32)), 0)


@pytest.mark.parametrize("value", [0, 255])
def test_padding_of_aligned_slices_does_not_change_what_the_network_sees(value, monkeypatch):
    turned = np.add.outer(np.arange(50), np.arange(80)) < 70  # a corner, whole rows, right columns
    turned[:5], turned[:, 62:] = True, True
    image = noise(50, 80).clip(1, 254).astype(np.uint8)
    stack = stack_from_array(np.where(turned, np.uint8(value), image), axes="YX")
    seen = image[~turned].astype(float)
    expected = (seen - seen.mean()) / seen.std()
    found = resample_slice(stack, 0, 1, "slice")[0]
    np.testing.assert_allclose(found[~turned], expected, atol=1e-5)
    monkeypatch.setattr(working, "_STRIP_PX", 80 * 6)
    greys, padded = streamed_greys(stack, 0, 1, "slice")
    np.testing.assert_allclose(np.ravel(greys), [seen.mean(), seen.std()], rtol=1e-5)
    assert padded == pytest.approx(slice_greys(stack, 0, 1, "slice").padded) == turned.mean()


def test_a_drawn_image_of_two_values_keeps_what_is_drawn(monkeypatch):
    rows, columns = np.indices((60, 80)) - 40
    halves, disc = columns < 10, rows**2 + columns**2 < 300
    for is_drawn in (halves, disc):
        stack = stack_from_array(np.where(is_drawn, np.uint8(255), np.uint8(0)), axes="YX")
        expected = (is_drawn - is_drawn.mean()) / is_drawn.std()
        found = resample_slice(stack, 0, 1, "slice")[0]
        np.testing.assert_allclose(found, expected, atol=1e-5)
        with monkeypatch.context() as patch:
            patch.setattr(working, "_STRIP_PX", 80 * 7)
            greys = streamed_greys(stack, 0, 1, "slice")[0].ravel()
        np.testing.assert_allclose(greys, [255 * is_drawn.mean(), 255 * is_drawn.std()], rtol=1e-6)


@pytest.mark.parametrize("n_channels", [1, 2])
def test_saturated_spots_do_not_change_what_the_network_sees_elsewhere(n_channels, monkeypatch):
    image = np.stack([noise(60, 80, seed=seed) for seed in range(n_channels)]).astype(np.uint16)
    spot, hidden = np.zeros((2, 60, 80), bool)
    spot[20:28, 30:42], hidden[50, 3] = True, True  # 2 % of the slice; and one that this one hides
    stained = image.copy()
    stained[:, spot], stained[:, hidden] = 65535, 3000
    seen = image[:, ~(spot | hidden)].astype(float)
    expected = (seen - seen.mean(1, keepdims=True)) / seen.std(1, keepdims=True)
    stack = stack_from_array(stained, axes="CYX")
    found = resample_slice(stack, 0, 1, "slice")
    np.testing.assert_allclose(found[:, ~(spot | hidden)], expected, atol=1e-4)
    assert (abs(expected).max() < found[:, hidden]).all()
    assert (found[:, hidden] < found[:, spot].min()).all()
    assert found.max() < 20
    monkeypatch.setattr(working, "_STRIP_PX", 80 * 6)
    greys = streamed_greys(stack, 0, 1, "slice")[0][..., 0, 0]
    np.testing.assert_allclose(greys, [seen.mean(1), seen.std(1)], rtol=1e-5)


def test_half_covered_pixels_around_a_saturated_corner_do_not_count(monkeypatch):
    """The corner itself is padding; its rim alone made the deviation 20 times as large."""
    image = np.random.default_rng(0).normal(3000, 60, (1, 400, 400)).astype(np.uint16)
    clean = resample_slice(stack_from_array(image), 0, 3, None)[:, 40:]
    image[0, :100, :100] = 65535
    stack = stack_from_array(image)
    held = grey_range(resample_slice(stack, 0, 3, None), "slice", np.dtype(np.uint16))
    np.testing.assert_allclose(held.ravel(), [clean.mean(), clean.std()], rtol=0.02)
    monkeypatch.setattr(working, "_STRIP_PX", 400 * 30)
    np.testing.assert_allclose(streamed_greys(stack, 0, 3, "slice")[0], held, rtol=1e-5)


def test_artefacts_that_hide_each_other_by_turns_come_to_an_end(monkeypatch):
    """Without bright and dark spots the grey ones are far, with which the dark ones vary."""
    image = np.random.default_rng(0).normal(100, 3, (1, 40, 50)).astype(np.float32)
    image.ravel()[500:560] = np.repeat([255, 0, -400], [10, 30, 20])
    times, moments = iter(range(1, 30)), working._moments
    monkeypatch.setattr(working, "_moments", lambda *given: next(times) and moments(*given))
    mean, deviation = grey_range(image, "slice", np.dtype(np.float32)).ravel()
    assert 95 < mean < 101
    assert 3 < deviation < image.std() / 4


def test_bright_spots_that_vary_are_no_artefact():
    image = noise(1, 60, 80)
    image[:, 20:28, 10:22] = np.random.default_rng(1).uniform(1000, 3000, (8, 12))  # 2 %
    scaled = normalise(image, "slice", np.dtype(np.float32))
    assert scaled.max() < 10
    np.testing.assert_allclose(scaled, (image - image.mean()) / image.std(), atol=1e-4)


def test_leaving_out_padding_takes_little_memory():
    image = noise(1, 2000, 2000)
    image[:, :, :300] = 0
    tracemalloc.start()
    grey_range(image, "slice", np.dtype(np.float32))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < image.nbytes


def test_stripes_and_narrow_images_are_no_padding():
    stripes = np.repeat(np.arange(30, dtype=np.float32)[None, :, None], 40, axis=2)
    for image in (stripes, noise(1, 20, 1), noise(1, 1, 20)):
        scaled = normalise(image, "slice", np.dtype(np.float32))
        np.testing.assert_allclose(scaled.std(), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        ("uint8", [0, 51, 255], [0, 0.2, 1]),
        ("uint16", [0, 65535], [0, 1]),
        ("int16", [-32768, 32767], [0, 1]),
        ("int32", [-(2**31), 2**31 - 1], [0, 1]),
        ("bool", [0, 1], [0, 1]),
        ("float32", [0.25, 0.5], [0.25, 0.5]),
        ("float32", [-1, 0, 3], [0, 0.25, 1]),
        ("float64", [5, 5], [0, 0]),
    ],
)
def test_range_normalisation_maps_the_dtype_to_0_to_1(dtype, values, expected):
    image = np.array([[values]], np.float32)
    scaled = normalise(image, "range", np.dtype(dtype))
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled[0, 0], expected, atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1e30])
@pytest.mark.parametrize("mode", ["slice", "range"])
def test_values_that_are_no_numbers_are_refused_with_their_slice(value, mode):
    image = noise(3, 8, 8)
    image[1, 2, 5] = value
    stack = stack_from_array(image, source="em.tif")
    resample_slice(stack, 0, 2, mode)
    with pytest.raises(InputError, match=r"slice 1 of em\.tif holds 1 value of NaN"):
        resample_slice(stack, 1, 2, mode)
    replaced = np.where(abs(image) < 1e20, image, 0)  # as the message says
    resample_slice(stack_from_array(replaced), 1, 2, mode)


def test_a_resampled_slice_is_reduced_first_and_normalised_then():
    stack = stack_from_array(np.arange(64, dtype=np.uint8).reshape(1, 8, 8))
    expected = block_means(stack.read(0).astype(float), 2) / 255
    np.testing.assert_allclose(resample_slice(stack, 0, 2, "range"), expected, atol=1e-6)


@given(i=st.integers(0, 1000), k=reductions)
def test_working_pixels_are_centred_on_their_blocks(i, k):
    block = np.arange(i * k, (i + 1) * k)
    assert resample_points(block.mean(), k) == pytest.approx(i)
    np.testing.assert_allclose(np.round(resample_points(block, k)), i)


@given(k=reductions, slope=st.floats(-5, 5), rows=st.integers(2, 6), columns=st.integers(2, 6))
def test_enlarging_what_was_reduced_shifts_nothing(k, slope, rows, columns):
    y, x = np.mgrid[: rows * k, : columns * k]
    image = (y + slope * x).astype(np.float32)
    stack = stack_from_array(image[None])
    reduced = torch.from_numpy(resample_slice(stack, 0, k, None))
    back = enlarge(reduced, image.shape, k)[0].numpy()
    # exact but for the border of half a working pixel, where there is nothing to go on
    inner = np.s_[k // 2 : rows * k - k // 2, k // 2 : columns * k - k // 2]
    np.testing.assert_allclose(back[inner], image[inner], atol=1e-3)


@given(height=sizes, width=sizes, k=reductions, value=st.floats(0, 1, width=32))
def test_enlarged_maps_have_the_size_of_the_slice(height, width, k, value):
    maps = torch.full((2, -(-height // k), -(-width // k)), value)
    back = enlarge(maps, (height, width), k)
    assert back.shape == (2, height, width)
    torch.testing.assert_close(back, torch.full_like(back, value))


@settings(max_examples=60)
@given(height=st.integers(1, 60), k=reductions, data=st.data())
def test_enlarged_strips_are_rows_of_the_enlarged_whole(height, k, data):
    maps = torch.from_numpy(noise(2, -(-height // k), 3) / 200)
    start = data.draw(st.integers(0, height - 1))
    stop = data.draw(st.integers(start + 1, height))
    whole = enlarge(maps, (height, 3 * k), k)
    strip = enlarge(maps, (height, 3 * k), k, (start, stop))
    torch.testing.assert_close(strip, whole[:, start:stop], atol=1e-5, rtol=0)


@given(rows=st.integers(1, 7), columns=st.integers(1, 7), k=reductions)
def test_enlarging_commutes_with_mirroring(rows, columns, k):
    maps = torch.from_numpy(noise(1, rows, columns) / 200)
    shape = (rows * k, columns * k)
    mirrored = enlarge(maps.flip(1, 2), shape, k).flip(1, 2)
    torch.testing.assert_close(enlarge(maps, shape, k), mirrored, atol=1e-5, rtol=0)
