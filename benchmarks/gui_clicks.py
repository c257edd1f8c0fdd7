"""How long a click takes beside 20,000 keypoints: in napari alone, and with the dock.

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/gui_clicks.py

Each click adds a point to a Points layer as napari does for the mouse, and lets the window do all
that follows. The clicks of both kinds take turns in one process, and their ratio is what counts.
Results are stored in ``benchmarks/results/gui``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from gui_stalls import open_dock, open_viewer, spin, surroundings

RESULT = Path(__file__).parent / "results" / "gui" / "clicks.json"


def click(viewer, layer, place: tuple[float, float, float]) -> float:
    """Click on a place with a layer in add mode; return the seconds that it took."""
    from qtpy.QtWidgets import QApplication

    viewer.layers.selection.active = layer
    layer.mode = "add"
    spin(0.1)
    began = time.perf_counter()
    layer.add(np.array([place]))
    QApplication.processEvents()
    return time.perf_counter() - began


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=20_000)
    parser.add_argument("--clicks", type=int, default=15, help="of each kind")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as home:
        os.environ["XDG_DATA_HOME"] = home
        viewer, sample = open_viewer(n_slices=8, size=512)
        dock, _ = open_dock(viewer, sample)
        from napari_spss.core.annotations import Keypoint

        pixels = rng.permutation(8 * 512 * 512)[: options.points]
        places = np.stack(np.unravel_index(pixels, (8, 512, 512)), axis=1)
        dock.annotate.keypoints.set_value(Keypoint(*place, 1) for place in places.tolist())
        alone = viewer.add_points(
            places.astype(float),
            features={"class": ["mitochondria"] * len(places)},
            size=7,
            scale=sample.stack.voxel_size_um,
        )
        dock.annotate.show_tab(2)
        spin(2.0)
        seconds: dict[str, list[float]] = {"napari": [], "dock": []}
        for turn in range(options.clicks + 1):
            place = (turn % 8, 20.5 + turn, 30.5)
            seconds["napari"].append(click(viewer, alone, place))
            seconds["dock"].append(click(viewer, dock.annotate.keypoints.layer, place))
        record = surroundings()
        dock.shut_down()
        viewer.close()
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    ratio = medians["dock"] / medians["napari"]
    print(", ".join(f"{name} {1000 * value:.0f} ms" for name, value in medians.items()))
    print(f"dock to napari alone: {ratio:.2f}")
    record |= {
        "points": options.points,
        "median_ms": {name: round(1000 * value) for name, value in medians.items()},
        "ratio": round(ratio, 2),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
