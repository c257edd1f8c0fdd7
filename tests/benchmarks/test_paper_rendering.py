"""The paper's tables and figures from records: numbers by hand, and what is said to be missing."""

from __future__ import annotations

import json
import math
import re
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "paper"))

import figures
import long
import proportions
import published
import rendering
import runs

DUBAI = ["unlabeled", "building", "land", "road", "vegetation", "water"]
EM = ["background", "mitochondria"]
FOLDERS = {"dubai": "dubai", "vnc": "em-vnc", "epfl": "em-epfl"}


def write_run(
    results, method, *, iou=0.4, seed=0, degrade=None, data="dubai", split="honest", preset="cpu",
    near=0.9, soft=0.1, **changes,
):  # fmt: skip
    """Store a record as the runs do: every class has the same scores but the first, of IoU 0."""
    classes = DUBAI if data == "dubai" else EM
    n = len(classes)
    confusion = np.full((n, n), 10)
    confusion[1] = 60  # the largest class
    maps = {"near_binary": near, "mass_near_one": 0.5, "softness": soft}
    record = {
        "data": data, "method": method, "seed": seed, "split": split, "preset": preset,
        "degrade": degrade, "reduced": {"filters": [64, 8], "working scale": "1/2"},
        "classes": classes, "confusion": confusion.tolist(),
        "iou": [0.0] + [iou] * (n - 1), "f1": [None] + [2 * iou / (1 + iou)] * (n - 1),
        "accuracy": 0.8, "mean_class_accuracy": 0.7,
        "mean_iou_all": iou * (n - 1) / n, "mean_iou_named": iou,
        "binarisation": dict.fromkeys([*classes, "total"], maps),
        "n_train": 80, "n_test": 20, "groups_train": ["1", "2"], "groups_test": ["7"],
        "n_epochs": 12, "n_steps": 60, "trained_s": 120.0, "predicted_s": 3.0, "threads": 1,
        "annotation": "exact fractions", "settings": {}, "version": "0", "commit": "abc",
        "data_hash": "123",
    } | changes  # fmt: skip
    noise = "" if degrade is None else "_" + degrade.replace(":", "-")
    path = results / FOLDERS[data] / f"{method}{noise}_{split}_{preset}_{seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))
    return path


def write_long(results, method, ious, **choices):
    """Store a long run with a look every step; the loss falls to its lowest at the first one."""
    choice = long.Choice(method, steps=len(ious), **choices)
    course = [{"step": n, "iou": iou, "loss": float(n > 1)} for n, iou in enumerate(ious, start=1)]
    record = asdict(choice) | {
        "preset": "cpu", "iou": [0.9, ious[-1]], "course": course, "trained_s": 60.0,
    }  # fmt: skip
    path = long.path_of(choice, "vnc", results)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))


