"""To which images a model is to be applied."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ManyRequest:
    """Images, the folder for their results, and their groups; see `core.prediction`.

    Parameters
    ----------
    images : tuple of Path
    folder : Path
    groups : str or None
        Path of a table, or "folder".
    """

    images: tuple[Path, ...]
    folder: Path
    groups: str | None = None
