"""What a run's curves show: losses and errors over its steps."""

from __future__ import annotations

from ..core.events import Progress, Validated

__all__ = ["Curves"]

_MAX_POINTS = 2000


class Curves:
    """Losses and proportion error over the steps of a run and its continuations.

    At most 2000 points are kept; beyond that every second one is dropped.
    """

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.losses: dict[str, list[float]] = {}
        self.proportion_error: list[float] = []
        self.validation: list[tuple[int, float]] = []
        self._offset = 0
        self._stride = 1
        self._seen = 0

    @property
    def last_step(self) -> int:
        """Last step so far, continuations included."""
        return self.steps[-1] if self.steps else 0

    def continue_from_here(self) -> None:
        """Count the steps of the next run from the last one on."""
        self._offset = self.last_step

    def add(self, progress: Progress) -> bool:
        """Take a progress report; return whether it became a point."""
        if not progress.losses and progress.proportion_error is None:
            return False
        self._seen += 1
        if self._seen % self._stride:
            return False
        nan = float("nan")
        for name in progress.losses:
            self.losses.setdefault(name, [nan] * len(self.steps))
        for name, values in self.losses.items():
            values.append(progress.losses.get(name, nan))
        error = progress.proportion_error
        self.proportion_error.append(nan if error is None else error)
        self.steps.append(self._offset + progress.done)
        if len(self.steps) > _MAX_POINTS:
            self._thin()
        return True

    def add_validation(self, event: Validated) -> None:
        """Take the loss on held-out annotations."""
        self.validation.append((self._offset + event.step, event.loss))

    def _thin(self) -> None:
        self._stride *= 2
        self.steps = self.steps[1::2]
        self.proportion_error = self.proportion_error[1::2]
        self.losses = {name: values[1::2] for name, values in self.losses.items()}
