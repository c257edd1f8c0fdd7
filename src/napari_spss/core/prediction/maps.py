"""Maps of one slice at full resolution, a few rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from ..base import CancelToken, InputError, Message
from ..images import GreyRange, enlarge, resample_slice, slice_greys
from ..networks import Band, Box, Stopped, TiledNetwork, TileDone, default_tile_px, resolve_device
from ..training import Model

if TYPE_CHECKING:
    from ..images import Stack

_PIECE_VALUES = 2**22  # map values at full resolution that are held as float32 at a time


@dataclass(frozen=True)
class Piece:
    """Rows ``rows`` of a slice's maps at full resolution, (C, rows, X) float32."""

    rows: tuple[int, int]
    probs: npt.NDArray[np.float32]


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
        self._tile_px = tile_px or default_tile_px(model.network, self.device)
        self._network = TiledNetwork(
            model.network,
            n_classes=len(model.classes),
            device=self.device,
            flips=flips,
        )

    def resampled_maps(
        self, stack: Stack, z: int, *, token: CancelToken | None = None
    ) -> npt.NDArray[np.float32]:
        """Predict the maps (C, y, x) of slice ``z`` at working scale.

        Raises
        ------
        InputError, OutOfMemory, Stopped
            As in `pieces`.
        """
        self._check(stack, token)
        image = self._read(stack, z, None, None)
        items = self._network.bands(image, tile_px=self._tile_px, token=token)
        return torch.cat([item.probs for item in items if isinstance(item, Band)], dim=1).numpy()

    def greys(self, stack: Stack, z: int) -> GreyRange:
        """Grey values of a whole slice, by which boxes of it are normalised without reading it."""
        reduction = self._model.working_scale.of_slice(stack, z)
        return slice_greys(stack, z, reduction, self._model.normalisation)

    def _read(self, stack: Stack, z: int, box: Box | None, greys: GreyRange | None) -> torch.Tensor:
        reduction = self._model.working_scale.of_slice(stack, z)
        name = self._model.normalisation
        return torch.from_numpy(resample_slice(stack, z, reduction, name, box=box, greys=greys))

    def _check(self, stack: Stack, token: CancelToken | None) -> None:
        if stack.n_channels != self._model.n_channels:
            raise InputError(
                f"{stack.source} has {stack.n_channels} channels, but the model was trained on "
                f"{self._model.n_channels}; choose an image like those it was trained on."
            )
        if token is not None and token.is_cancelled:
            raise Stopped

    def pieces(
        self,
        stack: Stack,
        z: int,
        *,
        box: Box | None = None,
        greys: GreyRange | None = None,
        token: CancelToken | None = None,
    ) -> Iterator[Piece | TileDone | Message]:
        """Predict slice ``z``, or a half-open ``box`` of it in data pixels, from top to bottom.

        The slice is read whole, unless its ``greys`` are given: then only what a box depends on.

        Yields
        ------
        Piece, TileDone or Message
            Pieces join without gap or overlap.

        Raises
        ------
        InputError
            If the image's channels do not fit the model.
        OutOfMemory
            If not even a small tile fits.
        Stopped
            If the token is set: looked at before the slice is read, and before every tile.
        """
        self._check(stack, token)
        k = self._model.working_scale.of_slice(stack, z)
        height, width = stack.shape_of(z)
        y0, x0, y1, x1 = box or (0, 0, height, width)
        shape = -(-height // k), -(-width // k)
        working_box = _working_box((y0, x0, y1, x1), k, shape)
        top, left, bottom, right = working_box
        seen = (0, 0, *shape) if greys is None else self._network.window(working_box, shape)
        image = self._read(stack, z, seen, greys)
        inner = top - seen[0], left - seen[1], bottom - seen[0], right - seen[1]
        window = torch.zeros(len(self._model.classes), 0, 0)
        window_top, done = top, y0
        for item in self._network.bands(image, tile_px=self._tile_px, box=inner, token=token):
            if not isinstance(item, Band):
                yield item
                continue
            window = torch.cat([window, item.probs], dim=1) if window.numel() else item.probs
            # the last working row still lacks the next one, between which data rows interpolate
            last = item.rows[1] + seen[0]
            ready = y1 if last >= bottom else min(y1, (last - 1) * k)
            for rows in _strips(done, ready, _PIECE_VALUES // (len(window) * (x1 - x0)) + 1):
                shifted = rows[0] - window_top * k, rows[1] - window_top * k
                maps = enlarge(window, (shifted[1], x1 - left * k), k, shifted)
                yield Piece(rows, maps[:, :, x0 - left * k :].numpy())
            done = max(done, ready)
            kept_from = max(window_top, done // k - 1)
            window, window_top = window[:, kept_from - window_top :].clone(), kept_from


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
