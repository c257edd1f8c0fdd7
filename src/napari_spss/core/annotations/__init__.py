"""What a person states about a stack: classes, fractions, keypoints, grids; and their tables."""

from .checks import (
    SUM_TOLERANCE,
    class_name_fault,
    match_class,
    outside_class,
)
from .class_spec import (
    COLOUR_EXAMPLE,
    EXAMPLE,
    ClassNames,
    ClassSpec,
    Colour,
    parse_classes,
    show_values,
)
from .class_style import (
    ClassStyle,
    outside_name,
)
from .csv_cells import (
    Row,
    parse_sheet,
    read_bytes,
    write_rows,
)
from .grids import (
    NOT_JUDGED,
    UNSURE,
    CountingGrid,
    lay_grid,
    wilson_interval,
)
from .proportions import (
    Box,
    Proportion,
    Region,
)
from .records import (
    Annotations,
    Keypoint,
)
from .tables import (
    annotation_files,
    read_annotations,
    read_proportions,
    write_annotations,
    write_grid,
    write_keypoints,
    write_proportions,
)

__all__ = [
    "COLOUR_EXAMPLE",
    "EXAMPLE",
    "NOT_JUDGED",
    "SUM_TOLERANCE",
    "UNSURE",
    "Annotations",
    "Box",
    "ClassNames",
    "ClassSpec",
    "ClassStyle",
    "Colour",
    "CountingGrid",
    "Keypoint",
    "Proportion",
    "Region",
    "Row",
    "annotation_files",
    "class_name_fault",
    "lay_grid",
    "match_class",
    "outside_class",
    "outside_name",
    "parse_classes",
    "parse_sheet",
    "read_annotations",
    "read_bytes",
    "read_proportions",
    "show_values",
    "wilson_interval",
    "write_annotations",
    "write_grid",
    "write_keypoints",
    "write_proportions",
    "write_rows",
]
