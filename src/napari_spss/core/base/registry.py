"""Things that are found by name: our own, those registered in this process, and other packages'."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from .errors import InputError

T = TypeVar("T")
_packages: dict[str, str] = {}  # of other people, by module, that were asked for


class Registry(Generic[T]):
    """Things of one kind by name; nothing is imported before it is asked for.

    Parameters
    ----------
    kind : str
        What they are, for messages: "network".
    group : str
        Group of entry points by which installed packages add theirs.
    built_in : mapping of str to str
        Our own, as ``"module:attribute"``.
    field : str
        Setting that names one, for messages.
    expects : type, optional
        What each must be, if not a function.
    """

    def __init__(
        self,
        kind: str,
        *,
        group: str,
        built_in: Mapping[str, str],
        field: str,
        expects: type | None = None,
    ) -> None:
        self._kind = kind
        self._expects = expects
        self._group = group
        self._built_in = {name: EntryPoint(name, at, group) for name, at in built_in.items()}
        self._field = field
        self._registered: dict[str, T] = {}
        self._loaded: dict[str, T] = {}

    def register(self, name: str, thing: T) -> None:
        """Make a thing available by name in this process; a name of one's own may be given again.

        Raises
        ------
        InputError
            If the name is empty or one of ours.
        """
        if not name or name in self._built_in:
            raise InputError(
                f"a {self._kind} cannot be registered as {name!r}; choose another name than "
                f"{', '.join(self._built_in)}."
            )
        self._registered[name] = thing

    def is_built_in(self, name: str) -> bool:
        """Whether a name is one of ours, which nobody can take."""
        return name in self._built_in

    def names(self) -> tuple[str, ...]:
        """Return all names: ours, those registered, those of installed packages."""
        installed = sorted(_installed(self._group, tuple(sys.path)))
        return tuple(dict.fromkeys((*self._built_in, *self._registered, *installed)))

    def usable(self) -> tuple[T, ...]:
        """Return all things but those of packages that cannot be loaded, in the order of names."""
        found = []
        for name in self.names():
            with contextlib.suppress(InputError):
                found.append(self.get(name))
        return tuple(found)

    def get(self, name: str) -> T:
        """Return the thing of a name.

        Raises
        ------
        InputError
            If there is none, or the package that offers it cannot be imported.
        """
        for known in (self._registered, self._loaded):
            if name in known:
                return known[name]
        offer = self._built_in.get(name)
        if offer is None:  # only then: what is installed takes long to look through
            offer = _installed(self._group, tuple(sys.path)).get(name)
        if offer is None:
            raise InputError(
                f"no {self._kind} is called {name!r}; choose one of {', '.join(self.names())}, "
                f"install the package that offers it, or register your own before.",
                field=self._field,
            )
        package = ""
        if offer.dist is not None:
            package = f" of the package {offer.dist.name}"
            _packages[_top(offer.module)] = offer.dist.name
        try:
            thing: T = offer.load()
            if self._expects is not None and not isinstance(thing, self._expects):
                raise TypeError(f"{offer.value} is no {self._expects.__name__}")
        except Exception as error:  # whatever they run when they are imported
            raise InputError(
                f"{self._kind} {name!r}{package} cannot be loaded ({str(error) or repr(error)}); "
                "repair or update that package, or choose another.",
                field=self._field,
            ) from error
        self._loaded[name] = thing
        return thing


def fault_of_package(error: BaseException) -> str:
    """Say which installed package an error came from, and what to do; empty if from none."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        package = _packages.get(_top(frame.f_globals.get("__name__", "")))
        if package is not None:
            text = " ".join(str(error).split())
            return (
                f"the package {package}, which adds to this program, failed "
                f"({type(error).__name__}: {text}); repair, update or remove it"
            )
    return ""


def _top(module: str) -> str:
    return module.partition(".")[0]


@cache
def _installed(group: str, path: tuple[str, ...]) -> Mapping[str, EntryPoint]:
    """What packages on a path offer, by name; looked through once."""
    return {offer.name: offer for offer in reversed(tuple(entry_points(group=group)))}
