"""Images on disk as lazy stacks: which reader opens what, folders, PNG and JPEG."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import imagecodecs
import numpy as np
from natsort import natsort_keygen, ns
from PIL import Image

from ..base import InputError, VoxelSize, length_um, merge_voxel_size, printed_pixel_um
from .array_files import is_zarr, open_mrc, open_npy, open_zarr
from .series import ImageSeries
from .sidecar import SidecarSizes
from .stack_base import Box, Pixels, Stack, reading
from .tiff import Palette, TiffImage, open_tiff

__all__ = ["natural_order", "open_image_files"]

_TIFF = (".tif", ".tiff", ".btf", ".tf8", ".tf2")
_PICTURES = (".png", ".jpg", ".jpeg")
_MRC = (".mrc", ".rec", ".st", ".map")
_NPY = (".npy",)
_READABLE = "TIFF, PNG, JPEG, MRC (.mrc, .rec), .npy, .zarr, or a folder of TIFF, PNG or JPEG"
_SLICE_AXES = frozenset("ZT")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_WITH_ALPHA = 4  # bit of the colour type
_pillow_limit = threading.Lock()
_sort_key = natsort_keygen(alg=ns.IGNORECASE)


def natural_order(paths: Sequence[Path]) -> list[Path]:
    """Sort paths by name as people do: ``z2.png`` before ``z10.png``.

    Examples
    --------
    >>> [path.name for path in natural_order([Path("z10.png"), Path("z2.png")])]
    ['z2.png', 'z10.png']
    """
    return sorted(paths, key=lambda path: (_sort_key(path.stem), _sort_key(path.suffix), path.name))


def open_image_files(
    path: Path,
    *,
    axes: str | None = None,
    voxel_size_um: Sequence[float | None] | None = None,
    palette: Palette = "display",
    is_strict: bool = True,
) -> Stack:
    """Open a file or folder with the reader for its kind.

    Parameters
    ----------
    path : Path
        File or folder, see `open_stack`.
    axes, voxel_size_um
        See `open_stack`.
    palette : {"display", "rgb", "index"}
        What colour tables mean: images look as shown; colour masks need "rgb", index masks
        "index".
    is_strict : bool
        Whether the images of a folder must agree in dtype and number of channels.

    Raises
    ------
    InputError
        See `open_stack`.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path.")
    suffix = path.suffix.lower()
    if path.is_dir() and is_zarr(path):
        return open_zarr(path, axes=axes, voxel_size_um=voxel_size_um)
    if path.is_dir():
        return _open_folder(path, axes, voxel_size_um, palette, is_strict)
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes); copy or export it again.")
    if suffix in _NPY:
        return open_npy(path, axes=axes, voxel_size_um=voxel_size_um)
    if suffix in _MRC:
        return open_mrc(path, axes=axes, voxel_size_um=voxel_size_um)
    if suffix in _TIFF:
        stack = open_tiff(path, axes=axes, voxel_size_um=voxel_size_um, palette=palette)
        return _with_voxel_size(stack, None, SidecarSizes(path.parent).of(path))
    if suffix in _PICTURES:
        picture = _Picture(path, palette)
        _check_slice_axes(axes)
        return _with_voxel_size(picture, voxel_size_um, SidecarSizes(path.parent).of(path))
    raise InputError(
        f"{path} is of a kind ({suffix or 'no extension'}) that cannot be read; "
        f"convert it to one of: {_READABLE}."
    )


def _open_folder(
    folder: Path,
    axes: str | None,
    voxel_size_um: Sequence[float | None] | None,
    palette: Palette,
    is_strict: bool,
) -> Stack:
    visible = [path for path in folder.iterdir() if not path.name.startswith(".")]
    paths = natural_order(
        [p for p in visible if p.suffix.lower() in (*_TIFF, *_PICTURES) and p.is_file()]
    )
    if not paths:
        others = ", ".join(path.name for path in natural_order(visible)[:3])
        raise InputError(
            f"folder {folder} holds no images"
            + (f" of its own, only others such as {others}" if others else "; it is empty")
            + ". Choose a folder of PNG, TIFF or JPEG files."
        )
    image_axes = _check_slice_axes(axes)
    sidecars = SidecarSizes(folder)
    images = []
    for path in paths:
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty (0 bytes); copy it again, or remove it.")
        is_tiff = path.suffix.lower() in _TIFF
        image: Stack = (
            TiffImage(path, axes=image_axes, palette=palette)
            if is_tiff
            else _Picture(path, palette)
        )
        images.append(_with_voxel_size(image, voxel_size_um, sidecars.of(path)))
    return ImageSeries(
        images,
        source=str(folder),
        names=[path.name for path in paths],
        is_set=len({image.shape_of(0) for image in images}) > 1,
        spacing_um=images[0].voxel_size_um[0],
        is_strict=is_strict,
    )


