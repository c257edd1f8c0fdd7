"""What napari's menus Layers > Measure and File > IO Utilities do, for any layer."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from napari import Viewer
from napari.layers import Image, Labels
from napari.utils.notifications import show_info, show_warning
from qtpy.QtWidgets import QCheckBox, QFileDialog, QVBoxLayout, QWidget

from ..core.base import UNKNOWN_VOXEL, InputError, SpssError, length_text
from .layers import (
    Connections,
    Geometry,
    SourceFrame,
    file_voxel_size,
    full_resolution,
    layer_origin,
    name_time_axis,
    set_voxel_size,
    voxel_size_um,
)
from .models import Task, explain, start_task
from .widgets import LayerCombo, Notice, make_button, wear

if TYPE_CHECKING:
    from napari.layers import Layer

    from ..core.analysis import ClassFractions, Measurement
    from .widgets import FractionPlot

_CSV = "CSV files (*.csv)"


def measure_labels(viewer: Viewer) -> None:
    """Open a dock widget that measures Labels layers."""
    viewer.window.add_dock_widget(MeasureLabels(viewer), name="Measure labels", tabify=True)


def take_voxel_size(viewer: Viewer) -> None:
    """Give the selected images the voxel size that their files state, and say which."""
    chosen = [layer for layer in viewer.layers.selection if isinstance(layer, Image)]
    if not chosen:
        show_warning("Select an image that was opened from a file, to take its voxel size.")
    for layer in chosen:
        try:
            size = file_voxel_size(layer)
        except InputError as error:  # of more axes than a stack has
            show_warning(str(error))
            continue
        if size == UNKNOWN_VOXEL:
            show_warning(
                f"The file of {layer.name!r} says nothing of the size of a voxel; enter it in the "
                "dock Semantic Proportions, under Image & classes."
            )
            continue
        set_voxel_size(viewer, layer, size)
        told = " x ".join("?" if one is None else length_text(one) for one in size)
        show_info(f"{layer.name}: {told} (z, y, x)")


class MeasureLabels(QWidget):
    """Fractions and objects of a Labels layer, whoever made it, as a summary, a plot and tables."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer: Viewer = getattr(viewer, "__wrapped__", viewer)
        self._found: Measurement | None = None
        self._origin: dict[str, Any] = {}  # of the labels
        self._frame: SourceFrame | None = None
        self._task: Task[Any] | None = None
        self._plot: FractionPlot | None = None
        self._layer = LayerCombo(self._viewer, lambda one: isinstance(one, Labels), "No labels")
        self._are_ids = QCheckBox("values are ids of objects")
        self._are_ids.setToolTip("Otherwise each value is a class.")
        self._measure = make_button("Measure", self._on_measure)
        self._summary, self._notice = Notice(), Notice(is_warning=True)
        self._save = make_button(
            "Save CSV…", self._on_save, "Write tables of slices, classes and objects."
        )
        self._save.setEnabled(False)
        self._column = QVBoxLayout(self)
        for widget in (self._layer, self._are_ids, self._measure, self._notice, self._summary):
            self._column.addWidget(widget)
        self._column.addWidget(self._save)
        self._column.addStretch(1)
        self._connections = Connections()
        self._connections.connect(self._viewer.events.theme, self._on_theme)
        self._connections.connect(self._viewer.dims.events.point, self._on_slider)
        self.destroyed.connect(self._connections.disconnect_all)
        self._layer.layer_changed.connect(self._on_layer)
        self._on_theme()
        self._on_layer(self._layer.layer())

    def _on_layer(self, layer: Layer | None) -> None:
        self._measure.setEnabled(layer is not None)
        data = None if layer is None else full_resolution(layer)
        is_small = data is not None and np.dtype(data.dtype).itemsize == 1
        self._are_ids.setChecked(data is not None and not is_small)

    def _on_measure(self) -> None:
        layer = self._layer.layer()
        self._notice.say("")
        try:
            name_time_axis(layer)
            geometry = Geometry.of(layer)
        except InputError as error:
            self._notice.say(str(error))
            return
        self._frame, self._origin = SourceFrame(layer), layer_origin(layer)
        call = partial(_measure, layer, geometry, instances=self._are_ids.isChecked())
        self._measure.setEnabled(False)
        self._summary.say("Measuring …")
        self._task = start_task("napari-spss measure", call, self._on_measured)

    def _on_measured(self, task: Task[tuple[Measurement, tuple[ClassFractions, ...]]]) -> None:
        self._measure.setEnabled(True)
        self._save.setEnabled(task.value is not None)
        self._summary.say("")
        if task.value is None:
            assert task.error is not None
            self._notice.say(explain(task.error, "The labels could not be measured"))
            return
        self._found, drawn = task.value
        self._summary.say("\n".join((*self._found.summary(), *self._found.notes)))
        if self._plot is None:
            from .widgets import FractionPlot

            self._plot = FractionPlot("labels")
            self._plot.slice_chosen.connect(self._on_slice)
            self._column.insertWidget(self._column.indexOf(self._save), self._plot)
        self._plot.set_fractions(drawn)
        self._on_slider()

    def _on_slider(self) -> None:
        if self._plot is not None and self._frame is not None:
            self._plot.set_slice(self._frame.current_slice(self._viewer))

    def _on_slice(self, z: int) -> None:
        if self._frame is not None:
            self._frame.go_to(self._viewer, z)

    def _on_save(self) -> None:
        from ..core.analysis import measurement_results, write_measurement

        path, _ = QFileDialog.getSaveFileName(self, "Save tables", "labels.csv", _CSV)
        if path and self._found is not None:
            results = replace(measurement_results(path), made_by=self._origin)
            try:
                write_measurement(results, self._found)
            except SpssError as error:
                self._notice.say(str(error).partition(", or replace it")[0] + ".")
            else:
                self._notice.say("")
                show_info(f"written: {', '.join(results.names)}")

    def _on_theme(self) -> None:
        wear(self, self._viewer.theme)


