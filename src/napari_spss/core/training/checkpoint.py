"""A trained model and a half-trained run on disk: safetensors and JSON, written atomically."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..annotations import outside_class
from ..base import InputError, TrainingSettings, parse_settings, replacing, write_atomically
from ..networks import build_network
from .bags import LabelScale
from .label_posterior import Recounts

__all__ = [
    "Model",
    "TrainingState",
    "load_model",
    "load_state",
    "new_network",
    "save_model",
    "save_state",
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
    outside : str, optional
        Class that is excluded from all fractions.
    """

    network: torch.nn.Module
    classes: tuple[str, ...]
    reduction: int
    n_channels: int
    settings: TrainingSettings
    stated_fractions: tuple[float, ...] | None
    label_scale: LabelScale
    n_steps: int
    outside: str | None = None

    @property
    def outside_index(self) -> int | None:
        """Index of the class that counts in no fraction; None if there is none."""
        return None if self.outside is None else self.classes.index(self.outside)

    @property
    def normalisation(self) -> str:
        """How grey values are normalised: "slice" or "range"."""
        return self.settings.image.normalisation


@dataclass(frozen=True)
class TrainingState:
    """All that a stopped run needs to go on as if it had not been stopped.

    Parameters
    ----------
    tensors : dict
        Weights and the optimiser's moments, see :mod:`napari_spss.core.networks.packing`.
    classes : tuple of str
        Background first.
    step : int
        Optimiser steps of this run.
    steps_before : int or None
        Steps of the model that it began with; None if it began anew.
    elapsed_s : float
        Training time so far.
    best_loss : float or None
        Lowest validation loss.
    stale_epochs : int
        Epochs since then.
    reduction : int
        Data pixels a working pixel.
    label_scale : LabelScale
        Weights of labels.
    outside : str, optional
        Class that is excluded from all fractions.
    recounts : Recounts
        Nodes of grids, as they were last counted by a map.
    recounted_at : float or None
        Share of the budget that was spent then.
    """

    tensors: dict[str, torch.Tensor]
    classes: tuple[str, ...]
    step: int
    steps_before: int | None
    elapsed_s: float
    best_loss: float | None
    stale_epochs: int
    reduction: int
    label_scale: LabelScale
    outside: str | None = None
    recounts: Recounts = field(default_factory=Recounts)
    recounted_at: float | None = None


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
        "outside": model.outside,
        "settings": model.settings.model_dump(),
    }
    _save_tensors(model.network.state_dict(), folder / MODEL_WEIGHTS, {})
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
        record = json.loads(record_path.read_text(encoding="utf-8"))
        _check_version(record, record_path)
        settings = parse_settings(record["settings"])
        classes = tuple(str(name) for name in record["classes"])
        n_channels = _positive(record["n_channels"])
        network = new_network(settings, n_channels=n_channels, n_classes=len(classes))
        fractions, outside = record["stated_fractions"], record.get("outside")
        model = Model(
            network=network,
            classes=classes,
            reduction=_positive(record["reduction"]),
            n_channels=n_channels,
            settings=settings,
            stated_fractions=None if fractions is None else tuple(map(float, fractions)),
            label_scale=_label_scale(record["label_scale"]),
            n_steps=int(record["n_steps"]),
            outside=None if outside is None else classes[outside_class(outside, classes)],
        )
    except (OSError, KeyError, TypeError, ValueError, IndexError) as error:
        raise _damaged(record_path, error) from error
    weights_path = folder / MODEL_WEIGHTS
    tensors, _ = _load_tensors(weights_path)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(
            f"the weights in {weights_path} do not fit {describe_network(settings)} as "
            f"{record_path} says ({n_channels} image channels, {len(classes)} classes); "
            "restore both files from the same run, or train again."
        ) from error
    network.eval()
    return model


