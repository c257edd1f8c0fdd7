"""From a trained model and an image of any size to maps and labels, piece by piece."""

from __future__ import annotations

import math
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from ..analysis import MapHistogram, entropy_sum, labels_from_probs, matched_threshold, n_summed
from ..annotations import Region
from ..base import (
    CancelToken,
    Event,
    FinishReason,
    InputError,
    Message,
    OutOfMemory,
    Predicted,
    RunError,
    RunFinished,
    RunStarted,
    SlicePace,
    Stopped,
    counted,
)
from ..images import StackLayout, check_stack, lost_contrast
from ..networks import Box, TileDone, is_out_of_memory
from ..training import Model
from .corrections import Corrected
from .files import (
    MAP_DTYPES,
    FileSink,
    MapDtype,
    Threshold,
    matched_text,
    origin_of_files,
    prediction_results,
    result_names,
)
from .maps import SlicePredictor
from .smoothing import Smoother, is_smoothed

if TYPE_CHECKING:
    from ..images import Stack

Probs = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]
Sink: TypeAlias = Callable[[Region, tuple[int, int], Probs], object]
"""Takes a region, rows of it as (start, stop) in the slice, and their maps (C, rows, X)."""


@dataclass(frozen=True)
class Prediction:
    """Maps and labels in memory.

    Parameters
    ----------
    probs : ndarray of float32, or list
        (Z, C, Y, X), 0-1, background first. For an image set a list of (C, Y, X).
    labels : ndarray of uint8, or list
        (Z, Y, X) class indices. For an image set a list of (Y, X).
    threshold : float or None
        From which probability on a pixel is class 1; None for more than two classes.
    """

    probs: Probs | list[Probs]
    labels: Labels | list[Labels]
    threshold: float | None


