"""Results replace nothing but their like, and are never a mixture of old and new."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from napari_spss.core.base import InputError, ResultFiles, RunError

NAMES = ("labels.tif", "table.csv", "maps")
FROM = {"image": "a", "model": "m"}


@pytest.fixture
def results(tmp_path):
    return ResultFiles(tmp_path / "out", "prediction", NAMES, FROM)


def write(results, text="new", names=NAMES, *, adds=False, then=lambda: None):
    with results.writing(adds=adds) as folder:
        for name in names:
            if name == "maps":
                (folder / name).mkdir()
                (folder / name / "0.tif").write_text(text)
            else:
                (folder / name).write_text(text)
        then()


def contents(folder):
    """Texts of the visible files, by path."""
    visible = [path for path in folder.rglob("[!.]*") if path.is_file()]
    paths = [path.relative_to(folder).as_posix() for path in visible]
    return {path: (folder / path).read_text() for path in paths if not path.startswith(".")}


def hidden(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


ALL_NEW = {"labels.tif": "new", "table.csv": "new", "maps/0.tif": "new"}
RECORD = [".prediction.written.json"]


def test_results_of_the_same_are_replaced_unasked_and_none_of_the_old_stays(results):
    write(results, "old")
    assert results.in_the_way() == {}
    write(results, "new", ["labels.tif"])
    assert contents(results.folder) == {"labels.tif": "new"}
    assert hidden(results.folder) == RECORD


def test_what_is_added_joins_the_others(results):
    write(results, "old", ["labels.tif", "table.csv"])
    write(results, "new", ["table.csv", "maps"], adds=True)
    assert contents(results.folder) == {
        "labels.tif": "old", "table.csv": "new", "maps/0.tif": "new",
    }  # fmt: skip
    write(results, "newer", ["labels.tif"])
    assert contents(results.folder) == {"labels.tif": "newer"}


@pytest.mark.parametrize("name", NAMES)
def test_what_others_wrote_is_never_replaced_unasked(results, name):
    path = results.folder / name
    path.parent.mkdir()
    path.write_text("mine")
    with pytest.raises(InputError, match=rf"{name} was not written by napari-spss; .*--overwrite"):
        write(results)
    assert contents(results.folder) == {name: "mine"}
    assert hidden(results.folder) == []
    write(replace(results, overwrite=True))
    assert contents(results.folder) == ALL_NEW


@pytest.mark.parametrize("edit", ["longer text", "NEW"])
def test_what_was_edited_since_is_not_replaced_unasked(results, edit):
    write(results)
    (results.folder / "table.csv").write_text(edit)
    with pytest.raises(InputError, match=r"table\.csv was changed since it was written"):
        write(results)
    assert contents(results.folder) == {**ALL_NEW, "table.csv": edit}


def test_a_change_at_the_end_of_a_large_file_is_seen(results):
    with results.writing() as folder:
        (folder / "labels.tif").write_bytes(bytes(40 << 20) + b"end")
    with (results.folder / "labels.tif").open("r+b") as file:
        file.seek(-3, os.SEEK_END)
        file.write(b"END")
    assert list(results.in_the_way()) == ["labels.tif"]


def test_results_that_were_copied_are_known_still(results, tmp_path):
    write(results)
    shutil.copytree(results.folder, tmp_path / "copy", copy_function=shutil.copyfile)
    write(replace(results, folder=tmp_path / "copy"), "newer")
    assert contents(tmp_path / "copy")["table.csv"] == "newer"


@pytest.mark.parametrize(
    ("made_from", "why"),
    [
        ({"image": "b", "model": "m"}, "was made from another image"),
        ({"image": "b", "model": "n"}, "was made from another image and another model"),
        (None, "was written before"),
    ],
)
def test_results_of_something_else_are_not_replaced_unasked(results, made_from, why):
    write(results, "old")
    other = replace(results, made_from=made_from)
    with pytest.raises(InputError, match=rf"labels\.tif {why};"):
        write(other)
    with pytest.raises(InputError, match=why):  # nor mixed with what has other names
        replace(other, names=("others.tif",)).check()
    write(replace(other, overwrite=True), "new", ["labels.tif"])
    assert contents(results.folder) == {"labels.tif": "new"}, "no others of the old ones"


def test_a_folder_of_others_is_not_removed_even_if_asked_for(results):
    (results.folder / "labels.tif").mkdir(parents=True)
    (results.folder / "labels.tif" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"labels\.tif .* is a folder; remove it"):
        write(replace(results, overwrite=True))
    write(replace(results, names=NAMES[1:]), "old", ["maps"])
    (results.folder / "maps" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"maps was changed since .* is a folder"):
        write(replace(results, names=NAMES[1:], overwrite=True))


def test_other_results_in_the_folder_do_not_matter(results):
    write(results)
    other = ResultFiles(results.folder, "other.csv", ("other.csv",), {"label image": "x"})
    write(other, "other", ["other.csv"])
    assert contents(results.folder) == {**ALL_NEW, "other.csv": "other"}
    assert results.in_the_way() == {}


def test_an_error_changes_nothing(results):
    write(results, "old")
    before = contents(results.folder)

    def fail():
        raise KeyError

    with pytest.raises(KeyError):
        write(results, then=fail)
    assert contents(results.folder) == before
    assert hidden(results.folder) == RECORD


def test_while_another_program_has_a_result_open_nothing_changes(results, monkeypatch):
    write(results, "old")
    before, rename = contents(results.folder), Path.rename

    def refuse(path, target):
        if path == results.folder / "table.csv":
            error = PermissionError(13, "used by another process")
            error.winerror = 32
            raise error
        return rename(path, target)

    with pytest.raises(RunError, match="close it in other programs, such as a spreadsheet, or"):
        write(results, then=lambda: monkeypatch.setattr(Path, "rename", refuse))
    assert contents(results.folder) == before
    assert hidden(results.folder) == RECORD
    with pytest.raises(RunError, match=r"table\.csv could not be written .*; close it"):
        write(results, then=lambda: pytest.fail("all the work was done"))
    assert contents(results.folder) == before


def test_a_file_that_comes_meanwhile_stays(results):
    path = results.folder / "table.csv"
    with pytest.raises(InputError, match=r"table\.csv was not written"):
        write(results, then=lambda: path.write_text("mine"))
    assert contents(results.folder) == {"table.csv": "mine"}


def test_results_are_done_while_nothing_of_them_or_of_what_made_them_has_changed(results):
    write(results)
    assert not results.are_done("fast")  # nobody said that they were complete
    with results.writing(adds=True, done_as="fast") as folder:
        (folder / "table.csv").write_text("last")
    assert results.are_done("fast")
    assert not results.are_done("slow")
    assert not replace(results, made_from={**FROM, "model": "n"}).are_done("fast")
    (results.folder / "labels.tif").unlink()
    assert not results.are_done("fast")


@pytest.mark.parametrize("record", ["", "{", '{"made_from": {}, "digests": {"a": 1}}', "[]"])
def test_a_damaged_record_lets_nothing_be_replaced(results, record):
    write(results)
    (results.folder / RECORD[0]).write_text(record)
    assert list(results.in_the_way()) == list(NAMES)


def test_a_record_speaks_for_its_own_folder_alone(results, tmp_path):
    write(results, "new", ["labels.tif"])
    outside = tmp_path / "labels.tif"
    shutil.copy(results.folder / "labels.tif", outside)
    record = results.folder / RECORD[0]
    for name in ("../labels.tif", ".."):
        record.write_text(record.read_text().replace('"labels.tif"', f'"{name}"'))
        write(replace(results, overwrite=True))
        assert outside.read_text() == "new"


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_link_is_replaced_itself_and_only_if_asked_for(results, tmp_path):
    target = tmp_path / "elsewhere.csv"
    target.write_text("mine")
    results.folder.mkdir()
    (results.folder / "table.csv").symlink_to(target)
    with pytest.raises(InputError, match=r"table\.csv was not written"):
        write(results)
    write(replace(results, overwrite=True))
    assert target.read_text() == "mine"
    assert not (results.folder / "table.csv").is_symlink()


def test_only_what_was_announced_can_be_written(results):
    with pytest.raises(ValueError, match=r"surprise\.csv"):
        write(results, names=["surprise.csv"])
    assert contents(results.folder) == {}


def test_two_that_write_at_once_leave_each_other_alone(results):
    def write_another():
        write(results, "second")
        assert contents(results.folder) == dict.fromkeys(ALL_NEW, "second")

    write(results, "first", then=write_another)
    assert contents(results.folder) == dict.fromkeys(ALL_NEW, "first")
    assert hidden(results.folder) == RECORD


def test_nobody_is_told_to_ask_for_what_cannot_be_asked_for(results):
    write(results, "old")
    other = replace(results, made_from={"image": "b"}, overwrite=None)
    with pytest.raises(InputError, match=r"another image; choose another place\.$"):
        other.check()


def test_a_file_in_place_of_the_folder_is_told(results):
    results.folder.write_text("")
    for folder in (results.folder, results.folder / "in it"):
        with pytest.raises(InputError, match=r"out is a file; choose another folder"):
            replace(results, folder=folder).check()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_told(results):
    results.folder.mkdir(mode=0o500)
    with pytest.raises(RunError, match="could not be written"):
        write(results)


# -- inputs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("out/labels.tif", "is read, and would be replaced"),
        ("out/./../out/labels.tif", "is read, and would be replaced"),
        ("out/maps/0.tif", "is read, and would be replaced"),
        ("link.tif", "is read, and would be replaced"),
        ("out", "would become part of the image"),
    ],
)
def test_an_input_is_never_an_output(results, tmp_path, source, why, overwrite):
    write(results, "old")
    (tmp_path / "link.tif").symlink_to(results.folder / "labels.tif")
    asked = replace(results, inputs=(tmp_path / source,), overwrite=overwrite)
    with pytest.raises(InputError, match=why):
        asked.check()
    with pytest.raises(InputError, match=why):
        write(asked)
    assert contents(results.folder)["labels.tif"] == "old"


def test_nothing_is_written_into_a_zarr_that_is_read_but_below_a_folder_of_images(tmp_path):
    for source, is_free in (("cells.zarr", False), ("cells", True)):
        folder = tmp_path / source / "results"
        results = ResultFiles(folder, "prediction", NAMES, inputs=(tmp_path / source,))
        if is_free:
            results.check()
        else:
            with pytest.raises(InputError, match="would become part of the image"):
                results.check()


def test_a_hidden_table_is_written_as_any_other(tmp_path):
    results = ResultFiles(tmp_path, ".t.csv", (".t.csv",), {})
    write(results, names=[".t.csv"])
    assert (tmp_path / ".t.csv").read_text() == "new"


def test_a_table_may_lie_beside_the_images_it_is_about(tmp_path):
    results = ResultFiles(tmp_path, "table.csv", ("table.csv",), {}, inputs=(tmp_path,))
    write(results, names=["table.csv"])
    assert contents(tmp_path) == {"table.csv": "new"}


# -- kills ---------------------------------------------------------------------------------------

_KILLED = """
import os, signal, sys
from pathlib import Path
from napari_spss.core.base import ResultFiles
steps, folder = int(sys.argv[1]), Path(sys.argv[2])
results = ResultFiles(folder, "prediction", ("labels.tif", "maps.tif", "table.csv"), {"image": "a"})

