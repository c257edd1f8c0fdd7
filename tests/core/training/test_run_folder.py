"""The folder of a run: what goes in comes out again, and nothing is overwritten."""

from __future__ import annotations

import errno
import io
import itertools
import json
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from blobs import CLASSES, blobs, counted, fractions, quick
from draining import drain

from napari_spss.core.annotations import Annotations, Classes, Keypoint
from napari_spss.core.base import (
    MODEL_RECORD,
    Agreement,
    CheckpointSaved,
    FinishReason,
    FolderLocked,
    InputError,
    Message,
    Preparing,
    Progress,
    RunError,
    RunFinished,
    RunStarted,
    Validated,
    event_from_json,
    event_to_json,
    preset,
)
from napari_spss.core.images import (
    IGNORE,
    LiveLabels,
    PaintedSlices,
    as_label_source,
    stack_from_array,
)
from napari_spss.core.training import (
    CONFIG,
    EVENTS,
    INPUTS,
    STATE_FILE,
    RunFolder,
    RunInputs,
    begin_recorded,
    iter_training,
    list_runs,
    load_model,
    loop,
    rescue_runs,
)
from napari_spss.core.training.checkpoint import MODEL_WEIGHTS
from napari_spss.core.training.run_folder import write_painted, write_update

INPUT = RunInputs("/data/em.tif", "abc123")
SETTINGS = preset("fast").with_overrides({"seed": 3, "optimisation.max_minutes": 2})
CLICK = Keypoint(1, 3.25, 4.5, 1)


@pytest.fixture(scope="module")
def annotations():
    _, truth = blobs()
    return Annotations(
        CLASSES,
        proportions=fractions(truth),
        grids=counted(truth, [0]),
        keypoints=(CLICK,),
    )


@pytest.fixture
def folder(tmp_path, annotations):
    run = RunFolder(tmp_path / "run")
    run.begin(SETTINGS, annotations, INPUT)
    return run


def test_what_goes_in_comes_out(folder, annotations):
    assert folder.holds_run
    assert folder.settings() == SETTINGS
    assert folder.annotations() == annotations
    assert folder.inputs() == INPUT
    record = json.loads((folder.path / INPUTS).read_text())
    assert set(record["versions"]) == {"napari-spss", "torch", "numpy"}
    assert {path.name for path in folder.path.iterdir()} == {
        CONFIG,
        INPUTS,
        "proportions.csv",
        "keypoints.csv",
        "grid.csv",
        ".begun.written.json",
    }


def test_all_that_is_known_of_the_inputs_comes_back(tmp_path, annotations):
    inputs = RunInputs("a.tif", "ff", "m.tif", "background=0,mito=255", "ZYX", (None, 0.004, 0.004))
    run = RunFolder(tmp_path)
    run.begin(SETTINGS, annotations, inputs)
    assert run.inputs() == inputs


def test_a_path_that_is_no_text_is_refused_before_anything_is_learned(tmp_path, annotations):
    inputs = replace(INPUT, image="/data/Gr\udcf6\udcdfe/a.tif")  # Latin-1 on Linux
    with pytest.raises(InputError, match=r"'/data/Gr\\udcf6\\udcdf'\.\.\. is not UTF-8 .* rename"):
        RunFolder(tmp_path).begin(SETTINGS, annotations, inputs)
    with pytest.raises(InputError, match=r"Gr\\udcf6'\.\.\. is not UTF-8"):
        RunFolder(tmp_path / "Gr\udcf6").begin(SETTINGS, annotations, INPUT)
    RunFolder(tmp_path).begin(SETTINGS, annotations, replace(INPUT, image="/data/Größe/a.tif"))
    assert RunFolder(tmp_path).inputs().image == "/data/Größe/a.tif"


