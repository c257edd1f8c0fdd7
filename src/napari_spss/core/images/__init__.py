"""Pixels in and out: stacks, masks and labels; readers and writers of files."""

from .labels import (
    IGNORE,
    LabelsLike,
    LabelSource,
    LiveLabels,
    as_label_source,
    class_names,
    default_names,
    strips,
)
from .masks import (
    Masks,
    open_masks,
)
from .painted import (
    PAINTED_FOLDER,
    PaintedSlices,
)
from .resampling import (
    enlarge,
    to_working,
    working_slice,
)
from .stack import (
    open_stack,
    stack_from_array,
)
from .stack_base import (
    Stack,
)
from .writers import (
    StackWriter,
)
from .written_labels import (
    open_labels,
)

__all__ = [
    "IGNORE",
    "PAINTED_FOLDER",
    "LabelSource",
    "LabelsLike",
    "LiveLabels",
    "Masks",
    "PaintedSlices",
    "Stack",
    "StackWriter",
    "as_label_source",
    "class_names",
    "default_names",
    "enlarge",
    "open_labels",
    "open_masks",
    "open_stack",
    "stack_from_array",
    "strips",
    "to_working",
    "working_slice",
]
