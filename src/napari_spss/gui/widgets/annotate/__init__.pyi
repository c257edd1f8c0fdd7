from .painted import (
    PAINTED_LAYER as PAINTED_LAYER,
)
from .section import (
    AnnotateSection as AnnotateSection,
)
