from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from napari_spss.core.analysis import confusion_matrix, evaluate, scores_from_confusion
from napari_spss.core.base import InputError
from napari_spss.core.images import open_masks, stack_from_array

# Of class 0 there are 4 true pixels, 5 found, 3 hits; of class 1 4, 3, 2; of class 2 2, 2, 1.
TRUTH = np.array([[0, 0, 0, 0, 1], [1, 1, 1, 2, 2]])
FOUND = np.array([[0, 0, 0, 1, 1], [1, 0, 2, 2, 0]])


class _NamedLabels:
    """Lazy masks with class names, as files give them."""

    def __init__(self, planes: list[np.ndarray], names: tuple[str, ...]) -> None:
        self.planes = planes
        self.classes = type("Spec", (), {"names": names})()

    @property
    def n_slices(self) -> int:
        return len(self.planes)

    def shape_of(self, z: int) -> tuple[int, int]:
        return self.planes[z].shape

    def read(self, z: int, box: tuple[int, int, int, int] | None = None) -> np.ndarray:
        y0, x0, y1, x1 = box or (0, 0, *self.planes[z].shape)
        return self.planes[z][y0:y1, x0:x1].astype(np.uint8)


def test_scores_of_three_classes_by_hand() -> None:
    scores = evaluate(FOUND, TRUTH)
    assert scores.confusion.tolist() == [[3, 1, 0, 0], [1, 2, 1, 0], [1, 0, 1, 0]]
    assert scores.iou == pytest.approx((3 / 6, 2 / 5, 1 / 3))
    assert scores.f1 == pytest.approx((6 / 9, 4 / 7, 2 / 4))
    assert scores.precision == pytest.approx((3 / 5, 2 / 3, 1 / 2))
    assert scores.recall == pytest.approx((3 / 4, 2 / 4, 1 / 2))
    assert scores.mean_iou == pytest.approx((1 / 2 + 2 / 5 + 1 / 3) / 3)
    assert scores.mean_iou_foreground == pytest.approx((2 / 5 + 1 / 3) / 2)
    assert scores.accuracy == pytest.approx(0.6)
    assert scores.balanced_accuracy == pytest.approx((3 / 4 + 2 / 4 + 1 / 2) / 3)
    assert scores.notes == ()


def test_two_readings_of_mean_iou_for_two_classes() -> None:
    scores = evaluate(np.array([[0, 1, 1, 1]]), np.array([[0, 0, 1, 1]]))
    assert scores.mean_iou_foreground == scores.iou[1] == pytest.approx(2 / 3)
    assert scores.mean_iou == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert "IoU of class_1" in scores.to_text()


def test_pixels_without_known_truth_are_left_out() -> None:
    truth = np.array([[0, 1, 255, 255]])
    scores = evaluate(np.array([[0, 1, 0, 1]]), truth)
    assert scores.n_pixels == 2
    assert scores.accuracy == 1.0


def test_pixels_without_label_count_as_missed() -> None:
    scores = evaluate(np.array([[0, 255, 1, 1]]), np.array([[0, 0, 1, 1]]))
    assert scores.accuracy == 0.75
    assert scores.iou == pytest.approx((0.5, 1.0))
    assert scores.notes == ("1 pixel with no label: counted as missed.",)


def test_class_in_neither_is_nan_and_left_out_of_the_means_with_a_note() -> None:
    truth = np.array([[0, 0, 2, 2]])
    scores = evaluate(truth, truth, classes=("background", "er", "mito"))
    assert math.isnan(scores.iou[1])
    assert math.isnan(scores.f1[1])
    assert scores.mean_iou == scores.mean_iou_foreground == 1.0
    assert "left out of the means: er" in scores.notes[0]


def test_class_found_but_not_in_the_truth_scores_zero() -> None:
    scores = evaluate(np.array([[0, 2]]), np.array([[0, 0]]))
    assert scores.iou[2] == 0.0
    assert math.isnan(scores.recall[2])
    assert scores.mean_iou == pytest.approx((0.5 + 0.0) / 2)


def test_nothing_to_score_says_so() -> None:
    scores = evaluate(np.zeros((2, 2), int), np.full((2, 2), 255))
    assert math.isnan(scores.accuracy)
    assert math.isnan(scores.mean_iou)
    assert any("nothing could be scored" in note for note in scores.notes)


def test_streaming_over_slices_equals_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    truth, found = rng.integers(0, 3, (2, 5, 7, 9))
    whole = confusion_matrix(found, truth, n_classes=3)
    assert (evaluate(found, truth).confusion == whole).all()
    monkeypatch.setattr("napari_spss.core.analysis.scores._PIECE_PX", 10)
    assert (confusion_matrix(found, truth, n_classes=3) == whole).all()


def test_no_large_slice_is_read_at_once() -> None:
    largest = 0

    class Wide(_NamedLabels):
        def read(self, z: int, box: tuple[int, int, int, int] | None = None) -> np.ndarray:
            nonlocal largest
            piece = super().read(z, box)
            largest = max(largest, piece.size)
            return piece

    plane = np.zeros((5, 2_200_000), np.uint8)
    plane[1:4, 7:9] = 1
    scores = evaluate(Wide([plane], ("background", "a")), plane[None])
    assert scores.confusion.tolist() == [[plane.size - 6, 0, 0], [0, 6, 0]]
    assert largest <= 2**22


