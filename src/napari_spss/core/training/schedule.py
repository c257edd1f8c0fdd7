"""How much of the budget is spent, and the learning rate that goes with it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..base import InputError, OptimisationSettings

__all__ = ["Budget", "learning_rate_factor"]

_WARM_UP = 0.1
_FIRST, _LAST = 0.1, 0.01


@dataclass(frozen=True)
class Budget:
    """Steps and seconds a run may take; None is without limit, but not both.

    Beside steps, seconds are no budget but a limit: they end the run, and change nothing before.
    """

    max_steps: int | None
    max_seconds: float | None

    @classmethod
    def of(cls, settings: OptimisationSettings, steps_per_epoch: int) -> Budget:
        """Budget of the settings; the smaller of steps and epochs counts.

        Raises
        ------
        InputError
            If no budget is set.
        """
        steps = [settings.max_steps] if settings.max_steps is not None else []
        if settings.max_epochs is not None:
            steps.append(settings.max_epochs * steps_per_epoch)
        if not steps and settings.max_minutes is None:
            raise InputError(
                "the run would never end; set optimisation.max_steps, max_epochs or max_minutes.",
                field="optimisation.max_steps",
            )
        seconds = None if settings.max_minutes is None else settings.max_minutes * 60
        return cls(min(steps) if steps else None, seconds)

    def spent(self, step: int, elapsed_s: float) -> float:
        """Share of the budget that is used up; 1 and above ends the run."""
        if self.max_steps is not None:
            return step / self.max_steps
        assert self.max_seconds is not None
        return elapsed_s / self.max_seconds

    @property
    def limit_s(self) -> float | None:
        """Seconds after which a run with steps left is broken off; None if there is no limit."""
        return None if self.max_steps is None else self.max_seconds


def learning_rate_factor(schedule: str, spent: float) -> float:
    """Factor of the learning rate at a share of the budget.

    "one-cycle" rises over the first tenth and falls as a cosine over the rest; "constant" is 1.
    """
    if schedule == "constant":
        return 1.0
    if spent < _WARM_UP:
        return _FIRST + (1 - _FIRST) * spent / _WARM_UP
    fallen = (1 - math.cos(math.pi * (spent - _WARM_UP) / (1 - _WARM_UP))) / 2
    return 1 - (1 - _LAST) * fallen
