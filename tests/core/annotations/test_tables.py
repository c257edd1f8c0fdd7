from __future__ import annotations

import csv
import os
import re
from pathlib import Path

import numpy as np
import pytest
from table_readers import Stack, read_grid, read_keypoints, read_proportions

from napari_spss.core.annotations import (
    NOT_JUDGED,
    UNSURE,
    Annotations,
    CountingGrid,
    Keypoint,
    Proportion,
    Region,
    annotation_files,
    lay_frames,
    lay_grid,
    read_annotations,
    read_groups,
    restore_annotations,
    write_annotations,
    write_grid,
    write_keypoints,
    write_proportions,
)
from napari_spss.core.base import InputError, RunError

GRID_HEADER = "slice,spacing_px,offset_y,offset_x,y,x,class,status\n"
FRAME_HEADER = "slice,y0,x0,y1,x1,spacing_px,offset_y,offset_x,y,x,class,status\n"


@pytest.fixture
def save(tmp_path):
    def write(text, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def problems_of(read, *args, **options):
    with pytest.raises(InputError) as caught:
        read(*args, **options)
    return list(caught.value.problems)


def fractions_of(annotations):
    return [proportion.fractions for proportion in annotations.proportions]


# --- proportions ---------------------------------------------------------------------------------


def test_fractions_and_per_cent_with_the_background_as_remainder(save):
    for text in (
        "slice,mito,axon\n0,0.1,.2\n1,0.25,.05\n2,0,0\n3,1,0\n4,1e-1,5e-3\n",
        "slice,mito,axon\n0,10%,20 %\n1,25%,5 %\n2,0,0\n3,100%,0\n4,1e1%,0.5%\n",
        "slice,mito (%),axon [%]\n0,10,20\n1,25,5%\n2,0,0\n3,100,0\n4,1e1,0.5\n",
    ):
        annotations = read_proportions(save(text))
        assert annotations.classes == ("background", "mito", "axon")
        assert np.allclose(
            np.array(fractions_of(annotations)),
            [(0.7, 0.1, 0.2), (0.7, 0.25, 0.05), (1, 0, 0), (0, 1, 0), (0.895, 0.1, 0.005)],
        )
        assert fractions_of(annotations)[2] == (1.0, 0.0, 0.0)
        assert [one.region for one in annotations.proportions] == [Region(z) for z in range(5)]
        assert annotations.notes == ()


def test_blank_is_unknown_and_keeps_the_background_unknown(save):
    path = save("slice,background,mito,axon\n0,,0.1,\n1,.5,,\n2,,,\n3,,.1,.2\n")
    assert fractions_of(read_proportions(path)) == [
        (None, 0.1, None),
        (0.5, None, None),
        (None, None, None),
        (pytest.approx(0.7), 0.1, 0.2),
    ]


def test_boxes_are_regions_and_blank_boxes_whole_slices(save):
    path = save("slice,y0,x0,y1,x1,mito\n0,,,,,.1\n0,0,5,10,20,.2\n1,0,0,10,20,.3\n")
    regions = [one.region for one in read_proportions(path).proportions]
    assert regions == [Region(0), Region(0, (0, 5, 10, 20)), Region(1, (0, 0, 10, 20))]
    regions = [one.region for one in read_proportions(path, stack=Stack()).proportions]
    assert regions[2] == Region(1), "a box around the whole slice is the slice"


def test_intervals_stand_with_and_without_a_fraction(save):
    path = save("slice,mito,Mito_Low,mito_HIGH\n0,.1,5e-2,.2\n1,,.05,.1\n2,,,.01\n3,.1,,\n")
    first, second, third, fourth = read_proportions(path).proportions
    assert (first.fractions, first.bounds()[1]) == ((0.9, 0.1), (0.05, 0.2))
    assert (second.fractions, second.bounds()[1]) == ((None, None), (0.05, 0.1))
    assert (third.low, third.high) == (None, (None, 0.01))
    assert (fourth.low, fourth.high) == (None, None)


def test_an_interval_may_be_all_there_is_of_a_class(save):
    annotations = read_proportions(save("slice,mito_low,mito_high\n0,.05,.1\n"))
    assert annotations.classes == ("background", "mito")
    assert annotations.proportions[0].effective_fractions() == pytest.approx((0.925, 0.075))


def test_a_sum_near_one_is_renormalised_with_a_note(save):
    path = save("slice,background,mito\n0,.9,.09\n1,.9,.1\n2,.92,.1\n")
    annotations = read_proportions(path)
    assert fractions_of(annotations) == [
        (pytest.approx(0.9 / 0.99), pytest.approx(0.09 / 0.99)),
        (0.9, 0.1),
        (pytest.approx(0.92 / 1.02), pytest.approx(0.1 / 1.02)),
    ]
    (note,) = annotations.notes
    assert "renormalised" in note
    assert "(lines 2, 4)" in note


def test_background_comes_first_whatever_its_column_and_spelling(save):
    annotations = read_proportions(save("slice,axon,BG,mito\n0,.2,.7,.1\n"))
    assert annotations.classes == ("BG", "axon", "mito")
    assert fractions_of(annotations) == [(0.7, 0.2, 0.1)]


def test_given_classes_set_the_order_and_missing_columns_are_unknown(save):
    path = save("Slice, MITO ,background\n0,.1,.9\n")
    annotations = read_proportions(path, classes=["mito", "bg", "axon"])
    assert annotations.classes == ("bg", "mito", "axon")
    assert fractions_of(annotations) == [(0.9, 0.1, None)]
    assert read_proportions(path, classes=["mito"]).classes == ("background", "mito")


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbfslice,mito\n1,.5\n",
        b"slice,mito\r\n1,.5\r\n",
        b"slice,mito\r1,.5\r",
        b'"slice","mito"\n"1","0.5"',
        b"slice,mito,,\n1,.5,,\n,,,\n\n",
        b"\n , \nSLICE , Mito\n 1 , 50% \n",
        b"slice,,mito\n1.0,,+.5\n",
        "slice,mito\n1,.5\u00a0\n".encode(),
    ],
)
def test_spreadsheets_variants_are_understood(save, data):
    annotations = read_proportions(save(data))
    assert [name.lower() for name in annotations.classes] == ["background", "mito"]
    assert annotations.proportions == (Proportion(Region(1), (0.5, 0.5)),)


