"""The plugin's settings in napari's preferences; defaults where napari has no such page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PLUGIN = "napari-spss"


@dataclass(frozen=True)
class Preferences:
    """What the manifest's ``configurations`` offer."""

    device: str = "auto"  # torch device for new runs
    minutes: float = 0.0  # time limit that is proposed for a training; 0 is none
    preview_interval_s: float = 3.0  # least time between two previews
    project_folder: str = ""  # where projects are kept; empty: beside the image


def read_preferences() -> Preferences:
    """Read the settings; napari before 0.9 has none for plugins, and gets the defaults."""
    try:
        from napari.settings import get_plugin_settings
    except ImportError:
        return Preferences()
    try:
        settings: Any = get_plugin_settings(PLUGIN)
    except (KeyError, ValueError):  # the plugin is disabled, or runs from a source tree
        return Preferences()
    return Preferences(
        device=str(settings.training.device),
        minutes=float(settings.training.minutes),
        preview_interval_s=float(settings.training.preview_interval_s),
        project_folder=str(settings.projects.folder),
    )
