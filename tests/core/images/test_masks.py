"""Masks as class indices: binary, grey values, colours, indices, and values that fit no class."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import assume, given, strategies as st
from PIL import Image
from pixels import image_set
from scipy import ndimage

from napari_spss.core.annotations import ClassSpec, parse_classes
from napari_spss.core.base import InputError
from napari_spss.core.images import IGNORE, LabelSource, open_masks, open_stack, stack_from_array

AXON = parse_classes("background=0,myelin=127,axon=255")
DUBAI = parse_classes(
    "background=(155;155;155),building=#3C1098,land=(132;41;246),road=(110;193;228),"
    "vegetation=(254;221;58),water=(226;169;41)"
)


def labels_of(array: Any, text: str | None = None) -> list[Any]:
    classes = None if text is None else parse_classes(text)
    return open_masks(np.asarray(array), classes=classes).read(0).tolist()


# ---- classes


def test_classes_with_grey_values() -> None:
    assert ClassSpec(("background", "myelin", "axon"), (0, 127, 255)) == AXON
    assert parse_classes(" bg = 1 , a b=-2") == ClassSpec(("bg", "a b"), (1, -2))


def test_classes_with_colours() -> None:
    assert DUBAI.names[:2] == ("background", "building")
    assert DUBAI.values is not None
    assert DUBAI.values[:2] == ((155, 155, 155), (60, 16, 152))
    assert parse_classes("bg=(0,0,0),a=#ffFF00").values == ((0, 0, 0), (255, 255, 0))


def test_the_background_comes_first() -> None:
    assert parse_classes("axon=255,Background=0") == ClassSpec(("Background", "axon"), (0, 255))
    assert parse_classes("a,bg,b").names == ("bg", "a", "b")


def test_a_missing_background_is_added() -> None:
    assert parse_classes("mitochondria") == ClassSpec(("background", "mitochondria"))
    assert parse_classes("myelin=127,axon=255").values == (0, 127, 255)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty name"),
        ("a,,b", "empty name"),
        ("background", "only 'background'"),
        ("background=0,a", "values to some"),
        ("background=0,a=x", "'x'"),
        ("background=0,a=1.5.2", r"'1\.5\.2'"),
        ("background=0,a=#12", "'#12'"),
        ("background=(0;0;0),a=(1;2)", r"'\(1;2\)'"),
        ("background=(0;0;0),a=(1;2;256)", "0-255"),
        ("background=(0;0;0),a=7", "mix grey values and colours"),
        ("background=0,a=0", "two classes"),
        ("background,a,A", "named twice"),
        ("background,bg,a", "background twice"),
        ("cytosol=0,nucleus=1", "'cytosol'"),
        ("land=(1;2;3),sea=(4;5;6)", "no class is named background"),
        (",".join(f"c{i}" for i in range(300)), "too many"),
    ],
)
def test_unusable_classes_say_why(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse_classes(text)
    assert caught.value.field == "classes"


def test_names_and_values_must_be_as_many() -> None:
    with pytest.raises(InputError, match="3 values for 2 classes"):
        ClassSpec(("background", "a"), (0, 1, 2))
    with pytest.raises(InputError, match=r"'\(1;2;x\)'"):
        parse_classes("background=(0;0;0),a=(1;2;x)")


@given(text=st.text(st.sampled_from("ab=,;()#0F1-. "), max_size=20) | st.text(max_size=20))
def test_any_text_is_a_list_of_classes_or_refused(text: str) -> None:
    with suppress(InputError):
        spec = parse_classes(text)
        assert len(spec.names) >= 2
        assert spec.values is None or len(spec.values) == len(spec.names)


# ---- values


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.float32])
def test_binary_masks_are_zero_and_anything_else(dtype: Any) -> None:
    mask = np.array([[0, 1], [1, 0]]).astype(dtype)
    assert labels_of(mask) == [[0, 1], [1, 0]]
    assert labels_of(mask * dtype(1), "background,mito") == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        ([[0, 1, 1, 1]], "1 covers 75 %"),
        ([[False, True, True, True]], "1 covers 75 %"),
        (8 * [4 * [[0, 0, 0]] + 12 * [[255, 0, 0]]], "(255;0;0) covers 75 %"),
    ],
)
@pytest.mark.parametrize("text", [None, "background,mito"])
def test_a_mask_that_is_mostly_object_may_be_inverted(mask: Any, told: str, text: Any) -> None:
    """The remedy turns it round, and then nothing is doubtful any more."""
    pixels = np.array(mask, bool if mask[0][0] is False else np.uint8)
    masks = open_masks(pixels, classes=None if text is None else parse_classes(text))
    (note,) = masks.notes
    assert note.startswith(f"{told} of the array of masks, and is taken for")
    remedy = note.partition("--classes ")[2].rstrip(".")
    turned = open_masks(pixels, classes=parse_classes(remedy))
    assert turned.read(0).tolist() == (1 - masks.read(0)).tolist()
    assert not turned.notes
    assert turned.classes.names == masks.classes.names


def test_a_large_mask_may_be_full_at_its_top() -> None:
    mask = np.zeros((5000, 2000), np.uint8)
    mask[:1048] = 255  # the rows that are read at a time
    assert not open_masks(mask).notes
    (note,) = open_masks(255 - mask).notes
    assert note.startswith("255 covers 79 %")


def test_an_inverted_mask_of_fiji_is_told(tmp_path: Path) -> None:
    """Fiji saves an inverting lookup table as a colour table, or as 0 being white."""
    mask = np.zeros((8, 10), np.uint8)
    mask[2:4, 3:6] = 255
    inverting = np.repeat(np.arange(65535, -1, -257).astype(np.uint16)[None], 3, axis=0)
    tifffile.imwrite(tmp_path / "table.tif", mask, photometric="palette", colormap=inverting)
    (note,) = open_masks(tmp_path / "table.tif").notes
    assert note.startswith("(255;255;255) covers 92 % of ")
    assert "is taken for class_1" in note
    remedy = parse_classes(note.partition("--classes ")[2].rstrip("."))
    turned = open_masks(tmp_path / "table.tif", classes=remedy)
    assert (turned.read(0) == (mask > 0)).all(), turned.notes


def test_two_stated_values_are_matched_to_the_nearest() -> None:
    assert labels_of([[0, 100, 128, 255]], "background=0,mito=255") == [[0, 0, 1, 1]]
    assert labels_of([[0, 100, 128, 255]], "background=255,mito=0") == [[1, 1, 0, 0]]


def test_the_nearest_grey_value_wins() -> None:
    masks = open_masks(np.array([[0, 63, 64, 127, 190, 192, 233, 255]], np.uint8), classes=AXON)
    assert masks.read(0).tolist() == [[0, 0, 1, 1, 1, 2, 2, 2]]
    assert masks.read(0).dtype == np.uint8


@given(
    values=st.lists(st.integers(-300, 300), min_size=2, max_size=9, unique=True),
    pixels=st.lists(st.integers(-400, 400), min_size=1, max_size=30),
)
def test_no_listed_value_is_nearer(values: list[int], pixels: list[int]) -> None:
    names = ("background", *(f"c{i}" for i in range(1, len(values))))
    masks = open_masks(np.array([pixels], np.int16), classes=ClassSpec(names, tuple(values)))
    for pixel, index in zip(pixels, masks.read(0)[0].tolist(), strict=True):
        if index == IGNORE:
            assert (pixel, values) == (255, list(range(len(values))))
            continue
        assert abs(pixel - values[index]) == min(abs(pixel - value) for value in values)


def test_only_the_first_channel_counts_for_grey_values() -> None:
    rgb = np.zeros((6, 6, 3), np.uint8)
    rgb[..., 0], rgb[..., 1] = 127, 255
    assert np.unique(open_masks(rgb, classes=AXON).read(0)).tolist() == [1]


def test_colours_match_exactly_else_nearest_and_black_is_ignored() -> None:
    row = [(155, 155, 155), (60, 16, 152), (62, 18, 150), (0, 0, 0), (226, 169, 41), (1, 0, 0)]
    rgb = np.array([row] * 6, np.uint8)
    masks = open_masks(rgb, classes=DUBAI)
    assert masks.read(0)[3].tolist() == [0, 1, 1, IGNORE, 5, 1]
    assert masks.read(0, (2, 1, 3, 4)).tolist() == [[1, 1, IGNORE]]


def test_black_that_is_listed_is_a_class() -> None:
    rgb = np.zeros((6, 6, 3), np.uint8)
    spec = parse_classes("background=(0;0;0),a=(255;0;0)")
    assert not open_masks(rgb, classes=spec).read(0).any()


def test_grey_images_match_grey_colours() -> None:
    grey = np.array([[155, 0, 150]], np.uint8)
    assert open_masks(grey, classes=DUBAI).read(0).tolist() == [[0, IGNORE, 0]]


def test_colours_need_8_bits() -> None:
    with pytest.raises(InputError, match="uint16"):
        open_masks(np.zeros((4, 4), np.uint16), classes=DUBAI)


def test_unlisted_values_become_classes_in_order() -> None:
    masks = open_masks(np.array([[[0, 255]], [[127, 0]]], np.uint8))
    assert masks.classes == ClassSpec(("background", "class_1", "class_2"), (0, 127, 255))
    assert [masks.read(z).tolist() for z in range(2)] == [[[0, 2]], [[1, 0]]]


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        ([[0, 0]], [[0, 0]]),
        ([[7, 7]], [[1, 1]]),
        ([[0, 7]], [[0, 1]]),
        ([[1, 2]], [[0, 1]]),  # two values without 0: two classes
        ([[0, 0.5, np.nan]], [[0, 1, IGNORE]]),
    ],
)
def test_few_unlisted_values(pixels: list[list[float]], expected: list[list[int]]) -> None:
    assert labels_of(pixels) == expected


def test_unlisted_colours_become_classes_in_order() -> None:
    rgb = np.zeros((6, 6, 3), np.uint8)
    rgb[0], rgb[1] = (255, 0, 0), (0, 255, 0)
    masks = open_masks(rgb)
    assert masks.classes.values == ((0, 0, 0), (0, 255, 0), (255, 0, 0))
    assert masks.read(0)[:3, 0].tolist() == [2, 1, 0]
    rgb[1] = 0
    assert open_masks(rgb).classes == ClassSpec(("background", "class_1"))
    assert open_masks(rgb).read(0)[:3, 0].tolist() == [1, 0, 0]


def test_too_many_unlisted_values_name_the_remedy() -> None:
    assert len(open_masks(np.arange(16).reshape(1, 16)).classes.names) == 16
    with pytest.raises(InputError, match=r"--classes background=0,class_1=16: the nearest"):
        open_masks(np.arange(17).reshape(1, 17))
    with pytest.raises(InputError, match="only NaN"):
        open_masks(np.full((2, 2), np.nan))


def test_values_are_looked_up_a_part_at_a_time() -> None:
    sizes: list[int] = []

    class Counting:
        shape, dtype = (3, 5000, 2000), np.dtype(np.uint8)

        def __getitem__(self, index: Any) -> np.ndarray:
            part = np.zeros(self.shape[1:], np.uint8)[index[1:]]
            sizes.append(part.size)
            return part

    open_masks(Counting())
    assert max(sizes) <= 2**22
    assert sum(sizes) <= 3 * (5000 * 2000 + 2**22)


# ---- values that JPEG, smoothing and resampling left


def discs(values: tuple[int, ...] = (0, 255)) -> np.ndarray:
    """Discs of each value but the first, some of which touch, (96, 120) uint8."""
    y, x = np.mgrid[:96, :120]
    plane = np.full(y.shape, values[0], np.uint8)
    for i, value in enumerate(values[1:]):
        for cy, cx, radius in ((40, 30, 15), (70, 35, 10)):
            plane[(y - cy) ** 2 + (x - cx - 27 * i) ** 2 < radius**2] = value
    return plane


def as_jpeg(path: Path, plane: np.ndarray, quality: int, mode: str = "L") -> Path:
    Image.fromarray(plane).convert(mode).save(path, quality=quality)
    return path


@pytest.mark.parametrize("classes", [None, parse_classes("mitochondria")])
@pytest.mark.parametrize("quality", [30, 75, 95, 100])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_mask_saved_as_jpeg_is_what_it_was(
    tmp_path: Path, classes: ClassSpec | None, quality: int, mode: str
) -> None:
    plane = discs()
    masks = open_masks(as_jpeg(tmp_path / "a.jpg", plane, quality, mode), classes=classes)
    assert np.array_equal(masks.read(0), plane // 255)
    assert masks.classes.values == (0, 255)
    (note,) = masks.notes
    assert f"rounded to the nearest of {masks.classes.text}" in note


@pytest.mark.parametrize("classes", [None, AXON, parse_classes("myelin,axon")])
@pytest.mark.parametrize("quality", [75, 90])
def test_classes_spread_by_jpeg_are_what_they_were(
    tmp_path: Path, classes: ClassSpec | None, quality: int
) -> None:
    plane = discs((0, 127, 255))
    masks = open_masks(as_jpeg(tmp_path / "a.jpg", plane, quality), classes=classes)
    assert np.array_equal(masks.read(0), np.searchsorted((0, 127, 255), plane))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int8, np.float32])
def test_smooth_edges_are_cut_in_the_middle(dtype: Any) -> None:
    exact = discs() > 0
    soft = ndimage.gaussian_filter(exact.astype(float), 1.5)
    high = {"u": 255, "i": 127, "f": 1}[np.dtype(dtype).kind]
    grey = (soft * high).round(0 if high > 1 else 7).astype(dtype)
    masks = open_masks(grey, classes=parse_classes("mito"))
    assert np.array_equal(masks.read(0) > 0, grey > high / 2)
    assert (masks.read(0) != exact).mean() < 0.01
    assert len(masks.notes) == 1


def test_values_beside_those_that_were_stated_are_told() -> None:
    plane = np.array([[0, 1, 2, 2]], np.uint8)
    masks = open_masks(plane, classes=parse_classes("background=0,mito=1"))
    assert masks.read(0).tolist() == [[0, 1, 1, 1]]
    assert "also holds 2: each is taken as the nearest of background=0,mito=1" in masks.notes[0]
    assert open_masks(plane, classes=parse_classes("background=0,a=1,b=2")).notes == ()
    rgb = np.array([[(0, 0, 0), (9, 9, 9), (255, 0, 0), (250, 9, 0)] * 2] * 6, np.uint8)
    masks = open_masks(rgb, classes=parse_classes("background=(9;9;9),mito=(255;0;0)"))
    assert masks.read(0)[0, :4].tolist() == [IGNORE, 0, 1, 1]
    assert "also holds (250;9;0): each is taken" in masks.notes[0]


def test_255_is_unknown_among_indices_in_any_order() -> None:
    plane = np.array([[0, 1, 2, 255]], np.uint8)
    masks = open_masks(plane, classes=parse_classes("background=0,b=2,a=1"))
    assert masks.classes.names == ("background", "b", "a")
    assert masks.read(0).tolist() == [[0, 2, 1, 255]]


@pytest.mark.parametrize("names", [None, "background,mito"])
def test_indices_with_255_are_to_be_named(names: str | None) -> None:
    plane = np.array([[0, 1, 2, 255]], np.uint8)
    with pytest.raises(InputError, match="is not clear") as failure:
        open_masks(plane, classes=None if names is None else parse_classes(names))
    listed = "background,class_1,class_2" if names is None else "background,mito,class_2"
    assert f"--classes {listed}: 255 is unknown then" in str(failure.value)
    assert open_masks(plane, classes=parse_classes(listed)).read(0).tolist() == plane.tolist()


@pytest.mark.parametrize("n_rows", [1, 2, 3, 6])
def test_thin_objects_of_another_value_are_not_rounded_away(tmp_path: Path, n_rows: int) -> None:
    plane = discs()
    plane[58 : 58 + n_rows] = 127
    smooth = ndimage.gaussian_filter(plane, 1)
    for masks in (plane, smooth, as_jpeg(tmp_path / "a.jpg", plane, 75)):
        with pytest.raises(InputError, match="is not clear"):
            open_masks(masks, classes=parse_classes("mito"))


def test_an_image_of_all_grey_values_is_told_in_short() -> None:
    with pytest.raises(InputError, match="give each class its value") as failure:
        open_masks(np.arange(256, dtype=np.uint8).reshape(16, 16))
    assert len(str(failure.value)) < 400


def test_images_are_no_masks() -> None:
    noise = np.random.default_rng(0).normal(128, 30, (99, 99)).clip(0, 255).astype(np.uint8)
    for classes in (None, parse_classes("mito"), parse_classes("a,b")):
        with pytest.raises(InputError, match="not clear"):
            open_masks(noise, classes=classes)


def test_close_values_are_no_classes_of_their_own() -> None:
    with pytest.raises(InputError, match="class_1=127,class_2=255: the nearest"):
        open_masks(discs((0, 127, 128, 255)))


@given(values=st.sets(st.integers(0, 255), min_size=3, max_size=9))
def test_several_values_are_never_two_classes(values: set[int]) -> None:
    plane = np.repeat(np.array(sorted(values), np.uint8), 5)[np.newaxis].repeat(5, axis=0)
    assume(values != {0, 1, 255})  # 255 is unknown then
    with pytest.raises(InputError, match="not clear"):
        open_masks(plane, classes=parse_classes("mito"))


def test_what_the_message_says_to_do_gives_the_right_labels() -> None:
    plane = discs((0, 1, 2))
    with pytest.raises(InputError, match="which of them") as caught:
        open_masks(plane, classes=parse_classes("mito"))
    text = str(caught.value).partition("--classes ")[2].partition(":")[0]
    assert text == "background=0,mito=1,class_2=2"
    assert np.array_equal(open_masks(plane, classes=parse_classes(text)).read(0), plane)
    assert np.array_equal(
        open_masks(plane, classes=parse_classes("mito"), instances=True).read(0), plane > 0
    )


# ---- two values


def test_of_two_values_the_lower_is_the_background() -> None:
    masks = open_masks(np.array([[-1, 1, 1]], np.int8), classes=parse_classes("mito"))
    assert masks.read(0).tolist() == [[0, 1, 1]]
    assert masks.notes == (
        "the values in the array of masks are taken in order: background=-1,mito=1.",
    )
    assert labels_of(np.array([[1, 2]], np.uint8), "mito") == [[0, 1]]
    with pytest.raises(InputError, match="the values -1: which"):
        labels_of(np.array([[-1, -1]], np.int8), "mito")


def test_one_and_255_are_a_class_and_unknown() -> None:
    masks = open_masks(np.array([[0, 1, 255]], np.uint8), classes=parse_classes("mito"))
    assert masks.read(0).tolist() == [[0, 1, IGNORE]]
    assert labels_of(np.array([[0, 1, 255]], np.uint8), "background=0,mito=1") == [[0, 1, IGNORE]]
    assert labels_of(np.array([[0, 255]], np.uint8), "background=0,mito=1") == [[0, 1]]
    assert labels_of(np.array([[0, 1, 255]], np.uint8), "background=0,mito=255") == [[0, 0, 1]]


def test_the_text_of_classes_opens_the_same_masks() -> None:
    for plane, text in (
        ([[0, 1, 255]], "mito"),
        ([[0, 1, 2, 255]], "a,b"),
        ([[-1, 1]], "mito"),
        ([[0, 0.5, 1]], None),
    ):
        array = np.array(plane)
        masks = open_masks(array, classes=None if text is None else parse_classes(text))
        again = open_masks(array, classes=parse_classes(masks.classes.text))
        assert again.read(0).tolist() == masks.read(0).tolist()


def test_nan_is_unknown_and_told() -> None:
    masks = open_masks(np.array([[0, 1, np.nan]]), classes=parse_classes("mito"))
    assert masks.read(0).tolist() == [[0, 1, IGNORE]]
    assert "NaN is taken as unknown" in masks.notes[0]
    for text in (None, "mito"):
        with pytest.raises(InputError, match="nothing but 1 and NaN"):
            labels_of([[np.nan, 1.0]], text)


def test_ids_that_their_type_does_not_tell_apart_are_refused() -> None:
    exact = np.array([[0, 2**24 - 1]], np.float32)
    assert open_masks(exact, instances=True).read_ids(0).tolist() == [[0, 2**24 - 1]]
    with pytest.raises(InputError, match="ids from 16777216 on as float32"):
        open_masks(exact + 1, instances=True).read_ids(0)


def write_table(path: Path, indices: Any, *colours: tuple[int, int, int]) -> None:
    picture = Image.fromarray(np.asarray(indices, np.uint8), "P")
    picture.putpalette([value for colour in colours for value in colour])
    picture.save(path)


@pytest.mark.parametrize("instances", [False, True])
def test_a_colour_table_in_which_black_is_not_the_first_is_refused(
    tmp_path: Path, instances: bool
) -> None:
    write_table(tmp_path / "mask.png", [[0, 1, 1]], (255, 0, 0), (0, 0, 0))
    named = None if instances else parse_classes("mito")
    remedy = "save these as grey" if instances else "give each class its colour"
    with pytest.raises(InputError, match=rf"index 0 is not black, but \(255;0;0\).*{remedy}"):
        open_masks(tmp_path / "mask.png", classes=named, instances=instances)
    stated = parse_classes("background=(0;0;0),mito=(255;0;0)")  # as the message says
    for classes in (stated, parse_classes("background=1,mito=0")):
        masks = open_masks(tmp_path / "mask.png", classes=classes)
        assert masks.read(0).tolist() == [[1, 0, 0]]


def test_colour_tables_that_differ_are_refused_and_one_is_told(tmp_path: Path) -> None:
    black, green, red = (0, 0, 0), (0, 128, 0), (128, 0, 0)
    for name in ("1.png", "2.png"):
        write_table(tmp_path / name, [[0, 1, 2]], black, green, red)
    masks = open_masks(tmp_path, classes=parse_classes("mito,golgi"))
    assert masks.read(0).tolist() == [[0, 1, 2]]
    assert "mito is (0;128;0), golgi is (128;0;0)" in masks.notes[-1]
    write_table(tmp_path / "2.png", [[0, 1, 2]], black, red, green)
    with pytest.raises(InputError, match=r"index 1 is the colours \(0;128;0\), \(128;0;0\)"):
        open_masks(tmp_path, classes=parse_classes("mito,golgi"))
    ids = open_masks(tmp_path, instances=True)  # often drawn in colours at random
    assert [ids.read_ids(z).tolist() for z in (0, 1)] == [[[0, 1, 2]]] * 2


def test_stated_grey_values_are_those_of_a_grey_colour_table_unless_they_are_indices(
    tmp_path: Path,
) -> None:
    write_table(tmp_path / "mask.png", [[0, 1, 2]], (0, 0, 0), (127, 127, 127), (255, 255, 255))
    told = open_masks(tmp_path / "mask.png").classes.text
    assert told == "background=0,class_1=127,class_2=255"
    for text in (told, "background=0,a=1,b=2"):
        masks = open_masks(tmp_path / "mask.png", classes=parse_classes(text))
        assert masks.read(0).tolist() == [[0, 1, 2]]


def test_a_grey_colour_table_is_read_by_what_fits_best_and_told_whole(tmp_path: Path) -> None:
    greys = [(0, 0, 0), (255, 255, 255), *[(9, 9, 9)] * 253, (128, 128, 128)]
    write_table(tmp_path / "mask.png", [[0, 1, 255]], *greys)
    for text in ("mito", "background=0,mito=1"):
        masks = open_masks(tmp_path / "mask.png", classes=parse_classes(text))
        assert masks.read(0).tolist() == [[0, 1, IGNORE]]
    greys = [(0, 0, 0), (85, 85, 85), (170, 170, 170), (255, 255, 255)]
    write_table(tmp_path / "mask.png", [[0, 1, 3]], *greys)
    for text, labels in (("background=0,a=1,b=2", [0, 1, 2]), ("background=0,a=85", [0, 1, 1])):
        masks = open_masks(tmp_path / "mask.png", classes=parse_classes(text))
        assert masks.read(0).tolist() == [labels]
    write_table(tmp_path / "mask.png", [[0, 60, 200]], *[(i, i, i) for i in range(256)])
    assert open_masks(tmp_path / "mask.png", classes=parse_classes("a,b")).notes == ()
    write_table(tmp_path / "mask.png", [[0, 60, 200]], *[(i, 0, i) for i in range(256)])
    masks = open_masks(tmp_path / "mask.png", classes=parse_classes("a,b"))
    assert "background is (0;0;0), a is (60;0;60), b is (200;0;200)" in masks.notes[-1]


@pytest.mark.parametrize("text", [None, "mito"])
def test_what_is_transparent_in_a_mask_is_background(tmp_path: Path, text: str | None) -> None:
    pixels = np.full((4, 5, 4), 255, np.uint8)
    pixels[1:, :, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    masks = open_masks(tmp_path / "mask.png", classes=None if text is None else parse_classes(text))
    assert masks.read(0).sum() == 5
    assert open_stack(tmp_path / "mask.png").read(0).min() == 255, "an image is as it is"
    pixels[..., :3] = 0
    Image.fromarray(pixels).save(tmp_path / "black.png")
    with pytest.raises(InputError, match="nothing but black on a transparent ground"):
        open_masks(tmp_path / "black.png", classes=None if text is None else parse_classes(text))
    table = Image.fromarray(np.array([[0, 1, 0]], np.uint8), "P")
    table.putpalette([255, 255, 255, 255, 0, 0])
    table.save(tmp_path / "mask.png", transparency=0)  # a colour, not a channel
    masks = open_masks(tmp_path / "mask.png", classes=None if text is None else parse_classes(text))
    assert masks.read(0).tolist() == [[0, 1, 0]]


def test_maps_are_no_masks() -> None:
    maps = np.zeros((3, 2, 9, 9), np.uint8)
    with pytest.raises(InputError, match="2 channels"):
        open_masks(maps, classes=parse_classes("mito"))


# ---- instances


def test_ids_of_objects_are_one_class() -> None:
    masks = open_masks(np.array([[0, 3, 70000, 3]]), classes=parse_classes("mito"), instances=True)
    assert masks.read(0).tolist() == [[0, 1, 1, 1]]
    assert masks.read_ids(0).tolist() == [[0, 3, 70000, 3]]
    assert masks.read_ids(0, (0, 1, 1, 3)).tolist() == [[3, 70000]]
    assert open_masks(np.array([[0, 9]]), instances=True).classes.names[1] == "class_1"
    rgb = np.zeros((6, 6, 3), np.uint8)
    rgb[0, :2], rgb[1] = (9, 0, 0), (0, 0, 7)
    ids = open_masks(rgb, instances=True).read_ids(0)
    assert [len(np.unique(ids)), ids[5, 5]] == [3, 0]


def test_values_that_look_like_ids_are_told() -> None:
    plane = discs()
    plane[discs() > 0] = 1
    plane[58:, :][plane[58:, :] > 0] = 2
    assert "ids of objects" in open_masks(plane).notes[1]
    many = np.zeros((90, 90), np.uint8)
    many[::9, ::9], many[4::9, 4::9] = 1, 2
    assert len(open_masks(many).notes) == 1


def test_what_cannot_be_ids_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name one class"):
        open_masks(np.array([[0, 1]]), classes=AXON, instances=True)
    with pytest.raises(InputError, match="JPEG"):
        open_masks(as_jpeg(tmp_path / "a.JPG", discs(), 90), instances=True)
    with pytest.raises(InputError, match=r"holds 0\.5"):
        open_masks(np.array([[0, 0.5]]), instances=True).read_ids(0)


# ---- names only


def test_indices_are_read_as_they_are() -> None:
    pixels = [[0, 1, 2, 255]]
    assert labels_of(pixels, "background,a,b") == [[0, 1, 2, IGNORE]]
    # a class that does not occur keeps its place
    assert labels_of([[0, 2]], "background,a,b") == [[0, 2]]


def test_as_many_values_as_names_are_matched_in_order() -> None:
    masks = open_masks(np.array([[255, 0, 127]], np.uint8), classes=parse_classes("bg,a,b"))
    assert masks.classes == ClassSpec(("bg", "a", "b"), (0, 127, 255))
    assert masks.read(0).tolist() == [[2, 0, 1]]


@pytest.mark.parametrize("pixels", [[[0, 1, 7, 9]], [[0, 7]], [[0, 255]]])
def test_unclear_values_are_refused(pixels: list[list[int]]) -> None:
    with pytest.raises(InputError, match="give each class its value"):
        labels_of(pixels, "background,a,b")


def test_an_index_that_appears_later_is_refused() -> None:
    array = np.array([[0, 1, 2]])
    masks = open_masks(array, classes=parse_classes("background,a,b"))
    array[0, 0] = 9
    with pytest.raises(InputError, match="value 9"):
        masks.read(0)


# ---- files


def test_folder_of_1_bit_grey_and_alpha_masks(tmp_path: Path) -> None:
    Image.new("1", (7, 6), 1).save(tmp_path / "0.png")
    Image.new("L", (7, 6), 255).save(tmp_path / "1.png")
    Image.new("LA", (7, 6), (0, 255)).save(tmp_path / "2.png")
    tifffile.imwrite(tmp_path / "3.tif", np.ones((6, 7), bool))
    masks = open_masks(tmp_path, classes=parse_classes("mitochondria"))
    assert isinstance(masks, LabelSource)
    assert masks.names == ("0.png", "1.png", "2.png", "3.tif")
    assert [int(masks.read(z).max()) for z in range(4)] == [1, 1, 0, 1]
    assert masks.shape_of(3) == (6, 7)


def test_palette_masks_as_colours_or_as_indices(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([155, 155, 155, 60, 16, 152])
    image.save(tmp_path / "a.png")
    Image.new("RGB", (4, 4), (155, 155, 155)).save(tmp_path / "b.png")
    masks = open_masks(tmp_path, classes=DUBAI)
    assert [masks.read(z)[0, 0] for z in range(2)] == [1, 0]
    by_index = parse_classes("background=0,building=1")
    assert open_masks(tmp_path / "a.png", classes=by_index).read(0)[0, 0] == 1


def test_palette_tiff_as_colours(tmp_path: Path) -> None:
    colours = np.zeros((3, 256), np.uint16)
    colours[:, 5] = np.array([60, 16, 152]) * 257
    tifffile.imwrite(
        tmp_path / "p.tif", np.full((4, 4), 5, np.uint8), photometric="palette", colormap=colours
    )
    assert open_masks(tmp_path / "p.tif", classes=DUBAI).read(0, (0, 0, 1, 2)).tolist() == [[1, 1]]
    with open_stack(tmp_path / "p.tif") as stack:  # an image keeps its grey values
        assert stack.read(0).max() == 5


def test_a_stack_is_taken_as_masks() -> None:
    stack = image_set([np.ones((3, 4), np.uint8), np.zeros((5, 2), np.uint8)])
    masks = open_masks(stack)
    assert (masks.n_slices, masks.shape_of(1)) == (2, (5, 2))
    assert masks.read(0).all()
    assert masks.source == "array"
    assert open_masks(stack_from_array(np.ones((1, 2, 2)))).read(0).all()


# ---- real masks


def test_vnc_masks_are_binary(shared_data: Path) -> None:
    folder = shared_data / "vnc_sstem" / "mitochondria"
    masks = open_masks(folder, classes=parse_classes("background,mitochondria"))
    fractions = [float(masks.read(z).mean()) for z in range(masks.n_slices)]
    assert np.mean(fractions) == pytest.approx(0.0539, abs=5e-5)
    assert min(fractions) == pytest.approx(0.0396, abs=1e-4)  # where no grey pixel is rounded
    assert max(fractions) == pytest.approx(0.0739, abs=5e-5)
    assert "rounded" in masks.notes[0]
    assert open_masks(folder).classes.values == (0, 255)


def test_axon_masks_have_three_classes(shared_data: Path) -> None:
    masks = open_masks(shared_data / "axon_sem" / "labels", classes=AXON)
    images = open_stack(shared_data / "axon_sem" / "images")
    assert masks.n_slices == images.n_slices == 8
    for z in range(8):
        assert masks.shape_of(z) == images.shape_of(z)
        assert set(np.unique(masks.read(z)).tolist()) == {0, 1, 2}


def test_dubai_masks_have_six_colours(shared_data: Path) -> None:
    found: set[int] = set()
    for tile in (1, 2, 3):  # tile 2 has palettes, tile 3 black pixels
        masks = open_masks(shared_data / "dubai" / f"tile_{tile}" / "masks", classes=DUBAI)
        assert masks.n_slices == 9
        for z in range(9):
            found |= set(np.unique(masks.read(z)).tolist())
    assert found == {0, 1, 2, 3, 4, 5, IGNORE}
