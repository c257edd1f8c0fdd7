"""Tables of stored runs as Markdown; reads JSON records only, and says what was not run.

IoU and F1 lie in 0-1; "±" is the sample standard deviation over seeds and folds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from cells import NOTHING, shown, signed, table

from .advice import HEAD, family_rows, load_trials
from .annotators import HEADLINE_S
from .rows import ABLATIONS, CASES, ROWS, Change, Row
from .scorings import count_scorings
from .stored import Run, key_iou, load_runs, mean, paired, parts_of, select

CLEAR = 0.02  # a smaller difference of one seed is none
_NAMES = {
    "vnc-report": "Mitochondria (VNC), slices 16-19",
    "vnc-tune": "Mitochondria (VNC), slices 13-15, on which settings were chosen",
    "axon-report": "Axon and myelin, rats 4 and 6, each left out in turn",
    "axonlarge-report": "Large fields of axon and myelin (two largest images), rats 4 and 6",
    "axonlarge-tune": "Large fields of axon and myelin (two largest images), rat 2",
    "sheets-report": "Large fields (VNC slices reduced by 4, side by side), slices 16-19",
    "sheets2048-report": "Fields of 2048 px (VNC slices reduced by 2, side by side), slices 16-19",
    "sheets2048-tune": "Fields of 2048 px, slices 13-15, on which settings were chosen",
    "sheets-tune": "Large fields, slices 13-15, on which settings were chosen",
    "axon-tune": "Axon and myelin, rat 2, on which settings were chosen",
}

# what was to be reached of all masks
_LEAST = {
    "vnc-report": "at least .94",
    "axon-report": "at least .93",
    "axonlarge-report": "at least .90, better .95",
    "sheets-report": "at least .90, better .95",
    "sheets2048-report": "at least .90, better .95",
}
# row -> what it is beside all masks; after rounds, beside those with as many steps
_MEASURED = {
    "fast": "`fast`",
    "frames": "counting frames",
    "spread": "seven smaller grids",
    "corrected/2": "three grids and two rounds in the same seconds",
    "fast/2": "two rounds",
    "frames/2": "counting frames and two rounds",
    "spread/2": "seven smaller grids and two rounds",
    "spread-corrected/2": "seven grids of 11 x 11 and two rounds in the same seconds",
}
_CORRECTED = ("fast", "corrected", "spread", "spread-corrected", "frames")


def render(name: str, results: Path) -> str:
    """Write a table as Markdown.

    Parameters
    ----------
    name : str
        One of `TABLES`.
    results : Path
        Folder of the records.

    Raises
    ------
    KeyError
        If the name is unknown.
    """
    return TABLES[name](results)


def study(results: Path) -> str:
    """All rows with the headline's seconds: accuracy, seconds, run time."""
    runs = load_runs(results, "study")
    blocks = []
    for family in parts_of(runs):
        here = [run for run in runs if run.family == family]
        classes = here[0].record["classes"]
        key = f"IoU {classes[1]}" if len(classes) == 2 else "mean IoU"
        head = ["", "annotator, s", key, "of all masks", *_class_heads(classes, "IoU"),
                *_class_heads(classes, "F1"), *_TRAINING_HEADS, "runs"]  # fmt: skip
        masks = select(here, family, "masks")
        rows = [_study_row(title, found, masks) for title, found in _found_rows(here, family)]
        blocks += [f"**{_NAMES[family]}**", table(head, rows), _missing(here, family)]
    return "\n\n".join(filter(None, [*blocks, _STUDY_NOTE])) if blocks else _not_run("study")


_STUDY_NOTE = (
    "Rows that are not marked as oracle have guesses with a log-normal error of .3 and a common "
    "bias of 1.2, 2 % wrong nodes and clicks off the middle. *Of all masks* is the ratio to the "
    "row of all masks with the same seed, on the same images. The forest's threshold is the best "
    "one for the masks it is scored on, which nobody knows: an oracle in its favour. Training is "
    "timed by the wall clock, on a machine with other work, and in seconds of the processor; of "
    "runs on a GPU by the wall clock."
)


