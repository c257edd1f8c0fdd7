"""How the student sees a batch: turned, scaled and sheared, with other grey values.

Maps are brought back into the batch's own frame, in which its labels, its fractions and the
teacher's maps are. Every draw depends on the seed and the step alone, so a resumed run draws what
an uninterrupted one would have drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

# of a warp: chance that there is one; largest turn; logarithm of the largest scale; largest shear
_WARP_SHARE = 0.7
_MOST_TURN = math.pi / 4
_MOST_LOG_SCALE = 0.3
_MOST_SHEAR = 0.15
_ROUNDING = 1e-4  # pixels
_QUARTER_TURN = torch.tensor([[0.0, -1.0], [1.0, 0.0]])


@dataclass(frozen=True)
class Flip:
    """One of the eight symmetries of a square: an optional flip in x, then quarter turns."""

    has_flip: bool
    n_turns: int

    def apply(self, images: torch.Tensor) -> torch.Tensor:
        """Transform the last two axes."""
        if self.has_flip:
            images = images.flip(-1)
        return torch.rot90(images, self.n_turns, (-2, -1))

    @property
    def matrix(self) -> torch.Tensor:
        """(2, 2): the offset (x, y) from the middle at which `apply` reads, of where it writes."""
        turns: torch.Tensor = torch.linalg.matrix_power(_QUARTER_TURN, self.n_turns)
        return turns * torch.tensor([[-1.0 if self.has_flip else 1.0], [1.0]])

    def undo(self, maps: torch.Tensor) -> torch.Tensor:
        """Transform the last two axes back."""
        maps = torch.rot90(maps, -self.n_turns, (-2, -1))
        return maps.flip(-1) if self.has_flip else maps


@dataclass(frozen=True)
class View:
    """A flip for each window of a batch and, after it, a linear map about the window's middle.

    Parameters
    ----------
    flips : tuple of Flip
        One a window.
    matrices : Tensor, optional
        (B, 2, 2) float32: the offset (x, y) from the middle, in pixels, at which the image is
        read, of the offset at which it is written. None: nothing but flips.
    """

    flips: tuple[Flip, ...]
    matrices: torch.Tensor | None = None
    _ways_back: dict[tuple[int, int], torch.Tensor] = field(
        default_factory=dict, repr=False, compare=False
    )

    def apply(self, images: torch.Tensor) -> torch.Tensor:
        """Transform images (B, channels, H, W); beyond its edges an image is mirrored."""
        if self.matrices is None:
            flips = zip(self.flips, images, strict=True)
            return torch.stack([flip.apply(image) for flip, image in flips])
        height, width = images.shape[-2:]
        to_edge = torch.tensor([[width / 2], [height / 2]])
        places = _offsets(self._all_in_one / to_edge, height, width).movedim(1, -1)
        return F.grid_sample(
            images, places.to(images.device), padding_mode="reflection", align_corners=False
        )

    def undo(self, maps: torch.Tensor) -> torch.Tensor:
        """Bring maps (B, n, H, W) back; where `shows` is False, they repeat their edge.

        After a linear map, each pixel takes the nearest one: its gradient then takes a third of the
        time, which of many classes is a large part of a step.
        """
        if self.matrices is None:
            flips = zip(self.flips, maps, strict=True)
            return torch.stack([flip.undo(map_) for flip, map_ in flips])
        height, width = maps.shape[-2:]
        x, y = (
            (offset + (size - 1) / 2).round_().clamp_(0, size - 1).int()
            for offset, size in zip(self._back(height, width), (width, height), strict=True)
        )
        # Apple's GPUs have scattered gradients to wrong places
        # (https://github.com/pytorch/pytorch/issues/163327)
        device = torch.device("cpu") if maps.device.type == "mps" else maps.device
        place = x.add_(y, alpha=width).long().flatten(1)[:, None].to(device)
        # not by grid_sample, which takes longer
        found = maps.to(device).flatten(2).gather(2, place.expand(-1, maps.shape[1], -1))
        return found.view(maps.shape).to(maps.device)

    def shows(self, height: int, width: int) -> torch.Tensor:
        """Which pixels of windows of this size are still seen after `apply`: (B, H, W) bool."""
        n = len(self.flips)
        if self.matrices is None:
            return torch.ones((n, height, width), dtype=torch.bool)
        # not beyond the middles of the outermost pixels
        x, y = self._back(height, width)
        most_x, most_y = ((size - 1) / 2 + _ROUNDING for size in (width, height))
        return (x.abs() <= most_x) & (y.abs() <= most_y)

    @cached_property
    def _all_in_one(self) -> torch.Tensor:
        """As ``matrices``, with the flips."""
        assert self.matrices is not None
        return torch.stack([flip.matrix for flip in self.flips]) @ self.matrices

    def _back(self, height: int, width: int) -> Sequence[torch.Tensor]:
        """Where each pixel is seen, from the middle: planes of x and y (B, H, W)."""
        shape = height, width
        if shape not in self._ways_back:
            self._ways_back[shape] = _offsets(torch.linalg.inv(self._all_in_one), *shape)
        return self._ways_back[shape].unbind(dim=1)


def _offsets(matrices: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Where matrices (B, 2, 2) move each pixel, from the middle: planes of x and y (B, 2, H, W)."""
    x, y = (torch.arange(n) - (n - 1) / 2 for n in (width, height))
    of_x, of_y = matrices[..., None, None].unbind(dim=2)
    return x * of_x + y[:, None] * of_y


