"""Drawings of a result on matplotlib's axes: fractions by slice, sizes of objects, an overlay."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..annotations import MIN_CONTRAST, Annotations, Classes, contrast
from ..base import counted, length_text
from .estimates import Estimate
from .ratio import counted_fractions

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats: TypeAlias = npt.NDArray[np.float64]

TRUE, TYPED, COUNTED = "#56B4E9", "#777777", "#000000"
_CORRECTED = "labels, corrected"
BAND = "95 % interval, whole stack"
_FEWEST_FOR_BARS = 8
_MOST_BINS = 40


@dataclass(frozen=True)
class StatedFractions:
    """What was stated for whole slices about one class; nan where nothing was."""

    typed: Floats  # (Z,), fractions, 0-1, of slices that were not counted
    counted: Floats  # (Z,), fractions of counting grids
    # (Z,), 95 % intervals of those that were counted; bounds of those that were typed, if stated
    low: Floats
    high: Floats

    @property
    def used(self) -> Floats:
        """The stated fraction that training uses: the counted one where there is one."""
        used: Floats = np.where(np.isnan(self.counted), self.typed, self.counted)
        return used


def stated_fractions(annotations: Annotations, class_index: int, n_slices: int) -> StatedFractions:
    """Collect the fractions of whole slices that training uses."""
    typed, grids, low, high = (np.full(n_slices, np.nan) for _ in range(4))
    for proportion in annotations.effective_proportions():
        value, z = proportion.effective_fractions()[class_index], proportion.region.slice
        if proportion.region.box is not None or value is None:
            continue
        (typed if proportion.source == "typed" else grids)[z] = value
        low[z], high[z] = proportion.bounds()[class_index] or (value, value)
    return StatedFractions(typed, grids, low, high)


@dataclass(frozen=True)
class ClassFractions:
    """What is known of the fraction of one class, slice by slice and of the whole stack."""

    name: str
    colour: str
    stated: StatedFractions
    predicted: Floats  # (Z,), fractions of the labels, 0-1; nan where there are none
    # fraction, low and high of the whole stack, by what tells it
    whole: dict[str, tuple[float, float, float]]


def class_fractions(
    predicted: Floats,
    classes: Classes,
    annotations: Annotations | None = None,
    estimates: Iterable[Estimate] = (),
    *,
    pixel_areas: Sequence[float] | None = None,
) -> tuple[ClassFractions, ...]:
    """Put together what labels, annotations and estimates tell of each class but the background.

    Parameters
    ----------
    predicted : ndarray, (Z, C)
        Fractions of the labels, 0-1; nan where there are none.
    classes : Classes
        The class outside has no fraction.
    annotations : Annotations, optional
        Of these classes; fractions of whole slices, and of the whole stack where frames tell it.
    estimates : iterable of Estimate
        Those of corrected labels are taken.
    pixel_areas : sequence of float, optional
        See `counted_fractions`.
    """
    known = annotations or Annotations(classes)
    frames = counted_fractions(known, pixel_areas=pixel_areas)
    whole: dict[str, dict[str, tuple[float, float, float]]] = {name: {} for name in classes}
    if frames is not None and frames.has_frames:
        found = zip(frames.classes, frames.fractions, frames.intervals, strict=True)
        for name, fraction, (low, high) in found:
            whole[name]["counted in frames"] = fraction, low, high
    for one in estimates:
        if one.method == _CORRECTED and one.name in whole and not math.isnan(one.fraction):
            whole[one.name]["corrected"] = one.fraction, one.low, one.high
    return tuple(
        ClassFractions(
            name,
            classes.colours[index],
            stated_fractions(known, index, len(predicted)),
            predicted[:, index],
            whole[name],
        )
        for index, name in enumerate(classes)
        if index not in (0, classes.outside_index)
    )


def draw_fractions(
    axes: Axes, one: ClassFractions, *, shown: int | None = None, true: Floats | None = None
) -> None:
    """Draw per cent against the slice; the legend stands above the axes.

    The slice ``shown`` is shaded; true fractions are (Z,), 0-1.
    """
    from matplotlib.ticker import MaxNLocator

    z, stated, colour = np.arange(len(one.predicted)), one.stated, _on_white(one.colour)
    if shown is not None:
        axes.axvspan(shown - 0.4, shown + 0.4, color="0.93", lw=0)
    for style, (text, (fraction, low, high)) in zip(("--", ":"), one.whole.items(), strict=False):
        if not math.isnan(low):
            is_named = BAND in axes.get_legend_handles_labels()[1]
            axes.axhspan(100 * low, 100 * high, color="0.9", lw=0, label=None if is_named else BAND)
        axes.axhline(100 * fraction, color="0.4", ls=style, label=f"{text}, whole stack")
    if true is not None:
        axes.plot(z, 100 * true, color=TRUE, lw=2, label="true")
    # not clipped, so that marks at 0 are whole
    predicted = 100 * one.predicted
    axes.plot(z, predicted, color=colour, lw=2, marker=".", label="predicted", clip_on=False)
    for values, marker, kind, text in (
        (stated.typed, "_", TYPED, "typed"),
        (stated.counted, "o", COUNTED, "counted, 95 %"),
    ):
        if np.isnan(values).all():
            continue
        reach = 100 * np.stack([values - stated.low, stated.high - values])
        reach[:, ~reach.any(axis=0)] = np.nan  # stated without bounds
        axes.errorbar(
            z,
            100 * values,
            yerr=None if np.isnan(reach).all() else reach,
            ls="",
            marker=marker,
            ms=12 if marker == "_" else 5,
            mew=2 if marker == "_" else 1,
            mfc="white",
            color=kind,
            capsize=3,
            label=text,
            clip_on=False,
        )
    axes.set_xlabel("slice")
    axes.set_ylabel(f"{one.name}, % of slice")
    axes.set_ylim(bottom=0)
    if z.size == 1:
        axes.set_xlim(-0.5, 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _legend_above(axes)


def draw_sizes(axes: Axes, objects: pd.DataFrame, name: str, colour: str) -> None:
    """Draw a histogram of the objects of a class by their equivalent diameter.

    They are those of a `Measurement`, with lengths in micrometres where these are known.
    """
    from matplotlib.ticker import MaxNLocator

    found = objects[objects["class"] == name]
    is_known = not objects["equivalent_diameter_um"].isna().any()
    sizes = found[f"equivalent_diameter_{'um' if is_known else 'px'}"].to_numpy(float)
    if len(sizes):
        bins: Any = "auto" if len(sizes) >= _FEWEST_FOR_BARS else max(1, len(sizes))
        edges = np.histogram_bin_edges(sizes, bins)
        if len(edges) - 1 > _MOST_BINS:
            edges = np.histogram_bin_edges(sizes, _MOST_BINS)
        middle = f"{np.median(sizes):.3g} {'µm' if is_known else 'px'}"
        label = f"{name}: {counted(len(sizes), 'object')}, median {middle}"
        if n_cut := int(found["touches_border"].sum()):
            label += f"; {n_cut} cut by the border"
        axes.hist(sizes, list(edges), color=colour, ec=_on_white(colour), label=label)
        _legend_above(axes)
    else:
        axes.set_title(f"{name}: no objects", loc="left", fontsize=9)
    axes.set_xlabel(f"equivalent diameter, {'µm' if is_known else 'px'}")
    axes.set_ylabel("objects")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)


def draw_overlay(
    axes: Axes,
    image: npt.NDArray[Any],
    labels: npt.NDArray[np.integer],
    classes: Classes,
    *,
    pixel_um: float | None = None,
    reduced_by: int = 1,
) -> None:
    """Draw labels over an image, with a scale bar.

    Parameters
    ----------
    axes : Axes
    image : ndarray, (Y, X) or (Y, X, 3)
        Grey values, or red, green and blue of 0-1.
    labels : ndarray of int, (Y, X)
        Class indices; 0 and what is no class are left free.
    classes : Classes
    pixel_um : float, optional
        Width of a pixel of the data; without, the bar is so many of these long.
    reduced_by : int
        How many pixels of the data make one that is drawn, along each side.
    """
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Patch

    show_grey(axes, image)
    present = [c for c in range(1, len(classes)) if (labels == c).any()]
    tint = np.zeros((*labels.shape, 4), np.float32)
    for index in present:
        colour, mask = classes.colours[index], labels == index
        tint[mask] = (*to_rgb(colour), 0.3)
        draw_outline(axes, mask, colour, 1.0)
    axes.imshow(tint)
    patches = [Patch(color=classes.colours[c], label=classes[c]) for c in present]
    if patches:
        _legend_above(axes, handles=patches)
    height, width = labels.shape
    length, text = scale_bar(width * reduced_by, pixel_um)
    length /= reduced_by
    margin, thick = 0.03 * width, max(1.0, 0.008 * width)
    x0, y0 = width - margin - length, height - margin - thick
    pad = 0.015 * width
    room = 0.055 * width
    axes.add_patch(_box(x0 - pad, y0 - room, length + 2 * pad, room + thick + pad, "black", 0.6))
    axes.add_patch(_box(x0, y0, length, thick, "white", 1.0))
    axes.text(x0 + length / 2, y0 - 0.008 * width, text, color="white", ha="center", va="bottom")


def show_grey(axes: Axes, image: npt.NDArray[Any]) -> None:
    """Show an image from its darkest to its brightest, but for a few outliers."""
    low, high = np.percentile(image, (0.5, 99.5))
    axes.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6))
    axes.set_axis_off()


def draw_outline(axes: Axes, mask: npt.NDArray[np.bool_], colour: str, width: float) -> None:
    """Draw around a mask, unless it is empty or full, where there is no outline."""
    if mask.any() and not mask.all():
        axes.contour(mask.astype(np.float32), levels=[0.5], colors=[colour], linewidths=width)


def scale_bar(width_px: int, pixel_um: float | None) -> tuple[float, str]:
    """Length in pixels of a bar of about a fifth of a picture's width, and what stands above it.

    Examples
    --------
    >>> scale_bar(1000, 0.005), scale_bar(90, None)
    ((200.0, '1 µm'), (20.0, '20 px'))
    """
    unit = pixel_um or 1.0
    most = width_px * unit / 4
    power = 10.0 ** math.floor(math.log10(most))
    length = next(step * power for step in (5, 2, 1) if step * power <= most * (1 + 1e-9))
    return length / unit, f"{length:g} px" if pixel_um is None else length_text(length)


def _box(x: float, y: float, width: float, height: float, colour: str, alpha: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), width, height, color=colour, alpha=alpha, lw=0)


def _legend_above(axes: Axes, handles: Sequence[Any] | None = None) -> None:
    """Name what is drawn above the axes, where it hides nothing."""
    found = axes.get_legend_handles_labels()[0] if handles is None else handles
    axes.legend(
        handles=found,
        ncols=3,
        frameon=False,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderaxespad=0.2,
        fontsize=9,
    )
    axes.spines[["top", "right"]].set_visible(False)


def _on_white(colour: str) -> tuple[float, float, float]:
    """Darken a colour until it stands out from white."""
    from matplotlib.colors import to_rgb

    rgb = np.array(to_rgb(colour))
    while contrast(rgb, (1, 1, 1)) < MIN_CONTRAST:
        rgb *= 0.95
    return float(rgb[0]), float(rgb[1]), float(rgb[2])
