"""The dock's sections by themselves, as far as they need no window."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from math import nan
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from eye import button, choice, choices, log_of, number, offered, pick, said, warned
from napari.utils.theme import get_theme
from pyqtgraph import GraphicsLayoutWidget, InfiniteLine
from qtpy.QtCore import QCoreApplication, QEvent, QPoint, QPointF, QProcess, Qt
from qtpy.QtGui import QColor, QWheelEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QLabel,
    QProgressBar,
    QTableWidget,
    QVBoxLayout,
    QWidget,
)
from superqt import QLabeledDoubleSlider

from napari_spss.core.analysis import FractionEstimate, estimate_fractions
from napari_spss.core.annotations import Classes
from napari_spss.core.base import OutOfMemory, Progress, Validated, preset
from napari_spss.core.networks import NETWORKS
from napari_spss.gui.layers import MARK
from napari_spss.gui.models import (
    Curves,
    Device,
    DeviceProbe,
    DurationProbe,
    EndKind,
    RunEnd,
    RunForm,
    RunStatus,
    Session,
    Suggestion,
)
from napari_spss.gui.models.devices import parse_devices
from napari_spss.gui.widgets import ImageSection, ResultsSection, RunBar, Section, TrainSection
from napari_spss.gui.widgets.estimates import EstimatesView
from napari_spss.gui.widgets.many_images import ManyImages
from napari_spss.gui.widgets.parts import fill_column
from napari_spss.gui.widgets.plots import CurvesPlot
from napari_spss.gui.widgets.runs import RunsList
from napari_spss.gui.widgets.theme import contrast, error_colour, mark_of, warning_colour, wear

CPU, GPU = Device("cpu", "CPU"), Device("cuda:0", "NVIDIA H100")


@pytest.fixture
def image(viewer, qtbot):
    widget = ImageSection(viewer)
    qtbot.addWidget(widget)
    return widget


def add(viewer, shape=(3, 64, 96), **kwargs):
    return viewer.add_image(np.zeros(shape, np.uint8), **kwargs)


# -- image ---------------------------------------------------------------------------------------


def test_the_chooser_follows_the_layer_list(viewer, image):
    heard = []
    image.image_changed.connect(heard.append)
    assert image.value().layer is None
    first = add(viewer, name="first")
    second = add(viewer, name="second")
    assert image.value().layer is first  # what is chosen stays chosen
    viewer.add_points(ndim=3)
    add(viewer, name="result", metadata={MARK: {"role": "labels"}})
    assert choices(image.findChild(QComboBox)) == ["first", "second"]
    second.name = "renamed"
    assert choices(image.findChild(QComboBox))[1] == "renamed"
    viewer.layers.remove(first)
    assert image.value().layer is second
    viewer.layers.remove(second)
    assert image.value().layer is None
    assert heard == [first, second, None]


def test_the_active_image_is_chosen_at_first(viewer, qtbot):
    first = add(viewer, name="first")
    add(viewer, name="second")
    viewer.layers.selection.active = first
    widget = ImageSection(viewer)
    qtbot.addWidget(widget)
    assert widget.value().layer is first


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_values_that_are_no_numbers_are_told_beside_the_image(viewer, image, value):
    layer = viewer.add_image(np.zeros((3, 8, 9), np.float32))
    assert warned(image) == ""
    pixels = layer.data.copy()
    pixels[1, 2, 3] = value
    layer.data = pixels
    assert "NaN or infinite values; replace them first" in warned(image)
    viewer.layers.clear()
    assert warned(image) == ""


def test_the_type_of_values_is_named_whatever_the_order_of_their_bytes(viewer, image):
    viewer.add_image(np.zeros((3, 8, 9), ">u2"))
    assert "3 slices, 9 x 8 px, uint16" in said(image)


def test_facts_and_the_working_scale_are_told(viewer, image):
    add(viewer, scale=(50, 8, 8), units=("nm",) * 3)
    assert said(image).splitlines()[1] == "3 slices, 96 x 64 px, uint8, 8 nm per px"
    assert image.value().object_diameter_px is None
    image.set_diameter(75)
    assert image.value().object_diameter_px == 75
    assert "= 0.6 µm; the network sees the image at 1/3 size" in said(image)
    image.set_diameter(25)
    assert "full resolution" in said(image)


def test_channels_that_only_the_shape_tells_are_called_a_guess(viewer, image):
    layer = add(viewer, (2, 6, 32, 48))
    image.set_layer(layer)
    assert "6 slices, 48 x 32 px, 2 channels" in said(image)
    assert "The 2 channels are guessed from the shape" in said(image)
    layer.axis_labels = ("c", "z", "y", "x")
    assert "guessed" not in said(image)


def test_what_a_sample_says_of_itself_is_told(viewer, image):
    add(viewer, metadata={MARK: {"notice": "Its annotations are simulated."}})
    assert "\nIts annotations are simulated." in said(image)


def test_other_pixels_in_the_layer_are_another_image(viewer, image):
    layer = add(viewer)
    heard = []
    image.image_changed.connect(heard.append)
    layer.data = np.zeros((5, 30, 40), np.uint8)
    assert heard[-1] is layer
    assert "5 slices, 40 x 30 px" in said(image)


# -- train ---------------------------------------------------------------------------------------


@pytest.fixture
def train(qtbot):
    widget = TrainSection(default_minutes=3.0)
    qtbot.addWidget(widget)
    yield widget
    widget.stop_timers()


@pytest.mark.parametrize(
    "form",
    [
        RunForm(max_minutes=1.5, overrides={"sampling.crop_px": 128, "seed": 4}),
        RunForm(preset="paper", overrides={"optimisation.max_epochs": 3}),
        RunForm(device="cuda:1", overrides={"self_training.enabled": False}),
    ],
)
def test_the_form_shows_what_it_was_given(train, form):
    train.set_value(form)
    assert train.value() == form


def test_a_preset_brings_its_values_and_its_own_time(train):
    assert train.value() == RunForm(max_minutes=3.0)
    pick(choice(train, "Fast"), "As in the paper")
    assert train.value() == RunForm(preset="paper", max_minutes=None)
    assert train.findChild(QWidget, "sampling.batch_size").value() == 16


def test_devices_are_listed_by_name_and_the_choice_stays(train):
    train.set_device("cuda:0")
    heard = []
    train.value_changed.connect(lambda: heard.append(train.value().device))
    train.set_devices((GPU, CPU), "")
    assert not heard  # or it would be saved
    assert choices(choice(train, "auto")) == ["auto (NVIDIA H100)", "NVIDIA H100 (cuda:0)", "CPU"]
    assert train.value().device == "cuda:0"
    assert "GPU that" not in said(train)
    train.set_devices((CPU,), "There is a GPU that torch cannot use.")
    assert heard == [train.value().device] == ["auto"]
    assert "There is a GPU that torch cannot use." in said(train)


def is_open(widget, title):
    return next(one for one in widget.findChildren(Section) if one.header.text() == title).is_open


def test_messages_open_by_themselves_for_a_warning(train):
    train.say("info", "Your new annotations count from step 3 on.")
    assert not is_open(train, "Messages")
    train.say("warning", "Fractions alone do not tell where things are.")
    assert is_open(train, "Messages")
    assert log_of(train).splitlines()[1] == ("⚠ Fractions alone do not tell where things are.")


def test_the_wrong_field_is_marked_and_shown(train):
    train.mark_error("sampling.crop_px", "sampling.crop_px 8 is too small")
    assert is_open(train, "Advanced")
    assert mark_of(train.findChild(QWidget, "sampling.crop_px")) == "error"
    assert warned(train) == "sampling.crop_px 8 is too small"
    train.mark_error(None, "")
    assert mark_of(train.findChild(QWidget, "sampling.crop_px")) == ""
    assert warned(train) == ""


def test_networks_of_other_packages_can_be_chosen(qtbot, monkeypatch):
    monkeypatch.setattr(NETWORKS, "_registered", {"theirs": object()})
    train = TrainSection()
    qtbot.addWidget(train)
    networks = train.findChild(QComboBox, "network.name")
    assert choices(networks) == [
        "fast-unet",
        "paper-unet",
        "theirs",
    ]
    networks.setCurrentText("theirs")
    assert train.value().overrides == {"network.name": "theirs"}


def test_a_network_that_is_not_installed_here_is_kept(train):
    form = RunForm(overrides={"network.name": "gone", "network.filters": 12})
    train.set_value(form)
    assert train.value().overrides == form.overrides


def test_weights_of_loss_terms_are_kept_though_no_field_shows_them(train):
    form = RunForm(overrides={"loss.terms.flat": 0.25})
    train.set_value(form)
    assert train.value().overrides == form.overrides
    assert train.value().settings().loss.terms == {"flat": 0.25}


def test_the_form_has_kind_label_bounds_and_help_of_the_setting(train):
    alpha = train.findChild(QDoubleSpinBox, "loss.alpha")
    assert (alpha.minimum(), alpha.maximum(), alpha.value()) == (0, 1, preset("fast").loss.alpha)
    assert alpha.toolTip() == "Eq. 4\n(loss.alpha)"
    assert train.findChild(QWidget, "sampling.crop_px").minimum() == 16
    assert train.findChild(QWidget, "optimisation.learning_rate").minimum() > 0
    shown = {label.text() for label in train.findChildren(QLabel)}
    assert {"Proportion weight", "Crop, working px"} <= shown
    assert train.findChild(QCheckBox, "self_training.enabled").text() == "Self-training"


# -- the rest ------------------------------------------------------------------------------------


def drawn(plot, row):
    """Curves of the upper plot, or of the lower one."""
    return plot.findChild(GraphicsLayoutWidget).getItem(row, 0).listDataItems()


def pens_of(plot):
    lines = zip(plot.names(), drawn(plot, 0), strict=True)
    return {name: line.opts["pen"].color() for name, line in lines}


def test_plots_draw_every_part_and_drop_old_ones(qtbot):
    plot = CurvesPlot()
    qtbot.addWidget(plot)
    curves = Curves()
    for step in (1, 2):
        curves.add(Progress(step, None, 1, None, {"total": 1.0, "labels": 0.5}, 0.25))
    curves.add_validation(Validated(2, 0.7, True))
    plot.set_curves(curves)
    assert plot.names() == ("total", "labels", "held out")
    (error,) = drawn(plot, 1)
    x, y = error.getData()
    assert (x.tolist(), y.tolist()) == ([1, 2], [25, 25])
    fresh = Curves()
    fresh.add(Progress(1, None, 1, None, {"total": 1.0}, None))
    plot.set_curves(fresh)
    assert plot.names() == ("total",)
    assert "places" not in said(plot)


def test_plots_say_where_self_training_sets_in_and_where_a_run_was_continued(qtbot):
    plot = CurvesPlot()
    qtbot.addWidget(plot)
    curves = Curves()
    curves.add(Progress(1, None, 1, None, {"total": 1.0}, 0.2))
    plot.set_curves(curves)
    assert plot.marks() == ()
    curves.add(Progress(2, None, 1, None, {"total": 2.0, "self_training": 1.0}, 0.2))
    curves.continue_from(3)
    plot.set_curves(curves)
    assert set(plot.marks()) == {(2, "self-training starts"), (3, "continued")}
    assert "self-training starts" in said(plot)
    assert "continued" in said(plot)
    plot.set_curves(Curves())
    assert plot.marks() == ()
    assert "continued" not in said(plot)


@pytest.mark.parametrize("x", [8, 20, 36, 200])
def test_the_wheel_is_left_to_the_dock_all_over_the_plots(qtbot, x):
    plot = CurvesPlot()
    qtbot.addWidget(plot)
    plot.resize(360, 260)
    with qtbot.waitExposed(plot):
        plot.show()
    QCoreApplication.processEvents()
    viewport = plot.findChild(GraphicsLayoutWidget).viewport()
    at = QPointF(x, 60)
    wheel = QWheelEvent(
        *(at, QPointF(viewport.mapToGlobal(at.toPoint())), QPoint(), QPoint(0, -120)),
        *(Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier),
        *(Qt.ScrollPhase.NoScrollPhase, False),
    )
    QCoreApplication.sendEvent(viewport, wheel)
    assert not wheel.isAccepted()


def test_many_marks_thin_out_and_nothing_is_written_over_the_curves(qtbot):
    plot = CurvesPlot()
    qtbot.addWidget(plot)
    curves = Curves()
    for run in range(40):
        if run:
            curves.continue_from(20 * run)
        for step in range(1, 21):
            curves.add(Progress(step, None, 1, None, {"total": 1.0}, 0.2))
    plot.set_curves(curves)
    steps = [step for step, _ in plot.marks()]
    assert steps[-1] == 780  # the last one stays
    assert 6 <= len(steps) <= 12
    assert min(np.diff(steps)) >= 800 / 12
    assert "continued (39 times)" in said(plot)
    upper = plot.findChild(GraphicsLayoutWidget).getItem(0, 0)
    lines = [item for item in upper.items if isinstance(item, InfiniteLine)]
    assert [line for line in lines if getattr(line, "label", None) is not None] == []


def test_a_curve_keeps_its_colour_and_stands_out_in_both_themes(qtbot):
    window, plot = QWidget(), CurvesPlot()
    qtbot.addWidget(window)
    fill_column(window, plot)
    window.show()
    alone, among = Curves(), Curves()
    alone.add(Progress(1, None, 1, None, {"self_training": 1.0}, None))
    among.add(Progress(1, None, 1, None, {"total": 1.0, "labels": 1.0, "self_training": 1.0}, None))
    for theme in ("dark", "light"):
        wear(window, theme)
        background = get_theme(theme).background.as_hex("long")
        plot.set_curves(alone)
        before = pens_of(plot)["self_training"]
        plot.set_curves(among)
        pens = pens_of(plot)
        assert pens["self_training"] == before
        assert len({colour.name() for colour in pens.values()}) == 3
        assert min(contrast(colour, QColor(background)) for colour in pens.values()) >= 3


def test_the_bar_follows_the_run(qtbot):
    bar, session = RunBar(), Session()
    qtbot.addWidget(bar)
    session.status_changed.connect(bar.set_status)
    assert not button(bar, "Stop").isVisibleTo(bar)
    ticket = session.begin("training")
    session.take(ticket, Progress(1, 4, 1.0, 3.0))
    assert button(bar, "Stop").isVisibleTo(bar)
    assert bar.findChild(QProgressBar).value() == 250
    assert "3 s left" in said(bar)
    session.stop()
    assert not button(bar, "Stop").isEnabled()
    session.fail(ticket, ValueError("x"))
    assert not button(bar, "Stop").isVisibleTo(bar)


def test_no_text_of_the_bar_is_clipped_when_it_gets_longer(qtbot):
    """Looked at before the event loop comes round: while it applies a model, a window is busy."""
    window = QWidget()
    qtbot.addWidget(window)
    layout, bar = QVBoxLayout(window), RunBar()
    layout.addStretch(1)
    layout.addWidget(bar)
    window.resize(380, 400)
    with qtbot.waitExposed(window):
        window.show()
    applying = RunStatus("prediction", device="cpu", total=160, unit="slice")
    long = (
        "Next: look at the map. Where it is wrong, add keypoints and press Continue; where it is "
    )
    for _ in range(2):
        bar.set_hint("Next: press Train.")
        bar.set_status(RunStatus())
        for done, eta_s in ((0, None), (1, 5.0), (100, 4000.0), (101, 5.0), (102, 4000.0)):
            bar.set_status(replace(applying, done=done, eta_s=eta_s))
            label = next(one for one in bar.findChildren(QLabel) if one.isVisible())
            assert label.height() >= label.heightForWidth(label.width()), label.text()
        bar.set_status(RunStatus())
        bar.set_hint(long + "right, apply it to the whole stack.")
        assert label.height() >= label.heightForWidth(label.width()), label.text()


def test_a_proposal_can_be_taken_once_and_goes_with_the_next_message(qtbot):
    bar, taken = RunBar(), []
    qtbot.addWidget(bar)
    bar.suggestion_accepted.connect(taken.append)
    suggestion = Suggestion("sampling.crop_px", 64)
    error = OutOfMemory("m", setting="sampling.crop_px", value=64)
    bar.propose(RunEnd(EndKind.failed, "training", "m", error=error, suggestion=suggestion))
    (offer,) = offered(bar)
    for _ in range(2):
        button(bar, offer).click()
    assert taken == [suggestion]
    bar.propose(RunEnd(EndKind.failed, "training", "m", error=error, suggestion=suggestion))
    bar.say("info", "something else")
    assert offered(bar) == []


def test_threshold_modes(qtbot):
    results = ResultsSection()
    qtbot.addWidget(results)
    assert results.threshold() == 0.5
    threshold = choice(results, "matched")
    pick(threshold, "matched to the stated fractions")
    assert results.threshold() == 0.5  # nothing is stated yet
    results.set_matched(0.37)
    assert results.threshold() == 0.37
    assert "0.37" in threshold.currentText()
    results.findChild(QLabeledDoubleSlider).setValue(0.8)
    assert threshold.currentText() == "as the slider says"
    assert results.cleaning().threshold == pytest.approx(0.8)


def test_what_large_previews_leave_out_is_told_beside_it(qtbot):
    results = ResultsSection()
    qtbot.addWidget(results)
    for widget in (button(results, "fill holes"), number(results, "Smaller pieces")):
        assert "Previews of more than 2 megapixels" in widget.toolTip()


@pytest.mark.parametrize(
    ("classes", "is_offered"), [(("bg", "mito"), True), (("bg", "mito", "outside"), False)]
)
def test_a_threshold_is_offered_where_it_has_an_effect(qtbot, classes, is_offered):
    results = ResultsSection()
    qtbot.addWidget(results)
    results.findChild(QLabeledDoubleSlider).setValue(0.8)
    results.set_model(SimpleNamespace(classes=classes, n_steps=1))
    assert results.findChild(QLabeledDoubleSlider).isVisibleTo(results) is is_offered
    assert choice(results, "matched").isVisibleTo(results) is is_offered
    assert ("none: the most probable class" in said(results)) is not is_offered
    assert (results.cleaning().threshold is not None) is is_offered


def test_fractions_of_many_classes_leave_the_names_of_images_readable(qtbot, tmp_path):
    paths = [tmp_path / "rat" / name for name in ("first_image.tif", "second_image.tif")]
    names = ("building", "land", "road", "vegetation", "water")
    many = ManyImages()
    qtbot.addWidget(many)
    many.add(paths)
    many.show_table(
        pd.DataFrame(
            [
                {"image": str(path), "group": "", "folder": "a", "problem": ""}
                | {"class": name, "fraction": "0.125", "low": "0.1", "high": "0.15"}
                for path in paths
                for name in ("background", *names)
            ]
        ),
        tmp_path,
    )
    many.resize(350, 500)
    many.show()
    table = many.findChild(QTableWidget)
    assert table.item(0, 0).text() == "first_image.tif"
    assert table.columnWidth(0) > 100
    assert table.horizontalHeader().length() <= table.viewport().width()
    assert all(f"{name} (labels" in table.item(0, 3).toolTip() for name in names)


def test_fractions_of_many_classes_leave_the_time_of_a_run_readable(qtbot, tmp_path):
    names = ("bg", "building", "land", "road", "vegetation", "water")
    run = SimpleNamespace(
        path=tmp_path,
        began=datetime(2026, 11, 29, 14, 46, 9),
        model=SimpleNamespace(n_steps=40, classes=Classes(names)),
        agreement=SimpleNamespace(overlap=0.46, n_nodes=252, fractions=(0.01, *5 * (0.123,))),
        learned_from="1 grid",
        end=None,
        validation_loss=None,
        is_interrupted=False,
    )
    runs = RunsList()
    qtbot.addWidget(runs)
    runs.set_runs([run], tmp_path)
    runs.resize(350, 300)
    runs.show()
    table = runs.findChild(QTableWidget, "runs")
    assert table.columnWidth(0) >= table.sizeHintForColumn(0)
    assert table.horizontalHeader().length() <= table.viewport().width()
    assert "vegetation: 12" in table.item(0, 3).toolTip()


def test_a_folded_section_takes_its_content_away(qtbot):
    inner = RunBar()
    section = Section("Title", inner, is_open=False)
    qtbot.addWidget(section)
    assert not inner.isVisibleTo(section)
    section.header.click()
    assert inner.isVisibleTo(section)
    section.close_up()
    assert not section.is_open


@pytest.mark.parametrize("output", [b"", b"Traceback", b"[]", b'{"devices": 3}', b"\xff\xfe"])
def test_a_probe_that_fails_finds_nothing(output):
    assert parse_devices(output) == ((), "")


def test_devices_are_found_in_a_child_process(qtbot):
    probe, found = DeviceProbe(), []
    probe.found.connect(lambda devices, advice: found.append(devices))
    probe.start()
    qtbot.waitUntil(lambda: bool(found), timeout=120_000)
    assert CPU in found[0]


def test_the_time_of_a_training_is_measured_in_a_child_process_and_told(train, qtbot):
    probe, found = DurationProbe(), []
    probe.found.connect(found.append)
    probe.found.connect(train.set_duration)
    small = {"network.filters": 2, "sampling.crop_px": 32, "optimisation.max_steps": 10**6}
    settings = preset("fast").with_overrides(small)
    probe.ask(settings, "cpu")
    qtbot.waitUntil(lambda: len(found) == 2, timeout=120_000)
    assert found[0] is None
    assert found[1] > 100
    told = [one.text() for one in train.findChildren(QLabel) if one.isVisibleTo(train)]
    assert any(text.startswith("Takes about ") for text in told)
    probe.ask(preset("paper"), "cpu")  # epochs, not steps
    assert not any(
        one.text() and "Takes" in one.text() and one.isVisibleTo(train)
        for one in train.findChildren(QLabel)
    )
    probe.ask(settings, "cpu")
    assert found[-1] == found[1]
    probe.note(100.0)  # it was measured while the computer had other work
    probe.ask(settings, "cpu")
    assert found[-1] == 100.0
    probe.stop()


@pytest.mark.parametrize(
    ("seconds", "limit", "text"),
    [
        (4.0, 0.0, "Takes about 10 s."),
        (172.0, 0.0, "Takes about 3 min."),
        (172.0, 5.0, "Takes about 3 min."),
        (
            172.0,
            2.0,
            "about 3 min, of which the time limit allows 2 min: maps will be worse.",
        ),
        (4000.0, 0.0, "Takes about 1 h 7 min."),
    ],
)
def test_a_time_limit_that_cuts_a_training_short_is_said_before(train, seconds, limit, text):
    train.set_value(RunForm(max_minutes=limit or None))
    train.set_duration(seconds)
    shown = [one.text() for one in train.findChildren(QLabel) if one.isVisibleTo(train)]
    assert any(one.endswith(text) for one in shown)


def test_a_probe_that_is_deleted_while_it_asks_is_silent(qtbot):
    probe = DeviceProbe()
    probe.start()
    assert probe.findChild(QProcess).waitForStarted()
    with qtbot.captureExceptions() as errors:
        probe.deleteLater()
        QCoreApplication.sendPostedEvents(probe, QEvent.Type.DeferredDelete)
    assert not errors


@pytest.mark.parametrize(
    ("found", "n_slices", "text"),
    [
        (
            FractionEstimate(0.0687, 0.058, 0.0795),
            4,
            "mito: 6.9 % (5.8\u20138.0 %) of 4 slices",
        ),
        (FractionEstimate(0.00746, 0.0, 0.0123), 4, "mito: 0.75 % (0\u20131.2 %) of 4 slices"),
        (FractionEstimate(0.5, nan, nan), 1, "mito: 50.0 % of 1 slice"),
    ],
)
def test_fractions_are_written_as_exactly_as_those_stated(qtbot, found, n_slices, text):
    results = ResultsSection()
    qtbot.addWidget(results)
    background = FractionEstimate(1 - found.fraction, nan, nan)
    results.set_fractions(
        Classes(("background", "mito")), (background, found), {"mito": (0.076, 0.061, 1)}, n_slices
    )
    there = "; of 1 of them 6.1 %" if n_slices > 1 else ""
    assert f"{text}{there}, stated 7.6 %" in said(results).splitlines()


def test_a_model_is_applied_to_an_image_only(qtbot):
    results = ResultsSection()
    qtbot.addWidget(results)
    results.set_model(SimpleNamespace(classes=("background", "mito"), n_steps=3), "monday")
    assert "Model of the run monday: mito, 3 steps." in said(results)
    assert button(results, "Apply").isEnabled()
    results.set_image(False)
    assert not button(results, "Apply").isEnabled()


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_what_is_wrong_stands_out_in_both_themes(theme, qtbot):
    window, inner = QWidget(), QLabel()
    qtbot.addWidget(window)
    inner.setParent(window)
    wear(window, theme)
    background = QColor(get_theme(theme).background.as_hex("long"))
    assert contrast(error_colour(inner), background) >= 3
    assert contrast(warning_colour(inner), background) >= 3


def test_an_error_without_a_field_is_left_to_the_bar(qtbot):
    train = TrainSection()
    qtbot.addWidget(train)
    train.mark_error(None, "A run is in progress.")
    assert warned(train) == ""
    train.mark_error("device", "There is no such device.")
    assert warned(train)


def test_pixels_that_are_not_square_are_described_so(viewer, image):
    add(viewer, name="em", scale=(50, 8, 4), units="nm")
    assert "pixels 4 nm wide and 8 nm high" in said(image)
    image.set_diameter(40)
    assert "= " not in said(image)


def test_an_estimate_without_an_interval_says_so(qtbot):
    labels = np.zeros((3, 40, 40), np.uint8)
    labels[:, :10] = 1
    view = EstimatesView()
    qtbot.addWidget(view)
    view.show_estimates(estimate_fractions(labels, classes=("background", "mitochondria")))
    assert "labels, uncorrected" in said(view)
    assert said(view).count("(no interval)") == 1


def test_what_holds_of_several_classes_is_said_once_and_on_a_line_of_its_own(qtbot):
    labels = np.zeros((3, 40, 40), np.uint8)
    labels[:, :10], labels[:, 20:] = 1, 2
    view = EstimatesView()
    qtbot.addWidget(view)
    view.show_estimates(estimate_fractions(labels, classes=("background", "mito", "er")))
    lines = said(view).splitlines()
    assert {"mito", "er"} < set(lines)
    assert len([line for line in lines if "there is no check count" in line]) == 1
