"""The colours of labels layers."""

from __future__ import annotations

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_spss.gui.layers import label_colours
from napari_spss.gui.layers.colours import UNKNOWN_COLOUR

COLOURS = {1: "#e69f00", 2: "#56b4e9", 255: "#009e73"}


def test_table_says_what_a_dictionary_of_colours_says():
    wanted = DirectLabelColormap(color_dict={None: UNKNOWN_COLOUR, 0: "transparent", **COLOURS})
    found = label_colours(COLOURS).map(np.arange(256, dtype=np.uint8))
    assert np.allclose(found, [wanted.map(label) for label in range(256)])


def test_background_stays_transparent_whatever_its_colour():
    assert label_colours({0: "#ff0000"}).map(np.uint8(0))[3] == 0


def test_values_that_are_no_byte_get_no_colour_of_their_own():
    assert np.allclose(label_colours({300: "#ff0000"}).map(np.uint8(44)), [1, 1, 1, 0x80 / 255])


def test_labels_layer_shows_the_colours():
    layer = Labels(np.array([[0, 1], [2, 3]], np.uint8), colormap=label_colours(COLOURS))
    assert np.allclose(layer.get_color(1)[:3], np.array([0xE6, 0x9F, 0]) / 255)
    assert np.allclose(layer.get_color(3), [1, 1, 1, 0x80 / 255])
