"""The paper's data sets in their original forms, tiny."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

# unlabeled, building, land, road, vegetation, water
PALETTE = np.array(
    [
        (155, 155, 155),
        (60, 16, 152),
        (132, 41, 246),
        (110, 193, 228),
        (254, 221, 58),
        (226, 169, 41),
    ],
    np.uint8,
)


def draw_dubai(root: Path, *, name="tile_{}", shape=(224, 450), n_images=2) -> None:
    """Three tiles whose classes are vertical bars; some pixels black, one mask with a palette."""
    rng = np.random.default_rng(0)
    for tile in (1, 2, 3):
        folder = root / name.format(tile)
        (folder / "images").mkdir(parents=True)
        (folder / "masks").mkdir()
        for part in range(1, n_images + 1):
            truth = np.repeat(rng.permutation(6), shape[1] // 6 + 1)[: shape[1]]
            colours = PALETTE[np.broadcast_to(truth, shape)]
            pixels = (colours // 2 + rng.integers(0, 20, (*shape, 3))).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "images" / f"image_part_{part:03}.jpg")
            colours[:5, :5] = 0
            mask = Image.fromarray(colours)
            if part == 1:
                mask = mask.quantize(7, dither=Image.Dither.NONE)
            mask.save(folder / "masks" / f"image_part_{part:03}.png")


def discs(n_slices: int, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Dark discs on a grey ground; masks 0 and 255."""
    rng = np.random.default_rng(1)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    masks = np.zeros((n_slices, *shape), np.uint8)
    for mask in masks:
        for y, x in rng.uniform(0, 1, (4, 2)) * shape:
            mask[(rows - y) ** 2 + (columns - x) ** 2 < 20**2] = 255
    images = (150 - masks // 3 + rng.integers(0, 20, masks.shape)).astype(np.uint8)
    return images, masks


def draw_vnc(root: Path, *, n_slices=6, shape=(256, 256)) -> None:
    images, masks = discs(n_slices, shape)
    (root / "raw").mkdir(parents=True)
    (root / "mitochondria").mkdir()
    for z in range(n_slices):
        tifffile.imwrite(root / "raw" / f"{z:02}.tif", images[z])
        mask = Image.fromarray(masks[z])
        (mask.convert("1") if z == 1 else mask).save(root / "mitochondria" / f"{z:02}.png")


def draw_epfl(root: Path, *, n_slices=2, shape=(256, 512)) -> None:
    root.mkdir(parents=True)
    for group in ("training", "testing"):
        images, masks = discs(n_slices, shape)
        tifffile.imwrite(root / f"{group}.tif", images, photometric="minisblack")
        tifffile.imwrite(root / f"{group}_groundtruth.tif", masks, photometric="minisblack")
