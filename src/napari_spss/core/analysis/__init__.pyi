from .cavalieri import (
    CavalieriError as CavalieriError,
    cavalieri_error as cavalieri_error,
)
from .charts import (
    ClassFractions as ClassFractions,
    StatedFractions as StatedFractions,
    class_fractions as class_fractions,
    stated_fractions as stated_fractions,
)
from .check_count import (
    check_fresh as check_fresh,
    contradicted_looks as contradicted_looks,
    contradicted_nodes as contradicted_nodes,
)
from .densities import (
    numerical_density as numerical_density,
    surface_density as surface_density,
)
from .estimates import (
    Estimate as Estimate,
    estimate_fractions as estimate_fractions,
)
from .figures import (
    FORMATS as FORMATS,
    FigureSlice as FigureSlice,
    SliceView as SliceView,
    figure_results as figure_results,
    write_figures as write_figures,
    write_overlay as write_overlay,
)
from .fractions import (
    Measurement as Measurement,
)
from .measuring import (
    measure as measure,
    measure_masks as measure_masks,
    object_table as object_table,
    sized_stack as sized_stack,
)
from .object_edits import (
    doubtful_objects as doubtful_objects,
    fill_object as fill_object,
    merge_objects as merge_objects,
    split_along_line as split_along_line,
    split_at_points as split_at_points,
)
from .object_rows import (
    register_object_property as register_object_property,
)
from .objects import (
    check_split as check_split,
    find_objects as find_objects,
)
from .postprocess import (
    MapHistogram as MapHistogram,
    clean_labels as clean_labels,
    labels_from_probs as labels_from_probs,
    matched_threshold as matched_threshold,
)
from .ratio import (
    CountedFractions as CountedFractions,
    FractionEstimate as FractionEstimate,
    area_of_node as area_of_node,
    areas_of_pixels as areas_of_pixels,
    counted_fractions as counted_fractions,
    estimate_fraction as estimate_fraction,
    frames_or_grids as frames_or_grids,
    weight_notes as weight_notes,
)
from .scores import (
    confusion_matrix as confusion_matrix,
    evaluate as evaluate,
    scores_from_confusion as scores_from_confusion,
)
from .tables import (
    estimate_names as estimate_names,
    estimate_results as estimate_results,
    measurement_results as measurement_results,
    read_estimates as read_estimates,
    table_names as table_names,
    write_estimate_tables as write_estimate_tables,
    write_estimates as write_estimates,
    write_measurement as write_measurement,
    write_table as write_table,
    write_tables as write_tables,
)
from .uncertainty import (
    acquisition_scores as acquisition_scores,
    counted_slices as counted_slices,
    entropy as entropy,
    entropy_sum as entropy_sum,
    mean_entropy as mean_entropy,
    n_summed as n_summed,
)
