"""Pixel sizes from the JSON files that Microscopy-BIDS puts beside images.

``sub-1_sample-2_SEM.json`` speaks for ``sub-1_sample-2_SEM.png``, and so does ``sub-1_SEM.json``:
its parts are a subset of the image's, and the last part is the same [1]_.

References
----------
.. [1] Bourget et al., Microscopy-BIDS, Frontiers in Neuroscience 16 (2022),
   doi:10.3389/fnins.2022.871228.
"""

from __future__ import annotations

import json
from pathlib import Path

from ..base import UNKNOWN_VOXEL, VoxelSize, length_um

__all__ = ["SidecarSizes"]


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


def _stated_size(path: Path) -> VoxelSize | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or not isinstance(content.get("PixelSize"), list):
        return None
    unit = content.get("PixelSizeUnits")
    lengths = [length_um(value, unit if isinstance(unit, str) else None) for value in
               content["PixelSize"]]  # fmt: skip
    x, y, z = [*lengths, None, None, None][:3]
    return z, y, x
