"""A class as one record, and the classes of a task, which carry the records whole."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
from pydantic import TypeAdapter

from napari_spss.core.annotations import Annotations, Classes, ClassStyle
from napari_spss.core.base import InputError

NAMES = ("background", "mito", "resin")
STYLES = (
    ClassStyle("background", "#000000", "Q"),
    ClassStyle("mito", "#E69F00"),
    ClassStyle("resin", "#ffffff", is_outside=True),
)


def test_they_are_their_names():
    classes = Classes(STYLES)
    assert classes == NAMES
    assert classes == NAMES
    assert hash(classes) == hash(NAMES)
    assert classes != NAMES[:2]
    assert classes.records == STYLES


@pytest.mark.parametrize(
    "again", [Classes, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))]
)
def test_copies_keep_the_records(again):
    assert again(Classes(STYLES)).records == STYLES


def test_what_a_class_means_tells_it_from_another_but_not_how_it_looks():
    assert Classes(STYLES) == Classes(NAMES, outside="RESIN")
    assert Classes(STYLES) != Classes(NAMES)
    assert Annotations(Classes(STYLES)) == Annotations(NAMES, outside="resin")
    assert Annotations(Classes(STYLES)) != Annotations(NAMES)
    assert str(Classes(STYLES)) == "background, mito, resin (outside)"


def test_what_is_known_of_a_class_follows_its_name():
    classes = Classes(STYLES).named(["background", "Resin", "other"])
    assert classes == ("background", "Resin", "other")
    assert (classes.outside, classes.outside_index) == ("Resin", 1)
    assert classes.records[1].colour == "#ffffff"
    moved = Annotations(Classes(STYLES)).with_classes(("background", "resin", "mito"))
    assert moved.outside_index == 1


def test_a_file_holds_what_they_mean():
    kind = TypeAdapter(Classes)
    text = kind.dump_json(Classes(STYLES)).decode()
    assert json.loads(text) == ["background", "mito", {"name": "resin", "is_outside": True}]
    assert kind.validate_json(text) == Classes(STYLES)
    assert kind.validate_json('["background", "mito"]') == Classes(NAMES[:2])
    assert kind.validate_python(Classes(STYLES)).records == STYLES


@pytest.mark.parametrize(
    ("classes", "outside", "said"),
    [
        (NAMES, "glue", "'glue' is not among the classes"),
        (NAMES, "background", "is the background"),
        ((ClassStyle("background", is_outside=True), "mito"), None, "is the background"),
        (("mito", "background"), None, "background"),
        (("background", "a", "A"), None, "named twice"),
    ],
)
def test_what_cannot_be_is_refused(classes, outside, said):
    with pytest.raises(InputError, match=said):
        Classes(classes, outside)
