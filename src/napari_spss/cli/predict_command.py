"""``napari-spss predict``: maps, labels and fractions of an image."""

from __future__ import annotations

import contextlib
import glob
from pathlib import Path
from typing import Annotated, Any

import typer

from ..core.base import InputError
from .options import (
    AxesOption,
    DeviceOption,
    EachOption,
    GroupsOption,
    MinSizeOption,
    OverwriteOption,
    SplitOption,
    VoxelSizeOption,
    check_out_dir,
    check_single,
    finish_many,
    gpu_devices,
    keeping_ends,
    parse_threshold,
    parse_voxel_size,
    shown_path,
)

HELP = """Apply a trained model to images: maps, labels, and tables of fractions and objects.

Writes maps.ome.tif (probability of each class), labels.ome.tif (class of each pixel),
fractions.csv and fractions_objects.csv into --out, or folders of files for images of different
sizes, and next_slices.csv: the slices that are worth counting next. Works piece by piece, so a
stack may be larger than the memory. RUN is the folder that train wrote.

Several images, a pattern, a text file with a path a line, or --each FOLDER: each has a folder of
its own in --out, and images.csv has a row for each image and class. The same command goes on where
it was stopped; an image that fails is told, and the others go on.
"""

EXAMPLES = """Examples:

\b
  napari-spss predict run stack.tif --out result
  napari-spss predict run another.tif --out result2 --threshold auto
  napari-spss predict run volume.zarr --out result3 --gpus all
  napari-spss predict run a.tif b.zarr --out results
  napari-spss predict run study --each --out results --groups folder
"""


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, as train wrote it.")],
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE...", help="Image stacks, or folders of images."),
    ],
    out: Annotated[Path, typer.Option(metavar="OUT_DIR", help="Folder for the results.")],
    format_name: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="File format of maps and labels: tif, zarr (OME-Zarr), or one that another "
            "package offers.  [default: tif, or zarr with --workers]",
        ),
    ] = None,
    threshold: Annotated[
        str | None,
        typer.Option(
            metavar="auto|X",
            help="Two classes: from which probability on a pixel is an object. auto: the one "
            "threshold for all slices with which the fraction is the one stated for training.  "
            "[default: 0.5]",
        ),
    ] = None,
    uncertainty: Annotated[
        bool,
        typer.Option(
            "--uncertainty",
            help="Write uncertainty.ome.tif as well: 0 (certain) to 255 (all classes as likely). "
            "Takes four times as long, since all maps become means over four mirror images.",
        ),
    ] = False,
    flips: Annotated[
        bool,
        typer.Option(
            "--flips",
            help="Average the maps of the four mirror images, which takes four times as long.",
        ),
    ] = False,
    smooth_z: Annotated[
        bool | None,
        typer.Option(
            "--smooth-z/--no-smooth-z",
            help="Average the map of a slice with those of its two neighbours.  [default: where "
            "slices are at most half an object's width apart, and that is known]",
            show_default=False,
        ),
    ] = None,
    fill_holes: Annotated[
        bool,
        typer.Option(
            "--fill-holes", help="Give background that a class encloses in a slice to that class."
        ),
    ] = False,
    min_piece: Annotated[
        int,
        typer.Option(
            metavar="PIXELS", min=0, help="Make smaller pieces of a slice background, after that."
        ),
    ] = 0,
    device: DeviceOption = "auto",
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Predict in blocks by N processes, each on its share of the CPU's cores or on a "
            "GPU of --gpus; after a crash the same command goes on.",
        ),
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option(
            metavar="all|0,1,...",
            help="GPUs for the workers, by default one worker for each.",
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            metavar="auto|NAME",
            help="Let other machines help (napari-spss join): the name by which they reach this "
            "one. Only in a network that you trust.",
        ),
    ] = None,
    min_size: MinSizeOption = "1",
    split: SplitOption = None,
    axes: AxesOption = None,
    voxel_size: VoxelSizeOption = None,
    each: EachOption = False,
    groups: GroupsOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Predict, measure the labels, and say where everything is."""
    limit = parse_threshold(threshold)
    stated = parse_voxel_size(voxel_size)
    check_out_dir(out)
    from ..core.images import WRITERS

    in_blocks = workers is not None or gpus is not None or host is not None
    format_name = format_name or ("zarr" if in_blocks else "tif")
    WRITERS.get(format_name)
    if in_blocks and format_name != "zarr":
        raise InputError(
            f"--format {format_name} cannot be written in blocks; choose zarr, or leave out "
            "--workers, --gpus and --host."
        )
    devices = (device,) if gpus is None else gpu_devices(gpus)
    from ..core.base import CancelToken
    from ..core.images import are_many
    from ..core.prediction import predict_image, predict_images
    from .display import event_display
    from .stopping import stop_on_signals
    from .streams import python_alone, say

    is_list = are_many(images, each=each)
    if not is_list:
        check_single(None, groups)
    blocks = {
        "n_workers": len(devices) if workers is None else workers,
        "devices": devices,
        "host": "127.0.0.1" if host is None else None if host == "auto" else host,
    }
    ends: dict[str, str] = {}
    with (
        python_alone() if in_blocks else contextlib.nullcontext(),
        stop_on_signals(token := CancelToken()),
        event_display(is_jsonl=False) as show,
    ):
        options: dict[str, Any] = {
            "out_dir": out,
            "axes": axes,
            "voxel_size_um": stated,
            "format": format_name,
            "threshold": limit,
            "uncertainty": uncertainty,
            "flips": flips,
            "smooth_z": smooth_z,
            "fill_holes": fill_holes,
            "min_piece_px": min_piece,
            "device": device,
            "blocks": blocks if in_blocks else None,
            "min_size": min_size,
            "split": split,
            "overwrite": overwrite,
            "show": show,
            "token": token,
        }
        if is_list:
            options["show"] = keeping_ends(show, ends)
            predict_images(run, images, each=each, groups=groups, **options)
        else:
            done, _ = predict_image(run, images[0], **options)
    if is_list:
        finish_many(ends, out)
        return
    if done is None:
        return
    found = done.found
    for line in found.summary():
        typer.echo(line)
    for note in found.notes:
        say(f"note: {note}")
    if done.advice:
        typer.echo(done.advice)
    typer.echo("written:")
    for name in done.names:
        typer.echo(f"  {out / name}")
    shown = [Path(images[0]), Path(done.labels)]
    if shown[1].is_dir() and not shown[1].suffix:
        # images of several sizes, which napari opens one by one
        shown[1] = min(shown[1].iterdir())
        shown[0] = next(shown[0].glob(f"{glob.escape(shown[1].stem)}.*"), shown[0])
    typer.echo(f"look at it: napari {' '.join(map(shown_path, shown))}")
    typer.echo("    and there right click on the layer of labels: Convert to Labels")
