"""Many images in one call: predicted or measured, see `one_by_one`."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..analysis import (
    check_split,
    measure_masks,
    measurement_results,
    table_names,
    write_measurement,
)
from ..base import (
    CancelToken,
    Event,
    InputError,
    Message,
    Predicted,
    RunFinished,
    VoxelSize,
    check_size,
    least_pixels,
    length_text,
    merge_voxel_size,
    percent,
    stamp_of,
)
from ..images import BOTH_UNKNOWN, ListedImage, Stack, labels_in, open_labels, open_stack
from .one_by_one import Paths, Show, Told, list_with_names, one_by_one, table_at

if TYPE_CHECKING:
    from ..analysis import Measurement
    from ..annotations import ClassSpec
    from ..training import Model, RunInputs
    from .files import Threshold

_FRACTIONS = "fractions.csv"
_MOST_UNLIKE = 5.0  # odds of a class beside those in what the model learned from


@dataclass(frozen=True)
class PredictedImage:
    """What `predict_image` has written."""

    found: Measurement  # of the labels
    labels: str  # their path
    names: tuple[str, ...]  # all files and folders in the folder of the result
    advice: str  # what to count next; empty if there is nothing to choose from


def predict_image(
    run: str | Path,
    image: str | Path,
    *,
    out_dir: str | Path,
    model: Model | None = None,
    axes: str | None = None,
    voxel_size_um: VoxelSize | None = None,
    format: str | None = None,
    threshold: Threshold = None,
    uncertainty: bool = False,
    flips: bool = False,
    smooth_z: bool | None = None,
    fill_holes: bool = False,
    min_piece_px: int = 0,
    device: str = "auto",
    blocks: Mapping[str, Any] | None = None,
    min_size: float | str = 1,
    split: float | None = None,
    overwrite: bool | None = False,
    keeps: bool = False,
    show: Show = lambda event: None,
    token: CancelToken | None = None,
) -> tuple[PredictedImage | None, Stack]:
    """Predict an image into files, and measure its labels.

    Parameters
    ----------
    run, image : path
        Folder of a run; image. What was stated of the image of the run holds for it.
    model : Model, optional
        That of the run, if it is loaded.
    blocks : mapping, optional
        ``n_workers``, ``devices`` and ``host`` of `predict_in_blocks`, by which it is done then.
    min_size, split
        Of the objects, see `measure`.
    keeps : bool
        Whether a result that is there, finished and unchanged, as is the image, stays; one that a
        person saved stays with other options, too.
    out_dir, axes, voxel_size_um, format, threshold, uncertainty, flips, smooth_z, device, \
    fill_holes, min_piece_px
        As in `iter_prediction` and `open_stack`.
    overwrite, show, token
        As in `predict_in_blocks`.

    Returns
    -------
    tuple of PredictedImage or None, and Stack
        None if it was stopped, or stays.
    """
    from ..training import INPUTS, RunFolder, load_model
    from .blocks import predict_in_blocks
    from .engine import iter_prediction
    from .files import SAVED, prediction_results, result_names, write_fractions
    from .ranking import NEXT_SLICES, write_next_slices

    cleaning: dict[str, Any] = {"fill_holes": fill_holes, "min_piece_px": min_piece_px}
    cleaning = {key: value for key, value in cleaning.items() if value}
    _check_options(min_size=min_size, split=split, device=device, blocks=blocks, **cleaning)
    folder, source = RunFolder(Path(run)), Path(image)
    model = load_model(run) if model is None else model
    format = format or ("tif" if blocks is None else "zarr")
    inputs = folder.inputs() if (folder.path / INPUTS).is_file() else None
    if inputs is not None and inputs.masks is not None:
        masks, place = Path(inputs.masks), source.resolve()
        if masks == place or (masks == place.parent and masks != Path(inputs.image).parent):
            raise InputError(
                f"{image} is of the masks that the run learned from; name an image like "
                f"{inputs.image}."
            )
    inputs, stack = _opened(inputs, source, axes)
    own = None  # size of a pixel that a moved image says itself
    if inputs is not None and voxel_size_um is None and Path(inputs.image) != source.resolve():
        own = stack.pixel_size_um(0)
    said = () if inputs is None else folder.annotations().effective_proportions()
    if inputs is not None:
        axes, voxel_size_um = axes or inputs.axes, voxel_size_um or inputs.voxel_size_um
    stack = stack.with_voxel_size(voxel_size_um)
    model.check_channels(stack)
    pixel = stack.pixel_size_um(0)
    least_pixels(min_size, stack.voxel_size_um if stack.is_volume else (pixel, pixel))
    files = result_names(is_set=stack.is_set, uncertainty=uncertainty, format=format).values()
    results = prediction_results(
        out_dir,
        (*files, *table_names(_FRACTIONS), NEXT_SLICES),
        model=model,
        stack=stack,
        overwrite=overwrite,
    )
    options: dict[str, Any] = {"threshold": threshold, "uncertainty": uncertainty, "flips": flips}
    options["smooth_z"] = smooth_z
    made = {**options, "format": format, "axes": axes, "file": stamp_of(source)}
    made |= {"min_size": str(min_size), "split": split, "weights": model.weights_digest}
    made["classes"] = tuple(model.classes)
    made |= cleaning
    done_as = repr(made)
    if keeps and results.are_done(done_as):
        return None, stack
    if keeps and results.are_done(SAVED):
        show(Message("warning", "its result was saved from the dock, and stays as it is."))
        return None, stack
    results.check()
    if inputs is None and not (model.working_scale.pixel_size_um or pixel):
        show(Message("info", BOTH_UNKNOWN))
    if own is not None and pixel is not None and not math.isclose(own, pixel, rel_tol=0.001):
        text = (
            f"The size of a pixel is taken to be {length_text(pixel)}, as was stated of this image "
            f"for training, not {length_text(own)}, as it says; --voxel-size states another "
            "(voxel_size_um in Python; in napari train with another Voxel size)."
        )
        show(Message("warning", text))
    options |= {"overwrite": overwrite, "token": token}
    outputs: dict[str, str] = {}
    means: dict[int, float] = {}

    def take(event: Event) -> None:
        show(event)
        if isinstance(event, Predicted):
            means[event.slice] = event.uncertainty
        elif isinstance(event, RunFinished):
            outputs.update(event.outputs)

    if blocks is None:
        options |= {"format": format, "device": device, **cleaning}
        for event in iter_prediction(model, stack, out_dir=out_dir, **options):
            take(event)
    else:
        sizes: dict[str, Any] = {"axes": axes, "voxel_size_um": voxel_size_um}
        predict_in_blocks(run, image, out_dir=out_dir, **blocks, **sizes, **options, show=take)
    if not outputs:
        return None, stack
    with results.writing(adds=True, done_as=done_as) as place:
        found = write_fractions(
            place,
            outputs["labels"],
            stack,
            model.classes,
            maps=outputs["maps"],
            min_size=min_size,
            split=split,
        )
        for text in _unlike_training(model, found):
            show(Message("warning", text))
        advice = write_next_slices(place, model, stack, uncertainty=means, found=found, stated=said)
    names = tuple(name for name in results.names if name != NEXT_SLICES or advice)
    return PredictedImage(found, outputs["labels"], names, advice), stack


def _check_options(
    *,
    min_size: float | str = 1,
    split: float | None = None,
    device: str = "auto",
    blocks: Mapping[str, Any] | None = None,
    fill_holes: bool = False,
    min_piece_px: int = 0,
    **_: object,
) -> None:
    """Refuse what suits no image, before any is opened."""
    from ..networks import resolve_device
    from .blocks import check_workers

    check_split(split)
    check_size(min_size)
    if blocks is None:
        resolve_device(device)
        return
    check_workers(**blocks)
    if fill_holes or min_piece_px:
        raise InputError(
            "Labels cannot be cleaned in blocks, which are parts of slices; leave out --fill-holes "
            "and --min-piece, or --workers, --gpus and --host."
        )


def _unlike_training(model: Model, found: Measurement) -> Iterator[str]:
    """Say of which classes there is far more, or less, than in what the model learned from."""
    stated = dict(zip(model.classes, model.stated_fractions or (), strict=False))
    for name, fraction in zip(found.stack["class"], found.stack["fraction"], strict=True):
        known = stated.get(name, 0.0)
        if name == model.classes[0] or not known or math.isnan(fraction):
            continue
        odds, usual = (one / max(1 - one, 1e-9) for one in (fraction, known))
        if not usual / _MOST_UNLIKE <= odds <= usual * _MOST_UNLIKE:
            yield (
                f"{name} takes up {percent(fraction)} here, and about {percent(known)} of "
                "what the model learned from. Look at the labels: if they are wrong, the image "
                "looks unlike those of training (contrast, focus, size of a pixel); count a grid "
                "in it, and train on it."
            )


def _opened(
    inputs: RunInputs | None, image: Path, axes: str | None
) -> tuple[RunInputs | None, Stack]:
    """Open an image; if a run learned from it, wherever it lay then, with what it says of it."""
    if inputs is not None and Path(inputs.image) == image.resolve():
        return inputs, open_stack(image, axes=axes or inputs.axes)
    if inputs is not None:
        with contextlib.suppress(InputError):  # of other axes
            stack = open_stack(image, axes=axes or inputs.axes)
            if stack.identity() == inputs.image_identity:
                return inputs, stack
            if axes or not inputs.axes:
                return None, stack
    return None, open_stack(image, axes=axes)


def predict_images(
    run: str | Path,
    images: Paths,
    *,
    out_dir: str | Path,
    model: Model | None = None,
    each: bool = False,
    groups: str | Path | Mapping[Path, str] | None = None,
    overwrite: bool | None = False,
    show: Show = lambda event: None,
    token: CancelToken | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Apply a model to many images; what is finished already, and unchanged, is kept.

    Each image has a folder of its own in ``out_dir``, in which all is as a call for it alone writes
    it. An image that fails is told, and the others go on.

    Parameters
    ----------
    run : path
        Folder of a run.
    images : path or sequence of path
        Files; folders, each one image of slices; patterns such as ``study/**/*.tif``; or text files
        with one of these a line.
    out_dir : path
        Folder for the results and the table, ``images.csv``.
    model : Model, optional
        That of the run, if it is loaded.
    each : bool
        Whether each file in a folder, and in those in it, is an image of its own.
    groups : path or mapping of Path to str, optional
        Table ``image,group``, or "folder": the folder in which an image lies; or the group of each
        image by its path.
    overwrite : bool or None
        Whether what stands there may be replaced, whatever it is; None if nobody can ask for it.
    show : callable
        Takes each event: RunStarted, ImageProgress, Progress, Message, RunFinished.
    token : CancelToken, optional
        Stops within a tile; the same call goes on later.
    **options
        ``axes``, ``voxel_size_um``, ``format``, ``threshold``, ``uncertainty``, ``flips``,
        ``smooth_z``, ``fill_holes``, ``min_piece_px`` and ``device``, as in
        :func:`napari_spss.iter_prediction` and :func:`napari_spss.open_stack`; ``min_size`` and
        ``split``, as in :func:`napari_spss.find_objects`.

    Returns
    -------
    DataFrame
        A row per image and class, as it is written, all cells texts: ``image``, ``group``,
        ``folder`` of the result, ``problem`` if it failed or was not come to, ``pixel_um``; and the
        columns of ``fractions_stack.csv``. Images of earlier calls are in it, too.

    Raises
    ------
    InputError
        If there are no images, the table of groups is wrong, or the table of another model or of
        other options stands there.

    Examples
    --------
    >>> table = predict_images("run", ["a.tif", "b.zarr"], out_dir="result")  # doctest: +SKIP
    """
    from ..training import load_model

    _check_options(**options)
    model = load_model(run) if model is None else model
    results = table_at(out_dir, {"model": model.identity}, overwrite)
    token = token or CancelToken()
    if options.get("threshold") == 0.5 and len(model.classes) == 2:
        options["threshold"] = None  # which is the same

    def work(image: ListedImage, folder: Path, show: Show) -> tuple[bool, Told]:
        done, stack = predict_image(
            run,
            image.path,
            out_dir=folder,
            model=model,
            overwrite=overwrite,
            keeps=True,
            show=show,
            token=token,
            **options,
        )
        if done is None:
            token.check()
        return done is not None, {"pixel_um": _pixel_um(stack)}

    stack_table = table_names(_FRACTIONS)[1]
    made = {
        key: value
        for key, value in sorted(options.items())
        if key not in ("device", "blocks")
        and (value not in (None, False, "tif", "1") or (key == "smooth_z" and value is False))
    }
    made |= {"weights": model.weights_digest, "classes": tuple(model.classes)}
    listed = list_with_names(images, results, each=each, groups=groups, made=made)
    return one_by_one(listed, work, results, stack_table, made, show, token)


