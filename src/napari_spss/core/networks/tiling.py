"""Apply a network to an image of any size in tiles, band by band.

A *band* is a row of tiles; its maps are handed on before the next one begins, so that memory holds
one band, not the image's maps. Tiles begin at multiples of the network's stride and carry a halo
as wide as its receptive radius, which makes them equal to what the whole image would give. Where
that radius is only a default, neighbouring tiles overlap and are blended linearly.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..base import CancelToken, Message, OutOfMemory, keep_freed_memory
from .devices import is_out_of_memory
from .losses import activate_objects
from .unet import pad_to_multiple

_MIN_TILE_PX = 64
_BLEND_PX = _MIN_TILE_PX // 2  # each side of a seam
_BAND_VALUES = 2**21  # of all maps; of wide images tiles are flatter, and as large

Box = tuple[int, int, int, int]
Span = tuple[int, int]


class RowSource(Protocol):
    """An image (channels, h, w) of which rows are asked for from top to bottom."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(channels, h, w)."""

    def __getitem__(self, index: Any, /) -> torch.Tensor: ...


@dataclass(frozen=True)
class Band:
    """Finished maps of image rows ``rows``, on the CPU.

    ``objects`` are those of all classes but the background, (C - 1, rows, columns) float32.
    """

    rows: Span
    objects: torch.Tensor

    @property
    def probs(self) -> torch.Tensor:
        """Maps of all classes (C, rows, columns)."""
        return with_background(self.objects)


@dataclass(frozen=True)
class TileDone:
    """A tile has been computed; ``fraction`` of the image is done (0-1)."""

    fraction: float


class _Tile(NamedTuple):
    """Along one axis: where a tile is cut, where it gives a share, and what it sees."""

    cut: Span
    given: Span
    seen: Span


def with_background(objects: torch.Tensor) -> torch.Tensor:
    """Put what is left for the background before the maps (C - 1, h, w) of the other classes."""
    probs = objects.new_empty(len(objects) + 1, *objects.shape[1:])
    probs[1:] = objects
    rest = probs[0].fill_(1)
    for one in objects:
        rest -= one
    rest.clamp_(min=0)
    return probs


def default_tile_px(device: torch.device) -> int:
    """Tile edge that lets a run stop within seconds; on a CPU it fits the caches best."""
    return 2048 if device.type == "cuda" else 512


