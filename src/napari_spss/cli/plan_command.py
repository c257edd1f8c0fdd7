"""``napari-spss plan``: what to count in the minutes that there are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..core.base import InputError
from .options import (
    AxesOption,
    OverwriteOption,
    VoxelSizeOption,
    check_diameter,
    check_out_dir,
    check_seed,
    diameter_settings,
    parse_voxel_size,
)

HELP = """Propose what to count: grids over whole slices, or small frames in large fields.

The proposal follows from the size of the image, the width of the objects and the minutes that you
have. With --out, the nodes are laid: judge them in the dock (Annotate, Grid, Open CSV), or in the
table, in its column "class".
"""

EXAMPLES = """Examples:

\b
  napari-spss plan stack.tif --object-diameter 80 --minutes 5
  napari-spss plan stack.tif --object-diameter 0.3um --minutes 5 --out counts
  napari-spss plan stack.tif --object-diameter 80 --minutes 10 --grid counts/grid.csv
"""


def plan(
    image: Annotated[
        Path, typer.Argument(metavar="IMAGE", help="Image stack: a file or a folder of images.")
    ],
    object_diameter: Annotated[
        str,
        typer.Option(
            metavar="PX|UMum", help="Width of an object: pixels, or a length such as 0.3um."
        ),
    ],
    minutes: Annotated[
        float, typer.Option(metavar="M", help="Minutes that you have.", show_default=True)
    ] = 5.0,
    grid: Annotated[
        Path | None,
        typer.Option(
            metavar="G.csv",
            help="What is counted so far: by its fraction, the precision to expect is told.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Lay the nodes, and write them into DIR/grid.csv."),
    ] = None,
    axes: AxesOption = None,
    voxel_size: VoxelSizeOption = None,
    seed: Annotated[
        int, typer.Option(metavar="S", help="Same seed, same places.", show_default=True)
    ] = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Propose, and lay the nodes if asked for."""
    check_seed(seed)
    if out is not None:
        check_out_dir(out)
    wanted = diameter_settings(object_diameter)
    import numpy as np

    from ..core.analysis import areas_of_pixels, counted_fractions
    from ..core.annotations import Annotations, Classes, read_annotations, write_grid
    from ..core.base import ResultFiles, preset
    from ..core.images import check_stack, open_stack
    from ..core.simulation import plan_counting
    from .streams import say

    settings = preset("fast").with_overrides(wanted)
    stack = open_stack(image, axes=axes, voxel_size_um=parse_voxel_size(voxel_size))
    check_stack(stack)
    check_diameter(settings, stack)
    reduction = settings.image.reduction(stack.pixel_size_um(0)) or 1
    fraction = None
    if grid is not None:
        known = read_annotations(grid=grid, stack=stack)
        so_far = counted_fractions(known, pixel_areas=areas_of_pixels(stack))
        if so_far is None:
            raise InputError(
                f"--grid {grid} holds nothing that is counted to its end; leave it out, or finish "
                "a grid or frame.",
                field="grid",
            )
        fraction = min(so_far.fractions[1:], default=None)
    window_px = settings.sampling.crop_px * reduction
    found = plan_counting(stack, window_px, minutes, fraction=fraction)
    results = None
    if out is not None:
        inputs = tuple(path for path in (image, grid) if path is not None)
        results = ResultFiles(out, "plan", ("grid.csv",), inputs=inputs, overwrite=overwrite)
        results.check()
    for note in stack.notes:
        say(f"note: {note}")
    for text in found.messages():
        typer.echo(text)
    if results is None:
        return
    laid = found.lay(stack, np.random.default_rng(seed))
    with results.writing() as folder:
        write_grid(folder / "grid.csv", Annotations(Classes(("background", "object")), grids=laid))
    typer.echo(f"written: {results.folder / 'grid.csv'}")
