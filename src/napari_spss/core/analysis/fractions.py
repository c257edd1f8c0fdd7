"""Area and volume fractions with intervals, and densities, from what was counted in labels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..annotations import Classes
from ..base import counted, percent
from ..images import reading_notes
from .densities import LineIntercepts, density_columns, numerical_density, surface_density
from .measured_labels import MeasuredLabels
from .ratio import NOTHING, estimate_fraction, weight_notes

_WIDE = 0.4  # of the fraction: where as much as the standard error times Student's t is all of it
_TIME_SERIES = (
    "The slices are time points: objects are those of each, and have areas. If they are slices of "
    "a volume, state their distance: --voxel-size Z,Y,X (voxel_size_um in Python; in napari name "
    "their axis z)."
)


@dataclass(frozen=True)
class Measurement:
    """What was measured, as three tables.

    Attributes
    ----------
    slices : DataFrame
        A row per slice and class: ``slice``, ``name`` (image sets), ``class``, ``pixels``,
        ``fraction`` (of the slice's labelled pixels that are not outside, 0-1), ``area_um2``; for
        sets and single images also ``objects``.
    stack : DataFrame
        A row per class: ``class``, ``fraction``, ``low``, ``high`` (of sets: 95 % interval, see
        :func:`estimate_fraction`), ``slices``, ``objects``, ``voxels``, ``volume_um3``; for sets
        and single images ``pixels`` and ``area_um2`` instead. Then, each with ``_low`` and
        ``_high``, ``surface_um2_per_um3`` (see `surface_density`; ``sections`` says for which
        kind) and ``objects_per_um3`` (see `numerical_density`; of objects in single slices
        ``objects_per_um2``).
    objects : DataFrame
        A row per object, see :func:`object_table`: ``object``, ``class``, and of instances ``id``.
    notes : tuple of str
        What the reader of the tables should know.
    outside : str or None
        Class that counts in no fraction: pixels and area alone are known of it.
    """

    slices: pd.DataFrame
    stack: pd.DataFrame
    objects: pd.DataFrame
    notes: tuple[str, ...]
    outside: str | None = None

    def summary(self) -> tuple[str, ...]:
        """A line for each class: fraction, interval, numbers and surface per volume."""
        lines = []
        for row in self.stack.iloc[1:].to_dict("records"):
            if row["class"] == self.outside:
                continue
            text = f"{row['class']}: {percent(row['fraction'])}"
            if not math.isnan(row["low"]):  # a single slice tells nothing about the spread
                text += f" (95 % interval {percent(row['low'])} to {percent(row['high'])})"
            lines.append(f"{text}, {counted(int(row['objects']), 'object')}")
            said = [
                f"{row[name]:.3g} per {unit}"
                for name, unit in (("objects_per_um3", "µm³"), ("objects_per_um2", "µm²"))
                if name in row and not math.isnan(row[name])
            ]
            if not math.isnan(surface := row["surface_um2_per_um3"]):
                said.append(f"surface {surface:.3g} µm²/µm³ ({row['sections']} sections)")
            if said:
                lines.append(f"  {', '.join(said)}")
        return tuple(lines)

    def by_slice(self, classes: Sequence[str]) -> npt.NDArray[np.float64]:
        """Fractions (slices, classes) of some classes; nan where there is none."""
        table = self.slices.pivot(index="slice", columns="class", values="fraction")
        found: npt.NDArray[np.float64] = table.reindex(columns=list(classes)).to_numpy(float)
        return found


@dataclass(frozen=True)
class Counts:
    """What was counted in labels, of which the tables are made."""

    labels: MeasuredLabels
    classes: Classes  # background first
    pixels: npt.NDArray[np.int64]  # (n, C), by slice and class
    objects: pd.DataFrame  # see `object_table`
    intercepts: LineIntercepts
    is_vertical: bool  # whether the slices are vertical sections

    def measurement(self, object_notes: Sequence[str]) -> Measurement:
        """Make the tables, and say what their reader should know."""
        stack = self._stack_table()
        return Measurement(
            slices=self._slice_table(),
            stack=stack,
            objects=self.objects,
            notes=(*reading_notes(self.labels.source), *self._notes(stack), *object_notes),
            outside=self.classes.outside,
        )

    @property
    def _counting(self) -> npt.NDArray[np.int64]:
        """Pixels per slice that count in the fractions (n,)."""
        labelled: npt.NDArray[np.int64] = self.pixels.sum(axis=1)
        outside = self.classes.outside_index
        return labelled if outside is None else labelled - self.pixels[:, outside]

    def _slice_table(self) -> pd.DataFrame:
        counts, labels, outside = self.pixels, self.labels, self.classes.outside_index
        n_slices, n_classes = counts.shape
        total = self._counting[:, None]
        fractions = np.divide(counts, total, out=np.full(counts.shape, math.nan), where=total > 0)
        if outside is not None:
            fractions[:, outside] = math.nan
        columns: dict[str, object] = {"slice": np.repeat(np.arange(n_slices), n_classes)}
        if labels.names is not None:
            columns["name"] = np.repeat(np.array(labels.names, dtype=object), n_classes)
        columns |= {
            "class": np.tile(np.array(self.classes, dtype=object), n_slices),
            "pixels": counts.reshape(-1),
            "fraction": fractions.reshape(-1),
            "area_um2": (counts * labels.pixel_areas_um2[:, None]).reshape(-1),
        }
        if not labels.has_volumes:
            found = Counter(zip(self.objects["z0"], self.objects["class"], strict=True))
            columns["objects"] = pd.array(
                [
                    None if index in (0, outside) else found[z, name]
                    for z in range(n_slices)
                    for index, name in enumerate(self.classes)
                ],
                dtype="Int64",
            )
        return pd.DataFrame(columns)

    def _stack_table(self) -> pd.DataFrame:
        counts, labels = self.pixels, self.labels
        in_px, in_um = ("voxels", "volume_um3") if labels.is_volume else ("pixels", "area_um2")
        # Images of different pixel size weigh by their true area, where all of them are known.
        areas = labels.pixel_areas_um2
        weights = areas if np.isfinite(areas).all() else np.ones(len(areas))
        totals = self._counting * weights
        physical = counts.sum(axis=0) * labels.voxel_um3 if labels.is_volume else areas @ counts
        rows = []
        for index, name in enumerate(self.classes):
            estimate = NOTHING
            if index != self.classes.outside_index:
                estimate = estimate_fraction(
                    counts[:, index] * weights, totals, is_sample=labels.is_set
                )
            n_objects = int((self.objects["class"] == name).sum())
            rows.append(
                {
                    "class": name,
                    "fraction": estimate.fraction,
                    "low": estimate.low,
                    "high": estimate.high,
                    "slices": int((totals > 0).sum()),
                    "objects": n_objects if self._is_structure(index) else None,
                    in_px: int(counts[:, index].sum()),
                    in_um: float(physical[index]),
                    **self._densities(index),
                }
            )
        return pd.DataFrame(rows).astype({"objects": "Int64"})

    def _is_structure(self, index: int) -> bool:
        """Whether a class is neither the background nor what is outside."""
        return index not in (0, self.classes.outside_index)

    def _densities(self, index: int) -> dict[str, Any]:
        """Surface and number per volume of a class; nothing where it is no structure."""
        labels, surface, number = self.labels, NOTHING, NOTHING
        if self._is_structure(index):
            totals = self._counting * labels.pixel_areas_um2
            surface = surface_density(
                self.intercepts.changes[:, :, index],
                self.intercepts.pairs,
                labels.edges_um[:, 1:],
                totals,
                is_vertical=self.is_vertical,
                is_sample=labels.is_set,
            )
            shapes = [labels.source.shape_of(z) for z in range(len(totals))]
            inner = np.array([(y - 1) * (x - 1) / (y * x) for y, x in shapes])
            depth = float(labels.edges_um[0, 0]) if labels.has_volumes else 1.0
            number = numerical_density(
                self.objects[self.objects["class"] == self.classes[index]],
                totals * inner * depth,
                is_volume=labels.has_volumes,
                is_sample=labels.is_set,
            )
        per = "objects_per_um3" if labels.has_volumes else "objects_per_um2"
        return {
            **density_columns("surface_um2_per_um3", surface),
            "sections": "vertical" if self.is_vertical else "isotropic",
            **density_columns(per, number),
        }

    def _notes(self, stack: pd.DataFrame) -> list[str]:
        """Say what was left out, and what the numbers assume."""
        notes, n_slices, totals = [], len(self.pixels), self.pixels.sum(axis=0)
        if self.labels.is_time_series:
            notes.append(_TIME_SERIES)
        absent = [name for name, n in zip(self.classes, totals, strict=True) if n == 0]
        if absent:
            notes.append(f"Nowhere in the labels: {', '.join(absent)}.")
        n_empty = int((self._counting == 0).sum())
        if n_empty:
            which = "" if self.classes.outside is None else f" that is not {self.classes.outside}"
            empty = f"{counted(n_empty, 'slice')} with no labelled pixel{which}"
            notes.append(f"{empty}: counted in no fraction.")
        areas = self.labels.pixel_areas_um2
        if of_weights := weight_notes(areas):
            notes += of_weights
        elif np.isnan(areas).all():
            notes.append("The pixel or voxel size is not known, so sizes are in pixels only.")
        elif self.labels.is_volume and not np.isfinite(self.labels.voxel_um3):
            notes.append("The distance of slices is not known, so volumes are in voxels only.")
        if not self.labels.is_set:
            notes.append(
                "All of it is measured and nothing sampled, so that the fractions have no "
                "interval; what the labels miss or make up, a check count tells (estimate)."
            )
        elif n_slices == 1:
            notes.append(
                "A single image tells nothing about the spread between images: no interval."
            )
        elif len(equal := stack.loc[stack["fraction"].notna() & stack["low"].isna(), "class"]):
            notes.append(
                f"All images have the same fraction of {', '.join(equal)}, by chance or not: no "
                "interval."
            )
        if len(uneven := stack.loc[stack["low"] < _WIDE * stack["fraction"], "class"]):
            notes.append(
                f"The interval of {', '.join(uneven)} is wide: images are few, or differ much. "
                "Where some have none and others much, about 90 of 100 such intervals hold the "
                "truth, not 95; measure more images."
            )
        if stack["surface_um2_per_um3"].notna().any():
            sections = stack["sections"].iloc[0]
            notes.append(f"Surface per volume assumes right labels and {sections} sections.")
        if "objects_per_um3" in stack and stack["objects_per_um3"].notna().any():
            notes.append(
                "Objects per volume assume right labels, that no object lies between two slices, "
                "and a stack that was placed at random."
            )
        if self.labels.has_ids and "id" in self.objects and self.objects["id"].nunique() == 1:
            notes.append(
                "All objects have one id and count as one; without instances, connected parts are "
                "counted."
            )
        return notes
