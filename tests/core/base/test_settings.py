"""Settings: bounds, overrides, presets, and TOML files that come back as they went."""

from __future__ import annotations

import pydantic
import pytest
from hypothesis import given, strategies as st

from napari_spss.core.base import (
    InputError,
    RunError,
    TrainingSettings,
    load_settings,
    parse_settings,
    preset,
    save_settings,
    setting_names,
)
from napari_spss.core.base.settings import PRESETS


def value_of(settings, name):
    for part in name.split("."):
        settings = getattr(settings, part)
    return settings


def test_default_settings_are_the_preset_fast():
    assert preset("fast") == TrainingSettings()
    assert PRESETS == ("fast", "paper")


def test_preset_paper_is_the_protocol_as_printed():
    paper = preset("paper")
    assert paper.preset == "paper"
    assert paper.network.name == "paper-unet"
    assert (paper.sampling.crop_px, paper.sampling.crop_mode) == (256, "tile")
    assert paper.sampling.batch_size == 16
    assert not paper.sampling.flips
    assert not paper.sampling.intensity
    assert (paper.loss.proportions, paper.loss.labels) == ("mse", "eq3")
    assert not paper.self_training.enabled
    optimisation = paper.optimisation
    assert (optimisation.learning_rate, optimisation.schedule) == (1e-3, "constant")
    assert (optimisation.max_steps, optimisation.max_epochs) == (None, 100)
    assert (optimisation.validation_fraction, optimisation.patience) == (0.2, 10)
    assert (optimisation.weight_decay, optimisation.ema_decay) == (0.0, None)


def test_an_unknown_preset_is_refused():
    with pytest.raises(InputError, match=r"unknown preset 'slow'; choose one of fast, paper") as e:
        preset("slow")
    assert e.value.field == "preset"


def test_settings_cannot_be_changed_in_place():
    with pytest.raises(pydantic.ValidationError):
        preset("fast").loss.alpha = 0.1


@pytest.mark.parametrize("name", PRESETS)
def test_every_setting_has_a_name_that_overrides_it(name):
    settings = preset(name)
    values = {key: value_of(settings, key) for key in setting_names()}
    assert "optimisation.max_steps" in values
    assert "seed" in values
    assert settings.with_overrides(values) == settings
    assert settings.with_overrides({}) == settings


def test_text_is_parsed_and_the_original_stays():
    fast = preset("fast")
    changed = fast.with_overrides(
        {
            "optimisation.max_steps": "None",
            "optimisation.max_minutes": "2.5",
            "sampling.flips": "false",
            "loss.proportions": "interval",
            "seed": "7",
        }
    )
    assert changed.optimisation.max_steps is None
    assert changed.optimisation.max_minutes == 2.5
    assert changed.sampling.flips is False
    assert changed.loss.proportions == "interval"
    assert changed.seed == 7
    assert fast == preset("fast")


@pytest.mark.parametrize(
    "name", ["loss.alfa", "alpha", "loss", "a.b.c", "loss.alpha.x", "", ".", "model_config"]
)
def test_unknown_names_are_refused_with_the_known_ones(name):
    with pytest.raises(InputError, match=r"unknown setting .*optimisation\.max_steps") as e:
        preset("fast").with_overrides({name: 1})
    assert e.value.field == name


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("loss.alpha", 1.5, "less than or equal to 1"),
        ("loss.alpha", "nan", "finite number"),
        ("optimisation.max_minutes", "inf", "finite number"),
        ("optimisation.max_minutes", 0, "greater than 0"),
        ("sampling.batch_size", "2.5", "valid integer"),
        ("sampling.crop_px", 8, "greater than or equal to 16"),
        ("sampling.crop_mode", "tiles", "'random' or 'tile'"),
        ("sampling.flips", "perhaps", "valid boolean"),
        ("optimisation.validation_fraction", 1, "less than 1"),
        ("optimisation.learning_rate", "none", "valid number"),
        ("seed", 2**63, "less than"),
        ("seed", -1, "greater than or equal to 0"),
    ],
)
def test_a_value_out_of_bounds_is_named_with_its_setting(name, value, reason):
    with pytest.raises(InputError) as e:
        preset("fast").with_overrides({name: value})
    assert e.value.field == name
    shown = None if value == "none" else value
    assert str(e.value).startswith(f"setting {name} cannot be {shown!r}: ")
    assert reason in str(e.value)


def test_a_preset_is_more_than_its_name():
    fast = preset("fast")
    assert fast.with_overrides({"preset": "fast"}) == fast
    with pytest.raises(InputError, match="start from that preset") as e:
        fast.with_overrides({"preset": "paper"})
    assert e.value.field == "preset"


@pytest.mark.parametrize("name", PRESETS)
def test_presets_come_back_from_toml(tmp_path, name):
    save_settings(preset(name), tmp_path / "config.toml")
    assert load_settings(tmp_path / "config.toml") == preset(name)


optional_steps = st.none() | st.integers(1, 10**9)


@given(
    alpha=st.floats(0, 1),
    rate=st.floats(1e-12, 1e3),
    steps=optional_steps,
    epochs=optional_steps,
    diameter=st.none() | st.floats(1e-3, 1e6),
    network=st.text(min_size=1).filter(lambda text: text.strip().lower() != "none"),
    seed=st.integers(0, 2**63 - 1),
)
def test_any_settings_come_back_from_toml(
    tmp_path_factory, alpha, rate, steps, epochs, diameter, network, seed
):
    settings = preset("fast").with_overrides(
        {
            "loss.alpha": alpha,
            "optimisation.learning_rate": rate,
            "optimisation.max_steps": steps,
            "optimisation.max_epochs": epochs,
            "image.object_diameter_px": diameter,
            "network.name": network,
            "seed": seed,
        }
    )
    path = tmp_path_factory.getbasetemp() / "settings.toml"
    save_settings(settings, path)
    assert load_settings(path) == settings


def test_what_a_file_leaves_out_has_its_default(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("seed = 3\n[loss]\nalpha = 0.25\n", encoding="utf-8")
    expected = preset("fast").with_overrides({"seed": 3, "loss.alpha": 0.25})
    assert load_settings(path) == expected
    assert parse_settings({}) == preset("fast")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"seed = ", "is no valid TOML"),
        (b"\xff\xfe", "is no valid TOML"),
        (b"sead = 1", "unknown setting 'sead'"),
        (b"[loss]\nalpha = 2.0", "setting loss.alpha cannot be 2.0"),
        (b"loss = 1", "setting loss cannot be 1"),
        (b"seed = 0x" + b"f" * 9999, "setting seed cannot be such a large number"),
        (b"seed = " + b"9" * 9999, "is no valid TOML"),
        (b"seed = " + b"[" * 9999, "is no valid TOML"),
        (b"loss." + b"a." * 9999 + b"b = 1", "is no valid TOML"),
        (b"[loss]\nalpha = nan", "config.toml: setting loss.alpha cannot be nan"),
    ],
)
def test_files_that_hold_no_settings_are_refused(tmp_path, content, message):
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_settings(path)


def test_files_that_cannot_be_read_or_written_are_named(tmp_path):
    with pytest.raises(InputError, match=r"missing\.toml is no file; name a run folder"):
        load_settings(tmp_path / "missing.toml")
    with pytest.raises(InputError, match="is no file; name a run folder"):
        load_settings(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="could not be written"):
        save_settings(preset("fast"), tmp_path / "file" / "config.toml")