class TiledNetwork:
    """A network ready to predict: copied to its device, its normalisation merged into weights.

    Parameters
    ----------
    network : nn.Module
        From ``build_network``; it is copied, not changed.
    n_classes : int
        C, background included.
    device : torch.device
        Where to compute.
    flips : bool
        Average the maps of the four mirror images: four times the work.
    """

    def __init__(
        self, network: nn.Module, *, n_classes: int, device: torch.device, flips: bool = False
    ) -> None:
        if device.type == "cpu":
            keep_freed_memory()
        self.n_classes = n_classes
        self.device = device
        self._stride = int(getattr(network, "stride", 1))
        self._halo = int(getattr(network, "receptive_radius", 0))
        self._blend = 0 if getattr(network, "has_exact_radius", True) else _BLEND_PX
        self._flips: tuple[tuple[int, ...], ...] = ((2,), (3,), (2, 3)) if flips else ()
        fused = _with_merged_normalisation(copy.deepcopy(network).eval())
        # torch's stubs do not know this overload
        self._network: nn.Module = fused.to(  # type: ignore[call-overload]
            device=device, memory_format=torch.channels_last
        )

    def window(self, box: Box, shape: tuple[int, int]) -> Box:
        """What of an image of (h, w) a box depends on: its maps are the same as of the whole."""
        y0, y1 = self._with_halo((box[0], box[2]), shape[0])
        x0, x1 = self._with_halo((box[1], box[3]), shape[1])
        return y0, x0, y1, x1

    def bands(
        self,
        image: RowSource,
        *,
        tile_px: int,
        box: Box | None = None,
        token: CancelToken | None = None,
    ) -> Iterator[Band | TileDone | Message]:
        """Compute the maps of an image, or of a box of it, from top to bottom.

        Parameters
        ----------
        image : Tensor, or another RowSource
            (channels, h, w) float32 on the CPU, the image at working scale. Asked for the rows of
            one band with their halo, ``image[:, start:stop]``; starts never go back.
        tile_px : int
            Edge of a tile without its halo; halved when memory runs out.
        box : (int, int, int, int), optional
            Half-open (y0, x0, y1, x1); the whole image by default.
        token : CancelToken, optional
            Looked at before every tile.

        Yields
        ------
        Band, TileDone or Message
            Bands join without gap or overlap and span the box's columns.

        Raises
        ------
        Stopped
            If the token is set.
        OutOfMemory
            If not even the smallest tile fits.
        """
        height, width = image.shape[1:]
        top, left, bottom, right = box or (0, 0, height, width)
        overlap = torch.zeros(self.n_classes - 1, 0, right - left)
        start = finished = top
        bands: list[_Tile] = []
        while start < bottom:
            if not bands:
                n_rows, n_columns = self._tile_shape(tile_px, right - left)
                bands = self._cut((start, bottom), (top, bottom), height, n_rows)
                tiles = self._cut((left, right), (left, right), width, n_columns)
            band = bands[0]
            maps = torch.zeros(self.n_classes - 1, band.given[1] - band.given[0], right - left)
            first = max(0, band.seen[0] - self._stride)  # see `_probs`
            # once: what fails to be read is not retried
            read = image[:, first : min(band.seen[1], height)]
            try:
                for tile in tiles:
                    if token is not None:
                        token.check()
                    self._add_tile(maps, read, first, band, tile, (top, left, bottom, right))
                    done = (band.cut[1] - start) * (tile.cut[1] - left) / (right - left)
                    yield TileDone((start - top + done) / (bottom - top))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                tile_px, bands = self._smaller(tile_px, error), []
                text = f"the memory did not suffice; going on with tiles of {tile_px} px."
                yield Message("warning", text)
                continue
            maps[:, : overlap.shape[1]] += overlap
            start = bands.pop(0).cut[1]
            final = start - self._blend if bands else bottom
            yield Band((finished, final), maps[:, finished - band.given[0] : final - band.given[0]])
            overlap = maps[:, final - band.given[0] :].clone()
            finished = final

    def _tile_shape(self, tile_px: int, width: int) -> Span:
        """Rows and columns of a tile: of the same area, but flat where a band would be large."""
        n_rows = min(tile_px, max(tile_px // 2, _BAND_VALUES // ((self.n_classes - 1) * width)))
        return n_rows, tile_px * tile_px // max(1, n_rows)

    def _cut(self, span: Span, limits: Span, size: int, tile_px: int) -> list[_Tile]:
        """Cut a range of an axis into tiles that see equally much: ``tile_px`` and a halo, or less.

        All tiles then find the memory that the one before has left.
        """
        stride = self._stride
        size = -(-size // stride) * stride
        reach = -(-(self._halo + self._blend) // stride) * stride
        low, high = self._with_halo(self._given(span, limits), size)
        n_tiles = max(1, -(-(high - low - 2 * reach) // max(_MIN_TILE_PX, tile_px)))
        n_seen = -(-(high - low + 2 * reach * (n_tiles - 1)) // n_tiles)
        n_seen = -(-max(n_seen, 2 * reach + _MIN_TILE_PX) // stride) * stride
        tiles: list[_Tile] = []
        start, stop = span
        while start < stop:
            seen_to = min(high, (start - reach if tiles else low) + n_seen)
            cut = start, stop if seen_to == high else seen_to - reach
            seen = max(low, seen_to - n_seen), seen_to
            tiles.append(_Tile(cut, self._given(cut, limits), seen))
            start = cut[1]
        return tiles

    def _given(self, cut: Span, limits: Span) -> Span:
        """Where a tile gives a share: beyond its cuts by the blended width."""
        return max(limits[0], cut[0] - self._blend), min(limits[1], cut[1] + self._blend)

    def _add_tile(
        self,
        maps: torch.Tensor,
        read: torch.Tensor,
        first: int,
        rows: _Tile,
        columns: _Tile,
        box: Box,
    ) -> None:
        """Compute a tile from rows of the image, from ``first`` on, that its maps depend on."""
        probs = self._probs(read, first, rows, columns)
        if self._blend:
            weight_y = _ramp(rows, (box[0], box[2]), self._blend)
            weight_x = _ramp(columns, (box[1], box[3]), self._blend)
            probs = probs * weight_y[:, None] * weight_x
        maps[:, :, columns.given[0] - box[1] : columns.given[1] - box[1]] += probs

    def _probs(self, read: torch.Tensor, first: int, rows: _Tile, columns: _Tile) -> torch.Tensor:
        """Compute the maps (C - 1, rows, columns) that a tile gives."""
        (y0, y1), (x0, x1) = rows.seen, columns.seen
        left = max(0, x0 - self._stride)  # enough for padding to reflect as in the whole
        part = pad_to_multiple(read[None, :, :, left:x1], self._stride)
        tile = part[:, :, y0 - first : y1 - first, x0 - left :].to(self.device)
        with torch.inference_mode(), _full_precision(self.device):
            probs = self._objects(tile.clone())  # a network may begin in place
            for axes in self._flips:
                probs += self._objects(tile.flip(axes)).flip(axes)
            if self._flips:
                probs /= 1 + len(self._flips)
            (top, bottom), (start, stop) = rows.given, columns.given
            inner = probs[0, :, top - y0 : bottom - y0, start - x0 : stop - x0]
            return inner.float().cpu()

    def _objects(self, tile: torch.Tensor) -> torch.Tensor:
        """Maps (1, C - 1, h, w) of a tile (1, channels, h, w)."""
        tile = tile.contiguous(memory_format=torch.channels_last)
        maps: torch.Tensor = activate_objects(self._network(tile), self.n_classes)
        return maps

    def _with_halo(self, span: Span, size: int) -> Span:
        stride = self._stride
        start = max(0, span[0] - self._halo) // stride * stride
        return start, min(size, -(-(span[1] + self._halo) // stride) * stride)

    def _smaller(self, tile_px: int, error: BaseException) -> int:
        smallest = max(_MIN_TILE_PX, self._stride)
        if tile_px <= smallest:
            on_cpu = self.device.type == "cpu"
            remedy = "close other programs" if on_cpu else "choose device cpu"
            raise OutOfMemory(
                f"the memory of {self.device} did not suffice, even for tiles of {tile_px} px; "
                f"{remedy}.",
                setting="tile_px" if on_cpu else "device",
                value=smallest if on_cpu else "cpu",
            ) from error
        return max(smallest, tile_px // 2)


def _ramp(tile: _Tile, limits: Span, blend: int) -> torch.Tensor:
    """Weights of a tile along one axis: those of neighbouring tiles sum to 1 everywhere."""
    places = torch.arange(*tile.given, dtype=torch.float32) + 0.5
    weight = torch.ones(len(places))
    if tile.cut[0] > limits[0]:
        weight *= ((places - (tile.cut[0] - blend)) / (2 * blend)).clamp(0, 1)
    if tile.cut[1] < limits[1]:
        weight *= 1 - ((places - (tile.cut[1] - blend)) / (2 * blend)).clamp(0, 1)
    return weight


def _full_precision(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Without TF32, whose rounding would tell tiles from the whole."""
    if device.type != "cuda":
        return contextlib.nullcontext()
    flags: contextlib.AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, allow_tf32=False
    )
    return flags


def _with_merged_normalisation(network: nn.Module) -> nn.Module:
    """Merge batch normalisations into the convolutions before them: a fifth faster on a CPU."""
    for block in network.modules():
        if type(block) is not nn.Sequential:
            continue
        children = list(block)
        for index, (first, second) in enumerate(pairwise(children)):
            # exactly these types: a derived or parametrised layer may compute something else
            if type(first) is not nn.Conv2d or type(second) is not nn.BatchNorm2d:
                continue
            if second.running_mean is not None:
                block[index] = fuse_conv_bn_eval(first, second)
                block[index + 1] = nn.Identity()
    return network