@pytest.mark.parametrize(
    ("cell", "reason", "remedy"),
    [
        ("30", "is above 1", "write 30%"),
        ("1.5", "is above 1", "write 1.5%"),
        ("500", "is above 1", "0.30, or 30%"),
        ("120%", "is above 100 %", "at most 100%"),
        ("-0.1", "is negative", "from 0 to 1"),
        ("nan", "is not a finite number", "leave the cell blank"),
        ("inf", "is not a finite number", "leave the cell blank"),
        ("-inf%", "is not a finite number", "12.5"),
        ('"0,3"', "has a decimal comma", "write 0.3"),
        ('"30,5 %"', "has a decimal comma", "write 30.5 %"),
        ("a lot", "is not a number", "12.5"),
        ("1_0", "is not a number", "12.5"),
        ("٣", "is not a number", "12.5"),
        ("0.1.2", "is not a number", "12.5"),
        ("%", "is not a number", "12.5"),
        ("9" * 5000, "is not a number", "12.5"),
        ("1e999", "is too large", "finite"),
    ],
)
def test_a_malformed_fraction_is_reported_with_its_cell(save, cell, reason, remedy):
    path = save(f"slice,Mito\n0,0\n\n1,{cell}\n")
    (problem,) = problems_of(read_proportions, path)
    assert (problem.file, problem.row, problem.column) == (str(path), 4, "Mito")
    assert problem.value == cell.strip('"')
    assert reason in problem.reason
    assert remedy in problem.remedy


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("", "is blank"),
        ("1.5", "is not a whole number"),
        ("-1", "is negative"),
        ("x", "is not a number"),
        ("1e12", "is too large"),
        ("3", "is outside the stack of 3 slices"),
    ],
)
def test_a_slice_must_be_one_of_the_stack(save, cell, reason):
    (problem,) = problems_of(read_proportions, save(f"slice,mito\n{cell},.1"), stack=Stack())
    assert (problem.row, problem.column) == (2, "slice")
    assert reason in problem.reason


def test_the_one_slice_of_an_image_is_slice_0(save):
    path = save("slice,mito\n1,.1\n")
    (problem,) = problems_of(read_proportions, path, stack=Stack(1))
    assert (problem.value, problem.remedy) == ("1", "use slice 0")


@pytest.mark.parametrize(
    ("box", "column", "reason"),
    [
        ("0,0,11,20", "y1,x1", "leaves the image, which is 10 x 20 px"),
        ("0,0,10,21", "y1,x1", "leaves the image"),
        ("5,0,5,20", "y1", "leaves the box empty"),
        ("0,9,5,3", "x1", "leaves the box empty"),
        ("-1,0,5,5", "y0", "is negative"),
        ("0,,5,5", "x0", "is blank"),
        ("0,0.5,5,5", "x0", "is not a whole number"),
    ],
)
def test_a_box_must_lie_in_the_image(save, box, column, reason):
    path = save(f"slice,y0,x0,y1,x1,mito\n0,{box},.1\n")
    (problem,) = problems_of(read_proportions, path, stack=Stack())
    assert (problem.row, problem.column) == (2, column)
    assert reason in problem.reason


@pytest.mark.parametrize(
    ("text", "row", "reason"),
    [
        ("slice,mito\n0,.1\n1,.1\n0,.2\n", 4, "names the same slice as line 2"),
        ("slice,y0,x0,y1,x1,mito\n0,1,1,2,2,.1\n0,1,1,2,2,.1\n", 3, "the same box as line 2"),
        ("slice,background,mito\n0,.5,.4\n", 2, "sum to 0.9"),
        ("slice,background,mito\n0,.9,.4\n", 2, "sum to 1.3"),
        ("slice,a,b\n0,60%,50%\n", 2, "sum to 1.1"),
        ("slice,mito,mito_low\n0,.1,.2\n", 2, "does not bound the fraction"),
        ("slice,mito,mito_high\n0,.3,.2\n", 2, "does not bound the fraction"),
        ("slice,mito_low,mito_high\n0,.3,.2\n", 2, "does not bound the fraction"),
        ("slice,mito\n0,0,30\n", 2, "has 3 cells, but the header has 2"),
        ("slice,mito\n0\n", 2, "has 1 cells, but the header has 2"),
        ('slice,mito\n0,"0.3\n', 2, "is not valid CSV"),
    ],
)
def test_rows_that_contradict_are_reported(save, text, row, reason):
    (problem,) = problems_of(read_proportions, save(text))
    assert problem.row == row
    assert reason in problem.reason


