"""Records in JSON: read against a type, with an error that names the file and the remedy."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from .errors import InputError

T = TypeVar("T")

RECORD = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)
"""Types must be those stated, numbers finite; unknown names are passed over."""

MODEL_RECORD = "model.json"
"""What a trained model is, in the folder of its run."""


class Record(BaseModel):
    """Base of what is written as JSON."""

    model_config = RECORD


_ENTRIES = TypeAdapter(dict[str, Any])


def read_file(path: Path, *, remedy: str) -> bytes:
    """Return what a file holds; a pipe or a device, which might never end, is none.

    The remedy, such as "restore it", says what to do if there is no such file.

    Raises
    ------
    InputError
        If there is none, or it cannot be read.
    """
    try:
        content = path.read_bytes() if path.is_file() else None
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror or error}); make it readable."
        ) from error
    if content is None:
        raise InputError(f"{path} is no file; {remedy}.")
    return content


def read_record(
    kind: type[T], path: Path, *, remedy: str, newest: tuple[str, int] | None = None
) -> T:
    """Read a file of JSON.

    Parameters
    ----------
    kind : type
        A `Record`, or a dataclass with `RECORD` as its ``__pydantic_config__``.
    path : Path
        The file.
    remedy : str
        What to do if it is damaged or missing, such as "restore it".
    newest : (str, int), optional
        Entry that holds the format's version, and the newest that can be read.

    Raises
    ------
    InputError
        If the file cannot be read, is damaged, or was written by a newer version.
    """
    content = read_file(path, remedy=remedy)
    return parse_record(kind, content, path, remedy=remedy, newest=newest)


def parse_record(
    kind: type[T],
    content: bytes | str,
    path: Path,
    *,
    remedy: str,
    newest: tuple[str, int] | None = None,
) -> T:
    """Read JSON that came from a file; parameters and errors as those of `read_record`."""
    try:
        name, known = newest or ("", 0)
        version = _ENTRIES.validate_json(content).get(name)
        is_newer = isinstance(version, int) and version > known
        record: T | None = None if is_newer else TypeAdapter(kind).validate_json(content)
    except (ValidationError, InputError) as error:
        raise InputError(f"{path} is damaged ({fault_of(error)}); {remedy}.") from error
    if record is None:
        raise InputError(
            f"{path} is of format {version}, but only {known} is known here; update napari-spss."
        )
    return record


def fault_of(error: ValidationError | InputError) -> str:
    """Say in a few words what was wrong first, and where."""
    if isinstance(error, InputError):
        return str(error).removesuffix(".")
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]


def versions() -> dict[str, str]:
    """Versions of what decides how a result comes out, by package."""
    return {name: _version(name) for name in ("napari-spss", "torch", "numpy")}


@cache
def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
