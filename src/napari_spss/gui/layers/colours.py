"""Colours of labels layers, as napari shows them without compiling code first."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from napari.utils.colormaps import CyclicLabelColormap
from napari.utils.colormaps.standardize_color import transform_color

UNKNOWN_COLOUR = "#ffffff80"
"""Of a label that is no class."""

_N_LABELS = 256  # our labels are bytes


def label_colours(colours: Mapping[int, str]) -> CyclicLabelColormap:
    """Return the colormap of a labels layer; 0 is transparent.

    napari compiles a dictionary of its `DirectLabelColormap` when the first such layer is shown,
    which holds the window up for a second, and for several beside a run. A table with a colour for
    every byte says the same.

    Parameters
    ----------
    colours : mapping of int to str
        Colour of each label from 1 to 255; all others get ``UNKNOWN_COLOUR``.
    """
    table = np.tile(transform_color(UNKNOWN_COLOUR), (_N_LABELS, 1))
    table[0] = 0.0
    for label, colour in colours.items():
        if 0 < label < _N_LABELS:
            table[label] = transform_color(colour)[0]
    return CyclicLabelColormap(colors=table, name="semantic proportions")
