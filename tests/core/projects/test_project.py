"""Projects: what is saved comes back, onto the right image only, whatever happens in between."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from full_disk import fail_once
from hypothesis import given, strategies as st

from napari_spss.core.annotations import (
    Annotations,
    ClassStyle,
    CountingGrid,
    Keypoint,
    Proportion,
    Region,
    lay_frames,
)
from napari_spss.core.base import FolderLock, FolderLocked, InputError
from napari_spss.core.projects import (
    FolderUnusable,
    ObjectsRecord,
    Project,
    ProjectState,
    choose_folder,
    fallback_folder,
    folder as project_folder,
    last_annotated_first,
)
from napari_spss.core.projects.action_log import ActionLog, read_actions

IDENTITY = "0123456789abcdef"
CLASSES = (
    ClassStyle("background", "#999999", "Q"),
    ClassStyle("mito", "#E69F00", "W"),
    ClassStyle("outside", "#000000", "", is_outside=True),
)
NAMES = ("background", "mito", "outside")
GRID = CountingGrid(1, 8.0, 1.5, 2.5, [1.5, 9.5], [2.5, 2.5], [1, -1], is_done=True)
ANNOTATIONS = Annotations(
    NAMES,
    (
        Proportion(Region(0), (None, 0.06, None)),
        Proportion(Region(2, (0, 0, 8, 8)), (None, None, None), low=(None, 0.1, None)),
    ),
    (Keypoint(0, 1.25, 2.5, 1), Keypoint(3, 4.0, 5.0, 0)),
    (GRID,),
)
TEXTS = {"version": 1, "cells": [{"slice": 5, "text": "abc"}]}
CHECK = lay_frames((4, 64, 64), 2, 32, 3, rng=np.random.default_rng(0))
CHECK = (CHECK[0].with_class([1, 2], 1).looked_at(2, 0).replace(is_done=True), CHECK[1])
STATE = ProjectState(CLASSES, ANNOTATIONS, {"preset": "fast", "budget_s": 60}, TEXTS, check=CHECK)
ALL_FILES = ("proportions.csv", "keypoints.csv", "grid.csv", "check.csv", "project.json")


@pytest.fixture(autouse=True)
def data_home(tmp_path, monkeypatch) -> Path:
    """Let fallback folders lie in the test's own folder."""
    home = tmp_path / "data home"
    monkeypatch.setattr(project_folder, "user_data_path", lambda *_, **__: home)
    return home


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "stack.tif.spss"


def reopen(folder, identity=IDENTITY):
    with Project.open(folder, identity=identity) as project:
        return project


def save(folder, state=STATE):
    with Project.open(folder, identity=IDENTITY, source="/images/stack.tif") as project:
        return project.save(state)


# Saving and restoring ----------------------------------------------------------------------------


def test_what_is_saved_comes_back(folder):
    assert set(save(folder)) == set(ALL_FILES)
    project = reopen(folder)
    assert project.state == STATE
    assert project.warnings == ()
    assert project.unreadable == frozenset()


def test_opening_a_new_project_writes_nothing(folder):
    with Project.open(folder, identity=IDENTITY) as project:
        assert project.state == ProjectState()
        project.note_action("fraction")
    assert not folder.exists()


@pytest.mark.parametrize(
    ("change", "files"),
    [
        ({"settings": {"preset": "paper"}}, ("project.json",)),
        ({"table_texts": {}}, ("project.json",)),
        ({"annotations": ANNOTATIONS.replace(keypoints=())}, ("keypoints.csv",)),
        ({"annotations": ANNOTATIONS.replace(proportions=())}, ("proportions.csv",)),
        ({"annotations": ANNOTATIONS.replace(grids=(GRID.with_class(1, 0),))}, ("grid.csv",)),
        ({"check": (CHECK[0],)}, ("check.csv",)),
        ({}, ()),
    ],
)
def test_only_what_changed_is_written(folder, change, files):
    state = ProjectState(**{**vars(STATE), **change})
    with Project.open(folder, identity=IDENTITY) as project:
        project.save(STATE)
        before = {name: (folder / name).stat().st_ino for name in ALL_FILES}
        assert project.save(state) == files
        after = {name: (folder / name).stat().st_ino for name in ALL_FILES}
    assert {name for name in ALL_FILES if before[name] != after[name]} == set(files)
    assert reopen(folder).state == state