def _check_slice_axes(axes: str | None) -> str | None:
    """Axes of one image of a stack: the slice axis is the folder itself."""
    if axes is None:
        return None
    return "".join(letter for letter in axes.upper() if letter not in _SLICE_AXES)


def _with_voxel_size(
    stack: Stack, stated: Sequence[float | None] | None, fallback: VoxelSize
) -> Stack:
    """Set the voxel size: stated, else the file's own, else the fallback."""
    own = merge_voxel_size(stack.voxel_size_um, fallback)
    stack.voxel_size_um = merge_voxel_size(stated, own)
    return stack


class _Picture(Stack):
    """A PNG or JPEG, decoded on demand; alpha is left out, 1-bit becomes 0 and 255."""

    def __init__(self, path: Path, palette: Palette) -> None:
        self._path, self._palette = path, palette
        self._is_deep_png = _is_deep_colour_png(path)
        with _open_picture(path) as image:
            self._yx = (image.height, image.width)
            # the mode's own dtype and channels, from a single pixel: nothing is decoded
            sample = _to_array(Image.new(image.mode, (1, 1)), self._colour_mode(image))
            dots_per_inch = image.info.get("dpi", (0, 0))
        x_um, y_um = (
            printed_pixel_um(length_um(1 / float(dpi), "inch")) if dpi else None
            for dpi in dots_per_inch[:2]
        )
        super().__init__(
            n_slices=1,
            n_channels=sample.shape[0],
            dtype=np.dtype(np.uint16) if self._is_deep_png else sample.dtype.newbyteorder("="),
            source=str(path),
            channel_axis_is_rgb=sample.shape[0] == 3,
            voxel_size_um=(None, y_um, x_um),
        )

    def _colour_mode(self, image: Image.Image) -> str:
        """Pillow mode to convert to: the own one unless it stands for something else."""
        mode = image.mode
        if mode == "1":
            return "L"
        if mode in ("P", "PA"):
            if self._palette == "index":
                return mode
            colours = np.asarray(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
            is_grey = self._palette == "display" and bool((colours == colours[:, :1]).all())
            return "L" if is_grey else "RGB"
        return "RGB" if mode in ("CMYK", "YCbCr", "LAB", "HSV", "RGBX", "RGBa") else mode

    def _shape(self, z: int) -> tuple[int, int]:
        return self._yx

    def _read(self, z: int, box: Box) -> Pixels:
        y0, x0, y1, x1 = box
        if self._is_deep_png:
            samples = imagecodecs.png_decode(self._path.read_bytes())
            n_colours = self.n_channels
            pixels = np.moveaxis(samples[..., :n_colours], -1, 0)
        else:
            with _open_picture(self._path) as image:
                pixels = _to_array(image, self._colour_mode(image))
        return pixels[:, y0:y1, x0:x1]

    def _decodes_whole(self, z: int) -> bool:
        return True


def _to_array(image: Image.Image, mode: str) -> Pixels:
    """(C, Y, X) of an image in this mode, without its alpha."""
    pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    if pixels.ndim == 2:
        return pixels[np.newaxis]
    n_colours = 1 if mode in ("LA", "La", "PA") else 3
    return np.moveaxis(pixels[..., :n_colours], -1, 0)


@contextmanager
def _open_picture(path: Path) -> Iterator[Image.Image]:
    """Open with Pillow, whose limit against decompression bombs is below the size of EM images."""
    with reading(str(path)):
        with _pillow_limit:
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                image = Image.open(path)
            finally:
                Image.MAX_IMAGE_PIXELS = limit
        with image:
            yield image


def _is_deep_colour_png(path: Path) -> bool:
    """Whether this is a PNG with 16-bit colours or alpha, which Pillow would cut to 8 bits."""
    with reading(str(path)), path.open("rb") as file:
        head = file.read(26)
    if len(head) < 26 or not head.startswith(_PNG_SIGNATURE):
        return False
    depth, colour_type = head[24], head[25]
    return depth == 16 and (colour_type == 2 or bool(colour_type & _PNG_WITH_ALPHA))
