"""Run and show the annotation study: accuracy against seconds of an annotator.

    python benchmarks/annotation study|ablations|robustness --data DATA --out RESULTS
        [--part tune|report] [--sets vnc axon axonlarge sheets sheets2048]
        [--rows ..] [--seeds ..] [--budgets ..]
    python benchmarks/annotation advice --data DATA --out RESULTS
        [--part tune|report] [--sets vnc axon] [--seeds ..]
    python benchmarks/annotation picture --data DATA --out RESULTS
    python benchmarks/annotation show --out RESULTS

Runs what is not stored yet, one JSON file a run, and prints the tables. The same command started
twice shares the work. Choices are made on the part "tune"; "report" is scored with what was
chosen, and every scoring is noted in RESULTS/scorings. ``--verify ROW`` repeats stored runs and
compares. ``advice`` compares counting the slices that a network advises with even spacing, of VNC
unless told otherwise; ``picture`` trains once on axon and draws what the network was told and what
it finds. ``--quick`` takes tiny drawn images and a few steps, and stores under RESULTS/quick.

DATA holds ``vnc_sstem`` (mitochondria; tune: slices 0-11 and 13-15, report: 0-15 and 16-19) and
``axon_sem`` (axon and myelin; tune: rat 2, report: rats 4 and 6, each left out in turn); of
"axonlarge" the two largest of the other images train, 32 and 48 objects wide. "sheets"
are the slices of ``vnc_sstem`` reduced by 4 and laid side by side: fields 50 objects wide, and
"sheets2048" those reduced by 2. Names of
ablations can be joined: ``study --rows fast+steps-twice``, ``ablations --rows steps-twice+band-0``,
which is compared with ``steps-twice`` if that is stored, else with the base.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import records
import torch

from . import advice, picture
from .annotators import HEADLINE_S, OBJECT_S
from .carrying import Experiment, carry_out, is_current
from .figures import draw
from .images import DATA_SETS, PARTS, Part, folds_of, load_part, tiny_part
from .rows import is_known, names_of
from .scorings import note_scoring

COMMANDS = ("study", "ablations", "robustness")
TOLERANCE = 0.02
"""IoU by which a repeated run may differ: the spread of seeds. One thread of one machine repeats
itself exactly."""

_SEEDS = {"axon": (0,)}
_THREE_SEEDS = (0, 1, 2)

One = TypeVar("One", Experiment, advice.Trial)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the shell."""
    parser = _parser()
    options = parser.parse_args(arguments)
    unknown = [name for name in [*(options.rows or ()), *filter(None, [options.verify])]
               if not is_known(options.command, name)]  # fmt: skip
    if unknown:
        parser.error(f"{options.command} has no rows {', '.join(unknown)}; see --help.")
    torch.set_num_threads(options.threads)
    records.commit()  # that of the code that runs, whatever is committed meanwhile
    results = options.out / "quick" if options.quick else options.out
    if options.command == "show":
        _print_tables(results)
        for path in draw(results, options.figures or results / "figures"):
            print(path)
        return
    if options.command == "picture":
        _draw_example(options, parser, results)
        return
    load = _loader(options)
    if options.command == "advice":
        _advise(options, results, load)
        return
    experiments = planned(
        options.command,
        part=options.part,
        data_sets=options.sets,
        rows=[options.verify] if options.verify else options.rows,
        seeds=options.seeds,
        budgets=options.budgets,
        has_base=not options.verify,
        is_quick=options.quick,
    )
    if options.verify:
        sys.exit(_verify(experiments, results, load, options.device))
    for experiment in experiments:
        _run(experiment, results, load, options.device or "cpu")
    _print_tables(results)


