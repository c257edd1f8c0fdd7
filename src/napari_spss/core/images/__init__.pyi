from .labels import (
    IGNORE as IGNORE,
    LabelsLike as LabelsLike,
    LabelSource as LabelSource,
    LiveLabels as LiveLabels,
    as_label_source as as_label_source,
    class_indices as class_indices,
    class_names as class_names,
    default_names as default_names,
    reading_notes as reading_notes,
    refuse_marks as refuse_marks,
    strips as strips,
)
from .listing import (
    BY_FOLDER as BY_FOLDER,
    ListedImage as ListedImage,
    are_many as are_many,
    left_out as left_out,
    list_images as list_images,
)
from .mask_values import (
    find_levels as find_levels,
)
from .masks import (
    Masks as Masks,
    open_indices as open_indices,
    open_masks as open_masks,
)
from .multiscale import (
    BLOCK_PX as BLOCK_PX,
    Pyramid as Pyramid,
    image_paths as image_paths,
)
from .ome_tiff import (
    StackWriter as StackWriter,
)
from .painted import (
    PAINTED_FOLDER as PAINTED_FOLDER,
    PaintedSlices as PaintedSlices,
)
from .pairing import (
    PairedMasks as PairedMasks,
    Pairing as Pairing,
    hint_to_turn as hint_to_turn,
    pair_by_name as pair_by_name,
    pair_masks as pair_masks,
)
from .readers import (
    Reader as Reader,
    known_readers as known_readers,
    open_stack as open_stack,
    register_reader as register_reader,
)
from .resampling import (
    GreyRange as GreyRange,
    SliceGreys as SliceGreys,
    enlarge as enlarge,
    lost_contrast as lost_contrast,
    resample_points as resample_points,
    resample_slice as resample_slice,
    slice_greys as slice_greys,
    streamed_greys as streamed_greys,
    working_strips as working_strips,
)
from .scale import (
    BOTH_UNKNOWN as BOTH_UNKNOWN,
    WorkingScale as WorkingScale,
)
from .stack import (
    ImageData as ImageData,
    Stack as Stack,
    check_stack as check_stack,
    stack_from_array as stack_from_array,
)
from .writers import (
    WRITERS as WRITERS,
    StackLayout as StackLayout,
    Writer as Writer,
    register_writer as register_writer,
)
from .written_labels import (
    labels_in as labels_in,
    open_labels as open_labels,
    stored_classes as stored_classes,
)
