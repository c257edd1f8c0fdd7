"""A viewer with the dock that acts by script, and a camera for it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    from napari_spss.core.annotations import Annotations, CountingGrid

SAMPLES = ("synthetic", "axons")
PATIENCE_S = 3600.0


@contextmanager
def untouched_settings() -> Iterator[Path]:
    """Keep the user's settings and projects out of it; yield a folder that goes away."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ["NAPARI_CONFIG"] = str(Path(folder) / "settings.yaml")
        os.environ["XDG_DATA_HOME"] = folder
        yield Path(folder)


class Stage:
    """A viewer with the dock, that waits, acts and is photographed."""

    def __init__(self, size: tuple[int, int]) -> None:
        import napari
        from qtpy.QtWidgets import QApplication

        from napari_spss.gui.dock import SpssDock

        self._process_events = QApplication.processEvents
        self.set_theme("dark")
        self.viewer = napari.Viewer(show=True)
        self.window = self.viewer.window._qt_window
        self.dock = SpssDock(self.viewer)
        frame = self.viewer.window.add_dock_widget(
            self.dock, area="right", name="Semantic Proportions"
        )
        self.window.resize(*size)
        self.wait(0.5)
        self.window.resizeDocks([frame], [self.dock.minimumWidth()], _horizontal())
        self.wait(0.5)

    def set_theme(self, theme: str) -> None:
        """Wear another of napari's themes."""
        from napari.settings import get_settings

        get_settings().appearance.theme = theme

    def set_view(self, theme: str, size: tuple[int, int]) -> None:
        """Wear a theme in a window of another size, in which the same part of the image is seen."""
        canvas = self.viewer.window._qt_viewer.canvas
        before = min(canvas.size)
        self.set_theme(theme)
        self.window.resize(*size)
        self.wait(0.6)
        self.viewer.scene.camera.zoom *= min(canvas.size) / before
        self.wait(0.3)

    def open_sample(self, sample: str) -> Annotations:
        """Open a sample; return the annotations that it comes with."""
        from napari_spss import sample_data

        opener = sample_data.open_synthetic if sample == "synthetic" else sample_data.open_axons
        for data, arguments, kind in opener():
            getattr(self.viewer, f"add_{kind}")(data, **arguments)
        self.wait(1.0)
        self.viewer.reset_view()
        return self.dock.annotations()

    def wait(self, seconds: float) -> None:
        """Let the viewer live for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._process_events()
            time.sleep(0.01)

    def wait_until(self, is_true: Callable[[], bool]) -> None:
        """Let the viewer live until something is so.

        Raises
        ------
        TimeoutError
            If it never is.
        """
        end = time.monotonic() + PATIENCE_S
        while not is_true():
            if time.monotonic() > end:
                raise TimeoutError("the viewer did not get where the script waits for it")
            self.wait(0.05)

    def wait_for_step(self, step: int) -> None:
        """Let the viewer live until a training has come as far, or has ended."""
        session = self.dock.session
        self.wait_until(lambda: session.curves.last_step >= step or not session.status.is_busy)

    def wait_for_the_end(self) -> None:
        """Let the viewer live until the run has ended and all labels are drawn."""
        session, outcome = self.dock.session, self.dock.controller.outcome
        self.wait_until(lambda: not session.status.is_busy and outcome.is_up_to_date)

    def train(self, steps: int, *, continues: bool = False) -> None:
        """Start a training of so many steps, however fast this computer is."""
        from napari_spss.gui.models import RunForm

        overrides = {"optimisation.max_steps": steps}
        self.dock.train.set_value(RunForm(overrides=overrides))
        self.dock.start_training(continues=continues)
        self.dock.train.set_value(RunForm())  # what a user would see

    def dock_height(self) -> int:
        """How far down the dock's sections reach, in pixels."""
        last = list(self.dock.sections.values())[-1]
        return min(self.dock.height(), last.mapTo(self.dock, last.rect().bottomLeft()).y() + 8)

    def show_only(self, *names: str) -> None:
        """Open these sections and fold the others."""
        for name, section in self.dock.sections.items():
            (section.open if name in names else section.close_up)()

    def press(self, part: Any, start: str) -> None:
        """Press the button of a part of the dock, of which the start is known."""
        from qtpy.QtWidgets import QAbstractButton

        buttons = part.findChildren(QAbstractButton)
        next(one for one in buttons if one.text().startswith(start) and one.isEnabled()).click()

    def go_to(self, z: int) -> None:
        """Move the slider to a slice."""
        self.dock.annotate.slice_wanted.emit(z)

    def show_layers(self, *words: str) -> None:
        """Show the image and those layers that have one of these words in their names."""
        for layer in self.viewer.layers[1:]:
            layer.visible = any(word in layer.name for word in words)

    def picture(self, widget: Any = None) -> Image:
        """Photograph the window, or a widget."""
        from PIL import Image

        self.wait(0.1)
        shot = (widget or self.window).grab().toImage()
        shot = shot.convertToFormat(shot.Format.Format_RGB888)
        buffer = shot.constBits()
        if hasattr(buffer, "setsize"):
            buffer.setsize(shot.sizeInBytes())
        rows = np.frombuffer(buffer, np.uint8).reshape(shot.height(), shot.bytesPerLine())
        pixels = rows[:, : 3 * shot.width()].reshape(shot.height(), shot.width(), 3)
        return Image.fromarray(pixels.copy())

    def close(self) -> None:
        """End everything."""
        self.dock.shut_down()
        self.viewer.close()


