"""What the dock says comes next."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from napari_spss.core.annotations import Annotations, CountingGrid, Keypoint
from napari_spss.gui.models import Progress, has_places, next_step, open_grid

READY = Progress(has_places=True, n_slices=4)
TRAINED = replace(READY, has_model=True, has_preview=True)
APPLIED = replace(TRAINED, has_preview=False, has_result=True, n_predicted=4)


@pytest.mark.parametrize(
    ("progress", "word"),
    [
        (Progress(missing="Open an image."), "Open an image."),
        (Progress(n_slices=4), "count a grid or add keypoints"),
        (READY, "press Train"),
        (replace(READY, n_open_frames=3), "count more frames (3 are open), or press Train"),
        (replace(READY, n_open_frames=3, open_grid="frame 2 of 4"), "counting frame 2 of 4"),
        (Progress(n_open_frames=3, missing="State fractions."), "Press Done (D) after each"),
        (Progress(has_image=False, is_reading=True, missing="Open an image."), "Reading the image"),
        (replace(READY, cover="other", n_marked=1), "other lies over the image that is worked on"),
        (replace(READY, n_marked=1), "correct the marked cell in"),
        (Progress(missing="State fractions.", n_marked=2), "correct the 2 marked cells"),
        (replace(READY, open_grid="the grid on slice 3"), "grid on slice 3"),
        (replace(APPLIED, open_grid="the grid on slice 3"), "grid on slice 3"),
        (replace(TRAINED, has_image=False, missing="Open an image."), "Open an image."),
        (TRAINED, "press Continue"),
        (replace(TRAINED, missing="State fractions."), "press Continue"),
        (replace(TRAINED, has_preview=False), "apply the model to this slice"),  # one was loaded
        (replace(TRAINED, is_worse=True), "how much worse this model is, and use the one before"),
        (replace(APPLIED, is_worse=True, is_stale=True), "and use the one before"),
        (replace(APPLIED, is_worse=True), "labels on other slices, then save them"),
        (replace(TRAINED, is_cut_short=True), "does the steps that are left"),
        (replace(TRAINED, has_result=True, n_predicted=1), "apply it to the whole stack"),
        (replace(TRAINED, n_slices=1), "apply it under"),
        (replace(TRAINED, can_look_again=True), "A second look, there, finds nodes that were"),
        (APPLIED, "labels on other slices, then save them"),
        (replace(TRAINED, n_to_look_at=1, has_news=True), "second look (1 node is left)"),
        (replace(TRAINED, n_to_look_at=30, is_cut_short=True), "second look (30 nodes are left)"),
        (replace(APPLIED, has_news=True), "press Continue. The model learns"),
        (replace(APPLIED, is_saved=True, has_news=True), "press Continue. The model learns"),
        (replace(APPLIED, has_other_classes=True, has_news=True), "Train. The classes are no"),
        (replace(TRAINED, has_other_classes=True, is_cut_short=True), "press Train"),
        (replace(APPLIED, is_stale=True, has_preview=True), "look at the new map"),
        (replace(APPLIED, is_stale=True), "Next: apply the model under Results"),
        (replace(APPLIED, n_slices=1, n_predicted=1), "look at the labels, then"),
        (APPLIED, "count frames under Annotate, Check"),
        (replace(APPLIED, n_open_check=2), "Check (2 frames are open)"),
        (replace(APPLIED, n_contradicted=1, can_estimate=True), "the node of the check count"),
        (replace(APPLIED, can_estimate=True), "press Estimate"),
        (replace(APPLIED, can_estimate=True, is_estimated=True), "save the labels with their fr"),
        (replace(APPLIED, is_saved=True), "Saved."),
    ],
)
def test_each_state_of_the_work_has_its_next_step(progress, word):
    assert word in next_step(progress)


def all_states():
    flags = (
        *("has_image", "has_places", "has_model", "is_cut_short", "has_news"),
        *("has_preview", "has_result", "is_stale", "is_saved", "has_other_classes"),
    )
    others = product(("", "State fractions."), (0, 2), ("", "frame 3 of 4"), (1, 4), (0, 1, 4))
    for missing, n_marked, begun, n_slices, n_predicted in others:
        for values in product((False, True), repeat=len(flags)):
            yield Progress(
                missing=missing,
                n_marked=n_marked,
                open_grid=begun,
                n_slices=n_slices,
                n_predicted=min(n_predicted, n_slices),
                **dict(zip(flags, values, strict=True)),
            )


def test_no_state_is_told_to_do_what_it_cannot_do():
    n_states = 0
    for state in all_states():
        if not state.has_image and not state.missing:
            continue
        step, n_states = next_step(state), n_states + 1
        has_map = state.has_preview or state.has_result
        assert step.endswith(".")
        assert not step.startswith("Next: press") or not state.missing
        assert "Continue" not in step or (state.has_model and not state.has_other_classes)
        assert "look at the" not in step or has_map or "apply the model to this slice" in step
        is_done = state.has_result and not state.is_stale and state.n_predicted == state.n_slices
        assert "save them" not in step or is_done
        assert not step.startswith("Saved") or (is_done and state.is_saved)
        has_news = state.has_news and not state.missing
        assert not has_news or "check" not in step
    assert n_states > 10_000


def test_a_grid_that_was_begun_is_told_and_a_blank_one_is_not():
    classes = ("background", "mito")
    blank = CountingGrid(2, 10.0, 0.0, 0.0, [0.0], [0.0], [-1], is_done=False)
    begun = blank.replace(class_index=[1])
    frames = tuple(begun.replace(is_done=not i, box=(0, i, 1, i + 1)) for i in range(3))
    assert open_grid(None) == ""
    assert open_grid(Annotations(classes, grids=(blank,))) == ""
    assert open_grid(Annotations(classes, grids=(begun,))) == "the grid on slice 2"
    assert open_grid(Annotations(classes, grids=(begun.replace(is_done=True),))) == ""
    assert open_grid(Annotations(classes, grids=(blank, *frames))) == "frame 2 of 3 on slice 2"


def test_done_grids_and_keypoints_say_where_and_open_grids_do_not():
    classes = ("background", "mito")
    grid = CountingGrid(0, 10.0, 0.0, 0.0, [0.0], [0.0], [1], is_done=False)
    assert not has_places(None)
    assert not has_places(Annotations(classes, grids=(grid,)))
    assert has_places(Annotations(classes, grids=(replace(grid, is_done=True),)))
    assert has_places(Annotations(classes, keypoints=(Keypoint(0, 1.0, 1.0, 1),)))
