"""Reference cards: what a fraction looks like in objects of a width."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..base import InputError

CARD_FRACTIONS = (0.01, 0.02, 0.05, 0.10, 0.20)
_ELONGATIONS = (1.0, 2.0)
_MOST_TRIES = 1000


def reference_card(
    fraction: float, shape: tuple[int, int], width_px: float, *, seed: int = 0
) -> npt.NDArray[np.bool_]:
    """Draw ellipses of a width, of random length and place, that cover a fraction of an area.

    Parameters
    ----------
    fraction : float
        0-0.3; beyond that there may be no room for objects that do not touch.
    shape : (int, int)
        (Y, X) of the card in pixels.
    width_px : float
        Width of the objects; they are up to twice as long. Where the fraction is less than one
        object, there is one that is smaller.
    seed : int
        The same one gives the same card.

    Returns
    -------
    ndarray of bool, (Y, X)

    Raises
    ------
    InputError
        If the fraction is out of range, or the objects do not fit into the card.

    Examples
    --------
    >>> card = reference_card(0.1, (300, 300), 20)
    >>> bool(abs(card.mean() - 0.1) < 0.005)
    True
    """
    if not 0 < fraction <= 0.3:
        raise InputError(f"fraction {fraction} is not between 0 and 0.3; choose one that is.")
    longest = width_px * _ELONGATIONS[1]
    if not (width_px >= 1 and longest <= min(shape)):
        raise InputError(
            f"objects of {width_px:g} px do not fit into a card of {shape[0]} x {shape[1]} px; "
            f"choose a width from 1 to {min(shape) / _ELONGATIONS[1]:g} px.",
            field="image.object_diameter_px",
        )
    random = np.random.default_rng(seed)
    card = np.zeros(shape, dtype=bool)
    target = fraction * card.size
    of_width = math.pi / 4 * width_px**2  # area of a disc
    n_objects = max(1, round(target / (of_width * float(np.mean(_ELONGATIONS)))))
    lengths = random.uniform(*_ELONGATIONS, n_objects)
    lengths *= target / (of_width * float(lengths.sum()))
    for index, length in enumerate(lengths):
        if index == n_objects - 1:  # what the pixels' edges have left
            length = max(0.0, target - float(card.sum())) / of_width
        thin = min(1.0, math.sqrt(length))
        if length > 0:
            _add_ellipse(card, np.array([width_px * thin, width_px * length / thin]), random)
    return card


def _add_ellipse(
    card: npt.NDArray[np.bool_], axes: npt.NDArray[np.float64], random: np.random.Generator
) -> None:
    """Add an ellipse with these axes where it touches nothing, if there is such a place."""
    reach = float(axes.max()) / 2 + 1
    rows = np.arange(2 * math.ceil(reach) + 1) - math.ceil(reach)
    for _ in range(_MOST_TRIES):
        y, x = (int(random.uniform(reach, max(reach + 1, n - reach))) for n in card.shape)
        angle = random.uniform(0, math.pi)
        cos, sin = math.cos(angle), math.sin(angle)
        dy, dx = np.meshgrid(rows, rows, indexing="ij")
        along, across = cos * dx + sin * dy, cos * dy - sin * dx
        is_inside = (2 * across / axes[0]) ** 2 + (2 * along / axes[1]) ** 2 <= 1
        dy, dx = dy[is_inside] + y, dx[is_inside] + x
        fits = (dy >= 0) & (dx >= 0) & (dy < card.shape[0]) & (dx < card.shape[1])
        if fits.all() and not card[dy, dx].any():
            card[dy, dx] = True
            return
