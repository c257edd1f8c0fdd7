"""How errors and warnings reach the user: plain lines on standard error, and an exit code."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import typer

from ..core.base import InputError, OutOfMemory, SpssError, fault_of_package
from .streams import say

ABORTED = 130  # what shells report for a process that Ctrl-C ended; typer returns it as well

_FAILED, _BAD_INPUT = 1, 2
# Click's own class, or that of the copy of click which newer releases of typer carry.
_UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[1])


def exit_code_of(error: Exception, *, has_debug: bool) -> int:
    """Report an error on standard error and return the exit code that belongs to it."""
    if has_debug:
        say("".join(traceback.format_exception(error)))
    if isinstance(error, _UsageError):
        say(f"error: {_usage_text(error)}")
        return _BAD_INPUT
    if isinstance(error, InputError):
        n_problems = len(error.problems)  # several are told in a line each
        is_list = n_problems > 1
        text = (
            f"{n_problems} problems in the tables:\n{error}" if is_list else _one_line(str(error))
        )
        say(f"error: {text}")
        return _BAD_INPUT
    if isinstance(error, SpssError):
        say(f"error: {_one_line(str(error))}{_suggestion(error)}")
        return _FAILED
    if isinstance(error, OSError):
        say(f"error: {_one_line(str(error))}")
        return _FAILED
    if fault := fault_of_package(error):
        say(f"error: {fault}{'' if has_debug else '; --debug shows where'}.")
        return _FAILED
    kind = type(error).__name__
    hint = "" if has_debug else " Please report it, with what the same command and --debug show."
    say(f"error: this should not happen ({kind}: {_one_line(str(error))}).{hint}")
    return _FAILED


@contextmanager
def plain_warnings(*, is_on: bool) -> Iterator[None]:
    """Show Python's warnings as one plain line each, without the line of code."""
    if not is_on:
        yield
        return
    before = warnings.showwarning

    def show(message: Warning | str, *_: object, **__: object) -> None:
        say(f"warning: {_one_line(str(message))}")

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


def _usage_text(error: typer.BadParameter) -> str:
    """What typer says, as one line, with the way to the help."""
    text = _one_line(error.format_message()).rstrip(".")
    command = error.ctx.command_path if error.ctx else "napari-spss"
    return f"{text}{' See' if text.endswith('?') else '; see'} {command} --help."


def _suggestion(error: SpssError) -> str:
    if isinstance(error, OutOfMemory) and "." in error.setting:
        return f" Try --set {error.setting}={error.value}"
    return ""


def _one_line(text: str) -> str:
    return " ".join(text.split())
