"""How sure a map is of every pixel, and which slices are worth counting next.

The uncertainty of a pixel is the entropy of its mean class probabilities, divided by the largest
one possible (:mod:`napari_spss.core.analysis.uncertainty`). The mean is taken over the four mirror
images of a slice (test-time augmentation), so that it is high both where the network hesitates and
where its answer depends on how the slice lies. It costs no second training. It says little where
the network is sure and wrong, as with a structure of which nothing was ever labelled.

References
----------
.. [1] Wang, Li, Aertsen, Deprest, Ourselin and Vercauteren, Aleatoric uncertainty estimation with
   test-time augmentation for medical image segmentation with convolutional neural networks,
   Neurocomputing 338, 2019.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from ..analysis import acquisition_scores, counted_slices, entropy
from ..annotations import Annotations, write_rows
from ..images import check_stack
from ..networks import Box
from ..training import Model
from .engine import predict_slice
from .maps import SlicePredictor

if TYPE_CHECKING:
    from ..analysis import Measurement
    from ..annotations import Proportion
    from ..base import CancelToken
    from ..images import Stack
    from ..training import Model

NEXT_SLICES = "next_slices.csv"
_N_NAMED = 3


def uncertainty_slice(
    model: Model,
    stack: Stack,
    z: int,
    *,
    box: Box | None = None,
    device: str | torch.device = "auto",
    token: CancelToken | None = None,
) -> npt.NDArray[np.float32]:
    """Uncertainty of every pixel of one slice, or of a box of it.

    Normalised entropy of the class probabilities, averaged over the four mirror images: see
    Wang et al., Neurocomputing 338, 2019. Four times the work of a map.

    Parameters
    ----------
    model, stack, z, box, device, token
        As in :func:`napari_spss.predict_slice`.

    Returns
    -------
    ndarray of float32
        (Y, X), from 0, certain, to 1, all classes as likely.

    Raises
    ------
    InputError, OutOfMemory, Stopped
        As in :func:`napari_spss.predict_slice`.
    """
    probs = predict_slice(model, stack, z, box=box, device=device, flips=True, token=token)
    return entropy(probs)


def rank_slices(
    model: Model,
    stack: Stack,
    annotations: Annotations,
    *,
    slices: Sequence[int] | None = None,
    device: str | torch.device = "auto",
    token: CancelToken | None = None,
) -> tuple[int, ...]:
    """Order the slices without a finished grid by what counting them would teach.

    A slice's gain is the mean uncertainty of its pixels, at working scale, plus the largest
    difference between a stated and a predicted fraction. Slices that lie close to one that was
    counted, or comes earlier, come later.

    Parameters
    ----------
    model : Model
    stack : Stack
    annotations : Annotations
        Grids and fractions of the stack's slices.
    slices : sequence of int, optional
        Among which to choose; all by default.
    device, token
        As in :func:`napari_spss.predict_slice`.

    Returns
    -------
    tuple of int
        Slice indices, the most worthwhile first; empty if all are counted.

    Raises
    ------
    InputError, OutOfMemory, Stopped
        As in :func:`napari_spss.predict_slice`.

    Examples
    --------
    >>> rank_slices(model, stack, annotations)[:3]  # doctest: +SKIP
    (11, 4, 17)
    """
    check_stack(stack)
    stated = annotations.effective_proportions()
    counted = counted_slices(stated)
    predictor = SlicePredictor(model, device, tile_px=None, flips=True)
    uncertainty, predicted = {}, {}
    for z in range(stack.n_slices) if slices is None else slices:
        if z in counted:
            continue
        probs = predictor.resampled_maps(stack, z, token=token)
        uncertainty[z] = float(entropy(probs).mean())
        counts = np.bincount(probs.argmax(axis=0).ravel(), minlength=len(model.classes))
        if model.classes.outside_index is not None:
            counts[model.classes.outside_index] = 0
        predicted[z] = tuple(counts / counts.sum() if counts.any() else np.nan * counts)
    ranked = acquisition_scores(
        uncertainty, predicted, stated, n_slices=stack.n_slices, is_set=stack.is_set
    )
    return tuple(score.slice for score in ranked)


def write_next_slices(
    folder: Path,
    model: Model,
    stack: Stack,
    *,
    uncertainty: Mapping[int, float],
    found: Measurement,
    stated: Sequence[Proportion],
) -> str:
    """Write the slices that were not counted yet into a folder, the most worthwhile first.

    By the mean uncertainty and the labels of every slice, and what is stated about them. Returns a
    line for the summary; empty, and no table, if there is nothing to choose from.
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
