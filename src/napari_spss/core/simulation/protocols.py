"""Annotations simulated from masks, with the seconds spent: one protocol, several, or corrections.

Every protocol is a function that takes masks and a random generator and returns a
:class:`Simulation`; :func:`combine` joins several into the work of one annotator, and
:func:`simulate` and :func:`write_simulation` are the command line's way in and out.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..annotations import write_grid, write_keypoints, write_proportions
from ..base import InputError, ResultFiles, write_atomically
from ..images import LabelsLike, as_label_source
from .annotators import (
    classes_of,
    simulate_clicks,
    simulate_frames,
    simulate_grids,
    simulate_guesses,
    simulate_paper,
    simulate_regions,
)
from .cost import PROTOCOLS, Costs, Simulation
from .degrade import degrade

_STATED = {"n_slices": "slices", "degradation": ""}  # of stated fractions, afterwards
_GUESS = {**_STATED, "noise": "noise", "bias": "bias"}
_WAYS: dict[str, tuple[Callable[..., Simulation], dict[str, str]]] = {
    "guess": (simulate_guesses, _GUESS),
    "regions": (simulate_regions, {**_GUESS, "tile_px": "tile_px"}),
    "clicks": (
        simulate_clicks,
        {"n_slices": "slices", "clicks_per_slice": "n_per_slice", "off_centre": "off_centre"},
    ),
    "grid": (
        simulate_grids,
        {"n_slices": "slices", "grid_size": "n_side", "node_errors": "node_errors"},
    ),
    "frames": (
        simulate_frames,
        {
            "n_frames": "n_frames",
            "frame_px": "frame_px",
            "frame_nodes": "nodes_per_side",
            "node_errors": "node_errors",
        },
    ),
    "paper": (
        simulate_paper,
        {
            **_STATED,
            "tile_px": "crop_px",
            "clicks_per_slice": "n_per_crop",
            "off_centre": "off_centre",
        },
    ),
}
"""By protocol its function, and the function's names of the options of `simulate`."""


def protocols_with(option: str) -> tuple[str, ...]:
    """Protocols in which an option of `simulate` has a meaning."""
    return tuple(name for name in PROTOCOLS if option in _WAYS[name][1])


def evenly_spread(n_slices: int, count: int) -> tuple[int, ...]:
    """Choose slices at even distances, as far from both ends as from each other's middle.

    Raises
    ------
    InputError
        If ``count`` is below 1 or exceeds ``n_slices``.

    Examples
    --------
    >>> evenly_spread(16, 4)
    (2, 6, 10, 14)
    """
    if not 1 <= count <= n_slices:
        raise InputError(
            f"slices {count} cannot be chosen from {n_slices}; choose 1 to {n_slices}.",
            field="slices",
        )
    return tuple(int((index + 0.5) * n_slices / count) for index in range(count))