def _measure(
    layer: Labels, geometry: Geometry, *, instances: bool
) -> tuple[Measurement, tuple[ClassFractions, ...]]:
    """Measure in a thread; give what is to be drawn as well."""
    from ..core.analysis import class_fractions, measure_masks
    from ..core.annotations import Classes, ClassSpec
    from ..core.images import ImageData, Stack, open_masks

    labels = Stack(
        [ImageData(geometry.collapse(np.asarray(full_resolution(layer))), is_labels=True)],
        source="the layer",
        axes="TYX" if geometry.is_time_series else "ZYX",
    )
    known = _known_names(layer)
    names = {*known.values()}
    if instances:
        spec = ClassSpec(("background", *names)) if len(names) == 1 else None
        masks = open_masks(labels, classes=spec, instances=True)
    else:  # several objects have the name of one class
        masks = open_masks(labels, known=known if len(names) == len(known) else {})
    outside = _outside_of(layer)
    found = measure_masks(
        masks,
        voxel_size_um=voxel_size_um(geometry),
        outside=outside if outside in masks.classes.names else None,
    )
    classes = Classes(masks.classes.names, found.outside)
    return found, class_fractions(found.by_slice(classes), classes)


def _outside_of(layer: Labels) -> str | None:
    """Class that counts in no fraction: by its metadata, or the file we wrote."""
    from ..core.images import stored_classes

    if "outside" in layer.metadata or layer.source.path is None:
        stated = layer.metadata.get("outside")
    else:
        stated = getattr(stored_classes(layer.source.path), "outside", None)
    return stated if isinstance(stated, str) else None


def _known_names(layer: Labels) -> dict[int, str]:
    """Names of the classes of values: by their features, their metadata, or the file we wrote."""
    from ..core.annotations import class_name_fault
    from ..core.images import stored_classes

    found: object = layer.metadata.get("classes")
    columns = {str(name).lower(): layer.features[name] for name in layer.features}
    column = next((columns[one] for one in ("class", "name", "label") if one in columns), None)
    if column is not None:
        found = dict(zip(columns.get("index", column.index), column, strict=True))
    elif found is None and layer.source.path is not None:
        found = stored_classes(layer.source.path)
    if isinstance(found, (list, tuple)):
        found = dict(enumerate(found))
    if not isinstance(found, dict):
        return {}
    return {
        int(value): name
        for value, name in found.items()
        if isinstance(value, Integral) and value and isinstance(name, str)
        if not class_name_fault(name) and name != "background"
    }
