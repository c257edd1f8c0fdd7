"""What learns: a network, its averaged teacher and the optimiser, on their device."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.optim.swa_utils import AveragedModel

from ..base import CancelToken, Diverged, TrainingSettings
from ..networks import (
    Band,
    TiledNetwork,
    activate,
    default_tile_px,
    has_fast_bfloat16,
    initialise_output_bias,
    own_draws,
)
from .checkpoint import Tensors, new_network, prefixed, with_prefix
from .samples import Box

# of torch.optim.AdamW
_BETA, _BETA_SQUARES, _EPSILON = 0.9, 0.999, 1e-8


class Learner:
    """Weights and what changes them.

    Parameters
    ----------
    settings : TrainingSettings
        Network, optimiser, averaging, precision and seed.
    n_channels, n_classes : int
        Of the image; of the maps, background included.
    device : torch.device
        Where to compute.
    shares : sequence of float, optional
        Mean fraction of each class, which a new last layer is to predict.
    weights : mapping of str to Tensor, optional
        Of a trained network, to begin with.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        *,
        n_channels: int,
        n_classes: int,
        device: torch.device,
        shares: Sequence[float] | None = None,
        weights: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        self.device = device
        self._settings = settings
        self._n_channels = n_channels
        self._n_classes = n_classes
        self._network = self._new_network()
        if weights is not None:
            self._network.load_state_dict(weights)
        if shares is not None:
            initialise_output_bias(self._network, shares)
        # torch's stubs lack the keyword; convolutions run faster on CPUs and tensor cores so
        self._network.to(  # type: ignore[call-overload]
            device, memory_format=torch.channels_last
        )
        optimisation = settings.optimisation
        decay = optimisation.ema_decay
        self._teacher = None if decay is None else Teacher(self._network, decay)
        self._optimiser = _AdamW(self._network.parameters(), optimisation.weight_decay)
        self._predictor: TiledNetwork | None = None  # of what would be kept now

    def student_logits(self, images: torch.Tensor, step: int) -> torch.Tensor:
        """Logits (B, n, H, W) of images (B, channels, H, W), to be differentiated.

        What layers draw, such as dropout, depends on the seed and the step alone.
        """
        draws = np.random.default_rng([self._settings.seed, 7, step])
        with own_draws(int(draws.integers(2**63)), self.device):
            network = self._network if self._network.training else self._network.train()
            return self._forward(network, images)

    def kept_logits(
        self, images: torch.Tensor, *, network: torch.nn.Module | None = None
    ) -> torch.Tensor:
        """Logits (B, n, H, W) of the network that would be kept now, or of another one."""
        with torch.no_grad():
            return self._forward(network or self._kept(), images)

    def kept_probs(self, images: torch.Tensor) -> torch.Tensor:
        """Maps (B, C, H, W) of the network that would be kept now: the teacher, if there is one."""
        return activate(self.kept_logits(images), self._n_classes)

    def _forward(self, network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        images = images.to(self.device).contiguous(memory_format=torch.channels_last)
        with self._autocast():
            logits: torch.Tensor = network(images)
        return logits.float()

    def _autocast(self, *, enabled: bool = True) -> torch.autocast:
        precision = self._settings.optimisation.precision
        if precision == "auto":
            enabled &= has_fast_bfloat16(self.device)
        else:
            enabled &= precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def learn(self, loss: torch.Tensor, *, learning_rate: float, step: int) -> None:
        """Change the weights by one step (0-based), and the teacher after them.

        Raises
        ------
        Diverged
            If loss or gradient are not finite; nothing has changed then.
        """
        self.check_finite("loss", loss, step)
        self._optimiser.zero_grad()
        self._predictor = None
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = self._optimiser.gradients()
        self.check_finite("gradient", torch.nn.utils.get_total_norm(gradients), step)
        self._optimiser.step(learning_rate)
        if self._teacher is not None:
            self._teacher.follow()

    def check_finite(self, name: str, value: torch.Tensor, step: int) -> None:
        """Raise Diverged if a number of a step is NaN or infinite."""
        if not bool(torch.isfinite(value)):
            rate, network = self._settings.optimisation.learning_rate, self._settings.network.name
            remedy = (
                f"lower optimisation.learning_rate (now {rate}) and start again from the last "
                "checkpoint"
                if step
                else f"no step was made yet, so that the network {network!r} or a weight of loss "
                "is to blame: change network.name or loss"
            )
            raise Diverged(
                f"the {name} became {float(value.detach())} at step {step + 1}; {remedy}."
            )

    def predict(
        self,
        image: npt.NDArray[np.float32],
        *,
        network: torch.nn.Module | None = None,
        box: Box | None = None,
        is_exact: bool = True,
        token: CancelToken | None = None,
    ) -> torch.Tensor:
        """Map (C, y, x), on the CPU, of a working-scale slice by what would be kept now.

        ``network`` takes its place if given, ``box`` (y0, x0, y1, x1) is a part of the slice. What
        need not be exact is computed as a training step is, in bfloat16 where that is faster, and
        in tiles that take more memory, as a step does, and less time.

        Raises
        ------
        Stopped
            If the token is set.
        """
        if network is not None:
            tiled = self._tiled(network)
        else:
            tiled = self._predictor = self._predictor or self._tiled(self._kept())
        bands = tiled.bands(
            torch.from_numpy(image),
            tile_px=default_tile_px(self.device) * (1 if is_exact else 2),
            box=box,
            token=token,
        )
        with self._autocast(enabled=not is_exact):
            return torch.cat([band.probs for band in bands if isinstance(band, Band)], dim=1)

    def weights(self) -> Tensors:
        """Copy, on the CPU, of the weights that would be kept now."""
        return {k: v.detach().cpu().clone() for k, v in self._kept().state_dict().items()}

    def network_of(self, weights: Mapping[str, torch.Tensor]) -> torch.nn.Module:
        """Another network of the same kind, on the CPU, in evaluation mode."""
        network = self._new_network()
        network.load_state_dict(weights)
        return network.eval()

    def tensors(self) -> Tensors:
        """All that learning can go on from: "student.", "teacher." and "optimiser." with names."""
        tensors = prefixed("student", self._network.state_dict())
        if self._teacher is not None:
            tensors |= prefixed("teacher", self._teacher.state_dict())
        return tensors | prefixed("optimiser", self._optimiser.tensors())

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Go on from what `tensors` gave.

        Raises
        ------
        ValueError
            If it was of another network, or of one with or without a teacher.
        """
        of_teacher = with_prefix("teacher", tensors)
        if bool(of_teacher) != (self._teacher is not None):
            raise ValueError("it was saved with other averaging (optimisation.ema_decay)")
        self._predictor = None
        try:
            self._network.load_state_dict(with_prefix("student", tensors))
            if self._teacher is not None:
                self._teacher.load_state_dict(of_teacher)
        except RuntimeError as error:  # names or shapes of weights
            raise ValueError(str(error)) from error
        self._optimiser.load(with_prefix("optimiser", tensors))

    def _tiled(self, network: torch.nn.Module) -> TiledNetwork:
        return TiledNetwork(network, n_classes=self._n_classes, device=self.device)

    def _kept(self) -> torch.nn.Module:
        network: torch.nn.Module = self._network if self._teacher is None else self._teacher.module
        return network.eval() if network.training else network

    def _new_network(self) -> torch.nn.Module:
        return new_network(self._settings, n_channels=self._n_channels, n_classes=self._n_classes)


class _AdamW:
    """AdamW as ``torch.optim`` computes it, which imports torch's compiler: two seconds."""

    def __init__(self, parameters: Iterable[torch.nn.Parameter], weight_decay: float) -> None:
        self._parameters = list(parameters)
        self._weight_decay = weight_decay
        self._means = [torch.zeros_like(one) for one in self._parameters]
        self._squares = [torch.zeros_like(one) for one in self._parameters]
        self._n_steps = [0] * len(self._parameters)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for one in self._parameters:
            one.grad = None

    def gradients(self) -> list[torch.Tensor]:
        """Those that there are."""
        return [one.grad for one in self._parameters if one.grad is not None]

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Change the parameters that have a gradient."""
        used = [i for i, one in enumerate(self._parameters) if one.grad is not None]
        weights, means, squares = (
            [values[i] for i in used] for values in (self._parameters, self._means, self._squares)
        )
        gradients = self.gradients()
        for i in used:
            self._n_steps[i] += 1
        bias = [1 - _BETA ** self._n_steps[i] for i in used]
        roots = [math.sqrt(1 - _BETA_SQUARES ** self._n_steps[i]) for i in used]
        torch._foreach_mul_(weights, 1 - learning_rate * self._weight_decay)
        torch._foreach_lerp_(means, gradients, 1 - _BETA)
        torch._foreach_mul_(squares, _BETA_SQUARES)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - _BETA_SQUARES)
        scales = torch._foreach_sqrt(squares)
        torch._foreach_div_(scales, roots)
        torch._foreach_add_(scales, _EPSILON)
        torch._foreach_addcdiv_(weights, means, scales, [-learning_rate / one for one in bias])

    def tensors(self) -> Tensors:
        """What it remembers, under the names of ``torch.optim``."""
        tensors: Tensors = {}
        for i, n_steps in enumerate(self._n_steps):
            if n_steps:
                tensors[f"{i}.step"] = torch.tensor(float(n_steps))
                tensors[f"{i}.exp_avg"] = self._means[i]
                tensors[f"{i}.exp_avg_sq"] = self._squares[i]
        return tensors

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Go on from what `tensors` gave."""
        for i, (mean, square) in enumerate(zip(self._means, self._squares, strict=True)):
            self._n_steps[i] = int(tensors.get(f"{i}.step", 0))
            if self._n_steps[i]:
                mean.copy_(tensors[f"{i}.exp_avg"])
                square.copy_(tensors[f"{i}.exp_avg_sq"])


class Teacher(AveragedModel):
    """A moving average of a network's weights and running statistics.

    The decay is warmed up, ``min(decay, (1 + n) / (10 + n))`` after n updates, so that the random
    start is forgotten early.
    """

    def __init__(self, network: torch.nn.Module, decay: float) -> None:
        super().__init__(network)
        self.eval().requires_grad_(False)
        self._decay = decay
        both = [[*one.parameters(), *one.buffers()] for one in (self.module, network)]
        self._means, self._counts = (
            [[one.detach() for one in its if one.is_floating_point() == is_float] for its in both]
            for is_float in (True, False)
        )

    @torch.no_grad()
    def follow(self) -> None:
        """Take in what a step has made of the network."""
        n = int(self.n_averaged)
        kept = min(self._decay, (1 + n) / (10 + n)) if n else 0.0
        # all at once, without a walk through the modules, which took a thirtieth of a step
        means, news = self._means
        torch._foreach_lerp_(means, news, 1 - kept)
        for count, new in zip(*self._counts, strict=True):
            count.copy_(new)
        self.n_averaged += 1
