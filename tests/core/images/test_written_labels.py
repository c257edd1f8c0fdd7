"""Labels that bring the names of their classes along."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from napari_spss.core.analysis import measure
from napari_spss.core.annotations import Classes, ClassSpec
from napari_spss.core.base import InputError
from napari_spss.core.images import (
    WRITERS,
    StackLayout,
    StackWriter,
    labels_in,
    open_labels,
)
from napari_spss.core.images.written_labels import stored_classes

NAMES = ("background", "<mito> & more", "zweite Klasse é")
VALUES = np.array([[[0, 1, 2, 255]], [[2, 2, 0, 0]]], np.uint8)


def write(path, *, values=VALUES, **kwargs):
    shapes = [values.shape[-2:]] * len(values)
    with StackWriter(path, StackLayout(shapes, **kwargs)) as writer:
        for z, plane in enumerate(values):
            writer.write(z, plane)
    return writer.path


@pytest.mark.parametrize("is_set", [False, True])
def test_names_come_back_with_the_labels(tmp_path, is_set):
    path = write(tmp_path / "result.ome.tif", classes=NAMES, is_set=is_set)
    assert stored_classes(path) == NAMES
    masks = open_labels(path)
    assert masks.classes.names == NAMES
    np.testing.assert_array_equal(np.stack([masks.read(z) for z in range(2)]), VALUES)


@pytest.mark.parametrize("form", ["tif", "zarr"])
def test_the_class_outside_comes_back_with_the_labels(tmp_path, form):
    writer = WRITERS.get(form)
    path = tmp_path / f"labels{writer.suffix}"
    layout = StackLayout([VALUES.shape[1:]] * 2, np.uint8, classes=Classes(NAMES, NAMES[2]))
    with writer.open(path, layout) as file:
        for z, plane in enumerate(VALUES):
            file.write(z, plane)
    assert stored_classes(path).outside == NAMES[2]
    assert open_labels(path, classes=ClassSpec(NAMES)).classes.names.outside == NAMES[2]
    found = measure(open_labels(path))
    assert found.outside == NAMES[2]
    np.testing.assert_allclose(found.by_slice(NAMES[:2]), [[1 / 2, 1 / 2], [1, 0]])


def test_what_is_not_said_is_no_class(tmp_path):
    values = np.array([[[0, 1, 255, 255]]], np.uint8)
    path = write(tmp_path / "labels.ome.tif", values=values, classes=NAMES[:2])
    np.testing.assert_array_equal(open_labels(path).read(0), values[0])


def test_stated_classes_win(tmp_path):
    path = write(tmp_path / "labels.ome.tif", classes=NAMES)
    spec = ClassSpec(("background", "b", "c"), (0, 1, 2))
    assert open_labels(path, classes=spec).classes.names == ("background", "b", "c")


def test_a_value_beyond_the_names_is_told(tmp_path):
    path = write(tmp_path / "labels.ome.tif", classes=NAMES[:2])
    with pytest.raises(InputError, match="holds the value 2"):
        open_labels(path).read(0)


def test_masks_of_others_are_opened_as_before(tmp_path):
    tifffile.imwrite(tmp_path / "labels.tif", np.array([[0, 255]], np.uint8))
    (tmp_path / "broken.tif").write_bytes(b"no image")
    assert open_labels(tmp_path / "labels.tif").classes.names == ("background", "class_1")
    assert stored_classes(tmp_path / "broken.tif") is None
    assert stored_classes(tmp_path / "missing.tif") is None


def test_names_that_cannot_be_those_of_classes_are_refused_with_the_way_out(tmp_path):
    path = write(tmp_path / "labels.ome.tif", classes=("background", "mito", "Mito"))
    with pytest.raises(InputError, match=r"labels\.ome\.tif brings names .*twice.*list the"):
        open_labels(path)
    spec = ClassSpec(("background", "b", "c"))
    np.testing.assert_array_equal(open_labels(path, classes=spec).read(1), VALUES[1])


def test_a_result_whose_labels_are_gone_is_told(tmp_path):
    (tmp_path / "maps.ome.zarr").mkdir()
    with pytest.raises(InputError, match=r"holds maps\.ome\.zarr, but no labels; restore them"):
        labels_in(tmp_path)
    (tmp_path / "0.png").touch()  # slices of somebody's labels
    assert labels_in(tmp_path) == tmp_path
