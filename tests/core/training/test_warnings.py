"""A map that collapses does not do so silently; one that is right, or rightly empty, is let be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from blobs import CLASSES, annotated, blobs, counted, fractions, quick
from pixels import image_set
from samples_in_memory import read_all

from napari_spss.core.annotations import Annotations, Keypoint, Proportion, Region
from napari_spss.core.base import Message, preset
from napari_spss.core.images import (
    ImageData,
    Stack,
    WorkingScale,
    as_label_source,
    stack_from_array,
)
from napari_spss.core.training import iter_training
from napari_spss.core.training.preparation import working_scale
from napari_spss.core.training.run import Run
from napari_spss.core.training.samples import SampleReader
from napari_spss.core.training.warnings import (
    MapWatch,
    denied_absences,
    initial_warnings,
    mistaken_classes,
    n_looks_due,
)

pytestmark = pytest.mark.usefixtures("one_torch_thread")

FAST = preset("fast")
SMALL = FAST.with_overrides({"network.filters": 2})
FULL = WorkingScale(1)
N, SIZE = 4, 40


def plane(values):
    """Stack whose grey values are 10 times some class indices, so that maps can be read off."""
    return stack_from_array((10 * np.asarray(values)).astype(np.uint8))


def look(annotations, truth, maps, *, masks=None, lost=None, settings=FAST, n_steps=9):
    """Messages of one look at maps, given as labels (Z, Y, X) or as probabilities per slice.

    ``lost`` is a list of what the last look found, which is replaced by what this one finds.
    """
    samples = read_all(SampleReader(
        plane(truth), annotations, settings, working_scale=WorkingScale(1),
        masks=None if masks is None else as_label_source(masks),
    ))  # fmt: skip
    by_image = {sample.image.tobytes(): sample.slice for sample in samples}
    n_classes = len(annotations.classes)

    def predict(image):
        found = maps[by_image[image.tobytes()]]
        if found.ndim == 3:
            return found.astype(np.float32)
        return np.stack([found == c for c in range(n_classes)]).astype(np.float32)

    lost = [] if lost is None else lost
    watch = MapWatch(annotations.classes)
    lost[:], message = watch.look(samples, predict, tuple(lost), n_steps=n_steps, settings=settings)
    return [] if message is None else [message]


def squares(*sides, value=1):
    """A slice for each side: a square of that side, in its own corner so that all differ."""
    truth = np.zeros((len(sides), SIZE, SIZE), np.uint8)
    for z, side in enumerate(sides):
        truth[z, z : z + side, z : z + side] = value
    return truth


def stated(*percent, classes=CLASSES, outside=None):
    """Fractions of the second class, in per cent, one a slice."""
    return Annotations(
        classes,
        proportions=tuple(
            Proportion(Region(z), (1 - p / 100, p / 100)) for z, p in enumerate(percent)
        ),
        outside=outside,
    )


TRUTH = squares(12, 10, 8, 6)  # 9, 6.25, 4 and 2.25 %
NOTHING = np.zeros_like(TRUTH)


def test_a_class_that_is_nowhere_is_told_with_numbers_and_a_remedy():
    (told,) = look(stated(9, 6.25, 4, 2.25), TRUTH, NOTHING)
    assert told.level == "warning"
    assert told.text.startswith("The map is nearly constant after 9 steps: disc takes up 0.0 % of ")
    assert "about 7.6 % was stated" in told.text  # of the two fullest slices
    assert "count a grid" in told.text
    assert "width" in told.text


def test_the_remedy_follows_what_is_there():
    fractions_, grids = stated(9, 6.25, 4, 2.25), counted(TRUTH, [0], n_side=16)
    (with_grid,) = look(fractions_.replace(grids=grids), TRUTH, NOTHING)
    assert "another slice" in with_grid.text
    background = (Keypoint(0, 30.0, 30.0, 0),)
    (one_kind,) = look(fractions_.replace(keypoints=background), TRUTH, NOTHING)
    assert "keypoints on disc" in one_kind.text
    paper = preset("paper").with_overrides({"image.object_diameter_px": 12})
    (told,) = look(fractions_, TRUTH, NOTHING, settings=paper)
    assert "tell where things are; use the preset fast; if there is no disc, state 0" in told.text


@pytest.mark.parametrize("factor", [0.5, 1, 2])
def test_rough_guesses_raise_no_alarm(factor):
    assert look(stated(*(factor * p for p in (9, 6.25, 4, 2.25))), TRUTH, TRUTH) == []


@pytest.mark.parametrize(
    "annotations",
    [
        stated(0, 0, 0, 0),
        Annotations(CLASSES, grids=counted(NOTHING, range(N))),
        stated(0, 0, 0, 0).replace(keypoints=(Keypoint(1, 5.0, 5.0, 0),)),
        Annotations(
            CLASSES,
            proportions=(Proportion(Region(0), (None, None), low=(None, 0.0), high=(None, 0.2)),),
        ),
    ],
    ids=["stated-0", "grids-without-hits", "background-points", "interval-from-0"],
)
def test_what_is_truly_absent_is_not_missed(annotations):
    assert look(annotations, squares(1, 2, 3, 4), NOTHING) == []


def test_a_class_that_fills_everything_may_do_so():
    assert look(stated(100, 100, 100, 100), TRUTH, np.ones_like(TRUTH)) == []


def test_a_class_in_one_slice_only():
    truth = squares(0, 0, 12, 0)
    truth[[0, 1, 3], 0, [0, 1, 3]] = 1  # specks, so that the images differ
    annotations = stated(0, 0, 9, 0)
    assert look(annotations, truth, squares(0, 0, 12, 0)) == []
    (told,) = look(annotations, truth, NOTHING)
    assert "about 9.0 % was stated" in told.text


def test_one_of_three_classes_is_lost():
    truth = squares(12, 10, 8, 6)
    truth[:, 25:] = 2
    classes = ("background", "disc", "band")
    shares = [tuple(float((t == c).mean()) for c in range(3)) for t in truth]
    annotations = Annotations(
        classes, proportions=tuple(Proportion(Region(z), s) for z, s in enumerate(shares))
    )
    assert look(annotations, truth, truth) == []
    (told,) = look(annotations, truth, np.where(truth == 1, 0, truth))
    assert told.text.startswith("The map lacks disc after 9 steps: disc takes up 0.0 %")
    (told,) = look(annotations, truth, np.zeros_like(truth))
    assert "constant" in told.text
    assert "disc takes" in told.text
    assert "band takes" in told.text


def test_all_lost_classes_are_listed():
    truth = squares(12, 10, 8, 6)
    truth[:, 25:], truth[:, :, 30:] = 2, 3
    classes = ("background", "disc", "band", "edge")
    shares = [tuple(float((t == c).mean()) for c in range(4)) for t in truth]
    annotations = Annotations(
        classes, proportions=tuple(Proportion(Region(z), s) for z, s in enumerate(shares))
    )
    (told,) = look(annotations, truth, np.where(truth == 2, 2, 0))
    assert "lacks disc and edge after" in told.text
    (told,) = look(annotations, truth, np.zeros_like(truth))
    assert "if there is no disc, band or edge, state 0" in told.text


def test_a_map_of_even_chances_is_constant():
    truth = np.zeros((2, SIZE, SIZE), np.uint8)
    truth[0, :20] = truth[1, :, :20] = 1
    hesitant = np.random.default_rng(0).uniform(0.46, 0.54, truth.shape)
    maps = np.stack([1 - hesitant, hesitant], axis=1)
    (told,) = look(stated(50, 50), truth, maps, lost=(lost := []))
    assert "no place is much more likely" in told.text
    (news,) = look(stated(50, 50), truth, truth, lost=lost)
    assert news == Message("info", "The map is not constant after all, after 9 steps.")
    assert look(stated(50, 50), truth, truth) == []


def test_only_the_background_is_stated():
    proportions = tuple(Proportion(Region(z), (0.9, None, None)) for z in range(N))
    annotations = Annotations(("background", "disc", "band"), proportions=proportions)
    (told,) = look(annotations, TRUTH, NOTHING)
    assert "nearly all of it is background" in told.text
    assert look(annotations, TRUTH, TRUTH) == []


def test_points_and_masks_claim_what_they_label():
    points = Annotations(CLASSES, keypoints=(Keypoint(0, 5.0, 5.0, 1), Keypoint(0, 30.0, 5.0, 0)))
    (told,) = look(points, TRUTH, NOTHING)
    assert "disc was labelled" in told.text
    assert look(points, TRUTH, TRUTH) == []
    (told,) = look(Annotations(CLASSES), TRUTH, NOTHING, masks=TRUTH)
    assert "constant" in told.text
    assert look(Annotations(CLASSES), TRUTH, TRUTH, masks=TRUTH) == []


def test_fractions_count_what_is_not_outside():
    truth = squares(6, 6)
    truth[:, 20:] = 2  # half of it: of the rest, the square takes up 4.5 %
    classes = ("background", "disc", "resin")
    proportions = tuple(Proportion(Region(z), (0.955, 0.045, None)) for z in range(2))
    points = tuple(Keypoint(z, 35.0, 20.0, 2) for z in range(2))
    annotations = Annotations(classes, proportions=proportions, keypoints=points, outside="resin")
    assert look(annotations, truth, truth) == []
    (told,) = look(annotations, truth, np.where(truth == 1, 0, truth))
    assert "disc takes up 0.0 % of slices where about 4.5 % was stated" in told.text
    (told,) = look(annotations, truth, np.where(truth == 2, 0, truth))
    assert "resin was labelled" in told.text
    assert "stated" not in told.text


@pytest.mark.parametrize(("shift", "n_wrong"), [(0, None), (2, None), (12, 55)])
def test_a_class_that_is_shown_where_nodes_were_judged_otherwise_is_told(shift, n_wrong):
    truth = squares(24, 24)
    annotations = Annotations(CLASSES, grids=counted(truth, [0, 1], n_side=12))
    reader = SampleReader(plane(truth), annotations, FAST, working_scale=FULL)
    samples = read_all(reader)
    shown = {one.name: np.roll(truth[0], shift, axis=1) for one in samples}
    told = list(mistaken_classes(samples, shown, CLASSES))
    assert (not told) if n_wrong is None else len(told) == 1
    assert all(f"{n_wrong} were judged otherwise" in one.text for one in told), told[0].text


def absences(annotations, truth, maps):
    """What is told of maps, given as labels (Z, Y, X), where 0 was stated."""
    reader = SampleReader(plane(truth), annotations, FAST, working_scale=FULL)
    samples = read_all(reader)
    shown = {one.name: maps[one.slice] for one in samples}
    bags = [bag for one in samples for bag in one.bags]
    return [one.text for one in denied_absences(samples, shown, annotations.classes, bags)]


def test_a_class_that_is_shown_where_none_was_stated_is_told():
    truth, stray = squares(12, 12, 12, 12), squares(12, 12, 12, 5)  # 9 %, and 1.6 %
    (told,) = absences(stated(9, 9, 0, 0), truth, truth)
    assert told.startswith("No disc was stated in 2 regions, where the map shows 9.0 %; elsewhere")
    assert "about 9.0 % was stated" in told
    assert absences(stated(9, 9, 9, 0), truth, stray) == []
    assert absences(stated(0, 0, 0, 0), truth, truth) == [], "nothing tells how much is much"
    assert absences(stated(9, 9, 9, 9), truth, truth) == []
    without_hit = stated(9, 9, 0, 0).replace(
        proportions=stated(0, 0, 0, 0).proportions[2:], grids=counted(0 * truth, [0, 1])
    )
    assert absences(without_hit, truth, truth) == [], "no hit states nothing"


def test_a_warning_stands_until_it_is_taken_back():
    annotations = stated(9, 6.25, 4, 2.25)
    lost = []
    first = look(annotations, TRUTH, NOTHING, lost=lost)
    again = look(annotations, TRUTH, NOTHING, lost=lost, n_steps=12)
    back = look(annotations, TRUTH, TRUTH, lost=lost, n_steps=20)
    after = look(annotations, TRUTH, TRUTH, lost=lost, n_steps=30)
    assert ([one.level for one in first], again, after) == (["warning"], [], [])
    # how much that is decides whether to believe it: wrong nodes can be learnt too
    (told,) = back
    assert told.level == "info"
    assert told.text.startswith("The map shows disc after all, after 20 steps: disc takes up 7.6 %")


def test_a_little_more_does_not_take_a_warning_back():
    annotations = stated(9, 6.25, 4, 2.25)
    little = squares(4, 4, 4, 4)  # 13 % of what is stated
    assert look(annotations, TRUTH, little) == [], "enough not to warn"
    lost = []
    look(annotations, TRUTH, NOTHING, lost=lost)
    assert look(annotations, TRUTH, little, lost=lost) == []
    (told,) = look(annotations, TRUTH, squares(6, 6, 6, 6), lost=lost)
    assert "shows disc after all" in told.text


def test_looks_are_due_twice_on_the_way():
    spent = np.arange(0, 1, 0.05)
    n_due = np.array([n_looks_due(share) for share in spent])
    assert spent[1:][np.diff(n_due) == 1] == pytest.approx([0.65, 0.85])


def warnings_of(stack, annotations, settings):
    """Warnings about the map of a whole run."""
    events = iter_training(stack, annotations, settings, device="cpu")
    told = [event for event in events if isinstance(event, Message)]
    return [one.text for one in told if one.level == "warning" and "map" in one.text]


def test_eq1_alone_collapses_and_a_grid_does_not():
    stack, truth = blobs()
    paper = preset("paper").with_overrides(
        {"network.filters": 2, "sampling.crop_px": 32, "optimisation.max_epochs": 4}
    )
    (told,) = warnings_of(stack, Annotations(CLASSES, proportions=fractions(truth)), paper)
    assert "nearly constant after" in told
    assert warnings_of(stack, annotated(truth), quick(optimisation__max_steps=80)) == []


def test_a_run_that_ends_by_itself_tells_of_a_mistaken_class(monkeypatch):
    def everywhere(self, image, network=None, box=None):
        return np.stack([np.zeros_like(image[0]), np.ones_like(image[0])])

    monkeypatch.setattr(Run, "_predict", everywhere)
    stack, truth = blobs()
    told = warnings_of(stack, annotated(truth), quick(optimisation__max_steps=1))
    assert sum(text.startswith("Of 64 nodes where the map shows disc") for text in told) == 1
    late = quick(optimisation__max_steps=10**6, optimisation__max_minutes=1e-9)
    assert not any("nodes" in text for text in warnings_of(stack, annotated(truth), late))


def test_that_nothing_is_counted_is_told_at_the_end():
    stack, truth = blobs(n_slices=1, size=32)
    only_guessed = Annotations(CLASSES, proportions=fractions(truth))
    for known, n_told in ((only_guessed, 1), (annotated(truth), 0)):
        events = iter_training(stack, known, quick(optimisation__max_steps=1), device="cpu")
        told = [event.text for event in events if isinstance(event, Message)]
        assert sum(text.startswith("Nothing is counted") for text in told) == n_told


def test_zeros_that_a_map_denies_are_the_one_thing_that_is_told(monkeypatch):
    def everywhere(self, image, network=None, box=None):
        return np.stack([np.zeros_like(image[0]), np.ones_like(image[0])])

    monkeypatch.setattr(Run, "_predict", everywhere)
    stack, truth = blobs()
    known, *others = fractions(truth)
    zeros = tuple(replace(one, fractions=(1.0, 0.0)) for one in others)
    annotations = Annotations(CLASSES, proportions=(known, *zeros))
    events = iter_training(stack, annotations, quick(optimisation__max_steps=1), device="cpu")
    told = [event.text for event in events if isinstance(event, Message)]
    assert told[-1].startswith("No disc was stated in")
    assert not any("Nothing is counted" in text for text in told)


def test_a_stopped_run_is_not_kept_waiting_for_a_look():
    from napari_spss.core.base import CancelToken, RunFinished

    stack, truth = blobs(n_slices=1, size=32)
    token = CancelToken()
    token.cancel()
    annotations = Annotations(CLASSES, proportions=fractions(truth))
    events = list(iter_training(stack, annotations, quick(), token=token, device="cpu"))
    assert isinstance(events[-1], RunFinished)
    assert not any(isinstance(event, Message) and "constant" in event.text for event in events)


# -- before the first step -------------------------------------------------------------------------


def flat(*shape, **kwargs):
    return stack_from_array(np.zeros(shape, np.uint8), **kwargs)


def varied(*shape):
    """A stack whose last pixel alone differs."""
    data = np.zeros(shape, np.uint8)
    data[..., -1, -1] = 9
    return stack_from_array(data)


def said(settings=SMALL, stack=None, annotations=None, *, scale=FULL, has_held_out=False):
    annotations = annotations or Annotations(CLASSES, keypoints=(Keypoint(0, 1.0, 1.0, 1),))
    stack = stack or varied(1, 40, 100)
    return [
        message.text
        for message in initial_warnings(
            settings, stack, annotations, scale=scale, has_held_out=has_held_out
        )
    ]


def test_what_is_odd_about_the_file_is_told():
    array = np.random.default_rng(0).integers(0, 255, (1, 40, 100), np.uint8)
    stack = Stack([ImageData(array, notes=("It was read with care.",))], source="em.mrc")
    assert "It was read with care." in said(stack=stack)


def test_full_resolution_by_default_is_told():
    (text,) = said()
    assert text.startswith("No object diameter was stated")
    assert said(SMALL.with_overrides({"image.object_diameter_px": 20})) == []
    assert said(scale=WorkingScale(4)) == []  # that of an earlier run
    assert said(preset("paper"), has_held_out=True) == []


@pytest.mark.parametrize("shape", [(1, 40, 100), (3, 600, 8)])
def test_an_image_without_contrast_is_told_with_a_remedy(shape):
    settings = SMALL.with_overrides({"image.object_diameter_px": 20})
    (text,) = said(settings, flat(*shape))
    assert "no contrast" in text
    assert "Check that this is the right image" in text
    assert said(settings, varied(*shape)) == []


def test_a_contrast_that_single_precision_loses_is_told():
    settings = SMALL.with_overrides({"image.object_diameter_px": 20})
    grey = np.random.default_rng(0).normal(0, 20, (1, 40, 100))
    (text,) = said(settings, stack_from_array(grey + 1e9))
    assert "slice 0 lie about 1e+09 and differ by 20 only" in text
    assert said(settings, stack_from_array(grey + 1e5)) == []
    assert said(settings, stack_from_array((grey + 1e5).astype(np.int64))) == []


def test_pixels_that_are_not_square_are_told():
    settings = SMALL.with_overrides({"image.object_diameter_px": 20})
    pixels = varied(1, 40, 100).read(0)
    (text,) = said(settings, stack_from_array(pixels, voxel_size_um=(None, 0.03, 0.01)))
    assert text.startswith("Pixels are 10 nm wide and 30 nm high")
    for y_um in (0.011, None):
        assert said(settings, stack_from_array(pixels, voxel_size_um=(None, y_um, 0.01))) == []


@pytest.mark.parametrize(
    ("whole", "part", "text"),
    [
        (0.1, 0.8, "slice 0 has at least 32.0 % of disc, but 10.0 % by that of the whole slice"),
        (0.9, 0.1, "slice 0 has at most 64.0 % of disc, but 90.0 %"),
        (0.31, 0.8, ""),
        (0.68, 0.2, ""),
    ],
)
def test_fractions_of_parts_that_their_slice_cannot_have_are_told(whole, part, text):
    stated = (
        Proportion(Region(0), (None, whole)),
        Proportion(Region(0, (0, 0, 40, 40)), (None, part)),
        Proportion(Region(0, (0, 20, 40, 60)), (None, part)),  # overlaps: counts no second time
        Proportion(Region(1, (0, 0, 40, 40)), (None, part)),
    )
    settings = SMALL.with_overrides({"image.object_diameter_px": 20})
    told = said(settings, varied(2, 40, 100), Annotations(CLASSES, proportions=stated))
    assert [text in one for one in told] == [True] * bool(text)


def test_channels_of_different_grey_are_no_contrast():
    data = np.stack([np.zeros((40, 60), np.uint8), np.full((40, 60), 7, np.uint8)])
    settings = SMALL.with_overrides({"image.object_diameter_px": 20})
    (text,) = said(settings, stack_from_array(data, axes="CYX"))
    assert text.startswith("The image has no contrast")
    data[1, 39, 59] = 8
    assert said(settings, stack_from_array(data, axes="CYX")) == []


def test_only_the_annotated_slices_need_contrast():
    data = np.zeros((3, 40, 60), np.uint8)
    data[2, 5, 5] = 1
    stack = stack_from_array(data)
    settings = SMALL.with_overrides({"image.object_diameter_px": 20})
    points = tuple(Keypoint(z, 1.0, 1.0, 1) for z in (0, 2))
    (text,) = said(settings, stack, Annotations(CLASSES, keypoints=points[:1]))
    assert text.startswith("The annotated slices have no contrast")
    assert said(settings, stack, Annotations(CLASSES, keypoints=points)) == []


def test_what_was_changed_in_reading_is_told():
    stack, truth = blobs()
    notes = ("p.csv: renormalised.", "k.csv: column ignored.")
    settings = SMALL.with_overrides({"image.object_diameter_px": 20})
    assert said(settings, stack, annotated(truth).replace(notes=notes)) == list(notes)


def test_nothing_held_out_is_told_where_it_was_asked_for():
    assert "nothing stops this run early" in said(preset("paper"))[0]


def test_images_of_several_pixel_sizes_are_told():
    images = [np.eye(80, dtype=np.uint8)] * 2
    settings = SMALL.with_overrides({"image.object_diameter_um": 0.24})
    for sizes, expected in (
        ([0.005, 0.005], []),
        ([0.005, 0.01], ["pixels of 5 to 10 nm: the network sees them reduced by 2 to 1"]),
        ([0.005, 0.03], ["objects look 3.0 times smaller"]),
    ):
        stack = image_set(images, sizes_um=sizes)
        texts = said(settings, stack, scale=working_scale(settings, stack))
        assert len(texts) == len(expected)
        assert all(part in text for part, text in zip(expected, texts, strict=True))
