"""Steps that are taken back and repeated."""

from __future__ import annotations

import gc
import weakref

import pytest

from napari_spss.gui.models import History


class Shelf:
    """Numbered places with a word each."""

    def __init__(self, **arguments) -> None:
        self.words = {}
        self.history = History(self._put, **arguments)

    def put(self, place, word, *, joins=False) -> None:
        self.history.do((place, self.words.get(place), word), joins=joins)

    def _put(self, change, is_back) -> None:
        place, before, after = change
        self.words[place] = before if is_back else after


@pytest.mark.parametrize("places", [(1, 1, 1), (1, 2, 1), (1, 2, 3)])
def test_what_joins_a_step_goes_and_comes_with_it(places):
    shelf = Shelf()
    shelf.put(0, "first")
    for number, place in enumerate(places):
        shelf.put(place, f"word {number}", joins=number > 0)
    filled = dict(shelf.words)
    assert {change[0] for change in shelf.history.take_back()} == set(places)
    assert {word for place, word in shelf.words.items() if place} == {None}
    assert shelf.words[0] == "first"
    shelf.history.repeat()
    assert shelf.words == filled


def test_there_is_nothing_to_take_back_or_to_repeat():
    shelf = Shelf()
    assert shelf.history.take_back() == shelf.history.repeat() == ()
    shelf.put(0, "first")
    assert shelf.history.repeat() == ()
    shelf.history.take_back()
    assert shelf.history.take_back() == ()


def test_a_new_step_takes_the_place_of_those_that_were_taken_back():
    shelf = Shelf()
    shelf.put(0, "first")
    shelf.put(0, "second")
    shelf.history.take_back()
    shelf.put(0, "third")
    assert shelf.history.repeat() == ()
    shelf.history.take_back()
    assert shelf.words == {0: "first"}


def test_the_oldest_steps_are_forgotten():
    shelf = Shelf(max_steps=3)
    for number in range(5):
        shelf.put(0, number)
    while shelf.history.take_back():
        pass
    assert shelf.words == {0: 1}


def test_changes_are_rewritten():
    shelf = Shelf()
    shelf.put(0, "word")
    shelf.history.rewrite(lambda change: (7, *change[1:]))
    shelf.history.take_back()
    assert shelf.words == {0: "word", 7: None}


def test_steps_do_not_keep_their_owner_alive():
    shelf = Shelf()
    shelf.put(0, "word")
    known = weakref.ref(shelf)
    del shelf
    gc.collect()
    assert known() is None
