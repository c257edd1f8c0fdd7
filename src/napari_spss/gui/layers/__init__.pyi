from .colours import (
    label_colours as label_colours,
)
from .connections import (
    Connections as Connections,
)
from .frame_outlines import (
    FRAMES_LAYER as FRAMES_LAYER,
    FrameOutlines as FrameOutlines,
    FrameState as FrameState,
)
from .geometry import (
    Geometry as Geometry,
    full_resolution as full_resolution,
    guessed_channels as guessed_channels,
    voxel_size_um as voxel_size_um,
)
from .grid import (
    GRID_LAYER as GRID_LAYER,
    GridLayer as GridLayer,
)
from .keypoints import (
    KEYPOINTS_LAYER as KEYPOINTS_LAYER,
    KeypointLayer as KeypointLayer,
)
from .keys import (
    REDO_KEY as REDO_KEY,
    UNDO_KEY as UNDO_KEY,
    class_key as class_key,
    is_taken as is_taken,
    refused_text as refused_text,
    shown_key as shown_key,
)
from .look_marker import (
    LOOK_LAYER as LOOK_LAYER,
    LookMarker as LookMarker,
)
from .measure_line import (
    LineMeasure as LineMeasure,
)
from .object_hand import (
    ObjectHand as ObjectHand,
)
from .opened import (
    open_with_labels as open_with_labels,
    stack_layer as stack_layer,
)
from .own import (
    MARK as MARK,
    add_unselected as add_unselected,
    find_stale_layer as find_stale_layer,
    layer_mark as layer_mark,
    layer_origin as layer_origin,
    name_values as name_values,
    painted_slices as painted_slices,
    raise_annotations as raise_annotations,
)
from .reference import (
    ReferenceLayer as ReferenceLayer,
)
from .regions import (
    RegionLayer as RegionLayer,
)
from .relabel import (
    Relabeller as Relabeller,
)
from .results import (
    ResultLayers as ResultLayers,
    Source as Source,
    snapshot as snapshot,
)
from .source_frame import (
    SourceFrame as SourceFrame,
)
from .voxel_size import (
    SIZE_OF as SIZE_OF,
    file_voxel_size as file_voxel_size,
    look_into_file as look_into_file,
    name_time_axis as name_time_axis,
    set_voxel_size as set_voxel_size,
)
