from .checks import (
    SUM_TOLERANCE as SUM_TOLERANCE,
    SliceShapes as SliceShapes,
    class_name_fault as class_name_fault,
    match_class as match_class,
    outside_class as outside_class,
)
from .class_spec import (
    COLOUR_EXAMPLE as COLOUR_EXAMPLE,
    EXAMPLE as EXAMPLE,
    ClassSpec as ClassSpec,
    Colour as Colour,
    parse_classes as parse_classes,
    show_values as show_values,
)
from .class_style import (
    MIN_CONTRAST as MIN_CONTRAST,
    PALETTE as PALETTE,
    Classes as Classes,
    ClassStyle as ClassStyle,
    contrast as contrast,
)
from .csv_cells import (
    per_cent_text as per_cent_text,
    plain_number as plain_number,
    read_rows as read_rows,
    write_rows as write_rows,
)
from .frames import (
    lay_frames as lay_frames,
    tiles as tiles,
    widest_frame_px as widest_frame_px,
)
from .grids import (
    NOT_JUDGED as NOT_JUDGED,
    UNSURE as UNSURE,
    CountingGrid as CountingGrid,
    lay_grid as lay_grid,
    wilson_interval as wilson_interval,
)
from .groups import (
    read_groups as read_groups,
)
from .looks import (
    N_LOOKS as N_LOOKS,
    Look as Look,
    error_after_looks as error_after_looks,
    looks_summary as looks_summary,
    read_looks as read_looks,
    with_looks as with_looks,
    write_looks as write_looks,
)
from .proportions import (
    Box as Box,
    Proportion as Proportion,
    Region as Region,
)
from .records import (
    Annotations as Annotations,
    Keypoint as Keypoint,
    last_on_pixel as last_on_pixel,
)
from .tables import (
    TABLE_NAMES as TABLE_NAMES,
    annotation_files as annotation_files,
    read_annotations as read_annotations,
    read_fraction_texts as read_fraction_texts,
    restore_annotations as restore_annotations,
    write_annotations as write_annotations,
    write_grid as write_grid,
    write_keypoints as write_keypoints,
    write_proportions as write_proportions,
)
