"""``napari-spss evaluate``: labels against the truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.base import InputError
from .options import ClassesOption, parse_class_list

if TYPE_CHECKING:
    from ..core.annotations import ClassSpec
    from ..core.images import Masks

__all__ = ["EXAMPLES", "HELP", "evaluate"]

HELP = """Compare labels with the truth: IoU and F1 of each class, mean IoU, accuracy.

LABELS is what predict wrote, or any masks; TRUTH are masks drawn by a person, with as many slices
of the same sizes. Pixels whose truth is not known (255, or black in colour masks) do not count.
"""

EXAMPLES = """Examples:

\b
  napari-spss evaluate result/labels.ome.tif truth.tif
  napari-spss evaluate result/labels truth --classes background=0,myelin=127,axon=255
  napari-spss evaluate result/labels.ome.tif truth --json
"""


def evaluate(
    labels: Annotated[
        Path, typer.Argument(metavar="LABELS", help="Labels to be judged: a file or a folder.")
    ],
    truth: Annotated[Path, typer.Argument(metavar="TRUTH", help="True masks: a file or a folder.")],
    classes: ClassesOption = None,
    is_json: Annotated[
        bool, typer.Option("--json", help="Print the scores as JSON, for programs.")
    ] = False,
) -> None:
    """Score labels and print a table, or JSON."""
    spec = parse_class_list(classes)
    from ..core.analysis import evaluate as score
    from ..core.images import open_masks
    from .found_classes import note_found_classes

    true = open_masks(truth, classes=spec)
    scores = score(_open_labels(labels, true.classes), true)
    note_found_classes(true.classes)
    typer.echo(json.dumps(scores.to_json(), indent=2) if is_json else scores.to_text())


def _open_labels(path: Path, spec: ClassSpec) -> Masks:
    """Open labels as class indices, or else marked as the truth is."""
    from ..core.annotations import ClassSpec
    from ..core.images import open_masks

    try:
        return open_masks(path, classes=ClassSpec(spec.names))
    except InputError as error:
        if error.field != "classes" or spec.values is None:
            raise
        return open_masks(path, classes=spec)
