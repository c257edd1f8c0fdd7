"""Terms of the loss that come from outside: registered ones, and those of installed packages."""

from __future__ import annotations

import itertools

import pytest
import torch
from blobs import annotated, blobs, tiny, weights

from napari_spss.core.base import InputError, Progress, load_settings, preset, save_settings
from napari_spss.core.training import fit, iter_training, register_loss

pytestmark = pytest.mark.usefixtures("one_torch_thread")

STACK, TRUTH = blobs(n_slices=2, size=32)
CODE = """
def flat(step):
    shown = step.batch.coverage[:, None]
    return (step.probs.diff(dim=-1).abs() * shown[..., 1:]).mean()
"""


def settings(**overrides):
    return tiny(optimisation__max_steps=8).with_overrides(overrides)


def trained(**overrides):
    return weights(fit(STACK, annotated(TRUTH), settings(**overrides), device="cpu"))


def losses(**overrides):
    clock = itertools.count().__next__  # every step is told
    run = iter_training(STACK, annotated(TRUTH), settings(**overrides), device="cpu", clock=clock)
    return [event.losses for event in run if isinstance(event, Progress)]


def test_a_term_of_an_installed_package_is_trained_with(install):
    install("spss_flat", CODE, "napari_spss.losses", "flat = spss_flat:flat")
    without = trained()
    assert torch.equal(trained(**{"loss.terms.flat": 0.0}), without)
    assert not torch.equal(trained(**{"loss.terms.flat": 5.0}), without)


def test_a_registered_term_is_told_with_its_weight_beside_ours():
    register_loss("the.outputs", lambda step: step.logits.sum() * 0 + 3.0)
    first = losses(**{"loss.terms.the.outputs": 0.5})[0]
    assert first["the.outputs"] == pytest.approx(1.5)
    assert first["total"] == pytest.approx(sum(v for k, v in first.items() if k != "total"))
    assert {"proportions", "labels"} < set(first)


def test_a_term_with_nothing_to_say_is_left_out():
    register_loss("silent", lambda step: None)
    assert "silent" not in losses(**{"loss.terms.silent": 1.0})[0]


def test_a_term_of_ours_takes_the_weight_that_is_given():
    assert losses(**{"loss.terms.labels": 0.0})[0].keys() == {"total", "proportions"}


@pytest.mark.parametrize("value", [2.0, torch.ones(3)])
def test_a_term_that_returns_no_number_is_named(value):
    register_loss("wrong", lambda step: value)
    with pytest.raises(InputError, match=r"loss term 'wrong' returned .*; it must return a tensor"):
        losses(**{"loss.terms.wrong": 1.0})


def test_a_term_that_returns_no_finite_number_is_named():
    register_loss("nothing", lambda step: step.logits.sum() * torch.nan)
    with pytest.raises(InputError, match=r"loss term 'nothing' returned tensor\(nan"):
        losses(**{"loss.terms.nothing": 1.0})


def test_an_unknown_term_is_refused_before_anything_is_read(monkeypatch):
    monkeypatch.setattr(STACK, "read", None)
    with pytest.raises(InputError, match=r"no loss term is called 'gone'.*masks") as caught:
        next(
            iter_training(STACK, annotated(TRUTH), settings(**{"loss.terms.gone": 1}), device="cpu")
        )
    assert caught.value.field == "loss.terms"


def test_a_weight_survives_the_file_of_the_settings(tmp_path):
    chosen = preset("paper").with_overrides({"loss.terms.the.outputs": "0.5"})
    save_settings(chosen, tmp_path / "config.toml")
    assert load_settings(tmp_path / "config.toml") == chosen
    assert chosen.value("loss.terms.the.outputs") == 0.5
    assert chosen.value("loss.terms.another") == 0


@pytest.mark.parametrize("weight", [-1, "much", float("inf")])
def test_a_weight_that_is_none_is_refused(weight):
    with pytest.raises(InputError, match=r"setting loss\.terms\.flat cannot be"):
        preset("fast").with_overrides({"loss.terms.flat": weight})
