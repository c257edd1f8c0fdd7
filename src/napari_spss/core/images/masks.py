"""Masks as class indices: binary masks, grey values, colours, and labels that we wrote.

Grey values and colours are matched to the nearest one that is listed, since masks are often
resampled or saved with loss.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..annotations import COLOUR_EXAMPLE, EXAMPLE, ClassSpec, show_values
from ..base import InputError
from .axes import guess_axes
from .labels import IGNORE, default_names, strips
from .mask_values import (
    Levels,
    are_crowded,
    find_levels,
    find_values,
    look_like_ids,
    mask_pixels,
    pack,
    sampled_slices,
    unpack,
    value_range,
    without_crowds,
)
from .pictures import Palette
from .raw import Pixels
from .readers import open_stack
from .stack import Box, Stack, stack_from_array

Labels: TypeAlias = npt.NDArray[np.uint8]

_MAX_UNLISTED = 16
_BINARY = default_names(2)
_LOSSY = re.compile(r"\.jpe?g$", re.IGNORECASE)
_TAKE_IDS = (
    "--instances (in Python instances=True, in napari 'values are ids of objects') takes them as "
    "objects of one class"
)


@dataclass(frozen=True)
class Masks:
    """Class indices of a stack of masks, read on demand; made by `open_masks`.

    Parameters
    ----------
    classes : ClassSpec
        Names, and the values as they were found or given.
    stack : Stack
        The masks as stored.
    readings : tuple of str
        How values were read, where that is not plain.
    has_instances : bool
        Whether values are ids of objects; `read_ids` gives them.
    """

    classes: ClassSpec
    stack: Stack = field(repr=False)
    _encode: Callable[[Pixels, str], Labels] = field(repr=False)
    readings: tuple[str, ...] = ()
    has_instances: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What is not plain about the file, and about how its values were read."""
        return (*self.stack.notes, *self.readings)

    @property
    def n_slices(self) -> int:
        """Number of slices."""
        return self.stack.n_slices

    @property
    def names(self) -> tuple[str, ...]:
        """Per slice the file's name, or its index as text."""
        return self.stack.names

    @property
    def source(self) -> str:
        """Path, or "array"."""
        return self.stack.source

    def shape_of(self, z: int) -> tuple[int, int]:
        """(Y, X) of slice ``z`` in pixels."""
        return self.stack.shape_of(z)

    def read(self, z: int, box: Box | None = None) -> Labels:
        """Read a slice, or the half-open box (y0, x0, y1, x1) of it.

        Returns
        -------
        ndarray
            (Y, X) uint8 class indices; 255 = ignore.

        Raises
        ------
        InputError
            If the file is damaged or holds values that stand for no class.
        """
        return self._encode(mask_pixels(self.stack, z, box), f"slice {z} of {self.source}")

    def read_ids(self, z: int, box: Box | None = None) -> npt.NDArray[np.int64]:
        """Read the ids of objects (Y, X) of a slice or box; 0 where there is none.

        Raises
        ------
        InputError
            If the file is damaged, or a value is no whole number.
        """
        pixels = mask_pixels(self.stack, z, box)
        if len(pixels) == 3:
            return pack(pixels).astype(np.int64)
        ids: Pixels = np.nan_to_num(pixels[0])
        if ids.dtype.kind == "f" and (ids != np.rint(ids)).any():
            stray = ids[ids != np.rint(ids)][0]
            raise InputError(
                f"slice {z} of {self.source} holds {stray}, but ids of objects are whole numbers; "
                "save them as integers."
            )
        n_exact = 2 ** (np.finfo(ids.dtype).nmant + 1) if ids.dtype.kind == "f" else 0
        if n_exact and np.abs(ids).max(initial=0) >= n_exact:
            raise InputError(
                f"slice {z} of {self.source} holds ids from {n_exact} on as {ids.dtype}, which "
                "does not tell all of them apart; save them as integers, from whole numbers on."
            )
        return ids.astype(np.int64, copy=False)


