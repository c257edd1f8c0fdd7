"""Pixel sizes from the JSON files that Microscopy-BIDS puts beside images.

``sub-1_sample-2_SEM.json`` speaks for ``sub-1_sample-2_SEM.png``, and so does ``sub-1_SEM.json``:
its parts are a subset of the image's, and the last part is the same [1]_.

References
----------
.. [1] Bourget et al., Microscopy-BIDS, Frontiers in Neuroscience 16 (2022),
   doi:10.3389/fnins.2022.871228.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from ..base import UNKNOWN_VOXEL, InputError, Record, VoxelSize, length_um, read_record


class SidecarSizes:
    """Pixel sizes that the JSON files of a folder state; unusable files are passed over.

    Parameters
    ----------
    folder : Path
        Folder of the images.
    """

    def __init__(self, folder: Path) -> None:
        sizes = []
        for path in sorted(folder.glob("*.json")):
            size = None if path.name.startswith(".") else _stated_size(path)
            if size is not None:
                sizes.append((path.stem.split("_"), size))
        self._sizes = sorted(sizes, key=lambda entry: len(entry[0]), reverse=True)

    def of(self, image: Path) -> VoxelSize:
        """(z, y, x) in micrometres from the most specific file that speaks for the image."""
        parts = image.stem.split("_")
        for stated_parts, size in self._sizes:
            if stated_parts[-1] == parts[-1] and set(stated_parts) <= set(parts):
                return size
        return UNKNOWN_VOXEL


class _Stated(Record):
    """What a file may state; numbers may be written as text."""

    sizes: tuple[float | str, ...] = Field(alias="PixelSize")
    unit: str | None = Field(default=None, alias="PixelSizeUnits")


def _stated_size(path: Path) -> VoxelSize | None:
    try:
        stated = read_record(_Stated, path, remedy="restore it")
    except InputError:
        return None
    lengths = [length_um(size, stated.unit) for size in stated.sizes]
    x, y, z = [*lengths, None, None, None][:3]
    return z, y, x
