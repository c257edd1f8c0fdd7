"""A synthetic stack that looks like serial-section EM of nervous tissue, with known mitochondria.

Everything that makes real stacks hard by grey value alone is in it: cell membranes as dark as
cristae, cells with dark cytoplasm, dense bodies of a mitochondrion's mean grey value, clusters of
vesicles, noise, and brightness that changes from slice to slice. It shows how a method is used; it
does not show how well the method does on real tissue.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..base import InputError

Floats: TypeAlias = npt.NDArray[np.float32]
Labels: TypeAlias = npt.NDArray[np.uint8]
Window: TypeAlias = tuple[slice, slice]

SYNTHETIC_VOXEL_SIZE_UM = (0.04, 0.008, 0.008)
"""(z, y, x): what the drawn sizes would be in tissue."""

_SMALLEST_PX = 64
_MEAN_FRACTION = 0.065
_COARSE = 2  # cells are computed at half the resolution: their borders are smooth

# Grey values, 0-255.
_CYTOPLASM, _DARK_CYTOPLASM = 176.0, 128.0
_MEMBRANE, _MATRIX, _CRISTA, _GAP = 58.0, 124.0, 70.0, 150.0
_DENSE_BODY, _VACUOLE = 108.0, 200.0


def synthetic_mitochondria(
    n_slices: int = 16, shape: tuple[int, int] = (512, 512), *, seed: int = 0
) -> tuple[Labels, Labels]:
    """Draw a stack and its truth.

    Parameters
    ----------
    n_slices : int
        Number of slices.
    shape : tuple of int
        (Y, X) of a slice in pixels, each at least 64.
    seed : int
        Same seed, same stack.

    Returns
    -------
    image : ndarray of uint8, (Z, Y, X)
        Membranes dark, cytoplasm bright.
    labels : ndarray of uint8, (Z, Y, X)
        1 on mitochondria, outer membrane included; 0 elsewhere. About 6.5 % of the pixels are 1;
        the fraction of single slices varies.

    Raises
    ------
    InputError
        If there is no slice, or a slice is too small.

    Examples
    --------
    >>> image, labels = synthetic_mitochondria(2, (96, 128), seed=1)
    >>> image.shape, image.dtype, labels.max()
    ((2, 96, 128), dtype('uint8'), np.uint8(1))
    """
    if n_slices < 1 or min(shape) < _SMALLEST_PX:
        raise InputError(
            f"a synthetic stack of {n_slices} slices of {shape[0]} x {shape[1]} pixels cannot be "
            f"drawn; choose at least 1 slice of {_SMALLEST_PX} x {_SMALLEST_PX}."
        )
    rng = np.random.default_rng(seed)
    taken = np.zeros((n_slices, *shape), np.uint8)
    area = n_slices * shape[0] * shape[1]
    mitochondria = _place(
        rng, taken, _MEAN_FRACTION * area, radius=(20.0, 31.0), stretch=(0.1, 2.0)
    )
    labels = (taken == 1).astype(np.uint8)
    bodies = _place(rng, taken, 0.02 * area, radius=(11.0, 24.0), stretch=(0.0, 0.3))
    vacuoles = _place(rng, taken, 0.015 * area, radius=(12.0, 26.0), stretch=(0.0, 0.8))
    image = _draw_cells(rng, labels.shape, mitochondria)
    wobble = _smooth_noise(rng, labels.shape, 12.0)
    for z in range(n_slices):
        _draw_small_structures(rng, image[z], taken[z])
        for body in bodies:
            _draw_body(image[z], body, z, _DENSE_BODY)
        for vacuole in vacuoles:
            _draw_body(image[z], vacuole, z, _VACUOLE)
        for mitochondrion in mitochondria:
            _draw_mitochondrion(image[z], mitochondrion, z, wobble[z])
    return _record(rng, image), labels


@dataclass(frozen=True)
class _Capsule:
    """A bent, tapering capsule that drifts from slice to slice."""

    # centre, in slices and pixels
    z: float
    y: float
    x: float
    half_z: float  # half of its extent over slices
    # of its widest section, in pixels
    radius: float
    half_length: float
    angle: float  # of its long axis, in radians; turns by ``turn`` a slice
    turn: float
    # pixels a slice
    drift_y: float
    drift_x: float
    bend: float  # curvature of the long axis, per pixel
    phase: float  # of its stripes and of the waves of its outline
    clearance: float  # least distance of its outline from the border of its cell, in pixels

    def size_at(self, z: float) -> float:
        """Size of the section in slice ``z`` relative to the widest; 0 outside."""
        depth = abs(z - self.z) / self.half_z
        return float((1 - depth**3) ** 0.5) if depth < 1 else 0.0

    def window(self, z: float, shape: tuple[int, int], margin: float) -> Window | None:
        """Part of the slice in which the section lies; None if it does not reach it."""
        if self.size_at(z) < 0.3:
            return None
        y, x = self.y + self.drift_y * (z - self.z), self.x + self.drift_x * (z - self.z)
        reach = self.half_length + 1.3 * self.radius + margin
        y0, y1 = max(0, int(y - reach)), min(shape[0], int(y + reach) + 2)
        x0, x1 = max(0, int(x - reach)), min(shape[1], int(x + reach) + 2)
        return None if y0 >= y1 or x0 >= x1 else (slice(y0, y1), slice(x0, x1))

    def frame(self, z: float, window: Window, step: int = 1) -> tuple[Floats, Floats]:
        """Coordinates (along, across) its long axis, in pixels, on every ``step``-th pixel."""
        rows, columns = (np.arange(w.start, w.stop, step, dtype=np.float32) for w in window)
        dy = (rows - (self.y + self.drift_y * (z - self.z)))[:, None]
        dx = (columns - (self.x + self.drift_x * (z - self.z)))[None, :]
        angle = self.angle + self.turn * (z - self.z)
        along = math.cos(angle) * dx + math.sin(angle) * dy
        across = math.cos(angle) * dy - math.sin(angle) * dx
        return along, across - np.float32(self.bend) * along**2

    def distance(self, z: float, along: Floats, across: Floats) -> Floats:
        """Distance to its outline in pixels, negative inside."""
        size = self.size_at(z)
        radius = np.float32(self.radius * (0.45 + 0.55 * size))
        beyond = np.maximum(np.abs(along) - np.float32(self.half_length * size), 0)
        waves = 0.05 * np.sin(along / 9 + self.phase) + 0.04 * np.sin(across / 7 - self.phase)
        return (np.hypot(beyond, across) - radius * (1 + waves)).astype(np.float32, copy=False)


def _place(
    rng: np.random.Generator,
    taken: Labels,
    area: float,
    *,
    radius: tuple[float, float],
    stretch: tuple[float, float],
) -> list[_Capsule]:
    """Place capsules that keep clear of each other until they cover ``area`` pixels.

    Marks their pixels in ``taken`` with 1, 2 and so on, one number a call.
    """
    n_slices, *shape = taken.shape
    mark = int(taken.max()) + 1
    placed: list[_Capsule] = []
    covered = np.zeros(n_slices)
    for _ in range(400):
        if covered.sum() >= area:
            break
        r = rng.uniform(*radius)
        half_z = rng.uniform(2.5, 6.5)
        capsule = _Capsule(
            z=float(covered.argmin()) + rng.normal(0, 1.5),  # where there is least so far
            y=rng.uniform(0, shape[0]),
            x=rng.uniform(0, shape[1]),
            half_z=half_z * min(1.0, r / 22),
            radius=r,
            half_length=r * rng.uniform(*stretch),
            angle=rng.uniform(0, math.pi),
            turn=rng.normal(0, 0.04),
            drift_y=rng.normal(0, 2.0),
            drift_x=rng.normal(0, 2.0),
            bend=rng.normal(0, 0.002),
            phase=rng.uniform(0, 2 * math.pi),
            clearance=rng.uniform(8.0, 22.0),
        )
        sections = _sections(capsule, taken)
        if sections:
            placed.append(capsule)
        for z, window, inside in sections:
            taken[z][window][inside] = mark
            covered[z] += np.count_nonzero(inside)
    return placed


def _sections(capsule: _Capsule, taken: Labels) -> list[tuple[int, Window, npt.NDArray[np.bool_]]]:
    """Pixels of a capsule per slice; none at all if it comes close to something else."""
    sections = []
    for z in range(taken.shape[0]):
        window = capsule.window(z, taken.shape[1:], margin=10)
        if window is None:
            continue
        distance = capsule.distance(z, *capsule.frame(z, window))
        if taken[z][window][distance < 10].any():
            return []
        sections.append((z, window, distance <= 0))
    return sections


def _draw_cells(
    rng: np.random.Generator, shape: tuple[int, ...], mitochondria: list[_Capsule]
) -> Floats:
    """Draw cytoplasm and membranes, (Z, Y, X); each mitochondrion inside one cell."""
    n_slices, height, width = shape
    coarse = (n_slices, -(-height // _COARSE), -(-width // _COARSE))
    n_cells = max(6, round(height * width / 4600))
    seeds = rng.uniform(-40, 40, (n_cells, 2)) + rng.uniform(0, 1, (n_cells, 2)) * shape[1:]
    drifts = rng.normal(0, 2.2, (n_cells, 2))
    sizes = rng.gamma(2.0, 9.0, n_cells).astype(np.float32)
    greys = np.where(rng.random(n_cells) < 0.15, _DARK_CYTOPLASM, _CYTOPLASM)
    greys = (greys + rng.normal(0, 7, n_cells)).astype(np.float32)
    warp = [
        26 * _smooth_noise(rng, coarse, 22.0) + 7 * _smooth_noise(rng, coarse, 7.0)
        for _ in range(2)
    ]
    rows = np.arange(coarse[1], dtype=np.float32)[:, None] * _COARSE
    columns = np.arange(coarse[2], dtype=np.float32)[None, :] * _COARSE
    image = np.empty(shape, np.float32)
    for z in range(n_slices):
        y, x = rows + warp[0][z], columns + warp[1][z]
        centres = (seeds + drifts * (z - n_slices / 2)).astype(np.float32)
        distances = np.stack(
            [np.hypot(y - cy, x - cx) - size for (cy, cx), size in zip(centres, sizes, strict=True)]
        )
        bulges = [_bulge(mitochondrion, z, distances, warp[0][z]) for mitochondrion in mitochondria]
        for cell, part, bulged in filter(None, bulges):
            np.minimum(distances[cell][part], bulged, out=distances[cell][part])
        owner = distances.argmin(axis=0)
        nearest = np.partition(distances, 1, axis=0)
        image[z] = _render_cells((nearest[1] - nearest[0]) / 2, greys[owner], (height, width))
    return image


def _bulge(
    capsule: _Capsule, z: int, distances: Floats, waves: Floats
) -> tuple[int, Window, Floats] | None:
    """Distances to the cell that a capsule lies in that let the cell hold all of the capsule.

    Returns the cell's index, the part of the coarse slice, and the distances there.
    """
    shape = (waves.shape[0] * _COARSE, waves.shape[1] * _COARSE)
    window = capsule.window(z, shape, margin=2 * capsule.clearance + 10)
    if window is None:
        return None
    part = (
        slice(window[0].start // _COARSE, -(-window[0].stop // _COARSE)),
        slice(window[1].start // _COARSE, -(-window[1].stop // _COARSE)),
    )
    aligned = (
        slice(part[0].start * _COARSE, part[0].stop * _COARSE),
        slice(part[1].start * _COARSE, part[1].stop * _COARSE),
    )
    along, across = capsule.frame(z, aligned, _COARSE)
    outside = capsule.distance(z, along, across)
    here = distances[(slice(None), *part)]
    middle = int(outside.argmin())
    cell = int(here.reshape(len(here), -1)[:, middle].argmin())
    others = np.delete(here, cell, axis=0).min(axis=0)
    clearance = capsule.clearance * (1 + 0.012 * waves[part])
    return cell, part, others + 2 * (outside - clearance)


def _render_cells(border: Floats, greys: Floats, shape: tuple[int, int]) -> Floats:
    """Grey values of one slice at full resolution from the distance to the cells' borders."""
    height, width = shape
    fine = ndimage.zoom(border, _COARSE, order=1, grid_mode=True, mode="nearest")[:height, :width]
    grey = np.repeat(np.repeat(greys, _COARSE, axis=0), _COARSE, axis=1)[:height, :width]
    membrane = np.exp(-((fine / 2.6) ** 2))
    rendered: Floats = grey + (_MEMBRANE - grey) * membrane
    return rendered


