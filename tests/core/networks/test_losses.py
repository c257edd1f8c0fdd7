"""Losses against hand-computed values, their gradients, and their behaviour at extremes."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from divergence import binary_kl
from hypothesis import given, settings, strategies as st

from napari_spss.core.networks import losses

NAN = math.nan


def _logit(p: float) -> float:
    return math.log(p / (1 - p))


def _binary(*rows: list[float]) -> torch.Tensor:
    """Logits (1, 1, H, W) of a network with one output, from probabilities of class 1."""
    return torch.tensor([[[[_logit(p) for p in row] for row in rows]]])


def _multi(*pixels: tuple[float, ...]) -> torch.Tensor:
    """Logits (1, C, 1, W), from probabilities of all classes at each pixel."""
    return torch.tensor(pixels).log().T[None, :, None, :]


# Maps and their means


def test_one_output_gives_two_maps() -> None:
    probs = losses.activate(_binary([0.2, 0.9]), 2)
    torch.testing.assert_close(probs, torch.tensor([[[[0.8, 0.1]], [[0.2, 0.9]]]]))


def test_several_outputs_give_a_softmax() -> None:
    probs = losses.activate(_multi((0.5, 0.3, 0.2)), 3)
    torch.testing.assert_close(probs.flatten(), torch.tensor([0.5, 0.3, 0.2]))


def test_outputs_must_fit_the_classes() -> None:
    with pytest.raises(ValueError, match="2 outputs do not fit 3 classes"):
        losses.activate(torch.zeros(1, 2, 1, 1), 3)


@pytest.mark.parametrize("n", [1, 3])
def test_log_maps_are_the_logarithms(n: int) -> None:
    logits = torch.randn(2, n, 4, 5, generator=torch.Generator().manual_seed(0))
    probs = losses.activate(logits, max(n, 2))
    torch.testing.assert_close(losses.log_activate(logits), probs.log())


def test_gap_is_the_mean_of_the_map() -> None:
    probs = losses.activate(_binary([0.2, 0.4], [0.6, 0.8]), 2)
    torch.testing.assert_close(losses.gap(probs), torch.tensor([[0.5, 0.5]]))


def test_gap_of_a_region() -> None:
    probs = losses.activate(_binary([0.2, 0.4], [0.6, 0.8]), 2)
    region = torch.tensor([[[1.0, 1.0], [0.5, 0.0]]])  # (0.2 + 0.4 + 0.3) / 2.5
    torch.testing.assert_close(losses.gap(probs, region), torch.tensor([[0.64, 0.36]]))


def test_gap_of_an_empty_region_is_zero() -> None:
    probs = torch.full((1, 2, 2, 2), 0.5)
    assert losses.gap(probs, torch.zeros(1, 2, 2)).tolist() == [[0.0, 0.0]]


# Eq. 1


def test_eq1_binary_counts_one_output() -> None:
    predicted = torch.tensor([[0.7, 0.3], [0.9, 0.1]])
    stated = torch.tensor([[0.9, 0.1], [1.0, 0.0]])
    expected = (0.2**2 + 0.1**2) / 2
    assert losses.proportion_mse(predicted, stated).item() == pytest.approx(expected)


def test_eq1_multi_class_sums_over_classes() -> None:
    predicted = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    stated = torch.tensor([[0.6, 0.1, 0.3], [0.1, 0.2, 0.7]])
    expected = ((0.01 + 0.04 + 0.01) + (0 + 0.01 + 0.01)) / 2
    assert losses.proportion_mse(predicted, stated).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("stated", "expected"),
    [([NAN, 0.1], 0.04), ([0.9, NAN], 0.04), ([NAN, NAN], 0.0), ([0.6, NAN, 0.3], 0.02)],
)
def test_eq1_leaves_unknown_fractions_out(stated: list[float], expected: float) -> None:
    full = [0.7, 0.3] if len(stated) == 2 else [0.5, 0.3, 0.2]
    predicted = torch.tensor([full], requires_grad=True)
    loss = losses.proportion_mse(predicted, torch.tensor([stated]))
    assert loss.item() == pytest.approx(expected)
    loss.backward()
    assert predicted.grad is not None
    assert torch.isfinite(predicted.grad).all()


# Eq. 2


@pytest.mark.parametrize("p", [0.25, 0.5, 0.9])
@pytest.mark.parametrize("y", [0, 1])
def test_eq2_by_hand(p: float, y: int) -> None:
    expected = -(y * math.log(p) + (1 - y) * math.log(1 - p))
    target = torch.full((1, 1, 1), y)
    found = losses.label_cross_entropy(_binary([p]), target, torch.ones(1, 1, 1), normaliser=1.0)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_eq2_is_exact_where_probabilities_round_to_zero_and_one() -> None:
    logits, target = torch.tensor([[[[-50.0, 50.0]]]]), torch.tensor([[[1, 0]]])
    worst = losses.label_cross_entropy(logits, target, torch.ones(1, 1, 2), normaliser=2.0)
    assert worst.item() == pytest.approx(50)


# Eq. 3


def test_eq3_binary_by_hand() -> None:
    """Two images; foreground mean plus background mean in the first, foreground in the second."""
    logits = torch.cat([_binary([0.8, 0.5, 0.1, 0.2]), _binary([0.3, 0.3, 0.3, 0.3])])
    target = torch.tensor([[[1, 1, 0, -1]], [[-1, -1, -1, 1]]])
    first = -(math.log(0.8) + math.log(0.5)) / 2 - math.log(1 - 0.1)
    second = -math.log(0.3)
    assert losses.keypoint_loss(logits, target).item() == pytest.approx(first + second, rel=1e-5)


def test_eq3_binary_is_eq2_with_the_set_of_background_points_at_zero() -> None:
    probs = torch.tensor([[0.8, 0.5, 0.1, 0.2]])
    target = torch.tensor([[[1, 1, 0, 0]]])
    f = F.binary_cross_entropy(probs, (target[0] == 1).float(), reduction="none")
    expected = f[target[0] == 1].mean() + f[target[0] == 0].mean()
    logits = torch.logit(probs)[None, None]
    torch.testing.assert_close(losses.keypoint_loss(logits, target), expected)


def test_eq3_multi_class_by_hand() -> None:
    logits = _multi((0.5, 0.3, 0.2), (0.1, 0.8, 0.1), (0.2, 0.2, 0.6), (0.3, 0.3, 0.4))
    target = torch.tensor([[[2, 1, 1, -1]]])
    expected = -math.log(0.2) - (math.log(0.8) + math.log(0.2)) / 2
    assert losses.keypoint_loss(logits, target).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("n", [1, 3])
def test_eq3_without_keypoints_is_zero_with_a_gradient(n: int) -> None:
    logits = torch.randn(2, n, 3, 3, requires_grad=True)
    loss = losses.keypoint_loss(logits, torch.full((2, 3, 3), -1))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert logits.grad.abs().sum() == 0


# Kullback-Leibler and intervals


def test_kl_binary_by_hand() -> None:
    predicted, stated = torch.tensor([[0.8, 0.2]]), torch.tensor([[0.95, 0.05]])
    loss = losses.proportion_kl(predicted, stated)
    assert loss.item() == pytest.approx(binary_kl(0.05, 0.2), rel=1e-5)


def test_kl_multi_class_by_hand() -> None:
    predicted = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5]])
    stated = torch.tensor([[0.6, 0.0, 0.4], [0.2, 0.3, 0.5]])
    expected = (0.6 * math.log(0.6 / 0.5) + 0.4 * math.log(0.4 / 0.2)) / 2
    assert losses.proportion_kl(predicted, stated).item() == pytest.approx(expected, rel=1e-5)


def test_kl_of_a_stated_zero_is_exact() -> None:
    loss = losses.proportion_kl(torch.tensor([[0.9, 0.1]]), torch.tensor([[1.0, 0.0]]))
    assert loss.item() == pytest.approx(-math.log(0.9), rel=1e-5)


def test_kl_with_one_known_class_is_binary() -> None:
    predicted, stated = torch.tensor([[0.5, 0.3, 0.2]]), torch.tensor([[NAN, 0.1, NAN]])
    expected = 0.1 * math.log(0.1 / 0.3) + 0.9 * math.log(0.9 / 0.7)
    assert losses.proportion_kl(predicted, stated).item() == pytest.approx(expected, rel=1e-5)


def test_kl_with_one_unknown_class_is_the_full_one() -> None:
    predicted = torch.tensor([[0.5, 0.3, 0.2]])
    full = losses.proportion_kl(predicted, torch.tensor([[0.6, 0.3, 0.1]]))
    partial = losses.proportion_kl(predicted, torch.tensor([[NAN, 0.3, 0.1]]))
    torch.testing.assert_close(partial, full)


def test_kl_asks_nothing_of_how_unknown_classes_share_the_remainder() -> None:
    predicted = torch.tensor([[0.1, 0.3, 0.2, 0.4]], requires_grad=True)
    losses.proportion_kl(predicted, torch.tensor([[NAN, 0.1, NAN, NAN]])).backward()
    assert predicted.grad is not None
    assert predicted.grad[0, 0] == predicted.grad[0, 2] == predicted.grad[0, 3]


def test_kl_of_regions_is_weighted() -> None:
    predicted = torch.tensor([[0.8, 0.2]] * 4)
    stated = torch.tensor([[0.95, 0.05], [0.95, 0.05], [NAN, NAN], [0.8, 0.2]])
    one = losses.proportion_kl(predicted[:1], stated[:1])
    weights = torch.tensor([1.0, 3.0, 5.0, 1.0])
    torch.testing.assert_close(losses.proportion_kl(predicted, stated, weights / 4), one)
    torch.testing.assert_close(losses.proportion_kl(predicted, stated), one / 2)  # the mean


def test_kl_is_zero_and_flat_at_the_stated_fractions() -> None:
    logits = torch.zeros(1, 3, 4, 4, requires_grad=True)
    stated = torch.full((1, 3), 1 / 3)
    loss = losses.proportion_kl(losses.gap(losses.activate(logits, 3)), stated)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-7


def test_inside_the_interval_there_is_neither_cost_nor_gradient() -> None:
    predicted = torch.tensor([[0.8, 0.2], [0.95, 0.05]], requires_grad=True)
    low, high = torch.tensor([[NAN, 0.1], [0.95, NAN]]), torch.tensor([[NAN, 0.3], [NAN, NAN]])
    loss = losses.proportion_interval(predicted, low, high)
    loss.backward()
    assert loss.item() == 0
    assert predicted.grad is not None
    assert predicted.grad.abs().sum() == 0


@pytest.mark.parametrize(
    ("low", "high"),
    [([NAN, 0.1], [NAN, 0.2]), ([0.8, NAN], [0.9, NAN]), ([0.8, 0.0], [1.0, 0.9])],
)
def test_interval_outside_by_hand(low: list[float], high: list[float]) -> None:
    """0.5 lies .3 above .2, stated for class 1 or, as 0.8, for the background."""
    predicted = torch.tensor([[0.5, 0.5]])
    loss = losses.proportion_interval(predicted, torch.tensor([low]), torch.tensor([high]))
    assert loss.item() == pytest.approx(binary_kl(0.2, 0.5), rel=1e-5)


def test_interval_sums_over_several_classes() -> None:
    predicted = torch.tensor([[0.5, 0.3, 0.2]])
    low, high = torch.tensor([[NAN, 0.4, NAN]]), torch.tensor([[0.4, NAN, 0.3]])
    loss = losses.proportion_interval(predicted, low, high)
    assert loss.item() == pytest.approx(binary_kl(0.4, 0.5) + binary_kl(0.4, 0.3), rel=1e-5)


def test_interval_of_no_width_is_the_kl() -> None:
    predicted, stated = torch.tensor([[0.8, 0.2]]), torch.tensor([[0.95, 0.05]])
    torch.testing.assert_close(
        losses.proportion_interval(predicted, stated, stated),
        losses.proportion_kl(predicted, stated),
    )


def test_interval_weighs_regions() -> None:
    predicted = torch.tensor([[0.5, 0.5]] * 2)
    low, high = torch.tensor([[NAN, NAN]] * 2), torch.tensor([[NAN, 0.2]] * 2)
    loss = losses.proportion_interval(predicted, low, high, torch.tensor([0.5, 1.5]))
    assert loss.item() == pytest.approx(2 * binary_kl(0.2, 0.5), rel=1e-5)


# Labels with a fixed weight


@pytest.mark.parametrize("n", [1, 3])
@given(seed=st.integers(0, 999))
@settings(max_examples=15, deadline=None)
def test_the_weight_of_a_label_does_not_depend_on_its_batch_mates(n: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, n, 6, 6, generator=generator)
    target = torch.randint(-1, max(n, 2), (3, 6, 6), generator=generator)
    target[0, 2, 3] = 1
    weight = torch.rand(3, 6, 6, generator=generator)

    def gradient(labels: torch.Tensor) -> torch.Tensor:
        free = logits.clone().requires_grad_()
        losses.label_cross_entropy(free, labels, weight, normaliser=7.0).backward()
        assert free.grad is not None
        return free.grad[0, :, 2, 3]

    alone = torch.full_like(target, -1)
    alone[0, 2, 3] = 1
    torch.testing.assert_close(gradient(target), gradient(alone))
    assert gradient(alone).abs().max() > 0


def test_eq3_does_depend_on_batch_mates() -> None:
    """The reason for the fixed form: beside a second label the first one weighs half."""
    logits = torch.zeros(1, 1, 1, 2)

    def gradient(labels: list[int]) -> float:
        free = logits.clone().requires_grad_()
        losses.keypoint_loss(free, torch.tensor([[labels]])).backward()
        assert free.grad is not None
        return free.grad[0, 0, 0, 0].item()

    assert gradient([1, 1]) == pytest.approx(gradient([1, -1]) / 2)


def test_label_cross_entropy_by_hand() -> None:
    target, weight = torch.tensor([[[1, 0, -1]]]), torch.tensor([[[2.0, 1.0, 9.0]]])
    binary = losses.label_cross_entropy(_binary([0.8, 0.3, 0.5]), target, weight, normaliser=4.0)
    expected = -(2 * math.log(0.8) + math.log(0.7)) / 4
    assert binary.item() == pytest.approx(expected, rel=1e-5)
    logits = _multi((0.5, 0.3, 0.2), (0.1, 0.8, 0.1), (0.2, 0.2, 0.6))
    multi = losses.label_cross_entropy(logits, target, weight, normaliser=4.0)
    assert multi.item() == pytest.approx(-(2 * math.log(0.3) + math.log(0.1)) / 4, rel=1e-5)


def test_doubted_labels_by_hand() -> None:
    target, weight = torch.tensor([[[1, 0, 1]]]), torch.ones(1, 1, 3)
    errors = torch.tensor([[[0.1, 0.0, 0.0]]])
    logits = _binary([0.2, 0.3, 0.5])
    found = losses.label_cross_entropy(logits, target, weight, normaliser=1.0, errors=errors)
    expected = -math.log(0.9 * 0.2 + 0.1 * 0.8) - math.log(0.7) - math.log(0.5)
    assert found.item() == pytest.approx(expected, rel=1e-5)
    logits, target = _multi((0.5, 0.3, 0.2)), torch.tensor([[[1]]])
    errors, weight = torch.tensor([[[0.2]]]), torch.ones(1, 1, 1)
    found = losses.label_cross_entropy(logits, target, weight, normaliser=1.0, errors=errors)
    assert found.item() == pytest.approx(-math.log(0.8 * 0.3 + 0.1 * 0.7), rel=1e-5)


def test_a_label_that_is_surely_doubted_pulls_little() -> None:
    """A lone wrong node where the map is sure of the background."""
    logits = torch.full((1, 1, 1, 1), -8.0, requires_grad=True)
    target, weight = torch.tensor([[[1]]]), torch.ones(1, 1, 1)
    pulls = []
    for errors in (None, torch.full((1, 1, 1), 0.02)):
        loss = losses.label_cross_entropy(logits, target, weight, normaliser=1.0, errors=errors)
        (gradient,) = torch.autograd.grad(loss, logits)
        pulls.append(-gradient.item())
    assert pulls[0] == pytest.approx(1, abs=0.01)
    assert 0 < pulls[1] < 0.05


# Dice and sharpness


def _entropy(p_of_label: list[float]) -> float:
    return -sum(map(math.log, p_of_label)) / len(p_of_label)


def test_dense_loss_by_hand() -> None:
    logits, target = _binary([0.5, 0.5, 0.25, 0.75]), torch.tensor([[[1, 0, 1, -1]]])
    overlap, total = 0.5 + 0.25, (0.5 + 0.5 + 0.25) + 2
    expected = _entropy([0.5, 0.5, 0.25]) + 1 - (2 * overlap + 1) / (total + 1)
    assert losses.dense_loss(logits, target).item() == pytest.approx(expected, rel=1e-5)


def test_dice_averages_over_foreground_classes_and_ignores_the_invalid() -> None:
    logits = torch.cat([_multi((0.5, 0.3, 0.2)), _multi((0.2, 0.7, 0.1))], dim=3)
    expected = _entropy([0.3]) + ((1 - 1.6 / 2.3) + (1 - 1 / 1.2)) / 2
    assert losses.dense_loss(logits, torch.tensor([[[1, -1]]])).item() == pytest.approx(expected)


def test_a_sure_map_that_is_right_or_of_which_nothing_is_known_costs_nothing() -> None:
    empty, unknown = torch.zeros(1, 2, 2, dtype=torch.int64), torch.full((1, 2, 2), -1)
    sure = torch.full((1, 1, 2, 2), -100.0)
    assert losses.dense_loss(sure, empty).item() == 0
    assert losses.dense_loss(sure, unknown).item() == 0


def test_sharpness_is_zero_for_decided_and_a_quarter_for_undecided_maps() -> None:
    assert losses.sharpness(torch.full((1, 2, 2, 2), 0.5)).item() == pytest.approx(0.25)
    assert losses.sharpness(torch.eye(2)[None, :, None]).item() == 0
    probs = torch.tensor([[[[0.5, 0.0]], [[0.5, 1.0]]]])
    only_first = losses.sharpness(probs, torch.tensor([[[1.0, 0.0]]]))
    assert only_first.item() == pytest.approx(0.25)


# All of them


_STATED_2, _STATED_3 = torch.tensor([[0.9, 0.1]] * 2), torch.tensor([[0.6, NAN, 0.3]] * 2)


def _losses(n_classes: int) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    stated = (_STATED_2 if n_classes == 2 else _STATED_3).double()
    target = torch.tensor([[[0, 1, -1], [1, -1, 0]], [[1, 1, 0], [-1, -1, -1]]])
    weight = torch.tensor(0.5).expand(2, 2, 3).double()

    def maps(logits: torch.Tensor) -> torch.Tensor:
        return losses.activate(logits, n_classes)

    def proportions(logits: torch.Tensor) -> torch.Tensor:
        return losses.gap(maps(logits)).to(logits.dtype)

    return {
        "mse": lambda x: losses.proportion_mse(proportions(x), stated.to(x.dtype)),
        "kl": lambda x: losses.proportion_kl(proportions(x), stated.to(x.dtype)),
        "interval": lambda x: losses.proportion_interval(
            proportions(x), stated.to(x.dtype) - 0.05, stated.to(x.dtype) + 0.05
        ),
        "eq3": lambda x: losses.keypoint_loss(x, target),
        "labels": lambda x: losses.label_cross_entropy(
            x, target, weight.to(x.dtype), normaliser=3.0
        ),
        "dense": lambda x: losses.dense_loss(x, target),
        "sharpness": lambda x: losses.sharpness(maps(x)),
    }


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", list(_losses(2)))
def test_gradients_equal_finite_differences(name: str, n_classes: int) -> None:
    n = 1 if n_classes == 2 else n_classes
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, n, 2, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(_losses(n_classes)[name], (logits,))


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("size", [30.0, 60.0, 1e4])
@pytest.mark.parametrize("name", list(_losses(2)))
def test_finite_in_float32_at_extreme_logits(name: str, size: float, n_classes: int) -> None:
    n = 1 if n_classes == 2 else n_classes
    for sign in (1.0, -1.0):
        logits = torch.full((2, n, 2, 3), sign * size)
        logits[:, -1] *= -1 if n > 1 else 1
        logits.requires_grad_()
        loss = _losses(n_classes)[name](logits)
        loss.backward()
        assert torch.isfinite(loss)
        assert logits.grad is not None
        assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", ["kl", "interval", "eq3", "labels"])
@pytest.mark.parametrize("size", [-25.0, 25.0, -60.0])
def test_a_collapsed_map_is_pulled_back(name: str, size: float) -> None:
    logits = torch.full((2, 1, 2, 3), size, requires_grad=True)
    _losses(2)[name](logits).backward()
    assert logits.grad is not None
    assert torch.sign(logits.grad.sum()) == math.copysign(1, size)
    assert logits.grad.abs().max() > 1e-3
