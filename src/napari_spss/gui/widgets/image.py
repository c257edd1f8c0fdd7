"""The image that is worked on, and the size of the objects in it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import isclose
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from qtpy.QtCore import QEvent, QSignalBlocker, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QPushButton,
    QSizePolicy,
    QWidget,
)

from ...core.annotations import Region
from ...core.base import (
    UNKNOWN_VOXEL,
    ImageSettings,
    InputError,
    VoxelSize,
    doubt_of_size,
    length_text,
)
from ..layers import (
    MARK,
    SIZE_OF,
    Connections,
    Geometry,
    LineMeasure,
    SourceFrame,
    file_voxel_size,
    full_resolution,
    guessed_channels,
    layer_mark,
    look_into_file,
    set_voxel_size,
    voxel_size_um,
)
from ..models import make_timer
from .layer_combo import LayerCombo
from .parts import Notice, fill_row, make_row

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

_FOUND = "found_voxel_size_um"
_DOUBTS, _CHANNELS = "doubts_of_file", "channels_of_file"
_OPAQUE = ("opaque", "translucent", "translucent_no_depth")
_COVERING = frozenset(
    ("inserted", "removed", "reordered", "visible", "opacity", "blending", "translate", "scale")
)
_TIME_SERIES = (
    "The slices are time points: objects are those of each. If they are slices of a volume, name "
    "their axis 'z' (Layers > Metadata)."
)
_ASKED = "Enter the size of a voxel, for lengths and volumes; until then they are in pixels."
_ASKED_DEPTH = "Enter the distance of the slices (z), for volumes; until then they are in voxels."
_MOST_SEARCHED_BYTES = 2**28  # in a tenth of a second
_NOT_FINITE = (
    "It holds NaN or infinite values; replace them first, such as by "
    "numpy.where(abs(image) < 1e20, image, 0)."
)
_IN_PLANE = "A width is measured in the 2D view of single slices only."
_SAME_PLACE = 0.1  # of an image's size, by which edges differ at most
_TARGET_PX = ImageSettings().target_diameter_px
_UNITS = {"nm": 1e-3, "µm": 1.0}
_SMALL_UM = 0.1
_LARGEST_SIZE = 1e6


@dataclass(frozen=True)
class ImageChoice:
    """What the section states.

    ``layer`` is None while there is no usable image; ``object_diameter_px`` is None while it is
    not stated.
    """

    layer: Image | None
    object_diameter_px: float | None


class ImageSection(QWidget):
    """Chooses the image layer and states the diameter of the smallest object of interest."""

    image_changed = Signal(object)  # another layer or None, or the same with other data
    value_changed = Signal()
    cover_changed = Signal()  # another image lies over the chosen one, or none any more

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._cover = ""
        self._chosen: Layer | None = None
        self._left: Layer | None = None  # chosen before, until a person has chosen
        self._list_connections = Connections()
        self.is_reading = False  # whether it is still being found out which image it is
        self._is_scaling = False
        self._layer_connections = Connections()
        self._measure = LineMeasure(viewer, self)
        self._combo = LayerCombo(viewer, _is_usable, "Open an image first")
        self._facts, self._voxel_note, self._scale_note = Notice(), Notice(), Notice()
        self._fault = Notice(is_warning=True)
        self._voxel = VoxelSizeField()
        self._voxel.setToolTip(
            "Size of a voxel, from the file or the layer, or as you state it here; ? = not known."
            "\nThe image and the layers on it are scaled, and all numbers follow."
        )
        self._diameter = QDoubleSpinBox()
        self._diameter.setRange(0.0, 9999.0)
        self._diameter.setDecimals(1)
        self._diameter.setSuffix(" px")
        self._diameter.setSpecialValueText("not stated")
        self._diameter.setKeyboardTracking(False)
        self._diameter.setToolTip(
            "Width of the smallest object of interest, in pixels of the image.\n"
            "The network then sees the image reduced so that such an object is about "
            f"{_TARGET_PX:.0f} pixels wide:\nfaster, and usually better. 0 = not stated."
        )
        self._measure_button = QPushButton("Measure")
        self._measure_button.setCheckable(True)
        self._measure_button.setToolTip("Draw one line across an object in the viewer.")
        self._lay_out()
        self._combo.setToolTip("The image to annotate and to segment.")
        self._combo.layer_changed.connect(self._on_layer_changed)
        self._combo.activated.connect(self._uncover)
        self._list_connections.connect(viewer.layers.events, self._on_list_event)
        self.destroyed.connect(self._list_connections.disconnect_all)
        self._diameter.valueChanged.connect(self._on_diameter_changed)
        self._voxel.stated.connect(self._on_voxel_stated)
        self._measure_button.toggled.connect(self._on_measure_toggled)
        self._measure.measured.connect(self._diameter.setValue)
        self._measure.ended.connect(lambda: self._measure_button.setChecked(False))
        self.destroyed.connect(self._layer_connections.disconnect_all)
        self._on_layer_changed(self._combo.layer())

    def value(self) -> ImageChoice:
        """Return the image and the stated diameter."""
        layer = self._combo.layer()
        return ImageChoice(
            layer if isinstance(layer, Image) else None, self._diameter.value() or None
        )

    @property
    def cover(self) -> str:
        """Name of an image that hides the chosen one in the viewer; empty if none does."""
        layer = self.value().layer
        found = None if layer is None else _cover_of(self._viewer, layer)
        return "" if found is None else found.name

    def set_reading(self, is_reading: bool) -> None:
        """Let nothing be stated of an image as long as it is not known which one it is."""
        self.is_reading = is_reading
        self._show_facts()

    def set_layer(self, layer: Layer) -> None:
        """Choose an image layer."""
        self._combo.set_layer(layer)

    def set_diameter(self, diameter_px: float | None) -> None:
        """State the diameter; None takes the statement back."""
        self._diameter.setValue(diameter_px or 0.0)

    def stated_voxel_size(self) -> VoxelSize | None:
        """Return the size (z, y, x) of a voxel in micrometres if it is not that of the file.

        Nor that of another image, which nobody stated for this one.
        """
        layer = self.value().layer
        mark = {} if layer is None else layer_mark(layer)
        found = None if SIZE_OF in mark else mark.get(_FOUND)
        size = None if layer is None else _size_of(layer)
        return None if found is None or size is None or _is_same(size, found) else size

    def state_voxel_size(self, size_um: VoxelSize) -> None:
        """Scale the image so that its voxels have a size in micrometres; None where unknown."""
        layer = self.value().layer
        size = None if layer is None else _size_of(layer)
        if layer is not None and size is not None and not _is_same(size, size_um):
            self._scale(layer, size_um)
            self.image_changed.emit(layer)

    def let_go(self) -> None:
        """Wait no longer for a line, and leave the viewer, for good."""
        self._measure.stop()
        self._list_connections.disconnect_all()
        self._layer_connections.disconnect_all()
        self._combo.let_go()

    def _lay_out(self) -> None:
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Image", self._combo)
        form.addRow(self._facts)
        form.addRow(self._fault)
        form.addRow("Voxel size", self._voxel)
        form.addRow(self._voxel_note)
        form.addRow("Object diameter", make_row((self._diameter, 1), self._measure_button))
        form.addRow(self._scale_note)

    def _on_layer_changed(self, layer: Layer | None) -> None:
        self._left, self._chosen = self._chosen, layer
        self._measure.stop()
        self._layer_connections.disconnect_all()
        if layer is not None:
            self._take_found_size(layer)
            for event in (layer.events.data, layer.events.axis_labels):
                self._layer_connections.connect(event, self._on_layer_data_changed)
            self._layer_connections.connect_moves(layer, self._on_layer_data_changed)
        self._show_image(layer)

    def _show_image(self, layer: Layer | None) -> None:
        """Show what another image is, or one with other pixels, and tell of it."""
        self._show_facts()
        self._fault.say("" if layer is None or _is_finite(layer) else _NOT_FINITE)
        self.image_changed.emit(layer)

    def _take_found_size(self, layer: Layer) -> None:
        """Give an image whose unit is no length the voxel size that its file states.

        What is doubtful of that file is told, too.
        """
        size = _size_of(layer)
        if size is None or _FOUND in layer_mark(layer):
            return
        stack, doubts = look_into_file(layer)
        if size[1:] == UNKNOWN_VOXEL[1:] or SIZE_OF in layer_mark(layer):
            size = file_voxel_size(layer, stack) if stack is not None else UNKNOWN_VOXEL
            if size != UNKNOWN_VOXEL:
                self._scale(layer, size)
        n_channels = 1 if stack is None else stack.n_channels
        found = {_FOUND: size, _DOUBTS: doubts, _CHANNELS: n_channels}
        layer.metadata[MARK] = {**layer_mark(layer), **found}

    def _scale(self, layer: Image, size_um: VoxelSize) -> None:
        self._is_scaling = True
        try:
            set_voxel_size(self._viewer, layer, size_um)
        finally:
            self._is_scaling = False
        self._show_facts()

    def _on_voxel_stated(self, size_um: VoxelSize) -> None:
        self.state_voxel_size(size_um)
        self.value_changed.emit()

    def _on_layer_data_changed(self, event: Any = None) -> None:
        if self._is_scaling:
            return
        self._show_image(self._combo.layer())

    def _on_diameter_changed(self) -> None:
        self._show_facts()
        self.value_changed.emit()

    def _uncover(self) -> None:
        """Let the image be seen that a person has chosen, all of it if it lies elsewhere."""
        (layer, left), self._left = (self.value().layer, self._left), None
        if layer is None:
            return
        layer.visible = True
        while (cover := _cover_of(self._viewer, layer)) is not None:
            cover.visible = False
        if left is not None and not _is_in_place_of(layer, left):
            with contextlib.suppress(InputError):  # its axes are not those of a stack
                frame = SourceFrame(layer)
                z = frame.current_slice(self._viewer)
                frame.look_at(self._viewer, Region(z, (0, 0, *frame.shape_of(z))))

    def _on_list_event(self, event: Any) -> None:
        if event.type in _COVERING and (cover := self.cover) != self._cover:
            self._cover = cover
            self.cover_changed.emit()

    def _on_measure_toggled(self, is_on: bool) -> None:
        layer = self.value().layer
        if not is_on:
            self._measure.stop()
        elif layer is None or not SourceFrame(layer).is_shown_in_plane(self._viewer):
            self._measure_button.setChecked(False)
            self._scale_note.say(_IN_PLANE)
        else:
            self._measure.start(layer)
        self._measure_button.setText("Draw a line …" if self._measure.is_drawing else "Measure")

    def _show_facts(self) -> None:
        layer = self.value().layer
        can_state = layer is not None and not self.is_reading
        facts, note, asked = "", "", ""
        size, has_depth = UNKNOWN_VOXEL, True
        if layer is not None:
            try:
                geometry = Geometry.of(layer)
            except InputError as error:
                facts, can_state = str(error), False
            else:
                more = (
                    _TIME_SERIES if geometry.is_time_series else "",
                    _about_channels(layer, geometry),
                    layer_mark(layer).get("notice", ""),
                    layer_mark(layer).get(_DOUBTS, ""),
                )
                facts = "\n".join(text for text in (describe(layer, geometry), *more) if text)
                size = voxel_size_um(geometry)
                pixel_um = size[2] if _is_square(*size[1:]) else None
                has_depth = "Z" in geometry.axes and not geometry.is_time_series
                asked = _about_voxels(size, layer_mark(layer), has_depth)
                note = _scale_text(self._diameter.value(), pixel_um)
        for field in (self._diameter, self._measure_button, self._voxel):
            field.setEnabled(can_state)
        self._facts.say(facts.strip())
        self._facts.setToolTip("" if layer is None else layer_mark(layer).get("origin", ""))
        self._voxel.set_value(size, has_depth=has_depth)
        self._voxel_note.say(asked)
        self._scale_note.say(note)


def _cover_of(viewer: Viewer, layer: Image) -> Image | None:
    """The topmost image that hides another one, or a part of it."""
    if getattr(viewer, "canvas", viewer).grid.enabled or layer not in viewer.layers:
        return None
    for other in reversed(list(viewer.layers)):  # to slice it takes milliseconds
        if other is layer:
            return None
        is_opaque = other.visible and other.opacity == 1.0 and other.blending in _OPAQUE
        if is_opaque and _is_usable(other):
            (low, high), (start, stop) = (one.extent.world[:, -2:] for one in (layer, other))
            if (low < stop).all() and (start < high).all():
                return other
    return None


def _is_in_place_of(one: Layer, other: Layer) -> bool:
    """Whether layers lie in one place of the plane, as raw and reduced pixels of an image do."""
    ours, theirs = (layer.extent.world[:, -2:] for layer in (one, other))
    is_near = (abs(ours - theirs) <= _SAME_PLACE * np.ptp(ours, axis=0)).all()
    return bool(one.units[-2:] == other.units[-2:] and is_near)


def _is_finite(layer: Image) -> bool:
    """Whether no value is NaN or infinite, as far as that can be told at once."""
    pixels = full_resolution(layer)
    if type(pixels) is not np.ndarray or not 0 < pixels.nbytes <= _MOST_SEARCHED_BYTES:
        return True
    is_quick = pixels.dtype in (np.float32, np.float64)  # numpy is slow with half precision
    return not is_quick or bool(np.isfinite((pixels.min(), pixels.max())).all())


def _size_of(layer: Layer) -> VoxelSize | None:
    """Size of a voxel in micrometres, None where unknown; None if the layer is no stack."""
    try:
        return voxel_size_um(Geometry.of(layer))
    except InputError:
        return None


def _is_same(one: VoxelSize, other: VoxelSize) -> bool:
    return all(
        a == b or (a is not None and b is not None and isclose(a, b, rel_tol=1e-6))
        for a, b in zip(one, other, strict=True)
    )


def _about_voxels(size: VoxelSize, mark: Mapping[str, Any], has_depth: bool) -> str:
    """Ask for the size of a voxel, doubt it, or say whose it is or that the file says otherwise."""
    found: VoxelSize | None = mark.get(_FOUND)
    if None in size[1:]:
        return _ASKED
    if has_depth and size[0] is None:
        return _ASKED_DEPTH
    if SIZE_OF in mark and found == UNKNOWN_VOXEL:
        return f"It is that of {mark[SIZE_OF]!r}, on which this image lies; enter its own, if any."
    if found is not None and _is_same(size, found) and (doubt := doubt_of_size(found)):
        return f"It {doubt}."
    if found is None or _is_same(size, found) or None in (found if has_depth else found[1:]):
        return ""
    said = " x ".join(length_text(length) for length in found if length is not None)
    return f"Stated by you; the image came with {said}."


def describe(layer: Image, geometry: Geometry) -> str:
    """Say what an image is, in a line."""
    n_slices, height, width = geometry.stack_shape
    parts = [f"{n_slices} slices" if n_slices > 1 else "1 slice", f"{width} x {height} px"]
    if layer.rgb:
        parts.append("RGB")
    elif geometry.n_channels > 1:
        parts.append(f"{geometry.n_channels} channels")
    parts.append(np.dtype(layer.dtype).name)
    _, height_um, width_um = voxel_size_um(geometry)
    if height_um is not None and width_um is not None and not _is_square(height_um, width_um):
        parts.append(f"pixels {length_text(width_um)} wide and {length_text(height_um)} high")
    elif width_um is not None:
        parts.append(f"{length_text(width_um)} per px")
    return ", ".join(parts)


def _about_channels(layer: Image, geometry: Geometry) -> str:
    """Say so if channels are guessed, or if the file has some and none of the axes is theirs."""
    n_channels = layer_mark(layer).get(_CHANNELS, 1)
    if "C" in geometry.axes:
        is_known = geometry.shape[geometry.axes.index("C")] == n_channels
        return "" if is_known else guessed_channels(layer, geometry)
    if n_channels == 1 or layer.rgb or n_channels not in geometry.shape:
        return ""
    return (
        f"By its file an axis is that of {n_channels} channels; if so, name it 'c' (Layers > "
        "Metadata)."
    )


def _scale_text(diameter_px: float, pixel_um: float | None) -> str:
    """Say what a diameter means in length and for the working scale."""
    if not diameter_px:
        return ""
    reduction = ImageSettings(object_diameter_px=diameter_px).reduction(None)
    length = "" if pixel_um is None else f"= {length_text(diameter_px * pixel_um)}; "
    if reduction == 1:
        return f"{length}the network works at full resolution"
    return f"{length}the network sees the image at 1/{reduction} size"


def _is_square(height_um: float | None, width_um: float | None) -> bool:
    if height_um is None or width_um is None:
        return height_um == width_um
    return isclose(height_um, width_um, rel_tol=1e-3)


def _is_usable(layer: Layer) -> bool:
    return isinstance(layer, Image) and "role" not in layer_mark(layer)


class VoxelSizeField(QWidget):
    """Three lengths, z, y and x, and their unit; a length of 0 is not known."""

    stated = Signal(object)  # the VoxelSize, with what the user entered

    def __init__(self) -> None:
        super().__init__()
        self._size = UNKNOWN_VOXEL
        self._widest = 0  # text, in pixels
        self._lengths: list[QDoubleSpinBox] = []
        for index, name in enumerate("zyx"):
            field = _Length()
            field.setObjectName(f"voxel_{name}")
            field.setRange(0.0, _LARGEST_SIZE)
            field.setDecimals(4)
            field.setPrefix(f"{name} ")
            field.setSpecialValueText(f"{name} ?")
            field.setKeyboardTracking(False)
            field.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            field.valueChanged.connect(lambda value, index=index: self._on_entered(index, value))
            self._lengths.append(field)
        self._unit = QComboBox()
        self._unit.setObjectName("voxel_unit")
        self._unit.addItems(list(_UNITS))
        self._unit.setToolTip("Unit in which the lengths are shown; it changes none of them.")
        self._unit.currentIndexChanged.connect(self._show)
        fill_row(self, *((field, 1) for field in self._lengths), self._unit).setSpacing(3)
        # once all have the font: a style of our own, too, is a change of it
        fit_soon = make_timer(self, 0, self._fit)
        for field in self._lengths:
            field.font_changed.connect(fit_soon.start)

    def set_value(self, size_um: VoxelSize, *, has_depth: bool) -> None:
        """Show a size (z, y, x) in micrometres, in the unit that suits it."""
        known = [length for length in size_um if length]
        if known and self._size == UNKNOWN_VOXEL:
            with QSignalBlocker(self._unit):
                self._unit.setCurrentText("nm" if min(known) < _SMALL_UM else "µm")
        self._size = size_um
        self._lengths[0].setVisible(has_depth)
        self._show()

    def _show(self) -> None:
        unit_um = _UNITS[self._unit.currentText()]
        for field, length in zip(self._lengths, self._size, strict=True):
            with QSignalBlocker(field):
                field.setValue(0.0 if length is None else length / unit_um)
        self._fit()

    def _fit(self) -> None:
        """Leave room for the digits: a length that is cut off reads as another one."""
        texts = ["x 0.1", *(field.text()[: len("x 0.0046")] for field in self._lengths)]
        widest = max(map(self._lengths[0].fontMetrics().horizontalAdvance, texts))
        unit = self._unit.fontMetrics().horizontalAdvance("µm")  # beside its arrow
        if widest == self._widest:
            return
        self._widest = widest
        # napari's style gives such fields the width of three; their buttons cannot be seen, since
        # Qt 6.11.3 leaves a field that has none no room for its text
        parts = ", ".join(
            f"QDoubleSpinBox::{way}-{part}"
            for way in ("up", "down")
            for part in ("button", "arrow")
        )
        self.setStyleSheet(
            f"{parts} {{ width: 0px; margin: 0px; border: none; image: none; }}"
            "QDoubleSpinBox, QComboBox { padding: 2px 4px; }"
            f"QDoubleSpinBox {{ min-width: {widest + 4}px; }}"
            f"QComboBox {{ min-width: {max(40, unit + 24)}px; }}"
        )

    def _on_entered(self, index: int, value: float) -> None:
        """Take a length; pixels are square unless both their edges are entered."""
        unit_um = _UNITS[self._unit.currentText()]
        lengths: list[float | None] = list(self._size)
        lengths[index] = value * unit_um or None
        other = {1: 2, 2: 1}.get(index)
        if other is not None and lengths[other] is None:
            lengths[other] = lengths[index]
        self.stated.emit(tuple(lengths))


class _Length(QDoubleSpinBox):
    """A length without the zeros behind its last digit."""

    font_changed = Signal()

    def changeEvent(self, event: QEvent) -> None:
        """Tell of another font, which napari's style gives to fields alone."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self.font_changed.emit()

    def textFromValue(self, value: float) -> str:
        """Write a length."""
        return self.locale().toString(value, "g", 6)
