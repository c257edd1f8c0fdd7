"""What the simulated person of a row does within a number of seconds.

An honest person errs: guesses have a log-normal error and a bias that all of them share, some
nodes are judged wrongly, clicks lie off the middle. Whatever takes time is counted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from scipy import ndimage

from napari_spss.core.annotations import (
    Annotations,
    Look,
    Proportion,
    Region,
    looks_summary,
    tiles,
    with_looks,
)
from napari_spss.core.images import IGNORE
from napari_spss.core.simulation.annotators import (
    simulate_clicks,
    simulate_frames,
    simulate_grids,
    simulate_guesses,
    simulate_paper,
    simulate_regions,
)
from napari_spss.core.simulation.cost import Acts, Costs, Simulation, combine
from napari_spss.core.simulation.protocols import evenly_spread

from .corrections import correction_clicks
from .images import Mask, Pictures

HEADLINE_S = 300.0
OBJECT_S = 66.5
"""Outlining one object: the middle of the 54-79 s that full masks took elsewhere."""

LOOK_S = 3.0
"""Judging a node again, with the viewer zoomed to it."""
RIGHT_AGAIN = 0.9
"""Part of the second looks that are right."""

_GRID_SHARE = 0.8  # of the seconds, beside guesses
_FRAME_NODES = 8  # along a side
_CLICKS_A_SLICE = 6  # at least, before another slice is opened
_LEAST_TILE = 16  # of a tile's side: the smallest that is outlined
_GOLDEN = 0.6180339887498949  # steps of this spread over a list without a pattern

Kind = Literal[
    "masks", "bought", "clicks", "paper-slices", "paper-crops", "grids", "interpolated", "frames",
    "guesses", "regions", "empty",
]  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """How the seconds are spent, and how much the person errs.

    Parameters
    ----------
    kind : str
        "masks": all masks, whatever they cost. "bought": masks of tiles until the seconds are
        used. "clicks": points alone. "paper-slices": guesses of slices, and points. "paper-crops":
        exact fractions and points of every crop, whatever they cost. "grids": grids alone.
        "interpolated": these, and for every other slice what lies between their fractions.
        "guesses", "regions", "empty": grids, and in the rest of the time guesses of other slices,
        guesses of tiles of other slices, or ticks on tiles without any object.
    n_grids : int, optional
        Grids; by default as many of 16 x 16 nodes as 80 % of the seconds allow.
    n_nodes : int, optional
        Of all grids; by default 256 a grid.
    tile_px : int, optional
        Side of a tile, crop or frame; by default a quarter of the longest side of an image.
    noise, bias : float
        Of guesses: standard deviation of the logarithm, and a factor.
    node_errors : float
        Part of the nodes that is judged wrongly.
    off_centre : float
        0: clicks in the middle; 1: anywhere inside.
    """

    kind: Kind
    n_grids: int | None = None
    n_nodes: int | None = None
    tile_px: int | None = None
    noise: float = 0.3
    bias: float = 1.2
    node_errors: float = 0.02
    off_centre: float = 0.5

    @property
    def has_fractions(self) -> bool:
        """Whether anything is told of how much there is."""
        return self.kind not in ("masks", "bought", "clicks")


@dataclass(frozen=True)
class Told:
    """What a method is told.

    Parameters
    ----------
    pictures : Pictures
        What it sees; not all of the training part where only tiles were outlined.
    annotations : Annotations
        Empty beside full masks.
    masks : tuple of ndarray, optional
        One a picture.
    seconds : float
        Spent by the annotator.
    text : str
        What it is, for the record.
    acts : dict
        How often what was done.
    """

    pictures: Pictures
    annotations: Annotations
    masks: tuple[Mask, ...] | None
    seconds: float
    text: str
    acts: dict[str, int]


def annotate(
    plan: Plan, pictures: Pictures, classes: Sequence[str], *, budget_s: float, seed: int
) -> Told:
    """Spend the seconds as planned; full masks and the paper's crops take what they take."""
    if plan.kind == "masks":
        n_objects = sum(_count_objects(mask) for mask in pictures.truth)
        return _outlined(pictures, classes, n_objects, 0)
    if plan.kind == "bought":
        return _buy(plan, pictures, classes, budget_s, seed)
    task = _Task(plan, pictures, tuple(classes), budget_s, seed)
    work = combine(*_ROUTINES[plan.kind](task))
    acts = {name: count for name, count in dataclasses.asdict(work.acts).items() if count}
    text = work.annotations.summary()
    return Told(pictures, work.annotations, None, work.seconds, text, acts)