def simulate(
    masks: LabelsLike,
    protocol: str,
    *,
    seed: int = 0,
    degradation: str | None = None,
    classes: Sequence[str] | None = None,
    outside: str | None = None,
    **options: Any,
) -> Simulation:
    """Follow one protocol, as the command line does.

    Parameters
    ----------
    masks : Masks or array of int, (Y, X) or (Z, Y, X)
        True class indices, 0 = background, 255 = ignore.
    protocol : {"guess", "regions", "clicks", "grid", "frames", "paper"}
        Fractions of slices; fractions of tiles; keypoints; counting grids; counting frames; exact
        fractions and keypoints of every crop.
    seed : int
        Same seed, same annotator.
    degradation : str, optional
        "eq5:SIGMA", "eq5-renorm:SIGMA" or "kmeans:K", applied to the stated fractions.
    classes : sequence of str, optional
        Class names; default: those of the masks.
    outside : str, optional
        Class that counts in no fraction; it is clicked and counted like the others.
    **options
        What the protocol has, of these; see its function, such as `simulate_guesses`, for defaults.

        - n_slices: annotate this many evenly spread slices; default: all
        - grid_size: nodes of a grid along the side of a square of the slice's area
        - n_frames, frame_px, frame_nodes: number of counting frames; about the side of each in
          pixels; nodes along it
        - clicks_per_slice: keypoints per slice; with "paper" per crop
        - noise, bias: standard deviation of the log-normal error of guessed fractions; factor by
          which all guesses are too large
        - node_errors: probability that a node of a grid or frame is given a wrong class
        - off_centre: 0, clicks at the centre of objects, to 1, anywhere inside
        - tile_px: side of a tile ("regions") or crop ("paper"), in pixels

    Raises
    ------
    InputError
        If a value is out of its range, or the protocol is unknown or has no such option.
    """
    if protocol not in PROTOCOLS:
        raise InputError(
            f"protocol {protocol!r} is unknown; choose one of {', '.join(PROTOCOLS)}.",
            field="protocol",
        )
    follow, names = _WAYS[protocol]
    for name in options:
        if name not in names:
            raise InputError(
                f"{name} has no meaning for protocol {protocol}; leave it out, or choose "
                f"{' or '.join(protocols_with(name)) or 'another name'}.",
                field=name,
            )
    source = as_label_source(masks)
    known = classes_of(source, classes, outside)
    rng = np.random.default_rng(seed)
    values = {names[name]: value for name, value in options.items() if value is not None}
    if "slices" in values:
        values["slices"] = evenly_spread(source.n_slices, values["slices"])
    result: Simulation = follow(source, rng=rng, classes=known, **values)
    if degradation is None:
        return result
    (step,) = result.steps
    return dataclasses.replace(
        result,
        annotations=degrade(result.annotations, degradation, rng),
        steps=(dataclasses.replace(step, is_exact=False, degradation=degradation),),
    )


def write_simulation(
    simulation: Simulation,
    out_dir: str | Path,
    *,
    seed: int | None = None,
    masks: str | Path | None = None,
    overwrite: bool = False,
) -> tuple[Path, ...]:
    """Write the annotation files and ``summary.json`` with the annotator's seconds.

    Parameters
    ----------
    simulation : Simulation
        What to write; a file is only written if there is something to put into it.
    out_dir : path
        Folder, made if it is missing.
    seed : int, optional
        Noted in the summary.
    masks : path, optional
        The file or folder of the masks.
    overwrite : bool
        Whether files of these names may be replaced.

    Returns
    -------
    tuple of Path
        The files written.

    Raises
    ------
    InputError
        If the folder holds annotation files already.
    RunError
        If a file cannot be written.
    """
    annotations = simulation.annotations
    summary = {
        "seconds": simulation.seconds,
        "seed": seed,
        "classes": list(annotations.classes),
        "outside": annotations.outside,
        "acts": dataclasses.asdict(simulation.acts),
        "costs": dataclasses.asdict(Costs()),
        "steps": [
            {**dataclasses.asdict(step), "parameters": dict(step.parameters)}
            for step in simulation.steps
        ],
        "notes": list(annotations.notes),
    }
    results = simulation_results(out_dir, masks=masks, overwrite=overwrite)
    with results.writing() as folder:
        if annotations.proportions:
            write_proportions(folder / "proportions.csv", annotations)
        if annotations.keypoints:
            write_keypoints(folder / "keypoints.csv", annotations)
        if annotations.grids:
            write_grid(folder / "grid.csv", annotations)
        write_atomically(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
        written = [name for name in results.names if (folder / name).exists()]
    return tuple(results.folder / name for name in written)


def simulation_results(
    out_dir: str | Path, *, masks: str | Path | None = None, overwrite: bool = False
) -> ResultFiles:
    """Files that `write_simulation` writes, with the same parameters."""
    return ResultFiles(
        Path(out_dir),
        "simulation",
        ("proportions.csv", "keypoints.csv", "grid.csv", "summary.json"),
        inputs=() if masks is None else (Path(masks),),
        overwrite=overwrite,
    )
