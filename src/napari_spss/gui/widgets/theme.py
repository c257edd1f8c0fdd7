"""Colours of napari's current theme that Qt's palette does not have."""

from __future__ import annotations

from qtpy.QtGui import QColor

__all__ = [
    "contrast",
    "distinct",
    "error_colour",
    "marked_text",
    "muted_text_colour",
    "warning_colour",
]

_MUTED = 0.75  # opacity
_MIN_CONTRAST = 3.0  # WCAG 2.1, 1.4.11: of what is not text
_N_SHADES = 20


def error_colour() -> QColor:
    """Return the colour of what is wrong, for borders and bars."""
    return _distinct("error")


def warning_colour() -> QColor:
    """Return the colour of what waits for an answer, for borders and bars."""
    return _distinct("warning")


def marked_text(colour: QColor | None) -> str:
    """Return the style of a text with a bar of a colour beside it; none without a colour.

    Not the text itself: red and yellow are hard to read on one of the themes each.
    """
    if colour is None:
        return ""
    return f"QLabel {{ border-left: 4px solid {colour.name()}; padding-left: 6px; }}"


def contrast(one: QColor, other: QColor) -> float:
    """Return the contrast ratio of two colours as WCAG 2.1 defines it, 1-21."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: QColor) -> float:
    parts = (colour.redF(), colour.greenF(), colour.blueF())
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _distinct(name: str) -> QColor:
    return distinct(_colour(name), text=_colour("text"), background=_colour("background"))


def distinct(colour: QColor, *, text: QColor, background: QColor) -> QColor:
    """Return a colour, shifted towards that of the text until it stands out from the background."""
    shade = colour
    for step in range(1, _N_SHADES):
        if contrast(shade, background) >= _MIN_CONTRAST:
            break
        shade = _mixed(colour, text, step / _N_SHADES)
    return shade


def _mixed(one: QColor, other: QColor, share: float) -> QColor:
    pairs = zip(one.getRgb()[:3], other.getRgb()[:3], strict=True)
    return QColor(*(round((1 - share) * a + share * b) for a, b in pairs))


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
