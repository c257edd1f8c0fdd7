"""What the dock says comes next."""

from __future__ import annotations

from dataclasses import replace

import pytest

from napari_spss.core.annotations import Annotations, CountingGrid, Keypoint
from napari_spss.gui.models import Progress, has_places, next_step, open_grid

READY = Progress(has_places=True, n_slices=4)
TRAINED = replace(READY, has_model=True)


@pytest.mark.parametrize(
    ("progress", "word"),
    [
        (Progress(missing="Open an image."), "Open an image."),
        (Progress(n_slices=4), "count a grid or add keypoints"),
        (READY, "press Train"),
        (replace(READY, n_marked=1), "mend the marked cell in"),
        (Progress(missing="State fractions.", n_marked=2), "mend the 2 marked cells"),
        (replace(READY, open_grid=3), "grid on slice 3"),
        (replace(TRAINED, has_image=False, missing="Open an image."), "Open an image."),
        (TRAINED, "press Continue"),
        (replace(TRAINED, missing="State fractions."), "press Continue"),
        (replace(TRAINED, n_predicted=1), "apply it to the whole stack"),
        (replace(TRAINED, n_predicted=4), "labels on other slices, then save them"),
        (replace(TRAINED, n_slices=1), "apply it under"),
        (replace(TRAINED, n_slices=1, n_predicted=1), "check the labels, then"),
        (replace(TRAINED, n_predicted=4, is_saved=True), "Saved."),
    ],
)
def test_each_state_of_the_work_has_its_next_step(progress, word):
    assert word in next_step(progress)


def test_a_grid_that_was_begun_is_told_and_a_blank_one_is_not():
    classes = ("background", "mito")
    blank = CountingGrid(2, 10.0, 0.0, 0.0, [0.0], [0.0], [-1], is_done=False)
    begun = blank.replace(class_index=[1])
    assert open_grid(None) is None
    assert open_grid(Annotations(classes, grids=(blank,))) is None
    assert open_grid(Annotations(classes, grids=(begun,))) == 2
    assert open_grid(Annotations(classes, grids=(begun.replace(is_done=True),))) is None


def test_done_grids_and_keypoints_say_where_and_open_grids_do_not():
    classes = ("background", "mito")
    grid = CountingGrid(0, 10.0, 0.0, 0.0, [0.0], [0.0], [1], is_done=False)
    assert not has_places(None)
    assert not has_places(Annotations(classes, grids=(grid,)))
    assert has_places(Annotations(classes, grids=(replace(grid, is_done=True),)))
    assert has_places(Annotations(classes, keypoints=(Keypoint(0, 1.0, 1.0, 1),)))
