"""MRC volumes of electron microscopy, as the standard has them and as programs write them.

Headers of SerialEM, IMOD and Amira lack the identifier or the machine stamp of MRC2014 [1]_; the
byte order is then the one in which the header makes sense.

References
----------
.. [1] Cheng et al., MRC2014, Journal of Structural Biology 192 (2015), 146-150,
   doi:10.1016/j.jsb.2015.04.002.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from ..base import InputError, length_um
from .raw import RawPixels, SteadyFile
from .stack import ImageData

Order: TypeAlias = Literal["<", ">"]

_HEADER_BYTES = 1024
_FIELDS = {  # name: (type, first byte)
    "size": ("3i4", 0),  # columns, rows, sections
    "mode": ("i4", 12),
    "intervals": ("3i4", 28),  # along x, y, z
    "cell": ("3f4", 40),  # along x, y, z, in ångström
    "axes": ("3i4", 64),  # of columns, rows, sections; 1 = x
    "smallest": ("f4", 76),
    "largest": ("f4", 80),
    "space_group": ("i4", 88),
    "extended": ("i4", 92),  # bytes between header and data
    "imod_stamp": ("i4", 152),
    "imod_flags": ("i4", 156),
    "identifier": ("S4", 208),
    "stamp": ("V2", 212),
}
_HEADER = np.dtype(
    {
        "names": list(_FIELDS),
        "formats": [kind for kind, _ in _FIELDS.values()],
        "offsets": [first for _, first in _FIELDS.values()],
        "itemsize": _HEADER_BYTES,
    }
)
_TYPES = {0: "i1", 1: "i2", 2: "f4", 4: "c8", 6: "u2", 12: "f2"}
_UNREADABLE = {3: "complex 16-bit integers", 16: "colours", 101: "4-bit integers"}
_ORDERS: dict[bytes, Order] = {b"\x44\x44": "<", b"\x44\x41": "<", b"\x11\x11": ">"}
_ORDER_NAMES = {"<": "little", ">": "big"}
_IMOD_STAMP = 1146047817
_SIGNED_BYTES = 1
_MOST_SIGNED, _MOST_UNSIGNED = 127, 255
_VOLUMES = range(401, 631)  # space groups of stacks of volumes


@dataclass(frozen=True)
class _Header:
    """A header in one of the two byte orders."""

    fields: Any
    order: Order

    @property
    def shape(self) -> tuple[int, ...]:
        """Sections, rows, columns."""
        return tuple(self.fields["size"][::-1].tolist())

    @property
    def mode(self) -> int:
        return int(self.fields["mode"])

    @property
    def start(self) -> int:
        """First byte of the pixels."""
        return _HEADER_BYTES + int(self.fields["extended"])

    @property
    def is_plausible(self) -> bool:
        is_known = self.mode in _TYPES or self.mode in _UNREADABLE
        return is_known and min(self.shape) > 0 and self.start >= _HEADER_BYTES

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels: of bytes, IMOD's flag, or the range of values, says the sign."""
        is_imod = self.fields["imod_stamp"] == _IMOD_STAMP
        low, high = self.fields["smallest"], self.fields["largest"]
        is_above_signed = low >= 0 and _MOST_SIGNED < high <= _MOST_UNSIGNED
        is_unsigned = not self.fields["imod_flags"] & _SIGNED_BYTES if is_imod else is_above_signed
        if self.mode == 0 and is_unsigned:
            return np.dtype("u1")
        return np.dtype(self.order + _TYPES[self.mode])

    def fits(self, file: SteadyFile) -> bool:
        """Whether the file is long enough for what the header says."""
        itemsize = np.dtype(_TYPES.get(self.mode, "u1")).itemsize
        return self.start + math.prod(self.shape) * itemsize <= file.size


def open_mrc(path: Path) -> ImageData:
    """Open a volume, with its axes as the header orders them, or raise InputError."""
    file = SteadyFile(path)
    if file.size < _HEADER_BYTES:
        raise InputError(
            f"{path} cannot be read as MRC: it has {file.size} bytes, fewer than a header; copy "
            "it again."
        )
    with file.open() as stream:
        raw = file.read(stream, 0, _HEADER_BYTES).tobytes()
    header, oddities = _find_header(raw, file)
    if header.mode in _UNREADABLE:
        raise InputError(
            f"{path} holds {_UNREADABLE[header.mode]} (mode {header.mode}), which cannot be read; "
            "convert it to bytes, such as by IMOD's newstack -mode 0."
        )
    n_volumes = header.shape[0] // max(1, int(header.fields["intervals"][2]))
    if int(header.fields["space_group"]) in _VOLUMES and n_volumes > 1:
        raise InputError(
            f"{path} is a stack of {n_volumes} volumes; save the one that you need as a file of "
            "its own."
        )
    axes = "".join("XYZ"[i - 1] for i in header.fields["axes"][::-1] if 1 <= i <= 3)
    if set(axes) != set("XYZ"):
        if header.fields["axes"].any():
            stated = ", ".join(map(str, header.fields["axes"]))
            oddities.append(f"its axes {stated} are no order of 1, 2, 3 and were not used")
        axes = "ZYX"
    edges = [
        length_um(float(length) / int(n), "angstrom") if n > 0 else None
        for length, n in zip(header.fields["cell"], header.fields["intervals"], strict=True)
    ]
    notes = []
    if oddities:
        odd = "; ".join(oddities)
        notes.append(f"{path.name} has a header that is not as the standard has it: {odd}.")
    if edges == [length_um(1, "angstrom")] * 3:
        edges = [None] * 3
        notes.append(
            f"{path.name} states voxels of 1 Å, as programs write where the size is not known: it "
            "is taken as unknown; state it if you know it (voxel size)."
        )
    return ImageData(
        RawPixels([(file, header.start)], header.shape, header.shape, header.dtype),
        axes,
        (edges[2], edges[1], edges[0]),
        notes=tuple(notes),
    )


def _find_header(raw: bytes, file: SteadyFile) -> tuple[_Header, list[str]]:
    """Read a header in the byte order in which it makes sense; also say what is odd about it."""
    stated = _ORDERS.get(raw[212:214])
    orders: tuple[Order, Order] = (">", "<") if stated == ">" else ("<", ">")
    both = [_Header(np.frombuffer(raw, _HEADER.newbyteorder(o))[0], o) for o in orders]
    plausible = [header for header in both if header.is_plausible]
    if not plausible:
        raise InputError(
            f"{file.path} cannot be read as MRC: its header states mode {both[0].mode} and "
            f"{' x '.join(map(str, both[0].shape))} pixels; if it is a file of another kind, "
            "convert it to TIFF."
        )
    header = next((one for one in plausible if one.fits(file)), plausible[0])
    oddities = []
    if raw[208:211] != b"MAP":
        oddities.append("it has no identifier MAP")
    if stated != header.order:
        stamp = " ".join(f"{byte:02x}" for byte in raw[212:214])
        oddities.append(
            f"its machine stamp is {stamp}, but numbers were read as "
            f"{_ORDER_NAMES[header.order]}-endian"
        )
    return header, oddities
