from .augmentation import (
    View as View,
    augment_intensity as augment_intensity,
    draw_view as draw_view,
)
from .devices import (
    device_names as device_names,
    has_fast_bfloat16 as has_fast_bfloat16,
    is_out_of_memory as is_out_of_memory,
    missing_gpu_advice as missing_gpu_advice,
    own_draws as own_draws,
    resolve_device as resolve_device,
)
from .losses import (
    activate as activate,
    dense_loss as dense_loss,
    gap as gap,
    inside_maps as inside_maps,
    keypoint_loss as keypoint_loss,
    label_cross_entropy as label_cross_entropy,
    proportion_interval as proportion_interval,
    proportion_kl as proportion_kl,
    proportion_mse as proportion_mse,
    sharpness as sharpness,
)
from .registry import (
    NETWORKS as NETWORKS,
    register_network as register_network,
)
from .tiling import (
    Band as Band,
    Box as Box,
    TiledNetwork as TiledNetwork,
    TileDone as TileDone,
    default_tile_px as default_tile_px,
    with_background as with_background,
)
from .unet import (
    build_network as build_network,
    initialise_output_bias as initialise_output_bias,
    last_layer as last_layer,
)
