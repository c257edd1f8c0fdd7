"""Figures of a result as files, to be shown to a colleague, or printed."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..annotations import PALETTE, Annotations, Classes
from ..base import InputError, ResultFiles, write_atomically, write_errors
from ..images import check_stack
from .charts import (
    TRUE,
    ClassFractions,
    class_fractions,
    draw_fractions,
    draw_outline,
    draw_overlay,
    draw_sizes,
    show_grey,
)
from .estimates import Estimate
from .fractions import Measurement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..images import Stack

FORMATS = ("svg", "pdf", "png")
_FIGURES = ("fractions", "sizes", "overlay")
_DPI = 150
_MOST_PX = 1500  # along a side of an overlay


@dataclass(frozen=True)
class SliceView:
    """One slice and what was found in it.

    Parameters
    ----------
    slice : int
        0-based index.
    image : ndarray, (Y, X)
        Grey values.
    probs : ndarray, (Y, X)
        Map of the class of interest, 0-1.
    labels : ndarray of bool, (Y, X)
        Where the class was found.
    truth : ndarray of bool, (Y, X), or None
        Where it is.
    caption : str
        Why this slice is shown, and how good it is.
    """

    slice: int
    image: npt.NDArray[Any]
    probs: npt.NDArray[np.float32]
    labels: npt.NDArray[np.bool_]
    truth: npt.NDArray[np.bool_] | None
    caption: str


@dataclass(frozen=True)
class FigureSlice:
    """The slice of an image that the overlay shows.

    Parameters
    ----------
    image : Stack
    z : int
        0-based index.
    labels : ndarray of int, (Y, X)
        Class indices.
    pixel_um : float, optional
        Width of a pixel in micrometres.

    Raises
    ------
    InputError
        If the image says that it holds labels.
    """

    image: Stack
    z: int
    labels: npt.NDArray[np.integer]
    pixel_um: float | None = None

    def __post_init__(self) -> None:
        check_stack(self.image)


def figure_results(
    folder: str | Path,
    *,
    labels: str | Path,
    formats: Iterable[str] = FORMATS,
    inputs: Iterable[Path] = (),
    overwrite: bool | None = False,
) -> ResultFiles:
    """Files that `write_figures` writes.

    Parameters
    ----------
    folder : path
        Made if it does not exist.
    labels : path
        What they show. Figures of the same are replaced unasked.
    formats : iterable of str
        Of "svg", "pdf" and "png".
    inputs : iterable of Path
        What is read, and never replaced.
    overwrite : bool or None
        See `ResultFiles`.

    Raises
    ------
    InputError
        If a format is none of these.
    """
    chosen = tuple(dict.fromkeys(formats))
    for one in chosen:
        if one not in FORMATS:
            raise InputError(
                f"format {one!r} is none of {', '.join(FORMATS)}; choose some of these.",
                field="formats",
            )
    names = tuple(f"{what}.{suffix}" for what in _FIGURES for suffix in chosen)
    return ResultFiles(
        Path(folder),
        "figures",
        names,
        {"label image": str(labels)},
        inputs=tuple(inputs),
        overwrite=overwrite,
        made_by=labels if isinstance(labels, Path) else {},
    )


def write_figures(
    results: ResultFiles,
    measurement: Measurement,
    classes: Classes,
    *,
    annotations: Annotations | None = None,
    estimates: Iterable[Estimate] = (),
    view: FigureSlice | None = None,
    pixel_areas: Sequence[float] | None = None,
) -> tuple[Path, ...]:
    """Write the figures of a result: fractions by slice, sizes of objects, and an overlay.

    Text stays text in SVG and PDF. The same result gives the same files.

    Parameters
    ----------
    results : ResultFiles
        Of `figure_results`.
    measurement : Measurement
        Of the labels.
    classes : Classes
        Their names and colours; a row of each figure is drawn for each but the background.
    annotations : Annotations, optional
        What was stated and counted.
    estimates : iterable of Estimate
        Of `estimate_fractions`; those of corrected labels are drawn.
    view : FigureSlice, optional
        What the overlay shows; without, there is none.
    pixel_areas : sequence of float, optional
        Area of a pixel of each image of a set, see `counted_fractions`.

    Returns
    -------
    tuple of Path
        The files.

    Raises
    ------
    InputError
        If something is in the way.
    RunError
        If the folder cannot be written.
    """
    predicted = measurement.by_slice(classes)
    known = class_fractions(predicted, classes, annotations, estimates, pixel_areas=pixel_areas)
    figures = {"fractions": _figure(len(known)), "sizes": _figure(len(known))}
    for at, one in enumerate(known):
        draw_fractions(figures["fractions"].axes[at], one)
        draw_sizes(figures["sizes"].axes[at], measurement.objects, one.name, one.colour)
    if view is not None:
        figures["overlay"] = _overlay(view, classes)
    with results.writing() as folder:
        for name in results.names:
            what, _, suffix = name.partition(".")
            if what in figures:
                _save(figures[what], folder / name, suffix)
    names = [name for name in results.names if name.partition(".")[0] in figures]
    return tuple(results.folder / name for name in names)


def _figure(n_rows: int) -> Figure:
    """Make a figure with so many axes, one below the other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.4 + 2.6 * max(1, n_rows)), layout="constrained")
    figure.subplots(max(1, n_rows), squeeze=False)
    return figure