def _class_heads(classes: Sequence[str], score: str) -> list[str]:
    """Columns of a score: of the one class F1 alone, since its IoU has a column already."""
    if len(classes) == 2:
        return [f"{score} {classes[1]}"] if score == "F1" else []
    return [f"{score} {name}" for name in classes[1:]]


def _found_rows(runs: Sequence[Run], family: str) -> Iterator[tuple[str, list[Run]]]:
    """Rows that were run, those of the list first, then what was joined of them."""
    order = [name for row in ROWS.values() for name in _with_rounds(row)]
    others = sorted({run.row for run in runs} - set(order))
    for name in (*order, *others):
        found = select(runs, family, name, HEADLINE_S)
        if found:
            yield _title(found[0], name), found


def _with_rounds(row: Row) -> list[str]:
    inner = [str(number) for number in range(1, row.n_rounds + 1)]
    if row.base == "forest":
        inner = ["plain"]
    return [row.name, *(f"{row.name}/{one}" for one in inner)]


def _title(run: Run, name: str) -> str:
    first, _, inner = name.partition("/")
    text = str(run.record["title"])
    if "+" in first:
        text = f"{text} (`{first}`)"
    if inner == "plain":
        text = "random forest at the most probable class"
    elif inner and run.record.get("is_looking_again"):
        text += ", anew after the look"
    elif inner:
        text += f", {inner} round{'s' if inner != '1' else ''} of correction"
    return text + (" (oracle)" if run.record["is_oracle"] else "")


def _study_row(title: str, found: Sequence[Run], masks: Sequence[Run]) -> list[str]:
    classes = found[0].record["classes"]
    columns = range(1, len(classes))
    ious = [] if len(classes) == 2 else [shown(_scores(found, "iou", c)) for c in columns]
    return [
        title,
        shown((run.record["annotator_s"] for run in found), 0).partition(" ")[0],
        shown(map(key_iou, found)),
        _ratio(found, masks),
        *ious,
        *(shown(_scores(found, "f1", c)) for c in columns),
        *_training_cells(found),
        str(len(found)),
    ]


_TRAINING_HEADS = ("training, s", "CPU, s", "on a GPU, s")


def _training_cells(found: Sequence[Run]) -> list[str]:
    """Mean seconds of the runs without a GPU, by the clock and of the processor; of those with."""
    without = [run.record for run in found if not _is_on_gpu(run)]
    by_gpu = [run.record["trained_s"] for run in found if _is_on_gpu(run)]
    times = [[one[name] for one in without] for name in ("trained_s", "trained_cpu_s")]
    return [shown(values, 0).partition(" ")[0] for values in (*times, by_gpu)]


def _is_on_gpu(run: Run) -> bool:
    return str(run.record.get("device", "cpu")) != "cpu"


def _scores(found: Iterable[Run], score: str, index: int) -> list[float | None]:
    return [run.record[score][index] for run in found]


def _ratio(over: Sequence[Run], under: Sequence[Run]) -> str:
    return shown([top / bottom for top, bottom in paired(over, under) if bottom > 0], 2)


def _missing(runs: Sequence[Run], family: str) -> str:
    lacking = [name for name in ROWS if not select(runs, family, name, HEADLINE_S)]
    return f"Not run: {', '.join(f'`{name}`' for name in lacking)}." if lacking else ""


def curves(results: Path) -> str:
    """Accuracy against the seconds that the annotator was given."""
    runs = load_runs(results, "study")
    blocks = []
    for family in parts_of(runs):
        here = [run for run in runs if run.family == family and run.budget_s is not None]
        budgets = sorted({run.budget_s for run in here if run.budget_s is not None})
        if len(budgets) < 2:
            continue
        names = [n for n in ROWS if len({run.budget_s for run in here if run.row == n}) > 1]
        head = ["seconds", *(str(ROWS[name].title) for name in names)]
        rows = [
            [f"{budget:g}", *(_iou_and_f1(select(here, family, n, budget)) for n in names)]
            for budget in budgets
        ]
        blocks += [f"**{_NAMES[family]}**", table(head, rows)]
    if not blocks:
        return _not_run("study", "--budgets 60 150 300 600")
    return "\n\n".join([*blocks, "In every cell: IoU / F1, of the class or the mean of all."])


