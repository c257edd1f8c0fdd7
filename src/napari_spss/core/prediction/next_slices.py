"""Which slices to count next: a table beside the results of a prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..analysis import acquisition_scores
from ..annotations import write_rows

if TYPE_CHECKING:
    from ..analysis import Measurement
    from ..annotations import Proportion
    from ..images import Stack
    from ..training import Model

NEXT_SLICES = "next_slices.csv"
_N_NAMED = 3


def write_next_slices(
    folder: Path,
    model: Model,
    stack: Stack,
    *,
    uncertainty: Mapping[int, float],
    found: Measurement,
    stated: Sequence[Proportion],
) -> str:
    """Write the slices that were not counted yet, the most worthwhile first.

    Parameters
    ----------
    folder : Path
        Folder of the table.
    uncertainty : mapping of int to float
        Mean of every slice.
    found : Measurement
        Of the labels of all slices.
    stated : sequence of Proportion
        What is said about these slices.

    Returns
    -------
    str
        A line for the summary; empty, and no table, if there is nothing to choose from.
    """
    fractions = found.slices["fraction"].to_numpy(np.float64).reshape(-1, len(model.classes))
    ranked = acquisition_scores(
        uncertainty,
        dict(enumerate(fractions.tolist())),
        stated,
        n_slices=stack.n_slices,
        is_set=stack.is_set,
    )
    if stack.n_slices < 2 or not ranked:
        return ""
    rows = [
        (one.slice, stack.names[one.slice], f"{one.uncertainty:.4f}", f"{one.difference:.4f}")
        for one in ranked
    ]
    write_rows(folder / NEXT_SLICES, [("slice", "name", "uncertainty", "difference"), *rows])
    named = ", ".join(str(one.slice) for one in ranked[:_N_NAMED])
    return f"count next, the map being least certain there: slice {named}"
