"""From a model and an image of any size to maps, labels and their uncertainty."""

from .engine import (
    iter_prediction,
    predict,
    predict_slice,
)
from .maps import (
    Piece,
    SlicePredictor,
)
from .ranking import (
    rank_slices,
    uncertainty_slice,
)

__all__ = [
    "Piece",
    "SlicePredictor",
    "iter_prediction",
    "predict",
    "predict_slice",
    "rank_slices",
    "uncertainty_slice",
]