def test_only_what_changed_is_written_after_reopening(folder):
    save(folder)
    with Project.open(folder, identity=IDENTITY, source="/images/stack.tif") as project:
        assert project.save(project.state) == ()


def test_renamed_class_is_renamed_in_all_files(folder):
    save(folder)
    classes = (CLASSES[0], ClassStyle("mitochondria", "#E69F00", "W"), CLASSES[2])
    names = ("background", "mitochondria", "outside")
    annotations = Annotations(
        names, ANNOTATIONS.proportions, ANNOTATIONS.keypoints, ANNOTATIONS.grids
    )
    save(folder, ProjectState(classes, annotations))
    assert reopen(folder).state.annotations == annotations


def test_state_refuses_annotations_of_other_classes():
    with pytest.raises(ValueError, match="classes"):
        ProjectState(CLASSES[:2], ANNOTATIONS)


def test_tables_edited_in_a_spreadsheet_are_read(folder):
    save(folder)
    path = folder / "proportions.csv"
    path.write_text(path.read_text().replace("0.06", "7%"))
    assert reopen(folder).state.annotations.proportions[0].fractions[1] == 0.07


# The right image ---------------------------------------------------------------------------------


def test_annotations_are_never_restored_onto_another_image(folder):
    save(folder)
    with pytest.raises(InputError, match=r"belongs to another image \(/images/stack.tif\)"):
        Project.open(folder, identity="f" * 16)
    assert reopen(folder).state == STATE


def test_tables_that_do_not_say_whose_they_are_are_refused(folder):
    folder.mkdir()
    (folder / "keypoints.csv").write_text("slice,y,x,class\n0,1,1,mito\n")
    with pytest.raises(InputError, match=r"no project\.json"):
        Project.open(folder, identity=IDENTITY)


def test_newer_format_asks_for_an_update(folder):
    save(folder)
    path = folder / "project.json"
    path.write_text(path.read_text().replace('"version": 1', '"version": 99', 1))
    with pytest.raises(InputError, match="update napari-spss"):
        Project.open(folder, identity=IDENTITY)
    assert not (folder / ".lock").exists()


# Crashes and damage ------------------------------------------------------------------------------


def test_last_save_survives_a_killed_process(folder):
    code = f"""
import os, sys
sys.path.insert(0, {os.fspath(Path(__file__).parent)!r})
from napari_spss.core.projects import Project, ProjectState
from napari_spss.core.annotations import ClassStyle
project = Project.open({os.fspath(folder)!r}, identity={IDENTITY!r})
project.save(ProjectState((ClassStyle("background", "#999999"), ClassStyle("er", "#000000"))))
os._exit(9)
"""
    done = subprocess.run([sys.executable, "-c", code], timeout=60)
    assert done.returncode == 9
    assert reopen(folder).state.names == ("background", "er")


def test_half_written_files_are_removed(folder):
    save(folder)
    torn, mine = folder / f".keypoints.csv.{'0a' * 16}.tmp", folder / ".mine.tmp"
    for path in (torn, mine):
        path.write_text("slice,y")
    assert reopen(folder).state == STATE
    assert not torn.exists()
    assert mine.exists()