@pytest.mark.parametrize(
    "text",
    [
        "slice;mito;axon\n0;6%;0,5%\n2;1,250%;\n",
        "slice\tmito\taxon\r\n0\t6%\t0,5%\r\n2\t1,250%\t\r\n",
        "slice|mito|axon\n0|6%|0.5%\n2|1.25%|\n",
        "sep=;\nslice;mito;axon\n0;0,06;0,005\n2;0,0125;\n",
        '"sep=,"\nslice,mito,axon\n0,6%,0.5%\n2,1.25%,\n',
        ';;\n"slice";mito (%);axon (%)\n0;6;0,5\n2;1,25;\n',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_tables_of_spreadsheets_in_other_languages_are_read(tmp_path, text, encoding):
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode(encoding))
    first, second = read_proportions(path, stack=Stack()).proportions
    assert first.fractions == pytest.approx((0.935, 0.06, 0.005))
    assert (second.region.slice, *second.fractions) == (2, None, 0.0125, None)


def test_commas_that_may_all_be_those_of_thousands_are_told_whatever_the_separator(save):
    path = save("slice;y;x;class\n0;1,250;1;mito\n1;8,5;1,250;mito\n")
    assert [point.x for point in read_keypoints(path).keypoints] == [1, 1.25]
    for rows in ("0;1,250;1;mito\n", "0;1.250;1;mito\n1;8,5;1;mito\n"):
        (problem,) = problems_of(read_keypoints, save(f"slice;y;x;class\n{rows}"))
        assert "may be 1250 or 1.250" in problem.reason


def test_lines_of_a_table_count_with_one_that_states_the_separator(save):
    (problem,) = problems_of(read_proportions, save("sep=;\nslice;mito\n0;x\n"))
    assert problem.row == 3


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf\n ,,\n", "is empty"),
        ("slice,Hülle\n0,.1\n".encode("latin-1"), "is not UTF-8 text"),
        (b"mito\n.1\n", "has no column slice"),
        (b"0,0.1\n1,0.2\n", "has no column slice"),
        (b"slice,y0,x0,mito\n0,1,1,.1\n", "has no columns y1, x1"),
        (b"slice\n0\n", "names no class"),
        (b"slice,mito,MITO\n0,.1,.1\n", "names columns twice"),
        (b"slice,bg,background\n0,.1,.1\n", "about the same class as column 'bg'"),
        (b"slice,mito,,axon\n0,.1,5,.1\n", "a column without a name"),
        (b"slice,_low\n0,.1\n", "is an empty class name"),
        (b"slice,mi\0to\n0,.1\n", "characters that cannot be shown"),
        (b"slice,=1+1\n0,.1\n", "take for the beginning of a formula"),
        (b"slice,y,x,class\n0,1,1,mito\n", "looks like a table of keypoints"),
        (GRID_HEADER.encode(), "looks like a table of grid"),
        (b"slice," + b"a" * 200_000 + b"\n", "is not valid CSV"),
    ],
)
def test_unusable_files_are_described(save, data, reason):
    problem = problems_of(read_proportions, save(data))[0]
    assert reason in problem.reason
    assert problem.remedy


def test_the_line_of_a_wrong_byte_is_named(save):
    (problem,) = problems_of(read_proportions, save(b"slice,a\n0,1\n\xff"))
    assert problem.row == 3


def test_files_that_cannot_be_opened_are_described(tmp_path):
    problems = problems_of(
        read_annotations, proportions=tmp_path / "none.csv", keypoints=tmp_path, classes=["mito"]
    )
    assert [problem.reason for problem in problems] == ["does not exist", "is a folder"]


def test_other_faults_of_the_system_are_passed_on_in_words(save, monkeypatch):
    def denied(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    (problem,) = problems_of(read_proportions, save("slice,mito\n"))
    assert problem.reason == "cannot be read (Permission denied)"


def test_an_unknown_class_is_compared_with_the_known_ones(save):
    path = save("slice,mitochondira,mito_low\n0,.1,.05\n")
    problems = problems_of(read_proportions, path, classes=["bg", "mitochondria"])
    assert [problem.column for problem in problems] == ["mitochondira", "mito_low"]
    assert "write 'mitochondria' if that is meant" in problems[0].remedy
    keypoints = save("slice,y,x,class\n0,1,1,qq\n")
    (problem,) = problems_of(read_keypoints, keypoints, classes=["bg", "mitochondria"])
    assert "use one of 'bg', 'mitochondria'" in problem.remedy


@pytest.mark.parametrize("classes", [["a", "A"], ["bg", "background", "a"], ["a_low"], [""]])
def test_unusable_given_classes_are_refused(save, classes):
    with pytest.raises(InputError) as caught:
        read_keypoints(save("slice,y,x,class\n"), classes=classes)
    assert caught.value.field == "classes"


# --- per cent and thousands ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "cells", "told"),
    [
        ("mitochondria", ("6", "1", "0.6"), {"6", "1", "0.6"}),
        ("mitochondria", ("6%", "1", "0.6"), {"1", "0.6"}),
        ("mitochondria", ("0.06", "1", "0.6%"), {"0.06", "1"}),
        ("mitochondria_low (%),mitochondria", ("6,0.6", "0,0", ",1%"), {"0.6"}),
    ],
)
def test_a_table_is_never_of_two_units(save, header, cells, told):
    path = save(f"slice,{header}\n" + "".join(f"{z},{cell}\n" for z, cell in enumerate(cells)))
    problems = problems_of(read_proportions, path)
    assert {problem.value for problem in problems} == told


@pytest.mark.parametrize(
    ("cells", "choice", "meant"),
    [
        (("6", "1", "0.6"), 1, (6, 1, 0.6)),
        (("6", "1", "0.6"), 0, (6, 100, 60)),
        (("6%", "1", "0.6"), 1, (6, 1, 0.6)),
        (("0.06", "1", "2%"), 0, (6, 100, 2)),
        (("0.06", "1", "2%"), 1, (0.06, 1, 2)),
    ],
)
def test_remedies_for_a_mixed_table_lead_to_what_is_meant_one_by_one(save, cells, choice, meant):
    cells = list(cells)
    annotations = None
    while annotations is None:
        path = save("slice,mito\n" + "".join(f"{z},{cell}\n" for z, cell in enumerate(cells)))
        try:
            annotations = read_proportions(path)
        except InputError as error:
            problem = error.problems[0]
            written = re.findall(r"[\d.]+%", problem.remedy)
            assert cells[problem.row - 2] != written[-1], "the remedy helps"
            cells[problem.row - 2] = written[min(choice, len(written) - 1)]
    stated = [100 * one.fractions[1] for one in annotations.proportions]
    assert stated == pytest.approx(meant)


def test_the_header_may_say_that_a_column_is_per_cent(save):
    signs = "{} (%)", "{} [%]", "{} %", "% {}", "{}_%", "{} (in %)"
    words = "{}_percent", "{}.pct", "{} pct", "percent_{}", "Percentage of {}", "{} per cent"
    for column in (one.format("mitochondria") for one in (*signs, *words)):
        annotations = read_proportions(save(f"slice,{column}\n0,6\n1,1\n2,0.6%\n3,120e-1\n"))
        assert annotations.classes == ("background", "mitochondria")
        fractions = [one.fractions[1] for one in annotations.proportions]
        assert fractions == [0.06, 0.01, 0.006, 0.12]
    (problem,) = problems_of(read_proportions, save("slice,a (%)\n0,120\n"))
    assert problem.reason == "is above 100 %"


