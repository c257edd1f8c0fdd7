"""The size of a voxel: read from the file, stated in the dock, and followed by everything."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import tifffile
from eye import button, wait
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtGui import QFont
from qtpy.QtWidgets import QDoubleSpinBox, QLabel

from napari_spss.core.annotations import Annotations, Keypoint, Proportion, Region
from napari_spss.gui.dock import SpssDock
from napari_spss.gui.layers import snapshot, voxel_size_um
from napari_spss.gui.layers.geometry import Geometry
from napari_spss.gui.widgets import ImageSection
from napari_spss.gui.widgets.image import VoxelSizeField

pytestmark = pytest.mark.usefixtures("naparis_readers")

PIXELS = np.random.default_rng(0).integers(0, 255, (3, 32, 48), np.uint8)
CLASSES = ("background", "mitochondria")


def imagej(path):
    resolution = (1 / 0.0046, 1 / 0.0046)
    metadata = {"axes": "ZYX", "spacing": 0.05, "unit": "um"}
    tifffile.imwrite(path, PIXELS, imagej=True, resolution=resolution, metadata=metadata)


def ome(path):
    sizes = {f"PhysicalSize{axis}": size for axis, size in zip("ZYX", (50, 4.6, 4.6), strict=True)}
    units = {f"PhysicalSize{axis}Unit": "nm" for axis in "ZYX"}
    tifffile.imwrite(path, PIXELS, ome=True, metadata={"axes": "ZYX", **sizes, **units})


@pytest.fixture
def section(viewer, qtbot):
    widget = ImageSection(viewer)
    qtbot.addWidget(widget)
    return widget


def field(widget, axis):
    return widget.findChild(QDoubleSpinBox, f"voxel_{axis}")


def enter(qtbot, widget, axis, text):
    spin = field(widget, axis)
    spin.selectAll()
    qtbot.keyClicks(spin, text)
    qtbot.keyClick(spin, Qt.Key.Key_Return)


def told(widget):
    return "\n".join(one.text() for one in widget.findChildren(QLabel) if not one.isHidden())


def size_of(layer):
    return voxel_size_um(Geometry.of(layer))


def test_channels_that_the_file_tells_are_no_guess(viewer, section, tmp_path):
    pixels = np.zeros((6, 2, 32, 48), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, imagej=True, metadata={"axes": "ZCYX"})
    viewer.open(tmp_path / "a.tif", plugin="napari")
    assert "6 slices, 48 x 32 px, 2 channels" in told(section)
    assert "guessed" not in told(section)


@pytest.mark.parametrize(("name", "write"), [("a.tif", imagej), ("a.ome.tif", ome)])
def test_a_calibrated_file_is_shown_in_physical_units(viewer, section, tmp_path, name, write):
    write(tmp_path / name)
    (layer,) = viewer.open(tmp_path / name, plugin="napari")
    assert size_of(layer) == pytest.approx((0.05, 0.0046, 0.0046), rel=1e-4)
    assert [field(section, axis).text() for axis in "zyx"] == ["z 50", "y 4.6", "x 4.6"]
    assert "Enter the size of a voxel" not in told(section)
    assert section.stated_voxel_size() is None


def test_pixels_of_exactly_a_micrometre_are_doubted(viewer, section, qtbot, tmp_path):
    metadata = {"axes": "ZYX", "spacing": 1.0, "unit": "um"}
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, imagej=True, resolution=(1, 1), metadata=metadata)
    viewer.open(tmp_path / "a.tif", plugin="napari")
    assert "as programs write where the size is not known" in told(section)
    enter(qtbot, section, "x", "5")
    assert "as programs write" not in told(section)


@pytest.mark.parametrize(
    ("pixels", "stored", "doubt"),
    [
        (np.repeat(PIXELS[..., None], 4, 3), {"photometric": "separated"}, "holds CMYK colours"),
        (np.repeat(PIXELS[..., None], 3, 3), {"photometric": "cielab"}, "holds CIELAB colours"),
        (PIXELS, {"photometric": "miniswhite"}, "but 0 is white by the file"),
        (PIXELS, {"metadata": {"axes": "CYX"}, "imagej": True}, "an axis is that of 3 channels"),
        (PIXELS, {"photometric": "minisblack"}, ""),
    ],
)
def test_what_is_doubtful_of_a_file_that_napari_opens_is_told(
    viewer, section, tmp_path, pixels, stored, doubt
):
    tifffile.imwrite(tmp_path / "a.tif", pixels, **stored)
    (layer,) = viewer.open(tmp_path / "a.tif", plugin="napari")
    assert doubt in told(section)
    if not doubt:
        assert told(section).startswith("Image\n3 slices, 48 x 32 px, uint8\nVoxel size")
    if "channels" in doubt:
        layer.axis_labels = ("c", "y", "x")
        assert doubt not in told(section)


def test_time_points_have_no_distance_until_their_axis_is_called_z(viewer, section, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, imagej=True, metadata={"axes": "TYX"})
    (layer,) = viewer.open(tmp_path / "a.tif", plugin="napari")
    assert snapshot(layer).stack.is_time_series
    assert "time points" in told(section)
    assert field(section, "z").isHidden()
    layer.axis_labels = ("z", "y", "x")
    assert not snapshot(layer).stack.is_time_series
    assert "time points" not in told(section)
    assert not field(section, "z").isHidden()


def test_time_points_of_several_channels_are_time_points(viewer, section, tmp_path):
    pixels = np.stack([PIXELS, PIXELS], axis=1)
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, ome=True, metadata={"axes": "TCYX"})
    (layer,) = viewer.open(tmp_path / "a.ome.tif", plugin="napari")
    assert layer.ndim == 4
    stack = snapshot(layer).stack
    assert (stack.n_slices, stack.n_channels) == (len(PIXELS), 2)
    assert stack.is_time_series
    assert "time points" in told(section)


def test_a_unit_of_the_layer_is_not_replaced_by_the_file(viewer, section, tmp_path):
    imagej(tmp_path / "a.tif")
    data = tifffile.imread(tmp_path / "a.tif")
    layer = viewer.add_image(data, scale=(30, 8, 8), units=("nm",) * 3)
    assert tuple(layer.scale) == (30, 8, 8)
    assert [field(section, axis).value() for axis in "zyx"] == pytest.approx([30, 8, 8])


def test_a_transform_that_stretches_pixels_counts(viewer, section, qtbot):
    turned = np.array([[0.0, -2.0], [2.0, 0.0]])
    affine = np.eye(4)
    affine[1:3, 1:3] = turned
    layer = viewer.add_image(PIXELS, scale=(50, 4, 4), units=("nm",) * 3, affine=affine)
    section.set_layer(layer)
    assert size_of(layer) == pytest.approx((0.05, 0.008, 0.008))
    enter(qtbot, section, "x", "10")
    assert size_of(layer)[2] == pytest.approx(0.01)


def test_what_is_not_known_is_asked_for_and_pixels_are_square(viewer, section, qtbot):
    layer = viewer.add_image(PIXELS)
    assert field(section, "z").text() == "z ?"
    assert "Enter the size of a voxel" in told(section)
    enter(qtbot, section, "y", "8")
    assert size_of(layer) == pytest.approx((None, 0.008, 0.008))
    assert "Enter the distance of the slices (z), for volumes" in told(section)
    enter(qtbot, section, "z", "40")
    enter(qtbot, section, "x", "10")
    assert size_of(layer) == pytest.approx((0.04, 0.008, 0.01))
    assert "Enter the" not in told(section)
    assert section.stated_voxel_size() == pytest.approx((0.04, 0.008, 0.01))
    enter(qtbot, section, "z", "0")
    assert size_of(layer) == pytest.approx((None, 0.008, 0.01))


def test_a_single_image_has_no_depth_to_be_asked_for(viewer, section, qtbot):
    layer = viewer.add_image(PIXELS[0])
    assert field(section, "z").isHidden()
    enter(qtbot, section, "x", "8")
    assert size_of(layer) == (None, 0.008, 0.008)
    assert "Enter the size of a voxel" not in told(section)


def test_layers_on_the_image_follow_and_the_view_stays(viewer, section, qtbot):
    viewer.add_image(PIXELS, scale=(2, 2, 2))
    mine = viewer.add_labels(np.zeros(PIXELS.shape, np.uint8), scale=(2, 2, 2))
    elsewhere = viewer.add_points(np.zeros((1, 3)))
    viewer.dims.point = (4, 0, 0)
    camera = getattr(viewer, "scene", viewer).camera
    camera.center, camera.zoom = (0, 20, 30), 4.0
    enter(qtbot, section, "x", "8")
    enter(qtbot, section, "z", "40")
    assert tuple(mine.scale) == pytest.approx((0.04, 0.008, 0.008))
    assert tuple(elsewhere.scale) == (1, 1, 1)
    assert viewer.dims.point[0] == pytest.approx(2 * 0.04)  # slice 2
    assert camera.center[1:] == pytest.approx((10 * 0.008, 15 * 0.008))
    assert camera.zoom * 0.008 == pytest.approx(4.0 * 2)


def test_images_get_no_size_of_another_file_without_a_word(viewer, section, qtbot, tmp_path):
    imagej(tmp_path / "sized.tif")
    metadata = {"axes": "ZYX", "spacing": 0.07, "unit": "um"}
    options = {"imagej": True, "resolution": (1 / 0.008,) * 2, "metadata": metadata}
    tifffile.imwrite(tmp_path / "coarse.tif", PIXELS, **options)
    tifffile.imwrite(tmp_path / "smaller.tif", PIXELS[:, 1:], photometric="minisblack")
    tifffile.imwrite(tmp_path / "channel.tif", PIXELS, photometric="minisblack")
    for name in ("smaller", "channel", "coarse", "sized"):
        viewer.open(str(tmp_path / f"{name}.tif"), plugin="napari")
    section.set_layer(viewer.layers["sized"])
    assert "that of" not in told(section)
    for name, size in (
        ("smaller", (None, None, None)),
        ("coarse", (0.07, 0.008, 0.008)),
        ("channel", (0.05, 0.0046, 0.0046)),
    ):
        section.set_layer(viewer.layers[name])
        assert size_of(viewer.layers[name]) == pytest.approx(size)
        assert ("It is that of 'sized'" in told(section)) == (name == "channel")
        assert section.stated_voxel_size() is None
    enter(qtbot, section, "x", "8")
    assert "that of" not in told(section)
    assert section.stated_voxel_size() == pytest.approx((0.05, 0.0046, 0.008))
    assert size_of(viewer.layers["sized"]) == pytest.approx((0.05, 0.0046, 0.0046))


def test_a_single_image_beside_a_stack_in_3d_gets_its_size(viewer, section, qtbot):
    viewer.add_image(PIXELS)
    layer = viewer.add_image(PIXELS[0])
    section.set_layer(layer)
    viewer.dims.ndisplay = 3
    camera = getattr(viewer, "scene", viewer).camera
    camera.center, camera.zoom = (3, 20, 30), 4.0
    enter(qtbot, section, "x", "8")
    assert size_of(layer) == (None, 0.008, 0.008)
    assert camera.center == pytest.approx((3, 20 * 0.008, 30 * 0.008))
    assert camera.zoom * 0.008 == pytest.approx(4.0)


@pytest.fixture
def make_dock(fake_runs, qtbot):
    docks = []

    def make(path):
        viewer = ViewerModel()
        viewer.open(path, plugin="napari")
        docks.append(SpssDock(viewer, is_probing=False))
        qtbot.addWidget(docks[-1])
        return viewer, docks[-1]

    yield make
    for dock in docks:
        dock.shut_down()


def test_results_and_saved_numbers_follow(make_dock, qtbot, tmp_path):
    path = tmp_path / "plain.tif"
    tifffile.imwrite(path, PIXELS, photometric="minisblack")
    viewer, dock = make_dock(path)
    points = (Keypoint(1, 3.0, 4.0, 1),)
    dock.annotate.set_value(
        Annotations(CLASSES, (Proportion(Region(0), (None, 0.1)),), keypoints=points)
    )
    assert dock.start_training()
    wait(dock, qtbot)
    dock.controller.apply("stack")
    wait(dock, qtbot)
    find = button(dock.results.objects, "Find objects")
    find.click()
    qtbot.waitUntil(lambda: dock.controller.outcome.objects is not None, timeout=60_000)
    wait(dock, qtbot)
    assert "size of a voxel, have changed" not in told(dock.results.objects)
    enter(qtbot, dock.image, "x", "5")
    enter(qtbot, dock.image, "z", "40")
    assert "size of a voxel, have changed" in told(dock.results.objects)
    assert {layer.name for layer in viewer.layers} > {"plain labels", "keypoints"}
    for layer in viewer.layers:
        size = (layer.scale * [(1 * unit).to("um").magnitude for unit in layer.units])[-2:]
        assert tuple(size) == pytest.approx((0.005, 0.005)), layer.name
    assert dock.annotations().keypoints == points
    assert dock.controller.save(tmp_path / "saved", has_run=False)
    wait(dock, qtbot)
    objects = pd.read_csv(tmp_path / "saved" / "fractions_objects.csv")
    voxels = objects["voxels"].to_numpy()
    assert len(voxels)
    assert objects["volume_um3"].to_numpy() == pytest.approx(voxels * 0.04 * 0.005**2)


def test_what_was_stated_is_kept_with_the_project(make_dock, qtbot, tmp_path):
    path = tmp_path / "wrong.tif"
    imagej(path)
    _, dock = make_dock(path)
    enter(qtbot, dock.image, "z", "60")
    assert "the image came with 50 nm x 4.6 nm x 4.6 nm" in told(dock.image)
    folder = dock.project.folder
    dock.shut_down()
    assert json.loads((folder / "project.json").read_text())["settings"]["voxel_size_um"]
    viewer, again = make_dock(path)
    assert size_of(viewer.layers[0]) == pytest.approx((0.06, 0.0046, 0.0046), rel=1e-4)
    assert again.source.stack.voxel_size_um == pytest.approx((0.06, 0.0046, 0.0046), rel=1e-4)
    assert "the image came with 50 nm" in told(again.image)
    assert button(again, "Train") is not None


def test_a_damaged_size_in_a_project_is_told_and_left_out(make_dock, qtbot, tmp_path):
    path = tmp_path / "image.tif"
    imagej(path)
    _, dock = make_dock(path)
    enter(qtbot, dock.image, "z", "60")
    folder = dock.project.folder
    dock.shut_down()
    record = json.loads((folder / "project.json").read_text())
    record["settings"]["voxel_size_um"] = [1, "x", -3]
    (folder / "project.json").write_text(json.dumps(record))
    viewer, again = make_dock(path)
    assert size_of(viewer.layers[0]) == pytest.approx((0.05, 0.0046, 0.0046), rel=1e-4)
    assert any("voxel size" in text for _, text in again.session.messages)


def test_no_digit_is_cut_off_where_the_font_is_large(qtbot):
    """0.13 of which 0.1 is seen is another size."""
    field = VoxelSizeField()
    qtbot.addWidget(field)
    field.set_value((0.05, 0.13, 0.13), has_depth=True)
    boxes = field.findChildren(QDoubleSpinBox)
    for box in boxes:  # as napari's style does
        box.setFont(QFont(box.font().family(), 24))
    widths = [box.fontMetrics().horizontalAdvance(box.text()) for box in boxes]
    qtbot.waitUntil(
        lambda: all(box.minimumWidth() >= width for box, width in zip(boxes, widths, strict=True))
    )
