from .bias_correction import (
    corrected_proportions as corrected_proportions,
)
from .checkpoint import (
    MODEL_WEIGHTS as MODEL_WEIGHTS,
    STATE_FILE as STATE_FILE,
    Model as Model,
    load_model as load_model,
)
from .loop import (
    fit as fit,
    iter_training as iter_training,
)
from .loss_terms import (
    register_loss as register_loss,
)
from .pace import (
    training_seconds as training_seconds,
)
from .preparation import (
    working_scale as working_scale,
)
from .run_folder import (
    CONFIG as CONFIG,
    EVENTS as EVENTS,
    INPUTS as INPUTS,
    RunFolder as RunFolder,
    RunInputs as RunInputs,
    RunSummary as RunSummary,
    begin_recorded as begin_recorded,
    list_runs as list_runs,
    rescue_runs as rescue_runs,
)
from .second_look import (
    NodeMaps as NodeMaps,
    rank_nodes as rank_nodes,
)
