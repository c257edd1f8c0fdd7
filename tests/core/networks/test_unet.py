"""The networks: shapes, the paper's layers, initialisation, receptive radius, the registry."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from napari_spss.core.base import InputError
from napari_spss.core.networks import registry, unet

BUILT_IN = ("fast-unet", "paper-unet")


def _network(name: str, *, filters: int = 3, seed: int = 0, n: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    return unet.build_network(name, in_channels=1, out_channels=n, filters=filters)


def _eval_with_statistics(name: str) -> nn.Module:
    """A network in eval mode whose running statistics fit its activations."""
    network = _network(name)
    with torch.no_grad():
        for _ in range(30):
            network(torch.randn(2, 1, 64, 64))
    return network.eval()


@pytest.mark.parametrize("name", BUILT_IN)
@given(height=st.integers(1, 70), width=st.integers(1, 70), n=st.sampled_from([1, 3]))
@settings(max_examples=15, deadline=None)
def test_logits_have_the_size_of_the_image(name: str, height: int, width: int, n: int) -> None:
    network = unet.build_network(name, in_channels=2, out_channels=n, filters=2).eval()
    with torch.inference_mode():
        logits = network(torch.randn(2, 2, height, width))
    assert logits.shape == (2, n, height, width)
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", BUILT_IN)
def test_one_pixel_can_be_trained_on(name: str) -> None:
    network = _network(name)
    network(torch.randn(1, 1, 1, 1)).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


def test_paper_unet_has_the_printed_layers() -> None:
    network = _network("paper-unet", filters=4, n=5)
    found = [
        (type(m).__name__, m.in_channels, m.out_channels, m.kernel_size[0], m.stride[0])
        for m in network.modules()
        if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)
    ]
    down = [(1, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16), (16, 32), (32, 32)]
    assert found[:8] == [("Conv2d", a, b, 3, 1) for a, b in down]
    assert found[8:12] == [
        ("ConvTranspose2d", a, b, 3, 2) for a, b in [(32, 32), (32, 16), (16, 8), (8, 4)]
    ]
    assert found[12:16] == [
        ("ConvTranspose2d", a, b, 3, 1) for a, b in [(64, 32), (32, 16), (16, 8), (8, 4)]
    ]
    assert found[16:] == [("Conv2d", 4, 5, 1, 1)]
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())


def test_paper_unet_keeps_the_scale_of_its_activations() -> None:
    torch.manual_seed(1)
    network = _network("paper-unet", filters=16, seed=1).eval()
    seen: list[float] = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module is not network.head:
            module.register_forward_hook(lambda _m, _i, out: seen.append(out.std().item()))
    with torch.inference_mode():
        network(torch.randn(2, 1, 128, 128))
    assert len(seen) == 16
    assert all(0.3 < deviation < 4 for deviation in seen), seen


@pytest.mark.parametrize("name", BUILT_IN)
def test_receptive_radius_is_the_true_reach(name: str) -> None:
    """With positive weights every path passes its gradient on: the reach is met, not exceeded."""
    network = _network(name).double().eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.weight.abs_().mul_(0.1).add_(0.05)
    size, across = 384, 16
    reached = {"rows": 0, "columns": 0}
    for offset in range(network.stride):
        centre = size // 2 + offset
        # Growing values make max-pooling choose the far corner, falling ones the near corner.
        for sign in (1, -1):
            ramp = (size + sign * torch.arange(size, dtype=torch.float64)).expand(across, size)
            for axis, image in (("rows", ramp.T), ("columns", ramp)):
                image = image[None, None].clone().requires_grad_()
                logits = network(image)[0, 0]
                (logits[centre, 0] if axis == "rows" else logits[0, centre]).backward()
                assert image.grad is not None
                touched = torch.nonzero(image.grad[0, 0])[:, 0 if axis == "rows" else 1]
                reached[axis] = max(reached[axis], int((touched - centre).abs().max()))
    assert reached == {"rows": network.receptive_radius, "columns": network.receptive_radius}


@pytest.mark.parametrize("name", BUILT_IN)
def test_aligned_tiles_with_halo_equal_the_whole(name: str) -> None:
    network = _eval_with_statistics(name)
    stride = network.stride
    halo = -(-network.receptive_radius // stride) * stride
    image = torch.randn(1, 1, 400, 90)
    with torch.inference_mode():
        whole = network(image)
        for start in range(0, 400, 64):
            stop = min(start + 64, 400)
            above = max(start - halo, 0)
            tile = network(image[:, :, above : min(stop + halo, 400)])
            tile = tile[:, :, start - above : stop - above]
            torch.testing.assert_close(tile, whole[:, :, start:stop], atol=1e-5, rtol=1e-5)


def test_fast_unet_uses_no_statistics_of_its_input_at_prediction() -> None:
    network = _eval_with_statistics("fast-unet")
    image, other = torch.randn(1, 1, 64, 64), 100 + 50 * torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        alone = network(image)
        beside = network(torch.cat([image, other]))[:1]
    torch.testing.assert_close(alone, beside, atol=1e-5, rtol=1e-5)


def test_bfloat16_autocast_gives_float32_logits_near_the_exact_ones() -> None:
    network = _eval_with_statistics("fast-unet").to(memory_format=torch.channels_last)
    image = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        exact = network(image)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = network(image)
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().mean() < 0.05 * exact.std()


@pytest.mark.parametrize("name", BUILT_IN)
def test_output_bias_makes_an_untrained_network_predict_the_fraction(name: str) -> None:
    network = _network(name)
    assert unet.initialise_output_bias(network, (0.95, 0.05))
    assert network.head.bias.item() == pytest.approx(math.log(0.05 / 0.95))
    network = _network(name, n=3)
    assert unet.initialise_output_bias(network, (0.5, 0.3, 0.2))
    torch.testing.assert_close(network.head.bias.softmax(0), torch.tensor([0.5, 0.3, 0.2]))


def test_output_bias_stays_finite_for_empty_classes() -> None:
    network = _network("fast-unet")
    unet.initialise_output_bias(network, (1.0, 0.0))
    assert -10 < network.head.bias.item() < -9


def test_output_bias_is_left_alone_where_it_does_not_fit() -> None:
    network = _network("fast-unet", n=2)
    assert not unet.initialise_output_bias(network, (0.95, 0.05))
    assert network.head.bias.abs().sum() == 0


@pytest.mark.parametrize(
    ("shape", "multiple", "minimum", "expected"),
    [((1, 1), 16, 1, (16, 16)), ((16, 5), 16, 1, (16, 16)), ((3, 40), 16, 32, (32, 48))],
)
def test_padding_reaches_the_multiple(
    shape: tuple[int, int], multiple: int, minimum: int, expected: tuple[int, int]
) -> None:
    padded = unet.pad_to_multiple(torch.ones(1, 1, *shape), multiple, minimum=minimum)
    assert padded.shape[-2:] == expected
    assert (padded == 1).all()


def test_padding_reflects_where_it_can() -> None:
    row = torch.arange(5.0)[None, None, None]
    padded = unet.pad_to_multiple(row, 4)[0, 0]
    assert padded[0].tolist() == [0, 1, 2, 3, 4, 3, 2, 1]
    assert padded.shape == (4, 8)


class _Own(nn.Module):
    """Takes multiples of 32 only, as many encoders do, and names neither stride nor radius."""

    def __init__(self, *, in_channels: int, out_channels: int, filters: int) -> None:
        super().__init__()
        self.body = nn.Conv2d(in_channels, filters, 3, padding=1)
        self.last = nn.Conv2d(filters, out_channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] % 32 or x.shape[-2] % 32:
            raise ValueError("size")
        return self.last(self.body(x))


@pytest.fixture
def own_name(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(registry.NETWORKS, "_registered", {})
    registry.register_network("own", _Own)
    return "own"


def test_own_network_gets_padding_and_safe_defaults(own_name: str) -> None:
    network = unet.build_network(own_name, in_channels=1, out_channels=1, filters=2)
    assert network(torch.zeros(1, 1, 5, 70)).shape == (1, 1, 5, 70)
    assert (network.stride, network.receptive_radius) == (32, 256)
    assert not network.has_exact_radius
    assert registry.NETWORKS.names() == ("fast-unet", "paper-unet", "own")
    assert unet.initialise_output_bias(network, (0.5, 0.5))


def test_own_network_keeps_what_it_states(own_name: str) -> None:
    def factory(*, in_channels: int, out_channels: int, filters: int) -> nn.Module:
        network = nn.Conv2d(in_channels, out_channels, 5, padding=2)
        network.stride = 1
        network.receptive_radius = 2
        return network

    registry.register_network(own_name, factory)
    network = unet.build_network(own_name, in_channels=1, out_channels=1, filters=1)
    assert (network.stride, network.receptive_radius, network.has_exact_radius) == (1, 2, True)


@pytest.mark.parametrize("name", ["", "fast-unet"])
def test_names_that_cannot_be_registered(name: str) -> None:
    with pytest.raises(InputError, match="choose another name"):
        registry.register_network(name, _Own)


def test_unknown_network_is_refused_with_the_known_names() -> None:
    with pytest.raises(InputError, match=r"'u2net'.*fast-unet, paper-unet") as caught:
        unet.build_network("u2net", in_channels=1, out_channels=1, filters=1)
    assert caught.value.field == "network.name"


def test_factory_must_return_a_module(own_name: str) -> None:
    registry.register_network(own_name, lambda **_: 3)
    with pytest.raises(InputError, match="returned a int"):
        unet.build_network(own_name, in_channels=1, out_channels=1, filters=1)


def test_a_factory_without_the_keywords_is_named(own_name: str) -> None:
    registry.register_network(own_name, lambda channels: nn.Conv2d(channels, 1, 3))
    with pytest.raises(InputError, match=f"network '{own_name}' does not take in_channels"):
        unet.build_network(own_name, in_channels=1, out_channels=1, filters=1)


@pytest.mark.parametrize(
    ("layer", "made"),
    [
        (lambda n: nn.Conv2d(n, 2, 3, padding=1), r"\(1, 2, 32, 32\)"),
        (lambda n: nn.Conv2d(n, 1, 3), r"\(1, 1, 30, 30\)"),
        (lambda _: nn.Flatten(0), r"\(1024,\)"),
    ],
)
def test_a_network_that_makes_no_maps_is_named(own_name: str, layer, made: str) -> None:
    registry.register_network(own_name, lambda in_channels, **_: layer(in_channels))
    network = unet.build_network(own_name, in_channels=1, out_channels=1, filters=1)
    told = rf"'{own_name}' made {made} of images .* instead of \(1, 1, 32, 32\)"
    with pytest.raises(InputError, match=told):
        network(torch.zeros(1, 1, 20, 30))
