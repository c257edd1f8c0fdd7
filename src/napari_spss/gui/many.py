"""Many images in the dock: a model applied to all, their results measured, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from qtpy.QtCore import QObject

from ..core.base import Event, ImageProgress, InputError, Message, ResultFiles, SpssError, counted
from .jobs import apply_to_many, measure_many
from .layers import open_with_labels
from .models import ManyMeasured, ManyRequest, RunEnd, RunKind, explain, guarded

if TYPE_CHECKING:
    import pandas as pd
    from napari.viewer import Viewer

    from ..core.training import Model
    from .controller import Controller
    from .inputs import Inputs
    from .worker import CoreCall

_KINDS = ("images", "measuring")


class ManyRuns(QObject):
    """Carries out what the list of many images asks for, and shows there what came of it.

    The controller has the model, and begins the runs; the inputs have the list, and say how maps,
    labels and objects are made.
    """

    def __init__(
        self, viewer: Viewer, controller: Controller, inputs: Inputs, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self.session = controller.session
        self._runner, self._trainings = controller.runner, controller.trainings
        self._inputs, self._results = inputs, inputs.results
        self._folder = Path()  # of the results of the last run
        self._warnings: list[str] = []  # of that run
        view = self._view = inputs.results.many
        view.set_place(lambda: controller.outcome.place_to_save())
        view.apply_requested.connect(partial(self._try, self._apply))
        view.measure_requested.connect(partial(self._try, self._measure))
        view.open_requested.connect(partial(self._try, partial(open_with_labels, viewer)))
        self.session.event_taken.connect(self._on_event)
        self.session.run_ended.connect(self._on_end)

    def _apply(self, request: ManyRequest) -> None:
        making, cleaning = self._results.map_making(), self._results.cleaning()
        threshold = None if cleaning.threshold is None else round(cleaning.threshold, 4)
        began = self._begin(
            "images",
            apply_to_many,
            request,
            request.images,
            model=self._model(),
            device=self._inputs.form().device,
            threshold=threshold,
            flips=making.flips,
            smooth_z=making.smooth_z,
            fill_holes=cleaning.fill_holes,
            min_piece_px=cleaning.min_piece_px,
        )
        if began and threshold is not None:
            self.session.say("info", f"Threshold {threshold:g} for all images.")

    def _measure(self, request: ManyRequest) -> None:
        begun, model, wanted = self.session.model, self._model(), self._results.objects.value()
        if not request.results:
            raise InputError(f"{request.folder} has no results of these images; apply first.")
        made_by = ResultFiles(request.folder, "images", ()).made_before().get("model")
        if begun is None or model is None or made_by not in (begun.identity, model.identity):
            raise InputError(
                f"The results in {request.folder} are of another model; load that one, or apply "
                "this one to all with another folder for the results."
            )
        began = self._begin(
            "measuring",
            measure_many,
            request,
            request.results,
            names=None if model.classes == begun.classes else tuple(model.classes),
            min_size=wanted.min_size,
            split=wanted.split,
            per_slice=self._results.objects.splits_volumes,
            is_vertical=False,
            outside=model.classes.outside,
        )
        n_left = len(request.images) - len(request.results)
        if began and n_left:
            self._warnings.append(f"{counted(n_left, 'image')} without a result left out.")

    def _model(self) -> Model | None:
        """The current model as it is called, and where it lies, by now."""
        model, run_dir = self._trainings.model, self._trainings.model_dir
        return None if model is None else model.model_copy(update={"run_dir": run_dir})

    def _begin(
        self,
        kind: RunKind,
        call: CoreCall,
        request: ManyRequest,
        images: Collection[Path],
        **options: Any,
    ) -> bool:
        """Begin work on images of the request."""
        run_dir = self._trainings.model_dir
        if run_dir is None:
            raise InputError("There is no model yet; train one, or load one.")

        def start() -> None:
            self._runner.start(self.session.begin(kind), call, run_dir, request, **options)

        began = self._runner.attempt(start, self._refuse)
        if began:
            self._folder, self._warnings = request.folder, []
            self._view.show_begun(images)
        return began

    def _try(self, act: Callable[..., object], *args: object) -> None:
        try:
            act(*args)
        except (SpssError, OSError) as error:
            self._refuse(error)

    def _refuse(self, error: Exception) -> None:
        self._view.refuse(explain(error))

    @guarded
    def _on_event(self, event: Event) -> None:
        if isinstance(event, ImageProgress):
            self._view.take(event)
        elif self.session.status.kind in _KINDS and isinstance(event, Message):
            self._warnings += [event.text] * (event.level == "warning")

    @guarded
    def _on_end(self, end: RunEnd) -> None:
        if end.run not in _KINDS:
            return
        if end.error is not None:
            self._view.show_failed(end.text)
        elif isinstance(end.result, ManyMeasured):
            self._view.show_measured(end.result, self._folder, self._warnings)
        else:
            self._view.show_table(cast("pd.DataFrame", end.result), self._folder, self._warnings)
