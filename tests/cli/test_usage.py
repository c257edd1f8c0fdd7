"""Help, usage errors, and the one border where every error becomes a line and an exit code."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
import tifffile

from napari_spss.cli.problems import exit_code_of, plain_warnings
from napari_spss.core.base import CellProblem, Diverged, InputError, OutOfMemory, RunError
from napari_spss.core.images import StackLayout, StackWriter

CONTRACT = {
    "demo": "--out",
    "train": "--proportions --keypoints --grid --masks --classes --out --preset --object-diameter "
    "--device --max-minutes --seed --resume --set --events",
    "predict": "--out --format --threshold --device",
    "evaluate": "--classes --json",
    "measure": "--out",
    "simulate": "--protocol --out --slices --grid-size --frames --frame-size --frame-nodes "
    "--clicks-per-slice --crop-size --noise "
    "--bias --node-errors --seed --degrade",
}


@pytest.mark.parametrize("command", CONTRACT)
def test_help_names_every_option_and_gives_an_example(spss, command):
    done = spss(command, "--help")
    assert done.code == 0
    assert set(CONTRACT[command].split()) <= set(done.out.split())
    assert f"  napari-spss {command} " in done.out
    assert done.err == ""


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_without_a_command_the_commands_are_listed(spss, arguments):
    done = spss(*arguments)
    assert done.code == 0
    listed = done.out.partition("Commands:")[2]
    assert all(f"\n  {command} " in listed for command in CONTRACT)


@pytest.mark.parametrize(
    "command",
    [
        ("measure", "labels.tif", "--image", "labels.tif"),
        ("figure", "labels.tif", "--out", "figures", "--image", "labels.tif"),
        ("plan", "labels.tif", "--object-diameter", "20"),
        ("predict", "run", "labels.tif", "--out", "result"),
    ],
)
def test_labels_are_no_image(spss, trained, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    layout = StackLayout([(64, 64)] * 3, classes=("background", "disc"))
    with StackWriter("labels.tif", layout) as writer:
        for z in range(3):
            writer.write(z, np.eye(64, dtype=np.uint8))
    run = str(trained / "run")
    done = spss(*(run if one == "run" else one for one in command))
    assert done.code == 2
    assert "holds labels, not grey values; name the image itself" in done.err


def test_version(spss):
    import napari_spss

    assert spss("--version").out == f"napari-spss {napari_spss.__version__}\n"


def test_help_loads_nothing_heavy():
    code = """
import sys
from napari_spss.cli import main
main(["train", "--help"])
print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    heavy = {"torch", "numpy", "scipy", "skimage", "pandas", "napari", "qtpy", "magicgui"}
    assert not heavy & set(done.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("trian",), "trian"),
        (("train", "image.tif"), "--out"),
        (("train", "image.tif", "--out", "run", "--colour", "red"), "--colour"),
        (("train", "image.tif", "more.tif", "--out", "run"), "more.tif"),
        (("train", "image.tif", "--out", "run", "--max-minutes", "soon"), "--max-minutes"),
        (("predict", "run"), "IMAGE"),
        (("simulate", "masks", "--out", "dir"), "--protocol"),
    ],
)
def test_usage_error_is_one_line_that_points_to_the_help(spss, arguments, said):
    done = spss(*arguments)
    assert done.code == 2
    assert said in done.error
    assert done.error.endswith("--help.")


def test_a_name_that_is_no_text_is_refused(spss, monkeypatch):
    done = spss("measure", "Gr\udcf6.tif")  # Latin-1 on Linux
    said = "is not UTF-8; rename that file or folder.\n"
    assert (done.code, done.err) == (2, f"error: the name 'Gr\\udcf6.tif' {said}")
    monkeypatch.setattr("os.getcwd", lambda: "/data/Gr\udcf6")
    assert spss("measure", "labels.tif").err == f"error: the name '/data/Gr\\udcf6' {said}"


def test_traceback_is_shown_with_debug_only(spss):
    plain = spss("measure", "nowhere.tif")
    assert plain.code == 2
    assert plain.error == "nowhere.tif does not exist; check the path."
    for arguments in (("--debug", "measure", "nowhere.tif"), ("measure", "nowhere.tif", "--debug")):
        debugged = spss(*arguments)
        assert debugged.code == 2
        assert "Traceback" in debugged.err
        assert debugged.err.endswith("error: nowhere.tif does not exist; check the path.\n")


def test_unexpected_error_asks_for_a_report(spss, monkeypatch, tmp_path):
    def fail(*_, **__):
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr("napari_spss.core.images.written_labels.open_masks", fail)
    labels = tmp_path / "labels.tif"
    tifffile.imwrite(labels, np.zeros((2, 8, 8), np.uint8))
    done = spss("measure", str(labels))
    assert done.code == 1
    assert "ZeroDivisionError: by zero" in done.error
    assert "report" in done.error


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (InputError("a is 3;\n give 2."), 2, "error: a is 3; give 2.\n"),
        (RunError("the disk is full."), 1, "error: the disk is full.\n"),
        (Diverged("the loss is nan."), 1, "error: the loss is nan.\n"),
        (PermissionError(13, "Permission denied", "x.csv"), 1, "error: [Errno 13] Permission de"),
        (
            OutOfMemory("too large.", setting="sampling.batch_size", value=2),
            1,
            "error: too large. Try --set sampling.batch_size=2\n",
        ),
        (OutOfMemory("too large.", setting="map_dtype", value="uint8"), 1, "error: too large.\n"),
    ],
)
def test_exit_code_and_line_of_an_error(capsys, error, code, text):
    assert exit_code_of(error, has_debug=False) == code
    out, err = capsys.readouterr()
    assert err.startswith(text)
    assert out == ""


def test_several_problems_are_counted_and_listed(capsys):
    problems = [
        CellProblem("p.csv", row, "disc", f"{28 + row}", "is above 1", "write 0.3 or 30%")
        for row in range(2, 14)
    ]
    assert exit_code_of(InputError(problems=problems), has_debug=False) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error: 12 problems in the tables:"
    assert lines[1] == "p.csv, line 2, column 'disc': '30' is above 1; write 0.3 or 30%."
    assert lines[-1] == "... and 2 more."
    assert exit_code_of(InputError(problems=problems[:1]), has_debug=False) == 2
    assert capsys.readouterr().err == f"error: {problems[0]}\n"


def test_warning_is_a_plain_line(capsys):
    shown_before = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with plain_warnings(is_on=True):
            warnings.warn("a tag\nis odd", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == "warning: a tag is odd\n"
    assert warnings.showwarning is shown_before
