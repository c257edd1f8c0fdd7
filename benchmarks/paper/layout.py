"""Markdown tables, and the names of the methods in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["METHOD_NAMES", "not_run", "table"]

METHOD_NAMES = {
    "benchmark": "benchmark (all masks)",
    "spss": "SPSS",
    "spss+": "SPSS+",
    "fast": "`fast`, same annotation",
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a Markdown table.

    Examples
    --------
    >>> print(table(["a", "b"], [["1", "2"]]))
    | a | b |
    | --- | --- |
    | 1 | 2 |
    """
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def not_run(command: str) -> str:
    """Say that nothing is stored, and how to change that."""
    return f"Not run. To run it: `python benchmarks/paper {command} --data DATA`."