def _draw_small_structures(rng: np.random.Generator, image: Floats, taken: Labels) -> None:
    """Draw vesicles in clusters, microtubules and tubes of the endoplasmic reticulum, in place."""
    height, width = image.shape
    n = max(1, round(height * width / 26000))
    centres = rng.uniform(0, 1, (n, 2)) * image.shape
    vesicles = np.repeat(centres, 28, axis=0) + rng.normal(0, 17, (28 * n, 2))
    dots = rng.uniform(0, 1, (n * 45, 2)) * image.shape
    ink = np.zeros(image.shape, np.float32)
    for points, stamp in ((vesicles, _VESICLE), (dots, _DOT)):
        _stamp(ink, points, stamp)
    for _ in range(2 * n):
        _stamp(ink, _tube(rng, image.shape), _DOT)
    image -= np.where(taken > 0, 0, np.clip(ink, -30, 75))


def _tube(rng: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Points along a short winding curve."""
    n = int(rng.integers(25, 70))
    angles = rng.uniform(0, 2 * math.pi) + np.cumsum(rng.normal(0, 0.16, n))
    steps = 1.7 * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    points: npt.NDArray[np.float64] = rng.uniform(0, 1, 2) * shape + np.cumsum(steps, axis=0)
    return points


def _stamp(ink: Floats, points: npt.NDArray[np.float64], stamp: Floats) -> None:
    """Add a stamp at every point that lies far enough inside, in place."""
    half = stamp.shape[0] // 2
    places = np.rint(points).astype(int)
    is_inside = ((places >= half) & (places < np.array(ink.shape) - half)).all(axis=1)
    for y, x in places[is_inside].tolist():
        ink[y - half : y + half + 1, x - half : x + half + 1] += stamp


def _ring(radius: float, width: float, depth: float, *, lumen: float = 0.0) -> Floats:
    """A ring of ink, with less than none inside."""
    half = math.ceil(radius + 2 * width)
    axis = np.arange(-half, half + 1, dtype=np.float32)
    distance = np.hypot(axis[:, None], axis[None, :])
    ring = depth * np.exp(-(((distance - radius) / width) ** 2)) - lumen * (distance < radius - 1)
    return ring.astype(np.float32)


_VESICLE = _ring(4.2, 1.5, 62.0, lumen=8.0)
_DOT = _ring(0.0, 1.8, 48.0)


def _draw_body(image: Floats, capsule: _Capsule, z: int, grey: float) -> None:
    """Draw a body of one grey value with a thin membrane, in place."""
    window = capsule.window(z, image.shape, margin=4)
    if window is None:
        return
    distance = capsule.distance(z, *capsule.frame(z, window))
    _blend(image[window], np.float32(grey), _step(-distance))
    _blend(image[window], np.float32(_MEMBRANE), 0.8 * np.exp(-((distance / 1.8) ** 2)))


def _draw_mitochondrion(image: Floats, capsule: _Capsule, z: int, wobble: Floats) -> None:
    """Draw matrix, double membrane and cristae, in place."""
    window = capsule.window(z, image.shape, margin=4)
    if window is None:
        return
    along, across = capsule.frame(z, window)
    distance = capsule.distance(z, along, across)
    target, wave = image[window], wobble[window]
    _blend(target, np.float32(_MATRIX), _step(-distance))
    # Cristae: winding plates across the long axis, interrupted where the wobble is high.
    stripes = np.cos(2 * math.pi * (along + 0.15 * across + 5.5 * wave) / 12.0 + capsule.phase + z)
    cristae = _step(9 * (stripes - 0.35)) * _step(6 * (1.0 - wave * np.sign(stripes + wave)))
    _blend(target, np.float32(_CRISTA), 0.9 * cristae * _step(-distance - 7.5))
    _blend(target, np.float32(_GAP), 0.8 * np.exp(-(((distance + 4.6) / 1.5) ** 2)))
    for depth in (-1.2, -8.0):
        _blend(target, np.float32(_MEMBRANE), 0.9 * np.exp(-(((distance - depth) / 1.7) ** 2)))


def _blend(target: Floats, grey: np.float32, amount: Floats) -> None:
    """Mix a grey value in, in place."""
    target += (grey - target) * amount


def _step(x: Floats) -> Floats:
    """A soft step from 0 to 1 within about two pixels of 0."""
    step: Floats = np.clip(0.5 + 0.5 * x, 0, 1)
    return step


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], scale: float) -> Floats:
    """Noise (Z, Y, X) of unit deviation with features of ``scale`` pixels and some slices."""
    small = (shape[0], *(math.ceil(length / scale) + 3 for length in shape[1:]))
    noise = ndimage.gaussian_filter(rng.standard_normal(small).astype(np.float32), (2, 0.7, 0.7))
    noise /= noise.std() + np.float32(1e-6)
    planes = [
        ndimage.zoom(plane, math.ceil(scale), order=1, grid_mode=True, mode="nearest")
        for plane in noise
    ]
    smooth: Floats = np.stack(planes)[:, : shape[1], : shape[2]]
    return smooth


def _record(rng: np.random.Generator, image: Floats) -> Labels:
    """Add texture, uneven brightness and the noise of the detector; round to grey values."""
    n_slices, height, width = image.shape
    rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    recorded = np.empty(image.shape, np.uint8)
    for z in range(n_slices):
        texture = ndimage.gaussian_filter(
            rng.standard_normal((height, width), dtype=np.float32), 1.6
        )
        grey = ndimage.gaussian_filter(image[z], 0.7) + 55 * texture
        contrast, brightness = rng.normal(1, 0.05), rng.normal(0, 6)
        tilt = rng.normal(0, 5) * rows + rng.normal(0, 5) * columns
        grey = 128 + contrast * (grey - 128) + np.float32(brightness) + tilt.astype(np.float32)
        grey += 11 * rng.standard_normal((height, width), dtype=np.float32)
        recorded[z] = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    return recorded
