"""Which classes labels hold that were written here: from the file, or from beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import tifffile

from ..annotations import ClassSpec
from .masks import Masks, open_indices, open_masks
from .writers import CLASS_KEY

__all__ = ["open_labels", "stored_classes"]

_LABELS, _MAPS = "labels", "maps.ome.tif"
_MODEL_RECORD = "model.json"  # that of core.checkpoint, which would import torch


def open_labels(
    path: str | Path, *, classes: ClassSpec | None = None, has_instances: bool = False
) -> Masks:
    """Open labels that were written here as what they are, others as `open_masks` opens masks.

    Parameters
    ----------
    path : path-like
        A file of labels, or a folder of them.
    classes : ClassSpec, optional
        Other names for the classes, or how they are marked.
    has_instances : bool
        Whether values are ids of objects of one class.

    Raises
    ------
    InputError
        If the labels cannot be opened, or hold a value that stands for no class.
    """
    stored = None if has_instances else stored_classes(path)
    names = stored if classes is None else classes.names
    is_marked = classes is not None and classes.values is not None
    if stored is not None and names is not None and not is_marked and len(names) == len(stored):
        return open_indices(path, names)
    return open_masks(path, classes=classes, has_instances=has_instances)


def stored_classes(path: str | Path) -> tuple[str, ...] | None:
    """Return the class names of labels, background first; None if they are not known.

    They stand in the OME-XML of the labels. For older labels the names are those of the model in
    the same folder, or of the channels of ``maps.ome.tif`` there.

    Parameters
    ----------
    path : path-like
        A file of labels, or a folder of them.
    """
    path = Path(path)
    first = min(path.glob("*.tif"), default=None) if path.is_dir() else path
    found = None if first is None else _classes_in(_ome_xml(first))
    if found is not None or not path.name.startswith(_LABELS):
        return found
    return _classes_of_model(path.parent) or _channels_in(_ome_xml(path.parent / _MAPS))


def _ome_xml(path: Path) -> ElementTree.Element | None:
    if not path.is_file():
        return None
    try:
        with tifffile.TiffFile(path) as tif:
            text = tif.ome_metadata
        return None if text is None else ElementTree.fromstring(text)
    except (OSError, ValueError, tifffile.TiffFileError, ElementTree.ParseError):
        return None  # whoever reads the pixels says what is wrong


def _classes_in(xml: ElementTree.Element | None) -> tuple[str, ...] | None:
    if xml is None:
        return None
    pairs = {str(item.get("K", "")): item.text or "" for item in xml.iterfind(".//{*}M")}
    return _in_order(pairs)


def _in_order(pairs: Mapping[str, str]) -> tuple[str, ...] | None:
    names = tuple(pairs.get(CLASS_KEY.format(index), "") for index in range(len(pairs)))
    names = names[: names.index("")] if "" in names else names
    return names if len(names) > 1 else None


def _channels_in(xml: ElementTree.Element | None) -> tuple[str, ...] | None:
    if xml is None:
        return None
    names = tuple(one.get("Name", "") for one in xml.iterfind(".//{*}Channel"))
    return names if len(names) > 1 and all(names) else None


def _classes_of_model(folder: Path) -> tuple[str, ...] | None:
    try:
        record: Any = json.loads((folder / _MODEL_RECORD).read_text(encoding="utf-8"))
        names = tuple(str(name) for name in record["classes"])
    except (OSError, ValueError, TypeError, KeyError):
        return None  # no run, or none whose record can be read
    return names if len(names) > 1 else None
