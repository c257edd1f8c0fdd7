"""Scores of labels against truth: IoU, F1, accuracy."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..base import InputError, counted
from ..images import (
    IGNORE,
    LabelsLike,
    LabelSource,
    Pairing,
    as_label_source,
    class_names,
    default_names,
    hint_to_turn,
    pair_by_name,
    reading_notes,
    refuse_marks,
    strips,
)

_PIECE_PX = 1 << 22  # pixels compared at once: bounds the memory of the int64 codes to 32 MB


@dataclass(frozen=True)
class Scores:
    """How well labels agree with the truth; nan where a class occurs in neither.

    Attributes
    ----------
    classes : tuple of str
        Class names, background first.
    iou, f1, precision, recall : tuple of float
        Per class, 0-1. ``f1`` equals the Dice coefficient.
    mean_iou : float
        Mean IoU over all classes that occur, background included.
    mean_iou_foreground : float
        The same without the background; for two classes this is the IoU of class 1.
    accuracy : float
        Share of the judged pixels whose class is right.
    balanced_accuracy : float
        Mean recall over the classes that occur in the truth.
    n_pixels : int
        Judged pixels: those whose truth is known.
    notes : tuple of str
        What was left out of a mean, and why.
    confusion : ndarray of int64, shape (C, C + 1)
        Pixels by true class (row) and labelled class (column); last column: no label.
    """

    classes: tuple[str, ...]
    iou: tuple[float, ...]
    f1: tuple[float, ...]
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    mean_iou: float
    mean_iou_foreground: float
    accuracy: float
    balanced_accuracy: float
    n_pixels: int
    notes: tuple[str, ...]
    confusion: npt.NDArray[np.int64] = field(compare=False, repr=False)

    def to_json(self) -> dict[str, object]:
        """Give the scores as plain JSON values; a score that is not defined becomes None."""
        return {
            "classes": list(self.classes),
            "iou": dict(zip(self.classes, map(_or_none, self.iou), strict=True)),
            "f1": dict(zip(self.classes, map(_or_none, self.f1), strict=True)),
            "precision": dict(zip(self.classes, map(_or_none, self.precision), strict=True)),
            "recall": dict(zip(self.classes, map(_or_none, self.recall), strict=True)),
            "mean_iou": _or_none(self.mean_iou),
            "mean_iou_foreground": _or_none(self.mean_iou_foreground),
            "accuracy": _or_none(self.accuracy),
            "balanced_accuracy": _or_none(self.balanced_accuracy),
            "n_pixels": self.n_pixels,
            "notes": list(self.notes),
            "confusion": self.confusion.tolist(),
        }

    def to_text(self) -> str:
        """Give the scores as a table for a terminal."""
        width = max(len("mean accuracy (recall)"), *(len(name) for name in self.classes)) + 2
        lines = [f"{'class':<{width}}{'IoU':>8}{'F1':>8}{'precision':>11}{'recall':>8}"]
        for index, name in enumerate(self.classes):
            lines.append(
                f"{name:<{width}}{_shown(self.iou[index]):>8}{_shown(self.f1[index]):>8}"
                f"{_shown(self.precision[index]):>11}{_shown(self.recall[index]):>8}"
            )
        foreground = (
            f"IoU of {self.classes[1]}" if len(self.classes) == 2 else "mean IoU, foreground"
        )
        lines += [
            "",
            f"{'mean IoU, all classes':<{width}}{_shown(self.mean_iou):>8}",
            f"{foreground:<{width}}{_shown(self.mean_iou_foreground):>8}",
            f"{'pixel accuracy':<{width}}{_shown(self.accuracy):>8}",
            f"{'mean accuracy (recall)':<{width}}{_shown(self.balanced_accuracy):>8}",
        ]
        return "\n".join([*lines, *self.notes])


def confusion_matrix(
    labels: npt.ArrayLike, truth: npt.ArrayLike, *, n_classes: int
) -> npt.NDArray[np.int64]:
    """Count pixels by true and labelled class.

    Parameters
    ----------
    labels, truth : array of int, same shape
        Class indices. Pixels whose truth is 255 are left out; a pixel without label (255) where
        the truth is known is counted in the last column, as missed.
    n_classes : int
        Number of classes C.

    Returns
    -------
    ndarray of int64, shape (C, C + 1)
        Rows: truth. Columns: labels; the last: no label.

    Raises
    ------
    InputError
        If the shapes differ or an index is not below ``n_classes``.

    Examples
    --------
    >>> confusion_matrix([0, 0, 1, 1], [0, 1, 1, 255], n_classes=2)
    array([[1, 0, 0],
           [1, 1, 0]])
    """
    labels, truth = np.asarray(labels), np.asarray(truth)
    if labels.shape != truth.shape:
        raise InputError(
            f"labels of shape {labels.shape} cannot be compared with a truth of shape "
            f"{truth.shape}; give two of one size."
        )
    counts = np.zeros((IGNORE + 1) ** 2, dtype=np.int64)
    flat_labels, flat_truth = labels.reshape(-1), truth.reshape(-1)
    for start in range(0, flat_labels.size, _PIECE_PX):
        pieces = [flat[start : start + _PIECE_PX] for flat in (flat_truth, flat_labels)]
        for piece in pieces:
            if piece.dtype != np.uint8 and (piece.min() < 0 or piece.max() > IGNORE):
                raise _beyond(piece.min() if piece.min() < 0 else piece.max(), n_classes)
        true, found = (piece.astype(np.uint16) for piece in pieces)
        counts += np.bincount((true << 8) | found, minlength=counts.size)
    known = counts.reshape(IGNORE + 1, IGNORE + 1)[:IGNORE]
    stray = np.argwhere(known[:, :IGNORE])
    if stray.size and stray.max() >= n_classes:
        raise _beyond(stray.max(), n_classes)
    return np.hstack([known[:n_classes, :n_classes], known[:n_classes, IGNORE:]])


def _beyond(index: int, n_classes: int) -> InputError:
    return InputError(
        f"class index {index} lies outside 0-{n_classes - 1}; name all classes, from 0 on."
    )


def scores_from_confusion(
    confusion: npt.NDArray[np.int64], classes: Sequence[str] | None = None
) -> Scores:
    """Compute all scores from a confusion matrix of shape (C, C + 1) or (C, C).

    Raises
    ------
    InputError
        If the matrix has another shape, or the number of names differs from its classes.
    """
    counts = np.asarray(confusion, dtype=np.int64)
    n_classes = counts.shape[0]
    if counts.ndim != 2 or counts.shape[1] not in (n_classes, n_classes + 1):
        raise InputError(f"a confusion matrix of shape {counts.shape} is not (C, C) or (C, C + 1).")
    if counts.shape[1] == n_classes:
        counts = np.hstack([counts, np.zeros((n_classes, 1), dtype=np.int64)])
    names = tuple(classes) if classes is not None else default_names(n_classes)
    if len(names) != n_classes:
        raise InputError(f"{len(names)} class names were given for {n_classes} classes.")
    hits = np.diagonal(counts[:, :n_classes]).astype(float)
    in_truth = counts.sum(axis=1).astype(float)
    in_labels = counts[:, :n_classes].sum(axis=0).astype(float)
    n_pixels = int(counts.sum())
    iou = _ratio(hits, in_truth + in_labels - hits)
    recall = _ratio(hits, in_truth)
    absent = [name for name, value in zip(names, iou, strict=True) if math.isnan(value)]
    notes = []
    if absent:
        notes.append(
            f"In neither labels nor truth, and left out of the means: {', '.join(absent)}."
        )
    if n_pixels == 0:
        notes.append("No pixel has a known truth, so nothing could be scored.")
    n_unlabelled = int(counts[:, n_classes].sum())
    if n_unlabelled:
        notes.append(f"{counted(n_unlabelled, 'pixel')} with no label: counted as missed.")
    return Scores(
        classes=names,
        iou=tuple(iou),
        f1=tuple(_ratio(2 * hits, in_truth + in_labels)),
        precision=tuple(_ratio(hits, in_labels)),
        recall=tuple(recall),
        mean_iou=_mean(iou),
        mean_iou_foreground=_mean(iou[1:]),
        accuracy=float(hits.sum() / n_pixels) if n_pixels else math.nan,
        balanced_accuracy=_mean(recall),
        n_pixels=n_pixels,
        notes=tuple(notes),
        confusion=counts,
    )


def evaluate(
    labels: LabelsLike, truth: LabelsLike, *, classes: Sequence[str] | None = None
) -> Scores:
    """Score labels against the truth, strip by strip, so that neither need fit into memory.

    Parameters
    ----------
    labels, truth : Masks or array of int, (Y, X) or (Z, Y, X)
        Class indices, 0 = background, 255 = ignore. Pixels without known truth are left out. Files
        of two folders go together by their names, and those without a partner are left out.
    classes : sequence of str, optional
        Class names; default: those of the truth, else of the labels, else "class_1", ...

    Returns
    -------
    Scores

    Raises
    ------
    InputError
        If the numbers of slices or the sizes of a slice differ, the two hold the same classes in
        different order, or 255 seems to mark objects.

    Examples
    --------
    >>> import numpy as np
    >>> evaluate(np.array([[0, 1, 1, 1]]), np.array([[0, 0, 1, 1]])).mean_iou_foreground
    0.6666666666666666
    """
    found, true = as_label_source(labels), as_label_source(truth)
    pairing = _partners(found, true)
    names = tuple(classes) if classes is not None else _shared_names(found, true)
    # Without names the number of classes is only known once every slice was read.
    n_classes = len(names) if names is not None else IGNORE
    total, n_pixels = np.zeros((n_classes, n_classes + 1), dtype=np.int64), 0
    for z, partner in enumerate(pairing.partners):
        if partner is None:
            continue
        n_pixels += math.prod(true.shape_of(z))
        for box in strips(true.shape_of(z)):
            total += confusion_matrix(
                found.read(partner, box), true.read(z, box), n_classes=n_classes
            )
    if names is None:
        is_used = (total.sum(axis=1) > 0) | (total[:, :-1].sum(axis=0) > 0)
        n_used = max(int(np.flatnonzero(is_used).max(initial=0)) + 1, 2)
        total = np.hstack([total[:n_used, :n_used], total[:n_used, -1:]])
    for what, source, counts, n_unknown in (
        ("the truth", true, total.sum(axis=1), n_pixels - total.sum()),
        ("the labels", found, total[:, :-1].sum(axis=0), total[:, -1].sum()),
    ):
        refuse_marks(source, counts, n_unknown, what=what)
    scores = scores_from_confusion(total, names)
    notes = dict.fromkeys((*reading_notes(found), *reading_notes(true), *pairing.notes))
    return dataclasses.replace(scores, notes=(*notes, *scores.notes))


def _partners(found: LabelSource, true: LabelSource) -> Pairing:
    """Which slice of the labels belongs to each of the truth."""
    pairing = pair_by_name(true, found)
    if pairing is None and found.n_slices != true.n_slices:
        raise InputError(
            f"the labels have {found.n_slices} slices and the truth has {true.n_slices}; "
            f"give the same slices of both.{hint_to_turn(true, found) or hint_to_turn(found, true)}"
        )
    if true.n_slices == 0:
        raise InputError("labels and truth hold no slices; give at least one image of each.")
    pairing = pairing or Pairing(tuple(range(true.n_slices)))
    for z, partner in enumerate(pairing.partners):
        if partner is not None and found.shape_of(partner) != true.shape_of(z):
            raise InputError(
                f"slice {partner} of the labels is {_size(found.shape_of(partner))} pixels (height "
                f"x width), that of the truth {_size(true.shape_of(z))}; give labels at full "
                "resolution."
            )
    return pairing


def _shared_names(found: LabelSource, true: LabelSource) -> tuple[str, ...] | None:
    """Names of the side that knows more classes; None if neither knows any."""
    in_labels, in_truth = class_names(found), class_names(true)
    if in_labels is None or in_truth is None:
        return in_truth or in_labels
    if tuple(in_labels) != tuple(in_truth) and sorted(in_labels) == sorted(in_truth):
        values = getattr(getattr(true, "classes", None), "values", None) or range(len(in_truth))
        named = ",".join(f"{name}={values[in_truth.index(name)]}" for name in in_labels)
        raise InputError(
            f"the classes of the labels ({', '.join(in_labels)}) are in another order than those "
            f"of the truth ({', '.join(in_truth)}); state which values of the truth stand for "
            f'them, in the order of the labels, such as --classes "{named}".',
            field="classes",
        )
    return in_truth if len(in_truth) >= len(in_labels) else in_labels


def _ratio(numerator: npt.NDArray[np.float64], denominator: npt.NDArray[np.float64]) -> list[float]:
    """Quotients; nan where the denominator is zero."""
    filled = np.full(len(numerator), math.nan)
    quotients = np.divide(numerator, denominator, out=filled, where=denominator > 0)
    return [float(value) for value in quotients]


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[0]} x {shape[1]}"
