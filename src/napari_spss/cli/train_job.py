"""What ``train`` is asked for, and the run that comes of it: a new one, or one that goes on."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.annotations import (
    Annotations,
    Classes,
    ClassSpec,
    error_after_looks,
    looks_summary,
    match_class,
    read_annotations,
    read_looks,
    with_looks,
)
from ..core.base import InputError, TrainingSettings, counted, preset as preset_settings
from ..core.images import (
    Masks,
    PairedMasks,
    Stack,
    open_labels,
    open_stack,
    pair_masks,
    stored_classes,
)
from ..core.training import (
    RunFolder,
    RunInputs,
    begin_recorded,
    iter_training,
    load_model,
    training_seconds,
    working_scale,
)
from .display import duration
from .options import check_diameter, diameter_settings, parse_assignments, parse_class_list
from .streams import say

if TYPE_CHECKING:
    from ..core.base import CancelToken, Event, VoxelSize
    from ..core.images import LabelSource
    from ..core.training import Model

NODE_ERROR = "labels.node_error"
_OF_MODEL = ("network.name", "network.filters", "image.normalisation")


@dataclass(frozen=True)
class TrainRequest:
    """The options of the command; None is what was not given."""

    image: Path | None
    out: Path
    proportions: Path | None
    keypoints: Path | None
    grid: Path | None
    masks: Path | None
    classes: str | None
    has_instances: bool
    preset: str | None
    object_diameter: str | None
    max_minutes: float | None
    seed: int | None
    assignments: tuple[str, ...]
    axes: str | None
    voxel_size_um: VoxelSize | None
    outside: str | None = None
    keypoint_units: str | None = None
    review: Path | None = None
    start_from: Path | None = None

    @property
    def has_tables(self) -> bool:
        """Whether any table of annotations is given."""
        return any(path is not None for path in (self.proportions, self.keypoints, self.grid))

    def overrides(self) -> dict[str, object]:
        """Settings that options state; what ``--set`` says goes first."""
        values: dict[str, object] = {}
        if self.object_diameter is not None:
            values |= diameter_settings(self.object_diameter)
        if self.max_minutes is not None:
            values["optimisation.max_minutes"] = self.max_minutes
        if self.seed is not None:
            values["seed"] = self.seed
        return values | parse_assignments(self.assignments)


@dataclass(frozen=True)
class TrainJob:
    """A run that can start."""

    out: Path  # folder of the run
    # what to learn from, and how
    stack: Stack
    annotations: Annotations
    settings: TrainingSettings
    masks: LabelSource | None
    on_start: Callable[[], None]  # records what goes in; called once the data have proved usable
    has_checkpoint: bool = False  # whether to go on from the checkpoint in ``out``
    start_from: Model | None = None  # whose weights to begin with, with a budget of its own
    known: Annotations | None = None  # what the run had learned from before it goes on
    before: Model | None = None  # its model, if the annotations are others now
    notes: tuple[str, ...] = ()  # what else was understood, for the user

    def start(self, *, device: str, token: CancelToken) -> Generator[Event, None, Model]:
        """Read the data, and if they can be used, record what goes in and return the run."""
        run = iter_training(
            self.stack,
            self.annotations,
            self.settings,
            masks=self.masks,
            run_dir=self.out,
            resume=self.has_checkpoint,
            start_from=self.start_from,
            token=token,
            device=device,
        )
        return begin_recorded(run, self.out, self.on_start)


def fresh_job(request: TrainRequest) -> TrainJob:
    """Prepare a new run; InputError if the folder holds one, or anything given cannot be used."""
    if RunFolder(request.out).holds_run:
        raise InputError(
            f"--out {request.out} already holds a run; choose another folder, or add --resume to "
            "go on with it."
        )
    RunFolder(request.out).check_free()
    if request.image is None:
        raise InputError("no image is given; write: napari-spss train IMAGE ... --out RUN.")
    if not request.has_tables and request.masks is None:
        raise InputError(
            "nothing to learn from; give --proportions, --keypoints, --grid or --masks."
        )
    settings = preset_settings(request.preset or "fast")
    start_from = None if request.start_from is None else load_model(request.start_from)
    if start_from is not None:
        settings = settings.with_overrides({n: start_from.settings.value(n) for n in _OF_MODEL})
    settings = settings.with_overrides(request.overrides())
    spec = parse_class_list(request.classes)
    stack = open_stack(request.image, axes=request.axes, voxel_size_um=request.voxel_size_um)
    tables = read_tables(request, spec.names if spec else None, stack, outside=request.outside)
    annotations, masks = _with_masks(tables, request, spec, stack)
    annotations, settings, notes = reviewed(request, annotations, settings)
    check_diameter(settings, stack)
    if start_from is not None:
        if start_from.classes != annotations.classes:
            notes += (
                f"{request.start_from} is of the classes {', '.join(start_from.classes)}: all but "
                "the last layer of its network is taken.",
            )
            start_from = start_from.for_classes(annotations.classes)
        start_from = _of_other_images(start_from, settings, stack)
    inputs = RunInputs(
        image=str(request.image.resolve()),
        image_identity=stack.identity(),
        classes=request.classes,
        axes=request.axes,
        voxel_size_um=request.voxel_size_um,
    )
    inputs = with_masks(inputs, request, masks)

    def begin() -> None:
        RunFolder(request.out).begin(settings, annotations, inputs)

    return TrainJob(
        request.out, stack, annotations, settings, masks, begin, start_from=start_from, notes=notes
    )


def _of_other_images(model: Model, settings: TrainingSettings, stack: Stack) -> Model:
    """Return a model to begin with, not to go on with.

    How much labels weigh is decided anew, and how far the image is reduced, if the user states how
    wide objects are in it.
    """
    changes: dict[str, object] = {"label_scale": replace(model.label_scale, normaliser=0.0)}
    if settings.image.reduction(stack.pixel_size_um(0)) is not None:
        scale = working_scale(settings, stack)
        changes |= {"reduction": scale.reduction, "pixel_size_um": scale.pixel_size_um}
    return model.model_copy(update=changes)


def with_masks(inputs: RunInputs, request: TrainRequest, masks: LabelSource | None) -> RunInputs:
    """Record where masks are, and how they mark the classes; ``inputs`` if none are given."""
    if request.masks is None or not isinstance(masks, Masks | PairedMasks):
        return inputs
    return replace(
        inputs,
        masks=str(request.masks.resolve()),
        classes=masks.classes.text,
        has_instances=request.has_instances,
    )


def reviewed(
    request: TrainRequest, annotations: Annotations, settings: TrainingSettings
) -> tuple[Annotations, TrainingSettings, tuple[str, ...]]:
    """Let the second looks that are given change nodes, and how many are expected to be wrong.

    An error of nodes that the user states stays what it is.

    Returns
    -------
    Annotations, TrainingSettings, tuple of str
        The last for the user.

    Raises
    ------
    InputError
        If there is no grid, the table cannot be used, or says nothing.
    """
    if request.review is None:
        return annotations, settings, ()
    if not annotations.grids:
        raise InputError(
            "--review changes nodes of counting grids, and none is given; add --grid with the "
            "grid.csv of the run that was reviewed."
        )
    looks = [one for one in read_looks(request.review, annotations) if one.verdict is not None]
    if not looks:
        raise InputError(
            f"{request.review}: no node was looked at; write keep, a class or ? into its column "
            "look, or leave --review out."
        )
    error = error_after_looks(looks, settings.labels.node_error)
    stated = request.overrides().get(NODE_ERROR)
    value = round(error, 4) if stated is None else stated
    settings = settings.with_overrides({NODE_ERROR: value})
    text = (
        f"second look: {looks_summary(looks)}; of the others, "
        f"{100 * settings.labels.node_error:.2g} % are taken to be wrong ({NODE_ERROR})"
    )
    return with_looks(annotations, looks), settings, (text,)


def read_tables(
    request: TrainRequest,
    classes: tuple[str, ...] | None,
    stack: Stack,
    *,
    outside: str | None = None,
) -> Annotations | None:
    """Read the tables that are given, which must say something; None if there are none."""
    if not request.has_tables:
        return None
    annotations = read_annotations(
        proportions=request.proportions,
        keypoints=request.keypoints,
        grid=request.grid,
        classes=classes,
        stack=stack,
        outside=outside,
        keypoint_units=request.keypoint_units,
    )
    if annotations.is_empty and request.masks is None:
        given = (request.proportions, request.keypoints, request.grid)
        names = ", ".join(str(path) for path in given if path is not None)
        raise InputError(f"{names}: no fraction, keypoint or judged node; state at least one.")
    return annotations


def _with_masks(
    tables: Annotations | None, request: TrainRequest, spec: ClassSpec | None, stack: Stack
) -> tuple[Annotations, Masks | PairedMasks | None]:
    """Open the masks, and bring tables and masks to one order of classes."""
    if request.masks is None:
        assert tables is not None
        return tables, None
    known = None if tables is None else tables.classes
    masks = open_training_masks(
        request.masks, spec, stack, known=known, instances=request.has_instances
    )
    names = masks.classes.names
    if tables is not None:
        return tables.with_classes(names), masks
    return Annotations(Classes(names, request.outside)), masks


def open_training_masks(
    path: Path,
    spec: ClassSpec | None,
    stack: Stack,
    *,
    known: tuple[str, ...] | None,
    instances: bool,
) -> Masks | PairedMasks:
    """Open masks that belong to an image; InputError if they cannot, or do not fit the slices.

    Without ``spec`` the classes are those that are ``known``: by name if the masks bring names,
    else in order.
    """
    if path.resolve() == Path(stack.source).resolve():
        raise InputError(
            f"{path} is named as the image and as its masks; name the grey image first, and its "
            "masks by --masks."
        )
    if spec is not None or known is None:
        return pair_masks(open_labels(path, classes=spec, instances=instances), stack)
    stored = () if instances else stored_classes(path) or ()
    places = [match_class(name, stored) for name in known]
    is_by_name = len(stored) == len(known) and None not in places
    if is_by_name and places != [*range(len(known))]:
        spec = ClassSpec(known, tuple(place for place in places if place is not None))
    masks = open_labels(path, classes=spec or ClassSpec(known), instances=instances)
    if len(known) > 2 and not is_by_name:
        text = ClassSpec(known, masks.classes.values or tuple(range(len(known)))).text
        note = f"the values in {path} are taken as {text}, in the order of what was annotated; "
        note += "--classes states others."
        masks = replace(masks, readings=(*masks.readings, note))
    return pair_masks(masks, stack)


def introduce(job: TrainJob, device: str) -> None:
    """Tell what was understood and how long it will take, before minutes are spent."""
    from ..core.analysis import areas_of_pixels, counted_fractions

    stack, annotations, masks = job.stack, job.annotations, job.masks
    shapes = {stack.shape_of(z) for z in range(stack.n_slices)}
    size = "of several sizes" if len(shapes) > 1 else "of {} x {} pixels".format(*shapes.pop())
    kind = "image" if stack.is_set else "slice"
    channels = f", {stack.n_channels} channels" if stack.n_channels > 1 else ""
    n_slices = counted(stack.n_slices, kind)
    say(f"image: {n_slices} {size}, {stack.dtype}{channels}, {_pixels(stack)}")
    said = [] if annotations.is_empty else [annotations.summary()]
    if isinstance(masks, Masks | PairedMasks):
        n_masks = masks.n_masks if isinstance(masks, PairedMasks) else masks.n_slices
        said.append(counted(n_masks, "mask"))
    elif masks is not None:
        said.append("labels that were painted in the dock")
    say(f"annotations: {', '.join(said)}")
    found = counted_fractions(annotations, pixel_areas=areas_of_pixels(stack))
    for text in (*job.notes, *(() if found is None else found.messages())):
        say(text)
    if job.start_from is not None and job.start_from.n_steps and not job.has_checkpoint:
        say(f"begins with the model of {counted(job.start_from.n_steps, 'step')}")
    reduction = job.settings.image.reduction(stack.pixel_size_um(0))
    if reduction is not None:
        how = "at full resolution" if reduction == 1 else f"reduced by {reduction}"
        say(f"working scale: the network sees the image {how}")
    n_steps = job.settings.optimisation.max_steps
    seconds = None if job.has_checkpoint else training_seconds(job.settings, device=device)
    if n_steps is not None and seconds is not None:
        say(f"training: {counted(n_steps, 'step')}, about {duration(seconds)} on {device}")


def _pixels(stack: Stack) -> str:
    """Give the width of a pixel, or of the finest and coarsest of a set."""
    widths = [stack.pixel_size_um(z) for z in range(stack.n_slices if stack.is_set else 1)]
    known = [f"{1000 * width:.4g}" for width in sorted(width for width in widths if width)]
    if len(known) < len(widths):
        return "size of a pixel not known"
    return f"pixel {' to '.join(dict.fromkeys((known[0], known[-1])))} nm wide"
