"""How often intervals of a fraction hold the truth, and how wide they are, on real masks.

    NAPARI_SPSS_DATA=data python benchmarks/intervals.py [--data vnc] [--drawings 400]

Masks are the truth: the stack ``vnc_sstem`` at every second pixel, contact sheets of it, and the
axons of ``axon_sem`` at every second pixel. Maps are the truth with errors of a known kind. A check
count is drawn anew each time, with no wrong node, with 2 % wrong ones, and with these after a
second look at every node that contradicts the map; for the labels alone, the errors are. Nothing is
trained. Stores what was found, and prints it as a table in Markdown: how many intervals hold the
truth; how wide they are, as a part of it; and the bias of the fractions.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import records
from annotation.images import contact_sheets, read_axon, read_vnc
from cells import NOTHING, table
from scipy import ndimage
from skimage.draw import disk

from napari_spss.core.analysis import Estimate, estimate_fractions
from napari_spss.core.annotations import Annotations, CountingGrid, lay_frames, lay_grid
from napari_spss.core.images import LabelSource, as_label_source

CLASSES = ("background", "object")
WRONG = 0.02
RESULTS = Path(__file__).parent / "results" / "intervals"
NODES = ("all nodes right", "2 % wrong", "after a second look")
COUNTS = ("count", "count, Cavalieri")
UNCORRECTED, CORRECTED = "labels, uncorrected", "labels, corrected"
RADIUS_PX = 12
HEAD = (
    *("map", "method", "check count", "0 % wrong", "2 % wrong", "2 % wrong, second look"),
    "nodes for ± 10 %: 0 %, second look",
)

Images = list[npt.NDArray[np.uint8]]
Design = Callable[[LabelSource, np.random.Generator], Sequence[CountingGrid]]


@dataclass(frozen=True)
class DataSet:
    """Where masks come from, and how they are counted.

    Parameters
    ----------
    read : callable
        Gives masks of one class, 0 and 1, from the folder of all data.
    is_stack : bool
        Whether they are neighbours.
    px_per_disc : int
        One disc is made up on so many pixels.
    designs : dict of str to callable
        Lays check counts.
    """

    read: Callable[[Path], Images]
    is_stack: bool
    px_per_disc: int
    designs: dict[str, Design]


def read_stack(root: Path) -> Images:
    """Mitochondria of the stack, at every second pixel."""
    return [mask[::2, ::2] for mask in read_vnc(root).truth]


def read_sheets(root: Path) -> Images:
    """Three sheets of its slices, reduced."""
    return [np.minimum(mask, 1) for mask in contact_sheets(read_vnc(root), 3).truth]


def read_axons(root: Path) -> Images:
    """Axons of all images, at every second pixel."""
    return [(mask[::2, ::2] == 2).astype(np.uint8) for mask in read_axon(root).truth]


class Errs:
    """Makes maps of a truth, with errors that are drawn."""

    def __init__(self, truth: Images, data: DataSet) -> None:
        flat = ndimage.generate_binary_structure(3, 1)
        flat[[0, 2]] = False
        self._shapes = [mask.shape for mask in truth]
        self._truth = np.zeros((len(truth), *np.max(self._shapes, axis=0)), dtype=bool)
        for plane, mask in zip(self._truth, truth, strict=True):
            plane[: mask.shape[0], : mask.shape[1]] = mask
        self._wide = ndimage.binary_dilation(self._truth, flat)
        joins = None if data.is_stack else flat
        self._objects, self._n_objects = ndimage.label(self._truth, joins)
        self._n_discs = self._truth.size // data.px_per_disc

    def draw(self, rng: np.random.Generator) -> Iterator[tuple[str, Images]]:
        """Maps with errors of one kind, and of all of them."""
        is_missed = np.append(False, rng.random(self._n_objects) < 0.2)[self._objects]
        is_made_up = np.zeros_like(self._truth)
        places = rng.integers(self._truth.size, size=self._n_discs)
        for z, y, x in np.transpose(np.unravel_index(places, self._truth.shape)).tolist():
            plane = is_made_up[z]
            plane[disk((y, x), RADIUS_PX + 0.01, shape=plane.shape)] = True
        for name, found in (
            ("1 px wider", self._wide),
            ("a fifth of the objects missed", self._truth & ~is_missed),
            ("discs made up", self._truth | is_made_up),
            ("all of these", (self._wide & ~is_missed) | is_made_up),
        ):
            yield (
                name,
                [
                    plane[: shape[0], : shape[1]].astype(np.uint8)
                    for plane, shape in zip(found, self._shapes, strict=True)
                ],
            )


def fraction_of(masks: Images) -> float:
    """Fraction of all pixels."""
    return sum(int(mask.sum()) for mask in masks) / sum(mask.size for mask in masks)


def frames(n: int) -> Design:
    """So many frames of 8 x 8 nodes."""

    def lay(truth: LabelSource, rng: np.random.Generator) -> Sequence[CountingGrid]:
        return lay_frames(truth, n, 128, 8, rng=rng)

    return lay


def grids(n: int) -> Design:
    """Grids of 16 x 16 nodes on so many slices at equal distances, from a random one on."""

    def lay(truth: LabelSource, rng: np.random.Generator) -> Sequence[CountingGrid]:
        step = truth.n_slices // n
        slices = int(rng.integers(step)) + step * np.arange(n)
        return [lay_grid(z, truth.shape_of(z), n_side=16, rng=rng) for z in slices.tolist()]

    return lay


FRAMES = {"16 frames of 64 nodes": frames(16), "32 frames of 64 nodes": frames(32)}
DATA = {
    "vnc": DataSet(read_stack, True, 60_000, {**FRAMES, "5 grids of 256 nodes": grids(5)}),
    "sheets": DataSet(read_sheets, False, 60_000, FRAMES),
    "axon": DataSet(read_axons, False, 17_000, {**FRAMES, "4 grids of 256 nodes": grids(4)}),
}


def judged(
    grid: CountingGrid, truth: Images, found: Images, n_looks: int, rng: np.random.Generator
) -> CountingGrid:
    """What a person says of the nodes: right (no look), at a look, or at two.

    The second look is at the nodes of which the map says something else.
    """
    y, x = (np.floor(axis + 0.5).astype(int) for axis in (grid.y, grid.x))
    right = truth[grid.slice][y, x].astype(np.int16)
    said = right.copy()
    for look in range(n_looks):
        is_looked_at = (said != found[grid.slice][y, x]) | (look == 0)
        at_look = np.where(rng.random(right.size) < WRONG, 1 - right, right)
        said = np.where(is_looked_at, at_look, said)
    return grid.replace(class_index=said, is_done=True)


def drawn(
    truth: Images,
    found: Images,
    design: Design,
    n_looks: int,
    n_drawings: int,
    *,
    is_stack: bool,
) -> dict[str, list[Estimate]]:
    """Estimates by method, of so many drawings of the count."""
    estimates: dict[str, list[Estimate]] = {}
    for seed in range(n_drawings):
        rng = np.random.default_rng(seed)
        laid = design(as_label_source(truth), rng)
        check = Annotations(
            CLASSES, grids=tuple(judged(grid, truth, found, n_looks, rng) for grid in laid)
        )
        for one in estimate_fractions(found, check, is_set=not is_stack):
            estimates.setdefault(one.method, []).append(one)
    return estimates


def told(estimates: Sequence[Estimate], true: float) -> records.Record:
    """Bias and half width as parts of the truth, coverage, and nodes that were judged.

    Half width and coverage are None where there is no interval.
    """
    fraction, low, high = np.array([(one.fraction, one.low, one.high) for one in estimates]).T
    is_sample = not np.isnan(low).any()
    return {
        "bias": float(fraction.mean() / true - 1),
        "coverage": float(((low <= true) & (true <= high)).mean()) if is_sample else None,
        "half_width": float(((high - low) / 2).mean() / true) if is_sample else None,
        "nodes": float(np.mean([one.nodes for one in estimates])),
    }


def computed(data: DataSet, truth: Images, n_drawings: int) -> records.Record:
    """What counts tell, and labels that they correct, by map, check count and wrong nodes."""
    true = fraction_of(truth)
    found: dict[str, dict[str, dict[str, records.Record]]] = {}
    for name, labels in Errs(truth, data).draw(np.random.default_rng(0)):
        key = f"{name} ({100 * (fraction_of(labels) / true - 1):+.0f} %)"
        for count, design in data.designs.items():
            for n_looks, nodes in enumerate(NODES):
                estimates = drawn(
                    truth, labels, design, n_looks, n_drawings, is_stack=data.is_stack
                )
                of_methods = {
                    method: told(estimates[method], true)
                    for method in (*COUNTS, CORRECTED)
                    if method in estimates
                }
                found.setdefault(key, {}).setdefault(count, {})[nodes] = of_methods
    return {"drawings": n_drawings, "fraction": true, "maps": found}


def alone(data: DataSet, truth: Images, n_drawings: int) -> records.Record:
    """What labels tell uncorrected, by the kind of their errors, which are drawn anew."""
    errs, found = Errs(truth, data), dict[str, list[Estimate]]()
    for seed in range(n_drawings):
        for name, labels in errs.draw(np.random.default_rng(seed)):
            for one in estimate_fractions(labels, classes=CLASSES, is_set=not data.is_stack):
                if one.method == UNCORRECTED:
                    found.setdefault(name, []).append(one)
    true = fraction_of(truth)
    maps = {name: told(estimates, true) for name, estimates in found.items()}
    return {"drawings": n_drawings, "fraction": true, "maps": maps}


def rows(record: records.Record, of_labels: records.Record) -> Iterator[list[str]]:
    """A row per map, method and check count; what a count alone says depends on no map."""
    for place, (name, counts) in enumerate(record["maps"].items()):
        for method in (*COUNTS, CORRECTED) if not place else (CORRECTED,):
            if method == CORRECTED:
                uncorrected = of_labels["maps"][name.partition(" (")[0]]
                yield [name, UNCORRECTED, NOTHING, shown(uncorrected), *[NOTHING] * 3]
            for count, of_nodes in counts.items():
                if method not in of_nodes[NODES[0]]:
                    continue
                cells = [of_nodes[nodes][method] for nodes in NODES]
                needed = [one["nodes"] * (one["half_width"] / 0.1) ** 2 for one in cells]
                yield [
                    name if method == CORRECTED else NOTHING,
                    method,
                    count,
                    *map(shown, cells),
                    f"{needed[0]:.0f}, {needed[-1]:.0f}",
                ]


def shown(found: records.Record) -> str:
    """Coverage, half width and bias."""
    bias = f"{100 * found['bias']:+.0f} %"
    if found["coverage"] is None:
        return f"no interval ({bias})"
    return f"{found['coverage']:.2f}, ± {100 * found['half_width']:.0f} % ({bias})"


def files(name: str, folder: Path = RESULTS) -> tuple[Path, Path]:
    """Records of counts and corrected labels, and of labels alone."""
    return folder / f"{name}.json", folder / f"{name}_labels.json"


def render(name: str, folder: Path = RESULTS) -> str:
    """Write the table of a data set from its records."""
    return table(HEAD, rows(*map(records.read, files(name, folder))))


def main() -> None:
    """Draw counts again and again, or read what was stored; print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--drawings", type=int, default=400)
    parser.add_argument("--data", choices=DATA, default="vnc")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    options = parser.parse_args()
    data = DATA[options.data]
    truth = data.read(Path(os.environ["NAPARI_SPSS_DATA"]))
    found = [
        records.stored(
            path, partial(compute, data, truth, options.drawings), data=records.data_hash(truth)
        )
        for path, compute in zip(files(options.data, options.out), (computed, alone), strict=True)
    ]
    if all(found):
        print(render(options.data, options.out))


if __name__ == "__main__":
    main()
