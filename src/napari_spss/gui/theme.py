"""Colours of napari's current theme that Qt's palette does not have."""

from __future__ import annotations

from qtpy.QtGui import QColor

__all__ = ["error_colour", "muted_text_colour", "warning_colour"]

_MUTED = 0.75  # opacity


def error_colour() -> QColor:
    """Return the colour of what is wrong."""
    return _colour("error")


def warning_colour() -> QColor:
    """Return the colour of what waits for an answer."""
    return _colour("warning")


def muted_text_colour() -> QColor:
    """Return the colour of text that is less important; it has enough contrast to be read."""
    colour = _colour("text")
    colour.setAlphaF(_MUTED)
    return colour


def _colour(name: str) -> QColor:
    from napari.settings import get_settings
    from napari.utils.theme import get_theme

    theme = get_theme(get_settings().appearance.theme)
    return QColor(getattr(theme, name).as_hex("long"))
