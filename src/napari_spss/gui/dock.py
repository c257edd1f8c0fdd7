"""The one dock: Image & classes, Annotate, Train, Results, and the run's bar below them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.settings import get_settings
from qtpy.QtCore import QCoreApplication, QEvent, QObject, QTimer
from qtpy.QtWidgets import QAbstractButton, QApplication, QFrame, QScrollArea, QSizePolicy, QWidget

from ..core.annotations import Keypoint
from ..core.base import FinishReason, InputError, KeypointsChecked, RunFinished, counted
from .controller import Controller
from .figures import Figures
from .guide import Guide
from .inputs import Inputs
from .layers import Connections, ReferenceLayer, Source
from .many import ManyRuns
from .models import (
    ComparedSlice,
    DeviceProbe,
    DurationProbe,
    EndKind,
    LoadedRun,
    RunEnd,
    RunStatus,
    Session,
    Suggestion,
    guarded,
    read_preferences,
)
from .objects import ObjectFinder
from .opener import Opener
from .project_contents import RESTORED, ProjectContents
from .project_runs import ProjectRuns
from .proofreader import Proofreader
from .software_gl import outlive_removed_layers
from .widgets import (
    AnnotateSection,
    ClassesEditor,
    FiguresSection,
    ImageSection,
    ProjectBar,
    ResultsSection,
    RunBar,
    Section,
    TrainSection,
    fill_column,
    wear,
)

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from ..core.analysis import CountedFractions
    from ..core.annotations import Annotations, Look
    from .models import Device

_WIDTH_PX = 380
_SCROLL_BAR_PX = 16  # with what is left beside it
_HIDDEN = "Labels and maps are hidden while "


class SpssDock(QWidget):
    """Segment from proportions: what napari shows under Plugins and Layers.

    Parameters
    ----------
    napari_viewer : Viewer
        The viewer, or napari's proxy of it.
    is_probing : bool
        Whether the devices are looked for in the background.
    """

    def __init__(self, napari_viewer: Viewer, *, is_probing: bool = True) -> None:
        super().__init__()
        # napari hands plugins a proxy, and each of its layers too: those are identical to nothing
        self._viewer: Viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self._had_parent = False
        self._is_open = True
        self._n_grids = 0  # that are laid
        self._continued = False  # whether the last training was to continue
        self._opened = ""  # section that the user opened since the last run began
        self._failed = ""  # kind of the last run, if it failed
        self._warned: list[str] = []  # by the run that goes on
        self._refusal = ""  # why the last run did not begin
        preferences = read_preferences()
        self.session = Session()
        self.image = ImageSection(self._viewer)
        self.classes = ClassesEditor()
        self.annotate = AnnotateSection(self._viewer)
        self.train = TrainSection(default_minutes=preferences.minutes)
        self.train.set_device(preferences.device)
        self.results = ResultsSection()
        self.plots = FiguresSection()
        self._card = ReferenceLayer(self._viewer)
        self._inputs = Inputs(self.image, self.classes, self.annotate, self.train, self.results)
        self._contents = ProjectContents(self._viewer, self._inputs)
        self.project = ProjectBar(
            self._contents.state,
            self._contents.painted,
            self._contents.objects,
            folder=preferences.project_folder,
        )
        self.bar = RunBar()
        self.controller = Controller(
            self._viewer,
            self.session,
            self._inputs,
            self.project.runs_folder,
            preview_interval_s=preferences.preview_interval_s,
            parent=self,
        )
        self.trainings = self.controller.trainings
        self.guide = Guide(self.controller, self._inputs, self.bar)
        self._many = ManyRuns(self._viewer, self.controller, self._inputs, self)
        self.figures = Figures(self.controller, self._inputs, self)
        self._proofreader = Proofreader(self._viewer, self.controller, self._inputs, self)
        self._objects = ObjectFinder(self.controller, self._inputs, self._contents, self)
        self._runs = ProjectRuns(self.controller, self._inputs, self._contents, self.project, self)
        self._opener = Opener(
            self._viewer,
            self.controller,
            self.guide,
            self._inputs,
            self.project,
            self._contents,
            self._runs,
            self._objects,
            parent=self,
        )
        self._lay_out()
        self._connect()
        self._connections = Connections()
        self._connections.connect(self._viewer.dims.events.point, self._on_slider)
        self._connections.connect(self._viewer.events.theme, self._on_theme)
        self._connections.connect(get_settings().appearance.events.font_size, self._on_theme)
        self.destroyed.connect(self._connections.disconnect_all)
        self._probe = DeviceProbe(self)
        self._probe.found.connect(self._on_devices)
        self._durations = DurationProbe(self)
        self._durations.found.connect(self.train.set_duration)
        self._is_probing = is_probing
        if is_probing:
            self._probe.start()
        self._on_theme()
        self._on_classes_changed()
        self._on_form_changed()
        self._opener.turn_to(self.image.value().layer)

    # -- for the outside -------------------------------------------------------------------------

    @property
    def source(self) -> Source | None:
        """The image as it is annotated now."""
        return self.controller.source

    def annotations(self) -> Annotations:
        """Return all annotations but the painted ones."""
        return self.annotate.value()

    def start_training(self, *, continues: bool = False) -> bool:
        """Do what Train and Continue do; return whether a run began."""
        self._continued = continues
        self._opened = ""
        began = self.trainings.train(continues=continues)
        if began:
            self._show_curves()
        return began

    def shut_down(self) -> None:
        """Stop the run, the timers and the child process; harmless when repeated."""
        if not self._is_open:
            return
        self._is_open = False
        self._connections.disconnect_all()
        self._proofreader.close()
        self._objects.forget()
        self._runs.close()
        self._opener.close()
        self._probe.stop()
        self._durations.stop()
        self.image.let_go()
        self.train.stop_timers()
        self.project.close_project()
        self.annotate.let_go()  # Python may keep this widget for long
        self.figures.shut_down()
        self.controller.shut_down()

    # -- building --------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        image, results = QWidget(), QWidget()
        fill_column(image, self.image, self._opener.take_over, self.classes, self.project)
        self._figures = Section("Figures", self.plots)
        self._figures.hide()
        fill_column(results, self.results, self._figures)
        contents = {
            "Image & classes": image,
            "Annotate": self.annotate,
            "Train": self.train,
            "Results": results,
        }
        self.sections = {
            name: Section(f"{number}  {name}".replace("&", "&&"), content, is_main=True)
            for number, (name, content) in enumerate(contents.items(), start=1)
        }
        body = self._body = QWidget()
        column = fill_column(body, *self.sections.values(), None)
        column.setContentsMargins(4, 2, 4, 2)
        column.setSpacing(2)
        scroll = self._scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setWidget(body)
        fill_column(self, (scroll, 1), self.bar)
        self.setMinimumWidth(_WIDTH_PX)
        body.installEventFilter(self)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)

    def _connect(self) -> None:
        self._opener.turned.connect(self._on_turned)
        self._opener.switched.connect(self._set_cleaning)
        self.image.value_changed.connect(self._on_form_changed)
        self.image.value_changed.connect(self._take_card_away)
        self.image.value_changed.connect(self._note_diameter)
        self.image.cover_changed.connect(self.guide.refresh)
        self.classes.value_changed.connect(self._on_classes_changed)
        self.classes.set_usage(self.annotate.usage_of)
        self.annotate.value_changed.connect(self._on_annotations_changed)
        self.annotate.slice_wanted.connect(self._go_to_slice)
        self.annotate.results_hidden.connect(self._on_results_hidden)
        for name, section in self.sections.items():
            section.header.clicked.connect(partial(self._on_header, name))
        self.results.apply_requested.connect(lambda _: self._on_header(""))
        self.sections["Annotate"].header.toggled.connect(
            lambda is_open: self.annotate.set_folded(not is_open)
        )
        for counting in (self.annotate.grid, self.annotate.check):
            counting.called.connect(self.sections["Annotate"].open)
        self.train.train_requested.connect(lambda: self.start_training())
        self.train.continue_requested.connect(lambda: self.start_training(continues=True))
        self.annotate.fractions.cards.card_wanted.connect(self._on_card)
        self.train.value_changed.connect(self._on_form_changed)
        self.results.apply_requested.connect(self.controller.apply)
        self.results.second_look_requested.connect(self.controller.find_doubtful)
        self.controller.looks_found.connect(self._on_looks)
        self.results.estimates.look_requested.connect(
            lambda: self._on_looks(self.controller.check.contradicted(), is_check=True)
        )
        self.results.estimates.estimate_requested.connect(self.controller.check.estimate)
        self.controller.check.changed.connect(self.guide.refresh)
        self.controller.check.changed.connect(self._set_cleaning)
        self.controller.check.changed.connect(self._show_figures)
        self.results.load_requested.connect(self.trainings.load)
        self.results.take_back_requested.connect(self.trainings.take_back)
        self.train.runs.slice_chosen.connect(self._go_to_slice)
        self.results.save_requested.connect(
            lambda folder, format_name, has_run, overwrite: self.controller.save(
                folder, format=format_name, has_run=has_run, overwrite=overwrite
            )
        )
        self.results.set_place_to_save(lambda: self.controller.outcome.place_to_save())
        self.controller.save_refused.connect(self.results.refuse_saving)
        self.controller.objects_edited.connect(self._on_objects_edited)
        self.results.value_changed.connect(self._on_results_form_changed)
        self.plots.slice_wanted.connect(self._go_to_slice)
        self.plots.set_place(self.figures.place)
        self.plots.save_requested.connect(self.figures.save)
        self.figures.refused.connect(self.plots.refuse)
        self.bar.stop_requested.connect(self.session.stop)
        self.bar.suggestion_accepted.connect(self._on_suggestion)
        self.controller.runner.refused.connect(self._on_refused)
        self.controller.outcome_changed.connect(self._on_outcome)
        self.session.status_changed.connect(self._on_status)
        self.session.event_taken.connect(self._on_event)
        self.session.message_added.connect(self._on_message)
        self.session.run_ended.connect(self._on_end)
        self.session.model_changed.connect(self._on_model)
        self.session.image_shown.connect(self._on_image_shown)

    # -- image, classes, annotations -------------------------------------------------------------

    @guarded
    def _on_turned(self) -> None:
        """Take back what is shown of the image before, and follow the one that is shown now."""
        self._take_card_away()
        self._forget_refusal()
        self._set_cleaning()
        self._show_figures()
        self._on_slider()

    @guarded
    def _on_classes_changed(self) -> None:
        self.annotate.set_styles(self.classes.value())
        self.controller.outcome.follow_classes(self.classes.styles_of, self.classes.names())
        self._runs.name_model()
        self._on_annotations_changed()

    @guarded
    def _on_annotations_changed(self) -> None:
        annotations = self._inputs.annotations()
        self.guide.refresh()
        self._forget_refusal()
        n_before, self._n_grids = self._n_grids, len(self.annotate.grid.value())
        if not self._contents.is_restoring:
            if self._n_grids > n_before:
                self._show_section("Annotate", finished=("Image & classes",))
            self._contents.note_actions(self.project.project, self.controller.current_slice())
            self._save_soon()
        if annotations is None:
            return
        if not self._contents.is_restoring:
            self.trainings.update_annotations(annotations)
        self.controller.outcome.set_stated(annotations)

    def _forget_refusal(self) -> None:
        """Take back why a run did not begin: what it was refused for may have changed."""
        if self._refusal and self.bar.text().endswith(self._refusal):
            self.bar.say("info", "")
        if self._refusal:
            self.train.mark_error(None, "")
        self._refusal = ""

    def _on_refused(self, field: str | None, text: str) -> None:
        self._refusal = text
        self.train.mark_error(field, text)

    @guarded
    def _on_card(self, fraction: float | None) -> None:
        """Show what a fraction looks like in objects of the stated diameter, or no longer."""
        source, width = self.source, self.image.value().object_diameter_px
        self._card.hide()
        if fraction is None or source is None or width is None:
            return
        try:
            self._card.show(source.geometry, fraction, width)
        except InputError:
            self.annotate.fractions.cards.release()
            raise

    def _take_card_away(self) -> None:
        self._card.hide()
        self.annotate.fractions.cards.release()
        is_known = self.image.value().object_diameter_px is not None
        self.annotate.fractions.cards.set_known(is_known and self.source is not None)

    def _note_diameter(self) -> None:
        if not self._contents.is_restoring:
            self.trainings.note_diameter(self.image.value().object_diameter_px)

    @guarded
    def _on_form_changed(self) -> None:
        try:
            settings = self._inputs.form().settings()
        except InputError as error:
            self.train.mark_error(error.field, str(error))
            return
        self.train.mark_error(None, "")
        self.guide.refresh()
        self._ask_duration()
        self.annotate.keypoints.set_radius_px(settings.radius_of_keypoints_px())
        reduction = settings.image.reduction(None) or 1
        for counting in (self.annotate.grid, self.annotate.check):
            counting.set_window_px(
                settings.sampling.crop_px * reduction,
                has_diameter=settings.image.object_diameter_px is not None,
            )
        if not self._contents.is_restoring:
            self._save_soon()

    def _save_soon(self) -> None:
        self._opener.take_over.hide()  # something was entered that it would replace
        if self.bar.text().startswith(RESTORED):  # which it was, but may not be now
            self.bar.say("info", "")
        self.project.save_soon()

    # -- viewer ----------------------------------------------------------------------------------

    @guarded
    def _on_slider(self, event: Any = None) -> None:
        source = self.source
        if source is None or self._viewer.dims.ndim < len(source.geometry.axes):
            return  # no image, or napari is about to take it away
        z = source.geometry.slice_at(self._viewer.dims.point)
        self.controller.gate.slice = z
        self.annotate.fractions.select_slice(z)
        self.plots.set_slice(z)

    @guarded
    def _go_to_slice(self, z: int) -> None:
        if self.source is not None:
            self.source.geometry.go_to(self._viewer.dims, z)

    @guarded
    def _on_theme(self, event: Any = None) -> None:
        wear(self, self._viewer.theme)

    # -- the run ---------------------------------------------------------------------------------

    @guarded
    def _on_status(self, status: RunStatus) -> None:
        if status.is_busy:
            self._let_go_of_button()
        self.bar.set_status(status)
        self.train.set_status(status)
        self.results.set_busy(status.is_busy)
        self.project.set_busy(status.is_busy)
        if status.is_busy:
            self._durations.stop()
        else:
            self._ask_duration()

    def _on_devices(self, devices: Sequence[Device], advice: str) -> None:
        self.train.set_devices(devices, advice)
        self._ask_duration()

    def _ask_duration(self) -> None:
        """Have it measured how long a training would take, unless a run or the probe goes on."""
        is_free = not (self.session.status.is_busy or self._probe.is_running)
        if self._is_probing and is_free:
            with contextlib.suppress(InputError):  # the field that is wrong is marked
                form = self._inputs.form()
                self._durations.ask(form.settings(), form.device)

    def _note_duration(self, end: RunFinished) -> None:
        """Tell from now on how long a training took, in place of what was measured before."""
        if end.reason is FinishReason.completed:
            self._durations.note(end.elapsed_s)

    def _let_go_of_button(self) -> None:
        """Take the focus off a button that is to be disabled, lest keys reach a field beside it."""
        focused = QApplication.focusWidget()
        if isinstance(focused, QAbstractButton) and self.isAncestorOf(focused):
            self.setFocus()

    @guarded
    def _on_event(self, event: object) -> None:
        if self.session.status.kind == "training":
            self.train.set_curves(self.session.curves)
            if len(self.session.curves.steps) == 1:  # the first of them take room
                self._show_curves()
            if isinstance(event, RunFinished) and not self._continued:
                self._note_duration(event)
        if isinstance(event, KeypointsChecked) and self.session.is_of_shown_image:
            self.annotate.keypoints.set_denied(Keypoint(*one) for one in event.denied)
        if isinstance(event, ComparedSlice):
            self.train.runs.add_compared(event)

    def _on_message(self, level: str, text: str) -> None:
        if level == "warning" and self.session.status.is_busy:
            self._warned.append(text)
        self.bar.say(level, text)
        self.train.say(level, text)

    @guarded
    def _on_image_shown(self) -> None:
        self.results.stop_asking()
        self.train.runs.clear_comparison()
        self.bar.say("info", "")
        self.train.set_messages(self.session.messages)
        self.train.set_curves(self.session.curves)

    @guarded
    def _on_end(self, end: RunEnd) -> None:
        field = getattr(end.error, "field", None)
        if end.kind is EndKind.failed and field is not None:
            self.train.mark_error(field, end.text)
        self._failed = end.run if end.kind is EndKind.failed else ""
        warned, self._warned = self._warned, []
        if warned and end.run == "prediction":  # of labels that are there now
            self.bar.say("warning", " ".join((end.text, *warned)))
        self.bar.propose(end)
        if end.run == "training" and end.kind is not EndKind.failed:
            denied = self.annotate.keypoints.denied_text()
            n_warned = f"{counted(len(warned), 'warning')}: see Train, Messages." if warned else ""
            if more := " ".join(filter(None, (denied, n_warned))):
                self.bar.say("info", f"{end.text} {more}")
        if end.result is not None and end.run in ("training", "loading"):
            if isinstance(end.result, LoadedRun):
                self.annotate.keypoints.set_denied(())  # another model was asked
                self._contents.take_classes(end.result.model.classes)
            self._runs.note_use(is_new=end.run == "training")
        self._set_cleaning()
        self._show_result()
        self.guide.refresh()
        if end.run == "training" and end.kind is not EndKind.failed:
            self.sections["Results"].open()
        maps = self.controller.outcome.maps
        if end.run == "prediction" and maps is not None and maps.is_complete:
            self._show_section("Results", finished=("Image & classes", "Train", "Annotate"))

    def _on_header(self, name: str, *_: bool) -> None:  # bindings differ in what a click gives
        """Take note of what the user opened, which is not folded before the next run."""
        section = self.sections.get(name)
        self._opened = name if section is not None and section.header.isChecked() else ""

    def _show_curves(self) -> None:
        self._show_section("Train", finished=("Image & classes", "Annotate"))

    def _show_section(self, name: str, *, finished: Sequence[str]) -> None:
        """Open a section; fold finished ones as far as the dock is too low for all of them."""
        self.sections[name].open()
        for other in finished:
            section, focused = self.sections[other], QApplication.focusWidget()
            # what was opened or folded counts once the layouts know of it
            QCoreApplication.sendPostedEvents(None, QEvent.Type.LayoutRequest.value)
            is_low = self._body.sizeHint().height() > self._scroll.viewport().height()
            is_in_use = other == self._opened or section.isAncestorOf(focused)
            if is_low and self.isVisible() and not is_in_use:
                section.close_up()

    @guarded
    def _on_suggestion(self, suggestion: Suggestion) -> None:
        self.train.set_value(self.train.value().with_suggestion(suggestion))
        if self._failed == "prediction":
            self.controller.apply(self.results.scope())
            return
        # weights of the model at hand do not fit a smaller network
        is_same_network = not suggestion.setting.startswith("network.")
        self.start_training(continues=self._continued and is_same_network)

    @guarded
    def _on_model(self, model: Any) -> None:
        self.train.set_model(model is not None)
        self._runs.name_model()
        self.results.set_worse(self.trainings.worse(), can_go_back=self.trainings.can_take_back)
        self.train.set_curves(self.session.curves)
        self._show_result()
        self.guide.refresh()

    @guarded
    def _on_looks(self, looks: tuple[Look, ...], *, is_check: bool = False) -> None:
        """Show the nodes that are worth a second look, one after the other."""
        self.sections["Annotate"].open()
        view = self.annotate.begin_looking(looks, is_check=is_check)
        QTimer.singleShot(0, lambda: self._scroll.ensureWidgetVisible(view))  # once laid out

    @guarded
    def _on_results_hidden(self, why: str) -> None:
        """Hide labels and maps while something is so, and show them again."""
        if self.controller.layers.set_aside(self.source, bool(why)):
            self.bar.say("info", f"{_HIDDEN}{why}.")
        elif self.bar.text().startswith(_HIDDEN):
            self.bar.say("info", "")

    # -- the result ------------------------------------------------------------------------------

    @guarded
    def _on_results_form_changed(self) -> None:
        self._set_cleaning()
        self._save_soon()

    def _set_cleaning(self) -> None:
        """Have labels made as it is entered, but not by what was entered for the image before."""
        cleaning, outcome = self.results.cleaning(), self.controller.outcome
        if cleaning.threshold is None and outcome.maps and len(outcome.maps.classes) == 2:
            # a model of more classes is at hand
            cleaning = replace(cleaning, threshold=outcome.cleaning.threshold)
        if self._contents.is_restoring:
            return
        if not self.controller.holds_labels:
            outcome.set_cleaning(cleaning)
        elif cleaning != outcome.cleaning:
            self.bar.say("info", "The labels follow once they are saved, or estimated.")

    def _counted(self) -> CountedFractions | None:
        """What the counting frames tell of the whole stack."""
        from ..core.analysis import counted_fractions

        annotations = self._inputs.annotations()
        found = None if annotations is None else counted_fractions(annotations)
        return found if found is not None and found.has_frames else None

    def _show_result(self) -> None:
        self.results.set_result(self.controller.outcome.has_result, stale=self.controller.stale())

    @guarded
    def _on_outcome(self) -> None:
        outcome = self.controller.outcome
        self._show_result()
        predicted = outcome.predicted_fractions() if outcome.has_stated_classes else {}
        self.annotate.fractions.set_predicted(predicted)
        self.annotate.grid.set_suggested_slices(outcome.slices_to_count())
        classes = None if outcome.maps is None else outcome.maps.classes
        slices = 0 if outcome.maps is None else len(outcome.maps.full_slices)
        overall, stated = outcome.overall(), outcome.stated_mean(self._counted())
        self.results.set_fractions(classes, overall, stated, slices)
        self.results.set_matched(outcome.matched_threshold())
        self._show_figures()
        self._proofreader.show()
        self.guide.refresh()
        self._set_cleaning()

    @guarded
    def _show_figures(self) -> None:
        if self._contents.is_restoring:
            return  # the annotations may be those of the image before
        drawn = self.figures.fractions()
        self.plots.set_fractions(drawn)
        self._figures.setVisible(bool(drawn))

    @guarded
    def _on_objects_edited(self, slices: Iterable[int] | None) -> None:
        """Have saved what a person did to the objects."""
        if not self._contents.is_restoring:
            self._contents.note_objects(self.controller.outcome.proofread, slices)
            self._save_soon()

    # -- closing ---------------------------------------------------------------------------------

    def changeEvent(self, event: QEvent) -> None:
        """Shut down when napari takes the widget out of its dock, which is how it closes one."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ParentChange:
            if self.parent() is not None:
                self._had_parent = True
                QTimer.singleShot(0, self._watch_window)  # napari places the dock after this
            elif self._had_parent:
                self.shut_down()

    def _watch_window(self) -> None:
        window: QWidget = self
        while window.parentWidget() is not None:
            window = window.parentWidget()
        window.installEventFilter(self)
        outlive_removed_layers(window)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Save what waits when the window is about to close, which it may yet decide not to.

        Be as wide as all that is open, as where the font is large.
        """
        if watched is self._body:
            if event.type() == QEvent.Type.LayoutRequest:
                needed = self._body.minimumSizeHint().width() + _SCROLL_BAR_PX
                self.setMinimumWidth(max(_WIDTH_PX, min(needed, 2 * _WIDTH_PX)))
        elif event.type() == QEvent.Type.Close and self._is_open:
            self.project.save_if_waiting()
        return super().eventFilter(watched, event)

    def closeEvent(self, event: Any) -> None:
        """Shut down when the widget is closed by itself."""
        self.shut_down()
        super().closeEvent(event)
