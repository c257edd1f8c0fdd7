"""A trained model and a half-trained run on disk: safetensors and JSON, written atomically.

Each file of weights carries its whole record, so that the two cannot be of different runs.
``model.json`` says the same once more, for people and for programs without safetensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Self

import numpy as np
import torch
from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..annotations import ClassNames, outside_class
from ..base import (
    InputError,
    Record,
    TrainingSettings,
    parse_record,
    parse_settings,
    read_record,
    write_atomically,
)
from ..images import WorkingScale
from ..networks import build_network, own_draws
from .bags import LabelScale
from .label_posterior import Recounts
from .memory import KeptMap

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
_MAP = "map.{}"

_NEWEST = ("format_version", FORMAT_VERSION)
_REMEDY = "restore it, or train again"


class _ClassesRecord(Record):
    """What both a model and a half-trained run say of the classes and of the scale."""

    format_version: int = FORMAT_VERSION
    classes: ClassNames
    reduction: PositiveInt
    pixel_size_um: PositiveFloat | None = None  # not known to earlier versions
    label_scale: LabelScale
    outside: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.outside is not None:
            outside_class(self.outside, self.classes)
        if len(self.label_scale.keypoint_weights) != len(self.classes):
            raise ValueError("label_scale.keypoint_weights: needs a number for each class")
        return self


class _ModelRecord(_ClassesRecord):
    """What is written of a `Model` besides its weights."""

    n_channels: Annotated[int, Field(ge=1, le=2**16)]  # far more would not fit into memory
    stated_fractions: tuple[float, ...] | None
    n_steps: NonNegativeInt
    settings: Annotated[TrainingSettings, BeforeValidator(parse_settings)]

    @field_validator("stated_fractions")
    @classmethod
    def _check_number(cls, value: tuple[float, ...] | None, info: ValidationInfo) -> object:
        if value is not None and len(value) != len(info.data.get("classes", value)):
            raise ValueError("needs a number for each class")
        return value


class _StateRecord(_ClassesRecord):
    """What is written of a `TrainingState` besides its tensors."""

    step: NonNegativeInt
    steps_before: NonNegativeInt | None
    elapsed_s: NonNegativeFloat
    best_loss: float | None
    stale_epochs: NonNegativeInt
    recounts: dict[str, dict[int, tuple[float, ...]]] = Field(default_factory=dict)
    recounted_at: float | None = None
    # not in checkpoints of earlier versions
    steps_per_epoch: PositiveInt | None = None
    maps_until: dict[int, int] = Field(default_factory=dict)
    looks: tuple[int, tuple[str, ...]] = (0, ())


@dataclass(frozen=True)
class Model:
    """A trained network with all that is needed to apply it.

    Parameters
    ----------
    network : torch.nn.Module
        On the CPU, in evaluation mode.
    classes : tuple of str
        Background first.
    working_scale : WorkingScale
        How far images are reduced.
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
    working_scale: WorkingScale
    n_channels: int
    settings: TrainingSettings
    stated_fractions: tuple[float, ...] | None
    label_scale: LabelScale
    n_steps: int
    outside: str | None = None

    @property
    def reduction(self) -> int:
        """Data pixels a working pixel, in images like those that it learned from."""
        return self.working_scale.reduction

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
    working_scale : WorkingScale
        How far images are reduced.
    label_scale : LabelScale
        Weights of labels.
    outside : str, optional
        Class that is excluded from all fractions.
    recounts : Recounts
        Nodes of grids, as they were last counted by a map.
    recounted_at : float or None
        Share of the budget that was spent then.
    steps_per_epoch : int or None
        Of the budget; None in checkpoints of earlier versions.
    maps : mapping of int to KeptMap
        Maps of whole slices that still serve, by slice.
    looks : (int, tuple of str)
        How often maps were looked at, and what is lost in them, see `collapse`.
    """

    tensors: dict[str, torch.Tensor]
    classes: tuple[str, ...]
    step: int
    steps_before: int | None
    elapsed_s: float
    best_loss: float | None
    stale_epochs: int
    working_scale: WorkingScale
    label_scale: LabelScale
    outside: str | None = None
    recounts: Recounts = field(default_factory=Recounts)
    recounted_at: float | None = None
    steps_per_epoch: int | None = None
    maps: Mapping[int, KeptMap] = field(default_factory=dict)
    looks: tuple[int, tuple[str, ...]] = (0, ())


def new_network(settings: TrainingSettings, *, n_channels: int, n_classes: int) -> torch.nn.Module:
    """Build the settings' network: one output for two classes, else one a class.

    Its first weights depend on the settings' seed alone.
    """
    with own_draws(settings.seed):
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
    record = _ModelRecord(
        classes=model.classes,
        reduction=model.working_scale.reduction,
        pixel_size_um=model.working_scale.pixel_size_um,
        n_channels=model.n_channels,
        stated_fractions=model.stated_fractions,
        label_scale=model.label_scale,
        n_steps=model.n_steps,
        outside=model.outside,
        settings=model.settings,
    )
    _save_tensors(model.network.state_dict(), folder / MODEL_WEIGHTS, record)
    write_atomically(folder / MODEL_RECORD, record.model_dump_json(indent=2))


def load_model(run_dir: str | Path) -> Model:
    """Read a model from a run folder.

    Raises
    ------
    InputError
        If the folder holds no model, one that this version cannot read, or weights with a
        ``model.json`` that says something else than the record in them.
    """
    folder = Path(run_dir)
    record_path, weights_path = folder / MODEL_RECORD, folder / MODEL_WEIGHTS
    if not record_path.exists() and not weights_path.exists():
        raise InputError(f"{folder} holds no model ({MODEL_RECORD}); name the folder of a run.")
    tensors, inner = _load_tensors(weights_path)
    record = _record_of_model(record_path, weights_path, inner)
    try:
        network = new_network(
            record.settings, n_channels=record.n_channels, n_classes=len(record.classes)
        )
        network.load_state_dict(tensors)
    except InputError as error:  # no such network
        raise InputError(f"{folder}: {error}") from error
    except RuntimeError as error:
        raise InputError(
            f"the weights in {weights_path} do not fit {describe_network(record.settings)} as "
            f"{record_path} says ({record.n_channels} image channels, {len(record.classes)} "
            "classes); restore both files from the same run, or train again."
        ) from error
    outside = record.outside
    return Model(
        network=network.eval(),
        classes=record.classes,
        working_scale=WorkingScale(record.reduction, record.pixel_size_um),
        n_channels=record.n_channels,
        settings=record.settings,
        stated_fractions=record.stated_fractions,
        label_scale=record.label_scale,
        n_steps=record.n_steps,
        outside=None if outside is None else record.classes[outside_class(outside, record.classes)],
    )


def _record_of_model(path: Path, weights_path: Path, inner: str | None) -> _ModelRecord:
    """Return the record in the weights, once ``model.json`` says the same or is not there.

    Earlier versions wrote ``model.json`` only.
    """
    if inner is None:
        return read_record(_ModelRecord, path, remedy=_REMEDY, newest=_NEWEST)
    record = parse_record(_ModelRecord, inner, weights_path, remedy=_REMEDY, newest=_NEWEST)
    remedy = f"delete it, since {weights_path.name} holds a copy, or train again"
    if path.exists() and record != read_record(_ModelRecord, path, remedy=remedy, newest=_NEWEST):
        raise InputError(
            f"{path} does not say what was saved with the weights in {weights_path}: one of the "
            f"two was changed, or is of another run; {remedy}."
        )
    return record


def save_state(state: TrainingState, run_dir: str | Path) -> Path:
    """Write a resumable checkpoint as one file, replacing the last one atomically.

    Raises
    ------
    RunError
        If the disk is full or the folder cannot be written; the last checkpoint stays intact.
    """
    record = _StateRecord(
        classes=state.classes,
        step=state.step,
        steps_before=state.steps_before,
        elapsed_s=state.elapsed_s,
        best_loss=state.best_loss,
        stale_epochs=state.stale_epochs,
        reduction=state.working_scale.reduction,
        pixel_size_um=state.working_scale.pixel_size_um,
        label_scale=state.label_scale,
        outside=state.outside,
        recounts={
            name: {z: tuple(map(float, counts)) for z, counts in by_slice.items()}
            for name, by_slice in asdict(state.recounts).items()
        },
        recounted_at=state.recounted_at,
        steps_per_epoch=state.steps_per_epoch,
        maps_until={z: one.until for z, one in state.maps.items()},
        looks=state.looks,
    )
    path = Path(run_dir) / STATE_FILE
    maps = {_MAP.format(z): one.probs for z, one in state.maps.items()}
    _save_tensors({**state.tensors, **maps}, path, record)
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
    tensors, inner = _load_tensors(path)
    record = parse_record(_StateRecord, inner or "", path, remedy=_REMEDY, newest=_NEWEST)
    stated, believed = (
        {z: np.array(counts) for z, counts in record.recounts.get(name, {}).items()}
        for name in ("stated", "believed")
    )
    try:
        maps = {
            z: KeptMap(tensors.pop(_MAP.format(z)), until) for z, until in record.maps_until.items()
        }
    except KeyError as error:
        raise InputError(f"{path} is damaged ({error} is missing); {_REMEDY}.") from error
    return TrainingState(
        tensors=tensors,
        classes=record.classes,
        step=record.step,
        steps_before=record.steps_before,
        elapsed_s=record.elapsed_s,
        best_loss=record.best_loss,
        stale_epochs=record.stale_epochs,
        working_scale=WorkingScale(record.reduction, record.pixel_size_um),
        label_scale=record.label_scale,
        outside=record.outside,
        recounts=Recounts(stated, believed),
        recounted_at=record.recounted_at,
        steps_per_epoch=record.steps_per_epoch,
        maps=maps,
        looks=record.looks,
    )


def describe_network(settings: TrainingSettings) -> str:
    """Name a network as messages do: "network 'fast-unet' with 16 filters"."""
    return f"network {settings.network.name!r} with {settings.network.filters} filters"


def _save_tensors(tensors: Mapping[str, torch.Tensor], path: Path, record: Record) -> None:
    # copies, since tensors that share memory are refused
    owned = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    # not save_file: its files are private, and these are shared between colleagues
    write_atomically(path, save(owned, {"record": record.model_dump_json()}))


def _load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], str | None]:
    """Read tensors, and the record that was written with them if there is one."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, (file.metadata() or {}).get("record")
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} is damaged ({error}); {_REMEDY}.") from error
