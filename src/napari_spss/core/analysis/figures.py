"""A figure of a result to show to a colleague: image, map, outlines, and fractions per slice."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..annotations import Annotations
from ..base import InputError, write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

__all__ = ["SliceView", "StatedFractions", "stated_fractions", "write_overlay"]

Floats: TypeAlias = npt.NDArray[np.float64]

# Okabe and Ito's colours, which can be told apart with any colour vision.
_FOUND, _TRUE, _TYPED, _COUNTED = "#E69F00", "#56B4E9", "#999999", "#009E73"
_DPI = 150


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
class StatedFractions:
    """What was stated for whole slices about one class; nan where nothing was.

    Parameters
    ----------
    typed : ndarray, (Z,)
        Fractions, 0-1, of slices that were not counted.
    counted, low, high : ndarray, (Z,)
        Fractions of counting grids and their 95 % intervals.
    """

    typed: Floats
    counted: Floats
    low: Floats
    high: Floats

    @property
    def used(self) -> Floats:
        """The stated fraction that training uses: the counted one where there is one."""
        used: Floats = np.where(np.isnan(self.counted), self.typed, self.counted)
        return used


def stated_fractions(annotations: Annotations, class_index: int, n_slices: int) -> StatedFractions:
    """Collect the fractions of whole slices that training uses."""
    typed, counted, low, high = (np.full(n_slices, np.nan) for _ in range(4))
    for proportion in annotations.effective_proportions():
        value = proportion.fractions[class_index]
        if proportion.region.box is not None or value is None:
            continue
        z = proportion.region.slice
        if proportion.source == "typed":
            typed[z] = value
            continue
        counted[z] = value
        low[z], high[z] = (
            value if bound is None or bound[class_index] is None else bound[class_index]
            for bound in (proportion.low, proportion.high)
        )
    return StatedFractions(typed, counted, low, high)


def write_overlay(
    path: str | Path,
    view: SliceView,
    *,
    class_name: str,
    stated: StatedFractions,
    predicted: npt.ArrayLike,
    true: npt.ArrayLike | None = None,
    title: str = "",
) -> Path:
    """Write a PNG with image, map, outlines, and the fractions of all slices.

    Parameters
    ----------
    path : path
        File; must not exist.
    view : SliceView
        The slice to show.
    class_name : str
        The class of interest.
    stated : StatedFractions
        Of that class.
    predicted, true : array of float, (Z,)
        Fractions of that class per slice, 0-1.
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
    _show_image(parts["image"], view)
    shown = _show_map(parts["map"], view, class_name)
    _show_outlines(parts["outlines"], view)
    pictures = [parts[name] for name in ("image", "map", "outlines")]
    bar = figure.colorbar(shown, ax=pictures, location="bottom", shrink=0.3, pad=0.02, aspect=40)
    bar.ax.tick_params(labelsize=8)
    _plot_fractions(parts["fractions"], view.slice, class_name, stated, predicted, true)
    if title:
        figure.suptitle(title, fontsize=13)
    target = Path(path)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=_DPI)
    write_atomically(target, picture.getvalue(), makes_folder=False)
    return target


def _show_image(axes: Axes, view: SliceView) -> None:
    low, high = np.percentile(view.image, (0.5, 99.5))
    axes.imshow(view.image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6))
    axes.set_title(f"Slice {view.slice}", fontsize=11)
    axes.set_axis_off()


def _show_map(axes: Axes, view: SliceView, class_name: str) -> AxesImage:
    shown: AxesImage = axes.imshow(view.probs, cmap="inferno", vmin=0, vmax=1)
    axes.set_title(f"Map: probability of {class_name}", fontsize=11)
    axes.set_axis_off()
    return shown


def _show_outlines(axes: Axes, view: SliceView) -> None:
    from matplotlib.lines import Line2D

    _show_image(axes, view)
    axes.set_title(view.caption, fontsize=11)
    handles = []
    for mask, colour, name in ((view.truth, _TRUE, "truth"), (view.labels, _FOUND, "labels")):
        if mask is None:
            continue
        handles.append(Line2D([], [], color=colour, label=name))
        if mask.any() and not mask.all():  # else there is no outline to draw
            axes.contour(mask.astype(np.float32), levels=[0.5], colors=[colour], linewidths=1.4)
    legend = axes.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.02),
        ncols=2,
        frameon=False,
        fontsize=10,
    )
    legend.set_in_layout(False)  # it lies beside the colour bar, where there is room


def _plot_fractions(
    axes: Axes,
    shown: int,
    class_name: str,
    stated: StatedFractions,
    predicted: npt.ArrayLike,
    true: npt.ArrayLike | None,
) -> None:
    """Per cent of each slice: typed, counted with interval, predicted, true."""
    from matplotlib.ticker import MaxNLocator

    z = np.arange(len(stated.typed))
    axes.axvspan(shown - 0.4, shown + 0.4, color="0.93", lw=0)
    if true is not None:
        axes.plot(z, 100 * np.asarray(true), color=_TRUE, lw=2, label="true")
    axes.plot(z, 100 * np.asarray(predicted), color=_FOUND, lw=2, marker=".", label="predicted")
    axes.plot(z, 100 * stated.typed, ls="", marker="_", ms=13, mew=2.5, color=_TYPED, label="typed")
    reach = 100 * np.stack([stated.counted - stated.low, stated.high - stated.counted])
    axes.errorbar(
        z,
        100 * stated.counted,
        yerr=reach,
        ls="",
        marker="o",
        color=_COUNTED,
        capsize=3,
        label="counted, 95 %",
    )
    axes.set_xlabel("slice (the one shown above is shaded)")
    axes.set_ylabel(f"{class_name}, % of slice")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(ncols=4, frameon=False, loc="upper left", bbox_to_anchor=(0, 1.16), fontsize=9)
