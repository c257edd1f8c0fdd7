"""What a run warns of: data that do not suffice, and maps that have collapsed.

Maps of some annotated slices are held against what is said about these: whether they are nearly
constant, or lack a class. A *claim* says that some classes together take up a share of a region,
which is more than 0, or that they were labelled on a slice. It fails if the map's labels, the most
probable class of every pixel, hold less than a tenth of that: guesses are rough, but not by a
factor of ten. A warning is taken back once they hold a quarter. Where a class was stated as 0, or
by an interval that begins at 0, or where no node of a grid fell on it, nothing is claimed of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from ..annotations import SUM_TOLERANCE, Annotations, Classes, Proportion
from ..base import Message, TrainingSettings, counted, length_text, percent
from ..images import lost_contrast, strips
from .bias_correction import bias_messages, correct_bias
from .samples import Bag, SliceSamples

if TYPE_CHECKING:
    from ..images import Stack, WorkingScale

# shares of the budget after which maps are looked at, besides the end: self-training, which sets in
# at half of it, finds rare classes
_LOOK_AT = (0.65, 0.85)
_SLICES = 2  # that are looked at for a class, those that have most of it
_LEAST_FOUND = 0.1  # of what is claimed
_LEAST_FOUND_AGAIN = 0.25  # before a warning is taken back
_MOST_LONG = 1.2  # one edge of a pixel beside the other
_LEAST_CLAIM_PX = 10  # of a share: less may be one speck
_LEAST_VARIANCE = 0.02  # of that of a map with the same mean that is 0 or 1 everywhere
_LEAST_INSIDE = 0.1  # of a region, also if the map places nearly all of it outside
_PRESENT = 1e-5
_CONSTANT_SHARE = 0.99
# of the nodes where a map shows a class, if there are as many, so many are of it, or it is told
_LEAST_AGREED = 2 / 3
_LEAST_NODES = 20
# of the fraction that a class has where it was stated: from this on, a map does not lack it
_LEAST_PRESENT = 0.25
_CONSTANT = ""  # stands for all classes in what was told

Predict = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
ShownClasses: TypeAlias = Mapping[str, npt.NDArray[np.integer]]
"""By the name of a sample, the likeliest class of each of its pixels, (y, x)."""
ClassIndices = tuple[int, ...]


def initial_warnings(
    settings: TrainingSettings,
    stack: Stack,
    annotations: Annotations,
    *,
    scale: WorkingScale,
    has_held_out: bool,
    is_outside_shown: bool = True,
) -> Iterator[Message]:
    """Tell what the user may not expect."""
    for note in stack.notes:
        yield Message("info", note)
    yield from _contrast_warnings(stack, annotations)
    image = settings.image
    is_stated = image.object_diameter_px is not None or image.object_diameter_um is not None
    if not is_stated and settings.preset != "paper" and scale.reduction == 1:
        yield Message(
            "info",
            "No object diameter was stated, so the network sees the image at full resolution; "
            "stating it makes training on large objects faster and better.",
        )
    yield from scale.notes_of_set(stack)
    _, height_um, width_um = stack.voxel_size_um
    if height_um and width_um and not 1 / _MOST_LONG < height_um / width_um < _MOST_LONG:
        yield Message(
            "warning",
            f"Pixels are {length_text(width_um)} wide and {length_text(height_um)} high, so the "
            "network sees objects stretched. Save the image with square pixels, or state the size "
            "if it is another one.",
        )
    if annotations.outside is not None and not is_outside_shown:
        yield Message(
            "warning",
            f"Nothing is labelled as {annotations.outside}: nothing shows the network what lies "
            "outside. Set a few keypoints there, or judge nodes of a grid.",
        )
    if settings.loss.bias_correction:
        for text in bias_messages(correct_bias(annotations), annotations.classes):
            yield Message("info", text)
    for note in annotations.notes:
        yield Message("info", note)
    yield from _contradictions(stack, annotations)
    if settings.optimisation.validation_fraction > 0 and not has_held_out:
        yield Message(
            "warning",
            "There are too few annotated crops to hold some out, so nothing stops this run early.",
        )


def _contrast_warnings(stack: Stack, annotations: Annotations) -> Iterator[Message]:
    """Tell that no annotated slice shows anything; the first that does ends the reading."""
    slices = annotations.slices() or range(stack.n_slices)
    for text in lost_contrast(stack, slices[0]):
        yield Message("warning", text)
    if all(_is_flat(stack, z) for z in slices):
        of = "The image has" if len(slices) == stack.n_slices else "The annotated slices have"
        yield Message(
            "warning",
            f"{of} no contrast: all pixels of a slice have the same value, so nothing can be "
            "learned. Check that this is the right image, and that it was saved with its grey "
            "values.",
        )


def _is_flat(stack: Stack, z: int) -> bool:
    """Whether each channel of a slice has one value throughout."""
    corner = stack.read(z, (0, 0, 1, 1))
    return not any((stack.read(z, box) != corner).any() for box in strips(stack.shape_of(z)))


def _contradictions(stack: Stack, annotations: Annotations) -> Iterator[Message]:
    """Tell of the first slice whose regions hold more, or less, of a class than it can have."""
    if annotations.outside is not None:
        return  # how much of a region counts is not known
    wholes, parts_of = dict[int, Proportion](), dict[int, list[Proportion]]()
    for one in annotations.effective_proportions():
        if one.region.box is None:
            wholes[one.region.slice] = one
            continue
        apart = parts_of.setdefault(one.region.slice, [])
        if not any(one.region.meets(other.region) for other in apart):
            apart.append(one)
    for z, whole in wholes.items():
        parts = parts_of.get(z, [])
        for index in (*range(1, len(annotations.classes)), 0):
            low, high = _limits(whole, index)
            least, most = 0.0, 1.0
            for one in parts:
                y0, x0, y1, x1 = one.region.box or (0, 0, 0, 0)
                share = (y1 - y0) * (x1 - x0) / math.prod(stack.shape_of(z))
                inside = _limits(one, index)
                least, most = least + share * inside[0], most - share * (1 - inside[1])
            if least <= high + SUM_TOLERANCE and most >= low - SUM_TOLERANCE:
                continue
            is_more = least > high
            bound, can = ("at least", least) if is_more else ("at most", most)
            said = percent(high if is_more else low, 1)
            yield Message(
                "warning",
                f"By the fractions of its regions, slice {z} has {bound} {percent(can, 1)} of "
                f"{annotations.classes[index]}, but {said} by that of the whole slice. Look at "
                "both again.",
            )
            return


def _limits(proportion: Proportion, index: int) -> tuple[float, float]:
    """Lowest and highest fraction of a class that is stated."""
    value, bound = proportion.fractions[index], proportion.bounds()[index]
    return bound or ((0.0, 1.0) if value is None else (value, value))


def mistaken_classes(
    samples: Iterable[SliceSamples], shown: ShownClasses, classes: Sequence[str]
) -> Iterator[Message]:
    """Tell of classes that a map shows where nodes of finished grids were mostly judged otherwise.

    Wrong nodes alone do not make it so: hardly more of those on an object are wrong than of others.
    """
    nodes, agreed = np.zeros((2, len(classes)))
    for sample in samples:
        places = np.concatenate(list(sample.nodes.values()))
        found = shown[sample.name].flat[places]
        weights = sample.weight.flat[places]
        agrees = found == sample.target.flat[places]
        nodes += np.bincount(found, weights, minlength=len(classes))
        agreed += np.bincount(found, weights * agrees, minlength=len(classes))
    for name, n, n_agreed in list(zip(classes, nodes, agreed, strict=True))[1:]:
        if round(n) >= _LEAST_NODES and n_agreed < _LEAST_AGREED * n:
            yield Message(
                "warning",
                f"Of {n:.0f} nodes where the map shows {name}, {n - n_agreed:.0f} were judged "
                f"otherwise: it takes something else for {name}, too. Look at the map. What may "
                "help: train anew with another seed; if that says so again, one more grid.",
            )


def denied_absences(
    samples: Iterable[SliceSamples],
    shown: ShownClasses,
    classes: Sequence[str],
    bags: Sequence[Bag],
) -> Iterator[Message]:
    """Tell of classes that a map shows where 0 was stated, by what all ``bags`` state elsewhere."""
    found, among, n_regions = np.zeros((3, len(classes)))
    for sample in samples:
        for bag in sample.bags:
            y0, x0, y1, x1 = bag.box
            labels = shown[sample.name][y0:y1, x0:x1]
            counts = np.bincount(labels.ravel(), minlength=len(classes))
            is_absent = bag.fractions == 0
            found += counts * is_absent
            among += bag.area * is_absent
            n_regions += is_absent
    for c in range(1, len(classes)):
        present = [(bag.fractions[c], bag.area) for bag in bags if bag.low[c] > _PRESENT]
        if not (among[c] and present):
            continue
        fractions, areas = zip(*present, strict=True)
        share, stated = float(found[c] / among[c]), float(np.average(fractions, weights=areas))
        if found[c] >= _LEAST_CLAIM_PX and share >= _LEAST_PRESENT * stated:
            where = "a region" if n_regions[c] == 1 else f"{n_regions[c]:.0f} regions"
            yield Message(
                "warning",
                f"No {classes[c]} was stated in {where}, where the map shows {percent(share, 1)}; "
                f"elsewhere about {percent(stated, 1)} was stated. Look there: if there is some, "
                "or nobody looked, leave the fraction empty and train anew; if there is none, set "
                "a few keypoints on what is shown.",
            )


@dataclass(frozen=True)
class _Claim:
    """That classes take up ``share`` of ``region`` (y, x), or at least ``n_labelled`` pixels."""

    region: npt.NDArray[np.bool_]
    share: float | None
    n_labelled: int = 0

    @property
    def pixels(self) -> float:
        return self.n_labelled if self.share is None else self.share * int(self.region.sum())


@dataclass
class _Tally:
    """Pixels of all claims about some classes: how many are claimed and found, among how many."""

    is_share: bool = True
    claimed: float = 0.0
    found: float = 0.0
    among: float = 0.0
    n: int = 0
    total: float = 0.0  # sum of the probabilities, and of their squares
    squares: float = 0.0

    def add(
        self,
        claim: _Claim,
        is_found: npt.NDArray[np.bool_],
        probs: npt.NDArray[np.float32],
        is_outside: npt.NDArray[np.bool_],
    ) -> None:
        region = claim.region
        n = int(region.sum())
        among = max(n - int(is_outside[region].sum()), _LEAST_INSIDE * n)
        self.is_share = claim.share is not None
        self.claimed += claim.n_labelled if claim.share is None else claim.share * among
        self.found += int(is_found[region].sum())
        self.among += among
        values = probs[region].astype(np.float64)
        self.n += n
        self.total += float(values.sum())
        self.squares += float((values**2).sum())

    def has_failed(self, *, was_lost: bool = False) -> bool:
        is_much = not self.is_share or self.claimed >= _LEAST_CLAIM_PX
        least = _LEAST_FOUND_AGAIN if was_lost else _LEAST_FOUND
        return is_much and self.found < least * self.claimed

    @property
    def is_flat(self) -> bool:
        mean = self.total / self.n
        return self.squares / self.n - mean**2 < _LEAST_VARIANCE * mean * (1 - mean)

    def describe(self, name: str, *, is_lost: bool) -> str:
        if not self.is_share:
            shown = "but the map shows next to nothing of it" if is_lost else "and is shown"
            return f"{name} was labelled, {shown}"
        found, claimed = (100 * pixels / self.among for pixels in (self.found, self.claimed))
        return f"{name} takes up {found:.1f} % of slices where about {claimed:.1f} % was stated"


def n_looks_due(spent: float) -> int:
    """How often maps were to be looked at once a share of the budget is spent."""
    return sum(spent >= share for share in _LOOK_AT)


class MapWatch:
    """Looks at maps of annotated slices; tells when they collapse, or recover."""

    def __init__(self, classes: Classes) -> None:
        self._classes = classes
        self._outside = classes.outside_index
        self._inside = tuple(c for c in range(len(classes)) if c != self._outside)

    def look(
        self,
        samples: Sequence[SliceSamples],
        predict: Predict,
        lost_before: tuple[str, ...],
        *,
        n_steps: int,
        settings: TrainingSettings,
    ) -> tuple[tuple[str, ...], Message | None]:
        """Hold maps against annotations; tell only what has changed since the last look.

        Parameters
        ----------
        samples : sequence of SliceSamples
            All annotated slices.
        predict : callable
            Maps (C, y, x) of an image (channels, y, x).
        lost_before : tuple of str
            What the last look gave; empty at first.
        n_steps : int
            Steps of the run so far.
        settings : TrainingSettings
            Of the run; the advice depends on it.

        Returns
        -------
        lost : tuple of str
            Classes that the maps lack; and an empty name if they are nearly constant.
        message : Message or None
            A warning, or else the news that what was missed is there.
        """
        tallies, largest = self._tallies(samples, predict)
        lost = [
            c
            for c, name in enumerate(self._classes)
            if (c,) in tallies and tallies[c,].has_failed(was_lost=name in lost_before)
        ]
        constant = self._constant(tallies, bool(lost) and largest > _CONSTANT_SHARE)
        names = [self._classes[c] for c in lost]
        # not taken back as long as what is lost is the same
        stands = bool(constant) or (bool(lost) and _CONSTANT in lost_before)
        lost_now = (*names, *([_CONSTANT] if stands else []))
        when = f"after {counted(n_steps, 'step')}"
        if set(lost_now) - set(lost_before):
            head = "is nearly constant" if constant else f"lacks {_listed(names)}"
            reason = self._described(tallies, lost, is_lost=True) or constant
            advice = _advice(samples, lost, self._classes, settings)
            text = f"The map {head} {when}: {reason}. What may help: {advice}."
            return lost_now, Message("warning", text)
        found = set(lost_before) - set(lost_now)
        if not found:
            return lost_now, None
        back = [c for c, name in enumerate(self._classes) if name in found]
        names = [self._classes[c] for c in back]
        shows = f"shows {_listed(names)}" if names else "is not constant"
        news = f"The map {shows} after all, {when}"
        described = self._described(tallies, back, is_lost=False)
        return lost_now, Message("info", f"{news}: {described}." if described else f"{news}.")

    def _described(
        self, tallies: Mapping[ClassIndices, _Tally], classes: Sequence[int], *, is_lost: bool
    ) -> str:
        """Say how much of classes is found, and how much was claimed."""
        return "; ".join(
            tallies[c,].describe(self._classes[c], is_lost=is_lost)
            for c in classes
            if (c,) in tallies
        )

    def _constant(self, tallies: Mapping[ClassIndices, _Tally], is_one_class: bool) -> str:
        """Say in which way the map is constant; empty if it is not."""
        for c in self._inside:
            rest = tallies.get(self._others(c))
            if rest is not None and rest.has_failed():
                return f"nearly all of it is {self._classes[c]}"
        present = [tallies[c,] for c in range(len(self._classes)) if (c,) in tallies]
        if len(present) > 1 and all(tally.is_flat for tally in present):
            return "no place is much more likely to be of a class than any other place"
        return "one class is nearly everywhere" if is_one_class else ""

    def _others(self, class_index: int) -> ClassIndices:
        return tuple(c for c in self._inside if c != class_index)

    def _tallies(
        self, samples: Sequence[SliceSamples], predict: Predict
    ) -> tuple[dict[ClassIndices, _Tally], float]:
        """Tally the claims about each class, and about all others, on the fullest slices.

        The number is the share of the largest class in all labels of these slices.
        """
        single = [(c,) for c in range(len(self._classes))]
        together = dict.fromkeys([*single, *(self._others(c) for c in self._inside)])
        claims = {classes: self._claims(samples, classes) for classes in together}
        # the background needs no slices of its own, unless nothing else is claimed
        chosen = {i for classes in together if 0 not in classes for i in _fullest(claims[classes])}
        chosen = chosen or set(_fullest(claims[0,]))
        tallies: dict[ClassIndices, _Tally] = {}
        counts = np.zeros(len(self._classes), np.int64)
        for index in sorted(chosen):
            probs = predict(samples[index].image)
            labels = probs.argmax(axis=0)
            counts += np.bincount(labels.ravel(), minlength=len(counts))
            for classes, found in claims.items():
                for claim in found[index]:
                    tallies.setdefault(classes, _Tally()).add(
                        claim,
                        np.isin(labels, classes),
                        probs[list(classes)].sum(axis=0),
                        labels == self._outside,
                    )
        return tallies, float(counts.max() / max(1, counts.sum()))

    def _claims(self, samples: Sequence[SliceSamples], classes: ClassIndices) -> list[list[_Claim]]:
        """Claims about some classes, for each slice; labels make one if no fraction speaks."""
        found = [self._stated_claims(sample, classes) for sample in samples]
        if all(claims is None for claims in found) and len(classes) == 1:
            return [_label_claims(sample, classes[0]) for sample in samples]
        return [claims or [] for claims in found]

    def _stated_claims(self, sample: SliceSamples, classes: ClassIndices) -> list[_Claim] | None:
        """Claims by a mask or by fractions; None if nothing is stated about these classes."""
        if sample.is_mask:
            inside = np.isin(sample.target, self._inside)
            share = float(np.isin(sample.target[inside], classes).mean()) if inside.any() else 0.0
            return [_Claim(inside, share)] if share > 0 else []
        if self._outside in classes:
            return None
        claims, is_stated = [], False
        for bag in sample.bags:
            share, least = self._stated(bag, classes)
            is_stated |= np.isfinite(share)
            if share > 0 and least > _PRESENT:
                y0, x0, y1, x1 = bag.box
                region = np.zeros(sample.shape, bool)
                region[y0:y1, x0:x1] = True
                claims.append(_Claim(region, share))
        return claims if is_stated else None

    def _stated(self, bag: Bag, classes: ClassIndices) -> tuple[float, float]:
        """Share of some classes together, and its lower bound; NaN if unknown."""
        own, rest = list(classes), [c for c in self._inside if c not in classes]
        if np.isfinite(bag.fractions[own]).all():
            return float(bag.fractions[own].sum()), float(bag.low[own].sum())
        return 1 - float(bag.fractions[rest].sum()), 1 - float(bag.high[rest].sum())


def _label_claims(sample: SliceSamples, class_index: int) -> list[_Claim]:
    n_labelled = int((sample.target == class_index).sum())
    return [_Claim(np.ones(sample.shape, bool), None, n_labelled)] if n_labelled else []


def _fullest(claims: Sequence[Sequence[_Claim]]) -> list[int]:
    """Indices of the slices of which most is claimed."""
    pixels = [sum(claim.pixels for claim in of_slice) for of_slice in claims]
    ranked = sorted(range(len(pixels)), key=lambda index: -pixels[index])
    return [index for index in ranked[:_SLICES] if pixels[index] > 0]


def _advice(
    samples: Sequence[SliceSamples],
    lost: Sequence[int],
    classes: Sequence[str],
    settings: TrainingSettings,
) -> str:
    """Say what may help, the likeliest first."""
    unlabelled = [
        classes[c] for c in lost if not any((sample.target == c).any() for sample in samples)
    ]
    if not any(sample.has_labels for sample in samples):
        advice = [
            "count a grid on a few slices, or set some keypoints of every class, since fractions "
            "alone do not tell where things are"
        ]
    elif unlabelled:
        advice = [f"set a few keypoints on {_listed(unlabelled)}, or count a grid there"]
    else:
        advice = ["count a grid on another slice, or set a few keypoints of every class"]
    image = settings.image
    if image.object_diameter_px is None and image.object_diameter_um is None:
        advice.append("state the object's width")
    advice.append("train longer" if settings.preset != "paper" else "use the preset fast")
    if lost:
        advice.append(
            f"if there is no {_listed([classes[c] for c in lost], 'or')}, state 0 and "
            "take back what is marked as such"
        )
    return "; ".join(advice)


def _listed(names: Sequence[str], last: str = "and") -> str:
    """Write names one after the other: a, b and c."""
    return f" {last} ".join(filter(None, (", ".join(names[:-1]), names[-1])))
