"""Annotated slices made by hand, for tests of what happens after the annotations were read."""

from __future__ import annotations

import numpy as np

from napari_spss.core.training.samples import Bag, SliceSamples


def bag(box, fractions, low=None, high=None):
    """Return a bag; its interval has no width unless stated."""
    values = np.array([np.nan if f is None else f for f in fractions], np.float32)
    low, high = (values if edge is None else np.array(edge, np.float32) for edge in (low, high))
    return Bag(box, values, low, high)


def sample(shape, *, index=0, labels=None, bags=(), channels=1, weight=1.0, **flags):
    """Return a slice of noise; ``labels`` maps (y, x) to a class."""
    rng = np.random.default_rng([7, index])
    target = np.full(shape, -1, np.int16)
    for place, class_index in (labels or {}).items():
        target[place] = class_index
    return SliceSamples(
        slice=index,
        image=rng.normal(size=(channels, *shape)).astype(np.float32),
        target=target,
        weight=(weight * (target >= 0)).astype(np.float32),
        error=np.zeros(shape, np.float32),
        bags=tuple(bags),
        **flags,
    )


def whole(shape, fractions):
    """Return a bag of a whole slice."""
    return bag((0, 0, *shape), fractions)


def read_all(reader):
    """Read all slices of a `SampleReader`, about which something is said."""
    return [sample for z in reader.slices for sample in reader.read(z)]
