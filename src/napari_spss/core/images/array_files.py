"""Array files as lazy stacks: NumPy ``.npy``, MRC volumes and (OME-)Zarr folders."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..base import UNKNOWN_VOXEL, InputError, VoxelSize, length_um, merge_voxel_size
from .axes import guess_axes, resolve_axes
from .stack_base import ArrayLike, ArrayStack, Stack, check_dtype, reading

__all__ = ["is_zarr", "open_mrc", "open_npy", "open_zarr"]

_ZARR_FILES = ("zarr.json", ".zarray", ".zgroup")
_MRC_HEADER_BYTES = 1024
_IMOD_STAMP = 1146047817
_SIGNED_BYTES = 1


def open_npy(
    path: Path, *, axes: str | None, voxel_size_um: Sequence[float | None] | None
) -> Stack:
    """Memory-map a NumPy file; without ``axes`` they follow from its shape."""
    with reading(str(path)):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    return _stack(array, path, axes, voxel_size_um)


def open_mrc(
    path: Path, *, axes: str | None, voxel_size_um: Sequence[float | None] | None
) -> Stack:
    """Memory-map an MRC file; its voxel size is stated in ångström.

    Raises
    ------
    InputError
        If the optional package mrcfile is missing, or the file is damaged.
    """
    try:
        mrcfile = importlib.import_module("mrcfile")
    except ImportError as error:
        raise InputError(
            f'reading {path} needs the package mrcfile; run: pip install "napari-spss[mrc]"'
        ) from error
    with reading(str(path)), mrcfile.mmap(path, mode="r") as mrc:
        header = mrc.header
        shape, dtype = tuple(mrc.data.shape), _mrc_dtype(mrc.data.dtype, header)
        offset = _MRC_HEADER_BYTES + int(header.nsymbt)
        found = [length_um(float(mrc.voxel_size[axis]), "angstrom") for axis in "zyx"]
    with reading(str(path)):
        array = np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape)
    return _stack(array, path, axes, voxel_size_um, (found[0], found[1], found[2]))


def _mrc_dtype(dtype: np.dtype[Any], header: Any) -> np.dtype[Any]:
    """Dtype of the voxels: IMOD means unsigned bytes unless a flag says otherwise."""
    stamp, flags = np.frombuffer(header.extra2.tobytes()[40:48], header.nx.dtype)
    is_unsigned = stamp == _IMOD_STAMP and not flags & _SIGNED_BYTES
    return np.dtype(np.uint8) if dtype == np.int8 and is_unsigned else dtype


def is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr array or group."""
    return path.suffix.lower() == ".zarr" or any((path / name).is_file() for name in _ZARR_FILES)


def open_zarr(
    path: Path, *, axes: str | None, voxel_size_um: Sequence[float | None] | None
) -> Stack:
    """Open a Zarr array, the only array of a group, or the finest level of an OME-Zarr image."""
    import zarr  # half a second

    with reading(str(path)):
        node = zarr.open(path, mode="r")
        if isinstance(node, zarr.Array):
            return _stack(node, path, axes, voxel_size_um)
        attributes: dict[str, Any] = dict(node.attrs)
        attributes = attributes.get("ome", attributes)
        multiscales = attributes.get("multiscales")
        if multiscales:
            finest: Any = node[multiscales[0]["datasets"][0]["path"]]
            letters, voxel = _multiscale_axes(multiscales[0])
            return _stack(finest, path, axes or letters, voxel_size_um, voxel)
        arrays = dict(node.arrays())
        if len(arrays) != 1:
            names = ", ".join(sorted(arrays)) or "none"
            raise InputError(
                f"{path} is a Zarr group with {len(arrays)} arrays ({names}) and no OME-Zarr "
                "image; choose the folder of one array."
            )
        return _stack(next(iter(arrays.values())), path, axes, voxel_size_um)


def _multiscale_axes(multiscale: Mapping[str, Any]) -> tuple[str | None, VoxelSize]:
    """Axis letters, None if not stated, and voxel size of the finest level."""
    axes = [a if isinstance(a, Mapping) else {"name": a} for a in multiscale.get("axes", ())]
    scale = np.ones(len(axes))
    for part in (multiscale["datasets"][0], multiscale):
        for transformation in part.get("coordinateTransformations", ()):
            if transformation.get("type") == "scale" and len(transformation["scale"]) == len(axes):
                scale = scale * np.asarray(transformation["scale"], float)
    lengths = {
        axis["name"].lower(): length_um(float(step), axis.get("unit"))
        for axis, step in zip(axes, scale, strict=True)
    }
    letters = "".join(axis["name"][:1] for axis in axes) or None
    return letters, (lengths.get("z"), lengths.get("y"), lengths.get("x"))


def _stack(
    array: ArrayLike,
    path: Path,
    axes: str | None,
    voxel_size_um: Sequence[float | None] | None,
    found: VoxelSize = UNKNOWN_VOXEL,
) -> Stack:
    source = str(path)
    dtype = check_dtype(array.dtype, source)
    letters = axes or guess_axes(array.shape, dtype, source=source)
    return ArrayStack(
        array,
        resolve_axes(letters, array.shape, source=source),
        source=source,
        voxel_size_um=merge_voxel_size(voxel_size_um, found),
    )
