"""napari's sample data: an image with its annotations, as layer data that napari accepts."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from napari_spss.core.simulation import axon_sample
from napari_spss.sample_data import open_axons, open_synthetic


@pytest.fixture(scope="module")
def axons():
    return open_axons()


@pytest.fixture(scope="module")
def synthetic():
    return open_synthetic()


@pytest.fixture(params=["axons", "synthetic"])
def layers(request):
    return request.getfixturevalue(request.param)


def test_one_image(layers):
    ((image, _, kind),) = layers
    assert kind == "image"
    assert image.ndim == 3


def test_metadata_tell_the_dock_all(layers):
    mark = layers[0][1]["metadata"]["napari_spss"]
    assert mark["annotations"].proportions
    assert mark["annotations"].grids
    assert mark["annotations"].keypoints
    assert mark["object_diameter_px"] > 0
    assert "simulated, with a person's errors" in mark["notice"]
    assert mark["origin"]
    assert "role" not in mark  # a role marks layers that the dock made itself


def test_scale_and_units_are_those_of_the_sample(axons, synthetic):
    for layers, scale, units in (
        (axons, (1.0, 0.13, 0.13), ("pixel", "um", "um")),
        (synthetic, (0.04, 0.008, 0.008), ("um", "um", "um")),
    ):
        for _, arguments, _ in layers:
            assert arguments["scale"] == pytest.approx(scale)
            assert arguments["units"] == units
            assert arguments["axis_labels"] == ("z", "y", "x")


def test_images_of_their_own_are_told_from_a_volume(axons, synthetic):
    told = [
        "not a volume" in one[0][1]["metadata"]["napari_spss"]["notice"]
        for one in (axons, synthetic)
    ]
    assert told == [True, False]


def test_pixels_are_those_of_the_sample(axons):
    image, stack = axons[0][0], axon_sample().stack
    assert image.dtype == stack.dtype
    for z in range(3):
        np.testing.assert_array_equal(image[z], stack.read(z)[0])


def test_napari_accepts_the_layers(layers):
    layer_module = pytest.importorskip("napari.layers")
    (made,) = (layer_module.Layer.create(*layer) for layer in layers)
    assert made.ndim == 3


def test_functions_import_neither_napari_nor_torch():
    code = (
        "import sys; from napari_spss import sample_data; sample_data.open_axons(); "
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert not set(done.stdout.split()) & {"napari", "qtpy", "torch", "PyQt6", "PySide6"}
