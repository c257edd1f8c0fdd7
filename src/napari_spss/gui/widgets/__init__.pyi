from .annotate import (
    AnnotateSection as AnnotateSection,
)
from .classes import (
    CLASS_KEYS as CLASS_KEYS,
    ClassesEditor as ClassesEditor,
)
from .figures import (
    FiguresSection as FiguresSection,
)
from .fraction_plot import (
    FractionPlot as FractionPlot,
)
from .image import (
    ImageSection as ImageSection,
)
from .layer_combo import (
    LayerCombo as LayerCombo,
)
from .parts import (
    Notice as Notice,
    fill_column as fill_column,
    make_button as make_button,
)
from .project_bar import (
    ProjectBar as ProjectBar,
)
from .proofread import (
    ACTS as ACTS,
)
from .results import (
    ResultsSection as ResultsSection,
)
from .run_bar import (
    RunBar as RunBar,
)
from .runs import (
    run_title as run_title,
)
from .section import (
    Section as Section,
)
from .theme import (
    wear as wear,
)
from .train import (
    TrainSection as TrainSection,
)