def test_files_of_two_folders_are_scored_by_name(tmp_path: Path) -> None:
    for name, numbers in (("labels", (2, 3, 4)), ("truth", (1, 2, 3))):
        (tmp_path / name).mkdir()
        for i in numbers:
            plane = np.zeros((8, 8), np.uint8)
            plane[:i] = 255
            Image.fromarray(plane).save(tmp_path / name / f"{i}_{name}.png")
    scores = evaluate(open_masks(tmp_path / "labels"), open_masks(tmp_path / "truth"))
    assert scores.iou == (1.0, 1.0)
    assert scores.n_pixels == 2 * 64
    assert "1_truth.png" in scores.notes[0]
    assert "4_labels.png" in scores.notes[1]


def test_image_sets_of_different_sizes() -> None:
    truth = [np.zeros((2, 3), int), np.ones((4, 1), int)]
    assert evaluate([np.zeros((2, 3), int), np.zeros((4, 1), int)], truth).accuracy == 0.6


@pytest.mark.parametrize(
    ("found", "truth", "expected"),
    [
        (np.zeros((2, 4, 4), int), np.zeros((3, 4, 4), int), "2 slices and the truth has 3"),
        (np.zeros((1, 4, 4), int), np.zeros((1, 4, 5), int), "4 x 4 pixels"),
        (np.zeros((0, 4, 4), int), np.zeros((0, 4, 4), int), "no slices"),
        (np.zeros((0, 4, 4), int), np.zeros((3, 4, 4), int), "have 0 slices and the truth has 3"),
        (np.zeros((4, 4)), np.zeros((4, 4), int), "float64"),
        (np.zeros(4, int), np.zeros((4, 4), int), r"shape \(4,\)"),
        (np.full((4, 4), -1), np.zeros((4, 4), int), "class index -1"),
        (stack_from_array(np.zeros((2, 4, 4), int)), np.zeros((2, 4, 4), int), "open_masks"),
        (np.full((4, 4), 300), np.zeros((4, 4), int), "class index 300"),
    ],
)
def test_unusable_input_is_refused(found: np.ndarray, truth: np.ndarray, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        evaluate(found, truth)


def test_index_beyond_the_named_classes_is_refused() -> None:
    with pytest.raises(InputError, match="class index 2 lies outside 0-1"):
        evaluate(np.array([[0, 2]]), np.array([[0, 1]]), classes=("background", "mito"))


def test_names_come_from_the_side_that_knows_more_classes() -> None:
    plane = np.array([[0, 1, 2]])
    three = _NamedLabels([plane], ("background", "myelin", "axon"))
    two = _NamedLabels([np.array([[0, 1, 1]])], ("background", "class_1"))
    assert evaluate(two, three).classes == ("background", "myelin", "axon")
    assert evaluate(three, two).classes == ("background", "myelin", "axon")
    assert evaluate(plane, two, classes=("a", "b", "c")).classes == ("a", "b", "c")


def test_same_classes_in_another_order_are_refused() -> None:
    plane = np.array([[0, 1, 2]])
    one = _NamedLabels([plane], ("background", "myelin", "axon"))
    other = _NamedLabels([plane], ("background", "axon", "myelin"))
    with pytest.raises(InputError, match=r"another order.*background=0,myelin=2,axon=1"):
        evaluate(one, other)


def test_wrong_confusion_matrices_are_refused() -> None:
    with pytest.raises(InputError, match="is not"):
        scores_from_confusion(np.zeros((2, 4), dtype=np.int64))
    with pytest.raises(InputError, match="3 class names"):
        scores_from_confusion(np.zeros((2, 2), dtype=np.int64), ("a", "b", "c"))
    with pytest.raises(InputError, match="one size"):
        confusion_matrix([0, 1], [0], n_classes=2)


def test_json_has_no_nan() -> None:
    scores = evaluate(np.array([[0, 2]]), np.array([[0, 0]]))
    read = json.loads(json.dumps(scores.to_json(), allow_nan=False))
    assert read["iou"] == {"background": 0.5, "class_1": None, "class_2": 0.0}
    assert read["accuracy"] == 0.5


def test_text_has_a_row_per_class_and_both_means() -> None:
    lines = evaluate(FOUND, TRUTH).to_text().splitlines()
    assert lines[1].split() == ["background", "0.500", "0.667", "0.600", "0.750"]
    assert any(line.split() == ["mean", "IoU,", "all", "classes", "0.411"] for line in lines)
    assert any(line.split() == ["mean", "IoU,", "foreground", "0.367"] for line in lines)


@given(
    hnp.arrays(np.uint8, (3, 6), elements=st.integers(0, 3)),
    hnp.arrays(np.uint8, (3, 6), elements=st.sampled_from([0, 1, 2, 3, 255])),
    st.permutations([0, 1, 2, 3]),
)
def test_renaming_classes_permutes_the_scores(
    found: np.ndarray, truth: np.ndarray, order: list[int]
) -> None:
    names = ("a", "b", "c", "d")
    renamed = np.arange(256)
    renamed[:4] = order
    # nothing but 0 and 255 is refused, since it may be a mask
    assume(all(((one > 0) & (one < 255)).any() for one in (truth, renamed[truth])))
    before = evaluate(found, truth, classes=names)
    after = evaluate(renamed[found], renamed[truth], classes=names)
    for index in range(4):
        assert after.iou[order[index]] == pytest.approx(before.iou[index], nan_ok=True)
        if not math.isnan(before.iou[index]):
            iou = before.iou[index]
            assert before.f1[index] == pytest.approx(2 * iou / (1 + iou))
    assert after.mean_iou == pytest.approx(before.mean_iou, nan_ok=True)
    assert after.accuracy == pytest.approx(before.accuracy, nan_ok=True)
