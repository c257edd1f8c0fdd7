"""``napari-spss measure``: fractions and objects of labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.base import InputError, counted, percent
from .options import (
    ClassesOption,
    EachOption,
    GroupsOption,
    InstancesOption,
    MinSizeOption,
    OutsideOption,
    OverwriteOption,
    PerSliceOption,
    SplitOption,
    VoxelSizeOption,
    check_single,
    parse_class_list,
    parse_voxel_size,
    work_on_many,
)

if TYPE_CHECKING:
    from ..core.analysis import Measurement

HELP = """Measure labels: area fraction of each slice, volume fraction of the stack, objects.

Fractions of an image set come with a 95 % interval for the spread between images; what the labels
miss or make up is in none (see `estimate`). Sizes are in micrometres where the size of a voxel is
known. Labels that `predict` or the dock wrote bring the names of their classes along.

Several labels, a pattern, a text file with a path a line, or --each FOLDER: each has a folder of
its own in --out, and images.csv has a row for each image and class. What is measured already, and
unchanged, is kept.
"""

EXAMPLES = """Examples:

\b
  napari-spss measure result/labels.ome.tif --out table.csv
  napari-spss measure masks.tif --out table.csv --classes background,mitochondria
  napari-spss measure result/labels.ome.tif --out table.csv --split 0.7 --min-size 0.01um3
  napari-spss measure instances.tif --instances --classes background,mitochondria
  napari-spss measure results --each --groups animals.csv --out tables
"""

_MAX_LISTED = 60


def measure(
    labels: Annotated[
        list[Path],
        typer.Argument(
            metavar="LABELS...",
            help="Labels or masks, a file or a folder; or the folder of a result.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE.csv|DIR",
            help="Write the table of slices here; beside it TABLE_stack.csv and TABLE_objects.csv. "
            "Of several labels: a folder.",
        ),
    ] = None,
    classes: ClassesOption = None,
    instances: InstancesOption = False,
    outside: OutsideOption = None,
    voxel_size: VoxelSizeOption = None,
    image: Annotated[
        Path | None,
        typer.Option(
            metavar="IMAGE",
            help="For the mean grey value of each object, and for sizes that the labels lack.",
        ),
    ] = None,
    maps: Annotated[
        Path | None,
        typer.Option(
            metavar="MAPS",
            help="Maps that `predict` wrote, for the mean probability of each object.",
        ),
    ] = None,
    min_size: MinSizeOption = "1",
    split: SplitOption = None,
    per_slice: PerSliceOption = False,
    vertical: Annotated[
        bool,
        typer.Option(
            "--vertical",
            help="The slices are vertical sections, whose axis runs from top to bottom; otherwise "
            "surface per volume assumes isotropic sections.",
        ),
    ] = False,
    each: EachOption = False,
    groups: GroupsOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Measure, print a summary, and write the tables if a name is given."""
    spec = parse_class_list(classes)
    stated = parse_voxel_size(voxel_size)
    from ..core.images import are_many

    if are_many(labels, each=each):
        if image is not None or maps is not None:
            raise InputError("--image and --maps are those of one stack; leave them out.")
        from ..core.prediction import measure_images

        work_on_many(
            measure_images,
            labels,
            out,
            each=each,
            groups=groups,
            classes=spec,
            instances=instances,
            voxel_size_um=stated,
            min_size=min_size,
            split=split,
            per_slice=per_slice,
            is_vertical=vertical,
            outside=outside,
            overwrite=overwrite,
        )
        return
    check_single(out, groups)
    from ..core.analysis import measure_masks, measurement_results, sized_stack, write_measurement
    from ..core.base import length_text, merge_voxel_size
    from ..core.images import labels_in, open_labels, open_stack
    from .streams import say

    path = labels_in(labels[0])
    grey = None if image is None else open_stack(image)
    masks = open_labels(path, classes=spec, instances=instances)
    labelled = masks.stack.with_voxel_size(stated)
    sized = sized_stack(labelled, grey)
    size = merge_voxel_size(stated, sized.voxel_size_um)
    if out is not None:
        results = measurement_results(out, labels=path, voxel_size_um=size, overwrite=overwrite)
        results.check()
    found = measure_masks(
        masks,
        stack=sized,
        voxel_size_um=stated,
        image=grey,
        maps=None if maps is None else open_stack(maps),
        min_size=min_size,
        split=split,
        per_slice=per_slice,
        is_vertical=vertical,
        outside=outside,
    )
    n_slices = found.slices["slice"].nunique()
    lines = _slice_lines(found) if n_slices <= _MAX_LISTED else [counted(n_slices, "slice")]
    for line in (*lines, *found.summary()):
        typer.echo(line)
    for note in found.notes:
        say(f"note: {note}")
    if sized is grey:
        for note in (f"Sizes are those of {image}, since the labels say none.", *grey.notes):
            say(f"note: {note}")
    elif sized is not labelled and size[0] is not None:
        distance = length_text(size[0])
        say(f"note: The slices are {distance} apart as in {image}, since the labels do not say.")
    if out is None:
        say("note: --out TABLE.csv writes this and a row for every object.")
        return
    written = write_measurement(results, found)
    typer.echo(f"written: {', '.join(map(str, written))}")


def _slice_lines(found: Measurement) -> list[str]:
    """Table of the fractions of every slice, a column for each class with objects."""
    table = found.slices
    unlisted = (table["class"].iloc[0], found.outside)
    names = [name for name in dict.fromkeys(table["class"]) if name not in unlisted]
    widths = [max(len(name), 9) + 2 for name in names]
    header = "".join(f"{name:>{width}}" for name, width in zip(names, widths, strict=True))
    lines = [f"slice{header}"]
    for z, row in enumerate(found.by_slice(names)):
        cells = zip(row, widths, strict=True)
        lines.append(f"{z:>5}" + "".join(f"{percent(value):>{width}}" for value, width in cells))
    return [*lines, ""]
