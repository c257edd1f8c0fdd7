"""What the dock says comes next."""

from __future__ import annotations

from dataclasses import replace

import pytest

from napari_spss.core.annotations import Annotations, CountingGrid, Keypoint
from napari_spss.gui.next_step import Progress, has_places, next_step

READY = Progress(has_places=True, n_slices=4)
TRAINED = replace(READY, has_model=True)


@pytest.mark.parametrize(
    ("progress", "word"),
    [
        (Progress(missing="Open an image."), "Open an image."),
        (Progress(n_slices=4), "count a grid or add points"),
        (READY, "press Train"),
        (TRAINED, "press Continue"),
        (replace(TRAINED, missing="State fractions."), "press Continue"),
        (replace(TRAINED, n_predicted=1), "apply it to the whole stack"),
        (replace(TRAINED, n_predicted=4), "save them"),
        (replace(TRAINED, n_predicted=4, is_saved=True), "Saved."),
    ],
)
def test_each_state_of_the_work_has_its_next_step(progress, word):
    assert word in next_step(progress)


def test_done_grids_and_keypoints_say_where_and_open_grids_do_not():
    classes = ("background", "mito")
    grid = CountingGrid(0, 10.0, 0.0, 0.0, [0.0], [0.0], [1], is_done=False)
    assert not has_places(None)
    assert not has_places(Annotations(classes, grids=(grid,)))
    assert has_places(Annotations(classes, grids=(replace(grid, is_done=True),)))
    assert has_places(Annotations(classes, keypoints=(Keypoint(0, 1.0, 1.0, 1),)))
