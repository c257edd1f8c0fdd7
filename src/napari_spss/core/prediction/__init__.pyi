from .agreement import (
    agreement_with_nodes as agreement_with_nodes,
    gain_text as gain_text,
    n_changed_nodes as n_changed_nodes,
)
from .blocks import (
    join_prediction as join_prediction,
    predict_in_blocks as predict_in_blocks,
)
from .engine import (
    iter_prediction as iter_prediction,
    predict as predict,
    predict_regions as predict_regions,
    predict_slice as predict_slice,
)
from .files import (
    FRACTIONS as FRACTIONS,
    SAVED as SAVED,
    FileSink as FileSink,
    as_floats as as_floats,
    objects_name as objects_name,
    prediction_results as prediction_results,
    result_names as result_names,
    write_fractions as write_fractions,
    write_objects as write_objects,
)
from .many import (
    measure_images as measure_images,
    predict_image as predict_image,
    predict_images as predict_images,
)
from .many_estimates import estimate_images as estimate_images
from .one_by_one import (
    NOT_DONE as NOT_DONE,
    OVERALL_TABLE as OVERALL_TABLE,
    read_images_table as read_images_table,
)
from .opened_labels import OpenedLabels as OpenedLabels
from .ranking import (
    rank_slices as rank_slices,
    uncertainty_slice as uncertainty_slice,
)
from .smoothing import is_smoothed as is_smoothed
