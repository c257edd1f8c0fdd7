"""The fraction of a stack or of groups, counted, of labels, and of labels that nodes correct."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from ..annotations import Annotations, CountingGrid, outside_class
from ..base import InputError, counted
from ..images import IGNORE, LabelsLike, LabelSource, as_label_source, refuse_marks, strips
from .cavalieri import ALPHA, Smoothness, cavalieri_error
from .check_count import check_fresh, check_inside, finished, known_names, labels_under
from .difference import corrected_fractions
from .ratio import (
    area_of_node,
    areas_of_pixels,
    counted_fractions,
    effective_interval,
    estimate_fraction,
)

Floats: TypeAlias = npt.NDArray[np.float64]

_ROUNDING = 1e-9

_RATIO = "Cochran, Sampling Techniques, 1977"
_CAVALIERI = "Gundersen et al., J. Microsc. 193 (1999) 199"
_DIFFERENCE = (
    "Särndal, Swensson and Wretman, Model Assisted Survey Sampling, 1992; "
    "Angelopoulos et al., Science 382 (2023) 669"
)
_NO_WRONG = "no wrong nodes"
_NO_CHECK = (
    "not given: there is no check count, and nodes that a network learned from are no fair sample "
    "of its errors"
)


@dataclass(frozen=True)
class Estimate:
    """A fraction of a class with its 95 % interval, and what it rests on.

    Parameters
    ----------
    method : str
        "count", "count, Cavalieri", "labels, uncorrected" or "labels, corrected"; those of nodes
        that a network learned from are "training count" instead of "count".
    name : str
        Of the class.
    fraction, low, high : float
        nan where nothing can be said.
    clusters : int
        How many frames, slices, images or groups the interval rests on.
    nodes : int
        Judged nodes; 0 for labels alone.
    assumes : str
        What is assumed, and of what the interval speaks; or why there is no fraction.
    reference : str
    """

    method: str
    name: str
    fraction: float
    low: float
    high: float
    clusters: int
    nodes: int
    assumes: str
    reference: str


@dataclass(frozen=True)
class _Found:
    """Fraction, low and high by class (3, C), nan of the class outside; and what they rest on.

    Where nothing was sampled there is no interval, and ``assumes`` says so.
    """

    values: Floats
    clusters: int
    nodes: int
    assumes: str
    is_sample: bool = True


class _NotGiven(Exception):
    """Why nothing can be said."""


def estimate_fractions(
    labels: LabelsLike,
    check: Annotations | None = None,
    *,
    training: Annotations | None = None,
    groups: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    is_set: bool | None = None,
    pixel_areas: Sequence[float] | None = None,
    outside: str | None = None,
    smoothness: Smoothness = 0,
) -> tuple[Estimate, ...]:
    """Estimate the fraction of each class but the background, by all that is known.

    By a count alone, see `counted_fractions`; of whole-slice grids at equal distances, with
    Cavalieri's error, see `cavalieri_error`, too. By the labels alone, uncorrected. And by the
    difference estimator: the fraction of the labels over all pixels, plus the mean over fresh nodes
    of what a person says less what the labels say. It has no bias, whatever errors the labels have,
    and its interval contains them. With a class outside it is the ratio of two such estimates.

    Frames, or grids of whole slices, are the clusters, each node weighed by the area that it stands
    for. What the labels miss, and what they make up, have an interval each, as `counted_fractions`
    has: Wilson's for the number of nodes that would have the variance between clusters if they were
    independent, with Student's t. Newcombe's square-and-add makes one interval of the two. Unlike
    that of a mean plus and minus its error it holds where errors are few and crowd, and tells
    something where no node contradicts the labels.

    With groups, such as animals, each group is one unit: the mean of the groups' fractions, with an
    interval by Student's t for the spread between groups.

    Parameters
    ----------
    labels : Masks or array of int, (Y, X) or (Z, Y, X)
        Class indices, 0 = background, 255 = not known: such pixels, and nodes on them, do not
        count.
    check : Annotations, optional
        Frames of a check count, nodes that nothing learned from; or grids, if there are no frames.
    training : Annotations, optional
        The count that the network learned from; it gives the fraction of a count alone.
    groups : sequence of str, optional
        To which group each slice or image belongs.
    classes : sequence of str, optional
        Class names; default: those of the labels, or of the count.
    is_set : bool, optional
        Whether the slices are separate images, not neighbours. Default: whether they have groups;
        else what the masks say, or whether sizes differ.
    pixel_areas : sequence of float, optional
        Area of a pixel of each image, any one unit, where they differ in that. Default: those of
        the masks of a set, if all are known.
    outside : str, optional
        Class of what lies outside of the specimen: fractions are those of the rest.
    smoothness : {0, 1}
        Of areas from slice to slice, see `cavalieri_error`.

    Returns
    -------
    tuple of Estimate
        Class by class, in the order of the methods.

    Raises
    ------
    InputError
        If a node of the check count is one of those that were learned from, a node lies outside
        the labels, there is no such class, or a list has another length than the labels.

    References
    ----------
    Särndal, Swensson and Wretman, Model Assisted Survey Sampling, 1992.
    Angelopoulos, Bates, Fannjiang, Jordan and Zrnic, Prediction-powered inference, Science 382
    (2023) 669-674, arXiv 2301.09633.
    Newcombe, Interval estimation for the difference between independent proportions, Stat. Med. 17
    (1998) 873-890.
    """
    source = as_label_source(labels)
    names = known_names(source, classes, check or training)
    outside_index = None if outside is None else outside_class(outside, names)
    check, training = (
        None if one is None else one.with_classes(names).replace(outside=outside)
        for one in (check, training)
    )
    if check is not None and training is not None:
        check_fresh(check, training)
    if is_set is None and groups is not None:
        is_set = True  # what belongs to several units is no stack
    is_set, pixel_areas = _geometry(source, is_set, pixel_areas)
    for what, given in (("groups", groups), ("pixel areas", pixel_areas)):
        if given is not None and len(given) != source.n_slices:
            raise InputError(
                f"{len(given)} {what} were given for {counted(source.n_slices, 'slice')}."
            )
    counts = {name: one for name, one in (("count", check), ("training count", training)) if one}
    for one in counts.values():
        for grid in one.grids:
            check_inside(source, grid)
    sample = () if check is None else finished(check)
    task = _Task(
        np.ones(source.n_slices, dtype=bool),
        _count_pixels(source, len(names)),
        tuple(labels_under(source, grid) for grid in sample),
        sample,
        outside_index,
        is_set,
        smoothness,
        np.ones(source.n_slices) if pixel_areas is None else np.asarray(pixel_areas, float),
    )
    units: dict[str, npt.NDArray[np.bool_]] | None = None
    if groups is not None:  # which slices belong to each
        of_slice = np.array([str(one) for one in groups], dtype=object)
        units = {name: of_slice == name for name in dict.fromkeys(of_slice)}
    found: list[tuple[str, str, _Found | str]] = []
    for name, one in counts.items():
        found.append((name, _RATIO, _of(units, task, partial(_counted, annotations=one))))
        if units is None and not is_set and any(grid.box is None for grid in finished(one)):
            by_slices = partial(_by_cavalieri, annotations=one)
            found.append((f"{name}, Cavalieri", _CAVALIERI, _of(None, task, by_slices)))
    found.append(
        ("labels, uncorrected", f"Delesse, 1847; {_RATIO}", _of(units, task, _uncorrected))
    )
    found.append(
        ("labels, corrected", _DIFFERENCE, _of(units, task, _corrected) if check else _NO_CHECK)
    )
    return tuple(
        _estimate(method, name, index, result, reference)
        for index, name in enumerate(names)
        if index not in (0, outside_index)
        for method, reference, result in found
    )


# -- what is in the labels -------------------------------------------------------------------------


def _geometry(
    source: LabelSource, is_set: bool | None, pixel_areas: Sequence[float] | None
) -> tuple[bool, Sequence[float] | None]:
    """Whether slices are separate images, and the areas of their pixels if these are known."""
    stack = getattr(source, "stack", None)
    if is_set is None:
        shapes = {source.shape_of(z) for z in range(source.n_slices)}
        is_set = len(shapes) > 1 if stack is None else stack.is_set
    if pixel_areas is None and stack is not None:
        pixel_areas = areas_of_pixels(stack)
    return is_set, pixel_areas


def _count_pixels(source: LabelSource, n_classes: int) -> npt.NDArray[np.int64]:
    """Pixels per slice and class (n, C)."""
    pixels = np.zeros((source.n_slices, IGNORE + 1), dtype=np.int64)
    for z in range(source.n_slices):
        for box in strips(source.shape_of(z)):
            pixels[z] += np.bincount(source.read(z, box).reshape(-1), minlength=IGNORE + 1)
    refuse_marks(source, pixels[:, :IGNORE].sum(axis=0), int(pixels[:, IGNORE].sum()))
    used = np.flatnonzero(pixels[:, :IGNORE].any(axis=0))
    if used.max(initial=0) >= n_classes:
        raise InputError(
            f"the labels hold class {used.max()}, but only {n_classes} classes are named; name all "
            "classes.",
            field="classes",
        )
    return pixels[:, :n_classes]


@dataclass(frozen=True)
class _Task:
    """Labels and the check count of a stack or of some of its slices."""

    slices: npt.NDArray[np.bool_]
    pixels: npt.NDArray[np.int64]
    under: tuple[npt.NDArray[np.uint8], ...]
    sample: tuple[CountingGrid, ...]
    outside: int | None
    is_set: bool
    smoothness: Smoothness
    pixel_areas: Floats

    def part(self, is_in: npt.NDArray[np.bool_]) -> _Task:
        """What is on some of the slices, which keep their places."""
        kept = [place for place, grid in enumerate(self.sample) if is_in[grid.slice]]
        return dataclasses.replace(
            self,
            slices=is_in,
            pixels=np.where(is_in[:, None], self.pixels, 0),
            under=tuple(self.under[place] for place in kept),
            sample=tuple(self.sample[place] for place in kept),
        )

    @property
    def areas(self) -> Floats:
        """Per slice and class (n, C)."""
        return self.pixels * self.pixel_areas[:, None]

    def counting(self, of_classes: Floats) -> Floats:
        """Sum over the classes, the last axis, that count in fractions."""
        total: Floats = of_classes.sum(axis=-1)
        return total if self.outside is None else total - of_classes[..., self.outside]


def _of(
    units: dict[str, npt.NDArray[np.bool_]] | None, task: _Task, method: Callable[[_Task], _Found]
) -> _Found | str:
    """What a method says of all, or of the groups as units; or why it says nothing."""
    try:
        return method(task) if units is None else _over_groups(units, task, method)
    except _NotGiven as why:
        return f"not given: {why}"


def _over_groups(
    units: dict[str, npt.NDArray[np.bool_]], task: _Task, method: Callable[[_Task], _Found]
) -> _Found:
    found = []
    for name, is_in in units.items():
        try:
            found.append(method(task.part(is_in)))
        except _NotGiven as why:
            raise _NotGiven(f"of group {name}, {why}") from why
    n = len(found)
    fractions = np.array([one.values[0] for one in found])
    mean = fractions.mean(axis=0)
    half = np.full(mean.shape, math.nan)
    if n > 1:
        spread = fractions.std(axis=0, ddof=1)
        spread[spread == 0] = math.nan
        half = stdtrit(n - 1, 0.975) * spread / math.sqrt(n)
    return _Found(
        np.stack([mean, np.maximum(mean - half, 0.0), np.minimum(mean + half, 1.0)]),
        n,
        sum(one.nodes for one in found),
        f"mean of {counted(n, 'group')} that stand for others, each as one unit, normal spread; "
        + found[0].assumes,
    )


def _estimate(method: str, name: str, index: int, found: _Found | str, reference: str) -> Estimate:
    if isinstance(found, str):
        return Estimate(method, name, math.nan, math.nan, math.nan, 0, 0, found, reference)
    fraction, low, high = map(float, found.values[:, index])
    assumes = found.assumes
    if found.is_sample and not math.isnan(fraction) and math.isnan(low):
        n = found.clusters
        why = "one alone tells no spread" if n == 1 else f"all {n} are equal, by chance or not"
        assumes = f"no interval, since {why}; {assumes}"
    nearest = min(max(fraction, 0.0), 1.0)
    if abs(fraction - nearest) > _ROUNDING:
        assumes = (
            f"came to {100 * fraction:.1f} %, of which {100 * nearest:.0f} % is the nearest that "
            f"can be: the labels are far off, correct them first; {assumes}"
        )
    return Estimate(
        method, name, nearest, low, high, found.clusters, found.nodes, assumes, reference
    )


# -- the methods -----------------------------------------------------------------------------------


def _counted(task: _Task, annotations: Annotations) -> _Found:
    annotations = annotations.replace(
        grids=tuple(grid for grid in annotations.grids if task.slices[grid.slice])
    )
    found = counted_fractions(annotations, pixel_areas=task.pixel_areas)
    if found is None:
        raise _NotGiven("no grid or frame with a node that counts is done")
    places = [annotations.classes.index(name) for name in found.classes]
    values = np.full((3, len(annotations.classes)), math.nan)
    values[0, places] = found.fractions
    values[1:, places] = np.transpose(found.intervals)
    done = finished(annotations)
    n_nodes = sum(grid.n_judged for grid in done)
    return _Found(values, found.n_done, n_nodes, _told(f"{found.assumes}; {_NO_WRONG}", done))


def _by_cavalieri(task: _Task, annotations: Annotations) -> _Found:
    """Fractions of the slices' whole grids, with the error of a ratio of systematic sums."""
    grids = sorted(finished(annotations), key=lambda grid: grid.slice)
    slices = [grid.slice for grid in grids]
    steps = {after - before for before, after in pairwise(slices)}
    if len(grids) < 3:
        raise _NotGiven(f"{counted(len(grids), 'slice')} with a grid; it needs 3")
    if len(steps) > 1:
        raise _NotGiven(f"slices {', '.join(map(str, slices))} are not at equal distances")
    n_classes = len(annotations.classes)
    hits = np.array([grid.judged_counts(n_classes) for grid in grids], dtype=float)
    if task.outside is not None:
        hits[:, task.outside] = 0
    weights = np.array([area_of_node(grid, task.pixel_areas) for grid in grids])
    nodes = hits.sum(axis=1)
    total = float((nodes * weights).sum())
    if not total:
        raise _NotGiven("no node counts")
    values = np.full((3, n_classes), math.nan)
    nuggets = []
    for index in range(n_classes):
        if index == task.outside:
            continue
        areas = hits[:, index] * weights
        ratio = areas.sum() / total
        share = np.divide(hits[:, index], nodes, out=np.zeros(len(nodes)), where=nodes > 0)
        nugget = float((weights**2 * nodes * share * (1 - share)).sum())
        error = cavalieri_error(
            areas - ratio * nodes * weights, nugget=nugget, smoothness=task.smoothness
        )
        interval = effective_interval(
            ratio, error.variance / total**2, int(nodes.sum()), len(grids)
        )
        values[:, index] = ratio, *interval
        nuggets.append((nugget / error.variance if error.variance else 1.0, index))
    part = max((one for one in nuggets if one[1]), default=(1.0, 0))[0]
    assumes = (
        "slices at equal distances from a random start, so near that neighbours are alike: if not, "
        f"take the count alone; smoothness {task.smoothness} (alpha 1/"
        f"{1 / ALPHA[task.smoothness]:.0f}); nugget of independent nodes, up to {100 * part:.0f} % "
        f"of the variance; {_NO_WRONG}; speaks of this stack alone"
    )
    n_nodes = sum(grid.n_judged for grid in grids)
    return _Found(values, len(grids), n_nodes, _told(assumes, grids))


