"""Many images in the dock: a model applied to all, their results measured, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from qtpy.QtCore import QObject

from ..core.base import Event, ImageProgress, InputError, Message, ResultFiles, SpssError, counted
from .jobs import apply_to_many, measure_many
from .layers import open_with_labels
from .models import ManyMeasured, ManyRequest, RunEnd, RunForm, RunKind, explain, guarded
from .worker import CoreCall

if TYPE_CHECKING:
    import pandas as pd
    from napari.viewer import Viewer

    from ..core.training import Model
    from .controller import Controller
    from .widgets import ResultsSection

_KINDS = ("images", "measuring")


class ManyRuns(QObject):
    """Carries out what the list of many images asks for, and shows there what came of it.

    Parameters
    ----------
    viewer : Viewer
    controller : Controller
        Begins the runs.
    results : ResultsSection
        Has the list, and says how maps, labels and objects are made.
    form : callable
        Returns the training form.
    """

    def __init__(
        self,
        viewer: Viewer,
        controller: Controller,
        results: ResultsSection,
        form: Callable[[], RunForm],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.session = controller.session
        self._viewer, self._controller = viewer, controller
        self._results, self._form = results, form
        self._folder = Path()  # of the results of the last run
        self._warnings: list[str] = []  # of that run
        self._view = results.many
        self._view.set_place(controller.place_to_save)
        self._view.apply_requested.connect(self._on_apply)
        self._view.measure_requested.connect(self._on_measure)
        self._view.open_requested.connect(self._on_open)
        self.session.event_taken.connect(self._on_event)
        self.session.run_ended.connect(self._on_end)

    def _on_apply(self, request: ManyRequest) -> None:
        def begin() -> None:
            _, run_dir = self._model()
            making, cleaning = self._results.map_making(), self._results.cleaning()
            threshold = None if cleaning.threshold is None else round(cleaning.threshold, 4)
            call = CoreCall("applying the model to many images", apply_to_many)
            began = self._begin(
                *("images", call, run_dir, request),
                device=self._form().device,
                threshold=threshold,
                flips=making.flips,
                smooth_z=making.smooth_z,
                fill_holes=cleaning.has_filled_holes,
                min_piece_px=cleaning.min_size_px,
            )
            if began and threshold is not None:
                self.session.say("info", f"Threshold {threshold:g} for all images.")

        self._try(begin)

    def _on_measure(self, request: ManyRequest) -> None:
        def begin() -> None:
            model, run_dir = self._model()
            wanted = self._results.objects.value()
            if not request.results:
                raise InputError(f"{request.folder} has no results of these images; apply first.")
            made_by = ResultFiles(request.folder, "images", ()).made_before().get("model")
            if made_by != model.identity:
                raise InputError(
                    f"The results in {request.folder} are of another model; load that one, or "
                    "apply this one to all."
                )
            began = self._begin(
                *("measuring", CoreCall("measuring many images", measure_many), run_dir, request),
                min_size=wanted.min_size,
                split=wanted.split,
                per_slice=wanted.per_slice,
                is_vertical=False,
                outside=model.classes.outside,
            )
            n_left = len(request.images) - len(request.results)
            if began and n_left:
                self._warnings.append(f"{counted(n_left, 'image')} without a result left out.")

        self._try(begin)

    def _on_open(self, image: Path, folder: Path) -> None:
        self._try(lambda: open_with_labels(self._viewer, image, folder))

    def _model(self) -> tuple[Model, Path]:
        model, run_dir = self.session.model, self._controller.model_dir
        if model is None or run_dir is None:
            raise InputError("There is no model yet; train one, or load one.")
        return model, run_dir

    def _begin(
        self, kind: RunKind, call: CoreCall, run_dir: Path, request: ManyRequest, **options: Any
    ) -> bool:
        began = self._controller.begin(kind, call, run_dir, request, refuse=self._refuse, **options)
        if began:
            self._folder, self._warnings = request.folder, []
            self._view.show_begun(request.images if kind == "images" else request.results)
        return began

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
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
            self._view.refuse(end.text)
        elif isinstance(end.result, ManyMeasured):
            self._view.show_measured(end.result, self._folder, self._warnings)
        else:
            self._view.show_table(cast("pd.DataFrame", end.result), self._folder, self._warnings)
