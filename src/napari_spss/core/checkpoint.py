"""A trained model and a half-trained run on disk: safetensors and JSON, written atomically."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .bags import LabelScale
from .config import TrainingSettings
from .errors import InputError, RunError
from .unet import build_network

__all__ = [
    "Model",
    "TrainingState",
    "load_model",
    "load_state",
    "new_network",
    "save_model",
    "save_state",
    "write_atomically",
]

FORMAT_VERSION = 1
MODEL_WEIGHTS = "model.safetensors"
MODEL_RECORD = "model.json"
STATE_FILE = Path("checkpoint") / "state.safetensors"


@dataclass(frozen=True)
class Model:
    """A trained network with all that is needed to apply it.

    Parameters
    ----------
    network : torch.nn.Module
        On the CPU, in evaluation mode.
    classes : tuple of str
        Background first.
    reduction : int
        Data pixels a working pixel.
    n_channels : int
        Channels of the image.
    settings : TrainingSettings
        Those it was trained with.
    stated_fractions : tuple of float or None
        Mean stated fraction of each class; None if none was stated.
    label_scale : LabelScale
        Weights of labels, so that training can go on with the same ones.
    n_steps : int
        Optimiser steps so far.
    """

    network: torch.nn.Module
    classes: tuple[str, ...]
    reduction: int
    n_channels: int
    settings: TrainingSettings
    stated_fractions: tuple[float, ...] | None
    label_scale: LabelScale
    n_steps: int

    @property
    def normalisation(self) -> str:
        """How grey values are normalised: "slice" or "range"."""
        return self.settings.image.normalisation


@dataclass(frozen=True)
class TrainingState:
    """All that a stopped run needs to go on as if it had not been stopped.

    ``tensors`` holds the weights ("student.", "teacher.", "best.") and the optimiser's moments.
    """

    tensors: dict[str, torch.Tensor]
    step: int
    elapsed_s: float
    best_loss: float | None
    stale_epochs: int
    reduction: int
    label_scale: LabelScale


def new_network(settings: TrainingSettings, *, n_channels: int, n_classes: int) -> torch.nn.Module:
    """Build the settings' network: one output for two classes, else one a class."""
    return build_network(
        settings.network.name,
        in_channels=n_channels,
        out_channels=1 if n_classes == 2 else n_classes,
        filters=settings.network.filters,
    )


def save_model(model: Model, run_dir: str | Path) -> None:
    """Write ``model.safetensors`` and ``model.json`` into a run folder.

    Raises
    ------
    RunError
        If the disk is full or the folder cannot be written; an older model stays intact.
    """
    folder = Path(run_dir)
    record = {
        "format_version": FORMAT_VERSION,
        "classes": list(model.classes),
        "reduction": model.reduction,
        "n_channels": model.n_channels,
        "stated_fractions": model.stated_fractions,
        "label_scale": asdict(model.label_scale),
        "n_steps": model.n_steps,
        "settings": model.settings.model_dump(),
    }
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.network.state_dict().items()}
    _save_tensors(tensors, folder / MODEL_WEIGHTS, {})
    write_atomically(folder / MODEL_RECORD, json.dumps(record, indent=2))


def load_model(run_dir: str | Path) -> Model:
    """Read a model from a run folder.

    Raises
    ------
    InputError
        If the folder holds no model, or one that this version cannot read.
    """
    folder = Path(run_dir)
    record_path = folder / MODEL_RECORD
    if not record_path.is_file():
        raise InputError(f"{folder} holds no model ({MODEL_RECORD}); name the folder of a run.")
    try:
        record: dict[str, Any] = json.loads(record_path.read_text(encoding="utf-8"))
        version = record["format_version"]
        if version > FORMAT_VERSION:
            raise InputError(
                f"{record_path} has format version {version}, newer than {FORMAT_VERSION}; "
                "update napari-spss."
            )
        settings = TrainingSettings.model_validate(record["settings"])
        classes = tuple(record["classes"])
        network = new_network(settings, n_channels=record["n_channels"], n_classes=len(classes))
        tensors, _ = _load_tensors(folder / MODEL_WEIGHTS)
        network.load_state_dict(tensors)
        fractions = record["stated_fractions"]
        return Model(
            network=network.eval(),
            classes=classes,
            reduction=record["reduction"],
            n_channels=record["n_channels"],
            settings=settings,
            stated_fractions=None if fractions is None else tuple(fractions),
            label_scale=_label_scale(record["label_scale"]),
            n_steps=record["n_steps"],
        )
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{record_path} is damaged ({error}); train again.") from error


def save_state(state: TrainingState, run_dir: str | Path) -> Path:
    """Write a resumable checkpoint as one file, replacing the last one atomically.

    Raises
    ------
    RunError
        If the disk is full or the folder cannot be written; the last checkpoint stays intact.
    """
    record = {
        "format_version": FORMAT_VERSION,
        "step": state.step,
        "elapsed_s": state.elapsed_s,
        "best_loss": state.best_loss,
        "stale_epochs": state.stale_epochs,
        "reduction": state.reduction,
        "label_scale": asdict(state.label_scale),
    }
    path = Path(run_dir) / STATE_FILE
    _save_tensors(state.tensors, path, {"record": json.dumps(record)})
    return path


def load_state(run_dir: str | Path) -> TrainingState:
    """Read a checkpoint.

    Raises
    ------
    InputError
        If there is none, or it is damaged.
    """
    path = Path(run_dir) / STATE_FILE
    if not path.is_file():
        raise InputError(f"{run_dir} holds no checkpoint to resume; train without --resume.")
    tensors, metadata = _load_tensors(path)
    try:
        record = json.loads(metadata["record"])
        return TrainingState(
            tensors=tensors,
            step=record["step"],
            elapsed_s=record["elapsed_s"],
            best_loss=record["best_loss"],
            stale_epochs=record["stale_epochs"],
            reduction=record["reduction"],
            label_scale=_label_scale(record["label_scale"]),
        )
    except (KeyError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}); train again.") from error


def _label_scale(record: Mapping[str, Any]) -> LabelScale:
    return LabelScale(record["normaliser"], tuple(record["keypoint_weights"]))


def _save_tensors(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
    temporary = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, temporary, metadata=metadata)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        _discard(temporary)
        raise _write_error(path, error) from error


def _load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read ({error}); train again.") from error


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old or the new one, never a part.

    Raises
    ------
    RunError
        If the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        _discard(temporary)
        raise _write_error(path, error) from error


def _discard(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return


def _write_error(path: Path, error: Exception) -> RunError:
    # safetensors reports a full disk as text, without the error number
    is_full = getattr(error, "errno", None) == errno.ENOSPC or "os error 28" in str(error).lower()
    if is_full:
        return RunError(f"the disk is full: {path} could not be written; free some space.")
    return RunError(f"{path} could not be written ({error}); choose a writable folder.")