def planned(
    command: str,
    *,
    part: str = "tune",
    data_sets: Sequence[str] | None = None,
    rows: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    budgets: Sequence[float] = (HEADLINE_S,),
    has_base: bool = True,
    is_quick: bool = False,
) -> list[Experiment]:
    """List the runs, the most telling ones first: all rows with one seed, then the next seed.

    Ablations and robustness take VNC and one seed unless told otherwise; the study takes three
    seeds of VNC and one of axon, which has two folds; of the sheets, if asked, three.
    """
    names = tuple(rows or names_of(command))
    if command != "study" and has_base and "base" not in names:
        names = ("base", *names)  # what all others are compared with, of the same seed
    data_sets = data_sets or (("vnc", "axon") if command == "study" else ("vnc",))
    folds = folds_of(data_sets, part)
    usual = {fold: _SEEDS.get(fold.partition("-")[0], _THREE_SEEDS) for fold in folds}
    if command != "study":
        usual = dict.fromkeys(folds, (0,))
    found: dict[tuple[str, str], Experiment] = {}
    for seed in seeds or sorted({seed for of_fold in usual.values() for seed in of_fold}):
        for fold in folds:
            if seeds is None and seed not in usual[fold]:
                continue
            for budget_s in budgets:
                for name in names:
                    one = Experiment(command, fold, part, name, budget_s, seed, is_quick)
                    if one.row.plan.kind == "bought" and budget_s < OBJECT_S:
                        continue  # not one object can be outlined
                    found.setdefault((fold, one.stem), one)
    return list(found.values())


def _loader(options: argparse.Namespace) -> Callable[[str], Part]:
    """Read every fold once, when it is needed."""
    loaded: dict[str, Part] = {}

    def load(fold: str) -> Part:
        if fold not in loaded:
            is_quick = options.quick
            read = tiny_part if is_quick else partial(load_part, options.data)
            loaded[fold] = read(fold, options.part)
        return loaded[fold]

    return load


def _run(experiment: Experiment, results: Path, load: Callable[[str], Part], device: str) -> None:
    part = load(experiment.data)
    carried = partial(_carried, experiment, load=load, device=device)
    record = _new_record(experiment, results, part, is_current, carried)
    if record is not None:
        print(f"{experiment.label}: {_shown(record)}", flush=True)


def _new_record(
    one: One,
    results: Path,
    part: Part,
    is_current: Callable[[records.Record, One, Part], bool],
    carried: Callable[[Part, Path], records.Record],
) -> records.Record | None:
    """Carry out and store what is neither stored nor in the hands of another process."""
    path = one.record_path(results)
    if path.is_file():
        if not is_current(records.read(path), one, part):
            print(f"{one.label}: stored with other settings or data; remove it to repeat it")
        return None
    record = records.stored(path, lambda: carried(part, results), data=part.hash)
    if record is None:
        print(f"{one.label}: left to another process", flush=True)
    return record


def _advise(options: argparse.Namespace, results: Path, load: Callable[[str], Part]) -> None:
    """Try out the advice with every seed that is not stored yet, and show the table."""
    from .rendering import render

    for seed in options.seeds or _THREE_SEEDS:
        for fold in folds_of(options.sets or ("vnc",), options.part):
            _try_out(advice.Trial(fold, options.part, seed, options.quick), results, load(fold))
    print(render("advice", results))


def _try_out(trial: advice.Trial, results: Path, part: Part) -> None:
    def carried(part: Part, results: Path) -> records.Record:
        scored = partial(note_scoring, results, part.name, commit=records.commit())
        return advice.try_out(trial, part, scored=scored)

    record = _new_record(trial, results, part, advice.is_current, carried)
    for way, found in record["ways"].items() if record is not None else ():
        print(f"{trial.label} {way}: mean IoU {found['mean_iou_foreground']}", flush=True)


def _draw_example(
    options: argparse.Namespace, parser: argparse.ArgumentParser, results: Path
) -> None:
    """Train once on a part whose images may be shown, and draw."""
    if options.sets not in (None, ["axon"]):
        parser.error("picture shows axon alone: the pixels of vnc may not be given on.")
    read = tiny_part if options.quick else partial(load_part, options.data)
    part = read(picture.FOLD, picture.PART)
    note_scoring(results, part.name, "picture", commit=records.commit())
    print(picture.draw_example(part, results / "pictures", is_quick=options.quick))


