"""What a project holds, and how it is restored from its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..annotations import (
    Annotations,
    Classes,
    ClassStyle,
    CountingGrid,
    Look,
    annotation_files,
    restore_annotations,
    write_grid,
    write_keypoints,
    write_proportions,
)
from ..base import InputError, set_aside
from .folder import RECORD_FILE
from .record import ObjectsRecord, ProjectRecord, read_project

TABLES: dict[str, tuple[str, Callable[[Path, Annotations], None]]] = {
    "proportions": ("proportions.csv", write_proportions),
    "keypoints": ("keypoints.csv", write_keypoints),
    "grids": ("grid.csv", write_grid),
    "check": ("check.csv", write_grid),
}
"""File name and writer of each kind of annotations."""


@dataclass(frozen=True)
class ProjectState:
    """What a project holds, painted labels and numbers of objects excepted.

    Raises
    ------
    ValueError
        If the annotations are of other classes.
    """

    classes: tuple[ClassStyle, ...] = ()  # background first
    # of these classes; None stands for nothing annotated. Where something is said twice, the last
    # word counts and the others go
    annotations: Annotations | None = None
    # values of the form's fields; anything that JSON can hold
    settings: Mapping[str, Any] = field(default_factory=dict)
    # what was typed into the table of fractions, wrong cells included
    table_texts: Mapping[str, Any] = field(default_factory=dict)
    # nodes to be looked at again; what was said of them is in the annotations
    looks: tuple[Look, ...] = ()
    # grids and frames of the check count, that nothing learns from
    check: tuple[CountingGrid, ...] = ()
    run: str = ""  # name of the run whose model is in use; empty for the newest
    # what is said of proofread objects of each class; their numbers excepted
    objects: tuple[ObjectsRecord, ...] = ()

    def __post_init__(self) -> None:
        if self.annotations is not None and self.annotations.classes != self.names:
            raise ValueError(f"annotations of {self.annotations.classes}, classes {self.names}")
        if self.annotations is not None:
            object.__setattr__(self, "annotations", self.annotations.settled())
        if self.check:
            object.__setattr__(self, "check", self.said("check").settled().grids)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(style.name for style in self.classes)

    def part(self, name: str) -> tuple[Any, ...]:
        """Return one kind of annotations: a key of `TABLES`."""
        if name == "check":
            return self.check
        return () if self.annotations is None else tuple(getattr(self.annotations, name))

    def said(self, part: str) -> Annotations:
        """Annotations whose table is that of a part: the check count has one of its own."""
        if part == "check" or self.annotations is None:
            grids = self.check if part == "check" else ()
            return Annotations(Classes(self.classes), grids=grids)
        return self.annotations

    def record(self, *, identity: str, source: str) -> ProjectRecord:
        """Return what ``project.json`` says of it."""
        return ProjectRecord(
            identity=identity,
            source=source,
            classes=self.classes,
            settings=dict(self.settings),
            table_texts=dict(self.table_texts),
            looks=self.looks,
            run=self.run,
            proofread=self.objects,
        )


@dataclass(frozen=True)
class Restored:
    """What a folder held."""

    state: ProjectState  # all that could be restored
    warnings: tuple[str, ...] = ()  # what could not be restored
    # keys of `TABLES` of which something could not be restored
    unreadable: frozenset[str] = frozenset()


def read_state(folder: Path, *, identity: str) -> Restored | None:
    """Restore what a folder holds.

    Parameters
    ----------
    folder : Path
        An existing folder.
    identity : str
        Of the image that the project must belong to.

    Returns
    -------
    Restored or None
        None if there is no project.

    Raises
    ------
    InputError
        If the project belongs to another image or does not say to which, is damaged, or was made
        by a newer version.
    """
    path = folder / RECORD_FILE
    if not path.exists():
        _refuse_foreign_tables(folder)
        return None
    record = read_project(path)
    if record.identity != identity:
        was = f" ({record.source})" if record.source else ""
        raise InputError(
            f"The project {folder} belongs to another image{was}; open that image, or choose "
            "another project folder for this one.",
            field="project",
        )
    classes = record.classes
    names = tuple(style.name for style in classes)
    if not names:
        state = ProjectState(classes, None, record.settings, record.table_texts, run=record.run)
        return Restored(state)
    annotations, problems = restore_annotations(annotation_files(folder), classes=names)
    path = folder / TABLES["check"][0]
    check, of_check = restore_annotations({"grid": path} if path.exists() else {}, classes=names)
    problems = (*problems, *of_check)
    warnings: list[str] = []
    unreadable: set[str] = set()
    for part, (name, _) in TABLES.items():
        faults = [problem for problem in problems if Path(problem.file).name == name]
        if faults:
            unreadable.add(part)
            warnings.append(
                f"{name} could not be read as a whole and is kept as "
                f"{set_aside(folder / name).name}: {InputError(problems=faults)}"
            )
    state = ProjectState(
        classes,
        annotations,
        record.settings,
        record.table_texts,
        record.looks,
        check.grids,
        record.run,
        record.proofread,
    )
    return Restored(state, tuple(warnings), frozenset(unreadable))


def _refuse_foreign_tables(folder: Path) -> None:
    """Do not take annotations for this image's that do not say whose they are."""
    found = [name for name, _ in TABLES.values() if (folder / name).exists()]
    if found:
        raise InputError(
            f"{folder} has {', '.join(found)} but no {RECORD_FILE} that says to which image they "
            "belong; choose an empty folder, and open the CSV files there.",
            field="project",
        )