def save_state(state: TrainingState, run_dir: str | Path) -> Path:
    """Write a resumable checkpoint as one file, replacing the last one atomically.

    Raises
    ------
    RunError
        If the disk is full or the folder cannot be written; the last checkpoint stays intact.
    """
    record = {
        "format_version": FORMAT_VERSION,
        "classes": list(state.classes),
        "step": state.step,
        "steps_before": state.steps_before,
        "elapsed_s": state.elapsed_s,
        "best_loss": state.best_loss,
        "stale_epochs": state.stale_epochs,
        "reduction": state.reduction,
        "label_scale": asdict(state.label_scale),
        "outside": state.outside,
        "recounts": _recounts_record(state.recounts),
        "recounted_at": state.recounted_at,
    }
    path = Path(run_dir) / STATE_FILE
    _save_tensors(state.tensors, path, {"record": json.dumps(record)})
    return path


def load_state(run_dir: str | Path) -> TrainingState:
    """Read a checkpoint.

    Raises
    ------
    InputError
        If there is none, or one that this version cannot read.
    """
    path = Path(run_dir) / STATE_FILE
    if not path.is_file():
        raise InputError(f"{run_dir} holds no checkpoint to resume; start a new run.")
    tensors, metadata = _load_tensors(path)
    try:
        record = json.loads(metadata["record"])
        _check_version(record, path)
        before, best_loss = record["steps_before"], record["best_loss"]
        recounted_at = record.get("recounted_at")
        return TrainingState(
            tensors=tensors,
            classes=tuple(str(name) for name in record["classes"]),
            step=int(record["step"]),
            steps_before=None if before is None else int(before),
            elapsed_s=float(record["elapsed_s"]),
            best_loss=None if best_loss is None else float(best_loss),
            stale_epochs=int(record["stale_epochs"]),
            reduction=_positive(record["reduction"]),
            label_scale=_label_scale(record["label_scale"]),
            outside=record.get("outside"),
            recounts=_read_recounts(record.get("recounts", {})),
            recounted_at=None if recounted_at is None else float(recounted_at),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from error


def describe_network(settings: TrainingSettings) -> str:
    """Name a network as messages do: "network 'fast-unet' with 16 filters"."""
    return f"network {settings.network.name!r} with {settings.network.filters} filters"


def _check_version(record: Mapping[str, Any], path: Path) -> None:
    version = record["format_version"]
    if version > FORMAT_VERSION:
        raise InputError(
            f"{path} has format version {version}, newer than {FORMAT_VERSION}; update napari-spss."
        )


def _positive(value: object) -> int:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{value!r} is no positive whole number")
    return value


def _damaged(path: Path, error: Exception) -> InputError:
    reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
    return InputError(f"{path} is damaged ({reason}); restore it, or train again.")


def _label_scale(record: Mapping[str, Any]) -> LabelScale:
    return LabelScale(float(record["normaliser"]), tuple(map(float, record["keypoint_weights"])))


def _recounts_record(recounts: Recounts) -> dict[str, dict[str, list[float]]]:
    return {
        name: {str(z): list(map(float, counts)) for z, counts in by_slice.items()}
        for name, by_slice in asdict(recounts).items()
    }


def _read_recounts(record: Mapping[str, Mapping[str, list[float]]]) -> Recounts:
    stated, believed = (
        {int(z): np.array(counts, np.float64) for z, counts in record.get(name, {}).items()}
        for name in ("stated", "believed")
    )
    return Recounts(stated, believed)


def _save_tensors(
    tensors: Mapping[str, torch.Tensor], path: Path, metadata: dict[str, str]
) -> None:
    # copies, since tensors that share memory are refused
    owned = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    with replacing(path) as temporary:
        try:
            save_file(owned, temporary, metadata=metadata)
        except SafetensorError as error:
            # the system's error is in the text only, as "... (os error 28)"
            code = int((re.findall(r"os error (\d+)", str(error)) or [0])[-1])
            raise OSError(code, str(error), str(path), code) from error


def _load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error
