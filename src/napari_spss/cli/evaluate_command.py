"""``napari-spss evaluate``: labels against the truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.base import InputError
from .options import ClassesOption, InstancesOption, parse_class_list

if TYPE_CHECKING:
    from ..core.images import Masks

HELP = """Compare labels with the truth: IoU and F1 of each class, mean IoU, accuracy.

LABELS is what predict wrote, or any masks; TRUTH are masks drawn by a person, with as many slices
of the same sizes; files of two folders go together by their names. Pixels whose truth is not known
(255, or black in colour masks) do not count.
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
    instances: InstancesOption = False,
    is_json: Annotated[
        bool, typer.Option("--json", help="Print the scores as JSON, for programs.")
    ] = False,
) -> None:
    """Score labels and print a table, or JSON."""
    spec = parse_class_list(classes)
    from ..core.analysis import evaluate as score
    from ..core.images import labels_in, open_labels
    from .streams import say

    found = labels_in(labels)
    if spec is None and not instances:
        true = _open_truth(truth, found)
    else:
        true = open_labels(truth, classes=spec, instances=instances)
    scores = score(_open_labels(found, true), true)
    typer.echo(json.dumps(scores.to_json(), indent=2) if is_json else scores.to_text())
    for note in scores.notes if is_json else ():  # the table has them
        say(f"note: {note}")


def _open_truth(path: Path, labels: Path) -> Masks:
    """Open the truth; values that could stand for several of the labels' classes are refused."""
    from ..core.annotations import ClassSpec
    from ..core.images import open_labels, open_masks, stored_classes
    from .streams import say

    names = stored_classes(labels)
    if names is None or stored_classes(path) is not None:
        return open_labels(path)
    true = open_masks(path, classes=ClassSpec(names))
    if len(names) > 2 and true.classes.values is not None:
        raise InputError(
            f"which values of {path} stand for which of {', '.join(names)} is not known; say it, "
            f'such as --classes "{true.classes.text}".',
            field="classes",
        )
    if len(names) > 2:
        taken = ClassSpec(names, tuple(range(len(names)))).text
        say(f"note: the values of {path} are taken as {taken}; --classes says others.")
    return true


def _open_labels(path: Path, true: Masks) -> Masks:
    """Open labels that were written here as what they are, others as the truth is."""
    from ..core.annotations import ClassSpec
    from ..core.images import open_labels, open_masks, stored_classes

    try:
        if stored_classes(path) is not None:
            return open_labels(path)
        spec = ClassSpec(true.classes.names)
        return open_masks(path, classes=spec, instances=true.has_instances)
    except InputError as error:
        if error.field != "classes" or true.classes.values is None:
            raise
        return open_masks(path, classes=true.classes)
