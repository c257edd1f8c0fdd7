"""One training run: its data, its loop, its loss, and its checkpoint."""

from .checkpoint import (
    MODEL_RECORD,
    STATE_FILE,
    Model,
    load_model,
)
from .loop import (
    fit,
    iter_training,
)
from .run_folder import (
    CONFIG,
    EVENTS,
    INPUTS,
    RunFolder,
    RunInputs,
    record_events,
    write_painted,
    write_update,
)

__all__ = [
    "CONFIG",
    "EVENTS",
    "INPUTS",
    "MODEL_RECORD",
    "STATE_FILE",
    "Model",
    "RunFolder",
    "RunInputs",
    "fit",
    "iter_training",
    "load_model",
    "record_events",
    "write_painted",
    "write_update",
]
