"""``predict --workers`` and ``join``: the same result by several processes, and after kills."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_spss.core.base import RunError, read_origin
from napari_spss.core.images import open_stack
from napari_spss.core.prediction import blocks
from napari_spss.core.training import load_model
from napari_spss.core.training.checkpoint import save_model
from napari_spss.core.training.corrections import Corrections

pytest.importorskip("daisy")
posix = pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
SPSS = (sys.executable, "-m", "napari_spss")
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
MARKS = ".prediction.*.partial/.job/done/[0-9]*"
SHAPE = (6, 2060, 96)  # two blocks a slice


@pytest.fixture(scope="module")
def case(spss, trained, tmp_path_factory):
    """Folder with ``run``, the image ``big.tif``, and ``one``: its results by one process."""
    folder = tmp_path_factory.mktemp("blocks")
    shutil.copytree(trained / "run", folder / "run")
    image = np.random.default_rng(0).integers(0, 255, SHAPE, np.uint8)
    tifffile.imwrite(folder / "big.tif", image, photometric="minisblack")
    options = ("--format", "zarr", "--threshold", "auto", "--uncertainty")
    assert spss(*command(folder, "one", *options)).code == 0
    return folder


def command(folder: Path, out: str, *options: str) -> tuple[str, ...]:
    places = (str(folder / "run"), str(folder / "big.tif"), "--out", str(folder / out))
    return ("predict", *places, "--device", "cpu", *options)


@pytest.fixture
def run(spss):
    """Predict, with this process as the server; return what was said."""

    def predict(folder: Path, out: str, *options: str) -> str:
        done = spss(*command(folder, out, *options))
        assert done.code == 0, done.err
        return done.err

    return predict


@pytest.fixture
def start():
    """Start a process group of its own, so that workers can be killed with it."""
    started = []

    def begin(*arguments: str, folder: Path | None = None) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ONE_THREAD,
            start_new_session=True, cwd=folder,
        )  # fmt: skip
        started.append(process)
        return process

    yield begin
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(process: subprocess.Popen[str], folder: Path, number: int) -> None:
    """Wait until so many blocks are done."""
    while len(marks_in(folder)) < number:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
            pytest.fail(process.communicate()[1])


def marks_in(folder: Path) -> set[int]:
    """Numbers of the blocks that are done."""
    return {int(path.name) for path in folder.glob(MARKS)}


def files_of(folder: Path) -> dict[str, bytes]:
    found = [path for path in folder.rglob("*") if path.is_file() and path.name[0] != "."]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def assert_same(one: Path, other: Path) -> None:
    ours, theirs = files_of(one), files_of(other)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_two_workers_give_what_one_process_gives(case, run):
    said = run(case, "two", "--threshold", "auto", "--uncertainty", "--workers", "2")
    assert f"completed: {SHAPE[0]} slices" in said
    assert_same(case / "two", case / "one")
    assert not list((case / "two").glob(".*.partial"))
    one, two = (read_origin(case / name / "labels.ome.zarr") for name in ("one", "two"))
    assert two == one
    assert one["flips"]  # for the uncertainty
    assert 0 < one["threshold"] < 1  # as it was matched


def test_maps_set_right_by_keypoints_and_smoothed_along_z_are_the_same_in_blocks(
    case, run, tmp_path
):
    stack = open_stack(case / "big.tif")
    shutil.copytree(case / "run", tmp_path / "run")
    shutil.copyfile(case / "big.tif", tmp_path / "big.tif")
    model = load_model(tmp_path / "run")
    rows = tuple((row, 3, 20, 1) for row in range(1000, 1030))  # on both sides of a seam
    set_right = Corrections(image=stack.identity(), n_keypoints=1, spans={2: rows})
    save_model(model.model_copy(update={"corrections": set_right}), tmp_path / "run")
    said = [
        run(tmp_path, "one", "--format", "zarr", "--smooth-z"),
        run(tmp_path, "blocks", "--workers", "1", "--smooth-z"),
    ]
    assert all("1 keypoint of this image did not take effect" in text for text in said)
    labels, plain = (
        open_stack(folder / "one" / "labels.ome.zarr").read(2, (1000, 3, 1030, 20))[0]
        for folder in (tmp_path, case)
    )
    assert labels.all()
    assert not plain.all()
    assert_same(tmp_path / "blocks", tmp_path / "one")
    assert read_origin(tmp_path / "blocks" / "labels.ome.zarr")["smooth_z"]


def test_padding_is_told_by_workers_too(case, spss, tmp_path):
    (tmp_path / "images").mkdir()
    for z, height in enumerate((64, 64, SHAPE[1])):  # in one block, and in two
        image = np.random.default_rng(0).integers(1, 255, (height, 96), np.uint8)
        image[:, : 24 * (z > 0)] = 0
        tifffile.imwrite(tmp_path / "images" / f"{z}.tif", image, photometric="minisblack")
    places = (case / "run", tmp_path / "images", "--out", tmp_path / "blocks")
    done = spss("predict", *places, "--device", "cpu", "--workers", "1")
    assert done.code == 0, done.err
    assert done.err.count("from an edge on") == 1
    assert "2 slices (1, 2) have one grey value" in done.err
    assert "in up to 25 % of the pixels" in done.err


@posix
def test_a_killed_prediction_goes_on_and_computes_no_finished_block_twice(case, start, run):
    options = ("--threshold", "auto", "--uncertainty", "--workers", "1")
    process = start(*SPSS, *command(case, "killed", *options))
    wait_for(process, case / "killed", 3)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not [path for path in (case / "killed").iterdir() if path.name[0] != "."]
    marks = marks_in(case / "killed")
    (store,) = (case / "killed").glob(".*.partial/maps.ome.zarr")
    before = {path.relative_to(store): path.stat().st_mtime_ns for path in shards_of(store, marks)}
    shards_of(store, {max(marks) + 1})[0].parent.mkdir(parents=True, exist_ok=True)
    shards_of(store, {max(marks) + 1})[0].with_suffix(".0f.partial").touch()  # as zarr writes
    said = run(case, "killed", *options)
    assert f"going on: {len(marks)} of {2 * SHAPE[0]} blocks are done" in said
    after = case / "killed" / "maps.ome.zarr"
    assert {path: (after / path).stat().st_mtime_ns for path in before} == before
    assert_same(case / "killed", case / "one")


def test_a_prediction_that_is_killed_while_it_is_measured_computes_no_block_again(
    case, run, spss, monkeypatch
):
    def die(*_, **__):
        raise KeyboardInterrupt

    options = ("--threshold", "auto", "--uncertainty", "--workers", "1")
    with monkeypatch.context() as patch:
        patch.setattr("napari_spss.core.prediction.files.write_fractions", die)
        assert spss(*command(case, "measured", *options)).code == 130
    assert not list((case / "measured").glob("*.csv"))
    monkeypatch.setattr("daisy.v2.run_blockwise", None)
    assert "going on: all blocks are done" in run(case, "measured", *options)
    ours, theirs = files_of(case / "measured"), files_of(case / "one")
    assert ours.keys() == theirs.keys()
    assert {name for name in ours if ours[name] != theirs[name]} <= {"next_slices.csv"}
    scores, known = (
        pd.read_csv(case / name / "next_slices.csv", index_col="slice")
        for name in ("measured", "one")
    )
    np.testing.assert_allclose(
        scores.sort_index().uncertainty, known.sort_index().uncertainty, atol=5e-3
    )


def shards_of(store: Path, marks: set[int]) -> list[Path]:
    """Shards of finished blocks at full resolution: first parts of all slices come first."""
    places = [(index % SHAPE[0], index // SHAPE[0]) for index in marks]
    return [store / "0" / "c" / "0" / str(z) / str(y) / "0" for z, y in places]


@posix
def test_machines_that_join_help_and_one_may_be_killed(case, start):
    options = ("--threshold", "auto", "--uncertainty", "--workers", "1", "--host", "127.0.0.1")
    server = start(*SPSS, *command(case, "joined", *options))
    helper, victim = (start(*SPSS, "join", str(case / "joined"), "--device", "cpu") for _ in "ab")
    wait_for(server, case / "joined", 4)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    out, err = helper.communicate(timeout=250)
    assert helper.returncode == 0, err
    assert "computed here" in out
    _, err = server.communicate(timeout=250)
    assert server.returncode == 0, err
    assert_same(case / "joined", case / "one")


@posix
def test_who_joins_many_images_helps_with_each(case, start, tmp_path):
    for name in ("a", "b"):
        shutil.copy(case / "big.tif", tmp_path / f"{name}.tif")
    out, run = tmp_path / "out", case / "run"
    helper = start(*SPSS, "join", str(out), "--device", "cpu", "--wait", "30")
    options = ("--workers", "1", "--host", "127.0.0.1", "--threshold", "auto", "--uncertainty")
    images = (str(tmp_path / "a.tif"), str(tmp_path / "b.tif"), "--out", str(out))
    server = start(*SPSS, "predict", str(run), *images, "--device", "cpu", *options)
    _, err = server.communicate(timeout=250)
    assert server.returncode == 0, err
    said, err = helper.communicate(timeout=250)
    assert helper.returncode == 0, err
    assert "no block is left" in said
    for name in ("a", "b"):
        assert_same(out / name, case / "one")


def test_who_joins_goes_on_where_one_of_many_images_failed(tmp_path, monkeypatch, spss):
    for name in ("a", "b"):
        (tmp_path / name / ".prediction.0.partial" / ".job").mkdir(parents=True)
    ends = [RunError("the prediction of a has ended")]

    def help_once(daisy, client, place, device):
        if place.parents[1].name == "a" and ends:
            raise ends.pop()
        return 3

    monkeypatch.setattr(blocks, "_client_of", lambda daisy, address: object())
    monkeypatch.setattr(blocks, "_help", help_once)
    assert blocks.join_prediction(tmp_path, wait_s=1) == 6  # a was begun again
    ends += [RunError("the prediction of a has ended")] * 99
    done = spss("join", tmp_path / "a", "--wait", "0")
    assert done.code == 1
    assert "the prediction of a has ended" in done.error


@posix
@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_who_joined_is_told_that_the_prediction_ended_before_all_was_done(
    case, start, spss, monkeypatch, tmp_path, how
):
    class Client:  # of a server that ends while it is asked for the next block
        connected = True

        def __init__(self, context):
            pass

        @contextlib.contextmanager
        def acquire_block(self):
            Client.connected = False
            if how == "killed":
                raise RuntimeError("Broken pipe (os error 32)")
            yield None

    server = start(*SPSS, *command(case, str(tmp_path), "--workers", "1"))
    wait_for(server, tmp_path, 1)
    os.killpg(server.pid, signal.SIGKILL)
    server.communicate()
    monkeypatch.setattr("daisy.v2.Client", Client)
    done = spss("join", tmp_path, "--device", "cpu")
    assert done.code == 1
    assert done.error.startswith("the prediction has ended before all blocks were done")


@posix
def test_logs_of_workers_lie_with_the_prediction_wherever_who_joins_works(case, start):
    places = (str(case / "run"), str(case / "big.tif"), "--out", "logged", "--device", "cpu")
    server = start(*SPSS, "predict", *places, "--workers", "1", folder=case)
    wait_for(server, case / "logged", 1)
    (address,) = (case / "logged").glob(".*/.job/address.json")
    assert json.loads(address.read_text())["logdir"] == str(address.parent / "logs")


def test_who_joins_passes_over_addresses_that_killed_servers_left(spss, tmp_path):
    place = tmp_path / ".prediction.0.partial" / ".job"
    place.mkdir(parents=True)
    context = {"task_id": "prediction", "port": "1", "worker_id": "-1", "hostname": "no.invalid"}
    for text in (json.dumps(context), "{"):
        (place / "address.json").write_text(text)
        done = spss("join", tmp_path, "--wait", "0")
        assert done.code == 2
        assert "no prediction in blocks goes on" in done.error


@posix
def test_interrupt_keeps_what_is_done(case, start):
    process = start(*SPSS, *command(case, "stopped", "--workers", "1"))
    wait_for(process, case / "stopped", 2)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    n_done = len(marks_in(case / "stopped"))
    assert f"{n_done} of {2 * SHAPE[0]} blocks are kept; the same command goes on" in err
    assert "Traceback" not in err
    assert not [path for path in (case / "stopped").iterdir() if path.name[0] != "."]


@posix
def test_what_a_worker_cannot_read_ends_all_and_is_told(case, start, run, tmp_path):
    (tmp_path / "run").symlink_to(case / "run")
    shutil.copy(case / "big.tif", tmp_path)
    process = start(*SPSS, *command(tmp_path, "out", "--workers", "1"))
    wait_for(process, tmp_path / "out", 1)
    os.utime(tmp_path / "big.tif", (0, 0))
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "blocks could not be predicted: " in line
    assert "has changed since it was opened" in line
    assert "the same command goes on" in line
    assert "Traceback" not in err
    assert "going on: " in run(tmp_path, "out", "--workers", "1")


def test_a_full_disk_is_told(case, tmp_path, monkeypatch, spss):
    def end_again_and_again(*_, **__):
        raise RuntimeError

    monkeypatch.setattr("daisy.v2.run_blockwise", end_again_and_again)
    free = shutil.disk_usage(tmp_path)
    for usage, told in ((free, "workers ended again and"), (free._replace(free=0), "disk is full")):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, usage=usage: usage)
        done = spss(*command(case, "full", "--workers", "1"))
        assert done.code == 1
        assert told in done.err


def test_unusable_options_are_refused(spss, trained, tmp_path, monkeypatch):
    def refused(*options):
        image = (trained / "run", trained / "image.tif", "--out", tmp_path / "out")
        done = spss("predict", *image, "--device", "cpu", *options)
        assert done.code == 2
        return done.err

    assert "--format tif cannot be written in blocks" in refused(
        "--workers", "2", "--format", "tif"
    )
    assert "0 workers compute nothing" in refused("--workers", "0")
    assert "'a..b' is the name of no machine" in refused("--host", "a..b")
    assert "names no GPUs" in refused("--gpus", "first")
    joined = spss("join", tmp_path, "--wait", "0")
    assert joined.code == 2
    assert "no prediction in blocks goes on" in joined.error
    monkeypatch.setitem(sys.modules, "daisy.v2", None)
    assert 'python -m pip install "napari-spss[workers]"' in refused("--workers", "2")
