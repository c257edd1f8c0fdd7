"""What a run's curves show: losses and errors over its steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import isnan

from ...core.base import Event, Progress, RunFinished, RunStarted, Validated

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
        self.continued: list[int] = []  # steps after which a run was continued
        self._offset = 0
        self._stride = 1
        self._seen = 0

    @classmethod
    def of_events(
        cls,
        events: Iterable[Event],
        n_steps: int,
        before_start: Callable[[int], Curves] | None = None,
    ) -> Curves:
        """Draw again what a run told.

        Parameters
        ----------
        events : iterable of Event
            In their order; those without a curve are passed over. After each start steps may count
            on, or anew; after a part that was killed they go back to those of its checkpoint.
        n_steps : int
            Steps of the model in all, those before the run included.
        before_start : callable, optional
            Gives the curves of the steps before the run, of which there are so many.
        """
        told: list[tuple[int, Progress | Validated]] = []
        before = done = 0
        is_new = has_ended = False
        for event in events:
            is_new = is_new or isinstance(event, RunStarted)
            has_ended = has_ended or isinstance(event, RunFinished)
            if not isinstance(event, (Progress, Validated)):
                continue
            step = _step_of(event)
            if is_new and step <= done and has_ended:
                before, done = before + done, 0
            elif is_new and step <= done:
                told = [one for one in told if (one[0], _step_of(one[1])) < (before, step)]
                done = 0
            is_new, has_ended, done = False, has_ended and not is_new, max(done, step)
            told.append((before, event))
        curves, last = cls(), 0
        if (first := n_steps - before - done) > 0:
            curves = curves if before_start is None else before_start(first)
            curves.continue_from(first)
        for before, event in told:
            if before != last:
                curves.continue_from(max(0, first) + before)
                last = before
            if isinstance(event, Progress):
                curves.add(event)
            else:
                curves.add_validation(event)
        return curves

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not self.steps and not self.validation

    @property
    def last_step(self) -> int:
        """Last step so far, continuations included."""
        return self.steps[-1] if self.steps else 0

    @property
    def self_training_from(self) -> int | None:
        """Step at which self-training set in first; None as long as it has not."""
        pairs = zip(self.steps, self.losses.get("self_training", ()), strict=False)
        return next((step for step, value in pairs if not isnan(value)), None)

    def continue_from(self, step: int, *, n_before: int | None = None) -> None:
        """Let another run go on from a step; points beyond it were of a failed run.

        The run counts its steps from there, or from ``n_before`` where it goes on with an earlier
        one.
        """
        n_kept = sum(one <= step for one in self.steps)
        self.steps = self.steps[:n_kept]
        self.proportion_error = self.proportion_error[:n_kept]
        self.losses = {name: values[:n_kept] for name, values in self.losses.items()}
        self.validation = [point for point in self.validation if point[0] <= step]
        self.continued = [*(one for one in self.continued if one < step), step]
        self._offset = step if n_before is None else n_before

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
            value = progress.losses.get(name)
            values.append(nan if value is None else value)  # as files have what is not finite
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


def _step_of(event: Progress | Validated) -> int:
    return event.done if isinstance(event, Progress) else event.step
