"""Take pictures of the dock at each step of the work, in the real viewer.

    python docs/scripts/screenshots.py pictures [--steps 150] [--sample axons]

Every step is taken as the whole window and as the dock alone at its least width, in the dark and in
the light theme. With ``--docs`` the pictures of the documentation are written as well, with few
colours so that they stay small. Needs a display; without one, run it under Xvfb:

    xvfb-run -a -s "-screen 0 1600x1100x24" python docs/scripts/screenshots.py pictures
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from stage import SAMPLES, Counter, Expert, Stage, palette_of, untouched_settings

SIZE = (1440, 960)
THEMES = ("dark", "light")
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
    """Photographs the stage in all themes, and files the pictures."""

    def __init__(self, stage: Stage, out: Path, docs: Path | None) -> None:
        self._stage = stage
        self._out = out
        self._docs = docs
        self._n_steps = 0

    def shoot(self, name: str) -> None:
        """Take the pictures of a step."""
        stage = self._stage
        for theme in reversed(THEMES):
            stage.set_theme(theme)
            stage.wait(0.6)
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
    album.shoot("empty")
    said = stage.open_sample(sample)
    counted = said.grids[0]
    stage.show_layers()
    stage.show_only("Image & classes")
    album.shoot("image")

    stage.show_only("Annotate")
    stage.go_to(said.proportions[-1].region.slice)
    album.shoot("fractions")
    model = dock.annotate.fractions.view.model()
    last = model.rowCount() - 1
    before = [model.index(row, 0).data() for row in (last - 1, last)]
    model.setData(model.index(last - 1, 0), "0.06")
    model.setData(model.index(last, 0), "sixty")
    album.shoot("fractions_asked")
    for row, text in zip((last - 1, last), before, strict=True):
        model.setData(model.index(row, 0), text or "")

    counter = Counter(stage, counted, expert.classes_of(counted))
    stage.show_layers("counting grid")
    stage.go_to(counted.slice)
    dock.annotate.show_tab(1)
    dock.annotate.grid._layer.activate()
    counter.click(12)
    album.shoot("grid")
    counter.click()
    dock.annotate.grid._goes_on.setChecked(False)
    dock.annotate.grid.finish()
    album.shoot("grid_done")
    count_frames(stage, album, expert)

    stage.go_to(said.keypoints[0].slice)
    stage.show_layers("keypoints")
    dock.annotate.show_tab(2)
    dock.annotate.keypoints.start_adding()
    album.shoot("points")
    dock.annotate.show_tab(3)
    album.shoot("painted")
    dock.annotate.show_tab(0)


def count_frames(stage: Stage, album: Album, expert: Expert) -> None:
    """Count some frames, and take all of them away again."""
    tool = stage.dock.annotate.grid
    before = tool.value()
    tool._rng = np.random.default_rng(7)
    tool._in_frames.click()
    tool._goes_on.setChecked(True)
    stage.show_layers("counting")
    tool.lay_grid()
    for n_left in (0, 0, 0, 2):
        frame = next(grid for grid in tool.value() if grid.region == tool._current_frame)
        hits = np.flatnonzero(expert.classes_of(frame) == 1)
        if hits.size > n_left:
            tool._on_stroke(hits[: hits.size - n_left], True)
        if not n_left:
            tool.finish()
    album.shoot("frames")
    tool.set_value(before)
    stage.viewer.reset_view()


def train_and_correct(stage: Stage, album: Album, steps: int, expert: Expert) -> None:
    """Train, look, correct while it runs, apply, save."""
    dock, viewer = stage.dock, stage.viewer
    session = dock.session
    stage.show_layers()
    stage.show_only("Train")
    album.shoot("before_training")
    stage.train(steps)
    stage.wait_until(lambda: (session.status.fraction or 0) > 0.75 or not session.status.is_busy)
    album.shoot("training")
    stage.wait_for_the_end()
    album.shoot("trained")

    stage.show_only("Annotate", "Train")
    dock.annotate.show_tab(2)
    dock.annotate.keypoints.start_adding()
    stage.show_layers("keypoints", "labels")
    stage.train(steps // 3, continues=True)
    stage.wait_until(lambda: (session.status.fraction or 0) > 0.3 or not session.status.is_busy)
    image, points = viewer.layers[0], dock.annotate.keypoints
    z = dock.controller.current_slice()
    shown = next(one for one in viewer.layers if one.name.endswith("preview labels")).data[0]
    true_class, y, x = expert.worst(z, shown)
    points._points.set_active_class(true_class)
    points.layer.add(points.layer.world_to_data(image.data_to_world(np.array([z, y, x]))))
    album.shoot("correction")
    stage.wait_for_the_end()

    stage.show_only("Results")
    stage.show_layers("labels")
    dock.results.set_scope("stack")
    dock.controller.apply("stack")
    stage.wait_for_the_end()
    album.shoot("results")
    stage.show_only("Annotate", "Results")
    dock.annotate.show_tab(0)
    album.shoot("results_and_fractions")


def proofread(stage: Stage, album: Album) -> None:
    """Find objects, and go to the one that is most worth a look."""
    objects = stage.dock.results.objects
    stage.show_only("Results")
    objects._split.setChecked(True)
    objects._find.click()
    stage.wait_for_the_end()
    stage.dock.results._objects_header.open()
    stage.dock._scroll_to(objects)
    objects.proofread.act_wanted.emit("next")
    album.shoot("proofread")


def save(stage: Stage, album: Album, folder: Path) -> None:
    """Save everything."""
    stage.show_only("Results")
    stage.dock.controller.save(folder / "mitochondria", has_run=True)
    stage.wait_for_the_end()
    album.shoot("saved")


def main() -> None:
    arguments = parse()
    with untouched_settings() as folder:
        stage = Stage(SIZE)
        album = Album(stage, arguments.out, arguments.docs)
        expert = Expert(arguments.sample)
        annotate(stage, album, arguments.sample, expert)
        train_and_correct(stage, album, arguments.steps, expert)
        proofread(stage, album)
        save(stage, album, folder)
        stage.close()


if __name__ == "__main__":
    main()
