"""Weights and moments of a run as one flat set of named tensors, and back."""

from __future__ import annotations

from collections.abc import Mapping

import torch

__all__ = ["pack", "unpack"]

Tensors = dict[str, torch.Tensor]


def pack(
    network: torch.nn.Module,
    teacher: torch.nn.Module | None,
    optimiser: torch.optim.Optimizer,
    best: Mapping[str, torch.Tensor] | None,
) -> Tensors:
    """Name the tensors "student.", "teacher.", "optimiser." and "best." with their own names."""
    tensors = _prefixed("student", network.state_dict())
    if teacher is not None:
        tensors |= _prefixed("teacher", teacher.state_dict())
    for index, moments in optimiser.state_dict()["state"].items():
        tensors |= _prefixed(f"optimiser.{index}", moments)
    return tensors | _prefixed("best", best or {})


def unpack(
    tensors: Mapping[str, torch.Tensor],
    network: torch.nn.Module,
    teacher: torch.nn.Module | None,
    optimiser: torch.optim.Optimizer,
) -> Tensors | None:
    """Load what :func:`pack` gave, and return the best weights, if there are any.

    Raises
    ------
    ValueError
        If the tensors are those of another network, or of a run with or without a teacher.
    """
    groups: dict[str, Tensors] = {}
    for name, tensor in tensors.items():
        group, _, key = name.partition(".")
        groups.setdefault(group, {})[key] = tensor
    moments: dict[int, Tensors] = {}
    for name, tensor in groups.get("optimiser", {}).items():
        index, _, key = name.partition(".")
        moments.setdefault(int(index), {})[key] = tensor
    if ("teacher" in groups) != (teacher is not None):
        raise ValueError("it was saved with other averaging of weights (optimisation.ema_decay)")
    try:
        network.load_state_dict(groups.get("student", {}))
        if teacher is not None:
            teacher.load_state_dict(groups["teacher"])
        optimiser.load_state_dict({**optimiser.state_dict(), "state": moments})
    except (RuntimeError, KeyError) as error:
        raise ValueError(str(error)) from error
    return groups.get("best")


def _prefixed(prefix: str, tensors: Mapping[str, torch.Tensor]) -> Tensors:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}