def draw_view(
    n: int, shape: tuple[int, int], *, seed: int, step: int, flips: bool, warp: bool
) -> View:
    """Draw how the student sees the windows of a step.

    Parameters
    ----------
    n : int
        Windows.
    shape : (int, int)
        Of a window; quarter turns only if it is square.
    seed, step : int
        Decide the draw.
    flips : bool
        The eight flips and quarter turns, all as likely.
    warp : bool
        Seven windows of ten are turned by up to 45 degrees, scaled by 1/1.35 to 1.35 and sheared
        by up to .15.
    """
    drawn = [Flip(False, 0)] * n
    if flips:
        rng = np.random.default_rng([seed, 3, step])
        turns = (0, 1, 2, 3) if shape[0] == shape[1] else (0, 2)
        drawn = [Flip(bool(rng.integers(2)), int(rng.choice(turns))) for _ in range(n)]
    if not warp:
        return View(tuple(drawn))
    rng = np.random.default_rng([seed, 6, step])
    matrices = np.stack([_draw_matrix(rng) for _ in range(n)])
    return View(tuple(drawn), torch.from_numpy(matrices.astype(np.float32)))


def _draw_matrix(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A turn, a scale and a shear, or none of them."""
    is_warped = rng.random() < _WARP_SHARE
    angle = rng.uniform(-_MOST_TURN, _MOST_TURN)
    scale = math.exp(rng.uniform(-_MOST_LOG_SCALE, _MOST_LOG_SCALE))
    shear = rng.uniform(-_MOST_SHEAR, _MOST_SHEAR)
    if not is_warped:
        return np.eye(2)
    sine, cosine = math.sin(angle), math.cos(angle)
    turn = np.array([[cosine, -sine], [sine, cosine]])
    matrix: npt.NDArray[np.float64] = scale * turn @ np.array([[1.0, shear], [0.0, 1.0]])
    return matrix


def augment_intensity(
    images: torch.Tensor, *, seed: int, step: int, mean: float = 0.0, deviation: float = 1.0
) -> torch.Tensor:
    """Random contrast, brightness and noise.

    Parameters
    ----------
    images : Tensor
        (B, C, H, W).
    seed, step : int
        Decide the draw.
    mean, deviation : float
        Of the images' grey values in general: contrast changes around the one, and brightness and
        noise are parts of the other.
    """
    generator = torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)
    n = images.shape[0]

    def uniform(low: float, high: float) -> torch.Tensor:
        return torch.rand((n, 1, 1, 1), generator=generator) * (high - low) + low

    noise = torch.randn(images.shape, generator=generator)
    noisiness, contrast, brightness = uniform(0.0, 0.2), uniform(0.7, 1.4), uniform(-0.4, 0.4)
    offset = mean * (1 - contrast) + deviation * brightness
    return noise.mul_(deviation * noisiness).addcmul_(images, contrast).add_(offset)
