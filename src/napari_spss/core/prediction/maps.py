"""Maps of slices at full resolution, a few rows at a time.

While a tile is computed, a thread reads what comes next, and whoever takes the maps works on the
rows before.
"""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from ..annotations import Region
from ..base import CancelToken, InputError, Message, counted, percent
from ..images import GreyRange, SliceGreys, enlarge, slice_greys, working_strips
from ..networks import (
    Band,
    Box,
    TiledNetwork,
    TileDone,
    default_tile_px,
    resolve_device,
    with_background,
)
from ..training import Model

if TYPE_CHECKING:
    from ..images import Stack

_PIECE_VALUES = 2**18  # map values at full resolution that are worked on at a time: as fit a cache
_WINDOW_ROWS = 64  # at working scale
_VALUES_AHEAD = 2**21  # of maps that wait for whoever takes them
_STRIPS_AHEAD = 8  # rows that wait for the tiles
_TURN_S = 1e-4  # Python's own 5 ms are long beside a layer of the network
_PADDED = 0.02  # of a slice, that is worth a word
_MOST_SLICES = 10
_T = TypeVar("_T")
_Strip = npt.NDArray[np.float32]
_Greys = Callable[[int], GreyRange]


@dataclass(frozen=True)
class Piece:
    """Rows ``rows`` of a slice's maps at full resolution, (C, rows, X) float32.

    ``is_last`` says that the region is complete.
    """

    rows: tuple[int, int]
    probs: npt.NDArray[np.float32]
    is_last: bool


