"""``napari-spss predict``: maps, labels and fractions of an image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.base import InputError
from .measure_command import measure_masks, summary_lines
from .options import (
    AxesOption,
    DeviceOption,
    OverwriteOption,
    VoxelSizeOption,
    check_out_dir,
    parse_threshold,
    parse_voxel_size,
    shown_path,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from ..core.base import Event
    from ..core.training import RunInputs

__all__ = ["EXAMPLES", "HELP", "predict"]

HELP = """Apply a trained model to an image: maps, labels and a table of fractions.

Writes maps.ome.tif (probability of each class), labels.ome.tif (class of each pixel) and
fractions.csv into --out, or folders of TIFF files for images of different sizes, and
next_slices.csv: the slices that are worth counting next. Works piece by piece, so a stack may be
larger than the memory. RUN is the folder that train wrote.
"""

EXAMPLES = """Examples:

\b
  napari-spss predict run stack.tif --out result
  napari-spss predict run another.tif --out result2 --threshold auto
"""

_FORMATS = ("tif",)
_FRACTIONS = "fractions.csv"


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, as train wrote it.")],
    image: Annotated[
        Path, typer.Argument(metavar="IMAGE", help="Image stack, or folder of images.")
    ],
    out: Annotated[Path, typer.Option(metavar="OUT_DIR", help="Folder for the results.")],
    format_name: Annotated[
        str, typer.Option("--format", metavar="tif", help="File format of maps and labels.")
    ] = "tif",
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
    device: DeviceOption = "auto",
    axes: AxesOption = None,
    voxel_size: VoxelSizeOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Predict, measure the labels, and say where everything is."""
    if format_name not in _FORMATS:
        raise InputError(
            f"--format {format_name!r} cannot be written; choose {', '.join(_FORMATS)}."
        )
    limit = parse_threshold(threshold)
    stated = parse_voxel_size(voxel_size)
    check_out_dir(out)
    from ..core.analysis import table_names, write_tables
    from ..core.base import CancelToken
    from ..core.images import BOTH_UNKNOWN, open_labels, open_stack
    from ..core.prediction import iter_prediction, prediction_results, result_name
    from ..core.training import RunFolder, load_model
    from .display import event_display, say
    from .next_slices import TABLE as NEXT_SLICES, write_next_slices
    from .stopping import stop_on_signals

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
    images = ("maps", "labels", "uncertainty") if uncertainty else ("maps", "labels")
    results = prediction_results(
        out,
        (
            *(result_name(what, is_set=stack.is_set) for what in images),
            *table_names(_FRACTIONS),
            NEXT_SLICES,
        ),
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
    with stop_on_signals(token), event_display(is_jsonl=False) as show:
        events = iter_prediction(
            model,
            stack,
            out_dir=out,
            overwrite=overwrite,
            threshold=limit,  # type: ignore[arg-type]  # the only text is "auto"
            uncertainty=uncertainty,
            device=device,
            token=token,
        )
        outputs, means = _drain(events, show)
    if not outputs:
        return
    labels = open_labels(outputs["labels"])
    found = measure_masks(labels, voxel_size_um=stated, outside=model.outside)
    with results.writing(adds=True) as folder:
        write_tables(found, folder / _FRACTIONS)
        advice = write_next_slices(
            folder, model, stack, uncertainty=means, found=found, stated=said
        )
    for line in summary_lines(found):
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


def _drain(
    events: Generator[Event, None, tuple[float, ...]], show: Callable[[Event], None]
) -> tuple[dict[str, str], tuple[float, ...]]:
    """Show events; return the written files, none if stopped, and each slice's uncertainty."""
    from ..core.base import RunFinished

    outputs: dict[str, str] = {}
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            return outputs, end.value
        show(event)
        if isinstance(event, RunFinished):
            outputs = event.outputs


def _inputs_of(run: Path, image: Path) -> RunInputs | None:
    """What was said about the image, if it is that of the run."""
    from ..core.training import INPUTS, RunFolder

    if not (run / INPUTS).is_file():
        return None
    inputs = RunFolder(run).inputs()
    return inputs if Path(inputs.image) == image.resolve() else None