def open_masks(
    path_or_array: Any,
    *,
    classes: ClassSpec | None = None,
    instances: bool = False,
    known: Mapping[int, str] | None = None,
) -> Masks:
    """Open masks lazily; unless classes come with values, those in the masks are looked up.

    Parameters
    ----------
    path_or_array : path-like, array or Stack
        Whatever `open_stack` opens; in a folder bool, 1-bit and 8-bit files, grey and RGB may be
        mixed. Or an array, (Y, X) or (Z, Y, X), or with a last axis of 3 colours.
    classes : ClassSpec, optional
        How the classes are marked. With grey values: the nearest one, from the first channel.
        With colours: the same, else the nearest; pure black that is not listed is ignored. With
        names only: indices 0, 1, ... (255 = ignore), or as many values as names, in order; two
        classes may also be 0 and any other value. None: 0 and any other value, or the sorted
        values, at most 16, become "background", "class_1" and so on. Where JPEG or smoothing left
        other grey values beside as many levels, each is rounded to the nearest level, and
        ``notes`` says so.
    instances : bool
        Whether values are ids of objects, which all belong to one class; 0 is the background.
    known : mapping of int to str, optional
        Names of grey values beside that of the background, where classes are looked up; values
        that it does not name are called by their number.

    Raises
    ------
    InputError
        If the masks cannot be opened, or their values do not fit the classes.
    """
    palette: Palette = "index"
    if not instances and (classes is None or classes.is_coloured):
        palette = "rgb"
    stack = _open(path_or_array, palette)
    coloured = None
    if palette == "index" and isinstance(path_or_array, (str, os.PathLike)):
        shown = _open(path_or_array, "rgb")
        coloured = shown if shown.n_channels != stack.n_channels else None
    if coloured is not None and classes is not None and classes.values is not None:
        indices, colours = (find_values(one)[0] for one in (stack, coloured))
        strays = [len({*found} - {*classes.values}) for found in (indices, colours)]
        if not isinstance(colours[-1], tuple) and strays[0] > strays[1]:
            stack = coloured  # grey values, as they are shown
        coloured = None
    masks = _opened(stack, classes, instances, known or {})
    if coloured is not None:
        masks = _with_colours_told(masks, coloured)
    if masks._encode is _encode_binary and not (instances or known or stack.is_labels):
        masks = replace(masks, readings=(*masks.readings, *_doubt_of_inversion(masks)))
    return masks


