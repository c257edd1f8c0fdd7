"""Colours of the viewer's theme that Qt's palette does not have, and what is marked with them.

A widget and all that is in it :func:`wear` a theme: napari's settings may name another one than the
viewer shows.
"""

from __future__ import annotations

from typing import Literal

from qtpy.QtCore import QEvent
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QApplication, QWidget

from ...core.annotations import MIN_CONTRAST, contrast as contrast_of

Level = Literal["", "warning", "error"]

_THEME, _MARK = "spss_theme", "spss_mark"  # Qt properties
_FIELDS = ("QLineEdit", "QAbstractSpinBox", "QComboBox", "QCheckBox")
_MUTED = 0.75  # opacity
_N_SHADES = 20
_NUMBER_PX_A_POINT = 11.5  # "of any size", and the signs beside it


def wear(widget: QWidget, theme: str) -> None:
    """Give a widget, and all that is in it now or later, the colours of one of napari's themes.

    Napari's own style leaves out titles, fields of text and tables where it sets the size of the
    font.
    """
    from napari.settings import get_settings

    widget.setProperty(_THEME, theme)
    bars = (
        f'QLabel[{_MARK}="{mark}"] {{ border-left: 4px solid {colour.name()}; padding-left: 6px; }}'
        for mark, colour in (("warning", warning_colour(widget)), ("error", error_colour(widget)))
    )
    wrong = ", ".join(f'{kind}[{_MARK}="error"]' for kind in _FIELDS)
    frames = f"{wrong} {{ border: 2px solid {error_colour(widget).name()}; }}"
    size = get_settings().appearance.font_size
    font = f"QToolButton {{ font-size: {size + 1}pt; }}"
    font += f"QLineEdit, QTableView, QHeaderView {{ font-size: {size}pt; }}"
    # napari's style gives all of them 70 px, whatever the font
    room = f"QAbstractSpinBox {{ min-width: {_NUMBER_PX_A_POINT * size:.0f}px; }}"
    room += "QLabeledSlider > QAbstractSpinBox { min-width: 10px; }"
    widget.setStyleSheet("\n".join((*bars, frames, font, room)))  # the children hear of it


def set_mark(widget: QWidget, mark: Level) -> None:
    """Mark a label by a bar beside it, or a field by a frame; an empty mark takes that back.

    Not the text itself: red and yellow are hard to read on one of the themes each.
    """
    if mark_of(widget) == mark:
        return
    widget.setProperty(_MARK, mark)
    widget.style().unpolish(widget)
    widget.style().polish(widget)
    QApplication.sendEvent(widget, QEvent(QEvent.Type.StyleChange))  # of its frame's width
    widget.updateGeometry()


def mark_of(widget: QWidget) -> Level:
    """Return the mark of a widget."""
    mark: Level = widget.property(_MARK) or ""
    return mark


def error_colour(widget: QWidget) -> QColor:
    """Return the colour of what is wrong, for borders and bars."""
    return _distinct("error", widget)


def warning_colour(widget: QWidget) -> QColor:
    """Return the colour of what waits for an answer, for borders and bars."""
    return _distinct("warning", widget)


def contrast(one: QColor, other: QColor) -> float:
    """Return the contrast ratio of two colours as WCAG 2.1 defines it, 1-21."""
    return contrast_of(one.getRgbF()[:3], other.getRgbF()[:3])


def _distinct(name: str, widget: QWidget) -> QColor:
    text, background = theme_colour("text", widget), theme_colour("background", widget)
    return distinct(theme_colour(name, widget), text=text, background=background)


def distinct(colour: QColor, *, text: QColor, background: QColor) -> QColor:
    """Return a colour, shifted towards that of the text until it stands out from the background."""
    shade = colour
    for step in range(1, _N_SHADES):
        if contrast(shade, background) >= MIN_CONTRAST:
            break
        shade = _mixed(colour, text, step / _N_SHADES)
    return shade


def _mixed(one: QColor, other: QColor, share: float) -> QColor:
    pairs = zip(one.getRgb()[:3], other.getRgb()[:3], strict=True)
    return QColor(*(round((1 - share) * a + share * b) for a, b in pairs))


def muted_text_colour(widget: QWidget) -> QColor:
    """Return the colour of text that is less important; it has enough contrast to be read."""
    colour = theme_colour("text", widget)
    colour.setAlphaF(_MUTED)
    return colour


def theme_colour(name: str, widget: QWidget) -> QColor:
    """Return a colour of the theme that a widget wears, such as "text" or "background"."""
    from napari.utils.theme import get_theme

    return QColor(getattr(get_theme(_theme_of(widget)), name).as_hex("long"))


def _theme_of(widget: QWidget | None) -> str:
    """Name of the theme that a widget wears; that of the settings as long as it wears none."""
    from napari.settings import get_settings

    while widget is not None:
        name = widget.property(_THEME)
        if name:
            return str(name)
        widget = widget.parentWidget()
    return str(get_settings().appearance.theme)
