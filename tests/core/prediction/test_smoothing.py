"""Maps averaged with those of the slices before and after."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from pixels import image_set
from torch import nn

from napari_spss.core.annotations import Region
from napari_spss.core.base import InputError, Message, Predicted, Progress, TrainingSettings
from napari_spss.core.images import Stack, stack_from_array
from napari_spss.core.prediction import predict, predict_regions, predict_slice
from napari_spss.core.training import Model
from napari_spss.core.training.samples import LabelScale

WIDTH_PX = 20.0

pytestmark = pytest.mark.filterwarnings("ignore:The model does not say at which size")


class _Grey(nn.Module):
    """Grey values 0-1 as logits, of one class more than given."""

    stride = 1
    receptive_radius = 0
    has_exact_radius = True

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([4 * k * x - 2 for k in range(1, self.n + 1)], dim=1)


def _model(n_outputs: int = 1, width_px: float | None = WIDTH_PX) -> Model:
    n_classes = 2 if n_outputs == 1 else n_outputs
    return Model(
        network=_Grey(n_outputs).eval(),
        classes=("background", "mito", "myelin")[:n_classes],
        reduction=1,
        n_channels=1,
        settings=TrainingSettings().with_overrides(
            {"image.normalisation": "range", "image.object_diameter_px": width_px}
        ),
        stated_fractions=None,
        label_scale=LabelScale(1.0, (1.0,) * n_classes),
        n_steps=0,
    )


def _stack(n_slices: int = 5, z_um: float | None = None, pixel_um: float | None = 0.005) -> Stack:
    image = np.random.default_rng(3).integers(0, 256, (n_slices, 90, 70), dtype=np.uint8)
    return stack_from_array(image, axes="zyx", voxel_size_um=(z_um, pixel_um, pixel_um))


def _averaged(maps: np.ndarray, z: int) -> np.ndarray:
    weights = {z - 1: 0.2, z: 0.6, z + 1: 0.2}
    known = {one: weight for one, weight in weights.items() if 0 <= one < len(maps)}
    mean = sum(weight * maps[one] for one, weight in known.items()) / sum(known.values())
    return np.asarray(mean)


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("chosen", [range(5), [2], [4, 0], [1, 2, 4, 3], [0, 0]])
def test_each_map_is_a_mean_over_neighbours_whatever_slices_are_chosen(
    n_outputs: int, chosen: Sequence[int]
) -> None:
    model, stack = _model(n_outputs), _stack()
    plain = np.asarray(predict(model, stack, smooth_z=False, device="cpu").probs)
    smooth = predict(model, stack, slices=chosen, smooth_z=True, device="cpu").probs
    for z, found in zip(chosen, smooth, strict=True):
        np.testing.assert_allclose(found, _averaged(plain, z), atol=1e-4)
        np.testing.assert_allclose(found.sum(0), 1, atol=1e-6)


def test_boxes_and_rows_come_in_the_order_asked_for() -> None:
    model, stack = _model(), _stack()
    plain = np.asarray(predict(model, stack, smooth_z=False, device="cpu").probs)
    box = (11, 7, 83, 64)
    regions = [Region(3, box), Region(4, box), Region(0), Region(1, box)]
    rows_of: dict[Region, list[tuple[int, int]]] = {}
    found: dict[Region, list[np.ndarray]] = {}

    def take(region: Region, rows: tuple[int, int], probs: np.ndarray) -> None:
        rows_of.setdefault(region, []).append(rows)
        found.setdefault(region, []).append(probs)

    events = list(
        predict_regions(
            model, stack, regions, take, smooth_z=True, tile_px=64, device="cpu", clock=lambda: 0.0
        )
    )
    assert list(found) == regions
    for region in regions:
        y0, x0, y1, x1 = region.box or (0, 0, 90, 70)
        starts, stops = zip(*rows_of[region], strict=True)
        assert (starts[0], *stops) == (*starts, y1)
        expected = _averaged(plain, region.slice)[:, y0:y1, x0:x1]
        np.testing.assert_allclose(np.concatenate(found[region], axis=1), expected, atol=1e-4)
    assert [Region(e.slice, e.box) for e in events if isinstance(e, Predicted)] == regions
    last = [event for event in events if isinstance(event, Progress)][-1]
    assert last.done == last.total


def _told(stack: Stack, model: Model) -> tuple[str, bool]:
    """What is said of smoothing where it is left open, and whether maps are smoothed."""
    plain = predict_slice(model, stack, 1, smooth_z=False, device="cpu")
    found = np.empty_like(plain)

    def take(region: Region, rows: tuple[int, int], probs: np.ndarray) -> None:
        found[:, slice(*rows)] = probs

    events = predict_regions(model, stack, [Region(1)], take, smooth_z=None, device="cpu")
    texts = [e.text for e in events if isinstance(e, Message) and "smoothed" in e.text]
    return " ".join(texts), not np.array_equal(found, plain)


def test_where_slices_are_close_maps_are_smoothed_unasked_and_it_is_told() -> None:
    text, is_smooth = _told(_stack(z_um=0.05), _model())
    assert is_smooth
    assert "Maps are smoothed along z" in text
    assert "0.5 of an object's width" in text


@pytest.mark.parametrize(
    ("z_um", "pixel_um", "text"),
    [
        (0.06, 0.005, "0.6 of an object's width apart, more than 0.5"),
        (None, 0.005, "the distance of slices is not known; state the voxel size"),
        (0.05, None, "the size of a pixel is not known; state the voxel size"),
    ],
)
def test_where_slices_are_not_close_or_it_is_unknown_nothing_is_smoothed_and_it_is_told(
    z_um: float | None, pixel_um: float | None, text: str
) -> None:
    told, is_smooth = _told(_stack(z_um=z_um, pixel_um=pixel_um), _model())
    assert not is_smooth
    assert "not smoothed along z" in told
    assert text in told


def test_nothing_is_said_of_time_points() -> None:
    pixels = np.asarray([_stack().read(z)[0] for z in range(5)])
    series = stack_from_array(pixels, axes="TYX", voxel_size_um=(0.05, 0.005, 0.005))
    assert _told(series, _model()) == ("", False)
    with pytest.raises(InputError, match="time points; leave that out, or state the voxel size"):
        predict(_model(), series, smooth_z=True, device="cpu")


def test_the_width_may_be_stated_in_micrometres() -> None:
    model = _model(width_px=None)
    settings = model.settings.with_overrides({"image.object_diameter_um": 0.2})
    assert _told(_stack(z_um=0.1), model.model_copy(update={"settings": settings}))[1]
    assert not _told(_stack(z_um=0.1), model)[1]


def test_images_of_a_set_are_not_averaged() -> None:
    images = np.random.default_rng(3).integers(0, 256, (3, 20, 20), dtype=np.uint8)
    stack = image_set(images, sizes_um=(0.005,) * 3)
    plain = predict(_model(), stack, smooth_z=False, device="cpu").probs
    np.testing.assert_array_equal(predict(_model(), stack, device="cpu").probs, plain)
    with pytest.raises(InputError, match="no slices of one volume") as error:
        predict(_model(), stack, smooth_z=True, device="cpu")
    assert error.value.field == "smooth_z"