def predict_regions(
    model: Model,
    stack: Stack,
    regions: Sequence[Region],
    sink: Sink,
    *,
    device: str | torch.device = "auto",
    tile_px: int | None = None,
    flips: bool = False,
    smooth_z: bool | None = False,
    token: CancelToken | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Generator[Event, None, None]:
    """Predict slices, or boxes of them, one after the other, and hand their maps to a sink.

    Parameters
    ----------
    model : Model
        Trained on images with as many channels.
    stack : Stack
        The image.
    regions : sequence of Region
        What to predict, in this order.
    sink : callable
        ``sink(region, (start, stop), probs)`` takes these rows of the slice, (C, rows, X) float32,
        which cover each region from top to bottom without gap or overlap.
    device, tile_px, flips, smooth_z
        As in :func:`predict_slice`.
    token : CancelToken, optional
        Stops the run within one tile; it then ends with reason ``stopped``.
    clock : callable
        Seconds; for tests.

    Yields
    ------
    Event
        RunStarted (total: regions), Progress, Message, Predicted for every region that is done,
        and RunFinished, unless an error is raised.

    Raises
    ------
    InputError
        If the channels do not fit the model, or a region does not lie in the image.
    OutOfMemory
        If not even a small tile fits into memory.

    Examples
    --------
    >>> def show(region, rows, probs):
    ...     print(region.slice, rows, probs.mean(axis=(1, 2)))
    >>> for event in predict_regions(model, stack, [Region(4)], show):  # doctest: +SKIP
    ...     print(event)
    """
    check_stack(stack)
    for region in regions:
        stack.box_of(region.slice, region.box)
    predictor = SlicePredictor(model, device, tile_px=tile_px, flips=flips)
    is_smooth, why = is_smoothed(model, stack, smooth_z)
    delivery = _Delivery(stack, sink)
    corrections = Corrected(model, stack, delivery)
    series = _series(regions) if is_smooth else [[region] for region in regions]
    steps = deque(prediction_steps(series, stack, corrections, is_smooth))
    pace = SlicePace(len(steps), clock)
    yield RunStarted("prediction", len(regions), str(predictor.device), model.classes)
    for note in stack.notes:
        yield Message("info", note)
    for text in lost_contrast(stack, regions[0].slice) if regions else ():
        yield Message("warning", text)
    yield from model.working_scale.notes(stack, [region.slice for region in regions])
    for note in (*why, *corrections.notes(region.slice for region in regions)):
        yield Message("info", note)
    reason = FinishReason.completed
    try:
        with closing(predictor.pieces(stack, [step[0] for step in steps], token=token)) as items:
            for item in items:
                if isinstance(item, TileDone):
                    yield from pace.progress(item.fraction)
                elif isinstance(item, Message):
                    yield item
                else:
                    region, take = steps[0]
                    take(region, item.rows, item.probs)
                    if item.is_last:
                        steps.popleft()
                        pace.done += 1
                        yield from delivery.news()
                        yield from pace.progress()
    except Stopped:
        reason = FinishReason.stopped
    yield RunFinished(reason, delivery.n_done, pace.elapsed_s)


def _series(regions: Sequence[Region]) -> list[list[Region]]:
    """Cut regions where one is not of the same box in the slice after the last one."""
    series: list[list[Region]] = []
    for region in regions:
        if series and region == Region(series[-1][-1].slice + 1, series[-1][-1].box):
            series[-1].append(region)
        else:
            series.append([region])
    return series


def prediction_steps(
    series: Sequence[Sequence[Region]], stack: Stack, sink: Sink, is_smooth: bool
) -> Iterator[tuple[Region, Sink]]:
    """What is predicted, in this order, and what takes it."""
    for regions in series:
        if not is_smooth:
            yield regions[0], sink
            continue
        smoother = Smoother(regions, stack.n_slices, stack.shape_of(regions[0].slice), sink)
        for z in smoother.slices:
            yield Region(z, regions[0].box), smoother.take


class _Delivery:
    """A sink that hands everything on, and knows what is complete."""

    def __init__(self, stack: Stack, sink: Sink) -> None:
        self._stack = stack
        self._sink = sink
        self._total = 0.0
        self._news: list[Predicted] = []
        self.n_done = 0

    def __call__(self, region: Region, rows: tuple[int, int], probs: Probs) -> None:
        self._sink(region, rows, probs)
        top, left, bottom, right = self._stack.box_of(region.slice, region.box)
        self._total += entropy_sum(probs, rows[0] - top)
        if rows[1] == bottom:
            mean = self._total / n_summed(bottom - top, right - left)
            self._news.append(Predicted(region.slice, region.box, mean))
            self._total = 0.0
            self.n_done += 1

    def news(self) -> list[Predicted]:
        """Tell, once, of the regions that are complete."""
        told, self._news = self._news, []
        return told


def predict_slice(
    model: Model,
    stack: Stack,
    z: int,
    *,
    box: Box | None = None,
    device: str | torch.device = "auto",
    tile_px: int | None = None,
    flips: bool = False,
    smooth_z: bool | None = False,
    token: CancelToken | None = None,
) -> Probs:
    """Predict the maps of one slice, or of a box of it, at full resolution.

    Where the sizes of a pixel are known, of this image and of the one that the model learned from,
    this one is reduced so that objects look as large to the network; where that is not possible,
    a Python warning says so.

    Parameters
    ----------
    model : Model
        Trained on images with as many channels.
    stack : Stack
        The image; the slice is read whole, since its grey values are normalised as a whole.
    z : int
        Slice index, 0-based.
    box : (int, int, int, int), optional
        Half-open (y0, x0, y1, x1) in data pixels.
    device : str or torch.device
        See :func:`napari_spss.core.networks.resolve_device`.
    tile_px : int, optional
        Edge of a tile in working pixels, without halo; by default what suits the device.
    flips : bool
        Average the maps of the four mirror images: four times the work.
    smooth_z : bool or None
        Average the maps of the slice and of its two neighbours, .6, .2 and .2, which are predicted
        as well. None: where slices are at most half an object's width apart, and that is known.
    token : CancelToken, optional
        Stops within one tile.

    Returns
    -------
    ndarray of float32
        (C, Y, X), 0-1, background first, summing to 1 over C.

    Raises
    ------
    InputError
        If the channels do not fit the model, or the box does not lie in the slice.
    OutOfMemory
        If not even a small tile fits into memory.
    Stopped
        If the token was set.
    """
    check_stack(stack)
    region = Region(z, stack.box_of(z, box))
    return _in_memory(
        model,
        stack,
        [region],
        device=device,
        tile_px=tile_px,
        flips=flips,
        smooth_z=smooth_z,
        token=token,
    )[region]


def predict(
    model: Model,
    stack: Stack,
    *,
    threshold: Threshold = None,
    slices: Sequence[int] | None = None,
    device: str | torch.device = "auto",
    tile_px: int | None = None,
    flips: bool = False,
    smooth_z: bool | None = None,
    token: CancelToken | None = None,
) -> Prediction:
    """Predict maps and labels in memory; :func:`iter_prediction` writes them to files instead.

    Parameters
    ----------
    model, stack, device, tile_px, flips, smooth_z, token
        As in :func:`predict_slice`.
    threshold : float, "auto" or None
        As in :func:`iter_prediction`.
    slices : sequence of int, optional
        Which slices, in this order; all by default.

    Raises
    ------
    InputError, OutOfMemory, Stopped
        As in :func:`predict_slice` and :func:`iter_prediction`.

    Examples
    --------
    >>> prediction = predict(model, open_stack("stack.tif"))  # doctest: +SKIP
    >>> (prediction.labels == 1).mean()  # volume fraction of class 1  # doctest: +SKIP
    """
    chosen = checked_slices(model, stack, threshold, slices)
    regions = [Region(z) for z in chosen]
    found = _in_memory(
        model,
        stack,
        regions,
        device=device,
        tile_px=tile_px,
        flips=flips,
        smooth_z=smooth_z,
        token=token,
    )
    probs = [found[region] for region in regions]
    value: float | None = None
    if threshold == "auto":
        histogram = MapHistogram()
        for maps in probs:
            histogram.add(maps[1])
        value = matched_threshold(histogram, stated_fraction(model))
    elif len(model.classes) == 2:
        value = 0.5 if threshold is None else threshold
    labels = [labels_from_probs(maps, value) for maps in probs]
    if stack.is_set:
        return Prediction(probs, labels, value)
    return Prediction(np.stack(probs), np.stack(labels), value)


def _in_memory(
    model: Model, stack: Stack, regions: Sequence[Region], **options: Any
) -> dict[Region, Probs]:
    """Predict regions into arrays (C, Y, X); warnings of the run become Python's."""
    found = {}
    for region in regions:
        y0, x0, y1, x1 = stack.box_of(region.slice, region.box)
        found[region] = np.empty((len(model.classes), y1 - y0, x1 - x0), np.float32)

    def keep(region: Region, rows: tuple[int, int], probs: Probs) -> None:
        top = region.box[0] if region.box else 0
        found[region][:, rows[0] - top : rows[1] - top] = probs

    for event in predict_regions(model, stack, regions, keep, **options):
        if isinstance(event, Message) and event.level == "warning":
            warnings.warn(event.text, stacklevel=3)
        elif isinstance(event, RunFinished) and event.reason is FinishReason.stopped:
            raise Stopped
    return found


def iter_prediction(
    model: Model,
    stack: Stack,
    *,
    out_dir: str | Path,
    overwrite: bool = False,
    threshold: Threshold = None,
    map_dtype: MapDtype = "uint8",
    format: str = "tif",
    uncertainty: bool = False,
    slices: Sequence[int] | None = None,
    device: str | torch.device = "auto",
    tile_px: int | None = None,
    flips: bool = False,
    smooth_z: bool | None = None,
    fill_holes: bool = False,
    min_piece_px: int = 0,
    token: CancelToken | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Generator[Event, None, None]:
    """Predict a stack of any size, from lazy input to files.

    Memory holds a band of tiles and some rows of maps; where maps are smoothed along z, two slices
    of maps as well, in 16 bits a pixel and class, large ones in a temporary file. Files appear
    under their names when all are complete; of a run that is stopped, or fails, nothing stays, and
    what stood there before does.

    Parameters
    ----------
    model : Model
        Trained on images with as many channels.
    stack : Stack
        The image.
    out_dir : path
        Folder for ``maps`` and ``labels``: a file of each for a stack, a folder for an image set.
        Made if it does not exist.
    overwrite : bool
        Whether what stands there may be replaced, whatever it is. Results of the same image and
        the same run are replaced anyway, all of them, tables included, once the new ones are
        complete.
    threshold : float, "auto" or None
        Two classes: a pixel is class 1 from this probability on, None means 0.5. "auto" is the one
        threshold at which the predicted slices together have the mean fraction that was stated for
        training. More classes: None, every pixel gets its most probable class.
    map_dtype : {"uint8", "float16", "float32"}
        Of the maps: 0-255 or 0-1.
    format : str
        Of the files: ``tif``, ``zarr``, or the name of a writer that another package offers or that
        was registered, see :func:`napari_spss.register_writer`.
    uncertainty : bool
        Write ``uncertainty`` as well: the normalised entropy of each pixel, see
        :func:`napari_spss.uncertainty_slice`, as 0-255 for 0-1. All maps are then averaged over
        the four mirror images.
    slices : sequence of int, optional
        Which slices, in this order; all by default.
    device, tile_px, flips, smooth_z
        As in :func:`predict_slice`.
    fill_holes : bool
        Give background that a class encloses within a slice to that class.
    min_piece_px : int
        Then make pieces of a slice with fewer pixels background. For both, the labels of one slice
        must fit into memory.
    token : CancelToken, optional
        Stops the run within one tile; it then ends with reason ``stopped``.
    clock : callable
        Seconds; for tests.

    Yields
    ------
    Event
        As :func:`predict_regions`; the outputs of RunFinished are paths by what they hold, such
        as ``labels``.

    Raises
    ------
    InputError
        If the channels do not fit the model, a slice does not exist, the threshold does not fit
        the classes, or something is in the way in ``out_dir``.
    OutOfMemory
        If not even a small tile fits into memory.
    RunError
        If the files cannot be written.
    """
    chosen = checked_slices(model, stack, threshold, slices)
    if map_dtype not in MAP_DTYPES:
        raise InputError(f"map_dtype {map_dtype!r} is unknown; choose {', '.join(MAP_DTYPES)}.")
    if min_piece_px < 0:
        raise InputError(f"min_piece_px {min_piece_px} is negative; give 0 or more.")
    names = result_names(is_set=stack.is_set, uncertainty=uncertainty, format=format)
    flips = flips or uncertainty
    made_by = origin_of_files(
        model,
        stack,
        threshold=threshold,
        flips=flips,
        smooth_z=smooth_z,
        fill_holes=fill_holes,
        min_piece_px=min_piece_px,
    )
    results = prediction_results(
        out_dir, names.values(), model=model, stack=stack, overwrite=overwrite, made_by=made_by
    )
    began = clock()
    finished = RunFinished(FinishReason.stopped, 0, 0.0)
    try:
        with (
            results.writing() as folder,
            FileSink(
                folder,
                StackLayout.of(stack, chosen),
                model.classes,
                threshold=threshold,
                map_dtype=map_dtype,
                uncertainty=uncertainty,
                format=format,
                fill_holes=fill_holes,
                min_piece_px=min_piece_px,
            ) as sink,
        ):
            for event in predict_regions(
                model,
                stack,
                [Region(z) for z in chosen],
                sink.write,
                device=device,
                tile_px=tile_px,
                flips=flips,
                smooth_z=smooth_z,
                token=token,
                clock=clock,
            ):
                if isinstance(event, RunFinished):
                    finished = event
                else:
                    yield event
            if finished.reason is FinishReason.stopped:
                raise Stopped
            if threshold == "auto":
                fraction = stated_fraction(model)
                made_by["threshold"] = limit = sink.match(fraction, token)
                yield Message("info", matched_text(limit, model.classes, fraction))
    except Stopped:
        done = f"{finished.done} of {counted(len(chosen), 'slice')}"
        text = f"stopped after {done}; no maps or labels were kept."
        yield Message("info", text)
        yield RunFinished(FinishReason.stopped, finished.done, clock() - began)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        size = "{} x {}".format(*max((stack.shape_of(z) for z in chosen), key=math.prod))
        text = f"the memory did not suffice for {len(model.classes)} maps of {size} pixels"
        if map_dtype == "uint8":
            raise RunError(
                f"{text}; close other programs, or cut the image into smaller ones."
            ) from error
        raise OutOfMemory(
            f"{text} in {map_dtype}; write them as uint8, which needs less.",
            setting="map_dtype",
            value="uint8",
        ) from error
    except OSError as error:
        raise RunError(
            f"maps and labels could not be written to {out_dir} ({error}); free some space, or "
            "choose a writable folder."
        ) from error
    else:
        outputs = {what: str(results.folder / name) for what, name in names.items()}
        yield replace(finished, elapsed_s=clock() - began, outputs=outputs)


def checked_slices(
    model: Model, stack: Stack, threshold: Threshold, slices: Sequence[int] | None
) -> tuple[int, ...]:
    """Return the chosen slices, if slices and threshold can be used."""
    check_stack(stack)
    if threshold is not None and len(model.classes) != 2:
        raise InputError(
            f"threshold {threshold!r} cannot be used with {len(model.classes)} classes; leave it "
            "out: every pixel gets its most probable class.",
            field="threshold",
        )
    if threshold == "auto":
        stated_fraction(model)
    elif threshold is not None and not 0 <= threshold <= 1:
        raise InputError(
            f"threshold {threshold} lies outside 0-1; choose 0.5, or 'auto'.", field="threshold"
        )
    chosen = tuple(range(stack.n_slices)) if slices is None else tuple(slices)
    outside = [z for z in chosen if not 0 <= z < stack.n_slices]
    if outside or not chosen:
        problem = f"slice {outside[0]} is outside {stack.source}" if outside else "no slice chosen"
        raise InputError(f"{problem}; choose among 0 to {stack.n_slices - 1}.", field="slices")
    return chosen


def stated_fraction(model: Model) -> float:
    """Return what was stated for class 1, to match it."""
    if model.stated_fractions is None:
        raise InputError(
            "threshold 'auto' needs stated fractions, but the model was trained without any; "
            "choose a number such as 0.5.",
            field="threshold",
        )
    return model.stated_fractions[1]
