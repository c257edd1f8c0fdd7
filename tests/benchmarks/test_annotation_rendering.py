"""The study's tables from records: numbers by hand, and what is said to be missing."""

from __future__ import annotations

import json

import pytest
from annotation.rendering import TABLES, render, time_to_share
from annotation.scorings import count_scorings, note_scoring
from annotation.stored import load_runs

FOREGROUND = {"sheets": ["mitochondria"], "vnc": ["mitochondria"], "axon-rat4": ["myelin", "axon"]}


def scores(iou, n_classes):
    return {
        "iou": [0.9] + [iou] * (n_classes - 1),
        "f1": [0.95] + [2 * iou / (1 + iou)] * (n_classes - 1),
        "mean_iou": (0.9 + iou * (n_classes - 1)) / n_classes,
        "mean_iou_foreground": iou,
        "accuracy": 0.9,
        "found": [1.0] + [0.0] * (n_classes - 1),
        "true": [0.9] + [0.1 / (n_classes - 1)] * (n_classes - 1),
        "is_constant": False,
    }


def write_run(results, row, *, iou, seed=0, data="vnc", part="report", command="study",
              budget_s=300.0, rounds=(), **changes):  # fmt: skip
    n_classes = 1 + len(FOREGROUND[data])
    record = {
        "command": command, "data": data, "part": part, "row": row, "title": f"row {row}",
        "seed": seed, "budget_s": budget_s, "is_oracle": False,
        "classes": ["background", *FOREGROUND[data]], "annotation": "4 grids",
        "annotator_s": 300.0, **scores(iou, n_classes), "messages": [], "course": None,
        "rounds": [
            {**scores(one, n_classes), "annotator_s": 300.0 + 40 * n, "annotation": "",
             "trained_s": 120.0 + 60 * n, "trained_cpu_s": 60.0, "n_steps": 400 + 200 * n,
             "messages": []}
            for n, one in enumerate(rounds, start=1)
        ],
        "trained_s": 120.0, "trained_cpu_s": 60.0, "threads": 1, "commit": "abc",
        "data_hash": "123",
    } | changes  # fmt: skip
    path = results / command / f"{data}-{part}" / f"{row}_{budget_s}_{seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))


