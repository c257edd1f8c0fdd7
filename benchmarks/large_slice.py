"""Memory of training on one large slice, of which nothing is said but in frames.

    python benchmarks/large_slice.py 4096 8192 16384 --out benchmarks/results/memory

Each size is trained for some steps in a process of its own. The memory is what the process held at
most, beyond what it held before it read the image.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import records
import tifffile
from speed import peak_mb

N_FRAMES, FRAME_PX, NODES = 16, 256, 8


def write_noise(path: Path, size: int) -> None:
    """Write a slice of noise, some rows at a time."""
    pixels = tifffile.memmap(path, shape=(size, size), dtype=np.uint8, photometric="minisblack")
    rng = np.random.default_rng(0)
    for y in range(0, size, 256):
        pixels[y : y + 256] = rng.integers(0, 255, (256, size), np.uint8)
    pixels.flush()


def train(path: Path, n_steps: int) -> None:
    """Train on 16 frames of a slice, and print what it took."""
    from napari_spss.core.annotations import Annotations, Classes, lay_frames
    from napari_spss.core.base import preset
    from napari_spss.core.images import open_stack
    from napari_spss.core.training import fit

    stack = open_stack(path)
    rng = np.random.default_rng(0)
    shape = (stack.n_slices, *stack.shape_of(0))
    frames = tuple(
        frame.replace(class_index=(rng.random(frame.y.size) < 0.1).astype(np.int16), is_done=True)
        for frame in lay_frames(shape, N_FRAMES, FRAME_PX, NODES, rng=rng)
    )
    annotations = Annotations(Classes(("background", "object")), grids=frames)
    settings = preset("fast").with_overrides({"optimisation.max_steps": n_steps})
    before, start = peak_mb(), time.perf_counter()
    fit(stack, annotations, settings, device="cpu")
    taken = {"seconds": round(time.perf_counter() - start, 1), "mib": round(peak_mb() - before)}
    print(json.dumps(taken))


def main() -> None:
    """Run from the shell."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sizes", nargs="+", type=int, help="edge of the slice, in pixels")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, default=None, help="folder for a record of each size")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        train(options.one, options.steps)
        return
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "slice.tif"
            write_noise(path, size)
            command = [sys.executable, "-W", "ignore", __file__, "0", "--one", str(path)]
            done = subprocess.run(
                [*command, "--steps", str(options.steps)], check=True, stdout=subprocess.PIPE
            )
        taken = {"size_px": size, "steps": options.steps, **json.loads(done.stdout)}
        print(taken, flush=True)
        if options.out is not None:
            records.write(options.out / f"train_{size}.json", {**taken, "commit": records.commit()})


if __name__ == "__main__":
    main()
