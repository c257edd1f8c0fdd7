from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage.measure import perimeter_crofton, regionprops_table

from napari_spss.core.analysis import find_objects, measure, object_table
from napari_spss.core.base import InputError
from napari_spss.core.images import (
    WRITERS,
    StackLayout,
    open_masks,
    open_stack,
    stack_from_array,
)


def _ball(radius: float, spacing: tuple[float, float, float] = (1, 1, 1)) -> np.ndarray:
    """A ball of a radius in the units of the spacing, with room around it."""
    half = [math.ceil(radius / step) + 2 for step in spacing]
    z, y, x = (np.arange(-n, n + 1) * step for n, step in zip(half, spacing, strict=True))
    inside = z[:, None, None] ** 2 + y[:, None] ** 2 + x**2 <= radius**2
    return inside.astype(np.uint8)


def _as_known(lengths: Any) -> Any:
    """Lengths; none of an axis along which an object is one voxel thick."""
    return pytest.approx(np.where(lengths > 1e-3, lengths, np.nan), abs=1e-6, nan_ok=True)


def _discs(n_slices: int) -> np.ndarray:
    """Two discs of radius 10 px that overlap, in each of some slices."""
    y, x = np.mgrid[:30, :50]
    discs = ((y - 15) ** 2 + (x - 15) ** 2 <= 100) | ((y - 15) ** 2 + (x - 33) ** 2 <= 100)
    return np.repeat(discs[None], n_slices, axis=0).astype(np.uint8)


# -- the table -----------------------------------------------------------------------------------


@given(
    hnp.arrays(np.int32, (3, 7, 8), elements=st.integers(0, 3)),
    hnp.arrays(np.uint8, (3, 7, 8), elements=st.integers(0, 255)),
)
def test_volumes_are_measured_as_by_regionprops(instances: np.ndarray, image: np.ndarray) -> None:
    spacing = (0.05, 0.01, 0.02)
    table = object_table(instances, voxel_size_um=spacing, image=image, probs=image / 255)
    known = pd.DataFrame(
        regionprops_table(
            instances,
            image,
            ("label", "num_pixels", "area", "centroid", "bbox", "intensity_mean",
             "inertia_tensor_eigvals"),
            spacing=spacing,
        )
    )  # fmt: skip
    assert table["object"].tolist() == known["label"].tolist()
    assert table["voxels"].tolist() == known["num_pixels"].tolist()
    assert table["volume_um3"].to_numpy() == pytest.approx(known["area"].to_numpy())
    assert table["mean_grey"].to_numpy() == pytest.approx(known["intensity_mean"].to_numpy())
    assert table["mean_probability"].to_numpy() == pytest.approx(known["intensity_mean"] / 255)
    for axis, letter in enumerate("zyx"):
        centres = known[f"centroid-{axis}"] / spacing[axis]
        assert table[letter].to_numpy() == pytest.approx(centres.to_numpy(), abs=1e-9)
        assert table[f"{letter}0"].tolist() == known[f"bbox-{axis}"].tolist()
        assert table[f"{letter}1"].tolist() == known[f"bbox-{axis + 3}"].tolist()
    largest, middle, least = (known[f"inertia_tensor_eigvals-{i}"] for i in range(3))
    axes = (largest + middle - least, largest - middle + least, -largest + middle + least)
    for name, twice in zip(("major", "middle", "minor"), axes, strict=True):
        lengths = np.sqrt(10 * np.clip(twice, 0, None))
        found = table[f"axis_{name}_um"].to_numpy()
        assert found == _as_known(lengths.to_numpy())


@given(hnp.arrays(np.int32, (9, 11), elements=st.integers(0, 3)))
def test_areas_are_measured_as_by_regionprops(instances: np.ndarray) -> None:
    table = object_table(instances)
    known = regionprops_table(
        instances, properties=("axis_major_length", "axis_minor_length", "perimeter_crofton")
    )
    for ours, theirs in (
        ("axis_major_px", "axis_major_length"),
        ("axis_minor_px", "axis_minor_length"),
        ("perimeter_px", "perimeter_crofton"),
    ):
        assert table[ours].to_numpy() == _as_known(known[theirs])


