"""The paper's U-Net, the fast default, and how a network is made by its name.

Every network that :func:`build_network` returns

- maps (B, in_channels, H, W) to float32 logits (B, out_channels, H, W) for any H, W >= 1: it pads
  inside (by reflection, or by repeating the edge where the image is too small for that) and crops
  back;
- has ``stride``: a tile of an image must start at multiples of it, in network pixels;
- has ``receptive_radius``: how far, in pixels, an input pixel can lie from the outputs that it
  influences. Tiles that are aligned to ``stride`` and carry a halo of that width give exactly what
  the whole image gives;
- has ``has_exact_radius``: whether ``receptive_radius`` is known, or only a default.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from ..base import InputError
from .registry import NETWORKS

DEFAULT_STRIDE = 32
DEFAULT_RADIUS = 256
_DEPTH = 4  # of the paper's network
_FAST_DEPTH = 3
_MIN_FRACTION = 1e-4  # logit of +-9.2: far enough, and still trainable


class PaperUNet(nn.Module):
    """The modified U-Net of the paper, as printed [1]_.

    Four blocks down, each two 3x3 convolutions with ReLU and a 2x2 max-pooling, with ``filters``
    times 1, 2, 4, 8 filters; there is no further block at the bottom. Four blocks up, each two 3x3
    transposed convolutions with ReLU: the first, of stride 2, doubles the size, its output is
    concatenated with the same-size counterpart of the contracting path, and the second, of
    stride 1, merges both. A 1x1 convolution ends it. He initialisation; no normalisation.

    Parameters
    ----------
    in_channels : int
        Image channels.
    out_channels : int
        n: 1 for two classes (to be used with a sigmoid), else the number of classes (softmax).
    filters : int
        Filters of the first block. The paper does not state it.

    References
    ----------
    .. [1] Aysel, Cai and Prügel-Bennett, section 3, "Implementation setup".
    """

    stride = 2**_DEPTH
    has_exact_radius = True

    def __init__(self, *, in_channels: int, out_channels: int, filters: int) -> None:
        super().__init__()
        widths = [filters * 2**level for level in range(_DEPTH)]
        self.down = nn.ModuleList()
        previous = in_channels
        for width in widths:
            self.down.append(
                nn.Sequential(
                    nn.Conv2d(previous, width, 3, padding=1),
                    nn.ReLU(inplace=True),
                    nn.Conv2d(width, width, 3, padding=1),
                    nn.ReLU(inplace=True),
                )
            )
            previous = width
        self.enlarge = nn.ModuleList()
        self.merge = nn.ModuleList()
        for width in reversed(widths):
            self.enlarge.append(
                nn.ConvTranspose2d(previous, width, 3, stride=2, padding=1, output_padding=1)
            )
            self.merge.append(nn.ConvTranspose2d(2 * width, width, 3, padding=1))
            previous = width
        self.head = nn.Conv2d(previous, out_channels, 1)
        self.receptive_radius = _receptive_radius(_DEPTH, "transposed")
        _initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, out_channels, H, W) of images (B, in_channels, H, W)."""
        height, width = x.shape[-2:]
        x = pad_to_multiple(x, self.stride)
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        for enlarge, merge in zip(self.enlarge, self.merge, strict=True):
            x = F.relu(enlarge(x), inplace=True)
            x = F.relu(merge(torch.cat([x, skips.pop()], dim=1)), inplace=True)
        logits: torch.Tensor = self.head(x)[..., :height, :width]
        return logits.float()


