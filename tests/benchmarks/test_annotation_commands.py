"""Every command of the annotation study on tiny drawn images: from images to records and tables."""

from __future__ import annotations

import pytest
import records
from annotation import rows
from annotation.carrying import N_CLICKS, Experiment, carry_out, is_current, settings_of
from annotation.command import main, planned
from annotation.images import tiny_part
from annotation.picture import draw_example

from napari_spss.core.base import preset

pytestmark = pytest.mark.usefixtures("one_torch_thread")

KEYS = {
    "command", "data", "part", "row", "title", "seed", "budget_s", "is_oracle", "is_quick",
    "classes", "annotation", "annotator_s", "annotator", "plan", "iou", "f1", "mean_iou",
    "mean_iou_foreground", "accuracy", "found", "true", "is_constant", "rounds", "messages",
    "course", "n_steps", "reduction", "trained_s", "trained_cpu_s", "predicted_s", "train", "test",
    "threads", "device", "settings", "version", "commit", "data_hash",
}  # fmt: skip


@pytest.fixture
def run(tmp_path, capsys):
    def call(command, *words):
        main([command, "--quick", "--out", str(tmp_path), *words])
        return capsys.readouterr().out

    call.out = tmp_path / "quick"
    return call


def stored(folder):
    return {path.stem: records.read(path) for path in folder.glob("*.json")}


def test_the_study_from_images_to_a_table(run):
    names = [
        "masks", "fast", "corrected", "looked", "spread", "masks-bought", "paper-slices", "clicks",
        "grids", "paper-crops", "timed",
    ]  # fmt: skip
    shown = run("study", "--sets", "vnc", "--seeds", "0", "--rows", *names)
    found = stored(run.out / "study" / "vnc-tune")
    budgeted = {name if name in ("masks", "paper-crops") else f"{name}_300s" for name in names}
    assert set(found) == {f"{name}_0" for name in budgeted}
    for record in found.values():
        assert record.keys() >= KEYS
        assert len(record["iou"]) == 2
        assert record["train"] == [str(z) for z in range(12)]
        assert record["test"] == ["13", "14", "15"]
        assert sum(record["true"]) == pytest.approx(1, abs=1e-4)
    fast = found["fast_300s_0"]
    assert [one["annotator_s"] for one in fast["rounds"]] == [
        fast["annotator_s"] + 40,
        fast["annotator_s"] + 80,
    ]
    assert [one["n_steps"] for one in fast["rounds"]] == [5, 7]
    corrected = found["corrected_300s_0"]
    spent = [one["annotator_s"] for one in (corrected, *corrected["rounds"])]
    assert spent == [220, 260, 300], "the rounds take their seconds from the grids"
    assert corrected["annotator"]["n_grids"] == 3
    looked = found["looked_300s_0"]
    (after,) = looked["rounds"]
    assert [looked["annotator_s"], after["annotator_s"]] == [200, 296]
    assert looked["n_steps"] == after["n_steps"] == 3  # training begins anew
    assert "32 nodes looked at again" in after["annotation"]
    assert after["node_error"] != looked["settings"]["labels"]["node_error"]
    timed = found["timed_300s_0"]
    assert timed["course"][-1][2] == timed["n_steps"] == 3
    assert (timed["threads"], fast["threads"], fast["course"]) == (2, 1, None)
    assert "2 rounds of correction" in shown
    missing = "`spread-corrected`, `frames`, `forest`, `masks-long`, `fast-exact`, `timed-frames`"
    assert f"Not run: {missing}." in shown
    times = {p: p.stat().st_mtime_ns for p in run.out.rglob("*.json")}
    run("study", "--sets", "vnc", "--seeds", "0", "--rows", *names)
    assert times == {p: p.stat().st_mtime_ns for p in run.out.rglob("*.json")}


def test_three_classes_and_the_report_leave_one_rat_out(run):
    shown = run("study", "--sets", "axon", "--part", "report", "--rows", "masks", "fast")
    for rat in ("rat4", "rat6"):
        found = stored(run.out / "study" / f"axon-{rat}-report")
        assert set(found) == {"masks_0", "fast_300s_0"}
        for record in found.values():
            assert len(record["iou"]) == 3
            assert all(rat in name for name in record["test"])
            assert not any(rat in name for name in record["train"])
    assert "Axon and myelin: `fast` / all masks" in shown


