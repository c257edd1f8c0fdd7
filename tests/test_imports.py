"""The package is light to import, and the core stands without napari, Qt and their kin."""

from __future__ import annotations

import subprocess
import sys

import pytest

import napari_spss

BLOCKER = """
import importlib, importlib.abc, pkgutil, sys

class Blocker(importlib.abc.MetaPathFinder):
    blocked = {"napari", "npe2", "qtpy", "magicgui", "superqt", "pyqtgraph", "typer",
               "PyQt5", "PyQt6", "PySide2", "PySide6"}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.blocked:
            raise ModuleNotFoundError(f"blocked: {name}", name=name)
        return None

sys.meta_path.insert(0, Blocker())
"""


def run_python(code: str) -> str:
    """Run code in a fresh interpreter and return what it printed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("module", ["napari_spss", "napari_spss.core.base.settings"])
def test_import_loads_no_heavy_package(module):
    code = f"import {module}, sys; print(*sorted({{m.partition('.')[0] for m in sys.modules}}))"
    loaded = set(run_python(code).split())
    heavy = {"torch", "napari", "qtpy", "PyQt5", "PyQt6", "PySide6", "magicgui", "scipy", "skimage"}
    assert "napari_spss" in loaded
    assert not loaded & heavy


def test_core_imports_without_napari_and_qt():
    listing = run_python(
        BLOCKER
        + """
import napari_spss.core as core
names = [m.name for m in pkgutil.walk_packages(core.__path__, core.__name__ + ".")]
for name in names:
    importlib.import_module(name)
print(*names)
"""
    )
    assert {"napari_spss.core.base.settings", "napari_spss.core.training"} <= set(listing.split())


def test_core_trains_and_predicts_without_napari_and_qt():
    printed = run_python(
        BLOCKER
        + """
import numpy as np
import napari_spss as spss
rng = np.random.default_rng(0)
stack = spss.stack_from_array(rng.integers(0, 255, (2, 32, 32), dtype=np.uint8))
annotations = spss.Annotations(
    classes=("background", "mito"),
    proportions=(spss.Proportion(region=spss.Region(0), fractions=(0.75, 0.25)),),
)
settings = spss.preset("fast").with_overrides(
    {"optimisation.max_steps": 2, "sampling.crop_px": 16, "network.filters": 2}
)
model = spss.fit(stack, annotations, settings, device="cpu")
probs = spss.predict_slice(model, stack, 0, device="cpu")
print(probs.shape, "torch._dynamo" in sys.modules)
"""
    )
    assert printed.strip() == "(2, 32, 32) False", "torch's compiler takes two seconds to import"


@pytest.mark.parametrize("name", napari_spss.__all__)
def test_public_name_resolves(name):
    assert getattr(napari_spss, name) is not None
    assert name in dir(napari_spss)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = napari_spss.no_such_name
