"""Reader of MRC stacks, which napari itself does not open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

LayerData = tuple[Any, dict[str, Any], str]


def get_reader(
    path: str | Sequence[str],
) -> Callable[[str | Sequence[str]], list[LayerData]] | None:
    """Return the reader if it can open all the paths, else None."""
    from ..core.images import known_readers

    paths = [path] if isinstance(path, str) else list(path)
    suffixes = next(reader.suffixes for reader in known_readers() if reader.name == "MRC")
    if not paths or not all(Path(one).suffix.lower() in suffixes for one in paths):
        return None
    return read_stacks


def read_stacks(path: str | Sequence[str]) -> list[LayerData]:
    """Open stacks lazily, with voxel size and axis labels.

    Raises
    ------
    InputError
        If a file is damaged.
    """
    paths = [path] if isinstance(path, str) else list(path)
    return [_read(Path(one)) for one in paths]


def _read(path: Path) -> LayerData:
    import dask.array as da
    from napari.utils.notifications import show_info

    from ..core.images import open_stack

    stack = open_stack(path)
    for note in stack.notes:
        show_info(note)
    height, width = stack.shape_of(0)

    def plane(z: int) -> np.ndarray:
        return stack.read(z)[0][None]

    data = da.map_blocks(
        lambda block_info: plane(block_info[None]["array-location"][0][0]),
        chunks=((1,) * stack.n_slices, (height,), (width,)),
        dtype=stack.dtype,
        meta=np.empty((0, 0, 0), stack.dtype),
    )
    size = stack.voxel_size_um
    middle = stack.read(stack.n_slices // 2)
    arguments: dict[str, Any] = {
        "name": path.stem,
        "scale": tuple(length or 1.0 for length in size),
        "units": tuple("um" if length else "pixel" for length in size),
        "axis_labels": ("z", "y", "x"),
        # from one slice: napari would read the whole file to find its darkest and brightest pixel
        "contrast_limits": _limits(middle),
    }
    return data, arguments, "image"


def _limits(values: np.ndarray) -> tuple[float, float]:
    low, high = (float(v) for v in np.percentile(values, (0.1, 99.9)))
    return (low, high) if high > low else (low, low + 1.0)
