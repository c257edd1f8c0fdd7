"""The dock's state, without a widget."""

from .advice import (
    Progress,
    has_places,
    next_step,
    open_grid,
)
from .class_changes import (
    follow_classes,
)
from .curves import (
    Curves,
)
from .devices import (
    Device,
    DeviceProbe,
)
from .fraction_cells import (
    EMPTY,
    Cell,
    Edit,
    Mark,
    region_label,
)
from .fraction_sheet import (
    FractionSheet,
)
from .fraction_text import (
    cell_text,
    format_percent,
    is_bare_fraction,
    parse_cell,
    remainder_text,
    shown_text,
    split_clipboard,
)
from .grid_count import (
    BACKGROUND,
    UNTOUCHED,
    GridBook,
    GridSheet,
    Tally,
    next_slice,
)
from .keypoint_rows import (
    CLASS_FEATURE,
    Row,
    Strays,
    as_class,
    class_column,
    make_rows,
)
from .maps import (
    Cleaning,
    ResultMaps,
)
from .painted_labels import (
    PaintedLabels,
    guess_values,
    sampled_values,
)
from .preferences import (
    read_preferences,
)
from .session import (
    EndKind,
    RunEnd,
    RunForm,
    RunState,
    RunStatus,
    Session,
    Suggestion,
    Ticket,
    duration,
    steps_of,
)

__all__ = [
    "BACKGROUND",
    "CLASS_FEATURE",
    "EMPTY",
    "UNTOUCHED",
    "Cell",
    "Cleaning",
    "Curves",
    "Device",
    "DeviceProbe",
    "Edit",
    "EndKind",
    "FractionSheet",
    "GridBook",
    "GridSheet",
    "Mark",
    "PaintedLabels",
    "Progress",
    "ResultMaps",
    "Row",
    "RunEnd",
    "RunForm",
    "RunState",
    "RunStatus",
    "Session",
    "Strays",
    "Suggestion",
    "Tally",
    "Ticket",
    "as_class",
    "cell_text",
    "class_column",
    "duration",
    "follow_classes",
    "format_percent",
    "guess_values",
    "has_places",
    "is_bare_fraction",
    "make_rows",
    "next_slice",
    "next_step",
    "open_grid",
    "parse_cell",
    "read_preferences",
    "region_label",
    "remainder_text",
    "sampled_values",
    "shown_text",
    "split_clipboard",
    "steps_of",
]
