"""Devices by name, advice for unused GPUs, and telling memory errors from others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from napari_spss.core.base import InputError
from napari_spss.core.networks import devices as device

Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """Pretend to be a machine with these devices."""

    def pretend(
        *, n_gpus: int = 0, mps: bool = False, driver: bool = False, cuda: str | None = None
    ) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: n_gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: n_gpus)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(torch.version, "cuda", cuda)
        monkeypatch.setattr(device.shutil, "which", lambda _: None)
        version = tmp_path / "version"
        if driver:
            version.touch()
        monkeypatch.setattr(device, "_NVIDIA_DRIVER", version)

    return pretend


@pytest.mark.parametrize(
    ("n_gpus", "mps", "expected"),
    [(2, False, "cuda:0"), (0, True, "mps"), (0, False, "cpu"), (1, True, "cuda:0")],
)
def test_auto_takes_the_fastest(machine: Machine, n_gpus: int, mps: bool, expected: str) -> None:
    machine(n_gpus=n_gpus, mps=mps)
    assert str(device.resolve_device("auto")) == expected


def test_names_of_all_devices(machine: Machine) -> None:
    machine(n_gpus=2, mps=True)
    assert device.device_names() == ("cuda:0", "cuda:1", "mps", "cpu")
    assert str(device.resolve_device("cuda:1")) == "cuda:1"
    assert str(device.resolve_device(" CUDA ")) == "cuda:0"


@pytest.mark.parametrize("name", ["cuda", "cuda:2", "mps"])
def test_absent_device_is_refused_with_the_present_ones(machine: Machine, name: str) -> None:
    machine()
    with pytest.raises(InputError, match=r"not available; choose one of auto, cpu\.$") as caught:
        device.resolve_device(name)
    assert caught.value.field == "device"


@pytest.mark.parametrize("name", ["gpu", "cuda:-1", "cuda:x", ""])
def test_unknown_device_is_refused(machine: Machine, name: str) -> None:
    machine(n_gpus=1)
    with pytest.raises(InputError, match="is no device; choose one of auto, cuda:0, cpu"):
        device.resolve_device(name)


def test_cpu_build_beside_a_gpu_gets_advice(machine: Machine) -> None:
    machine(driver=True)
    advice = device.missing_gpu_advice()
    assert advice is not None
    assert "built without CUDA" in advice
    assert "python -m pip install torch --index-url https://download.pytorch.org/whl/cu" in advice
    with pytest.raises(InputError, match="built without CUDA"):
        device.resolve_device("cuda")


def test_cuda_build_that_finds_no_usable_gpu_gets_advice(machine: Machine) -> None:
    machine(driver=True, cuda="13.0")
    advice = device.missing_gpu_advice()
    assert advice is not None
    assert "update the driver" in advice


@pytest.mark.parametrize(("n_gpus", "driver"), [(1, True), (0, False)])
def test_no_advice_where_none_is_needed(machine: Machine, n_gpus: int, driver: bool) -> None:
    machine(n_gpus=n_gpus, driver=driver)
    assert device.missing_gpu_advice() is None


def test_memory_errors_are_told_from_others() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert device.is_out_of_memory(caught.value)
    assert device.is_out_of_memory(MemoryError())
    assert device.is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert device.is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated"))
    assert not device.is_out_of_memory(RuntimeError("size mismatch"))
    assert not device.is_out_of_memory(ValueError("out of memory"))


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"amx_bf16": True}, True),
        ({"amx_bf16": False, "avx512_bf16": True}, True),
        ({"avx2": True}, False),
        ({}, False),
    ],
)
def test_bfloat16_pays_on_cpus_that_multiply_it(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], expected: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert device.has_fast_bfloat16(torch.device("cpu")) is expected
    assert device.has_fast_bfloat16(torch.device("mps")) is False


def test_bfloat16_is_not_used_where_torch_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert device.has_fast_bfloat16(torch.device("cpu")) is False


@pytest.mark.parametrize("is_supported", [True, False])
def test_bfloat16_on_gpus_that_support_it(
    monkeypatch: pytest.MonkeyPatch, is_supported: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: is_supported)
    assert device.has_fast_bfloat16(torch.device("cuda:0")) is is_supported
