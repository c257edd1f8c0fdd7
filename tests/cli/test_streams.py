"""What reaches a terminal, and what becomes of a command whose output nobody reads any more."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
import tifffile

from napari_spss.cli import display
from napari_spss.cli.streams import shown
from napari_spss.core import analysis
from napari_spss.core.base import Message
from napari_spss.core.training import load_model

SPSS = (sys.executable, "-m", "napari_spss")
RED = "\x1b[31m"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain µm 東\n\ttab", "plain µm 東\n\ttab"),
        (f"{RED}red\x07\r\x9b2J\x7f", r"\x1b[31mred\x07\r\x9b2J\x7f"),
        ("gnp\u202eexe.txt", r"gnp\u202eexe.txt"),
        ("no text \udcff", r"no text \udcff"),
    ],
)
def test_what_steers_a_terminal_is_written_out(text, expected):
    assert shown(text) == expected


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """A mask whose name would colour the terminal."""
    monkeypatch.chdir(tmp_path)
    name = f"m{RED}ask.tif"
    tifffile.imwrite(name, np.eye(9, dtype=np.uint8)[None], photometric="minisblack")
    return name


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
def test_names_of_files_reach_the_terminal_as_text(spss, hostile):
    done = spss("measure", hostile, "--out", f"{hostile}.csv")
    assert done.code == 0
    assert r"written: m\x1b[31mask.tif.csv" in done.out
    for wrong in (
        ("measure", f"no{hostile}"),
        ("measure", hostile, "--classes", f"background,{RED}"),
        ("measure", hostile, f"--no{RED}"),
        (f"{RED}",),
        ("train", hostile, "--out", hostile),
    ):
        failed = spss(*wrong)
        assert failed.code == 2
        assert RED not in failed.err
        assert r"\x1b[31m" in failed.err


def test_warnings_and_logs_reach_the_terminal_as_text(spss, hostile, monkeypatch):
    measure = analysis.measure_masks

    def speak(masks, **options):
        warnings.warn(f"a {RED} warning", stacklevel=1)
        logging.getLogger("another.library").warning("a %s log", RED)
        return measure(masks, **options)

    monkeypatch.setattr(analysis, "measure_masks", speak)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # those of pytest
    done = spss("measure", hostile)
    assert r"warning: a \x1b[31m warning" in done.err
    assert r"a \x1b[31m log" in done.err
    assert RED not in done.err


def test_messages_above_the_bar_reach_the_terminal_as_text(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with display.event_display(is_jsonl=False) as show:
        show(Message("warning", f"a {RED}file"))
    assert r"a \x1b[31mfile" in capsys.readouterr().err


# -- readers that leave ----------------------------------------------------------------------------


def run_unread(*command, n_lines=0, is_error_unread=False):
    """Run a command whose reader leaves after some lines; return exit code and errors."""
    error = subprocess.STDOUT if is_error_unread else subprocess.PIPE
    with subprocess.Popen((*SPSS, *command), stdout=subprocess.PIPE, stderr=error) as process:
        for _ in range(n_lines):
            assert process.stdout.readline()
        process.stdout.close()
        err = b"" if is_error_unread else process.stderr.read()
        process.wait(timeout=120)
    return process.returncode, err.decode()


@pytest.mark.parametrize("is_error_unread", [False, True])
def test_a_training_goes_on_when_its_reader_leaves(truth, tiny, is_error_unread):
    code, err = run_unread(
        *("train", "image.tif", "--proportions", "proportions.csv", "--out", "run"),
        *("--events", "jsonl", *tiny),
        n_lines=1,
        is_error_unread=is_error_unread,
    )
    assert code == 0, err
    assert load_model("run").n_steps == 5
    if not is_error_unread:
        assert err.count("nobody reads standard output any more") == 1
        assert "model: " in err


def test_tables_are_written_when_the_reader_leaves(truth):
    code, err = run_unread("measure", "truth.tif", "--out", "table.csv")
    assert code == 0, err
    assert "nobody reads standard output" in err
    with open("table.csv", encoding="utf-8") as file:
        assert len(file.readlines()) > 3


def test_help_may_be_cut_short():
    code, err = run_unread("train", "--help")
    assert code == 0
    assert "Error" not in err
    assert "Exception" not in err


@pytest.mark.skipif(shutil.which("head") is None, reason="needs a shell's tools")
def test_a_pipe_into_head_ends_well(truth):
    command = f"{sys.executable} -m napari_spss evaluate truth.tif truth.tif | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1
    assert "rror" not in done.stderr
