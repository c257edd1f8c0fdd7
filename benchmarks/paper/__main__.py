"""Reproduce the tables and figures of "Semantic Segmentation by Semantic Proportions".

    python benchmarks/paper table1 table2 --data DATA --out RESULTS [--preset cpu] [--seeds 0 1 2]

Runs what a table or figure needs and is not stored yet, one JSON file a run, and prints the table
beside the paper's numbers. The same command started twice shares the work.

DATA holds ``dubai`` (tiles with ``images`` and ``masks``) and, for the electron microscopy, a
folder with the EPFL volumes (``training.tif``, ``testing.tif``, their ``*_groundtruth.tif``), or in
their stead ``vnc_sstem``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import records
import torch
from experiments import COMMANDS, NOISE, Data, carry_out, planned
from images import find_epfl


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the shell."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    records.commit()  # that of the code that runs, whatever is committed meanwhile
    em = "epfl" if options.data.is_dir() and find_epfl(options.data) else "vnc"
    loaded: dict[str, Data] = {}
    for command in options.commands:
        if command in COMMANDS:
            _run(command, options, em, loaded)
    for command in options.commands:
        _show(command, options)


def _run(command: str, options: argparse.Namespace, em: str, loaded: dict[str, Data]) -> None:
    """Run what is missing of a table or figure."""

    def data_of(name: str) -> Data:
        if name not in loaded:
            loaded[name] = Data(name, options.data, options.split)
        return loaded[name]

    if command == "figure7":
        _store_proportions(data_of("dubai"), options)
    if command == "long":
        _run_long(data_of(em), options)
    for experiment in planned(
        command,
        em=em,
        split=options.split,
        preset=options.preset,
        seeds=options.seeds,
        noise=options.noise,
    ):
        data, path = data_of(experiment.data), experiment.record_path(options.out)
        panels = experiment.panels_path(options.out) if experiment.has_panels else None
        is_new = not path.is_file()
        record = records.stored(
            path,
            lambda e=experiment, d=data, p=panels: carry_out(
                e, d, device=_device(options), panels=p
            ),
            data=data.hash,
            is_complete=lambda p=panels: p is None or p.is_file(),
        )
        if record is None:
            print(f"{path.stem}: left to another process", flush=True)
        elif is_new:
            print(
                f"{path.parent.name}/{path.stem}: mean IoU {record['mean_iou_all']:.3f} (all), "
                f"{record['mean_iou_named']:.3f} (named), accuracy {record['accuracy']:.3f}, "
                f"{record['n_epochs']:g} epochs, {record['trained_s']:.0f} s",
                flush=True,
            )


def _run_long(data: Data, options: argparse.Namespace) -> None:
    """Run what is missing of the long runs, each to its last step."""
    import long

    for choice in long.planned(options.out, data.name, steps=options.steps, seeds=options.seeds):
        path = long.path_of(choice, data.name, options.out)
        is_new = not path.is_file()
        record = records.stored(
            path,
            lambda c=choice: long.carry_out(
                c, data, device=_device(options), preset_name=options.preset
            ),
            data=data.hash,
        )
        if record is None:
            print(f"{path.stem}: left to another process", flush=True)
        elif is_new:
            print(
                f"{path.stem}: IoU {record['iou'][1]:.3f}, {record['trained_s']:.0f} s", flush=True
            )


def _device(options: argparse.Namespace) -> str:
    if options.device is not None:
        return str(options.device)
    return "cpu" if options.preset == "cpu" else "auto"


def _store_proportions(data: Data, options: argparse.Namespace) -> None:
    from proportions import store_degradations

    n_classes = len(data.classes)
    counts = [
        np.bincount(crop.truth.ravel(), minlength=n_classes)[:n_classes]
        for crop in data.split.train
    ]
    exact = [count / count.sum() for count in counts if count.sum()]
    store_degradations(
        options.out,
        exact,
        data.classes,
        data=data.name,
        split=options.split,
        seed=options.seeds[0],
    )


def _show(command: str, options: argparse.Namespace) -> None:
    """Print a table, draw a figure."""
    from rendering import render

    print(render(command, options.out))
    if command.startswith("figure") or command == "long":
        from figures import draw

        draw(command, options.out, options.figures or options.out / "figures")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks/paper",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("commands", nargs="+", choices=(*COMMANDS, "show"), metavar="COMMAND")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/paper"))
    parser.add_argument("--figures", type=Path, default=None, help="default: OUT/figures")
    parser.add_argument("--preset", choices=("cpu", "paper"), default="cpu")
    parser.add_argument("--split", choices=("honest", "random"), default="honest")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--noise", nargs="+", type=float, default=NOISE, help="of table3, 0-1")
    parser.add_argument("--steps", type=int, default=3000, help="of long")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default=None, help="default: cpu, for preset paper auto")
    return parser


if __name__ == "__main__":
    main()
