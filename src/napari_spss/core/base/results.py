"""Results that are written together, and replace nothing but their like."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from .errors import InputError
from .files import write_errors
from .locks import LOCK_FILES, FolderLock, FolderLocked, hold_folder
from .records import Record, read_record, versions

_ENDS_BYTES = 1 << 24
# of a Zarr store: the table at a shard's end has the size of each chunk
_SHARD_ENDS_BYTES = 1 << 16
_RECORD = ".written.json"
_IMAGES = (".tif", ".tiff", ".zarr")


class _Written(Record):
    """What was written: by name its digest, or two while it is replaced; and made from what."""

    made_by: dict[str, Any] = Field(default_factory=dict)
    made_from: dict[str, str]
    digests: dict[str, list[str]]
    done_as: str = ""


@dataclass(frozen=True)
class ResultFiles:
    """Files and folders in one folder that belong together.

    They are written aside and moved into place at the end, so that old and new are never mixed. A
    hidden record beside them keeps what they were made from, and a digest of each. Only what still
    has its digest, and was made from the same, is replaced unasked; an input never is.

    Parameters
    ----------
    folder : Path
        Made if it does not exist.
    kind : str
        Tells them from other results in the folder; part of the record's name.
    names : tuple of str
        All that may be written, in the order in which it appears.
    made_from : mapping of str to str, or None
        What tells their like: what each input is, by the word for it, such as ``image``. None if
        nothing is like them.
    inputs : tuple of Path
        Files and folders that are read.
    overwrite : bool or None
        Whether other files of these names may be replaced; None if nobody can ask for it. Folders
        that hold anything else never are.
    made_by : mapping or Path
        Where they come from, see `origin_of`, or the file of labels that they are of; read once
        they are complete.
    """

    folder: Path
    kind: str
    names: tuple[str, ...]
    made_from: Mapping[str, str] | None = None
    inputs: tuple[Path, ...] = field(default=(), kw_only=True)
    overwrite: bool | None = field(default=False, kw_only=True)
    made_by: Mapping[str, Any] | Path = field(default_factory=dict, kw_only=True)

    def check(self) -> None:
        """See that nothing is in the way.

        Raises
        ------
        InputError
            If an input would be replaced, or something that may not be.
        """
        above = next(path for path in (self.folder, *self.folder.parents) if path.exists())
        if not above.is_dir():
            raise InputError(f"{above} is a file; choose another folder.")
        for name in self.names:
            _check_inputs(self.folder / name, self.inputs)
        for name, why in self.in_the_way().items():
            path = self.folder / name
            if not self.overwrite:
                asking = ", or replace it with --overwrite (in Python overwrite=True)"
                remedy = asking if self.overwrite is not None else ""
                raise InputError(f"{path} {why}; choose another place{remedy}.")
            is_folder = path.is_dir() and not path.is_symlink()
            if is_folder and not self._as_written(name, self._written()):
                raise InputError(f"{path} {why}, and is a folder; remove it, or choose another.")

    def in_the_way(self) -> dict[str, str]:
        """Say by name what may not be replaced unasked, and why."""
        written = self._written()
        others = self._other_inputs(written)
        found = {}
        for name in dict.fromkeys((*self.names, *written.digests)):
            if self._as_written(name, written):
                if others:
                    found[name] = others
            elif name in self.names and os.path.lexists(self.folder / name):
                is_known = name in written.digests
                how = "was changed since it was" if is_known else "was not"
                found[name] = f"{how} written by napari-spss"
        return found

    def made_before(self) -> Mapping[str, str]:
        """What those that are there were made from; nothing if that is not known."""
        return self._written().made_from

    def are_done(self, done_as: str) -> bool:
        """Whether all that was written is there unchanged, from the same inputs, and so done."""
        written = self._written()
        return bool(
            written.digests
            and written.done_as == done_as
            and not self._other_inputs(written)
            and all(self._as_written(name, written) for name in written.digests)
        )

    @contextlib.contextmanager
    def writing(
        self, *, adds: bool = False, resumes: str | None = None, done_as: str = ""
    ) -> Iterator[Path]:
        """Give a folder; what is in it at the end takes its place among the results.

        If anything fails, nothing changes.

        Parameters
        ----------
        adds : bool
            Whether the results that are there already stay; otherwise all of them go.
        resumes : str, optional
            What is being made, as far as ``made_from`` does not say: if it fails, or is killed, the
            same text gives the same folder again, with what is in it by then.
        done_as : str
            How it was made, as far as ``made_from`` does not say, for `are_done`.

        Raises
        ------
        InputError
            As `check`, before and after.
        RunError
            If the folder cannot be written.
        """
        self.check()
        self._check_free(self.names if adds else (*self.names, *self._written().digests))
        key, is_done = uuid.uuid4().hex, False
        if resumes is not None:
            made = repr(sorted((self.made_from or {}).items()))
            key = hashlib.sha256(f"{made} {resumes}".encode()).hexdigest()[:32]
        aside = self._hidden(key)
        with hold_folder(aside):
            self._clean_up(aside)
            try:
                yield aside
                self.check()  # files may have come meanwhile
                with write_errors(self.folder):
                    self._take_in(aside, adds=adds, done_as=done_as)
                is_done = True
            finally:
                if is_done or resumes is None:
                    shutil.rmtree(aside, ignore_errors=True)

    def _hidden(self, key: str) -> Path:
        """A folder that `_clean_up` finds if a crash leaves it."""
        return self.folder / f".{self.kind}.{key}.partial"

    def _check_free(self, names: Iterable[str]) -> None:
        """Find out before all the work whether another program lets nobody replace a result."""
        for name in names:
            path = self.folder / name
            if os.path.lexists(path):
                with write_errors(path):
                    path.rename(path)  # Windows refuses this, too; else it does nothing

    def _clean_up(self, aside: Path) -> None:
        """Remove what was being written when a process was killed, but not ``aside``, our own."""
        name = re.compile(rf"\.{re.escape(self.kind)}\.[0-9a-f]{{32}}\.partial")
        found = [path for path in self.folder.iterdir() if name.fullmatch(path.name)]
        for path in found:
            if path == aside:
                continue
            lock = FolderLock(path)
            with contextlib.suppress(FolderLocked, OSError):
                lock.acquire()
                lock.release()
                shutil.rmtree(path)

    def _take_in(self, aside: Path, *, adds: bool, done_as: str) -> None:
        """Put the new results into the place of the old ones: all of them, or none.

        Whenever it is interrupted, the record holds for all of them that are there.
        """
        found = {path.name for path in aside.iterdir()} - {*LOCK_FILES}
        if unknown := found - set(self.names):
            raise ValueError(f"{unknown} is not among {self.names}")
        new = [name for name in self.names if name in found]
        written = self._written()
        looks = {name: self._as_written(name, written) for name in written.digests}
        digests = {name: [look] for name, look in looks.items() if look}
        old = [] if adds else list(digests)
        for name in new:
            digests[name] = [*digests.get(name, []), _digest(aside / name)]
        made_by = self.made_by
        made_by = read_origin(made_by) if isinstance(made_by, Path) else dict(made_by)
        record = _Written(
            made_by=made_by or (written.made_by if adds else {}),
            made_from=dict(self.made_from or {}),
            digests=digests,
            done_as=done_as,
        )
        self._write_record(record, aside)
        replaced = self._hidden(uuid.uuid4().hex)
        replaced.mkdir()
        try:
            away = [(self.folder / name, replaced / name) for name in dict.fromkeys((*new, *old))]
            _move_all([*away, *((aside / name, self.folder / name) for name in new)])
        finally:
            shutil.rmtree(replaced, ignore_errors=True)
        left = {name: digests[name] for name in digests if adds or name in new}
        self._write_record(record.model_copy(update={"digests": left}), aside)

    def _write_record(self, record: _Written, aside: Path) -> None:
        (aside / self._record_path.name).write_bytes(record.model_dump_json(indent=1).encode())
        (aside / self._record_path.name).replace(self._record_path)

    @property
    def _record_path(self) -> Path:
        return self.folder / f".{self.kind}{_RECORD}"

    def _written(self) -> _Written:
        """Read the record; what it cannot tell, nobody wrote."""
        try:
            record = read_record(_Written, self._record_path, remedy="")
        except InputError:
            return _Written(made_from={}, digests={})
        names = [name for name in record.digests if Path(name).name == name != ".."]
        digests = {name: record.digests[name] for name in names}
        return record.model_copy(update={"digests": digests})

    def _other_inputs(self, written: _Written) -> str:
        """Say which inputs are others than before; nothing if all are the same."""
        if self.made_from is None:
            return "was written before"
        before, now = written.made_from, self.made_from
        others = [f"another {key}" for key in now if key in before and before[key] != now[key]]
        if now and not others and before.keys() != now.keys():
            return "is a result of another command"
        return f"was made from {' and '.join(others)}" if others else ""

    def _as_written(self, name: str, written: _Written) -> str:
        """Digest of what is there, if it is what was written; else nothing."""
        digest = _digest(self.folder / name)
        return digest if digest in written.digests.get(name, ()) else ""


def written_names(folder: Path) -> frozenset[str]:
    """Names of all results, of any kind, that were written into a folder."""
    kinds = [path.name[1:].removesuffix(_RECORD) for path in folder.glob(f".*{_RECORD}")]
    return frozenset(
        name for kind in kinds for name in ResultFiles(folder, kind, ())._written().digests
    )


def origin_of(
    run: Path | None, *, n_steps: int, weights: str = "", **how: object
) -> dict[str, Any]:
    """What layers and the records of files tell of where a result comes from, as plain values.

    Parameters
    ----------
    run : Path or None
        Folder of the run.
    n_steps : int
        Steps of the model.
    weights : str
        Digest of its weights; empty for a preview, whose model is not kept.
    **how
        How it made maps, and how labels were made of them.
    """
    return {
        "run": "" if run is None else str(run.absolute()),
        "n_steps": n_steps,
        "weights": weights,
        "is_preview": not weights,
        "versions": versions(),
        **how,
    }


def read_origin(path: Path) -> dict[str, Any]:
    """Where a file of results comes from, by the record beside it; nothing if none tells.

    ``is_edited`` says whether its labels were changed by hand before they were written, or the
    file since then.
    """
    for record in path.parent.glob(f".*{_RECORD}"):
        files = ResultFiles(path.parent, record.name[1:].removesuffix(_RECORD), ())
        written = files._written()
        if written.made_by and path.name in written.digests:
            is_edited = written.made_by.get("is_edited", False)
            is_as_written = bool(files._as_written(path.name, written))
            return {**written.made_by, "is_edited": is_edited or not is_as_written}
    return {}


def _check_inputs(output: Path, inputs: tuple[Path, ...]) -> None:
    """Refuse to write over what is read, or an image into a folder of images that is read."""
    place = output.parent.resolve() / output.name
    for path in inputs:
        known = path.resolve()
        if known == place or known.is_relative_to(place) or _is_same(path, output):
            raise InputError(f"{output} is read, and would be replaced; choose another place.")
        is_zarr = known.suffix.lower() == ".zarr" and known in place.parents
        if is_zarr or (place.parent == known and place.suffix.lower() in _IMAGES):
            raise InputError(
                f"{output} would become part of the image {path}; choose a folder outside of it."
            )


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _digest(path: Path, ends_bytes: int = _ENDS_BYTES) -> str:
    """Digest of a file's size, beginning and end, or of all in a folder; nothing of other things.

    Of a table that is all of it; a large image cannot be changed without one of these.
    """
    found = hashlib.sha256()
    try:
        if path.is_symlink():
            return ""
        if path.is_dir():
            ends_bytes = _SHARD_ENDS_BYTES if path.suffix == ".zarr" else ends_bytes
            parts = [(one.name, _digest(one, ends_bytes)) for one in sorted(path.iterdir())]
            found.update(repr(parts).encode())
        elif path.is_file():
            with path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                found.update(b"%d" % size)
                for start in (0, max(0, size - ends_bytes)):
                    file.seek(start)
                    found.update(file.read(ends_bytes))
        else:
            return ""
    except OSError:
        return ""
    return found.hexdigest()


def _move_all(moves: Iterable[tuple[Path, Path]]) -> None:
    """Move what is there; if one cannot be, as where a spreadsheet has it open on Windows, none."""
    done: list[tuple[Path, Path]] = []
    try:
        for source, target in moves:
            if os.path.lexists(source):
                source.rename(target)
                done.append((source, target))
    except OSError:
        for source, target in reversed(done):
            target.rename(source)
        raise
