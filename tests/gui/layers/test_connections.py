"""Subscriptions end, whatever became of those who had them."""

from __future__ import annotations

import gc

import numpy as np
from napari.components import ViewerModel
from qtpy.QtCore import QCoreApplication, QEvent
from qtpy.QtWidgets import QWidget

from napari_spss.gui.layers import Connections


class Listener(QWidget):
    def __init__(self) -> None:
        super().__init__()
        self.heard: list[object] = []

    def with_event(self, event: object) -> None:
        self.heard.append(event.value)

    def without_event(self) -> None:
        self.heard.append("called")

    def with_any(self, *events: object) -> None:
        self.heard.append(len(events))


def test_methods_hear_as_many_arguments_as_they_take(qtbot):
    viewer, connections, listener = ViewerModel(), Connections(), Listener()
    qtbot.addWidget(listener)
    for method in (listener.with_event, listener.without_event, listener.with_any):
        connections.connect(viewer.layers.events.inserted, method)
    layer = viewer.add_image(np.zeros((4, 4)))
    assert sorted(map(str, listener.heard)) == sorted(["1", "called", str(layer)])
    connections.disconnect_all()
    viewer.add_image(np.zeros((4, 4)))
    assert len(listener.heard) == 3


def test_a_deleted_widget_is_disconnected_from_an_event_that_others_hear_too(qtbot):
    viewer, connections, listener = ViewerModel(), Connections(), Listener()
    n_before = len(viewer.dims.events.point.callbacks)
    assert n_before, "the viewer itself listens"
    connections.connect(viewer.dims.events.point, listener.without_event)
    listener.destroyed.connect(connections.disconnect_all)
    with qtbot.captureExceptions() as errors:
        listener.deleteLater()
        QCoreApplication.sendPostedEvents(listener, QEvent.Type.DeferredDelete)
    assert not errors
    assert len(viewer.dims.events.point.callbacks) == n_before


def test_a_subscription_keeps_nobody_alive(qtbot):
    class Plain:
        def hear(self) -> None:
            heard.append(True)

    heard: list[bool] = []
    viewer, connections, plain = ViewerModel(), Connections(), Plain()
    connections.connect(viewer.layers.events.inserted, plain.hear)
    del plain
    gc.collect()
    viewer.add_image(np.zeros((4, 4)))
    assert not heard
    connections.disconnect_all()
