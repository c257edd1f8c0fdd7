"""The only file that touches napari's image and result layers: snapshot in, results out.

A snapshot is taken on the GUI thread before a run; from then on the run needs no layer, so that
the user may delete, rename or replace the image meanwhile. Results go into layers that are found
again by a mark in their metadata and are updated in place, at the place of the source.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
import numpy.typing as npt
from napari.experimental import link_layers
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import Colormap
from napari.utils.colormaps.standardize_color import transform_color

from ...core.base import check_room, in_parts, scratch_zeros, write_into
from .colours import label_colours
from .geometry import Geometry, full_resolution, plane_index, voxel_size_um
from .own import MARK, layer_mark, name_values, painted_slices

if TYPE_CHECKING:
    from napari.viewer import Viewer
    from pandas import DataFrame

    from ...core.annotations import ClassStyle
    from ...core.base import Preview
    from ...core.images import Stack
    from ..models import Cleaning, ResultMaps

_PREVIEW = "preview"
_COMPARED = ("compared labels in use", "compared labels")
_LONGEST_NAME = 24  # fits into the layer list; napari cuts the middle out of longer ones
_SHORTEST_NAME = 6  # of the image, cut
_SHORTEST_WHOLE = 8  # of the image: cutting fewer would save nothing
_ROOM_IN_FRONT = 10  # that the image's name needs to stand in front of a role
_keys: WeakKeyDictionary[Layer, int] = WeakKeyDictionary()
_next_key = itertools.count(1)
_snapshots: WeakKeyDictionary[Layer, Source] = WeakKeyDictionary()  # the last one of each
_made: WeakSet[Layer] = WeakSet()  # here; a copy, which has the same mark, is the user's


@dataclass(frozen=True)
class Source:
    """An image as it was when it was looked at; no layer inside."""

    key: int  # the same for every snapshot of one layer, whatever its name
    name: str  # of the layer, from which the results take theirs
    path: str | None  # file it was read from
    stack: Stack  # the image as the core reads it: lazily, at full resolution
    geometry: Geometry  # where it lies
    pixels: Any = field(default=None, repr=False, compare=False)  # what the layer holds

    @property
    def identity(self) -> str:
        """What the pixels have of their own; the first call reads some of them."""
        # no cached_property: before Python 3.12 all images wait for the one that is read
        known: str = vars(self).get("_identity") or self.stack.identity()
        vars(self)["_identity"] = known
        return known

    @property
    def image_id(self) -> tuple[int, str]:
        """The layer's key and the identity: the image is another one when either is."""
        return self.key, self.identity

    @property
    def is_at_hand(self) -> bool:
        """Whether the identity is known, or found at once: pixels in memory take no time."""
        return "_identity" in vars(self) or type(self.pixels) is np.ndarray


def snapshot(layer: Image) -> Source:
    """Describe an image layer for the core; no pixels are read.

    InputError if the layer's axes or data type cannot be used.
    """
    from ...core.images import stack_from_array

    geometry = Geometry.of(layer)
    path = layer.source.path
    pixels = full_resolution(layer)
    stack = stack_from_array(
        pixels,
        axes=geometry.stack_axes + ("S" if layer.rgb else ""),
        voxel_size_um=voxel_size_um(geometry),
        source=str(path or layer.name),
    )
    key = _keys.setdefault(layer, next(_next_key))
    source = Source(key, layer.name, None if path is None else str(path), stack, geometry, pixels)
    before = _snapshots.get(layer)
    _snapshots[layer] = source
    if (
        before is not None
        and before.is_at_hand
        and before.pixels is pixels
        and before.geometry.axes == geometry.axes
        and not source.is_at_hand
    ):
        vars(source)["_identity"] = before.identity  # such as of an image with another scale
    return source


