"""``napari-spss predict``: maps, labels and fractions of an image."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.base import InputError
from .options import (
    AxesOption,
    DeviceOption,
    MinSizeOption,
    OverwriteOption,
    SplitOption,
    VoxelSizeOption,
    check_out_dir,
    gpu_devices,
    parse_threshold,
    parse_voxel_size,
    shown_path,
)

if TYPE_CHECKING:
    from ..core.training import RunInputs

HELP = """Apply a trained model to an image: maps, labels, and tables of fractions and objects.

Writes maps.ome.tif (probability of each class), labels.ome.tif (class of each pixel),
fractions.csv and fractions_objects.csv into --out, or folders of files for images of different
sizes, and next_slices.csv: the slices that are worth counting next. Works piece by piece, so a
stack may be larger than the memory. RUN is the folder that train wrote.
"""

EXAMPLES = """Examples:

\b
  napari-spss predict run stack.tif --out result
  napari-spss predict run another.tif --out result2 --threshold auto
  napari-spss predict run volume.zarr --out result3 --gpus all
"""


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, as train wrote it.")],
    image: Annotated[
        Path, typer.Argument(metavar="IMAGE", help="Image stack, or folder of images.")
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
    from ..core.analysis import check_split, table_names
    from ..core.base import CancelToken, Event, Predicted, RunFinished, least_pixels
    from ..core.images import BOTH_UNKNOWN, open_stack
    from ..core.prediction import (
        FRACTIONS,
        iter_prediction,
        predict_in_blocks,
        prediction_results,
        result_names,
        write_fractions,
    )
    from ..core.training import RunFolder, load_model
    from .display import event_display
    from .next_slices import TABLE as NEXT_SLICES, write_next_slices
    from .stopping import stop_on_signals
    from .streams import python_alone, say

    check_split(split)
    model = load_model(run)
    inputs = _inputs_of(run, image)
    said = () if inputs is None else RunFolder(run).annotations().effective_proportions()
    if inputs is not None:
        axes, stated = axes or inputs.axes, stated or inputs.voxel_size_um
    stack = open_stack(image, axes=axes, voxel_size_um=stated)
    if stack.n_channels != model.n_channels:
        raise InputError(
            f"{image} has {stack.n_channels} channels, but the model was trained on "
            f"{model.n_channels}; choose an image like those it was trained on."
        )
    is_volume = not stack.is_set and stack.n_slices > 1
    pixel = stack.pixel_size_um(0)
    least_pixels(min_size, stack.voxel_size_um if is_volume else (pixel, pixel))
    names = result_names(is_set=stack.is_set, uncertainty=uncertainty, format=format_name).values()
    results = prediction_results(
        out,
        (*names, *table_names(FRACTIONS), NEXT_SLICES),
        model=model,
        stack=stack,
        source=stack.source,
        overwrite=overwrite,
    )
    results.check()
    is_known = model.working_scale.pixel_size_um or stack.pixel_size_um(0)
    if inputs is None and not is_known:
        say(f"note: {BOTH_UNKNOWN}")
    token = CancelToken()
    outputs: dict[str, str] = {}
    means: dict[int, float] = {}
    with (
        python_alone() if in_blocks else contextlib.nullcontext(),
        stop_on_signals(token),
        event_display(is_jsonl=False) as show,
    ):

        def take(event: Event) -> None:
            show(event)
            if isinstance(event, Predicted):
                means[event.slice] = event.uncertainty
            elif isinstance(event, RunFinished):
                outputs.update(event.outputs)

        if in_blocks:
            predict_in_blocks(
                run,
                image,
                out_dir=out,
                n_workers=len(devices) if workers is None else workers,
                devices=devices,
                host="127.0.0.1" if host is None else None if host == "auto" else host,
                axes=axes,
                voxel_size_um=stated,
                threshold=limit,
                uncertainty=uncertainty,
                flips=flips,
                smooth_z=smooth_z,
                overwrite=overwrite,
                show=take,
                token=token,
            )
        else:
            for event in iter_prediction(
                model,
                stack,
                out_dir=out,
                overwrite=overwrite,
                threshold=limit,
                uncertainty=uncertainty,
                format=format_name,
                flips=flips,
                smooth_z=smooth_z,
                device=device,
                token=token,
            ):
                take(event)
    if not outputs:
        return
    with results.writing(adds=True) as folder:
        found = write_fractions(
            folder,
            outputs["labels"],
            stack,
            model.classes,
            maps=outputs["maps"],
            voxel_size_um=stated,
            min_size=min_size,
            split=split,
        )
        advice = write_next_slices(
            folder, model, stack, uncertainty=means, found=found, stated=said
        )
    for line in found.summary():
        typer.echo(line)
    for note in found.notes:
        say(f"note: {note}")
    if advice:
        typer.echo(advice)
    typer.echo("written:")
    for name in results.names:
        if name != NEXT_SLICES or advice:
            typer.echo(f"  {out / name}")
    typer.echo(f"look at it: napari {shown_path(image)} {shown_path(outputs['labels'])}")


def _inputs_of(run: Path, image: Path) -> RunInputs | None:
    """What was said about the image, if it is that of the run."""
    from ..core.training import INPUTS, RunFolder

    if not (run / INPUTS).is_file():
        return None
    inputs = RunFolder(run).inputs()
    return inputs if Path(inputs.image) == image.resolve() else None
