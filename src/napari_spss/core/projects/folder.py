"""Where a project's folder may be: beside the image, in the user's data folder, or elsewhere."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

from platformdirs import user_data_path

from ..base import InputError, write_atomically
from ..images import PAINTED_FOLDER

RECORD_FILE = "project.json"
RUNS_FOLDER = "runs"

_SUFFIX = ".spss"


class FolderUnusable(InputError):
    """A project's folder cannot be written, so annotations are only in memory.

    Parameters
    ----------
    folder : Path
        The folder.
    reason : str
        Why it cannot be used.
    fallback : Path
        A folder that can be offered instead.
    """

    def __init__(self, folder: Path, reason: str, *, fallback: Path) -> None:
        self.folder = folder
        self.fallback = fallback
        super().__init__(
            f"The project folder {folder} cannot be written ({reason}). Nothing is lost: the "
            f"annotations are in memory. Save them elsewhere, for example in {fallback}.",
            field="project",
        )


def folder_beside(source: str) -> Path | None:
    """Name the folder beside an image; None if the image is no file or folder.

    >>> folder_beside("array") is None
    True
    """
    path = Path(source)
    if not source or not path.exists() or not path.name:
        return None
    return path.absolute().with_name(path.name + _SUFFIX)


def fallback_folder(source: str, identity: str, *, is_free: bool = False) -> Path:
    """Name the folder of an image's project within the user's data folder.

    Parameters
    ----------
    source : str
        Path of the image, or anything else if it has none.
    identity : str
        Of the image.
    is_free : bool
        Whether a folder without a project is wanted.
    """
    name = re.sub(r"[^\w.-]+", "_", Path(source).name) or "image"
    folder = user_data_path("napari-spss", appauthor=False) / "projects"
    wanted = folder / f"{name[:60]}-{identity[:8]}"
    return _numbered(wanted, _n_projects(wanted)) if is_free else wanted


def choose_folder(source: str, identity: str) -> Path:
    """Choose the folder for an image: where its project is, else beside it if possible.

    If there are several, as after a project moved because its folder became read-only, the one
    annotated last is chosen. ``source`` is the image's path, or anything else if it has none.
    """
    saved = saved_projects(source, identity)
    if saved:
        return saved[0]
    beside = folder_beside(source)
    if beside is not None and os.access(beside.parent, os.W_OK):
        return beside
    return fallback_folder(source, identity)


def saved_projects(source: str, identity: str) -> tuple[Path, ...]:
    """Find the projects of an image, last annotated first.

    They are beside it, in the user's data folder, or where somebody chose, see `note_folder`.
    """
    places = dict.fromkeys((*_usual_places(source, identity), *_noted_folders(identity)))
    return last_annotated_first(place for place in places if (place / RECORD_FILE).exists())


def note_folder(folder: Path, source: str, identity: str) -> None:
    """Remember where somebody keeps the project of an image, to find it when that is opened again.

    Parameters
    ----------
    folder : Path
        One that `saved_projects` would not find by itself is written down.
    source : str
        Path of the image, or anything else if it has none.
    identity : str
        Of the image.

    Raises
    ------
    RunError
        If that cannot be written.
    """
    folder, noted = folder.absolute(), _noted_folders(identity)
    if folder not in (*_usual_places(source, identity), *noted):
        text = json.dumps([str(place) for place in (*noted, folder)], indent=1)
        write_atomically(_notes_of(identity), f"{text}\n")


def _usual_places(source: str, identity: str) -> list[Path]:
    beside, fallback = folder_beside(source), fallback_folder(source, identity)
    places = [_numbered(fallback, number) for number in range(_n_projects(fallback))]
    return places if beside is None else [beside, *places]


def _notes_of(identity: str) -> Path:
    return fallback_folder("", identity).parent / "elsewhere" / f"{identity}.json"


def _noted_folders(identity: str) -> list[Path]:
    """Folders that were noted, as far as the file can be read."""
    try:
        noted = json.loads(_notes_of(identity).read_text("utf-8"))
    except (OSError, ValueError):
        return []
    return [Path(one) for one in noted if isinstance(one, str)] if isinstance(noted, list) else []


def last_annotated_first(projects: Iterable[Path]) -> tuple[Path, ...]:
    """Sort folders of projects by the time of their last saving.

    Those in which nothing was annotated come after all others, as where settings alone were
    entered while the project was open elsewhere.
    """
    return tuple(sorted(projects, key=_annotated_at, reverse=True))


def _annotated_at(folder: Path) -> tuple[bool, float]:
    record = folder / RECORD_FILE
    has_annotations = any(folder.glob("*.csv")) or (folder / PAINTED_FOLDER).is_dir()
    return has_annotations, record.stat().st_mtime if record.exists() else 0.0


def _numbered(folder: Path, number: int) -> Path:
    return folder if number == 0 else folder.with_name(f"{folder.name}-{number + 1}")


def _n_projects(folder: Path) -> int:
    """Count the numbered folders from this one on that hold a project."""
    number = 0
    while (_numbered(folder, number) / RECORD_FILE).exists():
        number += 1
    return number
