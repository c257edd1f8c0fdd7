"""Files of a result, from `predict` and from the dock: maps, labels, uncertainty, fractions."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch

from ..analysis import (
    MapHistogram,
    Measurement,
    clean_labels,
    entropy,
    labels_from_probs,
    matched_threshold,
    measure_masks,
    write_tables,
)
from ..annotations import Classes, Region
from ..base import CancelToken, ResultFiles, origin_of
from ..images import WRITERS, StackLayout, open_indices, open_stack
from ..training import Model
from .smoothing import is_smoothed

if TYPE_CHECKING:
    from ..images import Stack

Threshold = float | Literal["auto"] | None
MapDtype = Literal["uint8", "float16", "float32"]
MAP_DTYPES: tuple[MapDtype, ...] = ("uint8", "float16", "float32")
FRACTIONS = "fractions.csv"
"""Name of the table of fractions; `table_names` names those beside it."""
SAVED = "saved by a person"
"""Says of a result that it may hold what a person did: how `ResultFiles` calls it done."""


def result_names(
    *, is_set: bool = False, uncertainty: bool = False, format: str = "tif"
) -> dict[str, str]:
    """Name the files of a stack's maps, labels and uncertainty, or the folders of an image set's.

    Examples
    --------
    >>> result_names()
    {'maps': 'maps.ome.tif', 'labels': 'labels.ome.tif'}
    """
    kinds = ("maps", "labels", "uncertainty")[: 3 if uncertainty else 2]
    suffix = "" if is_set else WRITERS.get(format).suffix
    return {what: f"{what}{suffix}" for what in kinds}


def write_objects(
    folder: Path, instances: npt.NDArray[np.integer], layout: StackLayout, *, format: str = "tif"
) -> None:
    """Write the numbers of objects (Z, Y, X) into a file, named as by `objects_name`."""
    as_written = replace(layout, dtype=np.dtype(np.int32))
    with WRITERS.get(format).open(folder / objects_name(format), as_written) as file:
        for z, plane in enumerate(instances):
            file.write(z, plane, 0)


def objects_name(format: str = "tif") -> str:
    """Name the file of the numbers of objects.

    Examples
    --------
    >>> objects_name()
    'objects.ome.tif'
    """
    return f"objects{WRITERS.get(format).suffix}"


def prediction_results(
    out_dir: str | Path,
    names: Iterable[str],
    *,
    model: Model,
    stack: Stack,
    source: str | None = None,
    overwrite: bool | None = False,
    made_by: Mapping[str, Any] | None = None,
) -> ResultFiles:
    """Results of a model on an image: those of another image or model are not replaced unasked.

    Nor are those of the same pixels of another size, since objects look otherwise to the model.

    Parameters
    ----------
    out_dir : path
        Their folder.
    names : iterable of str
        All files, or folders, that may be written.
    model : Model
        The model.
    stack : Stack
        The image.
    source : str, optional
        Its path, empty if it has none; by default that of the stack.
    overwrite, made_by
        See `ResultFiles`.
    """
    source = stack.source if source is None else source
    return ResultFiles(
        Path(out_dir),
        "prediction",
        tuple(names),
        {
            "image": stack.identity(),
            "pixel size": _sizes(stack),
            "model": model.identity,
        },
        inputs=(Path(source),) if source and Path(source).exists() else (),
        overwrite=overwrite,
        made_by=made_by or {},
    )


def origin_of_files(
    model: Model,
    stack: Stack,
    *,
    threshold: Threshold,
    flips: bool,
    smooth_z: bool | None,
    fill_holes: bool = False,
    min_piece_px: int = 0,
) -> dict[str, Any]:
    """Where maps and labels come from that are written, see `origin_of`."""
    if threshold is None and len(model.classes) == 2:
        threshold = 0.5
    return origin_of(
        model.run_dir,
        n_steps=model.n_steps,
        weights=model.weights_digest,
        flips=flips,
        smooth_z=is_smoothed(model, stack, smooth_z)[0],
        threshold=threshold,
        fill_holes=fill_holes,
        min_piece_px=min_piece_px,
    )


def _sizes(stack: Stack) -> str:
    """Sizes of an image's voxels, or of the pixels of each image of a set, as a text."""
    if stack.is_set:
        return str([stack.pixel_size_um(z) for z in range(stack.n_slices)])
    return str(list(stack.voxel_size_um))


def write_fractions(
    folder: Path,
    labels: str | Path,
    stack: Stack,
    classes: Classes,
    *,
    maps: str | Path,
    min_size: float | str = 1,
    split: float | None = None,
    per_slice: bool = False,
    instances: Mapping[int, npt.NDArray[np.integer]] | None = None,
) -> Measurement:
    """Measure the labels of a result, and write the tables.

    Parameters
    ----------
    folder : Path
        Where the tables go, named after `FRACTIONS`.
    labels : path
        What was written of them.
    stack : Stack
        The image, for its sizes, and for the mean grey value of each object.
    classes : Classes
        Of the labels.
    maps : path
        What was written of the maps, for the mean probability of each object.
    min_size, split, per_slice, instances
        Of the objects, see `measure`.
    """
    found = measure_masks(
        open_indices(labels, classes),
        stack=stack,
        image=stack,
        maps=open_stack(maps),
        min_size=min_size,
        split=split,
        per_slice=per_slice,
        instances=instances,
    )
    write_tables(found, folder / FRACTIONS)
    return found


