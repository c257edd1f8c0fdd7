"""Take pictures of the dock at each step of the work, in the real viewer.

    python docs/scripts/screenshots.py pictures [--steps 150] [--sample axons]

Goes the whole way: open, plan, count, train, look again, correct, apply, count to check, proofread,
table, figure, save, open again, compare runs, many images. Every step is taken as the whole window,
and as the dock alone at its least width, large in the light theme and small in the dark one. With
``--docs`` the pictures of the documentation are written as well, of the small one, with few colours
so that they stay small. Needs a display; without one, run it under Xvfb:

    xvfb-run -a -s "-screen 0 1600x1000x24" python docs/scripts/screenshots.py pictures
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile
from PIL import Image
from qtpy.QtWidgets import QFileDialog
from stage import SAMPLES, Counter, Expert, Stage, palette_of, untouched_settings

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_spss.gui.widgets.annotate.grid import GridTool

# theme -> size of the window; the last one is that in which everything is done
VIEWS = {"light": (1600, 1000), "dark": (1366, 768)}
N_COLOURS = 64
# step -> whether the documentation shows the whole window or the dock alone
DOCUMENTED = {
    "image": "dock",
    "fractions": "dock",
    "grid": "window",
    "frames": "window",
    "points": "dock",
    "training": "window",
    "results": "dock",
    "correction": "window",
    "proofread": "window",
}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="folder for all pictures")
    parser.add_argument("--docs", type=Path, help="folder for those of the documentation")
    parser.add_argument("--steps", type=int, default=150, help="steps of the training")
    parser.add_argument("--sample", default="synthetic", choices=SAMPLES)
    return parser.parse_args()


class Album:
    """Photographs the stage, and files the pictures."""

    def __init__(self, out: Path, docs: Path | None) -> None:
        self._out = out
        self._docs = docs
        self._n_steps = 0

    def shoot(self, stage: Stage, name: str, part: QWidget | None = None) -> None:
        """Take the pictures of a step, with a part of the dock in sight."""
        for theme, size in VIEWS.items():
            stage.set_view(theme, size)
            if part is not None:
                stage.dock._scroll.ensureWidgetVisible(part)
            pictures = {"window": stage.picture(), "dock": stage.picture(stage.dock)}
            for view, picture in pictures.items():
                folder = self._out / f"{theme}_{view}"
                folder.mkdir(parents=True, exist_ok=True)
                picture.save(folder / f"{self._n_steps:02}_{name}.png")
        if self._docs is not None and name in DOCUMENTED:
            self._docs.mkdir(parents=True, exist_ok=True)
            view = DOCUMENTED[name]
            whole = pictures[view]
            height = stage.dock_height() if view == "dock" else whole.height
            shown = whole.crop((0, 0, whole.width, height))
            palette = palette_of([shown], N_COLOURS)
            small = shown.quantize(palette=palette, dither=Image.Dither.NONE)
            small.save(self._docs / f"dock_{name}.png", optimize=True)
        self._n_steps += 1


def annotate(stage: Stage, album: Album, sample: str, expert: Expert) -> None:
    """Open an image, state fractions, count a grid, add points."""
    dock = stage.dock
    album.shoot(stage, "empty")
    said = stage.open_sample(sample)
    counted = said.grids[0]
    stage.show_layers()
    stage.show_only("Image & classes")
    album.shoot(stage, "image")

    stage.show_only("Annotate")
    stage.go_to(said.proportions[-1].region.slice)
    album.shoot(stage, "fractions")
    model = dock.annotate.fractions.view.model()
    last = model.rowCount() - 1
    before = [model.index(row, 0).data() for row in (last - 1, last)]
    model.setData(model.index(last - 1, 0), "0.06")
    model.setData(model.index(last, 0), "sixty")
    album.shoot(stage, "fractions_asked")
    for row, text in zip((last - 1, last), before, strict=True):
        model.setData(model.index(row, 0), text or "")

    counter = Counter(stage, counted, expert.classes_of(counted))
    stage.show_layers("counting grid")
    stage.go_to(counted.slice)
    dock.annotate.show_tab(1)
    stage.press(dock.annotate.grid, "Propose")
    album.shoot(stage, "plan")
    dock.annotate.grid._view.activate()
    counter.click(12)
    album.shoot(stage, "grid")
    counter.click()
    dock.annotate.grid._buttons._goes_on.setChecked(False)
    dock.annotate.grid.finish()
    album.shoot(stage, "grid_done")
    count_frames(stage, album, expert)

    stage.go_to(said.keypoints[0].slice)
    stage.show_layers("keypoints")
    dock.annotate.show_tab(2)
    dock.annotate.keypoints.start_adding()
    album.shoot(stage, "points")
    dock.annotate.show_tab(3)
    album.shoot(stage, "painted")
    dock.annotate.show_tab(0)


def count_frames(stage: Stage, album: Album, expert: Expert) -> None:
    """Count some frames, and take all of them away again."""
    tool = stage.dock.annotate.grid
    before = tool.value()
    tool._form.set_framing(True)
    tool._buttons._goes_on.setChecked(True)
    stage.show_layers("counting")
    judge(stage.dock.annotate.grid, expert, (0, 0, 0, 2))
    album.shoot(stage, "frames")
    tool.set_value(before)
    stage.viewer.reset_view()


def judge(tool: GridTool, expert: Expert, left: Sequence[int]) -> None:
    """Lay frames and count the first ones; so many hits are left out, and the last one is open."""
    tool.rng = np.random.default_rng(7)
    tool.lay_grid()
    for place, n_left in enumerate(left, start=1):
        frame = next(grid for grid in tool.value() if grid.region == tool._current_frame)
        hits = np.flatnonzero(expert.classes_of(frame) == 1)
        if hits.size > n_left:
            tool._on_stroke(hits[: hits.size - n_left], True)
        if place < len(left):
            tool.finish()


def train_and_correct(stage: Stage, album: Album, steps: int, expert: Expert) -> None:
    """Train, look again, correct while it goes on, apply."""
    dock, viewer = stage.dock, stage.viewer
    stage.show_layers()
    stage.show_only("Annotate", "Train")
    album.shoot(stage, "before_training")
    stage.train(steps)
    stage.wait_for_step(round(0.75 * steps))
    album.shoot(stage, "training")
    stage.wait_for_the_end()
    album.shoot(stage, "trained")

    z = dock.controller.current_slice()
    stage.press(dock.results, "at ")
    stage.wait_for_the_end()
    album.shoot(stage, "second_look")
    stage.press(dock.annotate.second_look, "End")
    stage.go_to(z)
    viewer.reset_view()

    dock.annotate.show_tab(2)
    dock.annotate.keypoints.start_adding()
    stage.show_layers("keypoints", "labels")
    stage.train(steps // 3, continues=True)
    stage.press(dock.sections["Annotate"], "2  Annotate")
    stage.wait_for_step(steps + steps // 9)
    image, points = viewer.layers[0], dock.annotate.keypoints
    shown = next(one for one in viewer.layers if one.name.endswith("preview labels")).data[0]
    true_class, y, x = expert.worst(z, shown)
    points._points.set_active_class(true_class)
    points.layer.add(points.layer.world_to_data(image.data_to_world(np.array([z, y, x]))))
    album.shoot(stage, "correction")
    stage.wait_for_the_end()

    stage.show_layers("labels")
    dock.results.set_scope("stack")
    stage.press(dock.results, "Apply")
    stage.wait_for_the_end()
    album.shoot(stage, "results")
    stage.show_only("Annotate", "Results")
    dock.annotate.show_tab(0)
    album.shoot(stage, "results_and_fractions")


def check(stage: Stage, album: Album, expert: Expert) -> None:
    """Count frames of which nothing learns, look at what contradicts the labels, and estimate."""
    dock = stage.dock
    tool, view = dock.annotate.check, dock.results.estimates
    stage.show_only("Annotate")
    dock.annotate.show_tab(4)
    judge(tool, expert, (0, 0, 1, 0, 0, 0, 0, 0, 0))
    album.shoot(stage, "check")
    stage.show_only("Results")
    if n_looks := len(dock.controller.check.contradicted()):
        stage.press(view, "Look at")
        album.shoot(stage, "check_look")
        for _ in range(n_looks):
            stage.press(dock.annotate.check_look, "Keep")
        dock.annotate.show_tab(0)
    stage.show_only("Results")
    stage.press(view, "Estimate")
    stage.wait_until(lambda: not dock.controller.check.is_estimating)
    album.shoot(stage, "estimated", view)
    album.shoot(stage, "figure", dock.plots)


def proofread(stage: Stage, album: Album) -> None:
    """Find objects, and go to the one that is most worth a look."""
    objects = stage.dock.results.objects
    stage.show_only("Results")
    objects._min_size.setText("500")
    objects._split.setChecked(True)
    objects._find.click()
    stage.wait_for_the_end()
    stage.dock.results._objects_header.open()
    objects.proofread.act_wanted.emit("next")
    album.shoot(stage, "proofread", objects.proofread)
    album.shoot(stage, "table", objects._save)
    objects.proofread.act_wanted.emit("delete")  # else they are not kept with the project


def save(stage: Stage, album: Album, folder: Path) -> None:
    """Save everything."""
    dock = stage.dock
    stage.press(dock.results, "Save everything")
    album.shoot(stage, "save", dock.results._place)
    dock.controller.save(folder / "mitochondria", has_run=True)
    dock.results.stop_asking()
    stage.wait_for_the_end()
    album.shoot(stage, "saved")


def go_on(stage: Stage, album: Album, sample: str, folder: Path) -> None:
    """Find all again, compare both runs, and apply the model to other images."""
    dock, session = stage.dock, stage.dock.session
    stage.open_sample(sample)
    stage.wait_until(lambda: session.model is not None and dock.controller.outcome.objects)
    stage.wait_for_the_end()
    album.shoot(stage, "reopened")
    stage.show_only("Train")
    runs = dock.train.runs
    runs._table.selectRow(1)
    stage.press(runs, "Compare")
    stage.wait_for_the_end()
    album.shoot(stage, "compared", runs)

    data = stage.viewer.layers[0].data
    for name in ("control_1", "control_2", "treated_1"):
        (folder / "study").mkdir(exist_ok=True)
        z = 2 * len(list((folder / "study").iterdir()))
        tifffile.imwrite(
            folder / "study" / f"{name}.tif", np.asarray(data[z : z + 2]), photometric="minisblack"
        )
    stage.show_only("Results")
    many = dock.results.many
    dock.results._objects_header.close_up()
    dock.results._many_header.open()
    QFileDialog.getExistingDirectory = lambda *_, **__: str(folder / "study")
    stage.press(many, "Add folder")
    album.shoot(stage, "many_listed", many)
    stage.press(many, "Apply to all")
    stage.wait_for_the_end()
    album.shoot(stage, "many", many)


def main() -> None:
    arguments = parse()
    album = Album(arguments.out, arguments.docs)
    with untouched_settings() as folder:
        stage = Stage(VIEWS["dark"])
        expert = Expert(arguments.sample)
        annotate(stage, album, arguments.sample, expert)
        train_and_correct(stage, album, arguments.steps, expert)
        check(stage, album, expert)
        proofread(stage, album)
        save(stage, album, folder)
        stage.close()
        stage = Stage(VIEWS["dark"])
        go_on(stage, album, arguments.sample, folder)
        stage.close()


if __name__ == "__main__":
    main()