def _doubt_of_inversion(masks: Masks) -> Iterator[str]:
    """Say which value is taken for the object where it covers more than the background."""
    n_object = n_looked_at = 0
    value: Any = 0
    for z in sampled_slices(masks.stack):
        boxes = list(strips(masks.shape_of(z)))
        for top, left, bottom, right in boxes:
            n_rows = -(-(bottom - top) // len(boxes))  # all of them are one strip
            pixels = mask_pixels(masks.stack, z, (top, left, top + n_rows, right))
            labels = masks._encode(pixels, masks.source)
            inside = pixels[:, labels == 1]
            n_object += inside.shape[1]
            n_looked_at += int((labels != IGNORE).sum())
            if inside.size:
                first = inside[:, 0].tolist()
                value = tuple(first) if len(first) == 3 else first[0] * 1
    if 2 * n_object <= n_looked_at:
        return
    names = masks.classes.names
    inverted = ClassSpec(names, (value, (0, 0, 0) if isinstance(value, tuple) else 0))
    share = f"{100 * n_object / n_looked_at:.0f} %"
    yield (
        f"{show_values([value])} covers {share} of {masks.source}, and is taken for {names[1]}; if "
        f"it is the background, give --classes {inverted.text}."
    )


def _with_colours_told(masks: Masks, coloured: Stack) -> Masks:
    """Refuse indices of colour tables that cannot be classes, and say which colours classes have.

    Programs that make tables small put the colours in any order, another one for each file.
    """
    stack = masks.stack
    black = (0, 0, 0)
    colours: dict[Any, tuple[int, int, int]] = {}
    for z in range(stack.n_slices):
        for box in strips(stack.shape_of(z)):
            rgb = coloured.read(z, box)
            if len(rgb) < 3:
                continue  # a grey file among others
            both = np.unique(stack.read(z, box)[0].astype(np.int64) << 24 | pack(rgb))
            for index, code in zip((both >> 24).tolist(), (both % 2**24).tolist(), strict=True):
                colour = unpack(code)
                is_same = colours.setdefault(index, colour) == colour
                if not is_same and (index == 0 or not masks.has_instances):  # ids need no colours
                    raise _unclear_table(masks, index, (colours[index], colour))
    background = colours.get(0, black)
    if background != black and black in colours.values():
        raise _unclear_table(masks, 0, (background,))
    names = masks.classes.names
    if len(names) < 3 or all(colour == (index,) * 3 for index, colour in colours.items()):
        return masks
    shown = ", ".join(
        f"{name} is {show_values([colours[index]])}"
        for index, name in zip(masks.classes.values or range(len(names)), names, strict=True)
        if index in colours
    )
    note = f"classes are taken by their index in the colour table of {stack.source}: {shown}."
    return replace(masks, readings=(*masks.readings, note))


def _unclear_table(masks: Masks, index: int, colours: Sequence[object]) -> InputError:
    what = "the colours" if len(colours) > 1 else "not black, but"
    remedy = (
        f"tell no classes; give each class its colour, such as --classes {COLOUR_EXAMPLE}, or save "
        "the masks as grey images."
    )
    if masks.has_instances:
        remedy = "tell no ids; save these as grey images (in Fiji: Image > Lookup Tables > Grays)."
    return InputError(
        f"{masks.source} has a colour table: its index {index} is {what} {show_values(colours)}, "
        f"so that indices {remedy}",
        field="classes",
    )


def _opened(
    stack: Stack, classes: ClassSpec | None, instances: bool, known: Mapping[int, str]
) -> Masks:
    if stack.n_channels not in (1, 3):
        raise InputError(
            f"{stack.source} has {stack.n_channels} channels, but masks have one, or red, green "
            "and blue; give labels instead of maps, or save one channel as a file of its own."
        )
    if instances:
        return _with_instances(stack, classes)
    if stack.dtype == np.bool_ and (
        classes is None or (classes.values is None and len(classes.names) == 2)
    ):
        return Masks(classes or ClassSpec(_named((0, 1), known)), stack, _encode_binary)
    if classes is not None and classes.is_coloured and stack.dtype != np.uint8:
        raise InputError(
            f"{stack.source} holds {stack.dtype}, but colours are matched in 8-bit images; "
            "save the masks as 8-bit RGB, or list grey values.",
            field="classes",
        )
    found, has_nan = find_values(stack)
    if classes is None:
        masks = _with_found_values(stack, found, known)
    elif classes.values is None:
        masks = _with_named_values(stack, found, classes)
    else:
        masks = _with_stated_values(stack, found, classes)
    if not has_nan:
        return masks
    if len(found) == 1 and found[0]:
        raise InputError(
            f"{stack.source} holds nothing but {found[0]} and NaN, which means that a pixel has no "
            "known class; if it is the background, save it as 0.",
            field="classes",
        )
    note = f"NaN is taken as unknown in {stack.source}; if it is background, save it as 0."
    return replace(masks, readings=(*masks.readings, note))


def open_indices(path_or_array: Any, names: Sequence[str]) -> Masks:
    """Open labels lazily that hold the index of each class, and 255 where nothing is said.

    Parameters
    ----------
    path_or_array : path-like, array or Stack
        As for `open_masks`.
    names : sequence of str
        Class names, background first.

    Raises
    ------
    InputError
        If the labels cannot be opened.
    """
    classes = names if isinstance(names, tuple) else tuple(names)  # with what else is known of them
    spec = ClassSpec(classes, tuple(range(len(names))))
    return Masks(spec, _open(path_or_array, "index"), _index_encoder(len(names)))


def _open(path_or_array: Any, palette: Palette) -> Stack:
    if isinstance(path_or_array, Stack):
        return path_or_array
    if isinstance(path_or_array, (str, os.PathLike)):
        return open_stack(path_or_array, palette=palette, strict=False)
    array = path_or_array if hasattr(path_or_array, "shape") else np.asarray(path_or_array)
    axes = guess_axes(array.shape, np.dtype(array.dtype), source="the array of masks")
    return stack_from_array(array, axes=axes, source="the array of masks")


def _with_instances(stack: Stack, classes: ClassSpec | None) -> Masks:
    """Masks of one class in which every object has a value of its own."""
    spec = ClassSpec(_BINARY) if classes is None else ClassSpec(classes.names)
    if len(spec.names) > 2:
        raise InputError(
            f"ids of objects say nothing about classes, but {', '.join(spec.names)} are listed; "
            "name one class, or leave out that the values are ids.",
            field="classes",
        )
    lossy = [name for name in (stack.source, *stack.names) if _LOSSY.search(name)]
    if lossy:
        raise InputError(
            f"{lossy[0]} is a JPEG, which changes values, so that ids of objects are lost; save "
            "them as PNG or TIFF."
        )
    return Masks(spec, stack, _encode_binary, has_instances=True)


def _with_found_values(stack: Stack, found: list[Any], known: Mapping[int, str]) -> Masks:
    """Masks whose values say which classes there are."""
    indices = range(len(known) + 1)
    if known.keys() == {*indices[1:]} and known and _are_indices(found, len(indices)):
        return Masks(ClassSpec(_named(indices, known)), stack, _index_encoder(len(indices)))
    if _are_binary(found):
        names = _named(found, known) if len(found) == 2 else _BINARY
        return Masks(ClassSpec(names), stack, _encode_binary)
    is_coloured = isinstance(found[0], tuple)
    if not (1 < len(found) <= _MAX_UNLISTED) or (not is_coloured and are_crowded(found)):
        levels = None if is_coloured else find_levels(stack)
        if levels is not None and levels.are_clear and len(levels.values) <= _MAX_UNLISTED:
            return _rounded(stack, default_names(len(levels.values)), levels)
        raise _unclear(stack, found, None, levels)
    spec = ClassSpec(_named(found, known), tuple(found))
    if is_coloured:
        return Masks(spec, stack, _colour_encoder(spec), (_a_class_each(spec),))
    notes = [] if known.keys() >= {*found[1:]} else [_a_class_each(spec)]
    if look_like_ids(stack, found):
        notes.append(
            f"each of the values {_shown(found[1:])} in {stack.source} marks one area or two, as "
            f"ids of objects do; if they are ids, {_TAKE_IDS}."
        )
    return Masks(spec, stack, _nearest_encoder(spec), tuple(notes))


def _named(values: Sequence[Any], known: Mapping[int, str]) -> tuple[str, ...]:
    """Names of values: as far as they are known, else as by `default_names`."""
    default = default_names(len(values))
    if not known:
        return default
    return (default[0], *(known.get(value, f"class_{value}") for value in values[1:]))


def _with_named_values(stack: Stack, found: list[Any], classes: ClassSpec) -> Masks:
    """Masks of named classes: 0 and another value, indices, the sorted values, or levels."""
    n_classes = len(classes.names)
    if n_classes == 2 and _are_binary(found):
        return Masks(classes, stack, _encode_binary)
    if _are_indices(found, n_classes):
        notes = (f"255 is taken as unknown in {stack.source}.",) if n_classes == 2 else ()
        return Masks(classes, stack, _index_encoder(n_classes), notes)
    is_coloured = isinstance(found[0], tuple)
    if len(found) == n_classes and not is_coloured:
        spec = ClassSpec(classes.names, tuple(found))
        notes = ()
        if 0 not in found:
            notes = (f"the values in {stack.source} are taken in order: {spec.text}.",)
        return Masks(spec, stack, _nearest_encoder(spec), notes)
    levels = None if is_coloured else find_levels(stack)
    if levels is None or not levels.are_clear or len(levels.values) != n_classes:
        raise _unclear(stack, found, classes, levels)
    return _rounded(stack, classes.names, levels)


def _rounded(stack: Stack, names: tuple[str, ...], levels: Levels) -> Masks:
    """Masks whose grey values are brought to the nearest level, and a note that says so."""
    spec = ClassSpec(names, levels.values)
    note = (
        f"{stack.source} holds {levels.n_values} grey values, as JPEG or smoothing leaves them; "
        f"each is rounded to the nearest of {spec.text} ({100 * levels.moved:.2f} % of the pixels)."
    )
    return Masks(spec, stack, _nearest_encoder(spec), (note,))


def _a_class_each(spec: ClassSpec) -> str:
    """Say which value became which class: a stray one must not pass for a class unseen."""
    return (
        f"a class for each value: {spec.text}; --classes (in Python classes, in napari a column "
        "class of the layer's features) names them."
    )


def _with_stated_values(stack: Stack, found: list[Any], classes: ClassSpec) -> Masks:
    """Masks whose values were stated; a note says what they hold beside: it may mean a class."""
    stated, n_classes = set(classes.values or ()), len(classes.names)
    if stated == set(range(n_classes)) and IGNORE in found and _are_indices(found, n_classes):
        return Masks(classes, stack, _index_encoder(n_classes, classes.values))
    colours = {value if isinstance(value, tuple) else (value,) * 3 for value in found}
    held = colours - {(0, 0, 0)} if classes.is_coloured else {one[0] for one in colours}
    notes: tuple[str, ...] = ()
    if others := sorted(held - stated):
        notes = (
            f"{stack.source} also holds {_shown(others)}: each is taken as the nearest of "
            f"{classes.text}; a value that means something else needs a class of its own.",
        )
    encoder = _colour_encoder if classes.is_coloured else _nearest_encoder
    return Masks(classes, stack, encoder(classes), notes)


def _unclear(
    stack: Stack, found: list[Any], classes: ClassSpec | None, levels: Levels | None
) -> InputError:
    """Say that values do not tell the classes, and what to do; colours have no levels."""
    names = () if classes is None else classes.names
    remedies = []
    if levels is None:
        remedies.append(f"give each class its colour, such as --classes {COLOUR_EXAMPLE}")
    elif (
        IGNORE in found
        and (n_known := len(found) - 1) <= _MAX_UNLISTED
        and _are_indices(found, n_known)
    ):
        listed = ",".join((*names, *default_names(n_known)[len(names) :]))
        remedies.append(f"name each class, such as --classes {listed}: 255 is unknown then")
    elif len(found) <= _MAX_UNLISTED or len(levels.values) <= _MAX_UNLISTED:
        is_exact = len(found) <= _MAX_UNLISTED and not are_crowded(found)
        meant = levels.values if len(levels.values) > 1 else value_range(stack)
        values = tuple(found) if is_exact else without_crowds(meant)
        example = EXAMPLE
        if len(values) >= max(len(names), 2):
            example = ClassSpec((*names, *default_names(len(values))[len(names) :]), values).text
        remedies.append(
            f"give each class its value, such as --classes {example}: the nearest is taken"
        )
    if levels is None or (stack.dtype.kind in "ui" and found[0] == 0):
        remedies.append(f"if every object has a value of its own, {_TAKE_IDS}")
    return InputError(
        f"{stack.source} holds the values {_shown(found)}: which of them stand for "
        f"{', '.join(names) or 'classes'} is not clear; {'; or, '.join(remedies)}.",
        field="classes",
    )


def _shown(values: list[Any]) -> str:
    return show_values(values[:5]) + (", ..." if len(values) > 5 else "")


def _are_binary(found: list[Any]) -> bool:
    """Whether values are 0 and at most one other, or one above 0 alone."""
    zero = (0, 0, 0) if isinstance(found[0], tuple) else 0
    return (len(found) <= 2 and found[0] == zero) or (len(found) == 1 and found[0] > zero)


def _are_indices(found: Sequence[Any], n_classes: int) -> bool:
    """Whether values are class indices, and 255 where nothing is known, which alone is no proof."""
    labels = set(found) - {IGNORE}
    return labels <= set(range(n_classes)) and (IGNORE not in found or not labels <= {0})


def _encode_binary(pixels: Pixels, name: str) -> Labels:
    labels = (pixels != 0).any(axis=0).astype(np.uint8)
    return _ignore_nan(labels, pixels)


def _ignore_nan(labels: Labels, pixels: Pixels) -> Labels:
    if pixels.dtype.kind == "f":
        labels[np.isnan(pixels[0])] = IGNORE
    return labels


def _nearest_encoder(spec: ClassSpec) -> Callable[[Pixels, str], Labels]:
    """Nearest grey value; halfway between two, the lower one."""
    values = np.array(spec.values, np.float64)
    order = np.argsort(values).astype(np.uint8)
    edges = (values[order][1:] + values[order][:-1]) / 2
    of_byte: Labels = order[np.searchsorted(edges, np.arange(256))]

    def encode(pixels: Pixels, name: str) -> Labels:
        is_byte = pixels.dtype == np.uint8
        labels: Labels = of_byte[pixels[0]] if is_byte else order[np.searchsorted(edges, pixels[0])]
        return _ignore_nan(labels, pixels)

    return encode


def _index_encoder(
    n_classes: int, values: Sequence[Any] | None = None
) -> Callable[[Pixels, str], Labels]:
    """Values as indices, or as those at which they stand in ``values``; 255 stays."""
    index_of = np.arange(256, dtype=np.uint8)
    index_of[:n_classes] = np.argsort(range(n_classes) if values is None else values)

    def encode(pixels: Pixels, name: str) -> Labels:
        plane = pixels[0]
        is_known = (plane >= 0) & (plane < n_classes)
        stray = plane[~is_known & (plane != IGNORE)]
        if stray.size:
            raise InputError(
                f"{name} holds the value {stray[0]}, which is no index of {n_classes} classes; "
                f"give each class its value, such as --classes {EXAMPLE}.",
                field="classes",
            )
        return index_of[np.where(is_known, plane, IGNORE).astype(np.uint8)]

    return encode


def _colour_encoder(spec: ClassSpec) -> Callable[[Pixels, str], Labels]:
    """Equal colour, else ignored if black, else the nearest in RGB."""
    colours = np.array(spec.values, np.int32)
    codes = pack(colours.T)

    def encode(pixels: Pixels, name: str) -> Labels:
        rgb = pixels if len(pixels) == 3 else np.repeat(pixels[:1], 3, axis=0)
        packed = pack(rgb)
        labels = np.full(packed.shape, IGNORE, np.uint8)
        is_open = packed != 0
        for index, code in enumerate(codes):
            is_same = packed == code
            labels[is_same] = index
            is_open &= ~is_same
        others, places = np.unique(packed[is_open], return_inverse=True)
        if others.size:
            stray = np.array([unpack(code) for code in others.tolist()])
            distances = ((stray[:, np.newaxis] - colours) ** 2).sum(axis=2)
            labels[is_open] = distances.argmin(axis=1).astype(np.uint8)[places]
        return labels

    return encode
