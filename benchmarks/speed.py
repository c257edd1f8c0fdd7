"""Ratios of speed and memory, measured in one run: each thing beside what it cannot do without.

    xvfb-run -a python benchmarks/speed.py --out benchmarks/results/speed
    python benchmarks/speed.py --device cuda --only training prediction

Absolute numbers depend on the machine; the ratios are what to compare. Times are medians of several
rounds, in which the things compared take turns. Memory is the most that a process of its own held.
The record of a commit and device is one file, and the documentation shows them side by side.
``--quick`` measures all of it on images and with a network too small to mean anything, to see that
it still runs.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import itertools
import json
import os
import platform
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import records
import tifffile
import torch

from napari_spss.core.analysis import estimate_fractions
from napari_spss.core.annotations import (
    Annotations,
    CountingGrid,
    Proportion,
    Region,
    lay_frames,
    lay_grid,
)
from napari_spss.core.base import Event, Progress, TrainingSettings, preset, scratch_zeros
from napari_spss.core.images import Stack, open_labels, open_stack, stack_from_array
from napari_spss.core.networks import build_network, has_fast_bfloat16, resolve_device
from napari_spss.core.prediction import iter_prediction, result_names, write_fractions
from napari_spss.core.simulation import synthetic_mitochondria
from napari_spss.core.training import Model, fit, iter_training, load_model

NAMES = ("background", "mitochondria")
DIAMETERS_PX = {1: 20, 3: 80}
"""Width of the object by the scale at which it is predicted."""
IMAGE = "image.npy"
WORK = ("predict", "measure", "estimate")


class Row(NamedTuple):
    """Something, what it is measured beside, and by which factor it may take more."""

    what: str
    value: float
    beside: str
    other: float
    unit: str
    at_most: float | None = None

    @property
    def ratio(self) -> float:
        """How many times as much it takes."""
        return self.value / self.other


class Scale(NamedTuple):
    """How much is measured."""

    device: str
    is_quick: bool

    def of(self, quick: int, full: int) -> int:
        """Choose a size."""
        return quick if self.is_quick else full

    @property
    def rounds(self) -> int:
        """Of each comparison."""
        return self.of(1, 5)

    def settings(self, **overrides: Any) -> TrainingSettings:
        """Preset fast; quickly with a small network on small windows."""
        small = {"network.filters": 4, "sampling.crop_px": 64} if self.is_quick else {}
        return preset("fast").with_overrides(small | overrides)


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Time one call, to the end of what it gave a GPU to do."""
    start = clock()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - start


def in_turns(rounds: int, *works: Callable[[], object]) -> tuple[list[float], list[float]]:
    """Median seconds of each, and of the processor; the first of several rounds does not count."""
    times = [[_both_seconds(work) for work in works] for _ in range(rounds + (rounds > 1))]
    wall, processor = np.median(times[rounds > 1 :], axis=0).T.tolist()
    return wall, processor


def _both_seconds(work: Callable[[], object]) -> tuple[float, float]:
    start = time.process_time()
    return seconds(work), time.process_time() - start


def start_up(scale: Scale) -> Iterator[Row]:
    """Interpreters that import something and leave."""
    programs = ("napari_spss", "napari_spss.core.training.loop", "torch")
    (light, loop, torch_), _ = in_turns(
        scale.rounds,
        *[
            lambda name=name: subprocess.run([sys.executable, "-c", f"import {name}"], check=True)
            for name in programs
        ],
    )
    yield Row("import napari_spss", light, "import torch", torch_, "s")
    yield Row("import of all that trains", loop, "import torch", torch_, "s")


