"""What people hand over in a notebook: arrays, data frames, and things of the wrong kind."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import zarr

import napari_spss as spss
from napari_spss.core.annotations import lay_grid
from napari_spss.core.base import InputError

CLASSES = ("background", "disc")
TRUTH = np.zeros((2, 24, 24), np.uint8)
TRUTH[:, 6:15, 6:15] = 1
MARKED = 255 * TRUTH
MASKED = np.ma.masked_array(TRUTH, mask=TRUTH == 0)
STACK = spss.stack_from_array(200 - 100 * TRUTH)
SAID = spss.Annotations(CLASSES, keypoints=[spss.Keypoint(0, 9, 9, 1)])
GRID = lay_grid(0, (24, 24), n_side=4, rng=np.random.default_rng(0))
COUNTED = spss.Annotations(CLASSES, grids=[GRID])


@pytest.mark.parametrize(
    ("give", "remedy"),
    [
        (lambda: spss.stack_from_array(TRUTH, voxel_size_um=0.05), "0.05 does not .* give three"),
        (lambda: spss.stack_from_array(TRUTH, voxel_size_um="5nm"), "'5nm' does not .* give three"),
        (
            lambda: spss.stack_from_array(TRUTH, voxel_size_um=("5nm", 1, 1)),
            "holds '5nm'; give micrometres",
        ),
        (lambda: spss.object_table(TRUTH, voxel_size_um=0.05), "0.05 does not .* give three"),
        (
            lambda: spss.find_objects(TRUTH, voxel_size_um=0.05, min_size="1 um3"),
            "0.05 does not .* give three",
        ),
        (lambda: spss.stack_from_array(MASKED), "masked array; fill it"),
        (lambda: spss.stack_from_array([[[1, 2], [3]]]), "slices of several lengths; make them"),
        (lambda: spss.merge_objects([[1, 2]], (1, 2)), "must be a NumPy array of whole numbers"),
        (lambda: spss.split_at_points(1 * TRUTH, 1, [(9, 9), (9, 8)]), "3 axes; give z, y, x"),
        (lambda: spss.split_along_line(TRUTH[0], 1, [(0, 9, 9)]), "2 axes; give y, x"),
        (lambda: spss.fill_object(0.5 * TRUTH, 1), "must be a NumPy array of whole numbers"),
        (lambda: spss.open_masks(MASKED), "masked array; fill it"),
        (lambda: spss.evaluate(MASKED, TRUTH), "masked array; fill it"),
        (lambda: spss.evaluate([*MASKED], [*TRUTH]), "masked array; fill it"),
        (lambda: spss.find_objects(MASKED), "masked array; fill it"),
        (lambda: spss.evaluate(TRUTH, MARKED), "the truth holds nothing but 0 and 255.*open_masks"),
        (lambda: spss.evaluate(MARKED, TRUTH), "the labels hold nothing but 0 and 255"),
        (
            lambda: spss.estimate_fractions(MARKED, classes=CLASSES),
            "the labels hold nothing but 0 and 255",
        ),
        (lambda: spss.find_objects(0.9 * TRUTH), "type float64 cannot be read; give whole-number"),
        (lambda: spss.find_objects(TRUTH, "disc"), "'disc' is no whole number; give the place"),
        (lambda: spss.Keypoint(0, 1, 1, "disc"), "class_index 'disc' is no whole number"),
        (lambda: spss.Keypoint(0.5, 1, 1, 1), "slice 0.5 is no whole number"),
        (lambda: spss.Region(float("nan")), "slice nan is no whole number"),
        (lambda: spss.Region(0, (0, 0, 5.5, 9)), "box .* is not four whole numbers; give y0"),
        (
            lambda: spss.lay_frames((24, 24), 2, 8, 4, rng=np.random.default_rng(0)),
            "shape .24, 24. has not three numbers; give slices, rows and columns",
        ),
        (
            lambda: spss.rank_nodes(COUNTED, {spss.Region(0): np.zeros((2, 24, 24))}),
            r"have the shape \(2, 24, 24\); give those at the nodes, \(2, 16\), as NodeMaps",
        ),
        (lambda: spss.Proportion(0, (None, 0.1)), "region 0 is none; give a Region"),
        (lambda: spss.Proportion(spss.Region(0), 0.1), "fractions 0.1 are no list; give one for"),
        (lambda: spss.Proportion(spss.Region(0), (None, "6%")), "fraction '6%' is not between"),
        (lambda: spss.Annotations(CLASSES, keypoints=[(0, 1, 1, 1)]), "give a Keypoint for each"),
        (lambda: spss.fit(TRUTH, SAID), "the stack is a ndarray; make one by .*stack_from_array"),
        (lambda: spss.rank_slices(None, TRUTH, SAID), "the stack is a ndarray; make one by open"),
        (lambda: spss.open_stack(TRUTH), r"ndarray is no path; give .*stack_from_array\(array\)"),
        (lambda: spss.measure_images(TRUTH, out_dir="tables"), "a ndarray is no path; give that"),
        (lambda: spss.measure_images(STACK, out_dir="tables"), "a Stack is no path; give that"),
        (lambda: spss.fit(STACK, SAID, masks=TRUTH), "masks are a ndarray; make them by open_mask"),
    ],
)
def test_what_cannot_be_used_is_told_with_the_remedy(give, remedy):
    with pytest.raises(InputError, match=remedy):
        give()


def test_masks_that_are_marked_by_255_score_once_they_are_opened():
    scores = spss.evaluate(TRUTH, spss.open_masks(MARKED))
    assert scores.iou == (1.0, 1.0)
    partial = np.where(TRUTH == 0, 255, TRUTH).astype(np.uint8)  # 255 is unknown there
    assert spss.evaluate(TRUTH, partial).n_pixels == TRUTH.sum()


def test_labels_may_be_arrays_that_are_read_slice_by_slice():
    array = zarr.array(TRUTH)
    assert spss.evaluate(array, TRUTH).mean_iou == 1
    assert spss.find_objects(array[0]).max() == spss.find_objects(zarr.array(TRUTH[0])).max() == 1
    assert spss.evaluate(array, [*TRUTH]).mean_iou == 1


def test_boxes_and_numbers_may_come_from_arrays():
    region = spss.Region(0, np.array([0, 0, 5, 9]))
    assert region == spss.Region(0, [0, 0, 5, 9]) == spss.Region(0, (0, 0, 5, 9))
    assert len({region, spss.Region(0, (0, 0, 5, 9))}) == 1
    instances = np.array([[1, 2, 0, 3]])
    spss.merge_objects(instances, np.array([1, 3]))
    assert instances.tolist() == [[1, 2, 0, 1]]


def test_positions_may_come_from_an_array_of_floats():
    rows = np.argwhere(TRUTH)[:3].astype(float)
    points = [spss.Keypoint(z, y, x, 1) for z, y, x in rows]
    assert [type(point.slice) for point in points] == [int] * 3
    said = spss.Annotations(
        CLASSES, [spss.Proportion(spss.Region(1.0), np.array([0.9, 0.1]))], points
    )
    said.validate_against(STACK)
    assert said.slices() == (0, 1)
    assert said == said.replace()


def test_data_frames_are_read_like_files(tmp_path):
    proportions = pd.DataFrame({"slice": [0.0, 1.0], "disc": [0.1, np.nan], "disc_low": [None, 0]})
    keypoints = pd.DataFrame({"slice": [0, 1], "y": [9, 3.25], "x": 9, "class": CLASSES[::-1]})
    files = {"proportions": proportions, "keypoints": keypoints}
    for name, frame in files.items():
        frame.to_csv(tmp_path / name, index=False)
    given = spss.read_annotations(**files, stack=STACK)
    assert given == spss.read_annotations(**{name: tmp_path / name for name in files}, stack=STACK)
    assert given.keypoints == (spss.Keypoint(0, 9, 9, 1), spss.Keypoint(1, 3.25, 9, 0))
    keypoints.loc[1, "y"] = 99
    with pytest.raises(InputError, match=r"keypoints, line 3, column 'y': '99\.0' is outside"):
        spss.read_annotations(**files, stack=STACK)
    with pytest.raises(InputError, match=r"keypoints.* has no column slice"):
        spss.read_annotations(keypoints=keypoints.set_index("slice"))