def correct(told: Told, labels: Sequence[Mask], n: int, *, off_centre: float, seed: int) -> Told:
    """Add a click on each of the ``n`` worst errors of the labels, and the seconds for them."""
    clicks = correction_clicks(
        labels,
        told.pictures.truth,
        n,
        rng=np.random.default_rng(seed),
        off_centre=off_centre,
    )
    known = dict.fromkeys((*told.annotations.keypoints, *clicks))
    annotations = told.annotations.replace(keypoints=tuple(known))
    acts = Acts(n_clicks=len(clicks))
    counted = told.acts | {"n_clicks": told.acts.get("n_clicks", 0) + len(clicks)}
    return dataclasses.replace(
        told,
        annotations=annotations,
        seconds=told.seconds + acts.seconds(),
        text=annotations.summary(),
        acts=counted,
    )


def look_again(told: Told, looks: Sequence[Look], *, seed: int) -> tuple[Told, tuple[Look, ...]]:
    """Judge nodes again, right in nine of ten cases; return what is told then, and the looks."""
    rng = np.random.default_rng([seed, 5])
    n_classes = len(told.annotations.classes)
    judged = []
    for look in looks:
        true = _true_class(told.pictures.truth[look.region.slice], look.y, look.x)
        wrong = (true + rng.integers(1, n_classes)) % n_classes
        verdict = true if rng.random() < RIGHT_AGAIN else int(wrong)
        judged.append(dataclasses.replace(look, verdict=verdict))
    annotations = with_looks(told.annotations, judged)
    again = dataclasses.replace(
        told,
        annotations=annotations,
        seconds=told.seconds + len(judged) * LOOK_S,
        text=f"{annotations.summary()}; {looks_summary(judged)}",
        acts=told.acts | {"n_looks": len(judged)},
    )
    return again, tuple(judged)


def wrong_nodes(told: Told) -> int:
    """Count the judged nodes whose class is not the true one."""
    return sum(
        int(stated) != _true_class(told.pictures.truth[grid.slice], y, x)
        for grid in told.annotations.grids
        for stated, y, x in zip(grid.class_index, grid.y, grid.x, strict=True)
        if stated >= 0
    )


def _true_class(truth: Mask, y: float, x: float) -> int:
    row, column = (
        int(np.clip(np.floor(at + 0.5), 0, n - 1))
        for at, n in zip((y, x), truth.shape, strict=True)
    )
    return int(truth[row, column])


# -- points, grids and fractions -----------------------------------------------------------------


