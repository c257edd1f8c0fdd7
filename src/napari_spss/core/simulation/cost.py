"""Annotation cost: what an annotator did, what it yielded, and the seconds that it took."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from ..annotations import Annotations
from ..base import InputError

Protocol: TypeAlias = Literal["guess", "regions", "clicks", "grid", "frames", "paper"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)


@dataclass(frozen=True)
class Costs:
    """Seconds that an annotator spends on one act.

    Attributes
    ----------
    guess_s : float
        Typing one guessed fraction.
    empty_s : float
        Ticking "empty here": for one absent class, or for a region without any object.
    click_s : float
        Finding a place for a keypoint and clicking it.
    node_s : float
        Judging one node of a counting grid or frame; a 16x16 grid takes a minute, clicks on hits
        included.
    """

    guess_s: float = 5.0
    empty_s: float = 2.0
    click_s: float = 2.0
    node_s: float = 60.0 / 256.0


@dataclass(frozen=True)
class Acts:
    """How often the annotator did what."""

    n_guesses: int = 0
    n_empty_ticks: int = 0
    n_clicks: int = 0
    n_grids: int = 0
    n_nodes: int = 0
    n_hits: int = 0
    n_wrong_nodes: int = 0

    def __add__(self, other: Acts) -> Acts:
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Acts(*(mine + theirs for mine, theirs in pairs))

    def seconds(self) -> float:
        """Seconds spent on all of them."""
        costs = Costs()
        return (
            self.n_guesses * costs.guess_s
            + self.n_empty_ticks * costs.empty_s
            + self.n_clicks * costs.click_s
            + self.n_nodes * costs.node_s
        )


@dataclass(frozen=True)
class Step:
    """One protocol as it was followed; ``is_exact`` marks an oracle that never errs."""

    protocol: Protocol
    slices: tuple[int, ...]
    is_exact: bool
    parameters: tuple[tuple[str, float], ...]
    degradation: str | None = None


@dataclass(frozen=True)
class Simulation:
    """Simulated annotations, and the work that they took.

    Attributes
    ----------
    annotations : Annotations
        What the annotator stated.
    acts : Acts
        What the annotator did for it.
    steps : tuple of Step
        The protocols that were followed, in order.
    """

    annotations: Annotations
    acts: Acts
    steps: tuple[Step, ...]

    @property
    def seconds(self) -> float:
        """Seconds that the annotator spent."""
        return self.acts.seconds()


def combine(*simulations: Simulation) -> Simulation:
    """Join several simulations of one stack into the work of one annotator.

    Raises
    ------
    InputError
        If none is given, their classes differ, or two state fractions of one region or count
        one slice or frame.
    """
    if not simulations:
        raise InputError("there is nothing to combine; give at least one simulation.")
    first = simulations[0]
    parts = [simulation.annotations for simulation in simulations]
    if any(part.classes != first.annotations.classes for part in parts):
        known = "; ".join(dict.fromkeys(str(part.classes) for part in parts))
        raise InputError(f"simulations of different classes cannot be combined: {known}.")
    proportions = tuple(item for part in parts for item in part.proportions)
    grids = tuple(item for part in parts for item in part.grids)
    regions = [item.region for item in proportions]
    if len(set(regions)) < len(regions):
        raise InputError("two simulations state fractions of one region; use different slices.")
    if any(one.region.meets(other.region) for one, other in itertools.combinations(grids, 2)):
        raise InputError("two simulations count the same slice or frame; use different ones.")
    return Simulation(
        Annotations(
            first.annotations.classes,
            proportions=proportions,
            keypoints=tuple(dict.fromkeys(item for part in parts for item in part.keypoints)),
            grids=grids,
            notes=tuple(note for part in parts for note in part.notes),
        ),
        acts=sum((simulation.acts for simulation in simulations), Acts()),
        steps=tuple(step for simulation in simulations for step in simulation.steps),
    )
