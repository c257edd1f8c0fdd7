"""Draining runs, for tests that look at all that they yield and return."""

from __future__ import annotations


def drain(run):
    """Return all events of a run, and its result."""
    events = []
    while True:
        try:
            events.append(next(run))
        except StopIteration as end:
            return events, end.value
