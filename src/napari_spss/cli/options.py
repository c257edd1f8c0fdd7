"""Options that several commands share, and what the text of an option means."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

from ..core.base import InputError
from .streams import say

if TYPE_CHECKING:
    import pandas as pd

    from ..core.annotations import ClassSpec
    from ..core.base import Event, TrainingSettings, VoxelSize
    from ..core.images import Stack

AxesOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="LETTERS",
        help="What the axes of the image are, if the file does not say so or is wrong: a letter "
        "for each, such as ZYX, ZCYX or ZYXC (Z slices, C channels).",
    ),
]
ClassesOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="Names of the classes, such as background,mitochondria; with the grey values or "
        'colours that mark them in masks: "background=0,myelin=127,axon=255".',
    ),
]
DeviceOption: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="auto|cpu|cuda|cuda:N|mps",
        help="What computes: auto takes a CUDA GPU if there is one, else Apple's, else the CPU.",
    ),
]
EachOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--each",
        help="Each file in a folder, and in those in it, is an image of its own; otherwise a "
        "folder is one stack or image set.",
    ),
]
GroupsOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="GROUPS.csv|folder",
        help="Table image,group: the animal, or other unit, of each image; of several, such as by "
        "--each, also folder: the name of the folder in which each lies.",
    ),
]
InstancesOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--instances",
        help="Values of the masks are ids of objects of one class: 0 is background, all others "
        "are objects.",
    ),
]
OverwriteOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--overwrite", help="Replace files that are in the way, even those written by others."
    ),
]
MinSizeOption: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="SIZE",
        help="Do not list smaller objects: 50 (pixels or voxels), 0.01um3, or 0.2um2 for "
        "objects of slices. They stay in the fractions.",
    ),
]
SplitOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        metavar="RATIO",
        help="Split touching objects at necks narrower than this part of the narrower side, "
        "such as 0.7; by default they are one.",
    ),
]
PerSliceOption: TypeAlias = Annotated[
    bool,
    typer.Option("--per-slice", help="List the objects of each slice, not those of the volume."),
]
OutsideOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Class of what lies outside of the specimen, such as resin: fractions are those of "
        "the rest.",
    ),
]
VoxelSizeOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="Z,Y,X",
        help="Size of a voxel, if the file does not say so or is wrong: 0.05um,4.6nm,4.6nm; in "
        "micrometres where no unit is given, below 1. One length alone is the edge of a pixel.",
    ),
]

_DIAMETER = re.compile(r"\s*([-+.\d]+(?:e[-+]?\d+)?)\s*(px|pixels?)?\s*", re.IGNORECASE)


def diameter_settings(text: str) -> dict[str, object]:
    """Turn the text of ``--object-diameter`` into settings.

    Parameters
    ----------
    text : str
        "80" or "80px": data pixels; "0.3um", "0.3µm" or "300nm": a length.

    Raises
    ------
    InputError
        If it is neither.

    Examples
    --------
    >>> diameter_settings("300nm")["image.object_diameter_um"]
    0.3
    """
    pixels = _DIAMETER.fullmatch(text)
    if pixels is None:
        length = _length_um(text)
        if length is not None:
            return {"image.object_diameter_um": length, "image.object_diameter_px": None}
    else:
        try:
            value = float(pixels[1])
        except ValueError:
            pass
        else:
            if value > 0:
                return {"image.object_diameter_px": value, "image.object_diameter_um": None}
    raise InputError(
        f"--object-diameter {text!r} is no width; write pixels, such as 80, or a length with its "
        "unit, such as 0.3um.",
        field="object_diameter",
    )


def check_diameter(settings: TrainingSettings, stack: Stack) -> None:
    """Refuse an object that the image cannot show: most likely a wrong unit."""
    diameter_px = settings.image.object_width_px(stack.pixel_size_um(0))
    edge = min(stack.shape_of(0))
    if diameter_px is not None and not 1 <= diameter_px <= edge:
        shown = f"{diameter_px:.0f} pixels" if diameter_px > 1 else f"{diameter_px:.2g} of a pixel"
        raise InputError(
            f"--object-diameter means about {shown}, but the image is {edge} pixels wide; check "
            "number and unit.",
            field="object_diameter",
        )


def parse_voxel_size(text: str | None) -> VoxelSize | None:
    """Turn the text of ``--voxel-size`` into (z, y, x) micrometres.

    Raises
    ------
    InputError
        Unless it is three lengths or one; from 1 on they need a unit.

    Examples
    --------
    >>> parse_voxel_size("50nm,4nm,4nm")
    (0.05, 0.004, 0.004)
    >>> parse_voxel_size("0.004")
    (None, 0.004, 0.004)
    >>> parse_voxel_size("0,05;4,0nm;4,0nm")
    (0.05, 0.004, 0.004)
    """
    if text is None:
        return None
    # with decimal commas, lengths are separated by semicolons
    parts = text.replace(",", ".").split(";") if ";" in text else text.split(",")
    lengths = [_length_um(part, default="um") for part in parts]
    known = [length for length in lengths if length is not None]
    for part, length in zip(parts, lengths, strict=True):
        if len(known) in (1, 3) and _length_um(part) is None and (length or 0) >= 1:
            raise InputError(
                f"--voxel-size {text!r} has {part.strip()} without a unit, which may be "
                f"nanometres; write {part.strip()}nm or {part.strip()}um.",
                field="voxel_size_um",
            )
    if len(known) == len(lengths) == 3:
        return known[0], known[1], known[2]
    if len(known) == len(lengths) == 1:
        return None, known[0], known[0]
    raise InputError(
        f"--voxel-size {text!r} is no size of a voxel; write three lengths z,y,x above 0, such as "
        "50nm,4.6nm,4.6nm, or one for the edge of a pixel, such as 4.6nm.",
        field="voxel_size_um",
    )


def _length_um(text: str, *, default: str | None = None) -> float | None:
    """Give a positive length in micrometres; None if the text is none."""
    from ..core.base import length_um

    parts = re.fullmatch(r"\s*([-+.\d]+(?:e[-+]?\d+)?)\s*(\D*)\s*", text)
    if parts is None:
        return None
    return length_um(parts[1], parts[2].strip() or default)


def parse_assignments(texts: Sequence[str]) -> dict[str, object]:
    """Turn the texts of ``--set`` into settings; of two for one setting the last counts.

    Raises
    ------
    InputError
        If one has no "=", or a setting is not known.

    Examples
    --------
    >>> parse_assignments(["loss.alpha=0.3"])
    {'loss.alpha': '0.3'}
    """
    values: dict[str, object] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not name or not value:
            raise InputError(
                f"--set {text!r} is no KEY=VALUE; write for example "
                "--set optimisation.max_steps=800."
            )
        _check_setting(name)
        values[name] = value
    return values


def _check_setting(name: str) -> None:
    """Refuse a name that is none, with those that were probably meant."""
    from ..core.base import is_setting, setting_names

    if is_setting(name):
        return
    known = setting_names()
    last = name.rpartition(".")[2]
    meant = [full for full in known if full.rpartition(".")[2] == last]
    meant = meant or difflib.get_close_matches(name, known, n=3)
    choice = (
        f"did you mean {' or '.join(meant)}?" if meant else f"choose one of {', '.join(known)}."
    )
    raise InputError(f"--set: there is no setting {name!r}; {choice}", field=name)


def gpu_devices(text: str) -> tuple[str, ...]:
    """Turn the text of ``--gpus`` into names of devices; InputError if it names none."""
    from ..core.networks import device_names

    if text.strip().lower() == "all":
        found = tuple(name for name in device_names() if name.startswith("cuda"))
        if not found:
            raise InputError("--gpus all: there is no CUDA GPU here; give --workers alone.")
        return found
    numbers = [part.strip() for part in text.split(",")]
    if not all(number.isdecimal() for number in numbers):
        raise InputError(f"--gpus {text!r} names no GPUs; write all, or numbers such as 0,1.")
    return tuple(f"cuda:{number}" for number in numbers)


def parse_threshold(text: str | None) -> float | Literal["auto"] | None:
    """Turn the text of ``--threshold`` into a number, "auto" or None, or raise InputError."""
    if text is None or text.strip().lower() == "auto":
        return None if text is None else "auto"
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1:
        raise InputError(
            f"--threshold {text!r} is neither auto nor a probability from 0 to 1, such as 0.5.",
            field="threshold",
        )
    return value


def parse_class_list(text: str | None) -> ClassSpec | None:
    """Turn the text of ``--classes`` into names, and values if there are any."""
    from ..core.annotations import parse_classes

    return None if text is None else parse_classes(text)


def check_single(out: Path | None, groups: str | None = None) -> None:
    """Refuse for one image what is for several, groups; and what `check_table` refuses."""
    if out is not None:
        check_table(out)
    if groups is not None:
        raise InputError(
            "--groups is for several images: add --each if each file of a folder is one, or leave "
            "--groups out.",
            field="groups",
        )


def work_on_many(
    work: Callable[..., pd.DataFrame], images: Sequence[Path], out: Path | None, **options: Any
) -> None:
    """Do the work on several images, into the folder that must be named, and say how it went."""
    from ..core.base import CancelToken
    from .display import event_display
    from .stopping import stop_on_signals

    if out is None or out.suffix.lower() == ".csv":
        what = f"{len(images)} paths are" if len(images) > 1 else f"{images[0]} stands for"
        raise InputError(
            f"{what} several images: name a folder for their tables, such as --out tables.",
            field="out",
        )
    check_out_dir(out)
    token = CancelToken()
    ends: dict[str, str] = {}
    with stop_on_signals(token), event_display(is_jsonl=False) as show:
        work(images, out_dir=out, token=token, show=keeping_ends(show, ends), **options)
    finish_many(ends, out)


def keeping_ends(
    show: Callable[[Event], object], ends: dict[str, str]
) -> Callable[[Event], object]:
    """Show events, and keep how each of many images ended, by its path."""
    from ..core.base import ImageProgress

    def take(event: Event) -> None:
        if isinstance(event, ImageProgress) and event.state != "running":
            ends[event.image] = event.state
        show(event)

    return take


def finish_many(ends: Mapping[str, str], out: Path) -> None:
    """Say what came of many images; the exit code is 1 if one of them failed, now."""
    typer.echo(f"written: {out / 'images.csv'}")
    n_failed = list(ends.values()).count("failed")
    if n_failed:
        say(f"error: {n_failed} of {len(ends)} images failed; images.csv says why.")
        raise typer.Exit(1)


def check_seed(seed: int) -> None:
    """Refuse a negative seed, from which no random numbers can be drawn."""
    if seed < 0:
        raise InputError(f"--seed {seed} is negative; give 0 or more.", field="seed")


def check_table(path: Path) -> None:
    """Refuse, before any work is done, a table that is no CSV file, or lies in no folder."""
    check_out_dir(path.parent)
    if path.is_dir():
        raise InputError(f"--out {path} is a folder; name a file, such as {path / 'table.csv'}.")
    if path.suffix.lower() != ".csv":
        raise InputError(f"--out {path}: tables are CSV; name it {path.with_suffix('.csv')}.")


_OF_FILES = (".csv", ".json", ".pdf", ".png", ".svg", ".tif", ".tiff", ".txt", ".xlsx")


def check_out_dir(path: Path) -> None:
    """Refuse, before any work is done, a folder that is a file, lies below or is named as one."""
    if path.suffix.lower() in _OF_FILES and not path.exists():
        raise InputError(
            f"--out {path}: several files are written; name a folder, such as "
            f"{path.with_suffix('')}."
        )
    for folder in (path, *path.parents):
        if folder.is_dir():
            return
        if folder.exists():
            raise InputError(f"--out {path}: {folder} is a file; choose another folder.")


def shown_path(path: Path | str) -> str:
    """Give a path as it is typed in a shell."""
    text = str(path)
    return f'"{text}"' if re.search(r"\s", text) else text
