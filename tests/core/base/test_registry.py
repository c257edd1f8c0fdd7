"""Things found by name: ours, registered ones, and those of installed packages."""

from __future__ import annotations

import sys

import pytest

from napari_spss.core.base import InputError, Registry, fault_of_package

GROUP = "spss_test.numbers"


@pytest.fixture
def numbers() -> Registry[float]:
    return Registry("number", group=GROUP, built_in={"pi": "math:pi"}, field="number")


def test_ours_are_loaded_by_name(numbers):
    assert numbers.get("pi") == pytest.approx(3.14159, abs=1e-5)
    assert numbers.names() == ("pi",)


def test_ours_need_no_look_through_what_is_installed(numbers, monkeypatch):
    monkeypatch.delattr("napari_spss.core.base.registry.entry_points")
    assert numbers.get("pi") == pytest.approx(3.14159, abs=1e-5)


def test_one_of_the_process_may_be_given_again_but_not_ours(numbers):
    numbers.register("two", 2.0)
    numbers.register("two", 2.5)
    assert (numbers.get("two"), numbers.names()) == (2.5, ("pi", "two"))
    for name in ("", "pi"):
        with pytest.raises(InputError, match="choose another name than pi"):
            numbers.register(name, 3.0)


def test_an_installed_package_adds_its_own(numbers, install):
    install("spss_seven", "value = 7.0\n", GROUP, "seven = spss_seven:value")
    assert numbers.names() == ("pi", "seven")
    assert "spss_seven" not in sys.modules
    assert numbers.get("seven") == 7.0


def test_what_is_installed_is_looked_through_once(numbers, install, monkeypatch):
    install("spss_eight", "value = 8.0\n", GROUP, "eight = spss_eight:value")
    assert numbers.get("eight") == 8.0
    monkeypatch.delattr("napari_spss.core.base.registry.entry_points")
    assert numbers.get("eight") == 8.0
    assert numbers.names() == ("pi", "eight")


def test_a_package_cannot_take_the_name_of_ours(numbers, install):
    install("spss_wrong", "value = 3.0\n", GROUP, "pi = spss_wrong:value")
    assert numbers.get("pi") != 3.0
    assert numbers.names() == ("pi",)


def test_a_package_that_cannot_be_imported_is_named(numbers, install):
    install("spss_broken", "import no_such_module\n", GROUP, "broken = spss_broken:value")
    with pytest.raises(InputError, match="number 'broken' of the package spss_broken") as caught:
        numbers.get("broken")
    assert "no_such_module" in str(caught.value)
    assert caught.value.field == "number"


@pytest.mark.parametrize("code", ["raise RuntimeError('no licence')", "value = 'licence'"])
def test_what_a_package_offers_must_be_what_is_expected(install, code):
    floats = Registry("number", group=GROUP, built_in={}, field="number", expects=float)
    install("spss_odd", code, GROUP, "odd = spss_odd:value")
    with pytest.raises(InputError, match=r"'odd' of the package spss_odd cannot be loaded \("):
        floats.get("odd")


def test_an_error_names_the_package_from_which_it_came(numbers, install):
    code = "def value():\n    raise KeyError('x')\n"
    install("spss_late", code, GROUP, "late = spss_late:value")
    with pytest.raises(KeyError) as caught:
        numbers.get("late")()
    assert fault_of_package(caught.value).startswith("the package spss_late, which adds to this")
    assert not fault_of_package(ValueError())


def test_an_unknown_name_is_told_with_the_known_ones(numbers):
    numbers.register("two", 2.0)
    with pytest.raises(InputError, match=r"no number is called 'tau'; choose one of pi, two"):
        numbers.get("tau")
