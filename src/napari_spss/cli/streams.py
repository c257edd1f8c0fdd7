"""What a command prints: nothing in it steers a terminal, and a reader that leaves ends no work."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO

import typer

# control characters but for line ends and tabs, signs that turn the direction of writing, and
# bytes of file names that are no text
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
# Windows has no errno of its own for a pipe whose reader has left
_GONE = {errno.EPIPE, *((errno.EINVAL,) if sys.platform == "win32" else ())}
_NOTICE = "note: nobody reads standard output any more; the command goes on without it\n"


def shown(text: str) -> str:
    r"""Give a text from a file, or its name, such that a terminal only shows it.

    Examples
    --------
    >>> print(shown("a\x1b[31m.tif"))
    a\x1b[31m.tif
    """
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def say(text: str) -> None:
    """Write a line for the user to standard error."""
    typer.echo(shown(text), err=True)


class _Plain(io.TextIOBase):
    """A stream that writes to another one what `shown` gives, until nobody reads that one."""

    def __init__(self, stream: TextIO, notice: str = "") -> None:
        self.stream = stream
        self._notice = notice
        self._is_closed = False

    @property
    def encoding(self) -> str:  # type: ignore[override]  # of the standard library's stubs
        """Encoding of the stream."""
        return self.stream.encoding or "utf-8"

    def isatty(self) -> bool:
        """Whether a person looks at it."""
        return self.stream.isatty()

    def fileno(self) -> int:
        """Number of the system's file."""
        return self.stream.fileno()

    def writable(self) -> bool:
        """Whether it can be written; always."""
        return True

    def write(self, text: str) -> int:
        """Write a text, or nothing once nobody reads it."""
        self._try(lambda: self.stream.write(shown(text)))
        return len(text)

    def flush(self) -> None:
        """Hand over what was written."""
        self._try(self.stream.flush)

    def _try(self, act: Callable[[], Any]) -> None:
        if self._is_closed:
            return
        try:
            act()
        except OSError as error:
            if error.errno not in _GONE:
                raise
            self._is_closed = True
            _drop(self.stream)
            sys.stderr.write(self._notice)


def _drop(stream: TextIO) -> None:
    """Let what is still to be written, as at the end of the process, go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, stream.fileno())
    finally:
        os.close(nowhere)


@contextlib.contextmanager
def plain_streams() -> Iterator[None]:
    """Let standard output and error be safe to print to, whatever is printed and whoever reads."""
    with contextlib.ExitStack() as stack:
        for stream, redirect, notice in (
            (sys.stdout, contextlib.redirect_stdout, _NOTICE),
            (sys.stderr, contextlib.redirect_stderr, ""),
        ):
            if stream is None:  # a process without a console
                continue
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")  # a console may lack a sign of a file's name
            stack.enter_context(redirect(_Plain(stream, notice)))
        yield


@contextlib.contextmanager
def python_alone() -> Iterator[None]:
    """Keep from standard error what a library writes to it past Python, such as a server's log."""
    plain = sys.stderr
    try:
        number = plain.fileno()
        kept = os.fdopen(os.dup(number), "w", buffering=1, errors="replace")
    except OSError:  # no file of the system
        yield
        return
    if not isinstance(plain, _Plain):
        plain = _Plain(plain)
    with kept, contextlib.redirect_stderr(plain):
        stream, plain.stream = plain.stream, kept
        stream.flush()
        _drop(stream)
        try:
            yield
        finally:
            os.dup2(kept.fileno(), number)
            plain.stream = stream


def terminal() -> TextIO:
    """Return standard error for what may steer the terminal, such as a progress bar."""
    stream = sys.stderr
    return stream.stream if isinstance(stream, _Plain) else stream
