"""What a person finds in a part of the dock: buttons by what is on them, numbers, texts, layers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

from napari.layers import Layer
from napari.utils.interactions import mouse_press_callbacks, mouse_release_callbacks
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QTextDocumentFragment
from qtpy.QtWidgets import (
    QAbstractButton,
    QApplication,
    QComboBox,
    QDoubleSpinBox,
    QLabel,
    QPlainTextEdit,
    QSpinBox,
    QWidget,
)

from napari_spss.gui.dock import SpssDock
from napari_spss.gui.widgets.theme import mark_of


def button(widget: QWidget, text: str) -> QAbstractButton:
    """Find a button by what is on it."""
    found = [one for one in widget.findChildren(QAbstractButton) if one.text() == text]
    assert found, f"no button {text!r}; there are {offered(widget)}"
    return _present(found, widget)


def offered(widget: QWidget) -> list[str]:
    """What is on the buttons that are shown."""
    buttons = widget.findChildren(QAbstractButton)
    return [one.text() for one in buttons if one.text() and one.isVisibleTo(widget)]


def number(widget: QWidget, unit: str) -> QSpinBox | QDoubleSpinBox:
    """Find the box of a number by the unit that stands in it, or by the start of its tooltip."""
    boxes = widget.findChildren(QSpinBox) + widget.findChildren(QDoubleSpinBox)
    found = [b for b in boxes if b.suffix().strip() == unit or b.toolTip().startswith(unit)]
    return _present(found, widget)


def choice(widget: QWidget, entry: str) -> QComboBox:
    """Find a list of choices by the start of one of them."""
    combos = widget.findChildren(QComboBox)
    return next(one for one in combos if any(text.startswith(entry) for text in choices(one)))


def choices(combo: QComboBox) -> list[str]:
    """What can be chosen in a list."""
    return [combo.itemText(index) for index in range(combo.count())]


def pick(combo: QComboBox, text: str) -> None:
    """Choose from a list as a user does."""
    index = combo.findText(text)
    assert index >= 0, f"no {text!r} among {choices(combo)}"
    combo.setCurrentIndex(index)
    combo.activated.emit(index)


def said(widget: QWidget) -> str:
    """All texts that are shown, one below the other."""
    return "\n".join(_texts(_labels(widget)))


def log_of(widget: QWidget) -> str:
    """Return the messages that are listed."""
    return widget.findChild(QPlainTextEdit).toPlainText()


def warned(widget: QWidget) -> str:
    """Those texts that are marked as a warning or an error."""
    return "\n".join(_texts(label for label in _labels(widget) if mark_of(label)))


def wait(dock: SpssDock, qtbot: QtBot) -> None:
    """Wait until nothing runs, and labels follow what was applied."""
    qtbot.waitUntil(
        lambda: not dock.session.status.is_busy and dock.controller.outcome.is_up_to_date,
        timeout=60_000,  # what is used first imports SciPy
    )


def n_seen(layer: Layer) -> int:
    """How many points or vectors of a layer are on the slice that is shown."""
    return len(layer._view_data)  # napari tells it in no other way


def click_on(layer: Layer, place: Sequence[float]) -> None:
    """Click on a layer at a place in its data, as napari tells layers of the mouse."""
    event = SimpleNamespace(
        button=1,
        modifiers=(),
        position=tuple(layer.data_to_world(place)),
        type="mouse_press",
        handled=False,
        camera_zoom=1.0,
    )
    mouse_press_callbacks(layer, event)
    event.type = "mouse_release"
    mouse_release_callbacks(layer, event)


def _present(found: Sequence[Any], widget: QWidget) -> Any:
    """Of several the one that is shown, or else the youngest: others wait for their deletion."""
    return sorted(found, key=lambda one: one.isVisibleTo(widget))[-1]


def _labels(widget: QWidget) -> Iterable[QLabel]:
    labels = widget.findChildren(QLabel)
    return (label for label in labels if label.text() and label.isVisibleTo(widget))


def _texts(labels: Iterable[QLabel]) -> Iterable[str]:
    for label in labels:
        text = label.text()
        if label.textFormat() != Qt.TextFormat.PlainText and Qt.mightBeRichText(text):
            text = QTextDocumentFragment.fromHtml(text).toPlainText()
        yield text.replace("\u00a0", " ").replace("\u2011", "-")


@contextlib.contextmanager
def windows_opened() -> Iterator[list[QWidget]]:
    """Widgets that are shown as windows of their own meanwhile."""

    class Watch(QObject):
        def eventFilter(self, widget, event):
            if event.type() == QEvent.Type.Show and isinstance(widget, QWidget):
                opened.extend([widget] * widget.isWindow())
            return False

    opened, watch = [], Watch()
    QApplication.instance().installEventFilter(watch)
    yield opened
    QApplication.instance().removeEventFilter(watch)
