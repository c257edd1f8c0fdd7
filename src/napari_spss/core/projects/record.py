"""``project.json``: which image a project belongs to, its classes, settings and typed texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from ..annotations import Classes, ClassStyle, Look
from ..base import Record, read_record, write_atomically

FORMAT_VERSION = 1


class ObjectsRecord(Record):
    """Objects that a person proofread: what was asked for, and which were judged.

    Parameters
    ----------
    class_name : str
    per_slice : bool
    min_size : str
    split : float or None
        As `find_objects` takes them.
    judged : tuple of int
        Objects that were kept or changed.
    made_by : dict
        Where the labels come from in which they were found, see `origin_of`.
    part : int
        Which of the numbers beside the record are theirs.
    """

    class_name: str
    per_slice: bool = False
    min_size: str = "1"
    split: float | None = None
    judged: tuple[int, ...] = ()
    made_by: dict[str, Any] = Field(default_factory=dict)
    part: int = Field(default=1, ge=1)


class ProjectRecord(Record):
    """Content of ``project.json``.

    Parameters
    ----------
    version : int
        Of the format.
    identity : str
        Of the image, see `Stack.identity`.
    source : str
        Where the image was when the project was made; for messages only.
    classes : tuple of ClassStyle
        Background first.
    settings : dict
        Plain values of the form's fields.
    table_texts : dict
        What was typed into the table of fractions, wrong cells included.
    looks : tuple of Look
        Nodes to be looked at again.
    run : str
        Name of the run whose model is in use; empty for the newest.
    proofread : tuple of ObjectsRecord
        What is said of the objects of each class whose numbers are beside it; the last are shown.
    """

    version: int = Field(default=FORMAT_VERSION, ge=1)
    identity: str = Field(min_length=1)
    source: str = ""
    classes: tuple[ClassStyle, ...] = ()
    settings: dict[str, Any] = Field(default_factory=dict)
    table_texts: dict[str, Any] = Field(default_factory=dict)
    looks: tuple[Look, ...] = ()
    run: str = ""
    proofread: tuple[ObjectsRecord, ...] = ()

    @field_validator("source")
    @classmethod
    def _to_text(cls, source: str) -> str:
        """Name a file that is not UTF-8, as old ones on Linux, as near as JSON can."""
        return source.encode(errors="backslashreplace").decode()

    @field_validator("classes")
    @classmethod
    def _check_names(cls, classes: tuple[ClassStyle, ...]) -> tuple[ClassStyle, ...]:
        if classes:
            Classes(classes)
        return classes


def read_project(path: Path) -> ProjectRecord:
    """Read ``project.json``; InputError if it is damaged, or was made by a newer version."""
    remedy = (
        "the annotations beside it are untouched. Choose another project folder and open its CSV "
        "files there, or restore the file from a backup"
    )
    return read_record(ProjectRecord, path, remedy=remedy, newest=("version", FORMAT_VERSION))


def write_project(path: Path, record: ProjectRecord) -> None:
    """Write ``project.json`` atomically, or raise RunError."""
    write_atomically(path, f"{record.model_dump_json(indent=1)}\n", makes_folder=False)