def test_damaged_table_is_kept_aside_and_the_rest_restored(folder):
    save(folder)
    (folder / "keypoints.csv").write_text("slice,y,x,class\n0,here,1,mito\n")
    for _ in range(2):
        project = reopen(folder)
        assert project.state.annotations == ANNOTATIONS.replace(keypoints=())
        assert "'here'" in project.warnings[0]
        assert project.unreadable == {"keypoints"}
    save(folder, STATE)
    kept = [path.name for path in folder.iterdir() if "unreadable" in path.name]
    assert kept == ["keypoints.unreadable-1.csv"]
    assert "here" in (folder / kept[0]).read_text()
    assert reopen(folder).state == STATE


DAMAGE = {
    "keypoints.csv": ("slice,y,x,class\n0,here,1,mito\n1,5,6,mito\n2,7,8,nobody\n", "keypoints"),
    "proportions.csv": ("slice,mito,why\n1,6%,x\n2,much,x\n", "proportions"),
    "grid.csv": (
        "slice,spacing_px,offset_y,offset_x,y,x,class,status\n"
        "1,8,1,2,1,2,mito,done\n1,8,1,2,9,2,mito,done\n1,8,1,2,9,?,mito,done\n",
        "grids",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_can_be_read_of_a_damaged_table_is_restored_and_the_rest_kept_and_told(folder, name):
    text, part = DAMAGE[name]
    save(folder)
    (folder / name).write_text(text)
    project = reopen(folder)
    assert project.unreadable == {part}
    assert f"kept as {Path(name).stem}.unreadable-1.csv" in project.warnings[0]
    assert (folder / f"{Path(name).stem}.unreadable-1.csv").read_text() == text
    found = project.state.annotations
    expected = {
        "keypoints": (Keypoint(1, 5.0, 6.0, 1),),
        "proportions": (Proportion(Region(1), (None, 0.06, None)),),
        "grids": (CountingGrid(1, 8.0, 1.0, 2.0, [1, 9], [2, 2], [1, 1], is_done=True),),
    }
    assert getattr(found, part) == expected[part]
    others = {"keypoints", "proportions", "grids"} - {part}
    assert all(getattr(found, one) == getattr(ANNOTATIONS, one) for one in others)


def test_keypoints_of_an_older_version_on_one_pixel_come_back_as_the_last_of_them(folder):
    save(folder)
    path = folder / "keypoints.csv"
    path.write_text("slice,y,x,class\n0,5,5,mito\n0,9,9,mito\n0,5.1,5,background\n")
    project = reopen(folder)
    assert project.state.annotations.keypoints == (Keypoint(0, 9, 9, 1), Keypoint(0, 5.1, 5, 0))
    assert "lies on the same pixel as the 'mito' of line 2" in project.warnings[0]


def test_whatever_looks_like_a_unit_or_a_length_is_read_as_it_was_written(folder):
    classes = (CLASSES[0], ClassStyle("share (%)", "#E69F00"))
    said = Annotations(
        ("background", "share (%)"),
        (Proportion(Region(0), (None, 0.005)), Proportion(Region(1), (0.25, 0.75))),
        (Keypoint(0, 0.2, 0.1, 1),),
    )
    save(folder, ProjectState(classes, said))
    project = reopen(folder)
    assert project.warnings == ()
    assert project.state.annotations.proportions[0].fractions[1] == 0.005
    assert project.state.annotations.proportions[1] == said.proportions[1]
    assert project.state.annotations.keypoints == said.keypoints


def test_fractions_that_cannot_be_true_are_told_and_come_back_all_the_same(folder):
    said = ANNOTATIONS.replace(proportions=[Proportion(Region(0), (0.1, 0.7, 0.0))])
    save(folder, ProjectState(CLASSES, said))
    project = reopen(folder)
    assert project.state.annotations == said
    assert "sum to 0.8" in project.warnings[0]


@pytest.mark.parametrize("text", ["", "{", '{"version": 1}', "[]", '{"identity": 3}'])
def test_damaged_record_is_refused_with_a_remedy(folder, text):
    save(folder)
    (folder / "project.json").write_text(text)
    with pytest.raises(InputError, match=r"is damaged .*Choose another project folder"):
        Project.open(folder, identity=IDENTITY)
    assert (folder / "project.json").read_text() == text


@given(st.text(max_size=30))
def test_any_text_and_setting_survives(text):
    state = ProjectState(CLASSES, None, {"note": text}, {"cells": [text]})
    record = state.record(identity=IDENTITY, source=text)
    assert type(record).model_validate_json(record.model_dump_json()) == record


def test_an_image_whose_name_is_no_text_has_its_annotations_saved(folder):
    with Project.open(folder, identity=IDENTITY, source="/images/Gr\udcf6.tif") as project:
        project.save(STATE)  # Latin-1 on Linux
    assert reopen(folder).state == STATE


# Locks -------------------------------------------------------------------------------------------


def test_project_open_elsewhere_is_locked(folder):
    save(folder)
    with Project.open(folder, identity=IDENTITY) as first:
        with pytest.raises(FolderLocked, match="in use by this program since"):
            Project.open(folder, identity=IDENTITY)
        first.save(STATE)
    assert reopen(folder).state == STATE


def test_project_whose_lock_was_removed_is_not_overwritten(folder):
    save(folder)
    with Project.open(folder, identity=IDENTITY) as first:
        (folder / ".lock").unlink()
        with Project.open(folder, identity=IDENTITY) as second:
            with pytest.raises(FolderUnusable, match="its lock was removed"):
                first.save(ProjectState(CLASSES))
            second.save(STATE)
        with pytest.raises(FolderUnusable, match="its lock was removed"):
            first.save(ProjectState(CLASSES))
        assert first.state == ProjectState(CLASSES)
    assert reopen(folder).state == STATE


def test_two_new_projects_of_one_image_do_not_overwrite_each_other(folder):
    first = Project.open(folder, identity=IDENTITY)
    second = Project.open(folder, identity=IDENTITY)
    first.save(STATE)
    with pytest.raises(FolderLocked):
        second.save(ProjectState(CLASSES))
    first.close()
    with pytest.raises(FolderUnusable, match="made a project in it meanwhile"):
        second.save(ProjectState(CLASSES))
    second.close()
    assert reopen(folder).state == STATE


def test_close_is_harmless_twice_and_leaves_no_lock(folder):
    project = Project.open(folder, identity=IDENTITY)
    project.save(STATE)
    project.close()
    project.close()
    assert sorted(path.name for path in folder.iterdir()) == sorted(ALL_FILES)


# Folders that cannot be used ---------------------------------------------------------------------


def test_vanished_folder_keeps_annotations_in_memory_and_offers_another(folder):
    with Project.open(folder, identity=IDENTITY, source="/images/stack.tif") as project:
        project.save(ProjectState(CLASSES))
        shutil.rmtree(folder)
        with pytest.raises(
            FolderUnusable, match=r"it is gone.*annotations are in memory"
        ) as caught:
            project.save(STATE)
        assert project.state == STATE
        assert not folder.exists()
        project.note_action("fraction")
        project.move_to(caught.value.fallback)
        assert project.folder == caught.value.fallback
        project.save(STATE)
        assert logged(project.folder) == ["fraction"]
    assert reopen(caught.value.fallback).state == STATE


def logged(folder):
    return [action.kind for action in read_actions(folder / "log.jsonl")]


def test_file_that_cannot_be_replaced_is_told_and_written_later(folder):
    with Project.open(folder, identity=IDENTITY) as project:
        project.save(ProjectState(CLASSES))
        blocker = folder / "keypoints.csv"
        blocker.mkdir()
        with pytest.raises(FolderUnusable, match="cannot be written"):
            project.save(STATE)
        blocker.rmdir()
        assert "keypoints.csv" in project.save(STATE)
    assert reopen(folder).state == STATE


@pytest.mark.parametrize("name", ALL_FILES)
@pytest.mark.parametrize("before", [None, ProjectState(CLASSES[:2])])
def test_file_whose_save_failed_is_written_by_the_next(folder, monkeypatch, name, before):
    with Project.open(folder, identity=IDENTITY) as project:
        if before is not None:
            project.save(before)
        failures = fail_once(monkeypatch, name)
        with pytest.raises(FolderUnusable, match="No space left on device"):
            project.save(STATE)
        assert failures
        assert name in project.save(STATE)
    assert reopen(folder).state == STATE


@pytest.mark.parametrize("name", ALL_FILES)
def test_failed_save_is_not_forgotten_when_the_change_is_taken_back(folder, monkeypatch, name):
    with Project.open(folder, identity=IDENTITY) as project:
        project.save(STATE)
        fail_once(monkeypatch, name)
        other = ANNOTATIONS.replace(proportions=(), keypoints=(), grids=())
        with pytest.raises(FolderUnusable):
            project.save(ProjectState(CLASSES, other, {"preset": "paper"}))
        project.save(STATE)
    assert reopen(folder).state == STATE


def test_painted_slice_whose_save_failed_is_written_by_the_next(folder, monkeypatch):
    painted = {z: np.full((4, 6), z + 1, np.uint8) for z in range(3)}
    with Project.open(folder, identity=IDENTITY) as project:
        project.save(STATE)
        project.save_painted({0: painted[0]})
        fail_once(monkeypatch, "slice_00001.tif")
        with pytest.raises(FolderUnusable, match="No space left on device"):
            project.save_painted({0: None, 1: painted[1], 2: painted[2]})
        assert project.save_painted({}) == ("painted/slice_00001.tif", "painted/slice_00002.tif")
    with Project.open(folder, identity=IDENTITY) as project:
        assert {z: a.max() for z, a in project.read_painted().items()} == {1: 2, 2: 3}


def test_painted_slices_that_could_not_be_saved_move_along(folder, tmp_path):
    painted = {z: np.full((4, 6), z + 1, np.uint8) for z in range(2)}
    with Project.open(folder, identity=IDENTITY) as project:
        project.save(STATE)
        project.save_painted({0: painted[0]})
        (folder / ".lock").unlink()  # another program had it open, and has closed it
        with pytest.raises(FolderUnusable):
            project.save_painted({1: painted[1]})
        project.move_to(tmp_path / "elsewhere")
        assert sorted(project.read_painted()) == [0, 1]


def test_folder_that_was_emptied_is_filled_again(folder):
    with Project.open(folder, identity=IDENTITY) as project:
        project.save(STATE)
        for name in ALL_FILES:
            (folder / name).unlink()
        project.save(ProjectState(CLASSES, ANNOTATIONS, {"preset": "paper"}))
        (folder / "keypoints.csv").unlink()
        assert project.save(project.state) == ("keypoints.csv",)
    assert reopen(folder).state.annotations == ANNOTATIONS


@pytest.mark.parametrize("after", [*ALL_FILES[:-1], "project.json"])
def test_crash_between_two_files_leaves_a_project_that_opens(folder, monkeypatch, after):
    replace = os.replace

    class Crash(Exception):
        """Stands for a process that is killed: nothing of ours handles it."""

    def stop(source, target):
        replace(source, target)
        if Path(target).name == after:
            raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stop)
        with Project.open(folder, identity=IDENTITY) as project, pytest.raises(Crash):
            project.save(STATE)
    project = reopen(folder)
    assert project.warnings == ()
    assert project.state.classes == CLASSES
    with Project.open(folder, identity=IDENTITY) as project:
        project.save(STATE)
    assert reopen(folder).state == STATE


def deny_lock(monkeypatch):
    """Act as a folder that may not be written, which nothing is to the user root."""

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(FolderLock, "acquire", refuse)


def test_read_only_project_is_shown_and_saved_elsewhere(folder, monkeypatch):
    save(folder)
    with monkeypatch.context() as patch:
        deny_lock(patch)
        project = Project.open(folder, identity=IDENTITY, source="/images/stack.tif")
        assert "Permission denied" in project.warnings[0]
        assert project.state == STATE
        assert not project.is_writable
        with pytest.raises(FolderUnusable) as caught:
            project.save(ProjectState(CLASSES))
    project.move_to(caught.value.fallback)
    project.close()
    assert reopen(project.folder).state == ProjectState(CLASSES, Annotations(NAMES))
    assert reopen(folder).state == STATE


def test_new_project_in_a_read_only_place_is_told(tmp_path, monkeypatch):
    (tmp_path / "read only").mkdir()
    project = Project.open(tmp_path / "read only" / "x.spss", identity=IDENTITY)
    deny_lock(monkeypatch)
    with pytest.raises(FolderUnusable, match="Permission denied"):
        project.save(STATE)
    assert project.state == STATE


def test_file_in_the_place_of_the_folder_is_told(folder):
    folder.write_text("")
    with pytest.raises(FolderUnusable, match="not a folder"):
        Project.open(folder, identity=IDENTITY)


def test_move_that_fails_leaves_the_project_where_it_was(folder, tmp_path):
    save(tmp_path / "taken")
    blocked = tmp_path / "file"
    blocked.write_text("")
    with Project.open(folder, identity=IDENTITY) as project:
        project.save(STATE)
        with pytest.raises(InputError, match="already holds a project"):
            project.move_to(tmp_path / "taken")
        with pytest.raises(FolderUnusable):
            project.move_to(blocked)
        assert project.folder == folder
        project.save(ProjectState(CLASSES))


@pytest.mark.parametrize("name", ["proportions.csv", "log.jsonl", "painted"])
def test_a_project_replaces_nothing_of_others(folder, tmp_path, name):
    taken = tmp_path / "thesis"
    taken.mkdir()
    (taken / name).write_text("mine")
    with Project.open(folder, identity=IDENTITY) as project:
        project.save(STATE)
        with pytest.raises(FolderUnusable, match=f"{name} is there already"):
            project.move_to(taken)
        assert project.folder == folder
        project.save(STATE)
    new = Project.open(tmp_path / "new", identity=IDENTITY)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / name).write_text("mine")
    with pytest.raises(FolderUnusable, match=f"{name} is there already"):
        new.save(STATE)
    for place in (taken, tmp_path / "new"):
        assert (place / name).read_text() == "mine"
        assert [path.name for path in place.iterdir()] == [name]


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
@pytest.mark.parametrize("name", ["proportions.csv", "log.jsonl", "painted"])
def test_a_link_leads_out_of_no_project(folder, tmp_path, name):
    save(folder)
    (folder / name).exists() and (folder / name).rename(tmp_path / "outside")
    (folder / name).symlink_to(tmp_path / "outside")
    with pytest.raises(InputError, match=f"{name} is a link that leads out of"):
        Project.open(folder, identity=IDENTITY)


