"""The state of a training run and what can be done to it: a step, a validation, a checkpoint."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from .annotations import Annotations
from .bags import LabelScale, Window, load_slices, make_windows
from .checkpoint import (
    MODEL_RECORD,
    MODEL_WEIGHTS,
    Model,
    TrainingState,
    load_state,
    new_network,
    save_state,
)
from .config import TrainingSettings
from .device import has_fast_bfloat16
from .errors import Diverged, InputError
from .events import (
    CancelToken,
    CheckpointSaved,
    Event,
    FinishReason,
    Message,
    Preview,
    Progress,
    RunStarted,
    Validated,
)
from .losses import activate
from .objective import Objective, StepLoss
from .runfolder import write_update
from .sampling import Batch, Flip, Sampler, augment_intensity, cut
from .schedule import Budget, learning_rate_factor
from .selftraining import ema_of
from .tiling import Band, Stopped, TiledNetwork, default_tile_px
from .unet import initialise_output_bias
from .working import choose_reduction, working_slice

if TYPE_CHECKING:
    from .label_source import LabelSource
    from .stack import Stack

__all__ = ["Trainer"]

T = TypeVar("T")

# a slice larger than the window is shown whole to the teacher after this many steps
_MEMORY_STEPS = 50
# weights that have already learned are disturbed less
_WARM_LEARNING_RATE = 0.3


@dataclass
class _Memory:
    """The teacher's map of a slice that is larger than a window."""

    probs: torch.Tensor
    step: int


