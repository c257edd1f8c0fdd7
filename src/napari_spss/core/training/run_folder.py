"""The folder of a run: what went in, what was told, what came out; a run is repeatable from it.

::

    config.toml         settings             model.safetensors, model.json
    inputs.json         image, masks, class outside, versions
    proportions.csv  keypoints.csv  grid.csv     annotations as used
    painted/slice_00012.tif                      painted labels, class index + 1, 0 = unlabelled
    updates/step_000120/                         the same that joined at step 120
    events.jsonl        every event          checkpoint/   to go on after a stop
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, TypeVar

import numpy as np
from pydantic import ConfigDict

from ..annotations import (
    TABLE_NAMES,
    Annotations,
    Classes,
    ClassSpec,
    SliceShapes,
    annotation_files,
    parse_classes,
    restore_annotations,
    write_annotations,
)
from ..base import (
    MODEL_RECORD,
    RECORD,
    STALE_FILES,
    Agreement,
    Event,
    FolderLocked,
    InputError,
    Record,
    ResultFiles,
    RunFinished,
    RunStarted,
    SpssError,
    TrainingSettings,
    Validated,
    Watched,
    check_links,
    counted,
    event_from_json,
    event_to_json,
    hold_folder,
    load_settings,
    read_file,
    read_record,
    remove_stale_files,
    save_settings,
    versions,
    write_atomically,
    write_errors,
)
from ..images import IGNORE, PAINTED_FOLDER, LabelSource, PaintedSlices, as_label_source
from .checkpoint import (
    MODEL_WEIGHTS,
    REMEDY,
    STATE_FILE,
    Model,
    ModelRecord,
    load_model,
    load_record,
    load_state,
    model_of_checkpoint,
    save_model,
)

CONFIG = "config.toml"
INPUTS = "inputs.json"
EVENTS = "events.jsonl"
UPDATES = "updates"
_STEP = "step_"
_NAMES = (
    INPUTS,
    EVENTS,
    UPDATES,
    PAINTED_FOLDER,
    *TABLE_NAMES,
    MODEL_RECORD,
    MODEL_WEIGHTS,
    CONFIG,
)
"""All of a run but its checkpoint; the settings come last, since they make it a run."""

_PARTS = (CONFIG, MODEL_WEIGHTS, MODEL_RECORD, STATE_FILE)


T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunInputs:
    """Where a run's data came from.

    ``classes`` is None where the class order is that of the annotation files; ``has_instances``
    says whether the values of the masks are ids of objects; ``continues`` is the folder, beside its
    own, of the run whose model it went on from.
    """

    __pydantic_config__: ClassVar[ConfigDict] = RECORD

    image: str
    image_identity: str
    masks: str | None = None
    classes: str | None = None
    axes: str | None = None
    voxel_size_um: tuple[float | None, float | None, float | None] | None = None
    has_instances: bool = False
    continues: str | None = None


class _Begun(Record):
    """When a run began, and with which classes."""

    began: datetime
    annotated: Classes


@dataclass(frozen=True)
class RunFolder:
    """A run on disk, whose folder need not exist yet."""

    path: Path

    @property
    def holds_run(self) -> bool:
        """Whether a run was started here."""
        return any((self.path / name).exists() for name in _PARTS)

    def check_free(self) -> None:
        """See that a run can be started here and replaces nothing.

        Raises
        ------
        InputError
            If the folder already holds a run, or another file of a name that a run needs.
        """
        if self.holds_run:
            raise InputError(
                f"{self.path} already holds a run; choose another folder, or resume it."
            )
        self._begun.check()

    @property
    def _begun(self) -> ResultFiles:
        """What goes in; and the rest, which must not be there yet."""
        return ResultFiles(self.path, "begun", _NAMES, {}, overwrite=None)

    def copy_at(self, folder: Path, *, overwrite: bool = False) -> ResultFiles | None:
        """Files of a copy in another folder; None if it is this one.

        Raises
        ------
        InputError
            If a link leads out of the run.
        """
        if folder.resolve() == self.path.resolve():
            return None
        check_links(self.path, _NAMES)
        names = tuple(name for name in _NAMES if (self.path / name).exists())
        made_from = {"run": str(self.path.resolve())}
        return ResultFiles(folder, "run", names, made_from, overwrite=overwrite)

    def copy_to(
        self, folder: Path, *, overwrite: bool = False, classes: Classes | None = None
    ) -> None:
        """Copy what makes a run repeatable, but not its checkpoint.

        Its classes have the names of ``classes`` there, if these are given, in the same order.

        Raises
        ------
        InputError
            If something else is in the way.
        RunError
            If the folder cannot be written.
        """
        copy = self.copy_at(folder, overwrite=overwrite)
        if copy is None:
            return
        with copy.writing() as new, write_errors(folder):
            for name in copy.names:
                if (self.path / name).is_dir():
                    unwanted = shutil.ignore_patterns(STALE_FILES)
                    shutil.copytree(self.path / name, new / name, ignore=unwanted)
                else:
                    shutil.copyfile(self.path / name, new / name)
            if classes is not None:
                RunFolder(new)._name(classes)

    def _name(self, classes: Classes) -> None:
        """Name the classes anew in the model, the annotations and the record of what went in."""
        save_model(load_model(self.path).model_copy(update={"classes": classes}), self.path)
        if not (self.path / CONFIG).is_file():  # a model alone
            return
        for folder, said in zip(self._all_annotated(), self.all_annotations(), strict=True):
            write_annotations(folder, said.replace(classes=classes, outside=None))
        record = json.loads(read_file(self.path / INPUTS, remedy=REMEDY))
        record["annotated"] = classes.plain()
        if record.get("classes") is not None:
            values = parse_classes(record["classes"]).values
            record["classes"] = ClassSpec(tuple(classes), values).text
        _write_inputs(self.path, record)

    def begin(
        self,
        settings: TrainingSettings,
        annotations: Annotations,
        inputs: RunInputs,
        *,
        painted: LabelSource | None = None,
    ) -> None:
        """Write what goes in.

        Raises
        ------
        InputError
            As `check_free`, or if another process is at work in the folder.
        RunError
            If it cannot be written.
        """
        with hold_folder(self.path, may_be_ours=True):
            self.check_free()
            known = {"annotated": annotations.classes.plain(), "versions": versions()}
            began = datetime.now().astimezone().isoformat(timespec="seconds")
            record = asdict(inputs) | known | {"began": began}
            with self._begun.writing() as folder:
                _write_inputs(folder, record)
                write_annotations(folder, annotations)
                if painted is not None:
                    write_painted(folder, painted)
                save_settings(settings, folder / CONFIG)

    def go_on(
        self,
        settings: TrainingSettings,
        annotations: Annotations | None = None,
        *,
        painted: LabelSource | None = None,
        inputs: RunInputs | None = None,
    ) -> None:
        """Write with which settings the run goes on, and what joins it: annotations, masks.

        Raises
        ------
        InputError
            If the folder holds no run, its model cannot be read, or another process is at work in
            it.
        RunError
            If it cannot be written.
        """
        self._check()
        with hold_folder(self.path, may_be_ours=True):
            save_settings(settings, self.path / CONFIG)
            if inputs is not None:
                known = read_file(self.path / INPUTS, remedy=REMEDY)
                record = json.loads(known) | asdict(inputs)
                _write_inputs(self.path, record)
            if annotations is None:
                return
            numbers = [number + 1 for number in self._updates()]
            # Later ones must sort after earlier ones, though steps count anew from a complete run.
            has_model = (self.path / MODEL_WEIGHTS).is_file()
            n_steps = load_model(self.path).n_steps if has_model else 0
            write_update(self.path, max([n_steps, *numbers]), annotations, painted=painted)

    def _updates(self) -> dict[int, Path]:
        """Folders of annotations that joined the run, by their step."""
        return {
            int(number): folder
            for folder in (self.path / UPDATES).glob(f"{_STEP}*")
            if (number := folder.name.removeprefix(_STEP)).isdecimal()
        }

    def settings(self) -> TrainingSettings:
        """Read the settings of the run."""
        self._check()
        return load_settings(self.path / CONFIG)

    def inputs(self) -> RunInputs:
        """Where the run's data came from.

        Raises
        ------
        InputError
            If the record is missing or damaged.
        """
        return self._read(RunInputs)

    def annotations(self) -> Annotations:
        """Read the newest annotations of the run: as it began, or as they last joined it."""
        return self._annotations_in(self._all_annotated()[-1])

    def all_annotations(self) -> tuple[Annotations, ...]:
        """Read all that the run learned from: as it began, and as they joined it."""
        return tuple(map(self._annotations_in, self._all_annotated()))

    def _all_annotated(self) -> list[Path]:
        """Folders with annotations, the newest last."""
        self._check()
        return [self.path, *(folder for _, folder in sorted(self._updates().items()))]

    def _annotations_in(self, folder: Path) -> Annotations:
        classes = self._read(_Begun).annotated
        annotations, problems = restore_annotations(annotation_files(folder), classes=classes)
        if problems:
            raise InputError(problems=problems)
        return annotations

    def painted(self, stack: SliceShapes) -> LabelSource | None:
        """Read the newest painted labels of the run; None if there are none.

        Raises
        ------
        InputError
            If one cannot be read, or is of no slice of the image.
        """
        found = [one for one in self._painted_folders() if one.is_dir()]
        labels, problems = PaintedSlices(found[-1]).read() if found else ({}, [])
        problems += [
            f"{found[-1]} has labels of slice {z}, but the image has {stack.n_slices} slices."
            for z in labels
            if z >= stack.n_slices
        ]
        if problems:
            raise InputError(" ".join(problems))
        if not labels:
            return None
        return as_label_source(
            [
                np.where(labels[z] > 0, labels[z].astype(np.int16) - 1, IGNORE).astype(np.uint8)
                if z in labels
                else np.broadcast_to(np.uint8(IGNORE), stack.shape_of(z))
                for z in range(stack.n_slices)
            ]
        )

    def _painted_folders(self) -> list[Path]:
        """Where painted labels may be, the newest last."""
        return [one / PAINTED_FOLDER for one in self._all_annotated()]

    def end(self) -> RunFinished | None:
        """How the run ended when it was last at work; None if that is not known, or it did not.

        Raises
        ------
        InputError
            If the file of events cannot be read.
        """
        last = self._last_told()
        return last if isinstance(last, RunFinished) else None

    @property
    def is_interrupted(self) -> bool:
        """Whether the run began, or went on, without an end, and can go on from its checkpoint."""
        return (self.path / STATE_FILE).is_file() and isinstance(self._last_told(), RunStarted)

    def _last_told(self) -> Event | None:
        last = None
        for event in self.events(RunStarted, RunFinished):
            last = event
        return last

    def n_steps_before(self) -> int:
        """Read from the checkpoint how many steps the model had that the run began with."""
        return load_state(self.path)[0].steps_before or 0

    def events(self, *kinds: type) -> Iterator[Event]:
        """What the run told, as far as it is of some kinds; what is damaged is passed over.

        Raises
        ------
        InputError
            If the file of events cannot be read.
        """
        path = self.path / EVENTS
        content = read_file(path, remedy="restore it") if path.exists() else b""
        names = tuple(f'"{kind.__name__}"'.encode() for kind in kinds)
        for line in content.splitlines():
            if not any(name in line for name in names):
                continue  # most are of other kinds, and need not be parsed
            try:
                event = event_from_json(line)
            except ValueError:
                continue  # cut short by a crash, or of a later version
            if isinstance(event, kinds):
                yield event

    def summary(self) -> RunSummary:
        """Say what the run learned from, and what came of it.

        Raises
        ------
        InputError
            If its files, the weights aside, cannot be read.
        """
        agreement, losses = None, []
        for event in self.events(Agreement, Validated):
            if isinstance(event, Validated):
                losses.append(event.loss)
            elif isinstance(event, Agreement):
                agreement = event
        painted = [one for one in self._painted_folders() if one.is_dir()]
        n_painted = len(list(painted[-1].glob("slice_*.tif"))) if painted else 0
        learned = self.annotations()
        said = [] if learned.is_empty else [learned.summary()]
        said += [counted(n_painted, "painted slice")] if n_painted else []
        return RunSummary(
            self.path,
            self._read(_Begun).began,
            load_record(self.path),
            ", ".join(said) or "masks",
            self.end(),
            agreement,
            min(losses, default=None),
            self.is_interrupted,
        )

    def _read(self, kind: type[T]) -> T:
        self._check()
        return read_record(kind, self.path / INPUTS, remedy=REMEDY)

    def _check(self) -> None:
        if not (self.path / CONFIG).is_file():
            raise InputError(f"{self.path} holds no run ({CONFIG}); name the folder of a run.")
        check_links(self.path, (*_NAMES, *STATE_FILE.parts[:1]))


@dataclass(frozen=True)
class RunSummary:
    """What a list tells of a run."""

    path: Path  # its folder
    began: datetime  # with its time zone
    model: ModelRecord  # what is said of its model: steps, classes, settings
    learned_from: str  # such as "4 grids (1020 nodes, 61 hits), 12 keypoints"
    end: RunFinished | None = None  # how it ended; None if that is not known
    # how far its labels agree with the counted nodes; None if that was not measured
    agreement: Agreement | None = None
    validation_loss: float | None = None  # the lowest; None if nothing was held out
    is_interrupted: bool = False  # whether it did not end, and can go on from its checkpoint


def rescue_runs(folder: Path) -> tuple[str, ...]:
    """Give runs in a folder that were killed the models of their checkpoints, if they have none.

    The folder, such as ``runs`` of a project, need not exist. Returns why others stay without one.
    """
    faults = []
    for path in folder.iterdir() if folder.is_dir() else ():
        if (path / MODEL_WEIGHTS).is_file() or not (path / STATE_FILE).is_file():
            continue
        try:
            with hold_folder(path):  # unless it is still at work
                save_model(model_of_checkpoint(path, RunFolder(path).settings()), path)
        except FolderLocked:
            continue
        except (SpssError, OSError, ValueError) as error:
            faults.append(f"The training of {path.name} was interrupted, and is lost: {error}")
    return tuple(faults)


def list_runs(folder: Path) -> tuple[RunSummary, ...]:
    """Runs in a folder that have a model, the newest first; those that cannot be read are left out.

    The folder, such as ``runs`` of a project, need not exist.
    """
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        if not (path / MODEL_WEIGHTS).is_file():
            continue
        try:
            found.append(RunFolder(path).summary())
        except (SpssError, OSError, ValueError) as error:
            logger.warning("The run %s is not listed: %s", path, error)
    return tuple(sorted(found, key=lambda run: (run.began, run.path.name), reverse=True))


def enter_run_dir(folder: Path, *, goes_on: bool) -> None:
    """See that a training may write its model and checkpoints, and remove what a crash left.

    Raises
    ------
    InputError
        If they would replace those of another run, or a link leads out of the folder.
    """
    names = (MODEL_RECORD, MODEL_WEIGHTS, *STATE_FILE.parts[:1])
    check_links(folder, (*names, UPDATES))
    for name in () if goes_on else names:
        if os.path.lexists(folder / name):
            raise InputError(
                f"{folder} already holds a run ({name}); choose another folder, or resume it."
            )
    for place in (folder, *(folder / name for name in STATE_FILE.parts[:1])):
        remove_stale_files(place)


def begin_recorded(
    run: Generator[Event, None, Model], run_dir: Path, begin: Callable[[], None]
) -> Generator[Event, None, Model]:
    """Pass on the events of a run; once its data prove usable, record what goes in, and events.

    The run is one of `iter_training` with this folder, which nobody else can enter from the first
    event on; ``begin`` writes what goes in, as `RunFolder.begin` does.
    """
    path = run_dir / EVENTS
    file: BinaryIO | None = None
    with contextlib.ExitStack() as opened:
        opened.enter_context(contextlib.closing(run))  # lets the folder go
        for event in (watched := Watched(run)):
            if isinstance(event, RunStarted):
                begin()
                with write_errors(path):
                    file = opened.enter_context(path.open("ab", buffering=0))
            if file is not None:
                with write_errors(path):
                    file.write(f"{event_to_json(event)}\n".encode())
            yield event
    return watched.result


def _write_inputs(folder: Path, record: Mapping[str, Any]) -> None:
    """Write where a run's data came from, or raise InputError where a path is no text."""
    text = json.dumps(record, indent=2, ensure_ascii=False)
    try:
        str(folder).encode()  # weights, which could not be read from there
        write_atomically(folder / INPUTS, text)
    except UnicodeEncodeError as error:
        path = error.object[: error.end].rpartition('"')[2]
        raise InputError(
            f"the path {path!r}... is not UTF-8 from there on; rename that file or folder."
        ) from error


def write_painted(folder: Path, labels: LabelSource) -> None:
    """Store painted labels in a run's folder, a file per slice that has any, or raise RunError."""
    painted = PaintedSlices(folder / PAINTED_FOLDER)
    with write_errors(folder):
        (folder / PAINTED_FOLDER).mkdir(exist_ok=True)  # also if all labels are gone by now
        for z in range(labels.n_slices):
            values = labels.read(z)
            shifted = np.where(values == IGNORE, 0, values.astype(np.uint16) + 1)
            painted.note({z: shifted.astype(np.uint8)})
            painted.write()


def write_update(
    run_dir: Path, step: int, annotations: Annotations, *, painted: LabelSource | None = None
) -> None:
    """Store annotations, and painted labels, that joined a run at a step.

    Raises
    ------
    RunError
        If they cannot be written.
    """
    folder = run_dir / UPDATES / f"{_STEP}{step:06d}"
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_annotations(folder, annotations)
    if painted is not None:
        write_painted(folder, painted)
