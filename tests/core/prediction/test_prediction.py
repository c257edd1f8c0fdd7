"""Prediction against closed forms, in memory and to files; thresholds, stops and failures."""

from __future__ import annotations

import sys
import threading
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings, strategies as st
from pixels import image_set
from torch import nn

from napari_spss.core.annotations import Classes, Region
from napari_spss.core.base import (
    CancelToken,
    Event,
    FinishReason,
    InputError,
    Message,
    OutOfMemory,
    Predicted,
    Progress,
    RunError,
    RunFinished,
    RunStarted,
    Stopped,
    TrainingSettings,
    read_origin,
    versions,
)
from napari_spss.core.images import (
    ImageData,
    Stack,
    enlarge,
    open_stack,
    resample_slice,
    resampling,
    stack_from_array,
)
from napari_spss.core.networks import unet
from napari_spss.core.prediction import (
    files as prediction_files,
    iter_prediction,
    maps as slice_maps,
    predict,
    predict_regions,
    predict_slice,
    prediction_results,
)
from napari_spss.core.training import Model
from napari_spss.core.training.samples import LabelScale


class _Linear(nn.Module):
    """Logits that are linear in the grey values, pixel by pixel."""

    stride = 1
    receptive_radius = 0
    has_exact_radius = True

    def __init__(self, weights: list[list[float]], bias: list[float]) -> None:
        super().__init__()
        self.layer = nn.Conv2d(len(weights[0]), len(weights), 1)
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor(weights)[:, :, None, None])
            self.layer.bias.copy_(torch.tensor(bias))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def _model(
    network: nn.Module | None = None,
    *,
    classes: tuple[str, ...] = ("background", "mito"),
    reduction: int = 1,
    n_channels: int = 1,
    normalisation: str = "range",
    stated: tuple[float, ...] | None = None,
) -> Model:
    return Model(
        network=(network or _Linear([[8.0]], [-4.0])).eval(),
        classes=classes,
        reduction=reduction,
        n_channels=n_channels,
        settings=TrainingSettings().with_overrides({"image.normalisation": normalisation}),
        stated_fractions=stated,
        label_scale=LabelScale(1.0, (1.0,) * len(classes)),
        n_steps=0,
    )


def test_the_scale_follows_the_size_of_a_pixel(tmp_path: Path) -> None:
    fine = _image(2, 80, 64).astype(np.float32) / 255
    coarse = fine.reshape(2, 40, 2, 32, 2).mean((2, 4))
    model = _model().model_copy(update={"reduction": 4, "pixel_size_um": 0.005})
    of_fine = stack_from_array(fine, voxel_size_um=(None, 0.005, 0.005))
    of_coarse = stack_from_array(coarse, voxel_size_um=(None, 0.01, 0.01))
    small = torch.from_numpy(resample_slice(of_fine, 1, 4, "range"))
    np.testing.assert_allclose(small, resample_slice(of_coarse, 1, 2, "range"), atol=1e-6)
    expected = enlarge(torch.sigmoid(8 * small - 4), (40, 32), 2).numpy()[0]
    found = predict_slice(model, of_coarse, 1, device="cpu")[1]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    events = _run(model, of_coarse, tmp_path, map_dtype="float32")
    assert "reduced by 2 instead of 4" in next(e.text for e in events if isinstance(e, Message))
    maps = tifffile.imread(tmp_path / "maps.ome.tif")
    np.testing.assert_allclose(maps[1, 1], expected, atol=1e-5)


