"""The image that the dock is turned to, with its project, or with what is entered anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from ..core.base import SpssError
from .layers import Source, raise_annotations, snapshot
from .models import Task, explain, guarded, start_task
from .project_contents import RESTORED, Form
from .widgets import make_button

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from ..core.projects import Project
    from .controller import Controller
    from .guide import Guide
    from .inputs import Inputs
    from .objects import ObjectFinder
    from .project_contents import ProjectContents
    from .project_runs import ProjectRuns
    from .widgets import ProjectBar


class Opener(QObject):
    """Turns the dock to the image that is chosen, and fills it from the image's project.

    The inputs are where the image is chosen, and what is filled, by the contents. The project knows
    where that of an image is; the controller has the image's result.
    """

    turned = Signal()  # to an image with all that belongs to it, or to none
    switched = Signal()  # to another project of the image

    def __init__(
        self,
        viewer: Viewer,
        controller: Controller,
        guide: Guide,
        inputs: Inputs,
        project: ProjectBar,
        contents: ProjectContents,
        runs: ProjectRuns,
        objects: ObjectFinder,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.session = controller.session
        self._viewer, self._controller, self._guide = viewer, controller, guide
        self._trainings = controller.trainings
        self._inputs, self._annotate = inputs, inputs.annotate
        self._project, self._contents = project, contents
        self._runs, self._objects = runs, objects
        self._is_open = True
        self._before: Form | None = None  # of the image before
        self._recognising: tuple[Task[str], Image, Source] | None = None
        self.take_over = make_button(
            "Use classes and settings of the image before", self._on_take_over
        )
        self.take_over.hide()
        inputs.image.image_changed.connect(self.turn_to)
        project.restored.connect(self._on_restored)

    @guarded
    def turn_to(self, layer: Image | None) -> None:
        """Take another image, or the same with other pixels; a run goes on with what it has."""
        if not self._is_open:
            return
        self._recognising = None
        try:
            source = None if layer is None else snapshot(layer)
        except SpssError as error:
            self._refuse_image(str(error))
            return
        if layer is None or source is None or source.is_at_hand:
            self._enter(layer, source)
        else:
            self._recognise(layer, source)

    def _recognise(self, layer: Image, source: Source) -> None:
        """Read in a thread which image it is; until then there is none, and nothing is entered."""
        self._enter(None, None)
        task = start_task("napari-spss image", lambda: source.identity, self._on_recognised)
        self._recognising = task, layer, source
        self._show_reading(True)

    @guarded
    def _on_recognised(self, task: Task[str]) -> None:
        if self._recognising is None or task is not self._recognising[0]:
            return  # another image was chosen meanwhile
        _, layer, source = self._recognising
        self._recognising = None
        if task.error is None:
            self._enter(layer, source)
        else:
            self._refuse_image(f"{source.name} cannot be read: {explain(task.error)}")

    def _refuse_image(self, why: str) -> None:
        """Turn to no image, and show nothing of the one before beside the one that is chosen."""
        self._enter(None, None)
        with self._contents.restoring():
            self._project.close_project()
            self._annotate.clear()
            self._contents.set_form(self._contents.blank)
            self._contents.forget_actions()
        self._guide.refresh()
        self.session.say("error", why)

    def _show_reading(self, is_reading: bool) -> None:
        """Let nothing be entered while it is not known to which image it would belong."""
        inputs = self._inputs
        for widget in (inputs.classes, inputs.annotate, self._project, inputs.train):
            widget.setEnabled(not is_reading)
        inputs.image.set_reading(is_reading)
        self._guide.refresh()

    def _enter(self, layer: Image | None, source: Source | None) -> None:
        """Turn to an image with all that belongs to it, or to none."""
        if self._inputs.image.is_reading:
            self._show_reading(False)
        try:
            with self._contents.restoring():
                before = self._controller.outcome
                self._controller.show_image(source)
                self._open_project(layer, source, is_turned=self._controller.outcome is not before)
        except Exception as error:  # annotations of another image may be left beside it
            if source is not None:
                self._refuse_image(explain(error, f"{source.name} cannot be shown"))
            raise
        self.turned.emit()
        self._trainings.note_known()
        self._guide.refresh()

    def _open_project(self, layer: Image | None, source: Source | None, *, is_turned: bool) -> None:
        """Bring the annotations of an image, and none of another; another layer may show it."""
        is_other = source is not None and self._project.is_other(source)
        had_image = self._project.has_image
        if is_other:
            self._project.close_project()  # saves what waits, before the widgets change
            self.take_over.hide()
        try:
            if is_other:
                self._annotate.clear()  # while it still lies on the image before
            self._annotate.set_source(layer, source)
            if is_other and source is not None:
                self._contents.run = ""
                self._contents.forget_objects()
                self._objects.forget()
                self._runs.forget()
                self._project.open(source)
                if self._project.project is None or not self._project.project.state.classes:
                    self._begin_anew(layer, had_image=had_image)
                if layer is not None:
                    raise_annotations(self._viewer, layer)
            elif source is not None and is_turned:
                self._objects.bring()
        finally:
            self._contents.forget_actions()
        self._tell_run()

    def _begin_anew(self, layer: Image | None, *, had_image: bool) -> None:
        """Take nothing of the image before unasked; what was entered before any image stays."""
        before = self._contents.form()
        if had_image:
            self._contents.set_form(self._contents.blank)
        self._contents.take_sample(layer)
        is_useful = had_image and before != self._contents.form()
        self._before = before if is_useful else None
        self.take_over.setVisible(is_useful)
        names = ", ".join(style.name for style in before.classes[1:])
        width = before.settings["object_diameter_px"]
        diameter = "not stated" if width is None else f"{width:g} px"
        self.take_over.setToolTip(f"Classes: {names}.\nObject diameter: {diameter}.")

    @guarded
    def _on_take_over(self) -> None:
        """Use classes and settings of the image before, as the user asks for."""
        self.take_over.hide()
        if self._before is not None:
            self._contents.set_form(self._before)

    def _tell_run(self) -> None:
        """Let what was restored join a run that goes on with this image."""
        annotations = self._inputs.annotations()
        if annotations is not None:
            self._trainings.update_annotations(annotations)

    @guarded
    def _on_restored(self, project: Project) -> None:
        """Show what a project holds, and nothing of the one that was open before."""
        is_switch = not self._contents.is_restoring
        try:
            with self._contents.restoring():
                self._annotate.clear()
                restored, faults = self._contents.restore(project)
        except Exception as error:
            # what is shown is a part of it by now, which must not be saved in its place
            self._project.leave_alone(explain(error, "The project could not be restored"))
            with self._contents.restoring():
                self._annotate.clear()
            raise
        finally:
            self._contents.forget_actions()
        self._objects.restore(project, is_switch=is_switch)
        if is_switch:
            self.switched.emit()
            self._tell_run()
        self.session.say("info", f"{RESTORED}{restored}.")
        for fault in faults:
            self.session.say("warning", fault)
        self._runs.resume()

    def close(self) -> None:
        """Turn to no other image."""
        self._is_open, self._recognising = False, None
