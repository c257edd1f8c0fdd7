"""``project.json``: which image a project belongs to, its classes, settings and typed texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from ..annotations import Classes, ClassStyle, Look, usable_class_names
from ..base import Record, parse_record, read_file, write_atomically

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
    objects : ObjectsRecord or None
        The same of an earlier version, of one class. It is not written.
    renamed : dict
        What classes are called now whose names, of an earlier version, cannot be those of classes.
        It is not written.
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
    objects: ObjectsRecord | None = Field(default=None, exclude=True)
    renamed: dict[str, str] = Field(default_factory=dict, exclude=True)

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
    content, renamed = _with_usable_names(read_file(path, remedy=remedy))
    newest = ("version", FORMAT_VERSION)
    record = parse_record(ProjectRecord, content, path, remedy=remedy, newest=newest)
    return record.model_copy(update={"renamed": renamed})


def _with_usable_names(content: bytes) -> tuple[bytes, dict[str, str]]:
    """Give classes of earlier versions names that can be used now; say which by the former ones."""
    try:
        record = json.loads(content)
    except (ValueError, RecursionError):  # damaged, as will be told
        return content, {}
    styles = _entries(record, "classes")
    renamed = usable_class_names(s["name"] for s in styles if isinstance(s.get("name"), str))
    if not renamed:
        return content, {}
    cells = _entries(record.get("table_texts"), "cells")
    for entry, key in (*((one, "name") for one in styles), *((one, "class") for one in cells)):
        if isinstance(entry.get(key), str):
            entry[key] = renamed.get(entry[key], entry[key])
    return json.dumps(record).encode(), renamed


def _entries(record: Any, name: str) -> list[dict[str, Any]]:
    """Return the objects in a list of a record that may be damaged."""
    items = record.get(name) if isinstance(record, dict) else None
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def write_project(path: Path, record: ProjectRecord) -> None:
    """Write ``project.json`` atomically, or raise RunError."""
    write_atomically(path, f"{record.model_dump_json(indent=1)}\n", makes_folder=False)
