"""The working scale of images whose pixels differ in size."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..base import Message, length_text

if TYPE_CHECKING:
    from .stack import Stack

BOTH_UNKNOWN = (
    "The size of a pixel is not known: objects must be as many pixels wide as in the image that "
    "the model learned from."
)

_MOST_OFF = 1.5
_UNKNOWN_TO_MODEL = (
    "The model does not say at which size of a pixel it learned, so the image is reduced as in "
    "training: objects must be as many pixels wide as there."
)
_UNKNOWN_OF_IMAGE = (
    "The size of a pixel is not known. It is taken to be {}, as in the image that the model "
    "learned from; if it is another one, state it: --voxel-size (voxel_size_um in Python), in "
    "napari as Voxel size under Image & classes."
)


@dataclass(frozen=True)
class WorkingScale:
    """How far images are reduced for a network: all to about the same size of a working pixel.

    Parameters
    ----------
    reduction : int
        Data pixels a working pixel, in an image with pixels of ``pixel_size_um``.
    pixel_size_um : float, optional
        Edge of a data pixel in micrometres; where it is not known, ``reduction`` serves all.
    """

    reduction: int
    pixel_size_um: float | None = None

    def of(self, pixel_size_um: float | None) -> int:
        """Return the reduction of an image with pixels of this size; 1 if they are too large.

        Examples
        --------
        >>> [WorkingScale(2, 0.005).of(size) for size in (0.0025, 0.005, 0.0101, 0.1, None)]
        [4, 2, 1, 1, 2]
        """
        if self.pixel_size_um is None or pixel_size_um is None:
            return self.reduction
        exact = self.reduction * self.pixel_size_um / pixel_size_um
        low = max(1, math.floor(exact))
        return low if exact / low <= (low + 1) / exact else low + 1

    def of_slice(self, stack: Stack, z: int) -> int:
        """Return the reduction of slice ``z``."""
        return self.of(stack.pixel_size_um(z))

    def at(self, pixel_size_um: float | None) -> WorkingScale:
        """Return the same scale as it is for an image with pixels of this size."""
        return WorkingScale(self.of(pixel_size_um), pixel_size_um or self.pixel_size_um)

    def notes(self, stack: Stack, slices: Iterable[int] | None = None) -> tuple[Message, ...]:
        """Say what the pixel size of an image, or of slices, means for a model of this scale.

        Nothing where it is that of training. Nothing either where neither is known: whoever knows
        that the image is another one says `BOTH_UNKNOWN`.
        """
        learned = self.pixel_size_um
        chosen = range(stack.n_slices) if slices is None else slices
        sizes = {stack.pixel_size_um(z) for z in chosen}
        known = [size for size in sizes if size is not None]
        if learned is None:
            return (Message("warning", _UNKNOWN_TO_MODEL),) if known else ()
        if len(known) < len(sizes):
            return (Message("warning", _UNKNOWN_OF_IMAGE.format(length_text(learned))),)
        farthest = max(known, key=lambda size: abs(math.log(size / learned)))
        reduction = self.of(farthest)
        has = "One of the images has" if len(known) > 1 else "The image has"
        seen = (
            f"{has} pixels of {length_text(farthest)}, that which the model learned from "
            f"of {length_text(learned)}"
        )
        smaller = reduction * farthest / (self.reduction * learned)
        if smaller > _MOST_OFF:
            text = (
                f"{seen}: even at full resolution objects look {smaller:.1f} times smaller to the "
                f"network. Enlarge the image to pixels of {length_text(self.reduction * learned)}, "
                "or train on it."
            )
            return (Message("warning", text),)
        if reduction == self.reduction and 1 / _MOST_OFF <= farthest / learned <= _MOST_OFF:
            return ()
        text = (
            f"{seen}: the network sees it reduced by {reduction} instead of {self.reduction}, so "
            "that objects look as large. State the size of a pixel if that is wrong."
        )
        return (Message("info", text),)

    def notes_of_set(self, stack: Stack) -> tuple[Message, ...]:
        """Say that the images of a set differ in pixel size, and what that means for training."""
        known = {stack.pixel_size_um(z) for z in range(stack.n_slices)} - {None}
        if self.pixel_size_um is None or len(known) < 2:
            return ()
        sizes = sorted(size for size in known if size is not None)
        most, least = self.of(sizes[0]), self.of(sizes[-1])
        smaller = least * sizes[-1] / (self.reduction * self.pixel_size_um)
        text = (
            f"The images have pixels of {1000 * sizes[0]:.4g} to {1000 * sizes[-1]:.4g} nm: the "
            f"network sees them reduced by {most} to {least}, so that working pixels are about as "
            "large as those of the first image."
        )
        if smaller <= _MOST_OFF:
            return (Message("info", text),)
        text += f" In the coarsest, objects look {smaller:.1f} times smaller."
        return (Message("warning", text),)
