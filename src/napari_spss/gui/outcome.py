"""The result of one image in the viewer: maps, labels, and what they say about fractions."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QObject, Signal

from ..core.analysis import acquisition_scores
from ..core.annotations import Classes, Proportion, Region
from ..core.base import origin_of
from ..core.prediction import is_smoothed
from .layers import Relabeller, layer_mark, name_values
from .models import Cleaning, FoundObjects, MapMaking, ObjectEdits, ResultMaps, make_timer

if TYPE_CHECKING:
    import pandas as pd
    from napari.layers import Image, Labels, Layer

    from ..core.analysis import CountedFractions, Estimate, FractionEstimate
    from ..core.annotations import Annotations, ClassStyle
    from ..core.base import Predicted
    from ..core.training import Model
    from .layers import ResultLayers, Source

NO_RESULT = "There is no result yet; apply the model first."
_NEWS_MS = 150


@dataclass(frozen=True, eq=False)
class Estimated:
    """Fractions of labels, and what they were estimated from."""

    estimates: tuple[Estimate, ...]
    contradicted: pd.DataFrame  # nodes of the check count that contradict the labels
    # the check count, and what the network learned from
    check: Annotations
    training: Annotations
    version: int  # of the labels


class Outcome(QObject):
    """Keeps maps, layers and labels of one image together; they are those of one model.

    Labels follow the cleaning. Those that the user edited are left as they are: whatever changes
    afterwards is written beside them. ``current_slice`` returns the slice that the viewer shows.
    """

    changed = Signal()  # soon after fractions, labels or stated fractions became others
    objects_edited = Signal(object)  # slices in which a person changed objects; None if dropped

    def __init__(self, results: ResultLayers, current_slice: Callable[[], int]) -> None:
        super().__init__()
        self._results = results
        self._current_slice = current_slice
        self._styles: tuple[ClassStyle, ...] = ()
        self.cleaning = Cleaning()  # how maps become labels at the moment
        self._making = MapMaking()
        self._weights = ""  # digest of those of the model
        self._map_layers: list[Image] = []
        self._layer: Labels | None = None
        self._painted: set[int] = set()  # slices of it, not measured since
        self._edited: set[int] = set()  # slices in which a stroke may be taken back
        self._drawn = -1  # slice that was drawn last
        self._stated: tuple[Proportion, ...] = ()
        self._annotations: Annotations | None = None  # that state them
        self._by_region: dict[Region, tuple[float, ...]] = {}
        self._n_counting: dict[Region, int] = {}
        self._uncertainty: dict[int, float] = {}
        self.source: Source | None = None
        self.maps: ResultMaps | None = None
        self.objects: FoundObjects | None = None  # that are shown
        self._aside: dict[str, FoundObjects] = {}  # of other classes, which a person edited
        self.edits: ObjectEdits | None = None  # of these objects
        self._is_resized = False  # whether voxels have another size than when objects were found
        self._objects_checked = -1  # version of the labels to which they were compared
        self.object_layer: Labels | None = None
        self.model: Model | None = None
        self.run_dir: Path | None = None
        self.is_saved = False
        self.saved_in: Path | None = None
        self._versions = itertools.count(1)
        self.version = 0  # of the labels
        self._by_cleaning: dict[Cleaning, int] = {}  # while nothing else changes the labels
        self._cleaned = 0  # version after the cleaning was set
        self.estimated: Estimated | None = None
        self._relabeller = Relabeller(current_slice, self, correct=self._correct)
        self._relabeller.slice_done.connect(self._measure)
        self._news = make_timer(self, _NEWS_MS, self._tell)
        self._relabeller.finished.connect(self._news.start)
        self._relabeller.finished.connect(self._on_relabelled)
        self._relabeller.refused.connect(self._on_refused)
        self._then: Callable[[], object] | None = None
        self._show_next: Callable[[Source], None] | None = None  # maps that take the place of these

    def origin(self) -> dict[str, Any]:
        """Where the labels come from as they are, see `origin_of` and `read_origin`."""
        is_edited = self._layer is not None and bool(layer_mark(self._layer).get("is_edited"))
        is_edited |= any(one.is_edited for one in self.proofread.values())
        return {**self._origin_of_maps(), **asdict(self.cleaning), "is_edited": is_edited}

    def _origin_of_maps(self) -> dict[str, Any]:
        assert self.model is not None
        making, n_steps = asdict(self._making), self.model.n_steps
        return origin_of(self.run_dir, n_steps=n_steps, weights=self._weights, **making)

    @property
    def has_result(self) -> bool:
        """Whether something was predicted."""
        return self.maps is not None and bool(self.maps.slices)

    @property
    def is_up_to_date(self) -> bool:
        """Whether all labels were made from the maps and the cleaning as they are."""
        return self._relabeller.is_done and not self._news.isActive()

    def begin(
        self,
        source: Source,
        model: Model,
        styles: Sequence[ClassStyle],
        *,
        run_dir: Path | None,
        making: MapMaking,
    ) -> ResultMaps:
        """Return the maps to predict into: those at hand if they are of the same model.

        They must have been made alike, too, so that all slices of a result belong together. A
        result that is there stays until the first of the others is taken.

        Parameters
        ----------
        source : Source
            The image, always the same one.
        model : Model
        styles : sequence of ClassStyle
            Of the model's classes.
        run_dir : Path or None
            Folder of the run that the model came from.
        making : MapMaking
            How the model makes them.
        """
        is_smooth, _ = is_smoothed(model, source.stack, making.smooth_z)
        making = replace(making, smooth_z=is_smooth)
        is_same = self.model is not None and self.model.network is model.network
        maps = self.maps if is_same and self._making == making else None
        if maps is None:
            maps = ResultMaps(model.classes, source.geometry.stack_shape)  # may not fit
        show = partial(self._show, model, tuple(styles), run_dir, making, maps)
        if self.has_result and maps is not self.maps:
            self.follow(source)
            self._show_next = show
        else:
            show(source)
        return maps

    def _show(
        self,
        model: Model,
        styles: tuple[ClassStyle, ...],
        run_dir: Path | None,
        making: MapMaking,
        maps: ResultMaps,
        source: Source,
    ) -> None:
        """Have layers of maps, which are filled from now on, and of their labels."""
        self._show_next, self._styles = None, styles
        self.source, self.model, self.run_dir, self._making = source, model, run_dir, making
        if maps is not self.maps:
            self.maps = maps
            self._by_region, self._uncertainty = {}, {}
            self.version = next(self._versions)
            self._relabeller.clear()
            self._layer = None
        self._map_layers = self._results.show_maps(source, self.maps, self._styles)
        self._weights = model.weights_digest
        self._results.note_origin(self._map_layers, self._origin_of_maps())
        self._prepare_labels()
        self._results.show_alone(self._layer)

    def end(self) -> None:
        """Tell what is new at the end of a run; take empty layers away if nothing was predicted."""
        self._show_next = None
        if self._news.isActive():
            self._news.stop()
            self._tell()
        if self.maps is None or self.maps.slices:
            return
        self._relabeller.clear()
        self._results.take_away([*self._map_layers, *filter(None, [self._layer])])
        self.maps, self._layer, self._map_layers = None, None, []
        self.changed.emit()

    def take(self, predicted: Predicted) -> None:
        """Show what was predicted."""
        if self._show_next is not None and self.source is not None:
            self._show_next(self.source)  # which may lie elsewhere since
        if self.maps is None:
            return
        self.maps.mark(predicted.slice, predicted.box)
        if predicted.box is None:
            self._uncertainty[predicted.slice] = predicted.uncertainty
        if self._results.is_seen(predicted.slice, self._current_slice()):
            for layer in self._map_layers:
                layer.refresh(thumbnail=False, extent=False)
        if self._layer is None or not self._results.is_writable(self._layer):
            self._relabel((predicted.slice,))
        else:
            self.version = next(self._versions)
            self._relabeller.request((predicted.slice,))

    def follow_classes(
        self, styles_of: Callable[[Classes], tuple[ClassStyle, ...]], names: Sequence[str]
    ) -> None:
        """Use other colours and names from now on: those of a model's classes, and of all."""
        maps, source = self.maps, self.source
        left = (name for name in self.proofread if name not in names)
        classes = Classes(("background", *left)) if maps is None else maps.classes
        self._styles = styles_of(classes)
        renamed = {was: style.name for was, style in zip(classes, self._styles, strict=True)}
        if source is None or all(was == name for was, name in renamed.items()):
            return
        if maps is not None:
            maps.classes = Classes(self._styles)
        for found in self.proofread.values():
            name = found.request.class_name
            found.request = replace(found.request, class_name=renamed.get(name, name))
        self._aside = {one.request.class_name: one for one in self._aside.values()}
        self._results.rename(source, renamed)
        if self._layer is not None:
            name_values(self._layer, self._styles)
        self.objects_edited.emit(None)
        self.changed.emit()

    def set_cleaning(self, cleaning: Cleaning) -> None:
        """Make the labels anew with other settings; back at these they have their version again."""
        if cleaning == self.cleaning:
            return
        if self.version != self._cleaned:
            self._by_cleaning = {}
        self._by_cleaning[self.cleaning] = self.version
        self.cleaning, layer = cleaning, self._layer
        if self.maps is not None:
            self._relabel(self.maps.slices)
            if self._layer is not layer:  # somebody painted in the one before
                self._by_cleaning = {}
            self.version = self._by_cleaning.setdefault(cleaning, self.version)
        self._cleaned = self.version

    def set_stated(self, annotations: Annotations) -> None:
        """Tell which regions have stated fractions, to be compared with the predicted ones."""
        before = self._stated, self.has_stated_classes
        stated = annotations.effective_proportions()
        self._stated, self._annotations = stated, annotations
        if self.maps is None or (stated, self.has_stated_classes) == before:
            return
        new = {p.region for p in stated} - set(self._by_region)
        for z in {region.slice for region in new} & set(self.maps.slices):
            self._measure(z, self._labels_of(z))
        self._news.start()

    @property
    def has_stated_classes(self) -> bool:
        """Whether the maps are of the classes that are annotated; others may have been added.

        One that is outside changes what all fractions are of.
        """
        if self.maps is None or self._annotations is None:
            return self.maps is not None
        stated, ours = self._annotations.classes, self.maps.classes
        return stated[: len(ours)] == tuple(ours) and stated.outside == ours.outside

    def matched_threshold(self) -> float | None:
        """Threshold at which the stated regions have their fractions in sum; None if unknown.

        They are corrected by what was counted, as those that the model has learned from.
        """
        if self.maps is None or self.model is None or self._annotations is None:
            return None
        if not self.has_stated_classes:
            return None
        if not self.model.settings.loss.bias_correction:
            return self.maps.matched_threshold(self._stated)
        from ..core.training import corrected_proportions

        return self.maps.matched_threshold(corrected_proportions(self._annotations))

    def labels(self) -> npt.NDArray[np.uint8] | None:
        """View the layer's labels as (Z, Y, X), after bringing all of them up to date."""
        self._relabeller.flush()
        if self._layer is None or self.source is None:
            return None
        return self.source.geometry.collapse(np.asarray(self._layer.data))

    def shown_labels(self) -> npt.NDArray[np.uint8] | None:
        """View the layer's labels as (Z, Y, X); None if there are none, or some are being made."""
        return None if not self._relabeller.is_done else self.labels()

    def note_edit(self, layer: Layer, slices: Iterable[int] | None = None) -> None:
        """Take notice that somebody edited labels, which are soon measured anew.

        By default in all slices; if in none, look for a change where a stroke may be taken back.
        """
        if layer is self.object_layer and slices is None:
            self._draw_objects()  # beside what took their place
            self._tell()
        if self._layer is None or self.maps is None or self.source is None:
            return
        if layer is not self._layer:
            return
        if self.source.geometry.expand(self.maps.maps[0]).shape != layer.data.shape:
            self._relabel(self.maps.slices)  # beside what is of no image now
            return
        painted = set(self.maps.slices if slices is None else slices)
        self._edited |= set(slices or ())
        z = self._results.slice_of(self.source)
        if not painted:  # the slider tells others later
            # what is taken back on another slice than the shown one redraws that
            looked_at = self._edited if z == self._drawn else self._edited & {z}
            painted = set(filter(self._has_changed, looked_at))
        self._drawn = z
        if not painted:
            return
        self._painted |= painted
        self.version = next(self._versions)
        self._news.start()

    def _has_changed(self, z: int) -> bool:
        """Measure a slice that was painted anew; return whether it has other fractions."""
        before = self._by_region.get(Region(z))
        if before is None:
            return False
        self._measure(z, self._labels_of(z))
        return before != self._by_region.get(Region(z))

    def follow(self, source: Source) -> None:
        """Take note that the image lies elsewhere; in another size, objects measure otherwise."""
        before = self.source
        if before is None:
            return
        self.source = source
        known = [(one.stack.voxel_size_um, one.stack.is_time_series) for one in (before, source)]
        if known[0] != known[1]:
            if self.objects is not None:
                self.objects.version, self._is_resized = -1, True
            self._tell()

    @property
    def proofread(self) -> dict[str, FoundObjects]:
        """Objects that a person may have edited, by class; those that are shown come last."""
        shown = self.objects
        return self._aside if shown is None else {**self._aside, shown.request.class_name: shown}

    def keep_aside(self, objects: Iterable[FoundObjects]) -> None:
        """Take objects that were restored, until they are shown."""
        self._aside = {one.request.class_name: one for one in objects}
        if self.maps is not None and self._aside:
            self._relabel(self.maps.slices)

    def leave_objects(self) -> None:
        """Leave what a person said of objects to another layer of the same image."""
        self._aside = {}
        if self.objects is not None and self.objects.is_edited:
            self.objects, self.edits, self.object_layer = None, None, None

    def show_objects(self, found: FoundObjects, source: Source | None = None) -> None:
        """Show objects that were found in the labels, or restored; from now on they are edited.

        They replace others that are known of their class, whose edits the search was given; those
        of another class stay as they are until they are found again. The image is given if there
        is no result yet.
        """
        self.source = self.source or source
        if self.source is None:
            return
        before, shown = self.proofread.get(found.request.class_name), self.objects
        if shown is not None and shown is not before and shown.is_edited:
            self._aside[shown.request.class_name] = shown
            if self.object_layer is not None:
                self.object_layer.editable = False
        self._aside.pop(found.request.class_name, None)
        self.objects, self._is_resized = found, False
        self.edits = ObjectEdits(
            found, self._measure_objects, self.source.stack.voxel_size_um, self._on_objects_edited
        )
        self._draw_objects(replaces=before is not None and before is not found)
        if self.maps is not None and found.is_edited and found.version != self.version:
            self._relabel(self.maps.slices)
        if found.is_edited and source is None:
            self.objects_edited.emit(range(len(found.instances)))
        self.changed.emit()

    def forget_objects(self) -> None:
        """Drop the objects that are shown, and know of no others."""
        aside, self._aside = self._aside, {}
        if self.objects is not None:
            self.drop_objects(self.objects.request.class_name)
        if self.maps is not None and aside:
            self._relabel(self.maps.slices)

    def drop_objects(self, class_name: str) -> None:
        """Take what a person said of objects back from the labels; a layer of them stays."""
        found = self.proofread.get(class_name)
        if found is None or self.source is None:
            return
        if found.is_edited:
            layer = self._results.show_objects(
                self.source, class_name, found.instances, found.table
            )
            layer.editable = True
            self._results.let_go(layer)
        self._aside.pop(class_name, None)
        if found is self.objects:
            self.objects, self.edits, self.object_layer = None, None, None
        if self.maps is not None and found.is_edited:
            self._relabel(self.maps.slices)
        self.objects_edited.emit(None)
        self.changed.emit()

    def objects_are_stale(self) -> bool:
        """Whether the labels are not those of the objects, or voxels have another size since."""
        found, index = self.objects, self._object_index()
        if found is None or self.maps is None or found.version == self.version:
            return False
        if self._is_resized or index is None or not self.is_up_to_date:
            return True
        if self._objects_checked != self.version and self.maps.is_complete:
            self._objects_checked = self.version
            labels = self.labels()
            assert self.source is not None
            size = self.source.stack.voxel_size_um
            if labels is not None and found.fits(labels, index, size):
                found.version = self.version
        return found.version != self.version

    def map_of(self, found: FoundObjects) -> npt.NDArray[np.floating] | None:
        """Map of the class of objects; None if there is none."""
        index = self._index_of(found)
        return None if index is None or self.maps is None else self.maps.maps[index - 1]

    def show_table(self, table: pd.DataFrame) -> None:
        """Show the table of the objects that are shown, measured anew."""
        assert self.objects is not None
        assert self.object_layer is not None
        self.objects.table = table
        self.object_layer.features = table.rename(columns={"object": "index"})
        self.changed.emit()

    def _object_index(self) -> int | None:
        """Class of the objects that are shown among those of the maps."""
        return None if self.objects is None else self._index_of(self.objects)

    def _index_of(self, found: FoundObjects) -> int | None:
        names = [] if self.maps is None else list(self.maps.classes)
        name = found.request.class_name
        return names.index(name) if name in names else None

    def _correct(self, z: int, labels: npt.NDArray[np.uint8]) -> None:
        for found in self.proofread.values():
            index = self._index_of(found)
            if index is not None:
                found.correct(z, labels, index)

    def _measure_objects(
        self, numbers: Sequence[int], within: tuple[slice, slice, slice]
    ) -> pd.DataFrame:
        assert self.objects is not None
        assert self.source is not None
        probs = self.map_of(self.objects)
        return self.objects.measure(self.source.stack, probs, numbers=numbers, within=within)

    def _on_objects_edited(self, places: npt.NDArray[np.int64]) -> None:
        """Show an edit, and bring the labels into line with it."""
        found = self.objects
        assert found is not None
        was_stale = self.objects_are_stale()
        slices = tuple(np.unique(places // found.instances[0].size).tolist())
        self._correct_labels(places, slices)
        if not was_stale:
            found.version = self.version
        self._draw_objects()
        self.objects_edited.emit(slices)
        self._tell()

    def _draw_objects(self, *, replaces: bool = False) -> None:
        assert self.source is not None
        assert self.objects is not None
        found = self.objects
        self.object_layer = self._results.show_objects(
            self.source, found.request.class_name, found.instances, found.table, replaces=replaces
        )
        self.object_layer.editable = True
        self._results.note_origin([self.object_layer], found.origin())

    def _correct_labels(self, places: npt.NDArray[np.int64], slices: tuple[int, ...]) -> None:
        """Bring labels into line with objects; where somebody painted them, voxel by voxel."""
        index, layer, found = self._object_index(), self._layer, self.objects
        if self.maps is None or layer is None or index is None or found is None:
            return
        slices = tuple(z for z in slices if z in self.maps.slices)
        if not layer_mark(layer).get("is_edited"):
            if slices:
                self._relabel(slices)
            return
        flat = np.asarray(layer.data).reshape(-1)
        is_there = found.instances.reshape(-1)[places] > 0
        flat[places[is_there]] = index
        gone = places[~is_there]
        flat[gone[flat[gone] == index]] = 0
        for z in slices:
            self._measure(z, self._labels_of(z))
        layer.refresh(thumbnail=False, extent=False)
        self.version = next(self._versions)
        self._news.start()

    def after_labels(self, act: Callable[[], object]) -> bool:
        """Call something once the labels of large slices follow; False, and no call, if they do.

        What was to be called before is forgotten.
        """
        if self._relabeller.is_done or not self._relabeller.is_large:
            return False
        self._then = act
        return True

    def predicted_fractions(self) -> dict[Region, tuple[float, ...]]:
        """Fractions of each predicted slice, and of each stated region in one."""
        return dict(self._by_region)

    def overall(self) -> tuple[FractionEstimate, ...] | None:
        """Fractions of all wholly predicted slices together; of a set with their spread."""
        from ..core.analysis import estimate_fraction

        if self.maps is None or self.source is None:
            return None
        regions = [Region(z) for z in self.maps.full_slices]
        known = [region for region in regions if region in self._by_region]
        if not known:
            return None
        totals = np.array([self._n_counting[region] for region in known], dtype=float)
        fractions = np.array([self._by_region[region] for region in known])
        is_sample = self.source.stack.is_set
        return tuple(
            estimate_fraction(one * totals, totals, is_sample=is_sample) for one in fractions.T
        )

    def stated_mean(self, counted: CountedFractions | None) -> dict[str, tuple[float, float, int]]:
        """Mean stated fraction of each class, that of the labels there, and of how many slices.

        If none has, and all slices were predicted, what was counted of the whole stack.
        """
        if self.maps is None or not self.has_stated_classes:
            return {}
        found: dict[str, list[tuple[float, float]]] = {}
        for proportion in self._stated:
            predicted = self._by_region.get(proportion.region)
            if proportion.region.box is not None or predicted is None:
                continue
            both = zip(self.maps.classes, proportion.fractions, predicted, strict=False)
            for name, fraction, of_labels in both:
                if fraction is not None:
                    found.setdefault(name, []).append((fraction, of_labels))
        if not found and counted is not None and self.maps.is_complete:
            n_slices = self.maps.shape[0]
            fractions = [(fraction, nan, n_slices) for fraction in counted.fractions]
            return dict(zip(counted.classes, fractions, strict=True))
        means = {name: np.mean(both, axis=0).tolist() for name, both in found.items()}
        return {name: (one, other, len(found[name])) for name, (one, other) in means.items()}

    def slices_to_count(self) -> tuple[int, ...]:
        """Slices that are worth counting next, the most worthwhile first.

        Once all have a map, these are all that were not counted: those whose map is least certain
        come first. Before, they are those whose stated and predicted fractions differ.
        """
        if self.maps is None or self.source is None:
            return ()
        is_whole = self.maps.is_complete
        predicted = {one.slice: f for one, f in self._by_region.items() if one.box is None}
        found = acquisition_scores(
            {z: self._uncertainty.get(z, 0.0) if is_whole else 0.0 for z in predicted},
            predicted if self.has_stated_classes else {},
            self._stated,
            n_slices=self.maps.shape[0],
            is_set=not is_whole or self.source.stack.is_set,
        )
        return tuple(one.slice for one in found if is_whole or one.difference > 0)

    def place_to_save(self) -> Path:
        """Propose a folder for the result: the last one, else one beside the image."""
        if self.saved_in is not None or self.source is None:
            return self.saved_in or Path.home()
        if self.source.path is not None:
            beside = Path(self.source.path).absolute()
            if os.access(beside.parent, os.W_OK):
                return beside.with_name(re.sub(r"(\.ome)?\.\w+$", "", beside.name) + "_results")
        return Path.home() / (re.sub(r"[^\w.-]+", "_", self.source.name) + "_results")

    def clear(self) -> None:
        """Forget the result; its layers stay with the user."""
        self.stop_timers()
        self.maps, self.source, self._layer, self.model = None, None, None, None
        self.objects, self.edits, self.object_layer, self._aside = None, None, None, {}
        self._map_layers, self._by_region, self._uncertainty = [], {}, {}
        self.estimated, self._show_next = None, None

    def stop_timers(self) -> None:
        """Write no more labels, tell no more news."""
        self._then = None
        self._relabeller.shut_down()
        self._news.stop()

    def _tell(self) -> None:
        painted, self._painted = self._painted, set()
        for z in painted & set(() if self.maps is None else self.maps.slices):
            self._measure(z, self._labels_of(z))
        self.is_saved = False
        self.changed.emit()

    def _prepare_labels(self) -> bool:
        """Have a labels layer that may be written; return whether it is another one."""
        assert self.source is not None
        assert self.maps is not None
        assert self.model is not None
        layer = self._results.show_labels(self.source, self._styles, is_fresh=self._layer is None)
        origin = {**self._origin_of_maps(), **asdict(self.cleaning)}
        self._results.note_origin([layer], origin)
        if layer is self._layer:
            return False
        self._layer, self._edited = layer, set()
        self._relabeller.set_target(self._results, layer, self.source, self.maps)
        self._relabeller.set_cleaning(self.cleaning)
        return True

    def _relabel(self, slices: tuple[int, ...]) -> None:
        if self.maps is None:
            return
        if self._prepare_labels():
            self._results.show_alone(self._layer)
            slices = self.maps.slices
        self.version = next(self._versions)
        self._relabeller.set_cleaning(self.cleaning)
        self._relabeller.request(slices)

    def _labels_of(self, z: int) -> npt.NDArray[np.uint8]:
        assert self._layer is not None
        assert self.source is not None
        plane: npt.NDArray[np.uint8] = np.asarray(self.source.geometry.plane(self._layer.data, z))
        return plane

    def _on_relabelled(self) -> None:
        act, self._then = self._then, None
        if act is not None:
            act()

    def _on_refused(self) -> None:
        if self.maps is not None:
            self._relabel(self.maps.slices)

    def _measure(self, z: int, labels: npt.NDArray[np.uint8]) -> None:
        assert self.maps is not None
        regions = [p.region for p in self._stated if p.region.slice == z]
        for region in dict.fromkeys([Region(z), *regions]):
            counts = self.maps.counts(z, labels, region.box)
            total = int(counts.sum())
            if total:
                self._by_region[region] = tuple(float(n) / total for n in counts)
                self._n_counting[region] = total
            else:
                self._by_region.pop(region, None)
