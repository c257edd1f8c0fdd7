"""Many images: files, folders and patterns as a list, with a name of its own for each."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from natsort import natsorted, ns

from ..annotations import read_groups
from ..base import InputError, text_encoding, written_names
from .file_names import check_no_masks
from .readers import checked_path, known_readers, natural_order
from .written_labels import holds_labels

BY_FOLDER = "folder"
"""Instead of a table of groups: the group of an image is its folder."""

_LIST = ".txt"
_PROJECT, _OF_PROJECT = ".spss", ("painted", "objects")  # those of core.projects, which is above
_Test = Callable[[Path], bool]


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
    groups: str | Path | Mapping[Path, str] | None = None,
    of_labels: bool = False,
    known: Mapping[Path, str] | None = None,
) -> tuple[ListedImage, ...]:
    """List images, each once; results, and what lies in a project, are none unless named.

    Parameters
    ----------
    inputs : iterable of path
        Files; folders, each one image of slices or a result; patterns such as ``study/**/*.tif``;
        or text files with one of these a line, from where they lie.
    each : bool
        Whether each file and store in a folder, and in those in it, is an image of its own.
    groups : path or mapping of Path to str, optional
        Table ``image,group``, or "folder": the folder in which the image lies; or the group of each
        image by its path.
    of_labels : bool
        Whether folders of results, in which there are labels, are meant, and results as well.
    known : mapping of Path to str, optional
        Names that are taken, by the images that have them, links resolved.

    Raises
    ------
    InputError
        If a pattern or a folder gives no image, a folder holds images and masks of them, the table
        of groups is wrong, or folders are to be the groups and there is one alone.
    """
    is_ours = _ours(of_labels)
    found: dict[Path, Path] = {}
    for one in inputs:
        for stated in _lines(checked_path(one)):
            for path in _expanded(stated, each, of_labels, is_ours):
                found.setdefault(path.resolve(), Path(os.path.abspath(path)))
    names = _names(found, known or {})
    images = [ListedImage(path, name) for path, name in zip(found.values(), names, strict=True)]
    if groups is None:
        return tuple(images)
    if isinstance(groups, Mapping):
        of_image: Sequence[str] = [groups.get(one.path, "").strip() for one in images]
        if "" in of_image:
            raise InputError(
                f"{images[of_image.index('')].path} has no group; name one for each image.",
                field="groups",
            )
    elif str(groups) == BY_FOLDER:
        of_image = [one.path.parent.name for one in images]
        if len(images) > 1 and len({one.path.parent for one in images}) == 1:
            raise InputError(
                f"all {len(images)} images lie in {images[0].path.parent}, which makes them one "
                "group; name a table image,group instead.",
                field="groups",
            )
    else:
        of_image = read_groups(groups, [str(one.path) for one in images])
    return tuple(replace(one, group=group) for one, group in zip(images, of_image, strict=True))


def left_out(folder: Path) -> tuple[Path, ...]:
    """What lies in a folder, and in those in it, and is neither an image, hidden, nor ours.

    JSON files may speak for the images beside them, and are not told.
    """
    is_ours = _ours(False)
    found = () if _is_image(folder) else _entries(folder, False, is_ours)
    others = (path for path, is_image in found if not (is_image or is_ours(path)))
    return tuple(path for path in others if path.suffix.lower() != ".json")


def _lines(path: Path) -> list[Path]:
    """Paths in a text file, or the path itself."""
    if path.suffix.lower() != _LIST or not path.is_file():
        return [path]
    data = path.read_bytes()
    try:
        lines = data.decode(text_encoding(data)).splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text; save it as UTF-8.") from error
    if stated := [path.parent / line.strip() for line in lines if line.strip()]:
        return stated
    raise InputError(f"{path} is empty; write the path of an image in each line.")


def _expanded(path: Path, each: bool, of_labels: bool, is_ours: _Test) -> Iterator[Path]:
    if _is_pattern(path):
        root = next(one for one in path.parents if one.exists())
        names = glob.glob(str(path.relative_to(root)), root_dir=root, recursive=True)
        found = [root / name for name in natsorted(names, alg=ns.PATH | ns.IGNORECASE)]
        found = [one for one in found if not is_ours(one)]
        if each:
            found = [one for place in found for one in _each(place, of_labels, is_ours)]
        if not found:
            what = "no images" if names else "nothing"
            raise InputError(f"{path} matches {what}; check the pattern.")
        yield from found
    elif each:
        inside = _each(path, of_labels, is_ours)
        if not inside:
            raise InputError(f"folder {path} holds no images; choose another.")
        for folder in () if of_labels else {one.parent: None for one in inside}:
            names = [one.name for one in inside if one.parent == folder]
            check_no_masks(folder, names, ", or name the images by a pattern")
        yield from inside
    else:
        yield path


def _each(path: Path, of_labels: bool, is_ours: _Test) -> list[Path]:
    """Images in a folder, and in those in it; or what is no such folder itself."""
    if not path.is_dir() or _is_image(path) or (of_labels and holds_labels(path)):
        return [path]
    try:
        return [one for one, is_image in _entries(path, of_labels, is_ours) if is_image]
    except PermissionError as error:  # such as lost+found of a disk
        raise InputError(
            f"{error.filename} cannot be read; ask for the right to, or name the images by a "
            f"pattern, such as '{path / '**' / '*.tif'}'."
        ) from error


def _is_pattern(path: Path) -> bool:
    text = str(path)
    if path.exists() or not glob.has_magic(text):
        return False
    # brackets alone are rather part of a name
    return "*" in text or "?" in text or bool(glob.glob(text))


def _entries(
    folder: Path, of_labels: bool, is_ours: _Test, seen: set[Path] | None = None
) -> Iterator[tuple[Path, bool]]:
    """What is in a folder, and in those in it, each once, and whether it is an image."""
    seen = set() if seen is None else seen  # links may lead to a folder above them
    if folder.resolve() in seen:
        return
    seen.add(folder.resolve())
    for path in natural_order([one for one in folder.iterdir() if not one.name.startswith(".")]):
        if is_ours(path):
            yield path, False
        elif _is_image(path) or (of_labels and holds_labels(path)):
            yield path, True
        elif path.is_dir():
            yield from _entries(path, of_labels, is_ours, seen)
        else:
            yield path, False


def _is_image(path: Path) -> bool:
    """Whether a path is a file or a store that some reader opens."""
    if path.is_dir():
        return any(one.is_store is not None and one.is_store(path) for one in known_readers())
    return any(path.suffix.lower() in one.suffixes for one in known_readers())


def _ours(of_labels: bool) -> _Test:
    """Make a test whether a path lies in a project, or was written as a result.

    Where labels are meant, results are looked for, in projects as well.
    """
    names_in = cache(written_names)

    def is_ours(path: Path) -> bool:
        path = Path(os.path.abspath(path))
        places = (path, *path.parents)
        if of_labels:
            return any(one.name in _OF_PROJECT and one.parent.suffix == _PROJECT for one in places)
        return any(one.suffix == _PROJECT or one.name in names_in(one.parent) for one in places)

    return is_ours


def _names(paths: Mapping[Path, Path], known: Mapping[Path, str]) -> Iterator[str]:
    """Name images after their files; those of the same name with their folders, or a number.

    ``paths`` are those that were stated, by those with links resolved.
    """
    taken = {name.casefold() for name in known.values()}
    often = Counter(_stem(path).casefold() for path in paths.values())
    for resolved, path in paths.items():
        name = known.get(resolved, "")
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
