from .engine import (
    iter_prediction as iter_prediction,
    predict as predict,
    predict_slice as predict_slice,
)
from .files import (
    prediction_results as prediction_results,
    result_name as result_name,
)
from .maps import (
    Piece as Piece,
    SlicePredictor as SlicePredictor,
)
from .ranking import (
    rank_slices as rank_slices,
    uncertainty_slice as uncertainty_slice,
)