@pytest.mark.parametrize("spacing", [(1, 1, 1), (1, 0.5, 0.5), (3, 1, 1)])
def test_surface_of_a_ball(spacing: tuple[float, float, float]) -> None:
    radius = 20.0
    ball = object_table(_ball(radius, spacing), voxel_size_um=spacing).iloc[0]
    assert ball["surface_um2"] == pytest.approx(4 * math.pi * radius**2, rel=0.03)
    assert ball["volume_um3"] == pytest.approx(4 / 3 * math.pi * radius**3, rel=0.01)
    assert ball["axis_minor_um"] == pytest.approx(2 * radius, rel=0.01)
    assert ball["elongation"] == pytest.approx(1, rel=0.01)


def test_perimeter_of_pixels_that_are_not_square() -> None:
    y, x = np.arange(-60, 61) * 0.5, np.arange(-40, 41)
    disc = (y[:, None] ** 2 + x**2 <= 20**2).astype(np.uint8)
    row = object_table(disc, voxel_size_um=(None, 0.5, 1.0)).iloc[0]
    assert row["perimeter_um"] == pytest.approx(2 * math.pi * 20, rel=0.03)
    assert row["perimeter_px"] == pytest.approx(perimeter_crofton(disc))
    assert math.isnan(object_table(disc).iloc[0]["perimeter_um"])


def test_surface_is_closed_where_2d_parts_meet_in_another_slice() -> None:
    """Two arms that touch at a corner only: the pairs of voxels there are those of one object."""
    labels = np.zeros((2, 4, 4), dtype=np.uint8)
    labels[0, 0:2, 0:2] = labels[0, 2:4, 2:4] = 1
    labels[1] = 1
    streamed = measure(labels).objects
    known = object_table(labels)
    assert len(streamed) == 1
    assert streamed["surface_px2"].tolist() == known["surface_px2"].tolist()


def test_objects_at_two_edges_and_the_first_slice_do_not_count() -> None:
    labels = np.zeros((4, 9, 9), dtype=np.uint8)
    for corner in ((0, 4, 4), (2, 0, 4), (2, 4, 0), (1, 2, 2), (3, 6, 6), (1, 8, 4), (1, 4, 8)):
        labels[corner] = 1
    table = measure(labels).objects
    counted = table.loc[table["is_counted"], ["z0", "y0", "x0"]].to_numpy().tolist()
    assert counted == [[1, 2, 2], [1, 4, 8], [1, 8, 4], [3, 6, 6]]
    assert table.loc[~table["touches_border"], "y0"].tolist() == [2]
    flat = measure(labels, per_slice=True).objects
    assert flat["is_counted"].sum() == 5


def test_each_number_is_one_object_whatever_its_size() -> None:
    instances = np.zeros((2, 5, 5), dtype=np.int64)
    instances[0, 0, :2] = 7
    instances[1, 4, 4] = 70_000
    table = object_table(instances, class_name="mito")
    assert table[["object", "class", "voxels"]].to_numpy().tolist() == [
        [7, "mito", 2],
        [70_000, "mito", 1],
    ]
    assert object_table(np.zeros((4, 4), int)).empty


def test_image_and_maps_must_lie_over_the_labels() -> None:
    with pytest.raises(InputError, match=r"2 slices of \(4, 5\).*3 of \(4, 4\).*image"):
        measure(np.zeros((3, 4, 4), int), image=np.zeros((2, 4, 5)))


def test_maps_have_a_channel_for_each_class() -> None:
    labels = np.array([[[1, 1, 2, 2]]])
    maps = np.zeros((1, 3, 1, 4), np.uint8)
    maps[0, 1], maps[0, 2] = 51, 204
    stack = stack_from_array(maps, axes="ZCYX")
    assert measure(labels, maps=stack).objects["mean_probability"].tolist() == [0.2, 0.8]
    with pytest.raises(InputError, match="3 maps, but the labels hold class 3"):
        measure(labels + 1, maps=stack)
    with pytest.raises(InputError, match="1 map, but the labels hold class 2"):
        measure(labels, maps=maps[:, 1])


