"""Records that were damaged in any way: a clear error that names the file, never another one."""

from __future__ import annotations

import json
import shutil

import pytest
from blobs import CLASSES, annotated, blobs, quick
from hypothesis import given, settings, strategies as st
from safetensors.torch import load_file, save_file

from napari_spss.core.annotations import ClassStyle
from napari_spss.core.base import SpssError
from napari_spss.core.images import StackLayout, StackWriter, open_labels, open_stack
from napari_spss.core.projects import Project, ProjectState
from napari_spss.core.training import RunFolder, RunInputs, iter_training, load_model
from napari_spss.core.training.checkpoint import MODEL_WEIGHTS, STATE_FILE, load_state
from napari_spss.core.training.run_folder import begin_recorded

STACK, TRUTH = blobs()
SAID = annotated(TRUTH)
IDENTITY = STACK.identity()
STYLES = tuple(ClassStyle(name, "#999999") for name in CLASSES)

LONG = "a number of 9999 digits"
deep: object = 1
for _ in range(400):
    deep = [deep]
HOSTILE = st.sampled_from(
    (
        *(float("nan"), float("inf"), -1, 0, 1.5, 10**30, LONG, None, True, deep),
        *("", "\x1b[31m", "background", "../..", [], [[]], {}, {"a": 1}, ["background"] * 2),
    )
)


@st.composite
def damage(draw, content: bytes) -> bytes:
    """Content of which a part is lost, flipped, or something else than it was."""
    how = draw(st.sampled_from(("value", "value", "value", "cut", "flip", "other")))
    if how == "cut":
        return content[: draw(st.integers(0, len(content) - 1))]
    if how == "flip":
        place = draw(st.integers(0, len(content) - 1))
        return content[:place] + bytes([draw(st.integers(0, 255))]) + content[place + 1 :]
    if how == "other":
        return draw(st.sampled_from((b"", b"[]", b"null", b"\xff\xfe", b"[" * 99999, b"{}", b"1")))
    lines = content.splitlines(keepends=True)
    if content.startswith(b"{\n"):  # one object over many lines
        return draw(changed(content))
    place = draw(st.integers(0, len(lines) - 1))
    if b" = " in lines[place]:  # TOML
        name = lines[place].partition(b" = ")[0]
        lines[place] = name + b" = " + _json(draw(HOSTILE)).encode() + b"\n"
    elif lines[place].startswith(b"{"):
        lines[place] = draw(changed(lines[place])) + b"\n"
    return b"".join(lines)


@st.composite
def changed(draw, content: bytes) -> bytes:
    """JSON of which one value is another one, or gone."""
    whole = json.loads(content)
    part = whole
    while True:
        key = draw(st.sampled_from(sorted(part) if isinstance(part, dict) else range(len(part))))
        if isinstance(part[key], dict | list) and part[key] and draw(st.booleans()):
            part = part[key]
            continue
        if draw(st.booleans()) and isinstance(part, dict):
            del part[key]
        else:
            part[key] = draw(HOSTILE)
        return _json(whole).encode()


def _json(value) -> str:
    return json.dumps(value).replace(f'"{LONG}"', "9" * 9999)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folder of a finished run, its labels and an image's sizes beside it."""
    folder = tmp_path_factory.mktemp("damaged") / "run"
    few = quick(optimisation__max_steps=2, network__filters=2)
    events = iter_training(STACK, SAID, few, run_dir=folder, device="cpu")
    inputs = RunInputs("a.tif", IDENTITY, voxel_size_um=(None, 0.1, 0.1))
    recorded = begin_recorded(events, folder, lambda: RunFolder(folder).begin(few, SAID, inputs))
    list(recorded)
    layout = StackLayout([(64, 64)] * 3, TRUTH.dtype)
    with StackWriter(folder / "labels.ome.tif", layout) as writer:
        for z, plane in enumerate(TRUTH):
            writer.write(z, plane)
    sizes = {"PixelSize": [180, 180.5, "3"], "PixelSizeUnits": "nm"}
    (folder / "sizes_labels.json").write_text(json.dumps(sizes))
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Folder of a project with everything in it."""
    folder = tmp_path_factory.mktemp("damaged") / "project"
    texts = {"version": 1, "cells": [{"slice": 0, "text": "6"}]}
    with Project.open(folder, identity=IDENTITY) as opened:
        opened.save(ProjectState(STYLES, SAID, {"preset": "fast", "overrides": {"seed": 3}}, texts))
        opened.note_action("fraction", slice=0)
        opened.note_action("node", n_items=3)
    return folder


def told(folder, read):
    """What is said of the damage; the folder's name where it can be read all the same."""
    try:
        read()
    except SpssError as error:
        return str(error)
    return str(folder)


@pytest.mark.parametrize(
    "name", ["model.json", "inputs.json", "config.toml", "events.jsonl", "sizes_labels.json"]
)
@settings(max_examples=30)
@given(data=st.data())
def test_a_damaged_record_of_a_run_is_told(run, tmp_path_factory, name, data):
    folder = tmp_path_factory.getbasetemp() / name
    if not folder.exists():
        shutil.copytree(run, folder)
    (folder / name).write_bytes(data.draw(damage((run / name).read_bytes())))
    reader = RunFolder(folder)
    for read in (reader.settings, reader.inputs, reader.annotations, reader.end):
        assert str(folder) in told(folder, read)
    assert str(folder) in told(folder, lambda: load_model(folder))
    assert str(folder) in told(folder, lambda: open_labels(folder / "labels.ome.tif"))
    assert str(folder) in told(folder, lambda: open_stack(folder))


@settings(max_examples=30)
@given(data=st.data())
def test_a_damaged_record_inside_of_weights_is_told(run, tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "inside"
    for name, load in ((MODEL_WEIGHTS, load_model), (STATE_FILE, load_state)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        record = data.draw(damage(_record_of(run / name)))
        save_file(load_file(run / name), path, {"record": record.decode(errors="replace")})
        assert str(folder) in told(folder, lambda load=load: load(folder))


def _record_of(path) -> bytes:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return file.metadata()["record"].encode()


@pytest.mark.parametrize("name", ["project.json", "log.jsonl"])
@settings(max_examples=30)
@given(data=st.data())
def test_a_damaged_record_of_a_project_is_told(project, tmp_path_factory, name, data):
    folder = tmp_path_factory.getbasetemp() / f"project-{name}"
    if not folder.exists():
        shutil.copytree(project, folder)
    (folder / name).write_bytes(data.draw(damage((project / name).read_bytes())))
    assert str(folder) in told(folder, lambda: Project.open(folder, identity=IDENTITY).close())
