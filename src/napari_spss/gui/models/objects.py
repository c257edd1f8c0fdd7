"""Objects of one class of a result: their numbers, pixel by pixel, and what is known of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ...core.annotations import Region

if TYPE_CHECKING:
    import pandas as pd

_BOX = ("z0", "y0", "x0", "z1", "y1", "x1")
_AROUND = 1.0  # extents of an object that are shown on each side of it
_LEAST_SHOWN_PX = 128


@dataclass(frozen=True)
class ObjectRequest:
    """Which objects are to be found; see `core.analysis.find_objects`.

    Parameters
    ----------
    class_index : int
    class_name : str
    per_slice : bool
        Whether each slice stands alone.
    min_size : str
        A number of pixels or voxels, or with a unit, such as "0.01 um3".
    split : float or None
        Part of the width below which a neck is cut.
    """

    class_index: int
    class_name: str
    per_slice: bool = False
    min_size: str = "1"
    split: float | None = None


@dataclass
class FoundObjects:
    """What was found; the array is the one that the viewer shows.

    Edits by hand go here: change the numbers in ``instances`` in place, put a new ``table`` beside
    them (`core.analysis.object_table`), then show both (`Outcome.show_objects`).

    Parameters
    ----------
    request : ObjectRequest
        For what was asked.
    instances : ndarray of int32, (Z, Y, X)
        The number of an object where it is, 0 elsewhere.
    table : DataFrame
        A row per object, with its number in the column ``object``.
    version : int
        Of the labels.
    """

    request: ObjectRequest
    instances: npt.NDArray[np.int32]
    table: pd.DataFrame
    version: int

    def region_of(self, number: int) -> Region | None:
        """Return where to look at an object: the slice that shows most of it, and a box around it.

        None if there is no such object.
        """
        rows = self.table[self.table["object"] == number]
        if rows.empty:
            return None
        z0, y0, x0, z1, y1, x1 = (int(rows[name].iloc[0]) for name in _BOX)
        sections = self.instances[z0:z1, y0:y1, x0:x1] == number
        z = z0 + int(sections.sum(axis=(1, 2)).argmax())
        low, high = np.array([y0, x0]), np.array([y1, x1])
        half = np.maximum((0.5 + _AROUND) * (high - low), _LEAST_SHOWN_PX / 2)
        shape = np.array(self.instances.shape[1:])
        start = np.clip((low + high) / 2 - half, 0, shape - 1).astype(int)
        stop = np.clip((low + high) / 2 + half, start + 1, shape).astype(int)
        return Region(z, (int(start[0]), int(start[1]), int(stop[0]), int(stop[1])))