def test_a_column_of_many_blanks_is_no_unit_and_takes_no_time(save):
    name = f"a{' ' * 20_000}b"
    annotations = read_proportions(save(f"slice,{name}\n0,0.5\n"))
    assert fractions_of(annotations) == [(0.5, 0.5)]


def test_a_class_whose_own_name_ends_with_per_cent_is_found_by_that_name(save):
    path = save("slice,a (%)\n0,0.5\n")
    annotations = read_proportions(path, classes=["a (%)"])
    assert annotations.classes == ("background", "a (%)")
    assert fractions_of(annotations) == [(0.5, 0.5)]


@pytest.mark.parametrize(
    ("cell", "reason", "remedy"),
    [
        ("1,000", "may be 1000 or 1.000", "write 1000 or 1"),
        ("12,345", "may be 12345 or 12.345", "write 12345 or 12.345"),
        ("1.000", "may be 1000 or 1", "write 1000 or 1"),
        ("1,000,000", "commas between thousands", "write 1000000"),
        ("1,000.5", "commas between thousands", "write 1000.5"),
    ],
)
def test_a_number_that_may_be_two_is_told_with_both(save, cell, reason, remedy):
    path = save(f'slice,y0,x0,y1,x1,mito\n0,0,0,"{cell}",50,6%\n')
    (problem,) = problems_of(read_proportions, path)
    assert (problem.column, problem.value) == ("y1", cell)
    assert reason in problem.reason
    assert problem.remedy == remedy


# --- keypoints -----------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [" ,X,Y,Slice", "X,Y,Slice", " ,Label,X,Y,Slice,Extra"])
def test_a_table_of_fiji_without_measurements_counts_slices_from_1_too(save, header):
    cells = {" ": "1", "X": "8.5", "Y": "3.5", "Slice": "2"}
    row = ",".join(cells.get(name, "a") for name in header.split(","))
    annotations = read_keypoints(
        save(f"{header}\n{row}\n"), classes=["mito"], stack=Stack(), keypoint_units="pixel"
    )
    assert annotations.keypoints == (Keypoint(1, 3.0, 8.0, 1),)
    assert "counted from 1" in annotations.notes[0]


def test_shapes_of_napari_are_no_points(save):
    path = save("index,shape-type,vertex-index,axis-0,axis-1,axis-2\n0,polygon,0,1,10,20\n")
    (problem,) = problems_of(read_keypoints, path, classes=["mito"])
    assert "shapes" in problem.reason


def test_keypoints_name_their_classes_in_order_of_appearance(save):
    path = save("slice,y,x,class\n0,1,2.5,mito\n1,-0.5,19.4,Background\n1,3,3,axon\n1,5,5,MITO\n")
    annotations = read_keypoints(path, stack=Stack())
    assert annotations.classes == ("Background", "mito", "axon")
    assert annotations.keypoints == (
        Keypoint(0, 1.0, 2.5, 1),
        Keypoint(1, -0.5, 19.4, 0),
        Keypoint(1, 3.0, 3.0, 2),
        Keypoint(1, 5.0, 5.0, 1),
    )


@pytest.mark.parametrize(
    ("row", "column", "reason"),
    [
        ("0,9.5,1,mito", "y", "is outside the image, which is 10 x 20 px (y, x)"),
        ("0,1,19.5,mito", "x", "is outside the image"),
        ("0,-0.51,1,mito", "y", "is outside the image"),
        ("0,,1,mito", "y", "is blank"),
        ("0,1,nan,mito", "x", "is not a finite number"),
        ('0,"1,5",1,mito', "y", "has a decimal comma"),
        ("0,1,1,", "class", "is an empty class name"),
        ("0,1,1,mito_low", "class", "proportions.csv need"),
        ("0,1,1,=1+1", "class", "take for the beginning of a formula"),
        ("3,1,1,mito", "slice", "is outside the stack"),
        ("0.5,1,1,mito", "slice", "is not a whole number"),
        ("0,4.6,5.4,axon", "class", "lies on the same pixel as the 'mito' of line 2"),
    ],
)
def test_a_malformed_keypoint_is_reported_with_its_cell(save, row, column, reason):
    path = save(f"slice,y,x,class\n0,5,5,mito\n{row}\n")
    (problem,) = problems_of(read_keypoints, path, stack=Stack())
    assert (problem.row, problem.column) == (3, column)
    assert reason in problem.reason


class ScaledStack(Stack):
    """Slices of 1000 x 2000 px of 4 x 5 nm, 50 nm apart."""

    voxel_size_um = (0.05, 0.004, 0.005)

    def shape_of(self, z):
        return 1000, 2000

    def pixel_size_um(self, z):
        return 0.0045


@pytest.mark.parametrize(
    "rows",
    [
        "0,0.2,0.25,mito\n1,0.35,0.475,mito\n",
        "0,1,1,mito\n",
        "0,2,-0.4,mito\n1,0,1.9,mito\n",
        "0,3.2,8.5,mito\n",  # within 4 um x 10 um, which are 1000 x 2000 px
    ],
)
def test_keypoints_that_may_be_micrometres_ask_for_their_unit(save, rows):
    path = save(f"slice,y,x,class\n{rows}")
    (problem,) = problems_of(read_keypoints, path, stack=ScaledStack())
    assert "may be micrometres" in problem.reason
    assert "--keypoint-units um, or pixel" in problem.remedy
    first = path.read_text().split()[1].split(",")
    in_pixels = read_keypoints(path, stack=ScaledStack(), keypoint_units="pixel").keypoints[0]
    assert (in_pixels.y, in_pixels.x) == (float(first[1]), float(first[2]))
    if "-" not in rows:
        scaled = read_keypoints(path, stack=ScaledStack(), keypoint_units="um").keypoints[0]
        assert (scaled.y, scaled.x) == pytest.approx((in_pixels.y / 0.004, in_pixels.x / 0.005))


