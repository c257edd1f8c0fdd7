"""``napari-spss review``: which nodes to look at again, as a table to be filled in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..core.base import InputError, counted
from .options import (
    AxesOption,
    DeviceOption,
    OverwriteOption,
    VoxelSizeOption,
    check_table,
    parse_voxel_size,
    shown_path,
)

HELP = """Write which nodes of the counting grids are worth a second look.

Predicts what was counted, and lists those nodes first about which map and person differ most. Look
at each of them, and write into the column "look": keep, the right class, or ? for unsure; a blank
cell is not looked at. "train --review" then learns from what was changed.
"""

EXAMPLES = """Examples:

\b
  napari-spss review run --out review.csv
  napari-spss train --out run --resume --review review.csv
  napari-spss train stack.tif --grid run/grid.csv --review review.csv \\
      --object-diameter 80 --out run2
"""


def review(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, as train wrote it.")],
    out: Annotated[Path, typer.Option(metavar="REVIEW.csv", help="Table to be written.")],
    image: Annotated[
        Path | None,
        typer.Option(metavar="IMAGE", help="Image of the run, if it is not where it was."),
    ] = None,
    n_nodes: Annotated[
        int, typer.Option("--n", metavar="N", min=1, help="Nodes to list, at most.")
    ] = 32,
    device: DeviceOption = "auto",
    axes: AxesOption = None,
    voxel_size: VoxelSizeOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Predict the regions of the grids, rank their nodes, and write the table."""
    stated = parse_voxel_size(voxel_size)
    check_table(out)
    from ..core.annotations import TABLE_NAMES, write_looks
    from ..core.base import CancelToken, FinishReason, ResultFiles, RunFinished
    from ..core.prediction import predict_regions
    from ..core.training import (
        CONFIG,
        EVENTS,
        INPUTS,
        MODEL_WEIGHTS,
        NodeMaps,
        RunFolder,
        load_model,
        rank_nodes,
    )
    from .display import event_display
    from .resume import stack_of_run
    from .stopping import stop_on_signals

    folder = RunFolder(run)
    annotations = folder.annotations()
    model = load_model(run)
    maps = NodeMaps(annotations)
    if not maps.regions:
        is_judged = any(grid.n_judged for grid in annotations.grids)
        what = "all judged nodes were looked at again" if is_judged else "no judged counting grid"
        raise InputError(f"{run}: {what}; count another grid, and train with it first.")
    stack = stack_of_run(
        run,
        folder.inputs(),
        image=image,
        axes=axes,
        voxel_size_um=stated,
        command=f"napari-spss review {shown_path(run)} --image IMAGE --out {shown_path(out)}",
    )
    made_from = {"run": str(run.resolve())}
    parts = (run / name for name in (CONFIG, EVENTS, INPUTS, MODEL_WEIGHTS, *TABLE_NAMES))
    inputs = (Path(stack.source), run, *parts)
    results = ResultFiles(
        out.parent, out.name, (out.name,), made_from, inputs=inputs, overwrite=overwrite
    )
    results.check()
    token = CancelToken()
    is_complete = False
    with stop_on_signals(token), event_display(is_jsonl=False) as show:
        for event in predict_regions(
            model, stack, maps.regions, maps.sink, device=device, token=token
        ):
            show(event)
            if isinstance(event, RunFinished):
                is_complete = event.reason is FinishReason.completed
    if not is_complete:
        return
    looks = rank_nodes(
        annotations, maps.probs, node_error=model.settings.labels.node_error, n=n_nodes
    )
    with results.writing() as aside:
        write_looks(aside / out.name, looks, annotations.classes)
    n_differ = sum(look.by_map != look.stated for look in looks)
    table = shown_path(out)
    typer.echo(
        f"written: {table} ({counted(len(looks), 'node')}; the map has another class at {n_differ})"
    )
    typer.echo("fill in its column look; --review takes it, to go on with the run or for a new one")
    typer.echo(f"next: napari-spss train --out {shown_path(run)} --resume --review {table}")
