"""Memory of prediction, and times of start-up, training and prediction beside the bare network.

    python benchmarks/speed.py [--threads 2] [--quick]

Absolute times depend on the machine; the ratios are what to compare. Medians of several rounds,
in which the things compared take turns.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from napari_spss.core.annotations import Annotations, CountingGrid, Proportion, Region, lay_grid
from napari_spss.core.base import RunStarted, preset
from napari_spss.core.images import stack_from_array
from napari_spss.core.networks import build_network, has_fast_bfloat16
from napari_spss.core.prediction import iter_prediction, predict_slice, write_fractions
from napari_spss.core.training import fit, iter_training

CPU = torch.device("cpu")
ROUNDS = 5
STEPS = 12


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def start_up() -> None:
    """Time interpreters that import something and leave."""
    programs = {
        "python, nothing imported": "pass",
        "import napari_spss": "import napari_spss",
        "import torch": "import torch",
        "import napari_spss.core.training.loop": "import napari_spss.core.training.loop",
    }
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(ROUNDS):
        for name, program in programs.items():
            command = [sys.executable, "-c", program]
            times[name].append(seconds(lambda c=command: subprocess.run(c, check=True)))
    for name, values in times.items():
        print(f"{name:40} {statistics.median(values):8.2f} s")


def example(size: int) -> tuple[np.ndarray, Annotations]:
    """Noise with a grid and fractions: for timing, what is learned does not matter."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (4, size, size), dtype=np.uint8)
    proportions = tuple(Proportion(Region(z), (0.95, 0.05)) for z in range(4))
    grids: list[CountingGrid] = []
    for z in range(2):
        grid = lay_grid(z, (size, size), rng=rng)
        classes = (rng.random(grid.n_nodes) < 0.05).astype(np.int16)
        grids.append(grid.replace(class_index=classes, is_done=True))
    names = ("background", "mitochondria")
    return image, Annotations(names, proportions=proportions, grids=tuple(grids))


def training() -> None:
    """Time steps of preset fast beside forward and backward of its network on such a batch."""
    settings = preset("fast").with_overrides(
        {
            "optimisation.max_steps": STEPS,
            "image.object_diameter_px": 80,
            "self_training.start": 0,
        }
    )
    image, annotations = example(1024)
    stack = stack_from_array(image)
    network = build_network(
        settings.network.name, in_channels=1, out_channels=1, filters=settings.network.filters
    ).to(memory_format=torch.channels_last)
    crop, size = settings.sampling.crop_px, settings.sampling.batch_size
    batch = torch.randn(size, 1, crop, crop).contiguous(memory_format=torch.channels_last)

    def bare() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=has_fast_bfloat16(CPU)):
            logits = network(batch)
        logits.float().mean().backward()

    whole, alone = [], []
    for _ in range(ROUNDS):
        run = iter_training(stack, annotations, settings, device="cpu")
        while not isinstance(next(run), RunStarted):
            pass  # the data are read, the network is built
        whole.append(seconds(lambda run=run: list(run)) / STEPS)
        alone.append(seconds(lambda: [bare() for _ in range(STEPS)]) / STEPS)
    report("a training step (with teacher)", whole, "forward and backward", alone)


def prediction() -> None:
    """Time the map of a slice at full resolution beside the network's forward pass."""
    image, annotations = example(2048)
    stack = stack_from_array(image)
    for diameter in (20, 80):
        settings = preset("fast").with_overrides(
            {"optimisation.max_steps": 1, "image.object_diameter_px": diameter}
        )
        model = fit(stack, annotations, settings, device="cpu")
        edge = 2048 // model.reduction
        seen = torch.randn(1, 1, edge, edge).contiguous(memory_format=torch.channels_last)
        network = model.network.to(memory_format=torch.channels_last)

        def bare(network: torch.nn.Module = network, seen: torch.Tensor = seen) -> None:
            with torch.inference_mode():
                network(seen)

        whole = [seconds(lambda m=model: predict_slice(m, stack, 0)) for _ in range(ROUNDS)]
        alone = [seconds(bare) for _ in range(ROUNDS)]
        report(f"map of 2048 x 2048 px, scale 1/{model.reduction}", whole, "forward", alone)


class Noise:
    """A stack of 1024 x 1024 pixels that is made as it is read."""

    dtype = np.dtype(np.uint8)

    def __init__(self, n_slices: int) -> None:
        self.shape = (n_slices, 1024, 1024)

    def __getitem__(self, index: tuple[int | slice, ...]) -> np.ndarray:
        z, *box = index
        return np.random.default_rng(z).integers(0, 255, self.shape[1:], np.uint8)[tuple(box)]


def predict_noise(n_slices: int, format_name: str) -> None:
    """Predict and measure so many slices, and print the most memory that the process took."""
    image, annotations = example(1024)
    settings = preset("fast").with_overrides(
        {"optimisation.max_steps": 1, "image.object_diameter_px": 80}
    )
    model = fit(stack_from_array(image), annotations, settings, device="cpu")
    stack = stack_from_array(Noise(n_slices))
    with tempfile.TemporaryDirectory() as folder:
        *_, done = iter_prediction(
            model, stack, out_dir=folder, format=format_name, smooth_z=False, device="cpu"
        )
        write_fractions(Path(folder), done.outputs["labels"], stack, model.classes)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def memory(few: int, many: int) -> None:
    """Compare the memory of predicting and measuring few slices and many."""
    for name in ("tif", "zarr"):
        taken = []
        for n_slices in (few, many):
            command = [sys.executable, __file__, "--noise", str(n_slices), name]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            taken.append(float(said.split()[-1]))
        text = f"memory of {few} and {many} slices, {name}"
        print(f"{text:40} {taken[0]:8.0f} MB {taken[1]:8.0f} MB   ratio {taken[1] / taken[0]:5.2f}")


def report(name: str, whole: list[float], bare_name: str, alone: list[float]) -> None:
    """Print two medians and their ratio."""
    a, b = statistics.median(whole), statistics.median(alone)
    print(f"{name:40} {a:8.3f} s   {bare_name:22} {b:8.3f} s   ratio {a / b:5.2f}")


def main() -> None:
    """Run from the shell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="Memory alone, of fewer slices.")
    parser.add_argument("--noise", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.noise:
        predict_noise(int(options.noise[0]), options.noise[1])
        return
    memory(10, 40 if options.quick else 300)
    if options.quick:
        return
    start_up()
    training()
    prediction()


if __name__ == "__main__":
    main()
