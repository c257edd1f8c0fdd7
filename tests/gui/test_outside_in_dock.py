"""The class outside on its way through the dock: annotations, run, result."""

from __future__ import annotations

import numpy as np
import pytest
from eye import button, said
from fake_core import fake_train, store

from napari_spss.core.annotations import Annotations, ClassStyle, CountingGrid, Proportion, Region
from napari_spss.core.base import FinishReason, Predicted, RunFinished, RunStarted
from napari_spss.gui import controller as controller_module, trainings as trainings_module

CLASSES = ("background", "mitochondria", "resin")
STYLES = (
    ClassStyle("background", "#999999", "Q"),
    ClassStyle("mitochondria", "#E69F00", "W"),
    ClassStyle("resin", "#000000", "E", is_outside=True),
)


def counted():
    """6 nodes on the background, 2 on mitochondria, 8 on resin; slice 1."""
    marks = np.repeat([0, 1, 2], [6, 2, 8])
    return CountingGrid(1, 2.0, 1.0, 1.0, 1 + 2.0 * np.arange(16), np.ones(16), marks, True)


SAID = Annotations(
    CLASSES, (Proportion(Region(0), (None, 0.1, None)),), grids=(counted(),), outside="resin"
)


def apply_with_resin(model, stack, maps, regions, making, *, device, token):
    """Slice 0: half resin, a quarter each of the others; slice z > 0: all background."""
    yield RunStarted("prediction", len(regions), "cpu", model.classes)
    for region in regions:
        probs = np.zeros((3, *stack.shape_of(region.slice)), np.float32)
        probs[0] = 1
        if region.slice == 0:
            probs[:, :, :24] = np.array([0, 0, 1])[:, None, None]
            probs[:, :16, 24:] = np.array([0, 1, 0])[:, None, None]
        store(maps, region.slice, probs, region.box)
        yield Predicted(region.slice, region.box)
    yield RunFinished(FinishReason.completed, len(regions), 0.1)


@pytest.fixture
def dock(viewer, open_dock, monkeypatch):
    monkeypatch.setattr(trainings_module, "train", fake_train)
    monkeypatch.setattr(controller_module, "apply_model", apply_with_resin)
    pixels = np.random.default_rng(0).integers(0, 255, (2, 32, 48), np.uint8)
    viewer.add_image(pixels, name="em")
    dock = open_dock()
    dock.classes.set_value(STYLES)
    return dock


def is_idle(dock):
    return not dock.session.status.is_busy


def test_annotations_of_the_dock_say_what_is_outside(dock):
    dock.annotate.set_value(SAID)
    assert dock.annotations() == SAID
    counts = dock.annotations().effective_proportions()[0]
    assert counts.fractions == (0.75, 0.25, 0.0)
    table = dock.annotate.fractions.view.model()
    place = [column.kind for column in table.columns].index("grid")
    assert table.index(1, place).data().startswith("25 (")


def test_an_outside_alone_is_nothing_to_be_found(dock):
    dock.classes.set_value((STYLES[0], STYLES[2]))
    assert "Add a class" in dock.guide.missing(dock.annotations())


def test_results_are_fractions_of_the_rest(dock, qtbot):
    dock.annotate.set_value(SAID)
    assert dock.start_training()
    qtbot.waitUntil(lambda: is_idle(dock))
    assert dock.session.model.classes.outside == "resin"
    dock.results.set_scope("stack")
    button(dock.results, "Apply").click()
    qtbot.waitUntil(lambda: is_idle(dock) and dock.controller.outcome.is_up_to_date)
    predicted = dock.controller.outcome.predicted_fractions()
    assert predicted[Region(0)] == pytest.approx((0.5, 0.5, 0.0))
    # slice 0 has half as much specimen as slice 1
    fractions = [one.fraction for one in dock.controller.outcome.overall()]
    assert fractions == pytest.approx((5 / 6, 1 / 6, 0.0))
    (line,) = [line for line in said(dock.results).splitlines() if " % " in line]
    assert line.startswith("mitochondria: 16.7 % of 2 slices")
