from .advice import (
    Progress as Progress,
    has_places as has_places,
    next_step as next_step,
    open_grid as open_grid,
)
from .class_changes import (
    follow_classes as follow_classes,
)
from .comparison import (
    ComparedSlice as ComparedSlice,
    together as together,
)
from .curves import (
    Curves as Curves,
)
from .devices import (
    Device as Device,
    DeviceProbe as DeviceProbe,
    DurationProbe as DurationProbe,
)
from .fraction_sheet import (
    EMPTY as EMPTY,
    Cell as Cell,
    Edit as Edit,
    FractionSheet as FractionSheet,
    Mark as Mark,
    check_texts as check_texts,
    region_label as region_label,
)
from .fraction_text import (
    cell_text as cell_text,
    format_percent as format_percent,
    is_bare_fraction as is_bare_fraction,
    parse_cell as parse_cell,
    percent_text as percent_text,
    remainder_text as remainder_text,
    shown_text as shown_text,
    split_clipboard as split_clipboard,
)
from .grid_count import (
    BACKGROUND as BACKGROUND,
    UNTOUCHED as UNTOUCHED,
    FrameLayout as FrameLayout,
    GridBook as GridBook,
    Tally as Tally,
    n_marked as n_marked,
    n_unsure as n_unsure,
    next_slice as next_slice,
    tally as tally,
)
from .history import (
    History as History,
    LeftHistories as LeftHistories,
)
from .keypoint_rows import (
    CLASS_FEATURE as CLASS_FEATURE,
    Rows as Rows,
    Strays as Strays,
    class_column as class_column,
)
from .many_images import (
    ManyMeasured as ManyMeasured,
    ManyRequest as ManyRequest,
    tables_in as tables_in,
)
from .maps import (
    MAX_MIN_PIECE_PX as MAX_MIN_PIECE_PX,
    Cleaning as Cleaning,
    MapMaking as MapMaking,
    ResultMaps as ResultMaps,
    ResultsForm as ResultsForm,
)
from .object_edits import (
    ObjectEdits as ObjectEdits,
)
from .objects import (
    FoundObjects as FoundObjects,
    ObjectRequest as ObjectRequest,
)
from .painted_labels import (
    PaintedLabels as PaintedLabels,
    guess_values as guess_values,
    sampled_values as sampled_values,
    spread_levels as spread_levels,
)
from .preferences import (
    read_preferences as read_preferences,
)
from .session import (
    EndKind as EndKind,
    LoadedRun as LoadedRun,
    RunEnd as RunEnd,
    RunForm as RunForm,
    RunKind as RunKind,
    RunStatus as RunStatus,
    Session as Session,
    Suggestion as Suggestion,
    Ticket as Ticket,
    duration as duration,
    explain as explain,
    guarded as guarded,
    sentence as sentence,
    steps_of as steps_of,
)
from .task import (
    Task as Task,
    make_timer as make_timer,
    start_task as start_task,
)