def test_positions_in_a_corner_of_an_image_without_pixel_size_ask_for_their_unit(save):
    path = save("slice,y,x,class\n0,1.2,8.5,mito\n1,7.3,2.5,mito\n")
    (problem,) = problems_of(read_keypoints, path, stack=Stack1000())
    assert "may be micrometres" in problem.reason
    assert read_keypoints(path, stack=Stack1000(), keypoint_units="pixel").keypoints[1].y == 7.3
    path = save("slice,y,x,class\n0,3,5,mito\n1,4,2,mito\n1,6.5,40,mito\n")  # no lengths
    assert len(read_keypoints(path, stack=Stack1000()).keypoints) == 3


def test_slices_of_fijis_cell_counter_count_from_1(save):
    path = save("Type,Slice,X,Y,Value,class\n1,3,500,200,9,mito\n")
    annotations = read_keypoints(path, stack=Stack1000())
    assert annotations.keypoints == (Keypoint(2, 199.5, 499.5, 1),)
    assert "a table of Fiji" in annotations.notes[0]


@pytest.mark.parametrize("rows", ["0,3.2,8.5,mito\n", "0,1,1,mito\n1,700,2,mito\n"])
def test_keypoints_of_which_one_lies_far_from_the_origin_are_pixels(save, rows):
    assert read_keypoints(save(f"slice,y,x,class\n{rows}"), stack=Stack1000()).keypoints


class Stack1000(Stack):
    """An image that does not state the size of its pixels."""

    def shape_of(self, z):
        return 1000, 2000


def test_keypoints_in_nanometres_and_in_naparis_file_use_the_voxel_size(save):
    own = save("slice,y,x,class\n2,3996,2500,a\n")
    napari = save("index,axis-0,axis-1,axis-2,class\n0,0.1,3.996,2.5,a\n", "napari.csv")
    for path, units in ((own, "nm"), (napari, "um")):
        annotations = read_keypoints(path, stack=ScaledStack(), keypoint_units=units)
        (point,) = annotations.keypoints
        assert point.slice == 2
        assert (point.y, point.x) == pytest.approx((999, 500))
        assert annotations.notes == (), "0.1 um are two slices; it lies between none"


@pytest.mark.parametrize("stack", [None, Stack1000()])
def test_lengths_need_the_size_of_a_pixel(save, stack):
    path = save("slice,y,x,class\n0,0.2,0.3,a\n")
    with pytest.raises(InputError, match=r"keypoints in um need the size of a pixel.*--voxel-size"):
        read_keypoints(path, stack=stack, keypoint_units="um")
    with pytest.raises(InputError, match=r"'furlong2' is no unit of length; give pixel, um or nm"):
        read_keypoints(path, stack=stack, keypoint_units="furlong2")


def test_fijis_table_is_recognised_and_counted_from_1_and_from_corners(save):
    text = " ,Area,X,Y,Slice,Counter,Count,class\n1,0,50.5,40.2,1,0,1,a\n2,0,95.0,70.0,3,0,2,a\n"
    annotations = read_keypoints(save(text), stack=Stack1000())
    assert annotations.keypoints == (Keypoint(0, 39.7, 50.0, 1), Keypoint(2, 69.5, 94.5, 1))
    assert [point.pixel for point in annotations.keypoints] == [(40, 50), (70, 95)]
    (note,) = annotations.notes
    assert "a table of Fiji: slices were counted from 1" in note
    (problem,) = problems_of(read_keypoints, save(text.replace(",1,0,1,a", ",0,0,1,a")))
    assert "counts from 1" in problem.reason
    assert problem.column == "Slice"
    (problem,) = problems_of(
        read_keypoints, save(text.replace(",3,0,2,a", ",4,0,2,a")), stack=Stack1000()
    )
    assert "outside the stack of 3 slices" in problem.reason
    assert (problem.value, problem.remedy) == ("4", "use 1 to 3, as Fiji counts")


def test_groups_go_by_names_however_accents_are_written(save):
    path = save("image,group\nmau\u00df_\u00e4,a\n")
    assert read_groups(path, ["study/mau\u00df_a\u0308.tif"]) == ("a",)


def test_fijis_table_of_a_single_image_has_no_slices(save):
    path = save(" ,Area,Mean,X,Y,class\n1,0,9,5.5,4.5,a\n")
    assert read_keypoints(path, stack=Stack(1)).keypoints == (Keypoint(0, 4.0, 5.0, 1),)
    (problem,) = problems_of(read_keypoints, path, stack=Stack())
    assert "has no column Slice" in problem.reason


@pytest.mark.parametrize("slices", [",1", ",0", None])
def test_frames_of_fiji_are_slices_if_they_alone_vary(save, slices):
    header = " ,Area,X,Y,Ch,Frame,class" if slices is None else " ,Area,X,Y,Ch,Slice,Frame,class"
    rows = [f"{i},0,50.5,40.5,1{slices or ''},{frame},a" for i, frame in ((1, 1), (2, 3))]
    annotations = read_keypoints(save("\n".join([header, *rows])), stack=Stack1000())
    assert [point.slice for point in annotations.keypoints] == [0, 2]
    assert "slices are its frames, which were counted from 1" in annotations.notes[0]


def test_slices_of_several_frames_of_fiji_are_refused(save):
    text = " ,Area,X,Y,Slice,Frame,class\n1,0,50,40,1,1,a\n2,0,50,40,2,3,a\n"
    (problem,) = problems_of(read_keypoints, save(text))
    assert problem.column == "Frame"
    assert "slices of several frames" in problem.reason
    one = read_keypoints(save(text.replace("1,1,a", "1,3,a"))).keypoints
    assert [point.slice for point in one] == [0, 1], "a film's only frame says nothing of slices"


