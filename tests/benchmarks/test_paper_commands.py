"""Every command of the paper's reproduction on tiny data: from files to records and tables."""

from __future__ import annotations

import importlib.util
from itertools import product
from pathlib import Path

import experiments
import long
import methods
import numpy as np
import pytest
import records
from experiments import Data, Experiment, binarisation, carry_out, planned

pytestmark = pytest.mark.usefixtures("one_torch_thread")

KEYS = {
    "data", "method", "seed", "split", "preset", "degrade", "reduced", "classes", "confusion",
    "iou", "f1", "accuracy", "mean_iou_all", "mean_iou_named", "mean_class_accuracy",
    "binarisation", "n_train", "n_test", "groups_train", "groups_test", "n_epochs", "n_steps",
    "trained_s", "predicted_s", "threads", "annotation", "settings", "version", "commit",
    "data_hash",
}  # fmt: skip
TOLD = {"em": "vnc", "split": "honest", "preset": "cpu"}


def load_main():
    path = Path(experiments.__file__).with_name("__main__.py")
    spec = importlib.util.spec_from_file_location("paper_main", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def tiny_runs(monkeypatch):
    """Two filters, a sixteenth of the pixels, one epoch, few clusters."""
    tiny = methods.Scale(filters=2, reduction=4, max_epochs=1)
    monkeypatch.setitem(methods._SCALES, "cpu", tiny)
    monkeypatch.setattr(experiments, "CLUSTERS", (3, 2))


@pytest.fixture
def run_main(tiny_data, tmp_path, capsys):
    def run(*words, data=tiny_data):
        load_main().main([*words, "--data", str(data), "--out", str(tmp_path / "out")])
        return capsys.readouterr().out

    run.out = tmp_path / "out"
    return run


def check(record, *, n_classes):
    assert record.keys() >= KEYS
    confusion = np.array(record["confusion"])
    assert confusion.shape == (n_classes, n_classes)
    hits = np.diagonal(confusion)
    union = confusion.sum(0) + confusion.sum(1) - hits
    occurs = union > 0
    iou = np.array([np.nan if value is None else value for value in record["iou"]])
    np.testing.assert_allclose(iou[occurs], (hits / np.maximum(union, 1))[occurs], atol=1e-6)
    assert record["accuracy"] == pytest.approx(hits.sum() / confusion.sum())
    assert record["mean_iou_all"] == pytest.approx(iou[occurs].mean(), abs=1e-6)
    named = iou[1:][occurs[1:]]
    assert record["mean_iou_named"] == pytest.approx(named.mean(), abs=1e-6)
    assert set(record["binarisation"]) == {*record["classes"], "total"}
    for measured in record["binarisation"].values():
        assert 0 <= measured["near_binary"] <= 1
        assert 0 <= measured["softness"] <= 1


def test_table1_from_files_to_a_table(run_main):
    shown = run_main("table1", "--seeds", "0")
    folder = run_main.out / "dubai"
    stems = {path.stem: records.read(path) for path in folder.glob("*.json")}
    assert set(stems) == {f"{m}_honest_cpu_0" for m in ("benchmark", "spss", "fast")}
    for record in stems.values():
        check(record, n_classes=6)
        n_pixels = 8 * (224 * 224) - 4 * 25  # black pixels are not scored
        assert np.sum(record["confusion"]) == n_pixels
        assert (record["n_train"], record["n_test"]) == (4, 8)
        assert record["groups_test"] == ["tile 1", "tile 3"]
        assert record["n_steps"] == 1
    assert stems["benchmark_honest_cpu_0"]["annotation"] == "full masks"
    assert stems["spss_honest_cpu_0"]["annotation"] == "4 fractions"
    with np.load(run_main.out / "panels" / "dubai" / "spss_honest_cpu_0.npz") as panels:
        assert panels["image"].shape == (3, 224, 224, 3)
        assert panels["probs"].shape == (3, 6, 224, 224)
        assert np.abs(panels["probs"].sum(axis=1, dtype=int) - 255).max() <= 6
        assert len({name.rsplit(" ", 2)[0] for name in panels["names"].tolist()}) == 3
    assert "| SPSS |" in shown
    times = {path: path.stat().st_mtime_ns for path in folder.glob("*.json")}
    run_main("table1", "figure5", "--seeds", "0")
    assert times == {path: path.stat().st_mtime_ns for path in folder.glob("*.json")}
    assert any((run_main.out / "figures").iterdir())


def test_table2_and_figure6_on_the_stand_in(run_main):
    shown = run_main("table2", "figure6", "--seeds", "1")
    stems = {p.stem: records.read(p) for p in (run_main.out / "em-vnc").glob("*.json")}
    assert set(stems) == {f"{m}_honest_cpu_1" for m in ("benchmark", "spss+", "fast")}
    for record in stems.values():
        check(record, n_classes=2)
        assert record["mean_iou_named"] == record["iou"][1]
    told = stems["spss+_honest_cpu_1"]
    assert told["annotation"] == stems["fast_honest_cpu_1"]["annotation"]
    assert told["details"]["keypoints_per_class"] == 3
    assert "| SPSS+ |" in shown


def test_long_runs_do_all_steps_and_vary_what_the_paper_leaves_open(run_main, monkeypatch):
    monkeypatch.setattr(long, "RADII_PX", (3.0, 5.0))
    shown = run_main("long", "--seeds", "0", "1", "--steps", "2")
    found = [records.read(p) for p in (run_main.out / "long" / "em-vnc").glob("*.json")]
    assert {one["course"][-1]["step"] for one in found} == {2}
    grid = {
        (one["alpha"], one["keypoint_crops"], one["radius_px"])
        for one in found
        if one["method"] == "spss+" and one["keypoints"] == 3 and one["seed"] == 0
    }
    assert grid >= set(product((0.5, 0.9, 0.99), (0.1, 1.0), (3.0, 5.0)))
    changed = [{one["normalisation"], one["bias"], one["initialisation"]} for one in found]
    assert set.union(*changed) == {"range", "slice", "stated", "zero", "he", "glorot"}
    assert {one["seed"] for one in found if one["method"] == "benchmark"} == {0, 1}
    assert "| SPSS |" in shown
    assert (run_main.out / "figures" / "long_vnc.png").is_file()


def test_the_papers_rule_is_read_off_a_course():
    losses = [3.0, 2.0, *[2.5] * 10, 1.0]
    course = [{"step": n, "iou": n / 100, "loss": loss} for n, loss in enumerate(losses)]
    assert long.stopped_at(course)["step"] == 1
    assert long.stopped_at(course, patience=11) is None


def test_epfl_goes_before_the_stand_in(run_main, tiny_epfl):
    run_main("table2", "--seeds", "0", "--split", "random", data=tiny_epfl)
    found = list((run_main.out / "em-epfl").glob("*_random_cpu_0.json"))
    assert len(found) == 3
    for path in found:
        record = records.read(path)
        check(record, n_classes=2)
        assert (record["n_train"], record["n_test"]) == (3, 1)
        assert record["groups_train"] == record["groups_test"] == ["training"]


def test_tables_3_and_4(run_main):
    shown = run_main("table3", "table4", "--noise", "0", "0.2", "--seeds", "0", "1")
    degraded = {records.read(p)["degrade"] for p in (run_main.out / "dubai").glob("*.json")}
    assert degraded == {None, "eq5:0", "eq5:0.2", "eq5-renorm:0.2", "kmeans:3", "kmeans:2"}
    assert (run_main.out / "dubai" / "spss_eq5-0.2_honest_cpu_0.json").is_file()
    assert not list((run_main.out / "dubai").glob("*_1.json"))
    assert "20 %" in shown


def test_figure7_needs_no_training(run_main):
    run_main("figure7")
    assert not (run_main.out / "dubai").exists()
    assert (
        records.read(run_main.out / "figure7" / "dubai_honest_0.json")["classes"][0] == "unlabeled"
    )


def test_what_another_process_has_claimed_is_left_to_it(run_main):
    path = Experiment("dubai", "spss", 0, "honest", "cpu", "kmeans:3").record_path(run_main.out)
    with records.claimed(path):
        shown = run_main("table4", "--seeds", "0")
    assert f"{path.stem}: left to another process" in shown
    assert not path.exists()
    assert path.with_name("spss_kmeans-2_honest_cpu_0.json").is_file()


def test_the_plan_of_the_issue():
    names = [e.stem for e in planned("table1", seeds=[0, 1, 2], **TOLD)]
    assert len(names) == 9
    assert names[:3] == ["benchmark_honest_cpu_0", "spss_honest_cpu_0", "fast_honest_cpu_0"]
    assert {e.data for e in planned("table2", seeds=[0], **TOLD)} == {"vnc"}
    noisy = [e.degrade for e in planned("table3", seeds=[0, 1], **TOLD)]
    assert noisy[:4] == ["eq5:0", None, "eq5:0.1", "eq5-renorm:0.1"]
    assert len(noisy) == 10
    drawn = planned("figure6", seeds=[2, 0], **TOLD)
    assert [(e.method, e.seed, e.has_panels) for e in drawn] == [
        ("benchmark", 2, True),
        ("spss+", 2, True),
        ("fast", 2, True),
    ]
    assert planned("figure7", seeds=[0], **TOLD) == []


def test_no_mask_of_the_test_part_decides_anything_in_the_honest_split(tiny_data, monkeypatch):
    """With other masks on the test tiles, training and maps are the same."""
    data = Data("dubai", tiny_data, "honest")
    found = []
    monkeypatch.setattr(experiments, "scores_of", lambda found_, *_: found.append(found_) or {})
    for change in (0, 1):
        for crop in data.split.test:
            crop.truth[:] = (crop.truth + change) % 6
        carry_out(Experiment("dubai", "spss", 0, "honest", "cpu"), data, device="cpu")
    before, after = found
    assert all((a == b).all() for a, b in zip(before.probs, after.probs, strict=True))


def test_in_the_papers_split_the_test_part_decides_when_to_stop(tiny_data):
    data = Data("dubai", tiny_data, "random")
    losses = []
    for change in (0, 1):
        for crop in data.split.test:
            crop.truth[:] = (crop.truth + change) % 6
        record = carry_out(Experiment("dubai", "spss", 0, "random", "cpu"), data, device="cpu")
        losses.append(record["best_loss"])
    assert losses[0] != losses[1]
    assert record["n_epochs"] == 1


def test_binarisation_tells_binary_from_soft_maps():
    assert binarisation([np.array([0.0, 0.0]), np.array([0.0, 1.0])]) == {
        "near_binary": 1, "mass_near_one": 1, "softness": 0,
    }  # fmt: skip
    assert binarisation([np.array([0.0, 1.0, 0.5, 0.5])]) == {
        "near_binary": 0.5, "mass_near_one": 0.5, "softness": 0.5,
    }  # fmt: skip
    rare = binarisation([np.full((3, 3), 0.05)])
    assert (rare["near_binary"], rare["mass_near_one"]) == (1, 0)
    assert binarisation([np.zeros((3, 3))])["mass_near_one"] is None
