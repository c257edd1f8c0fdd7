"""Reference cards: buttons beside the fractions that lay objects over the image."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QToolButton

PIXELS = np.zeros((3, 200, 300), np.uint8)
OF_IMAGE = {"scale": (40, 8, 8), "units": ("nm",) * 3, "translate": (0, 80, 160)}


@pytest.fixture
def viewer():
    viewer = ViewerModel()
    viewer.add_image(PIXELS, name="em", **OF_IMAGE)
    return viewer


@pytest.fixture
def dock(open_dock):
    dock = open_dock()
    dock.image.set_diameter(24)
    return dock


def card_button(dock, per_cent):
    return dock.annotate.fractions.findChild(QToolButton, f"card_{per_cent}")


def click(dock, qtbot, per_cent):
    qtbot.mouseClick(card_button(dock, per_cent), Qt.MouseButton.LeftButton)


def cards(viewer):
    return [layer for layer in viewer.layers if "looks like" in layer.name]


@pytest.mark.parametrize("per_cent", [1, 5, 20])
def test_a_card_covers_its_fraction_of_the_image_on_every_slice(dock, viewer, qtbot, per_cent):
    click(dock, qtbot, per_cent)
    (card,) = cards(viewer)
    image = viewer.layers["em"]
    assert card.name == f"what {per_cent} % looks like"
    for z in range(3):
        assert (card.data[z] == 1).mean() == pytest.approx(per_cent / 100, rel=0.05)
    assert np.all(card.extent.world >= image.extent.world[0] - 1e-6, axis=1)[0]
    assert np.all(card.extent.world[1] <= image.extent.world[1] + 1e-6)
    assert viewer.layers.selection.active is image


def test_there_is_one_card_at_a_time_and_a_second_click_takes_it_away(dock, viewer, qtbot):
    click(dock, qtbot, 2)
    click(dock, qtbot, 10)
    assert [layer.name for layer in cards(viewer)] == ["what 10 % looks like"]
    assert not card_button(dock, 2).isChecked()
    click(dock, qtbot, 10)
    assert cards(viewer) == []


def test_another_diameter_takes_the_card_away_and_none_asks_for_it(dock, viewer, qtbot):
    click(dock, qtbot, 5)
    dock.image.set_diameter(30)
    assert cards(viewer) == []
    assert not card_button(dock, 5).isChecked()
    dock.image.set_diameter(None)
    assert not card_button(dock, 5).isEnabled()
    assert "object diameter first" in card_button(dock, 5).toolTip()


def test_objects_that_do_not_fit_are_told(dock, viewer, qtbot):
    dock.image.set_diameter(150)
    click(dock, qtbot, 5)
    assert cards(viewer) == []
    assert "do not fit into a slice of 300 x 200 px" in dock.bar.text()
    assert not card_button(dock, 5).isChecked()


def test_a_card_lies_where_one_looks_in_a_large_image(viewer, qtbot, dock):
    viewer.layers.clear()
    viewer.add_image(np.broadcast_to(np.uint8(0), (3000, 4000)), name="large")
    dock.image.set_diameter(20)
    getattr(viewer, "scene", viewer).camera.center = (0, 2500, 3000)
    click(dock, qtbot, 10)
    (card,) = cards(viewer)
    low, high = card.extent.world
    assert np.all(low < (2500, 3000))
    assert np.all(high > (2500, 3000))
    assert max(high - low) < 1100