def _carried(
    experiment: Experiment,
    part: Part,
    results: Path,
    why: str = "",
    *,
    load: Callable[[str], Part],
    device: str,
) -> records.Record:
    def scored(what: str) -> None:
        note_scoring(results, part.name, what + why, commit=records.commit())

    return carry_out(experiment, part, scored=scored, load=load, device=device)


def _shown(record: records.Record) -> str:
    ious = " ".join("-" if value is None else f"{value:.3f}" for value in record["iou"])
    rounds = "".join(
        f", round {number}: "
        + " ".join("-" if v is None else f"{v:.3f}" for v in one["iou"])
        + (
            f" (of {one['n_clicked']} clicks {one['n_learned']} learned, {one['n_right']} right)"
            if "n_right" in one
            else ""
        )
        for number, one in enumerate(record["rounds"], start=1)
    )
    return (
        f"IoU {ious}{rounds}; annotator {record['annotator_s']:.0f} s, "
        f"training {record['trained_s']:.0f} s"
    )


def _verify(
    experiments: Sequence[Experiment],
    results: Path,
    load: Callable[[str], Part],
    device: str | None,
) -> int:
    """Repeat the stored ones of some runs, on their device unless one is named.

    1 if one differs or none is stored.
    """
    n_compared, is_different = 0, False
    for experiment in experiments:
        path = experiment.record_path(results)
        if not path.is_file():
            print(f"{experiment.label}: not stored", flush=True)
            continue
        part, before = load(experiment.data), records.read(path)
        if before["data_hash"] != part.hash:
            print(f"{experiment.label}: the data have changed", flush=True)
            is_different = True
            continue
        where = device or before.get("device", "cpu")
        after = _carried(experiment, part, results, " to verify", load=load, device=where)
        difference = _difference(before, after)
        is_different |= difference > TOLERANCE
        n_compared += 1
        print(
            f"{experiment.label}: IoU differs by up to {difference:.4f} "
            f"({'more than' if difference > TOLERANCE else 'at most'} {TOLERANCE})",
            flush=True,
        )
    return int(is_different or not n_compared)


def _difference(before: records.Record, after: records.Record) -> float:
    pairs = [(before["iou"], after["iou"])]
    pairs += [(a["iou"], b["iou"]) for a, b in zip(before["rounds"], after["rounds"], strict=True)]
    values = [(a or 0.0, b or 0.0) for one, other in pairs for a, b in zip(one, other, strict=True)]
    largest: float = max(abs(a - b) for a, b in values)
    return largest


def _print_tables(results: Path) -> None:
    from .rendering import TABLES, render

    for name in TABLES:
        print(f"## {name}\n\n{render(name, results)}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks/annotation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(f"rows of {one}: {' '.join(names_of(one))}" for one in COMMANDS),
    )
    parser.add_argument("command", choices=(*COMMANDS, "advice", "picture", "show"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/annotation"))
    parser.add_argument("--figures", type=Path, default=None, help="default: OUT/figures")
    parser.add_argument("--part", choices=PARTS, default="tune")
    parser.add_argument("--sets", nargs="+", choices=DATA_SETS, default=None)
    parser.add_argument("--rows", nargs="+", default=None, help="default: all")
    parser.add_argument("--seeds", nargs="+", type=int, default=None)
    parser.add_argument("--budgets", nargs="+", type=float, default=[HEADLINE_S], help="seconds")
    parser.add_argument("--verify", metavar="ROW", help="repeat its stored runs and compare")
    parser.add_argument("--quick", action="store_true", help="tiny images, a few steps")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--device",
        default=None,
        help="of networks; default: cpu, and to verify that of the stored run; "
        "advice and picture: always cpu",
    )
    return parser
