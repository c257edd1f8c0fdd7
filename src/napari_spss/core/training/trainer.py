"""The state of a training run and what can be done to it: a step, a validation, a checkpoint."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from ..annotations import Annotations
from ..base import (
    CancelToken,
    CheckpointSaved,
    Event,
    FinishReason,
    InputError,
    Message,
    Preview,
    Progress,
    RunFinished,
    RunStarted,
    TrainingSettings,
    Validated,
)
from ..images import LiveLabels, Masks, pair_masks, reading_notes, working_slice
from ..networks import Stopped, View, augment_intensity, draw_view
from .bags import LabelScale
from .checkpoint import (
    MODEL_RECORD,
    MODEL_WEIGHTS,
    Model,
    TrainingState,
    describe_network,
    save_state,
)
from .collapse import MapWatch
from .data import TrainingData, expected_shares, load_training_data
from .label_posterior import Recounts, recount
from .learner import Learner
from .memory import SliceMemory
from .objective import Objective, StepLoss
from .preparation import (
    check_classes,
    check_model,
    check_settings,
    remarks,
    stopped_run,
    working_scale,
)
from .run_folder import write_update
from .sampling import Batch
from .schedule import Budget, learning_rate_factor

if TYPE_CHECKING:
    from ..images import LabelSource, Stack

__all__ = ["Trainer"]

# weights that have already learned are disturbed less
_WARM_LEARNING_RATE = 0.3
# parts of the budget
_RECOUNT_FROM, _RECOUNT_EVERY = 0.2, 0.1


class Trainer:
    """Holds learner and data of one run.

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
        held_out_slices: Collection[int] | None = None,
    ) -> None:
        self.settings = settings
        self.run_dir = run_dir
        self.device = device
        self._stack = stack
        self._annotations = annotations
        self._masks = pair_masks(masks, stack) if isinstance(masks, Masks) else masks
        self._token = token
        self._clock = clock
        self._held_out_slices = held_out_slices
        self._images: dict[int, npt.NDArray[np.float32]] = {}
        self._memory = SliceMemory(self._predict, device)
        self._without_preview: set[int] = set()
        self._best: dict[str, torch.Tensor] | None = None
        self._best_loss: float | None = None
        self._stale_epochs = 0
        self._elapsed_before_s = 0.0
        self._started_at = clock()
        self._steps_before: int | None = None
        self._spent = 0.0
        self._recounts = Recounts()
        self._recounted_at: float | None = None
        self._watch = MapWatch(annotations.classes, outside=annotations.outside_index)

    # -- preparation -----------------------------------------------------------------------------

    def prepare(self, *, resume: bool, start_from: Model | None) -> Iterator[Event]:
        """Read the data and build, load or resume the network."""
        check_settings(self.settings)
        check_classes(self._annotations)
        state = stopped_run(self.run_dir, self._annotations) if resume else None
        if state is not None:
            self.working_scale, self._steps_before = state.working_scale, state.steps_before
            self._recounts, self._recounted_at = state.recounts, state.recounted_at
            self._load_data(state.label_scale)
        elif start_from is not None:
            check_model(start_from, self.settings, self._annotations, self._stack.n_channels)
            self.working_scale = start_from.working_scale.at(self._stack.pixel_size_um(0))
            self._steps_before = start_from.n_steps
            before = start_from.settings.labels.keypoint_weight
            weighs = self.settings.labels.keypoint_weight / before
            self._load_data(start_from.label_scale.with_keypoints(weighs))
        else:
            self.working_scale = working_scale(self.settings, self._stack)
            self._load_data(None)
        self._learner = Learner(
            self.settings,
            n_channels=self._stack.n_channels,
            n_classes=self.n_classes,
            device=self.device,
        )
        self._learner.begin(
            fractions=expected_shares(self._stated_fractions(), outside=self._outside),
            weights=start_from.network.state_dict() if start_from and not resume else None,
        )
        self._steps_per_epoch = self._data.sampler.steps_per_epoch
        if state is not None:
            self._restore(state)
        self._budget = Budget.of(self.settings.optimisation, self._steps_per_epoch)
        self._started_at = self._clock()
        yield RunStarted(
            "training", self._budget.max_steps, str(self.device), self._annotations.classes
        )
        for note in () if self._masks is None else reading_notes(self._masks):
            yield Message("info", note)
        if start_from is not None and not resume:
            yield from start_from.working_scale.notes(self._stack)
        yield from remarks(
            self.settings,
            self._stack,
            self._annotations,
            scale=self.working_scale,
            has_held_out=bool(self._data.held_out),
            is_outside_shown=self._outside is None or self._data.has_labels_of(self._outside),
        )

    def _load_data(self, scale: LabelScale | None) -> None:
        self._data: TrainingData = load_training_data(
            self._stack,
            self._annotations,
            self.settings,
            masks=self._masks,
            working_scale=self.working_scale,
            scale=scale,
            images=self._images,
            held_out_slices=self._held_out_slices,
            recounted=self._recounts.believed,
        )
        self._objective = Objective(
            self.settings,
            self.n_classes,
            self._data.label_scale,
            self._data.sampler.n_labelled_slots,
            self._outside,
        )
        is_normal = self.settings.image.normalisation == "slice"
        self._grey_values = (0.0, 1.0) if is_normal else self._data.grey_values()

    def _restore(self, state: TrainingState) -> None:
        try:
            self._best = self._learner.unpack(state.tensors)
        except ValueError as error:
            raise InputError(
                f"the checkpoint in {self.run_dir} does not fit {describe_network(self.settings)}, "
                f"{self._stack.n_channels} image channels and {self.n_classes} classes; resume "
                "with the settings and the image of the run."
            ) from error
        self._learner.n_steps = state.step
        self._elapsed_before_s = state.elapsed_s
        self._best_loss, self._stale_epochs = state.best_loss, state.stale_epochs
        self._steps_per_epoch = state.steps_per_epoch or self._steps_per_epoch
        self._memory = SliceMemory(self._predict, self.device, state.maps)
        self._watch = MapWatch(self._annotations.classes, outside=self._outside, looks=state.looks)

    # -- facts -----------------------------------------------------------------------------------

    @property
    def n_classes(self) -> int:
        """Classes, background included."""
        return len(self._annotations.classes)

    @property
    def n_steps(self) -> int:
        """Completed steps, earlier parts of a resumed run included."""
        return self._learner.n_steps

    @property
    def elapsed_s(self) -> float:
        """Training time so far, earlier parts of a resumed run included."""
        return self._elapsed_before_s + self._clock() - self._started_at

    @property
    def ends_epoch(self) -> bool:
        """Whether the last step completed an epoch."""
        return self.n_steps % self._data.sampler.steps_per_epoch == 0

    def finish_reason(self) -> FinishReason | None:
        """Why the run is over, or None."""
        if self._token.is_cancelled:
            return FinishReason.stopped
        patience = self.settings.optimisation.patience
        if patience is not None and self._stale_epochs >= patience:
            return FinishReason.converged
        if self._budget.spent(self.n_steps, self.elapsed_s) >= 1:
            return FinishReason.completed
        left_s = self._limit_left_s()
        return FinishReason.time_limit if left_s is not None and left_s <= 0 else None

    def _is_unfinished(self) -> bool:
        reason = self.finish_reason()
        return reason in (None, FinishReason.stopped, FinishReason.time_limit)

    def _limit_left_s(self) -> float | None:
        """Seconds until the time limit, which counts from here and not from earlier parts."""
        limit_s = self._budget.limit_s
        return None if limit_s is None else limit_s - (self._clock() - self._started_at)

    # -- one step --------------------------------------------------------------------------------

    def step(self) -> StepLoss:
        """Draw a batch, differentiate, update weights and teacher.

        Raises
        ------
        Diverged
            If loss or gradient are not finite; the weights are those of the step before.
        """
        self._spent = spent = min(1.0, self._budget.spent(self.n_steps, self.elapsed_s))
        ramp = self._ramp(spent)
        if self._is_recount_due(spent):
            self._recount(spent)
        is_on = self.settings.self_training.is_on
        has_pseudo_labels = is_on and ramp > 0
        batch = self._data.sampler.draw(self.n_steps, has_labels_first=is_on and ramp == 0)
        view = self._view(batch)
        seen = batch.seen(view.shows(*batch.images.shape[-2:]))
        placed = seen.to(self.device)
        teacher = cache(lambda: self._learner.kept_probs(placed.images))
        loss = self._objective(
            self._student_logits(batch, view),
            placed,
            teacher_probs=teacher() if has_pseudo_labels else None,
            memories=self._memory.recall(seen, self.n_steps, teacher),
            ramp=ramp,
        )
        self._learner.learn(loss.total, learning_rate=self._learning_rate(spent))
        return loss

    def _is_recount_due(self, spent: float) -> bool:
        if not self.settings.self_training.is_on or self.settings.labels.node_error == 0:
            return False
        if self._recounted_at is None:
            return spent >= _RECOUNT_FROM or self._steps_before is not None
        return spent - self._recounted_at > _RECOUNT_EVERY - 1e-9

    def _recount(self, spent: float) -> None:
        """Count the nodes of grids again, by what the network has learned by now."""
        self._recounts = recount(
            self._data.samples, lambda image: self._predict(image).cpu().numpy()
        )
        self._recounted_at = spent
        if self._recounts.believed:
            self._load_data(self._data.label_scale)
            if self._best is not None:  # its loss must compare with those to come
                self._best_loss = self._held_out_loss(self._learner.network_of(self._best))

    def _learning_rate(self, spent: float) -> float:
        optimisation = self.settings.optimisation
        rate = optimisation.learning_rate * learning_rate_factor(optimisation.schedule, spent)
        return rate if self._steps_before is None else rate * _WARM_LEARNING_RATE

    def _ramp(self, spent: float) -> float:
        settings = self.settings.self_training
        since = spent - (settings.start if self._steps_before is None else 0.0)
        if since <= 0:
            return 0.0
        return min(1.0, since / settings.ramp) if settings.ramp > 0 else 1.0

    def _view(self, batch: Batch) -> View:
        sampling = self.settings.sampling
        n, _, height, width = batch.images.shape
        return draw_view(
            n,
            (height, width),
            seed=self.settings.seed,
            step=self.n_steps,
            has_flips=sampling.has_flips,
            has_warp=sampling.has_warp,
        )

    def _student_logits(self, batch: Batch, view: View) -> torch.Tensor:
        """Logits in the batch's own frame; the network saw them by the view, and disturbed."""
        images = batch.images
        if self.settings.sampling.has_intensity:
            mean, deviation = self._grey_values
            images = augment_intensity(
                images,
                seed=self.settings.seed,
                step=self.n_steps,
                mean=mean,
                deviation=deviation,
            )
        return view.undo(self._learner.student_logits(view.apply(images)))

    def _predict(self, image: npt.NDArray[np.float32]) -> torch.Tensor:
        return self._learner.predict(image, token=self._token)

    # -- what the loop asks for ------------------------------------------------------------------

    def validate(self) -> Validated | None:
        """Evaluate the loss on the held-out crops and keep the best weights."""
        if not self._data.held_out:
            return None
        mean = self._held_out_loss()
        is_best = self._best_loss is None or mean < self._best_loss
        if is_best:
            self._best_loss, self._stale_epochs = mean, 0
            self._best = self._learner.weights()
        else:
            self._stale_epochs += 1
        return Validated(self.n_steps, mean, is_best)

    def _held_out_loss(self, network: torch.nn.Module | None = None) -> float:
        """Mean loss on the held-out crops of what would be kept now, or of another network."""
        if network is not None:
            network = network.to(self.device)
        total = torch.zeros(())
        for batch in self._data.held_out_batches(self.settings.sampling.batch_size):
            placed = batch.to(self.device)
            loss = self._objective(
                self._learner.kept_logits(placed.images, network=network),
                placed,
                teacher_probs=None,
                memories=[None] * len(batch.windows),
                ramp=0.0,
            )
            total += loss.total.cpu() * len(batch.windows)
        self._learner.check_finite("validation loss", total)
        return float(total) / len(self._data.held_out)

    def progress(self, loss: StepLoss | None) -> Progress:
        """Where the run stands."""
        spent = min(1.0, self._budget.spent(self.n_steps, self.elapsed_s))
        elapsed = self.elapsed_s
        left = [elapsed * (1 - spent) / spent] if spent > 0 else []
        if (limit_left := self._limit_left_s()) is not None:
            left.append(max(0.0, limit_left))
        eta = min(left, default=None)
        return Progress(
            done=self.n_steps,
            total=self._budget.max_steps,
            elapsed_s=elapsed,
            eta_s=eta,
            losses=loss.parts if loss else {},
            proportion_error=loss.proportion_error if loss else None,
        )

    def preview(self, z: int) -> Iterator[Event]:
        """Compute the map of slice ``z`` at working scale; nothing if stopped meanwhile."""
        try:
            image = self._working_image(z)
        except InputError as error:
            if z not in self._without_preview:
                self._without_preview.add(z)
                yield Message("warning", f"There is no preview of slice {z}: {error}")
            return
        with contextlib.suppress(Stopped):
            probs = self._predict(image).numpy()
            reduction = self.working_scale.of_slice(self._stack, z)
            yield Preview(self.n_steps, int(z), reduction, self._stack.shape_of(z), probs)

    def watch(self, model: Model | None = None) -> Iterator[Event]:
        """Tell if maps have collapsed: now and then by what would be kept, or now by ``model``."""
        if model is None and not self._watch.is_due(self._spent):
            return
        if model is None and self._best is not None:
            model = self.model()
        network = None if model is None else model.network

        def predict(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            return self._learner.predict(image, network=network, token=self._token).numpy()

        with contextlib.suppress(Stopped):
            yield from self._watch.look(
                self._data.samples, predict, n_steps=self.n_steps, settings=self.settings
            )

    def tell_recounts(self) -> Iterator[Event]:
        """Tell where the map counts the nodes of grids otherwise than the user."""
        for text in self._recounts.messages(self._annotations.classes):
            yield Message("info", text)

    def _working_image(self, z: int) -> npt.NDArray[np.float32]:
        if z in self._images:
            return self._images[z]
        reduction = self.working_scale.of_slice(self._stack, z)
        return working_slice(self._stack, z, reduction, self.settings.image.normalisation)

    def take_annotations(self, annotations: Annotations) -> Iterator[Event]:
        """Let changed annotations join the run; labels keep their weights."""
        known = self._annotations
        if (annotations.classes, annotations.outside) != (known.classes, known.outside):
            yield Message("warning", "Classes cannot change during a run; start a new one.")
            return
        if annotations.is_empty and not (self._masks and self._masks.n_slices):
            yield Message("warning", "All annotations are gone; the run goes on with the old ones.")
            return
        recounts, self._annotations = self._recounts, annotations
        unchanged = {grid.slice for grid in annotations.grids if grid in known.grids}
        self._recounts = recounts.of_slices(unchanged)
        try:
            self._load_data(self._data.label_scale)
        except InputError as error:
            self._annotations, self._recounts = known, recounts
            yield Message(
                "warning", f"The run goes on with the old annotations; the new ones fail: {error}"
            )
            return
        # losses on other annotations cannot be compared, nor what was best by them be kept
        self._best, self._best_loss, self._stale_epochs = None, None, 0
        if self.run_dir is not None:
            painted = self._masks if isinstance(self._masks, LiveLabels) else None
            write_update(self.run_dir, self.n_steps, annotations, painted=painted)
        step = (self._steps_before or 0) + self.n_steps
        yield Message(
            "info",
            f"Your new annotations count from step {step} on. In all: {annotations.summary()}.",
        )
        if self.run_dir is not None:
            yield self.save()  # whoever resumes has the new ones: not from a step before

    def save(self) -> CheckpointSaved:
        """Write a resumable checkpoint."""
        assert self.run_dir is not None
        state = TrainingState(
            tensors=self._learner.pack(self._best),
            classes=self._annotations.classes,
            step=self.n_steps,
            steps_before=self._steps_before,
            elapsed_s=self.elapsed_s,
            best_loss=self._best_loss,
            stale_epochs=self._stale_epochs,
            working_scale=self.working_scale,
            label_scale=self._data.label_scale,
            outside=self._annotations.outside,
            recounts=self._recounts,
            recounted_at=self._recounted_at,
            steps_per_epoch=self._steps_per_epoch,
            maps=self._memory.kept(self.n_steps) if self._is_unfinished() else {},
            looks=self._watch.looks,
        )
        return CheckpointSaved(self.n_steps, str(save_state(state, self.run_dir)))

    def model(self) -> Model:
        """Return the model as it would be kept now, on the CPU."""
        return Model(
            network=self._learner.network_of(self._best or self._learner.weights()),
            classes=self._annotations.classes,
            working_scale=self.working_scale,
            n_channels=self._stack.n_channels,
            settings=self.settings,
            stated_fractions=self._stated_fractions(),
            label_scale=self._data.label_scale,
            n_steps=(self._steps_before or 0) + self.n_steps,
            outside=self._annotations.outside,
        )

    @property
    def _outside(self) -> int | None:
        return self._annotations.outside_index

    def _stated_fractions(self) -> tuple[float, ...] | None:
        return self._data.stated_fractions(self.n_classes, outside=self._outside)

    def tell_time_limit(self) -> Message:
        """Say that time ended the run before its steps did."""
        return Message(
            "warning",
            f"Time was up after {self.n_steps} of {self._budget.max_steps} steps, which is too "
            "few: maps are worse than after all of them. Go on with this run (Continue in the "
            "dock, train --resume), or train without a time limit.",
        )

    def finished(self, reason: FinishReason) -> RunFinished:
        """How the run ended, and its files."""
        folder, files = self.run_dir, {"model": MODEL_WEIGHTS, "record": MODEL_RECORD}
        outputs = {} if folder is None else {what: str(folder / files[what]) for what in files}
        return RunFinished(reason, self.n_steps, self.elapsed_s, outputs, self._budget.max_steps)
