"""Tiles against the whole image, seams, memory that runs out, and stopping."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from napari_spss.core.base import CancelToken, Message, OutOfMemory, Stopped
from napari_spss.core.networks import (
    Band,
    TiledNetwork,
    TileDone,
    default_tile_px,
    tiling,
    unet,
)

CPU = torch.device("cpu")


class _Tilewise(nn.Module):
    """Calls a function on each tile; what it needs to know is stated freely."""

    def __init__(
        self,
        function: Callable[[torch.Tensor], torch.Tensor],
        *,
        stride: int = 1,
        radius: int = 0,
        is_exact: bool = True,
    ) -> None:
        super().__init__()
        self.function = function
        self.stride = stride
        self.receptive_radius = radius
        self.has_exact_radius = is_exact

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def _trained(name: str, n: int = 1) -> nn.Module:
    """A network whose running statistics fit its activations."""
    torch.manual_seed(0)
    network = unet.build_network(name, in_channels=1, out_channels=n, filters=2)
    with torch.no_grad():
        for _ in range(30):
            network(torch.randn(2, 1, 64, 64))
    return network.eval()


@pytest.fixture(scope="module", params=["fast-unet", "paper-unet"])
def network(request: pytest.FixtureRequest) -> nn.Module:
    return _trained(request.param)


def _tiled(network: nn.Module, n_classes: int = 2, **options: bool) -> TiledNetwork:
    return TiledNetwork(network, n_classes=n_classes, device=CPU, **options)


def _joined(items: Iterator[Band | TileDone | Message]) -> torch.Tensor:
    return torch.cat([item.probs for item in items if isinstance(item, Band)], dim=1)


@given(
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    tile_px=st.integers(1, 150),
    seed=st.integers(0, 99),
)
@settings(max_examples=12, deadline=None)
def test_tiles_equal_the_whole(
    network: nn.Module, height: int, width: int, tile_px: int, seed: int
) -> None:
    image = torch.randn(1, height, width, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        positive = network(image[None])[0, 0].sigmoid()
    maps = _joined(_tiled(network).bands(image, tile_px=tile_px))
    torch.testing.assert_close(maps, torch.stack([1 - positive, positive]), atol=1e-5, rtol=0)


@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_a_box_is_cut_from_the_whole(network: nn.Module, data: st.DataObject) -> None:
    height, width = 170, 150
    y0, x0 = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    y1 = data.draw(st.integers(y0 + 1, height))
    x1 = data.draw(st.integers(x0 + 1, width))
    image = torch.randn(1, height, width, generator=torch.Generator().manual_seed(1))
    tiled = _tiled(network)
    whole = _joined(tiled.bands(image, tile_px=1024))
    part = _joined(tiled.bands(image, tile_px=64, box=(y0, x0, y1, x1)))
    torch.testing.assert_close(part, whole[:, y0:y1, x0:x1], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("is_exact", "n_tiles"), [(True, 4 * 3), (False, 3 * 2)])
def test_bands_and_progress_run_from_top_to_bottom(is_exact: bool, n_tiles: int) -> None:
    network = _Tilewise(lambda x: x, is_exact=is_exact)
    items = list(_tiled(network).bands(torch.zeros(1, 200, 130), tile_px=64))
    rows = [item.rows for item in items if isinstance(item, Band)]
    assert rows[0][0] == 0
    assert rows[-1][1] == 200
    assert all(first[1] == second[0] for first, second in pairwise(rows))
    assert all(b.probs.shape[1] == b.rows[1] - b.rows[0] for b in items if isinstance(b, Band))
    done = [item.fraction for item in items if isinstance(item, TileDone)]
    assert len(done) == n_tiles  # those that overlap are larger
    assert done == sorted(done)
    assert done[-1] == pytest.approx(1)


def test_bands_of_wide_images_are_flat() -> None:
    network = _Tilewise(lambda x: x)
    image = torch.randn(1, 700, 20_000, generator=torch.Generator().manual_seed(1))
    items = list(_tiled(network).bands(image, tile_px=640))
    assert max(item.rows[1] - item.rows[0] for item in items if isinstance(item, Band)) < 450
    torch.testing.assert_close(_joined(iter(items))[1], image[0].sigmoid())


@given(
    height=st.integers(1, 900),
    width=st.integers(1, 900),
    tile_px=st.integers(64, 200),
    radius=st.integers(0, 120),
    stride=st.sampled_from([1, 4, 32]),
    is_exact=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_all_tiles_of_an_image_are_equally_large(
    height: int, width: int, tile_px: int, radius: int, stride: int, is_exact: bool
) -> None:
    """So that each finds the memory that the one before has left."""
    shapes = []

    def note(x: torch.Tensor) -> torch.Tensor:
        shapes.append(x.shape)
        return x

    network = _Tilewise(note, stride=stride, radius=radius, is_exact=is_exact)
    image = torch.randn(1, height, width)
    maps = _joined(_tiled(network).bands(image, tile_px=tile_px))
    torch.testing.assert_close(maps[1:], image.sigmoid())
    assert len(set(shapes)) == 1
    reach = -(-(radius + (0 if is_exact else 32)) // stride) * stride
    assert max(shapes[0][2:]) <= max(64, tile_px) + 2 * (reach + stride)


def test_several_classes() -> None:
    network = _Tilewise(lambda x: torch.cat([x, 0 * x, -x], dim=1))
    image = torch.randn(1, 90, 70)
    maps = _joined(_tiled(network, 3).bands(image, tile_px=64))
    torch.testing.assert_close(maps, torch.cat([image, 0 * image, -image]).softmax(0))


@given(height=st.integers(65, 300), tile_px=st.integers(64, 128))
@settings(max_examples=20, deadline=None)
def test_blended_tiles_weigh_one_everywhere(height: int, tile_px: int) -> None:
    network = _Tilewise(lambda x: x, is_exact=False)
    image = torch.randn(1, height, 150)
    maps = _joined(_tiled(network).bands(image, tile_px=tile_px))
    torch.testing.assert_close(maps[1:], image.sigmoid())


@pytest.mark.parametrize("axis", [1, 2])
def test_a_seam_is_a_linear_ramp(axis: int) -> None:
    """Tiles that disagree, 0.25 left and 0.75 right, meet over 64 pixels."""
    network = _Tilewise(lambda x: torch.full_like(x, float(x.max())), is_exact=False)
    row = torch.full((192,), -1.0986123)
    row[180:] = 1.0986123
    image = row.expand(80, 192)[None]
    image = image if axis == 2 else image.mT
    maps = _joined(_tiled(network).bands(image, tile_px=96))[1]
    profile = maps[40] if axis == 2 else maps[:, 40]
    ramp = 0.25 + 0.5 * (torch.arange(64) + 0.5) / 64
    torch.testing.assert_close(profile[:64], torch.full((64,), 0.25))
    torch.testing.assert_close(profile[64:128], ramp)
    torch.testing.assert_close(profile[128:], torch.full((64,), 0.75))


def test_merged_normalisation_changes_neither_maps_nor_the_network() -> None:
    network = _trained("fast-unet")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    image = torch.randn(1, 64, 64)
    tiled = _tiled(network)
    maps = _joined(tiled.bands(image, tile_px=64))
    with torch.inference_mode():
        torch.testing.assert_close(maps[1], network(image[None])[0, 0].sigmoid())
    assert not any(isinstance(m, nn.BatchNorm2d) for m in tiled._network.modules())
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_derived_layers_are_not_merged() -> None:
    class _Doubled(nn.BatchNorm2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)

    network = nn.Sequential(nn.Conv2d(1, 1, 1), _Doubled(1)).eval()
    image = torch.randn(1, 64, 64)
    maps = _joined(_tiled(network).bands(image, tile_px=64))
    with torch.inference_mode():
        torch.testing.assert_close(maps[1], network(image[None])[0, 0].sigmoid())


def test_normalisation_without_running_statistics_is_not_merged() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, track_running_stats=False))
    image = torch.randn(1, 64, 64)
    maps = _joined(_tiled(network).bands(image, tile_px=64))
    assert maps[1].logit().mean().item() == pytest.approx(0, abs=1e-3)
    assert maps[1].logit().std().item() == pytest.approx(1, abs=1e-3)


def test_gpus_compute_in_full_precision_and_keep_their_setting() -> None:
    before = torch.backends.cudnn.allow_tf32
    with tiling._full_precision(torch.device("cuda")):
        assert not torch.backends.cudnn.allow_tf32
        assert torch.backends.cudnn.enabled
    assert torch.backends.cudnn.allow_tf32 == before


def test_flips_average_four_mirror_images() -> None:
    """A network that shifts by a pixel, seen in four mirrors, averages four neighbours."""
    network = _Tilewise(lambda x: x.roll((1, 1), (2, 3)))
    image = torch.randn(1, 64, 64)
    maps = _joined(_tiled(network, flips=True).bands(image, tile_px=64))
    p = image[0].sigmoid()
    expected = sum(p.roll((dy, dx), (0, 1)) for dy in (-1, 1) for dx in (-1, 1)) / 4
    torch.testing.assert_close(maps[1], expected)


def test_flipped_tiles_equal_the_flipped_whole(network: nn.Module) -> None:
    image = torch.randn(1, 150, 100, generator=torch.Generator().manual_seed(2))
    tiled = _tiled(network, flips=True)
    whole = _joined(tiled.bands(image, tile_px=1024))
    torch.testing.assert_close(_joined(tiled.bands(image, tile_px=64)), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("flips", [False, True])
def test_a_network_may_work_in_the_memory_of_its_tile(channels: int, flips: bool) -> None:
    """As one whose first layer is an activation in place does."""
    image = torch.randn(channels, 70, 50)
    before = image.clone()
    tiled = _tiled(_Tilewise(lambda x: x.mul_(2)[:, :1], radius=8), flips=flips)
    maps = _joined(tiled.bands(image, tile_px=32))
    assert torch.equal(image, before)
    torch.testing.assert_close(maps[1], torch.sigmoid(2 * before[0]))


@pytest.mark.parametrize("is_exact", [True, False])
@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory."), MemoryError(), "alloc"]
)
def test_out_of_memory_halves_the_tile_and_goes_on(
    error: BaseException | str, is_exact: bool
) -> None:
    def greedy(x: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] * x.shape[-2] > 150 * 150:
            if isinstance(error, str):
                torch.empty(2**50)
            else:
                raise error
        return x

    image = torch.randn(1, 600, 600)
    network = _Tilewise(greedy, is_exact=is_exact)
    items = list(_tiled(network).bands(image, tile_px=512))
    messages = [item for item in items if isinstance(item, Message)]
    sizes = [256, 128] if is_exact else [256, 128, 64]  # overlapping tiles are larger
    assert [m.text for m in messages] == [
        f"the memory did not suffice; going on with tiles of {size} px." for size in sizes
    ]
    torch.testing.assert_close(_joined(iter(items))[1:], image.sigmoid())


def test_memory_that_runs_out_halfway_keeps_finished_bands() -> None:
    calls = []

    def greedy(x: torch.Tensor) -> torch.Tensor:
        calls.append(x.shape[-1])
        if len(calls) == 6:
            raise MemoryError
        return x

    image = torch.randn(1, 512, 256)
    items = list(_tiled(_Tilewise(greedy)).bands(image, tile_px=128))
    assert calls == [128] * 6 + [64] * 4 * 4
    torch.testing.assert_close(_joined(iter(items))[1:], image.sigmoid())


def test_out_of_memory_with_the_smallest_tile_is_an_error() -> None:
    def greedy(x: torch.Tensor) -> torch.Tensor:
        raise MemoryError

    bands = _tiled(_Tilewise(greedy)).bands(torch.zeros(1, 90, 90), tile_px=100)
    with pytest.raises(OutOfMemory, match="even for tiles of 64 px; close other programs"):
        list(bands)


def test_other_errors_are_not_taken_for_memory() -> None:
    def broken(x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("size mismatch")

    with pytest.raises(RuntimeError, match="size mismatch"):
        list(_tiled(_Tilewise(broken)).bands(torch.zeros(1, 90, 90), tile_px=64))


def test_a_stop_takes_effect_before_the_next_tile() -> None:
    calls = []

    def count(x: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return x

    token = CancelToken()
    bands = _tiled(_Tilewise(count)).bands(torch.zeros(1, 64, 640), tile_px=64, token=token)
    next(bands)
    next(bands)
    token.cancel()
    with pytest.raises(Stopped):
        next(bands)
    assert len(calls) == 2


def test_default_tiles_are_smaller_on_a_cpu() -> None:
    assert default_tile_px(CPU) == 512
    assert default_tile_px(torch.device("cuda")) == 2048


_PAGES = """
import resource, threading, torch
from napari_spss.core.networks import TiledNetwork, build_network

network = build_network("fast-unet", in_channels=1, out_channels=1, filters=8)
tiled = TiledNetwork(network, n_classes=2, device=torch.device("cpu"))
image = torch.rand(1, 600, 600)

def work():
    for _ in range(6):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        list(tiled.bands(image, tile_px=600))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
def test_a_tile_is_computed_in_the_memory_of_the_one_before() -> None:
    told = subprocess.run(
        [sys.executable, "-c", _PAGES], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    pages = [int(line) for line in told.split()]
    one_map = 8 * 600 * 600 * 4 / 4096  # pages of what a convolution gives
    assert min(pages) < one_map
