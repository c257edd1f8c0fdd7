"""The numbers that the paper prints, in per cent, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Printed: TypeAlias = tuple[float, float]  # mean and what stands behind the "±"

NAMED_CLASSES = ("building", "land", "road", "vegetation", "water")


def iou_from_f1(f1: float) -> float:
    """Give the IoU that belongs to an F1 score, both 0-1: F1 = 2 IoU / (1 + IoU).

    Examples
    --------
    >>> iou_from_f1(0.5)
    0.3333333333333333
    """
    return f1 / (2.0 - f1)


@dataclass(frozen=True)
class PublishedRow:
    """A row of Table 1 or 2.

    Attributes
    ----------
    mean_iou, accuracy : (float, float)
        As printed.
    f1 : dict of str to (float, float)
        Per class, as printed.
    """

    mean_iou: Printed
    f1: dict[str, Printed]
    accuracy: Printed

    def iou(self, name: str) -> float:
        """IoU of a class in per cent, computed from the printed F1 score."""
        return 100 * iou_from_f1(self.f1[name][0] / 100)

    def mean_iou_from_f1(self, n_absent: int = 0) -> float:
        """Mean of the classes' IoU in per cent; ``n_absent`` more classes count as 0."""
        return sum(map(self.iou, self.f1)) / (len(self.f1) + n_absent)


def _row(mean_iou: Printed, f1: tuple[Printed, ...], accuracy: Printed) -> PublishedRow:
    names = NAMED_CLASSES if len(f1) == len(NAMED_CLASSES) else ("background", "mitochondria")
    return PublishedRow(mean_iou, dict(zip(names, f1, strict=True)), accuracy)


TABLE1 = {
    "benchmark": _row(
        (52.3, 1.3), ((75.2, 0.9), (84.5, 1.3), (68.3, 1.2), (67.7, 0.6), (90.1, 0.4)), (82.3, 0.5)
    ),
    "spss": _row(
        (45.4, 0.9), ((63.5, 1.1), (85.4, 0.8), (46.1, 1.1), (61.2, 0.8), (89.5, 0.5)), (75.0, 0.7)
    ),
}
TABLE2 = {
    "benchmark": _row((69.2, 0.3), ((99.1, 0.2), (81.3, 0.5)), (98.4, 0.2)),
    "spss+": _row((65.3, 0.8), ((98.1, 0.8), (79.3, 0.3)), (97.7, 0.8)),
}

# Tables 3 and 4: mean IoU in whole per cent by noise in per cent, and by number of clusters.
NOISY = {0: 45, 5: 42, 10: 41, 15: 38, 20: 32, 30: 29, 40: 28, 50: 26}
CLUSTERED = {100: 44, 50: 42, 30: 41, 20: 37, 10: 36, 5: 27}
EXACT_PERCENT = 45  # what Table 3 gives without noise; Table 4 has no such row
