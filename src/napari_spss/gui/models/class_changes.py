"""What became of the classes when their list was edited."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.annotations import match_class


def follow_classes(old: Sequence[str], new: Sequence[str]) -> tuple[int | None, ...]:
    """Index in the new list for every class of the old one; None if it is gone.

    A class that kept its name is followed wherever it moved. One whose name is gone was renamed
    if the new name at its place is new as well. The background stays the background.

    Examples
    --------
    >>> follow_classes(["background", "mito"], ["background", "er", "Mito"])
    (0, 2)
    >>> follow_classes(["background", "mito", "er"], ["background", "mitochondrion", "er"])
    (0, 1, 2)
    >>> follow_classes(["background", "mito", "er"], ["background", "er"])
    (0, None, 1)
    """
    result: list[int | None] = []
    for index, name in enumerate(old):
        same = 0 if index == 0 else match_class(name, new)
        if same is None and index < len(new) and match_class(new[index], old) is None:
            same = index
        result.append(same)
    return tuple(result)
