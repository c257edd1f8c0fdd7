"""Many labels in one call: each corrected by its check count, and the mean of groups."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..analysis import (
    area_of_node,
    contradicted_nodes,
    estimate_fractions,
    estimate_results,
    frames_or_grids,
    write_estimate_tables,
    write_estimates,
)
from ..annotations import Annotations
from ..base import CancelToken, InputError, Message, counted, stamp_of
from ..images import ListedImage
from .one_by_one import OVERALL_TABLE, Paths, Show, Told, list_with_names, one_by_one, table_at
from .opened_labels import OpenedLabels

if TYPE_CHECKING:
    from ..analysis import Estimate
    from ..annotations import Box, ClassSpec

_ESTIMATES = "estimates.csv"
_CONTRADICTED = (
    "nodes contradict the labels: look again at those in its estimates_contradicted.csv."
)


def estimate_images(
    labels: Paths,
    *,
    out_dir: str | Path,
    check: str | Path | None = None,
    grid: str | Path | None = None,
    each: bool = False,
    groups: str | Path | Mapping[Path, str] | None = None,
    run: str | Path | None = None,
    classes: ClassSpec | None = None,
    outside: str | None = None,
    overwrite: bool | None = False,
    show: Show = lambda event: None,
    token: CancelToken | None = None,
) -> pd.DataFrame:
    """Estimate the fractions of many labels, each corrected by its check count.

    With groups, such as animals, ``overall.csv`` has the mean of the groups, each as one unit.

    Parameters
    ----------
    labels, out_dir, each, groups, overwrite, show, token
        As in :func:`measure_images`.
    check : path, optional
        Folder with a check count ``NAME.csv`` for each; or the name that check counts beside the
        labels have, where there is one.
    grid : path, optional
        The same of the counts that the network learned from; each of the labels must have one.
    run : path, optional
        The run that made the labels, if it is not found by itself.
    classes, outside
        As in :func:`napari_spss.open_masks` and :func:`napari_spss.estimate_fractions`.

    Returns
    -------
    DataFrame
        A row per image, class and method, all cells texts: ``image``, ``group``, ``folder``,
        ``problem``, and the columns of a table of estimates.

    Raises
    ------
    InputError
        If there are no labels, ``check`` or ``grid`` is one table, no check count lies beside any
        of the labels, or the table of other options stands there.
    """
    results = table_at(out_dir, {"table": "estimates"}, overwrite)
    token = token or CancelToken()
    of_run = None if run is None else Path(run)
    made: dict[str, object] = {"classes": classes, "outside": outside, "run": of_run}
    tables = {"check": check, "grid": grid}
    for what, one in tables.items():
        if one is not None and Path(one).is_file():
            raise InputError(
                f"--{what} {one} is one table for many labels; name a folder with a table NAME.csv "
                "for each of them.",
                field=what,
            )
    parts: list[_Part] = []

    def work(image: ListedImage, folder: Path, show: Show) -> tuple[bool, Told]:
        opened = OpenedLabels.of(image.path, run=of_run, classes=classes, outside=outside)
        paths = {what: _table_of(image, opened.path, what, one) for what, one in tables.items()}
        if check is not None and paths["check"] is None:
            show(Message("info", f"no {check} lies beside the labels; they are not corrected."))
        checked, learned = opened.read_check(paths["check"]), opened.read(grid=paths["grid"])
        part = _Part(image.group, opened, checked, learned)
        files = estimate_results(
            folder / _ESTIMATES, labels=opened.path, inputs=paths.values(), overwrite=overwrite
        )
        done_as = f"{made} {list(map(stamp_of, files.inputs))}"
        if files.are_done(done_as):
            parts.append(part)
            return False, {}
        files.check()
        found = estimate_fractions(
            opened.masks, checked, training=learned, outside=opened.classes.outside
        )
        for note in opened.notes(checked):
            show(Message("info", note))
        listed = None if checked is None else contradicted_nodes(opened.masks, checked)
        if listed is not None and (listed["looks"] == 0).any():
            show(Message("warning", _CONTRADICTED))
        write_estimates(files, found, listed, done_as=done_as)
        parts.append(part)
        return True, {}

    listed = list_with_names(labels, results, each=each, groups=groups, made=made, of_labels=True)
    if check is not None and not Path(check).is_dir():
        places = [place / check for one in listed for place in (one.path, one.path.parent)]
        if not any(place.is_file() for place in places):
            raise InputError(
                f"no {check} lies beside any of the labels; name the folder of the check counts, "
                "or leave --check out.",
                field="check",
            )

    def finish(place: Path) -> None:
        if groups is not None and not token.is_cancelled and _fit_together(parts, show):
            for warning in _doubts(parts, len(listed), is_checked=check is not None):
                show(Message("warning", f"{OVERALL_TABLE} {warning}"))
            write_estimate_tables(place / OVERALL_TABLE, _of_groups(parts), None)

    return one_by_one(listed, work, results, _ESTIMATES, made, show, token, finish)


def _doubts(parts: Sequence[_Part], n_listed: int, *, is_checked: bool) -> Iterator[str]:
    """What is to be known of the means of groups."""
    if len(parts) < n_listed:
        yield f"leaves out {counted(n_listed - len(parts), 'image')} that failed."
    groups = {one.group for one in parts}
    if len(groups) == 1:
        yield (
            f"has no interval: all images are of group {groups.pop()}, which is one unit; name the "
            "group of each image, such as its animal."
        )
    counts = [() if one.check is None else one.check.grids for one in parts]
    n_unchecked = sum(not any(grid.is_done and grid.n_judged for grid in one) for one in counts)
    if is_checked and n_unchecked:
        n = counted(n_unchecked, "image")
        yield f"corrects {n} without a check count by the counts of the same group."


def _table_of(image: ListedImage, labels: Path, what: str, where: str | Path | None) -> Path | None:
    """The table of one of many labels; check counts that lie beside labels not all of them have."""
    if where is None:
        return None
    place = Path(where)
    is_folder = place.is_dir()
    path = place / f"{image.name}.csv" if is_folder else labels.parent / place
    if path.is_file():
        return path
    if what == "check" and not is_folder:
        return None
    raise InputError(f"{image.path} has no table {path}; count it, or leave the labels out.")


@dataclass(frozen=True)
class _Part:
    """Labels of an image, its group, and its counts."""

    group: str
    opened: OpenedLabels
    check: Annotations | None
    training: Annotations | None


def _fit_together(parts: Sequence[_Part], show: Show) -> bool:
    """Whether groups of these labels can be compared; if not, say why."""
    why = ""
    if not parts:
        why = "there are no estimates"
    elif len({tuple(one.opened.classes) for one in parts}) > 1:
        why = "the labels are of different classes"
    else:
        for what, sizes in (("pixel", _pixels(parts)), ("slice distance", _depths(parts))):
            unknown = [path for path, size in sizes if size is None]
            if 0 < len(unknown) < len(sizes):
                why = f"the {what} of {unknown[0]} is not known, that of others is; state it"
    if why:
        show(Message("warning", f"no {OVERALL_TABLE}: {why}."))
    return not why


def _pixels(parts: Sequence[_Part]) -> list[tuple[Path, float | None]]:
    """Edge of a pixel of each slice."""
    of_part = [(one.opened.path, one.opened.masks.stack) for one in parts]
    return [
        (path, stack.pixel_size_um(z)) for path, stack in of_part for z in range(stack.n_slices)
    ]


def _depths(parts: Sequence[_Part]) -> list[tuple[Path, float | None]]:
    """Distance of each slice from the next one, where there is one."""
    of_part = [(one.opened.path, one.opened.masks.stack) for one in parts]
    return [
        (path, None if stack.is_set else stack.voxel_size_um[0])
        for path, stack in of_part
        for _ in range(stack.n_slices)
    ]


def _of_groups(parts: Sequence[_Part]) -> tuple[Estimate, ...]:
    """Estimate the mean of groups from the slices of all labels, by their volume."""
    pixels, depths = _pixels(parts), _depths(parts)
    pixel_areas = [
        (size or 1.0) ** 2 * (depth or 1.0)
        for (_, size), (_, depth) in zip(pixels, depths, strict=True)
    ]
    classes = parts[0].opened.classes
    return estimate_fractions(
        _Joined(parts),
        _joined_counts([one.check for one in parts], parts, pixel_areas),
        training=_joined_counts([one.training for one in parts], parts, pixel_areas),
        groups=[one.group for one in parts for _ in range(one.opened.masks.n_slices)],
        classes=classes,
        is_set=True,
        pixel_areas=pixel_areas,
        outside=classes.outside,
    )


def _joined_counts(
    counts: Sequence[Annotations | None], parts: Sequence[_Part], pixel_areas: Sequence[float]
) -> Annotations | None:
    """Counts of many labels, with the slices that these have one after the other.

    The nodes of each stand for all of its volume, in however many frames or slices they are.
    """
    samples = [
        () if one is None else frames_or_grids(one.with_classes(part.opened.classes))
        for one, part in zip(counts, parts, strict=True)
    ]
    has_frames = any(grid.box is not None for sample in samples for grid in sample)
    grids, first = [], 0
    for sample, part in zip(samples, parts, strict=True):
        shapes = [part.opened.masks.shape_of(z) for z in range(part.opened.masks.n_slices)]
        areas = pixel_areas[first : first + len(shapes)]
        judged = sum(grid.n_judged * area_of_node(grid, areas) for grid in sample if grid.is_done)
        volume = sum(math.prod(shape) * area for shape, area in zip(shapes, areas, strict=True))
        scale = math.sqrt(volume / judged) if judged else 1.0
        for grid in sample:
            box = (0, 0, *shapes[grid.slice]) if has_frames and grid.box is None else grid.box
            spacing_px = scale * grid.spacing_px
            grids.append(grid.replace(slice=first + grid.slice, spacing_px=spacing_px, box=box))
        first += len(shapes)
    return Annotations(parts[0].opened.classes, grids=tuple(grids)) if grids else None


class _Joined:
    """The slices of many labels, one after the other."""

    def __init__(self, parts: Sequence[_Part]) -> None:
        every = [one.opened.masks for one in parts]
        self._slices = [(masks, z) for masks in every for z in range(masks.n_slices)]
        self.n_slices = len(self._slices)

    def shape_of(self, z: int) -> tuple[int, int]:
        masks, own = self._slices[z]
        return masks.shape_of(own)

    def read(self, z: int, box: Box | None = None) -> npt.NDArray[np.uint8]:
        masks, own = self._slices[z]
        return masks.read(own, box)
