"""Take pictures of the dock at each step, on the synthetic sample.

    python docs/scripts/screenshots.py [--out docs/images] [--minutes 1]

Needs a display; without one, run it under Xvfb:

    xvfb-run -s "-screen 0 1600x1100x24" python docs/scripts/screenshots.py
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

SIZE = (1440, 960)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--minutes", type=float, default=1.0, help="time of the training")
    parser.add_argument("--theme", default="dark", choices=["dark", "light"])
    parser.add_argument("--sample", default="synthetic", choices=["synthetic", "axons"])
    return parser.parse_args()


class Stage:
    """A viewer with the dock, and a camera."""

    def __init__(self, out: Path, theme: str, sample: str) -> None:
        import napari
        from napari.settings import get_settings
        from qtpy.QtWidgets import QApplication

        from napari_spss import sample_data
        from napari_spss.gui.dock import SpssDock

        get_settings().appearance.theme = theme
        self._out = out
        self._process_events = QApplication.processEvents
        self.viewer = napari.Viewer(show=True)
        self.viewer.window.resize(*SIZE)
        self.dock = SpssDock(self.viewer)
        self.viewer.window.add_dock_widget(self.dock, area="right", name="Semantic Proportions")
        self.shoot("0_empty")
        opener = sample_data.open_synthetic if sample == "synthetic" else sample_data.open_axons
        for data, arguments, kind in opener():
            getattr(self.viewer, f"add_{kind}")(data, **arguments)
        self.viewer.reset_view()
        self.wait(2.0)

    def wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._process_events()
            time.sleep(0.01)

    def wait_until(self, is_true: Callable[[], bool], limit_s: float = 900.0) -> None:
        end = time.monotonic() + limit_s
        while not is_true() and time.monotonic() < end:
            self.wait(0.05)

    def show_only(self, *names: str) -> None:
        for name, section in self.dock.sections.items():
            (section.open if name in names else section.close_up)()

    def shoot(self, name: str) -> None:
        self.wait(0.5)
        self._out.mkdir(parents=True, exist_ok=True)
        self.viewer.window._qt_window.grab().save(str(self._out / f"{name}.png"))

    @property
    def is_idle(self) -> bool:
        outcome = self.dock.desk.outcome
        return not self.dock.session.status.is_busy and outcome.is_up_to_date


def take_pictures(stage: Stage, minutes: float) -> None:
    viewer, dock = stage.viewer, stage.dock
    stage.show_only("Image & classes", "Annotate")
    stage.shoot("1_fractions")
    counted = dock.annotate.grid.value()[0].slice
    dock.annotate.slice_wanted.emit(counted)
    dock.annotate.show_tab(1)
    dock.annotate.grid.lay_grid()
    stage.shoot("2_counting_grid")
    pointed = dock.annotate.keypoints.value()[0].slice
    dock.annotate.slice_wanted.emit(pointed)
    dock.annotate.show_tab(2)
    dock.annotate.keypoints.start_adding()
    stage.shoot("3_points")
    for layer in viewer.layers[1:]:
        layer.visible = False
    stage.show_only("Train")
    dock.train._minutes.setValue(minutes)
    dock.start_training()
    stage.wait_until(lambda: stage.is_idle or (dock.session.status.fraction or 0) > 0.7)
    stage.shoot("4_training")
    stage.wait_until(lambda: stage.is_idle)
    stage.show_only("Results")
    dock.desk.apply("stack")
    stage.wait_until(lambda: stage.is_idle)
    stage.shoot("5_results")
    viewer.layers.selection.active = viewer.layers[0]
    stage.show_only("Annotate", "Results")
    dock.annotate.show_tab(0)
    stage.shoot("6_fractions_and_results")


def main() -> None:
    arguments = parse()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        # neither the user's settings nor the user's projects are touched
        os.environ["NAPARI_CONFIG"] = str(Path(folder) / "settings.yaml")
        os.environ["XDG_DATA_HOME"] = folder
        stage = Stage(arguments.out, arguments.theme, arguments.sample)
        take_pictures(stage, arguments.minutes)
        stage.dock.shut_down()
        stage.viewer.close()


if __name__ == "__main__":
    main()