# Where a project is ------------------------------------------------------------------------------


def test_project_lies_beside_its_image(tmp_path):
    image = tmp_path / "stack.tif"
    image.write_bytes(b"")
    assert choose_folder(str(image), IDENTITY) == tmp_path / "stack.tif.spss"


def test_image_without_a_file_has_its_project_in_the_users_data_folder(data_home):
    assert choose_folder("array", IDENTITY) == data_home / "projects" / "array-01234567"


def test_project_that_had_to_move_is_found_again(tmp_path):
    image = tmp_path / "stack.tif"
    image.write_bytes(b"")
    save(tmp_path / "stack.tif.spss")
    os.utime(tmp_path / "stack.tif.spss" / "project.json", (1e9, 1e9))
    first = fallback_folder(str(image), IDENTITY, is_free=True)
    first.parent.mkdir(parents=True)
    save(first)
    assert choose_folder(str(image), IDENTITY) == first
    second = fallback_folder(str(image), IDENTITY, is_free=True)
    assert second.name == "stack.tif-01234567-2"
    save(second)
    os.utime(first / "project.json", (1e9, 1e9))
    assert choose_folder(str(image), IDENTITY) == second


def test_projects_are_sorted_by_their_last_saving(tmp_path):
    folders = [tmp_path / name for name in ("old", "none", "new")]
    for folder, when in zip(folders, (1e9, None, 2e9), strict=True):
        folder.mkdir()
        if when is not None:
            (folder / "project.json").touch()
            os.utime(folder / "project.json", (when, when))
    assert [folder.name for folder in last_annotated_first(folders)] == ["new", "old", "none"]


