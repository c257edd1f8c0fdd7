"""Maps and labels of a run of prediction: written slice by slice, whole or not at all."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from ..analysis import MapHistogram, entropy, labels_from_probs, matched_threshold, mean_entropy
from ..base import CancelToken, Event, Message, ResultFiles, SlicePace
from ..images import StackWriter
from ..networks import Stopped
from ..training import Model
from .maps import Piece, SlicePredictor

if TYPE_CHECKING:
    from ..images import Stack

__all__ = ["MAP_DTYPES", "FileRun", "MapDtype", "prediction_results", "result_name"]

MapDtype = Literal["uint8", "float16", "float32"]
MAP_DTYPES: tuple[MapDtype, ...] = ("uint8", "float16", "float32")

_LARGEST: dict[type[np.uint8 | np.uint16], int] = {np.uint8: 255, np.uint16: 65535}

Labels = npt.NDArray[np.uint8]


def result_name(what: str, *, is_set: bool) -> str:
    """Name the file of a stack's maps or labels, or the folder of an image set's."""
    return what if is_set else f"{what}.ome.tif"


def prediction_results(
    out_dir: str | Path,
    names: Iterable[str],
    *,
    model: Model,
    stack: Stack,
    source: str = "",
    overwrite: bool = False,
) -> ResultFiles:
    """Results of a model on an image: those of another image or model are not replaced unasked.

    Nor are those of the same pixels of another size, since objects look otherwise to the model.

    Parameters
    ----------
    out_dir : path
        Their folder.
    names : iterable of str
        All files, or folders, that may be written.
    model : Model
        The model.
    stack : Stack
        The image.
    source : str
        Its path, if it has one.
    overwrite : bool
        See `ResultFiles`.
    """
    return ResultFiles(
        Path(out_dir),
        "prediction",
        tuple(names),
        {
            "image": stack.identity(),
            "pixel size": _sizes(stack),
            "model": model.identity,
        },
        inputs=(Path(source),) if source and Path(source).exists() else (),
        overwrite=overwrite,
    )


def _sizes(stack: Stack) -> str:
    """Sizes of an image's voxels, or of the pixels of each image of a set, as a text."""
    if stack.is_set:
        return str([stack.pixel_size_um(z) for z in range(stack.n_slices)])
    return str(list(stack.voxel_size_um))


