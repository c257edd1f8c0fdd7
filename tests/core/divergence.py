"""The divergence of two fractions, by hand."""

from __future__ import annotations

import math


def binary_kl(wanted: float, predicted: float) -> float:
    """Of two fractions, and of what is left of 1."""
    pairs = (wanted, predicted), (1 - wanted, 1 - predicted)
    return sum(f * math.log(f / p) for f, p in pairs)