def test_classes_come_back_where_none_is_stated(tmp_path):
    three = Annotations(("background", "a", "b"), keypoints=(replace(CLICK, class_index=2),))
    run = RunFolder(tmp_path)
    run.begin(SETTINGS, three, INPUT)
    assert run.annotations() == three


@pytest.mark.parametrize("name", [CONFIG, MODEL_WEIGHTS, MODEL_RECORD, STATE_FILE])
def test_a_folder_with_any_part_of_a_run_is_refused(tmp_path, annotations, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("old")
    run = RunFolder(tmp_path)
    assert run.holds_run
    with pytest.raises(InputError, match="already holds a run; choose another folder, or resume"):
        run.begin(SETTINGS, annotations, INPUT)
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_nothing_is_written_where_another_process_is_at_work(folder, annotations):
    code = (
        "import sys; from pathlib import Path; from napari_spss.core.base import hold_folder\n"
        "with hold_folder(Path(sys.argv[1])): print('held', flush=True); sys.stdin.readline()"
    )
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", code, str(folder.path)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout.readline() == "held\n"
        before = {path.name: path.read_bytes() for path in folder.path.iterdir()}
        for write in (
            lambda: folder.begin(SETTINGS, annotations, INPUT),
            lambda: folder.go_on(preset("fast"), annotations),
        ):
            with pytest.raises(FolderLocked, match=f"in use by process {other.pid}"):
                write()
        assert {path.name: path.read_bytes() for path in folder.path.iterdir()} == before
        other.communicate("\n")
    folder.go_on(preset("fast"))
    assert folder.settings() == preset("fast")


def test_an_empty_or_missing_folder_holds_no_run(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        run = RunFolder(path)
        assert not run.holds_run
        for read in (run.settings, run.inputs, run.annotations):
            with pytest.raises(InputError, match=r"holds no run \(config\.toml\); name the folder"):
                read()


def test_a_folder_that_cannot_be_written_is_named_and_holds_no_run(tmp_path, annotations):
    (tmp_path / "file").write_text("")
    run = RunFolder(tmp_path / "file")
    with pytest.raises(RunError, match=r"could not be written .*writable folder"):
        run.begin(SETTINGS, annotations, INPUT)
    assert not run.holds_run


def test_a_run_that_could_not_begin_can_be_begun_again(tmp_path, annotations, monkeypatch):
    from napari_spss.core.training import run_folder as runfolder

    def fail(*_):
        raise RunError("the disk is full")

    run = RunFolder(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(runfolder, "write_annotations", fail)
        with pytest.raises(RunError, match="disk is full"):
            run.begin(SETTINGS, annotations, INPUT)
    run.begin(SETTINGS, annotations, INPUT)
    assert run.annotations() == annotations


@pytest.mark.parametrize("content", ["{", "[1]", '{"image": "a.tif", "outside": 1}', None])
def test_damaged_inputs_are_named(folder, content):
    path = folder.path / INPUTS
    path.unlink()
    if content is not None:
        path.write_text(content)
    told = r"inputs\.json is (damaged|no file).*; restore it, or train again\."
    for read in (folder.inputs, folder.annotations):
        with pytest.raises(InputError, match=told):
            read()


def test_inputs_of_a_newer_version_are_read_as_far_as_known(folder):
    path = folder.path / INPUTS
    path.write_text(json.dumps(json.loads(path.read_text()) | {"weather": "fair"}))
    assert folder.inputs() == INPUT


# -- annotations that joined later -----------------------------------------------------------------


def with_click(annotations, x):
    return annotations.replace(keypoints=(CLICK, Keypoint(0, 1.0, float(x), 0)))


def test_the_newest_update_wins(folder, annotations):
    for step in (20, 5, 999_999, 1_000_000):
        write_update(folder.path, step, with_click(annotations, step % 64))
    assert folder.annotations() == with_click(annotations, 1_000_000 % 64)
    assert (folder.path / "updates" / "step_000020" / "grid.csv").is_file()


def test_a_second_update_at_a_step_replaces_the_first(folder, annotations):
    write_update(folder.path, 7, with_click(annotations, 3))
    write_update(folder.path, 7, annotations.replace(keypoints=()))
    assert folder.annotations() == annotations.replace(keypoints=())


def test_other_folders_are_no_updates(folder, annotations):
    write_update(folder.path, 7, with_click(annotations, 3))
    (folder.path / "updates" / "step_9 copy").mkdir()
    assert folder.annotations() == with_click(annotations, 3)


def test_an_update_that_cannot_be_written_is_named(folder, annotations):
    (folder.path / "updates").write_text("")
    with pytest.raises(RunError, match=r"step_000007 could not be written"):
        write_update(folder.path, 7, annotations)


# -- events ----------------------------------------------------------------------------------------

TOLD = [
    RunStarted("training", 2, "cpu", CLASSES),
    Progress(1, 2, 0.5, 0.5, {"total": 1.25}),
    Message("info", "µm\nand more"),
    RunFinished(FinishReason.completed, 2, 1.0),
]


def tell(events=TOLD, result="model"):
    yield from events
    return result


def recorded(run, folder, begin=lambda: None):
    return begin_recorded(run, folder, begin)


def read_events(path):
    return [event_from_json(line) for line in (path / EVENTS).read_text("utf-8").splitlines()]


def test_events_are_passed_on_and_recorded(tmp_path):
    assert drain(recorded(tell(), tmp_path)) == (TOLD, "model")
    assert read_events(tmp_path) == TOLD
    drain(recorded(tell(TOLD[:1]), tmp_path))
    assert read_events(tmp_path) == [*TOLD, TOLD[0]]


def test_nothing_is_written_before_the_data_prove_usable(tmp_path):
    folder, told = tmp_path / "run", []
    reading = Preparing("reading slice 1 of 2", 0, 2, 0.5)
    for event in recorded(tell([reading, *TOLD]), folder, folder.mkdir):
        told.append(event)
        assert folder.exists() is (event is not reading)
    assert told == [reading, *TOLD]
    assert read_events(folder) == TOLD


FINISHED = TOLD[-1]


@pytest.mark.parametrize(
    ("lines", "end"),
    [
        ([], None),
        (TOLD, FINISHED),
        (TOLD[:2], None),
        ([*TOLD, TOLD[0]], None),
        ([*TOLD, TOLD[0], '{"event": "RunFin'], None),
        ([*TOLD, '{"event": "RunFin'], FINISHED),
        ([*TOLD, "\udcff"], FINISHED),
        (
            [TOLD[0], '{"done":2,"elapsed_s":1.0,"reason":"completed","event":"RunFinished"}'],
            FINISHED,
        ),
        ([TOLD[0], Message("info", '{"event": "RunFinished"}')], None),
    ],
)
def test_how_a_run_ended_is_what_its_last_part_told(tmp_path, lines, end):
    texts = [line if isinstance(line, str) else event_to_json(line) for line in lines]
    text = "".join(f"{line}\n" for line in texts)
    (tmp_path / EVENTS).write_bytes(text.encode(errors="surrogateescape"))
    assert RunFolder(tmp_path).end() == end


def test_an_event_is_on_disk_before_it_is_passed_on(tmp_path):
    run = recorded(tell(), tmp_path)
    for n, _ in enumerate(run, start=1):
        assert read_events(tmp_path) == TOLD[:n]


def test_an_error_of_the_run_passes_as_it_is(tmp_path):
    def fail():
        yield TOLD[0]
        raise PermissionError("of the run, not of the record")

    with pytest.raises(PermissionError, match="of the run"):
        drain(recorded(fail(), tmp_path))
    assert read_events(tmp_path) == TOLD[:1]


def test_who_stops_listening_ends_the_run(tmp_path):
    ended = []

    def run():
        try:
            yield from TOLD
        finally:
            ended.append(True)

    events = recorded(run(), tmp_path)
    next(events)
    events.close()
    assert ended == [True]
    assert read_events(tmp_path) == TOLD[:1]


def test_a_record_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(RunError, match=r"events\.jsonl could not be written"):
        drain(recorded(tell(), tmp_path / "missing"))


def test_a_full_disk_ends_the_record_with_a_clear_error(tmp_path, monkeypatch):
    class FullDisk(io.RawIOBase):
        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", lambda *_, **__: FullDisk())
    with pytest.raises(RunError, match=r"the disk is full: .*events\.jsonl"):
        drain(recorded(tell(), tmp_path))


def test_versions_of_what_is_not_installed_are_told():
    script = """
import importlib.metadata as metadata
def missing(name):
    raise metadata.PackageNotFoundError(name)
metadata.version = missing
from napari_spss.core.base import versions
print(versions()["torch"])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "not installed", done.stderr


PAINTED = np.full((3, 4, 5), IGNORE, np.uint8)
PAINTED[1, 2, 3], PAINTED[1, 0, 0] = 0, 254


def test_painted_labels_are_stored_one_up_and_only_where_there_are_any(tmp_path):
    write_painted(tmp_path, as_label_source(PAINTED))
    labels, problems = PaintedSlices(tmp_path / "painted").read()
    assert not problems
    assert list(labels) == [1]
    assert (labels[1][2, 3], labels[1][0, 0], np.count_nonzero(labels[1])) == (1, 255, 2)


def test_an_update_holds_what_is_painted_then(tmp_path):
    write_update(tmp_path, 7, Annotations(CLASSES), painted=as_label_source(PAINTED))
    labels, _ = PaintedSlices(tmp_path / "updates" / "step_000007" / "painted").read()
    assert list(labels) == [1]


def test_live_labels_read_what_they_follow():
    live = LiveLabels()
    assert live.n_slices == 0
    with pytest.raises(InputError, match="nothing is labelled"):
        live.read(0)
    live.follow(as_label_source(PAINTED))
    assert (live.n_slices, live.shape_of(1)) == (3, (4, 5))
    assert live.read(1)[2, 3] == 0
    assert live.read(1, (2, 3, 3, 5)).tolist() == [[0, IGNORE]]
    live.follow(None)
    assert live.n_slices == 0
    assert (live.read(1) == IGNORE).all(), "a read that was under way still has its size"


# -- a list of runs --------------------------------------------------------------------------------


AGREED = Agreement(64, 0.75, (0.9, 0.1), 0.5)


def with_scores(run):
    """Events of a run, and before the end what is told of its model."""
    for event in run:
        if isinstance(event, RunFinished):
            yield from (Validated(1, 0.5, True), Validated(2, 0.75, False), AGREED)
        yield event


@pytest.fixture
def runs(tmp_path, annotations):
    """Folder with a run that ended, an older one that told nothing, and what is no run."""
    stack, _ = blobs()
    for name in ("old", "new"):
        path = tmp_path / name
        settings = quick(optimisation__max_steps=2)
        run = iter_training(stack, annotations, settings, run_dir=path, device="cpu")
        begin = partial(RunFolder(path).begin, settings, annotations, INPUT)
        drain(recorded(with_scores(run), path, begin))
    record = json.loads((tmp_path / "old" / INPUTS).read_text())
    record["began"] = "2001-09-09T01:46:40+00:00"
    (tmp_path / "old" / INPUTS).write_text(json.dumps(record))
    (tmp_path / "old" / EVENTS).unlink()
    RunFolder(tmp_path / "no model yet").begin(SETTINGS, annotations, INPUT)
    (tmp_path / "file").touch()
    return tmp_path


def test_runs_are_listed_with_what_they_learned_from_and_what_came_of_it(runs):
    new, old = list_runs(runs)
    assert (new.path, old.path) == (runs / "new", runs / "old")
    assert new.model.n_steps == 2
    assert new.model.classes == CLASSES
    n_hits = RunFolder(new.path).annotations().grids[0].judged_counts(2)[1]
    stated = "3 fractions (1 replaced by counts), 1 keypoint"
    assert new.learned_from == f"1 grid (64 nodes, {n_hits} hits), {stated}"
    assert new.end is not None
    assert new.end.reason is FinishReason.completed
    assert new.agreement == AGREED
    assert new.validation_loss == 0.5
    assert abs(new.began.timestamp() - time.time()) < 3600
    assert old.began.timestamp() == 1e9
    assert (old.end, old.agreement, old.validation_loss) == (None, None, None)


def test_a_run_that_was_killed_has_the_model_of_its_checkpoint(runs, annotations, monkeypatch):
    grey, _ = blobs()
    pixels = np.stack([np.repeat(grey.read(z), 2, axis=0) for z in range(3)])
    stack = stack_from_array(pixels, axes="ZCYX")
    monkeypatch.setattr(loop, "_CHECKPOINT_INTERVAL_S", 0.0)
    path, settings = runs / "killed", quick(optimisation__max_steps=9)
    run = iter_training(
        stack, annotations, settings, run_dir=path, device="cpu", clock=itertools.count().__next__
    )
    begin = partial(RunFolder(path).begin, settings, annotations, INPUT)
    events = recorded(run, path, begin)
    step = next(one.step for one in events if isinstance(one, CheckpointSaved) and one.step > 2)
    assert rescue_runs(runs) == ()
    assert "killed" not in [one.path.name for one in list_runs(runs)]  # it is at work
    events.close()
    assert RunFolder(path).is_interrupted
    rescue_runs(runs)
    newest = next(one for one in list_runs(runs) if one.path == path)
    assert newest.is_interrupted
    assert newest.model.n_steps == step
    assert load_model(path).n_channels == 2
    assert RunFolder(path).n_steps_before() == 0
    drain(
        recorded(
            iter_training(stack, annotations, settings, run_dir=path, resume=True, device="cpu"),
            path,
            partial(RunFolder(path).go_on, settings),
        )
    )
    assert not RunFolder(path).is_interrupted
    assert load_model(path).n_steps == 9
    (path / MODEL_WEIGHTS).unlink()
    (path / STATE_FILE).write_bytes(b"torn")
    (fault,) = rescue_runs(runs)
    assert fault.startswith("The training of killed was interrupted, and is lost: ")


def test_a_list_shows_what_joined_a_run(runs, annotations):
    path = runs / "new"
    write_update(path, 2, annotations.replace(proportions=()))
    write_painted(path / "updates" / "step_000002", as_label_source([np.eye(64, dtype=np.uint8)]))
    assert list_runs(runs)[0].learned_from.endswith(" hits), 1 keypoint, 1 painted slice")


def test_classes_of_a_copy_can_have_other_names(runs, annotations, tmp_path):
    run = RunFolder(runs / "new")
    write_update(run.path, 2, annotations.replace(keypoints=()))
    classes = Classes(("background", "vesicle"))
    run.copy_to(tmp_path / "copy", classes=classes)
    copy = RunFolder(tmp_path / "copy")
    assert [one.classes for one in copy.all_annotations()] == [classes, classes]
    assert [one.keypoints for one in copy.all_annotations()] == [annotations.keypoints, ()]
    assert load_model(copy.path).classes == classes
    assert load_model(copy.path).weights_digest == load_model(run.path).weights_digest
    assert copy.inputs() == run.inputs()
    assert load_model(run.path).classes == CLASSES


def test_a_damaged_run_is_no_reason_not_to_list_the_others(runs):
    (runs / "new" / INPUTS).write_text("{")
    assert [run.path.name for run in list_runs(runs)] == ["old"]
    assert list_runs(runs / "missing") == ()