def example(size: int, n_slices: int = 4, n_classes: int = 2) -> tuple[np.ndarray, Annotations]:
    """Noise with grids and fractions: for timing, what is learned does not matter."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (n_slices, size, size), dtype=np.uint8)
    fractions = (1 - 0.05 * (n_classes - 1), *[0.05] * (n_classes - 1))
    proportions = tuple(Proportion(Region(z), fractions) for z in range(n_slices))
    grids = counted(size, -(-n_slices // 2), n_classes)
    names = (*NAMES, *[f"class {c}" for c in range(2, n_classes)])
    return image, Annotations(names, proportions=proportions, grids=grids)


def counted(size: int, n_grids: int = 2, n_classes: int = 2) -> tuple[CountingGrid, ...]:
    """Grids on first slices, whose nodes are judged at random."""
    rng, grids = np.random.default_rng(0), []
    for z in range(n_grids):
        grid = lay_grid(z, (size, size), rng=rng)
        hits = (rng.random(grid.n_nodes) * 20).astype(np.int16) + 1  # a twentieth each
        classes = np.where(hits < n_classes, hits, 0).astype(np.int16)
        grids.append(grid.replace(class_index=classes, is_done=True))
    return tuple(grids)


def example_model(scale: Scale, reduction: int, run_dir: Path | None = None) -> Model:
    """A model after one step."""
    image, annotations = example(256)
    diameter = {"image.object_diameter_px": DIAMETERS_PX[reduction]}
    settings = scale.settings(**{"optimisation.max_steps": 1}, **diameter)
    return fit(stack_from_array(image), annotations, settings, run_dir=run_dir, device="cpu")


def training(scale: Scale) -> Iterator[Row]:
    """First steps of preset fast with its teacher, beside those of its network alone."""
    settings = scale.settings(**{"self_training.start": 0, "self_training.ramp": 0})
    crop, size, device = (
        settings.sampling.crop_px,
        settings.sampling.batch_size,
        resolve_device(scale.device),
    )
    images = torch.randn(size, 1, crop, crop, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    cases = [(2, 1, 480, 1.15), (8, 1, 480, 1.3)]
    cases += [] if scale.is_quick else [(2, 20, 1024, 1.15), (2, 200, 1024, 1.15)]
    for n_classes, n_slices, edge, at_most in cases:
        image, annotations = example(edge, n_slices, n_classes)
        network = build_network(
            settings.network.name,
            in_channels=1,
            out_channels=1 if n_classes == 2 else n_classes,
            filters=settings.network.filters,
        ).to(device=device, memory_format=torch.channels_last)
        optimiser = torch.optim.AdamW(network.parameters())

        def bare(
            network: torch.nn.Module = network, optimiser: torch.optim.Optimizer = optimiser
        ) -> None:
            optimiser.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=has_fast_bfloat16(device)):
                logits = network(images)
            logits.float().square().mean().backward()
            optimiser.step()

        # a second passes whenever it looks at this clock, so that it tells of each step
        run = iter_training(
            stack_from_array(image),
            annotations,
            settings,
            device=scale.device,
            clock=itertools.count().__next__,
        )

        def step(run: Iterator[Event] = run) -> None:
            next(event for event in run if isinstance(event, Progress))

        step(), bare()  # data are read, and memory is asked for
        # of the processor: other programs take it in turns with them
        clock = time.process_time if device.type == "cpu" else time.perf_counter
        pairs = [(seconds(step, clock), seconds(bare, clock)) for _ in range(scale.of(1, 60))]
        whole, alone = (statistics.mean(one) for one in zip(*pairs, strict=True))
        name = f"step, {n_classes} classes, {n_slices} x {edge} px"
        yield Row(name, whole, "network and optimiser", alone, "s", at_most)


def learned(scale: Scale, reduction: int, run_dir: Path | None = None) -> tuple[Model, np.ndarray]:
    """A model after 200 steps, whose maps are as easily handled as a user's, and its image."""
    image, labels = (
        one.repeat(reduction, axis=1).repeat(reduction, axis=2)
        for one in synthetic_mitochondria(2, (scale.of(128, 512), scale.of(128, 512)))
    )
    rng, grids = np.random.default_rng(0), []
    for z, truth in enumerate(labels):
        grid = lay_grid(z, truth.shape, rng=rng)
        hits = truth[grid.y.astype(int), grid.x.astype(int)].astype(np.int16)
        grids.append(grid.replace(class_index=hits, is_done=True))
    settings = scale.settings(**{
        "image.object_diameter_px": DIAMETERS_PX[reduction],
        "optimisation.max_steps": scale.of(1, 200),
    })  # fmt: skip
    annotations = Annotations(NAMES, grids=tuple(grids))
    stack = stack_from_array(image)
    return fit(stack, annotations, settings, run_dir=run_dir, device=scale.device), image


