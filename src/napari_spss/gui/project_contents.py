"""What of the dock goes into a project, and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from napari.layers import Labels

from ..core.annotations import PALETTE, Annotations, Classes, ClassStyle, CountingGrid
from ..core.base import UNKNOWN_VOXEL, InputError, counted, merge_voxel_size, set_aside
from ..core.images import IGNORE
from ..core.projects import RECORD_FILE, ObjectsRecord, ProjectState
from .layers import MARK, Geometry, add_unselected, find_stale_layer
from .models import FoundObjects, ObjectRequest, ResultsForm, RunForm, check_texts
from .widgets import CLASS_KEYS, PAINTED_LAYER

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from ..core.projects import Project
    from .models import PaintedLabels
    from .widgets import (
        AnnotateSection,
        ClassesEditor,
        ImageSection,
        ResultsSection,
        TrainSection,
    )

_VOXEL, _RESULTS = "voxel_size_um", "results"  # among the settings, beside the form's


@dataclass(frozen=True)
class Form:
    """What is entered for an image beside its annotations; the settings as a project keeps them."""

    classes: tuple[ClassStyle, ...]
    settings: dict[str, Any]


class ProjectContents:
    """Reads the dock's sections into a project's state and fills them from one.

    Painted labels are stored with the class's index plus one, 0 where nothing is painted.
    """

    def __init__(
        self,
        viewer: Viewer,
        image: ImageSection,
        classes: ClassesEditor,
        annotate: AnnotateSection,
        train: TrainSection,
        results: ResultsSection,
    ) -> None:
        self._viewer = viewer
        self._image = image
        self._classes = classes
        self._annotate = annotate
        self._train = train
        self._results = results
        self._stored_layer: Labels | None = None
        self._stored_slices: set[int] = set()
        self._counts: dict[str, int] = {}
        self.run = ""  # name of the run that is in use, empty for the newest
        self._objects: FoundObjects | None = None  # that are proofread
        self._objects_record: ObjectsRecord | None = None
        self._changed_objects: set[int] = set()

    def state(self) -> ProjectState:
        """Return what is to be saved, painted labels excepted."""
        form, size = self.form(), self._image.stated_voxel_size()
        settings = {**form.settings, _RESULTS: self._results.form().model_dump()}
        return ProjectState(
            classes=form.classes,
            annotations=self._annotate.value(),
            settings=settings if size is None else {**settings, _VOXEL: size},
            table_texts=self._annotate.fractions.text_state(),
            looks=self._annotate.second_look.value(),
            check=self._annotate.check.value(),
            run=self.run,
            objects=self._objects_record,
        )

    def form(self) -> Form:
        """Return classes and settings as they are entered."""
        form = self._train.value()
        return Form(
            self._classes.value(),
            {
                "object_diameter_px": self._image.value().object_diameter_px,
                "preset": form.preset,
                "max_minutes": form.max_minutes,
                "device": form.device,
                "overrides": dict(form.overrides),
            },
        )

    def set_form(self, form: Form) -> None:
        """Enter classes and settings; the device stays, which is no matter of the image."""
        self._classes.set_value(form.classes)
        self._show_form(RunForm(**{**form.settings, "device": self._train.value().device}))

    def note_actions(self, project: Project | None, current_slice: int) -> None:
        """Record what was annotated since the last call, with its time, in the project's log."""
        before, self._counts = self._counts, self._count()
        if project is None:
            return
        for kind, number in self._counts.items():
            if number != before.get(kind, 0):
                n_items = abs(number - before.get(kind, 0))
                project.note_action(kind, n_items=n_items, slice=current_slice)

    def forget_actions(self) -> None:
        """Take what is there as it is: it was restored, not annotated."""
        self._counts = self._count()

    def _count(self) -> dict[str, int]:
        annotate = self._annotate
        return {
            "fraction": sum(one.is_informative for one in annotate.fractions.value()),
            "keypoint": len(annotate.keypoints.value()),
            **_count_nodes(annotate.grid.value()),
            **{f"check {what}": n for what, n in _count_nodes(annotate.check.value()).items()},
            "paint": annotate.painted.n_edits,
        }

    def painted(self) -> dict[int, npt.NDArray[np.uint8] | None]:
        """Return painted labels that may have changed since the last call; None for none.

        Labels of a layer that was deleted stay in the project until there are others.
        """
        tool = self._annotate.painted
        labels = tool.value()
        if labels is None:
            return {}
        changed = tool.take_changed_slices()
        slices = set(range(labels.n_slices)) if changed is None else set(changed)
        if tool.layer is not self._stored_layer:
            slices |= self._stored_slices
        self._stored_layer = tool.layer
        found = {z: _stored(labels, z) for z in sorted(slices) if z < labels.n_slices}
        for z, array in found.items():
            (self._stored_slices.discard if array is None else self._stored_slices.add)(z)
        return found

    def forget_objects(self) -> None:
        """Know of no objects, as of an image whose project holds none."""
        self._objects, self._objects_record, self._changed_objects = None, None, set()

    def note_objects(
        self, found: FoundObjects | None, slices: Iterable[int] | None, *, is_stored: bool = False
    ) -> None:
        """Take what a person said of objects, to be saved; None if it is dropped.

        Parameters
        ----------
        found : FoundObjects or None
        slices : iterable of int, optional
            In which they changed; of other objects than before, all are taken to have.
        is_stored : bool
            Whether they came from the project.
        """
        before, self._objects = self._objects, found
        if found is None:
            self._objects_record = None
        else:
            request = asdict(found.request)
            del request["class_index"]
            self._objects_record = ObjectsRecord(
                **request, judged=tuple(sorted(found.judged)), made_by=dict(found.made_by)
            )
        if is_stored:
            return
        either = found or before
        is_same = found is before and slices is not None
        every = range(0 if either is None else len(either.instances))
        self._changed_objects |= set(slices or ()) if is_same else set(every)

    def objects(self) -> dict[int, npt.NDArray[np.int32] | None]:
        """Return numbers of objects by slice that changed since the last call; None for none."""
        changed, self._changed_objects = self._changed_objects, set()
        found = self._objects
        if found is None:
            return dict.fromkeys(changed)
        return {z: found.numbers(z) for z in sorted(changed)}

    def read_objects(self, project: Project, shape: tuple[int, int, int]) -> FoundObjects | None:
        """Read proofread objects from a project, not yet measured; None if it holds none."""
        record = project.state.objects
        self.forget_objects()
        self._objects_record = record
        slices = {} if record is None else project.read_objects(shape)
        if record is None or not (slices or record.judged):
            return None
        names = [style.name for style in project.state.classes]
        request = ObjectRequest(
            class_index=names.index(record.class_name) if record.class_name in names else 1,
            class_name=record.class_name,
            per_slice=record.per_slice,
            min_size=record.min_size,
            split=record.split,
        )
        return FoundObjects.of_numbers(
            request, slices, shape, judged=record.judged, made_by=record.made_by
        )

    def restore(self, project: Project) -> tuple[str, list[str]]:
        """Fill the sections from a project; return what was restored, and what not, in words."""
        state, faults = project.state, []
        self.run = state.run
        form = RunForm()
        typed, damaged = check_texts(state.table_texts)
        if damaged:
            faults.append(
                f"Of what was typed into the table of fractions {counted(len(damaged), 'text')} "
                f"cannot be restored: {damaged[0]}."
            )
        settings = dict(state.settings)
        size, results = settings.pop(_VOXEL, None), settings.pop(_RESULTS, {})
        try:
            form = RunForm.restored(settings)
        except InputError as error:
            faults.append(f"The settings of the training cannot be restored: {error}")
        try:
            self._results.set_form(ResultsForm.restored(results))
        except InputError as error:
            faults.append(f"Threshold and clean-up of the labels cannot be restored: {error}")
        if size is not None:
            try:
                self._image.state_voxel_size(merge_voxel_size(size, UNKNOWN_VOXEL))
            except (InputError, TypeError) as error:
                faults.append(f"The stated voxel size {size} cannot be restored: {error}")
        self._classes.set_value(state.classes)
        annotations = state.annotations or Annotations(Classes(state.classes))
        is_damaged = "proportions" in project.unreadable
        self._annotate.set_value(
            *(annotations, typed), looks=state.looks, check=state.check, is_damaged=is_damaged
        )
        self._show_form(form)
        if faults:
            kept = set_aside(project.folder / RECORD_FILE)
            faults = [f"{fault} Enter it anew; {kept} keeps what was there." for fault in faults]
        layer = self._image.value().layer
        shape = None if layer is None else Geometry.of(layer).stack_shape
        slices = project.read_painted(shape)
        self._stored_slices = set(slices)
        if slices and layer is not None:
            self._restore_painted(slices, layer, len(state.classes))
        texts = [annotations.summary()]
        texts += [counted(len(slices), "painted slice")] if slices else []
        check = self._annotate.check_value()
        texts += [f"a check count of {check.summary()}"] if check.grids else []
        return ", ".join(texts), faults

    def take_sample(self, layer: Image | None) -> None:
        """Fill the sections with what came with a sample image, if there is any."""
        annotations = sample_annotations(layer)
        if annotations is None or layer is None:
            return
        known = {style.name: style for style in self._classes.value()}
        self._classes.set_value(
            [
                known.get(name)
                or ClassStyle(name, PALETTE[(index - 1) % len(PALETTE)], CLASS_KEYS[index])
                for index, name in enumerate(annotations.classes)
            ]
        )
        self._annotate.set_value(annotations)
        self._image.set_diameter(layer.metadata[MARK].get("object_diameter_px"))

    def _show_form(self, form: RunForm) -> None:
        self._image.set_diameter(form.object_diameter_px)
        self._train.set_value(form)

    def _restore_painted(
        self, slices: Mapping[int, npt.NDArray[np.integer]], image: Image, n_classes: int
    ) -> None:
        """Show painted labels in a layer of their own."""
        geometry = Geometry.of(image)
        data = np.zeros(geometry.stack_shape, np.uint8)
        for z, labels in slices.items():
            data[z] = labels
        data = geometry.expand(data)
        layer = find_stale_layer(
            self._viewer, PAINTED_LAYER, data.ndim, lambda one: np.array_equal(one.data, data)
        )
        if layer is None:
            layer = Labels(
                data,
                name=PAINTED_LAYER,
                metadata={MARK: {"role": PAINTED_LAYER}},
                **geometry.layer_arguments(),
            )
            add_unselected(self._viewer, layer)
        self._annotate.painted.set_value(layer, range(1, n_classes + 1))
        self._stored_layer = layer
        self._annotate.painted.take_changed_slices()


def _count_nodes(grids: Iterable[CountingGrid]) -> dict[str, int]:
    """How many nodes were clicked, grids and frames done, and nodes looked at again."""
    found = Counter({"node": 0, "grid": 0, "frame": 0, "look": 0})
    for grid in grids:
        # nodes that were left alone become background with Done; only hits were clicked
        found["node"] += int((grid.class_index > 0).sum())
        found["grid" if grid.box is None else "frame"] += grid.is_done
        found["look"] += int((grid.looks > 0).sum())
    return dict(found)


def sample_annotations(layer: Image | None) -> Annotations | None:
    """Annotations that came with a sample image; None for any other."""
    mark = {} if layer is None else layer.metadata.get(MARK, {})
    annotations = mark.get("annotations") if isinstance(mark, dict) else None
    return annotations if isinstance(annotations, Annotations) else None


def _stored(labels: PaintedLabels, z: int) -> npt.NDArray[np.uint8] | None:
    values = labels.read(z)
    if (values == IGNORE).all():
        return None
    return np.where(values == IGNORE, 0, values + 1).astype(np.uint8)
