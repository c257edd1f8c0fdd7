"""Settings of a training run: frozen, validated, with units in the names; presets; TOML files.

``TrainingSettings()`` is the preset ``fast``; :func:`preset` gives it and ``paper`` by name.
Importing this module loads neither torch nor Qt nor napari.
"""

from __future__ import annotations

import reprlib
import tomllib
from collections.abc import Mapping
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import InputError
from .files import write_atomically
from .records import read_file

PresetName = Literal["fast", "paper"]
PRESETS: tuple[PresetName, ...] = ("fast", "paper")

_TERMS = "loss.terms."


class _Frozen(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )


class NetworkSettings(_Frozen):
    """The backbone: a registered name and its width."""

    name: str = Field(default="fast-unet", title="Network", description="registered network")
    filters: int = Field(
        default=8,
        ge=1,
        le=1024,
        title="Filters, first block",
        description="filters of the first block",
    )


class ImageSettings(_Frozen):
    """How the network sees the image."""

    object_diameter_px: float | None = Field(
        default=None, gt=0, description="width of the smallest object of interest, in data pixels"
    )
    object_diameter_um: float | None = Field(
        default=None,
        gt=0,
        description="the same in micrometres, if not in pixels; needs the image's pixel size",
    )
    target_diameter_px: float = Field(
        default=24.0, gt=0, description="width of the object at working scale, in working pixels"
    )
    normalisation: Literal["slice", "range"] = Field(
        default="slice",
        description="'slice': zero mean, unit deviation of each whole slice; 'range': dtype to 0-1",
    )

    def object_width_px(self, pixel_size_um: float | None) -> float | None:
        """Width of the stated object in data pixels, of that edge; None if none is stated.

        Raises
        ------
        InputError
            If the diameter is stated in micrometres and the pixel size is unknown.
        """
        if self.object_diameter_px is not None or self.object_diameter_um is None:
            return self.object_diameter_px
        if pixel_size_um is None:
            raise InputError(
                f"object diameter {self.object_diameter_um} um needs the image's pixel size, "
                "which the file does not state; give the voxel size or the diameter in pixels.",
                field="image.object_diameter_um",
            )
        return self.object_diameter_um / pixel_size_um

    def reduction(self, pixel_size_um: float | None) -> int | None:
        """Working-scale factor that brings the stated object to about the target width.

        It is at least 1 and depends on the edge of a data pixel; None if no diameter is stated.

        Raises
        ------
        InputError
            If the diameter is stated in micrometres and the pixel size is unknown.
        """
        width_px = self.object_width_px(pixel_size_um)
        return None if width_px is None else max(1, round(width_px / self.target_diameter_px))


class SamplingSettings(_Frozen):
    """What a training step sees."""

    crop_px: int = Field(
        default=256,
        ge=16,
        title="Crop, working px",
        description="edge of a crop, in working pixels",
    )
    crop_mode: Literal["random", "tile"] = Field(
        default="random",
        description="'random': crops anywhere, fractions hold for their whole region; "
        "'tile': fixed crops, each inherits the fractions of the region it was cut from",
    )
    batch_size: int = Field(default=4, ge=1, title="Crops a step")
    label_visits: int = Field(
        default=50,
        ge=0,
        description="how often labelled places are shown before slices without labels are, while "
        "self-training has not set in",
    )
    flips: bool = Field(default=True, description="the 8 flips and quarter turns")
    warp: bool = Field(
        default=True, description="random turns of up to 45 degrees, scales of 1/1.35-1.35, shears"
    )
    intensity: bool = Field(default=True, description="random brightness, contrast and noise")


class LabelSettings(_Frozen):
    """How points and nodes become pixel labels."""

    keypoint_radius_px: float = Field(
        default=8.0,
        ge=0,
        title="Keypoint radius, px",
        json_schema_extra={"step": 0.5},
        description="dilation of a keypoint, in data pixels of the full resolution; at most an "
        "eighth of the object's width",
    )
    node_radius_working_px: float = Field(
        default=1.0, ge=0, description="dilation of a grid node, in working pixels"
    )
    node_error: float = Field(
        default=0.05,
        ge=0,
        lt=0.5,
        description="part of the grid nodes that may be judged wrongly (with loss.labels=fixed)",
    )
    keypoint_weight: float = Field(
        default=1.0, gt=0, description="weight of one keypoint, in grid nodes"
    )


