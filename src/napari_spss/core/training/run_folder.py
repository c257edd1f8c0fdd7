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
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from ..annotations import Annotations, annotation_files, read_annotations, write_annotations
from ..base import (
    Event,
    InputError,
    RunFinished,
    RunStarted,
    TrainingSettings,
    event_from_json,
    event_to_json,
    load_settings,
    save_settings,
    write_atomically,
    write_errors,
)
from ..images import IGNORE, PAINTED_FOLDER, LabelSource, PaintedSlices
from .checkpoint import MODEL_RECORD, STATE_FILE, Model, load_model

__all__ = [
    "RunFolder",
    "RunInputs",
    "begin_recorded",
    "record_events",
    "write_painted",
    "write_update",
]

CONFIG = "config.toml"
INPUTS = "inputs.json"
EVENTS = "events.jsonl"
UPDATES = "updates"
_STEP = "step_"


@dataclass(frozen=True)
class RunInputs:
    """Where a run's data came from.

    ``classes`` is None where the class order is that of the annotation files; ``has_instances``
    says whether the values of the masks are ids of objects.
    """

    image: str
    image_identity: str
    masks: str | None = None
    classes: str | None = None
    axes: str | None = None
    voxel_size_um: tuple[float | None, float | None, float | None] | None = None
    has_instances: bool = False


@dataclass(frozen=True)
class RunFolder:
    """A run on disk.

    Parameters
    ----------
    path : Path
        Need not exist yet.
    """

    path: Path

    @property
    def holds_run(self) -> bool:
        """Whether a run was started here."""
        return any((self.path / name).exists() for name in (CONFIG, MODEL_RECORD, STATE_FILE))

    def begin(
        self, settings: TrainingSettings, annotations: Annotations, inputs: RunInputs
    ) -> None:
        """Write what goes in.

        Raises
        ------
        InputError
            If the folder already holds a run.
        RunError
            If it cannot be written.
        """
        if self.holds_run:
            raise InputError(
                f"{self.path} already holds a run; choose another folder, or resume it."
            )
        record = asdict(inputs) | {"outside": annotations.outside, "versions": _versions()}
        write_atomically(self.path / INPUTS, json.dumps(record, indent=2))
        write_annotations(self.path, annotations)
        # the settings come last, since they make it a run
        save_settings(settings, self.path / CONFIG)

    def go_on(
        self,
        settings: TrainingSettings,
        annotations: Annotations | None = None,
        *,
        painted: LabelSource | None = None,
    ) -> None:
        """Write with which settings the run goes on, and annotations that join it.

        Raises
        ------
        InputError
            If the folder holds no run, or its model cannot be read.
        RunError
            If it cannot be written.
        """
        self._check()
        save_settings(settings, self.path / CONFIG)
        if annotations is None:
            return
        numbers = [number + 1 for number in self._updates()]
        # Later ones must sort after earlier ones, though steps count anew from a complete run on.
        has_model = (self.path / MODEL_RECORD).is_file()
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
        known = {item.name for item in fields(RunInputs)}
        try:
            values = {name: value for name, value in self._record().items() if name in known}
            if values.get("voxel_size_um") is not None:
                values["voxel_size_um"] = tuple(values["voxel_size_um"])
            return RunInputs(**values)
        except (OSError, ValueError, TypeError) as error:
            raise self._damaged(error) from error

    def annotations(self) -> Annotations:
        """Read the newest annotations of the run: as it began, or as they last joined it."""
        self._check()
        updates = self._updates()
        files = annotation_files(updates[max(updates)] if updates else self.path)
        return read_annotations(
            proportions=files.get("proportions"),
            keypoints=files.get("keypoints"),
            grid=files.get("grid"),
            outside=self._outside(),
        )

    def end(self) -> RunFinished | None:
        """How the run ended when it was last at work; None if that is not known, or it did not."""
        path = self.path / EVENTS
        lines = path.read_bytes().splitlines() if path.is_file() else []
        for line in reversed(lines):
            try:
                event = event_from_json(line.decode())
            except ValueError:
                continue  # cut short by a crash, or of a later version
            if isinstance(event, RunStarted | RunFinished):
                return event if isinstance(event, RunFinished) else None
        return None

    def _outside(self) -> str | None:
        """Class of the run that is excluded from all fractions."""
        try:
            outside = self._record().get("outside")
        except (OSError, ValueError) as error:
            raise self._damaged(error) from error
        return None if outside is None else str(outside)

    def _record(self) -> dict[str, Any]:
        self._check()
        record = json.loads((self.path / INPUTS).read_text(encoding="utf-8"))
        if not isinstance(record, dict):
            raise ValueError("it holds no object")
        return record

    def _damaged(self, error: Exception) -> InputError:
        return InputError(f"{self.path / INPUTS} is damaged ({error}); restore it, or train again.")

    def _check(self) -> None:
        if not (self.path / CONFIG).is_file():
            raise InputError(f"{self.path} holds no run ({CONFIG}); name the folder of a run.")


def begin_recorded(
    run: Generator[Event, None, Model], run_dir: Path, begin: Callable[[], None]
) -> Generator[Event, None, Model]:
    """Let a run read its data, and if they can be used, record what goes in and its events.

    Parameters
    ----------
    run : generator
        Of `iter_training` with this folder, which nobody else can enter from the first event on.
    run_dir : Path
        Its folder.
    begin : callable
        Writes what goes in, as `RunFolder.begin` does.
    """
    try:
        first = next(run)
        begin()
    except BaseException:
        run.close()  # lets the folder go
        raise
    return record_events(_led_by(first, run), run_dir)


def _led_by(first: Event, run: Generator[Event, None, Model]) -> Generator[Event, None, Model]:
    with contextlib.closing(run):
        yield first
        return (yield from run)


def record_events(
    events: Generator[Event, None, Model], run_dir: Path
) -> Generator[Event, None, Model]:
    """Pass events on and append each to ``events.jsonl``.

    Raises
    ------
    RunError
        If the file cannot be written.
    """
    path = run_dir / EVENTS
    with contextlib.closing(events):
        with write_errors(path):
            file = path.open("ab", buffering=0)
        with file:
            while True:
                try:
                    event = next(events)
                except StopIteration as end:
                    model: Model = end.value
                    return model
                with write_errors(path):
                    file.write(f"{event_to_json(event)}\n".encode())
                yield event


def write_painted(folder: Path, labels: LabelSource) -> None:
    """Store painted labels in a run's folder, a file per slice that has any.

    Raises
    ------
    RunError
        If they cannot be written.
    """
    painted = PaintedSlices(folder / PAINTED_FOLDER)
    with write_errors(folder):
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


def _versions() -> dict[str, str]:
    found = {}
    for name in ("napari-spss", "torch", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
