"""Which device computes: names, checks, advice, and what running out of memory looks like."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

from ..base import InputError

_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
_INSTALL_PAGE = "https://pytorch.org/get-started/locally/"
# taken away first: pip takes the build without CUDA of the same version for the newer one
_INSTALL_CUDA_BUILD = (
    "python -m pip uninstall --yes torch\n"
    "python -m pip install torch --index-url https://download.pytorch.org/whl/cu128"
)


def device_names() -> tuple[str, ...]:
    """Names of the devices that are here, the fastest first: "cuda:0", ..., "mps", "cpu"."""
    names = []
    if torch.cuda.is_available():
        names += [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("mps")
    return (*names, "cpu")


def resolve_device(name: str = "auto") -> torch.device:
    """Find a device by name.

    Parameters
    ----------
    name : str
        "cpu", "cuda" (the first GPU), "cuda:N", "mps", or "auto": a CUDA GPU if there is one, else
        Apple's, else the CPU.

    Raises
    ------
    InputError
        If the name means no device, or one that is not here; says which ones are.
    """
    available = device_names()
    wanted = name.strip().lower()
    if wanted == "auto":
        return torch.device(available[0])
    if wanted == "cuda":
        wanted = "cuda:0"
    if wanted in available:
        return torch.device(wanted)
    choices = f"choose one of auto, {', '.join(available)}"
    if re.fullmatch(r"cuda:\d+|mps", wanted) is None:
        raise InputError(f"{name!r} is no device; {choices}.", field="device")
    advice = missing_gpu_advice() if wanted.startswith("cuda") else None
    raise InputError(
        f"device {name!r} is not available; {choices}.{f' {advice}' if advice else ''}",
        field="device",
    )


def missing_gpu_advice() -> str | None:
    """Say what to do if there is an NVIDIA GPU that the installed torch cannot use, else None.

    Takes the driver's files as the sign of a GPU; does not start it.
    """
    has_driver = shutil.which("nvidia-smi") is not None or _NVIDIA_DRIVER.exists()
    if torch.cuda.is_available() or not has_driver:
        return None
    if torch.version.cuda is None:
        return (
            f"This computer has an NVIDIA GPU, but the installed torch {torch.__version__} is "
            f"built without CUDA. Close napari, and in its environment run\n{_INSTALL_CUDA_BUILD}\n"
            f"Builds for other versions of CUDA: {_INSTALL_PAGE}."
        )
    return (
        f"This computer has an NVIDIA GPU, but torch {torch.__version__} with CUDA "
        f"{torch.version.cuda} cannot use it; update the driver, or install a build for an older "
        f"CUDA, see {_INSTALL_PAGE}."
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the memory of the CPU or of a GPU did not suffice."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # The CPU's allocator and Apple's GPU raise plain RuntimeErrors.
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether training in bfloat16 pays: tensor cores, or a CPU that multiplies such numbers.

    On CPUs with tile instructions (AMX) a step of the fast network took .46 of its time in
    float32, on one with dot products of bfloat16 (AVX-512 BF16) .54; on others bfloat16 is
    emulated.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if device.type != "cpu":
        return False
    # not in older releases of torch
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("amx_bf16", "avx512_bf16"))


@contextlib.contextmanager
def own_draws(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Seed torch's generators of the CPU and of a CUDA device; they come back as they were.

    For code that cannot be given a generator: layers that draw their first weights, or dropout.
    """
    cuda = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(cuda):
        # torch.manual_seed would touch the generators of all devices
        torch.default_generator.manual_seed(seed)
        for one in cuda:
            with torch.cuda.device(one):
                torch.cuda.manual_seed(seed)
        yield