def _uncorrected(task: _Task) -> _Found:
    areas = task.areas
    totals = task.counting(areas)
    if not totals.any():
        raise _NotGiven("no pixel is labelled")
    values = np.full((3, areas.shape[1]), math.nan)
    for index in range(areas.shape[1]):
        if index != task.outside:
            one = estimate_fraction(areas[:, index], totals, is_sample=task.is_set)
            values[:, index] = one.fraction, one.low, one.high
    assumes = (
        "images sampled at random, and labels without an error: the interval leaves out what they "
        "miss or make up"
        if task.is_set
        else "no interval, since all of the stack is measured: what the labels miss or make up is "
        "left, and not known"
    )
    return _Found(values, int((totals > 0).sum()), 0, assumes, is_sample=task.is_set)


def _corrected(task: _Task) -> _Found:
    if not task.sample:
        raise _NotGiven("no grid or frame of the check count is done")
    areas = task.areas.sum(axis=0)
    if not areas.any():
        raise _NotGiven("no pixel is labelled")
    found = []
    for place, (grid, under) in enumerate(zip(task.sample, task.under, strict=True)):
        counts = (grid.class_index >= 0) & (under != IGNORE)
        areas_of_nodes = np.full(counts.sum(), area_of_node(grid, task.pixel_areas))
        places = np.full(counts.sum(), place)
        found.append((grid.class_index[counts], under[counts], areas_of_nodes, places))
    said, labelled, weights, clusters = map(np.concatenate, zip(*found, strict=True))
    if not said.size:
        raise _NotGiven("no node of the check count lies on a labelled pixel")
    values = corrected_fractions(
        areas / areas.sum(), said, labelled, weights, clusters, task.outside
    )
    if np.isnan(values[0]).all():
        raise _NotGiven("all lies outside")
    what = "frames" if task.sample[0].box is not None else "images" if task.is_set else "slices"
    assumes = (
        f"check nodes are a fair sample of all pixels, by {what} as clusters; nothing learned from "
        f"them; {_NO_WRONG}: look again at those that contradict the labels; errors do not crowd "
        "in a few places that nodes may miss"
    )
    n_clusters = len(np.unique(clusters))
    return _Found(values, n_clusters, said.size, _told(assumes, task.sample))


def _told(assumes: str, grids: Iterable[CountingGrid]) -> str:
    """Add what unsure nodes are taken for."""
    n_unsure = sum(grid.n_nodes - grid.n_judged for grid in grids)
    if not n_unsure:
        return assumes
    return f"{assumes}; {counted(n_unsure, 'unsure node')} as the others"