@pytest.mark.parametrize("what", ["keypoints.csv", "painted"])
def test_a_project_without_annotations_does_not_hide_one_that_has_some(tmp_path, what):
    folders = [tmp_path / name for name in ("annotated", "settings")]
    for folder, when in zip(folders, (1e9, 2e9), strict=True):
        folder.mkdir()
        (folder / "project.json").touch()
        os.utime(folder / "project.json", (when, when))
    (folders[0] / what).mkdir()
    assert last_annotated_first(folders) == tuple(folders)


# Painted labels ----------------------------------------------------------------------------------


def test_painted_labels_come_back_and_only_changed_slices_are_written(folder):
    labels = {z: np.full((4, 6), z + 1, dtype=np.uint16) for z in range(3)}
    with Project.open(folder, identity=IDENTITY) as project:
        assert len(project.save_painted(labels)) == 3
        changed = {**labels, 1: labels[1] * 2}
        assert project.save_painted(changed) == ("painted/slice_00001.tif",)
        project.save(STATE)
    with Project.open(folder, identity=IDENTITY) as project:
        found = project.read_painted()
        assert sorted(found) == [0, 1, 2]
        for z, array in found.items():
            np.testing.assert_array_equal(array, changed[z])
            assert array.dtype == np.uint16
        assert project.save_painted(found) == ()