def palette_of(pictures: list[Image], n_colours: int) -> Image:
    """Choose colours that pictures have, and those of classes and curves, which are few pixels."""
    from PIL import Image, ImageColor

    from napari_spss.gui.widgets.plots import _COLOURS

    pixels = np.concatenate([np.asarray(picture).reshape(-1, 3) for picture in pictures])
    colours, counts = np.unique(pixels // 8, axis=0, return_counts=True)
    # by the root of their number: else grey values take all places but one of the labels'
    strip = np.repeat(colours, np.ceil(np.sqrt(counts)).astype(int), axis=0)
    strip = (strip * 255.0 / 31).astype(np.uint8)[np.newaxis]
    chosen = Image.fromarray(strip).quantize(n_colours, method=Image.Quantize.MEDIANCUT)
    thin = [value for colour in _COLOURS for value in ImageColor.getrgb(colour)]
    palette = Image.new("P", (1, 1))
    palette.putpalette((chosen.getpalette() or [])[: 3 * n_colours] + thin)
    return palette


class Expert:
    """Knows the truth of the synthetic sample; of another, what its annotations say."""

    def __init__(self, sample: str) -> None:
        from napari_spss.core.simulation import synthetic_sample

        self._truth = synthetic_sample().truth if sample == "synthetic" else None

    def classes_of(self, grid: CountingGrid) -> NDArray[np.int16]:
        """Class of each node of a grid."""
        if self._truth is None:
            return np.asarray(grid.class_index)
        labels = self._truth.read(grid.slice)
        rows, columns = (
            np.minimum(np.rint(axis).astype(int), size - 1)
            for axis, size in zip((grid.y, grid.x), labels.shape, strict=True)
        )
        return labels[rows, columns].astype(np.int16)

    def worst(self, z: int, shown: NDArray[np.integer]) -> tuple[int, float, float]:
        """Find the middle of the largest error in labels of a slice: true class, y, x."""
        from scipy.ndimage import distance_transform_edt

        if self._truth is None:
            return 0, shown.shape[0] / 2, shown.shape[1] / 2
        truth = self._truth.read(z)
        rows, columns = (
            (np.arange(n) * m / n).astype(int)
            for n, m in zip(truth.shape, shown.shape, strict=True)
        )
        depth = distance_transform_edt(shown[np.ix_(rows, columns)] != truth)
        y, x = np.unravel_index(np.argmax(depth), depth.shape)
        return int(truth[y, x]), float(y), float(x)


class Counter:
    """Counts a grid again, node by node."""

    def __init__(self, stage: Stage, counted: CountingGrid, classes: NDArray[np.int16]) -> None:
        from napari_spss.gui.models import UNTOUCHED

        self._tool = stage.dock.annotate.grid
        self.slice = counted.slice
        self._hits = [(int(node), int(classes[node])) for node in np.flatnonzero(classes > 0)]
        untouched = np.full_like(counted.class_index, UNTOUCHED)
        fresh = replace(counted, class_index=untouched, is_done=False)
        others = [grid for grid in self._tool.value() if grid.slice != counted.slice]
        self._tool.set_value((*others, fresh))

    def click(self, n_nodes: int | None = None) -> int:
        """Click the next nodes, all of them if no number is given; return how many are left."""
        n_nodes = len(self._hits) if n_nodes is None else n_nodes
        for node, class_index in self._hits[:n_nodes]:
            self._tool._picker.set_value(class_index)
            self._tool._on_stroke(np.array([node]), True)
        self._hits = self._hits[n_nodes:]
        return len(self._hits)


def _horizontal() -> Any:
    from qtpy.QtCore import Qt

    return Qt.Orientation.Horizontal