def rows_of(text):
    """Cells of all table rows, by the first two cells."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line[1:-1].split(" | ")] for line in lines]
    return {line[0].strip("| "): line for line in cells}


@pytest.mark.parametrize("name", list(TABLES))
def test_every_table_says_that_nothing_was_run(name, tmp_path):
    assert "Not run" in render(name, tmp_path)


def test_ratios_are_taken_seed_by_seed_on_the_same_images(tmp_path):
    for seed, (full, few) in enumerate(((0.8, 0.6), (0.5, 0.5), (0.9, None))):
        write_run(tmp_path, "masks", iou=full, seed=seed, budget_s=None)
        if few is not None:
            write_run(tmp_path, "fast", iou=few, seed=seed, rounds=(few + 0.1, few + 0.05))
    rows = rows_of(render("study", tmp_path))
    assert rows["row fast"][1:4] == ["300", "0.550 ± 0.071", "0.88 ± 0.18"]
    assert rows["row fast, 1 round of correction"][1:3] == ["340", "0.650 ± 0.071"]
    assert rows["row fast, 2 rounds of correction"][1] == "380"
    assert rows["row masks"][-1] == "3"
    goals = rows_of(render("goals", tmp_path))
    assert goals["Mitochondria (VNC): `fast` / all masks"][2] == "0.88 (0.75)"
    change = "Mitochondria (VNC): change by a round of correction"
    assert goals[change][2] == "0.025 (-0.050)"


def test_the_way_to_95_percent_is_that_of_the_run_on_two_cores(tmp_path):
    write_run(tmp_path, "fast", iou=0.6)
    course = [[10.0, 20.0, 50, 0.3], [40.0, 80.0, 200, 0.58], [75.0, 150.0, 400, 0.6]]
    write_run(tmp_path, "timed", iou=0.6, course=course)
    write_run(tmp_path, "timed", iou=0.6, course=[[50.0, 99.0, 400, 0.6]], seed=1)
    found = rows_of(render("goals", tmp_path))
    what = "s of training on two cores to 95 % of its own IoU, mean (slowest)"
    assert found[f"Mitochondria (VNC): {what}"][1:] == ["below 60", "45 (50)"]


def test_goals_tell_clicks_that_are_right_their_control_and_second_looks(tmp_path):
    clicked = {"n_clicked": 20, "n_learned": 8, "n_right": 18}
    write_run(tmp_path, "frames", iou=0.6, data="sheets", rounds=(0.63,))
    path = next(tmp_path.glob("study/sheets-report/*.json"))
    record = json.loads(path.read_text())
    record["rounds"][0] |= clicked
    path.write_text(json.dumps(record))
    write_run(tmp_path, "frames+control", iou=0.6, data="sheets", rounds=(0.61,))
    write_run(tmp_path, "looked", iou=0.6, data="sheets", rounds=(0.625,))
    path = next(tmp_path.glob("study/sheets-report/looked*.json"))
    record = json.loads(path.read_text())
    record["rounds"][0] |= {"n_wrong_before": 16, "n_wrong_after": 3}
    path.write_text(json.dumps(record))
    found = {what: cells[2] for what, cells in rows_of(render("goals", tmp_path)).items()}
    assert found["Large fields: change by a round of correction"] == "0.030 (0.030)"
    assert found["Large fields: the same steps without clicks"] == "0.010 (0.010)"
    assert found["Large fields: clicked places that are right after a round"] == "0.90 (0.90)"
    look = "Large fields: change by a second look, wrong nodes 16 before and 3 after"
    assert found[look] == "0.025 (0.025)"


def test_three_classes_are_judged_by_the_mean_with_the_background(tmp_path):
    write_run(tmp_path, "masks", iou=0.6, data="axon-rat4", budget_s=None)
    write_run(tmp_path, "fast", iou=0.45, data="axon-rat4")
    rows = rows_of(render("study", tmp_path))
    assert rows["row fast"][2:4] == ["0.600", "0.86"]
    goals = rows_of(render("goals", tmp_path))
    assert goals["Axon and myelin: `fast` / all masks"][1:] == ["at least .93", "0.86 (0.86)"]


def test_seconds_on_a_gpu_are_not_mixed_with_those_of_processors(tmp_path):
    for seed, device in enumerate(("cpu", "cuda", "cuda")):
        write_run(tmp_path, "fast", iou=0.6, seed=seed, trained_s=100.0 / (seed + 1), device=device)
    write_run(tmp_path, "grids", iou=0.6, device="cuda")
    rows = rows_of(render("study", tmp_path))
    assert rows["row fast"][-4:] == ["100", "60", "42", "3"]
    assert rows["row grids"][-4:] == ["-", "-", "120", "1"]
    assert "1 (1), GPU (3)" in render("provenance", tmp_path)


def test_parts_are_never_mixed(tmp_path):
    write_run(tmp_path, "fast", iou=0.6)
    write_run(tmp_path, "fast", iou=0.3, part="tune")
    text = render("study", tmp_path)
    report, tune = text.split("slices 13-15")
    assert "0.600" in report
    assert "0.300" in tune
    assert "0.300" not in report
    assert "0.300" not in render("goals", tmp_path)


def test_other_budgets_are_curves_and_not_in_the_study(tmp_path):
    for budget_s, iou in ((60.0, 0.2), (300.0, 0.6)):
        write_run(tmp_path, "fast", iou=iou, budget_s=budget_s)
    assert rows_of(render("study", tmp_path))["row fast"][2] == "0.600"
    rows = rows_of(render("curves", tmp_path))
    assert rows["60"][1] == "0.200 / 0.333"
    assert rows["300"][1] == "0.600 / 0.750"


def test_a_forest_has_two_rows(tmp_path):
    write_run(tmp_path, "forest", iou=0.5, plain=scores(0.25, 2))
    rows = rows_of(render("study", tmp_path))
    assert rows["row forest"][2] == "0.500"
    assert rows["random forest at the most probable class"][2] == "0.250"


def test_ablations_are_read_against_the_base_of_their_seed(tmp_path):
    told = {"command": "ablations", "part": "tune"}
    for seed, iou in ((0, 0.6), (1, 0.7)):
        write_run(tmp_path, "base", iou=iou, seed=seed, **told)
    write_run(tmp_path, "band-0", iou=0.5, seed=0, **told)
    write_run(tmp_path, "steps-twice", iou=0.70, seed=0, **told)
    write_run(tmp_path, "steps-twice", iou=0.75, seed=1, **told)
    write_run(tmp_path, "band-0.5", iou=0.58, seed=0, **told)
    write_run(tmp_path, "band-0.5", iou=0.9, seed=1, **told)
    write_run(tmp_path, "band-0.1", iou=0.61, seed=0, **told)
    write_run(tmp_path, "band-0.1", iou=0.65, seed=1, **told)
    write_run(tmp_path, "rounds", iou=0.6, rounds=(0.7, 0.61), **told)
    text = render("ablations", tmp_path)
    lines = {line.split("`")[1]: line for line in text.splitlines() if line.count("|") == 10
             and "`" in line}  # fmt: skip
    assert "| -0.100 |" in lines["band-0"]
    assert lines["band-0"].endswith("| worse, one drawing |")
    assert "| +0.075 ± 0.035 |" in lines["steps-twice"]
    assert lines["steps-twice"].endswith("| better |")
    assert "| -0.020 ± 0.042 |" in lines["band-0.1"], "the sign is that of the mean"
    assert lines["band-0.5"].endswith("| no clear difference |"), "seeds disagree"
    assert lines["rounds"].endswith("| no clear difference |")
    assert "more than 0.02 with one seed so far: `band-0`." in text
    assert "`steps-fourfold`" in text.partition("Not run:")[2]


def test_joined_changes_are_read_against_the_first_of_them(tmp_path):
    told = {"command": "ablations", "part": "tune"}
    for name, iou in (("base", 0.6), ("steps-twice", 0.7), ("steps-twice+filters-24", 0.65),
                      ("band-0+filters-24", 0.65), ("steps-twice+band-0+eq3", 0.5)):  # fmt: skip
        write_run(tmp_path, name, iou=iou, **told)
    text = render("ablations", tmp_path)
    assert "`filters-24`" not in text.partition("Not run:")[2]
    lines = {line.split("`")[1]: line for line in text.splitlines()
             if line.startswith("|") and "`" in line}  # fmt: skip
    assert "| -0.050 |" in lines["steps-twice+filters-24"]
    assert "| +0.050 |" in lines["band-0+filters-24"], "the first is not stored"
    assert "| -0.200 |" in lines["steps-twice+band-0+eq3"], "of three the last two are new"
    assert "| network | 24 filters (`" in lines["steps-twice+filters-24"]
    assert "| band; network | none ignored; 24 filters (`" in lines["band-0+filters-24"]


def test_a_constant_map_without_a_word_is_told(tmp_path):
    told = {"command": "robustness", "part": "tune"}
    write_run(tmp_path, "base", iou=0.6, **told)
    write_run(tmp_path, "drift", iou=0.0, is_constant=True, **told)
    warned = [["info", "Step 1"], ["warning", "The map is constant; do this."]]
    write_run(tmp_path, "one-slice", iou=0.0, is_constant=True, messages=warned, **told)
    lines = render("robustness", tmp_path).splitlines()
    (drift,) = [line for line in lines if "`drift`" in line and line.startswith("|")]
    (single,) = [line for line in lines if "`one-slice`" in line and line.startswith("|")]
    assert "**constant map without a word**" in drift
    assert "without a word" not in single
    assert "constant map; said: The map is constant; do this." in single


def write_trial(results, *, seed, data="vnc", part="tune", **ious):
    n_classes = 1 + len(FOREGROUND[data])
    ways = {
        way: {**scores(iou, n_classes), "slices": [3, 9], "annotator_s": 240.0, "trained_s": 120.0}
        for way, iou in ious.items()
    }
    path = results / "advice" / f"{data}-{part}" / f"{seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    classes = ["background", *FOREGROUND[data]]
    path.write_text(json.dumps({"seed": seed, "classes": classes, "ways": ways}))


def test_advice_is_compared_seed_by_seed(tmp_path):
    write_trial(tmp_path, seed=0, start=0.3, advice=0.5, even=0.4)
    write_trial(tmp_path, seed=1, start=0.4, advice=0.4, even=0.6)
    text = render("advice", tmp_path)
    rows = rows_of(text)
    assert rows["2 grids, evenly spread"][2] == "0.350 ± 0.071"
    assert rows["4 grids, evenly spread"][1:3] == ["240", "0.500 ± 0.141"]
    assert "same seed: -0.050 ± 0.212 (each: +0.100, -0.200)" in text


def test_the_advice_of_three_classes_is_judged_with_the_background(tmp_path):
    ious = {"start": 0.3, "advice": 0.6, "even": 0.45}
    write_trial(tmp_path, seed=0, data="axon-rat4", part="report", **ious)
    text = render("advice", tmp_path)
    assert rows_of(text)["4 grids, evenly spread"][2] == "0.600"
    assert "same seed: +0.100 (each: +0.100)" in text


@pytest.mark.parametrize("name", list(TABLES))
def test_every_table_has_rows_of_one_width(name, tmp_path):
    for seed in (0, 1):
        for command, row in (("study", "fast"), ("ablations", "base"), ("robustness", "base")):
            for data in FOREGROUND:
                write_run(tmp_path, row, iou=0.5, seed=seed, data=data, command=command)
                write_run(tmp_path, row, iou=0.4, seed=seed, data=data, command=command,
                          budget_s=60.0)  # fmt: skip
    write_trial(tmp_path, seed=0, start=0.3, advice=0.5, even=0.4)
    note_scoring(tmp_path, "vnc-report", "study/x", commit="abc")
    for block in render(name, tmp_path).split("\n\n"):
        widths = {line.count("|") for line in block.splitlines() if line.startswith("|")}
        assert len(widths) <= 1


def test_time_to_a_share_of_the_last_score():
    assert time_to_share([(1.0, 0.5), (2.0, 0.96), (3.0, 1.0)]) == 2.0
    assert time_to_share([(1.0, 1.0), (2.0, 0.5), (3.0, 1.0)]) == 3.0
    assert time_to_share([(1.0, 0.0)]) is None
    assert time_to_share([]) is None


def test_scorings_are_counted(tmp_path):
    for what in ("a", "b", "a"):
        note_scoring(tmp_path, "vnc-report", what, commit="abc")
    assert count_scorings(tmp_path) == {"vnc-report": (3, 2)}
    assert load_runs(tmp_path, "study") == []
