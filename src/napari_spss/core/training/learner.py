"""What learns: a network, its averaged teacher and the optimiser, on their device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from ..base import CancelToken, Diverged, TrainingSettings
from ..networks import (
    Band,
    TiledNetwork,
    activate,
    default_tile_px,
    has_fast_bfloat16,
    initialise_output_bias,
    own_draws,
    pack,
    unpack,
)
from .checkpoint import new_network
from .selftraining import ema_of

__all__ = ["Learner"]


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

    Attributes
    ----------
    n_steps : int
        Steps so far.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        *,
        n_channels: int,
        n_classes: int,
        device: torch.device,
    ) -> None:
        self.device = device
        self.n_steps = 0
        self._settings = settings
        self._n_channels = n_channels
        self._n_classes = n_classes
        self._network = self._new_network()

    def begin(
        self, *, fractions: Sequence[float] | None, weights: Mapping[str, torch.Tensor] | None
    ) -> None:
        """Take over weights, or let the new network predict the mean fractions, and set off."""
        if weights is not None:
            self._network.load_state_dict(weights)
        elif fractions is not None:
            initialise_output_bias(self._network, fractions)
        # torch's stubs lack the keyword; convolutions run faster on CPUs and tensor cores so
        self._network.to(  # type: ignore[call-overload]
            self.device, memory_format=torch.channels_last
        )
        optimisation = self._settings.optimisation
        decay = optimisation.ema_decay
        self._teacher = None if decay is None else ema_of(self._network, decay)
        self._optimiser = torch.optim.AdamW(
            self._network.parameters(),
            lr=optimisation.learning_rate,
            weight_decay=optimisation.weight_decay,
        )

    def student_logits(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (B, n, H, W) of images (B, channels, H, W), to be differentiated.

        What layers draw, such as dropout, depends on the seed and the step alone.
        """
        draws = np.random.default_rng([self._settings.seed, 7, self.n_steps])
        with own_draws(int(draws.integers(2**63)), self.device):
            return self._forward(self._network.train(), images)

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
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._uses_bfloat16()):
            logits: torch.Tensor = network(images)
        return logits.float()

    def _uses_bfloat16(self) -> bool:
        precision = self._settings.optimisation.precision
        if precision == "auto":
            return has_fast_bfloat16(self.device)
        return precision == "bfloat16"

    def learn(self, loss: torch.Tensor, *, learning_rate: float) -> None:
        """Change the weights by one step, and the teacher after them.

        Raises
        ------
        Diverged
            If loss or gradient are not finite; nothing has changed then.
        """
        self.check_finite("loss", loss)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad for p in self._network.parameters() if p.grad is not None]
        self.check_finite("gradient", torch.nn.utils.get_total_norm(gradients))
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate
        self._optimiser.step()
        if self._teacher is not None:
            self._teacher.update_parameters(self._network)
        self.n_steps += 1

    def check_finite(self, name: str, value: torch.Tensor) -> None:
        """Raise Diverged if a number is NaN or infinite."""
        if not bool(torch.isfinite(value)):
            rate = self._settings.optimisation.learning_rate
            raise Diverged(
                f"the {name} became {float(value.detach())} at step {self.n_steps + 1}; lower "
                f"optimisation.learning_rate (now {rate}) and start again from the last checkpoint."
            )

    def predict(
        self,
        image: npt.NDArray[np.float32],
        *,
        network: torch.nn.Module | None = None,
        token: CancelToken | None = None,
    ) -> torch.Tensor:
        """Map (C, y, x), on the CPU, of a working-scale slice by what would be kept now.

        ``network`` takes its place if given.

        Raises
        ------
        Stopped
            If the token is set.
        """
        kept = network or self._kept()
        tiled = TiledNetwork(kept, n_classes=self._n_classes, device=self.device)
        bands = tiled.bands(
            torch.from_numpy(image), tile_px=default_tile_px(kept, self.device), token=token
        )
        return torch.cat([band.probs for band in bands if isinstance(band, Band)], dim=1)

    def weights(self) -> dict[str, torch.Tensor]:
        """Copy, on the CPU, of the weights that would be kept now."""
        return {k: v.detach().cpu().clone() for k, v in self._kept().state_dict().items()}

    def network_of(self, weights: Mapping[str, torch.Tensor]) -> torch.nn.Module:
        """Another network of the same kind, on the CPU, in evaluation mode."""
        network = self._new_network()
        network.load_state_dict(weights)
        return network.eval()

    def pack(self, best: Mapping[str, torch.Tensor] | None) -> dict[str, torch.Tensor]:
        """All that learning can go on from; ``best`` is kept with it."""
        return pack(self._network, self._teacher, self._optimiser, best)

    def unpack(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor] | None:
        """Go on from what `pack` gave; returns ``best``.

        Raises
        ------
        ValueError
            If it was of another network, or of one with or without a teacher.
        """
        return unpack(tensors, self._network, self._teacher, self._optimiser)

    def _kept(self) -> torch.nn.Module:
        network: torch.nn.Module = self._network if self._teacher is None else self._teacher.module
        return network.eval()

    def _new_network(self) -> torch.nn.Module:
        return new_network(self._settings, n_channels=self._n_channels, n_classes=self._n_classes)
