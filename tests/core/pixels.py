"""Small images, and ways to write and read them, for the tests of readers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from napari_spss.core.images import open_stack


def ramp(*shape: int, dtype: Any = np.uint16) -> np.ndarray:
    """0, 1, 2 and so on, as far as the dtype goes."""
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def write_png(path: Path, pixels: np.ndarray, **info: Any) -> None:
    """Write a PNG."""
    Image.fromarray(pixels).save(path, **info)


def read_all(path: Path) -> list[np.ndarray]:
    """Read all slices."""
    with open_stack(path) as stack:
        return [stack.read(z) for z in range(stack.n_slices)]
