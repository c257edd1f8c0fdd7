"""The events of a run for the eye (bar on a terminal, lines elsewhere) and for programs (JSON)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeGuard

import typer

from ..core.base import (
    Event,
    FinishReason,
    ImageProgress,
    InputError,
    Message,
    Preparing,
    Progress,
    RunFinished,
    RunStarted,
    Validated,
    counted,
    event_to_json,
)
from .streams import say, shown, terminal

if TYPE_CHECKING:
    from rich.progress import TaskID

Show = Callable[[Event], None]

_LINE_INTERVAL_S = 10.0
_STATES = {"running": "begun", "done": "done", "kept": "unchanged, kept"}
_UNITS = {"training": "step", "prediction": "slice", "images": "image"}


def duration(seconds: float) -> str:
    """Give a time for reading: "12 s", "3 min 05 s" or "2 h 10 min".

    Examples
    --------
    >>> duration(185.4)
    '3 min 05 s'
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def check_events_option(value: str | None) -> bool:
    """Tell whether JSON lines are wanted; InputError for any form but "jsonl"."""
    if value not in (None, "jsonl"):
        raise InputError(f"--events {value!r} is unknown; write --events jsonl, or leave it out.")
    return value is not None


@contextmanager
def busy(text: str) -> Iterator[None]:
    """Show on a terminal that something goes on that has no measure; leaves no trace."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(file=terminal()).status(text):
        yield


@contextmanager
def event_display(*, is_jsonl: bool) -> Iterator[Show]:
    """Give a function that shows an event; it never raises for an event of a known kind.

    As JSON, every event is a line on standard output, and messages are on standard error.
    """
    if is_jsonl:
        yield _show_json
    elif sys.stderr.isatty():
        with _bar_display() as show:
            yield show
    else:
        yield _LineDisplay().show


def _show_json(event: Event) -> None:
    typer.echo(event_to_json(event))
    if isinstance(event, Message):
        say(_text_of(event))


def _text_of(
    event: Message | RunStarted | RunFinished | ImageProgress, kind: str = "training"
) -> str:
    """One line on what a run says, or on its start or end, or on that of an image."""
    if isinstance(event, ImageProgress):
        how = f"failed: {event.text}" if event.text else _STATES[event.state]
        return f"image {event.place + 1} of {event.total}, {event.image}: {how}"
    if isinstance(event, Message):
        return f"{'warning' if event.level == 'warning' else 'note'}: {event.text}"
    if isinstance(event, RunStarted):
        if event.kind == "images":
            return counted(event.total or 0, "image")
        amount = f"{counted(event.total, _UNITS[event.kind])}, " if event.total is not None else ""
        return f"{event.kind} on {event.device}: {amount}classes {', '.join(event.classes)}"
    done = counted(event.done, _UNITS[kind])
    time = duration(event.elapsed_s)
    if event.reason is FinishReason.stopped:
        return f"stopped after {done}, {time}"
    if event.reason is FinishReason.converged:
        return f"converged after {done}, {time}: the validation loss got no better"
    if event.reason is FinishReason.time_limit:
        return f"time was up after {event.done} of {event.total} {_UNITS[kind]}s, {time}"
    return f"completed: {done} in {time}"


def _detail(event: Progress) -> str:
    """Loss and error of fractions, as far as an event states them."""
    parts = []
    if "total" in event.losses:
        parts.append(f"loss {event.losses['total']:.3f}")
    if event.proportion_error is not None:
        parts.append(f"error of fractions {100 * event.proportion_error:.1f} %")
    return ", ".join(parts)


def _is_end(event: Event) -> TypeGuard[ImageProgress]:
    """Whether the work on one of many images is at its end."""
    return isinstance(event, ImageProgress) and event.state != "running"


class _LineDisplay:
    """Plain lines, for a log file or a cluster's queue: progress every ten seconds."""

    def __init__(self) -> None:
        self._kind = "training"
        self._last_s: float | None = None

    def show(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._kind, self._last_s = event.kind, None
        if isinstance(event, RunStarted | Message | RunFinished) or _is_end(event):
            say(_text_of(event, self._kind))
        elif isinstance(event, Validated):
            best = ", the best so far" if event.is_best else ""
            say(f"step {event.step}: validation loss {event.loss:.4f}{best}")
        elif isinstance(event, Preparing):
            if event.elapsed_s - (self._last_s or 0.0) >= _LINE_INTERVAL_S:
                self._last_s = event.elapsed_s
                say(event.text)
        elif isinstance(event, Progress) and self._is_due(event):
            self._last_s = event.elapsed_s
            total = "" if event.total is None else f" of {event.total}"
            left = "" if event.eta_s is None else f"about {duration(event.eta_s)} left"
            parts = (f"{_UNITS[self._kind]} {event.done}{total}", left, _detail(event))
            say(", ".join(part for part in parts if part))

    def _is_due(self, event: Progress) -> bool:
        if event.eta_s is not None and event.eta_s <= 0:
            return False  # the end is reported anyway
        return self._last_s is None or event.elapsed_s - self._last_s >= _LINE_INTERVAL_S


@contextmanager
def _bar_display() -> Iterator[Show]:
    """A progress bar with the time left, and messages above it."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress as Bar, TextColumn, TimeElapsedColumn

    console = Console(file=terminal())
    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[amount]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[detail]}"),
        console=console,
        transient=True,
    )
    kind = "training"
    task: TaskID | None = None

    def write(text: str) -> None:
        console.print(shown(text), markup=False, highlight=False, soft_wrap=True)

    def show(event: Event) -> None:
        nonlocal kind, task
        if isinstance(event, Preparing):
            if task is None:
                task = bar.add_task("", total=1.0, amount="", detail="")
            share = event.done / max(1, event.total)
            bar.update(task, description=event.text, completed=share, refresh=True)
        elif isinstance(event, RunStarted):
            kind = event.kind
            write(_text_of(event))
            if task is not None:
                bar.remove_task(task)
            task = bar.add_task(kind, total=1.0, amount="", detail="")
        elif isinstance(event, Message | RunFinished) or _is_end(event):
            write(_text_of(event, kind))
        elif isinstance(event, Progress) and task is not None:
            total = "" if event.total is None else f"/{event.total}"
            left = "" if event.eta_s is None else f"{duration(event.eta_s)} left"
            bar.update(
                task,
                description=kind,
                completed=event.share,
                amount=f"{_UNITS[kind]} {event.done}{total}",
                detail=", ".join(part for part in (left, _detail(event)) if part),
            )

    with bar:
        yield show
