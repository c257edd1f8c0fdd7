"""The whole way once, on the synthetic sample: annotate, train, predict, score, and show."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ..core.analysis import (
    ClassFractions,
    SliceView,
    StatedFractions,
    confusion_matrix,
    scores_from_confusion,
    stated_fractions,
    write_overlay,
)
from ..core.annotations import PALETTE
from ..core.base import (
    CancelToken,
    Event,
    FinishReason,
    ResultFiles,
    RunFinished,
    TrainingSettings,
    Watched,
    counted,
)
from ..core.images import Masks, StackLayout, StackWriter, open_labels, open_stack
from ..core.prediction import iter_prediction, result_names
from ..core.simulation import Sample, synthetic_sample
from ..core.training import RunFolder, RunInputs, begin_recorded, iter_training

T = TypeVar("T")

_IMAGE, _TRUTH, _OVERLAY = "image.ome.tif", "truth.ome.tif", "overlay.png"


@dataclass(frozen=True)
class DemoResult:
    """What the demo found: lines to be printed, the files, and the agreement with the truth."""

    lines: tuple[str, ...]
    files: tuple[Path, ...]  # the figure first
    iou: float  # of the mitochondria, over the whole stack; nan if the demo was stopped


def iter_demo(
    out_dir: str | Path,
    *,
    device: str = "auto",
    token: CancelToken | None = None,
    settings: TrainingSettings | None = None,
    sample: Sample | None = None,
) -> Generator[Event, None, DemoResult]:
    """Train on the synthetic sample, predict it, score the labels, and write all into a folder.

    Parameters
    ----------
    out_dir : path
        Run folder; gets the image, the truth, maps, labels and a figure as well.
    device : str
        "auto", "cpu", "cuda", "cuda:N" or "mps".
    token : CancelToken, optional
        Stops within one step or tile. If training is stopped, its model stays, and nothing is
        predicted.
    settings : TrainingSettings, optional
        By default the preset ``fast``.
    sample : Sample, optional
        One with a single class besides the background; by default the synthetic one.

    Yields
    ------
    Event
        Those of a training, then those of a prediction.

    Returns
    -------
    DemoResult

    Raises
    ------
    InputError
        If ``out_dir`` already holds a run, or something that would be replaced, or the device is
        unknown.
    RunError
        If the folder cannot be written.
    """
    folder = RunFolder(Path(out_dir))
    folder.check_free()
    own = ResultFiles(folder.path, "demo", (_IMAGE, _TRUTH, _OVERLAY), {}, overwrite=None)
    predictions = tuple(result_names().values())
    for results in (own, replace(own, names=predictions)):
        results.check()  # at once, not after the training
    sample = sample or synthetic_sample()
    settings = (settings or TrainingSettings()).with_overrides(
        {"image.object_diameter_px": sample.object_diameter_px}
    )
    token = token or CancelToken()
    run = iter_training(
        sample.stack,
        sample.annotations,
        settings,
        run_dir=folder.path,
        token=token,
        device=device,
    )
    inputs = RunInputs(str((folder.path / _IMAGE).resolve()), sample.stack.identity())
    written: list[Path] = []

    def begin() -> None:
        folder.begin(settings, sample.annotations, inputs)
        with own.writing() as new:
            _write_sample(sample, new)
        written.extend(own.folder / name for name in (_IMAGE, _TRUTH))

    model, trained = yield from _watch(begin_recorded(run, folder.path, begin))
    if trained.reason is FinishReason.stopped:
        line = f"Stopped after {trained.done} training steps; the model so far was kept."
        return DemoResult((line,), (*written, *map(Path, trained.outputs.values())), math.nan)
    prediction = iter_prediction(
        model, sample.stack, out_dir=folder.path, device=device, token=token
    )
    _, predicted = yield from _watch(prediction)
    if predicted.reason is FinishReason.stopped:
        line = "Stopped during prediction; the trained model was kept."
        return DemoResult((line,), (*written, *map(Path, trained.outputs.values())), math.nan)
    maps, labels = (Path(predicted.outputs[name]) for name in ("maps", "labels"))
    outcome = _Outcome.of(sample, open_labels(labels))
    with own.writing(adds=True) as new:
        _write_figure(new / _OVERLAY, sample, outcome, maps, labels)
    overlay = own.folder / _OVERLAY
    lines = (*_describe(sample, trained, predicted), "", *outcome.lines())
    return DemoResult(lines, (overlay, maps, labels, *written), outcome.iou)


def _watch(run: Generator[Event, None, T]) -> Generator[Event, None, tuple[T, RunFinished]]:
    """Pass a run's events on; give its result and its last event."""
    for event in (watched := Watched(run)):
        yield event
    assert isinstance(event, RunFinished)
    return watched.result, event


def _write_sample(sample: Sample, folder: Path) -> None:
    """Write image and truth, so that the run can be repeated and scored from its folder."""
    stack = sample.stack
    planes: dict[str, tuple[npt.DTypeLike, Iterable[npt.NDArray[np.generic]]]] = {
        _IMAGE: (stack.dtype, (stack.read(z)[0] for z in range(stack.n_slices))),
        _TRUTH: (np.uint8, (sample.truth.read(z) for z in range(stack.n_slices))),
    }
    for name, (dtype, slices) in planes.items():
        classes = sample.truth.classes.names if name == _TRUTH else ()
        layout = StackLayout.of(stack, dtype=dtype, classes=classes)
        with StackWriter(folder / name, layout) as file:
            for z, plane in enumerate(slices):
                file.write(z, plane)