def test_slice_that_was_painted_over_with_nothing_leaves_no_file(folder):
    with Project.open(folder, identity=IDENTITY) as project:
        project.save_painted({0: np.ones((2, 2), np.uint8), 1: np.ones((2, 2), np.uint8)})
        removed = project.save_painted({0: np.zeros((2, 2), np.uint8), 1: None, 7: None})
        assert removed == ("painted/slice_00000.tif", "painted/slice_00001.tif")
        assert project.read_painted() == {}


@pytest.mark.parametrize("damage", [b"", b"II*", b"II*\0\x08\0\0\0", b"slice"])
def test_damaged_painted_slice_becomes_a_warning(folder, damage):
    with Project.open(folder, identity=IDENTITY) as project:
        project.save_painted({z: np.ones((2, 2), np.uint8) for z in range(2)})
        (folder / "painted" / "slice_00001.tif").write_bytes(damage)
        assert list(project.read_painted()) == [0]
        assert "slice_00001.tif" in project.warnings[0]
        assert "It is kept as" in project.warnings[0]
        project.save_painted({1: np.ones((2, 2), np.uint8)})
        kept = folder / "painted" / "slice_00001.unreadable-1.tif"
        assert kept.read_bytes() == damage
        assert list(project.read_painted()) == [0, 1]


