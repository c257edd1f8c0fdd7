"""Simulated annotators, degraded fractions, and synthetic images with known truth."""

from .cost import (
    PROTOCOLS,
)
from .protocols import (
    simulate,
    write_simulation,
)
from .samples import (
    Sample,
    axon_sample,
    synthetic_sample,
)

__all__ = [
    "PROTOCOLS",
    "Sample",
    "axon_sample",
    "simulate",
    "synthetic_sample",
    "write_simulation",
]
