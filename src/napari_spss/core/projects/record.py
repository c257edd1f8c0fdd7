"""``project.json``: which image a project belongs to, its classes, settings and typed texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from ..annotations import Annotations, ClassStyle
from ..base import Record, read_record, write_atomically

__all__ = ["FORMAT_VERSION", "ProjectRecord", "read_project", "write_project"]

FORMAT_VERSION = 1


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
    """

    version: int = Field(default=FORMAT_VERSION, ge=1)
    identity: str = Field(min_length=1)
    source: str = ""
    classes: tuple[ClassStyle, ...] = ()
    settings: dict[str, Any] = Field(default_factory=dict)
    table_texts: dict[str, Any] = Field(default_factory=dict)

    @field_validator("classes")
    @classmethod
    def _check_names(cls, classes: tuple[ClassStyle, ...]) -> tuple[ClassStyle, ...]:
        if classes:
            Annotations(tuple(style.name for style in classes))
        return classes


def read_project(path: Path) -> ProjectRecord:
    """Read ``project.json``.

    Raises
    ------
    InputError
        If it cannot be read, is damaged, or was made by a newer version.
    """
    return read_record(
        ProjectRecord,
        path,
        remedy="the annotations beside it are untouched. Choose another project folder and open "
        "its CSV files there, or restore the file from a backup",
        newest=("version", FORMAT_VERSION),
    )


def write_project(path: Path, record: ProjectRecord) -> None:
    """Write ``project.json`` atomically.

    Raises
    ------
    RunError
        If it cannot be written.
    """
    write_atomically(path, f"{record.model_dump_json(indent=1)}\n", makes_folder=False)
