from .cards import (
    CARD_FRACTIONS as CARD_FRACTIONS,
    reference_card as reference_card,
)
from .cost import (
    PROTOCOLS as PROTOCOLS,
)
from .plan import (
    plan_counting as plan_counting,
)
from .protocols import (
    protocols_with as protocols_with,
    simulate as simulate,
    simulation_results as simulation_results,
    write_simulation as write_simulation,
)
from .samples import (
    Sample as Sample,
    axon_sample as axon_sample,
    synthetic_sample as synthetic_sample,
)
from .synthetic import (
    SYNTHETIC_VOXEL_SIZE_UM as SYNTHETIC_VOXEL_SIZE_UM,
    synthetic_mitochondria as synthetic_mitochondria,
)