def rows_of(text):
    """Cells of all table rows, by the first cell."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line[1:-1].split(" | ")] for line in lines]
    return {line[0].strip("| "): line for line in cells}


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results"


@pytest.mark.parametrize("command", [*rendering.COMMANDS, "show"])
def test_every_table_says_that_nothing_was_run(command, results):
    assert "Not run" in rendering.render(command, results)


@pytest.mark.parametrize("command", list(rendering.COMMANDS))
def test_every_table_has_rows_of_one_width(command, results):
    for seed in (0, 1):
        for method in ("benchmark", "spss", "fast", "spss+"):
            write_run(results, method, seed=seed)
            write_run(results, method, seed=seed, data="vnc")
    write_run(results, "spss", degrade="eq5:0.1")
    write_run(results, "spss", degrade="kmeans:5")
    write_run(results, "spss", split="random", preset="paper")
    for method in ("benchmark", "spss", "spss+"):
        write_long(results, method, [0.1, 0.5])
    fractions = np.random.default_rng(0).dirichlet(np.ones(6), 30)
    proportions.store_degradations(results, fractions, DUBAI, data="dubai", split="honest")
    text = rendering.render(command, results)
    tables = re.findall(r"(?:^\|.*\|$\n?)+", text, flags=re.MULTILINE)
    assert tables
    for block in tables:
        widths = {len(re.findall(r" \|", line)) for line in block.splitlines()}
        assert len(widths) == 1, block


def test_long_runs_go_on_from_the_best_so_far(results):
    def iou(choice) -> float:
        """Alpha 0.5, keypoints in all crops, 3 px; but more for alpha 0.9 with few keypoints."""
        meets = choice.alpha == 0.9 and choice.keypoint_crops == 0.1
        good = [
            choice.alpha == 0.5,
            choice.keypoint_crops == 1,
            choice.radius_px == 3,
            *[meets] * 6,
        ]
        return 0.1 * sum(good)

    done = []
    for choice in long.planned(results, "vnc", steps=2, seeds=[0, 1]):
        if choice not in done:
            done.append(choice)
            told = asdict(choice)
            method = told.pop("method")
            del told["steps"]
            write_long(results, method, [0.0, iou(choice)], **told)
    best = long.Choice(alpha=0.5, radius_px=3.0, steps=2)
    assert done.index(best) == 8  # benchmark, SPSS+, SPSS, and one thing changed at a time
    assert done.index(replace(best, seed=1)) == 9
    assert replace(best, initialisation="glorot") in done[9:17]
    better = replace(best, alpha=0.9, keypoint_crops=0.1)  # found in the end
    assert done.index(replace(better, seed=1)) > done.index(better) > 16
    grid = {(one.alpha, one.keypoint_crops, one.radius_px) for one in done if one.keypoints == 3}
    assert len(grid) == 18 + 2  # and the means over images of the two


def test_long_runs_stand_beside_the_benchmark_of_their_seed(results, tmp_path):
    write_long(results, "benchmark", [0.2, 0.4, 0.6, *[0.8] * 9])
    write_long(results, "benchmark", [0.5] * 12, seed=1)
    write_long(results, "spss+", [0.1, 0.2, 0.3, *[0.4] * 9], alpha=0.5)
    row = rows_of(rendering.render("long", results))["SPSS+"]
    assert row[1:4] == ["0.5", "all crops, 3 a class", "5"]
    assert row[6:11] == ["30.0", "40.0", "40.0", "0.50", "1, 10.0"]
    assert [path.name for path in figures.draw("long", results, tmp_path)] == ["long_vnc.png"]


def test_scores_of_the_paper_follow_from_its_f1():
    table1, table2 = published.TABLE1, published.TABLE2
    # Table 1: a mean over six classes of which one has an IoU of about 0 ...
    assert table1["benchmark"].mean_iou_from_f1(1) == pytest.approx(53.1, abs=0.05)
    assert table1["spss"].mean_iou_from_f1(1) == pytest.approx(46.0, abs=0.05)
    # ... not over the five with an F1 score.
    assert table1["benchmark"].mean_iou_from_f1() == pytest.approx(63.7, abs=0.05)
    assert table1["spss"].mean_iou_from_f1() == pytest.approx(55.2, abs=0.05)
    # Table 2: the IoU of one class, not a mean over two.
    assert table2["benchmark"].iou("mitochondria") == pytest.approx(68.5, abs=0.05)
    assert table2["spss+"].iou("mitochondria") == pytest.approx(65.7, abs=0.05)
    assert table2["benchmark"].mean_iou_from_f1() == pytest.approx(83.4, abs=0.05)
    assert table2["spss+"].mean_iou_from_f1() == pytest.approx(81.0, abs=0.05)


def test_table1_gives_mean_and_spread_over_seeds_in_both_readings(results):
    for seed, iou in enumerate((0.3, 0.6)):
        write_run(results, "spss", iou=iou, seed=seed)
    row = rows_of(rendering.render("table1", results))["SPSS"]
    spread = math.sqrt(0.045)  # of 0.3 and 0.6
    assert row[1] == f"{100 * 0.45 * 5 / 6:.1f} ± {100 * spread * 5 / 6:.1f}"
    assert row[2] == f"45.0 ± {100 * spread:.1f}"
    assert row[-1] == "0 1"


def test_table1_shows_the_paper_the_constant_map_and_what_was_reduced(results):
    write_run(results, "benchmark")
    text = rendering.render("table1", results)
    rows = rows_of(text)
    assert rows["paper, SPSS"][1:3] == ["45.4 ± 0.9", "55.2\\*"]
    # 360 of 660 pixels are buildings: their IoU is their share, that of five classes 0.
    share = 100 * 360 / 660
    assert rows["constant map (building)"][1:3] == [f"{share / 6:.1f}", f"{share / 5:.1f}"]
    assert "filters: 64 → 8; working scale: 1/2" in text


def test_table1_names_the_missing_runs(results):
    write_run(results, "benchmark", seed=0)
    write_run(results, "benchmark", seed=2)
    text = rendering.render("table1", results)
    assert "Not run: `benchmark` (seed 1); `spss`, `fast` (seed 0 1 2)." in text


def test_splits_and_presets_are_never_mixed(results):
    write_run(results, "spss", iou=0.3)
    write_run(results, "spss", iou=0.6, split="random")
    text = rendering.render("table1", results)
    assert text.index("Split `honest`") < text.index("Split `random`")
    assert "30.0" in text.partition("Split `random`")[0]
    assert "60.0" not in text.partition("Split `random`")[0]


def test_table2_calls_the_papers_mean_iou_that_of_mitochondria(results):
    write_run(results, "spss+", data="vnc", iou=0.5)
    text = rendering.render("table2", results)
    rows = rows_of(text)
    assert rows["paper (EPFL), SPSS+"][1:3] == ["81.0\\*", "65.3 ± 0.8"]
    assert rows["SPSS+"][1:3] == ["25.0", "50.0"]
    assert "Dubai" not in text


def test_table3_sets_both_forms_beside_the_papers(results):
    write_run(results, "spss", iou=0.48)
    write_run(results, "spss", iou=0.36, degrade="eq5:0.1")
    write_run(results, "spss", iou=0.42, degrade="eq5-renorm:0.1")
    text = rendering.render("table3", results)
    rows = rows_of(text)
    assert rows["exact"][2:6] == ["40.0", "48.0", "40.0", "48.0"]
    assert rows["10 %"][1:] == ["41", "30.0", "36.0", "35.0", "42.0", "0"]
    # Without noise dividing by the sum changes nothing, softmax does.
    assert rows["0 %"][1:] == ["45", "-", "-", "40.0", "48.0", "- / 0"]
    assert "`eq5:0`" in text.partition("Not run")[2]
    assert "`eq5-renorm:0`" not in text


def test_table3_says_which_seeds_each_form_has(results):
    for seed in (0, 1):
        write_run(results, "spss", seed=seed)
    for level in ("eq5:0", "eq5:0.1", "eq5-renorm:0.1"):
        write_run(results, "spss", degrade=level)
    rows = rows_of(rendering.render("table3", results))
    seeds = {name: rows[name][-1] for name in ("exact", "0 %", "5 %", "10 %")}
    assert seeds == {"exact": "0 1", "0 %": "0 / 0 1", "5 %": "-", "10 %": "0"}


def test_table4_runs_from_many_clusters_to_few(results):
    write_run(results, "spss", iou=0.48, degrade="kmeans:100")
    write_run(results, "spss", iou=0.24, degrade="kmeans:5")
    text = rendering.render("table4", results)
    rows = rows_of(text)
    assert rows["100"][1:4] == ["44", "40.0", "48.0"]
    assert rows["5"][1:4] == ["27", "20.0", "24.0"]
    assert text.index("| 100 |") < text.index("| 50 |") < text.index("| 5 |")
    assert "`kmeans:50`, `kmeans:30`, `kmeans:20`, `kmeans:10` (seed 0)" in text


def test_findings_are_ratios_seed_by_seed(results):
    for seed, (full, weak) in enumerate(((0.5, 0.4), (0.8, 0.8), (0.6, None))):
        write_run(results, "benchmark", iou=full, seed=seed, near=0.8, soft=0.2)
        if weak is not None:
            write_run(results, "spss", iou=weak, seed=seed, near=0.95, soft=0.05)
    write_run(results, "spss", iou=0.2, degrade="eq5:0.1")
    write_run(results, "spss", iou=0.1, degrade="kmeans:5")
    rows = rows_of(rendering.render("findings", results))
    assert rows["SPSS / benchmark, mean IoU of 6 classes"][1:] == ["0.87", "0.90 ± 0.14"]
    name = "SPSS, noise 10 % (softmax as written) / exact, mean IoU of 6 classes"
    assert rows[name][1:] == ["0.91", "0.50"]
    assert rows["SPSS, 5 clusters / exact, mean IoU of 6 classes"][1:] == ["0.60", "0.25"]
    near = rows["pixels with p < 0.1 or > 0.9, %, SPSS against benchmark"]
    assert near[2] == "95.0 ± 0.0 against 80.0 ± 0.0"
    assert rows["classes in which SPSS has the higher F1"][1:] == ["land", "none"]
    assert rows["`fast` / benchmark, mean IoU of 6 classes"][2] == "-"


def test_figure5_gives_binarisation_per_class(results):
    write_run(results, "spss", near=0.95, soft=0.025)
    write_run(results, "benchmark", near=0.7, soft=0.2)
    rows = rows_of(rendering.render("figure5", results))
    assert rows["map"][1:] == ["benchmark (all masks)", "SPSS"]
    assert rows["total"][1:] == rows["road"][1:] == ["70.0 / 0.200", "95.0 / 0.025"]


def test_runs_are_told_with_seconds_seeds_commit_and_choices(results):
    write_run(results, "spss", seed=0, details={"alpha": 0.5}, stopping="early")
    write_run(results, "spss", seed=1, trained_s=240.0, n_epochs=30)
    text = rendering.render("runs", results)
    rows = rows_of(text)
    made = rows["dubai, honest, cpu"]
    assert made[1:8] == ["SPSS", "2", "0 1", "12-30", "60", "-", "3.0 (2.0-4.0)"]
    assert made[-1] == "abc"
    assert rows["dubai, honest"][1:] == ["80", "1, 2", "20", "7", "123"]
    assert "- dubai, honest, SPSS: exact fractions; alpha: 0.5; stopped early." in text


def test_undefined_scores_are_left_out(results):
    write_run(results, "spss", mean_iou_named=float("nan"), seed=0)
    write_run(results, "spss", mean_iou_named=0.5, seed=1)
    assert rows_of(rendering.render("table1", results))["SPSS"][2] == "50.0"


def test_files_that_are_no_runs_are_left_out(results):
    write_run(results, "spss")
    (results / "dubai" / "other.json").write_text("{}")
    assert len(runs.load_runs(results)) == 1


def test_degradations_are_told_and_read_back(results):
    exact = np.repeat(np.eye(3), 4, axis=0)  # four crops each of one class alone
    proportions.store_degradations(results, exact, ["a", "b", "c"], data="dubai", split="honest")
    (stored,) = proportions.load_degradations(results)
    assert stored.n_different == 3
    assert (stored.exact == exact).all()
    assert list(stored.changes) == [
        "eq5:0", "eq5:0.1", "eq5:0.5", "eq5-renorm:0.1", "eq5-renorm:0.5", "kmeans:10", "kmeans:5",
    ]  # fmt: skip
    softmax = stored.changes["eq5:0"]
    assert softmax.highest == pytest.approx(math.e / (math.e + 2), abs=1e-6)
    assert softmax.lowest == pytest.approx(1 / (math.e + 2), abs=1e-6)
    assert softmax.unchanged == 0.0
    # Only three annotations are different, so five clusters keep all of them.
    assert stored.changes["kmeans:5"].unchanged == 1.0
    assert (stored.given["kmeans:5"] == exact).all()


def store_panels(path, n_classes, *, is_colour):
    """Maps of two crops beside a record."""
    rng = np.random.default_rng(0)
    shape = (2, 16, 16, 3) if is_colour else (2, 16, 16)
    folder = path.parent.parent / "panels" / path.parent.name
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        folder / f"{path.stem}.npz",
        image=rng.integers(0, 255, shape, dtype=np.uint8),
        truth=rng.integers(0, n_classes, (2, 16, 16)).astype(np.uint8),
        probs=rng.integers(0, 255, (2, n_classes, 16, 16), dtype=np.uint8),
    )


def test_figures_are_drawn_of_what_was_run(results, tmp_path):
    for method in ("benchmark", "spss", "fast"):
        store_panels(write_run(results, method), 6, is_colour=True)
    for method in ("benchmark", "spss+"):
        store_panels(write_run(results, method, data="vnc"), 2, is_colour=False)
    for degrade in ("eq5:0.1", "eq5:0.5", "eq5-renorm:0.1", "kmeans:5", "kmeans:100"):
        write_run(results, "spss", degrade=degrade)
    fractions = np.random.default_rng(0).dirichlet(np.ones(6), 30)
    proportions.store_degradations(results, fractions, DUBAI, data="dubai", split="honest")
    expected = {
        "figure5": "figure5_dubai_honest_cpu.png",
        "figure6": "figure6_vnc_honest_cpu.png",
        "figure7": "figure7_dubai_honest.png",
        "table3": "table3_dubai_honest_cpu.png",
        "table4": "table4_dubai_honest_cpu.png",
    }
    for command, name in expected.items():
        paths = figures.draw(command, results, tmp_path / "out")
        assert [path.name for path in paths] == [name]
        assert paths[0].read_bytes().startswith(b"\x89PNG")
    assert figures.draw("table1", results, tmp_path / "out") == []


@pytest.mark.parametrize("command", ["figure5", "figure6", "figure7", "table3", "table4"])
def test_no_figure_is_drawn_without_its_records(command, results, tmp_path):
    write_run(results, "spss")
    write_run(results, "spss+", data="vnc")
    assert figures.draw(command, results, tmp_path / "out") == []
    assert not (tmp_path / "out").exists()