class LossSettings(_Frozen):
    """alpha L_proportions + (1 - alpha) L_labels (Eq. 4), and a sharpness penalty."""

    alpha: float = Field(
        default=0.5,
        ge=0,
        le=1,
        title="Proportion weight",
        json_schema_extra={"step": 0.01},
        description="Eq. 4",
    )
    proportions: Literal["mse", "kl", "interval"] = Field(
        default="mse",
        description="'mse' is Eq. 1, 'kl' a divergence, 'interval' zero inside the stated interval",
    )
    labels: Literal["eq3", "fixed"] = Field(
        default="fixed", description="'eq3' as printed; 'fixed': the same weight for every label"
    )
    masks: Literal["entropy-dice", "entropy"] = Field(
        default="entropy-dice",
        description="of full masks: per-pixel cross-entropy, with or without soft Dice",
    )
    sharpness: float = Field(default=0.0, ge=0, description="weight of mean p(1-p), ramped in")
    terms: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default={},
        description="weights of further terms of the loss, as loss.terms.NAME=WEIGHT",
    )
    bias_correction: bool = Field(
        default=True, description="correct typed fractions by what the grids count"
    )


class SelfTrainingSettings(_Frozen):
    """Proportion-matched self-training."""

    enabled: bool = Field(default=True, title="Self-training")
    weight: float = Field(default=1.0, ge=0)
    start: float = Field(
        default=0.5, ge=0, le=1, description="part of the budget after which it sets in"
    )
    ramp: float = Field(
        default=0.1, ge=0, le=1, description="part of the budget over which it ramps in"
    )
    band: float = Field(
        default=0.25,
        ge=0,
        lt=1,
        description="half width of the ignored band, relative to the fraction",
    )


class OptimisationSettings(_Frozen):
    """Budget, optimiser and numerics. At least one budget must be set."""

    learning_rate: float = Field(
        default=2e-2, gt=0, title="Learning rate", json_schema_extra={"step": 1e-5}
    )
    schedule: Literal["constant", "one-cycle"] = "one-cycle"
    weight_decay: float = Field(default=1e-4, ge=0)
    max_steps: int | None = Field(default=600, ge=1)
    max_epochs: int | None = Field(default=None, ge=1)
    max_minutes: float | None = Field(
        default=None,
        gt=0,
        description="limit beside steps or epochs, changing nothing before; else the budget",
    )
    validation_fraction: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="part of the annotated crops held out for early stopping",
    )
    patience: int | None = Field(
        default=None, ge=1, description="epochs without a better validation loss"
    )
    ema_decay: float | None = Field(default=0.99, gt=0, lt=1, description="None: plain weights")
    precision: Literal["auto", "float32", "bfloat16"] = "auto"


_KEYPOINT_SHARE = 1 / 8  # of an object's width, at most


class TrainingSettings(_Frozen):
    """Everything that decides a training run but its data, device and folder.

    Examples
    --------
    >>> TrainingSettings().preset
    'fast'
    >>> preset("paper").sampling.batch_size
    16
    >>> preset("fast").with_overrides({"loss.alpha": "0.3"}).loss.alpha
    0.3
    """

    preset: PresetName = "fast"
    seed: int = Field(default=0, ge=0, lt=2**63, title="Seed")
    network: NetworkSettings = NetworkSettings()
    image: ImageSettings = ImageSettings()
    sampling: SamplingSettings = SamplingSettings()
    labels: LabelSettings = LabelSettings()
    loss: LossSettings = LossSettings()
    self_training: SelfTrainingSettings = SelfTrainingSettings()
    optimisation: OptimisationSettings = OptimisationSettings()

    def radius_of_keypoints_px(self, pixel_size_um: float | None = None) -> float:
        """Dilation of a keypoint in data pixels, so that it lies within an object as is stated."""
        radius_px, image = self.labels.keypoint_radius_px, self.image
        width_px = image.object_diameter_px
        if width_px is None and pixel_size_um is not None:
            width_px = image.object_width_px(pixel_size_um)
        return radius_px if width_px is None else min(radius_px, _KEYPOINT_SHARE * width_px)

    def without_limit(self) -> TrainingSettings:
        """Leave out minutes that are no budget, but a limit beside steps or epochs."""
        budget = self.optimisation
        if budget.max_steps is None and budget.max_epochs is None:
            return self
        return self.with_overrides({"optimisation.max_minutes": None})

    def with_overrides(self, overrides: Mapping[str, object]) -> TrainingSettings:
        """Return settings with some values replaced.

        Parameters
        ----------
        overrides : mapping of str to object
            Dotted names ("optimisation.max_steps") to values; text is parsed, and "none" means
            None.

        Raises
        ------
        InputError
            If a name is unknown, a value is out of bounds, or ``preset`` would change, which is
            more than a name.
        """
        data = self.model_dump()
        for key, value in overrides.items():
            if not is_setting(key):
                raise _unknown_setting(key)
            if key == "preset" and value != self.preset:
                raise InputError(
                    f"preset {self.preset!r} cannot become {value!r} by an override, since a "
                    "preset sets many values; start from that preset.",
                    field="preset",
                )
            *groups, name = _parts(key)
            is_none = isinstance(value, str) and value.strip().lower() == "none"
            reduce(getitem, groups, data)[name] = None if is_none else value
        return parse_settings(data)

    def value(self, name: str) -> Any:
        """Return the value of a setting by its dotted name; of a term without a weight, 0."""
        found: Any = self
        for part in _parts(name):
            found = found.get(part, 0.0) if isinstance(found, dict) else getattr(found, part)
        return found


