"""Numbers from maps and labels: fractions with intervals, objects, scores, and clean-up."""

from .estimates import (
    FractionEstimate,
    estimate_fraction,
)
from .figures import (
    SliceView,
    StatedFractions,
    stated_fractions,
    write_overlay,
)
from .fractions import (
    Measurement,
    measure,
    write_measurement,
)
from .postprocess import (
    MapHistogram,
    fill_holes,
    labels_from_probs,
    matched_threshold,
    remove_small,
)
from .scores import (
    confusion_matrix,
    evaluate,
    scores_from_confusion,
)
from .uncertainty import (
    counted_slices,
    doubts,
    entropy,
    mean_entropy,
)

__all__ = [
    "FractionEstimate",
    "MapHistogram",
    "Measurement",
    "SliceView",
    "StatedFractions",
    "confusion_matrix",
    "counted_slices",
    "doubts",
    "entropy",
    "estimate_fraction",
    "evaluate",
    "fill_holes",
    "labels_from_probs",
    "matched_threshold",
    "mean_entropy",
    "measure",
    "remove_small",
    "scores_from_confusion",
    "stated_fractions",
    "write_measurement",
    "write_overlay",
]
