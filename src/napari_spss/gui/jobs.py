"""What runs in the worker's thread: training, applying a model, saving results.

Generators of events that import torch late. They touch no widget and no layer.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import queue
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from ..core.annotations import Region
from ..core.base import (
    CancelToken,
    Event,
    FinishReason,
    InputError,
    Mailbox,
    Preparing,
    Preview,
    Progress,
    RunFinished,
    RunStarted,
    SlicePace,
    Stopped,
    Validated,
    Watched,
    origin_of,
    usable_cores,
)
from ..core.images import LabelSource
from .models import (
    ComparedSlice,
    Curves,
    FoundObjects,
    LoadedRun,
    ManyMeasured,
    MapMaking,
    tables_in,
)
from .worker import named

if TYPE_CHECKING:
    import pandas as pd

    from ..core.annotations import Annotations, Classes, Look
    from ..core.base import ResultFiles, TrainingSettings
    from ..core.images import Stack
    from ..core.training import Model, RunFolder
    from .models import Cleaning, ManyRequest, ObjectRequest, ResultMaps
    from .outcome import Estimated

ESTIMATES, CHECK = "estimates.csv", "check.csv"
T = TypeVar("T")

_LEAST_DOUBT = 0.01  # probability that a node is wrong, to be looked at again

logger = logging.getLogger(__name__)


class PreviewGate:
    """Tells a run which slice to preview: none while the last preview was not shown.

    Read in the worker's thread; single reads and writes of attributes need no lock.
    """

    def __init__(self) -> None:
        self.slice = 0
        self._is_waiting = False

    def __call__(self) -> int | None:
        """Return the slice that the viewer shows; None from `close` until `open` is called."""
        return None if self._is_waiting else self.slice

    def close(self) -> None:
        """Wait for a preview that is on its way to be shown."""
        self._is_waiting = True

    def open(self) -> None:
        """Let the next preview come."""
        self._is_waiting = False


@dataclass(frozen=True)
class TrainingJob:
    """All that a training run gets from the GUI thread."""

    # as `core.training.iter_training` takes them
    stack: Stack
    annotations: Annotations
    settings: TrainingSettings
    run_dir: Path  # folder of the run; must not hold one yet, unless it is resumed
    masks: LabelSource | None  # painted labels, read in the thread as they are then
    start_from: Model | None  # model whose training goes on
    device: str  # torch device or "auto"
    updates: Mailbox[Annotations] | None  # annotations made meanwhile
    # says which slice to preview. It is closed before each preview that is handed over: not every
    # question leads to one, since a slice may be unreadable
    gate: PreviewGate
    preview_interval_s: float  # least time between previews
    # whether the run in the folder goes on, instead of another one from ``start_from``
    resumes: bool = False
    before: Model | None = None  # model with which the new one is compared


@named("training of the segmentation")
def train(job: TrainingJob, *, token: CancelToken) -> Generator[Event, None, Model]:
    """Train in a run folder, as the command line does."""
    if "torch" not in sys.modules:
        yield Preparing("loading PyTorch", 0, 1, 0.0)
    preload()
    from ..core.training import RunFolder, RunInputs, begin_recorded, iter_training

    folder = RunFolder(job.run_dir)
    before = None if job.start_from is None else job.start_from.run_dir
    inputs = RunInputs(
        image=job.stack.source,
        image_identity=job.stack.identity(),
        classes=",".join(job.annotations.classes),
        continues=None if before is None or before.parent != folder.path.parent else before.name,
    )

    def begin() -> None:
        if job.resumes:
            folder.go_on(job.settings, job.annotations, painted=job.masks)
        else:
            folder.begin(job.settings, job.annotations, inputs, painted=job.masks)

    def shown() -> int | None:
        z = job.gate()
        return z if z is not None and z < job.stack.n_slices else None  # a longer image is shown

    with spare_core():
        events = iter_training(
            job.stack,
            job.annotations,
            job.settings,
            masks=job.masks,
            run_dir=job.run_dir,
            resume=job.resumes,
            start_from=None if job.resumes else job.start_from,
            updates=job.updates,
            preview_slice=shown,
            preview_interval_s=job.preview_interval_s,
            token=token,
            device=job.device,
        )
        watched = _watched(events, job, token)
        return (yield from begin_recorded(watched, job.run_dir, begin))


def _watched(
    events: Generator[Event, None, Model], job: TrainingJob, token: CancelToken
) -> Generator[Event, None, Model]:
    """Hand events on: each preview once that is told of, the end after the counted nodes."""
    from ..core.prediction import agreement_with_nodes
    from ..core.training import RunFolder

    finished: RunFinished | None = None
    with contextlib.closing(events):
        for event in (watched := Watched(events)):
            if isinstance(event, Preview):
                job.gate.close()
            if isinstance(event, RunFinished):
                finished = event
            else:
                yield event
    model = watched.result
    if finished is None:
        return model
    try:
        if finished.done:
            said = RunFolder(job.run_dir).annotations()
            agreement = yield from agreement_with_nodes(
                model, job.stack, said, before=job.before, device=job.device, token=token
            )
            if agreement is not None:
                yield agreement
    except Exception as error:  # a border: the model is there, whatever is told of it
        logger.warning("The model was not compared with the counted nodes.", exc_info=error)
    yield finished
    return model


@named("applying the model")
def apply_model(
    model: Model,
    stack: Stack,
    maps: ResultMaps,
    regions: Sequence[Region],
    making: MapMaking,
    *,
    device: str,
    token: CancelToken,
) -> Generator[Event, None, None]:
    """Predict regions one by one into ``maps``, announcing each when it is complete."""
    preload()
    from ..core.prediction import predict_regions

    with spare_core():
        yield from predict_regions(
            model,
            stack,
            regions,
            maps.store_rows,
            device=device,
            flips=making.flips,
            smooth_z=making.smooth_z,
            token=token,
        )


@named("applying the model to many images")
def apply_to_many(
    run_dir: Path, request: ManyRequest, *, token: CancelToken, **options: Any
) -> Generator[Event, None, pd.DataFrame]:
    """Apply the model of a run to many images, and return the table of all."""
    preload()
    from ..core.prediction import predict_images

    def predict(show: Callable[[Event], object]) -> pd.DataFrame:
        with spare_core():
            return predict_images(
                run_dir,
                request.images,
                out_dir=request.folder,
                groups=request.groups,
                overwrite=None,
                show=show,
                token=token,
                **options,
            )

    return (yield from _told(predict, token))


@named("measuring many images")
def measure_many(
    run_dir: Path,
    request: ManyRequest,
    *,
    token: CancelToken,
    names: tuple[str, ...] | None,
    outside: str | None,
    **options: Any,
) -> Generator[Event, None, ManyMeasured]:
    """Measure the results of a run on many images, and estimate fractions.

    Check counts that lie in the folders of results correct them. Classes have the ``names`` that
    are given, else those in the results.
    """
    import pandas as pd

    from ..core.analysis import read_estimates
    from ..core.annotations import ClassSpec
    from ..core.prediction import OVERALL_TABLE, estimate_images, measure_images
    from ..core.training import CONFIG

    labels = list(request.results.values())
    tables, estimates = tables_in(request.folder)
    common: dict[str, Any] = {"overwrite": None, "token": token, "outside": outside}
    common["classes"] = None if names is None else ClassSpec(names)
    if request.groups is not None:
        known = request.groups
        common["groups"] = {folder: known[one] for one, folder in request.results.items()}
    has_check = any((one / CHECK).is_file() for one in labels)
    run = run_dir if (run_dir / CONFIG).is_file() else None  # not a model alone

    def work(show: Callable[[Event], object]) -> ManyMeasured:
        measured = measure_images(labels, out_dir=tables, show=show, **common, **options)
        if token.is_cancelled:
            return ManyMeasured(measured, pd.DataFrame(), ())
        check = CHECK if has_check else None
        found = estimate_images(
            labels, out_dir=estimates, check=check, run=run, show=show, **common
        )
        overall = estimates / OVERALL_TABLE
        means = read_estimates(overall) if overall.is_file() else ()
        return ManyMeasured(measured, found, means)

    return (yield from _told(work, token))


def _told(
    work: Callable[[Callable[[Event], object]], T], token: CancelToken
) -> Generator[Event, None, T]:
    """Do work that takes a function for its events, and yield these."""
    told: queue.SimpleQueue[Event | None] = queue.SimpleQueue()

    def call() -> T:
        try:
            return work(told.put)
        finally:
            told.put(None)

    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(call)
        try:
            while (event := told.get()) is not None:
                yield event
        finally:
            token.cancel()
    return result.result()


@named("looking for doubtful nodes")
def find_doubtful(
    model: Model, stack: Stack, annotations: Annotations, *, device: str, token: CancelToken
) -> Generator[Event, None, tuple[Look, ...]]:
    """Return the nodes about which the model and the annotations differ most; none if stopped.

    Those that are as good as certain are left out.
    """
    preload()
    from ..core.prediction import predict_regions
    from ..core.training import NodeMaps, rank_nodes

    maps = NodeMaps(annotations)
    is_complete = False
    with spare_core():
        for event in predict_regions(
            model, stack, maps.regions, maps.sink, device=device, token=token
        ):
            if isinstance(event, RunFinished):
                is_complete = event.reason is FinishReason.completed
            yield event
    if not is_complete:
        return ()
    looks = rank_nodes(annotations, maps.probs, node_error=model.settings.labels.node_error)
    return tuple(look for look in looks if look.probability >= _LEAST_DOUBT)


@named("finding objects")
def find_class_objects(
    request: ObjectRequest,
    labels: npt.NDArray[np.uint8],
    stack: Stack,
    probs: npt.NDArray[np.floating],
    version: int,
    made_by: Mapping[str, Any],
    *,
    kept: FoundObjects | None = None,
    token: CancelToken,
) -> Generator[Event, None, FoundObjects | None]:
    """Return the objects of a class of the labels, (Z, Y, X); None if stopped.

    Parameters
    ----------
    request : ObjectRequest
        Which objects.
    labels : ndarray of uint8, (Z, Y, X)
        Nobody may change them meanwhile.
    stack : Stack
        The image.
    probs : ndarray of float, (Z, Y, X)
        The map of the class.
    version : int
        Of the labels.
    made_by : mapping
        Where the labels come from, see `origin_of`.
    kept : FoundObjects, optional
        Those that a person judged stay as they are; the others are found anew.

    Raises
    ------
    InputError
        If the request says no size, or needs one of voxels that is not known.
    """
    import pandas as pd

    from ..core.analysis import find_objects

    began = time.monotonic()
    yield RunStarted("prediction", None, "", ())
    try:
        for z in range(len(labels) if kept is not None else 0):
            assert kept is not None
            is_kept, _ = kept.trusted(z)
            kept.instances[z][~is_kept] = 0
            labels[z][is_kept] = 0
        instances = find_objects(
            labels,
            request.class_index,
            per_slice=request.per_slice,
            voxel_size_um=stack.voxel_size_um,
            min_size=request.min_size,
            split=request.split,
            go_on=token.check,
        )
        if kept is not None:
            instances[instances > 0] += kept.instances.max()
            np.maximum(instances, kept.instances, out=instances)
        found = FoundObjects(request, instances, pd.DataFrame(), version, made_by=made_by)
        found.table = found.measure(stack, probs, go_on=token.check)
    except Stopped:
        yield RunFinished(FinishReason.stopped, 0, time.monotonic() - began)
        return None
    yield RunFinished(FinishReason.completed, len(found.table), time.monotonic() - began)
    if kept is not None:
        found.judged, found.removed = kept.judged, kept.removed
    return found


@named("saving of results")
def save_results(
    results: ResultFiles,
    maps: ResultMaps,
    labels: npt.NDArray[np.uint8],
    stack: Stack,
    *,
    format: str = "tif",
    run_dir: Path | None = None,
    is_named_anew: bool = False,
    estimated: Estimated | None = None,
    objects: FoundObjects | None = None,
    token: CancelToken,
) -> Generator[Event, None, None]:
    """Write labels, maps, fractions and objects into a folder, as ``predict`` does.

    Files have all slices, so that indices stay; labels that were never predicted are 255.

    Parameters
    ----------
    results : ResultFiles
        Named as by `result_names` and `table_names`.
    maps : ResultMaps
        What was predicted.
    labels : ndarray of uint8, (Z, Y, X)
        Labels as they stand in the viewer, with what the user changed in them.
    stack : Stack
        The image.
    format : str
        Of labels and maps: the name of a writer.
    run_dir : Path, optional
        Run whose files are copied as well.
    is_named_anew : bool
        Whether its classes have other names by now: those of the maps.
    estimated : Estimated, optional
        Fractions of these labels by a check count, which are written with it.
    objects : FoundObjects, optional
        Of these labels: their numbers are written, and the table lists them as they are.

    Raises
    ------
    InputError
        If something is in the way meanwhile.
    RunError
        If the folder cannot be written.
    """
    from ..core.analysis import write_estimate_tables
    from ..core.annotations import write_grid
    from ..core.images import StackLayout
    from ..core.prediction import SAVED, FileSink, result_names, write_fractions, write_objects
    from ..core.training import MODEL_WEIGHTS, RunFolder

    slices, classes = range(stack.n_slices), maps.classes
    pace = SlicePace(len(slices))

    yield RunStarted("prediction", len(slices), "", classes)
    try:
        with results.writing(done_as=SAVED) as folder:
            with FileSink(folder, StackLayout.of(stack), classes, format=format) as sink:
                for z in slices:
                    for rows in maps.rows():
                        token.check()
                        part = rows.start, rows.stop
                        marked = maps.marked(z, labels[z, rows], rows)
                        sink.write(Region(z), part, maps.probs(z, rows), marked)
                    pace.done += 1
                    yield from pace.progress()
            instances = {}
            if objects is not None:
                instances[classes.index(objects.request.class_name)] = objects.instances
                write_objects(folder, objects.instances, StackLayout.of(stack), format=format)
            names = result_names(format=format)
            write_fractions(
                folder,
                folder / names["labels"],
                stack,
                classes,
                maps=folder / names["maps"],
                per_slice=objects is not None and objects.request.per_slice,
                instances=instances,
            )
            if estimated is not None:
                write_estimate_tables(
                    folder / ESTIMATES, estimated.estimates, estimated.contradicted
                )
                write_grid(folder / CHECK, estimated.check)
            token.check()
            if run_dir is not None:
                RunFolder(run_dir).copy_to(
                    results.folder,
                    overwrite=bool(results.overwrite),
                    classes=classes if is_named_anew else None,
                )
    except Stopped:
        yield RunFinished(FinishReason.stopped, pace.done, pace.elapsed_s)
        return
    written = (*results.names, *((MODEL_WEIGHTS,) if run_dir is not None else ()))
    paths = {name: results.folder / name for name in written}
    outputs = {name: str(path) for name, path in paths.items() if path.exists()}
    yield RunFinished(FinishReason.completed, pace.done, pace.elapsed_s, outputs)


@named("loading of a model")
def load_run(
    run_dir: Path, *, image_identity: str = "", token: CancelToken
) -> Generator[Event, None, LoadedRun]:
    """Load the model of a run folder with its curves, what it learned from this image, and how.

    Of a folder with a model alone there is no more.
    """
    preload()
    from ..core.training import STATE_FILE, RunFolder, load_model

    began = time.monotonic()
    yield RunStarted("prediction", 1, "", ())
    model, run, learned = load_model(run_dir), RunFolder(run_dir), None
    cut_short, n_before = None, 0
    try:
        curves = _curves_of(run, model.n_steps)
        if run.inputs().image_identity == image_identity:
            learned, end = run.annotations(), run.end()
            if run.is_interrupted:
                cut_short, n_before = run.settings(), run.n_steps_before()
            elif (
                end is not None
                and end.reason is FinishReason.time_limit
                and (run_dir / STATE_FILE).is_file()
            ):
                cut_short, n_before = run.settings(), model.n_steps - end.done
    except InputError as error:
        logger.info("%s", error)
        curves = Curves()
    yield RunFinished(FinishReason.completed, 1, time.monotonic() - began)
    return LoadedRun(model, curves, learned, cut_short, n_before)


def _curves_of(run: RunFolder, n_steps: int) -> Curves:
    """Draw again what a run told, with what those told that it went on from and lie beside it."""
    from ..core.training import RunFolder

    def before(first: int) -> Curves:
        name = run.inputs().continues
        if name and first < n_steps:  # else a damaged file could name the run itself
            with contextlib.suppress(InputError):
                return _curves_of(RunFolder(run.path.parent / Path(name).name), first)
        return Curves()

    return Curves.of_events(
        run.events(RunStarted, Progress, Validated, RunFinished), n_steps, before
    )


@named("comparison of two runs")
def compare_runs(
    run_dirs: tuple[Path, Path],
    stack: Stack,
    slices: Sequence[int],
    cleaning: Cleaning,
    *,
    as_named: Callable[[Classes], Classes],
    device: str,
    token: CancelToken,
) -> Generator[Event | ComparedSlice, None, None]:
    """Yield the labels of two runs, slice by slice, and how far they agree.

    Classes have the names that ``as_named`` gives them: one may have got another between the runs.
    InputError if the runs are of other classes.
    """
    preload()
    from ..core.prediction import predict_slice
    from ..core.training import load_model

    models = [load_model(one) for one in run_dirs]
    classes, others = (as_named(one.classes) for one in models)
    if others != classes:
        raise InputError(
            f"The runs are of other classes ({', '.join(classes)}; {', '.join(others)}); compare "
            "runs of the same."
        )
    made_by = tuple(
        origin_of(
            run_dir,
            n_steps=model.n_steps,
            weights=model.weights_digest,
            **asdict(MapMaking(smooth_z=False)),
            **asdict(cleaning),
        )
        for run_dir, model in zip(run_dirs, models, strict=True)
    )
    pace = SlicePace(len(slices))
    yield RunStarted("prediction", len(slices), device, classes)
    with spare_core():
        for z in slices:
            try:
                first, second = (
                    cleaning.apply(predict_slice(one, stack, z, device=device, token=token))
                    for one in models
                )
            except Stopped:
                yield RunFinished(FinishReason.stopped, pace.done, pace.elapsed_s)
                return
            pace.done += 1
            yield ComparedSlice.of(z, first, second, classes, made_by)
            yield from pace.progress()
    yield RunFinished(FinishReason.completed, pace.done, pace.elapsed_s)


@contextlib.contextmanager
def spare_core() -> Iterator[None]:
    """Leave one processor core to the window while torch computes in this thread."""
    import torch

    # OpenMP's number of threads belongs to the thread that asks, hence not on the GUI thread
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, min(before, usable_cores() - 1)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            torch.cuda.empty_cache()


def preload() -> None:
    """Import what a run's display needs soon, where the window does not wait for it.

    To be called in a run's thread before its first event. What fails is tried again by whoever
    needs it, who can then say so.
    """
    # the curves; what napari's Labels constructor asks for; intervals of fractions
    for name in ("pyqtgraph", "skimage.color.colorconv", "scipy.ndimage", "scipy.stats"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
