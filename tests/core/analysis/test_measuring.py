"""What is read of labels: objects, instances, slices that belong together, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from napari_spss.core.analysis import (
    measure,
    measure_masks,
)
from napari_spss.core.annotations import parse_classes
from napari_spss.core.base import InputError
from napari_spss.core.images import (
    ImageData,
    Stack,
    as_label_source,
    open_masks,
    stack_from_array,
)


def test_only_an_object_inside_touches_no_border() -> None:
    labels = np.zeros((3, 5, 5), dtype=np.uint8)
    labels[1, 2, 2] = 1
    assert not measure(labels).objects["touches_border"].any()
    labels[1, 2, 3:] = 1
    assert measure(labels).objects["touches_border"].all()


def test_parts_that_meet_in_a_later_slice_are_one_object() -> None:
    labels = np.zeros((3, 3, 5), dtype=np.uint8)
    labels[0, 1, 0] = labels[0, 1, 4] = 1
    labels[1, 1, :] = 1
    labels[2, 1, 2] = 1
    table = measure(labels).objects
    assert table["voxels"].tolist() == [8]
    assert table["z"].tolist() == pytest.approx([(5 * 1 + 1 * 2) / 8])


def test_a_slice_without_the_class_separates_objects() -> None:
    labels = np.zeros((3, 3, 3), dtype=np.uint8)
    labels[0, 1, 1] = labels[2, 1, 1] = 1
    assert len(measure(labels).objects) == 2


@given(hnp.arrays(np.uint8, (4, 5, 6), elements=st.integers(0, 2)))
def test_streamed_components_equal_those_of_the_whole_array(labels: np.ndarray) -> None:
    table = measure(labels, classes=("bg", "a", "b")).objects
    for index, name in ((1, "a"), (2, "b")):
        numbers, n_found = ndimage.label(labels == index)
        rows = table[table["class"] == name]
        assert len(rows) == n_found
        expected = set()
        for number in range(1, n_found + 1):
            where = np.argwhere(numbers == number)
            centre = tuple(float(value) for value in where.mean(axis=0).round(6))
            expected.add((len(where), *where.min(axis=0), *(where.max(axis=0) + 1), *centre))
        columns = ["voxels", "z0", "y0", "x0", "z1", "y1", "x1"]
        found = {
            (*row[:7], *(round(value, 6) for value in row[7:]))
            for row in rows[[*columns, "z", "y", "x"]].itertuples(index=False, name=None)
        }
        assert found == expected


def test_objects_that_reach_over_strips_are_one() -> None:
    largest = 0

    class Wide:
        """One slice of which no two rows are read at once: a frame, and a bar inside."""

        n_slices = 1

        def shape_of(self, z: int) -> tuple[int, int]:
            return 6, 2_200_000

        def read(self, z: int, box: tuple[int, int, int, int] | None = None) -> np.ndarray:
            nonlocal largest
            labels = np.zeros(self.shape_of(z), np.uint8)
            labels[[0, -1]] = labels[:, [0, -1]] = 1
            labels[2:4, 500:600] = 1
            y0, x0, y1, x1 = box or (0, 0, *labels.shape)
            largest = max(largest, (y1 - y0) * (x1 - x0))
            return labels[y0:y1, x0:x1]

    table = measure(Wide()).objects
    assert table["pixels"].tolist() == [2 * 2_200_000 + 2 * 4, 200]
    assert table[["y0", "x0", "y1", "x1"]].iloc[1].tolist() == [2, 500, 4, 600]
    assert table[["y", "x"]].iloc[1].tolist() == [2.5, 549.5]
    assert table["touches_border"].tolist() == [True, False]
    assert largest <= 2**22


def test_objects_come_in_the_order_of_their_first_pixel() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((3, 20, 30)) < 0.3).astype(np.uint8)
    first = measure(labels, is_set=True).objects[["z0", "y0"]].apply(tuple, axis=1).tolist()
    assert first == sorted(first)


def test_instances_are_objects_by_their_ids() -> None:
    ids = np.zeros((3, 6, 8), np.uint16)
    ids[0, 1:3, 1:3], ids[1, 1:3, 1:3], ids[0, 1:3, 3:5] = 7, 7, 300  # 7 and 300 touch
    ids[0, 4, 6] = ids[2, 4, 6] = 2  # in two parts
    masks = open_masks(ids, classes=parse_classes("mito"), instances=True)
    measured = measure(masks)
    objects = measured.objects
    assert objects["id"].tolist() == [2, 7, 300]
    assert objects["voxels"].tolist() == [2, 8, 4]
    assert objects["slices"].tolist() == [3, 2, 1]
    assert objects[["z", "y", "x"]].iloc[1].tolist() == [0.5, 1.5, 1.5]
    mito = measured.stack.set_index("class").loc["mito"]
    assert (mito["voxels"], mito["objects"]) == (14, 3)
    # of separate images every one counts its own
    assert measure(masks, is_set=True).objects["id"].tolist() == [2, 7, 300, 7, 2]
    assert not any("one id" in note for note in measured.notes)


def test_instances_of_one_id_are_told() -> None:
    masks = open_masks(np.eye(4, dtype=np.uint8)[None], instances=True)
    assert any("All objects have one id" in note for note in measure(masks).notes)


def test_how_masks_were_read_is_told() -> None:
    measured = measure(open_masks(np.array([[[-1, 1]]]), classes=parse_classes("mito")))
    assert measured.notes[0].startswith("the values in the array of masks are taken in order")


def test_slices_of_a_set_are_not_joined() -> None:
    labels = np.ones((2, 3, 3), dtype=np.uint8)
    assert len(measure(labels).objects) == 1
    assert len(measure(labels, is_set=True).objects) == 2


def test_time_points_are_not_joined_unless_the_distance_of_slices_is_stated() -> None:
    labels = np.ones((2, 3, 3), np.uint8)
    film = Stack([ImageData(np.ones((2, 3, 3)), "TYX", (None, 0.1, 0.1))], source="film")
    for options in ({"stack": film}, {"image": film}):
        measured = measure_masks(open_masks(labels), **options)
        assert len(measured.objects) == 2
        assert "pixels" in measured.stack
        assert "volume_um3" not in measured.stack
        assert not any("distance of slices is not known" in note for note in measured.notes)
        assert any("--voxel-size Z,Y,X" in note for note in measured.notes)
    volume = measure_masks(open_masks(labels), stack=film, voxel_size_um=(0.1, 0.1, 0.1))
    assert len(volume.objects) == 1
    assert volume.stack["volume_um3"][1] == pytest.approx(0.018)


def test_images_of_one_size_are_told_to_be_taken_for_a_volume(tmp_path: Path) -> None:
    for name in "ab":
        tifffile.imwrite(tmp_path / f"{name}.tif", np.eye(4, dtype=np.uint8))
    masks = open_masks(tmp_path)
    measured = measure_masks(masks)
    assert len(measured.objects) == 4
    assert "slices of one volume, through which objects go on. If" in measured.notes[0]
    assert "one volume. If" in measure_masks(masks, per_slice=True).notes[0]
    for notes in (
        measure_masks(masks, voxel_size_um=(0.1, 0.1, 0.1)).notes,
        measure_masks(open_masks(tmp_path / "a.tif")).notes,
    ):
        assert not any("--each" in note for note in notes)


def test_boxes_of_arrays_are_read_alone() -> None:
    labels = np.arange(24).reshape(2, 3, 4)
    read = as_label_source(labels).read(1, (1, 0, 3, 2))
    assert read.tolist() == [[16, 17], [20, 21]]
    assert read.dtype == np.uint8


def test_work_grows_with_the_number_of_images_not_with_its_square(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compare, n_compared = pd.Series.__eq__, 0

    def counted(self: pd.Series, other: object) -> pd.Series:
        nonlocal n_compared
        n_compared += len(self)
        return compare(self, other)

    monkeypatch.setattr(pd.Series, "__eq__", counted)
    labels = np.zeros((16, 8, 8), np.uint8)
    labels[:, ::2, ::2] = 1
    work = {}
    for n in (8, 16):
        n_compared = 0
        found = measure(labels[:n], is_set=True)
        assert found.slices["objects"].dropna().tolist() == [16] * n
        work[n] = n_compared
    assert work[16] <= 2 * work[8]


def test_unusable_input_is_refused() -> None:
    labels = np.array([[[0, 2]]])
    with pytest.raises(InputError, match="class 2, but only 2 classes"):
        measure(labels, classes=("background", "mito"))
    with pytest.raises(InputError, match="2 names were given for 1 slice"):
        measure(labels, names=("a", "b"))
    with pytest.raises(InputError, match=r"voxel_size_um \(0, 1.0, 1.0\) holds 0"):
        measure(labels, voxel_size_um=(0, 1.0, 1.0))
    with pytest.raises(InputError, match="no slices"):
        measure(np.zeros((0, 3, 3), int))


@pytest.mark.parametrize("stray", [np.nan, np.inf, 1e30])
def test_grey_values_beside_an_object_leave_no_trace_in_its_mean(stray) -> None:
    labels = np.array([[0, 1, 1, 0, 0, 1], [0, 0, 0, 0, 0, 1]])
    image = np.array([[stray, 0.2, 0.4, 0, stray, 0.5], [stray, 0, 0, 0, 0, 0.7]])
    means = measure(labels, image=image).objects["mean_grey"]
    assert means.tolist() == pytest.approx([0.3, 0.6])


def test_each_channel_has_its_mean_in_objects() -> None:
    labels = np.array([[[0, 1, 1, 0]]])
    image = np.array([[[[9, 2, 4, 9]], [[9, 10, 20, 9]]]])
    (row,) = measure(labels, image=stack_from_array(image, axes="ZCYX")).objects.to_dict("records")
    means = {name: row[name] for name in row if name.startswith("mean_grey")}
    assert means == {"mean_grey": 9, "mean_grey_0": 3, "mean_grey_1": 15}