def test_a_table_of_ones_own_with_such_names_counts_from_0(save):
    for header in ("Slice,Y,X,Class", ",slice,y,x,class,area"):
        row = "0,5,5,a\n" if header[0] == "S" else "0,0,5,5,a,7\n"
        if header[0] == ",":
            (problem,) = problems_of(read_keypoints, save(f"{header}\n{row}"))
            assert problem.reason == "has a column without a name"
        else:
            found = read_keypoints(save(f"{header}\n{row}"))
            assert found.keypoints == (Keypoint(0, 5, 5, 1),)


def test_repeated_keypoints_of_one_class_are_dropped_with_a_note(save):
    annotations = read_keypoints(save("slice,y,x,class\n0,5,5,a\n0,5.2,4.9,a\n1,5,5,a\n"))
    assert [point.slice for point in annotations.keypoints] == [0, 1]
    assert "(line 3)" in annotations.notes[0]
    assert "dropped" in annotations.notes[0]


def test_other_columns_of_keypoints_are_ignored_with_a_note(save):
    annotations = read_keypoints(save("slice,y,x,class,score\n0,5,5,a,.1\n"))
    assert annotations.keypoints == (Keypoint(0, 5, 5, 1),)
    assert "not used: score" in annotations.notes[0]


def test_too_many_classes_are_reported(save):
    rows = "".join(f"{z},9,9,c{z}\n" for z in range(300))
    problems = problems_of(read_keypoints, save("slice,y,x,class\n" + rows))
    assert problems[0].row == 2 + 254
    assert "at most 255" in problems[0].remedy


def test_the_file_of_naparis_points_writer_is_read(save):
    text = "index,axis-0,axis-1,axis-2,class\n0.0,1.0,2.25,3.5,mito\n1.0,0.0,-0.4,0.0,axon\n"
    annotations = read_keypoints(save(text), stack=Stack())
    assert annotations.classes == ("background", "mito", "axon")
    assert annotations.keypoints == (Keypoint(1, 2.25, 3.5, 1), Keypoint(0, -0.4, 0.0, 2))
    assert annotations.notes == ()


def test_naparis_points_between_slices_move_to_the_nearest(save):
    text = "index,axis-0,axis-1,axis-2,class\n0,1.3,2,3,a\n1,1.6,2,3,a\n2,-0.4,2,3,a\n"
    annotations = read_keypoints(save(text))
    assert [point.slice for point in annotations.keypoints] == [1, 2, 0]
    assert "(lines 2, 3, 4)" in annotations.notes[0]


def test_naparis_2d_points_are_on_the_only_slice(save):
    path = save("index,axis-0,axis-1,class\n0,2,3,mito\n")
    assert read_keypoints(path, stack=Stack(1)).keypoints == (Keypoint(0, 2, 3, 1),)
    for stack in (Stack(3), None):
        (problem,) = problems_of(read_keypoints, path, stack=stack)
        assert "has 2 axes" in problem.reason
        assert "slice,y,x,class" in problem.remedy


def test_points_without_classes_are_of_the_only_class(save):
    path = save("index,axis-0,axis-1,axis-2\n0,0,2,3\n")
    annotations = read_keypoints(path, classes=["mito"])
    assert annotations.keypoints == (Keypoint(0, 2, 3, 1),)
    assert "all keypoints are taken as 'mito'" in annotations.notes[0]
    for classes in (None, ["mito", "axon"]):
        (problem,) = problems_of(read_keypoints, path, classes=classes)
        assert problem.reason == "has no column class"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("slice,y,class\n0,1,a\n", "has no column x"),
        ("index,axis-0,axis-1,axis-2,axis-3,class\n0,1,1,1,1,a\n", "has 4 axes"),
        ("index,axis-0,axis-1,axis-2,class\n0,-0.6,5,5,a\n", "is outside the stack"),
        ("index,axis-0,axis-1,axis-2,class,,b\n0,1,1,1,a,b,\n", "a column without a name"),
        (GRID_HEADER, "looks like a counting grid"),
    ],
)
def test_tables_that_hold_no_keypoints_are_described(save, text, reason):
    (problem,) = problems_of(read_keypoints, save(text))
    assert reason in problem.reason


def test_a_file_really_written_by_napari_is_read(tmp_path):
    write = pytest.importorskip("napari_builtins.io").napari_write_points
    points = np.array([[1, 2.25, 3.5], [0, 4, 5]])
    features = {"class": np.array(["mito", "background"]), "size": np.array([1.5, 2.5])}
    path = write(str(tmp_path / "points.csv"), points, {"properties": features})
    annotations = read_keypoints(path, stack=Stack())
    assert annotations.keypoints == (Keypoint(1, 2.25, 3.5, 1), Keypoint(0, 4.0, 5.0, 0))
    assert "not used: size" in annotations.notes[0]


# --- grids ---------------------------------------------------------------------------------------


def test_rows_of_a_slice_make_its_grid(save):
    text = GRID_HEADER + (
        "0,4,1,2,1,2,mito,open\n1,5,0,0,0,0,,\n0,4,1,2,1,6,,Open\n0,4,1,2,5,2,bg,open\n"
    )
    annotations = read_grid(save(text), stack=Stack())
    assert annotations.classes == ("bg", "mito")
    first, second = annotations.grids
    assert first == CountingGrid(0, 4, 1, 2, [1, 1, 5], [2, 6, 2], [1, -2, 0], is_done=False)
    assert (second.slice, second.is_done) == (1, True)
    (note,) = annotations.notes
    assert "slice 1 has no judged node" in note


def test_a_grid_that_covers_less_than_half_of_its_slice_is_told(save):
    nodes = [(y, x) for y in (1, 5, 9) for x in (2, 6, 10, 14, 18)]
    rows = [f"0,4,1,2,{y},{x},mito,done\n" for y, x in nodes]
    assert read_grid(save(GRID_HEADER + "".join(rows)), stack=Stack()).notes == ()
    (note,) = read_grid(save(GRID_HEADER + "".join(rows[:5])), stack=Stack()).notes
    assert "the grid of slice 0 has 5 nodes, where about 12 fit 4 px apart" in note


