"""A training run: what it holds, and what can be done with it between two steps."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from ..annotations import Annotations, Region
from ..base import (
    MODEL_RECORD,
    CheckpointSaved,
    FinishReason,
    InputError,
    KeypointsChecked,
    Message,
    Preparing,
    Preview,
    Progress,
    RunFinished,
    Stopped,
    Validated,
    counted,
)
from ..images import LiveLabels, reading_notes, resample_slice
from ..networks import View, augment_intensity, draw_view
from .checkpoint import MODEL_WEIGHTS, Model, RunState, Tensors, prefixed, save_state
from .corrections import errors_in, find_corrections
from .data import Batch, TrainingData
from .label_posterior import label_posterior
from .learner import Learner
from .loss_terms import LossInput, StepLoss, step_loss
from .run_folder import write_update
from .samples import Box, SampleReader, bags_of
from .schedule import Schedule
from .self_training import SliceMap, SliceMaps
from .warnings import MapWatch, denied_absences, initial_warnings, mistaken_classes, n_looks_due

if TYPE_CHECKING:
    from .samples import SliceSamples
    from .task import Task

_MOST_WEIGHED = 64  # windows of which maps are made at a time for the nodes in them


@dataclass
class Run:
    """A run between two steps; complete when `prepare` makes it."""

    task: Task
    reader: SampleReader  # has the annotations that count now, and the slices that were read
    # numbers that go into a checkpoint; the rest of it is in ``learner``, ``maps`` and ``best``
    state: RunState
    data: TrainingData  # what the annotations come to
    learner: Learner
    schedule: Schedule
    maps: SliceMaps  # the teacher's maps of slices that are larger than a window
    started_at: float  # when the first step began, by the task's clock
    best: Tensors | None = None  # weights of the lowest validation loss
    # those that it began with, if it goes on with a trained model and nothing but keypoints is new
    before: Tensors | None = None
    _without_preview: set[int] = field(default_factory=set)

    @property
    def annotations(self) -> Annotations:
        """Those that count now."""
        return self.reader.annotations

    # -- where it stands -------------------------------------------------------------------------

    @property
    def elapsed_s(self) -> float:
        """Training time so far, earlier parts of a resumed run included."""
        return self.state.elapsed_s + self.task.clock() - self.started_at

    @property
    def spent(self) -> float:
        """Share of the budget that is used up."""
        return self.schedule.spent(self.state.step, self.elapsed_s)

    @property
    def ends_epoch(self) -> bool:
        """Whether the last step completed an epoch."""
        return self.state.step % self.data.sampler.steps_per_epoch == 0

    def end(self) -> FinishReason | None:
        """Why the run is over, or None."""
        if self.task.token.is_cancelled:
            return FinishReason.stopped
        patience = self.task.settings.optimisation.patience
        if patience is not None and self.state.stale_epochs >= patience:
            return FinishReason.converged
        if self.spent >= 1:
            return FinishReason.completed
        left_s = self._limit_left_s()
        return FinishReason.time_limit if left_s is not None and left_s <= 0 else None

    def _limit_left_s(self) -> float | None:
        """Seconds until the time limit, which counts from here and not from earlier parts."""
        limit_s = self.schedule.limit_s
        return None if limit_s is None else limit_s - (self.task.clock() - self.started_at)

    def progress(self, loss: StepLoss | None) -> Progress:
        """Where the run stands, with the loss of a step."""
        spent, elapsed_s = self.spent, self.elapsed_s
        left_s = [elapsed_s * (1 - spent) / spent] if spent > 0 else []
        if (limit_left_s := self._limit_left_s()) is not None:
            left_s.append(max(0.0, limit_left_s))
        return Progress(
            done=self.state.step,
            total=self.schedule.max_steps,
            elapsed_s=elapsed_s,
            eta_s=min(left_s, default=None),
            losses=loss.parts if loss else {},
            proportion_error=loss.proportion_error if loss else None,
        )

    # -- a step ----------------------------------------------------------------------------------

    def draw(self, ramp: float) -> tuple[Batch, View]:
        """Draw windows, with what is said of the pixels that the student will see, and its view."""
        settings, step = self.task.settings, self.state.step
        has_labels_first = settings.self_training.enabled and ramp == 0
        batch = self.data.sampler.draw(step, has_labels_first=has_labels_first)
        shape = batch.images.shape[-2:]
        view = draw_view(
            len(batch.windows),
            (shape[0], shape[1]),
            seed=settings.seed,
            step=step,
            flips=settings.sampling.flips,
            warp=settings.sampling.warp,
        )
        return batch.seen(view.shows(*shape)), view

    def forward(self, batch: Batch, view: View) -> torch.Tensor:
        """Logits in the batch's own frame; the student saw them by the view, and disturbed."""
        images, settings = batch.images, self.task.settings
        if settings.sampling.intensity:
            is_normal = settings.image.normalisation == "slice"
            mean, deviation = (0.0, 1.0) if is_normal else self.data.grey_values
            images = augment_intensity(
                images, seed=settings.seed, step=self.state.step, mean=mean, deviation=deviation
            )
        return view.undo(self.learner.student_logits(view.apply(images), self.state.step))

    def loss(self, logits: torch.Tensor, batch: Batch, ramp: float) -> StepLoss:
        """Hold what the student said against annotations and teacher."""
        placed = batch.to(self.task.device)
        teacher = cache(lambda: self.learner.kept_probs(placed.images))
        has_pseudo_labels = self.task.settings.self_training.enabled and ramp > 0
        return self._evaluate(
            logits,
            placed,
            teacher=teacher if has_pseudo_labels else None,
            slice_maps=self.maps.recall(batch, self.state.step, for_labels=has_pseudo_labels),
            ramp=ramp,
        )

    def learn(self, loss: StepLoss, learning_rate: float) -> None:
        """Change the weights; they stay as they were if it raises Diverged."""
        self.learner.learn(loss.total, learning_rate=learning_rate, step=self.state.step)
        self.state.step += 1

    def _evaluate(
        self,
        logits: torch.Tensor,
        batch: Batch,
        *,
        teacher: Callable[[], torch.Tensor] | None,
        slice_maps: Sequence[SliceMap | None],
        ramp: float,
    ) -> StepLoss:
        step = LossInput(
            logits,
            batch,
            teacher,
            slice_maps,
            ramp,
            self.task.settings,
            self.data.label_scale,
            self.data.sampler.n_labelled_slots,
            self.data.classes,
        )
        return step_loss(step)

    # -- what it learns from ---------------------------------------------------------------------

    def count_by_map(self, spent: float) -> None:
        """Weigh the nodes of grids by what the network has learned by now.

        Where many slices are counted, those that were weighed longest ago have their turn, and
        those of which there is a map.
        """
        step, shape, before = self.state.step, self.data.sampler.shape, self.state.posterior
        turns = {region: turn for turn, region in enumerate(before.believed)}
        counted = [sample for sample in self.data.samples if sample.nodes]
        counted.sort(key=lambda sample: max(turns.get(region, -1) for region in sample.nodes))
        mapped = {one.name: one for one in self._some(counted, self.maps.kept(step))}

        def predict(sample: SliceSamples) -> npt.NDArray[np.float32] | None:
            if sample.name not in mapped:
                return None
            return self.maps.of(sample, step, shape).probs((0, 0, *sample.shape)).cpu().numpy()

        waiting = [sample for sample in counted if sample.name not in mapped]
        posterior = label_posterior([*waiting, *mapped.values()], predict, before)
        self.state.posterior, self.state.posterior_at = posterior, spent
        self.data = self.task.believe(self.reader, self.data, posterior)
        if self.best is not None:  # its loss must compare with those to come
            self.state.best_loss = self._held_out_loss(self.learner.network_of(self.best))

    def join(self, annotations: Annotations) -> Iterator[Preparing | Message | CheckpointSaved]:
        """Let changed annotations join the run; labels keep their weights."""
        known, task = self.annotations, self.task
        if annotations.classes != known.classes:
            yield Message("warning", "Classes cannot change during a run; start a new one.")
            return
        if annotations.is_empty and not (task.masks and task.masks.n_slices):
            yield Message("warning", "All annotations are gone; the run goes on with the old ones.")
            return
        unchanged = {grid.region for grid in annotations.grids if grid in known.grids}
        posterior = self.state.posterior.of_regions(unchanged)
        try:
            reader = self.reader.with_annotations(annotations, self.data.label_scale)
            now = task.clock()
            data = yield from task.read(reader, now, told_at=now)
        except InputError as error:
            text = f"The run goes on with the old annotations; the new ones fail: {error}"
            yield Message("warning", text)
            return
        self.reader, self.data = reader, task.believe(reader, data, posterior)
        self.state.posterior, self.state.data_digest = posterior, data.digest()
        # losses on other annotations cannot be compared, nor what was best by them be kept
        self.best, self.state.best_loss, self.state.stale_epochs = None, None, 0
        learned_from = task.learned_from(data, annotations)
        if learned_from != self.state.learned_from:
            self.before, self.state.learned_from = None, learned_from
        if task.run_dir is not None:
            painted = task.masks if isinstance(task.masks, LiveLabels) else None
            write_update(task.run_dir, self.state.step, annotations, painted=painted)
        step = (self.state.steps_before or 0) + self.state.step
        yield Message(
            "info",
            f"Your new annotations count from step {step} on. In all: {annotations.summary()}.",
        )
        if task.run_dir is not None:
            yield self.save()  # whoever resumes has the new ones: not from a step before

    # -- looks -----------------------------------------------------------------------------------

    def validate(self) -> Validated:
        """Evaluate the loss on the held-out crops and keep the best weights."""
        state, loss = self.state, self._held_out_loss()
        is_best = state.best_loss is None or loss < state.best_loss
        if is_best:
            state.best_loss, state.stale_epochs = loss, 0
            self.best = self.learner.weights()
        else:
            state.stale_epochs += 1
        return Validated(state.step, loss, is_best)

    def _held_out_loss(self, network: torch.nn.Module | None = None) -> float:
        """Mean loss on the held-out crops of what would be kept now, or of another network."""
        if network is not None:
            network = network.to(self.task.device)
        total = torch.zeros(())
        for batch in self.data.held_out_batches(self.task.settings.sampling.batch_size):
            placed = batch.to(self.task.device)
            loss = self._evaluate(
                self.learner.kept_logits(placed.images, network=network),
                placed,
                teacher=None,
                slice_maps=[None] * len(batch.windows),
                ramp=0.0,
            )
            total += loss.total.cpu() * len(batch.windows)
        self.learner.check_finite("validation loss", total, self.state.step)
        return float(total) / len(self.data.held_out)

    def preview(self, z: int, model: Model | None = None) -> Iterator[Preview | Message]:
        """Compute the map of slice ``z`` at working scale, set right where it denies keypoints.

        By the averaged weights, or by a model. Nothing if stopped meanwhile.
        """
        stack = self.task.stack
        reduction = self.state.working_scale.of_slice(stack, z)
        try:
            image = self.reader.images.get(Region(z))
            if image is None:
                normalisation = self.task.settings.image.normalisation
                image = resample_slice(stack, z, reduction, normalisation)
        except InputError as error:
            if z not in self._without_preview:
                self._without_preview.add(z)
                yield Message("warning", f"There is no preview of slice {z}: {error}")
            return
        with contextlib.suppress(Stopped):
            probs = self._predict(image, None if model is None else model.network)
            width_px = self.task.settings.image.target_diameter_px
            for sample in self.data.samples:
                errors = errors_in(sample, probs, width_px=width_px) if sample.slice == z else {}
                for row, start, end, c in chain.from_iterable(errors.values()):
                    probs[:, row, start:end], probs[c, row, start:end] = 0.0, 1.0
            yield Preview(self.state.step, int(z), reduction, stack.shape_of(z), probs)

    def warn(self, start_from: Model | None) -> Iterator[Message]:
        """Tell what the user may not expect of data, settings, and a model to begin with."""
        for note in () if self.task.masks is None else reading_notes(self.task.masks):
            yield Message("info", note)
        if start_from is not None:
            yield from start_from.working_scale.notes(self.task.stack)
        outside = self.annotations.outside_index
        yield from initial_warnings(
            self.task.settings,
            self.task.stack,
            self.annotations,
            scale=self.state.working_scale,
            has_held_out=bool(self.data.held_out),
            is_outside_shown=outside is None or self.data.has_labels_of(outside),
        )

    def look(self, spent: float, model: Model | None = None) -> Iterator[Message]:
        """Tell if maps have collapsed: now and then by what would be kept, or now by ``model``."""
        n_due, n_looks = n_looks_due(spent), self.state.n_looks
        if model is None:
            self.state.n_looks = n_due
            if n_due <= n_looks:
                return
            model = self.model() if self.best is not None else None
        network = None if model is None else model.network
        watch = MapWatch(self.annotations.classes)
        # as judged: a map that lacks a class makes its nodes less likely, too
        bags = self.reader.bags()
        with contextlib.suppress(Stopped):
            self.state.lost, message = watch.look(
                [replace(one, bags=bags_of(one, bags)) for one in self.data.samples],
                lambda image: self._predict(image, network),
                self.state.lost,
                n_steps=self.state.step,
                settings=self.task.settings,
            )
            if message is not None:
                yield message

    def settle_keypoints(self, model: Model) -> tuple[Model, list[KeypointsChecked | Message]]:
        """Set the model's maps right where they deny keypoints, and tell where that is.

        If the run is stopped, or there are no keypoints, nothing is done.
        """
        points, samples = self.annotations.keypoints, self.data.samples
        try:
            corrections, places = find_corrections(
                samples,
                lambda image, box: self._predict(image, model.network, box),
                image=self.task.stack.identity(),
                width_px=self.task.settings.image.target_diameter_px,
            )
        except Stopped:
            return model, []
        if not points:
            return model, []
        denied = [points[place] for place in places]
        where = tuple((one.slice, one.y, one.x, one.class_index) for one in denied)
        told: list[KeypointsChecked | Message] = [KeypointsChecked(len(points), where)]
        if not denied:
            return model, told
        first = denied[0]
        remedy = (
            "train anew with all of them (Train in the dock)"
            if any(sample.nodes for sample in samples)
            else "set keypoints on some of that, too, and train on (Continue in the dock, train "
            "--resume --keypoints)"
        )
        text = (
            f"{len(denied)} of {counted(len(points), 'keypoint')} did not take effect: the network "
            f"shows another class there, first on slice {first.slice} at y {first.y:.0f}, x "
            f"{first.x:.0f}. Maps of this image are set right there, but not what looks like it "
            f"elsewhere: {remedy}."
        )
        return model.model_copy(update={"corrections": corrections}), [*told, Message("info", text)]

    def _predict(
        self,
        image: npt.NDArray[np.float32],
        network: torch.nn.Module | None = None,
        box: Box | None = None,
    ) -> npt.NDArray[np.float32]:
        return self.learner.predict(image, network=network, box=box, token=self.task.token).numpy()

    # -- what remains of it ----------------------------------------------------------------------

    def save(self) -> CheckpointSaved:
        """Write a resumable checkpoint."""
        assert self.task.run_dir is not None
        now = {"elapsed_s": self.elapsed_s, "label_scale": self.data.label_scale}
        state = self.state.model_copy(update=now)
        tensors = self.learner.tensors() | prefixed("best", self.best or {})
        tensors |= prefixed("before", self.before or {})
        is_unfinished = self.end() in (None, FinishReason.stopped, FinishReason.time_limit)
        kept = self.maps.kept(state.step) if is_unfinished else {}
        state.kept_until = {name: one.until for name, one in kept.items()}
        tensors |= prefixed("map", {name: one.odds for name, one in kept.items()})
        return CheckpointSaved(state.step, str(save_state(state, tensors, self.task.run_dir)))

    def model(self) -> Model:
        """Return the model as it would be kept now, on the CPU.

        Where nothing but keypoints and strokes is new, its weights are the mean of those before and
        after: a single run changes a map by chance by more than these do.
        """
        state = self.state
        weights = self.best or self.learner.weights()
        if self.best is None and self.before is not None:
            weights = {
                name: (one + self.before[name]) / 2 if one.is_floating_point() else one
                for name, one in weights.items()
            }
        return state.model(
            self.learner.network_of(weights),
            n_channels=self.task.stack.n_channels,
            settings=self.task.settings,
            stated_fractions=self.data.stated_fractions(),
            label_scale=self.data.label_scale,
            run_dir=self.task.run_dir,
        )

    def last_words(self, reason: FinishReason, model: Model) -> Iterator[Message]:
        """Tell where map and user judge otherwise, and if time was too short.

        Where a class is shown that was stated as 0, that comes first: as long as zeros are wrong, a
        map doubts nodes, too, and it is not for want of a count.
        """
        is_whole = reason in (FinishReason.completed, FinishReason.converged)
        mistaken, absences = self._contradicted(model) if is_whole else ((), ())
        if not absences:
            for text in self.state.posterior.messages(self.annotations.classes):
                yield Message("info", text)
            if is_whole and not any(one.nodes or one.is_mask for one in self.data.samples):
                yield Message(
                    "info",
                    "Nothing is counted, so nothing tells here whether the map shows what is "
                    "meant, or something else with the same fraction. Look at it. A grid on one or "
                    "two slices, a minute each, tells it, and teaches more than guesses and "
                    "clicks.",
                )
        yield from (*mistaken, *absences)
        if reason is FinishReason.time_limit:
            yield Message(
                "warning",
                f"Time was up after {self.state.step} of {self.schedule.max_steps} steps, which is "
                "too few: maps are worse than after all of them. Go on with this run (Continue in "
                "the dock, train --resume), or train without a time limit.",
            )

    def _contradicted(self, model: Model) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
        """Tell what was judged and what was stated as 0 that the map denies, by a few maps."""
        classes, samples = self.annotations.classes, self.data.samples
        counted = [one for one in samples if one.nodes]
        without = [one for one in samples if any((bag.fractions == 0).any() for bag in one.bags)]
        bags = list(chain.from_iterable(self.reader.bags().values()))  # as judged
        counted, without = list(self._some(counted)), list(self._some(without))
        mapped = {one.name: one.image for one in (*counted, *without)}
        with contextlib.suppress(Stopped):
            shown = {
                name: self._predict(image, model.network).argmax(axis=0)
                for name, image in mapped.items()
            }
            return (
                tuple(mistaken_classes(counted, shown, classes)),
                tuple(denied_absences(without, shown, classes, bags)),
            )
        return (), ()

    def _some(
        self, samples: Iterable[SliceSamples], at_hand: Container[str] = ()
    ) -> Iterator[SliceSamples]:
        """As many of them as are mapped in the time of some steps, and those of maps at hand."""
        room = float(_MOST_WEIGHED)
        for sample in samples:
            if sample.name in at_hand:
                yield sample
            elif room > 0:
                room -= math.prod(sample.shape) / math.prod(self.data.sampler.shape)
                yield sample

    def finished(self, reason: FinishReason) -> RunFinished:
        """How the run ended, and its files."""
        folder, files = self.task.run_dir, {"model": MODEL_WEIGHTS, "record": MODEL_RECORD}
        outputs = {} if folder is None else {what: str(folder / files[what]) for what in files}
        total = self.schedule.max_steps
        return RunFinished(reason, self.state.step, self.elapsed_s, outputs, total)