def prediction(scale: Scale) -> Iterator[Row]:
    """Slices to files of maps and labels, beside the forward passes of their tiles alone."""
    n_slices, size = scale.of(1, 6), scale.of(256, 2048)
    for reduction in DIAMETERS_PX:
        # so many that the start takes about as small a share at each scale
        (model, image), seen = learned(scale, reduction), []
        stack = stack_from_array(Repeated(image, reduction * n_slices, size))
        # the predictor copies the network with this: it tells the copy, and each tile
        hook = model.network.register_forward_pre_hook(
            lambda network, tiles, seen=seen: seen.append((network, tiles[0]))
        )

        def predict(format_: str = "tif", model: Model = model, stack: Stack = stack) -> None:
            options = {"format": format_, "smooth_z": False, "device": scale.device}
            with tempfile.TemporaryDirectory() as folder:
                list(iter_prediction(model, stack, out_dir=folder, **options))

        predict()
        hook.remove()
        tiles = [(network.forward, tile) for network, tile in seen]

        def bare(tiles: list[Any] = tiles) -> None:
            with torch.inference_mode():
                for forward, tile in tiles:
                    forward(tile)

        def rounded(bare: Callable[[], None] = bare, kind: str = tiles[0][1].device.type) -> None:
            with torch.autocast(kind, torch.bfloat16):
                bare()

        works = predict, bare, rounded, partial(predict, "zarr")
        (whole, alone, low, zarr), processor = in_turns(scale.rounds, *works)
        at = f"scale 1/{reduction}"
        for name, value in (("maps and labels", whole), ("the same as OME-Zarr", zarr)):
            yield Row(f"{name}, {at}", value, "forwards of their tiles", alone, "s", 1 / 0.9)
        if scale.device == "cpu":
            name = f"processor time of maps and labels, {at}"
            yield Row(name, processor[0], "forwards of their tiles", processor[1], "s")
        yield Row(f"such forwards in bfloat16, {at}", low, "in float32, as they are", alone, "s")


def blocks(scale: Scale) -> Iterator[Row]:
    """Processes that share a stack beside one, and a job that is killed halfway beside another."""
    if importlib.util.find_spec("daisy") is None or not hasattr(os, "killpg"):
        print("no daisy or no Unix: prediction in blocks is left out", file=sys.stderr)
        return
    n_slices, size = scale.of(2, 24), scale.of(128, 2048)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        example_model(scale, 3, place / "run")
        write_noise(place / "stack.tif", n_slices, size)

        def start(name: str, *options: str) -> subprocess.Popen[bytes]:
            command = [
                sys.executable,
                "-W",
                "ignore",
                "-m",
                "napari_spss",
                "predict",
                place / "run",
            ]
            command += [place / "stack.tif", "--out", place / name, "--format", "zarr", *options]
            settings = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
            with (place / "said.txt").open("wb") as said:
                return subprocess.Popen(
                    command, stdout=said, stderr=said, env=settings, start_new_session=True
                )

        def predict(name: str, *options: str) -> None:
            if start(name, *options).wait():
                raise SystemExit((place / "said.txt").read_text())

        def kill(name: str, *options: str) -> None:
            with start(name, *options) as process:
                while process.poll() is None:
                    if len(list((place / name).glob(".*.partial/.job/done/*"))) >= n_slices // 2:
                        os.killpg(process.pid, signal.SIGKILL)
                    time.sleep(0.02)

        alone, name = seconds(lambda: predict("alone")), f"{n_slices} slices of {size} px"
        for n in (1, 2)[scale.is_quick :]:
            options = "--workers", str(n)
            whole = seconds(lambda options=options: predict(options[1], *options))
            yield Row(f"predict --workers {n}, {name}", whole, "without workers", alone, "s")
        in_two = sum(seconds(lambda run=run: run("killed", *options)) for run in (kill, predict))
        yield Row("the last one killed halfway, and resumed", in_two, "not killed", whole, "s")