def test_the_forest_learns_from_the_same_labels(run):
    pytest.importorskip("sklearn")
    run("study", "--seeds", "1", "--rows", "forest")
    for part, n_classes in (("vnc-tune", 2), ("axon-rat2-tune", 3)):
        record = stored(run.out / "study" / part)["forest_300s_1"]
        assert record.keys() >= KEYS
        assert len(record["class_weights"]) == n_classes
        assert record["mean_iou"] >= record["plain"]["mean_iou"]
        assert record["mean_iou"] > 0.5  # dark discs on a light ground are no riddle
    lines = (run.out / "scorings" / "vnc-tune.csv").read_text().splitlines()
    assert [line.split("_1")[1] for line in lines] == ["", " at the best threshold"]


def test_ablations_take_the_base_and_can_be_joined(run):
    names = ["rounds", "flips-at-test", "regions", "empty", "grids-16+steps-twice"]
    shown = run("ablations", "--rows", *names)
    found = stored(run.out / "ablations" / "vnc-tune")
    assert set(found) == {f"{name}_300s_0" for name in ["base", *names]}
    joined = found["grids-16+steps-twice_300s_0"]
    assert joined["annotator"]["n_grids"] == 12
    assert joined["title"] == "spread of nodes: 1024 on up to 16 slices; steps: twice as many"
    assert "`grids-16+steps-twice`" in shown
    assert "n_empty_ticks" in found["empty_300s_0"]["annotator"]


def test_robustness_on_an_empty_stack_and_other_hardships(run):
    run("robustness", "--rows", "empty-stack", "one-slice", "diameter-double")
    found = stored(run.out / "robustness" / "vnc-tune")
    assert found["empty-stack_300s_0"]["true"] == [1.0, 0.0]
    assert not found["empty-stack_300s_0"]["is_constant"]
    assert found["one-slice_300s_0"]["true"][1] > 0
    assert found["diameter-double_300s_0"]["settings"]["image"]["object_diameter_px"] == 80


def test_show_prints_tables_and_draws_curves(run):
    run("study", "--sets", "vnc", "--seeds", "0", "--rows", "clicks", "--budgets", "60", "150")
    shown = run("show")
    assert "| 60 |" in shown
    assert "| 150 |" in shown
    drawn = list((run.out / "figures").iterdir())
    assert [path.name for path in drawn] == ["curves_vnc-tune.png"]
    assert drawn[0].read_bytes().startswith(b"\x89PNG")


def test_the_advice_is_compared_with_even_spacing(run, monkeypatch):
    shown = run("advice", "--seeds", "0")
    record = stored(run.out / "advice" / "vnc-tune")["0"]
    assert record.keys() >= {"settings", "plan", "ranked", "train", "test", "commit", "data_hash"}
    ways = record["ways"]
    assert ways["start"]["slices"] == [3, 9]
    assert ways["advice"]["slices"] == [3, 9, *record["ranked"][:2]]
    assert ways["even"]["slices"] == [1, 4, 7, 10]
    assert not {3, 9} & set(record["ranked"])
    assert ways["advice"]["annotator_s"] == ways["even"]["annotator_s"]
    assert ways["start"]["annotator_s"] < ways["even"]["annotator_s"]
    assert "Advice minus even spacing" in shown
    lines = (run.out / "scorings" / "vnc-tune.csv").read_text().splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == ["start", "advice", "even"]
    assert "other settings" not in run("advice", "--seeds", "0")
    changed = preset("fast").with_overrides({"optimisation.learning_rate": 0.001})
    monkeypatch.setattr("annotation.carrying.preset", lambda name: changed)
    assert "stored with other settings" in run("advice", "--seeds", "0")


