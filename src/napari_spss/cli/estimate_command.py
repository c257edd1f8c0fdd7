"""``napari-spss estimate``: fractions of labels, with an interval that contains their errors."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.base import InputError, counted, percent
from .options import (
    ClassesOption,
    EachOption,
    GroupsOption,
    OutsideOption,
    OverwriteOption,
    check_single,
    parse_class_list,
    work_on_many,
)

if TYPE_CHECKING:
    from ..core.analysis import Estimate

HELP = """Estimate fractions with honest intervals: counted, of labels, and of corrected labels.

Labels miss and make up; how much, a check count tells: frames or grids that were judged, and that
no network learned from. The fraction of the labels, corrected by it, has no bias whatever their
errors, and its 95 % interval contains them. Each estimate says what it assumes.

Nodes that contradict the labels are listed beside the table: look again at each, and correct the
check count where you were wrong.

Several labels, a pattern, a text file with a path a line, or --each FOLDER: each has a folder of
its own in --out, and images.csv has a row for each image, class and method; with --groups
overall.csv has the means of groups, each as one unit.
"""

EXAMPLES = """Examples:

\b
  napari-spss estimate result --run run --check check.csv --out corrected.csv
  napari-spss estimate run/result --check check.csv --grid run/grid.csv
  napari-spss estimate result --check check.csv --groups animals.csv --out corrected.csv
  napari-spss estimate results --each --check checks --groups animals.csv --out estimates
"""


def estimate(
    labels: Annotated[
        list[Path],
        typer.Argument(
            metavar="LABELS...", help="Labels, a file or a folder; or the folder of a result."
        ),
    ],
    check: Annotated[
        Path | None,
        typer.Option(
            metavar="CHECK.csv",
            help="Table of counting grids or frames that nothing learned from, like grid.csv. Of "
            "several labels: a folder with NAME.csv for each, or the name of those beside them.",
        ),
    ] = None,
    grid: Annotated[
        Path | None,
        typer.Option(
            metavar="G.csv",
            help="Table of those that the network learned from: it counts, but corrects nothing. "
            "Of several labels: as --check.",
        ),
    ] = None,
    each: EachOption = False,
    groups: GroupsOption = None,
    run: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="The run that made the labels, if it is not found by itself: nodes that it "
            "learned from are refused.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE.csv|DIR",
            help="Write the table here; beside it TABLE_contradicted.csv, for a second look. Of "
            "several labels: a folder.",
        ),
    ] = None,
    classes: ClassesOption = None,
    outside: OutsideOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Estimate, print each estimate with what it assumes, and write the tables."""
    spec = parse_class_list(classes)
    from ..core.images import BY_FOLDER, are_many

    if are_many(labels, each=each):
        from ..core.prediction import estimate_images

        work_on_many(
            estimate_images,
            labels,
            out,
            check=check,
            grid=grid,
            each=each,
            groups=groups,
            run=run,
            classes=spec,
            outside=outside,
            overwrite=overwrite,
        )
        return
    check_single(out)
    if groups == BY_FOLDER:
        raise InputError("--groups folder is for several images; name a table image,group.")
    of_image = None if groups is None else Path(groups)
    from ..core.analysis import (
        contradicted_nodes,
        estimate_fractions,
        estimate_results,
        write_estimates,
    )
    from ..core.annotations import read_groups
    from ..core.prediction import OpenedLabels
    from .streams import say

    opened = OpenedLabels.of(labels[0], run=run, classes=spec, outside=outside)
    path, masks = opened.path, opened.masks
    if out is not None:
        results = estimate_results(
            out, labels=path, inputs=(check, grid, of_image), overwrite=overwrite
        )
        results.check()
    checked, learned = opened.read_check(check), opened.read(grid=grid)
    if groups is not None and masks.names == tuple(map(str, range(masks.n_slices))):
        raise InputError(
            f"--groups is for a folder of images, but {path} is one stack, which is one unit; "
            "leave --groups out.",
            field="groups",
        )
    found = estimate_fractions(
        masks,
        checked,
        training=learned,
        groups=None if of_image is None else read_groups(of_image, masks.names),
        outside=opened.classes.outside,
    )
    for line in _lines(found):
        typer.echo(line)
    for note in opened.notes(checked):
        say(f"note: {note}")
    contradicted = None if checked is None else contradicted_nodes(masks, checked)
    if contradicted is None:
        saved = path.with_name("check.csv")  # as the dock saves it with a result
        name = saved if saved.is_file() else "CHECK.csv"
        say(f"note: --check {name} corrects the labels by nodes that nothing learned from.")
    elif n_left := int((contradicted["looks"] == 0).sum()):
        where = f"listed in {results.names[1]}" if out else "--out TABLE.csv lists them"
        say(
            f"note: {counted(n_left, 'node')} contradict the labels ({where}): look "
            f"again at each, and correct {check} where you were wrong."
        )
    if out is not None:
        written = write_estimates(results, found, contradicted)
        typer.echo(f"written: {', '.join(map(str, written))}")


def _lines(found: Iterable[Estimate]) -> Iterator[str]:
    """Text of the estimates, class by class."""
    for name, of_class in itertools.groupby(found, key=lambda one: one.name):
        yield name
        for one in of_class:
            if one.fraction != one.fraction:
                yield f"  {one.method}: {one.assumes}"
                continue
            text = f"  {one.method}: {percent(one.fraction)}"
            if one.low == one.low:
                text += f" (95 % interval {percent(one.low)} to {percent(one.high)})"
            yield text
            yield f"      assumed: {one.assumes} ({one.reference})"
