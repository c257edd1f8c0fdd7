"""The rows of the study, and the changes that make ablations and hard cases of one of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from .annotators import Plan


@dataclass(frozen=True)
class Row:
    """A way to annotate and to learn from it.

    Parameters
    ----------
    name, title : str
        In files; in tables.
    plan : Plan
        What the person does.
    base : {"fast", "paper", "paper-crops", "forest"}
        Preset, the paper's at the size of its crops, or a random forest instead of a network.
    overrides : mapping of str to object
        Of the preset's settings.
    step_factor : float
        Of the preset's steps.
    n_rounds : int
        Rounds of correction, after each of which training goes on.
    has_clicks : bool
        Whether rounds tell where the map errs; else training just goes on: the control.
    is_looking_again : bool
        Whether a round is a second look at doubtful nodes, after which training begins anew,
        instead of clicks.
    has_rounds_within : bool
        Whether the seconds of the rounds are part of the budget; else they are added to it.
    flips : bool
        Average the maps of the four mirror images.
    hardship : str, optional
        What is done to the images, see `annotation.hardships`.
    is_oracle : bool
        Whether the person knows what no person knows.
    has_start : bool
        Begin with a network that learned another structure, in other images, from masks.
    n_threads : int, optional
        Threads of the training, whatever the command says. The map of a slice is looked at on the
        way then: the row tells how fast the map becomes what it will be.
    """

    name: str
    title: str
    plan: Plan
    base: Literal["fast", "paper", "paper-crops", "forest"] = "fast"
    overrides: Mapping[str, object] = field(default_factory=dict)
    step_factor: float = 1.0
    n_rounds: int = 0
    has_clicks: bool = True
    is_looking_again: bool = False
    has_rounds_within: bool = False
    flips: bool = False
    hardship: str | None = None
    is_oracle: bool = False
    has_start: bool = False
    n_threads: int | None = None

    @property
    def has_budget(self) -> bool:
        """Whether a number of seconds limits what is annotated."""
        return self.plan.kind not in ("masks", "paper-crops")


@dataclass(frozen=True)
class Change:
    """One thing that is different from `BASE`.

    Parameters
    ----------
    title : str
        In tables.
    group : str
        What is compared.
    overrides : mapping of str to object
        Settings.
    plan : mapping of str to object
        Fields of the plan.
    row : mapping of str to object
        Other fields of the row.
    """

    title: str
    group: str
    overrides: Mapping[str, object] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)
    row: Mapping[str, Any] = field(default_factory=dict)


_EXACT = Plan("guesses", noise=0.0, bias=1.0, node_errors=0.0)
_NODES_ALONE = {"loss.alpha": 0.0, "self_training.enabled": False}
_ROUNDS = 2
ROUND_SHARE = 0.5
"""Steps of a round of correction, of those before the first one."""

BASE = Row("fast", "grids + guesses + self-training (`fast`)", Plan("guesses"))

ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        Row("masks", "all masks", Plan("masks")),
        dataclasses.replace(BASE, n_rounds=_ROUNDS),
        Row("corrected", "three grids and guesses, and two rounds in the same seconds",
            Plan("guesses", n_grids=3, n_nodes=768), n_rounds=_ROUNDS, has_rounds_within=True),
        Row("looked", "three grids and guesses, and a second look in the same seconds",
            Plan("guesses", n_grids=3, n_nodes=768), n_rounds=1, is_looking_again=True,
            has_rounds_within=True),
        Row("spread", "seven grids of 13 x 13 nodes",
            Plan("guesses", n_grids=7, n_nodes=1183), n_rounds=_ROUNDS),
        Row("spread-corrected", "seven grids of 11 x 11 nodes, and two rounds in the same seconds",
            Plan("guesses", n_grids=7, n_nodes=847), n_rounds=_ROUNDS, has_rounds_within=True),
        Row("frames", "counting frames alone, 8 x 8 nodes each", Plan("frames"), n_rounds=_ROUNDS),
        Row("masks-bought", "the masks that the same seconds buy", Plan("bought")),
        Row("forest", "random forest at its best threshold, the labels of `fast`",
            Plan("guesses"), base="forest"),
        Row("paper-slices", "paper's SPSS+, a guess a slice", Plan("paper-slices"), base="paper"),
        Row("clicks", "clicks alone", Plan("clicks")),
        Row("grids", "grids alone, nodes as labels", Plan("grids"), overrides=_NODES_ALONE),
        Row(
            "paper-crops",
            "paper's SPSS+, exact fractions of every crop",
            Plan("paper-crops"),
            base="paper-crops",
            is_oracle=True,
        ),
        Row("masks-long", "all masks, as many steps as with two rounds", Plan("masks"),
            step_factor=1 + _ROUNDS * ROUND_SHARE),
        Row("fast-exact", "`fast`, person without errors", _EXACT,
            is_oracle=True),
        dataclasses.replace(BASE, name="timed", title="`fast`, followed on two cores",
                            n_threads=2),
        Row("timed-frames", "counting frames, followed on two cores", Plan("frames"), n_threads=2),
    )
}  # fmt: skip


def _settings(group: str, title: str, **overrides: object) -> Change:
    return Change(title, group, {name.replace("__", "."): v for name, v in overrides.items()})


def _grids(n_grids: int) -> Change:
    """As many nodes as in four grids of 16 x 16, on up to so many slices as there are."""
    plan = {"n_grids": n_grids, "n_nodes": 1024}
    return Change(f"1024 on up to {n_grids} slices", "spread of nodes", plan=plan)


def _clicks(n_nodes: int) -> Change:
    """Two rounds of correction, in which a click weighs as much as so many nodes."""
    return Change(
        f"two rounds, a click as {n_nodes} nodes",
        "clicks that correct",
        {"labels.keypoint_weight": float(n_nodes)},
        row={"n_rounds": _ROUNDS},
    )


def _told(group: str, title: str, **plan: object) -> Change:
    return Change(title, group, plan=plan)


ABLATIONS: dict[str, Change] = {
    "base": Change("`fast`", "as it is"),
    "normalisation-range": _settings(
        "normalisation", "grey values of the dtype to 0-1", image__normalisation="range"
    ),
    "fractions-kl": _settings("fractions", "divergence (Kullback-Leibler)",
                              loss__proportions="kl"),
    "fractions-interval": _settings("fractions", "stated interval", loss__proportions="interval"),
    "fractions-off": _settings("fractions", "in self-training only", loss__alpha=0.0),
    "reconcile-off": _settings("fractions", "guesses as stated", loss__bias_correction=False),
    "sharpness-0.05": _settings("sharpness", "penalty of .05", loss__sharpness=0.05),
    "sharpness-0.2": _settings("sharpness", "penalty of .2", loss__sharpness=0.2),
    "scale-13": _settings("working scale", "object 13 px wide", image__target_diameter_px=13.5),
    "scale-20": _settings("working scale", "object 20 px wide", image__target_diameter_px=20.0),
    "scale-40": _settings("working scale", "object 40 px wide", image__target_diameter_px=40.0),
    "scale-80": _settings("working scale", "object 80 px wide", image__target_diameter_px=80.0),
    "self-off": _settings("self-training", "none", self_training__enabled=False),
    "self-weight-0.5": _settings("self-training", "weight .5", self_training__weight=0.5),
    "self-weight-2": _settings("self-training", "weight 2", self_training__weight=2.0),
    "band-0": _settings("band", "none ignored", self_training__band=0.0),
    "band-0.1": _settings("band", "a tenth of the fraction", self_training__band=0.1),
    "band-0.5": _settings("band", "half of the fraction", self_training__band=0.5),
    "start-0.2": _settings("start", "after a fifth of the steps", self_training__start=0.2),
    "start-0.35": _settings("start", "after a third of the steps", self_training__start=0.35),
    "start-0.7": _settings("start", "after 70 % of the steps", self_training__start=0.7),
    "node-0": _settings("node dilation", "a single pixel", labels__node_radius_working_px=0.0),
    "node-1.5": _settings("node dilation", "3 x 3 pixels", labels__node_radius_working_px=1.5),
    "node-2": _settings("node dilation", "radius of 2 px", labels__node_radius_working_px=2.0),
    "node-error-0": _settings("wrong nodes", "every node believed", labels__node_error=0.0),
    "node-error-0.02": _settings("wrong nodes", "2 % expected", labels__node_error=0.02),
    "visits-0": _settings("labels first", "counted slices half of every batch from the start",
                          sampling__label_visits=0),
    "visits-20": _settings("labels first", "20 visits", sampling__label_visits=20),
    "alpha-0.2": _settings("label weight", "labels .8 (alpha .2)", loss__alpha=0.2),
    "alpha-0.8": _settings("label weight", "labels .2 (alpha .8)", loss__alpha=0.8),
    "eq3": _settings("label weight", "divided by the points in the slice (Eq. 3)",
                     loss__labels="eq3"),
    "rounds": Change("two rounds, a click as one node", "clicks that correct",
                     row={"n_rounds": _ROUNDS}),
    "control": Change("two rounds without clicks", "clicks that correct",
                      row={"n_rounds": _ROUNDS, "has_clicks": False}),
    "click-2": _clicks(2),
    "click-7": _clicks(7),
    "click-20": _clicks(20),
    "same-view": _settings("strong/weak views", "the network sees what its teacher sees",
                           sampling__intensity=False, sampling__flips=False,
                           sampling__warp=False),
    "no-warp": _settings("strong/weak views", "no turns, scales and shears",
                         sampling__warp=False),
    "no-intensity": _settings("strong/weak views", "grey values as they are",
                              sampling__intensity=False),
    "no-flips": _settings("strong/weak views", "no flips and quarter turns",
                          sampling__flips=False),
    "neighbours": Change("the slices before and behind as channels", "network",
                         row={"hardship": "neighbours"}),
    "flips-at-test": Change("maps of four mirror images", "prediction", row={"flips": True}),
    "filters-8": _settings("network", "8 filters, 400 steps", network__filters=8,
                           optimisation__max_steps=400),
    "filters-16": _settings("network", "16 filters, 400 steps", network__filters=16,
                            optimisation__max_steps=400),
    "filters-24": _settings("network", "24 filters", network__filters=24),
    "filters-32": _settings("network", "32 filters", network__filters=32),
    "network-paper": _settings("network", "paper's, 16 filters, 1e-3", network__name="paper-unet",
                               network__filters=16, optimisation__learning_rate=1e-3),
    "start": Change("begins with one that learned axons (of axons: mitochondria)", "network",
                    row={"has_start": True}),
    "regions": _told("what is guessed", "tiles of a quarter of the width", kind="regions"),
    "regions-large": _told("what is guessed", "tiles of 512 px", kind="regions", tile_px=512),
    "empty": _told("what is guessed", "nothing; ticks on empty tiles instead", kind="empty"),
    "grids-alone": _told("what is guessed", "nothing; grids alone", kind="grids"),
    "interpolated": _told("what is guessed", "nothing; other slices as between the counted ones",
                          kind="interpolated"),
    "grids-2": _grids(2),
    "grids-8": _grids(8),
    "grids-16": _grids(16),
    "steps-half": Change("half as many", "steps", row={"step_factor": 0.5}),
    "steps-twice": Change("twice as many", "steps", row={"step_factor": 2.0}),
    "steps-fourfold": Change("four times as many", "steps", row={"step_factor": 4.0}),
    "rate-0.01": _settings("optimiser", "learning rate .01", optimisation__learning_rate=1e-2),
    "rate-0.04": _settings("optimiser", "learning rate .04", optimisation__learning_rate=4e-2),
    "ema-0.9": _settings("optimiser", "teacher's decay at most .9", optimisation__ema_decay=0.9),
    "ema-0.95": _settings("optimiser", "teacher's decay at most .95",
                          optimisation__ema_decay=0.95),
    "batch-8": _settings("optimiser", "batches of 8", sampling__batch_size=8),
    "crop-128": _settings("optimiser", "16 windows of 128 px", sampling__crop_px=128,
                          sampling__batch_size=16),
}  # fmt: skip

CASES: dict[str, Change] = {
    "base": Change("nothing", "as it is"),
    "fractions-high": _told("fractions", "all guesses too large by 1.5", bias=1.5),
    "fractions-low": _told("fractions", "all guesses too small by 1.5", bias=1 / 1.5),
    "nodes-right": _told("nodes", "none wrong", node_errors=0.0),
    "nodes-wrong-5": _told("nodes", "5 % wrong", node_errors=0.05),
    "nodes-wrong-10": _told("nodes", "10 % wrong", node_errors=0.1),
    "inverted": Change("contrast inverted", "image", row={"hardship": "inverted"}),
    "drift": Change("brightness and contrast drift in Z", "image", row={"hardship": "drift"}),
    "drift-range": Change(
        "the same, grey values not normalised by slice",
        "image",
        {"image.normalisation": "range"},
        row={"hardship": "drift"},
    ),
    "diameter-half": Change("stated half as wide", "object", row={"hardship": "diameter-half"}),
    "diameter-double": Change(
        "stated twice as wide", "object", row={"hardship": "diameter-double"}
    ),
    "empty-stack": Change("no object in the stack", "class", row={"hardship": "empty-stack"}),
    "one-slice": Change("objects in one slice only", "class", row={"hardship": "one-slice"}),
    "no-grids": _told("class", "guesses and clicks, no grid", kind="paper-slices"),
}


_COMMANDS = ("study", "ablations", "robustness")


def names_of(command: str) -> tuple[str, ...]:
    """Names that a command knows."""
    if command == "study":
        return tuple(ROWS)
    return tuple(CASES if command == "robustness" else ABLATIONS)


def is_known(command: str, name: str) -> bool:
    """Whether a command has this row, or the rows that it joins by "+"."""
    known = {*names_of(command)} if command in _COMMANDS else set()
    first, *others = name.split("+")
    return first in known and all(
        one in (ABLATIONS if command == "study" else known) for one in others
    )


def row_of(command: str, name: str) -> Row:
    """Find a row of the study, or make one by a change; "a+b" makes several changes at once.

    Raises
    ------
    KeyError
        If there is no such row or change.
    """
    if command == "study":
        first, *others = name.split("+")
        return _changed(ROWS[first], name, others, ABLATIONS, [ROWS[first].title])
    changes = CASES if command == "robustness" else ABLATIONS
    return _changed(BASE, name, name.split("+"), changes, [])


def _changed(
    row: Row, name: str, applied: Sequence[str], changes: Mapping[str, Change], titles: list[str]
) -> Row:
    for one in applied:
        change = changes[one]
        titles.append(change.title if change.group == "as it is" else _spoken(change))
        plan = dataclasses.replace(row.plan, **change.plan)
        overrides = {**row.overrides, **change.overrides}
        row = dataclasses.replace(row, plan=plan, overrides=overrides, **change.row)
    return dataclasses.replace(row, name=name, title="; ".join(titles))


def _spoken(change: Change) -> str:
    return f"{change.group}: {change.title}"