class ResultLayers:
    """Layers of previews and results in a viewer.

    Each is marked in its metadata with its role and its source. One that the user deleted is made
    anew with the next result; labels that the user edited, and copies that the user made, are left
    alone. Of the labels of an image those are shown that are written; one that the user shows again
    stays.

    Parameters
    ----------
    viewer : Viewer
    say : callable, optional
        Called with what the user should know.
    on_edit : callable, optional
        Called with labels that the user edits, and the slices; None for all. With no slices where
        edited ones are drawn again: napari tells no more of what is taken back.
    """

    def __init__(
        self,
        viewer: Viewer,
        say: Callable[[str], None] = lambda text: None,
        *,
        on_edit: Callable[[Layer, set[int] | None], None] = lambda layer, slices: None,
    ) -> None:
        self._viewer = viewer
        self.say = say
        self._on_edit = on_edit
        self._hidden: WeakSet[Layer] = WeakSet()  # by us; the user may have shown them again
        self._away: WeakSet[Layer] = WeakSet()  # previews of images that are not chosen
        self._checksums: WeakKeyDictionary[Layer, dict[int, int]] = WeakKeyDictionary()
        self._is_writing = False
        self._aside: list[Layer] = []

    def show_preview(
        self, source: Source, preview: Preview, styles: Sequence[ClassStyle], cleaning: Cleaning
    ) -> list[Layer]:
        """Show maps and labels of one slice at working scale, in place of the last preview.

        The cleaning is stated in pixels of the image.
        """
        place = source.geometry.layer_arguments(
            reduction=preview.reduction, first_slice=preview.slice
        )
        layer = self._find(source, f"{_PREVIEW} labels")
        if isinstance(layer, Labels) and self.is_edited(layer):
            self._release(layer)
        expand = source.geometry.expand
        shown: list[Layer] = [
            self._show_map(source, f"{_PREVIEW} {style.name}", expand(values[None]), place, style)
            for style, values in zip(styles[1:], preview.probs[1:], strict=False)
        ]
        labels = expand(cleaning.at_scale(preview.reduction).apply(preview.probs)[None])
        shown.append(
            self._show_labels(source, f"{_PREVIEW} labels", labels, place, styles, contour=1)
        )
        self._checksums[shown[-1]] = {0: _checksum(source.geometry.plane(labels, 0))}
        self.show_alone(shown[-1])
        return shown

    def show_alone(self, *labels: Layer | None) -> None:
        """Show labels of an image, and hide all others of it."""
        shown = [one for one in labels if one is not None]
        if not shown:
            return
        for one in shown:
            if one in self._hidden and not one.visible:
                one.visible = True
                self._hidden.discard(one)
        source = layer_mark(shown[0]).get("source")
        for layer in {*self._viewer.layers} - {*shown, *self._hidden}:
            is_of_image = isinstance(layer, Labels) and layer_mark(layer).get("source") == source
            if is_of_image and layer.visible:
                layer.visible = False
                self._hidden.add(layer)

    def set_aside(self, source: Source | None, is_aside: bool) -> bool:
        """Hide all results of an image, lest they lead who counts, or show them.

        Return whether any are hidden.
        """
        if not is_aside:
            aside, self._aside = self._aside, []
            for layer in aside:
                layer.visible = True
            return False
        key = None if source is None else source.key
        found = [one for one in self._viewer.layers if layer_mark(one).get("source") == key]
        self._aside += [one for one in found if one.visible and source is not None]
        for layer in self._aside:
            layer.visible = False
        return bool(self._aside)

    def show_pair(
        self, source: Source, names: tuple[str, str], styles: Sequence[ClassStyle]
    ) -> tuple[Labels, Labels]:
        """Return empty labels layers of two runs: the first filled, the other in outline.

        The class that is shown alone is the same in both.
        """
        place = source.geometry.layer_arguments()
        shape = source.geometry.expand(np.empty(source.geometry.stack_shape, np.bool_)).shape
        for role in _COMPARED:
            if (layer := self._find(source, role)) is not None:
                self._take_away(layer)
        one, other = (
            self._show_labels(
                source, role, scratch_zeros(shape, np.uint8), place, styles, contour=width
            )
            for role, width in zip(_COMPARED, (0, 2), strict=True)
        )
        for layer, name in ((one, names[0]), (other, names[1])):
            layer.name = name
        link_layers([one, other], ("show_selected_label", "selected_label"))
        self.show_alone(one, other)
        return one, other

    def show_previews_of(self, source: Source | None) -> None:
        """Put the previews of other images out of sight, until their image is chosen again."""
        for layer in self._viewer.layers:
            mark = layer_mark(layer)
            if not str(mark.get("role", "")).startswith(_PREVIEW):
                continue
            is_here = source is not None and mark.get("source") == source.key
            if is_here and layer in self._away:
                layer.visible = True
                self._away.discard(layer)
            elif not is_here and layer.visible:
                layer.visible = False
                self._away.add(layer)

    def hide_results_on(self, key: int) -> bool:
        """Hide what was made of an image layer's pixels before; return whether there was any."""
        found = [
            layer
            for layer in self._viewer.layers
            if layer in _made and layer_mark(layer).get("source") == key and layer.visible
        ]
        for layer in found:
            layer.visible = False
        self._hidden.update(found)
        return bool(found)

    def remove_preview(self) -> None:
        """Take the preview away, but not labels that the user edited."""
        for layer in list(self._viewer.layers):
            if layer in _made and str(layer_mark(layer).get("role", "")).startswith(_PREVIEW):
                self._take_away(layer)

    def take_away(self, layers: Iterable[Layer]) -> None:
        """Take those layers away that are still in the viewer, but not labels that were edited."""
        for layer in layers:
            if layer in self._viewer.layers:
                self._take_away(layer)

    def _take_away(self, layer: Layer) -> None:
        if isinstance(layer, Labels) and self.is_edited(layer):
            self._release(layer)
        else:
            self._viewer.layers.remove(layer)

    def show_maps(
        self, source: Source, maps: ResultMaps, styles: Sequence[ClassStyle]
    ) -> list[Image]:
        """Show a probability layer per class but the background; they share the maps' memory."""
        place = source.geometry.layer_arguments()
        return [
            self._show_map(
                source,
                f"{style.name} probability",
                source.geometry.expand(values),
                place,
                style,
                is_visible=False,
            )
            for style, values in zip(styles[1:], maps.maps, strict=False)
        ]

    def show_labels(
        self, source: Source, styles: Sequence[ClassStyle], *, is_fresh: bool = False
    ) -> Labels:
        """Return the labels layer of a result, new if there is none or if the user edited it.

        With ``is_fresh`` labels that are not edited start from nothing.
        """
        place = source.geometry.layer_arguments()
        layer = self._find(source, "labels")
        shape = source.geometry.expand(np.empty(source.geometry.stack_shape, np.bool_)).shape
        if isinstance(layer, Labels) and layer_mark(layer).get("is_edited"):
            self._release(layer)
            layer = None
        is_usable = not is_fresh and isinstance(layer, Labels) and layer.data.shape == shape
        data = layer.data if is_usable and layer is not None else scratch_zeros(shape, np.uint8)
        if is_fresh and layer is not None:
            self._checksums.pop(layer, None)
        return self._show_labels(source, "labels", data, place, styles)

    def show_objects(
        self,
        source: Source,
        class_name: str,
        instances: npt.NDArray[np.int32],
        table: DataFrame,
        *,
        replaces: bool = False,
    ) -> Labels:
        """Show objects of a class of an image with their table, and no other labels.

        The layer shares the memory of their numbers (Z, Y, X). The table has a row per number, in
        the column ``object``. They replace objects that somebody painted, or else stay beside them.
        """
        role = f"{class_name} objects"
        place, values = source.geometry.layer_arguments(), source.geometry.expand(instances)
        layer = self._find(source, role)
        if isinstance(layer, Labels) and _is_view(layer.data, values):
            layer.refresh()
        elif isinstance(layer, Labels) and (
            replaces or not self.is_edited(layer) or np.array_equal(layer.data, values)
        ):
            self._update(layer, values, place)
            layer.metadata[MARK]["is_edited"] = False
        else:
            if isinstance(layer, Labels):
                self._release(layer)
                with layer.events.data.blocker():
                    layer.data = layer.data.copy()  # it may show a part of them
            layer = Labels(values, **place)
            self._insert(source, role, layer)
        layer.features = table.rename(columns={"object": "index"})
        self.show_alone(layer)
        self._viewer.layers.selection.active = layer  # a click on an object is to choose it
        return layer

    def write_labels(
        self, layer: Labels, source: Source, z: int, values: npt.NDArray[np.uint8]
    ) -> bool:
        """Write one slice's labels in place; the caller refreshes when it has written all.

        Returns False, and writes nothing, if the user edited the layer: `show_labels` then gives
        another one. Raises RunError if there is no room for it on the disk.
        """
        if self.is_edited(layer, z):
            layer.metadata[MARK]["is_edited"] = True
            return False
        check_room(layer.data, values.size)
        plane, found = source.geometry.plane(layer.data, z), 0
        for part, new in in_parts(plane, values):
            write_into(part, new)
            found = _checksum(new, found)
        self._checksums.setdefault(layer, {})[z] = found
        return True

    def is_writable(self, layer: Labels) -> bool:
        """Whether labels are in the viewer, and as they were written."""
        return layer in self._viewer.layers and not layer_mark(layer).get("is_edited")

    def slice_of(self, source: Source) -> int:
        """Slice of an image that the viewer shows."""
        return source.geometry.slice_at(self._viewer.dims.point)

    def is_seen(self, z: int, current: int) -> bool:
        """Whether a slice is on the screen while this one is the current one."""
        return z == current or self._viewer.dims.ndisplay > 2

    def is_edited(self, layer: Labels, z: int | None = None) -> bool:
        """Whether labels were changed since they were written here.

        Looks at napari's edit events and, for changes made in code, at the content: of one slice
        or, without ``z``, of all slices that were written.
        """
        mark = layer_mark(layer)
        if mark.get("is_edited"):
            return True
        checksums = self._checksums.get(layer, {})
        wanted = checksums.items() if z is None else [(z, checksums[z])] if z in checksums else []
        axes: str = mark.get("axes", "ZYX")
        return any(
            _checksum(layer.data[plane_index(axes, index)]) != value for index, value in wanted
        )

    def follow(self, before: Source, after: Source) -> None:
        """Put previews and results of an image where it lies now."""
        old, new = before.geometry, after.geometry
        ratio = new.scale / old.scale
        for layer in self._viewer.layers:
            if layer_mark(layer).get("source") == after.key and layer.ndim == len(ratio):
                layer.units, layer.scale = new.units, layer.scale * ratio
                layer.translate = new.moved(layer.translate, old)
                layer.rotate, layer.shear, layer.affine = new.rotate, new.shear, new.affine

    def note_origin(self, layers: Iterable[Layer], origin: Mapping[str, Any]) -> None:
        """Keep in the metadata of layers where they come from, see `origin_of`."""
        for layer in layers:
            layer.metadata[MARK] = {**layer_mark(layer), "made_by": dict(origin)}

    def has_preview(self, source: Source) -> bool:
        """Whether a preview of an image is in the viewer."""
        return self._find(source, f"{_PREVIEW} labels") is not None

    def is_in_viewer(self, key: int) -> bool:
        """Whether the layer of a source is in the viewer."""
        return any(_keys.get(layer) == key for layer in self._viewer.layers)

    def _find(self, source: Source, role: str) -> Layer | None:
        for layer in self._viewer.layers:
            mark = layer_mark(layer)
            is_it = mark.get("role") == role and mark.get("source") == source.key
            if is_it and layer in _made:
                found: Layer = layer
                return found
        return None

    def rename(self, source: Source, names: Mapping[str, str]) -> None:
        """Let the layers of maps and objects follow classes that have other names by now."""
        kinds = ("probability", "objects")
        roles = {f"{was} {kind}": f"{names[was]} {kind}" for was in names for kind in kinds}
        for layer in self._viewer.layers:
            role = layer_mark(layer).get("role", "")
            if role in roles and layer_mark(layer).get("source") == source.key:
                layer.metadata[MARK] = {**layer_mark(layer), "role": roles[role]}
                layer.name = layer.name.replace(role, roles[role])

    def let_go(self, layer: Labels) -> None:
        """Leave a layer to the user; what is shown later is shown beside it."""
        if layer in self._viewer.layers:
            self._release(layer)

    def _release(self, layer: Labels) -> None:
        layer.metadata[MARK] = {**layer_mark(layer), "role": "kept", "is_edited": True}
        self._checksums.pop(layer, None)
        layer.name = f"{layer.name} edited"
        self.say(f"Your edits are kept in the layer '{layer.name}'; new labels are made beside it.")

    def _show_map(
        self,
        source: Source,
        role: str,
        values: npt.NDArray[np.floating],
        place: dict[str, Any],
        style: ClassStyle,
        *,
        is_visible: bool = True,
    ) -> Image:
        layer = self._find(source, role)
        if isinstance(layer, Image):
            self._update(layer, values, place)
            _set_colours(layer, _map_colours(style))
            return layer
        layer = Image(
            values,
            colormap=_map_colours(style),
            contrast_limits=(0.0, 1.0),
            blending="translucent",
            opacity=0.6,
            visible=is_visible,
            **place,
        )
        self._insert(source, role, layer)
        return layer

    def _show_labels(
        self,
        source: Source,
        role: str,
        values: npt.NDArray[np.uint8],
        place: dict[str, Any],
        styles: Sequence[ClassStyle],
        *,
        contour: int = 0,
    ) -> Labels:
        colours = label_colours({index: style.colour for index, style in enumerate(styles)})
        layer = self._find(source, role)
        if isinstance(layer, Labels):
            self._update(layer, values, place)
            _set_colours(layer, colours)
        else:
            layer = Labels(values, colormap=colours, opacity=0.9 if contour else 0.5, **place)
            layer.contour = contour
            self._insert(source, role, layer)
        name_values(layer, styles)
        return layer

    def _update(self, layer: Layer, values: npt.NDArray[Any], place: dict[str, Any]) -> None:
        self._is_writing = True
        try:
            if layer.data is not values:
                layer.data = values
            for name, value in place.items():
                if name != "affine" and not np.array_equal(getattr(layer, name), value):
                    setattr(layer, name, value)
            if not np.array_equal(layer.affine.affine_matrix, place["affine"]):
                layer.affine = place["affine"]
        finally:
            self._is_writing = False

    def _insert(self, source: Source, role: str, layer: Layer) -> None:
        """Add a layer just above its source and its other results, and select nothing anew."""
        _made.add(layer)
        layer.name = _title(source, role)
        layer.metadata[MARK] = {
            "role": role,
            "source": source.key,
            "axes": source.geometry.axes,
        }
        if isinstance(layer, Labels):
            for name in ("paint", "labels_update", "data", "set_data"):
                getattr(layer.events, name).connect(self._on_edited)
        layers = self._viewer.layers
        selected, active = set(layers.selection), layers.selection.active
        above = [
            index
            for index, other in enumerate(layers)
            if _keys.get(other) == source.key or layer_mark(other).get("source") == source.key
        ]
        layers.insert(above[-1] + 1 if above else len(layers), layer)
        layers.selection = selected
        layers.selection.active = active

    def _on_edited(self, event: Any) -> None:
        layer = event.source
        if self._is_writing or MARK not in layer.metadata:
            return
        mark = layer.metadata[MARK]
        if event.type != "set_data":
            mark["is_edited"] = True
        if mark.get("is_edited") and event.type != "labels_update":  # its stroke is told at the end
            slices: set[int] | None = None if event.type == "data" else set()
            if event.type == "paint":
                axes = mark["axes"]
                n_slices = layer.data.shape[axes.index("Z")] if "Z" in axes else 1
                slices = painted_slices(event.value, axes, n_slices)
            self._on_edit(layer, slices)