def test_unsure_nodes_are_told_from_those_that_nobody_has_judged(save):
    text = "".join(f"{z},4,1,2,1,2,mito,{s}\n{z},4,1,2,1,6,?,{s}\n{z},4,1,2,1,10,,{s}\n"
                   for z, s in enumerate(("open", "done")))  # fmt: skip
    still_open, done = read_grid(save(GRID_HEADER + text)).grids
    assert still_open.class_index.tolist() == [1, UNSURE, NOT_JUDGED]
    assert done.class_index.tolist() == [1, UNSURE, UNSURE]  # as files before "?" meant it


def test_a_class_cannot_be_called_what_says_unsure(save):
    with pytest.raises(InputError, match=r"'\?' is what grid\.csv says of a node that is unsure"):
        Annotations(("background", "?"))


def test_a_grid_without_status_is_done(save):
    annotations = read_grid(save("slice,spacing_px,offset_y,offset_x,y,x,class\n0,4,1,1,1,1,a\n"))
    assert annotations.grids[0].is_done
    assert annotations.effective_proportions()[0].source == "grid"


@pytest.mark.parametrize(
    ("row", "column", "reason"),
    [
        ("0,5,1,2,5,2,a,done", "spacing_px", "differs from line 2"),
        ("0,4,0,2,5,2,a,done", "offset_y", "differs from line 2"),
        ("0,4,1,2,5,2,a,open", "status", "differs from line 2"),
        ("0,4,1,2,5,2,a,finished", "status", "is not a status"),
        ("1,0,1,2,5,2,a,done", "spacing_px", "is not above 0"),
        ("1,,1,2,5,2,a,done", "spacing_px", "is blank"),
        ("0,4,1,2,1,2,a,done", "y,x", "is the same node as that of line 2"),
        ("0,4,1,2,10,2,a,done", "y", "is outside the image"),
        ("5,4,1,2,5,2,a,done", "slice", "is outside the stack"),
        ("0,4,1,2,5,2,b,done", "class", "is not a known class"),
    ],
)
def test_a_malformed_node_is_reported_with_its_cell(save, row, column, reason):
    path = save(f"{GRID_HEADER}0,4,1,2,1,2,a,done\n{row}\n")
    (problem,) = problems_of(read_grid, path, stack=Stack(), classes=["alpha", "a"])
    assert (problem.row, problem.column) == (3, column)
    assert reason in problem.reason


def test_a_misspelt_status_column_does_not_make_an_open_grid_done(save):
    path = save("slice,spacing_px,offset_y,offset_x,y,x,class,stauts\n0,4,1,1,1,1,a,open\n")
    (problem,) = problems_of(read_grid, path)
    assert (problem.column, problem.row) == ("stauts", 1)
    assert "'status'" in problem.remedy


def test_rows_with_a_box_make_a_frame_and_those_without_the_grid_of_the_slice(save):
    text = FRAME_HEADER + (
        "0,0,2,6,8,4,1,2,1,3,mito,open\n"
        "0,0,2,6,8,4,1,2,5,3,,open\n"
        "0,,,,,5,0,0,9,9,bg,\n"
        "0,6,8,10,20,4,1,2,7,9,?,done\n"
        "0,6,8,10,20,4,1,2,7,13,mito,\n"
    )
    first, whole, second = read_grid(save(text), stack=Stack()).grids
    assert first == CountingGrid(0, 4, 1, 2, [1, 5], [3, 3], [1, NOT_JUDGED], False, (0, 2, 6, 8))
    assert (whole.region, whole.n_judged) == (Region(0), 1)
    assert (second.region, second.is_done) == (Region(0, (6, 8, 10, 20)), True)
    assert second.class_index.tolist() == [UNSURE, 1]


@pytest.mark.parametrize(
    ("row", "column", "reason", "remedy"),
    [
        ("0,6,8,11,20,4,1,2,7,9,a,open", "y1,x1", "leaves the image", "y1 of at most 10"),
        ("0,6,8,10,20,4,1,2,5,9,a,open", "y", "is outside its frame, y 6 to 9", "use 6 to 9"),
        ("0,6,8,10,20,4,1,2,7,20,a,open", "x", "is outside the image", "use 0 to 19"),
        ("0,6,8,6,20,4,1,2,7,9,a,open", "y1", "leaves the box empty", "more than y0, 6"),
        ("0,6,8,10,8,4,1,2,7,9,a,open", "x1", "leaves the box empty", "more than x0, 8"),
        ("0,6,8,,20,4,1,2,7,9,a,open", "y1", "is blank", "fill in the cell"),
        ("0,,8,10,20,4,1,2,7,9,a,open", "y0", "is blank", "fill in the cell"),
        ("0,5,7,9,20,4,1,2,7,9,a,open", "y0,x0,y1,x1", "overlaps the frame of line 2", "move or"),
        ("0,0,2,6,8,5,1,2,5,3,a,open", "spacing_px", "differs from line 2", "one grid a frame"),
        ("0,0,2,6,8,4,1,2,1,3,a,open", "y,x", "is the same node as that of line 2", "keep one"),
        ("3,6,8,10,20,4,1,2,7,9,a,open", "slice", "is outside the stack", "use 0 to 2"),
    ],
)
def test_a_malformed_frame_is_reported_with_its_cell(save, row, column, reason, remedy):
    path = save(f"{FRAME_HEADER}0,0,2,6,8,4,1,2,1,3,a,open\n{row}\n")
    (problem,) = problems_of(read_grid, path, stack=Stack(), classes=["a"])
    assert (problem.row, problem.column) == (3, column)
    assert reason in problem.reason
    assert remedy in problem.remedy


def test_a_box_needs_all_four_columns_and_one_around_the_whole_slice_repeats_it(save):
    header = "slice,y0,x0,y1,spacing_px,offset_y,offset_x,y,x,class\n"
    (problem,) = problems_of(read_grid, save(f"{header}0,0,0,5,4,1,1,1,1,a\n"))
    assert "has no column x1" in problem.reason
    rows = "0,,,,,4,1,2,1,3,a,done\n0,0,0,10,20,4,1,2,5,3,a,done\n"
    (problem,) = problems_of(read_grid, save(FRAME_HEADER + rows), stack=Stack())
    assert (problem.row, problem.reason) == (3, "has two counting grids")


