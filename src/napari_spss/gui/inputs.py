"""Where the user enters something: the dock's sections, as all that read them get them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..core.base import InputError

if TYPE_CHECKING:
    from ..core.annotations import Annotations
    from .models import RunForm
    from .widgets import AnnotateSection, ClassesEditor, ImageSection, ResultsSection, TrainSection


@dataclass(frozen=True)
class Inputs:
    """The dock's sections."""

    image: ImageSection
    classes: ClassesEditor
    annotate: AnnotateSection
    train: TrainSection
    results: ResultsSection

    def form(self) -> RunForm:
        """Return what is entered for a training."""
        diameter = self.image.value().object_diameter_px
        return replace(self.train.value(), object_diameter_px=diameter)

    def annotations(self) -> Annotations | None:
        """Return annotations, unless a table and the classes are out of step for a moment."""
        try:
            return self.annotate.value()
        except InputError:
            return None
