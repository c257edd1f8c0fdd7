"""Tables of results as Markdown, and how means of scores are written in their cells."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

NOTHING = "-"


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


def known(values: Iterable[float | None]) -> list[float]:
    """Leave out what is not known: None and nan."""
    return [float(value) for value in values if value is not None and not math.isnan(value)]


def mean_and_spread(values: Iterable[float | None]) -> tuple[float, float, int]:
    """Give mean, sample standard deviation (nan for one value) and number of known values."""
    numbers = known(values)
    if not numbers:
        return math.nan, math.nan, 0
    spread = statistics.stdev(numbers) if len(numbers) > 1 else math.nan
    return statistics.mean(numbers), spread, len(numbers)


def shown(values: Iterable[float | None], digits: int = 3, *, factor: float = 1) -> str:
    """Write mean and sample standard deviation, times a factor, as a cell.

    Examples
    --------
    >>> shown([0.4, 0.5]), shown([0.4]), shown([])
    ('0.450 ± 0.071', '0.400', '-')
    """
    mean, spread, n_known = mean_and_spread(values)
    if n_known == 0:
        return NOTHING
    single = f"{factor * mean:.{digits}f}"
    return single if n_known == 1 else f"{single} ± {factor * spread:.{digits}f}"


def signed(differences: Sequence[float], digits: int = 3) -> str:
    """Write mean and sample standard deviation of differences, a gain with its sign.

    Examples
    --------
    >>> signed([0.03, -0.01]), signed([-0.2]), signed([])
    ('+0.010 ± 0.028', '-0.200', '-')
    """
    is_gain = bool(differences) and sum(differences) >= 0
    return ("+" if is_gain else "") + shown(differences, digits)
