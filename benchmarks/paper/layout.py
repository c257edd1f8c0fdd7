"""What tables say in words: the names of the methods, and what was not run."""

from __future__ import annotations

METHOD_NAMES = {
    "benchmark": "benchmark (all masks)",
    "spss": "SPSS",
    "spss+": "SPSS+",
    "fast": "`fast`, same annotation",
}


def not_run(command: str) -> str:
    """Say that nothing is stored, and how to change that."""
    return f"Not run. To run it: `python benchmarks/paper {command} --data DATA`."
