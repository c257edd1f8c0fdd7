"""Make the short animation of the project's page: count a grid, train, look at the result.

    python docs/scripts/animation.py docs/images/dock.gif [--steps 170]

Needs a display; without one, run it under Xvfb:

    xvfb-run -a -s "-screen 0 1600x1100x24" python docs/scripts/animation.py docs/images/dock.gif
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from stage import Counter, Expert, Stage, palette_of, untouched_settings

if TYPE_CHECKING:
    from PIL.Image import Image

SIZE = (980, 650)
N_COLOURS = 96
PREVIEW_INTERVAL_S = 0.5
N_PREVIEWS = 24


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="the GIF")
    parser.add_argument("--steps", type=int, default=170, help="steps of the training")
    return parser.parse_args()


class Film:
    """Pictures of the window, each with the time for which it is shown."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._frames: list[Image] = []
        self._times_ms: list[int] = []

    def take(self, time_ms: int) -> None:
        """Take a picture, to be shown for a time."""
        self._stage.wait(0.2)
        self._frames.append(self._stage.picture())
        self._times_ms.append(time_ms)

    def save(self, path: Path) -> None:
        """Write a GIF in which pixels that stay the same cost nothing."""
        from PIL import Image

        # one palette for all, made from frames of all scenes, so that still pixels stay as they are
        scenes = self._frames[:: max(1, len(self._frames) // 6)]
        palette = palette_of(scenes, N_COLOURS)
        frames = [one.quantize(palette=palette, dither=Image.Dither.NONE) for one in self._frames]
        path.parent.mkdir(parents=True, exist_ok=True)
        frames[0].save(
            path,
            save_all=True,
            append_images=frames[1:],
            duration=self._times_ms,
            loop=0,
            optimize=True,  # pixels that stay become transparent
            disposal=1,
        )


def play(stage: Stage, film: Film, steps: int) -> None:
    """Act the scenes."""
    dock, viewer = stage.dock, stage.viewer
    said = stage.open_sample("synthetic")
    expert = Expert("synthetic")
    grids = {grid.slice: grid for grid in said.grids}
    counted = grids[said.keypoints[0].slice]
    stage.show_only("Annotate")
    stage.go_to(counted.slice)
    stage.show_layers()
    viewer.reset_view()
    film.take(1500)

    counter = Counter(stage, counted, expert.classes_of(counted))
    stage.show_layers("counting grid")
    dock.annotate.show_tab(1)
    dock.annotate.grid._view.activate()
    film.take(1200)
    while counter.click(1):
        film.take(220)
    film.take(1000)
    dock.annotate.grid._buttons._goes_on.setChecked(False)
    dock.annotate.grid.finish()
    film.take(1500)

    stage.show_layers()
    stage.show_only("Train")
    film.take(1000)
    dock.trainings._preview_interval_s = PREVIEW_INTERVAL_S
    previews = []
    dock.session.event_taken.connect(
        lambda event: previews.append(event) if type(event).__name__ == "Preview" else None
    )
    stage.train(steps)
    n_taken, taken_at = 0, 0
    while dock.session.status.is_busy:
        stage.wait(0.1)
        done = dock.session.status.done
        if len(previews) > n_taken and done >= taken_at + steps / N_PREVIEWS:
            n_taken, taken_at = len(previews), done
            film.take(300)
    stage.wait_for_the_end()
    film.take(1200)

    stage.show_only("Results")
    dock.results.set_scope("stack")
    dock.controller.apply("stack")
    stage.wait_for_the_end()
    stage.show_layers("labels")
    film.take(2500)
    for z in (counted.slice + 2, counted.slice + 4):
        stage.go_to(z)
        film.take(1500)


def main() -> None:
    arguments = parse()
    with untouched_settings():
        stage = Stage(SIZE)
        for name in ("dockLayerControls", "dockLayerList"):
            getattr(stage.viewer.window._qt_viewer, name).hide()
        film = Film(stage)
        play(stage, film, arguments.steps)
        film.save(arguments.out)
        stage.close()


if __name__ == "__main__":
    main()
