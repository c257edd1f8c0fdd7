"""The page on the dock names what is there: labels, keys, messages, pictures."""

from __future__ import annotations

import ast
import re

import pytest
from qtpy.QtWidgets import (
    QAbstractButton,
    QComboBox,
    QLabel,
    QTabBar,
)

from napari_spss.gui.widgets import ACTS, CLASS_KEYS
from napari_spss.gui.widgets.annotate import grid, grid_buttons

# names that stand only in some state of the dock
LATER = {"Reopen", "Open it here", "Lay frames", "Lay more frames", "Remove open", "Save"}
KEYS_OF_THE_TABLE = {"Enter", "Shift", "Ctrl", "C", "V", "Z", "Delete"}


@pytest.fixture(scope="module")
def page(repository):
    return (repository / "docs" / "dock.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def texts_in_the_code(repository):
    """All literal texts of the package, as the program puts them together."""
    found = []
    for path in (repository / "src" / "napari_spss").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found += [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
    return found


def texts_of(dock):
    """Everything that is written on the dock, keys of buttons left out."""
    buttons = dock.findChildren(QAbstractButton)
    found = {re.sub(r" \(\w\)$", "", widget.text()) for widget in buttons}
    found |= {label.text() for label in dock.findChildren(QLabel)}
    for box in dock.findChildren(QComboBox):
        found |= {box.itemText(i) for i in range(box.count())}
    for bar in dock.findChildren(QTabBar):
        found |= {bar.tabText(i) for i in range(bar.count())}
    return found


def test_names_of_the_page_are_on_the_dock(page, open_dock, texts_in_the_code):
    dock = open_dock()
    names = set(re.findall(r"\*\*([^*]+)\*\*", page))
    assert len(names) > 25
    assert names - texts_of(dock) - LATER == set()
    assert LATER - set(texts_in_the_code) == set()


def test_keys_of_the_page_are_bound(page):
    shown = set(re.findall(r"<kbd>([^<]+)</kbd>", page))
    every = vars(grid) | vars(grid_buttons)
    keys = {value for name, value in every.items() if name.endswith("_KEY")}
    keys |= {key for _, key, _ in ACTS.values()}
    bound = {part for key in (*keys, *CLASS_KEYS) for part in key.split("-")}
    assert shown - bound - KEYS_OF_THE_TABLE == set()
    assert (grid_buttons.UNDO_KEY, grid_buttons.REDO_KEY) == ("Control-Z", "Control-Shift-Z")


def test_messages_of_the_page_are_told_by_the_code(page, texts_in_the_code):
    rows = page.partition("## Messages")[2]
    messages = re.findall(r"^\| `([^`]+)` \|", rows, flags=re.MULTILINE)
    assert len(messages) > 8
    unknown = [m for m in messages if not any(m in text for text in texts_in_the_code)]
    assert unknown == []


def test_pictures_of_the_page_are_there_and_small(page, repository):
    pictures = re.findall(r"!\[[^]]+\]\((images/[^)]+)\)", page)
    assert len(pictures) > 5
    for picture in pictures:
        assert (repository / "docs" / picture).stat().st_size < 300_000, picture
    assert (repository / "docs" / "images" / "dock.gif").stat().st_size < 3_000_000
