"""Simulated annotators: each protocol reads the true masks and states what a person would.

A simulation knows the truth, so its results show how well a method learns from such annotations,
not how well people annotate: how far people err is set by ``noise``, ``bias``, ``node_errors`` and
``off_centre``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ..annotations import (
    Annotations,
    Classes,
    CountingGrid,
    Keypoint,
    Proportion,
    Region,
    lay_frames,
    lay_grid,
    tiles,
)
from ..base import InputError
from ..images import IGNORE, LabelsLike, LabelSource, as_label_source, class_names, default_names
from .clicks import place_clicks
from .cost import Acts, Protocol, Simulation, Step

Box: TypeAlias = tuple[int, int, int, int]
_Piece: TypeAlias = tuple[int, Box, npt.NDArray[np.uint8]]


def classes_of(
    source: LabelSource, classes: Sequence[str] | None, outside: str | None = None
) -> Classes:
    """Return the classes of masks: those that are named, else their own."""
    names = class_names(source) if classes is None else classes
    if not names:
        masks = (source.read(z) for z in range(source.n_slices))
        highest = max((int(mask[mask != IGNORE].max(initial=0)) for mask in masks), default=0)
        names = default_names(max(1, highest) + 1)
    return Classes(names, outside)


def simulate_guesses(
    masks: LabelsLike,
    *,
    rng: np.random.Generator,
    slices: Sequence[int] | None = None,
    noise: float = 0.0,
    bias: float = 1.0,
    classes: Sequence[str] | None = None,
) -> Simulation:
    """Guess the fractions of whole slices.

    The fraction of every foreground class is multiplied by ``bias`` and by a log-normal error of
    mean 1; an absent class stays an exact 0. The background is the remainder. If the guesses
    exceed 1, or there is no background, they are scaled to the sum 1.

    Parameters
    ----------
    masks : Masks or array of int, (Y, X) or (Z, Y, X)
        True class indices, 255 = ignore (left out of the fractions).
    rng : numpy.random.Generator
        Source of the errors.
    slices : sequence of int, optional
        Slices to annotate; default: all.
    noise : float
        Standard deviation of the logarithm; people err by 0.3 to 0.5.
    bias : float
        Factor by which all guesses are too large.
    classes : sequence of str, optional
        Class names; default: those of the masks. One that lies outside counts in no fraction; it
        is clicked and counted like the others.
    """
    task = _Task.of(masks, slices, classes)
    boxes: list[tuple[int, Box | None]] = [(z, None) for z in task.slices]
    proportions, acts = _state_fractions(task, boxes, noise=noise, bias=bias, rng=rng)
    step = task.step("guess", noise == 0 and bias == 1, noise=noise, bias=bias)
    return Simulation(Annotations(task.classes, proportions), acts, (step,))


def simulate_regions(
    masks: LabelsLike,
    *,
    rng: np.random.Generator,
    slices: Sequence[int] | None = None,
    tile_px: int = 256,
    noise: float = 0.0,
    bias: float = 1.0,
    classes: Sequence[str] | None = None,
) -> Simulation:
    """Guess the fractions of rectangular tiles that cover the slices.

    As :func:`simulate_guesses`, with tiles of nearly equal size, about ``tile_px`` wide.
    """
    _check_range("tile_px", tile_px, 1, float("inf"))
    task = _Task.of(masks, slices, classes)
    boxes: list[tuple[int, Box | None]] = [
        (z, box) for z in task.slices for box in tiles(task.source.shape_of(z), tile_px)
    ]
    proportions, acts = _state_fractions(task, boxes, noise=noise, bias=bias, rng=rng)
    step = task.step("regions", noise == 0 and bias == 1, tile_px=tile_px, noise=noise, bias=bias)
    return Simulation(Annotations(task.classes, proportions), acts, (step,))


def simulate_clicks(
    masks: LabelsLike,
    *,
    rng: np.random.Generator,
    slices: Sequence[int] | None = None,
    n_per_slice: int = 12,
    n_object: int | None = None,
    off_centre: float = 0.0,
    classes: Sequence[str] | None = None,
) -> Simulation:
    """Click keypoints in objects and on the background.

    Parameters
    ----------
    masks, rng, slices, classes
        As in :func:`simulate_guesses`.
    n_per_slice : int
        Clicks per slice.
    n_object : int, optional
        How many of them lie on objects, spread over the classes present; default: every class
        present gets equal shares, the background two, so a third of the clicks for two classes.
    off_centre : float
        0: in the middle of an object; 1: anywhere inside. Background clicks fall anywhere.
    """
    task = _Task.of(masks, slices, classes)
    keypoints: list[Keypoint] = []
    for z in task.slices:
        mask = task.source.read(z)
        shares = _click_shares(task, mask, n_per_slice, n_object=n_object)
        keypoints += place_clicks(z, mask, shares, off_centre=off_centre, rng=rng)
    step = task.step("clicks", off_centre == 0, n_per_slice=n_per_slice, off_centre=off_centre)
    annotations = Annotations(task.classes, keypoints=keypoints)
    return Simulation(annotations, Acts(n_clicks=len(keypoints)), (step,))


def simulate_grids(
    masks: LabelsLike,
    *,
    rng: np.random.Generator,
    slices: Sequence[int] | None = None,
    n_side: int = 16,
    node_errors: float = 0.0,
    classes: Sequence[str] | None = None,
) -> Simulation:
    """Count a grid on every slice: all nodes judged, marked as done.

    Parameters
    ----------
    masks, rng, slices, classes
        As in :func:`simulate_guesses`. Nodes on ignored pixels stay unsure.
    n_side : int
        Nodes along the side of a square of the slice's area, about ``n_side``² in all.
    node_errors : float
        Probability that a node is given another class, any of them equally likely.
    """
    task = _Task.of(masks, slices, classes)
    laid = (lay_grid(z, task.source.shape_of(z), n_side=n_side, rng=rng) for z in task.slices)
    return _counted(task, "grid", laid, node_errors, rng, n_side=n_side)


def simulate_frames(
    masks: LabelsLike,
    *,
    rng: np.random.Generator,
    n_frames: int = 16,
    frame_px: int = 256,
    nodes_per_side: int = 8,
    node_errors: float = 0.0,
    classes: Sequence[str] | None = None,
) -> Simulation:
    """Count frames all over the stack: all nodes judged, marked as done.

    Parameters
    ----------
    masks, rng, node_errors, classes
        As in :func:`simulate_grids`.
    n_frames, frame_px, nodes_per_side : int
        As in :func:`napari_spss.core.annotations.lay_frames`.
    """
    task = _Task.of(masks, None, classes)
    laid = lay_frames(task.source, n_frames, frame_px, nodes_per_side, rng=rng)
    task = dataclasses.replace(task, slices=tuple(sorted({frame.slice for frame in laid})))
    numbers = {"n_frames": n_frames, "frame_px": frame_px, "nodes_per_side": nodes_per_side}
    return _counted(task, "frames", laid, node_errors, rng, **numbers)


def simulate_paper(
    masks: LabelsLike,
    *,
    rng: np.random.Generator,
    slices: Sequence[int] | None = None,
    crop_px: int = 256,
    n_per_crop: int = 6,
    off_centre: float = 0.0,
    classes: Sequence[str] | None = None,
) -> Simulation:
    """State the exact fractions of every crop, and keypoints in every crop, as the paper has it.

    No person types hundreds of exact fractions: this is an oracle. The paper does not give the
    number of keypoints; 6 means two on objects and four on background where there are two classes.

    Parameters
    ----------
    masks, rng, slices, off_centre, classes
        As in :func:`simulate_clicks`.
    crop_px : int
        Side of a crop in pixels; what is left over at the lower and right edge is not used, and a
        slice that is smaller is one crop.
    n_per_crop : int
        Keypoints per crop; 0 for proportions alone.
    """
    task = _Task.of(masks, slices, classes)
    boxes: list[tuple[int, Box | None]] = [
        (z, box) for z in task.slices for box in crops(task.source.shape_of(z), crop_px)
    ]
    proportions, acts = _state_fractions(task, boxes, noise=0.0, bias=1.0, rng=rng)
    keypoints: list[Keypoint] = []
    for z, (top, left, _, _), mask in _cut(task, boxes):
        shares = _click_shares(task, mask, n_per_crop)
        inside = place_clicks(z, mask, shares, off_centre=off_centre, rng=rng)
        keypoints += [dataclasses.replace(one, y=one.y + top, x=one.x + left) for one in inside]
    step = task.step("paper", True, crop_px=crop_px, n_per_crop=n_per_crop, off_centre=off_centre)
    annotations = Annotations(task.classes, proportions, keypoints)
    return Simulation(annotations, acts + Acts(n_clicks=len(keypoints)), (step,))


def crops(shape: tuple[int, int], crop_px: int) -> list[Box]:
    """Cut whole crops from a slice, without overlap, in reading order.

    Examples
    --------
    >>> len(crops((768, 1024), 256))
    12
    """
    _check_range("crop_px", crop_px, 1, float("inf"))
    height, width = (min(crop_px, length) for length in shape)
    return [
        (y0, x0, y0 + height, x0 + width)
        for y0 in range(0, shape[0] - height + 1, height)
        for x0 in range(0, shape[1] - width + 1, width)
    ]


@dataclass(frozen=True)
class _Task:
    """Masks, the slices to annotate, and their classes, checked."""

    source: LabelSource
    slices: tuple[int, ...]
    classes: Classes

    @classmethod
    def of(
        cls, masks: LabelsLike, slices: Sequence[int] | None, classes: Sequence[str] | None
    ) -> _Task:
        source = as_label_source(masks)
        chosen = tuple(range(source.n_slices)) if slices is None else tuple(slices)
        for z in chosen:
            if not 0 <= z < source.n_slices:
                raise InputError(
                    f"slice {z} lies outside the masks; choose 0 to {source.n_slices - 1}."
                )
        return cls(source, chosen, classes_of(source, classes))

    @property
    def n_classes(self) -> int:
        return len(self.classes)

    def step(self, protocol: Protocol, is_exact: bool, **parameters: float) -> Step:
        return Step(protocol, self.slices, is_exact, tuple(parameters.items()))


def _cut(task: _Task, regions: Sequence[tuple[int, Box | None]]) -> Iterator[_Piece]:
    """Read the masks of regions, every slice once if its regions follow each other."""
    last, plane = -1, np.zeros((0, 0), dtype=np.uint8)
    for z, box in regions:
        if z != last:
            last, plane = z, task.source.read(z)
        y0, x0, y1, x1 = box or (0, 0, *plane.shape)
        yield z, (y0, x0, y1, x1), plane[y0:y1, x0:x1]


def _state_fractions(
    task: _Task,
    regions: Sequence[tuple[int, Box | None]],
    *,
    noise: float,
    bias: float,
    rng: np.random.Generator,
) -> tuple[tuple[Proportion, ...], Acts]:
    """Fractions of every region that has known pixels, and the work of stating them."""
    _check_range("noise", noise, 0.0, float("inf"))
    if not 0 < bias < float("inf"):
        raise InputError(f"bias {bias:g} is out of range; choose a factor above 0.", field="bias")
    proportions: list[Proportion] = []
    acts = Acts()
    for (z, box), (_, _, mask) in zip(regions, _cut(task, regions), strict=True):
        counts = np.bincount(mask.reshape(-1), minlength=IGNORE + 1)[:IGNORE]
        if counts[task.n_classes :].any():
            raise InputError(
                f"slice {z} of the masks holds a class beyond the {task.n_classes} named ones "
                f"({', '.join(task.classes)}); name all classes."
            )
        if task.classes.outside_index is not None:
            counts[task.classes.outside_index] = 0
        if counts.sum() == 0:
            continue
        exact = counts[: task.n_classes] / counts.sum()
        stated = _guess(exact, noise, bias, rng)
        proportions.append(Proportion(Region(z, box), tuple(float(value) for value in stated)))
        n_present = int((stated[1:] > 0).sum())
        n_structures = task.n_classes - (1 if task.classes.outside_index is None else 2)
        n_empty = n_structures - n_present if n_present else 1
        acts += Acts(n_guesses=n_present, n_empty_ticks=n_empty)
    return tuple(proportions), acts


def _guess(
    exact: npt.NDArray[np.float64], noise: float, bias: float, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Guessed fractions (C,), sum 1."""
    # Drawn for every class, present or not, so that one slice's content does not shift the next's.
    errors = np.exp(noise * rng.standard_normal(exact.size) - noise**2 / 2)
    if noise == 0 and bias == 1:
        return exact
    guessed = np.clip(exact * bias * errors, 0.0, 1.0)
    total = float(guessed[1:].sum())
    if total > 1.0 or (exact[0] == 0 and total > 0):
        guessed[1:] /= total
    guessed[0] = max(0.0, 1.0 - float(guessed[1:].sum()))
    return guessed


