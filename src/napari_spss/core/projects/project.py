"""A project: everything that is said about one image, saved as it is said.

A folder with ``project.json``, ``proportions.csv``, ``keypoints.csv``, ``grid.csv``, ``check.csv``
(the check count, apart from what is learned from), painted labels as ``painted/slice_00012.tif``
(one per painted slice), the numbers of proofread objects as ``objects/slice_00012.tif`` (of another
class ``objects/2_slice_00012.tif``) and ``log.jsonl``. Every file is written atomically, so after a
crash the last save is there. Nothing is written before the first save.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..base import (
    LOCK_FILES,
    STALE_FILES,
    FolderLock,
    InputError,
    RunError,
    check_links,
    remove_stale_files,
)
from ..images import PAINTED_FOLDER, PaintedSlices
from .action_log import ActionLog, read_actions
from .folder import RECORD_FILE, RUNS_FOLDER, FolderUnusable, fallback_folder
from .record import ProjectRecord, write_project
from .state import TABLES, ProjectState, read_state

logger = logging.getLogger(__name__)

LOG_FILE = "log.jsonl"
OBJECTS_FOLDER = "objects"
_FOLDERS = (PAINTED_FOLDER, OBJECTS_FOLDER)
_NAMES = (RECORD_FILE, LOG_FILE, *_FOLDERS, *(name for name, _ in TABLES.values()))


class _Place:
    """A folder, its lock, and what is known to be in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = FolderLock(folder)
        self.painted = PaintedSlices(folder / PAINTED_FOLDER)
        self._objects: dict[int, PaintedSlices] = {}
        self.contents: dict[str, object] = {}  # by file, what it is known to say
        self.was_on_disk = False

    def objects(self, part: int) -> PaintedSlices:
        """Numbers of the objects of a class."""
        if part not in self._objects:
            prefix = "" if part == 1 else f"{part}_"
            self._objects[part] = PaintedSlices(self.folder / OBJECTS_FOLDER, prefix)
        return self._objects[part]

    def write_objects(self) -> tuple[str, ...]:
        """Write what waits of the objects of all classes."""
        return tuple(name for one in self._objects.values() for name in one.write())


