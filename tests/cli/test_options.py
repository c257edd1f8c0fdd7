"""What the text of an option means."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from napari_spss.cli.display import duration
from napari_spss.cli.options import (
    check_out_dir,
    diameter_settings,
    parse_assignments,
    parse_threshold,
    parse_voxel_size,
    shown_path,
)
from napari_spss.core.base import InputError, preset


@pytest.mark.parametrize(
    ("text", "pixels", "um"),
    [
        ("80", 80, None),
        ("80px", 80, None),
        ("12.5 pixels", 12.5, None),
        ("1e2", 100, None),
        ("0.3um", None, 0.3),
        ("0.3µm", None, 0.3),
        ("0.3μm", None, 0.3),  # the Greek letter, not the micro sign
        ("300 nm", None, 0.3),
    ],
)
def test_diameter(text, pixels, um):
    values = diameter_settings(text)
    assert values["image.object_diameter_px"] == pixels
    found = values["image.object_diameter_um"]
    assert found == (None if um is None else pytest.approx(um))


@pytest.mark.parametrize("text", ["", "0", "-80", "0,3um", "80 elephants", "um", "nan", "1.2.3"])
def test_diameter_that_is_none(text):
    with pytest.raises(InputError, match="object-diameter"):
        diameter_settings(text)


def test_diameter_replaces_that_of_the_settings():
    in_um = preset("fast").with_overrides(diameter_settings("0.3um"))
    in_px = in_um.with_overrides(diameter_settings("80"))
    assert (in_px.image.object_diameter_px, in_px.image.object_diameter_um) == (80, None)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (None, None),
        ("0.05,0.004,0.005", (0.05, 0.004, 0.005)),
        ("50nm, 4nm, 5nm", (0.05, 0.004, 0.005)),
        ("4nm", (None, 0.004, 0.004)),
    ],
)
def test_voxel_size(text, size):
    found = parse_voxel_size(text)
    assert found == (None if size is None else pytest.approx(size))


@pytest.mark.parametrize(
    "text", ["", "1,2", "1,2,3,4", "0,1,1", "-1,1,1", "a,b,c", "inf", "1 foot"]
)
def test_voxel_size_that_is_none(text):
    with pytest.raises(InputError, match="voxel-size"):
        parse_voxel_size(text)


@pytest.mark.parametrize("text", ["5", "50,4.6,4.6", "0.05um, 4.6 ,4.6"])
def test_a_voxel_size_that_may_be_nanometres_needs_its_unit(text):
    with pytest.raises(InputError, match=r"write (5|50|4\.6)nm or (5|50|4\.6)um"):
        parse_voxel_size(text)


@given(st.text(max_size=20))
def test_any_text_is_understood_or_refused(text):
    for parse in (diameter_settings, parse_voxel_size, parse_threshold):
        with contextlib.suppress(InputError):
            parse(text)


def test_assignments_become_settings():
    values = parse_assignments(["loss.alpha=0.1", "loss.alpha=0.3", "optimisation.patience = none"])
    settings = preset("paper").with_overrides(values)
    assert settings.loss.alpha == 0.3
    assert settings.optimisation.patience is None


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["loss.alpha"], "KEY=VALUE"),
        (["=3"], "KEY=VALUE"),
        (["loss.alpha="], "KEY=VALUE"),
        (["max_steps=3"], r"did you mean optimisation\.max_steps\?"),
        (["loss.alhpa=3"], r"did you mean loss\.alpha"),
        (["zzzz=3"], "choose one of preset, seed"),
    ],
)
def test_assignment_that_is_none(texts, said):
    with pytest.raises(InputError, match=said):
        parse_assignments(texts)


@pytest.mark.parametrize(("text", "value"), [(None, None), ("AUTO", "auto"), ("0.25", 0.25)])
def test_threshold(text, value):
    assert parse_threshold(text) == value


@pytest.mark.parametrize("text", ["", "half", "1.5", "-0.1", "nan", "0,5"])
def test_threshold_that_is_none(text):
    with pytest.raises(InputError, match="threshold"):
        parse_threshold(text)


def test_file_is_refused_as_a_folder(tmp_path):
    check_out_dir(tmp_path / "new" / "newer")
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="is a file"):
            check_out_dir(path)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.9, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_path_with_a_space_is_quoted():
    assert shown_path(Path("my run")) == '"my run"'
    assert shown_path("run") == "run"
