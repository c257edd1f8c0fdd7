"""The documentation shows files that can be read and options that exist."""

from __future__ import annotations

import contextlib
import re
import sys

import numpy as np
import pytest
import tifffile

import napari_spss
from napari_spss.core.annotations import (
    Annotations,
    Proportion,
    Region,
    parse_classes,
    write_annotations,
)

PAGES = ("README.md", "docs/quickstart.md", "docs/file_formats.md")


def find_tables(repository):
    """CSV tables in the pages, by page and place, with the reader that their header asks for."""
    tables = {}
    for page in PAGES:
        text = (repository / page).read_text(encoding="utf-8")
        blocks = re.findall(r"^```\n(slice,.*?)```$", text, flags=re.DOTALL | re.MULTILINE)
        for number, block in enumerate(blocks):
            header = block.partition("\n")[0]
            kind = "grid" if "spacing_px" in header else "proportions"
            kind = "keypoints" if header == "slice,y,x,class" else kind
            tables[page, number] = (kind, block)
    return tables


def test_example_tables_are_readable(repository, tmp_path):
    tables = find_tables(repository)
    assert {kind for kind, _ in tables.values()} == {"proportions", "keypoints", "grid"}
    for kind, block in tables.values():
        path = tmp_path / f"{kind}.csv"
        path.write_text(block, encoding="utf-8")
        annotations = napari_spss.read_annotations(**{kind: path})
        assert annotations.classes[0] == "background"
        assert "mitochondria" in annotations.classes
        assert not annotations.is_empty


def test_example_classes_are_understood(repository):
    text = (repository / "docs" / "file_formats.md").read_text(encoding="utf-8")
    specs = re.findall(r"`--classes \"?([^\"`]+)\"?`", text)
    assert [parse_classes(spec).names for spec in specs] == [
        ("background", "myelin", "axon"),
        ("background", "land"),
    ]


def options_of_the_contract(repository):
    """Long options of each command in the synopsis of the command line page."""
    text = (repository / "docs" / "command_line.md").read_text(encoding="utf-8")
    synopsis = text.split("```")[1]
    commands = re.split(r"^napari-spss ", synopsis, flags=re.MULTILINE)[1:]
    return {c.split()[0]: set(re.findall(r"--[a-z-]+", c)) for c in commands}, text


def test_command_line_page_matches_the_commands(repository):
    from typer.main import get_command

    from napari_spss.cli import app

    contract, text = options_of_the_contract(repository)
    commands = get_command(app).commands
    assert set(contract) == set(commands)
    for name, command in commands.items():
        options = {o for p in command.params for o in p.opts if o.startswith("--")} - {"--help"}
        assert contract[name] - options == set(), f"{name}: in the page only"
        unknown = {option for option in options if option not in text}
        assert unknown == set(), f"{name}: not in the page"


@pytest.mark.parametrize("name", sorted(set(napari_spss.__all__) - {"__version__"}))
def test_public_name_is_documented(repository, name):
    text = (repository / "docs" / "python_api.md").read_text(encoding="utf-8")
    assert re.search(rf"^\.\. auto(?:function|class):: {name}$", text, flags=re.MULTILINE)


def test_reasons_are_given_for_the_defaults_that_are(repository):
    """Every row of the table of reasons states the preset's values."""
    text = (repository / "docs" / "how_it_works.md").read_text(encoding="utf-8")
    table = text.partition("### Why each default is what it is")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]*) \| (`[^|]*) \|", table, flags=re.MULTILINE)
    fast = napari_spss.preset("fast").model_dump()
    n_stated = 0
    for names, values in rows:
        group = names.partition(".")[0].strip("`")
        settings = [name.rpartition(".")[2] for name in re.findall(r"`([^`]+)`", names)]
        stated = re.findall(r"`([^`]+)`", values)
        assert len(settings) == len(stated)
        for setting, value in zip(settings, stated, strict=True):
            actual = fast[group][setting]
            same = str(actual).lower() == value or (
                not isinstance(actual, (bool, str)) and float(actual) == float(value)
            )
            assert same, f"{group}.{setting} is {actual}, not {value}"
            n_stated += 1
    assert n_stated > 25


def test_the_way_of_a_tiff_is_the_one_that_the_page_tells(repository, tmp_path):
    text = (repository / "docs" / "architecture.md").read_text(encoding="utf-8")
    way = text.partition("becomes a tensor, function by function:")[2].partition("How a node")[0]
    told = re.findall(r"^\d+\. `([\w.]+)`", way, flags=re.MULTILINE)
    assert 5 < len(told) <= 10

    tifffile.imwrite(tmp_path / "em.tif", np.zeros((2, 40, 40), np.uint8), photometric="minisblack")
    said = Annotations(("background", "cells"), (Proportion(Region(1), (None, 0.2)),))
    overrides = {"optimisation.max_steps": 1, "sampling.crop_px": 16, "network.filters": 1}
    calls = []

    def note(frame, event, _):
        module = frame.f_globals.get("__name__", "")
        if event == "call" and module.startswith("napari_spss.core."):
            calls.append(f"{module.removeprefix('napari_spss.core.')}.{frame.f_code.co_qualname}")

    sys.setprofile(note)
    try:
        stack = napari_spss.open_stack(tmp_path / "em.tif")
        settings = napari_spss.preset("fast").with_overrides(overrides)
        events = napari_spss.iter_training(stack, said, settings, run_dir=None, device="cpu")
        with contextlib.suppress(StopIteration):
            while told[-1] not in calls:
                next(events)
        events.close()
    finally:
        sys.setprofile(None)
    first = [calls.index(name) for name in told]
    assert first == sorted(first)


def test_python_examples_run_as_printed(repository, tmp_path, monkeypatch):
    """In a folder with the files that they name, with a preset of two steps."""
    truth = np.zeros((3, 48, 48), np.uint8)
    truth[:, 10:30, 12:32] = 1
    stack = napari_spss.stack_from_array(200 - 100 * truth)
    (tmp_path / "study").mkdir()
    for name in ("stack.tif", "study/a.tif", "study/b.tif"):
        tifffile.imwrite(tmp_path / name, 200 - 100 * truth, photometric="minisblack")
    frames = napari_spss.lay_frames((3, 48, 48), 3, 24, 4, rng=np.random.default_rng(0))
    counted = [
        one.replace(
            class_index=truth[one.slice, one.y.astype(int), one.x.astype(int)].astype(np.int16),
            is_done=True,
        )
        for one in frames
    ]
    classes = ("background", "mitochondria")
    said = Annotations(classes, (Proportion(Region(0), (None, truth[0].mean())),), grids=counted)
    said.validate_against(stack)
    write_annotations(tmp_path, said)
    (tmp_path / "animals.csv").write_text("image,group\na.tif,A\nb.tif,B\n", encoding="utf-8")
    small = {"optimisation.max_steps": 2, "network.filters": 2, "sampling.crop_px": 16}
    settings = napari_spss.preset("fast").with_overrides(small)
    monkeypatch.setattr(napari_spss, "preset", lambda name: settings)
    monkeypatch.chdir(tmp_path)
    n_run = 0
    for page in ("README.md", "docs/python_api.md"):
        names = {}
        text = (repository / page).read_text(encoding="utf-8")
        for block in re.findall(r"^```python\n(.*?)```$", text, flags=re.DOTALL | re.MULTILINE):
            exec(compile(block, page, "exec"), names)
            n_run += 1
        assert names["probs"].shape == (2, 48, 48)
    assert n_run == 3
    assert set(names["table"]["group"]) == {"A", "B"}
