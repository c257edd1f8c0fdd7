"""What a few annotations reach on real images, beside full masks and the paper's losses.

    python benchmarks/real_images.py vnc  --data DATA --out RESULTS [--seeds 0 1 2]
    python benchmarks/real_images.py axon --data DATA --out RESULTS

``DATA`` holds ``vnc_sstem`` and ``axon_sem``. Every run is stored as one JSON file with its
settings, seed, the package's version and a hash of the data; runs that are there already are not
repeated. The table of all stored runs is printed at the end. The seed draws the simulated
annotation and the training. No mask decides when to stop or which weights or threshold to use.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import records
import torch
from annotation.images import AXON_CLASSES, VNC_CLASSES, read_axon, read_vnc

from napari_spss import Annotations, TrainingSettings, evaluate, fit, predict, preset
from napari_spss.core.label_source import as_label_source
from napari_spss.core.simulate import (
    Simulation,
    combine,
    evenly_spread,
    simulate_clicks,
    simulate_grids,
    simulate_guesses,
)
from napari_spss.core.stack import stack_from_images

Arrays = list[np.ndarray]
VNC_TEST = range(16, 20)
AXON_FOLDS = ("rat4", "rat6")
GUESS_NOISE = 0.2
N_GRIDS = 4


def simulated(row: str, truth: Arrays, names: Sequence[str], seed: int) -> Simulation | None:
    """Annotate as the row says; None for full masks."""
    rng = np.random.default_rng(seed)
    if row == "masks":
        return None
    chosen = evenly_spread(len(truth), N_GRIDS)
    guesses = simulate_guesses(truth, rng=rng, noise=GUESS_NOISE, classes=names)
    if row == "grids":
        return combine(guesses, simulate_grids(truth, rng=rng, slices=chosen, classes=names))
    clicks = simulate_clicks(
        truth, rng=rng, slices=chosen, n_per_slice=12, n_object=4, classes=names
    )
    return combine(guesses, clicks)


def settings_of(row: str, seed: int, diameter_px: float | None) -> TrainingSettings:
    """Preset fast, or what the row changes.

    "paper": the paper's losses, network and sampling, with filters and budget of fast.
    "losses": only the paper's losses, in all else fast, without self-training.
    """
    values: dict[str, object] = {"seed": seed, "image.object_diameter_px": diameter_px}
    if row == "losses":
        values |= {"loss.proportions": "mse", "loss.labels": "eq3", "self_training.is_on": False}
    if row != "paper":
        return preset("fast").with_overrides(values)
    fast = preset("fast")
    reduced = {
        "network.filters": 16,
        "sampling.batch_size": fast.sampling.batch_size,
        "optimisation.max_steps": fast.optimisation.max_steps,
        "optimisation.max_epochs": None,
        "optimisation.validation_fraction": 0.0,
        "optimisation.patience": None,
        "labels.keypoint_radius_px": 10,
    }
    return preset("paper").with_overrides(values | reduced)


def run_row(
    row: str,
    *,
    seed: int,
    train: tuple[Arrays, Arrays],
    test: tuple[Arrays, Arrays],
    names: Sequence[str],
    diameter_px: float | None,
) -> dict[str, Any]:
    """Train on one part, score on the other at full resolution."""
    images, truth = train
    stack = stack_from_images(images)
    simulation = simulated(row, truth, names, seed)
    settings = settings_of(row, seed, diameter_px)
    start = time.perf_counter()
    model = fit(
        stack,
        simulation.annotations if simulation else Annotations(tuple(names)),
        settings,
        masks=None if simulation else as_label_source(truth),
        device="cpu",
    )
    trained_s = time.perf_counter() - start
    start = time.perf_counter()
    labels = predict(model, stack_from_images(test[0]), device="cpu").labels
    predicted_s = time.perf_counter() - start
    scores = evaluate(list(labels), test[1], classes=tuple(names))
    return {
        "iou": [float(value) for value in scores.iou],
        "f1": [float(value) for value in scores.f1],
        "annotator_s": None if simulation is None else simulation.seconds,
        "annotations": "full masks" if simulation is None else simulation.annotations.summary(),
        "trained_s": round(trained_s, 1),
        "predicted_s": round(predicted_s, 1),
        "n_steps": model.n_steps,
        "threads": torch.get_num_threads(),
        "settings": settings.model_dump(),
    }


def vnc(data: Path, out: Path, rows: Sequence[str], seeds: Sequence[int]) -> None:
    """Train on slices 0-15, score on 16-19."""
    pictures = read_vnc(data)
    images, truth = list(pictures.images), list(pictures.truth)
    digest = records.data_hash(images)
    part = slice(0, VNC_TEST.start)
    for seed in seeds:
        for row in rows:
            records.stored(
                out / "vnc" / f"{row}_{seed}.json",
                lambda row=row, seed=seed: run_row(
                    row,
                    seed=seed,
                    train=(images[part], truth[part]),
                    test=([images[z] for z in VNC_TEST], [truth[z] for z in VNC_TEST]),
                    names=VNC_CLASSES,
                    diameter_px=80,
                ),
                data=digest,
            )
            show(out)


def axon(data: Path, out: Path, rows: Sequence[str], seeds: Sequence[int]) -> None:
    """Leave one rat out."""
    pictures = read_axon(data)
    images, truth, names = pictures.images, pictures.truth, pictures.names
    digest = records.data_hash(images)
    for rat in AXON_FOLDS:
        test = [z for z, name in enumerate(names) if rat in name]
        train = [z for z, name in enumerate(names) if rat not in name]
        for seed in seeds:
            for row in rows:
                records.stored(
                    out / "axon" / f"{row}_{rat}_{seed}.json",
                    lambda row=row, seed=seed, train=train, test=test: run_row(
                        row,
                        seed=seed,
                        train=([images[z] for z in train], [truth[z] for z in train]),
                        test=([images[z] for z in test], [truth[z] for z in test]),
                        names=AXON_CLASSES,
                        diameter_px=None,
                    ),
                    data=digest,
                )
                show(out)


def show(out: Path) -> None:
    """Print all stored results."""
    print(f"{'run':28} {'IoU per class':24} {'mean':>6} {'train s':>8}  annotation")
    for path in sorted(out.glob("*/*.json")):
        record = records.read(path)
        ious = " ".join(f"{value:.3f}" for value in record["iou"])
        print(
            f"{path.parent.name + '/' + path.stem:28} {ious:24} {np.mean(record['iou']):6.3f} "
            f"{record['trained_s']:8.0f}  {record['annotations']}",
            flush=True,
        )


def main() -> None:
    """Run from the shell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("vnc", "axon", "show"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument(
        "--rows", nargs="+", choices=("masks", "paper", "losses", "grids"), default=None
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=None)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.what == "vnc":
        rows = arguments.rows or ("masks", "paper", "losses", "grids")
        vnc(arguments.data, arguments.out, rows, arguments.seeds or (0, 1, 2))
    elif arguments.what == "axon":
        axon(arguments.data, arguments.out, arguments.rows or ("masks", "grids"), (0,))
    show(arguments.out)


if __name__ == "__main__":
    main()
