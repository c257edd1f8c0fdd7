"""Which classes labels hold that were written here, and where they lie."""

from __future__ import annotations

import contextlib
from pathlib import Path
from xml.etree import ElementTree

import tifffile

from ..annotations import Classes, ClassSpec
from ..base import InputError, fault_of
from .masks import Masks, open_indices, open_masks
from .ome_zarr import is_zarr, zarr_classes
from .raw import reading
from .readers import known_readers
from .tiff import CLASS_KEY, OUTSIDE_KEY
from .writers import WRITERS


def open_labels(
    path: str | Path, *, classes: ClassSpec | None = None, instances: bool = False
) -> Masks:
    """Open labels that were written here as what they are, others as `open_masks` opens masks.

    Parameters
    ----------
    path : path-like
        A file of labels, or a folder of them.
    classes : ClassSpec, optional
        Other names for the classes, or how they are marked.
    instances : bool
        Whether values are ids of objects of one class.

    Raises
    ------
    InputError
        If the labels cannot be opened, hold a value that stands for no class, or bring names that
        cannot be those of classes.
    """
    stored = None if instances else stored_classes(path)
    if stored is not None and classes is None:
        try:
            classes = ClassSpec(stored)
        except InputError as error:
            raise InputError(
                f"{path} brings names of classes that cannot be used ({fault_of(error)}); list the "
                "classes yourself.",
                field="classes",
            ) from error
    is_plain = classes is not None and classes.values is None
    if classes is not None and is_plain and len(classes.names) == len(stored or ()):
        names = stored.named(classes.names) if isinstance(stored, Classes) else classes.names
        return open_indices(path, names)
    return open_masks(path, classes=classes, instances=instances)


def stored_classes(path: str | Path) -> tuple[str, ...] | None:
    """Return the classes of labels, background first, and which is outside; None if not known.

    They stand in the OME-XML or the OME-Zarr metadata of a file of labels, or of a folder of them.
    """
    path = Path(path)
    if path.is_dir() and (
        store := path if is_zarr(path) else min(path.glob("*.zarr"), default=None)
    ):
        return zarr_classes(store)
    first = min(path.glob("*.tif"), default=None) if path.is_dir() else path
    return None if first is None else _classes_in(_ome_xml(first))


def labels_in(path: Path) -> Path:
    """Return the labels in the folder of a result, or what was named.

    Raises
    ------
    InputError
        If the folder holds labels in several formats, none beside maps, or results of several
        images.
    """
    found = _written_in(path, "labels")
    if len(found) > 1:
        raise InputError(
            f"{path} holds {' and '.join(one.name for one in found)}; name one of them."
        )
    if not found and path.is_dir():
        maps = _written_in(path, "maps")
        inside = sorted({*path.iterdir()} - {*maps})
        suffixes = {suffix for reader in known_readers() for suffix in reader.suffixes}
        has_images = any(one.is_file() and one.suffix.lower() in suffixes for one in inside)
        if maps and not has_images:
            raise InputError(
                f"{path} holds {maps[0].name}, but no labels; restore them, or predict again."
            )
        results = [one for one in inside if holds_labels(one)]
        if results and not has_images:
            raise InputError(
                f"{path} holds results of several images; name one of them, such as {results[0]}; "
                "measure and estimate take all with --each (each=True)."
            )
    return found[0] if found else path


def holds_labels(path: Path) -> bool:
    """Whether a path is the folder of a result."""
    return path.is_dir() and bool(_written_in(path, "labels"))


def _written_in(path: Path, kind: str) -> list[Path]:
    names = {kind, *(f"{kind}{writer.suffix}" for writer in WRITERS.usable())}
    return [path / name for name in sorted(names) if (path / name).exists()]


def _ome_xml(path: Path) -> ElementTree.Element | None:
    if not path.is_file():
        return None
    try:
        with reading(str(path)), tifffile.TiffFile(path) as tif:
            text = tif.ome_metadata
        return None if text is None else ElementTree.fromstring(text)
    except (InputError, ElementTree.ParseError):
        return None  # whoever reads the pixels says what is wrong


def _classes_in(xml: ElementTree.Element | None) -> tuple[str, ...] | None:
    if xml is None:
        return None
    pairs = {str(item.get("K", "")): item.text or "" for item in xml.iterfind(".//{*}M")}
    names = tuple(pairs.get(CLASS_KEY.format(index), "") for index in range(len(pairs)))
    names = names[: names.index("")] if "" in names else names
    outside = pairs.get(OUTSIDE_KEY)
    if outside in names:
        with contextlib.suppress(InputError):  # names that no class can have
            names = Classes(names, outside)
    return names if len(names) > 1 else None
