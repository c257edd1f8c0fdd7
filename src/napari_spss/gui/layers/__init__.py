"""Our layers in the viewer: what is clicked, and what is shown."""

from .colours import (
    label_colours,
)
from .connections import (
    Connections,
)
from .geometry import (
    Geometry,
    full_resolution,
    voxel_size_um,
)
from .grid import (
    GRID_LAYER,
    GridLayer,
)
from .keypoints import (
    KEYPOINTS_LAYER,
    KeypointLayer,
)
from .keys import (
    is_taken,
    shown_key,
)
from .measure_line import (
    LineMeasure,
)
from .regions import (
    REGIONS_LAYER,
    RegionsTool,
)
from .relabel import (
    Relabeller,
)
from .results import (
    MARK,
    ResultLayers,
    Source,
    snapshot,
)
from .source_frame import (
    SourceFrame,
)

__all__ = [
    "GRID_LAYER",
    "KEYPOINTS_LAYER",
    "MARK",
    "REGIONS_LAYER",
    "Connections",
    "Geometry",
    "GridLayer",
    "KeypointLayer",
    "LineMeasure",
    "RegionsTool",
    "Relabeller",
    "ResultLayers",
    "Source",
    "SourceFrame",
    "full_resolution",
    "is_taken",
    "label_colours",
    "shown_key",
    "snapshot",
    "voxel_size_um",
]
