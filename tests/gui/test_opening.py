"""The dock opens without what only a run, a curve or a layer of points needs."""

from __future__ import annotations

import os
import subprocess
import sys

OPEN_THE_DOCK = """
import sys
import napari
import numpy as np

viewer = napari.Viewer(show=False)
viewer.add_image(np.zeros((2, 32, 32), np.uint8), name="em")
before = set(sys.modules)
from napari_spss.gui.dock import SpssDock
dock = SpssDock(viewer)
viewer.window.add_dock_widget(dock, name="spss")
print("loaded", *sorted(set(sys.modules) - before))
dock.shut_down()
viewer.close()
"""


def test_opening_loads_no_heavy_package(tmp_path):
    environment = os.environ | {"XDG_DATA_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", OPEN_THE_DOCK],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("loaded ")]
    loaded = set(line.split()[1:])
    assert "napari_spss.gui.dock" in loaded
    heavy = {"torch", "monai", "pandas", "pyqtgraph", "scipy.ndimage", "skimage.measure"}
    heavy |= {"tifffile", "imagecodecs", "zarr", "dask.array"}
    assert not loaded & heavy
