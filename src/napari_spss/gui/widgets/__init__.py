"""The parts of the dock."""

from .annotate import PAINTED_LAYER, AnnotateSection
from .classes import (
    CLASS_KEYS,
    PALETTE,
    ClassesEditor,
)
from .image import (
    ImageSection,
)
from .project_bar import (
    ProjectBar,
)
from .results import (
    ResultsSection,
)
from .run_bar import (
    RunBar,
)
from .section import (
    Section,
)
from .theme import (
    wear,
)
from .train import (
    TrainSection,
)

__all__ = [
    "CLASS_KEYS",
    "PAINTED_LAYER",
    "PALETTE",
    "AnnotateSection",
    "ClassesEditor",
    "ImageSection",
    "ProjectBar",
    "ResultsSection",
    "RunBar",
    "Section",
    "TrainSection",
    "wear",
]