def _click_shares(
    task: _Task, mask: npt.NDArray[np.uint8], n_clicks: int, *, n_object: int | None = None
) -> dict[int, int]:
    """Give out all clicks to the classes that are present."""
    _check_range("clicks", n_clicks, 0, float("inf"))
    counts = np.bincount(mask.reshape(-1), minlength=IGNORE + 1)[: task.n_classes]
    present = [int(index) for index in np.flatnonzero(counts)]
    if n_object is None or present == [0]:
        return _split(n_clicks, {index: 1 if index else 2 for index in present})
    _check_range("n_object", n_object, 0, n_clicks)
    on_objects = _split(n_object, {index: 1 for index in present if index})
    return {0: n_clicks - n_object, **on_objects}


def _split(total: int, weights: dict[int, int]) -> dict[int, int]:
    """Split a number by weights into whole shares (largest remainder, lower class first)."""
    if not weights:
        return {}
    exact = {key: total * weight / sum(weights.values()) for key, weight in weights.items()}
    shares = {key: int(value) for key, value in exact.items()}
    by_remainder = sorted(exact, key=lambda key: shares[key] - exact[key])
    for key in by_remainder[: total - sum(shares.values())]:
        shares[key] += 1
    return shares


def _counted(
    task: _Task,
    protocol: Protocol,
    laid: Iterable[CountingGrid],
    node_errors: float,
    rng: np.random.Generator,
    **parameters: float,
) -> Simulation:
    """Judge all nodes of grids, some of them wrongly."""
    _check_range("node_errors", node_errors, 0.0, 1.0)
    grids: list[CountingGrid] = []
    acts = Acts()
    for grid in laid:
        true = _under_nodes(task.source.read(grid.slice, grid.box), grid)
        is_wrong = (rng.random(true.size) < node_errors) & (true >= 0)
        shift = rng.integers(1, task.n_classes, size=true.size)
        judged = np.where(is_wrong, (true + shift) % task.n_classes, true).astype(np.int16)
        grids.append(grid.replace(class_index=judged, is_done=True))
        acts += Acts(
            n_grids=1,
            n_nodes=judged.size,
            n_hits=int((judged > 0).sum()),
            n_wrong_nodes=int(is_wrong.sum()),
        )
    step = task.step(protocol, node_errors == 0, **parameters, node_errors=node_errors)
    return Simulation(Annotations(task.classes, grids=grids), acts, (step,))


def _under_nodes(mask: npt.NDArray[np.uint8], grid: CountingGrid) -> npt.NDArray[np.int64]:
    """Class under every node, by the mask of the grid's region; -1 where it is not known."""
    # A point belongs to the pixel whose centre is nearest, halves to the higher one.
    top, left = grid.box[:2] if grid.box else (0, 0)
    y, x = grid.pixels
    rows, columns = (y - top).clip(0, mask.shape[0] - 1), (x - left).clip(0, mask.shape[1] - 1)
    found = mask[rows, columns].astype(np.int64)
    return np.where(found == IGNORE, -1, found)


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high or value == float("inf"):
        bounds = f"at least {low:g}" if high == float("inf") else f"{low:g} to {high:g}"
        raise InputError(f"{name} {value:g} is out of range; choose {bounds}.", field=name)
