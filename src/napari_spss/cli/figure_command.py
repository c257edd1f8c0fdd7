"""``napari-spss figure``: figures of labels, to print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..core.base import InputError
from .options import (
    ClassesOption,
    InstancesOption,
    MinSizeOption,
    OutsideOption,
    OverwriteOption,
    PerSliceOption,
    SplitOption,
    VoxelSizeOption,
    check_out_dir,
    parse_class_list,
    parse_voxel_size,
)

HELP = """Draw figures of labels: fraction against slice, sizes of objects, and an overlay.

Beside the fractions of the labels stand those that were typed and counted, with their intervals,
and the fraction that a check count corrects. With --image the labels are drawn over a slice of it,
with a scale bar. Each figure is written as SVG, PDF and PNG; text stays text.
"""

EXAMPLES = """Examples:

\b
  napari-spss figure result --image stack.tif --out figures
  napari-spss figure result --grid grid.csv --check check.csv --out figures --format svg
  napari-spss figure masks.tif --image stack.tif --slice 12 --voxel-size 50nm,5nm,5nm --out figures
"""


def figure(
    labels: Annotated[
        Path,
        typer.Argument(
            metavar="LABELS", help="Labels, a file or a folder; or the folder of a result."
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the figures.")],
    image: Annotated[
        Path | None,
        typer.Option(
            metavar="IMAGE",
            help="The image, for an overlay of a slice, and for sizes that the labels lack.",
        ),
    ] = None,
    slice_index: Annotated[
        int | None,
        typer.Option(
            "--slice", metavar="Z", help="Slice of the overlay, from 0; by default the middle one."
        ),
    ] = None,
    proportions: Annotated[
        Path | None, typer.Option(metavar="P.csv", help="Table of typed fractions.")
    ] = None,
    grid: Annotated[
        Path | None, typer.Option(metavar="G.csv", help="Table of counted grids and frames.")
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            metavar="CHECK.csv", help="Table of a check count, which corrects the labels."
        ),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="The run that made the labels, if it is not found by itself."
        ),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format", metavar="svg|pdf|png", help="May be repeated; by default all three."
        ),
    ] = None,
    classes: ClassesOption = None,
    instances: InstancesOption = False,
    outside: OutsideOption = None,
    voxel_size: VoxelSizeOption = None,
    min_size: MinSizeOption = "1",
    split: SplitOption = None,
    per_slice: PerSliceOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Measure the labels, and write the figures."""
    spec, stated = parse_class_list(classes), parse_voxel_size(voxel_size)
    check_out_dir(out)
    from ..core.analysis import (
        FORMATS,
        FigureSlice,
        areas_of_pixels,
        estimate_fractions,
        figure_results,
        measure_masks,
        sized_stack,
        write_figures,
    )
    from ..core.images import open_stack
    from ..core.prediction import OpenedLabels
    from .streams import say

    opened = OpenedLabels.of(labels, run=run, classes=spec, outside=outside, instances=instances)
    path, masks, outside = opened.path, opened.masks, opened.classes.outside
    results = figure_results(
        out,
        labels=path.resolve(),
        formats=formats or FORMATS,
        inputs=[one for one in (path, image, proportions, grid, check) if one is not None],
        overwrite=overwrite,
    )
    results.check()
    if image is None and slice_index is not None:
        raise InputError("--slice is that of the overlay; name its image by --image.")
    z = masks.n_slices // 2 if slice_index is None else slice_index
    if not 0 <= z < masks.n_slices:
        raise InputError(f"--slice {z} is not in the labels; choose 0 to {masks.n_slices - 1}.")
    checked = opened.read_check(check)
    stack = view = None
    if image is not None:
        stack = open_stack(image, voxel_size_um=stated)
        if stack.n_slices != masks.n_slices:
            raise InputError(
                f"{image} has {stack.n_slices} slices, but the labels have {masks.n_slices}; name "
                "the image that the labels belong to.",
                field="image",
            )
        along_x = stack.voxel_size_um[2]  # as the scale bar
        pixel_um = along_x or stack.pixel_size_um(z) or masks.stack.pixel_size_um(z)
        view = FigureSlice(stack, z, masks.read(z), pixel_um)
    sized = sized_stack(masks.stack.with_voxel_size(stated), stack)
    areas = areas_of_pixels(sized)
    estimates = (
        ()
        if checked is None
        else estimate_fractions(masks, checked, outside=outside, pixel_areas=areas)
    )
    written = write_figures(
        results,
        measure_masks(
            masks,
            stack=sized,
            voxel_size_um=stated,
            image=stack,
            outside=outside,
            min_size=min_size,
            split=split,
            per_slice=per_slice,
        ),
        opened.classes,
        annotations=opened.read(grid=grid, proportions=proportions),
        estimates=estimates,
        view=view,
        pixel_areas=areas,
    )
    for note in opened.notes(checked):
        say(f"note: {note}")
    if view is None:
        say("note: --image IMAGE draws the labels over a slice, too.")
    typer.echo(f"written: {', '.join(map(str, written))}")
