"""The examples in the docstrings of the core do what they show."""

from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module

import pytest

import napari_spss.core

MODULES = [
    info.name
    for info in pkgutil.walk_packages(napari_spss.core.__path__, napari_spss.core.__name__ + ".")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.testmod(import_module(name), optionflags=flags).failed == 0
