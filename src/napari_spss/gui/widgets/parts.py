"""What the sections are made of: buttons, fields and texts, in rows, columns and forms."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias, TypeVar

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import (
    QBoxLayout,
    QCheckBox,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLayout,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from .theme import set_mark

L = TypeVar("L", bound=QBoxLayout)
Act: TypeAlias = Callable[[], object]
Part: TypeAlias = QWidget | QLayout | tuple[QWidget, int] | None
"""What stands in a row or column: with a number it takes that share of the room; None is a gap."""


def make_button(text: str, act: Act, tooltip: str = "") -> QPushButton:
    """Make a button that does something."""
    button = QPushButton(text)
    button.setToolTip(tooltip)
    button.clicked.connect(lambda: act())
    return button


def make_check(text: str, act: Act, tooltip: str, *, is_on: bool = False) -> QCheckBox:
    """Make a box to be ticked; ticking it does something, as does taking that back."""
    check = QCheckBox(text)
    check.setChecked(is_on)
    check.setToolTip(tooltip)
    check.toggled.connect(lambda: act())
    return check


def make_choice(
    choices: Iterable[tuple[str, object]], tooltip: str, act: Act | None = None
) -> QComboBox:
    """Make a chooser of texts, each with what it stands for; another choice does something."""
    box = QComboBox()
    offer(box, choices)
    box.setToolTip(tooltip)
    if act is not None:
        box.currentIndexChanged.connect(lambda: act())
    return box


def offer(box: QComboBox, choices: Iterable[tuple[str, object]]) -> bool:
    """Offer these texts, each with what it stands for; return whether they are others."""
    wanted = list(choices)
    if [(box.itemText(i), box.itemData(i)) for i in range(box.count())] == wanted:
        return False
    box.clear()
    for text, data in wanted:
        box.addItem(text, data)
    return True


def offer_quietly(box: QComboBox, choices: Iterable[tuple[str, object]]) -> None:
    """Offer others, of which the same one stays chosen, or the first; nothing is told."""
    with QSignalBlocker(box):
        chosen = box.currentData()
        offer(box, choices)
        box.setCurrentIndex(max(0, box.findData(chosen)))


def make_text(text: str = "", tooltip: str = "") -> QLabel:
    """Make a text that is broken into lines; see `Notice` for one that may be empty."""
    label = QLabel(text)
    label.setWordWrap(True)
    label.setToolTip(tooltip)
    return label


class Notice(QLabel):
    """Wrapped text, hidden while empty; a warning has a bar in the theme's warning colour."""

    def __init__(self, *, is_warning: bool = False) -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.setVisible(False)
        set_mark(self, "warning" if is_warning else "")

    def say(self, text: str) -> None:
        """Show a text, or nothing."""
        if text != self.text():
            self.setText(text)
        self.setVisible(bool(text))


def shrink(*widgets: QWidget) -> None:
    """Let widgets be as narrow as the room beside others."""
    for widget in widgets:
        widget.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)


def make_row(*parts: Part) -> QHBoxLayout:
    """Put parts beside each other."""
    return _filled(QHBoxLayout(), parts)


def fill_row(widget: QWidget, *parts: Part) -> QHBoxLayout:
    """Put parts beside each other into a widget, without a margin."""
    return _filled(QHBoxLayout(widget), parts)


def fill_column(widget: QWidget, *parts: Part) -> QVBoxLayout:
    """Put parts below each other into a widget, without a margin."""
    return _filled(QVBoxLayout(widget), parts)


def make_form(*rows: tuple[str, QWidget | QLayout]) -> QFormLayout:
    """Put fields below each other, each with its name."""
    form = QFormLayout()
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    for name, field in rows:
        form.addRow(name, field)
    return form


def _filled(layout: L, parts: Iterable[Part]) -> L:
    layout.setContentsMargins(0, 0, 0, 0)
    for part in parts:
        if part is None:
            layout.addStretch(1)
        elif isinstance(part, tuple):
            layout.addWidget(*part)
        elif isinstance(part, QLayout):
            layout.addLayout(part)
        else:
            layout.addWidget(part)
    return layout
