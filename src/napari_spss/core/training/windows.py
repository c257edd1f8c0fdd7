"""Windows: the parts of slices that training samples show.

Bags that reach beyond their window are completed with the teacher's map (`core.memory`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from .bags import Bag, Box, SliceSamples

__all__ = ["Window", "make_windows", "window_shape"]


@dataclass(frozen=True)
class Window:
    """The part of a slice that one sample shows, in working pixels."""

    sample: int
    y0: int
    x0: int
    bags: tuple[Bag, ...] = field(default=(), compare=False)


def make_windows(
    samples: Sequence[SliceSamples], crop_px: int
) -> tuple[list[Window], tuple[int, int]]:
    """Cut slices into fixed crops, as the paper does.

    Regions not larger than a crop become a window of their own; larger ones are tiled, and every
    tile inherits their fractions: what is stated of the region is all that is known of the tile.
    Labels outside these windows get windows without a bag.

    Returns
    -------
    windows : list of Window
        In order of slices; each has at most one bag.
    shape : (int, int)
        Common shape of all windows.
    """
    windows: list[Window] = []
    for index, sample in enumerate(samples):
        is_left = sample.target >= 0
        for bag in sample.bags:
            for y0, x0, y1, x1 in _tiles(bag.box, crop_px):
                # slivers at the far edge teach nothing about proportions
                is_sliver = (y1 - y0) * 2 < min(crop_px, bag.box[2] - bag.box[0]) or (
                    x1 - x0
                ) * 2 < min(crop_px, bag.box[3] - bag.box[1])
                if not is_sliver:
                    windows.append(Window(index, y0, x0, (replace(bag, box=(y0, x0, y1, x1)),)))
                    is_left[y0:y1, x0:x1] = False
        for y0, x0, y1, x1 in _tiles((0, 0, *sample.shape), crop_px):
            if is_left[y0:y1, x0:x1].any():
                windows.append(Window(index, y0, x0))
    boxes = [bag.box for window in windows for bag in window.bags]
    if len(boxes) == len(windows):
        return windows, (max(b[2] - b[0] for b in boxes), max(b[3] - b[1] for b in boxes))
    return windows, window_shape(samples, crop_px)


def window_shape(samples: Sequence[SliceSamples], crop_px: int) -> tuple[int, int]:
    """Shape of a window: a square crop, or less where no slice is as large."""
    height = max(sample.shape[0] for sample in samples)
    width = max(sample.shape[1] for sample in samples)
    return min(crop_px, height), min(crop_px, width)


def _tiles(box: Box, crop_px: int) -> Iterator[Box]:
    """Cut a box into crops from its first corner; the last ones may be smaller."""
    y0, x0, y1, x1 = box
    for top in range(y0, y1, crop_px):
        for left in range(x0, x1, crop_px):
            yield top, left, min(y1, top + crop_px), min(x1, left + crop_px)