def _pixel_um(stack: Stack) -> str:
    """Edge of a pixel of an image, or of all images of a set, for the table."""
    sizes = {stack.pixel_size_um(z) for z in range(stack.n_slices if stack.is_set else 1)}
    size = sizes.pop() if len(sizes) == 1 else None
    return "" if size is None else str(size)


def measure_images(
    labels: Paths,
    *,
    out_dir: str | Path,
    each: bool = False,
    groups: str | Path | Mapping[Path, str] | None = None,
    classes: ClassSpec | None = None,
    instances: bool = False,
    voxel_size_um: VoxelSize | None = None,
    overwrite: bool | None = False,
    show: Show = lambda event: None,
    token: CancelToken | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Measure many labels; what is finished already, and unchanged, is kept.

    Parameters
    ----------
    labels : path or sequence of path
        Files or folders of labels or masks, folders of results, patterns, or text files of these.
    classes, instances
        As in :func:`napari_spss.open_masks`.
    out_dir, each, groups, overwrite, show, token
        As in :func:`predict_images`.
    voxel_size_um : tuple of float or None, optional
        (z, y, x) of all of them, in micrometres; goes before what the labels state.
    **options
        ``min_size``, ``split``, ``per_slice``, ``is_vertical`` and ``outside`` of a measurement.

    Returns
    -------
    DataFrame
        As of :func:`predict_images`.
    """
    check_split(options.get("split"))
    check_size(options.get("min_size", 1))
    results = table_at(out_dir, {"table": "measurements"}, overwrite)
    token = token or CancelToken()
    made: dict[str, object] = {"classes": classes, "instances": instances, "size": voxel_size_um}
    made |= sorted(options.items())

    def work(image: ListedImage, folder: Path, show: Show) -> tuple[bool, Told]:
        path = labels_in(image.path)
        masks = open_labels(path, classes=classes, instances=instances)
        size = merge_voxel_size(voxel_size_um, masks.stack.voxel_size_um)
        files = measurement_results(
            folder / _FRACTIONS, labels=path, voxel_size_um=size, overwrite=overwrite
        )
        told = {"pixel_um": _pixel_um(masks.stack.with_voxel_size(voxel_size_um))}
        done_as = f"{made} {stamp_of(path)}"
        if files.are_done(done_as):
            return False, told
        files.check()
        found = measure_masks(masks, voxel_size_um=voxel_size_um, go_on=token.check, **options)
        for note in found.notes:
            show(Message("info", note))
        write_measurement(files, found, done_as=done_as)
        return True, told

    listed = list_with_names(labels, results, each=each, groups=groups, made=made, of_labels=True)
    return one_by_one(listed, work, results, table_names(_FRACTIONS)[1], made, show, token)
