"""A trained model and a half-trained run on disk: safetensors and JSON, written atomically.

Each file of weights carries its whole record, so that the two cannot be of different runs.
``model.json`` says the same once more, for people and for programs without safetensors.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
)
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..annotations import Classes
from ..base import (
    MODEL_RECORD,
    InputError,
    Record,
    TrainingSettings,
    check_links,
    counted,
    parse_record,
    parse_settings,
    read_record,
    write_atomically,
)
from ..images import WorkingScale
from ..networks import build_network, last_layer, own_draws
from .corrections import Corrections
from .label_posterior import LabelPosterior
from .samples import LabelScale

if TYPE_CHECKING:
    from ..images import Stack

Tensors = dict[str, torch.Tensor]

FORMAT_VERSION = 1
MODEL_WEIGHTS = "model.safetensors"
STATE_FILE = Path("checkpoint") / "state.safetensors"

_NEWEST = ("format_version", FORMAT_VERSION)
REMEDY = "restore it, or train again"


class _ClassesRecord(Record):
    """What both a model and a half-trained run say of the classes and of the scale."""

    format_version: int = FORMAT_VERSION
    classes: Classes
    reduction: PositiveInt
    pixel_size_um: PositiveFloat | None = None
    label_scale: LabelScale

    @field_validator("label_scale")
    @classmethod
    def _check_weights(cls, value: LabelScale, info: ValidationInfo) -> LabelScale:
        if len(value.keypoint_weights) != len(info.data.get("classes", value.keypoint_weights)):
            raise ValueError("keypoint_weights: needs a number for each class")
        return value

    @property
    def working_scale(self) -> WorkingScale:
        """How far images are reduced."""
        return WorkingScale(self.reduction, self.pixel_size_um)

    @property
    def outside(self) -> str | None:
        """Name of the class that counts in no fraction; None if there is none."""
        return self.classes.outside


class ModelRecord(_ClassesRecord):
    """What is written of a `Model` besides its weights."""

    n_channels: Annotated[int, Field(ge=1, le=2**16)]  # far more would not fit into memory
    stated_fractions: tuple[float, ...] | None
    n_steps: NonNegativeInt
    settings: Annotated[TrainingSettings, BeforeValidator(parse_settings)]
    corrections: Corrections = Field(default_factory=Corrections)
    learned_from: str = ""

    @field_validator("corrections")
    @classmethod
    def _check_spans(cls, value: Corrections, info: ValidationInfo) -> Corrections:
        n_classes = len(info.data.get("classes", ()))
        if any(span[3] >= n_classes for spans in value.spans.values() for span in spans):
            raise ValueError("spans: need classes of the model")
        return value

    @field_validator("stated_fractions")
    @classmethod
    def _check_number(cls, value: tuple[float, ...] | None, info: ValidationInfo) -> object:
        if value is not None and len(value) != len(info.data.get("classes", value)):
            raise ValueError("needs a number for each class")
        return value


class Model(ModelRecord):
    """A trained network with all that is needed to apply it.

    Parameters
    ----------
    network : torch.nn.Module
        On the CPU, in evaluation mode.
    classes : Classes
        Background first.
    reduction : int
        Data pixels a working pixel, in images like those that it learned from.
    pixel_size_um : float, optional
        Edge of a data pixel in those images; see ``working_scale``.
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
    corrections : Corrections
        Places of the image it learned from at which maps are set right by keypoints.
    learned_from : str
        Digest of that image and of all that was said of it but keypoints.
    run_dir : Path, optional
        Folder of its run.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    run_dir: Path | None = Field(default=None, exclude=True, repr=False)

    network: torch.nn.Module = Field(exclude=True, repr=False)

    @property
    def identity(self) -> str:
        """What tells it from other models: its run, or else a digest of its weights."""
        if self.run_dir is not None:
            return str(self.run_dir.resolve())
        return self.weights_digest

    @property
    def weights_digest(self) -> str:
        """Digest of the weights, since a run may be trained on in its folder."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @property
    def normalisation(self) -> str:
        """How grey values are normalised: "slice" or "range"."""
        return self.settings.image.normalisation

    def check_channels(self, stack: Stack) -> None:
        """Raise an InputError if an image has other channels than those it learned from."""
        if stack.n_channels != self.n_channels:
            raise InputError(
                f"{stack.source} has {counted(stack.n_channels, 'channel')}, but the model was "
                f"trained on {self.n_channels}; choose an image like those it was trained on."
            )

    def other_pixels(self, stack: Stack) -> tuple[float, float] | None:
        """Size of a pixel that it learned from, and that of an image, in um; None if they agree."""
        ours, theirs = self.pixel_size_um, stack.pixel_size_um(0)
        if ours is None or theirs is None or math.isclose(ours, theirs, rel_tol=0.001):
            return None
        return ours, theirs

    def for_classes(self, classes: Classes) -> Model:
        """Return a model of other classes to begin with: this network with a new last layer.

        It counts as one of no steps.

        Raises
        ------
        InputError
            If the network has no last convolution that could be exchanged.
        """
        network = new_network(self.settings, n_channels=self.n_channels, n_classes=len(classes))
        last = last_layer(network)
        if last is None:
            raise InputError(
                f"the model is of the classes {', '.join(self.classes)}, not {', '.join(classes)}, "
                f"and {describe_network(self.settings)} has no last convolution that could be "
                "exchanged; begin with a model of the same classes, or anew."
            )
        kept = self.network.state_dict().items()
        network.load_state_dict(
            {name: one for name, one in kept if not name.startswith(f"{last}.")}, strict=False
        )
        changes = {
            "network": network.eval(),
            "classes": classes,
            "outside": classes.outside,
            "n_steps": 0,
            "stated_fractions": None,
            "corrections": Corrections(),
            "learned_from": "",
            "label_scale": LabelScale(0.0, (1.0,) * len(classes)),
        }
        return self.model_copy(update=changes)


class RunState(_ClassesRecord):
    """All that a stopped run needs, besides tensors, to go on as if it had not been stopped.

    Parameters
    ----------
    classes : Classes
        Background first.
    reduction : int
        Data pixels a working pixel.
    pixel_size_um : float, optional
        Edge of a data pixel.
    label_scale : LabelScale
        Weights of labels.
    n_channels : int
        Channels of the image.
    step : int
        Optimiser steps of this run.
    steps_before : int or None
        Steps of the model that it began with; None if it began anew.
    steps_per_epoch : int
        Of the budget.
    elapsed_s : float
        Training time of the parts of the run that are over.
    best_loss : float or None
        Lowest validation loss.
    stale_epochs : int
        Epochs since then.
    posterior : LabelPosterior
        Nodes of grids, as they were last counted by a map.
    posterior_at : float or None
        Share of the budget that was spent then.
    kept_until : dict of str to int
        Steps at which maps of whole slices become old, by the names of samples.
    n_looks : int
        How often it was looked whether maps have collapsed.
    lost : tuple of str
        What they were found to lack.
    data_digest : str
        Of what the run learns from.
    learned_from : str
        Of the image and all that the run learns but keypoints.
    """

    model_config = ConfigDict(frozen=False)

    n_channels: PositiveInt = 1
    step: NonNegativeInt = 0
    steps_before: NonNegativeInt | None = None
    steps_per_epoch: PositiveInt
    elapsed_s: NonNegativeFloat = 0.0
    best_loss: float | None = None
    stale_epochs: NonNegativeInt = 0
    posterior: LabelPosterior = Field(default_factory=LabelPosterior)
    posterior_at: float | None = None
    kept_until: dict[str, int] = Field(default_factory=dict)
    n_looks: NonNegativeInt = 0
    lost: tuple[str, ...] = ()
    data_digest: str
    learned_from: str = ""

    def model(self, network: torch.nn.Module, **others: Any) -> Model:
        """Return the model of a network to which the run has come, with ``others`` of its fields.

        What is not given is as it was at the checkpoint.
        """
        shared = (*_ClassesRecord.model_fields, "n_channels", "learned_from")
        known = {name: getattr(self, name) for name in shared}
        known["n_steps"] = (self.steps_before or 0) + self.step
        return Model(network=network, **(known | others))


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
    """Write weights and record of a model; upon a RunError an older model stays intact."""
    folder = Path(run_dir)
    _save_tensors(model.network.state_dict(), folder / MODEL_WEIGHTS, model)
    write_atomically(folder / MODEL_RECORD, model.model_dump_json(indent=2))


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
    check_links(folder, (MODEL_RECORD, MODEL_WEIGHTS))
    tensors, inner = _load_tensors(weights_path)
    record = _record_of_model(record_path, weights_path, inner)
    try:
        network = new_network(
            record.settings, n_channels=record.n_channels, n_classes=len(record.classes)
        )
    except InputError as error:  # no such network
        raise InputError(f"{folder}: {error}") from error
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(
            f"the weights in {weights_path} do not fit {describe_network(record.settings)} as "
            f"{record_path} says ({record.n_channels} image channels, {len(record.classes)} "
            "classes); restore both files from the same run, or train again."
        ) from error
    return Model(network=network.eval(), run_dir=folder, **dict(record))


def load_record(run_dir: str | Path) -> ModelRecord:
    """Read what is said of a model in a run folder, but not its weights, or raise InputError."""
    path, weights_path = Path(run_dir) / MODEL_RECORD, Path(run_dir) / MODEL_WEIGHTS
    return _record_of_model(path, weights_path, _load_tensors(weights_path, names=())[1])


def _record_of_model(path: Path, weights_path: Path, inner: str) -> ModelRecord:
    """Return the record in the weights, once ``model.json`` says the same or is not there."""
    record = parse_record(ModelRecord, inner, weights_path, remedy=REMEDY, newest=_NEWEST)
    remedy = f"delete it, since {weights_path.name} holds a copy, or train again"
    if path.exists() and record != read_record(ModelRecord, path, remedy=remedy, newest=_NEWEST):
        raise InputError(
            f"{path} does not say what was saved with the weights in {weights_path}: one of the "
            f"two was changed, or is of another run; {remedy}."
        )
    return record


def save_state(state: RunState, tensors: Mapping[str, torch.Tensor], run_dir: str | Path) -> Path:
    """Write a resumable checkpoint as one file; upon a RunError the last one stays intact."""
    path = Path(run_dir) / STATE_FILE
    _save_tensors(tensors, path, state)
    return path


def load_state(run_dir: str | Path) -> tuple[RunState, Tensors]:
    """Read a checkpoint; InputError if there is none, or one that this version cannot read."""
    path = Path(run_dir) / STATE_FILE
    if not path.is_file():
        raise InputError(f"{run_dir} holds no checkpoint to resume; start a new run.")
    check_links(Path(run_dir), STATE_FILE.parts[:1])
    tensors, inner = _load_tensors(path)
    state = parse_record(RunState, inner, path, remedy=REMEDY, newest=_NEWEST)
    if missing := {f"map.{name}" for name in state.kept_until} - tensors.keys():
        raise InputError(f"{path} is damaged ({min(missing)} is missing); {REMEDY}.")
    return state, tensors


def model_of_checkpoint(run_dir: str | Path, settings: TrainingSettings) -> Model:
    """Return the model that a run with these settings had come to at its checkpoint.

    Raises
    ------
    InputError
        If there is none, or it cannot be read.
    """
    state, tensors = load_state(run_dir)
    kept = (with_prefix(name, tensors) for name in ("best", "teacher.module", "student"))
    network = new_network(settings, n_channels=state.n_channels, n_classes=len(state.classes))
    try:
        network.load_state_dict(next(filter(None, kept), {}))
    except RuntimeError as error:
        raise InputError(
            f"the weights in {Path(run_dir) / STATE_FILE} do not fit "
            f"{describe_network(settings)}; {REMEDY}."
        ) from error
    return state.model(
        network.eval(), settings=settings, stated_fractions=None, run_dir=Path(run_dir)
    )


def prefixed(prefix: str, tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """Put a prefix and a dot before the names of tensors."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def with_prefix(prefix: str, tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """Tensors whose names begin with a prefix and a dot, by what follows."""
    return {
        name.removeprefix(f"{prefix}."): tensor
        for name, tensor in tensors.items()
        if name.startswith(f"{prefix}.")
    }


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


def _load_tensors(path: Path, *, names: tuple[str, ...] | None = None) -> tuple[Tensors, str]:
    """Read tensors, all by default, and the record that was written with them."""
    try:
        with safe_open(path, framework="pt") as file:
            wanted = file.keys() if names is None else names
            # copies: Windows replaces no file of which a part is mapped, as by the next checkpoint
            tensors = {name: file.get_tensor(name).clone() for name in wanted}
            return tensors, (file.metadata() or {}).get("record", "")
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} is damaged ({error}); {REMEDY}.") from error
