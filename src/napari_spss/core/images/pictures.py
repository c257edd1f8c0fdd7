"""PNG and JPEG pictures, decoded when they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeAlias

import imagecodecs
import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from ..base import InputError, length_um, printed_pixel_um
from .raw import Pixels, SteadyFile, Where, reading
from .stack import ImageData

Palette: TypeAlias = Literal["display", "rgb", "index"]
"""What a colour table means: what is shown ("display"), always RGB, or class indices."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_SIGNATURE = b"\xff\xd8"
_WITH_ALPHA = {"L": "LA", "RGB": "RGBA"}
_PNG_WITH_ALPHA = 4  # bit of the colour type


def open_picture(path: Path, palette: Palette = "display") -> ImageData:
    """Open a PNG or JPEG unless it is damaged; 1-bit becomes 0 and 255.

    Alpha is left out; in masks what is transparent is 0, whatever colour lies hidden there.
    """
    picture = _Picture(path, palette)
    x_um, y_um = picture.pixel_um
    axes = "YX" if len(picture.shape) == 2 else "YXS"
    return ImageData(
        picture, axes, (None, y_um, x_um), has_sure_axes=True, decodes_whole_slices=True
    )


class _Picture:
    """A picture as an array (Y, X) or (Y, X, 3)."""

    def __init__(self, path: Path, palette: Palette) -> None:
        self._file, self._palette = SteadyFile(path), palette
        with self._file.open() as stream:
            head = self._file.read(stream, 0, min(26, self._file.size)).tobytes()
        self._plugin: type[PngImageFile | JpegImageFile] = JpegImageFile
        if head.startswith(_PNG_SIGNATURE):
            self._plugin = PngImageFile
        elif not head.startswith(_JPEG_SIGNATURE):
            raise InputError(
                f"{path} cannot be read: it holds neither a PNG nor a JPEG; open it in another "
                "program, such as Fiji, and save it again."
            )
        self._is_deep = self._plugin is PngImageFile and _is_deep_colour(head)
        with self._file.open() as stream, reading(path), self._plugin(stream) as image:
            mode, size, dpi = image.mode, image.size, image.info.get("dpi")
            table = image.getpalette("RGB") if mode in ("P", "PA") else None
            is_transparent = "transparency" in image.info
        colours = np.asarray(table or [], np.uint8).reshape(-1, 3)
        self._mode = _colour_mode(mode, colours, palette)
        if is_transparent and palette != "display":  # one colour, or some of a table
            self._mode = _WITH_ALPHA.get(self._mode, self._mode)
        with reading(path):
            # the mode's own dtype and channels, from a single pixel: nothing is decoded
            sample = np.asarray(Image.new(mode, (1, 1)).convert(self._mode))
        sample = _without_alpha(sample, self._mode)
        self.shape = (size[1], size[0], *sample.shape[2:])
        self.dtype: np.dtype[Any] = np.dtype(np.uint16) if self._is_deep else sample.dtype
        self.pixel_um = _printed_size(dpi)

    def __getitem__(self, index: Where) -> Pixels:
        path = self._file.path
        with self._file.open() as stream, reading(path):
            if self._is_deep:
                pixels = imagecodecs.png_decode(stream.read())
            else:
                with self._plugin(stream) as image:
                    is_own = image.mode == self._mode
                    pixels = np.asarray(image if is_own else image.convert(self._mode))
        if self._palette != "display" and pixels.ndim == 3 and pixels.shape[2] in (2, 4):
            is_clear = pixels[..., -1:] == 0
            pixels = np.where(is_clear, pixels.dtype.type(0), pixels)
            if is_clear.any() and not is_clear.all() and not pixels[..., :-1].any():
                raise InputError(
                    f"{path} shows nothing but black on a transparent ground, both of which would "
                    "be background; save it without transparency, with objects in white on black."
                )
        pixels = _without_alpha(pixels, self._mode)
        if pixels.shape != self.shape:
            raise InputError(f"{path} holds other pixels than its header says; save it again.")
        return pixels[index]


def _colour_mode(mode: str, colours: Pixels, palette: Palette) -> str:
    """Pillow mode to convert to: the own one unless it stands for something else."""
    if mode == "1":
        return "L"
    if mode in ("P", "PA"):
        if palette == "index":
            return mode
        is_grey = palette == "display" and bool((colours == colours[:, :1]).all())
        return "L" if is_grey else "RGB"
    return "RGB" if mode in ("CMYK", "YCbCr", "LAB", "HSV", "RGBX", "RGBa") else mode


def _without_alpha(pixels: Pixels, mode: str) -> Pixels:
    if pixels.ndim == 2:
        return pixels
    return pixels[..., 0] if mode in ("LA", "La", "PA") or pixels.shape[2] < 3 else pixels[..., :3]


def _is_deep_colour(head: bytes) -> bool:
    """Whether a PNG has 16-bit colours or alpha, which Pillow would cut to 8 bits."""
    if len(head) < 26:
        return False
    depth, colour_type = head[24], head[25]
    return depth == 16 and (colour_type == 2 or bool(colour_type & _PNG_WITH_ALPHA))


def _printed_size(dpi: Any) -> tuple[float | None, float | None]:
    """Pixel along x and y in micrometres, if the resolution is not one for print."""
    try:
        x, y = (float(dots) for dots in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None, None
    x_um, y_um = (
        printed_pixel_um(length_um(1 / dots, "inch")) if dots > 0 else None for dots in (x, y)
    )
    return x_um, y_um
