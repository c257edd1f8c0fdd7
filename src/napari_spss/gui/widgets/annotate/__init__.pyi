from .section import (
    AnnotateSection as AnnotateSection,
)