def test_a_contrast_that_single_precision_loses_is_told(tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(1e9, 20, (2, 40, 60))
    events = _run(_model(_Linear([[1.0]], [0.0])), stack_from_array(image), tmp_path)
    (text,) = [e.text for e in events if isinstance(e, Message) and e.level == "warning"]
    assert "slice 0 lie about 1e+09" in text


def test_padding_of_aligned_slices_is_told_unless_the_model_knows_what_lies_outside(
    tmp_path: Path,
) -> None:
    image = _image(3, 40, 60)
    image[1, :, :30], image[2] = 0, 0
    model = _model(_Linear([[1.0]] * 3, [0.0] * 3), classes=("background", "mito", "resin"))
    events = _run(model, stack_from_array(image), tmp_path / "a")
    (text,) = [e.text for e in events if isinstance(e, Message) and "aligning" in e.text]
    assert text.startswith("2 slices (1, 2) have one grey value from an edge on")
    assert "in up to 100 % of the pixels" in text
    with pytest.warns(UserWarning, match=r"1 slice \(1\).* up to 50 %"):
        predict_slice(model, stack_from_array(image), 1)
    knows = model.model_copy(update={"classes": Classes(model.classes, "resin")})
    events = _run(knows, stack_from_array(image), tmp_path / "b")
    assert not [e for e in events if isinstance(e, Message) and "aligning" in e.text]


def test_each_image_of_a_set_has_its_own_scale() -> None:
    fine = _image(80, 64).astype(np.float32) / 255
    coarse = fine.reshape(40, 2, 32, 2).mean((1, 3))
    stack = image_set([fine, coarse], sizes_um=(0.005, 0.01))
    model = _model().model_copy(update={"reduction": 4, "pixel_size_um": 0.005})
    maps = predict(model, stack, device="cpu").probs
    inner = maps[0][1][4:-4, 4:-4].reshape(36, 2, 28, 2).mean((1, 3))
    np.testing.assert_allclose(inner, maps[1][1][2:-2, 2:-2], atol=1e-5)


@pytest.mark.parametrize(
    ("learned", "size", "text"),
    [
        (0.005, 0.02, "4.0 times smaller"),
        (0.005, None, "taken to be 5 nm"),
        (None, 0.005, "does not say"),
    ],
)
def test_a_scale_that_cannot_follow_is_warned_of(
    learned: float | None, size: float | None, text: str
) -> None:
    stack = stack_from_array(_image(1, 8, 8), voxel_size_um=(None, size, size))
    model = _model().model_copy(update={"reduction": 1, "pixel_size_um": learned})
    with pytest.warns(UserWarning, match=text):
        predict_slice(model, stack, 0, device="cpu")
    with pytest.warns(UserWarning, match=text):
        predict(model, stack, device="cpu")


def _image(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def _sigmoid(image: np.ndarray) -> np.ndarray:
    """What the default model predicts for class 1."""
    positive: np.ndarray = 1 / (1 + np.exp(-(8.0 * image / 255 - 4.0)))
    return positive


def _run(model: Model, stack: Stack, out_dir: Path, **options: Any) -> list[Event]:
    return list(iter_prediction(model, stack, out_dir=out_dir, device="cpu", **options))


def _names(folder: Path) -> list[str]:
    """Names in a folder, without that of the record of what was written."""
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    return sorted(names - {".prediction.written.json"})


# One slice


def test_maps_of_a_pixelwise_network() -> None:
    image = _image(2, 50, 40)
    probs = predict_slice(_model(), stack_from_array(image), 1, device="cpu")
    assert probs.dtype == np.float32
    assert probs.shape == (2, 50, 40)
    np.testing.assert_allclose(probs[1], _sigmoid(image[1]), atol=1e-6)
    np.testing.assert_allclose(probs.sum(axis=0), 1, atol=1e-6)


def test_several_classes_and_channels() -> None:
    image = _image(3, 20, 30)
    network = _Linear([[1.0, 0, 0], [0, 2.0, 0], [0, 0, 3.0]], [0.0, 0.0, 0.0])
    model = _model(network, classes=("background", "a", "b"), n_channels=3)
    probs = predict_slice(model, stack_from_array(image, axes="CYX"), 0, device="cpu")
    logits = image / 255 * np.array([1, 2, 3])[:, None, None]
    expected = np.exp(logits) / np.exp(logits).sum(axis=0)
    np.testing.assert_allclose(probs, expected, atol=1e-6)


@pytest.mark.parametrize("reduction", [2, 3, 4])
@pytest.mark.parametrize("n_values", [1, 2**22])
def test_maps_come_back_at_full_resolution(
    monkeypatch: pytest.MonkeyPatch, reduction: int, n_values: int
) -> None:
    """Piece by piece gives what enlarging the whole map gives."""
    monkeypatch.setattr(slice_maps, "_PIECE_VALUES", n_values)
    stack = stack_from_array(_image(1, 401, 301))
    model = _model(reduction=reduction)
    small = torch.from_numpy(resample_slice(stack, 0, reduction, "range"))
    expected = enlarge(torch.sigmoid(8 * small - 4), (401, 301), reduction).numpy()
    probs = predict_slice(model, stack, 0, device="cpu", tile_px=64)
    assert probs.shape == (2, 401, 301)
    np.testing.assert_allclose(probs[1:], expected, atol=1e-5)


@given(data=st.data(), reduction=st.integers(1, 5), tile_px=st.integers(64, 200))
@settings(max_examples=25, deadline=None)
def test_a_box_is_cut_from_the_whole_slice(
    data: st.DataObject, reduction: int, tile_px: int
) -> None:
    height, width = 150, 110
    y0, x0 = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    y1 = data.draw(st.integers(y0 + 1, height))
    x1 = data.draw(st.integers(x0 + 1, width))
    stack = stack_from_array(_image(1, height, width))
    model = _model(reduction=reduction)
    whole = predict_slice(model, stack, 0, device="cpu")
    part = predict_slice(model, stack, 0, box=(y0, x0, y1, x1), device="cpu", tile_px=tile_px)
    np.testing.assert_allclose(part, whole[:, y0:y1, x0:x1], atol=1e-5)


@given(
    data=st.data(), reduction=st.integers(1, 3), normalisation=st.sampled_from(["slice", "range"])
)
@settings(max_examples=15, deadline=None)
def test_a_box_is_read_with_no_more_than_it_depends_on(
    data: st.DataObject, reduction: int, normalisation: str
) -> None:
    image = _image(1, 700, 500)
    model = _model(
        unet.FastUNet(in_channels=1, out_channels=1, filters=2),
        reduction=reduction,
        normalisation=normalisation,
    )
    predictor = slice_maps.SlicePredictor(model, "cpu", tile_px=None, flips=False)
    y0, x0 = data.draw(st.integers(0, 699)), data.draw(st.integers(0, 499))
    box = (y0, x0, data.draw(st.integers(y0 + 1, 700)), data.draw(st.integers(x0 + 1, 500)))
    stack = stack_from_array(image)
    greys = predictor.greys(stack, 0).range

    def maps(box: Any, greys: Any = None) -> np.ndarray:
        pieces = predictor.pieces(stack, [Region(0, box)], greys=greys)
        return np.concatenate([p.probs for p in pieces if isinstance(p, slice_maps.Piece)], axis=1)

    whole = maps(None)
    read: list[tuple[int, int, int, int]] = []
    before = stack.read
    stack.read = lambda z, box=None: (read.append(box), before(z, box))[1]  # type: ignore[method-assign]
    part = maps(box, lambda _: greys)
    np.testing.assert_allclose(part, whole[:, box[0] : box[2], box[1] : box[3]], atol=1e-5)
    most = reduction * (model.network.receptive_radius + 2 * model.network.stride + 2)
    assert min(one[0] for one in read) >= box[0] - most
    assert max(one[3] for one in read) <= box[3] + most


@pytest.mark.parametrize("box", [(0, 0, 0, 5), (5, 0, 2, 5), (0, 0, 51, 5), (0, -1, 5, 5)])
def test_boxes_outside_the_slice_are_refused(box: tuple[int, int, int, int]) -> None:
    with pytest.raises(InputError, match="outside slice 0 of 50 x 40 pixels"):
        predict_slice(_model(), stack_from_array(_image(1, 50, 40)), 0, box=box, device="cpu")


def test_normalisation_is_that_of_the_whole_slice_not_of_the_tile() -> None:
    image = _image(1, 200, 200)
    image[:, :100] //= 4
    values = (image[0] - image.mean()) / image.std()
    model = _model(normalisation="slice")
    probs = predict_slice(model, stack_from_array(image), 0, device="cpu", tile_px=64)
    np.testing.assert_allclose(probs[1], 1 / (1 + np.exp(4 - 8 * values)), atol=1e-5)


def test_flips_are_averaged_at_full_resolution() -> None:
    class _Shift(_Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).roll(1, 3)

    image = _image(1, 64, 64)
    model = _model(_Shift([[8.0]], [-4.0]))
    probs = predict_slice(model, stack_from_array(image), 0, device="cpu", flips=True)
    p = _sigmoid(image[0])
    np.testing.assert_allclose(probs[1], (np.roll(p, 1, 1) + np.roll(p, -1, 1)) / 2, atol=1e-6)


def test_wrong_number_of_channels_is_refused() -> None:
    with pytest.raises(InputError, match="has 3 channels, but the model was trained on 1"):
        predict_slice(_model(), stack_from_array(_image(3, 8, 8), axes="CYX"), 0, device="cpu")


def test_tile_size_must_be_positive() -> None:
    with pytest.raises(InputError, match="tile_px 0 is too small"):
        predict_slice(_model(), stack_from_array(_image(1, 8, 8)), 0, tile_px=0, device="cpu")


def test_a_stopped_slice_raises() -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(Stopped):
        predict_slice(_model(), stack_from_array(_image(1, 8, 8)), 0, token=token, device="cpu")


# In memory


def test_prediction_of_a_stack() -> None:
    image = _image(3, 20, 30)
    prediction = predict(_model(), stack_from_array(image), slices=[2, 0], device="cpu")
    assert isinstance(prediction.probs, np.ndarray)
    assert prediction.probs.shape == (2, 2, 20, 30)
    np.testing.assert_array_equal(prediction.labels, _sigmoid(image[[2, 0]]) >= 0.5)
    assert prediction.threshold == 0.5


def test_prediction_of_a_set_with_a_threshold() -> None:
    images = [_image(20, 30), _image(10, 15)]
    prediction = predict(_model(), image_set(images), threshold=0.8, device="cpu")
    assert isinstance(prediction.labels, list)
    for labels, image in zip(prediction.labels, images, strict=True):
        np.testing.assert_array_equal(labels, _sigmoid(image) >= 0.8)


def test_prediction_with_matched_threshold() -> None:
    image = _image(2, 100, 100)
    model = _model(stated=(0.9, 0.1))
    prediction = predict(model, stack_from_array(image), threshold="auto", device="cpu")
    assert np.mean(prediction.labels) == pytest.approx(0.1, abs=0.005)
    assert prediction.threshold == pytest.approx(_sigmoid(np.array(0.9 * 255)), abs=0.02)


# Into a sink of one's own


class _Shapes:
    """Takes maps apart from files and arrays; keeps how many rows came, and from where to where."""

    def __init__(self) -> None:
        self.rows: dict[Region, list[tuple[int, int]]] = {}
        self.totals: dict[Region, float] = {}

    def __call__(self, region: Region, rows: tuple[int, int], probs: np.ndarray) -> None:
        self.rows.setdefault(region, []).append(rows)
        self.totals[region] = self.totals.get(region, 0.0) + float(probs[1].sum())


@pytest.mark.parametrize("n_values", [64, 2**22])
def test_a_sink_gets_each_region_whole_from_top_to_bottom(
    monkeypatch: pytest.MonkeyPatch, n_values: int
) -> None:
    monkeypatch.setattr(slice_maps, "_PIECE_VALUES", n_values)
    image = _image(3, 40, 30)
    regions = [Region(2), Region(0, (5, 6, 25, 20))]
    sink = _Shapes()
    events = list(
        predict_regions(_model(), stack_from_array(image), regions, sink, device="cpu", tile_px=64)
    )
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunFinished)
    predicted = [event for event in events if isinstance(event, Predicted)]
    assert [(one.slice, one.box) for one in predicted] == [(2, None), (0, (5, 6, 25, 20))]
    for region, (top, bottom) in zip(regions, ((0, 40), (5, 25)), strict=True):
        edges = sink.rows[region]
        assert (edges[0][0], edges[-1][1]) == (top, bottom)
        assert all(one[1] == other[0] for one, other in pairwise(edges))
    assert sink.totals[regions[0]] == pytest.approx(_sigmoid(image[2]).sum(), rel=1e-5)
    assert sink.totals[regions[1]] == pytest.approx(_sigmoid(image[0, 5:25, 6:20]).sum(), rel=1e-5)


class _Reported:
    """A stack whose slices say when they are read."""

    dtype = np.dtype(np.uint8)

    def __init__(self, n_slices: int, size: int) -> None:
        self.shape = (n_slices, size, size)
        self.is_read = [threading.Event() for _ in range(n_slices)]

    def __getitem__(self, index: Any) -> np.ndarray:
        z, *box = index
        self.is_read[z].set()
        return np.full(self.shape[1:], 10 * z, np.uint8)[tuple(box)]


def test_what_comes_next_is_read_and_computed_while_maps_are_taken() -> None:
    image, is_computed = _Reported(4, 8), threading.Event()

    class _Network(_Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.max() > 15 / 255:  # the third slice
                is_computed.set()
            return super().forward(x)

    def slow(region: Region, rows: tuple[int, int], probs: np.ndarray) -> None:
        if region.slice == 0:
            assert is_computed.wait(20)
            assert image.is_read[3].wait(20)
            assert sys.getswitchinterval() < turn_s  # the network does not wait long for the taker
            taken.append(probs)

    taken: list[np.ndarray] = []
    turn_s = sys.getswitchinterval()
    model = _model(_Network([[8.0]], [-4.0]))
    regions = [Region(z) for z in range(4)]
    list(predict_regions(model, stack_from_array(image), regions, slow, device="cpu"))
    assert len(taken) == 1
    assert sys.getswitchinterval() == turn_s


@pytest.mark.parametrize("normalisation", ["slice", "range"])
@pytest.mark.parametrize("reduction", [1, 2])
def test_a_slice_too_large_to_be_held_has_the_same_maps(
    monkeypatch: pytest.MonkeyPatch, reduction: int, normalisation: str
) -> None:
    network = unet.FastUNet(in_channels=1, out_channels=1, filters=2)
    model = _model(network, reduction=reduction, normalisation=normalisation)
    stack = stack_from_array(_image(1, 333, 250))
    held = predict_slice(model, stack, 0, device="cpu", tile_px=64)
    for name in ("_HELD_PX", "_STRIP_PX", "_HANDED_PX"):
        monkeypatch.setattr(resampling, name, 2000)
    streamed = predict_slice(model, stack, 0, device="cpu", tile_px=64)
    np.testing.assert_allclose(streamed, held, atol=1e-6)


def test_rows_are_read_once_for_grey_values_and_once_for_maps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class _Counted:
        shape, dtype = (1, 640, 250), np.dtype(np.uint8)

        def __getitem__(self, index: Any) -> np.ndarray:
            read.append(index)
            return _image(*self.shape)[index]

    for name, value in (("_HELD_PX", 2000), ("_STRIP_PX", 160 * 250), ("_HANDED_PX", 4000)):
        monkeypatch.setattr(resampling, name, value)
    stack, read = stack_from_array(_Counted()), list[Any]()
    stack.identity()
    read.clear()
    predict_slice(_model(normalisation="slice"), stack, 0, device="cpu")
    assert len(read) == 2 * 640 / 160


@pytest.mark.parametrize("smooth_z", [False, True])
def test_memory_of_a_large_slice_is_that_of_a_band(tmp_path: Path, smooth_z: bool) -> None:
    stack = stack_from_array(np.broadcast_to(np.uint8(9), (1 + smooth_z, 6000, 6000)))
    model = _model(normalisation="slice")
    tracemalloc.start()
    try:
        list(
            iter_prediction(
                model,
                stack,
                out_dir=tmp_path / "out",
                tile_px=256,
                smooth_z=smooth_z,
                device="cpu",
            )
        )
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 6000 * 6000 * 4  # what the slice takes as the network sees it


def test_a_region_outside_of_the_image_is_refused_before_any_is_predicted() -> None:
    sink = _Shapes()
    regions = [Region(0), Region(1, (0, 0, 9, 8))]
    with pytest.raises(InputError, match="outside slice 1 of 8 x 8 pixels"):
        list(predict_regions(_model(), stack_from_array(_image(2, 8, 8)), regions, sink))
    assert not sink.rows


def test_what_a_sink_raises_ends_the_run() -> None:
    def full(*_: object) -> None:
        raise RunError("no place left")

    with pytest.raises(RunError, match="no place left"):
        list(predict_regions(_model(), stack_from_array(_image(1, 8, 8)), [Region(0)], full))


# To files


def test_files_hold_maps_and_labels(tmp_path: Path) -> None:
    image = _image(3, 40, 30)
    stack = stack_from_array(image, voxel_size_um=(0.05, 0.005, 0.005))
    model = _model().model_copy(update={"reduction": 1, "pixel_size_um": 0.005})
    events = _run(model, stack, tmp_path / "out")
    started, *between, finished = events
    assert started == RunStarted("prediction", 3, "cpu", ("background", "mito"))
    assert isinstance(finished, RunFinished)
    assert (finished.reason, finished.done) == (FinishReason.completed, 3)
    assert finished.outputs == {
        name: str(tmp_path / "out" / f"{name}.ome.tif") for name in ("maps", "labels")
    }
    assert all(isinstance(event, Progress | Predicted) for event in between)
    assert [event.slice for event in between if isinstance(event, Predicted)] == [0, 1, 2]
    last = between[-1]
    assert isinstance(last, Progress)
    assert (last.done, last.eta_s) == (3, 0)
    assert _names(tmp_path / "out") == ["labels.ome.tif", "maps.ome.tif"]
    maps = tifffile.imread(finished.outputs["maps"])
    assert maps.dtype == np.uint8
    positive = np.rint(_sigmoid(image) * 255)
    np.testing.assert_allclose(maps[:, 1], positive, atol=1)
    np.testing.assert_allclose(maps.sum(axis=1, dtype=int), 255, atol=1)
    labels = tifffile.imread(finished.outputs["labels"])
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, _sigmoid(image) >= 0.5)
    with tifffile.TiffFile(finished.outputs["labels"]) as file:
        assert file.ome_metadata is not None
        assert 'PhysicalSizeX="0.005"' in file.ome_metadata


@pytest.mark.parametrize(("dtype", "error"), [("float16", 5e-4), ("float32", 1e-6)])
def test_maps_as_floats(tmp_path: Path, dtype: Any, error: float) -> None:
    image = _image(1, 40, 30)
    _run(_model(), stack_from_array(image), tmp_path, map_dtype=dtype)
    maps = tifffile.imread(tmp_path / "maps.ome.tif")
    np.testing.assert_allclose(maps[1], _sigmoid(image[0]), atol=error)


def test_files_agree_with_the_prediction_in_memory(tmp_path: Path) -> None:
    network = _Linear([[1.0], [2.0], [-2.0]], [0.0, -1.0, 1.0])
    model = _model(network, classes=("background", "a", "b"), reduction=3)
    stack = stack_from_array(_image(2, 100, 130))
    _run(model, stack, tmp_path, map_dtype="float32", slices=[1], tile_px=64)
    prediction = predict(model, stack, slices=[1], device="cpu")
    maps = tifffile.imread(tmp_path / "maps.ome.tif")
    np.testing.assert_allclose(maps, prediction.probs[0], atol=1e-6)
    labels = tifffile.imread(tmp_path / "labels.ome.tif")
    np.testing.assert_array_equal(labels, prediction.labels[0])
    assert set(np.unique(labels)) <= {0, 1, 2}


def test_image_set_becomes_folders(tmp_path: Path) -> None:
    images = [_image(20, 30), _image(10, 15)]
    stack = image_set(images, names=["a.png", "b.png"])
    events = _run(_model(), stack, tmp_path)
    assert _names(tmp_path) == ["labels", "maps"]
    assert isinstance(events[-1], RunFinished)
    assert events[-1].outputs == {name: str(tmp_path / name) for name in ("maps", "labels")}
    labels = tifffile.imread(tmp_path / "labels" / "b.tif")
    np.testing.assert_array_equal(labels, _sigmoid(images[1]) >= 0.5)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_matched_threshold_gives_the_stated_fraction(tmp_path: Path, dtype: Any) -> None:
    image = np.concatenate([_image(2, 100, 90) // 2, _image(1, 100, 90)])
    model = _model(stated=(0.8, 0.2))
    stack = stack_from_array(image)
    events = _run(model, stack, tmp_path, threshold="auto", map_dtype=dtype)
    labels = tifffile.imread(tmp_path / "labels.ome.tif")
    assert labels.mean() == pytest.approx(0.2, abs=0.01)
    assert labels.max() == 1
    # one threshold for all slices, not one fraction for each
    assert labels[2].mean() > labels[0].mean() + 0.2
    messages = [event.text for event in events if isinstance(event, Message)]
    assert len(messages) == 1
    assert "mito takes up 20.00 % as stated" in messages[0]
    assert _names(tmp_path) == ["labels.ome.tif", "maps.ome.tif"]
    assert isinstance(events[-1], RunFinished)
    assert (events[-1].reason, events[-1].done) == (FinishReason.completed, 3)
    made_by = read_origin(tmp_path / "labels.ome.tif")
    assert (labels == (_sigmoid(image) >= made_by["threshold"])).mean() > 0.99


def test_files_tell_where_they_come_from(tmp_path: Path) -> None:
    model, stack = _model().model_copy(update={"n_steps": 7}), stack_from_array(_image(2, 8, 8))
    _run(model, stack, tmp_path, flips=True)
    results = prediction_results(tmp_path, ["fractions.csv"], model=model, stack=stack)
    with results.writing(adds=True) as folder:
        (folder / "fractions.csv").write_text("table")
    expected = {
        "run": "",
        "n_steps": 7,
        "weights": model.weights_digest,
        "is_preview": False,
        "versions": versions(),
        "flips": True,
        "smooth_z": False,
        "threshold": 0.5,
        "fill_holes": False,
        "min_piece_px": 0,
        "is_edited": False,
    }
    for name in ("labels.ome.tif", "maps.ome.tif", "fractions.csv"):
        assert read_origin(tmp_path / name) == expected
    (tmp_path / "fractions.csv").write_text("another table")
    assert read_origin(tmp_path / "fractions.csv") == {**expected, "is_edited": True}
    assert read_origin(tmp_path / "others.csv") == {}


def test_progress_has_an_estimate_and_a_rate_limit(tmp_path: Path) -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 0.02
        return now

    stack = stack_from_array(_image(4, 128, 128))
    events = _run(_model(), stack, tmp_path, tile_px=64, clock=clock)
    progress = [event for event in events if isinstance(event, Progress)]
    assert 2 <= len(progress) < 16
    assert [p.done for p in progress] == sorted(p.done for p in progress)
    times = [p.elapsed_s for p in progress[:-1]]
    assert all(later - earlier >= 0.1 for earlier, later in pairwise(times))
    halfway = next(p for p in progress if p.done == 2)
    assert halfway.eta_s is not None
    assert 0 < halfway.eta_s < 1.2 * halfway.elapsed_s


# What cannot be


@pytest.mark.parametrize("threshold", [0.5, "auto"])
def test_threshold_needs_two_classes(tmp_path: Path, threshold: Any) -> None:
    model = _model(
        _Linear([[1.0]] * 3, [0.0] * 3), classes=("background", "a", "b"), stated=(0.5, 0.3, 0.2)
    )
    with pytest.raises(InputError, match="cannot be used with 3 classes") as caught:
        _run(model, stack_from_array(_image(1, 8, 8)), tmp_path, threshold=threshold)
    assert caught.value.field == "threshold"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": "auto"}, "needs stated fractions"),
        ({"threshold": 50}, "threshold 50 lies outside 0-1"),
        ({"slices": [0, 3]}, "slice 3 is outside array; choose among 0 to 1"),
        ({"slices": []}, "no slice chosen"),
        ({"map_dtype": "int8"}, "map_dtype 'int8' is unknown; choose uint8, float16, float32"),
    ],
)
def test_unusable_options_are_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        _run(_model(), stack_from_array(_image(2, 8, 8)), tmp_path, **options)
    assert _names(tmp_path) == []


def test_output_folder_that_is_a_file(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    for threshold in (None, "auto"):
        with pytest.raises(InputError, match="is a file; choose another"):
            _run(
                _model(stated=(0.5, 0.5)),
                stack_from_array(_image(1, 8, 8)),
                blocked,
                threshold=threshold,
            )


def test_what_is_odd_about_the_file_is_told(tmp_path: Path) -> None:
    data = ImageData(_image(1, 8, 9), notes=("It was read with care.",))
    events = _run(_model(), Stack([data], source="em.mrc"), tmp_path)
    assert Message("info", "It was read with care.") in events


def test_memory_error_of_the_maps_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(prediction_files, "labels_from_probs", no_memory)
    stack = stack_from_array(_image(1, 8, 9))
    with pytest.raises(OutOfMemory, match=r"2 maps of 8 x 9 pixels in float32; write .* uint8"):
        _run(_model(), stack, tmp_path, map_dtype="float32")
    # what is the default already is no remedy
    with pytest.raises(RunError, match="2 maps of 8 x 9 pixels; close other programs, or cut"):
        _run(_model(), stack, tmp_path)
    assert _names(tmp_path) == []


def test_smaller_tiles_are_reported_and_change_nothing(tmp_path: Path) -> None:
    class _Greedy(_Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.shape[-1] > 64:
                raise MemoryError
            return super().forward(x)

    image = _image(1, 100, 128)
    model, stack = _model(_Greedy([[8.0]], [-4.0])), stack_from_array(image)
    events = _run(model, stack, tmp_path)
    messages = [event for event in events if isinstance(event, Message)]
    assert [message.level for message in messages] == ["warning"] * 3  # 256, 128, 64 px
    assert "going on with tiles of 64 px" in messages[-1].text
    labels = tifffile.imread(tmp_path / "labels.ome.tif")
    np.testing.assert_array_equal(labels, _sigmoid(image[0]) >= 0.5)
    with pytest.warns(UserWarning, match="going on with tiles of") as told:
        np.testing.assert_array_equal(predict(model, stack, device="cpu").labels[0], labels)
    assert [str(one.message) for one in told] == [message.text for message in messages]


def test_other_errors_pass_and_leave_nothing(tmp_path: Path) -> None:
    class _Broken(_Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("broken layer")

    with pytest.raises(RuntimeError, match="broken layer"):
        _run(_model(_Broken([[1.0]], [0.0])), stack_from_array(_image(1, 8, 8)), tmp_path)
    assert _names(tmp_path) == []


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        (OSError(5, "server gone"), InputError, r"slice 7 of .* server gone.* can be reached"),
        (MemoryError(), RunError, "the memory did not suffice"),
    ],
)
@pytest.mark.parametrize("smooth_z", [False, True])
def test_a_slice_that_cannot_be_read_any_more_is_told_and_nothing_stays(
    tmp_path: Path, fault: Exception, error: type[Exception], said: str, smooth_z: bool
) -> None:
    class Fading:
        """An array whose slice 7 can be read once, for what tells the image from others."""

        shape, dtype, is_gone = (9, 8, 8), np.dtype(np.uint8), False

        def __getitem__(self, index: Any) -> np.ndarray:
            if self.is_gone and index[0] == 7:
                raise fault
            return _image(9, 8, 8)[index]

    array = Fading()
    stack = stack_from_array(array)
    stack.identity()
    array.is_gone = True
    before = threading.active_count(), sys.getswitchinterval()
    with pytest.raises(error, match=said):
        _run(_model(), stack, tmp_path, smooth_z=smooth_z)
    assert _names(tmp_path) == []
    assert (threading.active_count(), sys.getswitchinterval()) == before


# What is there already


def test_results_of_another_model_or_image_are_not_replaced_unasked(tmp_path: Path) -> None:
    model, stack = _model(), stack_from_array(_image(2, 8, 8))
    for _ in range(2):
        _run(model, stack, tmp_path)
    others = (
        (_model(_Linear([[2.0]], [0.0])), stack, "another model"),
        (model, stack_from_array(255 - _image(2, 8, 8)), "another image"),
        (
            model,
            stack_from_array(_image(2, 8, 8), voxel_size_um=(None, 0.01, 0.01)),
            "from another pixel size;",
        ),
    )
    for other, image, what in others:
        before = (tmp_path / "maps.ome.tif").read_bytes()
        with pytest.raises(InputError, match=what):
            _run(other, image, tmp_path)
        assert (tmp_path / "maps.ome.tif").read_bytes() == before
        _run(other, image, tmp_path, overwrite=True)
        _run(model, stack, tmp_path, overwrite=True)


def test_the_image_is_neither_replaced_nor_joined(tmp_path: Path) -> None:
    path = tmp_path / "labels.ome.tif"
    tifffile.imwrite(path, _image(2, 8, 8), photometric="minisblack")
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"labels\.ome\.tif is read, and would be replaced"):
        _run(_model(), open_stack(path), tmp_path, overwrite=True)
    assert path.read_bytes() == before
    path.unlink()
    tifffile.imwrite(tmp_path / "a.tif", _image(8, 8))
    with pytest.raises(InputError, match="would become part of the image"):
        _run(_model(), open_stack(tmp_path), tmp_path, overwrite=True)
    assert _names(tmp_path) == ["a.tif"]


def test_new_maps_leave_no_table_of_the_old_ones(tmp_path: Path) -> None:
    model, stack = _model(), stack_from_array(_image(2, 8, 8))
    _run(model, stack, tmp_path, uncertainty=True)
    names = ("maps.ome.tif", "labels.ome.tif", "fractions.csv")
    results = prediction_results(tmp_path, names, model=model, stack=stack)
    with results.writing(adds=True) as folder:
        (folder / "fractions.csv").write_text("table")
    _run(model, stack, tmp_path)
    assert _names(tmp_path) == ["labels.ome.tif", "maps.ome.tif"]


# Stopping


@pytest.mark.parametrize("threshold", [None, "auto"])
@pytest.mark.parametrize("stop_at", range(6))
def test_stop_at_every_event(tmp_path: Path, stop_at: int, threshold: Any) -> None:
    """A stop ends the run once, and keeps either everything or nothing."""
    model, stack = _model(stated=(0.5, 0.5)), stack_from_array(_image(2, 8, 64))
    _run(model, stack, tmp_path, slices=[0])
    older = (tmp_path / "labels.ome.tif").read_bytes()
    token = CancelToken()
    ticks = iter(range(10_000))
    events: list[Event] = []
    run = iter_prediction(
        model,
        stack,
        out_dir=tmp_path,
        threshold=threshold,
        device="cpu",
        token=token,
        clock=lambda: float(next(ticks)),
    )
    for event in run:
        if len(events) == stop_at:
            token.cancel()
        events.append(event)
    finished = [event for event in events if isinstance(event, RunFinished)]
    assert finished == [events[-1]]
    if finished[0].reason is FinishReason.stopped:
        assert (tmp_path / "labels.ome.tif").read_bytes() == older
        assert finished[0].outputs == {}
        assert any(
            isinstance(event, Message) and "no maps or labels were kept" in event.text
            for event in events
        )
    else:
        assert stop_at >= 2
        assert finished[0].done == 2
        assert (tmp_path / "labels.ome.tif").read_bytes() != older
    assert _names(tmp_path) == ["labels.ome.tif", "maps.ome.tif"]


def test_a_stop_in_the_first_slice_is_a_stop(tmp_path: Path) -> None:
    token = CancelToken()
    token.cancel()
    events = _run(_model(), stack_from_array(_image(2, 8, 8)), tmp_path / "new", token=token)
    assert isinstance(events[-1], RunFinished)
    assert (events[-1].reason, events[-1].done) == (FinishReason.stopped, 0)
    assert _names(tmp_path) == [], "nor is a folder left that was made for the results"


def test_an_abandoned_run_leaves_nothing(tmp_path: Path) -> None:
    ticks = iter(range(10_000))
    run: Iterator[Event] = iter_prediction(
        _model(),
        stack_from_array(_image(2, 8, 8)),
        out_dir=tmp_path,
        device="cpu",
        clock=lambda: float(next(ticks)),
    )
    next(run)
    assert isinstance(next(run), Progress)
    run.close()  # type: ignore[attr-defined]
    assert _names(tmp_path) == []


# A real image


@pytest.mark.parametrize("name", ["fast-unet", "paper-unet"])
def test_tiles_equal_the_whole_on_a_real_image(shared_data: Path, name: str) -> None:
    """With a network trained for some steps, so that its maps are not flat."""
    image = tifffile.imread(shared_data / "vnc_sstem" / "raw" / "00.tif")[:700, :700]
    stack = stack_from_array(image, axes="YX")
    torch.manual_seed(0)
    network = unet.build_network(name, in_channels=1, out_channels=1, filters=4)
    x = torch.from_numpy(resample_slice(stack, 0, 1, "slice"))[None]
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    for step in range(12):
        y = 100 * (step % 4)
        part = x[..., y : y + 128, y : y + 128]
        logits = network(part)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, (part < -1).float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model = _model(network, normalisation="slice")
    whole = predict_slice(model, stack, 0, device="cpu", tile_px=4096)
    tiled = predict_slice(model, stack, 0, device="cpu", tile_px=128)
    assert whole[1].std() > 0.05
    np.testing.assert_allclose(tiled, whole, atol=1e-4)
