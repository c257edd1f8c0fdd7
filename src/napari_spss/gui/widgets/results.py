"""The Results section: which model, where to apply it, from which probability on, and saving."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QFileDialog, QSpinBox, QWidget
from superqt import QLabeledDoubleSlider

from ...core.annotations import N_LOOKS
from ...core.base import counted
from ..models import MAX_MIN_PIECE_PX, Cleaning, MapMaking, ResultsForm, percent_text, steps_of
from .estimates import EstimatesView
from .many_images import ManyImages
from .objects import ObjectsSection
from .parts import (
    Notice,
    fill_column,
    make_button,
    make_check,
    make_choice,
    make_form,
    make_row,
    make_text,
    shrink,
)
from .save_place import SavePlace
from .section import Section

if TYPE_CHECKING:
    from ...core.analysis import FractionEstimate
    from ...core.annotations import Classes
    from ...core.training import Model

SCOPES = (
    ("this slice", "slice"),
    ("the rectangle on this slice", "rectangle"),
    ("the whole stack", "stack"),
)
_IN_PREVIEWS = "Previews of more than 2 megapixels during a training are shown without this."
_MOST_PROBABLE = (
    "With more than two classes, outside included, each pixel gets its most probable one."
)
_APPLY = "Compute the maps and labels there, in the background; Stop keeps what is done."
_LOOK_AGAIN = (
    "Show the nodes of the grids about which map and you differ most, one after the other:\n"
    "keep, change, or leave unsure. Then press Continue, or Train."
)
_HALF, _MATCHED, _SLIDER = "half", "matched", "slider"  # of `ResultsForm`


class ResultsSection(QWidget):
    """States what is to be done with a model and its maps; does nothing itself."""

    apply_requested = Signal(str)  # one of SCOPES
    value_changed = Signal()  # how maps and labels are to be made
    second_look_requested = Signal()
    load_requested = Signal(str)  # folder of a run
    take_back_requested = Signal()  # the model before
    # folder; whether the run's own files go there as well; whether files there may be replaced
    save_requested = Signal(str, str, bool, bool)

    def __init__(self) -> None:
        super().__init__()
        self._is_busy = False
        self._has_model = False
        self._has_image = True
        self._unlike = self._other_model = ""  # why the model at hand does not fit
        self._n_nodes = 0
        self._wants_smooth = True
        self._has_result = False
        self._n_classes = 2
        self._matched: float | None = None
        self.estimates = EstimatesView()
        self._place_to_save = Path.home
        self._saves_all = False
        self._make_model_row()
        self._make_cleaning()
        self._make_saving()
        self.objects = ObjectsSection()
        self._objects_header = Section("Objects", self.objects, is_open=False)
        self.many = ManyImages()
        self._many_header = Section("Many images", self.many, is_open=False)
        self._lay_out()
        self._refresh()

    # -- value -----------------------------------------------------------------------------------

    def cleaning(self) -> Cleaning:
        """Return how maps are to become labels."""
        return Cleaning(
            threshold=self.threshold(),
            fill_holes=self._fill.isChecked(),
            min_piece_px=self._min_piece.value(),
        )

    def threshold(self) -> float | None:
        """Return the threshold; None with more than two classes."""
        if self._n_classes != 2:
            return None
        mode = self._mode.currentData()
        if mode == _MATCHED and self._matched is not None:
            return self._matched
        return self._slider.value() if mode == _SLIDER else 0.5

    def map_making(self) -> MapMaking:
        """Return how the model is to make maps."""
        return MapMaking(self._flips.isChecked(), None if self._wants_smooth else False)

    def form(self) -> ResultsForm:
        """Return what was entered of this."""
        return ResultsForm(
            mode=self._mode.currentData(),
            threshold=self._slider.value(),
            fill_holes=self._fill.isChecked(),
            min_piece_px=self._min_piece.value(),
            flips=self._flips.isChecked(),
            smooth_z=self._wants_smooth,
        )

    def set_form(self, form: ResultsForm) -> None:
        """Enter it; nothing is emitted."""
        with QSignalBlocker(self):
            self._slider.setValue(form.threshold)
            self._mode.setCurrentIndex(self._mode.findData(form.mode))
            self._fill.setChecked(form.fill_holes)
            self._min_piece.setValue(form.min_piece_px)
            self._flips.setChecked(form.flips)
            self._wants_smooth = form.smooth_z
            self.set_smoothing(self._smooth.isEnabled())

    def scope(self) -> str:
        """Return where the model is to be applied."""
        scope: str = self._scope.currentData()
        return scope

    def set_scope(self, scope: str) -> None:
        """Choose where the model is to be applied."""
        self._scope.setCurrentIndex(self._scope.findData(scope))

    # -- what goes on ----------------------------------------------------------------------------

    def set_busy(self, is_busy: bool) -> None:
        """Offer no second run while one is in progress."""
        self._is_busy = is_busy
        self.objects.set_busy(is_busy)
        self._refresh()

    def set_model(self, model: Model | None, origin: str = "") -> None:
        """Describe the model that Apply uses."""
        self._has_model = model is not None
        if model is None:
            self._model.setText("No model yet: train one, or load one.")
        else:
            self._n_classes = len(model.classes)
            names = ", ".join(model.classes[1:])
            of = f" of the run {origin}" if origin else ""
            self._model.setText(f"Model{of}: {names}, {steps_of(model)}.")
        self._refresh()

    def set_worse(self, text: str, *, can_go_back: bool = False) -> None:
        """Say that the model before was better, or may be; nothing if not."""
        self._worse.say(text)
        self._take_back.setVisible(bool(text) and can_go_back)

    def set_image(self, has_image: bool, *, unlike: str = "", other_model: str = "") -> None:
        """Offer to apply a model, or not.

        Why it cannot be applied to this image, or nodes not be looked at again with it, the
        tooltips say.
        """
        self._has_image, self._unlike, self._other_model = has_image, unlike, other_model
        self._apply.setToolTip(unlike or _APPLY)
        self._look_again.setToolTip(other_model or _LOOK_AGAIN)
        self._refresh()

    def set_smoothing(self, can_smooth: bool) -> None:
        """Offer to average maps along z, or not; what was wanted holds for other images."""
        with QSignalBlocker(self._smooth):
            self._smooth.setChecked(can_smooth and self._wants_smooth)
        self._smooth.setEnabled(can_smooth)

    def set_nodes(self, n_nodes: int) -> None:
        """Offer a second look at so many nodes, or at none."""
        self._n_nodes = n_nodes
        self._refresh()

    def set_result(self, has_result: bool, *, stale: str = "") -> None:
        """Offer to save, or not; say if the result is not one of the model at hand."""
        self._has_result = has_result
        if self._stale.text() and not stale:
            self._place.take_back()
        self._stale.say(stale)
        self._refresh()

    def set_matched(self, threshold: float | None) -> None:
        """Tell the threshold at which the labels have the stated fractions; None if unknown."""
        self._matched = threshold
        # the number comes early: the end is cut off where the dock is narrow
        number = "" if threshold is None else f" ({min(threshold, 1.0):.2f})"
        text = f"matched{number} to the stated fractions"
        self._mode.setItemText(self._mode.findData(_MATCHED), text)
        self._show_threshold()

    def set_fractions(
        self,
        classes: Classes | None,
        predicted: Sequence[FractionEstimate] | None,
        stated: Mapping[str, tuple[float, float, int]],
        n_slices: int,
    ) -> None:
        """Show the fractions of the predicted slices, beside the mean of those stated.

        Where they were stated for some slices only, the fraction of these stands before it. The
        class outside has none. The interval in brackets is that of the spread between images.
        """
        if classes is None or predicted is None:
            self._fractions.say("")
            return
        where = "1 slice" if n_slices == 1 else f"{n_slices} slices"
        lines = []
        for index, (name, found) in enumerate(zip(classes, predicted, strict=False)):
            if index in (0, classes.outside_index):
                continue
            mean, of_labels, n_stated = stated.get(name, (0.0, 0.0, 0))
            said = f", stated {percent_text(mean)} %" if n_stated else ""
            if 0 < n_stated < n_slices:
                said = f"; of {n_stated} of them {percent_text(of_labels)} %{said}"
            is_known = not isnan(found.low)
            spread = (
                f" ({percent_text(found.low)}\u2013{percent_text(found.high)} %)"
                if is_known
                else ""
            )
            lines.append(f"{name}: {percent_text(found.fraction)} %{spread} of {where}{said}")
        self._fractions.say("\n".join(lines).replace(" %", "\u00a0%"))

    def set_place_to_save(self, propose: Callable[[], Path]) -> None:
        """Tell who proposes a folder for the results."""
        self._place_to_save = propose

    def stop_asking(self) -> None:
        """Ask no more where to save, as for another image."""
        self._place.hide()

    def refuse_saving(self, text: str, can_replace: bool) -> None:
        """Say why nothing is saved, and whether the user may have files replaced."""
        self._place.refuse(text, can_replace=can_replace)

    # -- inside ----------------------------------------------------------------------------------

    def _make_model_row(self) -> None:
        self._model = make_text("No model yet: train one, or load one.")
        self._load = make_button(
            "Load…", self._on_load, "Load the model of a saved run, to apply it or to train it on."
        )
        self._worse = Notice(is_warning=True)
        self._worse.setObjectName("worse model")
        self._take_back = make_button(
            "Use the model before",
            self.take_back_requested.emit,
            "The new one stays in the list of runs under Train.",
        )
        self._take_back.hide()
        self._scope = make_choice(
            SCOPES, "Where to apply the model.\nRectangles are drawn under Annotate, Fractions."
        )
        self._apply = make_button("Apply", lambda: self.apply_requested.emit(self.scope()), _APPLY)
        self._flips = make_check(
            "mirror images",
            self.value_changed.emit,
            "Average the maps of each slice and of its mirror images: a little better, and four\n"
            "times as long. Press Apply to have maps so.",
        )
        self._smooth = make_check(
            "along z",
            self._on_smooth,
            "Average the map of each slice with those of the slices before and after it, where\n"
            "slices are at most half an object's width apart. Needs the voxel size and the\n"
            "object's width. Press Apply to have maps so.",
            is_on=True,
        )
        self._look_again = make_button("", self.second_look_requested.emit, _LOOK_AGAIN)

    def _on_smooth(self) -> None:
        self._wants_smooth = self._smooth.isChecked()
        self.value_changed.emit()

    def _make_cleaning(self) -> None:
        self._mode = make_choice(
            (
                ("0.5", _HALF),
                ("matched to the stated fractions", _MATCHED),
                ("as the slider says", _SLIDER),
            ),
            "From which probability on a pixel belongs to the class.\nMatched: one threshold for "
            "all slices, at which the slices with stated fractions have them in sum,\ncorrected by "
            "what was counted, as for training. A right fraction does not make a right mask.",
            self._on_mode_changed,
        )
        self._slider = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
        self._slider.setRange(0.0, 1.0)
        self._slider.setDecimals(2)
        self._slider.setValue(0.5)
        self._slider.setToolTip(
            "Move it to choose the threshold yourself; the labels follow at once."
        )
        self._slider.valueChanged.connect(self._on_slider_moved)
        self._no_threshold = make_text("none: the most probable class", _MOST_PROBABLE)
        self._fill = make_check(
            "fill holes",
            self.value_changed.emit,
            f"Give background that a class encloses within a slice to that class.\n{_IN_PREVIEWS}",
        )
        self._min_piece = QSpinBox()
        self._min_piece.setRange(0, MAX_MIN_PIECE_PX)
        self._min_piece.setSuffix(" px")
        self._min_piece.setPrefix("of at least ")
        self._min_piece.setSpecialValueText("of any size")
        self._min_piece.setKeyboardTracking(False)
        self._min_piece.setToolTip(
            f"Smaller pieces within a slice become background.\n{_IN_PREVIEWS}"
        )
        self._min_piece.valueChanged.connect(self.value_changed)

    def _make_saving(self) -> None:
        self._fractions = Notice()
        self._fractions.setToolTip(
            "Area of the labels in all slices that the model was applied to; of an image set in "
            "brackets\nthe 95 % interval that follows from how the images differ. What the labels "
            "miss or make up\nis not in it: a check count tells that.\nStated: the mean of what "
            "you said about these slices."
        )
        self._stale = Notice(is_warning=True)
        self._save = make_button(
            "Save results…",
            lambda: self._on_save(is_everything=False),
            "Write labels and maps, and the fractions and objects as CSV, to a folder.",
        )
        self._save_all = make_button(
            "Save everything…",
            lambda: self._on_save(is_everything=True),
            "The same, with the run: model, settings, annotations and log.\n"
            "The command line repeats a run from such a folder, and Load… opens it.",
        )
        self._place = SavePlace()
        self._place.chosen.connect(self._on_place)

    def _lay_out(self) -> None:
        shrink(self._mode, self._scope)
        form = make_form(
            ("Apply to", make_row((self._scope, 1), self._apply)),
            ("Average", make_row(self._flips, (self._smooth, 1))),
            ("Second look", self._look_again),
            ("Threshold", make_row((self._mode, 1), (self._no_threshold, 1))),
            ("", self._slider),
            ("Keep objects", make_row((self._min_piece, 1), self._fill)),
        )
        fill_column(
            *(self, make_row((self._model, 1), self._load), self._worse, self._take_back, form),
            *(self._fractions, self._stale, self.estimates),
            *(make_row(self._save, self._save_all), self._place),
            *(self._objects_header, self._many_header),
        )

    def _refresh(self) -> None:
        is_free = not self._is_busy
        can_apply = self._has_model and self._has_image and not self._unlike
        self._apply.setEnabled(is_free and can_apply)
        self._load.setEnabled(is_free)
        self.many.set_ready(is_free and self._has_model)
        self._take_back.setEnabled(is_free)
        n_looks = min(N_LOOKS, self._n_nodes)
        can_look = bool(n_looks) and can_apply and not self._other_model
        self._look_again.setText(
            f"at up to {counted(n_looks, 'node')}" if n_looks else "no node to look at"
        )
        self._look_again.setEnabled(is_free and can_look)
        self._save.setEnabled(is_free and self._has_result)
        self._save_all.setEnabled(is_free and self._has_result and not self._stale.text())
        self._place.setEnabled(is_free)
        if not self._has_result:
            self._place.hide()
        is_binary = self._n_classes == 2
        self._mode.setVisible(is_binary)
        self._slider.setVisible(is_binary)
        self._no_threshold.setVisible(not is_binary)

    def _on_mode_changed(self) -> None:
        self._show_threshold()
        self.value_changed.emit()

    def _on_slider_moved(self) -> None:
        if self._mode.currentData() != _SLIDER:
            with QSignalBlocker(self._mode):
                self._mode.setCurrentIndex(self._mode.findData(_SLIDER))
        self.value_changed.emit()

    def _show_threshold(self) -> None:
        threshold = self.threshold()
        if threshold is not None:
            with QSignalBlocker(self._slider):
                self._slider.setValue(min(threshold, 1.0))

    def _on_load(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Load the model of a run")
        if folder:
            self.load_requested.emit(folder)

    def _on_save(self, *, is_everything: bool) -> None:
        self._saves_all = is_everything
        self._place.ask(self._place_to_save())

    def _on_place(self, folder: str, format_name: str, may_replace: bool) -> None:
        self._place.hide()
        self.save_requested.emit(folder, format_name, self._saves_all, may_replace)
