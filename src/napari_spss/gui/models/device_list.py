"""Prints torch's devices as one line of JSON; run in a child process by `devices`."""

from __future__ import annotations

import json
import sys


def main() -> None:
    """Write names and labels of the devices, and what to do about a GPU that is not used."""
    import torch

    from ...core.networks import device_names, missing_gpu_advice

    devices = [
        (name, torch.cuda.get_device_name(name) if name.startswith("cuda") else _LABELS[name])
        for name in device_names()
    ]
    sys.stdout.write(json.dumps({"devices": devices, "advice": missing_gpu_advice()}) + "\n")


_LABELS = {"mps": "Apple GPU", "cpu": "CPU"}

if __name__ == "__main__":
    main()
