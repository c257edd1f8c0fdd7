"""A picture of what a person says and what a network makes of it: nodes of a grid, and outlines.

It shows pixels, so it is drawn of images alone that may be given on.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image

from napari_spss.core.annotations import CountingGrid
from napari_spss.core.prediction import predict
from napari_spss.core.training import fit

from .annotators import HEADLINE_S, annotate
from .carrying import Experiment, settings_of
from .images import Image, Mask, Part
from .rows import BASE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FOLD, PART, NAME = "axon-rat4", "report", "axon_example.png"
CAPTION = (
    "Left: a training image with one of its counting grids, as the person judged it. Middle: a "
    "part of the image of a rat that was not trained on, with the outlines of the labels that "
    "`fast` finds after five minutes of annotation (seed 0, no correction). Right: the outlines of "
    "the full masks. Images and masks: `axon_sem`, "
    "[doi:10.5281/zenodo.5498378](https://doi.org/10.5281/zenodo.5498378), MIT licence."
)

_SHARED = ("axon",)
_SEED = 0
_CROP_PX = 480
# Okabe and Ito: blue and vermilion for what is found, yellow for what is not
_COLOURS = ("#F0E442", "#56B4E9", "#D55E00")
_DPI = 120
_N_COLOURS, _NO_DITHER = 256, PIL.Image.Dither.NONE


def draw_example(part: Part, out: Path, *, is_quick: bool = False) -> Path:
    """Train `fast` without correction and draw ``OUT/axon_example.png``.

    Parameters
    ----------
    part : Part
        Its images may be given on.
    out : Path
        Folder.
    is_quick : bool
        A few steps of a tiny network.

    Raises
    ------
    ValueError
        If the images may not be given on.
    """
    if part.data.partition("-")[0] not in _SHARED:
        raise ValueError(f"images of {part.data} may not be shown; draw {', '.join(_SHARED)}.")
    told = annotate(BASE.plan, part.train, part.classes, budget_s=HEADLINE_S, seed=_SEED)
    experiment = Experiment("study", part.data, part.part, BASE.name, HEADLINE_S, _SEED, is_quick)
    seen = part.train.stack()
    model = fit(seen, told.annotations, settings_of(experiment, part), device="cpu")
    test = part.test.chosen([0]).stack()
    labels = predict(model, test, device="cpu").labels[0]
    return _draw(part, told.annotations.grids, labels, out / NAME)


def _draw(part: Part, grids: tuple[CountingGrid, ...], labels: Mask, path: Path) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3)
    grid = min(grids, key=lambda one: part.train.images[one.slice].size)
    image = part.train.images[grid.slice]
    _show(left, image, f"told: {len(grids)} such grids and guesses")
    _draw_nodes(left, grid, part.classes)
    truth = part.test.truth[0]
    crop = _middle(truth.shape)
    for axes, shown, title in (
        (middle, labels, "found in an unseen rat"),
        (right, truth, "full masks"),
    ):
        _show(axes, part.test.images[0][crop], title)
        _draw_outlines(axes, shown[crop], len(part.classes))
    handles, names = left.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = BytesIO()
    figure.savefig(drawn, dpi=_DPI)
    # Noise of a microscope in 24 bits makes a large file; a palette looks the same.
    palette = PIL.Image.open(drawn).convert("RGB").quantize(_N_COLOURS, dither=_NO_DITHER)
    palette.save(path, optimize=True)
    return path


def _show(axes: Axes, image: Image, title: str) -> None:
    low, high = np.percentile(image, (0.5, 99.5))
    axes.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="antialiased")
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()


def _draw_nodes(axes: Axes, grid: CountingGrid, classes: tuple[str, ...]) -> None:
    for index, (name, colour) in enumerate(zip(classes, _COLOURS, strict=False)):
        is_class = grid.class_index == index
        axes.scatter(grid.x[is_class], grid.y[is_class], s=16, color=colour, edgecolors="black",
                     linewidths=0.5, label=name)  # fmt: skip


def _draw_outlines(axes: Axes, labels: Mask, n_classes: int) -> None:
    for index in range(1, n_classes):
        is_class: Any = (labels == index).astype(float)
        if 0 < is_class.mean() < 1:
            axes.contour(is_class, levels=[0.5], colors=[_COLOURS[index]], linewidths=1.0)


def _middle(shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Middle of an image, no wider than a crop."""
    starts = [max(0, (length - _CROP_PX) // 2) for length in shape]
    return slice(starts[0], starts[0] + _CROP_PX), slice(starts[1], starts[1] + _CROP_PX)
