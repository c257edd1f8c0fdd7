"""Ctrl-C and SIGTERM as a wish to stop: the first is granted softly, the second at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from ..core.base import CancelToken

_NOTICE = b"\nstopping; press Ctrl-C again to abort at once\n"


@contextmanager
def stop_on_signals(token: CancelToken) -> Iterator[None]:
    """Let the first SIGINT or SIGTERM set the token; the second raises KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may have signal handlers
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if token.is_cancelled:
            raise KeyboardInterrupt
        token.cancel()
        # The handler may have interrupted a write to sys.stderr, which must not be entered twice.
        with suppress(OSError):  # nobody may read it any more
            os.write(sys.stderr.fileno(), _NOTICE)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
