"""How many touching objects are told apart, and how the table agrees with scikit-image's.

    python benchmarks/objects.py [--stacks 4] [--out FOLDER]

Synthetic stacks, whose mitochondria keep clear of each other, so that each is known. They are grown
in every slice by some pixels, until some touch; what is found in their union is matched with them,
at an IoU of at least .5. Besides the splitting of ``find_objects`` there are connected parts, and
the recipe of scikit-image's gallery, a watershed from the maxima of the distance to the boundary.
Stores what was found, and prints it as tables in Markdown.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import records
from cells import table
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.measure import marching_cubes, mesh_surface_area, regionprops_table
from skimage.segmentation import expand_labels, watershed

from napari_spss import find_objects, object_table
from napari_spss.core.simulation import SYNTHETIC_VOXEL_SIZE_UM, synthetic_mitochondria

RESULTS = Path(__file__).parent / "results" / "objects"
GROWN_PX = (0, 7, 14, 21)
SHAPE = (16, 512, 512)
MIN_PX = 50

Instances = npt.NDArray[np.int32]


def recipe(min_distance_px: int) -> Callable[[npt.NDArray[np.bool_], bool], Instances]:
    """Splitting as in scikit-image's gallery, slice by slice or in the volume."""

    def split(is_object: npt.NDArray[np.bool_], per_slice: bool) -> Instances:
        if per_slice:
            found = np.zeros(is_object.shape, np.int32)
            for plane, one in zip(found, is_object, strict=True):
                numbers = split(one, False)
                plane[...] = np.where(numbers > 0, numbers + found.max(), 0)
            return found
        if not is_object.any():
            return np.zeros(is_object.shape, np.int32)
        voxel = SYNTHETIC_VOXEL_SIZE_UM[-is_object.ndim :]
        distance = ndimage.distance_transform_edt(is_object, sampling=voxel)
        parts, _ = ndimage.label(is_object)
        peaks = peak_local_max(
            distance, min_distance=min_distance_px, labels=parts, exclude_border=False
        )
        markers = np.zeros(is_object.shape, np.int32)
        markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
        return watershed(-distance, markers, mask=is_object)

    return split


def ours(split: float | None) -> Callable[[npt.NDArray[np.bool_], bool], Instances]:
    """`find_objects`, with or without splitting."""

    def find(is_object: npt.NDArray[np.bool_], per_slice: bool) -> Instances:
        return find_objects(
            is_object, per_slice=per_slice, voxel_size_um=SYNTHETIC_VOXEL_SIZE_UM, split=split
        )

    return find


METHODS = {
    "connected parts": ours(None),
    "split at .7": ours(0.7),
    "split at .5": ours(0.5),
    "recipe, 5 px": recipe(5),
    "recipe, 20 px": recipe(20),
}


def matched(truth: Instances, found: Instances) -> int:
    """Count the pairs with an IoU of at least .5, of which each is in one pair only."""
    shape = (int(truth.max()) + 1, int(found.max()) + 1)
    both = np.bincount(truth.ravel() * np.int64(shape[1]) + found.ravel(), minlength=np.prod(shape))
    both = both.reshape(shape)
    union = both.sum(axis=1, keepdims=True) + both.sum(axis=0) - both
    return int((both[1:, 1:] >= 0.5 * union[1:, 1:])[both[1:, 1:] > 0].sum())


def without_small(instances: Instances) -> Instances:
    """Leave out what is smaller than any object."""
    sizes = np.bincount(instances.ravel())
    return np.where(sizes[instances] >= MIN_PX, instances, 0)


def touching(instances: Instances) -> int:
    """Count the objects that touch another one within a slice."""
    found = set()
    for axis in (1, 2):
        one, other = instances, np.roll(instances, 1, axis)
        is_border = (one != other) & (one > 0) & (other > 0)
        is_border.swapaxes(0, axis)[0] = False
        found |= {*one[is_border].tolist(), *other[is_border].tolist()}
    return len(found)


def computed(n_stacks: int, shape: tuple[int, int, int] = SHAPE) -> records.Record:
    """Find objects in stacks in which they touch more and more."""
    rows, tables = [], []
    for per_slice in (False, True):
        for grown in GROWN_PX:
            counts = {name: [0, 0] for name in METHODS}
            n_true = n_touching = 0
            for seed in range(1, n_stacks + 1):
                _, labels = synthetic_mitochondria(shape[0], shape[1:], seed=seed)
                truth = find_objects(labels, per_slice=per_slice)
                truth = np.stack([expand_labels(plane, grown) for plane in truth])
                n_true += len(np.unique(truth)) - 1
                n_touching += touching(truth)
                for name, find in METHODS.items():
                    found = without_small(find(truth > 0, per_slice))
                    counts[name][0] += len(np.unique(found)) - 1
                    counts[name][1] += matched(truth, found)
                if grown == 0:
                    tables.append([per_slice, *differences(truth, per_slice)])
            rows.append([per_slice, grown, n_true, n_touching, counts])
    return {"n_stacks": n_stacks, "shape": list(shape), "rows": rows, "tables": tables}


def differences(instances: Instances, per_slice: bool) -> Iterator[float]:
    """Largest relative difference of our table from scikit-image's: size, axis, boundary."""
    voxel = SYNTHETIC_VOXEL_SIZE_UM
    ours = object_table(instances, per_slice=per_slice, voxel_size_um=voxel)
    if per_slice:
        names = ("area", "axis_major_length", "perimeter_crofton")
        planes = [regionprops_table(plane, properties=names) for plane in instances if plane.any()]
        known = [np.concatenate([one[name] for one in planes]) for name in names]
        mine = [ours[name] for name in ("pixels", "axis_major_px", "perimeter_px")]
    else:
        names = ("area", "axis_major_length")
        found = regionprops_table(instances, properties=names, spacing=voxel)
        surfaces = []
        for number in ours["object"]:
            padded = np.pad(instances == number, 1).astype(np.float32)
            surfaces.append(mesh_surface_area(*marching_cubes(padded, 0.5, spacing=voxel)[:2]))
        known = [*(found[name] for name in names), np.array(surfaces)]
        mine = [ours[name] for name in ("volume_um3", "axis_major_um", "surface_um2")]
    for one, other in zip(mine, known, strict=True):
        yield records.number(np.abs(one.to_numpy() / other - 1).max())


def print_tables(record: records.Record) -> None:
    """Print what was found, and the differences of the tables."""
    head = ["objects", "grown by", "truth", "touching", *(f"{name}" for name in METHODS)]
    rows = []
    for per_slice, grown, n_true, n_touching, counts in record["rows"]:
        cells = [f"{counts[name][1]} of {counts[name][0]}" for name in METHODS]
        where = "in each slice" if per_slice else "in the volume"
        rows.append([where, f"{grown} px", str(n_true), str(n_touching), *cells])
    print(table(head, rows))
    for per_slice in (False, True):
        worst = np.max([one[1:] for one in record["tables"] if one[0] == per_slice], axis=0)
        where = "in each slice" if per_slice else "in the volume"
        print(f"\n{where}: size {worst[0]:.1e}, axis {worst[1]:.1e}, boundary {worst[2]:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--stacks", type=int, default=4, help="how many stacks are drawn")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the record")
    asked = parser.parse_args()
    first = synthetic_mitochondria(*[SHAPE[0], SHAPE[1:]], seed=1)[1]
    record = records.stored(
        asked.out / "synthetic.json",
        lambda: computed(asked.stacks),
        data=records.data_hash([first]),
    )
    if record is not None:
        print_tables(record)


if __name__ == "__main__":
    main()
