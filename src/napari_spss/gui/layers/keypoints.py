"""The keypoints and the Points layer that shows them; without a widget.

The table of rows is the truth. While there is a layer, the user edits it there, and the rows
follow; when the layer goes, they stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Points
from napari.utils.colormaps.standardize_color import transform_color

from ...core.annotations import Keypoint, last_on_pixel, match_class
from ...core.base import InputError
from ..models import CLASS_FEATURE, Row, Strays, as_class, class_column, follow_classes, make_rows
from .connections import Connections
from .keys import LayerKeys
from .results import MARK
from .source_frame import SourceFrame

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.utils.events import Event

    from ...core.annotations import ClassStyle

__all__ = ["KEYPOINTS_LAYER", "MARK", "KeypointLayer"]

KEYPOINTS_LAYER = "keypoints"
_SMALLEST_ON_SCREEN_PX = 7.0
_LARGEST_ON_SCREEN_PX = 10_000.0
_UNKNOWN_COLOUR = "#ffffff"
_TRANSFORM_EVENTS = ("scale", "translate", "rotate", "shear", "affine", "units")


class KeypointLayer:
    """Keypoints of one image, in an ordinary Points layer that is made or adopted.

    Parameters
    ----------
    viewer : ViewerModel
    on_change : callable
        Called without arguments when points, classes, the layer or its mode have changed.
    """

    def __init__(self, viewer: ViewerModel, on_change: Callable[[], None]) -> None:
        self._viewer = viewer
        self._on_change = on_change
        self._frame: SourceFrame | None = None
        self._styles: tuple[ClassStyle, ...] = ()
        self._rows: tuple[Row, ...] = ()
        self._layer: Points | None = None
        self._radius_px = 3.0
        self._active = 0
        self._is_writing = False
        self._follows_image = False
        self._was_removed = False
        self._keys = LayerKeys(viewer)
        self.refused_keys: tuple[str, ...] = ()
        self._layer_connections = Connections()
        self._frame_connections = Connections()
        self._viewer_connections = Connections()
        self._viewer_connections.connect(viewer.layers.events.removed, self._on_layer_removed)

    # ---- what the widget sets ---------------------------------------------------------------

    def close(self, *_: object) -> None:
        """Let go of the viewer and of the layer, which stays."""
        self._release()
        self._frame_connections.disconnect_all()
        self._viewer_connections.disconnect_all()

    def set_frame(self, frame: SourceFrame | None) -> None:
        """Point out the annotated image; the points keep their pixels.

        Without an image the last one stays the frame of reference.
        """
        if frame is None:
            return
        layer = self._layer
        is_other = self._frame is None or frame.layer is not self._frame.layer
        self._frame_connections.disconnect_all()
        self._frame = frame
        for name in _TRANSFORM_EVENTS:
            self._frame_connections.connect(getattr(frame.layer.events, name), self._on_image_moved)
        if layer is not None and is_other:
            rows = self._rows
            if layer.ndim != frame.ndim:
                self._release()
                self._viewer.layers.remove(layer)
            elif self._follows_image:
                frame.align(layer)
            self._rows = rows
            self._write()
        if self._layer is None and self._rows and not self._was_removed:
            self.show()
        self._changed()

    def set_styles(self, styles: Sequence[ClassStyle]) -> None:
        """Set the classes; renamed ones take their points along."""
        old = [style.name for style in self._styles]
        new = [style.name for style in styles]
        active = self._active
        self._styles = tuple(styles)
        if old and old != new:
            mapping = follow_classes(old, new)
            target = mapping[active] if active < len(mapping) else None
            active = min(active, len(new) - 1) if target is None else target
            names = {o: new[i] for o, i in zip(old, mapping, strict=True) if i is not None}
            self._rows = tuple(
                Row(row.z, row.y, row.x, names.get(row.name, row.name)) for row in self._rows
            )
        elif not old:
            active = min(1, len(new) - 1)
        self._active = max(active, 0)
        self._write()
        self._bind_keys()
        self._changed()

    def set_radius_px(self, radius_px: float) -> None:
        """Draw points as discs of this radius in pixels of the image."""
        self._radius_px = radius_px
        self._write_size()

    def set_slice_has_points(self, has_points: bool) -> None:
        """Keep points visible in large images; napari would draw one where there is none."""
        layer = self._layer
        if layer is not None and MARK in layer.metadata:
            smallest = _SMALLEST_ON_SCREEN_PX if has_points else 0.0
            if layer.canvas_size_limits != (smallest, _LARGEST_ON_SCREEN_PX):
                layer.canvas_size_limits = (smallest, _LARGEST_ON_SCREEN_PX)

    @property
    def active_class(self) -> int:
        """Class of the next point."""
        return self._active

    def set_active_class(self, index: int) -> None:
        """Choose the class of the next points; selected points in select mode get it as well."""
        if not 0 <= index < len(self._styles):
            return
        self._active = index
        layer = self._layer
        if layer is not None:
            selected = sorted(layer.selected_data)
            if layer.mode == "select" and selected:
                rows = list(self._rows)
                for i in selected:
                    rows[i] = Row(rows[i].z, rows[i].y, rows[i].x, self._styles[index].name)
                self._rows = tuple(rows)
            self._write_classes()
        self._changed()

    # ---- points -----------------------------------------------------------------------------

    def points(self) -> tuple[Keypoint, ...]:
        """Points in the image with a known class; of those on a pixel the last, which is on top."""
        return last_on_pixel(point for point in self._judged() if point is not None)

    def strays(self) -> Strays:
        """Points that are left out."""
        unknown = tuple(
            row.name for row in self._rows if match_class(row.name, self._names()) is None
        )
        if self._frame is None:
            return Strays(unknown=unknown)
        inside = self._frame.holds(self._positions())
        return Strays(int(np.count_nonzero(~inside)), unknown)

    def set_points(self, points: Iterable[Keypoint]) -> None:
        """Replace all points."""
        names = self._names()
        self._rows = tuple(
            Row(
                float(point.slice),
                float(point.y),
                float(point.x),
                names[point.class_index] if point.class_index < len(names) else "",
            )
            for point in points
        )
        if self._layer is None and self._frame is not None and self._rows:
            self._was_removed = False
            self.show()
        else:
            self._write()
        self._changed()

    def _judged(self) -> list[Keypoint | None]:
        names = self._names()
        inside = (
            np.ones(len(self._rows), bool)
            if self._frame is None
            else self._frame.holds(self._positions())
        )
        result: list[Keypoint | None] = []
        for row, is_inside in zip(self._rows, inside, strict=True):
            index = match_class(row.name, names)
            usable = is_inside and index is not None
            z = int(np.floor(row.z + 0.5)) if usable else 0
            result.append(Keypoint(z, row.y, row.x, index or 0) if usable else None)
        return result

    def _names(self) -> list[str]:
        return [style.name for style in self._styles]

    def _positions(self) -> np.ndarray:
        return np.array([(row.z, row.y, row.x) for row in self._rows], float).reshape(-1, 3)

    # ---- the layer --------------------------------------------------------------------------

    @property
    def layer(self) -> Points | None:
        """The layer that shows the points, if there is one."""
        return self._layer

    @property
    def was_removed(self) -> bool:
        """Whether the user deleted the layer while there were points."""
        return self._was_removed and bool(self._rows)

    def show(self) -> Points:
        """Return the layer, made anew if need be; the active layer stays active.

        Raises
        ------
        InputError
            If there is no image.
        """
        if self._layer is not None:
            return self._layer
        if self._frame is None:
            raise InputError("there is no image to put keypoints on; choose one first.")
        layer = Points(
            np.zeros((0, self._frame.ndim)),
            ndim=self._frame.ndim,
            name=KEYPOINTS_LAYER,
            metadata={MARK: {"role": KEYPOINTS_LAYER}},
            border_color="white",
            border_width=0.1,
            opacity=0.9,
            canvas_size_limits=(0, _LARGEST_ON_SCREEN_PX),
            **self._frame.geometry.layer_arguments(),
        )
        self._was_removed = False
        self._take(layer, follows_image=True)
        selection = self._viewer.layers.selection
        before = selection.active
        self._viewer.layers.append(layer)
        if before is not None:
            selection.active = before
        self._changed()
        return layer

    def start_anew(self) -> Points:
        """Make a layer; an adopted one before it keeps its points, which are used no more."""
        if self._layer is not None:
            self._release()
            self._rows = ()
        return self.show()

    def adopt(self, layer: Points) -> str:
        """Use another Points layer from now on; the points of the former one stay in that layer.

        Points that lost their layer are added to the new one. Points without a class get the
        active one.

        Returns
        -------
        str
            What was changed in the layer, for the user; empty if nothing was.

        Raises
        ------
        InputError
            If there is no image, or the layer has another number of axes.
        """
        if self._frame is None:
            raise InputError("there is no image to put keypoints on; choose one first.")
        if layer.ndim != self._frame.ndim:
            raise InputError(
                f"layer '{layer.name}' has {layer.ndim} axes, the image has {self._frame.ndim}; "
                "choose a layer of as many axes."
            )
        orphans = self._rows if self._layer is None else ()
        self._release()
        names = self._names()
        given = class_column(layer)
        active = names[self._active] if names else ""
        n_blank = given.count("")
        found = [as_class(name, names) or active for name in given]
        positions = self._frame.positions(layer.data, layer)
        self._rows = (*make_rows(positions, found), *orphans)
        self._was_removed = False
        self._take(layer, follows_image=self._frame.is_aligned(layer))
        self._changed()
        if n_blank == 1:
            return f"1 keypoint had no class; it is '{active}' now."
        return f"{n_blank} keypoints had no class; they are '{active}' now." if n_blank else ""

    def _take(self, layer: Points, *, follows_image: bool) -> None:
        self._layer = layer
        self._follows_image = follows_image
        self._write()
        connect = self._layer_connections.connect
        connect(layer.events.data, self._on_data)
        connect(layer.events.features, self._on_edited)
        connect(layer.events.set_data, self._on_pasted)
        connect(layer.events.feature_defaults, self._on_default_class)
        connect(layer.events.name, self._changed)
        connect(layer.events.mode, self._changed)
        for name in _TRANSFORM_EVENTS:
            connect(getattr(layer.events, name), self._on_edited)
        self._bind_keys()

    def _release(self) -> None:
        self._keys.unbind()
        self._layer_connections.disconnect_all()
        self._layer = None

    def _bind_keys(self) -> None:
        if self._layer is None:
            return
        self.refused_keys = self._keys.bind(
            self._layer,
            {
                style.key: partial(self.set_active_class, index)
                for index, style in enumerate(self._styles)
            },
        )

    # ---- rows to layer ----------------------------------------------------------------------

    def _write(self) -> None:
        """Make the layer show the rows."""
        layer, frame = self._layer, self._frame
        if layer is None or frame is None:
            return
        was_writing, self._is_writing = self._is_writing, True
        try:
            points = frame.place(self._positions(), layer)
            if points.shape != layer.data.shape or not np.array_equal(points, layer.data):
                layer.data = points
        finally:
            self._is_writing = was_writing
        self._write_classes()
        self._write_size()

    def _write_classes(self) -> None:
        """Make the layer's class column, default class and colours those of the rows."""
        layer = self._layer
        if layer is None or not self._styles:
            return
        import pandas as pd  # late, since the dock's opening makes no layer

        names = self._names()
        categories = list(dict.fromkeys([*names, *(row.name for row in self._rows)]))
        dtype = pd.CategoricalDtype(categories)
        was_writing, self._is_writing = self._is_writing, True
        try:
            table = layer.features.copy()
            defaults = layer.feature_defaults.copy()
            column = pd.Series([row.name for row in self._rows], dtype=dtype, index=table.index)
            if not (CLASS_FEATURE in table and table[CLASS_FEATURE].equals(column)):
                table[CLASS_FEATURE] = column
                layer.features = table
            defaults[CLASS_FEATURE] = pd.Series([names[self._active]], dtype=dtype)
            if not defaults.equals(layer.feature_defaults):
                layer.feature_defaults = defaults[list(layer.features.columns)]
            self._write_colours()
        finally:
            self._is_writing = was_writing

    def _write_colours(self) -> None:
        """Colour the points, and the next one, by class.

        Not by napari's cycle over the feature: it fails for a column with missing values.
        """
        layer, names = self._layer, self._names()
        if layer is None:
            return
        colours = {name: style.colour for name, style in zip(names, self._styles, strict=True)}
        if self._rows:
            wanted = transform_color([colours.get(row.name, _UNKNOWN_COLOUR) for row in self._rows])
            if not np.allclose(layer.face_color, wanted):
                layer.face_color = wanted
        with layer.block_update_properties():  # or selected points would get it as well
            layer.current_face_color = colours[names[self._active]]

    def _write_size(self) -> None:
        layer, frame = self._layer, self._frame
        if layer is None or frame is None:
            return
        # napari measures sizes in units of the layer's last axis
        per_pixel = abs(frame.layer.scale[-1] / layer.scale[-1])
        size = (2 * self._radius_px + 1) * per_pixel
        with layer.block_update_properties():  # or it would be the size of selected points only
            layer.current_size = float(size)
        layer.size = size

    # ---- layer to rows ----------------------------------------------------------------------

    def _read(self) -> None:
        """Make the rows those of the layer."""
        layer, frame = self._layer, self._frame
        if layer is None or frame is None or self._is_writing:
            return
        names = self._names()
        given = class_column(layer)
        if CLASS_FEATURE not in layer.features and len(given) == len(self._rows):
            given = [row.name for row in self._rows]  # the user deleted the column, not the points
        found = [as_class(name, names) for name in given]
        positions = frame.positions(layer.data, layer)
        rows = make_rows(positions, found)
        if rows == self._rows and CLASS_FEATURE in layer.features:
            return
        self._rows = rows
        self._write_classes()
        self._changed()

    def _on_data(self, event: Event) -> None:
        if str(event.action) in ("added", "removed", "changed"):
            self._read()

    def _on_edited(self) -> None:
        self._read()

    def _on_pasted(self) -> None:
        # Pasting points emits no data event, only this one, which any refresh emits.
        layer = self._layer
        if layer is not None and len(layer.data) != len(self._rows):
            self._read()

    def _on_default_class(self) -> None:
        """Follow napari, which makes the class of a selected point the next point's class."""
        layer = self._layer
        if layer is None or self._is_writing or CLASS_FEATURE not in layer.feature_defaults:
            return
        column = layer.feature_defaults[CLASS_FEATURE]
        index = match_class(str(column.iloc[0]), self._names())
        if index is not None:
            self._active = index
        # napari makes the default plain text, and the next point would make the column so
        self._write_classes()
        self._changed()

    def _on_layer_removed(self, event: Any) -> None:
        if event.value is self._layer:
            self._release()
            self._was_removed = True
            self._changed()

    def _on_image_moved(self) -> None:
        layer, frame = self._layer, self._frame
        if layer is None or frame is None:
            return
        if self._follows_image:
            was_writing, self._is_writing = self._is_writing, True
            try:
                frame.align(layer)
            finally:
                self._is_writing = was_writing
        self._read()

    def _changed(self, *_: object) -> None:
        self._on_change()
