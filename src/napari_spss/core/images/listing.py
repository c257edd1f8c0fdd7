"""Many images: files, folders and patterns as a list, with a name of its own for each."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from natsort import natsorted, ns

from ..annotations import read_groups
from ..base import InputError
from .readers import known_readers, natural_order
from .written_labels import labels_in

BY_FOLDER = "folder"
"""Instead of a table of groups: the group of an image is its folder."""

_LIST = ".txt"


@dataclass(frozen=True)
class ListedImage:
    """One of many images.

    Parameters
    ----------
    path : Path
        File, store, or folder of slices; of labels the folder of a result as well.
    name : str
        For what is made of it; no other image of the list has it.
    group : str
        Such as the animal that it shows.
    """

    path: Path
    name: str
    group: str = ""


def are_many(inputs: Sequence[str | Path], *, each: bool = False) -> bool:
    """Whether inputs are meant as a list of images, as `list_images` makes one, not as one."""
    only = Path(inputs[0])
    return each or len(inputs) > 1 or only.suffix.lower() == _LIST or _is_pattern(only)


def list_images(
    inputs: Iterable[str | Path],
    *,
    each: bool = False,
    groups: str | Path | None = None,
    of_labels: bool = False,
    skip: Path | None = None,
    known: Mapping[Path, str] | None = None,
) -> tuple[ListedImage, ...]:
    """List images, each once.

    Parameters
    ----------
    inputs : iterable of path
        Files; folders, each one image of slices or a result; patterns such as ``study/**/*.tif``;
        or text files with one of these a line, from where they lie.
    each : bool
        Whether each file and store in a folder, and in those in it, is an image of its own.
    groups : path, optional
        Table ``image,group``, or "folder": the folder in which the image lies.
    of_labels : bool
        Whether folders of results, in which there are labels, are meant; else they are passed over.
    skip : Path, optional
        Folder in which nothing is looked for.
    known : mapping of Path to str, optional
        Names that images have had.

    Raises
    ------
    InputError
        If a pattern or a folder gives no image, or the table of groups is wrong.
    """
    found = dict.fromkeys(
        path.resolve()
        for one in inputs
        for stated in _lines(Path(one))
        for path in _expanded(stated, each, of_labels, skip)
    )
    names = _names(tuple(found), known or {})
    images = [ListedImage(path, name) for path, name in zip(found, names, strict=True)]
    if groups is None:
        return tuple(images)
    if str(groups) == BY_FOLDER:
        of_image: Sequence[str] = [one.path.parent.name for one in images]
    else:
        of_image = read_groups(groups, [str(one.path) for one in images])
    return tuple(replace(one, group=group) for one, group in zip(images, of_image, strict=True))


def _lines(path: Path) -> list[Path]:
    """Paths in a text file, or the path itself."""
    if path.suffix.lower() != _LIST or not path.is_file():
        return [path]
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    if stated := [path.parent / line.strip() for line in lines if line.strip()]:
        return stated
    raise InputError(f"{path} is empty; write the path of an image in each line.")


def _expanded(path: Path, each: bool, of_labels: bool, skip: Path | None) -> Iterator[Path]:
    if _is_pattern(path):
        found = natsorted(glob.glob(str(path), recursive=True), alg=ns.PATH | ns.IGNORECASE)
        if not found:
            raise InputError(f"{path} matches nothing; check the pattern.")
        for name in found:
            yield from _expanded(Path(name), each, of_labels, skip)
    elif each and path.is_dir() and not (_is_image(path) or (of_labels and _is_result(path))):
        inside = list(_inside(path, of_labels, skip))
        if not inside:
            raise InputError(f"folder {path} holds no images; choose another.")
        yield from inside
    else:
        yield path


def _is_pattern(path: Path) -> bool:
    return glob.has_magic(str(path)) and not path.exists()


def _inside(folder: Path, of_labels: bool, skip: Path | None) -> Iterator[Path]:
    """Images in a folder and in those in it."""
    for path in natural_order([one for one in folder.iterdir() if not one.name.startswith(".")]):
        if skip is not None and path.resolve() == skip.resolve():
            continue
        if _is_result(path):
            yield from [path] * of_labels
        elif _is_image(path):
            yield path
        elif path.is_dir():
            yield from _inside(path, of_labels, skip)


def _is_image(path: Path) -> bool:
    """Whether a path is a file or a store that some reader opens."""
    if path.is_dir():
        return any(one.is_store is not None and one.is_store(path) for one in known_readers())
    return any(path.suffix.lower() in one.suffixes for one in known_readers())


def _is_result(path: Path) -> bool:
    return path.is_dir() and labels_in(path) != path


def _names(paths: Sequence[Path], known: Mapping[Path, str]) -> Iterator[str]:
    """Name images after their files; those of the same name with their folders, or a number."""
    taken = {name.casefold() for name in known.values()}
    often = Counter(_stem(path).casefold() for path in paths)
    for path in paths:
        name = known.get(path, "")
        if not name:
            name = stem = _stem(path)
            above = [one.name for one in path.parents if one.name]
            if often[stem.casefold()] > 1 and above:
                name = f"{above.pop(0)}_{name}"
            while name.casefold() in taken and above:
                name = f"{above.pop(0)}_{name}"
            first, number = name, 2
            while name.casefold() in taken:
                name, number = f"{first}_{number}", number + 1
            taken.add(name.casefold())
        yield name


def _stem(path: Path) -> str:
    stem = path.name if path.is_dir() and not path.suffix else path.stem.removesuffix(".ome")
    return stem.lstrip(".") or "image"
