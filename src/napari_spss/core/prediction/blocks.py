"""Prediction in blocks by several processes, on one or more machines, that goes on after a crash.

daisy hands out the blocks: its server runs in the process that was asked, its workers are processes
that this one starts, or that join from elsewhere. A block is a part of a slice that fills whole
shards of the OME-Zarr images, so nobody waits for anybody. What is done is marked beside them.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import shutil
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from ..analysis import (
    MapHistogram,
    entropy,
    entropy_sum,
    labels_from_probs,
    matched_threshold,
    mean_entropy,
    n_summed,
)
from ..annotations import Region
from ..base import (
    CancelToken,
    Event,
    FinishReason,
    InputError,
    Message,
    Predicted,
    Record,
    RunError,
    RunFinished,
    RunStarted,
    SlicePace,
    SpssError,
    Stopped,
    VoxelSize,
    read_record,
    write_atomically,
)
from ..images import (
    BLOCK_PX,
    GreyRange,
    Pyramid,
    StackLayout,
    image_paths,
    lost_contrast,
    open_stack,
)
from ..networks import default_tile_px, resolve_device
from ..training import Model, load_model
from .corrections import Corrected
from .engine import checked_slices, prediction_steps, stated_fraction
from .files import (
    Threshold,
    as_probs,
    matched_text,
    origin_of_files,
    prediction_results,
    quantised,
    result_layouts,
    result_names,
)
from .maps import Piece, SlicePredictor, padding_message
from .smoothing import is_smoothed

if TYPE_CHECKING:
    from ..images import Stack

_TASK = "prediction"
_JOB, _RECORD, _ADDRESS, _ERROR = ".job", "job.json", "address.json", "error.txt"
_DONE, _GREYS, _PADDED = "done", "greys", "{}.padded"
_SMOOTHED_SLICES = 8  # of a block, since those beside it are predicted as well
_ONLY_HERE = "127.0.0.1"
_LEAST_FREE = 2**20  # bytes of a disk that is not full


class _Job(Record):
    """What workers must know to compute the same."""

    run: str
    image: str
    axes: str | None
    voxel_size_um: VoxelSize | None
    image_identity: str
    weights: str
    threshold: Threshold
    uncertainty: bool
    flips: bool
    smooth_z: bool
    tile_px: int


def predict_in_blocks(
    run: str | Path,
    image: str | Path,
    *,
    out_dir: str | Path,
    n_workers: int = 1,
    devices: Sequence[str] = ("auto",),
    host: str | None = _ONLY_HERE,
    axes: str | None = None,
    voxel_size_um: VoxelSize | None = None,
    threshold: Threshold = None,
    uncertainty: bool = False,
    flips: bool = False,
    smooth_z: bool | None = None,
    overwrite: bool = False,
    show: Callable[[Event], object] = lambda event: None,
    token: CancelToken | None = None,
) -> dict[str, str]:
    """Predict a stack by several processes into OME-Zarr; after a crash the same call goes on.

    The result is that of :func:`napari_spss.iter_prediction`. Blocks that are done are not computed
    again. Needs the package daisy.

    Parameters
    ----------
    run : path
        Folder of a run.
    image : path
        The image, which all machines find there, as the run and ``out_dir``.
    out_dir, threshold, uncertainty, flips, smooth_z, overwrite
        As in :func:`napari_spss.iter_prediction`.
    n_workers : int
        Processes on this machine.
    devices : sequence of str
        What they compute on, in turn: ``("cuda:0", "cuda:1")`` for two GPUs.
    host : str or None
        Name by which other machines reach this one, for :func:`join_prediction`; None: what the
        system says. By default nobody else can join.
    axes, voxel_size_um
        As in :func:`napari_spss.open_stack`.
    show : callable
        Takes each event: RunStarted, Progress, Message, Predicted for every slice, RunFinished.
    token : CancelToken, optional
        Stops the run within a second or so, as Ctrl-C does, if this is the main thread.

    Returns
    -------
    dict of str to str
        Paths by what they hold, such as ``labels``; empty if it was stopped.

    Raises
    ------
    InputError
        As :func:`napari_spss.iter_prediction`, or if daisy is not installed.
    RunError
        If blocks cannot be computed; those that are done are kept.
    """
    daisy = _daisy()
    check_workers(n_workers, devices, host)
    model, stack = load_model(run), open_stack(image, axes=axes, voxel_size_um=voxel_size_um)
    chosen = checked_slices(model, stack, threshold, None)
    is_smooth, why = is_smoothed(model, stack, smooth_z)
    can_cut = getattr(model.network, "has_exact_radius", True)
    job = _Job(
        run=str(Path(run).resolve()),
        image=str(Path(image).resolve()),
        axes=axes,
        voxel_size_um=voxel_size_um,
        image_identity=stack.identity(),
        weights=model.weights_digest,
        threshold=threshold,
        uncertainty=uncertainty,
        flips=flips or uncertainty,
        smooth_z=is_smooth,
        tile_px=default_tile_px(resolve_device(devices[0])) if can_cut else 0,
    )
    names = result_names(is_set=stack.is_set, uncertainty=uncertainty, format="zarr")
    made_by = origin_of_files(
        model, stack, threshold=threshold, flips=job.flips, smooth_z=is_smooth
    )
    results = prediction_results(
        out_dir, names.values(), model=model, stack=stack, overwrite=overwrite, made_by=made_by
    )
    pace = SlicePace(stack.n_slices)
    key = f"{job.weights} {threshold} {uncertainty} {job.flips} {is_smooth} {axes}"
    outputs = {what: str(results.folder / name) for what, name in names.items()}
    done_as = f"in blocks {key} {tuple(model.classes)}"
    started = RunStarted("prediction", stack.n_slices, ", ".join(devices), model.classes)
    if results.are_done(done_as):  # whoever measures them was killed
        show(started)
        show(Message("info", "going on: all blocks are done."))
        for z, mean in _uncertainty_of(Path(outputs["maps"]), StackLayout.of(stack)).items():
            show(Predicted(z, None, mean))
        show(RunFinished(FinishReason.completed, stack.n_slices, pace.elapsed_s, outputs))
        return outputs
    try:
        with results.writing(resumes=key, done_as=done_as) as folder:
            place = folder / _JOB
            job = _begin(folder, job, model, stack, names)
            blocks = _blocks(model, stack, job)
            show(started)
            set_right = Corrected(model, stack, lambda *_: None).notes(chosen)
            for text in lost_contrast(stack, chosen[0]):
                show(Message("warning", text))
            for text in (*stack.notes, *why, *set_right):
                show(Message("info", text))
            for message in model.working_scale.notes(stack, chosen):
                show(message)
            if done := _n_done(place):
                show(Message("info", f"going on: {done} of {len(blocks)} blocks are done."))
            watch = _Watch(place, len(blocks), pace, show, token or CancelToken())
            _serve(daisy, folder, watch, n_workers, devices, host)
            for left in folder.rglob("*.partial"):  # zarr was writing it when a worker was killed
                left.unlink()
            shares = (place / _GREYS).glob(_PADDED.format("[0-9]*"))
            told = padding_message(model, {int(p.stem): float(p.read_bytes()) for p in shares})
            if told is not None:
                show(told)
            if threshold == "auto":
                made_by["threshold"], text = _match(folder, names, model, stack)
                show(Message("info", text))
            for z, mean in _mean_uncertainty(place, blocks, stack).items():
                show(Predicted(z, None, mean))
            (place / _RECORD).unlink()  # tells who joined that all is done
            shutil.rmtree(place)
    except Stopped:
        text = f"{_n_done(place)} of {len(blocks)} blocks are kept; the same command goes on."
        show(Message("info", text))
        show(RunFinished(FinishReason.stopped, pace.done, pace.elapsed_s))
        return {}
    show(RunFinished(FinishReason.completed, stack.n_slices, pace.elapsed_s, outputs))
    return outputs


def check_workers(
    n_workers: int = 1, devices: Sequence[str] = ("auto",), host: str | None = _ONLY_HERE
) -> None:
    """Raise InputError where no image can be predicted by such workers."""
    if n_workers < 1:
        raise InputError(f"{n_workers} workers compute nothing; give at least 1.", field="workers")
    if host is not None:
        try:
            socket.getaddrinfo(host, None)
        except (OSError, UnicodeError) as error:
            raise InputError(
                f"{host!r} is the name of no machine; give the name or address by which "
                "others reach this one.",
                field="host",
            ) from error
    for name in devices:
        resolve_device(name)


def join_prediction(out_dir: str | Path, *, device: str = "auto", wait_s: float = 60.0) -> int:
    """Compute blocks of a prediction that :func:`predict_in_blocks` has begun, until none is left.

    Of many images one after the other, until none follows.

    Parameters
    ----------
    out_dir : path
        That of the prediction, on a disk that both see.
    device : str
        See :func:`napari_spss.core.networks.resolve_device`.
    wait_s : float
        Seconds to wait for it to begin, and for the next of many images.

    Returns
    -------
    int
        Blocks that were computed here.

    Raises
    ------
    InputError
        If no prediction in blocks goes on there, or run or image are not those that it began with.
    RunError
        If the prediction has ended before all blocks were done.
    """
    daisy, folder, pattern = _daisy(), Path(out_dir).resolve(), f".{_TASK}.*.partial/{_JOB}"
    n_done, helped, fault = 0, set[Path](), None
    until = time.monotonic() + wait_s
    while True:
        for place in sorted({*folder.glob(pattern), *folder.glob(f"*/{pattern}")} - helped):
            client, is_alone = _client_of(daisy, place / _ADDRESS), place.parents[1] == folder
            if client is None:
                continue
            try:
                n_done += _help(daisy, client, place, device)
            except RunError as error:
                if is_alone:
                    raise
                fault = error  # it may be this image alone that ended
            else:
                if is_alone:
                    return n_done
                helped.add(place)
                fault = None
            until = time.monotonic() + wait_s
        if time.monotonic() > until:
            if fault is not None:
                raise fault
            if helped:
                return n_done
            raise InputError(
                f"no prediction in blocks goes on in {folder}; begin it by predict with --workers "
                "and --host, or name the folder of its --out."
            )
        time.sleep(0.5)


def _client_of(daisy: Any, address: Path) -> Any:
    """Connect to the server at an address; None if it does not answer, as one that was killed."""
    try:
        client = daisy.Client(daisy.Context(**json.loads(address.read_text("utf-8"))))
    except (OSError, RuntimeError, ValueError):
        return None
    return client if client.connected else None


def _help(daisy: Any, client: Any, place: Path, device: str) -> int:
    """Compute blocks until none is left; say how many, or raise that the server ended before."""
    fault = None
    try:
        worker = _Worker(place.parent, device)
    except InputError:
        if (place / _RECORD).exists():
            raise
        return 0  # others have done all meanwhile
    while True:
        try:
            _work(client, worker)
        except RuntimeError as error:
            fault = error
        if _n_done(place) == worker.n_blocks or not (place / _RECORD).exists():
            return worker.n_done
        client = _client_of(daisy, place / _ADDRESS)
        if client is None:
            raise RunError(
                "the prediction has ended before all blocks were done. Those that are done are "
                f"kept, {worker.n_done} of them computed here; begin it again by the same command, "
                "and join."
            ) from fault
        if fault is not None:
            raise fault
        time.sleep(0.5)  # others compute the last ones, and may yet give them back


def _daisy() -> Any:
    try:
        import daisy.v2 as daisy
    except ImportError as error:
        raise InputError(
            "prediction in blocks needs the package daisy, which is not installed; run "
            'python -m pip install "napari-spss[workers]".',
            field="workers",
        ) from error
    logging.getLogger("daisy").addHandler(logging.NullHandler())
    return daisy


def _begin(folder: Path, job: _Job, model: Model, stack: Stack, names: dict[str, str]) -> _Job:
    """Make the images, empty, and then the record, by which they are known to be complete.

    If they are there already, only places may have changed.
    """
    record = folder / _JOB / _RECORD
    if record.is_file():
        begun = read_record(_Job, record, remedy=f"remove {folder}")
        job = job.model_copy(update={"tile_px": begun.tile_px})
        write_atomically(record, job.model_dump_json())
        return job
    layouts = result_layouts(StackLayout.of(stack), model.classes)
    for what, name in names.items():
        shutil.rmtree(folder / name, ignore_errors=True)
        for path, slices in image_paths(folder / name, layouts[what]):
            Pyramid.create(path, layouts[what], slices)
    for part in (_DONE, _GREYS):
        (folder / _JOB / part).mkdir(parents=True, exist_ok=True)
    write_atomically(record, job.model_dump_json())
    return job


def _n_done(place: Path) -> int:
    return sum(1 for _ in (place / _DONE).glob("[0-9]*"))


class _Watch:
    """What daisy tells twice a second; ends the run if it was stopped, or a worker cannot work."""

    def __init__(
        self,
        place: Path,
        n_blocks: int,
        pace: SlicePace,
        show: Callable[[Event], object],
        token: CancelToken,
    ) -> None:
        self.n_blocks = n_blocks
        self._error = place / _ERROR
        self._pace, self._show, self._token = pace, show, token

    def on_start(self, states: Any) -> None:
        """Take the beginning, of which nothing is told."""

    def on_finish(self, states: Any) -> None:
        """Take the end, of which nothing is told."""

    def on_progress(self, states: Any) -> None:
        """Tell how much is done."""
        share = states[_TASK].completed_count * self._pace.total / self.n_blocks
        self._pace.done = int(share)
        for event in self._pace.progress(share - self._pace.done):
            self._show(event)
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and (self._token.is_cancelled or self._error.exists()):
            self._token.cancel()
            signal.raise_signal(signal.SIGINT)  # daisy's only way to end early


def _serve(
    daisy: Any,
    folder: Path,
    watch: _Watch,
    n_workers: int,
    devices: Sequence[str],
    host: str | None,
) -> None:
    """Hand out blocks until all are done."""
    from daisy import logging as worker_logs

    place = folder / _JOB
    for name in (_ADDRESS, _ERROR):
        (place / name).unlink(missing_ok=True)
    n_threads = max(1, torch.get_num_threads() // n_workers)
    devices = tuple(devices)

    def work(*, context: Any) -> None:  # in a process of its own
        fields = {**dict(context.items()), "worker_id": "-1"}
        write_atomically(place / _ADDRESS, json.dumps(fields))
        torch.set_num_threads(n_threads)
        device = devices[int(context["worker_id"]) % len(devices)]
        try:
            _work(daisy.Client(context), _Worker(folder, device))
        except SpssError as error:  # another worker could not either
            write_atomically(place / _ERROR, str(error))
            raise

    set_folder: Any = worker_logs.set_log_basedir
    set_folder((place / "logs").resolve())  # helpers may work in another folder
    task = daisy.Task(
        _TASK,
        total_roi=daisy.Roi((0,), (watch.n_blocks,)),
        read_roi=daisy.Roi((0,), (1,)),
        write_roi=daisy.Roi((0,), (1,)),
        process_function=work,
        read_write_conflict=False,
        max_workers=n_workers,
        timeout=None,
    )
    try:
        state = daisy.run_blockwise(
            task, progress=watch, summary=False, host=host, return_states=True
        )[_TASK]
        is_complete, fault = state.completed_count == watch.n_blocks, state.first_worker_error
    except RuntimeError:
        is_complete, fault = False, None
    except KeyboardInterrupt:
        if not (place / _ERROR).exists():
            raise Stopped from None
        is_complete = False
        fault = (place / _ERROR).read_text("utf-8")
    if not is_complete:
        if not fault and shutil.disk_usage(place).free < _LEAST_FREE:
            fault = "the disk is full; free some space."
        reason = (fault or "workers ended again and again.").strip().splitlines()[-1]
        raise RunError(
            f"blocks could not be predicted: {reason} Those that are done are kept, and the same "
            f"command goes on; what workers said is in {place / 'logs'}."
        )


def _work(client: Any, worker: _Worker) -> None:
    """Compute blocks until none is left."""
    while True:
        with client.acquire_block() as block:
            if block is None:
                return
            worker.compute(int(block.write_roi.begin[0]))


class _Worker:
    """Computes blocks, by what the job says."""

    def __init__(self, folder: Path, device: str) -> None:
        job = read_record(_Job, folder / _JOB / _RECORD, remedy="begin the prediction again")
        model = load_model(job.run)
        self._stack = open_stack(job.image, axes=job.axes, voxel_size_um=job.voxel_size_um)
        if model.weights_digest != job.weights or self._stack.identity() != job.image_identity:
            raise InputError(
                f"{job.run} or {job.image} has changed since the prediction was begun; begin it "
                "again in another folder."
            )
        self._job, self._place = job, folder / _JOB
        self._model = model
        self._blocks = _blocks(model, self._stack, job)
        self.n_blocks, self.n_done = len(self._blocks), 0
        self._predictor = SlicePredictor(model, device, tile_px=None, flips=job.flips)
        layout = StackLayout.of(self._stack)
        names = result_names(is_set=layout.is_set, uncertainty=job.uncertainty, format="zarr")
        self._images = {
            what: [Pyramid(path) for path, _ in image_paths(folder / name, layout)]
            for what, name in names.items()
        }

    def compute(self, index: int) -> None:
        """Compute a block, unless it is done."""
        mark = self._place / _DONE / str(index)
        if mark.exists():
            return
        regions = self._blocks[index]
        y0, x0, y1, x1 = self._stack.box_of(regions[0].slice, regions[0].box)
        probs = np.empty((len(self._model.classes), y1 - y0, x1 - x0), np.float32)
        means: list[float] = []

        def keep(region: Region, rows: tuple[int, int], found: npt.NDArray[np.float32]) -> None:
            probs[:, rows[0] - y0 : rows[1] - y0] = found
            if rows[1] == y1:
                self._write(region.slice, (y0, x0), probs)
                means.append(mean_entropy(probs))

        sink = Corrected(self._model, self._stack, keep)
        steps = deque(prediction_steps([regions], self._stack, sink, is_smooth=self._job.smooth_z))
        greys, padded = None if regions[0].box is None else self._greys, dict[int, float]()
        places = [step[0] for step in steps]
        with closing(
            self._predictor.pieces(self._stack, places, greys=greys, padded=padded)
        ) as items:
            for item in items:
                if isinstance(item, Piece):
                    region, take = steps[0]
                    take(region, item.rows, item.probs)
                    if item.is_last:
                        steps.popleft()
        for z, share in padded.items():
            self._note_padding(z, share)
        write_atomically(mark, json.dumps(means))
        self.n_done += 1

    def _write(self, z: int, corner: tuple[int, int], probs: npt.NDArray[np.float32]) -> None:
        self._put("maps", z, corner, quantised(probs))
        if self._job.threshold != "auto":
            self._put("labels", z, corner, labels_from_probs(probs, self._job.threshold))
        if self._job.uncertainty:
            self._put("uncertainty", z, corner, quantised(entropy(probs)))

    def _put(self, what: str, z: int, corner: tuple[int, int], pixels: Any) -> None:
        images = self._images[what]
        image, place = (images[z], 0) if self._stack.is_set else (images[0], z)
        image.put(place, corner, pixels)

    def _note_padding(self, z: int, share: float) -> None:
        write_atomically(self._place / _GREYS / _PADDED.format(z), str(share))

    def _greys(self, z: int) -> GreyRange:
        """Grey values of a whole slice, which the first who needs them works out."""
        path = self._place / _GREYS / f"{z}.npy"
        if not path.exists():
            greys = self._predictor.greys(self._stack, z)
            self._note_padding(z, greys.padded)
            temporary = path.with_name(f".{z}.{os.getpid()}.npy")
            np.save(temporary, greys.range)
            temporary.replace(path)
        known: GreyRange = np.load(path)
        return known


def _blocks(model: Model, stack: Stack, job: _Job) -> list[list[Region]]:
    """Cut the stack: a block is a part of a slice, or of several that are smoothed together.

    First parts of all slices come first, so that each slice is measured by one worker. A block
    holds at least a tile of working pixels, since its halo is computed twice; where ``tile_px`` is
    0 slices stay whole.
    """
    depth = _SMOOTHED_SLICES if job.smooth_z else 1
    found = []
    for first in range(0, stack.n_slices, depth):
        height, width = stack.shape_of(first)
        reduction = model.working_scale.of_slice(stack, first)
        edge = BLOCK_PX * -(-job.tile_px * reduction // BLOCK_PX) or max(height, width)
        corners = list(itertools.product(range(0, height, edge), range(0, width, edge)))
        for number, (y, x) in enumerate(corners):
            box = (y, x, min(height, y + edge), min(width, x + edge))
            slices = range(first, min(first + depth, stack.n_slices))
            block = [Region(z, box if len(corners) > 1 else None) for z in slices]
            found.append((number, block))
    return [block for _, block in sorted(found, key=lambda one: one[0])]


def _match(folder: Path, names: dict[str, str], model: Model, stack: Stack) -> tuple[float, str]:
    """Write the labels at the threshold that gives the stated fraction; say which it is."""
    layout, histogram = StackLayout.of(stack), MapHistogram()
    maps, labels = (
        [Pyramid(path) for path, _ in image_paths(folder / names[what], layout)]
        for what in ("maps", "labels")
    )
    rows = [
        (i, z, part) for slice_ in range(layout.n_slices) for i, z, part in _strips(layout, slice_)
    ]
    for i, z, part in rows:
        histogram.add(as_probs(maps[i].read(z, part)[1]))
    fraction = stated_fraction(model)
    threshold = matched_threshold(histogram, fraction)
    for i, z, part in rows:
        found = (as_probs(maps[i].read(z, part)[1]) >= threshold).astype(np.uint8)
        labels[i].put(z, (part.start, 0), found)
    return threshold, matched_text(threshold, model.classes, fraction)


def _strips(layout: StackLayout, slice_: int) -> Iterator[tuple[int, int, slice]]:
    """Rows of a slice: in which image, as which slice of it, and which."""
    height, _ = layout.shapes[slice_]
    i, z = (slice_, 0) if layout.is_set else (0, slice_)
    for y in range(0, height, BLOCK_PX):
        yield i, z, slice(y, min(height, y + BLOCK_PX))


def _uncertainty_of(maps: Path, layout: StackLayout) -> dict[int, float]:
    """Mean of every slice, from the written maps."""
    images = [Pyramid(path) for path, _ in image_paths(maps, layout)]
    return {
        slice_: sum(
            entropy_sum(as_probs(images[i].read(z, part)), part.start)
            for i, z, part in _strips(layout, slice_)
        )
        / n_summed(*shape)
        for slice_, shape in enumerate(layout.shapes)
    }


def _mean_uncertainty(
    place: Path, blocks: Sequence[Sequence[Region]], stack: Stack
) -> dict[int, float]:
    """Mean of every slice, over the pixels of its blocks."""
    total = dict.fromkeys(range(stack.n_slices), 0.0)
    for index, regions in enumerate(blocks):
        means = json.loads((place / _DONE / str(index)).read_text("utf-8"))
        for region, mean in zip(regions, means, strict=True):
            height, width = stack.shape_of(region.slice)
            y0, x0, y1, x1 = stack.box_of(region.slice, region.box)
            total[region.slice] += mean * n_summed(y1 - y0, x1 - x0) / n_summed(height, width)
    return total