def _iou_and_f1(found: Sequence[Run]) -> str:
    if not found:
        return NOTHING
    first = 1 if len(found[0].record["classes"]) == 2 else 0
    f1 = [mean(run.record["f1"][first:]) for run in found]
    return f"{shown(map(key_iou, found))} / {shown(f1)}"


def goals(results: Path) -> str:
    """What was to be shown, and what the runs show, run by run."""
    runs = load_runs(results, "study")
    rows: list[list[str]] = []
    for family in _LEAST:
        here = [run for run in runs if run.family == family]
        rows += _goals_of(family, here)
    if not rows:
        return _not_run("study", "--part report")
    return table(["what", "wanted", "here, mean (lowest)"], rows)


def _goals_of(family: str, runs: Sequence[Run]) -> Iterator[list[str]]:
    """Rows of what was run: ratios to masks, rounds of clicks, second looks, gains, seconds."""
    name = _NAMES[family].partition(",")[0].partition(" (VNC slices")[0]

    def pairs(over: str, under: str) -> list[tuple[float, float]]:
        found = (select(runs, family, row, HEADLINE_S) for row in (over, under))
        return paired(*found)

    def row(what: str, wanted: str, values: Sequence[float], digits: int) -> Iterator[list[str]]:
        if values:
            yield [f"{name}: {what}", wanted, _with_lowest(values, digits)]

    for over, what in _MEASURED.items():
        under, beside = ("masks-long", ", as many steps") if "/" in over else ("masks", "")
        ratios = [top / bottom for top, bottom in pairs(over, under) if bottom > 0]
        yield from row(f"{what} / all masks{beside}", _LEAST[family], ratios, 2)
    controls = [f"{one}+control" for one in _CORRECTED]
    for names, what, wanted in (
        (_CORRECTED, "change by a round of correction", "at least -.01"),
        (controls, "the same steps without clicks", NOTHING),
    ):
        rounds = [(f"{one}/1", one) for one in names] + [(f"{one}/2", f"{one}/1") for one in names]
        changes = [after - before for one in rounds for after, before in pairs(*one)]
        yield from row(what, wanted, changes, 3)
    clicked = [run.record for one in _CORRECTED for run in select(runs, family, f"{one}/1")]
    right = [one["n_right"] / one["n_clicked"] for one in clicked if one.get("n_clicked")]
    yield from row("clicked places that are right after a round", "at least .80", right, 2)
    learned = [one["n_learned"] / one["n_clicked"] for one in clicked if one.get("n_clicked")]
    yield from row("of them learned, so that other images profit", NOTHING, learned, 2)
    gains = [after - before for after, before in pairs("looked/1", "looked")]
    looks = [run.record for run in select(runs, family, "looked/1")]
    if looks:
        wrong = (mean(one[f"n_wrong_{when}"] for one in looks) for when in ("before", "after"))
        what = "change by a second look, wrong nodes {:.0f} before and {:.0f} after".format(*wrong)
        yield from row(what, "better .02", gains, 3)
    for other, text in (("masks-bought", "the masks of the same seconds"), ("forest", "forest")):
        gains = [a - b for a, b in pairs("fast", other)]
        yield from row(f"`fast` minus {text}", "above 0", gains, 3)
    for timed, wanted in (("timed", "below 60"), ("timed-frames", "below 90")):
        courses = [run.record["course"] for run in select(runs, family, timed)]
        reached = [time_to_share([(one[0], one[3]) for one in course]) for course in courses]
        seconds = [found for found in reached if found is not None]
        if seconds:
            what = f"{name}: s of training on two cores to 95 % of its own IoU, mean (slowest)"
            yield [what, wanted, f"{mean(seconds):.0f} ({max(seconds):.0f})"]


