"""What is kept while a person works: annotations, painted labels and runs."""

from .folder import (
    RECORD_FILE,
    FolderUnusable,
    choose_folder,
    fallback_folder,
    last_saved_first,
    saved_projects,
)
from .lock import (
    ProjectLocked,
)
from .project import (
    Project,
)
from .state import (
    ProjectState,
)

__all__ = [
    "RECORD_FILE",
    "FolderUnusable",
    "Project",
    "ProjectLocked",
    "ProjectState",
    "choose_folder",
    "fallback_folder",
    "last_saved_first",
    "saved_projects",
]
