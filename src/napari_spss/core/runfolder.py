"""The folder of a run: what went in, what was told, what came out; a run is repeatable from it.

::

    config.toml         settings             model.safetensors, model.json
    inputs.json         image, masks, versions
    proportions.csv  keypoints.csv  grid.csv     annotations as used
    updates/step_000120/*.csv                    annotations that joined at step 120
    events.jsonl        every event          checkpoint/   to go on after a stop
"""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .annotations import Annotations
from .checkpoint import MODEL_RECORD, STATE_FILE, Model, write_atomically
from .config import TrainingSettings, load_settings, save_settings
from .errors import InputError, RunError
from .events import Event, event_to_json
from .tables import annotation_files, read_annotations, write_annotations

__all__ = ["RunFolder", "RunInputs", "record_events", "write_update"]

CONFIG = "config.toml"
INPUTS = "inputs.json"
EVENTS = "events.jsonl"


@dataclass(frozen=True)
class RunInputs:
    """Where a run's data came from.

    ``classes`` is None where the class order is that of the annotation files.
    """

    image: str
    image_identity: str
    masks: str | None = None
    classes: str | None = None
    axes: str | None = None
    voxel_size_um: tuple[float | None, float | None, float | None] | None = None


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
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            save_settings(settings, self.path / CONFIG)
        except OSError as error:
            raise RunError(
                f"{self.path} could not be written ({error}); choose a writable folder."
            ) from error
        write_annotations(self.path, annotations)
        record = asdict(inputs) | {"versions": _versions()}
        write_atomically(self.path / INPUTS, json.dumps(record, indent=2))

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
        self._check()
        try:
            record = json.loads((self.path / INPUTS).read_text(encoding="utf-8"))
            known = {item.name for item in fields(RunInputs)}
            values = {name: value for name, value in record.items() if name in known}
            if values.get("voxel_size_um") is not None:
                values["voxel_size_um"] = tuple(values["voxel_size_um"])
            return RunInputs(**values)
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{self.path / INPUTS} is damaged ({error}); train again.") from error

    def annotations(self) -> Annotations:
        """Read the newest annotations of the run: as it began, or as they last joined it."""
        self._check()
        updates = sorted((self.path / "updates").glob("step_*"))
        files = annotation_files(updates[-1] if updates else self.path)
        return read_annotations(
            proportions=files.get("proportions"),
            keypoints=files.get("keypoints"),
            grid=files.get("grid"),
        )

    def _check(self) -> None:
        if not (self.path / CONFIG).is_file():
            raise InputError(f"{self.path} holds no run ({CONFIG}); name the folder of a run.")


def record_events(
    events: Generator[Event, None, Model], run_dir: Path
) -> Generator[Event, None, Model]:
    """Pass events on and append each to ``events.jsonl``.

    Raises
    ------
    RunError
        If the file cannot be written.
    """
    try:
        file = (run_dir / EVENTS).open("a", encoding="utf-8")
    except OSError as error:
        raise RunError(
            f"{run_dir / EVENTS} could not be written ({error}); choose a writable folder."
        ) from error
    with file:
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                model: Model = end.value
                return model
            file.write(event_to_json(event) + "\n")
            file.flush()
            yield event


def write_update(run_dir: Path, step: int, annotations: Annotations) -> None:
    """Store annotations that joined a run at a step."""
    folder = run_dir / "updates" / f"step_{step:06d}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"{folder} could not be written ({error}); choose a writable folder."
        ) from error
    write_annotations(folder, annotations)


def _versions() -> dict[str, str]:
    found = {}
    for name in ("napari-spss", "torch", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
