"""Small images, and ways to write and read them, for the tests of readers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from napari_spss.core.images import ImageData, Stack, open_stack


def ramp(*shape: int, dtype: Any = np.uint16) -> np.ndarray:
    """0, 1, 2 and so on, as far as the dtype goes."""
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def image_set(
    images: Sequence[np.ndarray],
    *,
    sizes_um: Sequence[float | None] | None = None,
    names: Sequence[str] | None = None,
) -> Stack:
    """Make an image set of 2D images, with the size of the pixels of each."""
    sizes_um = sizes_um or [None] * len(images)
    data = [
        ImageData(image, voxel_size_um=(None, size, size))
        for image, size in zip(images, sizes_um, strict=True)
    ]
    names = names or [str(index) for index in range(len(images))]
    return Stack(data, source="array", names=names, is_set=True)


def write_png(path: Path, pixels: np.ndarray, **info: Any) -> None:
    """Write a PNG."""
    Image.fromarray(pixels).save(path, **info)


def read_all(path: Path) -> list[np.ndarray]:
    """Read all slices."""
    with open_stack(path) as stack:
        return [stack.read(z) for z in range(stack.n_slices)]
