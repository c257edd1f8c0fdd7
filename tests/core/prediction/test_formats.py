"""Results in a format from outside of the package, by a writer that is registered."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import tifffile
import torch
from pixels import image_set
from torch import nn

import napari_spss
from napari_spss import Model, StackLayout, Writer, iter_prediction, open_stack
from napari_spss.core.base import FinishReason, InputError, RunError, RunFinished, TrainingSettings
from napari_spss.core.images import Stack, stack_from_array
from napari_spss.core.training.samples import LabelScale

CLASSES = ("background", "mito")
UM = (0.05, 0.01, 0.01)


class _Npy:
    """A file of each stack, or of each image of a set; keeps what it was told."""

    told: dict[str, StackLayout] = {}  # noqa: RUF012  # of all writers, by the name of the file

    def __init__(self, path: Path, layout: StackLayout) -> None:
        self.told[path.name] = layout
        if layout.is_set:
            path.mkdir()
            shapes = {path / f"{z:03}.npy": layout.shape_of(z) for z in range(layout.n_slices)}
        else:
            shapes = {path: (layout.n_slices, *layout.shape_of(0))}
        self._is_set = layout.is_set
        self._arrays = [
            np.lib.format.open_memmap(one, "w+", layout.dtype, shape)
            for one, shape in shapes.items()
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for array in self._arrays:
            array.flush()

    def write(self, z: int, data: np.ndarray, first_row: int = 0) -> None:
        target = self._arrays[z] if self._is_set else self._arrays[0][z]
        target[..., first_row : first_row + data.shape[-2], :] = data


class _Full(_Npy):
    def write(self, z: int, data: np.ndarray, first_row: int = 0) -> None:
        super().write(z, data, first_row)
        if z:
            raise OSError(28, "No space left on device")


@pytest.fixture(autouse=True)
def _formats() -> None:
    napari_spss.register_writer("npy", Writer(".npy", _Npy))
    napari_spss.register_writer("full", Writer(".npy", _Full))


class _Grey(nn.Module):
    """Says how bright each pixel is."""

    stride = 1
    receptive_radius = 0
    has_exact_radius = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 8 * x - 4


def _model() -> Model:
    return Model(
        network=_Grey().eval(),
        classes=CLASSES,
        reduction=1,
        n_channels=1,
        settings=TrainingSettings().with_overrides({"image.normalisation": "range"}),
        stated_fractions=(0.8, 0.2),
        label_scale=LabelScale(1.0, (1.0, 1.0)),
        n_steps=0,
        pixel_size_um=UM[1],
    )


def _image(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def _run(stack: Stack, out_dir: Path, **options: Any) -> RunFinished:
    *_, finished = iter_prediction(_model(), stack, out_dir=out_dir, device="cpu", **options)
    assert isinstance(finished, RunFinished)
    assert finished.reason is FinishReason.completed
    return finished


@pytest.mark.parametrize("threshold", [None, "auto"])
@pytest.mark.parametrize("map_dtype", ["uint8", "float32"])
def test_a_format_from_outside_holds_what_ours_holds(
    tmp_path: Path, threshold: Any, map_dtype: Any
) -> None:
    stack = stack_from_array(_image(3, 40, 30), voxel_size_um=UM)
    options = {"threshold": threshold, "map_dtype": map_dtype, "uncertainty": True}
    ours = _run(stack, tmp_path / "tif", **options).outputs
    theirs = _run(stack, tmp_path / "npy", format="npy", **options).outputs
    assert theirs == {name: str(tmp_path / "npy" / f"{name}.npy") for name in ours}
    for name, path in theirs.items():
        np.testing.assert_array_equal(np.load(path), tifffile.imread(ours[name]), name)
    assert open_stack(theirs["labels"]).n_slices == 3


def test_a_writer_knows_axes_classes_type_and_sizes(tmp_path: Path) -> None:
    stack = stack_from_array(_image(3, 40, 30), voxel_size_um=UM)
    _run(stack, tmp_path, format="npy", map_dtype="float16", slices=[2, 0])
    maps, labels = (_Npy.told[f"{name}.npy"] for name in ("maps", "labels"))
    assert (maps.axes, maps.shape_of(0), maps.n_slices) == ("ZCYX", (2, 40, 30), 2)
    assert (maps.channels, maps.dtype, maps.voxel_size_um) == (CLASSES, np.float16, UM)
    assert (labels.axes, labels.shape_of(1), labels.dtype) == ("ZYX", (40, 30), np.uint8)
    assert (labels.classes, labels.voxel_size_of(1)) == (CLASSES, UM)


def test_an_image_set_becomes_a_folder_of_that_format(tmp_path: Path) -> None:
    images = [_image(20, 30), _image(10, 15)]
    stack = image_set(images, names=["a.png", "b.png"], sizes_um=(0.01, 0.02))
    labels = Path(_run(stack, tmp_path, format="npy").outputs["labels"])
    assert labels == tmp_path / "labels"
    assert [np.load(path).shape for path in sorted(labels.iterdir())] == [(20, 30), (10, 15)]
    layout = _Npy.told["labels"]
    assert (layout.names, layout.pixel_sizes_um) == (("a.png", "b.png"), [0.01, 0.02])


def test_another_format_replaces_the_results_before(tmp_path: Path) -> None:
    stack = stack_from_array(_image(2, 8, 8), voxel_size_um=UM)
    for name, suffix in (("tif", ".ome.tif"), ("npy", ".npy"), ("tif", ".ome.tif")):
        _run(stack, tmp_path, format=name)
        names = {path.name for path in tmp_path.glob("[!.]*")}
        assert names == {f"maps{suffix}", f"labels{suffix}"}


def test_a_writer_that_fails_leaves_nothing_of_its_own_and_all_of_before(tmp_path: Path) -> None:
    stack = stack_from_array(_image(2, 8, 8), voxel_size_um=UM)
    _run(stack, tmp_path, format="npy")
    before = (tmp_path / "labels.npy").read_bytes()
    with pytest.raises(RunError, match="No space left"):
        _run(stack, tmp_path, format="full")
    assert (tmp_path / "labels.npy").read_bytes() == before
    assert {path.name for path in tmp_path.glob("[!.]*")} == {"maps.npy", "labels.npy"}


def test_an_unknown_format_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no format is called 'czi'; choose one of tif") as caught:
        _run(stack_from_array(_image(1, 8, 8)), tmp_path / "new", format="czi")
    assert caught.value.field == "format"
    assert not (tmp_path / "new").exists()
    with pytest.raises(InputError, match="cannot be registered as 'tif'"):
        napari_spss.register_writer("tif", Writer(".npy", _Npy))