def _overlay(view: FigureSlice, classes: Classes) -> Figure:
    """Draw labels over their slice, reduced where it is larger than any page."""
    from matplotlib.figure import Figure

    from ..images import resample_slice

    height, width = view.labels.shape
    if view.image.shape_of(view.z) != (height, width):
        shape = " x ".join(map(str, view.image.shape_of(view.z)))
        raise InputError(
            f"slice {view.z} of {view.image.source} has {shape} pixels, but its labels have "
            f"{height} x {width}; name the image that the labels belong to.",
            field="image",
        )
    k = max(1, -(-max(height, width) // _MOST_PX))
    pixels = resample_slice(view.image, view.z, k, None)
    shown = pixels[0]
    if view.image.channel_axis_is_rgb and len(pixels) >= 3:
        shown = np.clip(np.moveaxis(pixels[:3], 0, -1) / max(float(pixels.max()), 1e-6), 0, 1)
    labels = view.labels[k // 2 :: k, k // 2 :: k]
    shown = shown[: len(labels), : labels.shape[1]]
    figure = Figure(figsize=(6, 6 * height / width + 0.3), layout="constrained")
    draw_overlay(figure.subplots(), shown, labels, classes, pixel_um=view.pixel_um, reduced_by=k)
    return figure


def _save(figure: Figure, path: Path, suffix: str) -> None:
    import matplotlib
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a dollar sign in a name is no formula
    texts = {"svg.fonttype": "none", "pdf.fonttype": 42, "svg.hashsalt": "napari-spss"}
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(suffix)
    picture = io.BytesIO()  # on a full disk matplotlib hides the system's error behind its own
    with matplotlib.rc_context(texts):
        figure.savefig(picture, format=suffix, dpi=_DPI, metadata=undated)
    with write_errors(path):
        path.write_bytes(picture.getvalue())


def write_overlay(
    path: str | Path,
    view: SliceView,
    *,
    fractions: ClassFractions,
    true: npt.NDArray[np.float64] | None = None,
    title: str = "",
) -> Path:
    """Write a PNG with image, map, outlines, and the fractions of all slices.

    Parameters
    ----------
    path : path
        File; must not exist.
    view : SliceView
        The slice to show.
    fractions : ClassFractions
        Of the class of interest.
    true : ndarray, (Z,), optional
        Its true fractions, 0-1.
    title : str
        Over the figure.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If the file exists.
    RunError
        If it cannot be written.
    """
    if os.path.lexists(path):
        raise InputError(f"{path} is there already; choose another name.")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 7.6), layout="constrained")
    FigureCanvasAgg(figure)
    parts: dict[str, Axes] = figure.subplot_mosaic(
        [["image", "map", "outlines"], ["fractions"] * 3], height_ratios=(1.75, 1)
    )
    show_grey(parts["image"], view.image)
    parts["image"].set_title(f"Slice {view.slice}", fontsize=11)
    shown = parts["map"].imshow(view.probs, cmap="inferno", vmin=0, vmax=1)
    parts["map"].set_title(f"Map: probability of {fractions.name}", fontsize=11)
    parts["map"].set_axis_off()
    _show_outlines(parts["outlines"], view)
    pictures = [parts[name] for name in ("image", "map", "outlines")]
    bar = figure.colorbar(shown, ax=pictures, location="bottom", shrink=0.3, pad=0.02, aspect=40)
    bar.ax.tick_params(labelsize=8)
    draw_fractions(parts["fractions"], fractions, shown=view.slice, true=true)
    parts["fractions"].set_xlabel("slice (the one shown above is shaded)")
    if title:
        figure.suptitle(title, fontsize=13)
    target = Path(path)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=_DPI)
    write_atomically(target, picture.getvalue(), makes_folder=False)
    return target


def _show_outlines(axes: Axes, view: SliceView) -> None:
    from matplotlib.lines import Line2D

    show_grey(axes, view.image)
    axes.set_title(view.caption, fontsize=11)
    handles = []
    for mask, colour, name in ((view.truth, TRUE, "truth"), (view.labels, PALETTE[0], "labels")):
        if mask is None:
            continue
        handles.append(Line2D([], [], color=colour, label=name))
        draw_outline(axes, mask, colour, 1.4)
    legend = axes.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.02),
        ncols=2,
        frameon=False,
        fontsize=10,
    )
    legend.set_in_layout(False)  # it lies beside the colour bar, where there is room
