"""Prints the seconds that a training will take; run in a child process by `devices`."""

from __future__ import annotations

import json
import sys


def main(settings: str, device: str) -> None:
    """Write the seconds of a training with settings, as JSON, on a device."""
    import torch

    from ...core.base import parse_settings
    from ...core.training import training_seconds

    torch.set_num_threads(max(1, torch.get_num_threads() - 1))  # as trainings in the dock do
    seconds = training_seconds(parse_settings(json.loads(settings)), device=device)
    sys.stdout.write(f"{seconds}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
