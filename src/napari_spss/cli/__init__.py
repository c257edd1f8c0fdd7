"""The command ``napari-spss``: a thin layer over the core, without Qt and napari.

Nothing heavy is imported before a command runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from ..core.base import InputError
from . import (
    demo_command,
    estimate_command,
    evaluate_command,
    figure_command,
    join_command,
    measure_command,
    plan_command,
    predict_command,
    review_command,
    simulate_command,
    train_command,
)
from .problems import ABORTED, exit_code_of, plain_warnings
from .streams import plain_streams, say

_HELP = """Segment mitochondria, or any other structure, in electron microscopy images.

Say how much of a slice is what (fractions, counting grids) and where a few objects are (keypoints);
train a network from that; apply it; measure.

\b
The usual order:
  napari-spss plan stack.tif --object-diameter 80 --out counts
  napari-spss train stack.tif --proportions proportions.csv --grid counts/grid.csv \\
      --object-diameter 80 --out run
  napari-spss predict run stack.tif --out result
  napari-spss measure result/labels.ome.tif --out fractions.csv
  napari-spss estimate result --run run --check check.csv --out corrected.csv
"""

_EPILOG = "napari-spss COMMAND --help explains a command, with examples."

app = typer.Typer(
    add_completion=False,
    # Plain text: wraps in any terminal, and keeps the examples as they are.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "color": True,  # else typer takes escape sequences out of names, which then are others
    },
)
for _module, _command, _short in (
    (demo_command, demo_command.demo, "Try everything on a synthetic EM stack."),
    (plan_command, plan_command.plan, "Propose what to count, and where."),
    (train_command, train_command.train, "Train a network from fractions, keypoints or masks."),
    (predict_command, predict_command.predict, "Apply a trained model to an image."),
    (join_command, join_command.join, "Help a prediction that goes on elsewhere."),
    (review_command, review_command.review, "List the nodes that are worth a second look."),
    (evaluate_command, evaluate_command.evaluate, "Compare labels with the truth."),
    (measure_command, measure_command.measure, "Measure fractions and objects of labels."),
    (
        estimate_command,
        estimate_command.estimate,
        "Estimate fractions, corrected by a check count.",
    ),
    (figure_command, figure_command.figure, "Draw fractions, sizes and an overlay of labels."),
    (simulate_command, simulate_command.simulate, "Make annotations from masks, for comparisons."),
):
    _register = app.command(help=_module.HELP, short_help=_short, epilog=_module.EXAMPLES)
    _register(_command)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        from .. import __version__

        typer.echo(f"napari-spss {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True, help=_HELP, epilog=_EPILOG)
def _root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_show_version, help="Show the version and exit."
        ),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Show the traceback of an error; may stand after a command."),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _check_text(arguments: Sequence[str]) -> None:
    """Refuse names that are no text, as old ones on Linux: no record could name those files."""
    names = list(arguments)
    with contextlib.suppress(OSError):
        names.append(os.getcwd())
    for name in names:
        if name != name.encode(errors="ignore").decode():
            raise InputError(f"the name {name!r} is not UTF-8; rename that file or folder.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the program's name; by default those of the process.

    Returns
    -------
    int
        0: done or stopped; 1: a run failed; 2: bad input or usage; 130: aborted by a second Ctrl-C.
    """
    # Threads that wait would keep a core busy; read once, when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = list(sys.argv[1:] if argv is None else argv)
    has_debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    with plain_streams(), plain_warnings(is_on=not has_debug):
        try:
            _check_text(arguments)
            code = typer.main.get_command(app).main(
                arguments, prog_name="napari-spss", standalone_mode=False
            )
        except Exception as error:  # noqa: BLE001  the border to the user
            return exit_code_of(error, has_debug=has_debug)
        if code == ABORTED:
            say("aborted")
    return int(code or 0)
