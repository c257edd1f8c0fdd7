"""The Annotate section: fractions, counting grids, keypoints and painted labels."""

from .painted import (
    PAINTED_LAYER,
)
from .section import (
    AnnotateSection,
)

__all__ = [
    "PAINTED_LAYER",
    "AnnotateSection",
]
