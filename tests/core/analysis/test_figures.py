"""Figures: what they are drawn from, and the files."""

from __future__ import annotations

import errno
import math
import re

import numpy as np
import pytest
from PIL import Image

from napari_spss.core.analysis import (
    FigureSlice,
    class_fractions,
    estimate_fractions,
    figure_results,
    measure,
    stated_fractions,
    write_figures,
)
from napari_spss.core.analysis.charts import draw_overlay, draw_sizes, scale_bar
from napari_spss.core.annotations import (
    Annotations,
    Classes,
    ClassStyle,
    CountingGrid,
    Proportion,
    Region,
)
from napari_spss.core.base import InputError, RunError
from napari_spss.core.images import stack_from_array

CLASSES = Classes(["background", ClassStyle("mito", "#00A050")])


@pytest.fixture
def labels():
    found = np.zeros((4, 60, 80), np.uint8)
    found[:, 10:30, 10:40] = 1
    found[2, 40:50, 50:70] = 1
    return found


def grid(z, n_hits=16, box=None):
    ys, xs = (one.ravel() for one in np.mgrid[5:60:10, 5:80:10].astype(float))
    return CountingGrid(z, 10.0, 5.0, 5.0, ys, xs, np.arange(ys.size) < n_hits, True, box)


def write(folder, labels, *, formats=("svg", "pdf", "png"), **more):
    results = figure_results(folder, labels="labels.tif", formats=formats)
    measured = measure(labels, classes=CLASSES, voxel_size_um=(0.05, 0.01, 0.01))
    return write_figures(results, measured, CLASSES, **more)


def test_typed_bounds_are_kept_beside_counted_intervals():
    annotations = Annotations(
        CLASSES,
        proportions=(
            Proportion(Region(0), (None, None), (None, 0.05), (None, 0.15)),
            Proportion(Region(1), (None, 0.2)),
        ),
        grids=(grid(2),),
    )
    stated = stated_fractions(annotations, 1, 4)
    assert (stated.typed[0], stated.low[0], stated.high[0]) == pytest.approx((0.1, 0.05, 0.15))
    assert (stated.typed[1], stated.low[1], stated.high[1]) == (0.2, 0.2, 0.2)
    assert stated.counted[2] == pytest.approx(1 / 3)
    assert stated.low[2] < 1 / 3 < stated.high[2]
    assert math.isnan(stated.used[3])


def test_the_whole_stack_is_told_by_frames_and_by_a_check_count(labels):
    frames = tuple(grid(z, n_hits=4 + z, box=(0, 0, 60, 80)) for z in range(4))
    annotations = Annotations(CLASSES, grids=frames)
    estimates = estimate_fractions(labels, annotations, classes=CLASSES)
    predicted = np.stack([1 - labels.mean((1, 2)), labels.mean((1, 2))], axis=1)
    (mito,) = class_fractions(predicted, CLASSES, annotations, estimates)
    assert mito.colour == "#00A050"
    assert mito.whole["counted in frames"][0] == pytest.approx(22 / 192)
    (corrected,) = [one for one in estimates if one.method == "labels, corrected"]
    assert mito.whole["corrected"] == (corrected.fraction, corrected.low, corrected.high)


def test_the_legend_names_the_bands_once(labels, tmp_path):
    frames = tuple(grid(z, n_hits=4 + z, box=(0, 0, 60, 80)) for z in range(4))
    annotations = Annotations(CLASSES, grids=frames)
    estimates = estimate_fractions(labels, annotations, classes=CLASSES)
    for said, n_bands in (({}, 0), ({"annotations": annotations, "estimates": estimates}, 1)):
        write(tmp_path / str(n_bands), labels, formats=("svg",), **said)
        drawn = (tmp_path / str(n_bands) / "fractions.svg").read_text()
        assert drawn.count(">95 % interval, whole stack</text>") == n_bands


def test_every_figure_is_written_in_every_format_with_text_as_text(tmp_path, labels):
    image = stack_from_array(np.arange(labels.size, dtype=np.uint16).reshape(labels.shape))
    view = FigureSlice(image, 2, labels[2], 0.01)
    written = write(tmp_path, labels, view=view)
    assert [path.name for path in written] == [
        f"{what}.{suffix}"
        for what in ("fractions", "sizes", "overlay")
        for suffix in ("svg", "pdf", "png")
    ]
    texts = {what: (tmp_path / f"{what}.svg").read_text() for what in ("fractions", "sizes")}
    assert ">mito, % of slice</text>" in texts["fractions"]
    assert ">equivalent diameter, µm</text>" in texts["sizes"]
    assert ">mito: 2 objects, median" in texts["sizes"]
    assert ">0.2 µm</text>" in (tmp_path / "overlay.svg").read_text()
    assert all((tmp_path / f"{what}.pdf").read_bytes()[:4] == b"%PDF" for what in texts)


