"""``napari-spss join``: help a prediction that another process, or another machine, has begun."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import DeviceOption

HELP = """Help a prediction in blocks: compute blocks until none is left.

OUT_DIR is the --out of napari-spss predict with --workers, which must go on meanwhile; from another
machine, with --host. Run, image and OUT_DIR must have the same paths on both. Of many images it
helps with one after the other.
"""

EXAMPLES = """Example:

\b
  napari-spss join result --device cuda:1
"""


def join(
    out: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="Folder of the prediction.")],
    device: DeviceOption = "auto",
    wait: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", help="How long to wait for it to begin, and for the next image."
        ),
    ] = 60.0,
) -> None:
    """Compute blocks, and say how many."""
    from ..core.base import counted
    from ..core.prediction import join_prediction

    done = join_prediction(out, device=device, wait_s=wait)
    typer.echo(f"no block is left; {counted(done, 'block')} computed here")
