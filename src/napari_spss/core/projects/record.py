"""``project.json``: which image a project belongs to, its classes, settings and typed texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..annotations import ClassStyle
from ..base import InputError, write_atomically

__all__ = ["FORMAT_VERSION", "ProjectRecord", "read_record", "write_record"]

FORMAT_VERSION = 1


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _ClassRecord(_Frozen):
    name: str
    colour: str
    key: str = ""
    is_outside: bool = False


class ProjectRecord(_Frozen):
    """Content of ``project.json``.

    Parameters
    ----------
    version : int
        Of the format.
    identity : str
        Of the image, see `Stack.identity`.
    source : str
        Where the image was when the project was made; for messages only.
    classes : tuple
        Background first.
    settings : dict
        Plain values of the form's fields.
    table_texts : dict
        What was typed into the table of fractions, wrong cells included.
    """

    version: int = Field(FORMAT_VERSION, ge=1)
    identity: str = Field(min_length=1)
    source: str = ""
    classes: tuple[_ClassRecord, ...] = ()
    settings: dict[str, Any] = {}
    table_texts: dict[str, Any] = {}

    def styles(self) -> tuple[ClassStyle, ...]:
        """Return the classes.

        Raises
        ------
        InputError
            If one of them cannot be a class.
        """
        return tuple(ClassStyle(**record.model_dump()) for record in self.classes)


def read_record(path: Path) -> ProjectRecord:
    """Read ``project.json``.

    Raises
    ------
    InputError
        If it cannot be read, is damaged, or was made by a newer version.
    """
    try:
        record = ProjectRecord.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror or error}); check its permissions, or choose "
            "another project folder.",
            field="project",
        ) from error
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"])) or "its syntax"
        raise InputError(
            f"{path} is damaged ({place}: {problem['msg']}); the annotations beside it are "
            "untouched. Choose another project folder and open its CSV files there, or restore "
            "the file from a backup.",
            field="project",
        ) from error
    if record.version > FORMAT_VERSION:
        raise InputError(
            f"{path} was written by a newer napari-spss (format {record.version}, this one reads "
            f"{FORMAT_VERSION}); update napari-spss.",
            field="project",
        )
    record.styles()
    return record


def write_record(path: Path, record: ProjectRecord) -> None:
    """Write ``project.json`` atomically.

    Raises
    ------
    RunError
        If it cannot be written.
    """
    write_atomically(path, f"{record.model_dump_json(indent=1)}\n", makes_folder=False)
