"""The network, its teacher and the optimiser: what a step changes, and what may not happen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from napari_spss.core.base import CancelToken, Diverged, Stopped, preset
from napari_spss.core.networks import register_network
from napari_spss.core.training.checkpoint import new_network
from napari_spss.core.training.learner import Learner, Teacher

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def learner(*, shares=None, weights=None, n_classes=2, **overrides):
    settings = preset("fast").with_overrides(
        {"network.filters": 2, "optimisation.precision": "float32"}
        | {name.replace("__", "."): value for name, value in overrides.items()}
    )
    return Learner(
        settings,
        n_channels=1,
        n_classes=n_classes,
        device=torch.device("cpu"),
        shares=shares,
        weights=weights,
    )


SIZES = {"n_channels": 1, "n_classes": 2}
IMAGES = torch.randn(2, 1, 24, 24, generator=torch.Generator().manual_seed(0))


def learn(one, n=1, rate=0.01):
    for step in range(n):
        logits = one.student_logits(IMAGES, step)
        one.learn(logits.square().mean(), learning_rate=rate, step=step)


def student_of(one):
    return {k.removeprefix("student."): v for k, v in one.tensors().items() if "student." in k}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("shares", [(0.9, 0.1), (0.2, 0.5, 0.3)])
def test_a_new_network_predicts_about_the_stated_fractions(shares):
    blank = learner(n_classes=len(shares)).weights()
    one = learner(shares=shares, n_classes=len(shares))
    biased = one.weights()
    changed = [name for name in blank if not torch.equal(blank[name], biased[name])]
    assert changed == ["head.bias"]
    # without the other weights there is the bias alone
    biased["head.weight"] = torch.zeros_like(biased["head.weight"])
    alone = learner(weights=biased, n_classes=len(shares))
    assert alone.kept_probs(IMAGES).mean((0, 2, 3)).tolist() == pytest.approx(shares, abs=1e-4)


def test_weights_are_taken_over_as_they_are_but_for_shares_that_are_given():
    first = learner()
    learn(first, 3)
    second = learner(weights=first.weights())
    assert same(second.weights(), first.weights())
    third = learner(shares=(0.5, 0.5), weights=first.weights()).weights()
    assert not third.pop("head.bias").any()
    assert same(third, {n: w for n, w in first.weights().items() if n != "head.bias"})


def test_the_teacher_is_kept_if_there_is_one_else_the_student():
    averaged, plain = (
        learner(),
        learner(optimisation__ema_decay="none", self_training__enabled=False),
    )
    for one in (averaged, plain):
        learn(one, 5)
    student = student_of(averaged)
    assert not same(averaged.weights(), student)
    assert same(plain.weights(), student_of(plain))
    assert same(student, student_of(plain))


def test_the_kept_network_sees_an_image_alike_whatever_else_is_in_its_batch():
    one = learner()
    learn(one, 2)
    both = one.kept_logits(IMAGES)
    assert not both.requires_grad
    beside_another = one.kept_logits(torch.stack([IMAGES[0], 5 - 3 * IMAGES[1]]))
    assert torch.equal(beside_another[0], both[0])
    assert not torch.allclose(beside_another[1], both[1])
    torch.testing.assert_close(one.kept_probs(IMAGES).sum(1), torch.ones(2, 24, 24))


def test_a_whole_slice_is_predicted_as_the_network_does():
    one = learner()
    learn(one)
    saved = {k: v.clone() for k, v in one.tensors().items()}
    for change in (learn, learn, lambda it: it.load(saved)):
        change(one)
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
    before = {k: v.clone() for k, v in one.tensors().items()}
    loss = damage(one.student_logits(IMAGES, 2).square().mean())
    with pytest.raises(Diverged, match=rf"the {name} became nan at step 3; lower optimisation"):
        one.learn(loss, learning_rate=0.01, step=2)
    after = one.tensors()
    # running statistics of the student are those of the forward pass; nothing is kept of it
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    assert all("running_" in k or "num_batches" in k for k in changed)
    assert not any(k.startswith(("teacher", "optimiser")) for k in changed)


def test_what_was_saved_goes_on_as_if_nothing_had_happened():
    first, second = learner(), learner(seed=5)
    learn(first, 3)
    saved = {k: v.clone() for k, v in first.tensors().items()}
    learn(first, 3)
    second.load(saved)
    learn(second, 3)
    assert same(first.tensors(), second.tensors())


def test_steps_are_those_of_adamw_bit_for_bit():
    one = learner(optimisation__weight_decay=0.1)
    network = new_network(preset("fast").with_overrides({"network.filters": 2}), **SIZES)
    network.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.01, weight_decay=0.1)
    images = IMAGES.contiguous(memory_format=torch.channels_last)
    for step in range(5):
        one.learn(one.student_logits(IMAGES, step).square().mean(), learning_rate=0.01, step=step)
        optimiser.zero_grad()
        network(images).square().mean().backward()
        optimiser.step()
    assert same(network.state_dict(), student_of(one))
    for index, moments in optimiser.state_dict()["state"].items():  # so that old runs go on
        ours = {k: v for k, v in one.tensors().items() if k.startswith(f"optimiser.{index}.")}
        assert len(ours) == len(moments)
        assert same({f"optimiser.{index}.{name}": moments[name] for name in moments}, ours)


@pytest.mark.parametrize(
    "other",
    [
        {"network__filters": 3},
        {"n_classes": 3},
        {"optimisation__ema_decay": "none", "self_training__enabled": False},
    ],
)
def test_what_another_learner_saved_is_refused(other):
    with pytest.raises(ValueError, match=r"Error|averaging"):
        learner(**other).load(learner().tensors())


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
        assert one.student_logits(IMAGES, 0).dtype == torch.float32
        assert seen.pop() == expected


# -- the averaged teacher --------------------------------------------------------------------------


def number(network):
    return float(network.state_dict()["weight"])


def linear(value):
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, value)
    return layer


def test_the_teacher_forgets_its_start_early_and_averages_slowly_then():
    student = linear(5.0)
    teacher = Teacher(student, 0.9)
    expected = 5.0
    for n in range(200):
        nn.init.constant_(student.weight, 1.0 + n % 2)
        teacher.follow()
        # weights are copied at the first update
        kept = min(0.9, (1 + n) / (10 + n)) if n else 0.0
        expected = kept * expected + (1 - kept) * (1.0 + n % 2)
    assert number(teacher.module) == pytest.approx(expected, rel=1e-5)
    assert expected == pytest.approx(1.5, abs=0.1)


def test_running_statistics_are_averaged_and_counters_copied():
    student = nn.BatchNorm2d(1)
    teacher = Teacher(student, 0.5)
    for value in (1.0, 3.0):
        student.running_mean.fill_(value)
        student.num_batches_tracked += 1
        teacher.follow()
    kept = 2 / 11
    assert teacher.module.running_mean.item() == pytest.approx(kept * 1 + (1 - kept) * 3)
    assert teacher.module.num_batches_tracked == 2


def test_the_teacher_is_in_evaluation_mode_and_has_no_gradient():
    student = nn.Sequential(nn.Linear(1, 1), nn.Dropout(0.5)).train()
    teacher = Teacher(student, 0.99)
    assert not teacher.module[1].training
    assert not any(p.requires_grad for p in teacher.parameters())
    assert all(p.requires_grad for p in student.parameters())
    student[0].weight.data += 1
    assert teacher.module[0].weight != student[0].weight


def test_what_is_not_finite_before_any_step_is_not_the_learning_rate():
    one = learner()
    loss = one.student_logits(IMAGES, 0).square().mean() * float("inf")
    with pytest.raises(Diverged, match=r"became inf at step 1; .* change network\.name or loss\.$"):
        one.learn(loss, learning_rate=0.01, step=0)
