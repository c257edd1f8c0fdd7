"""How much of a run's budget is spent, and what follows from that."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..base import InputError, TrainingSettings

_WARM_UP = 0.1
_FIRST, _LAST = 0.1, 0.01
# weights that have already learned are disturbed less
_WARM_LEARNING_RATE = 0.3
# parts of the budget
_POSTERIOR_FROM, _POSTERIOR_EVERY = 0.2, 0.1


@dataclass(frozen=True)
class Schedule:
    """Budget of a run, and what its parts are for.

    Steps or seconds may be None, without limit, but not both. Beside steps, seconds are no budget
    but a limit: they end the run, and change nothing before.
    """

    settings: TrainingSettings
    max_steps: int | None
    max_seconds: float | None
    has_learned: bool = False  # whether it goes on from a model that was trained for long enough

    @classmethod
    def of(
        cls, settings: TrainingSettings, steps_per_epoch: int, *, has_learned: bool = False
    ) -> Schedule:
        """Schedule of the settings; the smaller of steps and epochs counts, one must be set."""
        budget = settings.optimisation
        steps = [budget.max_steps] if budget.max_steps is not None else []
        if budget.max_epochs is not None:
            steps.append(budget.max_epochs * steps_per_epoch)
        if not steps and budget.max_minutes is None:
            raise InputError(
                "the run would never end; set optimisation.max_steps, max_epochs or max_minutes.",
                field="optimisation.max_steps",
            )
        seconds = None if budget.max_minutes is None else budget.max_minutes * 60
        return cls(settings, min(steps) if steps else None, seconds, has_learned)

    @property
    def limit_s(self) -> float | None:
        """Seconds after which a run with steps left is broken off; None if there is no limit."""
        return None if self.max_steps is None else self.max_seconds

    def spent(self, step: int, elapsed_s: float) -> float:
        """Share of the budget that is used up; 1 ends the run."""
        if self.max_steps is not None:
            return min(1.0, step / self.max_steps)
        assert self.max_seconds is not None
        return min(1.0, elapsed_s / self.max_seconds)

    def learning_rate(self, spent: float) -> float:
        """Learning rate at a share of the budget."""
        optimisation = self.settings.optimisation
        rate = optimisation.learning_rate * learning_rate_factor(optimisation.schedule, spent)
        return rate * _WARM_LEARNING_RATE if self.has_learned else rate

    def ramp(self, spent: float) -> float:
        """Share, 0-1, of self-training and sharpness; a trained model is trusted at once."""
        settings = self.settings.self_training
        since = spent - (0.0 if self.has_learned else settings.start)
        if since <= 0:
            return 0.0
        return min(1.0, since / settings.ramp) if settings.ramp > 0 else 1.0

    def is_posterior_due(self, spent: float, last: float | None) -> bool:
        """Whether nodes are to be counted by the map now; ``last`` is when they last were."""
        settings = self.settings
        if not settings.self_training.enabled or settings.labels.node_error == 0:
            return False
        if last is None:
            return spent >= _POSTERIOR_FROM or self.has_learned
        return spent - last > _POSTERIOR_EVERY - 1e-9


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
