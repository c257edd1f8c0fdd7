"""``project.json``: which image a project belongs to, its classes, settings and typed texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from ..annotations import Classes, ClassStyle, Look
from ..base import Record, read_record, write_atomically

FORMAT_VERSION = 1


class ObjectsRecord(Record):
    """Objects that a person proofread: what was asked for, and which were judged."""

    class_name: str
    per_slice: bool = False
    min_size: str = "1"
    split: float | None = None  # as `find_objects` takes them
    judged: tuple[int, ...] = ()  # objects that were kept or changed
    # where the labels come from in which they were found, see `origin_of`
    made_by: dict[str, Any] = Field(default_factory=dict)
    part: int = Field(default=1, ge=1)  # which of the numbers beside the record are theirs


class ProjectRecord(Record):
    """Content of ``project.json``."""

    version: int = Field(default=FORMAT_VERSION, ge=1)  # of the format
    identity: str = Field(min_length=1)  # of the image, see `Stack.identity`
    source: str = ""  # where the image was when the project was made; for messages only
    classes: tuple[ClassStyle, ...] = ()  # background first
    settings: dict[str, Any] = Field(default_factory=dict)  # plain values of the form's fields
    # what was typed into the table of fractions, wrong cells included
    table_texts: dict[str, Any] = Field(default_factory=dict)
    looks: tuple[Look, ...] = ()  # nodes to be looked at again
    run: str = ""  # name of the run whose model is in use; empty for the newest
    # what is said of the objects of each class whose numbers are beside it; the last are shown
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