class FileRun:
    """Writes maps and labels of some slices, and counts what is done.

    Parameters
    ----------
    model : Model
        For the classes.
    stack : Stack
        The image.
    slices : sequence of int
        Which slices, in this order.
    folder : Path
        Where the files go: ``maps.ome.tif`` and ``labels.ome.tif``, or ``maps`` and ``labels``.
    map_dtype : {"uint8", "float16", "float32"}
        Of the maps: 0-255 or 0-1.
    has_uncertainty : bool
        Write the uncertainty of every pixel as well, 0-255.
    token : CancelToken or None
        Raises ``Stopped`` within one tile.
    clock : callable
        Seconds.
    """

    def __init__(
        self,
        model: Model,
        stack: Stack,
        slices: Sequence[int],
        folder: Path,
        map_dtype: MapDtype,
        has_uncertainty: bool,
        token: CancelToken | None,
        clock: Callable[[], float],
    ) -> None:
        self.pace = SlicePace(len(slices), clock)
        self.uncertainty: list[float] = []  # mean of each slice that is done
        self._has_uncertainty = has_uncertainty
        self._uncertainty_file: StackWriter | None = None
        self._model = model
        self._stack = stack
        self._slices = slices
        self._folder = folder
        self._map_dtype = map_dtype
        self._token = token

    def with_threshold(self, predictor: SlicePredictor, threshold: float | None) -> Iterator[Event]:
        """Write maps and labels in one go."""
        with contextlib.ExitStack() as files:
            maps_file = files.enter_context(self._maps_writer())
            labels_file = files.enter_context(self._labels_writer())
            self._open_uncertainty(files)
            for index, z in enumerate(self._slices):
                labels = np.empty(self._stack.shape_of(z), np.uint8)

                def label(piece: Piece, labels: Labels = labels) -> None:
                    labels[slice(*piece.rows)] = labels_from_probs(piece.probs, threshold)

                maps = yield from self._maps(predictor, z, label)
                maps_file.write(index, maps)
                labels_file.write(index, labels)
            yield from self.pace.progress()

    def with_matched_threshold(self, predictor: SlicePredictor, fraction: float) -> Iterator[Event]:
        """Write the maps, then the labels: their threshold needs the maps of all slices.

        The maps of class 1 wait in an unnamed file of one or two bytes a pixel.
        """
        histogram = MapHistogram()
        with contextlib.ExitStack() as files:
            waiting = files.enter_context(tempfile.TemporaryFile(dir=self._folder))
            maps_file = files.enter_context(self._maps_writer())
            labels_file = files.enter_context(self._labels_writer())
            self._open_uncertainty(files)

            def keep(piece: Piece) -> None:
                kept = _quantised(piece.probs[1], self._waiting_dtype)
                histogram.add(kept / np.float32(_LARGEST[self._waiting_dtype]))
                waiting.write(kept.tobytes())

            for index, z in enumerate(self._slices):
                maps_file.write(index, (yield from self._maps(predictor, z, keep)))
            yield from self.pace.progress()
            threshold = matched_threshold(histogram, fraction)
            text = (
                f"threshold {threshold:.3f}: with it {self._model.classes[1]} takes up "
                f"{100 * fraction:.2f} % as stated; that does not make every slice right."
            )
            yield Message("info", text)
            waiting.seek(0)
            for index, z in enumerate(self._slices):
                if self._token is not None and self._token.is_cancelled:
                    raise Stopped
                labels_file.write(index, self._waiting_labels(waiting, z, threshold))

    def _maps(
        self, predictor: SlicePredictor, z: int, use: Callable[[Piece], None]
    ) -> Generator[Event, None, npt.NDArray[Any]]:
        """Predict a slice; hand every piece to ``use``, and return the maps as they are stored."""
        shape = (len(self._model.classes), *self._stack.shape_of(z))
        maps: npt.NDArray[Any] = np.empty(shape, self._map_dtype)
        uncertainty = np.empty(shape[1:] if self._uncertainty_file else (0, 0), np.uint8)
        total = 0.0
        for item in predictor.pieces(self._stack, z, token=self._token):
            if isinstance(item, Piece):
                is_float = self._map_dtype != "uint8"
                rows = slice(*item.rows)
                maps[:, rows] = item.probs if is_float else _quantised(item.probs, np.uint8)
                use(item)
                total += mean_entropy(item.probs) * (item.rows[1] - item.rows[0])
                if self._uncertainty_file is not None:
                    uncertainty[rows] = _quantised(entropy(item.probs), np.uint8)
            elif isinstance(item, Message):
                yield item
            else:
                yield from self.pace.progress(item.fraction)
        if self._uncertainty_file is not None:
            self._uncertainty_file.write(self.pace.done, uncertainty)
        self.uncertainty.append(total / shape[1])
        self.pace.done += 1
        return maps

    def _waiting_labels(self, waiting: IO[bytes], z: int, threshold: float) -> Labels:
        """Labels of the next slice in the file of waiting maps."""
        shape = self._stack.shape_of(z)
        dtype = np.dtype(self._waiting_dtype)
        labels = np.empty(shape, np.uint8)
        for row in range(shape[0]):
            kept = np.frombuffer(waiting.read(shape[1] * dtype.itemsize), dtype)
            labels[row] = kept / np.float32(_LARGEST[self._waiting_dtype]) >= threshold
        return labels

    @property
    def _waiting_dtype(self) -> type[np.uint8 | np.uint16]:
        return np.uint8 if self._map_dtype == "uint8" else np.uint16

    def _maps_writer(self) -> StackWriter:
        return self._writer("maps", self._map_dtype, channels=self._model.classes)

    def _labels_writer(self) -> StackWriter:
        return self._writer("labels", "uint8", classes=self._model.classes)

    def _open_uncertainty(self, files: contextlib.ExitStack) -> None:
        if self._has_uncertainty:
            writer = self._writer("uncertainty", "uint8", channels=None)
            self._uncertainty_file = files.enter_context(writer)

    def _writer(
        self,
        name: str,
        dtype: str,
        *,
        channels: tuple[str, ...] | None = None,
        classes: tuple[str, ...] = (),
    ) -> StackWriter:
        stack = self._stack
        return StackWriter(
            self._folder / result_name(name, is_set=stack.is_set),
            n_slices=len(self._slices),
            shapes=[stack.shape_of(z) for z in self._slices],
            dtype=dtype,
            channels=channels,
            classes=classes,
            voxel_size_um=stack.voxel_size_um,
            is_set=stack.is_set,
            names=[stack.names[z] for z in self._slices],
            pixel_sizes_um=(
                [stack.pixel_size_um(z) for z in self._slices] if stack.is_set else None
            ),
        )


def _quantised(
    probs: npt.NDArray[np.float32], dtype: type[np.uint8 | np.uint16]
) -> npt.NDArray[np.uint8 | np.uint16]:
    """Probabilities as whole numbers over the range of an integer type."""
    numbers: npt.NDArray[np.uint8 | np.uint16]
    numbers = np.rint(probs * np.float32(_LARGEST[dtype])).astype(dtype)
    return numbers