def test_the_picture_is_drawn_of_images_that_may_be_shown(run, tmp_path, capsys):
    from PIL import Image

    shown = run("picture")
    path = run.out / "pictures" / "axon_example.png"
    assert str(path) in shown
    with Image.open(path) as drawn:
        assert 1000 <= drawn.width <= 1400
    assert path.stat().st_size < 400_000
    with pytest.raises(SystemExit) as ended:
        run("picture", "--sets", "vnc")
    assert ended.value.code == 2
    assert "may not be given on" in capsys.readouterr().err
    with pytest.raises(ValueError, match="vnc may not be shown"):
        draw_example(tiny_part("vnc", "report"), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_verify_repeats_a_row_and_tells_what_differs(run, capsys):
    words = ["--sets", "vnc", "--seeds", "0"]
    run("study", *words, "--rows", "clicks")
    (path,) = (run.out / "study" / "vnc-tune").glob("*.json")
    before = path.read_text()
    with pytest.raises(SystemExit) as ended:
        run("study", *words, "--verify", "clicks")
    assert ended.value.code == 0
    assert "differs by up to 0.0000" in capsys.readouterr().out
    assert path.read_text() == before
    assert len((run.out / "scorings" / "vnc-tune.csv").read_text().splitlines()) == 2
    record = records.read(path)
    records.write(path, record | {"iou": [value + 0.1 for value in record["iou"]]})
    with pytest.raises(SystemExit) as ended:
        run("study", *words, "--verify", "clicks")
    assert ended.value.code == 1
    with pytest.raises(SystemExit) as ended:
        run("study", *words, "--verify", "grids")
    assert ended.value.code == 1


def test_a_row_that_does_not_exist_is_refused(run, capsys):
    with pytest.raises(SystemExit) as ended:
        run("study", "--rows", "steps-twice")
    assert ended.value.code == 2
    assert "steps-twice" in capsys.readouterr().err


def test_what_another_process_has_claimed_is_left_to_it(run):
    path = Experiment("study", "vnc", "tune", "clicks", 300, 0).record_path(run.out)
    with records.claimed(path):
        shown = run("study", "--sets", "vnc", "--seeds", "0", "--rows", "clicks")
    assert "left to another process" in shown
    assert not path.exists()


def test_a_run_with_other_settings_is_told_and_kept(run, monkeypatch):
    words = ["study", "--sets", "vnc", "--seeds", "0", "--rows", "clicks"]
    run(*words)
    assert "other settings" not in run(*words)
    changed = preset("fast").with_overrides({"optimisation.learning_rate": 0.001})
    monkeypatch.setattr("annotation.carrying.preset", lambda name: changed)
    assert "stored with other settings" in run(*words)


@pytest.mark.parametrize("command", ["study", "ablations", "robustness"])
def test_every_row_has_valid_settings(command):
    part = tiny_part("vnc", "report")
    for name in rows.names_of(command):
        experiment = Experiment(command, "vnc", "report", name, 300, 0)
        settings = settings_of(experiment, part)
        assert settings.optimisation.max_steps is not None
        changed = settings != settings_of(Experiment("ablations", "vnc", "report", "base", 300, 0),
                                          part)  # fmt: skip
        assert changed or not rows.row_of(command, name).overrides


def test_the_plan_of_the_issue():
    runs = planned("study", part="report")
    stems = [(one.data, one.stem) for one in runs]
    assert stems[:3] == [("vnc", "masks_0"), ("vnc", "fast_300s_0"), ("vnc", "corrected_300s_0")]
    assert len(set(stems)) == len(stems) == len(rows.ROWS) * (3 + 2)
    assert {one.data for one in planned("ablations")} == {"vnc"}
    repeated = planned("ablations", rows=["band-0"], seeds=[1, 2])
    assert [one.stem for one in repeated] == [
        "base_300s_1", "band-0_300s_1", "base_300s_2", "band-0_300s_2",
    ]  # fmt: skip


def test_masks_are_not_bought_with_seconds_in_which_no_object_can_be_outlined():
    runs = planned(
        "study", rows=["fast", "masks-bought"], data_sets=["vnc"], seeds=[0], budgets=[60, 150]
    )
    found = [(one.name, one.budget_s) for one in runs]
    assert found == [("fast", 60), ("fast", 150), ("masks-bought", 150)]


def test_no_mask_that_is_scored_on_decides_anything(monkeypatch):
    """With other masks to score on, labels are the same."""
    found = []
    monkeypatch.setattr("annotation.carrying.described", lambda scores: found.append(scores) or {})
    for change in (0, 1):
        part = tiny_part("vnc", "tune")
        for mask in part.test.truth:
            mask[:] = (mask + change) % 2
        carry_out(
            Experiment("study", "vnc", "tune", "fast", 300, 0, True), part, scored=lambda _: None
        )
    first, second = (
        [one.confusion[:, :2].sum(axis=0).tolist() for one in found[i : i + 3]] for i in (0, 3)
    )
    assert first == second


def test_a_record_is_current_only_for_its_data():
    part, other = tiny_part("vnc", "tune"), tiny_part("vnc", "report")
    experiment = Experiment("study", "vnc", "tune", "clicks", 300, 0, True)
    record = carry_out(experiment, part, scored=lambda _: None) | {"data_hash": part.hash}
    assert is_current(record, experiment, part)
    assert not is_current(record, experiment, other)


@pytest.mark.parametrize(("name", "is_still"), [("base", True), ("rounds", False)])
def test_the_weight_of_a_click_makes_a_record_old_only_where_clicks_correct(name, is_still):
    part = tiny_part("vnc", "tune")
    experiment = Experiment("ablations", "vnc", "tune", name, 300, 0, True)
    settings = settings_of(experiment, part).model_dump()
    settings["labels"] |= {"keypoint_weight": 7.0}
    record = carry_out(experiment, part, scored=lambda _: None) | {"data_hash": part.hash}
    assert is_current(record, experiment, part)
    assert is_current(record | {"settings": settings}, experiment, part) is is_still
    assert is_current(record | {"rounds": []}, experiment, part) is is_still


def test_rounds_tell_how_many_clicks_are_right_also_in_the_control():
    part = tiny_part("vnc", "tune")
    clicked, control = (
        carry_out(
            Experiment("study", "vnc", "tune", name, 300, 0, True), part, scored=lambda _: None
        )
        for name in ("fast", "fast+control")
    )
    for record in (clicked, control):
        assert all(one["n_clicked"] == N_CLICKS for one in record["rounds"])
        assert all(0 <= one["n_right"] <= N_CLICKS for one in record["rounds"])
    assert all(one["n_learned"] <= one["n_right"] for one in clicked["rounds"])
    assert clicked["rounds"][0]["n_right"] == N_CLICKS  # what was not learned is set right
    assert "40 keypoints" in clicked["rounds"][1]["annotation"]
    assert {one["annotation"] for one in control["rounds"]} == {control["annotation"]}
    assert {one["annotator_s"] for one in control["rounds"]} == {control["annotator_s"]}
    assert clicked["iou"] == control["iou"]
    assert clicked["rounds"][0]["iou"] != control["rounds"][0]["iou"]


@pytest.mark.parametrize("data", ["vnc", "axon-rat2"])
def test_a_run_starts_from_what_learned_the_other_structure(data):
    loaded = []

    def load(name):
        loaded.append(name)
        return tiny_part(name, "tune")

    part = tiny_part(data, "tune")
    base, started, again = (
        carry_out(
            Experiment("ablations", data, "tune", name, 300, 0, True),
            part,
            scored=lambda _: None,
            load=load,
        )
        for name in ("base", "start", "start")
    )
    assert loaded == ["vnc" if data == "axon-rat2" else "axon-rat2"]
    assert started["n_steps"] == base["n_steps"]
    assert started["classes"] == base["classes"]
    assert started["iou"] == again["iou"]
    assert data != "vnc" or started["iou"] != base["iou"]


@pytest.mark.parametrize(
    ("name", "is_still"),
    [("fast", False), ("paper-slices", False), ("masks", True), ("clicks", True), ("grids", True),
     ("forest", True)],
)  # fmt: skip
def test_the_form_of_the_loss_of_fractions_matters_where_they_are_learnt(name, is_still):
    part = tiny_part("vnc", "tune")
    experiment = Experiment("study", "vnc", "tune", name, 300, 0, True)
    record = carry_out(experiment, part, scored=lambda _: None) | {"data_hash": part.hash}
    settings = settings_of(experiment, part).model_dump()
    settings["loss"] |= {"proportions": "kl"}
    assert is_current(record, experiment, part)
    assert is_current(record | {"settings": settings}, experiment, part) is is_still
