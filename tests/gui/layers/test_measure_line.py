"""A line that is drawn across an object, with a hand on a real canvas."""

from __future__ import annotations

import numpy as np
import pytest
from eye import said
from hand import Hand, show_settled
from qtpy.QtWidgets import QPushButton

from napari_spss.gui.widgets import ImageSection


@pytest.fixture
def shown(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    image = viewer.add_image(
        np.zeros((3, 64, 96), np.uint8), scale=(50, 2, 2), translate=(0, 10, 10)
    )
    section = ImageSection(viewer)
    viewer.window.add_dock_widget(section)
    return viewer, image, section, Hand(viewer, image)


def camera_of(viewer):
    return getattr(viewer, "scene", viewer).camera  # it moved there in napari 0.9


def button_of(section):
    return section.findChild(QPushButton)


def test_a_drawn_line_is_the_diameter_in_pixels_and_leaves_nothing_behind(shown):
    viewer, image, section, hand = shown
    points = viewer.add_points(ndim=3)
    points.mode = "add"
    button_of(section).click()
    show_settled(viewer)  # the controls of the image are wider
    centre = camera_of(viewer).center
    hand.drag([(1, 20, 30), (1, 28, 36), (1, 36, 42)])
    assert section.value().object_diameter_px == pytest.approx(20, abs=0.5)
    assert button_of(section).text() == "Measure"
    assert list(viewer.layers) == [image, points]
    assert viewer.layers.selection.active is points
    assert (points.mode, len(points.data)) == ("add", 0)
    assert camera_of(viewer).center == centre
    hand.drag([(1, 20, 30), (1, 28, 36)])  # the next one draws nothing
    assert section.value().object_diameter_px == pytest.approx(20, abs=0.5)
    assert image.mouse_pan


def test_the_line_is_seen_while_it_is_drawn(shown):
    viewer, image, section, hand = shown
    button_of(section).click()
    show_settled(viewer)  # the controls of the image are wider
    seen = []

    def colours():
        picture, at = hand.picture(), hand.at((1, 20, 50))  # as wide as a line, or a pixel beside
        return {picture.pixelColor(at.x(), at.y() + dy).name() for dy in range(-3, 4)}

    def look(layer, event):
        yield
        while event.type == "mouse_move":
            seen.append(colours())
            yield

    image.mouse_drag_callbacks.append(look)
    hand.drag([(1, 20, 30), (1, 20, 80), (1, 20, 80)])
    assert "#f0e442" in seen[-1]
    assert colours() == {"#000000"}


def test_a_click_is_no_line(shown):
    _, _, section, hand = shown
    button_of(section).click()
    hand.click((1, 20, 30))
    assert section.value().object_diameter_px is None
    assert button_of(section).isChecked()
    hand.drag([(1, 20, 30), (1, 20, 40)])
    assert section.value().object_diameter_px == pytest.approx(10, abs=0.5)


@pytest.mark.parametrize("view", [{"ndisplay": 3}, {"order": (1, 0, 2)}])
def test_no_width_is_measured_where_lines_are_not_as_long_as_they_look(shown, view):
    viewer, _, section, hand = shown
    measure = button_of(section)
    measure.click()
    for name, value in view.items():
        setattr(viewer.dims, name, value)
    camera_of(viewer).angles = (20, 40, 60)
    hand.drag([(1, 20, 30), (1, 28, 36), (1, 36, 60)])
    assert section.value().object_diameter_px is None
    measure.setChecked(False)
    measure.click()
    assert not measure.isChecked()
    assert "in the 2D view of single slices" in said(section)


def test_measuring_can_be_given_up(shown):
    viewer, image, section, hand = shown
    for give_up in (
        button_of(section).click,
        lambda: viewer.add_points(ndim=3),
        lambda: viewer.layers.remove(image),
    ):
        button_of(section).click()
        assert button_of(section).isChecked()
        give_up()
        assert button_of(section).text() == "Measure"
        assert not button_of(section).isChecked()
        hand.drag([(1, 20, 30), (1, 20, 40)])
        assert section.value().object_diameter_px is None