def _title(source: Source, role: str) -> str:
    """Name a layer of results, so that its role is seen beside a long name of the image.

    A long role comes first: the list of layers cuts the middle out, where the class would be.
    """
    name, room = source.name, _LONGEST_NAME - len(role)
    if len(name) <= max(_SHORTEST_NAME, room):
        return f"{name} {role}"
    if len(name) <= _SHORTEST_WHOLE:
        return f"{role} {name}"
    n_kept = max(_SHORTEST_NAME, room)
    name = f"{name[: n_kept // 2]}…{name[1 + n_kept // 2 - n_kept :]}"
    return f"{role} {name}" if room < _ROOM_IN_FRONT else f"{name} {role}"


def _is_view(one: Any, other: npt.NDArray[Any]) -> bool:
    """Whether two arrays are the same one; a part of it is not."""
    return one.shape == other.shape and np.shares_memory(one, other)


def _map_colours(style: ClassStyle) -> Colormap:
    """From transparent to the class's colour."""
    full = transform_color(style.colour)[0]
    return Colormap(np.stack([[*full[:3], 0.0], [*full[:3], 1.0]]), name=style.colour)


def _set_colours(layer: Image | Labels, colours: Colormap) -> None:
    """Give a layer colours, unless it has them: napari then redraws it and its thumbnail."""
    if not np.array_equal(layer.colormap.colors, colours.colors):
        layer.colormap = colours


def _checksum(values: npt.ArrayLike, before: int = 0) -> int:
    """Of values after those that have the one before, or of these alone."""
    return zlib.crc32(np.ascontiguousarray(values).data, before)
