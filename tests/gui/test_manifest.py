"""The manifest: valid, and every entry opens what it promises."""

from __future__ import annotations

import numpy as np
import pytest
from napari._app_model import get_app_model
from npe2 import PluginManager, PluginManifest

import napari_spss
from napari_spss.gui.dock import SpssDock
from napari_spss.gui.models import read_preferences
from napari_spss.gui.models.preferences import Preferences
from napari_spss.gui.widgets import LayerCombo

DOCK = "napari-spss.open_dock"


@pytest.fixture
def manifest():
    from importlib.resources import files

    return PluginManifest.from_file(str(files(napari_spss) / "napari.yaml"))


def test_manifest_is_valid_and_its_commands_import(manifest):
    manifest.validate_imports()
    assert manifest.display_name == "Semantic Proportions"
    titles = [command.title for command in manifest.contributions.commands]
    assert len(set(titles)) == len(titles)
    assert any("SPSS" in title for title in titles)


MENUS = {
    "napari/layers/segment": DOCK,
    "napari/layers/annotate": DOCK,
    "napari/layers/measure": "napari-spss.measure_labels",
    "napari/file/io_utilities": "napari-spss.take_voxel_size",
}


def test_every_menu_offers_what_belongs_there(manifest):
    found = manifest.contributions.menus
    assert {menu: [item.command for item in items] for menu, items in found.items()} == {
        menu: [command] for menu, command in MENUS.items()
    }


def test_icon_is_shipped(manifest):
    from importlib.resources import files

    package, _, resource = manifest.icon.partition(":")
    assert (files(package) / resource).read_text().startswith("<svg")


@pytest.fixture
def viewer(make_napari_viewer):
    viewer = make_napari_viewer()
    if "napari-spss" not in PluginManager.instance():
        pytest.skip("the package is not installed")
    return viewer


def docks(viewer):
    return [w for w in viewer.window._wrapped_dock_widgets.values() if _inner(w) is not None]


def _inner(dock_widget):
    found = dock_widget.findChildren(SpssDock)
    return found[0] if found else None


def test_napari_has_these_menus_and_they_open_the_dock(viewer):
    app = get_app_model()
    for menu, command in (MENUS | {"napari/plugins": DOCK}).items():
        items = [one for one in app.menus.get_menu(menu) if hasattr(one, "command")]
        assert command in [item.command.id for item in items], menu
    app.commands.execute_command(DOCK).result()
    (opened,) = docks(viewer)
    _inner(opened).shut_down()


@pytest.mark.parametrize(("key", "n_classes"), [("synthetic", 2), ("axons", 3)])
def test_each_sample_opens_with_its_annotations(viewer, key, n_classes, qtbot):
    dock = SpssDock(viewer, is_probing=False)
    viewer.window.add_dock_widget(dock)
    viewer.open_sample("napari-spss", key)
    assert viewer.layers[0].ndim == 3
    assert len(dock.classes.value()) == n_classes
    annotations = dock.annotations()
    assert not annotations.is_empty
    assert annotations.proportions
    assert annotations.keypoints
    assert dock.image.value().object_diameter_px
    qtbot.waitUntil(lambda: [layer.name for layer in viewer.layers][1:] == ["keypoints"])
    assert dock.annotate.keypoints.layer is viewer.layers["keypoints"]
    dock.shut_down()


def test_preferences_come_from_naparis_settings(request, npe2pm, manifest):
    settings = pytest.importorskip("napari.settings")
    if not hasattr(settings, "get_plugin_settings"):
        pytest.skip("napari before 0.9 has no settings for plugins")
    request.getfixturevalue("plugin_settings")
    npe2pm.register(manifest)
    get_plugin_settings = settings.get_plugin_settings
    assert read_preferences() == Preferences()
    get_plugin_settings("napari-spss").training.minutes = 7.5
    assert read_preferences().minutes == 7.5


def test_preferences_are_defaults_where_napari_has_none(monkeypatch):
    import napari.settings

    monkeypatch.delattr(napari.settings, "get_plugin_settings", raising=False)
    assert read_preferences() == Preferences()


def test_opening_the_dock_does_not_import_torch():
    import subprocess
    import sys

    code = "import napari_spss.gui.dock, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "False", done.stderr


def test_what_the_core_reads_is_offered_to_napari_unless_napari_opens_it(npe2pm, manifest):
    from napari_spss.core.images import known_readers

    napari = PluginManifest.from_distribution("napari")
    own, theirs = (
        {pattern for reader in one.contributions.readers for pattern in reader.filename_patterns}
        for one in (manifest, napari)
    )
    read = {f"*{suffix}" for reader in known_readers() for suffix in reader.suffixes}
    assert own == read - theirs


def test_reader_opens_mrc_lazily(tmp_path):
    import mrcfile

    from napari_spss.gui.reader import get_reader

    path = tmp_path / "tomogram.rec"
    data = np.arange(3 * 20 * 30, dtype=np.int16).reshape(3, 20, 30)
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(data)
        file.voxel_size = (40.0, 40.0, 80.0)  # angstroms, (x, y, z)
    reader = get_reader(str(path))
    ((layer, arguments, kind),) = reader(str(path))
    assert kind == "image"
    np.testing.assert_array_equal(np.asarray(layer), data)
    assert arguments["scale"] == pytest.approx((0.008, 0.004, 0.004))
    assert arguments["units"] == ("um",) * 3
    for suffix in (".mrc", ".MRC", ".st", ".ali", ".map"):
        assert get_reader(f"tomogram{suffix}") is not None
    assert get_reader([str(path), "stack.tif"]) is None
    assert get_reader("stack.tif") is None


def test_the_menu_opens_what_measures_labels(viewer):
    viewer.add_labels(np.ones((2, 20, 30), np.uint8))
    get_app_model().commands.execute_command("napari-spss.measure_labels").result()
    (opened,) = [w for w in viewer.window._wrapped_dock_widgets.values() if "Measure" in w.name]
    assert opened.inner_widget().findChildren(LayerCombo)[0].layer() is viewer.layers[0]
