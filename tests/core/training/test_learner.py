"""The network, its teacher and the optimiser: what a step changes, and what may not happen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_spss.core.base import CancelToken, Diverged, preset
from napari_spss.core.networks import Stopped, register_network
from napari_spss.core.training.learner import Learner

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def learner(*, fractions=None, weights=None, n_classes=2, **overrides):
    settings = preset("fast").with_overrides(
        {"network.filters": 2, "optimisation.precision": "float32"}
        | {name.replace("__", "."): value for name, value in overrides.items()}
    )
    one = Learner(settings, n_channels=1, n_classes=n_classes, device=torch.device("cpu"))
    one.begin(fractions=fractions, weights=weights)
    return one


IMAGES = torch.randn(2, 1, 24, 24, generator=torch.Generator().manual_seed(0))


def learn(one, n=1, rate=0.01):
    for _ in range(n):
        one.learn(one.student_logits(IMAGES).square().mean(), learning_rate=rate)


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("fractions", [(0.9, 0.1), (0.2, 0.5, 0.3)])
def test_a_new_network_predicts_about_the_stated_fractions(fractions):
    one = learner(fractions=fractions, n_classes=len(fractions))
    one._network.head.weight.data.zero_()  # without it there is the bias alone
    one.begin(fractions=fractions, weights=None)
    means = one.kept_probs(IMAGES).mean((0, 2, 3))
    assert means.tolist() == pytest.approx(fractions, abs=1e-4)


def test_weights_are_taken_over_as_they_are():
    first = learner()
    learn(first, 3)
    second = learner(fractions=(0.5, 0.5), weights=first.weights())
    assert same(second.weights(), first.weights())
    assert second.n_steps == 0


def test_the_teacher_is_kept_if_there_is_one_else_the_student():
    averaged, plain = learner(), learner(optimisation__ema_decay="none", self_training__is_on=False)
    for one in (averaged, plain):
        learn(one, 5)
        assert one.n_steps == 5
    student = averaged._network.state_dict()
    assert not same(averaged.weights(), student)
    assert same(plain.weights(), plain._network.state_dict())
    assert same(student, plain._network.state_dict())


def test_the_kept_network_sees_an_image_alone_as_it_sees_it_in_a_batch():
    one = learner()
    learn(one, 2)
    both = one.kept_logits(IMAGES)
    assert not both.requires_grad
    torch.testing.assert_close(one.kept_logits(IMAGES[:1]), both[:1])
    torch.testing.assert_close(one.kept_probs(IMAGES).sum(1), torch.ones(2, 24, 24))


def test_a_whole_slice_is_predicted_as_the_network_does():
    one = learner()
    learn(one, 2)
    probs = one.predict(IMAGES[0].numpy())
    torch.testing.assert_close(probs, one.kept_probs(IMAGES[:1])[0], atol=1e-5, rtol=0)
    token = CancelToken()
    token.cancel()
    with pytest.raises(Stopped):
        one.predict(np.zeros((1, 24, 24), np.float32), token=token)


def test_a_network_of_the_weights_stands_on_its_own():
    one = learner()
    learn(one)
    weights = one.weights()
    network = one.network_of(weights)
    learn(one)
    assert same(network.state_dict(), weights)
    assert not same(one.weights(), weights)
    assert not network.training


@pytest.mark.parametrize(
    ("name", "damage"),
    [("loss", lambda loss: loss * float("nan")), ("gradient", lambda loss: (loss * 0).sqrt())],
)
def test_what_is_not_finite_changes_nothing(name, damage):
    one = learner()
    learn(one, 2)
    before = {k: v.clone() for k, v in one.pack(None).items()}
    loss = damage(one.student_logits(IMAGES).square().mean())
    with pytest.raises(Diverged, match=rf"the {name} became nan at step 3; lower optimisation"):
        one.learn(loss, learning_rate=0.01)
    after = one.pack(None)
    # running statistics of the student are those of the forward pass; nothing is kept of it
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    assert all("running_" in k or "num_batches" in k for k in changed)
    assert not any(k.startswith(("teacher", "optimiser")) for k in changed)
    assert one.n_steps == 2


def test_what_was_packed_goes_on_as_if_nothing_had_happened():
    first, second = learner(), learner(seed=5)
    learn(first, 3)
    best = {"a": torch.ones(2)}
    packed = {k: v.clone() for k, v in first.pack(best).items()}
    learn(first, 3)
    assert same(second.unpack(packed), best)
    learn(second, 3)
    assert same(first.pack(None), second.pack(None))


def test_without_best_weights_none_come_back():
    one = learner()
    assert one.unpack(one.pack(None)) is None


@pytest.mark.parametrize(
    "other",
    [
        {"network__filters": 3},
        {"n_classes": 3},
        {"optimisation__ema_decay": "none", "self_training__is_on": False},
    ],
)
def test_what_another_learner_packed_is_refused(other):
    packed = learner().pack(None)
    with pytest.raises(ValueError, match=r"Error|averaging"):
        learner(**other).unpack(packed)


def test_bfloat16_computes_in_bfloat16_and_gives_float32():
    seen = []

    class Spy(torch.nn.Module):
        def __init__(self, *, in_channels, out_channels, filters):
            super().__init__()
            self.head = torch.nn.Conv2d(in_channels, out_channels, 1)

        def forward(self, x):
            logits = self.head(x)
            seen.append(logits.dtype)
            return logits

    register_network("spy", Spy)
    for precision, expected in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        one = learner(network__name="spy", optimisation__precision=precision)
        assert one.student_logits(IMAGES).dtype == torch.float32
        assert seen.pop() == expected
