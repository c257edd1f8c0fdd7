"""``napari-spss simulate``: annotations as a person might have made them, from masks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..core.base import InputError
from .options import (
    ClassesOption,
    InstancesOption,
    OutsideOption,
    OverwriteOption,
    check_out_dir,
    check_seed,
    parse_class_list,
    shown_path,
)

HELP = """Make annotations from masks as a person might, to compare ways of annotating.

Writes the CSV files that train reads, and summary.json with the seconds that a person would have
spent. --protocol is one of:

\b
  guess    the fraction of each slice, guessed
  regions  the fractions of tiles of a slice, guessed
  clicks   keypoints on objects and on the background
  grid     counting grids, every node judged
  frames   counting frames: small rectangles all over the stack, every node judged
  paper    exact fractions and keypoints of the paper's crops
"""

EXAMPLES = """Examples:

\b
  napari-spss simulate masks.tif --protocol guess --noise 0.2 --out guessed
  napari-spss simulate masks --protocol grid --slices 4 --grid-size 16 --out counted
  napari-spss simulate masks --protocol frames --frames 16 --frame-size 256 --out framed
  napari-spss simulate masks --protocol paper --crop-size 224 --degrade eq5:0.1 --out degraded
"""


def simulate(
    masks: Annotated[Path, typer.Argument(metavar="MASKS", help="True masks: a file or a folder.")],
    protocol: Annotated[
        str, typer.Option(metavar="guess|regions|clicks|grid|frames|paper", help="How to annotate.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the files.")],
    slices: Annotated[
        int | None,
        typer.Option(metavar="N", help="Annotate N slices, spread evenly.  [default: all]"),
    ] = None,
    grid_size: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="grid: square spacing such that about N x N nodes fall on a slice.  [default: 16]",
        ),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="frames: how many, spread over slices and field by systematic uniform random "
            "sampling.  [default: 16]",
        ),
    ] = None,
    frame_size: Annotated[
        int | None,
        typer.Option(metavar="PX", help="frames: edge of a frame, about.  [default: 256]"),
    ] = None,
    frame_nodes: Annotated[
        int | None,
        typer.Option(metavar="N", help="frames: about N x N nodes fall on a frame.  [default: 8]"),
    ] = None,
    clicks_per_slice: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="clicks: keypoints on each slice  [default: 12]; paper: on each crop  "
            "[default: 6].",
        ),
    ] = None,
    crop_size: Annotated[
        int | None,
        typer.Option(
            metavar="PX", help="paper: edge of a crop; regions: of a tile, about.  [default: 256]"
        ),
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(
            metavar="SIGMA",
            help="guess, regions: how far guesses scatter; 0.2 is about 20 %.  [default: 0]",
        ),
    ] = None,
    bias: Annotated[
        float | None,
        typer.Option(
            metavar="FACTOR",
            help="guess, regions: factor by which all guesses are too large.  [default: 1]",
        ),
    ] = None,
    node_errors: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            help="grid, frames: probability that a node is judged wrongly.  [default: 0]",
        ),
    ] = None,
    degrade: Annotated[
        str | None,
        typer.Option(
            metavar="eq5:S|eq5-renorm:S|kmeans:K",
            help="guess, regions, paper: degrade the fractions as the paper does: noise of Eq. 5 "
            "(with softmax as written, or divided by the sum), or K-means clusters.",
        ),
    ] = None,
    classes: ClassesOption = None,
    instances: InstancesOption = False,
    outside: OutsideOption = None,
    seed: Annotated[
        int, typer.Option(metavar="S", help="Same seed, same annotator.", show_default=True)
    ] = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Simulate, write the files, and say how long a person would have taken."""
    check_seed(seed)
    check_out_dir(out)
    spec = parse_class_list(classes)
    from ..core.analysis import areas_of_pixels, counted_fractions
    from ..core.images import open_labels
    from ..core.simulation import (
        PROTOCOLS,
        protocols_with,
        simulate as simulate_annotator,
        simulation_results,
        write_simulation,
    )
    from .display import duration
    from .streams import say

    if protocol not in PROTOCOLS:
        raise InputError(
            f"--protocol {protocol!r} is unknown; choose one of {', '.join(PROTOCOLS)}.",
            field="protocol",
        )
    given: dict[str, tuple[str, Any]] = {
        "--slices": ("n_slices", slices),
        "--grid-size": ("grid_size", grid_size),
        "--frames": ("n_frames", frames),
        "--frame-size": ("frame_px", frame_size),
        "--frame-nodes": ("frame_nodes", frame_nodes),
        "--clicks-per-slice": ("clicks_per_slice", clicks_per_slice),
        "--crop-size": ("tile_px", crop_size),
        "--noise": ("noise", noise),
        "--bias": ("bias", bias),
        "--node-errors": ("node_errors", node_errors),
        "--degrade": ("degradation", degrade),
    }
    for flag, (name, value) in given.items():
        if value is not None and protocol not in protocols_with(name):
            raise InputError(
                f"{flag} has no meaning for --protocol {protocol}; leave it out, or choose "
                f"--protocol {' or '.join(protocols_with(name))}."
            )
    simulation_results(out, masks=masks, overwrite=overwrite).check()
    truth = open_labels(masks, classes=spec, instances=instances)
    result = simulate_annotator(
        truth,
        protocol,
        seed=seed,
        outside=outside,
        **{name: value for name, value in given.values() if value is not None},
    )
    files = write_simulation(result, out, seed=seed, masks=masks, overwrite=overwrite)
    for note in (*truth.notes, *result.annotations.notes):
        say(f"note: {note}")
    typer.echo(f"classes: {', '.join(result.annotations.classes)}")
    typer.echo(f"simulated: {result.annotations.summary()}")
    found = counted_fractions(result.annotations, pixel_areas=areas_of_pixels(truth.stack))
    for text in () if found is None else found.messages():
        typer.echo(text)
    typer.echo(f"a person would have spent {duration(result.seconds)} ({result.seconds:.0f} s)")
    typer.echo(f"written: {', '.join(map(str, files))}")
    tables = [path for path in files if path.suffix == ".csv"]
    options = " ".join(f"--{path.stem} {shown_path(path)}" for path in tables)
    names = result.annotations.classes
    if len(names) > 2:  # in tables they may appear in another order
        options += f" --classes {shown_path(','.join(names))}"
    if result.annotations.outside is not None:
        options += f" --outside {shown_path(result.annotations.outside)}"
    typer.echo(f"next: napari-spss train IMAGE {options} --out RUN")
