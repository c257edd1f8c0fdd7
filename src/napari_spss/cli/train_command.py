"""``napari-spss train``: from annotations to a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.base import counted
from .options import (
    AxesOption,
    ClassesOption,
    DeviceOption,
    InstancesOption,
    OutsideOption,
    VoxelSizeOption,
    check_out_dir,
    parse_voxel_size,
    shown_path,
)

if TYPE_CHECKING:
    from ..core.base import CancelToken
    from ..core.training import Model
    from .train_job import TrainJob

HELP = """Train a network from fractions, keypoints, counting grids or masks.

IMAGE is a TIFF stack, a folder of PNG, TIFF or JPEG slices, .mrc, .rec, .npy or .zarr. Give at
least one table or masks; slices count from 0. The model goes into the folder --out, with all that
is needed to repeat the run.

Ctrl-C stops within a step and keeps a usable model; the same command with --resume goes on. With
tables that have grown, --resume learns from what was added.
"""

EXAMPLES = """Examples:

\b
  napari-spss train stack.tif --proportions proportions.csv --grid grid.csv \\
      --object-diameter 80 --out run
  napari-spss train stack.tif --masks masks --classes background,mitochondria --out run
  napari-spss train --out run --resume --set optimisation.max_steps=800

\b
proportions.csv (a blank cell is unknown, 0 is exactly empty):
  slice,background,mitochondria
  0,94%,6%
  5,,3.5%
"""


def train(
    image: Annotated[
        Path | None,
        typer.Argument(
            metavar="IMAGE", help="Image stack, or folder of images; with --resume that of the run."
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="RUN", help="Folder for the run; must not hold one already.")
    ] = ...,  # type: ignore[assignment]  # typer's sign for a required option after an optional one
    proportions: Annotated[
        Path | None,
        typer.Option(metavar="P.csv", help="Table of fractions: how much of a slice is what."),
    ] = None,
    keypoints: Annotated[
        Path | None,
        typer.Option(metavar="K.csv", help="Table of keypoints: where something is."),
    ] = None,
    keypoint_units: Annotated[
        str | None,
        typer.Option(
            metavar="pixel|um|nm",
            help="Of the positions in K.csv; a length needs the pixel size of the image. Pixels, "
            "unless they look like micrometres: then you are asked.",
        ),
    ] = None,
    grid: Annotated[
        Path | None,
        typer.Option(metavar="G.csv", help="Table of counting grids: what lies at each node."),
    ] = None,
    review: Annotated[
        Path | None,
        typer.Option(
            metavar="REVIEW.csv",
            help="Table of second looks at nodes of the grids, as review wrote it and you filled "
            "it in.",
        ),
    ] = None,
    start_from: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Begin with the model of an earlier run, such as of another stack; with its "
            "network. Of other classes, all but its last layer is taken.",
        ),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(metavar="MASKS", help="Masks, a file or a folder like IMAGE; 255 = unknown."),
    ] = None,
    classes: ClassesOption = None,
    instances: InstancesOption = False,
    outside: OutsideOption = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="fast|paper",
            help="fast: for rough fractions of whole slices, on any computer; paper: the published "
            "protocol, made for a GPU.  [default: fast]",
        ),
    ] = None,
    object_diameter: Annotated[
        str | None,
        typer.Option(
            metavar="PX|UMum",
            help="Width of the smallest object of interest: 80 (pixels) or 0.3um. The network then "
            "sees the image reduced so that it is about 24 pixels wide: faster, and better.",
        ),
    ] = None,
    device: DeviceOption = "auto",
    max_minutes: Annotated[
        float | None,
        typer.Option(
            metavar="M",
            help="Stop after M minutes of training, even if steps are left; --resume does those.",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="S",
            help="Same seed, steps, threads and annotations: same model on the CPU.  [default: 0]",
        ),
    ] = None,
    is_resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the run in --out, with its settings."),
    ] = False,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any setting by its name, such as optimisation.max_steps=800; may be repeated.",
        ),
    ] = None,
    events: Annotated[
        str | None,
        typer.Option(
            metavar="jsonl",
            help="Progress as JSON lines on standard output, all else on standard error.",
        ),
    ] = None,
    axes: AxesOption = None,
    voxel_size: VoxelSizeOption = None,
) -> None:
    """Prepare the run, drain its events, and say what came of it."""
    from ..core.base import CancelToken, FinishReason, RunFinished, RunStarted, Watched
    from .display import busy, check_events_option, event_display
    from .resume import resumed_job
    from .stopping import stop_on_signals
    from .train_job import TrainRequest, fresh_job, introduce

    is_jsonl = check_events_option(events)
    check_out_dir(out)
    request = TrainRequest(
        image=image,
        out=out,
        proportions=proportions,
        keypoints=keypoints,
        grid=grid,
        masks=masks,
        classes=classes,
        has_instances=instances,
        preset=preset,
        object_diameter=object_diameter,
        max_minutes=max_minutes,
        seed=seed,
        assignments=tuple(assignments or ()),
        axes=axes,
        voxel_size_um=parse_voxel_size(voxel_size),
        outside=outside,
        keypoint_units=keypoint_units,
        review=review,
        start_from=start_from,
    )
    token = CancelToken()
    with busy("reading image and annotations"):
        job = resumed_job(request) if is_resume else fresh_job(request)
    run = Watched(job.start(device=device, token=token))
    reason: FinishReason | None = None
    with stop_on_signals(token):
        with event_display(is_jsonl=is_jsonl) as show:
            for event in run:
                if isinstance(event, RunStarted):
                    introduce(job, event.device)  # the data have proved usable
                show(event)
                reason = event.reason if isinstance(event, RunFinished) else None
        is_cut_short = reason in (FinishReason.stopped, FinishReason.time_limit)
        _report(job, run.result, is_cut_short, device=device, token=token, is_jsonl=is_jsonl)


def _report(
    job: TrainJob,
    model: Model,
    is_cut_short: bool,
    *,
    device: str,
    token: CancelToken,
    is_jsonl: bool,
) -> None:
    """Print fractions beside each other, where the model is, and what to do next."""
    from ..core.base import Stopped
    from .comparison import comparison_lines, gain_lines
    from .streams import say

    lines = []
    if not token.is_cancelled:
        if job.annotations.effective_proportions():
            say("comparing stated and predicted fractions")
        try:
            lines += comparison_lines(model, job.stack, job.annotations, device=device, token=token)
            lines += gain_lines(model, job, device=device, token=token)
        except Stopped:
            say("comparison left out")
    steps = counted(model.n_steps, "step")
    lines.append(f"model: {job.out / 'model.safetensors'} ({steps})")
    out = shown_path(job.out)
    if is_cut_short:
        lines.append(f"to go on: napari-spss train --out {out} --resume")
    result = shown_path(job.out / "result")
    if any(grid.n_judged for grid in job.annotations.grids):
        lines.append(f"second look at doubtful nodes: napari-spss review {out} --out review.csv")
    lines.append(f"next: napari-spss predict {out} {shown_path(job.stack.source)} --out {result}")
    for line in lines:
        typer.echo(line, err=is_jsonl)
