"""The time of a training, told before it begins."""

from __future__ import annotations

import pytest
import torch

from napari_spss.core.base import InputError, preset
from napari_spss.core.training import training_seconds
from napari_spss.core.training.learner import Learner

TINY = {"network.filters": 2, "sampling.crop_px": 64, "sampling.batch_size": 1}


def test_the_time_follows_the_steps_and_what_a_step_costs() -> None:
    small = preset("fast").with_overrides(TINY)
    large = small.with_overrides({"network.filters": 8, "sampling.crop_px": 512})
    few = large.with_overrides({"optimisation.max_steps": 60})
    times = [training_seconds(one, device="cpu") for one in (small, large, few)]
    assert times[1] is not None
    assert times[2] is not None
    assert 0 < (times[0] or 0) < times[1]
    assert times[2] < times[1]


def test_a_forward_of_the_teacher_is_not_counted_in_each_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is asked for maps of slices, which serve for many steps."""
    monkeypatch.setattr(Learner, "kept_probs", None)
    assert training_seconds(preset("fast").with_overrides(TINY), device="cpu") is not None


def test_a_budget_of_epochs_tells_no_time() -> None:
    assert training_seconds(preset("paper"), device="cpu") is None


def test_no_draw_of_the_process_is_touched() -> None:
    before = torch.get_rng_state()
    training_seconds(preset("fast").with_overrides(TINY), device="cpu")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_device_that_is_not_here_is_refused() -> None:
    with pytest.raises(InputError):
        training_seconds(preset("fast"), device="cuda:99")
