"""A disk that is full for a moment, for tests of what is saved after all."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def fail_once(monkeypatch, name):
    """Let the disk be full when a file is to be replaced for the first time."""
    replace, failures = os.replace, []

    def full(source, target):
        if Path(target).name == name and not failures:
            failures.append(target)
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    return failures