@dataclass(frozen=True)
class _Outcome:
    """Labels beside what was stated and what is true, per slice.

    ``confusion`` is (Z, 2, 3), ``predicted`` and ``true`` are fractions (Z,) of class 1.
    """

    stated: StatedFractions
    class_name: str
    predicted: npt.NDArray[np.float64]
    true: npt.NDArray[np.float64]
    confusion: npt.NDArray[np.int64]

    @classmethod
    def of(cls, sample: Sample, labels: Masks) -> _Outcome:
        slices = range(sample.stack.n_slices)
        found, true = ([source.read(z) for z in slices] for source in (labels, sample.truth))
        pairs = zip(found, true, strict=True)
        return cls(
            stated_fractions(sample.annotations, 1, len(slices)),
            sample.annotations.classes[1],
            np.array([plane.mean() for plane in found]),
            np.array([plane.mean() for plane in true]),
            np.array([confusion_matrix(one, other, n_classes=2) for one, other in pairs]),
        )

    def iou_of(self, is_chosen: npt.NDArray[np.bool_]) -> float:
        """IoU over some of the slices, taken together."""
        return scores_from_confusion(self.confusion[is_chosen].sum(axis=0)).iou[1]

    @property
    def iou(self) -> float:
        """IoU over all slices."""
        return self.iou_of(np.ones(len(self.true), dtype=bool))

    @property
    def is_counted(self) -> npt.NDArray[np.bool_]:
        """Whether a slice has a counting grid."""
        return ~np.isnan(self.stated.counted)

    def slice_ious(self) -> npt.NDArray[np.float64]:
        """IoU of every slice alone."""
        return np.array([scores_from_confusion(one).iou[1] for one in self.confusion])

    def typical_slice(self) -> int:
        """Slice of median IoU, among those that were not counted if there are any."""
        ious = self.slice_ious()
        candidates = np.flatnonzero(~self.is_counted & ~np.isnan(ious))
        if candidates.size == 0:
            return len(ious) // 2
        order = candidates[np.argsort(ious[candidates], kind="stable")]
        return int(order[len(order) // 2])

    def lines(self) -> Iterator[str]:
        """Table per slice, fractions of the stack, and scores, for reading."""
        yield f"{self.class_name}, % of the slice"
        yield f"{'slice':>5}  {'stated':>15}  {'predicted':>9}  {'true':>5}  {'IoU':>5}"
        rows = zip(self.stated.used, self.predicted, self.true, self.slice_ious(), strict=True)
        for z, (stated, predicted, true, iou) in enumerate(rows):
            source = "counted" if self.is_counted[z] else "guessed"
            said = "" if math.isnan(stated) else f"{100 * stated:.1f} {source}"
            score = "-" if math.isnan(iou) else f"{iou:.2f}"
            yield (f"{z:>5}  {said:>15}  {100 * predicted:>9.1f}  {100 * true:>5.1f}  {score:>5}")
        stated, predicted, true = (
            float(np.nanmean(values)) for values in (self.stated.used, self.predicted, self.true)
        )
        yield ""
        yield (
            f"Whole stack: stated {100 * stated:.1f} %, predicted {100 * predicted:.1f} %, "
            f"true {100 * true:.1f} %."
        )
        others = ~self.is_counted
        part = (
            f", {self.iou_of(others):.2f} in slices that were not counted" if others.any() else ""
        )
        yield f"IoU of {self.class_name} with the truth: {self.iou:.2f}{part}."
        yield (
            "A right fraction is no proof of a right mask: as many pixels scattered at random have "
            f"an IoU of {true / (2 - true):.2f}. Look at the figure."
        )


def _describe(sample: Sample, trained: RunFinished, predicted: RunFinished) -> Iterator[str]:
    height, width = sample.stack.shape_of(0)
    yield f"{sample.name}, {counted(sample.stack.n_slices, 'slice')} of {height} x {width} pixels."
    yield sample.notice
    yield (
        f"Annotated: {sample.annotations.summary()}; simulated with a person's errors, about "
        f"{sample.annotator_seconds / 60:.0f} minutes of work."
    )
    yield (
        f"Trained for {trained.elapsed_s:.0f} s ({counted(trained.done, 'step')}), predicted in "
        f"{predicted.elapsed_s:.0f} s. The truth was used for scoring only."
    )
    if trained.reason is FinishReason.time_limit:
        yield (
            f"Time was up after {trained.done} of {trained.total} steps: the map is worse than it "
            "would be after all of them."
        )


def _write_figure(path: Path, sample: Sample, outcome: _Outcome, maps: Path, labels: Path) -> Path:
    z = outcome.typical_slice()
    iou = outcome.slice_ious()[z]
    view = SliceView(
        slice=z,
        image=sample.stack.read(z)[0],
        probs=open_stack(maps).read(z)[1].astype(np.float32) / np.float32(255),
        labels=open_labels(labels).read(z) == 1,
        truth=sample.truth.read(z) == 1,
        caption=f"Labels and truth (IoU {iou:.2f}, a typical slice)",
    )
    return write_overlay(
        path,
        view,
        fractions=ClassFractions(
            outcome.class_name, PALETTE[0], outcome.stated, outcome.predicted, {}
        ),
        true=outcome.true,
        title=(
            f"{sample.name}: trained on {sample.annotations.summary()}; "
            f"IoU {outcome.iou:.2f} over {counted(sample.stack.n_slices, 'slice')}"
        ),
    )