def _with_lowest(values: Sequence[float], digits: int) -> str:
    return f"{mean(values):.{digits}f} ({min(values):.{digits}f})"


def time_to_share(course: Sequence[tuple[float, float]], share: float = 0.95) -> float | None:
    """Seconds after which the IoU stays at or above a share of the last one.

    Parameters
    ----------
    course : sequence of (seconds, IoU)
    share : float

    Returns
    -------
    float or None
        None if nothing was found in the end either.

    Examples
    --------
    >>> time_to_share([(3, 0.1), (6, 0.5), (9, 0.4), (12, 0.5), (15, 0.5)])
    12
    """
    if not course or course[-1][1] <= 0:
        return None
    reached = course[-1][0]
    for seconds, iou in reversed(course):
        if iou < share * course[-1][1]:
            break
        reached = seconds
    return reached


def ablations(results: Path) -> str:
    """What each setting changes, seed by seed, against the base on the same images."""
    return _changes("ablations", results, ABLATIONS, _ablation_cells, "reading")


def robustness(results: Path) -> str:
    """What hardships change, and whether a map that is constant came without a word."""
    return _changes("robustness", results, CASES, _case_cells, "map, and what was said")


def _changes(
    command: str,
    results: Path,
    changes: Mapping[str, Change],
    last: Callable[[Sequence[Run], list[float]], str],
    last_head: str,
) -> str:
    runs = load_runs(results, command)
    blocks = []
    for family in parts_of(runs):
        here = [run for run in runs if run.family == family]
        head = ["what", "change", "IoU", "difference", *_TRAINING_HEADS, "runs", last_head]
        joined = {run.row for run in here if "+" in run.row and "/" not in run.row}
        rows = []
        for name in (*changes, *sorted(joined, key=partial(_places, changes))):
            found = _last_round(here, family, name)
            if not found:
                continue
            differences = _differences(found, here, name)
            group, title = _parts_of_title(name, _reference(here, name), changes)
            rows.append(
                [
                    group,
                    title,
                    shown(map(key_iou, found)),
                    NOTHING if name == "base" else signed(differences),
                    *_training_cells(found),
                    str(len(found)),
                    last(found, [] if name == "base" else differences),
                ]
            )
        tried = {run.row.partition("/")[0].rpartition("+")[2] for run in here}
        lacking = [one for one in changes if one not in tried]
        left = f"Not run: {', '.join(f'`{one}`' for one in lacking)}." if lacking else ""
        blocks += [f"**{_NAMES[family]}**", table(head, rows), left, _to_repeat(here)]
    return "\n\n".join(filter(None, blocks)) if blocks else _not_run(command)


def _places(changes: Mapping[str, Change], joined: str) -> list[int]:
    order = list(changes)
    return [order.index(name) for name in joined.split("+")]


def _reference(runs: Sequence[Run], name: str) -> str:
    """What a change is compared with: the longest part of "a+b+c" that is stored, else the base."""
    before = name.rpartition("+")[0]
    while before and not _last_round(runs, runs[0].family, before):
        before = before.rpartition("+")[0]
    return before or "base"


def _differences(found: Sequence[Run], runs: Sequence[Run], name: str) -> list[float]:
    reference = _last_round(runs, runs[0].family, _reference(runs, name))
    return [a - b for a, b in paired(found, reference)]


def _to_repeat(runs: Sequence[Run]) -> str:
    """Name the changes that one seed shows to matter."""
    names = []
    for name in dict.fromkeys(run.row for run in runs if "/" not in run.row):
        found = _last_round(runs, runs[0].family, name)
        if len(found) == 1 and any(abs(one) > CLEAR for one in _differences(found, runs, name)):
            names.append(f"`{name}`")
    return f"Differ by more than {CLEAR} with one seed so far: {', '.join(names)}." if names else ""


def _last_round(runs: Sequence[Run], family: str, name: str) -> list[Run]:
    """Runs of a change; where it corrects, as they are after the last round."""
    for number in (2, 1):
        if found := select(runs, family, f"{name}/{number}", HEADLINE_S):
            return found
    return select(runs, family, name, HEADLINE_S)