@dataclass(frozen=True)
class _Task:
    """A plan with its images and a generator for each kind of act."""

    plan: Plan
    pictures: Pictures
    classes: tuple[str, ...]
    budget_s: float
    seed: int

    @property
    def truth(self) -> list[Mask]:
        return list(self.pictures.truth)

    @property
    def tile_px(self) -> int:
        longest = max(max(mask.shape) for mask in self.pictures.truth)
        return self.plan.tile_px or max(1, longest // 4)

    def rng(self, kind: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, kind])

    def grids(self, share: float) -> Simulation:
        """Lay grids for a part of the seconds."""
        n_grids, n_side = self._grid_size(share)
        return simulate_grids(
            self.truth,
            rng=self.rng(1),
            slices=evenly_spread(len(self.pictures), n_grids),
            n_side=n_side,
            node_errors=self.plan.node_errors,
            classes=self.classes,
        )

    def _grid_size(self, share: float) -> tuple[int, int]:
        allowed = share * self.budget_s / Costs().node_s
        wanted = self.plan.n_grids or max(1, int(allowed / 256))
        n_grids = min(wanted, len(self.pictures))
        n_nodes = self.plan.n_nodes or min(256 * wanted, allowed)
        # more than twice as many nodes in a slice as usual tell little more of it
        return n_grids, max(2, min(24, round((n_nodes / n_grids) ** 0.5)))

    def guesses(self, slices: Sequence[int]) -> Simulation:
        return simulate_guesses(
            self.truth,
            rng=self.rng(2),
            slices=slices,
            noise=self.plan.noise,
            bias=self.plan.bias,
            classes=self.classes,
        )

    def clicks(self, seconds: float) -> Simulation:
        n_clicks = int(seconds / Costs().click_s)
        n_slices = max(1, min(len(self.pictures), n_clicks // _CLICKS_A_SLICE))
        return simulate_clicks(
            self.truth,
            rng=self.rng(3),
            slices=evenly_spread(len(self.pictures), n_slices),
            n_per_slice=n_clicks // n_slices,
            off_centre=self.plan.off_centre,
            classes=self.classes,
        )

    def regions(self, slices: Sequence[int], *, is_exact: bool) -> Simulation:
        return simulate_regions(
            self.truth,
            rng=self.rng(2),
            slices=slices,
            tile_px=self.tile_px,
            noise=0.0 if is_exact else self.plan.noise,
            bias=1.0 if is_exact else self.plan.bias,
            classes=self.classes,
        )


def _grids_alone(task: _Task) -> Iterator[Simulation]:
    yield task.grids(1.0)


def _interpolated(task: _Task) -> Iterator[Simulation]:
    """Grids, and for every other slice what lies between the fractions of those beside it."""
    grids = task.grids(1.0)
    yield grids
    counted = {
        grid.slice: np.bincount(
            grid.class_index[grid.class_index >= 0], minlength=len(task.classes)
        )
        for grid in grids.annotations.grids
    }
    others, places = _others(task, grids), sorted(counted)
    shares = np.stack([counted[z] / counted[z].sum() for z in places])
    between = np.stack([np.interp(others, places, of_class) for of_class in shares.T], axis=1)
    proportions = tuple(
        Proportion(Region(z), tuple(map(float, fractions)))
        for z, fractions in zip(others, between, strict=True)
    )
    told = Annotations(task.classes, proportions=proportions)
    yield dataclasses.replace(grids, annotations=told, acts=Acts(), steps=())


def _frames_alone(task: _Task) -> Iterator[Simulation]:
    n_nodes = task.plan.n_nodes or int(task.budget_s / Costs().node_s)
    yield simulate_frames(
        task.truth,
        rng=task.rng(1),
        n_frames=max(1, n_nodes // _FRAME_NODES**2),
        frame_px=task.tile_px,
        nodes_per_side=_FRAME_NODES,
        node_errors=task.plan.node_errors,
        classes=task.classes,
    )


def _grids_and_guesses(task: _Task) -> Iterator[Simulation]:
    grids = task.grids(_GRID_SHARE)
    yield grids
    yield from _fitting(task.guesses, _others(task, grids), task.budget_s - grids.seconds)


def _grids_and_regions(task: _Task, *, are_empty: bool = False) -> Iterator[Simulation]:
    """Grids, and guesses of tiles, or ticks on those that are empty."""
    grids = task.grids(_GRID_SHARE)
    yield grids
    others = _others(task, grids)
    if others:
        stated = task.regions(others, is_exact=are_empty)
        of_tiles = stated.annotations.proportions
        chosen = [one for one in of_tiles if one.fractions[0] == 1.0] if are_empty else of_tiles
        yield _some(task, stated, chosen, task.budget_s - grids.seconds)


def _clicks_alone(task: _Task) -> Iterator[Simulation]:
    yield task.clicks(task.budget_s)


def _paper_slices(task: _Task) -> Iterator[Simulation]:
    guesses = list(_fitting(task.guesses, range(len(task.pictures)), task.budget_s / 2))
    yield from guesses
    yield task.clicks(task.budget_s - sum(one.seconds for one in guesses))


def _paper_crops(task: _Task) -> Iterator[Simulation]:
    yield simulate_paper(
        task.truth,
        rng=task.rng(2),
        crop_px=task.tile_px,
        off_centre=task.plan.off_centre,
        classes=task.classes,
    )


_ROUTINES: dict[str, Callable[[_Task], Iterator[Simulation]]] = {
    "clicks": _clicks_alone,
    "paper-slices": _paper_slices,
    "paper-crops": _paper_crops,
    "grids": _grids_alone,
    "interpolated": _interpolated,
    "frames": _frames_alone,
    "guesses": _grids_and_guesses,
    "regions": _grids_and_regions,
    "empty": partial(_grids_and_regions, are_empty=True),
}


def _others(task: _Task, grids: Simulation) -> list[int]:
    """Slices without a grid: a count replaces the guess of its slice."""
    counted = {grid.slice for grid in grids.annotations.grids}
    return [z for z in range(len(task.pictures)) if z not in counted]


def _fitting(
    state: Callable[[Sequence[int]], Simulation], slices: Sequence[int], seconds: float
) -> Iterator[Simulation]:
    """As many of the slices, evenly spread, as the seconds allow; nothing if none."""
    for count in range(len(slices), 0, -1):
        work = state([slices[i] for i in evenly_spread(len(slices), count)])
        if work.seconds <= seconds:
            yield work
            return


def _some(
    task: _Task, stated: Simulation, among: Sequence[Proportion], seconds: float
) -> Simulation:
    """Keep some of the stated fractions, spread over all, as many as the seconds allow."""
    kept: list[Proportion] = []
    acts = Acts()
    for index in _spread_order(len(among), task.seed):
        n_present = sum(1 for value in among[index].fractions[1:] if value)
        n_absent = len(task.classes) - 1 - n_present
        added = acts + Acts(n_guesses=n_present, n_empty_ticks=n_absent if n_present else 1)
        if added.seconds() > seconds:
            break
        kept.append(among[index])
        acts = added
    annotations = stated.annotations.replace(proportions=tuple(kept))
    return dataclasses.replace(stated, annotations=annotations, acts=acts)


def _spread_order(n: int, seed: int) -> list[int]:
    """All of ``n`` places, of which any first few lie spread over the whole."""
    start = float(np.random.default_rng([seed, 4]).random())
    order = dict.fromkeys(int(n * ((start + k * _GOLDEN) % 1.0)) for k in range(16 * n))
    return [*order, *(index for index in range(n) if index not in order)]


# -- masks -----------------------------------------------------------------------------------------


def _buy(
    plan: Plan, pictures: Pictures, classes: Sequence[str], budget_s: float, seed: int
) -> Told:
    """Outline all objects of tiles here and there until the seconds are used.

    A tile is halved until its objects can be outlined in the time that is left: leaving out what
    is crowded would buy emptier tiles than there are.
    """
    tile_px = _Task(plan, pictures, tuple(classes), budget_s, seed).tile_px
    least_px = max(1, tile_px // _LEAST_TILE)
    all_tiles = [(z, box) for z in range(len(pictures))
                 for box in tiles(pictures.truth[z].shape, tile_px)]  # fmt: skip
    bought: list[tuple[int, tuple[int, int, int, int]]] = []
    n_objects, n_empty, left_s = 0, 0, budget_s
    for index in _spread_order(len(all_tiles), seed):
        if left_s < OBJECT_S:
            break
        z, box = all_tiles[index]
        while _outline_s(pictures.truth[z], box) > left_s and _shortest(box) >= 2 * least_px:
            box = _halved(box)
        cost_s = _outline_s(pictures.truth[z], box)
        if cost_s <= left_s:
            bought.append((z, box))
            found = _count_objects(_cut(pictures.truth[z], box))
            n_objects, n_empty, left_s = n_objects + found, n_empty + (found == 0), left_s - cost_s
    if not bought:
        raise ValueError(f"{budget_s:g} s buy no mask; allow {OBJECT_S:g} s or more.")
    seen = Pictures(
        tuple(f"{pictures.names[z]} {box}" for z, box in bought),
        tuple(_cut(pictures.images[z], box) for z, box in bought),
        tuple(_cut(pictures.truth[z], box) for z, box in bought),
    )
    return _outlined(seen, classes, n_objects, n_empty)


def _outlined(pictures: Pictures, classes: Sequence[str], n_objects: int, n_empty: int) -> Told:
    seconds = n_objects * OBJECT_S + n_empty * Costs().empty_s
    n_px = sum(mask.size for mask in pictures.truth)
    text = f"{len(pictures)} masks ({n_objects} objects, {n_px / 1e6:.2f} megapixels)"
    acts = {"n_objects": n_objects, "n_empty_ticks": n_empty}
    return Told(pictures, Annotations(tuple(classes)), pictures.truth, seconds, text, acts)


def _outline_s(mask: Mask, box: tuple[int, int, int, int]) -> float:
    n_objects = _count_objects(_cut(mask, box))
    return n_objects * OBJECT_S if n_objects else Costs().empty_s


def _count_objects(mask: Mask) -> int:
    """Connected areas of every class but the background."""
    present = [int(index) for index in np.unique(mask) if index not in (0, IGNORE)]
    return sum(int(ndimage.label(mask == index)[1]) for index in present)


def _cut(pixels: Any, box: tuple[int, int, int, int]) -> Any:
    y0, x0, y1, x1 = box
    return pixels[y0:y1, x0:x1]


def _shortest(box: tuple[int, int, int, int]) -> int:
    return min(box[2] - box[0], box[3] - box[1])


def _halved(box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """First half of a box, cut across its longer side."""
    y0, x0, y1, x1 = box
    if y1 - y0 >= x1 - x0:
        return y0, x0, (y0 + y1) // 2, x1
    return y0, x0, y1, (x0 + x1) // 2
