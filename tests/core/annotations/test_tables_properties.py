"""Whatever a file holds, reading it gives annotations or an `InputError`; writing loses nothing."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st
from table_readers import Stack, read_grid, read_keypoints, read_proportions

from napari_spss.core.annotations import (
    Annotations,
    CountingGrid,
    Keypoint,
    Proportion,
    Region,
    annotation_files,
    class_name_fault,
    read_annotations,
    restore_annotations,
    write_annotations,
    write_rows,
)
from napari_spss.core.annotations.csv_cells import read_table
from napari_spss.core.base import InputError

READERS = (read_proportions, read_keypoints, read_grid)

HEADERS = {
    read_proportions: "slice,y0,x0,y1,x1,background,mito,mito_low,mito_high",
    read_keypoints: "slice,y,x,class",
    read_grid: "slice,spacing_px,offset_y,offset_x,y,x,class,status",
}
NUMBERS = ["0", "1", "2", "0.5", "30", "30%", "-1", "1.5", "nan", "1e999", "9" * 30, "0,5", '"0,5"']
WORDS = ["", "mito", "bg", "done", "open", "mito_low", '"', "٣", "\0", "=1+1", " 1 "]
CELLS = st.one_of(
    st.sampled_from(NUMBERS + WORDS),
    st.text(max_size=4),
    st.floats().map(repr),
    st.integers().map(str),
)


def attempt(read, path, **options):
    """Annotations, or the only error that is allowed."""
    try:
        return read(path, **options)
    except InputError as error:
        return error


def read_stored(folder, classes, stack=None):
    """Read what was written, of whose keypoints the unit is known."""
    return read_annotations(
        **annotation_files(folder), classes=classes, stack=stack, keypoint_units="pixel"
    )


def check_reads_or_explains(read, data, stack, classes=None):
    """Check that the outcome is complete: valid annotations, or places with reasons."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        path.write_bytes(data)
        outcome = attempt(read, path, stack=stack, classes=classes)
        if isinstance(outcome, Annotations):
            outcome.validate_against(stack)
            write_annotations(folder, outcome)
            assert read_stored(folder, outcome.classes, stack) == outcome
            return
    assert str(outcome)
    for problem in outcome.problems:
        assert problem.reason
        assert problem.remedy
        assert problem.row is None or 1 <= problem.row <= 1 + len(data)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(READERS), st.binary(max_size=200), st.sampled_from([None, Stack()]))
def test_any_bytes_are_read_or_explained(read, data, stack):
    check_reads_or_explains(read, data, stack)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(READERS), st.text(max_size=200), st.booleans())
def test_any_text_is_read_or_explained(read, text, has_header):
    start = HEADERS[read] + "\n" if has_header else ""
    check_reads_or_explains(read, (start + text).encode("utf-8", "replace"), Stack())


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(READERS).flatmap(
        lambda read: st.tuples(
            st.just(read),
            st.lists(st.lists(CELLS, min_size=1, max_size=len(HEADERS[read].split(",")) + 1)),
        )
    ),
    st.sampled_from([None, Stack()]),
    st.sampled_from([None, ["mito"], ["background", "axon", "mito"]]),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_tables_of_odd_cells_are_read_or_explained(table, stack, classes, line_end):
    read, rows = table
    width = len(HEADERS[read].split(","))
    padded = [",".join([*row, *[""] * (width - len(row))]) for row in rows]
    text = line_end.join([HEADERS[read], *padded])
    check_reads_or_explains(read, text.encode("utf-8", "replace"), stack, classes)


@settings(max_examples=40)
@given(st.lists(CELLS, min_size=1, max_size=8), st.sampled_from(READERS))
def test_odd_headers_are_read_or_explained(names, read):
    row = ",".join("1" for _ in names)
    text = ",".join(["slice", *names]) + f"\n0,{row}\n"
    check_reads_or_explains(read, text.encode("utf-8", "replace"), None)


# --- round trip ----------------------------------------------------------------------------------

names = st.text(min_size=1, max_size=8).filter(lambda name: class_name_fault(name) is None)
coordinates = st.floats(-0.5, 1e6).map(lambda value: value + 0.0)
class_lists = st.lists(
    names.filter(lambda name: name.casefold() not in ("background", "bg")),
    min_size=1,
    max_size=3,
    unique_by=str.casefold,
).map(lambda others: ("background", *others))
boxes = st.none() | st.tuples(*[st.integers(0, 1000)] * 2, *[st.integers(1001, 2000)] * 2)


@st.composite
def proportions(draw, n_classes):
    weights = draw(st.lists(st.floats(1e-6, 1), min_size=n_classes, max_size=n_classes))
    fractions = [weight / sum(weights) for weight in weights]
    known = draw(st.lists(st.booleans(), min_size=n_classes, max_size=n_classes))
    width = draw(st.none() | st.floats(0, 1))
    fractions = [
        value if is_known else None for value, is_known in zip(fractions, known, strict=True)
    ]
    low = high = None
    if width is not None:
        low = tuple(None if value is None else value * width for value in fractions)
        high = tuple(None if value is None else value + (1 - value) * width for value in fractions)
        high = tuple(None if value is None else min(value, 1.0) for value in high)
    region = Region(draw(st.integers(0, 10**6)), draw(boxes))
    return Proportion(region, tuple(fractions), low, high).normalised()