class Project:
    """An open project. Use :meth:`open`; call :meth:`close` at the end.

    Attributes
    ----------
    state : ProjectState
        What was restored, and later what was given to :meth:`save`, whether or not that worked.
    warnings : tuple of str
        What could not be restored, for the user.
    unreadable : frozenset of str
        Those of "proportions", "keypoints", "grids" and "check" whose file could not be restored
        as a whole. It is kept under another name.
    log : ActionLog
        Actions with their seconds.
    """

    def __init__(
        self, folder: Path, *, identity: str, source: str, clock: Callable[[], float]
    ) -> None:
        self.identity = identity
        self.source = source
        self.state = ProjectState()
        self.warnings: tuple[str, ...] = ()
        self.unreadable: frozenset[str] = frozenset()
        self.log = ActionLog(clock=clock)
        self._place = _Place(folder)

    @property
    def folder(self) -> Path:
        """Where the project is, or will be once something is saved."""
        return self._place.folder

    # Opening and closing ------------------------------------------------------------------------

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        identity: str,
        source: str = "",
        clock: Callable[[], float] = time.time,
    ) -> Project:
        """Open the project of an image, or prepare a new one.

        Parameters
        ----------
        folder : path
            The project's folder; need not exist.
        identity : str
            Of the image, see `Stack.identity`.
        source : str
            Where the image is; for messages and the name of a fallback folder.
        clock : callable
            Seconds since 1970.

        Raises
        ------
        FolderLocked
            If it is open elsewhere.
        InputError
            If it belongs to another image, was made by a newer version, or is damaged.
        FolderUnusable
            If something that is no folder is in its place.
        """
        project = cls(Path(folder), identity=identity, source=source, clock=clock)
        if not project.folder.exists():
            return project
        if not project.folder.is_dir():
            raise project._unusable("it is not a folder")
        try:
            project._place.lock.acquire()
            project._clean_up()
        except OSError as error:
            project._warn(str(project._unusable(error.strerror or str(error))))
        try:
            project._load()
        except BaseException:
            project.close()
            raise
        return project

    def close(self) -> None:
        """Give the lock back and write what is left of the log; harmless if done before."""
        try:
            if self._place.lock.is_held and self._place.was_on_disk:
                self.log.write(self.folder / LOG_FILE)
            self._place.lock.release()
        except OSError as error:
            logger.warning("Project %s was not closed cleanly: %s", self.folder, error)

    def __enter__(self) -> Project:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_writable(self) -> bool:
        """Whether saving can be expected to work: the lock is ours, or nothing is there yet."""
        return self._place.lock.is_held or not self._place.was_on_disk

    def fallback(self) -> Path:
        """Name a folder without a project in which this one could be saved instead."""
        return fallback_folder(self.source, self.identity, is_free=True)

    # Loading ------------------------------------------------------------------------------------

    def _clean_up(self) -> None:
        """Remove what a crash left half written."""
        for name in ("", *_FOLDERS):
            remove_stale_files(self.folder / name)

    def _load(self) -> None:
        """Restore what the folder holds."""
        check_links(self.folder, _NAMES)
        restored = read_state(self.folder, identity=self.identity)
        if restored is None:
            return
        self.state = restored.state
        self._place.contents = self._contents(restored.state)
        self.warnings = (*self.warnings, *restored.warnings)
        self.unreadable = restored.unreadable
        self._place.was_on_disk = True
        try:
            self.log.past = read_actions(self.folder / LOG_FILE)
        except InputError as error:
            self._warn(f"{error} Times of annotating start anew.")

    # Saving -------------------------------------------------------------------------------------

    def save(self, state: ProjectState) -> tuple[str, ...]:
        """Keep a state, and write the files of those parts that changed.

        Returns
        -------
        tuple of str
            Names of the files that were written.

        Raises
        ------
        FolderUnusable
            If the folder cannot be written; the state stays in memory, see :meth:`move_to`.
        FolderLocked
            If somebody else has opened a project in the folder meanwhile.
        """
        self.state = state
        return self._writing(self._write_state)

    def save_painted(self, slices: Mapping[int, Any]) -> tuple[str, ...]:
        """Write painted labels.

        Parameters
        ----------
        slices : mapping of int to ndarray, (Y, X) integer, or None
            Labels by slice, 0 = not painted. None, or nothing but 0, removes a slice's file;
            slices that are not named stay as they are. The arrays must not change afterwards.
            Those that cannot be written are kept in memory, and written by the next call.

        Returns
        -------
        tuple of str
            Names of the files that were written or removed.

        Raises
        ------
        FolderUnusable, FolderLocked
            As :meth:`save`.
        """
        self._place.painted.note(slices)
        return self._writing(self._place.painted.write)

    def read_painted(self, stack_shape: tuple[int, int, int] | None = None) -> dict[int, Any]:
        """Read all painted labels, (Y, X) per slice; unreadable ones become a warning.

        So do labels that do not fit the image, (Z, Y, X).
        """
        return self._read(self._place.painted, stack_shape)

    def save_objects(self, parts: Mapping[int, Mapping[int, Any]]) -> tuple[str, ...]:
        """Write the numbers of objects, -1 where a person took voxels from one.

        By the ``part`` of their record, there are slices as :meth:`save_painted` takes them;
        results and errors are its, too.
        """
        for part, slices in parts.items():
            self._place.objects(part).note(slices)
        return self._writing(self._place.write_objects)

    def read_objects(
        self, stack_shape: tuple[int, int, int] | None = None, *, part: int = 1
    ) -> dict[int, Any]:
        """Read the numbers of objects, as :meth:`read_painted` reads painted labels."""
        return self._read(self._place.objects(part), stack_shape)

    def _read(
        self, slices: PaintedSlices, stack_shape: tuple[int, int, int] | None
    ) -> dict[int, Any]:
        labels, problems = slices.read(stack_shape)
        for problem in problems:
            self._warn(problem)
        return labels

    def note_action(self, kind: str, *, n_items: int = 1, slice: int | None = None) -> None:
        """Record an action in the log, see `ActionLog.note`; it never fails."""
        self.log.note(kind, n_items=n_items, slice=slice)
        if self._place.was_on_disk and self._place.lock.is_held:
            self._write_log()

    def move_to(self, folder: str | Path) -> None:
        """Go on in another, empty or new, folder: write everything there and leave the old one.

        Painted labels that were saved, and runs, are copied, if the old folder can still be read
        and the new one has room for them.

        Raises
        ------
        FolderUnusable, FolderLocked
            As :meth:`save`; the project then stays where it was.
        InputError
            If there is a project in the folder already.
        """
        old, new = self._place, _Place(Path(folder))
        if (new.folder / RECORD_FILE).exists():
            raise InputError(
                f"{new.folder} already holds a project; choose an empty folder.", field="project"
            )
        parts = {record.part for record in self.state.objects}
        objects = ((old.objects(part), new.objects(part)) for part in parts)
        for one, other in ((old.painted, new.painted), *objects):
            other.note({**one.read()[0], **one.waiting})
        self._place = new
        try:
            self._writing(self._write_state, make_parents=True)
            self._writing(new.painted.write)
            self._writing(new.write_objects)
            self.log.write_anew(new.folder / LOG_FILE)
            _copy_runs(old.folder, new.folder)
        except (OSError, InputError) as error:
            unusable = self._unusable(_reason(error)) if isinstance(error, OSError) else error
            self.close()
            self._place = old
            raise unusable from error
        self._place = old
        self.close()
        self._place = new

    def _writing(
        self, write: Callable[[], tuple[str, ...]], *, make_parents: bool = False
    ) -> tuple[str, ...]:
        """Write into the folder, made or still ours; turn failures into a message."""
        is_fallback = self.folder == fallback_folder(self.source, self.identity)
        try:
            self._ensure_folder(make_parents=make_parents or is_fallback)
            written = write()
        except (OSError, RunError) as error:
            raise self._unusable(_reason(error)) from error
        if self._place.was_on_disk:
            self._write_log()
        return written

    def _ensure_folder(self, *, make_parents: bool) -> None:
        """Make the folder at the first save; afterwards it must still be there, and ours."""
        place = self._place
        if place.was_on_disk and not place.folder.is_dir():
            raise FileNotFoundError("it is gone")
        if place.lock.is_held:
            return
        if place.lock.is_lost:
            raise PermissionError("its lock was removed, and others may have changed it")
        place.folder.mkdir(parents=make_parents, exist_ok=True)
        place.lock.acquire()
        if place.was_on_disk:
            return
        found = [name for name in _NAMES if os.path.lexists(place.folder / name)]
        if found:
            place.lock.release()
            is_project = RECORD_FILE in found
            problem = "another program has made a project in it meanwhile"
            raise PermissionError(problem if is_project else f"{found[0]} is there already")

    def _write_state(self) -> tuple[str, ...]:
        """Write the files that do not say what the state says, as far as is known."""
        place = self._place
        if not (place.folder / RECORD_FILE).exists():
            place.contents.clear()  # nothing yet, or somebody emptied the folder
        contents = self._contents(self.state)
        names = [name for name, content in contents.items() if self._has_changed(name, content)]
        for name in sorted(names, key=self._place_in_order):
            place.contents.pop(name, None)
            if name == RECORD_FILE:
                write_project(place.folder / name, self._record(self.state))
            else:
                TABLES[_part(name)][1](place.folder / name, self.state.said(_part(name)))
            place.contents[name] = contents[name]
        place.was_on_disk = True
        return tuple(names)

    def _contents(self, state: ProjectState) -> dict[str, object]:
        """Return what the files of a state say; tables without classes are not written."""
        tables = TABLES.items() if state.names else ()
        contents: dict[str, object] = {
            name: (state.names, state.part(part)) for part, (name, _) in tables
        }
        return {**contents, RECORD_FILE: self._record(state)}

    def _has_changed(self, name: str, content: object) -> bool:
        """Whether a file does not say this yet; a table without rows need not exist."""
        if not (self.folder / name).exists():
            return name == RECORD_FILE or bool(self.state.part(_part(name)))
        return self._place.contents.get(name) != content

    def _place_in_order(self, name: str) -> int:
        """Order files such that a crash between two leaves no table of unknown classes.

        Unless some were added and others removed; such a table is then set aside.
        """
        known = self._place.contents.get(RECORD_FILE)
        old = {one.name for one in known.classes} if isinstance(known, ProjectRecord) else set()
        return (1 if old - set(self.state.names) else -1) if name == RECORD_FILE else 0

    def _record(self, state: ProjectState) -> ProjectRecord:
        return state.record(identity=self.identity, source=self.source)

    def _write_log(self) -> None:
        """Write the log; its loss is no reason to disturb the user."""
        try:
            self.log.write(self.folder / LOG_FILE)
        except OSError as error:
            logger.debug("The log of %s was not written: %s", self.folder, error)

    def _unusable(self, reason: str) -> FolderUnusable:
        return FolderUnusable(self.folder, reason, fallback=self.fallback())

    def _warn(self, text: str) -> None:
        self.warnings = (*self.warnings, text)


def _reason(error: OSError | RunError) -> str:
    cause = error if isinstance(error, OSError) else error.__cause__
    if isinstance(cause, OSError):
        return cause.strerror or str(cause)
    return str(error)


def _copy_runs(old: Path, new: Path) -> None:
    """Copy all runs, or none; what is on its way, and who is at work, stays."""
    if not (old / RUNS_FOLDER).is_dir() or (new / RUNS_FOLDER).exists():
        return
    on_its_way = shutil.ignore_patterns(STALE_FILES, *LOCK_FILES)
    try:
        shutil.copytree(old / RUNS_FOLDER, new / RUNS_FOLDER, symlinks=True, ignore=on_its_way)
    except OSError as error:
        logger.warning("The runs of %s were not copied: %s", old, error)
        shutil.rmtree(new / RUNS_FOLDER, ignore_errors=True)


def _part(table: str) -> str:
    """Kind of annotations that a table holds."""
    return next(part for part, (name, _) in TABLES.items() if name == table)