@pytest.mark.parametrize("value", [87.0, -0.5, 1.1])
def test_what_is_no_probability_is_told(value: float) -> None:
    with pytest.raises(InputError, match=f"holds {value:g}, which is no probability"):
        measure(np.ones((1, 1, 4), int), maps=np.full((1, 1, 4), value))


def test_labels_are_no_maps(tmp_path) -> None:
    layout = StackLayout(((4, 4),), np.dtype(np.uint8), classes=("background", "mito"))
    with WRITERS.get("tif").open(tmp_path / "labels.ome.tif", layout) as file:
        file.write(0, np.ones((4, 4), np.uint8), 0)
    labels = open_stack(tmp_path / "labels.ome.tif")
    with pytest.raises(InputError, match="holds labels, not maps"):
        measure(np.ones((1, 4, 4), int), maps=labels)


# -- which objects -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "voxel", "kept"),
    [
        (4, None, [4, 8]),
        ("5 voxels", None, [8]),
        ("0.008 um3", (0.1, 0.1, 0.1), [8]),
        ("4e6nm3", (0.1, 0.1, 0.1), [4, 8]),
        ("0,008 µm³".replace(",", "."), (0.1, 0.1, 0.1), [8]),
    ],
)
def test_small_objects_are_left_out_by_physical_size(size, voxel, kept) -> None:
    labels = np.zeros((2, 6, 6), dtype=np.uint8)
    labels[:, :2, :2] = 1
    labels[0, 4:, 4:] = 1
    found = measure(labels, min_size=size, voxel_size_um=voxel)
    assert sorted(found.objects["voxels"]) == kept
    assert found.stack["voxels"].tolist()[1] == 12
    instances = find_objects(labels, min_size=size, voxel_size_um=voxel)
    assert sorted(np.bincount(instances.ravel())[1:]) == kept


def test_a_size_of_images_of_a_set_is_that_of_their_own_pixels() -> None:
    labels = np.array([[1, 1, 0, 1]])
    found = measure([labels, labels], pixel_sizes_um=[0.1, 0.2], min_size="0.03um2")
    assert found.objects[["z0", "pixels"]].to_numpy().tolist() == [[1, 2], [1, 1]]


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ("0.1 um2", "neither a number of voxels nor a volume"),
        ("0.1um", "neither"),
        ("some", "neither"),
        ("-3", "neither"),
        ("nan", "neither"),
        ("0.1 um3", "--voxel-size"),
    ],
)
def test_what_is_no_size_of_objects_is_refused(size: str, said: str) -> None:
    for make in (measure, find_objects):
        with pytest.raises(InputError, match=said) as error:
            make(np.ones((2, 3, 3), int), min_size=size)
        assert size in str(error.value)


def test_objects_of_slices_are_those_of_each_slice() -> None:
    labels = np.ones((3, 4, 4), dtype=np.uint8)
    found = measure(labels, per_slice=True, voxel_size_um=(0.1, 0.2, 0.2))
    assert found.objects["area_um2"].tolist() == pytest.approx([0.64] * 3)
    assert found.slices.groupby("slice")["objects"].sum().tolist() == [1, 1, 1]
    assert found.stack["volume_um3"].sum() == pytest.approx(48 * 0.1 * 0.2 * 0.2)
    instances = find_objects(labels, per_slice=True)
    assert instances.max(axis=(1, 2)).tolist() == [1, 2, 3]
    table = object_table(instances, per_slice=True)
    assert table[["object", "pixels"]].to_numpy().tolist() == [[1, 16], [2, 16], [3, 16]]


def test_only_the_class_is_found() -> None:
    labels = np.array([[1, 0, 1], [2, 0, 1], [2, 255, 0]], dtype=np.uint8)
    assert find_objects(labels).tolist() == [[1, 0, 2], [0, 0, 2], [0, 0, 0]]
    assert find_objects(labels, 2).tolist() == [[0, 0, 0], [1, 0, 0], [1, 0, 0]]
    with pytest.raises(InputError, match=r"\(3,\)"):
        find_objects(np.ones(3))


