"""How many cores there are to share."""

import os


def usable_cores() -> int:
    """Cores that this process may use, which a scheduler or a container may have limited."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 2
