"""What of the dock goes into a project, and back."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..core.annotations import PALETTE, Annotations, Classes, ClassStyle, CountingGrid
from ..core.base import UNKNOWN_VOXEL, InputError, counted, merge_voxel_size, set_aside
from ..core.images import IGNORE
from ..core.projects import RECORD_FILE, ObjectsRecord, ProjectState
from .layers import MARK, Geometry
from .models import FoundObjects, ObjectRequest, ResultsForm, RunForm, check_texts
from .widgets import CLASS_KEYS

if TYPE_CHECKING:
    from napari.layers import Image, Labels
    from napari.viewer import Viewer

    from ..core.projects import Project
    from .inputs import Inputs
    from .models import PaintedLabels

# among the settings, beside the form's
_VOXEL, _RESULTS, _FORMER = "voxel_size_um", "results", "former_names"
RESTORED = "Restored "  # how it is told


@dataclass(frozen=True)
class Form:
    """What is entered for an image beside its annotations; the settings as a project keeps them."""

    classes: tuple[ClassStyle, ...]
    settings: dict[str, Any]


class ProjectContents:
    """Reads the dock's sections into a project's state and fills them from one.

    Painted labels are stored with the class's index plus one, 0 where nothing is painted.
    """

    def __init__(self, viewer: Viewer, inputs: Inputs) -> None:
        self._viewer, self._inputs = viewer, inputs
        self._image, self._classes = inputs.image, inputs.classes
        self._annotate, self._results = inputs.annotate, inputs.results
        self._stored_layer: Labels | None = None
        self._stored_slices: set[int] = set()
        self._counts: dict[str, int] = {}
        self.run = ""  # name of the run that is in use, empty for the newest
        self._objects: dict[str, FoundObjects] = {}  # that are proofread, by class
        self._parts: dict[str, int] = {}  # of the project, in which each is
        self._changed_objects: dict[int, set[int]] = {}
        self.is_restoring = False  # whether what changes is restored, not entered
        self.blank = self.form()  # before anything is entered

    @contextlib.contextmanager
    def restoring(self) -> Iterator[None]:
        """Take what changes meanwhile as restored, not as entered."""
        was_restoring, self.is_restoring = self.is_restoring, True
        try:
            yield
        finally:
            self.is_restoring = was_restoring

    def state(self) -> ProjectState:
        """Return what is to be saved, painted labels excepted."""
        form, size = self.form(), self._image.stated_voxel_size()
        settings = {**form.settings, _RESULTS: self._results.form().model_dump()}
        if self._classes.former:
            settings[_FORMER] = self._classes.former
        return ProjectState(
            classes=form.classes,
            annotations=self._annotate.value(),
            settings=settings if size is None else {**settings, _VOXEL: size},
            table_texts=self._annotate.fractions.text_state(),
            looks=self._annotate.second_look.value(),
            check=self._annotate.check.value(),
            run=self.run,
            objects=tuple(map(self._objects_record, self._objects)),
        )

    def form(self) -> Form:
        """Return classes and settings as they are entered."""
        return Form(self._classes.value(), asdict(self._inputs.form()))

    def set_form(self, form: Form) -> None:
        """Enter classes and settings; the device stays, which is no matter of the image."""
        self._classes.set_value(form.classes)
        self._show_form(RunForm(**{**form.settings, "device": self._inputs.form().device}))

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

    def forget_objects(self, kept: Iterable[ObjectsRecord] = ()) -> None:
        """Know of no objects, but of where a project keeps some."""
        self._objects, self._changed_objects = {}, {}
        self._parts = {record.class_name: record.part for record in kept}

    def note_objects(self, every: Mapping[str, FoundObjects], slices: Iterable[int] | None) -> None:
        """Take what a person said of objects, to be saved; what is missing is dropped.

        They come by class, those that are shown last, with the slices in which these changed; of
        other objects than before, all are taken to have.
        """
        before, shown = self._objects, [None, *every][-1]
        self._objects = {
            name: found for name, found in every.items() if found.is_edited or name in before
        }
        for name in {**before, **self._objects}:
            found = self._objects.get(name, before.get(name))
            assert found is not None
            changed = slices if name == shown else ()
            if found is not before.get(name) or name not in self._objects or changed is None:
                changed = range(len(found.instances))
            free = (n for n in count(1) if n not in self._parts.values())
            part = self._parts.setdefault(name, next(free))
            self._changed_objects.setdefault(part, set()).update(changed)
        self._parts = {name: self._parts[name] for name in self._objects}

    @property
    def proofread(self) -> tuple[FoundObjects, ...]:
        """Objects of each class that are saved in the project, those that were shown come last."""
        return tuple(self._objects.values())

    def _objects_record(self, name: str) -> ObjectsRecord:
        found = self._objects[name]
        request = asdict(found.request)
        del request["class_index"]
        return ObjectsRecord(
            **request,
            judged=tuple(sorted(found.judged)),
            made_by=dict(found.made_by),
            part=self._parts[name],
        )

    def objects(self) -> dict[int, dict[int, npt.NDArray[np.int32] | None]]:
        """Return numbers by part and slice that changed since the last call; None for none."""
        changed, self._changed_objects = self._changed_objects, {}
        owners = {self._parts[name]: found for name, found in self._objects.items()}
        return {
            part: {z: owners[part].numbers(z) if part in owners else None for z in sorted(slices)}
            for part, slices in changed.items()
        }

    def read_objects(
        self, project: Project, shape: tuple[int, int, int]
    ) -> tuple[FoundObjects, ...]:
        """Read proofread objects of each class from a project, not yet measured."""
        self.forget_objects(project.state.objects)
        names = [style.name for style in project.state.classes]
        for record in project.state.objects:
            slices = project.read_objects(shape, part=record.part)
            if not (slices or record.judged):
                continue
            request = ObjectRequest(
                class_index=names.index(record.class_name) if record.class_name in names else 1,
                class_name=record.class_name,
                per_slice=record.per_slice,
                min_size=record.min_size,
                split=record.split,
            )
            self._objects[record.class_name] = FoundObjects.of_numbers(
                request, slices, shape, judged=record.judged, made_by=record.made_by
            )
        return self.proofread

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
        former = settings.pop(_FORMER, {})
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
        self._classes.set_value(
            state.classes,
            {
                name: list(map(str, names))
                for name, names in (former.items() if isinstance(former, dict) else ())
                if isinstance(names, list)
            },
        )
        annotations = state.annotations or Annotations(Classes(state.classes))
        is_damaged = "proportions" in project.unreadable
        self._annotate.set_value(
            annotations, typed, looks=state.looks, check=state.check, is_damaged=is_damaged
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
            self._annotate.painted.restore(slices, len(state.classes))
            self._stored_layer = self._annotate.painted.layer
        is_blank = annotations.is_empty and not annotations.grids
        texts = [] if is_blank else [annotations.summary()]
        texts += [counted(len(slices), "painted slice")] if slices else []
        check = self._annotate.check_value()
        texts += [f"a check count of {check.summary()}"] if check.grids else []
        return ", ".join(texts) or "the classes; nothing is annotated yet", faults

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

    def take_classes(self, classes: Classes) -> None:
        """Take those of a loaded model, unless the user has named or annotated some."""
        is_blank = self._classes.value() == self.blank.classes
        if is_blank and not any(map(self._annotate.usage_of, self._classes.names())):
            styles = self._classes.styles_of(classes)
            keys = (*CLASS_KEYS, *[""] * len(styles))
            self._classes.set_value(
                [replace(one, key=one.key or key) for one, key in zip(styles, keys, strict=False)]
            )

    def _show_form(self, form: RunForm) -> None:
        self._image.set_diameter(form.object_diameter_px)
        self._inputs.train.set_value(form)


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