def test_no_flipped_byte_of_a_painted_slice_takes_the_others_from_view(folder):
    labels = np.zeros((12, 16), np.uint8)
    labels[2:5, 3:9] = 2
    with Project.open(folder, identity=IDENTITY) as project:
        project.save_painted({0: labels, 1: labels})
        path = folder / "painted" / "slice_00001.tif"
        whole = path.read_bytes()
        n_told = 0
        for place in range(len(whole)):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
            found = project.read_painted((2, 12, 16))
            np.testing.assert_array_equal(found[0], labels)
            assert all(one.shape == (12, 16) for one in found.values())
            n_told += 1 not in found
            assert len(project.warnings) == n_told
        assert n_told > len(whole) / 4


@pytest.mark.parametrize(("z", "shape"), [(0, (3, 2)), (2, (2, 2))])
def test_painted_labels_that_do_not_fit_the_image_are_kept_aside(folder, z, shape):
    with Project.open(folder, identity=IDENTITY) as project:
        project.save_painted({1: np.ones((2, 2), np.uint8), z: np.ones(shape, np.uint8)})
        assert list(project.read_painted((2, 2, 2))) == [1]
        assert f"slice_{z:05d}.unreadable-1.tif" in project.warnings[0]


# The log -----------------------------------------------------------------------------------------


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_action_takes_the_time_since_the_last_one_and_a_pause_counts_little():
    clock = Clock()
    log = ActionLog(clock=clock)
    for gap_s in (3, 2.5, 5000, -10):  # the first action has no other before it
        clock.now_s += gap_s
        log.note("fraction")
    assert [action.seconds for action in log.actions] == [0.0, 2.5, 60.0, 0.0]
    assert log.seconds() == 62.5