@st.composite
def grids(draw, n_classes):
    box = draw(boxes)
    y0, x0, y1, x1 = box or (0, 0, 10**6, 10**6)
    rows, columns = st.floats(y0 - 0.5, y1 - 1), st.floats(x0 - 0.5, x1 - 1)
    place = st.tuples(rows, columns).map(lambda yx: (yx[0] + 0.0, yx[1] + 0.0))
    positions = draw(st.lists(place, min_size=1, unique=True))
    classes = st.integers(-2, n_classes - 1)  # -1 = unsure, -2 = not judged
    n = len(positions)
    y, x = np.array(positions).T
    return CountingGrid(
        draw(st.integers(0, 10**6)),
        draw(st.floats(1e-3, 1e6)),
        draw(coordinates),
        draw(coordinates),
        y,
        x,
        np.array(draw(st.lists(classes, min_size=n, max_size=n))),
        draw(st.booleans()),
        box,
        np.array(draw(st.lists(st.integers(0, 255), min_size=n, max_size=n))),
    )


@st.composite
def all_annotations(draw):
    classes = draw(class_lists)
    n_classes = len(classes)
    indices = st.integers(0, n_classes - 1)
    points = st.builds(Keypoint, st.integers(0, 99), coordinates, coordinates, indices)
    return Annotations(
        classes,
        draw(st.lists(proportions(n_classes), max_size=4, unique_by=lambda one: one.region)),
        draw(st.lists(points, max_size=4, unique_by=lambda point: (point.slice, *point.pixel))),
        draw(st.lists(grids(n_classes), max_size=3, unique_by=lambda g: (g.slice, g.box is None))),
    )


@settings(max_examples=60, deadline=None)
@given(all_annotations())
def test_annotations_survive_writing_and_reading_exactly(annotations):
    with tempfile.TemporaryDirectory() as folder:
        write_annotations(folder, annotations)
        back = read_stored(folder, annotations.classes)
        restored, problems = restore_annotations(annotation_files(folder))
    assert back == annotations
    assert all("no judged node" in note or "rows are missing" in note for note in back.notes)
    assert back.effective_proportions() == annotations.effective_proportions()
    assert restored == annotations
    assert problems == ()


@settings(max_examples=60, deadline=None)
@given(all_annotations(), st.data())
def test_a_damaged_row_takes_no_other_from_view(annotations, data):
    lines_of = {
        "proportions": ("proportions.csv", annotations.proportions),
        "keypoints": ("keypoints.csv", annotations.keypoints),
    }
    name, items = lines_of[data.draw(st.sampled_from(sorted(lines_of)))]
    if not items:
        return
    place = data.draw(st.integers(0, len(items) - 1))
    garbage = data.draw(st.sampled_from([b"", b"?", b"\xff", b'"', b"9,9,9,9,9,9,9,9,9,9"]))
    with tempfile.TemporaryDirectory() as folder:
        write_annotations(folder, annotations)
        path = Path(folder) / name
        lines = path.read_bytes().split(b"\n")
        lines[place + 1] = garbage + lines[place + 1][: 1 if garbage else 0]
        path.write_bytes(b"\n".join(lines))
        restored, problems = restore_annotations(
            annotation_files(folder), classes=annotations.classes
        )
    kept = (*items[:place], *items[place + 1 :])
    assert getattr(restored, name.removesuffix(".csv")) == kept
    assert bool(problems) == bool(garbage)
    assert restored.grids == annotations.grids


free_texts = st.text(
    st.characters(exclude_categories=["C"]) | st.sampled_from("=+-@'\t"), min_size=1
)


@given(free_texts.filter(lambda text: text == text.strip() or text[0] == "\t"))
@example("=HYPERLINK(1)")
@example("'=1")
@example("\t=1")
@example("+1")
def test_no_text_is_written_as_a_formula_and_each_is_read_back(text):
    text = text.rstrip()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        write_rows(path, [("name", "value"), (text, -1.5)])
        with path.open(encoding="utf-8", newline="") as file:
            raw = list(csv.reader(file))[1]
        assert not raw[0].startswith(tuple("=+-@\t\r\n"))
        assert raw[1] == "-1.5", "a number stays one"
        problems = []
        table = read_table(path, problems, expects=("name",))
        assert table.rows[2] == {"name": text, "value": "-1.5"}
        assert problems == []


@pytest.mark.parametrize("value", [0.1, 1 / 3, 5e-324, 1.0, 0.0, 1 - 2**-53])
@pytest.mark.parametrize("name", ["a", "a (%)"])
def test_fractions_are_exact_to_the_last_bit(name, value):
    annotations = Annotations(
        ("background", name, "b"), (Proportion(Region(0), (None, value, None)),)
    )
    with tempfile.TemporaryDirectory() as folder:
        write_annotations(folder, annotations)
        files = annotation_files(folder)
        assert restore_annotations(files) == (annotations, ())
        assert read_annotations(**files).proportions == annotations.proportions