def test_frames_are_written_in_their_order_and_read_back_whole(tmp_path):
    frames = lay_frames((3, 10, 20), 7, 5, 2, rng=np.random.default_rng(0))
    counted = frames[1].replace(class_index=[1, UNSURE, *[0] * (frames[1].n_nodes - 2)])
    whole = lay_grid(frames[0].slice, (10, 20), n_side=2, rng=np.random.default_rng(1))
    grids = (whole, *frames[:1], counted.replace(is_done=True), *frames[2:])
    annotations = Annotations(("background", "mito"), grids=grids)
    write_annotations(tmp_path, annotations)
    assert (tmp_path / "grid.csv").read_text().startswith(FRAME_HEADER)
    assert read_annotations(**annotation_files(tmp_path), stack=Stack()) == annotations
    restored, problems = restore_annotations(annotation_files(tmp_path))
    assert (restored, problems) == (annotations, ())


# --- several files -------------------------------------------------------------------------------


def test_the_header_of_proportions_settles_the_classes_of_the_others(save):
    annotations = read_annotations(
        proportions=save("slice,axon,mito\n0,.1,.2\n", "p.csv"),
        keypoints=save("slice,y,x,class\n0,5,5,mito\n", "k.csv"),
        grid=save(GRID_HEADER + "0,4,1,1,1,1,BACKGROUND,done\n", "g.csv"),
    )
    assert annotations.classes == ("background", "axon", "mito")
    assert annotations.keypoints[0].class_index == 2
    assert annotations.grids[0].class_index.tolist() == [0]
    (effective,) = annotations.effective_proportions()
    assert effective.source == "grid", "the grid wins over the typed fraction"


def test_all_problems_of_all_files_come_as_one_error_in_reading_order(save):
    files = {
        "proportions": save("slice,mito\n0,.1\n0,.2\n1,x\n9,.1\n", "p.csv"),
        "keypoints": save("slice,y,x,class\n0,x,99,mitoo\n", "k.csv"),
        "grid": save("slice;class\n", "g.csv"),
    }
    problems = problems_of(read_annotations, **files, stack=Stack())
    places = [(Path(problem.file).name, problem.row, problem.column) for problem in problems]
    assert places == [
        ("p.csv", 3, "slice"),
        ("p.csv", 4, "mito"),
        ("p.csv", 5, "slice"),
        ("k.csv", 2, "y"),
        ("k.csv", 2, "class"),
        ("g.csv", 1, None),
    ]


def test_the_message_of_an_error_holds_file_line_column_value_and_remedy(save):
    path = save("slice,mito\n0,30\n")
    with pytest.raises(InputError) as caught:
        read_proportions(path)
    expected = f"{path}, line 2, column 'mito': '30' is above 1; write 30%."
    assert str(caught.value) == expected


def test_reading_nothing_gives_nothing():
    annotations = read_annotations(classes=["mito"], stack=Stack())
    assert annotations == Annotations(("background", "mito"))
    assert annotations.is_empty


# --- writing -------------------------------------------------------------------------------------


@pytest.fixture
def annotations():
    grid = lay_grid(2, (10, 20), n_side=3, rng=np.random.default_rng(0))
    return Annotations(
        ("background", "mito", 'a "b", c'),
        (
            Proportion(Region(0), (0.7, 0.1, 0.2)),
            Proportion(Region(1, (0, 1, 5, 6)), (None, 1 / 3, None), (None, 0.1, None)),
        ),
        (Keypoint(0, 0.1 + 0.2, 7, 2),),
        (grid.with_class([1, 3], 2).with_class([2], UNSURE),),
    )


def test_written_files_have_the_stated_columns(tmp_path, annotations):
    write_proportions(tmp_path / "p.csv", annotations)
    write_keypoints(tmp_path / "k.csv", annotations)
    write_grid(tmp_path / "g.csv", annotations)
    assert (tmp_path / "p.csv").read_text(encoding="utf-8") == (
        'slice,y0,x0,y1,x1,background,mito,"a ""b"", c",mito_low,mito_high\n'
        "0,,,,,0.7,0.1,0.2,,\n"
        "1,0,1,5,6,,0.3333333333333333,,0.1,\n"
    )
    assert (tmp_path / "k.csv").read_bytes() == (
        b'slice,y,x,class\n0,0.30000000000000004,7.0,"a ""b"", c"\n'
    )
    rows = list(csv.DictReader((tmp_path / "g.csv").open(encoding="utf-8")))
    assert ",".join(rows[0]) + "\n" == GRID_HEADER
    assert len(rows) == annotations.grids[0].n_nodes
    assert {row["status"] for row in rows} == {"open"}
    assert [row["class"] for row in rows[:3]] == ["", 'a "b", c', "?"]


def test_a_folder_of_annotations_reads_back_equal(tmp_path, annotations):
    assert annotation_files(tmp_path) == {}
    write_annotations(tmp_path, annotations)
    assert set(annotation_files(tmp_path)) == {"proportions", "keypoints", "grid"}
    assert read_annotations(**annotation_files(tmp_path)) == annotations
    nothing = Annotations(annotations.classes)
    write_annotations(tmp_path, nothing)
    assert read_annotations(**annotation_files(tmp_path)) == nothing
    assert len(list(tmp_path.iterdir())) == 3


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, annotations, monkeypatch):
    path = tmp_path / "k.csv"
    write_keypoints(path, annotations)
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"disk is full: .*free some space"):
        write_keypoints(path, annotations.replace(keypoints=()))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_named(tmp_path, annotations):
    with pytest.raises(
        RunError, match=r"none.k\.csv could not be written: there is no such folder"
    ):
        write_keypoints(tmp_path / "none" / "k.csv", annotations)