def test_the_overlay_has_the_colour_of_the_class_where_its_labels_are(tmp_path, labels):
    image = stack_from_array(np.tile(np.linspace(0, 200, 80, dtype=np.uint8), (4, 60, 1)))
    for name, z in (("with", 2), ("without", 3)):
        shown = labels[z] if name == "with" else np.zeros_like(labels[z])
        write(tmp_path / name, labels, formats=["png"], view=FigureSlice(image, z, shown))
    found = {
        name: np.asarray(Image.open(tmp_path / name / "overlay.png").convert("RGB")).astype(int)
        for name in ("with", "without")
    }
    is_green = {n: (p[..., 1] - p[..., [0, 2]].max(-1) > 15).mean() for n, p in found.items()}
    share = labels[2].mean()
    assert is_green["without"] == 0
    assert 0.5 * share < is_green["with"] < 1.5 * share


def test_the_same_result_gives_the_same_files(tmp_path, labels):
    for folder in ("one", "two"):
        write(tmp_path / folder, labels, formats=["svg", "pdf"])
    for name in ("fractions.svg", "sizes.pdf"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_figures_of_labels_without_objects_are_drawn(tmp_path, labels):
    write(tmp_path, np.zeros_like(labels), formats=["svg"])
    assert ">mito: no objects</text>" in (tmp_path / "sizes.svg").read_text()


def test_names_with_dollar_signs_are_no_formulas(tmp_path, labels):
    classes = Classes(["background", "$m$", r"$\frac{$"])
    write_figures(
        figure_results(tmp_path / "a", labels="labels.tif", formats=["svg"]),
        measure(labels, classes=classes),
        classes,
    )
    assert all(name in (tmp_path / "a/fractions.svg").read_text() for name in classes[1:])


def test_a_single_slice_is_not_cut_into_fractions_of_one(tmp_path, labels):
    write(tmp_path, labels[:1], formats=["svg"])
    ticks = re.findall(r">(\S+)</text>", (tmp_path / "fractions.svg").read_text())
    assert "0" in ticks
    assert not [tick for tick in ticks if tick.startswith("\u2212")]


def test_a_full_disk_is_told_with_the_file(tmp_path, labels, monkeypatch):
    def fails(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", fails)
    with pytest.raises(RunError, match=r"the disk is full: .*fractions\.pdf could not be written"):
        write(tmp_path, labels, formats=["pdf"])


def test_matplotlibs_settings_stay_as_they_are(tmp_path, labels):
    import matplotlib

    before = dict(matplotlib.rcParams)
    write(tmp_path, labels, formats=["svg"])
    assert dict(matplotlib.rcParams) == before


def test_a_class_without_objects_is_drawn_in_the_units_of_the_others(labels):
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    draw_sizes(axes, measure(labels, classes=CLASSES).objects, "none", "#00A050")
    assert axes.get_xlabel() == "equivalent diameter, px"


def test_objects_that_the_border_cuts_are_told_beside_the_sizes():
    from matplotlib.figure import Figure

    labels = np.zeros((20, 20), np.uint8)
    labels[0:4, 3:7] = labels[8:12, 3:7] = labels[16:20, 3:7] = 1
    axes = Figure().subplots()
    draw_sizes(axes, measure(labels, classes=CLASSES).objects, "mito", "#00A050")
    assert "3 objects" in axes.get_legend().get_texts()[0].get_text()
    assert axes.get_legend().get_texts()[0].get_text().endswith("; 2 cut by the border")


def test_an_image_of_another_size_is_refused(tmp_path, labels):
    image = stack_from_array(np.zeros((4, 30, 80), np.uint8))
    with pytest.raises(InputError, match=r"slice 1 of array has 30 x 80 pixels, but its labels"):
        write(tmp_path, labels, view=FigureSlice(image, 1, labels[1]))
    with pytest.raises(InputError, match="format 'gif' is none of svg, pdf, png"):
        figure_results(tmp_path, labels="labels.tif", formats=["gif"])


@pytest.mark.parametrize("width", [7, 64, 500, 1024, 1500])
@pytest.mark.parametrize("pixel_um", [None, 0.004, 0.13, 3.0])
def test_the_scale_bar_is_round_and_a_tenth_to_a_quarter_of_the_width(width, pixel_um):
    length, text = scale_bar(width, pixel_um)
    assert width / 10 <= length <= width / 4
    number, unit = text.split()
    assert number.strip("0.")[:1] in "125"
    factor = {"px": 1.0, "nm": 1e-3, "µm": 1.0, "mm": 1e3}[unit]
    assert float(number) * factor == pytest.approx(length * (pixel_um or 1.0))


@pytest.mark.parametrize(("pixel_um", "text"), [(None, "500 px"), (0.004, "2 µm")])
def test_the_scale_bar_of_a_reduced_overlay_is_told_in_pixels_of_the_data(pixel_um, text):
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    picture = np.zeros((50, 500))
    draw_overlay(axes, picture, picture.astype(int), CLASSES, pixel_um=pixel_um, reduced_by=4)
    assert [one.get_text() for one in axes.texts] == [text]
    assert axes.patches[-1].get_width() == pytest.approx(500 / 4)