class Trainer:
    """Holds network, teacher, optimiser and data of one run.

    The order of use is :func:`napari_spss.core.training.iter_training`; parameters as there.
    """

    def __init__(
        self,
        stack: Stack,
        annotations: Annotations,
        settings: TrainingSettings,
        *,
        masks: LabelSource | None,
        run_dir: Path | None,
        device: torch.device,
        token: CancelToken,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.run_dir = run_dir
        self.device = device
        self.n_steps = 0
        self._stack = stack
        self._annotations = annotations
        self._masks = masks
        self._token = token
        self._clock = clock
        self._images: dict[int, npt.NDArray[np.float32]] = {}
        self._memories: dict[int, _Memory] = {}
        self._best: dict[str, torch.Tensor] | None = None
        self._best_loss: float | None = None
        self._stale_epochs = 0
        self._elapsed_before_s = 0.0
        self._started_at = clock()
        self._steps_before = 0
        self._self_training_start = settings.self_training.start

    # -- preparation -----------------------------------------------------------------------------

    def prepare(self, *, resume: bool, start_from: Model | None) -> Iterator[Event]:
        """Read the data and build, load or resume the network."""
        state = None
        if resume:
            if self.run_dir is None:
                raise InputError("resuming needs the folder of the run; give run_dir.")
            state = load_state(self.run_dir)
        source = state or start_from
        self.reduction = source.reduction if source else self._choose_reduction()
        self._load_data(source.label_scale if source else None)
        self.network = self._new_network(start_from)
        self._teacher = (
            ema_of(self.network, self.settings.optimisation.ema_decay)
            if self.settings.optimisation.ema_decay is not None
            else None
        )
        rate = self.settings.optimisation.learning_rate
        self._base_rate = rate * (_WARM_LEARNING_RATE if start_from else 1.0)
        self._optimiser = torch.optim.AdamW(
            self.network.parameters(),
            lr=self._base_rate,
            weight_decay=self.settings.optimisation.weight_decay,
        )
        if state is not None:
            self._restore(state)
        self._budget = Budget.of(self.settings.optimisation, self._sampler.steps_per_epoch)
        self._started_at = self._clock()
        yield RunStarted(
            "training", self._budget.max_steps, str(self.device), self._annotations.classes
        )
        yield from self._remarks()

    def _choose_reduction(self) -> int:
        return choose_reduction(self.settings.image, self._stack.pixel_size_um(0)) or 1

    def _remarks(self) -> Iterator[Event]:
        image = self.settings.image
        has_diameter = image.object_diameter_px or image.object_diameter_um
        if not has_diameter and self.settings.preset != "paper" and self.reduction == 1:
            yield Message(
                "info",
                "No object diameter was stated, so the network sees the image at full resolution; "
                "stating it makes training on large objects faster and better.",
            )
        for note in self._annotations.notes:
            yield Message("info", note)
        if self.settings.optimisation.validation_fraction > 0 and not self._held_out:
            yield Message(
                "warning",
                "There are too few annotated crops to hold some out, so nothing stops this run "
                "early.",
            )

    def _load_data(self, scale: LabelScale | None) -> None:
        samples, self.label_scale = load_slices(
            self._stack,
            self._annotations,
            self.settings,
            reduction=self.reduction,
            masks=self._masks,
            scale=scale,
            images=self._images,
        )
        sampling = self.settings.sampling
        fraction = self.settings.optimisation.validation_fraction
        rng = np.random.default_rng([self.settings.seed, 5])
        windows: list[Window] | None = None
        if sampling.crop_mode == "tile":
            windows, shape = make_windows(samples, sampling.crop_px)
            windows, self._held_out = _split(windows, fraction, rng)
        else:
            kept, held_out = _split(list(range(len(samples))), fraction, rng)
            every, _ = make_windows(samples, sampling.crop_px)
            self._held_out = [window for window in every if window.sample in set(held_out)]
            shape = (
                min(sampling.crop_px, max(sample.shape[0] for sample in samples)),
                min(sampling.crop_px, max(sample.shape[1] for sample in samples)),
            )
        self._samples = samples
        self._sampler = Sampler(
            samples,
            windows,
            among=None if windows is not None else kept,
            shape=shape,
            batch_size=sampling.batch_size,
            seed=self.settings.seed,
        )
        self._objective = Objective(
            self.settings, self.n_classes, self.label_scale, self._sampler.n_labelled_slots
        )

    def _new_network(self, start_from: Model | None) -> torch.nn.Module:
        torch.manual_seed(self.settings.seed)
        network = new_network(
            self.settings, n_channels=self._stack.n_channels, n_classes=self.n_classes
        )
        fractions = self.stated_fractions()
        if start_from is not None:
            self._check_start(start_from)
            network.load_state_dict(start_from.network.state_dict())
            self._steps_before = start_from.n_steps
            self._self_training_start = 0.0
        elif fractions is not None:
            initialise_output_bias(network, fractions)
        # torch's stubs lack the keyword; convolutions run faster on CPUs and tensor cores so
        placed: torch.nn.Module = network.to(  # type: ignore[call-overload]
            self.device, memory_format=torch.channels_last
        )
        return placed

    def _check_start(self, model: Model) -> None:
        for name, old, new in (
            ("classes", model.classes, self._annotations.classes),
            ("image channels", model.n_channels, self._stack.n_channels),
            ("network", model.settings.network, self.settings.network),
        ):
            if old != new:
                raise InputError(
                    f"the model was trained with {name} {old}, not {new}; use the same, or start "
                    "a new run."
                )

    # -- facts -----------------------------------------------------------------------------------

    @property
    def n_classes(self) -> int:
        """Classes, background included."""
        return len(self._annotations.classes)

    @property
    def elapsed_s(self) -> float:
        """Training time so far, earlier parts of a resumed run included."""
        return self._elapsed_before_s + self._clock() - self._started_at

    @property
    def ends_epoch(self) -> bool:
        """Whether the last step completed an epoch."""
        return self.n_steps % self._sampler.steps_per_epoch == 0

    def stated_fractions(self) -> tuple[float, ...] | None:
        """Mean stated fraction of every class, weighted by area; None if some class has none."""
        totals = np.zeros(self.n_classes)
        areas = np.zeros(self.n_classes)
        for sample in self._samples:
            for bag in sample.bags:
                area = (bag.box[2] - bag.box[0]) * (bag.box[3] - bag.box[1])
                known = ~np.isnan(bag.fractions)
                totals[known] += area * bag.fractions[known]
                areas[known] += area
            if sample.is_mask:
                counts = np.bincount(sample.target[sample.target >= 0], minlength=self.n_classes)
                totals += counts
                areas += counts.sum()
        if not (areas > 0).all():
            return None
        means = totals / areas
        return tuple(float(mean) for mean in means / means.sum())

    def finish_reason(self) -> FinishReason | None:
        """Why the run is over, or None."""
        if self._token.is_cancelled:
            return FinishReason.stopped
        patience = self.settings.optimisation.patience
        if patience is not None and self._stale_epochs >= patience:
            return FinishReason.converged
        if self._budget.spent(self.n_steps, self.elapsed_s) >= 1:
            return FinishReason.completed
        return None

    # -- one step --------------------------------------------------------------------------------

    def step(self) -> StepLoss:
        """Draw a batch, differentiate, update weights and teacher.

        Raises
        ------
        Diverged
            If the loss is not finite; the weights are those of the step before.
        """
        spent = min(1.0, self._budget.spent(self.n_steps, self.elapsed_s))
        factor = learning_rate_factor(self.settings.optimisation.schedule, spent)
        for group in self._optimiser.param_groups:
            group["lr"] = self._base_rate * factor
        batch = self._sampler.draw(self.n_steps)
        ramp = self._ramp(spent)
        self.network.train()
        logits = self._student_logits(batch)
        placed = batch.to(self.device)
        loss = self._objective(
            logits,
            placed,
            teacher_probs=self._teacher_probs(placed) if ramp > 0 else None,
            memories=self._remembered(batch),
            ramp=ramp,
        )
        if not bool(torch.isfinite(loss.total)):
            raise Diverged(
                f"the loss became {float(loss.total.detach())} at step {self.n_steps + 1}; lower "
                "optimisation.learning_rate (now "
                f"{self.settings.optimisation.learning_rate}) and start again from the last "
                "checkpoint."
            )
        self._optimiser.zero_grad(set_to_none=True)
        loss.total.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        if self._teacher is not None:
            self._teacher.update_parameters(self.network)
        self.n_steps += 1
        return loss

    def _ramp(self, spent: float) -> float:
        settings = self.settings.self_training
        if self._teacher is None or not settings.is_on:
            return 0.0
        since = spent - self._self_training_start
        if since <= 0:
            return 0.0
        return min(1.0, since / settings.ramp) if settings.ramp > 0 else 1.0

    def _student_logits(self, batch: Batch) -> torch.Tensor:
        """Logits in the batch's own frame; the network saw them flipped and disturbed."""
        images = batch.images
        n = images.shape[0]
        flips = [Flip(False, 0)] * n
        if self.settings.sampling.has_flips:
            flips = self._sampler.flips(self.n_steps, n)
        if self.settings.sampling.has_intensity:
            images = augment_intensity(images, seed=self.settings.seed, step=self.n_steps)
        images = torch.stack([flip.apply(im) for flip, im in zip(flips, images, strict=True)])
        logits = self._forward(self.network, images.to(self.device))
        return torch.stack([flip.undo(map_) for flip, map_ in zip(flips, logits, strict=True)])

    def _forward(self, network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._uses_bfloat16()):
            logits: torch.Tensor = network(images)
        return logits.float()

    def _uses_bfloat16(self) -> bool:
        precision = self.settings.optimisation.precision
        if precision == "auto":
            return has_fast_bfloat16(self.device)
        return precision == "bfloat16"

    def _teacher_probs(self, batch: Batch) -> torch.Tensor:
        assert self._teacher is not None
        with torch.no_grad():
            return activate(self._forward(self._teacher, batch.images), self.n_classes)

    def _remembered(self, batch: Batch) -> list[torch.Tensor | None]:
        """Return the teacher's maps of whole slices, refreshed when they have become old."""
        shape = self._sampler.shape
        memories: list[torch.Tensor | None] = []
        for window, sample in zip(batch.windows, batch.samples, strict=True):
            fits = sample.shape[0] <= shape[0] and sample.shape[1] <= shape[1]
            if fits or not window.bags or self._sampler.windows is not None:
                memories.append(None)
                continue
            n_windows = sample.shape[0] * sample.shape[1] / (shape[0] * shape[1])
            last = self._memories.get(sample.slice)
            if last is None or self.n_steps - last.step >= _MEMORY_STEPS * max(1, n_windows / 8):
                probs = self._predict(sample.image)
                last = self._memories[sample.slice] = _Memory(probs.to(self.device), self.n_steps)
            memories.append(last.probs)
        return memories

    def _predict(self, image: npt.NDArray[np.float32]) -> torch.Tensor:
        """Map (C, y, x) of a working-scale slice by the network that would be kept now.

        Raises
        ------
        Stopped
            If the run was asked to stop.
        """
        tiled = TiledNetwork(self._kept_network(), n_classes=self.n_classes, device=self.device)
        bands = tiled.bands(
            torch.from_numpy(image),
            tile_px=default_tile_px(self.network, self.device),
            token=self._token,
        )
        return torch.cat([band.probs for band in bands if isinstance(band, Band)], dim=1)

    def _kept_network(self) -> torch.nn.Module:
        network: torch.nn.Module = self.network if self._teacher is None else self._teacher.module
        return network.eval()

    # -- what the loop asks for ------------------------------------------------------------------

    def validate(self) -> Validated | None:
        """Evaluate the loss on the held-out crops and keep the best weights."""
        if not self._held_out:
            return None
        network = self._kept_network()
        size = self.settings.sampling.batch_size
        total = 0.0
        with torch.no_grad():
            for start in range(0, len(self._held_out), size):
                windows = self._held_out[start : start + size]
                batch = cut(self._samples, windows, self._sampler.shape).to(self.device)
                loss = self._objective(
                    self._forward(network, batch.images),
                    batch,
                    teacher_probs=None,
                    memories=[None] * len(windows),
                    ramp=0.0,
                )
                total += float(loss.total) * len(windows)
        mean = total / len(self._held_out)
        is_best = self._best_loss is None or mean < self._best_loss
        if is_best:
            self._best_loss, self._stale_epochs = mean, 0
            self._best = _copy(network)
        else:
            self._stale_epochs += 1
        return Validated(self.n_steps, mean, is_best)

    def progress(self, loss: StepLoss | None) -> Progress:
        """Where the run stands."""
        spent = min(1.0, self._budget.spent(self.n_steps, self.elapsed_s))
        elapsed = self.elapsed_s
        eta = elapsed * (1 - spent) / spent if spent > 0 else None
        return Progress(
            done=self.n_steps,
            total=self._budget.max_steps,
            elapsed_s=elapsed,
            eta_s=eta,
            losses=loss.parts if loss else {},
            proportion_error=loss.proportion_error if loss else None,
        )

    def preview(self, z: int) -> Iterator[Preview]:
        """Compute the map of slice ``z`` at working scale; nothing if stopped meanwhile."""
        if z not in self._images:
            image = working_slice(self._stack, z, self.reduction, self.settings.image.normalisation)
        else:
            image = self._images[z]
        with contextlib.suppress(Stopped):
            probs = self._predict(image).numpy()
            yield Preview(self.n_steps, z, self.reduction, self._stack.shape_of(z), probs)

    def take_annotations(self, annotations: Annotations) -> Iterator[Event]:
        """Let changed annotations join the run; labels keep their weights."""
        if annotations.classes != self._annotations.classes:
            yield Message("warning", "Classes cannot change during a run; start a new one.")
            return
        if annotations.is_empty and self._masks is None:
            yield Message("warning", "All annotations are gone; the run goes on with the old ones.")
            return
        self._annotations = annotations
        self._load_data(self.label_scale)
        if self.run_dir is not None:
            write_update(self.run_dir, self.n_steps, annotations)
        yield Message("info", f"Step {self.n_steps}: now {annotations.summary()}.")

    def save(self) -> CheckpointSaved:
        """Write a resumable checkpoint."""
        assert self.run_dir is not None
        tensors = {f"student.{k}": v for k, v in self.network.state_dict().items()}
        if self._teacher is not None:
            tensors |= {f"teacher.{k}": v for k, v in self._teacher.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in (self._best or {}).items()}
        for index, moments in self._optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{k}": v for k, v in moments.items()}
        state = TrainingState(
            tensors={k: v.detach().cpu().contiguous() for k, v in tensors.items()},
            step=self.n_steps,
            elapsed_s=self.elapsed_s,
            best_loss=self._best_loss,
            stale_epochs=self._stale_epochs,
            reduction=self.reduction,
            label_scale=self.label_scale,
        )
        return CheckpointSaved(self.n_steps, str(save_state(state, self.run_dir)))

    def _restore(self, state: TrainingState) -> None:
        groups: dict[str, dict[str, torch.Tensor]] = {}
        for name, tensor in state.tensors.items():
            group, _, key = name.partition(".")
            groups.setdefault(group, {})[key] = tensor
        self.network.load_state_dict(groups["student"])
        if self._teacher is not None:
            self._teacher.load_state_dict(groups["teacher"])
        self._best = groups.get("best")
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in groups.get("optimiser", {}).items():
            index, _, key = name.partition(".")
            moments.setdefault(int(index), {})[key] = tensor
        whole = self._optimiser.state_dict()
        self._optimiser.load_state_dict({**whole, "state": moments})
        self.n_steps = state.step
        self._elapsed_before_s = state.elapsed_s
        self._best_loss, self._stale_epochs = state.best_loss, state.stale_epochs

    def model(self) -> Model:
        """Return the model as it would be kept now, on the CPU."""
        weights = self._best or _copy(self._kept_network())
        network = new_network(
            self.settings, n_channels=self._stack.n_channels, n_classes=self.n_classes
        )
        network.load_state_dict(weights)
        return Model(
            network=network.eval(),
            classes=self._annotations.classes,
            reduction=self.reduction,
            n_channels=self._stack.n_channels,
            settings=self.settings,
            stated_fractions=self.stated_fractions(),
            label_scale=self.label_scale,
            n_steps=self._steps_before + self.n_steps,
        )

    def outputs(self) -> tuple[str, ...]:
        """Files of the finished run."""
        if self.run_dir is None:
            return ()
        return tuple(str(self.run_dir / name) for name in (MODEL_WEIGHTS, MODEL_RECORD))


def _copy(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {k: v.detach().cpu().clone() for k, v in network.state_dict().items()}


def _split(
    items: Sequence[T], fraction: float, rng: np.random.Generator
) -> tuple[list[T], list[T]]:
    """Hold out a random part, never all."""
    n_held_out = min(round(len(items) * fraction), len(items) - 1)
    held_out = set(rng.permutation(len(items))[:n_held_out].tolist())
    return (
        [item for i, item in enumerate(items) if i not in held_out],
        [item for i, item in enumerate(items) if i in held_out],
    )
