from .cores import (
    usable_cores as usable_cores,
)
from .errors import (
    CellProblem as CellProblem,
    Diverged as Diverged,
    InputError as InputError,
    OutOfMemory as OutOfMemory,
    RunError as RunError,
    SpssError as SpssError,
)
from .events import (
    Agreement as Agreement,
    CancelToken as CancelToken,
    CheckpointSaved as CheckpointSaved,
    Event as Event,
    FinishReason as FinishReason,
    ImageProgress as ImageProgress,
    KeypointsChecked as KeypointsChecked,
    Mailbox as Mailbox,
    Message as Message,
    Predicted as Predicted,
    Preparing as Preparing,
    Preview as Preview,
    Progress as Progress,
    RunFinished as RunFinished,
    RunStarted as RunStarted,
    SlicePace as SlicePace,
    Stopped as Stopped,
    Validated as Validated,
    Watched as Watched,
    event_from_json as event_from_json,
    event_to_json as event_to_json,
)
from .files import (
    STALE_FILES as STALE_FILES,
    check_links as check_links,
    remove_stale_files as remove_stale_files,
    replacing as replacing,
    set_aside as set_aside,
    stamp_of as stamp_of,
    text_encoding as text_encoding,
    write_atomically as write_atomically,
    write_errors as write_errors,
)
from .locks import (
    LOCK_FILES as LOCK_FILES,
    FolderLock as FolderLock,
    FolderLocked as FolderLocked,
    hold_folder as hold_folder,
    turn_in_folder as turn_in_folder,
)
from .records import (
    MODEL_RECORD as MODEL_RECORD,
    RECORD as RECORD,
    Record as Record,
    fault_of as fault_of,
    parse_record as parse_record,
    read_file as read_file,
    read_record as read_record,
    versions as versions,
)
from .registry import (
    Registry as Registry,
    fault_of_package as fault_of_package,
)
from .results import (
    ResultFiles as ResultFiles,
    origin_of as origin_of,
    read_origin as read_origin,
    written_names as written_names,
)
from .scratch import (
    check_room as check_room,
    forget_pages as forget_pages,
    in_parts as in_parts,
    keep_freed_memory as keep_freed_memory,
    scratch_zeros as scratch_zeros,
    write_into as write_into,
)
from .settings import (
    ImageSettings as ImageSettings,
    LabelSettings as LabelSettings,
    TrainingSettings as TrainingSettings,
    is_setting as is_setting,
    load_settings as load_settings,
    parse_settings as parse_settings,
    preset as preset,
    save_settings as save_settings,
    setting_names as setting_names,
)
from .units import (
    UNKNOWN_VOXEL as UNKNOWN_VOXEL,
    VoxelSize as VoxelSize,
    check_size as check_size,
    counted as counted,
    doubt_of_size as doubt_of_size,
    least_pixels as least_pixels,
    length_text as length_text,
    length_um as length_um,
    merge_voxel_size as merge_voxel_size,
    percent as percent,
    printed_pixel_um as printed_pixel_um,
)
