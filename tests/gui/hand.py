"""A hand on napari's canvas: real Qt mouse and key events at places in the image."""

from __future__ import annotations

import time
from collections.abc import Sequence

from napari import Viewer
from napari.layers import Layer
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QImage, QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QApplication, QWidget

NONE = Qt.KeyboardModifier.NoModifier
LEFT = Qt.MouseButton.LeftButton


def button(widget: QWidget, text: str) -> QAbstractButton:
    """Find a button in a widget by what is on it."""
    return next(one for one in widget.findChildren(QAbstractButton) if one.text() == text)


def show_settled(viewer: Viewer) -> None:
    """Wait until the window is on the screen and the canvas knows its size; show all of it."""
    canvas = viewer.window._qt_viewer.canvas
    widget = canvas.native
    assert QTest.qWaitForWindowExposed(viewer.window._qt_window)
    QApplication.sendPostedEvents()  # the layout after the last dock
    deadline = time.monotonic() + 5.0
    while tuple(canvas.size) != (widget.height(), widget.width()):
        assert time.monotonic() < deadline, "the canvas does not get to know its size"
        QApplication.processEvents()
    viewer.reset_view()
    QApplication.processEvents()


class Hand:
    """Clicks, drags and types on the canvas of a viewer that is shown.

    Places are data coordinates of a layer, such as (slice, y, x) of the image.
    """

    def __init__(self, viewer: Viewer, layer: Layer) -> None:
        self._canvas = viewer.window._qt_viewer.canvas
        self._widget = self._canvas.native
        self._layer = layer
        moves = self._canvas._scene_canvas.events.mouse_move.callbacks
        self._throttles = [one for one in moves if hasattr(one, "flush")]
        assert self._throttles, "napari hands on moves in another way"
        show_settled(viewer)

    def at(self, place: Sequence[float]) -> QPoint:
        """Position on the canvas, in its pixels."""
        world = self._layer.data_to_world(place)
        view = self._canvas.view
        point = (view.transform * view.scene.transform).map([world[-1], world[-2], 0, 1])
        return QPoint(round(point[0] / point[3]), round(point[1] / point[3]))

    def click(self, place: Sequence[float], modifier: Qt.KeyboardModifier = NONE) -> None:
        """Press and release the left button."""
        self.drag([place], modifier=modifier)

    def double_click(self, place: Sequence[float]) -> None:
        """Click twice on the spot, as Qt tells it: the second press is a double click."""
        self.click(place)
        point = self.at(place)
        self._send(QEvent.Type.MouseButtonDblClick, point, LEFT, NONE)
        self._send(QEvent.Type.MouseButtonRelease, point, LEFT, NONE)
        self._settle()

    def drag(
        self, places: Sequence[Sequence[float]], *, modifier: Qt.KeyboardModifier = NONE
    ) -> None:
        """Press at the first place, move over the others, release at the last."""
        points = [self.at(place) for place in places]
        self._send(QEvent.Type.MouseMove, points[0], Qt.MouseButton.NoButton, modifier)
        self._settle()
        self._send(QEvent.Type.MouseButtonPress, points[0], LEFT, modifier)
        for point in points[1:]:
            self._send(QEvent.Type.MouseMove, point, LEFT, modifier)
            self._settle()
        self._send(QEvent.Type.MouseButtonRelease, points[-1], LEFT, modifier)
        self._settle()

    def press(self, key: Qt.Key, modifier: Qt.KeyboardModifier = NONE) -> None:
        """Type a key on the canvas."""
        QTest.keyClick(self._widget, key, modifier)
        self._settle()

    def picture(self) -> QImage:
        """What is seen of the canvas."""
        return self._widget.grab().toImage()

    def colour_at(self, place: Sequence[float]) -> str:
        """Colour that is seen at a place, such as "#ffffff"."""
        return str(self.picture().pixelColor(self.at(place)).name())

    def _send(
        self,
        kind: QEvent.Type,
        point: QPoint,
        button: Qt.MouseButton,
        modifier: Qt.KeyboardModifier,
    ) -> None:
        is_move = kind == QEvent.Type.MouseMove
        self._widget._last_time = 0.0  # vispy drops moves that follow within 10 ms
        is_release = kind == QEvent.Type.MouseButtonRelease
        event = QMouseEvent(
            kind,
            QPointF(point),
            QPointF(self._widget.mapToGlobal(point)),
            Qt.MouseButton.NoButton if is_move else button,
            Qt.MouseButton.NoButton if is_release else button,
            modifier,
        )
        QApplication.sendEvent(self._widget, event)

    def _settle(self) -> None:
        """Let napari's throttle hand on the move, and Qt what is due."""
        for throttle in self._throttles:
            throttle.flush(restart_timer=False)
        QApplication.processEvents()
