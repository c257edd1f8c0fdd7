"""Layers that read their slices from a file as they are shown."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import tifffile
from napari.layers import Image

from napari_spss.core.images import open_stack
from napari_spss.gui.layers import stack_layer

PIXELS = np.random.default_rng(0).integers(0, 255, (6, 40, 50), dtype=np.uint8)


@pytest.fixture
def layer(tmp_path):
    """Layer of a file of PIXELS."""
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, PIXELS, photometric="minisblack")
    return lambda: Image(**stack_layer(open_stack(path)))


@pytest.mark.parametrize(
    "key",
    [
        2,
        -1,
        np.int64(3),
        slice(1, 5, 2),
        slice(4, 4),
        ...,
        (),
        (..., 7),
        [4, 0],
        (2, slice(3, 9)),
        (slice(None), 5, slice(None, None, 4)),
        (PIXELS > 250),
        (np.array([1, 2]), np.array([3, 4]), np.array([5, 6])),
    ],
    ids=str,
)
def test_it_is_indexed_like_the_array(layer, key) -> None:
    assert np.array_equal(layer().data[key], PIXELS[key])
    assert np.array_equal(np.asarray(layer().data), PIXELS)


@pytest.mark.parametrize("key", [6, -7, (0, 40)])
def test_what_lies_outside_is_refused(layer, key) -> None:
    with pytest.raises(IndexError):
        layer().data[key]


def test_layers_are_read_by_several_threads_at_once(layer) -> None:
    wrong = []

    def read(shown) -> None:
        try:
            for number in range(300):
                z = number % len(PIXELS)
                with shown.dask_optimized_slicing():  # as napari reads a layer
                    assert np.array_equal(np.asarray(shown.data[z, :, :]), PIXELS[z])
        except Exception as error:  # noqa: BLE001  (threads swallow what they raise)
            wrong.append(error)

    threads = [threading.Thread(target=read, args=[layer()]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
