"""Measuring an object's width by a line drawn in the viewer."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QLineF, QObject, QPointF, Qt, Signal
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QApplication, QWidget

from .connections import Connections
from .source_frame import SourceFrame

if TYPE_CHECKING:
    from napari.layers import Image, Labels
    from napari.utils.events import Event
    from napari.viewer import Viewer


class LineMeasure(QObject):
    """Lets the user draw one line on an image and tells its length.

    The line is drawn over the canvas, in no layer: with software OpenGL, napari dies at the first
    slice that is shown after a Shapes layer was removed.
    """

    measured = Signal(float)  # length in data pixels of a line within a slice
    drawn = Signal(object)  # its ends, (slice, y, x) each
    clicked = Signal(object)  # (slice, y, x), when the mouse was not moved
    ended = Signal()  # when drawing is over, with a line or without

    def __init__(self, viewer: Viewer, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._frame: SourceFrame | None = None
        self._was_active: Any = None
        self._least_px = 1.0
        self._connections = Connections()
        self.destroyed.connect(self._connections.disconnect_all)

    @property
    def is_drawing(self) -> bool:
        """Whether a line is awaited."""
        return self._frame is not None

    def start(self, image: Image | Labels, *, least_px: float = 1.0) -> None:
        """Wait for a line on an image, or on labels; what is shorter was meant as a click."""
        self.stop()
        self._least_px = least_px
        selection = self._viewer.layers.selection
        self._was_active, selection.active = selection.active, image
        self._frame = SourceFrame(image)
        image.mode = "pan_zoom"
        image.cursor = "crosshair"
        image.mouse_drag_callbacks.append(self._on_drag)
        self._connections.connect(selection.events.active, self._on_active)

    def stop(self) -> None:
        """Wait no longer, and give the selection back."""
        frame, self._frame = self._frame, None
        if frame is None:
            return
        self._connections.disconnect_all()
        frame.layer.mouse_drag_callbacks.remove(self._on_drag)
        frame.layer.cursor = "standard"
        selection = self._viewer.layers.selection
        if selection.active is frame.layer and self._was_active in self._viewer.layers:
            selection.active = self._was_active
        self._was_active = None
        self.ended.emit()

    def _on_active(self) -> None:
        frame = self._frame
        if frame is not None and self._viewer.layers.selection.active is not frame.layer:
            self.stop()

    def _on_drag(self, layer: Image | Labels, event: Event) -> Generator[None, None, None]:
        frame = self._frame
        if frame is None or event.button != 1 or event.modifiers:
            return
        start, line = frame.position_at(event.position), _Line(event)
        event.handled = True
        layer.mouse_pan = False  # moves reach us after the camera
        try:
            yield
            while event.type == "mouse_move":
                line.draw_to(event)
                event.handled = True
                yield
        finally:
            layer.mouse_pan = True
            line.end()
        end = frame.position_at(event.position)
        length = math.dist(start[1:], end[1:])
        if length >= self._least_px and self.is_drawing:
            if frame.is_shown_in_plane(self._viewer):  # else it is longer than it looks
                self.measured.emit(length)
            self.drawn.emit((start, end))
            self.stop()
        elif self.is_drawing:
            self.clicked.emit(start)


class _Line(QWidget):
    """A line over the canvas from where the mouse was pressed."""

    def __init__(self, press: Event) -> None:
        canvas = QApplication.widgetAt(press.native.globalPosition().toPoint())
        super().__init__(canvas)
        self._ends = QLineF(QPointF(*press.pos), QPointF(*press.pos))
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        if canvas is not None:
            self.setGeometry(canvas.rect())
            self.show()

    def draw_to(self, event: Event) -> None:
        self._ends.setP2(QPointF(*event.pos))
        self.update()

    def end(self) -> None:
        self.hide()
        self.deleteLater()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        for colour, width in (("#000000", 5), ("#f0e442", 2)):
            painter.setPen(QPen(QColor(colour), width))
            painter.drawLine(self._ends)
        painter.end()
