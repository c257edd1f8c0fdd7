"""``napari-spss demo``: everything once, on a synthetic EM stack."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import DeviceOption, check_out_dir

HELP = """Try it out: train on a synthetic EM stack, predict, and score against the known truth.

Takes two to three minutes on two CPU cores. Prints the stated fractions beside the predicted
ones, and writes maps, labels and an overlay figure.
"""

EXAMPLES = """Examples:

\b
  napari-spss demo
  napari-spss demo --out try-out --device cpu
"""


def demo(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for what the demo writes.")
    ] = Path("napari-spss-demo"),
    device: DeviceOption = "auto",
) -> None:
    """Drain the demo's events and print what it found."""
    check_out_dir(out)
    from ..core.base import CancelToken, Watched
    from .demo import iter_demo
    from .display import event_display
    from .stopping import stop_on_signals

    token = CancelToken()
    with stop_on_signals(token), event_display(is_jsonl=False) as show:
        for event in (run := Watched(iter_demo(out, device=device, token=token))):
            show(event)
    for line in run.result.lines:
        typer.echo(line)
    typer.echo("written:" if run.result.files else "nothing was written")
    for path in run.result.files:
        typer.echo(f"  {path}")
