"""Networks and what computes with them: backbones, losses, tiles and devices."""

from .augmentation import (
    View,
    augment_intensity,
    draw_view,
)
from .devices import (
    device_names,
    has_fast_bfloat16,
    is_out_of_memory,
    missing_gpu_advice,
    resolve_device,
)
from .losses import (
    activate,
    dice_loss,
    gap,
    inside_maps,
    keypoint_loss,
    label_cross_entropy,
    proportion_interval,
    proportion_kl,
    proportion_mse,
    sharpness,
)
from .packing import (
    pack,
    unpack,
)
from .tiling import (
    Band,
    Box,
    Stopped,
    TiledNetwork,
    TileDone,
    default_tile_px,
)
from .unet import (
    build_network,
    initialise_output_bias,
    register_network,
)

__all__ = [
    "Band",
    "Box",
    "Stopped",
    "TileDone",
    "TiledNetwork",
    "View",
    "activate",
    "augment_intensity",
    "build_network",
    "default_tile_px",
    "device_names",
    "dice_loss",
    "draw_view",
    "gap",
    "has_fast_bfloat16",
    "initialise_output_bias",
    "inside_maps",
    "is_out_of_memory",
    "keypoint_loss",
    "label_cross_entropy",
    "missing_gpu_advice",
    "pack",
    "proportion_interval",
    "proportion_kl",
    "proportion_mse",
    "register_network",
    "resolve_device",
    "sharpness",
    "unpack",
]