def test_log_goes_on_over_sessions(folder):
    clock = Clock()
    with Project.open(folder, identity=IDENTITY, clock=clock) as project:
        project.note_action("fraction", slice=2)
        project.save(STATE)
        clock.now_s += 6
        project.note_action("node", n_items=16)
    with Project.open(folder, identity=IDENTITY, clock=clock) as project:
        assert project.log.seconds() == 6
        assert [action.n_items for action in project.log.actions] == [1, 16]
        project.note_action("keypoint")
    lines = (folder / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["fraction", "node", "keypoint"]
    assert json.loads(lines[0])["slice"] == 2
    assert json.loads(lines[0])["time_s"] == 1000.0


def test_damaged_line_of_the_log_costs_no_other(folder):
    path = folder.with_suffix(".jsonl")
    log = ActionLog(clock=Clock())
    log.note("fraction")
    log.write(path)
    with path.open("ab") as stream:
        stream.write(b'\xff\xfe\n{"kind": "node", "time_s": 0, "seconds": Infinity}\n{"kind": "fra')
    log.note("keypoint")
    log.write(path)
    assert read_actions(path) == log.actions


def test_lost_log_does_not_disturb_saving(folder):
    with Project.open(folder, identity=IDENTITY) as project:
        project.save(STATE)
        (folder / "log.jsonl").mkdir()
        project.note_action("fraction")
        assert project.save(ProjectState(CLASSES))
        (folder / "log.jsonl").rmdir()
        project.note_action("keypoint")
    assert logged(folder) == ["fraction", "keypoint"]


def test_proofread_objects_come_back_and_move_along(folder, tmp_path):
    numbers = np.array([[0, 70_000], [-1, 2]], np.int32)
    record = ObjectsRecord(class_name="mito", min_size="0.01um3", split=0.7, judged=(2, 70_000))
    other = ObjectsRecord(class_name="nuclei", judged=(3,), part=2)
    state = replace(STATE, objects=(record, other))
    with reopen(folder) as project:
        project.save(state)
        assert project.save_objects({1: {1: numbers}, 2: {1: numbers + 1}}) == (
            "objects/slice_00001.tif",
            "objects/2_slice_00001.tif",
        )
        assert project.save_objects({1: {1: numbers, 2: None}}) == ()
    with reopen(folder) as project:
        assert project.state.objects == (record, other)
        np.testing.assert_array_equal(project.read_objects((4, 2, 2))[1], numbers)
        project.move_to(tmp_path / "elsewhere")
    with reopen(tmp_path / "elsewhere") as project:
        assert project.state.objects == (record, other)
        np.testing.assert_array_equal(project.read_objects()[1], numbers)
        np.testing.assert_array_equal(project.read_objects(part=2)[1], numbers + 1)
        assert project.read_objects((4, 3, 3)) == {}
        assert "shape (2, 2)" in project.warnings[-1]
