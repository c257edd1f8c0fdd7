"""Samples to try the program on: a real SEM set and a synthetic stack, annotated as a person would.

Their annotations are simulated from the truth, with the errors that people make, so that they are
honest input; the truth itself is only there to score a result.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..annotations import (
    Annotations,
    ClassSpec,
    Proportion,
    annotation_files,
    parse_classes,
    read_annotations,
)
from ..images import Masks, Stack, open_masks, open_stack, stack_from_array
from .annotators import simulate_clicks, simulate_grids, simulate_guesses
from .cost import Simulation, combine
from .protocols import evenly_spread
from .synthetic import SYNTHETIC_VOXEL_SIZE_UM, synthetic_mitochondria

_AXON_FOLDER = Path(__file__).parents[2] / "data" / "axon_sem"
_AXON_CLASSES = "background=0,myelin=127,axon=255"
_AXON_DIAMETER_PX = 20.0
_AXON_NOTICE = (
    "SEM of the spinal cord of three rats, a part of the data set data_axondeepseg_sem "
    "(doi:10.5281/zenodo.5498378), MIT License, Copyright (c) 2020 ivadomed."
)
_SYNTHETIC_CLASSES = ("background", "mitochondria")
_SYNTHETIC_DIAMETER_PX = 60.0
_SYNTHETIC_NOTICE = "Drawn by this program; it shows the way of working, not accuracy on tissue."


@dataclass(frozen=True)
class Sample:
    """An image with annotations, and the truth.

    Parameters
    ----------
    stack : Stack
        The image.
    annotations : Annotations
        Fractions, keypoints and counting grids as a person might make them.
    truth : Masks
        Class indices of every pixel.
    object_diameter_px : float
        Width of the smallest object of interest.
    name : str
        For menus and file names.
    notice : str
        Origin and licence.
    annotator_seconds : float
        What the annotations would cost a person.
    """

    stack: Stack = field(repr=False)
    annotations: Annotations = field(repr=False)
    truth: Masks = field(repr=False)
    object_diameter_px: float
    name: str
    notice: str
    annotator_seconds: float


def axon_sample() -> Sample:
    """Open the bundled SEM images: background, myelin and axons of three rats.

    Returns
    -------
    Sample
        3 slices of 416 x 416 pixels of 0.13 µm; they do not lie above each other. Fractions of
        each, a counting grid on slice 0, and keypoints on slices 1 and 2.
    """
    stack = open_stack(_AXON_FOLDER / "images")
    classes = parse_classes(_AXON_CLASSES)
    annotations = read_annotations(
        **annotation_files(_AXON_FOLDER), classes=classes.names, stack=stack
    )
    summary = json.loads((_AXON_FOLDER / "summary.json").read_text(encoding="utf-8"))
    return Sample(
        stack,
        annotations,
        open_masks(_AXON_FOLDER / "labels", classes=classes),
        object_diameter_px=_AXON_DIAMETER_PX,
        name="axons",
        notice=_AXON_NOTICE,
        annotator_seconds=float(summary["seconds"]),
    )


def synthetic_sample(
    n_slices: int = 16, shape: tuple[int, int] = (512, 512), *, seed: int = 0
) -> Sample:
    """Draw the synthetic stack of mitochondria, and annotate it.

    Parameters
    ----------
    n_slices, shape, seed
        As in :func:`~napari_spss.core.simulation.synthetic.synthetic_mitochondria`.

    Returns
    -------
    Sample
        Guessed fractions of all slices; on four slices, evenly spread, counting grids as well; and
        keypoints on two of these.
    """
    image, labels = synthetic_mitochondria(n_slices, shape, seed=seed)
    truth = open_masks(labels, classes=ClassSpec(_SYNTHETIC_CLASSES))
    counted = evenly_spread(n_slices, min(4, n_slices))
    person = annotate_as_a_person(
        truth, seed=seed, counted=counted, clicked=counted[1:3], noise=0.3, bias=1.15
    )
    return Sample(
        stack_from_array(
            image, voxel_size_um=SYNTHETIC_VOXEL_SIZE_UM, source="synthetic mitochondria"
        ),
        person.annotations,
        truth,
        object_diameter_px=_SYNTHETIC_DIAMETER_PX,
        name="synthetic mitochondria",
        notice=_SYNTHETIC_NOTICE,
        annotator_seconds=person.seconds,
    )


def annotate_as_a_person(
    truth: Masks,
    *,
    seed: int,
    counted: Sequence[int],
    clicked: Sequence[int],
    noise: float,
    bias: float,
    clicks_per_slice: int = 9,
) -> Simulation:
    """Annotate as one person might who looks at a stack for a few minutes.

    Fractions of all slices are guessed, with errors, and typed as whole per cent. Counting grids
    of 16 x 16 nodes get one node in a hundred wrong. Keypoints lie off the objects' centres.

    Parameters
    ----------
    truth : Masks
        What the person looks at.
    seed : int
        Same seed, same annotations.
    counted, clicked : sequence of int
        Slices with a counting grid, and with keypoints.
    noise, bias : float
        Of the guesses, as in :func:`~napari_spss.core.simulation.protocols.simulate_guesses`.
    clicks_per_slice : int
        Keypoints per slice, spread over the classes that are there.
    """
    rng = np.random.default_rng(seed)
    guesses = simulate_guesses(truth, rng=rng, noise=noise, bias=bias)
    typed = tuple(_in_whole_per_cent(one) for one in guesses.annotations.proportions)
    guesses = dataclasses.replace(
        guesses, annotations=guesses.annotations.replace(proportions=typed)
    )
    grids = simulate_grids(truth, rng=rng, slices=counted, n_side=16, node_errors=0.01)
    clicks = simulate_clicks(
        truth, rng=rng, slices=clicked, n_per_slice=clicks_per_slice, off_centre=0.5
    )
    return combine(guesses, grids, clicks)


def _in_whole_per_cent(proportion: Proportion) -> Proportion:
    """Round as people do: what is present is at least 1 %, the background is the remainder."""
    foreground = [
        max(0.01, round(value, 2)) if value else 0.0 for value in proportion.fractions[1:]
    ]
    background = max(0.0, round(1 - sum(foreground), 2))
    return dataclasses.replace(proportion, fractions=(background, *foreground))