def step():
    global steps
    steps -= 1
    if steps < 0:
        os.kill(os.getpid(), signal.SIGKILL)

def counted(act):
    def wrapped(*args, **kwargs):
        step()
        return act(*args, **kwargs)
    return wrapped

with results.writing() as new:
    for name in results.names:
        (new / name).write_text("new")
    os.replace, Path.rename, Path.unlink = map(counted, (os.replace, Path.rename, Path.unlink))
step()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="such a kill is one of Unix")
@pytest.mark.parametrize("n_steps", range(20))
def test_a_kill_leaves_no_mixture_and_nothing_that_is_in_the_way(tmp_path, n_steps):
    names = ("labels.tif", "maps.tif", "table.csv")
    results = ResultFiles(tmp_path, "prediction", names, {"image": "a"})
    write(results, "old", names)
    command = [sys.executable, "-c", _KILLED, str(n_steps), str(tmp_path)]
    done = subprocess.run(command, timeout=60)
    assert done.returncode in (0, -signal.SIGKILL)
    assert len(set(contents(tmp_path).values())) <= 1, "old and new are mixed"
    assert results.in_the_way() == {}
    write(results, "newer", names)
    assert contents(tmp_path) == dict.fromkeys(names, "newer")
    assert hidden(tmp_path) == RECORD