# -- touching objects ----------------------------------------------------------------------------


@pytest.mark.parametrize("n_slices", [1, 6])
def test_touching_discs_are_split(n_slices: int) -> None:
    labels = _discs(n_slices)
    assert find_objects(labels).max() == 1
    split = find_objects(labels, split=0.7)
    assert split.max() == 2
    assert ((split > 0) == (labels > 0)).all()
    assert (split[:, 15, 15] == 1).all()
    assert (split[:, 15, 33] == 2).all()
    assert find_objects(labels, split=0.3).max() == 1


def test_a_rod_stays_whole() -> None:
    y, x = np.mgrid[:40, :140]
    rod = np.hypot(y - 20 - 4 * np.sin(x / 15), np.maximum(0, np.abs(x - 70) - 50)) <= 9
    assert find_objects(rod, split=0.7).max() == 1


def test_what_fills_an_image_is_one_object() -> None:
    assert (find_objects(np.ones((6, 6), dtype=np.uint8), split=0.7) == 1).all()


@pytest.mark.parametrize("split", [0, 1, -0.5, math.nan])
def test_no_part_of_a_width_is_refused(split: float) -> None:
    for make in (measure, find_objects):
        with pytest.raises(InputError, match=f"split {split}"):
            make(np.ones((3, 3), int), split=split)


