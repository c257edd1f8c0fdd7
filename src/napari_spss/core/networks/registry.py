"""Which networks there are, by name; torch is not needed to know them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..base import Registry

if TYPE_CHECKING:
    from torch import nn


class NetworkFactory(Protocol):
    """What makes a network; a class derived from ``nn.Module`` will do."""

    def __call__(self, *, in_channels: int, out_channels: int, filters: int) -> nn.Module:
        """Return a freshly initialised network."""
        ...


NETWORKS: Registry[NetworkFactory] = Registry(
    "network",
    group="napari_spss.networks",
    built_in={
        "fast-unet": "napari_spss.core.networks.unet:FastUNet",
        "paper-unet": "napari_spss.core.networks.unet:PaperUNet",
    },
    field="network.name",
)
"""All networks by name. Other packages add theirs by entry points of the group
``napari_spss.networks``, each a factory as :func:`register_network` takes it."""


def register_network(name: str, factory: NetworkFactory) -> None:
    """Make a network available by name in this process; a name of one's own may be given again.

    A package that offers networks names them as entry points of the group ``napari_spss.networks``
    instead; then the command line and the dock know them too.

    Parameters
    ----------
    name : str
        What ``settings.network.name`` will say.
    factory : callable
        Called with the keywords ``in_channels``, ``out_channels`` and ``filters``; returns an
        ``nn.Module`` that maps (B, in_channels, H, W) to logits (B, out_channels, H, W) wherever
        H and W are multiples of its ``stride``. Padding and cropping are added around it. If it
        lacks the attribute ``stride``, ``DEFAULT_STRIDE`` (32) is taken; if it lacks
        ``receptive_radius``, ``DEFAULT_RADIUS`` (256), and predicted tiles are blended. A layer
        that normalises by the statistics of its input at prediction (instance or group
        normalisation) makes maps depend on the tile; batch normalisation does not.

    Raises
    ------
    InputError
        If the name is empty or belongs to a built-in network.

    Examples
    --------
    >>> from torch import nn
    >>> def one_layer(*, in_channels, out_channels, filters):
    ...     return nn.Conv2d(in_channels, out_channels, 3, padding=1)
    >>> register_network("one-layer", one_layer)
    >>> from napari_spss.core.networks import build_network
    >>> build_network("one-layer", in_channels=1, out_channels=1, filters=1).stride
    32
    """
    NETWORKS.register(name, factory)