def _parts_of_title(name: str, reference: str, changes: Mapping[str, Change]) -> tuple[str, str]:
    """What is compared, and what is different from the reference."""
    new = [changes[one] for one in name.removeprefix(f"{reference}+").split("+")]
    groups = dict.fromkeys(change.group for change in new)
    return "; ".join(groups), f"{'; '.join(change.title for change in new)} (`{name}`)"


def _ablation_cells(_: Sequence[Run], differences: list[float]) -> str:
    """Whether a change is one: larger than `CLEAR`, and in every drawing to the same side."""
    if not differences:
        return ""
    middle = sum(differences) / len(differences)
    if abs(middle) <= CLEAR or min(differences) < 0 < max(differences):
        return "no clear difference"
    reading = "better" if middle > 0 else "worse"
    return reading if len(differences) > 1 else f"{reading}, one drawing"


def _case_cells(found: Sequence[Run], _: list[float]) -> str:
    """Share of the pixels that are found and true, of all classes but the first; warnings."""
    first = found[0].record
    shares = f"found {_percent(first['found'])}, true {_percent(first['true'])}"
    warnings = [text for run in found for level, text in run.record["messages"]
                if level == "warning"]  # fmt: skip
    said = f"; said: {' '.join(dict.fromkeys(warnings))}" if warnings else ""
    is_constant = any(run.record["is_constant"] for run in found)
    silent = "; **constant map without a word**" if is_constant and not warnings else ""
    return shares + ("; constant map" if is_constant and warnings else "") + silent + said


def _percent(shares: Sequence[float]) -> str:
    return " / ".join(f"{100 * share:.1f} %" for share in shares[1:])


def advice(results: Path) -> str:
    """Whether counting the slices that a network advises beats even spacing."""
    blocks = []
    for family, rows, gained in family_rows(load_trials(results)):
        blocks += [f"**{_NAMES[family]}**", table(HEAD, rows), gained]
    return "\n\n".join(blocks) if blocks else _not_run("advice")


def provenance(results: Path) -> str:
    """How often masks were scored on, and what every row was told, with commit and data."""
    scored = count_scorings(results)
    rows = []
    for command in ("study", "ablations", "robustness"):
        runs = [run for run in load_runs(results, command) if "/" not in run.row]
        for part in dict.fromkeys(run.part for run in runs):
            here = [run for run in runs if run.part == part]
            commits = sorted({run.record["commit"] for run in here})
            hashes = sorted({run.record["data_hash"] for run in here})
            minutes = sum(_total_s(run) for run in here) / 60
            rows.append(
                [command, part, str(len(here)), f"{minutes:.0f}", ", ".join(commits),
                 ", ".join(hashes), _machines(here)]
            )  # fmt: skip
    if not rows:
        return "Not run."
    made = table(
        ["command", "part", "runs", "training, min", "commits", "hash of the data",
         "threads (runs)"],
        rows,
    )  # fmt: skip
    counted = table(
        ["part", "scorings", "of different labels"],
        ([part, str(times), str(labels)] for part, (times, labels) in scored.items()),
    )
    return "\n\n".join([made, counted])


def _machines(runs: Sequence[Run]) -> str:
    """Say how many runs were computed with how many threads, or on a GPU."""
    used = Counter("GPU" if _is_on_gpu(run) else f"{run.record['threads']}" for run in runs)
    return ", ".join(f"{name} ({n})" for name, n in sorted(used.items()))


def _total_s(run: Run) -> float:
    rounds = run.record["rounds"]
    return float(rounds[-1]["trained_s"] if rounds else run.record["trained_s"])


def _not_run(command: str, options: str = "") -> str:
    words = " ".join(
        filter(None, ["python benchmarks/annotation", command, "--data DATA", options])
    )
    return f"Not run. To run it: `{words}`."


TABLES: dict[str, Callable[[Path], str]] = {
    "goals": goals,
    "study": study,
    "curves": curves,
    "ablations": ablations,
    "robustness": robustness,
    "advice": advice,
    "provenance": provenance,
}