@pytest.mark.parametrize("per_slice", [False, True])
def test_objects_are_split_strip_by_strip_as_in_an_array(per_slice: bool) -> None:
    labels = np.zeros((8, 80, 120), dtype=np.uint8)
    rng = np.random.default_rng(3)
    z, y, x = np.mgrid[:8, :80, :120]
    for cz, cy, cx in rng.uniform(0, 1, (24, 3)) * labels.shape:
        labels[4 * (z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 <= 11**2] = 1
    image, voxel = rng.integers(0, 256, labels.shape).astype(np.uint8), (0.02, 0.01, 0.01)
    options = {"per_slice": per_slice, "voxel_size_um": voxel}
    streamed = measure(labels, split=0.7, min_size=20, image=image, **options).objects
    instances = find_objects(labels, split=0.7, min_size=20, **options)
    table = object_table(instances, image=image, class_name="class_1", **options)
    assert len(streamed) > len(measure(labels, min_size=20, per_slice=per_slice).objects)
    order = ["z0", "y0", "x0", "z1", "y1", "x1"]
    pd.testing.assert_frame_equal(
        streamed.drop(columns="object").sort_values(order, ignore_index=True),
        table.drop(columns="object").sort_values(order, ignore_index=True),
    )


def test_what_is_too_large_to_be_split_is_told(monkeypatch) -> None:
    monkeypatch.setattr("napari_spss.core.analysis.object_rows._MAX_BOX", 500)
    found = measure(_discs(1), split=0.7)
    assert len(found.objects) == 1
    assert any("1 object of class_1 in a box of more than 500 voxels" in n for n in found.notes)


def test_objects_with_ids_are_not_split() -> None:
    with pytest.raises(InputError, match="told apart already"):
        measure(open_masks(np.array([[1, 2]]), instances=True), split=0.7)


# -- columns of other packages -------------------------------------------------------------------


def test_columns_of_other_packages_are_added(install) -> None:
    code = "def holes(mask, image):\n    return [mask.sum(), image.max()]\n"
    code += "def flat(mask):\n    return mask.ndim\n"
    install("spss_holes", code, "napari_spss.object_properties",
            "holes = spss_holes:holes\nflat = spss_holes:flat")  # fmt: skip
    labels = np.zeros((2, 6, 6), dtype=np.uint8)
    labels[:, 1:3, 1:3] = labels[0, 4, 4] = 1
    image = np.arange(72).reshape(labels.shape)
    table = measure(labels, image=image).objects
    assert table["flat"].tolist() == [3, 3]
    assert table["holes-0"].tolist() == [8, 1]
    assert table["holes-1"].tolist() == [50, 28]
    split = measure(_discs(1), split=0.7, image=_discs(1)).objects
    assert split["holes-0"].tolist() == split["pixels"].tolist()
    without = measure(labels).objects
    assert without["holes"].isna().all()
    assert without["flat"].tolist() == [3, 3]
    assert object_table(find_objects(labels), image=image)["holes-1"].tolist() == [50, 28]


def test_a_column_of_ours_is_not_taken(install) -> None:
    code = "def f(mask):\n    return 0\n"
    install("spss_taken", code, "napari_spss.object_properties", "voxels = spss_taken:f")
    with pytest.raises(InputError, match="'voxels'"):
        measure(np.ones((2, 3, 3), int))


def test_a_column_that_another_package_cannot_give_is_told_and_all_else_is_measured(
    install,
) -> None:
    group = "napari_spss.object_properties"
    install("spss_broken", "raise RuntimeError('no licence')", group, "broken = spss_broken:f")
    code = "def f(mask):\n    raise ValueError('odd shape')\n"
    install("spss_odd", code, group, "odd = spss_odd:f")
    found = measure(np.array([[1, 1, 0, 1]]))
    assert found.objects["pixels"].tolist() == [2, 1]
    assert found.objects["odd"].isna().all()
    assert any("'odd' of an installed package failed on 2 objects" in note for note in found.notes)
    assert any("'broken' of the package spss_broken" in note for note in found.notes)
    told = []
    table = object_table(np.array([[1, 1, 0, 2]]), tell=told.append)
    assert table["odd"].isna().all()
    assert len(told[0]) == 2
    assert any("'odd' of an installed package failed on 2 objects" in note for note in told[0])


@pytest.mark.parametrize("per_slice", [False, True])
def test_some_objects_are_measured_as_among_all(per_slice):
    rng = np.random.default_rng(1)
    labels = ndimage.zoom(rng.random((4, 8, 8)), (2, 5, 5), order=1) > 0.55
    instances = find_objects(labels, per_slice=per_slice)
    image, probs = rng.random((2, *labels.shape))
    how = {"per_slice": per_slice, "voxel_size_um": (0.05, 0.01, 0.01)}
    table = object_table(instances, image=image, probs=probs, **how)
    chosen = table["object"].to_numpy()[1::2]
    some = table[table["object"].isin(chosen)].reset_index(drop=True)
    low, high = some[["z0", "y0", "x0"]].min(), some[["z1", "y1", "x1"]].max()
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    for within in (None, box):
        found = object_table(
            instances, image=image, probs=probs, numbers=chosen, within=within, **how
        )
        pd.testing.assert_frame_equal(found, some)
    assert object_table(instances, numbers=[10**6], **how).empty


def test_objects_that_are_told_apart_already_are_listed_whole_beside_others():
    labels = np.zeros((3, 20, 30), np.uint8)
    labels[:, 2:8, 2:14] = 1
    labels[1, 12:14, 2:4] = 1  # of no object
    labels[:, 2:8, 20:26] = 2
    instances = np.zeros(labels.shape, np.int32)
    instances[:, 2:8, 2:8] = 7
    instances[:, 2:8, 8:14] = 3
    found = measure(labels, min_size=20, instances={1: instances})
    assert found.objects["class"].tolist() == ["class_1", "class_1", "class_2"]
    assert found.objects["voxels"].tolist() == [108, 108, 108]
    assert found.objects["id"].tolist()[:2] == [3, 7]
    assert found.objects["id"].isna().tolist() == [False, False, True]
    assert found.stack["objects"].tolist()[1:] == [2, 1]
    assert found.stack["voxels"].tolist()[1:] == [220, 108]
    alone = object_table(instances, class_name="class_1")
    same = [name for name in alone if name != "object"]
    pd.testing.assert_frame_equal(found.objects[same].head(2), alone[same])
    assert found.objects["id"].head(2).tolist() == alone["object"].tolist()
