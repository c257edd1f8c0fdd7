from .folder import (
    RECORD_FILE as RECORD_FILE,
    RUNS_FOLDER as RUNS_FOLDER,
    FolderUnusable as FolderUnusable,
    choose_folder as choose_folder,
    fallback_folder as fallback_folder,
    last_annotated_first as last_annotated_first,
    note_folder as note_folder,
    saved_projects as saved_projects,
)
from .project import (
    Project as Project,
)
from .record import (
    ObjectsRecord as ObjectsRecord,
)
from .state import (
    ProjectState as ProjectState,
)