class SlicePredictor:
    """A model on its device: slices in, maps at full resolution out.

    Parameters
    ----------
    model : Model
        Its network is copied, not moved.
    device : str or torch.device
        See :func:`napari_spss.core.networks.resolve_device`.
    tile_px : int or None
        Edge of a tile in working pixels, without halo; None: what suits network and device.
    flips : bool
        Average the maps of the four mirror images.

    Raises
    ------
    InputError
        If the device is not here, or the tile size is no positive number.
    """

    def __init__(
        self, model: Model, device: str | torch.device, *, tile_px: int | None, flips: bool
    ) -> None:
        if tile_px is not None and tile_px < 1:
            raise InputError(f"tile_px {tile_px} is too small; give at least 64.")
        self.device = device if isinstance(device, torch.device) else resolve_device(device)
        self._model = model
        self._tile_px = tile_px or default_tile_px(self.device)
        tile_values = (len(model.classes) - 1) * self._tile_px**2
        self._n_ahead = max(2, _VALUES_AHEAD // tile_values)
        self._network = TiledNetwork(
            model.network, n_classes=len(model.classes), device=self.device, flips=flips
        )

    def resampled_maps(
        self, stack: Stack, z: int, *, token: CancelToken | None = None
    ) -> npt.NDArray[np.float32]:
        """Predict the maps (C, y, x) of slice ``z`` at working scale; raises as `pieces`."""
        with contextlib.closing(self._bands(stack, [Region(z)], None, token)) as items:
            bands = [item.probs for _, item in items if isinstance(item, Band)]
        return torch.cat(bands, dim=1).numpy()

    def greys(self, stack: Stack, z: int) -> SliceGreys:
        """Read a whole slice for the grey values by which boxes of it are normalised."""
        reduction = self._model.working_scale.of_slice(stack, z)
        return slice_greys(stack, z, reduction, self._model.normalisation)

    def pieces(
        self,
        stack: Stack,
        regions: Iterable[Region],
        *,
        greys: _Greys | None = None,
        token: CancelToken | None = None,
        padded: dict[int, float] | None = None,
    ) -> Generator[Piece | TileDone | Message, None, None]:
        """Predict regions, one after the other, each from top to bottom.

        A slice is read whole for its grey values, unless ``greys`` tells those of slices: then only
        what a box depends on. ``padded`` takes the share of each slice read whole that is padding;
        without it, a message tells of them.

        Yields
        ------
        Piece, TileDone or Message
            Pieces of a region join without gap or overlap.

        Raises
        ------
        InputError
            If the image's channels do not fit the model.
        OutOfMemory
            If not even a small tile fits.
        Stopped
            If the token is set: looked at before anything is read, before every tile, and before
            what is ready is taken.
        """
        n_objects = len(self._model.classes) - 1
        window, window_top, done = torch.zeros(n_objects, 0, 0), 0, 0
        bands = self._bands(stack, regions, greys, token, padded)
        with contextlib.closing(_ahead(bands, self._n_ahead)) as items:
            for region, item in items:
                if not isinstance(item, Band):
                    yield item
                    continue
                if token is not None:
                    token.check()
                k, (y0, x0, y1, x1), (top, left, bottom, _) = self._place(stack, region)
                n_rows = _PIECE_VALUES // ((n_objects + 1) * (x1 - x0)) + 1
                for first, stop in _strips(*item.rows, _WINDOW_ROWS):
                    rows_here = item.objects[:, first - item.rows[0] : stop - item.rows[0]]
                    if first == top:
                        window, window_top, done = rows_here, top, y0
                    else:
                        window = torch.cat([window, rows_here], dim=1)
                    # the last row still lacks the next one, between which data rows interpolate
                    ready = y1 if stop >= bottom else min(y1, (stop - 1) * k)
                    for rows in _strips(done, ready, n_rows):
                        shifted = rows[0] - window_top * k, rows[1] - window_top * k
                        maps = enlarge(window, (shifted[1], x1 - left * k), k, shifted)
                        probs = with_background(maps[:, :, x0 - left * k :])
                        yield Piece(rows, probs.numpy(), rows[1] == y1)
                    done = max(done, ready)
                    kept_from = max(window_top, done // k - 1)
                    window, window_top = window[:, kept_from - window_top :].clone(), kept_from
                del item, rows_here  # a band is given back before the next one comes

    def _place(self, stack: Stack, region: Region) -> tuple[int, Box, Box]:
        """Reduction of a region's slice, its box in data pixels, and that at working scale."""
        k = self._model.working_scale.of_slice(stack, region.slice)
        height, width = stack.shape_of(region.slice)
        box = region.box or (0, 0, height, width)
        return k, box, _working_box(box, k, (-(-height // k), -(-width // k)))

    def _bands(
        self,
        stack: Stack,
        regions: Iterable[Region],
        greys: _Greys | None,
        token: CancelToken | None,
        padded: dict[int, float] | None = None,
    ) -> Generator[tuple[Region, Band | TileDone | Message], None, None]:
        """Compute maps at working scale; rows of a band are those of the slice."""
        self._model.check_channels(stack)
        if token is not None:
            token.check()
        regions, shares = tuple(regions), {} if padded is None else padded
        strips_of = self._strips(stack, regions, greys, shares)
        with contextlib.closing(_ahead(strips_of, _STRIPS_AHEAD)) as strips:
            for region in regions:
                _, _, box = self._place(stack, region)
                seen = self._seen(stack, region)
                shape = stack.n_channels, seen[2] - seen[0], seen[3] - seen[1]
                inner = box[0] - seen[0], box[1] - seen[1], box[2] - seen[0], box[3] - seen[1]
                for item in self._network.bands(
                    _Rows(shape, strips), tile_px=self._tile_px, box=inner, token=token
                ):
                    if isinstance(item, Band):
                        item = Band((item.rows[0] + seen[0], item.rows[1] + seen[0]), item.objects)
                    yield region, item
        if padded is None and (message := padding_message(self._model, shares)):
            yield regions[-1], message

    def _seen(self, stack: Stack, region: Region) -> Box:
        """What of a slice at working scale a region depends on."""
        k, _, box = self._place(stack, region)
        height, width = stack.shape_of(region.slice)
        return self._network.window(box, (-(-height // k), -(-width // k)))

    def _strips(
        self,
        stack: Stack,
        regions: Iterable[Region],
        greys: _Greys | None,
        padded: dict[int, float],
    ) -> Generator[_Strip, None, None]:
        """Read what the regions depend on, at working scale, and the padding of whole slices."""
        mode = self._model.normalisation
        for region in regions:
            z, seen = region.slice, self._seen(stack, region)
            k, image = self._model.working_scale.of_slice(stack, z), None
            if greys is not None:
                own = greys(z)
            else:
                own, share, image = self.greys(stack, z)
                if seen == self._seen(stack, Region(z)):
                    padded[z] = share
            yield from working_strips(stack, z, k, mode, box=seen, greys=own, image=image)


def padding_message(model: Model, shares: Mapping[int, float]) -> Message | None:
    """Say which slices are padded, unless the model knows what lies outside."""
    found = sorted(z for z, share in shares.items() if share > _PADDED)
    if not found or model.classes.outside_index is not None:
        return None
    shown = ", ".join(map(str, found[:_MOST_SLICES])) + ", ..." * (len(found) > _MOST_SLICES)
    text = (
        f"{counted(len(found), 'slice')} ({shown}) {'have' if len(found) > 1 else 'has'} one grey "
        f"value from an edge on, as aligning leaves it, in up to {percent(max(shares.values()), 0)}"
        " of the pixels. Labels there mean nothing, but count in the fractions: crop the image, or "
        "train with a class of its own that is marked there and counts in no fraction (in the dock "
        "Area outside, --outside NAME, outside in Python)."
    )
    return Message("warning", text)


class _Rows:
    """An image of which strips of rows come one after the other; those behind are forgotten."""

    def __init__(self, shape: tuple[int, int, int], strips: Iterator[_Strip]) -> None:
        self.shape = shape
        self._strips = strips
        self._start = self._n_held = 0
        self._held = self._next = np.empty((shape[0], 0, shape[2]), np.float32)

    def __getitem__(self, index: Any) -> torch.Tensor:
        start, stop = index[1].start, index[1].stop
        n_rows, kept = stop - start, self._held[:, start - self._start : self._n_held]
        if n_rows > self._held.shape[1]:
            # the first tiles see less above them: with room for more, there is no second copy
            self._held = np.empty((self.shape[0], n_rows * 5 // 4, self.shape[2]), np.float32)
        self._start, self._n_held = start, kept.shape[1]
        self._held[:, : self._n_held] = kept
        while self._n_held < n_rows:
            if not self._next.shape[1]:
                self._next = next(self._strips)
            part, self._next = np.split(self._next, [n_rows - self._n_held], axis=1)
            self._held[:, self._n_held : self._n_held + part.shape[1]] = part
            self._n_held += part.shape[1]
        return torch.from_numpy(self._held[:, :n_rows])


def _ahead(items: Generator[_T, None, None], n_items: int) -> Generator[_T, None, None]:
    """Have a thread make the next items, at most so many, while the last one is used.

    Meanwhile threads take turns often: a network needs Python between any two layers, and would
    wait for whoever has it.
    """
    end: Any = object()
    turn_s = sys.getswitchinterval()
    sys.setswitchinterval(min(turn_s, _TURN_S))
    n_threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(1, "napari-spss-ahead", torch.set_num_threads, (n_threads,))
    try:
        coming = deque(pool.submit(next, items, end) for _ in range(n_items))
        while (item := coming.popleft().result()) is not end:
            coming.append(pool.submit(next, items, end))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)
        items.close()
        sys.setswitchinterval(turn_s)


def _working_box(box: Box, reduction: int, shape: tuple[int, int]) -> Box:
    """Working pixels between which the data pixels of a box interpolate."""
    y0, x0, y1, x1 = box
    if reduction == 1:
        return box
    return (
        max(0, y0 // reduction - 1),
        max(0, x0 // reduction - 1),
        min(shape[0], -(-y1 // reduction) + 1),
        min(shape[1], -(-x1 // reduction) + 1),
    )


def _strips(start: int, stop: int, n_rows: int) -> Iterator[tuple[int, int]]:
    for first in range(start, stop, n_rows):
        yield first, min(stop, first + n_rows)
