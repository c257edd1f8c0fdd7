"""The keypoints and the Points layer that shows them; without a widget.

The table of rows is the truth. While there is a layer, the user edits it there, and the rows
follow; when the layer goes, they stay.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Points
from napari.utils.colormaps.standardize_color import transform_color
from numpy.typing import NDArray

from ...core.annotations import Keypoint, last_on_pixel, match_class
from ...core.base import InputError
from ..models import (
    CLASS_FEATURE,
    History,
    LeftHistories,
    Rows,
    Strays,
    class_column,
    follow_classes,
)
from .keys import REDO_KEY, UNDO_KEY
from .own import OwnLayer, layer_mark, put_data
from .source_frame import SourceFrame

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer
    from napari.utils.events import Event

    from ...core.annotations import ClassStyle

KEYPOINTS_LAYER = "keypoints"
_SMALLEST_ON_SCREEN_PX = 7.0
_LARGEST_ON_SCREEN_PX = 10_000.0
_BORDER = 0.2  # of the size
_UNKNOWN_COLOUR = "#ffffff"
_BACKGROUND_FACE = (0.0, 0.0, 0.0, 0.55)  # a grey ring alone is not seen on a grey image
_PLAIN, _DENIED = "disc", "x"  # symbols; a cross, for the map shows another class there
_CROSS_SIZE = 1.3  # of a disc's
_MAX_STEPS = 100  # each keeps all positions

_Change = tuple[None, Rows, Rows]  # nothing, before, after


class KeypointLayer(OwnLayer):
    """Keypoints of one image, in an ordinary Points layer that is made or adopted.

    They are rings, so that a small object is seen through its keypoint; the background's are dark
    within. Those that a map denies are crosses. ``on_change`` is called when points, classes, the
    layer or its mode have changed.
    """

    def __init__(self, viewer: ViewerModel, on_change: Callable[[], None]) -> None:
        super().__init__(viewer, KEYPOINTS_LAYER)
        self._on_change, self._on_removed = on_change, self._changed
        self._styles: tuple[ClassStyle, ...] = ()
        self._rows = Rows()
        self._points: tuple[Keypoint, ...] | None = ()  # None while it has to be made anew
        self._denied: frozenset[Keypoint] = frozenset()
        self._has_crosses = False
        self._history = History(self._put, _MAX_STEPS)
        self._left: LeftHistories[Rows] = LeftHistories()
        self._radius_px = 3.0
        self.active_class = 0  # of the next point
        self._is_dragging = self._is_moving = False
        self._follows_image = True
        self.refused_keys: tuple[str, ...] = ()

    # ---- what the widget sets ---------------------------------------------------------------

    def set_frame(self, frame: SourceFrame) -> None:
        """Point out the annotated image; the points keep their pixels."""
        layer = self._layer
        is_other = self._frame is None or frame.layer is not self._frame.layer
        self._follow(frame)
        if layer is not None and (is_other or layer.ndim != frame.ndim):
            rows = self._rows
            if layer.ndim != frame.ndim:
                self.hide()
            elif self._follows_image:
                frame.align(layer)
            self._rows = rows
            self._history.clear()
            self._write()
            self._write_size()
        if self._layer is None and self._rows and not self.was_removed:
            self.show()
        self._changed()

    def set_styles(self, styles: Sequence[ClassStyle]) -> None:
        """Set the classes; renamed ones take their points along."""
        old = [style.name for style in self._styles]
        new = [style.name for style in styles]
        active = self.active_class
        self._styles = tuple(styles)
        if old and old != new:
            mapping = follow_classes(old, new)
            target = mapping[active] if active < len(mapping) else None
            active = min(active, len(new) - 1) if target is None else target
            names = {o: new[i] for o, i in zip(old, mapping, strict=True) if i is not None}
            self._rows = self._rows.renamed(names)
            self._history.clear()
        elif not old:
            active = min(1, len(new) - 1)
        self.active_class = max(active, 0)
        self._write()
        self._bind_keys()
        self._changed()

    def set_radius_px(self, radius_px: float) -> None:
        """Draw points as rings of this radius in pixels of the image."""
        self._radius_px = radius_px
        self._write_size()

    def set_slice_has_points(self, has_points: bool) -> None:
        """Keep points visible in large images; napari would draw one where there is none."""
        layer = self._layer
        if layer is not None and layer_mark(layer):
            smallest = _SMALLEST_ON_SCREEN_PX if has_points else 0.0
            if layer.canvas_size_limits != (smallest, _LARGEST_ON_SCREEN_PX):
                layer.canvas_size_limits = (smallest, _LARGEST_ON_SCREEN_PX)

    def set_active_class(self, index: int) -> None:
        """Choose the class of the next points; selected points in select mode get it as well."""
        if not 0 <= index < len(self._styles):
            return
        self.active_class = index
        layer = self._layer
        if layer is not None:
            selected = sorted(layer.selected_data)
            if layer.mode == "select" and selected:
                names = list(self._rows.names)
                for i in selected:
                    names[i] = self._styles[index].name
                self._edit(Rows(self._rows.positions, tuple(names)))
            self._write_classes()
        self._changed()

    # ---- points -----------------------------------------------------------------------------

    def points(self) -> tuple[Keypoint, ...]:
        """Points in the image with a known class; of those on a pixel the last, which is on top."""
        if self._points is None:
            indices = self._rows.class_indices(self._names())
            usable = self._inside() & (indices >= 0)
            z, y, x = self._rows.positions[usable].T
            slices = np.floor(z + 0.5).astype(int)
            columns = (values.tolist() for values in (slices, y, x, indices[usable]))
            self._points = last_on_pixel(map(Keypoint, *columns))
        return self._points

    def strays(self) -> Strays:
        """Points that are left out."""
        indices = self._rows.class_indices(self._names())
        unknown = tuple(self._rows.names[i] for i in np.flatnonzero(indices < 0))
        return Strays(int(np.count_nonzero(~self._inside())), unknown)

    def set_points(self, points: Iterable[Keypoint]) -> None:
        """Replace all points, and forget what could be taken back.

        It comes back with the points of an image that was left.
        """
        left = self._rows, self._history
        names = self._names()
        given = tuple(points)
        positions = np.array([(one.slice, one.y, one.x) for one in given], float).reshape(-1, 3)
        known = (one.class_index for one in given)
        self._rows = Rows(positions, tuple(names[i] if i < len(names) else "" for i in known))
        self._history = History(self._put, _MAX_STEPS)
        if self._frame is not None:
            now = self._rows, self._history
            self._history = self._left.exchange(self._frame.layer, left, now)
        self._denied = frozenset()
        if self._layer is None and self._frame is not None and len(self._rows):
            self.show()
        else:
            self._write()
        self._changed()

    def set_denied(self, points: Iterable[Keypoint]) -> None:
        """Mark keypoints where a map shows another class; of those before, none stays marked."""
        self._denied = frozenset(points)
        self._write_classes()
        self._changed()

    def denied(self) -> tuple[Keypoint, ...]:
        """Keypoints that are marked so, as far as they are still there."""
        return tuple(point for point in self.points() if point in self._denied)

    def undo(self) -> None:
        """Take the last edit back, and show where."""
        self._go_to(self._history.take_back())

    def redo(self) -> None:
        """Repeat the edit that was last taken back, and show where."""
        self._go_to(self._history.repeat())

    def _edit(self, rows: Rows) -> None:
        """Have other rows, as a step that can be taken back."""
        self._history.do((None, self._rows, rows), joins=self._is_moving)
        self._is_moving = self._is_dragging

    def _put(self, change: _Change, is_back: bool) -> None:
        _, before, after = change
        self._rows = before if is_back else after
        self._write()
        self._changed()

    def _go_to(self, changes: tuple[_Change, ...]) -> None:
        """Show a slice on which keypoints changed, unless the shown one is such."""
        if self._frame is None or not changes:
            return
        before, after = (rows.as_set() for rows in changes[0][1:])
        slices = sorted({int(np.floor(z + 0.5)) for z, *_ in before ^ after})
        if slices and self._frame.current_slice(self._viewer) not in slices:
            self._frame.go_to(self._viewer, slices[0])

    def _inside(self) -> NDArray[np.bool_]:
        """Whether each row lies in the image."""
        if self._frame is None:
            return np.ones(len(self._rows), bool)
        return self._frame.holds(self._rows.positions)

    def _names(self) -> list[str]:
        return [style.name for style in self._styles]

    # ---- the layer --------------------------------------------------------------------------

    @property
    def lost_layer(self) -> bool:
        """Whether the user deleted the layer while there were points."""
        return self.was_removed and len(self._rows) > 0

    def show(self) -> Points:
        """Return the layer, made anew if need be; the active layer stays active.

        InputError if there is no image.
        """
        if self._layer is not None:
            return self._layer
        if self._frame is None:
            raise InputError("there is no image to put keypoints on; choose one first.")
        self.revive()
        self._ensure_layer()
        self._changed()
        return self._layer

    def _make(self, **arguments: Any) -> Layer:
        return Points(opacity=1.0, canvas_size_limits=(0, _LARGEST_ON_SCREEN_PX), **arguments)

    def _is_left(self, layer: Points) -> bool:
        """Whether a layer that was left over shows the rows, or nothing."""
        if self._frame is None or not len(layer.data):
            return self._frame is not None
        positions = self._frame.positions(layer.data, layer)
        return self._rows == Rows(positions, class_column(layer, self._names()))

    def start_anew(self) -> Points:
        """Make a layer; an adopted one before it keeps its points, which are used no more."""
        if self._layer is not None:
            self._release()
            self._rows = Rows()
            self._history.clear()
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
        orphans = self._rows if self._layer is None else Rows()
        self._release()
        names = self._names()
        given = class_column(layer, names)
        active = names[self.active_class] if names else ""
        n_blank = given.count("")
        positions = self._frame.positions(layer.data, layer)
        self._rows = Rows(
            np.concatenate([positions, orphans.positions]),
            (*(name or active for name in given), *orphans.names),
        )
        self._history.clear()
        self.revive()
        self._take(layer)
        self._follows_image = self._frame.is_aligned(layer)
        self._changed()
        if n_blank == 1:
            return f"1 keypoint had no class; it is '{active}' now."
        return f"{n_blank} keypoints had no class; they are '{active}' now." if n_blank else ""

    def _take(self, layer: Points) -> None:
        super()._take(layer)
        self._write()
        self._write_size()
        connect = self._layer_connections.connect
        connect(layer.events.data, self._on_data)
        connect(layer.events.features, self._read)
        connect(layer.events.set_data, self._on_pasted)
        connect(layer.events.feature_defaults, self._on_default_class)
        connect(layer.events.name, self._changed)
        connect(layer.events.mode, self._changed)
        self._layer_connections.connect_moves(layer, self._read)
        layer.mouse_drag_callbacks.append(self._on_drag)
        self._bind_keys()

    def _release(self) -> None:
        if self._layer is not None:
            self._layer.mouse_drag_callbacks.remove(self._on_drag)
        super()._release()
        self._follows_image = True

    def _bind_keys(self) -> None:
        if self._layer is None:
            return
        self.refused_keys = self.bind_keys(
            {UNDO_KEY: self.undo, REDO_KEY: self.redo}
            | {
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
        with self._writing():
            if not np.array_equal(frame.positions(layer.data, layer), self._rows.positions):
                layer.selected_data = set()
                put_data(layer, frame.place(self._rows.positions, layer))
                self._write_size()
        self._write_classes()

    def _write_classes(self) -> None:
        """Make the layer's class column, default class and colours those of the rows."""
        layer = self._layer
        if layer is None or not self._styles:
            return
        import pandas as pd  # late, since the dock's opening makes no layer

        names = self._names()
        categories = list(dict.fromkeys([*names, *self._rows.names]))
        dtype = pd.CategoricalDtype(categories)
        with self._writing():
            table = layer.features.copy()
            defaults = layer.feature_defaults.copy()
            column = pd.Series(list(self._rows.names), dtype=dtype, index=table.index)
            if not (CLASS_FEATURE in table and table[CLASS_FEATURE].equals(column)):
                table[CLASS_FEATURE] = column
                layer.features = table
            defaults[CLASS_FEATURE] = pd.Series([names[self.active_class]], dtype=dtype)
            if not defaults.equals(layer.feature_defaults):
                layer.feature_defaults = defaults[list(layer.features.columns)]
            self._write_colours()
            self._write_crosses()

    def _write_crosses(self) -> None:
        """Make crosses of denied points; an adopted layer keeps its other symbols."""
        layer = self._layer
        if layer is None or not (self._denied or self._has_crosses):
            return
        symbols = [
            _DENIED if is_denied else _PLAIN if str(symbol) == _DENIED else str(symbol)
            for is_denied, symbol in zip(self._are_denied(), layer.symbol, strict=True)
        ]
        layer.symbol = symbols
        self._has_crosses = _DENIED in symbols
        self._write_size()

    def _are_denied(self) -> NDArray[np.bool_]:
        """Whether a map shows another class than that of each row."""
        if not self._denied:
            return np.zeros(len(self._rows), bool)
        denied = {(one.slice, one.y, one.x, one.class_index) for one in self._denied}
        z, y, x = self._rows.positions.T
        columns = (np.floor(z + 0.5), y, x, self._rows.class_indices(self._names()))
        places = zip(*(column.tolist() for column in columns), strict=True)
        return np.array([place in denied for place in places], bool)

    def _write_colours(self) -> None:
        """Colour the points, and the next one, by class.

        Not by napari's cycle over the feature: it fails for a column with missing values.
        """
        layer, names = self._layer, self._names()
        if layer is None:
            return
        table = transform_color([*(style.colour for style in self._styles), _UNKNOWN_COLOUR])
        faces = np.zeros_like(table)
        faces[0] = _BACKGROUND_FACE
        if len(self._rows):
            indices = self._rows.class_indices(names)  # -1, unknown, is the last one
            are_denied = self._are_denied()[:, None]
            borders = np.where(are_denied, table[-1], table[indices])
            within = np.where(are_denied, table[indices], faces[indices])
            for name, wanted in (("border_color", borders), ("face_color", within)):
                if not np.allclose(getattr(layer, name), wanted):
                    setattr(layer, name, wanted)
        with layer.block_update_properties():  # or selected points would get it as well
            layer.current_border_color = table[self.active_class]
            layer.current_face_color = faces[self.active_class]

    def _write_size(self) -> None:
        layer, frame = self._layer, self._frame
        if layer is None or frame is None:
            return
        # napari measures sizes in units of the layer's last axis
        per_pixel = abs(frame.layer.scale[-1] / layer.scale[-1])
        size = (2 * self._radius_px + 1) * per_pixel
        with layer.block_update_properties():  # or it would be the size of selected points only
            layer.current_size = float(size)
            layer.current_border_width = _BORDER
        layer.size = size * np.where(self._are_denied(), _CROSS_SIZE, 1.0) if self._rows else size
        layer.border_width = _BORDER

    # ---- layer to rows ----------------------------------------------------------------------

    def _read(self) -> None:
        """Make the rows those of the layer."""
        layer, frame = self._layer, self._frame
        if layer is None or frame is None or self._is_writing:
            return
        names = class_column(layer, self._names())
        if CLASS_FEATURE not in layer.features and len(names) == len(self._rows):
            names = self._rows.names  # the user deleted the column, not the points
        rows = Rows(frame.positions(layer.data, layer), names)
        if rows != self._rows:
            self._edit(rows)
        elif CLASS_FEATURE not in layer.features:
            self._write_classes()

    def _on_data(self, event: Event) -> None:
        if str(event.action) in ("added", "removed", "changed"):
            self._read()

    def _on_drag(self, layer: Points, event: Event) -> Generator[None, None, None]:
        """Make one step of all moves from a press to its release."""
        self._is_dragging, self._is_moving = True, False
        try:
            yield
            while event.type == "mouse_move":
                yield
        finally:
            self._is_dragging = self._is_moving = False

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
        before = self.active_class
        self.active_class = before if index is None else index
        # napari makes the default plain text, and the next point would make the column so
        self._write_classes()
        if self.active_class != before:
            self._changed()

    def _on_image_moved(self) -> None:
        layer, frame = self._layer, self._frame
        if layer is None or frame is None:
            return
        if self._follows_image:
            with self._writing():
                frame.align(layer)
        before = self._rows
        self._read()
        if self._rows is not before:  # the user moved the image, not the points
            self._history.clear()

    def _changed(self, *_: object) -> None:
        self._points = None
        self._on_change()
