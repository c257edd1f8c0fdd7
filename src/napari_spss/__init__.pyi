from .core.analysis import (
    Estimate as Estimate,
    counted_fractions as counted_fractions,
    doubtful_objects as doubtful_objects,
    estimate_fractions as estimate_fractions,
    evaluate as evaluate,
    fill_object as fill_object,
    find_objects as find_objects,
    merge_objects as merge_objects,
    object_table as object_table,
    register_object_property as register_object_property,
    split_along_line as split_along_line,
    split_at_points as split_at_points,
)
from .core.annotations import (
    Annotations as Annotations,
    ClassSpec as ClassSpec,
    CountingGrid as CountingGrid,
    Keypoint as Keypoint,
    Look as Look,
    Proportion as Proportion,
    Region as Region,
    error_after_looks as error_after_looks,
    lay_frames as lay_frames,
    read_annotations as read_annotations,
    with_looks as with_looks,
)
from .core.base import (
    TrainingSettings as TrainingSettings,
    preset as preset,
)
from .core.images import (
    ImageData as ImageData,
    Reader as Reader,
    StackLayout as StackLayout,
    Writer as Writer,
    open_masks as open_masks,
    open_stack as open_stack,
    register_reader as register_reader,
    register_writer as register_writer,
    stack_from_array as stack_from_array,
)
from .core.networks import (
    register_network as register_network,
)
from .core.prediction import (
    estimate_images as estimate_images,
    iter_prediction as iter_prediction,
    join_prediction as join_prediction,
    measure_images as measure_images,
    predict as predict,
    predict_images as predict_images,
    predict_in_blocks as predict_in_blocks,
    predict_regions as predict_regions,
    predict_slice as predict_slice,
    rank_slices as rank_slices,
    uncertainty_slice as uncertainty_slice,
)
from .core.training import (
    Model as Model,
    NodeMaps as NodeMaps,
    fit as fit,
    iter_training as iter_training,
    load_model as load_model,
    rank_nodes as rank_nodes,
    register_loss as register_loss,
)

__version__: str