class FileSink:
    """Writes the files of a result, named as by `result_names`; a context manager.

    Parameters
    ----------
    folder : Path
        Where they go.
    layout : StackLayout
        Of the slices that are written, in this order.
    classes : tuple of str
        Of maps and labels.
    threshold : float, "auto" or None
        Of the labels, see `labels_from_probs`. With "auto" the maps of class 1 wait in an unnamed
        file of one or two bytes a pixel, until `match` knows it.
    map_dtype : {"uint8", "float16", "float32"}
        Of the maps: 0-255 or 0-1.
    uncertainty : bool
        Whether there is a file of the uncertainty as well.
    format : str
        Name of a writer.
    fill_holes : bool
        See `clean_labels`; as the next, it waits for whole slices of labels.
    min_piece_px : int
        Pieces of a slice with fewer pixels become background.
    """

    def __init__(
        self,
        folder: Path,
        layout: StackLayout,
        classes: tuple[str, ...],
        *,
        threshold: Threshold = None,
        map_dtype: MapDtype = "uint8",
        uncertainty: bool = False,
        format: str = "tif",
        fill_holes: bool = False,
        min_piece_px: int = 0,
    ) -> None:
        layouts = result_layouts(layout, classes, map_dtype)
        names = result_names(is_set=layout.is_set, uncertainty=uncertainty, format=format)
        open_file = WRITERS.get(format).open
        self._layout = layout
        self._map_dtype = layouts["maps"].dtype
        self._is_float = map_dtype != "uint8"
        self._threshold = threshold
        self._waiting_dtype = np.dtype(np.uint16 if self._is_float else np.uint8)
        self._histogram = MapHistogram()
        self._n_done = 0
        self._is_cleaned = fill_holes or min_piece_px > 1
        self._clean = partial(clean_labels, fill_holes=fill_holes, min_piece_px=min_piece_px)
        self._slice: npt.NDArray[np.uint8] = np.empty((0, 0), np.uint8)  # that is to be cleaned
        with contextlib.ExitStack() as opened:
            self._waiting = opened.enter_context(tempfile.TemporaryFile(dir=folder))
            self._files = {
                what: opened.enter_context(open_file(folder / name, layouts[what]))
                for what, name in names.items()
            }
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._opened.__exit__(*error)

    def write(
        self,
        region: Region,
        rows: tuple[int, int],
        probs: npt.NDArray[np.float32],
        labels: npt.NDArray[np.uint8] | None = None,
    ) -> None:
        """Write the next rows of the next slice; by default labels are made from the maps."""
        z, first = self._n_done, rows[0]
        maps = as_floats(probs, self._map_dtype) if self._is_float else quantised(probs)
        self._files["maps"].write(z, maps, first)
        if "uncertainty" in self._files:
            self._files["uncertainty"].write(z, quantised(entropy(probs)), first)
        if self._threshold == "auto":
            kept = quantised(probs[1], self._waiting_dtype)
            self._histogram.add(as_probs(kept))
            self._waiting.write(kept.tobytes())
        else:
            if labels is None:
                labels = labels_from_probs(probs, self._threshold)
            self._put(z, labels, first)
        self._n_done += rows[1] == self._layout.shapes[z][0]

    def match(self, fraction: float, token: CancelToken | None) -> float:
        """Write the labels that waited, with that fraction of class 1 in all; return the threshold.

        The token raises ``Stopped`` within one row.
        """
        threshold = matched_threshold(self._histogram, fraction)
        self._waiting.seek(0)
        for z, (height, width) in enumerate(self._layout.shapes):
            for row in range(height):
                if token is not None:
                    token.check()
                line = self._waiting.read(width * self._waiting_dtype.itemsize)
                is_object = as_probs(np.frombuffer(line, self._waiting_dtype)) >= threshold
                self._put(z, is_object.astype(np.uint8)[None], row)
        return threshold

    def _put(self, z: int, labels: npt.NDArray[np.uint8], first: int) -> None:
        """Write rows of labels; those that are to be cleaned once their slice is complete."""
        if not self._is_cleaned:
            self._files["labels"].write(z, labels, first)
            return
        if first == 0:
            self._slice = np.empty(self._layout.shapes[z], np.uint8)
        self._slice[first : first + len(labels)] = labels
        if first + len(labels) == len(self._slice):
            self._files["labels"].write(z, self._clean(self._slice), 0)


def matched_text(threshold: float, classes: Sequence[str], fraction: float) -> str:
    """Say what a matched threshold is."""
    return (
        f"threshold {threshold:.3f}: with it {classes[1]} takes up {100 * fraction:.2f} % as "
        "stated; that does not make every slice right."
    )


def result_layouts(
    layout: StackLayout, classes: tuple[str, ...], map_dtype: MapDtype = "uint8"
) -> dict[str, StackLayout]:
    """Lay out maps, labels and uncertainty."""
    return {
        "maps": replace(layout, dtype=np.dtype(map_dtype), channels=classes),
        "labels": replace(layout, classes=classes),
        "uncertainty": layout,
    }


def quantised(probs: npt.NDArray[np.float32], dtype: npt.DTypeLike = np.uint8) -> npt.NDArray[Any]:
    """Probabilities as whole numbers over the range of an unsigned integer type."""
    largest = np.float32(np.iinfo(dtype).max)
    numbers: npt.NDArray[Any] = probs * largest
    np.rint(numbers, out=numbers)
    return numbers.astype(dtype)


def as_probs(numbers: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Probabilities of whole numbers over the range of their type."""
    return (numbers / np.float32(np.iinfo(numbers.dtype).max)).astype(np.float32, copy=False)


def as_floats(probs: npt.NDArray[Any], dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
    """Probabilities in another floating-point type.

    NumPy takes up to 60 ns for a number that is close to 0 in half precision, torch a tenth of one.
    """
    kind: torch.dtype = getattr(torch, np.dtype(dtype).name)
    return torch.from_numpy(probs).to(kind).numpy()
