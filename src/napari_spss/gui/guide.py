"""What is to be done next, and what cannot be done yet, as the sections say it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.base import counted
from ..core.prediction import is_smoothed
from .models import Progress, has_places, next_step, open_grid

if TYPE_CHECKING:
    from ..core.annotations import Annotations
    from .controller import Controller
    from .inputs import Inputs
    from .widgets import RunBar


class Guide:
    """Looks at image, annotations, model and result, and tells how far the work is.

    The controller has the result, the inputs offer what can be done, and the bar says what comes
    next.
    """

    def __init__(self, controller: Controller, inputs: Inputs, bar: RunBar) -> None:
        self._controller, self._trainings = controller, controller.trainings
        self._inputs, self._annotate = inputs, inputs.annotate
        self._bar = bar

    def refresh(self) -> None:
        """Tell it anew: something became other."""
        annotations = self._inputs.annotations()
        progress, results = self._progress(annotations), self._inputs.results
        hint = next_step(progress)
        other_model = self._other_model(annotations)
        self._inputs.train.set_ready(
            progress.missing, is_said=hint == progress.missing, other_model=other_model
        )
        results.set_image(
            progress.has_image, unlike=self._other_channels(), other_model=other_model
        )
        results.set_smoothing(self._can_smooth())
        grids = () if annotations is None else annotations.grids
        results.set_nodes(sum(int(grid.to_look_at.sum()) for grid in grids))
        self._bar.set_hint(hint)
        self._show_check(progress.n_contradicted)

    def _show_check(self, n_contradicted: int) -> None:
        """Show what can be said by the check count, and what was."""
        check, found = self._controller.check, self._controller.outcome.estimated
        view = self._inputs.results.estimates
        view.offer(
            missing=check.missing(), n_to_look_at=n_contradicted, is_busy=check.is_estimating
        )
        view.show_estimates(() if found is None else found.estimates, check.warning(n_contradicted))

    def missing(self, annotations: Annotations | None) -> str:
        """Say what has to be done before a training; nothing if it may start."""
        if self._controller.source is None:
            return "Open an image, or one of File > Open Sample > Semantic Proportions."
        if sum(not style.is_outside for style in self._inputs.classes.value()) < 2:
            return "Add a class to be segmented under Image & classes."
        if annotations is None or (annotations.is_empty and self._annotate.masks() is None):
            if annotations is not None and annotations.grids:
                return (
                    "Count what was laid under Annotate, Grid: click the nodes that lie on a "
                    "class, then press Done (D)."
                )
            return "State fractions, count a grid or add keypoints under Annotate."
        return ""

    def _other_channels(self) -> str:
        """Say why the model cannot be applied to this image; else nothing."""
        model, source = self._trainings.model, self._controller.source
        if model is None or source is None or model.n_channels == source.stack.n_channels:
            return ""
        said = f"{counted(model.n_channels, 'channel')}, the image {source.stack.n_channels}"
        return f"The model has {said}: press Train for a new one."

    def _other_model(self, annotations: Annotations | None) -> str:
        """Say why the model cannot be trained on with this image and its classes; else nothing."""
        model, said = self._trainings.model, self._other_channels()
        if said or model is None or self._controller.source is None or annotations is None:
            return said
        if model.classes == annotations.classes:
            return ""
        said = f"the classes {model.classes}, and you state {annotations.classes}"
        return f"The model has {said}: press Train for a new one."

    def _progress(self, annotations: Annotations | None) -> Progress:
        """Say how far the work has come."""
        source, outcome = self._controller.source, self._controller.outcome
        model, check = self._trainings.model, self._controller.check
        maps, looks = outcome.maps, self._annotate.second_look.value()
        if model is not None and source is not None:
            model = model if model.n_channels == source.stack.n_channels else None
        return Progress(
            has_image=source is not None,
            is_reading=self._inputs.image.is_reading,
            cover=self._inputs.image.cover,
            missing=self.missing(annotations),
            n_marked=len(self._annotate.fractions.marks()),
            open_grid=open_grid(annotations),
            n_open_frames=sum(
                grid.box is not None and not grid.is_done
                for grid in (() if annotations is None else annotations.grids)
            ),
            has_places=has_places(annotations) or self._annotate.masks() is not None,
            has_model=model is not None,
            has_other_classes=model is not None
            and annotations is not None
            and annotations.classes != model.classes,
            is_cut_short=self._trainings.is_cut_short(),
            n_to_look_at=sum(look.verdict is None for look in looks),
            has_news=self._trainings.has_news(annotations),
            is_worse=self._trainings.is_worse,
            has_preview=source is not None and self._controller.layers.has_preview(source),
            has_result=outcome.has_result,
            can_look_again=not looks
            and annotations is not None
            and any(grid.to_look_at.any() for grid in annotations.grids),
            n_contradicted=len(check.contradicted()),
            n_open_check=sum(not grid.is_done for grid in self._annotate.check.value()),
            can_estimate=not check.missing(),
            is_estimated=outcome.estimated is not None and not check.stale(),
            is_stale=bool(self._controller.stale()),
            n_slices=1 if source is None else source.stack.n_slices,
            n_predicted=0 if maps is None else len(maps.full_slices),
            is_saved=outcome.is_saved,
        )

    def _can_smooth(self) -> bool:
        """Whether maps of the image are averaged along z if that is wanted, as far as is known."""
        source, model = self._controller.source, self._controller.session.model
        if source is None:
            return True
        if model is not None:
            return is_smoothed(model, source.stack, None)[0]
        sizes_um = source.stack.voxel_size_um[0], source.stack.pixel_size_um(0)
        return source.stack.n_slices > 1 and None not in sizes_um
