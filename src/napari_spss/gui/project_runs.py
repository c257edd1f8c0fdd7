"""The runs of a project: which there are, which is in use, and how two of them compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

from ..core.projects import RUNS_FOLDER
from .models import Task, guarded, start_task
from .widgets import run_title

if TYPE_CHECKING:
    from ..core.training import RunSummary
    from .controller import Controller
    from .inputs import Inputs
    from .project_contents import ProjectContents
    from .widgets import ProjectBar

    _Listed = tuple[tuple[str, ...], tuple[RunSummary, ...]]  # what was lost, and the runs


class ProjectRuns(QObject):
    """Lists the runs of a project, and has the last one loaded when it is opened.

    The controller has the model in use, the inputs have the list, and the contents keep which run
    is in use.
    """

    def __init__(
        self,
        controller: Controller,
        inputs: Inputs,
        contents: ProjectContents,
        project: ProjectBar,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.session = controller.session
        self._controller, self._trainings = controller, controller.trainings
        self._train, self._results = inputs.train, inputs.results
        self._contents, self._project = contents, project
        self._runs: tuple[RunSummary, ...] = ()
        self._listing: Task[_Listed] | None = None
        self._is_resuming = False  # whether the last run is to be loaded once runs are listed
        self._train.runs.use_requested.connect(self._trainings.load)
        self._train.runs.compare_requested.connect(self._on_compare)
        project.moved.connect(self._on_moved)

    def forget(self) -> None:
        """Show no run, also not of a list that is being read."""
        self._listing = None
        self.show(())

    def resume(self) -> None:
        """List the runs of a project that was opened; load one if there is no model."""
        self.forget()
        self._is_resuming = self.session.model is None
        self._list()

    def _list(self) -> None:
        """Read in a thread which runs the project has."""
        project = self._project.folder
        folder = None if project is None else project / RUNS_FOLDER
        self._listing = None
        if folder is not None and folder.is_dir():
            from ..core import training  # torch, which the thread of the window has no time for

            def read() -> _Listed:
                return training.rescue_runs(folder), training.list_runs(folder)

            self._listing = start_task("napari-spss runs", read, self._on_listed)

    @guarded
    def _on_listed(self, task: Task[_Listed]) -> None:
        if task is not self._listing:
            return  # the project is another one by now
        self._listing = None
        if task.error is not None:
            raise task.error
        faults, self._runs = task.value or ((), ())
        self.note_use(is_new=False)  # it may have been loaded while another image was shown
        is_resuming, self._is_resuming = self._is_resuming, False
        for fault in faults if is_resuming else ():
            self.session.say("warning", fault)
        if is_resuming and self._runs and not self.session.status.is_busy:
            named = [run for run in self._runs if run.path.name == self._contents.run]
            ended = [run for run in self._runs if not run.is_interrupted]
            chosen = (named or ended or self._runs)[0]
            self._trainings.load(chosen.path)
            newest = self._runs[0]
            if newest.is_interrupted and chosen is not newest:
                self.session.say(
                    "warning",
                    f"The training of {run_title(newest)} was interrupted. To go on with it, "
                    "choose it under Train, Runs, and press Use, then Continue.",
                )

    def show(self, runs: tuple[RunSummary, ...]) -> None:
        """Show these runs."""
        self._runs = runs
        self._train.set_runs(runs, self._trainings.model_dir)
        self.name_model()

    def note_use(self, *, is_new: bool) -> None:
        """Keep which run is in use: the newest one, unless the user went back to another."""
        folder, project = self._trainings.model_dir, self._project.folder
        if folder is None or project is None or folder.parent != project / RUNS_FOLDER:
            self.show(self._runs)
            return
        is_newest = is_new or (bool(self._runs) and self._runs[0].path == folder)
        run = "" if is_newest else folder.name
        if run != self._contents.run:
            self._contents.run = run
            self._project.save_soon()
        if is_new:
            self._list()
        else:
            self.show(self._runs)

    def name_model(self) -> None:
        """Name the model that is in use as the list of runs does."""
        folder = self._trainings.model_dir
        self._results.set_model(
            self._trainings.model, "" if folder is None else self._title_of(folder)
        )

    def _title_of(self, folder: Path) -> str:
        listed = (run_title(run) for run in self._runs if run.path == folder)
        return next(listed, folder.name)

    @guarded
    def _on_compare(self, folder: Path) -> None:
        current, model = self._trainings.model_dir, self._trainings.model
        if current is None or model is None:
            return
        one, other = map(self._title_of, (current, folder))
        if self._controller.compare(folder, (f"{one} labels", f"{other} labels")):
            self._train.runs.begin_comparison(model.classes, (one, other))

    @guarded
    def _on_moved(self, left: Path) -> None:
        """Go on with the runs where the project is now."""
        if self._project.folder is not None:
            self._controller.follow_runs(left / RUNS_FOLDER, self._project.folder / RUNS_FOLDER)
            self._list()

    def close(self) -> None:
        """Wait for no list any more."""
        self._listing = None