class FastUNet(nn.Module):
    """A U-Net that trains in minutes on a CPU: few filters, batch normalisation, a light decoder.

    Blocks of two 3x3 convolutions with batch normalisation and ReLU, three 2x2 max-poolings,
    widths of ``filters`` times 1, 2, 4, 8: at working scale an object is about 24 px wide, and a
    fourth level made maps worse (mean IoU of .72 in two runs against .76 in three). On the way up
    the deeper features are brought to the width of the shallower ones by a 1x1 convolution at the
    lower resolution, where it is cheap, enlarged, and added; one convolution merges them. At
    prediction (``eval()``) the normalisation uses the running statistics of the training, never
    those of the tile.

    Parameters
    ----------
    in_channels : int
        Image channels.
    out_channels : int
        1 for two classes (sigmoid), else the number of classes (softmax).
    filters : int
        Filters at full resolution; cost grows between linearly and quadratically with it.
    """

    stride = 2**_FAST_DEPTH
    has_exact_radius = True

    def __init__(self, *, in_channels: int, out_channels: int, filters: int) -> None:
        super().__init__()
        widths = [filters * factor for factor in (1, 2, 4, 8)]
        self.down = nn.ModuleList()
        previous = in_channels
        for width in widths:
            self.down.append(
                nn.Sequential(_conv_norm_relu(previous, width), _conv_norm_relu(width, width))
            )
            previous = width
        self.reduce = nn.ModuleList()
        self.merge = nn.ModuleList()
        for width in reversed(widths[:-1]):
            self.reduce.append(nn.Conv2d(previous, width, 1, bias=False))
            self.merge.append(_conv_norm_relu(width, width))
            previous = width
        self.head = nn.Conv2d(previous, out_channels, 1)
        self.receptive_radius = _receptive_radius(_FAST_DEPTH, "bilinear", bottom=2)
        _initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, out_channels, H, W) of images (B, in_channels, H, W)."""
        height, width = x.shape[-2:]
        # A single value per channel has no variance to normalise with in training.
        x = pad_to_multiple(x, self.stride, minimum=2 * self.stride if self.training else 1)
        skips = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        skips.pop()
        for reduce, merge in zip(self.reduce, self.merge, strict=True):
            x = reduce(x)  # the wider features are let go before their enlarged sum is made
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = merge(x.add_(skips.pop()))
        logits: torch.Tensor = self.head(x)[..., :height, :width]
        return logits.float()


class _Adapted(nn.Module):
    """A network from elsewhere, padded to its stride and cropped back, with what is missing."""

    def __init__(self, inner: nn.Module, name: str, out_channels: int) -> None:
        super().__init__()
        self.inner = inner
        self._name, self._out_channels = name, out_channels
        # Only whole numbers count: a bare layer has a "stride" of its own, which is a tuple.
        stride = getattr(inner, "stride", None)
        radius = getattr(inner, "receptive_radius", None)
        self.stride = stride if isinstance(stride, int) else DEFAULT_STRIDE
        self.receptive_radius = radius if isinstance(radius, int) else DEFAULT_RADIUS
        self.has_exact_radius = isinstance(stride, int) and isinstance(radius, int)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[-2:]
        x = pad_to_multiple(x, self.stride)
        logits: torch.Tensor = self.inner(x)
        wanted = (len(x), self._out_channels, *x.shape[-2:])
        if tuple(getattr(logits, "shape", ())) != wanted:
            found = tuple(logits.shape) if hasattr(logits, "shape") else type(logits).__name__
            raise InputError(
                f"network {self._name!r} made {found} of images "
                f"{tuple(x.shape)}, instead of {wanted}; repair or update its package.",
                field="network.name",
            )
        return logits[..., :height, :width].float()


def build_network(name: str, *, in_channels: int, out_channels: int, filters: int) -> nn.Module:
    """Make a freshly initialised network.

    Parameters
    ----------
    name : str
        A name in :data:`NETWORKS`.
    in_channels : int
        Image channels.
    out_channels : int
        1 for two classes, else the number of classes.
    filters : int
        Width; the factory decides what it means.

    Returns
    -------
    nn.Module
        Float32, on the CPU, in training mode; see the module's text for its attributes.

    Raises
    ------
    InputError
        If no network has this name, or its factory returns something else than a module.
    """
    factory = NETWORKS.get(name)
    try:
        network = factory(in_channels=in_channels, out_channels=out_channels, filters=filters)
    except TypeError as error:
        raise InputError(
            f"the factory of network {name!r} does not take in_channels, out_channels and filters, "
            f"or fails ({error}); repair or update its package.",
            field="network.name",
        ) from error
    if not isinstance(network, nn.Module):
        raise InputError(
            f"the factory of network {name!r} returned a {type(network).__name__}; "
            "it must return a torch.nn.Module.",
            field="network.name",
        )
    return network if NETWORKS.is_built_in(name) else _Adapted(network, name, out_channels)


def initialise_output_bias(network: nn.Module, fractions: Sequence[float]) -> bool:
    """Let an untrained network predict the mean stated fractions.

    Sets the bias of the last convolution to logit(fraction of class 1) if the network has one
    output, else to the logarithms of the fractions.

    Parameters
    ----------
    network : nn.Module
        From :func:`build_network`.
    fractions : sequence of float
        Mean fraction of every class, 0-1, background first: two for a network of one output.
        Clamped to [1e-4, 1 - 1e-4].

    Returns
    -------
    bool
        Whether a last convolution with a bias of the right size was found.
    """
    clamped = [min(max(fraction, _MIN_FRACTION), 1 - _MIN_FRACTION) for fraction in fractions]
    if len(clamped) == 2:
        bias = [math.log(clamped[1] / (1 - clamped[1]))]
    else:
        bias = [math.log(fraction) for fraction in clamped]
    head = network.get_submodule(last_layer(network) or "")
    if not isinstance(head, nn.Conv2d) or head.bias is None or head.out_channels != len(bias):
        return False
    with torch.no_grad():
        head.bias.copy_(torch.tensor(bias))
    return True


def last_layer(network: nn.Module) -> str | None:
    """Name of the convolution that gives the maps: "head", or the last one; None without any."""
    names = [name for name, one in network.named_modules() if isinstance(one, nn.Conv2d)]
    return "head" if "head" in names else (names or [None])[-1]


def pad_to_multiple(x: torch.Tensor, multiple: int, *, minimum: int = 1) -> torch.Tensor:
    """Pad images at the lower and right edge until both sizes are multiples.

    Parameters
    ----------
    x : torch.Tensor
        (B, C, H, W), H, W >= 1.
    multiple : int
        What both sizes are to be multiples of.
    minimum : int
        Least size, itself a multiple.

    Returns
    -------
    torch.Tensor
        (B, C, H', W'): reflected where the padding is smaller than the image, else the edge is
        repeated.
    """
    height, width = x.shape[-2:]
    bottom = max(-(-height // multiple) * multiple, minimum) - height
    right = max(-(-width // multiple) * multiple, minimum) - width
    x = _pad(x, (0, 0, 0, bottom), is_reflected=bottom < height)
    return _pad(x, (0, right, 0, 0), is_reflected=right < width)


def _pad(
    x: torch.Tensor, padding: tuple[int, int, int, int], *, is_reflected: bool
) -> torch.Tensor:
    if not any(padding):
        return x
    return F.pad(x, padding, mode="reflect" if is_reflected else "replicate")


def _conv_norm_relu(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def _initialise(network: nn.Module) -> None:
    """He initialisation, fan-in, for ReLU; the last layer for a linear output."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            taps = float(math.prod(module.kernel_size))
            if isinstance(module, nn.ConvTranspose2d):
                taps /= math.prod(module.stride)  # on average; the others fall between its inputs
            gain = 1.0 if module is getattr(network, "head", None) else 2.0
            nn.init.normal_(module.weight, std=math.sqrt(gain / (taps * module.in_channels)))
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _receptive_radius(depth: int, up: Literal["transposed", "bilinear"], bottom: int = 0) -> int:
    """Follow an output pixel back through the deepest path, which contains all others.

    Blocks have two 3x3 convolutions on the way down, ``bottom`` below, and one on the way up; the
    reach depends on the pixel's place within a stride, so the worst place counts.
    """
    worst = 0
    for place in range(2**depth):
        low = high = place
        for _ in range(depth):
            low, high = low - 1, high + 1
            # input pixels that an enlarged interval needs, by kernel 3 with padding 1, or bilinear
            low = low // 2 if up == "transposed" else (low - 1) // 2
            high = -(-high // 2) if up == "transposed" else (high + 1) // 2
        low, high = low - bottom, high + bottom
        for _ in range(depth):
            low, high = 2 * low - 2, 2 * high + 1 + 2
        worst = max(worst, place - low, high - place)
    return worst
