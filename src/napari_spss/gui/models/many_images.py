"""Many images: which, and what came of their labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from ...core.analysis import Estimate


@dataclass(frozen=True)
class ManyRequest:
    """Images, the folder for their results, and the group of each; see `core.prediction`.

    ``results`` has the folder of the results of each image that has some.
    """

    images: tuple[Path, ...]
    folder: Path
    groups: Mapping[Path, str] | None
    results: Mapping[Path, Path]


@dataclass(frozen=True)
class ManyMeasured:
    """What was measured of the results of many images."""

    # a row per image and class, of estimates per method as well; ``estimated`` has none if it was
    # stopped before
    measured: pd.DataFrame
    estimated: pd.DataFrame
    overall: tuple[Estimate, ...]  # the means of groups


def tables_in(folder: Path) -> tuple[Path, Path]:
    """Folders of measurements and of estimates, in that of the results of many images."""
    return folder / "tables", folder / "estimates"