class Repeated:
    """Slices (z, y, x) side by side, a stack that is made as it is read."""

    dtype = np.dtype(np.uint8)

    def __init__(self, slices: np.ndarray, n_slices: int, size: int) -> None:
        self.shape = (n_slices, size, size)
        self._slices = slices

    def __getitem__(self, index: tuple[int | slice, ...]) -> np.ndarray:
        z, *box = index
        y, x = (np.arange(self.shape[1])[part] for part in box or (slice(None), slice(None)))
        one = self._slices[z % len(self._slices)]
        first, width = x[0] % one.shape[1], one.shape[1]
        rows = np.tile(one[(y + 17 * z) % len(one)], (1, (first + len(x)) // width + 1))
        return rows[:, first : first + len(x)]


class Noise(Repeated):
    """A stack of noise."""

    def __init__(self, n_slices: int, size: int) -> None:
        noise = np.random.default_rng(0).integers(0, 255, (1, 1024, 1024), np.uint8)
        super().__init__(noise, n_slices, size)


def peak_mb() -> float:
    """Most memory that this process held so far."""
    status = Path("/proc/self/status")
    if status.exists():  # of a child, Linux's getrusage counts what its parent held, too
        (most,) = [one for one in status.read_text().splitlines() if one.startswith("VmHWM:")]
        return int(most.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def work_on(
    what: str, run: str, out: str, n_slices: int, size: int, n_used: int, format_: str
) -> None:
    """Predict slices, or measure or estimate those that were predicted; print the most memory."""
    names = {kind: Path(out) / name for kind, name in result_names(format=format_).items()}
    model, grids = load_model(run), tuple(one for one in counted(size) if one.slice < n_used)
    if what == "predict":
        stack = stack_from_array(Noise(n_slices, size))
        options = {"format": format_, "slices": range(n_used), "device": "cpu"}
        list(iter_prediction(model, stack, out_dir=out, smooth_z=False, **options))
    elif what == "measure":
        stack = stack_from_array(Noise(n_used, size))
        write_fractions(Path(out), names["labels"], stack, model.classes, maps=names["maps"])
    else:
        estimate_fractions(open_labels(names["labels"]), Annotations(NAMES, grids=grids))
    print(json.dumps({"mb": peak_mb()}))


def write_noise(path: Path, n_slices: int, size: int) -> None:
    """Write slices of noise, some rows at a time."""
    shape = n_slices, size, size
    pixels = tifffile.memmap(path, shape=shape, dtype=np.uint8, photometric="minisblack")
    rng = np.random.default_rng(0)
    for z, y in itertools.product(range(n_slices), range(0, size, 256)):
        pixels[z, y : y + 256] = rng.integers(0, 255, pixels[z, y : y + 256].shape, np.uint8)
    pixels.flush()


def train_on(path: str, n_steps: int, is_quick: bool) -> None:
    """Train on 16 frames of a slice of which nothing else is said; print the most memory."""
    stack, rng = open_stack(path), np.random.default_rng(0)
    shape, nodes = (stack.n_slices, *stack.shape_of(0)), 8
    frames = tuple(
        frame.replace(class_index=(rng.random(frame.y.size) < 0.1).astype(np.int16), is_done=True)
        for frame in lay_frames(shape, 16, min(256, shape[1] // 4), nodes, rng=rng)
    )
    settings = Scale("cpu", is_quick).settings(**{"optimisation.max_steps": n_steps})
    fit(stack, Annotations(NAMES, grids=frames), settings, device="cpu")
    print(json.dumps({"mb": peak_mb()}))


def apply_in_dock(run: str, n_slices: int, size: int, rounds: int) -> None:
    """Apply a model to a stack in the dock and outside of it; print seconds and memory.

    In no rounds there are the image and labels of it alone.
    """
    import napari
    from gui_stalls import spin, spin_until

    os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp()
    image = np.load(Path(run) / IMAGE)
    pixels = np.broadcast_to(Repeated(image, 1, size)[0, :, :], (n_slices, size, size))
    viewer = napari.Viewer(show=True)
    viewer.add_image(pixels, name="em", contrast_limits=(0, 255))
    if not rounds:
        viewer.add_labels(scratch_zeros(pixels.shape, np.uint8))
        spin(1.0)
        print(json.dumps({"mb": peak_mb()}))
        viewer.close()
        return
    from napari_spss.gui.dock import SpssDock

    dock = SpssDock(viewer, is_probing=False)
    viewer.window.add_dock_widget(dock, name="Semantic Proportions")
    spin(1.0)
    dock.trainings.load(run)
    spin_until(lambda: not dock.session.status.is_busy, 600)
    model = dock.session.model
    stack, peaks = stack_from_array(pixels), []

    def in_dock() -> None:
        dock.controller.outcome.clear()
        if not dock.controller.apply("stack"):
            raise SystemExit(dock.bar.text())
        outcome = dock.controller.outcome
        spin_until(lambda: not dock.session.status.is_busy and outcome.is_up_to_date, 3600)
        peaks.append(peak_mb())  # outside of the dock it takes some more

    def outside() -> None:
        with tempfile.TemporaryDirectory() as folder:
            list(iter_prediction(model, stack, out_dir=folder, device="cpu"))

    (dock_s, outside_s), processor = in_turns(rounds, in_dock, outside)
    dock.shut_down()
    viewer.close()
    told = {"dock": dock_s, "outside": outside_s, "mb": peaks[0]}
    print(json.dumps(told | {"dock's": processor[0], "outside's": processor[1]}))


def apart(function: Callable[..., None], *arguments: object) -> dict[str, float]:
    """Call one of the functions above in a process of its own; return what it prints."""
    command = [sys.executable, "-W", "ignore", __file__, "--apart", function.__name__]
    said = subprocess.run(
        [*command, json.dumps(arguments)], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    found: dict[str, float] = json.loads(said.splitlines()[-1])
    return found


def memory(scale: Scale) -> Iterator[Row]:
    """Many slices beside few, a large slice beside a small one, and a volume of 20 GB."""
    few, many = scale.of(1, 10), scale.of(2, 300)
    small, large = scale.of(128, 1024), scale.of(256, 16384)
    with tempfile.TemporaryDirectory() as folder:
        example_model(scale, 3, Path(folder))

        def peaks(
            n_slices: int, size: int, format_: str, n_used: int, works: Sequence[str] = WORK
        ) -> dict[str, float]:
            with tempfile.TemporaryDirectory() as out:
                how = folder, out, n_slices, size, n_used, format_
                return {what: apart(work_on, what, *how)["mb"] for what in works}

        for format_ in ("tif", "zarr")[: scale.of(1, 2)]:
            base = grown = peaks(few, small, format_, few)
            for beside, name, n_slices, size in (
                (f"{few} slices", f"{many} slices of {small} px", many, small),
                (f"slices of {small} px", f"a slice of {large} px", 1, large),
            ):
                if not scale.is_quick:
                    grown = peaks(n_slices, size, format_, n_slices)
                for what in WORK:
                    row = f"{what}, {name}, {format_}", grown[what], beside, base[what]
                    yield Row(*row, "MB", 1.15)
        for size in (small, large):
            base, path = grown, str(Path(folder) / "slice.tif")
            write_noise(Path(path), 1, size)
            grown = apart(train_on, path, scale.of(1, 20), scale.is_quick)
        name = f"train, frames of a slice of {large} px"
        yield Row(name, grown["mb"], f"of one of {small} px", base["mb"], "MB", 1.15)
        n_slices = scale.of(2, -(-20 * 10**9 // large**2))
        grown = peaks(n_slices, large, "zarr", scale.of(1, 3), ["predict"])
        gigabytes = n_slices * large**2 / 1e9
        name = f"predict, 3 slices of a volume of {gigabytes:.0f} GB, zarr"
        yield Row(name, grown["predict"], "4 GB", 4000.0, "MB", 1.0)


def apply(scale: Scale) -> Iterator[Row]:
    """Apply in the dock beside the same outside of it; needs a screen, such as xvfb's."""
    has_screen = os.environ.get("DISPLAY") or sys.platform in ("win32", "darwin")
    if not has_screen or importlib.util.find_spec("napari") is None:
        print("no napari or no screen: Apply in the dock is left out", file=sys.stderr)
        return
    few, many, size = scale.of(1, 10), scale.of(2, 300), scale.of(128, 1024)
    with tempfile.TemporaryDirectory() as folder:
        _, image = learned(scale, 3, Path(folder))
        np.save(Path(folder) / IMAGE, image)
        # so many that layers, and the wait for the last labels, are as small a share as in use
        timed = apart(apply_in_dock, folder, scale.of(1, 120), size, scale.of(1, 3))
        base = grown = timed
        if not scale.is_quick:
            base, grown = (apart(apply_in_dock, folder, n, size, 1) for n in (few, many))
        large = scale.of(256, 16384)
        alone, applied = (apart(apply_in_dock, folder, 1, large, rounds) for rounds in (0, 1))
    yield Row("Apply in the dock", timed["dock"], "as predict does it", timed["outside"], "s", 1.1)
    name = "processor time of Apply in the dock"
    yield Row(name, timed["dock's"], "as predict does it", timed["outside's"], "s", 1.1)
    name = f"Apply in the dock, {many} slices of {size} px"
    yield Row(name, grown["mb"], f"{few} slices", base["mb"], "MB", 1.15)
    name = f"Apply in the dock, a slice of {large} px"
    yield Row(name, applied["mb"], "napari with such labels", alone["mb"], "MB", 1.15)


MEASURES = {one.__name__: one for one in (start_up, training, prediction, blocks, apply, memory)}
APART = {one.__name__: one for one in (work_on, train_on, apply_in_dock)}


def line(row: Row) -> str:
    """Print a row so."""
    wanted = "" if row.at_most is None else f"   at most {row.at_most:.2f}"
    return (
        f"{row.what:46} {row.value:9.3f} {row.unit:2}   {row.beside:24} {row.other:9.3f} "
        f"{row.unit:2}   ratio {row.ratio:5.2f}{wanted}"
    )


def render(folder: Path, newest: int = 0) -> str:
    """Markdown of the newest records in a folder, all if 0: a table a device, a column a commit."""
    found = [records.read(path) for path in sorted(folder.glob("*.json"))]
    found.sort(key=lambda one: one["date"])
    parts = []
    for device in dict.fromkeys(one["device"] for one in found):
        columns = [one for one in found if one["device"] == device][-newest:]
        latest: dict[tuple[str, str], float | None] = {}
        values: dict[tuple[str, str, int], str] = {}
        for index, record in enumerate(columns):
            for row in (Row(*row) for row in record["rows"]):
                latest[row.what, row.beside] = row.at_most
                values[row.what, row.beside, index] = f"{row.ratio:.2f}"
        heads = [f"{one['commit']}, {one['date']}" for one in columns]
        lines = [f"| {device} | beside | at most | {' | '.join(heads)} |"]
        lines.append("|---" * (3 + len(columns)) + "|")
        for (what, beside), at_most in latest.items():
            wanted = "" if at_most is None else f"{at_most:.2f}"
            cells = [values.get((what, beside, i), "") for i in range(len(columns))]
            lines.append(f"| {what} | {beside} | {wanted} | {' | '.join(cells)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) or "Not measured yet."


def device_name(device: str) -> str:
    """Say what computed."""
    if device == "cpu":
        return f"CPU, {torch.get_num_threads()} of {os.cpu_count()} threads"
    return torch.cuda.get_device_name()


def main() -> None:
    """Run from the shell."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=MEASURES, default=list(MEASURES))
    parser.add_argument("--quick", action="store_true", help="tiny images: does it run?")
    parser.add_argument("--out", type=Path, help="folder for the record")
    parser.add_argument("--apart", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.apart:
        APART[options.apart[0]](*json.loads(options.apart[1]))
        return
    rows, scale = [], Scale(options.device, options.quick)
    for name in options.only:
        with contextlib.closing(MEASURES[name](scale)) as found:
            for row in found:
                print(line(row), flush=True)
                rows.append(row)
    if options.out is not None:
        record = {
            "commit": records.commit(),
            "date": time.strftime("%Y-%m-%d"),
            "device": device_name(options.device),
            "torch": torch.__version__,
            "python": platform.python_version(),
            "rows": rows,
        }
        path = options.out / f"{record['commit']}_{options.device}.json"
        if path.exists():  # what was measured of the same commit before stays
            new = {(row.what, row.beside) for row in rows}
            old = [Row(*row) for row in records.read(path)["rows"]]
            record["rows"] = [row for row in old if (row.what, row.beside) not in new] + rows
        records.write(path, record)


if __name__ == "__main__":
    main()