def setting_names() -> tuple[str, ...]:
    """Dotted names of all settings, in order."""
    names = []
    for name, info in TrainingSettings.model_fields.items():
        group = info.annotation
        if isinstance(group, type) and issubclass(group, BaseModel):
            names += [f"{name}.{inner}" for inner in group.model_fields]
        else:
            names.append(name)
    return tuple(names)


def is_setting(name: str) -> bool:
    """Whether there is a setting of this dotted name, or it may be the weight of a loss term."""
    return name in setting_names() or (name.startswith(_TERMS) and name != _TERMS)


def _parts(name: str) -> list[str]:
    return name.split(".", 2)  # no more: names of terms may have dots


def preset(name: str) -> TrainingSettings:
    """Return the settings of a preset.

    ``fast`` is the project's default. ``paper`` is the protocol of Aysel, Cai and Prügel-Bennett;
    what the paper does not state (alpha, dilation radius, filters) is listed in the docs.

    Raises
    ------
    InputError
        If there is no such preset.
    """
    if name == "fast":
        return TrainingSettings()
    if name == "paper":
        return _PAPER
    raise InputError(
        f"unknown preset {name!r}; choose one of {', '.join(PRESETS)}.", field="preset"
    )


_PAPER = TrainingSettings(
    preset="paper",
    network=NetworkSettings(name="paper-unet", filters=64),
    image=ImageSettings(normalisation="range"),
    sampling=SamplingSettings(
        crop_px=256,
        crop_mode="tile",
        batch_size=16,
        label_visits=0,
        flips=False,
        warp=False,
        intensity=False,
    ),
    labels=LabelSettings(keypoint_radius_px=10.0, node_error=0.0),
    loss=LossSettings(
        bias_correction=False, alpha=0.99, proportions="mse", labels="eq3", masks="entropy"
    ),
    self_training=SelfTrainingSettings(enabled=False),
    optimisation=OptimisationSettings(
        learning_rate=1e-3,
        schedule="constant",
        weight_decay=0.0,
        max_steps=None,
        max_epochs=100,
        validation_fraction=0.2,
        patience=10,
        ema_decay=None,
        precision="float32",
    ),
)


def parse_settings(data: object) -> TrainingSettings:
    """Make settings of nested plain values; what is not stated has its default.

    Raises
    ------
    InputError
        If a name is unknown or a value is out of bounds.
    """
    try:
        return TrainingSettings.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise _unknown_setting(name) from None
        reason = first["msg"][:1].lower() + first["msg"][1:]
        raise InputError(
            f"setting {name} cannot be {_shown(first['input'])}: {reason}.", field=name
        ) from None


def _shown(value: object) -> str:
    """Text for messages, however long or deeply nested the value is."""
    try:
        return reprlib.repr(value)
    except ValueError:  # Python writes no number of more than some thousand digits
        return "such a large number"


def _unknown_setting(name: str) -> InputError:
    return InputError(
        f"unknown setting {name!r}; choose one of {', '.join(setting_names())}.", field=name
    )


def save_settings(settings: TrainingSettings, path: str | Path) -> None:
    """Write settings as TOML, atomically; None values are written as the text "none".

    Raises
    ------
    RunError
        If the file cannot be written.
    """
    write_atomically(Path(path), tomli_w.dumps(_swapped(settings.model_dump(), None, "none")))


def load_settings(path: str | Path) -> TrainingSettings:
    """Read settings written by :func:`save_settings`.

    Raises
    ------
    InputError
        If the file is missing, is no TOML, or holds an unknown name or a value out of bounds.
    """
    content = read_file(Path(path), remedy="name a run folder with a config.toml")
    try:
        data = _swapped(tomllib.loads(content.decode()), "none", None)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no valid TOML ({error}); correct that line.") from None
    try:
        return parse_settings(data)
    except InputError as error:
        raise InputError(f"{path}: {error}", field=error.field) from error


def _swapped(data: Any, old: str | None, new: str | None) -> Any:
    """Nested values with another word for None, which TOML does not have."""
    if isinstance(data, dict):
        return {key: _swapped(value, old, new) for key, value in data.items()}
    return new if data == old else data
